// SPDX-License-Identifier: GPL-2.0-only
/* The command: asks, records, writes JSON Lines. traces/README.md describes the file. */
#include "traces/recorder/recorder.h"

#include <argp.h>
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_OK, STATUS_FAILED, STATUS_REFUSED };

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *format, ...)
{
	va_list arguments;

	fputs("record-latency: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
}

/* ------------------------------------------------------------------ what has been spent */

/*
 * Split locks that the recordings into this file have executed: what its header carries over, and
 * what each row announces. A row announces before it executes, so that a recording that died counts.
 * -1: no such file.
 */
static long spent_in(const char *path)
{
	static const char *const keys[] = { "\"splits_before\":", "\"splits\":" };
	FILE *file = fopen(path, "r");
	char *line = NULL;
	size_t size = 0;
	long spent = 0;

	if (!file)
		return -1;
	while (getline(&line, &size, file) > 0) {
		for (int i = 0; i < 2; i++) {
			const char *at = strstr(line, keys[i]);

			if (at)
				spent += strtol(at + strlen(keys[i]), NULL, 10);
		}
	}
	free(line);
	fclose(file);
	return spent;
}

/* ------------------------------------------------------------------ the machine's description */

static void cpuid_text(uint32_t leaf, const char *order, char *text)
{
	uint32_t reg[4] = { 0 };

	__cpuid(leaf, reg[0], reg[1], reg[2], reg[3]);
	for (; *order; order++, text += 4)
		memcpy(text, &reg[*order - 'a'], 4);
	*text = 0;
}

static void put_text(FILE *out, const char *key, const char *text)
{
	fprintf(out, ",\"%s\":\"", key);
	for (; *text; text++)
		if (*text >= ' ' && *text != '"' && *text != '\\')
			fputc(*text, out);
	fputc('"', out);
}

/* The hypervisor may show another number, or none: what /proc/cpuinfo has, as it is. */
static void put_microcode(FILE *out)
{
	FILE *file = fopen("/proc/cpuinfo", "r");
	char line[256] = "", *value;

	while (file && fgets(line, sizeof(line), file) && strncmp(line, "microcode", 9) != 0)
		;
	value = strncmp(line, "microcode", 9) ? NULL : strstr(line, "0x");
	if (value)
		put_text(out, "microcode", value);
	else
		fputs(",\"microcode\":null", out);
	if (file)
		fclose(file);
}

static void put_cpu(FILE *out)
{
	char vendor[13], brand[49] = "", hypervisor[13];
	uint32_t a, b, c, d, family, model;

	cpuid_text(0, "bdc", vendor);
	put_text(out, "vendor", vendor);
	if ((unsigned)__get_cpuid_max(0x80000000, NULL) >= 0x80000004)
		for (uint32_t i = 0; i < 3; i++)
			cpuid_text(0x80000002 + i, "abcd", brand + (size_t)16 * i);
	put_text(out, "model_name", brand);
	__cpuid(1, a, b, c, d);
	family = a >> 8 & 15;
	model = a >> 4 & 15;
	if (family == 6 || family == 15)
		model |= a >> 12 & 0xf0;
	if (family == 15)
		family += a >> 20 & 0xff;
	fprintf(out, ",\"family\":%u,\"model\":%u,\"stepping\":%u", family, model, a & 15);
	put_microcode(out);
	if (c >>
	    31) { /* SDM vol. 2, CPUID: bit 31 is clear on metal; leaf 40000000 by convention */
		cpuid_text(0x40000000, "bcd", hypervisor);
		put_text(out, "hypervisor", hypervisor);
	} else {
		fputs(",\"hypervisor\":null", out);
	}
}

static void put_header(FILE *out, const struct plan *plan, unsigned planned, unsigned before)
{
	struct utsname system;
	char date[32];
	time_t now = time(NULL);

	fputs("{\"schema\":\"buslock-latency\",\"version\":1", out);
	put_cpu(out);
	uname(&system);
	put_text(out, "kernel", system.release);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
	put_text(out, "date", date);
	fprintf(out,
		",\"tsc_khz\":%u,\"line\":%u,\"nothing\":%u,\"runs_inside\":%u,\"runs_split\":%u,"
		"\"pause_ms\":%u,\"splits_planned\":%u,\"splits_before\":%u}\n",
		measure_tsc_khz(), LINE, measure_nothing(), plan->inside, plan->split,
		SPLIT_PAUSE_MS, planned, before);
}

/* ------------------------------------------------------------------ a row */

static void put_hex(FILE *out, const char *key, const uint8_t *bytes, unsigned count)
{
	fprintf(out, ",\"%s\":\"", key);
	for (unsigned i = 0; i < count; i++)
		fprintf(out, "%02x", bytes[i]);
	fputc('"', out);
}

static void put_numbers(FILE *out, const char *key, const unsigned *values, const unsigned *runs)
{
	fprintf(out, ",\"%s\":[", key);
	for (unsigned i = 0; i < LINE; i++) {
		if (i)
			fputc(',', out);
		if (runs[i])
			fprintf(out, "%u", values[i]);
		else
			fputs("null", out); /* not executed, or a fault */
	}
	fputc(']', out);
}

static void put_state(FILE *out, unsigned size, const uint8_t *memory, uint64_t rax, uint64_t rbx,
		      uint64_t rcx, uint64_t rdx, uint32_t flags)
{
	fprintf(out, "\"flags\":\"%" PRIx32 "\"", flags);
	put_hex(out, "memory", memory, size);
	fprintf(out,
		",\"rax\":\"%" PRIx64 "\",\"rbx\":\"%" PRIx64 "\",\"rcx\":\"%" PRIx64
		"\",\"rdx\":\"%" PRIx64 "\"",
		rax, rbx, rcx, rdx);
}

/* Before the form is executed: see spent_in(). */
static void put_announcement(FILE *out, const struct form *form, unsigned splits)
{
	fprintf(out, "{\"form\":\"%s\"", form->name);
	put_hex(out, "code", form->code, form->length);
	fprintf(out, ",\"size\":%u,\"displacement\":%d,\"splits\":%u,\"start\":{", form->size,
		form->displacement, splits);
	put_state(out, form->size, form->memory, form->rax, form->rbx, form->rcx, form->rdx,
		  form->flags);
	fputc('}', out);
	fflush(out);
}

static void put_row(FILE *out, const struct form *form, const struct row *row)
{
	put_numbers(out, "min", row->min, row->runs);
	put_numbers(out, "median", row->median, row->runs);
	put_numbers(out, "mean10", row->mean10, row->runs);
	put_numbers(out, "runs", row->runs, row->runs);
	fputs(",\"outcomes\":[", out);
	for (unsigned i = 0; i < row->outcome_count; i++) {
		const struct outcome *o = &row->outcomes[i].outcome;

		fprintf(out, "%s{\"executions\":%u,\"first_offset\":%u,", i ? "," : "",
			row->outcomes[i].executions, row->outcomes[i].first_offset);
		if (o->fault)
			fputs("\"fault\":\"#GP\"", out);
		else
			put_state(out, form->size, o->memory, o->rax, o->rbx, o->rcx, o->rdx,
				  o->flags);
		fputc('}', out);
	}
	fputs("]}\n", out);
	fflush(out);
}

/* ------------------------------------------------------------------ recording */

static const char *why_failed(int error)
{
	switch (error) {
	case -EDQUOT:
		return "no more split locks are allowed";
	case -EOVERFLOW:
		return "its executions came out in more ways than a row has room for";
	case -EFAULT:
		return "it wrote beside its operand";
	case -EPERM:
		return "the kernel punishes split locks; boot it with split_lock_detect=off";
	default:
		return strerror(-error);
	}
}

static int record(FILE *out, const struct plan *plan, const struct form *forms, size_t count)
{
	static struct row row;
	int r = 0;

	for (size_t i = 0; i < count && !r; i++) {
		put_announcement(out, &forms[i], plan_splits(plan, &forms[i]));
		r = measure_form(&forms[i], plan, &row);
		if (r)
			complain("%s: %s", forms[i].name, why_failed(r));
		else
			put_row(out, &forms[i], &row);
	}
	if (!r)
		fprintf(out, "{\"rows\":%zu,\"splits_executed\":%u}\n", count, measure_splits());
	return r;
}

/* ------------------------------------------------------------------ the command */

struct request {
	bool dry_run, really, again;
	unsigned repeat;
	const char *path;
};

enum { OPTION_DRY_RUN = 256, OPTION_REALLY, OPTION_AGAIN, OPTION_REPEAT };

static const struct argp_option options[] = {
	{ "dry-run", OPTION_DRY_RUN, NULL, 0, "Only operands within the line: no split lock", 0 },
	{ "yes-really", OPTION_REALLY, NULL, 0, "Execute split locks, after asking", 0 },
	{ "again", OPTION_AGAIN, NULL, 0,
	  "Replace FILE; what it has spent counts against the budget all the same", 0 },
	{ "repeat", OPTION_REPEAT, "N", 0, "Executions of each split form: 1 to 9, default 3", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct request *request = state->input;

	switch (key) {
	case OPTION_DRY_RUN:
		request->dry_run = true;
		break;
	case OPTION_REALLY:
		request->really = true;
		break;
	case OPTION_AGAIN:
		request->again = true;
		break;
	case OPTION_REPEAT:
		if (*text < '1' || *text > '9' || text[1]) {
			complain("--repeat: '%s' is not a number from 1 to 9", text);
			return EINVAL;
		}
		request->repeat = (unsigned)(*text - '0');
		break;
	case ARGP_KEY_ARG:
		if (request->path)
			return ARGP_ERR_UNKNOWN;
		request->path = text;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static bool confirmed(const char *path, unsigned planned)
{
	char sentence[64], typed[128] = "";

	guard_sentence(planned, sentence, sizeof(sentence));
	fprintf(stderr,
		"This executes %u split locks, at most one every %u ms, and writes %s.\n"
		"Each stops all cores of this machine (of a virtual one: of its host, with whoever "
		"else is on it)\nfor around a microsecond. To go on, type: %s\n> ",
		planned, SPLIT_PAUSE_MS, path, sentence);
	if (!fgets(typed, sizeof(typed), stdin))
		return false;
	typed[strcspn(typed, "\r\n")] = 0;
	return guard_confirms(planned, typed);
}

/* What is recorded takes FILE's place only when it is whole. */
static int record_to_file(const struct request *request, const char *part, const struct plan *plan,
			  const struct form *forms, size_t count, unsigned before)
{
	unsigned planned = plan_total(plan, forms, count);
	FILE *out = fopen(part, "w");
	int r;

	if (!out) {
		complain("%s: %s", part, strerror(errno));
		return -errno;
	}
	put_header(out, plan, planned, before);
	r = record(out, plan, forms, count);
	if (fclose(out) && !r) {
		r = -errno;
		complain("%s: %s", part, strerror(errno));
	}
	if (!r && rename(part, request->path)) {
		r = -errno;
		complain("%s: %s", request->path, strerror(errno));
	}
	return r;
}

int main(int argc, char **argv)
{
	static const struct argp argp = { options,
					  parse_option,
					  "FILE",
					  "Records how long every form of every lockable "
					  "instruction takes at every offset of a "
					  "cache line, and what it leaves behind.",
					  NULL,
					  NULL,
					  NULL };
	static struct form forms[MAX_FORMS];
	struct request request = { .repeat = 3 };
	size_t count = forms_build(forms);
	const char *ci = getenv("CI");
	char part[4096], why[256];
	long finished, partial;
	int r;

	argp_err_exit_status = 2; /* as every command of the tree */
	if (argp_parse(&argp, argc, argv, 0, NULL, &request))
		return STATUS_REFUSED;
	if (!request.path) {
		complain("where to? record-latency (--dry-run | --yes-really) FILE");
		return STATUS_REFUSED;
	}
	snprintf(part, sizeof(part), "%s.part", request.path);
	finished = spent_in(request.path);
	partial = spent_in(part); /* has carried over what was in FILE */

	struct plan plan = { .inside = 100, .split = request.dry_run ? 0 : request.repeat };
	struct circumstances now = {
		.dry_run = request.dry_run,
		.really = request.really,
		.again = request.again,
		.record_exists = finished >= 0 || partial >= 0,
		.ci = ci && *ci,
		.terminal = isatty(0) && isatty(2),
		.spent = (unsigned)(partial >= 0    ? partial
				    : finished >= 0 ? finished
						    : 0),
		.planned = plan_total(&plan, forms, count),
	};
	if (!guard_allows(&now, why, sizeof(why))) {
		complain("%s: %s", request.path, why);
		return STATUS_REFUSED;
	}
	if (!request.dry_run && !confirmed(request.path, now.planned)) {
		complain("not confirmed: nothing was executed");
		return STATUS_REFUSED;
	}
	r = measure_begin();
	if (r) {
		complain("cannot prepare: %s", strerror(-r));
		return STATUS_FAILED;
	}
	measure_allow(now.planned);
	return record_to_file(&request, part, &plan, forms, count, now.spent) ? STATUS_FAILED
									      : STATUS_OK;
}
