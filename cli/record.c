// SPDX-License-Identifier: GPL-2.0-only
/* `buslock record`: somebody else's monitor on the real /dev/kvm, watched. */
#include "cli/record.h"
#include "cli/cli.h"
#include "cli/preload.h"

#include <argp.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

struct request {
	bool dry_run;
	bool memory_chosen;
	struct watch_options watch;
	struct output output;
	int success;
	char **command; /* the program and its arguments */
};

/* ------------------------------------------------------------------ options */

enum {
	OPT_ENABLE = 256,
	OPT_STEP,
	OPT_LOCKED,
	OPT_HOLD_INTERRUPTS,
	OPT_NATIVE_SPLIT_LOCKS,
	OPT_MEMORY,
	OPT_REPORT,
	OPT_EXPECT,
	OPT_SUCCESS,
	OPT_SYMBOLS,
	OPT_TRACE,
	OPT_TOP
};

static const struct argp_option arguments[] = {
	{ NULL, 0, NULL, 0, "How it is watched:", 1 },
	{ "enable", OPT_ENABLE, NULL, 0,
	  "Switch bus-lock exits on for a monitor that does not know them, and keep them from it; "
	  "needs a host whose KVM has capability 193",
	  1 },
	{ "step", OPT_STEP, NULL, 0,
	  "Single-step the guest and decode each instruction before it runs: tells bus locks on a "
	  "host that cannot. Slow",
	  1 },
	{ "locked", OPT_LOCKED, NULL, 0, "With --step: tell every locked access, bus lock or not",
	  1 },
	{ "hold-interrupts", OPT_HOLD_INTERRUPTS, NULL, 0,
	  "With --step: no interrupt is delivered while the guest is stepped, for guests whose "
	  "timer "
	  "would starve them",
	  1 },
	{ "native-split-locks", OPT_NATIVE_SPLIT_LOCKS, "N", 0,
	  "With --step: let so many split locks run on the real device, each of which stalls every "
	  "core of this host; the next one ends the run (default 0)",
	  1 },
	{ "memory", OPT_MEMORY, "WHO", 0,
	  "With --step: who decides the type of guest memory here, kvm (it is write-back) or guest "
	  "(its page tables); default: what this host's KVM does",
	  1 },
	{ NULL, 0, NULL, 0, "What you get:", 3 },
	{ "trace", OPT_TRACE, "FILE", 0,
	  "All that happened, event by event, as JSON Lines (docs/trace.md)", 3 },
	{ "report", OPT_REPORT, "WHAT", OPTION_ARG_OPTIONAL,
	  "Summary at the end, as of buslock exec; the default where there is no --trace", 3 },
	{ "expect", OPT_EXPECT, "CONDITIONS", 0, "Conditions on the summary, as of buslock exec",
	  3 },
	{ "success", OPT_SUCCESS, "STATUS", 0,
	  "The program's exit status that means success, 0 by default; it is reported as 0", 3 },
	{ "symbols", OPT_SYMBOLS, "FILE[@OFFSET]", 0,
	  "The guest's symbols for the summary, as of buslock exec; may be repeated", 3 },
	{ "top", OPT_TOP, "N", 0, "Places in the guest to show, 10 by default", 3 },
	{ NULL, 0, NULL, 0, "Other:", -1 },
	{ "dry-run", 'n', NULL, 0, "Print the command that would be executed, for a shell", -1 },
	{ 0 },
};

static bool set_memory(struct request *request, const char *value)
{
	request->memory_chosen = true;
	request->watch.memory = strcmp(value, "guest") ? WATCH_MEMORY_KVM : WATCH_MEMORY_GUEST;
	if (!strcmp(value, "guest") || !strcmp(value, "kvm"))
		return true;
	complain("record: --memory=%s: give kvm or guest", value);
	return false;
}

/* What is asked of the watcher. */
static bool take_watch(struct request *request, int key, char *value)
{
	struct watch_options *watch = &request->watch;

	switch (key) {
	case OPT_ENABLE:
		watch->enable = true;
		return true;
	case OPT_STEP:
		watch->step = true;
		return true;
	case OPT_LOCKED:
		watch->locked = true;
		return true;
	case OPT_HOLD_INTERRUPTS:
		watch->hold_interrupts = true;
		return true;
	case OPT_NATIVE_SPLIT_LOCKS:
		return number_in("record: --native-split-locks", value, 0, 1000000,
				 &watch->native_split_locks);
	default: /* OPT_MEMORY */
		return set_memory(request, value);
	}
}

