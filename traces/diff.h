/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two traces held against each other: event by event, each vCPU for itself (how those of several vCPUs
 * fall between each other is chance), and only what both sources can tell. Any bytes are a valid input.
 *
 * Lines are compared by hashes of their fields, so a million of them take a second, and what is equal
 * costs nothing more. Where they differ, the shortest way to where they agree again is looked for
 * (Myers, "An O(ND) difference algorithm", 1986) within bounds.
 */
#ifndef BUSLOCK_TRACES_DIFF_H
#define BUSLOCK_TRACES_DIFF_H

#include "traces/trace_read.h"

enum { DIFF_A, DIFF_B, DIFF_SIDES };
enum diff_only { DIFF_ALL, DIFF_BUS_LOCKS, DIFF_EXITS };

struct diff_options {
	enum diff_only only;
	bool no_registers; /* leave the digests out */
	bool times;        /* compare times and how long was slept; else only if both are virtual */
	const char *const *ignore; /* "word", "exit.word", "sleep"; ends with NULL; may be NULL */
};

/* One side. */
struct diff_side {
	const char *path;
	char *header;              /* text of its line; NULL: there is none */
	uint64_t events, compared; /* lines */
	unsigned long lines, bad;  /* bad: that could not be used */
	unsigned long first_bad;
	char why[128]; /* of that */
	bool has_end;
};

/* Where they do not agree: `count` events of each side, of one vCPU. */
struct diff_hunk {
	struct diff_part {
		size_t first, count; /* diff_line() gives their lines */
		unsigned long
			line; /* of the first; of the next event if there are none; 0: of the end */
	} part[DIFF_SIDES];
	uint32_t stream; /* of which vCPU, for diff_line() */
	/* Only such as come and go with the moment at which something outside happens: exits for
	 * signals and for interrupt windows, and the runs that belong to them. */
	bool timing;
	bool end;  /* of the last lines: behind all others */
	bool lost; /* nothing agrees any more; all that is left on that vCPU */
};

struct diff {
	struct diff_side side[DIFF_SIDES];
	struct diff_hunk *hunk; /* in the order of their lines in A; the end's last */
	size_t hunks, timing;   /* timing: that many of them are that */
	uint64_t equal;         /* events */
	bool comparable;        /* false: there was nothing that both sides tell */
	/* What was not compared, and why: "exit.word: B has none". */
	char **note;
	size_t notes;
	struct diff_records *records;
};

/* 0, or -errno with a sentence in `why`. */
int diff_traces(struct diff **diff, const char *a, const char *b,
		const struct diff_options *options, char *why, size_t size);
void diff_free(struct diff *diff);
/* The line of the event that is so far behind (or in front of) the hunk's first one of that side, on the
 * same vCPU; 0: there is none. */
unsigned long diff_line(const struct diff *diff, const struct diff_hunk *hunk, int side,
			long offset);

/*
 * Goes through a trace once more and gives the text of the lines whose numbers are in `lines`, ascending.
 * -errno; or what `take` returns if that is not 0.
 */
int diff_fetch(const char *path, const unsigned long *lines, size_t count,
	       int (*take)(void *opaque, unsigned long line, const char *text), void *opaque);
/* Is that field compared in that event? For telling which of two lines' fields differ. */
bool diff_compares(const struct diff *diff, const char *event, const char *field);

#endif
