// SPDX-License-Identifier: GPL-2.0-only
/* The interrupt controllers of a VM: their beginning and end, and which ioctl is whose. */
#include "vmm_shim/irqchip/irqchip.h"

#include <errno.h>
#include <stdlib.h>

int irqchip_new(struct shim_vm *vm)
{
	struct irqchip *chip = calloc(1, sizeof(*chip));

	if (!chip)
		return -ENOMEM;
	chip->vm = vm;
	chip->bus_cycle_ns = 1; /* APIC_BUS_CYCLE_NS_DEFAULT */
	vm->irqchip = chip;
	return 0;
}

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
	free(vm->irqchip);
	vm->irqchip = NULL;
}

enum irqchip_mode irqchip_mode(const struct shim_vm *vm)
{
	return atomic_load_explicit(&vm->irqchip->mode, memory_order_acquire);
}

long irqchip_vm_ioctl(struct shim_vm *vm, unsigned long request, unsigned long argument)
{
	(void)vm;
	(void)request;
	(void)argument;
	return -ENOTTY;
}
