/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The command `buslock`: what its sub-commands share.
 *
 * Exit statuses of our own are even, because a guest that leaves through the exit port gives an odd
 * one (run.c); 1 is an expectation that did not hold.
 */
#ifndef BUSLOCK_CLI_H
#define BUSLOCK_CLI_H

#include "traces/report.h"
#include "traces/symbols.h"
#include "traces/trace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	STATUS_OK = 0,
	STATUS_NOT_HELD = 1,   /* --expect */
	STATUS_USAGE = 2,      /* bad options or input; nothing was run */
	STATUS_GUEST_DIED = 4, /* shutdown, or what cannot be executed */
	STATUS_NO_PLOT = 6,    /* the table is there, its picture could not be drawn */
	STATUS_TIMEOUT = 124,  /* as timeout(1) */
	STATUS_FAILED = 125,   /* after the run: buslock could not write what was asked for */
};

/* Sub-commands: argv[0] is "buslock NAME". They return the exit status. */
int command_run(int argc, char **argv);
int command_exec(int argc, char **argv);
int command_record(int argc, char **argv);
int command_explain(int argc, char **argv);
int command_host(int argc, char **argv);
int command_lab(int argc, char **argv);
int command_import(int argc, char **argv);
int command_show(int argc, char **argv);
int command_diff(int argc, char **argv);
int command_plot(int argc, char **argv);
int command_export(int argc, char **argv);
int command_mutate(int argc, char **argv);
int command_verify(int argc, char **argv);

/* "buslock: " and the message on standard error. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Unsigned number, decimal or 0x…; all of `text`. */
bool parse_number(const char *text, uint64_t *value);
/* …in [low, high]; else complains of `option` and returns false. */
bool number_in(const char *option, const char *text, uint64_t low, uint64_t high, uint64_t *value);
/* Hexadecimal with or without 0x or a trailing h, as addresses and registers are written. */
bool parse_hex(const char *text, uint64_t *value);
/* Bytes with K, M or G (powers of 1024). */
bool parse_size(const char *text, uint64_t *value);

/* ------------------------------------------------------------------ output.c: the end of a run */

#define OUTPUT_SYMBOLS 16

struct output {
	const char *prefix; /* of complaints: "exec: " */
	bool wanted;        /* print the report at all */
	enum report_format format;
	const char *file;   /* NULL: standard error, so that the guest's output stays clean */
	const char *expect; /* conditions, or NULL */
	bool blind;         /* nobody will look at the guest's instructions: for output_check() */
	bool counting;      /* instructions will be counted: the same */
	const char *symbols[OUTPUT_SYMBOLS]; /* files with the guest's symbols: symbols_add() */
	unsigned symbol_files;
	const char *folded; /* file for the stacks, or NULL */
	unsigned top;       /* sites shown */
	const char *trace;  /* file for the events, or NULL */
};

/* No report, 10 sites; `prefix` ("exec: ", or "") is kept. */
void output_default(struct output *output, const char *prefix);
/*
 * The argument of --report: NULL or "text", "json", "none", FILE, "json:FILE" or "text:FILE"; a FILE
 * that ends in .json is JSON. Strings are kept, not copied.
 */
void output_set_report(struct output *output, const char *argument);
/* Would writing one of them spoil the other? Either may be NULL. */
bool same_file(const char *a, const char *b);
/* --symbols, which may be repeated. Complains and returns false. */
bool output_add_symbols(struct output *output, const char *file);
/*
 * Begins the trace, if one is wanted; `counts` is in the report. STATUS_OK, or STATUS_USAGE after saying
 * why. trace->counts stays NULL without a trace, which output_end_trace() understands. `status` as in
 * trace_end.
 */
int output_begin_trace(const struct output *output, struct trace *trace,
		       struct trace_counts *counts, const struct trace_header *header);
int output_end_trace(const struct output *output, struct trace *trace, const struct trace_end *end);
/* --expect, when all options are known: can it be judged? Complains and returns false. */
bool output_check(const struct output *output);
/* Before anything runs: can the files be read and written, and are they different ones? `guest`: its image,
 * or NULL. Complains and returns false. */
bool output_check_files(const struct output *output, const char *guest);
/*
 * Prints the report and judges the expectations: STATUS_OK, STATUS_NOT_HELD, STATUS_FAILED when the
 * file cannot be written. `symbols` (may be NULL) serve when output->symbols has none.
 */
int output_finish(const struct output *output, const struct report *report,
		  const struct symbols *symbols);

#endif
