/* SPDX-License-Identifier: GPL-2.0-only */
/* Between diff.c, which aligns, and diff_scan.c, which makes numbers of lines. */
#ifndef BUSLOCK_TRACES_DIFF_RECORDS_H
#define BUSLOCK_TRACES_DIFF_RECORDS_H

#include "traces/diff.h"

enum { RECORD_TIMING = 1, RECORD_RUN = 2, RECORD_END = 4 };

struct diff_record {
	uint64_t all;  /* hash of what is compared */
	uint64_t kind; /* of what it is: event, reason, result */
	uint32_t line;
	uint32_t stream; /* whose: process, VM, vCPU, on both sides the same number */
	uint32_t flags;
};

struct diff_field;

struct diff_records {
	struct diff_options options;
	struct diff_record *record[DIFF_SIDES]; /* by stream, and in each as they came */
	size_t count[DIFF_SIDES], room[DIFF_SIDES];
	size_t *start[DIFF_SIDES]; /* of each stream, and behind the last one */
	uint32_t streams;

	struct diff_stream {
		uint64_t who[3];
	} * stream;
	uint32_t stream_room, latest;
	struct diff_field *field; /* hash table */
	uint64_t events[DIFF_SIDES][TRACE_EVENTS + 2];
	uint8_t lacks_event[TRACE_EVENTS + 2]; /* bits: sides */
	bool no_who[3];                        /* process, VM or vCPU is not told by one of them */
	bool clocks;                           /* times are compared */
	bool scanned_once;
};

/* Both traces into records; -errno. */
int diff_scan(struct diff *diff, char *why, size_t size);
void diff_records_free(struct diff_records *records);

#endif
