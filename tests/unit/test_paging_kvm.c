// SPDX-License-Identifier: GPL-2.0-only
/*
 * paging.c against the processor of this machine: random paging structures, one access, the same
 * outcome, error code, CR2, accessed and dirty bits. The guest runs under the real /dev/kvm.
 */
#include "tests/unit/paging_cases.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int kvm = -1, vm, vcpu;
static struct kvm_run *run;
static struct kvm_sregs initial;
static struct processor real;

static void look_at_cpu(const struct kvm_cpuid2 *cpuid)
{
	real.physical_bits = 36;
	for (unsigned i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == 0x80000008)
			real.physical_bits = e->eax & 0xff;
		if (e->function == 0x80000001)
			real.gigabyte_pages = e->edx & 1 << 26;
		if (e->function == 0)
			real.amd = e->ecx == 0x444d4163; /* "cAMD" */
	}
}

static int set_memory(uint8_t *ram, uint64_t size)
{
	struct kvm_userspace_memory_region region = { .memory_size = size,
						      .userspace_addr = (uintptr_t)ram };

	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static const char *open_kvm(uint8_t *ram)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return "/dev/kvm does not open";
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		return "no VM";
	if (set_memory(ram, RAM_SIZE))
		return "no memory";
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	cpuid->nent = 256;
	if (vcpu < 0 || ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid) ||
	    ioctl(vcpu, KVM_SET_CPUID2, cpuid))
		return "no vCPU";
	look_at_cpu(cpuid);
	free(cpuid);
	run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE,
		   MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED || ioctl(vcpu, KVM_GET_SREGS, &initial))
		return "no vCPU state";
	return NULL;
}

static struct kvm_segment segment(uint16_t selector, unsigned type, unsigned dpl, bool l)
{
	return (struct kvm_segment){ .selector = selector,
				     .limit = 0xffffffff,
				     .type = type,
				     .present = 1,
				     .dpl = dpl,
				     .db = !l,
				     .s = 1,
				     .l = l,
				     .g = 1 };
}

/* Run one access on the real processor; the port at which it ended. */
static unsigned run_guest(struct machine *m, unsigned access, uint64_t linear, struct fault *fault)
{
	const struct cpu *c = &m->v.cpu;
	bool user = access & WALK_USER, lm = c->efer & EFER_LMA;
	struct kvm_regs regs = { .rsp = STACK_TOP, .rbx = linear, .rflags = c->rflags | 0x3002 };
	struct kvm_sregs s = initial;
	uint16_t cs = user ? (lm ? USER_64 : USER_32) | 3 : lm ? CODE_64 : CODE_32;
	uint16_t ds = user ? USER_DATA | 3 : DATA_0;

	regs.rip = access_rip(access, linear);
	s.cs = segment(cs, 11, user ? 3 : 0, lm);
	s.ds = s.es = s.fs = s.gs = s.ss = segment(ds, 3, user ? 3 : 0, false);
	s.tr = (struct kvm_segment){
		.base = TSS, .limit = 0x67, .selector = TSS_SELECTOR, .type = 11, .present = 1
	};
	s.gdt.base = GDT;
	s.gdt.limit = 9 * 8 - 1;
	s.idt.base = IDT;
	s.idt.limit = 32 * 16 - 1;
	s.cr0 = c->cr0 | CR0_ET | CR0_NE;
	s.cr4 = c->cr4;
	s.efer = c->efer;
	s.cr3 = c->cr3;
	/* a KVM with shadow page tables does not see that we have written to the guest's */
	assert_int_equal(set_memory(m->ram, 0), 0);
	assert_int_equal(set_memory(m->ram, RAM_SIZE), 0);
	assert_int_equal(ioctl(vcpu, KVM_SET_SREGS, &s), 0);
	assert_int_equal(ioctl(vcpu, KVM_SET_REGS, &regs), 0);
	assert_int_equal(ioctl(vcpu, KVM_RUN, 0), 0);
	if (run->exit_reason != KVM_EXIT_IO)
		return PORT_NONE;
	assert_int_equal(ioctl(vcpu, KVM_GET_SREGS, &s), 0);
	assert_int_equal(ioctl(vcpu, KVM_GET_REGS, &regs), 0);
	fault->cr2 = s.cr2;
	fault->vector = (uint8_t)run->io.port;
	fault->error = get32(m, regs.rsp & (RAM_SIZE - 1) & ~3ull);
	return run->io.port;
}

/* Some KVMs have paging in long mode only. */
static void require_mode(struct machine *m, enum paging paging)
{
	struct fault fault;

	memset(&m->v.cpu, 0, sizeof(m->v.cpu));
	page_map(m, paging, LINEAR_IN(paging), 1, FRAME | P | RW, P | RW);
	if (run_guest(m, WALK_READ, LINEAR_IN(paging), &fault) != PORT_DONE) {
		print_message("%s paging does not work under this /dev/kvm (exit %u)\n",
			      paging_info[paging].name, run->exit_reason);
		skip();
	}
}

static struct machine *shared;

static void check_mode_here(enum paging paging)
{
	prepare_mode(shared, &real, paging);
	require_mode(shared, paging);
	check_mode(shared, &real, paging);
}

static void test_walk_32_bit_agrees_with_processor(void **state)
{
	(void)state;
	check_mode_here(PAGING_32);
}

static void test_walk_pae_agrees_with_processor(void **state)
{
	(void)state;
	check_mode_here(PAGING_PAE);
}

static void test_walk_4_level_agrees_with_processor(void **state)
{
	(void)state;
	check_mode_here(PAGING_4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk_32_bit_agrees_with_processor),
		cmocka_unit_test(test_walk_pae_agrees_with_processor),
		cmocka_unit_test(test_walk_4_level_agrees_with_processor),
	};
	const char *missing;
	void *state;

	machine_setup(&state);
	shared = state;
	real.run = run_guest;
	real.cases = 5000;
	missing = open_kvm(shared->ram);
	if (missing) {
		printf("skipped: %s (%s)\n", missing, strerror(errno));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
