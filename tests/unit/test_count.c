/* SPDX-License-Identifier: GPL-2.0-only */
/* Counted instructions, and what hangs on the count: the limit of a run and the time-stamp counter. */
#include "tests/unit/vcpu_vm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static uint64_t instructions(const struct machine *m)
{
	struct emu_stats stats;
	emu_vcpu_get_stats(m->vcpu, &stats);
	return stats.instructions;
}

static int begin(void **state)
{
	const struct emu_config config = { .count = true };
	struct machine *m = calloc(1, sizeof(*m));
	machine_start(m, &config, true);
	struct emu_state s = state_of(m);
	s.gpr[EMU_RBX] = DATA;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
	*state = m;
	return 0;
}

/* ------------------------------------------------------------------ counting */

static void test_count_loop_counts_each_instruction_once(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0xb9, 0xe8, 3, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xf4); /* mov ecx,1000;
									       * dec; jnz; hlt */
	run(m, EMU_EXIT_HLT);
	assert_int_equal(instructions(m), 1 + 2000 + 1);
}

static void test_count_pages_first_touched_are_not_counted_twice(void **state)
{
	struct machine *m = *state;
	/* three stores to three pages in one block: each is refused once and executed again */
	CODE_AT(m, CODE, 0x89, 0x03, 0x89, 0x83, 0, 0x10, 0, 0, 0x89, 0x83, 0, 0x20, 0, 0, 0xf4);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(instructions(m), 4);
}

static void test_count_device_access_counts_once(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0x8b, 0x04, 0x25, 0, 0, 0x10, 0, 0x90, 0xf4); /* mov eax,[RAM]; nop; hlt */
	struct emu_exit x = run(m, EMU_EXIT_MMIO);
	memset(x.mmio.data, 0, x.mmio.size);
	assert_int_equal(instructions(m), 1);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(instructions(m), 3);
}

static void test_count_code_that_writes_itself_is_exact(void **state)
{
	struct machine *m = *state;
	/* mov byte [rip+1],90h; the next instruction becomes a NOP; nop; hlt */
	CODE_AT(m, CODE, 0xc6, 0x05, 0, 0, 0, 0, 0x90, 0xf8, 0x90, 0xf4);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(instructions(m), 4);
}

static void test_count_faulting_instruction_has_not_executed(void **state)
{
	struct machine *m = *state;
	const uint64_t gate = 0xc000 | 8ull << 16 | 0x8e00ull << 32, code = 0x00209b0000000000;
	memcpy(m->ram + GDT + 8, &code, 8);
	memcpy(m->ram + IDT + 16 * 14, &gate, 8);
	CODE_AT(m, 0xc000, 0x90, 0xf4);
	CODE_AT(m, CODE, 0x90, 0xa1, 0, 0, 0, 0, 1, 0, 0, 0, 0x90); /* nop; mov eax,[4 GiB] */
	run(m, EMU_EXIT_HLT);
	assert_int_equal(instructions(m), 1 + 2); /* nop; the handler's two */
}

/* ------------------------------------------------------------------ the limit */

/* inc rax; add rax,[rbx]; jmp back: blocks of three instructions */
static void endless(struct machine *m)
{
	CODE_AT(m, CODE, 0x48, 0xff, 0xc0, 0x48, 0x03, 0x03, 0xeb, 0xf8);
}

static void test_count_limit_ends_the_run_within_a_block(void **state)
{
	struct machine *m = *state;
	endless(m);
	emu_vcpu_set_instruction_limit(m->vcpu, 100000);
	struct emu_exit x = run(m, EMU_EXIT_LIMIT);
	assert_int_equal(x.word, VMX_PREEMPTION_TIMER);
	assert_in_range(instructions(m), 100000, 100002);
	assert_int_equal(state_of(m).rip, CODE);
	assert_int_equal(instructions(m), 3 * state_of(m).gpr[EMU_RAX]);
	/* still reached: no further instruction */
	run(m, EMU_EXIT_LIMIT);
	assert_in_range(instructions(m), 100000, 100002);
}

