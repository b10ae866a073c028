/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tools/linux-guest: Debian's kernel boots in QEMU under `buslock exec`; a user program there measures
 * QEMU's limit; the results of a workload are those that QEMU's own emulator gives.
 *
 * A boot takes 2 s on an idle machine; the limits here are for a very busy one.
 */
#include "tests/integration/process.h"

#define LINUX_GUEST BUSLOCK_SOURCE_DIR "/tools/linux-guest"
#define MISSING     77
/* execvp() wants them so, and changes none */
#define WORD(text) ((char *)(uintptr_t)(text))

static char *work;

/* Runs the command; leaves the test if it says that something is not here. */
static void linux_guest(const char *const options[], double limit, struct output *output)
{
	char *argv[32] = { WORD(LINUX_GUEST), WORD("--build"), WORD(BUSLOCK_BUILD_DIR),
			   WORD("--work"), work };
	size_t n = 5;

	for (; *options; options++)
		argv[n++] = WORD(*options);
	run_process(argv, limit, output);
	if (output->status == MISSING) {
		print_message("skipped: %s", output->errors);
		output_free(output);
		skip();
	}
}

static void show(const struct output *output)
{
	print_message("status %d\n%s\n%s\n", output->status, output->text, output->errors);
}

static void test_linux_guest_rate_100_is_what_the_guest_measures(void **state)
{
	static const char *const options[] = { "--rates", "100",   "--seconds", "3", "--runs",
					       "0",       "--smp", "0",         NULL };
	struct output output;

	(void)state;
	/* A machine that stands still for a third of a second spoils three: once more then. */
	for (int attempt = 0; attempt < 2; attempt++) {
		linux_guest(options, 120, &output);
		if (!output.status)
			break;
		show(&output);
		if (!attempt)
			output_free(&output);
	}
	assert_int_equal(output.status, 0);
	assert_non_null(strstr(output.text, "bus-lock-ratelimit=100"));
	output_free(&output);
}

static void test_linux_guest_without_limit_is_not_taken_for_a_rate(void **state)
{
	/* far more than a guest can take in its time: the command has to say that it is not met */
	static const char *const options[] = { "--rates", "900000", "--seconds", "1", "--runs",
					       "0",       "--smp",  "0",         NULL };
	struct output output;

	(void)state;
	linux_guest(options, 120, &output);
	assert_int_equal(output.status, 1);
	assert_non_null(strstr(output.text, "FAILED: more than 10 % off"));
	output_free(&output);
}

static void test_linux_guest_workload_gives_the_results_of_tcg(void **state)
{
	static const char *const options[] = {
		"--rates", "none", "--runs", "1", "--smp", "0", NULL
	};
	struct output output;

	(void)state;
	linux_guest(options, 300, &output);
	if (output.status)
		show(&output);
	assert_int_equal(output.status, 0);
	assert_non_null(strstr(output.text, "busybox workload after it"));
	output_free(&output);
}

static void test_linux_guest_boots_with_two_vcpus(void **state)
{
	static const char *const options[] = {
		"--rates", "none", "--runs", "0", "--smp", "2", NULL
	};
	struct output output;

	(void)state;
	linux_guest(options, 150, &output);
	if (output.status)
		show(&output);
	assert_int_equal(output.status, 0);
	assert_non_null(strstr(output.text, "2 CPUs"));
	output_free(&output);
}

static int setup(void **state)
{
	static char name[] = "/tmp/buslock-linux-guest-XXXXXX";

	(void)state;
	work = mkdtemp(name);
	return work ? 0 : -1;
}

static int teardown(void **state)
{
	char *const argv[] = { WORD("rm"), WORD("-rf"), work, NULL };
	struct output output;

	(void)state;
	run_process(argv, 30, &output);
	output_free(&output);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linux_guest_rate_100_is_what_the_guest_measures),
		cmocka_unit_test(test_linux_guest_without_limit_is_not_taken_for_a_rate),
		cmocka_unit_test(test_linux_guest_workload_gives_the_results_of_tcg),
		cmocka_unit_test(test_linux_guest_boots_with_two_vcpus),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
