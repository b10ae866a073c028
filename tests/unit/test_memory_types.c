/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory types of a running guest: the MSRs as SDM 14.11 has them, and when a change takes effect. */
#include "tests/unit/stuffed_vm.h"

static const struct emu_cpuid with_mtrr[] = {
	{ .function = 1, .edx = 1u << 12 },
	{ .function = 0x80000008, .eax = 40 },
};

static void give_mtrr(struct machine *m)
{
	assert_int_equal(emu_vcpu_set_cpuid(m->vcpu, with_mtrr, 2), 0);
}

static int set(struct machine *m, uint32_t index, uint64_t value)
{
	return emu_vcpu_set_msr(m->vcpu, index, value, false);
}

static uint64_t msr(struct machine *m, uint32_t index)
{
	uint64_t value = ~0ull;

	assert_int_equal(emu_vcpu_get_msr(m->vcpu, index, &value, false), 0);
	return value;
}

static const uint32_t fixed[] = { 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
				  0x26b, 0x26c, 0x26d, 0x26e, 0x26f };

/* ------------------------------------------------------------------ MSRs */

static void test_msr_values_after_reset(void **state)
{
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	give_mtrr(&m);
	assert_int_equal(msr(&m, 0xfe), 0x508); /* 8 variable ranges, fixed ones, WC */
	assert_int_equal(msr(&m, 0x277), 0x0007040600070406);
	assert_int_equal(msr(&m, 0x2ff), 0);
	for (uint32_t n = 0x200; n < 0x210; n++)
		assert_int_equal(msr(&m, n), 0);
	for (unsigned n = 0; n < 11; n++)
		assert_int_equal(msr(&m, fixed[n]), 0);
	stop(&m);
}

static void test_msr_each_keeps_its_own_value(void **state)
{
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	give_mtrr(&m);
	for (uint32_t n = 0; n < 8; n++) {
		assert_int_equal(set(&m, 0x200 + 2 * n, (uint64_t)n << 20 | EMU_MT_WB), 0);
		assert_int_equal(set(&m, 0x201 + 2 * n, (uint64_t)(n + 1) << 30 | 0x800), 0);
	}
	for (unsigned n = 0; n < 11; n++)
		assert_int_equal(set(&m, fixed[n], (uint64_t)EMU_MT_WP << 8 * (n % 8)), 0);
	assert_int_equal(set(&m, 0x2ff, 0xc04), 0);
	assert_int_equal(set(&m, 0x277, 0x0107040506010400), 0);
	for (uint32_t n = 0; n < 8; n++) {
		assert_int_equal(msr(&m, 0x200 + 2 * n), (uint64_t)n << 20 | EMU_MT_WB);
		assert_int_equal(msr(&m, 0x201 + 2 * n), (uint64_t)(n + 1) << 30 | 0x800);
	}
	for (unsigned n = 0; n < 11; n++)
		assert_int_equal(msr(&m, fixed[n]), (uint64_t)EMU_MT_WP << 8 * (n % 8));
	assert_int_equal(msr(&m, 0x2ff), 0xc04);
	assert_int_equal(msr(&m, 0x277), 0x0107040506010400);
	stop(&m);
}

static void test_msr_reserved_bits_and_types_are_refused(void **state)
{
	static const struct {
		uint32_t index;
		uint64_t bad, good;
	} rows[] = {
		{ 0x277, 0x0007040600070402, 0x0007040600070407 },
		{ 0x277, 1ull << 63, 0 },
		{ 0x2ff, 0x802, 0x801 },
		{ 0x2ff, 0x807, 0x806 },
		{ 0x2ff, 0x1806, 0xc06 },
		{ 0x250, 0x0300000000000000, 0x0400000000000000 },
		{ 0x26f, 0x07, 0x06 },
		{ 0x200, 0x106, 0x1006 },
		{ 0x200, 0x10000000006, 0x8000000006 }, /* beyond 40 bits */
		{ 0x20e, 0x02, 0x05 },
		{ 0x201, 0x400, 0x800 },
		{ 0x20f, 0x10000000800, 0x8000000800 },
		{ 0xfe, 0x509, 0 },
	};
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	give_mtrr(&m);
	for (unsigned n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		uint64_t before = msr(&m, rows[n].index);

		assert_int_equal(set(&m, rows[n].index, rows[n].bad), -EINVAL);
		/* the monitor's write is checked as well (kvm_mtrr_valid()) */
		assert_int_equal(emu_vcpu_set_msr(m.vcpu, rows[n].index, rows[n].bad, true),
				 -EINVAL);
		assert_int_equal(msr(&m, rows[n].index), before);
		if (rows[n].good)
			assert_int_equal(set(&m, rows[n].index, rows[n].good), 0);
	}
	/* a monitor restores what it saved; a guest may not even do that */
	assert_int_equal(emu_vcpu_set_msr(m.vcpu, 0xfe, 0x508, true), 0);
	assert_int_equal(set(&m, 0xfe, 0x508), -EINVAL);
	stop(&m);
}

