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
#include <x86intrin.h>

/* How late a vCPU in HLT notices a signal from outside the process; those from inside wake it. */
#define LOOK_NS 5000000l

#define MSR_APIC_BASE    0x1bu
#define MSR_TSC          0x10u
#define MSR_TSC_ADJUST   0x3bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC       0x800u
#define MSR_X2APIC_LAST  0x8ffu

#define CPUID_TSC_DEADLINE (1u << 24) /* leaf 1, ECX */

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
static void chip_lock(struct irqchip *chip)
{
	lock_take(&chip->lock);
	if (vclock_virtual())
		irq_run_timers(chip, shim_now_ns());
}

/* ------------------------------------------------------------------ the guest's time-stamp counter */

static uint64_t own_tsc(void)
{
	return vclock_virtual() ? vclock_cycles() : __rdtsc();
}

/* Asking the processor may wait for it: not with chip->lock, and only when somebody has written it. */
static void know_tsc(struct shim_vcpu *vcpu)
{
	struct lapic_timer *timer = &vcpu->apic->timer;
	uint64_t tsc = 0;

	if (timer->tsc_known || vcpu->ops->get_msr(vcpu->emu, MSR_TSC, &tsc, true))
		return;
	timer->tsc_offset = (int64_t)(tsc - own_tsc());
	timer->tsc_known = true;
}

uint64_t lapic_guest_tsc(struct lapic *a)
{
	return own_tsc() + (uint64_t)a->timer.tsc_offset;
}

/* ------------------------------------------------------------------ CR8 is the task priority's class */

/* Of a guest that has not changed it the lower half stays, too. */
static void take_cr8(struct lapic *a, uint64_t cr8)
{
	if (cr8 != lapic_cr8(a))
		*lapic_reg(a, LAPIC_TPR) = (uint32_t)cr8 << 4;
}

static void give_cr8(struct shim_vcpu *vcpu)
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

static void sync_cr8(struct shim_vcpu *vcpu)
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
	give_cr8(vcpu);
}

