/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a library in somebody else's program finds the report and the trace of whoever started it.
 * Descriptors are inherited, for programs in other namespaces; programs that closed all descriptors
 * before they executed the next one find them by the launcher's path. PREFIX_REPORT_FD,
 * PREFIX_REPORT_PATH, PREFIX_TRACE_FD and PREFIX_TRACE_PATH say which; with a prefix for each
 * library they can be nested.
 */
#ifndef BUSLOCK_TRACES_INHERIT_H
#define BUSLOCK_TRACES_INHERIT_H

#include "traces/report.h"

/* NULL: there is none. */
struct report *report_inherit(const char *prefix);
/* True if there is one; its events are counted as lost if the file cannot be reached. `report` may be
 * NULL, and then there is none: they share memory. */
bool trace_inherit(struct trace *trace, const char *prefix, struct report *report);

#endif
