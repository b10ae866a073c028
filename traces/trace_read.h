/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading a trace, line by line. A line that is cut short or that is not what docs/trace.md says is
 * named with its number, and the rest is used. Keys and events that this version does not know are
 * kept.
 */
#ifndef BUSLOCK_TRACES_TRACE_READ_H
#define BUSLOCK_TRACES_TRACE_READ_H

#include "traces/trace.h"

/* ------------------------------------------------------------------ the schema */

enum trace_type {
	TRACE_NUMBER, /* 0 to 2^64-1 */
	TRACE_SIGNED, /* fits into an int */
	TRACE_HEX,    /* "0x1f" */
	TRACE_BYTES,  /* "f00fc1" */
	TRACE_STRING,
	TRACE_BOOL,
	TRACE_STRINGS, /* array */
	TRACE_HEXES,   /* array */
	TRACE_OBJECT,
};
enum { TRACE_OPTIONAL = 1, TRACE_NULLABLE = 2 };

struct trace_field {
	const char *name; /* NULL ends a table */
	enum trace_type type;
	unsigned how; /* TRACE_OPTIONAL, TRACE_NULLABLE */
};

enum trace_kind { TRACE_LINE_HEADER, TRACE_LINE_EVENT, TRACE_LINE_END, TRACE_KINDS };
/* Fields of a kind of line: of an event those that all have. */
const struct trace_field *trace_fields(enum trace_kind kind);
/* Those that an event has besides, at most so many. */
#define TRACE_MAX_FIELDS 18
const struct trace_field *trace_event_fields(enum trace_event event);

/* ------------------------------------------------------------------ the reader */

struct json_object;
struct trace_reader;

struct trace_line {
	unsigned long number; /* from 1 */
	enum trace_kind kind;
	int event;                /* enum trace_event; -1: one that is not known here */
	struct json_object *json; /* the reader's, until the next line; NULL if it is none */
};

/* -errno */
int trace_reader_open(struct trace_reader **reader, const char *path);
void trace_reader_close(struct trace_reader *reader);
/*
 * The next line: 1. A line that is not as it should be: 2, with the reason in `why`; `line->json` may be
 * there all the same. A whole event behind a broken one on the same line comes next, with its number.
 * The end of the file: 0; -errno: it cannot be read.
 */
enum { TRACE_READ_END, TRACE_READ_GOOD, TRACE_READ_BAD };
int trace_reader_next(struct trace_reader *reader, struct trace_line *line, char *why, size_t size);

#endif
