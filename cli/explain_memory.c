// SPDX-License-Identifier: GPL-2.0-only
/* `buslock explain`: how the memory type of the operand came about. The rules are emu/memtype.h's. */
#include "cli/cli.h"
#include "cli/explain.h"
#include "vmm_shim/profile.h"

#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ the type */

static bool is_declared(const struct shim_options *machine, uint64_t gpa)
{
	for (unsigned i = 0; i < machine->ucs; i++)
		if (gpa - machine->uc[i].gpa < machine->uc[i].size)
			return true;
	return false;
}

void explain_memory_type(const struct question *q, uint64_t linear, struct explain_type *t)
{
	const struct explain_memory *m = &q->memory;
	const struct shim_options *machine = &q->machine.shim;
	bool off = m->mtrr == EXPLAIN_MTRR_OFF;
	/* no ranges: what MTRR is meant is told by its type, which the default type has, too */
	const struct memtype_registers registers = {
		.pat = m->pat, .mtrr_default = off ? 0 : 1u << 11 | (unsigned)m->mtrr
	};
	struct memtype_question question = { .vendor = (enum emu_vendor)machine->vendor,
					     .cd = m->cd,
					     .has_mtrr = true,
					     .physical_bits = 52,
					     .registers = &registers };
	struct memory_choice choice;
	struct profile profile;

	memset(t, 0, sizeof(*t));
	t->type = q->type;
	if (q->type_given)
		return;
	t->derived = true;
	t->cd = m->cd;
	t->gpa = m->gpa_given ? m->gpa : linear;
	t->declared = is_declared(machine, t->gpa);
	profile_for(shim_options_kernel(machine), &profile);
	choice = memory_choice(machine->memory, machine->vendor == EMU_INTEL, &profile,
			       m->disabled_quirks);
	t->policy = choice.policy;
	question.policy = choice.policy;
	question.cd_is_uc = choice.cd_is_uc;
	question.gpa = t->gpa;
	question.is_declared = t->declared;
	question.declared = EMU_MT_UC;
	/* real mode has no paging; elsewhere there is */
	question.pat_index = (m->paging_given ? m->paging : q->mode != 16) ? m->index
									   : MEMTYPE_NO_PAT;
	t->steps = memtype_explain(&question);
	t->type = t->steps.type;
}

/* ------------------------------------------------------------------ why */

static const char *why_ept(const struct question *q, const struct explain_type *t)
{
	if (t->declared)
		return "a device's memory (--uc)";
	switch (t->policy) {
	case EMU_MEMORY_WB_IGNORE_PAT:
		return "RAM, and no device whose DMA is not coherent";
	case EMU_MEMORY_WB:
		return q->machine.shim.memory == SHIM_MEMORY_KVM_NONCOHERENT
			       ? "RAM, and a device whose DMA is not coherent"
			       : "RAM, and KVM_X86_QUIRK_IGNORE_GUEST_PAT is disabled";
	default:
		if (t->steps.caching_off)
			return "the guest has set CR0.CD";
		if (t->steps.mtrr.rule == MEMTYPE_DISABLED)
			return "the guest's MTRRs, which are off";
		return t->cd ? "the guest's CR0.CD is not passed on (KVM_X86_QUIRK_CD_NW_CLEARED)"
			     : "the guest's MTRRs";
	}
}

static void one_level(const struct explain_type *t, char *text, size_t size)
{
	const char *why = t->declared ? ", a device's memory (--uc)"
			  : t->steps.mtrr.rule == MEMTYPE_DISABLED
				  ? ", because the MTRRs are off (SDM vol. 3, 14.11.2.1)"
				  : "";

	snprintf(text, size, "nothing, as on metal; memory %s%s%s", memtype_name(t->steps.physical),
		 why, t->steps.caching_off ? ", but CR0.CD turns caching off" : "");
}

const char *explain_below(const struct question *q, const struct explain_type *t, char *text,
			  size_t size)
{
	char kernel[32];

	kernel_format(shim_options_kernel(&q->machine.shim), kernel, sizeof(kernel));
	switch (t->steps.level) {
	case MEMTYPE_ONE_LEVEL:
		one_level(t, text, size);
		break;
	case MEMTYPE_EPT:
		snprintf(text, size,
			 "EPT entry %s, and the guest's PAT %s: %s (vmx_get_mt_mask(), Linux %s)",
			 memtype_name(t->steps.second),
			 t->steps.ignore_pat ? "is ignored" : "counts", why_ept(q, t), kernel);
		break;
	case MEMTYPE_NPT:
		snprintf(text, size,
			 "nested page table WB, together %s (APM table 15-19); host's MTRR %s%s "
			 "(table 15-20)%s",
			 memtype_name(t->steps.nested), memtype_name(t->steps.physical),
			 t->declared ? ", a device's memory (--uc)" : "",
			 t->steps.caching_off ? "; CR0.CD turns caching off (15.25.8)" : "");
		break;
	}
	return text;
}
