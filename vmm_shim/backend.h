/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel needs of a processor: the functions of emu/emu.h as a table, so that something else
 * can run below the shim. backend_emu.c is the processor; backend_script.c a list of exits in a file.
 *
 * `struct emu_vm` and `struct emu_vcpu` are opaque here and belong to the backend; a script's are not
 * the emulator's. Contracts are those of emu/emu.h.
 */
#ifndef BUSLOCK_VMM_SHIM_BACKEND_H
#define BUSLOCK_VMM_SHIM_BACKEND_H

#include "emu/emu.h"
#include "vmm_shim/shim.h"

/* What every return of KVM_RUN shows; cheap to get. */
struct backend_brief {
	uint64_t rflags, cr8, apic_base;
	uint64_t rip, linear_rip; /* the second with the base of CS */
};
static inline struct backend_brief backend_brief_of(const struct emu_state *state)
{
	const struct emu_segment *cs = &state->segment[EMU_CS];
	/* CS has no base there (SDM vol. 1, 3.4.4); elsewhere addresses are of 32 bits. */
	bool mode64 = (state->efer & 1 << 10) && (cs->attributes & 1 << 13);

	return (struct backend_brief){
		.rflags = state->rflags,
		.cr8 = state->cr8,
		.apic_base = state->apic_base,
		.rip = state->rip,
		.linear_rip = mode64 ? state->rip : (uint32_t)(cs->base + state->rip),
	};
}

struct backend {
	const char *name;

	int (*vm_create)(const struct shim_options *options, struct emu_vm **vm);
	void (*vm_destroy)(struct emu_vm *vm);
	int (*map)(struct emu_vm *vm, unsigned slot, uint64_t gpa, uint64_t size, void *host,
		   unsigned flags);
	int (*unmap)(struct emu_vm *vm, unsigned slot);
	int (*set_flags)(struct emu_vm *vm, unsigned slot, unsigned flags);
	int (*dirty_log)(struct emu_vm *vm, unsigned slot, uint64_t *bitmap, bool clear);
	int (*dirty_clear)(struct emu_vm *vm, unsigned slot, uint64_t first, uint64_t count,
			   const uint64_t *bitmap);
	void (*host_range_gone)(struct emu_vm *vm, const void *host, size_t size);
	void (*host_range_back)(struct emu_vm *vm, const void *host, size_t size);
	/* As the kernel's kvm_read_guest(), kvm_write_guest(): slots only, -EFAULT. */
	int (*read_guest)(struct emu_vm *vm, uint64_t gpa, void *data, size_t size);
	int (*write_guest)(struct emu_vm *vm, uint64_t gpa, const void *data, size_t size);
	int (*declare_memory_type)(struct emu_vm *vm, uint64_t gpa, uint64_t size, unsigned type);
	int (*set_memory_policy)(struct emu_vm *vm, enum emu_memory_policy policy, bool cd_is_uc);
	void (*set_lock_observer)(struct emu_vm *vm,
				  void (*observe)(void *opaque, struct emu_vcpu *,
						  const struct emu_lock *),
				  void *opaque);
	void (*set_split_lock_trap)(struct emu_vm *vm,
				    bool (*trap)(void *opaque, struct emu_vcpu *), void *opaque);
	void (*set_msr_filter)(struct emu_vm *vm,
			       bool (*exits)(void *opaque, struct emu_vcpu *, uint32_t index,
					     bool write),
			       void *opaque);
	void (*set_msr_exits)(struct emu_vm *vm, bool unknown_exits);

	size_t (*msr_list)(uint32_t *index, size_t max);
	size_t (*cpuid_supported)(enum emu_vendor vendor, struct emu_cpuid *leaves, size_t max);

	int (*vcpu_create)(struct emu_vm *vm, struct emu_vcpu **vcpu);
	void (*vcpu_destroy)(struct emu_vcpu *vcpu);
	void (*get_brief)(struct emu_vcpu *vcpu, struct backend_brief *brief);
	void (*get_state)(struct emu_vcpu *vcpu, struct emu_state *state);
	int (*set_state)(struct emu_vcpu *vcpu, const struct emu_state *state);
	void (*get_events)(struct emu_vcpu *vcpu, struct emu_events *events);
	void (*set_events)(struct emu_vcpu *vcpu, const struct emu_events *events);
	void (*get_fx)(struct emu_vcpu *vcpu, void *image);
	int (*set_fx)(struct emu_vcpu *vcpu, const void *image);
	int (*get_msr)(struct emu_vcpu *vcpu, uint32_t index, uint64_t *value, bool host);
	int (*set_msr)(struct emu_vcpu *vcpu, uint32_t index, uint64_t value, bool host);
	int64_t (*get_tsc_offset)(struct emu_vcpu *vcpu);
	void (*set_tsc_offset)(struct emu_vcpu *vcpu, int64_t offset);
	int (*set_cpuid)(struct emu_vcpu *vcpu, const struct emu_cpuid *leaves, size_t count);
	int (*translate)(struct emu_vcpu *vcpu, uint64_t linear, uint64_t *gpa, bool *writable,
			 bool *user);
	/* inside the lock observer */
	int (*observed_read)(struct emu_vcpu *vcpu, uint64_t linear, void *data, size_t size);
	void (*set_bus_lock_exiting)(struct emu_vcpu *vcpu, bool on);
	void (*set_bus_lock_counter)(struct emu_vcpu *vcpu, uint16_t count);
	void (*set_controls)(struct emu_vcpu *vcpu, const struct emu_controls *controls);
	void (*set_instruction_limit)(struct emu_vcpu *vcpu, uint64_t instructions);
	void (*set_tsc_source)(struct emu_vm *vm,
			       uint64_t (*tsc)(void *opaque, struct emu_vcpu *vcpu), void *opaque);
	void (*request_interrupt_window)(struct emu_vcpu *vcpu, bool on);
	bool (*interruptible)(struct emu_vcpu *vcpu);
	int (*inject_interrupt)(struct emu_vcpu *vcpu, uint8_t vector);
	void (*inject_nmi)(struct emu_vcpu *vcpu);
	void (*set_debug)(struct emu_vcpu *vcpu, const struct emu_debug *debug);
	void (*get_stats)(const struct emu_vcpu *vcpu, struct emu_stats *stats);

	int (*run)(struct emu_vcpu *vcpu, unsigned flags, struct emu_exit *exit);
	void (*kick)(struct emu_vcpu *vcpu);
	/* A SIGSEGV or SIGBUS while this thread runs a vCPU: does not return if it came from the
	 * backend's access to guest memory. Async-signal-safe. */
	bool (*host_fault)(const void *address, const void *ucontext);
};

extern const struct backend backend_emu, backend_script;

/* Ranges of host memory that a script's VM was told are gone: number, up to `max` (16) stored. */
size_t backend_script_gaps(struct emu_vm *vm, uint64_t *host, uint64_t *size, size_t max);

#endif
