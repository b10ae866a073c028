/* SPDX-License-Identifier: GPL-2.0-only */
/* Virtual time's decisions, on a table: no threads, no guest, no kernel. */
#include "vmm_shim/vsched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* cmocka.h wants the above */
#include <cmocka.h>

#define KHZ   2000000u /* two cycles a nanosecond */
#define START 1000ull  /* ns */
#define SLICE 50ull

static struct vsched s;

static int begin(void **state)
{
	(void)state;
	vsched_init(&s, KHZ, START, SLICE);
	return 0;
}

/* A task that wants to run `state` code `ns` after the start. */
static int task(enum vtask_state state, uint64_t ns)
{
	int t = vsched_task_new(&s);

	s.task[t].state = state;
	s.task[t].time = vsched_cycles(&s, START + ns);
	return t;
}

static void timer(int number, uint64_t ns, uint64_t interval)
{
	if ((unsigned)number >= s.timers)
		s.timers = (unsigned)number + 1;
	vsched_timer_set(&s, number, START + ns, interval);
}

static int run_next(void)
{
	struct vevent e = vsched_next(&s);

	assert_int_equal(e.kind, VEVENT_TASK);
	vsched_run(&s, e.index);
	return e.index;
}

static void ready(int t)
{
	s.task[t].state = VTASK_READY;
	s.running = VSCHED_NOBODY;
}

/* ------------------------------------------------------------------ units */

static void test_sched_cycles_never_show_a_time_too_early(void **state)
{
	static const unsigned khz[] = { 1000, 999983, 2000000, 2999999, 10000000 };

	(void)state;
	for (unsigned k = 0; k < 5; k++) {
		vsched_init(&s, khz[k], START, SLICE);
		for (uint64_t ns = 0; ns < 5000; ns++) {
			uint64_t cycles = vsched_cycles(&s, ns);

			assert_true(vsched_ns(&s, cycles) >= ns);
			assert_true(!cycles || vsched_ns(&s, cycles - 1) < ns);
		}
	}
	vsched_init(&s, KHZ, START, SLICE);
	assert_int_equal(vsched_cycles(&s, 12345), 24690);
	assert_int_equal(vsched_ns(&s, 24690), 12345);
	assert_int_equal(vsched_ns(&s, 24691), 12345);
}

static void test_sched_times_far_away_do_not_wrap(void **state)
{
	(void)state;
	assert_true(vsched_cycles(&s, UINT64_MAX - 1) > vsched_cycles(&s, UINT64_MAX / 4));
	assert_int_equal(vsched_cycles(&s, UINT64_MAX), VSCHED_NEVER); /* what cannot be counted */
}

/* ------------------------------------------------------------------ whose turn */

static void test_sched_smallest_time_comes_first(void **state)
{
	(void)state;
	task(VTASK_READY, 30);
	int second = task(VTASK_READY, 10);
	task(VTASK_READY, 20);
	assert_int_equal(run_next(), second);
	assert_int_equal(s.now, vsched_cycles(&s, START + 10));
}

static void test_sched_equal_times_go_by_number(void **state)
{
	(void)state;
	int first = task(VTASK_READY, 10);
	task(VTASK_READY, 10);
	assert_int_equal(run_next(), first);
}

static void test_sched_monitor_comes_before_a_guest_at_the_same_time(void **state)
{
	(void)state;
	int guest = task(VTASK_GUEST, 10);
	int code = task(VTASK_READY, 10);
	assert_int_equal(run_next(), code);
	s.task[code].state = VTASK_OUTSIDE;
	assert_int_equal(run_next(), guest);
}

static void test_sched_sleeper_at_the_same_time_comes_before_a_guest(void **state)
{
	(void)state;
	task(VTASK_GUEST, 10);
	int sleeper = task(VTASK_WAITING, 0);
	s.task[sleeper].deadline = vsched_cycles(&s, START + 10);
	assert_int_equal(run_next(), sleeper);
	assert_int_equal(s.task[sleeper].wake, VWAKE_DEADLINE);
}

static void test_sched_timer_comes_before_a_task_at_the_same_time(void **state)
{
	(void)state;
	task(VTASK_READY, 10);
	timer(3, 10, 0);
	struct vevent e = vsched_next(&s);
	assert_int_equal(e.kind, VEVENT_TIMER);
	assert_int_equal(e.index, 3);
	assert_int_equal(vsched_expire(&s, 3), 1);
	assert_false(s.timer[3].armed);
	assert_int_equal(s.now, vsched_cycles(&s, START + 10));
	assert_int_equal(vsched_next(&s).kind, VEVENT_TASK);
}

