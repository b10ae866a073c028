// SPDX-License-Identifier: GPL-2.0-only
/* `buslock exec`: somebody else's monitor, with the KVM API emulated in its process. */
#include "cli/exec.h"
#include "cli/choices.h"
#include "cli/cli.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PRELOAD_NAME "libbuslock-kvm-preload.so"
/* Seen from the command's own directory: the build tree, and where an installation has it. */
static const char *const library_places[] = {
	PRELOAD_NAME,
	"../lib/x86_64-linux-gnu/buslock/" PRELOAD_NAME,
	"../lib64/buslock/" PRELOAD_NAME,
	"../lib/buslock/" PRELOAD_NAME,
};
#define PLACES (sizeof(library_places) / sizeof(*library_places))

struct request {
	bool dry_run;
	struct choices choices;
	struct output output;
	int success;    /* exit status of the program that counts as success */
	char **command; /* the program and its arguments */
};

/* ------------------------------------------------------------------ options */

enum { OPT_REPORT = 256, OPT_EXPECT, OPT_SUCCESS, OPT_SYMBOLS, OPT_TRACE, OPT_TOP };

static const struct argp_option arguments[] = {
	{ NULL, 0, NULL, 0, "What the program gets:", CHOICES_GROUP },
	{ NULL, 0, NULL, 0, "What you get:", 3 },
	{ "report", OPT_REPORT, "WHAT", OPTION_ARG_OPTIONAL,
	  "Summary at the end: text (default) or json, on standard error; FILE, text:FILE or "
	  "json:FILE (a FILE that ends in .json is JSON); none",
	  3 },
	{ "expect", OPT_EXPECT, "CONDITIONS", 0,
	  "Conditions on the summary, such as 'locks==100,rate<=10'; the exit status is 1 if the "
	  "program succeeded and they did not hold",
	  3 },
	{ "success", OPT_SUCCESS, "STATUS", 0,
	  "The program's exit status that means success, 0 by default; it is reported as 0. (A "
	  "guest that leaves QEMU through isa-debug-exit gives an odd one.)",
	  3 },
	{ "symbols", OPT_SYMBOLS, "FILE", 0,
	  "The guest's symbols for the summary: ELF or System.map", 3 },
	{ "trace", OPT_TRACE, "FILE", 0,
	  "All that happened, event by event, as JSON Lines (docs/trace.md)", 3 },
	{ "top", OPT_TOP, "N", 0, "Places in the guest to show, 10 by default", 3 },
	{ NULL, 0, NULL, 0, "Other:", -1 },
	{ "dry-run", 'n', NULL, 0, "Print the command that would be executed, for a shell", -1 },
	{ 0 },
};

static bool set_number(const char *name, const char *value, uint64_t most, uint64_t *number)
{
	if (parse_number(value, number) && *number <= most)
		return true;
	complain("exec: --%s=%s: give a number from 0 to %llu", name, value,
		 (unsigned long long)most);
	return false;
}

static bool take(struct request *request, int key, char *value)
{
	uint64_t number;

	switch (key) {
	case 'n':
		request->dry_run = true;
		return true;
	case OPT_REPORT:
		output_set_report(&request->output, value);
		return true;
	case OPT_EXPECT:
		request->output.expect = value;
		return true;
	case OPT_SUCCESS:
		if (!set_number("success", value, 255, &number))
			return false;
		request->success = (int)number;
		return true;
	case OPT_SYMBOLS:
		request->output.symbols = value;
		return true;
	case OPT_TRACE:
		request->output.trace = value;
		return true;
	default: /* OPT_TOP */
		if (!set_number("top", value, REPORT_SITES, &number))
			return false;
		request->output.top = (unsigned)number;
		return true;
	}
}

static error_t parse(int key, char *value, struct argp_state *state)
{
	struct request *request = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &request->choices;
		return 0;
	case ARGP_KEY_ARG:
		/* The program; what follows is its own, options included. */
		request->command = state->argv + state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		complain("exec: which program? buslock exec [OPTION...] -- MONITOR [ARGUMENT...]");
		exit(STATUS_USAGE);
	default:
		if (key != 'n' && (key < OPT_REPORT || key > OPT_TOP))
			return ARGP_ERR_UNKNOWN;
		if (!take(request, key, value))
			exit(STATUS_USAGE);
		return 0;
	}
}

static struct argp_child children[2]; /* the first is choices_argp() */

static const struct argp argp = {
	.options = arguments,
	.children = children,
	.parser = parse,
	.args_doc = "-- MONITOR [ARGUMENT...]",
	.doc = "Run a KVM monitor, unmodified, with the KVM API emulated in its process: it gets "
	       "the "
	       "bus-lock exits that this host's processor or kernel cannot give."
	       "\v"
	       "The exit status is the program's; 125 when the program could not be started or ran "
	       "without the emulation, 126 when it cannot be emulated for, 127 when it was not "
	       "found.\n"
	       "\n"
	       "Environment: BUSLOCK_LIBRARY names the library to preload, if not the one that "
	       "came "
	       "with this command; BUSLOCK_LOG is the default of --log. The program finds the "
	       "emulation "
	       "by LD_PRELOAD, BUSLOCK_OPTIONS, BUSLOCK_LOG and (for summary and trace) "
	       "BUSLOCK_REPORT_FD, BUSLOCK_REPORT_PATH, BUSLOCK_TRACE_FD and "
	       "BUSLOCK_TRACE_PATH, and so do the programs that it starts; -n prints all but the "
	       "last four, which are private to one run.",
};

