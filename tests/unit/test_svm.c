// SPDX-License-Identifier: GPL-2.0-only
/* The processor as AMD's: Bus Lock Threshold (APM 15.14.5), exit codes (APM appendix C). */
#include "emu/svm.h"

#include "tests/unit/vcpu_vm.h"

#include <errno.h>
#include <stdio.h>

#define COUNT(x) (sizeof(x) / sizeof((x)[0]))

static void observe(void *opaque, struct emu_vcpu *vcpu, const struct emu_lock *lock)
{
	struct machine *m = opaque;

	(void)vcpu;
	(void)lock;
	m->told++;
}

static void start(struct machine *m, const struct emu_config *config)
{
	struct emu_state s;

	machine_start(m, config, false);
	s = state_of(m);
	s.gpr[EMU_RBX] = DATA + 62;
	s.gpr[EMU_RCX] = 4, s.gpr[EMU_RSI] = s.gpr[EMU_RDI] = DATA; /* of string instructions */
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
	emu_vm_set_lock_observer(m->vm, observe, m);
	emu_vcpu_set_bus_lock_exiting(m->vcpu, true);
}

static int begin(void **state)
{
	static const struct emu_config amd = { .vendor = EMU_AMD };
	struct machine *m = calloc(1, sizeof(*m));

	start(m, &amd);
	*state = m;
	return 0;
}

#define LOCK_INC_RBX 0xf0, 0xff, 0x03 /* lock inc dword [rbx] */

static uint32_t data_of(const struct machine *m)
{
	uint32_t value;

	memcpy(&value, m->ram + DATA + 62, 4);
	return value;
}

static struct emu_stats stats_of(const struct machine *m)
{
	struct emu_stats stats;

	emu_vcpu_get_stats(m->vcpu, &stats);
	return stats;
}

/* ------------------------------------------------------------------ the threshold */

static void test_svm_bus_lock_with_counter_0_leaves_before_anything_happens(void **state)
{
	struct machine *m = *state;
	struct emu_state before, after;
	struct emu_exit x;

	CODE_AT(m, CODE, LOCK_INC_RBX, 0xf4);
	before = state_of(m);
	before.rflags |= 0x8d5; /* whatever INC would change */
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &before), 0);
	/* and again and again, as long as the counter stays 0 */
	for (int n = 0; n < 3; n++) {
		x = run(m, EMU_EXIT_BUS_LOCK);
		assert_int_equal(x.word, SVM_BUSLOCK);
		assert_int_equal(x.qualification, 0);
		assert_int_equal(x.guest_physical, 0);
		assert_int_equal(x.idt_vectoring, 0);
		assert_true(x.bus_lock);
		assert_int_equal(x.lock.cause, EMU_LOCK_SPLIT);
		assert_int_equal(x.lock.linear, DATA + 62);
		assert_int_equal(x.lock.size, 4);
		assert_int_equal(x.lock.rip, CODE);
		after = state_of(m);
		assert_memory_equal(before.gpr, after.gpr, sizeof(before.gpr));
		assert_int_equal(after.rip, before.rip);
		assert_int_equal(after.rflags, before.rflags);
		assert_memory_equal(before.dr, after.dr, sizeof(before.dr));
		assert_int_equal(data_of(m), 0);
	}
	assert_int_equal(m->told, 0);
	assert_int_equal(stats_of(m).bus_locks, 0);
	assert_int_equal(stats_of(m).locked, 0);
}

