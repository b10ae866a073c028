// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checks a trace for the integration tests: `check_trace FILE` prints what is wrong with which line, and
 * how many good lines of each kind there are ("exit=12"). Status 0: all good; 1: not; 2: no such file.
 */
#include "traces/trace_read.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	unsigned long events[TRACE_EVENTS] = { 0 }, headers = 0, ends = 0, others = 0, bad = 0;
	struct trace_reader *reader;
	struct trace_line line;
	char why[256];
	int r = argc == 2 ? trace_reader_open(&reader, argv[1]) : -22;

	if (r) {
		fprintf(stderr, "check_trace FILE: %s\n", strerror(-r));
		return 2;
	}
	while ((r = trace_reader_next(reader, &line, why, sizeof(why))) > 0) {
		if (r == TRACE_READ_BAD) {
			printf("line %lu: %s\n", line.number, why);
			bad++;
		} else if (line.kind == TRACE_LINE_HEADER) {
			headers++;
		} else if (line.kind == TRACE_LINE_END) {
			ends++;
		} else if (line.event < 0) {
			others++;
		} else {
			events[line.event]++;
		}
	}
	if (r < 0)
		printf("after line %lu: %s\n", line.number, strerror(-r));
	for (int i = 0; i < TRACE_EVENTS; i++)
		printf("%s=%lu ", trace_event_name((enum trace_event)i), events[i]);
	printf("header=%lu end=%lu other=%lu bad=%lu\n", headers, ends, others, bad);
	trace_reader_close(reader);
	return bad || r < 0;
}
