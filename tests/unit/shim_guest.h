/* SPDX-License-Identifier: GPL-2.0-only */
/* The shim over the emulated processor: one VM with a megabyte of memory and code in real mode. */
#ifndef BUSLOCK_TESTS_SHIM_GUEST_H
#define BUSLOCK_TESTS_SHIM_GUEST_H

#include "tests/unit/shim_script.h"

#define RAM_SIZE 0x100000u
#define CODE     0x1000u

static struct machine m;
static uint8_t *ram;

struct cpuid_list {
	struct kvm_cpuid2 header;
	struct kvm_cpuid_entry2 entry[256];
};

/* A VM with its memory, no vCPU yet. */
static inline void guest_vm_start(void)
{
	struct kvm_userspace_memory_region region = { .memory_size = RAM_SIZE };

	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(ram, MAP_FAILED);
	m.kvm = shim_open(O_RDWR | O_CLOEXEC);
	m.vm = (int)fd_ioctl(m.kvm, KVM_CREATE_VM, 0);
	assert_true(m.vm >= 0);
	region.userspace_addr = (uintptr_t)ram;
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
}

/* The vCPU's CPUID becomes all that is offered. */
static inline void guest_set_cpuid(void)
{
	static struct cpuid_list list;

	list.header.nent = 256;
	assert_int_equal(FD_IOCTL(m.kvm, KVM_GET_SUPPORTED_CPUID, &list), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &list), 0);
}

/* With bus-lock exits and a vCPU. */
static inline void guest_start(void)
{
	guest_vm_start();
	assert_int_equal(enable(m.vm, KVM_CAP_X86_BUS_LOCK_EXIT, 0, 2), 0);
	vcpu_start(&m, 0);
	guest_set_cpuid();
}

static inline void guest_stop(void)
{
	machine_stop(&m);
	munmap(ram, RAM_SIZE);
}

/* For a group of tests with the default options, each with a guest of its own. */
static inline int guest_configure(void **state)
{
	struct shim_options options;

	(void)state;
	shim_options_default(&options);
	return shim_configure(&options);
}

static inline int guest_setup(void **state)
{
	(void)state;
	guest_start();
	return 0;
}

static inline int guest_teardown(void **state)
{
	(void)state;
	guest_stop();
	return 0;
}

/* Code at CODE in real mode, all segments from zero; `rsi` for its operand. */
static inline void guest_load(const void *code, size_t size, uint64_t rsi)
{
	struct kvm_regs regs = { .rip = CODE, .rflags = 2, .rsp = 0x8000, .rsi = rsi };
	struct kvm_sregs sregs;

	memcpy(ram + CODE, code, size);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
}
#define LOAD(code) guest_load(code, sizeof(code) - 1, 0)

#endif
