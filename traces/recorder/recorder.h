/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Measures this machine's locked instructions, at every offset around a cache line. A program of its
 * own that knows nothing of the project: what it writes is what the project is held against.
 */
#ifndef BUSLOCK_TRACES_RECORDER_H
#define BUSLOCK_TRACES_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE 64u /* bytes; offsets of a record are 0 to LINE - 1 */

/*
 * A split lock stops every core of the machine for its duration, other people's as well. All
 * recordings into one file together execute at most so many; there is no option to raise it.
 */
#define SPLIT_BUDGET 2000u
/* … and so far apart: the machine is stopped for less than a thousandth of the time. */
#define SPLIT_PAUSE_MS 5u

#define FLAGS_STATUS 0x8d5u /* OF SF ZF AF PF CF */

/* One form of a lockable instruction, with its operand at [RDI] and what it starts from. */
struct form {
	char name[40]; /* as the manuals write it: "LOCK ADD m32, imm8" */
	uint8_t code[16], length;
	uint8_t size;         /* of the operand in memory, bytes */
	bool aligned_only;    /* #GP(0) unless aligned: CMPXCHG16B */
	int32_t displacement; /* of the operand from RDI: BTx with an offset beyond the operand */
	uint8_t memory[16];
	uint64_t rax, rbx, rcx, rdx;
	uint32_t flags;
};

#define MAX_FORMS 160
/* All forms; the number of them. */
size_t forms_build(struct form forms[MAX_FORMS]);

static inline bool form_splits(const struct form *form, unsigned offset)
{
	return offset + form->size > LINE;
}

/* Executions at each offset of a line. */
struct plan {
	unsigned inside; /* of an operand within the line */
	unsigned split;  /* of one that splits; 0: a dry run */
};
/* Split executions that a form, or all of them, will take. */
unsigned plan_splits(const struct plan *plan, const struct form *form);
unsigned plan_total(const struct plan *plan, const struct form *forms, size_t count);

/* ------------------------------------------------------------------ measuring */

/* What one execution left. No padding: outcomes are compared as bytes. */
struct outcome {
	uint8_t memory[16];
	uint64_t rax, rbx, rcx, rdx;
	uint32_t flags;
	uint32_t fault; /* #GP: all else is 0 */
};

#define MAX_OUTCOMES 8
#define MAX_RUNS     256

struct row {
	unsigned min[LINE], median[LINE]; /* TSC ticks */
	/* Tenths of a tick, of the faster half: finer than the counter, which may advance in steps. */
	unsigned mean10[LINE];
	unsigned runs[LINE]; /* with a time: not the faults */
	unsigned splits;     /* split executions, faults included */
	struct {
		struct outcome outcome;
		unsigned first_offset, executions;
	} outcomes[MAX_OUTCOMES];
	unsigned outcome_count;
};

/* Pins the thread to the processor it is on, maps memory. -errno. */
int measure_begin(void);
unsigned measure_tsc_khz(void);
/*
 * Split executions from now on, at most SPLIT_BUDGET in the life of the process. None before this is
 * called: whoever only measures within the line can't do otherwise by mistake. Returns how many the
 * process may have executed at its end.
 */
unsigned measure_allow(unsigned splits);
/* What an instruction that does nothing takes. */
unsigned measure_nothing(void);
/*
 * The form at every offset. -EDQUOT: more split executions than allowed; -EOVERFLOW: more different outcomes than
 * a row has room for; -EFAULT: it wrote beside its operand; -EPERM: the kernel punishes split locks
 * (SIGBUS, or a delay); -EIO: another signal.
 */
int measure_form(const struct form *form, const struct plan *plan, struct row *row);
/* Split executions so far in this process. */
unsigned measure_splits(void);

/* ------------------------------------------------------------------ may it run? */

struct circumstances {
	bool dry_run;
	bool really;        /* --yes-really */
	bool again;         /* --again */
	bool record_exists; /* or the rest of an interrupted recording */
	bool ci;            /* the environment variable CI is set */
	bool terminal;      /* somebody is there to be asked */
	unsigned spent;     /* split executions of earlier recordings into this file */
	unsigned planned;
};
/* false with the reason in `why`. If true and not a dry run, the user must still confirm. */
bool guard_allows(const struct circumstances *now, char *why, size_t size);
/* What the user has to type. */
void guard_sentence(unsigned planned, char *text, size_t size);
bool guard_confirms(unsigned planned, const char *typed);

#endif
