// SPDX-License-Identifier: GPL-2.0-only
/*
 * The machine of `buslock lab throttle`, taken in here as source: what it measures against what follows
 * from its costs on paper. With an instruction of 100 ns an attacker's loop of four lasts 400 ns, then
 * comes the lock (1000 ns) and, with a policy, the exit (3000 ns).
 */
#include "cli/lab_throttle_sim.c"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SECOND 1000000000ull
#define MS     1000000ull
#define LOOP   400

static const struct sim_options alone = {
	.vcpus = 1,
	.attackers = 1,
	.duration = 3 * SECOND,
	.instruction_cost = 100,
	.lock_cost = 1000,
	.exit_cost = 3000,
};

static void simulate(const struct sim_options *options, const char *policy,
		     struct sim_result *result)
{
	struct throttle throttle;
	char why[256];
	int error = throttle_parse(&throttle, policy, why, sizeof(why));

	if (error)
		fail_msg("%s", why);
	error = sim_run(options, &throttle, result);
	if (error)
		fail_msg("%s: %s", policy, strerror(-error));
}

static struct sim_result simulated(const struct sim_options *options, const char *policy)
{
	struct sim_result result;

	simulate(options, policy, &result);
	return result;
}

/* ------------------------------------------------------------------ one vCPU: on paper */

static void test_lab_sim_locks_of_a_single_attacker(void **state)
{
	static const struct {
		const char *policy;
		uint64_t locks;
	} rows[] = {
		/* one each 1400 ns */
		{ "none", 3 * SECOND / 1400 },
		/* each 4400 ns + 1 ms */
		{ "sleep:1ms", 3 * SECOND / 1004400 + 1 },
		/* one for nothing, then one each 100 ms: the bucket counts the time in the guest, too */
		{ "bucket:10/s", 1 + 30 },
		{ "bucket:10/s,burst=5", 5 + 30 },
		/* ten in each second; the tenth's exit comes before the second is over */
		{ "qemu:10", 30 },
		/* windows of 252 jiffies: 3 at once, a fourth that waits for 1.008 s, 3 for 2.016 s */
		{ "kernel:3", 4 + 3 + 3 },
		{ "kill:10", 10 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t locks = simulated(&alone, rows[i].policy).vcpu[0].locks;

		if (locks != rows[i].locks)
			fail_msg("%s: %" PRIu64 " locks, %" PRIu64 " on paper", rows[i].policy,
				 locks, rows[i].locks);
	}
}

static void test_lab_sim_kill_ends_the_machine_in_time(void **state)
{
	struct sim_options o = alone;
	struct sim_result r = simulated(&o, "kill:10");

	(void)state;
	/* the first time there is no jump in front */
	assert_int_equal(r.ended, 10 * (LOOP + 1000 + 3000) - 100);
	assert_int_equal(r.duration, 3 * SECOND);
	assert_int_equal(simulated(&o, "qemu:10").ended, 3 * SECOND);
}

/* Whatever a vCPU does is work, lock, exit or sleep. */
static void test_lab_sim_time_is_all_accounted_for(void **state)
{
	static const char *const policies[] = { "none", "sleep:1ms", "qemu:10", "kernel:3",
						"bucket:10/s,burst=5" };

	(void)state;
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		struct sim_result r = simulated(&alone, policies[i]);
		uint64_t per_lock = 1000 + (i ? 3000 : 0);
		uint64_t sum = r.vcpu[0].work * 100 + r.vcpu[0].locks * per_lock + r.vcpu[0].slept;

		assert_in_range(sum, 3 * SECOND - 2000, 3 * SECOND + 5000);
	}
}

static void test_lab_sim_density_follows_the_work_between_locks(void **state)
{
	struct sim_options o = alone;
	struct sim_result r;

	(void)state;
	o.attacker_work = 160; /* ten turns, and four instructions around them */
	r = simulated(&o, "none");
	assert_in_range(r.vcpu[0].locks, 3 * SECOND / (16400 + 1000) - 1, 3 * SECOND / 17400 + 1);
	o.attacker_work = SIM_NEVER;
	r = simulated(&o, "none");
	assert_int_equal(r.vcpu[0].locks, 0);
	assert_in_range(r.vcpu[0].work, 3 * SECOND / 100, 3 * SECOND / 100 + 2 * SIM_TURN);
}