static void test_count_limit_of_one_lets_a_block_through(void **state)
{
	struct machine *m = *state;
	endless(m);
	for (unsigned n = 1; n <= 5; n++) {
		emu_vcpu_set_instruction_limit(m->vcpu, instructions(m) + 1);
		run(m, EMU_EXIT_LIMIT);
		assert_int_equal(instructions(m), 3 * n);
		assert_int_equal(state_of(m).gpr[EMU_RAX], n);
	}
}

static void test_count_limit_stops_a_chain_of_specials(void **state)
{
	struct machine *m = *state;
	memset(m->ram + CODE, 0x90, 64);
	for (unsigned n = 0; n < 8; n++) /* cpuid: each leaves the engine */
		CODE_AT(m, CODE + 2 * n, 0x0f, 0xa2);
	CODE_AT(m, CODE + 16, 0xf4);
	emu_vcpu_set_instruction_limit(m->vcpu, 5);
	run(m, EMU_EXIT_LIMIT);
	assert_int_equal(instructions(m), 5);
	assert_int_equal(state_of(m).rip, CODE + 10);
}

static _Atomic bool stop_kicking;
static void *kick(void *opaque)
{
	const struct timespec pause = { .tv_nsec = 50000 };
	while (!stop_kicking) {
		emu_vcpu_kick(opaque);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

/* Where a run of `limit` instructions ends, whatever else stops it on the way. */
static void run_to_limit(struct machine *m, uint64_t limit, unsigned *kicks)
{
	struct emu_exit x;
	emu_vcpu_set_instruction_limit(m->vcpu, limit);
	do {
		assert_int_equal(emu_vcpu_run(m->vcpu, 0, &x), 0);
		*kicks += x.type == EMU_EXIT_KICKED;
	} while (x.type == EMU_EXIT_KICKED);
	assert_int_equal(x.type, EMU_EXIT_LIMIT);
}

static void test_count_limit_is_at_the_same_place_with_kicks(void **state)
{
	struct machine *m = *state;
	struct emu_state before;
	uint64_t quiet[20];
	pthread_t thread;
	unsigned kicks = 0;
	endless(m);
	before = state_of(m);
	for (unsigned n = 0; n < 20; n++) {
		run_to_limit(m, (n + 1) * 1000003ull, &kicks);
		quiet[n] = instructions(m);
	}
	assert_int_equal(kicks, 0);
	assert_int_equal(3 * state_of(m).gpr[EMU_RAX], quiet[19]);
	uint64_t base = instructions(m);
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &before), 0);
	stop_kicking = false;
	assert_int_equal(pthread_create(&thread, NULL, kick, m->vcpu), 0);
	for (unsigned n = 0; n < 20; n++) {
		run_to_limit(m, base + (n + 1) * 1000003ull, &kicks);
		assert_int_equal(instructions(m) - base, quiet[n]);
		/* a kick counts nothing that it keeps from running */
		assert_int_equal(3 * state_of(m).gpr[EMU_RAX], quiet[n]);
	}
	stop_kicking = true;
	pthread_join(thread, NULL);
	assert_true(kicks > 0);
}

/* ------------------------------------------------------------------ the time-stamp counter */

static uint64_t tsc(void *opaque, struct emu_vcpu *vcpu)
{
	struct emu_stats stats;
	assert_ptr_equal(opaque, &stop_kicking);
	emu_vcpu_get_stats(vcpu, &stats);
	return 1000 + 3 * stats.instructions;
}

