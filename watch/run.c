// SPDX-License-Identifier: GPL-2.0-only
/* KVM_RUN: what goes in, what comes out, and exits that the monitor does not get to see. */
#include "watch/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The last KVM_RUN of this thread, if it came back with a bus lock: what the thread sleeps now is what its
 * policy costs. */
static __thread struct {
	bool locked;
	unsigned vm, vcpu;
} policy __attribute__((tls_model("initial-exec")));

uint64_t watch_sleeps(void)
{
	return policy.locked && watch.trace ? report_now() : 0;
}

void watch_slept(uint64_t since, bool interrupted)
{
	trace_note_sleep(watch.trace, policy.vm, policy.vcpu, TRACE_SLEEP_POLICY,
			 report_now() - since, interrupted);
}

void watch_not_covered(const struct watch_vcpu *vcpu, const struct watch_look *where,
		       const char *format, ...)
{
	const uint64_t rip = where ? where->regs.rip : 0;
	char text[256];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	trace_note_not_covered(watch.trace, vcpu->vm->number, vcpu->index, where ? &rip : NULL,
			       text);
}

long watch_enter(int fd)
{
	return watch.kernel->ioctl(fd, KVM_RUN, 0);
}

void watch_told(struct watch_vcpu *vcpu, uint64_t begun, long result, bool kept)
{
	const struct trace_exit exit = {
		.result = result < 0 ? (int)result : 0,
		.reason = vcpu->run->exit_reason,
		.flags = vcpu->run->flags,
		.kept = kept,
	};

	report_note_return(watch.report, vcpu->index, begun, exit.result, exit.reason,
			   exit.flags & KVM_RUN_X86_BUS_LOCK);
	trace_note_exit(watch.trace, vcpu->vm->number, vcpu->index, &exit);
	policy.locked = exit.flags & KVM_RUN_X86_BUS_LOCK;
	policy.vm = vcpu->vm->number;
	policy.vcpu = vcpu->index;
}

static uint64_t begin(const struct watch_vcpu *vcpu)
{
	trace_note_run(watch.trace, vcpu->vm->number, vcpu->index, vcpu->run->immediate_exit);
	return report_note_run(watch.report, vcpu->index);
}

/* ------------------------------------------------------------------ signals */

/* 32 and 33 are the C library's own (SIGCANCEL, SIGSETXID). */
#define HELD (~(uint64_t)0 & ~((uint64_t)3 << 31))

/*
 * One KVM_RUN of the monitor's becomes several. A signal whose handler does nothing, and which KVM_RUN
 * would have answered with EINTR, must not be lost between two of them. So signals are held here and
 * let through inside (api.rst 4.27, KVM_SET_SIGNAL_MASK): one that comes between waits for the next,
 * which ends at once, and its handler runs when the hold is over, as it does on the way out of the real
 * call.
 */
static uint64_t hold_signals(struct watch_vcpu *vcpu, int fd)
{
	struct {
		uint32_t length;
		uint8_t set[8];
	} mask = { .length = 8 };
	const uint64_t held = HELD;
	uint64_t old = 0;

	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &held, &old, sizeof(old));
	if (vcpu->monitor_mask || (vcpu->has_mask && vcpu->mask == old))
		return old;
	memcpy(mask.set, &old, sizeof(old));
	vcpu->has_mask = watch.kernel->ioctl(fd, KVM_SET_SIGNAL_MASK, (unsigned long)&mask) == 0;
	vcpu->mask = old;
	return old;
}

/* The kernel's struct sigaction (arch/x86/include/uapi/asm/signal.h). */
struct kernel_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

/* Would it have gone away by itself? (sig_ignored(): only where it is not blocked) */
static bool is_ignored(int signal)
{
	/* SIG_KERNEL_IGNORE_MASK of <linux/signal.h> */
	static const uint64_t by_default = 1ull << (SIGCHLD - 1) | 1ull << (SIGCONT - 1) |
					   1ull << (SIGURG - 1) | 1ull << (SIGWINCH - 1);
	struct kernel_sigaction action = { .handler = SIG_DFL };

	syscall(SYS_rt_sigaction, signal, NULL, &action, sizeof(uint64_t));
	return action.handler == SIG_IGN ||
	       (action.handler == SIG_DFL && by_default >> (signal - 1) & 1);
}

