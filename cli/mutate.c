// SPDX-License-Identifier: GPL-2.0-only
/*
 * `buslock mutate`: which deliberate faults does a test notice? Each run is `buslock exec` with one fault, in
 * a process group of its own, so that all of it can be ended.
 */
#include "cli/choices.h"
#include "cli/cli.h"
#include "cli/exec.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SHORTEST_LIMIT 5 /* seconds: a fault may make a quick test wait for a policy's sleep */
#define LIMIT_FACTOR   10

struct request {
	struct choices choices;
	bool list, verbose, json;
	uint64_t limit; /* seconds; 0: by the run without a fault */
	uint64_t success;
	bool chosen[SHIM_FAULTS];
	char *exec[64]; /* "buslock exec", its options, "--", the test; NULL at the end */
	char report[32];
};

/* What came of a run. */
struct outcome {
	bool timeout, passed, failed_to_run;
	int wait_status;
	bool met; /* the fault came about, as far as is known */
	bool known;
	double seconds;
};

/* ------------------------------------------------------------------ options */

enum { OPT_LIST = 1000, OPT_ONLY, OPT_EXCEPT, OPT_LIMIT, OPT_VERBOSE, OPT_JSON, OPT_SUCCESS };

static const struct argp_option arguments[] = {
	{ NULL, 0, NULL, 0, "Which faults:", 1 },
	{ "list", OPT_LIST, NULL, 0, "Name them all, with what is wrong, and end", 1 },
	{ "only", OPT_ONLY, "FAULT,...", 0, "These alone", 1 },
	{ "except", OPT_EXCEPT, "FAULT,...", 0, "All but these, which your test need not notice",
	  1 },
	{ NULL, 0, NULL, 0, "What the test gets (as of `buslock exec`):", CHOICES_GROUP },
	{ NULL, 0, NULL, 0, "The runs:", 3 },
	{ "time-limit", OPT_LIMIT, "SECONDS", 0,
	  "A run that takes longer has noticed the fault; default: ten times what the test takes "
	  "without one, 5 at least",
	  3 },
	{ "success", OPT_SUCCESS, "STATUS", 0, "The test's exit status that means success; 0", 3 },
	{ "json", OPT_JSON, NULL, 0, "The result as JSON, on standard output", 3 },
	{ "verbose", OPT_VERBOSE, NULL, 0, "Show what the test prints", 3 },
	{ 0 },
};

static const char doc[] =
	"Runs TEST under the emulation once for each deliberate fault of processor or kernel, and "
	"says which of them it notices: by failing, or by hanging. TEST must pass without a "
	"fault.\v"
	"Exit status: 0 if all faults were noticed, 1 if not, 2 for trouble (TEST fails by "
	"itself). docs/mutate.md has the faults.";

static int fault_by_name(const char *name, size_t length)
{
	for (int i = 1; i < SHIM_FAULTS; i++) {
		const char *is = shim_fault_name((enum shim_fault)i);

		if (strlen(is) == length && !strncmp(is, name, length))
			return i;
	}
	return -1;
}

static bool choose(struct request *request, const char *option, const char *names, bool wanted)
{
	for (int i = 1; i < SHIM_FAULTS; i++)
		request->chosen[i] = !wanted;
	while (*names) {
		size_t length = strcspn(names, ",");
		int fault = fault_by_name(names, length);

		if (fault < 0) {
			complain("mutate: --%s: there is no fault '%.*s'; --list names them",
				 option, (int)length, names);
			return false;
		}
		request->chosen[fault] = wanted;
		names += length;
		names += *names == ',';
	}
	return true;
}

static bool has_name(const struct argp_option *option, const char *name, size_t length)
{
	return option->name && strlen(option->name) == length &&
	       !strncmp(option->name, name, length);
}

/*
 * Options are exec's, but for our own. They have been understood already, so what begins one of ours is
 * that one shortened (getopt_long(3)), unless it is all of another's name: --time.
 */
