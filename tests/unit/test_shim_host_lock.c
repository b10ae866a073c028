// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host kernel's split-lock policy by itself: a clock that only sleeps move, signals at given
 * instants, and the rows of arch/x86/kernel/cpu/bus_lock.c (intel.c) by kernel version.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmm_shim/host_lock.h"

#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#define MS       1000000ull
#define NEVER    UINT64_MAX
#define RIP      0xffffffff810238b0ull
#define COUNT(x) (sizeof(x) / sizeof((x)[0]))

/* ------------------------------------------------------------------ a world for it */

#define LINES 64

static struct {
	uint64_t now, begun;
	char line[LINES][160];
	unsigned lines;
	struct host_lock host;
} world;

/* A task on a core of its own. Several at once are coroutines, each with its place in time. */
struct runner {
	struct host_task task;
	struct host_core core;
	uint64_t signal; /* when one comes */
	struct host_tally tally;

	bool together, done;
	uint64_t wake;
	ucontext_t context;
	char stack[64 * 1024];
};
static ucontext_t scheduler;

static uint64_t now(void *opaque)
{
	(void)opaque;
	return world.now;
}

static void message(void *opaque, const char *text)
{
	(void)opaque;
	assert_true(world.lines < LINES);
	snprintf(world.line[world.lines++], sizeof(world.line[0]), "%s", text);
}

static bool sleep_until(void *opaque, uint64_t until)
{
	struct runner *r = opaque;
	bool interrupted = r->signal <= world.now || r->signal < until;

	r->wake = interrupted ? r->signal : until;
	if (r->wake < world.now)
		r->wake = world.now;
	if (r->together)
		swapcontext(&r->context, &scheduler);
	else
		world.now = r->wake;
	return interrupted;
}

static const struct host_ops ops = { now, sleep_until, message };

static struct shim_options options_of(enum shim_split_lock state, unsigned hz)
{
	return (struct shim_options){
		.host_split_lock = state, .host_ratelimit = 7, .split_lock_mitigate = true, .hz = hz
	};
}

/* The host boots an odd time before the clock's zero would suggest. */
static void boot(const struct shim_options *options, unsigned kernel)
{
	struct profile profile;

	memset(&world, 0, sizeof(world));
	world.now = world.begun = 12345678901;
	profile_for(kernel, &profile);
	host_lock_init(&world.host, options, &profile, world.now);
}

static void boot_warn(unsigned kernel, unsigned hz)
{
	struct shim_options options = options_of(SHIM_SPLIT_LOCK_WARN, hz);

	boot(&options, kernel);
}

static uint64_t elapsed(void)
{
	return world.now - world.begun;
}

/* ns after the boot */
static void at(uint64_t ns)
{
	assert_true(world.begun + ns >= world.now);
	world.now = world.begun + ns;
}

static struct runner runner(int pid)
{
	struct runner r = { .signal = NEVER };

	r.task.pid = pid;
	snprintf(r.task.comm, sizeof(r.task.comm), "CPU %d/KVM", pid % 10);
	return r;
}

static bool armed(struct runner *r)
{
	return host_lock_armed(&world.host, &r->task, &r->core, world.now);
}

/* A split lock: true, tried again; false, SIGBUS. */
static bool take_trap(struct runner *r, uint64_t rip)
{
	struct host_caller caller = { &ops, r, &r->task, &r->core, { 0 } };
	bool handled;

	assert_true(armed(r));
	handled = host_lock_guest_trap(&world.host, &caller, rip);
	r->tally.slept_ns += caller.tally.slept_ns;
	r->tally.messages += caller.tally.messages;
	r->tally.suppressed += caller.tally.suppressed;
	return handled;
}

#define assert_line(number, text)                              \
	do {                                                   \
		assert_true((number) < world.lines);           \
		assert_string_equal(world.line[number], text); \
	} while (0)

/* ------------------------------------------------------------------ the log */

