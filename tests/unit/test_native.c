/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the engine executes by itself but asks about first: locked instructions, STI, CMPXCHG. Every
 * form against the unlocked one and against silicon is in test_locked.c and test_silicon.c.
 */
#include "tests/unit/vcpu_vm.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static int begin(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));

	machine_start(m, NULL, false);
	emu_vcpu_set_bus_lock_exiting(m->vcpu, true);
	*state = m;
	return 0;
}

static int begin_counting(void **state)
{
	struct emu_config config = { .count = true };
	struct machine *m = calloc(1, sizeof(*m));

	machine_start(m, &config, false);
	emu_vcpu_set_bus_lock_exiting(m->vcpu, true);
	*state = m;
	return 0;
}

static int begin_telling(void **state)
{
	struct emu_config config = { .observe_locked = true };
	struct machine *m = calloc(1, sizeof(*m));

	machine_start(m, &config, false);
	*state = m;
	return 0;
}

static void start_at(struct machine *m, uint64_t rip, uint64_t rbx, uint64_t rax, uint64_t rflags)
{
	struct emu_state s = state_of(m);

	s.rip = rip, s.gpr[EMU_RBX] = rbx, s.gpr[EMU_RAX] = rax, s.rflags = 2 | rflags;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
}

/* ------------------------------------------------------------------ locks */

static void test_native_lock_counts_as_locked_access(void **state)
{
	struct machine *m = *state;
	struct emu_stats stats;

	/* mov ecx,1000; lock inc dword [rbx]; dec ecx; jnz; lock dec dword [rbx+62]; hlt */
	CODE_AT(m, CODE, 0xb9, 0xe8, 3, 0, 0, 0xf0, 0xff, 0x03, 0xff, 0xc9, 0x75, 0xf9, 0xf0, 0xff,
		0x4b, 62, 0xf4);
	start_at(m, CODE, DATA, 0, 0);
	run(m, EMU_EXIT_BUS_LOCK);
	run(m, EMU_EXIT_HLT);
	emu_vcpu_get_stats(m->vcpu, &stats);
	assert_int_equal(stats.locked, 1001);
	assert_int_equal(stats.bus_locks, 1);
	assert_memory_equal(m->ram + DATA, "\xe8\x03\0\0", 4);
}

static void test_native_lock_that_splits_leaves_exact_counts(void **state)
{
	struct machine *m = *state;
	struct emu_stats stats;

	/* nop; lock inc dword [rbx] (aligned); nop; lock inc dword [rbx+62]; nop; hlt */
	CODE_AT(m, CODE, 0x90, 0xf0, 0xff, 0x03, 0x90, 0xf0, 0xff, 0x43, 62, 0x90, 0xf4);
	for (int turn = 1; turn <= 3; turn++) {
		start_at(m, CODE, DATA, 0, 0);
		struct emu_exit x = run(m, EMU_EXIT_BUS_LOCK);

		assert_int_equal(state_of(m).rip, CODE + 9);
		assert_int_equal(x.lock.rip, CODE + 5);
		emu_vcpu_get_stats(m->vcpu, &stats);
		assert_int_equal(stats.instructions, 6 * turn - 2);
		run(m, EMU_EXIT_HLT);
		emu_vcpu_get_stats(m->vcpu, &stats);
		assert_int_equal(stats.instructions, 6 * turn);
		assert_int_equal(m->ram[DATA], turn);
		assert_int_equal(m->ram[DATA + 62], turn);
	}
}

static void test_native_lock_on_absent_page_faults_as_a_write(void **state)
{
	struct machine *m = *state;
	uint64_t error;

	CODE_AT(m, CODE, 0x90, 0xf0, 0x48, 0x0f, 0xc1, 0x0b, 0xf4); /* nop; lock xadd [rbx],rcx */
	start_at(m, CODE, 0x200018, 0, 0);
	struct emu_exit x = run(m, EMU_EXIT_IO);

	assert_int_equal(x.io.data[0], 14);
	assert_int_equal(state_of(m).cr2, 0x200018);
	memcpy(&error, m->ram + state_of(m).gpr[EMU_RSP], 8);
	assert_int_equal(error, 2);
	memcpy(&error, m->ram + state_of(m).gpr[EMU_RSP] + 8, 8);
	assert_int_equal(error, CODE + 1);
}

