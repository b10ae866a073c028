// SPDX-License-Identifier: GPL-2.0-only
/*
 * Far transfers and segment loads by hand against the engine's own, which come from QEMU: random
 * descriptors, frames and instructions, compared in all registers, hidden parts, memory, and in the
 * exception.
 *
 * Where the engine is known to differ from the manual, the generator does not go; those rules are
 * tested one by one in test_far.c and test_segment.c. The engine
 *  - checks no limit of the new code segment where it returns or passes a gate, and applies limits in
 *    64-bit mode;
 *  - accepts code segments with both L and D set, and a null SS whose RPL is not the CPL or for 32-bit
 *    code;
 *  - returns to virtual-8086 mode from every level and in long mode;
 *  - raises #NP for a stack segment that is absent when it returns;
 *  - takes 32 bits of offset from a 16-bit gate, and the gate's RPL into CS where the code conforms;
 *  - neither pops VIF and VIP nor sets the accessed bit of code segments.
 */
#include "descriptor_vm.h"

#include "emu/engine.h"

#define CASES 20000

enum { FREE = 0xe0, RANDOM_END = 0x200 }; /* random descriptors in the GDT */

static uint64_t seed;

static unsigned choose(unsigned n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(seed >> 33) % n;
}

static bool percent(unsigned n)
{
	return choose(100) < n;
}

/* ------------------------------------------------------------------ the engine */

struct twin {
	struct machine *m;
	struct engine *engine;
	bool at_target; /* the instruction is done: the engine wants the next */
	uint8_t *before, *by_hand;
};

static bool fill(void *opaque, uint64_t page, enum engine_access access, unsigned cpl, bool ac,
		 void **host, unsigned *perms)
{
	struct twin *t = opaque;

	(void)cpl;
	(void)ac;
	if (page >= RAM_SIZE) {
		t->at_target = access == ENGINE_FETCH;
		return false;
	}
	*host = t->m->ram + page;
	*perms = ENGINE_PERM_R | (access == ENGINE_FETCH ? ENGINE_PERM_X : ENGINE_PERM_W);
	return true;
}

static bool scan(void *opaque, uint64_t pc, unsigned mode, uint64_t *stop)
{
	(void)opaque;
	(void)pc;
	(void)mode;
	(void)stop;
	return false;
}

/* ------------------------------------------------------------------ scenarios */

struct scenario {
	uint8_t code[INSN_MAX_LENGTH];
	unsigned length, size; /* operand size in bytes */
	bool is_long;
};

static unsigned random_dpl(void)
{
	return percent(45) ? 0 : percent(80) ? 3 : choose(4);
}

static void random_descriptor(struct machine *m, unsigned selector, bool is_long)
{
	static const uint16_t gate_targets[] = { CODE0, CODE0, CODE3,   CODE1,
						 DATA0, 0,     GDT_END, LDT_SEL };
	uint32_t common = AT_DPL(random_dpl()) | DESC_ACCESSED | (percent(92) ? DESC_P : 0);
	uint32_t wide = is_long && percent(60) ? DESC_L : percent(70) ? DESC_DB : 0;
	unsigned kind = choose(10);

	if (kind < 4) {
		gdt_put(m, selector, 0, 0xfffff,
			common | DESC_S | DESC_CODE | DESC_G | wide |
				(percent(90) ? DESC_READABLE : 0) |
				(percent(25) ? DESC_CONFORMING : 0));
	} else if (kind < 8) {
		gdt_put(m, selector, choose(4) << 12, 0xfffff,
			common | DESC_S | DESC_G | (percent(90) ? DESC_WRITABLE : 0) |
				(percent(80) ? DESC_DB : 0));
	} else if (kind < 9) {
		uint16_t target = gate_targets[choose(8)];
		bool narrow = !is_long && percent(20);

		if (is_long && target == CODE0)
			target = CODE0_64;
		put(m, GDT + selector, (uint32_t)(target | choose(4)) << 16 | choose(0x10000), 4);
		put(m, GDT + selector + 4,
		    (common & ~0xf00u) | (narrow ? SYS_CALL16 << 8 : SYS_CALL << 8 | 0x10000) |
			    (is_long ? 0 : choose(8)),
		    4);
	} else {
		gdt_put(m, selector, LDT, 0xff, (common & ~0xf00u) | SYS_LDT << 8);
	}
	if (is_long && !(gdt_high(m, selector) & DESC_S) && selector + 8 < RANDOM_END)
		put(m, GDT + selector + 8, percent(90) ? 0 : 0x100ull << 32, 8);
}

