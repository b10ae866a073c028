// SPDX-License-Identifier: GPL-2.0-only
/* emu_svm_exit_code(): which code each exit has, for callers that hand over any number. */
#include "emu/emu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_svm_code_of_no_exit_is_invalid(void **state)
{
	static const int none[] = { EMU_EXIT_ENTRY_FAILURE + 1, EMU_EXIT_ENTRY_FAILURE + 1000, -1 };

	(void)state;
	for (unsigned n = 0; n < sizeof(none) / sizeof(none[0]); n++)
		assert_int_equal(emu_svm_exit_code((enum emu_exit_type)none[n], 0), SVM_INVALID);
}

/* 0 is an intercept of CR0 reads, which no exit is: it would be a row that is missing. */
static void test_svm_code_of_each_exit_is_there(void **state)
{
	(void)state;
	for (int type = EMU_EXIT_NONE; type <= EMU_EXIT_ENTRY_FAILURE; type++)
		assert_int_not_equal(emu_svm_exit_code((enum emu_exit_type)type, 0), 0);
}

static void test_svm_code_of_exceptions_has_the_vector(void **state)
{
	(void)state;
	assert_int_equal(emu_svm_exit_code(EMU_EXIT_EXCEPTION, 14), 0x4e);
	assert_int_equal(emu_svm_exit_code(EMU_EXIT_EXCEPTION, 0x8000030e), 0x4e);
	assert_int_equal(emu_svm_exit_code(EMU_EXIT_DEBUG, 1), 0x41);
	assert_int_equal(emu_svm_exit_code(EMU_EXIT_HLT, 14), SVM_HLT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_svm_code_of_no_exit_is_invalid),
		cmocka_unit_test(test_svm_code_of_each_exit_is_there),
		cmocka_unit_test(test_svm_code_of_exceptions_has_the_vector),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