static bool is_own(const char *option, bool *separate)
{
	const char *name = option + 2;
	size_t length = strcspn(name, "=");

	*separate = false;
	if (!strcmp(option, "--"))
		return true;
	if (strncmp(option, "--", 2))
		return false;
	for (const struct argp_option *o = choices_argp()->options; o->name || o->doc; o++)
		if (has_name(o, name, length))
			return false;
	for (const struct argp_option *o = arguments; o->name || o->doc; o++) {
		if (!o->name || strncmp(o->name, name, length) != 0)
			continue;
		*separate = o->arg && !name[length];
		return true;
	}
	return false;
}

/* argv[first …] is the test; what stands in front and is not ours goes on to exec. */
static bool collect(struct request *request, char **argv, int first)
{
	const size_t room = sizeof(request->exec) / sizeof(request->exec[0]);
	size_t n = 3; /* "buslock exec", --fault, --report */
	bool separate;

	for (int i = 1; i < first; i++) {
		if (is_own(argv[i], &separate)) {
			i += separate;
			continue;
		}
		if (n < room)
			request->exec[n++] = argv[i];
	}
	if (n < room)
		request->exec[n++] = (char *)(uintptr_t) "--";
	for (; argv[first] && n < room; first++)
		request->exec[n++] = argv[first];
	if (n < room)
		return true;
	complain("mutate: more than %zu arguments; put the test into a script", room - 5);
	return false;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
	struct request *request = state->input;
	bool good = true;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &request->choices;
		return 0;
	case ARGP_KEY_ARG:
		good = collect(request, state->argv, state->next - 1);
		state->next = state->argc;
		break;
	case OPT_LIST:
		request->list = true;
		break;
	case OPT_VERBOSE:
		request->verbose = true;
		break;
	case OPT_JSON:
		request->json = true;
		break;
	case OPT_ONLY:
		good = choose(request, "only", value, true);
		break;
	case OPT_EXCEPT:
		good = choose(request, "except", value, false);
		break;
	case OPT_LIMIT:
		good = number_in("mutate: --time-limit", value, 1, 86400, &request->limit);
		break;
	case OPT_SUCCESS:
		good = number_in("mutate: --success", value, 0, 255, &request->success);
		break;
	case ARGP_KEY_NO_ARGS:
		if (request->list)
			return 0;
		complain("mutate: which test? buslock mutate [OPTION...] -- TEST [ARGUMENT...]");
		good = false;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	if (!good)
		exit(STATUS_USAGE);
	return 0;
}

static struct argp_child children[2]; /* the first is choices_argp() */
static const struct argp argp = { .options = arguments,
				  .children = children,
				  .parser = parse,
				  .args_doc = "-- TEST [ARGUMENT...]",
				  .doc = doc };

/* ------------------------------------------------------------------ a run */

