// SPDX-License-Identifier: GPL-2.0-only
/*
 * From an interrupt's number in the API (GSI) to pins of chips or to a message: KVM_SET_GSI_ROUTING,
 * virt/kvm/irqchip.c and arch/x86/kvm/irq_comm.c, 6.12. A number goes to a pin of each chip at most, or to
 * one message.
 */
#include "vmm_shim/irqchip/chips.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHIPS    3 /* KVM_IRQCHIP_PIC_MASTER, _PIC_SLAVE, _IOAPIC */
#define NO_GSI   (-1)
#define NO_ROUTE (-1)

/* flags of an entry */
#define MSI_VALID_DEVID (1u << 0) /* KVM_MSI_VALID_DEVID: understood everywhere, of use on Arm */

struct route {
	uint32_t type; /* KVM_IRQ_ROUTING_ */
	int next;      /* of the same GSI */
	unsigned chip, pin;
	struct kvm_irq_routing_msi msi;
};

struct routing {
	int gsi_of[CHIPS][IOAPIC_PINS]; /* pins of the 8259s: 0 to 15 */
	unsigned gsis;
	int first[ABI_MAX_IRQ_ROUTES]; /* of `gsis` GSIs */
	unsigned count;
	struct route route[];
};

/* ------------------------------------------------------------------ messages */

#define MSI_LOGICAL  (1u << 2) /* address: SDM vol. 3, 11.11.1 */
#define MSI_REDIRECT (1u << 3)
#define MSI_LEVEL    (1u << 15) /* data: 11.11.2 */

/* x86_msi_msg_get_destid(): wide APIC identifiers have their upper bits in the upper address. */
static struct irq_message message_of(const struct irqchip *chip, uint32_t address,
				     uint32_t address_high, uint32_t data)
{
	struct irq_message message = {
		.destination = address >> 12 & 0xff,
		.logical = address & MSI_LOGICAL,
		.delivery = data >> 8 & 7,
		.vector = (uint8_t)data,
		.level_triggered = data & MSI_LEVEL,
		.asserted = true,
		.shorthand = IRQ_TO_DESTINATION,
	};

	if (chip->x2apic_format)
		message.destination |= address_high & 0xffffff00;
	/* "directed to one processor among those specified": as with lowest priority */
	if (address & MSI_REDIRECT && message.delivery == IRQ_FIXED)
		message.delivery = IRQ_LOWEST;
	return message;
}

static bool message_valid(const struct irqchip *chip, uint32_t address_high)
{
	return !chip->x2apic_format || !(address_high & 0xff);
}

int irq_send_msi(struct irqchip *chip, uint32_t address, uint32_t address_high, uint32_t data)
{
	struct irq_message message = message_of(chip, address, address_high, data);

	return message_valid(chip, address_high) ? lapic_deliver(chip, &message) : -EINVAL;
}

/* ------------------------------------------------------------------ lines */

static int set_route(struct irqchip *chip, const struct route *route, enum irq_source source,
		     bool level, bool status)
{
	if (route->type == KVM_IRQ_ROUTING_MSI)
		return level ? irq_send_msi(chip, route->msi.address_lo, route->msi.address_hi,
					    route->msi.data)
			     : -1;
	if (route->chip == KVM_IRQCHIP_IOAPIC)
		return ioapic_set_line(chip, source, route->pin, level, status);
	return pic_set_line(chip, source, route->pin, level);
}

static int set_line(struct irqchip *chip, enum irq_source source, unsigned gsi, bool level,
		    bool status)
{
	const struct routing *routing = chip->routing;
	int at = routing && gsi < routing->gsis ? routing->first[gsi] : NO_ROUTE, taken = -1;

	while (at != NO_ROUTE) {
		const struct route *route = &routing->route[at];
		int r = set_route(chip, route, source, level, status);

		if (r >= 0)
			taken = taken < 0 ? r : taken + r;
		at = route->next;
	}
	return taken;
}

int irq_set_line(struct irqchip *chip, enum irq_source source, unsigned gsi, bool level)
{
	return set_line(chip, source, gsi, level, false);
}

/* ------------------------------------------------------------------ back to who feeds a pin */

static int gsi_of(const struct irqchip *chip, unsigned chip_id, unsigned pin)
{
	return chip->routing ? chip->routing->gsi_of[chip_id][pin] : NO_GSI;
}

