// SPDX-License-Identifier: GPL-2.0-only
/* Delivery of interrupts and exceptions, in every mode; what is pushed, checked and refused. */
#include "descriptor_vm.h"

#define HANDLER 0x12340u

/* All vectors go to a handler that tells which: HANDLER + vector. */
static void fill_idt(struct machine *m, unsigned type, uint16_t selector)
{
	for (unsigned vector = 0; vector < 64; vector++)
		idt_put(m, vector, type, selector, HANDLER + vector, 0, 0);
}

static enum outcome deliver_fault(struct machine *m, unsigned vector, bool has_error,
				  uint32_t error)
{
	const struct fault f = { .vector = (uint8_t)vector,
				 .has_error = has_error,
				 .error = error };

	return deliver_exception(m->v, &f);
}

/* ------------------------------------------------------------------ real mode */

static void fill_ivt(struct machine *m)
{
	for (unsigned vector = 0; vector < 256; vector++)
		put(m, vector * 4, 0x0700 + vector, 2), put(m, vector * 4 + 2, 0x0123, 2);
}

static void test_event_real_mode_interrupt_pushes_flags_cs_ip(void **state)
{
	struct machine *m = *state;

	enter_real(m);
	fill_ivt(m);
	m->c->rflags |= FL_TF | FL_CF | FL_AC;
	m->c->shadow = EMU_SHADOW_STI;
	assert_int_equal(deliver_interrupt(m->v, 0x21), DONE);
	assert_int_equal(m->c->segment[EMU_CS].selector, 0x123);
	assert_int_equal(m->c->segment[EMU_CS].base, 0x1230);
	assert_int_equal(m->c->rip, 0x721);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0 - 6);
	ASSERT_STACK(m, 2, 0x20, 0x1000, FL_FIXED | FL_CF | FL_TF | FL_IF);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_CF);
	assert_int_equal(m->c->shadow, 0);
	assert_int_equal(m->c->cpl, 0);
}

static void test_event_real_mode_exception_has_no_error_code(void **state)
{
	struct machine *m = *state;

	enter_real(m);
	fill_ivt(m);
	assert_int_equal(deliver_fault(m, EXC_GP, true, 0x1234), DONE);
	assert_int_equal(m->c->rip, 0x700 + EXC_GP);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0 - 6);
	ASSERT_STACK(m, 2, 0x20, 0x1000);
}

static void test_event_real_mode_beyond_limit_is_gp(void **state)
{
	struct machine *m = *state;

	enter_real(m);
	fill_ivt(m);
	m->c->idt.limit = 0x21 * 4 + 2; /* a byte too short */
	assert_int_equal(deliver_interrupt(m->v, 0x21), DONE);
	assert_int_equal(m->c->rip, 0x700 + EXC_GP);
	m->c->idt.limit++;
	assert_int_equal(deliver_interrupt(m->v, 0x21), DONE);
	assert_int_equal(m->c->rip, 0x721);
}

static void test_event_real_mode_without_ivt_shuts_down(void **state)
{
	struct machine *m = *state;

	enter_real(m);
	m->c->idt.limit = 0;
	assert_int_equal(deliver_interrupt(m->v, 0x21), SHUTDOWN);
}

static void test_event_real_mode_stack_wraps_at_64k(void **state)
{
	struct machine *m = *state;

	enter_real(m);
	fill_ivt(m);
	m->c->segment[EMU_SS].base = 0x30000;
	m->c->gpr[EMU_RSP] = 0xabcd0002;
	assert_int_equal(deliver_interrupt(m->v, 0x21), DONE);
	assert_int_equal(m->c->gpr[EMU_RSP], 0xabcdfffc);
	assert_int_equal(get(m, 0x30000, 2), FL_FIXED | FL_IF);
	assert_int_equal(get(m, 0x3fffe, 2), 0x1000);
	assert_int_equal(get(m, 0x3fffc, 2), 0x20);
}

static void test_event_real_mode_odd_stack_pointer_faults_half_way_without_a_trace(void **state)
{
	struct machine *m = *state;

	enter_real(m);
	fill_ivt(m);
	m->c->segment[EMU_SS].base = 0x30000;
	m->c->gpr[EMU_RSP] = 3; /* the second word would lie across the end: #SS, #DF, shutdown */
	put(m, 0x30001, 0xeeee, 2);
	assert_int_equal(deliver_interrupt(m->v, 0x21), SHUTDOWN);
	assert_int_equal(get(m, 0x30001, 2), 0xeeee);
}

/* ------------------------------------------------------------------ protected mode */

static void test_event_protected_same_level_pushes_three_words(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	fill_idt(m, SYS_INT, CODE0);
	m->c->rflags |= FL_TF | FL_NT | FL_RF | FL_AC;
	assert_int_equal(deliver_interrupt(m->v, 32), DONE);
	assert_int_equal(m->c->rip, HANDLER + 32);
	assert_int_equal(m->c->segment[EMU_CS].selector, CODE0);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0 - 12);
	ASSERT_STACK(m, 4, CODE, CODE0, FL_FIXED | FL_IF | FL_TF | FL_NT | FL_RF | FL_AC);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_AC);
}

static void test_event_trap_gate_keeps_if(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	fill_idt(m, SYS_TRAP, CODE0);
	m->c->rflags |= FL_TF;
	assert_int_equal(deliver_interrupt(m->v, 32), DONE);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_IF);
}

