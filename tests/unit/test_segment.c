// SPDX-License-Identifier: GPL-2.0-only
/* Loads of segment and descriptor-table registers, system calls: results and checks. */
#include "descriptor_vm.h"

/* ------------------------------------------------------------------ MOV, POP, LDS … */

/* MOV DS, AX and MOV SS, AX with a selector in AX */
static enum outcome mov_ds(struct machine *m, uint16_t selector)
{
	m->c->gpr[EMU_RAX] = selector;
	return EXECUTE(m, 0x8e, 0xd8);
}

static enum outcome mov_ss(struct machine *m, uint16_t selector)
{
	m->c->gpr[EMU_RAX] = selector;
	return EXECUTE(m, 0x8e, 0xd0);
}

#define MOV_FAULT(m, mov, selector, vector, error)                            \
	do {                                                                  \
		(m)->c->gpr[EMU_RAX] = (selector);                            \
		ASSERT_FAULT(m, mov(m, (uint16_t)(selector)), vector, error); \
	} while (0)

static void test_segment_real_mode_keeps_limit_and_attributes(void **state)
{
	struct machine *m = *state;

	enter_real(m);
	m->c->segment[EMU_DS].limit = 0xffffffff; /* unreal mode */
	m->c->segment[EMU_DS].flags |= DESC_G | DESC_DB;
	assert_int_equal(mov_ds(m, 0xf123), DONE);
	assert_int_equal(m->c->segment[EMU_DS].selector, 0xf123);
	assert_int_equal(m->c->segment[EMU_DS].base, 0xf1230);
	assert_int_equal(m->c->segment[EMU_DS].limit, 0xffffffff);
	assert_true(m->c->segment[EMU_DS].flags & DESC_G);
	assert_int_equal(m->c->rip, 0x22);
	/* a register that protected mode left null can be used again */
	m->c->segment[EMU_DS] = segment_null(0);
	assert_int_equal(mov_ds(m, 0x200), DONE);
	assert_true(m->c->segment[EMU_DS].flags & DESC_P);
	assert_int_equal(m->c->segment[EMU_DS].limit, 0xffff);
}

static void test_segment_vm86_has_fixed_attributes(void **state)
{
	struct machine *m = *state;

	enter_vm86(m, 0);
	assert_int_equal(mov_ds(m, 0x1234), DONE);
	assert_int_equal(m->c->segment[EMU_DS].base, 0x12340);
	assert_int_equal(m->c->segment[EMU_DS].limit, 0xffff);
	assert_int_equal(m->c->segment[EMU_DS].flags, 0xf300);
}

static void test_segment_protected_load_fills_hidden_part(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	gdt_put(m, DATA0, 0x12345678, 0x9abcd, ATTR_DATA32 | 1 << 20);
	assert_int_equal(mov_ds(m, DATA0), DONE);
	assert_int_equal(m->c->segment[EMU_DS].selector, DATA0);
	assert_int_equal(m->c->segment[EMU_DS].base, 0x12345678);
	assert_int_equal(m->c->segment[EMU_DS].limit, 0x9abcdfff);
	assert_int_equal(m->c->segment[EMU_DS].flags, ATTR_DATA32 | 1 << 20 | DESC_ACCESSED);
	assert_true(gdt_high(m, DATA0) & DESC_ACCESSED);
	assert_int_equal(m->c->shadow, 0);
	/* in bytes */
	gdt_put(m, DATA0, 0, 0x9abcd, ATTR_DATA32 & ~(uint32_t)DESC_G);
	assert_int_equal(mov_ds(m, DATA0), DONE);
	assert_int_equal(m->c->segment[EMU_DS].limit, 0x9abcd);
}

static void test_segment_accessed_bit_needs_no_write_when_set(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	put(m, PT32 + (GDT >> 12) * 4, GDT | 1, 4);
	access_flush(m->v);
	MOV_FAULT(m, mov_ds, DATA0, EXC_PF, PF_P | PF_W);
	gdt_put(m, DATA0, 0, 0xfffff, ATTR_DATA32 | DESC_ACCESSED);
	assert_int_equal(mov_ds(m, DATA0), DONE);
}

