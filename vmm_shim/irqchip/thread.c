// SPDX-License-Identifier: GPL-2.0-only
/* Timers of the interrupt controllers. */
#include "vmm_shim/irqchip/irqchip.h"

/* A handful per VM: one for each local APIC, one for the 8254. A sorted list does. */
static void unlink_timer(struct irqchip *chip, struct irq_timer *timer)
{
	struct irq_timer **at = &chip->timers;

	while (*at && *at != timer)
		at = &(*at)->next;
	if (*at)
		*at = timer->next;
}

void irq_timer_set(struct irqchip *chip, struct irq_timer *timer, uint64_t at_ns)
{
	struct irq_timer **at = &chip->timers;

	if (timer->at_ns)
		unlink_timer(chip, timer);
	timer->at_ns = chip->stopped ? 0 : at_ns;
	if (!timer->at_ns)
		return;
	while (*at && (*at)->at_ns <= at_ns)
		at = &(*at)->next;
	timer->next = *at;
	*at = timer;
}

bool irq_next_timer(const struct irqchip *chip, uint64_t *at_ns)
{
	if (!chip->timers)
		return false;
	*at_ns = chip->timers->at_ns;
	return true;
}

void irq_run_timers(struct irqchip *chip, uint64_t now_ns)
{
	struct irq_timer *timer;

	while ((timer = chip->timers) && timer->at_ns <= now_ns) {
		chip->timers = timer->next;
		timer->at_ns = 0;
		timer->fire(chip, timer);
	}
}
