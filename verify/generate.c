// SPDX-License-Identifier: GPL-2.0-only
/* What a program is made of: the state it starts in, and which kinds of instructions it has. */
#include "verify/generate.h"

#include "verify/flags.h"

#include <string.h>

#define MAX_STEPS 14 /* of a program; each is an instruction and what it needs */
#define ROOM      12 /* items that a step may take */
#define LOOP_BODY 3

/* ------------------------------------------------------------------ forms by weight */

/* In a hundred steps that are a plain instruction. The native mode alone has SSE. */
static const uint8_t class_weight[2][FORM_CLASSES] = {
	{ [FORM_LOCKED] = 30, [FORM_INTEGER] = 50, [FORM_STRING] = 10, [FORM_PORT] = 10 },
	{ [FORM_LOCKED] = 25, [FORM_INTEGER] = 35, [FORM_STRING] = 10, [FORM_SSE] = 30 },
};

static void step_form(struct generator *g)
{
	const struct form_list *list = g->forms;

	for (;;) {
		unsigned class = rng_below(&g->rng, FORM_CLASSES);
		size_t first = list->first[class], count = list->first[class + 1] - first;

		if (!count || !rng_chance(&g->rng, class_weight[g->p->mode->native][class]))
			continue;
		emit_form(g, &list->form[first + rng_below(&g->rng, (unsigned)count)]);
		return;
	}
}

/* The lockable form whose turn it is. */
static void step_lockable(struct generator *g, unsigned lockable)
{
	const struct form_list *list = g->forms;
	size_t first = list->first[FORM_LOCKED], count = list->first[FORM_LOCKED + 1] - first;
	size_t start = rng_below(&g->rng, (unsigned)count);

	for (size_t i = 0; i < count; i++) {
		const struct form *form = &list->form[first + (start + i) % count];

		if (form->lockable == lockable) {
			emit_form(g, form);
			return;
		}
	}
}

/* ------------------------------------------------------------------ ways through a program */

/* Near branches have a displacement of the operand size, in 64-bit code of 32 bits. */
static struct item *emit_branch(struct generator *g, const void *opcode, unsigned length,
				unsigned displacement, unsigned target)
{
	uint8_t bytes[15] = { 0 };
	struct item *item;

	memcpy(bytes, opcode, length);
	item = emit(g, bytes, length + displacement);
	if (!item)
		return NULL;
	item->fix = FIX_RELATIVE;
	item->fix_at = (uint8_t)length;
	item->fix_size = (uint8_t)displacement;
	item->target = (uint8_t)target;
	return item;
}

static unsigned near_size(const struct generator *g)
{
	return g->p->mode->code == 16 ? 2 : 4;
}

/* Forward, over a few of the items to come; end_program() keeps it inside. */
static unsigned ahead(struct generator *g)
{
	return g->p->items + 1 + rng_below(&g->rng, 5);
}

static void step_jcc(struct generator *g)
{
	uint8_t code = (uint8_t)rng_below(&g->rng, 16), near[2] = { 0x0f, (uint8_t)(0x80 | code) };
	uint8_t brief = (uint8_t)(0x70 | code);

	define_flags(g, FLAGS_STATUS);
	if (rng_chance(&g->rng, 50))
		emit_branch(g, &brief, 1, 1, ahead(g));
	else
		emit_branch(g, near, 2, near_size(g), ahead(g));
}

static void step_jump(struct generator *g)
{
	static const uint8_t jmp = 0xe9, call = 0xe8, jcxz = 0xe3;

	switch (rng_below(&g->rng, 3)) {
	case 0:
		emit_branch(g, &jmp, 1, near_size(g), ahead(g));
		break;
	case 1:
		emit_branch(g, &call, 1, near_size(g), ahead(g));
		break;
	default:
		emit_branch(g, &jcxz, 1, 1, ahead(g));
	}
}

/* A few plain instructions a few times; flags are defined where it begins, as they may be at its end. */
static void step_loop(struct generator *g)
{
	static const uint8_t cmp[] = { 0x39, 0xd8 }; /* cmp eax, ebx */
	uint8_t loop = (uint8_t)(0xe0 + rng_below(&g->rng, 3));
	unsigned begin;

	emit_set(g, 1, 1 + rng_below(&g->rng, 5), 4);
	begin = g->p->items;
	emit(g, cmp, sizeof(cmp));
	g->undefined = 0;
	g->reserved |= 1u << 1;
	for (unsigned n = 1 + rng_below(&g->rng, LOOP_BODY); n--;) {
		size_t first = g->forms->first[FORM_LOCKED];
		size_t count = g->forms->first[FORM_STRING] - first;

		emit_form(g, &g->forms->form[first + rng_below(&g->rng, (unsigned)count)]);
	}
	g->reserved = 0;
	define_flags(g, FLAGS_STATUS);
	emit_branch(g, &loop, 1, 1, begin);
}