/* CPUID.1:EDX[12] (SDM 14.11.1). The PAT has a bit of its own. */
static void test_msr_mtrrs_exist_where_cpuid_has_them(void **state)
{
	static const uint32_t mtrrs[] = { 0xfe, 0x200, 0x20f, 0x250, 0x26f, 0x2ff };
	uint64_t value;
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	for (unsigned n = 0; n < 6; n++) {
		assert_int_equal(emu_vcpu_get_msr(m.vcpu, mtrrs[n], &value, false), -ENOENT);
		assert_int_equal(set(&m, mtrrs[n], 0x806), -ENOENT);
		assert_int_equal(emu_vcpu_get_msr(m.vcpu, mtrrs[n], &value, true), 0);
	}
	msr(&m, 0x277);
	give_mtrr(&m);
	for (unsigned n = 0; n < 6; n++)
		msr(&m, mtrrs[n]);
	assert_int_equal(emu_vcpu_get_msr(m.vcpu, 0x210, &value, false), -ENOENT); /* VCNT is 8 */
	stop(&m);
}

/* In the guest, the bad write is #GP. */
static void test_msr_bad_write_of_the_guest_is_gp(void **state)
{
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	give_mtrr(&m);
	/* mov ecx, 0x2ff; mov eax, 0x803; xor edx, edx; wrmsr */
	CODE_AT(&m, CODE, 0xb9, 0xff, 0x02, 0, 0, 0xb8, 0x03, 0x08, 0, 0, 0x31, 0xd2, 0x0f, 0x30);
	run(&m, EMU_EXIT_HLT);
	assert_int_equal(rip_of(&m), HANDLER + 16 * 13 + 1);
	stop(&m);
}

/* ------------------------------------------------------------------ effect */

/* lock inc [rbx]; what changes the type; lock inc [rbx]; hlt: is the second one a bus lock? */
static void expect_change(const struct emu_config *config, uint32_t bits, bool first,
			  const uint8_t *change, unsigned length, bool second)
{
	static const uint8_t lock[] = { 0xf0, 0xff, 0x03 };
	uint32_t behind = CODE + 3 + length;
	struct emu_exit x;
	struct emu_state s;
	struct machine m;

	start_with(&m, PAGING_4, config);
	give_mtrr(&m);
	assert_int_equal(set(&m, 0x2ff, 0x806), 0);
	s = state_of(&m);
	s.cr0 &= ~(1ull << 30);
	assert_int_equal(emu_vcpu_set_state(m.vcpu, &s), 0);
	entry_bits(&m, 1, DATA, bits, 0);
	memcpy(m.ram + CODE, lock, 3);
	memcpy(m.ram + CODE + 3, change, length);
	memcpy(m.ram + behind, lock, 3);
	m.ram[behind + 3] = HLT;
	if (first) {
		x = run(&m, EXIT_BUS_LOCK);
		assert_int_equal(x.lock.cause, EMU_LOCK_NON_WB);
		assert_int_equal(x.lock.rip, CODE);
		assert_int_equal(rip_of(&m), CODE + 3);
	}
	if (second) {
		x = run(&m, EXIT_BUS_LOCK);
		assert_int_equal(x.lock.cause, EMU_LOCK_NON_WB);
		assert_int_equal(x.lock.rip, behind);
	}
	run(&m, EMU_EXIT_HLT);
	assert_int_equal(get(&m, DATA, 4), 2);
	stop(&m);
}
#define WRMSR(index, low, high)                                                                 \
	{                                                                                       \
		0xb9, (index)&0xff, (index) >> 8, 0, 0, 0xb8, (low)&0xff, (low) >> 8 & 0xff,    \
			(low) >> 16 & 0xff, (low) >> 24, 0xba, (high)&0xff, (high) >> 8 & 0xff, \
			(high) >> 16 & 0xff, (high) >> 24, 0x0f, 0x30                           \
	}

