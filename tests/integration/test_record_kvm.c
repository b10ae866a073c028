// SPDX-License-Identifier: GPL-2.0-only
/*
 * `buslock record` on the real device. All locked operands are aligned: a split one would stall every
 * core of the machine, and what becomes of those is tested over the emulated kernel (test_record.c).
 */
#include "tests/integration/process.h"

#include <sys/ioctl.h>

#define RECORD    BUSLOCK " record "
#define RUN_GUEST BUILT("tests/programs/run_guest ")
#define GUEST(x)  BUILT("tests/guests/" x)

/* An instruction that was not seen; of the whole VM something may be said besides. */
#define NOT_COVERED "\"vcpu\":0,\"rip\":"

static char path_a[] = "/tmp/buslock-record-a-XXXXXX", path_b[] = "/tmp/buslock-record-b-XXXXXX";

static int make_paths(void **state)
{
	int a = mkstemp(path_a), b = mkstemp(path_b);

	(void)state;
	close(a);
	close(b);
	return a < 0 || b < 0;
}

static int remove_paths(void **state)
{
	(void)state;
	unlink(path_a);
	return unlink(path_b);
}

/* The next line of this event, without its time; false at the end. */
static bool next_line(FILE *file, const char *event, char *line, size_t size)
{
	while (fgets(line, (int)size, file)) {
		char *time = strstr(line, "\"time\":"), *rest = time ? strchr(time, ',') : NULL;

		if (!strstr(line, event) || !rest)
			continue;
		memmove(time, rest + 1, strlen(rest + 1) + 1);
		return true;
	}
	return false;
}

static unsigned lines_of(const char *path, const char *event)
{
	FILE *file = fopen(path, "r");
	char line[2048];
	unsigned n = 0;

	assert_non_null(file);
	while (next_line(file, event, line, sizeof(line)))
		n++;
	fclose(file);
	return n;
}

static unsigned expect_equal_lines(const char *event)
{
	FILE *a = fopen(path_a, "r"), *b = fopen(path_b, "r");
	char line_a[2048], line_b[2048];
	unsigned n = 0;

	assert_true(a && b);
	for (;; n++) {
		bool more_a = next_line(a, event, line_a, sizeof(line_a));
		bool more_b = next_line(b, event, line_b, sizeof(line_b));

		if (more_a != more_b || (more_a && strcmp(line_a, line_b)))
			fail_msg("%s %u:\n%s%s", event, n, more_a ? line_a : "(none)\n",
				 more_b ? line_b : "(none)\n");
		if (!more_a)
			break;
	}
	fclose(a);
	fclose(b);
	return n;
}

/* ------------------------------------------------------------------ only watching */

static void test_record_monitor_is_as_if_unwatched(void **state)
{
	static const char *const commands[] = {
		RUN_GUEST "--mode long --offset 56 --count 5 " GUEST("locks64.bin"),
		RUN_GUEST "--mode real --interrupts 5 --count 5 " GUEST("interrupts16.bin"),
		BUILT("tests/programs/api_run"),
		BUILT("tests/programs/api_errors"),
		BUILT("tests/programs/api_memory"),
		BUILT("tests/programs/api_debug"),
	};
	struct output plain, watched;
	char command[1024];

	(void)state;
	require_device();
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		snprintf(command, sizeof(command), RECORD "--trace %s -- %s", path_a, commands[i]);
		run_on(ON_DEVICE, NULL, commands[i], 60, &plain);
		run_on(ON_DEVICE, NULL, command, 60, &watched);
		expect_status(command, &watched, plain.status);
		assert_string_equal(watched.text, plain.text);
		assert_true(lines_of(path_a, "{\"event\":\"vm_created\"") > 0);
		output_free(&plain);
		output_free(&watched);
	}
}

static void test_record_enable_without_the_feature_is_refused(void **state)
{
	struct output output;
	int fd, value;

	(void)state;
	require_device();
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	value = ioctl(fd, 0xae03, 193); /* KVM_CHECK_EXTENSION */
	close(fd);
	if (value > 0) {
		print_message("skipped: this host has capability 193\n");
		skip();
	}
	run_on(ON_DEVICE, NULL, RECORD "--enable -- true", 10, &output);
	expect_status("--enable", &output, 2);
	assert_non_null(strstr(output.errors, "capability 193 (KVM_CAP_X86_BUS_LOCK_EXIT) is 0"));
	output_free(&output);
}

/* ------------------------------------------------------------------ --step */

