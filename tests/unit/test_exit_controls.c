/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The exits that a hypervisor asks for: exceptions, monitor trap flag, task switches, pages. What of
 * them has to do with bus locks is in test_exit_matrix.c; here are their details.
 */
#include "tests/unit/exit_vm.h"

#include <errno.h>
#include <stdio.h>

#define INSN(bytes) (bytes), sizeof(bytes) - 1
enum { BP = 3, OF = 4, SS = 12, DF = 8, RF = 1 << 16, TF = 1 << 8, IF = 1 << 9 };

/* ------------------------------------------------------------------ exception bitmap: SDM 26.2 */

static void test_exception_intercepted_fault_changes_nothing_but_rf(void **state)
{
	(void)state;
	machine_start(NULL, CPL3, INSN("\x8b\x07"), COLD_ABSENT + 5);
	want(1u << PF);
	EDIT_STATE(s.cr2 = 0x1234);
	struct emu_state before = now();
	struct emu_exit x = run(EMU_EXIT_EXCEPTION);
	struct emu_state after = now();
	assert_int_equal(x.word, VMX_EXCEPTION_NMI);
	assert_int_equal(x.interruption, 0x80000b0e);
	assert_int_equal(x.interruption_error, 4); /* user, read, not present */
	assert_int_equal(x.qualification, COLD_ABSENT + 5);
	assert_int_equal(x.idt_vectoring, 0);
	assert_memory_equal(after.gpr, before.gpr, sizeof(after.gpr));
	assert_memory_equal(after.dr, before.dr, sizeof(after.dr));
	assert_int_equal(after.cr2, before.cr2);
	assert_int_equal(after.rip, before.rip);
	assert_int_equal(after.rflags, before.rflags | RF);
	struct emu_stats stats;
	emu_vcpu_get_stats(vcpu, &stats);
	assert_int_equal(stats.exceptions, 0);
}

static void test_exception_that_is_not_wanted_is_delivered(void **state)
{
	(void)state;
	machine_start(NULL, CPL0, INSN("\x0f\x0b"), 0);
	want(~(1u << UD));
	run(EMU_EXIT_VMCALL);
	assert_int_equal(now().rip, HANDLERS + 16 * UD + 3);
}

static void software_exception(const char *code, size_t length, uint32_t info)
{
	machine_start(NULL, CPL3, code, length, 0);
	want(1u << BP | 1u << OF | 1u << DB);
	EDIT_STATE(s.rflags |= 1 << 11);
	struct emu_exit x = run(EMU_EXIT_EXCEPTION);
	assert_int_equal(x.interruption, info);
	assert_int_equal(x.insn_length, 1);
	assert_int_equal(x.qualification, 0);
	assert_int_equal(now().rip, CODE);
	assert_int_equal(now().rflags & RF, 0);
}

static void test_exception_by_int3_and_int1_is_on_the_instruction_with_its_length(void **state)
{
	(void)state;
	software_exception(INSN("\xcc"), 0x80000603);
	machine_stop();
	software_exception(INSN("\xf1"), 0x80000501);
}

static void test_exception_bitmap_does_not_concern_int_n_or_injection(void **state)
{
	(void)state;
	machine_start(NULL, CPL0, INSN("\xcd\x03"), 0);
	want(~0u);
	run(EMU_EXIT_VMCALL);
	assert_int_equal(now().rip, HANDLERS + 16 * BP + 3);
	machine_stop();
	machine_start(NULL, CPL0, INSN("\x90"), 0);
	want(~0u);
	struct emu_events events;
	emu_vcpu_get_events(vcpu, &events);
	events.exception.injected = true;
	events.exception.vector = UD;
	emu_vcpu_set_events(vcpu, &events);
	run(EMU_EXIT_VMCALL);
	assert_int_equal(now().rip, HANDLERS + 16 * UD + 3);
}

