// SPDX-License-Identifier: GPL-2.0-only
/* `--time virtual`: exact, the same twice, and no longer than it takes to compute. */
#include "tests/integration/run.h"

#define MONITOR BUSLOCK_BUILD_DIR "/samples/monitor"

static char paths[2][32] = { "/tmp/buslock-time-XXXXXX", "/tmp/buslock-time-XXXXXX" };

static int make_paths(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		int fd = mkstemp(paths[i]);

		if (fd < 0)
			return -1;
		close(fd);
	}
	return 0;
}

static int remove_paths(void **state)
{
	(void)state;
	return unlink(paths[0]) | unlink(paths[1]);
}

static size_t read_file(const char *path, char *text, size_t size)
{
	FILE *file = fopen(path, "r");
	size_t n;

	assert_non_null(file);
	n = fread(text, 1, size - 1, file);
	text[n] = 0;
	fclose(file);
	return n;
}

/* One call after another, with nobody else: what they say is written in the test. */
static void expect_of(const char *program, const char *name, const char *expected)
{
	struct run run;

	run_program(&run, BUSLOCK, "exec", "--time", "virtual", "--report=none", "--log=nothing",
		    "--", program, name);
	if (strcmp(run.out, expected))
		fail_msg("%s:\n%s%sinstead of\n%s", name, run.out, run.err, expected);
}

static void expect_calls(const char *name, const char *expected)
{
	expect_of(PROGRAM("time_calls"), name, expected);
}

static void expect_edges(const char *name, const char *expected)
{
	expect_of(PROGRAM("time_edges"), name, expected);
}

static void test_time_clocks_begin_with_the_process_and_stand_still(void **state)
{
	(void)state;
	expect_calls("clocks", "mono 1000000000 boot 1000000000 raw 1000000000 coarse 1000000000\n"
			       "real 946684800000000000 coarse 946684800000000000 day 946684800 "
			       "time 946684800 utc 946684800\n"
			       "cpu 0 0 0\nsyscall 0\n1.000000000\n");
}

static void test_time_sleeps_take_what_they_say(void **state)
{
	(void)state;
	expect_calls("sleeps", "nanosleep 3000000\nusleep 4567000\nsleep 3600000000000\n"
			       "clock_nanosleep 7000000\nrealtime 8000000\nsyscall 3000000\n"
			       "invalid -1 1\n");
}

static void test_time_timeouts_take_what_they_say(void **state)
{
	(void)state;
	expect_calls("timeouts", "0 poll 5000000\n0 ppoll 2000000\n0 0 select 6000000\n"
				 "0 pselect 2000000\n0 epoll_wait 9000000\n"
				 "-1 1 sigtimedwait 2000000\n-1 1 sem_timedwait 11000000\n"
				 "1 cond_timedwait 12000000\n1 cond_monotonic 13000000\n"
				 "1 cond_clockwait 14000000\n");
}

static void test_time_timers_expire_at_their_instant(void **state)
{
	(void)state;
	expect_calls("timers", "-1 1 rest 6000000 count 1 code 1 value 77 signal 4000000\noff 0\n"
			       "left 1000000 every 1000000 overrun 9 blocked 10000000\n"
			       "taken 1 again 1 sigwaitinfo 1000000\ndeleted -1\n"
			       "value 5 thread_id 3000000\n"
			       "thread 9 at 2000000\nthread 9 at 5000000\nthread 9 at 8000000\n"
			       "thread 9000000\ndeleted 9000000\nnone left 3000000\n");
}

static void test_time_alarms_expire_at_their_instant(void **state)
{
	(void)state;
	expect_calls("alarms", "left 2 count 1 code 1 alarm 3000000000\nsetitimer 5000000\n"
			       "next 2000 interval 2000000\n");
}

static void test_time_timerfd_counts_and_wakes_poll(void **state)
{
	(void)state;
	expect_calls("timerfds", "1 read 2000000\n0 poll 1000000\n1 poll 2000000\n"
				 "4 left 2000000 late 10000000\n1 past 0\nclosed 1 -1\n");
}

static void test_time_threads_sleep_side_by_side_and_wait_for_locks(void **state)
{
	(void)state;
	expect_calls("threads", "worker 0 at 1000000\nworker 1 at 2000000\nworker 0 at 4000000\n"
				"worker 2 at 5000000\nworker 0 at 8000000\nworker 1 at 9000000\n"
				"worker 2 at 11000000\nworker 1 at 14000000\nworker 2 at 17000000\n"
				"joined 0 joined 1 joined 2 threads 20000000\n");
}

static void test_time_signal_of_another_thread_ends_a_wait(void **state)
{
	(void)state;
	expect_calls("kicks", "-1 1 count 1 rest 54000000 nanosleep 6000000\n"
			      "0 count 1 blocked 60000000\n-1 1 count 2 ppoll 0\n");
}

