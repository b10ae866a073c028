// SPDX-License-Identifier: GPL-2.0-only
/* Differential runs without a device: the other side is an emulator, too, or one that is wrong on purpose. */
#include "verify/flags.h"
#include "verify/generate.h"
#include "verify/golden.h"
#include "verify/verify.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PROGRAMS 300

/* ------------------------------------------------------------------ a device that is wrong */

/* Where LOCK XADD was executed, RCX is wrong. */
static void wrong_xadd(const struct program *p, struct result *r)
{
	for (unsigned i = 0; i < p->items; i++) {
		struct insn insn;

		if (!insn_decode(&insn, p->item[i].bytes, p->item[i].length, p->mode->code) &&
		    insn.op == OP_XADD && insn.flags & INSN_LOCKED)
			r->regs.rcx ^= 4;
	}
}

/* Wherever the answer of a device comes into memory: there, too. */
static void wrong_memory(const struct program *p, struct result *r)
{
	(void)p;
	if (r->events)
		((uint8_t *)(uintptr_t)r->ram)[MODE_DATA] ^= 1;
}

struct caught {
	struct program program;
	struct finding finding;
	unsigned times;
};

static void note(void *opaque, const struct program *program, const struct finding *finding,
		 uint64_t n)
{
	struct caught *caught = opaque;

	(void)n;
	if (!caught->times++) {
		caught->program = *program;
		caught->finding = *finding;
	}
}

static struct caught *run_against(const struct kvm_api *api, const char *mode,
				  struct verify_counts *counts)
{
	static struct caught caught;
	struct verify verify = { .api = api,
				 .seed = 5,
				 .count = PROGRAMS,
				 .max_different = 3,
				 .different = note,
				 .opaque = &caught };

	memset(&caught, 0, sizeof(caught));
	memset(counts, 0, sizeof(*counts));
	if (verify_run(&verify, mode_find(mode), counts))
		fail_msg("%s", verify.error);
	return &caught;
}

static void test_verify_wrong_instruction_is_found_and_shrunk_to_it(void **state)
{
	static const char *const names[] = { "real", "prot32", "long", "user" };
	struct kvm_api wrong = kvm_emulator;
	struct verify_counts counts;

	(void)state;
	wrong.falsify = wrong_xadd;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct caught *caught = run_against(&wrong, names[i], &counts);
		struct insn insn;

		assert_true(caught->times > 0);
		assert_int_equal(caught->program.items, 1);
		assert_int_equal(insn_decode(&insn, caught->program.item[0].bytes,
					     caught->program.item[0].length,
					     caught->program.mode->code),
				 0);
		assert_int_equal(insn.op, OP_XADD);
		assert_true(insn.flags & INSN_LOCKED);
		assert_non_null(strstr(caught->finding.difference, "rcx"));
		assert_int_equal(counts.verdict[VERDICT_DIFFERENT], caught->times);
	}
}

static void test_verify_wrong_memory_is_found_and_named(void **state)
{
	struct kvm_api wrong = kvm_emulator;
	struct verify_counts counts;
	struct caught *caught;

	(void)state;
	wrong.falsify = wrong_memory;
	caught = run_against(&wrong, "long", &counts);
	assert_true(caught->times > 0);
	assert_int_equal(caught->program.items, 1);
	assert_non_null(strstr(caught->finding.difference, "memory at b000"));
}

static void test_verify_emulator_against_itself_is_the_same(void **state)
{
	struct verify_counts counts;

	(void)state;
	for (unsigned i = 0; i < modes_count; i++) {
		run_against(&kvm_emulator, modes[i].name, &counts);
		assert_int_equal(counts.programs, PROGRAMS);
		assert_int_equal(counts.verdict[VERDICT_DIFFERENT], 0);
		assert_int_equal(counts.verdict[VERDICT_FLAGS], 0);
		/* a branch that does not reach is a program less */
		assert_true(counts.verdict[VERDICT_LAYOUT] <= PROGRAMS / 50);
	}
}

