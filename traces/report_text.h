/* SPDX-License-Identifier: GPL-2.0-only */
/* Pieces of text that the printers share. */
#ifndef BUSLOCK_TRACES_REPORT_TEXT_H
#define BUSLOCK_TRACES_REPORT_TEXT_H

#include "traces/report_totals.h"

/* "paging", "descriptor", "busy": of REPORT_STUFFED_. */
const char *report_stuffed_name(unsigned stuffed);
/* "split", "non_wb", "stuffed": of one REPORT_ bit. */
const char *report_cause_name(unsigned bit);
/* The instruction of a site, by emu/disasm.h; "(bad)" when it has no text. */
void report_instruction(const struct report_lock *lock, char *out, size_t size);
/* "f0ff07" */
void report_bytes(const struct report_lock *lock, char *out, size_t size);
/* Reason name, or "REASON_41". */
const char *report_exit_text(unsigned reason, char *buffer, size_t size);

struct symbol_place;
/* The symbol of its instruction, found by address and bytes. */
bool report_locate(const struct symbols *symbols, const struct report_lock *lock,
		   struct symbol_place *place);

struct json_object;
/* The report as a JSON object (json_object_put() frees it), NULL without memory. */
struct json_object *report_json(const struct report *report, const struct report_totals *totals,
				const struct symbols *symbols, unsigned top);

#endif