static void test_event_protected_inner_level_switches_stack(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 3);
	fill_idt(m, SYS_INT, CODE0 | 3); /* the selector's RPL does not count */
	assert_int_equal(deliver_fault(m, EXC_GP, true, 0x18), DONE);
	assert_int_equal(m->c->cpl, 0);
	assert_int_equal(m->c->segment[EMU_CS].selector, CODE0);
	assert_int_equal(m->c->segment[EMU_SS].selector, DATA0);
	assert_int_equal(DESC_GET_DPL(m->c->segment[EMU_SS].flags), 0);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0 - 24);
	ASSERT_STACK(m, 4, 0x18, CODE, CODE3 | 3, FL_FIXED | FL_IF | FL_RF, STACK3, DATA3 | 3);
	assert_true(gdt_high(m, CODE0) & DESC_ACCESSED);
	assert_true(gdt_high(m, DATA0) & DESC_ACCESSED);
	/* data segments stay */
	assert_int_equal(m->c->segment[EMU_DS].selector, DATA3 | 3);
}

static void test_event_protected_level_1_handler_takes_stack_1(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 3);
	fill_idt(m, SYS_INT, CODE1);
	assert_int_equal(deliver_interrupt(m->v, 32), DONE);
	assert_int_equal(m->c->cpl, 1);
	assert_int_equal(m->c->segment[EMU_CS].selector, CODE1 | 1);
	assert_int_equal(m->c->segment[EMU_SS].selector, DATA1 | 1);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK1 - 20);
}

static void test_event_protected_16_bit_gate_pushes_words(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 3);
	fill_idt(m, SYS_INT16, CODE0);
	idt_put(m, 32, SYS_INT16, CODE0, 0xffff4321, 0, 0);
	assert_int_equal(deliver_interrupt(m->v, 32), DONE);
	assert_int_equal(m->c->rip, 0x4321);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0 - 10);
	ASSERT_STACK(m, 2, CODE & 0xffff, CODE3 | 3, FL_FIXED | FL_IF, STACK3, DATA3 | 3);
}

static void test_event_protected_16_bit_tss_gives_stack(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 3);
	fill_idt(m, SYS_INT, CODE0);
	m->c->segment[EMU_TR].flags = SYSTEM(SYS_TSS16_BUSY);
	m->c->segment[EMU_TR].limit = 5; /* all that is needed for level 0 */
	put(m, TSS + 2, 0x8800, 2);
	put(m, TSS + 4, DATA0, 2);
	assert_int_equal(deliver_interrupt(m->v, 32), DONE);
	assert_int_equal(m->c->gpr[EMU_RSP], 0x8800 - 20);
	m->c->segment[EMU_TR].limit = 4;
	enter_protected(m, 3);
	m->c->segment[EMU_TR].flags = SYSTEM(SYS_TSS16_BUSY);
	m->c->segment[EMU_TR].limit = 4;
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_GP, 32 * 8 + 2); /* DPL first */
	idt_put(m, 32, SYS_INT, CODE0, HANDLER, 3, 0);
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_TS, TSS_SEL);
}

static void test_event_conforming_handler_stays_at_level(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 3);
	fill_idt(m, SYS_INT, CONFORMING0);
	assert_int_equal(deliver_interrupt(m->v, 32), DONE);
	assert_int_equal(m->c->cpl, 3);
	assert_int_equal(m->c->segment[EMU_CS].selector, CONFORMING0 | 3);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK3 - 12);
}

/* What a software interrupt from level 3 meets: one wrong thing at a time. */
static void test_event_protected_checks_raise_what_the_manual_says(void **state)
{
	struct machine *m = *state;
	static const struct {
		uint16_t selector;
		unsigned type, dpl, vector;
		uint32_t error;
	} cases[] = {
		{ CODE0, SYS_INT, 2, EXC_GP, 32 * 8 + 2 },        /* gate's DPL */
		{ CODE0, SYS_TSS, 3, EXC_GP, 32 * 8 + 2 },        /* no gate */
		{ CODE0, 0x10 | SYS_INT, 3, EXC_GP, 32 * 8 + 2 }, /* a segment */
		{ CODE0, SYS_CALL, 3, EXC_GP, 32 * 8 + 2 },
		{ 0, SYS_INT, 3, EXC_GP, 0 },
		{ 3, SYS_INT, 3, EXC_GP, 0 },
		{ GDT_END, SYS_INT, 3, EXC_GP, GDT_END },
		{ LDT_SEL | 4, SYS_INT, 3, EXC_GP, LDT_SEL | 4 }, /* no LDT */
		{ DATA0, SYS_INT, 3, EXC_GP, DATA0 },
		{ TSS_SEL, SYS_INT, 3, EXC_GP, TSS_SEL },
		{ CODE0_ABSENT | 1, SYS_INT, 3, EXC_NP, CODE0_ABSENT },
	};

	for (unsigned n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
		enter_protected(m, 3);
		idt_put(m, 32, cases[n].type, cases[n].selector, HANDLER, cases[n].dpl, 0);
		ASSERT_FAULT(m, deliver_software(m->v, 32), cases[n].vector, cases[n].error);
	}
	idt_put(m, 32, SYS_INT, CODE0, HANDLER, 3, 0);
	put(m, IDT + 32 * 8 + 5, SYS_INT | 0x60, 1); /* not present */
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_NP, 32 * 8 + 2);
	m->c->idt.limit = 32 * 8 + 6;
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_GP, 32 * 8 + 2);
	enter_protected(m, 1); /* not to an outer level */
	idt_put(m, 32, SYS_INT, CODE3, HANDLER, 3, 0);
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_GP, CODE3);
}

static void test_event_offset_beyond_code_limit_is_gp_0(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	idt_put(m, 32, SYS_INT, CODE0_16, 0x10000, 0, 0);
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_GP, 0);
	idt_put(m, 32, SYS_INT, CODE0_16, 0xffff, 0, 0);
	assert_int_equal(deliver_software(m->v, 32), DONE);
}

