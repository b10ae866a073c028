/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The report: counters of one run, in memory that several processes can share, so that it survives
 * the monitor's _exit() or SIGKILL. The writer's side (report.c) is async-signal-safe, lock-free and
 * needs only libc: it lives in somebody else's process. The reader's side is in report_print.c.
 *
 * Units: times in nanoseconds of CLOCK_MONOTONIC, addresses are guest addresses.
 */
#ifndef BUSLOCK_TRACES_REPORT_H
#define BUSLOCK_TRACES_REPORT_H

#include "traces/trace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPORT_MAGIC   0x4b434f4c53554234ull
#define REPORT_VCPUS   64   /* further vCPUs share the last row */
#define REPORT_SITES   4096 /* further sites are counted in sites_lost */
#define REPORT_STACKS  4096 /* further stacks are counted in stacks_lost */
#define REPORT_DEPTH   32   /* callers of a stack that are kept, the nearest */
#define REPORT_REASONS 64   /* KVM exit reasons; larger ones share the last */

enum { REPORT_SPLIT = 1, REPORT_NON_WB = 2, REPORT_STUFFED = 4 }; /* cause of a bus lock, or-ed */

/* One bus lock, as the observer of the processor tells it. */
struct report_lock {
	uint64_t rip, linear_rip, linear, gpa;
	uint32_t size;
	uint8_t cause, cpl, mode, insn_length;
	uint8_t insn[15];
	uint8_t memory_type, guest_type; /* MTRR encoding; what the guest believes */
	uint8_t stuffed;                 /* REPORT_STUFFED_ */
	bool in_delivery;                /* of an event */
};
/* Whose lock it is, if not the instruction's operand's. */
enum {
	REPORT_STUFFED_NOT,
	REPORT_STUFFED_PAGING,
	REPORT_STUFFED_DESCRIPTOR,
	REPORT_STUFFED_BUSY,
};

/* A place in the guest that takes bus locks: linear RIP and instruction bytes are the key. */
struct report_site {
	_Atomic uint64_t count;                  /* 0: free */
	_Atomic uint32_t state;                  /* 0 free, 1 being written, 2 valid */
	uint8_t cause;                           /* of all its locks, or-ed */
	struct report_lock first;                /* the first one seen here */
	_Atomic uint64_t linear_min, linear_max; /* of the operand's first byte */
};

/* A place and its callers: linear RIP, instruction bytes and frames are the key. */
struct report_stack {
	_Atomic uint64_t count;
	_Atomic uint32_t state; /* as a site's */
	uint32_t depth;
	struct report_lock first;
	uint64_t frame[REPORT_DEPTH]; /* return addresses, linear, the nearest first */
};

struct report_vcpu {
	_Atomic uint64_t runs; /* KVM_RUN calls */
	_Atomic uint64_t exits[REPORT_REASONS];
	_Atomic uint64_t interrupted;   /* KVM_RUN returned EINTR */
	_Atomic uint64_t errors;        /* … any other error */
	_Atomic uint64_t bus_lock_flag; /* returns with KVM_RUN_X86_BUS_LOCK */
	_Atomic uint64_t locked, bus_locks, split, non_wb, stuffed, instructions;
	_Atomic uint64_t guest_non_wb; /* locked, in memory that the guest believes not WB */
	_Atomic uint64_t run_ns;       /* inside KVM_RUN */
	_Atomic uint64_t throttled_ns; /* from a return with the flag to the next KVM_RUN */
	/* the simulated host's split-lock policy */
	_Atomic uint64_t host_traps; /* #AC for a split lock */
	_Atomic uint64_t host_slept_ns, host_messages, host_suppressed;
	_Atomic uint64_t first_lock_ns, last_lock_ns; /* of returns with the flag */
	_Atomic uint64_t waiting_ns;     /* time of the last return if it had the flag, else 0 */
	_Atomic uint64_t last_return_ns; /* KVM_RUN returned last */
	_Atomic uint64_t resumed_ns;     /* KVM_RUN called again after the last bus-lock return */
};

