// SPDX-License-Identifier: GPL-2.0-only
/* Interrupt messages: who is meant (SDM 11.6.2, 11.12.10.2), and what one does to a local APIC. */
#include "vmm_shim/irqchip/lapic.h"

#define XAPIC_BROADCAST  0xffu
#define X2APIC_BROADCAST 0xffffffffu
#define DFR_FLAT         0xffffffffu
#define DFR_CLUSTER      0x0fffffffu

/* ------------------------------------------------------------------ destinations */

static bool broadcast(const struct lapic *a, uint32_t destination)
{
	return destination == (lapic_x2(a) ? X2APIC_BROADCAST : XAPIC_BROADCAST);
}

/* An ID that xAPIC mode cannot say means the vCPU of that number in any mode. */
static bool is_physical(const struct lapic *a, uint32_t destination)
{
	if (broadcast(a, destination))
		return true;
	if (lapic_x2(a) || destination > 0xff)
		return destination == a->vcpu->id;
	return destination == lapic_get(a, LAPIC_ID) >> 24;
}

static bool is_logical(const struct lapic *a, uint32_t destination)
{
	uint32_t id = lapic_get(a, LAPIC_LDR);

	if (broadcast(a, destination))
		return true;
	if (lapic_x2(a))
		return id >> 16 == destination >> 16 && id & destination & 0xffff;
	id >>= 24;
	switch (lapic_get(a, LAPIC_DFR)) {
	case DFR_FLAT:
		return id & destination;
	case DFR_CLUSTER:
		return id >> 4 == destination >> 4 && id & destination & 0xf;
	default:
		return false;
	}
}

/*
 * kvm_apic_mda(): devices say "all" with eight bits, which x2APICs understand unless the monitor wants
 * 32-bit destinations (KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK). An IPI's is as the sender's mode has it.
 */
static uint32_t destination_for(const struct lapic *a, const struct irq_message *m)
{
	if (!a->chip->x2apic_exact_broadcast && !m->source && m->destination == XAPIC_BROADCAST &&
	    lapic_x2(a))
		return X2APIC_BROADCAST;
	return m->destination;
}

static bool meant(const struct lapic *a, const struct irq_message *m)
{
	uint32_t destination;

	switch (m->shorthand) {
	case IRQ_TO_SELF:
		return a->vcpu == m->source;
	case IRQ_TO_ALL:
		return true;
	case IRQ_TO_OTHERS:
		return a->vcpu != m->source;
	default:
		destination = destination_for(a, m);
		return m->logical ? is_logical(a, destination) : is_physical(a, destination);
	}
}

bool lapic_is_destination(const struct shim_vcpu *vcpu, uint32_t destination, bool logical)
{
	const struct irq_message m = { .destination = destination, .logical = logical };

	return lapic_hw_enabled(vcpu->apic) && meant(vcpu->apic, &m);
}

bool lapic_has_vector(const struct shim_vcpu *vcpu, uint8_t vector)
{
	return lapic_bit(vcpu->apic, LAPIC_ISR, vector) || lapic_bit(vcpu->apic, LAPIC_IRR, vector);
}

/* ------------------------------------------------------------------ arrival */

int lapic_accept(struct lapic *a, enum irq_delivery delivery, uint8_t vector, bool level,
		 bool asserted)
{
	switch (delivery) {
	case IRQ_FIXED:
	case IRQ_LOWEST:
		/* a level that ends is nothing to a local APIC */
		if ((level && !asserted) || !lapic_enabled(a))
			return 0;
		lapic_set_bit(a, LAPIC_TMR, vector, level);
		lapic_set_bit(a, LAPIC_IRR, vector, true);
		break;
	case IRQ_NMI:
		atomic_fetch_add(&a->nmis, 1);
		break;
	case IRQ_INIT:
		if (level && !asserted) /* "INIT Level De-assert", SDM 11.6.1 */
			return 0;
		a->init = true;
		a->startup = false;
		break;
	case IRQ_STARTUP:
		a->startup = true;
		a->startup_vector = vector;
		break;
	default:
		/* ExtINT comes over LINT0 alone; there is no SMM for an SMI to enter */
		return 0;
	}
	lapic_look(a);
	return 1;
}

