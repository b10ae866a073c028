// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one table of KVM's ioctls on x86: on which descriptors Linux has each, on which it is emulated
 * here, and what the kernel answers that has it not. docs/ioctls.md is this table in words; a test
 * compares the two, and the table with <linux/kvm.h>.
 *
 * Errors of what is not there, in kvm_dev_ioctl(), kvm_vm_ioctl() and kvm_vcpu_ioctl() of 6.12: EINVAL,
 * ENOTTY, EINVAL. Rows say where a kernel without the capability answers something else, because it is
 * configured out behind the copy of its argument, or refused by a check of its own.
 */
#include "vmm_shim/internal.h"

#include <errno.h>

#define ROW(x, descriptors, emulated) .request = x, .name = #x, .on = descriptors, .here = emulated
#define D                             (1u << SHIM_DEVICE)
#define M                             (1u << SHIM_VM) /* machine */
#define C                             (1u << SHIM_VCPU)
/* without it: `e` */
#define WITHOUT(e) .error = -(e)
/* … after `size` bytes of the argument were read */
#define READS(size) .reads = (size)
#define CAP(x)      .cap = (x) + 1
#define SINCE(a, b) .since = KERNEL(a, b, 0)

/* clang-format off: a table */
const struct ioctl_info ioctl_table[] = {
	{ ROW(KVM_GET_API_VERSION, D, D) },
	{ ROW(KVM_CREATE_VM, D, D) },
	{ ROW(KVM_GET_MSR_INDEX_LIST, D, D) },
	{ ROW(KVM_CHECK_EXTENSION, D | M, D | M) },
	{ ROW(KVM_GET_VCPU_MMAP_SIZE, D, D) },
	{ ROW(KVM_GET_SUPPORTED_CPUID, D, D) },
	{ ROW(KVM_GET_EMULATED_CPUID, D, D) },
	{ ROW(KVM_GET_MSR_FEATURE_INDEX_LIST, D, D) },
	{ ROW(KVM_TRACE_ENABLE, 0, 0), .why = IOCTL_OBSOLETE },
	{ ROW(KVM_TRACE_PAUSE, 0, 0), .why = IOCTL_OBSOLETE },
	{ ROW(KVM_TRACE_DISABLE, 0, 0), .why = IOCTL_OBSOLETE },

	{ ROW(KVM_SET_MEMORY_REGION, 0, 0), .why = IOCTL_OBSOLETE },
	{ ROW(KVM_CREATE_VCPU, M, M) },
	{ ROW(KVM_GET_DIRTY_LOG, M, M) },
	{ ROW(KVM_SET_MEMORY_ALIAS, 0, 0), .why = IOCTL_OBSOLETE },
	{ ROW(KVM_SET_NR_MMU_PAGES, M, M) },
	{ ROW(KVM_GET_NR_MMU_PAGES, 0, 0), .why = IOCTL_OBSOLETE },
	{ ROW(KVM_SET_USER_MEMORY_REGION, M, M) },
	{ ROW(KVM_SET_TSS_ADDR, M, M) },
	{ ROW(KVM_SET_IDENTITY_MAP_ADDR, M, M) },
	{ .request = ABI_SET_USER_MEMORY_REGION2,
	  .name = "KVM_SET_USER_MEMORY_REGION2",
	  .on = M,
	  .here = M,
	  SINCE(6, 8) },
	{ ROW(KVM_CREATE_IRQCHIP, M, M) },
	{ ROW(KVM_IRQ_LINE, M, M) },
	{ ROW(KVM_GET_IRQCHIP, M, M) },
	{ ROW(KVM_SET_IRQCHIP, M, M) },
	{ ROW(KVM_CREATE_PIT, M, M) },
	{ ROW(KVM_GET_PIT, M, M) },
	{ ROW(KVM_SET_PIT, M, M) },
	{ ROW(KVM_IRQ_LINE_STATUS, M, M) },
	{ ROW(KVM_REGISTER_COALESCED_MMIO, M, M) },
	{ ROW(KVM_UNREGISTER_COALESCED_MMIO, M, M) },
	{ ROW(KVM_ASSIGN_PCI_DEVICE, 0, 0), .why = IOCTL_OBSOLETE },
	{ ROW(KVM_SET_GSI_ROUTING, M, M) },
	{ ROW(KVM_ASSIGN_IRQ, 0, 0), .why = IOCTL_OBSOLETE },
	{ ROW(KVM_ASSIGN_DEV_IRQ, 0, 0), .why = IOCTL_OBSOLETE },
	{ ROW(KVM_REINJECT_CONTROL, M, M) },
	{ ROW(KVM_DEASSIGN_PCI_DEVICE, 0, 0), .why = IOCTL_OBSOLETE },
	{ ROW(KVM_ASSIGN_SET_MSIX_NR, 0, 0), .why = IOCTL_OBSOLETE },
	{ ROW(KVM_ASSIGN_SET_MSIX_ENTRY, 0, 0), .why = IOCTL_OBSOLETE },
	{ ROW(KVM_DEASSIGN_DEV_IRQ, 0, 0), .why = IOCTL_OBSOLETE },
	{ ROW(KVM_IRQFD, M, M) },
	{ ROW(KVM_CREATE_PIT2, M, M) },
	{ ROW(KVM_SET_BOOT_CPU_ID, M, M) },
	{ ROW(KVM_IOEVENTFD, M, M) },
	{ ROW(KVM_XEN_HVM_CONFIG, M, 0), CAP(KVM_CAP_XEN_HVM) },
	{ ROW(KVM_SET_CLOCK, M, M) },
	{ ROW(KVM_GET_CLOCK, M, M) },

	{ ROW(KVM_RUN, C, C) },
	{ ROW(KVM_GET_REGS, C, C) },
	{ ROW(KVM_SET_REGS, C, C) },
	{ ROW(KVM_GET_SREGS, C, C) },
	{ ROW(KVM_SET_SREGS, C, C) },
	{ ROW(KVM_TRANSLATE, C, C) },
	{ ROW(KVM_INTERRUPT, C, C) },
	{ ROW(KVM_DEBUG_GUEST, 0, 0), .why = IOCTL_OBSOLETE },
	{ ROW(KVM_GET_MSRS, D | C, D | C) },
	{ ROW(KVM_SET_MSRS, C, C) },
	{ ROW(KVM_SET_CPUID, C, C) },
	{ ROW(KVM_SET_SIGNAL_MASK, C, C) },
	{ ROW(KVM_GET_FPU, C, C) },
	{ ROW(KVM_SET_FPU, C, C) },
	{ ROW(KVM_GET_LAPIC, C, C) },
	{ ROW(KVM_SET_LAPIC, C, C) },
	{ ROW(KVM_SET_CPUID2, C, C) },
	{ ROW(KVM_GET_CPUID2, C, C) },
	{ ROW(KVM_TPR_ACCESS_REPORTING, C, C) },
	{ ROW(KVM_SET_VAPIC_ADDR, C, C) },
	{ ROW(KVM_GET_MP_STATE, C, C) },
	{ ROW(KVM_SET_MP_STATE, C, C) },
	{ ROW(KVM_NMI, C, C) },
	{ ROW(KVM_SET_GUEST_DEBUG, C, C) },
	{ ROW(KVM_X86_SETUP_MCE, C, C) },
	{ ROW(KVM_X86_GET_MCE_CAP_SUPPORTED, D, D) },
	{ ROW(KVM_X86_SET_MCE, C, C) },
	{ ROW(KVM_GET_PIT2, M, M) },
	{ ROW(KVM_GET_VCPU_EVENTS, C, C) },
	{ ROW(KVM_SET_PIT2, M, M) },
	{ ROW(KVM_SET_VCPU_EVENTS, C, C) },
	{ ROW(KVM_GET_DEBUGREGS, C, C) },
	{ ROW(KVM_SET_DEBUGREGS, C, C) },
	{ ROW(KVM_SET_TSC_KHZ, M | C, M | C) },
	{ ROW(KVM_GET_TSC_KHZ, M | C, M | C) },
	{ ROW(KVM_ENABLE_CAP, M | C, M | C) },
	{ ROW(KVM_ASSIGN_SET_INTX_MASK, 0, 0), .why = IOCTL_OBSOLETE },
	{ ROW(KVM_GET_XSAVE, C, C) },
	{ ROW(KVM_SIGNAL_MSI, M, M) },
	{ ROW(KVM_SET_XSAVE, C, C) },
	{ ROW(KVM_GET_XCRS, C, C) },
	{ ROW(KVM_SET_XCRS, C, C) },
	{ ROW(KVM_GET_ONE_REG, C, 0), CAP(KVM_CAP_ONE_REG) },
	{ ROW(KVM_SET_ONE_REG, C, 0), CAP(KVM_CAP_ONE_REG) },
	{ ROW(KVM_KVMCLOCK_CTRL, C, C) },
	{ ROW(KVM_GET_REG_LIST, C, 0), CAP(KVM_CAP_ONE_REG) },
	{ ROW(KVM_SET_PMU_EVENT_FILTER, M, 0), CAP(KVM_CAP_PMU_EVENT_FILTER) },
	{ ROW(KVM_SMI, C, 0), WITHOUT(ENOTTY), CAP(KVM_CAP_X86_SMM) },
	{ ROW(KVM_MEMORY_ENCRYPT_OP, M, 0), .why = "of SEV and TDX alone" },
	{ ROW(KVM_MEMORY_ENCRYPT_REG_REGION, M, 0), READS(sizeof(struct kvm_enc_region)),
	  WITHOUT(ENOTTY), .why = "of SEV alone" },
	{ ROW(KVM_MEMORY_ENCRYPT_UNREG_REGION, M, 0), READS(sizeof(struct kvm_enc_region)),
	  WITHOUT(ENOTTY), .why = "of SEV alone" },
	{ ROW(KVM_HYPERV_EVENTFD, M, 0), CAP(KVM_CAP_HYPERV_EVENTFD) },
	{ ROW(KVM_GET_NESTED_STATE, C, 0), CAP(KVM_CAP_NESTED_STATE) },
	{ ROW(KVM_SET_NESTED_STATE, C, 0), CAP(KVM_CAP_NESTED_STATE) },
	{ ROW(KVM_CLEAR_DIRTY_LOG, M, M) },
	{ ROW(KVM_GET_SUPPORTED_HV_CPUID, D | C, 0), CAP(KVM_CAP_HYPERV_CPUID) },
	{ ROW(KVM_X86_SET_MSR_FILTER, M, M) },
	{ ROW(KVM_RESET_DIRTY_RINGS, M, 0), WITHOUT(EINVAL), CAP(KVM_CAP_DIRTY_LOG_RING) },
	{ ROW(KVM_XEN_HVM_GET_ATTR, M, 0), CAP(KVM_CAP_XEN_HVM) },
	{ ROW(KVM_XEN_HVM_SET_ATTR, M, 0), CAP(KVM_CAP_XEN_HVM) },
	{ ROW(KVM_XEN_VCPU_GET_ATTR, C, 0), CAP(KVM_CAP_XEN_HVM) },
	{ ROW(KVM_XEN_VCPU_SET_ATTR, C, 0), CAP(KVM_CAP_XEN_HVM) },
	{ ROW(KVM_GET_SREGS2, C, C), SINCE(5, 14) },
	{ ROW(KVM_SET_SREGS2, C, C), SINCE(5, 14) },
	{ ROW(KVM_GET_STATS_FD, M | C, M | C), SINCE(5, 14) },
	{ ROW(KVM_GET_XSAVE2, C, C), SINCE(5, 17) },
	{ ROW(KVM_XEN_HVM_EVTCHN_SEND, M, 0), CAP(KVM_CAP_XEN_HVM), SINCE(5, 18) },
	{ .request = _IOW(KVMIO, 0xd2, uint64_t[4]),
	  .name = "KVM_SET_MEMORY_ATTRIBUTES",
	  .on = M,
	  .here = 0,
	  CAP(KVM_CAP_MEMORY_ATTRIBUTES),
	  SINCE(6, 8) },
	{ .request = _IOWR(KVMIO, 0xd4, uint64_t[8]),
	  .name = "KVM_CREATE_GUEST_MEMFD",
	  .on = M,
	  .here = 0,
	  CAP(KVM_CAP_GUEST_MEMFD),
	  SINCE(6, 8) },
	{ .request = _IOWR(KVMIO, 0xd5, uint64_t[8]),
	  .name = "KVM_PRE_FAULT_MEMORY",
	  .on = C,
	  .here = 0,
	  READS(64),
	  CAP(KVM_CAP_PRE_FAULT_MEMORY),
	  SINCE(6, 11) },
	{ ROW(KVM_CREATE_DEVICE, M, 0), READS(sizeof(struct kvm_create_device)), WITHOUT(ENODEV),
	  CAP(KVM_CAP_DEVICE_CTRL) },
	{ ROW(KVM_SET_DEVICE_ATTR, C, C) },
	{ ROW(KVM_GET_DEVICE_ATTR, D | C, D | C) },
	{ ROW(KVM_HAS_DEVICE_ATTR, D | C, D | C) },
};
const size_t ioctl_table_size = sizeof(ioctl_table) / sizeof(ioctl_table[0]);

