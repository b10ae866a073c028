// SPDX-License-Identifier: GPL-2.0-only
/* The report for people. */
#include "traces/report_text.h"

#include "emu/disasm.h"
#include "traces/symbols.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#define NSEC_PER_SEC 1e9

const char *report_cause_name(unsigned bit)
{
	switch (bit) {
	case REPORT_SPLIT:
		return "split";
	case REPORT_NON_WB:
		return "non_wb";
	case REPORT_STUFFED:
		return "stuffed";
	}
	return "none";
}

const char *report_stuffed_name(unsigned stuffed)
{
	static const char *const names[] = { "none", "paging", "descriptor", "busy" };

	return stuffed < sizeof(names) / sizeof(names[0]) ? names[stuffed] : "unknown";
}

void report_instruction(const struct report_lock *lock, char *out, size_t size)
{
	if (lock->insn_length &&
	    !disasm_text(out, size, lock->insn, lock->insn_length, lock->rip, lock->mode))
		return;
	snprintf(out, size, lock->in_delivery ? "(event delivery)" : "(bad)");
}

bool report_locate(const struct symbols *symbols, const struct report_lock *lock,
		   struct symbol_place *place)
{
	size_t n = lock->insn_length < sizeof(lock->insn) ? lock->insn_length : sizeof(lock->insn);

	return symbols_locate(symbols, lock->linear_rip, lock->insn, n, place);
}

/* "name+0x12 (program)", the file only where there are several */
static void symbol_text(const struct symbols *symbols, const struct report_lock *lock, char *out,
			size_t size)
{
	struct symbol_place place;
	const char *slash;
	char offset[24] = "";

	*out = '\0';
	if (!report_locate(symbols, lock, &place))
		return;
	slash = strrchr(place.file, '/');
	if (place.offset)
		snprintf(offset, sizeof(offset), "+0x%" PRIx64, place.offset);
	if (symbols_several(symbols))
		snprintf(out, size, "%s%s (%s)", place.name, offset,
			 slash ? slash + 1 : place.file);
	else
		snprintf(out, size, "%s%s", place.name, offset);
}

void report_bytes(const struct report_lock *lock, char *out, size_t size)
{
	out[0] = '\0';
	for (size_t i = 0; i < lock->insn_length && 2 * i + 3 <= size; i++)
		snprintf(out + 2 * i, 3, "%02x", lock->insn[i]);
}

const char *report_exit_text(unsigned reason, char *buffer, size_t size)
{
	const char *name = report_exit_name(reason);

	if (name)
		return name;
	snprintf(buffer, size, "REASON_%u", reason);
	return buffer;
}

/* "1.234 s" or, below a second, "1.234 ms" */
static const char *duration(uint64_t ns, char out[32])
{
	bool seconds = ns >= 1000000000;

	snprintf(out, 32, "%.3f %s", (double)ns / (seconds ? 1e9 : 1e6), seconds ? "s" : "ms");
	return out;
}

/* 1234567 → "1,234,567" */
static const char *grouped(uint64_t value, char out[32])
{
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%" PRIu64, value);
	char *p = out;

	for (int i = 0; i < n; i++) {
		if (i && (n - i) % 3 == 0)
			*p++ = ',';
		*p++ = digits[i];
	}
	*p = '\0';
	return out;
}

