// SPDX-License-Identifier: GPL-2.0-only
/* An event of a trace on one line, for people. */
#include "cli/cli.h"
#include "cli/trace_walk.h"
#include "emu/disasm.h"

#include <ctype.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ------------------------------------------------------------------ the terminal */

bool style_wants_colours(FILE *out)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM"); /* no-color.org */

	return isatty(fileno(out)) && !(no && *no) && !(term && !strcmp(term, "dumb"));
}

const char *colour(const struct trace_style *style, enum colour colour)
{
	static const char *const sequences[] = {
		[PLAIN] = "\033[0m",   [DIM] = "\033[2m",   [BOLD] = "\033[1m",  [RED] = "\033[31m",
		[YELLOW] = "\033[33m", [CYAN] = "\033[36m", [GREEN] = "\033[32m"
	};

	return style->colours ? sequences[colour] : "";
}

void put_safely(FILE *out, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		/* C1 controls as UTF-8: C2 80 to C2 9F */
		if (c == 0xc2 && ((unsigned char)text[1] & 0xe0) == 0x80) {
			fprintf(out, "\\x%02x", (unsigned char)*++text);
			continue;
		}
		if (c < 0x20 || c == 0x7f)
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
}

/* ------------------------------------------------------------------ pieces */

char *duration_text(uint64_t ns, char *text, size_t size)
{
	static const struct {
		uint64_t ns;
		const char *unit;
	} units[] = { { 1000000000, "s" }, { 1000000, "ms" }, { 1000, "us" } };

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (ns < units[i].ns)
			continue;
		snprintf(text, size, "%" PRIu64 ".%03" PRIu64 " %s", ns / units[i].ns,
			 ns % units[i].ns / (units[i].ns / 1000), units[i].unit);
		return text;
	}
	snprintf(text, size, "%" PRIu64 " ns", ns);
	return text;
}

static size_t parse_bytes(const char *text, uint8_t *bytes, size_t most)
{
	size_t n = 0;

	while (text && n < most && isxdigit((unsigned char)text[0]) &&
	       isxdigit((unsigned char)text[1])) {
		const char digits[3] = { text[0], text[1], 0 };

		bytes[n++] = (uint8_t)strtoul(digits, NULL, 16);
		text += 2;
	}
	return n;
}

void instruction_text(const char *hex, unsigned mode, uint64_t rip, char *text, size_t size)
{
	uint8_t bytes[16];
	size_t n = parse_bytes(hex, bytes, sizeof(bytes));

	if (!n || disasm_text(text, size, bytes, n, rip, mode))
		snprintf(text, size, "(%s)", hex ? hex : "");
}

static void put_place(FILE *out, struct json_object *json, const struct trace_style *style)
{
	uint64_t rip;
	char name[128];

	if (!field_number(json, "linear_rip", &rip) && !field_number(json, "rip", &rip))
		return;
	fprintf(out, "  at %#" PRIx64, rip);
	symbols_format(style->symbols, rip, name, sizeof(name));
	if (!*name)
		return;
	fputs(" <", out);
	put_safely(out, name);
	fputc('>', out);
}

static void put_result(FILE *out, struct json_object *json)
{
	const char *name = field_string(json, "error");
	int result = 0;

	field_signed(json, "result", &result);
	if (!name) {
		fprintf(out, "%d", result);
		return;
	}
	fputc('-', out);
	put_safely(out, name);
}

static void put_list(FILE *out, struct json_object *json, const char *key, const char *between)
{
	for (size_t i = 0; i < field_count(json, key); i++) {
		fputs(i ? between : "", out);
		put_safely(out, field_item(json, key, i));
	}
}

static void put_text(FILE *out, struct json_object *json, const char *key)
{
	const char *text = field_string(json, key);

	put_safely(out, text ? text : "?");
}

/* ------------------------------------------------------------------ each event */

static void put_created(FILE *out, struct json_object *json, const struct trace_style *style)
{
	uint64_t id;

	(void)style;
	if (field_number(json, "id", &id))
		fprintf(out, "vCPU created, id %" PRIu64, id);
	else
		fputs("VM created", out);
}

