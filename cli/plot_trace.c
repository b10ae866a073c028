// SPDX-License-Identifier: GPL-2.0-only
/* `buslock plot`: the bus locks of a trace, and what was slept for them, over time. */
#include "cli/cli.h"
#include "cli/plot.h"
#include "cli/trace_walk.h"

#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How long a trace is shows at its end: until then intervals double whenever they are too many. */
#define MOST_BINS 400
#define FIRST_BIN 1000 /* ns */
#define MAX_VCPUS 64

struct bin {
	double locks, flagged, policy, host; /* events; ns */
};

struct plotting {
	const char *file, *output;
	uint64_t width; /* ns of an interval */
	uint64_t from, to;
	struct bin bin[MOST_BINS];
	size_t used;
	struct trace_who vcpu[MAX_VCPUS];
	unsigned vcpus;
	uint64_t last;
};

static void double_width(struct plotting *p)
{
	for (size_t i = 0; i < MOST_BINS; i += 2) {
		struct bin *a = &p->bin[i], *b = a + 1;

		p->bin[i / 2] = (struct bin){ a->locks + b->locks, a->flagged + b->flagged,
					      a->policy + b->policy, a->host + b->host };
	}
	memset(p->bin + MOST_BINS / 2, 0, MOST_BINS / 2 * sizeof(*p->bin));
	p->used = (p->used + 1) / 2;
	p->width *= 2;
}

static struct bin *bin_at(struct plotting *p, uint64_t time)
{
	time -= p->from;
	while (time / p->width >= MOST_BINS)
		double_width(p);
	if (time / p->width >= p->used)
		p->used = time / p->width + 1;
	return &p->bin[time / p->width];
}

/* Each interval gets its share of a sleep that ended at `end`. */
static void add_sleep(struct plotting *p, uint64_t end, uint64_t ns, bool host)
{
	uint64_t begin = ns < end ? end - ns : 0;

	if (begin < p->from)
		begin = p->from;
	if (end > p->to)
		end = p->to;
	if (begin >= end)
		return;
	bin_at(p, end); /* intervals stay as they are from here on */
	while (begin < end) {
		struct bin *bin = bin_at(p, begin);
		uint64_t next = begin - (begin - p->from) % p->width + p->width;
		uint64_t part = (next < end ? next : end) - begin;

		*(host ? &bin->host : &bin->policy) += (double)part;
		begin += part;
	}
}

static void note_vcpu(struct plotting *p, struct trace_who who)
{
	for (unsigned i = 0; i < p->vcpus; i++)
		if (!memcmp(&p->vcpu[i], &who, sizeof(who)))
			return;
	if (p->vcpus < MAX_VCPUS)
		p->vcpu[p->vcpus++] = who;
}

static void add_event(struct plotting *p, const struct trace_line *line)
{
	const char *who = field_string(line->json, "who");
	uint64_t time = field_time(line->json), value = 0;

	if (line->event == TRACE_SLEEP && field_number(line->json, "ns", &value))
		add_sleep(p, time, value, who && !strcmp(who, "host"));
	if (time < p->from || time > p->to)
		return;
	if (time > p->last)
		p->last = time;
	switch (line->event) {
	case TRACE_RUN:
		note_vcpu(p, field_who(line->json));
		bin_at(p, time);
		break;
	case TRACE_BUS_LOCK:
		bin_at(p, time)->locks++;
		break;
	case TRACE_EXIT:
		field_number(line->json, "flags", &value);
		bin_at(p, time)->flagged += (double)(value >> 1 & 1); /* KVM_RUN_X86_BUS_LOCK */
		break;
	case TRACE_VM_EXIT:
		note_vcpu(p, field_who(line->json));
		bin_at(p, time)->flagged += field_true(line->json, "bus_lock");
		break;
	default:
		break;
	}
}

/* ------------------------------------------------------------------ the picture */

