/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random paging structures and one access through them: paging.c against another processor. The same
 * outcome, error code, CR2, accessed and dirty bits.
 */
#ifndef BUSLOCK_TESTS_PAGING_CASES_H
#define BUSLOCK_TESTS_PAGING_CASES_H

#include "tests/unit/fake_vm.h"

/*
 * Guest memory besides the tables under test: what catches exceptions, identity-mapped by the first
 * entries of the same top table.
 */
enum {
	INFRA_PT = 0x60000,
	INFRA_PD = 0x61000,
	INFRA_PDPT = 0x62000,
	INFRA_PML4 = 0x63000,
	GDT = 0x101000,
	IDT = 0x102000,
	TSS = 0x103000,
	STACK_TOP = 0x105000,
	KERNEL_CODE = 0x106000,
	HANDLERS = 0x106100,
	USER_CODE = 0x108000,
	FRAME = 0x200000,
	PORT_DONE = 0x80, /* below: the vector of an exception */
	PORT_NONE = ~0,   /* ended otherwise */
};
enum {
	CODE_32 = 0x08,
	DATA_0 = 0x10,
	USER_32 = 0x18,
	USER_DATA = 0x20,
	CODE_64 = 0x38,
	USER_64 = 0x40,
	TSS_SELECTOR = 0x28
};

#define LINEAR_32 0x92345abcull
#define LINEAR_4  0x123456789abcull
#define LINEAR_5  0x45123456789abcull
#define LINEAR_IN(paging) \
	((paging) <= PAGING_PAE ? LINEAR_32 : (paging) == PAGING_4 ? LINEAR_4 : LINEAR_5)

/* The other one. */
struct processor {
	/* Make the access in the state of m->v.cpu: PORT_DONE, the vector of an exception with `fault`
	 * filled, or PORT_NONE. */
	unsigned (*run)(struct machine *m, unsigned access, uint64_t linear, struct fault *fault);
	unsigned physical_bits, cases;
	bool gigabyte_pages, amd;
};

static uint64_t seed = 88172645463325252ull;
static uint64_t random64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static bool chance(unsigned one_in)
{
	return random64() % one_in == 0;
}

/* ------------------------------------------------------------------ the guest */

static void build_descriptors(struct machine *m, bool long_mode)
{
	static const uint64_t gdt[] = {
		0,
		0x00cf9b000000ffff,
		0x00cf93000000ffff,
		0x00cffb000000ffff,
		0x00cff3000000ffff,
		0x00008b0000000067 | (uint64_t)TSS << 16,
		0,
		0x00af9b000000ffff,
		0x00affb000000ffff,
	};

	memcpy(m->ram + GDT, gdt, sizeof(gdt));
	memset(m->ram + TSS, 0, 0x68);
	for (unsigned vector = 0; vector < 32; vector++) {
		uint64_t handler = HANDLERS + vector * 4;
		uint64_t gate = (handler & 0xffff) | (handler >> 16) << 48 | 0x8e0000000000;

		m->ram[handler] = 0xe6; /* out */
		m->ram[handler + 1] = (uint8_t)vector;
		m->ram[handler + 2] = 0xf4;
		if (long_mode) {
			put64(m, IDT + vector * 16ull, gate | CODE_64 << 16 | 1ull << 32);
			put64(m, IDT + vector * 16ull + 8, 0);
		} else {
			put64(m, IDT + vector * 8ull, gate | CODE_32 << 16);
		}
	}
	if (long_mode) {
		put64(m, TSS + 0x24, STACK_TOP); /* IST1 */
	} else {
		put32(m, TSS + 4, STACK_TOP);
		put32(m, TSS + 8, DATA_0);
	}
}

