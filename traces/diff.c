// SPDX-License-Identifier: GPL-2.0-only
/* Aligning: where two traces agree, where they part, and where they agree again. */
#include "traces/diff.h"
#include "traces/diff_records.h"
#include "traces/trace_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * So many events have to agree before two traces are taken to be together again, so many may be left out
 * or put in until then, and so many pass before the next try where there was no such place. The costs
 * are bounded by the square of the second for each of the third.
 */
#define AGREE     6
#define FAR       256 /* so far it is looked which of several such places is the best */
#define MOST_EDIT 512
#define PATIENCE  1024

/* One stream of both sides while it is aligned. */
struct align {
	const struct diff_record *record[DIFF_SIDES];
	size_t count[DIFF_SIDES];
	size_t base[DIFF_SIDES]; /* of the first record among those of all streams */
	uint32_t stream;
	struct diff *diff;
	size_t room;           /* of diff->hunk */
	long left[DIFF_SIDES]; /* events from where a way is looked for */
	long *path;            /* the furthest of A on each diagonal, for each number of edits */
	bool by_kind;
	size_t retry; /* place in A from which another try is worth it */
};

static bool same(const struct align *al, size_t i, size_t j)
{
	const struct diff_record *a = &al->record[DIFF_A][i], *b = &al->record[DIFF_B][j];

	return al->by_kind ? a->kind == b->kind : a->all == b->all;
}

/* ------------------------------------------------------------------ hunks */

static unsigned long line_at(const struct align *al, int side, size_t i)
{
	return i < al->count[side] ? al->record[side][i].line : 0;
}

static bool is_behind(const struct align *al, const struct diff_hunk *hunk, size_t i, size_t j)
{
	return hunk->part[DIFF_A].first + hunk->part[DIFF_A].count == al->base[DIFF_A] + i &&
	       hunk->part[DIFF_B].first + hunk->part[DIFF_B].count == al->base[DIFF_B] + j;
}

/*
 * One event that is left out or put in, of several equal ones: which of them it was is open. If the
 * first of them stands right behind the hunk before, it is a part of that: how far it moves for it.
 */
#define SLIDE 16
static size_t slide(const struct align *al, const struct diff_hunk *last, size_t i, size_t j,
		    size_t na, size_t nb)
{
	int side = na ? DIFF_A : DIFF_B;
	size_t at = na ? i : j, gap;

	if (na + nb != 1)
		return 0;
	for (gap = 0; gap <= SLIDE && gap <= i && gap <= j; gap++) {
		if (is_behind(al, last, i - gap, j - gap))
			return gap;
		if (gap == at || al->record[side][at - gap - 1].all != al->record[side][at].all)
			break;
	}
	return 0;
}

/* NULL without memory. */
static struct diff_hunk *new_hunk(struct align *al)
{
	struct diff *d = al->diff;
	struct diff_hunk *more;

	if (d->hunks == al->room) {
		more = reallocarray(d->hunk, al->room * 2 + 64, sizeof(*more));
		if (!more)
			return NULL;
		d->hunk = more;
		al->room = al->room * 2 + 64;
	}
	return &d->hunk[d->hunks++];
}

static int add_hunk(struct align *al, size_t i, size_t j, size_t na, size_t nb, bool lost)
{
	struct diff *d = al->diff;
	struct diff_hunk *last = d->hunks ? &d->hunk[d->hunks - 1] : NULL, *hunk;

	if (last && last->stream != al->stream)
		last = NULL;
	if (last) {
		size_t gap = slide(al, last, i, j, na, nb);

		i -= gap;
		j -= gap;
	}
	if (last && is_behind(al, last, i, j)) {
		last->part[DIFF_A].count += na;
		last->part[DIFF_B].count += nb;
		last->lost |= lost;
		return 0;
	}
	hunk = new_hunk(al);
	if (!hunk)
		return -ENOMEM;
	*hunk = (struct diff_hunk){
		.part = { { al->base[DIFF_A] + i, na, line_at(al, DIFF_A, i) },
			  { al->base[DIFF_B] + j, nb, line_at(al, DIFF_B, j) } },
		.stream = al->stream,
		.lost = lost,
	};
	return 0;
}