static void test_boot_message_by_version_and_state_is_the_kernels(void **state)
{
	static const struct {
		enum shim_split_lock state;
		unsigned kernel;
		const char *text;
	} rows[] = {
		{ SHIM_SPLIT_LOCK_WARN, KERNEL(5, 12, 0),
		  "x86/split lock detection: warning about user-space split_locks" },
		{ SHIM_SPLIT_LOCK_FATAL, KERNEL(5, 12, 0),
		  "x86/split lock detection: sending SIGBUS on user-space split_locks" },
		{ SHIM_SPLIT_LOCK_WARN, KERNEL(5, 13, 0),
		  "x86/split lock detection: #AC: crashing the kernel on kernel split_locks and "
		  "warning on user-space split_locks" },
		{ SHIM_SPLIT_LOCK_FATAL, KERNEL(7, 3, 0),
		  "x86/split lock detection: #AC: crashing the kernel on kernel split_locks and "
		  "sending SIGBUS on user-space split_locks" },
		{ SHIM_SPLIT_LOCK_RATELIMIT, KERNEL(6, 12, 0),
		  "x86/split lock detection: #DB: setting system wide bus lock rate limit to "
		  "7/sec" },
		{ SHIM_SPLIT_LOCK_OFF, KERNEL(6, 12, 0), NULL },
	};
	char text[160];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct shim_options options = options_of(rows[i].state, 250);
		const char *said;

		boot(&options, rows[i].kernel);
		said = host_lock_boot_message(&world.host, text, sizeof(text));
		if (!rows[i].text)
			assert_null(said);
		else
			assert_string_equal(said, rows[i].text);
	}
}

static void test_warn_first_trap_of_a_task_is_reported_with_the_guests_rip(void **state)
{
	struct runner a = runner(4242), b = runner(4243);

	(void)state;
	boot_warn(KERNEL(6, 12, 0), 250);
	assert_true(take_trap(&a, RIP));
	assert_int_equal(world.lines, 1);
	assert_line(0, "x86/split lock detection: #AC: CPU 2/KVM/4242 took a split_lock trap at "
		       "address: 0xffffffff810238b0");
	at(100 * MS);
	take_trap(&a, 0x1234);
	assert_int_equal(world.lines, 1); /* once per task… */
	at(200 * MS);
	take_trap(&b, 0x699e4dc1);
	assert_line(1, "x86/split lock detection: #AC: CPU 3/KVM/4243 took a split_lock trap at "
		       "address: 0x699e4dc1"); /* …and for each */
	assert_int_equal(a.tally.messages, 1);
	assert_int_equal(a.tally.suppressed, 0);
}

static void test_warn_more_than_ten_lines_in_five_seconds_are_suppressed(void **state)
{
	struct runner r;

	(void)state;
	boot_warn(KERNEL(6, 12, 0), 250);
	for (int i = 0; i < 13; i++) {
		r = runner(100 + i);
		take_trap(&r, RIP);
		assert_int_equal(r.tally.messages, i < 10);
		assert_int_equal(r.tally.suppressed, i >= 10);
		assert_true(r.task.reported); /* suppressed or not: it will never be told */
	}
	assert_int_equal(world.lines, 10);
	/* time_is_before_jiffies(begin + interval): in jiffy 1250 the interval is not over */
	at(5003 * MS);
	r = runner(200);
	take_trap(&r, RIP);
	assert_int_equal(world.lines, 10);
	at(5030 * MS);
	r = runner(201);
	take_trap(&r, RIP);
	assert_int_equal(world.lines, 12);
	assert_line(10, "split_lock_warn: 4 callbacks suppressed");
	assert_line(11, "x86/split lock detection: #AC: CPU 1/KVM/201 took a split_lock trap at "
			"address: 0xffffffff810238b0");
}

/* ------------------------------------------------------------------ up to 5.18: no misery */

static void test_warn_before_5_19_disables_for_the_task_without_sleeping(void **state)
{
	static const unsigned kernels[] = { KERNEL(5, 12, 0), KERNEL(5, 15, 223),
					    KERNEL(5, 18, 19) };

	(void)state;
	for (size_t i = 0; i < COUNT(kernels); i++) {
		struct runner a = runner(1), b = runner(2);

		boot_warn(kernels[i], 250);
		assert_true(take_trap(&a, RIP));
		assert_int_equal(elapsed(), 0);
		assert_int_equal(a.tally.slept_ns, 0);
		assert_false(armed(&a));
		at(3600 * 1000 * MS);
		assert_false(armed(&a)); /* TIF_SLD stays */
		assert_true(armed(&b));
		b.core = a.core; /* another task on that core meets detection: switch_to_sld() */
		assert_true(armed(&b));
	}
}

/* ------------------------------------------------------------------ misery factor #1 */

