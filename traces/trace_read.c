// SPDX-License-Identifier: GPL-2.0-only
#include "traces/trace_read.h"
#include "traces/trace_source.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ the schema: docs/trace.md */

/* clang-format off: tables */
static const struct trace_field header_fields[] = {
	{ "schema", TRACE_STRING, 0 },
	{ "version", TRACE_NUMBER, 0 },
	{ "tool", TRACE_STRING, 0 },
	{ "backend", TRACE_STRING, 0 },
	{ "options", TRACE_STRING, TRACE_NULLABLE },
	{ "emulated", TRACE_STRING, TRACE_OPTIONAL },
	{ "time", TRACE_STRING, 0 },
	{ "lacks", TRACE_STRINGS, TRACE_OPTIONAL },
	{ "host", TRACE_OBJECT, TRACE_OPTIONAL },
	{ 0 },
};
static const struct trace_field common_fields[] = {
	{ "event", TRACE_STRING, 0 },
	{ "time", TRACE_NUMBER, 0 },
	{ "process", TRACE_NUMBER, 0 },
	{ "vm", TRACE_NUMBER, TRACE_NULLABLE },
	{ "vcpu", TRACE_NUMBER, TRACE_NULLABLE },
	{ "cut", TRACE_BOOL, TRACE_OPTIONAL },
	{ 0 },
};
static const struct trace_field end_fields[] = {
	{ "event", TRACE_STRING, 0 },
	{ "time", TRACE_NUMBER, 0 },
	{ "status", TRACE_NUMBER, TRACE_NULLABLE },
	{ "signal", TRACE_NUMBER, TRACE_NULLABLE },
	{ "deterministic", TRACE_BOOL, 0 },
	{ "why", TRACE_STRING, TRACE_NULLABLE },
	{ "lost", TRACE_NUMBER, 0 },
	{ "events", TRACE_OBJECT, 0 },
	{ 0 },
};

