// SPDX-License-Identifier: GPL-2.0-only
/* Far JMP, CALL, RET and IRET: where they go, and what they refuse. */
#include "descriptor_vm.h"

/* ------------------------------------------------------------------ far JMP and CALL */

static void test_far_real_mode_jumps_and_calls(void **state)
{
	struct machine *m = *state;

	enter_real(m);
	assert_int_equal(EXECUTE(m, 0x9a, 0x34, 0x12, 0x00, 0x20), DONE);
	assert_int_equal(m->c->segment[EMU_CS].base, 0x20000);
	assert_int_equal(m->c->rip, 0x1234);
	ASSERT_STACK(m, 2, 0x25, 0x1000);
	assert_int_equal(EXECUTE(m, 0xca, 6, 0), DONE); /* RETF 6 */
	assert_int_equal(m->c->segment[EMU_CS].base, CODE);
	assert_int_equal(m->c->rip, 0x25);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0 + 6);
	assert_int_equal(EXECUTE(m, 0x66, 0xea, 0xff, 0xff, 0, 0, 0, 0x20), DONE);
	assert_int_equal(m->c->rip, 0xffff);
	EXECUTE_FAULT(m, EXC_GP, 0, 0x66, 0xea, 0, 0, 1, 0, 0, 0x20);
}

static void test_far_protected_code_segment_checks(void **state)
{
	struct machine *m = *state;
	static const struct {
		unsigned cpl;
		uint16_t selector;
		unsigned vector;
		uint32_t error;
	} cases[] = {
		{ 0, CODE0, 0, 0 },
		{ 3, CODE3 | 3, 0, 0 },
		{ 3, CODE3, 0, 0 },
		{ 3, CONFORMING0, 0, 0 },
		{ 0, CONFORMING0 | 3, 0, 0 },
		{ 0, EXECUTE_ONLY, 0, 0 },
		{ 0, CODE0 | 1, EXC_GP, CODE0 }, /* RPL */
		{ 0, CODE3, EXC_GP, CODE3 },     /* DPL */
		{ 3, CODE0 | 3, EXC_GP, CODE0 },
		{ 0, 0, EXC_GP, 0 },
		{ 0, 3, EXC_GP, 0 },
		{ 0, DATA0, EXC_GP, DATA0 },
		{ 0, GDT_END, EXC_GP, GDT_END },
		{ 0, LDT_SEL, EXC_GP, LDT_SEL },
		{ 0, CODE0_ABSENT, EXC_NP, CODE0_ABSENT },
		{ 0, CODE0_16, EXC_GP, 0 }, /* TARGET is beyond its limit */
	};

	for (unsigned n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
		for (unsigned call = 0; call < 2; call++) {
			enter_protected(m, cases[n].cpl);
			if (cases[n].vector) {
				FAR_FAULT(m, call, cases[n].selector, cases[n].vector,
					  cases[n].error);
				continue;
			}
			assert_int_equal(far_to(m, call, cases[n].selector), DONE);
			assert_int_equal(m->c->cpl, cases[n].cpl);
			assert_int_equal(m->c->rip, TARGET);
			assert_int_equal(m->c->segment[EMU_CS].selector,
					 (cases[n].selector & ~3u) | cases[n].cpl);
			if (call)
				ASSERT_STACK(m, 4, CODE + 7,
					     (cases[n].cpl ? CODE3 : CODE0) | cases[n].cpl);
		}
	}
}

static void test_far_call_without_stack_leaves_no_half(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	m->c->gpr[EMU_RSP] = 0x8004;
	unmap_page(m, 0x7000);
	put(m, 0x8000, 0xeeeeeeee, 4);
	FAR_FAULT(m, true, CODE0, EXC_PF, PF_W);
	assert_int_equal(get(m, 0x8000, 4), 0xeeeeeeee);
	set_segment(m, EMU_SS, DATA0_SMALL);
	m->c->gpr[EMU_RSP] = STACK0; /* its limit is below */
	FAR_FAULT(m, true, CODE0, EXC_SS, 0);
}

