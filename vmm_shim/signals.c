// SPDX-License-Identifier: GPL-2.0-only
/*
 * A system call is not interrupted by a signal handler, it ends first. So all asynchronous signals are
 * blocked while an ioctl of ours runs; KVM_RUN looks at the pending ones (run.c).
 */
#include "vmm_shim/internal.h"
#include "vmm_shim/raw.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Raised by the program's own doing, or used by the C library between its threads (33: setuid(), which
 * waits for all of them): these must get through. Not its signal for cancellation, 32: a thread that
 * unwound out of an ioctl would take the locks with it. It ends KVM_RUN as any other does. */
#define SYNCHRONOUS                                                                           \
	(SIGNAL_BIT(SIGSEGV) | SIGNAL_BIT(SIGBUS) | SIGNAL_BIT(SIGFPE) | SIGNAL_BIT(SIGILL) | \
	 SIGNAL_BIT(SIGTRAP) | SIGNAL_BIT(SIGABRT) | SIGNAL_BIT(33))

/* Signals whose default action is to do nothing (signal(7)). */
#define IGNORED_BY_DEFAULT \
	(SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGURG) | SIGNAL_BIT(SIGWINCH) | SIGNAL_BIT(SIGCONT))

kernel_sigset signals_block(void)
{
	kernel_sigset faults = SIGNAL_BIT(SIGSEGV) | SIGNAL_BIT(SIGBUS);
	kernel_sigset all = ~(kernel_sigset)SYNCHRONOUS, old = 0, pending = 0;

	/* SIG_BLOCK: what the thread blocks already stays blocked. Except for faults: those in guest
	 * memory are ours, and a blocked one kills the process (force_sig_info_to_task()). */
	raw_syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, &old, sizeof(all));
	if (old & faults) {
		/* one that waits already was sent, and goes on waiting for the program */
		raw_syscall(SYS_rt_sigpending, &pending, sizeof(pending));
		faults &= ~pending;
		raw_syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &faults, NULL, sizeof(faults));
	}
	return old;
}

void signals_restore(kernel_sigset mask)
{
	raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
}

struct kernel_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	kernel_sigset mask;
};

/* Linux drops an ignored signal when it is sent, unless it is blocked; ours are blocked by us. */
static bool ignored(int signal)
{
	struct kernel_sigaction action;

	if (raw_syscall(SYS_rt_sigaction, signal, NULL, &action, sizeof(kernel_sigset)))
		return false;
	if (action.handler == SIG_IGN)
		return true;
	return action.handler == SIG_DFL && (IGNORED_BY_DEFAULT & SIGNAL_BIT(signal));
}

static kernel_sigset pending_through(kernel_sigset mask)
{
	kernel_sigset pending = 0;

	raw_syscall(SYS_rt_sigpending, &pending, sizeof(pending));
	return pending & ~mask;
}

bool signals_pending(kernel_sigset mask)
{
	kernel_sigset pending = pending_through(mask);

	for (; pending; pending &= pending - 1) {
		if (!ignored(__builtin_ctzll(pending) + 1))
			return true;
	}
	return false;
}

bool signals_restart(kernel_sigset mask)
{
	kernel_sigset pending = pending_through(mask);
	struct kernel_sigaction action;

	for (; pending; pending &= pending - 1) {
		int signal = __builtin_ctzll(pending) + 1;

		if (raw_syscall(SYS_rt_sigaction, signal, NULL, &action, sizeof(kernel_sigset)))
			continue;
		if (action.handler != SIG_IGN && action.handler != SIG_DFL &&
		    !(action.flags & SA_RESTART))
			return false;
	}
	return true;
}

bool signals_fatal(kernel_sigset mask)
{
	kernel_sigset pending = pending_through(mask);
	struct kernel_sigaction action;

	for (; pending; pending &= pending - 1) {
		int signal = __builtin_ctzll(pending) + 1;

		if (!raw_syscall(SYS_rt_sigaction, signal, NULL, &action, sizeof(kernel_sigset)) &&
		    action.handler == SIG_DFL && !(IGNORED_BY_DEFAULT & SIGNAL_BIT(signal)))
			return true;
	}
	return false;
}

/* gettid() costs a system call, and a forked child inherits the cached answer of its parent. */
pid_t thread_id(void)
{
	static __thread pid_t tid, owner __attribute__((tls_model("initial-exec")));
	pid_t process = process_id();

	if (!tid || owner != process) {
		tid = (pid_t)raw_syscall(SYS_gettid);
		owner = process;
	}
	return tid;
}
