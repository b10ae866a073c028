/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory types: every cell of every table of the manuals, written out here once more. */
#include "emu/memtype.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { UC = 0, WC = 1, WT = 4, WP = 5, WB = 6, UCM = 7, CD = 8, WCP = 9 };
#define TEST(f) cmocka_unit_test(f)

/* ------------------------------------------------------------------ tables */

static void test_combine_every_mtrr_and_pat_type_as_sdm_14_7(void **state)
{
	static const uint8_t pat[] = { UC, UCM, WC, WT, WB, WP };
	static const struct {
		uint8_t mtrr, type[6];
	} rows[] = {
		{ UC, { UC, UC, WC, UC, UC, UC } }, { WC, { UC, WC, WC, UC, WC, UC } },
		{ WT, { UC, UC, WC, WT, WT, WP } }, { WP, { UC, WC, WC, WT, WP, WP } },
		{ WB, { UC, UC, WC, WT, WB, WP } },
	};

	(void)state;
	for (unsigned r = 0; r < 5; r++)
		for (unsigned c = 0; c < 6; c++)
			assert_int_equal(memtype_combine(rows[r].mtrr, pat[c]), rows[r].type[c]);
}

static void test_combine_nested_every_guest_and_host_type_as_apm_15_19(void **state)
{
	static const uint8_t host[] = { UC, UCM, WC, WP, WT, WB };
	static const struct {
		uint8_t guest, type[6];
	} rows[] = {
		{ UC, { UC, UC, UC, UC, UC, UC } },    { UCM, { UC, UCM, WC, UC, UC, UC } },
		{ WC, { WC, WC, WC, WCP, WCP, WCP } }, { WP, { UC, UC, UC, WP, UC, WP } },
		{ WT, { UC, UC, UC, UC, WT, WT } },    { WB, { UC, UC, WC, WP, WT, WB } },
	};

	(void)state;
	for (unsigned r = 0; r < 6; r++)
		for (unsigned c = 0; c < 6; c++)
			assert_int_equal(memtype_combine_nested(rows[r].guest, host[c]),
					 rows[r].type[c]);
}

static void test_combine_amd_every_pat_and_mtrr_type_as_apm_15_20(void **state)
{
	static const uint8_t mtrr[] = { UC, WC, WP, WT, WB };
	static const struct {
		uint8_t pat, type[5];
	} rows[] = {
		{ UC, { UC, CD, CD, CD, CD } }, { UCM, { UC, WC, CD, CD, CD } },
		{ WC, { WC, WC, WC, WC, WC } }, { WCP, { WC, WC, WCP, WCP, WCP } },
		{ WP, { UC, CD, WP, CD, WP } }, { WT, { UC, CD, CD, WT, WT } },
		{ WB, { UC, WC, WP, WT, WB } },
	};

	(void)state;
	for (unsigned r = 0; r < 7; r++)
		for (unsigned c = 0; c < 5; c++)
			assert_int_equal(memtype_combine_amd(rows[r].pat, mtrr[c]),
					 rows[r].type[c]);
}

/* SDM 31.3.7.2 */
static void test_ept_cr0_cd_before_ignore_pat_before_table(void **state)
{
	(void)state;
	assert_int_equal(memtype_ept(WB, true, true, WB), UC);
	assert_int_equal(memtype_ept(WB, false, true, WB), UC);
	assert_int_equal(memtype_ept(WB, true, false, UC), WB);
	assert_int_equal(memtype_ept(UC, true, false, WC), UC);
	assert_int_equal(memtype_ept(WT, true, false, UC), WT);
	assert_int_equal(memtype_ept(WB, false, false, UC), UC);
	assert_int_equal(memtype_ept(UC, false, false, WC), WC);
	assert_int_equal(memtype_ept(WP, false, false, UCM), WC);
}

static void test_name_of_every_type(void **state)
{
	static const char *const names[] = { "UC", "WC",  "reserved", "reserved", "WT",      "WP",
					     "WB", "UC-", "CD",       "WC+",      "reserved" };

	(void)state;
	for (unsigned type = 0; type < 11; type++)
		assert_string_equal(memtype_name(type), names[type]);
}