/* An instruction that faults has not ended the shadow that STI began (SDM 28.3.4). */
static void test_exception_intercepted_keeps_the_interrupt_shadow(void **state)
{
	struct emu_events events;
	(void)state;
	machine_start(NULL, CPL0, INSN("\xfb\xf0\x01\x07"), COLD_ABSENT); /* sti; lock add */
	want(1u << PF);
	emu_vcpu_request_interrupt_window(vcpu, true);
	run(EMU_EXIT_EXCEPTION);
	emu_vcpu_get_events(vcpu, &events);
	assert_int_equal(events.interrupt.shadow, EMU_SHADOW_STI);
	assert_int_equal(now().rip, CODE + 1);
	machine_stop();
	machine_start(NULL, CPL0, INSN("\xfb\x8b\x07"), COLD_ABSENT); /* sti; mov */
	want(1u << PF);
	emu_vcpu_request_interrupt_window(vcpu, true);
	run(EMU_EXIT_EXCEPTION);
	emu_vcpu_get_events(vcpu, &events);
	assert_int_equal(events.interrupt.shadow, EMU_SHADOW_STI);
}

/* SDM 28.2.4: which exits count as being in event delivery */
static void test_exception_in_delivery_names_the_event_on_its_way(void **state)
{
	(void)state;
	/* INT 40h: its gate is not present */
	machine_start(NULL, CPL3, INSN("\xcd\x40"), 0);
	put(IDT + 16 * 0x40 + 4, 0x6e00, 4);
	want(1u << 11);
	struct emu_exit x = run(EMU_EXIT_EXCEPTION);
	assert_int_equal(x.interruption, 0x80000b0b);
	assert_int_equal(x.interruption_error, 0x40 << 3 | 2); /* IDT, not EXT */
	assert_int_equal(x.idt_vectoring, 0x80000440);
	assert_int_equal(x.insn_length, 2);
	assert_int_equal(now().rip, CODE);
	machine_stop();
	/* an external interrupt through it */
	machine_start(NULL, CPL3, INSN("\x90"), 0);
	put(IDT + 16 * 0x40 + 4, 0x6e00, 4);
	want(1u << 11);
	EDIT_STATE(s.rflags |= IF);
	assert_int_equal(emu_vcpu_inject_interrupt(vcpu, 0x40), 0);
	x = run(EMU_EXIT_EXCEPTION);
	assert_int_equal(x.interruption_error, 0x40 << 3 | 3);
	assert_int_equal(x.idt_vectoring, 0x80000040);
	assert_int_equal(now().rip, CODE);
}

static void double_fault(uint32_t wanted, uint32_t info, uint32_t vectoring)
{
	/* a #GP whose gate is not present: #NP, and so #DF */
	machine_start(NULL, CPL3, INSN("\xf4"), 0);
	put(IDT + 16 * GP + 4, 0x6e00, 4);
	want(wanted);
	struct emu_exit x = run(EMU_EXIT_EXCEPTION);
	assert_int_equal(x.interruption, info);
	assert_int_equal(x.idt_vectoring, vectoring);
	assert_int_equal(now().rip, CODE);
}

static void test_exception_second_fault_before_the_double_fault_it_would_make(void **state)
{
	(void)state;
	double_fault(1u << 11 | 1u << DF, 0x80000b0b, 0x80000b0d);
	machine_stop();
	double_fault(1u << DF, 0x80000b08, 0); /* not considered to be in delivery */
}