static void gate_put(struct machine *m, unsigned type, unsigned dpl, uint16_t selector,
		     uint64_t offset, unsigned parameters)
{
	put(m, GDT + GATE_SEL, (uint32_t)selector << 16 | (offset & 0xffff), 4);
	put(m, GDT + GATE_SEL + 4,
	    (offset & 0xffff0000) | DESC_P | AT_DPL(dpl) | type << 8 | parameters, 4);
	put(m, GDT + GATE_SEL + 8, offset >> 32, 8);
}

static void test_far_call_gate_switches_stack_and_copies_parameters(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 3);
	gate_put(m, SYS_CALL, 3, CODE0, 0x13570, 3);
	PUSH(m, 4, 0xaaaa, 0xbbbb, 0xcccc);
	assert_int_equal(far_to(m, true, GATE_SEL | 3), DONE);
	assert_int_equal(m->c->cpl, 0);
	assert_int_equal(m->c->rip, 0x13570);
	assert_int_equal(m->c->segment[EMU_CS].selector, CODE0);
	assert_int_equal(m->c->segment[EMU_SS].selector, DATA0);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0 - 28);
	ASSERT_STACK(m, 4, CODE + 7, CODE3 | 3, 0xaaaa, 0xbbbb, 0xcccc, STACK3 - 12, DATA3 | 3);
	/* RETF 12 drops both copies, and what level 3 may not keep */
	set_segment(m, EMU_DS, DATA0);
	set_segment(m, EMU_FS, CONFORMING0);
	assert_int_equal(EXECUTE(m, 0xca, 12, 0), DONE);
	assert_int_equal(m->c->cpl, 3);
	assert_int_equal(m->c->rip, CODE + 7);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK3);
	assert_int_equal(m->c->segment[EMU_SS].selector, DATA3 | 3);
	assert_int_equal(m->c->segment[EMU_DS].selector, 0);
	assert_false(m->c->segment[EMU_DS].flags & DESC_P);
	assert_int_equal(m->c->segment[EMU_FS].selector, CONFORMING0);
	assert_int_equal(m->c->segment[EMU_ES].selector, DATA3 | 3);
}

static void test_far_call_gate_takes_31_parameters(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 3);
	gate_put(m, SYS_CALL, 3, CODE0, 0x13570, 31);
	for (unsigned n = 0; n < 31; n++)
		PUSH(m, 4, 0x1000 + n);
	assert_int_equal(far_to(m, true, GATE_SEL | 3), DONE);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0 - 35 * 4);
	for (unsigned n = 0; n < 31; n++)
		assert_int_equal(get(m, STACK0 - 35 * 4 + 8 + 4 * n, 4), 0x1000 + 30 - n);
	/* 140 bytes are still all or nothing */
	enter_protected(m, 3);
	put(m, TSS + 4, 0x8080, 4);
	unmap_page(m, 0x7000);
	memset(m->ram + 0x8000, 0xee, 0x80);
	FAR_FAULT(m, true, GATE_SEL | 3, EXC_PF, PF_W);
	for (unsigned n = 0; n < 0x80; n++)
		assert_int_equal(m->ram[0x8000 + n], 0xee);
	/* whichever end is missing */
	enter_protected(m, 3);
	put(m, TSS + 4, 0x9020, 4);
	unmap_page(m, 0x9000);
	memset(m->ram + 0x8f00, 0xee, 0x100);
	FAR_FAULT(m, true, GATE_SEL | 3, EXC_PF, PF_W);
	for (unsigned n = 0; n < 0x100; n++)
		assert_int_equal(m->ram[0x8f00 + n], 0xee);
}

static void test_far_call_gate_of_16_bits_pushes_words(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 3);
	gate_put(m, SYS_CALL16, 3, CODE0, 0xffff3570, 1);
	PUSH(m, 2, 0xaaaa);
	assert_int_equal(far_to(m, true, GATE_SEL | 3), DONE);
	assert_int_equal(m->c->rip, 0x3570);
	ASSERT_STACK(m, 2, (CODE + 7) & 0xffff, CODE3 | 3, 0xaaaa, STACK3 - 2, DATA3 | 3);
}