/* ------------------------------------------------------------------ PAT */

enum { PWT = 1 << 3, PCD = 1 << 4, BIT7 = 1 << 7, BIT12 = 1 << 12 };

static void test_pat_index_of_each_entry_by_its_own_bits(void **state)
{
	(void)state;
	for (unsigned low = 0; low < 4; low++) {
		uint64_t entry = 0x123456000ull | (low & 1 ? PWT : 0) | (low & 2 ? PCD : 0);

		entry &= ~(uint64_t)BIT12;
		assert_int_equal(memtype_pat_index(entry, MEMTYPE_PAGE), low);
		assert_int_equal(memtype_pat_index(entry | BIT7, MEMTYPE_PAGE), low + 4);
		assert_int_equal(memtype_pat_index(entry | BIT12, MEMTYPE_PAGE), low);
		assert_int_equal(memtype_pat_index(entry | BIT7, MEMTYPE_LARGE_PAGE), low);
		assert_int_equal(memtype_pat_index(entry | BIT7 | BIT12, MEMTYPE_LARGE_PAGE),
				 low + 4);
		assert_int_equal(memtype_pat_index(entry | BIT7 | BIT12, MEMTYPE_TABLE), low);
	}
}

static void test_pat_entry_of_each_index(void **state)
{
	static const uint8_t reset[] = { WB, WT, UCM, UC, WB, WT, UCM, UC };

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(memtype_pat_entry(0x0007040600070406, i), reset[i]);
		assert_int_equal(memtype_pat_entry(5ull << 8 * i, i), WP);
	}
	assert_int_equal(memtype_pat_entry(0, MEMTYPE_NO_PAT), WB);
	assert_int_equal(MEMTYPE_PAT_RESET, 0x0007040600070406);
}

/* ------------------------------------------------------------------ what WRMSR accepts */

static const uint8_t mtrr_types[] = { UC, WC, WT, WP, WB };

static bool is_one_of(uint64_t type, bool pat)
{
	for (unsigned i = 0; i < 5; i++)
		if (mtrr_types[i] == type)
			return true;
	return pat && type == UCM;
}

static void test_valid_every_type_in_every_byte(void **state)
{
	(void)state;
	for (uint64_t type = 0; type < 256; type++) {
		for (unsigned at = 0; at < 64; at += 8) {
			assert_int_equal(memtype_pat_valid(type << at), is_one_of(type, true));
			assert_int_equal(memtype_fixed_valid(type << at), is_one_of(type, false));
		}
		assert_int_equal(memtype_default_valid(type), is_one_of(type, false));
		assert_int_equal(memtype_base_valid(type, 40), is_one_of(type, false));
		assert_int_equal(memtype_is_mtrr_type((unsigned)type), is_one_of(type, false));
	}
}

/* SDM figures 14-6, 14-7: the other bits, at the usual widths of physical addresses. */
static void test_valid_reserved_bits_of_mtrrs_refused(void **state)
{
	static const unsigned widths[] = { 36, 40, 46, 52 };

	(void)state;
	for (unsigned bit = 8; bit < 64; bit++)
		assert_int_equal(memtype_default_valid(1ull << bit), bit == 10 || bit == 11);
	for (unsigned w = 0; w < 4; w++) {
		for (unsigned bit = 0; bit < 64; bit++) {
			bool address = bit >= 12 && bit < widths[w];

			assert_int_equal(memtype_mask_valid(1ull << bit, widths[w]),
					 address || bit == 11);
			if (bit >= 8)
				assert_int_equal(memtype_base_valid(1ull << bit | WB, widths[w]),
						 address);
		}
	}
}

/* ------------------------------------------------------------------ MTRRs */

#define E    (1ull << 11)
#define FE   (1ull << 10)
#define V    (1ull << 11)
#define BITS 40
#define FULL 0xfffffff000ull /* 40 bits */

