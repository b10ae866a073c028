/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest can do anything; the process survives. Random byte strings, LOCK prefixes and lockable
 * opcodes over-represented, run as code in every mode; bare Unicorn dies of some of them within the
 * first thousands. What is asserted: every run ends with an exit or a documented error, the locks
 * counted fit the locks observed, and memory outside the slots is never touched.
 *
 * BUSLOCK_RANDOM_STRINGS sets how many (default a million), BUSLOCK_RANDOM_SEED the seed.
 */
#include "emu/emu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
/* cmocka.h wants the above */
#include <cmocka.h>
#include <pthread.h>

#define RAM_SIZE  0x40000u
#define CODE      0x8000u
#define STRING    64u
#define MAX_EXITS 12

static uint64_t seed = 0x2545f4914f6cdd1d;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static uint8_t *ram, *pristine;
static struct emu_vm *vm;
static struct emu_vcpu *vcpu;
static _Atomic int finished;
static uint64_t observed;

static void observe(void *opaque, struct emu_vcpu *v, const struct emu_lock *lock)
{
	(void)opaque, (void)v;
	observed++;
	assert_true(lock->cause == EMU_LOCK_SPLIT);
	assert_true((lock->linear & 63) + lock->size > 64);
	assert_in_range(lock->insn_length, 2, 15);
}

/* Endless guests are ended from outside. */
static void *kicker(void *unused)
{
	while (!atomic_load(&finished)) {
		usleep(60);
		emu_vcpu_kick(vcpu);
	}
	return unused;
}

/* ------------------------------------------------------------------ tables every mode finds */

enum {
	PML4 = 0x20000,
	PDPT = 0x21000,
	PD = 0x22000,
	PT = 0x23000,
	PD32 = 0x24000,
	PAE_PDPT = 0x25000,
	GDT = 0x26000,
	IDT64 = 0x27000,
	IDT32 = 0x28000,
	TSS = 0x29000,
	STACK = 0x1f000
};

static void put64(uint32_t at, uint64_t value)
{
	memcpy(pristine + at, &value, 8);
}

static uint64_t gate(uint32_t target, unsigned selector, unsigned type)
{
	return (target & 0xffff) | (uint64_t)selector << 16 |
	       (uint64_t)(0x8000 | type << 8 | 0x6000) << 32 |
	       (uint64_t)(target & 0xffff0000) << 32;
}

static void build_tables(void)
{
	/* the first 256 KB, all user and writable; the rest absent */
	put64(PML4, PDPT | 7);
	put64(PDPT, PD | 7);
	put64(PAE_PDPT, PD | 1);
	put64(PD, PT | 7);
	for (unsigned page = 0; page < RAM_SIZE / 4096 + 2; page++) {
		put64(PT + 8 * page, (uint64_t)page << 12 | 7);
		uint32_t entry = page << 12 | 7;
		memcpy(pristine + 0x2a000 + 4 * page, &entry, 4);
	}
	uint32_t pde = 0x2a000 | 7;
	memcpy(pristine + PD32, &pde, 4);
	put64(GDT + 0x08, 0x00209b0000000000);                       /* 64-bit code */
	put64(GDT + 0x10, 0x00cf93000000ffff);                       /* data */
	put64(GDT + 0x18, 0x00cf9b000000ffff);                       /* 32-bit code */
	put64(GDT + 0x20, 0x000f9b000000ffff);                       /* 16-bit code */
	put64(GDT + 0x28, 0x00cffb000000ffff);                       /* 32-bit code, CPL 3 */
	put64(GDT + 0x30, 0x00cff3000000ffff);                       /* data, CPL 3 */
	put64(GDT + 0x38, 0x0020fb0000000000);                       /* 64-bit code, CPL 3 */
	put64(GDT + 0x40, 0x00008b0000000067 | (uint64_t)TSS << 16); /* TSS */
	for (unsigned vector = 0; vector < 32; vector++) {
		put64(IDT64 + 16 * vector, gate(0x7000, 0x08, 14));
		put64(IDT32 + 8 * vector, gate(0x7000, 0x18, 14));
	}
	pristine[0x7000] = 0xf4; /* every handler: HLT */
	put64(TSS + 4, STACK);
	memcpy(pristine + TSS + 8, "\x10\x00", 2);
	put64(TSS + 36, STACK);
}

/* ------------------------------------------------------------------ modes */

