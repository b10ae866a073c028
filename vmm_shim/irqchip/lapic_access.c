// SPDX-License-Identifier: GPL-2.0-only
/* The ways to a local APIC: its page, its MSRs, and the monitor's ioctls. */
#include "vmm_shim/irqchip/lapic.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <string.h>
#include <x86intrin.h>

#define MSR_APIC_BASE      0x1bu
#define MSR_TSC            0x10u
#define MSR_TSC_ADJUST     0x3bu
#define MSR_TSC_DEADLINE   0x6e0u
#define MSR_X2APIC         0x800u
#define MSR_X2APIC_LAST    0x8ffu
#define CPUID_TSC_DEADLINE (1u << 24) /* leaf 1, ECX */

/* ------------------------------------------------------------------ the guest's time-stamp counter */

static uint64_t own_tsc(void)
{
	return vclock_virtual() ? vclock_cycles() : __rdtsc();
}

/* Asking the processor may wait for it: not with chip->lock, and only when somebody has written it. */
static void know_tsc(struct shim_vcpu *vcpu)
{
	struct lapic_timer *timer = &vcpu->apic->timer;
	uint64_t tsc = 0;

	if (timer->tsc_known || vcpu->ops->get_msr(vcpu->emu, MSR_TSC, &tsc, true))
		return;
	timer->tsc_offset = (int64_t)(tsc - own_tsc());
	timer->tsc_known = true;
}

void lapic_tsc_changed(struct shim_vcpu *vcpu)
{
	if (vcpu->apic)
		vcpu->apic->timer.tsc_known = false;
}

uint64_t lapic_guest_tsc(struct lapic *a)
{
	return own_tsc() + (uint64_t)a->timer.tsc_offset;
}

/* ------------------------------------------------------------------ the page */

/* kvm_lapic_reg_write() of an aligned doubleword; anything else is dropped (SDM 11.4.1). */
static void page_write(struct shim_vcpu *vcpu, unsigned offset, unsigned size, const void *data)
{
	struct lapic *a = vcpu->apic;
	uint32_t value;

	if (size != 4 || offset & 15)
		return;
	memcpy(&value, data, sizeof(value));
	lapic_lock(a->chip);
	lapic_write(a, offset, value);
	lock_drop(&a->chip->lock);
	if (offset == LAPIC_TPR)
		lapic_give_cr8(vcpu);
}

static void page_read(struct shim_vcpu *vcpu, unsigned offset, unsigned size, void *data)
{
	struct lapic *a = vcpu->apic;
	unsigned reg = offset & ~15u;

	memset(data, 0, size);
	lapic_lock(a->chip);
	if (reg == LAPIC_TPR || reg == LAPIC_PPR)
		lapic_sync_cr8(vcpu);
	lapic_read(a, offset, size, data);
	lock_drop(&a->chip->lock);
}

/* report_tpr_access(): the monitor may want to patch the instruction */
static void tell_tpr_access(struct shim_vcpu *vcpu, bool write)
{
	if (!vcpu->tpr_access_reporting)
		return;
	vcpu->run->tpr_access.rip = vcpu->exit.mmio.rip;
	vcpu->run->tpr_access.is_write = write;
	vcpu->apic->tell_tpr = true;
	lapic_look(vcpu->apic);
}

bool lapic_mmio(struct shim_vcpu *vcpu, uint64_t gpa, unsigned size, bool write, void *data)
{
	struct lapic *a = vcpu->apic;
	uint64_t offset;

	if (!a)
		return false;
	offset = gpa - (a->base & ~(PAGE_SIZE - 1));
	if (offset >= PAGE_SIZE)
		return false;
	if (!lapic_hw_enabled(a) || lapic_x2(a)) {
		if (vcpu->vm->disabled_quirks & QUIRK_LAPIC_MMIO_HOLE)
			return false;
		if (!write)
			memset(data, 0xff, size);
		return true;
	}
	if (write)
		page_write(vcpu, (unsigned)offset, size, data);
	else
		page_read(vcpu, (unsigned)offset, size, data);
	if ((offset & ~15ull) == LAPIC_TPR)
		tell_tpr_access(vcpu, write);
	return true;
}

/* ------------------------------------------------------------------ MSRs */

int lapic_set_base(struct shim_vcpu *vcpu, uint64_t base, bool host)
{
	const uint64_t mode_bits = APIC_BASE_X2 | APIC_BASE_ENABLE;
	struct emu_state state;
	uint64_t old;

	vcpu->ops->get_state(vcpu->emu, &state);
	old = state.apic_base & mode_bits;
	if (!state_valid_apic_base(vcpu, base))
		return -EINVAL;
	/* SDM figure 11-27: from x2APIC only off, to it only from xAPIC */
	if (!host && ((old == mode_bits && (base & mode_bits) == APIC_BASE_ENABLE) ||
		      (!old && (base & mode_bits) == mode_bits)))
		return -EINVAL;
	state.apic_base = base;
	vcpu->ops->set_state(vcpu->emu, &state);
	if (!vcpu->apic)
		return 0;
	lock_take(&vcpu->apic->chip->lock);
	lapic_base_changed(vcpu->apic, base);
	lock_drop(&vcpu->apic->chip->lock);
	return 0;
}

