/* SPDX-License-Identifier: GPL-2.0-only */
/* A VM with interrupt controllers of the kernel's and one vCPU; their ports are used as the guest would. */
#ifndef BUSLOCK_TESTS_IRQCHIP_VM_H
#define BUSLOCK_TESTS_IRQCHIP_VM_H

#include "tests/unit/shim_guest.h"
#include "vmm_shim/irqchip/irqchip.h"
#include "vmm_shim/vclock.h"

static struct irqchip *chip;
static struct shim_vcpu *vcpu;

static inline void irqchip_options(enum shim_time time)
{
	struct shim_options options;

	shim_options_default(&options);
	options.irqchip = SHIM_IRQCHIP_KERNEL;
	options.time = time;
	assert_int_equal(shim_configure(&options), 0);
}

static inline struct shim_vm *vm_object(void)
{
	struct shim_file *file = shim_file_get(m.vm);

	assert_non_null(file);
	shim_file_put(file);
	return (struct shim_vm *)(void *)file;
}

static inline void irqchip_vcpu_start(void)
{
	vcpu_start(&m, 0);
	guest_set_cpuid();
	vcpu = vm_object()->vcpu[0];
}

static inline int irqchip_setup(void **state)
{
	(void)state;
	guest_vm_start();
	assert_int_equal(fd_ioctl(m.vm, KVM_CREATE_IRQCHIP, 0), 0);
	chip = vm_object()->irqchip;
	irqchip_vcpu_start();
	return 0;
}

static inline int irqchip_teardown(void **state)
{
	return guest_teardown(state);
}

/* ------------------------------------------------------------------ ports, lines, state */

static inline void out(uint16_t port, uint8_t value)
{
	assert_true(bus_access(vcpu, true, port, 1, true, &value));
}

static inline uint8_t in(uint16_t port)
{
	uint8_t value = 0xee;

	assert_true(bus_access(vcpu, true, port, 1, false, &value));
	return value;
}

static inline int line_status(unsigned gsi, bool level)
{
	struct kvm_irq_level line = { .irq = gsi, .level = level };

	assert_int_equal(FD_IOCTL(m.vm, KVM_IRQ_LINE_STATUS, &line), 0);
	return line.status;
}

static inline void line(unsigned gsi, bool level)
{
	struct kvm_irq_level wanted = { .irq = gsi, .level = level };

	assert_int_equal(FD_IOCTL(m.vm, KVM_IRQ_LINE, &wanted), 0);
}

static inline void pulse(unsigned gsi)
{
	line(gsi, true);
	line(gsi, false);
}

static inline struct kvm_irqchip chip_state(unsigned id)
{
	struct kvm_irqchip state = { .chip_id = id };

	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_IRQCHIP, &state), 0);
	return state;
}

static inline struct kvm_pic_state pic_state(unsigned id)
{
	return chip_state(id).chip.pic;
}

/* INTA: the vector, or -1 if INTR is down. */
static inline int acknowledge(void)
{
	int vector = -1;

	lock_take(&chip->lock);
	if (pic_pending(chip))
		vector = pic_acknowledge(chip);
	lock_drop(&chip->lock);
	return vector;
}

#endif
