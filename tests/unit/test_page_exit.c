// SPDX-License-Identifier: GPL-2.0-only
/* Exits of intercepted pages that an event's delivery meets. */
#include "tests/unit/stuffed_vm.h"

enum { IF = 1 << 9, RF = 1 << 16 };

static const struct {
	enum emu_page_intercept what;
	enum emu_exit_type exit;
} pages[] = {
	{ EMU_PAGE_VIOLATION, EMU_EXIT_EPT },
	{ EMU_PAGE_MISCONFIG, EMU_EXIT_EPT },
	{ EMU_PAGE_APIC_ACCESS, EMU_EXIT_APIC_ACCESS },
};

/* SDM 28.3.3: RF is saved as the event's frame would have it, whatever it was before. */
static void test_page_exit_in_delivery_saves_the_resume_flag_of_the_frame(void **state)
{
	static const struct {
		uint8_t code[2], vector;
		uint32_t before, after;
	} rows[] = {
		{ { 0x0f, 0x0b }, 6, 0, RF }, /* ud2, a fault: set */
		{ { 0xcd, 40 }, 40, RF, 0 },  /* int 40: clear (SDM 17.3.1.1) */
		{ { HLT }, 33, IF, IF },      /* an interrupt: what the program had */
		{ { HLT }, 33, IF | RF, IF | RF },
	};

	(void)state;
	for (unsigned n = 0; n < 3 * sizeof(rows) / sizeof(rows[0]); n++) {
		unsigned row = n / 3, page = n % 3;
		struct emu_exit x;
		struct emu_state s;
		struct machine m;

		start(&m, PAGING_4);
		memcpy(m.ram + CODE, rows[row].code, 2);
		s = state_of(&m);
		s.rflags |= rows[row].before;
		assert_int_equal(emu_vcpu_set_state(m.vcpu, &s), 0);
		if (rows[row].vector == 33)
			assert_int_equal(emu_vcpu_inject_interrupt(m.vcpu, 33), 0);
		assert_int_equal(emu_vm_intercept_page(m.vm, STACK - 0x1000, pages[page].what), 0);
		x = run(&m, pages[page].exit);
		assert_int_equal(x.idt_vectoring & 0x800000ff, 0x80000000 | rows[row].vector);
		s = state_of(&m);
		assert_int_equal(s.rflags, 2 | rows[row].after);
		assert_int_equal(s.rip, CODE);
		assert_int_equal(s.gpr[EMU_RSP], STACK);
		stop(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_page_exit_in_delivery_saves_the_resume_flag_of_the_frame),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
