// SPDX-License-Identifier: GPL-2.0-only
/*
 * Capabilities: what KVM_CHECK_EXTENSION says and KVM_ENABLE_CAP does. What is not in the table reads 0
 * and cannot be enabled, as on a kernel without it. Only what works here is offered.
 */
#include "traces/report.h"
#include "vmm_shim/internal.h"
#include "vmm_shim/irqchip/irqchip.h"

#include <errno.h>
#include <unistd.h>

static int nr_vcpus(const struct shim_vm *vm)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	(void)vm;
	return online > EMU_MAX_VCPUS || online < 1 ? EMU_MAX_VCPUS : (int)online;
}

/* kvm_caps.has_bus_lock_exit: set by vmx_hardware_setup(), and since 6.16 by svm_set_cpu_caps() */
static bool has_bus_lock_exit(void)
{
	return shim_config.options.capability &&
	       (config_intel() || shim_config.profile.svm_threshold);
}

static int bus_lock_exit(const struct shim_vm *vm)
{
	(void)vm; /* the same on both descriptors */
	if (fault_is(SHIM_FAULT_NO_CAPABILITY))
		return 0;
	return has_bus_lock_exit() ? KVM_BUS_LOCK_DETECTION_OFF | KVM_BUS_LOCK_DETECTION_EXIT : 0;
}

static int adjust_clock(const struct shim_vm *vm)
{
	(void)vm;
	return shim_config.profile.clock_realtime ? ABI_CLOCK_VALID_FLAGS : ABI_CLOCK_TSC_STABLE;
}

/* --irqchip: what a VM can have of it */
static int irqchip_offered(const struct shim_vm *vm)
{
	(void)vm;
	return shim_config.options.irqchip != SHIM_IRQCHIP_NONE;
}

static int x2apic_api(const struct shim_vm *vm)
{
	return irqchip_offered(vm)
		       ? KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK
		       : 0;
}

static int xcrs(const struct shim_vm *vm)
{
	(void)vm; /* boot_cpu_has(X86_FEATURE_XSAVE) */
	return cpuid_supported_bit(1, 0, 2, 26);
}

static int quirks(const struct shim_vm *vm)
{
	(void)vm;
	return (int)quirks_supported(&shim_config.profile);
}

