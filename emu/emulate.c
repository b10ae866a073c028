/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Integer instructions by hand: on devices, on code pages, and wherever the engine must not have them.
 * Registers change only when nothing can fail any more.
 */
#include "emu/alu.h"
#include "emu/run.h"

#include <string.h>

static enum outcome done(struct emu_vcpu *v, const struct insn *i)
{
	advance_rip(&v->cpu, i);
	return DONE;
}

/* The second operand of ALU and MOV forms. */
static uint64_t source(const struct emu_vcpu *v, const struct insn *i)
{
	return i->flags & INSN_IMM ? i->imm & size_mask(i->opsize)
				   : reg_read(&v->cpu, i->reg, i->opsize, i->rex);
}

/* Does the accumulator take the place of ModRM operands (opcodes like 05 ADD eAX, imm)? */
static bool accumulator_form(const struct insn *i)
{
	return !(i->flags & (INSN_MODRM | INSN_MEM));
}

static enum outcome alu_insn(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t flags = c->rflags, a, b, out;
	bool writes = i->op != OP_CMP && i->op != OP_TEST && i->op != OP_BT;
	enum outcome r;
	if (accumulator_form(i)) {
		a = reg_read(c, EMU_RAX, i->opsize, true);
		out = alu(i->op, i->opsize, a, source(v, i), &flags);
		if (writes)
			reg_write(c, EMU_RAX, i->opsize, true, out);
	} else if (i->flags & INSN_DIR_LOAD) {
		r = operand_read(v, i, i->opsize, &b);
		if (r)
			return r;
		out = alu(i->op, i->opsize, reg_read(c, i->reg, i->opsize, i->rex), b, &flags);
		if (writes)
			reg_write(c, i->reg, i->opsize, i->rex, out);
	} else {
		r = operand_read(v, i, i->opsize, &a);
		if (r)
			return r;
		out = alu(i->op, i->opsize, a, source(v, i), &flags);
		if (writes) {
			r = operand_write(v, i, i->opsize, out);
			if (r)
				return r;
		}
	}
	c->rflags = flags;
	return done(v, i);
}

static enum outcome mov_insn(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t value;
	enum outcome r;
	bool moffs = (i->flags & INSN_MEM) && !(i->flags & INSN_MODRM);
	if (i->flags & INSN_DIR_LOAD) {
		r = operand_read(v, i, i->opsize, &value);
		if (!r)
			reg_write(c, moffs ? EMU_RAX : i->reg, i->opsize, moffs || i->rex, value);
	} else if (!(i->flags & (INSN_MODRM | INSN_MEM))) {
		reg_write(c, i->reg, i->opsize, i->rex, i->imm); /* B0+r, B8+r */
		r = DONE;
	} else {
		value = moffs ? reg_read(c, EMU_RAX, i->opsize, true) : source(v, i);
		r = operand_write(v, i, i->opsize, value);
	}
	return r ? r : done(v, i);
}

static enum outcome extend_insn(struct emu_vcpu *v, const struct insn *i)
{
	/* bytes of the source: 0F B6/BE 1, 0F B7/BF 2, 63 MOVSXD 4 (2 with operand size 16) */
	unsigned from = i->map == MAP_0F ? (i->opcode & 1 ? 2 : 1) : i->opsize == 2 ? 2 : 4;
	uint64_t value;
	enum outcome r = operand_read(v, i, from, &value);
	if (r)
		return r;
	if (i->op == OP_MOVSX)
		value = (uint64_t)((int64_t)(value << (64 - from * 8)) >> (64 - from * 8));
	reg_write(&v->cpu, i->reg, i->opsize, i->rex, value);
	return done(v, i);
}

static enum outcome xchg_insn(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	if (!(i->flags & INSN_MODRM)) { /* 90+r */
		uint64_t a = reg_read(c, EMU_RAX, i->opsize, true),
			 b = reg_read(c, i->reg, i->opsize, true);
		reg_write(c, i->reg, i->opsize, true, a);
		reg_write(c, EMU_RAX, i->opsize, true, b);
		return done(v, i);
	}
	uint64_t old, new = reg_read(c, i->reg, i->opsize, i->rex);
	enum outcome r = operand_read(v, i, i->opsize, &old);
	if (!r)
		r = operand_write(v, i, i->opsize, new);
	if (r)
		return r;
	reg_write(c, i->reg, i->opsize, i->rex, old);
	return done(v, i);
}

