// SPDX-License-Identifier: GPL-2.0-only
/* Stacks of bus locks, as flame graph tools read them. */
#include "traces/report_text.h"

#include "traces/symbols.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* A name in which no separator of the format is. */
static void print_name(FILE *out, const char *name)
{
	for (; *name; name++)
		fputc(*name == ';' || *name == ' ' ? '_' : *name, out);
}

static void print_frame(FILE *out, uint64_t address, bool known, const struct symbol_place *place,
			bool kernel)
{
	if (known)
		print_name(out, place->name);
	else
		fprintf(out, "0x%" PRIx64, address);
	fputs(kernel ? "_[k]" : "", out);
}

struct line {
	char *text;
	uint64_t count;
};

/* The stack as text, which several may have: calls from several places of a function. */
static int describe(struct line *line, const struct report_stack *stack,
		    const struct symbols *symbols)
{
	const struct report_lock *lock = &stack->first;
	unsigned depth = stack->depth < REPORT_DEPTH ? stack->depth : REPORT_DEPTH;
	bool kernel = lock->cpl < 3, known;
	struct symbol_place top, place;
	size_t size;
	FILE *out = open_memstream(&line->text, &size);

	if (!out)
		return -ENOMEM;
	known = report_locate(symbols, lock, &top);
	for (unsigned i = depth; i-- > 0;) {
		/* the call is in front of the address, perhaps the last instruction of its function */
		uint64_t address = stack->frame[i];
		bool found = symbols_locate_near(symbols, address - 1, known ? &top : NULL, &place);

		print_frame(out, address, found, &place, kernel);
		fputc(';', out);
	}
	print_frame(out, lock->linear_rip, known, &top, kernel);
	line->count = atomic_load(&stack->count);
	return fclose(out) ? -ENOMEM : 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->text, ((const struct line *)b)->text);
}

static int by_count(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return by_text(a, b);
}

static size_t add_up(struct line *line, size_t n)
{
	size_t last = 0;

	if (!n)
		return 0;
	qsort(line, n, sizeof(*line), by_text);
	for (size_t i = 1; i < n; i++) {
		if (by_text(&line[last], &line[i])) {
			line[++last] = line[i];
			continue;
		}
		line[last].count += line[i].count;
		free(line[i].text);
	}
	qsort(line, last + 1, sizeof(*line), by_count);
	return last + 1;
}

static int read_lines(struct line *line, size_t *n, const struct report *report,
		      const struct symbols *symbols)
{
	for (size_t i = 0; i < REPORT_STACKS; i++) {
		const struct report_stack *stack = &report->stack[i];

		if (atomic_load_explicit(&stack->state, memory_order_acquire) != 2)
			continue;
		if (describe(&line[*n], stack, symbols))
			return -ENOMEM;
		(*n)++;
	}
	return 0;
}

int report_print_folded(FILE *out, const struct report *report, const struct symbols *symbols)
{
	struct line *line = calloc(REPORT_STACKS, sizeof(*line));
	uint64_t lost = atomic_load(&report->stacks_lost);
	size_t n = 0;
	int error = line ? read_lines(line, &n, report, symbols) : -ENOMEM;

	if (!error) {
		n = add_up(line, n);
		for (size_t i = 0; i < n; i++)
			fprintf(out, "%s %" PRIu64 "\n", line[i].text, line[i].count);
		if (lost)
			fprintf(out, "(no_room) %" PRIu64 "\n", lost);
		if (fflush(out) || ferror(out))
			error = errno ? -errno : -EIO;
	}
	for (size_t i = 0; i < n; i++)
		free(line[i].text);
	free(line);
	return error;
}
