/* SPDX-License-Identifier: GPL-2.0-only */
/* Local APICs of a VM that has no processors: the model alone, on made-up vCPUs. */
#ifndef BUSLOCK_TESTS_LAPIC_VM_H
#define BUSLOCK_TESTS_LAPIC_VM_H

#include "tests/unit/shim_script.h"
#include "vmm_shim/irqchip/lapic.h"

#define APICS 4

static struct shim_vm vm;
static struct shim_vcpu vcpu[APICS];
static struct lapic *apic[APICS];

static inline int lapic_vm_start(void **state)
{
	(void)state;
	memset(&vm, 0, sizeof(vm));
	assert_int_equal(irqchip_new(&vm), 0);
	atomic_store(&vm.irqchip->mode, IRQCHIP_KERNEL);
	for (unsigned i = 0; i < APICS; i++) {
		vcpu[i] = (struct shim_vcpu){ .vm = &vm, .id = i, .tsc_khz = 2000000 };
		assert_int_equal(lapic_create(&vcpu[i]), 0);
		apic[i] = vcpu[i].apic;
	}
	return 0;
}

static inline int lapic_vm_stop(void **state)
{
	(void)state;
	for (unsigned i = 0; i < APICS; i++)
		lapic_free(&vcpu[i]);
	irqchip_stop(&vm);
	irqchip_free(&vm);
	return 0;
}

/* The guest has switched it on: vector FFh is the spurious one. */
static inline void lapic_on(unsigned i)
{
	assert_int_equal(lapic_write(apic[i], LAPIC_SPURIOUS, 0x1ff), 0);
}

static inline void lapic_x2_on(unsigned i)
{
	lapic_base_changed(apic[i], apic[i]->base | APIC_BASE_X2);
}

static inline uint32_t lapic_value(unsigned i, unsigned offset)
{
	uint32_t value = 0xdeadbeef;

	assert_int_equal(lapic_read(apic[i], offset, 4, &value), 0);
	return value;
}

#endif