static void test_segment_data_register_checks(void **state)
{
	struct machine *m = *state;
	static const struct {
		unsigned cpl;
		uint16_t selector;
		unsigned vector;
		uint32_t error;
	} cases[] = {
		{ 0, DATA0, 0, 0 },
		{ 0, CODE0, 0, 0 },
		{ 0, READ_ONLY, 0, 0 },
		{ 0, 0, 0, 0 },
		{ 3, 3, 0, 0 },
		{ 3, DATA3 | 3, 0, 0 },
		{ 3, DATA3, 0, 0 },
		{ 3, CONFORMING0 | 3, 0, 0 },
		{ 0, DATA3 | 3, 0, 0 },
		{ 0, DATA0 | 1, EXC_GP, DATA0 }, /* RPL */
		{ 1, DATA0 | 1, EXC_GP, DATA0 }, /* CPL */
		{ 1, DATA0, EXC_GP, DATA0 },
		{ 3, CODE0, EXC_GP, CODE0 }, /* not conforming */
		{ 0, EXECUTE_ONLY, EXC_GP, EXECUTE_ONLY },
		{ 0, TSS_SEL, EXC_GP, TSS_SEL },
		{ 0, DATA0_ABSENT, EXC_NP, DATA0_ABSENT },
		{ 3, DATA0_ABSENT | 3, EXC_GP, DATA0_ABSENT }, /* before presence */
		{ 0, GDT_END | 3, EXC_GP, GDT_END },
		{ 0, DATA0 | 4, EXC_GP, DATA0 | 4 }, /* no LDT */
	};

	for (unsigned n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
		enter_protected(m, cases[n].cpl);
		if (cases[n].vector) {
			MOV_FAULT(m, mov_ds, cases[n].selector, cases[n].vector, cases[n].error);
			continue;
		}
		assert_int_equal(mov_ds(m, cases[n].selector), DONE);
		assert_int_equal(m->c->segment[EMU_DS].selector, cases[n].selector);
		assert_int_equal(!!(m->c->segment[EMU_DS].flags & DESC_P), cases[n].selector > 3);
		assert_int_equal(m->c->rip, CODE + 2);
	}
}

static void test_segment_last_byte_of_table_counts(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	m->c->gdt.limit = DATA0 + 6;
	MOV_FAULT(m, mov_ds, DATA0, EXC_GP, DATA0);
	m->c->gdt.limit = DATA0 + 7;
	assert_int_equal(mov_ds(m, DATA0), DONE);
}

static void test_segment_stack_register_checks(void **state)
{
	struct machine *m = *state;
	static const struct {
		bool wide;
		unsigned cpl;
		uint16_t selector;
		unsigned vector;
		uint32_t error;
	} cases[] = {
		{ false, 0, DATA0, 0, 0 },
		{ false, 3, DATA3 | 3, 0, 0 },
		{ false, 1, DATA1 | 1, 0, 0 },
		{ false, 0, 0, EXC_GP, 0 },
		{ false, 3, 3, EXC_GP, 0 },
		{ false, 3, DATA3, EXC_GP, DATA3 }, /* RPL */
		{ false, 0, DATA3, EXC_GP, DATA3 }, /* DPL */
		{ false, 0, READ_ONLY, EXC_GP, READ_ONLY },
		{ false, 0, CODE0, EXC_GP, CODE0 },
		{ false, 0, DATA0_ABSENT, EXC_SS, DATA0_ABSENT },
		{ false, 0, GDT_END, EXC_GP, GDT_END },
		{ true, 0, 0, 0, 0 },
		{ true, 0, 1, EXC_GP, 0 },
		{ true, 3, 3, EXC_GP, 0 },
		{ true, 3, DATA3 | 3, 0, 0 },
	};

	for (unsigned n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
		if (cases[n].wide)
			enter_long(m, cases[n].cpl);
		else
			enter_protected(m, cases[n].cpl);
		if (cases[n].vector) {
			MOV_FAULT(m, mov_ss, cases[n].selector, cases[n].vector, cases[n].error);
			continue;
		}
		assert_int_equal(mov_ss(m, cases[n].selector), DONE);
		assert_int_equal(m->c->segment[EMU_SS].selector, cases[n].selector);
		assert_int_equal(DESC_GET_DPL(m->c->segment[EMU_SS].flags), cases[n].cpl);
		assert_int_equal(m->c->shadow, EMU_SHADOW_MOV_SS);
	}
}

