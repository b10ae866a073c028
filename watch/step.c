// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_RUN one instruction at a time. Before each entry the next instruction is decoded and its locked
 * operand found; after it, what RIP became says whether it was executed. The debug exits stay here.
 * docs/record.md lists what this does not cover; each case that can be noticed is said in the trace.
 *
 * The kernel hides the TF that it sets from KVM_GET_REGS (kvm_get_rflags()); the guest's own code can see
 * it in what PUSHF, SYSCALL and the delivery of events save, and there it is cleared again.
 */
#include "watch/step.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FL_TF 0x100u

#define SPREAD_NS 10000000 /* between two split locks on the real device */

/* ------------------------------------------------------------------ guest debugging */

static bool is_load_ss(const struct watch_look *look)
{
	const struct insn *insn = &look->insn;

	if (!look->decoded)
		return false;
	return (insn->op == OP_MOV_TO_SEG && insn->reg == SEG_SS) ||
	       (insn->op == OP_POP_SEG && insn->map == MAP_ONE && insn->opcode == 0x17);
}

/*
 * HLT under single-step ends in a debug exit instead of its own, and may then be passed over. So it runs
 * as it is where it leaves for the monitor, unless an event comes first, whose handler would then run
 * unseen.
 */
static bool runs_plain(const struct watch_vcpu *vcpu, int fd, const struct watch_look *look)
{
	struct kvm_vcpu_events events;

	if (!look->decoded || look->insn.op != OP_HLT || atomic_load(&vcpu->vm->irqchip))
		return false;
	if (watch.kernel->ioctl(fd, KVM_GET_VCPU_EVENTS, (unsigned long)&events) < 0)
		return true;
	return !events.interrupt.injected && !events.exception.injected && !events.nmi.injected &&
	       !events.nmi.pending;
}

/*
 * KVM's emulator drops TF where it writes RFLAGS back (__kvm_set_rflags() knows one RIP only), and so do
 * instructions that load RFLAGS, and events. What touches registers alone never gets to any of these.
 */
static bool keeps_tf(const struct watch_look *look)
{
	const struct insn *insn = &look->insn;

	if (!look->decoded || insn->flags & INSN_MEM)
		return false;
	if (insn->op == OP_PLAIN || insn->op == OP_BRANCH) {
		struct insn_access access[INSN_MAX_ACCESSES];
		const struct insn_regs none = { .stack_size = 8 };

		return insn_accesses(insn, &none, access) == 0;
	}
	return (insn->op >= OP_ADD && insn->op <= OP_MOVSX) || insn->op == OP_NOP;
}

/* Instructions that may load an RFLAGS without TF and so leave single-stepping: a breakpoint catches the
 * guest where they go to. Outside 64-bit mode the new CS has a base of its own. */
static bool leaves_tf_behind(const struct watch_once *step)
{
	unsigned op = step->before.insn.op;

	return step->has_target && step->before.mode == 64 &&
	       (op == OP_SYSCALL || op == OP_SYSRET || op == OP_IRET);
}

static long set_debug(struct watch_vcpu *vcpu, int fd, struct watch_once *step)
{
	struct kvm_guest_debug debug = { 0 };
	bool plain = runs_plain(vcpu, fd, &step->before);
	bool breakpoint = !plain && leaves_tf_behind(step);

	if (step->armed && !plain && !breakpoint)
		return 0;
	if (!plain) {
		debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
		if (watch.options.hold_interrupts)
			debug.control |= KVM_GUESTDBG_BLOCKIRQ;
	}
	if (breakpoint) {
		debug.control |= KVM_GUESTDBG_USE_HW_BP;
		debug.arch.debugreg[0] = step->target;
		debug.arch.debugreg[7] = 1 << 10 | 2; /* G0: execution, one byte */
	}
	step->armed = !plain && !breakpoint;
	return watch.kernel->ioctl(fd, KVM_SET_GUEST_DEBUG, (unsigned long)&debug);
}

/* ------------------------------------------------------------------ split locks */

/* Each takes the next place in time, whichever vCPU or process it is of; a signal does not shorten it. */
static void wait_for_place(_Atomic uint64_t *next)
{
	uint64_t place = atomic_load(next), from, now;

	do {
		now = report_now();
		from = place > now ? place : now;
	} while (!atomic_compare_exchange_weak(next, &place, from + SPREAD_NS));
	while ((now = report_now()) < from) {
		const struct timespec time = { (time_t)((from - now) / 1000000000),
					       (long)((from - now) % 1000000000) };

		syscall(SYS_nanosleep, &time, NULL);
	}
}

bool watch_split_lock_allowed(void)
{
	static _Atomic uint64_t own, own_next; /* without a report */
	_Atomic uint64_t *count = watch.report ? &watch.report->native_split_locks : &own;
	uint64_t taken = atomic_load(count);

	do {
		if (taken >= watch.options.native_split_locks)
			return false;
	} while (!atomic_compare_exchange_weak(count, &taken, taken + 1));
	wait_for_place(watch.report ? &watch.report->next_split_lock : &own_next);
	return true;
}

