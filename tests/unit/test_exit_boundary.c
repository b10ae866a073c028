/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What waits or holds between two instructions: pending debug exceptions and the events that drop them,
 * RFLAGS.RF, the monitor's step; and that neither a host fault nor an exit in the midst of a delivery
 * loses any of it.
 */
#include "tests/unit/exit_vm.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#define INSN(bytes) (bytes), sizeof(bytes) - 1
enum { RF = 1 << 16, IF = 1 << 9 };

/* ------------------------------------------------------------------ pending debug exceptions */

static void test_pending_debug_set_by_the_hypervisor_is_delivered(void **state)
{
	static const struct {
		uint64_t pending, dr6;
	} rows[] = {
		{ 1 << 14, 0xffff4ff0 },
		{ 1 << 12 | 2, 0xffff0ff2 },
		{ 1 << 12 | 1 << 11, 0xffff07f0 },
		{ 2, 0 }, /* met, but not enabled: SDM 29.7.3 */
		{ 0, 0 },
	};
	(void)state;
	for (unsigned n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		struct emu_events events;
		if (n)
			machine_stop();
		machine_start(NULL, CPL0, INSN("\x90"), 0);
		emu_vcpu_get_events(vcpu, &events);
		assert_int_equal(events.pending_debug, 0);
		events.pending_debug = rows[n].pending;
		emu_vcpu_set_events(vcpu, &events);
		emu_vcpu_get_events(vcpu, &events);
		assert_int_equal(events.pending_debug, rows[n].dr6 ? rows[n].pending : 0);
		run(EMU_EXIT_VMCALL);
		assert_int_equal(now().rip, rows[n].dr6 ? HANDLERS + 16 * DB + 3 : CODE + 4);
		if (rows[n].dr6)
			assert_int_equal(now().dr[6], rows[n].dr6);
	}
}

static uint64_t pending(void)
{
	struct emu_events events;
	emu_vcpu_get_events(vcpu, &events);
	return events.pending_debug;
}

static void set_pending(uint64_t debug, uint8_t shadow)
{
	struct emu_events events;
	emu_vcpu_get_events(vcpu, &events);
	events.pending_debug = debug;
	events.interrupt.shadow = shadow;
	emu_vcpu_set_events(vcpu, &events);
}

/* SDM 29.7.3: a VM entry that injects an event leaves no debug exception pending… */
static void test_pending_debug_is_dropped_by_an_injected_event(void **state)
{
	enum { EXTERNAL, SOFTWARE, NMI, EXCEPTION, KINDS };
	static const unsigned vectors[] = { 0x40, 0x41, 2, UD };
	(void)state;
	for (unsigned kind = 0; kind < KINDS; kind++) {
		struct emu_events events;
		if (kind)
			machine_stop();
		machine_start(NULL, CPL0, INSN("\x90"), 0);
		EDIT_STATE(s.rflags |= IF);
		emu_vcpu_get_events(vcpu, &events);
		events.interrupt.injected = kind == EXTERNAL || kind == SOFTWARE;
		events.interrupt.soft = kind == SOFTWARE;
		events.interrupt.vector = (uint8_t)vectors[kind];
		events.nmi.injected = kind == NMI;
		events.exception.injected = kind == EXCEPTION;
		events.exception.vector = UD;
		events.pending_debug = 1 << 14;
		emu_vcpu_set_events(vcpu, &events);
		run(EMU_EXIT_VMCALL);
		assert_int_equal(now().rip, HANDLERS + 16 * vectors[kind] + 3);
		assert_int_equal(now().dr[6], 0xffff0ff0);
		assert_int_equal(now().gpr[EMU_RSP], STACK - 40); /* one frame */
		assert_int_equal(pending(), 0);
	}
}

/* …but those behind MOV SS outlive a software interrupt: as if that were the next instruction. */
static void test_pending_debug_behind_mov_ss_outlives_a_software_interrupt(void **state)
{
	struct emu_events events;
	(void)state;
	machine_start(NULL, CPL0, INSN("\x90"), 0);
	emu_vcpu_get_events(vcpu, &events);
	events.interrupt.injected = events.interrupt.soft = true;
	events.interrupt.vector = 0x41;
	events.interrupt.shadow = EMU_SHADOW_MOV_SS;
	events.pending_debug = 1 << 12 | 1;
	emu_vcpu_set_events(vcpu, &events);
	run(EMU_EXIT_VMCALL);
	assert_int_equal(now().rip, HANDLERS + 16 * DB + 3);
	assert_int_equal(now().dr[6], 0xffff0ff1);
	assert_int_equal(now().gpr[EMU_RSP], STACK - 88); /* two, each from a multiple of 16 */
}

