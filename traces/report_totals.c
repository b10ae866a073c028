// SPDX-License-Identifier: GPL-2.0-only
/* Sums of a report, read while it may still be written. */
#include "traces/report_totals.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NSEC_PER_SEC 1000000000.0

int report_exit_number(const char *name)
{
	char *end;
	unsigned long number;

	for (unsigned i = 0; report_exit_name(i); i++)
		if (!strcasecmp(report_exit_name(i), name))
			return (int)i;
	if (!strcasecmp(name, "bus_lock"))
		return 33;
	if (*name < '0' || *name > '9')
		return -1;
	number = strtoul(name, &end, 10);
	return *end || number >= REPORT_REASONS ? -1 : (int)number;
}

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void read_row(struct report_row *row, const struct report_vcpu *v, uint64_t now)
{
	uint64_t waiting = get(&v->waiting_ns);

	*row = (struct report_row){
		.runs = get(&v->runs),
		.interrupted = get(&v->interrupted),
		.errors = get(&v->errors),
		.flags = get(&v->bus_lock_flag),
		.locked = get(&v->locked),
		.bus_locks = get(&v->bus_locks),
		.split = get(&v->split),
		.non_wb = get(&v->non_wb),
		.stuffed = get(&v->stuffed),
		.guest_non_wb = get(&v->guest_non_wb),
		.instructions = get(&v->instructions),
		.host_traps = get(&v->host_traps),
		.host_slept_ns = get(&v->host_slept_ns),
		.host_messages = get(&v->host_messages),
		.host_suppressed = get(&v->host_suppressed),
		.run_ns = get(&v->run_ns),
		.throttled_ns = get(&v->throttled_ns),
		.first_lock_ns = get(&v->first_lock_ns),
		.last_lock_ns = get(&v->last_lock_ns),
		.resumed_ns = get(&v->resumed_ns),
		.last_return_ns = get(&v->last_return_ns),
	};
	for (unsigned i = 0; i < REPORT_REASONS; i++)
		row->exits[i] = get(&v->exits[i]);
	/* Throttled when it ended, or still: the guest has not run again. */
	if (waiting && waiting < now) {
		row->throttled_ns += now - waiting;
		row->resumed_ns = now;
	}
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void add_row(struct report_row *sum, const struct report_row *row)
{
	for (unsigned i = 0; i < REPORT_REASONS; i++)
		sum->exits[i] += row->exits[i];
	sum->runs += row->runs;
	sum->interrupted += row->interrupted;
	sum->errors += row->errors;
	sum->flags += row->flags;
	sum->locked += row->locked;
	sum->bus_locks += row->bus_locks;
	sum->split += row->split;
	sum->non_wb += row->non_wb;
	sum->stuffed += row->stuffed;
	sum->guest_non_wb += row->guest_non_wb;
	sum->instructions += row->instructions;
	sum->host_traps += row->host_traps;
	sum->host_slept_ns += row->host_slept_ns;
	sum->host_messages += row->host_messages;
	sum->host_suppressed += row->host_suppressed;
	sum->run_ns += row->run_ns;
	sum->throttled_ns += row->throttled_ns;
	if (row->first_lock_ns && (!sum->first_lock_ns || row->first_lock_ns < sum->first_lock_ns))
		sum->first_lock_ns = row->first_lock_ns;
	sum->last_lock_ns = later(sum->last_lock_ns, row->last_lock_ns);
	sum->resumed_ns = later(sum->resumed_ns, row->resumed_ns);
	sum->last_return_ns = later(sum->last_return_ns, row->last_return_ns);
}

static int by_key(const void *a, const void *b)
{
	const struct report_lock *x = &((const struct report_place *)a)->first;
	const struct report_lock *y = &((const struct report_place *)b)->first;

	if (x->linear_rip != y->linear_rip)
		return x->linear_rip < y->linear_rip ? -1 : 1;
	if (x->insn_length != y->insn_length)
		return x->insn_length < y->insn_length ? -1 : 1;
	return memcmp(x->insn, y->insn, x->insn_length);
}

static int by_count(const void *a, const void *b)
{
	const struct report_place *x = a, *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return by_key(a, b);
}

/* Two writers that met may have made two slots of one site (report.c): add them up. */
static size_t merge_places(struct report_place *place, size_t n)
{
	size_t merged = 0;

	qsort(place, n, sizeof(*place), by_key);
	for (size_t i = 1; i < n; i++) {
		struct report_place *into = &place[merged];

		if (by_key(into, &place[i])) {
			place[++merged] = place[i];
			continue;
		}
		into->count += place[i].count;
		into->cause |= place[i].cause;
		if (place[i].linear_min < into->linear_min)
			into->linear_min = place[i].linear_min;
		if (place[i].linear_max > into->linear_max)
			into->linear_max = place[i].linear_max;
	}
	return n ? merged + 1 : 0;
}

static int read_places(struct report_totals *totals, const struct report *report)
{
	size_t n = 0;

	totals->place = calloc(REPORT_SITES, sizeof(*totals->place));
	if (!totals->place)
		return -ENOMEM;
	for (size_t i = 0; i < REPORT_SITES; i++) {
		const struct report_site *site = &report->site[i];
		struct report_place *place = &totals->place[n];

		if (atomic_load_explicit(&site->state, memory_order_acquire) != 2)
			continue;
		*place = (struct report_place){
			.first = site->first,
			.count = get(&site->count),
			.linear_min = get(&site->linear_min),
			.linear_max = get(&site->linear_max),
			.cause = __atomic_load_n(&site->cause, __ATOMIC_RELAXED),
		};
		/* The report may come from a process that has gone mad: no length beyond the bytes. */
		if (place->first.insn_length > sizeof(place->first.insn))
			place->first.insn_length = sizeof(place->first.insn);
		if (place->count)
			n++;
	}
	totals->places = merge_places(totals->place, n);
	qsort(totals->place, totals->places, sizeof(*totals->place), by_count);
	return 0;
}

/* Virtual time stands still when the program has ended, at the last thing that happened. */
static uint64_t now_of(const struct report *report)
{
	uint64_t now = 0;

	if (!atomic_load(&report->virtual_time))
		return report_now();
	for (unsigned i = 0; i < REPORT_VCPUS; i++) {
		now = later(now, get(&report->vcpu[i].last_return_ns));
		now = later(now, get(&report->vcpu[i].resumed_ns));
	}
	return now;
}

const char *report_nondeterminism(const struct report *report)
{
	if (!atomic_load(&report->virtual_time))
		return "real time";
	switch (atomic_load(&report->nondeterministic)) {
	case 0:
		return NULL;
	case 2:
		return report->nondeterminism;
	default:
		return "the program ended while it told why";
	}
}

int report_totals(struct report_totals *totals, const struct report *report)
{
	uint64_t first = get(&report->first_run_ns), last, now = now_of(report);

	memset(totals, 0, sizeof(*totals));
	for (unsigned i = 0; i < REPORT_VCPUS; i++) {
		read_row(&totals->vcpu[i], &report->vcpu[i], now);
		add_row(&totals->all, &totals->vcpu[i]);
		if (totals->vcpu[i].runs || totals->vcpu[i].bus_locks)
			totals->rows = i + 1;
	}
	last = later(totals->all.last_return_ns, totals->all.resumed_ns);
	totals->wall_ns = last > first ? last - first : 0;
	totals->counting = atomic_load(&report->counting);
	return read_places(totals, report);
}

void report_totals_free(struct report_totals *totals)
{
	free(totals->place);
	totals->place = NULL;
	totals->places = 0;
}

static double seconds_between(uint64_t begin, uint64_t end)
{
	return end > begin ? (double)(end - begin) / NSEC_PER_SEC : 0;
}

double report_rate(const struct report_row *row)
{
	double n = (double)row->flags;
	double spaced = seconds_between(row->first_lock_ns, row->last_lock_ns);
	double whole =
		seconds_between(row->first_lock_ns, later(row->last_lock_ns, row->resumed_ns));
	double rate = n / (whole > 1 ? whole : 1);

	if (spaced < 1)
		return rate;
	return rate < (n - 1) / spaced ? rate : (n - 1) / spaced;
}
