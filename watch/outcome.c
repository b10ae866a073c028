// SPDX-License-Identifier: GPL-2.0-only
/* What a step has done: RIP tells whether the instruction was executed, and what came between. */
#include "watch/step.h"

#include <string.h>

#define FL_TF          0x100u
#define STARVED_ENOUGH 64 /* events in a row in front of one instruction that never runs */

static void lock_taken(struct watch_vcpu *vcpu, const struct watch_look *look)
{
	if (!look->locked)
		return;
	if (!look->operand) {
		if (look->insn.seg == SEG_SS && look->mode != 64)
			watch_not_covered(vcpu, look,
					  "a locked access behind a load of SS: its address is not "
					  "known");
		return;
	}
	vcpu->locked++;
	if (watch.options.locked)
		trace_note_locked(watch.trace, vcpu->vm->number, vcpu->index, &look->lock);
	if (!look->lock.cause)
		return;
	report_note_lock(watch.report, vcpu->index, &look->lock);
	trace_note_lock(watch.trace, vcpu->vm->number, vcpu->index, &look->lock);
}

static void clear_saved_tf(int fd, struct watch_look *look)
{
	if (!(look->regs.r11 & FL_TF))
		return;
	look->regs.r11 &= ~(uint64_t)FL_TF;
	watch.kernel->ioctl(fd, KVM_SET_REGS, (unsigned long)&look->regs);
}

/* In front of the same instruction again and again? */
static void count_event(struct watch_vcpu *vcpu, const struct watch_once *step,
			const struct watch_frame *frame)
{
	uint64_t rip = step->before.regs.rip;

	if (frame->rip != rip)
		return;
	vcpu->starved = rip == vcpu->starved_rip ? vcpu->starved + 1 : 1;
	vcpu->starved_rip = rip;
	if (vcpu->starved < STARVED_ENOUGH || vcpu->told_starved)
		return;
	vcpu->told_starved = true;
	watch_not_covered(vcpu, &step->before,
			  "events come faster than single steps: %u in a row in front of this "
			  "instruction. A timer starves the guest; see --hold-interrupts",
			  STARVED_ENOUGH);
}

static void executed(struct watch_vcpu *vcpu, const struct watch_look *look)
{
	vcpu->instructions++;
	if (look->regs.rip == vcpu->starved_rip)
		vcpu->starved = 0;
	lock_taken(vcpu, look);
}

/* ------------------------------------------------------------------ into a handler */

/* Entry point of a gate (SDM 6.11, 6.14.1; 20.1.4 in real mode); false: none that matches the mode. */
static bool gate_target(const struct watch_look *after, const uint8_t *gate, uint64_t *rip)
{
	uint16_t low, high, selector;
	uint32_t top = 0;

	memcpy(&low, gate, 2);
	memcpy(&selector, gate + 2, 2);
	*rip = low;
	if (!(after->sregs.cr0 & 1))
		return selector == after->sregs.cs.selector;
	memcpy(&high, gate + 6, 2);
	if (after->sregs.efer >> 10 & 1)
		memcpy(&top, gate + 8, 4);
	if (!(gate[5] & 0x80) || (selector & ~3u) != (after->sregs.cs.selector & ~3u))
		return false;
	if (gate[5] & 8) /* 32 or 64 bits */
		*rip |= (uint64_t)high << 16 | (uint64_t)top << 32;
	return true;
}

/* What is at `rip`, with the registers that the handler began with. */
static void look_at_handler(struct watch_vcpu *vcpu, int fd, const struct watch_once *step,
			    const struct watch_frame *frame, uint64_t rip, struct watch_look *out)
{
	*out = step->after;
	out->regs = step->before.regs;
	out->regs.rsp = step->after.regs.rsp + frame->offset;
	out->regs.rip = rip;
	watch_look_ahead(vcpu, fd, out);
}

/* Does the instruction lead to where the guest is now? Branches through registers or memory may. */
static bool leads_to(const struct watch_look *first, uint64_t rip)
{
	uint64_t next = watch_look_next(first);

	if (rip == next)
		return true;
	return first->insn.op == OP_BRANCH &&
	       (!(first->insn.flags & INSN_IMM) || next + first->insn.imm == rip);
}

/*
 * A KVM that emulates the delivery goes on with the handler's first instruction in the same step. Which
 * vector it was is not told, but the interrupt table has only so many entries: the guest stands at the
 * beginning of one, or behind the first instruction of one.
 */
