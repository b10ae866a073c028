/* SPDX-License-Identifier: GPL-2.0-only */
/* One program on both sides: is what they did the same, and if not, is it known why? */
#ifndef BUSLOCK_VERIFY_CHECK_H
#define BUSLOCK_VERIFY_CHECK_H

#include "verify/limits.h"
#include "verify/machine.h"

enum verdict {
	VERDICT_SAME,
	VERDICT_FLAGS,      /* the same but for flags that the manual leaves undefined */
	VERDICT_UNDEFINED,  /* what it did depends on such a flag or result: not compared */
	VERDICT_LIMIT,      /* it ran into something of limits.h: not compared */
	VERDICT_SPLIT_LOCK, /* it takes bus locks: not run on the device */
	VERDICT_ENDLESS,    /* neither side came to an end in time: not compared */
	VERDICT_LAYOUT,     /* a branch does not reach: no program */
	VERDICT_DIFFERENT,
	VERDICTS
};

struct finding {
	enum verdict verdict;
	const struct limit *limit; /* VERDICT_LIMIT */
	uint32_t undefined;        /* status flags without a value at the end */
	char difference[160];      /* VERDICT_DIFFERENT: the first, in words */
	struct result emulator, other;
};

struct checker {
	struct machine *emulator, *other;
	bool guard;                 /* `other` may be hurt by split locks */
	bool hurried;               /* what is not at its end in time on `other` is endless */
	uint64_t split_lock_budget; /* that may run there nevertheless, each followed by a pause */
	uint64_t runs;
};

/* 0, or -errno of a machine; machine_error() knows the call. */
int check(struct checker *checker, const struct program *program, struct finding *finding);

/*
 * The first difference between two results in words, without the `undefined` flags. False: there is
 * none. `names` of both sides.
 */
bool results_differ(const struct program *program, const struct result *a, const struct result *b,
		    uint32_t undefined, const char *const names[2], char *text, size_t size);

/*
 * A program that fails, made as short as possible: fewer instructions, then plainer operands and
 * registers. It still fails, perhaps in another way: `finding` is the last. Returns as check().
 */
int shrink(struct checker *checker, struct program *program, struct finding *finding);

#endif
