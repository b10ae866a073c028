// SPDX-License-Identifier: GPL-2.0-only
/* The registers of a local APIC and what reading or writing one does. */
#include "vmm_shim/irqchip/lapic.h"

#include <errno.h>
#include <string.h>

#define VERSION      0x14u       /* integrated, SDM 11.4.8 */
#define DIRECTED_EOI (1u << 24)  /* of the version register: suppression is supported */
#define ICR_BUSY     (1u << 12)  /* delivery status: nothing is ever on its way here */
#define ICR_X2_MBZ   0xfff32000u /* kvm_x2apic_icr_write(): 31:20, 17:16, 13 */
#define MODE_MASK    0x700u      /* of an LVT entry: delivery mode */
#define EXTINT       0x700u

/* ------------------------------------------------------------------ local vector table */

/* SDM figure 11-8: what each entry has, the timer's mode apart (by CPUID). KVM lets the guest write the
 * delivery status, too. */
#define LVT_PLAIN (LVT_MASKED | 0xffu | 1u << 12)
#define LVT_LINT  (LVT_PLAIN | MODE_MASK | 1u << 13 | 1u << 14 | LVT_LEVEL)
static const struct {
	uint16_t offset;
	uint32_t bits;
} lvt[] = {
	{ LAPIC_LVT_TIMER, LVT_PLAIN },
	{ LAPIC_LVT_THERMAL, LVT_PLAIN | MODE_MASK },
	{ LAPIC_LVT_PERFORMANCE, LVT_PLAIN | MODE_MASK },
	{ LAPIC_LVT_LINT0, LVT_LINT },
	{ LAPIC_LVT_LINT1, LVT_LINT },
	{ LAPIC_LVT_ERROR, LVT_PLAIN },
	{ LAPIC_LVT_CMCI, LVT_PLAIN | MODE_MASK },
};
#define LVTS_MAX (sizeof(lvt) / sizeof(lvt[0]))

static int lvt_find(const struct lapic *a, unsigned offset)
{
	for (unsigned i = 0; i < a->lvts; i++) {
		if (lvt[i].offset == offset)
			return (int)i;
	}
	return -1;
}

static void lvt_write(struct lapic *a, unsigned i, uint32_t value)
{
	uint32_t bits = lvt[i].bits;

	if (lvt[i].offset == LAPIC_LVT_TIMER)
		bits |= a->timer.mode_mask;
	if (!(lapic_get(a, LAPIC_SPURIOUS) & LAPIC_ENABLED))
		value |= LVT_MASKED;
	*lapic_reg(a, lvt[i].offset) = value & bits;
	if (lvt[i].offset == LAPIC_LVT_TIMER)
		lapic_timer_mode(a);
	lapic_look(a); /* what was masked may come now */
}

/* kvm_apic_set_version() */
static void set_version(struct lapic *a)
{
	const struct kvm_cpuid_entry2 *leaf = cpuid_find(a->vcpu, 1, 0);
	uint32_t version = VERSION | (a->lvts - 1) << 16;

	/* the kernel's I/O APIC has no EOI register */
	if (leaf && leaf->ecx >> 21 & 1 && atomic_load(&a->chip->mode) == IRQCHIP_SPLIT)
		version |= DIRECTED_EOI;
	*lapic_reg(a, LAPIC_VERSION) = version;
}

void lapic_features(struct lapic *a, bool tsc_deadline)
{
	a->timer.mode_mask = tsc_deadline ? LVT_PERIODIC | LVT_TSC_DEADLINE : LVT_PERIODIC;
	set_version(a);
}

void lapic_set_lvts(struct lapic *a, bool cmci)
{
	unsigned lvts = LVTS_MAX - !cmci;

	for (unsigned i = a->lvts; i < lvts; i++)
		*lapic_reg(a, lvt[i].offset) = LVT_MASKED;
	if (lvts == a->lvts)
		return;
	a->lvts = lvts;
	set_version(a);
}

/* ------------------------------------------------------------------ priorities: SDM 11.8.3 */

static int highest(const struct lapic *a, unsigned set)
{
	for (int word = 7; word >= 0; word--) {
		uint32_t bits = lapic_get(a, set + (unsigned)word * 16);

		if (bits)
			return word * 32 + 31 - __builtin_clz(bits);
	}
	return -1;
}

static uint32_t update_ppr(struct lapic *a)
{
	uint32_t tpr = lapic_get(a, LAPIC_TPR);
	int in_service = highest(a, LAPIC_ISR);
	uint32_t class = in_service < 0 ? 0 : (uint32_t)in_service & 0xf0;
	uint32_t ppr = (tpr & 0xf0) >= class ? tpr & 0xff : class;

	*lapic_reg(a, LAPIC_PPR) = ppr;
	return ppr;
}

