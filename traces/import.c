// SPDX-License-Identifier: GPL-2.0-only
/* Imported events as lines of a trace. */
#include "traces/import.h"

#include "traces/report.h"
#include "traces/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VMX_BUS_LOCK          74 /* SDM vol. 3, app. C */
#define VMX_BUS_LOCK_ASSERTED (1u << 26)
#define SVM_BUSLOCK           0xa5 /* APM vol. 2, app. C */

/* A thread that runs a vCPU. */
struct runner {
	uint32_t thread;
	bool has_vcpu;
	unsigned vm, vcpu; /* as the trace numbers them */
};

struct import {
	FILE *out;
	void (*complain)(void *opaque, const char *name, unsigned long number, const char *line);
	void *opaque;
	struct import_totals totals;
	uint64_t counts[TRACE_EVENTS];
	bool begun; /* base_ns is known */
	uint64_t base_ns, time_ns;
	struct runner *runner;
	size_t runners, room;
};

enum import_line import_parse(const char *line, struct import_event *event)
{
	enum import_line result;

	memset(event, 0, sizeof(*event));
	if (!line[strspn(line, " \t\r")] || *line == '#' || !strncmp(line, "cpus=", 5) ||
	    !strncmp(line, "version = ", 10))
		return IMPORT_NOTHING;
	result = import_parse_log(line, event);
	if (result == IMPORT_EVENT)
		return result;
	memset(event, 0, sizeof(*event));
	result = import_parse_tracepoint(line, event);
	if (result != IMPORT_UNKNOWN)
		return result;
	/* a message that ought to have been understood stays unknown */
	memset(event, 0, sizeof(*event));
	return import_parse_log(line, event);
}

/* ------------------------------------------------------------------ JSON */

static void put(struct json_object *object, const char *key, struct json_object *value)
{
	if (json_object_object_add(object, key, value))
		json_object_put(value);
}

static void put_number(struct json_object *object, const char *key, uint64_t value)
{
	put(object, key, json_object_new_uint64(value));
}

static void put_hex(struct json_object *object, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	put(object, key, json_object_new_string(text));
}

static void put_bool(struct json_object *object, const char *key, bool value)
{
	put(object, key, json_object_new_boolean(value));
}

/* Logs, and names of files, are any bytes; JSON is UTF-8. */
static struct json_object *new_text(const char *text)
{
	char copy[PATH_MAX];
	size_t n = 0;

	while (*text && n + 4 < sizeof(copy)) {
		unsigned char c = (unsigned char)*text;
		size_t length = c < 0x80 ? 1 : trace_utf8_length((const unsigned char *)text);

		if (!length)
			copy[n++] = '?';
		else
			memcpy(copy + n, text, length), n += length;
		text += length ? length : 1;
	}
	copy[n] = '\0';
	return json_object_new_string(copy);
}

static void put_text(struct json_object *object, const char *key, const char *text)
{
	put(object, key, new_text(text));
}

static int write_line(struct import *import, struct json_object *json)
{
	const char *text =
		json ? json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN |
								    JSON_C_TO_STRING_NOSLASHESCAPE)
		     : NULL;
	int error = 0;

	if (!text)
		error = -ENOMEM;
	else if (fprintf(import->out, "%s\n", text) < 0)
		error = -EIO;
	json_object_put(json);
	return error;
}

/* ------------------------------------------------------------------ which vCPU */

static struct runner *runner_of(struct import *import, const struct import_event *e)
{
	struct runner *r;

	for (size_t i = 0; i < import->runners; i++) {
		r = &import->runner[i];
		if (r->thread == e->thread && (!e->has_vcpu || !r->has_vcpu || r->vcpu == e->vcpu))
			return r;
	}
	/* the log also tells of tasks that run no vCPU */
	if (e->kind == IMPORT_MESSAGE)
		return NULL;
	if (import->runners == import->room) {
		size_t room = import->room ? 2 * import->room : 16;

		r = realloc(import->runner, room * sizeof(*r));
		if (!r)
			return NULL;
		import->runner = r;
		import->room = room;
	}
	r = &import->runner[import->runners++];
	*r = (struct runner){ .thread = e->thread };
	return r;
}

/*
 * Logs name threads, and newer ones the vCPU's number in its VM: another thread with the same number is
 * another VM's. Without the number vCPUs are numbered as their threads come.
 */