/* Other architectures' numbers, whose arguments have no size here: unknown to an x86 kernel. */
#define N(nr)      _IOC_NONE, nr
#define R(nr)      _IOC_READ, nr
#define W(nr)      _IOC_WRITE, nr
#define RW(number) .direction = _IOC_READ | _IOC_WRITE, .nr = number
const struct ioctl_foreign ioctl_foreign[] = {
	{ N(0x06), .name = "KVM_S390_ENABLE_SIE", .architecture = "s390" },
	{ W(0x50), .name = "KVM_S390_UCAS_MAP", .architecture = "s390" },
	{ W(0x51), .name = "KVM_S390_UCAS_UNMAP", .architecture = "s390" },
	{ W(0x52), .name = "KVM_S390_VCPU_FAULT", .architecture = "s390" },
	{ W(0x94), .name = "KVM_S390_INTERRUPT", .architecture = "s390" },
	{ W(0x95), .name = "KVM_S390_STORE_STATUS", .architecture = "s390" },
	{ W(0x96), .name = "KVM_S390_SET_INITIAL_PSW", .architecture = "s390" },
	{ N(0x97), .name = "KVM_S390_INITIAL_RESET", .architecture = "s390" },
	{ W(0xa1), .name = "KVM_PPC_GET_PVINFO", .architecture = "powerpc" },
	{ R(0xa6), .name = "KVM_PPC_GET_SMMU_INFO", .architecture = "powerpc" },
	{ RW(0xa7), .name = "KVM_PPC_ALLOCATE_HTAB", .architecture = "powerpc" },
	{ W(0xa8), .name = "KVM_CREATE_SPAPR_TCE", .architecture = "powerpc" },
	{ W(0xa8), .name = "KVM_CREATE_SPAPR_TCE_64", .architecture = "powerpc" },
	{ R(0xa9), .name = "KVM_ALLOCATE_RMA", .architecture = "powerpc" },
	{ W(0xaa), .name = "KVM_DIRTY_TLB", .architecture = "arm64" },
	{ W(0xaa), .name = "KVM_PPC_GET_HTAB_FD", .architecture = "powerpc" },
	{ W(0xab), .name = "KVM_ARM_SET_DEVICE_ADDR", .architecture = "arm64" },
	{ W(0xac), .name = "KVM_PPC_RTAS_DEFINE_TOKEN", .architecture = "powerpc" },
	{ R(0xad), .name = "KVM_PPC_RESIZE_HPT_PREPARE", .architecture = "powerpc" },
	{ W(0xae), .name = "KVM_ARM_VCPU_INIT", .architecture = "arm64" },
	{ R(0xae), .name = "KVM_PPC_RESIZE_HPT_COMMIT", .architecture = "powerpc" },
	{ R(0xaf), .name = "KVM_ARM_PREFERRED_TARGET", .architecture = "arm64" },
	{ W(0xaf), .name = "KVM_PPC_CONFIGURE_V3_MMU", .architecture = "powerpc" },
	{ W(0xb0), .name = "KVM_PPC_GET_RMMU_INFO", .architecture = "powerpc" },
	{ R(0xb1), .name = "KVM_PPC_GET_CPU_CHAR", .architecture = "powerpc" },
	{ W(0xb1), .name = "KVM_S390_MEM_OP", .architecture = "s390" },
	{ W(0xb2), .name = "KVM_S390_GET_SKEYS", .architecture = "s390" },
	{ N(0xb3), .name = "KVM_PPC_SVM_OFF", .architecture = "powerpc" },
	{ W(0xb3), .name = "KVM_S390_SET_SKEYS", .architecture = "s390" },
	{ R(0xb4), .name = "KVM_ARM_MTE_COPY_TAGS", .architecture = "arm64" },
	{ W(0xb4), .name = "KVM_S390_IRQ", .architecture = "s390" },
	{ W(0xb5), .name = "KVM_ARM_SET_COUNTER_OFFSET", .architecture = "arm64",
	  .since = KERNEL(6, 4, 0) },
	{ W(0xb5), .name = "KVM_S390_SET_IRQ_STATE", .architecture = "s390" },
	{ R(0xb6), .name = "KVM_ARM_GET_REG_WRITABLE_MASKS", .architecture = "arm64",
	  .since = KERNEL(6, 7, 0) },
	{ W(0xb6), .name = "KVM_S390_GET_IRQ_STATE", .architecture = "s390" },
	{ RW(0xb8), .name = "KVM_S390_GET_CMMA_BITS", .architecture = "s390" },
	{ W(0xb9), .name = "KVM_S390_SET_CMMA_BITS", .architecture = "s390" },
	{ W(0xc2), .name = "KVM_ARM_VCPU_FINALIZE", .architecture = "arm64" },
	{ N(0xc3), .name = "KVM_S390_NORMAL_RESET", .architecture = "s390" },
	{ N(0xc4), .name = "KVM_S390_CLEAR_RESET", .architecture = "s390" },
	{ RW(0xc5), .name = "KVM_S390_PV_COMMAND", .architecture = "s390" },
	{ RW(0xd0), .name = "KVM_S390_PV_CPU_COMMAND", .architecture = "s390" },
	{ W(0xd1), .name = "KVM_S390_ZPCI_OP", .architecture = "s390" },
};
/* clang-format on */
const size_t ioctl_foreign_size = sizeof(ioctl_foreign) / sizeof(ioctl_foreign[0]);

