// SPDX-License-Identifier: GPL-2.0-only
/* `buslock diff`: two traces held against each other, as somebody reads it. */
#include "tests/integration/trace_path.h"

static char path_b[] = "/tmp/buslock-trace-b-XXXXXX";

static int make_both(void **state)
{
	int fd = mkstemp(path_b);

	if (fd >= 0)
		close(fd);
	return fd < 0 || make_path(state);
}

static int remove_both(void **state)
{
	return unlink(path_b) | remove_path(state);
}

/* A guest with ten split locks, into one of the two files; `more`: options, NULL at the end. */
static void record(const char *path, const char *const more[])
{
	const char *arguments[24] = { BUSLOCK,         "run",   GUEST("lock_bts.bin"),
				      "--mode",        "long",  "--load",
				      "0x1000",        "--set", "rdi=62",
				      "--trace",       path,    "--report=none",
				      "--time=virtual" };
	struct run run;

	for (int i = 0; more[i]; i++)
		arguments[13 + i] = more[i];
	run_how(&run, arguments, (struct run_how){ 0 });
	assert_int_equal(WEXITSTATUS(run.status) % 2, 1); /* the guest's own */
}

#define record_both(a, b)                                          \
	do {                                                       \
		record(trace_path, (const char *const[])UNWRAP a); \
		record(path_b, (const char *const[])UNWRAP b);     \
	} while (0)
#define UNWRAP(...)         \
	{                   \
		__VA_ARGS__ \
	}

static void test_cli_diff_same_run_twice_is_the_same(void **state)
{
	struct run run;

	(void)state;
	record_both((NULL), (NULL));
	run_program(&run, BUSLOCK, "diff", trace_path, path_b);
	assert_exit(&run, 0);
	assert_says(run.out, "\nThe same: 36 events agree, 0 differences\n");
	assert_silent(run.out, "differ:");
	assert_string_equal(run.err, "");
	run_program(&run, BUSLOCK, "diff", "-q", trace_path, path_b);
	assert_exit(&run, 0);
	assert_string_equal(run.out, "");
}

/* What the manuals leave open is seen at the first exit: its word. */
static void test_cli_diff_another_processor_parts_at_its_first_word(void **state)
{
	struct run run;

	(void)state;
	record_both(("--trace-registers", NULL), ("--reason-74=bare", NULL));
	run_program(&run, BUSLOCK, "diff", "--code=" GUEST("lock_bts.bin") "@0x1000", trace_path,
		    path_b);
	assert_exit(&run, 1);
	assert_says(run.out, "options differ: A bare_reason_74=0,trace_registers=1, B "
			     "bare_reason_74=1\nnot compared: exit.registers: B cannot tell it\n");
	assert_says(run.out, "They part at line 7 of A, line 7 of B (vcpu 0):\n");
	assert_says(run.out, "\n    A 6  ");
	assert_says(run.out, "\n  - A 7  ");
	assert_says(run.out, "\n  + B 7  ");
	assert_says(run.out, "\n      word: A \"0x400004a\", B \"0x4a\"\n");
	assert_says(run.out, "\n  >     0x101d  4d11c0                   adc r8, r8\n");
	assert_says(run.out, "They go on together at line 8 of A, line 8 of B.\n");
	assert_says(run.out, "  A line 7     B line 7      exit: word\n");
	assert_says(run.out, "\nThey differ: 26 events agree, 10 differences\n");
	run_program(&run, BUSLOCK, "diff", "--ignore=exit.word", trace_path, path_b);
	assert_exit(&run, 0);
	run_program(&run, BUSLOCK, "diff", "--only=bus-locks", trace_path, path_b);
	assert_exit(&run, 0);
	assert_says(run.out, "36 events, 10 compared");
	run_program(&run, BUSLOCK, "diff", "--only=exits", "--max=2", trace_path, path_b);
	assert_exit(&run, 1);
	assert_says(run.out, "  and 8 more\n");
}

static void test_cli_diff_shows_instructions_that_the_traces_have(void **state)
{
	struct run run;

	(void)state;
	record_both((NULL), ("--reason-74=bare", NULL));
	run_program(&run, BUSLOCK, "diff", trace_path, path_b);
	assert_says(run.out,
		    "as far as these traces tell it:\n        0x1018  f0480fab3e             "
		    "  lock bts qword ptr [rsi], rdi\n");
}