static void put_vcpu(struct import *import, struct json_object *json, const struct import_event *e)
{
	struct runner *r = e->has_thread ? runner_of(import, e) : NULL;
	unsigned same = 0;

	if (r && e->has_vcpu && !r->has_vcpu) {
		for (struct runner *other = import->runner; other < r; other++)
			same += other->has_vcpu && other->vcpu == e->vcpu;
		r->has_vcpu = true;
		r->vcpu = e->vcpu;
		r->vm = same;
	}
	if (r && r->has_vcpu) {
		put_number(json, "vm", r->vm);
		put_number(json, "vcpu", r->vcpu);
	} else if (r) {
		put_number(json, "vm", 0);
		put_number(json, "vcpu", (uint64_t)(r - import->runner));
	} else {
		put(json, "vm", e->has_vcpu ? json_object_new_uint64(0) : NULL);
		put(json, "vcpu", e->has_vcpu ? json_object_new_uint64(e->vcpu) : NULL);
	}
}

/* ------------------------------------------------------------------ events */

static void put_vm_exit(struct json_object *json, const struct import_event *e)
{
	uint32_t basic = e->isa == IMPORT_SVM ? e->word : e->word & 0xffff;
	const char *name = e->has_word ? import_exit_name(e->isa, basic) : NULL;
	bool locked = e->has_word &&
		      (e->isa == IMPORT_SVM
			       ? basic == SVM_BUSLOCK
			       : basic == VMX_BUS_LOCK || e->word & VMX_BUS_LOCK_ASSERTED);

	put(json, "vendor",
	    e->isa == IMPORT_ISA_UNKNOWN
		    ? NULL
		    : json_object_new_string(e->isa == IMPORT_VMX ? "intel" : "amd"));
	put(json, "reason", e->has_word ? json_object_new_uint64(basic) : NULL);
	put(json, "reason_name", name ? json_object_new_string(name) : NULL);
	if (e->has_word)
		put_hex(json, "word", e->word);
	else
		put_text(json, "printed", e->reason);
	put(json, "bus_lock", e->has_word ? json_object_new_boolean(locked) : NULL);
	put_hex(json, "rip", e->rip);
	if (e->has_info) {
		put_hex(json, "info1", e->info1);
		put_hex(json, "info2", e->info2);
	}
	if (e->has_requests)
		put_hex(json, "requests", e->requests);
	if (e->nested)
		put_bool(json, "nested", true);
}

static void put_exit(struct json_object *json, const struct import_event *e)
{
	const char *error = e->result ? strerrorname_np(-e->result) : NULL;
	const char *name = e->has_number ? report_exit_name(e->number) : NULL;

	put(json, "result", json_object_new_int(e->result));
	if (error)
		put_text(json, "error", error);
	put(json, "reason", e->has_number ? json_object_new_uint64(e->number) : NULL);
	put(json, "reason_name", name ? json_object_new_string(name) : NULL);
}

static void put_message(struct json_object *json, const struct import_event *e)
{
	put_text(json, "text", e->text);
	if (e->trap)
		put_text(json, "trap", e->trap);
	if (*e->comm) {
		put_text(json, "comm", e->comm);
		put_hex(json, "address", e->address);
	}
	if (e->count)
		put_number(json, "suppressed", e->count);
}

static enum trace_event event_of(enum import_kind kind)
{
	switch (kind) {
	case IMPORT_VM_EXIT:
		return TRACE_VM_EXIT;
	case IMPORT_VM_ENTRY:
		return TRACE_VM_ENTRY;
	case IMPORT_EXIT:
		return TRACE_EXIT;
	default:
		return TRACE_HOST_MESSAGE;
	}
}

/* Time counts from the first event; what has none, or is from before it (another log), stands still. */
static uint64_t time_of(struct import *import, const struct import_event *e)
{
	if (e->has_time && !import->begun) {
		import->begun = true;
		import->base_ns = e->time_ns;
	}
	if (e->has_time && e->time_ns >= import->base_ns)
		import->time_ns = e->time_ns - import->base_ns;
	return import->time_ns;
}

static int write_event(struct import *import, const struct import_event *e)
{
	struct json_object *json = json_object_new_object();
	enum trace_event event = event_of(e->kind);

	if (!json)
		return -ENOMEM;
	put_text(json, "event", trace_event_name(event));
	put_number(json, "time", time_of(import, e));
	put_number(json, "process", 0);
	put_vcpu(import, json, e);
	switch (event) {
	case TRACE_VM_EXIT:
		put_vm_exit(json, e);
		break;
	case TRACE_VM_ENTRY:
		if (e->has_rip)
			put_hex(json, "rip", e->rip);
		put_bool(json, "immediate_exit", e->immediate_exit);
		break;
	case TRACE_EXIT:
		put_exit(json, e);
		break;
	default:
		put_message(json, e);
	}
	if (e->has_interruption) {
		put_hex(json, "interruption", e->interruption);
		put_hex(json, "error_code", e->error_code);
	}
	if (e->has_thread)
		put_number(json, "thread", e->thread);
	if (e->has_cpu)
		put_number(json, "cpu", e->cpu);
	import->counts[event]++;
	import->totals.events++;
	return write_line(import, json);
}

