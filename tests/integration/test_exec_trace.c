// SPDX-License-Identifier: GPL-2.0-only
/* `buslock exec --trace`: strangers' monitors, and what they do to descriptors. */
#include "tests/integration/trace_path.h"

#define MONITOR BUSLOCK_BUILD_DIR "/samples/monitor"

/* The file from its first byte, cut at the room in `text`; and its last line. */
static void read_trace(char *text, size_t size, char *last, size_t last_size)
{
	FILE *file = fopen(trace_path, "r");
	char *line = NULL;
	size_t room = 0;

	assert_non_null(file);
	text[fread(text, 1, size - 1, file)] = 0;
	rewind(file);
	while (getline(&line, &room, file) > 0)
		snprintf(last, last_size, "%s", line);
	free(line);
	fclose(file);
}

static void run_case(struct run *run, const char *name)
{
	run_program(run, BUSLOCK, "exec", "--trace", trace_path, "--", PROGRAM("trace_descriptor"),
		    name);
}

/* vm_created … of n guests of trace_descriptor */
#define GUESTS(n)                                                                         \
	"vm_created=" #n " vcpu_created=" #n " capability=" #n " run=" n2(n) " exit=" n2( \
		n) " bus_lock=" #n " host_message=0 sleep=0 nondeterministic=0 locked=0 " \
		   "not_covered=0 vm_exit=0 vm_entry=0 header=1 end=1 other=0 bad=0"
#define n2(n) n2_##n
#define n2_1  "2"
#define n2_3  "6"
#define n2_2  "4"

/* ------------------------------------------------------------------ what is in it */

static void test_exec_trace_has_header_events_and_end(void **state)
{
	static const char *const lines[] = {
		"{\"schema\":\"buslock-trace\",\"version\":1,\"tool\":\"buslock ",
		"\"backend\":\"emulator\",\"options\":\"vendor=intel,kernel=6.12,",
		"\"time\":\"real\",\"host\":{\"cpu\":\"",
		",\"process\":0,\"vm\":0,\"vcpu\":null}\n",
		"\"vcpu\":null,\"capability\":193,\"name\":\"X86_BUS_LOCK_EXIT\",\"args\":[\"0x2\","
		"\"0x0\",\"0x0\",\"0x0\"],\"result\":0}\n",
		"\"vm\":0,\"vcpu\":0,\"id\":0}\n",
		"\"vm\":0,\"vcpu\":0,\"immediate_exit\":false}\n{\"event\":\"bus_lock\",",
		"\"cause\":[\"split\"],\"linear\":\"0x803e\",\"gpa\":\"0x803e\",\"size\":4,"
		"\"rip\":\"0x1000\",\"linear_rip\":\"0x1000\",\"bytes\":\"f0ff04253e800000\","
		"\"mode\":64,\"cpl\":0,\"memory_type\":\"WB\",\"guest_memory_type\":\"WB\",",
		"\"stuffed\":null,\"in_delivery\":false}\n{\"event\":\"exit\",",
		"\"result\":0,\"reason\":33,\"reason_name\":\"X86_BUS_LOCK\",\"flags\":2,"
		"\"flag_names\":[\"BUS_LOCK\"],\"word\":\"0x400004a\",\"rip\":\"0x1008\","
		"\"linear_rip\":\"0x1008\"}\n",
		"\"reason\":2,\"reason_name\":\"IO\",\"flags\":0,\"flag_names\":[],\"word\":"
		"\"0x1e\",",
		"{\"event\":\"end\",\"time\":",
	};
	char text[8192], last[1024], *at = text;
	struct run run;

	(void)state;
	run_case(&run, "plain");
	assert_exit(&run, 0);
	assert_string_equal(run.err, "");
	expect_trace(GUESTS(1));
	read_trace(text, sizeof(text), last, sizeof(last));
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char *found = strstr(at, lines[i]);

		if (!found)
			fail_msg("\"%s\" is not in:\n%s", lines[i], at);
		at = found;
	}
	assert_says(last, "\"status\":0,\"signal\":null,\"deterministic\":false,\"why\":\"time is "
			  "real\",\"lost\":0,");
}

