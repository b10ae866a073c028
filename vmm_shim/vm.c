// SPDX-License-Identifier: GPL-2.0-only
/* A VM and its ioctls (kvm_vm_ioctl(), kvm_arch_vm_ioctl()). */
#include "traces/report.h"
#include "traces/trace.h"
#include "vmm_shim/internal.h"
#include "vmm_shim/irqchip/irqchip.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static void observe(void *opaque, struct emu_vcpu *emu, const struct emu_lock *lock)
{
	struct shim_vcpu *vcpu = vcpu_current();
	struct report *report = shim_config.options.report;
	uint64_t frame[REPORT_DEPTH];
	struct report_lock told = {
		.rip = lock->rip,
		.linear_rip = lock->linear_rip,
		.linear = lock->linear,
		.gpa = lock->gpa,
		.size = lock->size,
		.cause = (uint8_t)lock->cause, /* EMU_LOCK_ and REPORT_ have the same bits */
		.cpl = lock->cpl,
		.mode = lock->mode,
		.insn_length = lock->insn_length,
		.memory_type = lock->memory_type,
		.guest_type = lock->guest_type,
		.stuffed = (uint8_t)lock->stuffed, /* EMU_STUFFED_ and REPORT_STUFFED_, too */
		.in_delivery = lock->in_delivery,
	};

	(void)opaque;
	(void)emu;
	_Static_assert((int)EMU_LOCK_SPLIT == (int)REPORT_SPLIT, "");
	_Static_assert((int)EMU_LOCK_NON_WB == (int)REPORT_NON_WB, "");
	_Static_assert((int)EMU_LOCK_STUFFED == (int)REPORT_STUFFED, "");
	_Static_assert((int)EMU_STUFFED_BUSY == (int)REPORT_STUFFED_BUSY, "");
	memcpy(told.insn, lock->insn, sizeof(told.insn));
	if (!vcpu)
		return;
	if (shim_config.options.trace_locked && !lock->stuffed)
		trace_note_locked(shim_config.options.trace, vcpu->vm->number, vcpu->index, &told);
	if (lock->cause == EMU_LOCK_NONE)
		return;
	if (shim_config.options.fault)
		fault_bus_lock(vcpu->vm);
	if (vclock_virtual())
		vclock_bus_lock(vcpu);
	report_note_lock(report, vcpu->index, &told);
	if (report && report->stacks)
		report_note_stack(report, &told, frame, guest_backtrace(vcpu, frame, REPORT_DEPTH));
	trace_note_lock(shim_config.options.trace, vcpu->vm->number, vcpu->index, &told);
}

static int registry_add(struct shim_vm *vm)
{
	for (unsigned i = 0; i < SHIM_MAX_VMS; i++) {
		struct shim_vm *none = NULL;
		unsigned slots = atomic_load(&shim_vm_slots);

		if (!atomic_compare_exchange_strong(&shim_vms[i], &none, vm))
			continue;
		while (slots < i + 1 &&
		       !atomic_compare_exchange_weak(&shim_vm_slots, &slots, i + 1))
			;
		return 0;
	}
	return -ENOMEM;
}

static void registry_remove(struct shim_vm *vm)
{
	for (unsigned i = 0; i < SHIM_MAX_VMS; i++) {
		struct shim_vm *expected = vm;

		if (atomic_compare_exchange_strong(&shim_vms[i], &expected, NULL))
			break;
	}
	readers_wait();
}

/* Frees what is there of it. */
void vm_free(struct shim_vm *vm)
{
	registry_remove(vm);
	irqchip_stop(vm);
	for (unsigned i = 0; i < vm->vcpus; i++)
		vcpu_destroy(vm->vcpu[i]);
	if (vm->emu)
		vm->ops->vm_destroy(vm->emu);
	memory_free(vm);
	msr_filter_free(vm);
	stats_free(&vm->stats);
	irqchip_free(vm);
	free(vm);
}

static int vm_new(struct shim_vm **result)
{
	static _Atomic unsigned vms;
	struct shim_vm *vm = calloc(1, sizeof(*vm));
	int r;

	if (!vm)
		return -ENOMEM;
	vm->number = atomic_fetch_add(&vms, 1);
	vm->ops = shim_config.backend;
	vm->tsc_khz = time_tsc_khz();
	pvclock_set(vm, 0);
	stats_new(&vm->stats);
	vm->host_low = UINT64_MAX;
	r = irqchip_new(vm);
	if (!r)
		r = vm->ops->vm_create(&shim_config.options, &vm->emu);
	if (!r)
		r = memory_types_init(vm);
	if (!r)
		r = registry_add(vm);
	if (r) {
		vm_free(vm);
		return r;
	}
	/* MSRs that the processor does not have are the kernel's: msr.c */
	vm->ops->set_msr_exits(vm->emu, true);
	msr_watch(vm);
	if (shim_config.options.report || shim_config.options.trace || vclock_virtual())
		vm->ops->set_lock_observer(vm->emu, observe, vm);
	if (vclock_virtual())
		vm->ops->set_tsc_source(vm->emu, vclock_tsc, vm);
	host_add_vm(vm);
	*result = vm;
	return 0;
}

