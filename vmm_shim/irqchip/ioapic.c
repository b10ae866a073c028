// SPDX-License-Identifier: GPL-2.0-only
/*
 * An I/O APIC with 24 pins: version 11h of the 82093AA (Intel 290566), as Linux models it
 * (arch/x86/kvm/ioapic.c, 6.12): without EOI register, polarity of no effect.
 */
#include "vmm_shim/irqchip/chips.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BASE_ADDRESS 0xfec00000u
#define LENGTH       0x100u
#define REG_SELECT   0x00
#define REG_WINDOW   0x10
/* through the window */
#define REG_ID          0x00
#define REG_VERSION     0x01
#define REG_ARBITRATION 0x02
#define REG_TABLE       0x10
#define VERSION         0x11

/*
 * A level that stays up is delivered again at once on each EOI. A guest that does not quieten its device
 * would get nowhere; every so often it has a hundredth of a second.
 */
#define STORM    10000u
#define STORM_NS 10000000u

typedef __typeof__(((struct kvm_ioapic_state *)0)->redirtbl[0]) entry;

struct ioapic {
	struct kvm_ioapic_state state;
	uint32_t delivered; /* of the edges in state.irr: still set, but not pending */
	uint8_t sources[IOAPIC_PINS];
	unsigned again[IOAPIC_PINS]; /* times that EOI found the level up */
	struct irq_timer storm;

	/* The clock's interrupt is an edge, but Windows wants to know whether it was lost: how many vCPUs
	 * have not acknowledged the last one. */
	int clock_pending;
	uint8_t clock_vector;
};

static uint32_t bit(unsigned pin)
{
	return 1u << pin;
}

/* ------------------------------------------------------------------ pins */

static int service(struct irqchip *chip, unsigned pin, bool status)
{
	struct ioapic *ioapic = chip->ioapic;
	entry *e = &ioapic->state.redirtbl[pin];
	const struct irq_message message = {
		.destination = e->fields.dest_id,
		.logical = e->fields.dest_mode,
		.delivery = e->fields.delivery_mode,
		.vector = e->fields.vector,
		.level_triggered = e->fields.trig_mode,
		.asserted = true,
		.shorthand = IRQ_TO_DESTINATION,
	};
	int r;

	if (e->fields.mask || (e->fields.trig_mode && e->fields.remote_irr))
		return -1;
	if (!e->fields.trig_mode)
		ioapic->delivered |= bit(pin);
	r = lapic_deliver(chip, &message);
	if (pin == RTC_GSI && status) {
		ioapic->clock_pending = r < 0 ? 0 : r;
		ioapic->clock_vector = message.vector;
	}
	if (r && message.level_triggered)
		e->fields.remote_irr = 1;
	return r;
}

static int raise_pin(struct irqchip *chip, unsigned pin, bool status)
{
	struct ioapic *ioapic = chip->ioapic;
	bool was_up = ioapic->state.irr & bit(pin);

	if (pin == RTC_GSI && status && ioapic->clock_pending > 0)
		return 0;
	ioapic->state.irr |= bit(pin);
	if (!ioapic->state.redirtbl[pin].fields.trig_mode) {
		ioapic->delivered &= ~bit(pin);
		if (was_up)
			return 0;
	}
	return service(chip, pin, status);
}

int ioapic_set_line(struct irqchip *chip, enum irq_source source, unsigned pin, bool level,
		    bool status)
{
	struct ioapic *ioapic = chip->ioapic;

	if (line_state(&ioapic->sources[pin], source, level))
		return raise_pin(chip, pin, status);
	ioapic->state.irr &= ~bit(pin);
	return 1;
}

/* ------------------------------------------------------------------ EOI */

static void storm_over(struct irqchip *chip, struct irq_timer *timer)
{
	struct ioapic *ioapic = chip->ioapic;

	(void)timer;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		const entry *e = &ioapic->state.redirtbl[pin];

		if (e->fields.trig_mode && ioapic->state.irr & bit(pin) && !e->fields.remote_irr)
			service(chip, pin, false);
	}
}

static void eoi_pin(struct irqchip *chip, unsigned pin)
{
	struct ioapic *ioapic = chip->ioapic;
	entry *e = &ioapic->state.redirtbl[pin];

	e->fields.remote_irr = 0;
	if (e->fields.mask || !(ioapic->state.irr & bit(pin))) {
		ioapic->again[pin] = 0;
	} else if (++ioapic->again[pin] == STORM) {
		ioapic->again[pin] = 0;
		irq_timer_set(chip, &ioapic->storm, shim_now_ns() + STORM_NS);
	} else {
		service(chip, pin, false);
	}
}

void ioapic_eoi(struct irqchip *chip, uint8_t vector, bool level)
{
	struct ioapic *ioapic = chip->ioapic;

	if (!ioapic)
		return;
	if (ioapic->clock_pending > 0 && vector == ioapic->clock_vector)
		ioapic->clock_pending--;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		if (ioapic->state.redirtbl[pin].fields.vector != vector)
			continue;
		irq_acked(chip, KVM_IRQCHIP_IOAPIC, pin);
		if (level)
			eoi_pin(chip, pin);
	}
}

/* ------------------------------------------------------------------ registers */

