// SPDX-License-Identifier: GPL-2.0-only
/* `buslock import`: statuses, messages, files. What lines mean is tested in test_import. */
#include "tests/integration/run.h"

#define IMPORTED BUSLOCK_SOURCE_DIR "/traces/evidence/imported/"

static char directory[] = "/tmp/buslock-import-XXXXXX";
static char trace[64], log_file[64];

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(trace, sizeof(trace), "%s/trace", directory);
	snprintf(log_file, sizeof(log_file), "%s/log", directory);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(trace);
	unlink(log_file);
	return rmdir(directory);
}

static void put_log(const char *text)
{
	FILE *out = fopen(log_file, "w");

	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

static void import(struct run *run, const char *a, const char *b, const char *c, int status)
{
	const char *argv[] = { BUSLOCK, "import", a, b, c, NULL };

	run_how(run, argv, (struct run_how){ 0 });
	assert_exit(run, status);
}

static void test_import_makes_a_trace_of_several_files(void **state)
{
	const char *check[] = { BUSLOCK_BUILD_DIR "/tests/tools/check_trace", trace, NULL };
	const char *argv[] = { BUSLOCK,
			       "import",
			       "-o",
			       trace,
			       IMPORTED "kernel-log.txt",
			       IMPORTED "kvm-exit-intel.txt",
			       IMPORTED "ftrace-userspace-exit.txt",
			       NULL };
	struct run run;

	(void)state;
	run_how(&run, argv, (struct run_how){ 0 });
	assert_exit(&run, 0);
	assert_non_null(strstr(run.err, " 27 events, 0 others, 0 not understood"));
	run_how(&run, check, (struct run_how){ 0 });
	assert_exit(&run, 0);
}

static void test_import_of_a_file_with_any_name_is_a_trace(void **state)
{
	char odd[80];
	const char *argv[] = { BUSLOCK, "import", "-o", trace, odd, NULL };
	const char *check[] = { BUSLOCK_BUILD_DIR "/tests/tools/check_trace", trace, NULL };
	struct run run;

	(void)state;
	put_log("");
	snprintf(odd, sizeof(odd), "%s\xff", log_file);
	assert_int_equal(rename(log_file, odd), 0);
	run_how(&run, argv, (struct run_how){ 0 });
	unlink(odd);
	assert_exit(&run, 0);
	run_how(&run, check, (struct run_how){ 0 });
	assert_exit(&run, 0);
}

static void test_import_shows_what_it_does_not_understand(void **state)
{
	struct run run;

	(void)state;
	put_log("x-1 [000] 1.5: kvm_entry: vcpu 0, rip 0x1\nhello\nx-1 [000] 1.6: sched_waking: a\n"
		"CPU:1 [LOST 3 EVENTS]\n");
	import(&run, log_file, NULL, NULL, 1);
	assert_non_null(strstr(run.err, "/log:2: not understood: hello"));
	assert_non_null(strstr(run.err, "1 events, 1 others (sched_waking 1), 1 not understood"));
	assert_non_null(strstr(run.err, "lost 3 events"));
	assert_non_null(strstr(run.out, "\"event\":\"vm_entry\""));
	assert_non_null(strstr(run.out, "\"event\":\"end\""));
	import(&run, "-q", log_file, NULL, 1);
	assert_string_equal(run.err, "");
	put_log("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n");
	import(&run, log_file, NULL, NULL, 1);
	assert_null(strstr(run.err, "/log:11:"));
	import(&run, "--all", log_file, NULL, 1);
	assert_non_null(strstr(run.err, "/log:12:"));
}

static void test_import_trouble_is_told(void **state)
{
	const char *same[] = { BUSLOCK, "import", "-o", log_file, log_file, NULL };
	struct run run;

	(void)state;
	import(&run, "/nonexistent/log", NULL, NULL, 2);
	assert_non_null(strstr(run.err, "/nonexistent/log: No such file"));
	import(&run, "-o", "/nonexistent/x", "/dev/null", 2);
	import(&run, "-o", "/dev/full", IMPORTED "kernel-log.txt", 2);
	import(&run, "/", NULL, NULL, 2);
	unlink("/tmp/buslock-no-such.jsonl"); /* of a run that failed */
	run_program(&run, BUSLOCK, "import", "-o", "/tmp/buslock-no-such.jsonl",
		    "/nonexistent/log");
	assert_exit(&run, 2);
	assert_int_not_equal(access("/tmp/buslock-no-such.jsonl", F_OK), 0);
	put_log("a\033[31mb\n");
	import(&run, log_file, NULL, NULL, 1);
	assert_non_null(strstr(run.err, "not understood: a\\x1b[31mb\n"));
	put_log("keep me\n");
	run_how(&run, same, (struct run_how){ 0 });
	assert_exit(&run, 2);
	assert_non_null(strstr(run.err, "one of the logs"));
	import(&run, log_file, NULL, NULL, 1);
	assert_non_null(strstr(run.err, "keep me"));
}

/* Else the trace would get the stream's number, and the messages. */
static void test_import_closed_stderr_does_not_spoil_the_trace(void **state)
{
	char out[] = "/tmp/buslock-import-XXXXXX";
	int fd = mkstemp(out);
	struct run run;

	(void)state;
	close(fd);
	run_program(&run, "sh", "-c", BUSLOCK " import -o $0 " IMPORTED "kernel-log.txt 2>&-", out);
	assert_exit(&run, 0);
	run_program(&run, BUSLOCK, "show", out);
	unlink(out);
	assert_string_equal(run.err, "");
	assert_exit(&run, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_import_makes_a_trace_of_several_files),
		cmocka_unit_test(test_import_of_a_file_with_any_name_is_a_trace),
		cmocka_unit_test(test_import_shows_what_it_does_not_understand),
		cmocka_unit_test(test_import_trouble_is_told),
		cmocka_unit_test(test_import_closed_stderr_does_not_spoil_the_trace),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
