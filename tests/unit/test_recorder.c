/* SPDX-License-Identifier: GPL-2.0-only */
/* The recorder of latencies: what it plans, and when it refuses. Executes no split lock. */
#include "emu/insn.h"
#include "traces/recorder/recorder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h wants the above */
#include <cmocka.h>

static struct form forms[MAX_FORMS];
static size_t count;

/* ------------------------------------------------------------------ forms */

static void test_recorder_forms_decode_as_what_they_are_called(void **state)
{
	(void)state;
	assert_in_range(count, 100, MAX_FORMS);
	for (size_t i = 0; i < count; i++) {
		const struct form *f = &forms[i];
		struct insn_regs regs = { .stack_size = 8 };
		struct insn_access access[INSN_MAX_ACCESSES];
		struct insn insn;
		char size[8];

		assert_int_equal(insn_decode(&insn, f->code, f->length, 64), 0);
		assert_int_equal(insn.length, f->length);
		assert_true(insn.flags & INSN_LOCKED);
		assert_int_equal(!!(insn.flags & INSN_LOCK), !strncmp(f->name, "LOCK ", 5));
		snprintf(size, sizeof(size), " m%u", insn.mem_size * 8u);
		assert_non_null(strstr(f->name, size));
		assert_int_equal(insn.mem_size, f->size);
		regs.gpr[1] = f->rcx;
		regs.gpr[7] = 0x1000;
		assert_true(insn_accesses(&insn, &regs, access) >= 1);
		assert_int_equal(access[0].linear, 0x1000 + f->displacement);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(forms[j].name, f->name);
	}
}

static void test_recorder_plan_counts_every_split_execution(void **state)
{
	const struct form word = { .size = 2 }, byte = { .size = 1 };
	const struct form pair = { .size = 16, .aligned_only = true };
	const struct form some[] = { word, byte, pair };

	(void)state;
	assert_false(form_splits(&byte, 63));
	assert_false(form_splits(&word, 62));
	assert_true(form_splits(&word, 63));
	assert_true(form_splits(&pair, 49));
	assert_int_equal(plan_splits(&(struct plan){ 100, 3 }, &word), 3);
	assert_int_equal(plan_splits(&(struct plan){ 100, 3 }, &byte), 0);
	assert_int_equal(plan_splits(&(struct plan){ 100, 3 }, &pair), 15);
	assert_int_equal(plan_total(&(struct plan){ 100, 3 }, some, 3), 18);
	assert_int_equal(plan_total(&(struct plan){ 100, 0 }, forms, count), 0);
}

/* ------------------------------------------------------------------ refusals */

/* All is well: each case of the table spoils one thing. */
#define WELL .really = true, .terminal = true, .planned = 100

static const struct {
	struct circumstances now;
	const char *why; /* NULL: allowed */
} circumstances[] = {
	{ { WELL }, NULL },
	{ { .terminal = true, .planned = 100 }, "give --dry-run, or --yes-really" },
	{ { WELL, .ci = true }, "CI is set" },
	{ { .really = true, .planned = 100 }, "no terminal" },
	{ { WELL, .record_exists = true }, "--again" },
	{ { WELL, .record_exists = true, .again = true }, NULL },
	{ { WELL, .again = true, .spent = SPLIT_BUDGET - 100 }, NULL },
	{ { WELL, .again = true, .spent = SPLIT_BUDGET - 99 }, "may have 2000" },
	{ { WELL, .again = true, .spent = SPLIT_BUDGET + 1 }, "may have 2000" },
	{ { WELL, .again = true, .spent = ~0u }, "may have 2000" },
	{ { .really = true, .terminal = true, .planned = SPLIT_BUDGET + 1 }, "smaller --repeat" },
	{ { .dry_run = true }, NULL },
	{ { .dry_run = true, .ci = true }, NULL },
	{ { .dry_run = true, .planned = 1 }, "no split lock" },
	{ { .dry_run = true, .record_exists = true }, "--again" },
};

static void test_recorder_each_circumstance_alone_refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(circumstances) / sizeof(circumstances[0]); i++) {
		char why[256] = "";

		assert_int_equal(guard_allows(&circumstances[i].now, why, sizeof(why)),
				 !circumstances[i].why);
		if (circumstances[i].why && !strstr(why, circumstances[i].why))
			fail_msg("row %zu: \"%s\" is not in \"%s\"", i, circumstances[i].why, why);
	}
}

static void test_recorder_only_the_whole_sentence_confirms(void **state)
{
	(void)state;
	assert_true(guard_confirms(100, "stop this machine 100 times"));
	assert_false(guard_confirms(100, "stop this machine 101 times"));
	assert_false(guard_confirms(100, "stop this machine 100 times "));
	assert_false(guard_confirms(100, "stop this machine"));
	assert_false(guard_confirms(100, "y"));
	assert_false(guard_confirms(100, ""));
}

/* ------------------------------------------------------------------ measuring */

