// SPDX-License-Identifier: GPL-2.0-only
/* `buslock show`, `plot` and `export`: traces looked at. */
#include "tests/integration/trace_path.h"

#define GOLDEN BUSLOCK_SOURCE_DIR "/tests/golden/verify"

#define HEADER                                                                                   \
	"{\"schema\":\"buslock-trace\",\"version\":1,\"tool\":\"t 1\",\"backend\":\"emulator\"," \
	"\"options\":\"vendor=intel\",\"time\":\"virtual\"}\n"
#define EVENT(name, time, vcpu) \
	"{\"event\":\"" name "\",\"time\":" time ",\"process\":0,\"vm\":0,\"vcpu\":" vcpu
#define RUN(time, vcpu) EVENT("run", time, vcpu) ",\"immediate_exit\":false}\n"
#define EXIT(time, vcpu)                                                                       \
	EVENT("exit", time, vcpu)                                                              \
	",\"result\":0,\"reason\":33,\"reason_name\":\"X86_BUS_LOCK\",\"flags\":2,"            \
	"\"flag_names\":[\"BUS_LOCK\"],\"word\":\"0x400004a\",\"rip\":\"0x1010\",\"linear_rip" \
	"\":\"0x1010\"}\n"
#define LOCK(time, vcpu)                                                                         \
	EVENT("bus_lock", time, vcpu)                                                            \
	",\"cause\":[\"split\"],\"linear\":\"0x803e\",\"gpa\":\"0x803e\",\"size\":4,\"rip\":"    \
	"\"0x1009\",\"linear_rip\":\"0x1009\",\"bytes\":\"f0ff8700800000\",\"mode\":64,\"cpl\":" \
	"0,\"memory_type\":\"WB\",\"guest_memory_type\":\"WB\",\"stuffed\":null,\"in_delivery"   \
	"\":false}\n"
#define SLEEP(time, vcpu, ns) \
	EVENT("sleep", time, vcpu) ",\"who\":\"policy\",\"ns\":" ns ",\"interrupted\":false}\n"

