/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest program: the state it starts in and its instructions, in a form that can be taken apart.
 * What refers to another instruction (a branch, a store into code) names it instead of holding an
 * address, so that instructions can be removed and what is left still means the same.
 */
#ifndef BUSLOCK_VERIFY_PROGRAM_H
#define BUSLOCK_VERIFY_PROGRAM_H

#include "verify/mode.h"

#include <stddef.h>
#include <stdint.h>

#define PROGRAM_ITEMS 80
#define PROGRAM_CODE  2048 /* bytes, with the terminator */

/* What is filled in when addresses are known. */
enum fixup {
	FIX_NONE,
	FIX_RELATIVE, /* branch to item `target` */
	FIX_RIP,      /* RIP-relative displacement of linear address `value` */
	FIX_ADDRESS,  /* linear address of item `target`, plus `value` (minus a segment's base) */
};

struct item {
	uint8_t bytes[15], length;
	uint8_t fix, fix_at, fix_size; /* enum fixup; place and size of the field */
	uint8_t target;                /* number of items: the terminator */
	int64_t value;
};

struct program {
	const struct mode *mode;
	uint64_t gpr[16], rflags;
	uint64_t base[6]; /* of segments, in the order of enum insn_segment; CS counts, too */
	uint64_t fill;    /* seed of the data pages' and XMM registers' contents; 0: zeroes */
	uint64_t answers; /* seed of what devices answer */
	uint32_t items;
	struct item item[PROGRAM_ITEMS];
};

/* The program's bytes as they lie at MODE_CODE, and where each item begins (`items` + 1 of them; may be
 * NULL). -ERANGE: a branch does not reach, or too long. */
int program_layout(const struct program *program, uint8_t code[PROGRAM_CODE], size_t *size,
		   uint16_t offset[PROGRAM_ITEMS + 1]);
/* Without items [first, first + count). What named one of them names the next that is left. */
void program_remove(struct program *program, unsigned first, unsigned count);
/* Guest memory before the program runs: MODE_RAM bytes. */
int program_memory(const struct program *program, uint8_t *ram);
/* XMM registers 0 to 15 as they are before it runs. */
void program_xmm(const struct program *program, uint8_t xmm[16][16]);
/* `size` bytes that a device gives as its `n`th answer. */
void program_answer(const struct program *program, unsigned n, uint8_t *data, size_t size);

#endif