static void test_exception_that_would_be_the_third_is_seen_before_the_triple_fault(void **state)
{
	(void)state;
	machine_start(NULL, CPL3, INSN("\xf4"), 0);
	put(IDT + 16 * GP + 4, 0x6e00, 4);
	put(IDT + 16 * DF + 4, 0x0000, 4); /* of no type: #GP */
	want(1u << GP);
	struct emu_exit x = run(EMU_EXIT_EXCEPTION);
	assert_int_equal(x.interruption, 0x80000b0d);
	assert_int_equal(x.idt_vectoring, 0); /* HLT's own #GP, intercepted */
	machine_stop();
	machine_start(NULL, CPL3, INSN("\x0f\x0b"), 0);
	put(IDT + 16 * UD + 4, 0x6e00, 4);
	put(IDT + 16 * 11 + 4, 0x6e00, 4);
	put(IDT + 16 * DF + 4, 0x0000, 4);
	want(1u << GP);
	x = run(EMU_EXIT_EXCEPTION); /* #UD, #NP, #NP: #DF, #GP */
	assert_int_equal(x.interruption, 0x80000b0d);
	assert_int_equal(x.idt_vectoring, 0x80000b08);
}

static void test_exception_db_leaves_dr6_and_dr7_alone(void **state)
{
	(void)state;
	/* MOV from DR0 with DR7.GD */
	machine_start(NULL, CPL0, INSN("\x0f\x21\xc0"), 0);
	want(1u << DB);
	EDIT_STATE(s.dr[7] = 0x2400);
	struct emu_exit x = run(EMU_EXIT_EXCEPTION);
	assert_int_equal(x.interruption, 0x80000301);
	assert_int_equal(x.qualification, 1 << 13);
	assert_int_equal(now().dr[6], 0xffff0ff0);
	assert_int_equal(now().dr[7], 0x2400);
	assert_int_equal(now().rip, CODE);
}

/* ------------------------------------------------------------------ monitor trap flag: SDM 26.5.2 */

static void trap_at(uint64_t rip)
{
	struct emu_exit x = run(EMU_EXIT_MTF);
	assert_int_equal(x.word, VMX_MTF);
	assert_int_equal(x.qualification, 0);
	assert_int_equal(now().rip, rip);
}

static void test_mtf_comes_behind_each_instruction_whatever_executes_it(void **state)
{
	(void)state;
	/* nop; inc eax; lock inc dword [rdi]; rdtsc; cpuid; pushfq; fld1 */
	machine_start(NULL, CPL0, INSN("\x90\xff\xc0\xf0\xff\x07\x0f\x31\x0f\xa2\x9c\xd9\xe8"),
		      BUFFER);
	controls(0, true, false);
	static const unsigned lengths[] = { 1, 2, 3, 2, 2, 1, 2 };
	uint64_t rip = CODE;
	for (unsigned n = 0; n < sizeof(lengths) / sizeof(lengths[0]); n++)
		trap_at(rip += lengths[n]);
	run(EMU_EXIT_VMCALL);
}

static void test_mtf_comes_after_each_iteration_of_a_string_instruction(void **state)
{
	(void)state;
	machine_start(NULL, CPL0, INSN("\xf3\xa4"), BUFFER);
	EDIT_STATE(s.gpr[EMU_RCX] = 3; s.gpr[EMU_RSI] = TARGET);
	controls(0, true, false);
	for (unsigned left = 2; left > 0; left--) {
		trap_at(CODE);
		assert_int_equal(now().gpr[EMU_RCX], left);
	}
	trap_at(CODE + 2);
	assert_int_equal(now().gpr[EMU_RCX], 0);
}

static void test_mtf_comes_in_front_of_the_handler(void **state)
{
	(void)state;
	machine_start(NULL, CPL0, INSN("\x0f\x0b"), 0);
	controls(0, true, false);
	trap_at(HANDLERS + 16 * UD);
	machine_stop();
	machine_start(NULL, CPL0, INSN("\x90"), 0);
	EDIT_STATE(s.rflags |= IF);
	controls(0, true, false);
	assert_int_equal(emu_vcpu_inject_interrupt(vcpu, 0x40), 0);
	trap_at(HANDLERS + 16 * 0x40);
}

