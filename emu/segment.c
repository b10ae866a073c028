// SPDX-License-Identifier: GPL-2.0-only
/* Instructions that load segment and descriptor-table registers (SDM vol. 2, their pages). */
#include "emu/segment.h"

#include <string.h>

static enum outcome load_any_mode(struct emu_vcpu *v, unsigned seg, uint16_t selector)
{
	if (in_protected(&v->cpu))
		return segment_load(v, seg, selector);
	segment_load_real(&v->cpu, seg, selector);
	return DONE;
}

static void finish(struct cpu *c, const struct insn *i)
{
	advance_rip(c, i);
	c->rflags &= ~(uint64_t)FL_RF;
}

/* The next instruction may set (E)SP undisturbed: SDM 6.8.3. LSS needs none and makes none. */
static void finish_stack_load(struct cpu *c, const struct insn *i, unsigned seg)
{
	finish(c, i);
	if (seg == EMU_SS)
		c->shadow = EMU_SHADOW_MOV_SS;
}

static enum outcome mov_to_seg(struct emu_vcpu *v, const struct insn *i)
{
	uint64_t selector;
	enum outcome o = operand_read(v, i, 2, &selector);

	if (o == DONE)
		o = load_any_mode(v, i->reg, (uint16_t)selector);
	if (o == DONE)
		finish_stack_load(&v->cpu, i, i->reg);
	return o;
}

static enum outcome pop_seg(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t selector, rsp;
	/* with the stack that it was popped from */
	enum outcome o = stack_get(v, 0, &selector, 1, i->opsize);

	if (o != DONE)
		return o;
	rsp = stack_pointer(c->gpr[EMU_RSP], c->gpr[EMU_RSP] + i->opsize, stack_size(c));
	o = load_any_mode(v, i->reg, (uint16_t)selector);
	if (o != DONE)
		return o;
	c->gpr[EMU_RSP] = rsp;
	finish_stack_load(c, i, i->reg);
	return DONE;
}

static unsigned far_load_target(const struct insn *i)
{
	if (i->map == MAP_ONE)
		return i->opcode == 0xc4 ? EMU_ES : EMU_DS;
	return i->opcode == 0xb2 ? EMU_SS : i->opcode == 0xb4 ? EMU_FS : EMU_GS;
}

/* LDS, LES, LSS, LFS, LGS */
static enum outcome load_far(struct emu_vcpu *v, const struct insn *i)
{
	/* APM vol. 3: AMD has no 64-bit offsets here, REX.W is ignored */
	unsigned size = i->opsize == 8 && vendor_is_amd(v) ? 4 : i->opsize;
	struct insn operand = *i;
	uint64_t linear, offset = 0;
	uint8_t bytes[10];
	uint16_t selector;
	enum outcome o;

	operand.mem_size = (uint8_t)(size + 2);
	o = operand_linear(v, &operand, false, &linear);
	if (o == DONE)
		o = linear_read(v, linear, bytes, size + 2, 0);
	if (o != DONE)
		return o;
	memcpy(&offset, bytes, size);
	memcpy(&selector, bytes + size, sizeof(selector));
	o = load_any_mode(v, far_load_target(i), selector);
	if (o != DONE)
		return o;
	reg_write(&v->cpu, i->reg, size, i->rex, offset);
	finish(&v->cpu, i);
	return DONE;
}

enum outcome insn_mov_to_seg(struct emu_vcpu *v, const struct insn *i)
{
	switch (i->op) {
	case OP_MOV_TO_SEG:
		return mov_to_seg(v, i);
	case OP_POP_SEG:
		return pop_seg(v, i);
	case OP_LOAD_FAR:
		return load_far(v, i);
	default:
		return UNHANDLED;
	}
}

/* ------------------------------------------------------------------ LGDT LIDT LLDT LTR */

/* Limit, then a base of 8 bytes in 64-bit mode, else 4, of which a 16-bit operand size takes 3. */
static enum outcome load_gdt_idt(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	unsigned size = in_64bit(c) ? 10 : 6;
	uint64_t linear, base = 0;
	uint8_t bytes[10];
	uint16_t limit;
	enum outcome o = operand_linear(v, i, false, &linear);

	if (o == DONE)
		o = linear_read(v, linear, bytes, size, 0);
	if (o != DONE)
		return o;
	memcpy(&limit, bytes, sizeof(limit));
	memcpy(&base, bytes + 2, size - 2);
	if (size == 10 && !canonical(c, base))
		return raise_error(v, EXC_GP, 0);
	if (size == 6 && i->opsize == 2)
		base &= 0xffffff;
	*(i->op == OP_LGDT ? &c->gdt : &c->idt) = (struct segment){ .base = base, .limit = limit };
	finish(c, i);
	return DONE;
}

static bool loads_system_type(const struct emu_vcpu *v, const struct insn *i, unsigned type)
{
	if (i->op == OP_LLDT)
		return type == SYS_LDT;
	return type == SYS_TSS || (type == SYS_TSS16 && !in_long_mode(&v->cpu));
}

/* LLDT and LTR */
static enum outcome load_system(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	unsigned seg = i->op == OP_LLDT ? EMU_LDTR : EMU_TR;
	uint64_t operand;
	uint16_t selector;
	struct descriptor d;
	enum outcome o = operand_read(v, i, 2, &operand);

	if (o != DONE)
		return o;
	selector = (uint16_t)operand;
	if (SELECTOR_IS_NULL(selector)) {
		if (seg == EMU_TR)
			return raise_error(v, EXC_GP, 0);
		c->segment[seg] = segment_null(selector);
		finish(c, i);
		return DONE;
	}
	if (selector & SELECTOR_TI)
		return raise_error(v, EXC_GP, SELECTOR_ERROR(selector));
	o = descriptor_read(v, selector, EXC_GP, &d);
	if (o != DONE)
		return o;
	if (!loads_system_type(v, i, descriptor_system_type(&d)))
		return raise_error(v, EXC_GP, SELECTOR_ERROR(selector));
	if (!(d.high & DESC_P))
		return raise_error(v, EXC_NP, SELECTOR_ERROR(selector));
	o = descriptor_read_upper(v, selector, EXC_GP, &d);
	if (o == DONE && !canonical(c, descriptor_base(&d)))
		o = raise_error(v, EXC_GP, SELECTOR_ERROR(selector));
	if (o == DONE && seg == EMU_TR) {
		o = descriptor_set(v, d.linear, DESC_BUSY);
		d.high |= DESC_BUSY;
	}
	if (o != DONE)
		return o;
	c->segment[seg] = segment_of(selector, &d);
	finish(c, i);
	return DONE;
}

enum outcome insn_load_table(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	bool system = i->op == OP_LLDT || i->op == OP_LTR;

	if (system && !in_protected(c))
		return raise(v, EXC_UD); /* not recognized there */
	if (c->cpl != 0)
		return raise_error(v, EXC_GP, 0);
	return system ? load_system(v, i) : load_gdt_idt(v, i);
}
