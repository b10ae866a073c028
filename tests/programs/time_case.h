/* SPDX-License-Identifier: GPL-2.0-only */
/* What the programs of calls that take time (time_*.c) have in common. */
#ifndef BUSLOCK_TESTS_TIME_CASE_H
#define BUSLOCK_TESTS_TIME_CASE_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ll

static inline int64_t read_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000 * MS + t.tv_nsec;
}

static inline int64_t now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

static inline struct timespec spec(int64_t ns)
{
	return (struct timespec){ ns / (1000 * MS), ns % (1000 * MS) };
}

static int64_t begun;

static inline void lap(const char *name)
{
	int64_t t = now();

	printf("%s %lld\n", name, (long long)(t - begun));
	begun = now();
}

static volatile int count, last_code, last_value;

static inline void on_signal(int signal, siginfo_t *info, void *unused)
{
	(void)signal, (void)unused;
	count++;
	last_code = info->si_code;
	last_value = info->si_value.sival_int;
}

static inline void handle(int signal, int flags)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags };

	sigaction(signal, &action, NULL);
}

static inline void on_thread(union sigval value)
{
	printf("thread %d at %lld\n", value.sival_int, (long long)(now() - begun));
}

static inline timer_t make_timer(int notify, int signal, int value)
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

static inline void set_timer(timer_t timer, int64_t value, int64_t interval)
{
	struct itimerspec s = { spec(interval), spec(value) };

	timer_settime(timer, 0, &s, NULL);
}

/* A thread that waits for a byte from the descriptor at `argument`. */
static inline void *reader(void *argument)
{
	char byte;

	if (read(*(int *)argument, &byte, 1) != 1)
		exit(1);
	return NULL;
}

struct time_case {
	const char *name;
	int (*run)(void);
};

static inline int run_case(const struct time_case *cases, size_t n, int argc, char **argv)
{
	for (size_t i = 0; argc == 2 && i < n; i++) {
		if (!strcmp(argv[1], cases[i].name))
			return cases[i].run();
	}
	fprintf(stderr, "usage: %s CASE\n", argv[0]);
	return 2;
}

#endif
