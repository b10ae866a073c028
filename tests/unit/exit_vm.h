/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A vCPU with page tables, descriptors, handlers and a second task, some of it in memory that is not
 * write-back: what tests of exits run real guest code on.
 */
#ifndef BUSLOCK_TESTS_EXIT_VM_H
#define BUSLOCK_TESTS_EXIT_VM_H

#include "emu/emu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
/* cmocka.h wants the above */
#include <cmocka.h>

#define RAM 0x80000u

/* Guest-physical, and linear by identity below 2 MiB. */
enum {
	GDT = 0x1000,
	IDT = 0x2000,
	TSS = 0x3000,
	TSS2 = 0x4000,
	CODE = 0x8000,
	TASK = 0x8800, /* first instruction of the second task */
	HANDLERS = 0x9000,
	STACK = 0xb000, /* its end */
	USER_STACK = 0xd000,
	PML4 = 0x10000,
	PDPT = 0x11000,
	PD = 0x12000,
	PT = 0x13000,      /* 0 to 2 MiB */
	PT_COLD = 0x14000, /* 2 to 4 MiB: declared UC, accessed bits clear */
	PD32 = 0x15000,
	PT32 = 0x16000,
	PT32_COLD = 0x17000, /* 4 to 8 MiB */
	BUFFER = 0x40000,
	UC_BUFFER = 0x41000,
	DEVICE = 0x7e000, /* linear, for rows that map it to NO_SLOT */
	TARGET = 0x50000, /* of what a row intercepts */
	NO_SLOT = 0x10000000,
};
/* Linear, through PT_COLD: the first access to each sets an accessed bit in UC memory. */
enum {
	COLD = 0x200000,        /* → BUFFER */
	COLD_ABSENT = 0x201000, /* not present */
	COLD_TARGET = 0x202000, /* → TARGET */
	COLD_DEVICE = 0x203000, /* → NO_SLOT */
	COLD_GDT = 0x206000,
	COLD_CODE = 0x208000, /* → CODE */
	COLD_GDT32 = 0x400000,
};
enum {
	CODE0 = 0x08,
	DATA0 = 0x10,
	CODE3 = 0x18,
	DATA3 = 0x20,
	TSS64 = 0x28,       /* available */
	CODE0_FRESH = 0x38, /* accessed bit clear */
	DATA0_FRESH = 0x40,
	CODE32 = 0x48,
	TSS32_OLD = 0x50,
	TSS32_NEW = 0x58,
	TSS32_NEW_AT = GDT + 0x58,
};
enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 32, PTE_D = 64 };
enum { PF = 14, GP = 13, AC = 17, DB = 1, UD = 6 };

#define SPLIT (BUFFER + 62) /* 4 bytes there cross a line */
enum mode { CPL0, CPL3, MODE_32 };

static struct emu_vm *vm;
static struct emu_vcpu *vcpu;
static uint8_t *ram;
static unsigned locks;
static bool kick_in_observer;

/* ------------------------------------------------------------------ the machine */

static inline void put(uint64_t gpa, uint64_t value, unsigned size)
{
	memcpy(ram + gpa, &value, size);
}

static inline void observe(void *opaque, struct emu_vcpu *v, const struct emu_lock *lock)
{
	(void)opaque, (void)lock;
	locks++;
	if (kick_in_observer)
		emu_vcpu_kick(v);
}