static void fill_random_gdt(struct machine *m, bool is_long)
{
	fill_gdt(m);
	gdt_put(m, CODE0_16, 0, 0xfffff, ATTR_CODE16 | DESC_G);
	for (unsigned selector = 8; selector < GDT_END; selector += 8)
		if (gdt_high(m, selector) & DESC_S)
			put(m, GDT + selector + 5, (gdt_high(m, selector) | DESC_ACCESSED) >> 8, 1);
	for (unsigned selector = FREE; selector < RANDOM_END; selector += is_long ? 16 : 8) {
		put(m, GDT + selector + 8, 0, 8);
		random_descriptor(m, selector, is_long);
	}
	put(m, GDT + RANDOM_END, 0, 8);
	m->c->gdt.limit = RANDOM_END - 1;
}

static uint16_t random_selector(void)
{
	unsigned selector = percent(60) ? FREE + choose(RANDOM_END - FREE) : choose(GDT_END);

	/* without a TSS: the engine knows no task switch to compare with */
	selector &= 0xfffb;
	if ((selector & 0xfff8) == TSS_SEL || (selector & 0xfff8) == TSS16_SEL ||
	    (selector & 0xfff8) == TSS2_SEL)
		return percent(50) ? CODE0 : CODE3 | 3;
	return (uint16_t)(percent(30) ? selector | 3 : selector);
}

static uint16_t code_selector(bool is_long)
{
	static const uint16_t legacy[] = { CODE0, CODE3 | 3, CODE1 | 1, CONFORMING0 | 3 };
	static const uint16_t wide[] = { CODE0_64, CODE3_64 | 3, CODE3 | 3, CONFORMING0 | 3 };

	return percent(40) ? random_selector() : (is_long ? wide : legacy)[choose(4)];
}

/* A writable or otherwise wrong, but present one. */
static uint16_t stack_selector(struct machine *m, uint16_t cs)
{
	static const uint16_t right[] = { DATA0, DATA1 | 1, DATA0 | 2, DATA3 | 3 };
	uint16_t selector;

	if (percent(70))
		return right[cs & 3];
	do
		selector = random_selector();
	while (SELECTOR_IS_NULL(selector) || !(gdt_high(m, selector) & DESC_P));
	return selector;
}

static unsigned random_mode(struct machine *m)
{
	unsigned mode = choose(8);

	m->c->efer = 0;
	fill_random_gdt(m, mode >= 4);
	switch (mode) {
	case 0:
		enter_real(m);
		break;
	case 1:
		enter_vm86(m, choose(4));
		break;
	case 2:
	case 3:
		enter_protected(m, mode == 2 ? 0 : 3);
		break;
	default:
		enter_long(m, mode & 1 ? 3 : 0);
		if (mode >= 6)
			set_segment(m, EMU_CS, mode & 1 ? CODE3 | 3 : CODE0);
	}
	m->c->gdt.limit = RANDOM_END - 1;
	m->c->rflags |= choose(4) << 12 | (percent(50) ? FL_CF | FL_AC : 0);
	m->c->rflags &= in_vm86(m->c) && percent(50) ? ~0ull : ~(uint64_t)FL_NT;
	if (in_protected(m->c) && m->c->cpl == 0) {
		set_segment(m, EMU_DS, DATA0);
		set_segment(m, EMU_GS, percent(50) ? CONFORMING0 : DATA3 | 3);
	}
	return mode;
}

