/* SPDX-License-Identifier: GPL-2.0-only */
/* What `buslock exec` and `buslock record` share: a library of ours in somebody else's program. */
#ifndef BUSLOCK_CLI_PRELOAD_H
#define BUSLOCK_CLI_PRELOAD_H

#include "cli/cli.h"
#include "cli/exec.h"

/* ------------------------------------------------------------------ the library */

/* One of ours, and how a user names another one. */
struct preload_library {
	const char *command; /* in messages: "exec" */
	const char *file;
	const char *variable; /* environment: the library to take instead */
	char path[PATH_MAX];
};
/* 0, or STATUS_EXEC_FAILED after saying why. */
int preload_find(struct preload_library *library);

/* ------------------------------------------------------------------ what is executed */

#define PRELOAD_VARIABLES 8
struct preload_environment {
	char *variable[PRELOAD_VARIABLES];
	unsigned count;
};
/* "NAME=value"; -ENOMEM. */
int preload_add(struct preload_environment *environment, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* LD_PRELOAD, and what a sanitizer's runtime wants. 0 or -ENOMEM. */
int preload_describe(struct preload_environment *environment, const struct exec_program *program,
		     const struct preload_library *library);
/* Into our own environment. 0 or -ENOMEM. */
int preload_apply(const struct preload_environment *environment);
void preload_free(struct preload_environment *environment);

/* The program's arguments, as execvp() would give them; free() it. NULL without memory. */
char **preload_arguments(char *const command[], struct exec_program *program);
/* What is executed: the program, or the shell that reads it. */
const char *preload_path(const struct exec_program *program);
/* "VARIABLE=value … program arguments": a line for a shell, on standard output. */
void preload_print(const struct preload_environment *environment, const char *path,
		   char *const argv[]);

/* ------------------------------------------------------------------ what it tells */

/*
 * Shared memory and a descriptor of it that the program inherits; `prefix` begins the names of the
 * variables that say so (traces/inherit.h). 0 or -errno.
 */
int preload_report(struct preload_environment *environment, const char *prefix,
		   struct report **report, int *fd);
/* The trace that has been begun, if there is one. 0 or -errno. */
int preload_trace(struct preload_environment *environment, const char *prefix, struct trace *trace);

#endif
