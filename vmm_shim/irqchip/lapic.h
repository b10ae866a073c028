/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A local APIC: the model (lapic.c, lapic_timer.c, lapic_message.c), what joins it to a vCPU
 * (lapic_vcpu.c), and the ways to it (lapic_access.c). SDM vol. 3, chapter 11; where KVM has a view of its own it is KVM's
 * (arch/x86/kvm/lapic.c, 6.12).
 *
 * chip->lock guards all of it. Without it: `base`, read by the vCPU's own thread, which alone writes
 * it; and the atomics, by which others tell the vCPU that there is something to look at.
 */
#ifndef BUSLOCK_VMM_SHIM_IRQCHIP_LAPIC_H
#define BUSLOCK_VMM_SHIM_IRQCHIP_LAPIC_H

#include "vmm_shim/irqchip/irqchip.h"

/* IA32_APIC_BASE, SDM 11.4.4, 11.12.1 */
#define APIC_BASE_BSP    (1ull << 8)
#define APIC_BASE_X2     (1ull << 10)
#define APIC_BASE_ENABLE (1ull << 11)
#define APIC_BASE_PAGE   0xfee00000ull

/* Offsets in the page, SDM table 11-1. In x2APIC mode the MSR is 800h + offset / 16. */
enum lapic_reg {
	LAPIC_ID = 0x20,
	LAPIC_VERSION = 0x30,
	LAPIC_TPR = 0x80,
	LAPIC_ARBITRATION = 0x90,
	LAPIC_PPR = 0xa0,
	LAPIC_EOI = 0xb0,
	LAPIC_LDR = 0xd0,
	LAPIC_DFR = 0xe0,
	LAPIC_SPURIOUS = 0xf0,
	LAPIC_ISR = 0x100, /* eight each, 32 vectors in each */
	LAPIC_TMR = 0x180,
	LAPIC_IRR = 0x200,
	LAPIC_ESR = 0x280,
	LAPIC_LVT_CMCI = 0x2f0,
	LAPIC_ICR = 0x300,
	LAPIC_ICR_HIGH = 0x310,
	LAPIC_LVT_TIMER = 0x320,
	LAPIC_LVT_THERMAL = 0x330,
	LAPIC_LVT_PERFORMANCE = 0x340,
	LAPIC_LVT_LINT0 = 0x350,
	LAPIC_LVT_LINT1 = 0x360,
	LAPIC_LVT_ERROR = 0x370,
	LAPIC_INITIAL_COUNT = 0x380,
	LAPIC_CURRENT_COUNT = 0x390,
	LAPIC_DIVIDE = 0x3e0,
	LAPIC_SELF_IPI = 0x3f0,
	LAPIC_SIZE = 0x400, /* KVM_APIC_REG_SIZE */
};

#define LAPIC_ENABLED     (1u << 8)  /* of the spurious-vector register */
#define LAPIC_EOI_TO_SELF (1u << 12) /* …: no broadcast */
#define LVT_MASKED        (1u << 16)
#define LVT_LEVEL         (1u << 15)
#define LVT_PERIODIC      (1u << 17)
#define LVT_TSC_DEADLINE  (2u << 17)

struct lapic_timer {
	struct irq_timer alarm; /* first */
	uint32_t mode_mask;     /* bits of the LVT that choose the mode, by CPUID */
	uint32_t mode;          /* of these bits, as of now */
	unsigned divide;
	uint64_t period_ns, target_ns;
	uint64_t deadline; /* IA32_TSC_DEADLINE */
	bool pending;      /* expired; its vCPU has not taken it up */
	/* of the guest's time-stamp counter, once it has been asked for */
	int64_t tsc_offset;
	bool tsc_known;
};

struct lapic {
	struct lapic_timer timer; /* first */
	struct shim_vcpu *vcpu;
	struct irqchip *chip;
	uint64_t base; /* IA32_APIC_BASE */
	uint8_t page[LAPIC_SIZE] __attribute__((aligned(16)));
	unsigned lvts; /* the timer's … the error's, and CMCI */