static void test_lab_sim_aligned_guest_has_no_bus_locks(void **state)
{
	struct sim_options o = alone;
	struct sim_result r;

	(void)state;
	o.duration = SECOND / 10;
	o.aligned = true;
	r = simulated(&o, "qemu:1");
	assert_int_equal(r.vcpu[0].locks, 0);
	assert_int_equal(r.vcpu[0].slept, 0);
	assert_in_range(r.vcpu[0].work, o.duration / 100, o.duration / 100 + 2 * SIM_TURN);
}

/* ------------------------------------------------------------------ several */

static void test_lab_sim_bus_locks_slow_the_innocent(void **state)
{
	struct sim_options o = alone;
	struct sim_result r;

	(void)state;
	o.vcpus = 2;
	o.duration = SECOND / 2;
	o.innocent_work = SIM_NEVER;
	r = simulated(&o, "none");
	/* of 1400 ns the bus is held for 1000 */
	assert_in_range(r.vcpu[1].work, 1425000, 1432000);
	assert_in_range(r.vcpu[0].locks, 357000, 357143);
	/* with a policy the attacker is hardly there */
	r = simulated(&o, "sleep:10ms");
	assert_in_range(r.vcpu[1].work, 4990000, 5000000 + 2 * SIM_TURN);
	assert_int_equal(r.vcpu[1].slept, 0);
}

/*
 * While one holds the bus for 1000 ns the other waits before its loop of 400: two locks each 2400 ns.
 * Who has waited for the bus does not wait for that lock once more.
 */
static void test_lab_sim_attackers_wait_for_each_other(void **state)
{
	struct sim_options o = alone;
	struct sim_result r;

	(void)state;
	o.vcpus = o.attackers = 2;
	o.duration = SECOND / 10;
	r = simulated(&o, "none");
	assert_in_range(r.vcpu[0].locks, 41650, 41668);
	assert_in_range(r.vcpu[1].locks, 41650, 41668);
}

static void test_lab_sim_sleeper_does_not_wait_for_the_bus(void **state)
{
	struct vcpu v = { .sleeping_since = 10, .time = 20 };

	(void)state;
	assert_true(awake_at(&v, 9));
	assert_false(awake_at(&v, 10));
	assert_false(awake_at(&v, 19));
	assert_true(awake_at(&v, 20));
	v.sleeping_since = UINT64_MAX;
	assert_true(awake_at(&v, 15));
}

/* However many attack, the bus does one lock at a time; an instruction waits for one at most. */
static void test_lab_sim_bus_is_one(void **state)
{
	struct sim_options o = alone;
	struct sim_result r;
	uint64_t locks = 0;

	(void)state;
	o.vcpus = 8;
	o.attackers = 7;
	o.duration = SECOND / 10;
	o.innocent_work = SIM_NEVER;
	r = simulated(&o, "none");
	for (unsigned i = 0; i < 7; i++) {
		locks += r.vcpu[i].locks;
		assert_in_range(r.vcpu[i].locks, 100000 / 7 - 100, 100000 / 7 + 100);
	}
	assert_in_range(locks, 99900, 100000 + 7);
	/* 100 ns of work in 1100 */
	assert_in_range(r.vcpu[7].work, 90000, 92000);
}

static void test_lab_sim_qemu_limit_is_shared_and_a_bucket_need_not_be(void **state)
{
	struct sim_options o = alone;
	uint64_t sum = 0;
	struct sim_result r;

	(void)state;
	o.vcpus = o.attackers = 4;
	o.duration = 20 * SECOND;
	r = simulated(&o, "qemu:10");
	for (unsigned i = 0; i < 4; i++)
		sum += r.vcpu[i].locks;
	assert_in_range(sum, 190, 210);
	r = simulated(&o, "bucket:10/s,per-vcpu");
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(r.vcpu[i].locks, 201);
	r = simulated(&o, "sleep:100ms");
	for (unsigned i = 0; i < 4; i++)
		assert_in_range(r.vcpu[i].locks, 199, 200);
}

/* ------------------------------------------------------------------ kicks */

