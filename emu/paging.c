// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one walker: linear → guest-physical in every paging mode (SDM vol. 3, chapter 5 "Paging" of
 * the current edition; 4 in older ones). It serves the engine's TLB, instruction fetch, accesses by
 * hand, event delivery and the monitor's questions.
 *
 * Not modelled: protection keys, shadow-stack pages, and on AMD the reserved bit 8 of the upper levels.
 */
#include "emu/memory.h"

/* Bits of a paging-structure entry (SDM tables 5-5 and following). */
#define ENTRY_P  (1ull << 0)
#define ENTRY_RW (1ull << 1)
#define ENTRY_US (1ull << 2)
#define ENTRY_A  (1ull << 5)
#define ENTRY_D  (1ull << 6)
#define ENTRY_PS (1ull << 7) /* in the last level: PAT */
#define ENTRY_NX (1ull << 63)

#define BITS(high, low) ((~0ull >> (63 - (high))) & ~0ull << (low))

#define MAX_LEVELS 5

enum mode { MODE_32, MODE_PAE, MODE_LONG };

/* One entry on the way, kept for its A and D bits. */
struct step {
	uint8_t *host;
	const struct slot *slot;
	uint64_t gpa;
	uint64_t entry;
};

struct path {
	struct step step[MAX_LEVELS];
	unsigned steps;
	uint64_t all; /* AND of the entries: R/W, U/S and A count only if every level has them */
	uint64_t any; /* OR: XD counts if one has it */
	unsigned first_pat; /* PWT and PCD by which the first table is reached (CR3) */
};

/* ------------------------------------------------------------------ rules */

/*
 * Reserved bits of an entry at `level` (1: the last) that is present. `m`: physical-address width.
 * SDM tables 5-4 to 5-6 (32-bit), 5-8 to 5-11 (PAE), 5-15 to 5-20 (4- and 5-level).
 */
static inline __attribute__((always_inline)) uint64_t
reserved_bits(enum mode mode, unsigned level, bool leaf, unsigned m, uint64_t nxe_reserved)
{
	uint64_t bits = nxe_reserved;

	switch (mode) {
	case MODE_32:
		/* a 4 MB page has bits M-1:32 of its address in M-20:13 (PSE-36); 21:M-19 are reserved */
		if (!leaf || level == 1)
			return 0;
		m = m < 40 ? m : 40;
		return BITS(21, m - 19);
	case MODE_PAE:
		if (level == 3) /* PDPTE: neither XD nor R/W nor U/S nor A */
			return BITS(2, 1) | BITS(8, 5) | BITS(63, m);
		bits |= BITS(62, m);
		break;
	case MODE_LONG:
		if (m < 52)
			bits |= BITS(51, m);
		if (level > 3)
			return bits | ENTRY_PS;
		if (level == 3 && leaf)
			return bits | BITS(29, 13);
		break;
	}
	return level == 2 && leaf ? bits | BITS(20, 13) : bits;
}

/* Access rights, SDM 5.6.1 "Determination of Access Rights", in its order. */
static bool permitted(const struct cpu *c, unsigned access, bool user_page, bool writable,
		      bool executable)
{
	if (access & WALK_USER) {
		if (!user_page)
			return false;
		if (access & WALK_FETCH)
			return executable;
		return !(access & WALK_WRITE) || writable;
	}
	if (access & WALK_FETCH) {
		if (user_page && c->cr4 & CR4_SMEP)
			return false;
		return executable;
	}
	if (user_page && c->cr4 & CR4_SMAP && (access & WALK_SYSTEM || !(c->rflags & FL_AC)))
		return false;
	return !(access & WALK_WRITE) || writable || !(c->cr0 & CR0_WP);
}

/* SDM 5.7 "Page-Fault Exceptions", figure 5-12. `cause`: PF_P and PF_RSVD as they apply. */
static enum outcome page_fault(struct emu_vcpu *v, uint64_t linear, unsigned access, unsigned cause)
{
	const struct cpu *c = &v->cpu;
	uint32_t error = cause;

