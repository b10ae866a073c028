// SPDX-License-Identifier: GPL-2.0-only
/*
 * `buslock record` over the emulated kernel: `buslock exec -- buslock record …`. The watcher stands in
 * front of the emulation as it does in front of the kernel; here are bus-lock exits to be kept, and split
 * locks that cost nobody anything. test_record_kvm.c is about the real device.
 */
#include "tests/integration/trace_path.h"

#define RECORD    BUSLOCK, "exec", "--", BUSLOCK, "record", "--trace", trace_path
#define RUN_GUEST PROGRAM("run_guest")
#define MONITOR   BUSLOCK_BUILD_DIR "/samples/monitor"

static void read_trace(char *text, size_t size)
{
	FILE *file = fopen(trace_path, "r");

	assert_non_null(file);
	text[fread(text, 1, size - 1, file)] = 0;
	fclose(file);
}

/* Lines of the trace in which `words` are. */
static unsigned lines_with(const char *words)
{
	struct run run;

	run_program(&run, "grep", "-cF", words, trace_path);
	return (unsigned)atoi(run.out);
}

/* ------------------------------------------------------------------ only watching */

static void test_record_tells_the_kernels_answers(void **state)
{
	static const char *const lines[] = {
		"\"backend\":\"/dev/kvm\",\"options\":\"memory=kvm\",\"emulated\":\"vendor=",
		",\"time\":\"real\",\"lacks\":[\"host_message\",",
		"{\"event\":\"vm_created\",",
		"\"capability\":193,\"name\":\"X86_BUS_LOCK_EXIT\",\"args\":[\"0x2\",\"0x0\","
		"\"0x0\",\"0x0\"],\"result\":0}\n",
		"{\"event\":\"vcpu_created\",",
		"\"immediate_exit\":false}\n{\"event\":\"exit\",",
		"\"result\":0,\"reason\":33,\"reason_name\":\"X86_BUS_LOCK\",\"flags\":2,"
		"\"flag_names\":[\"BUS_LOCK\"]}\n",
		"\"reason\":2,\"reason_name\":\"IO\",\"flags\":0,\"flag_names\":[]}\n",
		"{\"event\":\"end\",",
	};
	char text[8192], *at = text;
	struct run run;

	(void)state;
	run_program(&run, RECORD, "--", PROGRAM("trace_descriptor"), "plain");
	assert_exit(&run, 0);
	assert_string_equal(run.err, "");
	read_trace(text, sizeof(text));
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char *found = strstr(at, lines[i]);

		if (!found)
			fail_msg("\"%s\" is not in:\n%s", lines[i], at);
		at = found;
	}
	expect_trace("run=2 exit=2 bus_lock=0 host_message=0 sleep=0 ");
}

static void test_record_errors_and_old_reasons_are_told(void **state)
{
	char text[8192];
	struct run run;

	(void)state;
	run_program(&run, RECORD, "--", PROGRAM("trace_descriptor"), "immediate");
	assert_exit(&run, 0);
	read_trace(text, sizeof(text));
	assert_says(text, "\"capability\":9999,\"name\":null,");
	assert_says(text, "\"result\":-22,\"error\":\"EINVAL\"");
	assert_says(text, "\"immediate_exit\":true}");
	assert_says(text, "\"result\":-4,\"error\":\"EINTR\",\"reason\":5,\"reason_name\":\"HLT\"");
}

/* Six sleeps behind the lock are policy, those before and after it are none. */
static void test_record_sleeps_behind_a_bus_lock_are_told(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, RECORD, "--", PROGRAM("trace_descriptor"), "sleeps");
	assert_exit(&run, 0);
	expect_trace(" sleep=6 ");
	assert_int_equal(lines_with("\"who\":\"policy\""), 6);
	assert_int_equal(lines_with("\"interrupted\":true"), 1);
}

static void test_record_survives_what_programs_do_to_descriptors(void **state)
{
	static const struct {
		const char *name, *counts;
	} cases[] = {
		{ "close-each", "vm_created=1 vcpu_created=1 capability=1 run=2 exit=2 " },
		{ "close-range", "vm_created=1 vcpu_created=1 capability=1 run=2 exit=2 " },
		{ "closefrom", "vm_created=1 vcpu_created=1 capability=1 run=2 exit=2 " },
		{ "vfork", "vm_created=1 vcpu_created=1 capability=1 run=2 exit=2 " },
		{ "fork", "vm_created=3 vcpu_created=3 capability=3 run=6 exit=6 " },
		{ "dup2", "vm_created=2 vcpu_created=2 capability=2 run=4 exit=4 " },
		{ "dup3", "vm_created=2 vcpu_created=2 capability=2 run=4 exit=4 " },
		{ "dup2-and-execute", "vm_created=1 vcpu_created=1 capability=1 run=2 exit=2 " },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct run run;

		run_program(&run, RECORD, "--", PROGRAM("trace_descriptor"), cases[i].name);
		assert_exit(&run, 0);
		assert_string_equal(run.err, "");
		expect_trace(cases[i].counts);
		expect_trace(" header=1 end=1 other=0 bad=0");
		assert_int_equal(lines_with("{\"event\":\"not_covered\""), 0);
	}
}

