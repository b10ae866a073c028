// SPDX-License-Identifier: GPL-2.0-only
/*
 * VM exits: what the handler of each makes of kvm_run, and the verdict. The verdict is a pure function;
 * its table is in vmx_handle_exit() and svm's bus_lock_exit().
 */
#include "vmm_shim/internal.h"
#include "vmm_shim/irqchip/lapic.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#define VECTORING_VALID      0x80000000u
#define UD_VECTOR            6
#define AC_VECTOR            17
#define EMULATION_INSN_BYTES KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES

struct run_result run_result(const struct profile *profile, bool intel, uint32_t word, int inner,
			     uint32_t reason)
{
	struct run_result result = { .again = inner > 0,
				     .ret = inner > 0 ? 0 : inner,
				     .reason = reason };
	bool reason_74 = intel && (word & 0xffff) == VMX_BUS_LOCK;
	bool asserted = intel ? word & VMX_EXIT_BUS_LOCK_ASSERTED : word == SVM_BUSLOCK;

	/*
	 * Hardware may or may not set the bit together with reason 74: handle_bus_lock_vmexit() sets
	 * it itself, unless an error of event delivery came before it; until 5.15 it fills kvm_run
	 * and is done. On AMD a bus lock is always an exit of its own.
	 */
	if (reason_74 && profile->forces_bit_26 && inner > 0)
		asserted = true;
	if (reason_74 && !profile->forces_bit_26 && inner > 0)
		return (struct run_result){ .reason = KVM_EXIT_X86_BUS_LOCK,
					    .flags = KVM_RUN_X86_BUS_LOCK };
	if (!asserted)
		return result;
	result.flags = KVM_RUN_X86_BUS_LOCK;
	if (inner > 0) {
		result.again = false;
		result.reason = KVM_EXIT_X86_BUS_LOCK;
	}
	if (inner < 0 && intel && !profile->preserves_errno)
		result.ret = 0;
	return result;
}

/* "ret = __vmx_handle_exit()", its event-vectoring check */
bool run_delivery_error(const struct profile *profile, uint32_t word, uint32_t idt_vectoring)
{
	if (!(idt_vectoring & VECTORING_VALID))
		return false;
	switch (word & 0xffff) {
	case VMX_EXCEPTION_NMI:
	case VMX_EPT_VIOLATION:
	case VMX_PML_FULL:
	case VMX_APIC_ACCESS:
	case VMX_TASK_SWITCH:
		return false;
	case VMX_NOTIFY:
		return !profile->notify_exempt;
	case VMX_EPT_MISCONFIG:
		return !profile->delivery_has_gpa;
	default:
		return true;
	}
}

/* vcpu->arch.last_vmentry_cpu */
static unsigned last_cpu(void)
{
	int cpu = sched_getcpu();

	return cpu < 0 ? 0 : (unsigned)cpu;
}

/* ------------------------------------------------------------------ to the monitor */

static int delivery_error(struct shim_vcpu *vcpu, const struct emu_exit *exit)
{
	struct kvm_run *run = vcpu->run;
	unsigned n = 0;

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
	/* kvm_x86_get_exit_info(): "info2" is the event on Intel, EXITINFO2 on AMD */
	run->internal.data[n++] = config_intel() ? exit->idt_vectoring : exit->guest_physical;
	run->internal.data[n++] = exit->word; /* with its modifier bits */
	run->internal.data[n++] = exit->qualification;
	if (shim_config.profile.delivery_has_gpa)
		run->internal.data[n++] = exit->guest_physical;
	else if ((exit->word & 0xffff) == VMX_EPT_MISCONFIG)
		run->internal.data[n++] = exit->guest_physical;
	run->internal.data[n++] = last_cpu();
	run->internal.ndata = n;
	return 0;
}

static int fail_entry(struct shim_vcpu *vcpu, const struct emu_exit *exit)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	run->fail_entry.hardware_entry_failure_reason = exit->word;
	run->fail_entry.cpu = last_cpu();
	return 0;
}