static void test_svm_counter_lets_that_many_locks_through(void **state)
{
	struct machine *m = *state;

	/* three split locks, an aligned one between */
	CODE_AT(m, CODE, LOCK_INC_RBX, 0xf0, 0xff, 0x43, 0x02 /* lock inc dword [rbx+2] */,
		LOCK_INC_RBX, LOCK_INC_RBX, 0xf4);
	emu_vcpu_set_bus_lock_counter(m->vcpu, 2);
	run(m, EMU_EXIT_BUS_LOCK);
	assert_int_equal(state_of(m).rip, CODE + 10);
	assert_int_equal(emu_vcpu_bus_lock_counter(m->vcpu), 0);
	assert_int_equal(data_of(m), 2 + (1 << 16));
	assert_int_equal(m->told, 2);
	assert_int_equal(stats_of(m).bus_locks, 2);
	assert_int_equal(stats_of(m).locked, 3);
	emu_vcpu_set_bus_lock_counter(m->vcpu, 0xffff);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(emu_vcpu_bus_lock_counter(m->vcpu), 0xfffe);
	assert_int_equal(m->told, 3);
}

static void test_svm_counter_stands_still_while_the_intercept_is_off(void **state)
{
	struct machine *m = *state;

	CODE_AT(m, CODE, LOCK_INC_RBX, LOCK_INC_RBX, 0xf4);
	emu_vcpu_set_bus_lock_exiting(m->vcpu, false);
	emu_vcpu_set_bus_lock_counter(m->vcpu, 1);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(emu_vcpu_bus_lock_counter(m->vcpu), 1);
	assert_int_equal(stats_of(m).bus_locks, 2);
	assert_int_equal(m->told, 2);
}

static void test_svm_exit_keeps_the_sti_shadow_and_the_resume_flag(void **state)
{
	struct machine *m = *state;
	struct emu_events events;
	struct emu_state s;

	CODE_AT(m, CODE, 0xfb /* sti */, LOCK_INC_RBX, 0xf4);
	run(m, EMU_EXIT_BUS_LOCK);
	emu_vcpu_get_events(m->vcpu, &events);
	assert_int_equal(events.interrupt.shadow, EMU_SHADOW_STI);
	/* DR0 on the instruction; RF, as an IRET would have left it, still protects it */
	s = state_of(m);
	assert_int_equal(s.rip, CODE + 1);
	s.dr[0] = CODE + 1;
	s.dr[7] = 0x401 | 1;
	s.rflags |= 1u << 16;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
	run(m, EMU_EXIT_BUS_LOCK);
	assert_true(state_of(m).rflags & 1u << 16);
	emu_vcpu_set_bus_lock_counter(m->vcpu, 1);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(data_of(m), 1);
	assert_false(state_of(m).rflags & 1u << 16);
}

/* The same of an ordinary instruction, whose page's accessed bit lies in memory that is not WB. */
static void test_svm_exit_of_a_load_keeps_the_sti_shadow_and_the_resume_flag(void **state)
{
	const uint64_t first = 0xe3, cold = 0x83; /* 2 MB from 0, with and without accessed bit */
	struct machine *m = *state;

	CODE_AT(m, CODE, 0xfb /* sti */, 0x8b, 0x03 /* mov eax,[rbx] */, 0xf4);
	for (int window = 0; window < 2; window++) {
		struct emu_events events;
		struct emu_state s;

		memcpy(m->ram + 0x8000, &first, 8);
		memcpy(m->ram + 0x8008, &cold, 8);
		assert_int_equal(emu_vm_declare_memory_type(m->vm, 0x8000, 4096, EMU_MT_UC), 0);
		set_64bit(m->vcpu);
		s = state_of(m);
		s.gpr[EMU_RBX] = 0x200000 + DATA;
		s.dr[0] = CODE + 1;
		s.dr[7] = 0x400;
		assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
		emu_vcpu_request_interrupt_window(m->vcpu, window);
		run(m, EMU_EXIT_BUS_LOCK);
		emu_vcpu_get_events(m->vcpu, &events);
		assert_int_equal(events.interrupt.shadow, EMU_SHADOW_STI);
		s = state_of(m);
		assert_int_equal(s.rip, CODE + 1);
		s.dr[7] |= 1;
		s.rflags |= 1u << 16;
		assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
		run(m, EMU_EXIT_BUS_LOCK);
		emu_vcpu_get_events(m->vcpu, &events);
		assert_int_equal(events.interrupt.shadow, EMU_SHADOW_STI);
		assert_true(state_of(m).rflags & 1u << 16);
		emu_vcpu_set_bus_lock_counter(m->vcpu, 1);
		if (window)
			assert_int_equal(run(m, EMU_EXIT_INTERRUPT_WINDOW).word, SVM_VINTR);
		else
			run(m, EMU_EXIT_HLT);
		emu_vcpu_get_events(m->vcpu, &events);
		assert_int_equal(events.interrupt.shadow, 0);
		assert_int_equal(state_of(m).rip, window ? CODE + 3 : CODE + 4);
		assert_false(state_of(m).rflags & 1u << 16);
	}
}

