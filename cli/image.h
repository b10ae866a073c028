/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest images: flat binaries, ELF files and multiboot (version 1) kernels, put into guest memory.
 * Nothing here knows KVM. Files are untrusted: every offset is checked against the file and every
 * address against the memory.
 */
#ifndef BUSLOCK_CLI_IMAGE_H
#define BUSLOCK_CLI_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum image_format { IMAGE_AUTO, IMAGE_FLAT, IMAGE_ELF, IMAGE_MULTIBOOT };
enum image_mode { MODE_AUTO, MODE_REAL, MODE_PROTECTED, MODE_LONG };

struct image_options {
	enum image_format format;
	enum image_mode mode; /* AUTO: flat: real; ELF: by its class; multiboot: protected */
	bool has_load, has_entry;
	uint64_t load, entry; /* of a flat binary; defaults: see image_load() */
	const char *append;   /* command line of a multiboot kernel, or NULL */
};

struct image {
	enum image_format format;
	enum image_mode mode;
	uint64_t entry;          /* physical */
	uint64_t low, high;      /* what it occupies, [low, high) */
	bool has_symbols;        /* an ELF file: may have a symbol table */
	uint32_t multiboot_info; /* physical address of the information structure, 0 if none */
};

struct guest_memory {
	uint8_t *host;
	uint64_t size;
	uint64_t top; /* what is above belongs to the monitor */
};

#define MULTIBOOT_MAGIC 0x2badb002u /* EAX at the start of a multiboot kernel */

/*
 * A flat binary goes to `load` (real mode: 7C00h, like a boot sector; otherwise 1 MiB) and starts
 * at its first byte. 0, or -errno with a sentence in `why`.
 */
int image_load(struct image *image, const char *path, const struct image_options *options,
	       const struct guest_memory *memory, char *why, size_t size);

/* Writes `why`, returns `error`. */
int image_fail(int error, char *why, size_t size, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Is [address, address + length) guest memory below the monitor's? */
bool memory_holds(const struct guest_memory *memory, uint64_t address, uint64_t length);

/* ------------------------------------------------------------------ multiboot.c */

struct multiboot_header {
	size_t offset; /* in the file */
	uint32_t flags;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

/* The first header in the first 8 KiB of a file (Multiboot Specification 0.6.96, 3.1). */
bool multiboot_find(const uint8_t *file, size_t n, struct multiboot_header *header);
/* Refuses what the header demands and we cannot give. */
int multiboot_check(const struct multiboot_header *header, char *why, size_t size);
/* Loads by the addresses in the header (flag 16) instead of ELF. */
int multiboot_load_addresses(struct image *image, const struct multiboot_header *header,
			     const uint8_t *file, size_t n, const struct guest_memory *memory,
			     char *why, size_t size);
/*
 * Writes the information structure, memory map, command line (`path` and `append`) at `where`, which
 * has `room` bytes of the monitor's memory. -E2BIG: the command line is too long.
 */
int multiboot_write_info(const struct guest_memory *memory, uint64_t where, size_t room,
			 const char *path, const char *append);

#endif