static void test_native_lock_on_code_changes_what_executes(void **state)
{
	struct machine *m = *state;

	/* all in one run: mov eax,5; lock inc dword [CODE+1]; dec ecx; jnz CODE; hlt */
	CODE_AT(m, CODE, 0xb8, 5, 0, 0, 0, 0xf0, 0xff, 0x04, 0x25, 1, 0x10, 0, 0, 0xff, 0xc9, 0x75,
		0xef, 0xf4);
	start_at(m, CODE, DATA, 0, 0);
	struct emu_state s = state_of(m);
	s.gpr[EMU_RCX] = 4;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(state_of(m).gpr[EMU_RAX], 8);

	/* mov eax,5; lock inc dword [CODE+1]; hlt */
	CODE_AT(m, CODE, 0xb8, 5, 0, 0, 0, 0xf0, 0xff, 0x04, 0x25, 0x01, 0x10, 0, 0, 0xf4);
	for (unsigned turn = 0; turn < 3; turn++) {
		start_at(m, CODE, DATA, 0, 0);
		run(m, EMU_EXIT_HLT);
		assert_int_equal(state_of(m).gpr[EMU_RAX], 5 + turn);
	}
}

static void test_native_lock_on_page_that_was_data_sees_new_code(void **state)
{
	struct machine *m = *state;

	/* lock xchg [rbx],eax (a page that the cache knows as data), then the page is executed, then again */
	CODE_AT(m, CODE, 0xf0, 0x87, 0x03, 0xf4);
	for (unsigned turn = 0; turn < 3; turn++) {
		start_at(m, CODE, DATA, 0xf4c0ff48, 0); /* inc rax; hlt */
		run(m, EMU_EXIT_HLT);
		start_at(m, DATA, 0, turn, 0);
		run(m, EMU_EXIT_HLT);
		assert_int_equal(state_of(m).gpr[EMU_RAX], turn + 1);
		start_at(m, CODE, DATA, 0xf4c8ff48, 0); /* dec rax; hlt */
		run(m, EMU_EXIT_HLT);
		start_at(m, DATA, 0, turn, 0);
		run(m, EMU_EXIT_HLT);
		assert_int_equal(state_of(m).gpr[EMU_RAX], (uint64_t)turn - 1);
	}
}

static void test_native_lock_on_a_page_of_its_own_enters_the_dirty_log(void **state)
{
	struct machine *m = *state;
	uint64_t bitmap[RAM / 4096 / 64] = { 0 };

	/* lock inc dword [rbx]; lock inc dword [rbx+1000h]; hlt: the second finds the tables unchanged */
	CODE_AT(m, CODE, 0xf0, 0xff, 0x03, 0xf0, 0xff, 0x83, 0, 0x10, 0, 0, 0xf4);
	assert_int_equal(emu_vm_set_flags(m->vm, 0, EMU_MEM_LOG_DIRTY), 0);
	start_at(m, CODE, DATA, 0, 0);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(emu_vm_dirty_log(m->vm, 0, bitmap, true), 0);
	assert_int_equal(bitmap[0] >> (DATA >> 12) & 7, 3);
}

static void test_native_lock_is_one_single_step(void **state)
{
	struct machine *m = *state;
	struct emu_debug debug = { .single_step = true };

	/* lock inc dword [rbx] twice: the second hits what the first has looked up */
	CODE_AT(m, CODE, 0xf0, 0xff, 0x03, 0xf0, 0xff, 0x03, 0x90, 0xf4);
	start_at(m, CODE, DATA, 0, 0);
	emu_vcpu_set_debug(m->vcpu, &debug);
	for (unsigned n = 1; n <= 2; n++) {
		run(m, EMU_EXIT_DEBUG);
		assert_int_equal(state_of(m).rip, CODE + 3 * n);
		assert_int_equal(m->ram[DATA], n);
	}
}

static void count_told(void *opaque, struct emu_vcpu *vcpu, const struct emu_lock *lock)
{
	struct machine *m = opaque;

	(void)vcpu;
	assert_int_equal(lock->cause, EMU_LOCK_NONE);
	m->told++;
}

static void test_native_lock_that_is_to_be_told_of_is_told(void **state)
{
	struct machine *m = *state;

	CODE_AT(m, CODE, 0xf0, 0xff, 0x03, 0xf0, 0xff, 0x03, 0xf0, 0xff, 0x03, 0xf4);
	emu_vm_set_lock_observer(m->vm, count_told, m);
	start_at(m, CODE, DATA, 0, 0);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(m->told, 3);
}