static void test_lab_sim_kick_waits_for_a_sleep_only_if_that_cannot_be_interrupted(void **state)
{
	struct sim_options o = alone;

	(void)state;
	o.kick_interval = 10 * MS;
	/* asleep from 4400 ns on; the first kick comes after 10 ms and waits for the end of the slice */
	assert_in_range(simulated(&o, "qemu:1").vcpu[0].worst_kick, 990 * MS, 990 * MS + 10000);
	/* msleep(20) again and again, from one window to the next: from 1.010 s until jiffy 2 * 252 */
	assert_int_equal(simulated(&o, "kernel:1").vcpu[0].worst_kick, 1006 * MS);
	assert_in_range(simulated(&o, "sleep:1s").vcpu[0].worst_kick, 0, 5000);
	assert_in_range(simulated(&o, "bucket:1/s").vcpu[0].worst_kick, 0, 5000);
	assert_in_range(simulated(&o, "none").vcpu[0].worst_kick, 0, 5000);
	o.kick_interval = 0;
	assert_int_equal(simulated(&o, "qemu:1").vcpu[0].worst_kick, 0);
}

/* One that is never answered is as bad as one that is answered at the end. */
static void test_lab_sim_kick_unanswered_at_the_end_has_waited_until_then(void **state)
{
	struct sim_options o = alone;

	(void)state;
	o.kick_interval = 10 * MS;
	o.duration = SECOND / 2;
	assert_int_equal(simulated(&o, "qemu:1").vcpu[0].worst_kick, 490 * MS);
	assert_in_range(simulated(&o, "sleep:1s").vcpu[0].worst_kick, 0, 5000);
}

/* A kick costs its exit, answered or not it changes nothing else. */
static void test_lab_sim_kicks_cost_exits(void **state)
{
	struct sim_options o = alone;

	(void)state;
	o.attacker_work = SIM_NEVER;
	o.kick_interval = MS;
	/* 2999 kicks in 3 s, 3 µs each */
	assert_in_range(simulated(&o, "none").vcpu[0].work, 29910000, 29910500);
}

/* ------------------------------------------------------------------ frame */

static void test_lab_sim_equal_options_give_equal_results(void **state)
{
	static const char *const policies[] = { "none", "qemu:100", "kernel:100", "bucket:100/s",
						"sleep:100/s" };
	struct sim_options o = alone;

	(void)state;
	o.vcpus = 4;
	o.attackers = 2;
	o.duration = SECOND / 10;
	o.innocent_work = 1000;
	o.kick_interval = MS;
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		struct sim_result a, b;

		memset(&a, 0xaa, sizeof(a));
		memset(&b, 0x55, sizeof(b));
		simulate(&o, policies[i], &a);
		simulate(&o, policies[i], &b);
		assert_memory_equal(&a, &b, sizeof(a));
	}
}

static void test_lab_sim_options_out_of_range_are_refused(void **state)
{
	struct throttle none = { .kind = THROTTLE_NONE };
	struct sim_options bad[6];
	struct sim_result r;

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		bad[i] = alone;
	bad[0].vcpus = 0;
	bad[1].vcpus = SIM_MAX_VCPUS + 1;
	bad[2].attackers = 2;
	bad[3].duration = 0;
	bad[4].instruction_cost = 0;
	bad[5].lock_cost = 0;
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(sim_run(&bad[i], &none, &r), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lab_sim_locks_of_a_single_attacker),
		cmocka_unit_test(test_lab_sim_kill_ends_the_machine_in_time),
		cmocka_unit_test(test_lab_sim_time_is_all_accounted_for),
		cmocka_unit_test(test_lab_sim_density_follows_the_work_between_locks),
		cmocka_unit_test(test_lab_sim_aligned_guest_has_no_bus_locks),
		cmocka_unit_test(test_lab_sim_bus_locks_slow_the_innocent),
		cmocka_unit_test(test_lab_sim_attackers_wait_for_each_other),
		cmocka_unit_test(test_lab_sim_sleeper_does_not_wait_for_the_bus),
		cmocka_unit_test(test_lab_sim_bus_is_one),
		cmocka_unit_test(test_lab_sim_qemu_limit_is_shared_and_a_bucket_need_not_be),
		cmocka_unit_test(
			test_lab_sim_kick_waits_for_a_sleep_only_if_that_cannot_be_interrupted),
		cmocka_unit_test(test_lab_sim_kick_unanswered_at_the_end_has_waited_until_then),
		cmocka_unit_test(test_lab_sim_kicks_cost_exits),
		cmocka_unit_test(test_lab_sim_equal_options_give_equal_results),
		cmocka_unit_test(test_lab_sim_options_out_of_range_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