/* As many events on both sides, and of the same kinds one by one: each has changed, none was put in. */
static bool all_changed(const struct align *al, const struct diff_hunk *hunk)
{
	const struct diff_part *a = &hunk->part[DIFF_A], *b = &hunk->part[DIFF_B];
	const struct diff_records *r = al->diff->records;

	if (a->count != b->count || hunk->lost)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (r->record[DIFF_A][a->first + i].kind != r->record[DIFF_B][b->first + i].kind)
			return false;
	return true;
}

/* Those are differences by themselves. */
static int split_changed(struct align *al)
{
	const struct diff_records *r = al->diff->records;

	for (size_t h = 0, count = al->diff->hunks; h < count; h++) {
		size_t events = al->diff->hunk[h].part[DIFF_A].count;

		if (events < 2 || !all_changed(al, &al->diff->hunk[h]))
			continue;
		for (size_t i = 1; i < events; i++) {
			struct diff_hunk *more = new_hunk(al);

			if (!more)
				return -ENOMEM;
			*more = al->diff->hunk[h];
			for (int side = 0; side < DIFF_SIDES; side++) {
				struct diff_part *part = &more->part[side];

				part->first += i;
				part->count = 1;
				part->line = r->record[side][part->first].line;
			}
		}
		al->diff->hunk[h].part[DIFF_A].count = al->diff->hunk[h].part[DIFF_B].count = 1;
	}
	return 0;
}

/* ------------------------------------------------------------------ the way to where they agree again */

/* Row `d` of the path has the diagonals -d to d; a diagonal is the place in A less that in B. */
static long *row(const struct align *al, long d)
{
	return al->path + d * d + d; /* rows of 1, 3, 5 … cells, each from its middle */
}

/*
 * The furthest that can be reached on diagonal k with d edits, in front of the events that agree there:
 * from the diagonal below by leaving out an event of A, or from the one above by putting in one of B.
 * -1: not at all.
 */
static long reach(const struct align *al, long d, long k, bool *left_out)
{
	const long *before;
	long in = -1, out = -1;

	*left_out = false;
	if (!d)
		return 0;
	before = row(al, d - 1);
	if (k + 1 <= d - 1 && before[k + 1] >= 0 && before[k + 1] - k <= al->left[DIFF_B])
		in = before[k + 1];
	if (k - 1 >= 1 - d && before[k - 1] >= 0 && before[k - 1] < al->left[DIFF_A])
		out = before[k - 1] + 1;
	*left_out = out >= in;
	return *left_out ? out : in;
}

/* Events that were passed as agreeing; by kind, they may differ in something else. */
static int pass(struct align *al, size_t *i, size_t *j, size_t until)
{
	int error = 0;

	while (*i < until && !error) {
		if (al->record[DIFF_A][*i].all == al->record[DIFF_B][*j].all)
			al->diff->equal++;
		else
			error = add_hunk(al, *i, *j, 1, 1, false);
		++*i;
		++*j;
	}
	return error;
}

/* The edits that lead to diagonal k with d of them; *i, *j behind the last one. */
static int take_path(struct align *al, size_t *i, size_t *j, long d, long k)
{
	bool left_out[MOST_EDIT];
	long at[MOST_EDIT]; /* place in A of each edit */
	size_t begin = *i;
	int error = 0;

	for (long n = d; n > 0; n--) {
		reach(al, n, k, &left_out[n - 1]);
		k += left_out[n - 1] ? -1 : 1;
		at[n - 1] = row(al, n - 1)[k];
	}
	for (long n = 0; n < d && !error; n++) {
		error = pass(al, i, j, begin + (size_t)at[n]);
		if (!error)
			error = add_hunk(al, *i, *j, left_out[n], !left_out[n], false);
		*i += left_out[n];
		*j += !left_out[n];
	}
	return error;
}

/* How many events agree from there on, up to FAR. */
static long agree(const struct align *al, size_t i, size_t j)
{
	long n = 0;

	while (n < FAR && i < al->count[DIFF_A] && j < al->count[DIFF_B] && same(al, i++, j++))
		n++;
	return n;
}