static void test_event_bad_inner_stack_is_ts_or_ss(void **state)
{
	struct machine *m = *state;
	static const struct {
		uint16_t ss;
		unsigned vector;
		uint32_t error;
	} cases[] = {
		{ 0, EXC_TS, 0 },
		{ GDT_END, EXC_TS, GDT_END },
		{ DATA0 | 1, EXC_TS, DATA0 }, /* RPL */
		{ DATA3, EXC_TS, DATA3 },     /* DPL */
		{ READ_ONLY, EXC_TS, READ_ONLY },
		{ CODE0, EXC_TS, CODE0 },
		{ LDT_SEL, EXC_TS, LDT_SEL },
		{ DATA0_ABSENT, EXC_SS, DATA0_ABSENT },
		{ DATA0_SMALL, EXC_SS, DATA0_SMALL }, /* no room */
	};

	for (unsigned n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
		enter_protected(m, 3);
		idt_put(m, 32, SYS_INT, CODE0, HANDLER, 3, 0);
		put(m, TSS + 8, cases[n].ss, 2);
		ASSERT_FAULT(m, deliver_software(m->v, 32), cases[n].vector, cases[n].error);
	}
	enter_protected(m, 3);
	m->c->segment[EMU_TR].limit = 8; /* SS0 is at 8 and 9 */
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_TS, TSS_SEL);
	m->c->segment[EMU_TR].limit = 9;
	assert_int_equal(deliver_software(m->v, 32), DONE);
}

static void test_event_external_sets_ext_in_nested_error(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	fill_idt(m, SYS_INT, CODE0);
	idt_put(m, 32, SYS_INT, CODE0_ABSENT, HANDLER, 3, 0);
	assert_int_equal(deliver_interrupt(m->v, 32), DONE);
	assert_int_equal(m->c->rip, HANDLER + EXC_NP);
	ASSERT_STACK(m, 4, CODE0_ABSENT | 1, CODE, CODE0, FL_FIXED | FL_IF | FL_RF);

	/* INT1 is external in this respect, INT n is not */
	idt_put(m, EXC_DB, SYS_INT, CODE0_ABSENT, HANDLER, 0, 0);
	enter_protected(m, 0);
	EXECUTE_FAULT(m, EXC_NP, CODE0_ABSENT | 1, 0xf1);
	EXECUTE_FAULT(m, EXC_NP, CODE0_ABSENT, 0xcd, 1);
}

static void test_event_int1_ignores_gate_dpl_other_software_does_not(void **state)
{
	struct machine *m = *state;

	for (unsigned form = 0; form < 4; form++) {
		enter_protected(m, 3);
		fill_idt(m, SYS_INT, CODE0);
		m->c->rflags |= FL_OF | FL_RF;
		m->c->dr[7] = 0x2400;
		if (form == 0) {
			EXECUTE_FAULT(m, EXC_GP, 3 * 8 + 2, 0xcc);
		} else if (form == 1) {
			EXECUTE_FAULT(m, EXC_GP, 4 * 8 + 2, 0xce);
		} else if (form == 2) {
			EXECUTE_FAULT(m, EXC_GP, 1 * 8 + 2, 0xcd, 1);
		} else {
			assert_int_equal(EXECUTE(m, 0xf1), DONE);
			assert_int_equal(m->c->rip, HANDLER + EXC_DB);
			ASSERT_STACK(m, 4, CODE + 1, CODE3 | 3, FL_FIXED | FL_IF | FL_OF);
			assert_int_equal(m->c->dr[7], 0x400);
		}
	}
}

static void test_event_int_n_pushes_address_behind_it(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 3);
	idt_put(m, 0x80, SYS_TRAP, CODE0, HANDLER, 3, 0);
	assert_int_equal(EXECUTE(m, 0xcd, 0x80), DONE);
	assert_int_equal(m->c->rip, HANDLER);
	ASSERT_STACK(m, 4, CODE + 2, CODE3 | 3, FL_FIXED | FL_IF, STACK3, DATA3 | 3);
}

static void test_event_into_without_overflow_goes_on(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	fill_idt(m, SYS_INT, CODE0);
	assert_int_equal(EXECUTE(m, 0xce), DONE);
	assert_int_equal(m->c->rip, CODE + 1);
	m->c->rflags |= FL_OF;
	assert_int_equal(EXECUTE(m, 0xce), DONE);
	assert_int_equal(m->c->rip, HANDLER + EXC_OF);
}

static void test_event_frame_across_missing_page_leaves_nothing(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 3);
	idt_put(m, 32, SYS_INT, CODE0, HANDLER, 3, 0);
	put(m, TSS + 4, 0x8008, 4); /* 20 bytes: 8 in this page, 12 in the one below */
	unmap_page(m, 0x7000);
	memset(m->ram + 0x8000, 0xee, 8);
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_PF, PF_W);
	assert_int_equal(m->v->fault.cr2, 0x7ff4);
	assert_int_equal(get(m, 0x8000, 8), 0xeeeeeeeeeeeeeeeeull);
}

static void test_event_inner_stack_is_written_as_supervisor(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 3);
	idt_put(m, 32, SYS_INT, CODE0, HANDLER, 3, 0);
	put(m, PT32 + 8 * 4, 0x8000 | 3, 4); /* the stack, the tables: not for users */
	put(m, PT32 + (IDT >> 12) * 4, IDT | 3, 4);
	put(m, PT32 + (GDT >> 12) * 4, GDT | 3, 4);
	put(m, PT32 + (TSS >> 12) * 4, TSS | 3, 4);
	access_flush(m->v);
	assert_int_equal(deliver_software(m->v, 32), DONE);
	assert_int_equal(m->c->cpl, 0);
}