/* As Linux ends a run that it cannot go on with (api.rst 5, KVM_EXIT_INTERNAL_ERROR). */
static long refuse(struct watch_vcpu *vcpu)
{
	vcpu->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	vcpu->run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	vcpu->run->internal.ndata = 0;
	return 0;
}

void watch_end_run(struct watch_vcpu *vcpu, const struct watch_look *look)
{
	char text[160];

	snprintf(text, sizeof(text),
		 "split lock at rip 0x%llx, %u bytes at 0x%llx: on the real device it would stall "
		 "every core of this host",
		 (unsigned long long)look->lock.rip, look->lock.size,
		 (unsigned long long)look->lock.linear);
	watch_not_covered(vcpu, look, "not run: %s (native-split-locks=%llu)", text,
			  (unsigned long long)watch.options.native_split_locks);
	report_note_end(watch.report, text);
	vcpu->refused = true;
	watch.kernel->terminate();
}

bool watch_is_split(const struct watch_look *look)
{
	return look->locked && look->operand && look->lock.cause & REPORT_SPLIT;
}

/* True: it must not be entered. */
static bool refused(struct watch_vcpu *vcpu, const struct watch_once *step)
{
	const struct watch_look *look = watch_is_split(&step->before) ? &step->before
					: step->shadow && watch_is_split(&step->second)
						? &step->second
						: NULL;

	if (vcpu->refused)
		return true;
	if (!look || watch_split_lock_allowed())
		return false;
	watch_end_run(vcpu, look);
	return true;
}

/* ------------------------------------------------------------------ the loop */

/* POPF or IRET with TF in the image: the guest debugs itself, and two cannot have one flag. */
static void look_for_own_tf(struct watch_vcpu *vcpu, const struct watch_look *look)
{
	uint64_t offset;
	uint16_t flags;

	if (!look->decoded || (look->insn.op != OP_POPF && look->insn.op != OP_IRET))
		return;
	offset = look->insn.op == OP_IRET ? 2 * look->insn.opsize : 0;
	if (!watch_stack_read(vcpu, look, offset, &flags, sizeof(flags)) && flags & FL_TF)
		watch_not_covered(vcpu, look,
				  "the guest sets TF, to single-step itself: its debug traps are "
				  "taken for ours");
}

/* What the monitor has left in kvm_run for the kernel to load (sync_regs()), so that it can be looked at
 * before. What is not valid is left for the kernel to refuse. */
static void load_dirty_registers(struct watch_vcpu *vcpu, int fd)
{
	static const struct {
		uint64_t bit;
		unsigned long request;
		size_t offset;
	} sets[] = {
		{ KVM_SYNC_X86_REGS, KVM_SET_REGS, offsetof(struct kvm_sync_regs, regs) },
		{ KVM_SYNC_X86_SREGS, KVM_SET_SREGS, offsetof(struct kvm_sync_regs, sregs) },
		{ KVM_SYNC_X86_EVENTS, KVM_SET_VCPU_EVENTS,
		  offsetof(struct kvm_sync_regs, events) },
	};
	struct kvm_run *run = vcpu->run;

	if (run->kvm_dirty_regs & ~(uint64_t)KVM_SYNC_X86_VALID_FIELDS)
		return;
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		unsigned long from = (unsigned long)&run->s.regs + sets[i].offset;

		if (run->kvm_dirty_regs & sets[i].bit &&
		    watch.kernel->ioctl(fd, sets[i].request, from) == 0)
			run->kvm_dirty_regs &= ~sets[i].bit;
	}
}

/* Other memory than the slots show: SMRAM, and a guest's guest behind tables of its own. */
#define ELSEWHERE (1u << 0 | 1u << 2) /* KVM_RUN_X86_SMM, KVM_RUN_X86_GUEST_MODE */

static void look(struct watch_vcpu *vcpu, int fd, struct watch_once *step)
{
	if (vcpu->run->flags & ELSEWHERE) {
		step->before.decoded = step->before.locked = false;
		step->shadow = step->has_target = step->to_user = false;
		if (!vcpu->told_elsewhere)
			watch_not_covered(vcpu, &step->before,
					  "System Management Mode or a nested guest: not decoded, "
					  "here and in all that follows");
		vcpu->told_elsewhere = true;
		return;
	}
	watch_look_ahead(vcpu, fd, &step->before);
	look_for_own_tf(vcpu, &step->before);
	watch_find_target(vcpu, fd, step);
	step->shadow = is_load_ss(&step->before);
	if (step->shadow)
		watch_look_behind(vcpu, fd, &step->before, &step->second);
}