	bool init, startup; /* INIT, SIPI pending */
	uint8_t startup_vector;
	int external; /* split: vector of KVM_INTERRUPT, or -1 */
	int eoi;      /* split: vector of which the monitor is to be told, or -1 */
	bool window;  /* an interrupt waits for the guest to allow it */
	uint64_t vapic;
	bool tell_tpr; /* KVM_EXIT_TPR_ACCESS is due */

	_Atomic unsigned nmis;
	_Atomic bool look;       /* KVM_REQ_EVENT, and the vCPU has been told */
	_Atomic uint32_t asleep; /* its thread waits: a futex */
};

static inline uint32_t *lapic_reg(struct lapic *a, unsigned offset)
{
	return (uint32_t *)(a->page + offset);
}
static inline uint32_t lapic_get(const struct lapic *a, unsigned offset)
{
	return *(const uint32_t *)(a->page + offset);
}
/* The priority class: KVM_SET_LAPIC may have put anything above it. */
static inline uint64_t lapic_cr8(const struct lapic *a)
{
	return lapic_get(a, LAPIC_TPR) >> 4 & 0xf;
}
static inline bool lapic_hw_enabled(const struct lapic *a)
{
	return a->base & APIC_BASE_ENABLE;
}
static inline bool lapic_enabled(const struct lapic *a)
{
	return lapic_hw_enabled(a) && lapic_get(a, LAPIC_SPURIOUS) & LAPIC_ENABLED;
}
static inline bool lapic_x2(const struct lapic *a)
{
	return (a->base & (APIC_BASE_X2 | APIC_BASE_ENABLE)) == (APIC_BASE_X2 | APIC_BASE_ENABLE);
}
static inline bool lapic_bit(const struct lapic *a, unsigned set, unsigned vector)
{
	return lapic_get(a, set + vector / 32 * 16) >> vector % 32 & 1;
}
static inline void lapic_set_bit(struct lapic *a, unsigned set, unsigned vector, bool on)
{
	uint32_t bit = 1u << vector % 32, *word = lapic_reg(a, set + vector / 32 * 16);

	*word = on ? *word | bit : *word & ~bit;
}

/* ------------------------------------------------------------------ lapic.c: registers */

/* kvm_lapic_reset(): RESET, or INIT, which leaves IA32_APIC_BASE and the xAPIC ID alone. */
void lapic_reset(struct lapic *a, bool init);
/* -EINVAL: no such register. A page has 4-byte registers on 16-byte boundaries. */
int lapic_read(struct lapic *a, unsigned offset, unsigned size, void *data);
int lapic_write(struct lapic *a, unsigned offset, uint32_t value);
/* The x2APIC's view; -EINVAL where the guest gets #GP. */
int lapic_read_msr(struct lapic *a, uint32_t index, uint64_t *value);
int lapic_write_msr(struct lapic *a, uint32_t index, uint64_t value);
void lapic_base_changed(struct lapic *a, uint64_t base); /* __kvm_apic_set_base() */
void lapic_get_state(struct lapic *a, struct kvm_lapic_state *state);
int lapic_set_state(struct lapic *a, const struct kvm_lapic_state *state);
/* The guest's CPUID has come, or another number of LVT entries (MCG_CAP). */
void lapic_features(struct lapic *a, bool tsc_deadline);
void lapic_set_lvts(struct lapic *a, bool cmci);

void lapic_set_tpr(struct lapic *a, uint32_t tpr);
/* The vector that may interrupt now by its priority, or -1; and that it has (INTA). */
int lapic_pending(struct lapic *a);
void lapic_acknowledge(struct lapic *a, unsigned vector);
/* INTR of the 8259s, or the monitor's, reaches this one. */
bool lapic_takes_external(const struct lapic *a);

/* ------------------------------------------------------------------ lapic_message.c */

/* __apic_accept_irq(): 1 accepted, 0 not. */
int lapic_accept(struct lapic *a, enum irq_delivery delivery, uint8_t vector, bool level,
		 bool asserted);
/* A local interrupt, by its LVT entry. */
int lapic_local(struct lapic *a, unsigned lvt);
void lapic_send(struct lapic *a, uint32_t icr, uint32_t destination);

/* ------------------------------------------------------------------ lapic_timer.c */

