// SPDX-License-Identifier: GPL-2.0-only
/* paging.c: every paging mode, error code, permission, reserved bit, accessed and dirty bit. */
#include "tests/unit/fake_vm.h"

#include <pthread.h>
#include <stdio.h>

/* A linear address with another index at each level; canonical for 4 levels, too. */
#define LINEAR    0x123456789abcull
#define LINEAR_32 0x12345abcull
#define FRAME     0x200000ull /* where the page lies; aligned for the larger ones as well */

enum {
	READ = WALK_READ,
	WRITE = WALK_WRITE,
	FETCH = WALK_FETCH,
	USER = WALK_USER,
	SYSTEM = WALK_SYSTEM,
	QUIET = WALK_NO_SIDE_EFFECTS
};

static uint64_t linear_for(enum paging paging)
{
	return paging <= PAGING_PAE ? LINEAR_32 : LINEAR;
}

static bool is_64bit_entry(enum paging paging)
{
	return paging != PAGING_32;
}

/* "OK", "#PF(5)" …: what a walk came to. */
static const char *walk_result(struct machine *m, uint64_t linear, unsigned access, struct walk *w)
{
	static char text[64];
	enum outcome outcome;

	memset(&m->v.fault, 0xee, sizeof(m->v.fault));
	memset(w, 0xee, sizeof(*w));
	outcome = page_walk(&m->v, linear, access, w);
	switch (outcome) {
	case DONE:
		return "OK";
	case MMIO:
		return "MMIO";
	case HOST_GONE:
		return "HOST_GONE";
	case FAULT:
		break;
	default:
		snprintf(text, sizeof(text), "outcome %d", outcome);
		return text;
	}
	assert_true(m->v.fault.has_error);
	if (m->v.fault.vector == EXC_PF) {
		uint64_t cr2 = m->v.cpu.efer & EFER_LMA ? linear : (uint32_t)linear;

		assert_int_equal(m->v.fault.cr2, cr2);
		snprintf(text, sizeof(text), "#PF(%x)", m->v.fault.error);
	} else {
		snprintf(text, sizeof(text), "#%u(%x)", m->v.fault.vector, m->v.fault.error);
	}
	return text;
}

/* ------------------------------------------------------------------ error codes */

/*
 * One line, one condition, in every paging mode that has it. `upper` and `leaf` are the bits of the
 * entries, `cr` what is set besides what the mode needs. Expectations are written by hand from SDM
 * 5.6.1 and 5.7.
 */
#define WP   1
#define SMEP 2
#define SMAP 4
#define AC   8
#define NONX 16 /* EFER.NXE = 0 */