/* The first number behind `key`: of the report's objects the first is that of all vCPUs together. */
static unsigned long first_number(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	assert_non_null(at);
	return strtoul(at + strlen(key), NULL, 10);
}

static void test_exec_trace_agrees_with_the_report(void **state)
{
	char text[64], last[1024];
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--report=json", "--trace", trace_path, "--", MONITOR,
		    "--vcpus=2", "--offset=62", "--count=200", "--rate=0", GUEST("smp.bin"));
	assert_exit(&run, 0);
	expect_trace(" bad=0");
	read_trace(text, sizeof(text), last, sizeof(last));
	assert_true(first_number(run.err, "\"total\":") > 100);
	assert_int_equal(first_number(last, "\"bus_lock\":"), first_number(run.err, "\"total\":"));
	assert_int_equal(first_number(last, "\"run\":"), first_number(run.err, "\"runs\":"));
	assert_int_equal(first_number(last, "\"exit\":"), first_number(run.err, "\"runs\":"));
}

/* With immediate_exit the guest was not entered, so there is no word of the processor's; RIP stands still. */
static void test_exec_trace_tells_what_was_refused_and_where_nothing_ran(void **state)
{
	char text[8192], last[1024];
	struct run run;

	(void)state;
	run_case(&run, "immediate");
	assert_exit(&run, 0);
	expect_trace(" bad=0");
	read_trace(text, sizeof(text), last, sizeof(last));
	assert_says(text,
		    "\"capability\":193,\"name\":\"X86_BUS_LOCK_EXIT\",\"args\":[\"0x3\",\"0x0\","
		    "\"0x0\",\"0x0\"],\"result\":-22,\"error\":\"EINVAL\"}\n");
	assert_says(text, "\"capability\":9999,\"name\":null,\"args\":[\"0x7\",");
	/* real mode, entered by CS 0100h: RIP and its linear address differ */
	assert_says(text, "\"reason\":5,\"reason_name\":\"HLT\",\"flags\":0,\"flag_names\":[],"
			  "\"word\":\"0xc\",\"rip\":\"0x1\",\"linear_rip\":\"0x1001\"}\n");
	assert_says(text, "\"result\":-22,\"error\":\"EINVAL\",\"reason\":5,\"reason_name\":"
			  "\"HLT\",\"flags\":0,\"flag_names\":[],\"rip\":\"0x1\",");
	assert_says(text, "\"immediate_exit\":true}\n");
	assert_says(text,
		    "\"result\":-4,\"error\":\"EINTR\",\"reason\":5,\"reason_name\":\"HLT\","
		    "\"flags\":0,\"flag_names\":[],\"rip\":\"0x1\",\"linear_rip\":\"0x1001\"}\n");
}

/* The sample monitor's policy sleeps 20 ms before each lock but the first. */
static void test_exec_trace_tells_what_the_policy_did(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--trace", trace_path, "--", MONITOR, "--rate=50",
		    "--offset=62", GUEST("lock_bts.bin"));
	assert_says(run.out, "sleeps=9");
	expect_trace(" bus_lock=10 host_message=0 sleep=9 ");
	run_program(&run, "grep", "-c",
		    "\"event\":\"sleep\".*\"vcpu\":0,\"who\":\"policy\",\"ns\":[0-9]\\{8,\\},"
		    "\"interrupted\":false}$",
		    trace_path);
	assert_int_equal(atoi(run.out), 9);
}

static void test_exec_trace_tells_sleeps_of_every_kind_after_a_lock_only(void **state)
{
	static const char *const options[] = { "--time=real", "--time=virtual" };
	struct run run;

	(void)state;
	for (int i = 0; i < 2; i++) {
		run_program(&run, BUSLOCK, "exec", options[i], "--trace", trace_path, "--",
			    PROGRAM("trace_descriptor"), "sleeps");
		assert_exit(&run, 0);
		expect_trace(" bus_lock=2 host_message=0 sleep=6 ");
		run_program(&run, "grep", "-c", "\"who\":\"policy\",.*\"interrupted\":true}$",
			    trace_path);
		assert_int_equal(atoi(run.out), 1);
	}
}