#define ARCH   "x86.c: kvm_vm_ioctl_check_extension"
#define MAIN   "kvm_main.c: kvm_vm_ioctl_check_extension_generic"
#define CAP(x) KVM_CAP_##x, #x
static const struct capability table[] = {
	{ CAP(HLT), 1, NULL, 0, ARCH },
	{ CAP(IRQCHIP), 0, irqchip_offered, 0, ARCH },
	{ CAP(PIT), 0, irqchip_offered, 0, ARCH },
	{ CAP(COALESCED_MMIO), ABI_COALESCED_PAGE_OFFSET, NULL, 0, MAIN },
	{ CAP(REINJECT_CONTROL), 0, irqchip_offered, 0, ARCH },
	{ CAP(IRQ_INJECT_STATUS), 0, irqchip_offered, 0, ARCH },
	{ CAP(IRQFD), 0, irqchip_offered, 0, MAIN },
	{ CAP(PIT2), 0, irqchip_offered, 0, ARCH },
	{ CAP(PIT_STATE2), 0, irqchip_offered, 0, ARCH },
	{ CAP(IOEVENTFD), 1, NULL, 0, ARCH },
	{ CAP(SIGNAL_MSI), 0, irqchip_offered, 0, MAIN },
	{ CAP(IRQFD_RESAMPLE), 0, irqchip_offered, 0, ARCH },
	{ CAP(IOEVENTFD_NO_LENGTH), 1, NULL, 0, ARCH },
	{ CAP(SPLIT_IRQCHIP), 0, irqchip_offered, 0, ARCH },
	{ CAP(IOEVENTFD_ANY_LENGTH), 1, NULL, 0, MAIN },
	{ CAP(COALESCED_PIO), 1, NULL, 0, MAIN },
	{ CAP(IOAPIC_POLARITY_IGNORED), 0, irqchip_offered, 0, ARCH },
	{ CAP(VAPIC), 0, irqchip_offered, 0, ARCH },
	{ CAP(TSC_DEADLINE_TIMER), 0, irqchip_offered, 0, ARCH },
	{ CAP(X2APIC_API), 0, x2apic_api, 0, ARCH },
	{ CAP(X86_APIC_BUS_CYCLES_NS), 0, irqchip_offered, KERNEL(6, 11, 0), ARCH },
	{ CAP(MMU_SHADOW_CACHE_CONTROL), 1, NULL, 0, ARCH },
	{ CAP(USER_MEMORY), 1, NULL, 0, MAIN },
	{ CAP(SET_TSS_ADDR), 1, NULL, 0, ARCH },
	{ CAP(EXT_CPUID), 1, NULL, 0, ARCH },
	{ CAP(NR_VCPUS), 0, nr_vcpus, 0, ARCH },
	{ CAP(NR_MEMSLOTS), ABI_USER_MEM_SLOTS, NULL, 0, MAIN },
	{ CAP(NOP_IO_DELAY), 1, NULL, 0, ARCH },
	{ CAP(MP_STATE), 1, NULL, 0, ARCH },
	{ CAP(SYNC_MMU), 1, NULL, 0, ARCH },
	{ CAP(DESTROY_MEMORY_REGION_WORKS), 1, NULL, 0, MAIN },
	{ CAP(USER_NMI), 1, NULL, 0, ARCH },
	{ CAP(SET_GUEST_DEBUG), 1, NULL, 0, ARCH },
	/* QEMU refuses to start without it, even where it uses no interrupt controller of the
	 * kernel's; KVM_SET_GSI_ROUTING says EINVAL then, as Linux without KVM_CREATE_IRQCHIP. */
	{ CAP(IRQ_ROUTING), ABI_MAX_IRQ_ROUTES, NULL, 0, MAIN },
	{ CAP(JOIN_MEMORY_REGIONS_WORKS), 1, NULL, 0, MAIN },
	{ CAP(MCE), ABI_MAX_MCE_BANKS, NULL, 0, ARCH },
	{ CAP(SET_BOOT_CPU_ID), 1, NULL, 0, ARCH },
	{ CAP(SET_IDENTITY_MAP_ADDR), 1, NULL, 0, ARCH },
	{ CAP(ADJUST_CLOCK), 0, adjust_clock, 0, ARCH },
	{ CAP(INTERNAL_ERROR_DATA), 1, NULL, 0, MAIN },
	{ CAP(VCPU_EVENTS), 1, NULL, 0, ARCH },
	{ CAP(DEBUGREGS), 1, NULL, 0, ARCH },
	{ CAP(X86_ROBUST_SINGLESTEP), 1, NULL, 0, ARCH },
	{ CAP(ENABLE_CAP), 1, NULL, 0, ARCH },
	{ CAP(XSAVE), 1, NULL, 0, ARCH },
	{ CAP(XCRS), 0, xcrs, 0, ARCH },
	{ CAP(GET_TSC_KHZ), 1, NULL, 0, ARCH },
	{ CAP(DISABLE_QUIRKS), 1, NULL, 0, ARCH },
	{ CAP(DISABLE_QUIRKS2), 0, quirks, KERNEL(5, 18, 0), ARCH },
	{ CAP(MAX_VCPUS), EMU_MAX_VCPUS, NULL, 0, ARCH },
	{ CAP(SYNC_REGS), KVM_SYNC_X86_VALID_FIELDS, NULL, 0, ARCH },
	{ CAP(KVMCLOCK_CTRL), 1, NULL, 0, ARCH },
	{ CAP(READONLY_MEM), 1, NULL, 0, ARCH },
	{ CAP(ENABLE_CAP_VM), 1, NULL, 0, MAIN },
	{ CAP(CHECK_EXTENSION_VM), 1, NULL, 0, MAIN },
	{ CAP(MAX_VCPU_ID), EMU_MAX_VCPUS *ABI_VCPU_ID_RATIO, NULL, 0, ARCH },
	{ CAP(IMMEDIATE_EXIT), 1, NULL, 0, ARCH },
	{ CAP(GET_MSR_FEATURES), 1, NULL, 0, ARCH },
	{ CAP(VCPU_ATTRIBUTES), 1, NULL, KERNEL(5, 16, 0), ARCH },
	{ CAP(MSR_PLATFORM_INFO), 1, NULL, 0, ARCH },
	{ CAP(EXCEPTION_PAYLOAD), 1, NULL, 0, ARCH },
	{ CAP(MANUAL_DIRTY_LOG_PROTECT2), ABI_DIRTY_MANUAL_CAPS, NULL, 0, MAIN },
	{ CAP(X86_USER_SPACE_MSR), 1, NULL, 0, ARCH },
	{ CAP(X86_MSR_FILTER), 1, NULL, 0, ARCH },
	{ CAP(ENFORCE_PV_FEATURE_CPUID), 1, NULL, 0, ARCH },
	{ CAP(X86_BUS_LOCK_EXIT), 0, bus_lock_exit, 0, ARCH },
	{ CAP(SET_GUEST_DEBUG2),
	  KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP |
		  KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_INJECT_BP | KVM_GUESTDBG_INJECT_DB,
	  NULL, KERNEL(5, 13, 0), ARCH },
	{ CAP(BINARY_STATS_FD), 1, NULL, KERNEL(5, 14, 0), MAIN },
	{ CAP(SREGS2), 1, NULL, KERNEL(5, 14, 0), ARCH },
	{ CAP(EXIT_ON_EMULATION_FAILURE), 1, NULL, KERNEL(5, 14, 0), ARCH },
	{ CAP(XSAVE2), (int)PAGE_SIZE, NULL, KERNEL(5, 17, 0), ARCH },
	{ CAP(SYS_ATTRIBUTES), 1, NULL, KERNEL(5, 17, 0), ARCH },
	{ CAP(X86_TRIPLE_FAULT_EVENT), 1, NULL, KERNEL(6, 0, 0), ARCH },
	{ CAP(USER_MEMORY2), 1, NULL, KERNEL(6, 8, 0), MAIN },
	{ CAP(MEMORY_FAULT_INFO), 1, NULL, KERNEL(6, 8, 0), ARCH },
	{ CAP(VM_TYPES), 1 /* the default type */, NULL, KERNEL(6, 8, 0), ARCH },
	{ CAP(X86_GUEST_MODE), 1, NULL, KERNEL(6, 11, 0), ARCH },
};