static bool take_output(struct request *request, int key, char *value)
{
	uint64_t number = 0;
	bool good = true;

	switch (key) {
	case 'n':
		request->dry_run = true;
		break;
	case OPT_REPORT:
		output_set_report(&request->output, value);
		break;
	case OPT_EXPECT:
		request->output.expect = value;
		break;
	case OPT_SUCCESS:
		good = number_in("record: --success", value, 0, 255, &number);
		request->success = (int)number;
		break;
	case OPT_SYMBOLS:
		good = output_add_symbols(&request->output, value);
		break;
	case OPT_TRACE:
		request->output.trace = value;
		break;
	default: /* OPT_TOP */
		good = number_in("record: --top", value, 0, REPORT_SITES, &number);
		request->output.top = (unsigned)number;
	}
	return good;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
	struct request *request = state->input;
	bool good;

	switch (key) {
	case ARGP_KEY_ARG:
		/* The program; what follows is its own, options included. */
		request->command = state->argv + state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		complain("record: which program? buslock record [OPTION...] -- MONITOR "
			 "[ARGUMENT...]");
		exit(STATUS_USAGE);
	default:
		if (key != 'n' && (key < OPT_ENABLE || key > OPT_TOP))
			return ARGP_ERR_UNKNOWN;
		good = key != 'n' && key <= OPT_MEMORY ? take_watch(request, key, value)
						       : take_output(request, key, value);
		if (!good)
			exit(STATUS_USAGE);
		return 0;
	}
}

static const struct argp argp = {
	.options = arguments,
	.parser = parse,
	.args_doc = "-- MONITOR [ARGUMENT...]",
	.doc = "Run a KVM monitor, unmodified, on the real /dev/kvm, and write down what passes "
	       "between the two."
	       "\v"
	       "Without --step nobody looks at the guest's instructions: a guest that takes split "
	       "locks takes them natively, and each stalls every core of this host.\n"
	       "\n"
	       "The exit status is the program's; 4 when a split lock has ended the run, 125 when "
	       "the program could not be started or ran unwatched, or what was asked for could not "
	       "be written, 126 when it cannot be watched, 127 when it was not found.\n"
	       "\n"
	       "Environment: BUSLOCK_WATCH_LIBRARY names the library to preload, if not the one "
	       "that came with this command.",
};

static bool check(const struct request *request)
{
	const struct watch_options *watch = &request->watch;
	const char *alone = watch->locked               ? "--locked"
			    : watch->hold_interrupts    ? "--hold-interrupts"
			    : watch->native_split_locks ? "--native-split-locks"
			    : request->memory_chosen    ? "--memory"
							: NULL;

	if (alone && !watch->step) {
		complain("record: %s goes with --step: without it nobody looks at the guest's "
			 "instructions",
			 alone);
		return false;
	}
	if (watch->enable && watch->step) {
		complain("record: --enable uses the host's bus-lock exits, --step does without "
			 "them: choose one");
		return false;
	}
	return true;
}

/* ------------------------------------------------------------------ the run */

extern char **environ;

static int begin_trace(const struct request *request, const char *options,
		       struct preload_environment *environment, struct report *report,
		       struct trace *trace)
{
	const char *lacks[RECORD_LACKS];
	const struct trace_header header = {
		.backend = RECORD_DEVICE,
		.options = options,
		/* under `buslock exec` the device is its */
		.emulated = getenv("BUSLOCK_OPTIONS"),
		.command = request->command,
		.lacks = lacks,
	};

	record_lacks(&request->watch, lacks);
	if (output_begin_trace(&request->output, trace, &report->trace, &header))
		return STATUS_USAGE;
	return preload_trace(environment, RECORD_PREFIX, trace) < 0 ? STATUS_EXEC_FAILED
								    : STATUS_OK;
}

static int end_trace(const struct request *request, struct trace *trace, int wait_status)
{
	const struct trace_end end = {
		.status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status)
						 : -WTERMSIG(wait_status),
	};

	return output_end_trace(&request->output, trace, &end);
}