static void test_recorder_dry_run_measures_within_the_line_and_splits_nothing(void **state)
{
	static const uint8_t sum[4] = { 0x0e, 0x0f, 0x97, 0xc9 }; /* 7e3ca596 + 4b5a6978 */
	const struct form *form = &forms[0];
	struct row row;

	(void)state;
	while (strcmp(form->name, "LOCK ADD m32, r32") != 0)
		assert_true(++form < forms + count);
	assert_int_equal(measure_form(form, &(struct plan){ 5, 0 }, &row), 0);
	for (unsigned offset = 0; offset < LINE; offset++) {
		assert_int_equal(row.runs[offset], offset <= 60 ? 5 : 0);
		assert_int_equal(row.min[offset] > 0, offset <= 60);
		assert_true(row.min[offset] <= row.median[offset]);
		assert_true(10 * row.min[offset] <= row.mean10[offset]);
		assert_true(row.mean10[offset] <= 10 * row.median[offset]);
	}
	assert_int_equal(row.outcome_count, 1);
	assert_int_equal(row.outcomes[0].executions, 5 * 61);
	assert_memory_equal(row.outcomes[0].outcome.memory, sum, 4);
	assert_int_equal(row.outcomes[0].outcome.rcx, form->rcx);
	assert_int_equal(row.splits, 0);
	assert_int_equal(measure_splits(), 0);
}

static void test_recorder_misaligned_cmpxchg16b_is_recorded_as_a_fault(void **state)
{
	const struct form *form = &forms[count - 1];
	struct row row;

	(void)state;
	assert_true(form->aligned_only);
	assert_int_equal(measure_form(form, &(struct plan){ 5, 0 }, &row), 0);
	for (unsigned offset = 0; offset < LINE; offset++)
		assert_int_equal(row.runs[offset], offset % 16 ? 0 : 5);
	assert_int_equal(row.outcome_count, 2);
	assert_int_equal(row.outcomes[0].outcome.fault, 0);
	assert_int_equal(row.outcomes[1].outcome.fault, 1);
	assert_int_equal(row.outcomes[1].executions, 45);
}

/* With the form that faults before it locks: nothing that is broken here can make it a split lock. */
static void test_recorder_split_executions_are_those_allowed_and_no_more(void **state)
{
	const struct form *form = &forms[count - 1];
	struct row row;

	(void)state;
	assert_true(form->aligned_only);
	assert_int_equal(measure_form(form, &(struct plan){ 1, 1 }, &row), -EDQUOT);
	assert_int_equal(measure_splits(), 0);
	assert_int_equal(measure_allow(3), 3);
	assert_int_equal(measure_form(form, &(struct plan){ 1, 1 }, &row), -EDQUOT);
	assert_int_equal(row.splits, 3);
	assert_int_equal(measure_splits(), 3);
	assert_int_equal(measure_allow(15), 18);
	assert_int_equal(measure_form(form, &(struct plan){ 1, 1 }, &row), 0);
	assert_int_equal(row.splits, 15);
	/* all recordings of a process count */
	assert_int_equal(measure_allow(SPLIT_BUDGET - 18), SPLIT_BUDGET);
	assert_int_equal(measure_allow(SPLIT_BUDGET - 17), SPLIT_BUDGET);
	assert_int_equal(measure_allow(~0u), SPLIT_BUDGET);
	assert_int_equal(measure_allow(0), 18);
	assert_int_equal(measure_form(form, &(struct plan){ 1, 1 }, &row), -EDQUOT);
}

/* MOV BYTE [RDI+displacement], which locks nothing */
static void test_recorder_write_beside_the_operand_is_an_error(void **state)
{
	struct form form = { .code = { 0xc6, 0x47, 0x00, 0x11 }, .length = 4, .size = 1 };
	struct row row;

	(void)state;
	assert_int_equal(measure_form(&form, &(struct plan){ 1, 0 }, &row), 0);
	assert_int_equal(row.outcomes[0].outcome.memory[0], 0x11);
	form.code[2] = 1;
	assert_int_equal(measure_form(&form, &(struct plan){ 1, 0 }, &row), -EFAULT);
	form.code[2] = 0xff;
	assert_int_equal(measure_form(&form, &(struct plan){ 1, 0 }, &row), -EFAULT);
}

static int build(void **state)
{
	(void)state;
	count = forms_build(forms);
	return measure_begin();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorder_forms_decode_as_what_they_are_called),
		cmocka_unit_test(test_recorder_plan_counts_every_split_execution),
		cmocka_unit_test(test_recorder_each_circumstance_alone_refuses),
		cmocka_unit_test(test_recorder_only_the_whole_sentence_confirms),
		cmocka_unit_test(test_recorder_dry_run_measures_within_the_line_and_splits_nothing),
		cmocka_unit_test(test_recorder_misaligned_cmpxchg16b_is_recorded_as_a_fault),
		cmocka_unit_test(test_recorder_write_beside_the_operand_is_an_error),
		cmocka_unit_test(test_recorder_split_executions_are_those_allowed_and_no_more),
	};
	return cmocka_run_group_tests(tests, build, NULL);
}
