// SPDX-License-Identifier: GPL-2.0-only
#include "verify/flags.h"

#include <stddef.h>

#define NONE 0
#define ALL  FLAGS_STATUS
#define CF   FLAG_CF
#define PF   FLAG_PF
#define AF   FLAG_AF
#define ZF   FLAG_ZF
#define SF   FLAG_SF
#define OF   FLAG_OF

/*
 * SDM vol. 2, the section "Flags Affected" of each instruction; vol. 1, appendix A, has them in one
 * table. By operation:
 */
static const struct flag_effect by_op[OP_COUNT] = {
	/*               uses  defines    undefined */
	[OP_ADD] = { NONE, ALL, NONE },
	[OP_SUB] = { NONE, ALL, NONE },
	[OP_CMP] = { NONE, ALL, NONE },
	[OP_XADD] = { NONE, ALL, NONE },
	[OP_CMPXCHG] = { NONE, ALL, NONE },
	[OP_NEG] = { NONE, ALL, NONE },
	[OP_CMPS] = { NONE, ALL, NONE },
	[OP_SCAS] = { NONE, ALL, NONE },
	[OP_ADC] = { CF, ALL, NONE },
	[OP_SBB] = { CF, ALL, NONE },
	[OP_AND] = { NONE, ALL, AF },
	[OP_OR] = { NONE, ALL, AF },
	[OP_XOR] = { NONE, ALL, AF },
	[OP_TEST] = { NONE, ALL, AF },
	[OP_INC] = { NONE, ALL & ~CF, NONE },
	[OP_DEC] = { NONE, ALL & ~CF, NONE },
	[OP_BT] = { NONE, CF, OF | SF | AF | PF }, /* ZF stays */
	[OP_BTS] = { NONE, CF, OF | SF | AF | PF },
	[OP_BTR] = { NONE, CF, OF | SF | AF | PF },
	[OP_BTC] = { NONE, CF, OF | SF | AF | PF },
	[OP_CMPXCHG8B] = { NONE, ZF, NONE },
	[OP_CMPXCHG16B] = { NONE, ZF, NONE },
	[OP_PUSHF] = { ALL, NONE, NONE },
	[OP_INTO] = { OF, NONE, NONE },
};

/* … and by opcode, where the operation alone does not tell. */
static const struct {
	uint8_t map, first, last;
	uint8_t groups; /* bit of each ModRM.reg that it is about */
	struct flag_effect effect;
} by_opcode[] = {
	{ MAP_ONE, 0xf6, 0xf7, 0x30, { NONE, CF | OF, SF | ZF | AF | PF } }, /* MUL IMUL */
	{ MAP_ONE, 0xf6, 0xf7, 0xc0, { NONE, NONE, ALL } },                  /* DIV IDIV */
	{ MAP_ONE, 0x69, 0x69, 0xff, { NONE, CF | OF, SF | ZF | AF | PF } }, /* IMUL */
	{ MAP_ONE, 0x6b, 0x6b, 0xff, { NONE, CF | OF, SF | ZF | AF | PF } },
	{ MAP_0F, 0xaf, 0xaf, 0xff, { NONE, CF | OF, SF | ZF | AF | PF } },
	{ MAP_ONE, 0x27, 0x27, 0xff, { AF | CF, ALL, OF } },                 /* DAA */
	{ MAP_ONE, 0x2f, 0x2f, 0xff, { AF | CF, ALL, OF } },                 /* DAS */
	{ MAP_ONE, 0x37, 0x37, 0xff, { AF, AF | CF, OF | SF | ZF | PF } },   /* AAA */
	{ MAP_ONE, 0x3f, 0x3f, 0xff, { AF, AF | CF, OF | SF | ZF | PF } },   /* AAS */
	{ MAP_ONE, 0xd4, 0xd5, 0xff, { NONE, SF | ZF | PF, OF | AF | CF } }, /* AAM AAD */
	{ MAP_ONE, 0xd6, 0xd6, 0xff, { CF, NONE, NONE } },                   /* SALC */
	{ MAP_ONE, 0x9e, 0x9e, 0xff, { NONE, ALL & ~OF, NONE } },            /* SAHF */
	{ MAP_ONE, 0x9f, 0x9f, 0xff, { ALL & ~OF, NONE, NONE } },            /* LAHF */
	{ MAP_ONE, 0xf5, 0xf5, 0xff, { CF, CF, NONE } },                     /* CMC */
	{ MAP_ONE, 0xf8, 0xf9, 0xff, { NONE, CF, NONE } },                   /* CLC STC */
	{ MAP_ONE, 0xe0, 0xe1, 0xff, { ZF, NONE, NONE } },                   /* LOOPNE LOOPE */
	{ MAP_0F, 0xb8, 0xb8, 0xff, { NONE, ALL, NONE } },                   /* POPCNT */
	{ MAP_0F, 0x2e, 0x2f, 0xff, { NONE, ALL, NONE } },   /* UCOMISS COMISS … */
	{ MAP_0F38, 0x17, 0x17, 0xff, { NONE, ALL, NONE } }, /* PTEST */
	{ MAP_0F3A, 0x60, 0x63, 0xff, { NONE, ALL, NONE } }, /* PCMPESTRM … */
};

