// SPDX-License-Identifier: GPL-2.0-only
/* The writer's side of the report: what is counted, and that nothing is lost between threads. */
#include "traces/report_totals.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define EXIT_IO       2
#define EXIT_BUS_LOCK 33

struct fixture {
	struct report *report;
	int fd;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f || report_create(&f->report, &f->fd, false))
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	report_detach(f->report);
	close(f->fd);
	free(f);
	return 0;
}

static struct report_lock lock_at(uint64_t rip, uint64_t linear)
{
	struct report_lock lock = {
		.rip = rip,
		.linear_rip = rip,
		.linear = linear,
		.gpa = linear,
		.size = 4,
		.cause = REPORT_SPLIT,
		.mode = 64,
		.insn_length = 3,
		.insn = { 0xf0, 0xff, 0x07 }, /* lock inc dword [rdi] */
	};

	return lock;
}

static struct report_totals totals_of(const struct report *report)
{
	struct report_totals totals;

	assert_int_equal(report_totals(&totals, report), 0);
	return totals;
}

static void test_report_create_is_close_on_exec_unless_inheritable(void **state)
{
	struct fixture *f = *state;
	struct report *report;
	int fd;

	assert_int_equal(fcntl(f->fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(report_create(&report, &fd, true), 0);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	report_detach(report);
	close(fd);
}

static void test_report_attach_to_another_file_is_einval(void **state)
{
	struct report *report;
	int fd = memfd_create("other", MFD_CLOEXEC), ends[2];

	(void)state;
	assert_int_equal(report_attach(&report, fd),
			 -EINVAL); /* empty: mapping it would be fatal */
	assert_int_equal(ftruncate(fd, sizeof(*report)), 0);
	assert_int_equal(report_attach(&report, fd), -EINVAL); /* right size, no magic */
	close(fd);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(report_attach(&report, ends[0]), -EINVAL);
	assert_int_equal(report_attach(&report, -1), -EBADF);
	close(ends[0]);
	close(ends[1]);
}

static void test_report_writer_killed_counts_survive(void **state)
{
	struct fixture *f = *state;
	struct report_lock lock = lock_at(0x1000, 0x203e);
	struct report_totals t;
	int status;
	pid_t child = fork();

	if (!child) {
		struct report *report;

		if (report_attach(&report, f->fd))
			_exit(1);
		report_note_lock(report, 0, &lock);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	t = totals_of(f->report);
	assert_int_equal(t.all.split, 1);
	assert_int_equal(t.places, 1);
	report_totals_free(&t);
}

static void test_report_null_report_is_ignored(void **state)
{
	struct report_lock lock = lock_at(0, 0);

	(void)state;
	report_note_lock(NULL, 0, &lock);
	report_note_counts(NULL, 0, 1, 1);
	assert_int_equal(report_note_run(NULL, 0), 0);
	report_note_return(NULL, 0, 0, 0, 0, true);
}

static void test_report_returns_are_told_apart(void **state)
{
	struct fixture *f = *state;
	struct report_totals t;

	report_note_return(f->report, 0, report_note_run(f->report, 0), 0, EXIT_IO, false);
	report_note_return(f->report, 0, report_note_run(f->report, 0), 0, EXIT_BUS_LOCK, true);
	report_note_return(f->report, 0, report_note_run(f->report, 0), 0, EXIT_IO, true);
	report_note_return(f->report, 0, report_note_run(f->report, 0), -EINTR, EXIT_BUS_LOCK,
			   false);
	report_note_return(f->report, 0, report_note_run(f->report, 0), -EFAULT, EXIT_IO, false);
	report_note_return(f->report, 0, report_note_run(f->report, 0), 0, 4000, false);
	t = totals_of(f->report);
	assert_int_equal(t.all.runs, 6);
	assert_int_equal(t.all.exits[EXIT_IO], 2);
	assert_int_equal(t.all.exits[EXIT_BUS_LOCK], 1);
	assert_int_equal(t.all.exits[REPORT_REASONS - 1], 1);
	assert_int_equal(t.all.interrupted, 1);
	assert_int_equal(t.all.errors, 1);
	assert_int_equal(t.all.flags, 2);
	report_totals_free(&t);
}

static void test_report_causes_of_one_lock_each_count(void **state)
{
	struct fixture *f = *state;
	struct report_lock lock = lock_at(0x1000, 0x203e);
	struct report_totals t;

	report_note_lock(f->report, 2, &lock);
	lock.cause = REPORT_NON_WB | REPORT_STUFFED;
	report_note_lock(f->report, 2, &lock);
	t = totals_of(f->report);
	assert_int_equal(t.all.bus_locks, 2);
	assert_int_equal(t.all.split, 1);
	assert_int_equal(t.all.non_wb, 1);
	assert_int_equal(t.all.stuffed, 1);
	assert_int_equal(t.vcpu[2].bus_locks, 2);
	assert_int_equal(t.rows, 3);
	assert_int_equal(t.place[0].cause, REPORT_SPLIT | REPORT_NON_WB | REPORT_STUFFED);
	report_totals_free(&t);
}

static void test_report_vcpus_beyond_the_last_row_share_it(void **state)
{
	struct fixture *f = *state;
	struct report_totals t;

	report_note_counts(f->report, REPORT_VCPUS - 1, 3, 30);
	report_note_counts(f->report, REPORT_VCPUS, 4, 40);
	report_note_counts(f->report, 1000000, 5, 50);
	t = totals_of(f->report);
	assert_int_equal(t.vcpu[REPORT_VCPUS - 1].locked, 12);
	assert_int_equal(t.all.instructions, 120);
	report_totals_free(&t);
}

static void test_report_site_is_rip_and_bytes(void **state)
{
	struct fixture *f = *state;
	struct report_lock lock = lock_at(0x1000, 0x20fe), other = lock;
	struct report_totals t;

	report_note_lock(f->report, 0, &lock);
	lock.linear = 0x103e;
	report_note_lock(f->report, 0, &lock);
	lock.linear = 0x303e;
	report_note_lock(f->report, 1, &lock);
	/* other bytes at the same place: self-modified code */
	other.insn[1] = 0xfe;
	report_note_lock(f->report, 0, &other);
	/* the same bytes elsewhere */
	other = lock_at(0x1010, 0x20fe);
	report_note_lock(f->report, 0, &other);
	t = totals_of(f->report);
	assert_int_equal(t.places, 3);
	assert_int_equal(t.place[0].count, 3);
	assert_int_equal(t.place[0].linear_min, 0x103e);
	assert_int_equal(t.place[0].linear_max, 0x303e);
	assert_int_equal(t.place[0].first.linear, 0x20fe);
	report_totals_free(&t);
}

static void test_report_more_sites_than_slots_are_counted_as_lost(void **state)
{
	struct fixture *f = *state;
	struct report_totals t;
	uint64_t sum = 0;

	for (unsigned i = 0; i < REPORT_SITES; i++) {
		struct report_lock lock = lock_at(0x1000 + 3 * i, 0x203e);

		report_note_lock(f->report, 0, &lock);
	}
	t = totals_of(f->report);
	assert_int_equal(t.places, REPORT_SITES); /* every slot can be used */
	assert_int_equal(f->report->sites_lost, 0);
	report_totals_free(&t);
	for (unsigned i = 0; i < 1000; i++) {
		struct report_lock lock = lock_at(0x100000 + 3 * i, 0x203e);

		report_note_lock(f->report, 0, &lock);
	}
	t = totals_of(f->report);
	for (size_t i = 0; i < t.places; i++)
		sum += t.place[i].count;
	assert_int_equal(f->report->sites_lost, 1000);
	assert_int_equal(sum + f->report->sites_lost, t.all.bus_locks);
	report_totals_free(&t);
}

static void test_report_site_of_a_place_that_changes_its_bytes_has_all_of_them(void **state)
{
	struct fixture *f = *state;
	struct report_totals t;

	/* So many that every probe passes other sites of the same address. */
	for (unsigned i = 0; i < REPORT_SITES; i++) {
		struct report_lock lock = lock_at(0x1000, 0x203e);

		lock.insn[1] = (uint8_t)i;
		lock.insn[2] = (uint8_t)(i >> 8);
		report_note_lock(f->report, 0, &lock);
	}
	t = totals_of(f->report);
	assert_int_equal(t.places, REPORT_SITES);
	report_totals_free(&t);
}

#define THREADS  4
#define PER_SITE 20000
#define SITES    50
#define ROUNDS   20
#define GROUPS   100

static pthread_barrier_t barrier;

static void *note_many(void *argument)
{
	struct report *report = argument;

	pthread_barrier_wait(&barrier);
	for (unsigned n = 0; n < PER_SITE; n++)
		for (unsigned i = 0; i < SITES; i++) {
			struct report_lock lock = lock_at(0x1000 + i, 0x203e + n);

			report_note_lock(report, i % 3, &lock);
		}
	return NULL;
}

/* THREADS keys that want the same slot, for each of GROUPS slots. */
static uint64_t group[GROUPS][THREADS];
static _Atomic unsigned arrived;

static void *note_new(void *argument)
{
	struct report *report = argument;
	static _Atomic unsigned next;
	unsigned self = next++ % THREADS;

	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < GROUPS; i++) {
		struct report_lock lock = lock_at(group[i][self], 0x203e);

		/* all at once */
		arrived++;
		while (arrived < (i + 1) * THREADS)
			sched_yield();
		report_note_lock(report, 0, &lock);
	}
	return NULL;
}

static unsigned home_of(struct report *report, uint64_t rip)
{
	struct report_lock lock = lock_at(rip, 0x203e);

	report_note_lock(report, 0, &lock);
	for (unsigned i = 0; i < REPORT_SITES; i++) {
		if (!report->site[i].state)
			continue;
		memset(&report->site[i], 0, sizeof(report->site[i]));
		return i;
	}
	fail_msg("nothing was noted");
	return 0;
}

static void find_groups(struct report *report)
{
	static uint64_t waiting[REPORT_SITES][THREADS];
	static unsigned count[REPORT_SITES];
	unsigned groups = 0;

	for (uint64_t rip = 0x1000; groups < GROUPS; rip += 3) {
		unsigned home = home_of(report, rip);

		/* slots well apart, so that no group runs into another one */
		if (home % (2 * THREADS) || count[home] == THREADS)
			continue;
		waiting[home][count[home]++] = rip;
		if (count[home] == THREADS)
			memcpy(group[groups++], waiting[home], sizeof(waiting[home]));
	}
}

static void run_threads(void *(*function)(void *), struct report *report)
{
	pthread_t thread[THREADS];

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, function, report), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&barrier);
}