static void test_segment_ldt_descriptor_is_found(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	descriptor_put(m, LDT + 8, 0x5000, 0xff, ATTR_DATA16);
	m->c->gpr[EMU_RAX] = LDT_SEL;
	assert_int_equal(EXECUTE(m, 0x0f, 0x00, 0xd0), DONE); /* LLDT AX */
	assert_int_equal(mov_ds(m, 8 | 4), DONE);
	assert_int_equal(m->c->segment[EMU_DS].base, 0x5000);
	MOV_FAULT(m, mov_ds, 0x100 | 4, EXC_GP, 0x104); /* beyond its limit */
	/* an unusable LDTR may have any limit */
	m->c->segment[EMU_LDTR].flags &= ~(uint32_t)DESC_P;
	MOV_FAULT(m, mov_ds, 8 | 4, EXC_GP, 0xc);
}

static void test_segment_pop_pops_and_shadows_ss_only(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	PUSH(m, 4, 0xabcd0000 | DATA0);
	assert_int_equal(EXECUTE(m, 0x1f), DONE); /* POP DS */
	assert_int_equal(m->c->segment[EMU_DS].selector, DATA0);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0);
	assert_int_equal(m->c->shadow, 0);
	PUSH(m, 2, DATA0_16);
	assert_int_equal(EXECUTE(m, 0x66, 0x17), DONE); /* POP SS */
	assert_int_equal(m->c->segment[EMU_SS].selector, DATA0_16);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0);
	assert_int_equal(m->c->shadow, EMU_SHADOW_MOV_SS);
	enter_long(m, 3);
	PUSH(m, 8, DATA3 | 3);
	assert_int_equal(EXECUTE(m, 0x0f, 0xa1), DONE); /* POP FS */
	assert_int_equal(m->c->gpr[EMU_RSP], STACK3);
	PUSH(m, 8, DATA0);
	EXECUTE_FAULT(m, EXC_GP, DATA0, 0x0f, 0xa9); /* POP GS: RSP stays */
}

static void test_segment_far_load_fills_both_registers(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	put(m, DATA, 0x89abcdef, 4);
	put(m, DATA + 4, DATA0, 2);
	assert_int_equal(EXECUTE(m, 0x0f, 0xb2, 0x0d, 0, 0x80, 1, 0), DONE); /* LSS ECX, [DATA] */
	assert_int_equal(m->c->gpr[EMU_RCX], 0x89abcdef);
	assert_int_equal(m->c->segment[EMU_SS].selector, DATA0);
	assert_int_equal(m->c->shadow, 0); /* LSS needs none */
	put(m, DATA + 2, DATA3 | 3, 2);
	assert_int_equal(EXECUTE(m, 0x66, 0xc4, 0x15, 0, 0x80, 1, 0), DONE); /* LES DX */
	assert_int_equal(m->c->gpr[EMU_RDX], 0x2222cdef);
	assert_int_equal(m->c->segment[EMU_ES].selector, DATA3 | 3);
	put(m, DATA + 4, GDT_END, 2);
	EXECUTE_FAULT(m, EXC_GP, GDT_END, 0xc5, 0x15, 0, 0x80, 1, 0); /* LDS: EDX stays */
	unmap_page(m, DATA);
	EXECUTE_FAULT(m, EXC_PF, 0, 0x0f, 0xb4, 0x15, 0, 0x80, 1, 0);
}

static void test_segment_null_fs_in_64_bit_mode_clears_base(void **state)
{
	struct machine *m = *state;

	enter_long(m, 0);
	m->c->segment[EMU_FS].base = 0x123456789000;
	m->c->gpr[EMU_RAX] = 0;
	assert_int_equal(EXECUTE(m, 0x8e, 0xe0), DONE);
	assert_int_equal(m->c->segment[EMU_FS].base, 0);
}

/* ------------------------------------------------------------------ descriptor tables */

