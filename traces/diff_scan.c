// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lines into numbers. What one side cannot tell is found out by reading, so a second pass may be
 * necessary: it leaves those fields out.
 */
#include "traces/diff_records.h"
#include "traces/json_members.h"
#include "traces/trace_source.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN_EVENT TRACE_EVENTS       /* all that this version does not know */
#define END_EVENT     (TRACE_EVENTS + 1) /* the last line */
#define FIELDS        2048               /* room in the table of fields, a power of 2 */

/* ------------------------------------------------------------------ what can be compared */

/* Of each field that is not listed: as it is. */
enum policy { COMPARE, NEVER, CLOCK, REGISTERS, MESSAGE };
static const struct {
	const char *field;
	enum policy policy;
} policies[] = {
	/* said by another field, or by which vCPU's it is */
	{ "event", NEVER },
	{ "process", NEVER },
	{ "vm", NEVER },
	{ "vcpu", NEVER },
	{ "reason_name", NEVER },
	{ "flag_names", NEVER },
	{ "error", NEVER },
	{ "printed", NEVER },
	/* of the run, not of what happened in it */
	{ "cut", NEVER },
	{ "kept", NEVER },
	{ "thread", NEVER },
	{ "cpu", NEVER },
	{ "comm", NEVER },
	/* another time in each run, but not with a virtual clock */
	{ "time", CLOCK },
	{ "ns", CLOCK },
	{ "interrupted", CLOCK },
	{ "registers", REGISTERS },
	{ "text", MESSAGE },
};

/* Events that say something about the trace. */
static const int never[] = { TRACE_NONDETERMINISTIC, TRACE_NOT_COVERED };

/*
 * What a source that says nothing of it may be unable to tell: if there is none of them at all, they are
 * not missed. A real device is watched from outside: no processor's word, no lock. What a log has is what
 * somebody asked the tracer for.
 */
#define BIT(event) (1u << TRACE_##event)
static const struct {
	const char *backend; /* how its name begins */
	unsigned events;
} may_lack[] = {
	{ "/", BIT(BUS_LOCK) | BIT(LOCKED) | BIT(HOST_MESSAGE) | BIT(SLEEP) | BIT(CAPABILITY) |
		       BIT(VM_CREATED) | BIT(VCPU_CREATED) | BIT(VM_EXIT) | BIT(VM_ENTRY) },
	{ "import", ~0u },
	{ "", BIT(LOCKED) | BIT(VM_EXIT) | BIT(VM_ENTRY) },
};

static bool is_never(int event)
{
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		if (never[i] == event)
			return true;
	return false;
}

/* ------------------------------------------------------------------ fields */

struct diff_field {
	uint64_t key; /* of event and name; 0: free */
	uint64_t count[DIFF_SIDES];
	int event;
	uint8_t lacks; /* bits: sides that cannot tell it */
	bool ignored;
	enum policy policy;
	char name[48];
};

static enum policy policy_of(struct json_span name)
{
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
		if (json_is(name, policies[i].field))
			return policies[i].policy;
	return COMPARE;
}

static const char *event_name(int event)
{
	return event < TRACE_EVENTS ? trace_event_name((enum trace_event)event)
	       : event == END_EVENT ? "end"
				    : "unknown";
}

/* "word", "exit.word", "exit" */
static bool names(const char *pattern, int event, const char *field)
{
	const char *name = event_name(event);
	size_t n = strlen(name);

	if (!strcmp(pattern, field) || !strcmp(pattern, name))
		return true;
	return *field && !strncmp(pattern, name, n) && pattern[n] == '.' &&
	       !strcmp(pattern + n + 1, field);
}

static bool is_ignored(const struct diff_options *options, int event, const char *field)
{
	for (const char *const *p = options->ignore; p && *p; p++)
		if (names(*p, event, field))
			return true;
	return false;
}

/* NULL: the table is full; then it is compared, whoever has it. */
static struct diff_field *field_of(struct diff_records *r, int event, struct json_span name)
{
	uint64_t key = json_mix(json_hash(name) + (uint64_t)event + 1) | 1;

