// SPDX-License-Identifier: GPL-2.0-only
/* vCPUs: creation, end, and their ioctls (kvm_vcpu_ioctl(), kvm_arch_vcpu_ioctl()). */
#include "traces/report.h"
#include "traces/trace.h"
#include "vmm_shim/internal.h"
#include "vmm_shim/irqchip/lapic.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ------------------------------------------------------------------ memory of vCPU objects */

/*
 * shim_file_get() tries a reference on a pointer that may be out of date (file.c), so the memory of a
 * vCPU stays that of a vCPU for ever: freed ones wait here for the next.
 */
static struct shim_lock spare_lock;
static struct spare {
	struct spare *next;
	struct shim_vcpu *vcpu;
} * spares;

static struct shim_vcpu *object_new(void)
{
	struct shim_vcpu *vcpu = NULL;
	struct spare *s;

	lock_take(&spare_lock);
	s = spares;
	if (s)
		spares = s->next;
	lock_drop(&spare_lock);
	if (!s)
		return calloc(1, sizeof(*vcpu));
	vcpu = s->vcpu;
	free(s);
	/* The count stays zero throughout: nobody who still looks at it gets a reference. */
	memset((char *)vcpu + sizeof(vcpu->file), 0, sizeof(*vcpu) - sizeof(vcpu->file));
	return vcpu;
}

/* Threads of the parent do not exist here: neither who held the lock nor who ran a vCPU. */
void vcpus_after_fork(void)
{
	unsigned n = atomic_load(&shim_vcpu_slots);

	atomic_store(&spare_lock.state, 0);
	for (unsigned i = 0; i < n; i++) {
		struct shim_vcpu *vcpu = atomic_load(&shim_vcpus[i]);

		if (vcpu)
			atomic_store(&vcpu->runner, 0);
	}
}

static void object_free(struct shim_vcpu *vcpu)
{
	struct spare *s = malloc(sizeof(*s));

	if (!s)
		return; /* lost, but safe */
	s->vcpu = vcpu;
	lock_take(&spare_lock);
	s->next = spares;
	spares = s;
	lock_drop(&spare_lock);
}

/* ------------------------------------------------------------------ KVM_CREATE_VCPU */

static int registry_add(struct shim_vcpu *vcpu)
{
	for (unsigned i = 0; i < SHIM_MAX_VCPUS; i++) {
		struct shim_vcpu *none = NULL;
		unsigned slots = atomic_load(&shim_vcpu_slots);

		if (!atomic_compare_exchange_strong(&shim_vcpus[i], &none, vcpu))
			continue;
		while (slots < i + 1 &&
		       !atomic_compare_exchange_weak(&shim_vcpu_slots, &slots, i + 1))
			;
		return 0;
	}
	return -ENOMEM;
}

static void registry_remove(struct shim_vcpu *vcpu)
{
	for (unsigned i = 0; i < SHIM_MAX_VCPUS; i++) {
		struct shim_vcpu *expected = vcpu;

		if (atomic_compare_exchange_strong(&shim_vcpus[i], &expected, NULL))
			break;
	}
	readers_wait();
}

void vcpu_destroy(struct shim_vcpu *vcpu)
{
	registry_remove(vcpu);
	host_remove_vcpu(vcpu);
	lapic_free(vcpu);
	if (vcpu->emu)
		vcpu->ops->vcpu_destroy(vcpu->emu);
	if (vcpu->run) /* the monitor's own mapping stays valid without us */
		munmap(vcpu->run, 3 * PAGE_SIZE);
	msr_store_free(vcpu);
	free(vcpu->cpuid);
	stats_free(&vcpu->stats);
	object_free(vcpu);
}

/* kvm_vcpu_release(): the vCPU itself, and its number, stay with the VM. */
void vcpu_released(struct shim_vcpu *vcpu)
{
	shim_file_put(&vcpu->vm->file);
}

void vcpu_latch_bus_lock(struct shim_vcpu *vcpu)
{
	bool on = atomic_load(&vcpu->vm->bus_lock_detection);

	if (shim_config.options.fault == SHIM_FAULT_NO_EXIT)
		on = false;
	if (shim_config.options.fault == SHIM_FAULT_UNASKED)
		on = true;
	vcpu->ops->set_bus_lock_exiting(vcpu->emu, on);
	vcpu->ops->set_bus_lock_counter(vcpu->emu, 0);
}