/* prepare_emulation_failure_exit() */
static void emulation_failure(struct shim_vcpu *vcpu, const struct emu_exit *exit)
{
	/* kvm_x86_get_exit_info() of either vendor */
	const uint64_t vmx[5] = { exit->word, exit->qualification, exit->idt_vectoring,
				  exit->interruption, exit->interruption_error };
	const uint64_t svm[5] = { exit->word, exit->qualification, exit->guest_physical,
				  exit->idt_vectoring, exit->idt_vectoring_error };
	struct kvm_run *run = vcpu->run;
	unsigned at = 1, length = exit->error.insn_length;

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->emulation_failure.suberror = KVM_INTERNAL_ERROR_EMULATION;
	run->emulation_failure.flags = 0;
	if (length) {
		at += 2;
		run->emulation_failure.flags = EMULATION_INSN_BYTES;
		run->emulation_failure.insn_size = (uint8_t)length;
		memset(run->emulation_failure.insn_bytes, 0x90,
		       sizeof(run->emulation_failure.insn_bytes));
		memcpy(run->emulation_failure.insn_bytes, exit->error.insn,
		       length < sizeof(exit->error.insn) ? length : sizeof(exit->error.insn));
	}
	memcpy(&run->internal.data[at], config_intel() ? vmx : svm, sizeof(vmx));
	run->emulation_failure.ndata = at + 5;
}

static void log_failure(const struct emu_exit *exit, const struct emu_state *state)
{
	char bytes[3 * sizeof(exit->error.insn) + 1] = "";
	static const char digits[] = "0123456789abcdef";

	for (unsigned i = 0; i < exit->error.insn_length && i < sizeof(exit->error.insn); i++) {
		bytes[3 * i] = digits[exit->error.insn[i] >> 4];
		bytes[3 * i + 1] = digits[exit->error.insn[i] & 15];
		bytes[3 * i + 2] = ' ';
		bytes[3 * i + 3] = '\0';
	}
	shim_log(2, "instruction %sat CS:RIP %#x:%#llx can't be emulated", bytes,
		 state->segment[EMU_CS].selector, (unsigned long long)state->rip);
}

/*
 * handle_emulation_failure(): the guest gets #UD; kernel code in it is worth a report to the monitor,
 * user code only if the monitor asked (KVM_CAP_EXIT_ON_EMULATION_FAILURE, and then without #UD).
 */
static int internal_error(struct shim_vcpu *vcpu, const struct emu_exit *exit)
{
	struct emu_state state;
	unsigned cpl;

	if (exit->error.suberror == EMU_ERROR_DELIVERY)
		return delivery_error(vcpu, exit);
	vcpu->ops->get_state(vcpu->emu, &state);
	log_failure(exit, &state);
	if (vcpu->vm->exit_on_emulation_error) {
		emulation_failure(vcpu, exit);
		return 0;
	}
	event_queue_exception(vcpu, UD_VECTOR);
	cpl = state.segment[EMU_SS].attributes >> 5 & 3;
	if (cpl)
		return 1;
	emulation_failure(vcpu, exit);
	return 0;
}

/* emulator_pio_in_out() */
static int io(struct shim_vcpu *vcpu, struct emu_exit *exit)
{
	size_t size = (size_t)exit->io.size * exit->io.count;
	struct kvm_run *run = vcpu->run;

	if (size > PAGE_SIZE)
		return -EIO; /* the processor never asks for more than the page holds */
	if (bus_ports(vcpu, exit->io.port, exit->io.size, exit->io.count, exit->io.write,
		      exit->io.data))
		return 1;
	if (exit->io.write) {
		memcpy(vcpu->pio, exit->io.data, size);
	} else {
		memset(vcpu->pio, 0, size);
		vcpu->pending = PENDING_IN;
	}
	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = exit->io.write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
	run->io.size = exit->io.size;
	run->io.port = exit->io.port;
	run->io.count = exit->io.count;
	run->io.data_offset = ABI_PIO_PAGE_OFFSET * PAGE_SIZE;
	return 0;
}