/* Asked before the guest's WRMSR of a register that the processor has. */
bool lapic_owns_write(struct shim_vcpu *vcpu, uint32_t index)
{
	if ((index == MSR_TSC || index == MSR_TSC_ADJUST) && vcpu)
		lapic_tsc_changed(vcpu);
	return index == MSR_APIC_BASE;
}

static bool is_x2(uint32_t index)
{
	return index >= MSR_X2APIC && index <= MSR_X2APIC_LAST;
}

int lapic_get_msr(struct shim_vcpu *vcpu, uint32_t index, uint64_t *value)
{
	struct lapic *a = vcpu->apic;
	int r = 0;

	if (index != MSR_TSC_DEADLINE && !is_x2(index))
		return -ENOENT;
	*value = 0;
	if (!a)
		return is_x2(index) ? -EINVAL : 0;
	lapic_lock(a->chip);
	if (index == MSR_TSC_DEADLINE) {
		*value = lapic_timer_deadline(a);
	} else {
		lapic_sync_cr8(vcpu);
		r = lapic_read_msr(a, index, value);
	}
	lock_drop(&a->chip->lock);
	return r;
}

static int set_x2_msr(struct shim_vcpu *vcpu, uint32_t index, uint64_t value)
{
	struct lapic *a = vcpu->apic;
	int r;

	lapic_lock(a->chip);
	r = lapic_write_msr(a, index, value);
	lock_drop(&a->chip->lock);
	if (index == MSR_X2APIC + LAPIC_TPR / 16 && !r)
		lapic_give_cr8(vcpu);
	return r;
}

int lapic_set_msr(struct shim_vcpu *vcpu, uint32_t index, uint64_t value, bool host)
{
	struct lapic *a = vcpu->apic;

	if (lapic_owns_write(vcpu, index))
		return lapic_set_base(vcpu, value, host);
	if (is_x2(index))
		return a ? set_x2_msr(vcpu, index, value) : -EINVAL;
	if (index != MSR_TSC_DEADLINE)
		return -ENOENT;
	if (!a)
		return 0;
	know_tsc(vcpu);
	lapic_lock(a->chip);
	lapic_timer_set_deadline(a, value);
	lock_drop(&a->chip->lock);
	return 0;
}

/* kvm_vcpu_after_set_cpuid(): the timer's modes are those that the guest is shown */
void lapic_cpuid_changed(struct shim_vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 *leaf = cpuid_find(vcpu, 1, 0);

	if (!leaf)
		return;
	lock_take(&vcpu->apic->chip->lock);
	lapic_features(vcpu->apic, leaf->ecx & CPUID_TSC_DEADLINE);
	lock_drop(&vcpu->apic->chip->lock);
}

/* ------------------------------------------------------------------ ioctls */

static long get_lapic(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_lapic_state state;

	lapic_lock(vcpu->apic->chip);
	lapic_sync_cr8(vcpu);
	lapic_get_state(vcpu->apic, &state);
	lock_drop(&vcpu->apic->chip->lock);
	return user_write(argument, &state, sizeof(state));
}

static long set_lapic(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_lapic_state state;
	int r;

	if (user_read(&state, argument, sizeof(state)))
		return -EFAULT;
	know_tsc(vcpu);
	lapic_lock(vcpu->apic->chip);
	r = lapic_set_state(vcpu->apic, &state);
	lock_drop(&vcpu->apic->chip->lock);
	lapic_give_cr8(vcpu);
	return r;
}

static long set_vapic(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_vapic_addr k;
	uint64_t host;

	if (user_read(&k, argument, sizeof(k)))
		return -EFAULT;
	if (k.vapic_addr && memory_host(vcpu->vm, k.vapic_addr, sizeof(uint32_t), &host))
		return -EINVAL;
	vcpu->apic->vapic = k.vapic_addr;
	return 0;
}

long irqchip_vcpu_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument)
{
	if (request != KVM_GET_LAPIC && request != KVM_SET_LAPIC && request != KVM_SET_VAPIC_ADDR)
		return -ENOTTY;
	if (!vcpu->apic)
		return -EINVAL;
	switch (request) {
	case KVM_GET_LAPIC:
		return get_lapic(vcpu, argument);
	case KVM_SET_LAPIC:
		return set_lapic(vcpu, argument);
	default:
		return set_vapic(vcpu, argument);
	}
}

int lapic_enable_cap(struct shim_vm *vm, const struct kvm_enable_cap *cap)
{
	struct irqchip *chip = vm->irqchip;
	uint64_t value = cap->args[0], unused;
	int r = 0;

	if (cap->cap == KVM_CAP_X2APIC_API) {
		if (value & ~(uint64_t)(KVM_X2APIC_API_USE_32BIT_IDS |
					KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK))
			return -EINVAL;
		lock_take(&chip->lock);
		chip->x2apic_format |= value & KVM_X2APIC_API_USE_32BIT_IDS;
		chip->x2apic_exact_broadcast |= value & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
		lock_drop(&chip->lock);
		return 0;
	}
	/* KVM_CAP_X86_APIC_BUS_CYCLES_NS: the longest count must be a number of nanoseconds */
	if (!value || __builtin_mul_overflow((uint64_t)UINT32_MAX * 128, value, &unused))
		return -EINVAL;
	lock_take(&vm->lock);
	if (irqchip_mode(vm) == IRQCHIP_NONE)
		r = -ENXIO;
	else if (vm->vcpus)
		r = -EINVAL;
	else
		chip->bus_cycle_ns = value;
	lock_drop(&vm->lock);
	return r;
}