/* A VM entry that fails changes nothing. */
static void test_pending_debug_outlives_an_entry_that_fails(void **state)
{
	(void)state;
	machine_start(NULL, CPL0, INSN("\x90"), 0);
	set_pending(1 << 14, 0);
	assert_int_equal(emu_vcpu_inject_interrupt(vcpu, 0x40), 0); /* IF is clear */
	run(EMU_EXIT_ENTRY_FAILURE);
	assert_int_equal(pending(), 1 << 14);
}

/* The trap has the higher priority (SDM 7.9): what ends the run finds it delivered. */
static void test_pending_debug_is_delivered_before_a_kick_is_answered(void **state)
{
	(void)state;
	machine_start(NULL, CPL0, INSN("\x90"), 0);
	set_pending(1 << 14, 0);
	emu_vcpu_kick(vcpu);
	run(EMU_EXIT_KICKED);
	assert_int_equal(now().rip, HANDLERS + 16 * DB);
	assert_int_equal(now().dr[6], 0xffff4ff0);
	assert_int_equal(pending(), 0);
	machine_stop();
	/* behind MOV SS it has to wait: the kick does not */
	machine_start(NULL, CPL0, INSN("\x90"), 0);
	set_pending(1 << 14, EMU_SHADOW_MOV_SS);
	emu_vcpu_kick(vcpu);
	run(EMU_EXIT_KICKED);
	assert_int_equal(now().rip, CODE);
	assert_int_equal(pending(), 1 << 14);
}

/* ------------------------------------------------------------------ RFLAGS.RF: SDM 17.3.1.1 */

/* `code` with RF and breakpoints on its first byte and behind it: the second is met. */
static void resumes_past_one_breakpoint(const char *code, size_t length, uint64_t rdi, uint64_t rcx)
{
	machine_start(NULL, CPL0, code, length, rdi);
	want(1u << DB);
	EDIT_STATE(s.rflags |= RF; s.gpr[EMU_RCX] = rcx; s.gpr[EMU_RSI] = BUFFER; s.dr[0] = CODE;
		   s.dr[1] = CODE + length; s.dr[7] = 0x405);
	emu_vcpu_set_bus_lock_exiting(vcpu, false);
	struct emu_exit x;
	do
		assert_int_equal(emu_vcpu_run(vcpu, 0, &x), 0);
	while (x.type == EMU_EXIT_MMIO);
	assert_int_equal(x.type, EMU_EXIT_EXCEPTION);
	assert_int_equal(x.qualification, 2);
	assert_int_equal(now().rip, CODE + length);
	machine_stop();
	/* without one on it: the engine executes it, with others perhaps */
	machine_start(NULL, CPL0, code, length, rdi);
	want(1u << DB);
	EDIT_STATE(s.rflags |= RF; s.gpr[EMU_RCX] = rcx; s.gpr[EMU_RSI] = BUFFER;
		   s.dr[1] = CODE + length; s.dr[7] = 0x404);
	emu_vcpu_set_bus_lock_exiting(vcpu, false);
	do
		assert_int_equal(emu_vcpu_run(vcpu, 0, &x), 0);
	while (x.type == EMU_EXIT_MMIO);
	assert_int_equal(x.type, EMU_EXIT_EXCEPTION);
	assert_int_equal(now().rip, CODE + length);
	machine_stop();
}