static const struct trace_field event_fields[TRACE_EVENTS][TRACE_MAX_FIELDS] = {
	[TRACE_VM_CREATED] = { { 0 } },
	[TRACE_VCPU_CREATED] = { { "id", TRACE_NUMBER, 0 } },
	[TRACE_CAPABILITY] = {
		{ "capability", TRACE_NUMBER, 0 },
		{ "name", TRACE_STRING, TRACE_NULLABLE },
		{ "args", TRACE_HEXES, 0 },
		{ "result", TRACE_SIGNED, 0 },
		{ "error", TRACE_STRING, TRACE_OPTIONAL },
	},
	[TRACE_RUN] = { { "immediate_exit", TRACE_BOOL, 0 } },
	[TRACE_EXIT] = {
		{ "result", TRACE_SIGNED, 0 },
		{ "error", TRACE_STRING, TRACE_OPTIONAL },
		{ "reason", TRACE_NUMBER, TRACE_NULLABLE },
		{ "reason_name", TRACE_STRING, TRACE_NULLABLE },
		{ "flags", TRACE_NUMBER, TRACE_OPTIONAL },
		{ "flag_names", TRACE_STRINGS, TRACE_OPTIONAL },
		{ "word", TRACE_HEX, TRACE_OPTIONAL },
		{ "rip", TRACE_HEX, TRACE_OPTIONAL },
		{ "linear_rip", TRACE_HEX, TRACE_OPTIONAL },
		{ "registers", TRACE_HEX, TRACE_OPTIONAL },
		{ "kept", TRACE_BOOL, TRACE_OPTIONAL },
		{ "thread", TRACE_NUMBER, TRACE_OPTIONAL },
		{ "cpu", TRACE_NUMBER, TRACE_OPTIONAL },
	},
	[TRACE_BUS_LOCK] = {
		{ "cause", TRACE_STRINGS, 0 },
		{ "linear", TRACE_HEX, 0 },
		{ "gpa", TRACE_HEX, 0 },
		{ "size", TRACE_NUMBER, 0 },
		{ "rip", TRACE_HEX, 0 },
		{ "linear_rip", TRACE_HEX, 0 },
		{ "bytes", TRACE_BYTES, 0 },
		{ "mode", TRACE_NUMBER, 0 },
		{ "cpl", TRACE_NUMBER, 0 },
		{ "memory_type", TRACE_STRING, 0 },
		{ "guest_memory_type", TRACE_STRING, 0 },
		{ "stuffed", TRACE_STRING, TRACE_NULLABLE },
		{ "in_delivery", TRACE_BOOL, 0 },
	},
	[TRACE_HOST_MESSAGE] = {
		{ "text", TRACE_STRING, 0 },
		{ "trap", TRACE_STRING, TRACE_OPTIONAL },
		{ "comm", TRACE_STRING, TRACE_OPTIONAL },
		{ "address", TRACE_HEX, TRACE_OPTIONAL },
		{ "suppressed", TRACE_NUMBER, TRACE_OPTIONAL },
		{ "thread", TRACE_NUMBER, TRACE_OPTIONAL },
		{ "cpu", TRACE_NUMBER, TRACE_OPTIONAL },
	},
	[TRACE_SLEEP] = {
		{ "who", TRACE_STRING, 0 },
		{ "ns", TRACE_NUMBER, 0 },
		{ "interrupted", TRACE_BOOL, 0 },
	},
	[TRACE_NONDETERMINISTIC] = { { "why", TRACE_STRING, 0 } },
	[TRACE_LOCKED] = {
		{ "linear", TRACE_HEX, 0 },
		{ "gpa", TRACE_HEX, 0 },
		{ "size", TRACE_NUMBER, 0 },
		{ "rip", TRACE_HEX, 0 },
		{ "linear_rip", TRACE_HEX, 0 },
		{ "bytes", TRACE_BYTES, 0 },
		{ "mode", TRACE_NUMBER, 0 },
		{ "cpl", TRACE_NUMBER, 0 },
		{ "memory_type", TRACE_STRING, 0 },
		{ "guest_memory_type", TRACE_STRING, 0 },
	},
	[TRACE_NOT_COVERED] = {
		{ "rip", TRACE_HEX, TRACE_OPTIONAL },
		{ "why", TRACE_STRING, 0 },
	},
	[TRACE_VM_EXIT] = {
		{ "vendor", TRACE_STRING, TRACE_NULLABLE },
		{ "reason", TRACE_NUMBER, TRACE_NULLABLE },
		{ "reason_name", TRACE_STRING, TRACE_NULLABLE },
		{ "word", TRACE_HEX, TRACE_OPTIONAL },
		{ "printed", TRACE_STRING, TRACE_OPTIONAL },
		{ "bus_lock", TRACE_BOOL, TRACE_NULLABLE },
		{ "rip", TRACE_HEX, 0 },
		{ "info1", TRACE_HEX, TRACE_OPTIONAL },
		{ "info2", TRACE_HEX, TRACE_OPTIONAL },
		{ "interruption", TRACE_HEX, TRACE_OPTIONAL },
		{ "error_code", TRACE_HEX, TRACE_OPTIONAL },
		{ "requests", TRACE_HEX, TRACE_OPTIONAL },
		{ "nested", TRACE_BOOL, TRACE_OPTIONAL },
		{ "thread", TRACE_NUMBER, TRACE_OPTIONAL },
		{ "cpu", TRACE_NUMBER, TRACE_OPTIONAL },
	},
	[TRACE_VM_ENTRY] = {
		{ "rip", TRACE_HEX, TRACE_OPTIONAL },
		{ "immediate_exit", TRACE_BOOL, 0 },
		{ "interruption", TRACE_HEX, TRACE_OPTIONAL },
		{ "error_code", TRACE_HEX, TRACE_OPTIONAL },
		{ "thread", TRACE_NUMBER, TRACE_OPTIONAL },
		{ "cpu", TRACE_NUMBER, TRACE_OPTIONAL },
	},
};
/* clang-format on */

const struct trace_field *trace_fields(enum trace_kind kind)
{
	static const struct trace_field *const fields[TRACE_KINDS] = {
		[TRACE_LINE_HEADER] = header_fields,
		[TRACE_LINE_EVENT] = common_fields,
		[TRACE_LINE_END] = end_fields,
	};

	return fields[kind];
}

const struct trace_field *trace_event_fields(enum trace_event event)
{
	return event_fields[event];
}

/* ------------------------------------------------------------------ is a line as it should be? */

static bool is_number(struct json_object *value)
{
	/* json-c makes a double of what does not fit; -0 and below is told by the sign */
	return json_object_is_type(value, json_type_int) &&
	       json_object_to_json_string(value)[0] != '-';
}

static bool is_signed(struct json_object *value)
{
	int64_t number = json_object_get_int64(value);

	return json_object_is_type(value, json_type_int) && number >= INT32_MIN &&
	       number <= INT32_MAX;
}

static bool all_hex(const char *text)
{
	while (isxdigit((unsigned char)*text) && !isupper((unsigned char)*text))
		text++;
	return !*text;
}

static bool is_hex(struct json_object *value)
{
	const char *text =
		json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";

	return !strncmp(text, "0x", 2) && text[2] && strlen(text) <= 18 && all_hex(text + 2);
}

static bool is_bytes(struct json_object *value)
{
	const char *text =
		json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "x";

	return strlen(text) % 2 == 0 && all_hex(text);
}

static bool is_string(struct json_object *value)
{
	return json_object_is_type(value, json_type_string);
}

