// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lines of tracepoints: ftrace's own, trace-cmd report's (with libtraceevent's plugin and without), perf
 * script's. They differ in what stands in front of "event:", and in kvm_exit's text (arch/x86/kvm/trace.h,
 * plugin_kvm.c): both are read from the event's name outwards, so that a task may have any name.
 */
#include "traces/import.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ text */

/* Goes on behind `word`, or stays. */
static bool skip(const char **p, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(*p, word, n) != 0)
		return false;
	*p += n;
	return true;
}

static void skip_blanks(const char **p)
{
	while (isblank((unsigned char)**p))
		(*p)++;
}

/* Decimal, 0x…, or without 0x (`base` 16). */
static bool number(const char **p, int base, uint64_t *value)
{
	char *end;

	if (!isxdigit((unsigned char)**p))
		return false;
	errno = 0;
	*value = strtoull(*p, &end, base);
	if (end == *p || errno)
		return false;
	*p = end;
	return true;
}

/* " NAME 0x…" */
static bool field(const char **p, const char *name, uint64_t *value)
{
	const char *q = *p;

	skip_blanks(&q);
	if (!skip(&q, name))
		return false;
	skip_blanks(&q);
	if (!number(&q, 16, value))
		return false;
	*p = q;
	return true;
}

static bool ends(const char *p)
{
	skip_blanks(&p);
	return !*p;
}

static void copy(char *to, size_t size, const char *from, size_t n)
{
	if (n >= size)
		n = size - 1;
	memcpy(to, from, n);
	to[n] = '\0';
}

/* ------------------------------------------------------------------ what stands in front */

/* The token that ends at `end`, at the start of `line` at the latest. */
static const char *token(const char *line, const char *end)
{
	while (end > line && !isblank((unsigned char)end[-1]))
		end--;
	return end;
}

static const char *before_blanks(const char *line, const char *end)
{
	while (end > line && isblank((unsigned char)end[-1]))
		end--;
	return end;
}

/* "24046.748163:" with any number of digits behind the point; `end` is behind the colon. */
static bool timestamp(const char *from, const char *end, struct import_event *e)
{
	uint64_t seconds, fraction = 0, scale = 1000000000;
	const char *p = from;

	if (end - from < 3 || end[-1] != ':' || !number(&p, 10, &seconds) || *p != '.')
		return false;
	for (p++; p < end - 1; p++) {
		if (!isdigit((unsigned char)*p))
			return false;
		if (scale >= 10) {
			scale /= 10;
			fraction += scale * (uint64_t)(*p - '0');
		}
	}
	if (seconds > UINT64_MAX / 1000000000 - 1)
		return false;
	e->has_time = true;
	e->time_ns = seconds * 1000000000 + fraction;
	return true;
}

/* The number at the end of [line, end): "run_guest-13556", "run_guest 13579", "comm 13579/13580". */
static void thread_at(const char *line, const char *end, struct import_event *e)
{
	const char *from = end;

	while (from > line && isdigit((unsigned char)from[-1]))
		from--;
	if (from == end || end - from > 9 ||
	    (from > line && !strchr("-/ \t", (unsigned char)from[-1])))
		return;
	e->has_thread = true;
	e->thread = (uint32_t)strtoul(from, NULL, 10);
}

/* "COMM-PID (TGID) [CPU] flags TIME:" and what perf makes of it; true if there is a time at least. */
static bool prefix(const char *line, const char *end, struct import_event *e)
{
	const char *from;

	end = before_blanks(line, end);
	from = token(line, end);
	if (!timestamp(from, end, e))
		return false;
	end = before_blanks(line, from);
	from = token(line, end);
	/* irqs-off, need-resched …: perf and trace-cmd leave them out; flags have no bracket */
	if (end > from && end[-1] != ']' && end - from <= 8 && from > line) {
		const char *before = before_blanks(line, from);

		if (before > line && before[-1] == ']') {
			end = before;
			from = token(line, end);
		}
	}
	if (end - from >= 3 && *from == '[' && end[-1] == ']') {
		const char *p = from + 1;
		uint64_t cpu;

		if (number(&p, 10, &cpu) && p == end - 1) {
			e->has_cpu = true;
			e->cpu = (uint32_t)cpu;
		}
		end = before_blanks(line, from);
	}
	/* the thread group, with the option record-tgid: "(  12345)" or "(-----)" */
	if (end > line && end[-1] == ')') {
		while (end > line && end[-1] != '(')
			end--;
		end = before_blanks(line, end > line ? end - 1 : end);
	}
	thread_at(line, end, e);
	return true;
}

/* ------------------------------------------------------------------ kvm_exit */

static void set_word(struct import_event *e, uint64_t word)
{
	e->has_word = true;
	e->word = (uint32_t)word;
}

/* "UNKNOWN (67108938)", of the plugin: the whole exit reason, whose table ended before it. */
static bool unknown_reason(const char *text, struct import_event *e)
{
	uint64_t word;

	if (!skip(&text, "UNKNOWN (") || !number(&text, 10, &word) || word > UINT32_MAX ||
	    strcmp(text, ")") != 0)
		return false;
	set_word(e, word);
	/* AMD's exits beyond the plugin's table do not come as UNKNOWN, but as EXIT_ERR. */
	e->isa = IMPORT_VMX;
	return true;
}

