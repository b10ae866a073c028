/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instructions that the engine has but gets wrong in some forms: found by `buslock verify`, executed by
 * hand instead. Each with what is wrong in qemu/target/i386/translate.c of Unicorn 2.1.1.
 */
#include "emu/access.h"
#include "emu/alu.h"
#include "emu/run.h"
#include "emu/vm.h"

#include <string.h>

enum { OPCODE_LAHF = 0x9f, OPCODE_SAHF = 0x9e };

/* SETcc to memory: what it computes from the flags it puts where they were, and a store that then
 * faults, or meets a device, finds them changed (gen_setcc1() in front of the store). */
static bool is_setcc(const struct insn *i)
{
	return i->map == MAP_0F && (i->opcode & 0xf0) == 0x90;
}

/* RCL and RCR of memory: likewise (gen_rotc_rm_T1()). */
static bool is_rotate_through_carry(const struct insn *i)
{
	return i->map == MAP_ONE && i->op == OP_PLAIN && (i->modrm & 0x30) == 0x10 &&
	       ((i->opcode & 0xfe) == 0xc0 || (i->opcode & 0xfc) == 0xd0);
}

/* 0F 0D and 0F 18 with a register: #UD in the engine. Reserved NOPs (SDM vol. 2, table A-6, group 16;
 * 0F 0D so on Intel's parts, as the device shows). */
static bool is_hint(const struct insn *i)
{
	return i->map == MAP_0F && (i->opcode == 0x0d || i->opcode == 0x18) &&
	       !(i->flags & INSN_MEM);
}

/* SHLD and SHRD by an immediate, relative to RIP: the address is one byte short (no rip_offset). */
static bool is_double_shift(const struct insn *i)
{
	return i->map == MAP_0F && (i->opcode == 0xa4 || i->opcode == 0xac) &&
	       i->base == INSN_REG_RIP;
}

/* MMX registers 8 to 15 do not exist, REX.R and REX.B are ignored (SDM vol. 2, 2.2.1.2). The engine
 * writes behind the register file instead. Refused: nobody writes such code but to do that. */
static bool is_mmx_with_rex(const struct insn *i)
{
	return (i->map == MAP_0F38 || i->map == MAP_0F3A) && i->flags & INSN_SSE && i->rex & 5 &&
	       !(i->flags & (INSN_OPSIZE | INSN_REP | INSN_REPNE));
}

/* CLFLUSH, CLFLUSHOPT: no fault in the engine, which does nothing there. */
static bool is_flush(const struct insn *i)
{
	return i->map == MAP_0F && i->opcode == 0xae && (i->modrm >> 3 & 7) == 7 &&
	       i->flags & INSN_MEM;
}

/* PHADDW … PHSUBSW of an XMM register with itself: the engine reads what it has already written. */
static bool is_horizontal(const struct insn *i)
{
	return i->map == MAP_0F38 && i->opcode >= 1 && i->opcode <= 7 && i->opcode != 4 &&
	       i->flags & INSN_SSE && i->flags & INSN_OPSIZE &&
	       !(i->flags & (INSN_MEM | INSN_REP | INSN_REPNE)) && i->reg == i->rm;
}

bool engine_gets_wrong(const struct emu_vcpu *v, const struct insn *i)
{
	switch (i->op) {
	case OP_TEST: /* F6 /1, F7 /1: #UD; all processors have TEST there, as at /0 (APM vol. 3, A.2) */
		return (i->opcode & 0xfe) == 0xf6 && (i->modrm >> 3 & 7) == 1;
	case OP_CMPXCHG: /* 32-bit registers: upper halves are cleared that hardware leaves alone */
		return i->opsize == 4 && i->mode == 64 && !(i->flags & INSN_MEM);
	case OP_BRANCH:
		if (i->map != MAP_ONE)
			return false;
		/* LOOPNE, LOOPE: the flags are lost when RCX becomes 0. RET imm16: taken as signed. */
		return (i->opcode & 0xfe) == 0xe0 || (i->opcode == 0xc2 && i->imm & 0x8000);
	case OP_PUSH_SEG: /* the engine writes 32 bits; Intel's parts 16 of them (SDM vol. 2, PUSH) */
		return i->opsize == 4 && v->vm->config.vendor == EMU_INTEL;
	case OP_MOV: /* C6, C7 with REX.R: #UD, though the bit means nothing in a group */
		return (i->opcode & 0xfe) == 0xc6 && i->map == MAP_ONE && i->rex & 4;
	case OP_PLAIN:
		break;
	default:
		return false;
	}
	if (is_hint(i) || is_horizontal(i))
		return true;
	if (i->flags & INSN_MEM)
		return is_setcc(i) || is_rotate_through_carry(i) || is_double_shift(i) ||
		       is_flush(i) || is_mmx_with_rex(i);
	if (is_mmx_with_rex(i))
		return true;
	/* LAHF, SAHF with REX: of SPL instead of AH */
	return i->map == MAP_ONE && i->rex && (i->opcode & 0xfe) == OPCODE_SAHF;
}

