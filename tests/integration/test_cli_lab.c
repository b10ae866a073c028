// SPDX-License-Identifier: GPL-2.0-only
/*
 * Policies as people use them: `buslock run --throttle`, and the experiments of `buslock lab`. Every
 * test starts the built program and looks at status and text.
 */
#include "tests/integration/run.h"

#include <math.h>

/* ------------------------------------------------------------------ run --throttle */

/* Twenty bus locks, on one vCPU. */
#define TWENTY GUEST("multiboot.elf")

static void test_run_throttle_lets_through_what_the_policy_does(void **state)
{
	static const struct {
		const char *policy, *expect;
	} rows[] = {
		{ "none", "locks==20,throttled_ms<500" },
		{ "qemu:10", "locks==20,throttled_ms>=1900,throttled_ms<3000" },
		/* each of them sleeps */
		{ "sleep:20ms", "locks==20,throttled_ms>=400,throttled_ms<900" },
		/* ten of them do */
		{ "bucket:20/s,burst=10", "locks==20,throttled_ms>=490,throttled_ms<900" },
		/* the last five wait for the next second */
		{ "kernel:15", "locks==20,throttled_ms>=960,throttled_ms<1500" },
		{ "kernel:20", "locks==20,throttled_ms<500" },
	};
	struct run run;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run_program(&run, BUSLOCK, "run", TWENTY, "--throttle", rows[i].policy, "--expect",
			    rows[i].expect);
		assert_exit(&run, 0);
	}
}

static void test_run_throttle_kill_ends_the_run_at_that_lock(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", TWENTY, "--throttle", "kill:7");
	assert_exit(&run, 124);
	assert_says(run.err, "ended by the policy");
	run_program(&run, BUSLOCK, "run", TWENTY, "--throttle", "kill:7", "--expect", "locks==7");
	assert_exit(&run, 0);
	run_program(&run, BUSLOCK, "run", TWENTY, "--throttle", "kill:21", "--expect", "locks==20");
	assert_exit(&run, 0);
	assert_silent(run.err, "ended by the policy");
}

static void test_run_throttle_refuses_what_is_no_policy(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", TWENTY, "--throttle", "qemu:ten");
	assert_exit(&run, 2);
	assert_says(run.err, "--throttle: policy 'qemu:ten': qemu:N with N from 0 is wanted");
	run_program(&run, BUSLOCK, "run", TWENTY, "--throttle", "slower");
	assert_exit(&run, 2);
	assert_says(run.err, "there is no policy 'slower'; there is none, qemu:N");
	assert_string_equal(run.out, "");
}

/* ------------------------------------------------------------------ the frame of the labs */

static void test_lab_without_a_name_is_a_usage_error(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "lab");
	assert_exit(&run, 2);
	assert_string_equal(run.out, "");
	assert_says(run.err, "Usage: buslock lab NAME");
	run_program(&run, BUSLOCK, "lab", "fly");
	assert_exit(&run, 2);
	assert_says(run.err, "no experiment 'fly'; `buslock lab list`");
	run_program(&run, BUSLOCK, "lab", "help", "fly");
	assert_exit(&run, 2);
	run_program(&run, BUSLOCK, "lab", "--help");
	assert_exit(&run, 0);
	assert_says(run.out, "Usage: buslock lab NAME");
	run_program(&run, BUSLOCK, "help", "lab");
	assert_exit(&run, 0);
	assert_says(run.out, "Usage: buslock lab NAME");
}

/* ------------------------------------------------------------------ lab throttle */

/* The row of a policy as numbers, in the order of the columns; '-' is NAN. */
static void row_of(const char *table, const char *policy, double *values, unsigned count)
{
	char start[80];
	const char *row;

	snprintf(start, sizeof(start), "\n%s ", policy);
	row = strstr(table, start);
	if (!row)
		fail_msg("no row for %s in:\n%s", policy, table);
	row += strlen(start);
	for (unsigned i = 0; i < count; i++) {
		char *end;

		row += strspn(row, " ");
		values[i] = *row == '-' ? NAN : strtod(row, &end);
		row = *row == '-' ? row + 1 : end;
	}
}