int lapic_pending(struct lapic *a)
{
	int vector;

	if (!lapic_hw_enabled(a))
		return -1;
	vector = highest(a, LAPIC_IRR);
	/* the processor priority's class blocks its own and those below */
	if (vector < 0 || ((uint32_t)vector & 0xf0) <= update_ppr(a))
		return -1;
	return vector;
}

void lapic_acknowledge(struct lapic *a, unsigned vector)
{
	lapic_set_bit(a, LAPIC_IRR, vector, false);
	lapic_set_bit(a, LAPIC_ISR, vector, true);
	update_ppr(a);
}

void lapic_set_tpr(struct lapic *a, uint32_t tpr)
{
	*lapic_reg(a, LAPIC_TPR) = tpr & 0xff;
	update_ppr(a);
	lapic_look(a);
}

/* kvm_apic_accept_pic_intr(): virtual wire mode, or no local APIC at all (SDM 11.4.3) */
bool lapic_takes_external(const struct lapic *a)
{
	return !lapic_hw_enabled(a) ||
	       (lapic_get(a, LAPIC_LVT_LINT0) & (LVT_MASKED | MODE_MASK)) == EXTINT;
}

/* SDM 11.8.5. An EOI with nothing in service does nothing. */
static void end_of_interrupt(struct lapic *a)
{
	bool broadcast = !(lapic_get(a, LAPIC_SPURIOUS) & LAPIC_EOI_TO_SELF);
	int vector = highest(a, LAPIC_ISR);

	if (vector < 0)
		return;
	lapic_set_bit(a, LAPIC_ISR, (unsigned)vector, false);
	update_ppr(a);
	lapic_look(a);
	if (atomic_load(&a->chip->mode) == IRQCHIP_KERNEL)
		ioapic_eoi(a->chip, (uint8_t)vector,
			   broadcast && lapic_bit(a, LAPIC_TMR, (unsigned)vector));
	else if (routing_wants_eoi(a->chip, a->vcpu, (uint8_t)vector))
		a->eoi = vector;
}

/* ------------------------------------------------------------------ RESET, INIT, IA32_APIC_BASE */

/* SDM 11.12.10.2: cluster in the upper half, one bit in the lower */
static uint32_t x2_logical_id(uint32_t id)
{
	return id >> 4 << 16 | 1u << (id & 15);
}

static void set_x2_id(struct lapic *a)
{
	*lapic_reg(a, LAPIC_ID) = a->vcpu->id;
	*lapic_reg(a, LAPIC_LDR) = x2_logical_id(a->vcpu->id);
}

static void set_xapic_id(struct lapic *a)
{
	*lapic_reg(a, LAPIC_ID) = a->vcpu->id << 24;
}

void lapic_base_changed(struct lapic *a, uint64_t base)
{
	uint64_t changed = a->base ^ base;

	a->base = base;
	if (changed & APIC_BASE_ENABLE && base & APIC_BASE_ENABLE)
		set_xapic_id(a);
	if (changed & APIC_BASE_X2) {
		if (base & APIC_BASE_X2)
			set_x2_id(a);
		else if (base & APIC_BASE_ENABLE)
			set_xapic_id(a);
	}
	lapic_look(a);
}

/* SDM 11.4.7.1, 11.4.7.3; kvm_lapic_reset() */
void lapic_reset(struct lapic *a, bool init)
{
	bool bsp = a->vcpu->id == a->vcpu->vm->boot_cpu_id;

	if (!init)
		lapic_base_changed(a,
				   APIC_BASE_PAGE | APIC_BASE_ENABLE | (bsp ? APIC_BASE_BSP : 0));
	lapic_timer_stop(a);
	if (!init)
		set_xapic_id(a);
	set_version(a);
	for (unsigned i = 0; i < a->lvts; i++)
		*lapic_reg(a, lvt[i].offset) = LVT_MASKED;
	lapic_timer_mode(a);
	/* KVM_X86_QUIRK_LINT0_REENABLED: as firmware would leave it */
	if (bsp && !(a->vcpu->vm->disabled_quirks & QUIRK_LINT0_REENABLED))
		*lapic_reg(a, LAPIC_LVT_LINT0) = EXTINT;
	*lapic_reg(a, LAPIC_DFR) = 0xffffffff;
	*lapic_reg(a, LAPIC_SPURIOUS) = 0xff;
	*lapic_reg(a, LAPIC_TPR) = 0;
	if (!lapic_x2(a))
		*lapic_reg(a, LAPIC_LDR) = 0;
	*lapic_reg(a, LAPIC_ESR) = 0;
	memset(a->page + LAPIC_ICR, 0, 8);
	if (!lapic_x2(a))
		*lapic_reg(a, LAPIC_ICR_HIGH) = 0;
	*lapic_reg(a, LAPIC_DIVIDE) = 0;
	*lapic_reg(a, LAPIC_INITIAL_COUNT) = 0;
	for (unsigned i = 0; i < 8 * 16; i += 16) {
		*lapic_reg(a, LAPIC_IRR + i) = 0;
		*lapic_reg(a, LAPIC_ISR + i) = 0;
		*lapic_reg(a, LAPIC_TMR + i) = 0;
	}
	lapic_timer_divide(a);
	update_ppr(a);
}