#define ASSERT_MTRR(r, gpa, expected_rule, expected_msr, expected_type)    \
	do {                                                               \
		struct memtype_mtrr m_ = memtype_mtrr(r, true, BITS, gpa); \
		assert_int_equal(m_.rule, expected_rule);                  \
		assert_int_equal(m_.msr, expected_msr);                    \
		assert_int_equal(m_.type, expected_type);                  \
	} while (0)

static void range(struct memtype_registers *r, unsigned n, uint64_t base, uint64_t size,
		  unsigned type)
{
	r->mtrr_variable[2 * n] = base | type;
	r->mtrr_variable[2 * n + 1] = (FULL & ~(size - 1)) | V;
}

static void test_mtrr_enable_bits_and_default_type(void **state)
{
	struct memtype_registers r = { .mtrr_default = WB };
	struct memtype_mtrr absent;

	(void)state;
	memset(r.mtrr_fixed, WP, sizeof(r.mtrr_fixed));
	range(&r, 0, 0, 1ull << 30, WT);
	ASSERT_MTRR(&r, 0, MEMTYPE_DISABLED, 0x2ff, UC);
	ASSERT_MTRR(&r, 1ull << 32, MEMTYPE_DISABLED, 0x2ff, UC);
	r.mtrr_default |= FE; /* means nothing without E */
	ASSERT_MTRR(&r, 0, MEMTYPE_DISABLED, 0x2ff, UC);
	r.mtrr_default = WB | E;
	ASSERT_MTRR(&r, 0, MEMTYPE_RANGE, 0x200, WT); /* no fixed ranges */
	r.mtrr_default = WB | E | FE;
	ASSERT_MTRR(&r, 0, MEMTYPE_FIXED_HIT, 0x250, WP); /* before the variable one */
	ASSERT_MTRR(&r, 0xfffff, MEMTYPE_FIXED_HIT, 0x26f, WP);
	ASSERT_MTRR(&r, 0x100000, MEMTYPE_RANGE, 0x200, WT);
	ASSERT_MTRR(&r, 1ull << 30, MEMTYPE_DEFAULT, 0x2ff, WB);
	for (unsigned i = 0; i < 5; i++) {
		r.mtrr_default = E | mtrr_types[i];
		ASSERT_MTRR(&r, 1ull << 30, MEMTYPE_DEFAULT, 0x2ff, mtrr_types[i]);
	}
	absent = memtype_mtrr(&r, false, BITS, 0);
	assert_int_equal(absent.rule, MEMTYPE_ABSENT);
	assert_int_equal(absent.type, WB);
}

/* SDM table 14-9: 88 ranges, each byte its own. */
static void test_mtrr_every_fixed_range(void **state)
{
	static const struct {
		uint32_t msr, start, size;
	} msrs[] = {
		{ 0x250, 0x00000, 0x10000 }, { 0x258, 0x80000, 0x4000 }, { 0x259, 0xa0000, 0x4000 },
		{ 0x268, 0xc0000, 0x1000 },  { 0x269, 0xc8000, 0x1000 }, { 0x26a, 0xd0000, 0x1000 },
		{ 0x26b, 0xd8000, 0x1000 },  { 0x26c, 0xe0000, 0x1000 }, { 0x26d, 0xe8000, 0x1000 },
		{ 0x26e, 0xf0000, 0x1000 },  { 0x26f, 0xf8000, 0x1000 },
	};
	uint32_t next = 0;

	(void)state;
	for (unsigned n = 0; n < 11; n++) {
		assert_int_equal(memtype_fixed_msr(n), msrs[n].msr);
		assert_int_equal(msrs[n].start, next);
		next += 8 * msrs[n].size;
		for (unsigned k = 0; k < 8; k++) {
			struct memtype_registers r = { .mtrr_default = E | FE | UC };
			uint32_t first = msrs[n].start + k * msrs[n].size;
			uint32_t last = first + msrs[n].size - 1;

			r.mtrr_fixed[n] = (uint64_t)WT << 8 * k;
			ASSERT_MTRR(&r, first, MEMTYPE_FIXED_HIT, msrs[n].msr, WT);
			ASSERT_MTRR(&r, last, MEMTYPE_FIXED_HIT, msrs[n].msr, WT);
			assert_int_equal(memtype_mtrr(&r, true, BITS, last + 1).type, UC);
			if (first)
				assert_int_equal(memtype_mtrr(&r, true, BITS, first - 1).type, UC);
		}
	}
	assert_int_equal(next, 0x100000);
	assert_int_equal(memtype_fixed_msr(11), 0);
}

