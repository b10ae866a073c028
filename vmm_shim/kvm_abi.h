/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * <linux/kvm.h>, plus what kernels after Debian 12's headers added to the same numbers (KVM api.rst,
 * 6.12). Everything in vmm_shim/ takes the KVM API from here.
 */
#ifndef BUSLOCK_VMM_SHIM_KVM_ABI_H
#define BUSLOCK_VMM_SHIM_KVM_ABI_H

/* The headers use zero-length and anonymous members that -Wpedantic objects to. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#pragma GCC diagnostic pop

#include <stddef.h>
#include <stdint.h>

#ifndef KVM_CAP_USER_MEMORY2 /* 6.8 */
#define KVM_CAP_USER_MEMORY2 231
#endif
#ifndef KVM_CAP_MEMORY_FAULT_INFO /* 6.8 */
#define KVM_CAP_MEMORY_FAULT_INFO 232
#endif
#ifndef KVM_CAP_MEMORY_ATTRIBUTES /* 6.8 */
#define KVM_CAP_MEMORY_ATTRIBUTES 233
#endif
#ifndef KVM_CAP_GUEST_MEMFD /* 6.8 */
#define KVM_CAP_GUEST_MEMFD 234
#endif
#ifndef KVM_CAP_VM_TYPES /* 6.8 */
#define KVM_CAP_VM_TYPES 235
#endif
#ifndef KVM_CAP_PRE_FAULT_MEMORY /* 6.11 */
#define KVM_CAP_PRE_FAULT_MEMORY 236
#endif
#ifndef KVM_CAP_X86_APIC_BUS_CYCLES_NS /* 6.11 */
#define KVM_CAP_X86_APIC_BUS_CYCLES_NS 237
#endif
#ifndef KVM_CAP_X86_GUEST_MODE /* 6.11 */
#define KVM_CAP_X86_GUEST_MODE 238
#endif
#ifndef KVM_RUN_X86_GUEST_MODE /* 6.11 */
#define KVM_RUN_X86_GUEST_MODE (1 << 2)
#endif
#ifndef KVM_EXIT_MEMORY_FAULT /* 6.8 */
#define KVM_EXIT_MEMORY_FAULT 39
#endif

/* struct kvm_userspace_memory_region2 (6.8) */
struct abi_memory_region2 {
	uint32_t slot, flags;
	uint64_t guest_phys_addr, memory_size, userspace_addr;
	uint64_t guest_memfd_offset;
	uint32_t guest_memfd, pad1;
	uint64_t pad2[14];
};
#define ABI_SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct abi_memory_region2)

#define ABI_MSR_TSC        0x10
#define ABI_MSR_TSC_ADJUST 0x3b

/* arch/x86/include/asm/kvm_host.h, 6.12 */
#define ABI_USER_MEM_SLOTS        (32767 - 3) /* three are the kernel's own */
#define ABI_MEM_MAX_NR_PAGES      ((1ull << 31) - 1)
#define ABI_MAX_CPUID_ENTRIES     256
#define ABI_MAX_MCE_BANKS         32
#define ABI_MAX_IO_MSRS           256
#define ABI_MAX_IRQ_ROUTES        4096
#define ABI_NR_INTERRUPTS         256
#define ABI_MIN_MMU_PAGES         64
#define ABI_VCPU_ID_RATIO         4
#define ABI_DIRTY_MANUAL_CAPS     (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET)
#define ABI_CLOCK_TSC_STABLE      0x2
#define ABI_CLOCK_VALID_FLAGS     0xe /* TSC_STABLE | REALTIME | HOST_TSC */
#define ABI_PIO_PAGE_OFFSET       1
#define ABI_COALESCED_PAGE_OFFSET 2
#define ABI_DR6_ACTIVE_LOW        0xffff0ff0u

#endif
