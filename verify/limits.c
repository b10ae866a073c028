// SPDX-License-Identifier: GPL-2.0-only
#include "verify/limits.h"

/* By the opcode alone, where one operation's name is not enough. */
static bool is(const struct insn *insn, unsigned map, unsigned opcode)
{
	return insn->map == map && insn->opcode == opcode;
}

static bool not_interpreted(const struct mode *mode, const struct insn *insn)
{
	return !mode->native && insn->op != OP_UD && !(insn->flags & INSN_KVM_EMULATES);
}

static bool interpreted_vector(const struct mode *mode, const struct insn *insn)
{
	return !mode->native && insn->flags & INSN_SSE;
}

static bool movbe(const struct mode *mode, const struct insn *insn)
{
	return !mode->native && insn->map == MAP_0F38;
}

static bool repeated(const struct mode *mode, const struct insn *insn)
{
	(void)mode;
	return (insn->flags & (INSN_REP | INSN_REPNE)) && insn->map == MAP_0F &&
	       (insn->opcode == 0xb8 || insn->opcode == 0xbc || insn->opcode == 0xbd);
}

static bool bswap16(const struct mode *mode, const struct insn *insn)
{
	(void)mode;
	return insn->map == MAP_0F && (insn->opcode & 0xf8) == 0xc8 && insn->opsize == 2;
}

static bool by_nature(const struct mode *mode, const struct insn *insn)
{
	(void)mode;
	switch (insn->op) {
	case OP_CPUID:
	case OP_RDTSC:
	case OP_RDTSCP:
	case OP_RDPMC:
	case OP_RDPID:
	case OP_PAUSE:
		return true;
	default: /* RDRAND, RDSEED */
		return is(insn, MAP_0F, 0xc7) && !(insn->flags & INSN_MEM);
	}
}

static bool int_n(const struct mode *mode, const struct insn *insn)
{
	return mode->protected && !mode->native && (insn->op == OP_INT || insn->op == OP_INT3 || insn->op == OP_INTO);
}

static bool x87(const struct mode *mode, const struct insn *insn)
{
	(void)mode;
	return insn->map == MAP_ONE && ((insn->opcode & 0xf8) == 0xd8 || insn->opcode == 0x9b);
}

const struct limit limits[] = {
	{ LIMIT_NEITHER, "CPUID RDTSC RDRAND RDPID PAUSE", "different by nature", by_nature },
	{ LIMIT_NEITHER, "BSWAP of 16 bits", "undefined (SDM vol. 2, BSWAP)", bswap16 },
	{ LIMIT_DEVICE, "INT n, INT3, INTO outside real mode", "KVM_EXIT_INTERNAL_ERROR: its emulator has them for real mode only", int_n },
	{ LIMIT_DEVICE, "what Linux's emulator does not know", "emulate.c has no row for it", not_interpreted },
	{ LIMIT_DEVICE, "x87, MMX, SSE interpreted", "its emulator moves data at best", interpreted_vector },
	{ LIMIT_DEVICE, "MOVBE", "#UD", movbe },
	{ LIMIT_NEITHER, "POPCNT TZCNT LZCNT", "", repeated },
	{ LIMIT_EMULATOR, "x87", "", x87 },
};
const unsigned limits_count = sizeof(limits) / sizeof(limits[0]);

const struct limit *limit_find(const struct mode *mode, const struct insn *insn)
{
	for (unsigned i = 0; i < limits_count; i++)
		if (limits[i].applies(mode, insn))
			return &limits[i];
	return NULL;
}
