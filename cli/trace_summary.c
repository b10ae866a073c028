// SPDX-License-Identifier: GPL-2.0-only
#include "cli/trace_summary.h"
#include "traces/symbols.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

/* A counter with a name; of a site the bytes of its instruction. */
struct row {
	uint64_t key, count;
	char text[64];
	unsigned mode;
	uint64_t rip;
};

/* Found by binary search in an order that is kept. */
struct rows {
	struct row *row;
	size_t count, room;
};

struct vcpu {
	struct trace_who who;
	uint64_t runs, exits, vm_exits, errors, locks, lock_exits;
	uint64_t in_run, begun; /* ns; begun: UINT64_MAX: not in KVM_RUN */
	uint64_t policy, host;  /* ns asleep */
};

struct trace_summary {
	uint64_t events[TRACE_EVENTS + 1], first, last;
	bool any;
	struct rows reasons, vm_reasons, sites;
	struct vcpu *vcpu;
	size_t vcpus, vcpu_room;
	size_t latest; /* the one that was asked for last */
};

struct trace_summary *summary_new(void)
{
	return calloc(1, sizeof(struct trace_summary));
}

void summary_free(struct trace_summary *s)
{
	if (!s)
		return;
	free(s->reasons.row);
	free(s->vm_reasons.row);
	free(s->sites.row);
	free(s->vcpu);
	free(s);
}

/* Room for one more; NULL without memory. */
static void *grow(void *list, size_t count, size_t *room, size_t each)
{
	void *more;

	if (count < *room)
		return list;
	more = reallocarray(list, *room * 2 + 16, each);
	if (more)
		*room = *room * 2 + 16;
	return more;
}

static struct row *row_of(struct rows *rows, uint64_t key)
{
	size_t low = 0, high = rows->count;
	struct row *row;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (rows->row[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < rows->count && rows->row[low].key == key)
		return &rows->row[low];
	row = grow(rows->row, rows->count, &rows->room, sizeof(*row));
	if (!row)
		return NULL;
	rows->row = row;
	memmove(row + low + 1, row + low, (rows->count++ - low) * sizeof(*row));
	row[low] = (struct row){ .key = key };
	return &row[low];
}

static struct vcpu *vcpu_of(struct trace_summary *s, struct trace_who who)
{
	struct vcpu *list;

	if (s->latest < s->vcpus && !memcmp(&s->vcpu[s->latest].who, &who, sizeof(who)))
		return &s->vcpu[s->latest];
	for (size_t i = 0; i < s->vcpus; i++)
		if (!memcmp(&s->vcpu[i].who, &who, sizeof(who))) {
			s->latest = i;
			return &s->vcpu[i];
		}
	list = grow(s->vcpu, s->vcpus, &s->vcpu_room, sizeof(*list));
	if (!list)
		return NULL;
	s->vcpu = list;
	s->latest = s->vcpus++;
	list[s->latest] = (struct vcpu){ .who = who, .begun = UINT64_MAX };
	return &list[s->latest];
}

static int add_exit(struct trace_summary *s, struct vcpu *vcpu, const struct trace_line *line)
{
	uint64_t time = field_time(line->json), reason = 0, flags = 0;
	struct row *row;
	int result = 0;

	vcpu->exits++;
	if (vcpu->begun <= time)
		vcpu->in_run += time - vcpu->begun;
	vcpu->begun = UINT64_MAX;
	field_signed(line->json, "result", &result);
	field_number(line->json, "reason", &reason);
	field_number(line->json, "flags", &flags);
	vcpu->errors += result < 0;
	vcpu->lock_exits += flags >> 1 & 1; /* KVM_RUN_X86_BUS_LOCK */
	/* after an error the reason may be that of an earlier exit */
	row = row_of(&s->reasons, result < 0 ? UINT64_MAX + (uint64_t)(int64_t)result + 1 : reason);
	if (!row)
		return -ENOMEM;
	if (!row->count++)
		event_title(line, row->text, sizeof(row->text));
	return 0;
}

/* Of imported logs: the processor's exits. */
static int add_vm_exit(struct trace_summary *s, struct vcpu *vcpu, const struct trace_line *line)
{
	uint64_t reason = UINT64_MAX;
	struct row *row;

	field_number(line->json, "reason", &reason);
	vcpu->lock_exits += field_true(line->json, "bus_lock");
	vcpu->vm_exits++;
	row = row_of(&s->vm_reasons, reason);
	if (!row)
		return -ENOMEM;
	if (!row->count++)
		event_title(line, row->text, sizeof(row->text));
	return 0;
}

static int add_lock(struct trace_summary *s, struct vcpu *vcpu, const struct trace_line *line)
{
	const char *bytes = field_string(line->json, "bytes");
	uint64_t place = 0, mode = 64;
	struct row *row;

	vcpu->locks++;
	field_number(line->json, "linear_rip", &place);
	row = row_of(&s->sites, place);
	if (!row)
		return -ENOMEM;
	if (row->count++)
		return 0;
	field_number(line->json, "mode", &mode);
	field_number(line->json, "rip", &row->rip);
	row->mode = (unsigned)mode;
	snprintf(row->text, sizeof(row->text), "%s", bytes ? bytes : "");
	return 0;
}

int summary_add(struct trace_summary *s, const struct trace_line *line)
{
	uint64_t time = field_time(line->json), ns = 0;
	const char *who = field_string(line->json, "who");
	struct vcpu *vcpu;

	if (line->kind != TRACE_LINE_EVENT)
		return 0;
	s->events[line->event < 0 ? TRACE_EVENTS : line->event]++;
	if (!s->any || time < s->first)
		s->first = time;
	s->any = true;
	if (time > s->last)
		s->last = time;
	vcpu = vcpu_of(s, field_who(line->json));
	if (!vcpu)
		return -ENOMEM;
	switch (line->event) {
	case TRACE_RUN:
		vcpu->runs++;
		vcpu->begun = time;
		return 0;
	case TRACE_EXIT:
		return add_exit(s, vcpu, line);
	case TRACE_VM_EXIT:
		return add_vm_exit(s, vcpu, line);
	case TRACE_BUS_LOCK:
		return add_lock(s, vcpu, line);
	case TRACE_SLEEP:
		field_number(line->json, "ns", &ns);
		*(who && !strcmp(who, "host") ? &vcpu->host : &vcpu->policy) += ns;
		return 0;
	default:
		return 0;
	}
}

/* ------------------------------------------------------------------ printing */

static int more_first(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->count != y->count)
		return x->count < y->count ? 1 : -1;
	return x->key < y->key ? -1 : x->key > y->key;
}

