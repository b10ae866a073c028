/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VM exits: how each is filled in, and the exit word. Which of several wins is decided where they are
 * found, in run.c (docs/exits.md has the table).
 */
#include "emu/run.h"
#include "emu/svm.h"
#include "emu/vm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ the word */

/*
 * The upper half of the exit reason (SDM 27.9.1, table 27-19; Linux's union vmx_exit_reason). A bit
 * without a name is reserved. `never`: why this processor does not set it.
 */
static const struct word_bit {
	uint32_t bit;
	const char *name;
	const char *never;
} word_bits[] = {
	{ 1u << 25, "shadow stack busy", "there are no shadow stacks (CR4.CET)" },
	{ VMX_EXIT_BUS_LOCK_ASSERTED, "bus lock", NULL },
	{ 1u << 27, "enclave mode", "there are no enclaves (SGX)" },
	{ 1u << 28, "pending MTF", "set by SMM VM exits alone, and there is no dual-monitor SMM" },
	{ 1u << 29, "exit from VMX root operation", "as bit 28" },
	{ VMX_EXIT_ENTRY_FAILURE, "VM-entry failure", NULL },
};
#define WORD_BITS (sizeof(word_bits) / sizeof(word_bits[0]))

static const struct {
	uint16_t reason;
	const char *name; /* as in Linux's VMX_EXIT_REASONS */
} reasons[] = {
	{ VMX_EXCEPTION_NMI, "EXCEPTION_NMI" },
	{ VMX_EXTERNAL_INTERRUPT, "EXTERNAL_INTERRUPT" },
	{ VMX_TRIPLE_FAULT, "TRIPLE_FAULT" },
	{ VMX_INTERRUPT_WINDOW, "INTERRUPT_WINDOW" },
	{ VMX_NMI_WINDOW, "NMI_WINDOW" },
	{ VMX_TASK_SWITCH, "TASK_SWITCH" },
	{ VMX_CPUID, "CPUID" },
	{ VMX_HLT, "HLT" },
	{ VMX_VMCALL, "VMCALL" },
	{ VMX_CR_ACCESS, "CR_ACCESS" },
	{ VMX_DR_ACCESS, "DR_ACCESS" },
	{ VMX_IO, "IO_INSTRUCTION" },
	{ VMX_RDMSR, "MSR_READ" },
	{ VMX_WRMSR, "MSR_WRITE" },
	{ VMX_INVALID_STATE, "INVALID_STATE" },
	{ VMX_MTF, "MONITOR_TRAP_FLAG" },
	{ VMX_APIC_ACCESS, "APIC_ACCESS" },
	{ VMX_EPT_VIOLATION, "EPT_VIOLATION" },
	{ VMX_EPT_MISCONFIG, "EPT_MISCONFIG" },
	{ VMX_PREEMPTION_TIMER, "PREEMPTION_TIMER" },
	{ VMX_APIC_WRITE, "APIC_WRITE" },
	{ VMX_BUS_LOCK, "BUS_LOCK" },
};

const char *emu_exit_reason_name(uint32_t word)
{
	for (size_t n = 0; n < sizeof(reasons) / sizeof(reasons[0]); n++)
		if (reasons[n].reason == (word & 0xffff))
			return reasons[n].name;
	return NULL;
}

const char *emu_exit_word_bit(unsigned bit, const char **never)
{
	for (size_t n = 0; n < WORD_BITS; n++) {
		if (bit > 31 || word_bits[n].bit != 1u << bit)
			continue;
		if (never)
			*never = word_bits[n].never;
		return word_bits[n].name;
	}
	return NULL;
}

int emu_exit_word_text(uint32_t word, char *text, size_t size)
{
	const char *name = emu_exit_reason_name(word);
	uint32_t unnamed = word & 0xffff0000;
	char rest[16] = "";
	int length = name ? snprintf(text, size, "%s", name)
			  : snprintf(text, size, "reason %u", word & 0xffff);

	for (size_t n = 0; n < WORD_BITS; n++) {
		size_t at = (size_t)length < size ? (size_t)length : size;

		if (!(word & word_bits[n].bit))
			continue;
		unnamed &= ~word_bits[n].bit;
		length += snprintf(text ? text + at : NULL, size - at, ", %s", word_bits[n].name);
	}
	if (unnamed) {
		size_t at = (size_t)length < size ? (size_t)length : size;

		snprintf(rest, sizeof(rest), ", %#x", unnamed);
		length += snprintf(text ? text + at : NULL, size - at, "%s", rest);
	}
	return length;
}