	for (size_t i = 0; i < 64; i++) {
		struct diff_field *f = &r->field[(key + i) % FIELDS];

		if (f->key == key)
			return f;
		if (f->key)
			continue;
		f->key = key;
		f->event = event;
		f->policy = policy_of(name);
		if (event == END_EVENT && !json_is(name, "status") && !json_is(name, "signal"))
			f->policy = NEVER;
		snprintf(f->name, sizeof(f->name), "%.*s", (int)(name.n < 40 ? name.n : 40),
			 name.at);
		f->ignored = is_ignored(&r->options, event, f->name);
		return f;
	}
	return NULL;
}

static bool is_compared(const struct diff_records *r, const struct diff_field *f)
{
	if (!f)
		return true;
	if (f->lacks || f->ignored || f->policy == NEVER)
		return false;
	if (f->policy == CLOCK)
		return r->clocks && (strcmp(f->name, "time") || r->options.times);
	return f->policy != REGISTERS || !r->options.no_registers;
}

bool diff_compares(const struct diff *diff, const char *event, const char *field)
{
	int number = UNKNOWN_EVENT;

	for (int i = 0; i <= END_EVENT; i++)
		if (!strcmp(event, event_name(i)))
			number = i;
	return is_compared(diff->records, field_of(diff->records, number,
						   (struct json_span){ field, strlen(field) }));
}

/* ------------------------------------------------------------------ one line */

static int event_of(const struct json_member *event)
{
	struct json_span name = { event->value.at + 1, event->value.n - 2 };

	if (event->value.n < 2 || *event->value.at != '"')
		return UNKNOWN_EVENT;
	for (int i = 0; i <= END_EVENT; i++)
		if (i != UNKNOWN_EVENT && json_is(name, event_name(i)))
			return i;
	return UNKNOWN_EVENT;
}

static bool is_wanted(const struct diff_records *r, int event)
{
	if (r->lacks_event[event] || is_never(event) || is_ignored(&r->options, event, ""))
		return false;
	switch (r->options.only) {
	case DIFF_BUS_LOCKS:
		return event == TRACE_BUS_LOCK;
	case DIFF_EXITS:
		return event == TRACE_EXIT || event == TRACE_VM_EXIT;
	default:
		return true;
	}
}

static int64_t stream_of(struct diff_records *r, const struct json_member *member, int count)
{
	static const char *const keys[3] = { "process", "vm", "vcpu" };
	uint64_t who[3];
	struct diff_stream *stream;

	for (int i = 0; i < 3; i++)
		who[i] = r->no_who[i]
				 ? 0
				 : (uint64_t)json_number(json_find(member, count, keys[i]), -1);
	if (r->latest < r->streams && !memcmp(r->stream[r->latest].who, who, sizeof(who)))
		return r->latest;
	for (uint32_t i = 0; i < r->streams; i++)
		if (!memcmp(r->stream[i].who, who, sizeof(who)))
			return r->latest = i;
	if (r->streams == r->stream_room) {
		stream = reallocarray(r->stream, r->stream_room * 2 + 16, sizeof(*stream));
		if (!stream)
			return -ENOMEM;
		r->stream = stream;
		r->stream_room = r->stream_room * 2 + 16;
	}
	memcpy(r->stream[r->streams].who, who, sizeof(who));
	return r->latest = r->streams++;
}

/* KVM_EXIT_IRQ_WINDOW_OPEN and KVM_EXIT_INTR; EINTR and EAGAIN (<linux/kvm.h>) */
static bool is_timing(int64_t result, int64_t reason)
{
	return result == -EINTR || result == -EAGAIN || (!result && (reason == 7 || reason == 10));
}

static struct diff_record record_of(struct diff_records *r, int side, int event,
				    const struct json_member *member, int count)
{
	int64_t result = json_number(json_find(member, count, "result"), 0);
	int64_t reason = json_number(json_find(member, count, "reason"), -1);
	struct diff_record record = { .kind = json_mix((uint64_t)event + 1) };

	if (event == TRACE_EXIT || event == TRACE_VM_EXIT)
		record.kind =
			json_mix(record.kind ^ json_mix((uint64_t)(result < 0 ? result : reason)));
	record.all = record.kind;
	if (event == UNKNOWN_EVENT)
		record.all += json_hash(json_find(member, count, "event")->value);
	for (int i = 0; i < count; i++) {
		struct diff_field *f = field_of(r, event, member[i].key);
		bool message = f && f->policy == MESSAGE && !r->clocks;

		if (f && !r->scanned_once)
			f->count[side]++;
		/* after an error it may be that of an earlier exit (docs/trace.md) */
		if (!is_compared(r, f) || (result < 0 && json_is(member[i].key, "reason")))
			continue;
		/* a sum: the order of the keys means nothing */
		record.all += json_mix((f ? f->key : json_hash(member[i].key)) ^
				       (message ? json_hash_message(member[i].value)
						: json_hash(member[i].value)));
	}
	if (event == END_EVENT)
		record.flags = RECORD_END;
	else if (event == TRACE_RUN)
		record.flags = RECORD_RUN;
	else if (event == TRACE_EXIT && is_timing(result, reason))
		record.flags = RECORD_TIMING;
	return record;
}

