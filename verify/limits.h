/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What cannot be compared, as tables: instructions that one of the two sides is known not to run, or
 * that give what no manual promises. Each row has its reason.
 */
#ifndef BUSLOCK_VERIFY_LIMITS_H
#define BUSLOCK_VERIFY_LIMITS_H

#include "emu/insn.h"
#include "verify/mode.h"

#include <stddef.h>

enum limit_side {
	LIMIT_DEVICE,   /* a KVM that interprets: its emulator (arch/x86/kvm/emulate.c) lacks it */
	LIMIT_EMULATOR, /* our engine lacks it; docs/engine.md */
	LIMIT_NEITHER,  /* time, random numbers, the processor's identity: different by nature */
};

/* An instruction that is about to be executed. */
struct moment {
	const struct mode *mode;
	const struct insn *insn;
	const struct insn_regs *regs; /* NULL: not known, a program is being made */
	const uint8_t *ram;
};

struct limit {
	enum limit_side side;
	const char *what, *reason;
	bool (*applies)(const struct moment *moment);
};
extern const struct limit limits[];
extern const unsigned limits_count;
#define MAX_LIMITS  64
#define LIMIT_FETCH 0 /* the row of code outside memory */

/* NULL: it can be compared. */
const struct limit *limit_find(const struct moment *moment);

#endif