/*
 * What only the end of an exit knows: bit 26 stands on every exit that follows a bus lock of the same
 * instruction while VMM bus-lock detection is on (SDM 27.9.1), whatever the exit is for.
 */
void finish_exit(struct emu_vcpu *v)
{
	struct run_state *run = v->run;
	struct emu_exit *exit = v->exit;

	if (v->vm->config.vendor == EMU_AMD)
		svm_finish_exit(v); /* a bus lock never coincides with another exit */
	if (!run->lock_taken)
		return;
	run->lock_taken = false;
	if (!exit->bus_lock)
		exit->lock = run->lock;
	/* Before the first instruction there is nothing that could have locked. */
	if (!bus_lock_traps(v) || exit->type == EMU_EXIT_ENTRY_FAILURE)
		return;
	exit->bus_lock = true;
	/* reason 74 says so itself: SDM app. C sets the bit, Linux is prepared for both */
	if ((exit->word & 0xffff) != VMX_BUS_LOCK || !v->vm->config.bare_reason_74)
		exit->word |= VMX_EXIT_BUS_LOCK_ASSERTED;
}

/* ------------------------------------------------------------------ each exit */

enum outcome leave(struct emu_vcpu *v, enum emu_exit_type type, uint32_t word)
{
	v->exit->type = type;
	v->exit->word = word;
	return EXIT;
}

/* SDM 27.9.3: the event that was on its way when the exit came up. */
void leave_vectoring(struct emu_vcpu *v)
{
	const struct vectoring *on_its_way = &v->vectoring;

	v->exit->idt_vectoring = on_its_way->info;
	v->exit->idt_vectoring_error = on_its_way->error;
	if (on_its_way->length)
		v->exit->insn_length = on_its_way->length;
}

enum outcome leave_unhandled(struct emu_vcpu *v, const struct insn *i)
{
	leave(v, EMU_EXIT_INTERNAL_ERROR, VMX_EPT_MISCONFIG);
	v->exit->error.suberror = EMU_ERROR_EMULATION;
	v->exit->error.insn_length = i ? i->length : 0;
	if (i)
		memcpy(v->exit->error.insn, i->bytes, i->length);
	v->exit->guest_physical = v->mmio_gpa;
	return EXIT;
}

/* The IDT itself lies on a device: Linux gives up, too. */
enum outcome leave_delivery(struct emu_vcpu *v)
{
	leave(v, EMU_EXIT_INTERNAL_ERROR, VMX_EPT_MISCONFIG);
	v->exit->error.suberror = EMU_ERROR_DELIVERY;
	leave_vectoring(v);
	v->exit->guest_physical = v->mmio_gpa;
	return EXIT;
}

enum outcome leave_debug(struct emu_vcpu *v, uint64_t causes)
{
	leave(v, EMU_EXIT_DEBUG, VMX_EXCEPTION_NMI);
	v->exit->interruption = INTR_VALID | INTR_HARDWARE | EXC_DB;
	v->exit->qualification = causes;
	v->exit->debug.vector = EXC_DB;
	v->exit->debug.rip = linear_rip(&v->cpu);
	/* as DR6 would show it; the bus-lock bit is active low (SDM 20.3.1.6) */
	v->exit->debug.dr6 = (causes ^ (causes & DR6_BLD)) | (DR6_FIXED & ~(causes & DR6_BLD));
	v->exit->debug.dr7 = v->debug.hardware_breakpoints ? v->debug.dr[7] : v->cpu.dr[7];
	return EXIT;
}

enum outcome leave_shutdown(struct emu_vcpu *v)
{
	return leave(v, EMU_EXIT_SHUTDOWN, VMX_TRIPLE_FAULT);
}

/*
 * Trap-like: the instruction has completed, what it leaves pending is saved (SDM 28.2, 30.2); an
 * interrupt shadow is there only if this very instruction began one.
 */
enum outcome leave_bus_lock(struct emu_vcpu *v)
{
	leave(v, EMU_EXIT_BUS_LOCK, VMX_BUS_LOCK);
	if (v->run->lock.in_delivery && v->vm->config.delivery_lock == EMU_DELIVERY_LOCK_VECTORING)
		leave_vectoring(v);
	return EXIT;
}

/* Trap-like, too, and before a bus lock's exit, whose bit it carries (SDM 32.4.3.3). */
enum outcome leave_apic_write(struct emu_vcpu *v)
{
	leave(v, EMU_EXIT_APIC_WRITE, VMX_APIC_WRITE);
	v->exit->qualification = v->run->apic_write.offset;
	v->run->apic_write.seen = false;
	return EXIT;
}