static void test_event_idt_without_memory_is_mmio_and_changes_nothing(void **state)
{
	struct machine *m = *state;
	struct cpu before;

	enter_real(m);
	m->c->idt.base = RAM_SIZE;
	before = *m->c;
	assert_int_equal(deliver_interrupt(m->v, 32), MMIO);
	assert_int_equal(m->v->mmio_gpa, RAM_SIZE + 32 * 4);
	assert_memory_equal(&before, m->c, sizeof(before));
}

/* ------------------------------------------------------------------ virtual-8086 mode */

static void test_event_vm86_pushes_segments_and_clears_them(void **state)
{
	struct machine *m = *state;

	enter_vm86(m, 0);
	fill_idt(m, SYS_INT, CODE0);
	assert_int_equal(deliver_fault(m, EXC_GP, true, 0), DONE);
	assert_int_equal(m->c->cpl, 0);
	assert_false(m->c->rflags & FL_VM);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0 - 40);
	ASSERT_STACK(m, 4, 0, 0x20, CODE >> 4, FL_FIXED | FL_IF | FL_VM | FL_RF, STACK3, 0,
		     EMU_ES * 0x100, EMU_DS * 0x100, EMU_FS * 0x100, EMU_GS * 0x100);
	for (unsigned seg = 0; seg < 6; seg++) {
		if (seg == EMU_CS || seg == EMU_SS)
			continue;
		assert_int_equal(m->c->segment[seg].selector, 0);
		assert_false(m->c->segment[seg].flags & DESC_P);
	}
	assert_int_equal(m->c->segment[EMU_SS].selector, DATA0);
}

static void test_event_vm86_handler_must_be_at_level_0(void **state)
{
	struct machine *m = *state;
	static const uint16_t handlers[] = { CODE1, CONFORMING0, CODE3 };

	for (unsigned n = 0; n < 3; n++) {
		enter_vm86(m, 3);
		idt_put(m, 32, SYS_INT, handlers[n], HANDLER, 3, 0);
		ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_GP, handlers[n]);
	}
}

static void test_event_vm86_int_n_needs_iopl_3_int3_does_not(void **state)
{
	struct machine *m = *state;

	enter_vm86(m, 2);
	for (unsigned vector = 0; vector < 64; vector++)
		idt_put(m, vector, SYS_INT, CODE0, HANDLER + vector, 3, 0);
	EXECUTE_FAULT(m, EXC_GP, 0, 0xcd, 0x21);
	EXECUTE_FAULT(m, EXC_GP, 0, 0xcd, 0x03);
	assert_int_equal(EXECUTE(m, 0xcc), DONE);
	assert_int_equal(m->c->rip, HANDLER + 3);
	enter_vm86(m, 3);
	assert_int_equal(EXECUTE(m, 0xcd, 0x21), DONE);
	assert_int_equal(m->c->rip, HANDLER + 0x21);
	ASSERT_STACK(m, 4, 0x22, CODE >> 4);
}

/* The redirection map, and what the 8086 program's handler sees at IOPL 3 and below. */
static void test_event_vme_redirects_by_map(void **state)
{
	struct machine *m = *state;

	for (unsigned iopl = 0; iopl <= 3; iopl += 3) {
		for (unsigned redirect = 0; redirect < 2; redirect++) {
			enter_vm86(m, iopl);
			fill_ivt(m);
			m->c->cr4 = CR4_VME;
			m->c->rflags |= FL_TF | (iopl ? 0 : FL_VIF);
			idt_put(m, 0x21, SYS_INT, CODE0, HANDLER, 3, 0);
			put(m, TSS + 102, 0x100, 2);
			memset(m->ram + TSS + 0xe0, 0xff, 32);
			if (redirect)
				m->ram[TSS + 0xe0 + 4] = 0xfd;
			if (!redirect && !iopl) {
				EXECUTE_FAULT(m, EXC_GP, 0, 0xcd, 0x21);
				continue;
			}
			assert_int_equal(EXECUTE(m, 0xcd, 0x21), DONE);
			if (!redirect) {
				assert_int_equal(m->c->rip, HANDLER);
				continue;
			}
			assert_int_equal(m->c->rip, 0x721);
			assert_int_equal(m->c->segment[EMU_CS].selector, 0x123);
			assert_int_equal(m->c->cpl, 3);
			ASSERT_STACK(m, 2, 0x22, CODE >> 4, FL_FIXED | FL_TF | FL_IF | FL_IOPL);
			assert_false(m->c->rflags & (FL_TF | FL_VIF));
			assert_int_equal(!!(m->c->rflags & FL_IF), !iopl);
		}
	}
	m->c->segment[EMU_TR].limit = 0xe3;
	EXECUTE_FAULT(m, EXC_GP, 0, 0xcd, 0x21);
}

/* ------------------------------------------------------------------ long mode */

static void test_event_long_same_level_aligns_and_pushes_five(void **state)
{
	struct machine *m = *state;

	enter_long(m, 0);
	fill_idt(m, SYS_INT, CODE0_64);
	m->c->gpr[EMU_RSP] = STACK0 - 5;
	m->c->rflags |= FL_TF | FL_NT;
	assert_int_equal(deliver_interrupt(m->v, 32), DONE);
	assert_int_equal(m->c->rip, HANDLER + 32);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0 - 16 - 40);
	ASSERT_STACK(m, 8, CODE, CODE0_64, FL_FIXED | FL_IF | FL_TF | FL_NT, STACK0 - 5, DATA0);
	assert_int_equal(m->c->rflags, FL_FIXED);
	assert_int_equal(m->c->segment[EMU_SS].selector, DATA0); /* no change of level */
}