static void test_mtf_comes_before_the_debug_trap_which_stays_pending(void **state)
{
	struct emu_events events;
	(void)state;
	machine_start(NULL, CPL0, INSN("\x90"), 0);
	EDIT_STATE(s.rflags |= TF);
	controls(0, true, false);
	trap_at(CODE + 1);
	emu_vcpu_get_events(vcpu, &events);
	assert_int_equal(events.pending_debug, 1 << 14);
	controls(0, false, false);
	run(EMU_EXIT_VMCALL);
	assert_int_equal(now().rip, HANDLERS + 16 * DB + 3);
}

static void test_mtf_over_an_instruction_that_writes_its_own_page(void **state)
{
	(void)state;
	/* mov byte [rdi],0x90; the byte is the VMCALL's first, which becomes NOP */
	machine_start(NULL, CPL0, INSN("\xc6\x07\x90\x90"), CODE + 3);
	put(CODE + 3, 0xf4, 1); /* HLT until then */
	controls(0, true, false);
	trap_at(CODE + 3);
	trap_at(CODE + 4);
}

/* ------------------------------------------------------------------ task switches: SDM table 30-2 */

static void switches(const char *code, size_t length, uint64_t qualification, uint32_t vectoring)
{
	machine_start(NULL, MODE_32, code, length, 0);
	put(IDT + 8 * 0x40, (uint64_t)TSS32_NEW << 16 | 0x8500ull << 32, 8); /* task gate */
	controls(0, false, true);
	struct emu_exit x = run(EMU_EXIT_TASK_SWITCH);
	assert_int_equal(x.word, VMX_TASK_SWITCH);
	assert_int_equal(x.qualification, qualification);
	assert_int_equal(x.idt_vectoring, vectoring);
	assert_int_equal(x.insn_length, length);
	assert_int_equal(now().rip, CODE);
	assert_int_equal(ram[GDT + TSS32_NEW + 5], 0x89); /* nothing has been done */
	assert_int_equal(now().segment[EMU_TR].selector, TSS32_OLD);
	machine_stop();
}

static void test_task_switch_exit_names_selector_and_source(void **state)
{
	(void)state;
	switches(INSN("\x9a\0\0\0\0\x58\0"), TSS32_NEW, 0);
	switches(INSN("\xea\0\0\0\0\x58\0"), 2u << 30 | TSS32_NEW, 0);
	switches(INSN("\xcd\x40"), 3u << 30 | TSS32_NEW, 0x80000440);
	/* IRET with NT: back to the busy task whose selector is the link */
	machine_start(NULL, MODE_32, INSN("\xcf"), 0);
	put(TSS, TSS32_NEW, 2);
	put(GDT + TSS32_NEW + 5, 0x8b, 1);
	EDIT_STATE(s.rflags |= 1 << 14);
	controls(0, false, true);
	struct emu_exit x = run(EMU_EXIT_TASK_SWITCH);
	assert_int_equal(x.qualification, 1u << 30 | TSS32_NEW);
	assert_int_equal(x.insn_length, 1);
	machine_stop();
	/* an external interrupt through the task gate */
	machine_start(NULL, MODE_32, INSN("\x90"), 0);
	put(IDT + 8 * 0x40, (uint64_t)TSS32_NEW << 16 | 0x8500ull << 32, 8);
	EDIT_STATE(s.rflags |= IF);
	controls(0, false, true);
	assert_int_equal(emu_vcpu_inject_interrupt(vcpu, 0x40), 0);
	x = run(EMU_EXIT_TASK_SWITCH);
	assert_int_equal(x.qualification, 3u << 30 | TSS32_NEW);
	assert_int_equal(x.idt_vectoring, 0x80000040);
	assert_int_equal(x.insn_length, 0);
}

static void test_task_switch_faults_of_the_descriptor_come_before_the_exit(void **state)
{
	(void)state;
	machine_start(NULL, MODE_32, INSN("\xea\0\0\0\0\x58\0"), 0);
	put(GDT + TSS32_NEW + 5, 0x8b, 1); /* busy */
	controls(1u << GP, false, true);
	struct emu_exit x = run(EMU_EXIT_EXCEPTION);
	assert_int_equal(x.interruption, 0x80000b0d);
	assert_int_equal(x.interruption_error, TSS32_NEW);
}