/* ------------------------------------------------------------------ what may run on a device */

static unsigned device_runs;

static long counting_ioctl(int fd, unsigned long request, unsigned long argument)
{
	device_runs += request == KVM_RUN;
	return kvm_emulator.ioctl(fd, request, argument);
}

/* lock inc dword [0xb000 + offset] in 64-bit code. */
static struct program locked_at(unsigned offset)
{
	struct program p = { .mode = mode_find("user"), .rflags = 0x202, .items = 1 };
	uint8_t code[] = { 0xf0, 0xff, 0x04, 0x25, (uint8_t)offset, 0xb0, 0, 0 };

	p.gpr[4] = MODE_STACK + 0x800;
	memcpy(p.item[0].bytes, code, sizeof(code));
	p.item[0].length = sizeof(code);
	return p;
}

static struct kvm_api counting;
static struct checker guarded(uint64_t budget, timer_t *timer)
{
	struct checker c = { .guard = true, .split_lock_budget = budget };

	counting = kvm_emulator;
	counting.ioctl = counting_ioctl;
	assert_int_equal(machine_ticks_start(timer), 0);
	assert_int_equal(machine_open(&c.emulator, &kvm_emulator, NULL, mode_find("user")), 0);
	assert_int_equal(machine_open(&c.other, &counting, NULL, mode_find("user")), 0);
	device_runs = 0;
	return c;
}

static void unguarded(struct checker *c, timer_t timer)
{
	machine_close(c->emulator);
	machine_close(c->other);
	timer_delete(timer);
}

static void test_verify_split_lock_never_reaches_the_device(void **state)
{
	static struct finding finding;
	struct program p = locked_at(62);
	timer_t timer;
	struct checker c = guarded(0, &timer);

	(void)state;
	assert_int_equal(check(&c, &p, &finding), 0);
	assert_int_equal(finding.verdict, VERDICT_SPLIT_LOCK);
	assert_int_equal(finding.emulator.bus_locks, 1);
	assert_int_equal(device_runs, 0);
	p = locked_at(60); /* within the line */
	assert_int_equal(check(&c, &p, &finding), 0);
	assert_int_equal(finding.verdict, VERDICT_SAME);
	assert_true(device_runs > 0);
	unguarded(&c, timer);
}

static void test_verify_split_locks_allowed_are_counted_down(void **state)
{
	static struct finding finding;
	struct program p = locked_at(62);
	timer_t timer;
	struct checker c = guarded(2, &timer);

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(check(&c, &p, &finding), 0);
		assert_int_equal(finding.verdict, i < 2 ? VERDICT_SAME : VERDICT_SPLIT_LOCK);
	}
	unguarded(&c, timer);
}

static void test_verify_split_locks_are_spread_out(void **state)
{
	static struct finding finding;
	struct program p = locked_at(62);
	struct timespec begun, ended;
	timer_t timer;
	struct checker c = guarded(5, &timer);

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(check(&c, &p, &finding), 0);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	assert_true((ended.tv_sec - begun.tv_sec) * 1000 +
			    (ended.tv_nsec - begun.tv_nsec) / 1000000 >=
		    49);
	unguarded(&c, timer);
}

/* An other side that comes to no end: the longer run would take the lock again. */
static long endless_ioctl(int fd, unsigned long request, unsigned long argument)
{
	struct timespec left = { 0, 60000000 };

	if (request != KVM_RUN)
		return kvm_emulator.ioctl(fd, request, argument);
	device_runs++;
	while (nanosleep(&left, &left))
		; /* the machines' ticks */
	return -EINTR;
}

static void test_verify_longer_run_counts_its_split_locks_again(void **state)
{
	static struct finding finding;
	struct program p = locked_at(62);
	timer_t timer;
	struct checker c = guarded(1, &timer);

	(void)state;
	counting.ioctl = endless_ioctl;
	assert_int_equal(check(&c, &p, &finding), 0);
	assert_int_equal(finding.verdict, VERDICT_ENDLESS);
	assert_int_equal(c.split_lock_budget, 0);
	assert_true(device_runs > 0 && device_runs < 5);
	unguarded(&c, timer);
}

