/* SPDX-License-Identifier: GPL-2.0-only */
/* What the chips and buses of a VM are to each other. As in irqchip.h: chip->lock is held. */
#ifndef BUSLOCK_VMM_SHIM_IRQCHIP_CHIPS_H
#define BUSLOCK_VMM_SHIM_IRQCHIP_CHIPS_H

#include "vmm_shim/irqchip/irqchip.h"

#define PIC_PINS    16
#define IOAPIC_PINS KVM_IOAPIC_NUM_PINS
#define RTC_GSI     8

/* A line is up as long as one of its sources holds it: the bits of these, per pin. */
static inline bool line_state(uint8_t *sources, enum irq_source source, bool level)
{
	uint8_t bit = (uint8_t)(1u << source);

	*sources = level ? *sources | bit : (uint8_t)(*sources & ~bit);
	return *sources != 0;
}

/* ------------------------------------------------------------------ pic.c: pins 0 to 15 */

int pic_new(struct irqchip *chip);
void pic_free(struct irqchip *chip);
/* -1 masked, 0 coalesced, 1 */
int pic_set_line(struct irqchip *chip, enum irq_source source, unsigned pin, bool level);
/* chip_id: KVM_IRQCHIP_PIC_ */
void pic_get(const struct irqchip *chip, uint32_t chip_id, struct kvm_pic_state *state);
void pic_set(struct irqchip *chip, uint32_t chip_id, const struct kvm_pic_state *state);
void pic_update(struct irqchip *chip);

/* ------------------------------------------------------------------ ioapic.c */

int ioapic_new(struct irqchip *chip);
void ioapic_free(struct irqchip *chip);
/* As lapic_deliver(). `status`: the caller wants to know whether the clock's interrupt was lost. */
int ioapic_set_line(struct irqchip *chip, enum irq_source source, unsigned pin, bool level,
		    bool status);
void ioapic_get(const struct irqchip *chip, struct kvm_ioapic_state *state);
void ioapic_set(struct irqchip *chip, const struct kvm_ioapic_state *state);

/* ------------------------------------------------------------------ pit.c */

/* KVM_CREATE_PIT, KVM_GET_PIT2 … -ENOTTY: none of these. Takes chip->lock itself. */
long pit_ioctl(struct irqchip *chip, unsigned long request, unsigned long argument);
void pit_free(struct irqchip *chip);
/* The guest has taken the 8254's interrupt; its line has been masked or unmasked. */
void pit_acked(struct irqchip *chip);
void pit_masked(struct irqchip *chip, bool masked);

/* ------------------------------------------------------------------ routing.c */

int routing_default(struct irqchip *chip);
void routing_free(struct irqchip *chip);
/* Takes chip->lock itself. */
long routing_ioctl(struct irqchip *chip, unsigned long request, unsigned long argument);
void irq_acked(struct irqchip *chip, unsigned chip_id, unsigned pin);
void irq_masked(struct irqchip *chip, unsigned chip_id, unsigned pin, bool masked);
/* Whoever feeds this pin by a resampling irqfd looks again whether it is up. False: nobody. */
bool irq_resample(struct irqchip *chip, unsigned chip_id, unsigned pin);

/* ------------------------------------------------------------------ eventfd.c */

/* KVM_IRQFD, KVM_IOEVENTFD. Takes chip->lock itself. */
long eventfd_ioctl(struct irqchip *chip, unsigned long request, unsigned long argument);
void eventfd_free(struct irqchip *chip);
/* The line of this GSI was acknowledged: down with it, and who resamples it looks again. */
void irqfd_acked(struct irqchip *chip, unsigned gsi);
/* Who resamples it looks again; false: nobody does. */
bool irqfd_resample(struct irqchip *chip, unsigned gsi);

/*
 * For the helper thread: entries for poll() from `at` on, as far as there is `room`; returns how many
 * there would be. After the poll, what has been written to is handled.
 */
struct pollfd;
unsigned irqfd_poll(struct irqchip *chip, struct pollfd *entry, unsigned at, unsigned room);
void irqfd_serve(struct irqchip *chip, const struct pollfd *entry, unsigned used);

/* ------------------------------------------------------------------ bus.c, coalesced.c */

struct bus_device {
	uint64_t address, size; /* size 0: this address, accesses of any size */
	/* False: not mine after all. */
	bool (*access)(struct irqchip *chip, void *opaque, uint64_t address, unsigned size,
		       bool write, void *data);
	void *opaque;
	bool eventfd; /* does not count among the thousand that a bus can have */
};
int bus_new(struct irqchip *chip);
void bus_free(struct irqchip *chip);
/* -ENOSPC, -ENOMEM */
int bus_add(struct irqchip *chip, bool port, const struct bus_device *device);
void bus_remove(struct irqchip *chip, bool port, const void *opaque);

/* The ring of the VM; NULL: it has no vCPU yet. */
struct kvm_coalesced_mmio_ring *coalesced_ring(const struct shim_vm *vm);
/* KVM_REGISTER_COALESCED_MMIO, KVM_UNREGISTER_COALESCED_MMIO. Takes chip->lock itself. */
long coalesced_ioctl(struct irqchip *chip, unsigned long request, unsigned long argument);
void coalesced_free(struct irqchip *chip);

/* ------------------------------------------------------------------ thread.c */

/* Something has changed that the helper thread has to know: starts it, or wakes it. */
void irq_helper_wake(void);

#endif
