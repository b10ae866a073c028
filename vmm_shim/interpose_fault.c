// SPDX-License-Identifier: GPL-2.0-only
/*
 * SIGSEGV and SIGBUS. Guest memory can vanish under a running guest; then KVM_RUN returns EFAULT, and
 * for that our handler must see the fault first. It stays installed from the first VM on. What the
 * program (or its sanitizer) installed before or installs later is kept here, shown to whoever asks,
 * and called for every fault that is not ours, in the way the kernel would have called it.
 */
#include <string.h>
#include <unistd.h>

#include "vmm_shim/interpose.h"
#include "vmm_shim/shim.h"

/* The kernel's struct sigaction (arch/x86/include/uapi/asm/signal.h) and set of 64 signals. */
struct kernel_sigaction {
	sighandler_t handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};
#define KERNEL_SET 8

static struct sigaction kept_segv, kept_bus; /* the program's dispositions */
static _Atomic bool installed;
static atomic_flag lock = ATOMIC_FLAG_INIT;

static struct sigaction *kept(int signal)
{
	return signal == SIGSEGV ? &kept_segv : &kept_bus;
}

static bool watched(int signal)
{
	return (signal == SIGSEGV || signal == SIGBUS) &&
	       atomic_load_explicit(&installed, memory_order_acquire) && !interpose_foreign_child();
}

/* No signal handler of this thread can find the lock taken. */
static uint64_t lock_dispositions(void)
{
	uint64_t all = ~0ull, old = 0;

	RAW(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, KERNEL_SET);
	while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
		RAW(SYS_sched_yield);
	return old;
}

static void unlock_dispositions(uint64_t old)
{
	atomic_flag_clear_explicit(&lock, memory_order_release);
	RAW(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, KERNEL_SET);
}

void interpose_fault_after_fork(void)
{
	atomic_flag_clear(&lock);
}

/* Die of it as if nobody had been here: with the program's registers, status and core. */
static void default_action(int signal, const siginfo_t *info)
{
	struct kernel_sigaction action = { 0 };

	RAW(SYS_rt_sigaction, signal, &action, NULL, KERNEL_SET);
	/* A fault happens again when the instruction does. */
	if (info->si_code <= 0)
		RAW(SYS_tgkill, RAW(SYS_getpid), RAW(SYS_gettid), signal);
}

static void call_program(int signal, siginfo_t *info, void *context)
{
	uint64_t old = lock_dispositions();
	struct sigaction action = *kept(signal);
	uint64_t mask;

	if (action.sa_flags & SA_RESETHAND)
		memset(kept(signal), 0, sizeof(struct sigaction));
	unlock_dispositions(old);

	if (action.sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	/* The kernel does not let anybody ignore a fault (force_sig_info_to_task()). */
	if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) {
		default_action(signal, info);
		return;
	}
	/* sigreturn restores the mask from `context`, as after any handler. */
	memcpy(&mask, &action.sa_mask, KERNEL_SET);
	if (!(action.sa_flags & SA_NODEFER))
		mask |= 1ull << (signal - 1);
	RAW(SYS_rt_sigprocmask, SIG_BLOCK, &mask, NULL, KERNEL_SET);
	/* Handlers with one parameter get three, as from the kernel. */
	action.sa_sigaction(signal, info, context);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	int saved = errno;

	/* Positive codes are the kernel's: a fault, not somebody's kill(). */
	if (info->si_code <= 0 || !shim_memory_fault_at(info->si_addr, context))
		call_program(signal, info, context);
	errno = saved;
}

/*
 * Ours, on the stack that the program's handler would have had: one that it wants on the ordinary
 * stack may need more room than somebody else's alternate stack has.
 */
static int install(int signal, const struct sigaction *program)
{
	struct sigaction ours;

	memset(&ours, 0, sizeof(ours));
	ours.sa_sigaction = on_fault;
	ours.sa_flags = SA_SIGINFO | SA_NODEFER | (program->sa_flags & SA_RESTART);
	if (program->sa_handler == SIG_DFL || program->sa_handler == SIG_IGN)
		ours.sa_flags |= SA_ONSTACK;
	else
		ours.sa_flags |= program->sa_flags & SA_ONSTACK;
	return next.sigaction ? next.sigaction(signal, &ours, NULL) : -1;
}

void interpose_fault_install(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS };
	uint64_t old;

	if (atomic_load(&installed) || !next.sigaction)
		return;
	old = lock_dispositions();
	if (!atomic_load(&installed)) {
		for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
			next.sigaction(signals[i], NULL, kept(signals[i]));
			install(signals[i], kept(signals[i]));
		}
		shim_rt_sigaction = interpose_rt_sigaction;
		atomic_store_explicit(&installed, true, memory_order_release);
	}
	unlock_dispositions(old);
}

/* ------------------------------------------------------------------ sigaction and its relatives */

