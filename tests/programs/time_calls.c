/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls of the C library that tell the time or let it pass, one case each. In virtual time every one
 * takes exactly what it says; this program prints what it took, in nanoseconds of CLOCK_MONOTONIC.
 *
 *	time_calls CASE
 */
#include "tests/programs/time_case.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------ sleeping, time-outs */

static int clocks(void)
{
	struct timeval tv;
	struct timespec ts;

	gettimeofday(&tv, NULL);
	timespec_get(&ts, TIME_UTC);
	printf("mono %lld boot %lld raw %lld coarse %lld\n", (long long)now(),
	       (long long)read_clock(CLOCK_BOOTTIME), (long long)read_clock(CLOCK_MONOTONIC_RAW),
	       (long long)read_clock(CLOCK_MONOTONIC_COARSE));
	printf("real %lld coarse %lld day %lld time %lld utc %lld\n",
	       (long long)read_clock(CLOCK_REALTIME), (long long)read_clock(CLOCK_REALTIME_COARSE),
	       (long long)tv.tv_sec, (long long)time(NULL), (long long)ts.tv_sec);
	printf("cpu %lld %lld %ld\n", (long long)read_clock(CLOCK_PROCESS_CPUTIME_ID),
	       (long long)read_clock(CLOCK_THREAD_CPUTIME_ID), (long)clock());
	printf("syscall %ld\n", syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts));
	printf("%lld.%09ld\n", (long long)ts.tv_sec, ts.tv_nsec);
	return 0;
}

static int sleeps(void)
{
	struct timespec t = spec(3 * MS), until;
	int r;

	begun = now();
	nanosleep(&t, NULL);
	lap("nanosleep");
	usleep(4567);
	lap("usleep");
	sleep(3600);
	lap("sleep");
	until = spec(now() + 7 * MS);
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	lap("clock_nanosleep");
	until = spec(read_clock(CLOCK_REALTIME) + 8 * MS);
	clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL);
	lap("realtime");
	syscall(SYS_nanosleep, &t, NULL);
	lap("syscall");
	t.tv_nsec = 1000000000;
	r = nanosleep(&t, NULL);
	printf("invalid %d %d\n", r, errno == EINVAL);
	return 0;
}

static int timeouts(void)
{
	struct timespec t = spec(2 * MS), until;
	struct timeval tv = { 0, 6000 };
	struct epoll_event event;
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t cond;
	pthread_condattr_t attributes;
	sem_t semaphore;
	sigset_t set;
	int epoll = epoll_create1(0), ends[2], r;
	struct pollfd fd;
	fd_set in;

	if (pipe(ends))
		return 1;
	fd = (struct pollfd){ .fd = ends[0], .events = POLLIN };
	FD_ZERO(&in);
	FD_SET(ends[0], &in);
	begun = now();
	r = poll(&fd, 1, 5);
	printf("%d ", r);
	lap("poll");
	r = ppoll(NULL, 0, &t, NULL);
	printf("%d ", r);
	lap("ppoll");
	r = select(ends[0] + 1, &in, NULL, NULL, &tv);
	printf("%d %ld ", r, (long)tv.tv_usec);
	lap("select");
	r = pselect(0, NULL, NULL, NULL, &t, NULL);
	printf("%d ", r);
	lap("pselect");
	r = epoll_wait(epoll, &event, 1, 9);
	printf("%d ", r);
	lap("epoll_wait");
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r = sigtimedwait(&set, NULL, &t);
	printf("%d %d ", r, errno == EAGAIN);
	lap("sigtimedwait");
	sem_init(&semaphore, 0, 0);
	until = spec(read_clock(CLOCK_REALTIME) + 11 * MS);
	r = sem_timedwait(&semaphore, &until);
	printf("%d %d ", r, errno == ETIMEDOUT);
	lap("sem_timedwait");
	pthread_cond_init(&cond, NULL);
	pthread_mutex_lock(&mutex);
	until = spec(read_clock(CLOCK_REALTIME) + 12 * MS);
	r = pthread_cond_timedwait(&cond, &mutex, &until);
	printf("%d ", r == ETIMEDOUT);
	lap("cond_timedwait");
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&cond, &attributes);
	until = spec(now() + 13 * MS);
	r = pthread_cond_timedwait(&cond, &mutex, &until);
	printf("%d ", r == ETIMEDOUT);
	lap("cond_monotonic");
	until = spec(now() + 14 * MS);
	r = pthread_cond_clockwait(&cond, &mutex, CLOCK_MONOTONIC, &until);
	printf("%d ", r == ETIMEDOUT);
	lap("cond_clockwait");
	return 0;
}

