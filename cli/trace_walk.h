/* SPDX-License-Identifier: GPL-2.0-only */
/* What show, plot, export and diff share: going through a trace, its fields, an event as text. */
#ifndef BUSLOCK_CLI_TRACE_WALK_H
#define BUSLOCK_CLI_TRACE_WALK_H

#include "traces/trace_read.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* ------------------------------------------------------------------ going through it */

struct trace_walk {
	const char *file;
	struct trace_reader *reader;
	unsigned long lines; /* number of the last one */
	unsigned long bad;   /* that cannot be used; the first few are told */
	bool failed;         /* the file cannot be read on */
};

/* "FILE" or "-", as the name of a file. */
const char *walk_path(const char *file);
/* Of one of these. Complains and returns false. */
bool walk_open(struct trace_walk *walk, const char *file);
/* The next line that can be used; false at the end. Damage is told on standard error. */
bool walk_next(struct trace_walk *walk, struct trace_line *line);
/* STATUS_OK, or STATUS_USAGE if something was damaged. */
int walk_close(struct trace_walk *walk);

/* ------------------------------------------------------------------ fields */

struct json_object;
/* False if it is not there, or null. A number may be a hexadecimal string. */
bool field_number(struct json_object *json, const char *key, uint64_t *value);
bool field_signed(struct json_object *json, const char *key, int *value);
const char *field_string(struct json_object *json, const char *key); /* NULL */
bool field_true(struct json_object *json, const char *key);
/* Number of strings in an array; the i-th of them. */
size_t field_count(struct json_object *json, const char *key);
const char *field_item(struct json_object *json, const char *key, size_t i);
uint64_t field_time(struct json_object *json);

#define NOBODY UINT32_MAX
/* Whose it is; NOBODY for null. */
struct trace_who {
	uint32_t process, vm, vcpu;
};
struct trace_who field_who(struct json_object *json);
/* "vcpu 1", "vm 1 vcpu 0", "process 1 vm 0 vcpu 0", "vm 0", "-" */
char *who_text(const struct trace_who *who, char *text, size_t size);

/* ------------------------------------------------------------------ events as text */

struct symbols;
struct trace_style {
	bool colours;
	const struct symbols *symbols; /* or NULL */
};
/* As terminals want it: isatty(), NO_COLOR, TERM=dumb. */
bool style_wants_colours(FILE *out);
/* Text of others, with what a terminal would obey made visible. */
void put_safely(FILE *out, const char *text);
/* One event on one line, without its end: time, whose, what. Unknown keys and events, too. */
void put_event(FILE *out, const struct trace_line *line, const struct trace_style *style);
/* "exit IO", "bus lock": what an event is, for titles; its length is bounded. */
char *event_title(const struct trace_line *line, char *text, size_t size);
/* Of bytes in hexadecimal, as they are in a trace; the bytes themselves if there is no text. */
void instruction_text(const char *bytes, unsigned mode, uint64_t rip, char *text, size_t size);
/* --from 200ms: complains and returns false. */
bool parse_time(const char *option, const char *text, uint64_t *ns);
/* "12.5 ms" */
char *duration_text(uint64_t ns, char *text, size_t size);

/* Escape sequences, or "" */
enum colour { PLAIN, DIM, BOLD, RED, YELLOW, CYAN, GREEN };
const char *colour(const struct trace_style *style, enum colour colour);

/* --symbols, which may be repeated: complains and returns false. */
bool walk_add_symbols(struct symbols **symbols, const char *file);

#endif
