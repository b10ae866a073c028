// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every form of every lockable instruction (SDM vol. 2, LOCK; and XCHG without it), encoded for 64-bit
 * mode with the operand at [RDI] and RCX as the register operand.
 */
#include "traces/recorder/recorder.h"

#include <stdio.h>
#include <string.h>

/* Bytes and registers without a pattern; no two alike, top and bottom bits both set and clear. */
static const uint8_t start_memory[16] = { 0x96, 0xa5, 0x3c, 0x7e, 0x81, 0x5b, 0xd2, 0xf4,
					  0x19, 0xe7, 0x60, 0x8d, 0x42, 0xbb, 0x0f, 0xc8 };
#define START_RAX   0x7182930405a6b7c8ull
#define START_RBX   0xa9b8c7d6e5f40312ull
#define START_RCX   0x8f1e2d3c4b5a6978ull
#define START_RDX   0x3141592653589793ull
#define START_FLAGS 0x41u /* ZF, and CF for ADC and SBB */

struct list {
	struct form *forms;
	size_t count;
};

struct encoding {
	const char *name;
	bool lock;
	unsigned size;
	bool escape; /* 0F */
	uint8_t opcode, digit;
	const char *operand; /* after the one in memory, or "" */
	unsigned immediate_size;
	uint32_t immediate;
};

static struct form *add(struct list *list, const struct encoding *e)
{
	struct form *f = &list->forms[list->count++];
	uint8_t *p = f->code;

	*f = (struct form){ .size = (uint8_t)e->size,
			    .rax = START_RAX,
			    .rbx = START_RBX,
			    .rcx = START_RCX,
			    .rdx = START_RDX,
			    .flags = START_FLAGS };
	memcpy(f->memory, start_memory, e->size);
	snprintf(f->name, sizeof(f->name), "%s%s m%u%s", e->lock ? "LOCK " : "", e->name,
		 e->size * 8, e->operand);
	if (e->lock)
		*p++ = 0xf0;
	if (e->size == 2)
		*p++ = 0x66;
	if (e->size >= 8 && strcmp(e->name, "CMPXCHG8B") != 0)
		*p++ = 0x48; /* REX.W */
	if (e->escape)
		*p++ = 0x0f;
	*p++ = e->opcode;
	*p++ = (uint8_t)(e->digit << 3 | 7); /* [rdi] */
	for (unsigned i = 0; i < e->immediate_size; i++)
		*p++ = (uint8_t)(e->immediate >> 8 * i);
	f->length = (uint8_t)(p - f->code);
	return f;
}

static const char *operand_name(char *text, size_t size, const char *kind, unsigned bytes)
{
	snprintf(text, size, ", %s%u", kind, bytes * 8);
	return text;
}

/* Opcode for bytes, opcode + 1 for the larger ones. */
static uint8_t by_size(uint8_t opcode, unsigned size)
{
	return (uint8_t)(opcode + (size > 1));
}

static void add_arithmetic(struct list *list)
{
	static const char *const names[] = { "ADD", "OR", "ADC", "SBB", "AND", "SUB", "XOR" };
	char operand[16];

	for (uint8_t op = 0; op < 7; op++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			unsigned full = size > 4 ? 4 : size;

			add(list,
			    &(struct encoding){
				    names[op], true, size, false, by_size((uint8_t)(op * 8), size),
				    1, operand_name(operand, sizeof(operand), "r", size), 0, 0 });
			add(list, &(struct encoding){
					  names[op], true, size, false, by_size(0x80, size), op,
					  operand_name(operand, sizeof(operand), "imm", full), full,
					  0x8956349c });
			if (size > 1)
				add(list, &(struct encoding){ names[op], true, size, false, 0x83,
							      op, ", imm8", 1, 0x9c });
		}
	}
}

