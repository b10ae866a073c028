/* SPDX-License-Identifier: GPL-2.0-only */
/* `buslock exec`: what its parts share. */
#ifndef BUSLOCK_CLI_EXEC_H
#define BUSLOCK_CLI_EXEC_H

#include "cli/elf.h"

#include <limits.h>

/* As env(1), nice(1), timeout(1) and the shell have them. */
enum {
	STATUS_EXEC_FAILED =
		125,          /* the launcher failed, or the program ran without the emulation */
	STATUS_REFUSED = 126, /* found, but it cannot be run (under the emulation) */
	STATUS_NOT_FOUND = 127,
};

/* ------------------------------------------------------------------ exec_program.c */

/* A program that can be preloaded. */
struct exec_program {
	char path[PATH_MAX]; /* what execve() gets */
	bool shell;          /* neither ELF nor "#!": execvp() gives it to /bin/sh */
	struct elf_program
		image; /* of the file that the kernel maps: for a script its interpreter */
};

/*
 * Finds `name` as execvp() would and looks whether the emulation can be preloaded into it. 0, or
 * one of the statuses above after saying why.
 */
int exec_find_program(const char *name, struct exec_program *program);

/* ------------------------------------------------------------------ exec_launch.c */

/*
 * Runs `path` in a child with these arguments and environment, hands signals on to it, follows its
 * stops, and returns when it has ended: 0 with its wait status, or -errno of what failed (of
 * execve(), too). `inherit`: descriptors it gets, -1 at the end. The signals that are handed on stay
 * blocked in the caller.
 */
int exec_launch(const char *path, char *const argv[], char *const environment[],
		const int inherit[], int *wait_status);
/* Ends this process as the child ended: its exit status, or its signal. Returns the status if the
 * signal does not kill (128 + number). */
int exec_end_like(int wait_status);

#endif
