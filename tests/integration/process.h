/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For the integration tests: start a built program, wait for it, have its output as text. Every
 * program gets a time limit; one that exceeds it is killed and counts as failed.
 */
#ifndef BUSLOCK_TESTS_PROCESS_H
#define BUSLOCK_TESTS_PROCESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above before it */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BUILT(path) BUSLOCK_BUILD_DIR "/" path
#define BUSLOCK     BUILT("buslock")
#define MAX_WORDS   64

struct output {
	int status;     /* exit status; 128 + n after signal n; -1 time-out */
	char *text;     /* standard output */
	char *errors;   /* standard error */
	double seconds; /* from start to end */
};

static inline char *read_all(int fd)
{
	struct stat st;
	char *text;

	assert_int_equal(fstat(fd, &st), 0);
	text = malloc((size_t)st.st_size + 1);
	assert_non_null(text);
	assert_int_equal(pread(fd, text, (size_t)st.st_size, 0), st.st_size);
	text[st.st_size] = 0;
	return text;
}

static inline double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline int wait_with_limit(pid_t pid, double limit)
{
	double end = seconds_now() + limit;
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		struct timespec t = { .tv_nsec = 1000000 };

		if (seconds_now() > end) {
			kill(-pid, SIGKILL);
			waitpid(pid, &status, 0);
			return -1;
		}
		nanosleep(&t, NULL);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* argv ends with NULL; in its own process group, so that a time-out takes its children along. */
static inline void run_process(char *const argv[], double limit, struct output *output)
{
	int out = memfd_create("stdout", 0), errors = memfd_create("stderr", 0);
	double begun = seconds_now();
	pid_t pid;

	assert_true(out >= 0 && errors >= 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		int null = open("/dev/null", O_RDONLY);

		setpgid(0, 0);
		dup2(null, 0);
		dup2(out, 1);
		dup2(errors, 2);
		execvp(argv[0], argv);
		dprintf(2, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	output->status = wait_with_limit(pid, limit);
	output->seconds = seconds_now() - begun;
	output->text = read_all(out);
	output->errors = read_all(errors);
	close(out);
	close(errors);
}

static inline void output_free(struct output *output)
{
	free(output->text);
	free(output->errors);
}

/* Under what a program runs. */
enum host { ON_DEVICE, EMULATED };

static inline bool device_opens(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Skips the test, saying why, where there is no device to compare with. */
static inline void require_device(void)
{
	if (!device_opens()) {
		print_message("skipped: /dev/kvm: %s\n", strerror(errno));
		skip();
	}
}

/*
 * A command line of space-separated words, EMULATED under `buslock exec` with `exec_options` in front
 * of it (may be NULL).
 */
static inline void run_on(enum host host, const char *exec_options, const char *words, double limit,
			  struct output *output)
{
	char *argv[MAX_WORDS + 1], *copy, *rest, *word;
	char line[4096];
	size_t n = 0;

	snprintf(line, sizeof(line), "%s%s%s%s%s", host == EMULATED ? BUSLOCK " exec " : "",
		 host == EMULATED && exec_options ? exec_options : "",
		 host == EMULATED ? " -- " : "", words, "");
	copy = strdup(line);
	assert_non_null(copy);
	for (rest = copy; n < MAX_WORDS && (word = strtok_r(rest, " ", &rest));)
		argv[n++] = word;
	argv[n] = NULL;
	run_process(argv, limit, output);
	free(copy);
}

/* Prints what a program left, for a test that is about to fail. */
static inline void show_output(const char *command, const struct output *output)
{
	print_message("%s\nstatus %d, %.3f s\n--- stdout\n%s--- stderr\n%s---\n", command,
		      output->status, output->seconds, output->text, output->errors);
}

/* The program ends with `status`, or the test fails with all that it printed. */
static inline void expect_status(const char *command, const struct output *output, int status)
{
	if (output->status != status)
		show_output(command, output);
	assert_int_equal(output->status, status);
}

/* The number behind `name` ("sleeps=") at its last place in the text; the test fails without one. */
static inline double number_after(const char *text, const char *name)
{
	const char *at = NULL, *next = text;

	while ((next = strstr(next, name)))
		at = next, next += strlen(name);
	if (!at)
		print_message("no \"%s\" in:\n%s\n", name, text);
	assert_non_null(at);
	return strtod(at + strlen(name), NULL);
}

#endif