static void test_resume_flag_covers_one_instruction_whatever_executes_it(void **state)
{
	(void)state;
	resumes_past_one_breakpoint(INSN("\x90"), 0, 0);
	resumes_past_one_breakpoint(INSN("\x8b\x07"), BUFFER, 0);
	resumes_past_one_breakpoint(INSN("\xd9\xe8"), 0, 0); /* FLD1 */
	resumes_past_one_breakpoint(INSN("\xf0\xff\x07"), SPLIT, 0);
	resumes_past_one_breakpoint(INSN("\x0f\x31"), 0, 0);      /* RDTSC */
	resumes_past_one_breakpoint(INSN("\x8b\x07"), COLD, 0);   /* a bus lock in the walk */
	resumes_past_one_breakpoint(INSN("\xf3\xa4"), TARGET, 3); /* all of its iterations */
	resumes_past_one_breakpoint(INSN("\x8b\x07"), COLD_DEVICE, 0);
	resumes_past_one_breakpoint(INSN("\x89\x07"), COLD_DEVICE, 0);
}

/* ------------------------------------------------------------------ the monitor's single step */

static void test_monitors_step_and_the_guests_breakpoint_are_one_debug_exit(void **state)
{
	const struct emu_debug debug = { .single_step = true };
	(void)state;
	machine_start(NULL, CPL0, INSN("\xf0\x01\x07"), SPLIT);
	emu_vcpu_set_bus_lock_exiting(vcpu, false);
	EDIT_STATE(s.dr[0] = SPLIT; s.dr[7] = 0x400 | 1 | 0xd << 16);
	emu_vcpu_set_debug(vcpu, &debug);
	struct emu_exit x = run(EMU_EXIT_DEBUG);
	assert_int_equal(x.qualification, 1 << 14 | 1);
	assert_int_equal(now().rip, CODE + 3);
}

/* A lock in the delivery of an interrupt is no instruction of its own. */
static void test_monitors_step_into_a_handler_ends_at_one_place_locks_or_not(void **state)
{
	const struct emu_debug debug = { .single_step = true };
	(void)state;
	for (unsigned lock = 0; lock < 2; lock++) {
		if (lock)
			machine_stop();
		machine_start(NULL, CPL0, INSN("\x90"), 0);
		emu_vcpu_set_bus_lock_exiting(vcpu, false);
		if (lock) {
			declare_uc(GDT);
			set_gates(CODE0_FRESH);
		}
		memcpy(ram + HANDLERS + 16 * 0x40, "\x90\x0f\x01\xc1", 4);
		EDIT_STATE(s.rflags |= IF);
		assert_int_equal(emu_vcpu_inject_interrupt(vcpu, 0x40), 0);
		emu_vcpu_set_debug(vcpu, &debug);
		run(EMU_EXIT_DEBUG);
		assert_int_equal(locks, lock);
		assert_int_equal(now().rip, HANDLERS + 16 * 0x40 + 1);
	}
}

/* ------------------------------------------------------------------ host memory that goes away */

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	if (!emu_host_fault(info->si_addr, context))
		_exit(99);
}

/* Runs into the page at `gpa`, which nobody has said is gone. */
static void run_into_hole(uint64_t gpa)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct sigaction before;
	struct emu_exit x;
	assert_int_equal(sigaction(SIGSEGV, &action, &before), 0);
	assert_int_equal(mprotect(ram + gpa, 4096, PROT_NONE), 0);
	assert_int_equal(emu_vcpu_run(vcpu, 0, &x), -EFAULT);
	assert_int_equal(x.word, 0); /* no bus lock */
	assert_int_equal(mprotect(ram + gpa, 4096, PROT_READ | PROT_WRITE), 0);
	sigaction(SIGSEGV, &before, NULL);
}

/* AMD: half a task switch cannot be taken back, its locks do not exit. Only its own. */
static void test_host_fault_in_a_task_switch_ends_it(void **state)
{
	const struct emu_config amd = { .vendor = EMU_AMD };
	(void)state;
	machine_start(&amd, MODE_32, INSN("\xea\0\0\0\0\x58\0"), 0);
	/* the new task's CS is the first descriptor of the page that goes away */
	memcpy(ram + TARGET - 0x60, ram + GDT, 0x60);
	put(TSS2 + 76, 0x60, 4);
	EDIT_STATE(s.gdt = ((struct emu_table){ TARGET - 0x60, 0xfff }));
	run_into_hole(TARGET);
	assert_int_equal(now().segment[EMU_TR].selector, TSS32_NEW); /* committed */
	memcpy(ram + CODE, "\x8e\xd8", 2);                           /* mov ds,eax */
	set_registers(MODE_32, 0);
	EDIT_STATE(s.gpr[EMU_RAX] = DATA0_FRESH);
	declare_uc(GDT);
	struct emu_exit x = run(EMU_EXIT_BUS_LOCK);
	assert_int_equal(x.lock.stuffed, EMU_STUFFED_DESCRIPTOR);
}