static void put_trace(const char *text, size_t n)
{
	int fd = open(trace_path, O_WRONLY | O_TRUNC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	close(fd);
}
#define PUT(text) put_trace(text, strlen(text))

/* A second in which vCPU 1 takes two locks and sleeps half a second for them. */
#define SHORT                                                                                     \
	HEADER RUN("0", "0") RUN("1000", "1") LOCK("1500", "1") EXIT("2000", "1")                 \
		SLEEP("500002000", "1", "500000000") RUN("500003000", "1") LOCK("500003500", "1") \
			EXIT("500004000", "1") RUN("1000000000", "1")

/* ------------------------------------------------------------------ show */

static void test_cli_show_tells_each_event_and_counts_them(void **state)
{
	struct run run;

	(void)state;
	PUT(SHORT);
	run_program(&run, BUSLOCK, "show", trace_path);
	assert_exit(&run, 0);
	assert_string_equal(run.err, "");
	assert_says(run.out, "  by        t 1\n  backend   emulator\n  options   vendor=intel\n");
	assert_says(run.out, "     0.000000000  vcpu 0   run\n");
	assert_says(run.out,
		    "     0.000001500  vcpu 1   bus lock split  4 bytes at 0x803e  lock inc dword "
		    "ptr [rdi + 0x8000]  at 0x1009  WB\n");
	assert_says(run.out, "     0.000002000  vcpu 1   exit X86_BUS_LOCK  [BUS_LOCK]  at 0x1010"
			     "  word 0x400004a\n");
	assert_says(run.out, "     0.500002000  vcpu 1   slept 500.000 ms, policy\n");
	assert_says(run.out, "  time   1.000 s\n  events run=4 exit=2 bus_lock=2 sleep=1\n");
	assert_says(run.out, "               2  X86_BUS_LOCK\n");
	assert_says(run.out, "vcpu 1              3 runs, 2.000 us in KVM_RUN; 2 exits; 2 bus "
			     "locks, 2 flagged; policy slept 500.000 ms\n");
	assert_says(run.out, "               2  0x1009  lock inc dword ptr [rdi + 0x8000]\n");
}

static void test_cli_show_filters_by_event_vcpu_and_time(void **state)
{
	struct run run;

	(void)state;
	PUT(SHORT);
	run_program(&run, BUSLOCK, "show", "--json", "--events", "bus-locks,sleep", trace_path);
	assert_string_equal(run.out, HEADER LOCK("1500", "1") SLEEP("500002000", "1", "500000000")
					     LOCK("500003500", "1"));
	run_program(&run, BUSLOCK, "show", "--json", "--vcpu=0", trace_path);
	assert_string_equal(run.out, HEADER RUN("0", "0"));
	run_program(&run, BUSLOCK, "show", "--json", "--from=2us", "--to=0.500003", trace_path);
	assert_string_equal(run.out, HEADER EXIT("2000", "1") SLEEP("500002000", "1", "500000000")
					     RUN("500003000", "1"));
	run_program(&run, BUSLOCK, "show", "--json", trace_path);
	assert_string_equal(run.out, SHORT);
}

static void test_cli_show_json_has_known_keys_in_order_and_keeps_others(void **state)
{
	struct run run;

	(void)state;
	PUT(HEADER
	    "{\"new\":[1, 2],\"vcpu\":0,\"vm\":0, \"process\":0,\"event\":\"run\",\"time\":5,"
	    "\"immediate_exit\":true}\n"
	    "{\"event\":\"dream\",\"time\":6,\"process\":0,\"vm\":null,\"vcpu\":null,\"of\":"
	    "\"sheep\"}\n");
	run_program(&run, BUSLOCK, "show", "--json", trace_path);
	assert_string_equal(run.out, HEADER EVENT("run", "5",
						  "0") ",\"immediate_exit\":true,\"new\":[1,2]}\n"
						       "{\"event\":\"dream\",\"time\":6,"
						       "\"process\":0,\"vm\":null,\"vcpu\":null,"
						       "\"of\":\"sheep\"}\n");
	run_program(&run, BUSLOCK, "show", trace_path);
	assert_says(run.out, "run, immediate_exit  new=[1,2]\n");
	assert_says(run.out, "-        dream  of=\"sheep\"\n");
}

static void test_cli_show_damage_is_named_and_the_rest_shown(void **state)
{
	struct run run;

	(void)state;
	PUT(HEADER RUN("1", "0") "{\"event\":\"ru\n" RUN("2", "0"));
	run_program(&run, BUSLOCK, "show", trace_path);
	assert_exit(&run, 2);
	assert_says(run.err, "line 3: cut short");
	assert_says(run.out, "events run=2\n");
}

/* What a guest or a thread's name can bring into a trace does not reach the terminal. */
static void test_cli_show_makes_control_characters_visible(void **state)
{
	struct run run;

	(void)state;
	PUT(HEADER EVENT("host_message", "1", "0") ",\"text\":\"a\\u001b[2Jb\\u009bc\\u0007\"}"
						   "\n" EVENT("\\u001b]0;x", "2",
							      "0") ",\"\\u001bkey\":"
								   "\"\\u001bvalue\"}\n");
	run_program(&run, BUSLOCK, "show", trace_path);
	assert_says(run.out, "host: a\\x1b[2Jb\\x9bc\\x07\n");
	assert_null(memchr(run.out, 0x1b, strlen(run.out)));
}

/* script(1) gives it a terminal. */
static void test_cli_show_colours_are_for_terminals_that_want_them(void **state)
{
	char command[256];
	struct run run;

	(void)state;
	PUT(SHORT);
	snprintf(command, sizeof(command), "%s show %s", BUSLOCK, trace_path);
	run_how(&run, ARGUMENTS("script", "-qec", command, "/dev/null"),
		(struct run_how){ .variable = "TERM=xterm" });
	if (WIFEXITED(run.status) && WEXITSTATUS(run.status) == 98) {
		print_message("skipped: script(1) is not installed\n");
		skip();
	}
	assert_says(run.out, "\033[31mbus lock\033[0m split");
	run_how(&run, ARGUMENTS("script", "-qec", command, "/dev/null"),
		(struct run_how){ .variable = "NO_COLOR=1" });
	assert_null(memchr(run.out, 0x1b, strlen(run.out)));
	assert_says(run.out, "bus lock split");
}

/* The trace as it was written, through both ways of storing it. */
static void test_cli_show_json_gives_back_what_was_written(void **state)
{
	char command[512], path[] = "/tmp/buslock-show-XXXXXX";
	int fd = mkstemp(path);
	struct run run;

	(void)state;
	close(fd);
	run_program(&run, BUSLOCK, "run", GUEST("lock_bts.bin"), "--mode", "long", "--load",
		    "0x1000", "--set", "rdi=62", "--time=virtual", "--report=none", "--trace",
		    path);
	snprintf(command, sizeof(command), "zstd -qcf %s > %s && %s show --json %s | cmp - %s",
		 path, trace_path, BUSLOCK, trace_path, path);
	run_program(&run, "sh", "-c", "command -v zstd");
	if (run.status) {
		unlink(path);
		print_message("skipped: zstd(1) is not installed\n");
		skip();
	}
	run_program(&run, "sh", "-c", command);
	assert_exit(&run, 0);
	snprintf(command, sizeof(command), "cat %s | %s show --json - | cmp - %s", trace_path,
		 BUSLOCK, path);
	run_program(&run, "sh", "-c", command);
	assert_exit(&run, 0);
	unlink(path);
}

static void test_cli_show_wrong_options_say_what_is_right(void **state)
{
	static const struct {
		const char *option, *says;
	} cases[] = {
		{ "--events=exits,nap", "there is no event 'nap'" },
		{ "--events=", "there is no event ''" },
		{ "--vcpu=64", "'64' is not a number from 0 to 63" },
		{ "--from=1m", "'1m' is not a time; give seconds" },
		{ "--to=-1", "'-1' is not a time" },
		{ "--symbols=/nonexistent", "/nonexistent" },
	};
	struct run run;

	(void)state;
	PUT(SHORT);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run_program(&run, BUSLOCK, "show", cases[i].option, trace_path);
		assert_exit(&run, 2);
		assert_says(run.err, cases[i].says);
		assert_string_equal(run.out, "");
	}
	run_program(&run, BUSLOCK, "show", "/nonexistent");
	assert_exit(&run, 2);
	assert_says(run.err, "/nonexistent: No such file or directory");
	run_program(&run, BUSLOCK, "show", "/tmp");
	assert_exit(&run, 2);
	assert_says(run.err, "/tmp: Is a directory");
	run_program(&run, BUSLOCK, "show");
	assert_exit(&run, 2);
	assert_says(run.err, "which trace?");
}

