/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Accessed and busy bits of descriptors, event delivery, and what AMD and the disabling of locks make
 * of stuffed locks, by running guests.
 */
#include "tests/unit/stuffed_vm.h"

/* ------------------------------------------------------------------ descriptors */

static void use_gdt(struct machine *m, uint32_t at)
{
	struct emu_state s = state_of(m);

	make_gdt(m, at);
	s.gdt.base = at;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
}

static void assert_descriptor_lock(const struct emu_lock *lock, unsigned cause,
				   enum emu_stuffed what, uint32_t linear)
{
	assert_int_equal(lock->cause, cause | EMU_LOCK_STUFFED);
	assert_int_equal(lock->stuffed, what);
	assert_int_equal(lock->linear, linear);
	assert_int_equal(lock->gpa, linear);
	assert_int_equal(lock->size, 8);
}

/* Entry FRESH_DATA lies at 0x18: with the table at 0x..25 its 8 bytes are on two lines. */
#define MISALIGNED (GDT + 0x25)
/* The same for TSS_SEL (0x28) and FRESH_CODE (0x20). */
#define TSS_ACROSS  (GDT + 0x15)
#define CODE_ACROSS (GDT + 0x1d)

static void test_descriptor_accessed_bit_across_a_line_locks_once(void **state)
{
	(void)state;
	for (enum paging paging = 0; paging < PAGINGS; paging++) {
		struct emu_exit x;
		struct machine m;

		start(&m, paging);
		use_gdt(&m, MISALIGNED);
		/* mov ds, ax; mov es, ax; hlt */
		CODE_AT(&m, CODE, 0x8e, 0xd8, 0x8e, 0xc0, HLT);
		set_reg(&m, EMU_RAX, FRESH_DATA);
		x = run(&m, EXIT_BUS_LOCK);
		assert_descriptor_lock(&x.lock, EMU_LOCK_SPLIT, EMU_STUFFED_DESCRIPTOR,
				       MISALIGNED + FRESH_DATA);
		assert_int_equal(x.lock.rip, CODE);
		assert_int_equal(x.lock.insn[0], 0x8e);
		assert_int_equal(rip_of(&m), CODE + 2);
		assert_true(descriptor_high(&m, FRESH_DATA) & ACCESSED);
		run(&m, EMU_EXIT_HLT);
		assert_int_equal(m.locks, 1);
		stop(&m);
	}
}

static void test_descriptor_within_a_line_locks_only_where_memory_is_not_wb(void **state)
{
	(void)state;
	for (unsigned uc = 0; uc < 2; uc++) {
		struct emu_stats stats;
		struct machine m;

		start(&m, PAGING_4);
		CODE_AT(&m, CODE, 0x8e, 0xd8, 0x8e, 0xc0, HLT);
		set_reg(&m, EMU_RAX, FRESH_DATA);
		if (uc)
			uncached(&m, GDT);
		if (uc) {
			struct emu_exit x = run(&m, EXIT_BUS_LOCK);

			assert_descriptor_lock(&x.lock, EMU_LOCK_NON_WB, EMU_STUFFED_DESCRIPTOR,
					       GDT + FRESH_DATA);
		}
		run(&m, EMU_EXIT_HLT);
		assert_true(descriptor_high(&m, FRESH_DATA) & ACCESSED);
		emu_vcpu_get_stats(m.vcpu, &stats);
		assert_int_equal(stats.stuffed, uc);
		assert_int_equal(stats.locked, uc);
		stop(&m);
	}
}