int interpose_sigaction(int signal, const struct sigaction *action, struct sigaction *old)
{
	struct sigaction wanted, previous;
	uint64_t mask;

	if (!watched(signal)) {
		interpose_setup();
		if (next.sigaction)
			return next.sigaction(signal, action, old);
		errno = ENOSYS;
		return -1;
	}
	if (action)
		wanted = *action;
	mask = lock_dispositions();
	previous = *kept(signal);
	if (action) {
		*kept(signal) = wanted;
		install(signal, &wanted);
	}
	unlock_dispositions(mask);
	if (old)
		*old = previous;
	return 0;
}

static sighandler_t set_handler(int signal, sighandler_t handler, int flags, bool mask_itself)
{
	struct sigaction action, old;

	if (handler == SIG_ERR) {
		errno = EINVAL;
		return SIG_ERR;
	}
	memset(&action, 0, sizeof(action));
	action.sa_handler = handler;
	action.sa_flags = flags;
	if (mask_itself)
		sigaddset(&action.sa_mask, signal);
	if (interpose_sigaction(signal, &action, &old) < 0)
		return SIG_ERR;
	return old.sa_handler;
}

#define PASS_HANDLER(function, ...)                        \
	do {                                               \
		interpose_setup();                         \
		if (next.function)                         \
			return next.function(__VA_ARGS__); \
		errno = ENOSYS;                            \
	} while (0)

sighandler_t interpose_signal(int signal, sighandler_t handler)
{
	if (watched(signal))
		return set_handler(signal, handler, SA_RESTART, true);
	PASS_HANDLER(signal, signal, handler);
	return SIG_ERR;
}

sighandler_t interpose_sysv_signal(int signal, sighandler_t handler)
{
	if (watched(signal))
		return set_handler(signal, handler, (int)(SA_RESETHAND | SA_NODEFER), false);
	PASS_HANDLER(sysv_signal, signal, handler);
	return SIG_ERR;
}

/* XSI: also changes the mask, and tells whether the signal was blocked. */
sighandler_t interpose_sigset(int signal, sighandler_t handler)
{
	uint64_t one = 1ull << (signal - 1), old = 0;
	sighandler_t previous;

	if (!watched(signal)) {
		PASS_HANDLER(sigset, signal, handler);
		return SIG_ERR;
	}
	if (handler == SIG_HOLD) {
		struct sigaction action;

		interpose_sigaction(signal, NULL, &action);
		previous = action.sa_handler;
		RAW(SYS_rt_sigprocmask, SIG_BLOCK, &one, &old, KERNEL_SET);
	} else {
		previous = set_handler(signal, handler, 0, false);
		if (previous == SIG_ERR)
			return SIG_ERR;
		RAW(SYS_rt_sigprocmask, SIG_UNBLOCK, &one, &old, KERNEL_SET);
	}
	return old & one ? SIG_HOLD : previous;
}

int interpose_sigignore(int signal)
{
	if (watched(signal))
		return set_handler(signal, SIG_IGN, 0, false) == SIG_ERR ? -1 : 0;
	PASS_HANDLER(sigignore, signal);
	return -1;
}

int interpose_siginterrupt(int signal, int interrupt)
{
	struct sigaction action;

	if (!watched(signal)) {
		PASS_HANDLER(siginterrupt, signal, interrupt);
		return -1;
	}
	interpose_sigaction(signal, NULL, &action);
	if (interrupt)
		action.sa_flags &= ~SA_RESTART;
	else
		action.sa_flags |= SA_RESTART;
	return interpose_sigaction(signal, &action, NULL);
}

/* syscall(SYS_rt_sigaction): the kernel's structure. */
long interpose_rt_sigaction(int signal, const void *action, void *old, size_t size)
{
	const struct kernel_sigaction *wanted = action;
	struct kernel_sigaction *previous = old;
	struct sigaction new_action, old_action;

	if (!watched(signal) || size != KERNEL_SET)
		return raw_result(RAW(SYS_rt_sigaction, signal, action, old, size));
	memset(&new_action, 0, sizeof(new_action));
	if (wanted) {
		new_action.sa_handler = wanted->handler;
		new_action.sa_flags = (int)wanted->flags;
		memcpy(&new_action.sa_mask, &wanted->mask, KERNEL_SET);
	}
	if (interpose_sigaction(signal, wanted ? &new_action : NULL, &old_action) < 0)
		return -1;
	if (previous) {
		memset(previous, 0, sizeof(*previous));
		previous->handler = old_action.sa_handler;
		previous->flags = (unsigned)old_action.sa_flags;
		memcpy(&previous->mask, &old_action.sa_mask, KERNEL_SET);
	}
	return 0;
}

/* ------------------------------------------------------------------ under these names */

INTERPOSE(interpose_sigaction, sigaction);
INTERPOSE(interpose_sigaction, __sigaction);
INTERPOSE(interpose_signal, signal);
INTERPOSE(interpose_signal, ssignal);
INTERPOSE(interpose_signal, bsd_signal);
INTERPOSE(interpose_sysv_signal, sysv_signal);
INTERPOSE(interpose_sysv_signal, __sysv_signal);
INTERPOSE(interpose_sigset, sigset);
INTERPOSE(interpose_sigignore, sigignore);
INTERPOSE(interpose_siginterrupt, siginterrupt);