static const struct emu_config ept_wb = { .memory_policy = EMU_MEMORY_WB };
static const struct emu_config native = { .memory_policy = EMU_MEMORY_NATIVE };

static void test_effect_of_wrmsr_pat(void **state)
{
	static const uint8_t all_wb[] = WRMSR(0x277, 0x06060606u, 0x06060606u);
	static const uint8_t first_uc[] = WRMSR(0x277, 0x00070400u, 0x00070406u);

	(void)state;
	expect_change(&ept_wb, PWT, true, all_wb, sizeof(all_wb), false);
	expect_change(&ept_wb, PCD, true, all_wb, sizeof(all_wb), false);
	/* the tables are cached no more either, but their bits are set */
	expect_change(&ept_wb, 0, false, first_uc, sizeof(first_uc), true);
	/* bit 7 of the entry: index 4, which is WB after RESET */
	expect_change(&ept_wb, 1 << 7, false, first_uc, sizeof(first_uc), false);
}

static void test_effect_of_wrmsr_mtrr(void **state)
{
	static const uint8_t uc[] = WRMSR(0x2ff, 0x800u, 0u);
	static const uint8_t off[] = WRMSR(0x2ff, 0x006u, 0u);
	static const uint8_t base[] = WRMSR(0x201, 0xfff00800u, 0xffu); /* 1 MB at 0, UC */
	static const uint8_t fixed_uc[] = WRMSR(0x2ff, 0xc06u, 0u);     /* of which DATA is none */

	(void)state;
	expect_change(&native, 0, false, uc, sizeof(uc), true);
	expect_change(&native, 0, false, off, sizeof(off), true);
	expect_change(&native, 0, false, base, sizeof(base), false); /* DATA is in the second MB */
	expect_change(&native, 0, false, fixed_uc, sizeof(fixed_uc), false);
	expect_change(&ept_wb, 0, false, uc, sizeof(uc), false);
}

static void test_effect_of_mov_to_cr0(void **state)
{
	/* mov rax, cr0; bts eax, 30; mov cr0, rax: CD */
	static const uint8_t cd[] = { 0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xe8, 30, 0x0f, 0x22, 0xc0 };

	(void)state;
	expect_change(&native, 0, false, cd, sizeof(cd), true);
	expect_change(&ept_wb, 0, false, cd, sizeof(cd), false);
}

/*
 * One round of lock inc [rbx]; hlt; jmp back. Nothing else happens between two rounds: to set a
 * register would forget the translation whose type has to change.
 */
static const uint8_t rounds[] = { 0xf0, 0xff, 0x03, HLT, 0xeb, 0xfa };

static void expect_round(struct machine *m, bool bus_lock)
{
	if (bus_lock)
		run(m, EXIT_BUS_LOCK);
	run(m, EMU_EXIT_HLT);
}

static void set_cr0_cd(struct machine *m, bool on)
{
	struct emu_state s = state_of(m);

	s.cr0 = (s.cr0 & ~(1ull << 30)) | (uint64_t)on << 30;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
}

/* The monitor's own writes and declarations, between two runs. */
static void test_effect_of_the_monitors_changes(void **state)
{
	struct machine m;

	(void)state;
	start_with(&m, PAGING_4, &ept_wb);
	memcpy(m.ram + CODE, rounds, sizeof(rounds));
	entry_bits(&m, 1, DATA, PWT, 0);
	expect_round(&m, true);
	assert_int_equal(emu_vcpu_set_msr(m.vcpu, 0x277, 0x0606060606060606, true), 0);
	expect_round(&m, false);
	give_mtrr(&m);
	expect_round(&m, false); /* nothing to KVM's EPT */
	assert_int_equal(emu_vm_set_memory_policy(m.vm, EMU_MEMORY_NATIVE, false), 0);
	expect_round(&m, true); /* MTRRs are off */
	assert_int_equal(emu_vcpu_set_msr(m.vcpu, 0x2ff, 0x806, true), 0);
	expect_round(&m, false);
	set_cr0_cd(&m, true);
	expect_round(&m, true);
	set_cr0_cd(&m, false);
	expect_round(&m, false);
	uncached(&m, DATA);
	expect_round(&m, true);
	stop(&m);
}

