/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What people already have, as a trace: tracepoints of KVM as ftrace, trace-cmd and perf print them, and
 * what the kernel's split-lock detection says in its log. docs/import.md has the layouts.
 *
 * A line becomes an event, or is one of the things that a log has besides; what is not understood is
 * told, never dropped.
 */
#ifndef BUSLOCK_TRACES_IMPORT_H
#define BUSLOCK_TRACES_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ------------------------------------------------------------------ one line */

enum import_line {
	IMPORT_EVENT,   /* one of those below */
	IMPORT_NOTHING, /* empty, a comment, a header of the tool */
	IMPORT_OTHER,   /* an event or a message of which a trace has nothing */
	IMPORT_LOST,    /* the tool says that it has lost events */
	IMPORT_UNKNOWN, /* not understood */
};

enum import_kind {
	IMPORT_VM_EXIT,  /* kvm_exit, kvm_nested_vmexit */
	IMPORT_VM_ENTRY, /* kvm_entry */
	IMPORT_EXIT,     /* kvm_userspace_exit */
	IMPORT_MESSAGE,  /* of the host kernel */
};

enum import_isa { IMPORT_ISA_UNKNOWN, IMPORT_VMX, IMPORT_SVM };

struct import_event {
	enum import_kind kind;
	char name[40]; /* the tracepoint's; also of IMPORT_OTHER */
	bool has_time;
	uint64_t time_ns; /* by the log's own clock */
	bool has_thread, has_cpu, has_vcpu;
	uint32_t thread, cpu, vcpu;

	/* VM exits and entries */
	enum import_isa isa;
	bool nested, immediate_exit;
	bool has_word;   /* else the tool did not say */
	uint32_t word;   /* the whole exit reason */
	char reason[40]; /* as printed */
	bool has_rip, has_info, has_interruption, has_requests;
	uint64_t rip, info1, info2, requests;
	uint32_t interruption, error_code;

	/* KVM_RUN */
	int result;      /* 0 or -errno; INT32_MIN: some error */
	bool has_number; /* the exit reason is told */
	uint32_t number;

	/* messages; of IMPORT_LOST the number of events, 0: not told */
	char text[256];
	const char *trap; /* "AC", "DB", NULL: not about one */
	char comm[64];
	uint64_t address;
	uint64_t count; /* lost, or suppressed messages */
};

/* `line` without its newline; any bytes. */
enum import_line import_parse(const char *line, struct import_event *event);
/* Parts of it: tracepoints, and the kernel's log. */
enum import_line import_parse_tracepoint(const char *line, struct import_event *event);
enum import_line import_parse_log(const char *line, struct import_event *event);

/* "EPT_VIOLATION", "npf", "EXIT_NPF" …: whose and which; false: no such name. */
bool import_exit_number(const char *name, enum import_isa *isa, uint32_t *number);
/* As the kernel prints it; NULL: none. */
const char *import_exit_name(enum import_isa isa, uint32_t number);

/* ------------------------------------------------------------------ whole files */

#define IMPORT_OTHERS 32

struct import_totals {
	uint64_t lines, events, nothing, lost, unknown;
	/* events and messages that a trace has nothing of, by name; the last is "others" */
	struct {
		char name[40];
		uint64_t count;
	} other[IMPORT_OTHERS];
	uint64_t others;
};

struct import;
/*
 * Begins a trace on `out`, of the named files (ends with NULL). `complain` (may be NULL) gets each line that
 * was not understood. -ENOMEM, -EIO.
 */
int import_begin(struct import **import, FILE *out, const char *const *names,
		 void (*complain)(void *opaque, const char *name, unsigned long number,
				  const char *line),
		 void *opaque);
/* All lines of a file. -errno: it cannot be read, or the trace not be written. */
int import_file(struct import *import, FILE *in, const char *name);
/* The last line. Frees it in any case. */
int import_end(struct import *import, struct import_totals *totals);

#endif