static enum outcome xadd_insn(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t flags = c->rflags, old;
	enum outcome r = operand_read(v, i, i->opsize, &old);
	if (r)
		return r;
	uint64_t sum = alu(OP_ADD, i->opsize, old, reg_read(c, i->reg, i->opsize, i->rex), &flags);
	if (!(i->flags & INSN_MEM))
		reg_write(c, i->reg, i->opsize, i->rex, old); /* XADD r,r: the sum wins */
	r = operand_write(v, i, i->opsize, sum);
	if (r)
		return r;
	if (i->flags & INSN_MEM)
		reg_write(c, i->reg, i->opsize, i->rex, old);
	c->rflags = flags;
	return done(v, i);
}

static enum outcome cmpxchg_insn(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t flags = c->rflags, old, a = reg_read(c, EMU_RAX, i->opsize, true);
	enum outcome r = operand_read(v, i, i->opsize, &old);
	if (r)
		return r;
	alu(OP_CMP, i->opsize, a, old, &flags);
	bool equal = flags & FL_ZF;
	/* the destination is written in either case (SDM vol. 2, CMPXCHG) */
	if (equal || i->flags & INSN_MEM) {
		r = operand_write(v, i, i->opsize,
				  equal ? reg_read(c, i->reg, i->opsize, i->rex) : old);
		if (r)
			return r;
	}
	if (!equal)
		reg_write(c, EMU_RAX, i->opsize, true, old);
	c->rflags = flags;
	return done(v, i);
}

static enum outcome cmpxchg8b_insn(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t old, expected = (uint32_t)c->gpr[EMU_RAX] | c->gpr[EMU_RDX] << 32;
	uint64_t new = (uint32_t)c->gpr[EMU_RBX] | c->gpr[EMU_RCX] << 32;
	enum outcome r = operand_read(v, i, 8, &old);
	if (!r)
		r = operand_write(v, i, 8, old == expected ? new : old);
	if (r)
		return r;
	if (old == expected) {
		c->rflags |= FL_ZF;
	} else {
		c->rflags &= ~(uint64_t)FL_ZF;
		c->gpr[EMU_RAX] = (uint32_t)old;
		c->gpr[EMU_RDX] = old >> 32;
	}
	return done(v, i);
}

/* ------------------------------------------------------------------ strings: one iteration */

static void step_index(struct cpu *c, unsigned reg, unsigned addrsize, unsigned size)
{
	uint64_t next = c->gpr[reg] + (c->rflags & FL_DF ? -(uint64_t)size : size);
	reg_write(c, reg, addrsize, true, next);
}

