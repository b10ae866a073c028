// SPDX-License-Identifier: GPL-2.0-only
/*
 * paging.c against the engine's own MMU, which is QEMU's and which nothing else here uses: a second
 * opinion in every paging mode, also where the machine has no /dev/kvm.
 */
#include "emu/engine.h"
#include "tests/unit/paging_cases.h"

#include <unicorn/unicorn.h>

static uc_engine *uc;
static uc_context *context;
static int vector; /* of the exception, -1: none */

/* The processor state in a saved context (docs/engine.md: Unicorn 2.1.1). */
#define CONTEXT_HEADER 20
enum {
	AT_RIP = 128,
	AT_RFLAGS = 136,
	AT_CC_OP = 168,
	AT_DF = 172,
	AT_HFLAGS = 176,
	AT_SEGMENTS = 184,
	AT_CR = 424,
	AT_EFER = 560,
	AT_ERROR_CODE = 5352,
	AT_OLD_EXCEPTION = 5464
};

struct uc_segment {
	uint32_t selector, pad;
	uint64_t base;
	uint32_t limit, flags;
};

static void state_put(unsigned at, const void *value, size_t size)
{
	memcpy((uint8_t *)context + CONTEXT_HEADER + at, value, size);
}

static void state_put32(unsigned at, uint32_t value)
{
	state_put(at, &value, 4);
}

static void state_put64(unsigned at, uint64_t value)
{
	state_put(at, &value, 8);
}

static uint64_t state_get64(unsigned at)
{
	uint64_t value;

	memcpy(&value, (uint8_t *)context + CONTEXT_HEADER + at, 8);
	return value;
}

/* The end of uc_emu_start() overwrites CR2 and the error code: save them here. */
static void on_exception(uc_engine *engine, uint32_t number, void *opaque)
{
	(void)opaque;
	vector = (int)number;
	uc_context_save(engine, context);
	uc_emu_stop(engine);
}

static void put_segments(bool user, bool lm)
{
	const uint32_t dpl = user ? DESC_DPL : 0, data = 0xcf9300, code = lm ? 0xaf9b00 : 0xcf9b00;
	const uint32_t cs = lm ? CODE_64 : CODE_32, user_cs = lm ? USER_64 : USER_32;
	struct uc_segment s[10] = { 0 }; /* ES CS SS DS FS GS LDT TR GDT IDT */

	for (unsigned i = 0; i < 6; i++)
		s[i] = (struct uc_segment){ user ? USER_DATA | 3 : DATA_0, 0, 0, ~0u, data | dpl };
	s[1] = (struct uc_segment){ user ? user_cs | 3 : cs, 0, 0, ~0u, code | dpl };
	s[7] = (struct uc_segment){ TSS_SELECTOR, 0, TSS, 0x67, 0x8900 };
	s[8] = (struct uc_segment){ 0, 0, GDT, 9 * 8 - 1, 0 };
	s[9] = (struct uc_segment){ 0, 0, IDT, 32 * 16 - 1, 0 };
	state_put(AT_SEGMENTS, s, sizeof(s));
}

static unsigned run_unicorn(struct machine *m, unsigned access, uint64_t linear,
			    struct fault *fault)
{
	const struct cpu *c = &m->v.cpu;
	const bool user = access & WALK_USER, lm = c->efer & EFER_LMA;
	uint64_t rip = access_rip(access, linear), rflags = c->rflags | 0x3002;

	assert_int_equal(uc_context_save(uc, context), UC_ERR_OK);
	state_put64(EMU_RBX * 8, linear);
	state_put64(EMU_RSP * 8, STACK_TOP);
	state_put64(AT_RIP, rip);
	state_put64(AT_RFLAGS, rflags);
	state_put32(AT_CC_OP, 1);
	state_put32(AT_DF, 1);
	/* CPL, PE, IOPL and AC, SMAP; LMA, CS64, CS32, SS32 */
	state_put32(AT_HFLAGS, (user ? 3 : 0) | 1 << 7 | (uint32_t)(rflags & (FL_IOPL | FL_AC)) |
				       (c->cr4 & CR4_SMAP ? 1 << 23 : 0) |
				       (lm ? 1 << 14 | 0x8030 : 0x30));
	put_segments(user, lm);
	state_put64(AT_CR, c->cr0 | CR0_ET | CR0_NE);
	state_put64(AT_CR + 16, 0);
	state_put64(AT_CR + 24, c->cr3);
	state_put64(AT_CR + 32, c->cr4);
	state_put64(AT_EFER, c->efer);
	state_put32(AT_OLD_EXCEPTION, ~0u);
	assert_int_equal(uc_context_restore(uc, context), UC_ERR_OK);
	uc_ctl_flush_tlb(uc);

	vector = -1;
	if (uc_emu_start(uc, rip, ~0ull, 0, 1) != UC_ERR_OK)
		return PORT_NONE;
	/* OUT and HLT follow; at CPL 3 HLT is a #GP of its own */
	if (vector < 0 || state_get64(AT_RIP) != rip)
		return PORT_DONE;
	*fault = (struct fault){ .vector = (uint8_t)vector,
				 .error = (uint32_t)state_get64(AT_ERROR_CODE),
				 .cr2 = state_get64(AT_CR + 16) };
	return (unsigned)vector;
}

static const struct processor unicorn = {
	.run = run_unicorn, .physical_bits = 40, .cases = 20000, .gigabyte_pages = true
};
static struct machine *shared;

static void check_mode_here(enum paging paging)
{
	prepare_mode(shared, &unicorn, paging);
	check_mode(shared, &unicorn, paging);
}

static void test_walk_32_bit_agrees_with_engine(void **state)
{
	(void)state;
	check_mode_here(PAGING_32);
}

static void test_walk_pae_agrees_with_engine(void **state)
{
	(void)state;
	check_mode_here(PAGING_PAE);
}

static void test_walk_4_level_agrees_with_engine(void **state)
{
	(void)state;
	check_mode_here(PAGING_4);
}

static void test_walk_5_level_agrees_with_engine(void **state)
{
	(void)state;
	check_mode_here(PAGING_5);
}

static int open_unicorn(void **state)
{
	uc_hook hook;

	machine_setup(state);
	shared = *state;
	/* the layout of its state is the known one; links the seams, which stay out of it */
	assert_int_equal(engine_check(NULL, 0), 0);
	/* a model with all of SMEP, SMAP, 1 GB pages, 5 levels */
	return uc_open(UC_ARCH_X86, UC_MODE_64, &uc) ||
	       uc_ctl_set_cpu_model(uc, UC_CPU_X86_ICELAKE_SERVER) ||
	       uc_context_alloc(uc, &context) ||
	       uc_mem_map_ptr(uc, 0, RAM_SIZE, UC_PROT_ALL, shared->ram) ||
	       uc_hook_add(uc, &hook, UC_HOOK_INTR, (void *)(uintptr_t)on_exception, NULL, 1, 0);
}

static int close_unicorn(void **state)
{
	uc_context_free(context);
	uc_close(uc);
	return machine_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk_32_bit_agrees_with_engine),
		cmocka_unit_test(test_walk_pae_agrees_with_engine),
		cmocka_unit_test(test_walk_4_level_agrees_with_engine),
		cmocka_unit_test(test_walk_5_level_agrees_with_engine),
	};

	return cmocka_run_group_tests(tests, open_unicorn, close_unicorn);
}