/* The address of a later item in a register, and there. */
static void step_indirect(struct generator *g)
{
	unsigned size = near_size(g), target = ahead(g) + 1;
	uint8_t mov[15] = { (uint8_t)(0xb8 | 3) }; /* BX */
	uint8_t jmp[] = { 0xff, 0xe3 }, push[] = { 0x53, 0xc3 };
	struct item *item = emit(g, mov, 1 + size);

	if (!item)
		return;
	item->fix = FIX_ADDRESS;
	item->fix_at = 1;
	item->fix_size = (uint8_t)size;
	item->target = (uint8_t)target;
	item->value = -(int64_t)(g->p->mode->code == 64 ? 0 : g->p->base[SEG_CS]);
	if (rng_chance(&g->rng, 50)) {
		emit(g, jmp, 2);
	} else { /* push bx; ret */
		emit(g, push, 1);
		emit(g, push + 1, 1);
	}
}

/* ------------------------------------------------------------------ rarer things */

/* MOV [code], imm8: an instruction of the program changes. Mostly its last byte, an operand. */
static void step_self_modify(struct generator *g)
{
	unsigned code = g->p->mode->code, size = code == 16 ? 2 : 4, n = 0;
	unsigned target = rng_chance(&g->rng, 70) ? ahead(g) : rng_below(&g->rng, g->p->items + 1);
	uint8_t bytes[15] = { 0 };
	struct item *item;

	bytes[n++] = 0xc6;
	bytes[n++] = code == 16 ? 0x06 : code == 32 ? 0x05 : 0x04;
	if (code == 64)
		bytes[n++] = 0x25;
	bytes[n + size] = (uint8_t)rng_next(&g->rng);
	item = emit(g, bytes, n + size + 1);
	if (!item)
		return;
	item->fix = FIX_ADDRESS;
	item->fix_at = (uint8_t)n;
	item->fix_size = (uint8_t)size;
	item->target = (uint8_t)target;
	/* the byte in front of an item is the last of the one before */
	item->value = rng_chance(&g->rng, 70) ? -1 : (int)rng_below(&g->rng, 4);
	item->value -= code == 64 ? 0 : (int64_t)g->p->base[SEG_DS];
}

/* What raises an exception, or may. */
static void step_fault(struct generator *g)
{
	static const struct {
		uint8_t bytes[8], length;
		uint8_t codes;  /* sizes of code that it is for, or-ed */
		bool real_only; /* its delivery is interpreted in real mode alone */
	} faults[] = {
		{ { 0x0f, 0x0b }, 2, 16 | 32 | 64, false },       /* ud2 */
		{ { 0xf7, 0xf3 }, 2, 16 | 32 | 64, false },       /* div ebx */
		{ { 0xf6, 0xfb }, 2, 16 | 32 | 64, false },       /* idiv bl */
		{ { 0xf0, 0x90 }, 2, 16 | 32 | 64, false },       /* lock nop */
		{ { 0xf0, 0x01, 0xd8 }, 3, 16 | 32 | 64, false }, /* lock add eax, ebx */
		{ { 0xf0, 0x89, 0x03 }, 3, 32 | 64, false },      /* lock mov [ebx], eax */
		{ { 0xf4 }, 1, 16 | 32 | 64, false },             /* hlt: #GP at CPL 3 */
		{ { 0xe4, 0x61 }, 2, 16 | 32 | 64, false },       /* in al, 61h: likewise */
		{ { 0xfa }, 1, 16 | 32 | 64, false },             /* cli */
		{ { 0xcc }, 1, 16, true },                        /* int3 */
		{ { 0xcd, 0x40 }, 2, 16, true },                  /* int 40h */
		{ { 0xce }, 1, 16, true },                        /* into */
	};

	for (;;) {
		unsigned i = rng_below(&g->rng, sizeof(faults) / sizeof(faults[0]));

		if (!(faults[i].codes & g->p->mode->code) ||
		    (faults[i].real_only && g->p->mode->protected))
			continue;
		emit(g, faults[i].bytes, faults[i].length);
		g->undefined |= i == 1 || i == 2 ? FLAGS_STATUS : 0;
		return;
	}
}

/* A non-canonical or distant address in a base register: #GP, #SS, or #PF. */
static void step_far_address(struct generator *g)
{
	static const uint8_t load[2][2] = { { 0x8b, 0x03 }, { 0x8b, 0x45 } }; /* mov eax, [ebx] */

	if (g->p->mode->code == 64)
		emit_set(g, 3, rng_next(&g->rng), 4);
	else
		emit_set(g, 3, rng_next(&g->rng) & 0xffffffff, 4);
	emit(g, load[0], 2);
}

