// SPDX-License-Identifier: GPL-2.0-only
/*
 * The writer's side of the trace. System calls go to the kernel directly: the C library's functions
 * are cancellation points, and in the preloaded library some of them are interposed by ourselves.
 * Formatting is by hand: printf() may allocate, and is the slower half of an event.
 */
#include "traces/trace.h"

#include "traces/report.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------ a line */

/* The longest: a host message of 200 characters that are all escaped. */
#define LINE_SIZE 2048
#define LINE_TAIL 64 /* kept free by strings for what has to come behind them */

struct line {
	size_t n;
	char text[LINE_SIZE];
};

static void put_char(struct line *line, char c)
{
	if (line->n < LINE_SIZE)
		line->text[line->n++] = c;
}

static void put(struct line *line, const char *text)
{
	size_t n = strlen(text);

	if (n > LINE_SIZE - line->n)
		n = LINE_SIZE - line->n;
	memcpy(line->text + line->n, text, n);
	line->n += n;
}

static void put_number(struct line *line, uint64_t value)
{
	char digits[20];
	size_t n = sizeof(digits);

	do {
		digits[--n] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	while (n < sizeof(digits))
		put_char(line, digits[n++]);
}

static void put_signed(struct line *line, int value)
{
	if (value < 0)
		put_char(line, '-');
	put_number(line, value < 0 ? (uint64_t)0 - (uint64_t)(int64_t)value : (uint64_t)value);
}

static const char hex_digits[] = "0123456789abcdef";

/* A string: a JSON number is a double in most readers and loses the low bits of an address. */
static void put_hex(struct line *line, uint64_t value)
{
	int shift = 60;

	put(line, "\"0x");
	while (shift && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put_char(line, hex_digits[value >> shift & 15]);
	put_char(line, '"');
}

static void put_bytes(struct line *line, const uint8_t *bytes, size_t n)
{
	put_char(line, '"');
	for (size_t i = 0; i < n; i++) {
		put_char(line, hex_digits[bytes[i] >> 4]);
		put_char(line, hex_digits[bytes[i] & 15]);
	}
	put_char(line, '"');
}

/* RFC 3629, 4 */
size_t trace_utf8_length(const unsigned char *s)
{
	size_t n = *s < 0xc2 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : *s < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
	    (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

/* One character as JSON has it (RFC 8259, 7); what is no UTF-8 (the name of a thread is any bytes)
 * becomes U+FFFD. The number of bytes taken. */
static size_t escape(const unsigned char *s, char out[8], size_t *length)
{
	static const char control[4] = "\\u00", unknown[6] = "\\ufffd"; /* no NUL */
	size_t n = 1;

	if (*s == '"' || *s == '\\') {
		out[0] = '\\';
		out[1] = (char)*s;
		*length = 2;
	} else if (*s < 0x20 || *s == 0x7f) {
		memcpy(out, control, sizeof(control));
		out[4] = hex_digits[*s >> 4];
		out[5] = hex_digits[*s & 15];
		*length = 6;
	} else if (*s < 0x80) {
		out[0] = (char)*s;
		*length = 1;
	} else {
		n = trace_utf8_length(s);
		if (n)
			memcpy(out, s, n);
		else
			memcpy(out, unknown, sizeof(unknown));
		*length = n ? n : 6;
		n = n ? n : 1;
	}
	return n;
}

static void put_string(struct line *line, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	char out[8];
	size_t length;
	bool cut = false;

	put_char(line, '"');
	while (*s) {
		size_t taken = escape(s, out, &length);

		cut = line->n + length > LINE_SIZE - LINE_TAIL;
		if (cut)
			break;
		memcpy(line->text + line->n, out, length);
		line->n += length;
		s += taken;
	}
	put(line, cut ? "\",\"cut\":true" : "\"");
}

static void key(struct line *line, const char *name)
{
	put(line, ",\"");
	put(line, name);
	put(line, "\":");
}

static void put_flag(struct line *line, const char *name, bool on)
{
	key(line, name);
	put(line, on ? "true" : "false");
}

/* ["A","B"]: the names of the bits that are set */
static void put_names(struct line *line, unsigned bits, const char *const *names, unsigned count)
{
	bool first = true;

	put_char(line, '[');
	for (unsigned i = 0; i < count; i++) {
		if (!(bits >> i & 1))
			continue;
		put(line, first ? "\"" : ",\"");
		put(line, names[i]);
		put_char(line, '"');
		first = false;
	}
	put_char(line, ']');
}

/* ------------------------------------------------------------------ into the file */

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void raise_to(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t old = atomic_load_explicit(word, memory_order_relaxed);

	while (old < value && !atomic_compare_exchange_weak(word, &old, value))
		;
}

/*
 * O_APPEND: the file system gives each write() its place under the file's lock. A full disk makes one
 * shorter; the next line then begins with a newline, and the damage is one line.
 */
/*
 * One write(). Where files have a limited size, the SIGXFSZ that comes with EFBIG is ours: the monitor
 * has not written anything.
 */
static long write_some(const struct trace *trace, int fd, const char *text, size_t size)
{
	const uint64_t too_large = 1ull << (SIGXFSZ - 1);
	const struct timespec now = { 0, 0 };
	uint64_t mask, pending = 0;
	long written;
	int error;

	if (!trace->limited)
		return syscall(SYS_write, fd, text, size);
	syscall(SYS_rt_sigpending, &pending, sizeof(pending));
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &too_large, &mask, sizeof(mask));
	written = syscall(SYS_write, fd, text, size);
	error = errno;
	if (written < 0 && error == EFBIG && !(pending & too_large))
		syscall(SYS_rt_sigtimedwait, &too_large, NULL, &now, sizeof(too_large));
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
	errno = error;
	return written;
}

static bool write_line(struct trace *trace, const struct line *line)
{
	int fd = atomic_load_explicit(&trace->fd, memory_order_relaxed);
	bool torn = atomic_load_explicit(&trace->counts->torn, memory_order_relaxed) &&
		    atomic_exchange(&trace->counts->torn, 0);
	size_t at = torn ? 0 : 1; /* the newline that begin() has put in front is for that */

	while (fd >= 0 && at < line->n) {
		long written = write_some(trace, fd, line->text + at, line->n - at);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			break;
		torn = true;
		at += (size_t)written;
	}
	if (at == line->n)
		return true;
	if (torn)
		atomic_store(&trace->counts->torn, 1);
	return false;
}

static const char *const names[TRACE_EVENTS] = {
	[TRACE_VM_CREATED] = "vm_created",
	[TRACE_VCPU_CREATED] = "vcpu_created",
	[TRACE_CAPABILITY] = "capability",
	[TRACE_RUN] = "run",
	[TRACE_EXIT] = "exit",
	[TRACE_BUS_LOCK] = "bus_lock",
	[TRACE_HOST_MESSAGE] = "host_message",
	[TRACE_SLEEP] = "sleep",
	[TRACE_NONDETERMINISTIC] = "nondeterministic",
	[TRACE_LOCKED] = "locked",
	[TRACE_NOT_COVERED] = "not_covered",
	[TRACE_VM_EXIT] = "vm_exit",
	[TRACE_VM_ENTRY] = "vm_entry",
};

const char *trace_event_name(enum trace_event event)
{
	return names[event];
}

static unsigned process_number(struct trace *trace)
{
	int number = atomic_load_explicit(&trace->process, memory_order_relaxed);

	if (number < 0) {
		int taken = (int)atomic_fetch_add(&trace->counts->processes, 1);

		if (atomic_compare_exchange_strong(&trace->process, &number, taken))
			number = taken;
	}
	return (unsigned)number;
}

static uint64_t now(const struct trace *trace)
{
	return trace->clock ? trace->clock() : report_now() - trace->counts->start_ns;
}

/* TRACE_NO_VM, TRACE_NO_VCPU: null */
static void put_index(struct line *line, unsigned index)
{
	if (index == ~0u)
		put(line, "null");
	else
		put_number(line, index);
}

static void begin(struct trace *trace, struct line *line, enum trace_event event, unsigned vm,
		  unsigned vcpu)
{
	uint64_t time = now(trace);

	line->n = 0;
	put(line, "\n{\"event\":\"");
	put(line, names[event]);
	put(line, "\",\"time\":");
	put_number(line, time);
	put(line, ",\"process\":");
	put_number(line, process_number(trace));
	put(line, ",\"vm\":");
	put_index(line, vm);
	put(line, ",\"vcpu\":");
	put_index(line, vcpu);
	raise_to(&trace->counts->last_ns, time);
}

static void end(struct trace *trace, struct line *line, enum trace_event event)
{
	int saved = errno;

	put(line, "}\n");
	count(write_line(trace, line) ? &trace->counts->events[event] : &trace->counts->lost);
	errno = saved;
}

int trace_attach(struct trace *trace, int fd, struct trace_counts *counts)
{
	struct rlimit limit;

	*trace = (struct trace){ .fd = fd,
				 .process = -1,
				 .counts = counts,
				 .limited = getrlimit(RLIMIT_FSIZE, &limit) ||
					    limit.rlim_cur != RLIM_INFINITY };
	return trace_check(trace) ? 0 : -EINVAL;
}

bool trace_check(struct trace *trace)
{
	int fd = atomic_load(&trace->fd), saved = errno;
	struct stat st;

	if (fd >= 0 && (!trace->counts->ino || syscall(SYS_fstat, fd, &st) ||
			st.st_dev != trace->counts->dev || st.st_ino != trace->counts->ino))
		atomic_compare_exchange_strong(&trace->fd, &fd, -1);
	errno = saved;
	return atomic_load(&trace->fd) >= 0;
}

void trace_moved(struct trace *trace, int fd)
{
	atomic_store(&trace->fd, fd);
}

void trace_after_fork(struct trace *trace)
{
	if (trace)
		atomic_store(&trace->process, -1);
}

/* ------------------------------------------------------------------ events */

void trace_note_vm_created(struct trace *trace, unsigned vm)
{
	struct line line;

	if (!trace)
		return;
	begin(trace, &line, TRACE_VM_CREATED, vm, TRACE_NO_VCPU);
	end(trace, &line, TRACE_VM_CREATED);
}

void trace_note_vcpu_created(struct trace *trace, unsigned vm, unsigned vcpu, unsigned id)
{
	struct line line;

	if (!trace)
		return;
	begin(trace, &line, TRACE_VCPU_CREATED, vm, vcpu);
	key(&line, "id");
	put_number(&line, id);
	end(trace, &line, TRACE_VCPU_CREATED);
}

/* "result":0 or "result":-4,"error":"EINTR" */
static void put_result(struct line *line, int result)
{
	const char *name = result < 0 ? strerrorname_np(-result) : NULL;

	key(line, "result");
	put_signed(line, result);
	if (!name)
		return;
	key(line, "error");
	put_string(line, name);
}

void trace_note_capability(struct trace *trace, unsigned vm, unsigned number, const char *name,
			   const uint64_t args[4], int result)
{
	struct line line;

	if (!trace)
		return;
	begin(trace, &line, TRACE_CAPABILITY, vm, TRACE_NO_VCPU);
	key(&line, "capability");
	put_number(&line, number);
	key(&line, "name");
	if (name)
		put_string(&line, name);
	else
		put(&line, "null");
	key(&line, "args");
	for (int i = 0; i < 4; i++) {
		put_char(&line, i ? ',' : '[');
		put_hex(&line, args[i]);
	}
	put_char(&line, ']');
	put_result(&line, result);
	end(trace, &line, TRACE_CAPABILITY);
}

void trace_note_run(struct trace *trace, unsigned vm, unsigned vcpu, bool immediate_exit)
{
	struct line line;

	if (!trace)
		return;
	begin(trace, &line, TRACE_RUN, vm, vcpu);
	put_flag(&line, "immediate_exit", immediate_exit);
	end(trace, &line, TRACE_RUN);
}

uint64_t trace_digest(const uint64_t *words, size_t count)
{
	uint64_t digest = 0xcbf29ce484222325;

	for (size_t i = 0; i < count; i++)
		for (unsigned shift = 0; shift < 64; shift += 8)
			digest = (digest ^ (words[i] >> shift & 0xff)) * 0x100000001b3;
	return digest;
}

void trace_note_exit(struct trace *trace, unsigned vm, unsigned vcpu, const struct trace_exit *exit)
{
	/* KVM_RUN_X86_ (arch/x86/include/uapi/asm/kvm.h), bits 0 to 2 */
	static const char *const flags[] = { "SMM", "BUS_LOCK", "GUEST_MODE" };
	const char *reason = report_exit_name(exit->reason);
	struct line line;

	if (!trace)
		return;
	begin(trace, &line, TRACE_EXIT, vm, vcpu);
	put_result(&line, exit->result);
	key(&line, "reason");
	put_number(&line, exit->reason);
	key(&line, "reason_name");
	if (reason)
		put_string(&line, reason);
	else
		put(&line, "null");
	key(&line, "flags");
	put_number(&line, exit->flags);
	key(&line, "flag_names");
	put_names(&line, exit->flags, flags, 3);
	if (exit->has_word) {
		key(&line, "word");
		put_hex(&line, exit->word);
	}
	if (exit->has_rip) {
		key(&line, "rip");
		put_hex(&line, exit->rip);
		key(&line, "linear_rip");
		put_hex(&line, exit->linear_rip);
	}
	if (exit->has_registers) {
		key(&line, "registers");
		put_hex(&line, exit->registers);
	}
	if (exit->kept)
		put_flag(&line, "kept", true);
	end(trace, &line, TRACE_EXIT);
}

/* IA32_PAT and MTRR encoding (SDM 12.11.2.1, 12.12.2) */
static const char *memory_type(unsigned type)
{
	static const char *const types[] = { "UC", "WC", NULL,  NULL, "WT",
					     "WP", "WB", "UC-", "CD", "WC+" };

	return type < sizeof(types) / sizeof(types[0]) && types[type] ? types[type] : "reserved";
}

/* What is told of every locked access. */
static void put_access(struct line *line, const struct report_lock *lock)
{
	size_t length = lock->insn_length;

	if (length > sizeof(lock->insn))
		length = sizeof(lock->insn);
	key(line, "linear");
	put_hex(line, lock->linear);
	key(line, "gpa");
	put_hex(line, lock->gpa);
	key(line, "size");
	put_number(line, lock->size);
	key(line, "rip");
	put_hex(line, lock->rip);
	key(line, "linear_rip");
	put_hex(line, lock->linear_rip);
	key(line, "bytes");
	put_bytes(line, lock->insn, length);
	key(line, "mode");
	put_number(line, lock->mode);
	key(line, "cpl");
	put_number(line, lock->cpl);
	key(line, "memory_type");
	put_string(line, memory_type(lock->memory_type));
	key(line, "guest_memory_type");
	put_string(line, memory_type(lock->guest_type));
}

void trace_note_lock(struct trace *trace, unsigned vm, unsigned vcpu,
		     const struct report_lock *lock)
{
	static const char *const causes[] = { "split", "non_wb", "stuffed" };
	static const char *const kinds[] = { NULL, "\"paging\"", "\"descriptor\"", "\"busy\"" };
	struct line line;

	if (!trace)
		return;
	begin(trace, &line, TRACE_BUS_LOCK, vm, vcpu);
	key(&line, "cause");
	put_names(&line, lock->cause, causes, 3);
	put_access(&line, lock);
	key(&line, "stuffed");
	put(&line, lock->stuffed && lock->stuffed < 4 ? kinds[lock->stuffed] : "null");
	put_flag(&line, "in_delivery", lock->in_delivery);
	end(trace, &line, TRACE_BUS_LOCK);
}

void trace_note_locked(struct trace *trace, unsigned vm, unsigned vcpu,
		       const struct report_lock *lock)
{
	struct line line;

	if (!trace)
		return;
	begin(trace, &line, TRACE_LOCKED, vm, vcpu);
	put_access(&line, lock);
	end(trace, &line, TRACE_LOCKED);
}

void trace_note_not_covered(struct trace *trace, unsigned vm, unsigned vcpu, const uint64_t *rip,
			    const char *why)
{
	struct line line;

	if (!trace)
		return;
	begin(trace, &line, TRACE_NOT_COVERED, vm, vcpu);
	if (rip) {
		key(&line, "rip");
		put_hex(&line, *rip);
	}
	key(&line, "why");
	put_string(&line, why);
	end(trace, &line, TRACE_NOT_COVERED);
}

void trace_note_host_message(struct trace *trace, unsigned vm, unsigned vcpu, const char *text)
{
	struct line line;

	if (!trace)
		return;
	begin(trace, &line, TRACE_HOST_MESSAGE, vm, vcpu);
	key(&line, "text");
	put_string(&line, text);
	end(trace, &line, TRACE_HOST_MESSAGE);
}

void trace_note_sleep(struct trace *trace, unsigned vm, unsigned vcpu, enum trace_sleeper who,
		      uint64_t ns, bool interrupted)
{
	struct line line;

	if (!trace)
		return;
	begin(trace, &line, TRACE_SLEEP, vm, vcpu);
	key(&line, "who");
	put(&line, who == TRACE_SLEEP_HOST ? "\"host\"" : "\"policy\"");
	key(&line, "ns");
	put_number(&line, ns);
	put_flag(&line, "interrupted", interrupted);
	end(trace, &line, TRACE_SLEEP);
}

void trace_note_nondeterministic(struct trace *trace, const char *why)
{
	struct trace_counts *counts;
	struct line line;
	uint32_t zero = 0;

	if (!trace)
		return;
	counts = trace->counts;
	if (!atomic_compare_exchange_strong(&counts->nondeterministic, &zero, 1))
		return;
	strncpy(counts->why, why, sizeof(counts->why) - 1);
	atomic_store(&counts->nondeterministic, 2);
	begin(trace, &line, TRACE_NONDETERMINISTIC, TRACE_NO_VM, TRACE_NO_VCPU);
	key(&line, "why");
	put_string(&line, why);
	end(trace, &line, TRACE_NONDETERMINISTIC);
}
