// SPDX-License-Identifier: GPL-2.0-only
#include "verify/form.h"

#include "verify/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned form_opcode(const struct form *form, unsigned rex, bool lock, uint8_t *bytes)
{
	unsigned n = 0;

	if (lock)
		bytes[n++] = 0xf0;
	if (form->prefix)
		bytes[n++] = form->prefix;
	if (form->wide || rex)
		bytes[n++] = (uint8_t)(0x40 | (form->wide ? 8 : 0) | rex);
	if (form->map != MAP_ONE)
		bytes[n++] = 0x0f;
	if (form->map == MAP_0F38)
		bytes[n++] = 0x38;
	if (form->map == MAP_0F3A)
		bytes[n++] = 0x3a;
	bytes[n++] = form->opcode;
	return n;
}

/* In map one: prefixes and the way to the other maps. */
static bool is_prefix(unsigned opcode, unsigned code)
{
	switch (opcode) {
	case 0x0f:
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0x66:
	case 0x67:
	case 0xf0:
	case 0xf2:
	case 0xf3:
		return true;
	default:
		return code == 64 && (opcode & 0xf0) == 0x40;
	}
}

/* enum insn_op has families beside each other. */
static bool is_string(const struct insn *insn)
{
	return insn->op >= OP_MOVS && insn->op <= OP_SCAS;
}

static bool is_port(const struct insn *insn)
{
	return insn->op >= OP_IN && insn->op <= OP_OUTS;
}

static bool is_integer(const struct insn *insn)
{
	if (insn->op >= OP_ADD && insn->op <= OP_MOVSX)
		return true;
	switch (insn->op) {
	case OP_PLAIN:
	case OP_PUSH:
	case OP_POP:
	case OP_NOP:
	case OP_PUSHF:
	case OP_PUSH_SEG:
	case OP_MOV_FROM_SEG:
		return true;
	default:
		return false;
	}
}

static enum form_class classify(const struct insn *insn, const struct mode *mode)
{
	if (limit_find(&(struct moment){ .mode = mode, .insn = insn }))
		return FORM_NONE;
	if (insn->op == OP_PLAIN && insn->flags & INSN_SSE)
		return FORM_SSE;
	if (is_integer(insn))
		return FORM_INTEGER;
	if (is_string(insn))
		return FORM_STRING;
	if (is_port(insn) && !mode->cpl)
		return FORM_PORT;
	return FORM_NONE;
}

/* Decodes the form with a plain operand: [DI], [EDI], [RDI]; or register 1. */
static bool decode(const struct form *form, const struct mode *mode, bool lock, struct insn *insn)
{
	uint8_t bytes[32] = { 0 };
	unsigned n = form_opcode(form, 0, lock, bytes);

	bytes[n] = (uint8_t)(form->reg << 3 | (form->memory ? (mode->code == 16 ? 5 : 7) : 0xc1));
	return !insn_decode(insn, bytes, INSN_MAX_LENGTH, mode->code);
}

/* Do the eight values of ModRM.reg mean different instructions? */
static bool is_group(const struct form *form, const struct mode *mode, const struct insn *this)
{
	for (unsigned reg = 0; reg < 8; reg++) {
		struct form other = *form;
		struct insn insn;

		other.reg = (uint8_t)reg;
		if (!decode(&other, mode, false, &insn) || insn.op != this->op)
			return true;
	}
	return false;
}

static int find_lockable(struct form_list *list, const struct form *form, const struct mode *mode,
			 const struct insn *insn)
{
	const char *map = form->map == MAP_ONE ? "" : "0F ";
	struct lockable new;
	int n;

	n = snprintf(new.name, sizeof(new.name), "%s m%u, %s%02X", insn_op_name(insn->op),
		     insn->mem_size * 8, map, form->opcode);
	if (is_group(form, mode, insn))
		snprintf(new.name + n, sizeof(new.name) - (size_t)n, " /%u", form->reg);
	for (size_t i = 0; i < list->lockables; i++)
		if (!strcmp(list->lockable[i].name, new.name))
			return (int)i;
	if (list->lockables == MAX_LOCKABLE)
		return -E2BIG;
	list->lockable[list->lockables] = new;
	return (int)list->lockables++;
}

