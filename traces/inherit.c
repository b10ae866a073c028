// SPDX-License-Identifier: GPL-2.0-only
#include "traces/inherit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *variable(const char *prefix, const char *name)
{
	char text[64];

	if (strlen(prefix) + strlen(name) >= sizeof(text))
		return NULL;
	stpcpy(stpcpy(text, prefix), name);
	return getenv(text);
}

static int number(const char *text)
{
	char *end;
	long value;

	if (!text || !*text)
		return -1;
	value = strtol(text, &end, 10);
	return *end || value < 0 || value > INT32_MAX ? -1 : (int)value;
}

struct report *report_inherit(const char *prefix)
{
	const char *path = variable(prefix, "_REPORT_PATH");
	int fd = number(variable(prefix, "_REPORT_FD"));
	struct report *report = NULL;

	if (fd >= 0 && report_attach(&report, fd) == 0)
		return report;
	if (!path)
		return NULL;
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
	if (fd < 0)
		return NULL;
	if (report_attach(&report, fd) < 0)
		report = NULL;
	syscall(SYS_close, fd);
	return report;
}

bool trace_inherit(struct trace *trace, const char *prefix, struct report *report)
{
	const char *path = variable(prefix, "_TRACE_PATH");
	int fd = number(variable(prefix, "_TRACE_FD"));

	/* In a run inside another of the same kind the variables may be the outer one's. */
	if (!report || !report->trace.ino || !path)
		return false;
	if (trace_attach(trace, fd, &report->trace) == 0)
		return true;
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_NOCTTY, 0);
	if (fd < 0)
		return true; /* its events are counted as lost */
	/* as high as the launcher's: low numbers are the program's */
	trace_attach(trace, (int)syscall(SYS_fcntl, fd, F_DUPFD, 1000), &report->trace);
	syscall(SYS_close, fd);
	return true;
}