/* Every instruction that loads a segment register, with a fresh descriptor across a line. */
static void test_descriptor_lock_of_each_instruction(void **state)
{
	static const struct {
		uint8_t code[12], length;
		bool code_segment;
		uint32_t behind; /* 0: the next instruction */
	} rows[] = {
		{ { 0x8e, 0xe0 }, 2, false, 0 },       /* mov fs, ax */
		{ { 0x8e, 0xd0 }, 2, false, 0 },       /* mov ss, ax */
		{ { 0x1f }, 1, false, 0 },             /* pop ds */
		{ { 0x0f, 0xa9 }, 2, false, 0 },       /* pop gs */
		{ { 0xc5, 0x3b }, 2, false, 0 },       /* lds edi, [ebx] */
		{ { 0x0f, 0xb2, 0x3b }, 3, false, 0 }, /* lss edi, [ebx] */
		{ { 0xea, 0x00, 0x20, 0x10, 0x00, FRESH_CODE, 0x00 }, 7, true, 0x102000 },
		{ { 0x9a, 0x00, 0x20, 0x10, 0x00, FRESH_CODE, 0x00 }, 7, true, 0x102000 },
		{ { 0xcb }, 1, true, 0x102000 }, /* retf */
		{ { 0xcf }, 1, true, 0x102000 }, /* iret */
	};

	(void)state;
	for (unsigned n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		unsigned selector = rows[n].code_segment ? FRESH_CODE : FRESH_DATA;
		uint32_t table = rows[n].code_segment ? CODE_ACROSS : MISALIGNED;
		struct emu_exit x;
		struct machine m;

		start(&m, PAGING_32);
		use_gdt(&m, table);
		memcpy(m.ram + CODE, rows[n].code, rows[n].length);
		m.ram[CODE + rows[n].length] = m.ram[0x102000] = HLT;
		set_reg(&m, EMU_RAX, selector);
		put(&m, STACK, rows[n].code_segment ? 0x102000 : FRESH_DATA, 4);
		put(&m, STACK + 4, FRESH_CODE, 4);
		put(&m, STACK + 8, 2, 4);
		put(&m, DATA, STACK, 4);
		put(&m, DATA + 4, FRESH_DATA, 4);
		x = run(&m, EXIT_BUS_LOCK);
		assert_descriptor_lock(&x.lock, EMU_LOCK_SPLIT, EMU_STUFFED_DESCRIPTOR,
				       table + selector);
		assert_int_equal(x.lock.insn_length, rows[n].length);
		assert_int_equal(rip_of(&m),
				 rows[n].behind ? rows[n].behind : CODE + rows[n].length);
		run(&m, EMU_EXIT_HLT);
		assert_int_equal(m.locks, 1);
		stop(&m);
	}
}

/* A refused load sets no bit and locks nothing. */
static void test_descriptor_of_a_load_that_faults_locks_nothing(void **state)
{
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	use_gdt(&m, MISALIGNED);
	CODE_AT(&m, CODE, 0x8e, 0xd0); /* mov ss, ax: not present */
	descriptor(&m, FRESH_DATA, 0, 0xfffff, 0x00cf1200);
	set_reg(&m, EMU_RAX, FRESH_DATA);
	run(&m, EMU_EXIT_HLT);
	assert_int_equal(rip_of(&m), HANDLER + 16 * 12 + 1);
	assert_int_equal(m.locks, 0);
	assert_false(descriptor_high(&m, FRESH_DATA) & ACCESSED);
	stop(&m);
}

/* ------------------------------------------------------------------ the busy bit */

static void test_busy_bit_of_ltr(void **state)
{
	(void)state;
	for (enum paging paging = 0; paging < PAGINGS; paging++) {
		struct emu_exit x;
		struct machine m;

		start(&m, paging);
		use_gdt(&m, TSS_ACROSS);
		CODE_AT(&m, CODE, 0x0f, 0x00, 0xd8, HLT); /* ltr ax */
		set_reg(&m, EMU_RAX, TSS_SEL);
		x = run(&m, EXIT_BUS_LOCK);
		assert_descriptor_lock(&x.lock, EMU_LOCK_SPLIT, EMU_STUFFED_BUSY,
				       TSS_ACROSS + TSS_SEL);
		assert_int_equal(rip_of(&m), CODE + 3);
		assert_true(descriptor_high(&m, TSS_SEL) & BUSY);
		run(&m, EMU_EXIT_HLT);
		assert_int_equal(m.locks, 1);
		stop(&m);
	}
}

