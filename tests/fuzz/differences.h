/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a real device may answer otherwise, and why. Included by program.c alone. */

/* 0 as `emulated` or `device`: a result; otherwise that -errno, or any (ANY) */
#define ANY 1
static const struct {
	unsigned long request;
	long emulated, device;
	const char *why;
} differing[] = {
	{ KVM_CHECK_EXTENSION, ANY, ANY, "what is offered differs" },
	{ KVM_ENABLE_CAP, ANY, ANY, "what is offered differs" },
	{ KVM_GET_SUPPORTED_CPUID, ANY, ANY, "as long as the list of what is offered" },
	{ KVM_GET_EMULATED_CPUID, 0, -E2BIG, "here one leaf: the processor does MOVBE and RDPID" },
	{ KVM_GET_MSR_INDEX_LIST, ANY, ANY, "as long as the list of what is offered" },
	{ KVM_GET_MSR_FEATURE_INDEX_LIST, ANY, ANY, "as long as the list of what is offered" },
	{ KVM_SET_TSC_KHZ, ANY, ANY, "the device can scale the TSC" },
	{ KVM_CREATE_VCPU, -EINVAL, 0, "the device has more IDs" },
	{ KVM_SET_BOOT_CPU_ID, -EINVAL, 0, "the device has more IDs" },
	{ KVM_MEMORY_ENCRYPT_OP, -EINVAL, -ENOTTY, "a kernel that knows TDX" },
	{ KVM_IRQFD, 0, -EBUSY, "6.18: one irqfd an eventfd in all VMs; 6.12: in each" },
};

static bool fits(long expected, long result)
{
	return expected == ANY || (expected ? result == expected : result >= 0);
}

static bool difference_known(enum shim_kind kind, unsigned long request, long emulated, long device)
{
	const struct ioctl_info *row = ioctl_find(request);

	for (size_t i = 0; i < sizeof(differing) / sizeof(differing[0]); i++) {
		if (differing[i].request == request && fits(differing[i].emulated, emulated) &&
		    fits(differing[i].device, device))
			return true;
	}
	/* not emulated: test_shim_ioctls_kvm.c compares those */
	return row && row->on & ~row->here & 1u << kind;
}
