/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small library over the KVM API for the programs in tests/programs, which stand for other
 * people's monitors: <linux/kvm.h> and the C library, nothing of ours.
 *
 * Functions come in pairs, as in the kernel's own selftests: _vcpu_run() returns what the system call
 * gave (0 or more, or -errno); vcpu_run() ends the program with a message where that is an error.
 *
 * Guests are loaded at GUEST_LOAD and find there what the table in tests/guests/README.md promises.
 */
#ifndef BUSLOCK_TESTS_KVM_API_H
#define BUSLOCK_TESTS_KVM_API_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define KVM_DEVICE "/dev/kvm"

/* The guests' world; tests/guests/guest.inc has the same numbers. */
#define GUEST_LOAD   0x1000u /* flat images, IP of the first instruction */
#define GUEST_BUFFER 0x8000u /* operands: 64-byte aligned, a page or more */
#define GUEST_GDT    0xf000u
#define GUEST_TABLES 0x10000u  /* page tables, up to 0x18000 */
#define GUEST_STACKS 0x20000u  /* stack of vCPU n ends at GUEST_STACKS + (n + 1) * 0x1000 */
#define GUEST_MEMORY 0x400000u /* 4 MiB of RAM from 0; all above is MMIO */
#define GUEST_MMIO   0xd0000000u

static inline void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(2);
}

/* ------------------------------------------------------------------ names */

static inline const char *errno_name(int error)
{
	static const struct {
		int number;
		const char *name;
	} names[] = {
		{ 0, "0" },           { EPERM, "EPERM" },
		{ ENOENT, "ENOENT" }, { EINTR, "EINTR" },
		{ EIO, "EIO" },       { ENXIO, "ENXIO" },
		{ E2BIG, "E2BIG" },   { EBADF, "EBADF" },
		{ EAGAIN, "EAGAIN" }, { ENOMEM, "ENOMEM" },
		{ EACCES, "EACCES" }, { EFAULT, "EFAULT" },
		{ EBUSY, "EBUSY" },   { EEXIST, "EEXIST" },
		{ ENODEV, "ENODEV" }, { EINVAL, "EINVAL" },
		{ ENOTTY, "ENOTTY" }, { ENOSPC, "ENOSPC" },
		{ ENOSYS, "ENOSYS" }, { EOPNOTSUPP, "EOPNOTSUPP" },
		{ EILSEQ, "EILSEQ" }, { ESPIPE, "ESPIPE" },
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].number == error)
			return names[i].name;
	static _Thread_local char other[24];
	snprintf(other, sizeof(other), "errno %d", error);
	return other;
}

/* "0", "3" or "EINVAL" for what a wrapper returned. */
static inline const char *result_name(long result)
{
	static _Thread_local char text[24];

	if (result < 0)
		return errno_name((int)-result);
	snprintf(text, sizeof(text), "%ld", result);
	return text;
}

static inline const char *exit_name(uint32_t reason)
{
	static const char *const names[] = {
		[KVM_EXIT_UNKNOWN] = "UNKNOWN",
		[KVM_EXIT_EXCEPTION] = "EXCEPTION",
		[KVM_EXIT_IO] = "IO",
		[KVM_EXIT_HYPERCALL] = "HYPERCALL",
		[KVM_EXIT_DEBUG] = "DEBUG",
		[KVM_EXIT_HLT] = "HLT",
		[KVM_EXIT_MMIO] = "MMIO",
		[KVM_EXIT_IRQ_WINDOW_OPEN] = "IRQ_WINDOW_OPEN",
		[KVM_EXIT_SHUTDOWN] = "SHUTDOWN",
		[KVM_EXIT_FAIL_ENTRY] = "FAIL_ENTRY",
		[KVM_EXIT_INTR] = "INTR",
		[KVM_EXIT_SET_TPR] = "SET_TPR",
		[KVM_EXIT_INTERNAL_ERROR] = "INTERNAL_ERROR",
		[KVM_EXIT_X86_RDMSR] = "X86_RDMSR",
		[KVM_EXIT_X86_WRMSR] = "X86_WRMSR",
		[KVM_EXIT_X86_BUS_LOCK] = "X86_BUS_LOCK",
	};
	static _Thread_local char other[24];

	if (reason < sizeof(names) / sizeof(names[0]) && names[reason])
		return names[reason];
	snprintf(other, sizeof(other), "exit %u", reason);
	return other;
}