/* ------------------------------------------------------------------ export */

static void test_cli_export_chrome_has_a_track_for_each_vcpu(void **state)
{
	static const char check[] =
		"import json, sys\n"
		"d = json.load(sys.stdin)\n"
		"e = d['traceEvents']\n"
		"names = {x['tid']: x['args']['name'] for x in e if x['name'] == 'thread_name'}\n"
		"assert sorted(names.values()) == ['vcpu 0', 'vcpu 1'], names\n"
		"one = [t for t in names if names[t] == 'vcpu 1'][0]\n"
		"mine = [x for x in e if x['tid'] == one]\n"
		"runs = [(x['ts'], x['dur']) for x in mine if x['name'] == 'KVM_RUN']\n"
		"assert runs == [(1, 1), (500003, 1)], runs\n"
		"sleep = [(x['ts'], x['dur']) for x in mine if x['name'].startswith('asleep')]\n"
		"assert sleep == [(2, 500000)], sleep\n"
		"exits = [(x['ts'], x['ph']) for x in mine if x['name'] == 'X86_BUS_LOCK']\n"
		"assert exits == [(2, 'i'), (500004, 'i')], exits\n"
		"locks = [x for x in mine if x['name'] == 'bus lock']\n"
		"assert [x['ts'] for x in locks] == [1.5, 500003.5], locks\n"
		"assert locks[0]['args']['bytes'] == 'f0ff8700800000'\n"
		"open = [(x['ts'], x['dur']) for x in e if 'not returned' in x['name']]\n"
		"assert open == [(0, 1000000), (1000000, 0)], open\n"
		"assert d['otherData']['options'] == 'vendor=intel'\n";
	char command[4096];
	struct run run;

	(void)state;
	PUT(SHORT);
	snprintf(command, sizeof(command), "%s export --chrome %s | python3 -c \"%s\"", BUSLOCK,
		 trace_path, check);
	run_program(&run, "sh", "-c", command);
	assert_exit(&run, 0);
	assert_string_equal(run.err, "");
}

static void test_cli_export_says_what_is_missing(void **state)
{
	struct run run;

	(void)state;
	PUT(SHORT);
	run_program(&run, BUSLOCK, "export", trace_path);
	assert_exit(&run, 2);
	assert_says(run.err, "which format? There is --chrome");
	run_program(&run, BUSLOCK, "export", "--chrome", trace_path, "-o", "/nonexistent/x");
	assert_exit(&run, 2);
	assert_says(run.err, "export: /nonexistent/x: No such file or directory");
	run_program(&run, BUSLOCK, "export", "--chrome", trace_path, "-o", "/dev/full");
	assert_exit(&run, 2);
	assert_says(run.err, "/dev/full: No space left on device");
	run_program(&run, BUSLOCK, "export", "--chrome", trace_path, "-o", trace_path);
	assert_exit(&run, 2);
	assert_says(run.err, "it is the trace itself");
	run_program(&run, BUSLOCK, "show", trace_path); /* it is still there */
	assert_exit(&run, 0);
	assert_says(run.out, "bus lock");
}

