// SPDX-License-Identifier: GPL-2.0-only
/* Exceptions, interrupts and NMIs on their way into the guest, and guest debugging. */
#include "vmm_shim/internal.h"
#include "vmm_shim/irqchip/lapic.h"

#include <errno.h>
#include <string.h>

#define NMI_VECTOR 2
#define DB_VECTOR  1
#define BP_VECTOR  3

static void queue(struct shim_vcpu *vcpu, uint8_t vector, bool has_error_code, uint32_t error)
{
	struct emu_events e;

	vcpu->ops->get_events(vcpu->emu, &e);
	memset(&e.exception, 0, sizeof(e.exception));
	e.exception.pending = true;
	e.exception.vector = vector;
	e.exception.has_error_code = has_error_code;
	e.exception.error_code = error;
	vcpu->ops->set_events(vcpu->emu, &e);
}

void event_queue_exception(struct shim_vcpu *vcpu, uint8_t vector)
{
	queue(vcpu, vector, false, 0);
}

/* kvm_queue_exception_e() */
void event_queue_exception_error(struct shim_vcpu *vcpu, uint8_t vector, uint32_t error)
{
	queue(vcpu, vector, true, error);
}

/* kvm_queue_interrupt(): the newest one wins; delivered whatever RFLAGS.IF says */
void event_queue_interrupt(struct shim_vcpu *vcpu, uint8_t vector)
{
	struct emu_events e;

	vcpu->stats.value[STAT_IRQ_INJECTIONS]++;
	if (vcpu->ops->inject_interrupt(vcpu->emu, vector) != -EBUSY)
		return;
	vcpu->ops->get_events(vcpu->emu, &e);
	e.interrupt.injected = true;
	e.interrupt.soft = false;
	e.interrupt.vector = vector;
	vcpu->ops->set_events(vcpu->emu, &e);
}

void event_requeue(struct shim_vcpu *vcpu, const struct emu_exit *exit)
{
	enum { INTERRUPT = 0, NMI = 2, EXCEPTION = 3, SOFT = 4 };
	const uint32_t info = exit->idt_vectoring;
	struct emu_events e;

	/* What came from an instruction comes again with it: RIP is still on that. */
	if (!(info >> 31) || exit->insn_length)
		return;
	/* emu_config.delivery_lock: behind the delivery all the same */
	if (config_intel() && exit->type == EMU_EXIT_BUS_LOCK)
		return;
	vcpu->ops->get_events(vcpu->emu, &e);
	switch (info >> 8 & 7) {
	case NMI:
		e.nmi.injected = true;
		e.nmi.masked = false;
		break;
	case EXCEPTION:
		memset(&e.exception, 0, sizeof(e.exception));
		e.exception.injected = true;
		e.exception.vector = (uint8_t)info;
		e.exception.has_error_code = info >> 11 & 1;
		e.exception.error_code = exit->idt_vectoring_error;
		break;
	case INTERRUPT:
	case SOFT:
		e.interrupt.injected = true;
		e.interrupt.soft = (info >> 8 & 7) == SOFT;
		e.interrupt.vector = (uint8_t)info;
		break;
	default:
		return;
	}
	vcpu->ops->set_events(vcpu->emu, &e);
}

/* ------------------------------------------------------------------ KVM_GET_VCPU_EVENTS */

/* kvm_exception_is_soft(): reported as nothing, the instruction will raise it again */
static bool soft(unsigned vector)
{
	return vector == 3 || vector == 4;
}

void event_get(struct shim_vcpu *vcpu, struct kvm_vcpu_events *k)
{
	const struct shim_vm *vm = vcpu->vm;
	struct emu_events e;

	vcpu->ops->get_events(vcpu->emu, &e);
	memset(k, 0, sizeof(*k));
	if (!soft(e.exception.vector)) {
		k->exception.injected = e.exception.injected;
		k->exception.pending = e.exception.pending;
		/* "deliberately conflate" without the capability */
		if (!vm->exception_payload)
			k->exception.injected |= e.exception.pending;
	}
	k->exception.nr = e.exception.vector;
	k->exception.has_error_code = e.exception.has_error_code;
	k->exception.error_code = e.exception.error_code;
	k->exception_has_payload = e.exception.has_payload;
	k->exception_payload = e.exception.payload;
	k->interrupt.injected = e.interrupt.injected && !e.interrupt.soft;
	k->interrupt.nr = e.interrupt.vector;
	k->interrupt.shadow = e.interrupt.shadow; /* KVM_X86_SHADOW_INT_ has EMU_SHADOW_'s bits */
	k->nmi.injected = e.nmi.injected;
	k->nmi.pending = e.nmi.pending || (vcpu->apic && atomic_load(&vcpu->apic->nmis));
	k->nmi.masked = e.nmi.masked;
	k->smi.latched_init = vcpu->apic && lapic_latched_init(vcpu);
	k->flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
		   KVM_VCPUEVENT_VALID_SMM;
	if (vm->exception_payload)
		k->flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	if (vm->triple_fault_event) {
		k->triple_fault.pending = e.triple_fault_pending;
		k->flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	}
	_Static_assert((int)KVM_X86_SHADOW_INT_MOV_SS == (int)EMU_SHADOW_MOV_SS, "");
	_Static_assert((int)KVM_X86_SHADOW_INT_STI == (int)EMU_SHADOW_STI, "");
}

/* ------------------------------------------------------------------ KVM_SET_VCPU_EVENTS */

