/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Accessed and dirty bits in paging structures that are not write-back, by running guests: who takes
 * the lock, that its exit comes right behind exactly that instruction, and that it is counted once.
 */
#include "tests/unit/stuffed_vm.h"

/* ------------------------------------------------------------------ accessed and dirty bits */

/* One exit behind the instruction for an A bit at each level, then for D; none when they are set. */
static void test_paging_bit_at_each_level_of_each_mode(void **state)
{
	(void)state;
	for (enum paging paging = 0; paging < PAGINGS; paging++) {
		for (unsigned level = 1; level <= modes[paging].levels; level++) {
			bool pdpte = paging == PAGING_PAE && level == 3;
			struct machine m;
			struct emu_exit x;

			start(&m, paging);
			CODE_AT(&m, CODE, 0x90, 0x8b, 0x03, /* nop; mov eax, [rbx] */
				0x89, 0x03,                 /* mov [rbx], eax */
				0x89, 0x03, 0x8b, 0x03, 0x8b, 0x03, HLT);
			entry_bits(&m, level, DATA, 0, pdpte ? 0 : A | (level == 1 ? D : 0));
			uncached(&m, TABLE(level));
			if (pdpte) { /* has neither */
				run(&m, EMU_EXIT_HLT);
				assert_int_equal(m.locks, 0);
				stop(&m);
				continue;
			}
			/* an upper level's bit is set by the first fetch already */
			x = run(&m, EXIT_BUS_LOCK);
			assert_int_equal(x.word, 74 | 1u << 26);
			assert_true(x.bus_lock);
			assert_paging_lock(&m, &x.lock, entry_at(&m, level, DATA),
					   level == 1 ? CODE + 1 : CODE);
			assert_int_equal(rip_of(&m), level == 1 ? CODE + 3 : CODE + 1);
			assert_int_equal(x.lock.insn_length, level == 1 ? 2 : 1);
			assert_int_equal(x.lock.insn[0], level == 1 ? 0x8b : 0x90);
			assert_true(entry_has(&m, level, DATA, A));
			if (level == 1) {
				assert_int_equal(x.lock.linear, DATA);
				assert_false(entry_has(&m, level, DATA, D));
				x = run(&m, EXIT_BUS_LOCK);
				assert_paging_lock(&m, &x.lock, entry_at(&m, 1, DATA), CODE + 3);
				assert_int_equal(rip_of(&m), CODE + 5);
				assert_true(entry_has(&m, level, DATA, D));
			}
			run(&m, EMU_EXIT_HLT);
			assert_int_equal(m.locks, level == 1 ? 2 : 1);
			stop(&m);
		}
	}
}

/* What no declaration says: PCD in the entry above the table, by PAT under each policy. */
static void test_paging_structures_uncached_by_the_guests_own_bits(void **state)
{
	static const struct {
		struct emu_config config;
		bool locks;
		unsigned type;
	} rows[] = {
		{ { .memory_policy = EMU_MEMORY_WB_IGNORE_PAT }, false, EMU_MT_WB },
		{ { .memory_policy = EMU_MEMORY_WB }, true, EMU_MT_UC },
		/* APM table 15-20: PAT UC, MTRR WB */
		{ { .vendor = EMU_AMD, .memory_policy = EMU_MEMORY_NPT }, true, EMU_MT_CD },
	};

	(void)state;
	for (unsigned row = 0; row < 3; row++) {
		for (enum paging paging = 0; paging < PAGINGS; paging++) {
			struct machine m;

			start_with(&m, paging, &rows[row].config);
			m.uc_is = rows[row].type;
			CODE_AT(&m, CODE, 0x8b, 0x03, HLT);
			/* the entry that leads to the last table */
			entry_bits(&m, 2, DATA, PCD | PWT, 0);
			entry_bits(&m, 1, DATA, 0, A);
			if (rows[row].locks) {
				struct emu_exit x = run(&m, EXIT_BUS_LOCK);

				assert_paging_lock(&m, &x.lock, entry_at(&m, 1, DATA), CODE);
				assert_int_equal(x.lock.guest_type, rows[row].type);
				/* AMD's exit came first, without the lock */
				assert_int_equal(m.locks, rows[row].config.vendor == EMU_INTEL);
				emu_vcpu_set_bus_lock_counter(m.vcpu, 1);
			}
			run(&m, EMU_EXIT_HLT);
			assert_int_equal(m.locks, rows[row].locks);
			assert_true(entry_has(&m, 1, DATA, A));
			stop(&m);
		}
	}
}

