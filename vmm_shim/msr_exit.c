// SPDX-License-Identifier: GPL-2.0-only
/*
 * RDMSR and WRMSR that reach the kernel: its own registers, filters (KVM_X86_SET_MSR_FILTER), and the
 * monitor's wish to see those that fail (KVM_CAP_X86_USER_SPACE_MSR). KVM api.rst 4.97, 7.21.
 */
#include "vmm_shim/internal.h"
#include "vmm_shim/irqchip/lapic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* kvm_msr_allowed() */
static bool allowed(const struct msr_filter *filter, uint32_t index, bool write)
{
	uint32_t kind = write ? KVM_MSR_FILTER_WRITE : KVM_MSR_FILTER_READ;

	if (!filter || (index >= 0x800 && index <= 0x8ff)) /* x2APIC registers can't be filtered */
		return true;
	for (unsigned i = 0; i < filter->count; i++) {
		const struct msr_filter_range *range = &filter->range[i];
		uint32_t at = index - range->base;

		if (index >= range->base && at < range->count && range->flags & kind)
			return range->bitmap[at / 8] >> at % 8 & 1;
	}
	return filter->default_allow;
}

/* Asked by the processor for each MSR that it owns. */
static bool exits(void *opaque, struct emu_vcpu *emu, uint32_t index, bool write)
{
	struct shim_vm *vm = opaque;

	(void)emu;
	if (write && lapic_owns_write(vcpu_current(), index))
		return true;
	/* To report a #GP instead of raising it, look at each access before it happens. */
	if (atomic_load_explicit(&vm->user_space_msr, memory_order_relaxed) &
	    KVM_MSR_EXIT_REASON_INVAL)
		return true;
	/* kvmclock in the guest's memory depends on the TSC's offset */
	if (write && (index == ABI_MSR_TSC || index == ABI_MSR_TSC_ADJUST) &&
	    atomic_load_explicit(&vm->clock.in_use, memory_order_relaxed))
		return true;
	return !allowed(atomic_load(&vm->msr_filter), index, write);
}

void msr_watch(struct shim_vm *vm)
{
	vm->ops->set_msr_filter(vm->emu, exits, vm);
}

static void free_filter(struct msr_filter *filter)
{
	for (unsigned i = 0; i < filter->count; i++)
		free(filter->range[i].bitmap);
	free(filter);
}

void msr_filter_free(struct shim_vm *vm)
{
	struct msr_filter *filter = atomic_load(&vm->msr_filter), *before;

	for (; filter; filter = before) {
		before = filter->before;
		free_filter(filter);
	}
}

/* kvm_add_msr_filter() */
static int add_range(struct msr_filter *filter, const struct kvm_msr_filter_range *given)
{
	struct msr_filter_range *range = &filter->range[filter->count];
	size_t size = (given->nmsrs + 63ull) / 64 * 8;

	if (!given->nmsrs)
		return 0;
	if (!given->flags ||
	    given->flags & ~(uint32_t)(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE) ||
	    size > KVM_MSR_FILTER_MAX_BITMAP_SIZE)
		return -EINVAL;
	range->bitmap = malloc(size);
	if (!range->bitmap)
		return -ENOMEM;
	if (user_read(range->bitmap, (uintptr_t)given->bitmap, size)) {
		free(range->bitmap);
		return -EFAULT;
	}
	range->flags = given->flags;
	range->base = given->base;
	range->count = given->nmsrs;
	filter->count++;
	return 0;
}

static int make_filter(const struct kvm_msr_filter *given, struct msr_filter **result)
{
	struct msr_filter *filter;
	bool empty = true;
	int r = 0;

	if (given->flags & ~(uint32_t)KVM_MSR_FILTER_DEFAULT_DENY)
		return -EINVAL;
	for (unsigned i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++)
		empty &= !given->ranges[i].nmsrs;
	if (empty && given->flags & KVM_MSR_FILTER_DEFAULT_DENY)
		return -EINVAL;
	filter = calloc(1, sizeof(*filter));
	if (!filter)
		return -ENOMEM;
	filter->default_allow = !(given->flags & KVM_MSR_FILTER_DEFAULT_DENY);
	for (unsigned i = 0; i < KVM_MSR_FILTER_MAX_RANGES && !r; i++)
		r = add_range(filter, &given->ranges[i]);
	if (r)
		free_filter(filter);
	else
		*result = filter;
	return r;
}

long msr_filter_ioctl(struct shim_vm *vm, unsigned long argument)
{
	struct msr_filter *filter = NULL;
	struct kvm_msr_filter given;
	int r;

	if (user_read(&given, argument, sizeof(given)))
		return -EFAULT;
	r = make_filter(&given, &filter);
	if (r)
		return r;
	/* vCPUs may be looking at the old one: it stays until the VM goes. */
	lock_take(&vm->lock);
	filter->before = atomic_load(&vm->msr_filter);
	atomic_store(&vm->msr_filter, filter);
	lock_drop(&vm->lock);
	return 0;
}

/* ------------------------------------------------------------------ exits */

/* kvm_msr_user_space() */
static bool to_monitor(struct shim_vcpu *vcpu, const struct emu_exit *exit, uint32_t reason,
		       bool write)
{
	struct kvm_run *run = vcpu->run;

	if (!(atomic_load(&vcpu->vm->user_space_msr) & reason))
		return false;
	run->exit_reason = write ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR;
	run->msr.error = 0;
	memset(run->msr.pad, 0, sizeof(run->msr.pad));
	run->msr.reason = reason;
	run->msr.index = exit->msr.index;
	run->msr.data = write ? *exit->msr.value : 0;
	vcpu->pending = write ? PENDING_WRMSR : PENDING_RDMSR;
	return true;
}

int msr_exit(struct shim_vcpu *vcpu, struct emu_exit *exit)
{
	bool write = exit->type == EMU_EXIT_WRMSR;
	uint32_t index = exit->msr.index, reason;
	int r;

	if (!allowed(atomic_load(&vcpu->vm->msr_filter), index, write)) {
		reason = KVM_MSR_EXIT_REASON_FILTER;
	} else {
		r = write ? msr_set(vcpu, index, *exit->msr.value, false)
			  : msr_get(vcpu, index, exit->msr.value, false);
		if (!r) {
			*exit->msr.error = false;
			return 1;
		}
		reason = r == -ENOENT ? KVM_MSR_EXIT_REASON_UNKNOWN : KVM_MSR_EXIT_REASON_INVAL;
	}
	if (to_monitor(vcpu, exit, reason, write))
		return 0;
	log_debug("MSR %#x: the guest's %s raises #GP", index, write ? "WRMSR" : "RDMSR");
	*exit->msr.error = true;
	return 1;
}

/* complete_fast_rdmsr(), complete_fast_msr_access() */
void msr_answered(struct shim_vcpu *vcpu, struct emu_exit *exit)
{
	*exit->msr.error = vcpu->run->msr.error != 0;
	if (vcpu->pending == PENDING_RDMSR)
		*exit->msr.value = vcpu->run->msr.data;
}
