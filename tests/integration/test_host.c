// SPDX-License-Identifier: GPL-2.0-only
/*
 * A host that punishes split locks, as a monitor that knows nothing of this project meets it:
 * samples/timeslice.c under `buslock exec --host-split-lock`, and `buslock lab hang`.
 */
#include "tests/integration/process.h"

#define TIMESLICE BUILT("samples/timeslice")
#define HOST      "x86/split lock detection: "

/* "loops=" of the line for slices of `ms` */
static unsigned loops(const struct output *output, unsigned ms)
{
	char start[32];
	const char *at;

	snprintf(start, sizeof(start), "timeout=%ums ", ms);
	at = strstr(output->text, start);
	if (!at)
		show_output("timeslice", output);
	assert_non_null(at);
	return (unsigned)number_after(strndupa(at, strcspn(at, "\n")), "loops=");
}

static unsigned lines_with(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

static void run_timeslice(const char *options, const char *words, struct output *output)
{
	char command[512];

	snprintf(command, sizeof(command), TIMESLICE " %s", words);
	run_on(EMULATED, options, command, 60, output);
}

/* ------------------------------------------------------------------ the sample itself */

static void test_timeslice_on_the_device_counts_aligned_locks(void **state)
{
	struct output output;

	(void)state;
	require_device();
	run_on(ON_DEVICE, NULL, TIMESLICE " --slices 5 2-3", 30, &output);
	expect_status("timeslice 2-3", &output, 0);
	assert_true(loops(&output, 2) > 0);
	assert_true(loops(&output, 3) > 0);
	output_free(&output);
	/* and does not stall the machine by accident */
	run_on(ON_DEVICE, NULL, TIMESLICE " --offset 62 2", 30, &output);
	if (output.status == 0)
		print_message("the device offers bus-lock exits: not refused\n");
	else
		assert_non_null(strstr(output.errors, "--native-split-locks"));
	output_free(&output);
}

static void test_timeslice_refuses_bad_input(void **state)
{
	static const char *const rows[] = {
		"x", "0", "5-3", "1-", "--slices=z 1", "--offset=-1 1"
	};
	struct output output;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run_timeslice(NULL, rows[i], &output);
		expect_status(rows[i], &output, 1);
		assert_non_null(strstr(output.errors, "give "));
		output_free(&output);
	}
}

/* ------------------------------------------------------------------ the hang */

/* 250 Hz and a kernel with the extra jiffy: signals up to 12 ms apart starve the guest. */
static void test_warn_kicks_every_few_milliseconds_starve_the_guest(void **state)
{
	struct output output;

	(void)state;
	run_timeslice("--host-split-lock=warn --kernel=6.1 "
		      "--expect host_traps>=1,host_messages==1,host_slept_ms>0,interrupted==16",
		      "--offset 62 --slices 4 2-5", &output);
	expect_status("timeslice 2-5", &output, 0);
	for (unsigned ms = 2; ms <= 5; ms++)
		assert_int_equal(loops(&output, ms), 0);
	/* what is seen is one place, and kicks */
	assert_int_equal(lines_with(output.text, "rip=0x1100\n"), 4);
	assert_int_equal(lines_with(output.errors, HOST "#AC: timeslice/"), 1);
	assert_non_null(strstr(output.errors, "took a split_lock trap at address: 0x1100\n"));
	assert_non_null(strstr(output.errors, HOST "#AC: crashing the kernel on kernel split_locks "
						   "and warning on user-space split_locks\n"));
	output_free(&output);
}

static void test_warn_slices_longer_than_the_sleep_get_on(void **state)
{
	struct output output;

	(void)state;
	run_timeslice("--host-split-lock=warn", "--offset 62 --slices 3 40", &output);
	expect_status("timeslice 40", &output, 0);
	assert_true(loops(&output, 40) > 0);
	output_free(&output);
}

static void test_warn_without_mitigation_or_with_the_fix_gets_on_in_short_slices(void **state)
{
	static const char *const options[] = {
		"--host-split-lock=warn --split-lock-mitigate=0",
		"--host-split-lock=warn --split-lock-fix",
		"--host-split-lock=warn --kernel=5.18",
		"--host-split-lock=ratelimit:1",
		"--host-split-lock=off",
	};
	struct output output;

	(void)state;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		run_timeslice(options[i], "--offset 62 --slices 10 2", &output);
		expect_status(options[i], &output, 0);
		if (!loops(&output, 2))
			show_output(options[i], &output);
		assert_true(loops(&output, 2) > 0);
		output_free(&output);
	}
}

static void test_warn_aligned_lock_is_not_punished(void **state)
{
	struct output output;

	(void)state;
	run_timeslice("--host-split-lock=warn --expect host_traps==0,locked>0", "--slices 5 2",
		      &output);
	expect_status("timeslice, aligned", &output, 0);
	output_free(&output);
}