/* ------------------------------------------------------------------ plot */

/* Locks and sleep of all intervals together are those of the trace. */
static void test_cli_plot_table_adds_up(void **state)
{
	char table[] = "/tmp/buslock-plot-XXXXXX.tsv", line[256];
	double x, locks, asleep, last = -1, width = 0, all_locks = 0, all_asleep = 0;
	int fd = mkstemps(table, 4);
	struct run run;
	FILE *file;

	(void)state;
	close(fd);
	PUT(SHORT);
	run_program(&run, BUSLOCK, "plot", trace_path, "-o", table);
	assert_exit(&run, 0);
	file = fopen(table, "r");
	assert_non_null(fgets(line, sizeof(line), file));
	assert_string_equal(line, "time (s)\tbus locks\tasleep: the monitor's policy\n");
	while (fscanf(file, "%lf %lf %lf", &x, &locks, &asleep) == 3) {
		width = last < 0 ? 2 * x : x - last;
		last = x;
		all_locks += locks * width;
		all_asleep += asleep * width;
	}
	fclose(file);
	unlink(table);
	assert_true(all_locks > 1.99 && all_locks < 2.01);
	/* half a second of two vCPUs' time */
	assert_true(all_asleep > 24.9 && all_asleep < 25.1);
	assert_true(last > 0.9 && last < 1.1);
}

static void test_cli_plot_draws_what_is_asked_for(void **state)
{
	char base[] = "/tmp/buslock-plot-XXXXXX", path[64];
	int fd = mkstemp(base);
	struct run run;

	(void)state;
	close(fd);
	PUT(SHORT);
	snprintf(path, sizeof(path), "%s.svg", base);
	run_program(&run, BUSLOCK, "plot", trace_path, "-o", path);
	unlink(base);
	if (WEXITSTATUS(run.status) == 6) {
		print_message("skipped: %s", run.err);
		skip();
	}
	assert_exit(&run, 0);
	run_program(&run, "grep", "-c", "bus locks per second", path);
	assert_string_equal(run.out, "1\n");
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s.png", base);
	assert_int_not_equal(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s.tsv", base);
	assert_int_not_equal(access(path, F_OK), 0);
}

static void test_cli_plot_without_events_says_so(void **state)
{
	struct run run;

	(void)state;
	PUT(HEADER);
	run_program(&run, BUSLOCK, "plot", trace_path, "-o", "/tmp/buslock-none.tsv");
	assert_exit(&run, 2);
	assert_says(run.err, "there is nothing in it");
	run_program(&run, BUSLOCK, "plot", trace_path);
	assert_exit(&run, 2);
	assert_says(run.err, "which picture?");
}

static void test_cli_plot_spares_the_trace_and_refuses_other_formats(void **state)
{
	char base[] = "/tmp/buslock-plot-XXXXXX.tsv";
	int fd = mkstemps(base, 4);
	struct run run;

	(void)state;
	assert_int_equal(write(fd, SHORT, strlen(SHORT)), strlen(SHORT));
	close(fd);
	run_program(&run, BUSLOCK, "plot", base, "-o", base);
	assert_exit(&run, 2);
	assert_says(run.err, "it is the trace itself");
	base[strlen(base) - 4] = '\0';
	run_program(&run, "sh", "-c", BUSLOCK " plot - -o $0 < $0.tsv", base);
	assert_exit(&run, 2);
	assert_says(run.err, "it is the trace itself");
	run_program(&run, "sh", "-c", BUSLOCK " export --chrome - -o $0.tsv < $0.tsv", base);
	assert_exit(&run, 2);
	assert_says(run.err, "it is the trace itself");
	base[strlen(base)] = '.';
	run_program(&run, BUSLOCK, "show", base);
	assert_exit(&run, 0);
	unlink(base);
	run_program(&run, BUSLOCK, "plot", base, "-o", "/tmp/buslock-plot.pdf");
	assert_exit(&run, 2);
	assert_says(run.err, "or OUT without suffix for all three");
}

static void test_cli_plot_without_bus_locks_says_so(void **state)
{
	char table[] = "/tmp/buslock-plot-XXXXXX.svg";
	int fd = mkstemps(table, 4);
	struct run run;

	(void)state;
	close(fd);
	PUT(HEADER RUN("0", "0") RUN("1000", "0"));
	run_program(&run, BUSLOCK, "plot", trace_path, "-o", table);
	unlink(table);
	assert_says(run.err, "there are no bus locks in it");
	assert_silent(run.err, "range"); /* gnuplot's words for it */
}

static void test_cli_show_empty_or_unfinished_is_said(void **state)
{
	struct run run;

	(void)state;
	PUT("");
	run_program(&run, BUSLOCK, "show", trace_path);
	assert_exit(&run, 2);
	assert_says(run.err, "it is empty");
	PUT(SHORT);
	run_program(&run, BUSLOCK, "show", trace_path);
	assert_exit(&run, 0);
	assert_says(run.out, "\nno end: ");
	PUT("{\"schema\":\"\\u001b[31m\",\"version\":1}\n");
	run_program(&run, BUSLOCK, "show", trace_path);
	assert_exit(&run, 2);
	assert_says(run.err, "schema \"\\x1b[31m\"");
}

/* Of all sub-commands, and of what argp prints: nobody looks at the output of a pipeline by hand. */
static void test_cli_output_that_is_lost_is_trouble(void **state)
{
	static const char *const commands[] = {
		"show --json $0", "show $0",
		"diff $0 $0",     "export --chrome $0",
		"host",           "explain 'f0 ff 00'",
		"mutate --list",  "show --help",
		"help",           "version",
		"import $0 2>&2", "verify --against emulator --count 1 --mode real"
	};
	char command[300];
	struct run run;

	(void)state;
	PUT(SHORT);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		for (int closed = 0; closed < 2; closed++) {
			snprintf(command, sizeof(command), "%s %s %s", BUSLOCK, commands[i],
				 closed ? ">&-" : ">/dev/full");
			run_program(&run, "sh", "-c", command, trace_path);
			assert_exit(&run, 2);
			assert_says(run.err, "buslock: standard output: ");
			assert_silent(run.err, "jsonl: No space");
		}
}

/* ------------------------------------------------------------------ verify */

static void test_cli_verify_replay_counts_what_passed(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "verify", "--replay", GOLDEN);
	assert_exit(&run, 2);
	assert_says(run.err, "is a directory; give its files");
	run_program(&run, "sh", "-c", BUSLOCK " verify --replay $(ls -d $0/*.txt | head -2)",
		    GOLDEN);
	assert_exit(&run, 0);
	assert_string_equal(run.out, "2 of 2 golden cases passed\n");
}