static void emit(struct scenario *s, uint64_t bytes, unsigned n)
{
	memcpy(s->code + s->length, &bytes, n);
	s->length += n;
}

static void prefixes(struct machine *m, struct scenario *s, bool may_widen)
{
	unsigned mode = code_mode(m->c);

	s->size = mode == 16 ? 2 : 4;
	if (mode == 64 && may_widen && percent(60)) {
		emit(s, 0x48, 1);
		s->size = 8;
	} else if (percent(25)) {
		emit(s, 0x66, 1);
		s->size ^= 6;
	}
}

/* [DATA] of the data segment, as ModRM `reg`. */
static void memory_operand(struct machine *m, struct scenario *s, unsigned reg)
{
	if (code_mode(m->c) == 16) {
		emit(s, 0x06 | reg << 3, 1);
		emit(s, DATA & 0xffff, 2);
	} else {
		emit(s, 0x2504 | reg << 3, 2);
		emit(s, DATA, 4);
	}
}

/* Where the operand of memory_operand() is. */
static uint64_t operand_address(struct machine *m)
{
	return code_mode(m->c) == 16 ? m->c->segment[EMU_DS].base + (DATA & 0xffff) : DATA;
}

static uint64_t random_offset(struct machine *m, unsigned size)
{
	return size == 2 || !in_protected(m->c) ? choose(0x10000) : choose(RAM_SIZE);
}

/* IRET or RET with a frame to go with it. */
static void return_scenario(struct machine *m, struct scenario *s, bool iret)
{
	uint16_t cs = in_protected(m->c) ? code_selector(s->is_long) : (uint16_t)choose(0x1000);
	uint64_t flags = choose(0x10000) | (percent(50) ? FL_AC | FL_ID : 0);
	uint64_t frame[9], release;
	unsigned n = 0;

	prefixes(m, s, true);
	flags &= ~(uint64_t)FL_TF;
	if (iret && s->size == 4 && in_protected(m->c) && !in_long_mode(m->c) && m->c->cpl == 0 &&
	    percent(20))
		flags |= FL_VM, cs = (uint16_t)choose(0x1000);
	frame[n++] = flags & FL_VM ? choose(0x10000) : random_offset(m, s->size);
	frame[n++] = cs;
	release = 8 * choose(3);
	if (iret) {
		emit(s, 0xcf, 1);
		frame[n++] = flags;
	} else if (percent(50)) {
		emit(s, 0xcb, 1);
	} else {
		emit(s, 0xca | release << 8, 3);
		/* the outer stack pointer is behind what is released */
		for (unsigned bytes = 0; bytes < release && n < 6; bytes += s->size)
			frame[n++] = 0;
	}
	frame[n++] = STACK1 - 2 * choose(0x80);
	frame[n++] = flags & FL_VM ? choose(0x1000) : stack_selector(m, cs);
	while (n < 9)
		frame[n++] = choose(0x1000);
	if (iret && s->is_long && cs == CODE0_64 && percent(30))
		frame[4] = 0;
	push_items(m, frame, 9, s->size);
}

static void far_scenario(struct machine *m, struct scenario *s)
{
	bool call = percent(50);
	uint16_t selector = !in_protected(m->c) ? (uint16_t)choose(0x1000)
			    : percent(50)       ? code_selector(s->is_long)
						: random_selector();
	uint64_t offset;

	/* parameters for a call gate */
	for (unsigned n = 0; n < 8; n++)
		put(m, m->c->segment[EMU_SS].base + m->c->gpr[EMU_RSP] + 4 * n, choose(1u << 30),
		    4);
	prefixes(m, s, true);
	offset = random_offset(m, s->size);
	if (code_mode(m->c) != 64 && percent(60)) {
		emit(s, call ? 0x9a : 0xea, 1);
		emit(s, offset, s->size);
		emit(s, selector, 2);
		return;
	}
	emit(s, 0xff, 1);
	memory_operand(m, s, call ? 3 : 5);
	put(m, operand_address(m), offset, s->size);
	put(m, operand_address(m) + s->size, selector, 2);
}