static void test_verify_endless_program_never_reaches_the_device(void **state)
{
	static struct finding finding;
	struct program p = locked_at(60);
	timer_t timer;
	struct checker c = guarded(0, &timer);

	(void)state;
	memcpy(p.item[0].bytes, "\xeb\xfe", 2); /* jmp $ */
	p.item[0].length = 2;
	assert_int_equal(check(&c, &p, &finding), 0);
	assert_int_equal(finding.verdict, VERDICT_ENDLESS);
	assert_int_equal(device_runs, 0);
	unguarded(&c, timer);
}

/* By construction, not by the guard alone: few programs run wild. */
static void test_verify_generated_locks_lie_within_a_line(void **state)
{
	struct verify_counts counts;

	(void)state;
	for (unsigned i = 0; i < modes_count; i++) {
		struct verify verify = { .api = &kvm_emulator, .seed = 6, .count = PROGRAMS };
		struct form_list *forms;
		struct machine *machine;
		static struct result result;
		unsigned lockable, locks = 0;
		struct program p;
		timer_t timer;

		memset(&counts, 0, sizeof(counts));
		assert_int_equal(form_list_new(&forms, &modes[i]), 0);
		assert_true(forms->lockables >= 97);
		assert_int_equal(machine_ticks_start(&timer), 0);
		assert_int_equal(machine_open(&machine, &kvm_emulator, NULL, &modes[i]), 0);
		for (uint64_t n = 0; n < verify.count; n++) {
			generate(&p, &modes[i], forms, verify.seed, n, &lockable);
			assert_int_equal(lockable, n % forms->lockables);
			assert_int_equal(machine_run(machine, &p, &result), 0);
			locks += result.bus_locks > 0;
		}
		assert_true(locks <= PROGRAMS / 100);
		machine_close(machine);
		timer_delete(timer);
		form_list_free(forms);
	}
}

static void test_verify_program_number_is_always_the_same_program(void **state)
{
	struct program a, b;
	struct form_list *forms;
	unsigned lockable;

	(void)state;
	assert_int_equal(form_list_new(&forms, mode_find("long")), 0);
	generate(&a, mode_find("long"), forms, 9, 33, &lockable);
	generate(&b, mode_find("long"), forms, 9, 33, &lockable);
	assert_memory_equal(&a, &b, sizeof(a));
	generate(&b, mode_find("long"), forms, 10, 33, &lockable);
	assert_memory_not_equal(&a, &b, sizeof(a));
	form_list_free(forms);
}

static void wrong_by_value(const struct program *p, struct result *r)
{
	(void)p;
	if (r->regs.rsi == 0x1234)
		r->regs.rdi ^= 1;
}

static void test_verify_shrunk_moves_become_registers_of_the_start(void **state)
{
	static const uint8_t mov[] = { 0xbe, 0x34, 0x12, 0, 0 }, nop[] = { 0x90 };
	static struct finding finding;
	struct program p = locked_at(0);
	timer_t timer;
	struct checker c = guarded(0, &timer);

	(void)state;
	counting.falsify = wrong_by_value;
	memcpy(p.item[0].bytes, mov, sizeof(mov));
	p.item[0].length = sizeof(mov);
	memcpy(p.item[1].bytes, nop, sizeof(nop));
	p.item[1].length = sizeof(nop);
	p.items = 2;
	p.gpr[3] = 77;
	assert_int_equal(check(&c, &p, &finding), 0);
	assert_int_equal(finding.verdict, VERDICT_DIFFERENT);
	assert_int_equal(shrink(&c, &p, &finding), 0);
	assert_int_equal(finding.verdict, VERDICT_DIFFERENT);
	assert_int_equal(p.items, 0);
	assert_int_equal(p.gpr[6], 0x1234);
	assert_int_equal(p.gpr[3], 0);
	unguarded(&c, timer);
}