static void put_capability(FILE *out, struct json_object *json, const struct trace_style *style)
{
	uint64_t number = 0;

	(void)style;
	field_number(json, "capability", &number);
	fputs("KVM_ENABLE_CAP ", out);
	if (field_string(json, "name"))
		put_text(out, json, "name");
	else
		fprintf(out, "%" PRIu64, number);
	fputs(" (", out);
	put_list(out, json, "args", " ");
	fputs(") = ", out);
	put_result(out, json);
}

static void put_run(FILE *out, struct json_object *json, const struct trace_style *style)
{
	(void)style;
	fputs(field_true(json, "immediate_exit") ? "run, immediate_exit" : "run", out);
}

static void put_reason(FILE *out, struct json_object *json)
{
	uint64_t reason;

	if (field_string(json, "reason_name"))
		put_text(out, json, "reason_name");
	else if (field_number(json, "reason", &reason))
		fprintf(out, "reason %" PRIu64, reason);
	else
		fputc('?', out);
}

static void put_exit(FILE *out, struct json_object *json, const struct trace_style *style)
{
	int result = 0;
	uint64_t value;

	field_signed(json, "result", &result);
	fputs("exit ", out);
	if (result) {
		put_result(out, json);
		fputs(", reason ", out);
	}
	put_reason(out, json);
	if (field_count(json, "flag_names")) {
		fprintf(out, "  %s[", colour(style, RED));
		put_list(out, json, "flag_names", " ");
		fprintf(out, "]%s", colour(style, PLAIN));
	}
	put_place(out, json, style);
	if (field_number(json, "word", &value))
		fprintf(out, "  word %#" PRIx64, value);
	if (field_number(json, "registers", &value))
		fprintf(out, "  registers %016" PRIx64, value);
	if (field_true(json, "kept"))
		fputs("  (kept from the monitor)", out);
}

/* bus_lock and locked have most keys in common. */
static void put_access(FILE *out, struct json_object *json, const struct trace_style *style)
{
	uint64_t size = 0, linear = 0, gpa = 0, rip = 0, mode = 64;
	const char *stuffed = field_string(json, "stuffed");
	char text[160];

	field_number(json, "size", &size);
	field_number(json, "linear", &linear);
	field_number(json, "gpa", &gpa);
	field_number(json, "mode", &mode);
	field_number(json, "rip", &rip);
	fprintf(out, "  %" PRIu64 " bytes at %#" PRIx64, size, linear);
	if (gpa != linear)
		fprintf(out, " (gpa %#" PRIx64 ")", gpa);
	if (stuffed) {
		fputs(", stuffed: ", out);
		put_safely(out, stuffed);
	}
	if (field_true(json, "in_delivery"))
		fputs(", while an event was delivered", out);
	instruction_text(field_string(json, "bytes"), (unsigned)mode, rip, text, sizeof(text));
	fprintf(out, "  %s%s%s", colour(style, BOLD), text, colour(style, PLAIN));
	put_place(out, json, style);
	fputs("  ", out);
	put_text(out, json, "memory_type");
}

static void put_bus_lock(FILE *out, struct json_object *json, const struct trace_style *style)
{
	fprintf(out, "%sbus lock%s ", colour(style, RED), colour(style, PLAIN));
	put_list(out, json, "cause", "+");
	put_access(out, json, style);
}

static void put_locked(FILE *out, struct json_object *json, const struct trace_style *style)
{
	fputs("locked access", out);
	put_access(out, json, style);
}

static void put_host_message(FILE *out, struct json_object *json, const struct trace_style *style)
{
	fprintf(out, "%shost:%s ", colour(style, YELLOW), colour(style, PLAIN));
	put_text(out, json, "text");
}

static void put_sleep(FILE *out, struct json_object *json, const struct trace_style *style)
{
	uint64_t ns = 0;
	char text[40];

	field_number(json, "ns", &ns);
	fprintf(out, "%sslept%s %s, ", colour(style, CYAN), colour(style, PLAIN),
		duration_text(ns, text, sizeof(text)));
	put_text(out, json, "who");
	if (field_true(json, "interrupted"))
		fputs(", interrupted", out);
}

static void put_nondeterministic(FILE *out, struct json_object *json,
				 const struct trace_style *style)
{
	(void)style;
	fputs("not deterministic: ", out);
	put_text(out, json, "why");
}

static void put_not_covered(FILE *out, struct json_object *json, const struct trace_style *style)
{
	fprintf(out, "%snot covered:%s ", colour(style, YELLOW), colour(style, PLAIN));
	put_text(out, json, "why");
	put_place(out, json, style);
}

