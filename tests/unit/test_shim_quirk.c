/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory types by option, kernel version and quirk: the choice, the capabilities, and a guest. */
#include "tests/unit/shim_guest.h"

#define V(major, minor, patch) KERNEL(major, minor, patch)
enum { CD_NW = 1 << 1, PAT_QUIRK = 1 << 9 };

/* vmx_get_mt_mask() of the versions; "first" and "last before" of each range. */
static void test_choice_of_every_version(void **state)
{
	static const struct {
		enum shim_memory memory;
		bool intel;
		unsigned kernel;
		uint64_t disabled;
		enum emu_memory_policy policy;
		bool cd_is_uc;
	} rows[] = {
		{ SHIM_MEMORY_DEFAULT, true, V(5, 12, 0), 0, EMU_MEMORY_WB_IGNORE_PAT, false },
		{ SHIM_MEMORY_DEFAULT, true, V(7, 3, 0), CD_NW, EMU_MEMORY_WB_IGNORE_PAT, false },
		{ SHIM_MEMORY_KVM, true, V(6, 15, 255), PAT_QUIRK, EMU_MEMORY_WB_IGNORE_PAT,
		  false },
		{ SHIM_MEMORY_KVM, true, V(6, 16, 0), PAT_QUIRK, EMU_MEMORY_WB, false },
		{ SHIM_MEMORY_KVM, true, V(6, 16, 0), 0, EMU_MEMORY_WB_IGNORE_PAT, false },
		{ SHIM_MEMORY_KVM, true, V(6, 12, 106), PAT_QUIRK, EMU_MEMORY_WB_IGNORE_PAT,
		  false },
		{ SHIM_MEMORY_KVM, true, V(6, 12, 107), PAT_QUIRK, EMU_MEMORY_WB, false },
		{ SHIM_MEMORY_KVM, true, V(6, 13, 0), PAT_QUIRK, EMU_MEMORY_WB_IGNORE_PAT, false },
		{ SHIM_MEMORY_KVM_NONCOHERENT, true, V(5, 12, 0), 0, EMU_MEMORY_GUEST_MTRR, false },
		{ SHIM_MEMORY_KVM_NONCOHERENT, true, V(6, 6, 0), CD_NW, EMU_MEMORY_GUEST_MTRR,
		  true },
		{ SHIM_MEMORY_KVM_NONCOHERENT, true, V(6, 7, 0), 0, EMU_MEMORY_GUEST_MTRR_PAT,
		  false },
		{ SHIM_MEMORY_KVM_NONCOHERENT, true, V(6, 10, 255), CD_NW,
		  EMU_MEMORY_GUEST_MTRR_PAT, true },
		{ SHIM_MEMORY_KVM_NONCOHERENT, true, V(6, 11, 0), CD_NW, EMU_MEMORY_WB, false },
		{ SHIM_MEMORY_KVM_NONCOHERENT, true, V(7, 3, 0), 0, EMU_MEMORY_WB, false },
		{ SHIM_MEMORY_GUEST, true, V(6, 12, 0), CD_NW, EMU_MEMORY_NATIVE, false },
		{ SHIM_MEMORY_GUEST, false, V(6, 18, 0), 0, EMU_MEMORY_NATIVE, false },
		{ SHIM_MEMORY_DEFAULT, false, V(6, 18, 0), 0, EMU_MEMORY_NPT, false },
		{ SHIM_MEMORY_AMD, false, V(6, 18, 0), CD_NW, EMU_MEMORY_NPT, true },
		{ SHIM_MEMORY_AMD, false, V(6, 18, 0), PAT_QUIRK, EMU_MEMORY_NPT, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct memory_choice choice;
		struct profile profile;

		profile_for(rows[i].kernel, &profile);
		choice = memory_choice(rows[i].memory, rows[i].intel, &profile, rows[i].disabled);
		assert_int_equal(choice.policy, rows[i].policy);
		assert_int_equal(choice.cd_is_uc, rows[i].cd_is_uc);
	}
}

/* ------------------------------------------------------------------ capabilities */

static void test_quirks_offered_by_each_kernel(void **state)
{
	static const struct {
		unsigned kernel;
		long quirks2;
	} rows[] = {
		{ V(5, 12, 0), 0 },       { V(5, 17, 0), 0 },     { V(5, 18, 0), 0x1f },
		{ V(6, 1, 0), 0x7f },     { V(6, 12, 0), 0xff },  { V(6, 12, 107), 0x2ff },
		{ V(6, 12, 117), 0x3ff }, { V(6, 14, 0), 0x1ff }, { V(6, 15, 0), 0x1ff },
		{ V(6, 16, 0), 0x3ff },
	};
	int kvm = shim_open(O_RDWR);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		use_kernel(rows[i].kernel);
		assert_int_equal(fd_ioctl(kvm, KVM_CHECK_EXTENSION, 116), 1);
		assert_int_equal(fd_ioctl(kvm, KVM_CHECK_EXTENSION, 213), rows[i].quirks2);
	}
	fd_close(kvm);
}

/* ------------------------------------------------------------------ a guest */

