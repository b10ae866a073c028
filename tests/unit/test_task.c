// SPDX-License-Identifier: GPL-2.0-only
/* Task switches by JMP, CALL, gate and IRET. (By interrupts: test_event.c) */
#include "descriptor_vm.h"

static void task_put(struct machine *m, uint16_t cs, uint32_t flags)
{
	memset(m->ram + TSS2, 0, 104);
	gdt_put(m, TSS2_SEL, TSS2, 0x67, SYSTEM(SYS_TSS));
	put(m, TSS + 28, PD32, 4);
	put(m, TSS2 + 28, PD32, 4);
	put(m, TSS2 + 32, flags & FL_VM ? 0x234 : TARGET, 4);
	put(m, TSS2 + 36, FL_FIXED | flags, 4);
	for (unsigned n = 0; n < 8; n++)
		put(m, TSS2 + 40 + 4 * n, 0x2000 + n, 4);
	put(m, TSS2 + 56, STACK1, 4);
	for (unsigned n = 0; n < 6; n++)
		put(m, TSS2 + 72 + 4 * n,
		    flags & FL_VM ? 0x1200 + n
		    : n == EMU_CS ? cs
		    : cs & 3      ? DATA3 | 3
				  : DATA0,
		    2);
	put(m, TSS2 + 96, LDT_SEL, 2);
}

static void test_task_jmp_saves_loads_and_frees_the_old_one(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	task_put(m, CODE3 | 3, FL_ZF);
	put(m, TSS2 + 100, 1, 2); /* T */
	m->c->dr[7] = 0x7ff;
	m->c->rflags |= FL_CF | FL_RF;
	m->v->pending_db_dr6 = 0;
	assert_int_equal(far_to(m, false, TSS2_SEL), DONE);
	assert_int_equal(m->c->rip, TARGET);
	assert_int_equal(m->c->cpl, 3);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_ZF);
	for (unsigned n = 0; n < 8; n++)
		assert_int_equal(m->c->gpr[n], n == EMU_RSP ? STACK1 : 0x2000 + n);
	for (unsigned n = 0; n < 6; n++)
		assert_int_equal(m->c->segment[n].selector, n == EMU_CS ? CODE3 | 3 : DATA3 | 3);
	assert_int_equal(m->c->segment[EMU_LDTR].base, LDT);
	assert_int_equal(m->c->segment[EMU_TR].selector, TSS2_SEL);
	assert_int_equal(m->c->segment[EMU_TR].base, TSS2);
	assert_int_equal(DESC_TYPE(m->c->segment[EMU_TR].flags), SYS_TSS_BUSY);
	assert_true(m->c->cr0 & CR0_TS);
	assert_int_equal(m->c->dr[7], 0x6aa);
	assert_int_equal(m->v->pending_db, 1);
	assert_int_equal(m->v->pending_db_dr6, 0x8000);
	/* the old one */
	assert_int_equal(get(m, TSS + 32, 4), CODE + 7);
	assert_int_equal(get(m, TSS + 36, 4), FL_FIXED | FL_IF | FL_CF);
	assert_int_equal(get(m, TSS + 40, 4), 0);
	assert_int_equal(get(m, TSS + 44, 4), 0x11111111);
	assert_int_equal(get(m, TSS + 56, 4), STACK0);
	assert_int_equal(get(m, TSS + 76, 2), CODE0);
	assert_int_equal(get(m, TSS + 92, 2), DATA3 | 3);
	assert_int_equal(DESC_TYPE(gdt_high(m, TSS_SEL)), SYS_TSS);
	assert_int_equal(DESC_TYPE(gdt_high(m, TSS2_SEL)), SYS_TSS_BUSY);
	assert_int_equal(get(m, TSS2, 2), 0); /* no back link */
}

static void test_task_call_links_and_iret_returns(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	task_put(m, CODE0, 0);
	assert_int_equal(far_to(m, true, TSS2_SEL), DONE);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_NT);
	assert_int_equal(get(m, TSS2, 2), TSS_SEL);
	assert_int_equal(DESC_TYPE(gdt_high(m, TSS_SEL)), SYS_TSS_BUSY);
	m->c->gpr[EMU_RDX] = 0x77;
	assert_int_equal(EXECUTE(m, 0xcf), DONE);
	assert_int_equal(m->c->segment[EMU_TR].selector, TSS_SEL);
	assert_int_equal(m->c->rip, CODE + 7);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_IF);
	assert_int_equal(get(m, TSS2 + 32, 4), TARGET + 1);
	assert_int_equal(get(m, TSS2 + 36, 4), FL_FIXED); /* NT gone */
	assert_int_equal(get(m, TSS2 + 48, 4), 0x77);
	assert_int_equal(DESC_TYPE(gdt_high(m, TSS2_SEL)), SYS_TSS);
	assert_int_equal(DESC_TYPE(gdt_high(m, TSS_SEL)), SYS_TSS_BUSY);
}