static void test_time_waiting_for_a_condition_lets_others_lock(void **state)
{
	(void)state;
	expect_calls("handover", "handed over 3000000\nback 0\n");
}

static void test_time_cancelled_thread_ends_its_wait(void **state)
{
	(void)state;
	expect_calls("cancels", "unlock 0 1 cancelled 5000000\n1 cancelled 5000000\nfree 0\n");
}

static void test_time_threads_wake_each_other(void **state)
{
	(void)state;
	expect_calls("wakes", "1 poll 4000000\n0 flag 1 futex 4000000\n1 spin 1000\n");
}

static void test_time_blocked_thread_does_not_stop_the_others(void **state)
{
	(void)state;
	expect_calls("blocked", "slept 5000000\n");
}

static void test_time_forked_child_has_a_clock_of_its_own(void **state)
{
	(void)state;
	expect_calls("forks", "child 5000000\nparent 1000000000\n");
}

static void test_time_select_waits_for_what_it_counts_and_keeps_sets(void **state)
{
	(void)state;
	expect_edges("selects", "0 set 0 except 4000000\n1 set 1 hung up 0\n"
				"-1 1 set 1 interrupted 1000000\n"
				"0 0 -1 1 count 2 -1 1 count 3\n");
}

static void test_time_thread_of_a_deleted_timer_ends(void **state)
{
	(void)state;
	expect_edges("retimers", "slept 60000000\nfew 1\nthread 60 at 1000000\n");
}

static void test_time_cancellation_waits_until_it_is_enabled(void **state)
{
	(void)state;
	expect_edges("cancelstate", "0 disabled 20000000\n1 cancelled 0\n");
}

static void test_time_timerfd_lives_as_long_as_a_number(void **state)
{
	(void)state;
	expect_edges("copies", "-1 -1 -1 1 still there 5000000\n0 left 5000000 1 copy 5000000\n"
			       "other -1 1 -1 0 gone 100000000\n");
}

static void test_time_handler_with_sa_restart_does_not_end_a_wait(void **state)
{
	(void)state;
	expect_edges("restarts", "8 read 5000000\n0 futex 5000000\n-1 read 2000000\n"
				 "-1 futex 2000000\n-1 with a time-out 2000000\n");
}

static void test_time_too_far_to_count_is_never(void **state)
{
	(void)state;
	expect_edges("far", "-1 nanosleep 2000000000\n-1 nanosleep 2000000000\n"
			    "-1 select 2000000000\ncount 4 interval 11000000\n");
}

static void test_time_sleep_tells_whole_seconds_left(void **state)
{
	(void)state;
	expect_edges("sleep_left", "0 2\n");
}

static void test_time_thread_that_ends_unseen_holds_nobody_up(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--time", "virtual", "--report=none", "--log=nothing",
		    "--", PROGRAM("time_edges"), "leaves");
	assert_string_equal(run.out, "without main 1000000000\n5\n");
	assert_true(run.seconds < 3); /* a thread that computes is given five */
}

static void test_time_fortified_calls_end_a_program_that_overflows(void **state)
{
	static const char *const times[] = { "real", "virtual" }, *const bad[] = { "too_much",
										   "too_many" };
	struct run run;

	(void)state;
	for (int i = 0; i < 2; i++) {
		run_program(&run, BUSLOCK, "exec", "--time", times[i], "--report=none", "--",
			    PROGRAM("time_edges"), "fits");
		assert_string_equal(run.out, "0 4\n");
		for (int k = 0; k < 2; k++) {
			run_program(&run, BUSLOCK, "exec", "--time", times[i], "--report=none",
				    "--", PROGRAM("time_edges"), bad[k]);
			assert_says(run.err, "buffer overflow detected");
		}
	}
}

/* ------------------------------------------------------------------ with guests */

struct twice {
	struct run run;
	char trace[1 << 20];
};

/* Two runs give the same output, report and trace, byte for byte. `last`: of the trace. */
static void run_twice(const char *const argv[], struct twice *first, const char *determinism)
{
	static struct twice second;
	struct twice *const both[] = { first, &second };

	for (int i = 0; i < 2; i++) {
		const char *words[32] = { BUSLOCK,   "exec",   "--time",        "virtual",
					  "--trace", paths[i], "--report=json", "--" };
		size_t n = 8;

		for (size_t k = 0; argv[k]; k++)
			words[n++] = argv[k];
		words[n] = NULL;
		run_how(&both[i]->run, words, (struct run_how){ 0, false, NULL });
		assert_exit(&both[i]->run, 0);
		read_file(paths[i], both[i]->trace, sizeof(both[i]->trace));
	}
	assert_says(first->trace, determinism);
	assert_string_equal(first->run.out, second.run.out);
	assert_string_equal(first->run.err, second.run.err);
	assert_string_equal(first->trace, second.trace);
}

