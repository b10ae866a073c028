// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory types. KVM on Intel makes guest RAM write-back and ignores the guest's PAT and MTRRs
 * (vmx_get_mt_mask(): WB with the "ignore PAT" bit, unless a device with non-coherent DMA is
 * attached or KVM_X86_QUIRK_IGNORE_GUEST_PAT is off), so that is the answer unless a range was
 * declared to be something else.
 */
#include "emu/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool type_is_valid(unsigned type)
{
	/* What an MTRR or an EPT entry can hold (SDM 14.11.2.1); UC- exists in the PAT only. */
	switch (type) {
	case EMU_MT_UC:
	case EMU_MT_WC:
	case EMU_MT_WT:
	case EMU_MT_WP:
	case EMU_MT_WB:
		return true;
	default:
		return false;
	}
}

int memory_declare_type(struct memory *m, uint64_t gpa, uint64_t size, unsigned type)
{
	struct memory_type_range *types;

	if (!type_is_valid(type) || !size || (gpa | size) & ~PAGE_MASK || gpa + size - 1 < gpa)
		return -EINVAL;
	types = realloc(m->types, (m->type_count + 1) * sizeof(*types));
	if (!types)
		return -ENOMEM;
	types[m->type_count] = (struct memory_type_range){ gpa, size, type };
	m->types = types;
	m->type_count++;
	atomic_fetch_add(&m->generation, 1);
	return 0;
}

/* Addresses without a slot have no type: an access there leaves before it could lock anything. */
unsigned memory_type(struct emu_vcpu *v, uint64_t gpa, unsigned pat_index)
{
	const struct memory *m = vm_memory(v->vm);

	(void)pat_index;
	for (size_t i = m->type_count; i--;) {
		if (gpa - m->types[i].gpa < m->types[i].size)
			return m->types[i].type;
	}
	return EMU_MT_WB;
}