enum {
	LOCKS,
	ATTACKER_WORK,
	ATTACKER_GAIN,
	ATTACKER_ASLEEP,
	INNOCENT_WORK,
	INNOCENT_GAIN,
	INNOCENT_ASLEEP,
	FAIRNESS_WORK,
	FAIRNESS_LOCKS,
	KICK,
	COLUMNS
};

#define assert_between(value, low, high)                                                           \
	do {                                                                                       \
		if (!((value) >= (low) && (value) <= (high)))                                      \
			fail_msg("%s:%d: %s is %g, expected %g to %g", __FILE__, __LINE__, #value, \
				 (double)(value), (double)(low), (double)(high));                  \
	} while (0)

static void test_lab_throttle_table_shows_what_each_policy_does(void **state)
{
	static const char *const names[] = { "qemu:10", "kernel:10", "bucket:10/s",
					     "bucket:10/s,per-vcpu", "sleep:10/s" };
	double clean[COLUMNS], none[COLUMNS], row[COLUMNS];
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "lab", "throttle", "--rates", "10,100", "--duration", "5");
	assert_exit(&run, 0);
	assert_string_equal(run.err, "");
	row_of(run.out, "(clean: no bus locks)", clean, COLUMNS);
	assert_between(clean[LOCKS], 0, 0);
	assert_between(clean[ATTACKER_WORK], 100, 100);
	assert_between(clean[INNOCENT_WORK], 100, 100);
	row_of(run.out, "none", none, COLUMNS);
	assert_between(none[LOCKS], 700000, 715000);
	assert_between(none[INNOCENT_WORK], 28, 29);
	assert_between(none[INNOCENT_GAIN], 100, 100);
	assert_between(none[FAIRNESS_LOCKS], 0.5, 0.501); /* one has all */
	for (unsigned i = 0; i < 5; i++) {
		row_of(run.out, names[i], row, COLUMNS);
		/* a policy for each vCPU lets twice as much through; a burst stands at the beginning */
		assert_between(row[LOCKS], 9, i < 3 ? 13 : 21);
		assert_between(row[ATTACKER_ASLEEP], 99, 100);
		assert_between(row[KICK], i < 2 ? 900 : 0, i < 2 ? 6000 : 0.1);
	}
	row_of(run.out, "qemu:10", row, COLUMNS);
	assert_between(row[INNOCENT_ASLEEP], 50, 95);
	row_of(run.out, "bucket:10/s,per-vcpu", row, COLUMNS);
	assert_between(row[INNOCENT_ASLEEP], 0, 0.1);
	assert_between(row[INNOCENT_WORK], 99, 100);
	assert_between(row[FAIRNESS_LOCKS], 0.99, 1);
	row_of(run.out, "qemu:100", row, COLUMNS);
	assert_between(row[LOCKS], 98, 110);
	row_of(run.out, "kill:1000", row, COLUMNS);
	assert_between(row[LOCKS], 200, 200);
	assert_says(run.out, "kill:1000 ended the machine after 4.4");
}

static void test_lab_throttle_table_is_the_same_twice(void **state)
{
	struct run one, two;

	(void)state;
	run_program(&one, BUSLOCK, "lab", "throttle", "--vcpus", "3", "--attackers", "2",
		    "--duration", "1");
	assert_exit(&one, 0);
	run_program(&two, BUSLOCK, "lab", "throttle", "--vcpus", "3", "--attackers", "2",
		    "--duration", "1");
	assert_string_equal(one.out, two.out);
}