struct mode {
	const char *name;
	uint64_t cr0, cr3, cr4, efer;
	unsigned cs, cs_attributes, ss, ss_attributes;
	uint64_t rflags;
};
static const struct mode modes[] = {
	{ "real", 0x10, 0, 0, 0, 0, 0x009b, 0, 0x0093, 2 },
	{ "protected, 16-bit", 0x11, 0, 0, 0, 0x20, 0x009b, 0x10, 0xc093, 2 },
	{ "protected, 32-bit", 0x11, 0, 0, 0, 0x18, 0xc09b, 0x10, 0xc093, 2 },
	{ "32-bit paging", 0x80010011, PD32, 0x200, 0, 0x18, 0xc09b, 0x10, 0xc093, 2 },
	{ "32-bit paging, CPL 3", 0x80010011, PD32, 0x200, 0, 0x2b, 0xc0fb, 0x33, 0xc0f3, 0x3202 },
	{ "PAE", 0x80010011, PAE_PDPT, 0x620, 0x800, 0x18, 0xc09b, 0x10, 0xc093, 2 },
	{ "virtual-8086", 0x80010011, PD32, 0x201, 0, 0, 0x00f3, 0, 0x00f3, 0x23202 },
	{ "64-bit", 0x80010011, PML4, 0x620, 0xd01, 0x08, 0xa09b, 0x10, 0xc093, 2 },
	{ "64-bit, CPL 3", 0x80010011, PML4, 0x300620, 0xd01, 0x3b, 0xa0fb, 0x33, 0xc0f3, 0x202 },
	{ "compatibility, CPL 3", 0x80010011, PML4, 0x620, 0xd01, 0x2b, 0xc0fb, 0x33, 0xc0f3,
	  0x202 },
};
#define MODES (sizeof(modes) / sizeof(modes[0]))

static void set_up(const struct mode *m)
{
	struct emu_state s;
	emu_vcpu_get_state(vcpu, &s);
	memset(&s.gpr, 0, sizeof(s.gpr));
	for (int r = 0; r < 16; r++) /* addresses in and around memory, near lines and pages */
		s.gpr[r] = rnd() & 7 ? (rnd() % RAM_SIZE) : rnd();
	s.gpr[EMU_RSP] = STACK;
	if (rnd() & 1)
		s.gpr[EMU_RCX] &= 15;
	bool flat = m->cr0 & 1 && !(m->rflags & 0x20000);
	for (int k = EMU_ES; k <= EMU_GS; k++)
		s.segment[k] = (struct emu_segment){ .limit = flat ? 0xffffffff : 0xffff,
						     .selector = (uint16_t)m->ss,
						     .attributes = (uint16_t)m->ss_attributes };
	s.segment[EMU_CS].selector = (uint16_t)m->cs;
	s.segment[EMU_CS].attributes = (uint16_t)m->cs_attributes;
	s.segment[EMU_CS].limit = m->cs_attributes & 0x8000 ? 0xffffffff : 0xffff;
	s.segment[EMU_TR] = (struct emu_segment){
		.base = TSS, .limit = 0x67, .selector = 0x40, .attributes = 0x008b
	};
	s.gdt = (struct emu_table){ GDT, 0x4f };
	s.idt = m->efer                       ? (struct emu_table){ IDT64, 0x1ff }
		: flat || m->rflags & 0x20000 ? (struct emu_table){ IDT32, 0xff }
					      : (struct emu_table){ 0, 0x3ff };
	s.cr0 = m->cr0, s.cr3 = m->cr3, s.cr4 = m->cr4, s.efer = m->efer;
	s.rip = CODE, s.rflags = m->rflags;
	s.xcr0 = 1;
	memset(s.dr, 0, sizeof(s.dr));
	s.dr[6] = 0xffff0ff0, s.dr[7] = 0x400;
	struct emu_events none;
	memset(&none, 0, sizeof(none));
	emu_vcpu_set_events(vcpu, &none);
	assert_int_equal(emu_vcpu_set_state(vcpu, &s), 0);
}

/* opcodes that LOCK goes with, and those that killed engines */
static const uint8_t lockable[] = { 0x00, 0x01, 0x08, 0x09, 0x10, 0x11, 0x18, 0x19,
				    0x20, 0x21, 0x28, 0x29, 0x30, 0x31, 0x80, 0x81,
				    0x83, 0x86, 0x87, 0xf6, 0xf7, 0xfe, 0xff, 0x0f };
static const uint8_t lockable_0f[] = { 0xa3, 0xab, 0xb0, 0xb1, 0xb3, 0xba, 0xbb, 0xc0, 0xc1,
				       0xc7, 0xff, 0x01, 0x22, 0x23, 0x30, 0x32, 0x05, 0x34 };

static void random_string(uint8_t *out)
{
	unsigned n = 0;
	while (n < STRING) {
		uint64_t r = rnd();
		if ((r & 3) == 0) {
			out[n++] = 0xf0;
			if (n < STRING && (r & 0x30) == 0)
				out[n++] = (uint8_t[]){ 0x66, 0x67, 0xf2, 0x48 }[r >> 8 & 3];
			uint8_t opcode = lockable[(r >> 16) % sizeof(lockable)];
			if (n < STRING)
				out[n++] = opcode;
			if (opcode == 0x0f && n < STRING)
				out[n++] = lockable_0f[(r >> 24) % sizeof(lockable_0f)];
			if (n < STRING)
				out[n++] = (uint8_t)(r >> 32);
		} else {
			out[n++] = (uint8_t)(r >> 8);
		}
	}
}