/* Every instruction of these is stepped by KVM here; where it is not, that is said, and skipped. */
static void compare_with_the_emulator(const char *guest, unsigned least)
{
	struct output device, emulated, plain;
	char command[2048], options[256], line[1024];

	require_device();
	snprintf(line, sizeof(line), RUN_GUEST "%s", guest);
	snprintf(command, sizeof(command), RECORD "--step --locked --trace %s -- %s", path_a, line);
	snprintf(options, sizeof(options), "--locked --trace %s", path_b);
	run_on(ON_DEVICE, NULL, line, 60, &plain);
	run_on(ON_DEVICE, NULL, command, 120, &device);
	run_on(EMULATED, options, line, 60, &emulated);
	expect_status(command, &device, plain.status);
	expect_status(line, &emulated, plain.status);
	assert_string_equal(device.text, plain.text);
	if (lines_of(path_a, NOT_COVERED)) {
		show_output(command, &device);
		print_message("skipped: this KVM does not step all of it\n");
		skip();
	}
	assert_int_equal(lines_of(path_a, "{\"event\":\"bus_lock\""), 0);
	assert_true(expect_equal_lines("{\"event\":\"locked\"") >= least);
	output_free(&device);
	output_free(&emulated);
	output_free(&plain);
}

static void test_record_step_locks_of_long_mode_are_the_emulators(void **state)
{
	(void)state;
	compare_with_the_emulator("--mode long --offset 56 " GUEST("locks64.bin"), 144);
	compare_with_the_emulator("--mode long --offset 56 " GUEST("lock_bts.bin"), 10);
}

static void test_record_step_locks_of_protected_mode_are_the_emulators(void **state)
{
	(void)state;
	compare_with_the_emulator("--mode protected --offset 56 " GUEST("locks32.bin"), 111);
}

static void test_record_step_locks_of_real_mode_are_the_emulators(void **state)
{
	(void)state;
	compare_with_the_emulator("--mode real --offset 56 " GUEST("locks16.bin"), 111);
	compare_with_the_emulator("--mode real --offset 0x7c " GUEST("opendos.bin"), 1);
}

static void test_record_step_locks_across_modes_are_the_emulators(void **state)
{
	(void)state;
	compare_with_the_emulator("--mode real " GUEST("modes.bin"), 8);
}

static void test_record_step_locks_in_interrupt_handlers_are_the_emulators(void **state)
{
	(void)state;
	compare_with_the_emulator("--mode real --interrupts 5 --count 5 " GUEST("interrupts16.bin"),
				  5);
	compare_with_the_emulator("--mode long --interrupts 5 --count 5 " GUEST("interrupts64.bin"),
				  5);
}

static void test_record_step_calls_and_signals_are_as_without(void **state)
{
	struct output plain, watched;
	char command[1024];

	(void)state;
	require_device();
	snprintf(command, sizeof(command),
		 RECORD "--step --trace %s -- " BUILT("tests/programs/api_run"), path_a);
	run_on(ON_DEVICE, NULL, BUILT("tests/programs/api_run"), 60, &plain);
	run_on(ON_DEVICE, NULL, command, 60, &watched);
	expect_status(command, &watched, plain.status);
	assert_string_equal(watched.text, plain.text);
	output_free(&plain);
	output_free(&watched);
	snprintf(command, sizeof(command),
		 RECORD "--step --trace %s -- " BUILT("tests/programs/bench_run kicks 50"), path_a);
	run_on(ON_DEVICE, NULL, command, 60, &watched);
	expect_status(command, &watched, 0);
	output_free(&watched);
}

static void test_record_step_user_code_is_marked_or_seen(void **state)
{
	struct output plain, device, emulated;
	char line[1024], command[2048], options[256];

	(void)state;
	require_device();
	snprintf(line, sizeof(line),
		 RUN_GUEST "--no-memory --mode long --offset 56 " GUEST("cpl3.bin"));
	snprintf(command, sizeof(command), RECORD "--step --locked --trace %s -- %s", path_a, line);
	snprintf(options, sizeof(options), "--locked --trace %s", path_b);
	run_on(ON_DEVICE, NULL, line, 60, &plain);
	run_on(ON_DEVICE, NULL, command, 60, &device);
	run_on(EMULATED, options, line, 60, &emulated);
	expect_status(command, &device, plain.status);
	if (!lines_of(path_a, NOT_COVERED))
		expect_equal_lines("{\"event\":\"locked\"");
	else
		assert_int_equal(lines_of(path_a, "64-bit user code: this KVM does not"), 1);
	output_free(&plain);
	output_free(&device);
	output_free(&emulated);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record_monitor_is_as_if_unwatched),
		cmocka_unit_test(test_record_enable_without_the_feature_is_refused),
		cmocka_unit_test(test_record_step_locks_of_long_mode_are_the_emulators),
		cmocka_unit_test(test_record_step_locks_of_protected_mode_are_the_emulators),
		cmocka_unit_test(test_record_step_locks_of_real_mode_are_the_emulators),
		cmocka_unit_test(test_record_step_locks_across_modes_are_the_emulators),
		cmocka_unit_test(test_record_step_locks_in_interrupt_handlers_are_the_emulators),
		cmocka_unit_test(test_record_step_calls_and_signals_are_as_without),
		cmocka_unit_test(test_record_step_user_code_is_marked_or_seen),
	};

	return cmocka_run_group_tests(tests, make_paths, remove_paths);
}
