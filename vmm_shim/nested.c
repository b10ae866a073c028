// SPDX-License-Identifier: GPL-2.0-only
/* Nested virtualization: nested_vmx_reflect_vmexit(), nested_svm_exit_special() and around them. */
#include "vmm_shim/nested.h"

#define DB_VECTOR 1
#define BP_VECTOR 3
#define PF_VECTOR 14
#define AC_VECTOR 17
#define VE_VECTOR 20

/* bits of vmcs12's primary controls */
enum {
	INTERRUPT_WINDOW = 2,
	HLT_EXITING = 7,
	NMI_WINDOW = 22,
	MOV_DR = 23,
	MONITOR_TRAP = 27,
};

/* ------------------------------------------------------------------ VMX */

unsigned nested_vm_entry(const struct nested_l1 *l1)
{
	/* nested_check_vm_execution_controls(): only if they are active at all */
	if (l1->primary & NESTED_PRIMARY_SECONDARY && l1->secondary & NESTED_SECONDARY_BUS_LOCK)
		return NESTED_INVALID_CONTROL;
	return 0;
}

/* Who wants an exit of that basic reason: nested_vmx_l0_wants_exit(), then _l1_wants_exit(). */
enum who {
	BY_L0,      /* L0, whatever L1 asks for */
	BY_L1,      /* L1, always */
	BY_CONTROL, /* L1, if it has set that primary control; else L0 */
	BY_IO,      /* L1, if its bitmaps or masks say so */
	BY_MSR,
	BY_CR,
	BY_EXCEPTION, /* see there */
	BY_BUS_LOCK,  /* L0, since the kernels that know it */
	NOT_L1,       /* L0, for want of anybody else */
};
static const struct {
	uint16_t reason;
	uint8_t who, control;
} rows[] = {
	{ VMX_EXCEPTION_NMI, BY_EXCEPTION, 0 },
	{ VMX_EXTERNAL_INTERRUPT, BY_L0, 0 },
	{ VMX_TRIPLE_FAULT, BY_L1, 0 },
	{ VMX_INTERRUPT_WINDOW, BY_CONTROL, INTERRUPT_WINDOW },
	{ VMX_NMI_WINDOW, BY_CONTROL, NMI_WINDOW },
	{ VMX_TASK_SWITCH, BY_L1, 0 },
	{ VMX_CPUID, BY_L1, 0 },
	{ VMX_HLT, BY_CONTROL, HLT_EXITING },
	{ VMX_VMCALL, BY_L1, 0 },
	{ VMX_CR_ACCESS, BY_CR, 0 },
	{ VMX_DR_ACCESS, BY_CONTROL, MOV_DR },
	{ VMX_IO, BY_IO, 0 },
	{ VMX_RDMSR, BY_MSR, 0 },
	{ VMX_WRMSR, BY_MSR, 0 },
	{ VMX_INVALID_STATE, BY_L1, 0 },
	{ VMX_MTF, BY_CONTROL, MONITOR_TRAP },
	/* the controls that make them only come from vmcs12 */
	{ VMX_APIC_ACCESS, BY_L1, 0 },
	{ VMX_APIC_WRITE, BY_L1, 0 },
	/* L1's tables are walked by L0, which injects what belongs to L1 */
	{ VMX_EPT_VIOLATION, BY_L0, 0 },
	{ VMX_EPT_MISCONFIG, BY_L0, 0 },
	{ VMX_PREEMPTION_TIMER, BY_L0, 0 },
	{ VMX_PML_FULL, BY_L0, 0 },
	{ VMX_BUS_LOCK, BY_BUS_LOCK, 0 },
	{ VMX_NOTIFY, NOT_L1, 0 },
};

static bool exception_to_l1(const struct nested_l0 *l0, const struct nested_l1 *l1,
			    uint32_t interruption)
{
	unsigned vector = interruption & 0xff;

	if ((interruption >> 8 & 7) == 2) /* NMI */
		return false;
	switch (vector) {
	case PF_VECTOR: /* with EPT only L1 can have asked for it */
		return true;
	case DB_VECTOR:
		if (l0->debug & (KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP))
			return false;
		break;
	case BP_VECTOR:
		if (l0->debug & KVM_GUESTDBG_USE_SW_BP)
			return false;
		break;
	case AC_VECTOR:
		if (l0->split_lock)
			return false;
		break;
	case VE_VECTOR:
		return false;
	default:
		break;
	}
	return l1->exception_bitmap >> (vector & 31) & 1;
}

