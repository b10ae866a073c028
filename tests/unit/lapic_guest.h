/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guests with local APICs of the kernel's: up to four vCPUs on the emulated processor, code in real mode
 * put together here. WRMSR reaches an x2APIC from any mode.
 */
#ifndef BUSLOCK_TESTS_LAPIC_GUEST_H
#define BUSLOCK_TESTS_LAPIC_GUEST_H

#include "tests/unit/shim_guest.h"
#include "vmm_shim/irqchip/lapic.h"

#include <pthread.h>

#define VCPUS    4
#define HANDLER  0x2000u /* of interrupts */
#define AP_CODE  0x4000u /* where SIPI sends others: vector 04h */
#define COUNTERS 0x5000u /* 32 bits each */
#define PORT     0x10    /* an OUT there is for the test */

struct cpu {
	int fd;
	struct kvm_run *run;
};
static struct cpu cpus[VCPUS];

/* The inside of the VM: the newest, for one that was closed may still be on its way out. */
static inline struct shim_vm *newest_vm(void)
{
	struct shim_vm *newest = NULL;

	for (unsigned i = 0; i < SHIM_MAX_VMS; i++) {
		struct shim_vm *vm = atomic_load(&shim_vms[i]);

		if (vm && (!newest || vm->number > newest->number))
			newest = vm;
	}
	assert_non_null(newest);
	return newest;
}

static inline void cpu_start(unsigned id)
{
	vcpu_start(&m, id);
	cpus[id].fd = m.vcpu;
	cpus[id].run = m.run;
	guest_set_cpuid();
	m.vcpu = cpus[0].fd;
	m.run = cpus[0].run;
}

/* A VM with as many vCPUs; KVM_CREATE_IRQCHIP, or split with that many pins of the test's own. */
static inline void lapic_guest_start(unsigned n, int split_pins)
{
	guest_vm_start();
	if (split_pins < 0)
		assert_int_equal(fd_ioctl(m.vm, KVM_CREATE_IRQCHIP, 0), 0);
	else
		assert_int_equal(enable(m.vm, KVM_CAP_SPLIT_IRQCHIP, 0, (uint64_t)split_pins), 0);
	for (unsigned i = 0; i < n; i++)
		cpu_start(i);
}

static inline void lapic_guest_stop(unsigned n)
{
	for (unsigned i = 1; i < n; i++) {
		munmap(cpus[i].run, 3 * 4096);
		fd_close(cpus[i].fd);
	}
	guest_stop();
}

static inline uint32_t counter(unsigned i)
{
	return __atomic_load_n((uint32_t *)(void *)(ram + COUNTERS + 4 * i), __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------------ code */

struct code {
	uint8_t *at;
};

static inline void bytes(struct code *c, const void *data, size_t size)
{
	memcpy(c->at, data, size);
	c->at += size;
}
#define BYTES(c, string) bytes(c, string, sizeof(string) - 1)

static inline void imm(struct code *c, const char *opcode, size_t size, uint32_t value)
{
	bytes(c, opcode, size);
	bytes(c, &value, 4);
}

/* mov ecx, index; mov eax, …; mov edx, …; wrmsr */
static inline void wrmsr(struct code *c, uint32_t index, uint64_t value)
{
	imm(c, "\x66\xb9", 2, index);
	imm(c, "\x66\xb8", 2, (uint32_t)value);
	imm(c, "\x66\xba", 2, (uint32_t)(value >> 32));
	BYTES(c, "\x0f\x30");
}

/* lock inc dword [counter i]; among vCPUs that share it */
static inline void count(struct code *c, unsigned i)
{
	const uint16_t address = (uint16_t)(COUNTERS + 4 * i);

	BYTES(c, "\xf0\x66\xff\x06");
	bytes(c, &address, 2);
}

static inline void out(struct code *c)
{
	const uint8_t insn[] = { 0xe6, PORT };

	bytes(c, insn, sizeof(insn));
}

static inline void jump(struct code *c, const uint8_t *to)
{
	const uint8_t insn[] = { 0xeb, (uint8_t)(to - (c->at + 2)) };

	bytes(c, insn, sizeof(insn));
}

/* The local APIC as every kernel sets it up: x2APIC mode, switched on. */
static inline void x2_on(struct code *c, bool bsp)
{
	wrmsr(c, 0x1b, 0xfee00c00 | (bsp ? 0x100 : 0));
	wrmsr(c, 0x80f, 0x1ff);
}

/* Vector → a handler that counts, ends the interrupt, and returns. */
static inline void on_interrupt(uint8_t vector, unsigned n)
{
	const uint16_t address = (uint16_t)(HANDLER + n * 0x40);
	struct code c = { ram + address };

	memset(ram + vector * 4, 0, 4);
	memcpy(ram + vector * 4, &address, 2);
	BYTES(&c, "\x66\x60"); /* pushad */
	count(&c, n);
	wrmsr(&c, 0x80b, 0);
	BYTES(&c, "\x66\x61\xcf"); /* popad; iret */
}

static inline struct code begin_code(uint32_t address)
{
	return (struct code){ ram + address };
}

static inline void cpu_at(unsigned i, uint32_t rip)
{
	struct kvm_regs regs = { .rip = rip, .rflags = 2, .rsp = 0x8000 + i * 0x400 };
	struct kvm_sregs sregs;

	assert_int_equal(FD_IOCTL(cpus[i].fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	assert_int_equal(FD_IOCTL(cpus[i].fd, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(FD_IOCTL(cpus[i].fd, KVM_SET_REGS, &regs), 0);
}

/* ------------------------------------------------------------------ running */

/* Until the guest says OUT. */
static inline void run_to_out(unsigned i)
{
	long r = fd_ioctl(cpus[i].fd, KVM_RUN, 0);

	assert_int_equal(r, 0);
	assert_int_equal(cpus[i].run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(cpus[i].run->io.port, PORT);
}

static inline uint32_t mp_state(unsigned i)
{
	struct kvm_mp_state k;

	assert_int_equal(FD_IOCTL(cpus[i].fd, KVM_GET_MP_STATE, &k), 0);
	return k.mp_state;
}

static inline long set_mp_state(unsigned i, uint32_t value)
{
	struct kvm_mp_state k = { value };

	return FD_IOCTL(cpus[i].fd, KVM_SET_MP_STATE, &k);
}

/* A vCPU in a thread of its own, until OUT. */
static inline void *run_thread(void *cpu)
{
	const struct cpu *c = cpu;
	long r;

	do {
		r = fd_ioctl(c->fd, KVM_RUN, 0);
	} while (r == -EAGAIN);
	return (void *)(r ? r : (long)c->run->exit_reason);
}

static inline pthread_t cpu_thread(unsigned i)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, run_thread, &cpus[i]), 0);
	return thread;
}

static inline void cpu_join(pthread_t thread)
{
	void *reason;

	assert_int_equal(pthread_join(thread, &reason), 0);
	assert_int_equal((long)reason, KVM_EXIT_IO);
}

#endif
