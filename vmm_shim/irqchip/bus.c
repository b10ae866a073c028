// SPDX-License-Identifier: GPL-2.0-only
/* Who answers for a port or an address without memory: kvm_io_bus_read() and _write(). */
#include "vmm_shim/irqchip/chips.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUS_DEVICES 1000 /* NR_IOBUS_DEVS */

struct bus {
	struct space {
		_Atomic unsigned devices; /* read without the lock: most VMs have none */
		unsigned eventfds, room;
		struct bus_device *device; /* in order of their addresses */
	} space[2];
};

static struct space *space_of(struct irqchip *chip, bool port)
{
	return &chip->bus->space[port];
}

int bus_new(struct irqchip *chip)
{
	chip->bus = calloc(1, sizeof(*chip->bus));
	return chip->bus ? 0 : -ENOMEM;
}

void bus_free(struct irqchip *chip)
{
	if (!chip->bus)
		return;
	free(chip->bus->space[0].device);
	free(chip->bus->space[1].device);
	free(chip->bus);
	chip->bus = NULL;
}

/* Where addresses are the same, the older one comes first, as in kvm_io_bus_register_dev(). */
int bus_add(struct irqchip *chip, bool port, const struct bus_device *device)
{
	struct space *space = space_of(chip, port);
	unsigned n = atomic_load(&space->devices), at = n;

	if (n - space->eventfds > BUS_DEVICES - 1)
		return -ENOSPC;
	if (n == space->room) {
		unsigned room = n ? 2 * n : 8;
		struct bus_device *more = realloc(space->device, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		space->device = more;
		space->room = room;
	}
	while (at && space->device[at - 1].address > device->address)
		at--;
	memmove(&space->device[at + 1], &space->device[at], (n - at) * sizeof(*device));
	space->device[at] = *device;
	space->eventfds += device->eventfd;
	atomic_store(&space->devices, n + 1);
	return 0;
}

void bus_remove(struct irqchip *chip, bool port, const void *opaque)
{
	struct space *space = space_of(chip, port);
	unsigned n = atomic_load(&space->devices), kept = 0;

	for (unsigned i = 0; i < n; i++) {
		if (space->device[i].opaque == opaque)
			space->eventfds -= space->device[i].eventfd;
		else
			space->device[kept++] = space->device[i];
	}
	atomic_store(&space->devices, kept);
}

/* kvm_io_bus_cmp(): all of the access within the device */
static bool covers(const struct bus_device *device, uint64_t address, unsigned size)
{
	if (!device->size)
		return address == device->address;
	return address >= device->address && address + size <= device->address + device->size &&
	       address + size > address;
}

static bool access_locked(struct irqchip *chip, struct space *space, uint64_t address,
			  unsigned size, bool write, void *data)
{
	unsigned n = atomic_load(&space->devices);

	for (unsigned i = 0; i < n && space->device[i].address <= address; i++) {
		const struct bus_device *device = &space->device[i];

		if (covers(device, address, size) &&
		    device->access(chip, device->opaque, address, size, write, data))
			return true;
	}
	return false;
}

bool bus_access(struct shim_vcpu *vcpu, bool port, uint64_t address, unsigned size, bool write,
		void *data)
{
	struct irqchip *chip = vcpu->vm->irqchip;
	struct space *space = space_of(chip, port);
	bool done;

	if (__builtin_expect(!atomic_load_explicit(&space->devices, memory_order_relaxed), 1))
		return false;
	lock_take(&chip->lock);
	done = access_locked(chip, space, address, size, write, data);
	lock_drop(&chip->lock);
	return done;
}

/* emulator_pio_in_out(): element by element. The first decides whose port it is. */
bool bus_ports(struct shim_vcpu *vcpu, uint16_t port, unsigned size, unsigned count, bool write,
	       void *data)
{
	uint8_t *element = data;

	if (!count || !bus_access(vcpu, true, port, size, write, element))
		return false;
	for (unsigned i = 1; i < count; i++) {
		element += size;
		if (bus_access(vcpu, true, port, size, write, element))
			continue;
		/* "Userspace must have unregistered the device while PIO was running" */
		if (!write)
			memset(element, 0, (size_t)size * (count - i));
		break;
	}
	return true;
}