static void test_report_threads_at_the_same_sites_lose_nothing(void **state)
{
	struct fixture *f = *state;
	struct report_totals t;

	run_threads(note_many, f->report);
	t = totals_of(f->report);
	assert_int_equal(t.all.bus_locks, THREADS * PER_SITE * SITES);
	assert_int_equal(t.places, SITES);
	for (size_t i = 0; i < t.places; i++) {
		assert_int_equal(t.place[i].count, THREADS * PER_SITE);
		assert_int_equal(t.place[i].linear_min, 0x203e);
		assert_int_equal(t.place[i].linear_max, 0x203e + PER_SITE - 1);
	}
	report_totals_free(&t);
}

static void test_report_threads_that_meet_at_a_free_slot_get_one_each(void **state)
{
	struct fixture *f = *state;

	find_groups(f->report);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct report_totals t;

		memset(f->report->site, 0, sizeof(f->report->site));
		arrived = 0;
		run_threads(note_new, f->report);
		t = totals_of(f->report);
		assert_int_equal(t.places, GROUPS * THREADS);
		for (size_t i = 0; i < t.places; i++)
			assert_int_equal(t.place[i].count, 1);
		report_totals_free(&t);
	}
}

static void test_report_slot_of_a_dead_writer_is_passed_by(void **state)
{
	struct fixture *f = *state;
	struct report_lock lock = lock_at(0x1000, 0x203e);
	struct report_totals t;
	unsigned home = 0;

	report_note_lock(f->report, 0, &lock);
	while (f->report->site[home].state != 2)
		home++;
	/* as if its writer had been killed in the middle; the same key goes on in another slot */
	f->report->site[home].state = 1;
	report_note_lock(f->report, 0, &lock);
	report_note_lock(f->report, 0, &lock);
	t = totals_of(f->report);
	assert_int_equal(t.places, 1);
	assert_int_equal(t.place[0].count, 2);
	report_totals_free(&t);
	/* and if it was only slow, both slots are one site */
	f->report->site[home].state = 2;
	t = totals_of(f->report);
	assert_int_equal(t.places, 1);
	assert_int_equal(t.place[0].count, 3);
	report_totals_free(&t);
}