/* What is read to be written: a fault of either is one of writing. */
static enum outcome operand_modify(struct emu_vcpu *v, const struct insn *i, uint64_t *value)
{
	uint64_t linear;
	enum outcome r = DONE;

	if (i->flags & INSN_MEM && !v->run->mmio_on) {
		r = operand_linear(v, i, true, &linear);
		if (!r)
			r = linear_probe_write(v, linear, i->opsize, 0);
	}
	return r ? r : operand_read(v, i, i->opsize, value);
}

static enum outcome setcc(struct emu_vcpu *v, const struct insn *i)
{
	enum outcome r = operand_write(v, i, 1, flags_condition(v->cpu.rflags, i->opcode & 15));

	if (!r)
		advance_rip(&v->cpu, i);
	return r;
}

/* One bit at a time; counts are small (SDM vol. 2, RCL/RCR). */
static enum outcome rotate_through_carry(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	unsigned bits = i->opsize * 8, count;
	bool left = (i->modrm >> 3 & 7) == 2, carry = c->rflags & FL_CF, overflow;
	uint64_t value;
	enum outcome r = operand_modify(v, i, &value);

	if (r)
		return r;
	count = (i->opcode & 0xfe) == 0xd0 ? 1
		: i->flags & INSN_IMM      ? (uint8_t)i->imm
					   : (uint8_t)c->gpr[EMU_RCX];
	count &= i->opsize == 8 ? 0x3f : 0x1f;
	for (unsigned n = 0; n < count; n++) {
		bool out = value >> (left ? bits - 1 : 0) & 1;

		value = left ? value << 1 | carry : value >> 1 | (uint64_t)carry << (bits - 1);
		carry = out;
	}
	value &= size_mask(i->opsize);
	r = operand_write(v, i, i->opsize, value);
	if (r)
		return r;
	if (count) {
		/* defined for a count of 1; the same formula for others, as the engine has it */
		overflow = (value >> (bits - 1) & 1) != (left ? carry : value >> (bits - 2) & 1);
		c->rflags = (c->rflags & ~(uint64_t)(FL_CF | FL_OF)) | (carry ? FL_CF : 0) |
			    (overflow ? FL_OF : 0);
	}
	advance_rip(c, i);
	return DONE;
}

static enum outcome double_shift(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	unsigned bits = i->opsize * 8, count = i->imm & (bits == 64 ? 63 : 31);
	uint64_t flags = c->rflags, old, new, in = reg_read(c, i->reg, i->opsize, i->rex);
	bool left = i->opcode == 0xa4, carry;
	enum outcome r = operand_modify(v, i, &old);

	if (r)
		return r;
	new = old;
	/* by more than 16 bits, 16-bit operands are undefined; the engine, as Intel's parts: in:old:in */
	for (unsigned n = 0; n < count; n++) {
		uint64_t bit = left ? in >> ((2 * bits - 1 - n) % bits) : in >> n % bits;

		carry = new >> (left ? bits - 1 : 0) & 1;
		new = left ? new << 1 | (bit & 1) : new >> 1 | (bit & 1) << (bits - 1);
		new &= size_mask(i->opsize);
		flags = (flags & ~(uint64_t)FL_CF) | (carry ? FL_CF : 0);
	}
	r = operand_write(v, i, i->opsize, new);
	if (r)
		return r;
	if (count) {
		uint64_t logic = flags;

		alu(OP_OR, i->opsize, new, 0, &logic); /* ZF SF PF; AF is undefined */
		flags = (logic & ~(uint64_t)(FL_CF | FL_OF)) | (flags & FL_CF);
		if ((old ^ new) >> (bits - 1) & 1)
			flags |= FL_OF;
	}
	c->rflags = flags;
	advance_rip(c, i);
	return DONE;
}