static void load_scenario(struct machine *m, struct scenario *s)
{
	static const uint8_t targets[] = { EMU_ES, EMU_SS, EMU_DS, EMU_FS, EMU_GS };
	static const uint16_t far_loads[] = { 0xc4, 0xb20f, 0xc5, 0xb40f, 0xb50f };
	unsigned n = choose(5), seg = targets[n], form = choose(3);
	uint16_t selector = in_protected(m->c) ? random_selector() : (uint16_t)choose(0x10000);

	if (seg == EMU_SS && percent(60))
		selector = stack_selector(m, m->c->cpl);
	if (SELECTOR_IS_NULL(selector) && in_protected(m->c))
		selector = seg == EMU_SS ? m->c->cpl : selector;
	if (form == 0) {
		m->c->gpr[EMU_RAX] = (m->c->gpr[EMU_RAX] & ~0xffffull) | selector;
		emit(s, 0xc08e | seg << 11, 2);
		return;
	}
	if (code_mode(m->c) == 64 && seg < EMU_FS)
		n = 3, seg = EMU_FS;
	prefixes(m, s, false);
	if (form == 1) {
		emit(s, seg >= EMU_FS ? (seg == EMU_FS ? 0xa10f : 0xa90f) : 0x07 | seg << 3,
		     seg >= EMU_FS ? 2 : 1);
		push_items(m, (const uint64_t[]){ selector }, 1, s->size);
		if (code_mode(m->c) == 64) /* pops 8 or 2 bytes */
			put(m, m->c->gpr[EMU_RSP], selector, 8);
		return;
	}
	emit(s, far_loads[n], seg == EMU_ES || seg == EMU_DS ? 1 : 2);
	memory_operand(m, s, 3);
	put(m, operand_address(m), choose(0x10000), s->size);
	put(m, operand_address(m) + s->size, selector, 2);
}

static void random_scenario(struct machine *m, struct scenario *s)
{
	unsigned kind;

	*s = (struct scenario){ .is_long = random_mode(m) >= 4 };
	kind = choose(10);
	if (kind < 5)
		return_scenario(m, s, kind < 3);
	else if (kind < 8)
		far_scenario(m, s);
	else
		load_scenario(m, s);
	memcpy(m->ram + linear_rip(m->c), s->code, s->length);
}

/* ------------------------------------------------------------------ comparison */

/* What an instruction can write lies below the page tables. */
#define WRITTEN PML4

/* The first register that differs, NULL if none does. */
static const char *different_register(const struct cpu *hand, const struct cpu *engine)
{
	static const char *const segments[] = { "ES", "CS", "SS", "DS", "FS", "GS" };

	for (unsigned n = 0; n < 6; n++) {
		const struct segment *h = &hand->segment[n], *e = &engine->segment[n];

		if (h->selector != e->selector)
			return segments[n];
		if (h->flags & DESC_P && /* of a null one the rest does not count */
		    (h->base != e->base || h->limit != e->limit ||
		     (h->flags ^ e->flags) & DESC_ATTRIBUTES))
			return segments[n];
	}
	if (memcmp(hand->gpr, engine->gpr, sizeof(hand->gpr)) != 0)
		return "a general register";
	if (hand->rip != engine->rip)
		return "RIP";
	if ((hand->rflags ^ engine->rflags) & ~(uint64_t)FL_RF)
		return "RFLAGS";
	return hand->cpl != engine->cpl ? "CPL" : NULL;
}