/* ------------------------------------------------------------------ timers */

static int timers(void)
{
	struct itimerspec left;
	struct timespec t = spec(10 * MS), rest;
	sigset_t set;
	timer_t timer;
	int r;

	handle(SIGUSR1, 0);
	timer = make_timer(SIGEV_SIGNAL, SIGUSR1, 77);
	begun = now();
	set_timer(timer, 4 * MS, 0);
	r = nanosleep(&t, &rest);
	printf("%d %d rest %ld count %d code %d value %d ", r, errno == EINTR, rest.tv_nsec, count,
	       last_code == SI_TIMER, last_value);
	lap("signal");
	timer_gettime(timer, &left);
	printf("off %ld\n", left.it_value.tv_nsec);

	/* a blocked one: pending once, the rest are overruns */
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	set_timer(timer, 1 * MS, 1 * MS);
	t = spec(10 * MS);
	nanosleep(&t, NULL);
	timer_gettime(timer, &left);
	printf("left %ld every %ld overrun %d ", left.it_value.tv_nsec, left.it_interval.tv_nsec,
	       timer_getoverrun(timer));
	lap("blocked");
	r = sigtimedwait(&set, NULL, &(struct timespec){ 0, 0 });
	printf("taken %d ", r == SIGUSR1);
	r = sigwaitinfo(&set, NULL);
	printf("again %d ", r == SIGUSR1);
	lap("sigwaitinfo");
	timer_delete(timer);
	printf("deleted %d\n", timer_settime(timer, 0, &left, NULL));
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);

	timer = make_timer(SIGEV_THREAD_ID, SIGUSR1, 5);
	begun = now();
	set_timer(timer, 3 * MS, 0);
	pause();
	printf("value %d ", last_value);
	lap("thread_id");
	timer_delete(timer);

	timer = make_timer(SIGEV_THREAD, 0, 9);
	begun = now();
	set_timer(timer, 2 * MS, 3 * MS);
	t = spec(9 * MS);
	nanosleep(&t, NULL);
	lap("thread");
	timer_delete(timer);
	nanosleep(&t, NULL);
	lap("deleted");

	timer = make_timer(SIGEV_NONE, 0, 0);
	set_timer(timer, 5 * MS, 0);
	t = spec(2 * MS);
	nanosleep(&t, NULL);
	timer_gettime(timer, &left);
	printf("none left %ld\n", left.it_value.tv_nsec);
	return 0;
}

static int alarms(void)
{
	struct itimerval v = { { 0, 2000 }, { 0, 5000 } }, old;
	sigset_t none;
	unsigned left;

	handle(SIGALRM, 0);
	sigemptyset(&none);
	begun = now();
	alarm(2);
	left = alarm(3);
	pause();
	printf("left %u count %d code %d ", left, count, last_code == SI_KERNEL);
	lap("alarm");
	setitimer(ITIMER_REAL, &v, NULL);
	sigsuspend(&none);
	lap("setitimer");
	sigsuspend(&none);
	getitimer(ITIMER_REAL, &old);
	printf("next %ld ", (long)old.it_value.tv_usec);
	lap("interval");
	return 0;
}

