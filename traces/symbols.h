/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Symbols of a guest: from an ELF image's symbol table, a System.map or /proc/kallsyms (or any output
 * of nm), or a map that nasm wrote; of several files, in their order: a kernel and its programs.
 *
 * Tables are read-only once loaded: any thread may search them.
 */
#ifndef BUSLOCK_TRACES_SYMBOLS_H
#define BUSLOCK_TRACES_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct symbols;

/*
 * Load a file of any of these kinds; the caller frees the table with symbols_free(). -ENOENT and the
 * other errors of open(); -ENODATA: no symbols in it; -EINVAL: none of these kinds; -ENOMEM. `why`
 * (may be NULL) gets a sentence.
 */
int symbols_load(struct symbols **symbols, const char *path, char *why, size_t size);
/*
 * Another file, behind those that are there: "FILE" or "FILE@OFFSET" with what is to be added to its
 * addresses, in hexadecimal (a kernel that was relocated, a position-independent program). Errors as
 * above, and -EINVAL for an offset that is no number; the list stays as it was then.
 */
int symbols_add(struct symbols **symbols, const char *file, char *why, size_t size);
/* Can "FILE[@OFFSET]" be read, and has it symbols? 0, or -errno with a sentence. A FIFO is not read: it can be
 * but once. */
int symbols_check(const char *file, char *why, size_t size);
void symbols_free(struct symbols *symbols);
size_t symbols_count(const struct symbols *symbols);
bool symbols_several(const struct symbols *symbols); /* of more than one file */

/*
 * The symbol that `address` belongs to: the nearest at or below it whose extent, where it is known,
 * reaches that far. NULL if there is none; `symbols` may be NULL. The name is the table's.
 */
const char *symbols_find(const struct symbols *symbols, uint64_t address, uint64_t *offset);

/* Where an address belongs to. */
struct symbol_place {
	const char *name; /* the table's */
	uint64_t offset;
	const char *file;            /* its path */
	const struct symbols *table; /* for symbols_locate_near() */
	uint64_t bias;               /* what was added to the file's addresses */
};
/*
 * The same for code whose bytes are known. Several programs have code at one address, each in its own
 * address space: an ELF file that has these bytes there is the one; a position-independent program is
 * also found by them, if they are at one place only that the address can be. Where no file has them, a
 * file that says nothing of bytes, or has others (code that patches itself), but a symbol there.
 */
bool symbols_locate(const struct symbols *symbols, uint64_t address, const uint8_t *bytes,
		    size_t count, struct symbol_place *place);
/* Code without known bytes in the address space of `near` (NULL: not known): the same program, or a
 * kernel. */
bool symbols_locate_near(const struct symbols *symbols, uint64_t address,
			 const struct symbol_place *near, struct symbol_place *place);

/* "name+0x12", "name" or "" into `out`; returns `out`. */
char *symbols_format(const struct symbols *symbols, uint64_t address, char *out, size_t size);

#endif
