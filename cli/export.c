// SPDX-License-Identifier: GPL-2.0-only
/*
 * `buslock export`: a trace in the form of another tool. --chrome: Chrome's trace event format ("Trace
 * Event Format", JSON object form), which ui.perfetto.dev and chrome://tracing open: a process for each
 * of the monitor's, a track for each vCPU, KVM_RUN and sleeps as slices, all else as instants.
 */
#include "cli/cli.h"
#include "cli/trace_walk.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#define NOT_RUNNING UINT64_MAX

/* A track: a vCPU, or what belongs to none. Its number in the file is its place in the list, from 1. */
struct track {
	struct trace_who who;
	uint64_t begun; /* of the KVM_RUN that has not returned */
};

struct export
{
	const char *file, *output;
	bool chrome;
	FILE *out;
	struct track *track;
	size_t tracks, room;
	uint64_t last; /* ns */
	char name[200];
	bool any;
};

/* ------------------------------------------------------------------ pieces of the file */

/* Microseconds, and nanoseconds behind the point. */
static void put_us(FILE *out, const char *key, uint64_t ns)
{
	fprintf(out, ",\"%s\":%" PRIu64 ".%03" PRIu64, key, ns / 1000, ns % 1000);
}

static void put_json_string(FILE *out, const char *text)
{
	struct json_object *string = json_object_new_string(text);

	fputs(string ? json_object_to_json_string_ext(string, JSON_C_TO_STRING_NOSLASHESCAPE)
		     : "\"\"",
	      out);
	json_object_put(string);
}

static unsigned pid_of(const struct trace_who *who)
{
	/* 0 is the idle task in Perfetto */
	return who->process == NOBODY ? 1 : who->process + 1;
}

static void begin(struct export *e, const char *name, const char *phase, const struct track *track)
{
	fputs(e->any ? ",\n{\"name\":" : "\n{\"name\":", e->out);
	e->any = true;
	put_json_string(e->out, name);
	fprintf(e->out, ",\"ph\":\"%s\",\"pid\":%u,\"tid\":%zu", phase, pid_of(&track->who),
		(size_t)(track - e->track) + 1);
}

static bool is_common(const char *key)
{
	for (const struct trace_field *f = trace_fields(TRACE_LINE_EVENT); f->name; f++)
		if (!strcmp(f->name, key))
			return true;
	return false;
}

/* What else the event has. */
static void put_arguments(FILE *out, struct json_object *json)
{
	const char *between = "";

	fputs(",\"args\":{", out);
	json_object_object_foreach(json, key, value)
	{
		if (is_common(key))
			continue;
		fputs(between, out);
		put_json_string(out, key);
		fputc(':', out);
		fputs(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN |
								    JSON_C_TO_STRING_NOSLASHESCAPE),
		      out);
		between = ",";
	}
	fputs("}}", out);
}

static void put_name(struct export *e, const char *what, const struct track *track,
		     const char *name)
{
	begin(e, what, "M", track);
	fputs(",\"args\":{\"name\":", e->out);
	put_json_string(e->out, name);
	fputs("}}", e->out);
}

static struct track *track_of(struct export *e, struct trace_who who)
{
	struct track *track;
	char text[64], name[260];

	for (size_t i = 0; i < e->tracks; i++)
		if (!memcmp(&e->track[i].who, &who, sizeof(who)))
			return &e->track[i];
	if (e->tracks == e->room) {
		track = reallocarray(e->track, e->room * 2 + 16, sizeof(*track));
		if (!track)
			return NULL;
		e->track = track;
		e->room = e->room * 2 + 16;
	}
	track = &e->track[e->tracks++];
	*track = (struct track){ who, NOT_RUNNING };
	snprintf(name, sizeof(name), "process %u%s%s", pid_of(&who) - 1, *e->name ? ": " : "",
		 e->name);
	put_name(e, "process_name", track, name);
	who_text(&who, text, sizeof(text));
	put_name(e, "thread_name", track, strcmp(text, "-") ? text : "all");
	return track;
}

/* ------------------------------------------------------------------ events */

static void put_slice(struct export *e, const struct track *track, const char *name, uint64_t from,
		      uint64_t to, struct json_object *json)
{
	begin(e, name, "X", track);
	put_us(e->out, "ts", from);
	put_us(e->out, "dur", to - from);
	if (json)
		put_arguments(e->out, json);
	else
		fputc('}', e->out);
}

static void put_instant(struct export *e, const struct track *track, const struct trace_line *line)
{
	char title[64];

	begin(e, event_title(line, title, sizeof(title)), "i", track);
	fputs(",\"s\":\"t\",\"cat\":", e->out);
	put_json_string(e->out, field_string(line->json, "event"));
	put_us(e->out, "ts", field_time(line->json));
	put_arguments(e->out, line->json);
}

static void put_sleep(struct export *e, const struct track *track, const struct trace_line *line)
{
	const char *who = field_string(line->json, "who");
	uint64_t time = field_time(line->json), ns = 0;
	char title[64];

	field_number(line->json, "ns", &ns);
	snprintf(title, sizeof(title), "asleep (%.32s)", who ? who : "?");
	put_slice(e, track, title, ns < time ? time - ns : 0, time, line->json);
}

