/* SPDX-License-Identifier: GPL-2.0-only */
#include "emu/alu.h"

static uint64_t sign_bit(unsigned size)
{
	return 1ull << (size * 8 - 1);
}

/* ZF, SF, PF of a result */
static uint64_t result_flags(uint64_t result, unsigned size)
{
	uint64_t flags = (result & size_mask(size)) ? 0 : FL_ZF;
	if (result & sign_bit(size))
		flags |= FL_SF;
	if (!(__builtin_popcount(result & 0xff) & 1))
		flags |= FL_PF;
	return flags;
}

static void set_flags(uint64_t *rflags, uint64_t mask, uint64_t value)
{
	*rflags = (*rflags & ~mask) | (value & mask);
}

static uint64_t add(unsigned size, uint64_t a, uint64_t b, unsigned carry, uint64_t *rflags,
		    uint64_t mask)
{
	uint64_t m = size_mask(size);
	a &= m, b &= m;
	uint64_t sum = (a + b + carry) & m;
	uint64_t flags = result_flags(sum, size) | ((a ^ b ^ sum) & FL_AF);
	if (carry ? sum <= a : sum < a)
		flags |= FL_CF;
	if (~(a ^ b) & (a ^ sum) & sign_bit(size))
		flags |= FL_OF;
	set_flags(rflags, mask, flags);
	return sum;
}

static uint64_t subtract(unsigned size, uint64_t a, uint64_t b, unsigned borrow, uint64_t *rflags,
			 uint64_t mask)
{
	uint64_t m = size_mask(size);
	a &= m, b &= m;
	uint64_t difference = (a - b - borrow) & m;
	uint64_t flags = result_flags(difference, size) | ((a ^ b ^ difference) & FL_AF);
	if (borrow ? a <= b : a < b)
		flags |= FL_CF;
	if ((a ^ b) & (a ^ difference) & sign_bit(size))
		flags |= FL_OF;
	set_flags(rflags, mask, flags);
	return difference;
}

static uint64_t logic(unsigned size, uint64_t result, uint64_t *rflags)
{
	set_flags(rflags, FL_STATUS, result_flags(result, size));
	return result & size_mask(size);
}

static uint64_t bit(enum insn_op op, unsigned size, uint64_t dst, uint64_t number, uint64_t *rflags)
{
	uint64_t mask = 1ull << (number & (size * 8 - 1));
	set_flags(rflags, FL_CF, dst & mask ? FL_CF : 0);
	return op == OP_BTS   ? dst | mask
	       : op == OP_BTR ? dst & ~mask
	       : op == OP_BTC ? dst ^ mask
			      : dst;
}

uint64_t alu(enum insn_op op, unsigned size, uint64_t dst, uint64_t src, uint64_t *rflags)
{
	unsigned carry = *rflags & FL_CF;
	switch (op) {
	case OP_ADD:
	case OP_XADD:
		return add(size, dst, src, 0, rflags, FL_STATUS);
	case OP_ADC:
		return add(size, dst, src, carry, rflags, FL_STATUS);
	case OP_SUB:
		return subtract(size, dst, src, 0, rflags, FL_STATUS);
	case OP_SBB:
		return subtract(size, dst, src, carry, rflags, FL_STATUS);
	case OP_CMP:
		subtract(size, dst, src, 0, rflags, FL_STATUS);
		return dst;
	case OP_INC: /* CF stays */
		return add(size, dst, 1, 0, rflags, FL_STATUS & ~FL_CF);
	case OP_DEC:
		return subtract(size, dst, 1, 0, rflags, FL_STATUS & ~FL_CF);
	case OP_NEG:
		return subtract(size, 0, dst, 0, rflags, FL_STATUS);
	case OP_NOT:
		return ~dst & size_mask(size);
	case OP_AND:
		return logic(size, dst & src, rflags);
	case OP_OR:
		return logic(size, dst | src, rflags);
	case OP_XOR:
		return logic(size, dst ^ src, rflags);
	case OP_TEST:
		logic(size, dst & src, rflags);
		return dst;
	case OP_BT:
	case OP_BTS:
	case OP_BTR:
	case OP_BTC:
		return bit(op, size, dst, src, rflags);
	case OP_XCHG:
	case OP_MOV:
		return src & size_mask(size);
	default:
		return dst;
	}
}