static const struct {
	const char *what;
	unsigned access;
	unsigned set;
	uint64_t upper, leaf;
	const char *result;
} errors[] = {
	/* P = 0: the page is not present */
	{ "absent, read", READ, 0, P | RW | US, 0, "#PF(0)" },
	{ "absent, write", WRITE, 0, P | RW | US, 0, "#PF(2)" },
	{ "absent, user read", READ | USER, 0, P | RW | US, 0, "#PF(4)" },
	{ "absent, user write", WRITE | USER, 0, P | RW | US, 0, "#PF(6)" },
	{ "absent, read-modify-write", READ | WRITE | USER, 0, P | RW | US, 0, "#PF(6)" },
	{ "absent, other bits are ignored", READ, 0, P | RW | US, ~1ull & ~NX, "#PF(0)" },
	/* present: read */
	{ "supervisor reads supervisor page", READ, 0, P, P, "OK" },
	{ "supervisor reads user page", READ, 0, P | US, P | US, "OK" },
	{ "user reads user page", READ | USER, 0, P | US, P | US, "OK" },
	{ "user reads supervisor page", READ | USER, 0, P | US, P, "#PF(5)" },
	{ "user reads page of supervisor table", READ | USER, 0, P, P | US, "#PF(5)" },
	/* present: write */
	{ "supervisor writes read-only page", WRITE, 0, P, P, "OK" },
	{ "supervisor writes read-only page, WP", WRITE, WP, P | RW, P, "#PF(3)" },
	{ "supervisor writes through read-only table, WP", WRITE, WP, P, P | RW, "#PF(3)" },
	{ "supervisor writes writable page, WP", WRITE, WP, P | RW, P | RW, "OK" },
	{ "supervisor writes read-only user page, WP", WRITE, WP, P | RW | US, P | US, "#PF(3)" },
	{ "user writes writable page", WRITE | USER, 0, P | RW | US, P | RW | US, "OK" },
	{ "user writes read-only page", WRITE | USER, 0, P | RW | US, P | US, "#PF(7)" },
	{ "user writes through read-only table", WRITE | USER, 0, P | US, P | RW | US, "#PF(7)" },
	{ "user writes supervisor page", WRITE | USER, 0, P | RW | US, P | RW, "#PF(7)" },
	/* SMEP: supervisor fetch from a user page */
	{ "SMEP, user page", FETCH, SMEP, P | US, P | US, "#PF(11)" },
	{ "SMEP, supervisor page", FETCH, SMEP, P | US, P, "OK" },
	{ "SMEP, supervisor table", FETCH, SMEP, P, P | US, "OK" },
	{ "SMEP, user fetches user page", FETCH | USER, SMEP, P | US, P | US, "OK" },
	{ "SMEP, user fetches supervisor page", FETCH | USER, SMEP, P | US, P, "#PF(15)" },
	{ "SMEP, absent", FETCH, SMEP, P | US, 0, "#PF(10)" },
	{ "SMEP does not concern data", READ, SMEP, P | US, P | US, "OK" },
	/* SMAP: supervisor data access to a user page */
	{ "SMAP, read of user page", READ, SMAP, P | US, P | US, "#PF(1)" },
	{ "SMAP, write of user page", WRITE, SMAP, P | RW | US, P | RW | US, "#PF(3)" },
	{ "SMAP, write of read-only user page without WP", WRITE, SMAP, P | US, P | US, "#PF(3)" },
	{ "SMAP, AC, read", READ, SMAP | AC, P | US, P | US, "OK" },
	{ "SMAP, AC, write", WRITE, SMAP | AC, P | RW | US, P | RW | US, "OK" },
	{ "SMAP, AC, write of read-only page without WP", WRITE, SMAP | AC, P | US, P | US, "OK" },
	{ "SMAP, AC, write of read-only page, WP", WRITE, SMAP | AC | WP, P | US, P | US, "#PF(3)" },
	{ "SMAP, AC, implicit read", READ | SYSTEM, SMAP | AC, P | US, P | US, "#PF(1)" },
	{ "SMAP, AC, implicit write", WRITE | SYSTEM, SMAP | AC, P | RW | US, P | RW | US, "#PF(3)" },
	{ "SMAP, implicit access to supervisor page", READ | SYSTEM, SMAP, P | US, P, "OK" },
	{ "no SMAP, implicit access to user page", READ | SYSTEM, 0, P | US, P | US, "OK" },
	{ "SMAP, supervisor page", READ, SMAP, P | US, P, "OK" },
	{ "SMAP, page of supervisor table", READ, SMAP, P, P | US, "OK" },
	{ "SMAP does not concern fetches", FETCH, SMAP, P | US, P | US, "OK" },
	{ "SMAP does not concern users", READ | USER, SMAP, P | US, P | US, "OK" },
	{ "AC does not concern users", READ | USER, SMAP | AC, P | US, P, "#PF(5)" },
}, errors_nx[] = {
	/* modes with an XD bit; I in the error code if EFER.NXE or CR4.SMEP */
	{ "fetch from XD page", FETCH, 0, P, P | NX, "#PF(11)" },
	{ "fetch through XD table", FETCH, 0, P | NX, P, "#PF(11)" },
	{ "user fetch from XD page", FETCH | USER, 0, P | US, P | US | NX, "#PF(15)" },
	{ "user fetch from supervisor page", FETCH | USER, 0, P | US, P, "#PF(15)" },
	{ "fetch from absent page", FETCH, 0, P, 0, "#PF(10)" },
	{ "read of XD page", READ, 0, P, P | NX, "OK" },
	{ "write of XD page", WRITE | USER, 0, P | RW | US, P | RW | US | NX, "OK" },
	{ "SMEP and XD", FETCH, SMEP, P | US, P | US | NX, "#PF(11)" },
	/* without NXE: no I, and bit 63 is reserved */
	{ "NXE=0, user fetch from supervisor page", FETCH | USER, NONX, P | US, P, "#PF(5)" },
	{ "NXE=0, fetch from absent page", FETCH, NONX, P, 0, "#PF(0)" },
	{ "NXE=0, SMEP, fetch from absent page", FETCH, NONX | SMEP, P, 0, "#PF(10)" },
	{ "NXE=0, XD, read", READ, NONX, P, P | NX, "#PF(9)" },
	{ "NXE=0, XD, write", WRITE, NONX, P, P | NX, "#PF(b)" },
	{ "NXE=0, XD, user write", WRITE | USER, NONX, P, P | NX, "#PF(f)" },
	{ "NXE=0, XD, fetch", FETCH, NONX, P, P | NX, "#PF(9)" },
	{ "NXE=0, XD, fetch, SMEP", FETCH, NONX | SMEP, P, P | NX, "#PF(19)" },
}, errors_32[] = {
	/* 32-bit paging has no XD: NXE does not show in the error code (SDM 5.7: CR4.PAE is needed) */
	{ "fetch from absent page", FETCH, 0, P, 0, "#PF(0)" },
	{ "user fetch from supervisor page", FETCH | USER, 0, P | US, P, "#PF(5)" },
};

