// SPDX-License-Identifier: GPL-2.0-only
/* What passes between a monitor and the kernel, and what of it is of interest. */
#include "watch/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct watch watch;

int watch_configure(const struct watch_options *options, const struct watch_kernel *kernel,
		    struct report *report, struct trace *trace)
{
	watch = (struct watch){
		.options = *options, .kernel = kernel, .report = report, .trace = trace
	};
	if (report)
		atomic_store(options->step ? &report->counting : &report->blind, 1);
	return 0;
}

void watch_after_fork(void)
{
	trace_after_fork(watch.trace);
}

/* The monitor's memory, which may not be there: asked of the kernel, like its own copy_from_user(). */
static bool copy_in(void *to, unsigned long from, size_t size)
{
	struct iovec here = { to, size }, there = { (void *)from, size };

	return syscall(SYS_process_vm_readv, syscall(SYS_getpid), &here, 1ul, &there, 1ul, 0ul) ==
	       (long)size;
}

/* ------------------------------------------------------------------ /dev/kvm */

static long pass(int fd, unsigned long request, unsigned long argument)
{
	return watch.kernel->ioctl(fd, request, argument);
}

static bool offers_exits(int fd)
{
	long value = pass(fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT);

	return value > 0 && value & KVM_BUS_LOCK_DETECTION_EXIT;
}

/* Before a vCPU exists: it is then that the switch takes effect (vmx_vcpu_create(), init_vmcb()). */
static void enable_exits(struct watch_vm *vm, int fd)
{
	const struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_BUS_LOCK_EXIT,
					    .args = { KVM_BUS_LOCK_DETECTION_EXIT } };

	if (!offers_exits(fd) || pass(fd, KVM_ENABLE_CAP, (unsigned long)&cap) < 0) {
		trace_note_not_covered(watch.trace, vm->number, TRACE_NO_VCPU, NULL,
				       "this VM cannot do KVM_CAP_X86_BUS_LOCK_EXIT (193): nothing "
				       "of its bus locks is seen");
		return;
	}
	atomic_store(&vm->enabled, true);
	if (watch.report)
		atomic_store(&watch.report->detection_enabled, 1);
}

#define SYNCED (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS)

static void vm_created(int fd)
{
	struct watch_vm *vm = watch_vm_new(fd);

	/* Before the first event: has somebody closed its descriptor behind our back? */
	if (watch.trace)
		trace_check(watch.trace);
	if (watch.report)
		atomic_fetch_add(&watch.report->vms, 1);
	if (!vm) {
		trace_note_not_covered(watch.trace, TRACE_NO_VM, TRACE_NO_VCPU, NULL,
				       "too many VMs, or descriptors: one is not watched");
		return;
	}
	trace_note_vm_created(watch.trace, vm->number);
	if (watch.options.enable)
		enable_exits(vm, fd);
	if (watch.options.native_delivery)
		trace_note_not_covered(
			watch.trace, vm->number, TRACE_NO_VCPU, NULL,
			"this KVM leaves the delivery of events to the processor, "
			"which clears TF: handlers of interrupts, exceptions and INT "
			"n may run unseen until they return");
	if (watch.options.step)
		vm->sync = (pass(fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) & SYNCED) == SYNCED;
}

/* Something ran a vCPU, or made one, whose beginning has not been seen. */
static void unknown_object(int fd, unsigned long request)
{
	char text[128];

	if (!watch_object_first_complaint(fd))
		return;
	snprintf(text, sizeof(text),
		 "descriptor %d is a %s that was not seen being created (inherited, or received): "
		 "it is not watched",
		 fd, request == KVM_RUN ? "vCPU" : "VM");
	trace_note_not_covered(watch.trace, TRACE_NO_VM, TRACE_NO_VCPU, NULL, text);
}

static long unknown_ioctl(int fd, unsigned long request, unsigned long argument)
{
	long result = pass(fd, request, argument);

	if (request == KVM_CREATE_VM && result >= 0)
		vm_created((int)result);
	else if ((request == KVM_CREATE_VCPU && result >= 0) ||
		 (request == KVM_RUN && (result >= 0 || result == -EINTR)))
		unknown_object(fd, request);
	return result;
}

/* ------------------------------------------------------------------ VMs */

static void vcpu_created(struct watch_vm *vm, int fd, unsigned id)
{
	struct watch_vcpu *vcpu = watch_vcpu_new(fd, vm);

	if (watch.report)
		atomic_fetch_add(&watch.report->vcpus, 1);
	if (vcpu)
		trace_note_vcpu_created(watch.trace, vm->number, vcpu->index, id);
	else
		trace_note_not_covered(watch.trace, vm->number, TRACE_NO_VCPU, NULL,
				       "too many vCPUs, or descriptors: one is not watched");
}