/* The program has ended: did it run as it should, and was it as expected? */
static int judge(const struct request *request, const struct report *report, int wait_status)
{
	int own = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1, status;
	const char *name = request->command[0], *why = report_end(report);
	uint64_t locks = atomic_load(&report->native_split_locks);
	bool succeeded = own == request->success;

	if (!atomic_load(&report->attached)) {
		complain("record: %s ran unwatched: the preloaded library did not come up in it",
			 name);
		return succeeded ? STATUS_EXEC_FAILED : exec_end_like(wait_status);
	}
	if (!atomic_load(&report->vms))
		complain("record: %s created no VM through the C library, so there is nothing to "
			 "tell. (A static program, or one that makes its own system calls, cannot "
			 "be watched)",
			 name);
	if (locks)
		complain("record: %llu split locks ran on the real device",
			 (unsigned long long)locks);
	status = output_finish(&request->output, report, NULL);
	if (why) {
		complain("record: the run was ended in front of a %s. Use the emulated device "
			 "(buslock exec), or allow some with --native-split-locks=N",
			 why);
		return STATUS_GUEST_DIED;
	}
	if (succeeded)
		return status;
	return own ? exec_end_like(wait_status) : STATUS_NOT_HELD;
}

static int run(const struct request *request, const struct exec_program *program,
	       const char *options, struct preload_environment *environment, char **argv)
{
	const char *path = preload_path(program);
	struct report *report;
	struct trace trace;
	int fd, status, traced, wait_status = 0;
	int result = preload_report(environment, RECORD_PREFIX, &report, &fd);

	if (result < 0) {
		complain("record: the summary's shared memory: %s", strerror(-result));
		return STATUS_EXEC_FAILED;
	}
	status = begin_trace(request, options, environment, report, &trace);
	if (status)
		return status;
	result = preload_apply(environment);
	if (result < 0) {
		complain("record: %s", strerror(-result));
		return STATUS_EXEC_FAILED;
	}
	fflush(NULL);
	result = exec_launch(path, argv, environ, (const int[]){ fd, trace.fd, -1 }, &wait_status);
	if (result < 0) {
		complain("record: %s: %s", path, strerror(-result));
		return result == -ENOENT ? STATUS_NOT_FOUND : STATUS_REFUSED;
	}
	/* before judge(), which ends this process as the program ended */
	traced = end_trace(request, &trace, wait_status);
	status = judge(request, report, wait_status);
	return status ? status : traced;
}

static int start(const struct request *request, struct exec_program *program)
{
	struct preload_library library = { .command = "record",
					   .file = "libbuslock-watch.so",
					   .variable = "BUSLOCK_WATCH_LIBRARY" };
	struct preload_environment environment = { .count = 0 };
	int status = preload_find(&library);
	char **command, options[160];

	if (status)
		return status;
	command = preload_arguments(request->command, program);
	if (!command || watch_options_format(&request->watch, options, sizeof(options)) < 0 ||
	    preload_describe(&environment, program, &library) < 0 ||
	    preload_add(&environment, RECORD_PREFIX "=%s", options) < 0) {
		complain("record: %s", strerror(ENOMEM));
		status = STATUS_EXEC_FAILED;
	} else if (request->dry_run) {
		preload_print(&environment, preload_path(program), command);
	} else {
		status = run(request, program, options, &environment, command);
	}
	free(command);
	preload_free(&environment);
	return status;
}

int command_record(int argc, char **argv)
{
	struct request request = { 0 };
	struct exec_program *program;
	int status;

	output_default(&request.output, "record: ");
	argp_err_exit_status = STATUS_USAGE;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &request) || !check(&request))
		return STATUS_USAGE;
	request.output.blind = !request.watch.step;
	request.output.counting = request.watch.step;
	if (!output_check(&request.output) || !output_check_files(&request.output, NULL))
		return STATUS_USAGE;
	if (!request.output.trace && !request.output.wanted && !request.output.expect)
		output_set_report(&request.output, NULL);
	status = record_check_host(&request.watch);
	if (status)
		return status;
	request.watch.native_delivery = request.watch.step && record_host_delivers();
	if (!request.memory_chosen)
		request.watch.memory = record_host_memory();
	program = malloc(sizeof(*program));
	if (!program) {
		complain("record: %s", strerror(ENOMEM));
		return STATUS_EXEC_FAILED;
	}
	status = exec_find_program(request.command[0], program);
	if (!status)
		status = start(&request, program);
	free(program);
	return status;
}