static void test_warn_sleep_lasts_ten_ms_in_jiffies_of_each_kernel(void **state)
{
	static const struct {
		unsigned kernel, hz;
		uint64_t begin, end; /* ns after a tick, ns after the same tick */
	} rows[] = {
		/* 3 jiffies of 4 ms, and the wheel's one: 12 to 16 ms */
		{ KERNEL(6, 12, 0), 250, 0, 16 * MS },
		{ KERNEL(6, 12, 0), 250, 4 * MS - 1, 16 * MS },
		{ KERNEL(7, 3, 0), 250, 1 * MS, 16 * MS },
		/* msleep_interruptible() with the extra jiffy: 16 to 20 ms */
		{ KERNEL(6, 11, 0), 250, 0, 20 * MS },
		{ KERNEL(6, 1, 192), 250, 4 * MS - 1, 20 * MS },
		{ KERNEL(5, 19, 0), 250, 0, 20 * MS },
		{ KERNEL(6, 12, 0), 1000, 0, 11 * MS },
		{ KERNEL(6, 6, 0), 1000, 0, 12 * MS },
		{ KERNEL(6, 12, 0), 100, 0, 20 * MS },
		{ KERNEL(6, 12, 0), 100, 10 * MS - 1, 20 * MS },
		/* 10 ms are 3 ticks of 3⅓ ms */
		{ KERNEL(6, 12, 0), 300, 0, 13333334 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct runner r = runner(1);

		boot_warn(rows[i].kernel, rows[i].hz);
		at(rows[i].begin);
		assert_true(take_trap(&r, RIP));
		assert_int_equal(elapsed(), rows[i].end);
		assert_int_equal(r.tally.slept_ns, rows[i].end - rows[i].begin);
		assert_false(armed(&r));
	}
}

static void test_warn_window_of_two_jiffies_ends_at_the_tick_behind_them(void **state)
{
	static const struct {
		unsigned hz;
		uint64_t slept, window; /* the timer wheel fires in the third tick */
	} rows[] = { { 250, 16 * MS, 12 * MS },
		     { 1000, 11 * MS, 3 * MS },
		     { 100, 20 * MS, 30 * MS } };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct runner r = runner(1);

		boot_warn(KERNEL(6, 12, 0), rows[i].hz);
		take_trap(&r, RIP);
		assert_int_equal(elapsed(), rows[i].slept);
		at(rows[i].slept + rows[i].window - 1);
		assert_false(armed(&r));
		at(rows[i].slept + rows[i].window);
		assert_true(armed(&r));
	}
}

static void test_warn_signal_during_the_sleep_leaves_detection_armed(void **state)
{
	struct runner r = runner(1);

	(void)state;
	boot_warn(KERNEL(6, 12, 0), 1000);
	for (uint64_t ms = 1; ms < 100; ms++) { /* a 1 ms timer: no progress, ever */
		r.signal = world.begun + ms * MS;
		assert_true(take_trap(&r, RIP));
		assert_int_equal(elapsed(), ms * MS);
		assert_true(armed(&r));
	}
	assert_int_equal(r.tally.slept_ns, 99 * MS);
	assert_int_equal(world.lines, 1);
}

static void test_warn_signal_in_the_last_jiffy_of_the_sleep_counts_as_slept(void **state)
{
	static const struct {
		unsigned kernel, hz;
		uint64_t begin, enough; /* ns after the same tick */
	} rows[] = {
		{ KERNEL(6, 12, 0), 1000, 0, 10 * MS },
		{ KERNEL(6, 12, 0), 1000, MS - 1, 10 * MS }, /* 9.000001 ms are enough here */
		{ KERNEL(6, 12, 0), 250, 0, 12 * MS },
		{ KERNEL(6, 12, 0), 250, 3 * MS, 12 * MS },
		{ KERNEL(6, 1, 192), 250, 0, 16 * MS },
		{ KERNEL(6, 12, 0), 100, 0, 10 * MS },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct runner r = runner(1);

		boot_warn(rows[i].kernel, rows[i].hz);
		at(rows[i].begin);
		r.signal = world.begun + rows[i].enough - 1;
		take_trap(&r, RIP);
		assert_true(armed(&r));

		boot_warn(rows[i].kernel, rows[i].hz);
		at(rows[i].begin);
		r = runner(1);
		r.signal = world.begun + rows[i].enough;
		take_trap(&r, RIP);
		assert_int_equal(elapsed(), rows[i].enough);
		assert_false(armed(&r)); /* down_interruptible() of a free semaphore takes it */
	}
}

