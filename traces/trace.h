/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The trace: what happened in a run, event by event, as JSON Lines; docs/trace.md tells each field.
 * The writer's side (trace.c) lives in somebody else's process and is like the report's:
 * async-signal-safe, lock-free, without allocation. Each event is formatted on the stack and written
 * by one write() to a file opened with O_APPEND, so that lines of several threads and processes stay
 * whole and nothing that was written is lost when the process is killed. It never fails: what
 * cannot be written is counted.
 *
 * Units: times in nanoseconds, virtual ones or of CLOCK_MONOTONIC since the trace began.
 */
#ifndef BUSLOCK_TRACES_TRACE_H
#define BUSLOCK_TRACES_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_SCHEMA  "buslock-trace"
#define TRACE_VERSION 1

enum trace_event {
	TRACE_VM_CREATED,
	TRACE_VCPU_CREATED,
	TRACE_CAPABILITY,
	TRACE_RUN,
	TRACE_EXIT,
	TRACE_BUS_LOCK,
	TRACE_HOST_MESSAGE,
	TRACE_SLEEP,
	TRACE_NONDETERMINISTIC,
	TRACE_LOCKED,
	TRACE_NOT_COVERED,
	TRACE_VM_EXIT, /* these two in imported logs only (import.h) */
	TRACE_VM_ENTRY,
	TRACE_EVENTS
};
/* "vm_created" …; the value of "event" in its lines. */
const char *trace_event_name(enum trace_event event);

/* What all writers of one trace share; in the report's memory (report.h), or all zero and alone. */
struct trace_counts {
	uint64_t start_ns; /* CLOCK_MONOTONIC when it began */
	uint64_t dev,
		ino; /* the file, so that a descriptor can be recognised; 0: there is no trace */
	_Atomic uint64_t events[TRACE_EVENTS]; /* lines written */
	_Atomic uint64_t lost;                 /* lines that could not be written, whole */
	_Atomic uint64_t last_ns;              /* the latest time in any line */
	_Atomic uint32_t processes;            /* that have written events */
	_Atomic uint32_t torn;                 /* the last line was cut short */
	_Atomic uint32_t nondeterministic;     /* 0, 1: `why` is being written, 2: it is there */
	char why[160];
};

/* Of one process; the caller's memory. */
struct trace {
	_Atomic int fd;
	_Atomic int
		process; /* number among those that have written events; -1: not yet one of them */
	struct trace_counts *counts;
	bool limited;            /* RLIMIT_FSIZE: a write may raise SIGXFSZ */
	uint64_t (*clock)(void); /* NULL: CLOCK_MONOTONIC */
	struct trace_pack *pack; /* of whoever began it and compresses it (trace_pack.h), or NULL */
};

/* A writer for the file behind `fd`, which stays the caller's; `counts` has been filled by
 * trace_create(). -EINVAL: it is not that file. */
int trace_attach(struct trace *trace, int fd, struct trace_counts *counts);
/* Is the file still behind the descriptor? Its number may have been closed and given to another file:
 * then nothing is written any more, and events are counted as lost. */
bool trace_check(struct trace *trace);
/* In a forked child: it is a process of its own. */
void trace_after_fork(struct trace *trace);
/* The descriptor has another number from now on. */
void trace_moved(struct trace *trace, int fd);

/* ------------------------------------------------------------------ events */
/*
 * Any thread, any time; `trace` may be NULL. `vm` is the VM's number in its process, `vcpu` the index
 * of the vCPU in its VM, both from 0.
 */
#define TRACE_NO_VM   (~0u)
#define TRACE_NO_VCPU (~0u)

void trace_note_vm_created(struct trace *trace, unsigned vm);
/* `id`: the number that the monitor gave it. */
void trace_note_vcpu_created(struct trace *trace, unsigned vm, unsigned vcpu, unsigned id);
/* KVM_ENABLE_CAP on a VM; `name` without KVM_CAP_, NULL if it is not known. */
void trace_note_capability(struct trace *trace, unsigned vm, unsigned number, const char *name,
			   const uint64_t args[4], int result);