struct report {
	uint64_t magic;
	uint64_t start_ns; /* creation */
	_Atomic uint64_t first_run_ns;
	_Atomic uint32_t vms, vcpus;
	_Atomic uint32_t detection_enabled; /* KVM_ENABLE_CAP(193, EXIT) seen */
	_Atomic uint32_t counting;          /* instructions are counted */
	_Atomic uint32_t virtual_time;      /* all times are of vmm_shim/vclock.h */
	_Atomic uint32_t nondeterministic;  /* 0, 1: the why is being written, 2: it is there */
	char nondeterminism[160];
	_Atomic uint32_t attached; /* processes in which the preloaded library has come up */
	_Atomic uint64_t sites_lost, stacks_lost;
	_Atomic uint64_t faults; /* how often the deliberate fault came about */
	bool stacks;             /* stacks are wanted: by the creator, before anything runs */
	_Atomic uint32_t blind;  /* nobody looks at the guest's instructions: exits only */
	/* `buslock record` has ended the run: 0, 1: the why is being written, 2: it is there */
	_Atomic uint32_t ended;
	char why_ended[160];
	_Atomic uint64_t native_split_locks; /* that record let run on the real device */
	_Atomic uint64_t next_split_lock;    /* when the next one may: report_now() */
	struct trace_counts trace;
	struct report_vcpu vcpu[REPORT_VCPUS];
	struct report_site site[REPORT_SITES];
	struct report_stack stack[REPORT_STACKS]; /* untouched, and so no memory, unless wanted */
};

/* Anonymous shared memory with a fresh report in it; the descriptor is close-on-exec unless
 * `inheritable`. 0 or -errno. */
int report_create(struct report **report, int *fd, bool inheritable);
/* Map the one behind `fd`. -EINVAL: not a report. */
int report_attach(struct report **report, int fd);
void report_detach(struct report *report);

uint64_t report_now(void);
/* Name of a KVM exit reason without KVM_EXIT_ (api.rst 5, <linux/kvm.h>); NULL for an unknown one. */
const char *report_exit_name(unsigned reason);
/* Another clock than CLOCK_MONOTONIC, for the whole process: virtual time. Async-signal-safe. */
void report_set_clock(uint64_t (*now)(void));
/* Virtual time does not answer for this run: the first reason stays. `report` may be NULL. */
void report_note_nondeterminism(struct report *report, const char *why);
/* NULL: two runs give the same, as far as is known; real time does not. Reader's side. */
const char *report_nondeterminism(const struct report *report);
/* Whoever watches has ended the run: the first reason stays. `report` may be NULL. */
void report_note_end(struct report *report, const char *why);
/* NULL: nobody has. Reader's side. */
const char *report_end(const struct report *report);
/* Any thread, any time; `report` may be NULL. */
void report_note_lock(struct report *report, unsigned vcpu, const struct report_lock *lock);
/* … and who called it; up to REPORT_DEPTH return addresses, the nearest first. */
void report_note_stack(struct report *report, const struct report_lock *lock, const uint64_t *frame,
		       unsigned depth);
/* KVM_RUN begins / returned: `result` 0 or -errno, `reason` and `flags` as in kvm_run. Return value of
 * the first is to be given to the second. */
uint64_t report_note_run(struct report *report, unsigned vcpu);
void report_note_return(struct report *report, unsigned vcpu, uint64_t begun, int result,
			uint32_t reason, bool bus_lock);

/*
 * What the processor counted on this vCPU since the last call: locked accesses (bus locks or not) and
 * instructions. report_note_lock() counts the bus locks.
 */
void report_note_counts(struct report *report, unsigned vcpu, uint64_t locked,
			uint64_t instructions);
/* … and locked accesses to memory that the guest believes not to be write-back, bus locks or not. */
void report_note_guest_non_wb(struct report *report, unsigned vcpu, uint64_t count);

/* The host trapped a split lock (#AC): how long its policy slept, what it said in its log and what its
 * rate limit suppressed. */
void report_note_host(struct report *report, unsigned vcpu, uint64_t slept_ns, unsigned messages,
		      unsigned suppressed);

/* ------------------------------------------------------------------ reader's side: report_print.c */

struct symbols; /* guest symbols: traces/symbols.h */

enum report_format { REPORT_TEXT, REPORT_JSON };
#include <stdio.h>
/* `symbols` may be NULL; `top` sites at most. 0 or -errno. */
int report_print(FILE *out, const struct report *report, enum report_format format,
		 const struct symbols *symbols, unsigned top);

/*
 * The stacks, one a line, outermost first: "main;work;bus_lock 12", as flame graph tools read them. Code
 * of the guest's kernel has "_[k]" behind its name, as perf's scripts write it; what has no name is its
 * address. Nothing if none were wanted. 0 or -errno.
 */
int report_print_folded(FILE *out, const struct report *report, const struct symbols *symbols);

/*
 * Conditions on a report: "locks==100,rate<=10,exits.io>=1". Names: see docs/report.md. 0 held, 1 not
 * (what failed is in `why`), -EINVAL: not understood (`why` says what).
 */
int report_expect(const struct report *report, const char *conditions, char *why, size_t size);

#endif