static struct twice twice;
#define DETERMINISTIC "\"deterministic\":true,\"why\":null"

static void test_time_minute_of_throttling_takes_no_time(void **state)
{
	(void)state;
	run_twice(ARGUMENTS(PROGRAM("time_guest"), "throttle"), &twice, DETERMINISTIC);
	/* 60 sleeps of a second, and 60 times 1000 cycles and two instructions at 2 GHz */
	assert_says(twice.run.out, "locks 60 in 60000030 us\n");
	assert_says(twice.run.err, "\"flags\":60,");
	assert_true(twice.run.seconds < 1);
}

static void test_time_kicks_of_a_timer_come_at_their_instant(void **state)
{
	(void)state;
	run_twice(ARGUMENTS(PROGRAM("time_guest"), "kicks"), &twice, DETERMINISTIC);
	/* a block of two instructions may run over: a nanosecond */
	assert_string_equal(twice.run.out, "kick 20 late 1 rax 20000001\n"
					   "kick 40 late 1 rax 40000001\n"
					   "kick 60 late 1 rax 60000001\n");
}

/* Nobody asked for bus-lock exits: what the locks cost ends the guest's turn all the same. */
static void test_time_bus_locks_without_exits_do_not_make_a_kick_late(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--time", "virtual", "--report=none", "--",
		    PROGRAM("time_guest"), "unseen");
	assert_exit(&run, 0);
	/* a lock and a jump are 1002 cycles, and the lock that has begun ends: 39921 * 1002 - 1 cycles */
	assert_string_equal(run.out, "kick 20 late 420 locks 39921\n"
				     "kick 40 late 340 locks 79841\n"
				     "kick 60 late 260 locks 119761\n");
}

static void test_time_event_loop_beside_a_vcpu_is_the_same_twice(void **state)
{
	(void)state;
	run_twice(ARGUMENTS(PROGRAM("time_guest"), "events"), &twice, DETERMINISTIC);
	assert_says(twice.run.out, "idle at 2000000\nvcpu left 1 at 3000001\nidle at 5000001\n");
	assert_says(twice.run.out, "runs 8 interrupted 8 rax 24000001\n");
}

static void test_time_two_vcpus_contend_in_the_same_order_twice(void **state)
{
	(void)state;
	run_twice(ARGUMENTS(PROGRAM("time_guest"), "contend"), &twice, DETERMINISTIC);
	assert_says(twice.run.out, "vcpu 0: 300 locks at ");
	assert_says(twice.run.out, "vcpu 1: 300 locks at ");
}

static void test_time_guest_and_monitor_read_the_same_clock(void **state)
{
	(void)state;
	run_twice(ARGUMENTS(PROGRAM("time_guest"), "tsc"), &twice, DETERMINISTIC);
	assert_string_equal(twice.run.out,
			    "khz 2000000 guest 1000003 cycles monitor 500002 ns kvm 500002 ns "
			    "host_tsc 1000005\n");
}

static void test_time_costs_are_options(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--time", "virtual", "--tsc-khz", "1000000",
		    "--insn-cycles", "3", "--report=none", "--", PROGRAM("time_guest"), "tsc");
	assert_says(run.out, "khz 1000000 guest 3000009 cycles monitor 3000015 ns");
	run_program(&run, BUSLOCK, "exec", "--time", "virtual", "--lock-cycles", "2000000",
		    "--report=none", "--", PROGRAM("time_guest"), "throttle");
	assert_says(run.out, "locks 60 in 60060000 us\n"); /* a millisecond each */
}

static void test_time_thread_blocked_in_a_pipe_is_said(void **state)
{
	struct run run;
	char trace[1 << 16];

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--time", "virtual", "--trace", paths[0], "--report",
		    "--", PROGRAM("time_guest"), "blocked");
	assert_exit(&run, 0);
	assert_says(run.out, "locks 10\n");
	read_file(paths[0], trace, sizeof(trace));
	assert_says(trace, "\"event\":\"nondeterministic\"");
	assert_says(trace, "\"deterministic\":false,\"why\":\"thread 1 was blocked");
	assert_says(run.err, "not deterministic: thread 1 was blocked");
}

static void test_time_endless_guest_does_not_keep_input_and_signals_out(void **state)
{
	int ends[2], in = dup(0);
	struct run run;

	(void)state;
	assert_true(in >= 0);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(dup2(ends[0], 0), 0);
	run_start(&run, BUSLOCK, "exec", "--time", "virtual", "--report", "--",
		  PROGRAM("time_guest"), "outside");
	dup2(in, 0);
	close(in);
	run_wait_for(&run, "ready\n");
	run_sleep(50); /* the guest runs now */
	assert_int_equal(write(ends[1], "x", 1), 1);
	run_wait_for(&run, "poll 1 signal 0\n");
	run_sleep(50);
	kill(run.pid, SIGTERM);
	run_wait_for(&run, "poll -1 signal 15\n");
	run_finish(&run);
	assert_says(run.err, "input from outside came while a guest ran");
	close(ends[0]);
	close(ends[1]);
}