/* "0x4000000", "FAILED_VMENTRY", "FAILED_VMENTRY|0x4000000": VMX's modifier bits. */
static bool modifiers(const char *text, uint32_t *bits)
{
	uint64_t value;

	*bits = 0;
	while (*text) {
		if (skip(&text, "FAILED_VMENTRY"))
			*bits |= 1u << 31;
		else if (!strncmp(text, "0x", 2) && number(&text, 16, &value) &&
			 value <= UINT32_MAX && !(value & 0xffff))
			*bits |= (uint32_t)value;
		else
			return false;
		if (*text && !skip(&text, "|"))
			return false;
	}
	return *bits != 0;
}

/* The reason's text: a name, with modifier bits behind a blank, or a number. */
static bool reason(struct import_event *e)
{
	char name[sizeof(e->reason)];
	const char *p = e->reason;
	uint32_t bits = 0, basic;
	uint64_t value;
	char *blank;

	/* The plugin's end-of-table entry for what it does not know of AMD: which exit, it does not tell. */
	if (!strcmp(e->reason, "EXIT_ERR")) {
		e->isa = IMPORT_SVM;
		return true;
	}
	if (unknown_reason(e->reason, e))
		return true;
	if (import_exit_number(e->reason, &e->isa, &basic)) {
		set_word(e, basic);
		return true;
	}
	strcpy(name, e->reason);
	blank = strrchr(name, ' ');
	if (blank && modifiers(blank + 1, &bits))
		*blank = '\0';
	if (import_exit_number(name, &e->isa, &basic) && (!bits || e->isa == IMPORT_VMX)) {
		set_word(e, basic | bits);
		return true;
	}
	/* a number that this kernel has no name for */
	p = name;
	if (skip(&p, "0x") && number(&p, 16, &value) && !*p && value <= UINT32_MAX) {
		e->isa = bits ? IMPORT_VMX : IMPORT_ISA_UNKNOWN;
		set_word(e, value | bits);
		return true;
	}
	return false;
}

/* "info 83 0" of 5.9 and before, and of the plugin; "info1 0x… info2 0x… intr_info 0x… error_code 0x…". */
static bool information(const char **p, struct import_event *e)
{
	uint64_t interruption = 0, error = 0;

	if (field(p, "info ", &e->info1)) {
		skip_blanks(p);
		e->has_info = number(p, 16, &e->info2);
		return e->has_info;
	}
	if (!field(p, "info1", &e->info1))
		return true; /* very old ones have none */
	e->has_info = field(p, "info2", &e->info2);
	if (!e->has_info)
		return false;
	/* kvm_nested_vmexit under the plugin has other names */
	if (field(p, "intr_info", &interruption))
		e->has_interruption = field(p, "error_code", &error);
	else if (field(p, "int_info", &interruption))
		e->has_interruption = field(p, "int_info_err", &error);
	else
		return true;
	e->interruption = (uint32_t)interruption;
	e->error_code = (uint32_t)error;
	if (e->has_interruption)
		e->has_requests = field(p, "requests", &e->requests);
	return e->has_interruption;
}

static bool vcpu_number(const char **p, struct import_event *e)
{
	uint64_t vcpu;

	skip_blanks(p);
	if (!skip(p, "vcpu "))
		return true; /* older kernels, and the plugin */
	if (!number(p, 10, &vcpu) || vcpu > UINT32_MAX)
		return false;
	skip(p, ",");
	e->has_vcpu = true;
	e->vcpu = (uint32_t)vcpu;
	return true;
}

static bool vm_exit(const char *p, struct import_event *e)
{
	const char *rip;

	if (!vcpu_number(&p, e))
		return false;
	e->has_rip =
		field(&p, "rip", &e->rip); /* in front with kvm_nested_vmexit under the plugin */
	skip_blanks(&p);
	if (!skip(&p, "reason "))
		return false;
	rip = strstr(p, e->has_rip ? " info" : " rip ");
	if (!rip)
		return false;
	if ((size_t)(rip - p) >= sizeof(e->reason))
		return false;
	copy(e->reason, sizeof(e->reason), p, (size_t)(rip - p));
	if (!reason(e))
		return false;
	p = rip;
	if (!e->has_rip)
		e->has_rip = field(&p, "rip", &e->rip);
	return e->has_rip && information(&p, e) && ends(p);
}

/* ------------------------------------------------------------------ kvm_entry, kvm_userspace_exit */

static bool vm_entry(const char *p, struct import_event *e)
{
	uint64_t interruption, error;

	if (!vcpu_number(&p, e))
		return false;
	e->has_rip = field(&p, "rip", &e->rip);
	if (field(&p, "intr_info", &interruption)) {
		e->has_interruption = field(&p, "error_code", &error);
		if (!e->has_interruption)
			return false;
		e->interruption = (uint32_t)interruption;
		e->error_code = (uint32_t)error;
	}
	skip_blanks(&p);
	e->immediate_exit = skip(&p, "[immediate exit]");
	/* until 5.8 it told the vCPU alone */
	return (e->has_rip || e->has_vcpu) && ends(p);
}