static void test_record_stolen_descriptor_is_not_written_to(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, RECORD, "--", PROGRAM("trace_descriptor"), "stolen");
	assert_exit(&run, 125);
	assert_says(run.err, "events could not be written");
}

static void test_record_ends_as_the_program_ends(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, RECORD, "--", PROGRAM("trace_descriptor"), "killed");
	assert_killed(&run, SIGKILL);
	expect_trace("run=2 exit=2 ");
	assert_int_equal(lines_with("\"status\":null,\"signal\":9,"), 1);
	run_program(&run, BUSLOCK, "exec", "--", BUSLOCK, "record", "--success=2", "--",
		    PROGRAM("trace_descriptor"), "no-such-case");
	assert_exit(&run, 0);
	assert_says(run.err, "created no VM through the C library");
}

static void test_record_report_is_of_what_was_watched(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--", BUSLOCK, "record", "--expect",
		    "exits.x86_bus_lock==1,exits.io==1", "--", PROGRAM("trace_descriptor"),
		    "plain");
	assert_exit(&run, 0);
	run_program(&run, BUSLOCK, "exec", "--", BUSLOCK, "record", "--",
		    PROGRAM("trace_descriptor"), "plain");
	assert_exit(&run, 0);
	assert_says(run.err, "bus locks                not seen");
	assert_says(run.err, "bus-lock returns                1");
	run_program(&run, BUSLOCK, "exec", "--report=none", "--", BUSLOCK, "record",
		    "--report=json", "--", PROGRAM("trace_descriptor"), "plain");
	assert_exit(&run, 0);
	assert_says(run.err, "\"bus_locks\":null");
	assert_says(run.err, "\"locked\":null");
	assert_says(run.err, "\"flags\":1");
}

static void test_record_dry_run_is_a_line_for_a_shell(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--", BUSLOCK, "record", "-n", "--step", "--", "true");
	assert_exit(&run, 0);
	assert_says(run.out, "LD_PRELOAD=" BUSLOCK_BUILD_DIR "/libbuslock-watch.so:");
	assert_says(run.out, " BUSLOCK_WATCH=memory=kvm,step,");
	assert_says(run.out, ",native-split-locks=0 ");
}

static void test_record_options_that_do_not_go_together_are_refused(void **state)
{
	static const struct {
		const char *options[2], *why;
	} cases[] = {
		{ { "--locked", "--report" }, "--locked goes with --step" },
		{ { "--hold-interrupts", "--report" }, "--hold-interrupts goes with --step" },
		{ { "--native-split-locks=1", "--report" }, "--native-split-locks goes with" },
		{ { "--memory=guest", "--report" }, "--memory goes with --step" },
		{ { "--memory=ept", "--step" }, "--memory=ept: give kvm or guest" },
		{ { "--native-split-locks=some", "--step" }, "--native-split-locks" },
		{ { "--enable", "--step" }, "choose one" },
		{ { "--expect=nonsense", "--report" }, "--expect" },
		/* zero is what nobody has seen */
		{ { "--expect=locks==0", "--report" }, "'locks': nobody looks at" },
		{ { "--expect=flags==0,sites==0", "--report" }, "'sites': nobody looks at" },
		{ { "--expect=instructions>0", "--report" }, "'instructions': nobody looks at" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct run run;

		run_program(&run, BUSLOCK, "exec", "--success=2", "--", BUSLOCK, "record",
			    cases[i].options[0], cases[i].options[1], "--", "true");
		assert_exit(&run, 0);
		assert_says(run.err, cases[i].why);
	}
}

/* ------------------------------------------------------------------ --enable */

static void test_record_enable_a_monitor_sees_nothing_of_it(void **state)
{
	struct run plain, watched;

	(void)state;
	/* The exit code and registers tell whether an exit got through: this monitor ends at one. */
	run_program(&plain, BUSLOCK, "exec", "--", RUN_GUEST, "--mode=long", "--offset=62",
		    "--count=100", GUEST("smp.bin"));
	run_program(&watched, RECORD, "--enable", "--report", "--", RUN_GUEST, "--mode=long",
		    "--offset=62", "--count=100", GUEST("smp.bin"));
	assert_exit(&plain, 0);
	assert_exit(&watched, 0);
	assert_string_equal(watched.out, plain.out);
	assert_int_equal(lines_with("\"reason_name\":\"X86_BUS_LOCK\",\"flags\":2,\"flag_names\":"
				    "[\"BUS_LOCK\"],\"kept\":true}"),
			 300);
	assert_says(watched.err, "X86_BUS_LOCK                300");
	expect_trace(" bad=0");
}

static void test_record_enable_a_monitor_that_asks_gets_its_exits(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, RECORD, "--enable", "--", MONITOR, "--rate=0", "--offset=62",
		    "--count=100", GUEST("smp.bin"));
	assert_exit(&run, 0);
	assert_int_equal(lines_with("\"kept\":true"), 0);
	assert_true(lines_with("\"reason_name\":\"X86_BUS_LOCK\"") >= 300);
}