/* CR3's PCD makes the top table uncached; with CR4.PCIDE these bits are a PCID. */
static void test_paging_top_table_uncached_by_cr3(void **state)
{
	const struct emu_config config = { .memory_policy = EMU_MEMORY_WB };

	(void)state;
	for (enum paging paging = 0; paging < PAGINGS; paging++) {
		unsigned top = modes[paging].levels;
		struct machine m;
		struct emu_state s;

		if (paging == PAGING_PAE)
			continue; /* PDPTEs have no bits to set */
		start_with(&m, paging, &config);
		m.ram[CODE] = HLT;
		entry_bits(&m, top, 0, 0, A);
		s = state_of(&m);
		s.cr3 |= PCD | PWT;
		assert_int_equal(emu_vcpu_set_state(m.vcpu, &s), 0);
		run(&m, EMU_EXIT_HLT); /* the exit of the HLT goes first, with bit 26 */
		assert_int_equal(m.locks, 1);
		assert_int_equal(m.lock[0].gpa, TABLE(top));
		stop(&m);
	}
}

/* Each way in which an instruction reaches memory: by hand, in the engine, as a locked one … */
static void test_paging_lock_of_any_instruction_has_its_exit_right_behind_it(void **state)
{
	static const struct {
		uint8_t code[8], length;
		bool write;
	} rows[] = {
		{ { 0x8b, 0x03 }, 2, false },            /* mov eax, [rbx] */
		{ { 0x89, 0x03 }, 2, true },             /* mov [rbx], eax */
		{ { 0xff, 0x03 }, 2, true },             /* inc dword [rbx] */
		{ { 0x0f, 0x10, 0x03 }, 3, false },      /* movups xmm0, [rbx]: the engine's */
		{ { 0x0f, 0x11, 0x03 }, 3, true },       /* movups [rbx], xmm0 */
		{ { 0xd9, 0x03 }, 2, false },            /* fld dword [rbx] */
		{ { 0xdd, 0x1b }, 2, true },             /* fstp qword [rbx] */
		{ { 0xf0, 0xff, 0x03 }, 3, true },       /* lock inc dword [rbx] */
		{ { 0x87, 0x03 }, 2, true },             /* xchg eax, [rbx] */
		{ { 0xa4 }, 1, true },                   /* movsb */
		{ { 0x8f, 0x03 }, 2, true },             /* pop qword [rbx] */
		{ { 0xff, 0x33 }, 2, false },            /* push qword [rbx] */
		{ { 0x0f, 0xae, 0x1b }, 3, true },       /* stmxcsr [rbx] */
		{ { 0x0f, 0x01, 0x03 }, 3, true },       /* sgdt [rbx] */
		{ { 0x8c, 0x1b }, 2, true },             /* mov [rbx], ds */
		{ { 0x8e, 0x1b }, 2, false },            /* mov ds, [rbx] (null) */
		{ { 0x48, 0x0f, 0xc7, 0x0b }, 4, true }, /* cmpxchg16b [rbx], not locked */
	};

	(void)state;
	for (unsigned n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		const unsigned length = rows[n].length;
		struct emu_stats stats;
		struct emu_exit x;
		struct machine m;

		start(&m, PAGING_4);
		memset(m.ram + CODE, 0x90, 16);
		memcpy(m.ram + CODE + 4, rows[n].code, length);
		m.ram[CODE + 12] = HLT;
		entry_bits(&m, 1, DATA, 0, A | D);
		uncached(&m, TABLE(1));
		x = run(&m, EXIT_BUS_LOCK);
		assert_paging_lock(&m, &x.lock, entry_at(&m, 1, DATA), CODE + 4);
		assert_int_equal(x.lock.insn_length, length);
		assert_memory_equal(x.lock.insn, rows[n].code, length);
		assert_int_equal(rip_of(&m), CODE + 4 + length);
		assert_int_equal(entry_has(&m, 1, DATA, D), rows[n].write);
		run(&m, EMU_EXIT_HLT);
		emu_vcpu_get_stats(m.vcpu, &stats);
		assert_int_equal(stats.stuffed, m.locks);
		assert_int_equal(stats.non_wb, m.locks);
		assert_int_equal(stats.bus_locks, m.locks);
		/* A and D at once for a write; read first and written then: two */
		assert_in_range(m.locks, 1, rows[n].write ? 2 : 1);
		stop(&m);
	}
}