static void test_event_long_inner_level_takes_rsp0_and_null_ss(void **state)
{
	struct machine *m = *state;

	enter_long(m, 3);
	fill_idt(m, SYS_INT, CODE0_64);
	assert_int_equal(deliver_fault(m, EXC_GP, true, 0x55), DONE);
	assert_int_equal(m->c->cpl, 0);
	assert_int_equal(m->c->segment[EMU_SS].selector, 0);
	assert_int_equal(DESC_GET_DPL(m->c->segment[EMU_SS].flags), 0);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0 - 48);
	ASSERT_STACK(m, 8, 0x55, CODE, CODE3_64 | 3, FL_FIXED | FL_IF | FL_RF, STACK3, DATA3 | 3);
}

static void test_event_long_ist_switches_stack_at_same_level(void **state)
{
	struct machine *m = *state;

	enter_long(m, 0);
	idt_put(m, 32, SYS_INT, CODE0_64, HANDLER, 0, 1);
	put(m, TSS + 36, IST_STACK + 7, 8);
	assert_int_equal(deliver_interrupt(m->v, 32), DONE);
	assert_int_equal(m->c->gpr[EMU_RSP], IST_STACK - 40);
	ASSERT_STACK(m, 8, CODE, CODE0_64, FL_FIXED | FL_IF, STACK0, DATA0);
	enter_long(m, 0);
	m->c->segment[EMU_TR].limit = 42; /* IST1 is at 36 to 43 */
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_TS, TSS_SEL);
	m->c->segment[EMU_TR].limit = 43;
	assert_int_equal(deliver_software(m->v, 32), DONE);
}

static void test_event_long_checks_raise_what_the_manual_says(void **state)
{
	struct machine *m = *state;
	static const struct {
		uint16_t selector;
		unsigned type;
		uint64_t offset;
		unsigned vector;
		uint32_t error;
	} cases[] = {
		{ CODE0, SYS_INT, HANDLER, EXC_GP, CODE0 }, /* not 64-bit code */
		{ CODE0_64, SYS_INT16, HANDLER, EXC_GP, 32 * 8 + 2 },
		{ CODE0_64, SYS_TASK_GATE, HANDLER, EXC_GP, 32 * 8 + 2 },
		{ CODE0_64, SYS_INT, 1ull << 47, EXC_GP, 0 },
		{ CODE0_64, SYS_INT, 0xffff800000000000ull, 0, 0 }, /* canonical: fine */
		{ DATA0, SYS_TRAP, HANDLER, EXC_GP, DATA0 },
		{ 0, SYS_TRAP, HANDLER, EXC_GP, 0 },
	};

	for (unsigned n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
		enter_long(m, 3);
		idt_put(m, 32, cases[n].type, cases[n].selector, cases[n].offset, 3, 0);
		if (!cases[n].vector) {
			assert_int_equal(deliver_software(m->v, 32), DONE);
			assert_int_equal(m->c->rip, cases[n].offset);
			continue;
		}
		ASSERT_FAULT(m, deliver_software(m->v, 32), cases[n].vector, cases[n].error);
	}
	idt_put(m, 32, SYS_INT, CODE0_64, HANDLER, 3, 0);
	idt_put(m, 32, SYS_INT, CODE0_64, HANDLER, 2, 0);
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_GP, 32 * 8 + 2); /* its DPL */
	idt_put(m, 32, SYS_INT, CODE0_64, HANDLER, 3, 0);
	m->c->idt.limit = 32 * 16 + 14;
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_GP, 32 * 8 + 2);
	m->c->idt.limit++;
	put(m, TSS + 4, (1ull << 47) + 0x40, 8);
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_SS, 0);
}

static void test_event_long_compatibility_code_enters_64_bit_handler(void **state)
{
	struct machine *m = *state;

	enter_long(m, 3);
	fill_idt(m, SYS_INT, CODE0_64);
	set_segment(m, EMU_CS, CODE3 | 3);
	assert_int_equal(deliver_interrupt(m->v, 32), DONE);
	assert_true(in_64bit(m->c));
	ASSERT_STACK(m, 8, CODE, CODE3 | 3, FL_FIXED | FL_IF, STACK3, DATA3 | 3);
}

static void test_event_long_accessed_bit_is_written_only_when_clear(void **state)
{
	struct machine *m = *state;

	enter_long(m, 0);
	fill_idt(m, SYS_INT, CODE0_64);
	put(m, PT + (GDT >> 12) * 8, GDT | 1, 8); /* the GDT cannot be written */
	access_flush(m->v);
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_PF, PF_P | PF_W);
	assert_int_equal(m->v->fault.cr2 & ~7ull, GDT + CODE0_64);
	gdt_put(m, CODE0_64, 0, 0xfffff, ATTR_CODE64 | DESC_ACCESSED);
	assert_int_equal(deliver_software(m->v, 32), DONE);
}

/* ------------------------------------------------------------------ RF, CR2, DR */