void irq_acked(struct irqchip *chip, unsigned chip_id, unsigned pin)
{
	int gsi = gsi_of(chip, chip_id, pin);

	if (gsi == NO_GSI)
		return;
	if (gsi == 0)
		pit_acked(chip);
	irqfd_acked(chip, (unsigned)gsi);
}

void irq_masked(struct irqchip *chip, unsigned chip_id, unsigned pin, bool masked)
{
	if (gsi_of(chip, chip_id, pin) == 0)
		pit_masked(chip, masked);
}

bool irq_resample(struct irqchip *chip, unsigned chip_id, unsigned pin)
{
	int gsi = gsi_of(chip, chip_id, pin);

	return gsi != NO_GSI && irqfd_resample(chip, (unsigned)gsi);
}

/* kvm_scan_ioapic_routes() */
bool routing_wants_eoi(struct irqchip *chip, const struct shim_vcpu *vcpu, uint8_t vector)
{
	const struct routing *routing = chip->routing;
	unsigned pins = chip->split_pins;

	if (!routing)
		return false;
	if (pins > routing->gsis)
		pins = routing->gsis;
	for (unsigned gsi = 0; gsi < pins; gsi++) {
		for (int at = routing->first[gsi]; at != NO_ROUTE; at = routing->route[at].next) {
			const struct route *route = &routing->route[at];
			struct irq_message message;

			if (route->type != KVM_IRQ_ROUTING_MSI)
				continue;
			message = message_of(chip, route->msi.address_lo, route->msi.address_hi,
					     route->msi.data);
			if (message.level_triggered && message.vector == vector &&
			    (lapic_is_destination(vcpu, message.destination, message.logical) ||
			     lapic_has_vector(vcpu, vector)))
				return true;
		}
	}
	return false;
}

/* ------------------------------------------------------------------ a new table */

static int resolve_pin(const struct irqchip *chip, const struct kvm_irq_routing_entry *entry,
		       struct route *route)
{
	bool pic = entry->u.irqchip.irqchip != KVM_IRQCHIP_IOAPIC;

	if (irqchip_mode(chip->vm) == IRQCHIP_SPLIT || entry->u.irqchip.irqchip >= CHIPS ||
	    entry->u.irqchip.pin >= (pic ? PIC_PINS / 2 : IOAPIC_PINS))
		return -EINVAL;
	route->chip = entry->u.irqchip.irqchip;
	route->pin = entry->u.irqchip.pin;
	if (route->chip == KVM_IRQCHIP_PIC_SLAVE)
		route->pin += PIC_PINS / 2;
	return 0;
}

/* setup_routing_entry() */
static int add_route(const struct irqchip *chip, struct routing *routing,
		     const struct kvm_irq_routing_entry *entry)
{
	struct route *route = &routing->route[routing->count];
	bool is_msi = entry->type == KVM_IRQ_ROUTING_MSI;
	int *at = &routing->first[entry->gsi];

	if (entry->flags & ~(is_msi ? MSI_VALID_DEVID : 0))
		return -EINVAL;
	for (; *at != NO_ROUTE; at = &routing->route[*at].next) {
		if (routing->route[*at].type != KVM_IRQ_ROUTING_IRQCHIP ||
		    entry->type != KVM_IRQ_ROUTING_IRQCHIP ||
		    routing->route[*at].chip == entry->u.irqchip.irqchip)
			return -EINVAL;
	}
	route->type = entry->type;
	route->next = NO_ROUTE;
	if (is_msi) {
		route->msi = entry->u.msi;
		if (!message_valid(chip, route->msi.address_hi))
			return -EINVAL;
	} else if (entry->type != KVM_IRQ_ROUTING_IRQCHIP || resolve_pin(chip, entry, route)) {
		return -EINVAL;
	} else {
		routing->gsi_of[route->chip][route->pin] = (int)entry->gsi;
	}
	*at = (int)routing->count++;
	return 0;
}

static int build(const struct irqchip *chip, const struct kvm_irq_routing_entry *entry,
		 unsigned count, struct routing **result)
{
	struct routing *routing;
	int r = 0;

	for (unsigned i = 0; i < count; i++) {
		if (entry[i].gsi >= ABI_MAX_IRQ_ROUTES)
			return -EINVAL;
	}
	routing = calloc(1, sizeof(*routing) + count * sizeof(routing->route[0]));
	if (!routing)
		return -ENOMEM;
	memset(routing->gsi_of, 0xff, sizeof(routing->gsi_of)); /* NO_GSI */
	memset(routing->first, 0xff, sizeof(routing->first));   /* NO_ROUTE */
	routing->gsis = 1;
	for (unsigned i = 0; !r && i < count; i++) {
		if (entry[i].gsi >= routing->gsis)
			routing->gsis = entry[i].gsi + 1;
		r = add_route(chip, routing, &entry[i]);
	}
	if (r)
		free(routing);
	else
		*result = routing;
	return r;
}