static void handler_entered(struct watch_vcpu *vcpu, int fd, const struct watch_once *step,
			    const struct watch_frame *frame)
{
	const struct watch_look *after = &step->after;
	bool real = !(after->sregs.cr0 & 1), found = false;
	size_t size = real ? 4 : after->sregs.efer >> 10 & 1 ? 16 : 8;
	struct watch_look first;
	uint8_t gate[16];
	uint64_t rip;

	for (unsigned pass = 0; pass < 2 && !found; pass++) {
		for (unsigned i = 0; i < 256 && (i + 1) * size <= after->sregs.idt.limit + 1u;
		     i++) {
			if (watch_linear_read(vcpu->vm, &after->sregs,
					      after->sregs.idt.base + i * size, gate, size) ||
			    !gate_target(after, gate, &rip))
				continue;
			if (pass == 0 && rip == after->regs.rip)
				return;
			if (pass == 0)
				continue;
			look_at_handler(vcpu, fd, step, frame, rip, &first);
			found = first.decoded && leads_to(&first, after->regs.rip);
			if (found)
				break;
		}
	}
	if (!found) {
		watch_not_covered(vcpu, after,
				  "the first instruction of an event's handler is not "
				  "seen, only what follows");
		return;
	}
	executed(vcpu, &first);
	if (watch_is_split(&first) && !watch_split_lock_allowed()) {
		watch_not_covered(vcpu, &first,
				  "a split lock has run on the real device: the first "
				  "instruction of an event's handler is not seen before");
		watch_end_run(vcpu, &first);
	}
}

/* The guest has been somewhere else in the meantime. */
static void lost(struct watch_vcpu *vcpu, const struct watch_once *step)
{
	const struct watch_look *before = &step->before;
	bool native = step->to_user || (before->mode == 64 && before->cpl == 3);

	if (native && vcpu->told_lost_cpl3)
		return;
	vcpu->told_lost_cpl3 |= native;
	watch_not_covered(
		vcpu, before,
		native ? "64-bit user code: this KVM does not single-step it. None of its "
			 "instructions are seen, here and in all that follows (next seen: "
			 "rip 0x%llx)"
		       : "single-stepping was lost between here and rip 0x%llx: what ran "
			 "there is not seen",
		(unsigned long long)step->after.regs.rip);
}

/* Does RIP lie elsewhere afterwards, where nobody can tell? */
static bool leads_anywhere(const struct watch_once *step)
{
	const struct watch_look *before = &step->before;

	if (step->has_target)
		return false;
	switch (before->insn.op) {
	case OP_BRANCH:
	case OP_JMP_FAR:
	case OP_CALL_FAR:
	case OP_RET_FAR:
	case OP_INT:
	case OP_INT1:
	case OP_INT3:
	case OP_INTO:
	case OP_SYSCALL:
	case OP_SYSENTER:
	case OP_SYSEXIT:
	case OP_RSM:
		return true;
	default:
		return false;
	}
}

/* The monitor gets an exit: the instruction has caused it, or stands in front of it. */
static bool judge_exit(struct watch_vcpu *vcpu, const struct watch_once *step)
{
	uint64_t rip = step->after.regs.rip;
	struct watch_frame frame;

	if (rip == step->before.regs.rip)
		return true;
	if (rip == watch_look_next(&step->before)) {
		executed(vcpu, &step->before);
		return true;
	}
	/* A signal may come behind the delivery of an event; of a shutdown nothing is known. */
	if (step->result < 0 || step->reason == KVM_EXIT_SHUTDOWN)
		return watch_find_frame(vcpu, step, &frame) || step->result == 0;
	return false;
}

static bool judge_step(struct watch_vcpu *vcpu, int fd, struct watch_once *step)
{
	uint64_t rip = step->after.regs.rip, next = watch_look_next(&step->before);
	struct watch_frame frame;

	if (rip == next) {
		executed(vcpu, &step->before);
		if (step->before.insn.op == OP_PUSHF)
			watch_clear_tf(vcpu, &step->after, 0);
		return true;
	}
	if (rip == step->before.regs.rip) { /* REP, or a jump to itself */
		if (step->before.insn.op == OP_BRANCH)
			executed(vcpu, &step->before);
		return true;
	}
	if (step->shadow && step->second.decoded && rip == watch_look_next(&step->second)) {
		executed(vcpu, &step->before);
		executed(vcpu, &step->second);
		return true;
	}
	if (step->has_target && rip == step->target) {
		executed(vcpu, &step->before);
		if (step->before.insn.op == OP_SYSCALL)
			clear_saved_tf(fd, &step->after);
		return true;
	}
	if (leads_anywhere(step)) {
		executed(vcpu, &step->before);
		if (watch_find_frame(vcpu, step, &frame)) /* INT n */
			watch_clear_tf(vcpu, &step->after, frame.offset + 2 * frame.size);
		return true;
	}
	if (!watch_find_frame(vcpu, step, &frame))
		return false;
	if (frame.rip != step->before.regs.rip)
		executed(vcpu, &step->before);
	watch_clear_tf(vcpu, &step->after, frame.offset + 2 * frame.size);
	count_event(vcpu, step, &frame);
	handler_entered(vcpu, fd, step, &frame);
	return true;
}

void watch_judge(struct watch_vcpu *vcpu, int fd, struct watch_once *step, bool ours)
{
	if (!step->before.decoded)
		return;
	if (!(ours ? judge_step(vcpu, fd, step) : judge_exit(vcpu, step)))
		lost(vcpu, step);
}