static void test_segment_lgdt_takes_base_by_operand_size(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	put(m, DATA, 0xffff800000003456, 8);
	put(m, DATA + 8, 0xffff, 2);
	assert_int_equal(EXECUTE(m, 0x0f, 0x01, 0x15, 0, 0x80, 1, 0), DONE);
	assert_int_equal(m->c->gdt.limit, 0x3456);
	assert_int_equal(m->c->gdt.base, 0x80000000);
	put(m, DATA + 2, 0x12345678, 4);
	assert_int_equal(EXECUTE(m, 0x66, 0x0f, 0x01, 0x1d, 0, 0x80, 1, 0), DONE); /* LIDT */
	assert_int_equal(m->c->idt.base, 0x345678);
	enter_long(m, 0);
	put(m, DATA + 2, 0xffff800012345678, 8);
	assert_int_equal(EXECUTE(m, 0x0f, 0x01, 0x14, 0x25, 0, 0x80, 1, 0), DONE);
	assert_int_equal(m->c->gdt.base, 0xffff800012345678);
	put(m, DATA + 2, 0x0000800012345678, 8);
	EXECUTE_FAULT(m, EXC_GP, 0, 0x0f, 0x01, 0x14, 0x25, 0, 0x80, 1, 0);
	enter_long(m, 3);
	EXECUTE_FAULT(m, EXC_GP, 0, 0x0f, 0x01, 0x14, 0x25, 0, 0x80, 1, 0);
	enter_vm86(m, 3);
	EXECUTE_FAULT(m, EXC_GP, 0, 0x0f, 0x01, 0x16, 0, 0x80);
}

static enum outcome ltr(struct machine *m, uint16_t selector)
{
	m->c->gpr[EMU_RAX] = selector;
	return EXECUTE(m, 0x0f, 0x00, 0xd8);
}

static enum outcome lldt(struct machine *m, uint16_t selector)
{
	m->c->gpr[EMU_RAX] = selector;
	return EXECUTE(m, 0x0f, 0x00, 0xd0);
}

static void test_segment_ltr_sets_busy_in_memory_and_register(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	gdt_put(m, TSS2_SEL, TSS2, 0x67, SYSTEM(SYS_TSS));
	assert_int_equal(ltr(m, TSS2_SEL), DONE);
	assert_int_equal(DESC_TYPE(gdt_high(m, TSS2_SEL)), SYS_TSS_BUSY);
	assert_int_equal(m->c->segment[EMU_TR].selector, TSS2_SEL);
	assert_int_equal(m->c->segment[EMU_TR].base, TSS2);
	assert_int_equal(m->c->segment[EMU_TR].limit, 0x67);
	assert_int_equal(m->c->segment[EMU_TR].flags, SYSTEM(SYS_TSS_BUSY));
	MOV_FAULT(m, ltr, TSS2_SEL, EXC_GP, TSS2_SEL); /* busy now */
	MOV_FAULT(m, ltr, 0, EXC_GP, 0);
	MOV_FAULT(m, ltr, TSS2_SEL | 4, EXC_GP, TSS2_SEL | 4);
	MOV_FAULT(m, ltr, GDT_END, EXC_GP, GDT_END);
	MOV_FAULT(m, ltr, DATA0, EXC_GP, DATA0);
	gdt_put(m, TSS2_SEL, TSS2, 0x67, SYS_TSS << 8);
	MOV_FAULT(m, ltr, TSS2_SEL, EXC_NP, TSS2_SEL);
	gdt_put(m, TSS2_SEL, TSS2, 0x67, SYSTEM(SYS_TSS16));
	assert_int_equal(ltr(m, TSS2_SEL), DONE);
	assert_int_equal(m->c->segment[EMU_TR].flags, SYSTEM(SYS_TSS16_BUSY));
	enter_real(m);
	m->c->gpr[EMU_RAX] = TSS2_SEL;
	assert_int_equal(EXECUTE(m, 0x0f, 0x00, 0xd8), FAULT);
	assert_int_equal(m->v->fault.vector, EXC_UD);
	enter_protected(m, 3);
	MOV_FAULT(m, ltr, TSS2_SEL, EXC_GP, 0);
}