/* ------------------------------------------------------------------ files */

/* What no log of these kinds tells. */
static const char *const lacks[] = { "run",        "bus_lock",        "locked",
				     "capability", "vm_created",      "vcpu_created",
				     "sleep",      "exit.flags",      "exit.word",
				     "exit.rip",   "exit.linear_rip", "exit.registers",
				     NULL };

static struct json_object *strings(const char *const *text)
{
	struct json_object *array = json_object_new_array();

	for (; array && *text; text++)
		json_object_array_add(array, new_text(*text));
	return array;
}

static int write_header(struct import *import, const char *const *names)
{
	struct json_object *json = json_object_new_object();

	if (!json)
		return -ENOMEM;
	put_text(json, "schema", TRACE_SCHEMA);
	put_number(json, "version", TRACE_VERSION);
	put_text(json, "tool", "buslock " BUSLOCK_VERSION);
	put_text(json, "backend", "import");
	put(json, "options", NULL);
	put_text(json, "time", "real");
	put(json, "lacks", strings(lacks));
	put(json, "imported", strings(names));
	return write_line(import, json);
}

int import_begin(struct import **import, FILE *out, const char *const *names,
		 void (*complain)(void *, const char *, unsigned long, const char *), void *opaque)
{
	struct import *new = calloc(1, sizeof(*new));
	int error;

	if (!new)
		return -ENOMEM;
	new->out = out;
	new->complain = complain;
	new->opaque = opaque;
	error = write_header(new, names);
	if (error)
		free(new);
	else
		*import = new;
	return error;
}

static void count_other(struct import_totals *totals, const char *name)
{
	size_t i = 0;

	totals->others++;
	while (i < IMPORT_OTHERS - 1 && totals->other[i].count &&
	       strcmp(totals->other[i].name, name))
		i++;
	if (!totals->other[i].count)
		snprintf(totals->other[i].name, sizeof(totals->other[i].name), "%s",
			 i < IMPORT_OTHERS - 1 ? name : "others");
	totals->other[i].count++;
}

static int take(struct import *import, const char *name, unsigned long number, const char *line)
{
	struct import_totals *totals = &import->totals;
	struct import_event event;

	totals->lines++;
	switch (import_parse(line, &event)) {
	case IMPORT_EVENT:
		return write_event(import, &event);
	case IMPORT_NOTHING:
		totals->nothing++;
		break;
	case IMPORT_OTHER:
		count_other(totals, event.name);
		break;
	case IMPORT_LOST:
		totals->lost += event.count ? event.count : 1;
		break;
	case IMPORT_UNKNOWN:
		totals->unknown++;
		if (import->complain)
			import->complain(import->opaque, name, number, line);
		break;
	}
	return 0;
}

int import_file(struct import *import, FILE *in, const char *name)
{
	unsigned long number = 0;
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	int error = 0;

	while (!error && (n = getline(&line, &room, in)) > 0) {
		while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
			line[--n] = '\0';
		error = take(import, name, ++number, line);
	}
	if (!error && ferror(in))
		error = errno ? -errno : -EIO;
	free(line);
	return error;
}

static struct json_object *counts(const struct import *import)
{
	struct json_object *json = json_object_new_object();

	for (int i = 0; json && i < TRACE_EVENTS; i++)
		put_number(json, trace_event_name((enum trace_event)i), import->counts[i]);
	return json;
}

int import_end(struct import *import, struct import_totals *totals)
{
	struct json_object *json = json_object_new_object();
	int error = -ENOMEM;

	if (json) {
		put_text(json, "event", "end");
		put_number(json, "time", import->time_ns);
		put(json, "status", NULL);
		put(json, "signal", NULL);
		put_bool(json, "deterministic", false);
		put_text(json, "why", "it was recorded elsewhere");
		put_number(json, "lost", import->totals.lost);
		put(json, "events", counts(import));
		error = write_line(import, json);
	}
	if (!error && fflush(import->out))
		error = -errno;
	*totals = import->totals;
	free(import->runner);
	free(import);
	return error;
}