/*
 * With d edits from (i, j): the diagonal on which most agrees, if that is enough or both end there. A loop
 * of the guest's agrees with itself a turn later, too: the first one that is found may be the wrong one.
 */
static bool try_edits(struct align *al, size_t i, size_t j, long d, long *best)
{
	const long na = al->left[DIFF_A], nb = al->left[DIFF_B];
	long *cells = row(al, d), most = -1;
	bool left_out;

	for (long k = -d; k <= d; k += 2) {
		long x = reach(al, d, k, &left_out), n;

		cells[k] = x;
		if (x < 0)
			continue;
		n = agree(al, i + (size_t)x, j + (size_t)(x - k));
		cells[k] += n;
		/* of equally good ones that which keeps the two closest */
		if ((n >= AGREE || (x + n == na && x + n - k == nb)) &&
		    (n > most || (n == most && labs(k) < labs(*best)))) {
			most = n;
			*best = k;
		}
	}
	return most >= 0;
}

/*
 * From (i, j) on, which differ: the fewest edits after which AGREE events agree, or both have ended. 1 and
 * *i, *j there; 0: none within bounds; -errno.
 */
static int find_together(struct align *al, size_t *i, size_t *j)
{
	al->left[DIFF_A] = (long)(al->count[DIFF_A] - *i);
	al->left[DIFF_B] = (long)(al->count[DIFF_B] - *j);
	for (long d = 0; d <= MOST_EDIT; d++) {
		long best;

		if (try_edits(al, *i, *j, d, &best)) {
			int error = take_path(al, i, j, d, best);

			return error ? error : 1;
		}
	}
	return 0;
}

/* ------------------------------------------------------------------ a stream */

/* Equal in kind, different in something else. */
static int step_together(struct align *al, size_t *i, size_t *j)
{
	int error = add_hunk(al, *i, *j, 1, 1, false);

	++*i;
	++*j;
	return error;
}

/* 0: another step; 1: nothing agrees any more; -errno. */
static int part(struct align *al, size_t *i, size_t *j)
{
	bool both = *i < al->count[DIFF_A] && *j < al->count[DIFF_B];
	int r = 0;

	al->by_kind = false;
	if (*i >= al->retry)
		r = find_together(al, i, j);
	if (r)
		return r < 0 ? r : 0;
	if (*i >= al->retry)
		al->retry = *i + PATIENCE;
	if (both && al->record[DIFF_A][*i].kind == al->record[DIFF_B][*j].kind)
		return step_together(al, i, j);
	al->by_kind = true;
	r = find_together(al, i, j);
	al->by_kind = false;
	if (r)
		return r < 0 ? r : 0;
	r = add_hunk(al, *i, *j, al->count[DIFF_A] - *i, al->count[DIFF_B] - *j, true);
	return r ? r : 1;
}

static int align_stream(struct align *al)
{
	size_t i = 0, j = 0;
	int r = 0;

	al->retry = 0;
	while (!r) {
		while (i < al->count[DIFF_A] && j < al->count[DIFF_B] && same(al, i, j)) {
			al->diff->equal++;
			i++, j++;
		}
		if (i == al->count[DIFF_A] && j == al->count[DIFF_B])
			break;
		r = part(al, &i, &j);
	}
	return r < 0 ? r : 0;
}

/* ------------------------------------------------------------------ all of them */

/* Exits of the kind, and no more runs than belong to them. */
static bool is_timing(const struct diff *d, const struct diff_hunk *hunk)
{
	size_t exits = 0, runs = 0;

	for (int side = 0; side < DIFF_SIDES; side++) {
		const struct diff_part *part = &hunk->part[side];
		const struct diff_record *r = d->records->record[side] + part->first;

		for (size_t i = 0; i < part->count; i++) {
			if (!(r[i].flags & (RECORD_TIMING | RECORD_RUN)))
				return false;
			exits += r[i].flags == RECORD_TIMING;
			runs += r[i].flags == RECORD_RUN;
		}
	}
	return exits && runs <= exits + 1;
}