static void test_warn_signal_pending_before_sleeps_nothing(void **state)
{
	struct runner r = runner(1);

	(void)state;
	boot_warn(KERNEL(6, 12, 0), 250);
	r.signal = 0;
	take_trap(&r, RIP);
	assert_int_equal(elapsed(), 0);
	assert_int_equal(r.tally.slept_ns, 0);
	assert_true(armed(&r));
}

static void test_fix_interrupted_sleep_disables_detection_if_any_was_slept(void **state)
{
	struct shim_options options = options_of(SHIM_SPLIT_LOCK_WARN, 1000);
	struct runner r = runner(1);

	(void)state;
	options.split_lock_fix = true;
	boot(&options, KERNEL(6, 12, 0));
	r.signal = 0; /* was pending: nothing slept, no progress */
	take_trap(&r, RIP);
	assert_true(armed(&r));
	r.signal = world.now + 1 * MS;
	take_trap(&r, RIP);
	assert_int_equal(elapsed(), 1 * MS);
	assert_false(armed(&r));
	at(4 * MS); /* and the window is the ordinary one */
	assert_true(armed(&r));
}

/* ------------------------------------------------------------------ kernel.split_lock_mitigate=0 */

static void boot_unmitigated(unsigned kernel)
{
	struct shim_options options = options_of(SHIM_SPLIT_LOCK_WARN, 250);

	options.split_lock_mitigate = false;
	boot(&options, kernel);
}

static void test_mitigate_off_warns_and_disables_without_sleeping(void **state)
{
	struct runner r = runner(1);

	(void)state;
	boot_unmitigated(KERNEL(6, 12, 0));
	take_trap(&r, RIP);
	assert_int_equal(elapsed(), 0);
	assert_int_equal(world.lines, 1);
	assert_false(armed(&r));
	at(12 * MS - 1);
	assert_false(armed(&r));
	at(12 * MS);
	assert_true(armed(&r));
	take_trap(&r, RIP);
	assert_int_equal(world.lines, 1);
}

