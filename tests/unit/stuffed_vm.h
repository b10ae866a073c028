/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest with page tables in any mode, descriptor tables and TSSs in memory, of which a test makes
 * something uncached or misaligned, to see who takes a stuffed lock.
 */
#ifndef BUSLOCK_TESTS_STUFFED_VM_H
#define BUSLOCK_TESTS_STUFFED_VM_H

#include "emu/emu.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

/* Everything lies in the first 2 MB, which one last-level table maps in every mode. */
#define RAM          0x200000u
#define TABLE(level) (0x10000u * (level)) /* 1: the last */
#define GDT          0x2000u
#define IDT          0x4000u
#define TSS          0x5000u
#define TSS2         0x5200u
#define STACK        0x9000u
#define CODE         0x100000u
#define HANDLER      0x108000u
#define DATA         0x190000u /* not where the code is in a cache of 256 translations */
#define HLT          0xf4

enum { P = 1, RW = 2, A = 32, D = 64, PS = 128, PCD = 16, PWT = 8 };
enum {
	CODE_SEL = 0x08,
	DATA_SEL = 0x10,
	FRESH_DATA = 0x18,
	FRESH_CODE = 0x20,
	TSS_SEL = 0x28,
	TSS2_SEL = 0x38,
	GDT_SIZE = 0x48
};
#define ACCESSED      (1u << 8) /* of a descriptor's high word */
#define BUSY          (1u << 9)
#define EXIT_BUS_LOCK EMU_EXIT_BUS_LOCK

enum paging { PAGING_32, PAGING_PAE, PAGING_4, PAGING_5, PAGINGS };
static const struct {
	unsigned levels, bits, entry;
	uint64_t cr4, efer;
} modes[] = {
	[PAGING_32] = { 2, 10, 4, 0x10, 0 },
	[PAGING_PAE] = { 3, 9, 8, 0x20, 0 },
	[PAGING_4] = { 4, 9, 8, 0x20, 0x500 },
	[PAGING_5] = { 5, 9, 8, 0x1020, 0x500 },
};

#define MAX_LOCKS 16
struct machine {
	struct emu_vm *vm;
	struct emu_vcpu *vcpu;
	uint8_t *ram;
	enum paging paging;
	uint32_t gdt;
	unsigned uc_is; /* EMU_MT_ of an access that the guest has as UC */
	unsigned locks;
	struct emu_lock lock[MAX_LOCKS];
};

static inline void observe(void *opaque, struct emu_vcpu *vcpu, const struct emu_lock *lock)
{
	struct machine *m = opaque;

	(void)vcpu;
	assert_in_range(m->locks, 0, MAX_LOCKS - 1);
	m->lock[m->locks++] = *lock;
}

/* ------------------------------------------------------------------ memory */

static inline void put(struct machine *m, uint32_t gpa, uint64_t value, unsigned size)
{
	memcpy(m->ram + gpa, &value, size);
}

static inline uint64_t get(struct machine *m, uint32_t gpa, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, m->ram + gpa, size);
	return value;
}

static inline uint32_t entry_at(struct machine *m, unsigned level, uint32_t linear)
{
	unsigned index = (unsigned)((uint64_t)linear >> (12 + (level - 1) * modes[m->paging].bits));

	return TABLE(level) +
	       (index & ((1u << modes[m->paging].bits) - 1)) * modes[m->paging].entry;
}

static inline void entry_bits(struct machine *m, unsigned level, uint32_t linear, uint32_t set,
			      uint32_t clear)
{
	uint32_t at = entry_at(m, level, linear);

	put(m, at, (get(m, at, 4) & ~(uint64_t)clear) | set, 4);
}

static inline bool entry_has(struct machine *m, unsigned level, uint32_t linear, uint32_t bit)
{
	return get(m, entry_at(m, level, linear), 4) & bit;
}

/* Identity, all bits set: what a test clears is what it is about. */
static inline void make_tables(struct machine *m)
{
	unsigned levels = modes[m->paging].levels, size = modes[m->paging].entry;

	for (unsigned level = levels; level > 1; level--)
		put(m, TABLE(level),
		    TABLE(level - 1) | P | (m->paging == PAGING_PAE && level == 3 ? 0 : RW | A),
		    size);
	for (unsigned page = 0; page < RAM >> 12; page++)
		put(m, TABLE(1) + page * size, page << 12 | P | RW | A | D, size);
}

static inline void descriptor(struct machine *m, unsigned selector, uint32_t base, uint32_t limit,
			      uint32_t attributes)
{
	uint32_t at = m->gdt + selector;

	put(m, at, base << 16 | (limit & 0xffff), 4);
	put(m, at + 4, (base & 0xff000000) | (base >> 16 & 0xff) | (limit & 0xf0000) | attributes,
	    4);
}

static inline uint32_t descriptor_high(struct machine *m, unsigned selector)
{
	return (uint32_t)get(m, m->gdt + selector + 4, 4);
}

static inline bool is_long(const struct machine *m)
{
	return modes[m->paging].efer;
}

