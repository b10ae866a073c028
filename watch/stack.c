// SPDX-License-Identifier: GPL-2.0-only
/* What single-stepping has to know of the guest's stack, and of where control goes. */
#include "watch/step.h"

#include <string.h>

#define FL_TF     0x100u
#define MSR_LSTAR 0xc0000082u

static uint64_t top(const struct watch_look *look)
{
	uint64_t sp = look->regs.rsp;

	if (look->mode == 64)
		return sp;
	return look->sregs.ss.base + (look->sregs.ss.db ? (uint32_t)sp : (uint16_t)sp);
}

int watch_stack_read(struct watch_vcpu *vcpu, const struct watch_look *look, uint64_t offset,
		     void *data, size_t size)
{
	return watch_linear_read(vcpu->vm, &look->sregs, top(look) + offset, data, size);
}

static int stack_write(struct watch_vcpu *vcpu, const struct watch_look *look, uint64_t offset,
		       const void *data, size_t size)
{
	return watch_linear_write(vcpu->vm, &look->sregs, top(look) + offset, data, size);
}

/* ------------------------------------------------------------------ events */

static bool is_interrupted(const struct watch_once *step, uint64_t rip, uint64_t cs)
{
	if (step->has_target && rip == step->target)
		return true;
	return cs == step->before.sregs.cs.selector &&
	       (rip == step->before.regs.rip || rip == watch_look_next(&step->before));
}

/* The handler's first instruction may have pushed something by now: as much as PUSHA does. */
#define FRAME_WORDS 10

bool watch_find_frame(struct watch_vcpu *vcpu, const struct watch_once *step,
		      struct watch_frame *frame)
{
	const struct watch_look *after = &step->after;
	bool real = !(after->sregs.cr0 & 1);
	uint64_t cs;
	uint8_t bytes[(FRAME_WORDS + 2) * 8];
	unsigned words = FRAME_WORDS + 2;

	frame->size = after->mode == 64 ? 8 : real || after->mode == 16 ? 2 : 4;
	/* less, where the stack begins */
	while (watch_stack_read(vcpu, after, 0, bytes, (size_t)words * frame->size))
		if (--words < 3)
			return false;
	for (unsigned i = 0; i + 2 <= words; i++) {
		frame->offset = (uint64_t)i * frame->size;
		frame->rip = cs = 0;
		memcpy(&frame->rip, bytes + frame->offset, frame->size);
		memcpy(&cs, bytes + frame->offset + frame->size, 2);
		if (is_interrupted(step, frame->rip, cs))
			return true;
	}
	return false;
}

void watch_clear_tf(struct watch_vcpu *vcpu, const struct watch_look *look, uint64_t offset)
{
	uint16_t flags;

	if (watch_stack_read(vcpu, look, offset, &flags, sizeof(flags)) || !(flags & FL_TF))
		return;
	flags &= (uint16_t)~FL_TF;
	stack_write(vcpu, look, offset, &flags, sizeof(flags));
}

/* ------------------------------------------------------------------ where control goes */

static uint64_t masked(uint64_t rip, unsigned size)
{
	return size == 8 ? rip : size == 4 ? (uint32_t)rip : (uint16_t)rip;
}

/* Near JMP, Jcc, CALL, RET, LOOP, JCXZ (SDM vol. 2). Of the conditional ones the other way is the next
 * instruction. */
static bool near_target(struct watch_vcpu *vcpu, const struct watch_look *look, uint64_t *rip)
{
	const struct insn *insn = &look->insn;
	unsigned size = look->mode == 64 ? 8 : insn->opsize;
	struct insn_access access[INSN_MAX_ACCESSES];
	struct insn_regs regs;

	*rip = 0;
	watch_look_insn_registers(look, &regs);
	if (insn->map == MAP_ONE && (insn->opcode == 0xc2 || insn->opcode == 0xc3)) {
		if (watch_stack_read(vcpu, look, 0, rip, size))
			return false;
	} else if (insn->map == MAP_ONE && insn->opcode == 0xff && insn->flags & INSN_MEM) {
		if (insn_accesses(insn, &regs, access) < 1 ||
		    watch_linear_read(vcpu->vm, &look->sregs, access[0].linear, rip, size))
			return false;
	} else if (insn->map == MAP_ONE && insn->opcode == 0xff) {
		*rip = regs.gpr[insn->rm];
	} else if (insn->flags & INSN_IMM) {
		*rip = look->regs.rip + insn->length + insn->imm;
	} else {
		return false;
	}
	*rip = masked(*rip, size);
	return true;
}

static bool syscall_target(int fd, uint64_t *rip)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msr = { .header.nmsrs = 1, .entry.index = MSR_LSTAR };

	if (watch.kernel->ioctl(fd, KVM_GET_MSRS, (unsigned long)&msr) != 1)
		return false;
	*rip = msr.entry.data;
	return true;
}

static bool iret_target(struct watch_vcpu *vcpu, const struct watch_look *look, uint64_t *rip,
			bool *to_user)
{
	uint16_t cs = 0;

	*rip = 0;
	if (watch_stack_read(vcpu, look, 0, rip, look->insn.opsize) ||
	    watch_stack_read(vcpu, look, look->insn.opsize, &cs, 2))
		return false;
	*to_user = look->mode == 64 && (cs & 3) == 3;
	return true;
}

void watch_find_target(struct watch_vcpu *vcpu, int fd, struct watch_once *step)
{
	const struct watch_look *look = &step->before;

	step->has_target = step->to_user = false;
	if (!look->decoded)
		return;
	switch (look->insn.op) {
	case OP_BRANCH:
		step->has_target = near_target(vcpu, look, &step->target);
		break;
	case OP_SYSCALL:
		step->has_target = look->mode == 64 && syscall_target(fd, &step->target);
		break;
	case OP_SYSRET:
		step->target = masked(look->regs.rcx, look->insn.opsize == 8 ? 8 : 4);
		step->has_target = step->to_user = true;
		break;
	case OP_IRET:
		step->has_target = iret_target(vcpu, look, &step->target, &step->to_user);
		break;
	}
}