static void test_mtrr_mask_decides_what_a_range_holds(void **state)
{
	struct memtype_registers r = { .mtrr_default = E | WB };

	(void)state;
	for (unsigned n = 0; n < 8; n++) {
		memset(r.mtrr_variable, 0, sizeof(r.mtrr_variable));
		range(&r, n, 0xe0000000, 0x10000000, WC);
		ASSERT_MTRR(&r, 0xdfffffff, MEMTYPE_DEFAULT, 0x2ff, WB);
		ASSERT_MTRR(&r, 0xe0000000, MEMTYPE_RANGE, 0x200 + 2 * n, WC);
		ASSERT_MTRR(&r, 0xefffffff, MEMTYPE_RANGE, 0x200 + 2 * n, WC);
		ASSERT_MTRR(&r, 0xf0000000, MEMTYPE_DEFAULT, 0x2ff, WB);
		ASSERT_MTRR(&r, 0x8e0000000, MEMTYPE_DEFAULT, 0x2ff, WB);
		r.mtrr_variable[2 * n + 1] &= ~V;
		ASSERT_MTRR(&r, 0xe0000000, MEMTYPE_DEFAULT, 0x2ff, WB);
	}
	/* a mask with holes: every other page (SDM 14.11.3: "discontinuous") */
	r.mtrr_variable[0] = 0x1000 | WT;
	r.mtrr_variable[1] = 0x1000 | V;
	r.mtrr_variable[15] = 0;
	ASSERT_MTRR(&r, 0x1fff, MEMTYPE_RANGE, 0x200, WT);
	ASSERT_MTRR(&r, 0x2000, MEMTYPE_DEFAULT, 0x2ff, WB);
	ASSERT_MTRR(&r, 0xabcde3000, MEMTYPE_RANGE, 0x200, WT);
	/* address bits that the processor does not have are not compared */
	r.mtrr_variable[0] = 0x8000000000 | WT;
	r.mtrr_variable[1] = 0x8000000000 | V;
	assert_int_equal(memtype_mtrr(&r, true, 40, 0).rule, MEMTYPE_DEFAULT);
	assert_int_equal(memtype_mtrr(&r, true, 39, 0).rule, MEMTYPE_RANGE);
}

/* SDM 14.11.4.1: every pair of types, in both orders, and triples. */
static void test_mtrr_overlap_by_precedence(void **state)
{
	static const struct {
		uint8_t a, b, rule, type;
	} pairs[] = {
		{ UC, UC, MEMTYPE_RANGE, UC },     { WC, WC, MEMTYPE_RANGE, WC },
		{ WT, WT, MEMTYPE_RANGE, WT },     { WP, WP, MEMTYPE_RANGE, WP },
		{ WB, WB, MEMTYPE_RANGE, WB },     { UC, WC, MEMTYPE_OVERLAP, UC },
		{ UC, WT, MEMTYPE_OVERLAP, UC },   { UC, WP, MEMTYPE_OVERLAP, UC },
		{ UC, WB, MEMTYPE_OVERLAP, UC },   { WT, WB, MEMTYPE_OVERLAP, WT },
		{ WC, WT, MEMTYPE_UNDEFINED, UC }, { WC, WP, MEMTYPE_UNDEFINED, UC },
		{ WC, WB, MEMTYPE_UNDEFINED, UC }, { WP, WT, MEMTYPE_UNDEFINED, UC },
		{ WP, WB, MEMTYPE_UNDEFINED, UC },
	};
	struct memtype_registers r = { .mtrr_default = E | WB };

	(void)state;
	for (unsigned n = 0; n < sizeof(pairs) / sizeof(*pairs); n++) {
		for (unsigned turn = 0; turn < 2; turn++) {
			unsigned a = turn ? pairs[n].b : pairs[n].a;
			unsigned b = turn ? pairs[n].a : pairs[n].b;
			uint32_t msr = a == pairs[n].type ? 0x204 : 0x20a;

			memset(r.mtrr_variable, 0, sizeof(r.mtrr_variable));
			range(&r, 2, 0, 0x4000000, a);
			range(&r, 5, 0, 0x2000000, b);
			ASSERT_MTRR(&r, 0x1ffffff, pairs[n].rule,
				    pairs[n].rule == MEMTYPE_UNDEFINED ? 0 : msr, pairs[n].type);
			ASSERT_MTRR(&r, 0x2000000, MEMTYPE_RANGE, 0x204, a);
			ASSERT_MTRR(&r, 0x4000000, MEMTYPE_DEFAULT, 0x2ff, WB);
		}
	}
	range(&r, 0, 0, 0x1000000, WB);
	range(&r, 1, 0, 0x1000000, WC);
	range(&r, 2, 0, 0x1000000, UC);
	r.mtrr_variable[11] = 0;
	ASSERT_MTRR(&r, 0, MEMTYPE_OVERLAP, 0x204, UC); /* UC before what is undefined */
	range(&r, 2, 0, 0x1000000, WT);
	ASSERT_MTRR(&r, 0, MEMTYPE_UNDEFINED, 0, UC);
	range(&r, 1, 0, 0x1000000, WB);
	ASSERT_MTRR(&r, 0, MEMTYPE_OVERLAP, 0x204, WT);
}