static enum outcome run_engine(struct twin *t, struct cpu *c, unsigned length, struct fault *fault)
{
	struct engine_stop stop;

	engine_drop_page(t->engine, t->m->ram + (linear_rip(c) & PAGE_MASK));
	engine_flush_tlb(t->engine);
	t->at_target = false;
	stop = engine_step(t->engine, c, length);
	*fault = (struct fault){ .vector = stop.vector, .error = stop.error };
	switch (stop.reason) {
	case ENGINE_STUB:
	case ENGINE_STOPPED:
		return DONE;
	case ENGINE_REFUSED:
		return t->at_target ? DONE : UNHANDLED;
	case ENGINE_INVALID:
		fault->vector = EXC_UD;
		return FAULT;
	case ENGINE_EXCEPTION:
		return FAULT;
	default:
		return UNHANDLED;
	}
}

/* Returns whether it was executed without an exception. */
static bool compare_one(struct twin *t, unsigned number)
{
	struct machine *m = t->m;
	struct scenario s;
	struct cpu before, engine;
	struct fault fault;
	enum outcome hand, native;
	const char *difference = NULL;

	random_scenario(m, &s);
	memcpy(t->before, m->ram, WRITTEN);
	before = engine = *m->c;
	access_flush(m->v);
	hand = execute_bytes(m, s.code, s.length);
	memcpy(t->by_hand, m->ram, WRITTEN);
	memcpy(m->ram, t->before, WRITTEN);
	native = run_engine(t, &engine, s.length, &fault);
	if (hand != native)
		difference = "the outcome";
	else if (hand == FAULT && memcmp(&before, m->c, sizeof(before)) != 0)
		difference = "a register, although it faulted,";
	else if (hand == FAULT &&
		 (m->v->fault.vector != fault.vector || m->v->fault.error != fault.error))
		difference = "the exception";
	else if (hand == DONE)
		difference = different_register(m->c, &engine);
	if (hand == DONE && !difference && memcmp(t->by_hand, m->ram, WRITTEN) != 0)
		difference = "memory";
	if (difference)
		fail_msg("case %u, %u-bit code, CPL %u, %02x %02x %02x: %s differs; by hand %d "
			 "(%u, %#x), "
			 "engine %d (%u, %#x)",
			 number, code_mode(&before), before.cpl, s.code[0], s.code[1], s.code[2],
			 difference, hand, m->v->fault.vector, m->v->fault.error, native,
			 fault.vector, fault.error);
	return hand == DONE;
}

static void test_far_random_transfers_agree_with_the_engine(void **state)
{
	static const struct engine_callbacks callbacks = { .fill = fill, .scan = scan };
	struct twin t = { .m = *state, .before = malloc(WRITTEN), .by_hand = malloc(WRITTEN) };
	struct engine_callbacks with_opaque = callbacks;
	unsigned done = 0;

	with_opaque.opaque = &t;
	assert_non_null(t.before);
	assert_non_null(t.by_hand);
	assert_int_equal(engine_create(&t.engine, &with_opaque), 0);
	/* only the hand's accesses go through the walker: no A or D bit is left for it to set */
	for (unsigned gpa = PML4; gpa < PT32 + 0x1000; gpa += 4)
		if (get(t.m, gpa, 4) & 1)
			put(t.m, gpa, get(t.m, gpa, 1) | 0x60, 1);
	for (unsigned n = 0; n < CASES; n++) {
		seed = n * 0x9e3779b97f4a7c15ull;
		done += compare_one(&t, n);
	}
	print_message("%u transfers, %u of them without an exception\n", CASES, done);
	assert_in_range(done, CASES / 4, CASES); /* or they would prove little */
	engine_destroy(t.engine);
	free(t.before);
	free(t.by_hand);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_far_random_transfers_agree_with_the_engine),
	};

	return cmocka_run_group_tests_name("far_unicorn", tests, NULL, NULL);
}
