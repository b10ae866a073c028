/* SPDX-License-Identifier: GPL-2.0-only */
/* A guest that uses split-lock disable itself: with the option, and as KVM has it. */
#include "tests/integration/run.h"

static void guest_prints(const char *option, const char *expect, const char *output)
{
	struct run run;

	run_program(&run, BUSLOCK, "run", option, "--report=none", "--expect", expect,
		    GUEST("split_lock_disable16.bin"), "--load", "0x1000", NULL);
	if (strcmp(run.out, output))
		fail_msg("%s printed \"%s\", and: %s", option, run.out, run.err);
	assert_true(WIFEXITED(run.status));
	assert_int_equal(WEXITSTATUS(run.status), 0);
}

static void test_split_lock_disable_faults_once_then_the_lock_is_taken(void **state)
{
	(void)state;
	guest_prints("--guest-sld", "locks==1,flags==1", "CAD");
}

static void test_split_lock_disable_is_not_there_as_kvm_has_it(void **state)
{
	(void)state;
	guest_prints("--cpu=intel", "locks==0,flags==0", "G");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split_lock_disable_faults_once_then_the_lock_is_taken),
		cmocka_unit_test(test_split_lock_disable_is_not_there_as_kvm_has_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