const struct capability *capability_find(int number)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].number == number)
			return &table[i];
	}
	return NULL;
}

int capability_value(const struct shim_vm *vm, unsigned long number)
{
	/* The argument is a long in the kernel: no truncation to a known number. */
	const struct capability *cap = number > 0x7fffffff ? NULL : capability_find((int)number);

	if (!cap || cap->since > shim_config.profile.kernel) {
		log_debug("KVM_CHECK_EXTENSION: capability %lu is not offered", number);
		return 0;
	}
	return cap->compute ? cap->compute(vm) : cap->value;
}

/* semantics of KVM api.rst 7.22 and of kvm_vm_ioctl_enable_cap(), in its order */
static int enable_bus_lock_exit(struct shim_vm *vm, uint64_t mode)
{
	if (fault_is(SHIM_FAULT_REFUSED))
		return -EINVAL;
	if (mode & ~(uint64_t)(KVM_BUS_LOCK_DETECTION_OFF | KVM_BUS_LOCK_DETECTION_EXIT))
		return -EINVAL;
	if ((mode & KVM_BUS_LOCK_DETECTION_OFF) && (mode & KVM_BUS_LOCK_DETECTION_EXIT))
		return -EINVAL;
	/*
	 * OFF is not the opposite of EXIT: nothing ever clears the flag. And without hardware that can
	 * do it EXIT succeeds without effect.
	 */
	if (has_bus_lock_exit() && (mode & KVM_BUS_LOCK_DETECTION_EXIT)) {
		atomic_store(&vm->bus_lock_detection, true);
		if (shim_config.options.report)
			atomic_store(&shim_config.options.report->detection_enabled, 1);
	}
	return 0;
}