static void test_far_gate_at_same_level_keeps_stack(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	gate_put(m, SYS_CALL, 0, CODE0 | 3, 0x13570, 5);
	assert_int_equal(far_to(m, true, GATE_SEL), DONE);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0 - 8);
	ASSERT_STACK(m, 4, CODE + 7, CODE0);
	enter_protected(m, 0);
	assert_int_equal(far_to(m, false, GATE_SEL), DONE);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0);
	assert_int_equal(m->c->segment[EMU_CS].selector, CODE0);
}

static void test_far_call_gate_checks(void **state)
{
	struct machine *m = *state;
	static const struct {
		bool call;
		uint16_t gate, selector;
		unsigned dpl;
		uint32_t offset;
		unsigned vector;
		uint32_t error;
	} cases[] = {
		{ true, GATE_SEL, CODE0, 2, TARGET, EXC_GP, GATE_SEL },
		{ true, GATE_SEL | 3, 0, 3, TARGET, EXC_GP, 0 },
		{ true, GATE_SEL | 3, DATA0, 3, TARGET, EXC_GP, DATA0 },
		{ true, GATE_SEL | 3, CODE0_ABSENT, 3, TARGET, EXC_NP, CODE0_ABSENT },
		{ true, GATE_SEL | 3, GDT_END, 3, TARGET, EXC_GP, GDT_END },
		{ true, GATE_SEL | 3, CODE0_16, 3, TARGET, EXC_GP, 0 }, /* limit */
		{ false, GATE_SEL | 3, CODE0, 3, TARGET, EXC_GP,
		  CODE0 }, /* JMP does not go inwards */
	};

	for (unsigned n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
		enter_protected(m, 3);
		gate_put(m, SYS_CALL, cases[n].dpl, cases[n].selector, cases[n].offset, 0);
		FAR_FAULT(m, cases[n].call, cases[n].gate, cases[n].vector, cases[n].error);
	}
	gate_put(m, SYS_CALL, 3, CODE0, TARGET, 0);
	put(m, GDT + GATE_SEL + 5, 0x60 | SYS_CALL, 1);
	FAR_FAULT(m, true, GATE_SEL | 3, EXC_NP, GATE_SEL);
	enter_protected(m, 0);
	gate_put(m, SYS_CALL, 0, CODE0, TARGET, 0);
	FAR_FAULT(m, true, GATE_SEL | 1, EXC_GP, GATE_SEL); /* RPL */
	enter_protected(m, 3);
	gate_put(m, SYS_CALL, 3, CODE0, TARGET, 0);
	put(m, TSS + 8, DATA0_SMALL, 2);
	FAR_FAULT(m, true, GATE_SEL | 3, EXC_SS, DATA0_SMALL);
}

/* CALL [RSP-relative memory], 64-bit mode has no direct form. */
static enum outcome far_call_memory(struct machine *m, bool rex, uint16_t selector, uint64_t offset)
{
	put(m, DATA, offset, rex ? 8 : 4);
	put(m, DATA + (rex ? 8 : 4), selector, 2);
	return rex ? EXECUTE(m, 0x48, 0xff, 0x1c, 0x25, 0, 0x80, 1, 0)
		   : EXECUTE(m, 0xff, 0x1c, 0x25, 0, 0x80, 1, 0);
}