static enum outcome flush(struct emu_vcpu *v, const struct insn *i)
{
	uint64_t byte;
	enum outcome r = operand_read(v, i, 1, &byte);

	if (r) /* of a device: Linux's emulator reads it */
		return r;
	advance_rip(&v->cpu, i);
	return DONE;
}

static enum outcome lahf_sahf(struct emu_vcpu *v, const struct insn *i)
{
	const uint64_t mask = FL_STATUS & ~FL_OF;
	struct cpu *c = &v->cpu;

	if (i->opcode == OPCODE_LAHF)
		reg_write(c, 4, 1, false, (c->rflags & mask) | FL_FIXED);
	else
		c->rflags = (c->rflags & ~mask) | (reg_read(c, 4, 1, false) & mask);
	advance_rip(c, i);
	return DONE;
}

static enum outcome push_segment(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t rsp = c->gpr[EMU_RSP], top, mask = size_mask(stack_size(c)), linear;
	uint16_t selector = c->segment[i->reg].selector;
	enum outcome r;

	top = (rsp & ~mask) | ((rsp - i->opsize) & mask);
	r = seg_linear(v, SEG_SS, top & mask, 2, true, &linear);
	if (!r)
		r = data_write(v, linear, &selector, 2);
	if (r)
		return r;
	c->gpr[EMU_RSP] = top;
	advance_rip(c, i);
	return DONE;
}

static int16_t saturated(int32_t value)
{
	if (value > INT16_MAX)
		return INT16_MAX;
	return value < INT16_MIN ? INT16_MIN : (int16_t)value;
}

/* Both halves of the result are the sums, or differences, of neighbours. SDM vol. 2, PHADDW, PHADDSW, PHSUBW,
 * PHSUBSW. */
static enum outcome horizontal(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	bool subtract = i->opcode & 4, dwords = (i->opcode & 3) == 2,
	     saturate = (i->opcode & 3) == 3;
	uint8_t image[512], *xmm = image + 160 + 16 * i->reg; /* FXSAVE: SDM vol. 1, 10.5.1 */
	int16_t w[8], words[4];
	uint32_t d[4], two[2];

	if (c->cr0 & CR0_EM || !(c->cr4 & CR4_OSFXSR))
		return raise_exception(v, EXC_UD);
	if (c->cr0 & CR0_TS)
		return raise_exception(v, EXC_NM);
	engine_get_fx(v->vm->engine, image);
	memcpy(w, xmm, 16);
	memcpy(d, xmm, 16);
	for (int n = 0; n < 4; n++) {
		int32_t value = subtract ? w[2 * n] - w[2 * n + 1] : w[2 * n] + w[2 * n + 1];

		words[n] = saturate ? saturated(value) : (int16_t)value;
	}
	for (int n = 0; n < 2; n++)
		two[n] = subtract ? d[2 * n] - d[2 * n + 1] : d[2 * n] + d[2 * n + 1];
	memcpy(xmm, dwords ? (void *)two : (void *)words, 8);
	memcpy(xmm + 8, xmm, 8);
	engine_set_fx(v->vm->engine, image);
	advance_rip(c, i);
	return DONE;
}

enum outcome gap_execute(struct emu_vcpu *v, const struct insn *i)
{
	if (!engine_gets_wrong(v, i) || is_mmx_with_rex(i))
		return UNHANDLED;
	if (is_double_shift(i))
		return double_shift(v, i);
	if (is_flush(i))
		return flush(v, i);
	if (i->op == OP_PUSH_SEG)
		return push_segment(v, i);
	if (is_setcc(i))
		return setcc(v, i);
	if (is_rotate_through_carry(i))
		return rotate_through_carry(v, i);
	if (is_hint(i)) {
		advance_rip(&v->cpu, i);
		return DONE;
	}
	return is_horizontal(i) ? horizontal(v, i) : lahf_sahf(v, i);
}