/*
 * A signal that is ignored ends no KVM_RUN, but one that comes while we hold it stays pending and ends
 * the next. True: there were only such, and they are gone.
 */
static bool drop_ignored_signals(const struct watch_vcpu *vcpu)
{
	const struct timespec now = { 0, 0 };
	uint64_t pending = 0, one;

	syscall(SYS_rt_sigpending, &pending, sizeof(pending));
	pending &= ~vcpu->mask;
	if (!pending)
		return false;
	for (int signal = 1; signal <= 64; signal++)
		if (pending >> (signal - 1) & 1 && !is_ignored(signal))
			return false;
	for (int signal = 1; signal <= 64; signal++) {
		one = 1ull << (signal - 1);
		if (pending & one)
			syscall(SYS_rt_sigtimedwait, &one, NULL, &now, sizeof(one));
	}
	return true;
}

long watch_enter_held(struct watch_vcpu *vcpu, int fd)
{
	long result;

	do {
		result = watch_enter(fd);
	} while (result == -EINTR && !vcpu->run->immediate_exit && drop_ignored_signals(vcpu));
	return result;
}

static void release_signals(uint64_t old)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof(old));
}

/* ------------------------------------------------------------------ ways to run */

static long run_watched(struct watch_vcpu *vcpu, int fd)
{
	uint64_t begun = begin(vcpu);
	long result = watch_enter(fd);

	watch_told(vcpu, begun, result, false);
	return result;
}

/*
 * A monitor that has not asked for them sees no trace of bus-lock exits: it finds kvm_run as if the
 * guest had run on. After EINTR it would find the reason of the exit before (Linux resets it only where
 * the guest is entered), so that is put back.
 */
static long run_keeping_exits(struct watch_vcpu *vcpu, int fd)
{
	uint32_t before = vcpu->run->exit_reason;
	uint64_t begun;
	long result;

	for (;;) {
		begun = begin(vcpu);
		result = watch_enter_held(vcpu, fd);
		if (result != 0 || vcpu->run->exit_reason != KVM_EXIT_X86_BUS_LOCK)
			break;
		watch_told(vcpu, begun, result, true);
		vcpu->run->exit_reason = before;
	}
	watch_told(vcpu, begun, result, false);
	policy.locked = false; /* who knows nothing of it has no policy */
	vcpu->run->flags &= (uint16_t)~KVM_RUN_X86_BUS_LOCK;
	return result;
}

static long run_stepping(struct watch_vcpu *vcpu, int fd)
{
	uint64_t begun = begin(vcpu);
	long result = watch_step(vcpu, fd);

	watch_told(vcpu, begun, result, false);
	report_note_counts(watch.report, vcpu->index, vcpu->locked, vcpu->instructions);
	vcpu->locked = vcpu->instructions = 0;
	return result;
}

static bool keeps_exits(const struct watch_vm *vm)
{
	return atomic_load_explicit(&vm->enabled, memory_order_relaxed) &&
	       !atomic_load_explicit(&vm->asked, memory_order_relaxed);
}

long watch_run(struct watch_vcpu *vcpu, int fd, unsigned long argument)
{
	bool idle = false;
	uint64_t old;
	long result;

	if (argument) /* EINVAL, and nothing happens */
		return watch.kernel->ioctl(fd, KVM_RUN, argument);
	if (!watch.options.step && !keeps_exits(vcpu->vm))
		return run_watched(vcpu, fd);
	/* A second thread waits in the kernel for the first (vcpu->mutex), and would then run unseen. */
	if (!atomic_compare_exchange_strong(&vcpu->busy, &idle, true)) {
		watch_not_covered(vcpu, NULL, "two threads run this vCPU: one of them unwatched");
		return watch_enter(fd);
	}
	old = hold_signals(vcpu, fd);
	result = watch.options.step ? run_stepping(vcpu, fd) : run_keeping_exits(vcpu, fd);
	release_signals(old);
	atomic_store(&vcpu->busy, false);
	return result;
}