const struct ioctl_info *ioctl_find(unsigned long request)
{
	for (size_t i = 0; i < ioctl_table_size; i++) {
		if (ioctl_table[i].request == request)
			return &ioctl_table[i];
	}
	return NULL;
}

bool ioctl_is_newer(unsigned long request)
{
	const struct ioctl_info *info;

	if (shim_config.profile.kernel >= IOCTL_NEWEST) /* no need to look */
		return false;
	info = ioctl_find(request);
	return info && info->since > shim_config.profile.kernel;
}

const char *ioctl_name(unsigned long request)
{
	const struct ioctl_info *info = ioctl_find(request);

	if (info)
		return info->name;
	for (size_t i = 0; i < ioctl_foreign_size; i++) {
		const struct ioctl_foreign *f = &ioctl_foreign[i];

		if (_IOC_TYPE(request) == KVMIO && _IOC_NR(request) == f->nr &&
		    _IOC_DIR(request) == f->direction)
			return f->name;
	}
	return NULL;
}

static const char *const descriptor_names[] = {
	[SHIM_DEVICE] = "/dev/kvm",
	[SHIM_VM] = "VM",
	[SHIM_VCPU] = "vCPU",
};

/* The last default: of kvm_arch_dev_ioctl(), kvm_arch_vm_ioctl(), kvm_arch_vcpu_ioctl(). */
int ioctl_default_error(enum shim_kind kind)
{
	return kind == SHIM_VM ? -ENOTTY : -EINVAL;
}

long ioctl_refuse(enum shim_kind kind, unsigned long request, unsigned long argument)
{
	const struct ioctl_info *info = ioctl_find(request);
	const char *name = ioctl_name(request);
	int error = ioctl_default_error(kind);
	char data[sizeof(struct kvm_irqchip)];

	if (info && info->on & 1u << kind && info->since <= shim_config.profile.kernel) {
		if (info->reads && user_read(data, argument, info->reads))
			return -EFAULT;
		if (info->error)
			error = info->error;
	}
	log_debug("%s (%#lx) on the %s descriptor is not emulated: answered as by a kernel without "
		  "it, error %d (docs/ioctls.md)",
		  name ? name : "unknown ioctl", request, descriptor_names[kind], -error);
	return error;
}