static bool vmx_to_l1(const struct nested_l0 *l0, const struct nested_l1 *l1,
		      const struct nested_exit *exit)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].reason != (exit->word & 0xffff))
			continue;
		switch ((enum who)rows[i].who) {
		case BY_L0:
		case NOT_L1:
			return false;
		case BY_L1:
			return true;
		case BY_CONTROL:
			return l1->primary >> rows[i].control & 1;
		case BY_IO:
			return l1->io;
		case BY_MSR:
			return l1->msr;
		case BY_CR:
			return l1->cr;
		case BY_EXCEPTION:
			return exception_to_l1(l0, l1, exit->interruption);
		case BY_BUS_LOCK:
			return !l0->profile->l0_takes_bus_lock;
		}
	}
	return true; /* "default: return true" */
}

/* ------------------------------------------------------------------ SVM */

static bool intercepted(const uint32_t intercept[6], uint32_t code)
{
	return code < 6 * 32 && intercept[code / 32] >> code % 32 & 1;
}

/* nested_svm_exit_special(), nested_svm_intercept() */
static bool svm_to_l1(const struct nested_l0 *l0, const struct nested_l1 *l1, uint32_t code)
{
	switch (code) {
	case SVM_INTR:
	case SVM_NMI:
	case SVM_NPF:
		return false;
	case SVM_IOIO:
		return l1->io;
	case SVM_MSR:
		return l1->msr;
	case SVM_INVALID:
		return true;
	default:
		break;
	}
	if (code - SVM_EXCEPTION < 32)
		return !(l0->svm_exceptions >> (code - SVM_EXCEPTION) & 1);
	/* Bus locks among them: no entry of the sanitizing of vmcb12 is about 0x14[5]. */
	return intercepted(l1->intercept, code);
}

uint64_t nested_svm_bus_lock(const struct emu_state *l2)
{
	return state_linear_rip(l2);
}

uint16_t nested_svm_vmrun_counter(uint64_t save_rip, uint64_t last_bus_lock_rip)
{
	return save_rip && save_rip == last_bus_lock_rip;
}

uint64_t nested_svm_vmexit_rip(uint64_t last_bus_lock_rip, uint16_t counter)
{
	return counter ? last_bus_lock_rip : NESTED_NO_RIP;
}

/* ------------------------------------------------------------------ both */

bool nested_detects(const struct nested_l0 *l0, const struct nested_l1 *l1)
{
	if (l0->intel)
		return l0->bus_lock;
	return l0->bus_lock || intercepted(l1->intercept, SVM_BUSLOCK);
}

struct nested_verdict nested_exit_verdict(const struct nested_l0 *l0, const struct nested_l1 *l1,
					  const struct nested_exit *exit)
{
	struct nested_verdict v = { .in_l2 = true };
	bool delivery;

	if (l0->intel ? vmx_to_l1(l0, l1, exit) : svm_to_l1(l0, l1, exit->word)) {
		v.level = 1;
		v.l1_word = exit->word; /* exit_reason.full: with bit 26, that L1 never asked for */
		v.in_l2 = false;
		/* No handler has run, so of the word only what the common tail looks at counts. */
		v.result = run_result(l0->profile, l0->intel,
				      l0->intel ? exit->word & VMX_EXIT_BUS_LOCK_ASSERTED : 0, 1,
				      exit->reason);
		return v;
	}
	delivery = l0->intel && run_delivery_error(l0->profile, exit->word, exit->idt_vectoring);
	v.result = run_result(l0->profile, l0->intel, exit->word, delivery ? 0 : exit->inner,
			      delivery ? KVM_EXIT_INTERNAL_ERROR : exit->reason);
	/* post_kvm_run_save() */
	if (!v.result.again && l0->profile->run_flag_guest_mode)
		v.result.flags |= KVM_RUN_X86_GUEST_MODE;
	return v;
}
