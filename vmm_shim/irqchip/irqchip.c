// SPDX-License-Identifier: GPL-2.0-only
/* The interrupt controllers of a VM: their beginning and end, and which ioctl is whose. */
#include "vmm_shim/irqchip/chips.h"

#include <errno.h>
#include <stdlib.h>

/* ------------------------------------------------------------------ of every VM */

int irqchip_new(struct shim_vm *vm)
{
	struct irqchip *chip = calloc(1, sizeof(*chip));

	if (!chip)
		return -ENOMEM;
	chip->vm = vm;
	chip->bus_cycle_ns = 1; /* APIC_BUS_CYCLE_NS_DEFAULT */
	if (bus_new(chip)) {
		free(chip);
		return -ENOMEM;
	}
	vm->irqchip = chip;
	return 0;
}

/* The helper thread finds VMs in the registry, which this one has left: it is out of it. */
void irqchip_stop(struct shim_vm *vm)
{
	struct irqchip *chip = vm->irqchip;

	if (!chip)
		return;
	lock_take(&chip->lock);
	chip->stopped = true;
	chip->timers = NULL;
	lock_drop(&chip->lock);
}

void irqchip_free(struct shim_vm *vm)
{
	struct irqchip *chip = vm->irqchip;

	if (!chip)
		return;
	eventfd_free(chip);
	coalesced_free(chip);
	pit_free(chip);
	ioapic_free(chip);
	pic_free(chip);
	routing_free(chip);
	bus_free(chip);
	free(chip);
	vm->irqchip = NULL;
}

enum irqchip_mode irqchip_mode(const struct shim_vm *vm)
{
	return atomic_load_explicit(&vm->irqchip->mode, memory_order_acquire);
}

/* ------------------------------------------------------------------ KVM_CREATE_IRQCHIP */

static int create_chips(struct irqchip *chip)
{
	int r = pic_new(chip);

	if (!r)
		r = ioapic_new(chip);
	if (!r)
		r = routing_default(chip);
	if (!r) {
		atomic_store_explicit(&chip->mode, IRQCHIP_KERNEL, memory_order_release);
		return 0;
	}
	ioapic_free(chip);
	pic_free(chip);
	return r;
}

static long create(struct shim_vm *vm)
{
	struct irqchip *chip = vm->irqchip;
	long r;

	lock_take(&vm->lock);
	lock_take(&chip->lock);
	if (irqchip_mode(vm) != IRQCHIP_NONE)
		r = -EEXIST;
	else if (vm->vcpus)
		r = -EINVAL;
	else
		r = create_chips(chip);
	lock_drop(&chip->lock);
	lock_drop(&vm->lock);
	return r;
}

int irqchip_split(struct shim_vm *vm, uint64_t pins)
{
	struct irqchip *chip = vm->irqchip;
	int r = 0;

	lock_take(&vm->lock);
	lock_take(&chip->lock);
	if (pins > ABI_MAX_IRQ_ROUTES) {
		r = -EINVAL;
	} else if (irqchip_mode(vm) != IRQCHIP_NONE || vm->vcpus) {
		r = -EEXIST;
	} else {
		chip->split_pins = (unsigned)pins;
		atomic_store_explicit(&chip->mode, IRQCHIP_SPLIT, memory_order_release);
	}
	lock_drop(&chip->lock);
	lock_drop(&vm->lock);
	return r;
}

/* ------------------------------------------------------------------ their state */

/* KVM_GET_IRQCHIP, or KVM_SET_IRQCHIP. */
static long chip_state(struct irqchip *chip, unsigned long argument, bool set)
{
	struct kvm_irqchip state;
	long r = 0;

	if (user_read(&state, argument, sizeof(state)))
		return -EFAULT;
	if (irqchip_mode(chip->vm) != IRQCHIP_KERNEL)
		return -ENXIO;
	lock_take(&chip->lock);
	switch (state.chip_id) {
	case KVM_IRQCHIP_PIC_MASTER:
	case KVM_IRQCHIP_PIC_SLAVE:
		if (set)
			pic_set(chip, state.chip_id, &state.chip.pic);
		else
			pic_get(chip, state.chip_id, &state.chip.pic);
		break;
	case KVM_IRQCHIP_IOAPIC:
		if (set)
			ioapic_set(chip, &state.chip.ioapic);
		else
			ioapic_get(chip, &state.chip.ioapic);
		break;
	default:
		r = -EINVAL;
		break;
	}
	if (set)
		pic_update(chip);
	lock_drop(&chip->lock);
	return r || set ? r : user_write(argument, &state, sizeof(state));
}

static long chip_ioctl(struct irqchip *chip, unsigned long request, unsigned long argument)
{
	switch (request) {
	case KVM_CREATE_IRQCHIP:
		return shim_config.options.irqchip == SHIM_IRQCHIP_NONE ? -ENOTTY
									: create(chip->vm);
	case KVM_GET_IRQCHIP:
		return chip_state(chip, argument, false);
	case KVM_SET_IRQCHIP:
		return chip_state(chip, argument, true);
	default:
		return -ENOTTY;
	}
}

long irqchip_vm_ioctl(struct shim_vm *vm, unsigned long request, unsigned long argument)
{
	static long (*const handler[])(struct irqchip *, unsigned long, unsigned long) = {
		chip_ioctl, routing_ioctl, pit_ioctl, eventfd_ioctl, coalesced_ioctl,
	};
	long r = -ENOTTY;

	for (unsigned i = 0; r == -ENOTTY && i < sizeof(handler) / sizeof(handler[0]); i++)
		r = handler[i](vm->irqchip, request, argument);
	return r;
}