static void test_task_through_gate_ignores_tss_dpl(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 3);
	task_put(m, CODE0, 0);
	FAR_FAULT(m, false, TSS2_SEL, EXC_GP, TSS2_SEL);
	put(m, GDT + TASK_SEL, TSS2_SEL << 16, 4);
	put(m, GDT + TASK_SEL + 4, SYSTEM(SYS_TASK_GATE) | AT_DPL(3), 4);
	assert_int_equal(far_to(m, true, TASK_SEL | 3), DONE);
	assert_int_equal(m->c->segment[EMU_TR].selector, TSS2_SEL);
	assert_int_equal(m->c->cpl, 0);
	enter_protected(m, 3);
	put(m, GDT + TASK_SEL + 4, SYSTEM(SYS_TASK_GATE) | AT_DPL(2), 4);
	FAR_FAULT(m, true, TASK_SEL | 3, EXC_GP, TASK_SEL);
}

static void test_task_to_vm86(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	task_put(m, 0, FL_VM | FL_IF);
	assert_int_equal(far_to(m, false, TSS2_SEL), DONE);
	assert_true(in_vm86(m->c));
	assert_int_equal(m->c->cpl, 3);
	assert_int_equal(m->c->segment[EMU_DS].base, (0x1200 + EMU_DS) << 4);
	assert_int_equal(m->c->rip, 0x234);
}

static void test_task_of_16_bits(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	memset(m->ram + TSS2, 0, 44);
	gdt_put(m, TSS16_SEL, TSS2, 0x2b, SYSTEM(SYS_TSS16));
	put(m, TSS + 28, PD32, 4);
	put(m, TSS2 + 14, 0x4321, 2);
	put(m, TSS2 + 16, FL_FIXED | FL_ZF, 2);
	put(m, TSS2 + 18, 0xaaaa, 2);
	put(m, TSS2 + 26, 0xb000, 2);
	put(m, TSS2 + 34, DATA0, 2);
	put(m, TSS2 + 36, CODE0_16, 2);
	put(m, TSS2 + 38, DATA0_16, 2);
	put(m, TSS2 + 40, DATA0, 2);
	assert_int_equal(far_to(m, true, TSS16_SEL), DONE);
	assert_int_equal(m->c->rip, 0x4321);
	assert_int_equal(m->c->gpr[EMU_RAX] & 0xffff, 0xaaaa);
	assert_int_equal(m->c->gpr[EMU_RSP] & 0xffff, 0xb000);
	assert_int_equal(m->c->rflags, FL_FIXED | FL_ZF | FL_NT);
	assert_int_equal(m->c->segment[EMU_SS].selector, DATA0_16);
	assert_int_equal(m->c->segment[EMU_FS].selector, 0);
	assert_int_equal(m->c->cr3, PD32);
	assert_int_equal(DESC_TYPE(m->c->segment[EMU_TR].flags), SYS_TSS16_BUSY);
	assert_int_equal(get(m, TSS2, 2), TSS_SEL);
	/* and back: the state goes into 16-bit fields */
	m->c->gpr[EMU_RAX] = 0x12345678;
	assert_int_equal(EXECUTE(m, 0xcf), DONE);
	assert_int_equal(m->c->segment[EMU_TR].selector, TSS_SEL);
	assert_int_equal(get(m, TSS2 + 14, 2), 0x4322);
	assert_int_equal(get(m, TSS2 + 18, 2), 0x5678);
	assert_int_equal(m->c->rip, CODE + 7);
}

static void test_task_iret_to_idle_tss_is_ts(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	task_put(m, CODE0, 0);
	m->c->rflags |= FL_NT;
	put(m, TSS, TSS2_SEL, 2); /* not busy */
	EXECUTE_FAULT(m, EXC_TS, TSS2_SEL, 0xcf);
	put(m, TSS, TSS2_SEL | 4, 2);
	EXECUTE_FAULT(m, EXC_TS, TSS2_SEL | 4, 0xcf);
	put(m, TSS, 0, 2);
	EXECUTE_FAULT(m, EXC_TS, 0, 0xcf);
}