/* ------------------------------------------------------------------ calls */

static inline long _kvm_ioctl(int fd, unsigned long request, unsigned long argument)
{
	int result = ioctl(fd, request, argument);

	return result < 0 ? -errno : result;
}

static inline long kvm_checked(long result, const char *what)
{
	if (result < 0)
		die("%s: %s", what, strerror((int)-result));
	return result;
}
#define kvm_ioctl(fd, request, argument) \
	kvm_checked(_kvm_ioctl(fd, request, (unsigned long)(argument)), #request)

/* The device, or the end of the program with 77 (skip), saying why. */
static inline int kvm_open(void)
{
	int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("skip: %s: %s\n", KVM_DEVICE, strerror(errno));
		exit(77);
	}
	return fd;
}

struct vm {
	int kvm, fd;
	uint8_t *memory; /* slot 0 */
	size_t memory_size;
	size_t run_size;
	long bus_lock; /* KVM_CHECK_EXTENSION(193) */
};

struct vcpu {
	struct vm *vm;
	int fd;
	struct kvm_run *run;
};

static inline long _vm_slot(struct vm *vm, uint32_t slot, uint32_t flags, uint64_t gpa,
			    uint64_t size, const void *host)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host,
	};

	return _kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, (unsigned long)&region);
}

static inline long _vm_enable_cap(int fd, uint32_t cap, uint32_t flags, uint64_t argument)
{
	struct kvm_enable_cap enable = { .cap = cap, .flags = flags, .args = { argument } };

	return _kvm_ioctl(fd, KVM_ENABLE_CAP, (unsigned long)&enable);
}

static inline void *guest_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap of %zu bytes of guest memory: %s", size, strerror(errno));
	return memory;
}

/* A VM with GUEST_MEMORY bytes of RAM in slot 0 (none if `size` is 0). */
static inline void vm_create(struct vm *vm, size_t size)
{
	memset(vm, 0, sizeof(*vm));
	vm->kvm = kvm_open();
	if (kvm_ioctl(vm->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		die("KVM_GET_API_VERSION is not %d", KVM_API_VERSION);
	/* a signal may interrupt it: Linux starts a thread for the VM */
	do
		vm->fd = (int)_kvm_ioctl(vm->kvm, KVM_CREATE_VM, 0);
	while (vm->fd == -EINTR);
	kvm_checked(vm->fd, "KVM_CREATE_VM");
	vm->run_size = (size_t)kvm_ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->bus_lock = kvm_ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT);
	kvm_ioctl(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000);
	if (size) {
		vm->memory = guest_memory(size);
		vm->memory_size = size;
		kvm_checked(_vm_slot(vm, 0, 0, 0, size, vm->memory), "KVM_SET_USER_MEMORY_REGION");
	}
}

static inline void vcpu_create(struct vm *vm, struct vcpu *vcpu, unsigned id)
{
	vcpu->vm = vm;
	vcpu->fd = (int)kvm_ioctl(vm->fd, KVM_CREATE_VCPU, id);
	vcpu->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		die("mmap of a vCPU: %s", strerror(errno));

	/* What the device offers the guest gets. */
	const unsigned entries = 256;
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + entries * sizeof(cpuid->entries[0]));
	if (!cpuid)
		die("no memory for CPUID");
	cpuid->nent = entries;
	kvm_ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
	kvm_ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid);
	free(cpuid);
}

static inline void vcpu_destroy(struct vcpu *vcpu)
{
	munmap(vcpu->run, vcpu->vm->run_size);
	close(vcpu->fd);
}

static inline void vm_destroy(struct vm *vm)
{
	close(vm->fd);
	if (vm->memory)
		munmap(vm->memory, vm->memory_size);
	close(vm->kvm);
}

