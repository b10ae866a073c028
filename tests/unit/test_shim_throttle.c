// SPDX-License-Identifier: GPL-2.0-only
/* The reference throttle and kernel profiles: pure functions. */
#include "tests/unit/shim_script.h"
#include "vmm_shim/throttle.h"

#define SECOND 1000000000ull

/* ------------------------------------------------------------------ QEMU's limiter */

static void test_throttle_qemu_delays_the_last_lock_of_the_quota(void **state)
{
	struct throttle_qemu t;

	(void)state;
	throttle_qemu_init(&t, 10);
	/* nine are free, the tenth waits for the end of the slice */
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(throttle_qemu_delay(&t, 5 * SECOND), 0);
	assert_int_equal(throttle_qemu_delay(&t, 5 * SECOND), SECOND);
}

static void test_throttle_qemu_extends_the_slice_for_surplus_of_other_vcpus(void **state)
{
	struct throttle_qemu t;

	(void)state;
	throttle_qemu_init(&t, 10);
	for (unsigned i = 0; i < 10; i++)
		throttle_qemu_delay(&t, SECOND);
	/* an eleventh while the tenth sleeps: 11/10 of a slice from its start */
	assert_int_equal(throttle_qemu_delay(&t, SECOND + SECOND / 2),
			 SECOND / 10 * 11 - SECOND / 2);
	assert_int_equal(t.slice_end, SECOND + SECOND / 10 * 11);
	/* a new slice only after the extended one */
	assert_int_not_equal(throttle_qemu_delay(&t, 2 * SECOND + SECOND / 10), 0);
	assert_int_equal(throttle_qemu_delay(&t, 4 * SECOND), 0);
	assert_int_equal(t.dispatched, 1);
}

static void test_throttle_qemu_at_rate_1_sleeps_a_whole_slice_each_time(void **state)
{
	struct throttle_qemu t;
	uint64_t now = 100;

	(void)state;
	throttle_qemu_init(&t, 1);
	for (unsigned i = 0; i < 5; i++) {
		uint64_t delay = throttle_qemu_delay(&t, now);

		assert_int_equal(delay, SECOND);
		now += delay + 1; /* "slice_end < now": the end itself still belongs to the slice */
	}
}

static void test_throttle_qemu_waking_exactly_at_the_end_stays_in_the_slice(void **state)
{
	struct throttle_qemu t;

	(void)state;
	throttle_qemu_init(&t, 1);
	assert_int_equal(throttle_qemu_delay(&t, 7), SECOND);
	assert_int_equal(throttle_qemu_delay(&t, 7 + SECOND), SECOND);
	assert_int_equal(t.dispatched, 2);
}

static void test_throttle_qemu_without_rate_never_delays(void **state)
{
	struct throttle_qemu t;

	(void)state;
	throttle_qemu_init(&t, 0);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(throttle_qemu_delay(&t, i), 0);
}

static void test_throttle_qemu_twenty_locks_at_ten_a_second_take_two_seconds(void **state)
{
	struct throttle_qemu t;
	uint64_t now = SECOND, start = now;

	(void)state;
	throttle_qemu_init(&t, 10);
	for (unsigned i = 0; i < 20; i++)
		now += 1000 + throttle_qemu_sleep_us(throttle_qemu_delay(&t, now)) * 1000;
	assert_in_range(now - start, 2 * SECOND, 2 * SECOND + SECOND / 10);
	/* and a thousand a second hardly any */
	throttle_qemu_init(&t, 1000);
	for (start = now = SECOND; now < start + 20 * 1000; now += 1000)
		assert_int_equal(throttle_qemu_delay(&t, now), 0);
}

static void test_throttle_qemu_sleep_is_truncated_to_microseconds(void **state)
{
	(void)state;
	assert_int_equal(throttle_qemu_sleep_us(999), 0);
	assert_int_equal(throttle_qemu_sleep_us(1999), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_throttle_qemu_delays_the_last_lock_of_the_quota),
		cmocka_unit_test(test_throttle_qemu_extends_the_slice_for_surplus_of_other_vcpus),
		cmocka_unit_test(test_throttle_qemu_at_rate_1_sleeps_a_whole_slice_each_time),
		cmocka_unit_test(test_throttle_qemu_waking_exactly_at_the_end_stays_in_the_slice),
		cmocka_unit_test(test_throttle_qemu_without_rate_never_delays),
		cmocka_unit_test(test_throttle_qemu_twenty_locks_at_ten_a_second_take_two_seconds),
		cmocka_unit_test(test_throttle_qemu_sleep_is_truncated_to_microseconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