/* Registers that differ where nothing else does; and an insertion, put in by hand. */
static void test_cli_diff_registers_and_insertions_are_told(void **state)
{
	static const char edit[] =
		"sed -i '/\"event\":\"exit\"/{s/\"registers\":\"0x./\"registers\":\"0x0/;:a;n;ba}' "
		"%s";
	static const char insert[] =
		"sed -i '10i{\"event\":\"exit\",\"time\":1,\"process\":0,\"vm\":0,\"vcpu\":0,"
		"\"result\":-4,\"error\":\"EINTR\",\"reason\":10,\"reason_name\":\"INTR\","
		"\"flags\":0,\"flag_names\":[]}\\n{\"event\":\"run\",\"time\":1,\"process\":0,"
		"\"vm\":0,\"vcpu\":0,\"immediate_exit\":false}' %s";
	char command[600];
	struct run run;

	(void)state;
	record_both(("--trace-registers", NULL), ("--trace-registers", NULL));
	snprintf(command, sizeof(command), edit, path_b);
	run_program(&run, "sh", "-c", command);
	run_program(&run, BUSLOCK, "diff", trace_path, path_b);
	assert_exit(&run, 1);
	assert_says(run.out, "      registers: A \"0x");
	assert_says(run.out, " events agree, 1 difference\n");
	run_program(&run, BUSLOCK, "diff", "--no-registers", trace_path, path_b);
	assert_exit(&run, 0);
	snprintf(command, sizeof(command), insert, path_b);
	run_program(&run, "sh", "-c", command);
	run_program(&run, BUSLOCK, "diff", "--no-registers", trace_path, path_b);
	assert_exit(&run, 1);
	assert_says(run.out, "only in B: ");
	assert_says(run.out, "(timing)\n");
	assert_says(run.out,
		    "1 extra place is explained by their timing (--timing lets them pass)");
	run_program(&run, BUSLOCK, "diff", "--no-registers", "--timing", trace_path, path_b);
	assert_exit(&run, 0);
	assert_says(run.out, "\nThe same: 36 events agree, 0 differences; 1 extra place");
	/* with another difference behind it, that is where they part */
	run_program(&run, BUSLOCK, "diff", "--timing", trace_path, path_b);
	assert_exit(&run, 1);
	assert_says(run.out, "      registers: A \"0x");
}

static void test_cli_diff_compressed_is_the_same_as_plain(void **state)
{
	char command[200];
	struct run run;

	(void)state;
	run_program(&run, "sh", "-c", "command -v zstd");
	if (run.status) {
		print_message("skipped: zstd(1) is not installed\n");
		skip();
	}
	record(trace_path, (const char *const[]){ NULL });
	snprintf(command, sizeof(command), "zstd -qcf %s > %s", trace_path, path_b);
	run_program(&run, "sh", "-c", command);
	run_program(&run, BUSLOCK, "diff", trace_path, path_b);
	assert_exit(&run, 0);
}

static void test_cli_diff_trouble_is_2(void **state)
{
	char command[200];
	struct run run;

	(void)state;
	record_both((NULL), (NULL));
	snprintf(command, sizeof(command), "sed -i '9s/.$//' %s", path_b);
	run_program(&run, "sh", "-c", command);
	run_program(&run, BUSLOCK, "diff", trace_path, path_b);
	assert_exit(&run, 2);
	assert_says(run.err, "line 9: it is cut short");
	assert_says(run.out, "\nThey differ: 35 events agree, 1 difference\n");
	run_program(&run, BUSLOCK, "diff", trace_path, "/nonexistent");
	assert_exit(&run, 2);
	assert_says(run.err, "/nonexistent: No such file or directory");
	run_program(&run, BUSLOCK, "diff", trace_path, "/dev/null");
	assert_exit(&run, 2);
	assert_says(run.err, "/dev/null: not a regular file");
	run_program(&run, BUSLOCK, "diff", trace_path);
	assert_exit(&run, 2);
	assert_says(run.err, "which traces?");
	run_program(&run, BUSLOCK, "diff", "--only=locks", trace_path, path_b);
	assert_exit(&run, 2);
	assert_says(run.err, "Give bus-locks or exits");
	run_program(&run, BUSLOCK, "diff", "--only=bus-locks", "--ignore=bus_lock", trace_path,
		    path_b);
	assert_exit(&run, 2);
	assert_says(run.err, "have nothing that could be compared");
	run_program(&run, BUSLOCK, "diff", "--code=nowhere", trace_path, path_b);
	assert_exit(&run, 2);
	assert_says(run.err, "Give FILE@ADDRESS");
}

/* A kind of event that both tell of, and that did not occur, is no trouble. */
static void test_cli_diff_no_bus_lock_on_either_side_is_the_same(void **state)
{
	static const char header[] = "{\"schema\":\"buslock-trace\",\"version\":1,\"tool\":\"t\","
				     "\"backend\":\"%s\",\"options\":null,\"time\":\"virtual\"}\n"
				     "{\"event\":\"run\",\"time\":1,\"process\":0,\"vm\":0,"
				     "\"vcpu\":0,\"immediate_exit\":false}\n";
	static const struct {
		const char *backend;
		int status;
	} cases[] = { { "emulator", 0 }, { "import", 2 }, { "/dev/kvm", 2 } };
	struct run run;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		FILE *file = fopen(trace_path, "w");

		assert_non_null(file);
		fprintf(file, header, cases[i].backend);
		fclose(file);
		run_program(&run, BUSLOCK, "diff", "--only=bus-locks", trace_path, trace_path);
		assert_exit(&run, cases[i].status);
	}
}

static void put_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

#define HEADER_OF(backend, version)                          \
	"{\"schema\":\"buslock-trace\",\"version\":" version \
	",\"tool\":\"t\",\"backend\":\"" backend "\",\"options\":null,\"time\":\"real\"}\n"