/* Which flags a condition looks at (SDM vol. 1, appendix B). */
static uint32_t condition(unsigned code)
{
	static const uint32_t uses[8] = { OF, CF, ZF, CF | ZF, SF, PF, SF | OF, SF | OF | ZF };

	return uses[code >> 1 & 7];
}

static bool is_conditional(const struct insn *insn)
{
	if (insn->map == MAP_ONE)
		return (insn->opcode & 0xf0) == 0x70;
	return insn->map == MAP_0F &&
	       ((insn->opcode & 0xf0) == 0x40 || (insn->opcode & 0xf0) == 0x80 ||
		(insn->opcode & 0xf0) == 0x90);
}

/* A shift's count, masked as the processor does; -1: in CL, which is not known. */
static int shift_count(const struct insn *insn, int cl)
{
	int mask = insn->opsize == 8 ? 0x3f : 0x1f;

	if (insn->map == MAP_ONE && (insn->opcode & 0xfe) == 0xd0)
		return 1;
	if (insn->flags & INSN_IMM)
		return (int)insn->imm & mask;
	return cl < 0 ? -1 : cl & mask;
}

static bool is_shift(const struct insn *insn)
{
	return insn->map == MAP_ONE && insn->op == OP_PLAIN &&
	       ((insn->opcode & 0xfe) == 0xc0 || (insn->opcode & 0xfc) == 0xd0);
}

static bool is_double_shift(const struct insn *insn)
{
	return insn->map == MAP_0F &&
	       ((insn->opcode & 0xfe) == 0xa4 || (insn->opcode & 0xfe) == 0xac);
}

/* ROL ROR RCL RCR: CF, and OF by a count of one. Others: AF never; CF is what was shifted out. */
static void shift_effect(const struct insn *insn, int cl, struct flag_effect *e)
{
	unsigned group = insn->modrm >> 3 & 7;
	int count = shift_count(insn, cl);
	uint32_t defines = group < 4 ? CF : CF | SF | ZF | PF;

	if (group == 2 || group == 3)
		e->uses |= CF;
	if (!count)
		return;
	if (count == 1)
		e->defines = defines | OF;
	else
		e->undefined |= OF;
	if (count > 1)
		e->defines = defines;
	if (group >= 4)
		e->undefined |= AF;
	/* SHL, SHR: CF is undefined where nothing is left to come out */
	if (group >= 4 && group != 7 && (count < 0 || count >= insn->opsize * 8) &&
	    insn->opsize < 4)
		e->undefined |= CF;
}

static void double_shift_effect(const struct insn *insn, int cl, struct flag_effect *e)
{
	int count = shift_count(insn, cl);

	if (!count)
		return;
	e->undefined = AF;
	if (count > 0)
		e->defines = CF | SF | ZF | PF | (count == 1 ? OF : 0);
	if (count != 1)
		e->undefined |= OF;
	if ((count < 0 || count > insn->opsize * 8) && insn->opsize < 4)
		e->undefined = ALL;
}

bool result_undefined(const struct insn *insn, int cl)
{
	int count = shift_count(insn, cl);

	return is_double_shift(insn) && insn->opsize < 4 && (count < 0 || count > insn->opsize * 8);
}

/* BSF, BSR; with F3 TZCNT, LZCNT, which define CF, too. */
static void bit_scan_effect(const struct insn *insn, struct flag_effect *e)
{
	e->defines = insn->flags & INSN_REP ? ZF | CF : ZF;
	e->undefined = ALL & ~e->defines;
}

void flag_effect(const struct insn *insn, int cl, struct flag_effect *e)
{
	*e = by_op[insn->op];
	if (is_conditional(insn))
		e->uses |= condition(insn->opcode);
	if (is_shift(insn))
		shift_effect(insn, cl, e);
	if (is_double_shift(insn))
		double_shift_effect(insn, cl, e);
	if (insn->map == MAP_0F && (insn->opcode & 0xfe) == 0xbc && insn->op == OP_PLAIN)
		bit_scan_effect(insn, e);
	for (size_t i = 0; i < sizeof(by_opcode) / sizeof(by_opcode[0]); i++) {
		if (by_opcode[i].map != insn->map || insn->opcode < by_opcode[i].first ||
		    insn->opcode > by_opcode[i].last)
			continue;
		if (insn->op != OP_PLAIN && insn->op != OP_BRANCH)
			continue;
		if (by_opcode[i].groups == 0xff ||
		    (by_opcode[i].groups & 1u << (insn->modrm >> 3 & 7)))
			*e = by_opcode[i].effect;
	}
	if ((insn->op == OP_CMPS || insn->op == OP_SCAS) && insn->flags & (INSN_REP | INSN_REPNE))
		e->defines = 0; /* a count of zero leaves them alone */
}