static void test_svm_single_step_traps_behind_the_lock_not_at_the_exit(void **state)
{
	struct machine *m = *state;
	struct emu_state s;
	struct emu_exit x;

	CODE_AT(m, CODE, LOCK_INC_RBX, 0x90, 0xf4);
	s = state_of(m);
	s.rflags |= 1u << 8;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
	run(m, EMU_EXIT_BUS_LOCK);
	assert_int_equal(state_of(m).rip, CODE);
	assert_int_equal(data_of(m), 0);
	emu_vcpu_set_bus_lock_counter(m->vcpu, 1);
	x = run(m, EMU_EXIT_IO); /* the handler of #DB */
	assert_int_equal(x.io.data[0], 1);
	assert_int_equal(data_of(m), 1);
	assert_int_equal(state_of(m).dr[6], 0xffff4ff0);
}

/* The monitor's own single step: one #DB exit behind it, none at the bus lock. */
static void test_svm_debugger_steps_over_a_bus_lock_in_one_step(void **state)
{
	struct machine *m = *state;
	const struct emu_debug debug = { .single_step = true };
	struct emu_exit x;

	CODE_AT(m, CODE, LOCK_INC_RBX, 0x90, 0xf4);
	emu_vcpu_set_debug(m->vcpu, &debug);
	run(m, EMU_EXIT_BUS_LOCK);
	assert_int_equal(state_of(m).rip, CODE);
	emu_vcpu_set_bus_lock_counter(m->vcpu, 1);
	x = run(m, EMU_EXIT_DEBUG);
	assert_int_equal(x.word, SVM_EXCEPTION + 1);
	assert_int_equal(x.debug.rip, CODE + 3);
	assert_int_equal(x.debug.dr6, 0xffff4ff0); /* BLD, bit 11, set: it was no bus-lock trap */
	assert_int_equal(data_of(m), 1);
}

static void test_svm_kick_at_the_exit_is_kept_for_the_next_run(void **state)
{
	struct machine *m = *state;
	struct emu_exit x;

	CODE_AT(m, CODE, LOCK_INC_RBX, 0xf4);
	run(m, EMU_EXIT_BUS_LOCK);
	emu_vcpu_kick(m->vcpu);
	emu_vcpu_set_bus_lock_counter(m->vcpu, 1);
	x = run(m, EMU_EXIT_KICKED);
	assert_int_equal(x.word, SVM_INTR);
	assert_int_equal(emu_vcpu_bus_lock_counter(m->vcpu), 1);
	assert_int_equal(data_of(m), 0);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(data_of(m), 1);
}