static void check_error(struct machine *m, enum paging paging, const char *what, unsigned access,
			unsigned set, uint64_t upper, uint64_t leaf, const char *expected)
{
	struct cpu *c = &m->v.cpu;
	uint64_t linear = linear_for(paging);
	const char *result;
	struct walk w;

	memset(c, 0, sizeof(*c));
	memset(m->ram, 0, RAM_SIZE);
	/* address bits: harmless in an absent entry as well */
	page_map(m, paging, linear, 1, leaf & P ? leaf | FRAME : leaf, upper);
	c->cr0 |= set & WP ? CR0_WP : 0;
	c->cr4 |= (set & SMEP ? CR4_SMEP : 0) | (set & SMAP ? CR4_SMAP : 0);
	c->rflags = set & AC ? FL_AC : 0;
	if (paging == PAGING_32)
		c->efer |= EFER_NXE; /* set, but without effect */
	if (set & NONX)
		c->efer &= ~EFER_NXE;
	result = walk_result(m, linear, access, &w);
	if (strcmp(result, expected))
		fail_msg("%s, %s: %s, expected %s", paging_info[paging].name, what, result,
			 expected);
	if (!strcmp(result, "OK"))
		assert_int_equal(w.gpa, FRAME | (linear & 0xfff));
}

static void test_walk_permissions_give_error_code(void **state)
{
	struct machine *m = *state;
#define CHECK(table, paging)                                                                 \
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++)                      \
	check_error(m, paging, table[i].what, table[i].access, table[i].set, table[i].upper, \
		    table[i].leaf, table[i].result)

	for (enum paging paging = 0; paging < PAGINGS; paging++)
		CHECK(errors, paging);
	for (enum paging paging = PAGING_PAE; paging < PAGINGS; paging++)
		CHECK(errors_nx, paging);
	CHECK(errors_32, PAGING_32);
#undef CHECK
}

/* Each level restricts: take one right away at one level only. */
static void test_walk_every_level_restricts(void **state)
{
	struct machine *m = *state;
	struct walk w;

	for (enum paging paging = 0; paging < PAGINGS; paging++) {
		uint64_t linear = linear_for(paging);

		for (unsigned level = 1; level <= paging_info[paging].levels; level++) {
			uint64_t entry;

			if (paging == PAGING_PAE && level == 3)
				continue;
			memset(&m->v.cpu, 0, sizeof(m->v.cpu));
			page_map(m, paging, linear, 1, FRAME | P | RW | US, P | RW | US);
			m->v.cpu.cr0 |= CR0_WP;
			entry = entry_get(m, paging, level, linear);
			assert_string_equal(walk_result(m, linear, WRITE | USER, &w), "OK");
			assert_true(w.writable && w.user && w.executable);

			entry_put(m, paging, level, linear, entry & ~(uint64_t)RW);
			assert_string_equal(walk_result(m, linear, WRITE | USER, &w), "#PF(7)");
			assert_string_equal(walk_result(m, linear, WRITE, &w), "#PF(3)");
			assert_string_equal(walk_result(m, linear, READ, &w), "OK");
			assert_true(!w.writable && w.user && w.executable);
			entry_put(m, paging, level, linear, entry & ~(uint64_t)US);
			assert_string_equal(walk_result(m, linear, READ | USER, &w), "#PF(5)");
			assert_string_equal(walk_result(m, linear, READ, &w), "OK");
			assert_true(w.writable && !w.user && w.executable);
			entry_put(m, paging, level, linear, 0);
			assert_string_equal(walk_result(m, linear, READ, &w), "#PF(0)");
			if (!is_64bit_entry(paging))
				continue;
			entry_put(m, paging, level, linear, entry | NX);
			assert_string_equal(walk_result(m, linear, FETCH, &w), "#PF(11)");
			assert_string_equal(walk_result(m, linear, READ, &w), "OK");
			assert_true(w.writable && w.user && !w.executable);
		}
	}
}

/* ------------------------------------------------------------------ reserved bits */

/*
 * Bits that give #PF(RSVD) when they are set in a present entry, with 40 physical bits and NXE = 1, as
 * the SDM's tables of entry formats have them.
 */
static const struct {
	enum paging paging;
	unsigned level; /* of the entry */
	bool leaf;
	uint64_t reserved;
} reserved_rows[] = {
	{ PAGING_32, 2, false, 0 },
	{ PAGING_32, 2, true, 0x00200000 }, /* 21; 20:13 are address bits 39:32 */
	{ PAGING_32, 1, true, 0 },
	{ PAGING_PAE, 3, false, 0xffffff00000001e6 }, /* 63:40, 8:5, 2:1 */
	{ PAGING_PAE, 2, false, 0x7fffff0000000000 }, /* 62:40 */
	{ PAGING_PAE, 2, true, 0x7fffff00001fe000 },  /* and 20:13 */
	{ PAGING_PAE, 1, true, 0x7fffff0000000000 },
	{ PAGING_4, 4, false, 0x000fff0000000080 }, /* 51:40, PS */
	{ PAGING_4, 3, false, 0x000fff0000000000 },
	{ PAGING_4, 3, true, 0x000fff003fffe000 }, /* 29:13 */
	{ PAGING_4, 2, false, 0x000fff0000000000 },
	{ PAGING_4, 2, true, 0x000fff00001fe000 }, /* 20:13 */
	{ PAGING_4, 1, true, 0x000fff0000000000 },
	{ PAGING_5, 5, false, 0x000fff0000000080 },
	{ PAGING_5, 4, false, 0x000fff0000000080 },
	{ PAGING_5, 3, true, 0x000fff003fffe000 },
	{ PAGING_5, 1, true, 0x000fff0000000000 },
};