/* ------------------------------------------------------------------ the library */

static bool library_at(char path[PATH_MAX], const char *directory, const char *relative)
{
	char joined[PATH_MAX];
	int n = snprintf(joined, sizeof(joined), "%s/%s", directory, relative);

	return n > 0 && n < PATH_MAX && realpath(joined, path) && access(path, R_OK) == 0;
}

static int find_library(char path[PATH_MAX])
{
	const char *named = getenv("BUSLOCK_LIBRARY");
	char self[PATH_MAX];
	size_t place = 0;
	ssize_t n;

	if (named && *named) {
		if (!realpath(named, path) || access(path, R_OK) < 0) {
			complain("exec: BUSLOCK_LIBRARY=%s: %s", named, strerror(errno));
			return STATUS_EXEC_FAILED;
		}
	} else {
		n = readlink("/proc/self/exe", self, sizeof(self) - 1);
		self[n < 0 ? 0 : n] = 0;
		dirname(self);
		while (place < PLACES && !library_at(path, self, library_places[place]))
			place++;
		if (place == PLACES) {
			complain("exec: %s: neither in %s nor in ../lib*/buslock of it; say where "
				 "it is with "
				 "BUSLOCK_LIBRARY=FILE",
				 PRELOAD_NAME, self);
			return STATUS_EXEC_FAILED;
		}
	}
	if (strpbrk(path, " :")) {
		complain("exec: %s: the dynamic linker cannot preload a library whose path has "
			 "spaces or "
			 "colons; put it elsewhere and name it with BUSLOCK_LIBRARY=FILE",
			 path);
		return STATUS_EXEC_FAILED;
	}
	return 0;
}

/* ------------------------------------------------------------------ what is executed */

#define VARIABLES 8
struct environment {
	char *variable[VARIABLES];
	unsigned count;
};