static volatile sig_atomic_t interrupted;
static void on_signal(int signal)
{
	interrupted = signal;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void be_exec(const struct request *request, int fault)
{
	char option[64], report[64];
	char **argv = (char **)(uintptr_t)request->exec;
	int argc = 0, null = open("/dev/null", O_RDWR);

	setpgid(0, 0);
	/* in a group that is not the terminal's, reading from that would stop it for ever */
	if (null >= 0)
		dup2(null, STDIN_FILENO);
	if (!request->verbose && null >= 0) {
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
	}
	if (null > STDERR_FILENO)
		close(null);
	snprintf(option, sizeof(option), "--fault=%s", shim_fault_name((enum shim_fault)fault));
	snprintf(report, sizeof(report), "--report=json:%s", request->report);
	/* a script that calls `buslock exec` by itself finds it there */
	setenv("BUSLOCK_FAULT", shim_fault_name((enum shim_fault)fault), 1);
	argv[0] = (char *)(uintptr_t) "buslock exec";
	argv[1] = option;
	argv[2] = report;
	while (argv[argc])
		argc++;
	exit(command_exec(argc, argv));
}

/* Waits until it ends, the time is over or we are told to end. */
static bool wait_for(pid_t child, double limit, int *status)
{
	struct pollfd ended = { .fd = (int)syscall(SYS_pidfd_open, child, 0), .events = POLLIN };
	double end = now() + limit, left;
	bool done = false;

	while (!done && !interrupted && (left = end - now()) > 0) {
		/* a signal may come between the look at `interrupted` and the wait */
		int milliseconds = left > 1 ? 1000 : (int)(left * 1000) + 1;

		if (ended.fd >= 0)
			poll(&ended, 1, milliseconds);
		else
			poll(NULL, 0, milliseconds < 10 ? milliseconds : 10);
		done = waitpid(child, status, WNOHANG) == child;
	}
	if (ended.fd >= 0)
		close(ended.fd);
	kill(-child, SIGKILL); /* also what it has left behind */
	if (!done)
		waitpid(child, status, 0);
	return done;
}

/* "faults" of the report; a test that never opened a device has none, or not in our process. */
static void read_report(const struct request *request, struct outcome *outcome)
{
	struct json_object *json = json_object_from_file(request->report), *value;

	if (json && json_object_object_get_ex(json, "vms", &value) &&
	    json_object_get_uint64(value)) {
		outcome->known = true;
		outcome->met = json_object_object_get_ex(json, "faults", &value) &&
			       json_object_get_uint64(value);
	}
	json_object_put(json);
}

static int run(const struct request *request, int fault, double limit, struct outcome *outcome)
{
	double begun = now();
	FILE *empty = fopen(request->report, "w");
	pid_t child;

	*outcome = (struct outcome){ 0 };
	if (empty)
		fclose(empty);
	fflush(NULL);
	child = fork();
	if (child < 0) {
		complain("mutate: %s", strerror(errno));
		return STATUS_USAGE;
	}
	if (!child)
		be_exec(request, fault);
	setpgid(child, child);
	outcome->timeout = !wait_for(child, limit, &outcome->wait_status);
	outcome->seconds = now() - begun;
	if (interrupted)
		return 128 + interrupted;
	read_report(request, outcome);
	if (!outcome->timeout && WIFEXITED(outcome->wait_status)) {
		int status = WEXITSTATUS(outcome->wait_status);

		outcome->passed = status == (int)request->success;
		outcome->failed_to_run = status == STATUS_EXEC_FAILED || status == STATUS_REFUSED ||
					 status == STATUS_NOT_FOUND;
	}
	return STATUS_OK;
}

/* ------------------------------------------------------------------ the table */

static const char *how(const struct outcome *outcome, char *text, size_t size)
{
	int status = outcome->wait_status;

	if (outcome->timeout)
		snprintf(text, size, "hung");
	else if (WIFSIGNALED(status))
		snprintf(text, size, "died of signal %d", WTERMSIG(status));
	else if (!outcome->passed)
		snprintf(text, size, "exit status %d", WEXITSTATUS(status));
	else if (outcome->known && !outcome->met)
		snprintf(text, size, "passed; the fault never came about in it");
	else
		snprintf(text, size, "passed");
	return text;
}

static void print_row(const struct request *request, int fault, const struct outcome *outcome,
		      struct json_object *rows)
{
	const char *name = shim_fault_name((enum shim_fault)fault);
	char text[64];

	how(outcome, text, sizeof(text));
	if (!request->json) {
		printf("%-16s %-8s %8.2f s  %s\n", name, outcome->passed ? "NO" : "yes",
		       outcome->seconds, text);
		fflush(stdout);
		return;
	}
	struct json_object *row = json_object_new_object();
	json_object_object_add(row, "fault", json_object_new_string(name));
	json_object_object_add(row, "noticed", json_object_new_boolean(!outcome->passed));
	json_object_object_add(row, "came_about",
			       outcome->known ? json_object_new_boolean(outcome->met) : NULL);
	json_object_object_add(row, "how", json_object_new_string(text));
	json_object_object_add(row, "seconds", json_object_new_double(outcome->seconds));
	json_object_array_add(rows, row);
}

static void list_faults(void)
{
	for (int i = 1; i < SHIM_FAULTS; i++)
		printf("%-16s %s\n", shim_fault_name((enum shim_fault)i),
		       shim_fault_text((enum shim_fault)i));
}

/* Without a fault: it must pass, and its time is the measure. */
static int baseline(struct request *request, double *limit)
{
	struct outcome outcome;
	char text[64];
	int status = run(request, SHIM_FAULT_NONE, request->limit ? (double)request->limit : 86400,
			 &outcome);

	if (status)
		return status;
	if (!outcome.passed) {
		complain("mutate: without any fault the test does not pass (%s): mend that first; "
			 "--verbose shows what it prints",
			 how(&outcome, text, sizeof(text)));
		return STATUS_USAGE;
	}
	*limit = LIMIT_FACTOR * outcome.seconds;
	if (*limit < SHORTEST_LIMIT)
		*limit = SHORTEST_LIMIT;
	if (request->limit)
		*limit = (double)request->limit;
	if (!request->json)
		printf("%-16s %-8s %8.2f s  passes without a fault\n%-16s %s\n", "", "",
		       outcome.seconds, "fault", "noticed");
	return STATUS_OK;
}

static int run_all(struct request *request)
{
	struct json_object *rows = json_object_new_array();
	unsigned noticed = 0, chosen = 0;
	struct outcome outcome;
	double limit = 0;
	int status = baseline(request, &limit);

	for (int i = 1; !status && i < SHIM_FAULTS; i++) {
		if (!request->chosen[i])
			continue;
		status = run(request, i, limit, &outcome);
		if (!status && outcome.failed_to_run) {
			complain("mutate: %s: the test could not be run (exit status %d)",
				 shim_fault_name((enum shim_fault)i),
				 WEXITSTATUS(outcome.wait_status));
			status = STATUS_USAGE;
		}
		if (status)
			break;
		chosen++;
		noticed += !outcome.passed;
		print_row(request, i, &outcome, rows);
	}
	if (!status && request->json)
		printf("%s\n", json_object_to_json_string_ext(rows, JSON_C_TO_STRING_PRETTY));
	else if (!status)
		printf("%u of %u noticed\n", noticed, chosen);
	json_object_put(rows);
	return status ? status : noticed == chosen ? STATUS_OK : STATUS_NOT_HELD;
}

/* What is exec's, but makes no sense here. */
static bool check(const struct shim_options *shim)
{
	if (shim->fault)
		complain("mutate: --fault=%s: each run has a fault of its own; --only=%s chooses",
			 shim_fault_name(shim->fault), shim_fault_name(shim->fault));
	else if (shim->trace_locked || shim->trace_registers)
		complain("mutate: --%s: no trace is written here; leave it out",
			 shim->trace_locked ? "locked" : "trace-registers");
	else
		return true;
	return false;
}

int command_mutate(int argc, char **argv)
{
	struct request request = { .report = "/tmp/buslock-mutate-XXXXXX" };
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	const struct sigaction action = { .sa_handler = on_signal };
	int fd, status;

	for (int i = 1; i < SHIM_FAULTS; i++)
		request.chosen[i] = true;
	choices_default(&request.choices, "mutate: ");
	children[0].argp = choices_argp();
	argp_err_exit_status = STATUS_USAGE;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &request) ||
	    !choices_check(&request.choices) || !check(&request.choices.shim))
		return STATUS_USAGE;
	choices_free(&request.choices);
	if (request.list) {
		list_faults();
		return STATUS_OK;
	}
	fd = mkstemp(request.report);
	if (fd < 0) {
		complain("mutate: %s: %s", request.report, strerror(errno));
		return STATUS_USAGE;
	}
	close(fd);
	/* the test is in a group of its own: nobody else would end it */
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
	status = run_all(&request);
	unlink(request.report);
	return status;
}