static void make_task(struct machine *m, uint32_t tss, uint32_t eip, unsigned cs, unsigned ds)
{
	static const uint8_t data[] = { 72, 80, 84, 88, 92 };

	memset(m->ram + tss, 0, 0x68);
	put(m, tss + 28, TABLE(2), 4); /* CR3 */
	put(m, tss + 32, eip, 4);
	put(m, tss + 36, 2, 4);
	put(m, tss + 56, STACK, 4);
	put(m, tss + 76, cs, 4);
	for (unsigned n = 0; n < sizeof(data); n++)
		put(m, tss + data[n], ds, 4);
}

static void use_tr(struct machine *m, unsigned selector)
{
	struct emu_state s = state_of(m);

	s.segment[EMU_TR].selector = (uint16_t)selector;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
}

/* CALL and JMP set the new task's bit by a lock; IRET back sets none and clears by a plain write. */
static void test_busy_bit_of_a_task_switch(void **state)
{
	(void)state;
	for (unsigned call = 0; call < 2; call++) {
		struct emu_exit x;
		struct machine m;

		start(&m, PAGING_32);
		uncached(&m, GDT);
		make_task(&m, TSS2, 0x102000, CODE_SEL, DATA_SEL);
		put(&m, TSS + 28, TABLE(2), 4);
		descriptor(&m, TSS_SEL, TSS, 0x67, 0x8b00);
		use_tr(&m, TSS_SEL);
		CODE_AT(&m, CODE, call ? 0x9a : 0xea, 0, 0, 0, 0, TSS2_SEL, 0, 0x90, HLT);
		CODE_AT(&m, 0x102000, 0xcf, HLT); /* iret */
		x = run(&m, EXIT_BUS_LOCK);
		assert_descriptor_lock(&x.lock, EMU_LOCK_NON_WB, EMU_STUFFED_BUSY, GDT + TSS2_SEL);
		assert_int_equal(x.lock.rip, CODE);
		assert_int_equal(x.lock.insn_length, 7);
		assert_int_equal(rip_of(&m), 0x102000);
		assert_int_equal(m.locks, 1);
		assert_true(descriptor_high(&m, TSS2_SEL) & BUSY);
		assert_int_equal(!!(descriptor_high(&m, TSS_SEL) & BUSY), call);
		if (call) {
			run(&m, EMU_EXIT_HLT);
			assert_int_equal(rip_of(&m), CODE + 9);
			assert_false(descriptor_high(&m, TSS2_SEL) & BUSY);
		}
		assert_int_equal(m.locks, 1);
		stop(&m);
	}
}

/*
 * A jump to the running task, whose descriptor the program has made available: SDM 7.3 clears the old
 * task's bit before it sets the new one's, so the bit of the one descriptor ends up set.
 */
static void test_busy_bit_of_a_jump_to_the_running_task_stays_set(void **state)
{
	struct machine m;

	(void)state;
	start(&m, PAGING_32);
	use_tr(&m, TSS_SEL);
	make_task(&m, TSS, 0x102000, CODE_SEL, DATA_SEL);
	CODE_AT(&m, CODE, 0xea, 0, 0, 0, 0, TSS_SEL, 0, HLT);
	m.ram[0x102000] = HLT;
	run(&m, EMU_EXIT_HLT);
	assert_int_equal(state_of(&m).segment[EMU_TR].selector, TSS_SEL);
	assert_true(descriptor_high(&m, TSS_SEL) & BUSY);
	stop(&m);
}

/*
 * The T flag of a task whose switch took a lock: its trap waits behind the exit as bit 15, which goes
 * back in as it came out. RTM (bit 16) comes with others and is active low in DR6.
 */
