// SPDX-License-Identifier: GPL-2.0-only
/* `buslock mutate`, and with it each deliberate fault: what a good test notices, and what a bad one does not. */
#include "tests/integration/run.h"

#define COUNT PROGRAM("bus_lock_count")

static char script[] = "/tmp/buslock-mutate-test-XXXXXX";

static int setup(void **state)
{
	int fd = mkstemp(script);

	(void)state;
	return fd < 0 || close(fd) || chmod(script, 0755) ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	return unlink(script);
}

static void put_script(const char *command)
{
	FILE *out = fopen(script, "w");

	assert_non_null(out);
	fprintf(out, "#!/bin/sh\n%s\n", command);
	fclose(out);
}

static void expect_row(const char *out, const char *fault, const char *noticed)
{
	char row[64];

	snprintf(row, sizeof(row), "\n%-16s %-8s ", fault, noticed);
	if (!strstr(out, row))
		fail_msg("no row \"%s\" in: %s", row + 1, out);
}

/* The kernel's selftest with its exits counted: it notices all that can come about in it. */
static void test_mutate_selftest_notices_what_comes_about(void **state)
{
	static const char *const noticed[] = {
		"no-exit",       "exit-twice", "no-flag",     "flag-alone",
		"bit-26-alone",  "skipped",    "repeated",    "other-vendor",
		"no-capability", "refused",    "eintr-storm",
	};
	const char *argv[] = { BUSLOCK, "mutate", "--", COUNT, "intel", NULL };
	struct run run;

	(void)state;
	run_how(&run, argv, (struct run_how){ 0 });
	assert_exit(&run, 1);
	for (size_t i = 0; i < sizeof(noticed) / sizeof(noticed[0]); i++)
		expect_row(run.out, noticed[i], "yes");
	expect_row(run.out, "unasked", "NO");
	expect_row(run.out, "error-swallowed", "NO");
	assert_non_null(strstr(run.out, "the fault never came about"));
	assert_non_null(strstr(run.out, "\n11 of 13 noticed\n"));
}

static void test_mutate_with_another_processor(void **state)
{
	const char *argv[] = { BUSLOCK, "mutate",   "--cpu",
			       "amd",   "--except", "unasked,error-swallowed",
			       "--",    COUNT,      "amd",
			       NULL };
	struct run run;

	(void)state;
	run_how(&run, argv, (struct run_how){ 0 });
	assert_exit(&run, 0);
	assert_non_null(strstr(run.out, "\n11 of 11 noticed\n"));
	assert_null(strstr(run.out, "unasked"));
}

static void test_mutate_test_that_cannot_fail_notices_nothing(void **state)
{
	const char *argv[] = { BUSLOCK, "mutate", "--only", "refused,skipped", "--", "true", NULL };
	struct run run;

	(void)state;
	run_how(&run, argv, (struct run_how){ 0 });
	assert_exit(&run, 1);
	assert_non_null(strstr(run.out, "\n0 of 2 noticed\n"));
}

/* The guest locks the bus, nobody has asked for exits: counted by a script that calls exec by itself. */
static void test_mutate_script_that_calls_exec(void **state)
{
	const char *argv[] = { BUSLOCK, "mutate", "--only", "unasked,refused", "--", script, NULL };
	struct run run;

	(void)state;
	put_script("exec " BUSLOCK " exec --report=none --expect flags==0,locks==1 -- " PROGRAM(
		"run_guest") " --mode real --offset 125 " GUEST("opendos.bin"));
	run_how(&run, argv, (struct run_how){ 0 });
	assert_exit(&run, 1);
	expect_row(run.out, "unasked", "yes");
	expect_row(run.out, "refused", "NO");
}

static void test_mutate_hang_is_noticed_and_ended(void **state)
{
	const char *argv[] = { BUSLOCK, "mutate", "--only", "refused", "--time-limit",
			       "1",     "--",     script,   NULL };
	struct run run;

	(void)state;
	/* with a child of its own that would hold on */
	put_script("[ \"$BUSLOCK_FAULT\" = none ] || { sleep 60 & sleep 60; }");
	run_how(&run, argv, (struct run_how){ 0 });
	assert_exit(&run, 0);
	assert_non_null(strstr(run.out, "hung"));
	assert_true(run.seconds < 20);
}

