// SPDX-License-Identifier: GPL-2.0-only
/*
 * Accesses to pages that the hypervisor intercepts: EPT violation and misconfiguration (SDM 31.3.3),
 * the APIC-access page (SDM 32.4).
 */
#include "emu/run.h"
#include "emu/vm.h"

/* Exit qualification of EPT violations (SDM table 30-7). Bits 5:3, what the page permits: nothing. */
enum {
	EPT_READ = 1 << 0,
	EPT_WRITE = 1 << 1,
	EPT_FETCH = 1 << 2,
	EPT_LINEAR_VALID = 1 << 7,
	EPT_NOT_A_TABLE = 1 << 8,
};

/* Access types of APIC-access exits, bits 15:12 (SDM table 30-6) */
enum {
	APIC_LINEAR_READ = 0,
	APIC_LINEAR_WRITE = 1,
	APIC_LINEAR_FETCH = 2,
	APIC_LINEAR_DELIVERY = 3,
	APIC_PHYSICAL_DELIVERY = 10,
	APIC_PHYSICAL = 15,
};

/* ------------------------------------------------------------------ the access that hit the page */

struct hit {
	uint64_t linear, gpa;
	bool read, write, fetch;
};

/* The engine asks by page: which of the instruction's accesses was it? */
static void find_access(struct emu_vcpu *v, const struct insn *i, struct hit *hit)
{
	struct insn_access accesses[INSN_MAX_ACCESSES];
	struct insn_regs regs;
	uint64_t page = hit->linear & PAGE_MASK;
	int count;

	insn_regs_of(&v->cpu, &regs);
	count = insn_accesses(i, &regs, accesses);
	for (int a = 0; a < count; a++) {
		uint64_t low = accesses[a].linear, high = low + accesses[a].size - 1;

		if ((low & PAGE_MASK) != page && (high & PAGE_MASK) != page)
			continue;
		hit->linear = low > page ? low : page;
		hit->read = accesses[a].access & INSN_READ;
		hit->write = accesses[a].access & INSN_WRITE;
		return;
	}
}

static struct hit find_hit(struct emu_vcpu *v, const struct insn *i)
{
	const struct missing *m = &v->missing;
	struct hit hit = { .linear = m->linear,
			   .gpa = v->mmio_gpa,
			   .fetch = m->access & WALK_FETCH,
			   .write = m->access & WALK_WRITE };

	hit.read = !hit.fetch && !hit.write;
	if (m->table)
		return hit;
	if (hit.fetch && (linear_rip(&v->cpu) & PAGE_MASK) == (hit.linear & PAGE_MASK))
		hit.linear = linear_rip(&v->cpu);
	else if (i && !v->vectoring.active)
		find_access(v, i, &hit);
	hit.gpa = (hit.gpa & PAGE_MASK) | (hit.linear & ~PAGE_MASK);
	return hit;
}

/* ------------------------------------------------------------------ its exit */

static enum outcome leave_violation(struct emu_vcpu *v, const struct hit *hit)
{
	bool table = v->missing.table;

	leave(v, EMU_EXIT_EPT, VMX_EPT_VIOLATION);
	v->exit->guest_linear = hit->linear;
	v->exit->guest_physical = hit->gpa;
	v->exit->qualification = EPT_LINEAR_VALID | (table ? EPT_READ : EPT_NOT_A_TABLE);
	if (!table)
		v->exit->qualification |= (hit->read ? EPT_READ : 0) |
					  (hit->write ? EPT_WRITE : 0) |
					  (hit->fetch ? EPT_FETCH : 0);
	return EXIT;
}

static enum outcome leave_misconfig(struct emu_vcpu *v, const struct hit *hit)
{
	leave(v, EMU_EXIT_EPT, VMX_EPT_MISCONFIG);
	v->exit->guest_physical = hit->gpa; /* and no qualification (SDM 30.2.1) */
	return EXIT;
}

static enum outcome leave_apic_access(struct emu_vcpu *v, const struct hit *hit)
{
	bool delivery = v->vectoring.active;
	unsigned type = hit->fetch   ? APIC_LINEAR_FETCH
			: hit->write ? APIC_LINEAR_WRITE
				     : APIC_LINEAR_READ;

	if (delivery)
		type = APIC_LINEAR_DELIVERY;
	leave(v, EMU_EXIT_APIC_ACCESS, VMX_APIC_ACCESS);
	if (v->missing.table) /* no offset then */
		v->exit->qualification = (delivery ? APIC_PHYSICAL_DELIVERY : APIC_PHYSICAL) << 12;
	else
		v->exit->qualification = (hit->gpa & 0xfff) | type << 12;
	return EXIT;
}

/* SDM 28.3.3: these are fault-like, and RF keeps the breakpoint from being met again. */
static enum outcome leave_fault_like(struct emu_vcpu *v, enum outcome r)
{
	if (v->vectoring.active) {
		leave_vectoring(v);
		v->cpu.rflags = v->vectoring.rflags;
	} else {
		v->cpu.rflags |= FL_RF;
	}
	return r;
}

enum outcome leave_intercepted(struct emu_vcpu *v, const struct insn *i)
{
	struct hit hit = find_hit(v, i);

	switch (memory_intercept(vm_memory(v->vm), v->mmio_gpa)) {
	case EMU_PAGE_VIOLATION:
		return leave_fault_like(v, leave_violation(v, &hit));
	case EMU_PAGE_MISCONFIG:
		return leave_fault_like(v, leave_misconfig(v, &hit));
	case EMU_PAGE_APIC_ACCESS:
	case EMU_PAGE_APIC_WRITE: /* fetches, tables and event delivery are not virtualized */
		return leave_fault_like(v, leave_apic_access(v, &hit));
	default:
		return MMIO;
	}
}

bool apic_access_is_virtualized(struct emu_vcpu *v, const struct insn *i, struct apic_write *write)
{
	struct hit hit;

	if (memory_intercept(vm_memory(v->vm), v->mmio_gpa) != EMU_PAGE_APIC_WRITE)
		return false;
	if (!i || v->vectoring.active || v->missing.table || v->missing.access & WALK_FETCH)
		return false;
	hit = find_hit(v, i);
	*write = (struct apic_write){ .seen = hit.write, .offset = hit.gpa & 0xfff };
	return true;
}