static inline long _vcpu_run(struct vcpu *vcpu)
{
	return _kvm_ioctl(vcpu->fd, KVM_RUN, 0);
}
static inline void vcpu_run(struct vcpu *vcpu)
{
	kvm_checked(_vcpu_run(vcpu), "KVM_RUN");
}
static inline void vcpu_get_regs(struct vcpu *vcpu, struct kvm_regs *regs)
{
	kvm_ioctl(vcpu->fd, KVM_GET_REGS, regs);
}
static inline void vcpu_set_regs(struct vcpu *vcpu, const struct kvm_regs *regs)
{
	kvm_ioctl(vcpu->fd, KVM_SET_REGS, regs);
}
static inline void vcpu_get_sregs(struct vcpu *vcpu, struct kvm_sregs *sregs)
{
	kvm_ioctl(vcpu->fd, KVM_GET_SREGS, sregs);
}
static inline void vcpu_set_sregs(struct vcpu *vcpu, const struct kvm_sregs *sregs)
{
	kvm_ioctl(vcpu->fd, KVM_SET_SREGS, sregs);
}

/* ------------------------------------------------------------------ guests */

enum guest_mode { GUEST_REAL, GUEST_PROTECTED, GUEST_LONG };

static inline struct kvm_segment flat_segment(uint16_t selector, uint8_t type, bool code64, bool db)
{
	return (struct kvm_segment){
		.base = 0,
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.dpl = 0,
		.db = db,
		.s = 1,
		.l = code64,
		.g = 1,
	};
}

/* The GDT that guests may rely on; descriptors by their quadword (SDM vol. 3, 3.4.5). */
static inline void guest_write_gdt(uint8_t *memory)
{
	static const uint64_t gdt[] = {
		0,
		0x00cf9b000000ffff, /* 08 32-bit code, CPL 0 */
		0x00cf93000000ffff, /* 10 data, CPL 0 */
		0x00af9b000000ffff, /* 18 64-bit code, CPL 0 */
		0x00affb000000ffff, /* 23 64-bit code, CPL 3 */
		0x00cff3000000ffff, /* 2b data, CPL 3 */
		0x00cffb000000ffff, /* 33 32-bit code, CPL 3 */
		0x00009b000000ffff, /* 38 16-bit code, CPL 0 */
		0x000093000000ffff, /* 40 16-bit data, CPL 0 */
	};
	memcpy(memory + GUEST_GDT, gdt, sizeof(gdt));
}

/* Identity map of the first 4 GiB by 2 MiB pages, open to CPL 3, at GUEST_TABLES. */
static inline void guest_write_long_tables(uint8_t *memory)
{
	uint64_t *pml4 = (uint64_t *)(memory + GUEST_TABLES);
	uint64_t *pdpt = pml4 + 512, *pd = pml4 + 1024;

	pml4[0] = (GUEST_TABLES + 0x1000) | 7;
	for (unsigned i = 0; i < 4; i++)
		pdpt[i] = (GUEST_TABLES + 0x2000 + i * 0x1000) | 7;
	for (unsigned i = 0; i < 2048; i++)
		pd[i] = ((uint64_t)i << 21) | 0x87;
}

/*
 * Registers of a vCPU at the guest's first instruction. rdi: offset of the operand, rcx: how often,
 * rbx: index of the vCPU, rdx: how many there are, rsp: its own stack.
 */
static inline void vcpu_start(struct vcpu *vcpu, enum guest_mode mode, uint64_t entry,
			      uint64_t offset, uint64_t count, unsigned index, unsigned vcpus)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = {
		.rip = entry,
		.rflags = 2,
		.rdi = offset,
		.rcx = count,
		.rbx = index,
		.rdx = vcpus,
		.rsp = GUEST_STACKS + (index + 1) * 0x1000,
	};

	/* Whatever ran before: as after reset, but for CS, which reset puts at the top of memory. */
	vcpu_get_sregs(vcpu, &sregs);
	sregs.cr0 = 0x60000010;
	sregs.cr3 = sregs.cr4 = sregs.efer = 0;
	sregs.idt.base = 0;
	sregs.idt.limit = 0xffff;
	sregs.cs = sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = (struct kvm_segment){
		.limit = 0xffff,
		.type = 3,
		.present = 1,
		.s = 1,
	};
	sregs.cs.type = 11;
	if (mode == GUEST_REAL) {
		regs.rsp = 0x7000 + index * 0x200; /* within the first 64 KiB */
	} else {
		guest_write_gdt(vcpu->vm->memory);
		sregs.gdt.base = GUEST_GDT;
		sregs.gdt.limit = 0xff; /* room for a guest's own TSS */
		sregs.cr0 = 0x31;       /* PE, ET, NE */
		sregs.cs = flat_segment(0x08, 11, false, true);
		sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss =
			flat_segment(0x10, 3, false, true);
	}
	if (mode == GUEST_LONG) {
		guest_write_long_tables(vcpu->vm->memory);
		sregs.cs = flat_segment(0x18, 11, true, false);
		sregs.cr3 = GUEST_TABLES;
		sregs.cr4 = 0x620;  /* PAE, OSFXSR, OSXMMEXCPT */
		sregs.efer = 0x500; /* LME, LMA */
		sregs.cr0 |= 0x80000000;
	}
	vcpu_set_sregs(vcpu, &sregs);
	vcpu_set_regs(vcpu, &regs);
}