/* Real mode: a new segment base. The items to come know it. */
static void step_segment(struct generator *g)
{
	static const uint8_t segs[] = { SEG_ES, SEG_FS };
	unsigned seg = segs[rng_below(&g->rng, 2)];
	uint16_t selector = (uint16_t)rng_below(&g->rng, 0x900);
	uint8_t mov[] = { 0x8e, (uint8_t)(0xc0 | seg << 3) }; /* mov sreg, ax */

	if (g->p->mode->protected)
		return;
	emit_set(g, 0, selector, 2);
	emit(g, mov, sizeof(mov));
}

/* POPF of flags that do no harm: no TF, no IF. */
static void step_popf(struct generator *g)
{
	uint16_t flags = (uint16_t)(2 | (rng_next(&g->rng) & (FLAGS_STATUS | 0x400)));
	uint8_t push[] = { 0x68, (uint8_t)flags, (uint8_t)(flags >> 8), 0, 0 }, popf = 0x9d;

	emit(g, push, g->p->mode->code == 16 ? 3 : 5);
	emit(g, &popf, 1);
	g->undefined = 0;
}

/* ------------------------------------------------------------------ a program */

static const struct {
	uint8_t weight; /* in a hundred */
	void (*step)(struct generator *g);
} steps[] = {
	{ 78, step_form },       { 7, step_jcc },         { 3, step_jump },    { 3, step_loop },
	{ 2, step_indirect },    { 2, step_fault },       { 1, step_segment }, { 2, step_popf },
	{ 1, step_self_modify }, { 1, step_far_address },
};

static void random_step(struct generator *g)
{
	int left = (int)rng_below(&g->rng, 100);

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		left -= steps[i].weight;
		if (left < 0) {
			steps[i].step(g);
			return;
		}
	}
}

static void start_state(struct generator *g)
{
	struct program *p = g->p;

	for (unsigned i = 0; i < 16; i++)
		p->gpr[i] = rng_next(&g->rng) >> rng_below(&g->rng, 64);
	p->rflags = 2 | (rng_next(&g->rng) & FLAGS_STATUS);
	if (rng_chance(&g->rng, 20))
		p->rflags |= 0x400; /* DF */
	if (p->mode->native) /* the processor really runs with interrupts on, and PUSHF shows it */
		p->rflags |= 0x200;
	p->fill = rng_chance(&g->rng, 25) ? 0 : rng_next(&g->rng);
	p->answers = rng_next(&g->rng);
	for (unsigned seg = 0; seg < 6; seg++)
		if (mode_has_base(p->mode, seg) && rng_chance(&g->rng, 60))
			p->base[seg] = rng_below(&g->rng, 0x700) << 4;
	/* Exceptions in protected mode without paging: this software KVM pushes without SS's base. #UD: it
	 * looks for the bytes without CS's (limits.c). */
	if (p->mode->protected && !p->mode->paging)
		p->base[SEG_SS] = 0;
	if (rng_chance(&g->rng, 70))
		p->base[SEG_CS] = 0;
	if (p->mode->code == 16)
		p->base[SEG_GS] = MODE_REAL_MMIO_BASE;
	p->gpr[4] = MODE_STACK + 0x800 - (mode_has_base(p->mode, SEG_SS) ? p->base[SEG_SS] : 0);
	if (p->mode->code != 64) {
		for (unsigned i = 0; i < 16; i++)
			p->gpr[i] = i < 8 ? (uint32_t)p->gpr[i] : 0;
	}
}

/* Branches over the end lead to the terminator. */
static void end_program(struct program *p)
{
	for (unsigned i = 0; i < p->items; i++)
		if (p->item[i].target > p->items)
			p->item[i].target = (uint8_t)p->items;
}

void generate(struct program *p, const struct mode *mode, const struct form_list *forms,
	      uint64_t seed, uint64_t n, unsigned *lockable)
{
	struct generator g = { .rng = { rng_mix(seed ^ rng_mix(n + 1) ^ mode->code ^
						mode->cpl << 8 ^ mode->protected << 10) },
			       .p = p,
			       .forms = forms };
	unsigned steps_wanted = 1 + rng_below(&g.rng, MAX_STEPS);
	unsigned locked_at = rng_below(&g.rng, steps_wanted);

	memset(p, 0, sizeof(*p));
	p->mode = mode;
	*lockable = (unsigned)(n % forms->lockables);
	start_state(&g);
	for (unsigned i = 0; i < steps_wanted && p->items + ROOM < PROGRAM_ITEMS; i++) {
		if (i == locked_at)
			step_lockable(&g, *lockable);
		else
			random_step(&g);
	}
	end_program(p);
}