static void test_sched_nobody_with_a_time_is_nothing(void **state)
{
	(void)state;
	int t = task(VTASK_WAITING, 0);
	s.task[t].deadline = VSCHED_NEVER;
	task(VTASK_OUTSIDE, 0);
	assert_int_equal(vsched_next(&s).kind, VEVENT_NOTHING);
}

static void test_sched_time_passes_only_when_nothing_is_left_to_do_now(void **state)
{
	(void)state;
	int t = task(VTASK_READY, 0);
	struct vevent e = vsched_next(&s);
	assert_false(vsched_passes_time(&s, &e));
	s.task[t].state = VTASK_GUEST; /* a guest passes time by running */
	e = vsched_next(&s);
	assert_true(vsched_passes_time(&s, &e));
	s.task[t].state = VTASK_READY;
	s.task[t].time++;
	e = vsched_next(&s);
	assert_true(vsched_passes_time(&s, &e));
}

static void test_sched_new_task_begins_at_its_makers_time(void **state)
{
	(void)state;
	task(VTASK_READY, 70);
	run_next();
	assert_int_equal(s.task[vsched_task_new(&s)].time, vsched_cycles(&s, START + 70));
}

static void test_sched_full_table_is_said(void **state)
{
	(void)state;
	for (int i = 0; i < VSCHED_TASKS; i++)
		assert_int_equal(vsched_task_new(&s), i);
	assert_int_equal(vsched_task_new(&s), VSCHED_NOBODY);
	s.task[7].state = VTASK_FREE;
	assert_int_equal(vsched_task_new(&s), 7);
}

/* ------------------------------------------------------------------ guests */

static void test_sched_guest_runs_until_the_next_event(void **state)
{
	(void)state;
	int guest = task(VTASK_GUEST, 0), sleeper = task(VTASK_WAITING, 0);
	s.task[sleeper].deadline = vsched_cycles(&s, START + 500);
	assert_int_equal(run_next(), guest);
	assert_int_equal(vsched_horizon(&s, guest), vsched_cycles(&s, START + 500));
	timer(0, 400, 0);
	assert_int_equal(vsched_horizon(&s, guest), vsched_cycles(&s, START + 400));
}

static void test_sched_guest_alone_runs_for_ever(void **state)
{
	(void)state;
	int guest = task(VTASK_GUEST, 0);
	run_next();
	assert_int_equal(vsched_horizon(&s, guest), VSCHED_NEVER);
}

static void test_sched_guest_is_ahead_of_another_by_a_slice_at_most(void **state)
{
	(void)state;
	int a = task(VTASK_GUEST, 0), b = task(VTASK_GUEST, 20);
	assert_int_equal(run_next(), a);
	assert_int_equal(vsched_horizon(&s, a), vsched_cycles(&s, START + 20 + SLICE));
	/* it ran that far: the other one's turn, and the clock of the monitor has not moved */
	s.task[a].time = vsched_horizon(&s, a);
	s.task[a].state = VTASK_GUEST;
	s.running = VSCHED_NOBODY;
	assert_int_equal(run_next(), b);
	assert_int_equal(s.now, vsched_cycles(&s, START));
	assert_int_equal(vsched_horizon(&s, b), vsched_cycles(&s, START + 20 + 2 * SLICE));
}

static void test_sched_horizon_always_lets_a_guest_move(void **state)
{
	(void)state;
	int guest = task(VTASK_GUEST, 10);
	timer(0, 5, 0);
	s.task[guest].state = VTASK_RUNNING;
	assert_int_equal(vsched_horizon(&s, guest), s.task[guest].time + 1);
}

static void test_sched_monitor_behind_a_guest_that_ran_ahead_waits_for_its_time(void **state)
{
	(void)state;
	int a = task(VTASK_GUEST, 0), b = task(VTASK_READY, 30);
	run_next();
	s.task[a].time = vsched_cycles(&s, START + 40); /* over the horizon by a block */
	ready(a);
	assert_int_equal(run_next(), b);
	ready(b);
	s.task[b].time = vsched_cycles(&s, START + 50);
	assert_int_equal(run_next(), a);
	assert_int_equal(s.now, vsched_cycles(&s, START + 40));
}

