/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Symbols of a guest: from an ELF image's symbol table, a System.map or /proc/kallsyms (or any output
 * of nm), or a map that nasm wrote.
 *
 * A table is read-only once loaded: any thread may search it.
 */
#ifndef BUSLOCK_TRACES_SYMBOLS_H
#define BUSLOCK_TRACES_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>

struct symbols;

/*
 * Load a file of any of these kinds; the caller frees the table with symbols_free(). -ENOENT and the
 * other errors of open(); -ENODATA: no symbols in it; -EINVAL: none of these kinds; -ENOMEM. `why`
 * (may be NULL) gets a sentence.
 */
int symbols_load(struct symbols **symbols, const char *path, char *why, size_t size);
void symbols_free(struct symbols *symbols);
size_t symbols_count(const struct symbols *symbols);

/*
 * The symbol that `address` belongs to: the nearest at or below it whose extent, where it is known,
 * reaches that far. NULL if there is none; `symbols` may be NULL. The name is the table's.
 */
const char *symbols_find(const struct symbols *symbols, uint64_t address, uint64_t *offset);

/* "name+0x12", "name" or "" into `out`; returns `out`. */
char *symbols_format(const struct symbols *symbols, uint64_t address, char *out, size_t size);

#endif