/* ------------------------------------------------------------------ pages */

static struct emu_exit page_exit(enum emu_page_intercept what, const char *code, size_t length,
				 uint64_t rdi, enum emu_exit_type type)
{
	machine_start(NULL, CPL0, code, length, rdi);
	intercept(what);
	struct emu_exit x = run(type);
	assert_int_equal(now().rip, CODE);
	assert_true(now().rflags & RF); /* SDM 28.3.3 */
	return x;
}

static void violation(const char *code, size_t length, uint64_t rdi, uint64_t linear, uint64_t bits)
{
	struct emu_exit x = page_exit(EMU_PAGE_VIOLATION, code, length, rdi, EMU_EXIT_EPT);
	assert_int_equal(x.word, VMX_EPT_VIOLATION);
	assert_int_equal(x.qualification, 0x180 | bits);
	assert_int_equal(x.guest_linear, linear);
	assert_int_equal(x.guest_physical, linear);
	/* the page is what it was before once it is repaired */
	intercept(EMU_PAGE_ORDINARY);
	run(EMU_EXIT_VMCALL);
	machine_stop();
}

/* SDM table 30-7 */
static void test_page_violation_tells_access_and_addresses(void **state)
{
	(void)state;
	violation(INSN("\x8b\x07"), TARGET + 0x123, TARGET + 0x123, 1);
	violation(INSN("\x89\x07"), TARGET + 0x123, TARGET + 0x123, 2);
	violation(INSN("\xff\x07"), TARGET + 8, TARGET + 8, 3);
	violation(INSN("\xf0\xff\x07"), TARGET + 8, TARGET + 8, 3);
	violation(INSN("\x87\x07"), TARGET + 8, TARGET + 8, 3);
	violation(INSN("\xd9\x3f"), TARGET + 16, TARGET + 16, 2); /* FNSTCW */
	violation(INSN("\x8b\x07"), TARGET - 2, TARGET, 1);       /* its second half */
	violation(INSN("\x8e\x1f"), TARGET, TARGET, 1); /* MOV DS,[rdi]: a null selector */
}

static void test_page_violation_of_a_fetch(void **state)
{
	(void)state;
	machine_start(NULL, CPL0, INSN("\xff\xe7"), TARGET + 0x20); /* jmp rdi */
	memcpy(ram + TARGET + 0x20, "\x0f\x01\xc1", 3);
	intercept(EMU_PAGE_VIOLATION);
	struct emu_exit x = run(EMU_EXIT_EPT);
	assert_int_equal(x.qualification, 0x184);
	assert_int_equal(x.guest_linear, TARGET + 0x20);
	assert_int_equal(x.guest_physical, TARGET + 0x20);
	assert_int_equal(now().rip, TARGET + 0x20);
	intercept(EMU_PAGE_ORDINARY);
	run(EMU_EXIT_VMCALL);
	assert_int_equal(now().rip, TARGET + 0x23);
}

static void test_page_violation_of_a_paging_structure_is_not_the_final_access(void **state)
{
	(void)state;
	machine_start(NULL, CPL0, INSN("\x8b\x07"), 0x7f000);
	put(PD, TARGET | 0x67, 8); /* the page table is moved to the page that exits */
	memcpy(ram + TARGET, ram + PT, 4096);
	intercept(EMU_PAGE_VIOLATION);
	struct emu_exit x = run(EMU_EXIT_EPT);
	assert_int_equal(x.qualification, 0x81);
	assert_int_equal(x.guest_physical, TARGET + 8 * (CODE >> 12));
	assert_int_equal(x.guest_linear & ~0xfffull, CODE);
	intercept(EMU_PAGE_ORDINARY);
	run(EMU_EXIT_VMCALL);
}

