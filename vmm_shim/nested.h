/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nested virtualization, as decisions: which level gets an exit of L2, what it sees of a bus lock,
 * what KVM_RUN tells user space. Pure functions over the contents of the control structures;
 * nothing here executes VMX or SVM instructions, and the shim offers neither to its guests.
 *
 * L0 is KVM, L1 its guest, a hypervisor, L2 that one's guest. vmcs12 and vmcb12 are what L1 has
 * written, vmcs02 and vmcb02 what KVM runs L2 with.
 */
#ifndef BUSLOCK_VMM_SHIM_NESTED_H
#define BUSLOCK_VMM_SHIM_NESTED_H

#include "vmm_shim/internal.h"

/* vmcs12's execution controls (SDM tables 27-6, 27-7) */
#define NESTED_PRIMARY_SECONDARY  (1u << 31) /* activate secondary controls */
#define NESTED_SECONDARY_BUS_LOCK (1u << 30)
/* VM-instruction error: invalid control field (SDM 33.4) */
#define NESTED_INVALID_CONTROL 7

#define NESTED_NO_RIP ~0ull /* INVALID_GPA, as KVM writes it */

/* What L0 does for this vCPU. */
struct nested_l0 {
	const struct profile *profile;
	bool intel;
	bool bus_lock;  /* KVM_CAP_X86_BUS_LOCK_EXIT is in effect */
	uint32_t debug; /* KVM_GUESTDBG_ of the monitor */
	bool split_lock; /* the host's split-lock detection takes #AC (vmx_guest_inject_ac() false) */
	uint32_t svm_exceptions; /* vmcb01's intercepts of exceptions */
};

/* What L1 asks for. */
struct nested_l1 {
	/* vmcs12; the bitmaps and masks by their answer for the access in question */
	uint32_t primary, secondary, exception_bitmap;
	bool io, msr, cr;
	/* vmcb12: the intercept words at 0x00 to 0x14, I/O and MSR bitmaps as above */
	uint32_t intercept[6];
};

/* An exit of L2, as the hardware gives it to L0, and what L0's own handler of it would say. */
struct nested_exit {
	uint32_t word;         /* VMX exit reason with its modifier bits, or SVM exit code */
	uint32_t interruption; /* VMX: what exception (SDM 27.9.2) */
	uint32_t idt_vectoring;
	int inner;       /* as in run_result() */
	uint32_t reason; /* kvm_run.exit_reason as the handler leaves it */
};

struct nested_verdict {
	unsigned level;           /* 0 or 1: who gets the exit */
	uint32_t l1_word;         /* level 1: exit reason in vmcs12, exit code in vmcb12 */
	struct run_result result; /* of KVM_RUN, or `again` */
	bool in_l2; /* whose registers KVM_GET_REGS then reads: L2's, or L1's, which is
				   * at its host RIP (VMX) or behind its VMRUN */
};

/*
 * VM entry of L1 into L2: 0, or the number of the VM-instruction error (VMfailValid). L1 is never
 * offered control 30: nested_vmx_setup_secondary_ctls() leaves it out of the allowed-1 bits of
 * IA32_VMX_PROCBASED_CTLS2. Hyper-V's enlightened VMCS lists it among the supported ones, which
 * changes nothing: the check against the MSR is the same.
 */
unsigned nested_vm_entry(const struct nested_l1 *l1);

/* Is bus-lock detection on while L2 runs? vmcs02 starts from vmcs01's controls, and vmcs12's has
 * none; vmcb02's intercepts are those of both. */
bool nested_detects(const struct nested_l0 *l0, const struct nested_l1 *l1);

struct nested_verdict nested_exit_verdict(const struct nested_l0 *l0, const struct nested_l1 *l1,
					  const struct nested_exit *exit);

/*
 * SVM: where the last bus lock of an L2 was (svm->nested.last_bus_lock_rip).
 *
 * The exit to user space remembers the *linear* RIP. VMRUN compares it with vmcb02's save.rip,
 * which is then still that of L2's previous run, and not linear: with a CS base the same
 * instruction exits twice.
 */
uint64_t nested_svm_bus_lock(const struct emu_state *l2);
uint16_t nested_svm_vmrun_counter(uint64_t save_rip, uint64_t last_bus_lock_rip);
/* #VMEXIT to L1: forgotten, unless the credit is still there. */
uint64_t nested_svm_vmexit_rip(uint64_t last_bus_lock_rip, uint16_t counter);

#endif