/* ------------------------------------------------------------------ timers */

static void test_sched_interval_does_not_drift(void **state)
{
	(void)state;
	vsched_init(&s, 999983, START, SLICE); /* no whole cycles a nanosecond */
	timer(0, 7, 7);
	for (uint64_t n = 1; n < 1000; n++) {
		assert_int_equal(s.timer[0].due, vsched_cycles(&s, START + 7 * n));
		assert_int_equal(vsched_expire(&s, 0), 1);
	}
}

static void test_sched_timer_set_long_ago_has_expired_often(void **state)
{
	(void)state;
	task(VTASK_READY, 1000);
	run_next();
	timer(0, 100, 100);
	assert_int_equal(vsched_expire(&s, 0), 10); /* 100, 200, … 1000 */
	assert_int_equal(s.timer[0].due, vsched_cycles(&s, START + 1100));
	assert_int_equal(s.now, vsched_cycles(&s, START + 1000));
}

/* ------------------------------------------------------------------ waiting */

static int waiting(const void *address, uint64_t ns)
{
	int t = task(VTASK_READY, ns);

	vsched_run(&s, t);
	vsched_wait(&s, VSCHED_NEVER, address);
	return t;
}

static void test_sched_who_waits_longest_is_woken_first(void **state)
{
	int one, two;

	(void)state;
	int a = waiting(&one, 0), other = waiting(&two, 0), b = waiting(&one, 0);
	assert_int_equal(s.waiters, 3);
	assert_true(vsched_wake_one(&s, &one));
	assert_int_equal(s.task[a].state, VTASK_READY);
	assert_int_equal(s.task[a].wake, VWAKE_EVENT);
	assert_int_equal(s.task[b].state, VTASK_WAITING);
	assert_true(vsched_wake_one(&s, &one));
	assert_int_equal(s.task[b].state, VTASK_READY);
	assert_false(vsched_wake_one(&s, &one));
	assert_int_equal(s.task[other].state, VTASK_WAITING);
	vsched_wait_done(&s, a);
	vsched_wait_done(&s, b);
	assert_int_equal(s.waiters, 1);
}

static void test_sched_wake_all_wakes_only_that_address(void **state)
{
	int one, two;

	(void)state;
	waiting(&one, 0);
	int other = waiting(&two, 0);
	waiting(&one, 0);
	assert_int_equal(vsched_wake_all(&s, &one), 2);
	assert_int_equal(s.task[other].state, VTASK_WAITING);
}

static void test_sched_woken_task_has_the_time_of_who_woke_it(void **state)
{
	int one;

	(void)state;
	int a = waiting(&one, 0);
	task(VTASK_READY, 80);
	run_next();
	vsched_wake_one(&s, &one);
	assert_int_equal(s.task[a].time, vsched_cycles(&s, START + 80));
}

/* A look for signals must not lose what was waited for, nor the place in the queue. */
static void test_sched_event_beats_a_look(void **state)
{
	int one;

	(void)state;
	int a = waiting(&one, 0), b = waiting(&one, 0);
	vsched_wake(&s, a, VWAKE_LOOK);
	assert_int_equal(s.task[a].wake, VWAKE_LOOK);
	assert_true(vsched_wake_one(&s, &one));
	assert_int_equal(s.task[a].wake, VWAKE_EVENT);
	assert_int_equal(s.task[b].state, VTASK_WAITING);
	vsched_wake(&s, a, VWAKE_LOOK);
	assert_int_equal(s.task[a].wake, VWAKE_EVENT);
}

static void test_sched_deadline_of_a_wait_counts_all_the_same(void **state)
{
	int one;

	(void)state;
	int t = task(VTASK_READY, 0);
	run_next();
	vsched_wait(&s, vsched_cycles(&s, START + 90), &one);
	assert_int_equal(run_next(), t);
	assert_int_equal(s.task[t].wake, VWAKE_DEADLINE);
	assert_int_equal(s.now, vsched_cycles(&s, START + 90));
}

/* ------------------------------------------------------------------ all of it */

static uint64_t random_state;

static unsigned random_below(unsigned n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(random_state >> 33) % n;
}