__attribute__((format(printf, 2, 3))) static int add(struct environment *environment,
						     const char *format, ...)
{
	va_list list;
	int n;

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
static int describe(const struct request *request, const struct exec_program *program,
		    const char *library, struct environment *environment)
{
	const char *others = getenv("LD_PRELOAD"), *tsan = getenv("TSAN_OPTIONS");
	char options[PATH_MAX + 256], runtimes[ELF_RUNTIMES * 2 * 66] = "";
	struct elf_program image;
	int result = shim_options_format(&request->choices.shim, options, sizeof(options));

	add_runtimes(runtimes, sizeof(runtimes), &program->image);
	if (elf_inspect(library, &image) == 0)
		add_runtimes(runtimes, sizeof(runtimes), &image);
	if (result >= 0)
		result = add(environment, "LD_PRELOAD=%s%s%s%s", runtimes, library,
			     others && *others ? ":" : "", others ? others : "");
	if (result >= 0)
		result = add(environment, "BUSLOCK_OPTIONS=%s", options);
	if (result >= 0 && request->choices.log)
		result = add(environment, "BUSLOCK_LOG=%s", request->choices.log);
	/* Our library is not instrumented: without this its locks are invisible, its accesses not. */
	if (result >= 0 && program->image.thread_sanitizer)
		result = add(environment, "TSAN_OPTIONS=ignore_noninstrumented_modules=1%s%s",
			     tsan && *tsan ? ":" : "", tsan ? tsan : "");
	return result < 0 ? result : 0;
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

/* "VARIABLE=value … program arguments": a line for a shell. */
static void print_command(const struct environment *environment, const char *path,
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

/* ------------------------------------------------------------------ the run */

extern char **environ;

static int apply(const struct environment *environment)
{
	for (unsigned i = 0; i < environment->count; i++)
		if (putenv(environment->variable[i]) != 0)
			return -ENOMEM;
	return 0;
}

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

static int prepare_report(struct environment *environment, struct report **report, int *fd)
{
	int result = report_create(report, fd, false);

	if (result < 0)
		return result;
	*fd = move_up(*fd);
	result = add(environment, "BUSLOCK_REPORT_FD=%d", *fd);
	if (result == 0)
		result = add(environment, "BUSLOCK_REPORT_PATH=/proc/%d/fd/%d", getpid(), *fd);
	return result;
}

/* The program has ended: did it run as it should, and was it as expected? */
static int judge(const struct request *request, const char *name, const struct report *report,
		 int wait_status)
{
	int own = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1, status;
	bool succeeded = own == request->success;

	if (!atomic_load(&report->attached)) {
		complain("exec: %s ran without the emulation: the preloaded library did not come "
			 "up in "
			 "it. Whatever it saw of KVM was the host's own",
			 name);
		return succeeded ? STATUS_EXEC_FAILED : exec_end_like(wait_status);
	}
	status = output_finish(&request->output, report, NULL);
	if (succeeded)
		return status;
	/* Another status than the one that --success names is no success, 0 included. */
	return own ? exec_end_like(wait_status) : STATUS_NOT_HELD;
}

static int prepare_trace(const struct request *request, struct environment *environment,
			 struct report *report, struct trace *trace)
{
	char options[PATH_MAX + 512];
	const struct shim_options *shim = &request->choices.shim;
	const struct trace_header header = {
		.backend = shim->backend == SHIM_BACKEND_SCRIPT ? "script" : "emulator",
		.options = options,
		.virtual_time = shim->time == SHIM_TIME_VIRTUAL,
		.command = request->command,
	};

	if (shim_options_format(shim, options, sizeof(options)) < 0)
		*options = '\0';
	if (output_begin_trace(&request->output, trace, &report->trace, &header))
		return STATUS_USAGE;
	if (!trace->counts)
		return STATUS_OK;
	trace_moved(trace, move_up(trace->fd));
	if (add(environment, "BUSLOCK_TRACE_FD=%d", trace->fd) < 0 ||
	    add(environment, "BUSLOCK_TRACE_PATH=/proc/%d/fd/%d", getpid(), trace->fd) < 0)
		return STATUS_EXEC_FAILED;
	return STATUS_OK;
}

static int end_trace(const struct request *request, struct trace *trace, int wait_status)
{
	const struct trace_end end = {
		.status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status)
						 : -WTERMSIG(wait_status),
		.virtual_time = request->choices.shim.time == SHIM_TIME_VIRTUAL,
	};

	return output_end_trace(&request->output, trace, &end);
}

static int run(const struct request *request, const struct exec_program *program,
	       struct environment *environment, char **argv)
{
	const char *path = program->shell ? "/bin/sh" : program->path;
	struct report *report;
	struct trace trace;
	int fd, status, traced, wait_status = 0, result = prepare_report(environment, &report, &fd);

	if (result < 0) {
		complain("exec: the summary's shared memory: %s", strerror(-result));
		return STATUS_EXEC_FAILED;
	}
	status = prepare_trace(request, environment, report, &trace);
	if (status)
		return status;
	result = apply(environment);
	if (result < 0) {
		complain("exec: %s", strerror(-result));
		return STATUS_EXEC_FAILED;
	}
	fflush(NULL);
	result = exec_launch(path, argv, environ, (const int[]){ fd, trace.fd, -1 }, &wait_status);
	if (result < 0) {
		complain("exec: %s: %s", path, strerror(-result));
		return result == -ENOENT ? STATUS_NOT_FOUND : STATUS_REFUSED;
	}
	/* before judge(), which ends this process as the program ended */
	traced = end_trace(request, &trace, wait_status);
	status = judge(request, request->command[0], report, wait_status);
	return status ? status : traced;
}

/* As execvp(): a file that is neither a program nor a "#!" script goes to the shell. */
static char **arguments_for(const struct request *request, struct exec_program *program)
{
	size_t count = 0;
	char **argv;

	while (request->command[count])
		count++;
	argv = calloc(count + 2, sizeof(*argv));
	if (!argv)
		return NULL;
	if (!program->shell) {
		memcpy(argv, request->command, count * sizeof(*argv));
		return argv;
	}
	memcpy(argv + 1, request->command, count * sizeof(*argv));
	argv[0] = "sh";
	argv[1] = program->path;
	return argv;
}

/* The program is known and can be emulated for: run or print it. */
static int start(const struct request *request, struct exec_program *program)
{
	struct environment environment = { .count = 0 };
	char library[PATH_MAX], **command;
	int status = find_library(library);

	if (status)
		return status;
	command = arguments_for(request, program);
	if (!command || describe(request, program, library, &environment) < 0) {
		complain("exec: %s", strerror(ENOMEM));
		status = STATUS_EXEC_FAILED;
	} else if (request->dry_run) {
		print_command(&environment, program->shell ? "/bin/sh" : program->path, command);
	} else {
		status = run(request, program, &environment, command);
	}
	free(command);
	for (unsigned i = 0; i < environment.count; i++) {
		char *variable = environment.variable[i], name[32];

		/* It may be in our own environment now. */
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(variable, "="), variable);
		unsetenv(name);
		free(variable);
	}
	return status;
}

int command_exec(int argc, char **argv)
{
	struct request request = { 0 };
	struct exec_program *program;
	int status;

	choices_default(&request.choices, "exec: ");
	children[0].argp = choices_argp();
	output_default(&request.output);
	argp_err_exit_status = STATUS_USAGE;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &request) ||
	    !choices_check(&request.choices) || !output_check(&request.output) ||
	    !output_check_files(&request.output, NULL)) {
		choices_free(&request.choices);
		return STATUS_USAGE;
	}
	program = malloc(sizeof(*program));
	if (!program) {
		complain("exec: %s", strerror(ENOMEM));
		return STATUS_EXEC_FAILED;
	}
	status = exec_find_program(request.command[0], program);
	if (!status)
		status = start(&request, program);
	free(program);
	choices_free(&request.choices);
	return status;
}