static void test_host_fault_leaves_the_apic_page_virtualized(void **state)
{
	(void)state;
	machine_start(NULL, CPL0, INSN("\x89\x07"), TARGET + 0x80);
	intercept(EMU_PAGE_APIC_WRITE);
	run_into_hole(TARGET);
	assert_int_equal(now().rip, CODE);
	run(EMU_EXIT_APIC_WRITE);
}

static void test_host_fault_leaves_data_breakpoints_in_force(void **state)
{
	(void)state;
	/* mov eax,[rdi]; mov ecx,[rdi+4] */
	machine_start(NULL, CPL0, INSN("\x8b\x07\x8b\x4f\x04"), TARGET);
	EDIT_STATE(s.dr[0] = TARGET + 4; s.dr[7] = 0x400 | 1 | 0xfu << 16);
	run_into_hole(TARGET);
	assert_int_equal(now().rip, CODE);
	run(EMU_EXIT_VMCALL);
	assert_int_equal(now().rip, HANDLERS + 16 * DB + 3);
	assert_int_equal(now().dr[6], 0xffff0ff1);
}

/* ------------------------------------------------------------------ AMD: locks of event delivery */

/*
 * The first fault of a new task, #TS, is delivered through a descriptor whose accessed bit is a bus lock:
 * the exit in front of it is not the end of the #TS.
 */
static void first_fault_of_a_task(const char *code, size_t length)
{
	const struct emu_config amd = { .vendor = EMU_AMD };
	machine_start(&amd, MODE_32, code, length, 0);
	declare_uc(GDT);
	put(IDT + 8 * 0x40, (uint64_t)TSS32_NEW << 16 | 0x8500ull << 32, 8); /* task gate */
	put(IDT + 8 * 10, HANDLERS | (uint64_t)CODE0_FRESH << 16 | 0x8e00ull << 32, 8);
	put(GDT + CODE0_FRESH, 0x00cf9a000000ffff, 8);
	put(TSS2 + 84, CODE32 + 0x100, 4); /* DS: beyond the limit */
	put(HANDLERS, 0xf4, 1);
	put(TASK, 0xf4, 1);
	emu_vcpu_set_bus_lock_counter(vcpu, 1); /* the busy bit */
	struct emu_exit x = run(EMU_EXIT_BUS_LOCK);
	assert_int_equal(x.lock.stuffed, EMU_STUFFED_DESCRIPTOR);
	assert_int_equal(x.idt_vectoring, 0x80000b0a);
	assert_int_equal(now().rip, TASK);
	emu_vcpu_set_bus_lock_counter(vcpu, 1);
	run(EMU_EXIT_HLT);
	assert_int_equal(now().rip, HANDLERS + 1);
	machine_stop();
}

static void test_delivery_stopped_by_a_lock_begins_again_in_a_new_task(void **state)
{
	(void)state;
	first_fault_of_a_task(INSN("\xea\0\0\0\0\x58\0"));
	first_fault_of_a_task(INSN("\xcd\x40"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_teardown(f, machine_end)
		T(test_pending_debug_set_by_the_hypervisor_is_delivered),
		T(test_pending_debug_is_dropped_by_an_injected_event),
		T(test_pending_debug_behind_mov_ss_outlives_a_software_interrupt),
		T(test_pending_debug_outlives_an_entry_that_fails),
		T(test_pending_debug_is_delivered_before_a_kick_is_answered),
		T(test_resume_flag_covers_one_instruction_whatever_executes_it),
		T(test_monitors_step_and_the_guests_breakpoint_are_one_debug_exit),
		T(test_monitors_step_into_a_handler_ends_at_one_place_locks_or_not),
		T(test_host_fault_in_a_task_switch_ends_it),
		T(test_host_fault_leaves_the_apic_page_virtualized),
		T(test_host_fault_leaves_data_breakpoints_in_force),
		T(test_delivery_stopped_by_a_lock_begins_again_in_a_new_task),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