/* ------------------------------------------------------------------ undefined flags */

static struct flag_effect effect_of(const char *bytes, size_t n, int cl)
{
	struct flag_effect effect;
	struct insn insn;

	assert_int_equal(insn_decode(&insn, (const uint8_t *)bytes, n, 64), 0);
	flag_effect(&insn, cl, &effect);
	return effect;
}
#define EFFECT(bytes, cl) effect_of(bytes, sizeof(bytes) - 1, cl)

static void test_verify_flags_are_undefined_where_the_manual_says_so(void **state)
{
	(void)state;
	assert_int_equal(EFFECT("\x01\xc8", -1).undefined, 0); /* add */
	assert_int_equal(EFFECT("\x21\xc8", -1).undefined, FLAG_AF);
	assert_int_equal(EFFECT("\xf7\xe1", -1).undefined, FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF);
	assert_int_equal(EFFECT("\xf7\xf1", -1).undefined, FLAGS_STATUS); /* div */
	assert_int_equal(EFFECT("\xd1\xe0", -1).undefined, FLAG_AF);      /* shl 1 */
	assert_int_equal(EFFECT("\xc1\xe0\x02", -1).undefined, FLAG_AF | FLAG_OF);
	assert_int_equal(EFFECT("\xc1\xe0\x20", -1).undefined, 0); /* by 0 */
	assert_int_equal(EFFECT("\xd3\xe0", 0).undefined, 0);
	assert_int_equal(EFFECT("\xd3\xe0", 1).undefined, FLAG_AF);
	assert_int_equal(EFFECT("\xd3\xe0", 1).defines & FLAG_OF, FLAG_OF);
	assert_int_equal(EFFECT("\xd0\xd0", -1).uses, FLAG_CF); /* rcl */
	assert_int_equal(EFFECT("\x0f\xa3\xc8", -1).undefined,
			 FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF); /* bt */
	assert_int_equal(EFFECT("\x0f\xbc\xc8", -1).defines, FLAG_ZF);
	assert_int_equal(EFFECT("\x76\x00", -1).uses, FLAG_CF | FLAG_ZF); /* jbe */
	assert_int_equal(EFFECT("\x0f\x9f\xc0", -1).uses, FLAG_ZF | FLAG_SF | FLAG_OF);
	assert_int_equal(EFFECT("\x9c", -1).uses, FLAGS_STATUS);       /* pushf */
	assert_int_equal(EFFECT("\xff\xc0", -1).defines & FLAG_CF, 0); /* inc */
}

static void differ_by_flags(const struct program *p, struct result *r)
{
	(void)p;
	r->regs.rflags ^= FLAG_AF;
}

/* AF behind AND is excused, AF behind ADD is not. */
static void test_verify_only_undefined_flags_are_excused(void **state)
{
	static const uint8_t and[] = { 0x21, 0xc8 }, add[] = { 0x01, 0xc8 };
	static struct finding finding;
	struct program p = locked_at(0);
	timer_t timer;
	struct checker c = guarded(0, &timer);

	(void)state;
	counting.falsify = differ_by_flags;
	memcpy(p.item[0].bytes, and, sizeof(and));
	p.item[0].length = sizeof(and);
	assert_int_equal(check(&c, &p, &finding), 0);
	assert_int_equal(finding.verdict, VERDICT_FLAGS);
	assert_int_equal(finding.undefined, FLAG_AF);
	memcpy(p.item[0].bytes, add, sizeof(add));
	assert_int_equal(check(&c, &p, &finding), 0);
	assert_int_equal(finding.verdict, VERDICT_DIFFERENT);
	unguarded(&c, timer);
}

/* ------------------------------------------------------------------ golden cases */

static int write_and_read(const struct program *p, const struct result *r, struct golden **golden)
{
	char *text = NULL, why[256] = "";
	size_t size;
	FILE *file = open_memstream(&text, &size);
	int error;

	golden_write(file, p, r, 0, "a remark");
	fclose(file);
	file = fmemopen(text, size, "r");
	error = golden_read(file, golden, why, sizeof(why));
	fclose(file);
	if (error)
		print_message("%s\n%s", why, text);
	free(text);
	return error;
}