static int timerfds(void)
{
	struct itimerspec s = { spec(3 * MS), spec(2 * MS) }, left;
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), busy;
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	struct timespec t = spec(10 * MS);
	uint64_t n = 0;

	begun = now();
	timerfd_settime(fd, 0, &s, NULL);
	n = 0;
	if (read(fd, &n, sizeof(n)) != sizeof(n))
		return 1;
	printf("%d ", (int)n);
	lap("read");
	busy = poll(&ready, 1, 1);
	printf("%d ", busy);
	lap("poll");
	busy = poll(&ready, 1, 100);
	printf("%d ", busy);
	lap("poll");
	nanosleep(&t, NULL);
	if (read(fd, &n, sizeof(n)) != sizeof(n))
		return 1;
	timerfd_gettime(fd, &left);
	printf("%d left %ld ", (int)n, left.it_value.tv_nsec);
	lap("late");
	s = (struct itimerspec){ .it_value = spec(now() - 5) };
	timerfd_settime(fd, TFD_TIMER_ABSTIME, &s, NULL);
	busy = poll(&ready, 1, 100);
	printf("%d ", busy);
	lap("past");
	/* the number now is another file's: nothing may be written there */
	s = (struct itimerspec){ .it_value = spec(1 * MS) };
	timerfd_settime(fd, 0, &s, NULL);
	close(fd);
	if (eventfd(0, EFD_NONBLOCK) != fd)
		return 1;
	nanosleep(&t, NULL);
	printf("closed %d %d\n", read(fd, &n, sizeof(n)) < 0, timerfd_gettime(fd, &left));
	return 0;
}

/* ------------------------------------------------------------------ threads */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;
static int turn;

static void *worker(void *argument)
{
	int number = (int)(intptr_t)argument;

	for (int i = 0; i < 3; i++) {
		struct timespec t = spec((number + 1) * MS);

		nanosleep(&t, NULL);
		pthread_mutex_lock(&mutex);
		printf("worker %d at %lld\n", number, (long long)(now() - begun));
		nanosleep(&t, NULL); /* with the lock */
		turn++;
		pthread_cond_signal(&cond);
		pthread_mutex_unlock(&mutex);
	}
	sem_post(&semaphore);
	return argument;
}

static int threads(void)
{
	pthread_t thread[3];
	void *value;

	sem_init(&semaphore, 0, 0);
	begun = now();
	for (intptr_t i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, worker, (void *)i);
	pthread_mutex_lock(&mutex);
	while (turn < 9)
		pthread_cond_wait(&cond, &mutex);
	pthread_mutex_unlock(&mutex);
	for (int i = 0; i < 3; i++)
		sem_wait(&semaphore);
	for (int i = 0; i < 3; i++) {
		pthread_join(thread[i], &value);
		printf("joined %d ", (int)(intptr_t)value);
	}
	lap("threads");
	return 0;
}

static void *kicker(void *argument)
{
	struct timespec t = spec(6 * MS);

	nanosleep(&t, NULL);
	pthread_kill(*(pthread_t *)argument, SIGUSR1);
	return NULL;
}

static int kicks(void)
{
	struct timespec t = spec(60 * MS), rest = { 0, 0 };
	pthread_t self = pthread_self(), thread;
	sigset_t set, none;
	int r;

	handle(SIGUSR1, 0);
	begun = now();
	pthread_create(&thread, NULL, kicker, &self);
	r = nanosleep(&t, &rest);
	printf("%d %d count %d rest %ld ", r, errno == EINTR, count, rest.tv_nsec);
	lap("nanosleep");
	pthread_join(thread, NULL);
	/* a mask for the time of the call */
	sigemptyset(&none);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_create(&thread, NULL, kicker, &self);
	r = nanosleep(&t, NULL);
	printf("%d count %d ", r, count);
	lap("blocked");
	r = ppoll(NULL, 0, &t, &none);
	printf("%d %d count %d ", r, errno == EINTR, count);
	lap("ppoll");
	pthread_join(thread, NULL);
	return 0;
}

