// SPDX-License-Identifier: GPL-2.0-only
/*
 * The simulated host in this process: gives the split-lock policy (host_lock.c) its clock, its
 * signals, its log and its tasks. There is one host per process; its semaphore and its rate limits
 * are system-wide on Linux.
 */
#include "traces/report.h"
#include "traces/trace.h"
#include "vmm_shim/internal.h"
#include "vmm_shim/raw.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#define AC_VECTOR         17
#define MSR_MEMORY_CTRL   0x33
#define SPLIT_LOCK_DETECT (1ull << 29)

static struct host_lock host;
/* The calling thread as the kernel's task, since the boot; a forked child and a new thread start afresh. */
static __thread struct {
	pid_t tid;
	uint64_t boot;
	struct host_task task;
} self __attribute__((tls_model("initial-exec")));

static bool simulated(void)
{
	return shim_config.options.host_split_lock != SHIM_SPLIT_LOCK_OFF;
}

static struct host_task *current_task(void)
{
	pid_t tid = thread_id();

	if (self.tid != tid || self.boot != host.epoch) {
		memset(&self, 0, sizeof(self));
		self.tid = tid;
		self.boot = host.epoch;
	}
	return &self.task;
}

/* As messages name it. */
static void name_task(struct host_task *task, const struct shim_vcpu *vcpu)
{
	/* with virtual time two runs say the same: a number that is not the system's */
	task->pid = shim_config.options.time == SHIM_TIME_VIRTUAL ? (int)vcpu->index + 1 : self.tid;
	raw_syscall(SYS_prctl, PR_GET_NAME, task->comm); /* it may change any time */
}

static void message(void *opaque, const char *text)
{
	const struct shim_vcpu *vcpu = opaque;

	shim_log(1, "host kernel: %s", text);
	trace_note_host_message(shim_config.options.trace, vcpu ? vcpu->vm->number : TRACE_NO_VM,
				vcpu ? vcpu->index : TRACE_NO_VCPU, text);
}

static uint64_t now(void *vcpu)
{
	(void)vcpu;
	return shim_now_ns();
}

static bool sleep_until(void *opaque, uint64_t until)
{
	const struct shim_vcpu *vcpu = opaque;
	uint64_t begun = shim_now_ns();
	bool interrupted;

	if (signals_pending(vcpu->caller_mask))
		return true;
	interrupted = until > begun &&
		      shim_sleep_interruptible(vcpu->caller_mask, until - begun) == -EINTR;
	trace_note_sleep(shim_config.options.trace, vcpu->vm->number, vcpu->index, TRACE_SLEEP_HOST,
			 shim_now_ns() - begun, interrupted);
	return interrupted;
}

/* ------------------------------------------------------------------ start and end */

void host_boot(void)
{
	char text[160];

	host_lock_init(&host, &shim_config.options, &shim_config.profile, shim_now_ns());
	if (host_lock_boot_message(&host, text, sizeof(text)))
		message(NULL, text);
}

void host_after_fork(void)
{
	/* whoever slept in line for the semaphore, or had it, is not in this process */
	host.lock = (struct shim_lock){ 0 };
	host.waiters = NULL;
	host.reenable_unlock = host.reenable = (struct host_work){ 0 };
	host.down = false;
}

/* MSR 33h bit 29 as a split lock of the guest meets it: VM entry does not switch that MSR. */
static bool trap(void *vm, struct emu_vcpu *emu)
{
	struct shim_vcpu *vcpu = vcpu_current();

	(void)vm;
	(void)emu;
	return vcpu && host_lock_armed(&host, current_task(), &vcpu->core, shim_now_ns());
}

void host_add_vm(struct shim_vm *vm)
{
	if (simulated())
		vm->ops->set_split_lock_trap(vm->emu, trap, vm);
}

void host_add_vcpu(struct shim_vcpu *vcpu)
{
	/* vmx_update_exception_bitmap(): #AC always leaves */
	const struct emu_controls controls = { .exception_bitmap = 1u << AC_VECTOR };

	if (simulated())
		vcpu->ops->set_controls(vcpu->emu, &controls);
}

void host_remove_vcpu(struct shim_vcpu *vcpu)
{
	host_core_gone(&host, &vcpu->core);
}

/* ------------------------------------------------------------------ a split lock */

/*
 * --guest-sld: the guest has detection of its own, which KVM does not virtualize. Its setting comes
 * first, as in the proposals to do so.
 */
static bool guest_detects(const struct shim_vcpu *vcpu)
{
	uint64_t value;

	return shim_config.options.guest_sld &&
	       !vcpu->ops->get_msr(vcpu->emu, MSR_MEMORY_CTRL, &value, true) &&
	       value & SPLIT_LOCK_DETECT;
}

int host_guest_ac(struct shim_vcpu *vcpu, uint32_t error)
{
	static const struct host_ops ops = { now, sleep_until, message };
	struct host_caller caller = { .ops = &ops, .opaque = vcpu, .core = &vcpu->core };
	struct emu_state state;
	bool handled;

	vcpu->ops->get_state(vcpu->emu, &state);
	if (host_lock_guest_wants_ac(&state) || guest_detects(vcpu)) {
		event_queue_exception_error(vcpu, AC_VECTOR, error);
		return 1;
	}
	caller.task = current_task();
	name_task(caller.task, vcpu);
	handled = host_lock_guest_trap(&host, &caller, state.rip);
	report_note_host(shim_config.options.report, vcpu->index, caller.tally.slept_ns,
			 caller.tally.messages, caller.tally.suppressed);
	vcpu->sigbus = !handled;
	return handled;
}

/* ------------------------------------------------------------------ SIGBUS */

struct kernel_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	kernel_sigset mask;
};

long (*shim_rt_sigaction)(int signal, const void *action, void *old, size_t size);

/* The program's disposition, which the interposers keep apart from the kernel's. */
static void program_action(const struct kernel_sigaction *action, struct kernel_sigaction *old)
{
	if (shim_rt_sigaction)
		shim_rt_sigaction(SIGBUS, action, old, sizeof(kernel_sigset));
	else
		raw_syscall(SYS_rt_sigaction, SIGBUS, action, old, sizeof(kernel_sigset));
}

/*
 * force_sig_fault(SIGBUS, BUS_ADRALN, NULL), as force_sig_info_to_task() does it: a signal that is
 * blocked or ignored gets its default action, which is fatal. The address is NULL in Linux; the
 * guest's is in the message.
 */
void host_force_sigbus(kernel_sigset run_mask, bool own_mask)
{
	const struct kernel_sigaction fatal = { 0 };
	const kernel_sigset bus = SIGNAL_BIT(SIGBUS);
	siginfo_t info = { .si_signo = SIGBUS, .si_code = BUS_ADRALN };
	struct kernel_sigaction action;

	program_action(NULL, &action);
	if (run_mask & bus || action.handler == SIG_IGN) {
		program_action(&fatal, NULL);
		action = fatal;
	}
	if (action.handler == SIG_DFL) /* no handler of the interposers in front of that */
		raw_syscall(SYS_rt_sigaction, SIGBUS, &fatal, NULL, sizeof(kernel_sigset));
	/* a mask of KVM_SET_SIGNAL_MASK is gone by now; the thread's own one loses the signal */
	if (run_mask & bus && own_mask)
		raw_syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &bus, NULL, sizeof(bus));
	raw_syscall(SYS_rt_tgsigqueueinfo, raw_syscall(SYS_getpid), raw_syscall(SYS_gettid), SIGBUS,
		    &info);
}
