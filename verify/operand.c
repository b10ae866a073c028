// SPDX-License-Identifier: GPL-2.0-only
/* An instruction's operands: which registers, which memory, and the instructions that lead there. */
#include "verify/flags.h"
#include "verify/generate.h"

#include <string.h>

#define LINE 64u
#define PAGE 4096u

struct item *emit(struct generator *g, const void *bytes, unsigned length)
{
	struct item *item;

	if (g->p->items == PROGRAM_ITEMS)
		return NULL;
	item = &g->p->item[g->p->items++];
	memset(item, 0, sizeof(*item));
	memcpy(item->bytes, bytes, length);
	item->length = (uint8_t)length;
	return item;
}

void emit_set(struct generator *g, unsigned reg, uint64_t value, unsigned size)
{
	unsigned code = g->p->mode->code, n = 0, bytes = code == 16 ? size : 4;
	uint8_t insn[15];

	if (code == 16 && size == 4)
		insn[n++] = 0x66;
	if (code == 64 && value > 0xffffffff) {
		insn[n++] = (uint8_t)(0x48 | reg >> 3);
		bytes = 8;
	} else if (reg >= 8) {
		insn[n++] = 0x41;
	}
	insn[n++] = (uint8_t)(0xb8 | (reg & 7));
	memcpy(insn + n, &value, bytes);
	emit(g, insn, n + bytes);
}

void define_flags(struct generator *g, uint32_t needed)
{
	static const uint8_t cmp[] = { 0x39, 0xc8 }; /* cmp eax, ecx */

	if (g->undefined & needed) {
		emit(g, cmp, sizeof(cmp));
		g->undefined = 0;
	}
}

/* Values that find edges, and others. */
static uint64_t interesting(struct generator *g)
{
	static const uint64_t edges[] = { 0,          1,
					  2,          0x7f,
					  0x80,       0xff,
					  0x7fff,     0x8000,
					  0xffff,     0x7fffffff,
					  0x80000000, 0xffffffff,
					  INT64_MAX,  (uint64_t)INT64_MIN,
					  UINT64_MAX };

	if (rng_chance(&g->rng, 40))
		return edges[rng_below(&g->rng, sizeof(edges) / sizeof(edges[0]))];
	return rng_next(&g->rng) >> rng_below(&g->rng, 64);
}

/* ------------------------------------------------------------------ where */

/* A linear address for `size` bytes: near the edges of lines and pages, where things go wrong. */
static uint64_t any_address(struct generator *g, unsigned size)
{
	uint64_t page =
		MODE_DATA + rng_below(&g->rng, 5) * PAGE; /* the last one: the end of memory */
	unsigned before = rng_below(&g->rng, size + 2);

	if (page >= MODE_READONLY && rng_chance(&g->rng, 60))
		page = MODE_DATA + PAGE;
	switch (rng_below(&g->rng, 4)) {
	case 0:
		return page - before;
	case 1:
		return MODE_DATA + LINE * (1 + rng_below(&g->rng, 120)) - before;
	default:
		return MODE_DATA + rng_below(&g->rng, 2 * PAGE - size);
	}
}

/* … within one line, for locked operands: a split lock would stall the machine that really runs it. */
static uint64_t address_in_line(struct generator *g, unsigned size)
{
	uint64_t line = MODE_DATA + LINE * rng_below(&g->rng, 2 * PAGE / LINE);
	unsigned room = LINE - size;

	if (rng_chance(&g->rng, 4)) /* read-only, or absent */
		line += 2 * PAGE;
	if (rng_chance(&g->rng, 3))
		line = MODE_MMIO;
	switch (rng_below(&g->rng, 4)) {
	case 0:
		return line;
	case 1:
		return line + room;
	case 2:
		return line + rng_below(&g->rng, room + 1) / size * size;
	default:
		return line + rng_below(&g->rng, room + 1);
	}
}