static void test_task_trap_waits_behind_the_bus_lock_exit(void **state)
{
	(void)state;
	for (unsigned rtm = 0; rtm < 2; rtm++) {
		struct emu_events events;
		struct machine m;

		start(&m, PAGING_32);
		uncached(&m, GDT);
		make_task(&m, TSS2, 0x102000, CODE_SEL, DATA_SEL);
		put(&m, TSS2 + 100, 1, 2);
		CODE_AT(&m, CODE, 0xea, 0, 0, 0, 0, TSS2_SEL, 0);
		run(&m, EXIT_BUS_LOCK);
		emu_vcpu_get_events(m.vcpu, &events);
		assert_int_equal(events.pending_debug, 1 << 15);
		events.pending_debug |= (uint64_t)rtm << 16;
		emu_vcpu_set_events(m.vcpu, &events);
		run(&m, EMU_EXIT_HLT);
		assert_int_equal(rip_of(&m), HANDLER + 16 + 1);
		assert_int_equal(state_of(&m).dr[6] & 0x1e00f, rtm ? 0x8000 : 0x18000);
		stop(&m);
	}
}

/* The new task's fresh segments: one lock each, one exit behind the switch. */
static void test_busy_bit_and_segments_of_a_task_make_one_exit(void **state)
{
	struct emu_exit x;
	struct machine m;

	(void)state;
	start(&m, PAGING_32);
	uncached(&m, GDT);
	make_task(&m, TSS2, 0x102000, FRESH_CODE, FRESH_DATA);
	CODE_AT(&m, CODE, 0xea, 0, 0, 0, 0, TSS2_SEL, 0);
	m.ram[0x102000] = HLT;
	x = run(&m, EXIT_BUS_LOCK);
	assert_int_equal(m.locks, 3);
	assert_int_equal(x.lock.stuffed, EMU_STUFFED_BUSY);
	assert_int_equal(m.lock[1].linear, GDT + FRESH_CODE);
	assert_int_equal(m.lock[1].linear_rip, CODE); /* not the new task's */
	assert_int_equal(m.lock[2].linear, GDT + FRESH_DATA);
	run(&m, EMU_EXIT_HLT);
	stop(&m);
}

/* ------------------------------------------------------------------ event delivery */

/* The handler's code segment is fresh: INT n, an exception, an interrupt, an NMI. */
static void test_delivery_lock_exits_in_front_of_the_handler(void **state)
{
	static const struct {
		unsigned vector;
		uint32_t info; /* SDM 27.9.3 */
	} rows[] = { { 40, 0x80000428 }, { 6, 0x80000306 },  { 33, 0x80000021 },
		     { 2, 0x80000202 },  { 14, 0x80000b0e }, { 3, 0x80000603 } };

	(void)state;
	for (unsigned vectoring = 0; vectoring < 2; vectoring++) {
		for (unsigned n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
			const struct emu_config config = {
				.delivery_lock = vectoring ? EMU_DELIVERY_LOCK_VECTORING
							   : EMU_DELIVERY_LOCK_AFTER
			};
			unsigned vector = rows[n].vector;
			struct emu_exit x;
			struct machine m;

			start_with(&m, PAGING_4, &config);
			uncached(&m, GDT);
			make_idt(&m, FRESH_CODE);
			if (vector == 40)
				CODE_AT(&m, CODE, 0xcd, 40);
			else if (vector == 6)
				CODE_AT(&m, CODE, 0x0f, 0x0b);
			else if (vector == 3)
				CODE_AT(&m, CODE, 0xcc);
			else if (vector == 14)
				CODE_AT(&m, CODE, 0xa1, 0, 0, 0, 0, 0, 1, 0,
					0); /* mov eax, [2^40] */
			else
				CODE_AT(&m, CODE, 0xeb, 0xfe);
			if (vector == 33) {
				struct emu_state s = state_of(&m);

				s.rflags |= 1 << 9;
				assert_int_equal(emu_vcpu_set_state(m.vcpu, &s), 0);
				assert_int_equal(emu_vcpu_inject_interrupt(m.vcpu, 33), 0);
			}
			if (vector == 2)
				emu_vcpu_inject_nmi(m.vcpu);
			x = run(&m, EXIT_BUS_LOCK);
			assert_descriptor_lock(&x.lock, EMU_LOCK_NON_WB, EMU_STUFFED_DESCRIPTOR,
					       GDT + FRESH_CODE);
			assert_true(x.lock.in_delivery);
			assert_int_equal(x.lock.insn_length, 0);
			assert_int_equal(x.lock.rip, CODE);
			assert_int_equal(rip_of(&m), HANDLER + 16 * vector);
			assert_int_equal(x.idt_vectoring, vectoring ? rows[n].info : 0);
			run(&m, EMU_EXIT_HLT);
			assert_int_equal(rip_of(&m), HANDLER + 16 * vector + 1);
			assert_int_equal(m.locks, 1);
			stop(&m);
		}
	}
}

