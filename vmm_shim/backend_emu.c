// SPDX-License-Identifier: GPL-2.0-only
/* The processor as a backend: emu/emu.h as it is. */
#include "vmm_shim/backend.h"

#include "vmm_shim/profile.h"

#include <errno.h>

static int vm_create(const struct shim_options *options, struct emu_vm **vm)
{
	struct profile profile;

	profile_for(options->kernel, &profile);
	const struct emu_config config = {
		.vendor = (enum emu_vendor)options->vendor,
		.mmio_all = options->mmio_all,
		.count = options->count,
		.lock_boundary = options->lock_boundary,
		.observe_locked = options->trace_locked,
		.lock_fault = options->fault == SHIM_FAULT_SKIPPED    ? EMU_LOCK_SKIPPED
			      : options->fault == SHIM_FAULT_REPEATED ? EMU_LOCK_REPEATED
								      : EMU_LOCK_RIGHT,
		.bare_reason_74 = options->bare_reason_74,
		.delivery_lock = options->delivery_vectoring ? EMU_DELIVERY_LOCK_VECTORING
							     : EMU_DELIVERY_LOCK_AFTER,
		/* KVM has no code for them */
		.no_core_capabilities = !options->guest_sld,
		/* on AMD the bit leaked into CPUID, but KVM never virtualized it */
		.no_bus_lock_debug = !profile.guest_bld || options->vendor == EMU_AMD,
		/* KVM intercepts every #DB and delivers it itself: kvm_deliver_exception_payload() */
		.debug_resets_bus_lock = !profile.keeps_dr6_bld,
	};
	int r = emu_vm_create(&config, vm);

	if (r == -ENOTSUP) {
		char why[256] = "";

		emu_engine_check(why, sizeof(why));
		shim_log(1, "KVM_CREATE_VM: the emulated processor does not start: %s", why);
	}
	return r;
}

static void get_brief(struct emu_vcpu *vcpu, struct backend_brief *brief)
{
	struct emu_state state;

	emu_vcpu_get_state(vcpu, &state);
	*brief = backend_brief_of(&state);
}

const struct backend backend_emu = {
	.name = "emulator",
	.vm_create = vm_create,
	.vm_destroy = emu_vm_destroy,
	.map = emu_vm_map,
	.unmap = emu_vm_unmap,
	.set_flags = emu_vm_set_flags,
	.dirty_log = emu_vm_dirty_log,
	.dirty_clear = emu_vm_dirty_clear,
	.host_range_gone = emu_vm_host_range_gone,
	.host_range_back = emu_vm_host_range_back,
	.read_guest = emu_vm_read,
	.write_guest = emu_vm_write,
	.declare_memory_type = emu_vm_declare_memory_type,
	.set_memory_policy = emu_vm_set_memory_policy,
	.set_lock_observer = emu_vm_set_lock_observer,
	.set_split_lock_trap = emu_vm_set_split_lock_trap,
	.set_msr_filter = emu_vm_set_msr_filter,
	.set_msr_exits = emu_vm_set_msr_exits,
	.msr_list = emu_msr_list,
	.cpuid_supported = emu_cpuid_supported,
	.vcpu_create = emu_vcpu_create,
	.vcpu_destroy = emu_vcpu_destroy,
	.get_brief = get_brief,
	.get_state = emu_vcpu_get_state,
	.set_state = emu_vcpu_set_state,
	.get_events = emu_vcpu_get_events,
	.set_events = emu_vcpu_set_events,
	.get_fx = emu_vcpu_get_fx,
	.set_fx = emu_vcpu_set_fx,
	.get_msr = emu_vcpu_get_msr,
	.set_msr = emu_vcpu_set_msr,
	.get_tsc_offset = emu_vcpu_get_tsc_offset,
	.set_tsc_offset = emu_vcpu_set_tsc_offset,
	.set_cpuid = emu_vcpu_set_cpuid,
	.translate = emu_vcpu_translate,
	.observed_read = emu_observed_read,
	.set_bus_lock_exiting = emu_vcpu_set_bus_lock_exiting,
	.set_bus_lock_counter = emu_vcpu_set_bus_lock_counter,
	.set_controls = emu_vcpu_set_controls,
	.set_instruction_limit = emu_vcpu_set_instruction_limit,
	.set_tsc_source = emu_vm_set_tsc_source,
	.request_interrupt_window = emu_vcpu_request_interrupt_window,
	.interruptible = emu_vcpu_interruptible,
	.inject_interrupt = emu_vcpu_inject_interrupt,
	.inject_nmi = emu_vcpu_inject_nmi,
	.set_debug = emu_vcpu_set_debug,
	.get_stats = emu_vcpu_get_stats,
	.run = emu_vcpu_run,
	.kick = emu_vcpu_kick,
	.host_fault = emu_host_fault,
};