static void build_infrastructure(struct machine *m, enum paging paging)
{
	const uint64_t bits = P | RW | US | A;

	build_descriptors(m, paging >= PAGING_4);
	/* mov al,[rbx]; out — mov [rbx],al; out */
	memcpy(m->ram + KERNEL_CODE, "\x8a\x03\xe6\x80\xf4\xf4\xf4\xf4\x88\x03\xe6\x80\xf4", 13);
	memcpy(m->ram + USER_CODE, "\x8a\x03\xe6\x80\xf4\xf4\xf4\xf4\x88\x03\xe6\x80\xf4", 13);
	for (unsigned page = 0x100; page < 0x110; page++) {
		uint64_t entry = page << 12 | P | RW | A | D | (page == USER_CODE >> 12 ? US : 0);

		if (paging == PAGING_32)
			put32(m, INFRA_PT + page * 4, (uint32_t)entry);
		else
			put64(m, INFRA_PT + page * 8, entry);
	}
	switch (paging) {
	case PAGING_32:
		put32(m, TABLE(2), (uint32_t)(INFRA_PT | bits));
		break;
	case PAGING_PAE:
		put64(m, TABLE(3), INFRA_PD | P);
		put64(m, INFRA_PD, INFRA_PT | bits);
		break;
	default:
		put64(m, TABLE(paging_info[paging].levels),
		      (paging == PAGING_5 ? INFRA_PML4 : INFRA_PDPT) | bits);
		put64(m, INFRA_PML4, INFRA_PDPT | bits);
		put64(m, INFRA_PDPT, INFRA_PD | bits);
		put64(m, INFRA_PD, INFRA_PT | bits);
	}
}

/* Where the instruction stands that makes the access: at RBX, or of itself. */
static inline uint64_t access_rip(unsigned access, uint64_t linear)
{
	uint64_t rip = access & WALK_USER ? USER_CODE : KERNEL_CODE;

	if (access & WALK_FETCH)
		return linear;
	return access & WALK_WRITE ? rip + 8 : rip;
}

/* ------------------------------------------------------------------ random cases */

static uint64_t random_entry(const struct processor *p, enum paging paging, unsigned level,
			     uint64_t base, bool leaf)
{
	uint64_t entry = base | P;

	if (chance(12))
		entry &= ~(uint64_t)P;
	if (paging == PAGING_PAE && level == 3)
		return entry;
	entry |= random64() & (A | (leaf ? D | G : 0) | PWT | PCD);
	entry |= chance(4) ? 0 : RW;
	entry |= chance(4) ? 0 : US;
	if (leaf && level > 1)
		entry |= PS;
	if (paging == PAGING_32)
		return chance(20) && leaf && level == 2 ? entry | 1 << 21 : entry;
	if (chance(8))
		entry |= NX;
	if (chance(15)) /* a reserved bit, or one that is ignored */
		entry |= 1ull << (p->physical_bits + random64() % (63 - p->physical_bits));
	if (chance(30) && leaf && level == 2)
		entry |= 1ull << (13 + random64() % 8);
	if (chance(30) && leaf && level == 3)
		entry |= 1ull << (13 + random64() % 17);
	if (chance(30) && paging >= PAGING_4 && level >= 4)
		entry |= PS;
	/* ignored below; AMD reserves it in the upper levels, which is not modelled */
	if (chance(10) && !leaf && (!p->amd || level < 4))
		entry |= G;
	return entry;
}

static void random_controls(struct cpu *c, enum paging paging)
{
	const struct paging_info *info = &paging_info[paging];

	memset(c, 0, sizeof(*c));
	c->cr0 = info->cr0 | (chance(2) ? CR0_WP : 0);
	c->cr4 = info->cr4 | (chance(2) ? CR4_SMEP : 0) | (chance(2) ? CR4_SMAP : 0);
	c->efer = info->efer & ~EFER_NXE;
	c->efer |= chance(3) ? 0 : EFER_NXE;
	c->rflags = chance(2) ? FL_AC : 0;
	if (paging == PAGING_32 && chance(4))
		c->cr4 &= ~CR4_PSE;
	c->cr3 = TABLE(info->levels);
}

struct counts {
	unsigned done, fault, reserved;
};