static inline void build_gdt(void)
{
	/* pairs: with designated initialisers clang-format takes this header for Objective-C */
	static const uint64_t entries[][2] = {
		{ CODE0, 0x00209b0000000000 },
		{ DATA0, 0x00cf93000000ffff },
		{ CODE3, 0x0020fb0000000000 },
		{ DATA3, 0x00cff3000000ffff },
		{ TSS64, 0x0000890000000067 | (uint64_t)TSS << 16 },
		{ CODE0_FRESH, 0x00209a0000000000 },
		{ DATA0_FRESH, 0x00cf92000000ffff },
		{ CODE32, 0x00cf9b000000ffff },
		{ TSS32_OLD, 0x00008b0000000067 | (uint64_t)TSS << 16 },
		{ TSS32_NEW, 0x0000890000000067 | (uint64_t)TSS2 << 16 },
	};
	for (unsigned i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		put(GDT + entries[i][0], entries[i][1], 8);
}

static inline void set_gates(unsigned selector)
{
	for (unsigned n = 0; n < 256; n++) {
		uint32_t target = HANDLERS + 16 * n;
		put(IDT + 16 * n, target | selector << 16, 4);
		put(IDT + 16 * n + 4, 0xee00, 4); /* interrupt gate, DPL 3 */
		put(IDT + 16 * n + 8, 0, 8);
		memcpy(ram + target, "\x0f\x01\xc1", 3); /* VMCALL */
	}
}

static inline void build_tables(void)
{
	const uint64_t all = PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
	put(PML4, PDPT | all, 8);
	put(PDPT, PD | all, 8);
	put(PD, PT | all, 8);
	put(PD + 8, PT_COLD | all, 8);
	put(PD32, PT32 | all, 4);
	put(PD32 + 4, PT32_COLD | all, 4);
	for (unsigned n = 0; n < RAM / 4096; n++) {
		put(PT + 8 * n, n * 4096 | all, 8);
		put(PT32 + 4 * n, n * 4096 | all, 4);
	}
	put(PT_COLD + 8 * 0, BUFFER | PTE_P | PTE_W | PTE_U, 8);
	put(PT_COLD + 8 * 2, TARGET | PTE_P | PTE_W | PTE_U, 8);
	put(PT_COLD + 8 * 3, NO_SLOT | PTE_P | PTE_W | PTE_U, 8);
	put(PT_COLD + 8 * 6, GDT | PTE_P | PTE_W | PTE_U | PTE_D, 8);
	put(PT_COLD + 8 * 8, CODE | PTE_P | PTE_W | PTE_U, 8);
	put(PT32_COLD, GDT | PTE_P | PTE_W | PTE_U | PTE_D, 4);
}

static inline void build_tasks(void)
{
	put(TSS + 4, STACK, 8); /* RSP0 of the 64-bit TSS */
	put(TSS + 102, 104, 2);
	put(TSS2 + 28, PD32, 4);
	put(TSS2 + 32, TASK, 4);
	put(TSS2 + 36, 2, 4);
	put(TSS2 + 56, STACK, 4);
	for (unsigned at = 72; at <= 92; at += 4)
		put(TSS2 + at, at == 76 ? CODE32 : DATA0, 4);
	memcpy(ram + TASK, "\x0f\x01\xc1", 3);
}

static inline void set_registers(enum mode mode, uint64_t rdi)
{
	struct emu_state s;
	bool mode32 = mode == MODE_32, user = mode == CPL3;
	uint16_t data = user ? 0xc0f3 : 0xc093;
	emu_vcpu_get_state(vcpu, &s);
	s.cr0 = 0x80010031;
	s.cr3 = mode32 ? PD32 : PML4;
	s.cr4 = mode32 ? 0 : 0x20;
	s.efer = mode32 ? 0 : 0x500;
	for (unsigned n = 0; n < 6; n++)
		s.segment[n] =
			(struct emu_segment){ 0, 0xffffffff, user ? DATA3 | 3 : DATA0, data };
	s.segment[EMU_CS].selector = mode32 ? CODE32 : user ? CODE3 | 3 : CODE0;
	s.segment[EMU_CS].attributes = mode32 ? 0xc09b : user ? 0xa0fb : 0xa09b;
	s.segment[EMU_TR] = (struct emu_segment){ TSS, 0x67, mode32 ? TSS32_OLD : TSS64, 0x8b };
	s.gdt = (struct emu_table){ GDT, 0x5f };
	s.idt = (struct emu_table){ IDT, 0xfff };
	s.gpr[EMU_RSP] = user ? USER_STACK : STACK;
	s.gpr[EMU_RDI] = rdi;
	s.gpr[EMU_RAX] = 1;
	s.rip = CODE;
	s.rflags = 2;
	assert_int_equal(emu_vcpu_set_state(vcpu, &s), 0);
}

static inline void set_features(void)
{
	struct emu_cpuid leaves[64];
	size_t n = emu_cpuid_supported(EMU_INTEL, leaves, 64);
	assert_in_range(n, 1, 64);
	assert_int_equal(emu_vcpu_set_cpuid(vcpu, leaves, n), 0);
}

/* `config` may be NULL. The code is followed by VMCALL, as all handlers are nothing else. */
static inline void machine_start(const struct emu_config *config, enum mode mode, const void *code,
				 size_t length, uint64_t rdi)
{
	ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(ram, MAP_FAILED);
	assert_int_equal(emu_vm_create(config, &vm), 0);
	assert_int_equal(emu_vm_map(vm, 0, 0, RAM, ram, 0), 0);
	assert_int_equal(emu_vcpu_create(vm, &vcpu), 0);
	build_gdt();
	set_gates(CODE0);
	build_tables();
	build_tasks();
	assert_int_equal(emu_vm_declare_memory_type(vm, UC_BUFFER, 4096, EMU_MT_UC), 0);
	assert_int_equal(emu_vm_declare_memory_type(vm, PT_COLD, 4096, EMU_MT_UC), 0);
	assert_int_equal(emu_vm_declare_memory_type(vm, PT32_COLD, 4096, EMU_MT_UC), 0);
	set_features();
	memcpy(ram + CODE, code, length);
	memcpy(ram + CODE + length, "\x0f\x01\xc1", 3);
	set_registers(mode, rdi);
	emu_vm_set_lock_observer(vm, observe, NULL);
	emu_vcpu_set_bus_lock_exiting(vcpu, true);
	locks = 0;
	kick_in_observer = false;
}

static inline void machine_stop(void)
{
	if (!vm)
		return;
	emu_vcpu_destroy(vcpu);
	emu_vm_destroy(vm);
	munmap(ram, RAM);
	vm = NULL;
}

#define EDIT_STATE(...)                                            \
	do {                                                       \
		struct emu_state s;                                \
		emu_vcpu_get_state(vcpu, &s);                      \
		__VA_ARGS__;                                       \
		assert_int_equal(emu_vcpu_set_state(vcpu, &s), 0); \
	} while (0)

static inline void controls(uint32_t exceptions, bool monitor_trap, bool task_switch)
{
	const struct emu_controls c = { exceptions, monitor_trap, task_switch };
	emu_vcpu_set_controls(vcpu, &c);
}

static inline void want(uint32_t exceptions)
{
	controls(exceptions, false, false);
}

static inline void set_msr(uint32_t index, uint64_t value)
{
	assert_int_equal(emu_vcpu_set_msr(vcpu, index, value, false), 0);
}

static inline void declare_uc(uint64_t gpa)
{
	assert_int_equal(emu_vm_declare_memory_type(vm, gpa, 4096, EMU_MT_UC), 0);
}

static inline void intercept(enum emu_page_intercept what)
{
	assert_int_equal(emu_vm_intercept_page(vm, TARGET, what), 0);
}

static inline int machine_end(void **state)
{
	(void)state;
	machine_stop();
	return 0;
}

/* A run that ends in such an exit. */
static inline struct emu_exit run(enum emu_exit_type expected)
{
	struct emu_exit x;
	assert_int_equal(emu_vcpu_run(vcpu, 0, &x), 0);
	assert_int_equal(x.type, expected);
	return x;
}

static inline struct emu_state now(void)
{
	struct emu_state s;
	emu_vcpu_get_state(vcpu, &s);
	return s;
}

#endif
