// SPDX-License-Identifier: GPL-2.0-only
#include "verify/program.h"

#include "emu/insn.h"
#include "verify/rng.h"

#include <errno.h>
#include <string.h>

/* `value`, if a signed field of `size` bytes holds it; a 16-bit or 32-bit RIP wraps. */
static int put_relative(uint8_t *field, unsigned size, unsigned code, int64_t value)
{
	if (code == 16)
		value = (int16_t)value;
	if (size == 1 && value != (int8_t)value)
		return -ERANGE;
	if (size == 2 && value != (int16_t)value)
		return -ERANGE;
	memcpy(field, &value, size);
	return 0;
}

static int apply_fixup(const struct program *p, const struct item *item, uint8_t *bytes,
		       const uint16_t *offset, unsigned index)
{
	int64_t next = offset[index] + item->length;
	int64_t value;

	switch (item->fix) {
	case FIX_RELATIVE:
		return put_relative(bytes + item->fix_at, item->fix_size, p->mode->code,
				    offset[item->target] - next);
	case FIX_RIP:
		value = item->value - (MODE_CODE + next);
		memcpy(bytes + item->fix_at, &value, item->fix_size);
		return 0;
	case FIX_ADDRESS:
		value = MODE_CODE + offset[item->target] + item->value;
		memcpy(bytes + item->fix_at, &value, item->fix_size);
		return 0;
	default:
		return 0;
	}
}

/* The terminator; where it is a store, its displacement is the last field. */
static void put_end(const struct program *p, uint8_t *code)
{
	uint32_t offset = MODE_END - (uint32_t)p->base[SEG_DS];

	memcpy(code, p->mode->end, p->mode->end_length);
	if (p->mode->cpl && mode_has_base(p->mode, SEG_DS))
		memcpy(code + p->mode->end_length - 4, &offset, 4);
}

int program_layout(const struct program *p, uint8_t code[PROGRAM_CODE], size_t *size,
		   uint16_t offset[PROGRAM_ITEMS + 1])
{
	uint16_t own[PROGRAM_ITEMS + 1];
	uint16_t at = 0;

	if (!offset)
		offset = own;
	for (unsigned i = 0; i < p->items; i++) {
		offset[i] = at;
		memcpy(code + at, p->item[i].bytes, p->item[i].length);
		at += p->item[i].length;
	}
	offset[p->items] = at;
	put_end(p, code + at);
	*size = at + p->mode->end_length;
	for (unsigned i = 0; i < p->items; i++) {
		int r = apply_fixup(p, &p->item[i], code + offset[i], offset, i);

		if (r)
			return r;
	}
	return 0;
}

void program_remove(struct program *p, unsigned first, unsigned count)
{
	memmove(&p->item[first], &p->item[first + count],
		(p->items - first - count) * sizeof(p->item[0]));
	p->items -= count;
	for (unsigned i = 0; i < p->items; i++) {
		struct item *item = &p->item[i];

		if (item->target >= first + count)
			item->target = (uint8_t)(item->target - count);
		else if (item->target > first)
			item->target = (uint8_t)first;
	}
}

/* Block `n` of eight bytes of the contents that `seed` stands for. */
static uint64_t content(uint64_t seed, uint64_t n)
{
	return seed ? rng_mix(seed + n * 0x9e3779b97f4a7c15) : 0;
}

int program_memory(const struct program *p, uint8_t *ram)
{
	uint8_t code[PROGRAM_CODE];
	size_t size;
	int r = program_layout(p, code, &size, NULL);

	if (r)
		return r;
	memset(ram, 0, MODE_RAM);
	mode_write_tables(p->mode, ram);
	for (uint32_t at = MODE_DATA; at < MODE_RAM; at += 8) {
		uint64_t value = content(p->fill, at);

		memcpy(ram + at, &value, 8);
	}
	memset(ram + MODE_CODE, 0xf4, MODE_CODE_END - MODE_CODE);
	memcpy(ram + MODE_CODE, code, size);
	return 0;
}

void program_xmm(const struct program *p, uint8_t xmm[16][16])
{
	for (unsigned i = 0; i < 32; i++) {
		uint64_t value = content(p->fill, i);

		memcpy(&xmm[i / 2][i % 2 * 8], &value, 8);
	}
}

void program_answer(const struct program *p, unsigned n, uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)(content(p->answers, n * 1024 + i / 8) >> (i % 8 * 8));
}
