// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_shim/internal.h"
#include "vmm_shim/raw.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One write per line, by raw system call: lines of several threads stay whole, and nothing that the
 * program interposes is called. */
void shim_log(int level, const char *format, ...)
{
	static const char *const names[] = { "", "warning: ", "", "debug: " };
	char line[512];
	va_list arguments;
	int n, m;

	if (level < 1 || level > 3 || level > shim_config.options.log_level)
		return;
	n = snprintf(line, sizeof(line), "buslock: %s", names[level]);
	va_start(arguments, format);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, arguments);
	va_end(arguments);
	if (m > 0)
		n += m;
	if ((size_t)n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	raw_syscall(SYS_write, 2, line, (size_t)n);
}
