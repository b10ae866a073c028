/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The lines of a trace, wherever they are: plain text and zstd frames in any order, in one file or, while
 * it is being written, in two. Any bytes are a valid input; what cannot be read is named, and the rest
 * follows.
 */
#ifndef BUSLOCK_TRACES_TRACE_SOURCE_H
#define BUSLOCK_TRACES_TRACE_SOURCE_H

#include <stddef.h>

struct trace_source;

struct trace_text {
	unsigned long number; /* from 1; of the first line that is lost */
	char *text; /* the source's, until the next call; with its newline, and a NUL behind */
	size_t length;
};

/* A pipe is read to its end first. -errno. */
int trace_source_open(struct trace_source **source, const char *path);
void trace_source_close(struct trace_source *source);
/* The next line; or some are lost, with the reason in `why`; or -errno: the file cannot be read on. */
enum { TRACE_SOURCE_END, TRACE_SOURCE_LINE, TRACE_SOURCE_LOST };
int trace_source_next(struct trace_source *source, struct trace_text *line, char *why, size_t size);

#endif
