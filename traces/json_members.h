/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The members of a JSON object, told apart without being understood: for comparing many lines. Keys and
 * values are as they are written, quotes and escapes included (a key's quotes not). Any bytes are a
 * valid input; what is no object is refused, what is in the values is not checked.
 */
#ifndef BUSLOCK_TRACES_JSON_MEMBERS_H
#define BUSLOCK_TRACES_JSON_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_MEMBERS 48 /* at most */

struct json_span {
	const char *at;
	size_t n;
};

struct json_member {
	struct json_span key, value;
};

/* Members of the object that is all of a line with its newline; -1: it is none, or has too many. */
int json_members(const char *text, size_t n, struct json_member *member);
bool json_is(struct json_span span, const char *text);
const struct json_member *json_find(const struct json_member *member, int count,
				    const char *key); /* NULL */
/* A number, or `otherwise` for null and what is none; `member` may be NULL. */
int64_t json_number(const struct json_member *member, int64_t otherwise);

uint64_t json_mix(uint64_t x);
uint64_t json_hash(struct json_span span);
/* The same, without the numbers behind slashes. */
uint64_t json_hash_message(struct json_span span);

#endif