#define RUN_LINE                                                                              \
	"{\"event\":\"run\",\"time\":1,\"process\":0,\"vm\":0,\"vcpu\":0,\"immediate_exit\":" \
	"false}\n"
#define MESSAGE_LINE                                                                               \
	"{\"event\":\"host_message\",\"time\":1,\"process\":0,\"vm\":0,\"vcpu\":0,\"text\":\"x\"}" \
	"\n"
#define END_LINE(status)                                                                         \
	"{\"event\":\"end\",\"time\":9,\"status\":" status ",\"signal\":null,\"deterministic\":" \
	"false,\"why\":\"x\",\"lost\":0,\"events\":{}}\n"

/* "The same" is said only of what has been compared. */
static void test_cli_diff_nothing_comparable_is_trouble(void **state)
{
	static const struct {
		const char *a, *b, *says;
	} cases[] = {
		{ HEADER_OF("import", "1") RUN_LINE END_LINE("null"),
		  HEADER_OF("import", "1") MESSAGE_LINE END_LINE("null"),
		  "have nothing that could be compared" },
		{ HEADER_OF("import", "1") RUN_LINE END_LINE("0"),
		  HEADER_OF("import", "1") MESSAGE_LINE END_LINE("0"),
		  "have nothing that could be compared" },
		{ HEADER_OF("emulator", "99") RUN_LINE, HEADER_OF("emulator", "99") RUN_LINE,
		  "line 1: version 99; this reads version 1" },
		{ "{\"schema\":\"other\",\"version\":1}\n" RUN_LINE,
		  "{\"schema\":\"other\",\"version\":1}\n" RUN_LINE,
		  "line 1: schema \"other\"; this reads \"buslock-trace\"" },
		{ RUN_LINE, RUN_LINE, "line 1: there is no header in front of it" },
		{ "", "", "it is empty" },
	};
	struct run run;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put_file(trace_path, cases[i].a);
		put_file(path_b, cases[i].b);
		run_program(&run, BUSLOCK, "diff", trace_path, path_b);
		assert_exit(&run, 2);
		assert_says(run.err, cases[i].says);
		assert_silent(run.err, "(0 kinds");
		assert_silent(run.out, "The same");
	}
}

/* An imported log does not know the status; and how runs end is told behind what they did. */
static void test_cli_diff_end_counts_if_both_tell_it_and_comes_last(void **state)
{
	struct run run;

	(void)state;
	put_file(trace_path, HEADER_OF("emulator", "1") RUN_LINE END_LINE("0"));
	put_file(path_b, HEADER_OF("import", "1") RUN_LINE END_LINE("null"));
	run_program(&run, BUSLOCK, "diff", trace_path, path_b);
	assert_exit(&run, 0);
	assert_says(run.out, "the end: B does not tell its status");
	put_file(path_b, HEADER_OF("emulator", "1") RUN_LINE RUN_LINE END_LINE("1"));
	run_program(&run, BUSLOCK, "diff", trace_path, path_b);
	assert_exit(&run, 1);
	assert_says(run.out, "They part at the end of A, line 3 of B");
	assert_says(run.out, "2 differences");
}

static void test_cli_diff_options_are_checked(void **state)
{
	struct run run;

	(void)state;
	record_both((NULL), ("--reason-74=bare", NULL));
	run_program(&run, BUSLOCK, "diff", "--ignore=nonsense", trace_path, path_b);
	assert_exit(&run, 2);
	assert_says(run.err, "there is no event or field 'nonsense'");
	run_program(&run, BUSLOCK, "diff", "--ignore=sleep", "--ignore=word", "--ignore=time",
		    "--only=bus-lock", trace_path, path_b);
	assert_exit(&run, 0);
	/* hexadecimal, as the addresses of --symbols */
	run_program(&run, BUSLOCK, "diff", "--code=" GUEST("lock_bts.bin") "@1000", trace_path,
		    path_b);
	assert_says(run.out, "0x101d  4d11c0");
	run_program(&run, BUSLOCK, "diff", "--code=" GUEST("lock_bts.bin") "@0x9000", trace_path,
		    path_b);
	assert_says(run.out, "0x101d is not in the image of --code, which is at 0x9000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cli_diff_same_run_twice_is_the_same),
		cmocka_unit_test(test_cli_diff_another_processor_parts_at_its_first_word),
		cmocka_unit_test(test_cli_diff_shows_instructions_that_the_traces_have),
		cmocka_unit_test(test_cli_diff_registers_and_insertions_are_told),
		cmocka_unit_test(test_cli_diff_compressed_is_the_same_as_plain),
		cmocka_unit_test(test_cli_diff_no_bus_lock_on_either_side_is_the_same),
		cmocka_unit_test(test_cli_diff_trouble_is_2),
		cmocka_unit_test(test_cli_diff_nothing_comparable_is_trouble),
		cmocka_unit_test(test_cli_diff_end_counts_if_both_tell_it_and_comes_last),
		cmocka_unit_test(test_cli_diff_options_are_checked),
	};

	return cmocka_run_group_tests(tests, make_both, remove_both);
}
