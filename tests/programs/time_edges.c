/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The edges of calls that take time, one case each, as time_calls.c: what errors, interruptions, copies
 * and ends leave. Most print natively what they print in virtual time, but for the exact times.
 *
 *	time_edges CASE
 */
#include "tests/programs/time_case.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <threads.h>

static void interrupt_after(int64_t ns)
{
	const struct itimerval v = { .it_value = { ns / (1000 * MS), ns % (1000 * MS) / 1000 } };

	setitimer(ITIMER_REAL, &v, NULL);
}

static int selects(void)
{
	struct timeval tv = { 0, 4000 };
	const struct timespec none = { 0, 0 };
	sigset_t set, empty;
	int ends[2], open_ends[2], r;
	fd_set fds;

	if (pipe(ends) || pipe(open_ends))
		return 1;
	close(ends[1]); /* poll() says POLLHUP from now on, which is no exception to select() */
	handle(SIGALRM, 0);
	FD_ZERO(&fds);
	FD_SET(ends[0], &fds);
	begun = now();
	r = select(ends[0] + 1, NULL, NULL, &fds, &tv);
	printf("%d set %d ", r, FD_ISSET(ends[0], &fds) != 0);
	lap("except");
	FD_SET(ends[0], &fds);
	r = select(ends[0] + 1, &fds, NULL, NULL, NULL);
	printf("%d set %d ", r, FD_ISSET(ends[0], &fds) != 0);
	lap("hung up");
	FD_ZERO(&fds);
	FD_SET(open_ends[0], &fds);
	interrupt_after(1 * MS);
	r = select(open_ends[0] + 1, &fds, NULL, NULL, NULL);
	printf("%d %d set %d ", r, errno == EINTR, FD_ISSET(open_ends[0], &fds) != 0);
	lap("interrupted");

	/* a signal that only the call's mask lets through, and no time to wait for it */
	sigemptyset(&empty);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r = pselect(0, NULL, NULL, NULL, &none, &empty);
	printf("%d ", r);
	raise(SIGALRM);
	r = pselect(0, NULL, NULL, NULL, &none, &set);
	printf("%d ", r);
	r = pselect(0, NULL, NULL, NULL, &none, &empty);
	printf("%d %d count %d ", r, errno == EINTR, count);
	raise(SIGALRM);
	r = ppoll(NULL, 0, &none, &empty);
	printf("%d %d count %d\n", r, errno == EINTR, count);
	return 0;
}

/* Timers are deleted and made again: the old ones' threads end. */
static int retimers(void)
{
	struct timespec t = spec(1 * MS);
	timer_t timer = make_timer(SIGEV_THREAD, 0, 0);
	char path[64];
	int there = 0;

	begun = now();
	for (int i = 1; i <= 60; i++) {
		timer_delete(timer);
		timer = make_timer(SIGEV_THREAD, 0, i);
		nanosleep(&t, NULL);
	}
	lap("slept");
	for (int tid = getpid(); tid < getpid() + 1000; tid++) {
		snprintf(path, sizeof(path), "/proc/self/task/%d", tid);
		there += !access(path, F_OK);
	}
	printf("few %d\n", there < 10);
	set_timer(timer, 1 * MS, 0);
	t = spec(2 * MS);
	nanosleep(&t, NULL);
	return 0;
}

static void *cannot_be_cancelled(void *unused)
{
	struct timespec t = spec(20 * MS);
	int r;

	(void)unused;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	r = nanosleep(&t, NULL);
	printf("%d ", r);
	lap("disabled");
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	nanosleep(&t, NULL);
	lap("not cancelled");
	return NULL;
}

static int cancelstate(void)
{
	struct timespec t = spec(5 * MS);
	pthread_t thread;
	void *value;

	begun = now();
	pthread_create(&thread, NULL, cannot_be_cancelled, NULL);
	nanosleep(&t, NULL);
	pthread_cancel(thread);
	pthread_join(thread, &value);
	printf("%d ", value == PTHREAD_CANCELED);
	lap("cancelled");
	return 0;
}

/* What a copy of a timerfd, and a call that does not close it, mean. */
static int copies(void)
{
	struct itimerspec s = { .it_value = spec(5 * MS) }, left;
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), copy, next, before, r;
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	uint64_t n;

	begun = now();
	timerfd_settime(fd, 0, &s, NULL);
	r = dup2(9999, fd);
	printf("%d ", r);
	r = dup3(fd, fd, 0);
	printf("%d ", r);
	r = (int)close_range((unsigned)fd, (unsigned)fd, 1 << 20);
	printf("%d ", r);
	r = poll(&ready, 1, 100);
	printf("%d ", r);
	lap("still there");
	copy = dup(fd);
	timerfd_settime(copy, 0, &s, NULL);
	r = timerfd_gettime(fd, &left);
	printf("%d left %ld ", r, left.it_value.tv_nsec);
	close(fd);
	ready.fd = copy;
	r = poll(&ready, 1, 100);
	printf("%d ", r);
	lap("copy");
	if (read(copy, &n, sizeof(n)) != sizeof(n))
		return 1;
	next = eventfd(0, EFD_NONBLOCK); /* the same inode, and no timer */
	r = timerfd_gettime(next, &left);
	printf("other %d %d ", r, errno == EINVAL);
	timerfd_settime(copy, 0, &s, NULL);
	r = dup2(next, copy); /* the last number */
	before = timerfd_gettime(copy, &left);
	r = poll(&ready, 1, 100);
	printf("%d %d ", before, r);
	lap("gone");
	return 0;
}

