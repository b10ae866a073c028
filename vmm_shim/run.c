// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_RUN: kvm_arch_vcpu_ioctl_run() and vcpu_run() in user space. Two system calls a round trip, the
 * two changes of the signal mask; everything else that costs one happens only where it is needed.
 */
#include "traces/report.h"
#include "traces/trace.h"
#include "vmm_shim/internal.h"
#include "vmm_shim/irqchip/lapic.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <sched.h>

#define FL_IF 0x200

static __thread struct shim_vcpu *current __attribute__((tls_model("initial-exec")));

struct shim_vcpu *vcpu_current(void)
{
	return current;
}

bool shim_memory_fault_at(const void *address, const void *ucontext)
{
	/* also between runs: kvmclock is written by KVM_SET_MSRS, too */
	return shim_config.backend && shim_config.backend->host_fault(address, ucontext);
}

bool shim_memory_fault(const void *address)
{
	return shim_memory_fault_at(address, NULL);
}

/* ------------------------------------------------------------------ signals inside a run */

/*
 * A kick says "look". Whoever forwards a signal tells us a moment before or after it is sent, so a kick
 * that announces one waits for it a little.
 */
static bool signal_arrived(struct shim_vcpu *vcpu)
{
	bool expected = atomic_exchange(&vcpu->signal_expected, false);

	if (signals_pending(vcpu->caller_mask))
		return true;
	for (unsigned i = 0; expected && i < 50; i++) {
		sched_yield();
		if (signals_pending(vcpu->caller_mask))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ vcpu_run() */

/* dm_request_for_irq_injection(), kvm_cpu_accept_dm_intr(): the monitor has interrupts to give, and the
 * guest takes them from it. Not with 8259s in the kernel. */
static bool monitor_wants_window(struct shim_vcpu *vcpu)
{
	if (!vcpu->run->request_interrupt_window)
		return false;
	return !vcpu->apic ||
	       (irqchip_mode(vcpu->vm) == IRQCHIP_SPLIT && lapic_accepts_external(vcpu));
}

static void want_window(struct shim_vcpu *vcpu)
{
	bool wanted = (vcpu->apic && vcpu->apic->window) || monitor_wants_window(vcpu);

	if (wanted == vcpu->window_requested)
		return;
	vcpu->ops->request_interrupt_window(vcpu->emu, wanted);
	vcpu->window_requested = wanted;
}

/* kvm_vcpu_ready_for_interrupt_injection() */
static bool window_open(struct shim_vcpu *vcpu)
{
	return monitor_wants_window(vcpu) && vcpu->ops->interruptible(vcpu->emu);
}

static struct run_result enter(struct shim_vcpu *vcpu, unsigned flags)
{
	struct run_result result;
	int inner;

	vcpu->exit.type = EMU_EXIT_NONE;
	vcpu->exit.word = 0; /* also what an error comes with, unless the processor says more */
	inner = vcpu->ops->run(vcpu->emu, flags, &vcpu->exit);
	vcpu->has_word = vcpu->exit.type != EMU_EXIT_NONE || vcpu->exit.word;
	if (vclock_virtual())
		vclock_guest_end(vcpu);
	if (inner == -EAGAIN) /* EMU_RUN_COMPLETE_ONLY: nothing (more) to complete */
		return (struct run_result){ .ret = -EAGAIN };
	if (!inner && vcpu->exit.type == EMU_EXIT_LIMIT) /* virtual time: somebody else's turn */
		return (struct run_result){ .again = true };
	if (!inner) {
		stats_exit(vcpu, vcpu->exit.type);
		event_requeue(vcpu, &vcpu->exit);
		inner = exit_handle(vcpu, &vcpu->exit);
	}
	result = run_result(&shim_config.profile, config_intel(), vcpu->exit.word, inner,
			    vcpu->run->exit_reason);
	vcpu->run->exit_reason = result.reason;
	vcpu->run->flags |= result.flags;
	return result;
}

/* After an exit that was handled here: leave all the same? True with the result in `*ret`. */
static bool leave(struct shim_vcpu *vcpu, bool look_at_signals, int *ret)
{
	if (window_open(vcpu)) {
		vcpu->run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
		vcpu->stats.value[STAT_REQUEST_IRQ_EXITS]++;
		*ret = 0;
		return true;
	}
	if (look_at_signals && signal_arrived(vcpu)) {
		vcpu->run->exit_reason = KVM_EXIT_INTR;
		vcpu->stats.value[STAT_SIGNAL_EXITS]++;
		*ret = -EINTR;
		return true;
	}
	return false;
}

/*
 * Virtual time: the guest's turn begins. A kick, which comes in real time, does not end it. True: a
 * signal that was sent meanwhile ends the run.
 */
static bool virtual_turn(struct shim_vcpu *vcpu, bool kicked, int *ret)
{
	bool resumed = kicked && vclock_guest_resume();

	while (!resumed && vclock_guest_begin(vcpu)) {
		if (leave(vcpu, true, ret))
			return true;
	}
	return false;
}

/*
 * With a local APIC in the kernel: what has come for the vCPU is taken up, and HLT waits here. True: back
 * to the monitor.
 */
static bool take_up_events(struct shim_vcpu *vcpu, unsigned *flags, int *ret)
{
	enum lapic_next next;

	while ((next = lapic_before_entry(vcpu)) == LAPIC_WAIT) {
		lapic_wait(vcpu);
		if (leave(vcpu, true, ret))
			return true;
		*flags = EMU_RUN_URGENT; /* as a scheduler does for one that wakes up */
	}
	*ret = 0;
	return next == LAPIC_EXIT;
}

/* Finishes a pending access: 1 if nothing is left to do before the guest runs on. */
static int complete_only(struct shim_vcpu *vcpu)
{
	struct run_result result;

	do {
		result = enter(vcpu, EMU_RUN_COMPLETE_ONLY);
	} while (result.again);
	return result.ret == -EAGAIN ? 1 : result.ret;
}

static int run_loop(struct shim_vcpu *vcpu)
{
	struct run_result result;
	bool kicked = false;
	unsigned flags;
	int ret;

	if (shim_config.profile.resets_exit_reason)
		vcpu->run->exit_reason = KVM_EXIT_UNKNOWN;
	vcpu->has_run = true;
	for (;;) {
		flags = 0;
		/* An instruction that is under way ends first, perhaps in a fault, before an interrupt is
		 * chosen: "complete_userspace_io" comes before kvm_check_and_inject_events(). */
		if (vcpu->apic && lapic_has_news(vcpu)) {
			ret = complete_only(vcpu);
			if (ret <= 0)
				return ret;
		}
		if (vcpu->apic && take_up_events(vcpu, &flags, &ret))
			return ret;
		want_window(vcpu);
		pvclock_update(vcpu);
		if (flags) /* it has waited: nothing of its turn is left */
			kicked = false;
		if (vclock_virtual()) {
			if (virtual_turn(vcpu, kicked, &ret))
				return ret;
			kicked = false;
			if (vcpu->apic && lapic_has_news(vcpu)) { /* while others had their turns */
				vclock_guest_end(vcpu);
				continue;
			}
		}
		result = enter(vcpu, flags);
		if (!result.again)
			return result.ret;
		kicked = vcpu->exit.type == EMU_EXIT_KICKED;
		/* the host's policy may have slept, and a signal have ended that */
		if (leave(vcpu, kicked || vcpu->exit.type == EMU_EXIT_EXCEPTION, &ret)) {
			if (kicked && ret == -EINTR && vclock_virtual())
				vclock_nondeterministic("a signal from outside ended KVM_RUN");
			return ret;
		}
	}
}

/* ------------------------------------------------------------------ kvm_arch_vcpu_ioctl_run() */

static int sync_from_monitor(struct shim_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	const uint64_t invalid = ~(uint64_t)KVM_SYNC_X86_VALID_FIELDS;
	uint64_t dirty = run->kvm_dirty_regs;

	if (run->kvm_valid_regs & invalid || dirty & invalid)
		return -EINVAL;
	if (dirty & KVM_SYNC_X86_REGS) {
		const struct kvm_regs regs =
			run->s.regs.regs; /* a copy: the monitor may write on */

		if (state_set_regs(vcpu, &regs))
			return -EINVAL;
		run->kvm_dirty_regs &= ~(uint64_t)KVM_SYNC_X86_REGS;
	}
	if (dirty & KVM_SYNC_X86_SREGS) {
		const struct kvm_sregs sregs = run->s.regs.sregs;

		if (state_set_sregs(vcpu, &sregs))
			return -EINVAL;
		run->kvm_dirty_regs &= ~(uint64_t)KVM_SYNC_X86_SREGS;
	}
	if (dirty & KVM_SYNC_X86_EVENTS) {
		const struct kvm_vcpu_events events = run->s.regs.events;

		if (event_set(vcpu, &events))
			return -EINVAL;
		run->kvm_dirty_regs &= ~(uint64_t)KVM_SYNC_X86_EVENTS;
	}
	return 0;
}

static void sync_to_monitor(struct shim_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint64_t valid = run->kvm_valid_regs;

	if (valid & KVM_SYNC_X86_REGS)
		state_get_regs(vcpu, &run->s.regs.regs);
	if (valid & KVM_SYNC_X86_SREGS)
		state_get_sregs(vcpu, &run->s.regs.sregs);
	if (valid & KVM_SYNC_X86_EVENTS)
		event_get(vcpu, &run->s.regs.events);
}

/* "re-sync apic's tpr": without an APIC of the kernel's CR8 is the monitor's */
static int load_cr8(struct shim_vcpu *vcpu)
{
	uint64_t cr8 = vcpu->run->cr8;
	struct emu_state state;

	if (vcpu->apic)
		return 0;
	if (__builtin_expect(cr8 == vcpu->cr8, 1))
		return 0;
	if (cr8 > 15)
		return -EINVAL;
	vcpu->ops->get_state(vcpu->emu, &state);
	state.cr8 = cr8;
	if (vcpu->ops->set_state(vcpu->emu, &state))
		return -EINVAL;
	vcpu->cr8 = cr8;
	return 0;
}

/* post_kvm_run_save() */
static void save(struct shim_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct backend_brief brief;

	vcpu->ops->get_brief(vcpu->emu, &brief);
	run->if_flag = (brief.rflags & FL_IF) != 0;
	run->cr8 = vcpu->cr8 = vcpu->apic ? lapic_after_run(vcpu, brief.cr8) : brief.cr8;
	run->apic_base = brief.apic_base;
	vcpu->rip = brief.rip;
	vcpu->linear_rip = brief.linear_rip;
	run->ready_for_interrupt_injection = irqchip_mode(vcpu->vm) == IRQCHIP_KERNEL ||
					     (vcpu->ops->interruptible(vcpu->emu) &&
					      (!vcpu->apic || lapic_accepts_external(vcpu)));
}

/* One that nobody has started waits for INIT: then, or at a signal, the monitor is asked again. */
static int run_uninitialized(struct shim_vcpu *vcpu, bool wants_to_run)
{
	int ret;

	if (!wants_to_run)
		return -EINTR;
	do {
		if (lapic_before_entry(vcpu) != LAPIC_WAIT ||
		    vcpu->mp_state != KVM_MP_STATE_UNINITIALIZED)
			return -EAGAIN;
		lapic_wait(vcpu);
	} while (!leave(vcpu, true, &ret));
	return ret;
}

static int run_with_state(struct shim_vcpu *vcpu, bool wants_to_run)
{
	int ret;

	exit_complete(vcpu);
	pvclock_load(vcpu);
	if (!wants_to_run) {
		ret = complete_only(vcpu);
		return ret > 0 ? -EINTR : ret; /* exit_reason stays that of the last exit */
	}
	/*
	 * Signals that only the run's mask lets through were pending before, perhaps; any other would
	 * have been delivered on the way here.
	 */
	if (vcpu->sigset_active && signals_pending(vcpu->caller_mask)) {
		ret = complete_only(vcpu);
		if (ret <= 0)
			return ret;
		if (leave(vcpu, true, &ret))
			return ret;
	}
	return run_loop(vcpu);
}

static int run_initialized(struct shim_vcpu *vcpu, bool wants_to_run)
{
	int ret = 0;

	if (vcpu->run->kvm_valid_regs | vcpu->run->kvm_dirty_regs)
		ret = sync_from_monitor(vcpu);
	if (!ret)
		ret = load_cr8(vcpu);
	if (!ret)
		ret = run_with_state(vcpu, wants_to_run);
	return ret;
}

static int run_locked(struct shim_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	/* Read once: a monitor that sets it during the run must also send a signal. */
	bool wants_to_run = !*(volatile uint8_t *)&run->immediate_exit;
	int ret;

	run->flags = 0;
	vcpu->has_word = false;
	if (vcpu->mp_state == KVM_MP_STATE_UNINITIALIZED)
		ret = run_uninitialized(vcpu, wants_to_run);
	else
		ret = run_initialized(vcpu, wants_to_run);
	if (vclock_virtual())
		vclock_settle();
	if (run->kvm_valid_regs)
		sync_to_monitor(vcpu);
	save(vcpu);
	return ret;
}

/* ------------------------------------------------------------------ KVM_RUN */

/* Differences: several VMs of one process share the rows. The bus locks themselves were told by the
 * observer, with their sites. */
static void tell_report(struct shim_vcpu *vcpu, struct report *report, uint64_t begun, int ret)
{
	struct emu_stats *told = &vcpu->told, stats;

	report_note_return(report, vcpu->index, begun, ret, vcpu->run->exit_reason,
			   vcpu->run->flags & KVM_RUN_X86_BUS_LOCK);
	vcpu->ops->get_stats(vcpu->emu, &stats);
	report_note_counts(report, vcpu->index, stats.locked - told->locked,
			   stats.instructions - told->instructions);
	report_note_guest_non_wb(report, vcpu->index, stats.guest_non_wb - told->guest_non_wb);
	*told = stats;
}

/* The last KVM_RUN of this thread, if it came back with a bus lock: what the thread sleeps now is what its
 * policy costs. */
static __thread struct {
	bool locked;
	unsigned vm, vcpu;
} policy __attribute__((tls_model("initial-exec")));

uint64_t shim_policy_sleeps(void)
{
	return policy.locked ? shim_now_ns() : 0;
}

void shim_policy_slept(uint64_t since, bool interrupted)
{
	trace_note_sleep(shim_config.options.trace, policy.vm, policy.vcpu, TRACE_SLEEP_POLICY,
			 shim_now_ns() - since, interrupted);
}

/* Of what KVM_GET_REGS would give. */
static uint64_t registers_digest(struct shim_vcpu *vcpu)
{
	struct kvm_regs registers;

	_Static_assert(sizeof(registers) == TRACE_REGISTERS * sizeof(uint64_t), "docs/trace.md");
	state_get_regs(vcpu, &registers);
	return trace_digest((const uint64_t *)&registers, TRACE_REGISTERS);
}

static void tell_trace(struct shim_vcpu *vcpu, struct trace *trace, int ret)
{
	const bool registers = shim_config.options.trace_registers;
	const struct trace_exit exit = {
		.result = ret,
		.reason = vcpu->run->exit_reason,
		.flags = vcpu->run->flags,
		.has_word = vcpu->has_word,
		.has_rip = true,
		.word = vcpu->exit.word,
		.rip = vcpu->rip,
		.linear_rip = vcpu->linear_rip,
		.has_registers = registers,
		.registers = registers ? registers_digest(vcpu) : 0,
	};

	trace_note_exit(trace, vcpu->vm->number, vcpu->index, &exit);
	policy.locked = exit.flags & KVM_RUN_X86_BUS_LOCK;
	policy.vm = vcpu->vm->number;
	policy.vcpu = vcpu->index;
}

static int run_faulty(struct shim_vcpu *vcpu)
{
	if (__builtin_expect(!shim_config.options.fault, 1))
		return run_locked(vcpu);
	return fault_run(vcpu, run_locked);
}

static int run_told(struct shim_vcpu *vcpu)
{
	struct report *report = shim_config.options.report;
	struct trace *trace = shim_config.options.trace;
	uint64_t begun;
	int ret;

	if (!report && !trace)
		return run_faulty(vcpu);
	begun = report_note_run(report, vcpu->index);
	if (trace)
		trace_note_run(trace, vcpu->vm->number, vcpu->index, vcpu->run->immediate_exit);
	ret = run_faulty(vcpu);
	if (report)
		tell_report(vcpu, report, begun, ret);
	if (trace)
		tell_trace(vcpu, trace, ret);
	return ret;
}

int run_vcpu(struct shim_vcpu *vcpu, unsigned long argument)
{
	kernel_sigset mask = signals_block(), run_mask = 0;
	bool sigbus = false, own_mask = false;
	int ret = -EINVAL;

	if (!lock_take_unless(&vcpu->lock, signals_fatal, mask)) {
		signals_restore(mask);
		return -EINTR;
	}
	if (!argument) {
		vcpu->caller_mask = vcpu->sigset_active ? vcpu->sigset : mask;
		current = vcpu;
		atomic_store(&vcpu->runner, thread_id()); /* before looking at the ticker's state */
		ticker_need();
		ret = run_told(vcpu);
		atomic_store_explicit(&vcpu->runner, 0, memory_order_release);
		current = NULL;
		sigbus = vcpu->sigbus;
		vcpu->sigbus = false;
		run_mask = vcpu->caller_mask;
		own_mask = !vcpu->sigset_active;
	}
	lock_drop(&vcpu->lock);
	signals_restore(mask);
	if (__builtin_expect(sigbus, 0))
		host_force_sigbus(run_mask, own_mask);
	return ret;
}