/* P, S, type 3 or 11 without A, and the size of the mode. */
static inline void make_gdt(struct machine *m, uint32_t at)
{
	uint32_t code = is_long(m) ? 0x00209a00 : 0x00cf9a00, data = 0x00cf9200;

	m->gdt = at;
	descriptor(m, CODE_SEL, 0, 0xfffff, code | ACCESSED);
	descriptor(m, DATA_SEL, 0, 0xfffff, data | ACCESSED);
	descriptor(m, FRESH_DATA, 0, 0xfffff, data);
	descriptor(m, FRESH_CODE, 0, 0xfffff, code);
	descriptor(m, TSS_SEL, TSS, 0x67, 0x8900);
	put(m, m->gdt + TSS_SEL + 8, 0, 8);
	descriptor(m, TSS2_SEL, TSS2, 0x67, 0x8900);
	put(m, m->gdt + TSS2_SEL + 8, 0, 8);
}

/* Vector n: a trap gate through `selector` to HANDLER + 16 n, where a HLT is. */
static inline void make_idt(struct machine *m, unsigned selector)
{
	for (unsigned n = 0; n < 64; n++) {
		uint32_t target = HANDLER + 16 * n, at = IDT + n * (is_long(m) ? 16 : 8);

		put(m, at, selector << 16 | (target & 0xffff), 4);
		put(m, at + 4, (target & 0xffff0000) | 0x8f00, 4);
		m->ram[target] = HLT;
	}
}

/* ------------------------------------------------------------------ the machine */

static inline void start_with(struct machine *m, enum paging paging,
			      const struct emu_config *config)
{
	struct emu_state s;

	memset(m, 0, sizeof(*m));
	m->paging = paging;
	m->ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(m->ram, MAP_FAILED);
	assert_int_equal(emu_vm_create(config, &m->vm), 0);
	assert_int_equal(emu_vm_map(m->vm, 0, 0, RAM, m->ram, 0), 0);
	assert_int_equal(emu_vcpu_create(m->vm, &m->vcpu), 0);
	emu_vm_set_lock_observer(m->vm, observe, m);
	emu_vcpu_set_bus_lock_exiting(m->vcpu, true);
	make_tables(m);
	make_gdt(m, GDT);
	make_idt(m, CODE_SEL);
	emu_vcpu_get_state(m->vcpu, &s);
	for (int k = EMU_ES; k <= EMU_GS; k++)
		s.segment[k] = (struct emu_segment){ .limit = 0xffffffff,
						     .selector = DATA_SEL,
						     .attributes = 0xc093 };
	s.segment[EMU_CS].attributes = is_long(m) ? 0xa09b : 0xc09b;
	s.segment[EMU_CS].selector = CODE_SEL;
	s.segment[EMU_TR] = (struct emu_segment){ .base = TSS, .limit = 0x67, .attributes = 0x8b };
	s.cr0 = 0x80010031; /* PG, WP, NE, ET, PE */
	s.cr3 = TABLE(modes[paging].levels);
	s.cr4 = modes[paging].cr4 | 0x600;
	s.efer = modes[paging].efer;
	s.gdt = (struct emu_table){ GDT, GDT_SIZE - 1 };
	s.idt = (struct emu_table){ IDT, 0x3ff };
	s.rip = CODE, s.rflags = 2, s.gpr[EMU_RSP] = STACK;
	s.gpr[EMU_RBX] = s.gpr[EMU_RSI] = s.gpr[EMU_RDI] = DATA;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
}

static inline void start(struct machine *m, enum paging paging)
{
	start_with(m, paging, NULL);
}

static inline void stop(struct machine *m)
{
	emu_vcpu_destroy(m->vcpu);
	emu_vm_destroy(m->vm);
	munmap(m->ram, RAM);
}

#define CODE_AT(m, address, ...)                                       \
	memcpy((m)->ram + (address), (const uint8_t[]){ __VA_ARGS__ }, \
	       sizeof((const uint8_t[]){ __VA_ARGS__ }))

static inline struct emu_exit run(struct machine *m, enum emu_exit_type expected)
{
	struct emu_exit x;

	assert_int_equal(emu_vcpu_run(m->vcpu, 0, &x), 0);
	assert_int_equal(x.type, expected);
	return x;
}

static inline struct emu_state state_of(struct machine *m)
{
	struct emu_state s;

	emu_vcpu_get_state(m->vcpu, &s);
	return s;
}

static inline uint64_t rip_of(struct machine *m)
{
	return state_of(m).rip;
}

static inline void set_rip(struct machine *m, uint64_t rip)
{
	struct emu_state s = state_of(m);

	s.rip = rip;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
}

static inline void set_reg(struct machine *m, unsigned reg, uint64_t value)
{
	struct emu_state s = state_of(m);

	s.gpr[reg] = value;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
}

static inline void uncached(struct machine *m, uint32_t gpa)
{
	assert_int_equal(emu_vm_declare_memory_type(m->vm, gpa & ~0xfffu, 0x1000, EMU_MT_UC), 0);
}

static inline void assert_paging_lock(struct machine *m, const struct emu_lock *lock,
				      uint32_t entry, uint64_t rip)
{
	assert_int_equal(lock->cause, EMU_LOCK_NON_WB | EMU_LOCK_STUFFED);
	assert_int_equal(lock->stuffed, EMU_STUFFED_PAGING);
	assert_int_equal(lock->gpa, entry);
	assert_int_equal(lock->size, modes[m->paging].entry);
	assert_int_equal(lock->memory_type, m->uc_is);
	assert_int_equal(lock->rip, rip);
	assert_int_equal(lock->linear_rip, rip);
	assert_false(lock->in_delivery);
}

#endif
