/* SPDX-License-Identifier: GPL-2.0-only */
/* Running built programs and looking at what came out. For the integration tests. */
#ifndef BUSLOCK_TESTS_RUN_H
#define BUSLOCK_TESTS_RUN_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Needs some of those above. */
#include <cmocka.h>

#define BUSLOCK       BUSLOCK_BUILD_DIR "/buslock"
#define PROGRAM(name) BUSLOCK_BUILD_DIR "/tests/programs/" name
#define GUEST(name)   BUSLOCK_BUILD_DIR "/tests/guests/" name

/* A run of a program; its output goes to two files without names. */
struct run {
	pid_t pid;
	FILE *files[2];
	int status; /* as wait() gives it */
	char out[16384], err[16384];
	double seconds;
	struct timespec begun;
};

static inline void run_sleep(unsigned milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000l };

	while (nanosleep(&time, &time) < 0 && errno == EINTR)
		;
}

/* Options of a run besides its arguments. */
struct run_how {
	uid_t uid;            /* 0: stay who one is */
	bool own_group;       /* a process group of its own */
	const char *variable; /* "NAME=value", or NULL */
};

static inline void run_start_how(struct run *run, const char *const argv[], struct run_how how)
{
	memset(run, 0, sizeof(*run));
	for (int i = 0; i < 2; i++) {
		run->files[i] = tmpfile();
		assert_non_null(run->files[i]);
	}
	clock_gettime(CLOCK_MONOTONIC, &run->begun);
	run->pid = fork();
	assert_true(run->pid >= 0);
	if (run->pid)
		return;
	if (how.own_group)
		setpgid(0, 0);
	if (how.uid &&
	    (setresgid(how.uid, how.uid, how.uid) || setresuid(how.uid, how.uid, how.uid)))
		_exit(99);
	if (how.variable)
		putenv(strdup(how.variable));
	dup2(fileno(run->files[0]), 1);
	dup2(fileno(run->files[1]), 2);
	close_range(3, ~0u, 0); /* also what the caller of the tests left open */
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	_exit(98);
}

static inline void run_look(struct run *run)
{
	char *const texts[] = { run->out, run->err };

	for (int i = 0; i < 2; i++) {
		ssize_t n = pread(fileno(run->files[i]), texts[i], sizeof(run->out) - 1, 0);

		texts[i][n < 0 ? 0 : n] = 0;
	}
}

/* Until `text` is on standard output; fails the test after ten seconds. */
static inline void run_wait_for(struct run *run, const char *text)
{
	for (int i = 0; i < 1000; i++) {
		run_look(run);
		if (strstr(run->out, text))
			return;
		run_sleep(10);
	}
	fail_msg("'%s' did not appear; output so far:\n%s%s", text, run->out, run->err);
}

/* Waits for the end, at most half a minute. */
static inline void run_finish(struct run *run)
{
	struct timespec now;
	pid_t pid = 0;

	for (int i = 0; i < 6000 && pid == 0; i++) {
		pid = waitpid(run->pid, &run->status, WNOHANG);
		if (pid == 0)
			run_sleep(5);
	}
	if (pid == 0) {
		kill(run->pid, SIGKILL);
		waitpid(run->pid, &run->status, 0);
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	run->seconds = (double)(now.tv_sec - run->begun.tv_sec) +
		       (double)(now.tv_nsec - run->begun.tv_nsec) / 1e9;
	run_look(run);
	fclose(run->files[0]);
	fclose(run->files[1]);
	if (pid == 0)
		fail_msg("it did not end; output so far:\n%s%s", run->out, run->err);
}

static inline void run_how(struct run *run, const char *const argv[], struct run_how how)
{
	run_start_how(run, argv, how);
	run_finish(run);
}

#define ARGUMENTS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define run_start(run, ...) \
	run_start_how(run, ARGUMENTS(__VA_ARGS__), (struct run_how){ 0, false, NULL })
#define run_program(run, ...) \
	run_how(run, ARGUMENTS(__VA_ARGS__), (struct run_how){ 0, false, NULL })

#define assert_exit(run, wanted)                                                                  \
	do {                                                                                      \
		if (!WIFEXITED((run)->status) || WEXITSTATUS((run)->status) != (wanted))          \
			fail_msg("%s:%d: wait status %#x, expected exit %d; output:\n%s%s",       \
				 __FILE__, __LINE__, (unsigned)(run)->status, wanted, (run)->out, \
				 (run)->err);                                                     \
	} while (0)
#define assert_killed(run, wanted)                                                                \
	do {                                                                                      \
		if (!WIFSIGNALED((run)->status) || WTERMSIG((run)->status) != (wanted))           \
			fail_msg("%s:%d: wait status %#x, expected signal %d; output:\n%s%s",     \
				 __FILE__, __LINE__, (unsigned)(run)->status, wanted, (run)->out, \
				 (run)->err);                                                     \
	} while (0)
#define assert_says(text, wanted)                                                            \
	do {                                                                                 \
		if (!strstr(text, wanted))                                                   \
			fail_msg("%s:%d: \"%s\" is not in:\n%s", __FILE__, __LINE__, wanted, \
				 text);                                                      \
	} while (0)
#define assert_silent(text, unwanted)                                                             \
	do {                                                                                      \
		if (strstr(text, unwanted))                                                       \
			fail_msg("%s:%d: \"%s\" is in:\n%s", __FILE__, __LINE__, unwanted, text); \
	} while (0)

#endif
