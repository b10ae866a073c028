// SPDX-License-Identifier: GPL-2.0-only
/* `buslock exec`: somebody else's monitor, with the KVM API emulated in its process. */
#include "cli/exec.h"
#include "cli/choices.h"
#include "cli/cli.h"
#include "cli/preload.h"

#include <argp.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct request {
	bool dry_run;
	struct choices choices;
	struct output output;
	int success;    /* exit status of the program that counts as success */
	char **command; /* the program and its arguments */
};

/* ------------------------------------------------------------------ options */

enum { OPT_REPORT = 256, OPT_EXPECT, OPT_SUCCESS, OPT_SYMBOLS, OPT_FOLDED, OPT_TRACE, OPT_TOP };

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
	{ "symbols", OPT_SYMBOLS, "FILE[@OFFSET]", 0,
	  "The guest's symbols for the summary: its kernel's System.map, kallsyms or ELF file, "
	  "ELF files of its programs; may be repeated (docs/report.md)",
	  3 },
	{ "folded", OPT_FOLDED, "FILE", 0,
	  "Who called the code that takes bus locks, as folded stacks for a flame graph", 3 },
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
		return output_add_symbols(&request->output, value);
	case OPT_FOLDED:
		request->output.folded = value;
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
	       "without the emulation, or what was asked for could not be written, 126 when it "
	       "cannot be emulated for, 127 when it was not "
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

/* ------------------------------------------------------------------ what is executed */

static int describe(const struct request *request, const struct exec_program *program,
		    const struct preload_library *library, struct preload_environment *environment)
{
	char options[PATH_MAX + 256];
	int result = shim_options_format(&request->choices.shim, options, sizeof(options));

	if (result >= 0)
		result = preload_describe(environment, program, library);
	if (result >= 0)
		result = preload_add(environment, "BUSLOCK_OPTIONS=%s", options);
	if (result >= 0 && request->choices.log)
		result = preload_add(environment, "BUSLOCK_LOG=%s", request->choices.log);
	return result < 0 ? result : 0;
}

/* ------------------------------------------------------------------ the run */

extern char **environ;

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

static int prepare_trace(const struct request *request, struct preload_environment *environment,
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
	return preload_trace(environment, "BUSLOCK", trace) < 0 ? STATUS_EXEC_FAILED : STATUS_OK;
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
	       struct preload_environment *environment, char **argv)
{
	const char *path = preload_path(program);
	struct report *report;
	struct trace trace;
	int fd, status, traced, wait_status = 0;
	int result = preload_report(environment, "BUSLOCK", &report, &fd);

	if (result < 0) {
		complain("exec: the summary's shared memory: %s", strerror(-result));
		return STATUS_EXEC_FAILED;
	}
	report->stacks = request->output.folded != NULL;
	status = prepare_trace(request, environment, report, &trace);
	if (status)
		return status;
	result = preload_apply(environment);
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

/* The program is known and can be emulated for: run or print it. */
static int start(const struct request *request, struct exec_program *program)
{
	struct preload_library library = { .command = "exec",
					   .file = "libbuslock-kvm-preload.so",
					   .variable = "BUSLOCK_LIBRARY" };
	struct preload_environment environment = { .count = 0 };
	int status = preload_find(&library);
	char **command;

	if (status)
		return status;
	command = preload_arguments(request->command, program);
	if (!command || describe(request, program, &library, &environment) < 0) {
		complain("exec: %s", strerror(ENOMEM));
		status = STATUS_EXEC_FAILED;
	} else if (request->dry_run) {
		preload_print(&environment, preload_path(program), command);
	} else {
		status = run(request, program, &environment, command);
	}
	free(command);
	preload_free(&environment);
	return status;
}

static bool check(struct request *request)
{
	request->output.counting = request->choices.shim.count;
	return choices_check(&request->choices) &&
	       choices_check_trace(&request->choices, request->output.trace) &&
	       output_check(&request->output) && output_check_files(&request->output, NULL);
}

int command_exec(int argc, char **argv)
{
	struct request request = { 0 };
	struct exec_program *program;
	int status;

	choices_default(&request.choices, "exec: ");
	/* `buslock mutate`, of a test that calls us by itself */
	if (getenv("BUSLOCK_FAULT") &&
	    !choices_take(&request.choices, "fault", getenv("BUSLOCK_FAULT")))
		return STATUS_USAGE;
	request.choices.given = NULL;
	children[0].argp = choices_argp();
	output_default(&request.output, "exec: ");
	argp_err_exit_status = STATUS_USAGE;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &request) || !check(&request)) {
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