static void test_far_call_gate_of_64_bits_pushes_four(void **state)
{
	struct machine *m = *state;

	enter_long(m, 3);
	gate_put(m, SYS_CALL, 3, CODE0_64, 0xffff800000012340, 0);
	assert_int_equal(far_call_memory(m, false, GATE_SEL | 3, 0), DONE);
	assert_int_equal(m->c->cpl, 0);
	assert_int_equal(m->c->rip, 0xffff800000012340);
	assert_int_equal(m->c->segment[EMU_SS].selector, 0);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0 - 32);
	ASSERT_STACK(m, 8, CODE + 7, CODE3_64 | 3, STACK3, DATA3 | 3);
	assert_int_equal(EXECUTE(m, 0x48, 0xcb), DONE); /* RETFQ */
	assert_int_equal(m->c->cpl, 3);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK3);
	assert_int_equal(m->c->segment[EMU_SS].selector, DATA3 | 3);

	gate_put(m, SYS_CALL, 3, CODE0, TARGET, 0);
	ASSERT_FAULT(m, far_call_memory(m, false, GATE_SEL | 3, 0), EXC_GP, CODE0);
	gate_put(m, SYS_CALL, 3, CODE0_64, 1ull << 47, 0);
	ASSERT_FAULT(m, far_call_memory(m, false, GATE_SEL | 3, 0), EXC_GP, 0);
	gate_put(m, SYS_CALL, 3, CODE0_64, TARGET, 0);
	put(m, GDT + GATE_SEL + 12, 0x400, 4); /* looks like a descriptor */
	ASSERT_FAULT(m, far_call_memory(m, false, GATE_SEL | 3, 0), EXC_GP, GATE_SEL);
}

static void test_far_64_bit_offset_is_intels_only(void **state)
{
	struct machine *m = *state;
	const struct emu_config amd = { .vendor = EMU_AMD };
	struct emu_vm *vm;

	enter_long(m, 0);
	assert_int_equal(far_call_memory(m, true, CODE0_64, 0xffff800000012340), DONE);
	assert_int_equal(m->c->rip, 0xffff800000012340);
	ASSERT_STACK(m, 8, CODE + 8, CODE0_64);
	enter_long(m, 0);
	ASSERT_FAULT(m, far_call_memory(m, true, CODE0_64, 1ull << 47), EXC_GP, 0);

	/* AMD reads m16:32 */
	assert_int_equal(emu_vm_create(&amd, &vm), 0);
	m->vm->config.vendor = EMU_AMD;
	put(m, DATA, TARGET, 4);
	put(m, DATA + 4, CODE0_64, 4);
	assert_int_equal(EXECUTE(m, 0x48, 0xff, 0x2c, 0x25, 0, 0x80, 1, 0), DONE);
	assert_int_equal(m->c->rip, TARGET);
	emu_vm_destroy(vm);
}

static void test_far_long_to_compatibility_and_back(void **state)
{
	struct machine *m = *state;

	enter_long(m, 0);
	assert_int_equal(far_call_memory(m, false, CODE0, TARGET), DONE);
	assert_false(in_64bit(m->c));
	assert_int_equal(code_mode(m->c), 32);
	assert_int_equal(far_to(m, false, CODE0_64), DONE);
	assert_true(in_64bit(m->c));
	gdt_put(m, CODE0_64, 0, 0xfffff, ATTR_CODE64 | DESC_DB); /* L and D */
	enter_long(m, 0);
	ASSERT_FAULT(m, far_call_memory(m, false, CODE0_64, TARGET), EXC_GP, CODE0_64);
	ASSERT_FAULT(m, far_call_memory(m, false, TSS2_SEL, TARGET), EXC_GP, TSS2_SEL);
}

/* ------------------------------------------------------------------ RET */