/* <linux/kvm.h>: what KVM_ENABLE_CAP on an x86 VM knows (api.rst 7, 8) */
static const char *capability_name(unsigned number)
{
#define NAME(x)           \
	case KVM_CAP_##x: \
		return #x
	switch (number) {
		NAME(SPLIT_IRQCHIP);
		NAME(X2APIC_API);
		NAME(X86_DISABLE_EXITS);
		NAME(EXCEPTION_PAYLOAD);
		NAME(MANUAL_DIRTY_LOG_PROTECT2);
		NAME(DISABLE_QUIRKS);
		NAME(DISABLE_QUIRKS2);
		NAME(X86_USER_SPACE_MSR);
		NAME(X86_BUS_LOCK_EXIT);
		NAME(DIRTY_LOG_RING);
		NAME(HALT_POLL);
		NAME(MAX_VCPU_ID);
		NAME(PMU_CAPABILITY);
		NAME(EXIT_HYPERCALL);
		NAME(EXIT_ON_EMULATION_FAILURE);
		NAME(X86_TRIPLE_FAULT_EVENT);
		NAME(X86_NOTIFY_VMEXIT);
		NAME(VM_DISABLE_NX_HUGE_PAGES);
		NAME(MSR_PLATFORM_INFO);
	default:
		return NULL;
	}
#undef NAME
}

static void capability_enabled(struct watch_vm *vm, int fd, unsigned long argument, long result)
{
	struct kvm_enable_cap cap;
	uint64_t args[4];

	if (!copy_in(&cap, argument, sizeof(cap)))
		return;
	memcpy(args, cap.args, sizeof(args));
	trace_note_capability(watch.trace, vm->number, cap.cap, capability_name(cap.cap), args,
			      (int)result);
	if (result)
		return;
	if (cap.cap == KVM_CAP_SPLIT_IRQCHIP)
		atomic_store(&vm->irqchip, true);
	/* OFF clears nothing (kvm_vm_ioctl_enable_cap()), and EXIT succeeds without hardware, too. */
	if (cap.cap == KVM_CAP_X86_BUS_LOCK_EXIT && cap.args[0] & KVM_BUS_LOCK_DETECTION_EXIT &&
	    offers_exits(fd)) {
		atomic_store(&vm->asked, true);
		if (watch.report)
			atomic_store(&watch.report->detection_enabled, 1);
	}
}

/* Both requests begin with the same fields. */
static void region_set(struct watch_vm *vm, unsigned long argument)
{
	struct kvm_userspace_memory_region region;
	struct watch_slot slot;

	if (!copy_in(&region, argument, sizeof(region)))
		return;
	slot = (struct watch_slot){ .id = region.slot,
				    .flags = region.flags,
				    .gpa = region.guest_phys_addr,
				    .size = region.memory_size,
				    .host = region.userspace_addr };
	watch_memory_changed(vm, &slot);
}

static long vm_ioctl(struct watch_vm *vm, int fd, unsigned long request, unsigned long argument)
{
	long result = pass(fd, request, argument);

	switch (request) {
	case KVM_CREATE_VCPU:
		if (result >= 0)
			vcpu_created(vm, (int)result, (unsigned)argument);
		break;
	case KVM_ENABLE_CAP:
		capability_enabled(vm, fd, argument, result);
		break;
	case KVM_CREATE_IRQCHIP:
		if (result == 0)
			atomic_store(&vm->irqchip, true);
		break;
	case KVM_SET_USER_MEMORY_REGION:
	case ABI_SET_USER_MEMORY_REGION2:
		if (result == 0 && watch.options.step)
			region_set(vm, argument);
		break;
	}
	return result;
}

/* ------------------------------------------------------------------ vCPUs */

/* Stepping is guest debugging: there is one user of it. Switching off what is off is no use of it. */
static long guest_debug(struct watch_vcpu *vcpu, int fd, unsigned long argument)
{
	struct kvm_guest_debug debug;

	if (!watch.options.step)
		return pass(fd, KVM_SET_GUEST_DEBUG, argument);
	if (!copy_in(&debug, argument, sizeof(debug)))
		return -EFAULT;
	if (!(debug.control & KVM_GUESTDBG_ENABLE))
		return 0;
	watch_not_covered(vcpu, NULL,
			  "the monitor's KVM_SET_GUEST_DEBUG (control %#x) is refused with EBUSY: "
			  "record --step needs it",
			  debug.control);
	return -EBUSY;
}

static long vcpu_ioctl(struct watch_vcpu *vcpu, int fd, unsigned long request,
		       unsigned long argument)
{
	long result;

	switch (request) {
	case KVM_RUN:
		return watch_run(vcpu, fd, argument);
	case KVM_SET_GUEST_DEBUG:
		return guest_debug(vcpu, fd, argument);
	case KVM_SET_SIGNAL_MASK:
		result = pass(fd, request, argument);
		if (result == 0) {
			vcpu->monitor_mask = argument != 0;
			vcpu->has_mask = false;
			if (argument)
				copy_in(&vcpu->mask, argument + sizeof(struct kvm_signal_mask),
					sizeof(vcpu->mask));
		}
		return result;
	default:
		return pass(fd, request, argument);
	}
}

long watch_ioctl(int fd, unsigned long request, unsigned long argument)
{
	struct watch_object *object = watch_object_get(fd);
	long result;

	if (!object)
		return unknown_ioctl(fd, request, argument);
	if (object->kind == WATCH_VM)
		result = vm_ioctl((struct watch_vm *)object, fd, request, argument);
	else
		result = vcpu_ioctl((struct watch_vcpu *)object, fd, request, argument);
	watch_object_put(object);
	return result;
}