static int replace(struct irqchip *chip, const struct kvm_irq_routing_entry *entry, unsigned count)
{
	struct routing *routing = NULL;
	int r = build(chip, entry, count, &routing);

	if (r)
		return r;
	free(chip->routing);
	chip->routing = routing;
	return 0;
}

/* kvm_setup_default_irq_routing(): an ISA interrupt goes to both, the guest masks one of them. */
int routing_default(struct irqchip *chip)
{
	struct kvm_irq_routing_entry entry[IOAPIC_PINS + PIC_PINS] = { 0 };
	unsigned n = 0;

	for (unsigned gsi = 0; gsi < IOAPIC_PINS; gsi++) {
		entry[n].gsi = gsi;
		entry[n].type = KVM_IRQ_ROUTING_IRQCHIP;
		entry[n].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		entry[n++].u.irqchip.pin = gsi;
		if (gsi >= PIC_PINS)
			continue;
		entry[n].gsi = gsi;
		entry[n].type = KVM_IRQ_ROUTING_IRQCHIP;
		entry[n].u.irqchip.irqchip = gsi < 8 ? KVM_IRQCHIP_PIC_MASTER
						     : KVM_IRQCHIP_PIC_SLAVE;
		entry[n++].u.irqchip.pin = gsi % 8;
	}
	return replace(chip, entry, n);
}

void routing_free(struct irqchip *chip)
{
	free(chip->routing);
	chip->routing = NULL;
}

/* ------------------------------------------------------------------ ioctls */

static long set_gsi_routing(struct irqchip *chip, unsigned long argument)
{
	struct kvm_irq_routing_entry *entry = NULL;
	struct kvm_irq_routing header;
	long r = 0;

	if (user_read(&header, argument, sizeof(header)))
		return -EFAULT;
	if (irqchip_mode(chip->vm) == IRQCHIP_NONE || header.nr > ABI_MAX_IRQ_ROUTES ||
	    header.flags)
		return -EINVAL;
	if (header.nr) {
		entry = calloc(header.nr, sizeof(*entry));
		if (!entry)
			return -ENOMEM;
		r = user_read(entry, argument + sizeof(header), header.nr * sizeof(*entry));
	}
	if (!r) {
		lock_take(&chip->lock);
		r = replace(chip, entry, header.nr);
		lock_drop(&chip->lock);
	}
	free(entry);
	return r;
}

static long irq_line(struct irqchip *chip, bool status, unsigned long argument)
{
	struct kvm_irq_level line;

	if (user_read(&line, argument, sizeof(line)))
		return -EFAULT;
	if (irqchip_mode(chip->vm) == IRQCHIP_NONE)
		return -ENXIO;
	lock_take(&chip->lock);
	line.status = set_line(chip, IRQ_SOURCE_USER, line.irq, line.level, status);
	lock_drop(&chip->lock);
	return status ? user_write(argument, &line, sizeof(line)) : 0;
}

static long signal_msi(struct irqchip *chip, unsigned long argument)
{
	struct kvm_msi msi;
	long r;

	if (user_read(&msi, argument, sizeof(msi)))
		return -EFAULT;
	if (irqchip_mode(chip->vm) == IRQCHIP_NONE || msi.flags & ~MSI_VALID_DEVID)
		return -EINVAL;
	lock_take(&chip->lock);
	r = irq_send_msi(chip, msi.address_lo, msi.address_hi, msi.data);
	lock_drop(&chip->lock);
	return r;
}

long routing_ioctl(struct irqchip *chip, unsigned long request, unsigned long argument)
{
	switch (request) {
	case KVM_SET_GSI_ROUTING:
		return set_gsi_routing(chip, argument);
	case KVM_IRQ_LINE:
	case KVM_IRQ_LINE_STATUS:
		return irq_line(chip, request == KVM_IRQ_LINE_STATUS, argument);
	case KVM_SIGNAL_MSI:
		return signal_msi(chip, argument);
	default:
		return -ENOTTY;
	}
}
