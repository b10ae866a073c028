/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interrupt controllers of the kernel: what KVM_CREATE_IRQCHIP makes (two 8259, an I/O APIC, and in
 * each vCPU a local APIC), KVM_CREATE_PIT2's 8254, the routing between them, and what feeds them from
 * outside (irqfd) or is fed by them (ioeventfd, coalesced MMIO). KVM api.rst 4.24 to 4.29, 4.52, 4.71.
 *
 * Each chip is a model of its own file, which knows neither ioctls nor threads: its registers, its pins,
 * and its time as a number that it is given. One lock of the VM, chip->lock, guards them all; it is
 * the innermost lock of the shim, taken by vCPU threads, by any thread in an ioctl, and by the helper
 * thread (thread.c). Functions here are called with it held unless they say otherwise.
 */
#ifndef BUSLOCK_VMM_SHIM_IRQCHIP_IRQCHIP_H
#define BUSLOCK_VMM_SHIM_IRQCHIP_IRQCHIP_H

#include "vmm_shim/internal.h"

enum irqchip_mode {
	IRQCHIP_NONE,   /* all of it is the monitor's */
	IRQCHIP_KERNEL, /* KVM_CREATE_IRQCHIP */
	IRQCHIP_SPLIT,  /* KVM_CAP_SPLIT_IRQCHIP: local APICs here, the rest is the monitor's */
};

/* One per VM, from its creation. What the models keep is theirs: see their files. */
struct irqchip {
	struct shim_vm *vm;
	struct shim_lock lock;
	_Atomic enum irqchip_mode mode; /* changes once, under vm->lock and lock */
	bool stopped;                   /* the VM is going: nothing fires any more */

	struct irq_timer *timers; /* thread.c: in order of their time */
	struct pic *pic;          /* IRQCHIP_KERNEL only, these three */
	struct ioapic *ioapic;
	struct pit *pit; /* KVM_CREATE_PIT2 */
	struct routing *routing;
	struct bus *bus;
	struct irqfd *irqfds;
	struct ioeventfd *ioeventfds;
	struct zone *zones;  /* coalesced.c */
	unsigned split_pins; /* of the monitor's I/O APICs, IRQCHIP_SPLIT: the first GSIs */

	/* lapic_vcpu.c */
	struct lapic *apic[EMU_MAX_VCPUS]; /* of the VM's vCPUs, in order of creation */
	unsigned apics;
	uint64_t bus_cycle_ns;       /* KVM_CAP_X86_APIC_BUS_CYCLES_NS */
	bool x2apic_format;          /* KVM_X2APIC_API_USE_32BIT_IDS */
	bool x2apic_exact_broadcast; /* KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK */
};

/* ------------------------------------------------------------------ time and descriptors: thread.c */

/*
 * Calls `fire` once, with chip->lock held, when shim_now_ns() has reached `at_ns`; in virtual time that is
 * the virtual clock. Setting it again moves it, 0 stops it. Zeroed memory is a stopped timer.
 */
struct irq_timer {
	uint64_t at_ns;
	void (*fire)(struct irqchip *chip, struct irq_timer *timer);
	struct irq_timer *next; /* thread.c's */
};
void irq_timer_set(struct irqchip *chip, struct irq_timer *timer, uint64_t at_ns);
/* When the next timer is due; false: none is set. */
bool irq_next_timer(const struct irqchip *chip, uint64_t *at_ns);
/* Fires all that are due at `now_ns`, in the order of their times. In real time the helper thread calls
 * it, in virtual time who passes time. */
void irq_run_timers(struct irqchip *chip, uint64_t now_ns);

/* ------------------------------------------------------------------ local APICs: lapic.c */

/* What travels to local APICs: from the I/O APIC, an MSI, another local APIC. SDM vol. 3, 11.6, 11.11. */
enum irq_delivery {
	IRQ_FIXED = 0,
	IRQ_LOWEST = 1,
	IRQ_SMI = 2,
	IRQ_NMI = 4,
	IRQ_INIT = 5,
	IRQ_STARTUP = 6,
	IRQ_EXTINT = 7,
};
struct irq_message {
	uint32_t destination;
	bool logical; /* destination mode */
	enum irq_delivery delivery;
	uint8_t vector;
	bool level_triggered, asserted;
	/* from a local APIC: SDM vol. 3, 11.6.1 */
	enum { IRQ_TO_DESTINATION, IRQ_TO_SELF, IRQ_TO_ALL, IRQ_TO_OTHERS } shorthand;
	struct shim_vcpu *source; /* NULL: not from a local APIC */
};
/* Number of vCPUs that took it, 0: it was pending there already (coalesced), -1: there is none such.
 * Wakes and kicks those that have to look. */
