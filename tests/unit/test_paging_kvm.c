// SPDX-License-Identifier: GPL-2.0-only
/*
 * paging.c against the processor of this machine: random paging structures, one access, the same
 * outcome, error code, CR2, accessed and dirty bits. The guest runs under the real /dev/kvm.
 */
#include "tests/unit/fake_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

/*
 * Guest memory besides the tables under test: what catches exceptions, identity-mapped by the first
 * entries of the same top table.
 */
enum {
	INFRA_PDPT = 0x60000, INFRA_PD = 0x61000, INFRA_PT = 0x62000,
	GDT = 0x101000, IDT = 0x102000, TSS = 0x103000, STACK_TOP = 0x105000,
	KERNEL_CODE = 0x106000, HANDLERS = 0x106100, USER_CODE = 0x108000,
	FRAME = 0x200000,
	PORT_DONE = 0x80, /* below: the vector of an exception */
	PORT_NONE = ~0,   /* ended otherwise */
};
enum { CODE_32 = 0x08, DATA_0 = 0x10, USER_32 = 0x18, USER_DATA = 0x20, CODE_64 = 0x38,
       USER_64 = 0x40, TSS_SELECTOR = 0x28 };

#define LINEAR_IN(paging) ((paging) <= PAGING_PAE ? 0x92345abcull : 0x123456789abcull)

static int kvm = -1, vm, vcpu;
static struct kvm_run *run;
static struct kvm_sregs initial;
static unsigned physical_bits;
static bool amd, gigabyte_pages;

static uint64_t seed = 88172645463325252ull;
static uint64_t random64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static bool chance(unsigned one_in)
{
	return random64() % one_in == 0;
}

/* ------------------------------------------------------------------ the guest */