static void test_task_with_bad_segment_faults_in_new_task(void **state)
{
	struct machine *m = *state;
	static const struct {
		unsigned seg;
		uint16_t selector;
		unsigned vector;
		uint32_t error;
	} cases[] = {
		{ EMU_CS, 0, EXC_TS, 0 },
		{ EMU_CS, DATA0, EXC_TS, DATA0 },
		{ EMU_CS, CODE0_ABSENT, EXC_NP, CODE0_ABSENT },
		{ EMU_SS, 0, EXC_TS, 0 },
		{ EMU_SS, READ_ONLY, EXC_TS, READ_ONLY },
		{ EMU_SS, DATA0_ABSENT, EXC_SS, DATA0_ABSENT },
		{ EMU_DS, DATA0_ABSENT, EXC_NP, DATA0_ABSENT },
		{ EMU_GS, EXECUTE_ONLY, EXC_TS, EXECUTE_ONLY },
	};

	for (unsigned n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
		uint32_t error;

		enter_protected(m, 0);
		/* a handler that a task without stack can have: another task */
		task_put(m, CODE0, 0);
		put(m, TSS2 + 72 + 4 * cases[n].seg, cases[n].selector, 2);
		memcpy(m->ram + 0x7000, m->ram + TSS2, 104);
		put(m, 0x7000 + 72 + 4 * cases[n].seg, cases[n].seg == EMU_CS ? CODE0 : DATA0, 2);
		put(m, 0x7000 + 32, 0x14000, 4);
		gdt_put(m, TASK_SEL, 0x7000, 0x67, SYSTEM(SYS_TSS));
		idt_put(m, cases[n].vector, SYS_TASK_GATE, TASK_SEL, 0, 0, 0);
		assert_int_equal(far_to(m, false, TSS2_SEL), DONE);
		assert_int_equal(m->c->segment[EMU_TR].selector, TASK_SEL);
		assert_int_equal(m->c->rip, 0x14000);
		error = (uint32_t)get(m, STACK1 - 4, 4);
		assert_int_equal(error, cases[n].error);
		assert_int_equal(get(m, 0x7000, 2), TSS2_SEL); /* it came from the new task */
		assert_int_equal(get(m, TSS2 + 32, 4), TARGET);
		gdt_put(m, TSS_SEL, TSS, 0x1ff, SYSTEM(SYS_TSS_BUSY));
	}
}

static void test_task_with_eip_beyond_limit_faults_in_it(void **state)
{
	struct machine *m = *state;

	enter_protected(m, 0);
	task_put(m, CODE0_16, 0);
	put(m, TSS2 + 32, 0x10000, 4);
	idt_put(m, EXC_GP, SYS_INT, CODE0, TARGET, 0, 0);
	assert_int_equal(far_to(m, false, TSS2_SEL), DONE);
	assert_int_equal(m->c->rip, TARGET);
	ASSERT_STACK(m, 4, 0, 0x10000, CODE0_16);
}

static void test_task_with_own_cr3_sees_its_own_memory(void **state)
{
	struct machine *m = *state;
	uint32_t value;

	enter_protected(m, 0);
	task_put(m, CODE0, 0);
	/* in the new task the page below STACK1 is another one */
	memcpy(m->ram + 0x26000, m->ram + PT32, 4096);
	put(m, 0x27000, 0x26000 | 7, 4);
	put(m, 0x26000 + ((STACK1 - 4) >> 12) * 4, 0x28000 | 7, 4);
	put(m, TSS2 + 28, 0x27000, 4);
	put(m, TSS2 + 56, STACK1 - 4, 4);
	put(m, STACK1 - 4, DATA0, 4);
	put(m, 0x28ffc, DATA3, 4);
	assert_int_equal(linear_read(m->v, STACK1 - 4, &value, 4, 0), DONE);
	assert_int_equal(value, DATA0);
	assert_int_equal(far_to(m, false, TSS2_SEL), DONE);
	assert_int_equal(m->c->cr3, 0x27000);
	assert_int_equal(EXECUTE(m, 0x07), DONE); /* POP ES */
	assert_int_equal(m->c->segment[EMU_ES].selector, DATA3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_task_jmp_saves_loads_and_frees_the_old_one),
		TEST(test_task_call_links_and_iret_returns),
		TEST(test_task_through_gate_ignores_tss_dpl),
		TEST(test_task_to_vm86),
		TEST(test_task_of_16_bits),
		TEST(test_task_iret_to_idle_tss_is_ts),
		TEST(test_task_with_bad_segment_faults_in_new_task),
		TEST(test_task_with_eip_beyond_limit_faults_in_it),
		TEST(test_task_with_own_cr3_sees_its_own_memory),
	};

	return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
