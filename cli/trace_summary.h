/* SPDX-License-Identifier: GPL-2.0-only */
/* What was in a trace, counted. */
#ifndef BUSLOCK_CLI_TRACE_SUMMARY_H
#define BUSLOCK_CLI_TRACE_SUMMARY_H

#include "cli/trace_walk.h"

struct trace_summary;

struct trace_summary *summary_new(void); /* NULL without memory */
void summary_free(struct trace_summary *summary);
/* -ENOMEM */
int summary_add(struct trace_summary *summary, const struct trace_line *line);
/* `top`: how many places of bus locks. */
void summary_print(FILE *out, const struct trace_summary *summary, const struct trace_style *style,
		   unsigned top);

#endif