static bool is_end(const struct diff *d, const struct diff_hunk *hunk)
{
	for (int side = 0; side < DIFF_SIDES; side++) {
		const struct diff_part *part = &hunk->part[side];

		if (part->count && d->records->record[side][part->first].flags == RECORD_END)
			return true;
	}
	return false;
}

static int by_line(const void *a, const void *b)
{
	const struct diff_hunk *x = a, *y = b;
	/* behind the last event of a stream: that is far on */
	unsigned long first = x->part[DIFF_A].line ? x->part[DIFF_A].line : ~0ul;
	unsigned long second = y->part[DIFF_A].line ? y->part[DIFF_A].line : ~0ul;

	if (x->end != y->end)
		return x->end ? 1 : -1;
	if (first != second)
		return first < second ? -1 : 1;
	return x->part[DIFF_B].line < y->part[DIFF_B].line
		       ? -1
		       : x->part[DIFF_B].line > y->part[DIFF_B].line;
}

static int align_all(struct diff *d)
{
	const struct diff_records *r = d->records;
	struct align al = { .diff = d };
	int error = 0;

	al.path = calloc((MOST_EDIT + 1ul) * (MOST_EDIT + 1), sizeof(*al.path));
	if (!al.path)
		return -ENOMEM;
	for (uint32_t s = 0; s < r->streams && !error; s++) {
		for (int side = 0; side < DIFF_SIDES; side++) {
			al.stream = s;
			al.base[side] = r->start[side][s];
			al.record[side] = r->record[side] + al.base[side];
			al.count[side] = r->start[side][s + 1] - al.base[side];
		}
		error = align_stream(&al);
	}
	free(al.path);
	if (!error)
		error = split_changed(&al);
	if (error)
		return error;
	for (size_t i = 0; i < d->hunks; i++) {
		d->hunk[i].timing = is_timing(d, &d->hunk[i]);
		d->hunk[i].end = is_end(d, &d->hunk[i]);
		d->timing += d->hunk[i].timing;
	}
	if (d->hunks)
		qsort(d->hunk, d->hunks, sizeof(*d->hunk), by_line);
	return 0;
}

int diff_traces(struct diff **diff, const char *a, const char *b,
		const struct diff_options *options, char *why, size_t size)
{
	struct diff *d = calloc(1, sizeof(*d));
	int error = -ENOMEM;

	if (d)
		d->records = calloc(1, sizeof(*d->records));
	if (d && d->records) {
		d->side[DIFF_A].path = a;
		d->side[DIFF_B].path = b;
		d->records->options = *options;
		error = diff_scan(d, why, size);
		if (!error) {
			error = align_all(d);
			if (error)
				snprintf(why, size, "%s", strerror(-error));
		}
	} else {
		snprintf(why, size, "%s", strerror(ENOMEM));
	}
	if (error)
		diff_free(d);
	else
		*diff = d;
	return error;
}

void diff_free(struct diff *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->notes; i++)
		free(d->note[i]);
	free(d->note);
	free(d->hunk);
	free(d->side[DIFF_A].header);
	free(d->side[DIFF_B].header);
	diff_records_free(d->records);
	free(d);
}

/* ------------------------------------------------------------------ lines */

unsigned long diff_line(const struct diff *d, const struct diff_hunk *hunk, int side, long offset)
{
	const size_t *start = d->records->start[side] + hunk->stream;
	long event = (long)hunk->part[side].first + offset;

	return event >= (long)start[0] && event < (long)start[1]
		       ? d->records->record[side][event].line
		       : 0;
}

int diff_fetch(const char *path, const unsigned long *lines, size_t count,
	       int (*take)(void *opaque, unsigned long line, const char *text), void *opaque)
{
	struct trace_source *source;
	struct trace_text line;
	size_t next = 0;
	char why[128];
	int r = trace_source_open(&source, path), error = 0;

	if (r)
		return r;
	while (!error && next < count &&
	       (r = trace_source_next(source, &line, why, sizeof(why))) > 0) {
		while (next < count && lines[next] < line.number)
			next++;
		if (r == TRACE_SOURCE_LINE && next < count && lines[next] == line.number)
			error = take(opaque, line.number, line.text);
	}
	trace_source_close(source);
	return error ? error : r < 0 ? r : 0;
}
