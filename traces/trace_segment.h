/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A closed segment of a trace: so much of its text, compressed. In front of each zstd frame stands a
 * skippable frame (RFC 8878, 3.1.2) that tells how long the next one is and what is in it, so that a
 * reader gets over one that is damaged, and `zstd -d` takes the file all the same.
 *
 * While a run goes on, segments are written to a file beside the trace (trace_part_path()), and their
 * text is then freed in the trace itself, which begins with a hole from there on. A trace is in two files
 * while its first byte is NUL, and only then; docs/trace.md tells why nothing is lost at any moment.
 */
#ifndef BUSLOCK_TRACES_TRACE_SEGMENT_H
#define BUSLOCK_TRACES_TRACE_SEGMENT_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SEGMENT_MAGIC 0x184d2a5bu /* one of the sixteen of skippable frames, 0x184d2a5? */
#define SEGMENT_TAG   "buslock1"

/* All numbers little-endian. */
struct segment_header {
	uint32_t magic, size; /* of what follows */
	char tag[8];
	uint64_t at, text; /* where its text was in the trace, and its length in bytes */
	uint64_t lines;
	uint64_t frame; /* length of the zstd frame that follows */
};
_Static_assert(sizeof(struct segment_header) == 48, "a file format");

static inline struct segment_header segment_header(uint64_t at, uint64_t text, uint64_t lines,
						   uint64_t frame)
{
	struct segment_header header = {
		.magic = htole32(SEGMENT_MAGIC),
		.size = htole32(sizeof(header) - 8),
		.at = htole64(at),
		.text = htole64(text),
		.lines = htole64(lines),
		.frame = htole64(frame),
	};

	memcpy(header.tag, SEGMENT_TAG, sizeof(header.tag));
	return header;
}

/* Is it one, and can it be? Its numbers are made the host's. */
static inline bool segment_header_read(struct segment_header *header)
{
	if (le32toh(header->magic) != SEGMENT_MAGIC ||
	    le32toh(header->size) != sizeof(*header) - 8 ||
	    memcmp(header->tag, SEGMENT_TAG, sizeof(header->tag)))
		return false;
	header->at = le64toh(header->at);
	header->text = le64toh(header->text);
	header->lines = le64toh(header->lines);
	header->frame = le64toh(header->frame);
	return header->at < 1ull << 62 && header->text <= UINT32_MAX &&
	       header->lines <= header->text;
}

/* "FILE.part"; NULL without memory. The caller frees it. */
static inline char *trace_part_path(const char *path)
{
	char *part;

	return asprintf(&part, "%s.part", path) < 0 ? NULL : part;
}

#endif