/* Code of a page that the engine does not have in its TLB (MOV CR3), changed by the monitor. */
static void test_native_code_changed_while_out_of_use_is_seen(void **state)
{
	struct machine *m = *state;

	CODE_AT(m, CODE, 0xb8, 5, 0, 0, 0, 0xe9, 0xf6, 0x0f, 0, 0); /* mov eax,5; jmp CODE+1000h */
	/* mov rdx,cr3; mov cr3,rdx; hlt */
	CODE_AT(m, CODE + 0x1000, 0x0f, 0x20, 0xda, 0x0f, 0x22, 0xda, 0xf4);
	for (uint8_t value = 5; value < 8; value++) {
		m->ram[CODE + 1] = value;
		start_at(m, CODE, 0, 0, 0);
		run(m, EMU_EXIT_HLT);
		assert_int_equal(state_of(m).gpr[EMU_RAX], value);
	}
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)number;
	if (!emu_host_fault(info->si_addr, context))
		_exit(99);
}

static void test_native_lock_on_memory_that_vanishes_stays_in_front_of_it(void **state)
{
	struct machine *m = *state;
	struct emu_exit x;
#if defined(__SANITIZE_THREAD__)
	skip(); /* ThreadSanitizer does not follow siglongjmp() out of a SIGSEGV handler */
#endif
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER },
			 before;

	sigaction(SIGSEGV, &action, &before);
	/* lock inc dword [rbx]; out 10h,al; inc ecx; lock inc dword [rbx]; hlt */
	CODE_AT(m, CODE, 0xf0, 0xff, 0x03, 0xe6, 0x10, 0xff, 0xc1, 0xf0, 0xff, 0x03, 0xf4);
	start_at(m, CODE, DATA, 0, 0);
	run(m, EMU_EXIT_IO);
	mprotect(m->ram + DATA, 4096, PROT_NONE);
	assert_int_equal(emu_vcpu_run(m->vcpu, 0, &x), -EFAULT);
	assert_int_equal(state_of(m).rip, CODE + 7);
	assert_int_equal(state_of(m).gpr[EMU_RCX], 1);
	mprotect(m->ram + DATA, 4096, PROT_READ | PROT_WRITE);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(m->ram[DATA], 2);
	sigaction(SIGSEGV, &before, NULL);
}

#define GUEST_TURNS 100000u

struct other {
	uint32_t *word;
	_Atomic bool stop;
	uint32_t turns;
};

static void *increment(void *opaque)
{
	struct other *o = opaque;

	while (!atomic_load(&o->stop)) {
		__atomic_fetch_add(o->word, 1, __ATOMIC_SEQ_CST);
		o->turns++;
	}
	return NULL;
}

static void test_native_lock_loses_no_update_of_a_thread_of_the_monitor(void **state)
{
	struct machine *m = *state;
	struct other other = { .word = (uint32_t *)(void *)(m->ram + DATA) };
	pthread_t thread;

	/* mov ecx,GUEST_TURNS; lock add dword [rbx],1; dec ecx; jnz; hlt */
	CODE_AT(m, CODE, 0xb9, 0xa0, 0x86, 1, 0, 0xf0, 0x83, 0x03, 1, 0xff, 0xc9, 0x75, 0xf8, 0xf4);
	start_at(m, CODE, DATA, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, increment, &other), 0);
	run(m, EMU_EXIT_HLT);
	atomic_store(&other.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(*other.word, GUEST_TURNS + other.turns);
}

/* ------------------------------------------------------------------ CMPXCHG */

/* A 32-bit CMPXCHG that compares equal leaves all of RAX alone, else it loads EAX (SDM vol. 2, CMPXCHG). */
static void test_native_cmpxchg_of_32_bits_keeps_rax_when_equal(void **state)
{
	static const uint8_t forms[][5] = {
		{ 0xf0, 0x0f, 0xb1, 0x0b, 0xf4 }, /* lock cmpxchg [rbx],ecx; hlt */
		{ 0x3e, 0x0f, 0xb1, 0x0b,
		  0xf4 }, /* ds cmpxchg [rbx],ecx: Linux without other CPUs */
		{ 0x3e, 0x0f, 0xb1, 0xca, 0xf4 }, /* cmpxchg edx,ecx */
	};
	struct machine *m = *state;

	for (unsigned n = 0; n < 6; n++) {
		const uint32_t there = 77, other = n & 1 ? 78 : 77;
		struct emu_state s;

		memcpy(m->ram + CODE, forms[n / 2], sizeof(forms[0]));
		memcpy(m->ram + DATA, &there, 4);
		start_at(m, CODE, DATA, 0xabcd00000000 | other, 0);
		s = state_of(m);
		s.gpr[EMU_RCX] = 5, s.gpr[EMU_RDX] = 0x1234500000000 | there;
		assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
		run(m, EMU_EXIT_HLT);
		s = state_of(m);
		assert_int_equal(s.gpr[EMU_RAX], n & 1 ? there : 0xabcd00000000 | there);
		assert_int_equal(!!(s.rflags & 0x40), !(n & 1));
		if (n / 2 == 2)
			assert_int_equal((uint32_t)s.gpr[EMU_RDX], n & 1 ? there : 5);
		else
			assert_int_equal(m->ram[DATA], n & 1 ? there : 5);
	}
}