static int keep(struct diff_records *r, int side, struct diff_record record)
{
	size_t *room = &r->room[side];
	struct diff_record *more;

	if (r->count[side] == *room) {
		more = reallocarray(r->record[side], *room * 2 + 4096, sizeof(*more));
		if (!more)
			return -ENOMEM;
		r->record[side] = more;
		*room = *room * 2 + 4096;
	}
	r->record[side][r->count[side]++] = record;
	return 0;
}

/* ------------------------------------------------------------------ a trace */

__attribute__((format(printf, 3, 4))) static void
bad_line(struct diff_side *side, unsigned long line, const char *format, ...)
{
	va_list list;

	if (side->bad++)
		return;
	side->first_bad = line;
	va_start(list, format);
	vsnprintf(side->why, sizeof(side->why), format, list);
	va_end(list);
}

/* An imported log's does not. */
static bool end_tells_how(const struct json_member *member, int count)
{
	static const char *const keys[] = { "status", "signal" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const struct json_member *m = json_find(member, count, keys[i]);

		if (m && !json_is(m->value, "null"))
			return true;
	}
	return false;
}

static int scan_event(struct diff *diff, int side, unsigned long line,
		      const struct json_member *member, int count)
{
	struct diff_records *r = diff->records;
	const struct json_member *name = json_find(member, count, "event");
	struct diff_record record;
	int64_t stream;
	int event;

	if (!name) {
		if (!json_find(member, count, "schema"))
			bad_line(&diff->side[side], line,
				 "neither \"schema\" nor \"event\" is in it");
		return 0;
	}
	event = event_of(name);
	diff->side[side].has_end |= event == END_EVENT;
	diff->side[side].events++;
	if (event == END_EVENT && !end_tells_how(member, count))
		return 0;
	r->events[side][event]++;
	if (!is_wanted(r, event))
		return 0;
	stream = stream_of(r, member, count);
	if (stream < 0)
		return (int)stream;
	record = record_of(r, side, event, member, count);
	record.line = (uint32_t)line;
	record.stream = (uint32_t)stream;
	return keep(r, side, record);
}

/* A line, or the whole events that begin in what is left of a torn one (see trace_read.c). */
static int scan_line(struct diff *diff, int side, const struct trace_text *line)
{
	static const char start[] = "{\"event\":\"";
	struct json_member member[JSON_MEMBERS];
	const char *text = line->text;
	size_t n = line->length;

	if (n == 1 && *text == '\n')
		return 0;
	for (;;) {
		int count = json_members(text, n, member);
		const char *next;

		if (count >= 0)
			return scan_event(diff, side, line->number, member, count);
		bad_line(&diff->side[side], line->number,
			 "it is cut short, or is not the object that a line should be");
		next = n > 1 ? memmem(text + 1, n - 1, start, sizeof(start) - 1) : NULL;
		if (!next)
			return 0;
		n -= (size_t)(next - text);
		text = next;
	}
}

static int scan_trace(struct diff *diff, int side)
{
	struct diff_side *s = &diff->side[side];
	struct trace_source *source;
	struct trace_text line;
	char why[128];
	int r = trace_source_open(&source, s->path), error = 0;

	if (r)
		return r;
	s->events = s->lines = s->bad = s->first_bad = 0;
	diff->records->count[side] = 0;
	memset(diff->records->events[side], 0, sizeof(diff->records->events[side]));
	while (!error && (r = trace_source_next(source, &line, why, sizeof(why))) > 0) {
		s->lines = line.number;
		if (line.number > UINT32_MAX)
			error = -EFBIG;
		else if (r == TRACE_SOURCE_LOST)
			bad_line(s, line.number, "%s", why);
		else
			error = scan_line(diff, side, &line);
	}
	trace_source_close(source);
	return error ? error : r;
}