static void *wakes_later(void *word)
{
	struct timespec t = spec(5 * MS);

	nanosleep(&t, NULL);
	*(volatile int *)word = 1;
	syscall(SYS_futex, word, 1 /* FUTEX_WAKE */, 1);
	return NULL;
}

static int restarts(void)
{
	static const int flags[] = { SA_RESTART, 0 };
	struct itimerspec s = { .it_value = spec(5 * MS) };
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	struct timespec long_time = spec(100 * MS);
	int word = 0;
	pthread_t thread;
	uint64_t n;

	begun = now();
	for (int i = 0; i < 2; i++) {
		long r;

		word = 0;
		handle(SIGALRM, flags[i]);
		timerfd_settime(fd, 0, &s, NULL);
		interrupt_after(2 * MS);
		r = read(fd, &n, sizeof(n));
		printf("%ld ", r);
		lap("read");
		pthread_create(&thread, NULL, wakes_later, &word);
		interrupt_after(2 * MS);
		r = syscall(SYS_futex, &word, 0 /* FUTEX_WAIT */, 0, NULL);
		printf("%ld ", r);
		lap("futex");
		pthread_join(thread, NULL);
		begun = now();
	}
	handle(SIGALRM, SA_RESTART);
	interrupt_after(2 * MS);
	word = 0;
	printf("%ld ", syscall(SYS_futex, &word, 0 /* FUTEX_WAIT */, 0, &long_time));
	lap("with a time-out");
	return 0;
}

/* Longer than 64 bits of nanoseconds. */
static int far(void)
{
	const struct itimerspec s = { { 18446744074, 0 }, { 0, 1 * MS } };
	struct timespec t = { 18446744074, 0 }, nearer = { 10000000000, 0 };
	struct timeval tv = { 18446744074, 0 };
	timer_t timer;
	int r;

	handle(SIGALRM, 0);
	handle(SIGUSR1, 0);
	begun = now();
	interrupt_after(2000 * MS);
	r = nanosleep(&t, NULL);
	printf("%d ", r);
	lap("nanosleep");
	interrupt_after(2000 * MS);
	r = nanosleep(&nearer, NULL);
	printf("%d ", r);
	lap("nanosleep");
	interrupt_after(2000 * MS);
	r = select(0, NULL, NULL, NULL, &tv);
	printf("%d ", r);
	lap("select");
	timer = make_timer(SIGEV_SIGNAL, SIGUSR1, 0);
	timer_settime(timer, 0, &s, NULL);
	t = spec(10 * MS);
	nanosleep(&t, NULL);
	nanosleep(&t, NULL);
	printf("count %d ", count);
	lap("interval");
	return 0;
}

static int sleep_left(void)
{
	handle(SIGALRM, 0);
	interrupt_after(100 * MS);
	printf("%u ", sleep(1));
	interrupt_after(200 * MS);
	printf("%u\n", sleep(3));
	return 0;
}

static int other_thread(void *unused)
{
	struct timespec t = spec(1 * MS);

	(void)unused;
	nanosleep(&t, NULL);
	return 5;
}

static void *outlives(void *unused)
{
	struct timespec t = spec(1000 * MS);
	thrd_t thread;
	int r;

	(void)unused;
	nanosleep(&t, NULL);
	lap("without main");
	thrd_create(&thread, other_thread, NULL);
	thrd_join(thread, &r);
	nanosleep(&t, NULL);
	printf("%d\n", r);
	return NULL;
}

/* Threads that end where nobody is told. */
static int leaves(void)
{
	pthread_t thread;

	begun = now();
	pthread_create(&thread, NULL, outlives, NULL);
	pthread_exit(NULL);
}

ssize_t __read_chk(int fd, void *data, size_t size, size_t room);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);

static int fits(void)
{
	struct pollfd fd[2] = { { .fd = -1 }, { .fd = -1 } };
	char data[4];

	printf("%d ", __poll_chk(fd, 2, 0, sizeof(fd)));
	printf("%d\n", (int)__read_chk(open("/dev/zero", O_RDONLY), data, 4, sizeof(data)));
	return 0;
}

static int too_much(void)
{
	char data[4];

	return (int)__read_chk(open("/dev/zero", O_RDONLY), data, 4, 3);
}

static int too_many(void)
{
	struct pollfd fd[2] = { { .fd = -1 }, { .fd = -1 } };

	return __poll_chk(fd, 2, 0, sizeof(fd) - 1);
}

static const struct time_case cases[] = {
	{ "selects", selects },       { "retimers", retimers }, { "cancelstate", cancelstate },
	{ "copies", copies },         { "restarts", restarts }, { "far", far },
	{ "sleep_left", sleep_left }, { "leaves", leaves },     { "fits", fits },
	{ "too_much", too_much },     { "too_many", too_many },
};

int main(int argc, char **argv)
{
	return run_case(cases, sizeof(cases) / sizeof(*cases), argc, argv);
}
