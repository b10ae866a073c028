// SPDX-License-Identifier: GPL-2.0-only
/*
 * The writer's side of the report. It runs on the vCPU threads of somebody else's process, possibly
 * inside signal handlers, and its reader is another process that may look at any time, also after
 * this one was killed in the middle of an update. So: no locks, no waiting for another writer, no
 * allocation, and every word that is read while it is written is atomic.
 *
 * System calls go to the kernel directly: in the preloaded library the C library's mmap() and close()
 * are interposed by ourselves.
 */
#include "traces/report.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NSEC_PER_SEC 1000000000ull

/* Once the table has overflowed, a new site is not worth a look at every slot. */
#define FULL_TABLE_PROBES 64

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void set_once(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t zero = 0;

	/* The load keeps the cache line shared once it is set, which is nearly always. */
	if (!atomic_load_explicit(word, memory_order_relaxed))
		atomic_compare_exchange_strong(word, &zero, value);
}

static void raise_to(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t old = atomic_load_explicit(word, memory_order_relaxed);

	while (old < value && !atomic_compare_exchange_weak(word, &old, value))
		;
}

static void lower_to(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t old = atomic_load_explicit(word, memory_order_relaxed);

	while (old > value && !atomic_compare_exchange_weak(word, &old, value))
		;
}

static _Atomic(uint64_t (*)(void)) other_clock;

void report_set_clock(uint64_t (*now)(void))
{
	atomic_store(&other_clock, now);
}

