// SPDX-License-Identifier: GPL-2.0-only
/* `buslock import`: logs that people already have, as a trace. */
#include "traces/import.h"
#include "cli/cli.h"
#include "cli/trace_walk.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHOWN 10

struct request {
	const char *out; /* NULL: standard output */
	bool all, quiet;
	const char *const *files;
	unsigned long shown;
};

static const struct argp_option options[] = {
	{ "output", 'o', "FILE", 0, "The trace; standard output by default", 0 },
	{ "all", 'a', NULL, 0, "Show every line that is not understood, not only the first 10", 0 },
	{ "quiet", 'q', NULL, 0, "No summary, and no lines that are not understood", 0 },
	{ 0 },
};

static const char doc[] =
	"Makes a trace of what KVM's tracepoints (ftrace, trace-cmd report, perf script) and the "
	"kernel's log (dmesg, journalctl) say of bus locks. Files may be mixed; - or none is "
	"standard input. docs/import.md has the layouts.\v"
	"Exit status: 0, 1 if there were lines that are not understood (the rest is in the trace), "
	"2 "
	"for trouble.";

static error_t parse(int key, char *value, struct argp_state *state)
{
	struct request *request = state->input;

	switch (key) {
	case 'o':
		request->out = value;
		return 0;
	case 'a':
		request->all = true;
		return 0;
	case 'q':
		request->quiet = true;
		return 0;
	case ARGP_KEY_ARGS:
		request->files = (const char *const *)(state->argv + state->next);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options, .parser = parse, .args_doc = "[FILE...]", .doc = doc
};

static void not_understood(void *opaque, const char *name, unsigned long number, const char *line)
{
	struct request *request = opaque;

	if (request->quiet || (!request->all && request->shown++ >= SHOWN))
		return;
	complain("%s:%lu: not understood: %.160s", name, number, line);
}

static void print_totals(const struct import_totals *t)
{
	fprintf(stderr, "buslock: %" PRIu64 " lines: %" PRIu64 " events, %" PRIu64 " others",
		t->lines, t->events, t->others);
	for (size_t i = 0; i < IMPORT_OTHERS && t->other[i].count; i++)
		fprintf(stderr, "%s%s %" PRIu64, i ? ", " : " (", t->other[i].name,
			t->other[i].count);
	fprintf(stderr, "%s, %" PRIu64 " not understood\n", t->others ? ")" : "", t->unknown);
	if (t->lost)
		fprintf(stderr, "buslock: the tool that wrote it had lost %" PRIu64 " events\n",
			t->lost);
}

/* A log that is not there is told before there is a trace that says nothing. */
static bool all_readable(const char *const *files)
{
	struct stat st;
	bool good = true;

	for (; *files; files++) {
		const char *name = *files;
		int error = !strcmp(name, "-")                      ? 0
			    : stat(name, &st) || access(name, R_OK) ? errno
			    : S_ISDIR(st.st_mode)                   ? EISDIR
								    : 0;

		if (error)
			complain("import: %s: %s", *files, strerror(error));
		good &= !error;
	}
	return good;
}

static int read_file(struct import *import, const char *name)
{
	bool standard = !strcmp(name, "-");
	FILE *in = standard ? stdin : fopen(name, "re");
	int error = in ? import_file(import, in, standard ? "standard input" : name) : -errno;

	if (in && !standard)
		fclose(in);
	if (error)
		complain("import: %s: %s", name, strerror(-error));
	return error;
}

/* The trace must not empty what it is made of. */
static FILE *open_out(const struct request *request)
{
	FILE *out;

	for (size_t i = 0; request->out && request->files[i]; i++)
		if (same_file(walk_path(request->files[i]), request->out)) {
			complain("import: -o %s: it is one of the logs; name another file",
				 request->out);
			return NULL;
		}
	out = request->out ? fopen(request->out, "we") : stdout;
	if (!out)
		complain("import: -o %s: %s", request->out, strerror(errno));
	return out;
}

static int run(struct request *request, FILE *out)
{
	struct import_totals totals;
	struct import *import;
	int error, failed = 0;

	error = import_begin(&import, out, request->files, not_understood, request);
	if (error) {
		complain("import: %s", strerror(-error));
		return STATUS_USAGE;
	}
	for (size_t i = 0; request->files[i]; i++)
		failed |= read_file(import, request->files[i]) != 0;
	error = import_end(import, &totals);
	if (request->out && fclose(out) && !error)
		error = -errno;
	if (error && (request->out || !ferror(out))) /* else main() will say it */
		complain("import: %s: %s", request->out ? request->out : "standard output",
			 strerror(-error));
	if (!request->quiet)
		print_totals(&totals);
	return error || failed ? STATUS_USAGE : totals.unknown ? STATUS_NOT_HELD : STATUS_OK;
}

int command_import(int argc, char **argv)
{
	static const char *const standard_input[] = { "-", NULL };
	struct request request = { .files = standard_input };
	FILE *out;

	argp_err_exit_status = STATUS_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &request) || !all_readable(request.files))
		return STATUS_USAGE;
	out = open_out(&request);
	return out ? run(&request, out) : STATUS_USAGE;
}
