// SPDX-License-Identifier: GPL-2.0-only
#include "emu/memtype.h"

#define MTRR_TYPE(value)  ((unsigned)((value)&0xff))
#define MTRR_FIXED_ENABLE (1ull << 10) /* IA32_MTRR_DEF_TYPE */
#define MTRR_ENABLE       (1ull << 11)
#define MTRR_VALID        (1ull << 11) /* IA32_MTRR_PHYSMASKn */
#define PAGE_FRAME(bits)  (((1ull << (bits)) - 1) & ~0xfffull)
#define TYPES_OF_TABLES   (EMU_MT_WC_PLUS + 1)
#define UC                EMU_MT_UC
#define WC                EMU_MT_WC
#define WT                EMU_MT_WT
#define WP                EMU_MT_WP
#define WB                EMU_MT_WB
#define UC_               EMU_MT_UC_MINUS
#define CD                EMU_MT_CD
#define WC_PLUS           EMU_MT_WC_PLUS

const char *memtype_name(unsigned type)
{
	static const char *const names[] = {
		[UC] = "UC", [WC] = "WC",   [WT] = "WT", [WP] = "WP",
		[WB] = "WB", [UC_] = "UC-", [CD] = "CD", [WC_PLUS] = "WC+",
	};

	return type < TYPES_OF_TABLES && names[type] ? names[type] : "reserved";
}

/* ------------------------------------------------------------------ tables */

/* clang-format off */
/* Columns are PAT types in their own numbers, but written in the manual's order. */
#define PAT_COLUMNS(uc, uc_minus, wc, wt, wb, wp) \
	{ [UC] = uc, [UC_] = uc_minus, [WC] = wc, [WT] = wt, [WB] = wb, [WP] = wp }

/*
 * SDM table 14-7 "Effective Page-Level Memory Types"; where older editions leave WT and WP crossed
 * open, as Xen's mm_type_tbl[] (xen/arch/x86/hvm/mtrr.c) has it.
 */
static const uint8_t intel[8][8] = {
	/*       PAT: UC  UC- WC  WT  WB  WP */
	[UC] = PAT_COLUMNS(UC, UC, WC, UC, UC, UC),
	[WC] = PAT_COLUMNS(UC, WC, WC, UC, WC, UC),
	[WT] = PAT_COLUMNS(UC, UC, WC, WT, WT, WP),
	[WP] = PAT_COLUMNS(UC, WC, WC, WT, WP, WP),
	[WB] = PAT_COLUMNS(UC, UC, WC, WT, WB, WP),
};

/* APM 15.25.8, table 15-19: rows guest, columns host */
#define HOST_COLUMNS(uc, uc_minus, wc, wp, wt, wb) PAT_COLUMNS(uc, uc_minus, wc, wt, wb, wp)
static const uint8_t nested[8][8] = {
	/*       host: UC  UC-  WC  WP       WT       WB */
	[UC]  = HOST_COLUMNS(UC, UC,  UC, UC,      UC,      UC),
	[UC_] = HOST_COLUMNS(UC, UC_, WC, UC,      UC,      UC),
	[WC]  = HOST_COLUMNS(WC, WC,  WC, WC_PLUS, WC_PLUS, WC_PLUS),
	[WP]  = HOST_COLUMNS(UC, UC,  UC, WP,      UC,      WP),
	[WT]  = HOST_COLUMNS(UC, UC,  UC, UC,      WT,      WT),
	[WB]  = HOST_COLUMNS(UC, UC,  WC, WP,      WT,      WB),
};

/* APM 15.25.8, table 15-20: rows PAT, columns MTRR */
#define MTRR_COLUMNS(uc, wc, wp, wt, wb) \
	{ [UC] = uc, [WC] = wc, [WP] = wp, [WT] = wt, [WB] = wb }
static const uint8_t amd[TYPES_OF_TABLES][8] = {
	/*            MTRR: UC  WC  WP       WT       WB */
	[UC]      = MTRR_COLUMNS(UC, CD, CD,      CD,      CD),
	[UC_]     = MTRR_COLUMNS(UC, WC, CD,      CD,      CD),
	[WC]      = MTRR_COLUMNS(WC, WC, WC,      WC,      WC),
	[WC_PLUS] = MTRR_COLUMNS(WC, WC, WC_PLUS, WC_PLUS, WC_PLUS),
	[WP]      = MTRR_COLUMNS(UC, CD, WP,      CD,      WP),
	[WT]      = MTRR_COLUMNS(UC, CD, CD,      WT,      WT),
	[WB]      = MTRR_COLUMNS(UC, WC, WP,      WT,      WB),
};
/* clang-format on */

unsigned memtype_combine(unsigned mtrr, unsigned pat)
{
	return intel[mtrr & 7][pat & 7];
}

unsigned memtype_combine_nested(unsigned guest_pat, unsigned host_pat)
{
	return nested[guest_pat & 7][host_pat & 7];
}