/* ------------------------------------------------------------------ all steps */

/* PAT with all types: index 0 WB, 1 WT, 2 UC-, 3 UC, 4 WP, 5 WC. */
#define PAT_ALL 0x0000010500070406ull
enum { I_WB, I_WT, I_UCM, I_UC, I_WP, I_WC };

static struct memtype_registers registers;

static struct memtype ask(enum emu_memory_policy policy, unsigned mtrr, unsigned pat_index)
{
	struct memtype_question q = { .policy = policy,
				      .has_mtrr = true,
				      .physical_bits = BITS,
				      .registers = &registers,
				      .gpa = 0x200000,
				      .pat_index = pat_index };

	registers = (struct memtype_registers){ .pat = PAT_ALL, .mtrr_default = E | mtrr };
	return memtype_explain(&q);
}

static struct memtype_question question(enum emu_memory_policy policy, unsigned mtrr)
{
	registers = (struct memtype_registers){ .pat = PAT_ALL, .mtrr_default = E | mtrr };
	return (struct memtype_question){ .policy = policy,
					  .has_mtrr = true,
					  .physical_bits = BITS,
					  .registers = &registers,
					  .gpa = 0x200000 };
}

static void test_explain_kvm_default_is_wb_whatever_the_guest_says(void **state)
{
	(void)state;
	for (unsigned mtrr = 0; mtrr < 5; mtrr++) {
		for (unsigned i = 0; i <= MEMTYPE_NO_PAT; i++) {
			struct memtype m = ask(EMU_MEMORY_WB_IGNORE_PAT, mtrr_types[mtrr], i);

			assert_int_equal(m.type, WB);
			assert_int_equal(m.level, MEMTYPE_EPT);
			assert_int_equal(m.second, WB);
			assert_true(m.ignore_pat);
			assert_int_equal(m.pat_index, i);
		}
	}
	/* …and what it says is told */
	assert_int_equal(ask(EMU_MEMORY_WB_IGNORE_PAT, WB, I_UC).guest, UC);
	assert_int_equal(ask(EMU_MEMORY_WB_IGNORE_PAT, WT, I_WB).guest, WT);
	assert_int_equal(ask(EMU_MEMORY_WB_IGNORE_PAT, WB, I_WB).guest, WB);
	assert_int_equal(ask(EMU_MEMORY_WB_IGNORE_PAT, WP, I_UCM).guest, WC);
}

