/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Data accesses by hand, below the interface in cpu.h: the translation cache of a vCPU and the look-up
 * that the locked instructions use.
 */
#ifndef BUSLOCK_EMU_ACCESS_H
#define BUSLOCK_EMU_ACCESS_H

#include "emu/memory.h"

/* A translated byte. Valid until the next access_flush() or change of the VM's memory. */
struct access_page {
	uint8_t *host; /* of the byte itself */
	uint64_t gpa;  /* of the byte itself */
	const struct slot *slot;
	struct memory_types types;
};

/* v->cache; NULL when out of memory. The memory must outlive it. */
struct access_cache *access_cache_new(struct memory *m);
void access_cache_free(struct access_cache *cache);

/*
 * Forget all translations: at MOV to CR0, CR3, CR4, at WRMSR EFER, INVLPG, and when the monitor sets
 * the state. Changes of the VM's memory are noticed without.
 */
void access_flush(struct emu_vcpu *v);

/*
 * Translate one byte for a read or, `write`, a write of it and of what follows in its page. `flags`:
 * ACCESS_. For a write, translated code of the page is already gone and the page is in the dirty
 * log when this returns DONE: the caller is going to write. FAULT, MMIO, HOST_GONE as linear_write().
 */
enum outcome access_lookup(struct emu_vcpu *v, uint64_t linear, bool write, unsigned flags,
			   struct access_page *out);

/*
 * From inside the engine: translate one byte for a write that stays within the page, to a page that has no
 * translated code, without a bus lock on the way (A and D bits). NULL: not so easy; do it by hand. The
 * caller marks the page as dirty if it writes. v->fault and such may be overwritten.
 */
uint8_t *access_running(struct emu_vcpu *v, uint64_t linear, struct access_page *out);

/*
 * Where a system structure of up to 64 bytes that is going to be written lies, and what memory that
 * is. As linear_probe_write().
 */
enum outcome access_types(struct emu_vcpu *v, uint64_t linear, unsigned size, uint64_t *gpa,
			  struct memory_types *types);

/* `gpa` in `s`, a page with PAGE_CODE, is about to be written: its translated code goes (code.c). */
void code_written(struct emu_vcpu *v, const struct slot *s, uint64_t gpa);

#endif