	if (access & WALK_WRITE)
		error |= PF_W;
	if (access & WALK_USER)
		error |= PF_U;
	if (access & WALK_FETCH && (c->cr4 & CR4_SMEP || (c->cr4 & CR4_PAE && c->efer & EFER_NXE)))
		error |= PF_I;
	return raise_pf(v, linear, error);
}

/* ------------------------------------------------------------------ paging structures in memory */

static inline enum outcome step_load(struct emu_vcpu *v, struct step *step, const struct slot *slot,
				     uint64_t gpa, unsigned entry_size)
{
	if (!slot || gpa - slot->gpa >= slot->size || vm_memory(v->vm)->intercept_count) {
		slot = slot_find(v->vm, gpa);
		if (!slot) {
			v->mmio_gpa = gpa;
			return MMIO;
		}
	}
	if (page_flags_get(slot_page_flags(slot, gpa)) & PAGE_GONE)
		return HOST_GONE;
	step->host = slot_host(slot, gpa);
	step->slot = slot;
	step->gpa = gpa;
	/* naturally aligned: other vCPUs and the monitor see and write whole entries */
	if (entry_size == 8)
		step->entry = __atomic_load_n((uint64_t *)(void *)step->host, __ATOMIC_RELAXED);
	else
		step->entry = __atomic_load_n((uint32_t *)(void *)step->host, __ATOMIC_RELAXED);
	return DONE;
}

