// SPDX-License-Identifier: GPL-2.0-only
/* `buslock diff`: where two traces part, for people. */
#include "traces/diff.h"
#include "cli/cli.h"
#include "cli/diff_text.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_IGNORED  32
#define SHOWN_HUNKS  10
#define SHOWN_AROUND 3

struct request {
	const char *file[DIFF_SIDES];
	unsigned files;
	bool timing, quiet;
	const char *ignore[MAX_IGNORED + 1];
	unsigned ignored;
	struct diff_options options;
	struct diff_text text;
};

enum {
	OPT_ONLY = 256,
	OPT_NO_REGISTERS,
	OPT_TIME,
	OPT_TIMING,
	OPT_IGNORE,
	OPT_SYMBOLS,
	OPT_CODE,
	OPT_MAX,
	OPT_CONTEXT
};

static const struct argp_option options[] = {
	{ "only", OPT_ONLY, "WHAT", 0, "Compare only bus-locks, or only exits", 0 },
	{ "no-registers", OPT_NO_REGISTERS, NULL, 0, "Leave the registers' digests out", 0 },
	{ "ignore", OPT_IGNORE, "FIELD", 0,
	  "Leave out a field (word, exit.word) or an event (sleep); may be repeated", 0 },
	{ "timing", OPT_TIMING, NULL, 0,
	  "Extra exits for signals and interrupt windows are told, but are no difference", 0 },
	{ "time", OPT_TIME, NULL, 0, "Compare times, too", 0 },
	{ "symbols", OPT_SYMBOLS, "FILE", 0,
	  "The guest's symbols: ELF or System.map, FILE@OFFSET if relocated; may be repeated", 0 },
	{ "code", OPT_CODE, "FILE@ADDRESS", 0,
	  "The guest's code: a flat image and the linear address it is at", 0 },
	{ "max", OPT_MAX, "N", 0, "Differences to list, 10 by default", 0 },
	{ "context", OPT_CONTEXT, "N", 0, "Events in front of the first one, 3 by default", 0 },
	{ "quiet", 'q', NULL, 0, "Only the exit status", 0 },
	{ 0 },
};

static const char doc[] =
	"Compare two traces: where they part first, and what else differs.\v"
	"Each vCPU is compared for itself, and only what both traces can tell. The exit status is "
	"0 if they are the same, 1 if they differ, 2 for trouble (docs/diff.md).";

/* ------------------------------------------------------------------ options */

static bool take_only(struct request *r, const char *value)
{
	static const struct {
		const char *name;
		enum diff_only only;
	} kinds[] = {
		{ "bus-locks", DIFF_BUS_LOCKS }, { "bus-lock", DIFF_BUS_LOCKS },
		{ "bus_locks", DIFF_BUS_LOCKS }, { "bus_lock", DIFF_BUS_LOCKS },
		{ "exits", DIFF_EXITS },         { "exit", DIFF_EXITS },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(value, kinds[i].name)) {
			r->options.only = kinds[i].only;
			return true;
		}
	complain("--only: '%s'? Give bus-locks or exits", value);
	return false;
}

static bool take_number(const char *option, const char *value, unsigned *number)
{
	uint64_t n;

	if (!number_in(option, value, 0, 1000000, &n))
		return false;
	*number = (unsigned)n;
	return true;
}

static bool take(struct request *r, int key, char *value)
{
	switch (key) {
	case OPT_ONLY:
		return take_only(r, value);
	case OPT_NO_REGISTERS:
		r->options.no_registers = true;
		return true;
	case OPT_TIME:
		r->options.times = true;
		return true;
	case OPT_TIMING:
		r->timing = true;
		return true;
	case OPT_IGNORE:
		if (r->ignored == MAX_IGNORED) {
			complain("--ignore: at most %d", MAX_IGNORED);
			return false;
		}
		r->ignore[r->ignored++] = value;
		return true;
	case OPT_SYMBOLS:
		return walk_add_symbols(&r->text.symbols, value);
	case OPT_CODE:
		return diff_text_code(&r->text, value);
	case OPT_MAX:
		return take_number("--max", value, &r->text.most);
	default: /* OPT_CONTEXT */
		return take_number("--context", value, &r->text.context);
	}
}

static error_t parse(int key, char *value, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case 'q':
		r->quiet = true;
		return 0;
	case ARGP_KEY_ARG:
		if (r->files == DIFF_SIDES) {
			complain("diff: two files, not also '%s'", value);
			return EINVAL;
		}
		r->file[r->files++] = value;
		return 0;
	case ARGP_KEY_END:
		if (r->files == DIFF_SIDES)
			return 0;
		complain("diff: which traces? buslock diff [OPTION...] A B");
		return EINVAL;
	default:
		if (key < OPT_ONLY || key > OPT_CONTEXT)
			return ARGP_ERR_UNKNOWN;
		return take(r, key, value) ? 0 : EINVAL;
	}
}

/* ------------------------------------------------------------------ the command */

/* A pipe is empty when it is read again. */
static bool can_be_read_again(const char *file)
{
	struct stat st;

	if (stat(file, &st)) {
		complain("%s: %s", file, strerror(errno));
		return false;
	}
	if (S_ISREG(st.st_mode))
		return true;
	complain("%s: not a regular file; diff goes through a trace more than once: write it into "
		 "one",
		 file);
	return false;
}

static int tell_damage(const struct diff *d)
{
	int status = STATUS_OK;

	for (int i = 0; i < DIFF_SIDES; i++) {
		const struct diff_side *side = &d->side[i];

		if (!side->bad)
			continue;
		if (!side->lines)
			complain("%s: %s", side->path, side->why);
		else
			complain("%s: line %lu: %s%s", side->path, side->first_bad, side->why,
				 side->bad > 1 ? "; and more damage behind it" : "");
		status = STATUS_USAGE;
	}
	return status;
}

static int compare(const struct request *r)
{
	struct diff *d;
	char why[256];
	int error =
		diff_traces(&d, r->file[DIFF_A], r->file[DIFF_B], &r->options, why, sizeof(why));
	int status, differ;

	if (error) {
		complain("diff: %s", why);
		return STATUS_USAGE;
	}
	status = tell_damage(d);
	differ = d->hunks - (r->timing ? d->timing : 0) ? STATUS_NOT_HELD : STATUS_OK;
	if (!d->comparable) {
		complain("diff: %s and %s have nothing that could be compared%s%s", r->file[DIFF_A],
			 r->file[DIFF_B], d->notes ? "; the first of it: " : "",
			 d->notes ? d->note[0] : "");
		status = STATUS_USAGE;
	} else if (!r->quiet) {
		error = diff_text_print(d, &r->text, r->timing);
		if (error) {
			complain("diff: %s", strerror(-error));
			status = STATUS_USAGE;
		}
	}
	diff_free(d);
	return status ? status : differ;
}

int command_diff(int argc, char **argv)
{
	const struct argp argp = { options, parse, "A B", doc, NULL, NULL, NULL };
	struct request r = { .text = { .most = SHOWN_HUNKS, .context = SHOWN_AROUND } };
	int status = STATUS_USAGE;

	argp_err_exit_status = STATUS_USAGE;
	if (!argp_parse(&argp, argc, argv, 0, NULL, &r) && can_be_read_again(r.file[DIFF_A]) &&
	    can_be_read_again(r.file[DIFF_B])) {
		r.options.ignore = r.ignore;
		status = compare(&r);
	}
	diff_text_free(&r.text);
	return status;
}
