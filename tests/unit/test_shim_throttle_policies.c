// SPDX-License-Identifier: GPL-2.0-only
/*
 * The policies of throttle.h: their arithmetic in rows that were computed by hand, what they promise
 * under any load, and their names. QEMU's own functions have more rows in test_shim_throttle.c.
 */
#include "vmm_shim/throttle.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000ull
#define MS     1000000ull

#define ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))

static struct throttle policy(const char *text)
{
	struct throttle t;
	char why[256];

	if (throttle_parse(&t, text, why, sizeof(why)))
		fail_msg("%s", why);
	return t;
}

/* ------------------------------------------------------------------ rows */

struct row {
	uint64_t now;
	unsigned vcpu;
	enum throttle_action action;
	uint64_t sleep;
};

static void follow(const char *text, bool interruptible, const struct row *rows, size_t count)
{
	struct throttle t = policy(text);

	for (size_t i = 0; i < count; i++) {
		struct throttle_verdict v = throttle_lock(&t, rows[i].vcpu, rows[i].now);

		if (v.action != rows[i].action || v.sleep != rows[i].sleep ||
		    (v.sleep && v.interruptible != interruptible))
			fail_msg("%s, row %zu: action %d, sleep %" PRIu64 "%s", text, i, v.action,
				 v.sleep, v.interruptible ? ", interruptible" : "");
	}
}

#define FOLLOW(text, interruptible, ...)                           \
	do {                                                       \
		static const struct row rows_[] = { __VA_ARGS__ }; \
		follow(text, interruptible, rows_, ROWS(rows_));   \
	} while (0)

#define LET   THROTTLE_LET_THROUGH
#define AGAIN THROTTLE_ASK_AGAIN
#define END   THROTTLE_END

static void test_throttle_none_lets_everything_through(void **state)
{
	(void)state;
	FOLLOW("none", false, { 0, 0, LET, 0 }, { 0, 63, LET, 0 }, { UINT64_MAX, 0, LET, 0 },
	       { 0, 0, LET, 0 });
}

/* One limit for all vCPUs; microseconds, cut off; not interruptible. */
static void test_throttle_qemu_rows(void **state)
{
	(void)state;
	FOLLOW("qemu:3", false, { 5 * SECOND, 0, LET, 0 }, { 5 * SECOND + 1, 1, LET, 0 },
	       /* the third is the quota's last: to the slice's end, 999,999,998 ns away */
	       { 5 * SECOND + 2, 2, LET, 999999000 },
	       /* a fourth makes the slice 4/3 s long: 1,333,333,333 - 100 ns */
	       { 5 * SECOND + 100, 0, LET, 1333333000 },
	       /* at that slice's end exactly it is still the same slice: 5/3 s */
	       { 6 * SECOND + 333333333, 1, LET, 333333000 },
	       /* one nanosecond behind the end a new slice begins */
	       { 6 * SECOND + 666666667, 1, LET, 0 });
	FOLLOW("qemu:0", false, { SECOND, 0, LET, 0 }, { SECOND, 0, LET, 0 });
	/* a quota that no number of locks reaches, and that a double cannot tell from 2^64 */
	assert_true(policy("qemu:18446744073709551615").qemu.slice_quota == UINT64_MAX);
	FOLLOW("qemu:18446744073709551615", false, { SECOND, 0, LET, 0 }, { SECOND, 1, LET, 0 },
	       { SECOND, 2, LET, 0 });
}

/* A clock that goes back stays in the slice: no quota is handed out twice. */
static void test_throttle_qemu_time_that_goes_back_opens_no_slice(void **state)
{
	(void)state;
	FOLLOW("qemu:2", false, { 9 * SECOND, 0, LET, 0 }, { 9 * SECOND, 0, LET, SECOND },
	       { 8 * SECOND, 0, LET, 2 * SECOND + SECOND / 2 });
}

static void test_throttle_sleep_is_the_same_for_each_lock(void **state)
{
	(void)state;
	FOLLOW("sleep:1ms", true, { 0, 0, LET, MS }, { 0, 1, LET, MS }, { 7, 0, LET, MS },
	       { 3, 0, LET, MS });
	FOLLOW("sleep:3600s", true, { 0, 0, LET, 3600 * SECOND });
	FOLLOW("sleep:3/s", true, { 0, 0, LET, 333333333 });
	FOLLOW("sleep:17ns", true, { 0, 0, LET, 17 });
	FOLLOW("sleep:20us", true, { 0, 0, LET, 20000 });
}