/* What RESET does to it: kvm_arch_vcpu_create(), kvm_vcpu_reset(). */
static int prepare(struct shim_vcpu *vcpu)
{
	struct backend_brief brief;
	struct emu_state state;
	int r = vcpu->ops->vcpu_create(vcpu->vm->emu, &vcpu->emu);

	if (!r)
		r = msr_store_new(vcpu);
	if (!r)
		r = registry_add(vcpu);
	if (r)
		return r;
	vcpu->ops->get_state(vcpu->emu, &state);
	state.apic_base = 0xfee00000 | 1ull << 11; /* SDM 11.4.4: enabled, BSP bit for the one */
	if (vcpu->id == vcpu->vm->boot_cpu_id)
		state.apic_base |= 1ull << 8;
	r = vcpu->ops->set_state(vcpu->emu, &state);
	if (!r)
		r = fpu_reset(vcpu);
	if (r)
		return r;
	host_add_vcpu(vcpu);
	vcpu_latch_bus_lock(vcpu);
	vcpu->ops->get_brief(vcpu->emu, &brief);
	vcpu->cr8 = brief.cr8;
	vcpu->tsc_khz = vcpu->vm->tsc_khz;
	tsc_synchronize(vcpu, 0, false); /* kvm_arch_vcpu_postcreate() */
	vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	if (irqchip_mode(vcpu->vm) == IRQCHIP_NONE)
		return 0;
	/* kvm_arch_vcpu_postcreate(): all but one wait for INIT and SIPI */
	if (vcpu->id != vcpu->vm->boot_cpu_id)
		vcpu->mp_state = KVM_MP_STATE_UNINITIALIZED;
	return lapic_create(vcpu);
}

static int check_and_count(struct shim_vm *vm, unsigned long id)
{
	unsigned max_id = EMU_MAX_VCPUS * ABI_VCPU_ID_RATIO;

	if (id >= max_id)
		return -EINVAL;
	if (vm->vcpus >= EMU_MAX_VCPUS)
		return -EINVAL;
	/* kvm_arch_vcpu_precreate() fixes the limit with the first vCPU */
	if (!vm->max_vcpu_id)
		vm->max_vcpu_id = max_id;
	if (id >= vm->max_vcpu_id)
		return -EINVAL;
	for (unsigned i = 0; i < vm->vcpus; i++) {
		if (vm->vcpu[i]->id == id)
			return -EEXIST;
	}
	return 0;
}

static int create_locked(struct shim_vm *vm, unsigned long id)
{
	struct shim_vcpu *vcpu;
	char name[32];
	void *map;
	int r = check_and_count(vm, id);

	if (r)
		return r;
	vcpu = object_new();
	if (!vcpu)
		return -ENOMEM;
	vcpu->vm = vm;
	vcpu->ops = vm->ops;
	vcpu->id = (unsigned)id;
	stats_new(&vcpu->stats);
	vcpu->index = vm->vcpus;
	r = prepare(vcpu);
	if (!r) {
		snprintf(name, sizeof(name), "kvm-vcpu:%lu", id);
		r = file_open(&vcpu->file, SHIM_VCPU, name, O_CLOEXEC, 3 * PAGE_SIZE, &map);
	}
	if (r < 0) {
		vcpu_destroy(vcpu);
		return r;
	}
	file_get(&vm->file);
	vcpu->run = map;
	vcpu->pio = (uint8_t *)map + ABI_PIO_PAGE_OFFSET * PAGE_SIZE;
	vm->vcpu[vm->vcpus++] = vcpu;
	if (shim_config.options.report)
		atomic_fetch_add(&shim_config.options.report->vcpus, 1);
	trace_note_vcpu_created(shim_config.options.trace, vm->number, vcpu->index, vcpu->id);
	return r;
}

int vcpu_create(struct shim_vm *vm, unsigned long id)
{
	int r;

	lock_take(&vm->lock);
	r = create_locked(vm, id);
	lock_drop(&vm->lock);
	return r;
}

/* ------------------------------------------------------------------ small ioctls */

static long set_signal_mask(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_signal_mask header;
	kernel_sigset set;

	if (!argument) {
		vcpu->sigset_active = false;
		return 0;
	}
	if (user_read(&header, argument, sizeof(header)))
		return -EFAULT;
	if (header.len != sizeof(set))
		return -EINVAL;
	if (user_read(&set, argument + sizeof(header), sizeof(set)))
		return -EFAULT;
	vcpu->sigset = set & ~(SIGNAL_BIT(SIGKILL) | SIGNAL_BIT(SIGSTOP));
	vcpu->sigset_active = true;
	return 0;
}