/* c929d08df8be: one work item for all processors is queued once */
static void test_mitigate_off_second_core_is_rearmed_by_its_own_work_only(void **state)
{
	static const struct {
		unsigned kernel;
		bool rearmed;
	} rows[] = {
		{ KERNEL(6, 2, 0), false },  { KERNEL(6, 12, 117), false },
		{ KERNEL(6, 14, 0), false }, { KERNEL(6, 15, 0), true },
		{ KERNEL(6, 1, 192), true }, { KERNEL(7, 3, 0), true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct runner a = runner(1), b = runner(2);

		boot_unmitigated(rows[i].kernel);
		take_trap(&a, RIP);
		at(4 * MS);
		take_trap(&b, RIP);
		at(12 * MS);
		assert_true(armed(&a));
		assert_false(armed(&b));
		at(16 * MS);
		assert_int_equal(armed(&b), rows[i].rearmed);
		at(3600 * 1000 * MS);
		assert_int_equal(armed(&b), rows[i].rearmed);
	}
}

/* ------------------------------------------------------------------ misery factor #2 */

static struct runner *starting;

static void traps(void)
{
	struct runner *r = starting;

	take_trap(r, RIP);
	r->done = true;
}

static void prepare(struct runner *r)
{
	getcontext(&r->context);
	r->context.uc_stack.ss_sp = r->stack;
	r->context.uc_stack.ss_size = sizeof(r->stack);
	r->context.uc_link = &scheduler;
	r->together = true;
	makecontext(&r->context, traps, 0);
}

/* Until it sleeps or is done. */
static void resume(struct runner *r)
{
	world.now = r->wake;
	starting = r;
	swapcontext(&scheduler, &r->context);
	if (r->done)
		r->wake = world.now; /* when it was done */
}

static struct runner *earliest(struct runner *runners, unsigned n)
{
	struct runner *next = NULL;

	for (unsigned i = 0; i < n; i++)
		if (!runners[i].done && (!next || runners[i].wake <= next->wake))
			next = &runners[i];
	return next;
}

/* Each takes a trap at its `wake`; of two at one instant the later one in the row comes first. */
static void together(struct runner *runners, unsigned n)
{
	struct runner *next;

	for (unsigned i = 0; i < n; i++)
		prepare(&runners[i]);
	while ((next = earliest(runners, n)))
		resume(next);
}

static void test_semaphore_second_core_waits_for_the_first_ones_window(void **state)
{
	struct runner a = runner(1), b = runner(2);

	(void)state;
	boot_warn(KERNEL(6, 12, 0), 250);
	take_trap(&a, RIP); /* sleeps to 16 ms; its window ends at 28 ms */
	assert_int_equal(elapsed(), 16 * MS);
	assert_true(armed(&b));
	take_trap(&b, RIP); /* sleeps to 32 ms: the semaphore is free then */
	assert_int_equal(elapsed(), 32 * MS);
	assert_int_equal(b.tally.slept_ns, 16 * MS);

	boot_warn(KERNEL(6, 12, 0), 100); /* sleep 20 ms, window 30 ms */
	a = runner(1), b = runner(2);
	take_trap(&a, RIP);
	assert_int_equal(elapsed(), 20 * MS);
	take_trap(&b, RIP); /* slept at 40 ms; waits until 50 ms */
	assert_int_equal(elapsed(), 50 * MS);
	assert_int_equal(b.tally.slept_ns, 30 * MS);
	assert_true(armed(&a));
	assert_false(armed(&b));
	at(80 * MS);
	assert_true(armed(&b));
}

static void test_semaphore_signal_while_waiting_leaves_detection_armed(void **state)
{
	struct runner a = runner(1), b = runner(2);

	(void)state;
	boot_warn(KERNEL(6, 12, 0), 100);
	take_trap(&a, RIP);
	b.signal = world.begun + 45 * MS; /* behind its sleep, in front of a's end */
	take_trap(&b, RIP);
	assert_int_equal(elapsed(), 45 * MS);
	assert_int_equal(b.tally.slept_ns, 25 * MS);
	assert_true(armed(&b));
	assert_false(armed(&a));
	/* and it is no longer in line: who comes now gets it when a's window ends */
	b = runner(3);
	at(45 * MS);
	take_trap(&b, RIP); /* sleeps to 60 ms, free since 50 */
	assert_int_equal(elapsed(), 60 * MS);
	assert_false(armed(&b));
}

static void test_semaphore_waiters_get_it_in_the_order_they_came(void **state)
{
	static struct runner r[4];
	static const unsigned begin[4] = { 0, 5, 12, 13 }; /* ms */

	(void)state;
	boot_warn(KERNEL(6, 12, 0), 100);
	for (int i = 0; i < 4; i++) {
		r[i] = runner(i);
		r[i].wake = world.begun + begin[i] * MS;
	}
	/* asleep to 20, 20, 30 and 30 ms; windows of 30 ms, one behind the other */
	together(r, 4);
	assert_int_equal(r[1].wake - world.begun, 20 * MS); /* the later one comes first here */
	assert_int_equal(r[0].wake - world.begun, 50 * MS);
	assert_int_equal(r[3].wake - world.begun, 80 * MS);
	assert_int_equal(r[2].wake - world.begun, 110 * MS);
	assert_int_equal(elapsed(), 110 * MS);
	for (int i = 0; i < 4; i++)
		assert_int_equal(armed(&r[i]), i != 2); /* one core at a time */
}

static void test_semaphore_given_up_in_the_queue_goes_to_the_next(void **state)
{
	static struct runner r[3];

	(void)state;
	boot_warn(KERNEL(6, 12, 0), 100);
	for (int i = 0; i < 3; i++) {
		r[i] = runner(i);
		r[i].wake = world.begun + (uint64_t)i * 10 * MS;
	}
	r[1].signal = world.begun + 45 * MS; /* in line since 30 ms */
	together(r, 3);
	assert_int_equal(r[0].wake - world.begun, 20 * MS);
	assert_int_equal(r[1].wake - world.begun, 45 * MS);
	assert_true(armed(&r[1]));
	assert_int_equal(r[2].wake - world.begun, 50 * MS);
	assert_false(armed(&r[2]));
}

static void test_semaphore_free_is_taken_even_with_a_signal_pending(void **state)
{
	struct runner r = runner(1);

	(void)state;
	boot_warn(KERNEL(6, 12, 0), 1000);
	r.signal = world.begun + 10 * MS;
	take_trap(&r, RIP);
	assert_false(armed(&r));
}

static void test_core_gone_in_its_window_gives_the_semaphore_back(void **state)
{
	struct runner a = runner(1), b = runner(2);

	(void)state;
	boot_warn(KERNEL(6, 12, 0), 100);
	take_trap(&a, RIP);
	host_core_gone(&world.host, &a.core);
	memset(&a, 0xa5, sizeof(a)); /* must not be touched */
	take_trap(&b, RIP);
	assert_int_equal(elapsed(), 50 * MS);
	assert_false(armed(&b));
	assert_int_equal(*(unsigned char *)&a.core.off, 0xa5);
}

/* ------------------------------------------------------------------ fatal, off, ratelimit */

static void test_fatal_trap_is_not_handled_and_said_once(void **state)
{
	struct shim_options options = options_of(SHIM_SPLIT_LOCK_FATAL, 250);
	struct runner a = runner(4242), b = runner(4243);

	(void)state;
	boot(&options, KERNEL(6, 12, 0));
	assert_false(take_trap(&a, RIP));
	assert_false(take_trap(&b, 0x1000));
	assert_int_equal(world.lines, 1);
	assert_line(0, "x86/split lock detection: #AC: CPU 2/KVM/4242 fatal split_lock trap at "
		       "address: 0xffffffff810238b0");
	assert_int_equal(elapsed(), 0);
	assert_true(armed(&a));
	assert_int_equal(b.tally.suppressed, 1);
}

static void test_off_and_ratelimit_never_trap_and_call_a_trap_bogus(void **state)
{
	static const enum shim_split_lock states[] = { SHIM_SPLIT_LOCK_OFF,
						       SHIM_SPLIT_LOCK_RATELIMIT };

	(void)state;
	for (size_t i = 0; i < COUNT(states); i++) {
		struct shim_options options = options_of(states[i], 250);
		struct runner r = runner(77);
		struct host_caller caller = { &ops, &r, &r.task, &r.core, { 0 } };

		boot(&options, KERNEL(6, 12, 0));
		assert_false(armed(&r));
		assert_false(host_lock_guest_trap(&world.host, &caller, 0x7c00));
		assert_line(0,
			    "x86/split lock detection: #AC: CPU 7/KVM/77 bogus split_lock trap at "
			    "address: 0x7c00");
	}
}

/* ------------------------------------------------------------------ vmx_guest_inject_ac() */

static void test_guest_wants_ac_at_cpl_3_with_am_and_ac_only(void **state)
{
	(void)state;
	for (unsigned cpl = 0; cpl < 4; cpl++)
		for (unsigned am = 0; am < 2; am++)
			for (unsigned ac = 0; ac < 2; ac++) {
				struct emu_state s = { .cr0 = 1 | (uint64_t)am << 18,
						       .rflags = 2 | (uint64_t)ac << 18 };

				s.segment[EMU_SS].attributes = (uint16_t)(0x93 | cpl << 5);
				assert_int_equal(host_lock_guest_wants_ac(&s),
						 cpl == 3 && am && ac);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boot_message_by_version_and_state_is_the_kernels),
		cmocka_unit_test(test_warn_first_trap_of_a_task_is_reported_with_the_guests_rip),
		cmocka_unit_test(test_warn_more_than_ten_lines_in_five_seconds_are_suppressed),
		cmocka_unit_test(test_warn_before_5_19_disables_for_the_task_without_sleeping),
		cmocka_unit_test(test_warn_sleep_lasts_ten_ms_in_jiffies_of_each_kernel),
		cmocka_unit_test(test_warn_window_of_two_jiffies_ends_at_the_tick_behind_them),
		cmocka_unit_test(test_warn_signal_during_the_sleep_leaves_detection_armed),
		cmocka_unit_test(test_warn_signal_in_the_last_jiffy_of_the_sleep_counts_as_slept),
		cmocka_unit_test(test_warn_signal_pending_before_sleeps_nothing),
		cmocka_unit_test(test_fix_interrupted_sleep_disables_detection_if_any_was_slept),
		cmocka_unit_test(test_mitigate_off_warns_and_disables_without_sleeping),
		cmocka_unit_test(test_mitigate_off_second_core_is_rearmed_by_its_own_work_only),
		cmocka_unit_test(test_semaphore_second_core_waits_for_the_first_ones_window),
		cmocka_unit_test(test_semaphore_signal_while_waiting_leaves_detection_armed),
		cmocka_unit_test(test_semaphore_waiters_get_it_in_the_order_they_came),
		cmocka_unit_test(test_semaphore_given_up_in_the_queue_goes_to_the_next),
		cmocka_unit_test(test_semaphore_free_is_taken_even_with_a_signal_pending),
		cmocka_unit_test(test_core_gone_in_its_window_gives_the_semaphore_back),
		cmocka_unit_test(test_fatal_trap_is_not_handled_and_said_once),
		cmocka_unit_test(test_off_and_ratelimit_never_trap_and_call_a_trap_bogus),
		cmocka_unit_test(test_guest_wants_ac_at_cpl_3_with_am_and_ac_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