static void test_verify_golden_what_is_written_is_read(void **state)
{
	static const char *const names[] = { "a", "b" };

	(void)state;
	for (unsigned i = 0; i < modes_count; i++) {
		struct form_list *forms;
		struct machine *machine;
		timer_t timer;

		assert_int_equal(form_list_new(&forms, &modes[i]), 0);
		assert_int_equal(machine_ticks_start(&timer), 0);
		assert_int_equal(machine_open(&machine, &kvm_emulator, NULL, &modes[i]), 0);
		for (uint64_t n = 0; n < 40; n++) {
			static struct result result;
			struct golden *golden;
			struct program p;
			unsigned lockable;
			char why[160];

			generate(&p, &modes[i], forms, 3, n, &lockable);
			assert_int_equal(machine_run(machine, &p, &result), 0);
			if (result.end == END_LIMIT)
				continue;
			assert_int_equal(write_and_read(&p, &result, &golden), 0);
			assert_string_equal(golden->remark, "a remark");
			if (results_differ(&golden->program, &result, &golden->expected, 0, names,
					   why, sizeof(why)))
				fail_msg("%s %u: %s", modes[i].name, (unsigned)n, why);
			free(golden);
		}
		machine_close(machine);
		timer_delete(timer);
		form_list_free(forms);
	}
}

static void expect_refused(const char *text, const char *reason)
{
	FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	struct golden *golden;
	char why[256] = "";

	assert_int_equal(golden_read(file, &golden, why, sizeof(why)), -EINVAL);
	fclose(file);
	if (!strstr(why, reason))
		fail_msg("'%s' does not say '%s'", why, reason);
}

static void test_verify_golden_wrong_lines_are_named(void **state)
{
	(void)state;
	expect_refused("mode sideways\n", "line 1: there is no mode 'sideways'");
	expect_refused("mode real\nset rxx 1\n", "line 2: there is no 'rxx'");
	expect_refused("mode real\nset rax zz\n", "line 2: 'zz' is no number");
	expect_refused("mode real\ncode 90 123\n", "line 2: '123' is no byte");
	expect_refused("mode real\ncode\n", "line 2: bytes are missing");
	expect_refused("mode real\nwhat\n", "line 2: 'what' is no key");
	expect_refused("mode real\nexpect love\n", "'love' is nothing that can be expected");
	expect_refused("mode real\nexpect memory fffff 00\n", "there is no memory at fffff");
	expect_refused("mode real\ncode 90 90 90 90 90 90 90 90 90 90 90 90 90 90 90 90\n",
		       "more than 15 bytes");
	expect_refused("expect end done 0\n", "there is no line 'mode'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verify_wrong_instruction_is_found_and_shrunk_to_it),
		cmocka_unit_test(test_verify_wrong_memory_is_found_and_named),
		cmocka_unit_test(test_verify_emulator_against_itself_is_the_same),
		cmocka_unit_test(test_verify_split_locks_are_spread_out),
		cmocka_unit_test(test_verify_longer_run_counts_its_split_locks_again),
		cmocka_unit_test(test_verify_shrunk_moves_become_registers_of_the_start),
		cmocka_unit_test(test_verify_split_lock_never_reaches_the_device),
		cmocka_unit_test(test_verify_split_locks_allowed_are_counted_down),
		cmocka_unit_test(test_verify_endless_program_never_reaches_the_device),
		cmocka_unit_test(test_verify_generated_locks_lie_within_a_line),
		cmocka_unit_test(test_verify_program_number_is_always_the_same_program),
		cmocka_unit_test(test_verify_flags_are_undefined_where_the_manual_says_so),
		cmocka_unit_test(test_verify_only_undefined_flags_are_excused),
		cmocka_unit_test(test_verify_golden_what_is_written_is_read),
		cmocka_unit_test(test_verify_golden_wrong_lines_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