static void wait_ms(long ms)
{
	struct timespec t = { .tv_nsec = ms * 1000000 };

	nanosleep(&t, NULL);
}

static void test_report_throttled_is_the_time_behind_a_bus_lock_only(void **state)
{
	struct fixture *f = *state;
	struct report_totals t;
	uint64_t begun = report_note_run(f->report, 0), before, after;

	wait_ms(20); /* in the guest */
	report_note_return(f->report, 0, begun, 0, EXIT_IO, false);
	wait_ms(40); /* in the monitor, for another reason */
	begun = report_note_run(f->report, 0);
	before = report_now();
	report_note_return(f->report, 0, begun, 0, EXIT_BUS_LOCK, true);
	wait_ms(30);
	report_note_run(f->report, 0);
	after = report_now();
	t = totals_of(f->report);
	assert_in_range(t.all.run_ns, 20000000, after - f->report->start_ns);
	/* however late this thread was woken: no more than the time between */
	assert_in_range(t.all.throttled_ns, 30000000, after - before);
	assert_in_range(t.all.resumed_ns, t.all.last_lock_ns + 30000000, after);
	report_totals_free(&t);
}

static void test_report_vcpu_that_never_ran_again_is_throttled_until_now(void **state)
{
	struct fixture *f = *state;
	struct report_totals t;
	uint64_t before = report_now(), after;

	report_note_return(f->report, 0, report_note_run(f->report, 0), 0, EXIT_BUS_LOCK, true);
	wait_ms(30);
	t = totals_of(f->report);
	after = report_now();
	assert_in_range(t.all.throttled_ns, 30000000, after - before);
	assert_in_range(t.wall_ns, 30000000, after - before);
	report_totals_free(&t);
}

