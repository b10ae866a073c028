/* SPDX-License-Identifier: GPL-2.0-only */
/* `buslock explain`: what is known of one instruction. */
#ifndef BUSLOCK_CLI_EXPLAIN_H
#define BUSLOCK_CLI_EXPLAIN_H

#include "cli/choices.h"
#include "emu/insn.h"
#include "emu/memtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Registers of the question: general ones by number, RIP, RFLAGS, then segment bases. */
enum {
	EXPLAIN_RIP = 16,
	EXPLAIN_RFLAGS,
	EXPLAIN_SEGMENT, /* + enum insn_segment */
	EXPLAIN_REGISTERS = EXPLAIN_SEGMENT + 6
};

/* Words about the operand's memory. */
struct explain_memory {
	const char *given; /* the first of them that was, or NULL */
	unsigned index;    /* PAT, PCD, PWT of the page as a number */
	bool paging, cd;   /* CR0.PG, CR0.CD */
	bool paging_given;
	uint64_t pat;             /* IA32_PAT */
	int mtrr;                 /* EMU_MT_; EXPLAIN_MTRR_OFF */
	uint64_t gpa;             /* of the operand */
	bool gpa_given;           /* false: as linear */
	uint64_t disabled_quirks; /* KVM_CAP_DISABLE_QUIRKS2 */
};
#define EXPLAIN_MTRR_OFF (-1) /* IA32_MTRR_DEF_TYPE.E = 0 */

struct question {
	unsigned mode;          /* 16, 32, 64 */
	struct choices machine; /* processor, kernel, who decides memory types */
	bool type_given;        /* … or the effective type was given: `type` */
	unsigned type;          /* EMU_MT_ */
	struct explain_memory memory;
	uint8_t bytes[256];
	size_t count;
	uint64_t value[EXPLAIN_REGISTERS];
	bool given[EXPLAIN_REGISTERS];
};

enum lock_verdict {
	LOCK_NONE,
	LOCK_EXPLICIT, /* LOCK prefix */
	LOCK_IMPLICIT, /* XCHG with memory */
	LOCK_ILLEGAL,  /* #UD because of the prefix */
};

/* How the operand's memory type came about. */
struct explain_type {
	bool derived; /* false: given, only `type` is valid */
	unsigned type;
	uint64_t gpa;
	bool declared; /* by --uc */
	enum emu_memory_policy policy;
	bool cd; /* the guest's CR0.CD */
	struct memtype steps;
};

/* The VM exit that a bus lock causes. */
struct explain_exit {
	bool taken;    /* there is one */
	bool unused;   /* the processor has it, but this kernel does not use it */
	uint32_t word; /* as struct emu_exit has it */
	bool behind;   /* trap-like */
	uint64_t rip;
};

struct answer {
	struct insn insn;
	char text[128];
	bool defined; /* false: #UD for another reason than LOCK */
	enum lock_verdict lock;
	const char *lock_rule;
	const char *stuffed; /* locked accesses it may make besides its operand, or NULL */
	struct insn_access access[INSN_MAX_ACCESSES];
	int accesses;
	bool misaligned_16b; /* CMPXCHG16B off its alignment: #GP(0) */
	struct explain_type memory;
	unsigned cause;   /* EMU_LOCK_ of the operand's access, if it locks */
	const char *rule; /* for the verdict on the bus lock */
	struct explain_exit exit;
	bool assumed[EXPLAIN_REGISTERS]; /* matters and was not given */
};

/* "rdi", "ip", "flags", "es.base" … in the mode's own names. */
const char *explain_register_name(unsigned reg, unsigned mode);
/* "es=0070", "rdi=7f", "pcd=1" … false after complaining. */
bool explain_set_word(struct question *question, const char *text);
/* The type of the operand at `linear`. */
void explain_memory_type(const struct question *question, uint64_t linear,
			 struct explain_type *type);
/* What decides below the guest's own tables, and where that is written. */
const char *explain_below(const struct question *question, const struct explain_type *type,
			  char *text, size_t size);
/* Hexadecimal bytes in any spacing; false after complaining. */
bool explain_add_bytes(struct question *question, const char *text);
/* 0; -ENODATA: more bytes are needed; -E2BIG: longer than 15 bytes, #GP(0). */
int explain(const struct question *question, struct answer *answer);

void explain_print_text(const struct question *question, const struct answer *answer);
int explain_print_json(const struct question *question, const struct answer *answer);

#endif
