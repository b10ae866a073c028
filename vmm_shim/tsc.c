// SPDX-License-Identifier: GPL-2.0-only
/* The guest's time-stamp counter as the monitor sets it: kvm_synchronize_tsc(), Linux 6.12. */
#include "vmm_shim/internal.h"
#include "vmm_shim/irqchip/lapic.h"

#include <errno.h>
#include <stdlib.h>

/* Whoever reckons with the counter is told. */
static void set_offset(struct shim_vcpu *vcpu, int64_t offset)
{
	vcpu->ops->set_tsc_offset(vcpu->emu, offset);
	pvclock_request(vcpu);
	lapic_tsc_changed(vcpu);
}

/*
 * Is a write of `value` meant to put the vCPU in step with the others? 0 always is; another value if it is
 * within a second of where the last one written would be now: monitors write the TSCs of their vCPUs
 * one after the other.
 */
static bool in_step(const struct vm_clock *c, uint32_t khz, uint64_t value, uint64_t now_ns)
{
	uint64_t expected, second = khz * 1000ull;

	if (!value)
		return true;
	if (!c->tsc_set)
		return false;
	expected = c->last_tsc + (uint64_t)((wide)(now_ns - c->last_ns) * khz / 1000000);
	return value < expected + second && value + second > expected;
}

void tsc_synchronize(struct shim_vcpu *vcpu, uint64_t value, bool by_monitor)
{
	struct vm_clock *c = &vcpu->vm->clock;
	uint64_t now_ns = time_boot_ns();
	int64_t offset = (int64_t)(value - pvclock_host_tsc());
	bool matched;

	lock_take(&c->lock);
	matched = in_step(c, vcpu->tsc_khz, value, now_ns) && c->last_ns;
	if (matched)
		offset = c->tsc_offset;
	c->tsc_set |= by_monitor;
	c->last_ns = now_ns;
	c->last_tsc = value;
	c->tsc_offset = offset;
	lock_drop(&c->lock);
	set_offset(vcpu, offset);
}

/* ------------------------------------------------------------------ KVM_VCPU_TSC_OFFSET */

/* Documentation/virt/kvm/devices/vcpu.rst, 4.1 */
long tsc_attr_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument)
{
	struct kvm_device_attr attr;
	uint64_t offset;

	if (user_read(&attr, argument, sizeof(attr)))
		return -EFAULT;
	if (attr.group != KVM_VCPU_TSC_CTRL)
		return -ENXIO;
	if (attr.attr != KVM_VCPU_TSC_OFFSET)
		return -ENXIO;
	switch (request) {
	case KVM_HAS_DEVICE_ATTR:
		return 0;
	case KVM_GET_DEVICE_ATTR:
		offset = (uint64_t)vcpu->ops->get_tsc_offset(vcpu->emu);
		return user_write(attr.addr, &offset, sizeof(offset));
	default:
		if (user_read(&offset, attr.addr, sizeof(offset)))
			return -EFAULT;
		lock_take(&vcpu->vm->clock.lock);
		vcpu->vm->clock.tsc_set = true;
		vcpu->vm->clock.last_ns = time_boot_ns();
		vcpu->vm->clock.last_tsc = pvclock_host_tsc() + offset;
		vcpu->vm->clock.tsc_offset = (int64_t)offset;
		lock_drop(&vcpu->vm->clock.lock);
		set_offset(vcpu, (int64_t)offset);
		return 0;
	}
}