static void test_walk_reserved_bits_give_rsvd(void **state)
{
	struct machine *m = *state;

	for (unsigned i = 0; i < sizeof(reserved_rows) / sizeof(reserved_rows[0]); i++) {
		enum paging paging = reserved_rows[i].paging;
		unsigned level = reserved_rows[i].level, bits = is_64bit_entry(paging) ? 64 : 32;
		unsigned leaf_level = reserved_rows[i].leaf ? level : 1;
		uint64_t linear = linear_for(paging), entry;
		struct walk w;

		memset(&m->v.cpu, 0, sizeof(m->v.cpu));
		page_map(m, paging, linear, leaf_level, P | RW | US | (leaf_level > 1 ? PS : FRAME),
			 P | RW | US);
		entry = entry_get(m, paging, level, linear);
		assert_string_equal(walk_result(m, linear, READ | USER, &w), "OK");
		for (unsigned bit = 1; bit < bits; bit++) {
			bool expected = reserved_rows[i].reserved >> bit & 1;
			const char *result;

			/* PS decides about the rest */
			if (bit == 7 && level > 1 && !expected)
				continue;
			entry_put(m, paging, level, linear, entry ^ 1ull << bit);
			result = walk_result(m, linear, READ | USER, &w);
			if (expected != !strcmp(result, "#PF(d)"))
				fail_msg("%s, level %u, bit %u: %s", paging_info[paging].name,
					 level, bit, result);
		}
		entry_put(m, paging, level, linear, entry);
	}
}

static void test_walk_reserved_bits_follow_physical_width(void **state)
{
	struct machine *m = *state;
	static const struct {
		unsigned bits;
		uint64_t leaf_4, leaf_pae, large_32;
	} rows[] = {
		{ 32, 0x000fffff00000000, 0x7fffffff00000000, 0x003fe000 },
		{ 36, 0x000ffff000000000, 0x7ffffff000000000, 0x003e0000 },
		{ 46, 0x000fc00000000000, 0x7fffc00000000000, 0x00200000 },
		{ 52, 0, 0x7ff0000000000000, 0x00200000 },
	};
	struct walk w;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		m->vm.physical_bits = rows[i].bits;
		for (unsigned bit = 13; bit < 63; bit++) {
			memset(&m->v.cpu, 0, sizeof(m->v.cpu));
			page_map(m, PAGING_4, LINEAR, 1, P | 1ull << bit, P | RW);
			assert_string_equal(walk_result(m, LINEAR, READ, &w),
					    rows[i].leaf_4 >> bit & 1 ? "#PF(9)" : "OK");
			if (!(rows[i].leaf_4 >> bit & 1))
				assert_int_equal(w.gpa,
						 (bit < 52 ? 1ull << bit : 0) | (LINEAR & 0xfff));
			memset(&m->v.cpu, 0, sizeof(m->v.cpu));
			page_map(m, PAGING_PAE, LINEAR_32, 1, P | 1ull << bit, P | RW);
			assert_string_equal(walk_result(m, LINEAR_32, READ, &w),
					    rows[i].leaf_pae >> bit & 1 ? "#PF(9)" : "OK");
			if (bit > 21)
				continue;
			memset(&m->v.cpu, 0, sizeof(m->v.cpu));
			page_map(m, PAGING_32, LINEAR_32, 2, P | PS | 1ull << bit, 0);
			assert_string_equal(walk_result(m, LINEAR_32, READ, &w),
					    rows[i].large_32 >> bit & 1 ? "#PF(9)" : "OK");
		}
	}
}

/* An entry above decides before one below is looked at. */
static void test_walk_reserved_bit_above_absent_entry_wins(void **state)
{
	struct machine *m = *state;
	struct walk w;

	page_map(m, PAGING_4, LINEAR, 1, 0, P | RW);
	assert_string_equal(walk_result(m, LINEAR, READ, &w), "#PF(0)");
	entry_put(m, PAGING_4, 2, LINEAR, TABLE(1) | P | 1ull << 45);
	assert_string_equal(walk_result(m, LINEAR, READ, &w), "#PF(9)");
	entry_put(m, PAGING_4, 3, LINEAR, 0);
	assert_string_equal(walk_result(m, LINEAR, READ, &w), "#PF(0)");
}

/* ------------------------------------------------------------------ addresses */