static int mmio(struct shim_vcpu *vcpu, struct emu_exit *exit)
{
	struct kvm_run *run = vcpu->run;

	if (exit->mmio.size > sizeof(run->mmio.data))
		return -EIO;
	if (lapic_mmio(vcpu, exit->mmio.gpa, exit->mmio.size, exit->mmio.write, exit->mmio.data) ||
	    bus_access(vcpu, false, exit->mmio.gpa, exit->mmio.size, exit->mmio.write,
		       exit->mmio.data))
		return 1;
	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = exit->mmio.gpa;
	run->mmio.len = exit->mmio.size;
	run->mmio.is_write = exit->mmio.write;
	if (exit->mmio.write)
		memcpy(run->mmio.data, exit->mmio.data, exit->mmio.size);
	else
		vcpu->pending = PENDING_MMIO_READ;
	return 0;
}

static int debug(struct shim_vcpu *vcpu, const struct emu_exit *exit)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_DEBUG;
	run->debug.arch.exception = exit->debug.vector;
	run->debug.arch.pc = exit->debug.rip;
	if (exit->debug.vector == 1) { /* for #BP the kernel leaves them alone */
		/* "exit_qual | DR6_ACTIVE_LOW" hides a bus lock on Intel; AMD's is the VMCB's DR6 */
		run->debug.arch.dr6 = exit->debug.dr6 | (config_intel() ? ABI_DR6_ACTIVE_LOW : 0);
		run->debug.arch.dr7 = exit->debug.dr7;
	}
	return 0;
}

/*
 * AMD's bus_lock_exit(): the instruction has not executed, and it will not on the next KVM_RUN either
 * unless it gets a credit then.
 */
static int bus_lock(struct shim_vcpu *vcpu)
{
	struct emu_state state;

	if (config_intel())
		return 1; /* the verdict makes the exit */
	vcpu->ops->get_state(vcpu->emu, &state);
	vcpu->cui_linear_rip = state_linear_rip(&state);
	vcpu->pending = PENDING_BUS_LOCK;
	vcpu->run->exit_reason = KVM_EXIT_X86_BUS_LOCK;
	return 0;
}

/* complete_userspace_buslock(): a monitor that moved RIP has skipped the instruction, or another one will
 * lock. The credit is for whichever bus lock comes first. */
static void bus_lock_credit(struct shim_vcpu *vcpu)
{
	struct emu_state state;

	vcpu->ops->get_state(vcpu->emu, &state);
	if (state_linear_rip(&state) == vcpu->cui_linear_rip)
		vcpu->ops->set_bus_lock_counter(vcpu->emu, 1);
}

/* AMD's shutdown_interception(): "VMCB is undefined after a SHUTDOWN intercept. INIT the vCPU" */
static int shut_down(struct shim_vcpu *vcpu)
{
	if (!config_intel()) {
		state_init(vcpu);
		vcpu_latch_bus_lock(vcpu); /* init_vmcb() */
	}
	vcpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
	return 0;
}

/* ------------------------------------------------------------------ done in the kernel */

/* kvm_emulate_hypercall(): nothing is offered, and "nothing" has a number */
static int vmcall(struct shim_vcpu *vcpu)
{
	struct emu_state state;
	uint64_t ret = (uint64_t)-KVM_ENOSYS;
	bool mode64;

	vcpu->ops->get_state(vcpu->emu, &state);
	mode64 = (state.efer & 1 << 10) && (state.segment[EMU_CS].attributes & 1 << 13);
	if (state.segment[EMU_SS].attributes >> 5 & 3)
		ret = (uint64_t)-KVM_EPERM;
	else if ((uint32_t)state.gpr[EMU_RAX] == KVM_HC_VAPIC_POLL_IRQ &&
		 (!mode64 || !(state.gpr[EMU_RAX] >> 32)))
		ret = 0;
	state.gpr[EMU_RAX] = mode64 ? ret : (uint32_t)ret;
	vcpu->ops->set_state(vcpu->emu, &state);
	return 1;
}

static int window(struct shim_vcpu *vcpu)
{
	/* "exec_controls_clearbit(CPU_BASED_INTR_WINDOW_EXITING)": the run loop asks again */
	vcpu->ops->request_interrupt_window(vcpu->emu, false);
	vcpu->window_requested = false;
	if (vcpu->apic)
		lapic_look(vcpu->apic);
	return 1;
}

static int plain(struct shim_vcpu *vcpu, uint32_t reason)
{
	vcpu->run->exit_reason = reason;
	return 0;
}