/* The stack's page is fresh, too: two locks, one exit; and a second event finds all bits set. */
static void test_delivery_locks_of_tables_and_stack_make_one_exit(void **state)
{
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	uncached(&m, GDT);
	uncached(&m, TABLE(1));
	make_idt(&m, FRESH_CODE);
	entry_bits(&m, 1, STACK - 8, 0, A | D);
	entry_bits(&m, 1, IDT, 0, A);
	CODE_AT(&m, CODE, 0xcd, 40);
	run(&m, EXIT_BUS_LOCK);
	assert_int_equal(m.locks, 3);
	for (unsigned n = 0; n < 3; n++)
		assert_true(m.lock[n].in_delivery);
	run(&m, EMU_EXIT_HLT);
	set_rip(&m, CODE);
	run(&m, EMU_EXIT_HLT);
	assert_int_equal(m.locks, 3);
	stop(&m);
}

/* ------------------------------------------------------------------ AMD */

static const struct emu_config amd = { .vendor = EMU_AMD };

static void test_amd_exit_is_in_front_of_the_update(void **state)
{
	static const uint8_t codes[][3] = { { 0x8b, 0x03, HLT }, { 0xd9, 0x03, HLT } };

	(void)state;
	for (unsigned n = 0; n < 2; n++) {
		struct emu_exit x;
		struct machine m;

		start_with(&m, PAGING_4, &amd);
		memcpy(m.ram + CODE, codes[n], 3);
		entry_bits(&m, 1, DATA, 0, A);
		uncached(&m, TABLE(1));
		for (unsigned turn = 0; turn < 2; turn++) {
			x = run(&m, EXIT_BUS_LOCK);
			assert_paging_lock(&m, &x.lock, entry_at(&m, 1, DATA), CODE);
			assert_int_equal(rip_of(&m), CODE);
			assert_false(entry_has(&m, 1, DATA, A));
			assert_int_equal(m.locks, 0); /* none has happened */
		}
		emu_vcpu_set_bus_lock_counter(m.vcpu, 1);
		x = run(&m, EMU_EXIT_HLT);
		assert_false(x.bus_lock);
		assert_int_equal(m.locks, 1);
		assert_true(entry_has(&m, 1, DATA, A));
		stop(&m);
	}
}