static void check_case(struct machine *m, const struct processor *p, enum paging paging,
		       struct counts *counts)
{
	static const unsigned kinds[] = { WALK_READ, WALK_WRITE, WALK_FETCH };
	struct cpu *c = &m->v.cpu;
	unsigned levels = paging_info[paging].levels;
	unsigned leaf_level = chance(3) ? 2 + (paging >= PAGING_4 && p->gigabyte_pages && chance(2))
					: 1;
	unsigned shift = 12 + (leaf_level - 1) * paging_info[paging].index_bits;
	uint64_t linear = LINEAR_IN(paging), base = FRAME, before[5], real[5];
	unsigned access = kinds[random64() % 3] | (chance(2) ? WALK_USER : 0), port;
	struct fault fault;
	enum outcome outcome;
	struct walk w;

	random_controls(c, paging);
	/* the byte lies at FRAME + 0xabc, in a large page as well */
	linear = (linear & ~0ull << shift) | 0xabc;
	if (1ull << shift > FRAME) {
		linear |= FRAME;
		base = 0;
	}
	memcpy(m->ram + FRAME + 0xabc, "\xe6\x80\xf4", 3);
	for (unsigned level = levels; level >= leaf_level; level--) {
		bool leaf = level == leaf_level;

		before[level - 1] =
			random_entry(p, paging, level, leaf ? base : TABLE(level - 1), leaf);
		entry_put(m, paging, level, linear, before[level - 1]);
	}

	port = p->run(m, access, linear, &fault);
	for (unsigned level = levels; level >= leaf_level; level--) {
		real[level - 1] = entry_get(m, paging, level, linear);
		entry_put(m, paging, level, linear, before[level - 1]);
	}

	outcome = page_walk(&m->v, linear, access, &w);
	if ((outcome == DONE) != (port == PORT_DONE) ||
	    (outcome == FAULT &&
	     (m->v.fault.vector != fault.vector || m->v.fault.error != fault.error ||
	      m->v.fault.cr2 != fault.cr2))) {
		for (unsigned level = levels; level >= leaf_level; level--)
			print_message("level %u: %#018llx\n", level,
				      (unsigned long long)before[level - 1]);
		fail_msg("%s, access %#x, linear %#llx, CR0 %#llx CR4 %#llx EFER %#llx AC %u: "
			 "outcome %d #%u(%x) CR2 %#llx, the processor says %#x (%x) CR2 %#llx",
			 paging_info[paging].name, access, (unsigned long long)linear,
			 (unsigned long long)c->cr0, (unsigned long long)c->cr4,
			 (unsigned long long)c->efer, !!c->rflags, outcome, m->v.fault.vector,
			 m->v.fault.error, (unsigned long long)m->v.fault.cr2, port, fault.error,
			 (unsigned long long)fault.cr2);
	}
	if (outcome == FAULT) {
		counts->fault++;
		counts->reserved += !!(fault.error & PF_RSVD);
		return; /* a processor may set A on the way to a fault */
	}
	counts->done++;
	assert_int_equal(w.gpa, FRAME | 0xabc);
	for (unsigned level = levels; level >= leaf_level; level--)
		assert_int_equal(entry_get(m, paging, level, linear), real[level - 1]);
}

/* Tables, descriptors and code for a mode, before its first case. */
static inline void prepare_mode(struct machine *m, const struct processor *p, enum paging paging)
{
	m->vm.physical_bits = p->physical_bits;
	memset(m->ram, 0, RAM_SIZE);
	build_infrastructure(m, paging);
}

static inline void check_mode(struct machine *m, const struct processor *p, enum paging paging)
{
	struct counts counts = { 0 };

	for (unsigned i = 0; i < p->cases; i++)
		check_case(m, p, paging, &counts);
	print_message("%s: %u accesses, %u faults, %u of these for reserved bits\n",
		      paging_info[paging].name, counts.done, counts.fault, counts.reserved);
	assert_in_range(counts.done, p->cases / 6, p->cases);
	assert_in_range(counts.fault, p->cases / 6, p->cases);
	assert_in_range(counts.reserved, 10, p->cases);
}

#endif