static void test_event_rf_is_pushed_set_by_faults_only(void **state)
{
	struct machine *m = *state;
	static const struct {
		uint8_t vector;
		bool rf;
	} cases[] = {
		{ EXC_DE, true },  { EXC_DB, false }, { EXC_NMI, false }, { EXC_BP, false },
		{ EXC_OF, false }, { EXC_BR, true },  { EXC_UD, true },   { EXC_NM, true },
		{ EXC_DF, false }, { EXC_TS, true },  { EXC_NP, true },   { EXC_SS, true },
		{ EXC_GP, true },  { EXC_PF, true },  { EXC_MF, true },   { EXC_AC, true },
		{ EXC_MC, false }, { EXC_XM, true },
	};

	for (unsigned n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
		enter_long(m, 0);
		fill_idt(m, SYS_INT, CODE0_64);
		assert_int_equal(deliver_fault(m, cases[n].vector, false, 0), DONE);
		ASSERT_STACK(m, 8, CODE, CODE0_64, FL_FIXED | FL_IF | (cases[n].rf ? FL_RF : 0));
		assert_false(m->c->rflags & FL_RF);
	}
}

static void test_event_page_fault_sets_cr2(void **state)
{
	struct machine *m = *state;
	const struct fault f = {
		.vector = EXC_PF, .has_error = true, .error = PF_W, .cr2 = 0xdead000
	};

	enter_long(m, 0);
	fill_idt(m, SYS_INT, CODE0_64);
	m->c->cr2 = 5;
	assert_int_equal(deliver_fault(m, EXC_GP, true, 0), DONE);
	assert_int_equal(m->c->cr2, 5);
	assert_int_equal(deliver_exception(m->v, &f), DONE);
	assert_int_equal(m->c->cr2, 0xdead000);
	ASSERT_STACK(m, 8, PF_W);
}

static void test_event_debug_exception_clears_gd(void **state)
{
	struct machine *m = *state;

	enter_long(m, 0);
	fill_idt(m, SYS_INT, CODE0_64);
	m->c->dr[7] = 0x2455;
	assert_int_equal(deliver_fault(m, EXC_UD, false, 0), DONE);
	assert_int_equal(m->c->dr[7], 0x2455);
	assert_int_equal(deliver_fault(m, EXC_DB, false, 0), DONE);
	assert_int_equal(m->c->dr[7], 0x455);
}

static void test_event_payload_translates_to_dr6_and_cr2(void **state)
{
	struct machine *m = *state;
	static const struct {
		uint64_t old, payload, dr6;
	} cases[] = {
		{ 0xffff0ff0, 0x4000, 0xffff4ff0 },  /* BS */
		{ 0xffff4ff5, 0x2, 0xffff4ff2 },     /* BS stays, B0 to B3 do not */
		{ 0xffff0ff0, 0x800, 0xffff07f0 },   /* BLD: active low */
		{ 0xffff07f0, 0x4000, 0xffff47f0 },  /* and nothing else sets it again */
		{ 0xffff0ff0, 0x10001, 0xfffe0ff1 }, /* RTM: active low, for this one only */
		{ 0xfffe0ff0, 0x1001, 0xffff0ff1 },  /* bit 12 is not in DR6 */
	};

	m->v->has_bus_lock_db = true;
	for (unsigned n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
		m->c->dr[6] = cases[n].old;
		exception_payload(m->v, EXC_DB, cases[n].payload);
		assert_int_equal(m->c->dr[6], cases[n].dr6);
	}
	m->c->dr[6] = 1;
	exception_payload(m->v, EXC_PF, 0x1234);
	assert_int_equal(m->c->cr2, 0x1234);
	assert_int_equal(m->c->dr[6], 1);
}

/* SDM 20.3.1.6: 0 says bus lock, other #DBs leave it; kvm_dr6_fixed() where CPUID does not offer it. */
static void test_event_bus_lock_bit_of_dr6_is_active_low_and_sticky(void **state)
{
	struct machine *m = *state;

	m->v->has_bus_lock_db = true;
	m->c->dr[6] = 0xffff0ff0;
	exception_payload(m->v, EXC_DB, 1 << 11 | 1 << 14);
	assert_int_equal(m->c->dr[6], 0xffff47f0);
	exception_payload(m->v, EXC_DB, 2);
	assert_int_equal(m->c->dr[6], 0xffff47f2);
	m->vm->config.debug_resets_bus_lock = true;
	exception_payload(m->v, EXC_DB, 2);
	assert_int_equal(m->c->dr[6], 0xffff4ff2);
	exception_payload(m->v, EXC_DB, 1 << 11);
	assert_int_equal(m->c->dr[6], 0xffff47f0);
	m->v->has_bus_lock_db = false;
	exception_payload(m->v, EXC_DB, 1 << 11);
	assert_int_equal(m->c->dr[6], 0xffff4ff0);
}

static void test_event_nmi_blocks_nmis(void **state)
{
	struct machine *m = *state;

	enter_long(m, 3);
	fill_idt(m, SYS_INT, CODE0_64);
	assert_int_equal(deliver_nmi(m->v), DONE);
	assert_true(m->v->events.nmi.masked);
	assert_int_equal(m->c->rip, HANDLER + 2);
	assert_int_equal(EXECUTE(m, 0x48, 0xcf), DONE);
	assert_false(m->v->events.nmi.masked);
	assert_int_equal(m->c->rip, CODE);
	assert_int_equal(m->c->cpl, 3);
}

/* ------------------------------------------------------------------ nested faults: SDM table 6-5 */

enum { NESTED_NP, NESTED_PF, EXTERNAL = 0x100 };

