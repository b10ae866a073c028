/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The recorder as a program: dry runs and refusals. Each refusal here has two reasons (there is never
 * a terminal), so that a defect of one does not make the test stop the machine.
 */
#include "tests/integration/run.h"

#define RECORDER BUSLOCK_BUILD_DIR "/traces/recorder/record-latency"

static char path[] = "/tmp/buslock-latency-XXXXXX";

static void put(const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* Always behind a closed standard input. */
#define record(run, ...) \
	run_program(run, "/bin/sh", "-c", "exec \"$@\" </dev/null", "sh", RECORDER, __VA_ARGS__)

static void test_record_latency_dry_run_writes_a_whole_record_without_splits(void **state)
{
	char line[65536], last[65536] = "";
	unsigned rows = 0;
	struct run run;
	FILE *file;

	(void)state;
	record(&run, "--dry-run", path);
	assert_exit(&run, 0);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	assert_says(line, "\"schema\":\"buslock-latency\"");
	assert_says(line, "\"splits_planned\":0");
	while (fgets(line, sizeof(line), file)) {
		strcpy(last, line);
		rows += !strncmp(line, "{\"form\":", 8) && strstr(line, "\"splits\":0,");
	}
	fclose(file);
	assert_true(rows > 100);
	assert_says(last, "\"splits_executed\":0");
}

static void test_record_latency_existing_record_is_kept(void **state)
{
	char line[64] = "";
	struct run run;
	FILE *file;

	(void)state;
	put("precious\n");
	record(&run, "--dry-run", path);
	assert_exit(&run, 2);
	assert_says(run.err, "there is a record already");
	assert_says(run.err, "--again");
	record(&run, "--yes-really", path);
	assert_exit(&run, 2);
	assert_says(run.err, "there is a record already");
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	assert_string_equal(line, "precious\n");
	fclose(file);
}

static void test_record_latency_earlier_recordings_count(void **state)
{
	struct run run;

	(void)state;
	put("{\"splits_planned\":9,\"splits_before\":500}\n{\"form\":\"a\",\"splits\":40,\"start\":"
	    "{}}\n{\"form\":\"b\",\"splits\":3,");
	record(&run, "--yes-really", "--again", path);
	assert_exit(&run, 2);
	assert_says(run.err, "543 executed by earlier recordings");
}

static const struct {
	const char *arguments[3], *message;
} refused[] = {
	{ { path }, "give --dry-run, or --yes-really" },
	{ { "--yes-really", path }, "no terminal" },
	{ { "--yes-really", "--repeat=9", path }, "may have 2000" },
	{ { "--repeat=0", path }, "--repeat: '0'" },
	{ { "--dry-run" }, "where to?" },
	{ { "--dry-run", "/nowhere/record" }, "/nowhere/record.part: No such file" },
};

static void test_record_latency_refusals_tell_why_and_execute_nothing(void **state)
{
	struct run run;

	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		const char *const *a = refused[i].arguments;

		record(&run, a[0], a[1], a[2]);
		assert_true(WIFEXITED(run.status) && WEXITSTATUS(run.status) != 0);
		assert_says(run.err, refused[i].message);
		assert_int_equal(access(path, F_OK), -1);
	}
}

static void test_record_latency_in_ci_is_refused(void **state)
{
	struct run run;

	(void)state;
	run_how(&run,
		ARGUMENTS("/bin/sh", "-c", "exec \"$@\" </dev/null", "sh", RECORDER, "--yes-really",
			  path),
		(struct run_how){ 0, false, "CI=true" });
	assert_exit(&run, 2);
	assert_says(run.err, "CI is set");
}

static int begin(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	unsetenv("CI");
	if (fd < 0 || access(RECORDER, X_OK))
		return fd < 0 ? -1 : 0;
	close(fd);
	return unlink(path);
}

static int forget(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_record_latency_dry_run_writes_a_whole_record_without_splits, NULL,
			forget),
		cmocka_unit_test_setup_teardown(test_record_latency_existing_record_is_kept, NULL,
						forget),
		cmocka_unit_test_setup_teardown(test_record_latency_earlier_recordings_count, NULL,
						forget),
		cmocka_unit_test_setup_teardown(
			test_record_latency_refusals_tell_why_and_execute_nothing, NULL, forget),
		cmocka_unit_test_setup_teardown(test_record_latency_in_ci_is_refused, NULL, forget),
	};
	if (access(RECORDER, X_OK)) {
		puts("skipped: the recorder is built on x86 only");
		return 77;
	}
	return cmocka_run_group_tests(tests, begin, NULL);
}
