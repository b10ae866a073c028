/* SPDX-License-Identifier: GPL-2.0-only */
/* A file for a trace, and what the checker says of it. */
#ifndef BUSLOCK_TESTS_TRACE_PATH_H
#define BUSLOCK_TESTS_TRACE_PATH_H

#include "tests/integration/run.h"

#define CHECK_TRACE BUSLOCK_BUILD_DIR "/tests/tools/check_trace"

static char trace_path[] = "/tmp/buslock-trace-XXXXXX";

static inline int make_path(void **state)
{
	int fd = mkstemp(trace_path);

	(void)state;
	if (fd >= 0)
		close(fd);
	return fd < 0;
}

static inline int remove_path(void **state)
{
	(void)state;
	return unlink(trace_path);
}

/* What check_trace says of it: all good, and these counts. */
static inline void expect_trace(const char *counts)
{
	struct run run;

	run_program(&run, CHECK_TRACE, trace_path);
	if (WEXITSTATUS(run.status) || !strstr(run.out, counts))
		fail_msg("\"%s\" is not in:\n%s%s", counts, run.out, run.err);
}

#endif