/* A terminal would stop it: it is not in the foreground. */
static void test_mutate_test_reads_nothing_from_the_terminal(void **state)
{
	char command[512];
	struct run run;

	(void)state;
	put_script("[ \"$(readlink /proc/self/fd/0)\" = /dev/null ]");
	snprintf(command, sizeof(command), "sleep 1 | %s mutate --only refused -- %s", BUSLOCK,
		 script);
	run_how(&run, (const char *[]){ "sh", "-c", command, NULL }, (struct run_how){ 0 });
	assert_exit(&run, 1);
	assert_non_null(strstr(run.out, "0 of 1 noticed"));
}

static void test_mutate_options_may_be_shortened(void **state)
{
	const char *argv[] = { BUSLOCK,  "mutate", "--on", "refused", "--time-l=9",
			       "--time", "real",   "--",   "true",    NULL };
	struct run run;

	(void)state;
	run_how(&run, argv, (struct run_how){ 0 });
	assert_exit(&run, 1);
	assert_non_null(strstr(run.out, "0 of 1 noticed"));
}

/* Who closes the terminal ends the test as well. */
static void test_mutate_hangup_ends_the_test(void **state)
{
	char command[512];
	struct run run;

	(void)state;
	put_script("echo $$ > \"$0.pid\"; exec sleep 30");
	snprintf(command, sizeof(command),
		 "p=%s.pid; %s mutate -- %s & m=$!; while [ ! -s $p ]; do sleep 0.1; done; "
		 "kill -HUP $m; wait $m; echo status=$?; sleep 0.3; "
		 "grep -q '^State:.[^ZX]' /proc/$(cat $p)/status && echo alive; rm $p",
		 script, BUSLOCK, script);
	run_how(&run, (const char *[]){ "sh", "-c", command, NULL }, (struct run_how){ 0 });
	assert_non_null(strstr(run.out, "status=129"));
	assert_null(strstr(run.out, "alive"));
}

static void test_mutate_errors_are_told(void **state)
{
	static const struct {
		const char *a, *b, *says;
	} bad[] = {
		{ "--", "false", "does not pass (exit status 1)" },
		{ "--", "/nonexistent", "does not pass (exit status 127)" },
		{ "--only=nope", "true", "there is no fault 'nope'" },
		{ "--time-limit=0", "true", "mutate: --time-limit" },
		{ "--fault=no-exit", "true", "--only=no-exit chooses" },
		{ "--locked", "true", "no trace is written here" },
		{ "--cpu=mips", "true", "--cpu=mips" },
		{ "--", NULL, "which test?" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *argv[] = { BUSLOCK, "mutate", bad[i].a, bad[i].b, NULL };
		struct run run;

		run_how(&run, argv, (struct run_how){ 0 });
		assert_exit(&run, 2);
		assert_non_null(strstr(run.err, bad[i].says));
	}
}

static void test_mutate_result_as_json(void **state)
{
	const char *argv[] = { BUSLOCK, "mutate", "--json", "--only", "skipped",
			       "--",    COUNT,    "intel",  NULL };
	struct run run;

	(void)state;
	run_how(&run, argv, (struct run_how){ 0 });
	assert_exit(&run, 0);
	assert_int_equal(run.out[0], '[');
	assert_non_null(strstr(run.out, "\"came_about\":true"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mutate_selftest_notices_what_comes_about),
		cmocka_unit_test(test_mutate_with_another_processor),
		cmocka_unit_test(test_mutate_test_that_cannot_fail_notices_nothing),
		cmocka_unit_test(test_mutate_script_that_calls_exec),
		cmocka_unit_test(test_mutate_hang_is_noticed_and_ended),
		cmocka_unit_test(test_mutate_test_reads_nothing_from_the_terminal),
		cmocka_unit_test(test_mutate_options_may_be_shortened),
		cmocka_unit_test(test_mutate_hangup_ends_the_test),
		cmocka_unit_test(test_mutate_errors_are_told),
		cmocka_unit_test(test_mutate_result_as_json),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