static void test_count_rdtsc_reads_the_source_at_that_instruction(void **state)
{
	struct machine *m = *state;
	emu_vm_set_tsc_source(m->vm, tsc, &stop_kicking);
	/* nop; nop; rdtsc; mov rsi,rax; nop; rdtscp; hlt */
	CODE_AT(m, CODE, 0x90, 0x90, 0x0f, 0x31, 0x48, 0x89, 0xc6, 0x90, 0x0f, 0x01, 0xf9, 0xf4);
	assert_int_equal(emu_vcpu_set_msr(m->vcpu, 0xc0000103, 77, false), 0);
	run(m, EMU_EXIT_HLT);
	struct emu_state s = state_of(m);
	assert_int_equal(s.gpr[EMU_RSI], 1000 + 3 * 2);
	assert_int_equal(s.gpr[EMU_RAX], 1000 + 3 * 5);
	assert_int_equal(s.gpr[EMU_RDX], 0);
	assert_int_equal(s.gpr[EMU_RCX], 77);
}

static void test_count_tsc_msr_moves_what_rdtsc_reads(void **state)
{
	struct machine *m = *state;
	uint64_t value;
	emu_vm_set_tsc_source(m->vm, tsc, &stop_kicking);
	/* mov ecx,10h; mov edx,1; xor eax,eax; wrmsr; rdtsc; hlt */
	CODE_AT(m, CODE, 0xb9, 0x10, 0, 0, 0, 0xba, 1, 0, 0, 0, 0x31, 0xc0, 0x0f, 0x30, 0x0f, 0x31,
		0xf4);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(state_of(m).gpr[EMU_RDX], 1);
	assert_int_equal(state_of(m).gpr[EMU_RAX], 3); /* one instruction later */
	/* SDM 19.17.3: the write shows in IA32_TSC_ADJUST */
	assert_int_equal(emu_vcpu_get_msr(m->vcpu, 0x3b, &value, false), 0);
	assert_int_equal(value, (1ull << 32) - (1000 + 3 * 3));
	assert_int_equal(emu_vcpu_get_msr(m->vcpu, 0x10, &value, true), 0);
	assert_int_equal(value, (1ull << 32) + 3 * 3);
}

static void test_count_rdtsc_with_tsd_is_gp_outside_cpl0(void **state)
{
	struct machine *m = *state;
	const uint64_t gate = 0xc000 | 8ull << 16 | 0x8e00ull << 32, code = 0x00209b0000000000;
	memcpy(m->ram + GDT + 8, &code, 8);
	memcpy(m->ram + IDT + 16 * 13, &gate, 8);
	CODE_AT(m, 0xc000, 0xf4);
	emu_vm_set_tsc_source(m->vm, tsc, &stop_kicking);
	CODE_AT(m, CODE, 0x0f, 0x31, 0xf4);
	struct emu_state s = state_of(m);
	s.cr4 |= 4; /* TSD */
	s.segment[EMU_CS].attributes |= 3 << 5, s.segment[EMU_SS].attributes |= 3 << 5;
	s.segment[EMU_TR] =
		(struct emu_segment){ .base = 0xb000, .limit = 0x67, .attributes = 0x8b };
	memcpy(m->ram + 0xb004, &(uint64_t){ 0x5000 }, 8);
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(state_of(m).rip, 0xc001);
	assert_int_equal(state_of(m).gpr[EMU_RAX], 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_count_loop_counts_each_instruction_once),
		TEST(test_count_pages_first_touched_are_not_counted_twice),
		TEST(test_count_device_access_counts_once),
		TEST(test_count_code_that_writes_itself_is_exact),
		TEST(test_count_faulting_instruction_has_not_executed),
		TEST(test_count_limit_ends_the_run_within_a_block),
		TEST(test_count_limit_of_one_lets_a_block_through),
		TEST(test_count_limit_stops_a_chain_of_specials),
		TEST(test_count_limit_is_at_the_same_place_with_kicks),
		TEST(test_count_rdtsc_reads_the_source_at_that_instruction),
		TEST(test_count_tsc_msr_moves_what_rdtsc_reads),
		TEST(test_count_rdtsc_with_tsd_is_gp_outside_cpl0),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