/* Instructions behind which the processor forgets translations (SDM 4.10.4.1). */
static bool forgets_translations(const struct watch_look *look)
{
	switch (look->insn.op) {
	case OP_MOV_TO_CR:
	case OP_LMSW:
	case OP_WRMSR:
	case OP_INVLPG:
	case OP_INVPCID:
	case OP_IRET: /* and task switches */
	case OP_JMP_FAR:
	case OP_CALL_FAR:
	case OP_RSM:
		return true;
	default:
		return false;
	}
}

/* One entry. True: it was a step of ours, of which the monitor knows nothing. */
static bool step_once(struct watch_vcpu *vcpu, int fd, struct watch_once *step, int *error)
{
	bool ours, sequential;

	step->result = watch_enter_held(vcpu, fd);
	step->reason = vcpu->run->exit_reason;
	ours = step->result == 0 && step->reason == KVM_EXIT_DEBUG;
	if (vcpu->vm->sync)
		watch_look_synced(vcpu->run, &step->after);
	else
		*error = watch_look_registers(fd, &step->after);
	if (*error < 0)
		return ours;
	watch_judge(vcpu, fd, step, ours);
	sequential = step->before.decoded &&
		     (step->after.regs.rip == watch_look_next(&step->before) ||
		      step->before.insn.op == OP_BRANCH);
	step->armed = step->armed && sequential && keeps_tf(&step->before);
	if (!sequential || forgets_translations(&step->before))
		vcpu->code.valid = false;
	return ours;
}

/* Exits whose instruction ends when the monitor has answered (api.rst 5, complete_userspace_io()). */
static bool needs_completion(uint32_t reason)
{
	return reason == KVM_EXIT_IO || reason == KVM_EXIT_MMIO || reason == KVM_EXIT_HYPERCALL ||
	       reason == KVM_EXIT_X86_RDMSR || reason == KVM_EXIT_X86_WRMSR;
}

/*
 * A KVM_RUN that ends one instruction may go on with another. So it is made to end there, as a monitor
 * would: with immediate_exit. 2 serves as well as 1, and tells ours from the monitor's, which another
 * thread may set at any time. True: what follows can be looked at.
 */
static bool complete(struct watch_vcpu *vcpu, int fd, struct watch_once *step, int *error)
{
	_Atomic uint8_t *immediate_exit = (_Atomic uint8_t *)&vcpu->run->immediate_exit;
	uint8_t none = 0, ours = 2;
	bool again;

	if (!vcpu->incomplete || !atomic_compare_exchange_strong(immediate_exit, &none, ours))
		return true;
	look(vcpu, fd, step);
	step->result = watch_enter(fd);
	step->reason = vcpu->run->exit_reason;
	atomic_compare_exchange_strong(immediate_exit, &ours, 0);
	again = step->result == -EINTR || (step->result == 0 && step->reason == KVM_EXIT_DEBUG);
	*error = watch_look_registers(fd, &step->after);
	if (*error >= 0)
		watch_judge(vcpu, fd, step, again && step->result == 0);
	step->before = step->after;
	return again;
}

static long step_all(struct watch_vcpu *vcpu, int fd)
{
	struct watch_once step = { .armed = false };
	uint32_t reason = vcpu->run->exit_reason;
	int error = watch_look_registers(fd, &step.before);

	vcpu->code.valid = false; /* the monitor may have done anything */
	if (error >= 0 && !complete(vcpu, fd, &step, &error))
		return step.result;
	vcpu->run->exit_reason = reason;
	for (;;) {
		long refusal;

		/* What cannot be looked at (a vCPU that waits for SIPI, a broken VM) runs as it is. */
		if (error < 0) {
			watch_not_covered(vcpu, NULL,
					  "its registers cannot be read (errno %d): not "
					  "single-stepped",
					  -error);
			return watch_enter_held(vcpu, fd);
		}
		look(vcpu, fd, &step);
		if (refused(vcpu, &step))
			return refuse(vcpu);
		refusal = set_debug(vcpu, fd, &step);
		if (refusal < 0) {
			watch_not_covered(vcpu, &step.before,
					  "KVM_SET_GUEST_DEBUG: errno %ld: not single-stepped",
					  -refusal);
			return watch_enter_held(vcpu, fd);
		}
		if (!step_once(vcpu, fd, &step, &error))
			return step.result;
		/* What the monitor finds there when a signal comes before the next step. */
		vcpu->run->exit_reason = reason;
		step.before = step.after;
	}
}

long watch_step(struct watch_vcpu *vcpu, int fd)
{
	struct kvm_run *run = vcpu->run;
	uint64_t valid;
	long result;

	if (run->kvm_dirty_regs)
		load_dirty_registers(vcpu, fd);
	valid = run->kvm_valid_regs;
	if (vcpu->vm->sync)
		run->kvm_valid_regs = valid | KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
	result = step_all(vcpu, fd);
	vcpu->incomplete = result == 0 && needs_completion(run->exit_reason);
	run->kvm_valid_regs = valid;
	return result;
}