/* ------------------------------------------------------------------ reading */

/* kvm_lapic_readable_reg_mask(): write-only and reserved ones are not */
static bool readable(const struct lapic *a, unsigned offset)
{
	switch (offset) {
	case LAPIC_ID:
	case LAPIC_VERSION:
	case LAPIC_TPR:
	case LAPIC_PPR:
	case LAPIC_LDR:
	case LAPIC_SPURIOUS:
	case LAPIC_ESR:
	case LAPIC_ICR:
	case LAPIC_INITIAL_COUNT:
	case LAPIC_CURRENT_COUNT:
	case LAPIC_DIVIDE:
		return true;
	case LAPIC_ARBITRATION:
	case LAPIC_DFR:
	case LAPIC_ICR_HIGH:
		return !lapic_x2(a); /* SDM table 11-6 */
	default:
		return (offset >= LAPIC_ISR && offset < LAPIC_ESR) || lvt_find(a, offset) >= 0;
	}
}

static uint32_t value_of(struct lapic *a, unsigned offset)
{
	switch (offset) {
	case LAPIC_ARBITRATION: /* P6 and older have something there */
		return 0;
	case LAPIC_CURRENT_COUNT:
		return lapic_timer_count(a);
	case LAPIC_PPR:
		return update_ppr(a);
	default:
		return lapic_get(a, offset);
	}
}

int lapic_read(struct lapic *a, unsigned offset, unsigned size, void *data)
{
	unsigned within = offset & 15;
	uint32_t value;

	if (within + size > 4 || offset >= LAPIC_SIZE || !readable(a, offset & ~15u))
		return -EINVAL;
	value = value_of(a, offset & ~15u) >> within * 8;
	memcpy(data, &value, size);
	return 0;
}

/* ------------------------------------------------------------------ writing */

/* Software-disabled, all local interrupts are masked and stay so (SDM 11.4.7.2). */
static void write_spurious(struct lapic *a, uint32_t value)
{
	uint32_t bits = 0x3ff;

	if (lapic_get(a, LAPIC_VERSION) & DIRECTED_EOI)
		bits |= LAPIC_EOI_TO_SELF;
	*lapic_reg(a, LAPIC_SPURIOUS) = value & bits;
	if (value & LAPIC_ENABLED)
		return;
	for (unsigned i = 0; i < a->lvts; i++)
		*lapic_reg(a, lvt[i].offset) |= LVT_MASKED;
	lapic_timer_mode(a);
	a->timer.pending = false;
}

static int write_self_ipi(struct lapic *a, uint32_t value)
{
	enum { SELF = 1u << 18 };

	if (!lapic_x2(a) || value & ~0xffu)
		return -EINVAL;
	lapic_send(a, SELF | value, 0);
	return 0;
}

/* What an x2APIC has not, or only for reading. */
static int write_xapic(struct lapic *a, unsigned offset, uint32_t value)
{
	if (lapic_x2(a))
		return -EINVAL;
	*lapic_reg(a, offset) = value;
	return 0;
}

int lapic_write(struct lapic *a, unsigned offset, uint32_t value)
{
	int i = lvt_find(a, offset);

	if (i >= 0) {
		lvt_write(a, (unsigned)i, value);
		return 0;
	}
	switch (offset) {
	case LAPIC_ID:
		return write_xapic(a, offset, value & 0xff000000);
	case LAPIC_LDR:
		return write_xapic(a, offset, value & 0xff000000);
	case LAPIC_DFR: /* the model's bits are the upper four */
		return write_xapic(a, offset, value | 0x0fffffff);
	case LAPIC_ICR_HIGH:
		return write_xapic(a, offset, value & 0xff000000);
	case LAPIC_TPR:
		lapic_set_tpr(a, value);
		return 0;
	case LAPIC_EOI:
		end_of_interrupt(a);
		return 0;
	case LAPIC_SPURIOUS:
		write_spurious(a, value);
		return 0;
	case LAPIC_ICR:
		value &= ~ICR_BUSY;
		lapic_send(a, value, lapic_get(a, LAPIC_ICR_HIGH) >> 24);
		*lapic_reg(a, LAPIC_ICR) = value;
		return 0;
	case LAPIC_INITIAL_COUNT:
		if (a->timer.mode == LVT_TSC_DEADLINE)
			return 0;
		lapic_timer_stop(a);
		*lapic_reg(a, offset) = value;
		lapic_timer_start(a, false);
		return 0;
	case LAPIC_DIVIDE:
		*lapic_reg(a, offset) = value & 0xb;
		lapic_timer_rescale(a);
		return 0;
	case LAPIC_ESR: /* no errors are ever reported */
		return lapic_x2(a) && value ? -EINVAL : 0;
	case LAPIC_SELF_IPI:
		return write_self_ipi(a, value);
	default:
		return -EINVAL;
	}
}