static void test_explain_kvm_without_ignoring_pat(void **state)
{
	static const uint8_t pat[] = { WB, WT, UCM, UC, WP, WC };
	static const uint8_t type[] = { WB, WT, UC, UC, WP, WC };

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		struct memtype m = ask(EMU_MEMORY_WB, UC, i);

		assert_int_equal(m.type, type[i]);
		assert_int_equal(m.pat, pat[i]);
		assert_false(m.ignore_pat);
	}
	assert_int_equal(ask(EMU_MEMORY_WB, UC, MEMTYPE_NO_PAT).type, WB);
}

/* 5.12 to 6.10 with non-coherent DMA: every MTRR type as EPT type, CR0.CD under the quirk or not. */
static void test_explain_kvm_guest_mtrr(void **state)
{
	static const uint8_t with_ucm[] = { UC, WC, UC, WC, UC }; /* of mtrr_types[] */
	struct memtype_question q;
	struct memtype m;

	(void)state;
	for (unsigned mtrr = 0; mtrr < 5; mtrr++) {
		m = ask(EMU_MEMORY_GUEST_MTRR, mtrr_types[mtrr], I_UCM);
		assert_int_equal(m.second, mtrr_types[mtrr]);
		assert_int_equal(m.type, with_ucm[mtrr]);
		assert_int_equal(ask(EMU_MEMORY_GUEST_MTRR, mtrr_types[mtrr], I_WB).type,
				 mtrr_types[mtrr]);
	}
	q = question(EMU_MEMORY_GUEST_MTRR, UC);
	q.cd = true;
	q.pat_index = I_WT;
	m = memtype_explain(&q);
	assert_int_equal(m.type, WB); /* the quirk, PAT ignored */
	assert_true(m.ignore_pat);
	q.policy = EMU_MEMORY_GUEST_MTRR_PAT;
	m = memtype_explain(&q);
	assert_int_equal(m.type, WT);
	assert_int_equal(m.second, WB);
	assert_false(m.ignore_pat);
	for (unsigned both = 0; both < 2; both++) {
		q.policy = both ? EMU_MEMORY_GUEST_MTRR : EMU_MEMORY_GUEST_MTRR_PAT;
		q.cd_is_uc = true;
		q.pat_index = I_WC;
		m = memtype_explain(&q);
		assert_int_equal(m.type, UC);
		assert_true(m.ignore_pat);
		assert_true(m.caching_off);
		/* without MTRRs, or with E = 0: mtrr_disabled_type() */
		q.cd = false;
		q.pat_index = I_WB;
		registers.mtrr_default = WB;
		assert_int_equal(memtype_explain(&q).type, UC);
		q.has_mtrr = false;
		assert_int_equal(memtype_explain(&q).type, WB);
		q.has_mtrr = q.cd = true;
	}
	/* ranges that overlap without a rule: WB to KVM, UC to the guest */
	q = question(EMU_MEMORY_GUEST_MTRR, UC);
	range(&registers, 0, 0, 0x1000000, WC);
	range(&registers, 1, 0, 0x1000000, WB);
	m = memtype_explain(&q);
	assert_int_equal(m.type, WB);
	assert_int_equal(m.guest, UC);
}

static void test_explain_declared_range_is_second_level_type_with_pat(void **state)
{
	static const enum emu_memory_policy policies[] = { EMU_MEMORY_WB_IGNORE_PAT, EMU_MEMORY_WB,
							   EMU_MEMORY_GUEST_MTRR,
							   EMU_MEMORY_GUEST_MTRR_PAT };

	(void)state;
	for (unsigned p = 0; p < 4; p++) {
		struct memtype_question q = question(policies[p], WT);
		struct memtype m;

		q.is_declared = true;
		q.declared = UC;
		m = memtype_explain(&q);
		assert_int_equal(m.type, UC);
		assert_int_equal(m.second, UC);
		assert_false(m.ignore_pat);
		q.pat_index = I_WC; /* a VFIO BAR: UC or WC by the guest's PAT */
		assert_int_equal(memtype_explain(&q).type, WC);
		q.declared = WP;
		q.pat_index = I_UCM;
		assert_int_equal(memtype_explain(&q).type, WC);
		q.cd = q.cd_is_uc = true; /* is_mmio comes first */
		assert_int_equal(memtype_explain(&q).type, WC);
	}
}

