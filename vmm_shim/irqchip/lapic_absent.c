// SPDX-License-Identifier: GPL-2.0-only
/* There are no local APICs yet: nobody takes an interrupt. lapic.c takes the place of this file. */
#include "vmm_shim/irqchip/irqchip.h"

#define ABSENT __attribute__((weak))

ABSENT int lapic_deliver(struct irqchip *chip, const struct irq_message *message)
{
	(void)chip;
	(void)message;
	return -1;
}

ABSENT void lapic_pic_changed(struct irqchip *chip)
{
	(void)chip;
}

ABSENT bool lapic_takes_pic(const struct irqchip *chip)
{
	(void)chip;
	return false;
}

ABSENT bool lapic_is_destination(const struct shim_vcpu *vcpu, uint32_t destination, bool logical)
{
	(void)vcpu;
	(void)destination;
	(void)logical;
	return false;
}

ABSENT bool lapic_has_vector(const struct shim_vcpu *vcpu, uint8_t vector)
{
	(void)vcpu;
	(void)vector;
	return false;
}

ABSENT void lapic_nmi_watchdog(struct irqchip *chip)
{
	(void)chip;
}

ABSENT void lapic_timer_came_first(struct irqchip *chip)
{
	(void)chip;
}