/* ------------------------------------------------------------------ x2APIC: SDM 11.12.1.2 */

/* One register of 64 bits on Intel; two, as in xAPIC mode, on AMD (kvm_x86_ops.x2apic_icr_is_split). */
static uint64_t x2_icr(const struct lapic *a)
{
	unsigned high = config_intel() ? LAPIC_ICR + 4 : LAPIC_ICR_HIGH;

	return lapic_get(a, LAPIC_ICR) | (uint64_t)lapic_get(a, high) << 32;
}

static void set_x2_icr(struct lapic *a, uint64_t value)
{
	*lapic_reg(a, LAPIC_ICR) = (uint32_t)value;
	*lapic_reg(a, config_intel() ? LAPIC_ICR + 4 : LAPIC_ICR_HIGH) = (uint32_t)(value >> 32);
}

int lapic_read_msr(struct lapic *a, uint32_t index, uint64_t *value)
{
	unsigned offset = (index & 0xff) << 4;
	uint32_t low = 0;
	int r;

	if (!lapic_x2(a))
		return -EINVAL;
	if (offset == LAPIC_ICR) {
		*value = x2_icr(a);
		return 0;
	}
	r = lapic_read(a, offset, 4, &low);
	*value = low;
	return r;
}

int lapic_write_msr(struct lapic *a, uint32_t index, uint64_t value)
{
	unsigned offset = (index & 0xff) << 4;

	if (!lapic_x2(a))
		return -EINVAL;
	if (offset != LAPIC_ICR)
		return value >> 32 ? -EINVAL : lapic_write(a, offset, (uint32_t)value);
	if (value & ICR_X2_MBZ)
		return -EINVAL;
	value &= ~(uint64_t)ICR_BUSY;
	lapic_send(a, (uint32_t)value, (uint32_t)(value >> 32));
	set_x2_icr(a, value);
	return 0;
}

/* ------------------------------------------------------------------ KVM_GET_LAPIC, KVM_SET_LAPIC */

static uint32_t *state_reg(struct kvm_lapic_state *state, unsigned offset)
{
	return (uint32_t *)(void *)(state->regs + offset);
}

/*
 * kvm_apic_state_fixup(): the structure is of the xAPIC's time. Its ID is shifted unless the monitor has
 * asked for 32 bits (KVM_X2APIC_API_USE_32BIT_IDS), the ICR is in two halves, the LDR follows from the ID.
 */
void lapic_get_state(struct lapic *a, struct kvm_lapic_state *state)
{
	update_ppr(a); /* CR8 may have changed since */
	memcpy(state->regs, a->page, sizeof(state->regs));
	*state_reg(state, LAPIC_CURRENT_COUNT) = lapic_timer_count(a);
	if (!lapic_x2(a))
		return;
	*state_reg(state, LAPIC_ID) = a->chip->x2apic_format ? a->vcpu->id : a->vcpu->id << 24;
	if (config_intel())
		*state_reg(state, LAPIC_ICR_HIGH) = *state_reg(state, LAPIC_ICR + 4);
}

int lapic_set_state(struct lapic *a, const struct kvm_lapic_state *given)
{
	struct kvm_lapic_state state = *given;

	*lapic_reg(a, LAPIC_SPURIOUS) = *state_reg(&state, LAPIC_SPURIOUS);
	if (lapic_x2(a)) {
		if (a->chip->x2apic_format && *state_reg(&state, LAPIC_ID) != a->vcpu->id)
			return -EINVAL;
		*state_reg(&state, LAPIC_ID) = a->vcpu->id;
		*state_reg(&state, LAPIC_LDR) = x2_logical_id(a->vcpu->id);
		if (config_intel())
			*state_reg(&state, LAPIC_ICR + 4) = *state_reg(&state, LAPIC_ICR_HIGH);
	}
	memcpy(a->page, state.regs, sizeof(state.regs));
	set_version(a);
	update_ppr(a);
	lapic_timer_stop(a);
	lapic_timer_mode(a);
	lapic_timer_divide(a);
	lapic_timer_start(a, true);
	*lapic_reg(a, LAPIC_CURRENT_COUNT) = 0;
	lapic_look(a);
	return 0;
}