#define DIRECTORY 0x4000u
enum { PWT = 8, PCD = 16 };

static void set_msr(uint32_t index, uint64_t value)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} one = { .header.nmsrs = 1, .entry = { .index = index, .data = value } };

	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_MSRS, &one), 1);
}

static uint64_t get_msr(uint32_t index)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} one = { .header.nmsrs = 1, .entry = { .index = index } };

	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_MSRS, &one), 1);
	return one.entry.data;
}

/* 32-bit code with paging: LOCK INC of aligned memory, in a page of 4 MB with `bits`, then HLT. */
static bool is_bus_lock(uint32_t bits, uint64_t cr0)
{
	static const uint8_t code[] = { 0xf0, 0xff, 0x05, 0x00, 0x20, 0x00, 0x00, 0xf4 };
	const struct kvm_segment flat = {
		.limit = 0xffffffff, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1
	};
	const uint32_t entry = 0xe3 | bits; /* P, R/W, A, D, PS */
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };
	struct kvm_sregs sregs;
	bool bus_lock = false;
	static bool turn; /* another CR3 each time: the TLB forgets */
	uint32_t directory = DIRECTORY + 0x1000 * (turn = !turn);

	memcpy(ram + 0x1000, code, sizeof(code));
	memcpy(ram + directory, &entry, sizeof(entry));
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs = sregs.ds = sregs.es = sregs.ss = flat;
	sregs.cs.type = 11;
	sregs.cr0 = 0x80000011 | cr0;
	sregs.cr3 = directory;
	sregs.cr4 = 0x10; /* PSE */
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
	for (int n = 0; n < 2; n++) { /* AMD: in front of it, then again */
		assert_int_equal(run_once(&m), 0);
		if (m.run->exit_reason != KVM_EXIT_X86_BUS_LOCK)
			break;
		bus_lock = true;
	}
	if (m.run->exit_reason != KVM_EXIT_HLT)
		assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	return bus_lock;
}

#define CR0_CD 0x40000000u

static void use(int vendor, enum shim_memory memory, unsigned kernel)
{
	shim_config.options.vendor = vendor;
	shim_config.options.memory = memory;
	shim_config.options.ucs = 0;
	use_kernel(kernel);
}

/* By default neither PAT nor MTRRs nor CR0.CD make a bus lock on Intel. */
static void test_guest_of_intel_by_default_locks_no_bus(void **state)
{
	(void)state;
	use(EMU_INTEL, SHIM_MEMORY_DEFAULT, V(6, 12, 0));
	guest_start();
	set_msr(0x2ff, 0x800); /* MTRRs on, default type UC */
	assert_false(is_bus_lock(0, 0));
	assert_false(is_bus_lock(PCD | PWT, 0));
	assert_false(is_bus_lock(0, CR0_CD));
	guest_stop();
}

static void test_guest_of_intel_without_the_pat_quirk(void **state)
{
	(void)state;
	use(EMU_INTEL, SHIM_MEMORY_KVM, V(6, 16, 0));
	guest_start();
	assert_false(is_bus_lock(PCD | PWT, 0));
	assert_int_equal(enable(m.vm, 213, 0, 1ull << 40), -EINVAL);
	assert_int_equal(enable(m.vm, 213, 1, PAT_QUIRK), -EINVAL);
	assert_false(is_bus_lock(PCD | PWT, 0));
	assert_int_equal(enable(m.vm, 213, 0, PAT_QUIRK), 0);
	assert_true(is_bus_lock(PCD | PWT, 0));
	assert_true(is_bus_lock(PWT, 0)); /* WT */
	assert_false(is_bus_lock(0, 0));
	/* disabled for good */
	assert_int_equal(enable(m.vm, 213, 0, 0), 0);
	assert_true(is_bus_lock(PCD, 0));
	set_msr(0x277, 0x0606060606060606);
	assert_false(is_bus_lock(PCD | PWT, 0));
	guest_stop();

	guest_start();
	/* the older capability takes anything, and what it knows has the same effect */
	assert_int_equal(enable(m.vm, 116, 0, ~0ull), 0);
	assert_true(is_bus_lock(PCD | PWT, 0));
	guest_stop();

	use(EMU_INTEL, SHIM_MEMORY_KVM, V(6, 14, 0));
	guest_start();
	assert_int_equal(enable(m.vm, 213, 0, PAT_QUIRK), -EINVAL);
	assert_int_equal(enable(m.vm, 116, 0, PAT_QUIRK), 0);
	assert_false(is_bus_lock(PCD | PWT, 0));
	guest_stop();
}