static int add(struct form_list *list, size_t *room, const struct form *form)
{
	if (list->forms == *room) {
		size_t more = *room ? *room * 2 : 1024;
		struct form *grown = realloc(list->form, more * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		list->form = grown;
		*room = more;
	}
	list->form[list->forms++] = *form;
	return 0;
}

/* With memory or registers, one value of ModRM.reg: into the list, if it is something. */
static int consider(struct form_list *list, size_t *room, struct form *form,
		    const struct mode *mode)
{
	struct insn insn, locked;
	int r;

	if (!decode(form, mode, false, &insn))
		return 0;
	form->modrm = !!(insn.flags & INSN_MODRM);
	if (form->memory != !!(insn.flags & INSN_MEM) && (form->modrm || form->memory))
		return 0;
	/* without ModRM there is one form, with no `reg`; MOV moffs is found as memory */
	if (!form->modrm && (form->reg || form->memory != !!(insn.flags & INSN_MEM)))
		return 0;
	form->op = insn.op;
	form->opsize = insn.opsize;
	form->mem_size = insn.mem_size;
	form->flags = insn.flags;
	form->class = (uint8_t)classify(&insn, mode);
	if (form->class == FORM_NONE)
		return 0;
	if (form->memory && decode(form, mode, true, &locked) && insn_lock_is_legal(&locked)) {
		form->class = FORM_LOCKED;
		r = find_lockable(list, form, mode, &locked);
		if (r < 0)
			return r;
		form->lockable = (uint16_t)r;
	}
	return add(list, room, form);
}

/* F2 and F3 are mandatory prefixes of SSE and repetitions of strings; elsewhere they mean nothing, or
 * another instruction by processor (F3 0F BC). */
static bool prefix_fits(const struct form *form, const struct mode *mode)
{
	struct form copy = *form;
	struct insn insn;

	if (form->prefix == 0 || form->prefix == 0x66)
		return true;
	copy.memory = true;
	if (decode(&copy, mode, false, &insn) && classify(&insn, mode) == FORM_SSE)
		return true;
	copy.memory = false;
	if (!decode(&copy, mode, false, &insn))
		return false;
	return is_string(&insn) || insn.op == OP_INS || insn.op == OP_OUTS ||
	       (insn.op != OP_UD && insn.flags & INSN_SSE);
}

static int by_class(const void *a, const void *b)
{
	return ((const struct form *)a)->class - ((const struct form *)b)->class;
}

static int enumerate(struct form_list *list, const struct mode *mode)
{
	static const uint8_t prefixes[] = { 0, 0x66, 0xf2, 0xf3 };
	size_t room = 0;
	int r = 0;

	for (unsigned n = 0; n < 4 * 256 * 4 * 2 && !r; n++) {
		struct form form = { .wide = n & 1,
				     .prefix = prefixes[n >> 1 & 3],
				     .opcode = (uint8_t)(n >> 3),
				     .map = (uint8_t)(n >> 11) };

		if (form.map == MAP_ONE && is_prefix(form.opcode, mode->code))
			continue;
		if (form.map == MAP_0F && (form.opcode == 0x38 || form.opcode == 0x3a))
			continue;
		if ((form.wide && mode->code != 64) || !prefix_fits(&form, mode))
			continue;
		for (unsigned k = 0; k < 16 && !r; k++) {
			form.memory = k >> 3;
			form.reg = k & 7;
			r = consider(list, &room, &form, mode);
		}
	}
	return r;
}

int form_list_new(struct form_list **out, const struct mode *mode)
{
	struct form_list *list = calloc(1, sizeof(*list));
	int r;

	*out = list;
	if (!list)
		return -ENOMEM;
	r = enumerate(list, mode);
	if (r)
		return r;
	qsort(list->form, list->forms, sizeof(list->form[0]), by_class);
	for (size_t i = list->forms; i-- > 0;)
		list->first[list->form[i].class] = i;
	list->first[FORM_CLASSES] = list->forms;
	/* a class without forms begins where the next does */
	for (int c = FORM_CLASSES - 1; c >= 0; c--)
		if (list->first[c] == 0 && (list->forms == 0 || list->form[0].class != c))
			list->first[c] = list->first[c + 1];
	return 0;
}

void form_list_free(struct form_list *list)
{
	if (list)
		free(list->form);
	free(list);
}