static void test_time_sample_monitor_with_two_vcpus_is_the_same_twice(void **state)
{
	(void)state;
	run_twice(ARGUMENTS(MONITOR, "--mode", "long", "--vcpus", "2", "--offset", "62", "--count",
			    "20", "--rate", "1000", GUEST("smp.bin")),
		  &twice, DETERMINISTIC);
	/* the burst's one comes at once; then 1000 a second */
	assert_says(twice.run.out, "vm: bus-locks=120 sleeps=119 ");
	assert_says(twice.run.out, "ran=0.119s rate=1008.4/s");
}

static void test_time_built_in_monitor_has_it_too(void **state)
{
	static char trace[2][1 << 16];
	struct run run;

	(void)state;
	for (int i = 0; i < 2; i++) {
		run_program(&run, BUSLOCK, "run", GUEST("lock_bts.bin"), "--mode", "long", "--load",
			    "0x1000", "--set", "rdi=62", "--rate", "1", "--time", "virtual",
			    "--trace", paths[i], "--expect",
			    "locks==10,wall_ms>=9000,deterministic==1");
		assert_exit(&run, 0);
		assert_true(run.seconds < 1);
		read_file(paths[i], trace[i], sizeof(trace[i]));
	}
	assert_string_equal(trace[0], trace[1]);
	assert_says(trace[0], DETERMINISTIC);
}

static void test_time_real_is_the_default(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--report=none", "--", PROGRAM("time_calls"), "timers");
	assert_exit(&run, 0);
	assert_says(run.out, "count 1 code 1 value 77 ");
	assert_silent(run.out, "signal 4000000\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_time_clocks_begin_with_the_process_and_stand_still),
		cmocka_unit_test(test_time_sleeps_take_what_they_say),
		cmocka_unit_test(test_time_timeouts_take_what_they_say),
		cmocka_unit_test(test_time_timers_expire_at_their_instant),
		cmocka_unit_test(test_time_alarms_expire_at_their_instant),
		cmocka_unit_test(test_time_timerfd_counts_and_wakes_poll),
		cmocka_unit_test(test_time_threads_sleep_side_by_side_and_wait_for_locks),
		cmocka_unit_test(test_time_signal_of_another_thread_ends_a_wait),
		cmocka_unit_test(test_time_waiting_for_a_condition_lets_others_lock),
		cmocka_unit_test(test_time_cancelled_thread_ends_its_wait),
		cmocka_unit_test(test_time_threads_wake_each_other),
		cmocka_unit_test(test_time_blocked_thread_does_not_stop_the_others),
		cmocka_unit_test(test_time_forked_child_has_a_clock_of_its_own),
		cmocka_unit_test(test_time_select_waits_for_what_it_counts_and_keeps_sets),
		cmocka_unit_test(test_time_thread_of_a_deleted_timer_ends),
		cmocka_unit_test(test_time_cancellation_waits_until_it_is_enabled),
		cmocka_unit_test(test_time_timerfd_lives_as_long_as_a_number),
		cmocka_unit_test(test_time_handler_with_sa_restart_does_not_end_a_wait),
		cmocka_unit_test(test_time_too_far_to_count_is_never),
		cmocka_unit_test(test_time_sleep_tells_whole_seconds_left),
		cmocka_unit_test(test_time_thread_that_ends_unseen_holds_nobody_up),
		cmocka_unit_test(test_time_fortified_calls_end_a_program_that_overflows),
		cmocka_unit_test(test_time_minute_of_throttling_takes_no_time),
		cmocka_unit_test(test_time_kicks_of_a_timer_come_at_their_instant),
		cmocka_unit_test(test_time_bus_locks_without_exits_do_not_make_a_kick_late),
		cmocka_unit_test(test_time_event_loop_beside_a_vcpu_is_the_same_twice),
		cmocka_unit_test(test_time_two_vcpus_contend_in_the_same_order_twice),
		cmocka_unit_test(test_time_guest_and_monitor_read_the_same_clock),
		cmocka_unit_test(test_time_costs_are_options),
		cmocka_unit_test(test_time_thread_blocked_in_a_pipe_is_said),
		cmocka_unit_test(test_time_endless_guest_does_not_keep_input_and_signals_out),
		cmocka_unit_test(test_time_sample_monitor_with_two_vcpus_is_the_same_twice),
		cmocka_unit_test(test_time_built_in_monitor_has_it_too),
		cmocka_unit_test(test_time_real_is_the_default),
	};

	return cmocka_run_group_tests(tests, make_paths, remove_paths);
}