static void test_event_nested_faults_follow_table_6_5(void **state)
{
	struct machine *m = *state;
	static const struct {
		unsigned first, second, handler;
	} cases[] = {
		{ EXC_UD, NESTED_NP, EXC_NP },
		{ EXC_UD, NESTED_PF, EXC_PF },
		{ EXC_DB, NESTED_NP, EXC_NP },
		{ EXC_AC, NESTED_PF, EXC_PF },
		{ EXTERNAL | 40, NESTED_NP, EXC_NP },
		{ EXTERNAL | 40, NESTED_PF, EXC_PF },
		{ EXTERNAL | EXC_GP, NESTED_NP,
		  EXC_NP }, /* an interrupt of that number is benign */
		{ EXC_DE, NESTED_NP, EXC_DF },
		{ EXC_DE, NESTED_PF, EXC_PF },
		{ EXC_TS, NESTED_NP, EXC_DF },
		{ EXC_SS, NESTED_PF, EXC_PF },
		{ EXC_GP, NESTED_NP, EXC_DF },
		{ EXC_GP, NESTED_PF, EXC_PF },
		{ 21, NESTED_NP, EXC_DF },
		{ EXC_PF, NESTED_NP, EXC_DF },
		{ EXC_PF, NESTED_PF, EXC_DF },
	};

	for (unsigned n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
		unsigned vector = cases[n].first & 0xff;
		enum outcome o;

		enter_long(m, 0);
		fill_idt(m, SYS_INT, CODE0_64);
		put(m, TSS + 44, 0x100000, 8); /* IST2: a stack that is not there */
		unmap_page(m, 0xff000);
		if (cases[n].second == NESTED_NP)
			idt_put(m, vector, SYS_INT, CODE0_ABSENT, 0, 0, 0);
		else
			idt_put(m, vector, SYS_INT, CODE0_64, HANDLER, 0, 2);
		gdt_put(m, CODE0_ABSENT, 0, 0xfffff, ATTR_CODE64 & ~(uint32_t)DESC_P);
		m->c->cr2 = 0;
		o = cases[n].first & EXTERNAL ? deliver_interrupt(m->v, vector)
					      : deliver_fault(m, vector, vector >= EXC_TS, 0);
		assert_int_equal(o, DONE);
		assert_int_equal(m->c->rip, HANDLER + cases[n].handler);
		ASSERT_STACK(m, 8,
			     cases[n].handler == EXC_DF   ? 0
			     : cases[n].handler == EXC_PF ? PF_W
							  : CODE0_ABSENT | 1,
			     CODE);
		if (cases[n].second == NESTED_PF)
			assert_int_equal(m->c->cr2, vector >= EXC_TS && !(cases[n].first & EXTERNAL)
							    ? 0xfffd0
							    : 0xfffd8);
	}
}

static void test_event_fault_in_double_fault_shuts_down(void **state)
{
	struct machine *m = *state;

	enter_long(m, 0);
	fill_idt(m, SYS_INT, CODE0_64);
	idt_put(m, EXC_DF, SYS_INT, CODE0, HANDLER, 0, 0);
	assert_int_equal(deliver_fault(m, EXC_DF, true, 0), SHUTDOWN);
	idt_put(m, EXC_GP, SYS_INT, CODE0, HANDLER, 0, 0);
	assert_int_equal(deliver_fault(m, EXC_GP, true, 0), SHUTDOWN);
	assert_int_equal(deliver_interrupt(m->v, 70), SHUTDOWN); /* a null gate */
}

/* ------------------------------------------------------------------ task gates */

/* A second 32-bit task at level 0 that starts at HANDLER. */
static void fill_task(struct machine *m)
{
	memset(m->ram + TSS2, 0, 104);
	gdt_put(m, TSS2_SEL, TSS2, 0x67, SYSTEM(SYS_TSS));
	put(m, TSS + 28, PD32, 4); /* CR3 is not saved, but loaded */
	put(m, TSS2 + 28, PD32, 4);
	put(m, TSS2 + 32, HANDLER, 4);
	put(m, TSS2 + 36, FL_FIXED | FL_CF, 4);
	for (unsigned n = 0; n < 8; n++)
		put(m, TSS2 + 40 + 4 * n, 0x2000 + n, 4);
	put(m, TSS2 + 56, STACK1, 4); /* ESP */
	for (unsigned n = 0; n < 6; n++)
		put(m, TSS2 + 72 + 4 * n, n == EMU_CS ? CODE0 : DATA0, 2);
}

static void task_gate_put(struct machine *m, unsigned vector, uint16_t selector)
{
	idt_put(m, vector, SYS_TASK_GATE, selector, 0, 0, 0);
}

static void test_event_task_gate_switches_task_with_error_code(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 3);
	fill_task(m);
	task_gate_put(m, EXC_GP, TSS2_SEL);
	assert_int_equal(deliver_fault(m, EXC_GP, true, 0x1230), DONE);
	assert_int_equal(m->c->segment[EMU_TR].selector, TSS2_SEL);
	assert_int_equal(m->c->rip, HANDLER);
	assert_int_equal(m->c->cpl, 0);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_CF | FL_NT);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK1 - 4);
	ASSERT_STACK(m, 4, 0x1230);
	assert_int_equal(get(m, TSS2, 2), TSS_SEL);
	assert_int_equal(get(m, TSS + 32, 4), CODE);
	assert_int_equal(get(m, TSS + 36, 4), FL_FIXED | FL_IF | FL_RF);
	assert_int_equal(DESC_TYPE(gdt_high(m, TSS2_SEL)), SYS_TSS_BUSY);
	assert_int_equal(DESC_TYPE(gdt_high(m, TSS_SEL)), SYS_TSS_BUSY);
	/* and back */
	assert_int_equal(EXECUTE(m, 0xcf), DONE);
	assert_int_equal(m->c->segment[EMU_TR].selector, TSS_SEL);
	assert_int_equal(m->c->cpl, 3);
	assert_int_equal(m->c->rip, CODE);
	assert_int_equal(DESC_TYPE(gdt_high(m, TSS2_SEL)), SYS_TSS);
}