static void test_walk_page_sizes_give_address(void **state)
{
	struct machine *m = *state;
	static const struct {
		enum paging paging;
		unsigned level;
		uint64_t leaf, linear, gpa;
		unsigned shift;
	} rows[] = {
		{ PAGING_32, 1, 0x00345000, 0x89abcdef, 0x00345def, 12 },
		{ PAGING_32, 2, 0x00400000 | PS, 0x89abcdef, 0x006bcdef, 22 },
		/* PSE-36: 0xab in 20:13; bit 12 is PAT */
		{ PAGING_32, 2, 0xffd57000 | PS, 0x89abcdef, 0xabffebcdef, 22 },
		{ PAGING_PAE, 1, 0xab12345000, 0x89abcdef, 0xab12345def, 12 },
		{ PAGING_PAE, 2, 0xab12400000 | PS, 0x89abcdef, 0xab124bcdef, 21 },
		{ PAGING_PAE, 2, 0xab12401000 | PS, 0xffffffff, 0xab125fffff,
		  21 }, /* bit 12: PAT */
		{ PAGING_4, 1, 0xab12345000, 0xffff8000deadbeef, 0xab12345eef, 12 },
		{ PAGING_4, 2, 0xab12400000 | PS, 0x00007fffdeadbeef, 0xab124dbeef, 21 },
		{ PAGING_4, 3, 0xab40000000 | PS, 0xffffffffdeadbeef, 0xab5eadbeef, 30 },
		{ PAGING_5, 1, 0xab12345000, 0xff000000deadbeef, 0xab12345eef, 12 },
		{ PAGING_5, 2, 0xab12400000 | PS, 0x00ffffffdeadbeef, 0xab124dbeef, 21 },
		{ PAGING_5, 3, 0xab40001000 | PS, 0x0012345612345678, 0xab52345678, 30 },
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct walk w;

		memset(&m->v.cpu, 0, sizeof(m->v.cpu));
		page_map(m, rows[i].paging, rows[i].linear, rows[i].level, rows[i].leaf | P | RW,
			 P | RW);
		assert_string_equal(walk_result(m, rows[i].linear, READ, &w), "OK");
		assert_int_equal(w.gpa, rows[i].gpa);
		assert_int_equal(w.page_shift, rows[i].shift);
	}
}

static void test_walk_ps_without_pse_is_a_table(void **state)
{
	struct machine *m = *state;
	struct walk w;

	page_map(m, PAGING_32, LINEAR_32, 1, FRAME | P, P | PS);
	m->v.cpu.cr4 &= ~CR4_PSE;
	assert_string_equal(walk_result(m, LINEAR_32, READ, &w), "OK");
	assert_int_equal(w.gpa, FRAME | 0xabc);
	assert_int_equal(w.page_shift, 12);
	/* PAE does not ask for PSE (SDM 5.4) */
	memset(&m->v.cpu, 0, sizeof(m->v.cpu));
	page_map(m, PAGING_PAE, LINEAR_32, 2, FRAME | P | PS, P);
	assert_string_equal(walk_result(m, LINEAR_32, READ, &w), "OK");
	assert_int_equal(w.page_shift, 21);
}

static void test_walk_linear_address_truncated_outside_long_mode(void **state)
{
	struct machine *m = *state;
	struct walk w;

	for (enum paging paging = PAGING_32; paging <= PAGING_PAE; paging++) {
		memset(&m->v.cpu, 0, sizeof(m->v.cpu));
		page_map(m, paging, LINEAR_32, 1, FRAME | P, P);
		assert_string_equal(walk_result(m, LINEAR_32 | 0xdead00000000, READ, &w), "OK");
		assert_int_equal(w.gpa, FRAME | 0xabc);
		assert_string_equal(walk_result(m, 0xffff000000000000, READ, &w), "#PF(0)");
	}
}

static void test_walk_without_paging_is_identity(void **state)
{
	struct machine *m = *state;
	struct walk w;

	for (unsigned pe = 0; pe < 2; pe++) {
		m->v.cpu.cr0 = pe ? CR0_PE | CR0_WP : 0;
		m->v.cpu.cr4 = CR4_SMEP | CR4_SMAP | CR4_PAE;
		assert_string_equal(walk_result(m, 0x1000fffff, WRITE | USER, &w), "OK");
		assert_int_equal(w.gpa, 0xfffff);
		assert_true(w.writable && w.user && w.executable && w.dirty && w.write_ok);
		assert_int_equal(w.pat_index, MEMTYPE_NO_PAT);
		assert_string_equal(walk_result(m, 0xfee00000, READ, &w),
				    "OK"); /* not ours to judge */
	}
}

static void test_walk_non_canonical_is_gp(void **state)
{
	struct machine *m = *state;
	static const struct {
		uint64_t linear;
		bool in_4, in_5;
	} rows[] = {
		{ 0x00007fffffffffff, true, true },   { 0x0000800000000000, false, true },
		{ 0xffff7fffffffffff, false, true },  { 0xffff800000000000, true, true },
		{ 0x00ffffffffffffff, false, true },  { 0x0100000000000000, false, false },
		{ 0xfeffffffffffffff, false, false }, { 0xff00000000000000, false, true },
		{ 0x8000000000000000, false, false }, { 0xffffffffffffffff, true, true },
	};
	struct walk w;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (enum paging paging = PAGING_4; paging <= PAGING_5; paging++) {
			bool fine = paging == PAGING_4 ? rows[i].in_4 : rows[i].in_5;

			memset(&m->v.cpu, 0, sizeof(m->v.cpu));
			page_map(m, paging, rows[i].linear, 1, FRAME | P, P);
			assert_string_equal(walk_result(m, rows[i].linear, READ, &w),
					    fine ? "OK" : "#13(0)");
		}
	}
}