static void answer(struct emu_exit *x)
{
	if (x->type == EMU_EXIT_IO && !x->io.write)
		for (uint32_t b = 0; b < x->io.size * x->io.count; b++)
			x->io.data[b] = (uint8_t)rnd();
	if (x->type == EMU_EXIT_MMIO && !x->mmio.write)
		for (unsigned b = 0; b < x->mmio.size; b++)
			x->mmio.data[b] = (uint8_t)rnd();
	if (x->type == EMU_EXIT_RDMSR || x->type == EMU_EXIT_WRMSR)
		*x->msr.error = rnd() & 1;
}

static bool terminal(const struct emu_exit *x)
{
	return x->type == EMU_EXIT_HLT || x->type == EMU_EXIT_SHUTDOWN ||
	       x->type == EMU_EXIT_KICKED || x->type == EMU_EXIT_INTERNAL_ERROR ||
	       x->type == EMU_EXIT_ENTRY_FAILURE;
}

static uint64_t by_type[32], io_errors;

static void run_string(const struct mode *m)
{
	struct emu_exit x;
	set_up(m);
	for (int exits = 0; exits < MAX_EXITS; exits++) {
		int ret = emu_vcpu_run(vcpu, 0, &x);
		if (ret) {
			assert_int_equal(ret, 0); /* nothing here takes memory away */
			io_errors++;
			return;
		}
		assert_in_range(x.type, EMU_EXIT_BUS_LOCK, EMU_EXIT_ENTRY_FAILURE);
		by_type[x.type]++;
		assert_int_equal(x.bus_lock, !!(x.word & VMX_EXIT_BUS_LOCK_ASSERTED));
		if (x.type == EMU_EXIT_BUS_LOCK)
			assert_int_equal(x.word, VMX_BUS_LOCK | VMX_EXIT_BUS_LOCK_ASSERTED);
		if (terminal(&x))
			return;
		answer(&x);
	}
}

static unsigned long wanted(void)
{
	const char *text = getenv("BUSLOCK_RANDOM_STRINGS");
	return text ? strtoul(text, NULL, 0) : 1000000;
}

static void test_random_code_in_all_modes_never_kills(void **state)
{
	(void)state;
	unsigned long strings = wanted();
	const char *from = getenv("BUSLOCK_RANDOM_SEED");
	if (from)
		seed = strtoull(from, NULL, 0) | 1;
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, kicker, NULL), 0);
	for (unsigned long n = 0; n < strings; n++) {
		if (n % 64 == 0)
			memcpy(ram, pristine, RAM_SIZE);
		random_string(ram + CODE);
		run_string(&modes[n % MODES]);
	}
	atomic_store(&finished, 1);
	pthread_join(thread, NULL);
	struct emu_stats stats;
	emu_vcpu_get_stats(vcpu, &stats);
	printf("%lu strings: %lu locked accesses, %lu bus locks; exits: bus lock %lu, HLT %lu, "
	       "shutdown %lu, "
	       "I/O %lu, MMIO %lu, error %lu, kicked %lu\n",
	       strings, stats.locked, stats.bus_locks, by_type[EMU_EXIT_BUS_LOCK],
	       by_type[EMU_EXIT_HLT], by_type[EMU_EXIT_SHUTDOWN], by_type[EMU_EXIT_IO],
	       by_type[EMU_EXIT_MMIO], by_type[EMU_EXIT_INTERNAL_ERROR], by_type[EMU_EXIT_KICKED]);
	assert_int_equal(stats.bus_locks, observed);
	assert_int_equal(stats.bus_locks, by_type[EMU_EXIT_BUS_LOCK]);
	if (strings >= 10000) {
		assert_true(stats.locked > strings / 100);
		assert_true(stats.bus_locks > strings / 10000);
	}
}

static int begin(void **state)
{
	(void)state;
	/* pages without access around memory: a stray access faults */
	uint8_t *around =
		mmap(NULL, RAM_SIZE + 0x200000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (around == MAP_FAILED)
		return -1;
	ram = around + 0x100000;
	mprotect(ram, RAM_SIZE, PROT_READ | PROT_WRITE);
	pristine = calloc(1, RAM_SIZE);
	if (!pristine || emu_vm_create(NULL, &vm))
		return -1;
	build_tables();
	emu_vm_set_lock_observer(vm, observe, NULL);
	emu_vm_set_msr_exits(vm, true);
	if (emu_vm_map(vm, 0, 0, RAM_SIZE, ram, 0) || emu_vcpu_create(vm, &vcpu))
		return -1;
	emu_vcpu_set_bus_lock_exiting(vcpu, true);
	return 0;
}

static int end(void **state)
{
	(void)state;
	emu_vcpu_destroy(vcpu);
	emu_vm_destroy(vm);
	free(pristine);
	munmap(ram - 0x100000, RAM_SIZE + 0x200000);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_code_in_all_modes_never_kills),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
