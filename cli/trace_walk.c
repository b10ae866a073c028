// SPDX-License-Identifier: GPL-2.0-only
/* Going through a trace: what is damaged is told, the rest is used. */
#include "cli/trace_walk.h"
#include "cli/cli.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#define TOLD 5 /* damaged lines that are told one by one */

const char *walk_path(const char *file)
{
	return strcmp(file, "-") ? file : "/dev/stdin";
}

bool walk_open(struct trace_walk *walk, const char *file)
{
	int error = trace_reader_open(&walk->reader, walk_path(file));

	*walk = (struct trace_walk){ .file = file, .reader = error ? NULL : walk->reader };
	if (!error)
		return true;
	complain("%s: %s", file, strerror(-error));
	return false;
}

bool walk_next(struct trace_walk *walk, struct trace_line *line)
{
	char why[256];
	int r;

	while ((r = trace_reader_next(walk->reader, line, why, sizeof(why))) > 0) {
		walk->lines = line->number;
		if (r == TRACE_READ_GOOD)
			return true;
		if (walk->bad++ < TOLD)
			complain("%s: line %lu: %s", walk->file, line->number, why);
	}
	if (r < 0) {
		complain("%s: after line %lu: %s", walk->file, line->number, strerror(-r));
		walk->failed = true;
	} else if (!walk->lines) {
		complain("%s: it is empty: not even a header is in it", walk->file);
		walk->failed = true;
	}
	return false;
}

int walk_close(struct trace_walk *walk)
{
	if (walk->bad > TOLD)
		complain("%s: %lu more lines are damaged", walk->file, walk->bad - TOLD);
	trace_reader_close(walk->reader);
	return walk->bad || walk->failed ? STATUS_USAGE : STATUS_OK;
}

bool walk_add_symbols(struct symbols **symbols, const char *file)
{
	char why[256];

	if (!symbols_add(symbols, file, why, sizeof(why)))
		return true;
	complain("--symbols: %s", why);
	return false;
}

bool parse_time(const char *option, const char *text, uint64_t *ns)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = { { "", 1e9 }, { "s", 1e9 }, { "ms", 1e6 }, { "us", 1e3 }, { "ns", 1 } };
	char *end;
	double value = strtod(text, &end);

	for (size_t i = 0; end != text && i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].unit))
			continue;
		value = value * units[i].ns + 0.5;
		if (!(value >= 0 && value < 1.8e19))
			break;
		*ns = (uint64_t)value;
		return true;
	}
	complain("%s: '%s' is not a time; give seconds (1.5) or a number with s, ms, us or ns",
		 option, text);
	return false;
}

/* ------------------------------------------------------------------ fields */

bool field_number(struct json_object *json, const char *key, uint64_t *value)
{
	struct json_object *field;
	const char *text;
	char *end;

	if (!json_object_object_get_ex(json, key, &field) || !field)
		return false;
	if (!json_object_is_type(field, json_type_string)) {
		*value = json_object_get_uint64(field);
		return true;
	}
	text = json_object_get_string(field);
	*value = strtoull(text, &end, 16);
	return end != text && !*end;
}

bool field_signed(struct json_object *json, const char *key, int *value)
{
	struct json_object *field;

	if (!json_object_object_get_ex(json, key, &field) || !field)
		return false;
	*value = json_object_get_int(field);
	return true;
}

const char *field_string(struct json_object *json, const char *key)
{
	struct json_object *field;

	return json_object_object_get_ex(json, key, &field) &&
			       json_object_is_type(field, json_type_string)
		       ? json_object_get_string(field)
		       : NULL;
}

bool field_true(struct json_object *json, const char *key)
{
	struct json_object *field;

	return json_object_object_get_ex(json, key, &field) && json_object_get_boolean(field);
}

size_t field_count(struct json_object *json, const char *key)
{
	struct json_object *field;

	return json_object_object_get_ex(json, key, &field) &&
			       json_object_is_type(field, json_type_array)
		       ? json_object_array_length(field)
		       : 0;
}

const char *field_item(struct json_object *json, const char *key, size_t i)
{
	struct json_object *field;

	return i < field_count(json, key) && json_object_object_get_ex(json, key, &field)
		       ? json_object_get_string(json_object_array_get_idx(field, i))
		       : NULL;
}

uint64_t field_time(struct json_object *json)
{
	uint64_t time = 0;

	field_number(json, "time", &time);
	return time;
}

static uint32_t index_of(struct json_object *json, const char *key)
{
	uint64_t value;

	return field_number(json, key, &value) && value < NOBODY ? (uint32_t)value : NOBODY;
}

struct trace_who field_who(struct json_object *json)
{
	return (struct trace_who){ index_of(json, "process"), index_of(json, "vm"),
				   index_of(json, "vcpu") };
}

/* What there is one of is left out. */
char *who_text(const struct trace_who *who, char *text, size_t size)
{
	char process[24] = "", vm[24] = "", vcpu[24] = "";

	if (who->process && who->process != NOBODY)
		snprintf(process, sizeof(process), "process %u ", who->process);
	if (who->vm != NOBODY && (who->vm || *process || who->vcpu == NOBODY))
		snprintf(vm, sizeof(vm), "vm %u ", who->vm);
	if (who->vcpu != NOBODY)
		snprintf(vcpu, sizeof(vcpu), "vcpu %u ", who->vcpu);
	snprintf(text, size, "%s%s%s", process, vm, vcpu);
	if (*text)
		text[strlen(text) - 1] = '\0';
	else
		snprintf(text, size, "-");
	return text;
}