/* Two pages of one operand, and the stack: all locks are told, the exit is one. */
static void test_paging_locks_of_one_instruction_make_one_exit(void **state)
{
	struct emu_exit x;
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	/* push qword [rbx] across a page, onto another page; nop; hlt */
	CODE_AT(&m, CODE, 0xff, 0x33, 0x90, HLT);
	set_reg(&m, EMU_RBX, DATA + 0xffc);
	entry_bits(&m, 1, DATA, 0, A);
	entry_bits(&m, 1, DATA + 0x1000, 0, A);
	entry_bits(&m, 1, STACK - 8, 0, A | D);
	uncached(&m, TABLE(1));
	x = run(&m, EXIT_BUS_LOCK);
	assert_int_equal(m.locks, 3);
	assert_paging_lock(&m, &x.lock, entry_at(&m, 1, DATA), CODE);
	assert_int_equal(m.lock[1].gpa, entry_at(&m, 1, DATA + 0x1000));
	assert_int_equal(m.lock[2].gpa, entry_at(&m, 1, STACK - 8));
	assert_int_equal(rip_of(&m), CODE + 2);
	run(&m, EMU_EXIT_HLT);
	stop(&m);
}

/* With a bus lock of the operand itself, that is the one the exit tells. */
static void test_paging_lock_yields_to_the_operands(void **state)
{
	struct emu_exit x;
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	CODE_AT(&m, CODE, 0xf0, 0xff, 0x43, 0x3e, HLT); /* lock inc dword [rbx+62] */
	entry_bits(&m, 1, DATA, 0, A | D);
	uncached(&m, TABLE(1));
	x = run(&m, EXIT_BUS_LOCK);
	assert_int_equal(m.locks, 2);
	assert_int_equal(m.lock[0].stuffed, EMU_STUFFED_PAGING);
	/* the address that was translated lies before the end of a line, the entry does not */
	assert_int_equal(m.lock[0].linear, DATA + 62);
	assert_int_equal(m.lock[0].cause, EMU_LOCK_NON_WB | EMU_LOCK_STUFFED);
	assert_int_equal(x.lock.stuffed, EMU_STUFFED_NOT);
	assert_int_equal(x.lock.cause, EMU_LOCK_SPLIT);
	assert_int_equal(x.lock.linear, DATA + 62);
	assert_int_equal(rip_of(&m), CODE + 4);
	run(&m, EMU_EXIT_HLT);
	stop(&m);
}

