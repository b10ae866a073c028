// SPDX-License-Identifier: GPL-2.0-only
/* Exits of AMD's SVM. APM: AMD64 Architecture Programmer's Manual, vol. 2. */
#include "emu/svm.h"

#include "emu/run.h"
#include "emu/vm.h"

/* ------------------------------------------------------------------ Bus Lock Threshold */

bool svm_bus_lock_intercepted(struct emu_vcpu *v, const struct emu_lock *lock)
{
	if (!v->bus_lock_exiting)
		return false;
	/* APM 15.14.5: "prior to executing an instruction that results in a bus lock" */
	if (v->bus_lock_counter) {
		v->bus_lock_counter--;
		return false;
	}
	leave(v, EMU_EXIT_BUS_LOCK, SVM_BUSLOCK);
	v->exit->bus_lock = true;
	v->exit->lock = *lock;
	if (v->vectoring.active)
		leave_vectoring(v);
	return true;
}

void emu_vcpu_set_bus_lock_counter(struct emu_vcpu *v, uint16_t count)
{
	v->bus_lock_counter = count;
}

uint16_t emu_vcpu_bus_lock_counter(const struct emu_vcpu *v)
{
	return v->bus_lock_counter;
}

/* ------------------------------------------------------------------ exit codes */

/*
 * Exits of the processor's common parts by their code. Where SVM has no such exit the comment says
 * what its hypervisor sees instead.
 */
static const uint32_t codes[] = {
	[EMU_EXIT_NONE] = SVM_INVALID,
	[EMU_EXIT_BUS_LOCK] = SVM_BUSLOCK,
	[EMU_EXIT_IO] = SVM_IOIO,
	[EMU_EXIT_MMIO] = SVM_NPF,
	[EMU_EXIT_HLT] = SVM_HLT,
	[EMU_EXIT_RDMSR] = SVM_MSR,
	[EMU_EXIT_WRMSR] = SVM_MSR,
	[EMU_EXIT_SHUTDOWN] = SVM_SHUTDOWN,
	[EMU_EXIT_INTERRUPT_WINDOW] = SVM_VINTR, /* a dummy virtual interrupt that is taken */
	[EMU_EXIT_DEBUG] = SVM_EXCEPTION,        /* + 1 or 3 */
	[EMU_EXIT_KICKED] = SVM_INTR,
	[EMU_EXIT_SET_TPR] = SVM_CR8_WRITE,
	[EMU_EXIT_VMCALL] = SVM_VMMCALL,
	[EMU_EXIT_INTERNAL_ERROR] = SVM_NPF, /* the access that would have to be emulated */
	[EMU_EXIT_EXCEPTION] = SVM_EXCEPTION,
	[EMU_EXIT_MTF] = SVM_EXCEPTION + EXC_DB, /* RFLAGS.TF and the #DB intercept */
	[EMU_EXIT_TASK_SWITCH] = SVM_TASK_SWITCH,
	[EMU_EXIT_APIC_ACCESS] = SVM_NPF,
	[EMU_EXIT_APIC_WRITE] = SVM_AVIC_NOACCEL,
	[EMU_EXIT_EPT] = SVM_NPF,
	[EMU_EXIT_LIMIT] = SVM_INTR, /* the host's timer */
	[EMU_EXIT_ENTRY_FAILURE] = SVM_INVALID,
};

uint32_t emu_svm_exit_code(enum emu_exit_type type, unsigned vector)
{
	if ((size_t)type >= sizeof(codes) / sizeof(codes[0]))
		return SVM_INVALID;
	return codes[type] == SVM_EXCEPTION ? SVM_EXCEPTION + (vector & 31) : codes[type];
}

static uint32_t code_of(const struct emu_exit *exit)
{
	bool debug = exit->type == EMU_EXIT_DEBUG;

	return emu_svm_exit_code(exit->type, debug ? exit->debug.vector : exit->interruption);
}

/* APM figure 15-2: EXITINFO1 of IOIO */
static uint64_t io_info(const struct emu_exit *exit, const struct insn *i)
{
	bool string = i->op == OP_INS || i->op == OP_OUTS;
	uint64_t info = (exit->io.write ? 0 : 1) | (uint64_t)string << 2 |
			(uint64_t)exit->io.size << 4 | (uint64_t)i->addrsize << 6 |
			(uint64_t)exit->io.port << 16;

	if (string && i->flags & (INSN_REP | INSN_REPNE))
		info |= 1u << 3;
	if (string)
		info |= (uint64_t)(i->op == OP_INS ? SEG_ES : i->seg) << 10;
	return info;
}

/* APM 15.25.6: error code of a nested page fault; not present, and all accesses are user ones */
static uint64_t npf_info(bool write)
{
	return 1ull << 32 /* at the final address */ | PF_U | (write ? PF_W : 0);
}

static uint64_t info1_of(const struct emu_vcpu *v, const struct emu_exit *exit)
{
	switch (exit->type) {
	case EMU_EXIT_IO:
		return io_info(exit, &v->run->insn);
	case EMU_EXIT_WRMSR:
		return 1;
	case EMU_EXIT_MMIO:
		return npf_info(exit->mmio.write);
	case EMU_EXIT_EXCEPTION:
		return exit->interruption_error;
	case EMU_EXIT_TASK_SWITCH:
		return exit->qualification & 0xffff; /* the selector, as in VMX */
	case EMU_EXIT_EPT:
	case EMU_EXIT_APIC_ACCESS:
		return npf_info(exit->qualification & 2);
	default:
		return 0;
	}
}

/*
 * APM 15.12.2: at the intercept of #DB DR6 is what the handler would have found. (On Intel DR6 is
 * the old one, and the causes are in the qualification, as bits that mean "it happened".)
 */
static void show_dr6(struct emu_vcpu *v, struct emu_exit *exit)
{
	if (exit->type == EMU_EXIT_EXCEPTION && (exit->interruption & 0xff) == EXC_DB)
		exception_payload(v, EXC_DB, exit->qualification);
}

/* APM 15.7.2: INT1, INT3 and INTO are exceptions there. */
static uint32_t event_info(uint32_t vectoring)
{
	const uint32_t type = vectoring & 7u << 8;

	if (type == INTR_PRIVILEGED || type == INTR_TRAP)
		return (vectoring & ~(7u << 8)) | INTR_HARDWARE;
	return vectoring;
}

void svm_finish_exit(struct emu_vcpu *v)
{
	struct emu_exit *exit = v->exit;

	/* in front of a stuffed lock of event delivery; a software interrupt's instruction executes again */
	if (exit->type == EMU_EXIT_BUS_LOCK && v->vectoring.active && !v->vectoring.length)
		deliver_again(v);
	show_dr6(v, exit);
	/* EXITINFO2 of an intercepted #PF (APM 15.12.15); CR2 is the old one */
	if (exit->type == EMU_EXIT_EXCEPTION && (exit->interruption & 0xff) == EXC_PF)
		exit->guest_linear = exit->qualification;
	exit->word = code_of(exit);
	exit->qualification = info1_of(v, exit);
	exit->idt_vectoring = event_info(exit->idt_vectoring);
}
