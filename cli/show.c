// SPDX-License-Identifier: GPL-2.0-only
/* `buslock show`: a trace for people, or its lines for tools. */
#include "cli/cli.h"
#include "cli/trace_summary.h"
#include "cli/trace_walk.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#define TOP_SITES 10
#define MAX_VCPUS 64

struct show {
	const char *file;
	bool json, summary;
	uint64_t events;   /* bits of enum trace_event; the highest one: unknown ones */
	uint64_t vcpus;    /* bits */
	uint64_t from, to; /* ns */
	bool filtered;
	unsigned top;
	struct symbols *symbols;
	struct trace_style style;
};

#define UNKNOWN_EVENTS (1ull << 63)

enum { OPT_EVENTS = 256, OPT_VCPU, OPT_FROM, OPT_TO, OPT_JSON, OPT_SUMMARY, OPT_SYMBOLS, OPT_TOP };

static const struct argp_option options[] = {
	{ "events", OPT_EVENTS, "LIST", 0, "Only these: exit, bus_lock, sleep, … (docs/trace.md)",
	  0 },
	{ "vcpu", OPT_VCPU, "LIST", 0, "Only events of vCPUs with these numbers", 0 },
	{ "from", OPT_FROM, "TIME", 0, "Only from this time on: 1.5, 200ms, 30us, 7ns", 0 },
	{ "to", OPT_TO, "TIME", 0, "Only up to this time", 0 },
	{ "json", OPT_JSON, NULL, 0,
	  "The lines, decompressed, with their keys in the order of the documentation", 0 },
	{ "summary", OPT_SUMMARY, NULL, 0, "Counts only, not each event", 0 },
	{ "symbols", OPT_SYMBOLS, "FILE", 0,
	  "The guest's symbols: ELF or System.map, FILE@OFFSET if relocated; may be repeated", 0 },
	{ "top", OPT_TOP, "N", 0, "Places of bus locks in the summary, 10 by default", 0 },
	{ 0 },
};

static const char doc[] =
	"Show a trace: what happened, event by event, and a summary.\v"
	"FILE may be compressed, still being written, or - for standard input. Colours on a "
	"terminal, "
	"unless NO_COLOR is set. The exit status is 2 if lines were damaged; they are named, and "
	"the "
	"others are shown.";

/* ------------------------------------------------------------------ options */

static int event_of(const char *name, size_t n)
{
	for (int i = 0; i < TRACE_EVENTS; i++) {
		const char *known = trace_event_name((enum trace_event)i);
		size_t at = 0;

		/* bus-locks as well as bus_lock: both are what people type */
		while (at < n && known[at] &&
		       (known[at] == name[at] || (known[at] == '_' && name[at] == '-')))
			at++;
		if (!known[at] && (at == n || (at + 1 == n && name[at] == 's')))
			return i;
	}
	return -1;
}

static bool take_events(struct show *show, const char *list)
{
	for (;;) {
		size_t n = strcspn(list, ",");
		int event = event_of(list, n);

		if (event < 0) {
			complain("--events: there is no event '%.*s'; docs/trace.md lists them",
				 (int)n, list);
			return false;
		}
		show->events |= 1ull << event;
		if (!list[n])
			return true;
		list += n + 1;
	}
}

static bool take_vcpus(struct show *show, const char *list)
{
	for (;;) {
		size_t n = strcspn(list, ",");
		char number[8] = "";
		uint64_t value;

		snprintf(number, sizeof(number), "%.*s", (int)n, list);
		if (!number_in("--vcpu", number, 0, MAX_VCPUS - 1, &value))
			return false;
		show->vcpus |= 1ull << value;
		if (!list[n])
			return true;
		list += n + 1;
	}
}

static bool take(struct show *show, int key, char *value)
{
	uint64_t number;

	switch (key) {
	case OPT_EVENTS:
		return take_events(show, value);
	case OPT_VCPU:
		return take_vcpus(show, value);
	case OPT_FROM:
		return parse_time("--from", value, &show->from);
	case OPT_TO:
		return parse_time("--to", value, &show->to);
	case OPT_JSON:
		show->json = true;
		return true;
	case OPT_SUMMARY:
		show->summary = true;
		return true;
	case OPT_SYMBOLS:
		return walk_add_symbols(&show->symbols, value);
	default: /* OPT_TOP */
		if (!number_in("--top", value, 0, 1000000, &number))
			return false;
		show->top = (unsigned)number;
		return true;
	}
}

static error_t parse(int key, char *value, struct argp_state *state)
{
	struct show *show = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (show->file) {
			complain("show: one file at a time, not '%s' and '%s'", show->file, value);
			return EINVAL;
		}
		show->file = value;
		return 0;
	case ARGP_KEY_NO_ARGS:
		complain("show: which trace? buslock show [OPTION...] FILE");
		return EINVAL;
	default:
		if (key < OPT_EVENTS || key > OPT_TOP)
			return ARGP_ERR_UNKNOWN;
		return take(show, key, value) ? 0 : EINVAL;
	}
}

/* ------------------------------------------------------------------ lines */

static bool wanted(const struct show *show, const struct trace_line *line)
{
	uint64_t time = field_time(line->json);
	uint32_t vcpu = field_who(line->json).vcpu;
	uint64_t event = line->event < 0 ? UNKNOWN_EVENTS : 1ull << line->event;

	return (!show->events || show->events & event) && time >= show->from && time <= show->to &&
	       (!show->vcpus || (vcpu < MAX_VCPUS && show->vcpus >> vcpu & 1));
}

