// SPDX-License-Identifier: GPL-2.0-only
/*
 * Between two instructions: which event comes next, whether the guest's own or the hypervisor's, and
 * what becomes of a delivery that does not reach its end (event.c delivers one).
 */
#include "emu/run.h"
#include "emu/vm.h"

#include <string.h>

/* What `info` does not name comes from an instruction, which executes again. */
void deliver_again(struct emu_vcpu *v)
{
	struct emu_events *e = &v->events;
	uint32_t info = v->vectoring.info;

	switch (info & INTR_TYPE) {
	case INTR_NMI:
		e->nmi.injected = true;
		break;
	case INTR_HARDWARE:
		e->exception.injected = true;
		e->exception.vector = (uint8_t)info;
		e->exception.has_error_code = info & INTR_ERROR;
		e->exception.error_code = v->vectoring.error;
		break;
	case INTR_EXTERNAL:
	case INTR_SOFTWARE:
		e->interrupt.injected = true;
		e->interrupt.soft = (info & INTR_TYPE) == INTR_SOFTWARE;
		e->interrupt.vector = (uint8_t)info;
		break;
	}
}

static enum outcome after_delivery(struct emu_vcpu *v, enum outcome r)
{
	switch (r) {
	case DONE:
		v->cpu.shadow = 0;
		return DONE;
	case SHUTDOWN:
		return leave_shutdown(v);
	case HOST_GONE:
	case EXIT:
		return r;
	case FAULT: /* of an injected software interrupt */
		return deliver_fault(v);
	default:
		r = r == MMIO ? leave_intercepted(v, NULL) : r;
		return r == EXIT ? EXIT : leave_delivery(v);
	}
}

enum outcome deliver_fault(struct emu_vcpu *v)
{
	struct fault f = v->fault;
	if (f.vector == EXC_DB) {
		f.cr2 = v->pending_db_dr6;
		v->pending_db_dr6 = 0;
		if (v->debug.single_step || v->debug.hardware_breakpoints)
			return leave_debug(v, f.cr2);
		/* intercepted, it leaves DR6 alone (SDM 28.1) */
		if (!exception_intercepted(v, EXC_DB))
			exception_payload(v, EXC_DB, f.cr2);
	}
	enum outcome r = deliver_exception(v, &f);
	v->stats.exceptions += r == DONE;
	return after_delivery(v, r);
}

bool emu_vcpu_interruptible(struct emu_vcpu *v)
{
	return v->cpu.rflags & FL_IF && !v->cpu.shadow && !v->events.interrupt.injected &&
	       !v->events.exception.injected && !v->events.nmi.injected && !v->pending_db;
}

/* B0 to B3, BLD, enabled breakpoint, BS, RTM; BT is no bit of the field, but of task switches that are
 * carried out here (SDM table 27-4). */
#define PENDING_DEBUG_BITS (DR6_B0_TO_B3 | DR6_BLD | PENDING_ENABLED | DR6_BS | DR6_BT | DR6_RTM)

/*
 * SDM 29.7.3: no debug exceptions are pending after a VM entry that injects an event; those of MOV SS
 * outlive a software interrupt.
 */
static void drop_debug_traps(struct emu_vcpu *v)
{
	const struct emu_events *e = &v->events;
	bool soft = !e->exception.injected && !e->exception.pending && !e->nmi.injected &&
		    e->interrupt.soft;

	if (soft && v->cpu.shadow == EMU_SHADOW_MOV_SS)
		return;
	v->pending_db = false;
	v->pending_db_dr6 = 0;
}

/* What the monitor injected: VM-entry event injection (SDM 29.6). */
static enum outcome deliver_injected(struct emu_vcpu *v)
{
	struct emu_events *e = &v->events;
	if (e->exception.injected || e->exception.pending) {
		v->fault = (struct fault){ .vector = e->exception.vector,
					   .has_error = e->exception.has_error_code,
					   .error = e->exception.error_code,
					   .cr2 = v->cpu.cr2 };
		if (e->exception.has_payload) {
			exception_payload(v, e->exception.vector, e->exception.payload);
			v->fault.cr2 = v->cpu.cr2;
		}
		struct fault f = v->fault;
		memset(&e->exception, 0, sizeof(e->exception));
		enum outcome r = inject_exception(v, &f);
		v->stats.exceptions += r == DONE;
		return after_delivery(v, r);
	}
	if (e->nmi.injected) {
		e->nmi.injected = false;
		e->nmi.masked = true;
		return after_delivery(v, deliver_nmi(v));
	}
	if (e->interrupt.injected) {
		e->interrupt.injected = false;
		enum outcome r = e->interrupt.soft ? deliver_software(v, e->interrupt.vector)
						   : deliver_interrupt(v, e->interrupt.vector);
		v->stats.interrupts += r == DONE;
		return after_delivery(v, r);
	}
	return DONE;
}

bool events_wait(const struct emu_vcpu *v)
{
	const struct emu_events *e = &v->events;

	return e->exception.injected | e->exception.pending | e->interrupt.injected |
	       e->nmi.injected | e->nmi.pending | e->triple_fault_pending | v->pending_db |
	       v->interrupt_window | (e->pending_debug != 0);
}

/* VM entry refuses reserved bits (SDM 29.3.1.5), and an external interrupt that could not come (29.3.1.4). */
static bool entry_fails(const struct emu_vcpu *v)
{
	const struct emu_events *e = &v->events;
	bool external = e->interrupt.injected && !e->interrupt.soft && !e->nmi.injected &&
			!e->exception.injected && !e->exception.pending;

	return e->pending_debug & ~PENDING_DEBUG_BITS ||
	       (external && (!(v->cpu.rflags & FL_IF) || v->cpu.shadow));
}

enum outcome deliver_events(struct emu_vcpu *v)
{
	struct emu_events *e = &v->events;
	enum outcome r = DONE;
	if (e->triple_fault_pending) {
		e->triple_fault_pending = false;
		return leave_shutdown(v);
	}
	if (entry_fails(v))
		return leave(v, EMU_EXIT_ENTRY_FAILURE, VMX_INVALID_STATE | VMX_EXIT_ENTRY_FAILURE);
	if (e->exception.injected || e->exception.pending || e->nmi.injected ||
	    e->interrupt.injected) {
		drop_debug_traps(v);
		r = deliver_injected(v);
		if (r)
			return r;
	}
	if (debug_trap_is_due(v)) {
		v->pending_db = false;
		raise(v, EXC_DB);
		return deliver_fault(v);
	}
	if (e->nmi.pending && !e->nmi.masked && !v->cpu.shadow) {
		e->nmi.pending = false;
		e->nmi.masked = true;
		r = after_delivery(v, deliver_nmi(v));
		if (r)
			return r;
	}
	if (v->interrupt_window && emu_vcpu_interruptible(v))
		return leave(v, EMU_EXIT_INTERRUPT_WINDOW, VMX_INTERRUPT_WINDOW);
	return DONE;
}
