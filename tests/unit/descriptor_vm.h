/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A vCPU with descriptor tables, a TSS, stacks and page tables in memory, to deliver events to and to
 * execute single far transfers on. The engine is never entered: what is tested works on struct cpu.
 */
#ifndef BUSLOCK_TESTS_DESCRIPTOR_VM_H
#define BUSLOCK_TESTS_DESCRIPTOR_VM_H

#include "emu/access.h"
#include "emu/segment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define RAM_SIZE 0x200000ull

/* Where things are; all below 2 MiB, so that one page table maps them. */
enum {
	GDT = 0x1000,
	IDT = 0x2000,
	TSS = 0x4000,
	TSS2 = 0x5000,
	LDT = 0x6000,
	STACK0 = 0x9000,
	STACK1 = 0xb000,
	STACK3 = 0xd000,
	IST_STACK = 0xf000, /* their upper ends */
	CODE = 0x10000,
	DATA = 0x18000,
	PML4 = 0x20000,
	PDPT = 0x21000,
	PD = 0x22000,
	PT = 0x23000,
	PD32 = 0x24000,
	PT32 = 0x25000,
};

/* Selectors without RPL. */
enum {
	CODE0 = 0x08,
	DATA0 = 0x10,
	CODE3 = 0x18,
	DATA3 = 0x20,
	TSS_SEL = 0x28,
	CODE0_64 = 0x38,
	CODE3_64 = 0x40,
	CONFORMING0 = 0x48,
	DATA0_ABSENT = 0x50,
	CODE0_ABSENT = 0x58,
	LDT_SEL = 0x60,
	GATE_SEL = 0x70,
	TSS2_SEL = 0x80,
	TASK_SEL = 0x90,
	DATA0_16 = 0x98,
	CODE0_16 = 0xa0,
	READ_ONLY = 0xa8,
	EXECUTE_ONLY = 0xb0,
	DATA1 = 0xb8,
	CODE1 = 0xc0,
	DATA0_SMALL = 0xc8,
	TSS16_SEL = 0xd0,
	GDT_END = 0xd8,
};

/* Attributes of descriptors in the high word, without DPL. */
#define ATTR_CODE32  (DESC_P | DESC_S | DESC_CODE | DESC_READABLE | DESC_DB | DESC_G)
#define ATTR_CODE64  (DESC_P | DESC_S | DESC_CODE | DESC_READABLE | DESC_L | DESC_G)
#define ATTR_CODE16  (DESC_P | DESC_S | DESC_CODE | DESC_READABLE)
#define ATTR_DATA32  (DESC_P | DESC_S | DESC_WRITABLE | DESC_DB | DESC_G)
#define ATTR_DATA16  (DESC_P | DESC_S | DESC_WRITABLE)
#define AT_DPL(dpl)  ((uint32_t)(dpl) << 13)
#define SYSTEM(type) (DESC_P | (uint32_t)(type) << 8)

struct machine {
	struct emu_vm *vm;
	struct emu_vcpu *v;
	struct cpu *c;
	uint8_t *ram;
};

static inline void put(struct machine *m, uint64_t gpa, uint64_t value, unsigned size)
{
	memcpy(m->ram + gpa, &value, size);
}

static inline uint64_t get(const struct machine *m, uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, m->ram + gpa, size);
	return value;
}

/* `limit` as encoded: in pages with DESC_G. */
static inline void descriptor_put(struct machine *m, uint64_t gpa, uint32_t base, uint32_t limit,
				  uint32_t attributes)
{
	put(m, gpa, base << 16 | (limit & 0xffff), 4);
	put(m, gpa + 4, (base & 0xff000000) | (base >> 16 & 0xff) | (limit & 0xf0000) | attributes,
	    4);
}

static inline void gdt_put(struct machine *m, unsigned selector, uint32_t base, uint32_t limit,
			   uint32_t attributes)
{
	descriptor_put(m, GDT + (selector & 0xfff8), base, limit, attributes);
}

static inline uint32_t gdt_high(const struct machine *m, unsigned selector)
{
	return (uint32_t)get(m, GDT + (selector & 0xfff8) + 4, 4);
}