/* The lock happened, then a fault: the fault is delivered, and what follows says so (bit 26). */
static void test_paging_lock_before_a_fault_of_the_same_instruction(void **state)
{
	struct emu_exit x;
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	CODE_AT(&m, CODE, 0x8b, 0x83, 0xfe, 0x0f, 0x00, 0x00); /* mov eax, [rbx+0xffe] */
	entry_bits(&m, 1, DATA, 0, A);
	entry_bits(&m, 1, DATA + 0x1000, 0, P);
	uncached(&m, TABLE(1));
	x = run(&m, EXIT_BUS_LOCK); /* in front of the handler of #PF */
	assert_int_equal(m.locks, 1);
	assert_paging_lock(&m, &x.lock, entry_at(&m, 1, DATA), CODE);
	assert_int_equal(rip_of(&m), HANDLER + 16 * 14);
	assert_int_equal(state_of(&m).cr2, DATA + 0x1000);
	run(&m, EMU_EXIT_HLT);
	assert_int_equal(m.locks, 1);
	stop(&m);
}

/* A device behind a page whose entry was updated: its own exit, with bit 26. */
static void test_paging_lock_before_mmio_shows_in_its_exit(void **state)
{
	struct emu_exit x;
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	CODE_AT(&m, CODE, 0x8b, 0x03, HLT);
	put(&m, entry_at(&m, 1, DATA), 0xf0000000 | P | RW, 8);
	uncached(&m, TABLE(1));
	x = run(&m, EMU_EXIT_MMIO);
	assert_true(x.bus_lock);
	assert_int_equal(x.word, VMX_EPT_MISCONFIG | 1u << 26);
	assert_paging_lock(&m, &x.lock, entry_at(&m, 1, DATA), CODE);
	x = run(&m, EMU_EXIT_HLT);
	assert_false(x.bus_lock);
	stop(&m);
}

/* ------------------------------------------------------------------ code */

/* The first fetch from a page: by a jump, by falling into it, by an instruction on both. */
static void test_fetch_lock_has_its_exit_behind_the_first_instruction(void **state)
{
	enum { NEXT = CODE + 0x1000 };

	(void)state;
	for (unsigned special = 0; special < 2; special++) {
		for (unsigned way = 0; way < 3; way++) {
			uint32_t rip = way == 2 ? NEXT - 1 : NEXT, behind;
			struct emu_exit x;
			struct machine m;

			start(&m, PAGING_4);
			memset(m.ram + CODE, 0x90, 0x1000);
			memset(m.ram + NEXT, 0x90, 0x1000);
			if (way == 0) /* jmp NEXT */
				CODE_AT(&m, CODE + 1, 0xe9, 0xfa, 0x0f, 0x00, 0x00);
			else
				set_rip(&m, NEXT - 16);
			if (special) /* lock inc dword [rbx] */
				CODE_AT(&m, rip, 0xf0, 0xff, 0x03);
			else /* mov eax, [rbx] */
				CODE_AT(&m, rip, 0x8b, 0x03);
			behind = rip + 2 + special;
			m.ram[behind + 3] = HLT;
			entry_bits(&m, 1, NEXT, 0, A);
			uncached(&m, TABLE(1));
			x = run(&m, EXIT_BUS_LOCK);
			assert_paging_lock(&m, &x.lock, entry_at(&m, 1, NEXT), rip);
			assert_int_equal(rip_of(&m), behind);
			assert_int_equal(m.locks, 1);
			assert_true(entry_has(&m, 1, NEXT, A));
			run(&m, EMU_EXIT_HLT);
			assert_int_equal(m.locks, 1);
			stop(&m);
		}
	}
}

