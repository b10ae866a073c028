// SPDX-License-Identifier: GPL-2.0-only
/* Conditions on a report: what makes a run a test. docs/report.md lists the names. */
#include "traces/report_totals.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define NSEC_PER_MSEC 1000000.0

/* long double: exact for every 64-bit counter. */
typedef long double number;

enum comparison { EQUAL, NOT_EQUAL, AT_MOST, AT_LEAST, BELOW, ABOVE };

/* The longer ones first: "<" would match in "<=". */
static const struct {
	const char *text;
	enum comparison comparison;
} operators[] = {
	{ "==", EQUAL }, { "!=", NOT_EQUAL }, { "<=", AT_MOST }, { ">=", AT_LEAST },
	{ "=", EQUAL },  { "<", BELOW },      { ">", ABOVE },
};

#define OPERATORS (sizeof(operators) / sizeof(operators[0]))

struct evaluation {
	const struct report *report;
	struct report_totals totals;
	char *why;
	size_t size, used;
};

static void say(struct evaluation *e, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct evaluation *e, const char *format, ...)
{
	va_list arguments;
	int n;

	if (!e->why || e->used >= e->size)
		return;
	va_start(arguments, format);
	n = vsnprintf(e->why + e->used, e->size - e->used, format, arguments);
	va_end(arguments);
	if (n > 0)
		e->used += (size_t)n;
}

static bool holds(number value, enum comparison comparison, number wanted)
{
	switch (comparison) {
	case EQUAL:
		return value == wanted;
	case NOT_EQUAL:
		return value != wanted;
	case AT_MOST:
		return value <= wanted;
	case AT_LEAST:
		return value >= wanted;
	case BELOW:
		return value < wanted;
	case ABOVE:
		return value > wanted;
	}
	return false;
}

/* A counter by its name. 0, or -EINVAL with a sentence. */
static int lookup(struct evaluation *e, const char *name, number *value)
{
	const struct report_row *all = &e->totals.all;
	const struct {
		const char *name;
		number value;
		bool inside; /* told by whoever looks at the guest's instructions */
	} names[] = {
		{ "locks", all->bus_locks, true },
		{ "locked", all->locked, true },
		{ "split", all->split, true },
		{ "non_wb", all->non_wb, true },
		{ "stuffed", all->stuffed, true },
		{ "guest_non_wb", all->guest_non_wb, true },
		{ "flags", all->flags, false },
		{ "rate", report_rate(all), false },
		{ "runs", all->runs, false },
		{ "interrupted", all->interrupted, false },
		{ "errors", all->errors, false },
		{ "instructions", all->instructions, true },
		{ "host_traps", all->host_traps, false },
		{ "host_slept_ms", (number)all->host_slept_ns / NSEC_PER_MSEC, false },
		{ "host_messages", all->host_messages, false },
		{ "host_suppressed", all->host_suppressed, false },
		{ "run_ms", (number)all->run_ns / NSEC_PER_MSEC, false },
		{ "throttled_ms", (number)all->throttled_ns / NSEC_PER_MSEC, false },
		{ "wall_ms", (number)e->totals.wall_ns / NSEC_PER_MSEC, false },
		{ "sites", e->totals.places, true },
		{ "sites_lost", atomic_load(&e->report->sites_lost), true },
		{ "vms", atomic_load(&e->report->vms), false },
		{ "vcpus", atomic_load(&e->report->vcpus), false },
		{ "detection", atomic_load(&e->report->detection_enabled) ? 1 : 0, false },
		{ "deterministic", report_nondeterminism(e->report) ? 0 : 1, false },
	};
	int reason;

	if (!strncmp(name, "exits.", 6)) {
		reason = report_exit_number(name + 6);
		if (reason < 0) {
			say(e,
			    "'%s': no such exit reason; a KVM_EXIT_ name (exits.io, exits.hlt, "
			    "exits.x86_bus_lock) or number",
			    name);
			return -EINVAL;
		}
		*value = all->exits[reason];
		return 0;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i].name, name) != 0)
			continue;
		if (names[i].inside && atomic_load(&e->report->blind)) {
			say(e,
			    "'%s': nobody looks at the guest's instructions in this run "
			    "(buslock record --step does); flags and exits.REASON are what the "
			    "kernel told",
			    name);
			return -EINVAL;
		}
		if (!strcmp(name, "instructions") && !e->totals.counting) {
			say(e, "'instructions': not counted in this run (--count)");
			return -EINVAL;
		}
		*value = names[i].value;
		return 0;
	}
	say(e, "'%s': no such counter; known:", name);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		say(e, " %s", names[i].name);
	say(e, " exits.REASON");
	return -EINVAL;
}

