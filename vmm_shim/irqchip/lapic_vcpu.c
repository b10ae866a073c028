// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU and its local APIC: interrupts on their way into the guest, INIT and SIPI, HLT, and the
 * registers that both have. Linux does this in vcpu_run() and what it calls (arch/x86/kvm/x86.c, 6.12).
 *
 * The vCPU's own thread does all that touches the processor. Others leave what they want in the APIC and
 * set `look`; so the guest's interruptibility and its CR8 are always read where they are exact.
 */
#include "vmm_shim/irqchip/lapic.h"
#include "vmm_shim/raw.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How late a vCPU in HLT notices a signal from outside the process; those from inside wake it. */
#define LOOK_NS 5000000l

#define GUESTDBG_BLOCKIRQ 0x00100000u /* KVM_GUESTDBG_BLOCKIRQ, since 5.15 */

/* ------------------------------------------------------------------ telling the vCPU */

static bool wake(struct lapic *a)
{
	if (!atomic_exchange(&a->asleep, 0))
		return false;
	if (vclock_virtual())
		vclock_wake_from_guest(&a->asleep);
	raw_syscall(SYS_futex, &a->asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	return true;
}

void lapic_wake(struct lapic *a)
{
	wake(a);
}

/*
 * Who finds `look` set need not kick: whoever set it did, or the vCPU was not running, and it looks after
 * it has announced itself as running and before the guest does. In virtual time nobody else runs.
 */
void lapic_look(struct lapic *a)
{
	struct shim_vcpu *vcpu = a->vcpu;

	if (atomic_exchange(&a->look, true) || wake(a) || vcpu_current() == vcpu)
		return;
	if (atomic_load(&vcpu->runner) && !vclock_virtual())
		vcpu->ops->kick(vcpu->emu);
}

void lapic_timer_came_first(struct irqchip *chip)
{
	for (unsigned i = 0; i < chip->apics; i++)
		lapic_wake(chip->apic[i]);
}

/* Timers that are due fire before anybody looks: in virtual time there is no thread that does it. */
void lapic_lock(struct irqchip *chip)
{
	lock_take(&chip->lock);
	if (vclock_virtual())
		irq_run_timers(chip, shim_now_ns());
}

/* ------------------------------------------------------------------ CR8 is the task priority's class */

/* Of a guest that has not changed it the lower half stays, too. */
static void take_cr8(struct lapic *a, uint64_t cr8)
{
	if (cr8 != lapic_cr8(a))
		*lapic_reg(a, LAPIC_TPR) = (uint32_t)cr8 << 4;
}

void lapic_give_cr8(struct shim_vcpu *vcpu)
{
	uint64_t cr8 = lapic_cr8(vcpu->apic);
	struct emu_state state;

	vcpu->ops->get_state(vcpu->emu, &state);
	if (state.cr8 != cr8) {
		state.cr8 = cr8;
		vcpu->ops->set_state(vcpu->emu, &state);
	}
	vcpu->cr8 = cr8;
}

void lapic_sync_cr8(struct shim_vcpu *vcpu)
{
	struct backend_brief brief;

	vcpu->ops->get_brief(vcpu->emu, &brief);
	take_cr8(vcpu->apic, brief.cr8);
}

void lapic_cr8_changed(struct shim_vcpu *vcpu, uint64_t cr8)
{
	lock_take(&vcpu->apic->chip->lock);
	take_cr8(vcpu->apic, cr8);
	lapic_look(vcpu->apic);
	lock_drop(&vcpu->apic->chip->lock);
}

/* ------------------------------------------------------------------ KVM_SET_VAPIC_ADDR */

/* A copy of the priorities in guest memory, for guests that the monitor patches: 32-bit Windows. Byte 0 is
 * the TPR, 1 the class in service, 3 the highest request (kvm_lapic_sync_to_vapic()). */
static uint32_t vapic_data(const struct lapic *a)
{
	uint32_t isr = 0, irr = 0;

	for (unsigned i = 0; i < 8; i++) {
		uint32_t service = lapic_get(a, LAPIC_ISR + i * 16);
		uint32_t request = lapic_get(a, LAPIC_IRR + i * 16);

		isr = service ? i * 32 + 31 - (unsigned)__builtin_clz(service) : isr;
		irr = request ? i * 32 + 31 - (unsigned)__builtin_clz(request) : irr;
	}
	return (lapic_get(a, LAPIC_TPR) & 0xff) | (isr & 0xf0) << 8 | irr << 24;
}

static void vapic_store(struct lapic *a)
{
	uint32_t data;
	uint64_t host;

	lock_take(&a->chip->lock);
	data = vapic_data(a);
	lock_drop(&a->chip->lock);
	if (!memory_host(a->vcpu->vm, a->vapic, sizeof(data), &host))
		user_write(host, &data, sizeof(data));
}

static void vapic_load(struct shim_vcpu *vcpu)
{
	struct lapic *a = vcpu->apic;
	uint64_t host;
	uint32_t data;

	if (memory_host(vcpu->vm, a->vapic, sizeof(data), &host) ||
	    user_read(&data, host, sizeof(data)) ||
	    (data & 0xff) == (lapic_get(a, LAPIC_TPR) & 0xff))
		return;
	lock_take(&a->chip->lock);
	lapic_set_tpr(a, data);
	lock_drop(&a->chip->lock);
	lapic_give_cr8(vcpu);
}

/* ------------------------------------------------------------------ INIT, SIPI */

void lapic_init(struct shim_vcpu *vcpu)
{
	lock_take(&vcpu->apic->chip->lock);
	lapic_reset(vcpu->apic, true);
	lock_drop(&vcpu->apic->chip->lock);
}

/* kvm_vcpu_deliver_sipi_vector(); SDM 11.4.4.2 */
static void start_at(struct shim_vcpu *vcpu, uint8_t vector)
{
	struct emu_state state;

	vcpu->ops->get_state(vcpu->emu, &state);
	state.segment[EMU_CS].selector = (uint16_t)(vector << 8);
	state.segment[EMU_CS].base = (uint64_t)vector << 12;
	state.rip = 0;
	vcpu->ops->set_state(vcpu->emu, &state);
}

/* kvm_apic_accept_events(). A SIPI for who does not wait for one is dropped (SDM 11.4.4). */
void lapic_accept_events(struct shim_vcpu *vcpu)
{
	struct lapic *a = vcpu->apic;
	bool init, startup;
	uint8_t vector;

	lock_take(&a->chip->lock);
	init = a->init;
	startup = a->startup;
	vector = a->startup_vector;
	a->init = a->startup = false;
	lock_drop(&a->chip->lock);
	if (init) {
		state_init(vcpu);
		if (!config_intel()) /* init_vmcb() */
			vcpu_latch_bus_lock(vcpu);
		vcpu->mp_state = a->base & APIC_BASE_BSP ? KVM_MP_STATE_RUNNABLE
							 : KVM_MP_STATE_INIT_RECEIVED;
	}
	if (startup && vcpu->mp_state == KVM_MP_STATE_INIT_RECEIVED) {
		start_at(vcpu, vector);
		vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	}
}

/* ------------------------------------------------------------------ interrupts */

/* kvm_cpu_has_extint() */
static bool has_external(struct lapic *a)
{
	if (!lapic_takes_external(a))
		return false;
	return atomic_load(&a->chip->mode) == IRQCHIP_SPLIT ? a->external >= 0
							    : pic_pending(a->chip);
}

static bool has_interrupt(struct lapic *a)
{
	return has_external(a) || lapic_pending(a) >= 0;
}

/* kvm_cpu_get_interrupt(): the 8259s come first */
static int take_interrupt(struct lapic *a)
{
	int vector;

	if (has_external(a)) {
		if (atomic_load(&a->chip->mode) == IRQCHIP_KERNEL)
			return pic_acknowledge(a->chip);
		vector = a->external;
		a->external = -1;
		return vector;
	}
	vector = lapic_pending(a);
	if (vector >= 0)
		lapic_acknowledge(a, (unsigned)vector);
	return vector;
}

bool lapic_accepts_external(struct shim_vcpu *vcpu)
{
	struct lapic *a = vcpu->apic;
	bool accepts;

	lock_take(&a->chip->lock);
	accepts = lapic_takes_external(a) && !has_external(a);
	lock_drop(&a->chip->lock);
	return accepts;
}

/* An event that stands in front of an interrupt; what waits behind it asks for a window. */
static bool nmi_is_next(const struct emu_events *e)
{
	return e->nmi.pending && !e->nmi.masked;
}

/* What others have left for this vCPU to do. True: the monitor has to do it. */
static bool for_monitor(struct shim_vcpu *vcpu)
{
	struct lapic *a = vcpu->apic;

	if (a->tell_tpr) {
		a->tell_tpr = false;
		vcpu->run->exit_reason = KVM_EXIT_TPR_ACCESS;
	} else if (a->eoi >= 0) {
		vcpu->run->exit_reason = KVM_EXIT_IOAPIC_EOI;
		vcpu->run->eoi.vector = (uint8_t)a->eoi;
		a->eoi = -1;
	} else {
		return false;
	}
	atomic_store(&a->look, true); /* for the rest */
	return true;
}

/* kvm_vcpu_has_events() of one that is halted, and kvm_check_and_inject_events(). */
static enum lapic_next take_up_events(struct shim_vcpu *vcpu)
{
	struct lapic *a = vcpu->apic;
	struct emu_events e;
	/* "Don't inject interrupts if the user asked to avoid doing so", nor ask for a window */
	bool blocked = vcpu->guest_debug & GUESTDBG_BLOCKIRQ;
	bool open, first;
	int vector = -1;

	if (atomic_exchange(&a->nmis, 0))
		vcpu->ops->inject_nmi(vcpu->emu);
	vcpu->ops->get_events(vcpu->emu, &e);
	open = vcpu->ops->interruptible(vcpu->emu);
	first = e.exception.pending || nmi_is_next(&e);
	lock_take(&a->chip->lock);
	lapic_sync_cr8(vcpu);
	if (vcpu->mp_state != KVM_MP_STATE_RUNNABLE && !first && !(open && has_interrupt(a))) {
		lock_drop(&a->chip->lock);
		return LAPIC_WAIT;
	}
	vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	if (open && !first && !blocked)
		vector = take_interrupt(a);
	a->window = !blocked && has_interrupt(a);
	lock_drop(&a->chip->lock);
	if (a->vapic)
		vapic_store(a);
	if (vector >= 0)
		vcpu->ops->inject_interrupt(vcpu->emu, (uint8_t)vector);
	return LAPIC_ENTER;
}

enum lapic_next lapic_before_entry(struct shim_vcpu *vcpu)
{
	struct lapic *a = vcpu->apic;

	if (!vclock_virtual() && !atomic_load(&a->look) && vcpu->mp_state == KVM_MP_STATE_RUNNABLE)
		return LAPIC_ENTER;
	lapic_lock(a->chip);
	if (lapic_timer_waits(a))
		lapic_timer_deliver(a);
	/* under the lock: what comes from now on sets it again */
	if (!atomic_exchange(&a->look, false) && vcpu->mp_state == KVM_MP_STATE_RUNNABLE) {
		lock_drop(&a->chip->lock);
		return LAPIC_ENTER;
	}
	lock_drop(&a->chip->lock);
	if (for_monitor(vcpu))
		return LAPIC_EXIT;
	lapic_accept_events(vcpu);
	if (vcpu->mp_state != KVM_MP_STATE_RUNNABLE && vcpu->mp_state != KVM_MP_STATE_HALTED &&
	    vcpu->mp_state != KVM_MP_STATE_AP_RESET_HOLD)
		return LAPIC_WAIT;
	return take_up_events(vcpu);
}

bool lapic_has_news(struct shim_vcpu *vcpu)
{
	return atomic_load(&vcpu->apic->look);
}

void lapic_halt(struct shim_vcpu *vcpu)
{
	vcpu->mp_state = KVM_MP_STATE_HALTED;
}

/* In virtual time until the next timer, whosever it is: who waits for it passes time. */
static void wait_virtual(struct shim_vcpu *vcpu)
{
	struct lapic *a = vcpu->apic;
	uint64_t deadline = UINT64_MAX;

	lock_take(&a->chip->lock);
	irq_next_timer(a->chip, &deadline);
	lock_drop(&a->chip->lock);
	vclock_guest_wait(vcpu, deadline, &a->asleep, 1);
}

void lapic_wait(struct shim_vcpu *vcpu)
{
	const struct timespec patience = { 0, LOOK_NS };
	struct lapic *a = vcpu->apic;

	atomic_store(&a->asleep, 1);
	/* a signal that has been announced: the look at it may have to wait for it, not for the next one */
	if (!atomic_load(&a->look) && !atomic_load(&vcpu->signal_expected)) {
		if (vclock_virtual())
			wait_virtual(vcpu);
		else
			raw_syscall(SYS_futex, &a->asleep, FUTEX_WAIT_PRIVATE, 1, &patience, NULL,
				    0);
	}
	atomic_store(&a->asleep, 0);
	ticker_need();
}

uint64_t lapic_after_run(struct shim_vcpu *vcpu, uint64_t cr8)
{
	if (cr8 != lapic_cr8(vcpu->apic))
		lapic_cr8_changed(vcpu, cr8);
	if (vcpu->apic->vapic)
		vapic_load(vcpu);
	return lapic_cr8(vcpu->apic);
}

/* ------------------------------------------------------------------ what the monitor does to it */

/* kvm_vcpu_ioctl_interrupt(): for the monitor's own 8259s */
int lapic_interrupt(struct shim_vcpu *vcpu, uint8_t vector)
{
	struct lapic *a = vcpu->apic;
	int r = 0;

	if (atomic_load(&a->chip->mode) == IRQCHIP_KERNEL)
		return -ENXIO;
	lock_take(&a->chip->lock);
	if (a->external >= 0)
		r = -EEXIST;
	else
		a->external = vector;
	lapic_look(a);
	lock_drop(&a->chip->lock);
	return r;
}

bool lapic_latched_init(struct shim_vcpu *vcpu)
{
	bool init;

	lock_take(&vcpu->apic->chip->lock);
	init = vcpu->apic->init;
	lock_drop(&vcpu->apic->chip->lock);
	return init;
}

/* KVM_SET_VCPU_EVENTS: what of it is the local APIC's. */
void lapic_set_events(struct shim_vcpu *vcpu, const struct kvm_vcpu_events *events)
{
	struct lapic *a = vcpu->apic;

	lock_take(&a->chip->lock);
	if (events->flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR)
		a->startup_vector = (uint8_t)events->sipi_vector;
	if (events->flags & KVM_VCPUEVENT_VALID_SMM)
		a->init = events->smi.latched_init;
	if (events->flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
		atomic_store(&a->nmis, 0);
	lapic_look(a);
	lock_drop(&a->chip->lock);
}

uint32_t lapic_get_mp_state(struct shim_vcpu *vcpu)
{
	lapic_accept_events(vcpu);
	return vcpu->mp_state;
}

int lapic_set_mp_state(struct shim_vcpu *vcpu, uint32_t state)
{
	struct lapic *a = vcpu->apic;

	switch (state) {
	case KVM_MP_STATE_RUNNABLE:
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_HALTED:
	case KVM_MP_STATE_AP_RESET_HOLD:
	case KVM_MP_STATE_INIT_RECEIVED:
		vcpu->mp_state = state;
		break;
	case KVM_MP_STATE_SIPI_RECEIVED: /* with the vector of KVM_SET_VCPU_EVENTS */
		vcpu->mp_state = KVM_MP_STATE_INIT_RECEIVED;
		lock_take(&a->chip->lock);
		a->startup = true;
		lock_drop(&a->chip->lock);
		break;
	default:
		return -EINVAL;
	}
	lapic_look(a);
	return 0;
}

/* ------------------------------------------------------------------ beginning and end */

int lapic_create(struct shim_vcpu *vcpu)
{
	struct irqchip *chip = vcpu->vm->irqchip;
	struct lapic *a = aligned_alloc(64, (sizeof(*a) + 63) & ~63ul);

	if (!a)
		return -ENOMEM;
	memset(a, 0, sizeof(*a));
	a->vcpu = vcpu;
	a->chip = chip;
	a->external = a->eoi = -1;
	lapic_timer_init(a);
	lapic_set_lvts(a, false);
	lock_take(&chip->lock);
	lapic_reset(a, false);
	chip->apic[chip->apics++] = a;
	vcpu->apic = a;
	lock_drop(&chip->lock);
	return 0;
}

void lapic_free(struct shim_vcpu *vcpu)
{
	struct lapic *a = vcpu->apic;
	struct irqchip *chip;

	if (!a)
		return;
	chip = a->chip;
	lock_take(&chip->lock);
	irq_timer_set(chip, &a->timer.alarm, 0);
	for (unsigned i = 0; i < chip->apics; i++) {
		if (chip->apic[i] != a)
			continue;
		memmove(&chip->apic[i], &chip->apic[i + 1],
			(--chip->apics - i) * sizeof(chip->apic[0]));
		break;
	}
	vcpu->apic = NULL;
	lock_drop(&chip->lock);
	free(a);
}