static inline void fill_gdt(struct machine *m)
{
	static const struct {
		uint16_t selector;
		uint32_t limit, attributes;
	} flat[] = {
		{ CODE0, 0xfffff, ATTR_CODE32 },
		{ DATA0, 0xfffff, ATTR_DATA32 },
		{ CODE3, 0xfffff, ATTR_CODE32 | AT_DPL(3) },
		{ DATA3, 0xfffff, ATTR_DATA32 | AT_DPL(3) },
		{ CODE0_64, 0xfffff, ATTR_CODE64 },
		{ CODE3_64, 0xfffff, ATTR_CODE64 | AT_DPL(3) },
		{ CONFORMING0, 0xfffff, ATTR_CODE32 | DESC_CONFORMING },
		{ DATA0_ABSENT, 0xfffff, ATTR_DATA32 & ~(uint32_t)DESC_P },
		{ CODE0_ABSENT, 0xfffff, ATTR_CODE32 & ~(uint32_t)DESC_P },
		{ DATA0_16, 0xffff, ATTR_DATA16 },
		{ CODE0_16, 0xffff, ATTR_CODE16 },
		{ READ_ONLY, 0xfffff, ATTR_DATA32 & ~(uint32_t)DESC_WRITABLE },
		{ EXECUTE_ONLY, 0xfffff, ATTR_CODE32 & ~(uint32_t)DESC_READABLE },
		{ DATA1, 0xfffff, ATTR_DATA32 | AT_DPL(1) },
		{ CODE1, 0xfffff, ATTR_CODE32 | AT_DPL(1) },
		{ DATA0_SMALL, STACK0 - 0x1001, (ATTR_DATA32 & ~(uint32_t)DESC_G) },
	};

	for (unsigned n = 0; n < sizeof(flat) / sizeof(*flat); n++)
		gdt_put(m, flat[n].selector, 0, flat[n].limit, flat[n].attributes);
	gdt_put(m, TSS_SEL, TSS, 0x1ff, SYSTEM(SYS_TSS_BUSY));
	gdt_put(m, LDT_SEL, LDT, 0xff, SYSTEM(SYS_LDT));
	m->c->gdt = (struct segment){ .base = GDT, .limit = GDT_END - 1 };
}

/* An interrupt or trap gate; long mode's entries have 16 bytes. */
static inline void idt_put(struct machine *m, unsigned vector, unsigned type, uint16_t selector,
			   uint64_t offset, unsigned dpl, unsigned ist)
{
	bool wide = in_long_mode(m->c);
	uint64_t gpa = IDT + vector * (wide ? 16 : 8);

	put(m, gpa, (uint32_t)selector << 16 | (offset & 0xffff), 4);
	put(m, gpa + 4, (offset & 0xffff0000) | DESC_P | AT_DPL(dpl) | type << 8 | ist, 4);
	if (wide)
		put(m, gpa + 8, offset >> 32, 8);
}

static inline void set_segment(struct machine *m, unsigned seg, uint16_t selector)
{
	struct descriptor d = { .low = (uint32_t)get(m, GDT + (selector & 0xfff8), 4),
				.high = gdt_high(m, selector) | DESC_ACCESSED };

	m->c->segment[seg] = segment_of(selector, &d);
}

/* The page tables: everything identity-mapped, user. Long mode's, and 32-bit ones. */
static inline void map_all(struct machine *m)
{
	put(m, PML4, PDPT | 7, 8);
	put(m, PDPT, PD | 7, 8);
	put(m, PD, PT | 7, 8);
	put(m, PD32, PT32 | 7, 4);
	for (unsigned page = 0; page < RAM_SIZE >> 12; page++) {
		put(m, PT + page * 8, page << 12 | 7, 8);
		put(m, PT32 + page * 4, page << 12 | 7, 4);
	}
}

static inline void unmap_page(struct machine *m, uint32_t linear)
{
	put(m, PT + (linear >> 12) * 8, 0, 8);
	put(m, PT32 + (linear >> 12) * 4, 0, 4);
	access_flush(m->v);
}