static uint64_t choose_address(struct generator *g, const struct form *form, unsigned size)
{
	/* CMPXCHG16B and most SSE operands: #GP if misaligned, which the engine does not raise for SSE */
	bool aligned = size == 16 && (form->class == FORM_SSE || rng_chance(&g->rng, 95));
	uint64_t address;

	if (form->class == FORM_LOCKED)
		address = address_in_line(g, size);
	else if (rng_chance(&g->rng, 3) && size <= 8 && form->flags & INSN_KVM_EMULATES)
		address = MODE_MMIO + rng_below(&g->rng, LINE);
	else
		address = any_address(g, size);
	return aligned ? address & ~15ull : address;
}

/* ------------------------------------------------------------------ how to get there */

struct memory {
	uint64_t linear;
	unsigned address_size; /* 2, 4, 8 */
	bool override;         /* 67 */
	uint8_t segment;       /* prefix, or 0 */
	unsigned seg;          /* enum insn_segment */
	uint8_t modrm, sib, rex;
	bool has_sib, rip;
	unsigned disp_size;
	uint64_t disp;
};

static const uint8_t segment_prefix[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };

static uint64_t offset_in(const struct generator *g, unsigned seg, uint64_t linear)
{
	return linear - (mode_has_base(g->p->mode, seg) ? g->p->base[seg] : 0);
}

/* A segment through which `linear` can be reached; real mode has 64 KiB of each. */
static unsigned choose_segment(struct generator *g, uint64_t linear, bool store)
{
	for (unsigned tries = 0; tries < 24; tries++) {
		unsigned seg = rng_chance(&g->rng, 50) ? SEG_DS : rng_below(&g->rng, 6);

		/* code cannot be written in protected mode (limits.c) */
		if (seg == SEG_CS && store && g->p->mode->protected && g->p->mode->code != 64)
			continue;
		if (g->p->mode->code != 16 || offset_in(g, seg, linear) < 0xfff0)
			return seg;
	}
	return linear >= MODE_RAM ? SEG_GS : SEG_DS;
}

static bool has_high_registers(const struct generator *g)
{
	return g->p->mode->code == 64 && !g->low;
}

static unsigned choose_register(struct generator *g)
{
	for (;;) {
		unsigned reg = rng_below(&g->rng, has_high_registers(g) ? 16 : 8);

		if (reg != 4 && !(g->reserved & 1u << reg))
			return reg;
	}
}

/* [BX+SI+disp] and the like (SDM vol. 2, table 2-1): registers of each ModRM.rm. */
static void address16(struct generator *g, struct memory *m, uint64_t offset, uint16_t avoid)
{
	static const int8_t base[] = { 3, 3, 5, 5, -1, -1, 5, 3 },
			    index[] = { 6, 7, 6, 7, 6, 7, -1, -1 };
	unsigned rm = rng_below(&g->rng, 8), mod = rng_below(&g->rng, 3);
	unsigned registers = (base[rm] < 0 ? 0 : 1u << base[rm]) |
			     (index[rm] < 0 ? 0 : 1u << index[rm]);
	int64_t disp = mod == 1   ? (int8_t)rng_next(&g->rng)
		       : mod == 2 ? (int16_t)rng_next(&g->rng)
				  : 0;
	uint16_t left = (uint16_t)(offset - (uint64_t)disp);

	if ((registers & (g->reserved | avoid)) || (rm == 6 && mod == 0) ||
	    rng_chance(&g->rng, 30)) {
		m->modrm = 6;
		m->disp_size = 2;
		m->disp = offset;
		return;
	}
	if (base[rm] >= 0) {
		uint16_t value = index[rm] >= 0 ? (uint16_t)rng_next(&g->rng) : left;

		emit_set(g, (unsigned)base[rm], value, 2);
		left = (uint16_t)(left - value);
	}
	if (index[rm] >= 0)
		emit_set(g, (unsigned)index[rm], left, 2);
	m->modrm = (uint8_t)(mod << 6 | rm);
	m->disp_size = mod;
	m->disp = (uint64_t)disp;
}

