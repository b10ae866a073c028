/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Golden cases: a program, and what the device made of it, as text that people read and change. The
 * format is in docs/verify.md.
 */
#ifndef BUSLOCK_VERIFY_GOLDEN_H
#define BUSLOCK_VERIFY_GOLDEN_H

#include "verify/machine.h"

#include <stdio.h>

struct golden {
	struct program program;
	struct result expected;
	uint32_t undefined; /* status flags that are not compared */
	char remark[256];   /* its first line, if that is one */
	uint8_t ram[MODE_RAM];
};

/* `remark`: one line, or NULL. */
void golden_write(FILE *file, const struct program *program, const struct result *expected,
		  uint32_t undefined, const char *remark);
/* 0; -EINVAL with the line and what is wrong with it in `why`; -ENOMEM. Without expectations it is a
 * program to be recorded. */
int golden_read(FILE *file, struct golden **golden, char *why, size_t size);

/* The program as assembly, a line an instruction, each with `prefix` in front. */
void program_print(FILE *file, const struct program *program, const char *prefix);

#endif