/* kvm_apic_local_deliver() */
int lapic_local(struct lapic *a, unsigned lvt)
{
	uint32_t entry = lapic_get(a, lvt);
	int r;

	if (!lapic_hw_enabled(a) || entry & LVT_MASKED)
		return 0;
	r = lapic_accept(a, (enum irq_delivery)(entry >> 8 & 7), (uint8_t)entry, entry & LVT_LEVEL,
			 true);
	/* SDM 11.5.1: on Intel a counter's interrupt masks its entry */
	if (r && lvt == LAPIC_LVT_PERFORMANCE && config_intel())
		*lapic_reg(a, lvt) = entry | LVT_MASKED;
	return r;
}

void lapic_nmi_watchdog(struct irqchip *chip)
{
	for (unsigned i = 0; i < chip->apics; i++) {
		uint32_t lint0 = lapic_get(chip->apic[i], LAPIC_LVT_LINT0);

		if (!(lint0 & LVT_MASKED) && (lint0 >> 8 & 7) == IRQ_NMI)
			lapic_local(chip->apic[i], LAPIC_LVT_LINT0);
	}
}

bool lapic_takes_pic(const struct irqchip *chip)
{
	for (unsigned i = 0; i < chip->apics; i++) {
		if (lapic_takes_external(chip->apic[i]))
			return true;
	}
	return false;
}

void lapic_pic_changed(struct irqchip *chip)
{
	for (unsigned i = 0; i < chip->apics; i++) {
		if (lapic_takes_external(chip->apic[i]))
			lapic_look(chip->apic[i]);
	}
}

/* ------------------------------------------------------------------ delivery */

/* One of several: KVM chooses by the vector (kvm_vector_to_index(), vector_hashing), for nothing is known
 * of priorities while the guests do not run. */
static int deliver_lowest(struct irqchip *chip, const struct irq_message *m)
{
	struct lapic *meant_ones[EMU_MAX_VCPUS];
	unsigned n = 0;

	for (unsigned i = 0; i < chip->apics; i++) {
		if (lapic_enabled(chip->apic[i]) && meant(chip->apic[i], m))
			meant_ones[n++] = chip->apic[i];
	}
	if (!n)
		return -1;
	return lapic_accept(meant_ones[m->vector % n], m->delivery, m->vector, m->level_triggered,
			    m->asserted);
}

static int deliver_all(struct irqchip *chip, const struct irq_message *m)
{
	int r = -1;

	for (unsigned i = 0; i < chip->apics; i++) {
		struct lapic *a = chip->apic[i];

		if (!lapic_hw_enabled(a) || !meant(a, m))
			continue;
		r = (r < 0 ? 0 : r) +
		    lapic_accept(a, m->delivery, m->vector, m->level_triggered, m->asserted);
	}
	return r;
}

/*
 * kvm_irq_delivery_to_apic(). Where the destination is looked up in a map of IDs, an ID that nobody has
 * is a message that nobody took (0); where everybody is asked, "there is none such" (-1).
 */
int lapic_deliver(struct irqchip *chip, const struct irq_message *message)
{
	struct irq_message m = *message;
	bool lowest = m.delivery == IRQ_LOWEST;
	bool x2_ipi = m.source && lapic_x2(m.source->apic);
	bool all = m.shorthand != IRQ_TO_DESTINATION ||
		   m.destination == (x2_ipi ? X2APIC_BROADCAST : XAPIC_BROADCAST);
	int r;

	/* "phys broadcast and lowest prio" */
	if (lowest && !m.logical && m.shorthand == IRQ_TO_DESTINATION &&
	    m.destination == XAPIC_BROADCAST) {
		m.delivery = IRQ_FIXED;
		lowest = false;
	}
	r = lowest ? deliver_lowest(chip, &m) : deliver_all(chip, &m);
	/* there is no map before there are vCPUs */
	return r < 0 && !all && chip->apics ? 0 : r;
}

/* kvm_apic_send_ipi(); SDM figures 11-12, 11-28 */
void lapic_send(struct lapic *a, uint32_t icr, uint32_t destination)
{
	const struct irq_message m = {
		.destination = destination,
		.logical = icr >> 11 & 1,
		.delivery = (enum irq_delivery)(icr >> 8 & 7),
		.vector = (uint8_t)icr,
		.asserted = icr >> 14 & 1,
		.level_triggered = icr >> 15 & 1,
		.shorthand = icr >> 18 & 3,
		.source = a->vcpu,
	};

	lapic_deliver(a->chip, &m);
}