struct columns {
	double x[MOST_BINS], locks[MOST_BINS], policy[MOST_BINS], host[MOST_BINS];
	double all_locks, all_flagged, all_policy, all_host;
};

/* The last interval may be a part of one. */
static double seconds_of(const struct plotting *p, size_t i)
{
	uint64_t begin = p->from + i * p->width;
	uint64_t width = p->last - begin < p->width ? p->last - begin : p->width;

	return (double)(width < p->width / 2 ? p->width : width) / 1e9;
}

static void fill(const struct plotting *p, struct columns *c)
{
	for (size_t i = 0; i < p->used; i++) {
		c->all_locks += p->bin[i].locks;
		c->all_flagged += p->bin[i].flagged;
		c->all_policy += p->bin[i].policy;
		c->all_host += p->bin[i].host;
	}
	for (size_t i = 0; i < p->used; i++) {
		const struct bin *bin = &p->bin[i];
		double seconds = seconds_of(p, i);
		double percent = 1e-7 / seconds / (p->vcpus ? p->vcpus : 1);

		c->x[i] = ((double)p->from + ((double)i + 0.5) * (double)p->width) / 1e9;
		c->locks[i] = (c->all_locks > 0 ? bin->locks : bin->flagged) / seconds;
		c->policy[i] = fmin(100, bin->policy * percent);
		c->host[i] = fmin(100, bin->host * percent);
	}
}

/* A rate needs some events in each interval, or the picture shows how they fall on the intervals. */
#define FEWEST_BINS 24
#define FEW_EVENTS  8
static void widen(struct plotting *p)
{
	double events = 0;

	for (size_t i = 0; i < p->used; i++)
		events += p->bin[i].locks + p->bin[i].flagged;
	while (p->used >= 2 * FEWEST_BINS && events / (double)p->used < FEW_EVENTS)
		double_width(p);
}

static int draw(const struct plotting *p, unsigned files)
{
	struct columns *c = calloc(1, sizeof(*c));
	struct plot plot = { .kind = PLOT_LINES,
			     .title = p->file,
			     .x_label = "time (s)",
			     .second_axis = 1,
			     .y2_label = "vCPUs asleep (% of their time)",
			     .files = files,
			     .no_points = true,
			     .rows = p->used };
	int status;

	if (!c) {
		complain("plot: %s", strerror(ENOMEM));
		return STATUS_USAGE;
	}
	fill(p, c);
	if (c->all_locks + c->all_flagged <= 0)
		complain("plot: %s: there are no bus locks in it; what is drawn is a line at zero",
			 p->file);
	plot.x = c->x;
	/* A real kernel tells of locks only by the flag of its exits. */
	plot.y_label = c->all_locks > 0 ? "bus locks per second" : "bus-lock exits per second";
	plot.series[plot.count++] = (struct plot_series){ "bus locks", c->locks };
	if (c->all_policy > 0)
		plot.series[plot.count++] =
			(struct plot_series){ "asleep: the monitor's policy", c->policy };
	if (c->all_host > 0)
		plot.series[plot.count++] =
			(struct plot_series){ "asleep: the host's kernel", c->host };
	if (plot.count == 1)
		plot.second_axis = 0;
	status = plot_write(&plot, p->output);
	free(c);
	return status;
}

/* ------------------------------------------------------------------ the command */

/* OUT.svg: that file; OUT: OUT.svg, OUT.png and OUT.tsv. */
static const struct {
	const char *suffix;
	unsigned file;
} suffixes[] = { { ".svg", PLOT_SVG }, { ".png", PLOT_PNG }, { ".tsv", PLOT_TSV } };

#define SUFFIXES (sizeof(suffixes) / sizeof(suffixes[0]))