/* ------------------------------------------------------------------ what the sources can tell */

static int read_header(struct diff_side *side, struct json_object **json)
{
	struct trace_source *source;
	struct trace_text line;
	char why[128];
	int r = trace_source_open(&source, side->path);

	if (r)
		return r;
	r = trace_source_next(source, &line, why, sizeof(why));
	if (r == TRACE_SOURCE_LINE && memmem(line.text, line.length, "\"schema\"", 8)) {
		*json = json_tokener_parse(line.text);
		side->header =
			strndup(line.text, line.length - (line.text[line.length - 1] == '\n'));
	}
	trace_source_close(source);
	return r < 0 ? r : 0;
}

static const char *string_of(struct json_object *json, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(json, key, &value) &&
			       json_object_is_type(value, json_type_string)
		       ? json_object_get_string(value)
		       : "";
}

/* "bus_lock", "exit.flags", "vcpu" */
static void take_lack(struct diff_records *r, int side, const char *lack)
{
	static const char *const keys[3] = { "process", "vm", "vcpu" };
	const char *point = strchr(lack, '.');

	for (int i = 0; i < 3; i++)
		if (!strcmp(lack, keys[i]))
			r->no_who[i] = true;
	for (int event = 0; event <= END_EVENT; event++) {
		struct diff_field *f;

		if (!strcmp(lack, event_name(event)))
			r->lacks_event[event] |= (uint8_t)(1 << side);
		if (!point || strlen(event_name(event)) != (size_t)(point - lack) ||
		    strncmp(lack, event_name(event), (size_t)(point - lack)))
			continue;
		f = field_of(r, event, (struct json_span){ point + 1, strlen(point + 1) });
		if (f)
			f->lacks |= (uint8_t)(1 << side);
	}
}

