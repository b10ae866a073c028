/* SPDX-License-Identifier: GPL-2.0-only */
/* What instructions do with the status flags, and which of them the manual leaves undefined. */
#ifndef BUSLOCK_VERIFY_FLAGS_H
#define BUSLOCK_VERIFY_FLAGS_H

#include "emu/insn.h"

#include <stdint.h>

enum {
	FLAG_CF = 0x001,
	FLAG_PF = 0x004,
	FLAG_AF = 0x010,
	FLAG_ZF = 0x040,
	FLAG_SF = 0x080,
	FLAG_OF = 0x800,
	FLAGS_STATUS = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF,
};

struct flag_effect {
	uint32_t uses;      /* what it does depends on them */
	uint32_t defines;   /* they have a value behind it, whatever they had in front */
	uint32_t undefined; /* the manual says that they have none */
};

/* `cl`: the value of CL, or -1: unknown. */
void flag_effect(const struct insn *insn, int cl, struct flag_effect *effect);
/* May the result itself be undefined (SHLD by more than the operand has)? */
bool result_undefined(const struct insn *insn, int cl);

#endif