static enum outcome string_insn(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	bool rep = i->flags & (INSN_REP | INSN_REPNE);
	uint64_t mask = size_mask(i->addrsize), value = 0, other = 0, linear, flags = c->rflags;
	unsigned size = i->opsize;
	enum outcome r = DONE;
	if (rep && !(c->gpr[EMU_RCX] & mask))
		return done(v, i);

	bool reads_si = i->op == OP_MOVS || i->op == OP_LODS || i->op == OP_CMPS;
	bool reads_di = i->op == OP_CMPS || i->op == OP_SCAS;
	bool writes_di = i->op == OP_MOVS || i->op == OP_STOS;
	/* CMPS: processors begin with ES:DI, Linux's emulator with DS:SI */
	for (int n = 0; n < 2 && !r; n++) {
		bool di = n == v->run->emulating;
		unsigned seg = di ? SEG_ES : i->seg, index = di ? EMU_RDI : EMU_RSI;

		if (!(di ? reads_di : reads_si))
			continue;
		r = seg_linear(v, seg, c->gpr[index] & mask, size, false, &linear);
		if (!r)
			r = data_read(v, linear, di ? &other : &value, size);
	}
	if (!r && writes_di) {
		if (i->op == OP_STOS)
			value = c->gpr[EMU_RAX];
		r = seg_linear(v, SEG_ES, c->gpr[EMU_RDI] & mask, size, true, &linear);
		r = r ? r : data_write(v, linear, &value, size);
	}
	if (r)
		return r;

	if (i->op == OP_CMPS)
		alu(OP_CMP, size, value, other, &flags);
	else if (i->op == OP_SCAS)
		alu(OP_CMP, size, reg_read(c, EMU_RAX, size, true), other, &flags);
	else if (i->op == OP_LODS)
		reg_write(c, EMU_RAX, size, true, value);
	c->rflags = flags;
	if (reads_si)
		step_index(c, EMU_RSI, i->addrsize, size);
	if (reads_di || writes_di)
		step_index(c, EMU_RDI, i->addrsize, size);
	if (!rep)
		return done(v, i);
	reg_write(c, EMU_RCX, i->addrsize, true, c->gpr[EMU_RCX] - 1);
	bool more = c->gpr[EMU_RCX] & mask;
	if (reads_di) /* REPE goes on while equal, REPNE while not */
		more = more && !(flags & FL_ZF) == !!(i->flags & INSN_REPNE);
	return more ? DONE : done(v, i);
}

/* ------------------------------------------------------------------ stack */

static unsigned stack_operand(const struct insn *i)
{
	/* in 64-bit mode there are no 32-bit pushes (SDM vol. 2, PUSH) */
	return i->mode == 64 && i->opsize != 2 ? 8 : i->opsize;
}

static enum outcome push_insn(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	unsigned size = stack_operand(i);
	uint64_t value, rsp = c->gpr[EMU_RSP];
	enum outcome r = DONE;
	if (i->flags & INSN_IMM)
		value = i->imm;
	else if (i->flags & INSN_MODRM)
		r = operand_read(v, i, size, &value);
	else
		value = reg_read(c, i->reg, size, true);
	if (!r)
		r = stack_push(v, &rsp, size, value);
	if (r)
		return r;
	c->gpr[EMU_RSP] = rsp;
	return done(v, i);
}

static enum outcome pop_insn(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	unsigned size = stack_operand(i);
	uint64_t value, old = c->gpr[EMU_RSP], rsp = old;
	enum outcome r = stack_pop(v, &rsp, size, &value);
	if (r)
		return r;
	/* an address that depends on RSP uses the value after the pop (SDM vol. 2, POP) */
	c->gpr[EMU_RSP] = rsp;
	if (i->flags & INSN_MODRM)
		r = operand_write(v, i, size, value);
	else
		reg_write(c, i->reg, size, true, value);
	if (r) {
		c->gpr[EMU_RSP] = old;
		return r;
	}
	return done(v, i);
}

/* ------------------------------------------------------------------ near branches */

bool flags_condition(uint64_t flags, unsigned code)
{
	bool cf = flags & FL_CF, zf = flags & FL_ZF, sf = flags & FL_SF, of = flags & FL_OF;
	static const uint64_t single[] = { FL_OF, FL_CF, FL_ZF, 0, FL_SF, FL_PF };
	bool met;
	switch (code >> 1) {
	case 3:
		met = cf || zf;
		break;
	case 6:
		met = sf != of;
		break;
	case 7:
		met = zf || sf != of;
		break;
	default:
		met = flags & single[code >> 1];
	}
	return met != (code & 1);
}

/* LOOPNE, LOOPE, LOOP, JCXZ: E0 to E3. */
static bool count_condition(struct cpu *c, const struct insn *i, uint64_t *count)
{
	uint64_t mask = size_mask(i->addrsize);
	*count = c->gpr[EMU_RCX];
	if (i->opcode == 0xe3)
		return !(*count & mask);
	*count = i->addrsize == 2 ? (*count & ~mask) | ((*count - 1) & mask) : (*count - 1) & mask;
	if (!(*count & mask))
		return false;
	return i->opcode == 0xe2 || !!(c->rflags & FL_ZF) == (i->opcode == 0xe1);
}

enum branch { JUMP, CALL, RETURN, NOT_TAKEN };