static long set_vapic(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_vapic_addr k;
	uint64_t host;

	if (user_read(&k, argument, sizeof(k)))
		return -EFAULT;
	if (k.vapic_addr && memory_host(vcpu->vm, k.vapic_addr, sizeof(uint32_t), &host))
		return -EINVAL;
	vcpu->apic->vapic = k.vapic_addr;
	return 0;
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
	sync_cr8(vcpu);
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
	chip_lock(a->chip);
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

/* ------------------------------------------------------------------ the page */

/* kvm_lapic_reg_write() of an aligned doubleword; anything else is dropped (SDM 11.4.1). */
static void page_write(struct shim_vcpu *vcpu, unsigned offset, unsigned size, const void *data)
{
	struct lapic *a = vcpu->apic;
	uint32_t value;

	if (size != 4 || offset & 15)
		return;
	memcpy(&value, data, sizeof(value));
	chip_lock(a->chip);
	lapic_write(a, offset, value);
	lock_drop(&a->chip->lock);
	if (offset == LAPIC_TPR)
		give_cr8(vcpu);
}

static void page_read(struct shim_vcpu *vcpu, unsigned offset, unsigned size, void *data)
{
	struct lapic *a = vcpu->apic;
	unsigned reg = offset & ~15u;

	memset(data, 0, size);
	chip_lock(a->chip);
	if (reg == LAPIC_TPR || reg == LAPIC_PPR)
		sync_cr8(vcpu);
	lapic_read(a, offset, size, data);
	lock_drop(&a->chip->lock);
}

/* report_tpr_access(): the monitor may want to patch the instruction */
static void tell_tpr_access(struct shim_vcpu *vcpu, bool write)
{
	if (!vcpu->tpr_access_reporting)
		return;
	vcpu->run->tpr_access.rip = vcpu->exit.mmio.rip;
	vcpu->run->tpr_access.is_write = write;
	vcpu->apic->tell_tpr = true;
	lapic_look(vcpu->apic);
}

bool lapic_mmio(struct shim_vcpu *vcpu, uint64_t gpa, unsigned size, bool write, void *data)
{
	struct lapic *a = vcpu->apic;
	uint64_t offset;

	if (!a)
		return false;
	offset = gpa - (a->base & ~(PAGE_SIZE - 1));
	if (offset >= PAGE_SIZE)
		return false;
	if (!lapic_hw_enabled(a) || lapic_x2(a)) {
		if (vcpu->vm->disabled_quirks & QUIRK_LAPIC_MMIO_HOLE)
			return false;
		if (!write)
			memset(data, 0xff, size);
		return true;
	}
	if (write)
		page_write(vcpu, (unsigned)offset, size, data);
	else
		page_read(vcpu, (unsigned)offset, size, data);
	if ((offset & ~15ull) == LAPIC_TPR)
		tell_tpr_access(vcpu, write);
	return true;
}

/* ------------------------------------------------------------------ MSRs */

int lapic_set_base(struct shim_vcpu *vcpu, uint64_t base, bool host)
{
	const uint64_t mode_bits = APIC_BASE_X2 | APIC_BASE_ENABLE;
	struct emu_state state;
	uint64_t old;

	vcpu->ops->get_state(vcpu->emu, &state);
	old = state.apic_base & mode_bits;
	if (!state_valid_apic_base(vcpu, base))
		return -EINVAL;
	/* SDM figure 11-27: from x2APIC only off, to it only from xAPIC */
	if (!host && ((old == mode_bits && (base & mode_bits) == APIC_BASE_ENABLE) ||
		      (!old && (base & mode_bits) == mode_bits)))
		return -EINVAL;
	state.apic_base = base;
	vcpu->ops->set_state(vcpu->emu, &state);
	if (!vcpu->apic)
		return 0;
	lock_take(&vcpu->apic->chip->lock);
	lapic_base_changed(vcpu->apic, base);
	lock_drop(&vcpu->apic->chip->lock);
	return 0;
}

/* Asked before the guest's WRMSR of a register that the processor has. */
bool lapic_owns_write(struct shim_vcpu *vcpu, uint32_t index)
{
	if ((index == MSR_TSC || index == MSR_TSC_ADJUST) && vcpu && vcpu->apic)
		vcpu->apic->timer.tsc_known = false;
	return index == MSR_APIC_BASE;
}

static bool is_x2(uint32_t index)
{
	return index >= MSR_X2APIC && index <= MSR_X2APIC_LAST;
}

int lapic_get_msr(struct shim_vcpu *vcpu, uint32_t index, uint64_t *value)
{
	struct lapic *a = vcpu->apic;
	int r = 0;

	if (index != MSR_TSC_DEADLINE && !is_x2(index))
		return -ENOENT;
	*value = 0;
	if (!a)
		return is_x2(index) ? -EINVAL : 0;
	chip_lock(a->chip);
	if (index == MSR_TSC_DEADLINE) {
		*value = lapic_timer_deadline(a);
	} else {
		sync_cr8(vcpu);
		r = lapic_read_msr(a, index, value);
	}
	lock_drop(&a->chip->lock);
	return r;
}

static int set_x2_msr(struct shim_vcpu *vcpu, uint32_t index, uint64_t value)
{
	struct lapic *a = vcpu->apic;
	int r;

	chip_lock(a->chip);
	r = lapic_write_msr(a, index, value);
	lock_drop(&a->chip->lock);
	if (index == MSR_X2APIC + LAPIC_TPR / 16 && !r)
		give_cr8(vcpu);
	return r;
}

int lapic_set_msr(struct shim_vcpu *vcpu, uint32_t index, uint64_t value, bool host)
{
	struct lapic *a = vcpu->apic;

	if (lapic_owns_write(vcpu, index))
		return lapic_set_base(vcpu, value, host);
	if (is_x2(index))
		return a ? set_x2_msr(vcpu, index, value) : -EINVAL;
	if (index != MSR_TSC_DEADLINE)
		return -ENOENT;
	if (!a)
		return 0;
	know_tsc(vcpu);
	chip_lock(a->chip);
	lapic_timer_set_deadline(a, value);
	lock_drop(&a->chip->lock);
	return 0;
}

/* kvm_vcpu_after_set_cpuid(): the timer's modes are those that the guest is shown */
void lapic_cpuid_changed(struct shim_vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 *leaf = cpuid_find(vcpu, 1, 0);

	if (!leaf)
		return;
	lock_take(&vcpu->apic->chip->lock);
	lapic_features(vcpu->apic, leaf->ecx & CPUID_TSC_DEADLINE);
	lock_drop(&vcpu->apic->chip->lock);
}

/* ------------------------------------------------------------------ ioctls */

static long get_lapic(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_lapic_state state;

	chip_lock(vcpu->apic->chip);
	sync_cr8(vcpu);
	lapic_get_state(vcpu->apic, &state);
	lock_drop(&vcpu->apic->chip->lock);
	return user_write(argument, &state, sizeof(state));
}

static long set_lapic(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_lapic_state state;
	int r;

	if (user_read(&state, argument, sizeof(state)))
		return -EFAULT;
	know_tsc(vcpu);
	chip_lock(vcpu->apic->chip);
	r = lapic_set_state(vcpu->apic, &state);
	lock_drop(&vcpu->apic->chip->lock);
	give_cr8(vcpu);
	return r;
}

long irqchip_vcpu_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument)
{
	if (request != KVM_GET_LAPIC && request != KVM_SET_LAPIC && request != KVM_SET_VAPIC_ADDR)
		return -ENOTTY;
	if (!vcpu->apic)
		return -EINVAL;
	switch (request) {
	case KVM_GET_LAPIC:
		return get_lapic(vcpu, argument);
	case KVM_SET_LAPIC:
		return set_lapic(vcpu, argument);
	default:
		return set_vapic(vcpu, argument);
	}
}

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

int lapic_enable_cap(struct shim_vm *vm, const struct kvm_enable_cap *cap)
{
	struct irqchip *chip = vm->irqchip;
	uint64_t value = cap->args[0], unused;
	int r = 0;

	if (cap->cap == KVM_CAP_X2APIC_API) {
		if (value & ~(uint64_t)(KVM_X2APIC_API_USE_32BIT_IDS |
					KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK))
			return -EINVAL;
		lock_take(&chip->lock);
		chip->x2apic_format |= value & KVM_X2APIC_API_USE_32BIT_IDS;
		chip->x2apic_exact_broadcast |= value & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
		lock_drop(&chip->lock);
		return 0;
	}
	/* KVM_CAP_X86_APIC_BUS_CYCLES_NS: the longest count must be a number of nanoseconds */
	if (!value || __builtin_mul_overflow((uint64_t)UINT32_MAX * 128, value, &unused))
		return -EINVAL;
	lock_take(&vm->lock);
	if (irqchip_mode(vm) == IRQCHIP_NONE)
		r = -ENXIO;
	else if (vm->vcpus)
		r = -EINVAL;
	else
		chip->bus_cycle_ns = value;
	lock_drop(&vm->lock);
	return r;
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