static int parse_value(struct evaluation *e, const char *condition, const char *text, number *value)
{
	char *end;

	errno = 0;
	*value = strtold(text, &end);
	while (isspace((unsigned char)*end))
		end++;
	/* No "inf", "nan", hexadecimal floats: they are mistakes. */
	if (end == text || *end || errno || strspn(text, "0123456789.eE+- \t") != strlen(text)) {
		say(e, "'%s': '%s' is not a number", condition, text);
		return -EINVAL;
	}
	return 0;
}

/* "name OP number", cut up in place. */
static int split(struct evaluation *e, const char *condition, char *copy, char **name,
		 enum comparison *comparison, const char **sign, number *value)
{
	char *op, *end;

	while (isspace((unsigned char)*copy))
		copy++;
	*name = copy;
	op = copy + strcspn(copy, "=!<>");
	for (size_t i = 0; i < OPERATORS; i++) {
		size_t length = strlen(operators[i].text);

		if (strncmp(op, operators[i].text, length) != 0)
			continue;
		*comparison = operators[i].comparison;
		*sign = operators[i].text;
		end = op;
		while (end > copy && isspace((unsigned char)end[-1]))
			end--;
		op += length;
		*end = '\0';
		if (!*copy) {
			say(e, "'%s': a name is missing before the comparison", condition);
			return -EINVAL;
		}
		while (isspace((unsigned char)*op))
			op++;
		return parse_value(e, condition, op, value);
	}
	say(e, "'%s': no comparison in it; one of == != <= >= < >", condition);
	return -EINVAL;
}

/* 0 held, 1 not, -EINVAL. */
static int judge(struct evaluation *e, const char *condition)
{
	enum comparison comparison = EQUAL;
	const char *sign = "==";
	number value = 0, wanted = 0;
	char copy[128], *name;
	int error;

	if (snprintf(copy, sizeof(copy), "%s", condition) >= (int)sizeof(copy)) {
		say(e, "'%s': too long for a condition", condition);
		return -EINVAL;
	}
	error = split(e, condition, copy, &name, &comparison, &sign, &wanted);
	if (!error)
		error = lookup(e, name, &value);
	if (error)
		return error;
	if (holds(value, comparison, wanted))
		return 0;
	say(e, "%s%s is %.10Lg, expected %s %.10Lg", e->used ? "; " : "", name, value, sign,
	    wanted);
	return 1;
}

int report_expect(const struct report *report, const char *conditions, char *why, size_t size)
{
	struct evaluation e = { .report = report, .why = why, .size = size };
	char *copy = strdup(conditions), *rest = copy, *condition;
	int result = 0, one;

	if (size)
		why[0] = '\0';
	if (!copy)
		return -ENOMEM;
	one = report_totals(&e.totals, report);
	if (one) {
		free(copy);
		return one;
	}
	while ((condition = strsep(&rest, ","))) {
		size_t before = e.used;

		one = judge(&e, condition);
		if (one)
			result = one;
		if (one < 0) {
			/* What is not understood is all there is to say. */
			if (before && before < size)
				memmove(why, why + before, strlen(why + before) + 1);
			break;
		}
	}
	report_totals_free(&e.totals);
	free(copy);
	return result;
}