static void test_walk_pae_cr3_is_32_byte_aligned(void **state)
{
	struct machine *m = *state;
	struct walk w;

	page_map(m, PAGING_PAE, 0xc0000000, 1, FRAME | P, P);
	put64(m, 0x4e0 + 3 * 8, TABLE(2) | P);
	m->v.cpu.cr3 = 0x4e0 | PWT | PCD;
	assert_string_equal(walk_result(m, 0xc0000123, READ, &w), "OK");
	assert_int_equal(w.gpa, FRAME | 0x123);
	assert_string_equal(walk_result(m, 0x80000000, READ, &w), "#PF(0)");
}

/* ------------------------------------------------------------------ accessed and dirty */

static void check_bits(struct machine *m, enum paging paging, uint64_t linear, unsigned leaf_level,
		       uint64_t upper_a, uint64_t leaf_ad)
{
	for (unsigned level = paging_info[paging].levels; level >= leaf_level; level--) {
		uint64_t bits = entry_get(m, paging, level, linear) & (A | D);
		uint64_t expected = level == leaf_level ? leaf_ad : upper_a;

		if (paging == PAGING_PAE && level == 3)
			expected = 0;
		if (bits != expected)
			fail_msg("%s, level %u: %#llx instead of %#llx", paging_info[paging].name,
				 level, (unsigned long long)bits, (unsigned long long)expected);
	}
}

static void test_walk_sets_accessed_and_dirty(void **state)
{
	struct machine *m = *state;
	struct walk w;

	for (enum paging paging = 0; paging < PAGINGS; paging++) {
		unsigned largest = paging == PAGING_PAE || paging == PAGING_32 ? 2 : 3;

		for (unsigned leaf_level = 1; leaf_level <= largest; leaf_level++) {
			uint64_t linear = linear_for(paging), leaf = leaf_level > 1 ? PS : FRAME;

			memset(&m->v.cpu, 0, sizeof(m->v.cpu));
			page_map(m, paging, linear, leaf_level, leaf | P | RW, P | RW);
			assert_string_equal(walk_result(m, linear, READ | QUIET, &w), "OK");
			assert_false(w.dirty || w.write_ok);
			check_bits(m, paging, linear, leaf_level, 0, 0);
			assert_string_equal(walk_result(m, linear, READ, &w), "OK");
			assert_false(w.dirty || w.write_ok);
			check_bits(m, paging, linear, leaf_level, A, A);
			assert_string_equal(walk_result(m, linear, FETCH, &w), "OK");
			assert_false(w.dirty || w.write_ok);
			assert_string_equal(walk_result(m, linear, WRITE, &w), "OK");
			assert_true(w.dirty && w.write_ok);
			check_bits(m, paging, linear, leaf_level, A, A | D);
			assert_string_equal(walk_result(m, linear, READ, &w), "OK");
			assert_true(w.dirty && w.write_ok);
			/* a write finds nothing set */
			page_map(m, paging, linear, leaf_level, leaf | P | RW, P | RW);
			assert_string_equal(walk_result(m, linear, WRITE, &w), "OK");
			check_bits(m, paging, linear, leaf_level, A, A | D);
			/* the rest of the entries stays as it was */
			assert_int_equal(entry_get(m, paging, leaf_level, linear),
					 leaf | P | RW | A | D);
		}
	}
}

static void test_walk_refused_access_sets_nothing(void **state)
{
	struct machine *m = *state;
	struct walk w;

	for (enum paging paging = 0; paging < PAGINGS; paging++) {
		uint64_t linear = linear_for(paging);

		memset(&m->v.cpu, 0, sizeof(m->v.cpu));
		page_map(m, paging, linear, 1, FRAME | P, P | RW | US);
		assert_string_equal(walk_result(m, linear, READ | USER, &w), "#PF(5)");
		check_bits(m, paging, linear, 1, 0, 0);
		m->v.cpu.cr0 |= CR0_WP;
		assert_string_equal(walk_result(m, linear, WRITE, &w), "#PF(3)");
		check_bits(m, paging, linear, 1, 0, 0);
		entry_put(m, paging, 1, linear, 0);
		assert_string_equal(walk_result(m, linear, READ, &w), "#PF(0)");
		check_bits(m, paging, linear, 1, 0, 0);
	}
}