static void test_explain_native_is_mtrr_pat_and_cd(void **state)
{
	struct memtype_question q = question(EMU_MEMORY_NATIVE, WP);
	struct memtype m;

	(void)state;
	q.pat_index = I_UCM;
	m = memtype_explain(&q);
	assert_int_equal(m.level, MEMTYPE_ONE_LEVEL);
	assert_int_equal(m.physical, WP);
	assert_int_equal(m.type, WC);
	q.vendor = EMU_AMD;
	m = memtype_explain(&q);
	assert_int_equal(m.type, CD);
	assert_int_equal(m.guest, CD);
	q.is_declared = true;
	q.declared = UC;
	assert_int_equal(memtype_explain(&q).type, UC);
	q.is_declared = false;
	q.pat_index = I_WB;
	assert_int_equal(memtype_explain(&q).type, WP);
	q.cd = true;
	m = memtype_explain(&q);
	assert_int_equal(m.type, CD);
	assert_true(m.caching_off);
	assert_int_equal(m.guest, WP); /* PAT × MTRR alone */
	q.vendor = EMU_INTEL;
	assert_int_equal(memtype_explain(&q).type, UC);
	q.cd = false;
	registers.mtrr_default = WB; /* E = 0: as before firmware has run */
	m = memtype_explain(&q);
	assert_int_equal(m.type, UC);
	assert_int_equal(m.guest, WB); /* …which says nothing */
	q.has_mtrr = false;
	assert_int_equal(memtype_explain(&q).type, WB);
}

static void test_explain_npt_is_guest_pat_over_wb(void **state)
{
	static const uint8_t type[] = { WB, WT, CD, CD, WP, WCP };
	struct memtype_question q = question(EMU_MEMORY_NPT, UC);
	struct memtype m;

	(void)state;
	q.vendor = EMU_AMD;
	for (unsigned i = 0; i < 6; i++) {
		q.pat_index = i;
		m = memtype_explain(&q);
		assert_int_equal(m.type, type[i]);
		assert_int_equal(m.level, MEMTYPE_NPT);
		assert_int_equal(m.second, WB);
		assert_int_equal(m.physical, WB);
	}
	assert_int_equal(m.nested, WCP);
	q.is_declared = true;
	q.declared = UC;
	assert_int_equal(memtype_explain(&q).type, WC);
	q.pat_index = I_WB;
	assert_int_equal(memtype_explain(&q).type, UC);
	q.is_declared = false;
	q.cd = true;
	assert_int_equal(memtype_explain(&q).type, WB); /* KVM strips CD under the quirk */
	q.cd_is_uc = true;
	m = memtype_explain(&q);
	assert_int_equal(m.type, CD);
	assert_true(m.caching_off);
	q.pat_index = MEMTYPE_NO_PAT;
	q.cd = false;
	assert_int_equal(memtype_explain(&q).type, WB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_combine_every_mtrr_and_pat_type_as_sdm_14_7),
		TEST(test_combine_nested_every_guest_and_host_type_as_apm_15_19),
		TEST(test_combine_amd_every_pat_and_mtrr_type_as_apm_15_20),
		TEST(test_ept_cr0_cd_before_ignore_pat_before_table),
		TEST(test_name_of_every_type),
		TEST(test_pat_index_of_each_entry_by_its_own_bits),
		TEST(test_pat_entry_of_each_index),
		TEST(test_valid_every_type_in_every_byte),
		TEST(test_valid_reserved_bits_of_mtrrs_refused),
		TEST(test_mtrr_enable_bits_and_default_type),
		TEST(test_mtrr_every_fixed_range),
		TEST(test_mtrr_mask_decides_what_a_range_holds),
		TEST(test_mtrr_overlap_by_precedence),
		TEST(test_explain_kvm_default_is_wb_whatever_the_guest_says),
		TEST(test_explain_kvm_without_ignoring_pat),
		TEST(test_explain_kvm_guest_mtrr),
		TEST(test_explain_declared_range_is_second_level_type_with_pat),
		TEST(test_explain_native_is_mtrr_pat_and_cd),
		TEST(test_explain_npt_is_guest_pat_over_wb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