/* ------------------------------------------------------------------ virtual time */

static char *read_all(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = NULL;
	size_t size = 0;

	assert_non_null(file);
	assert_true(getdelim(&text, &size, '\0', file) > 0);
	fclose(file);
	return text;
}

/*
 * Twice the same command gives the same bytes. The host's policy and its messages, the monitor's sleeps
 * and ten locks at one a second are in it, and no second passes. The policy lets the first lock pass, so
 * the second falls into the window that the first has opened: nine sleeps of the host, nine of the policy.
 */
static void test_exec_trace_of_virtual_time_is_the_same_twice(void **state)
{
	char *first = NULL, *second;
	struct run run;

	(void)state;
	for (int i = 0; i < 2; i++) {
		run_program(&run, BUSLOCK, "exec", "--time=virtual", "--host-split-lock=warn",
			    "--trace", trace_path, "--", MONITOR, "--rate=1", "--offset=62",
			    GUEST("lock_bts.bin"));
		expect_trace(" bus_lock=10 host_message=2 sleep=18 nondeterministic=0 locked=0 "
			     "not_covered=0 vm_exit=0 vm_entry=0 header=1 end=1 "
			     "other=0 bad=0");
		assert_true(run.seconds < 5);
		if (!i)
			first = read_all(trace_path);
	}
	second = read_all(trace_path);
	assert_string_equal(first, second);
	assert_says(first, "\"time\":\"virtual\"}\n{\"event\":");
	assert_says(first, "\"deterministic\":true,\"why\":null,");
	assert_says(first, "\"who\":\"policy\",\"ns\":9");
	free(first);
	free(second);
}

/* ------------------------------------------------------------------ descriptors */

static void test_exec_trace_survives_what_programs_do_to_descriptors(void **state)
{
	static const struct {
		const char *name, *counts;
	} cases[] = {
		{ "close-each", GUESTS(1) }, { "close-range", GUESTS(1) },
		{ "closefrom", GUESTS(1) },  { "vfork", GUESTS(1) },
		{ "fork", GUESTS(3) },       { "dup2", GUESTS(2) },
		{ "dup3", GUESTS(2) },       { "dup2-and-execute", GUESTS(1) },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct run run;

		run_case(&run, cases[i].name);
		assert_exit(&run, 0);
		assert_string_equal(run.err, "");
		expect_trace(cases[i].counts);
	}
}

/* The program's file stays the program's; the lost events are counted, and nobody is told "success". */
static void test_exec_trace_stolen_descriptor_is_not_written_to(void **state)
{
	char text[64], last[1024];
	struct run run;

	(void)state;
	run_case(&run, "stolen");
	assert_exit(&run, 125);
	assert_says(run.err, "the trace's descriptor has been closed");
	assert_says(run.err, "16 events could not be written");
	read_trace(text, sizeof(text), last, sizeof(last));
	assert_says(last, "\"lost\":16,");
}

static void test_exec_trace_forked_child_is_a_process_of_its_own(void **state)
{
	char text[16384], last[1024];
	struct run run;

	(void)state;
	run_case(&run, "fork");
	assert_exit(&run, 0);
	read_trace(text, sizeof(text), last, sizeof(last));
	assert_says(text, "\"process\":0,");
	assert_says(text, "\"process\":1,");
	assert_silent(text, "\"process\":2,");
}

