// SPDX-License-Identifier: GPL-2.0-only
/* The end of a run: where the report goes and whether the expectations held. */
#include "cli/cli.h"
#include "traces/trace_pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOP_SITES 10

void output_default(struct output *output, const char *prefix)
{
	*output = (struct output){ .prefix = prefix, .top = TOP_SITES };
}

void output_set_report(struct output *output, const char *argument)
{
	const char *dot;

	output->wanted = true;
	output->format = REPORT_TEXT;
	output->file = NULL;
	if (!argument || !strcmp(argument, "text"))
		return;
	if (!strcmp(argument, "none")) {
		output->wanted = false;
	} else if (!strcmp(argument, "json")) {
		output->format = REPORT_JSON;
	} else if (!strncmp(argument, "json:", 5)) {
		output->format = REPORT_JSON;
		output->file = argument + 5;
	} else if (!strncmp(argument, "text:", 5)) {
		output->file = argument + 5;
	} else {
		dot = strrchr(argument, '.');
		if (dot && !strcmp(dot, ".json"))
			output->format = REPORT_JSON;
		output->file = argument;
	}
}

/* Judges a report in which nothing happened: what matters is only whether it is understood. */
bool output_check(const struct output *output)
{
	struct report *report;
	char why[512];
	int result;

	if (!output->expect)
		return true;
	report = calloc(1, sizeof(*report));
	if (!report) {
		complain("%s--expect: out of memory", output->prefix);
		return false;
	}
	report->counting = output->counting;
	report->blind = output->blind;
	result = report_expect(report, output->expect, why, sizeof(why));
	free(report);
	if (result >= 0)
		return true;
	complain("%s--expect: %s", output->prefix, why);
	return false;
}

bool same_file(const char *a, const char *b)
{
	struct stat x, y;

	if (!a || !b)
		return false;
	if (!strcmp(a, b))
		return true;
	return !stat(a, &x) && !stat(b, &y) && S_ISREG(x.st_mode) && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* As fopen(file, "w") would find it, but nothing is changed. */
static int writable(const char *file)
{
	struct stat st;
	int fd;

	if (!stat(file, &st)) {
		if (S_ISDIR(st.st_mode))
			return -EISDIR;
		return access(file, W_OK) ? -errno : 0;
	}
	fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	close(fd);
	unlink(file);
	return 0;
}

bool output_check_files(const struct output *output, const char *guest)
{
	const char *report = output->wanted ? output->file : NULL;
	int error = report ? writable(report) : 0;

	if (same_file(output->trace, guest) || same_file(report, guest)) {
		complain("%s%s: it is the guest's image; name another file for the %s",
			 output->prefix, guest, same_file(report, guest) ? "report" : "trace");
	} else if (same_file(output->trace, report)) {
		complain("%s%s: it can't be both --trace's and --report's file", output->prefix,
			 report);
	} else if (error) {
		complain("%s--report: '%s': %s", output->prefix, report, strerror(-error));
	} else if (same_file(output->folded, guest) || same_file(output->folded, report) ||
		   same_file(output->folded, output->trace)) {
		complain("%s--folded: %s: it has another use in this run; name another file",
			 output->prefix, output->folded);
	} else if (output->folded && (error = writable(output->folded)) != 0) {
		complain("%s--folded: '%s': %s", output->prefix, output->folded, strerror(-error));
	} else {
		return true;
	}
	return false;
}

bool output_add_symbols(struct output *output, const char *file)
{
	char why[256];

	if (output->symbol_files == OUTPUT_SYMBOLS) {
		complain("%s--symbols: %s: more than %d files", output->prefix, file,
			 OUTPUT_SYMBOLS);
		return false;
	}
	if (symbols_check(file, why, sizeof(why))) {
		complain("%s--symbols: %s", output->prefix, why);
		return false;
	}
	output->symbols[output->symbol_files++] = file;
	return true;
}

static int print_folded(const struct output *output, const struct report *report,
			const struct symbols *symbols)
{
	FILE *out = fopen(output->folded, "w");
	int error = out ? report_print_folded(out, report, symbols) : -errno;

	if (out && fclose(out) && !error)
		error = -errno;
	if (!error)
		return STATUS_OK;
	complain("%s--folded: %s: %s", output->prefix, output->folded, strerror(-error));
	return STATUS_FAILED;
}

static int print(const struct output *output, const struct report *report,
		 const struct symbols *symbols)
{
	FILE *out = output->file ? fopen(output->file, "w") : stderr;
	int error;

	if (!out) {
		complain("%s--report: %s: %s", output->prefix, output->file, strerror(errno));
		return STATUS_FAILED;
	}
	error = report_print(out, report, output->format, symbols, output->top);
	if (output->file && fclose(out) && !error)
		error = -errno;
	if (!error)
		return STATUS_OK;
	complain("%s--report: %s: %s", output->prefix,
		 output->file ? output->file : "standard error", strerror(-error));
	return STATUS_FAILED;
}

static int judge(const struct output *output, const struct report *report)
{
	char why[512];
	int result = report_expect(report, output->expect, why, sizeof(why));

	if (!result)
		return STATUS_OK;
	complain("%s--expect: %s", output->prefix, why);
	return result == 1 ? STATUS_NOT_HELD : STATUS_FAILED;
}

int output_finish(const struct output *output, const struct report *report,
		  const struct symbols *symbols)
{
	struct symbols *own = NULL;
	char why[256];
	int status = STATUS_OK, judged;

	/* A missing name is no reason to lose the numbers. */
	for (unsigned i = 0; (output->wanted || output->folded) && i < output->symbol_files; i++)
		if (symbols_add(&own, output->symbols[i], why, sizeof(why)))
			complain("%s--symbols: %s", output->prefix, why);
	if (own)
		symbols = own;
	if (output->wanted)
		status = print(output, report, symbols);
	if (output->folded && !status)
		status = print_folded(output, report, symbols);
	symbols_free(own);
	if (!output->expect)
		return status;
	judged = judge(output, report);
	return judged ? judged : status;
}

int output_begin_trace(const struct output *output, struct trace *trace,
		       struct trace_counts *counts, const struct trace_header *header)
{
	char why[128];

	*trace = (struct trace){ .fd = -1 };
	if (!output->trace)
		return STATUS_OK;
	if (!trace_create(trace, output->trace, counts, header, why, sizeof(why))) {
		int error = trace_pack_start(&trace->pack, trace->fd, output->trace);

		if (error)
			complain("%s--trace: %s: it will not be compressed: %s", output->prefix,
				 output->trace, strerror(-error));
		return STATUS_OK;
	}
	complain("%s--trace: %s: %s", output->prefix, output->trace, why);
	return STATUS_USAGE;
}

int output_end_trace(const struct output *output, struct trace *trace, const struct trace_end *end)
{
	int error, packed;

	if (!trace->counts)
		return STATUS_OK;
	error = trace_finish(trace, end);
	packed = trace_pack_finish(trace->pack);
	trace->pack = NULL;
	if (packed)
		complain("%s--trace: %s: the trace is complete, but stays in two files, the other "
			 "one is %s.part; keep them together: %s",
			 output->prefix, output->trace, output->trace, strerror(-packed));
	if (error == -EIO)
		complain("%s--trace: %s: %llu events could not be written and are not in it",
			 output->prefix, output->trace, (unsigned long long)trace->counts->lost);
	else if (error)
		complain("%s--trace: %s: %s", output->prefix, output->trace, strerror(-error));
	trace_close(trace);
	return error ? STATUS_FAILED : STATUS_OK;
}
