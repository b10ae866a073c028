// SPDX-License-Identifier: GPL-2.0-only
/* The answer of `buslock explain`, for people and for tools. */
#include "cli/explain.h"

#include "cli/cli.h"
#include "emu/emu.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE           64
#define SCHEMA_VERSION 1

static const char *const segments[] = { "es", "cs", "ss", "ds", "fs", "gs" };

static const char *prefix_name(uint8_t byte, unsigned mode)
{
	switch (byte) {
	case 0xf0:
		return "LOCK";
	case 0xf2:
		return "REPNE";
	case 0xf3:
		return "REP";
	case 0x26:
		return "ES:";
	case 0x2e:
		return "CS:";
	case 0x36:
		return "SS:";
	case 0x3e:
		return "DS:";
	case 0x64:
		return "FS:";
	case 0x65:
		return "GS:";
	case 0x66:
		return "operand size";
	case 0x67:
		return "address size";
	}
	return mode == 64 && (byte & 0xf0) == 0x40 ? "REX" : NULL;
}

static void line(const char *label, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void line(const char *label, const char *format, ...)
{
	va_list arguments;

	printf("  %-12s", label);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

static bool crosses(const struct insn_access *access)
{
	return access->size && (access->linear & (LINE - 1)) + access->size > LINE;
}

static void print_prefixes(const struct answer *a)
{
	const char *name;
	char text[160] = "";

	for (size_t i = 0; i < a->insn.length; i++) {
		name = prefix_name(a->insn.bytes[i], a->insn.mode);
		if (!name)
			break;
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%02x %s",
			 i ? ", " : "", a->insn.bytes[i], name);
		/* A REX prefix is the last one by its nature. */
		if (!strcmp(name, "REX"))
			break;
	}
	if (*text)
		line("prefixes", "%s", text);
}

static void print_access(const struct question *q, const struct insn_access *access, bool first)
{
	static const char *const kinds[] = { "none", "read", "write", "read and write" };
	unsigned offset = access->linear & (LINE - 1);

	line(first ? "touches" : "",
	     "%s %" PRIu32 " byte%s at %s:%0*" PRIx64 ", linear 0x%" PRIx64 " (%s)",
	     kinds[access->access & 3], access->size, access->size == 1 ? "" : "s",
	     segments[access->seg], (int)q->mode / 4, access->offset, access->linear,
	     q->memory_type_name);
	if (crosses(access))
		line("", "offset %u of a 64-byte line: crosses into the next, %u + %u bytes%s",
		     offset, LINE - offset, access->size - (LINE - offset),
		     (access->linear & 0xfff) + access->size > 0x1000 ? "; and into the next page"
								      : "");
	else
		line("", "offset %u of a 64-byte line: within it", offset);
}

static void print_assumed(const struct question *q, const struct answer *a)
{
	char text[256] = "";

	for (unsigned i = 0; i < EXPLAIN_REGISTERS; i++)
		if (a->assumed[i])
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
				 *text ? ", " : "", explain_register_name(i, q->mode));
	if (*text)
		line("note", "not given and taken as 0: %s", text);
}

void explain_print_text(const struct question *q, const struct answer *a)
{
	static const char *const locks[] = { "no", "yes", "yes", "no" };

	for (size_t i = 0; i < a->insn.length; i++)
		printf("%s%02x", i ? " " : "", a->insn.bytes[i]);
	printf("   %s\n", a->text);
	line("code", "%u-bit, %u bytes", a->insn.mode, a->insn.length);
	print_prefixes(a);
	line("locks", "%s: %s", locks[a->lock], a->lock_rule);
	for (int i = 0; i < a->accesses; i++)
		print_access(q, &a->access[i], !i);
	if (!a->accesses && a->insn.op != OP_UD)
		line("touches", "no memory");
	line("bus lock", "%s: %s", a->cause ? "yes" : "no", a->rule);
	if (a->stuffed)
		line("note", "%s", a->stuffed);
	print_assumed(q, a);
	if (q->count > a->insn.length)
		line("note", "%zu more bytes follow it and were not looked at",
		     q->count - a->insn.length);
}

/* ------------------------------------------------------------------ JSON */

static void put_string(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, value ? json_object_new_string(value) : NULL);
}

static void put_address(struct json_object *object, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	put_string(object, key, text);
}

static void put_number(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

static void put_bool(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}

static struct json_object *access_json(const struct insn_access *access)
{
	struct json_object *object = json_object_new_object();

	if (!object)
		return NULL;
	put_string(object, "segment", segments[access->seg]);
	put_address(object, "offset", access->offset);
	put_address(object, "linear", access->linear);
	put_number(object, "size", access->size);
	put_bool(object, "read", access->access & INSN_READ);
	put_bool(object, "write", access->access & INSN_WRITE);
	put_number(object, "line_offset", access->linear & (LINE - 1));
	put_bool(object, "crosses_line", crosses(access));
	return object;
}

static void put_lists(struct json_object *json, const struct question *q, const struct answer *a)
{
	struct json_object *accesses = json_object_new_array(), *causes = json_object_new_array(),
			   *assumed = json_object_new_array();

	if (accesses)
		for (int i = 0; i < a->accesses; i++)
			json_object_array_add(accesses, access_json(&a->access[i]));
	json_object_object_add(json, "accesses", accesses);
	if (causes && a->cause & EMU_LOCK_SPLIT)
		json_object_array_add(causes, json_object_new_string("split"));
	if (causes && a->cause & EMU_LOCK_NON_WB)
		json_object_array_add(causes, json_object_new_string("non_wb"));
	json_object_object_add(json, "cause", causes);
	if (assumed)
		for (unsigned i = 0; i < EXPLAIN_REGISTERS; i++)
			if (a->assumed[i])
				json_object_array_add(
					assumed,
					json_object_new_string(explain_register_name(i, q->mode)));
	json_object_object_add(json, "assumed", assumed);
}

int explain_print_json(const struct question *q, const struct answer *a)
{
	static const char *const locks[] = { "none", "explicit", "implicit", "illegal" };
	struct json_object *json = json_object_new_object();
	char bytes[2 * INSN_MAX_LENGTH + 1] = "";
	const char *text;

	if (!json) {
		complain("no memory for the answer");
		return STATUS_USAGE;
	}
	for (size_t i = 0; i < a->insn.length; i++)
		snprintf(bytes + 2 * i, 3, "%02x", a->insn.bytes[i]);
	put_string(json, "schema", "buslock-explain");
	put_number(json, "version", SCHEMA_VERSION);
	put_string(json, "bytes", bytes);
	put_string(json, "instruction", a->text);
	put_number(json, "mode", a->insn.mode);
	put_number(json, "length", a->insn.length);
	put_bool(json, "valid", a->defined && a->lock != LOCK_ILLEGAL);
	put_bool(json, "locked", a->lock == LOCK_EXPLICIT || a->lock == LOCK_IMPLICIT);
	put_string(json, "lock", locks[a->lock]);
	put_string(json, "lock_rule", a->lock_rule);
	put_string(json, "memory_type", q->memory_type_name);
	put_bool(json, "bus_lock", a->cause != 0);
	put_string(json, "rule", a->rule);
	put_lists(json, q, a);
	text = json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		puts(text);
	json_object_put(json);
	return text ? STATUS_OK : STATUS_USAGE;
}
