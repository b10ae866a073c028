/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the launcher has to know about a program file before it preloads something into it. Reads
 * untrusted files: every offset is checked.
 */
#ifndef BUSLOCK_CLI_ELF_H
#define BUSLOCK_CLI_ELF_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#define ELF_RUNTIMES 4

struct elf_program {
	bool elf;                   /* it is an ELF file at all; else nothing below is set */
	unsigned bits;              /* 32 or 64 */
	uint16_t machine;           /* EM_… */
	char interpreter[PATH_MAX]; /* PT_INTERP; empty: statically linked */
	/* Sanitizer runtimes among its needed libraries, by the names the dynamic linker knows. */
	unsigned runtimes;
	char runtime[ELF_RUNTIMES][64];
	bool thread_sanitizer; /* instrumented for it, whether the runtime is a library or linked in */
};

/* 0; -errno of opening; -ENOEXEC when the headers point outside the file. */
int elf_inspect(const char *path, struct elf_program *program);

#endif