unsigned memtype_combine_amd(unsigned pat, unsigned mtrr)
{
	return pat < TYPES_OF_TABLES ? amd[pat][mtrr & 7] : UC;
}

unsigned memtype_ept(unsigned ept, bool ignore_pat, bool cd, unsigned pat)
{
	if (cd)
		return UC;
	return ignore_pat ? ept : memtype_combine(ept, pat);
}

/* ------------------------------------------------------------------ registers */

/* SDM table 14-9: one byte of an MSR for each range, lowest first. */
static const struct fixed_range {
	uint32_t msr, start;
	unsigned shift; /* size of one range */
} fixed[MEMTYPE_FIXED] = {
	{ 0x250, 0x00000, 16 }, { 0x258, 0x80000, 14 }, { 0x259, 0xa0000, 14 },
	{ 0x268, 0xc0000, 12 }, { 0x269, 0xc8000, 12 }, { 0x26a, 0xd0000, 12 },
	{ 0x26b, 0xd8000, 12 }, { 0x26c, 0xe0000, 12 }, { 0x26d, 0xe8000, 12 },
	{ 0x26e, 0xf0000, 12 }, { 0x26f, 0xf8000, 12 },
};
#define FIXED_END 0x100000u

uint32_t memtype_fixed_msr(unsigned n)
{
	return n < MEMTYPE_FIXED ? fixed[n].msr : 0;
}

bool memtype_is_mtrr_type(unsigned type)
{
	return type == UC || type == WC || type == WT || type == WP || type == WB;
}

static bool types_valid(uint64_t value, bool pat)
{
	for (unsigned i = 0; i < 64; i += 8) {
		unsigned type = MTRR_TYPE(value >> i);

		if (!memtype_is_mtrr_type(type) && !(pat && type == UC_))
			return false;
	}
	return true;
}

bool memtype_pat_valid(uint64_t value)
{
	return types_valid(value, true);
}

bool memtype_fixed_valid(uint64_t value)
{
	return types_valid(value, false);
}

bool memtype_default_valid(uint64_t value)
{
	return !(value & ~(MTRR_ENABLE | MTRR_FIXED_ENABLE | 0xff)) &&
	       memtype_is_mtrr_type(MTRR_TYPE(value));
}

bool memtype_base_valid(uint64_t value, unsigned physical_bits)
{
	return !(value & ~(PAGE_FRAME(physical_bits) | 0xff)) &&
	       memtype_is_mtrr_type(MTRR_TYPE(value));
}

bool memtype_mask_valid(uint64_t value, unsigned physical_bits)
{
	return !(value & ~(PAGE_FRAME(physical_bits) | MTRR_VALID));
}

/* ------------------------------------------------------------------ PAT */

unsigned memtype_pat_index(uint64_t entry, enum memtype_entry what)
{
	unsigned index = entry >> 3 & 3; /* PWT is bit 3, PCD bit 4, of CR3 as well */

	/* SDM tables 4-6, 4-11, 4-20: PAT is bit 7 of an entry that maps 4 KB, bit 12 of a larger one */
	if (what == MEMTYPE_PAGE)
		index |= entry >> 7 & 1 ? 4 : 0;
	else if (what == MEMTYPE_LARGE_PAGE)
		index |= entry >> 12 & 1 ? 4 : 0;
	return index;
}

unsigned memtype_pat_entry(uint64_t pat, unsigned index)
{
	return index < MEMTYPE_NO_PAT ? pat >> 8 * index & 7 : WB;
}

/* ------------------------------------------------------------------ MTRRs */

static struct memtype_mtrr fixed_type(const struct memtype_registers *r, uint64_t gpa)
{
	unsigned n = MEMTYPE_FIXED - 1;

	while (gpa < fixed[n].start)
		n--;
	return (struct memtype_mtrr){
		.rule = MEMTYPE_FIXED_HIT,
		.msr = fixed[n].msr,
		.type = r->mtrr_fixed[n] >> 8 * ((gpa - fixed[n].start) >> fixed[n].shift) & 7,
	};
}

#define TYPE_BIT(type) (1u << (type))

/* Variable ranges of all `types` hold the address: SDM 14.11.4.1 "MTRR Precedences". */
static unsigned precedence(unsigned types, enum memtype_rule *rule)
{
	*rule = types & (types - 1) ? MEMTYPE_OVERLAP : MEMTYPE_RANGE;
	if (types & TYPE_BIT(UC))
		return UC;
	if (*rule == MEMTYPE_RANGE)
		return (unsigned)__builtin_ctz(types);
	if (types == (TYPE_BIT(WT) | TYPE_BIT(WB)))
		return WT;
	*rule = MEMTYPE_UNDEFINED;
	return UC;
}

