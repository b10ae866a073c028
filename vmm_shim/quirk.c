// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who decides the types of guest memory: options, kernel version and the quirks that the monitor has
 * disabled (KVM api.rst 7.31, KVM_CAP_DISABLE_QUIRKS2) become one of the processor's policies.
 */
#include "vmm_shim/internal.h"

#include <errno.h>

/* ------------------------------------------------------------------ the quirks of a kernel */

/*
 * KVM_X86_VALID_QUIRKS: bits 0 to 6 as in 6.1's <asm/kvm.h>, 0 to 8 in 6.12.117. `unmodelled`: without
 * it a guest would see something else, but not here. The others are about memory types, or about what
 * is not there (an APIC in the kernel) or not seen.
 */
/* clang-format off */
#define SINCE(major, minor) { { KERNEL(major, minor, 0), 0 } }
static const struct quirk {
	uint64_t bit;
	const char *name;
	struct kernel_range range[KERNEL_RANGES];
	bool unmodelled;
} quirks[] = {
	{ 1 << 0, "LINT0_REENABLED", SINCE(5, 12), false },
	{ QUIRK_CD_NW_CLEARED, "CD_NW_CLEARED", SINCE(5, 12), false },
	{ 1 << 2, "LAPIC_MMIO_HOLE", SINCE(5, 12), false },
	{ 1 << 3, "OUT_7E_INC_RIP", SINCE(5, 12), true },
	{ 1 << 4, "MISC_ENABLE_NO_MWAIT", SINCE(5, 12), true },
	{ 1 << 5, "FIX_HYPERCALL_INSN", SINCE(5, 19), true },
	{ 1 << 6, "MWAIT_NEVER_UD_FAULTS", SINCE(6, 0), true },
	{ 1 << 7, "SLOT_ZAP_ALL", SINCE(6, 12), false },
	{ 1 << 8, "STUFF_FEATURE_MSRS",
	  { { KERNEL(6, 14, 0), 0 }, { KERNEL(6, 12, 117), KERNEL(6, 13, 0) } }, true },
};
/* clang-format on */
#define QUIRKS (sizeof(quirks) / sizeof(quirks[0]))

/*
 * kvm_caps.supported_quirks. IGNORE_GUEST_PAT is Intel's, and there only with self-snoop
 * (vmx_hardware_setup(), X86_FEATURE_SELFSNOOP: CPUID.1:EDX[27]); on AMD it is known, without effect.
 */
uint64_t quirks_supported(const struct profile *profile)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < QUIRKS; i++)
		bits |= kernel_in(quirks[i].range, profile->kernel) ? quirks[i].bit : 0;
	if (profile->guest_pat_quirk && (!config_intel() || cpuid_supported_bit(1, 0, 3, 27)))
		bits |= QUIRK_IGNORE_GUEST_PAT;
	return bits;
}

/* kvm_vm_ioctl_enable_cap(), KVM_CAP_DISABLE_QUIRKS and KVM_CAP_DISABLE_QUIRKS2 */
int quirks_disable(struct shim_vm *vm, uint32_t capability, uint64_t bits)
{
	const struct profile *profile = &shim_config.profile;
	uint64_t supported = quirks_supported(profile);
	int r;

	if (capability == KVM_CAP_DISABLE_QUIRKS2 && bits & ~supported)
		return -EINVAL;
	for (size_t i = 0; i < QUIRKS; i++) {
		if (bits & supported & quirks[i].bit && quirks[i].unmodelled)
			shim_log(1,
				 "KVM_ENABLE_CAP: disabling KVM_X86_QUIRK_%s has no effect here: "
				 "do not rely on it under buslock",
				 quirks[i].name);
	}
	lock_take(&vm->lock);
	/* a4dae7c7a40b, with IGNORE_GUEST_PAT: quirks stay disabled, unknown ones are dropped */
	if (profile->guest_pat_quirk)
		vm->disabled_quirks |= bits & supported;
	else
		vm->disabled_quirks = bits;
	r = memory_types_apply(vm);
	lock_drop(&vm->lock);
	return r;
}

/* ------------------------------------------------------------------ memory types */

/* vmx_get_mt_mask(), svm_set_cr0() */
struct memory_choice memory_choice(enum shim_memory memory, bool intel,
				   const struct profile *profile, uint64_t disabled)
{
	bool cd_is_uc = disabled & QUIRK_CD_NW_CLEARED;

	if (memory == SHIM_MEMORY_DEFAULT)
		memory = intel ? SHIM_MEMORY_KVM : SHIM_MEMORY_AMD;
	switch (memory) {
	case SHIM_MEMORY_KVM_NONCOHERENT:
		if (!profile->emulates_mtrr)
			return (struct memory_choice){ EMU_MEMORY_WB, false };
		return (struct memory_choice){ profile->cd_quirk_keeps_pat
						       ? EMU_MEMORY_GUEST_MTRR_PAT
						       : EMU_MEMORY_GUEST_MTRR,
					       cd_is_uc };
	case SHIM_MEMORY_GUEST:
		return (struct memory_choice){ EMU_MEMORY_NATIVE, false };
	case SHIM_MEMORY_AMD:
		/* the guest's PAT through gPAT; CR0.CD only without its quirk */
		return (struct memory_choice){ EMU_MEMORY_NPT, cd_is_uc };
	default:
		if (profile->guest_pat_quirk && disabled & QUIRK_IGNORE_GUEST_PAT)
			return (struct memory_choice){ EMU_MEMORY_WB, false };
		return (struct memory_choice){ EMU_MEMORY_WB_IGNORE_PAT, false };
	}
}

int memory_types_apply(struct shim_vm *vm)
{
	struct memory_choice choice = memory_choice(shim_config.options.memory, config_intel(),
						    &shim_config.profile, vm->disabled_quirks);

	return vm->ops->set_memory_policy(vm->emu, choice.policy, choice.cd_is_uc);
}

int memory_types_init(struct shim_vm *vm)
{
	const struct shim_options *o = &shim_config.options;
	int r = memory_types_apply(vm);

	/* a device's memory: EPT type UC without the ignore-PAT bit, as kvm_is_mmio_pfn() has it */
	for (unsigned i = 0; i < o->ucs && !r; i++)
		r = vm->ops->declare_memory_type(vm->emu, o->uc[i].gpa, o->uc[i].size, EMU_MT_UC);
	return r;
}