void lapic_timer_init(struct lapic *a);
void lapic_timer_stop(struct lapic *a);
void lapic_timer_mode(struct lapic *a);    /* the LVT entry has changed */
void lapic_timer_divide(struct lapic *a);  /* the divide register has changed */
void lapic_timer_rescale(struct lapic *a); /* …while the timer runs */
/* From the initial count, or from a saved current one. */
void lapic_timer_start(struct lapic *a, bool from_current);
uint32_t lapic_timer_count(struct lapic *a);
void lapic_timer_set_deadline(struct lapic *a, uint64_t tsc);
uint64_t lapic_timer_deadline(const struct lapic *a);
/* kvm_inject_apic_timer_irqs() */
bool lapic_timer_waits(const struct lapic *a);
void lapic_timer_deliver(struct lapic *a);

/* ------------------------------------------------------------------ lapic_vcpu.c */

/* There is something to look at before the guest runs on; wakes, kicks. Any thread. */
void lapic_look(struct lapic *a);
/* Its thread, if it waits, looks for signals. Any thread, any signal handler. */
void lapic_wake(struct lapic *a);
/* chip->lock; what is due by then has fired. */
void lapic_lock(struct irqchip *chip);
/* CR8 becomes what the task priority is, which has been written; and the other way round, with the lock held,
 * before that is looked at. */
void lapic_give_cr8(struct shim_vcpu *vcpu);
void lapic_sync_cr8(struct shim_vcpu *vcpu);

int lapic_create(struct shim_vcpu *vcpu); /* of a vCPU that is being created */
void lapic_free(struct shim_vcpu *vcpu);

/* The guest's registers and the APIC's have one task priority: CR8 counts, or the APIC's. */
void lapic_cr8_changed(struct shim_vcpu *vcpu, uint64_t cr8);
/* INIT: the vCPU's registers are reset, now the APIC's. */
void lapic_init(struct shim_vcpu *vcpu);

enum lapic_next { LAPIC_ENTER, LAPIC_EXIT, LAPIC_WAIT };
/* Before the guest runs (on): events are taken up. EXIT: kvm_run is filled in. */
enum lapic_next lapic_before_entry(struct shim_vcpu *vcpu);
/* Something has come since. */
bool lapic_has_news(struct shim_vcpu *vcpu);
/* Until there is something to look at, or perhaps a signal. */
void lapic_wait(struct shim_vcpu *vcpu);
void lapic_accept_events(struct shim_vcpu *vcpu); /* INIT, SIPI */
void lapic_halt(struct shim_vcpu *vcpu);          /* HLT */
/* Behind the guest, with the processor's CR8: what CR8 is then. */
uint64_t lapic_after_run(struct shim_vcpu *vcpu, uint64_t cr8);
/* kvm_cpu_accept_dm_intr(): the monitor may inject its ExtINT. */
bool lapic_accepts_external(struct shim_vcpu *vcpu);

int lapic_interrupt(struct shim_vcpu *vcpu, uint8_t vector); /* KVM_INTERRUPT */
bool lapic_latched_init(struct shim_vcpu *vcpu);
void lapic_set_events(struct shim_vcpu *vcpu, const struct kvm_vcpu_events *events);
uint32_t lapic_get_mp_state(struct shim_vcpu *vcpu);
int lapic_set_mp_state(struct shim_vcpu *vcpu, uint32_t state);

/* ------------------------------------------------------------------ lapic_access.c */

/* IA32_APIC_BASE, IA32_TSC_DEADLINE, 800h to 8FFh, also without a local APIC: -ENOENT another MSR,
 * -EINVAL #GP. */
int lapic_get_msr(struct shim_vcpu *vcpu, uint32_t index, uint64_t *value);
int lapic_set_msr(struct shim_vcpu *vcpu, uint32_t index, uint64_t value, bool host);
/* The processor lets no guest's WRMSR of it through, but asks here. */
bool lapic_owns_write(struct shim_vcpu *vcpu, uint32_t index);
/* kvm_apic_set_base() */
int lapic_set_base(struct shim_vcpu *vcpu, uint64_t base, bool host);
void lapic_cpuid_changed(struct shim_vcpu *vcpu);
/* Somebody has written the time-stamp counter, or its offset. */
void lapic_tsc_changed(struct shim_vcpu *vcpu);
/* As know_tsc() has found it: any thread. */
uint64_t lapic_guest_tsc(struct lapic *a);

#endif