static bool is_array_of(struct json_object *value, bool (*is)(struct json_object *))
{
	if (!json_object_is_type(value, json_type_array))
		return false;
	for (size_t i = 0; i < json_object_array_length(value); i++)
		if (!is(json_object_array_get_idx(value, i)))
			return false;
	return true;
}

static bool has_type(struct json_object *value, enum trace_type type)
{
	switch (type) {
	case TRACE_NUMBER:
		return is_number(value);
	case TRACE_SIGNED:
		return is_signed(value);
	case TRACE_HEX:
		return is_hex(value);
	case TRACE_BYTES:
		return is_bytes(value);
	case TRACE_STRING:
		return is_string(value);
	case TRACE_BOOL:
		return json_object_is_type(value, json_type_boolean);
	case TRACE_STRINGS:
		return is_array_of(value, is_string);
	case TRACE_HEXES:
		return is_array_of(value, is_hex);
	case TRACE_OBJECT:
		return json_object_is_type(value, json_type_object);
	}
	return false;
}

static const char *const type_names[] = {
	[TRACE_NUMBER] = "a number",
	[TRACE_SIGNED] = "a number",
	[TRACE_HEX] = "a string such as \"0x1f\"",
	[TRACE_BYTES] = "a string of bytes in hexadecimal",
	[TRACE_STRING] = "a string",
	[TRACE_BOOL] = "true or false",
	[TRACE_STRINGS] = "an array of strings",
	[TRACE_HEXES] = "an array of strings such as \"0x1f\"",
	[TRACE_OBJECT] = "an object",
};

struct reason {
	char *text;
	size_t size;
};

__attribute__((format(printf, 2, 3))) static bool refuse(const struct reason *why,
							 const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(why->text, why->size, format, list);
	va_end(list);
	return false;
}

static bool has_fields(struct json_object *json, const struct trace_field *field, size_t most,
		       const struct reason *why)
{
	struct json_object *value;

	for (size_t i = 0; i < most && field->name; i++, field++) {
		if (!json_object_object_get_ex(json, field->name, &value)) {
			if (field->how & TRACE_OPTIONAL)
				continue;
			return refuse(why, "\"%s\" is missing", field->name);
		}
		if (value ? !has_type(value, field->type) : !(field->how & TRACE_NULLABLE))
			return refuse(why, "\"%s\" is %.40s, and should be %s", field->name,
				      json_object_to_json_string(value), type_names[field->type]);
	}
	return true;
}

static const char *string_of(struct json_object *json, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(json, key, &value) && is_string(value)
		       ? json_object_get_string(value)
		       : NULL;
}

static uint64_t number_of(struct json_object *json, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(json, key, &value) ? json_object_get_uint64(value) : 0;
}

/* ------------------------------------------------------------------ the reader */

struct trace_reader {
	struct trace_source *source;
	struct json_tokener *tokener;
	struct json_object *json;
	char *text; /* of the line, or what is left of it */
	size_t length;
	unsigned long lines;
	bool has_header;
	uint64_t seen[TRACE_EVENTS];
};

