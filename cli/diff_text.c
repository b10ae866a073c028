// SPDX-License-Identifier: GPL-2.0-only
/*
 * What `buslock diff` says. The comparison knows numbers only; the lines that are shown are read again.
 */
#include "cli/diff_text.h"
#include "cli/cli.h"
#include "emu/disasm.h"
#include "emu/insn.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_EVENTS 8  /* of each side of the first difference */
#define CODE_BEFORE  60 /* events whose instructions may be shown */
#define CODE_BEHIND  20
#define CODE_NEAR    64 /* bytes around the place */
#define MAX_CODE     64
#define CODE_LINES   5

/* ------------------------------------------------------------------ lines that are shown */

struct line {
	unsigned long number;
	struct trace_line event; /* its json is ours; NULL: it cannot be parsed */
};

struct lines {
	unsigned long *number; /* ascending, once each */
	struct line *line;
	size_t count, room, filled;
};

struct printing {
	const struct diff *diff;
	const struct diff_text *text;
	struct trace_style style;
	struct lines lines[DIFF_SIDES];
	bool timing;
	const struct diff_hunk *first;
	int error;
};

static void want(struct printing *p, int side, unsigned long number)
{
	struct lines *l = &p->lines[side];

	if (!number || p->error)
		return;
	if (l->count == l->room) {
		unsigned long *more = reallocarray(l->number, l->room * 2 + 64, sizeof(*more));

		if (!more) {
			p->error = -ENOMEM;
			return;
		}
		l->number = more;
		l->room = l->room * 2 + 64;
	}
	l->number[l->count++] = number;
}

static void want_around(struct printing *p, const struct diff_hunk *hunk, long before, long behind)
{
	for (int side = 0; side < DIFF_SIDES; side++)
		for (long i = -before; i < behind; i++)
			want(p, side, diff_line(p->diff, hunk, side, i));
}