static long tpr_access_reporting(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_tpr_access_ctl k;

	if (user_read(&k, argument, sizeof(k)))
		return -EFAULT;
	if (k.flags)
		return -EINVAL;
	/* only accesses of an APIC that is here are ever reported */
	vcpu->tpr_access_reporting = k.enabled;
	return user_write(argument, &k, sizeof(k));
}

/* kvm_vcpu_ioctl_enable_cap(): of its capabilities one exists here; 193 never was one */
static long enable_cap(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_enable_cap cap;

	if (user_read(&cap, argument, sizeof(cap)))
		return -EFAULT;
	if (cap.cap == KVM_CAP_ENFORCE_PV_FEATURE_CPUID && !cap.flags) {
		vcpu->pv.enforce = cap.args[0];
		return 0;
	}
	log_debug("KVM_ENABLE_CAP: capability %u is not one of a vCPU%s", cap.cap,
		  cap.cap == KVM_CAP_X86_BUS_LOCK_EXIT ? " (it is for the VM descriptor)" : "");
	return -EINVAL;
}

/* ------------------------------------------------------------------ all of them */

static long small_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument)
{
	long r = irqchip_vcpu_ioctl(vcpu, request, argument);

	if (r != -ENOTTY)
		return r;
	switch (request) {
	case KVM_SET_SIGNAL_MASK:
		return set_signal_mask(vcpu, argument);
	case KVM_TPR_ACCESS_REPORTING:
		return tpr_access_reporting(vcpu, argument);
	case KVM_SET_TSC_KHZ:
		return time_set_tsc_khz(vcpu, (uint32_t)argument);
	case KVM_GET_TSC_KHZ:
		return vcpu->tsc_khz;
	case KVM_KVMCLOCK_CTRL:
		return pvclock_paused(vcpu);
	case KVM_GET_STATS_FD:
		return stats_vcpu_fd(vcpu);
	case KVM_HAS_DEVICE_ATTR:
	case KVM_GET_DEVICE_ATTR:
	case KVM_SET_DEVICE_ATTR:
		return tsc_attr_ioctl(vcpu, request, argument);
	case KVM_ENABLE_CAP:
		return enable_cap(vcpu, argument);
	default:
		return ioctl_refuse(SHIM_VCPU, request, argument);
	}
}

static long locked_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument)
{
	switch (request) {
	case KVM_GET_REGS:
	case KVM_SET_REGS:
	case KVM_GET_SREGS:
	case KVM_SET_SREGS:
	case KVM_GET_SREGS2:
	case KVM_SET_SREGS2:
	case KVM_GET_DEBUGREGS:
	case KVM_SET_DEBUGREGS:
	case KVM_TRANSLATE:
		return state_ioctl(vcpu, request, argument);
	case KVM_GET_FPU:
	case KVM_SET_FPU:
	case KVM_GET_XSAVE:
	case KVM_GET_XSAVE2:
	case KVM_SET_XSAVE:
	case KVM_GET_XCRS:
	case KVM_SET_XCRS:
		return fpu_ioctl(vcpu, request, argument);
	case KVM_INTERRUPT:
	case KVM_NMI:
	case KVM_SET_GUEST_DEBUG:
	case KVM_GET_MP_STATE:
	case KVM_SET_MP_STATE:
	case KVM_GET_VCPU_EVENTS:
	case KVM_SET_VCPU_EVENTS:
		return event_ioctl(vcpu, request, argument);
	case KVM_SET_CPUID:
	case KVM_SET_CPUID2:
	case KVM_GET_CPUID2:
		return cpuid_vcpu_ioctl(vcpu, request, argument);
	case KVM_GET_MSRS:
	case KVM_SET_MSRS:
	case KVM_X86_SETUP_MCE:
	case KVM_X86_SET_MCE:
		return msr_vcpu_ioctl(vcpu, request, argument);
	default:
		return small_ioctl(vcpu, request, argument);
	}
}

long vcpu_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument)
{
	long r;

	if (_IOC_TYPE(request) != KVMIO)
		return -EINVAL;
	lock_take(&vcpu->lock);
	r = locked_ioctl(vcpu, request, argument);
	lock_drop(&vcpu->lock);
	return r;
}