/* Fetch, descriptor, busy bit: nothing has changed at the exit. */
static void test_amd_exit_of_other_stuffed_locks(void **state)
{
	struct machine m;

	(void)state;
	start_with(&m, PAGING_4, &amd);
	m.ram[CODE] = HLT;
	entry_bits(&m, 1, CODE, 0, A);
	uncached(&m, TABLE(1));
	run(&m, EXIT_BUS_LOCK);
	assert_int_equal(rip_of(&m), CODE);
	assert_false(entry_has(&m, 1, CODE, A));
	emu_vcpu_set_bus_lock_counter(m.vcpu, 1);
	run(&m, EMU_EXIT_HLT);
	stop(&m);

	for (unsigned busy = 0; busy < 2; busy++) {
		unsigned selector = busy ? TSS_SEL : FRESH_DATA;
		uint32_t bit = busy ? BUSY : ACCESSED;

		start_with(&m, PAGING_4, &amd);
		uncached(&m, GDT);
		if (busy)
			CODE_AT(&m, CODE, 0x0f, 0x00, 0xd8, HLT);
		else
			CODE_AT(&m, CODE, 0x8e, 0xd8, HLT);
		set_reg(&m, EMU_RAX, selector);
		run(&m, EXIT_BUS_LOCK);
		assert_int_equal(rip_of(&m), CODE);
		assert_false(descriptor_high(&m, selector) & bit);
		emu_vcpu_set_bus_lock_counter(m.vcpu, 1);
		run(&m, EMU_EXIT_HLT);
		assert_true(descriptor_high(&m, selector) & bit);
		assert_int_equal(m.locks, 1);
		stop(&m);
	}
}

/* Half a task switch cannot be taken back: what the new task's descriptors lock has no exit. */
static void test_amd_task_switch_that_has_begun_goes_on(void **state)
{
	struct machine m;

	(void)state;
	start_with(&m, PAGING_32, &amd);
	uncached(&m, GDT);
	make_task(&m, TSS2, 0x102000, FRESH_CODE, FRESH_DATA);
	CODE_AT(&m, CODE, 0xea, 0, 0, 0, 0, TSS2_SEL, 0);
	m.ram[0x102000] = HLT;
	run(&m, EXIT_BUS_LOCK);
	assert_int_equal(rip_of(&m), CODE);
	assert_false(descriptor_high(&m, TSS2_SEL) & BUSY);
	assert_int_equal(get(&m, TSS + 32, 4), 0); /* nor is the old task saved */
	emu_vcpu_set_bus_lock_counter(m.vcpu, 1);
	run(&m, EMU_EXIT_HLT);
	assert_int_equal(rip_of(&m), 0x102001);
	assert_int_equal(m.locks, 3);
	stop(&m);
}

/* An event whose delivery was stopped is not lost; it begins anew. */
static void test_amd_exit_in_a_delivery_keeps_the_event(void **state)
{
	static const unsigned vectors[] = { 33, 2, 6, 14, 40 };

	(void)state;
	for (unsigned n = 0; n < sizeof(vectors) / sizeof(vectors[0]); n++) {
		unsigned vector = vectors[n];
		struct emu_state s;
		struct emu_exit x;
		struct machine m;

		start_with(&m, PAGING_4, &amd);
		uncached(&m, GDT);
		make_idt(&m, FRESH_CODE);
		s = state_of(&m);
		s.rflags |= 1 << 9;
		assert_int_equal(emu_vcpu_set_state(m.vcpu, &s), 0);
		if (vector == 40)
			CODE_AT(&m, CODE, 0xcd, 40);
		else if (vector == 6)
			CODE_AT(&m, CODE, 0x0f, 0x0b);
		else if (vector == 14)
			CODE_AT(&m, CODE, 0xa1, 0, 0, 0, 0, 0, 1, 0, 0);
		else
			CODE_AT(&m, CODE, 0xeb, 0xfe);
		if (vector == 33)
			assert_int_equal(emu_vcpu_inject_interrupt(m.vcpu, 33), 0);
		if (vector == 2)
			emu_vcpu_inject_nmi(m.vcpu);
		for (unsigned turn = 0; turn < 2; turn++) {
			x = run(&m, EXIT_BUS_LOCK);
			assert_int_equal(x.idt_vectoring & 0xff, vector);
			assert_int_equal(rip_of(&m), CODE);
			assert_int_equal(state_of(&m).gpr[EMU_RSP], STACK);
			assert_false(descriptor_high(&m, FRESH_CODE) & ACCESSED);
		}
		emu_vcpu_set_bus_lock_counter(m.vcpu, 1);
		run(&m, EMU_EXIT_HLT);
		assert_int_equal(rip_of(&m), HANDLER + 16 * vector + 1);
		assert_int_equal(m.locks, 1);
		if (vector == 14) {
			assert_int_equal(state_of(&m).cr2, 1ull << 40);
			assert_int_equal(get(&m, STACK - 48, 8),
					 0); /* error code: a read, not there */
		}
		stop(&m);
	}
}