static int ascending(const void *a, const void *b)
{
	const unsigned long *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int take_line(void *opaque, unsigned long number, const char *text)
{
	struct lines *l = opaque;
	struct line *line = &l->line[l->filled++];
	const char *event;

	*line = (struct line){ .number = number,
			       .event = { .number = number,
					  .kind = TRACE_LINE_EVENT,
					  .event = -1,
					  .json = json_tokener_parse(text) } };
	event = line->event.json ? field_string(line->event.json, "event") : NULL;
	if (event && !strcmp(event, "end"))
		line->event.kind = TRACE_LINE_END;
	for (int i = 0; event && i < TRACE_EVENTS; i++)
		if (!strcmp(event, trace_event_name((enum trace_event)i)))
			line->event.event = i;
	return 0;
}

static int fetch(struct printing *p, int side)
{
	struct lines *l = &p->lines[side];
	size_t once = 0;

	if (!l->count)
		return 0;
	qsort(l->number, l->count, sizeof(*l->number), ascending);
	for (size_t i = 0; i < l->count; i++)
		if (!i || l->number[i] != l->number[i - 1])
			l->number[once++] = l->number[i];
	l->count = once;
	l->line = calloc(once, sizeof(*l->line));
	if (!l->line)
		return -ENOMEM;
	return diff_fetch(p->diff->side[side].path, l->number, once, take_line, l);
}

/* NULL if it is not one that could be read. */
static const struct trace_line *line_of(const struct printing *p, int side, unsigned long number)
{
	const struct lines *l = &p->lines[side];

	for (size_t low = 0, high = l->filled; low < high;) {
		size_t middle = low + (high - low) / 2;

		if (l->line[middle].number == number)
			return l->line[middle].event.json ? &l->line[middle].event : NULL;
		if (l->line[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static const struct trace_line *event_at(const struct printing *p, const struct diff_hunk *hunk,
					 int side, long offset)
{
	return line_of(p, side, diff_line(p->diff, hunk, side, offset));
}

/* ------------------------------------------------------------------ the sources */

static const char *const side_names[DIFF_SIDES] = { "A", "B" };

static void print_side(const struct diff *d, int side, struct json_object *header)
{
	const struct diff_side *s = &d->side[side];
	const char *backend = field_string(header, "backend"), *tool = field_string(header, "tool");

	printf("%s: ", side_names[side]);
	put_safely(stdout, s->path);
	printf(": %" PRIu64 " events, %" PRIu64 " compared", s->events, s->compared);
	if (backend) {
		fputs("; ", stdout);
		put_safely(stdout, backend);
	}
	if (tool) {
		fputs(", by ", stdout);
		put_safely(stdout, tool);
	}
	putchar('\n');
}

/* "kernel=6.12" of one list that is not in the other. */
static void print_option(const char *options, const char *others)
{
	const char *between = "";

	while (options && *options) {
		size_t n = strcspn(options, ",");
		const char *found = others;

		while (found && *found &&
		       (strcspn(found, ",") != n || strncmp(found, options, n))) {
			found += strcspn(found, ",");
			found += *found == ',';
		}
		if (!found || !*found) {
			char *option = strndup(options, n);

			fputs(between, stdout);
			put_safely(stdout, option ? option : "?");
			free(option);
			between = ",";
		}
		options += n;
		options += *options == ',';
	}
	if (!*between)
		fputs("-", stdout);
}

static void print_sources(const struct diff *d)
{
	struct json_object *header[DIFF_SIDES];
	const char *options[DIFF_SIDES];

	for (int side = 0; side < DIFF_SIDES; side++) {
		header[side] = d->side[side].header ? json_tokener_parse(d->side[side].header)
						    : NULL;
		options[side] = field_string(header[side], "options");
		print_side(d, side, header[side]);
	}
	if (options[DIFF_A] && options[DIFF_B] && strcmp(options[DIFF_A], options[DIFF_B])) {
		fputs("options differ: A ", stdout);
		print_option(options[DIFF_A], options[DIFF_B]);
		fputs(", B ", stdout);
		print_option(options[DIFF_B], options[DIFF_A]);
		putchar('\n');
	}
	for (int side = 0; side < DIFF_SIDES; side++)
		json_object_put(header[side]);
	for (size_t i = 0; i < d->notes; i++) {
		fputs(i ? "; " : "not compared: ", stdout);
		put_safely(stdout, d->note[i]);
	}
	if (d->notes)
		putchar('\n');
}

/* ------------------------------------------------------------------ which fields */

static void print_value(struct json_object *value)
{
	put_safely(stdout, json_object_to_json_string_ext(
				   value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* Of two lines of the same event: "word: A "0x1e", B "0x1f"", or only the names. */
static unsigned print_fields(const struct diff *d, struct json_object *a, struct json_object *b,
			     bool values)
{
	const char *event = field_string(a, "event");
	unsigned count = 0;
	int result = 0;

	field_signed(a, "result", &result);
	for (int pass = 0; pass < 2; pass++) {
		json_object_object_foreach(pass ? b : a, key, value)
		{
			struct json_object *other;
			bool there = json_object_object_get_ex(pass ? a : b, key, &other);

			if (!diff_compares(d, event, key) || (pass && there) ||
			    (there && json_object_equal(value, other)) ||
			    (result < 0 && !strcmp(key, "reason")))
				continue;
			fputs(values ? "      " : count ? ", " : "", stdout);
			put_safely(stdout, key);
			count++;
			if (!values)
				continue;
			fputs(": A ", stdout);
			if (pass)
				fputs("has none", stdout);
			else
				print_value(value);
			fputs(", B ", stdout);
			if (pass)
				print_value(value);
			else if (there)
				print_value(other);
			else
				fputs("has none", stdout);
			putchar('\n');
		}
	}
	return count;
}

static bool same_event(const struct trace_line *a, const struct trace_line *b)
{
	const char *x = a ? field_string(a->json, "event") : NULL;
	const char *y = b ? field_string(b->json, "event") : NULL;

	return x && y && !strcmp(x, y);
}

/* ------------------------------------------------------------------ the guest's code */

struct code {
	uint64_t at;
	char bytes[33];
	unsigned mode;
};

static int by_address(const void *a, const void *b)
{
	const struct code *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static bool place_of(const struct trace_line *line, uint64_t *place)
{
	return line && (field_number(line->json, "linear_rip", place) ||
			field_number(line->json, "rip", place));
}

/* Instructions that the events around tell: those that took bus locks. */
static size_t collect_code(const struct printing *p, struct code *code)
{
	size_t count = 0;

	for (int side = 0; side < DIFF_SIDES; side++)
		for (long i = -CODE_BEFORE; i < CODE_BEHIND && count < MAX_CODE; i++) {
			const struct trace_line *line = event_at(p, p->first, side, i);
			const char *bytes = line ? field_string(line->json, "bytes") : NULL;
			struct code *c = &code[count];
			uint64_t mode = 64;
			bool known = false;

			if (!bytes || !place_of(line, &c->at))
				continue;
			field_number(line->json, "mode", &mode);
			c->mode = (unsigned)mode;
			snprintf(c->bytes, sizeof(c->bytes), "%s", bytes);
			for (size_t n = 0; n < count; n++)
				known |= code[n].at == c->at && !strcmp(code[n].bytes, c->bytes);
			count += !known;
		}
	qsort(code, count, sizeof(*code), by_address);
	return count;
}

static void print_instruction(const struct printing *p, uint64_t at, const char *bytes,
			      unsigned mode, const char *mark)
{
	char text[200], name[128];

	instruction_text(bytes, mode, at, text, sizeof(text));
	symbols_format(p->text->symbols, at, name, sizeof(name));
	printf("  %s %#10" PRIx64 "  %-24s %s", mark, at, bytes, text);
	if (*name) {
		fputs("  <", stdout);
		put_safely(stdout, name);
		fputc('>', stdout);
	}
	putchar('\n');
}

/* From the image that --code names. */
static void print_image(const struct printing *p, uint64_t at, unsigned mode)
{
	const struct diff_text *t = p->text;

	for (int i = 0; i < CODE_LINES; i++) {
		struct insn insn;
		char bytes[2 * INSN_MAX_LENGTH + 1] = "";

		if (at < t->code_at || at - t->code_at >= t->code_size ||
		    insn_decode(&insn, t->code + (at - t->code_at),
				t->code_size - (at - t->code_at), mode) ||
		    !insn.length)
			return;
		for (unsigned n = 0; n < insn.length; n++)
			sprintf(bytes + 2 * n, "%02x", t->code[at - t->code_at + n]);
		print_instruction(p, at, bytes, mode, i ? " " : ">");
		at += insn.length;
	}
}

static void print_code(const struct printing *p)
{
	struct code code[MAX_CODE];
	size_t count = collect_code(p, code);
	uint64_t place[DIFF_SIDES] = { 0, 0 };
	bool has[DIFF_SIDES], titled = false;
	unsigned mode = count ? code[0].mode : 64;

	for (int side = 0; side < DIFF_SIDES; side++)
		has[side] = place_of(event_at(p, p->first, side, 0), &place[side]);
	for (int side = 0; side < DIFF_SIDES; side++) {
		if (!has[side] || (side && has[DIFF_A] && place[DIFF_A] == place[DIFF_B]))
			continue;
		if (p->text->code) {
			printf("\nThe guest's code at %s's place (%u-bit):\n", side_names[side],
			       mode);
			if (place[side] - p->text->code_at >= p->text->code_size)
				printf("  %#" PRIx64 " is not in the image of --code, which is at "
				       "%#" PRIx64 " to %#" PRIx64 "\n",
				       place[side], p->text->code_at,
				       p->text->code_at + p->text->code_size - 1);
			else
				print_image(p, place[side], mode);
			continue;
		}
		for (size_t i = 0; i < count; i++) {
			if (code[i].at + CODE_NEAR < place[side] ||
			    code[i].at > place[side] + CODE_NEAR)
				continue;
			if (!titled)
				puts("\nThe guest's code around, as far as these traces tell it:");
			titled = true;
			print_instruction(p, code[i].at, code[i].bytes, code[i].mode,
					  code[i].at == place[side] ? ">" : " ");
		}
	}
}

/* ------------------------------------------------------------------ the first difference */

static void print_event(const struct printing *p, const struct diff_hunk *hunk, int side,
			long offset, const char *mark)
{
	const struct trace_line *line = event_at(p, hunk, side, offset);

	if (!line)
		return;
	printf("  %s %s %-7lu", mark, side_names[side], line->number);
	put_event(stdout, line, &p->style);
	putchar('\n');
}

static void print_part(const struct printing *p, const struct diff_hunk *hunk, int side,
		       const char *mark)
{
	size_t count = hunk->part[side].count;

	for (size_t i = 0; i < count && i < SHOWN_EVENTS; i++)
		print_event(p, hunk, side, (long)i, mark);
	if (count > SHOWN_EVENTS)
		printf("  %s %s … and %zu more\n", mark, side_names[side], count - SHOWN_EVENTS);
}

static const char *line_text(unsigned long line, char *text, size_t size)
{
	if (line)
		snprintf(text, size, "line %lu", line);
	else
		snprintf(text, size, "the end");
	return text;
}

static void print_again(const struct printing *p)
{
	char a[32], b[32];
	const struct diff_hunk *h = p->first;
	unsigned long line[DIFF_SIDES];

	if (h->lost) {
		puts("\nThen nothing agrees any more on that vCPU.");
		return;
	}
	for (int side = 0; side < DIFF_SIDES; side++)
		line[side] = diff_line(p->diff, h, side, (long)h->part[side].count);
	if (line[DIFF_A] || line[DIFF_B])
		printf("\nThey go on together at %s of A, %s of B.\n",
		       line_text(line[DIFF_A], a, sizeof(a)),
		       line_text(line[DIFF_B], b, sizeof(b)));
}

static void print_first(const struct printing *p)
{
	const struct diff_hunk *h = p->first;
	const struct trace_line *a = event_at(p, h, DIFF_A, 0), *b = event_at(p, h, DIFF_B, 0);
	const struct trace_line *any = h->part[DIFF_A].count ? a : b;
	struct trace_who who = any ? field_who(any->json)
				   : (struct trace_who){ NOBODY, NOBODY, NOBODY };
	char whose[64], at[DIFF_SIDES][32];

	for (int side = 0; side < DIFF_SIDES; side++)
		line_text(h->part[side].line, at[side], sizeof(at[side]));
	printf("\n%sThey part%s at %s of A, %s of B (%s):\n\n", colour(&p->style, BOLD),
	       colour(&p->style, PLAIN), at[DIFF_A], at[DIFF_B],
	       who_text(&who, whose, sizeof(whose)));
	for (long i = -(long)p->text->context; i < 0; i++)
		print_event(p, h, DIFF_A, i, " ");
	print_part(p, h, DIFF_A, "-");
	print_part(p, h, DIFF_B, "+");
	if (h->part[DIFF_A].count && h->part[DIFF_B].count && same_event(a, b)) {
		putchar('\n');
		print_fields(p->diff, a->json, b->json, true);
	}
	print_code(p);
	print_again(p);
}

/* ------------------------------------------------------------------ the others */

/* "exit: word, rip"; "only in B: exit EINTR, run"; "exit IO / exit HLT" */
static void print_what(const struct printing *p, const struct diff_hunk *h)
{
	size_t na = h->part[DIFF_A].count, nb = h->part[DIFF_B].count;
	const struct trace_line *a = event_at(p, h, DIFF_A, 0), *b = event_at(p, h, DIFF_B, 0);
	char title[64];

	if (na && nb) {
		if (na == nb && same_event(a, b)) {
			put_safely(stdout, field_string(a->json, "event"));
			fputs(": ", stdout);
			print_fields(p->diff, a->json, b->json, false);
		} else {
			put_safely(stdout, a ? event_title(a, title, sizeof(title)) : "?");
			fputs(" / ", stdout);
			put_safely(stdout, b ? event_title(b, title, sizeof(title)) : "?");
		}
		if (na > 1 || nb > 1)
			printf(" … (%zu events / %zu)", na, nb);
		return;
	}
	printf("only in %s: ", na ? "A" : "B");
	for (size_t i = 0; i < na + nb && i < 3; i++) {
		const struct trace_line *line = event_at(p, h, na ? DIFF_A : DIFF_B, (long)i);

		fputs(i ? ", " : "", stdout);
		put_safely(stdout, line ? event_title(line, title, sizeof(title)) : "?");
	}
	if (na + nb > 3)
		printf(" … (%zu events)", na + nb);
}

static void print_list(const struct printing *p)
{
	const struct diff *d = p->diff;
	size_t shown = d->hunks < p->text->most ? d->hunks : p->text->most;

	printf("\n%sAll differences%s\n", colour(&p->style, BOLD), colour(&p->style, PLAIN));
	for (size_t i = 0; i < shown; i++) {
		const struct diff_hunk *h = &d->hunk[i];
		char a[32], b[32];

		printf("  A %-10s B %-10s  ", line_text(h->part[DIFF_A].line, a, sizeof(a)),
		       line_text(h->part[DIFF_B].line, b, sizeof(b)));
		print_what(p, h);
		puts(h->timing ? "  (timing)" : h->lost ? "  (and nothing agrees behind it)" : "");
	}
	if (d->hunks > shown)
		printf("  and %zu more\n", d->hunks - shown);
}

static void print_totals(const struct printing *p)
{
	const struct diff *d = p->diff;
	size_t differences = d->hunks - (p->timing ? d->timing : 0);

	/* what could not be read may differ */
	printf("\n%s%" PRIu64 " events agree, ",
	       differences                                  ? "They differ: "
	       : d->side[DIFF_A].bad || d->side[DIFF_B].bad ? "What could be read is the same: "
							    : "The same: ",
	       d->equal);
	printf("%zu difference%s", differences, differences == 1 ? "" : "s");
	if (d->timing)
		printf("; %zu extra %s by their timing%s", d->timing,
		       d->timing == 1 ? "place is explained" : "places are explained",
		       p->timing ? "" : " (--timing lets them pass)");
	putchar('\n');
}

/* ------------------------------------------------------------------ all of it */

/* What timing explains is not where they part, unless there is nothing else. */
static const struct diff_hunk *find_first(const struct diff *d)
{
	for (size_t i = 0; i < d->hunks; i++)
		if (!d->hunk[i].timing)
			return &d->hunk[i];
	return d->hunks ? &d->hunk[0] : NULL;
}

static int fetch_all(struct printing *p)
{
	const struct diff *d = p->diff;
	int error = 0;

	if (!p->first)
		return 0;
	want_around(p, p->first, p->text->context > CODE_BEFORE ? p->text->context : CODE_BEFORE,
		    CODE_BEHIND);
	for (size_t i = 0; i < d->hunks && i < p->text->most; i++)
		want_around(p, &d->hunk[i], 0, 3);
	error = p->error;
	for (int side = 0; side < DIFF_SIDES && !error; side++)
		error = fetch(p, side);
	return error;
}

int diff_text_print(const struct diff *diff, const struct diff_text *text, bool timing)
{
	struct printing p = { .diff = diff,
			      .text = text,
			      .timing = timing,
			      .first = find_first(diff),
			      .style = { style_wants_colours(stdout), text->symbols } };
	int error = fetch_all(&p);

	if (!error) {
		print_sources(diff);
		if (p.first)
			print_first(&p);
		if (p.first)
			print_list(&p);
		print_totals(&p);
	}
	for (int side = 0; side < DIFF_SIDES; side++) {
		for (size_t i = 0; i < p.lines[side].filled; i++)
			json_object_put(p.lines[side].line[i].event.json);
		free(p.lines[side].line);
		free(p.lines[side].number);
	}
	return error;
}

bool diff_text_code(struct diff_text *text, const char *argument)
{
	const char *at = strrchr(argument, '@');
	char *path = at ? strndup(argument, (size_t)(at - argument)) : NULL;
	FILE *file = NULL;
	bool good = false;

	if (!at || !parse_hex(at + 1, &text->code_at))
		complain("--code: '%s'? Give FILE@ADDRESS, in hexadecimal, such as "
			 "guest.bin@0x1000",
			 argument);
	else if (!path || !(file = fopen(path, "re")))
		complain("--code: %s: %s", path ? path : argument, strerror(errno));
	else {
		free(text->code);
		text->code = malloc(1 << 24);
		text->code_size = text->code ? fread(text->code, 1, 1 << 24, file) : 0;
		good = text->code && text->code_size && !ferror(file);
		if (!good)
			complain("--code: %s: it %s", path,
				 text->code && !ferror(file) ? "is empty" : "cannot be read");
	}
	if (file)
		fclose(file);
	free(path);
	return good;
}

void diff_text_free(struct diff_text *text)
{
	symbols_free(text->symbols);
	free(text->code);
}