static void print_rows(FILE *out, const char *title, const struct rows *rows)
{
	struct row *row = calloc(rows->count + 1, sizeof(*row));

	if (row && rows->count) {
		memcpy(row, rows->row, rows->count * sizeof(*row));
		qsort(row, rows->count, sizeof(*row), more_first);
		fprintf(out, "  %s\n", title);
		for (size_t i = 0; i < rows->count; i++) {
			fprintf(out, "    %12" PRIu64 "  ", row[i].count);
			put_safely(out, row[i].text);
			fputc('\n', out);
		}
	}
	free(row);
}

/* As an event of its own, so that it looks like one. */
static void print_site(FILE *out, const struct row *row, const struct trace_style *style)
{
	char text[200], name[128];

	instruction_text(row->text, row->mode, row->rip, text, sizeof(text));
	symbols_format(style->symbols, row->key, name, sizeof(name));
	fprintf(out, "    %12" PRIu64 "  %#" PRIx64 "  %s", row->count, row->key, text);
	if (*name) {
		fputs("  <", out);
		put_safely(out, name);
		fputc('>', out);
	}
	fputc('\n', out);
}

static void print_sites(FILE *out, const struct rows *sites, const struct trace_style *style,
			unsigned top)
{
	struct row *row = calloc(sites->count + 1, sizeof(*row));

	if (row && sites->count && top) {
		memcpy(row, sites->row, sites->count * sizeof(*row));
		qsort(row, sites->count, sizeof(*row), more_first);
		fprintf(out, "  bus locks by place (%zu of %zu)\n",
			top < sites->count ? (size_t)top : sites->count, sites->count);
		for (size_t i = 0; i < sites->count && i < top; i++)
			print_site(out, &row[i], style);
	}
	free(row);
}

static void print_vcpu(FILE *out, const struct vcpu *v)
{
	char who[64], run[40], policy[40], host[40];

	if (!v->runs && !v->exits && !v->vm_exits && !v->locks && !v->policy && !v->host)
		return;
	fprintf(out, "    %-12s %8" PRIu64 " runs, %s in KVM_RUN; %" PRIu64 " exits",
		who_text(&v->who, who, sizeof(who)), v->runs,
		duration_text(v->in_run, run, sizeof(run)), v->exits);
	if (v->errors)
		fprintf(out, " (%" PRIu64 " errors)", v->errors);
	if (v->vm_exits)
		fprintf(out, "; %" PRIu64 " VM exits", v->vm_exits);
	fprintf(out, "; %" PRIu64 " bus locks, %" PRIu64 " flagged", v->locks, v->lock_exits);
	if (v->policy)
		fprintf(out, "; policy slept %s", duration_text(v->policy, policy, sizeof(policy)));
	if (v->host)
		fprintf(out, "; host slept %s", duration_text(v->host, host, sizeof(host)));
	fputc('\n', out);
}

void summary_print(FILE *out, const struct trace_summary *s, const struct trace_style *style,
		   unsigned top)
{
	char text[40];

	fprintf(out, "%sSummary%s\n  time   %s\n  events", colour(style, BOLD),
		colour(style, PLAIN), duration_text(s->last - s->first, text, sizeof(text)));
	for (int i = 0; i <= TRACE_EVENTS; i++)
		if (s->events[i])
			fprintf(out, " %s=%" PRIu64,
				i < TRACE_EVENTS ? trace_event_name((enum trace_event)i)
						 : "unknown",
				s->events[i]);
	fputc('\n', out);
	print_rows(out, "exits by reason", &s->reasons);
	print_rows(out, "VM exits by reason", &s->vm_reasons);
	if (s->vcpus)
		fputs("  vCPUs\n", out);
	for (size_t i = 0; i < s->vcpus; i++)
		print_vcpu(out, &s->vcpu[i]);
	print_sites(out, &s->sites, style, top);
}