/* sh has no events and no number; descriptors go through it, and through one that closed them all. */
static void test_exec_trace_reaches_programs_that_programs_start(void **state)
{
	char text[16384], last[1024];
	struct run run;

	(void)state;
	run_program(
		&run, BUSLOCK, "exec", "--trace", trace_path, "--", "sh", "-c",
		PROGRAM("trace_descriptor") " plain; " PROGRAM("trace_descriptor") " closefrom");
	assert_exit(&run, 0);
	expect_trace(GUESTS(2));
	read_trace(text, sizeof(text), last, sizeof(last));
	assert_says(text, "\"process\":1,");
	assert_silent(text, "\"process\":2,");
	run_program(&run, BUSLOCK, "exec", "--trace", trace_path, "--", PROGRAM("process"),
		    "close-and-execute");
	assert_exit(&run, 0);
	expect_trace("vm_created=1 ");
}

/* The inner launcher's report is another, and it was not asked for a trace. */
static void test_exec_trace_of_a_launcher_in_a_launcher_is_the_outer_ones(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--trace", trace_path, "--", BUSLOCK, "exec", "--",
		    PROGRAM("trace_descriptor"), "plain");
	assert_exit(&run, 0);
	assert_string_equal(run.err, "");
	expect_trace("vm_created=0 vcpu_created=0 capability=0 run=0 ");
}

static void test_exec_trace_killed_monitor_leaves_whole_lines(void **state)
{
	char text[64], last[1024];
	struct run run;

	(void)state;
	run_case(&run, "killed");
	assert_killed(&run, SIGKILL);
	expect_trace(GUESTS(1));
	read_trace(text, sizeof(text), last, sizeof(last));
	assert_says(last, "\"status\":null,\"signal\":9,");
}

static void test_exec_trace_of_killed_launcher_is_all_but_the_end(void **state)
{
	struct run run;

	(void)state;
	run_start(&run, BUSLOCK, "exec", "--trace", trace_path, "--", MONITOR, "--rate=5",
		  "--offset=62", GUEST("lock_bts.bin"));
	run_sleep(700);
	kill(run.pid, SIGKILL);
	run_finish(&run);
	assert_killed(&run, SIGKILL);
	expect_trace(" header=1 end=0 other=0 bad=0");
	run_program(&run, "grep", "-c", "\"reason_name\":\"X86_BUS_LOCK\"", trace_path);
	assert_exit(&run, 0);
	assert_true(atoi(run.out) >= 2);
}

/* ------------------------------------------------------------------ the file */

static void test_exec_trace_that_cannot_be_written_runs_nothing(void **state)
{
	static const struct {
		const char *path, *says;
	} cases[] = {
		{ "/nonexistent/trace", "--trace: /nonexistent/trace: No such file or directory" },
		{ "/tmp", "--trace: /tmp: not a regular file" },
	};
	struct run run;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run_program(&run, BUSLOCK, "exec", "--trace", cases[i].path, "--", "echo", "ran");
		assert_exit(&run, 2);
		assert_string_equal(run.out, "");
		assert_says(run.err, cases[i].says);
	}
}

static void test_exec_trace_on_a_full_device_fails(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--trace=/dev/full", "--", "true");
	assert_exit(&run, 2);
	assert_says(run.err, "--trace: /dev/full: No space left on device");
}

/* ------------------------------------------------------------------ QEMU */

static void test_exec_trace_of_qemu_has_its_bus_locks(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, "qemu-system-x86_64", "--version");
	if (!WIFEXITED(run.status) || WEXITSTATUS(run.status) ||
	    atoi(strstr(run.out, "version ") + 8) > 8) {
		print_message("skipped: no QEMU up to version 8 here\n");
		skip();
	}
	run_program(&run, BUSLOCK, "exec", "--success=33", "--trace", trace_path, "--",
		    "qemu-system-x86_64", "-accel", "kvm", "-M",
		    "microvm,kernel-irqchip=off,bus-lock-ratelimit=1000", "-nodefaults",
		    "-no-user-config", "-display", "none", "-serial", "stdio", "-m", "32",
		    "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel",
		    GUEST("multiboot.elf"));
	assert_exit(&run, 0);
	expect_trace(" bus_lock=20 ");
	run_program(&run, "grep", "-c", "\"flag_names\":\\[\"BUS_LOCK\"\\]", trace_path);
	assert_int_equal(atoi(run.out), 20);
}

