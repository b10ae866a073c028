/* SPDX-License-Identifier: GPL-2.0-only */
/* A vCPU in 64-bit mode with page tables, descriptors and a handler for each vector: for plain guest code. */
#ifndef BUSLOCK_TESTS_VCPU_VM_H
#define BUSLOCK_TESTS_VCPU_VM_H

#include "emu/emu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
/* cmocka.h wants the above */
#include <cmocka.h>

#define CODE  0x1000u
#define STACK 0x5000u
#define IDT   0x9000u
#define GDT   0xa000u
#define DATA  0x10000u
#define RAM   0x100000u

struct machine {
	struct emu_vm *vm;
	struct emu_vcpu *vcpu;
	uint8_t *ram;
	unsigned told; /* calls of an observer that counts them here */
};

/* CPL 0; RIP at CODE. */
static inline void set_64bit(struct emu_vcpu *vcpu)
{
	struct emu_state s;
	emu_vcpu_get_state(vcpu, &s);
	for (int k = EMU_ES; k <= EMU_GS; k++)
		s.segment[k] = (struct emu_segment){ .limit = 0xffffffff,
						     .selector = 0x10,
						     .attributes = 0xc093 };
	s.segment[EMU_CS].attributes = 0xa09b;
	s.segment[EMU_CS].selector = 8;
	s.cr0 = 0x80000031, s.cr3 = 0x6000, s.cr4 = 0x620, s.efer = 0x500;
	s.gdt = (struct emu_table){ GDT, 0x1f };
	s.idt = (struct emu_table){ IDT, 0xfff };
	s.rip = CODE, s.gpr[EMU_RSP] = STACK, s.rflags = 2;
	assert_int_equal(emu_vcpu_set_state(vcpu, &s), 0);
}

/* The first 2 MB mapped to themselves; `user`: open to CPL 3. */
static inline void write_tables(uint8_t *ram, bool user)
{
	const uint64_t bits = user ? 7 : 3, entry[] = { 0x7000 | bits, 0x8000 | bits, 0x80 | bits };
	const uint64_t code_segment = 0x00209b0000000000, data_segment = 0x00cf93000000ffff;
	for (unsigned n = 0; n < 3; n++)
		memcpy(ram + 0x6000 + 0x1000 * n, &entry[n], 8);
	memcpy(ram + GDT + 8, &code_segment, 8);
	memcpy(ram + GDT + 16, &data_segment, 8);
	/* vector n goes to 0xc000 + 16 n: OUT 0xee with AL = n, then HLT */
	for (unsigned n = 0; n < 256; n++) {
		const uint32_t target = 0xc000 + 16 * n;
		const uint64_t gate = (target & 0xffff) | 8ull << 16 | 0x8e00ull << 32 |
				      (uint64_t)(target >> 16) << 48;
		const uint8_t handler[] = { 0xb0, (uint8_t)n, 0xe6, 0xee, 0xf4 };
		memcpy(ram + IDT + 16 * n, &gate, 8);
		memcpy(ram + target, handler, sizeof(handler));
	}
}

/* RAM ends at 1 MB: devices above. */
static inline void machine_start(struct machine *m, const struct emu_config *config, bool user)
{
	m->told = 0;
	m->ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(m->ram, MAP_FAILED);
	assert_int_equal(emu_vm_create(config, &m->vm), 0);
	assert_int_equal(emu_vm_map(m->vm, 0, 0, RAM, m->ram, 0), 0);
	assert_int_equal(emu_vcpu_create(m->vm, &m->vcpu), 0);
	write_tables(m->ram, user);
	set_64bit(m->vcpu);
}

static inline void machine_stop(struct machine *m)
{
	emu_vcpu_destroy(m->vcpu);
	emu_vm_destroy(m->vm);
	munmap(m->ram, RAM);
}

/* A test's teardown; its setup has allocated the machine. */
static inline int end(void **state)
{
	machine_stop(*state);
	free(*state);
	return 0;
}

#define CODE_AT(m, address, ...)                                       \
	memcpy((m)->ram + (address), (const uint8_t[]){ __VA_ARGS__ }, \
	       sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* A run that ends in such an exit. */
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

#endif