static uint32_t read_window(const struct ioapic *ioapic)
{
	uint32_t reg = ioapic->state.ioregsel, pin = (reg - REG_TABLE) >> 1;
	uint64_t bits = ~0ull;

	switch (reg) {
	case REG_VERSION:
		return (IOAPIC_PINS - 1) << 16 | VERSION;
	case REG_ID:
	case REG_ARBITRATION:
		return (ioapic->state.id & 0xf) << 24;
	default:
		break;
	}
	if (pin < IOAPIC_PINS)
		bits = ioapic->state.redirtbl[pin].bits;
	return (uint32_t)(reg & 1 ? bits >> 32 : bits);
}

static void write_entry(struct irqchip *chip, unsigned pin, bool high, uint32_t value)
{
	struct ioapic *ioapic = chip->ioapic;
	entry *e = &ioapic->state.redirtbl[pin], before = *e;

	if (high)
		e->bits = (e->bits & 0xffffffff) | (uint64_t)value << 32;
	else
		e->bits = (e->bits & ~0xffffffffull) | value;
	/* read-only */
	e->fields.remote_irr = before.fields.remote_irr;
	e->fields.delivery_status = before.fields.delivery_status;
	/* How Linux and Xen end an interrupt on an I/O APIC without EOI register: to an edge and back. */
	if (!e->fields.trig_mode)
		e->fields.remote_irr = 0;
	if (before.fields.mask != e->fields.mask)
		irq_masked(chip, KVM_IRQCHIP_IOAPIC, pin, e->fields.mask);
	if (!e->fields.trig_mode || e->fields.mask || e->fields.remote_irr ||
	    !(ioapic->state.irr & bit(pin)))
		return;
	/* The level may have gone while the pin was masked; a resampling irqfd tells. */
	if (irq_resample(chip, KVM_IRQCHIP_IOAPIC, pin))
		ioapic->state.irr &= ~bit(pin);
	else
		service(chip, pin, false);
}

static void write_window(struct irqchip *chip, uint32_t value)
{
	struct ioapic *ioapic = chip->ioapic;
	uint32_t reg = ioapic->state.ioregsel, pin = (reg - REG_TABLE) >> 1;

	if (reg == REG_ID)
		ioapic->state.id = value >> 24 & 0xf;
	else if (reg != REG_VERSION && reg != REG_ARBITRATION && pin < IOAPIC_PINS)
		write_entry(chip, pin, reg & 1, value);
}

static void read_register(const struct ioapic *ioapic, unsigned reg, unsigned size, void *data)
{
	uint64_t value = 0;

	if (reg == REG_SELECT)
		value = ioapic->state.ioregsel;
	else if (reg == REG_WINDOW)
		value = read_window(ioapic);
	memcpy(data, &value, size < sizeof(value) ? size : sizeof(value));
}

static bool mmio(struct irqchip *chip, void *opaque, uint64_t address, unsigned size, bool write,
		 void *data)
{
	struct ioapic *ioapic = opaque;
	unsigned reg = address & 0xff;
	uint32_t value = 0;

	/* KVM_SET_IRQCHIP may have moved it away from its place on the bus; it does not follow. */
	if (address < ioapic->state.base_address || address - ioapic->state.base_address >= LENGTH)
		return false;
	if (!write) {
		read_register(ioapic, reg, size, data);
		return true;
	}
	if (size & (size - 1)) /* 1, 2, 4 and 8 it understands */
		return true;
	memcpy(&value, data, size < sizeof(value) ? size : sizeof(value));
	if (reg == REG_SELECT)
		ioapic->state.ioregsel = value & 0xff;
	else if (reg == REG_WINDOW)
		write_window(chip, value);
	return true;
}

/* ------------------------------------------------------------------ of the VM */

void ioapic_get(const struct irqchip *chip, struct kvm_ioapic_state *state)
{
	*state = chip->ioapic->state;
	state->irr &= ~chip->ioapic->delivered;
}

/* What is pending happens again. */
void ioapic_set(struct irqchip *chip, const struct kvm_ioapic_state *state)
{
	struct ioapic *ioapic = chip->ioapic;

	ioapic->state = *state;
	ioapic->state.irr = 0;
	ioapic->delivered = 0;
	ioapic->clock_pending = 0;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		if (state->irr & bit(pin))
			raise_pin(chip, pin, true);
	}
}

int ioapic_new(struct irqchip *chip)
{
	struct ioapic *ioapic = calloc(1, sizeof(*ioapic));
	const struct bus_device device = { BASE_ADDRESS, LENGTH, mmio, ioapic, false };
	int r;

	if (!ioapic)
		return -ENOMEM;
	ioapic->state.base_address = BASE_ADDRESS;
	ioapic->storm.fire = storm_over;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic->state.redirtbl[pin].fields.mask = 1;
	r = bus_add(chip, false, &device);
	if (r) {
		free(ioapic);
		return r;
	}
	chip->ioapic = ioapic;
	return 0;
}

void ioapic_free(struct irqchip *chip)
{
	if (!chip->ioapic)
		return;
	irq_timer_set(chip, &chip->ioapic->storm, 0);
	bus_remove(chip, false, chip->ioapic);
	free(chip->ioapic);
	chip->ioapic = NULL;
}