static void test_lab_throttle_options_change_the_guest(void **state)
{
	double row[COLUMNS];
	struct run run;

	(void)state;
	/* four attackers, nobody else: the bus is hardly ever free, the limit is shared evenly */
	run_program(&run, BUSLOCK, "lab", "throttle", "--vcpus", "4", "--attackers", "4",
		    "--policy", "qemu:100", "--duration", "5");
	assert_exit(&run, 0);
	row_of(run.out, "none", row, COLUMNS);
	assert_between(row[LOCKS], 900000, 1000000);
	assert_true(isnan(row[INNOCENT_WORK]));
	row_of(run.out, "qemu:100", row, COLUMNS);
	assert_between(row[LOCKS], 97, 105);
	assert_between(row[FAIRNESS_LOCKS], 0.9, 1);
	/* nobody attacks, nobody locks: a policy changes nothing */
	run_program(&run, BUSLOCK, "lab", "throttle", "--attackers", "0", "--innocent-work",
		    "never", "--policy", "qemu:1", "--duration", "1", "--kick", "0");
	assert_exit(&run, 0);
	row_of(run.out, "qemu:1", row, COLUMNS);
	assert_between(row[LOCKS], 0, 0);
	assert_between(row[INNOCENT_WORK], 100, 100);
	assert_between(row[KICK], 0, 0);
	assert_true(isnan(row[ATTACKER_WORK]));
	/* a slower bus, an instruction each ten microseconds: 30 µs for the loop's three or four */
	run_program(&run, BUSLOCK, "lab", "throttle", "--vcpus", "1", "--policy", "sleep:1ms",
		    "--instruction-cost", "10000", "--lock-cost", "60000", "--exit-cost", "0",
		    "--duration", "1.1");
	assert_exit(&run, 0);
	row_of(run.out, "none", row, COLUMNS);
	assert_between(row[LOCKS], 9999, 10001);
	row_of(run.out, "sleep:1ms", row, COLUMNS);
	assert_between(row[LOCKS], 908, 910);
}

static void test_lab_throttle_json_has_every_row_and_vcpu(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "lab", "throttle", "--json", "--policy", "kill:*", "--rates",
		    "5,7", "--duration", "0.01", "--vcpus", "1");
	assert_exit(&run, 0);
	assert_says(run.out, "\"lab\":\"throttle\"");
	assert_says(run.out, "\"duration_ns\":10000000");
	assert_says(run.out, "\"policy\":\"clean\"");
	assert_says(run.out, "\"policy\":\"none\"");
	assert_says(run.out, "\"policy\":\"kill:5\"");
	assert_says(run.out, "\"policy\":\"kill:7\"");
	assert_says(run.out, "\"locks\":500.0"); /* in 10 ms */
	assert_says(run.out, "\"locks\":700.0");
	assert_says(run.out, "\"innocent_work\":null"); /* there is none */
	assert_says(run.out, "\"worst_kick_ns\":");
}

static void test_lab_throttle_refuses_bad_options(void **state)
{
	static const struct {
		const char *option, *value, *why;
	} rows[] = {
		{ "--policy", "qemu",
		  "--policy: there is no policy 'qemu'; there is none, qemu:N" },
		{ "--policy", "bucket:10", "bucket:N/s[,burst=B][,per-vcpu] with N and B from 1" },
		{ "--policy", "kernel:1*1", "policy 'kernel:11000001'" },
		{ "--rates", "10,1", "--rates: '10,1': up to 16 ascending numbers" },
		{ "--rates", "1,,2", "--rates: '1,,2'" },
		{ "--rates", "0", "--rates: '0'" },
		{ "--rates", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "up to 16" },
		{ "--vcpus", "9", "--vcpus: '9' is not a number from 1 to 8" },
		{ "--attackers", "3", "--attackers 3: there are only 2 vCPUs" },
		{ "--attacker-work", "often", "--attacker-work: 'often'" },
		{ "--duration", "0", "--duration: '0' is not a number of seconds" },
		{ "--duration", "nan", "--duration: 'nan'" },
		{ "--instruction-cost", "0", "--instruction-cost: '0'" },
		{ "--lock-cost", "0", "--lock-cost: '0'" },
		{ "--kick", "-1", "--kick: '-1'" },
		{ "--plot-of", "beauty",
		  "--plot-of: there is no column 'beauty'; there are locks, " },
	};
	struct run run;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run_program(&run, BUSLOCK, "lab", "throttle", "--rates", "100000", rows[i].option,
			    rows[i].value);
		assert_exit(&run, 2);
		assert_says(run.err, rows[i].why);
		assert_string_equal(run.out, "");
	}
	run_program(&run, BUSLOCK, "lab", "throttle", "extra");
	assert_exit(&run, 2);
	assert_says(run.err, "'extra' is one argument too many");
}

static bool exists(const char *directory, const char *name)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return !access(path, F_OK);
}