static bool entry_replace(struct step *step, uint64_t entry, unsigned entry_size)
{
	uint64_t old64 = step->entry;
	uint32_t old32 = (uint32_t)step->entry;

	if (entry_size == 8)
		return __atomic_compare_exchange_n((uint64_t *)(void *)step->host, &old64, entry,
						   false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n((uint32_t *)(void *)step->host, &old32, (uint32_t)entry,
					   false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/*
 * One A or D update: a locked access (SDM 11.1.2.1), naturally aligned and so never split. `*again`:
 * the entry is no longer what the walk has seen.
 */
static enum outcome entry_update(struct emu_vcpu *v, struct step *step, unsigned table_pat,
				 uint64_t entry, unsigned entry_size, uint64_t linear,
				 unsigned access, bool *again)
{
	struct memory_types types = { EMU_MT_WB, EMU_MT_WB };
	struct emu_lock lock;
	enum outcome o;

	if (!memory_is_wb(vm_memory(v->vm)))
		types = memory_types(v, step->gpa, table_pat);
	if (types.effective == EMU_MT_WB) {
		if (access & WALK_NO_SIDE_EFFECTS)
			return DONE;
		*again = !entry_replace(step, entry, entry_size);
	} else {
		const struct stuffed_access stuffed = { EMU_STUFFED_PAGING, linear,
							step->gpa,          entry_size,
							types.effective,    types.guest };

		if (access & WALK_NO_BUS_LOCK)
			return UNHANDLED;
		o = stuffed_begin(v, &stuffed, &lock);
		if (o)
			return o;
		*again = !entry_replace(step, entry, entry_size);
		stuffed_end(v, &lock);
	}
	if (*again)
		return DONE;
	step->entry = entry;
	slot_mark_dirty(step->slot, step->gpa);
	return DONE;
}

/*
 * Set A at every level and, for a write, D in the last (SDM 5.8). A page that holds translated code
 * besides is not treated as written: the SDM does not promise that these updates are seen as self-
 * modifying code, and the walker runs inside the engine. `*again`: start the walk again.
 */
static __attribute__((noinline)) enum outcome
set_accessed_dirty(struct emu_vcpu *v, struct path *path, uint64_t linear, unsigned access,
		   unsigned entry_size, bool pdptes, bool *again)
{
	unsigned pat = path->first_pat;

	for (unsigned i = 0; i < path->steps; i++) {
		struct step *step = &path->step[i];
		bool write = i == path->steps - 1 && access & WALK_WRITE;
		uint64_t entry = step->entry | ENTRY_A | (write ? ENTRY_D : 0);
		unsigned table_pat = pat;
		enum outcome o;

		pat = memtype_pat_index(step->entry, MEMTYPE_TABLE);
		if (pdptes && i == 0) /* a PDPTE of PAE paging has no such bits */
			continue;
		/*
		 * Linux leaves the bits of tables in a read-only slot alone and goes on
		 * (update_accessed_dirty_bits() in arch/x86/kvm/mmu/paging_tmpl.h, 6.12).
		 */
		if (entry == step->entry || step->slot->flags & EMU_MEM_READONLY)
			continue;
		o = entry_update(v, step, table_pat, entry, entry_size, linear, access, again);
		if (o || *again)
			return o;
	}
	return DONE;
}

/* ------------------------------------------------------------------ the walk */

static inline uint64_t leaf_address(enum mode mode, unsigned shift, unsigned m, uint64_t entry)
{
	uint64_t base = entry & BITS(51, 0) & ~0ull << shift;

	/* PSE-36: bits 39:32 of the address of a 4 MB page stand in 20:13 */
	if (mode == MODE_32 && shift == 22)
		base |= (entry & BITS(20, 13)) << 19;
	return base & BITS(m - 1, 0);
}

/* `*again`: the tables changed meanwhile, the result is void. */
static inline __attribute__((always_inline)) enum outcome
walk_tables(struct emu_vcpu *v, uint64_t linear, unsigned access, struct walk *w, bool *again,
	    enum mode mode, unsigned levels)
{
	const struct cpu *c = &v->cpu;
	const unsigned entry_size = mode == MODE_32 ? 4 : 8;
	const unsigned index_bits = mode == MODE_32 ? 10 : 9;
	const unsigned m = vm_physical_bits(v->vm);
	const uint64_t nxe_reserved = c->efer & EFER_NXE ? 0 : ENTRY_NX;
	const struct slot *slot = vm_memory(v->vm)->last;
	struct path path;
	uint64_t entry = 0;
	/* With CR4.PCIDE these bits of CR3 are part of the PCID and taken as 0 (SDM 5.9). */
	uint64_t table = c->cr3 & BITS(mode == MODE_LONG ? m - 1 : 31, mode == MODE_PAE ? 5 : 12);
	unsigned shift, level = levels;
	bool leaf;

	path.steps = 0;
	path.all = ~0ull;
	path.any = 0;
	path.first_pat = c->cr4 & CR4_PCIDE ? 0 : memtype_pat_index(c->cr3, MEMTYPE_TABLE);

	/*
	 * PAE: hardware loads the four PDPTEs at MOV CR3 and checks them there (SDM 5.4.1). Here they
	 * are read in each walk, as AMD's nested paging does; bits that must be zero then give a #PF
	 * and not a #GP at MOV CR3 (APM 15.25.10).
	 */
	for (;; level--) {
		struct step *step = &path.step[path.steps++];
		enum outcome outcome;
		uint64_t index;

		shift = PAGE_SHIFT + (level - 1) * index_bits;
		index = linear >> shift &
			(mode == MODE_PAE && level == 3 ? 3 : BITS(index_bits - 1, 0));
		outcome = step_load(v, step, slot, table + index * entry_size, entry_size);
		if (outcome)
			return outcome;
		slot = step->slot;
		entry = step->entry;
		if (!(entry & ENTRY_P))
			return page_fault(v, linear, access, 0);

		leaf = level == 1 || (entry & ENTRY_PS && ((mode == MODE_32 && c->cr4 & CR4_PSE) ||
							   (mode != MODE_32 && level == 2) ||
							   (mode == MODE_LONG && level == 3)));
		if (entry & reserved_bits(mode, level, leaf, m, nxe_reserved))
			return page_fault(v, linear, access, PF_P | PF_RSVD);
		if (!(mode == MODE_PAE && level == 3)) {
			path.all &= entry;
			path.any |= entry;
		}
		if (leaf)
			break;
		table = entry & BITS(m - 1, PAGE_SHIFT);
	}

	w->writable = path.all & ENTRY_RW;
	w->user = path.all & ENTRY_US;
	w->executable = mode == MODE_32 || !(path.any & ENTRY_NX);
	w->page_shift = (uint8_t)shift;
	w->gpa = leaf_address(mode, shift, m, entry) | (linear & ~(~0ull << shift));
	w->dirty = entry & ENTRY_D;
	w->pat_index =
		(uint8_t)memtype_pat_index(entry, level == 1 ? MEMTYPE_PAGE : MEMTYPE_LARGE_PAGE);

	if (!(access & WALK_NO_SIDE_EFFECTS) &&
	    !permitted(c, access, w->user, w->writable, w->executable))
		return page_fault(v, linear, access, PF_P);
	/* without side effects only to see whether one would be a bus lock */
	if ((access & (WALK_NO_SIDE_EFFECTS | WALK_NO_BUS_LOCK)) != WALK_NO_SIDE_EFFECTS &&
	    (!(path.all & ENTRY_A) || (access & WALK_WRITE && !w->dirty))) {
		enum outcome outcome = set_accessed_dirty(v, &path, linear, access, entry_size,
							  mode == MODE_PAE, again);

		if (outcome)
			return outcome;
		/* in a read-only slot, too: the write itself is permitted */
		w->dirty |= !!(access & WALK_WRITE);
	}
	w->write_ok = w->dirty && permitted(c, (access & (WALK_USER | WALK_SYSTEM)) | WALK_WRITE,
					    w->user, w->writable, w->executable);
	return DONE;
}

static enum outcome walk_mode(struct emu_vcpu *v, uint64_t linear, unsigned access, struct walk *w,
			      bool *again)
{
	const struct cpu *c = &v->cpu;

	if (c->efer & EFER_LMA) {
		if (c->cr4 & CR4_LA57)
			return walk_tables(v, linear, access, w, again, MODE_LONG, 5);
		return walk_tables(v, linear, access, w, again, MODE_LONG, 4);
	}
	if (c->cr4 & CR4_PAE)
		return walk_tables(v, linear, access, w, again, MODE_PAE, 3);
	return walk_tables(v, linear, access, w, again, MODE_32, 2);
}

enum outcome page_walk(struct emu_vcpu *v, uint64_t linear, unsigned access, struct walk *w)
{
	const struct cpu *c = &v->cpu;
	enum outcome outcome;
	bool again;

	/* Outside of IA-32e mode linear addresses have 32 bits (SDM 3.1). The A20 gate does not exist. */
	if (!(c->efer & EFER_LMA))
		linear = (uint32_t)linear;
	if (!(c->cr0 & CR0_PG)) {
		*w = (struct walk){ .gpa = linear,
				    .writable = true,
				    .user = true,
				    .executable = true,
				    .dirty = true,
				    .write_ok = true,
				    .pat_index = MEMTYPE_NO_PAT,
				    .page_shift = PAGE_SHIFT };
		return DONE;
	}
	if (c->efer & EFER_LMA && !canonical(c, linear))
		return raise_error(v, EXC_GP, 0);
	do {
		again = false;
		outcome = walk_mode(v, linear, access, w, &again);
	} while (again);
	if (outcome != MMIO)
		return outcome;
	/*
	 * A table outside all slots: what the processor has is an EPT violation, or APM 15.25.6's NPF, and Linux
	 * makes a #PF of it, entry not present, whatever the access was (walk_addr_generic() in
	 * arch/x86/kvm/mmu/paging_tmpl.h, 6.12: kvm_is_error_hva()).
	 */
	if (memory_intercept(vm_memory(v->vm), v->mmio_gpa) == EMU_PAGE_ORDINARY)
		return page_fault(v, linear, access, 0);
	v->missing = (struct missing){ .linear = linear, .access = access, .table = true };
	return outcome;
}
