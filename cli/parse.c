// SPDX-License-Identifier: GPL-2.0-only
/* Numbers as people write them, and the one way to complain. */
#include "cli/cli.h"
#include "cli/trace_walk.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void complain(const char *format, ...)
{
	va_list arguments;
	char *text;
	int n;

	fflush(stdout);
	va_start(arguments, format);
	n = vasprintf(&text, format, arguments);
	va_end(arguments);
	fputs("buslock: ", stderr);
	/* names of files and pieces of them are in it */
	put_safely(stderr, n < 0 ? format : text);
	fputc('\n', stderr);
	if (n >= 0)
		free(text);
}

/* strtoull() without what it forgives: leading blanks, signs, overflow. */
static bool parse(const char *text, int base, uint64_t *value, char **end)
{
	unsigned long long number;

	if (!isxdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	number = strtoull(text, end, base);
	if (errno || *end == text)
		return false;
	*value = number;
	return true;
}

static bool has_hex_prefix(const char *text)
{
	return text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
}

bool parse_number(const char *text, uint64_t *value)
{
	char *end;

	/* A leading 0 is no octal number: nobody means one here. */
	return parse(text, has_hex_prefix(text) ? 16 : 10, value, &end) && !*end;
}

bool parse_hex(const char *text, uint64_t *value)
{
	char *end;

	if (!parse(text, 16, value, &end))
		return false;
	if ((*end == 'h' || *end == 'H') && !has_hex_prefix(text))
		end++;
	return !*end;
}

bool parse_size(const char *text, uint64_t *value)
{
	static const char units[] = "KMG";
	const char *unit;
	unsigned shift = 0;
	char *end;

	if (!parse(text, has_hex_prefix(text) ? 16 : 10, value, &end))
		return false;
	if (*end) {
		unit = strchr(units, toupper((unsigned char)*end));
		if (!unit || end[1])
			return false;
		shift = 10 * (unsigned)(unit - units + 1);
	}
	if (*value > UINT64_MAX >> shift)
		return false;
	*value <<= shift;
	return true;
}

bool number_in(const char *option, const char *text, uint64_t low, uint64_t high, uint64_t *value)
{
	if (parse_number(text, value) && *value >= low && *value <= high)
		return true;
	complain("%s: '%s' is not a number from %llu to %llu", option, text,
		 (unsigned long long)low, (unsigned long long)high);
	return false;
}