static void line(FILE *out, const char *label, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void line(FILE *out, const char *label, const char *format, ...)
{
	va_list arguments;

	fprintf(out, "  %-18s", label);
	va_start(arguments, format);
	vfprintf(out, format, arguments);
	va_end(arguments);
	fputc('\n', out);
}

static void print_accesses(FILE *out, const struct report_row *all)
{
	char a[32], b[32], c[32], d[32];

	line(out, "locked accesses", "%15s", grouped(all->locked, a));
	line(out, "bus locks", "%15s   split %s, non-WB %s, stuffed %s", grouped(all->bus_locks, a),
	     grouped(all->split, b), grouped(all->non_wb, c), grouped(all->stuffed, d));
	if (all->guest_non_wb)
		line(out, "uncached to guest",
		     "%15s   locked accesses to memory that it believes not to be write-back",
		     grouped(all->guest_non_wb, a));
}

static void print_locks(FILE *out, const struct report_totals *t, bool blind)
{
	const struct report_row *all = &t->all;
	char a[32], b[32], c[32], d[32];

	if (blind)
		line(out, "bus locks", "%15s   only those that exit are told", "not seen");
	else
		print_accesses(out, all);
	line(out, "bus-lock returns", "%15s   rate let through %.1f per second",
	     grouped(all->flags, a), report_rate(all));
	if (all->host_traps)
		line(out, "host #AC traps", "%15s   slept %s, messages %s, suppressed %s",
		     grouped(all->host_traps, a), duration(all->host_slept_ns, b),
		     grouped(all->host_messages, c), grouped(all->host_suppressed, d));
	if (t->counting)
		line(out, "instructions", "%15s", grouped(all->instructions, a));
	else
		line(out, "instructions", "%15s", "not counted");
}

static void print_exits(FILE *out, const struct report_row *all)
{
	char a[32], name[24];

	line(out, "KVM_RUN calls", "%15s", grouped(all->runs, a));
	for (unsigned i = 0; i < REPORT_REASONS; i++)
		if (all->exits[i])
			fprintf(out, "    %-16s%15s\n", report_exit_text(i, name, sizeof(name)),
				grouped(all->exits[i], a));
	if (all->interrupted)
		fprintf(out, "    %-16s%15s\n", "(EINTR)", grouped(all->interrupted, a));
	if (all->errors)
		fprintf(out, "    %-16s%15s\n", "(other errors)", grouped(all->errors, a));
}

static void print_vcpus(FILE *out, const struct report_totals *t)
{
	char a[32], b[32], c[32], d[32], e[32];

	fputs("\n  vCPU           runs         locked      bus locks   in KVM_RUN    throttled  "
	      "rate/s\n",
	      out);
	for (unsigned i = 0; i < t->rows; i++) {
		const struct report_row *row = &t->vcpu[i];

		fprintf(out, "  %3u%c %14s %14s %14s %12s %12s %7.1f\n", i,
			i == REPORT_VCPUS - 1 ? '+' : ' ', grouped(row->runs, a),
			grouped(row->locked, b), grouped(row->bus_locks, c),
			duration(row->run_ns, d), duration(row->throttled_ns, e), report_rate(row));
	}
}

static void print_place(FILE *out, const struct report_place *place, uint64_t all,
			const struct symbols *symbols)
{
	const struct report_lock *lock = &place->first;
	unsigned in_line = 64 - (unsigned)(place->linear_min & 63);
	char count[32], text[96], symbol[96], bytes[32];
	const char *separator = "";

	symbol_text(symbols, lock, symbol, sizeof(symbol));
	report_instruction(lock, text, sizeof(text));
	report_bytes(lock, bytes, sizeof(bytes));
	fprintf(out, "  %14s %5.1f%%  0x%" PRIx64 "%s%s%s  %s  [%s, %u-bit, CPL %u]\n",
		grouped(place->count, count),
		all ? 100.0 * (double)place->count / (double)all : 0.0, lock->linear_rip,
		*symbol ? " <" : "", symbol, *symbol ? ">" : "", text, bytes, lock->mode,
		lock->cpl);
	/* a paging-structure entry has no linear address: what was being translated is told */
	if (lock->stuffed == REPORT_STUFFED_PAGING)
		fprintf(out,
			"  %14s         entry of %u bytes at physical 0x%" PRIx64
			", for 0x%" PRIx64,
			"", lock->size, lock->gpa, place->linear_min);
	else
		fprintf(out, "  %14s         %u bytes at 0x%" PRIx64, "", lock->size,
			place->linear_min);
	if (place->linear_max != place->linear_min)
		fprintf(out, " to 0x%" PRIx64, place->linear_max);
	fputs(": ", out);
	for (unsigned bit = 1; bit <= REPORT_STUFFED; bit <<= 1) {
		if (!(place->cause & bit))
			continue;
		fprintf(out, "%s%s", separator, report_cause_name(bit));
		if (bit == REPORT_STUFFED && lock->stuffed)
			fprintf(out, " (%s)", report_stuffed_name(lock->stuffed));
		separator = ", ";
	}
	/* With several operands the first one alone does not show where the line ends; and AMD's
	 * boundary may be smaller than a line. */
	if (place->cause & REPORT_SPLIT && place->linear_max == place->linear_min &&
	    lock->size > in_line)
		fprintf(out, " (%u + %u bytes)", in_line, lock->size - in_line);
	fputc('\n', out);
}

static void print_places(FILE *out, const struct report *report, const struct report_totals *t,
			 const struct symbols *symbols, unsigned top)
{
	uint64_t lost = atomic_load(&report->sites_lost);

	if (!t->places || !top)
		return;
	fprintf(out, "\n  Who takes bus locks (%zu of %zu sites):\n",
		t->places < top ? t->places : (size_t)top, t->places);
	for (size_t i = 0; i < t->places && i < top; i++)
		print_place(out, &t->place[i], t->all.bus_locks, symbols);
	if (lost)
		fprintf(out,
			"  %14" PRIu64 "         at further sites that the table has no room for\n",
			lost);
}

static void print_text(FILE *out, const struct report *report, const struct report_totals *t,
		       const struct symbols *symbols, unsigned top)
{
	const struct report_row *all = &t->all;
	char a[32], b[32], c[32];

	fputs("buslock: summary\n", out);
	if (!all->runs)
		fputs("  no vCPU ran\n", out);
	else if (!atomic_load(&report->detection_enabled))
		fputs("  the monitor did not enable bus-lock exits (KVM_CAP_X86_BUS_LOCK_EXIT)\n",
		      out);
	line(out, "time", "%15s   in KVM_RUN %s, throttled %s", duration(t->wall_ns, a),
	     duration(all->run_ns, b), duration(all->throttled_ns, c));
	if (atomic_load(&report->virtual_time) && report_nondeterminism(report))
		line(out, "", "%15s   not deterministic: %.159s", "virtual",
		     report_nondeterminism(report));
	else if (atomic_load(&report->virtual_time))
		line(out, "", "%15s   another run gives the same", "virtual");
	print_locks(out, t, atomic_load(&report->blind));
	print_exits(out, all);
	if (t->rows > 1)
		print_vcpus(out, t);
	print_places(out, report, t, symbols, top);
}

static int print_json(FILE *out, const struct report *report, const struct report_totals *t,
		      const struct symbols *symbols, unsigned top)
{
	struct json_object *json = report_json(report, t, symbols, top);
	const char *text;

	if (!json)
		return -ENOMEM;
	text = json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		fprintf(out, "%s\n", text);
	json_object_put(json);
	return text ? 0 : -ENOMEM;
}

int report_print(FILE *out, const struct report *report, enum report_format format,
		 const struct symbols *symbols, unsigned top)
{
	struct report_totals totals;
	int error = report_totals(&totals, report);

	if (error)
		return error;
	if (format == REPORT_JSON)
		error = print_json(out, report, &totals, symbols, top);
	else
		print_text(out, report, &totals, symbols, top);
	report_totals_free(&totals);
	if (!error && (fflush(out) || ferror(out)))
		error = errno ? -errno : -EIO;
	return error;
}