static inline void common_state(struct machine *m, unsigned cpl)
{
	struct cpu *c = m->c;

	c->cpl = (uint8_t)cpl;
	c->rip = CODE;
	c->rflags = FL_FIXED | FL_IF;
	c->idt = (struct segment){ .base = IDT, .limit = in_long_mode(c) ? 0xfff : 0x7ff };
	for (unsigned n = 0; n < 16; n++)
		c->gpr[n] = 0x1111111111111111ull * n & (in_long_mode(c) ? ~0ull : 0xffffffff);
	c->gpr[EMU_RSP] = cpl == 3 ? STACK3 : cpl ? STACK1 : STACK0;
	c->segment[EMU_TR] = (struct segment){
		.selector = TSS_SEL, .base = TSS, .limit = 0x1ff, .flags = SYSTEM(SYS_TSS_BUSY)
	};
	c->segment[EMU_LDTR] = segment_null(0);
}

static inline void enter_real(struct machine *m)
{
	struct cpu *c = m->c;

	c->cr0 = CR0_ET;
	c->efer = 0;
	common_state(m, 0);
	for (unsigned n = 0; n < 6; n++)
		c->segment[n] = (struct segment){
			.limit = 0xffff, .flags = DESC_P | DESC_S | DESC_WRITABLE | DESC_ACCESSED
		};
	c->segment[EMU_CS].selector = 0x1000;
	c->segment[EMU_CS].base = CODE;
	c->rip = 0x20;
	c->gpr[EMU_RSP] = STACK0;
	c->idt = (struct segment){ .base = 0, .limit = 0x3ff };
}

/* 32-bit code with paging, 0, 1 or 3. */
static inline void enter_protected(struct machine *m, unsigned cpl)
{
	struct cpu *c = m->c;

	c->cr0 = CR0_PE | CR0_ET | CR0_PG | CR0_WP;
	c->cr3 = PD32;
	c->cr4 = c->efer = 0;
	common_state(m, cpl);
	set_segment(m, EMU_CS, (uint16_t)((cpl == 3 ? CODE3 : cpl ? CODE1 : CODE0) | cpl));
	set_segment(m, EMU_SS, (uint16_t)((cpl == 3 ? DATA3 : cpl ? DATA1 : DATA0) | cpl));
	for (unsigned n = 0; n < 6; n++)
		if (n != EMU_CS && n != EMU_SS)
			set_segment(m, n, DATA3 | 3);
	put(m, TSS + 4, STACK0, 4);
	put(m, TSS + 8, DATA0, 4);
	put(m, TSS + 12, STACK1, 4);
	put(m, TSS + 16, DATA1 | 1, 4);
	access_flush(m->v);
}

static inline void enter_long(struct machine *m, unsigned cpl)
{
	struct cpu *c = m->c;

	enter_protected(m, cpl);
	c->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
	c->cr4 = CR4_PAE;
	c->cr3 = PML4;
	common_state(m, cpl);
	set_segment(m, EMU_CS, (uint16_t)((cpl ? CODE3_64 : CODE0_64) | cpl));
	put(m, TSS + 4, STACK0, 8);
	put(m, TSS + 12, STACK1, 8);
	put(m, TSS + 36, IST_STACK, 8);
	access_flush(m->v);
}

static inline void enter_vm86(struct machine *m, unsigned iopl)
{
	struct cpu *c = m->c;

	enter_protected(m, 3);
	c->rflags |= FL_VM | iopl << 12;
	for (unsigned n = 0; n < 6; n++)
		c->segment[n] = segment_vm86((uint16_t)(0x100 * n));
	c->segment[EMU_CS] = segment_vm86(CODE >> 4);
	c->segment[EMU_SS] = segment_vm86(0);
	c->gpr[EMU_RSP] = STACK3;
	c->rip = 0x20;
}

static inline int machine_setup(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(m->ram, MAP_FAILED);
	assert_int_equal(emu_vm_create(NULL, &m->vm), 0);
	assert_int_equal(emu_vm_map(m->vm, 0, 0, RAM_SIZE, m->ram, 0), 0);
	assert_int_equal(emu_vcpu_create(m->vm, &m->v), 0);
	m->c = &m->v->cpu;
	fill_gdt(m);
	map_all(m);
	*state = m;
	return 0;
}

static inline int machine_teardown(void **state)
{
	struct machine *m = *state;

	emu_vcpu_destroy(m->v);
	emu_vm_destroy(m->vm);
	munmap(m->ram, RAM_SIZE);
	free(m);
	return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_setup, machine_teardown)