static void test_page_misconfiguration_has_the_address_and_no_qualification(void **state)
{
	(void)state;
	struct emu_exit x =
		page_exit(EMU_PAGE_MISCONFIG, INSN("\x8b\x07"), TARGET + 0x123, EMU_EXIT_EPT);
	assert_int_equal(x.word, VMX_EPT_MISCONFIG);
	assert_int_equal(x.qualification, 0);
	assert_int_equal(x.guest_physical, TARGET + 0x123);
}

/* SDM table 30-6 */
static void test_page_apic_access_tells_offset_and_type(void **state)
{
	static const struct {
		const char *code;
		uint64_t qualification;
	} rows[] = { { "\x8b\x07", 0x0080 }, { "\x89\x07", 0x1080 }, { "\x87\x07", 0x1080 } };
	(void)state;
	for (unsigned n = 0; n < 3; n++) {
		if (n)
			machine_stop();
		struct emu_exit x = page_exit(EMU_PAGE_APIC_ACCESS, rows[n].code, 2, TARGET + 0x80,
					      EMU_EXIT_APIC_ACCESS);
		assert_int_equal(x.word, VMX_APIC_ACCESS);
		assert_int_equal(x.qualification, rows[n].qualification);
	}
	machine_stop();
	machine_start(NULL, CPL0, INSN("\xff\xe7"), TARGET + 0x20);
	intercept(EMU_PAGE_APIC_ACCESS);
	assert_int_equal(run(EMU_EXIT_APIC_ACCESS).qualification, 0x2020);
	machine_stop();
	/* the frame of an interrupt: type 3, and the interrupt is what was on its way */
	machine_start(NULL, CPL0, INSN("\x90"), 0);
	EDIT_STATE(s.gpr[EMU_RSP] = TARGET + 0x800; s.rflags |= IF);
	intercept(EMU_PAGE_APIC_ACCESS);
	assert_int_equal(emu_vcpu_inject_interrupt(vcpu, 0x40), 0);
	struct emu_exit x = run(EMU_EXIT_APIC_ACCESS);
	assert_int_equal(x.qualification >> 12, 3);
	assert_int_equal(x.idt_vectoring, 0x80000040);
}

static void test_page_apic_write_is_made_and_then_told(void **state)
{
	(void)state;
	/* mov eax,[rdi]; mov [rdi],ecx; lock inc dword [rdi]; mov eax,[rdi] */
	machine_start(NULL, CPL0, INSN("\x8b\x07\x89\x0f\xf0\xff\x07\x8b\x07"), TARGET + 0x300);
	EDIT_STATE(s.gpr[EMU_RCX] = 0x55);
	put(TARGET + 0x300, 0x1234, 4);
	intercept(EMU_PAGE_APIC_WRITE);
	struct emu_exit x = run(EMU_EXIT_APIC_WRITE);
	assert_int_equal(x.word, VMX_APIC_WRITE);
	assert_int_equal(x.qualification, 0x300);
	assert_int_equal(now().rip, CODE + 4);
	assert_int_equal(now().gpr[EMU_RAX], 0x1234); /* reads are not told */
	assert_int_equal(ram[TARGET + 0x300], 0x55);
	x = run(EMU_EXIT_APIC_WRITE);
	assert_int_equal(now().rip, CODE + 7);
	assert_int_equal(ram[TARGET + 0x300], 0x56);
	run(EMU_EXIT_VMCALL);
	assert_int_equal(now().gpr[EMU_RAX], 0x56);
}