/* ------------------------------------------------------------------ large ones */

static char part_path[sizeof(trace_path) + 8];

static off_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -1 : st.st_size;
}

static void test_exec_trace_of_a_long_run_is_compressed(void **state)
{
	char first[4] = "";
	struct run run;
	int fd;

	(void)state;
	snprintf(part_path, sizeof(part_path), "%s.part", trace_path);
	run_program(&run, BUSLOCK, "exec", "--trace", trace_path, "--", PROGRAM("bench_run"),
		    "locks", "60000");
	assert_exit(&run, 0);
	expect_trace(" run=60000 exit=60000 bus_lock=60000 ");
	expect_trace(" end=1 other=0 bad=0");
	assert_int_equal(size_of(part_path), -1);
	assert_true(size_of(trace_path) < 60000 * 40);
	fd = open(trace_path, O_RDONLY);
	assert_int_equal(read(fd, first, sizeof(first)), sizeof(first));
	close(fd);
	assert_memory_equal(first, "\x5b\x2a\x4d\x18", 4); /* as docs/trace.md has it */
}

/* The command is killed while it compresses, and the monitor with it: all lines are there. */
static void test_exec_trace_killed_command_leaves_all_lines(void **state)
{
	struct run run;

	(void)state;
	snprintf(part_path, sizeof(part_path), "%s.part", trace_path);
	run_start(&run, BUSLOCK, "exec", "--trace", trace_path, "--", PROGRAM("bench_run"), "exits",
		  "100000000");
	for (int i = 0; size_of(part_path) <= 0; i++) {
		assert_true(i < 2000);
		run_sleep(10);
	}
	kill(run.pid, SIGKILL);
	run_finish(&run);
	run_sleep(100); /* the kernel kills the monitor in its turn */
	assert_true(size_of(part_path) > 0);
	run_program(&run, CHECK_TRACE, trace_path);
	/* at most the last line may be half of one */
	if (!strstr(run.out, " bad=0"))
		assert_says(run.out, " bad=1");
	assert_true(first_number(run.out, " run=") - first_number(run.out, " exit=") <= 1);
	/* some 4 MB of lines: the more digits their times have, the fewer */
	assert_true(first_number(run.out, " exit=") > 10000);
	assert_int_equal(unlink(part_path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exec_trace_has_header_events_and_end),
		cmocka_unit_test(test_exec_trace_agrees_with_the_report),
		cmocka_unit_test(test_exec_trace_tells_what_was_refused_and_where_nothing_ran),
		cmocka_unit_test(test_exec_trace_tells_what_the_policy_did),
		cmocka_unit_test(test_exec_trace_tells_sleeps_of_every_kind_after_a_lock_only),
		cmocka_unit_test(test_exec_trace_of_virtual_time_is_the_same_twice),
		cmocka_unit_test(test_exec_trace_survives_what_programs_do_to_descriptors),
		cmocka_unit_test(test_exec_trace_stolen_descriptor_is_not_written_to),
		cmocka_unit_test(test_exec_trace_forked_child_is_a_process_of_its_own),
		cmocka_unit_test(test_exec_trace_reaches_programs_that_programs_start),
		cmocka_unit_test(test_exec_trace_of_a_launcher_in_a_launcher_is_the_outer_ones),
		cmocka_unit_test(test_exec_trace_killed_monitor_leaves_whole_lines),
		cmocka_unit_test(test_exec_trace_of_killed_launcher_is_all_but_the_end),
		cmocka_unit_test(test_exec_trace_that_cannot_be_written_runs_nothing),
		cmocka_unit_test(test_exec_trace_on_a_full_device_fails),
		cmocka_unit_test(test_exec_trace_of_qemu_has_its_bus_locks),
		cmocka_unit_test(test_exec_trace_of_a_long_run_is_compressed),
		cmocka_unit_test(test_exec_trace_killed_command_leaves_all_lines),
	};

	return cmocka_run_group_tests(tests, make_path, remove_path);
}
