// SPDX-License-Identifier: GPL-2.0-only
/*
 * The report for tools: docs/report.md documents every key. Keys are never renamed or reused; a
 * change of meaning raises the version. Addresses are strings, because a JSON number is a double in
 * most readers and loses the low bits of a kernel address.
 */
#include "traces/report_text.h"

#include "traces/symbols.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdatomic.h>
#include <string.h>

#define SCHEMA_VERSION 1

/* json-c answers NULL without memory and then frees nothing: a missing member is all that happens. */
static void put(struct json_object *object, const char *key, struct json_object *value)
{
	if (json_object_object_add(object, key, value))
		json_object_put(value);
}

static void put_number(struct json_object *object, const char *key, uint64_t value)
{
	put(object, key, json_object_new_uint64(value));
}

static void put_address(struct json_object *object, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	put(object, key, json_object_new_string(text));
}

static void put_string(struct json_object *object, const char *key, const char *value)
{
	put(object, key, json_object_new_string(value));
}

static struct json_object *exits(const struct report_row *row)
{
	struct json_object *object = json_object_new_object();
	char name[24];

	for (unsigned i = 0; object && i < REPORT_REASONS; i++)
		if (row->exits[i])
			put_number(object, report_exit_text(i, name, sizeof(name)), row->exits[i]);
	return object;
}

static void put_locks(struct json_object *object, const struct report_row *row)
{
	struct json_object *locks = json_object_new_object();

	put_number(object, "locked", row->locked);
	put_number(object, "guest_non_wb", row->guest_non_wb);
	if (locks) {
		put_number(locks, "total", row->bus_locks);
		put_number(locks, "split", row->split);
		put_number(locks, "non_wb", row->non_wb);
		put_number(locks, "stuffed", row->stuffed);
	}
	put(object, "bus_locks", locks);
}

static void put_no_locks(struct json_object *object)
{
	static const char *const keys[] = { "locked", "guest_non_wb", "bus_locks" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		put(object, keys[i], NULL);
}

static void put_row(struct json_object *object, const struct report_row *row,
		    const struct report *report)
{
	struct json_object *host = json_object_new_object();

	put_number(object, "runs", row->runs);
	put(object, "exits", exits(row));
	put_number(object, "interrupted", row->interrupted);
	put_number(object, "errors", row->errors);
	put_number(object, "flags", row->flags);
	if (atomic_load(&report->blind))
		put_no_locks(object);
	else
		put_locks(object, row);
	put(object, "instructions",
	    atomic_load(&report->counting) ? json_object_new_uint64(row->instructions) : NULL);
	if (host) {
		put_number(host, "traps", row->host_traps);
		put_number(host, "slept_ns", row->host_slept_ns);
		put_number(host, "messages", row->host_messages);
		put_number(host, "suppressed", row->host_suppressed);
	}
	put(object, "host", host);
	put_number(object, "run_ns", row->run_ns);
	put_number(object, "throttled_ns", row->throttled_ns);
	put(object, "rate", json_object_new_double(report_rate(row)));
}

static struct json_object *causes(unsigned cause)
{
	struct json_object *array = json_object_new_array();

	for (unsigned bit = 1; array && bit <= REPORT_STUFFED; bit <<= 1)
		if (cause & bit)
			json_object_array_add(array,
					      json_object_new_string(report_cause_name(bit)));
	return array;
}

static void put_symbol(struct json_object *object, const struct symbols *symbols,
		       const struct report_lock *lock)
{
	struct symbol_place place;
	bool known = report_locate(symbols, lock, &place);

	put(object, "symbol", known ? json_object_new_string(place.name) : NULL);
	put(object, "symbol_offset", known ? json_object_new_uint64(place.offset) : NULL);
	put(object, "symbol_file", known ? json_object_new_string(place.file) : NULL);
}

static struct json_object *place_json(const struct report_place *place, uint64_t all,
				      const struct symbols *symbols)
{
	struct json_object *object = json_object_new_object(), *operand = json_object_new_object();
	const struct report_lock *lock = &place->first;
	char text[96];

	if (!object || !operand) {
		json_object_put(object);
		json_object_put(operand);
		return NULL;
	}
	put_number(object, "count", place->count);
	put(object, "share", json_object_new_double(all ? (double)place->count / (double)all : 0));
	put_address(object, "linear_rip", lock->linear_rip);
	put_address(object, "rip", lock->rip);
	put_symbol(object, symbols, lock);
	put_number(object, "mode", lock->mode);
	put_number(object, "cpl", lock->cpl);
	report_bytes(lock, text, sizeof(text));
	put_string(object, "bytes", text);
	report_instruction(lock, text, sizeof(text));
	put_string(object, "instruction", text);
	put(object, "cause", causes(place->cause));
	put(object, "stuffed",
	    lock->stuffed ? json_object_new_string(report_stuffed_name(lock->stuffed)) : NULL);
	put(object, "in_delivery", json_object_new_boolean(lock->in_delivery));
	put_address(operand, "linear_first", place->linear_min);
	put_address(operand, "linear_last", place->linear_max);
	put_address(operand, "gpa", lock->gpa);
	put_number(operand, "size", lock->size);
	put(object, "operand", operand);
	return object;
}

struct json_object *report_json(const struct report *report, const struct report_totals *t,
				const struct symbols *symbols, unsigned top)
{
	struct json_object *json = json_object_new_object(), *vcpus = json_object_new_array(),
			   *sites = json_object_new_array();

	if (!json || !vcpus || !sites) {
		json_object_put(json);
		json_object_put(vcpus);
		json_object_put(sites);
		return NULL;
	}
	put_string(json, "schema", "buslock-report");
	put_number(json, "version", SCHEMA_VERSION);
	put_string(json, "tool", "buslock " BUSLOCK_VERSION);
	put_number(json, "vms", atomic_load(&report->vms));
	put_number(json, "vcpus", atomic_load(&report->vcpus));
	put(json, "detection_enabled",
	    json_object_new_boolean(atomic_load(&report->detection_enabled) != 0));
	put_string(json, "time", atomic_load(&report->virtual_time) ? "virtual" : "real");
	put(json, "deterministic", json_object_new_boolean(!report_nondeterminism(report)));
	put_number(json, "wall_ns", t->wall_ns);
	put_number(json, "faults", atomic_load(&report->faults));
	put_row(json, &t->all, report);
	for (unsigned i = 0; i < t->rows; i++) {
		struct json_object *row = json_object_new_object();

		if (!row)
			break;
		put_number(row, "index", i);
		put_row(row, &t->vcpu[i], report);
		json_object_array_add(vcpus, row);
	}
	put(json, "vcpu", vcpus);
	for (size_t i = 0; i < t->places && i < top; i++)
		json_object_array_add(sites, place_json(&t->place[i], t->all.bus_locks, symbols));
	put(json, "sites", sites);
	put_number(json, "sites_total", t->places);
	put_number(json, "sites_lost", atomic_load(&report->sites_lost));
	return json;
}