/* KVM_RUN was called. */
void trace_note_run(struct trace *trace, unsigned vm, unsigned vcpu, bool immediate_exit);

struct trace_exit {
	int result;      /* of KVM_RUN: 0 or -errno */
	uint32_t reason; /* kvm_run.exit_reason, whatever the result is */
	uint16_t flags;  /* kvm_run.flags */
	bool has_word, has_rip, has_registers;
	bool kept;     /* by whoever watches: the monitor has not seen it */
	uint32_t word; /* the processor's own exit reason: VMX with its modifier bits, SVM's code */
	uint64_t rip, linear_rip; /* of the next instruction; with the code segment's base */
	uint64_t registers;       /* trace_digest() of TRACE_REGISTERS words */
};
void trace_note_exit(struct trace *trace, unsigned vm, unsigned vcpu,
		     const struct trace_exit *exit);
/* One number for many: FNV-1a, 64 bits, over the words' bytes, lowest first. The registers are those of
 * struct kvm_regs in its order: RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, R8 to R15, RIP, RFLAGS. */
#define TRACE_REGISTERS 18
uint64_t trace_digest(const uint64_t *words, size_t count);

struct report_lock;
void trace_note_lock(struct trace *trace, unsigned vm, unsigned vcpu,
		     const struct report_lock *lock);

/* A locked access, bus lock or not; `cause`, `stuffed` and `in_delivery` are not looked at. */
void trace_note_locked(struct trace *trace, unsigned vm, unsigned vcpu,
		       const struct report_lock *lock);

/* What happened here is not all in the trace: why, in words. `rip`: where, NULL: nowhere. */
void trace_note_not_covered(struct trace *trace, unsigned vm, unsigned vcpu, const uint64_t *rip,
			    const char *why);

/* A line of the host kernel's log, without the newline. In virtual time the caller gives one that is
 * the same in every run (a thread's number is not). */
void trace_note_host_message(struct trace *trace, unsigned vm, unsigned vcpu, const char *text);

enum trace_sleeper {
	TRACE_SLEEP_HOST,   /* the kernel makes the vCPU wait, for a split lock */
	TRACE_SLEEP_POLICY, /* the monitor does, between two runs */
};
/* It has slept `ns`, which ended now; `interrupted` by a signal. */
void trace_note_sleep(struct trace *trace, unsigned vm, unsigned vcpu, enum trace_sleeper who,
		      uint64_t ns, bool interrupted);

/* Two runs will not give the same trace, because … (a clause); the first reason is kept. */
void trace_note_nondeterministic(struct trace *trace, const char *why);

/* ------------------------------------------------------------------ beginning and end: trace_file.c */
/* By whoever started the run, not in somebody else's process. */

struct trace_header {
	const char *backend; /* what runs the guest */
	const char *options; /* as shim_options_format() gives them; NULL: a real device */
	const char
		*emulated; /* the options of the emulation that stands in for the device; or NULL */
	bool virtual_time; /* then nothing of this host and this run is in it */
	char *const *command; /* what was run, ends with NULL; may be NULL */
	/* What this source cannot tell: events ("bus_lock") and fields ("exit.flags"), ends with NULL;
	 * may be NULL. Who compares traces does not miss them. */
	const char *const *lacks;
};
/*
 * Makes the file, or empties it, locks it (flock), and writes the header. Regular files and character devices only: a
 * pipe whose reader ends would kill the monitor. 0, or -errno with a clause in `why`.
 */
int trace_create(struct trace *trace, const char *path, struct trace_counts *counts,
		 const struct trace_header *header, char *why, size_t size);

struct trace_end {
	int status; /* exit status, or -signal that ended it */
	bool virtual_time;
};
/* The last line, with the totals. -errno: it could not be written, or lines have been lost (-EIO). */
int trace_finish(struct trace *trace, const struct trace_end *end);
/* Length of the UTF-8 sequence beyond ASCII that `s` begins with, 0 if it is none. */
size_t trace_utf8_length(const unsigned char *s);
/* Closes the file; the writers of other processes go on. */
void trace_close(struct trace *trace);

#endif