/* What follows a CMPXCHG of another size is not taken for its end. */
static void test_native_cmpxchg_of_64_bits_leaves_the_next_instruction_alone(void **state)
{
	struct machine *m = *state;
	struct emu_state s;

	/* cmpxchg rdx,rcx; mov esi,edx; mov eax,eax; hlt */
	CODE_AT(m, CODE, 0x48, 0x0f, 0xb1, 0xca, 0x89, 0xd6, 0x89, 0xc0, 0xf4);
	start_at(m, CODE, 0, 0x500000001, 0);
	s = state_of(m);
	s.gpr[EMU_RDX] = 0x500000001, s.gpr[EMU_RCX] = 0x900000007, s.gpr[EMU_RSI] = ~0ull;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
	run(m, EMU_EXIT_HLT);
	s = state_of(m);
	assert_int_equal(s.gpr[EMU_RDX], 0x900000007);
	assert_int_equal(s.gpr[EMU_RSI], 7);
	assert_int_equal(s.gpr[EMU_RAX], 1);
}

/* ------------------------------------------------------------------ STI */

static unsigned shadow_of(struct machine *m)
{
	struct emu_events events;

	emu_vcpu_get_events(m->vcpu, &events);
	return events.interrupt.shadow;
}

static void test_native_sti_has_a_shadow_where_the_next_instruction_exits(void **state)
{
	struct machine *m = *state;

	CODE_AT(m, CODE, 0x90, 0xfb, 0xec, 0xf4); /* nop; sti; in al,dx; hlt */
	start_at(m, CODE, 0, 0, 0);
	run(m, EMU_EXIT_IO);
	assert_true(state_of(m).rflags & 0x200);
	assert_int_equal(shadow_of(m), EMU_SHADOW_STI);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(shadow_of(m), 0);
}

static void test_native_sti_with_if_set_has_no_shadow(void **state)
{
	struct machine *m = *state;

	CODE_AT(m, CODE, 0x90, 0xfb, 0xec, 0xf4);
	start_at(m, CODE, 0, 0, 0x200);
	run(m, EMU_EXIT_IO);
	assert_int_equal(shadow_of(m), 0);
}

static void test_native_sti_in_an_old_block_opens_a_new_window(void **state)
{
	struct machine *m = *state;

	/* nop; sti; nop; nop; cli; hlt: first with nobody waiting */
	CODE_AT(m, CODE, 0x90, 0xfb, 0x90, 0x90, 0xfa, 0xf4);
	start_at(m, CODE, 0, 0, 0);
	run(m, EMU_EXIT_HLT);
	emu_vcpu_request_interrupt_window(m->vcpu, true);
	start_at(m, CODE, 0, 0, 0);
	run(m, EMU_EXIT_INTERRUPT_WINDOW);
	assert_int_equal(state_of(m).rip, CODE + 3);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(test_native_##name, begin, end)
	const struct CMUnitTest tests[] = {
		test(lock_counts_as_locked_access),
		cmocka_unit_test_setup_teardown(test_native_lock_that_splits_leaves_exact_counts,
						begin_counting, end),
		test(lock_on_absent_page_faults_as_a_write),
		test(lock_on_code_changes_what_executes),
		test(lock_on_page_that_was_data_sees_new_code),
		test(lock_on_a_page_of_its_own_enters_the_dirty_log),
		test(lock_is_one_single_step),
		cmocka_unit_test_setup_teardown(test_native_lock_that_is_to_be_told_of_is_told,
						begin_telling, end),
		test(code_changed_while_out_of_use_is_seen),
		test(lock_on_memory_that_vanishes_stays_in_front_of_it),
		test(lock_loses_no_update_of_a_thread_of_the_monitor),
		test(cmpxchg_of_32_bits_keeps_rax_when_equal),
		test(cmpxchg_of_64_bits_leaves_the_next_instruction_alone),
		test(sti_has_a_shadow_where_the_next_instruction_exits),
		test(sti_with_if_set_has_no_shadow),
		test(sti_in_an_old_block_opens_a_new_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