static void test_far_ret_checks(void **state)
{
	struct machine *m = *state;
	static const struct {
		unsigned cpl;
		uint16_t cs, ss;
		unsigned vector;
		uint32_t error;
	} cases[] = {
		{ 3, CODE3 | 3, 0, 0, 0 },
		{ 0, CODE3 | 3, DATA3 | 3, 0, 0 },
		{ 0, CONFORMING0 | 3, DATA3 | 3, 0, 0 },
		{ 3, CODE0, 0, EXC_GP, CODE0 }, /* inwards */
		{ 0, 0, 0, EXC_GP, 0 },
		{ 0, CODE3, 0, EXC_GP, CODE3 }, /* DPL is not RPL */
		{ 0, DATA0, 0, EXC_GP, DATA0 },
		{ 0, CODE0_ABSENT, 0, EXC_NP, CODE0_ABSENT },
		{ 0, GDT_END, 0, EXC_GP, GDT_END },
		{ 0, CODE3 | 3, 3, EXC_GP, 0 },
		{ 0, CODE3 | 3, DATA3, EXC_GP, DATA3 },     /* RPL */
		{ 0, CODE3 | 3, DATA0 | 3, EXC_GP, DATA0 }, /* DPL */
		{ 0, CODE3 | 3, CODE3 | 3, EXC_GP, CODE3 },
		{ 0, CODE3 | 3, GDT_END | 3, EXC_GP, GDT_END },
	};

	for (unsigned n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
		enter_protected(m, cases[n].cpl);
		PUSH(m, 4, TARGET, cases[n].cs, STACK1, cases[n].ss);
		if (cases[n].vector) {
			EXECUTE_FAULT(m, cases[n].vector, cases[n].error, 0xcb);
			continue;
		}
		assert_int_equal(EXECUTE(m, 0xcb), DONE);
		assert_int_equal(m->c->rip, TARGET);
		assert_int_equal(m->c->cpl, cases[n].cs & 3);
		assert_int_equal(m->c->gpr[EMU_RSP], cases[n].ss ? STACK1 : STACK3 - 8);
	}
	enter_protected(m, 0);
	gdt_put(m, DATA3, 0, 0xfffff, (ATTR_DATA32 | AT_DPL(3)) & ~(uint32_t)DESC_P);
	PUSH(m, 4, TARGET, CODE3 | 3, STACK1, DATA3 | 3);
	EXECUTE_FAULT(m, EXC_SS, DATA3, 0xcb);
	PUSH(m, 2, TARGET & 0xffff, CODE0_16);
	assert_int_equal(EXECUTE(m, 0x66, 0xcb), DONE);
	assert_int_equal(m->c->rip, TARGET & 0xffff);
	assert_int_equal(code_mode(m->c), 16);
}

/* ------------------------------------------------------------------ IRET */

static void test_iret_real_mode_pops_flags(void **state)
{
	struct machine *m = *state;

	enter_real(m);
	m->v->events.nmi.masked = true;
	PUSH(m, 2, 0x1234, 0x2000, 0xffff);
	assert_int_equal(EXECUTE(m, 0xcf), DONE);
	assert_int_equal(m->c->segment[EMU_CS].base, 0x20000);
	assert_int_equal(m->c->rip, 0x1234);
	assert_int_equal(m->c->rflags, 0x7fd7);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK0);
	assert_false(m->v->events.nmi.masked);
	enter_real(m);
	PUSH(m, 4, 0x1234, 0x2000, 0xffffffff);
	assert_int_equal(EXECUTE(m, 0x66, 0xcf), DONE);
	assert_int_equal(m->c->rflags, 0x257fd7); /* VM, VIF, VIP stay */
	PUSH(m, 4, 0x12345, 0x2000, 0);
	EXECUTE_FAULT(m, EXC_GP, 0, 0x66, 0xcf);
}

static void test_iret_vm86_obeys_iopl(void **state)
{
	struct machine *m = *state;

	enter_vm86(m, 3);
	PUSH(m, 2, 0x1234, 0x2000, FL_CF);
	assert_int_equal(EXECUTE(m, 0xcf), DONE);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_CF | FL_VM | FL_IOPL);
	assert_int_equal(m->c->segment[EMU_CS].base, 0x20000);
	assert_int_equal(m->c->cpl, 3);
	enter_vm86(m, 2);
	PUSH(m, 2, 0x1234, 0x2000, FL_CF);
	m->v->events.nmi.masked = true;
	EXECUTE_FAULT(m, EXC_GP, 0, 0xcf);
	assert_false(m->v->events.nmi.masked); /* although it faulted */
}