static void test_throttle_bucket_rows(void **state)
{
	(void)state;
	FOLLOW("bucket:10/s,burst=5", true,
	       /* the burst, from whatever time on */
	       { SECOND, 0, LET, 0 }, { SECOND, 1, LET, 0 }, { SECOND, 0, LET, 0 },
	       { SECOND, 1, LET, 0 }, { SECOND, 0, LET, 0 },
	       /* then one each 100 ms, whoever it is */
	       { SECOND, 0, LET, 100 * MS }, { SECOND, 1, LET, 200 * MS },
	       /* 300 ms earn three: two pay the debt, one is for this lock */
	       { SECOND + 300 * MS, 0, LET, 0 }, { SECOND + 300 * MS, 0, LET, 100 * MS },
	       /* half a lock is earned */
	       { SECOND + 450 * MS, 0, LET, 50 * MS },
	       /* a pause fills it up to the burst and not further */
	       { 9 * SECOND, 0, LET, 0 }, { 9 * SECOND, 0, LET, 0 }, { 9 * SECOND, 0, LET, 0 },
	       { 9 * SECOND, 0, LET, 0 }, { 9 * SECOND, 0, LET, 0 },
	       { 9 * SECOND, 0, LET, 100 * MS });
	/* a third of a second is rounded up, and the surplus is not lost */
	FOLLOW("bucket:3/s", true, { 0, 0, LET, 0 }, { 0, 0, LET, 333333334 },
	       { 333333334, 0, LET, 333333333 });
}

static void test_throttle_bucket_per_vcpu_rows(void **state)
{
	(void)state;
	FOLLOW("bucket:10/s,per-vcpu", true, { SECOND, 0, LET, 0 }, { SECOND, 1, LET, 0 },
	       { SECOND, 63, LET, 0 }, { SECOND, 0, LET, 100 * MS }, { SECOND, 1, LET, 100 * MS },
	       { SECOND + 200 * MS, 0, LET, 0 }, { SECOND + 200 * MS, 0, LET, 100 * MS });
	/* the order of the words is free */
	FOLLOW("bucket:10/s,per-vcpu,burst=2", true, { 0, 0, LET, 0 }, { 0, 0, LET, 0 },
	       { 0, 1, LET, 0 }, { 0, 0, LET, 100 * MS });
}

static void test_throttle_bucket_time_that_goes_back_earns_nothing(void **state)
{
	(void)state;
	FOLLOW("bucket:10/s", true, { 5 * SECOND, 0, LET, 0 }, { 0, 0, LET, 100 * MS },
	       { 5 * SECOND, 0, LET, 200 * MS }, { 5 * SECOND + 300 * MS, 0, LET, 0 });
}

static void test_throttle_bucket_at_the_ends_of_its_numbers(void **state)
{
	struct throttle t = policy("bucket:1/s");

	(void)state;
	FOLLOW("bucket:1000000000/s,burst=1000000000", true, { UINT64_MAX, 0, LET, 0 },
	       { 0, 0, LET, 0 }, { UINT64_MAX, 0, LET, 0 });
	FOLLOW("bucket:1000000000/s", true, { 0, 0, LET, 0 }, { 0, 0, LET, 1 },
	       { UINT64_MAX, 0, LET, 0 });
	/* who does not sleep as told owes no more than 64 sleepers would */
	for (unsigned i = 0; i < 1000; i++)
		assert_in_range(throttle_lock(&t, 0, 0).sleep, 0, 64 * SECOND);
	assert_int_equal(throttle_lock(&t, 0, 0).sleep, 64 * SECOND);
	assert_int_equal(throttle_lock(&t, 0, 65 * SECOND).sleep, 0);
}

/*
 * HZ 250: a jiffy is 4 ms, msleep(20) five of them and the begun one. Ten seconds are jiffy 2500, the
 * window lasts until jiffy 2750 has passed.
 */