/* ------------------------------------------------------------------ faults instead */

/* SDM 11.1.2.3: split-lock disable is about every split lock, and UC-lock disable about these. */
static void test_disabled_locks_fault_before_the_update(void **state)
{
	const struct emu_cpuid leaves[] = {
		{ .function = 0, .eax = 7 },
		{ .function = 1, .edx = 1u << 12 },
		{ .function = 7, .has_index = true, .edx = 1u << 30 },
	};
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	assert_int_equal(emu_vcpu_set_cpuid(m.vcpu, leaves, 3), 0);
	assert_int_equal(emu_vcpu_set_msr(m.vcpu, 0x33, 1ull << 28, false), 0);
	CODE_AT(&m, CODE, 0x8b, 0x03);
	entry_bits(&m, 1, DATA, 0, A);
	uncached(&m, TABLE(1));
	run(&m, EMU_EXIT_HLT);
	assert_int_equal(rip_of(&m), HANDLER + 16 * 13 + 1);
	assert_false(entry_has(&m, 1, DATA, A));
	assert_int_equal(m.locks, 0);
	stop(&m);

	start(&m, PAGING_4);
	assert_int_equal(emu_vcpu_set_cpuid(m.vcpu, leaves, 3), 0);
	assert_int_equal(emu_vcpu_set_msr(m.vcpu, 0x33, 1ull << 29, false), 0);
	use_gdt(&m, MISALIGNED);
	CODE_AT(&m, CODE, 0x8e, 0xd8);
	set_reg(&m, EMU_RAX, FRESH_DATA);
	run(&m, EMU_EXIT_HLT);
	assert_int_equal(rip_of(&m), HANDLER + 16 * 17 + 1);
	assert_false(descriptor_high(&m, FRESH_DATA) & ACCESSED);
	assert_int_equal(m.locks, 0);
	stop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_descriptor_accessed_bit_across_a_line_locks_once),
		cmocka_unit_test(test_descriptor_within_a_line_locks_only_where_memory_is_not_wb),
		cmocka_unit_test(test_descriptor_lock_of_each_instruction),
		cmocka_unit_test(test_descriptor_of_a_load_that_faults_locks_nothing),
		cmocka_unit_test(test_busy_bit_of_ltr),
		cmocka_unit_test(test_busy_bit_of_a_task_switch),
		cmocka_unit_test(test_busy_bit_of_a_jump_to_the_running_task_stays_set),
		cmocka_unit_test(test_task_trap_waits_behind_the_bus_lock_exit),
		cmocka_unit_test(test_busy_bit_and_segments_of_a_task_make_one_exit),
		cmocka_unit_test(test_delivery_lock_exits_in_front_of_the_handler),
		cmocka_unit_test(test_delivery_locks_of_tables_and_stack_make_one_exit),
		cmocka_unit_test(test_amd_exit_is_in_front_of_the_update),
		cmocka_unit_test(test_amd_exit_of_other_stuffed_locks),
		cmocka_unit_test(test_amd_task_switch_that_has_begun_goes_on),
		cmocka_unit_test(test_amd_exit_in_a_delivery_keeps_the_event),
		cmocka_unit_test(test_disabled_locks_fault_before_the_update),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