static int export_event(struct export *e, const struct trace_line *line)
{
	uint64_t time = field_time(line->json);
	struct track *track = track_of(e, field_who(line->json));

	if (!track)
		return -ENOMEM;
	if (time > e->last)
		e->last = time;
	switch (line->event) {
	case TRACE_RUN:
		track->begun = time;
		return 0;
	case TRACE_EXIT:
		if (track->begun <= time)
			put_slice(e, track, "KVM_RUN", track->begun, time, NULL);
		track->begun = NOT_RUNNING;
		put_instant(e, track, line);
		return 0;
	case TRACE_SLEEP:
		put_sleep(e, track, line);
		return 0;
	default:
		put_instant(e, track, line);
		return 0;
	}
}

/* What was running when the trace ended. */
static void put_unfinished(struct export *e)
{
	for (size_t i = 0; i < e->tracks; i++)
		if (e->track[i].begun != NOT_RUNNING)
			put_slice(e, &e->track[i], "KVM_RUN (has not returned)", e->track[i].begun,
				  e->last > e->track[i].begun ? e->last : e->track[i].begun, NULL);
}

static void take_header(struct export *e, struct json_object *json)
{
	struct json_object *host;
	const char *program;

	if (json_object_object_get_ex(json, "host", &host) &&
	    (program = field_item(host, "command", 0)))
		snprintf(e->name, sizeof(e->name), "%s", program);
	/* Perfetto shows these under "Info". */
	fputs("{\"displayTimeUnit\":\"ns\",\"otherData\":", e->out);
	fputs(json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN |
							   JSON_C_TO_STRING_NOSLASHESCAPE),
	      e->out);
	fputs(",\"traceEvents\":[", e->out);
}

static int write_events(struct export *e, struct trace_walk *walk)
{
	bool begun = false;
	struct trace_line line;
	int error = 0;

	while (!error && !ferror(e->out) && walk_next(walk, &line)) {
		if (line.kind == TRACE_LINE_HEADER && !begun)
			take_header(e, line.json);
		else if (!begun)
			fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[", e->out);
		begun = true;
		if (line.kind == TRACE_LINE_EVENT)
			error = export_event(e, &line);
	}
	if (!begun)
		fputs("{\"traceEvents\":[", e->out);
	put_unfinished(e);
	fputs("\n]}\n", e->out);
	return error;
}

/* ------------------------------------------------------------------ the command */

static int close_output(struct export *e, int error)
{
	bool bad = e->output && ferror(e->out); /* standard output is main()'s to look after */

	errno = 0;
	if ((e->output && fclose(e->out)) || bad)
		error = error ? error : errno ? -errno : -EIO;
	if (error)
		complain("export: %s: %s", e->output ? e->output : e->file, strerror(-error));
	return error;
}

static int export_file(struct export *e)
{
	struct trace_walk walk;
	int error, status;

	if (same_file(walk_path(e->file), e->output)) {
		complain("export: -o %s: it is the trace itself; name another file", e->output);
		return STATUS_USAGE;
	}
	if (!walk_open(&walk, e->file))
		return STATUS_USAGE;
	e->out = e->output ? fopen(e->output, "we") : stdout;
	if (!e->out) {
		complain("export: %s: %s", e->output, strerror(errno));
		walk_close(&walk);
		return STATUS_USAGE;
	}
	error = write_events(e, &walk);
	status = walk_close(&walk);
	error = close_output(e, error);
	free(e->track);
	return error ? STATUS_USAGE : status;
}

static const struct argp_option options[] = {
	{ "chrome", 'c', NULL, 0, "Chrome's trace event format, for ui.perfetto.dev", 0 },
	{ "output", 'o', "FILE", 0, "Where to, instead of standard output", 0 },
	{ 0 },
};

static error_t parse(int key, char *value, struct argp_state *state)
{
	struct export *e = state->input;

	switch (key) {
	case 'c':
		e->chrome = true;
		return 0;
	case 'o':
		e->output = value;
		return 0;
	case ARGP_KEY_ARG:
		if (e->file) {
			complain("export: one file at a time, not '%s' and '%s'", e->file, value);
			return EINVAL;
		}
		e->file = value;
		return 0;
	case ARGP_KEY_END:
		if (!e->file || !e->chrome) {
			complain("export: %s; buslock export --chrome FILE -o OUT.json",
				 e->file ? "which format? There is --chrome" : "which trace?");
			return EINVAL;
		}
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int command_export(int argc, char **argv)
{
	static const char doc[] =
		"Write a trace in another tool's format.\v"
		"FILE may be compressed, or - for standard input. With --chrome each vCPU is a "
		"track: time "
		"in KVM_RUN and sleeps are slices, exits, bus locks and the rest instants with all "
		"their fields.";
	const struct argp argp = { options, parse, "FILE", doc, NULL, NULL, NULL };
	struct export e = { 0 };

	argp_err_exit_status = STATUS_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &e))
		return STATUS_USAGE;
	return export_file(&e);
}
