// SPDX-License-Identifier: GPL-2.0-only
/*
 * Policies as people use them: `buslock run --throttle`, and the experiments of `buslock lab`. Every
 * test starts the built program and looks at status and text.
 */
#include "tests/integration/run.h"

/* ------------------------------------------------------------------ run --throttle */

/* Twenty bus locks, on one vCPU. */
#define TWENTY GUEST("multiboot.elf")

static void test_run_throttle_lets_through_what_the_policy_does(void **state)
{
	static const struct {
		const char *policy, *expect;
	} rows[] = {
		{ "none", "locks==20,throttled_ms<500" },
		{ "qemu:10", "locks==20,throttled_ms>=1900,throttled_ms<3000" },
		/* each of them sleeps */
		{ "sleep:20ms", "locks==20,throttled_ms>=400,throttled_ms<900" },
		/* ten of them do */
		{ "bucket:20/s,burst=10", "locks==20,throttled_ms>=490,throttled_ms<900" },
		/* the last five wait for the next second */
		{ "kernel:15", "locks==20,throttled_ms>=960,throttled_ms<1500" },
		{ "kernel:20", "locks==20,throttled_ms<500" },
	};
	struct run run;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run_program(&run, BUSLOCK, "run", TWENTY, "--throttle", rows[i].policy, "--expect",
			    rows[i].expect);
		assert_exit(&run, 0);
	}
}

static void test_run_throttle_kill_ends_the_run_at_that_lock(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", TWENTY, "--throttle", "kill:7");
	assert_exit(&run, 124);
	assert_says(run.err, "ended by the policy");
	run_program(&run, BUSLOCK, "run", TWENTY, "--throttle", "kill:7", "--expect", "locks==7");
	assert_exit(&run, 0);
	run_program(&run, BUSLOCK, "run", TWENTY, "--throttle", "kill:21", "--expect", "locks==20");
	assert_exit(&run, 0);
	assert_silent(run.err, "ended by the policy");
}

static void test_run_throttle_refuses_what_is_no_policy(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", TWENTY, "--throttle", "qemu:ten");
	assert_exit(&run, 2);
	assert_says(run.err, "--throttle: policy 'qemu:ten': qemu:N with N from 0 is wanted");
	run_program(&run, BUSLOCK, "run", TWENTY, "--throttle", "slower");
	assert_exit(&run, 2);
	assert_says(run.err, "there is no policy 'slower'; there is none, qemu:N");
	assert_string_equal(run.out, "");
}

/* ------------------------------------------------------------------ the frame of the labs */

static void test_lab_without_a_name_is_a_usage_error(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "lab");
	assert_exit(&run, 2);
	assert_string_equal(run.out, "");
	assert_says(run.err, "Usage: buslock lab NAME");
	run_program(&run, BUSLOCK, "lab", "fly");
	assert_exit(&run, 2);
	assert_says(run.err, "no experiment 'fly'; `buslock lab list`");
	run_program(&run, BUSLOCK, "lab", "help", "fly");
	assert_exit(&run, 2);
	run_program(&run, BUSLOCK, "lab", "--help");
	assert_exit(&run, 0);
	assert_says(run.out, "Usage: buslock lab NAME");
	run_program(&run, BUSLOCK, "help", "lab");
	assert_exit(&run, 0);
	assert_says(run.out, "Usage: buslock lab NAME");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run_throttle_lets_through_what_the_policy_does),
		cmocka_unit_test(test_run_throttle_kill_ends_the_run_at_that_lock),
		cmocka_unit_test(test_run_throttle_refuses_what_is_no_policy),
		cmocka_unit_test(test_lab_without_a_name_is_a_usage_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
