/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VM of memory and one vCPU, without an engine: what the units below the engine are tested with.
 * Stands in for vm.c and code.c, whose objects the linker then leaves in the archive.
 */
#ifndef BUSLOCK_TESTS_FAKE_VM_H
#define BUSLOCK_TESTS_FAKE_VM_H

#include "emu/access.h"
#include "emu/cpu.h"
#include "emu/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

struct emu_vm {
	struct memory memory;
	unsigned physical_bits;
	unsigned code_writes; /* calls of code_written() */
	uint64_t code_gpa;    /* of the last */
	unsigned stuffed;     /* accesses begun; the last of them */
	struct stuffed_access stuffed_access;
	unsigned stuffed_ends;
	enum outcome stuffed_answer; /* of stuffed_begin() */
};

struct memory *vm_memory(struct emu_vm *vm)
{
	return &vm->memory;
}

unsigned vm_physical_bits(struct emu_vm *vm)
{
	return vm->physical_bits;
}

void code_written(struct emu_vcpu *v, const struct slot *s, uint64_t gpa)
{
	v->vm->code_writes++;
	v->vm->code_gpa = gpa;
	page_flags_clear(slot_page_flags(s, gpa), PAGE_CODE);
}

enum outcome stuffed_begin(struct emu_vcpu *v, const struct stuffed_access *access,
			   struct emu_lock *lock)
{
	memset(lock, 0, sizeof(*lock));
	v->vm->stuffed++;
	v->vm->stuffed_access = *access;
	return v->vm->stuffed_answer;
}

void stuffed_end(struct emu_vcpu *v, const struct emu_lock *lock)
{
	(void)lock;
	v->vm->stuffed_ends++;
}

#define RAM_SIZE 0x400000ull
#define RAM_SLOT 7

struct machine {
	struct emu_vm vm;
	struct emu_vcpu v;
	uint8_t *ram; /* RAM_SIZE bytes at guest-physical 0, slot RAM_SLOT */
};

static inline uint8_t *host_pages(size_t size)
{
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static inline int machine_setup(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));

	memory_init(&m->vm.memory);
	m->vm.physical_bits = 40;
	m->v.vm = &m->vm;
	m->v.types.pat = MEMTYPE_PAT_RESET;
	m->v.cache = access_cache_new(&m->vm.memory);
	m->ram = host_pages(RAM_SIZE);
	assert_int_equal(memory_map(&m->vm.memory, RAM_SLOT, 0, RAM_SIZE, m->ram, 0), 0);
	*state = m;
	return 0;
}

static inline int machine_teardown(void **state)
{
	struct machine *m = *state;

	access_cache_free(m->v.cache);
	memory_destroy(&m->vm.memory);
	munmap(m->ram, RAM_SIZE);
	free(m);
	return 0;
}

static inline void put64(struct machine *m, uint64_t gpa, uint64_t value)
{
	memcpy(m->ram + gpa, &value, 8);
}

static inline uint64_t get64(struct machine *m, uint64_t gpa)
{
	uint64_t value;

	memcpy(&value, m->ram + gpa, 8);
	return value;
}

static inline void put32(struct machine *m, uint64_t gpa, uint32_t value)
{
	memcpy(m->ram + gpa, &value, 4);
}

static inline uint32_t get32(struct machine *m, uint64_t gpa)
{
	uint32_t value;

	memcpy(&value, m->ram + gpa, 4);
	return value;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_setup, machine_teardown)

/* ------------------------------------------------------------------ page tables */

enum paging { PAGING_32, PAGING_PAE, PAGING_4, PAGING_5, PAGINGS };

/* Bits of entries, spelled out here again: the tests do not share them with what they test. */
enum { P = 1, RW = 2, US = 4, PWT = 8, PCD = 16, A = 32, D = 64, PS = 128, G = 256 };
#define NX (1ull << 63)

static const struct paging_info {
	const char *name;
	unsigned levels, index_bits, entry_size;
	uint64_t cr0, cr4, efer;
} paging_info[] = {
	[PAGING_32] = { "32-bit", 2, 10, 4, CR0_PE | CR0_PG, CR4_PSE, 0 },
	[PAGING_PAE] = { "PAE", 3, 9, 8, CR0_PE | CR0_PG, CR4_PAE, EFER_NXE },
	[PAGING_4] = { "4-level", 4, 9, 8, CR0_PE | CR0_PG, CR4_PAE,
		       EFER_LME | EFER_LMA | EFER_NXE },
	[PAGING_5] = { "5-level", 5, 9, 8, CR0_PE | CR0_PG, CR4_PAE | CR4_LA57,
		       EFER_LME | EFER_LMA | EFER_NXE },
};

/* Tables of level n (1: the last) stand at n × 64 KB, so that their places can be named. */
#define TABLE(level) ((uint64_t)(level) << 16)

static inline uint64_t entry_gpa(enum paging paging, unsigned level, uint64_t linear)
{
	const struct paging_info *p = &paging_info[paging];
	uint64_t index = linear >> (12 + (level - 1) * p->index_bits);

	index &= paging == PAGING_PAE && level == 3 ? 3 : (1u << p->index_bits) - 1;
	return TABLE(level) + index * p->entry_size;
}

static inline void entry_put(struct machine *m, enum paging paging, unsigned level, uint64_t linear,
			     uint64_t entry)
{
	uint64_t gpa = entry_gpa(paging, level, linear);

	if (paging_info[paging].entry_size == 8)
		put64(m, gpa, entry);
	else
		put32(m, gpa, (uint32_t)entry);
}

static inline uint64_t entry_get(struct machine *m, enum paging paging, unsigned level,
				 uint64_t linear)
{
	uint64_t gpa = entry_gpa(paging, level, linear);

	return paging_info[paging].entry_size == 8 ? get64(m, gpa) : get32(m, gpa);
}

/* The PDPTEs of PAE paging have no R/W, U/S, A. */
static inline uint64_t upper_bits(enum paging paging, unsigned level, uint64_t bits)
{
	return paging == PAGING_PAE && level == 3 ? bits & P : bits;
}

/*
 * Turn paging on with one page mapped at `linear`: a leaf at level `leaf_level` with value `leaf`, and
 * the entries above it with `upper` bits.
 */
static inline void page_map(struct machine *m, enum paging paging, uint64_t linear,
			    unsigned leaf_level, uint64_t leaf, uint64_t upper)
{
	const struct paging_info *p = &paging_info[paging];
	struct cpu *c = &m->v.cpu;

	c->cr0 |= p->cr0;
	c->cr4 |= p->cr4;
	c->efer |= p->efer;
	c->cr3 = TABLE(p->levels);
	for (unsigned level = p->levels; level > leaf_level; level--)
		entry_put(m, paging, level, linear,
			  TABLE(level - 1) | upper_bits(paging, level, upper));
	entry_put(m, paging, leaf_level, linear, leaf);
}

#endif