static void test_throttle_kernel_rows(void **state)
{
	(void)state;
	FOLLOW("kernel:3", false, { 10 * SECOND, 0, LET, 0 }, { 10 * SECOND + 1, 1, LET, 0 },
	       { 10 * SECOND + 2, 2, LET, 0 },
	       { 10 * SECOND + MS, 0, AGAIN, 23 * MS },       /* wakes at jiffy 2506 */
	       { 10 * SECOND + 3999999, 1, AGAIN, 20000001 }, /* the same */
	       { 10 * SECOND + 4 * MS, 2, AGAIN, 24 * MS },   /* jiffy 2501: wakes at 2507 */
	       { 11 * SECOND, 0, AGAIN, 24 * MS },            /* 2750 is still inside */
	       { 11 * SECOND + 3999999, 0, AGAIN, 20000001 },
	       { 11 * SECOND + 4 * MS, 0, LET, 0 }, /* 2751 */
	       { 11 * SECOND + 4 * MS, 1, LET, 0 }, { 11 * SECOND + 4 * MS, 2, LET, 0 },
	       /* what was missed in the first window counts for nothing */
	       { 11 * SECOND + 4 * MS, 0, AGAIN, 24 * MS },
	       { 12 * SECOND + 4 * MS, 0, AGAIN, 24 * MS }, { 12 * SECOND + 8 * MS, 0, LET, 0 });
}

static void test_throttle_kernel_sleeps_by_jiffies_of_other_lengths(void **state)
{
	(void)state;
	FOLLOW("kernel:1,hz=100", false, { 10 * SECOND, 0, LET, 0 },
	       { 10 * SECOND, 0, AGAIN, 30 * MS }, { 10 * SECOND + 9 * MS, 0, AGAIN, 21 * MS });
	FOLLOW("kernel:1,hz=1000", false, { 10 * SECOND, 0, LET, 0 },
	       { 10 * SECOND, 0, AGAIN, 21 * MS }, { 11 * SECOND, 0, AGAIN, 21 * MS },
	       { 11 * SECOND + MS, 0, LET, 0 });
	/* 20 ms are exactly six of 300 */
	FOLLOW("kernel:1,hz=300", false, { 10 * SECOND, 0, LET, 0 },
	       { 10 * SECOND, 0, AGAIN, 23333334 }, { 10 * SECOND + 23333334, 0, AGAIN, 23333333 });
}

static void test_throttle_kernel_window_begins_with_the_first_lock(void **state)
{
	(void)state;
	/* also at jiffy 0, and far away; time that goes back stays in its window */
	FOLLOW("kernel:1", false, { 0, 0, LET, 0 }, { 0, 0, AGAIN, 24 * MS },
	       { SECOND + 4 * MS, 0, LET, 0 }, { 0, 0, AGAIN, 24 * MS });
	FOLLOW("kernel:1", false, { UINT64_MAX, 0, LET, 0 },
	       { UINT64_MAX - 3 * SECOND, 0, AGAIN, 20 * MS + 2448385 });
}

static void test_throttle_kill_ends_at_the_nth_lock_of_all(void **state)
{
	(void)state;
	FOLLOW("kill:3", false, { 0, 0, LET, 0 }, { 0, 1, LET, 0 }, { 9, 0, END, 0 },
	       { 9, 1, END, 0 });
	FOLLOW("kill:1", false, { 0, 0, END, 0 });
}

/* ------------------------------------------------------------------ promises */

#define VCPUS 4
#define LOCKS 6000

/* Any load: locks that come at random, by vCPUs that sleep as they are told. */
struct load {
	uint64_t at[LOCKS]; /* when each was taken */
	unsigned vcpu[LOCKS];
	uint64_t longest; /* sleep */
};

static uint64_t pause_between(uint64_t mean)
{
	/* often none, sometimes long */
	switch (rand() % 4) {
	case 0:
		return 1 + (uint64_t)rand() % 1000;
	case 1:
		return mean * ((uint64_t)rand() % 40) / 10;
	default:
		return 1 + (uint64_t)rand() % (mean / 10 + 1);
	}
}

static void put_under_load(struct load *load, const char *text, uint64_t mean)
{
	uint64_t clock[VCPUS] = { 0, 1, 2, 3 };
	bool asking[VCPUS] = { false };
	struct throttle t = policy(text);
	unsigned taken = 0;

	load->longest = 0;
	while (taken < LOCKS) {
		struct throttle_verdict v;
		unsigned next = 0;

		for (unsigned i = 1; i < VCPUS; i++)
			if (clock[i] < clock[next])
				next = i;
		if (!asking[next]) {
			load->at[taken] = clock[next];
			load->vcpu[taken++] = next;
		}
		v = throttle_lock(&t, next, clock[next]);
		asking[next] = v.action == THROTTLE_ASK_AGAIN;
		if (v.sleep > load->longest)
			load->longest = v.sleep;
		clock[next] += v.sleep;
		if (!asking[next])
			clock[next] += pause_between(mean);
	}
}