static void test_walk_without_side_effects_ignores_permissions(void **state)
{
	struct machine *m = *state;
	struct walk w;

	page_map(m, PAGING_4, LINEAR, 1, FRAME | P | NX, P | RW);
	m->v.cpu.cr0 |= CR0_WP;
	assert_string_equal(walk_result(m, LINEAR, WRITE | FETCH | USER | QUIET, &w), "OK");
	assert_int_equal(w.gpa, FRAME | (LINEAR & 0xfff));
	assert_false(w.writable || w.user || w.executable || w.write_ok);
	check_bits(m, PAGING_4, LINEAR, 1, 0, 0);
	entry_put(m, PAGING_4, 1, LINEAR, 0);
	assert_string_equal(walk_result(m, LINEAR, READ | QUIET, &w), "#PF(0)");
}

/* write_ok is for the same privilege: what a read may give a TLB entry along with it. */
static void test_walk_write_ok_follows_permissions(void **state)
{
	struct machine *m = *state;
	static const struct {
		unsigned access, set;
		uint64_t leaf;
		bool ok;
	} rows[] = {
		{ READ, 0, P | RW | D, true },
		{ READ, 0, P | RW, false },
		{ READ, 0, P | D, true },
		{ READ, WP, P | D, false },
		{ READ | USER, 0, P | US | D, false },
		{ READ | USER, 0, P | RW | US | D, true },
		{ READ, SMAP | AC, P | RW | US | D, true },
		{ FETCH, WP, P | RW | D, true },
		{ FETCH, SMAP, P | RW | US | D, false },
		{ FETCH, SMAP | AC, P | RW | US | D, true },
	};
	struct walk w;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cpu *c = &m->v.cpu;

		memset(c, 0, sizeof(*c));
		page_map(m, PAGING_4, LINEAR, 1, FRAME | rows[i].leaf, P | RW | US);
		c->cr0 |= rows[i].set & WP ? CR0_WP : 0;
		c->cr4 |= rows[i].set & SMAP ? CR4_SMAP : 0;
		c->rflags = rows[i].set & AC ? FL_AC : 0;
		assert_string_equal(walk_result(m, LINEAR, rows[i].access, &w), "OK");
		assert_int_equal(w.write_ok, rows[i].ok);
	}
}

/* Linux ignores A and D of tables in a read-only slot; the access itself succeeds. */
static void test_walk_tables_in_readonly_slot_stay_untouched(void **state)
{
	struct machine *m = *state;
	struct walk w;

	page_map(m, PAGING_4, LINEAR, 1, FRAME | P | RW, P | RW);
	assert_int_equal(memory_set_flags(&m->vm.memory, RAM_SLOT, EMU_MEM_READONLY), 0);
	assert_string_equal(walk_result(m, LINEAR, WRITE, &w), "OK");
	check_bits(m, PAGING_4, LINEAR, 1, 0, 0);
	assert_true(w.write_ok && w.dirty);
}

static void test_walk_marks_pages_of_tables_dirty(void **state)
{
	struct machine *m = *state;
	uint64_t log[RAM_SIZE / 4096 / 64];
	struct walk w;

	assert_int_equal(memory_set_flags(&m->vm.memory, RAM_SLOT, EMU_MEM_LOG_DIRTY), 0);
	page_map(m, PAGING_4, LINEAR, 1, FRAME | P | RW, P | RW);
	assert_string_equal(walk_result(m, LINEAR, READ, &w), "OK");
	assert_int_equal(memory_dirty_log(&m->vm.memory, RAM_SLOT, log, true), 0);
	assert_int_equal(log[0], 1ull << 16 | 1ull << 32 | 1ull << 48);
	assert_int_equal(log[1], 1);
	assert_string_equal(walk_result(m, LINEAR, WRITE, &w), "OK");
	assert_int_equal(memory_dirty_log(&m->vm.memory, RAM_SLOT, log, true), 0);
	assert_int_equal(log[0],
			 1ull << 16); /* D in the last table; the page itself is the caller's */
	assert_int_equal(log[1] | log[FRAME / 4096 / 64], 0);
	assert_string_equal(walk_result(m, LINEAR, WRITE, &w), "OK");
	assert_int_equal(memory_dirty_log(&m->vm.memory, RAM_SLOT, log, true), 0);
	assert_int_equal(log[0], 0);
}

struct flip {
	struct machine *m;
	_Atomic bool stop;
	uint64_t flips;
};

/* Somebody else changes a bit that software owns in the same entry. */
static void *flip_thread(void *opaque)
{
	struct flip *flip = opaque;
	uint64_t *entry = (void *)(flip->m->ram + entry_gpa(PAGING_4, 1, LINEAR));

	for (; !flip->stop; flip->flips++)
		__atomic_fetch_xor(entry, 1 << 9, __ATOMIC_SEQ_CST);
	return NULL;
}