int lapic_deliver(struct irqchip *chip, const struct irq_message *message);
/* The INTR line of the 8259s has changed: who takes ExtINT has to look. */
void lapic_pic_changed(struct irqchip *chip);
/* kvm_apic_match_dest() and kvm_apic_pending_eoi(), of a vCPU with a local APIC. */
bool lapic_is_destination(const struct shim_vcpu *vcpu, uint32_t destination, bool logical);
bool lapic_has_vector(const struct shim_vcpu *vcpu, uint8_t vector);
/* Does any vCPU take the 8259s' interrupts now (kvm_apic_accept_pic_intr())? */
bool lapic_takes_pic(const struct irqchip *chip);
/* The 8254 has ticked: LINT0 of those where it is an NMI (kvm_apic_nmi_wd_deliver()). */
void lapic_nmi_watchdog(struct irqchip *chip);
/* A timer came first that was not, in virtual time: vCPUs that wait in HLT wait for it, too. */
void lapic_timer_came_first(struct irqchip *chip);

/* ------------------------------------------------------------------ 8259, I/O APIC: pic.c, ioapic.c */

/* INTR of the master is up. */
bool pic_pending(const struct irqchip *chip);
/* INTA: the vector, which is in service from now on (a spurious one if nothing is pending). */
uint8_t pic_acknowledge(struct irqchip *chip);
/* The end of an interrupt in a local APIC, with KVM_CREATE_IRQCHIP of any: an edge's end is what the 8254
 * and irqfds wait for. `level`: it was level-triggered, and its end is broadcast (SDM vol. 3, 11.8.5; not
 * with SPIV bit 12). */
void ioapic_eoi(struct irqchip *chip, uint8_t vector, bool level);
/* Split: does one of the monitor's routes to its I/O APIC have this vector for this vCPU, level-triggered?
 * Then KVM_EXIT_IOAPIC_EOI is due. */
bool routing_wants_eoi(struct irqchip *chip, const struct shim_vcpu *vcpu, uint8_t vector);

/* ------------------------------------------------------------------ lines and messages: routing.c */

/* A line, as KVM_IRQ_LINE sets it; several sources of one line are or-ed. The result for
 * KVM_IRQ_LINE_STATUS: as lapic_deliver(). */
enum irq_source { IRQ_SOURCE_USER, IRQ_SOURCE_PIT, IRQ_SOURCE_RESAMPLE };
int irq_set_line(struct irqchip *chip, enum irq_source source, unsigned gsi, bool level);
/* KVM_SIGNAL_MSI, MSI routes. SDM vol. 3, 11.11. */
int irq_send_msi(struct irqchip *chip, uint32_t address, uint32_t address_high, uint32_t data);

/* ------------------------------------------------------------------ devices on the buses: bus.c */

/*
 * An access of the guest that no slot answers: is there a device of the kernel's (8259, 8254, I/O APIC,
 * ioeventfd, coalesced zone)? True: done, `data` is filled or taken; false: the monitor's. Takes
 * chip->lock itself. The local APIC's page is not among them: lapic_mmio().
 */
bool bus_access(struct shim_vcpu *vcpu, bool port, uint64_t address, unsigned size, bool write,
		void *data);
/* The elements of IN, OUT, INS or OUTS one after the other; the first decides whose port it is. */
bool bus_ports(struct shim_vcpu *vcpu, uint16_t port, unsigned size, unsigned count, bool write,
	       void *data);
bool lapic_mmio(struct shim_vcpu *vcpu, uint64_t gpa, unsigned size, bool write, void *data);

/* ------------------------------------------------------------------ of the VM: irqchip.c */

/* Every VM has one, from its creation: routes of a split one, ioeventfds and coalesced zones exist
 * without any controller. */
int irqchip_new(struct shim_vm *vm);
/* No vCPU runs. Stop: the helper thread is out of it on return, and fires nothing any more; vCPUs
 * can be destroyed then, and the rest be freed. Both: nothing to do if irqchip_new() has failed. */
void irqchip_stop(struct shim_vm *vm);
void irqchip_free(struct shim_vm *vm);
enum irqchip_mode irqchip_mode(const struct shim_vm *vm); /* any thread, no lock */

/* KVM_ENABLE_CAP(KVM_CAP_SPLIT_IRQCHIP): `pins` of the monitor's own I/O APICs. */
int irqchip_split(struct shim_vm *vm, uint64_t pins);
/* In a forked child: no helper thread, no lock is held. */
void irqchip_after_fork(void);

/* KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2, KVM_IRQ_LINE, KVM_GET_IRQCHIP, KVM_SET_GSI_ROUTING, KVM_IRQFD,
 * KVM_IOEVENTFD, KVM_SIGNAL_MSI … -ENOTTY: none of these. */
long irqchip_vm_ioctl(struct shim_vm *vm, unsigned long request, unsigned long argument);
/* KVM_GET_LAPIC, KVM_SET_LAPIC, KVM_SET_VAPIC_ADDR: lapic_access.c. -ENOTTY: none of these. */
long irqchip_vcpu_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument);
/* KVM_ENABLE_CAP on the VM: KVM_CAP_X2APIC_API, KVM_CAP_X86_APIC_BUS_CYCLES_NS. */
int lapic_enable_cap(struct shim_vm *vm, const struct kvm_enable_cap *cap);

#endif