static void put_vm_exit(FILE *out, struct json_object *json, const struct trace_style *style)
{
	uint64_t value;

	fputs(field_true(json, "nested") ? "nested VM exit " : "VM exit ", out);
	if (!field_string(json, "reason_name") && field_string(json, "printed"))
		put_text(out, json, "printed");
	else
		put_reason(out, json);
	if (field_true(json, "bus_lock"))
		fprintf(out, "  %s[BUS_LOCK]%s", colour(style, RED), colour(style, PLAIN));
	put_place(out, json, style);
	if (field_number(json, "word", &value))
		fprintf(out, "  word %#" PRIx64, value);
}

static void put_vm_entry(FILE *out, struct json_object *json, const struct trace_style *style)
{
	fputs(field_true(json, "immediate_exit") ? "VM entry, immediate_exit" : "VM entry", out);
	put_place(out, json, style);
}

static void (*const printers[TRACE_EVENTS])(FILE *, struct json_object *,
					    const struct trace_style *) = {
	[TRACE_VM_CREATED] = put_created,
	[TRACE_VCPU_CREATED] = put_created,
	[TRACE_CAPABILITY] = put_capability,
	[TRACE_RUN] = put_run,
	[TRACE_EXIT] = put_exit,
	[TRACE_BUS_LOCK] = put_bus_lock,
	[TRACE_HOST_MESSAGE] = put_host_message,
	[TRACE_SLEEP] = put_sleep,
	[TRACE_NONDETERMINISTIC] = put_nondeterministic,
	[TRACE_LOCKED] = put_locked,
	[TRACE_NOT_COVERED] = put_not_covered,
	[TRACE_VM_EXIT] = put_vm_exit,
	[TRACE_VM_ENTRY] = put_vm_entry,
};

/* ------------------------------------------------------------------ all of them */

static bool is_known(const struct trace_field *field, size_t most, const char *key)
{
	for (size_t i = 0; i < most && field[i].name; i++)
		if (!strcmp(field[i].name, key))
			return true;
	return false;
}

/* What this version does not know is shown as it is. */
static void put_others(FILE *out, const struct trace_line *line)
{
	json_object_object_foreach(line->json, key, value)
	{
		if (is_known(trace_fields(line->kind), SIZE_MAX, key) ||
		    (line->kind == TRACE_LINE_EVENT && line->event >= 0 &&
		     is_known(trace_event_fields((enum trace_event)line->event), TRACE_MAX_FIELDS,
			      key)))
			continue;
		fputs("  ", out);
		put_safely(out, key);
		fputc('=', out);
		put_safely(out,
			   json_object_to_json_string_ext(
				   value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	}
}

void put_event(FILE *out, const struct trace_line *line, const struct trace_style *style)
{
	struct trace_who who = field_who(line->json);
	uint64_t time = field_time(line->json);
	char text[64];

	fprintf(out, "%s%6" PRIu64 ".%09" PRIu64 "%s  %-7s  ", colour(style, DIM),
		time / 1000000000, time % 1000000000, colour(style, PLAIN),
		who_text(&who, text, sizeof(text)));
	if (line->event >= 0 && line->event < TRACE_EVENTS && printers[line->event])
		printers[line->event](out, line->json, style);
	else
		put_text(out, line->json, "event");
	put_others(out, line);
}

char *event_title(const struct trace_line *line, char *text, size_t size)
{
	const char *reason = field_string(line->json, "reason_name");
	const char *error = field_string(line->json, "error");
	uint64_t number = 0;

	switch (line->event) {
	case TRACE_EXIT:
		field_number(line->json, "reason", &number);
		if (error)
			snprintf(text, size, "%s", error);
		else if (reason)
			snprintf(text, size, "%s", reason);
		else
			snprintf(text, size, "reason %" PRIu64, number);
		break;
	case TRACE_BUS_LOCK:
		snprintf(text, size, "bus lock");
		break;
	case TRACE_VM_EXIT:
		field_number(line->json, "reason", &number);
		if (reason)
			snprintf(text, size, "%s", reason);
		else
			snprintf(text, size, "VM exit %" PRIu64, number);
		break;
	default:
		snprintf(text, size, "%s",
			 field_string(line->json, "event") ? field_string(line->json, "event")
							   : "?");
	}
	return text;
}