/* MTRRs come with CPUID: off after RESET, they make memory uncached. */
static void test_effect_of_cpuid(void **state)
{
	struct machine m;

	(void)state;
	start_with(&m, PAGING_4, &native);
	memcpy(m.ram + CODE, rounds, sizeof(rounds));
	expect_round(&m, false);
	give_mtrr(&m);
	expect_round(&m, true);
	stop(&m);
}

/* ------------------------------------------------------------------ what the guest believes */

static void count(struct machine *m, uint64_t locked, uint64_t guest_non_wb, uint64_t non_wb)
{
	struct emu_stats stats;

	emu_vcpu_get_stats(m->vcpu, &stats);
	assert_int_equal(stats.locked, locked);
	assert_int_equal(stats.guest_non_wb, guest_non_wb);
	assert_int_equal(stats.non_wb, non_wb);
}

static void test_belief_is_counted_where_kvm_makes_it_wb(void **state)
{
	static const uint8_t lock[] = { 0xf0, 0xff, 0x03, HLT };
	struct machine m;

	(void)state;
	start(&m, PAGING_4);
	memcpy(m.ram + CODE, lock, sizeof(lock));
	run(&m, EMU_EXIT_HLT);
	count(&m, 1, 0, 0);
	give_mtrr(&m);
	set_rip(&m, CODE);
	run(&m, EMU_EXIT_HLT);
	count(&m, 2, 0, 0); /* MTRRs that were never enabled say nothing */
	assert_int_equal(set(&m, 0x2ff, 0x800), 0);
	set_rip(&m, CODE);
	run(&m, EMU_EXIT_HLT);
	count(&m, 3, 1, 0);
	assert_int_equal(set(&m, 0x2ff, 0x806), 0);
	assert_int_equal(set(&m, 0x277, 0), 0); /* all UC */
	set_rip(&m, CODE);
	run(&m, EMU_EXIT_HLT);
	count(&m, 4, 2, 0);
	assert_int_equal(m.locks, 0);
	/* a split one tells both types */
	set_reg(&m, EMU_RBX, DATA + 62);
	set_rip(&m, CODE);
	run(&m, EXIT_BUS_LOCK);
	count(&m, 5, 3, 0);
	assert_int_equal(m.lock[0].memory_type, EMU_MT_WB);
	assert_int_equal(m.lock[0].guest_type, EMU_MT_UC);
	stop(&m);
}

/* An operand on two pages: the type that is not WB, whichever page has it. */
static void test_operand_on_two_pages_has_the_type_that_is_not_wb(void **state)
{
	static const uint8_t lock[] = { 0xf0, 0xff, 0x03, HLT };

	(void)state;
	for (unsigned page = 0; page < 2; page++) {
		struct emu_exit x;
		struct machine m;

		start_with(&m, PAGING_4, &ept_wb);
		memcpy(m.ram + CODE, lock, sizeof(lock));
		entry_bits(&m, 1, DATA + 0x1000 * page, PWT, 0);
		set_reg(&m, EMU_RBX, DATA + 0xffe);
		x = run(&m, EXIT_BUS_LOCK);
		assert_int_equal(x.lock.cause, EMU_LOCK_SPLIT | EMU_LOCK_NON_WB);
		assert_int_equal(x.lock.memory_type, EMU_MT_WT);
		assert_int_equal(x.lock.guest_type, EMU_MT_WT);
		stop(&m);
	}
}

/* Not the guest's memory at all: the access leaves before anything could lock. */
static void test_locked_access_to_a_device_is_no_bus_lock(void **state)
{
	struct emu_exit x;
	struct machine m;

	(void)state;
	start_with(&m, PAGING_4, &native);
	CODE_AT(&m, CODE, 0xf0, 0xff, 0x03, HLT);
	put(&m, entry_at(&m, 1, DATA), 0xf0000000 | P | RW | A | D | PCD, 8);
	x = run(&m, EMU_EXIT_MMIO);
	assert_false(x.bus_lock);
	x = run(&m, EMU_EXIT_MMIO);
	assert_true(x.mmio.write);
	run(&m, EMU_EXIT_HLT);
	assert_int_equal(m.locks, 0);
	stop(&m);
}

