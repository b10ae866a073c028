/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The instructions that programs are made of, as the decoder's own tables have them: every encoding
 * that it knows, once for each mandatory prefix, operand size, and value of ModRM.reg.
 */
#ifndef BUSLOCK_VERIFY_FORM_H
#define BUSLOCK_VERIFY_FORM_H

#include "emu/insn.h"
#include "verify/mode.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What kind of instruction; each is a table of weights away (generate.c). */
enum form_class {
	FORM_LOCKED,  /* takes LOCK, or XCHG with memory */
	FORM_INTEGER, /* general registers, memory, flags, stack */
	FORM_STRING,
	FORM_PORT,
	FORM_SSE,
	FORM_NONE, /* nothing to be generated: branches and the like have a way of their own */
	FORM_CLASSES = FORM_NONE,
};

struct form {
	uint8_t prefix; /* 66, F2, F3, or 0 */
	bool wide;      /* REX.W */
	uint8_t map;    /* enum insn_map */
	uint8_t opcode;
	uint8_t reg; /* ModRM.reg, if `modrm` */
	bool modrm;
	bool memory; /* with a memory operand (by ModRM or moffs), else registers */
	uint8_t op;  /* enum insn_op */
	uint8_t opsize;
	uint8_t mem_size;
	uint8_t class;
	uint16_t lockable; /* FORM_LOCKED: index into form_list.lockable */
	uint32_t flags;    /* of struct insn */
};

/* A lockable form as coverage counts it: encodings that differ in the register alone are one. */
struct lockable {
	char name[40]; /* "LOCK ADD m32, 81 /0" */
};
#define MAX_LOCKABLE 160

struct form_list {
	struct form *form; /* sorted by class */
	size_t forms;
	size_t first[FORM_CLASSES + 1]; /* of each class; the last: how many */
	struct lockable lockable[MAX_LOCKABLE];
	size_t lockables;
};

/* Everything that programs of this mode may hold. -ENOMEM. */
int form_list_new(struct form_list **list, const struct mode *mode);
void form_list_free(struct form_list *list);

/* Bytes in front of ModRM: prefix, REX (`rex`: its low three bits), opcode. Returns how many. */
unsigned form_opcode(const struct form *form, unsigned rex, bool lock, uint8_t *bytes);

#endif