/* ------------------------------------------------------------------ --step */

static void check_stepped(const char *mode, const char *image)
{
	struct run plain, watched;

	run_program(&plain, BUSLOCK, "exec", "--", RUN_GUEST, mode, "--offset=56", "--count=5",
		    image);
	run_program(&watched, RECORD, "--step", "--locked", "--", RUN_GUEST, mode, "--offset=56",
		    "--count=5", image);
	assert_exit(&plain, 0);
	assert_exit(&watched, 0);
	assert_string_equal(watched.out, plain.out);
	assert_string_equal(watched.err, "");
	/* Of the whole VM something may be said, where the host delivers events; of no instruction. */
	assert_int_equal(lines_with("\"vcpu\":0,\"rip\":"), 0);
	assert_true(lines_with("{\"event\":\"locked\"") > 0);
	expect_trace(" bad=0");
}

static void test_record_step_a_monitor_sees_nothing_of_it(void **state)
{
	(void)state;
	check_stepped("--mode=long", GUEST("locks64.bin"));
	check_stepped("--mode=protected", GUEST("locks32.bin"));
	check_stepped("--mode=real", GUEST("locks16.bin"));
	check_stepped("--mode=real", GUEST("modes.bin"));
}

static void test_record_step_split_lock_ends_the_run(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, RECORD, "--step", "--", RUN_GUEST, "--mode=long", "--offset=62",
		    "--count=100", GUEST("smp.bin"));
	assert_exit(&run, 4);
	assert_says(run.err, "the run was ended in front of a split lock at rip 0x");
	assert_says(run.err, "--native-split-locks=N");
	assert_int_equal(lines_with("{\"event\":\"bus_lock\""), 0);
	assert_int_equal(lines_with("\"why\":\"not run: split lock"), 1);
	expect_trace(" bad=0");
}

static void test_record_step_allowed_split_locks_are_told(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, RECORD, "--step", "--native-split-locks=7", "--", RUN_GUEST,
		    "--mode=long", "--offset=62", "--count=100", GUEST("smp.bin"));
	assert_exit(&run, 4);
	assert_says(run.err, "7 split locks ran on the real device");
	assert_int_equal(lines_with("{\"event\":\"bus_lock\""), 7);
	assert_int_equal(lines_with("\"cause\":[\"split\"],\"linear\":\"0x803e\""), 3);
}

static void test_record_step_monitors_guest_debug_is_refused(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, "timeout", "2", RECORD, "--step", "--", PROGRAM("api_debug"));
	assert_says(run.out, "SET_GUEST_DEBUG: EBUSY");
	assert_true(lines_with("is refused with EBUSY") > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record_tells_the_kernels_answers),
		cmocka_unit_test(test_record_errors_and_old_reasons_are_told),
		cmocka_unit_test(test_record_sleeps_behind_a_bus_lock_are_told),
		cmocka_unit_test(test_record_survives_what_programs_do_to_descriptors),
		cmocka_unit_test(test_record_stolen_descriptor_is_not_written_to),
		cmocka_unit_test(test_record_ends_as_the_program_ends),
		cmocka_unit_test(test_record_report_is_of_what_was_watched),
		cmocka_unit_test(test_record_dry_run_is_a_line_for_a_shell),
		cmocka_unit_test(test_record_options_that_do_not_go_together_are_refused),
		cmocka_unit_test(test_record_enable_a_monitor_sees_nothing_of_it),
		cmocka_unit_test(test_record_enable_a_monitor_that_asks_gets_its_exits),
		cmocka_unit_test(test_record_step_a_monitor_sees_nothing_of_it),
		cmocka_unit_test(test_record_step_split_lock_ends_the_run),
		cmocka_unit_test(test_record_step_allowed_split_locks_are_told),
		cmocka_unit_test(test_record_step_monitors_guest_debug_is_refused),
	};

	return cmocka_run_group_tests(tests, make_path, remove_path);
}