static void add_unary(struct list *list)
{
	static const struct {
		const char *name;
		uint8_t opcode, digit;
	} table[] = {
		{ "INC", 0xfe, 0 }, { "DEC", 0xfe, 1 }, { "NOT", 0xf6, 2 }, { "NEG", 0xf6, 3 }
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		for (unsigned size = 1; size <= 8; size *= 2)
			add(list, &(struct encoding){ table[i].name, true, size, false,
						      by_size(table[i].opcode, size),
						      table[i].digit, "", 0, 0 });
}

static void add_bits(struct list *list)
{
	static const struct {
		const char *name;
		uint8_t digit;
	} table[] = { { "BTS", 5 }, { "BTR", 6 }, { "BTC", 7 } };
	char operand[16];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		for (unsigned size = 2; size <= 8; size *= 2) {
			struct encoding e = { table[i].name,
					      true,
					      size,
					      true,
					      (uint8_t)(0x83 + 8 * table[i].digit),
					      1,
					      operand_name(operand, sizeof(operand), "r", size),
					      0,
					      0 };
			struct form *f = add(list, &e);

			f->rcx = size * 8 - 3; /* in the operand's last byte */
			/* The bit offset reaches beyond the operand at [RDI] (SDM vol. 2, 3.1.1.9). */
			f = add(list, &e);
			f->rcx = 3 * size * 8 + 5;
			f->displacement = (int32_t)(3 * size);
			strcat(f->name, " beyond");
			f = add(list, &e);
			f->rcx = -(uint64_t)(2 * size * 8) + 9;
			f->displacement = -(int32_t)(2 * size);
			strcat(f->name, " before");
			add(list, &(struct encoding){ table[i].name, true, size, true, 0xba,
						      table[i].digit, ", imm8", 1, size * 8 - 3 });
		}
	}
}

static void add_exchanges(struct list *list)
{
	char operand[16];

	for (unsigned size = 1; size <= 8; size *= 2) {
		struct form *f;

		operand_name(operand, sizeof(operand), "r", size);
		for (int lock = 0; lock < 2; lock++)
			add(list, &(struct encoding){ "XCHG", lock, size, false,
						      by_size(0x86, size), 1, operand, 0, 0 });
		add(list, &(struct encoding){ "XADD", true, size, true, by_size(0xc0, size), 1,
					      operand, 0, 0 });
		for (int equal = 0; equal < 2; equal++) {
			f = add(list, &(struct encoding){ "CMPXCHG", true, size, true,
							  by_size(0xb0, size), 1, operand, 0, 0 });
			if (equal)
				memcpy(&f->rax, start_memory, 8);
			strcat(f->name, equal ? " equal" : " unequal");
		}
	}
	for (unsigned size = 8; size <= 16; size *= 2) {
		for (int equal = 0; equal < 2; equal++) {
			struct form *f = add(
				list, &(struct encoding){ size == 8 ? "CMPXCHG8B" : "CMPXCHG16B",
							  true, size, true, 0xc7, 1,
							  equal ? " equal" : " unequal", 0, 0 });

			f->aligned_only = size == 16;
			if (equal) {
				f->rax = f->rdx = 0;
				memcpy(&f->rax, start_memory, size / 2);
				memcpy(&f->rdx, start_memory + size / 2, size / 2);
			}
		}
	}
}

size_t forms_build(struct form forms[MAX_FORMS])
{
	struct list list = { forms, 0 };

	add_arithmetic(&list);
	add_unary(&list);
	add_bits(&list);
	add_exchanges(&list);
	return list.count;
}

unsigned plan_splits(const struct plan *plan, const struct form *form)
{
	/* A form that faults at all of them shows it at the first try. */
	unsigned runs = form->aligned_only && plan->split ? 1 : plan->split;

	return runs * (form->size - 1u);
}

unsigned plan_total(const struct plan *plan, const struct form *forms, size_t count)
{
	unsigned total = 0;

	for (size_t i = 0; i < count; i++)
		total += plan_splits(plan, &forms[i]);
	return total;
}
