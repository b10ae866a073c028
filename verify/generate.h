/* SPDX-License-Identifier: GPL-2.0-only */
/* Random programs. */
#ifndef BUSLOCK_VERIFY_GENERATE_H
#define BUSLOCK_VERIFY_GENERATE_H

#include "verify/form.h"
#include "verify/program.h"
#include "verify/rng.h"

/*
 * Program number `n` of the seed: the same for the same mode everywhere. It holds lockable form `n`,
 * counted round and round. By construction its locked operands lie within a line, unless it runs wild.
 * The form goes to `*lockable`.
 */
void generate(struct program *program, const struct mode *mode, const struct form_list *forms,
	      uint64_t seed, uint64_t n, unsigned *lockable);

/* ------------------------------------------------------------------ between the generator's files */

struct generator {
	struct rng rng;
	struct program *p;
	const struct form_list *forms;
	uint32_t undefined; /* status flags without a defined value here */
	uint16_t reserved;  /* registers that must keep their value: bits */
	bool low;           /* no registers that need REX */
};

/* operand.c: a form with operands, and what brings its registers there. */
void emit_form(struct generator *g, const struct form *form);
/* MOV to a register, as wide as `value` needs. `size`: of the register in 16-bit code, 2 or 4. */
void emit_set(struct generator *g, unsigned reg, uint64_t value, unsigned size);
/* The item that comes next, zeroed; NULL: the program is full. */
struct item *emit(struct generator *g, const void *bytes, unsigned length);
/* Gives all status flags a value, if they have none. */
void define_flags(struct generator *g, uint32_t needed);

#endif