/* The guest clears A where translations are still cached: nobody waits for ever. */
static void test_fetch_of_a_page_whose_bit_was_cleared_again(void **state)
{
	enum { NEXT = CODE + 0x1000 };
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	memset(m.ram + CODE, 0x90, 0x3000);
	/* call NEXT+8; and dword [entry], ~A; mov rax, cr3; mov cr3, rax; call NEXT+8; hlt */
	uint32_t entry = entry_at(&m, 1, NEXT);
	CODE_AT(&m, CODE, 0xe8, 0x03, 0x10, 0x00, 0x00, 0x83, 0x24, 0x25, (uint8_t)entry,
		(uint8_t)(entry >> 8), (uint8_t)(entry >> 16), 0x00, 0xdf, 0x0f, 0x20, 0xd8, 0x0f,
		0x22, 0xd8, 0xe8, 0xf0, 0x0f, 0x00, 0x00, HLT);
	CODE_AT(&m, NEXT + 8, 0x90, 0xc3);
	uncached(&m, TABLE(1));
	for (unsigned locks = 1;; locks++) {
		struct emu_exit x;

		assert_int_equal(emu_vcpu_run(m.vcpu, 0, &x), 0);
		if (x.type == EMU_EXIT_HLT)
			break;
		assert_int_equal(x.type, EXIT_BUS_LOCK);
		assert_paging_lock(&m, &x.lock, entry, NEXT + 8);
		assert_int_equal(locks, 1);
	}
	assert_int_equal(m.locks, 1); /* the second call's; A was set at the first */
	stop(&m);
}

/* An instruction on two pages, the second of which was fetched before: its bit is clear again, but its
 * translation still known to the accesses by hand. */
static void test_fetch_lock_hidden_by_a_cached_translation_ends(void **state)
{
	enum { NEXT = CODE + 0x1000 };
	struct emu_exit x;
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	memset(m.ram + CODE, 0x90, 0x2000);
	CODE_AT(&m, NEXT + 0x100, 0xf0, 0xff, 0x03, HLT); /* lock inc [rbx]: fetched by hand */
	CODE_AT(&m, NEXT - 1, 0x8b, 0x03, HLT);           /* mov eax, [rbx] */
	uncached(&m, TABLE(1));
	set_rip(&m, NEXT + 0x100);
	run(&m, EMU_EXIT_HLT);
	entry_bits(&m, 1, NEXT, 0, A);
	set_rip(&m, NEXT - 8);
	x = run(&m, EXIT_BUS_LOCK);
	assert_paging_lock(&m, &x.lock, entry_at(&m, 1, NEXT), NEXT - 1);
	assert_int_equal(rip_of(&m), NEXT + 1);
	run(&m, EMU_EXIT_HLT);
	assert_int_equal(m.locks, 1);
	stop(&m);
}

/* Code in the last bytes of a page whose successor's fetch would be a lock: no lock for it. */
static void test_fetch_beyond_what_executes_takes_no_lock(void **state)
{
	enum { NEXT = CODE + 0x1000 };
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	memset(m.ram + NEXT - 16, 0x90, 16);
	CODE_AT(&m, NEXT - 2, 0xeb, 0xee); /* jmp NEXT-16 */
	CODE_AT(&m, NEXT - 16, HLT);
	set_rip(&m, NEXT - 12);
	entry_bits(&m, 1, NEXT, 0, A);
	uncached(&m, TABLE(1));
	run(&m, EMU_EXIT_HLT);
	assert_int_equal(m.locks, 0);
	assert_false(entry_has(&m, 1, NEXT, A));
	stop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paging_bit_at_each_level_of_each_mode),
		cmocka_unit_test(test_paging_structures_uncached_by_the_guests_own_bits),
		cmocka_unit_test(test_paging_top_table_uncached_by_cr3),
		cmocka_unit_test(test_paging_lock_of_any_instruction_has_its_exit_right_behind_it),
		cmocka_unit_test(test_paging_locks_of_one_instruction_make_one_exit),
		cmocka_unit_test(test_paging_lock_yields_to_the_operands),
		cmocka_unit_test(test_paging_lock_before_a_fault_of_the_same_instruction),
		cmocka_unit_test(test_paging_lock_before_mmio_shows_in_its_exit),
		cmocka_unit_test(test_fetch_lock_has_its_exit_behind_the_first_instruction),
		cmocka_unit_test(test_fetch_of_a_page_whose_bit_was_cleared_again),
		cmocka_unit_test(test_fetch_lock_hidden_by_a_cached_translation_ends),
		cmocka_unit_test(test_fetch_beyond_what_executes_takes_no_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