/* Row with `n` bus-lock returns from second 100 on, the guest running again at `end`. */
static struct report_row row_of(uint64_t n, double last, double end)
{
	struct report_row row = {
		.flags = n,
		.first_lock_ns = 100000000000,
		.last_lock_ns = 100000000000 + (uint64_t)(last * 1e9),
		.resumed_ns = 100000000000 + (uint64_t)(end * 1e9),
	};

	return row;
}

static bool near(double a, double b)
{
	return a > b - 1e-6 && a < b + 1e-6;
}

static void test_report_rate_is_the_limit_whether_sleeps_lie_before_or_behind(void **state)
{
	struct report_row none = { 0 }, row;

	(void)state;
	assert_true(near(report_rate(&none), 0));
	/* QEMU's limit at 10: the tenth of each second sleeps to its end. */
	row = row_of(100, 9.0, 10.0);
	assert_true(near(report_rate(&row), 10));
	/* evenly spaced, no sleep behind the last one */
	row = row_of(21, 2.0, 2.0);
	assert_true(near(report_rate(&row), 10));
	row = row_of(11, 1.0, 1.0);
	assert_true(near(report_rate(&row), 10));
	/* within a second it is their number */
	row = row_of(11, 0.99, 0.99);
	assert_true(near(report_rate(&row), 11));
	row = row_of(20, 0.001, 1.0);
	assert_true(near(report_rate(&row), 20));
	/* 1000 at once */
	row = row_of(1000, 0.001, 0.001);
	assert_true(near(report_rate(&row), 1000));
	/* killed before it ran again */
	row = row_of(30, 3.0, 2.9);
	assert_true(near(report_rate(&row), 29 / 3.0));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_report_create_is_close_on_exec_unless_inheritable),
		TEST(test_report_attach_to_another_file_is_einval),
		TEST(test_report_writer_killed_counts_survive),
		TEST(test_report_null_report_is_ignored),
		TEST(test_report_returns_are_told_apart),
		TEST(test_report_causes_of_one_lock_each_count),
		TEST(test_report_vcpus_beyond_the_last_row_share_it),
		TEST(test_report_site_is_rip_and_bytes),
		TEST(test_report_site_of_a_place_that_changes_its_bytes_has_all_of_them),
		TEST(test_report_more_sites_than_slots_are_counted_as_lost),
		TEST(test_report_threads_at_the_same_sites_lose_nothing),
		TEST(test_report_threads_that_meet_at_a_free_slot_get_one_each),
		TEST(test_report_slot_of_a_dead_writer_is_passed_by),
		TEST(test_report_throttled_is_the_time_behind_a_bus_lock_only),
		TEST(test_report_vcpu_that_never_ran_again_is_throttled_until_now),
		TEST(test_report_rate_is_the_limit_whether_sleeps_lie_before_or_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