static int enable_max_vcpu_id(struct shim_vm *vm, uint64_t max)
{
	int r = -EINVAL;

	if (max > EMU_MAX_VCPUS * ABI_VCPU_ID_RATIO)
		return -EINVAL;
	lock_take(&vm->lock);
	if (vm->boot_cpu_id <= max && (vm->max_vcpu_id == max || !vm->max_vcpu_id)) {
		vm->max_vcpu_id = (unsigned)max;
		r = 0;
	}
	lock_drop(&vm->lock);
	return r;
}

static int enable_manual_dirty_log(struct shim_vm *vm, const struct kvm_enable_cap *cap)
{
	uint64_t allowed = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;

	if (cap->args[0] & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE)
		allowed = ABI_DIRTY_MANUAL_CAPS;
	if (cap->flags || (cap->args[0] & ~allowed))
		return -EINVAL;
	vm->manual_dirty_log = cap->args[0];
	return 0;
}

int capability_enable(struct shim_vm *vm, const struct kvm_enable_cap *cap)
{
	const struct capability *offered = capability_find((int)cap->cap);

	if (!offered || offered->since > shim_config.profile.kernel) {
		log_debug("KVM_ENABLE_CAP: capability %u is not offered", cap->cap);
		return -EINVAL;
	}
	if (cap->cap == KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2)
		return enable_manual_dirty_log(vm, cap);
	if (cap->flags)
		return -EINVAL;
	switch (cap->cap) {
	case KVM_CAP_X86_BUS_LOCK_EXIT:
		return enable_bus_lock_exit(vm, cap->args[0]);
	case KVM_CAP_DISABLE_QUIRKS:
	case KVM_CAP_DISABLE_QUIRKS2:
		return quirks_disable(vm, cap->cap, cap->args[0]);
	case KVM_CAP_SPLIT_IRQCHIP:
		return capability_value(vm, KVM_CAP_SPLIT_IRQCHIP) ? irqchip_split(vm, cap->args[0])
								   : -EINVAL;
	case KVM_CAP_X2APIC_API:
	case KVM_CAP_X86_APIC_BUS_CYCLES_NS:
		return capability_value(vm, cap->cap) ? lapic_enable_cap(vm, cap) : -EINVAL;
	case KVM_CAP_EXCEPTION_PAYLOAD:
		vm->exception_payload = cap->args[0] != 0;
		return 0;
	case KVM_CAP_MSR_PLATFORM_INFO:
		vm->hides_platform_info = !cap->args[0];
		return 0;
	case KVM_CAP_X86_TRIPLE_FAULT_EVENT:
		vm->triple_fault_event = cap->args[0] != 0;
		return 0;
	case KVM_CAP_EXIT_ON_EMULATION_FAILURE:
		if (cap->args[0] & ~1ull)
			return -EINVAL;
		vm->exit_on_emulation_error = cap->args[0];
		return 0;
	case KVM_CAP_X86_USER_SPACE_MSR:
		if (cap->args[0] &
		    ~(uint64_t)(KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN |
				KVM_MSR_EXIT_REASON_FILTER))
			return -EINVAL;
		atomic_store(&vm->user_space_msr, (uint32_t)cap->args[0]);
		return 0;
	case KVM_CAP_MAX_VCPU_ID:
		return shim_config.profile.sets_max_vcpu_id ? enable_max_vcpu_id(vm, cap->args[0])
							    : -EINVAL;
	default:
		return -EINVAL;
	}
}
