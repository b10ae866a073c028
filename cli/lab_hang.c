// SPDX-License-Identifier: GPL-2.0-only
/*
 * `buslock lab hang`: the published hang of guests on a host that punishes split locks. An ordinary
 * monitor (samples/timeslice.c) kicks its vCPU after so many milliseconds, under `buslock exec` with
 * each setting of the host; how far does the guest get?
 */
#include "cli/choices.h"
#include "cli/cli.h"
#include "cli/lab.h"
#include "cli/plot.h"
#include "vmm_shim/shim.h"

#include <argp.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_TIMEOUT 1000 /* ms */
#define OFFSET      "62" /* of the operand of 4 bytes: two in each line */

/* Seen from the command's own directory: the build tree, and where an installation has it. */
static const char *const monitor_places[] = { "samples/timeslice", "../libexec/buslock/timeslice" };

/* The host's settings that are compared: the options of `buslock exec`, and as the shim has them. */
static const struct setting {
	const char *name, *options[3], *shim;
} settings[] = {
	{ "off", { "--host-split-lock=off" }, "host_split_lock=off" },
	{ "warn", { "--host-split-lock=warn" }, "host_split_lock=warn" },
	{ "mitigate=0",
	  { "--host-split-lock=warn", "--split-lock-mitigate=0" },
	  "host_split_lock=warn,split_lock_mitigate=0" },
	{ "fixed",
	  { "--host-split-lock=warn", "--split-lock-fix" },
	  "host_split_lock=warn,split_lock_fix=1" },
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

struct request {
	unsigned from, to, slices;
	const char *kernel, *hz, *time, *plot, *monitor;
};

/* loops[setting][timeout - from]: per slice; NAN where that kernel does not have the setting */
struct result {
	unsigned rows;
	double *loops[SETTINGS], *x;
};

/* ------------------------------------------------------------------ options */

enum { OPT_SLICES = 256, OPT_KERNEL, OPT_HZ, OPT_TIME, OPT_PLOT, OPT_MONITOR, OPT_TIMEOUTS };

static const struct argp_option arguments[] = {
	{ "timeouts", OPT_TIMEOUTS, "FROM-TO", 0,
	  "After how many milliseconds the monitor kicks its vCPU; default 1-20", 0 },
	{ "slices", OPT_SLICES, "N", 0, "How often, for each of them; default 10", 0 },
	{ "kernel", OPT_KERNEL, "VERSION", 0, "The host's; default 6.12", 0 },
	{ "hz", OPT_HZ, "N", 0,
	  "The host's CONFIG_HZ; default 1000, with which 10 ms are nearly that; Debian's is 250",
	  0 },
	{ "time", OPT_TIME, "CLOCK", 0,
	  "virtual (default): seconds, and twice the same; or real: as long as it says", 0 },
	{ "plot", OPT_PLOT, "FILE", 0, "Draw it: FILE.svg, FILE.png, and the data in FILE.tsv", 0 },
	{ "monitor", OPT_MONITOR, "FILE", 0,
	  "The monitor, if not the one that belongs to this command (timeslice)", 0 },
	{ 0 },
};

static bool take_number(const char *name, const char *text, unsigned low, unsigned high,
			unsigned *value)
{
	uint64_t n;

	if (!parse_number(text, &n) || n < low || n > high) {
		complain("lab hang: --%s=%s: give a number from %u to %u", name, text, low, high);
		return false;
	}
	*value = (unsigned)n;
	return true;
}

static bool take_timeouts(struct request *r, const char *text)
{
	char from[16], *dash;

	snprintf(from, sizeof(from), "%s", text);
	dash = strchr(from, '-');
	if (dash)
		*dash++ = '\0';
	if (!take_number("timeouts", from, 1, MAX_TIMEOUT, &r->from) ||
	    !take_number("timeouts", dash ? dash : from, 1, MAX_TIMEOUT, &r->to))
		return false;
	if (r->from <= r->to)
		return true;
	complain("lab hang: --timeouts=%s: give a range that begins with its smaller end", text);
	return false;
}

static bool take_kernel(const char *value)
{
	struct choices choices;
	bool taken;

	choices_default(&choices, "lab hang: ");
	taken = choices_take(&choices, "kernel", value) && choices_check(&choices);
	choices_free(&choices);
	return taken;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
	struct request *r = state->input;
	unsigned checked;

	switch (key) {
	case OPT_TIMEOUTS:
		return take_timeouts(r, value) ? 0 : EINVAL;
	case OPT_SLICES:
		return take_number("slices", value, 1, 100000, &r->slices) ? 0 : EINVAL;
	case OPT_HZ:
		r->hz = value;
		return take_number("hz", value, 24, 1000, &checked) ? 0 : EINVAL;
	case OPT_KERNEL:
		r->kernel = value;
		return take_kernel(value) ? 0 : EINVAL;
	case OPT_TIME:
		r->time = value;
		if (!strcmp(value, "real") || !strcmp(value, "virtual"))
			return 0;
		complain("lab hang: --time=%s: give real or virtual", value);
		return EINVAL;
	case OPT_PLOT:
		r->plot = value;
		return 0;
	case OPT_MONITOR:
		r->monitor = value;
		return 0;
	case ARGP_KEY_ARG:
		complain("lab hang: '%s': there are options only", value);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Does the kernel have the setting? */
static bool possible(const struct request *r, const struct setting *setting)
{
	struct shim_options options;
	char text[256];

	shim_options_default(&options);
	snprintf(text, sizeof(text), "kernel=%s,%s", r->kernel, setting->shim);
	return !shim_options_parse(&options, text, NULL, 0) &&
	       !shim_options_check(&options, NULL, 0);
}

static bool find_monitor(const struct request *r, char path[PATH_MAX])
{
	char self[PATH_MAX], text[2 * PATH_MAX];
	ssize_t n;

	if (r->monitor) {
		snprintf(path, PATH_MAX, "%s", r->monitor);
		return true;
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n < 0 ? 0 : n] = '\0';
	dirname(self);
	for (size_t i = 0; i < sizeof(monitor_places) / sizeof(monitor_places[0]); i++) {
		snprintf(text, sizeof(text), "%s/%s", self, monitor_places[i]);
		if (realpath(text, path) && !access(path, X_OK))
			return true;
	}
	complain("lab hang: timeslice: neither in %s/samples nor in ../libexec/buslock of it; say "
		 "where "
		 "it is with --monitor=FILE",
		 self);
	return false;
}

/* ------------------------------------------------------------------ one setting */

#define MAX_WORDS 20

static void command_line(const struct request *r, const struct setting *setting,
			 const char *monitor, char storage[5][64], const char *word[MAX_WORDS])
{
	unsigned n = 0;

	snprintf(storage[0], 64, "--kernel=%s", r->kernel);
	snprintf(storage[1], 64, "--hz=%s", r->hz);
	snprintf(storage[2], 64, "--time=%s", r->time);
	snprintf(storage[3], 64, "--slices=%u", r->slices);
	snprintf(storage[4], 64, "%u-%u", r->from, r->to);
	word[n++] = "buslock";
	word[n++] = "exec";
	word[n++] = "--log=nothing"; /* the host's lines are not what is shown here */
	for (unsigned i = 0; i < 3; i++)
		word[n++] = storage[i];
	for (unsigned i = 0; setting->options[i]; i++)
		word[n++] = setting->options[i];
	word[n++] = "--";
	word[n++] = monitor;
	word[n++] = "--split-locks";
	word[n++] = "--offset=" OFFSET;
	word[n++] = storage[3];
	word[n++] = storage[4];
	word[n] = NULL;
}

static pid_t start(const char *const word[], int *output)
{
	int ends[2];
	pid_t pid;

	if (pipe(ends))
		return -1;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		close(ends[1]);
		execv("/proc/self/exe", (char *const *)(uintptr_t)word);
		_exit(125);
	}
	close(ends[1]);
	*output = ends[0];
	if (pid < 0)
		close(ends[0]);
	return pid;
}

/* One line for each time-out, in order: whatever else is there is not that monitor's output. */
static bool read_lines(FILE *in, const struct request *r, double *loops)
{
	char line[256];

	for (unsigned ms = r->from; ms <= r->to; ms++) {
		unsigned timeout, n;

		if (!fgets(line, sizeof(line), in) ||
		    sscanf(line, "timeout=%ums slices=%*u loops=%u", &timeout, &n) != 2 ||
		    timeout != ms)
			return false;
		loops[ms - r->from] = (double)n / r->slices;
	}
	return true;
}

static int measure(const struct request *r, const struct setting *setting, const char *monitor,
		   double *loops)
{
	char storage[5][64];
	const char *word[MAX_WORDS];
	int output, status = 0;
	bool complete;
	pid_t pid;
	FILE *in;

	command_line(r, setting, monitor, storage, word);
	pid = start(word, &output);
	in = pid < 0 ? NULL : fdopen(output, "r");
	if (!in) {
		complain("lab hang: %s: %s", monitor, strerror(errno));
		return STATUS_GUEST_DIED;
	}
	complete = read_lines(in, r, loops);
	fclose(in);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (complete && WIFEXITED(status) && !WEXITSTATUS(status))
		return STATUS_OK;
	complain("lab hang: %s: with %s it ended with %s %d and did not say how many loops its "
		 "guest "
		 "finished; try `buslock exec %s -- %s 1-20` by itself",
		 monitor, setting->name, WIFSIGNALED(status) ? "signal" : "status",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), setting->options[0],
		 monitor);
	return STATUS_GUEST_DIED;
}

/* ------------------------------------------------------------------ what came out */

static void print_table(const struct request *r, const struct result *result)
{
	printf("Loops that a guest finishes in a time slice: lock bts across two cache lines, %u "
	       "slices "
	       "each,\nkernel %s, %s Hz, %s time\n\n%8s",
	       r->slices, r->kernel, r->hz, r->time, "slice/ms");
	for (size_t i = 0; i < SETTINGS; i++)
		printf(" %12s", settings[i].name);
	putchar('\n');
	for (unsigned row = 0; row < result->rows; row++) {
		printf("%8u", r->from + row);
		for (size_t i = 0; i < SETTINGS; i++) {
			if (isnan(result->loops[i][row]))
				printf(" %12s", "-");
			else
				printf(" %12.1f", result->loops[i][row]);
		}
		putchar('\n');
	}
}

/* The point of it. */
static void print_conclusion(const struct request *r, const struct result *result)
{
	unsigned row = 0;

	while (row < result->rows && result->loops[1][row] == 0)
		row++;
	if (row)
		printf("\nwarn: the guest hangs in slices up to %u ms\n", r->from + row - 1);
	else
		puts("\nwarn: the guest gets on in slices of any of these lengths");
}

static int draw(const struct request *r, const struct result *result)
{
	struct plot plot = {
		.kind = PLOT_LINES,
		.title = "A guest on a split lock, kicked by its monitor",
		.x_label = "time slice (ms)",
		.y_label = "loops finished per slice",
		.rows = result->rows,
		.x = result->x,
		.count = SETTINGS,
	};

	for (size_t i = 0; i < SETTINGS; i++)
		plot.series[i] = (struct plot_series){ settings[i].name, result->loops[i] };
	return plot_write(&plot, r->plot);
}

static int run(const struct request *r, struct result *result)
{
	char monitor[PATH_MAX];
	int status = STATUS_OK;

	if (!find_monitor(r, monitor))
		return STATUS_USAGE;
	for (size_t i = 0; i < SETTINGS && !status; i++) {
		for (unsigned row = 0; row < result->rows; row++)
			result->loops[i][row] = NAN;
		if (possible(r, &settings[i]))
			status = measure(r, &settings[i], monitor, result->loops[i]);
	}
	if (status)
		return status;
	print_table(r, result);
	print_conclusion(r, result);
	return r->plot ? draw(r, result) : STATUS_OK;
}

int lab_hang(int argc, char **argv)
{
	static const struct argp argp = {
		.options = arguments,
		.parser = parse,
		.doc = "Shows the hang of a guest that takes a split lock on a host with "
		       "split_lock_detect=warn, under a monitor that kicks it by a timer, next to "
		       "detection switched off, the mitigation switched off, and a proposed fix.",
	};
	struct request r = {
		.from = 1, .to = 20, .slices = 10, .kernel = "6.12", .hz = "1000", .time = "virtual"
	};
	struct result result = { 0 };
	double *numbers;
	int status;

	argp_err_exit_status = STATUS_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &r))
		return STATUS_USAGE;
	result.rows = r.to - r.from + 1;
	numbers = calloc(result.rows, (SETTINGS + 1) * sizeof(*numbers));
	if (!numbers) {
		complain("lab hang: %s", strerror(ENOMEM));
		return STATUS_USAGE;
	}
	for (size_t i = 0; i < SETTINGS; i++)
		result.loops[i] = numbers + i * result.rows;
	result.x = numbers + SETTINGS * result.rows;
	for (unsigned row = 0; row < result.rows; row++)
		result.x[row] = r.from + row;
	status = run(&r, &result);
	free(numbers);
	return status;
}