int vm_create(unsigned long type)
{
	struct shim_vm *vm;
	int fd;

	if (type) /* kvm_is_vm_type_supported(): the default type only */
		return -EINVAL;
	fd = vm_new(&vm);
	if (fd)
		return fd;
	fd = file_open(&vm->file, SHIM_VM, "kvm-vm", O_CLOEXEC, 0, NULL);
	if (fd < 0) {
		vm_free(vm);
		return fd;
	}
	if (shim_config.options.report)
		atomic_fetch_add(&shim_config.options.report->vms, 1);
	trace_note_vm_created(shim_config.options.trace, vm->number);
	return fd;
}

static long set_identity_map_addr(struct shim_vm *vm, unsigned long argument)
{
	uint64_t address;
	long r = -EINVAL;

	lock_take(&vm->lock);
	if (!vm->vcpus) {
		r = user_read(&address, argument, sizeof(address));
		if (!r)
			vm->identity_map_addr = address;
	}
	lock_drop(&vm->lock);
	return r;
}

static long set_boot_cpu_id(struct shim_vm *vm, unsigned long id)
{
	long r = 0;

	lock_take(&vm->lock);
	if (vm->vcpus)
		r = -EBUSY;
	else if (id > EMU_MAX_VCPUS * ABI_VCPU_ID_RATIO ||
		 (vm->max_vcpu_id && id > vm->max_vcpu_id))
		r = -EINVAL;
	else
		vm->boot_cpu_id = (unsigned)id;
	lock_drop(&vm->lock);
	return r;
}

static long enable_cap(struct shim_vm *vm, unsigned long argument)
{
	const struct capability *known;
	struct kvm_enable_cap cap;
	uint64_t args[4];
	int r = user_read(&cap, argument, sizeof(cap));

	if (r)
		return r;
	r = capability_enable(vm, &cap);
	known = capability_find((int)cap.cap);
	memcpy(args, cap.args, sizeof(args));
	trace_note_capability(shim_config.options.trace, vm->number, cap.cap,
			      known ? known->name : NULL, args, r);
	return r;
}

static long other_ioctl(struct shim_vm *vm, unsigned long request, unsigned long argument)
{
	long r = irqchip_vm_ioctl(vm, request, argument);

	return r == -ENOTTY ? ioctl_refuse(SHIM_VM, request, argument) : r;
}

long vm_ioctl(struct shim_vm *vm, unsigned long request, unsigned long argument)
{
	switch (request) {
	case KVM_CREATE_VCPU:
		return vcpu_create(vm, argument);
	case KVM_ENABLE_CAP:
		return enable_cap(vm, argument);
	case KVM_CHECK_EXTENSION:
		return capability_value(vm, argument);
	case KVM_SET_USER_MEMORY_REGION:
	case ABI_SET_USER_MEMORY_REGION2:
	case KVM_GET_DIRTY_LOG:
	case KVM_CLEAR_DIRTY_LOG:
		return memory_ioctl(vm, request, argument);
	case KVM_SET_TSS_ADDR:
		/* kvm_vm_ioctl_set_tss_addr(): three pages below 4 GiB. Real mode needs no help here. */
		if (argument > (unsigned)(-3 * (int)PAGE_SIZE))
			return -EINVAL;
		vm->tss_addr = argument;
		return 0;
	case KVM_SET_IDENTITY_MAP_ADDR:
		return set_identity_map_addr(vm, argument);
	case KVM_SET_BOOT_CPU_ID:
		return set_boot_cpu_id(vm, argument);
	case KVM_SET_NR_MMU_PAGES:
		if (argument < ABI_MIN_MMU_PAGES)
			return -EINVAL;
		vm->mmu_pages = argument;
		return 0;
	case KVM_GET_CLOCK:
	case KVM_SET_CLOCK:
	case KVM_GET_TSC_KHZ:
	case KVM_SET_TSC_KHZ:
		return time_vm_ioctl(vm, request, argument);
	case KVM_GET_STATS_FD:
		return stats_vm_fd(vm);
	case KVM_X86_SET_MSR_FILTER:
		return msr_filter_ioctl(vm, argument);
	default:
		return other_ioctl(vm, request, argument);
	}
}

/* ------------------------------------------------------------------ host memory that goes and comes */

static void tell(const void *address, size_t size, bool gone)
{
	uint64_t low = (uintptr_t)address, high = low + size;
	unsigned n = atomic_load(&shim_vm_slots);

	readers_enter();
	for (unsigned i = 0; i < n; i++) {
		struct shim_vm *vm = atomic_load(&shim_vms[i]);

		/* munmap() is frequent: most never touch guest memory. */
		if (!vm || !file_is_ours(&vm->file) || high <= atomic_load(&vm->host_low) ||
		    low >= atomic_load(&vm->host_high))
			continue;
		if (gone)
			vm->ops->host_range_gone(vm->emu, address, size);
		else
			vm->ops->host_range_back(vm->emu, address, size);
	}
	readers_leave();
}

void shim_memory_gone(const void *address, size_t size)
{
	if (atomic_load_explicit(&shim_vm_slots, memory_order_relaxed))
		tell(address, size, true);
}

void shim_memory_back(const void *address, size_t size)
{
	if (atomic_load_explicit(&shim_vm_slots, memory_order_relaxed))
		tell(address, size, false);
}