static void test_fatal_kills_a_monitor_that_does_not_catch_sigbus(void **state)
{
	struct output output;

	(void)state;
	run_timeslice("--host-split-lock=fatal", "--offset 62 2", &output);
	expect_status("timeslice", &output, 128 + SIGBUS);
	assert_int_equal(lines_with(output.errors, HOST "#AC: timeslice/"), 1);
	assert_non_null(strstr(output.errors, " fatal split_lock trap at address: 0x1100\n"));
	output_free(&output);
}

/* force_sig_fault(): a signal that cannot be delivered kills; else the handler runs, then KVM_RUN returns. */
static void test_fatal_signal_by_disposition(void **state)
{
#define SIGNAL   "signal 7 code 1 address (nil) to the vCPU's thread 1\n"
#define RETURNED "KVM_RUN 0\nexit EXCEPTION rip 1100 exception 17 error 0\n"
	static const struct {
		const char *how, *text;
		int status;
	} rows[] = {
		{ "caught", SIGNAL RETURNED "end\n", 0 },
		{ "run-lets-in", RETURNED SIGNAL "end\n", 0 },
		{ "default", "", 128 + SIGBUS },
		{ "ignored", "", 128 + SIGBUS },
		{ "blocked", "", 128 + SIGBUS },
		{ "run-blocked", "", 128 + SIGBUS },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct output output;
		char command[256];

		snprintf(command, sizeof(command), BUILT("tests/programs/split_lock") " %s",
			 rows[i].how);
		run_on(EMULATED, "--host-split-lock=fatal", command, 30, &output);
		expect_status(command, &output, rows[i].status);
		assert_string_equal(output.text, rows[i].text);
		assert_int_equal(lines_with(output.errors, " fatal split_lock trap at address: "
							   "0x1100\n"),
				 1);
		output_free(&output);
	}
}

static void test_trace_has_the_hosts_lines_and_sleeps(void **state)
{
	char options[256], path[] = "/tmp/buslock-host-XXXXXX";
	struct output output;
	char *trace;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	snprintf(options, sizeof(options), "--host-split-lock=warn --kernel=6.1 --trace=%s", path);
	run_timeslice(options, "--offset 62 --slices 3 9", &output);
	expect_status("timeslice", &output, 0);
	trace = read_all(fd);
	close(fd);
	unlink(path);
	assert_int_equal(lines_with(trace, "\"event\":\"host_message\""), 2);
	assert_int_equal(lines_with(trace, "\"" HOST "#AC: timeslice/"), 1);
	assert_int_equal(lines_with(trace, "\"" HOST "#AC: crashing the kernel"), 1);
	/* 9 ms each; none where the machine was so busy that the kick came first */
	assert_in_range(lines_with(trace, "\"event\":\"sleep\""), 1, 3);
	assert_int_equal(lines_with(trace, "\"interrupted\":true"),
			 lines_with(trace, "\"event\":\"sleep\""));
	free(trace);
	output_free(&output);
}

/* ------------------------------------------------------------------ impossible options */

static void test_exec_refuses_what_the_kernel_does_not_have(void **state)
{
	static const struct {
		const char *options, *says;
	} rows[] = {
		{ "--host-split-lock=warn --kernel=6.0 --split-lock-mitigate=0",
		  "--split-lock-mitigate=0: that kernel has no sysctl" },
		{ "--host-split-lock=warn --kernel=5.18 --split-lock-fix", "5.19 has it" },
		{ "--host-split-lock=loud", "off, warn, fatal or ratelimit:N" },
		{ "--host-split-lock=ratelimit:0", "off, warn, fatal or ratelimit:N" },
		{ "--host-split-lock=ratelimit:1001", "off, warn, fatal or ratelimit:N" },
		{ "--hz=5", "from 24 to 1000" },
	};
	struct output output;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run_timeslice(rows[i].options, "2", &output);
		expect_status(rows[i].options, &output, 2);
		if (!strstr(output.errors, rows[i].says))
			show_output(rows[i].options, &output);
		assert_non_null(strstr(output.errors, rows[i].says));
		output_free(&output);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timeslice_on_the_device_counts_aligned_locks),
		cmocka_unit_test(test_timeslice_refuses_bad_input),
		cmocka_unit_test(test_warn_kicks_every_few_milliseconds_starve_the_guest),
		cmocka_unit_test(test_warn_slices_longer_than_the_sleep_get_on),
		cmocka_unit_test(
			test_warn_without_mitigation_or_with_the_fix_gets_on_in_short_slices),
		cmocka_unit_test(test_warn_aligned_lock_is_not_punished),
		cmocka_unit_test(test_fatal_kills_a_monitor_that_does_not_catch_sigbus),
		cmocka_unit_test(test_fatal_signal_by_disposition),
		cmocka_unit_test(test_trace_has_the_hosts_lines_and_sleeps),
		cmocka_unit_test(test_exec_refuses_what_the_kernel_does_not_have),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