/* An absolute address: disp32, in 64-bit code through a SIB byte, or relative to RIP. */
static void absolute(struct generator *g, struct memory *m, uint64_t offset)
{
	m->modrm = 5;
	m->disp_size = 4;
	m->disp = offset;
	if (g->p->mode->code != 64)
		return;
	m->rip = offset == m->linear && rng_chance(&g->rng, 50);
	if (!m->rip) {
		m->modrm = 4;
		m->has_sib = true;
		m->sib = 0x25;
	}
}

static void address32(struct generator *g, struct memory *m, uint64_t offset, uint16_t avoid)
{
	unsigned mod = rng_below(&g->rng, 3), base = choose_register(g), index = choose_register(g);
	unsigned scale = rng_below(&g->rng, 4);
	bool indexed = rng_chance(&g->rng, 40) && index != base;
	int64_t disp = mod == 1   ? (int8_t)rng_next(&g->rng)
		       : mod == 2 ? (int32_t)rng_next(&g->rng)
				  : 0;
	uint64_t left = offset - (uint64_t)disp,
		 mask = m->address_size == 4 ? 0xffffffff : UINT64_MAX;

	if (rng_chance(&g->rng, 30) || (avoid & 1u << base) || (indexed && avoid & 1u << index)) {
		absolute(g, m, offset);
		return;
	}
	if ((base & 7) == 5 && mod == 0) { /* that is no base but a displacement */
		mod = 1;
	}
	if (indexed) {
		uint64_t value = interesting(g) & mask;

		emit_set(g, index, value, 4);
		left -= value << scale;
		m->sib = (uint8_t)(scale << 6 | (index & 7) << 3 | (base & 7));
		m->rex |= index >> 3 << 1;
	} else if ((base & 7) == 4) {
		m->sib = 0x24;
	}
	m->has_sib = indexed || (base & 7) == 4;
	emit_set(g, base, left & mask, 4);
	m->rex |= base >> 3;
	m->modrm = (uint8_t)(mod << 6 | (m->has_sib ? 4 : base & 7));
	m->disp_size = mod == 2 ? 4 : mod;
	m->disp = (uint64_t)disp;
}

/* `avoid`: registers that the instruction needs for something else. */
static void choose_memory(struct generator *g, struct memory *m, bool store, uint16_t avoid)
{
	unsigned code = g->p->mode->code;
	unsigned standard = code / 8;
	uint64_t offset;
	bool stack_default;

	m->seg = choose_segment(g, m->linear, store);
	offset = offset_in(g, m->seg, m->linear);
	m->override = rng_chance(&g->rng, 15);
	m->address_size = !m->override ? standard : code == 32 ? 2 : 4;
	if (m->address_size == 2 && offset > 0xfff0) {
		m->override = code == 32 ? false : true;
		m->address_size = 4;
	}
	if (m->address_size == 2)
		address16(g, m, offset & 0xffff, avoid);
	else
		address32(g, m, offset, avoid);
	/* BP and SP as base: SS (SDM vol. 2, tables 2-1, 2-2) */
	if (m->address_size == 2)
		stack_default = (m->modrm & 7) == 2 || (m->modrm & 7) == 3 ||
				((m->modrm & 7) == 6 && m->modrm >> 6);
	else
		stack_default = m->has_sib ? (m->sib & 7) == 5 && m->modrm >> 6 && !(m->rex & 1)
					   : (m->modrm & 7) == 5 && m->modrm >> 6 && !(m->rex & 1);
	if (m->seg != (stack_default ? SEG_SS : SEG_DS) || rng_chance(&g->rng, 5))
		m->segment = segment_prefix[m->seg];
}

/* ------------------------------------------------------------------ the instruction */

/* Brings the operand's place and the registers that it depends on together. */
static uint64_t bit_string(struct generator *g, const struct form *form, unsigned reg,
			   uint64_t linear)
{
	/* the bit offset is signed, and moves the operand by whole operands (SDM vol. 2, BT) */
	int64_t offset = (int16_t)rng_next(&g->rng) >> rng_below(&g->rng, 16);
	unsigned bits = form->opsize * 8u;
	int64_t operand = offset >= 0 ? offset / bits : -((-offset + bits - 1) / bits);

	emit_set(g, reg, (uint64_t)offset & (form->opsize == 8 ? UINT64_MAX : 0xffffffff),
		 form->opsize == 2 ? 2 : 4);
	return linear - (uint64_t)(operand * form->opsize);
}