/* The credit is the vCPU's: the next bus lock takes it, also in an interrupt handler. */
static void test_svm_credit_goes_to_the_handler_that_locks_first(void **state)
{
	struct machine *m = *state;
	struct emu_state s;

	CODE_AT(m, CODE, LOCK_INC_RBX, 0xf4);
	CODE_AT(m, 0xc000 + 16 * 0x40, LOCK_INC_RBX, 0x48, 0xcf /* iretq */);
	s = state_of(m);
	s.rflags |= 1u << 9;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
	run(m, EMU_EXIT_BUS_LOCK);
	emu_vcpu_set_bus_lock_counter(m->vcpu, 1);
	assert_int_equal(emu_vcpu_inject_interrupt(m->vcpu, 0x40), 0);
	run(m, EMU_EXIT_BUS_LOCK);
	assert_int_equal(state_of(m).rip, CODE);
	assert_int_equal(data_of(m), 1);
	assert_int_equal(emu_vcpu_bus_lock_counter(m->vcpu), 0);
	emu_vcpu_set_bus_lock_counter(m->vcpu, 1);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(data_of(m), 2);
	assert_int_equal(m->told, 2);
}

/* ------------------------------------------------------------------ what is misaligned */

static void test_svm_lock_cause_follows_the_boundary(void **state)
{
	static const struct {
		unsigned boundary;
		uint64_t linear;
		uint32_t size;
		bool split;
	} rows[] = {
		{ 64, 62, 4, true },
		{ 64, 60, 4, false },
		{ 64, 30, 4, false },
		{ 32, 30, 4, true },
		{ 32, 62, 4, true },
		{ 32, 14, 4, false },
		{ 16, 14, 4, true },
		{ 16, 30, 4, true },
		{ 16, 6, 4, false },
		{ 8, 6, 4, true },
		{ 8, 5, 4, true },
		{ 8, 4, 4, false },
		{ 8, 2, 4, false },
		{ 8, 7, 2, true },
		{ 8, 7, 1, false },
		{ 8, 1, 8, true },
		{ 8, 8, 8, false },
		{ 16, 8, 16, true },
		/* aligned to its own size, though larger than the block */
		{ 8, 16, 16, false },
		{ 8, 0, 16, false },
		{ 8, 24, 16, true },
		{ 64, 48, 16, false },
		{ 64, 56, 16, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		unsigned cause = rows[i].split ? EMU_LOCK_SPLIT : EMU_LOCK_NONE;

		if (emu_bus_lock_cause_at(rows[i].linear, rows[i].size, EMU_MT_WB,
					  rows[i].boundary) != cause)
			fail_msg("row %zu", i);
		assert_int_equal(emu_bus_lock_cause_at(rows[i].linear, rows[i].size, EMU_MT_WC,
						       rows[i].boundary),
				 cause | EMU_LOCK_NON_WB);
	}
}

static void test_svm_boundary_below_the_line_makes_more_locks_misaligned(void **state)
{
	static const unsigned boundaries[] = { 0, 8, 16, 32, 64 };
	/* dwords at these offsets of a line */
	static const uint8_t offsets[] = { 2, 6, 14, 30, 62 };

	(void)state;
	for (size_t b = 0; b < COUNT(boundaries); b++) {
		const struct emu_config config = { .vendor = EMU_AMD,
						   .lock_boundary = boundaries[b] };
		unsigned block = boundaries[b] ? boundaries[b] : 64, expected = 0;
		struct machine m;

		start(&m, &config);
		emu_vcpu_set_bus_lock_exiting(m.vcpu, false);
		for (size_t i = 0; i < COUNT(offsets); i++) {
			/* lock inc dword [rbx + offset - 62] */
			CODE_AT(&m, CODE + 4 * i, 0xf0, 0xff, 0x43, (uint8_t)(offsets[i] - 62));
			expected += offsets[i] % block + 4u > block;
		}
		m.ram[CODE + 4 * COUNT(offsets)] = 0xf4;
		run(&m, EMU_EXIT_HLT);
		assert_int_equal(stats_of(&m).bus_locks, expected);
		assert_int_equal(stats_of(&m).split, expected);
		machine_stop(&m);
	}
}

static void test_vm_create_refuses_boundaries_that_no_processor_has(void **state)
{
	static const struct {
		enum emu_vendor vendor;
		unsigned boundary;
		int result;
	} rows[] = {
		{ EMU_AMD, 4, -EINVAL },   { EMU_AMD, 24, -EINVAL },   { EMU_AMD, 128, -EINVAL },
		{ EMU_INTEL, 8, -EINVAL }, { EMU_INTEL, 32, -EINVAL }, { EMU_INTEL, 64, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct emu_config config = { .vendor = rows[i].vendor,
						   .lock_boundary = rows[i].boundary };
		struct emu_vm *vm = NULL;

		assert_int_equal(emu_vm_create(&config, &vm), rows[i].result);
		emu_vm_destroy(vm);
	}
}

/* ------------------------------------------------------------------ exit codes */

static void test_svm_exits_have_their_codes_and_exitinfo1(void **state)
{
	static const struct {
		enum emu_exit_type type;
		uint32_t code;
		uint64_t info1;
		uint8_t insn[12];
	} rows[] = {
		{ EMU_EXIT_HLT, 0x78, 0, { 0xf4 } },
		/* OUT 0x55, AL: SZ8, A64, port; IN EAX, DX: IN, SZ32, A64 */
		{ EMU_EXIT_IO, 0x7b, 0x550210, { 0xe6, 0x55 } },
		{ EMU_EXIT_IO, 0x7b, 0x120241, { 0x66, 0xba, 0x12, 0, 0xed } },
		/* REP INSB: IN, STR, REP, SZ8, A64, ES */
		{ EMU_EXIT_IO, 0x7b, 0x12021d, { 0x66, 0xba, 0x12, 0, 0xf3, 0x6c } },
		/* A32 OUTSW FS: STR, SZ16, A32, FS */
		{ EMU_EXIT_IO, 0x7b, 0x121124, { 0x66, 0xba, 0x12, 0, 0x64, 0x67, 0x66, 0x6f } },
		{ EMU_EXIT_RDMSR, 0x7c, 0, { 0xb9, 0x34, 0x12, 0, 0, 0x0f, 0x32 } },
		{ EMU_EXIT_WRMSR, 0x7c, 1, { 0xb9, 0x34, 0x12, 0, 0, 0x0f, 0x30 } },
		{ EMU_EXIT_VMCALL, 0x81, 0, { 0x0f, 0x01, 0xd9 } },
		/* MOV CR8: to 5, back to 0 */
		{ EMU_EXIT_SET_TPR,
		  0x18,
		  0,
		  { 0xb0, 5, 0x44, 0x0f, 0x22, 0xc0, 0x30, 0xc0, 0x44, 0x0f, 0x22, 0xc0 } },
		/* MOV AL, [rbx + 0x100000]; MOV [rbx + 0x100000], AL: no slot */
		{ EMU_EXIT_MMIO, 0x400, 0x100000004, { 0x8a, 0x83, 0, 0, 0x10, 0 } },
		{ EMU_EXIT_MMIO, 0x400, 0x100000006, { 0x88, 0x83, 0, 0, 0x10, 0 } },
		/* FLD1 of a device has nobody to emulate it: FLD dword [rbx + 0x100000] */
		{ EMU_EXIT_INTERNAL_ERROR, 0x400, 0, { 0xd9, 0x83, 0, 0, 0x10, 0 } },
		{ EMU_EXIT_BUS_LOCK, 0xa5, 0, { LOCK_INC_RBX } },
	};
	static const struct emu_config amd = { .vendor = EMU_AMD };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct machine m;
		struct emu_exit x;

		start(&m, &amd);
		emu_vm_set_msr_exits(m.vm, true);
		memcpy(m.ram + CODE, rows[i].insn, sizeof(rows[i].insn));
		assert_int_equal(emu_vcpu_run(m.vcpu, 0, &x), 0);
		if (x.type != rows[i].type || x.word != rows[i].code ||
		    x.qualification != rows[i].info1)
			fail_msg("row %zu: exit %d, %#x, %#llx", i, x.type, x.word,
				 (unsigned long long)x.qualification);
		machine_stop(&m);
	}
}

static void test_svm_events_of_the_monitor_have_their_codes(void **state)
{
	struct machine *m = *state;
	const struct emu_debug debug = { .software_breakpoints = true };
	struct emu_state s;
	struct emu_exit x;

	emu_vcpu_kick(m->vcpu);
	assert_int_equal(run(m, EMU_EXIT_KICKED).word, SVM_INTR);
	CODE_AT(m, CODE, 0xfb, 0x90, 0xcc, 0xf4);
	emu_vcpu_request_interrupt_window(m->vcpu, true);
	assert_int_equal(run(m, EMU_EXIT_INTERRUPT_WINDOW).word, SVM_VINTR);
	emu_vcpu_request_interrupt_window(m->vcpu, false);
	emu_vcpu_set_debug(m->vcpu, &debug);
	x = run(m, EMU_EXIT_DEBUG);
	assert_int_equal(x.word, SVM_EXCEPTION + 3);
	/* no IDT: triple fault */
	s = state_of(m);
	s.idt.limit = 0;
	s.rip = CODE + 0x100;
	CODE_AT(m, CODE + 0x100, 0x0f, 0x0b);
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
	assert_int_equal(run(m, EMU_EXIT_SHUTDOWN).word, SVM_SHUTDOWN);
	/* an interrupt that IF forbids: VMRUN refuses it */
	s.rflags = 2;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
	assert_int_equal(emu_vcpu_inject_interrupt(m->vcpu, 0x40), 0);
	assert_int_equal(run(m, EMU_EXIT_ENTRY_FAILURE).word, SVM_INVALID);
}

/* APM 15.12.2: DR6 at the intercept of #DB is what the handler would have found. */
static void test_svm_intercepted_exceptions_have_dr6_and_error_code(void **state)
{
	struct machine *m = *state;
	const struct emu_controls controls = { .exception_bitmap = 1u << 1 | 1u << 13 };
	struct emu_state s = state_of(m);
	struct emu_exit x;

	emu_vcpu_set_controls(m->vcpu, &controls);
	CODE_AT(m, CODE, 0x90, 0x8e, 0xd0 /* mov ss, eax */);
	s.rflags |= 1u << 8;
	s.gpr[EMU_RAX] = 0x1234;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
	x = run(m, EMU_EXIT_EXCEPTION);
	assert_int_equal(x.word, SVM_EXCEPTION + 1);
	assert_int_equal(x.qualification, 0);
	assert_int_equal(state_of(m).dr[6], 0xffff4ff0);
	x = run(m, EMU_EXIT_EXCEPTION);
	assert_int_equal(x.word, SVM_EXCEPTION + 13);
	assert_int_equal(x.qualification, 0x1234);
}

/* EXITINFO2 (APM 15.12.15); CR2 has not changed. */
static void test_svm_intercepted_page_fault_tells_address_and_error_code(void **state)
{
	struct machine *m = *state;
	const struct emu_controls controls = { .exception_bitmap = 1u << 14 };
	struct emu_state s = state_of(m);
	struct emu_exit x;

	emu_vcpu_set_controls(m->vcpu, &controls);
	CODE_AT(m, CODE, 0x89, 0x03 /* mov [rbx],eax */);
	s.gpr[EMU_RBX] = 0x40000123;
	s.cr2 = 0x77;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
	x = run(m, EMU_EXIT_EXCEPTION);
	assert_int_equal(x.word, SVM_EXCEPTION + 14);
	assert_int_equal(x.qualification, 2); /* a write, not present */
	assert_int_equal(x.guest_linear, 0x40000123);
	assert_int_equal(state_of(m).cr2, 0x77);
}

/* EXITINTINFO knows four types: INT3 is an exception there (APM 15.7.2). */
static void test_svm_exit_in_the_delivery_of_int3_calls_it_an_exception(void **state)
{
	struct machine *m = *state;
	const uint64_t fresh = 0x00209a0000000000;
	struct emu_state s = state_of(m);
	struct emu_exit x;

	CODE_AT(m, CODE, 0xcc);
	s.gdt.base = GDT + 0x34; /* descriptor 8 lies in two lines */
	memcpy(m->ram + s.gdt.base + 8, &fresh, 8);
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
	x = run(m, EMU_EXIT_BUS_LOCK);
	assert_int_equal(x.idt_vectoring, 0x80000303);
	assert_int_equal(x.insn_length, 1);
	assert_int_equal(x.lock.stuffed, EMU_STUFFED_DESCRIPTOR);
	assert_true(x.lock.in_delivery);
	emu_vcpu_set_bus_lock_counter(m->vcpu, 1);
	x = run(m, EMU_EXIT_IO);
	assert_int_equal(x.io.data[0], 3);
}

/* An instruction in front of which the exit came has not executed: it counts once, when it does. */
static void test_svm_refused_instruction_is_not_counted(void **state)
{
	static const struct emu_config counting = { .vendor = EMU_AMD, .count = true };
	struct machine m;

	(void)state;
	start(&m, &counting);
	CODE_AT(&m, CODE, 0x90, LOCK_INC_RBX, 0xf4);
	for (int n = 0; n < 3; n++) {
		run(&m, EMU_EXIT_BUS_LOCK);
		assert_int_equal(stats_of(&m).instructions, 1);
	}
	emu_vcpu_set_bus_lock_counter(m.vcpu, 1);
	run(&m, EMU_EXIT_HLT);
	assert_int_equal(stats_of(&m).instructions, 3);
	machine_stop(&m);
}

/* A lock that was paid for and another exit of the same instruction: no sign of it in the exit. */
static void test_svm_other_exits_never_show_a_bus_lock(void **state)
{
	struct machine *m = *state;
	const struct emu_debug debug = { .single_step = true };
	struct emu_exit x;

	CODE_AT(m, CODE, LOCK_INC_RBX, 0xf4);
	emu_vcpu_set_debug(m->vcpu, &debug);
	emu_vcpu_set_bus_lock_counter(m->vcpu, 1);
	x = run(m, EMU_EXIT_DEBUG);
	assert_int_equal(x.word, SVM_EXCEPTION + 1);
	assert_false(x.bus_lock);
	assert_int_equal(m->told, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(test_svm_bus_lock_with_counter_0_leaves_before_anything_happens),
		TEST(test_svm_counter_lets_that_many_locks_through),
		TEST(test_svm_counter_stands_still_while_the_intercept_is_off),
		TEST(test_svm_exit_keeps_the_sti_shadow_and_the_resume_flag),
		TEST(test_svm_exit_of_a_load_keeps_the_sti_shadow_and_the_resume_flag),
		TEST(test_svm_single_step_traps_behind_the_lock_not_at_the_exit),
		TEST(test_svm_debugger_steps_over_a_bus_lock_in_one_step),
		TEST(test_svm_kick_at_the_exit_is_kept_for_the_next_run),
		TEST(test_svm_credit_goes_to_the_handler_that_locks_first),
		cmocka_unit_test(test_svm_lock_cause_follows_the_boundary),
		cmocka_unit_test(test_svm_boundary_below_the_line_makes_more_locks_misaligned),
		cmocka_unit_test(test_vm_create_refuses_boundaries_that_no_processor_has),
		cmocka_unit_test(test_svm_exits_have_their_codes_and_exitinfo1),
		TEST(test_svm_events_of_the_monitor_have_their_codes),
		TEST(test_svm_intercepted_exceptions_have_dr6_and_error_code),
		TEST(test_svm_intercepted_page_fault_tells_address_and_error_code),
		TEST(test_svm_exit_in_the_delivery_of_int3_calls_it_an_exception),
		cmocka_unit_test(test_svm_refused_instruction_is_not_counted),
		TEST(test_svm_other_exits_never_show_a_bus_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