/* EPT is Intel's and NPT AMD's, in the configuration and later. */
static void test_policy_of_the_other_vendor_is_refused(void **state)
{
	static const struct {
		unsigned policy;
		int intel, amd;
	} rows[] = {
		{ EMU_MEMORY_WB_IGNORE_PAT, 0, 0 }, /* AMD's default, too */
		{ EMU_MEMORY_WB, 0, -EINVAL },
		{ EMU_MEMORY_GUEST_MTRR, 0, -EINVAL },
		{ EMU_MEMORY_NATIVE, 0, 0 },
		{ EMU_MEMORY_NPT, -EINVAL, 0 },
		{ EMU_MEMORY_GUEST_MTRR_PAT, 0, -EINVAL },
		{ EMU_MEMORY_GUEST_MTRR_PAT + 1, -EINVAL, -EINVAL },
	};

	(void)state;
	for (unsigned n = 0; n < 2 * sizeof(rows) / sizeof(rows[0]); n++) {
		enum emu_vendor vendor = n & 1 ? EMU_AMD : EMU_INTEL;
		struct emu_config config = { .vendor = vendor };
		int expected = n & 1 ? rows[n / 2].amd : rows[n / 2].intel;
		struct emu_vm *vm;

		assert_int_equal(emu_vm_create(&config, &vm), 0);
		assert_int_equal(emu_vm_set_memory_policy(vm, rows[n / 2].policy, false), expected);
		emu_vm_destroy(vm);
		config.memory_policy = rows[n / 2].policy;
		assert_int_equal(emu_vm_create(&config, &vm), expected);
		if (!expected)
			emu_vm_destroy(vm);
	}
}

/* AMD's default is nested paging: the guest's PAT counts, when the VM is made and when it is set. */
static void test_policy_default_of_amd_is_npt(void **state)
{
	static const struct emu_config amd = { .vendor = EMU_AMD };
	struct emu_exit x;
	struct machine m;

	(void)state;
	start_with(&m, PAGING_4, &amd);
	memcpy(m.ram + CODE, rounds, sizeof(rounds));
	entry_bits(&m, 1, DATA, PWT, 0);
	for (unsigned turn = 0; turn < 2; turn++) {
		x = run(&m, EXIT_BUS_LOCK);
		assert_int_equal(x.lock.memory_type, EMU_MT_WT);
		emu_vcpu_set_bus_lock_counter(m.vcpu, 1);
		run(&m, EMU_EXIT_HLT);
		assert_int_equal(emu_vm_set_memory_policy(m.vm, EMU_MEMORY_WB_IGNORE_PAT, false),
				 0);
	}
	stop(&m);
}

static void test_config_that_is_none_is_refused(void **state)
{
	struct emu_config config;
	struct emu_vm *vm;

	(void)state;
	config = (struct emu_config){ .delivery_lock = EMU_DELIVERY_LOCK_VECTORING + 1 };
	assert_int_equal(emu_vm_create(&config, &vm), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_msr_values_after_reset),
		cmocka_unit_test(test_msr_each_keeps_its_own_value),
		cmocka_unit_test(test_msr_reserved_bits_and_types_are_refused),
		cmocka_unit_test(test_msr_mtrrs_exist_where_cpuid_has_them),
		cmocka_unit_test(test_msr_bad_write_of_the_guest_is_gp),
		cmocka_unit_test(test_effect_of_wrmsr_pat),
		cmocka_unit_test(test_effect_of_wrmsr_mtrr),
		cmocka_unit_test(test_effect_of_mov_to_cr0),
		cmocka_unit_test(test_effect_of_the_monitors_changes),
		cmocka_unit_test(test_effect_of_cpuid),
		cmocka_unit_test(test_belief_is_counted_where_kvm_makes_it_wb),
		cmocka_unit_test(test_operand_on_two_pages_has_the_type_that_is_not_wb),
		cmocka_unit_test(test_locked_access_to_a_device_is_no_bus_lock),
		cmocka_unit_test(test_policy_of_the_other_vendor_is_refused),
		cmocka_unit_test(test_policy_default_of_amd_is_npt),
		cmocka_unit_test(test_config_that_is_none_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
