/* SPDX-License-Identifier: GPL-2.0-only */
/* Registers and memory operands of instructions that are executed by hand. */
#include "emu/run.h"

#include <string.h>

void insn_regs_of(const struct cpu *c, struct insn_regs *regs)
{
	bool flat = in_64bit(c);
	memcpy(regs->gpr, c->gpr, sizeof(regs->gpr));
	regs->rip = c->rip;
	regs->rflags = c->rflags;
	for (unsigned s = 0; s < 6; s++)
		regs->seg_base[s] = flat && s != SEG_FS && s != SEG_GS ? 0 : c->segment[s].base;
	regs->stack_size = (uint8_t)stack_size(c);
}

/* Without REX, byte registers 4 to 7 are AH CH DH BH (SDM vol. 2, 3.1.1.1). */
static bool high_byte(unsigned reg, unsigned size, bool rex)
{
	return size == 1 && !rex && reg >= 4 && reg < 8;
}

uint64_t reg_read(const struct cpu *c, unsigned reg, unsigned size, bool rex)
{
	if (high_byte(reg, size, rex))
		return c->gpr[reg & 3] >> 8 & 0xff;
	return c->gpr[reg & 15] & size_mask(size);
}

void reg_write(struct cpu *c, unsigned reg, unsigned size, bool rex, uint64_t value)
{
	uint64_t *r = &c->gpr[reg & 15];
	if (high_byte(reg, size, rex)) {
		r = &c->gpr[reg & 3];
		*r = (*r & ~0xff00ull) | (value & 0xff) << 8;
	} else if (size >= 4) {
		*r = value & size_mask(size); /* a 32-bit write clears the upper half */
	} else {
		*r = (*r & ~size_mask(size)) | (value & size_mask(size));
	}
}

/* The common case of insn_effective_address(), without a copy of all registers. */
static uint64_t effective_address(const struct cpu *c, const struct insn *i)
{
	if (i->flags & INSN_BITSTRING) {
		struct insn_regs regs;
		insn_regs_of(c, &regs);
		return insn_effective_address(i, &regs);
	}
	uint64_t address = (uint64_t)i->disp;
	if (i->base == INSN_REG_RIP)
		address += c->rip + i->length;
	else if (i->base != INSN_NO_REG)
		address += c->gpr[i->base];
	if (i->index != INSN_NO_REG)
		address += c->gpr[i->index] * i->scale;
	return address & size_mask(i->addrsize);
}

enum outcome operand_linear(struct emu_vcpu *v, const struct insn *i, bool write, uint64_t *linear)
{
	return seg_linear(v, i->seg, effective_address(&v->cpu, i), insn_mem_bytes(i), write,
			  linear);
}

enum outcome operand_read(struct emu_vcpu *v, const struct insn *i, unsigned size, uint64_t *value)
{
	if (!(i->flags & INSN_MEM)) {
		*value = reg_read(&v->cpu, i->rm, size, i->rex);
		return DONE;
	}
	uint64_t linear;
	enum outcome r = operand_linear(v, i, false, &linear);
	*value = 0;
	return r ? r : data_read(v, linear, value, size);
}

enum outcome operand_write(struct emu_vcpu *v, const struct insn *i, unsigned size, uint64_t value)
{
	if (!(i->flags & INSN_MEM)) {
		reg_write(&v->cpu, i->rm, size, i->rex, value);
		return DONE;
	}
	uint64_t linear;
	enum outcome r = operand_linear(v, i, true, &linear);
	return r ? r : data_write(v, linear, &value, size);
}

enum outcome stack_pop(struct emu_vcpu *v, uint64_t *rsp, unsigned size, uint64_t *value)
{
	uint64_t mask = size_mask(stack_size(&v->cpu)), linear;
	*value = 0;
	enum outcome r = seg_linear(v, SEG_SS, *rsp & mask, size, false, &linear);
	if (!r)
		r = data_read(v, linear, value, size);
	if (!r)
		*rsp = (*rsp & ~mask) | ((*rsp + size) & mask);
	return r;
}

enum outcome stack_push(struct emu_vcpu *v, uint64_t *rsp, unsigned size, uint64_t value)
{
	uint64_t mask = size_mask(stack_size(&v->cpu)), linear;
	uint64_t top = (*rsp & ~mask) | ((*rsp - size) & mask);
	enum outcome r = seg_linear(v, SEG_SS, top & mask, size, true, &linear);
	if (!r)
		r = data_write(v, linear, &value, size);
	if (!r)
		*rsp = top;
	return r;
}