static void look_at_cpu(const struct kvm_cpuid2 *cpuid)
{
	physical_bits = 36;
	for (unsigned i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == 0x80000008)
			physical_bits = e->eax & 0xff;
		if (e->function == 0x80000001)
			gigabyte_pages = e->edx & 1 << 26;
		if (e->function == 0)
			amd = e->ecx == 0x444d4163; /* "cAMD" */
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

static void build_descriptors(struct machine *m, bool long_mode)
{
	static const uint64_t gdt[] = {
		0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff,
		0x00008b0000000067 | (uint64_t)TSS << 16, 0, 0x00af9b000000ffff, 0x00affb000000ffff,
	};

	memcpy(m->ram + GDT, gdt, sizeof(gdt));
	memset(m->ram + TSS, 0, 0x68);
	for (unsigned vector = 0; vector < 32; vector++) {
		uint64_t handler = HANDLERS + vector * 4;
		uint64_t gate = (handler & 0xffff) | (handler >> 16) << 48 | 0x8e0000000000;

		m->ram[handler] = 0xe6; /* out */
		m->ram[handler + 1] = (uint8_t)vector;
		m->ram[handler + 2] = 0xf4;
		if (long_mode) {
			put64(m, IDT + vector * 16ull, gate | CODE_64 << 16 | 1ull << 32);
			put64(m, IDT + vector * 16ull + 8, 0);
		} else {
			put64(m, IDT + vector * 8ull, gate | CODE_32 << 16);
		}
	}
	if (long_mode) {
		put64(m, TSS + 0x24, STACK_TOP); /* IST1 */
	} else {
		put32(m, TSS + 4, STACK_TOP);
		put32(m, TSS + 8, DATA_0);
	}
}

static void build_infrastructure(struct machine *m, enum paging paging)
{
	const uint64_t bits = P | RW | US | A;

	build_descriptors(m, paging >= PAGING_4);
	/* mov al,[rbx]; out — mov [rbx],al; out */
	memcpy(m->ram + KERNEL_CODE, "\x8a\x03\xe6\x80\xf4\xf4\xf4\xf4\x88\x03\xe6\x80\xf4", 13);
	memcpy(m->ram + USER_CODE, "\x8a\x03\xe6\x80\xf4\xf4\xf4\xf4\x88\x03\xe6\x80\xf4", 13);
	for (unsigned page = 0x100; page < 0x110; page++) {
		uint64_t entry = page << 12 | P | RW | A | D | (page == USER_CODE >> 12 ? US : 0);

		if (paging == PAGING_32)
			put32(m, INFRA_PT + page * 4, (uint32_t)entry);
		else
			put64(m, INFRA_PT + page * 8, entry);
	}
	switch (paging) {
	case PAGING_32:
		put32(m, TABLE(2), (uint32_t)(INFRA_PT | bits));
		break;
	case PAGING_PAE:
		put64(m, TABLE(3), INFRA_PD | P);
		put64(m, INFRA_PD, INFRA_PT | bits);
		break;
	default:
		put64(m, TABLE(4), INFRA_PDPT | bits);
		put64(m, INFRA_PDPT, INFRA_PD | bits);
		put64(m, INFRA_PD, INFRA_PT | bits);
	}
}

static struct kvm_segment segment(uint16_t selector, unsigned type, unsigned dpl, bool l)
{
	return (struct kvm_segment){ .selector = selector, .limit = 0xffffffff, .type = type,
				     .present = 1, .dpl = dpl, .db = !l, .s = 1, .l = l, .g = 1 };
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

	regs.rip = user ? USER_CODE : KERNEL_CODE;
	if (access & WALK_WRITE)
		regs.rip += 8;
	if (access & WALK_FETCH)
		regs.rip = linear;
	s.cs = segment(cs, 11, user ? 3 : 0, lm);
	s.ds = s.es = s.fs = s.gs = s.ss = segment(ds, 3, user ? 3 : 0, false);
	s.tr = (struct kvm_segment){ .base = TSS, .limit = 0x67, .selector = TSS_SELECTOR, .type = 11,
				     .present = 1 };
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
	fault->error = (uint32_t)regs.rsp; /* where the error code is */
	return run->io.port;
}

/* ------------------------------------------------------------------ random cases */

static uint64_t random_entry(enum paging paging, unsigned level, uint64_t base, bool leaf)
{
	uint64_t entry = base | P;

	if (chance(12))
		entry &= ~(uint64_t)P;
	if (paging == PAGING_PAE && level == 3)
		return entry;
	entry |= random64() & (A | (leaf ? D | G : 0) | PWT | PCD);
	entry |= chance(4) ? 0 : RW;
	entry |= chance(4) ? 0 : US;
	if (leaf && level > 1)
		entry |= PS;
	if (paging == PAGING_32)
		return chance(20) && leaf && level == 2 ? entry | 1 << 21 : entry;
	if (chance(8))
		entry |= NX;
	if (chance(15)) /* a reserved bit, or one that is ignored */
		entry |= 1ull << (physical_bits + random64() % (63 - physical_bits));
	if (chance(30) && leaf && level == 2)
		entry |= 1ull << (13 + random64() % 8);
	if (chance(30) && leaf && level == 3)
		entry |= 1ull << (13 + random64() % 17);
	if (chance(30) && paging == PAGING_4 && level == 4)
		entry |= PS;
	/* ignored below; AMD reserves it in the upper levels, which is not modelled */
	if (chance(10) && !leaf && (!amd || level < 4))
		entry |= G;
	return entry;
}

static void random_controls(struct cpu *c, enum paging paging)
{
	const struct paging_info *p = &paging_info[paging];

	memset(c, 0, sizeof(*c));
	c->cr0 = p->cr0 | (chance(2) ? CR0_WP : 0);
	c->cr4 = p->cr4 | (chance(2) ? CR4_SMEP : 0) | (chance(2) ? CR4_SMAP : 0);
	c->efer = p->efer & ~EFER_NXE;
	c->efer |= chance(3) ? 0 : EFER_NXE;
	c->rflags = chance(2) ? FL_AC : 0;
	if (paging == PAGING_32 && chance(4))
		c->cr4 &= ~CR4_PSE;
	c->cr3 = TABLE(p->levels);
}

#define CASES 5000

struct counts { unsigned done, fault, reserved; };

static void check_case(struct machine *m, enum paging paging, struct counts *counts)
{
	static const unsigned kinds[] = { WALK_READ, WALK_WRITE, WALK_FETCH };
	struct cpu *c = &m->v.cpu;
	unsigned levels = paging_info[paging].levels;
	unsigned leaf_level = chance(3) ? 2 + (paging == PAGING_4 && gigabyte_pages && chance(2)) : 1;
	unsigned shift = 12 + (leaf_level - 1) * paging_info[paging].index_bits;
	uint64_t linear = LINEAR_IN(paging), base = FRAME, before[5], real[5];
	unsigned access = kinds[random64() % 3] | (chance(2) ? WALK_USER : 0), port;
	struct fault fault;
	enum outcome outcome;
	struct walk w;

	random_controls(c, paging);
	/* the byte lies at FRAME + 0xabc, in a large page as well */
	linear = (linear & ~0ull << shift) | 0xabc;
	if (1ull << shift > FRAME) {
		linear |= FRAME;
		base = 0;
	}
	memcpy(m->ram + FRAME + 0xabc, "\xe6\x80\xf4", 3);
	for (unsigned level = levels; level >= leaf_level; level--) {
		bool leaf = level == leaf_level;

		before[level - 1] = random_entry(paging, level, leaf ? base : TABLE(level - 1), leaf);
		entry_put(m, paging, level, linear, before[level - 1]);
	}

	port = run_guest(m, access, linear, &fault);
	if (port != PORT_DONE)
		memcpy(&fault.error, m->ram + fault.error, 4);
	for (unsigned level = levels; level >= leaf_level; level--) {
		real[level - 1] = entry_get(m, paging, level, linear);
		entry_put(m, paging, level, linear, before[level - 1]);
	}

	outcome = page_walk(&m->v, linear, access, &w);
	if ((outcome == DONE) != (port == PORT_DONE) ||
	    (outcome == FAULT && (m->v.fault.vector != fault.vector ||
				  m->v.fault.error != fault.error || m->v.fault.cr2 != fault.cr2))) {
		for (unsigned level = levels; level >= leaf_level; level--)
			print_message("level %u: %#018llx\n", level,
				      (unsigned long long)before[level - 1]);
		fail_msg("%s, access %#x, linear %#llx, CR0 %#llx CR4 %#llx EFER %#llx AC %u: "
			 "outcome %d #%u(%x) CR2 %#llx, the processor says %#x (%x) CR2 %#llx",
			 paging_info[paging].name, access, (unsigned long long)linear,
			 (unsigned long long)c->cr0, (unsigned long long)c->cr4,
			 (unsigned long long)c->efer, !!c->rflags, outcome, m->v.fault.vector,
			 m->v.fault.error, (unsigned long long)m->v.fault.cr2, port, fault.error,
			 (unsigned long long)fault.cr2);
	}
	if (outcome == FAULT) {
		counts->fault++;
		counts->reserved += !!(fault.error & PF_RSVD);
		return; /* a processor may set A on the way to a fault */
	}
	counts->done++;
	assert_int_equal(w.gpa, FRAME | 0xabc);
	for (unsigned level = levels; level >= leaf_level; level--)
		assert_int_equal(entry_get(m, paging, level, linear), real[level - 1]);
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

static void check_mode(struct machine *m, enum paging paging)
{
	struct counts counts = { 0 };

	m->vm.physical_bits = physical_bits;
	memset(m->ram, 0, RAM_SIZE);
	build_infrastructure(m, paging);
	require_mode(m, paging);
	for (unsigned i = 0; i < CASES; i++)
		check_case(m, paging, &counts);
	print_message("%s: %u accesses, %u faults, %u of these for reserved bits\n",
		      paging_info[paging].name, counts.done, counts.fault, counts.reserved);
	assert_in_range(counts.done, CASES / 6, CASES);
	assert_in_range(counts.fault, CASES / 6, CASES);
	assert_in_range(counts.reserved, 10, CASES);
}

static struct machine *shared;

static void test_walk_32_bit_agrees_with_processor(void **state)
{
	(void)state;
	check_mode(shared, PAGING_32);
}

static void test_walk_pae_agrees_with_processor(void **state)
{
	(void)state;
	check_mode(shared, PAGING_PAE);
}

static void test_walk_4_level_agrees_with_processor(void **state)
{
	(void)state;
	check_mode(shared, PAGING_4);
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
	missing = open_kvm(shared->ram);
	if (missing) {
		printf("skipped: %s (%s)\n", missing, strerror(errno));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