/* The most locks in any window of that length, of one vCPU or of all (-1). */
static unsigned most_in(const struct load *load, uint64_t window, int vcpu)
{
	unsigned first = 0, in = 0, most = 0;

	for (unsigned i = 0; i < LOCKS; i++) {
		in += vcpu < 0 || load->vcpu[i] == (unsigned)vcpu;
		while (load->at[i] - load->at[first] >= window) {
			in -= vcpu < 0 || load->vcpu[first] == (unsigned)vcpu;
			first++;
		}
		if (in > most)
			most = in;
	}
	return most;
}

static void expect_at_most(const struct load *load, const char *text, uint64_t window, int vcpu,
			   uint64_t bound)
{
	unsigned most = most_in(load, window, vcpu);

	if (most > bound)
		fail_msg("%s: %u locks in %llu ms, %" PRIu64 " are promised", text, most,
			 window / MS, bound);
}

static const uint64_t windows[] = { 10 * MS, 100 * MS, SECOND, 3 * SECOND, 10 * SECOND };

/* Loads below, at and above the rate. */
static const uint64_t means[] = { 2 * MS, 50 * MS, 300 * MS };

static void test_throttle_bucket_holds_its_rate_in_any_window(void **state)
{
	static struct load load;

	(void)state;
	for (size_t m = 0; m < ROWS(means); m++) {
		put_under_load(&load, "bucket:20/s,burst=8", means[m]);
		/* a debt of one lock for each vCPU */
		assert_in_range(load.longest, 1, VCPUS * SECOND / 20);
		for (size_t w = 0; w < ROWS(windows); w++)
			expect_at_most(&load, "bucket", windows[w], -1,
				       8 + VCPUS + windows[w] / (SECOND / 20));
		put_under_load(&load, "bucket:20/s,burst=8,per-vcpu", means[m]);
		assert_in_range(load.longest, 1, SECOND / 20);
		for (size_t w = 0; w < ROWS(windows); w++)
			for (int i = 0; i < VCPUS; i++)
				expect_at_most(&load, "bucket per vCPU", windows[w], i,
					       8 + 1 + windows[w] / (SECOND / 20));
	}
}

/* A slice's quota can come at its end, and the next one's at once. */
static void test_throttle_qemu_holds_its_rate_but_for_two_slices(void **state)
{
	static struct load load;

	(void)state;
	for (size_t m = 0; m < ROWS(means); m++) {
		put_under_load(&load, "qemu:20", means[m]);
		/* one slice, longer by each sleeper's lock */
		assert_in_range(load.longest, 0, SECOND + VCPUS * SECOND / 20);
		for (size_t w = 0; w < ROWS(windows); w++)
			expect_at_most(&load, "qemu", windows[w], -1,
				       2 * (20 + VCPUS) + windows[w] / (SECOND / 20));
	}
	put_under_load(&load, "qemu:20", means[0]);
	/* under full load it is the rate: 6000 locks take 300 s */
	assert_in_range(load.at[LOCKS - 1], 297 * SECOND, 303 * SECOND);
}

static void test_throttle_kernel_holds_its_rate_but_for_two_windows(void **state)
{
	static struct load load;

	(void)state;
	for (size_t m = 0; m < ROWS(means); m++) {
		put_under_load(&load, "kernel:20", means[m]);
		assert_in_range(load.longest, 20 * MS, 24 * MS);
		/* each vCPU has taken the lock for which it is waiting */
		for (size_t w = 0; w < ROWS(windows); w++)
			expect_at_most(&load, "kernel", windows[w], -1,
				       20 * (windows[w] / SECOND + 2) + VCPUS);
	}
	put_under_load(&load, "kernel:20", means[0]);
	/* windows of 251 jiffies, and up to six more until somebody asks */
	assert_in_range(load.at[LOCKS - 1], 299 * SECOND, 310 * SECOND);
}