/* An instruction without its operand's address, to be finished. */
static unsigned put_prefixes(const struct memory *m, uint8_t *bytes)
{
	unsigned n = 0;

	if (m->override)
		bytes[n++] = 0x67;
	if (m->segment)
		bytes[n++] = m->segment;
	return n;
}

static unsigned put_operand(const struct memory *m, uint8_t *bytes)
{
	unsigned n = 0;

	if (m->has_sib)
		bytes[n++] = m->sib;
	memcpy(bytes + n, &m->disp, m->disp_size);
	return n + m->disp_size;
}

static unsigned put_immediate(struct generator *g, const struct insn *insn, uint8_t *bytes)
{
	uint64_t value = interesting(g);
	bool enter = insn->map == MAP_ONE && insn->opcode == 0xc8;

	if (enter) { /* a small frame; nesting levels: Linux's emulator has level 0 only */
		value &= 0x3f;
		memcpy(bytes, &value, 3);
		return 3;
	}
	if (insn->flags & INSN_SSE && insn->map == MAP_0F && insn->opcode == 0xc2)
		value &= 7; /* CMPPS: others are reserved */
	if (insn->map == MAP_0F3A && (insn->opcode & 0xfc) == 0x60) {
		value &= 0x7f; /* PCMPESTRM … likewise; not equal ordered (limits.c) */
		if ((value & 0xc) == 0xc)
			value &= ~4ull;
	}
	memcpy(bytes, &value, insn->imm_size);
	return insn->imm_size;
}

/* The register operand, ModRM.reg or opcode: a group's number stays. `rex`: R. */
static unsigned choose_reg_field(struct generator *g, const struct form *form, unsigned *rex)
{
	unsigned reg = form->reg;

	*rex = 0;
	if (!form->modrm)
		return 0;
	/* as a destination SP would take the stack along */
	if (reg == 4 && !(form->flags & (INSN_BYTE | INSN_SSE)) && form->flags & INSN_DIR_LOAD &&
	    !rng_chance(&g->rng, 5))
		reg = 3;
	if (has_high_registers(g) && rng_chance(&g->rng, 40) && form->op != OP_MOV_FROM_SEG)
		*rex = 4;
	return reg;
}

static void note_flags(struct generator *g, const struct item *item)
{
	struct flag_effect effect;
	struct insn insn;

	if (!item || insn_decode(&insn, item->bytes, item->length, g->p->mode->code))
		return;
	flag_effect(&insn, -1, &effect);
	g->undefined = (g->undefined & ~effect.defines) | effect.undefined;
}

static void emit_memory_form(struct generator *g, const struct form *form)
{
	uint8_t bytes[32];
	struct memory m = { 0 };
	struct insn insn;
	struct item *item;
	unsigned rex, reg, n, at;
	unsigned size = form->mem_size && form->mem_size <= 64 ? form->mem_size : 1;
	bool lock = form->class == FORM_LOCKED && (form->op != OP_XCHG || rng_chance(&g->rng, 50));
	uint16_t avoid = 0;

	reg = choose_reg_field(g, form, &rex);
	m.linear = choose_address(g, form, size);
	if (form->flags & INSN_BITSTRING) {
		if (reg == 4 && !rex)
			reg = 3;
		m.linear = bit_string(g, form, reg | rex << 1, m.linear);
		avoid = (uint16_t)(1u << (reg | rex << 1));
	}
	choose_memory(g, &m, form->flags & INSN_DIR_LOAD ? false : true, avoid);
	n = put_prefixes(&m, bytes);
	n += form_opcode(form, rex | m.rex, lock, bytes + n);
	if (form->modrm)
		bytes[n++] = (uint8_t)(m.modrm | reg << 3);
	at = n;
	if (form->modrm) {
		n += put_operand(&m, bytes + n);
	} else { /* moffs: the address follows the opcode */
		uint64_t offset = offset_in(g, m.seg, m.linear);

		memcpy(bytes + n, &offset, 8);
		n += m.address_size;
	}
	memset(bytes + n, 0, 8);
	if (n > 15 ||
	    insn_decode(&insn, bytes, sizeof(bytes) < 15 ? sizeof(bytes) : 15, g->p->mode->code))
		return;
	if (form->modrm)
		n += put_immediate(g, &insn, bytes + n);
	if (n > 15)
		return;
	item = emit(g, bytes, n);
	if (item && m.rip) {
		item->fix = FIX_RIP;
		item->fix_at = (uint8_t)at;
		item->fix_size = 4;
		item->value = (int64_t)m.linear;
	}
	note_flags(g, item);
}

