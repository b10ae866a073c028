// SPDX-License-Identifier: GPL-2.0-only
/* Just enough of JSON: json-c takes ten times as long for a line, and makes objects of it. */
#include "traces/json_members.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ members of a line */

static const char *blanks(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\r'))
		p++;
	return p;
}

/* Behind the string that begins at `p`; NULL if it does not end. */
static const char *skip_string(const char *p, const char *end)
{
	for (p++; p < end; p++) {
		size_t slashes = 0;

		p = memchr(p, '"', (size_t)(end - p));
		if (!p)
			return NULL;
		/* escaped, if an odd number of backslashes is in front */
		while (p[-1 - (ptrdiff_t)slashes] == '\\')
			slashes++;
		if (slashes % 2 == 0)
			return p + 1;
	}
	return NULL;
}

/* Behind the value that begins at `p`. */
static const char *skip_value(const char *p, const char *end)
{
	unsigned depth = 0;
	const char *begin = p;

	while (p && p < end) {
		if (*p == '"') {
			p = skip_string(p, end);
			if (!depth)
				return p;
			continue;
		}
		if (!depth && (*p == ',' || *p == '}'))
			return p > begin ? p : NULL;
		if (*p == '{' || *p == '[')
			depth++;
		if ((*p == '}' || *p == ']') && depth && !--depth)
			return p + 1;
		p++;
	}
	return NULL;
}

/* Members of the object that is all of `text`; -1: it is none, or has too many. */
int json_members(const char *text, size_t n, struct json_member *member)
{
	const char *end = text + n, *p = blanks(text, end);
	int count = 0;

	if (p == end || *p++ != '{')
		return -1;
	for (;;) {
		struct json_member *m = &member[count];
		const char *behind;

		p = blanks(p, end);
		if (p == end || *p != '"' || count == JSON_MEMBERS)
			return -1;
		behind = skip_string(p, end);
		if (!behind)
			return -1;
		m->key = (struct json_span){ p + 1, (size_t)(behind - p) - 2 };
		p = blanks(behind, end);
		if (p == end || *p++ != ':')
			return -1;
		p = blanks(p, end);
		behind = skip_value(p, end);
		if (!behind)
			return -1;
		m->value = (struct json_span){ p, (size_t)(behind - p) };
		count++;
		p = blanks(behind, end);
		if (p == end)
			return -1;
		if (*p == '}')
			break;
		if (*p++ != ',')
			return -1;
	}
	p = blanks(p + 1, end);
	return p + 1 == end && *p == '\n' ? count : -1;
}

bool json_is(struct json_span span, const char *text)
{
	return span.n == strlen(text) && !memcmp(span.at, text, span.n);
}

const struct json_member *json_find(const struct json_member *member, int count, const char *key)
{
	for (int i = 0; i < count; i++)
		if (json_is(member[i].key, key))
			return &member[i];
	return NULL;
}

/* A number, or `otherwise` for null and what is none. */
int64_t json_number(const struct json_member *member, int64_t otherwise)
{
	char digits[24];

	if (!member || !member->value.n || member->value.n >= sizeof(digits) ||
	    !strchr("-0123456789", *member->value.at))
		return otherwise;
	memcpy(digits, member->value.at, member->value.n);
	digits[member->value.n] = '\0';
	return strtoll(digits, NULL, 10);
}

/* ------------------------------------------------------------------ hashes */

/* Of splitmix64 (Steele, Lea, Flood, 2014): each bit of the input changes half of the output's. */
uint64_t json_mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

uint64_t json_hash(struct json_span span)
{
	uint64_t h = span.n * 0x9e3779b97f4a7c15 + 1, word;

	for (; span.n >= 8; span.at += 8, span.n -= 8) {
		memcpy(&word, span.at, 8);
		h = json_mix(h ^ word) + 0x9e3779b97f4a7c15;
	}
	word = 0;
	memcpy(&word, span.at, span.n);
	return json_mix(h ^ word);
}

/* "#AC: CPU 0/KVM/4711 took …": a thread has another number in each run. */
uint64_t json_hash_message(struct json_span span)
{
	uint64_t h = 1;

	for (size_t i = 0; i < span.n; i++) {
		h = json_mix(h ^ (unsigned char)span.at[i]) + 0x9e3779b97f4a7c15;
		while (span.at[i] == '/' && i + 1 < span.n && span.at[i + 1] >= '0' &&
		       span.at[i + 1] <= '9') {
			do {
				i++;
			} while (i + 1 < span.n && span.at[i + 1] >= '0' && span.at[i + 1] <= '9');
		}
	}
	return h;
}
