/* SPDX-License-Identifier: GPL-2.0-only */
/* A comparison of two traces as text. */
#ifndef BUSLOCK_CLI_DIFF_TEXT_H
#define BUSLOCK_CLI_DIFF_TEXT_H

#include "cli/trace_walk.h"
#include "traces/diff.h"
#include "traces/symbols.h"

struct diff_text {
	unsigned most;    /* differences to list */
	unsigned context; /* events in front of the first one */
	struct symbols *symbols;
	uint8_t *code; /* --code */
	size_t code_size;
	uint64_t code_at;
};

/* FILE@ADDRESS: complains and returns false. */
bool diff_text_code(struct diff_text *text, const char *argument);
/* `timing`: what timing explains is no difference. -errno. */
int diff_text_print(const struct diff *diff, const struct diff_text *text, bool timing);
void diff_text_free(struct diff_text *text);

#endif