static void test_segment_ltr_in_long_mode_takes_16_bytes(void **state)
{
	struct machine *m = *state;

	enter_long(m, 0);
	gdt_put(m, TSS2_SEL, TSS2, 0x67, SYSTEM(SYS_TSS));
	put(m, GDT + TSS2_SEL + 8, 0xffff8000, 4);
	put(m, GDT + TSS2_SEL + 12, 0, 4);
	assert_int_equal(ltr(m, TSS2_SEL), DONE);
	assert_int_equal(m->c->segment[EMU_TR].base, 0xffff800000000000 + TSS2);
	gdt_put(m, TSS2_SEL, TSS2, 0x67, SYSTEM(SYS_TSS));
	put(m, GDT + TSS2_SEL + 8, 0x8000, 4); /* not canonical */
	MOV_FAULT(m, ltr, TSS2_SEL, EXC_GP, TSS2_SEL);
	put(m, GDT + TSS2_SEL + 8, 0, 4);
	put(m, GDT + TSS2_SEL + 12, 0x100, 4); /* a type in the upper half */
	MOV_FAULT(m, ltr, TSS2_SEL, EXC_GP, TSS2_SEL);
	put(m, GDT + TSS2_SEL + 12, 0, 4);
	m->c->gdt.limit = TSS2_SEL + 14;
	MOV_FAULT(m, ltr, TSS2_SEL, EXC_GP, TSS2_SEL);
	assert_int_equal(DESC_TYPE(gdt_high(m, TSS2_SEL)), SYS_TSS);
	gdt_put(m, TSS2_SEL, TSS2, 0x67, SYSTEM(SYS_TSS16));
	m->c->gdt.limit++;
	MOV_FAULT(m, ltr, TSS2_SEL, EXC_GP, TSS2_SEL);
}

static void test_segment_lldt_checks(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	assert_int_equal(lldt(m, LDT_SEL), DONE);
	assert_int_equal(m->c->segment[EMU_LDTR].base, LDT);
	assert_int_equal(lldt(m, 0), DONE);
	assert_false(m->c->segment[EMU_LDTR].flags & DESC_P);
	MOV_FAULT(m, lldt, LDT_SEL | 4, EXC_GP, LDT_SEL | 4);
	/* in the GDT they must be, even if the LDT has such a descriptor */
	assert_int_equal(lldt(m, LDT_SEL), DONE);
	descriptor_put(m, LDT + 8, LDT, 0xff, SYSTEM(SYS_LDT));
	descriptor_put(m, LDT + 16, TSS2, 0x67, SYSTEM(SYS_TSS));
	MOV_FAULT(m, lldt, 8 | 4, EXC_GP, 0xc);
	MOV_FAULT(m, ltr, 16 | 4, EXC_GP, 0x14);
	MOV_FAULT(m, lldt, TSS_SEL, EXC_GP, TSS_SEL);
	gdt_put(m, LDT_SEL, LDT, 0xff, SYS_LDT << 8);
	MOV_FAULT(m, lldt, LDT_SEL, EXC_NP, LDT_SEL);
}

/* ------------------------------------------------------------------ SYSCALL and SYSENTER */

enum { SYSENTER_CS = 0x174, SYSENTER_ESP, SYSENTER_EIP };
#define STAR  0xc0000081u
#define LSTAR 0xc0000082u
#define CSTAR 0xc0000083u
#define FMASK 0xc0000084u

static void set_msr(struct machine *m, uint32_t index, uint64_t value)
{
	assert_int_equal(emu_vcpu_set_msr(m->v, index, value, true), 0);
}

static void set_syscall_msrs(struct machine *m)
{
	set_msr(m, STAR, 0x0023001000005678);
	set_msr(m, LSTAR, 0xffff800000001000);
	set_msr(m, CSTAR, 0xffff800000002000);
	set_msr(m, FMASK, FL_IF | FL_DF);
	set_msr(m, SYSENTER_CS, 0x43);
	set_msr(m, SYSENTER_ESP, 0xffff80000000a000);
	set_msr(m, SYSENTER_EIP, 0xffff80000000b000);
}

static void assert_flat(const struct machine *m, uint16_t cs, uint16_t ss, unsigned cpl,
			unsigned mode)
{
	const struct segment *c = &m->c->segment[EMU_CS], *s = &m->c->segment[EMU_SS];

	assert_int_equal(c->selector, cs);
	assert_int_equal(s->selector, ss);
	assert_int_equal(c->base, 0);
	assert_int_equal(c->limit, 0xffffffff);
	assert_int_equal(c->flags, (mode == 64 ? 0xa09b00u : 0xc09b00u) | cpl << 13);
	assert_int_equal(s->base, 0);
	assert_int_equal(s->limit, 0xffffffff);
	assert_int_equal(s->flags, 0xc09300u | cpl << 13);
	assert_int_equal(m->c->cpl, cpl);
}