/* The checks of kvm_vcpu_ioctl_x86_set_vcpu_events(), in its order. Changes `k` as it does. */
static int check_events(const struct shim_vm *vm, struct kvm_vcpu_events *k)
{
	if (k->flags &
	    ~(uint32_t)(KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
			KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM |
			KVM_VCPUEVENT_VALID_PAYLOAD | KVM_VCPUEVENT_VALID_TRIPLE_FAULT))
		return -EINVAL;
	if (k->flags & KVM_VCPUEVENT_VALID_PAYLOAD) {
		if (!vm->exception_payload)
			return -EINVAL;
		if (k->exception.pending)
			k->exception.injected = 0;
		else
			k->exception_has_payload = 0;
	} else {
		k->exception.pending = 0;
		k->exception_has_payload = 0;
	}
	if ((k->exception.injected || k->exception.pending) &&
	    (k->exception.nr > 31 || k->exception.nr == NMI_VECTOR))
		return -EINVAL;
	/* a kernel without CONFIG_KVM_SMM */
	if ((k->flags & KVM_VCPUEVENT_VALID_SMM) &&
	    (k->smi.smm || k->smi.pending || k->smi.smm_inside_nmi))
		return -EINVAL;
	if ((k->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) && !vm->triple_fault_event)
		return -EINVAL;
	return 0;
}

int event_set(struct shim_vcpu *vcpu, const struct kvm_vcpu_events *given)
{
	struct kvm_vcpu_events k = *given;
	struct emu_events e;
	int r = check_events(vcpu->vm, &k);

	if (r)
		return r;
	vcpu->ops->get_events(vcpu->emu, &e);
	e.exception.injected = k.exception.injected;
	e.exception.pending = k.exception.pending;
	e.exception.vector = k.exception.nr;
	e.exception.has_error_code = k.exception.has_error_code;
	e.exception.error_code = k.exception.error_code;
	e.exception.has_payload = k.exception_has_payload;
	e.exception.payload = k.exception_payload;
	e.interrupt.injected = k.interrupt.injected;
	e.interrupt.vector = k.interrupt.nr;
	e.interrupt.soft = k.interrupt.soft;
	if (k.flags & KVM_VCPUEVENT_VALID_SHADOW)
		e.interrupt.shadow = k.interrupt.shadow & (EMU_SHADOW_MOV_SS | EMU_SHADOW_STI);
	e.nmi.injected = k.nmi.injected;
	if (k.flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
		e.nmi.pending = k.nmi.pending;
	if (vcpu->apic)
		lapic_set_events(vcpu, &k);
	e.nmi.masked = k.nmi.masked;
	if (k.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT)
		e.triple_fault_pending = k.triple_fault.pending;
	vcpu->ops->set_events(vcpu->emu, &e);
	return 0;
}

/* ------------------------------------------------------------------ the ioctls */

static long interrupt(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_interrupt irq;

	if (user_read(&irq, argument, sizeof(irq)))
		return -EFAULT;
	if (irq.irq >= ABI_NR_INTERRUPTS)
		return -EINVAL;
	if (vcpu->apic)
		return lapic_interrupt(vcpu, (uint8_t)irq.irq);
	event_queue_interrupt(vcpu, (uint8_t)irq.irq);
	return 0;
}

static long set_guest_debug(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_guest_debug k;
	struct emu_debug d = { 0 };
	struct emu_events e;

	if (user_read(&k, argument, sizeof(k)))
		return -EFAULT;
	if (k.control & (KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP)) {
		vcpu->ops->get_events(vcpu->emu, &e);
		if (e.exception.pending)
			return -EBUSY;
		event_queue_exception(vcpu,
				      k.control & KVM_GUESTDBG_INJECT_DB ? DB_VECTOR : BP_VECTOR);
	}
	vcpu->guest_debug = k.control & KVM_GUESTDBG_ENABLE ? k.control : 0;
	if (vcpu->apic) /* KVM_GUESTDBG_BLOCKIRQ */
		atomic_store(&vcpu->apic->look, true);
	d.single_step = vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP;
	d.software_breakpoints = vcpu->guest_debug & KVM_GUESTDBG_USE_SW_BP;
	d.hardware_breakpoints = vcpu->guest_debug & KVM_GUESTDBG_USE_HW_BP;
	memcpy(d.dr, k.arch.debugreg, sizeof(d.dr));
	vcpu->ops->set_debug(vcpu->emu, &d);
	return 0;
}

static long set_mp_state(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_mp_state k;

	if (user_read(&k, argument, sizeof(k)))
		return -EFAULT;
	if (vcpu->apic)
		return lapic_set_mp_state(vcpu, k.mp_state);
	/* Every other state is the in-kernel interrupt controller's. */
	if (k.mp_state != KVM_MP_STATE_RUNNABLE)
		return -EINVAL;
	vcpu->mp_state = k.mp_state;
	return 0;
}

long event_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument)
{
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp;

	switch (request) {
	case KVM_INTERRUPT:
		return interrupt(vcpu, argument);
	case KVM_NMI:
		vcpu->stats.value[STAT_NMI_INJECTIONS]++;
		vcpu->ops->inject_nmi(vcpu->emu);
		return 0;
	case KVM_SET_GUEST_DEBUG:
		return set_guest_debug(vcpu, argument);
	case KVM_SET_MP_STATE:
		return set_mp_state(vcpu, argument);
	case KVM_GET_MP_STATE:
		mp.mp_state = vcpu->apic ? lapic_get_mp_state(vcpu) : vcpu->mp_state;
		return user_write(argument, &mp, sizeof(mp));
	case KVM_GET_VCPU_EVENTS:
		event_get(vcpu, &events);
		return user_write(argument, &events, sizeof(events));
	default:
		return user_read(&events, argument, sizeof(events)) ? -EFAULT
								    : event_set(vcpu, &events);
	}
}