/* "reason KVM_EXIT_IO (2)", "reason 0x21 (33)", "reason restart (4)", "reason error (14)" */
static bool userspace_exit(const char *p, struct import_event *e)
{
	const char *bracket;
	uint64_t value;

	skip_blanks(&p);
	if (!skip(&p, "reason "))
		return false;
	bracket = strchr(p, '(');
	if (!bracket)
		return false;
	copy(e->reason, sizeof(e->reason), p, (size_t)(before_blanks(p, bracket) - p));
	bracket++;
	if (!number(&bracket, 10, &value) || value > INT32_MAX || !skip(&bracket, ")") ||
	    !ends(bracket))
		return false;
	if (!strcmp(e->reason, "restart") || !strcmp(e->reason, "error")) {
		e->result = -(int)value;
		return true;
	}
	e->has_number = true;
	e->number = (uint32_t)value;
	return true;
}

/* ------------------------------------------------------------------ the line */

static const struct {
	const char *name;
	enum import_kind kind;
	bool nested;
	bool (*parse)(const char *text, struct import_event *e);
} tracepoints[] = {
	{ "kvm_exit", IMPORT_VM_EXIT, false, vm_exit },
	{ "kvm_nested_vmexit", IMPORT_VM_EXIT, true, vm_exit },
	{ "kvm_entry", IMPORT_VM_ENTRY, false, vm_entry },
	{ "kvm_userspace_exit", IMPORT_EXIT, false, userspace_exit },
};

static bool is_name(int c)
{
	return isalnum(c) || c == '_' || c == ':' || c == '-' || c == '.' || c == '/';
}

/*
 * "TIME: name: text": the first word that ends in a colon, stands behind a timestamp, and is followed by a
 * blank or nothing. Its start and its end without the colon.
 */
static const char *event_name(const char *line, const char **end, struct import_event *e)
{
	for (const char *colon = strchr(line, ':'); colon; colon = strchr(colon + 1, ':')) {
		const char *from = colon;

		if (colon[1] && !isblank((unsigned char)colon[1]))
			continue;
		while (from > line && is_name((unsigned char)from[-1]))
			from--;
		if (from == colon || (from > line && !isblank((unsigned char)from[-1])))
			continue;
		/* as people quote it: without what stands in front */
		if (!prefix(line, from, e) &&
		    (from != line + strspn(line, " \t") || strncmp(from, "kvm", 3) != 0))
			continue;
		*end = colon;
		return from;
	}
	return NULL;
}

static enum import_line lost(const char *line, struct import_event *e)
{
	const char *p = strstr(line, "[LOST ");

	if (!p && !(p = strstr(line, "EVENTS DROPPED")))
		return IMPORT_UNKNOWN;
	e->count = 0;
	if (skip(&p, "[LOST "))
		number(&p, 10, &e->count);
	return IMPORT_LOST;
}

/* Behind perf's "kvm:" there is the tracepoint's own name. */
static void set_name(struct import_event *e, const char *from, const char *end)
{
	const char *colon = memchr(from, ':', (size_t)(end - from));

	if (colon)
		from = colon + 1;
	copy(e->name, sizeof(e->name), from, (size_t)(end - from));
}

/* The function tracer: "… 468.269056: split_lock_warn <-handle_user_split_lock". */
static enum import_line function_call(const char *line, struct import_event *e)
{
	const char *arrow = strstr(line, " <-"), *from;

	if (!arrow)
		return IMPORT_UNKNOWN;
	from = token(line, arrow);
	if (from == arrow || !prefix(line, from, e))
		return IMPORT_UNKNOWN;
	copy(e->name, sizeof(e->name), from, (size_t)(arrow - from));
	if (strncmp(e->name, "split_lock_warn", 15) != 0 && !strstr(e->name, "bus_lock"))
		return IMPORT_OTHER;
	e->kind = IMPORT_MESSAGE;
	e->trap = strstr(e->name, "bus_lock") ? "DB" : "AC";
	copy(e->text, sizeof(e->text), from, strlen(from));
	return IMPORT_EVENT;
}

enum import_line import_parse_tracepoint(const char *line, struct import_event *e)
{
	const char *from, *end = NULL;

	from = event_name(line, &end, e);
	if (!from) {
		enum import_line call = function_call(line, e);

		return call == IMPORT_UNKNOWN ? lost(line, e) : call;
	}
	set_name(e, from, end);
	for (size_t i = 0; i < sizeof(tracepoints) / sizeof(tracepoints[0]); i++) {
		if (strcmp(e->name, tracepoints[i].name) != 0)
			continue;
		e->kind = tracepoints[i].kind;
		e->nested = tracepoints[i].nested;
		return tracepoints[i].parse(end + 1, e) ? IMPORT_EVENT : IMPORT_UNKNOWN;
	}
	return IMPORT_OTHER;
}