static void test_syscall_enters_and_sysret_leaves(void **state)
{
	struct machine *m = *state;

	enter_long(m, 3);
	set_syscall_msrs(m);
	m->c->rflags |= FL_CF | FL_DF | FL_RF;
	assert_int_equal(EXECUTE(m, 0x0f, 0x05), DONE);
	assert_flat(m, 0x10, 0x18, 0, 64);
	assert_int_equal(m->c->rip, 0xffff800000001000);
	assert_int_equal(m->c->gpr[EMU_RCX], CODE + 2);
	assert_int_equal(m->c->gpr[11], FL_FIXED | FL_IF | FL_CF | FL_DF);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_CF);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK3); /* not its business */
	m->c->gpr[11] = 0xffffffffffffffff;
	assert_int_equal(EXECUTE(m, 0x48, 0x0f, 0x07), DONE);
	assert_flat(m, 0x33, 0x2b, 3, 64);
	assert_int_equal(m->c->rip, CODE + 2);
	assert_int_equal(m->c->rflags, 0x3c7fd7);
	/* to compatibility mode */
	enter_long(m, 0);
	m->c->gpr[EMU_RCX] = 0x1234567890;
	m->c->gpr[11] = 0;
	assert_int_equal(EXECUTE(m, 0x0f, 0x07), DONE);
	assert_flat(m, 0x23, 0x2b, 3, 32);
	assert_int_equal(m->c->rip, 0x34567890);
}

static void test_syscall_checks(void **state)
{
	struct machine *m = *state;

	enter_long(m, 3);
	set_syscall_msrs(m);
	m->c->efer &= ~EFER_SCE;
	EXECUTE_FAULT(m, EXC_UD, 0, 0x0f, 0x05);
	EXECUTE_FAULT(m, EXC_UD, 0, 0x48, 0x0f, 0x07);
	enter_long(m, 3);
	EXECUTE_FAULT(m, EXC_GP, 0, 0x48, 0x0f, 0x07); /* SYSRET at level 3 */
	enter_long(m, 0);
	m->c->gpr[EMU_RCX] = 1ull << 47;
	EXECUTE_FAULT(m, EXC_GP, 0, 0x48, 0x0f, 0x07);
	enter_long(m, 3);
	set_segment(m, EMU_CS, CODE3 | 3);
	EXECUTE_FAULT(m, EXC_UD, 0, 0x0f, 0x05); /* Intel: 64-bit mode only */
	enter_protected(m, 3);
	m->c->efer = EFER_SCE;
	EXECUTE_FAULT(m, EXC_UD, 0, 0x0f, 0x05);
}

static void test_syscall_on_amd_works_in_all_protected_modes(void **state)
{
	struct machine *m = *state;
	struct segment ss;

	m->vm->config.vendor = EMU_AMD;
	enter_long(m, 3);
	set_syscall_msrs(m);
	set_segment(m, EMU_CS, CODE3 | 3);
	assert_int_equal(EXECUTE(m, 0x0f, 0x05), DONE);
	assert_flat(m, 0x10, 0x18, 0, 64);
	assert_int_equal(m->c->rip, 0xffff800000002000); /* CSTAR */

	/* SYSRET changes of SS only selector and level; and does not look at RCX */
	m->c->segment[EMU_SS] = segment_null(0);
	m->c->gpr[EMU_RCX] = 1ull << 47;
	m->c->gpr[11] = 0;
	ss = m->c->segment[EMU_SS];
	assert_int_equal(EXECUTE(m, 0x48, 0x0f, 0x07), DONE);
	assert_int_equal(m->c->segment[EMU_SS].selector, 0x2b);
	assert_int_equal(m->c->segment[EMU_SS].limit, ss.limit);
	assert_int_equal(m->c->segment[EMU_SS].flags, ss.flags | DESC_DPL);
	assert_int_equal(m->c->rip, 1ull << 47);

	enter_protected(m, 3);
	m->c->efer = EFER_SCE;
	assert_int_equal(EXECUTE(m, 0x0f, 0x05), DONE);
	assert_flat(m, 0x10, 0x18, 0, 32);
	assert_int_equal(m->c->rip, 0x5678);
	assert_int_equal(m->c->gpr[EMU_RCX], CODE + 2);
	assert_false(m->c->rflags & FL_IF);
	assert_int_equal(EXECUTE(m, 0x0f, 0x07), DONE);
	assert_int_equal(m->c->cpl, 3);
	assert_int_equal(m->c->rip, CODE + 2);
	assert_true(m->c->rflags & FL_IF);

	enter_long(m, 3);
	EXECUTE_FAULT(m, EXC_UD, 0, 0x0f, 0x34); /* AMD: no SYSENTER in long mode */
	enter_long(m, 0);
	EXECUTE_FAULT(m, EXC_UD, 0, 0x0f, 0x35);
}