static void test_guest_with_noncoherent_dma_up_to_6_10(void **state)
{
	(void)state;
	use(EMU_INTEL, SHIM_MEMORY_KVM_NONCOHERENT, V(6, 6, 0));
	guest_start();
	assert_true(is_bus_lock(0, 0)); /* MTRRs are there and off: UC */
	set_msr(0x2ff, 0x806);
	assert_false(is_bus_lock(0, 0));
	assert_true(is_bus_lock(PCD | PWT, 0));
	set_msr(0x250, 0x0606060606060600); /* fixed ranges: UC where the counter is */
	set_msr(0x2ff, 0xc06);
	assert_true(is_bus_lock(0, 0));
	assert_false(is_bus_lock(PCD | PWT, CR0_CD)); /* the quirk: WB, PAT ignored */
	assert_int_equal(enable(m.vm, 116, 0, CD_NW), 0);
	assert_true(is_bus_lock(0, CR0_CD));
	assert_int_equal(enable(m.vm, 116, 0, 0), 0); /* as it was: quirks can come back there */
	assert_false(is_bus_lock(0, CR0_CD));
	guest_stop();

	use(EMU_INTEL, SHIM_MEMORY_KVM_NONCOHERENT, V(6, 7, 0));
	guest_start();
	assert_false(is_bus_lock(0, CR0_CD));
	assert_true(is_bus_lock(PCD | PWT, CR0_CD));
	guest_stop();
}

static void test_guest_with_noncoherent_dma_from_6_11(void **state)
{
	(void)state;
	use(EMU_INTEL, SHIM_MEMORY_KVM_NONCOHERENT, V(6, 11, 0));
	guest_start();
	set_msr(0x2ff, 0x800); /* MTRRs count no more */
	assert_false(is_bus_lock(0, 0));
	assert_false(is_bus_lock(0, CR0_CD));
	assert_true(is_bus_lock(PCD | PWT, 0));
	guest_stop();
}

static void test_guest_as_on_metal(void **state)
{
	(void)state;
	use(EMU_INTEL, SHIM_MEMORY_GUEST, V(6, 12, 0));
	guest_start();
	assert_true(is_bus_lock(0, 0));
	set_msr(0x2ff, 0x806);
	assert_false(is_bus_lock(0, 0));
	assert_true(is_bus_lock(PWT, 0));
	assert_true(is_bus_lock(0, CR0_CD));
	guest_stop();
}

static void test_guest_of_amd_has_its_pat(void **state)
{
	(void)state;
	use(EMU_AMD, SHIM_MEMORY_DEFAULT, V(6, 18, 0));
	guest_start();
	set_msr(0x2ff, 0x800);
	assert_false(is_bus_lock(0, 0));
	assert_true(is_bus_lock(PCD | PWT, 0));
	assert_false(is_bus_lock(0, CR0_CD));
	assert_int_equal(enable(m.vm, 213, 0, CD_NW), 0);
	assert_true(is_bus_lock(0, CR0_CD));
	guest_stop();
}

static void test_guest_with_uc_range(void **state)
{
	(void)state;
	use(EMU_INTEL, SHIM_MEMORY_DEFAULT, V(6, 12, 0));
	shim_config.options.uc[0] = (struct shim_range){ 0x2000, 0x1000 };
	shim_config.options.ucs = 1;
	guest_start();
	assert_true(is_bus_lock(0, 0));
	guest_stop();
	shim_config.options.uc[0].gpa = 0x3000;
	guest_start();
	assert_false(is_bus_lock(0, 0));
	guest_stop();
}

/* kvm_mtrr_set_msr() asks no CPUID. */
static void test_guest_without_mtrr_in_cpuid_has_them_all_the_same(void **state)
{
	static const uint8_t code[] = {
		0x66, 0xb9, 0xff, 0x02, 0x00, 0x00, /* mov ecx, 0x2ff */
		0x66, 0xb8, 0x06, 0x08, 0x00, 0x00, /* mov eax, 0x806 */
		0x66, 0x31, 0xd2, 0x0f, 0x30,       /* xor edx, edx; wrmsr */
		0x66, 0x31, 0xc0, 0x0f, 0x32, 0xf4, /* xor eax, eax; rdmsr; hlt */
	};
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };
	struct kvm_cpuid2 none = { 0 };
	struct kvm_sregs sregs;

	(void)state;
	use(EMU_INTEL, SHIM_MEMORY_DEFAULT, V(6, 12, 0));
	guest_start();
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &none), 0);
	memcpy(ram + 0x1000, code, sizeof(code));
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = sregs.cs.selector = 0;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&m).rax, 0x806);
	assert_int_equal(get_msr(0x2ff), 0x806); /* the monitor saves the same one */
	guest_stop();
}

static int configure(void **state)
{
	struct shim_options options;

	(void)state;
	shim_options_default(&options);
	options.log_level = 0;
	return shim_configure(&options);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choice_of_every_version),
		cmocka_unit_test(test_quirks_offered_by_each_kernel),
		cmocka_unit_test(test_guest_of_intel_by_default_locks_no_bus),
		cmocka_unit_test(test_guest_of_intel_without_the_pat_quirk),
		cmocka_unit_test(test_guest_with_noncoherent_dma_up_to_6_10),
		cmocka_unit_test(test_guest_with_noncoherent_dma_from_6_11),
		cmocka_unit_test(test_guest_as_on_metal),
		cmocka_unit_test(test_guest_of_amd_has_its_pat),
		cmocka_unit_test(test_guest_with_uc_range),
		cmocka_unit_test(test_guest_without_mtrr_in_cpuid_has_them_all_the_same),
	};

	return cmocka_run_group_tests(tests, configure, NULL);
}