static void test_page_intercepts_are_checked_and_replaced(void **state)
{
	(void)state;
	machine_start(NULL, CPL0, INSN("\x8b\x07"), TARGET);
	assert_int_equal(emu_vm_intercept_page(vm, TARGET + 1, EMU_PAGE_VIOLATION), -EINVAL);
	assert_int_equal(emu_vm_intercept_page(vm, TARGET, (enum emu_page_intercept)9), -EINVAL);
	assert_int_equal(emu_vm_intercept_page(vm, TARGET + 0x1000, EMU_PAGE_ORDINARY), 0);
	intercept(EMU_PAGE_MISCONFIG);
	intercept(EMU_PAGE_VIOLATION);
	assert_int_equal(run(EMU_EXIT_EPT).word, VMX_EPT_VIOLATION);
	/* seen also where the translation was in use */
	intercept(EMU_PAGE_ORDINARY);
	memcpy(ram + CODE, "\xf0\x01\x07\x0f\x01\xc1", 6);
	run(EMU_EXIT_VMCALL);
	intercept(EMU_PAGE_VIOLATION);
	EDIT_STATE(s.rip = CODE);
	run(EMU_EXIT_EPT);
	/* the hypervisor's own look is not the guest's */
	uint32_t value;
	assert_int_equal(emu_vm_read(vm, TARGET, &value, 4), 0);
}

/* ------------------------------------------------------------------ the exit word: SDM 27.9.1 */

static void text_is(uint32_t word, const char *expected)
{
	char text[80];
	assert_int_equal(emu_exit_word_text(word, text, sizeof(text)), (int)strlen(expected));
	assert_string_equal(text, expected);
}

static void test_exit_word_text_names_reason_and_bits(void **state)
{
	char text[12] = "";
	(void)state;
	machine_start(NULL, CPL0, INSN("\x90"), 0); /* for the teardown */
	text_is(74, "BUS_LOCK");
	text_is(0x0400004a, "BUS_LOCK, bus lock");
	text_is(0x04000030, "EPT_VIOLATION, bus lock");
	text_is(0x80000021, "INVALID_STATE, VM-entry failure");
	text_is(0x0e000000, "EXCEPTION_NMI, shadow stack busy, bus lock, enclave mode");
	text_is(200, "reason 200");
	text_is(0x4101000c, "HLT, 0x41010000");
	/* cut, but counted */
	assert_int_equal(emu_exit_word_text(0x04000030, text, sizeof(text)), 23);
	assert_string_equal(text, "EPT_VIOLATI");
	assert_int_equal(emu_exit_word_text(0x04000030, NULL, 0), 23);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_teardown(f, machine_end)
		T(test_exception_intercepted_fault_changes_nothing_but_rf),
		T(test_exception_that_is_not_wanted_is_delivered),
		T(test_exception_by_int3_and_int1_is_on_the_instruction_with_its_length),
		T(test_exception_bitmap_does_not_concern_int_n_or_injection),
		T(test_exception_intercepted_keeps_the_interrupt_shadow),
		T(test_exception_in_delivery_names_the_event_on_its_way),
		T(test_exception_second_fault_before_the_double_fault_it_would_make),
		T(test_exception_that_would_be_the_third_is_seen_before_the_triple_fault),
		T(test_exception_db_leaves_dr6_and_dr7_alone),
		T(test_mtf_comes_behind_each_instruction_whatever_executes_it),
		T(test_mtf_comes_after_each_iteration_of_a_string_instruction),
		T(test_mtf_comes_in_front_of_the_handler),
		T(test_mtf_comes_before_the_debug_trap_which_stays_pending),
		T(test_mtf_over_an_instruction_that_writes_its_own_page),
		T(test_task_switch_exit_names_selector_and_source),
		T(test_task_switch_faults_of_the_descriptor_come_before_the_exit),
		T(test_page_violation_tells_access_and_addresses),
		T(test_page_violation_of_a_fetch),
		T(test_page_violation_of_a_paging_structure_is_not_the_final_access),
		T(test_page_misconfiguration_has_the_address_and_no_qualification),
		T(test_page_apic_access_tells_offset_and_type),
		T(test_page_apic_write_is_made_and_then_told),
		T(test_page_intercepts_are_checked_and_replaced),
		T(test_exit_word_text_names_reason_and_bits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