/* String instructions: where they begin, and how often. */
static void prepare_string(struct generator *g, const struct form *form)
{
	unsigned count = rng_below(&g->rng, rng_chance(&g->rng, 10) ? 40 : 6);
	uint64_t from = any_address(g, form->opsize), to = any_address(g, form->opsize);

	if (rng_chance(&g->rng, 3))
		to = MODE_MMIO + rng_below(&g->rng, LINE);
	emit_set(g, 6, offset_in(g, SEG_DS, from), 2);
	emit_set(g, 7, offset_in(g, SEG_ES, to), 2);
	emit_set(g, 1, count, 2);
}

static void prepare_register_form(struct generator *g, const struct form *form)
{
	if (form->class == FORM_STRING || form->op == OP_INS || form->op == OP_OUTS)
		prepare_string(g, form);
	if (form->class == FORM_PORT)
		emit_set(g, 2, 0x40 + rng_below(&g->rng, 0x300), 2);
	if (form->map == MAP_ONE && form->opcode == 0xd7) /* XLAT */
		emit_set(g, 3, offset_in(g, SEG_DS, MODE_DATA + rng_below(&g->rng, PAGE)), 2);
}

static void emit_register_form(struct generator *g, const struct form *form)
{
	bool wide_register = has_high_registers(g) && rng_chance(&g->rng, 40);
	unsigned rex, n, rm = rng_below(&g->rng, 8);
	struct insn insn;
	uint8_t bytes[32];

	prepare_register_form(g, form);
	unsigned reg = choose_reg_field(g, form, &rex);

	if (rm == 4 && !(form->flags & (INSN_BYTE | INSN_SSE)) && !rng_chance(&g->rng, 5))
		rm = 2;
	if (!form->modrm && (form->opcode & 7) == 4 && !wide_register &&
	    (form->op == OP_INC || form->op == OP_DEC || form->op == OP_POP || form->op == OP_MOV ||
	     form->op == OP_XCHG) &&
	    form->opsize > 1 && !rng_chance(&g->rng, 5))
		return;
	n = form_opcode(form, rex | (wide_register && form->modrm), false, bytes);
	if (form->modrm)
		bytes[n++] = (uint8_t)(0xc0 | reg << 3 | rm);
	memset(bytes + n, 0, 8);
	if (insn_decode(&insn, bytes, 15, g->p->mode->code))
		return;
	n += put_immediate(g, &insn, bytes + n);
	note_flags(g, emit(g, bytes, n));
}

/* What reads flags that have no value would make programs that cannot be compared. */
static void define_what_is_used(struct generator *g, const struct form *form)
{
	struct flag_effect effect;
	struct insn insn = { .op = form->op,
			     .map = form->map,
			     .opcode = form->opcode,
			     .modrm = (uint8_t)(form->reg << 3),
			     .opsize = form->opsize };

	flag_effect(&insn, -1, &effect);
	define_flags(g, effect.uses);
}

void emit_form(struct generator *g, const struct form *form)
{
	if (form->op == OP_CMPXCHG && rng_chance(&g->rng, 40))
		emit_set(g, 0, 0, 4); /* equal where memory is zero */
	define_what_is_used(g, form);
	/* MMX registers are eight; see limits.c */
	g->low = form->class == FORM_SSE && !form->prefix && form->map >= MAP_0F38;
	if (form->memory)
		emit_memory_form(g, form);
	else
		emit_register_form(g, form);
}