static void copy(struct json_object *from, struct json_object *to, const char *key)
{
	struct json_object *value;

	if (json_object_object_get_ex(from, key, &value))
		json_object_object_add(to, key, json_object_get(value));
}

/* The same object, known keys first, in the order of the schema. */
static struct json_object *in_order(const struct trace_line *line)
{
	struct json_object *object = json_object_new_object();

	if (!object)
		return NULL;
	for (const struct trace_field *f = trace_fields(line->kind); f->name; f++)
		copy(line->json, object, f->name);
	if (line->kind == TRACE_LINE_EVENT && line->event >= 0) {
		const struct trace_field *f = trace_event_fields((enum trace_event)line->event);

		for (int i = 0; i < TRACE_MAX_FIELDS && f[i].name; i++)
			copy(line->json, object, f[i].name);
	}
	json_object_object_foreach(line->json, key, value)
	{
		if (!json_object_object_get_ex(object, key, NULL))
			json_object_object_add(object, key, json_object_get(value));
	}
	return object;
}

static int print_json(const struct trace_line *line)
{
	struct json_object *object = in_order(line);
	const char *text = json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	if (object)
		puts(text);
	json_object_put(object);
	return object ? 0 : -ENOMEM;
}

/* "key  value" */
static void print_member(struct json_object *json, const char *key, const char *title)
{
	struct json_object *value;

	if (!json_object_object_get_ex(json, key, &value) || !value)
		return;
	printf("  %-9s ", title);
	put_safely(stdout, json_object_is_type(value, json_type_string)
				   ? json_object_get_string(value)
				   : json_object_to_json_string_ext(
					     value, JSON_C_TO_STRING_PLAIN |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
	putchar('\n');
}

static void print_header(const struct show *show, struct json_object *json)
{
	struct json_object *host;

	printf("%sTrace%s ", colour(&show->style, BOLD), colour(&show->style, PLAIN));
	put_safely(stdout, show->file);
	putchar('\n');
	print_member(json, "tool", "by");
	print_member(json, "backend", "backend");
	print_member(json, "options", "options");
	print_member(json, "emulated", "emulated");
	print_member(json, "time", "time");
	print_member(json, "lacks", "lacks");
	if (json_object_object_get_ex(json, "host", &host) &&
	    json_object_is_type(host, json_type_object)) {
		print_member(host, "cpu", "host");
		print_member(host, "kernel", "kernel");
		print_member(host, "started", "started");
		print_member(host, "command", "command");
	}
	putchar('\n');
}

static void print_end(struct json_object *json)
{
	uint64_t value;

	fputs("the end", stdout);
	if (field_number(json, "status", &value))
		printf(": exit status %" PRIu64, value);
	else if (field_number(json, "signal", &value))
		printf(": signal %" PRIu64, value);
	if (field_number(json, "lost", &value) && value)
		printf("; %" PRIu64 " events could not be written", value);
	if (field_string(json, "why")) {
		fputs("; not deterministic: ", stdout);
		put_safely(stdout, field_string(json, "why"));
	}
	putchar('\n');
}

static int show_line(const struct show *show, const struct trace_line *line,
		     struct trace_summary *summary)
{
	bool is_event = line->kind == TRACE_LINE_EVENT;

	if (is_event && !wanted(show, line))
		return 0;
	if (show->json) /* of a part the totals are not those of the end */
		return line->kind == TRACE_LINE_END && show->filtered ? 0 : print_json(line);
	if (line->kind == TRACE_LINE_HEADER)
		print_header(show, line->json);
	else if (line->kind == TRACE_LINE_END && !show->filtered)
		print_end(line->json);
	else if (is_event && !show->summary) {
		put_event(stdout, line, &show->style);
		putchar('\n');
	}
	return summary_add(summary, line);
}

static int show_file(const struct show *show)
{
	struct trace_summary *summary = summary_new();
	struct trace_walk walk;
	struct trace_line line;
	int error = summary ? 0 : -ENOMEM, status;
	bool ended = false;

	if (!walk_open(&walk, show->file)) {
		summary_free(summary);
		return STATUS_USAGE;
	}
	while (!error && !ferror(stdout) && walk_next(&walk, &line)) {
		ended |= line.kind == TRACE_LINE_END;
		error = show_line(show, &line, summary);
	}
	if (!show->json && !error) {
		if (!ended && !show->filtered && walk.lines)
			puts("no end: whoever wrote it was killed, or is still writing");
		if (!show->summary)
			putchar('\n');
		summary_print(stdout, summary, &show->style, show->top);
	}
	summary_free(summary);
	status = walk_close(&walk);
	if (!error)
		return status;
	complain("show: %s: %s", show->file, strerror(-error));
	return STATUS_USAGE;
}

int command_show(int argc, char **argv)
{
	const struct argp argp = { options, parse, "FILE", doc, NULL, NULL, NULL };
	struct show show = { .to = UINT64_MAX, .top = TOP_SITES };
	int status = STATUS_USAGE;

	argp_err_exit_status = STATUS_USAGE;
	if (!argp_parse(&argp, argc, argv, 0, NULL, &show)) {
		show.filtered = show.events || show.vcpus || show.from || show.to != UINT64_MAX;
		show.style.colours = style_wants_colours(stdout);
		show.style.symbols = show.symbols;
		status = show_file(&show);
	}
	symbols_free(show.symbols);
	return status;
}