static void test_iret_vme_moves_if_to_vif(void **state)
{
	struct machine *m = *state;

	enter_vm86(m, 0);
	m->c->cr4 = CR4_VME;
	PUSH(m, 2, 0x1234, 0x2000, FL_CF | FL_IF | FL_IOPL);
	assert_int_equal(EXECUTE(m, 0xcf), DONE);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_CF | FL_VM | FL_IF | FL_VIF);
	m->c->rflags |= FL_VIP;
	PUSH(m, 2, 0x1234, 0x2000, FL_IF);
	EXECUTE_FAULT(m, EXC_GP, 0, 0xcf); /* an interrupt waits */
	m->c->gpr[EMU_RSP] += 6;
	PUSH(m, 2, 0x1234, 0x2000, FL_TF);
	EXECUTE_FAULT(m, EXC_GP, 0, 0xcf);
	m->c->gpr[EMU_RSP] += 6;
	PUSH(m, 4, 0x1234, 0x2000, 0);
	EXECUTE_FAULT(m, EXC_GP, 0, 0x66, 0xcf);
}

/* Which flags IRETD may change, by privilege level and IOPL. */
static void test_iret_flags_by_level(void **state)
{
	struct machine *m = *state;
	const uint64_t always = FL_STATUS | FL_TF | FL_DF | FL_NT | FL_RF | FL_AC | FL_ID;
	static const struct {
		unsigned cpl, iopl;
		uint64_t more;
	} cases[] = {
		{ 0, 0, FL_IF | FL_IOPL | FL_VIF | FL_VIP },
		{ 3, 0, 0 },
		{ 3, 3, FL_IF },
		{ 1, 0, 0 },
		{ 1, 1, FL_IF },
	};

	for (unsigned n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
		uint16_t cs = (uint16_t)((cases[n].cpl == 3 ? CODE3
					  : cases[n].cpl    ? CODE1
							    : CODE0) |
					 cases[n].cpl);
		uint64_t iopl = (uint64_t)cases[n].iopl << 12;

		enter_protected(m, cases[n].cpl);
		m->c->rflags = FL_FIXED | iopl;
		/* level 0 would go to virtual-8086 mode with VM */
		PUSH(m, 4, TARGET, cs, 0xffffffff & ~(cases[n].cpl ? 0u : FL_VM));
		assert_int_equal(EXECUTE(m, 0xcf), DONE);
		assert_int_equal(m->c->rflags, FL_FIXED | iopl | always | cases[n].more);

		enter_protected(m, cases[n].cpl);
		m->c->rflags = FL_FIXED | iopl | FL_AC;
		PUSH(m, 2, TARGET & 0xffff, cs, 0xffff);
		assert_int_equal(EXECUTE(m, 0x66, 0xcf), DONE);
		assert_int_equal(m->c->rflags,
				 FL_FIXED | iopl | FL_AC | ((always | cases[n].more) & 0xffff));
	}
}

static void test_iret_outer_level_pops_stack_and_drops_segments(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	set_segment(m, EMU_DS, DATA0);
	set_segment(m, EMU_ES, CODE0);
	set_segment(m, EMU_GS, CONFORMING0);
	PUSH(m, 4, TARGET, CODE3 | 3, FL_FIXED | FL_IOPL, STACK3 - 0x10, DATA3 | 3);
	assert_int_equal(EXECUTE(m, 0xcf), DONE);
	assert_int_equal(m->c->cpl, 3);
	assert_int_equal(m->c->rip, TARGET);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK3 - 0x10);
	assert_int_equal(m->c->segment[EMU_SS].selector, DATA3 | 3);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_IOPL);
	assert_int_equal(m->c->segment[EMU_DS].selector, 0);
	assert_int_equal(m->c->segment[EMU_ES].selector, 0);
	assert_int_equal(m->c->segment[EMU_FS].selector, DATA3 | 3);
	assert_int_equal(m->c->segment[EMU_GS].selector, CONFORMING0);
}

