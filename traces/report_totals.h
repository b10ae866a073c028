/* SPDX-License-Identifier: GPL-2.0-only */
/* The reader's view of a report: sums and sorted sites. Shared by the printers and --expect. */
#ifndef BUSLOCK_TRACES_REPORT_TOTALS_H
#define BUSLOCK_TRACES_REPORT_TOTALS_H

#include "traces/report.h"

/* One row of counters: a vCPU's, or the sum of all. Plain numbers: a snapshot. */
struct report_row {
	uint64_t runs, exits[REPORT_REASONS], interrupted, errors, flags;
	uint64_t locked, bus_locks, split, non_wb, stuffed, instructions, guest_non_wb;
	uint64_t host_traps, host_slept_ns, host_messages, host_suppressed;
	uint64_t run_ns, throttled_ns;
	uint64_t first_lock_ns; /* 0: none */
	uint64_t last_lock_ns;
	uint64_t resumed_ns;
	uint64_t last_return_ns;
};

struct report_place {
	struct report_lock first;
	uint64_t count;
	uint64_t linear_min, linear_max; /* first byte of the operand */
	unsigned cause;
};

struct report_totals {
	struct report_row all, vcpu[REPORT_VCPUS];
	unsigned rows;              /* vCPUs that have a row of their own: 0 to REPORT_VCPUS */
	struct report_place *place; /* most frequent first */
	size_t places;
	uint64_t wall_ns; /* first run to last return */
	bool counting;
};

/* Snapshot; free with report_totals_free(). -ENOMEM. */
int report_totals(struct report_totals *totals, const struct report *report);
void report_totals_free(struct report_totals *totals);

/*
 * Bus-lock returns per second. Policies sleep before a lock or behind it, so the n returns are spread
 * over n - 1 sleeps or over n: the lower of (n - 1) / (first to last) and n / (first to when the guest
 * ran again after the last). Within less than a second there is no rate, but n in this one.
 */
double report_rate(const struct report_row *row);

/* By name, any case, or by number; -1: there is none. The last counter holds all larger numbers. */
int report_exit_number(const char *name);

#endif
