/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls of the C library that tell the time or let it pass, one case each. In virtual time every one
 * takes exactly what it says; this program prints what it took, in nanoseconds of CLOCK_MONOTONIC.
 *
 *	time_calls CASE
 */
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
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ll

static int64_t read_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000 * MS + t.tv_nsec;
}

static int64_t now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

static struct timespec spec(int64_t ns)
{
	return (struct timespec){ ns / (1000 * MS), ns % (1000 * MS) };
}

static int64_t begun;

static void lap(const char *name)
{
	int64_t t = now();

	printf("%s %lld\n", name, (long long)(t - begun));
	begun = now();
}

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

static volatile int count, last_code, last_value;

static void on_signal(int signal, siginfo_t *info, void *unused)
{
	(void)signal, (void)unused;
	count++;
	last_code = info->si_code;
	last_value = info->si_value.sival_int;
}

static void handle(int signal, int flags)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags };

	sigaction(signal, &action, NULL);
}

static void on_thread(union sigval value)
{
	printf("thread %d at %lld\n", value.sival_int, (long long)(now() - begun));
}

static timer_t make_timer(int notify, int signal, int value)
{
	struct sigevent event = { .sigev_notify = notify,
				  .sigev_signo = signal,
				  .sigev_value.sival_int = value };
	timer_t timer;

	if (notify == SIGEV_THREAD)
		event.sigev_notify_function = on_thread;
	if (notify == SIGEV_THREAD_ID)
		event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer)) {
		printf("timer_create: %s\n", strerror(errno));
		exit(1);
	}
	return timer;
}

static void set_timer(timer_t timer, int64_t value, int64_t interval)
{
	struct itimerspec s = { spec(interval), spec(value) };

	timer_settime(timer, 0, &s, NULL);
}

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

static void *reader(void *argument)
{
	char byte;

	if (read(*(int *)argument, &byte, 1) != 1)
		exit(1);
	return NULL;
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

/* ------------------------------------------------------------------ the edges of the calls */

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
	pthread_t thread;
	uint64_t n;

	begun = now();
	for (int i = 0; i < 2; i++) {
		int word = 0;
		long r;

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
	printf("%ld ", syscall(SYS_futex, &turn, 0 /* FUTEX_WAIT */, 0, &long_time));
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

static const struct {
	const char *name;
	int (*run)(void);
} cases[] = {
	{ "clocks", clocks },     { "sleeps", sleeps },
	{ "timeouts", timeouts }, { "timers", timers },
	{ "alarms", alarms },     { "timerfds", timerfds },
	{ "threads", threads },   { "kicks", kicks },
	{ "cancels", cancels },   { "handover", handover },
	{ "wakes", wakes },       { "blocked", blocked },
	{ "forks", forks },       { "selects", selects },
	{ "retimers", retimers }, { "cancelstate", cancelstate },
	{ "copies", copies },     { "restarts", restarts },
	{ "far", far },           { "sleep_left", sleep_left },
	{ "leaves", leaves },     { "fits", fits },
	{ "too_much", too_much }, { "too_many", too_many },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc == 2 && i < sizeof(cases) / sizeof(*cases); i++) {
		if (!strcmp(argv[1], cases[i].name))
			return cases[i].run();
	}
	fprintf(stderr, "usage: time_calls CASE\n");
	return 2;
}