static void test_throttle_sleep_holds_its_rate_for_each_vcpu(void **state)
{
	static struct load load;

	(void)state;
	put_under_load(&load, "sleep:20/s", means[0]);
	assert_int_equal(load.longest, SECOND / 20);
	for (size_t w = 0; w < ROWS(windows); w++)
		for (int i = 0; i < VCPUS; i++)
			expect_at_most(&load, "sleep", windows[w], i,
				       1 + windows[w] / (SECOND / 20));
}

/* ------------------------------------------------------------------ names */

static void test_throttle_parse_refuses_what_it_does_not_know(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{ "", "there is no policy ''" },
		{ "qemu", "there is no policy 'qemu'; there is none, qemu:N" },
		{ "fast:10", "there is no policy 'fast:10'" },
		{ "none:1", "none is wanted" },
		{ "qemu:", "qemu:N with N from 0 is wanted" },
		{ "qemu:-1", "policy 'qemu:-1'" },
		{ "qemu: 1", "qemu:N" },
		{ "qemu:10x", "qemu:N" },
		{ "qemu:0x10", "qemu:N" },
		{ "qemu:18446744073709551616", "qemu:N" },
		{ "sleep:10", "sleep:TIME" },
		{ "sleep:0ms", "sleep:TIME" },
		{ "sleep:1m", "sleep:TIME" },
		{ "sleep:3601s", "at most 3600s" },
		{ "sleep:3600000000001ns", "at most 3600s" },
		{ "sleep:18446744073709551s", "at most 3600s" },
		{ "sleep:0/s", "sleep:TIME" },
		{ "sleep:2000000000/s", "sleep:TIME" },
		{ "bucket:10", "bucket:N/s" },
		{ "bucket:0/s", "bucket:N/s" },
		{ "bucket:1000000001/s", "bucket:N/s" },
		{ "bucket:10/s,burst=0", "bucket:N/s" },
		{ "bucket:10/s,burst=", "bucket:N/s" },
		{ "bucket:10/s,per-cpu", "bucket:N/s" },
		{ "bucket:10/s,", "bucket:N/s" },
		{ "kernel:0", "kernel:N" },
		{ "kernel:1001", "N from 1 to 1000" },
		{ "kernel:10,hz=500", "H 100, 250, 300 or 1000" },
		{ "kernel:10,hz=", "kernel:N" },
		{ "kernel:10,", "kernel:N" },
		{ "kill:0", "kill:N with N from 1" },
		{ "kill:", "kill:N" },
	};

	(void)state;
	for (size_t i = 0; i < ROWS(rows); i++) {
		char why[256] = "";
		struct throttle t;

		if (throttle_parse(&t, rows[i].text, why, sizeof(why)) != -EINVAL)
			fail_msg("'%s' was accepted", rows[i].text);
		if (!strstr(why, rows[i].why))
			fail_msg("'%s': %s", rows[i].text, why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_throttle_none_lets_everything_through),
		cmocka_unit_test(test_throttle_qemu_rows),
		cmocka_unit_test(test_throttle_qemu_time_that_goes_back_opens_no_slice),
		cmocka_unit_test(test_throttle_sleep_is_the_same_for_each_lock),
		cmocka_unit_test(test_throttle_bucket_rows),
		cmocka_unit_test(test_throttle_bucket_per_vcpu_rows),
		cmocka_unit_test(test_throttle_bucket_time_that_goes_back_earns_nothing),
		cmocka_unit_test(test_throttle_bucket_at_the_ends_of_its_numbers),
		cmocka_unit_test(test_throttle_kernel_rows),
		cmocka_unit_test(test_throttle_kernel_sleeps_by_jiffies_of_other_lengths),
		cmocka_unit_test(test_throttle_kernel_window_begins_with_the_first_lock),
		cmocka_unit_test(test_throttle_kill_ends_at_the_nth_lock_of_all),
		cmocka_unit_test(test_throttle_bucket_holds_its_rate_in_any_window),
		cmocka_unit_test(test_throttle_qemu_holds_its_rate_but_for_two_slices),
		cmocka_unit_test(test_throttle_kernel_holds_its_rate_but_for_two_windows),
		cmocka_unit_test(test_throttle_sleep_holds_its_rate_for_each_vcpu),
		cmocka_unit_test(test_throttle_parse_refuses_what_it_does_not_know),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
