// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's log: what its split-lock detection says (arch/x86/kernel/cpu/intel.c, bus_lock.c), as dmesg,
 * journalctl, syslog and /dev/kmsg write it, and as it stands in a mail.
 */
#include "traces/import.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char prefix[] = "x86/split lock detection: ";

/* ------------------------------------------------------------------ time */

static bool broken_down(struct tm *tm, uint64_t *ns)
{
	time_t seconds = timegm(tm);

	if (seconds < 0)
		return false;
	*ns = (uint64_t)seconds * 1000000000;
	return true;
}

/* ".694458" behind the seconds */
static uint64_t fraction(const char *p)
{
	uint64_t ns = 0, scale = 1000000000;

	if (*p != '.' && *p != ',')
		return 0;
	for (p++; isdigit((unsigned char)*p) && scale >= 10; p++) {
		scale /= 10;
		ns += scale * (uint64_t)(*p - '0');
	}
	return ns;
}

/* "[  123.456789]", of the kernel: since it has booted */
static bool since_boot(const char *line, const char *end, uint64_t *ns)
{
	for (const char *p = line; p < end; p++) {
		char *after;
		unsigned long long seconds;

		if (*p != '[')
			continue;
		seconds = strtoull(p + 1, &after, 10);
		if (after == p + 1 || *after != '.' || seconds > UINT32_MAX)
			continue;
		*ns = seconds * 1000000000 + fraction(after);
		return true;
	}
	return false;
}

/*
 * The day and time of a logging daemon, or of dmesg -T: UTC is assumed where none is told, and the year 2000
 * where none is told; only differences count.
 */
static bool of_day(const char *line, uint64_t *ns)
{
	static const char *const layouts[] = {
		"%Y-%m-%dT%H:%M:%S",
		"%Y-%m-%d %H:%M:%S",
		"[%a %b %d %H:%M:%S %Y",
		"%b %d %H:%M:%S",
	};

	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		struct tm tm = { .tm_year = 100, .tm_mday = 1 };
		const char *after = strptime(line, layouts[i], &tm);

		if (!after || !broken_down(&tm, ns))
			continue;
		*ns += fraction(after);
		return true;
	}
	return false;
}

static void when(const char *line, const char *end, struct import_event *e)
{
	e->has_time = since_boot(line, end, &e->time_ns) || of_day(line, &e->time_ns);
}

/* ------------------------------------------------------------------ the message */

/* "comm/123 took a …": the task's name may have anything in it, also a slash. */
static bool task(const char *text, const char *end, struct import_event *e)
{
	const char *slash = end;
	char *after;

	while (slash > text && slash[-1] != '/')
		slash--;
	if (slash == text)
		return false;
	e->thread = (uint32_t)strtoul(slash, &after, 10);
	e->has_thread = after == end && after > slash;
	if (!e->has_thread || (size_t)(slash - 1 - text) >= sizeof(e->comm))
		return false;
	memcpy(e->comm, text, (size_t)(slash - 1 - text));
	e->comm[slash - 1 - text] = '\0';
	return true;
}

/* "#AC: comm/123 took a split_lock trap at address: 0x1234" and "… fatal split_lock trap …": false if it
 * ought to be one and is not. Other messages of the detection are about none. */
static bool trap(const char *text, struct import_event *e)
{
	static const char *const verbs[] = {
		" took a split_lock trap at address: ", " took a bus_lock trap at address: ",
		" fatal split_lock trap at address: ", " bogus split_lock trap at address: "
	};
	const char *verb = NULL;
	char *end;
	size_t i;

	if (!strstr(text, "trap at address"))
		return true;
	for (i = 0; !verb && i < sizeof(verbs) / sizeof(verbs[0]); i++)
		verb = strstr(text, verbs[i]);
	if (!verb || (strncmp(text, "#AC: ", 5) && strncmp(text, "#DB: ", 5)))
		return false;
	e->trap = text[1] == 'A' ? "AC" : "DB";
	e->address = strtoull(verb + strlen(verbs[i - 1]), &end, 16);
	if (end == verb + strlen(verbs[i - 1]))
		return false;
	return task(text + 5, verb, e);
}

static enum import_line message(const char *text, struct import_event *e)
{
	size_t n = strlen(text);

	e->kind = IMPORT_MESSAGE;
	if (n >= sizeof(e->text))
		n = sizeof(e->text) - 1;
	memcpy(e->text, text, n);
	e->text[n] = '\0';
	return trap(text + sizeof(prefix) - 1, e) ? IMPORT_EVENT : IMPORT_UNKNOWN;
}

/* "split_lock_warn: 12 callbacks suppressed", of the rate limit (lib/ratelimit.c) */
static enum import_line suppressed(const char *line, struct import_event *e)
{
	static const char *const callers[] = { "split_lock_warn: ", "handle_bus_lock: " };
	const char *at = NULL;
	char *end;

	for (size_t i = 0; !at && i < sizeof(callers) / sizeof(callers[0]); i++)
		at = strstr(line, callers[i]);
	if (!at)
		return IMPORT_UNKNOWN;
	e->count = strtoull(strchr(at, ' ') + 1, &end, 10);
	if (strcmp(end, " callbacks suppressed") != 0)
		return IMPORT_UNKNOWN;
	when(line, at, e);
	e->kind = IMPORT_MESSAGE;
	memcpy(e->text, at, strnlen(at, sizeof(e->text) - 1));
	return IMPORT_EVENT;
}

/* A line of the log about something else: it has a log's prefix. */
static bool other_message(const char *line)
{
	const char *kernel = strstr(line, " kernel: ");
	uint64_t ns;

	if (*line == '<' && isdigit((unsigned char)line[1]))
		return true;
	if (*line == '[')
		return since_boot(line, line + strlen(line), &ns) || of_day(line, &ns);
	return kernel || of_day(line, &ns);
}

enum import_line import_parse_log(const char *line, struct import_event *e)
{
	const char *at = strstr(line, prefix);
	enum import_line result;

	if (at) {
		when(line, at, e);
		return message(at, e);
	}
	result = suppressed(line, e);
	if (result == IMPORT_UNKNOWN && other_message(line)) {
		strcpy(e->name, "kernel log");
		return IMPORT_OTHER;
	}
	return result;
}