static void test_walk_update_loses_no_concurrent_change(void **state)
{
	struct machine *m = *state;
	struct flip flip = { .m = m };
	uint64_t *entry = (void *)(m->ram + entry_gpa(PAGING_4, 1, LINEAR));
	pthread_t thread;
	struct walk w;

	page_map(m, PAGING_4, LINEAR, 1, FRAME | P | RW, P | RW);
	assert_int_equal(pthread_create(&thread, NULL, flip_thread, &flip), 0);
	for (unsigned i = 0; i < 300000; i++) {
		assert_int_equal(page_walk(&m->v, LINEAR, WRITE, &w), DONE);
		assert_int_equal(__atomic_load_n(entry, __ATOMIC_SEQ_CST) & (A | D), A | D);
		__atomic_fetch_and(entry, ~(uint64_t)(A | D), __ATOMIC_SEQ_CST);
	}
	flip.stop = true;
	pthread_join(thread, NULL);
	assert_int_equal(*entry, FRAME | P | RW | (flip.flips & 1) << 9);
}

/* ------------------------------------------------------------------ memory that is not there */

static void test_walk_table_outside_slots_is_absent(void **state)
{
	struct machine *m = *state;
	struct walk w;

	for (enum paging paging = 0; paging < PAGINGS; paging++) {
		uint64_t linear = linear_for(paging);

		for (unsigned level = paging_info[paging].levels; level > 1; level--) {
			memset(&m->v.cpu, 0, sizeof(m->v.cpu));
			page_map(m, paging, linear, 1, FRAME | P, P);
			entry_put(m, paging, level, linear, 0xfe000000 | P);
			assert_string_equal(walk_result(m, linear, READ, &w), "#PF(0)");
			assert_string_equal(walk_result(m, linear, WRITE, &w), "#PF(2)");
		}
		page_map(m, paging, linear, 1, FRAME | P, P);
		m->v.cpu.cr3 = 0xfe000000;
		assert_string_equal(walk_result(m, linear, READ, &w), "#PF(0)");
		/* a page outside all slots is for the caller to notice */
		page_map(m, paging, linear, 1, 0xfe000000 | P, P);
		assert_string_equal(walk_result(m, linear, READ, &w), "OK");
		assert_int_equal(w.gpa, 0xfe000000 | (linear & 0xfff));
	}
}

static void test_walk_table_in_gone_memory_is_host_gone(void **state)
{
	struct machine *m = *state;
	struct walk w;

	for (unsigned level = 4; level; level--) {
		page_map(m, PAGING_4, LINEAR, 1, FRAME | P, P);
		memory_host_range_gone(&m->vm.memory, m->ram + TABLE(level), 0x1000);
		assert_string_equal(walk_result(m, LINEAR, READ, &w), "HOST_GONE");
		memory_host_range_back(&m->vm.memory, m->ram + TABLE(level), 0x1000);
		assert_string_equal(walk_result(m, LINEAR, READ, &w), "OK");
	}
}

static void test_walk_tables_in_several_slots_found(void **state)
{
	struct machine *m = *state;
	uint8_t *host = host_pages(0x2000);
	struct walk w;

	/* the last table far away, its host page behind another one */
	page_map(m, PAGING_4, LINEAR, 1, 0, P | RW);
	assert_int_equal(memory_map(&m->vm.memory, 1, 0xab00000000, 0x1000, host + 0x1000, 0), 0);
	entry_put(m, PAGING_4, 2, LINEAR, 0xab00000000 | P | RW);
	memcpy(host + 0x1000 + (entry_gpa(PAGING_4, 1, LINEAR) & 0xfff),
	       &(uint64_t){ FRAME | P | RW }, 8);
	assert_string_equal(walk_result(m, LINEAR, READ, &w), "OK");
	assert_int_equal(w.gpa, FRAME | (LINEAR & 0xfff));
	assert_int_equal(host[0x1000 + (entry_gpa(PAGING_4, 1, LINEAR) & 0xfff)], P | RW | A);
	assert_int_equal(memory_unmap(&m->vm.memory, 1), 0);
	assert_string_equal(walk_result(m, LINEAR, READ, &w), "#PF(0)");
	munmap(host, 0x2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_walk_permissions_give_error_code),
		TEST(test_walk_every_level_restricts),
		TEST(test_walk_reserved_bits_give_rsvd),
		TEST(test_walk_reserved_bits_follow_physical_width),
		TEST(test_walk_reserved_bit_above_absent_entry_wins),
		TEST(test_walk_page_sizes_give_address),
		TEST(test_walk_ps_without_pse_is_a_table),
		TEST(test_walk_linear_address_truncated_outside_long_mode),
		TEST(test_walk_without_paging_is_identity),
		TEST(test_walk_non_canonical_is_gp),
		TEST(test_walk_pae_cr3_is_32_byte_aligned),
		TEST(test_walk_sets_accessed_and_dirty),
		TEST(test_walk_refused_access_sets_nothing),
		TEST(test_walk_without_side_effects_ignores_permissions),
		TEST(test_walk_write_ok_follows_permissions),
		TEST(test_walk_tables_in_readonly_slot_stay_untouched),
		TEST(test_walk_marks_pages_of_tables_dirty),
		TEST(test_walk_update_loses_no_concurrent_change),
		TEST(test_walk_table_outside_slots_is_absent),
		TEST(test_walk_table_in_gone_memory_is_host_gone),
		TEST(test_walk_tables_in_several_slots_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