/* Which way does it go, and where (not for RET, whose target is on the stack)? */
static enum outcome branch_target(struct emu_vcpu *v, const struct insn *i, unsigned size,
				  uint64_t next, enum branch *kind, uint64_t *target,
				  uint64_t *count)
{
	struct cpu *c = &v->cpu;
	*kind = JUMP;
	*target = (next + i->imm) & size_mask(size);
	*count = c->gpr[EMU_RCX];
	if (i->map == MAP_0F) { /* 0F 80 to 8F */
		*kind = flags_condition(c->rflags, i->opcode & 15) ? JUMP : NOT_TAKEN;
		return DONE;
	}
	switch (i->opcode) {
	case 0xe8:
		*kind = CALL;
		return DONE;
	case 0xe9:
	case 0xeb:
		return DONE;
	case 0xc2:
	case 0xc3:
		*kind = RETURN;
		return DONE;
	case 0xe0:
	case 0xe1:
	case 0xe2:
	case 0xe3:
		*kind = count_condition(c, i, count) ? JUMP : NOT_TAKEN;
		return DONE;
	case 0xff:
		*kind = (i->modrm >> 3 & 7) == 2 ? CALL : JUMP;
		return operand_read(v, i, size, target);
	default: /* 70 to 7F */
		*kind = flags_condition(c->rflags, i->opcode & 15) ? JUMP : NOT_TAKEN;
		return DONE;
	}
}

static enum outcome branch_insn(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	unsigned size = i->mode == 64 ? 8
				      : i->opsize; /* Intel ignores 66 there (SDM vol. 2, JMP) */
	uint64_t next = c->rip + i->length, target, count, rsp = c->gpr[EMU_RSP];
	enum branch kind;
	enum outcome r = branch_target(v, i, size, next, &kind, &target, &count);
	if (!r && kind == RETURN)
		r = stack_pop(v, &rsp, size, &target);
	if (r)
		return r;
	if (kind == NOT_TAKEN) {
		c->gpr[EMU_RCX] = count;
		return done(v, i);
	}
	if (i->mode == 64 ? !canonical(c, target) : target > c->segment[EMU_CS].limit)
		return raise_error(v, EXC_GP, 0);
	if (kind == CALL) {
		r = stack_push(v, &rsp, size, next & size_mask(size));
		if (r)
			return r;
	}
	if (kind == RETURN && i->opcode == 0xc2) {
		uint64_t mask = size_mask(stack_size(c));
		rsp = (rsp & ~mask) | ((rsp + (uint16_t)i->imm) & mask);
	}
	c->gpr[EMU_RCX] = count;
	c->gpr[EMU_RSP] = rsp;
	c->rip = target;
	return DONE;
}

enum outcome hand_execute(struct emu_vcpu *v, const struct insn *i)
{
	switch (i->op) {
	case OP_ADD:
	case OP_OR:
	case OP_ADC:
	case OP_SBB:
	case OP_AND:
	case OP_SUB:
	case OP_XOR:
	case OP_CMP:
	case OP_INC:
	case OP_DEC:
	case OP_NOT:
	case OP_NEG:
	case OP_TEST:
	case OP_BT:
	case OP_BTS:
	case OP_BTR:
	case OP_BTC:
		return alu_insn(v, i);
	case OP_MOV:
		return mov_insn(v, i);
	case OP_MOVZX:
	case OP_MOVSX:
		return extend_insn(v, i);
	case OP_XCHG:
		return xchg_insn(v, i);
	case OP_XADD:
		return xadd_insn(v, i);
	case OP_CMPXCHG:
		return cmpxchg_insn(v, i);
	case OP_CMPXCHG8B:
		return cmpxchg8b_insn(v, i);
	case OP_MOVS:
	case OP_STOS:
	case OP_LODS:
	case OP_CMPS:
	case OP_SCAS:
		return string_insn(v, i);
	case OP_PUSH:
		return push_insn(v, i);
	case OP_POP:
		return pop_insn(v, i);
	case OP_BRANCH:
		return branch_insn(v, i);
	default:
		return gap_execute(v, i);
	}
}
