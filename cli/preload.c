// SPDX-License-Identifier: GPL-2.0-only
/* What `buslock exec` and `buslock record` share: a library of ours in somebody else's program. */
#include "cli/preload.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* ------------------------------------------------------------------ the library */

/* Seen from the command's own directory: the build tree, and where an installation has it. */
static const char *const library_places[] = { "", "../lib/x86_64-linux-gnu/buslock/",
					      "../lib64/buslock/", "../lib/buslock/" };
#define PLACES (sizeof(library_places) / sizeof(*library_places))

static bool library_at(struct preload_library *library, const char *directory, const char *relative)
{
	char joined[PATH_MAX];
	int n = snprintf(joined, sizeof(joined), "%s/%s%s", directory, relative, library->file);

	return n > 0 && n < PATH_MAX && realpath(joined, library->path) &&
	       access(library->path, R_OK) == 0;
}

int preload_find(struct preload_library *library)
{
	const char *named = getenv(library->variable);
	char self[PATH_MAX];
	size_t place = 0;
	ssize_t n;

	if (named && *named) {
		if (!realpath(named, library->path) || access(library->path, R_OK) < 0) {
			complain("%s: %s=%s: %s", library->command, library->variable, named,
				 strerror(errno));
			return STATUS_EXEC_FAILED;
		}
	} else {
		n = readlink("/proc/self/exe", self, sizeof(self) - 1);
		self[n < 0 ? 0 : n] = 0;
		dirname(self);
		while (place < PLACES && !library_at(library, self, library_places[place]))
			place++;
		if (place == PLACES) {
			complain("%s: %s: neither in %s nor in ../lib*/buslock of it; say where "
				 "it is with %s=FILE",
				 library->command, library->file, self, library->variable);
			return STATUS_EXEC_FAILED;
		}
	}
	if (strpbrk(library->path, " :")) {
		complain("%s: %s: the dynamic linker cannot preload a library whose path has "
			 "spaces or colons; put it elsewhere and name it with %s=FILE",
			 library->command, library->path, library->variable);
		return STATUS_EXEC_FAILED;
	}
	return 0;
}

/* ------------------------------------------------------------------ what is executed */

int preload_add(struct preload_environment *environment, const char *format, ...)
{
	va_list list;
	int n;

	if (environment->count == PRELOAD_VARIABLES)
		return -ENOMEM;
	va_start(list, format);
	n = vasprintf(&environment->variable[environment->count], format, list);
	va_end(list);
	if (n < 0)
		return -ENOMEM;
	environment->count++;
	return 0;
}

static void add_runtimes(char *text, size_t size, const struct elf_program *image)
{
	for (unsigned i = 0; i < image->runtimes; i++) {
		if (strstr(text, image->runtime[i]))
			continue;
		if (strlen(text) + strlen(image->runtime[i]) + 2 > size)
			return;
		strcat(strcat(text, image->runtime[i]), ":");
	}
}

/*
 * A sanitizer's runtime goes first, by the name under which the program needs it, so that the
 * dynamic linker finds the same file for both. What the user preloads already stays, behind.
 */
int preload_describe(struct preload_environment *environment, const struct exec_program *program,
		     const struct preload_library *library)
{
	const char *others = getenv("LD_PRELOAD"), *tsan = getenv("TSAN_OPTIONS");
	char runtimes[ELF_RUNTIMES * 2 * 66] = "";
	struct elf_program image;
	int result;

	add_runtimes(runtimes, sizeof(runtimes), &program->image);
	if (elf_inspect(library->path, &image) == 0)
		add_runtimes(runtimes, sizeof(runtimes), &image);
	result = preload_add(environment, "LD_PRELOAD=%s%s%s%s", runtimes, library->path,
			     others && *others ? ":" : "", others ? others : "");
	/* Our library is not instrumented: without this its locks are invisible, its accesses not. */
	if (result >= 0 && program->image.thread_sanitizer)
		result = preload_add(environment,
				     "TSAN_OPTIONS=ignore_noninstrumented_modules=1%s%s",
				     tsan && *tsan ? ":" : "", tsan ? tsan : "");
	return result;
}

int preload_apply(const struct preload_environment *environment)
{
	for (unsigned i = 0; i < environment->count; i++)
		if (putenv(environment->variable[i]) != 0)
			return -ENOMEM;
	return 0;
}

void preload_free(struct preload_environment *environment)
{
	for (unsigned i = 0; i < environment->count; i++) {
		char *variable = environment->variable[i], name[64];

		/* It may be in our own environment now. */
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(variable, "="), variable);
		unsetenv(name);
		free(variable);
	}
	environment->count = 0;
}

const char *preload_path(const struct exec_program *program)
{
	return program->shell ? "/bin/sh" : program->path;
}

/* As execvp(): a file that is neither a program nor a "#!" script goes to the shell. */
char **preload_arguments(char *const command[], struct exec_program *program)
{
	size_t count = 0;
	char **argv;

	while (command[count])
		count++;
	argv = calloc(count + 2, sizeof(*argv));
	if (!argv)
		return NULL;
	if (!program->shell) {
		memcpy(argv, command, count * sizeof(*argv));
		return argv;
	}
	memcpy(argv + 1, command, count * sizeof(*argv));
	argv[0] = "sh";
	argv[1] = program->path;
	return argv;
}

static void print_quoted(const char *text)
{
	if (*text && !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					"0123456789_-./=:,@%+")]) {
		fputs(text, stdout);
		return;
	}
	putchar('\'');
	for (; *text; text++) {
		if (*text == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*text);
	}
	putchar('\'');
}

void preload_print(const struct preload_environment *environment, const char *path,
		   char *const argv[])
{
	for (unsigned i = 0; i < environment->count; i++) {
		const char *value = strchr(environment->variable[i], '=') + 1;

		printf("%.*s", (int)(value - environment->variable[i]), environment->variable[i]);
		print_quoted(value);
		putchar(' ');
	}
	print_quoted(path);
	for (int i = 1; argv[i]; i++) {
		putchar(' ');
		print_quoted(argv[i]);
	}
	putchar('\n');
}

/* ------------------------------------------------------------------ what it tells */

/* A high number, for programs that count on 3 being the first free one. */
static int move_up(int fd)
{
	struct rlimit limit;
	int wanted = 1000, moved;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= (rlim_t)wanted)
		wanted = limit.rlim_cur > 16 ? (int)limit.rlim_cur - 8 : fd;
	moved = fcntl(fd, F_DUPFD_CLOEXEC, wanted);
	if (moved < 0)
		return fd;
	close(fd);
	return moved;
}

static int add_descriptor(struct preload_environment *environment, const char *prefix,
			  const char *what, int fd)
{
	int result = preload_add(environment, "%s_%s_FD=%d", prefix, what, fd);

	if (result == 0)
		result = preload_add(environment, "%s_%s_PATH=/proc/%d/fd/%d", prefix, what,
				     getpid(), fd);
	return result;
}

int preload_report(struct preload_environment *environment, const char *prefix,
		   struct report **report, int *fd)
{
	int result = report_create(report, fd, false);

	if (result < 0)
		return result;
	*fd = move_up(*fd);
	return add_descriptor(environment, prefix, "REPORT", *fd);
}

int preload_trace(struct preload_environment *environment, const char *prefix, struct trace *trace)
{
	if (!trace->counts)
		return 0;
	trace_moved(trace, move_up(trace->fd));
	return add_descriptor(environment, prefix, "TRACE", trace->fd);
}