/* kvm_emulate_halt(): without a local APIC here it is not "halted", the monitor waits */
static int halt(struct shim_vcpu *vcpu)
{
	if (!vcpu->apic)
		return plain(vcpu, KVM_EXIT_HLT);
	lapic_halt(vcpu);
	return 1;
}

/* handle_set_cr8(): it has become lower */
static int task_priority(struct shim_vcpu *vcpu)
{
	struct backend_brief brief;

	if (!vcpu->apic)
		return plain(vcpu, KVM_EXIT_SET_TPR);
	vcpu->ops->get_brief(vcpu->emu, &brief);
	lapic_cr8_changed(vcpu, brief.cr8);
	return 1;
}

/* handle_exception_nmi() */
static int exception(struct shim_vcpu *vcpu, const struct emu_exit *exit)
{
	struct kvm_run *run = vcpu->run;
	uint8_t vector = (uint8_t)exit->interruption;

	if (vector == AC_VECTOR && host_guest_ac(vcpu, exit->interruption_error))
		return 1;
	run->exit_reason = KVM_EXIT_EXCEPTION;
	run->ex.exception = vector;
	run->ex.error_code = exit->interruption_error;
	return 0;
}

static int handle(struct shim_vcpu *vcpu, struct emu_exit *exit)
{
	switch (exit->type) {
	case EMU_EXIT_BUS_LOCK:
		return bus_lock(vcpu);
	case EMU_EXIT_IO:
		return io(vcpu, exit);
	case EMU_EXIT_MMIO:
		return mmio(vcpu, exit);
	case EMU_EXIT_HLT:
		return halt(vcpu);
	case EMU_EXIT_RDMSR:
	case EMU_EXIT_WRMSR:
		return msr_exit(vcpu, exit);
	case EMU_EXIT_SHUTDOWN:
		return shut_down(vcpu);
	case EMU_EXIT_INTERRUPT_WINDOW:
		return window(vcpu);
	case EMU_EXIT_DEBUG:
		return debug(vcpu, exit);
	case EMU_EXIT_KICKED:
		return 1;
	case EMU_EXIT_SET_TPR:
		return task_priority(vcpu);
	case EMU_EXIT_VMCALL:
		return vmcall(vcpu);
	case EMU_EXIT_INTERNAL_ERROR:
		return internal_error(vcpu, exit);
	case EMU_EXIT_EXCEPTION:
		return exception(vcpu, exit);
	default:
		break;
	}
	/* "KVM: vmx: unexpected exit reason" */
	vcpu->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	vcpu->run->internal.suberror = KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON;
	vcpu->run->internal.ndata = 2;
	vcpu->run->internal.data[0] = exit->word;
	vcpu->run->internal.data[1] = last_cpu();
	return 0;
}

int exit_handle(struct shim_vcpu *vcpu, struct emu_exit *exit)
{
	if (exit->type == EMU_EXIT_ENTRY_FAILURE || exit->word & VMX_EXIT_ENTRY_FAILURE)
		return fail_entry(vcpu, exit);
	/* svm_handle_exit() has no such check */
	if (config_intel() &&
	    run_delivery_error(&shim_config.profile, exit->word, exit->idt_vectoring))
		return delivery_error(vcpu, exit);
	return handle(vcpu, exit);
}

/* vcpu->arch.complete_userspace_io(). Sizes are those of the exit: the monitor can't enlarge them. */
void exit_complete(struct shim_vcpu *vcpu)
{
	struct emu_exit *exit = &vcpu->exit;

	switch (vcpu->pending) {
	case PENDING_IN:
		memcpy(exit->io.data, vcpu->pio, (size_t)exit->io.size * exit->io.count);
		break;
	case PENDING_MMIO_READ:
		memcpy(exit->mmio.data, vcpu->run->mmio.data, exit->mmio.size);
		break;
	case PENDING_RDMSR:
	case PENDING_WRMSR:
		msr_answered(vcpu, exit);
		break;
	case PENDING_BUS_LOCK:
		bus_lock_credit(vcpu);
		break;
	case PENDING_NONE:
		break;
	}
	vcpu->pending = PENDING_NONE;
}