uint64_t report_now(void)
{
	uint64_t (*other)(void) = atomic_load_explicit(&other_clock, memory_order_relaxed);
	struct timespec now;

	if (__builtin_expect(other != NULL, 0))
		return other();

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

static int map_report(struct report **report, int fd)
{
	long address = syscall(SYS_mmap, NULL, sizeof(**report), PROT_READ | PROT_WRITE, MAP_SHARED,
			       fd, 0L);

	if (address == -1)
		return -errno;
	*report = (struct report *)address;
	return 0;
}

int report_create(struct report **report, int *fd, bool inheritable)
{
	int memory = (int)syscall(SYS_memfd_create, "buslock-report",
				  inheritable ? 0u : (unsigned)MFD_CLOEXEC);
	int error;

	if (memory < 0)
		return -errno;
	error = syscall(SYS_ftruncate, memory, (long)sizeof(**report)) ? -errno : 0;
	if (!error)
		error = map_report(report, memory);
	if (error) {
		syscall(SYS_close, memory);
		return error;
	}
	(*report)->start_ns = report_now();
	(*report)->magic = REPORT_MAGIC;
	*fd = memory;
	return 0;
}

int report_attach(struct report **report, int fd)
{
	struct stat st;
	int error;

	/* A shorter file would map all the same, and kill the process at the first access beyond it. */
	if (syscall(SYS_fstat, fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size != (off_t)sizeof(**report))
		return -EINVAL;
	error = map_report(report, fd);
	if (error)
		return error;
	if ((*report)->magic != REPORT_MAGIC) {
		report_detach(*report);
		*report = NULL;
		return -EINVAL;
	}
	return 0;
}

void report_detach(struct report *report)
{
	if (report)
		syscall(SYS_munmap, report, sizeof(*report));
}

/* The first reason stays; `state` is 2 when it can be read. */
static void keep_reason(_Atomic uint32_t *state, char *text, size_t size, const char *why)
{
	uint32_t none = 0;
	size_t n = strnlen(why, size - 1);

	if (!atomic_compare_exchange_strong(state, &none, 1))
		return;
	memcpy(text, why, n);
	text[n] = '\0';
	atomic_store(state, 2);
}

void report_note_nondeterminism(struct report *report, const char *why)
{
	if (report)
		keep_reason(&report->nondeterministic, report->nondeterminism,
			    sizeof(report->nondeterminism), why);
}

void report_note_end(struct report *report, const char *why)
{
	if (report)
		keep_reason(&report->ended, report->why_ended, sizeof(report->why_ended), why);
}

const char *report_end(const struct report *report)
{
	return atomic_load(&report->ended) == 2 ? report->why_ended : NULL;
}

static struct report_vcpu *row(struct report *report, unsigned vcpu)
{
	return &report->vcpu[vcpu < REPORT_VCPUS ? vcpu : REPORT_VCPUS - 1];
}

/* FNV-1a over the key, mixed at the end: neighbouring instructions must not become one cluster. */
static size_t site_hash(const struct report_lock *lock, unsigned length)
{
	uint64_t hash = 0xcbf29ce484222325ull ^ lock->linear_rip;

	hash *= 0x100000001b3ull;
	for (unsigned i = 0; i < length; i++)
		hash = (hash ^ lock->insn[i]) * 0x100000001b3ull;
	hash ^= hash >> 32;
	return (size_t)(hash % REPORT_SITES);
}

static bool site_is(const struct report_site *site, const struct report_lock *lock, unsigned length)
{
	return site->first.linear_rip == lock->linear_rip && site->first.insn_length == length &&
	       !memcmp(site->first.insn, lock->insn, length);
}

static void site_count(struct report_site *site, const struct report_lock *lock)
{
	/* Only a new cause or address is a write: the line of a hot site is shared by all vCPUs. */
	if ((__atomic_load_n(&site->cause, __ATOMIC_RELAXED) & lock->cause) != lock->cause)
		__atomic_fetch_or(&site->cause, lock->cause, __ATOMIC_RELAXED);
	lower_to(&site->linear_min, lock->linear);
	raise_to(&site->linear_max, lock->linear);
	add(&site->count, 1);
}

/*
 * Open addressing. A slot that another writer is filling (state 1) is passed by: that writer may be
 * the very thread this signal handler interrupted, or dead. At worst a site then has two slots, which
 * the reader adds up.
 */
static void note_site(struct report *report, const struct report_lock *lock)
{
	unsigned length = lock->insn_length <= sizeof(lock->insn) ? lock->insn_length
								  : (unsigned)sizeof(lock->insn);
	size_t start = site_hash(lock, length);
	size_t probes = atomic_load_explicit(&report->sites_lost, memory_order_relaxed)
				? FULL_TABLE_PROBES
				: REPORT_SITES;

	for (size_t i = 0; i < probes; i++) {
		struct report_site *site = &report->site[(start + i) % REPORT_SITES];
		uint32_t state = atomic_load_explicit(&site->state, memory_order_acquire);

		if (state == 0 && atomic_compare_exchange_strong(&site->state, &state, 1)) {
			site->first = *lock;
			site->first.insn_length = (uint8_t)length;
			atomic_store_explicit(&site->linear_min, lock->linear,
					      memory_order_relaxed);
			atomic_store_explicit(&site->linear_max, lock->linear,
					      memory_order_relaxed);
			atomic_store_explicit(&site->state, 2, memory_order_release);
			site_count(site, lock);
			return;
		}
		/* The exchange above may have failed: `state` is then the other writer's. */
		if (state == 2 && site_is(site, lock, length)) {
			site_count(site, lock);
			return;
		}
	}
	add(&report->sites_lost, 1);
}

static bool stack_is(const struct report_stack *stack, const struct report_lock *lock,
		     const uint64_t *frame, unsigned depth)
{
	return stack->depth == depth && stack->first.linear_rip == lock->linear_rip &&
	       stack->first.insn_length == lock->insn_length &&
	       !memcmp(stack->first.insn, lock->insn, sizeof(lock->insn)) &&
	       !memcmp(stack->frame, frame, depth * sizeof(*frame));
}

static size_t stack_hash(const struct report_lock *lock, const uint64_t *frame, unsigned depth)
{
	uint64_t hash = site_hash(lock, 0);

	for (unsigned i = 0; i < depth; i++) {
		hash = (hash ^ frame[i]) * 0x100000001b3ull;
		hash ^= hash >> 32;
	}
	return (size_t)(hash % REPORT_STACKS);
}

/* As note_site(). */
void report_note_stack(struct report *report, const struct report_lock *lock, const uint64_t *frame,
		       unsigned depth)
{
	size_t start = stack_hash(lock, frame, depth), probes = REPORT_STACKS;

	if (atomic_load_explicit(&report->stacks_lost, memory_order_relaxed))
		probes = FULL_TABLE_PROBES;
	for (size_t i = 0; i < probes; i++) {
		struct report_stack *stack = &report->stack[(start + i) % REPORT_STACKS];
		uint32_t state = atomic_load_explicit(&stack->state, memory_order_acquire);

		if (state == 0 && atomic_compare_exchange_strong(&stack->state, &state, 1)) {
			stack->first = *lock;
			stack->depth = depth;
			memcpy(stack->frame, frame, depth * sizeof(*frame));
			atomic_store_explicit(&stack->state, 2, memory_order_release);
			state = 2;
		}
		if (state == 2 && stack_is(stack, lock, frame, depth)) {
			add(&stack->count, 1);
			return;
		}
	}
	add(&report->stacks_lost, 1);
}

void report_note_lock(struct report *report, unsigned vcpu, const struct report_lock *lock)
{
	struct report_vcpu *v;

	if (!report)
		return;
	v = row(report, vcpu);
	add(&v->bus_locks, 1);
	if (lock->cause & REPORT_SPLIT)
		add(&v->split, 1);
	if (lock->cause & REPORT_NON_WB)
		add(&v->non_wb, 1);
	if (lock->cause & REPORT_STUFFED)
		add(&v->stuffed, 1);
	note_site(report, lock);
}

void report_note_counts(struct report *report, unsigned vcpu, uint64_t locked,
			uint64_t instructions)
{
	if (!report)
		return;
	if (locked)
		add(&row(report, vcpu)->locked, locked);
	if (instructions)
		add(&row(report, vcpu)->instructions, instructions);
}

void report_note_host(struct report *report, unsigned vcpu, uint64_t slept_ns, unsigned messages,
		      unsigned suppressed)
{
	struct report_vcpu *v;

	if (!report)
		return;
	v = row(report, vcpu);
	add(&v->host_traps, 1);
	add(&v->host_slept_ns, slept_ns);
	add(&v->host_messages, messages);
	add(&v->host_suppressed, suppressed);
}

void report_note_guest_non_wb(struct report *report, unsigned vcpu, uint64_t count)
{
	if (report && count)
		add(&row(report, vcpu)->guest_non_wb, count);
}

uint64_t report_note_run(struct report *report, unsigned vcpu)
{
	struct report_vcpu *v;
	uint64_t now, since;

	if (!report)
		return 0;
	v = row(report, vcpu);
	now = report_now();
	add(&v->runs, 1);
	set_once(&report->first_run_ns, now);
	/* What the monitor did between a bus lock and this run is what its policy cost the guest. */
	if (atomic_load_explicit(&v->waiting_ns, memory_order_relaxed)) {
		since = atomic_exchange(&v->waiting_ns, 0);
		if (since && since < now)
			add(&v->throttled_ns, now - since);
		raise_to(&v->resumed_ns, now);
	}
	return now;
}

void report_note_return(struct report *report, unsigned vcpu, uint64_t begun, int result,
			uint32_t reason, bool bus_lock)
{
	struct report_vcpu *v;
	uint64_t now;

	if (!report)
		return;
	v = row(report, vcpu);
	now = report_now();
	if (begun && begun < now)
		add(&v->run_ns, now - begun);
	if (result >= 0)
		add(&v->exits[reason < REPORT_REASONS ? reason : REPORT_REASONS - 1], 1);
	else if (result == -EINTR)
		add(&v->interrupted, 1);
	else
		add(&v->errors, 1);
	if (bus_lock) {
		add(&v->bus_lock_flag, 1);
		set_once(&v->first_lock_ns, now);
		raise_to(&v->last_lock_ns, now);
		atomic_store(&v->waiting_ns, now);
	}
	/* in the vCPU's own row: all vCPUs' returns would fight for one line */
	raise_to(&v->last_return_ns, now);
}