static void plotted(const char *const arguments[], const char *directory, const char *wanted)
{
	char path[300], text[1024] = "";
	struct run run;
	FILE *file;

	/* with a gnuplot or without, the data is there */
	run_how(&run, arguments, (struct run_how){ .variable = "PATH=/nonexistent" });
	assert_exit(&run, 6);
	snprintf(path, sizeof(path), "%s/data.tsv", directory);
	file = fopen(path, "r");
	assert_non_null(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	assert_string_equal(text, wanted);
}

static void test_lab_throttle_plot_has_a_line_or_a_bar_for_each_policy(void **state)
{
	char directory[] = "/tmp/buslock-lab-XXXXXX", file[64], command[300];

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(file, sizeof(file), "%s/data.svg", directory);
	/* one that knows no rate is the same at each */
	plotted(ARGUMENTS(BUSLOCK, "lab", "throttle", "--vcpus", "1", "--duration", "0.5",
			  "--rates", "10,100", "--policy", "kill:5", "--policy", "sleep:*/s",
			  "--policy", "kill:7", "--plot", file, "--plot-of", "locks"),
		directory,
		"limit (bus locks/s)\tkill:5\tsleep:*/s\tkill:7\n10\t10\t10\t14\n"
		"100\t10\t100\t14\n");
	/* a single rate gives bars, with the machine without a policy beside them */
	plotted(ARGUMENTS(BUSLOCK, "lab", "throttle", "--vcpus", "1", "--duration", "0.5",
			  "--rates", "10", "--policy", "kill:5", "--policy", "sleep:*/s",
			  "--attacker-work", "99984", "--instruction-cost", "100", "--plot", file,
			  "--plot-of", "locks"),
		directory, "policy\tlocks\n\"none\"\t98\n\"kill:5\"\t10\n\"sleep:10/s\"\t10\n");
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	assert_int_equal(system(command), 0);
}

static void test_lab_throttle_plot_stands_beside_the_table(void **state)
{
	char directory[] = "/tmp/buslock-lab-XXXXXX", file[64], command[300];
	struct run run;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(file, sizeof(file), "%s/with", directory);
	if (system("command -v gnuplot >/dev/null")) {
		print_message("gnuplot is not installed (package gnuplot-nox)\n");
	} else {
		run_program(&run, BUSLOCK, "lab", "throttle", "--rates", "10,100", "--duration",
			    "0.5", "--plot", file);
		assert_exit(&run, 0);
		assert_says(run.out, "\nqemu:10 ");
		assert_true(exists(directory, "with.tsv"));
		assert_true(exists(directory, "with.svg"));
		assert_true(exists(directory, "with.png"));
	}
	snprintf(file, sizeof(file), "%s/without", directory);
	run_how(&run,
		ARGUMENTS(BUSLOCK, "lab", "throttle", "--duration", "0.5", "--plot", file,
			  "--plot-of", "kick"),
		(struct run_how){ .variable = "PATH=/nonexistent" });
	assert_exit(&run, 6);
	assert_says(run.out, "\nqemu:10 ");
	assert_says(run.err, "install the package gnuplot-nox");
	assert_true(exists(directory, "without.tsv"));
	assert_false(exists(directory, "without.svg"));
	/* nothing to draw: there are no innocents */
	run_program(&run, BUSLOCK, "lab", "throttle", "--duration", "0.1", "--attackers", "2",
		    "--plot", file, "--plot-of", "innocent-work");
	assert_exit(&run, 2);
	assert_says(run.err, "no value of 'innocents' work");
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run_throttle_lets_through_what_the_policy_does),
		cmocka_unit_test(test_run_throttle_kill_ends_the_run_at_that_lock),
		cmocka_unit_test(test_run_throttle_refuses_what_is_no_policy),
		cmocka_unit_test(test_lab_without_a_name_is_a_usage_error),
		cmocka_unit_test(test_lab_throttle_table_shows_what_each_policy_does),
		cmocka_unit_test(test_lab_throttle_table_is_the_same_twice),
		cmocka_unit_test(test_lab_throttle_options_change_the_guest),
		cmocka_unit_test(test_lab_throttle_json_has_every_row_and_vcpu),
		cmocka_unit_test(test_lab_throttle_refuses_bad_options),
		cmocka_unit_test(test_lab_throttle_plot_has_a_line_or_a_bar_for_each_policy),
		cmocka_unit_test(test_lab_throttle_plot_stands_beside_the_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