static void test_cli_verify_interrupted_has_not_concluded(void **state)
{
	struct run run;

	(void)state;
	/* before it looks for the signal it dies of it */
	for (unsigned ms = 300; ms < 8000; ms *= 3) {
		run_start(&run, BUSLOCK, "verify", "--against=emulator", "--mode=real",
			  "--count=4000000");
		run_sleep(ms);
		kill(run.pid, SIGINT);
		run_finish(&run);
		if (!WIFSIGNALED(run.status))
			break;
	}
	assert_exit(&run, 130);
	assert_says(run.out, ", interrupted\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cli_show_tells_each_event_and_counts_them),
		cmocka_unit_test(test_cli_show_filters_by_event_vcpu_and_time),
		cmocka_unit_test(test_cli_show_json_has_known_keys_in_order_and_keeps_others),
		cmocka_unit_test(test_cli_show_damage_is_named_and_the_rest_shown),
		cmocka_unit_test(test_cli_show_makes_control_characters_visible),
		cmocka_unit_test(test_cli_show_colours_are_for_terminals_that_want_them),
		cmocka_unit_test(test_cli_show_json_gives_back_what_was_written),
		cmocka_unit_test(test_cli_show_wrong_options_say_what_is_right),
		cmocka_unit_test(test_cli_export_chrome_has_a_track_for_each_vcpu),
		cmocka_unit_test(test_cli_export_says_what_is_missing),
		cmocka_unit_test(test_cli_plot_table_adds_up),
		cmocka_unit_test(test_cli_plot_draws_what_is_asked_for),
		cmocka_unit_test(test_cli_plot_without_events_says_so),
		cmocka_unit_test(test_cli_plot_spares_the_trace_and_refuses_other_formats),
		cmocka_unit_test(test_cli_plot_without_bus_locks_says_so),
		cmocka_unit_test(test_cli_show_empty_or_unfinished_is_said),
		cmocka_unit_test(test_cli_output_that_is_lost_is_trouble),
		cmocka_unit_test(test_cli_verify_replay_counts_what_passed),
		cmocka_unit_test(test_cli_verify_interrupted_has_not_concluded),
	};

	return cmocka_run_group_tests(tests, make_path, remove_path);
}