int trace_reader_open(struct trace_reader **reader, const char *path)
{
	struct trace_reader *r = calloc(1, sizeof(*r));
	int error = -ENOMEM;

	if (r)
		r->tokener = json_tokener_new();
	if (r && r->tokener) {
		json_tokener_set_flags(r->tokener,
				       JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
		error = trace_source_open(&r->source, path);
	}
	if (error)
		trace_reader_close(r);
	else
		*reader = r;
	return error;
}

void trace_reader_close(struct trace_reader *r)
{
	if (!r)
		return;
	json_object_put(r->json);
	if (r->tokener)
		json_tokener_free(r->tokener);
	trace_source_close(r->source);
	free(r);
}

static bool check_header(struct trace_reader *r, struct json_object *json, const struct reason *why)
{
	if (r->has_header)
		return refuse(why, "a second header");
	r->has_header = true;
	if (strcmp(string_of(json, "schema"), TRACE_SCHEMA))
		return refuse(why, "schema \"%.40s\"; this reads \"%s\"", string_of(json, "schema"),
			      TRACE_SCHEMA);
	if (!has_fields(json, header_fields, SIZE_MAX, why))
		return false;
	if (number_of(json, "version") != TRACE_VERSION)
		return refuse(why, "version %" PRIu64 "; this reads version %d",
			      number_of(json, "version"), TRACE_VERSION);
	return true;
}

static bool check_event(struct trace_reader *r, struct trace_line *line, const char *name,
			const struct reason *why)
{
	for (int i = 0; i < TRACE_EVENTS; i++)
		if (!strcmp(name, trace_event_name((enum trace_event)i)))
			line->event = i;
	if (!has_fields(line->json, common_fields, SIZE_MAX, why))
		return false;
	if (line->event < 0)
		return true;
	if (!has_fields(line->json, event_fields[line->event], TRACE_MAX_FIELDS, why))
		return false;
	r->seen[line->event]++;
	return true;
}

/* The totals are those of the lines in front, unless some were lost on the way to this reader. */
static bool check_end(const struct trace_reader *r, struct json_object *json,
		      const struct reason *why)
{
	struct json_object *events;

	if (!has_fields(json, end_fields, SIZE_MAX, why))
		return false;
	json_object_object_get_ex(json, "events", &events);
	for (int i = 0; i < TRACE_EVENTS; i++) {
		const char *name = trace_event_name((enum trace_event)i);

		if (number_of(events, name) != r->seen[i])
			return refuse(why,
				      "%" PRIu64 " lines \"%s\" were written, %" PRIu64
				      " of them are in front of this one",
				      number_of(events, name), name, r->seen[i]);
	}
	return true;
}

static bool check_object(struct trace_reader *r, struct trace_line *line, const struct reason *why)
{
	const char *event = string_of(line->json, "event");

	if (string_of(line->json, "schema")) {
		line->kind = TRACE_LINE_HEADER;
		return check_header(r, line->json, why);
	}
	if (!event)
		return refuse(why, "neither \"schema\" nor \"event\" is in it");
	if (!strcmp(event, "end")) {
		line->kind = TRACE_LINE_END;
		return check_end(r, line->json, why);
	}
	return check_event(r, line, event, why);
}

/*
 * A writer that was killed in the middle of a line leaves it without an end, and another process may
 * have written on. Within a string the quotes would be escaped, so this is where its line begins.
 */
static bool find_next_event(struct trace_reader *r)
{
	static const char start[] = "{\"event\":\"";
	char *next = r->length > 1 ? memmem(r->text + 1, r->length - 1, start, sizeof(start) - 1)
				   : NULL;

	r->length = next ? r->length - (size_t)(next - r->text) : 0;
	r->text = next;
	return next;
}

static bool check_text(struct trace_reader *r, struct trace_line *line, const struct reason *why)
{
	bool whole = r->text[r->length - 1] == '\n';
	size_t n = r->length - whole;
	enum json_tokener_error error;

	json_tokener_reset(r->tokener);
	line->json = r->json = json_tokener_parse_ex(r->tokener, r->text, (int)n + 1);
	error = json_tokener_get_error(r->tokener);
	if (error != json_tokener_success || json_tokener_get_parse_end(r->tokener) < n) {
		json_object_put(r->json);
		line->json = r->json = NULL;
		if (find_next_event(r))
			return refuse(why, "cut short: another line begins in the middle of it");
		if (!whole)
			return refuse(why, "cut short: no newline at its end");
		if (error == json_tokener_continue)
			return refuse(why, "cut short: it ends in the middle of the object");
		return refuse(why, "not JSON: %s",
			      error != json_tokener_success
				      ? json_tokener_error_desc(error)
				      : "something follows the object, or is a NUL");
	}
	r->length = 0;
	if (!whole)
		return refuse(why, "cut short: no newline at its end");
	if (!json_object_is_type(r->json, json_type_object))
		return refuse(why, "not an object");
	return check_object(r, line, why);
}

/* As trace_source_next(). Empty lines are what a writer puts behind a torn one. */
static int next_line(struct trace_reader *r, const struct reason *why)
{
	struct trace_text line;
	int got;

	do {
		got = trace_source_next(r->source, &line, why->text, why->size);
		if (got <= 0)
			return got;
		r->lines = line.number;
	} while (got == TRACE_SOURCE_LINE && line.length == 1 && *line.text == '\n');
	r->text = line.text;
	r->length = got == TRACE_SOURCE_LINE ? line.length : 0;
	return got;
}

int trace_reader_next(struct trace_reader *r, struct trace_line *line, char *why, size_t size)
{
	const struct reason reason = { why, size };
	bool missing = !r->has_header, good;
	int more = r->length ? TRACE_SOURCE_LINE : next_line(r, &reason);

	json_object_put(r->json);
	r->json = NULL;
	*line = (struct trace_line){ .number = r->lines, .kind = TRACE_LINE_EVENT, .event = -1 };
	if (more == TRACE_SOURCE_LOST)
		r->has_header = true; /* or it is among the lost ones */
	if (more != TRACE_SOURCE_LINE)
		return more == TRACE_SOURCE_LOST ? TRACE_READ_BAD : more;
	good = check_text(r, line, &reason);
	if (missing && line->kind != TRACE_LINE_HEADER) {
		r->has_header = true; /* said once */
		if (good)
			good = refuse(&reason, "there is no header in front of it");
	}
	return good ? TRACE_READ_GOOD : TRACE_READ_BAD;
}