/* One step of a made-up monitor; what came of it goes into the hash. */
static void step(uint64_t *hash, const int *words)
{
	struct vevent e = vsched_next(&s);
	uint64_t before = s.now;

	assert_int_not_equal(e.kind, VEVENT_NOTHING);
	*hash = (*hash ^ (uint64_t)e.index ^ e.at << 8) * 0x100000001b3u;
	if (e.kind == VEVENT_TIMER) {
		vsched_expire(&s, e.index);
		vsched_wake_one(&s, &words[random_below(4)]);
	} else {
		bool guest = s.task[e.index].state == VTASK_GUEST;

		vsched_run(&s, e.index);
		vsched_wait_done(&s, e.index);
		if (guest) {
			uint64_t horizon = vsched_horizon(&s, e.index);
			uint64_t end = s.task[e.index].time + 1 + random_below(300);

			assert_true(horizon > s.task[e.index].time);
			s.task[e.index].time = end < horizon ? end : horizon + random_below(3);
			ready(e.index);
		} else if (random_below(3) == 0) {
			s.task[e.index].state = VTASK_GUEST;
			s.running = VSCHED_NOBODY;
		} else {
			vsched_wake_one(&s, &words[random_below(4)]);
			vsched_wait(&s, s.now + 1 + random_below(1000),
				    random_below(2) ? &words[random_below(4)] : NULL);
		}
	}
	assert_true(s.now >= before);
}

static void test_sched_random_monitor_sees_time_go_forward_the_same_twice(void **state)
{
	int words[4];
	uint64_t hash[2];

	(void)state;
	for (int n = 0; n < 2; n++) {
		vsched_init(&s, KHZ, START, SLICE);
		random_state = 42;
		hash[n] = 0;
		for (int i = 0; i < 12; i++)
			task(VTASK_READY, (uint64_t)i);
		for (int i = 0; i < 5; i++)
			timer(i, 10 + (uint64_t)i, 97 + (uint64_t)i);
		for (int i = 0; i < 200000; i++)
			step(&hash[n], words);
	}
	assert_int_equal(hash[0], hash[1]);
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

/* A guest wakes another one: it is ahead of the monitor's time, and the other one comes after it. */
static void test_sched_woken_by_a_guest_comes_after_it(void **state)
{
	const int word = 0;
	int sleeper = task(VTASK_READY, 0), guest = task(VTASK_GUEST, 500);

	(void)state;
	vsched_run(&s, sleeper);
	vsched_wait(&s, VSCHED_NEVER, &word);
	vsched_run(&s, guest);
	assert_true(s.now < s.task[guest].time);
	assert_true(vsched_wake_one_at(&s, &word, s.task[guest].time));
	assert_int_equal(s.task[sleeper].state, VTASK_READY);
	assert_true(s.task[sleeper].time == s.task[guest].time);
	assert_false(vsched_wake_one_at(&s, &word, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sched_cycles_never_show_a_time_too_early),
		TEST(test_sched_woken_by_a_guest_comes_after_it),
		TEST(test_sched_times_far_away_do_not_wrap),
		TEST(test_sched_smallest_time_comes_first),
		TEST(test_sched_equal_times_go_by_number),
		TEST(test_sched_monitor_comes_before_a_guest_at_the_same_time),
		TEST(test_sched_sleeper_at_the_same_time_comes_before_a_guest),
		TEST(test_sched_timer_comes_before_a_task_at_the_same_time),
		TEST(test_sched_nobody_with_a_time_is_nothing),
		TEST(test_sched_time_passes_only_when_nothing_is_left_to_do_now),
		TEST(test_sched_new_task_begins_at_its_makers_time),
		TEST(test_sched_full_table_is_said),
		TEST(test_sched_guest_runs_until_the_next_event),
		TEST(test_sched_guest_alone_runs_for_ever),
		TEST(test_sched_guest_is_ahead_of_another_by_a_slice_at_most),
		TEST(test_sched_horizon_always_lets_a_guest_move),
		TEST(test_sched_monitor_behind_a_guest_that_ran_ahead_waits_for_its_time),
		TEST(test_sched_interval_does_not_drift),
		TEST(test_sched_timer_set_long_ago_has_expired_often),
		TEST(test_sched_who_waits_longest_is_woken_first),
		TEST(test_sched_wake_all_wakes_only_that_address),
		TEST(test_sched_woken_task_has_the_time_of_who_woke_it),
		TEST(test_sched_event_beats_a_look),
		TEST(test_sched_deadline_of_a_wait_counts_all_the_same),
		TEST(test_sched_random_monitor_sees_time_go_forward_the_same_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