/* False: a format that there is not. */
static bool files_of(const char *output, unsigned *files)
{
	const char *slash = strrchr(output, '/'), *name = slash ? slash + 1 : output;
	const char *point = strrchr(name, '.');

	*files = 0;
	if (!point || point == name)
		return true;
	for (size_t i = 0; i < SUFFIXES; i++)
		if (!strcmp(point, suffixes[i].suffix))
			*files = suffixes[i].file;
	return *files;
}

/* The picture must not empty what it is made of. */
static bool spares_trace(const struct plotting *p, unsigned files)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < SUFFIXES; i++) {
		if (files && files != suffixes[i].file)
			continue;
		snprintf(path, sizeof(path), "%s%s", p->output, files ? "" : suffixes[i].suffix);
		if (same_file(walk_path(p->file), path)) {
			complain("plot: -o %s: it is the trace itself; name another file", path);
			return false;
		}
	}
	return true;
}

static int plot_file(struct plotting *p)
{
	struct trace_walk walk;
	struct trace_line line;
	unsigned files;
	int status, drawn;

	if (!files_of(p->output, &files)) {
		complain("plot: -o %s: OUT.svg, OUT.png, OUT.tsv (the numbers), or OUT without "
			 "suffix "
			 "for all three",
			 p->output);
		return STATUS_USAGE;
	}
	if (!spares_trace(p, files) || !walk_open(&walk, p->file))
		return STATUS_USAGE;
	while (walk_next(&walk, &line))
		if (line.kind == TRACE_LINE_EVENT)
			add_event(p, &line);
	status = walk_close(&walk);
	if (!p->used && status) {
		return status;
	} else if (!p->used) {
		complain("plot: %s: there is nothing in it between --from and --to", p->file);
		return STATUS_USAGE;
	}
	widen(p);
	drawn = draw(p, files);
	return drawn ? drawn : status;
}

enum { OPT_FROM = 256, OPT_TO };

static const struct argp_option options[] = {
	{ "output", 'o', "OUT", 0,
	  "OUT.svg, OUT.png or OUT.tsv (the numbers); without suffix all three", 0 },
	{ "from", OPT_FROM, "TIME", 0, "Only from this time on: 1.5, 200ms, 30us, 7ns", 0 },
	{ "to", OPT_TO, "TIME", 0, "Only up to this time", 0 },
	{ 0 },
};

static error_t parse(int key, char *value, struct argp_state *state)
{
	struct plotting *p = state->input;

	switch (key) {
	case 'o':
		p->output = value;
		return 0;
	case OPT_FROM:
		return parse_time("--from", value, &p->from) ? 0 : EINVAL;
	case OPT_TO:
		return parse_time("--to", value, &p->to) ? 0 : EINVAL;
	case ARGP_KEY_ARG:
		if (p->file) {
			complain("plot: one file at a time, not '%s' and '%s'", p->file, value);
			return EINVAL;
		}
		p->file = value;
		return 0;
	case ARGP_KEY_END:
		if (!p->file || !p->output) {
			complain("plot: which %s? buslock plot FILE -o OUT.svg",
				 p->file ? "picture" : "trace");
			return EINVAL;
		}
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int command_plot(int argc, char **argv)
{
	static const char doc[] =
		"Draw a trace: bus locks per second, and the share of time that vCPUs were put to "
		"sleep for them, over time.\v"
		"FILE may be compressed, or - for standard input. gnuplot draws; with OUT.tsv it "
		"is "
		"not needed.";
	const struct argp argp = { options, parse, "FILE", doc, NULL, NULL, NULL };
	struct plotting *p = calloc(1, sizeof(*p));
	int status = STATUS_USAGE;

	argp_err_exit_status = STATUS_USAGE;
	if (!p) {
		complain("plot: %s", strerror(ENOMEM));
		return STATUS_USAGE;
	}
	p->width = FIRST_BIN;
	p->to = UINT64_MAX;
	if (!argp_parse(&argp, argc, argv, 0, NULL, p))
		status = plot_file(p);
	free(p);
	return status;
}