static void test_sysenter_and_sysexit_in_long_mode(void **state)
{
	struct machine *m = *state;

	enter_long(m, 3);
	set_syscall_msrs(m);
	m->c->rflags |= FL_TF;
	assert_int_equal(EXECUTE(m, 0x0f, 0x34), DONE);
	assert_flat(m, 0x40, 0x48, 0, 64);
	assert_int_equal(m->c->rip, 0xffff80000000b000);
	assert_int_equal(m->c->gpr[EMU_RSP], 0xffff80000000a000);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_TF);
	m->c->gpr[EMU_RDX] = 0x7fff12345678;
	m->c->gpr[EMU_RCX] = 0x7fff00001000;
	assert_int_equal(EXECUTE(m, 0x48, 0x0f, 0x35), DONE);
	assert_flat(m, 0x63, 0x6b, 3, 64);
	assert_int_equal(m->c->rip, 0x7fff12345678);
	assert_int_equal(m->c->gpr[EMU_RSP], 0x7fff00001000);
	EXECUTE_FAULT(m, EXC_GP, 0, 0x0f, 0x35); /* at level 3 */
	enter_long(m, 0);
	m->c->gpr[EMU_RDX] = 1ull << 47;
	EXECUTE_FAULT(m, EXC_GP, 0, 0x48, 0x0f, 0x35);
	assert_int_equal(EXECUTE(m, 0x0f, 0x35), DONE); /* 32 bits of it */
	assert_flat(m, 0x53, 0x5b, 3, 32);
	assert_int_equal(m->c->rip, 0);
}

static void test_sysenter_checks(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 3);
	set_syscall_msrs(m);
	assert_int_equal(EXECUTE(m, 0x0f, 0x34), DONE);
	assert_flat(m, 0x40, 0x48, 0, 32);
	assert_int_equal(m->c->rip, 0xb000);
	assert_int_equal(m->c->gpr[EMU_RSP], 0xa000);
	set_msr(m, SYSENTER_CS, 3); /* null, whatever its RPL */
	enter_protected(m, 3);
	EXECUTE_FAULT(m, EXC_GP, 0, 0x0f, 0x34);
	enter_protected(m, 0);
	EXECUTE_FAULT(m, EXC_GP, 0, 0x0f, 0x35);
	set_msr(m, SYSENTER_CS, 0x43);
	enter_real(m);
	EXECUTE_FAULT(m, EXC_GP, 0, 0x0f, 0x34);
	EXECUTE_FAULT(m, EXC_GP, 0, 0x0f, 0x35);
	enter_vm86(m, 0);
	assert_int_equal(EXECUTE(m, 0x0f, 0x34), DONE);
	assert_false(m->c->rflags & FL_VM);
	assert_int_equal(m->c->cpl, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_segment_real_mode_keeps_limit_and_attributes),
		TEST(test_segment_vm86_has_fixed_attributes),
		TEST(test_segment_protected_load_fills_hidden_part),
		TEST(test_segment_accessed_bit_needs_no_write_when_set),
		TEST(test_segment_data_register_checks),
		TEST(test_segment_last_byte_of_table_counts),
		TEST(test_segment_stack_register_checks),
		TEST(test_segment_ldt_descriptor_is_found),
		TEST(test_segment_pop_pops_and_shadows_ss_only),
		TEST(test_segment_far_load_fills_both_registers),
		TEST(test_segment_null_fs_in_64_bit_mode_clears_base),
		TEST(test_segment_lgdt_takes_base_by_operand_size),
		TEST(test_segment_ltr_sets_busy_in_memory_and_register),
		TEST(test_segment_ltr_in_long_mode_takes_16_bytes),
		TEST(test_segment_lldt_checks),
		TEST(test_syscall_enters_and_sysret_leaves),
		TEST(test_syscall_checks),
		TEST(test_syscall_on_amd_works_in_all_protected_modes),
		TEST(test_sysenter_and_sysexit_in_long_mode),
		TEST(test_sysenter_checks),
	};

	return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