static void test_iret_to_16_bit_stack_keeps_upper_half(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	gdt_put(m, DATA3, 0, 0xffff, ATTR_DATA16 | AT_DPL(3));
	PUSH(m, 4, TARGET, CODE3 | 3, FL_FIXED, 0x56781234, DATA3 | 3);
	m->c->gpr[EMU_RSP] |= 0; /* the kernel's ESP shows through, as on hardware */
	assert_int_equal(EXECUTE(m, 0xcf), DONE);
	assert_int_equal(m->c->gpr[EMU_RSP], ((STACK0 - 20) & 0xffff0000) | 0x1234);
}

static void test_iret_to_vm86_loads_all_segments(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	PUSH(m, 4, 0x1234, 0x2000, FL_FIXED | FL_VM | FL_IF | FL_IOPL, 0x8888, 0x3000, 0x4000,
	     0x5000, 0x6000, 0x7000);
	assert_int_equal(EXECUTE(m, 0xcf), DONE);
	assert_true(in_vm86(m->c));
	assert_int_equal(m->c->cpl, 3);
	assert_int_equal(m->c->rip, 0x1234);
	assert_int_equal(m->c->gpr[EMU_RSP], 0x8888);
	assert_int_equal(m->c->segment[EMU_CS].base, 0x20000);
	assert_int_equal(m->c->segment[EMU_SS].base, 0x30000);
	assert_int_equal(m->c->segment[EMU_ES].base, 0x40000);
	assert_int_equal(m->c->segment[EMU_DS].base, 0x50000);
	assert_int_equal(m->c->segment[EMU_FS].base, 0x60000);
	assert_int_equal(m->c->segment[EMU_GS].base, 0x70000);
	for (unsigned seg = 0; seg < 6; seg++)
		assert_int_equal(m->c->segment[seg].flags, 0xf300);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_VM | FL_IF | FL_IOPL);
	/* not from level 3 */
	enter_protected(m, 3);
	PUSH(m, 4, TARGET, CODE3 | 3, FL_FIXED | FL_VM);
	assert_int_equal(EXECUTE(m, 0xcf), DONE);
	assert_false(in_vm86(m->c));
}

static void test_iret_64_bit_mode_always_pops_stack(void **state)
{
	struct machine *m = *state;

	enter_long(m, 0);
	PUSH(m, 8, 0xffff800000001234, CODE0_64, FL_FIXED | FL_IF | FL_RF, 0xffff8000deadbee8,
	     DATA0);
	assert_int_equal(EXECUTE(m, 0x48, 0xcf), DONE);
	assert_int_equal(m->c->rip, 0xffff800000001234);
	assert_int_equal(m->c->gpr[EMU_RSP], 0xffff8000deadbee8);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_IF | FL_RF);
	/* 4-byte operands, too; a null SS below level 3 is fine */
	enter_long(m, 0);
	PUSH(m, 4, TARGET, CODE0_64, FL_FIXED, STACK1, 0);
	assert_int_equal(EXECUTE(m, 0xcf), DONE);
	assert_int_equal(m->c->gpr[EMU_RSP], STACK1);
	assert_int_equal(m->c->segment[EMU_SS].selector, 0);
	assert_int_equal(m->c->cpl, 0);
}