/* ------------------------------------------------------------------ execution */

static inline enum outcome execute_bytes(struct machine *m, const void *bytes, size_t n)
{
	uint8_t code[INSN_MAX_LENGTH] = { 0 };
	struct insn i;

	memcpy(code, bytes, n);
	assert_int_equal(insn_decode(&i, code, sizeof(code), code_mode(m->c)), 0);
	assert_int_equal(i.length, n);
	switch (i.op) {
	case OP_IRET:
		return insn_iret(m->v, &i);
	case OP_JMP_FAR:
	case OP_CALL_FAR:
		return insn_far_jmp(m->v, &i);
	case OP_RET_FAR:
		return insn_far_ret(m->v, &i);
	case OP_MOV_TO_SEG:
	case OP_POP_SEG:
	case OP_LOAD_FAR:
		return insn_mov_to_seg(m->v, &i);
	case OP_LGDT:
	case OP_LIDT:
	case OP_LLDT:
	case OP_LTR:
		return insn_load_table(m->v, &i);
	case OP_SYSCALL:
	case OP_SYSRET:
	case OP_SYSENTER:
	case OP_SYSEXIT:
		return insn_syscall(m->v, &i);
	case OP_INT:
	case OP_INT1:
	case OP_INT3:
	case OP_INTO:
		return insn_int(m->v, &i);
	default:
		fail_msg("%s is not executed here", insn_op_name(i.op));
		return UNHANDLED;
	}
}
/* Execute the instruction that consists of the given bytes. */
#define EXECUTE(m, ...) \
	execute_bytes(m, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* `expression` faults with this vector and error code, and no register changes. */
#define ASSERT_FAULT(m, expression, expected_vector, expected_error)     \
	do {                                                             \
		struct cpu before_ = *(m)->c;                            \
		assert_int_equal(expression, FAULT);                     \
		assert_int_equal((m)->v->fault.vector, expected_vector); \
		assert_int_equal((m)->v->fault.error, expected_error);   \
		assert_memory_equal(&before_, (m)->c, sizeof(before_));  \
	} while (0)

#define EXECUTE_FAULT(m, vector, error, ...) ASSERT_FAULT(m, EXECUTE(m, __VA_ARGS__), vector, error)

static inline void assert_stack(const struct machine *m, const uint64_t *items, unsigned n,
				unsigned size)
{
	uint64_t top = m->c->segment[EMU_SS].base * (stack_size(m->c) != 8) +
		       (m->c->gpr[EMU_RSP] & size_mask(stack_size(m->c)));

	for (unsigned item = 0; item < n; item++)
		assert_int_equal(get(m, top + item * size, size), items[item]);
}
/* The items from the top of the stack upwards. */
#define ASSERT_STACK(m, size, ...)                         \
	assert_stack(m, (const uint64_t[]){ __VA_ARGS__ }, \
		     sizeof((const uint64_t[]){ __VA_ARGS__ }) / 8, size)

static inline void push_items(struct machine *m, const uint64_t *items, unsigned n, unsigned size)
{
	m->c->gpr[EMU_RSP] -= n * size;
	for (unsigned item = 0; item < n; item++)
		put(m,
		    m->c->segment[EMU_SS].base * (stack_size(m->c) != 8) + m->c->gpr[EMU_RSP] +
			    item * size,
		    items[item], size);
}
/* Put the items on the stack, the first on top. */
#define PUSH(m, size, ...)                               \
	push_items(m, (const uint64_t[]){ __VA_ARGS__ }, \
		   sizeof((const uint64_t[]){ __VA_ARGS__ }) / 8, size)

/* ------------------------------------------------------------------ far transfers */

#define TARGET 0x12340u

/* JMP or CALL selector:TARGET, 32-bit. */
static inline enum outcome far_to(struct machine *m, bool call, uint16_t selector)
{
	return EXECUTE(m, call ? 0x9a : 0xea, 0x40, 0x23, 0x01, 0x00, selector & 0xff,
		       selector >> 8);
}
#define FAR_FAULT(m, call, selector, vector, error) \
	ASSERT_FAULT(m, far_to(m, call, selector), vector, error)

#endif