static struct memtype_mtrr variable_type(const struct memtype_registers *r, unsigned physical_bits,
					 uint64_t gpa)
{
	struct memtype_mtrr m = { MEMTYPE_DEFAULT, MSR_MTRR_DEF_TYPE, r->mtrr_default & 7 };
	uint32_t first[8] = { 0 }; /* PHYSBASEn of each type */
	unsigned types = 0;

	for (unsigned n = 0; n < MEMTYPE_VARIABLE; n++) {
		uint64_t base = r->mtrr_variable[2 * n], mask = r->mtrr_variable[2 * n + 1];
		uint64_t care = mask & PAGE_FRAME(physical_bits);

		if (!(mask & MTRR_VALID) || (gpa & care) != (base & care))
			continue;
		if (!(types & TYPE_BIT(base & 7)))
			first[base & 7] = MSR_MTRR_PHYSBASE0 + 2 * n;
		types |= TYPE_BIT(base & 7);
	}
	if (types) {
		m.type = (uint8_t)precedence(types, &m.rule);
		m.msr = first[m.type];
	}
	return m;
}

struct memtype_mtrr memtype_mtrr(const struct memtype_registers *r, bool exist,
				 unsigned physical_bits, uint64_t gpa)
{
	if (!exist)
		return (struct memtype_mtrr){ .rule = MEMTYPE_ABSENT, .type = WB };
	if (!(r->mtrr_default & MTRR_ENABLE))
		return (struct memtype_mtrr){ MEMTYPE_DISABLED, MSR_MTRR_DEF_TYPE, UC };
	if (gpa < FIXED_END && r->mtrr_default & MTRR_FIXED_ENABLE)
		return fixed_type(r, gpa);
	return variable_type(r, physical_bits, gpa);
}

/* ------------------------------------------------------------------ all of it */

static unsigned combine(enum emu_vendor vendor, unsigned mtrr, unsigned pat)
{
	return vendor == EMU_AMD ? memtype_combine_amd(pat, mtrr) : memtype_combine(mtrr, pat);
}

/* The EPT entry that vmx_get_mt_mask() makes for RAM (arch/x86/kvm/vmx/vmx.c of several versions). */
static void ept_entry(const struct memtype_question *q, struct memtype *m)
{
	m->level = MEMTYPE_EPT;
	m->second = WB;
	if (q->is_declared) {
		/* a device's memory, is_mmio there */
		m->second = (uint8_t)q->declared;
		return;
	}
	switch (q->policy) {
	case EMU_MEMORY_WB_IGNORE_PAT:
		m->ignore_pat = true;
		return;
	case EMU_MEMORY_GUEST_MTRR:
	case EMU_MEMORY_GUEST_MTRR_PAT:
		if (q->cd) {
			m->caching_off = q->cd_is_uc;
			m->second = q->cd_is_uc ? UC : WB;
			m->ignore_pat = q->cd_is_uc || q->policy == EMU_MEMORY_GUEST_MTRR;
			return;
		}
		/* kvm_mtrr_get_guest_memory_type(): "We use WB for this undefined behavior. :(" */
		m->second = m->mtrr.rule == MEMTYPE_UNDEFINED ? WB : m->mtrr.type;
		return;
	default:
		return;
	}
}

struct memtype memtype_explain(const struct memtype_question *q)
{
	const struct memtype_registers *r = q->registers;
	struct memtype m = {
		.pat_index = (uint8_t)q->pat_index,
		.pat = (uint8_t)memtype_pat_entry(r->pat, q->pat_index),
		.mtrr = memtype_mtrr(r, q->has_mtrr, q->physical_bits, q->gpa),
	};

	m.guest = (uint8_t)combine(q->vendor, m.mtrr.rule == MEMTYPE_DISABLED ? WB : m.mtrr.type,
				   m.pat);
	m.nested = m.pat;
	switch (q->policy) {
	case EMU_MEMORY_NATIVE:
		m.physical = q->is_declared ? (uint8_t)q->declared : m.mtrr.type;
		m.caching_off = q->cd;
		/*
		 * SDM table 14-5 has a "no-fill" mode for CD = 1: what is not cached already never
		 * will be. That is UC here, as SDM 31.3.7.2 has it below EPT, and CD on AMD
		 * (APM 7.7.2, table 7-9).
		 */
		m.type = (uint8_t)(q->cd ? q->vendor == EMU_AMD ? CD : UC
					 : combine(q->vendor, m.physical, m.pat));
		break;
	case EMU_MEMORY_NPT:
		/* The host's PTEs are WB (index 0 of its PAT), and so are its MTRRs but for devices. */
		m.level = MEMTYPE_NPT;
		m.second = WB;
		m.nested = (uint8_t)memtype_combine_nested(m.pat, m.second);
		m.physical = q->is_declared ? (uint8_t)q->declared : WB;
		/* gCR0.CD disables caching (APM 15.25.8), if the hypervisor lets it through */
		m.caching_off = q->cd && q->cd_is_uc;
		m.type = (uint8_t)(m.caching_off ? CD : memtype_combine_amd(m.nested, m.physical));
		break;
	default:
		/* KVM keeps the CR0.CD of the hardware clear: KVM_VM_CR0_ALWAYS_OFF */
		ept_entry(q, &m);
		m.type = (uint8_t)memtype_ept(m.second, m.ignore_pat, false, m.pat);
	}
	return m;
}
