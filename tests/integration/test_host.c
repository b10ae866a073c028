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
	assert_int_not_equal(output.status, 0);
	assert_non_null(strstr(output.errors, "--split-locks"));
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

/* In virtual time the ticks stand where they stand: 10 ms and what jiffies make of them. */
static void test_warn_kicks_more_often_than_the_sleep_starve_the_guest(void **state)
{
	static const struct {
		const char *options;
		unsigned starved, fed; /* all slices up to and including; from here on */
	} rows[] = {
		{ "--hz=1000", 9, 10 },
		{ "--hz=1000 --kernel=6.6", 10, 11 }, /* msleep()'s extra jiffy, up to 6.11 */
		{ "--hz=250", 8, 12 },                /* 3 jiffies of 4 ms */
		{ "--hz=250 --kernel=6.1", 12, 16 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct output output;
		char options[128];

		snprintf(options, sizeof(options), "--time=virtual --host-split-lock=warn %s",
			 rows[i].options);
		run_timeslice(options, "--split-locks --offset 62 --slices 8 1-20", &output);
		expect_status(options, &output, 0);
		for (unsigned ms = 1; ms <= 20; ms++) {
			if (ms <= rows[i].starved ? !loops(&output, ms)
						  : ms < rows[i].fed || loops(&output, ms))
				continue;
			show_output(options, &output);
			fail_msg("%s: %u loops in slices of %u ms", options, loops(&output, ms),
				 ms);
		}
		output_free(&output);
	}
}

static void test_warn_starved_guest_shows_one_place_one_line_and_all_its_traps(void **state)
{
	struct output output;

	(void)state;
	run_timeslice("--time=virtual --host-split-lock=warn "
		      "--expect host_traps==16,host_messages==1,host_slept_ms==40,interrupted==16,"
		      "locks==0",
		      "--split-locks --offset 62 --slices 4 1-4", &output);
	expect_status("timeslice 1-4", &output, 0);
	assert_int_equal(lines_with(output.text, "loops=0 rip=0x1100\n"), 4);
	assert_int_equal(lines_with(output.errors, HOST), 2);
	assert_non_null(strstr(output.errors,
			       HOST "#AC: crashing the kernel on kernel split_locks and warning on "
				    "user-space split_locks\n"));
	/* with virtual time the number is the vCPU's */
	assert_non_null(strstr(output.errors, HOST "#AC: timeslice/1 took a split_lock trap at "
						   "address: 0x1100\n"));
	output_free(&output);
}

static char *trace_of(const char *options, const char *command)
{
	char line[256], path[] = "/tmp/buslock-host-XXXXXX";
	struct output output;
	char *trace;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	snprintf(line, sizeof(line), "--trace=%s %s", path, options);
	run_on(EMULATED, line, command, 60, &output);
	expect_status(line, &output, 0);
	output_free(&output);
	/* it is a large one, and so compressed */
	snprintf(line, sizeof(line), "%s show --json %s >%s.text && mv %s.text %s", BUSLOCK, path,
		 path, path, path);
	assert_int_equal(system(line), 0);
	close(fd);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	trace = read_all(fd);
	close(fd);
	unlink(path);
	return trace;
}

static void test_warn_in_virtual_time_gives_the_same_trace_twice(void **state)
{
	const char *options = "--time=virtual --hz=1000 --host-split-lock=warn";
	const char *command = TIMESLICE " --split-locks --offset 62 --slices 3 9-14";
	char *first = trace_of(options, command), *second = trace_of(options, command);

	(void)state;
	assert_string_equal(first, second);
	assert_int_equal(lines_with(first, "\"event\":\"host_message\""), 2);
	assert_int_equal(lines_with(first, "\"text\":\"" HOST "#AC: timeslice/1 took "), 1);
	assert_int_equal(lines_with(first, "\"text\":\"" HOST "#AC: crashing the kernel"), 1);
	/* three slices of 9 ms: starved */
	assert_int_equal(lines_with(first, "\"who\":\"host\",\"ns\":9000000,\"interrupted\":true"),
			 3);
	/* then the guest gets on, after whole sleeps */
	assert_true(lines_with(first, "\"interrupted\":false") > 0);
	assert_non_null(strstr(first, "\"deterministic\":true"));
	free(first);
	free(second);
}

/*
 * Misery factor #2, with a bus lock that takes half a millisecond: each vCPU has detection off for one
 * window of three ticks at a time, 24 locks, while the other one waits.
 */
static void test_warn_two_vcpus_take_their_split_locks_window_by_window(void **state)
{
	unsigned locks[2] = { 0 }, changes = 0;
	int last = -1;
	char *trace, *line, *rest;

	(void)state;
	trace = trace_of(
		"--time=virtual --lock-cycles=1000000 --host-split-lock=warn",
		BUILT("samples/monitor") " --vcpus 2 --rate 0 --offset 62 --count 60 " BUILT(
			"tests/guests/selftest64.bin"));
	for (line = strtok_r(trace, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		int vcpu;

		if (!strstr(line, "\"event\":\"bus_lock\""))
			continue;
		vcpu = (int)number_after(line, "\"vcpu\":");
		assert_in_range(vcpu, 0, 1);
		locks[vcpu]++;
		changes += last >= 0 && vcpu != last;
		last = vcpu;
	}
	assert_int_equal(locks[0], 60);
	assert_int_equal(locks[1], 48); /* when the first one has ended the machine */
	assert_int_equal(changes, 4);
	free(trace);
}

/* In real time. */
static void test_warn_slices_much_longer_than_the_sleep_get_on(void **state)
{
	struct output output;

	(void)state;
	run_timeslice("--host-split-lock=warn", "--split-locks --offset 62 --slices 5 60", &output);
	expect_status("timeslice 60", &output, 0);
	assert_true(loops(&output, 60) > 0);
	output_free(&output);
}

static void test_warn_without_mitigation_or_with_the_fix_gets_on_in_short_slices(void **state)
{
	static const char *const options[] = {
		"--time=virtual --host-split-lock=warn --split-lock-mitigate=0",
		"--time=virtual --host-split-lock=warn --split-lock-fix",
		"--time=virtual --host-split-lock=warn --kernel=5.18",
		"--time=virtual --host-split-lock=ratelimit:1",
		"--time=virtual --host-split-lock=off",
	};
	struct output output;

	(void)state;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		run_timeslice(options[i], "--split-locks --offset 62 --slices 10 2", &output);
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
	run_timeslice("--host-split-lock=fatal", "--split-locks --offset 62 2", &output);
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

/* The built-in monitor has its guest end, not itself. */
static void test_fatal_in_the_built_in_monitor_ends_the_guest(void **state)
{
	struct output output;

	(void)state;
	run_on(ON_DEVICE, NULL,
	       BUSLOCK " run --host-split-lock=fatal --report " BUILT("tests/guests/multiboot.elf"),
	       30, &output);
	expect_status("run", &output, 4);
	assert_non_null(strstr(output.errors, "exception 17, error code 0x0"));
	assert_non_null(
		strstr(output.errors, "host #AC traps                  1   slept 0.000 ms"));
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

/* ------------------------------------------------------------------ buslock lab hang */

static void run_lab(const char *words, struct output *output)
{
	char command[1024];

	snprintf(command, sizeof(command), BUSLOCK " lab hang %s", words);
	run_on(ON_DEVICE, NULL, command, 120, output); /* by itself */
}

/* The number in column `column` of the row for slices of `ms`. */
static double cell(const char *table, unsigned ms, unsigned column)
{
	char start[16];
	const char *at;
	char *end;

	snprintf(start, sizeof(start), "\n%8u ", ms);
	at = strstr(table, start);
	if (!at)
		print_message("%s\n", table);
	assert_non_null(at);
	at += strlen(start);
	for (;; at = end) {
		double value = strtod(at, &end);

		assert_ptr_not_equal(at, end);
		if (!column--)
			return value;
	}
}

static void test_lab_hang_shows_the_published_hang(void **state)
{
	enum { OFF, WARN, UNMITIGATED, FIXED };
	struct output first, second;

	(void)state;
	run_lab("--timeouts 7-12 --slices 4", &first);
	expect_status("lab hang", &first, 0);
	for (unsigned ms = 7; ms <= 12; ms++) {
		/* as much progress as it is given time */
		assert_true(cell(first.text, ms, OFF) > 1900.0 * ms);
		assert_true(cell(first.text, ms, OFF) < 2000.0 * ms);
		assert_int_equal(cell(first.text, ms, WARN) > 0, ms >= 10);
		assert_true(cell(first.text, ms, UNMITIGATED) > 1900.0 * ms);
		assert_true(cell(first.text, ms, FIXED) > 0);
		assert_true(cell(first.text, ms, FIXED) < cell(first.text, ms, OFF));
	}
	assert_non_null(strstr(first.text, "\nwarn: the guest hangs in slices up to 9 ms\n"));
	run_lab("--timeouts 7-12 --slices 4", &second);
	assert_string_equal(first.text, second.text);
	output_free(&first);
	output_free(&second);
}

static void test_lab_hang_settings_that_a_kernel_lacks_are_left_out(void **state)
{
	struct output output;

	(void)state;
	run_lab("--timeouts 2 --slices 2 --kernel 6.0", &output);
	expect_status("lab hang", &output, 0);
	assert_non_null(strstr(output.text, "         0.0            - "));
	output_free(&output);
	run_lab("--timeouts 2 --slices 2 --kernel 5.18", &output); /* nothing sleeps */
	expect_status("lab hang", &output, 0);
	assert_true(cell(output.text, 2, 1) > 0);
	assert_non_null(strstr(output.text, " -            -\n"));
	assert_non_null(strstr(output.text, "gets on in slices of any of these lengths"));
	output_free(&output);
}

static void test_lab_hang_draws_the_plot(void **state)
{
	static const char *const endings[] = { "tsv", "svg", "png" };
	char words[128], directory[] = "/tmp/buslock-hang-XXXXXX", path[64];
	struct output output;
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(words, sizeof(words), "--timeouts 9-10 --slices 2 --plot %s/hang", directory);
	run_lab(words, &output);
	expect_status(words, &output, 0);
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/hang.%s", directory, endings[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_true(st.st_size > 0);
		unlink(path);
	}
	rmdir(directory);
	output_free(&output);
}

static void test_lab_hang_refuses_bad_input(void **state)
{
	static const struct {
		const char *words, *says;
		int status;
	} rows[] = {
		{ "--timeouts 5-3", "begins with its smaller end", 2 },
		{ "--timeouts 0-3", "a number from 1 to 1000", 2 },
		{ "--slices 0", "a number from 1 to 100000", 2 },
		{ "--hz 5", "a number from 24 to 1000", 2 },
		{ "--time soon", "real or virtual", 2 },
		{ "--kernel 4.4", "5.12", 2 },
		{ "--monitor /bin/true --timeouts 1", "did not say how many loops", 4 },
		{ "--monitor /nowhere --timeouts 1", "did not say how many loops", 4 },
		{ "word", "there are options only", 2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct output output;

		run_lab(rows[i].words, &output);
		expect_status(rows[i].words, &output, rows[i].status);
		if (!strstr(output.errors, rows[i].says))
			show_output(rows[i].words, &output);
		assert_non_null(strstr(output.errors, rows[i].says));
		output_free(&output);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timeslice_on_the_device_counts_aligned_locks),
		cmocka_unit_test(test_timeslice_refuses_bad_input),
		cmocka_unit_test(test_warn_kicks_more_often_than_the_sleep_starve_the_guest),
		cmocka_unit_test(
			test_warn_starved_guest_shows_one_place_one_line_and_all_its_traps),
		cmocka_unit_test(test_warn_in_virtual_time_gives_the_same_trace_twice),
		cmocka_unit_test(test_warn_two_vcpus_take_their_split_locks_window_by_window),
		cmocka_unit_test(test_warn_slices_much_longer_than_the_sleep_get_on),
		cmocka_unit_test(
			test_warn_without_mitigation_or_with_the_fix_gets_on_in_short_slices),
		cmocka_unit_test(test_warn_aligned_lock_is_not_punished),
		cmocka_unit_test(test_fatal_kills_a_monitor_that_does_not_catch_sigbus),
		cmocka_unit_test(test_fatal_signal_by_disposition),
		cmocka_unit_test(test_fatal_in_the_built_in_monitor_ends_the_guest),
		cmocka_unit_test(test_exec_refuses_what_the_kernel_does_not_have),
		cmocka_unit_test(test_lab_hang_shows_the_published_hang),
		cmocka_unit_test(test_lab_hang_settings_that_a_kernel_lacks_are_left_out),
		cmocka_unit_test(test_lab_hang_draws_the_plot),
		cmocka_unit_test(test_lab_hang_refuses_bad_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
