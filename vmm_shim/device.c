// SPDX-License-Identifier: GPL-2.0-only
/* /dev/kvm: system ioctls (kvm_dev_ioctl(), kvm_arch_dev_ioctl()), and the way to all others. */
#include "vmm_shim/internal.h"

#include <errno.h>

/* kvm_x86_dev_get_attr(): KVM_CAP_SYS_ATTRIBUTES */
static long attr_ioctl(unsigned long request, unsigned long argument)
{
	struct kvm_device_attr attr;
	uint64_t xcr0;

	if (user_read(&attr, argument, sizeof(attr)))
		return -EFAULT;
	if (attr.group || attr.attr != KVM_X86_XCOMP_GUEST_SUPP)
		return -ENXIO;
	if (request == KVM_HAS_DEVICE_ATTR)
		return 0;
	xcr0 = cpuid_supported_xcr0();
	return user_write(attr.addr, &xcr0, sizeof(xcr0));
}

long device_ioctl(unsigned long request, unsigned long argument)
{
	switch (request) {
	case KVM_GET_API_VERSION:
		return argument ? -EINVAL : KVM_API_VERSION;
	case KVM_CREATE_VM:
		return vm_create(argument);
	case KVM_CHECK_EXTENSION:
		return capability_value(NULL, argument);
	case KVM_GET_VCPU_MMAP_SIZE:
		/* kvm_run, the port data, the ring of coalesced writes */
		return argument ? -EINVAL : (long)(3 * PAGE_SIZE);
	case KVM_GET_SUPPORTED_CPUID:
	case KVM_GET_EMULATED_CPUID:
		return cpuid_device_ioctl(request, argument);
	case KVM_GET_MSR_INDEX_LIST:
	case KVM_GET_MSR_FEATURE_INDEX_LIST:
	case KVM_GET_MSRS:
	case KVM_X86_GET_MCE_CAP_SUPPORTED:
		return msr_device_ioctl(request, argument);
	case KVM_HAS_DEVICE_ATTR:
	case KVM_GET_DEVICE_ATTR:
		return attr_ioctl(request, argument);
	case KVM_ENABLE_CAP:
		/* A real mistake of a real program; the kernel says no more than EINVAL. */
		log_debug("KVM_ENABLE_CAP is for the VM descriptor only (this is /dev/kvm)");
		return -EINVAL;
	default:
		return ioctl_refuse(SHIM_DEVICE, request, argument);
	}
}

static long dispatch(struct shim_file *file, unsigned long request, unsigned long argument)
{
	if (ioctl_is_newer(request))
		return ioctl_refuse(file->kind, request, argument);
	switch (file->kind) {
	case SHIM_DEVICE:
		return device_ioctl(request, argument);
	case SHIM_VM:
		return vm_ioctl((struct shim_vm *)file, request, argument);
	case SHIM_VCPU:
		return vcpu_ioctl((struct shim_vcpu *)file, request, argument);
	}
	return -EINVAL;
}

long shim_ioctl(struct shim_file *file, unsigned long request, unsigned long argument)
{
	kernel_sigset mask;
	long r;

	/* An int in the kernel: a caller's sign extension does not matter. */
	request = (unsigned int)request;
	/* kvm->mm != current->mm, before anything is looked at */
	if (file->kind != SHIM_DEVICE && !file_is_ours(file))
		return -EIO;
	if (file->kind == SHIM_VCPU && request == KVM_RUN)
		return run_vcpu((struct shim_vcpu *)file, argument);

	process_enter();
	mask = signals_block();
	files_reap();
	/* an int in the kernel: KVM_GET_TSC_KHZ of 2^32 - 1 is an EPERM */
	r = (int)dispatch(file, request, argument);
	signals_restore(mask);
	return r;
}