static void test_iret_long_mode_checks(void **state)
{
	struct machine *m = *state;
	static const struct {
		uint64_t rip;
		uint16_t cs, ss;
		uint64_t flags;
		unsigned vector;
		uint32_t error;
	} cases[] = {
		{ TARGET, CODE3_64 | 3, DATA3 | 3, FL_FIXED, 0, 0 },
		{ TARGET, CODE3 | 3, DATA3 | 3, FL_FIXED | FL_VM, 0, 0 }, /* VM does not count */
		{ 1ull << 47, CODE3_64 | 3, DATA3 | 3, FL_FIXED, EXC_GP, 0 },
		{ 1ull << 32, CODE3 | 3, DATA3 | 3, FL_FIXED, EXC_GP, 0 }, /* limit */
		{ TARGET, CODE3_64 | 3, 3, FL_FIXED, EXC_GP, 0 },          /* null SS at level 3 */
		{ TARGET, CODE0, 0, FL_FIXED, EXC_GP, 0 },                 /* or for 32-bit code */
		{ TARGET, CODE3_64 | 3, DATA0, FL_FIXED, EXC_GP, DATA0 },
		{ TARGET, CODE0_64 | 3, DATA3 | 3, FL_FIXED, EXC_GP, CODE0_64 },
		{ TARGET, 0, DATA3 | 3, FL_FIXED, EXC_GP, 0 },
	};

	for (unsigned n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
		enter_long(m, 0);
		PUSH(m, 8, cases[n].rip, cases[n].cs, cases[n].flags, STACK3 + 4, cases[n].ss);
		if (cases[n].vector) {
			EXECUTE_FAULT(m, cases[n].vector, cases[n].error, 0x48, 0xcf);
			continue;
		}
		assert_int_equal(EXECUTE(m, 0x48, 0xcf), DONE);
		assert_int_equal(m->c->cpl, 3);
		assert_int_equal(m->c->gpr[EMU_RSP], STACK3 + 4);
		assert_int_equal(m->c->rflags, FL_FIXED);
	}
	enter_long(m, 0);
	PUSH(m, 4, TARGET, CODE0_64, FL_FIXED | FL_VM, STACK1, DATA0);
	assert_int_equal(EXECUTE(m, 0xcf), DONE); /* with 4-byte operands neither */
	assert_false(m->c->rflags & FL_VM);
	enter_long(m, 0);
	m->c->rflags |= FL_NT;
	PUSH(m, 8, TARGET, CODE0_64, FL_FIXED, STACK0, DATA0);
	EXECUTE_FAULT(m, EXC_GP, 0, 0x48, 0xcf);
}

static void test_iret_long_mode_keeps_base_of_null_fs(void **state)
{
	struct machine *m = *state;

	enter_long(m, 0);
	m->c->segment[EMU_FS] = segment_null(0);
	m->c->segment[EMU_FS].base = 0x7f0012345000; /* by WRMSR: a thread's */
	PUSH(m, 8, TARGET, CODE3_64 | 3, FL_FIXED, STACK3, DATA3 | 3);
	assert_int_equal(EXECUTE(m, 0x48, 0xcf), DONE);
	assert_int_equal(m->c->segment[EMU_FS].base, 0x7f0012345000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_far_real_mode_jumps_and_calls),
		TEST(test_far_protected_code_segment_checks),
		TEST(test_far_call_without_stack_leaves_no_half),
		TEST(test_far_call_gate_switches_stack_and_copies_parameters),
		TEST(test_far_call_gate_takes_31_parameters),
		TEST(test_far_call_gate_of_16_bits_pushes_words),
		TEST(test_far_gate_at_same_level_keeps_stack),
		TEST(test_far_call_gate_checks),
		TEST(test_far_call_gate_of_64_bits_pushes_four),
		TEST(test_far_64_bit_offset_is_intels_only),
		TEST(test_far_long_to_compatibility_and_back),
		TEST(test_far_ret_checks),
		TEST(test_iret_real_mode_pops_flags),
		TEST(test_iret_vm86_obeys_iopl),
		TEST(test_iret_vme_moves_if_to_vif),
		TEST(test_iret_flags_by_level),
		TEST(test_iret_outer_level_pops_stack_and_drops_segments),
		TEST(test_iret_to_16_bit_stack_keeps_upper_half),
		TEST(test_iret_to_vm86_loads_all_segments),
		TEST(test_iret_64_bit_mode_always_pops_stack),
		TEST(test_iret_long_mode_checks),
		TEST(test_iret_long_mode_keeps_base_of_null_fs),
	};

	return cmocka_run_group_tests_name("far", tests, NULL, NULL);
}