/* Copies code to guest memory; an image file to GUEST_LOAD. */
static inline void guest_write(struct vm *vm, uint64_t gpa, const void *code, size_t size)
{
	if (gpa > vm->memory_size || size > vm->memory_size - gpa)
		die("guest memory: %zu bytes at %#" PRIx64 " do not fit into %zu", size, gpa,
		    vm->memory_size);
	memcpy(vm->memory + gpa, code, size);
}
static inline size_t guest_load(struct vm *vm, const char *path)
{
	FILE *file = fopen(path, "rb");
	size_t size;

	if (!file)
		die("%s: %s", path, strerror(errno));
	size = fread(vm->memory + GUEST_LOAD, 1, GUEST_BUFFER - GUEST_LOAD, file);
	if (!size || fgetc(file) != EOF)
		die("%s: empty, or larger than the %u bytes that guests may have", path,
		    GUEST_BUFFER - GUEST_LOAD);
	fclose(file);
	return size;
}

/* FNV-1a, 64 bits: a digest to compare two runs by, not a seal. */
static inline uint64_t digest(const void *data, size_t size)
{
	const uint8_t *byte = data;
	uint64_t hash = 0xcbf29ce484222325u;

	while (size--)
		hash = (hash ^ *byte++) * 0x100000001b3u;
	return hash;
}

/* ------------------------------------------------------------------ canonical text */

static inline void print_regs(const struct kvm_regs *r)
{
	printf("rax=%llx rcx=%llx rdx=%llx rbx=%llx\n", r->rax, r->rcx, r->rdx, r->rbx);
	printf("rsp=%llx rbp=%llx rsi=%llx rdi=%llx\n", r->rsp, r->rbp, r->rsi, r->rdi);
	printf("r8=%llx r9=%llx r10=%llx r11=%llx\n", r->r8, r->r9, r->r10, r->r11);
	printf("r12=%llx r13=%llx r14=%llx r15=%llx\n", r->r12, r->r13, r->r14, r->r15);
	/* RF's life is one instruction long; whoever stops a vCPU differs in it. */
	printf("rip=%llx rflags=%llx\n", r->rip, r->rflags & ~0x10000ull);
}

/* An I/O or MMIO exit: what is asked and, for writes, the data. */
static inline void print_io(const struct kvm_run *run)
{
	const uint8_t *data = (const uint8_t *)run + run->io.data_offset;
	unsigned bytes = run->io.size * run->io.count;

	printf("IO %s port=%#x size=%u count=%u",
	       run->io.direction == KVM_EXIT_IO_OUT ? "out" : "in", run->io.port, run->io.size,
	       run->io.count);
	if (run->io.direction == KVM_EXIT_IO_OUT)
		for (unsigned i = 0; i < bytes; i++)
			printf("%s%02x", i ? "" : " data=", data[i]);
	putchar('\n');
}
static inline void print_mmio(const struct kvm_run *run)
{
	printf("MMIO %s gpa=%#llx len=%u", run->mmio.is_write ? "write" : "read",
	       run->mmio.phys_addr, run->mmio.len);
	if (run->mmio.is_write)
		for (unsigned i = 0; i < run->mmio.len; i++)
			printf("%s%02x", i ? "" : " data=", run->mmio.data[i]);
	putchar('\n');
}

#endif
