// SPDX-License-Identifier: GPL-2.0-only
/* The answer of `buslock explain`, for people and for tools. */
#include "cli/explain.h"

#include "cli/cli.h"
#include "emu/emu.h"

#include <ctype.h>
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

static void print_access(const struct question *q, const struct insn_access *access, bool first,
			 const char *type)
{
	static const char *const kinds[] = { "none", "read", "write", "read and write" };
	unsigned offset = access->linear & (LINE - 1), boundary = q->machine.shim.lock_boundary;

	line(first ? "touches" : "",
	     "%s %" PRIu32 " byte%s at %s:%0*" PRIx64 ", linear 0x%" PRIx64 " (%s)",
	     kinds[access->access & 3], access->size, access->size == 1 ? "" : "s",
	     segments[access->seg], (int)q->mode / 4, access->offset, access->linear, type);
	if (crosses(access))
		line("", "offset %u of a 64-byte line: crosses into the next, %u + %u bytes%s",
		     offset, LINE - offset, access->size - (LINE - offset),
		     (access->linear & 0xfff) + access->size > 0x1000 ? "; and into the next page"
								      : "");
	else
		line("", "offset %u of a 64-byte line: within it", offset);
	if (boundary != LINE)
		line("", "offset %u of a block of %u bytes: %s", offset % boundary, boundary,
		     offset % boundary + access->size > boundary ? "crosses into the next"
								 : "within it");
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

static bool is_locked(const struct answer *a)
{
	return a->lock == LOCK_EXPLICIT || a->lock == LOCK_IMPLICIT;
}

/* What the guest's own tables make of it. */
static void print_guest_type(const struct question *q, const struct explain_type *t)
{
	const char *table = q->machine.shim.vendor == EMU_AMD ? "APM table 7-9" : "SDM table 14-7";
	char pat[64] = "no paging, so the PAT type is";

	if (t->steps.pat_index != MEMTYPE_NO_PAT)
		snprintf(pat, sizeof(pat), "entry %u of IA32_PAT %016" PRIx64 " is",
			 t->steps.pat_index, q->memory.pat);
	if (q->memory.mtrr == EXPLAIN_MTRR_OFF)
		line("memory", "guest: %s %s, the MTRRs are off", pat, memtype_name(t->steps.pat));
	else
		line("memory", "guest: %s %s, MTRR %s, together %s (%s)", pat,
		     memtype_name(t->steps.pat), memtype_name(t->steps.mtrr.type),
		     memtype_name(t->steps.guest), table);
}

static void print_memory(const struct question *q, const struct explain_type *t)
{
	char text[256];

	if (!t->derived) {
		line("memory", "%s, as given", memtype_name(t->type));
		return;
	}
	print_guest_type(q, t);
	line("", "below: %s", explain_below(q, t, text, sizeof(text)));
	line("", "effective: %s%s", memtype_name(t->type),
	     t->type == EMU_MT_WB && t->steps.guest != EMU_MT_WB
		     ? ", though not what the guest believes (reports count such locks)"
		     : "");
}

/* Where the hypervisor has asked for it. */
static void print_exit(const struct explain_exit *exit)
{
	if (exit->behind) {
		line("exit",
		     "VM exit with reason %u, word %08" PRIx32
		     "%s (SDM vol. 3, 27.9.1); trap-like: "
		     "RIP 0x%" PRIx64 ", behind the instruction (28.2)",
		     exit->word & 0xffff, exit->word,
		     exit->word & VMX_EXIT_BUS_LOCK_ASSERTED ? "" : " without bit 26", exit->rip);
		return;
	}
	line("exit",
	     "#VMEXIT with code %" PRIx32
	     "h, BUSLOCK; fault-like: nothing is executed, RIP 0x%" PRIx64
	     " is on the instruction (APM 15.14.5)",
	     exit->word, exit->rip);
	line("", "with the counter at 0, as KVM has it; it is 1, and the lock goes through, when "
		 "the vCPU runs on from the same RIP (complete_userspace_buslock())");
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
		print_access(q, &a->access[i], !i, memtype_name(a->memory.type));
	if (!a->accesses && a->insn.op != OP_UD)
		line("touches", "no memory");
	if (is_locked(a))
		print_memory(q, &a->memory);
	line("bus lock", "%s: %s", a->cause ? "yes" : "no", a->rule);
	if (a->exit.taken)
		print_exit(&a->exit);
	if (a->exit.unused)
		line("exit",
		     "none: KVM of this version does not use AMD's Bus Lock Threshold (6.16 "
		     "does)");
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

/* Types are written in small letters, as they are given. */
static void put_type(struct json_object *object, const char *key, unsigned type)
{
	char text[8];
	size_t i;

	snprintf(text, sizeof(text), "%s", memtype_name(type));
	for (i = 0; text[i]; i++)
		text[i] = (char)tolower((unsigned char)text[i]);
	put_string(object, key, text);
}

static struct json_object *memory_json(const struct question *q, const struct explain_type *t)
{
	static const char *const levels[] = { "one", "ept", "npt" };
	struct json_object *object = json_object_new_object();
	char text[256];

	if (!object || !t->derived)
		return object; /* empty: the type was given */
	put_address(object, "gpa", t->gpa);
	if (t->steps.pat_index == MEMTYPE_NO_PAT)
		json_object_object_add(object, "pat_index", NULL);
	else
		put_number(object, "pat_index", t->steps.pat_index);
	put_address(object, "ia32_pat", q->memory.pat);
	put_type(object, "pat", t->steps.pat);
	put_bool(object, "mtrr_enabled", q->memory.mtrr != EXPLAIN_MTRR_OFF);
	put_type(object, "mtrr", t->steps.mtrr.type);
	put_type(object, "guest", t->steps.guest);
	put_string(object, "level", levels[t->steps.level]);
	if (t->steps.level != MEMTYPE_ONE_LEVEL)
		put_type(object, "second", t->steps.second);
	put_bool(object, "ignore_pat", t->steps.ignore_pat);
	put_bool(object, "caching_off", t->steps.caching_off);
	put_bool(object, "declared", t->declared);
	put_string(object, "below", explain_below(q, t, text, sizeof(text)));
	return object;
}

static struct json_object *exit_json(const struct explain_exit *exit)
{
	struct json_object *object = exit->taken ? json_object_new_object() : NULL;

	if (!object)
		return NULL;
	put_address(object, "word", exit->word);
	put_string(object, "kind", exit->behind ? "trap" : "fault");
	put_address(object, "rip", exit->rip);
	return object;
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
	put_bool(json, "locked", is_locked(a));
	put_string(json, "lock", locks[a->lock]);
	put_string(json, "lock_rule", a->lock_rule);
	put_string(json, "cpu", q->machine.shim.vendor == EMU_AMD ? "amd" : "intel");
	put_type(json, "memory_type", a->memory.type);
	json_object_object_add(json, "memory", memory_json(q, &a->memory));
	put_bool(json, "bus_lock", a->cause != 0);
	put_string(json, "rule", a->rule);
	json_object_object_add(json, "exit", exit_json(&a->exit));
	put_lists(json, q, a);
	text = json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		puts(text);
	json_object_put(json);
	return text ? STATUS_OK : STATUS_USAGE;
}
