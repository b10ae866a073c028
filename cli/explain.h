/* SPDX-License-Identifier: GPL-2.0-only */
/* `buslock explain`: what is known of one instruction. */
#ifndef BUSLOCK_CLI_EXPLAIN_H
#define BUSLOCK_CLI_EXPLAIN_H

#include "emu/insn.h"

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

struct question {
	unsigned mode;        /* 16, 32, 64 */
	unsigned memory_type; /* EMU_MT_ of the operand */
	const char *memory_type_name;
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

struct answer {
	struct insn insn;
	char text[128];
	bool defined; /* false: #UD for another reason than LOCK */
	enum lock_verdict lock;
	const char *lock_rule;
	const char *stuffed; /* locked accesses it may make besides its operand, or NULL */
	struct insn_access access[INSN_MAX_ACCESSES];
	int accesses;
	bool misaligned_16b;             /* CMPXCHG16B off its alignment: #GP(0) */
	unsigned cause;                  /* EMU_LOCK_ of the operand's access, if it locks */
	const char *rule;                /* for the verdict on the bus lock */
	bool assumed[EXPLAIN_REGISTERS]; /* matters and was not given */
};

/* "rdi", "ip", "flags", "es.base" … in the mode's own names. */
const char *explain_register_name(unsigned reg, unsigned mode);
/* "es=0070", "rdi=7f" … false after complaining. */
bool explain_set_register(struct question *question, const char *text);
/* Hexadecimal bytes in any spacing; false after complaining. */
bool explain_add_bytes(struct question *question, const char *text);
/* 0; -ENODATA: more bytes are needed; -E2BIG: longer than 15 bytes, #GP(0). */
int explain(const struct question *question, struct answer *answer);

void explain_print_text(const struct question *question, const struct answer *answer);
int explain_print_json(const struct question *question, const struct answer *answer);

#endif