static void take_lacks(struct diff_records *r, int side, struct json_object *json)
{
	struct json_object *lacks;

	if (!json_object_object_get_ex(json, "lacks", &lacks) ||
	    !json_object_is_type(lacks, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(lacks); i++) {
		const char *lack = json_object_get_string(json_object_array_get_idx(lacks, i));

		if (lack)
			take_lack(r, side, lack);
	}
}

static unsigned events_that_may_lack(const char *backend)
{
	for (size_t i = 0; i < sizeof(may_lack) / sizeof(may_lack[0]); i++)
		if (!strncmp(backend, may_lack[i].backend, strlen(may_lack[i].backend)))
			return may_lack[i].events;
	return 0;
}

/* After the first pass: is anything there on one side only, because the other cannot tell it? */
static bool find_lacks(struct diff_records *r, struct json_object *const header[DIFF_SIDES])
{
	bool more = false;

	for (int side = 0; side < DIFF_SIDES; side++) {
		unsigned may = events_that_may_lack(string_of(header[side], "backend"));

		for (int event = 0; event < TRACE_EVENTS; event++) {
			if (r->events[side][event] || !r->events[!side][event] ||
			    !(may >> event & 1) || r->lacks_event[event])
				continue;
			r->lacks_event[event] |= (uint8_t)(1 << side);
			more = true;
		}
		if (!r->events[side][END_EVENT] && r->events[!side][END_EVENT]) {
			r->lacks_event[END_EVENT] |= (uint8_t)(1 << side);
			more = true;
		}
		for (size_t i = 0; i < FIELDS; i++) {
			struct diff_field *f = &r->field[i];

			if (!f->key || f->count[side] || !f->count[!side] || f->lacks ||
			    !r->events[side][f->event] || !is_compared(r, f))
				continue;
			f->lacks |= (uint8_t)(1 << side);
			more = true;
		}
	}
	return more;
}

/* ------------------------------------------------------------------ notes */

__attribute__((format(printf, 2, 3))) static int note(struct diff *diff, const char *format, ...)
{
	char **list = reallocarray(diff->note, diff->notes + 1, sizeof(*list));
	va_list arguments;
	int n;

	if (!list)
		return -ENOMEM;
	diff->note = list;
	va_start(arguments, format);
	n = vasprintf(&list[diff->notes], format, arguments);
	va_end(arguments);
	if (n < 0)
		return -ENOMEM;
	diff->notes++;
	return 0;
}

static const char *who_lacks(unsigned sides)
{
	static const char *const names[] = { "", "A cannot tell it", "B cannot tell it",
					     "neither can tell it" };

	return names[sides & 3];
}

static int compare_fields(const void *a, const void *b)
{
	const struct diff_field *const *x = a, *const *y = b;

	if ((*x)->event != (*y)->event)
		return (*x)->event < (*y)->event ? -1 : 1;
	return strcmp((*x)->name, (*y)->name);
}

/* Fields of events that are compared, and that somebody has. */
static int note_fields(struct diff *diff)
{
	struct diff_records *r = diff->records;
	struct diff_field *list[FIELDS];
	size_t count = 0;
	int error = 0;

	for (size_t i = 0; i < FIELDS; i++) {
		struct diff_field *f = &r->field[i];

		if (f->key && f->lacks && (f->count[DIFF_A] || f->count[DIFF_B]) &&
		    is_wanted(r, f->event) && f->policy != NEVER && !f->ignored)
			list[count++] = f;
	}
	qsort(list, count, sizeof(*list), compare_fields);
	for (size_t i = 0; i < count && !error; i++)
		error = note(diff, "%s.%s: %s", event_name(list[i]->event), list[i]->name,
			     who_lacks(list[i]->lacks));
	return error;
}

static int note_lacks(struct diff *diff)
{
	struct diff_records *r = diff->records;
	int error = 0;

	for (int event = 0; event < UNKNOWN_EVENT && !error; event++)
		if (r->lacks_event[event] && (r->events[DIFF_A][event] || r->events[DIFF_B][event]))
			error = note(diff, "%s: %s", event_name(event),
				     who_lacks(r->lacks_event[event]));
	if (!error && r->lacks_event[END_EVENT])
		error = note(diff, "the end: %s %s",
			     r->lacks_event[END_EVENT] & 1 << DIFF_A ? "A" : "B",
			     diff->side[r->lacks_event[END_EVENT] & 1 << DIFF_A ? DIFF_A : DIFF_B]
					     .has_end
				     ? "does not tell its status"
				     : "has none");
	return error ? error : note_fields(diff);
}

/* ------------------------------------------------------------------ both */

/* In the order of their streams, as they came in each. */
static int group(struct diff_records *r, int side)
{
	size_t *start = calloc(r->streams + 2, sizeof(*start)), at = 0;
	struct diff_record *sorted = calloc(r->count[side] + 1, sizeof(*sorted));

	if (!start || !sorted) {
		free(start);
		free(sorted);
		return -ENOMEM;
	}
	for (size_t i = 0; i < r->count[side]; i++)
		start[r->record[side][i].stream]++;
	for (uint32_t s = 0; s <= r->streams; s++) {
		size_t n = start[s];

		start[s] = at;
		at += n;
	}
	for (size_t i = 0; i < r->count[side]; i++)
		sorted[start[r->record[side][i].stream]++] = r->record[side][i];
	/* each start is now the next one's */
	memmove(start + 1, start, r->streams * sizeof(*start));
	start[0] = 0;
	free(r->record[side]);
	r->record[side] = sorted;
	r->room[side] = r->count[side];
	r->start[side] = start;
	return 0;
}

/* What cannot be taken for a trace of ours; after the scan, whose damage it may go in front of. */
static bool check_header(struct diff_side *side, struct json_object *header)
{
	int64_t version = json_object_get_int64(json_object_object_get(header, "version"));
	const char *schema = string_of(header, "schema");
	bool good = !strcmp(schema, TRACE_SCHEMA) && version == TRACE_VERSION;

	if (good)
		return true;
	if (header || side->first_bad != 1)
		side->bad++;
	else
		return true; /* the damage of its line has been told */
	side->first_bad = 1;
	if (!side->lines)
		snprintf(side->why, sizeof(side->why), "it is empty: not even a header is in it");
	else if (!header)
		snprintf(side->why, sizeof(side->why), "there is no header in front of it");
	else if (strcmp(schema, TRACE_SCHEMA))
		snprintf(side->why, sizeof(side->why), "schema \"%.40s\"; this reads \"%s\"",
			 schema, TRACE_SCHEMA);
	else
		snprintf(side->why, sizeof(side->why), "version %" PRId64 "; this reads version %d",
			 version, TRACE_VERSION);
	return !header; /* of another schema nothing is known; without a header the lines are */
}

/* The end alone is nothing in common. */
static bool any_event(const struct diff_records *r)
{
	for (int side = 0; side < DIFF_SIDES; side++)
		for (size_t i = 0; i < r->count[side]; i++)
			if (r->record[side][i].flags != RECORD_END)
				return true;
	return false;
}

/*
 * Where no event was compared: was one wanted that both would have told? Two runs without a bus lock are the
 * same with --only bus-locks.
 */
static bool both_tell(const struct diff_records *r, struct json_object *const header[DIFF_SIDES])
{
	unsigned may = 0;

	if (!header[DIFF_A] || !header[DIFF_B])
		return false;
	for (int side = 0; side < DIFF_SIDES; side++)
		may |= events_that_may_lack(string_of(header[side], "backend"));
	for (int event = 0; event < TRACE_EVENTS; event++)
		if (is_wanted(r, event) && !(may >> event & 1))
			return true;
	return false;
}

static int scan_both(struct diff *diff, struct json_object *const header[DIFF_SIDES], int *side)
{
	int error = 0;

	for (int pass = 0; pass < 2 && !error; pass++) {
		for (*side = 0; *side < DIFF_SIDES; ++*side) {
			error = scan_trace(diff, *side);
			if (error)
				return error;
		}
		diff->records->scanned_once = true;
		if (pass || !find_lacks(diff->records, header))
			break;
	}
	return 0;
}

/* Is there an event or a field that it names: in the schema, or else in one of these traces? */
static bool names_something(const struct diff_records *r, const char *pattern)
{
	for (int event = 0; event <= END_EVENT; event++) {
		const struct trace_field *f =
			event < TRACE_EVENTS ? trace_event_fields((enum trace_event)event) : NULL;

		if (!strcmp(pattern, event_name(event)))
			return true;
		for (int i = 0; f && i < TRACE_MAX_FIELDS && f[i].name; i++)
			if (names(pattern, event, f[i].name))
				return true;
	}
	for (const struct trace_field *f = trace_fields(TRACE_LINE_EVENT); f->name; f++)
		if (!strcmp(pattern, f->name))
			return true;
	for (size_t i = 0; i < FIELDS; i++)
		if (r->field[i].key && names(pattern, r->field[i].event, r->field[i].name))
			return true;
	return false;
}

static int check_ignored(const struct diff_records *r, char *why, size_t size)
{
	for (const char *const *p = r->options.ignore; p && *p; p++)
		if (!names_something(r, *p)) {
			snprintf(why, size,
				 "--ignore: there is no event or field '%s'; docs/trace.md lists "
				 "them",
				 *p);
			return -EINVAL;
		}
	return 0;
}

int diff_scan(struct diff *diff, char *why, size_t size)
{
	struct json_object *header[DIFF_SIDES] = { NULL, NULL };
	struct diff_records *r = diff->records;
	int error = 0, side;

	r->field = calloc(FIELDS, sizeof(*r->field));
	if (!r->field)
		error = -ENOMEM;
	for (side = 0; !error && side < DIFF_SIDES; side++) {
		error = read_header(&diff->side[side], &header[side]);
		if (error)
			break;
		take_lacks(r, side, header[side]);
	}
	if (!error) {
		r->clocks = r->options.times ||
			    (!strcmp(string_of(header[DIFF_A], "time"), "virtual") &&
			     !strcmp(string_of(header[DIFF_B], "time"), "virtual"));
		error = scan_both(diff, header, &side);
		diff->comparable = any_event(r) || both_tell(r, header);
		for (int i = 0; i < DIFF_SIDES; i++)
			diff->comparable &= check_header(&diff->side[i], header[i]);
	}
	json_object_put(header[DIFF_A]);
	json_object_put(header[DIFF_B]);
	if (error) {
		snprintf(why, size, "%s: %s",
			 side < DIFF_SIDES ? diff->side[side].path : diff->side[DIFF_B].path,
			 strerror(-error));
		return error;
	}
	error = check_ignored(r, why, size);
	if (error)
		return error;
	for (side = 0; !error && side < DIFF_SIDES; side++) {
		diff->side[side].compared = r->count[side];
		error = group(r, side);
	}
	if (!error)
		error = note_lacks(diff);
	if (error)
		snprintf(why, size, "%s", strerror(-error));
	return error;
}

void diff_records_free(struct diff_records *r)
{
	if (!r)
		return;
	for (int side = 0; side < DIFF_SIDES; side++) {
		free(r->record[side]);
		free(r->start[side]);
	}
	free(r->stream);
	free(r->field);
	free(r);
}