static void test_event_task_gate_of_double_fault_saves_a_bad_stack(void **state)
{
	struct machine *m = *state;

	/* what the task gate is for: no stack at all */
	enter_protected(m, 0);
	fill_task(m);
	fill_idt(m, SYS_INT, CODE0);
	task_gate_put(m, EXC_DF, TSS2_SEL);
	m->c->gpr[EMU_RSP] = 0x100008;
	unmap_page(m, 0x100000);
	unmap_page(m, 0xff000);
	assert_int_equal(deliver_fault(m, EXC_GP, true, 0), DONE);
	assert_int_equal(m->c->segment[EMU_TR].selector, TSS2_SEL);
	ASSERT_STACK(m, 4, 0);
	assert_int_equal(get(m, TSS + 56, 4), 0x100008);
	assert_int_equal(m->c->cr2, 0x100000 - 8);
}

static void test_event_task_gate_checks(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	fill_task(m);
	task_gate_put(m, 32, TSS2_SEL | 4);
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_GP, TSS2_SEL | 4);
	task_gate_put(m, 32, DATA0);
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_GP, DATA0);
	task_gate_put(m, 32, TSS_SEL); /* busy */
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_GP, TSS_SEL);
	task_gate_put(m, 32, TSS2_SEL);
	gdt_put(m, TSS2_SEL, TSS2, 0x66, SYSTEM(SYS_TSS));
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_TS, TSS2_SEL);
	gdt_put(m, TSS2_SEL, TSS2, 0x67, SYS_TSS << 8);
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_NP, TSS2_SEL);
	gdt_put(m, TSS2_SEL, TSS2, 0x67, SYSTEM(SYS_TSS));
	unmap_page(m, TSS2);
	ASSERT_FAULT(m, deliver_software(m->v, 32), EXC_PF, 0);
	assert_int_equal(m->v->fault.cr2, TSS2);
}

static void test_event_bad_segment_of_new_task_faults_in_it(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	fill_idt(m, SYS_INT, CODE0);
	fill_task(m);
	task_gate_put(m, 32, TSS2_SEL);
	put(m, TSS2 + 72 + 4 * EMU_FS, GDT_END, 2);
	assert_int_equal(deliver_interrupt(m->v, 32), DONE);
	assert_int_equal(m->c->rip, HANDLER + EXC_TS);
	assert_int_equal(m->c->segment[EMU_TR].selector, TSS2_SEL);
	ASSERT_STACK(m, 4, GDT_END | 1, HANDLER, CODE0);
	assert_int_equal(m->c->segment[EMU_FS].selector, GDT_END);
	assert_false(m->c->segment[EMU_FS].flags & DESC_P);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_event_real_mode_interrupt_pushes_flags_cs_ip),
		TEST(test_event_real_mode_exception_has_no_error_code),
		TEST(test_event_real_mode_beyond_limit_is_gp),
		TEST(test_event_real_mode_without_ivt_shuts_down),
		TEST(test_event_real_mode_stack_wraps_at_64k),
		TEST(test_event_real_mode_odd_stack_pointer_faults_half_way_without_a_trace),
		TEST(test_event_protected_same_level_pushes_three_words),
		TEST(test_event_trap_gate_keeps_if),
		TEST(test_event_protected_inner_level_switches_stack),
		TEST(test_event_protected_level_1_handler_takes_stack_1),
		TEST(test_event_protected_16_bit_gate_pushes_words),
		TEST(test_event_protected_16_bit_tss_gives_stack),
		TEST(test_event_conforming_handler_stays_at_level),
		TEST(test_event_protected_checks_raise_what_the_manual_says),
		TEST(test_event_offset_beyond_code_limit_is_gp_0),
		TEST(test_event_bad_inner_stack_is_ts_or_ss),
		TEST(test_event_external_sets_ext_in_nested_error),
		TEST(test_event_int1_ignores_gate_dpl_other_software_does_not),
		TEST(test_event_int_n_pushes_address_behind_it),
		TEST(test_event_into_without_overflow_goes_on),
		TEST(test_event_frame_across_missing_page_leaves_nothing),
		TEST(test_event_inner_stack_is_written_as_supervisor),
		TEST(test_event_idt_without_memory_is_mmio_and_changes_nothing),
		TEST(test_event_vm86_pushes_segments_and_clears_them),
		TEST(test_event_vm86_handler_must_be_at_level_0),
		TEST(test_event_vm86_int_n_needs_iopl_3_int3_does_not),
		TEST(test_event_vme_redirects_by_map),
		TEST(test_event_long_same_level_aligns_and_pushes_five),
		TEST(test_event_long_inner_level_takes_rsp0_and_null_ss),
		TEST(test_event_long_ist_switches_stack_at_same_level),
		TEST(test_event_long_checks_raise_what_the_manual_says),
		TEST(test_event_long_compatibility_code_enters_64_bit_handler),
		TEST(test_event_long_accessed_bit_is_written_only_when_clear),
		TEST(test_event_rf_is_pushed_set_by_faults_only),
		TEST(test_event_page_fault_sets_cr2),
		TEST(test_event_debug_exception_clears_gd),
		TEST(test_event_payload_translates_to_dr6_and_cr2),
		TEST(test_event_bus_lock_bit_of_dr6_is_active_low_and_sticky),
		TEST(test_event_nmi_blocks_nmis),
		TEST(test_event_nested_faults_follow_table_6_5),
		TEST(test_event_fault_in_double_fault_shuts_down),
		TEST(test_event_task_gate_switches_task_with_error_code),
		TEST(test_event_task_gate_of_double_fault_saves_a_bad_stack),
		TEST(test_event_task_gate_checks),
		TEST(test_event_bad_segment_of_new_task_faults_in_it),
	};

	return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