static void *takes_over(void *unused)
{
	struct timespec t = spec(1 * MS);

	(void)unused;
	nanosleep(&t, NULL);
	pthread_mutex_lock(&mutex); /* is taken; its owner goes to wait with it */
	lap("handed over");
	turn = 1;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static int handover(void)
{
	struct timespec t = spec(3 * MS);
	pthread_t thread;

	begun = now();
	pthread_mutex_lock(&mutex);
	pthread_create(&thread, NULL, takes_over, NULL);
	nanosleep(&t, NULL);
	while (!turn)
		pthread_cond_wait(&cond, &mutex);
	pthread_mutex_unlock(&mutex);
	pthread_join(thread, NULL);
	lap("back");
	return 0;
}

static void unlock(void *argument)
{
	printf("unlock %d ", pthread_mutex_unlock(argument));
}

static void *wait_for_ever(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&mutex);
	pthread_cleanup_push(unlock, &mutex);
	for (;;)
		pthread_cond_wait(&cond, &mutex);
	pthread_cleanup_pop(1);
	return NULL;
}

static void *sleep_for_ever(void *unused)
{
	(void)unused;
	for (;;)
		sleep(1000);
	return NULL;
}

static int cancels(void)
{
	void *(*const start[])(void *) = { wait_for_ever, sleep_for_ever };
	struct timespec t = spec(5 * MS);
	pthread_t thread;
	void *value;

	begun = now();
	for (int i = 0; i < 2; i++) {
		pthread_create(&thread, NULL, start[i], NULL);
		nanosleep(&t, NULL);
		pthread_cancel(thread);
		pthread_join(thread, &value);
		printf("%d ", value == PTHREAD_CANCELED);
		lap("cancelled");
	}
	printf("free %d\n", pthread_mutex_trylock(&mutex));
	return 0;
}

static int wake_fd[2];
static volatile int flag;

static void *waker(void *unused)
{
	struct timespec t = spec(4 * MS);

	(void)unused;
	nanosleep(&t, NULL);
	if (write(wake_fd[1], "x", 1) != 1)
		exit(1);
	nanosleep(&t, NULL);
	flag = 1;
	syscall(SYS_futex, &flag, 1 /* FUTEX_WAKE */, 1);
	nanosleep(&t, NULL);
	flag = 2;
	return NULL;
}

/* What one thread does another one waits for. */
static int wakes(void)
{
	struct pollfd fd;
	pthread_t thread;
	int r;

	if (pipe(wake_fd))
		return 1;
	fd = (struct pollfd){ .fd = wake_fd[0], .events = POLLIN };
	begun = now();
	pthread_create(&thread, NULL, waker, NULL);
	r = poll(&fd, 1, -1);
	printf("%d ", r);
	lap("poll");
	r = (int)syscall(SYS_futex, &flag, 0 /* FUTEX_WAIT */, 0, NULL);
	printf("%d flag %d ", r, flag);
	lap("futex");
	while (flag != 2) /* by looking at the clock only */
		now();
	printf("%d ", now() - begun >= 4 * MS && now() - begun < 5 * MS);
	begun = now();
	lap("spin");
	pthread_join(thread, NULL);
	return 0;
}

/* A thread where nobody sees it. */
static int blocked(void)
{
	struct timespec t = spec(5 * MS);
	pthread_t thread;

	if (pipe(wake_fd))
		return 1;
	begun = now();
	pthread_create(&thread, NULL, reader, &wake_fd[0]);
	nanosleep(&t, NULL);
	lap("slept");
	if (write(wake_fd[1], "x", 1) != 1)
		return 1;
	pthread_join(thread, NULL);
	return 0;
}

static int forks(void)
{
	struct timespec t = spec(5 * MS);
	pid_t pid;

	begun = now();
	fflush(stdout);
	pid = fork();
	if (!pid) {
		nanosleep(&t, NULL);
		lap("child");
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	sleep(1);
	lap("parent");
	return 0;
}

static const struct time_case cases[] = {
	{ "clocks", clocks },     { "sleeps", sleeps }, { "timeouts", timeouts },
	{ "timers", timers },     { "alarms", alarms }, { "timerfds", timerfds },
	{ "threads", threads },   { "kicks", kicks },   { "cancels", cancels },
	{ "handover", handover }, { "wakes", wakes },   { "blocked", blocked },
	{ "forks", forks },
};

int main(int argc, char **argv)
{
	return run_case(cases, sizeof(cases) / sizeof(*cases), argc, argv);
}
