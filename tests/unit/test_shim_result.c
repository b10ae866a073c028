// SPDX-License-Identifier: GPL-2.0-only
/* The verdict on a VM exit, over the whole table: exit word × inner result × kernel. */
#include "tests/unit/shim_script.h"

#define B26 VMX_EXIT_BUS_LOCK_ASSERTED

static const unsigned swallowing[] = { KERNEL(5, 15, 223), KERNEL(6, 1, 192),  KERNEL(6, 12, 0),
				       KERNEL(6, 12, 107), KERNEL(6, 12, 116), KERNEL(6, 13, 0),
				       KERNEL(6, 18, 5),   KERNEL(7, 1, 3),    KERNEL(7, 2, 13),
				       KERNEL(7, 3, 1) };
static const unsigned preserving[] = { KERNEL(6, 12, 117), KERNEL(6, 12, 200), KERNEL(7, 3, 2),
				       KERNEL(7, 3, 4) };
/* every basic reason that a processor here may give, but 74 */
static const uint32_t reasons[] = { VMX_EXCEPTION_NMI, VMX_EXTERNAL_INTERRUPT,
				    VMX_TRIPLE_FAULT,  VMX_INTERRUPT_WINDOW,
				    VMX_HLT,           VMX_VMCALL,
				    VMX_CR_ACCESS,     VMX_IO,
				    VMX_RDMSR,         VMX_WRMSR,
				    VMX_EPT_VIOLATION, VMX_EPT_MISCONFIG,
				    VMX_TASK_SWITCH,   VMX_DR_ACCESS };
static const int errors[] = { -EFAULT, -EIO, -ENOMEM, -EINTR };
#define COUNT(x) (sizeof(x) / sizeof((x)[0]))

static struct run_result verdict(unsigned kernel, uint32_t word, int inner, uint32_t reason)
{
	struct profile profile;

	profile_for(kernel, &profile);
	return run_result(&profile, true, word, inner, reason);
}

static void test_run_result_without_bit_26_passes_everything_through(void **state)
{
	struct run_result r;

	(void)state;
	for (size_t i = 0; i < COUNT(reasons); i++) {
		r = verdict(KERNEL_DEFAULT, reasons[i], 1, KVM_EXIT_UNKNOWN);
		assert_true(r.again);
		assert_int_equal(r.flags, 0);
		r = verdict(KERNEL_DEFAULT, reasons[i], 0, KVM_EXIT_HLT);
		assert_false(r.again);
		assert_int_equal(r.ret, 0);
		assert_int_equal(r.reason, KVM_EXIT_HLT);
		assert_int_equal(r.flags, 0);
		for (size_t e = 0; e < COUNT(errors); e++) {
			r = verdict(KERNEL_DEFAULT, reasons[i], errors[e], KVM_EXIT_UNKNOWN);
			assert_false(r.again);
			assert_int_equal(r.ret, errors[e]);
			assert_int_equal(r.flags, 0);
		}
	}
}

static void test_run_result_handled_exit_with_bit_26_becomes_bus_lock(void **state)
{
	struct run_result r;

	(void)state;
	for (size_t i = 0; i < COUNT(reasons); i++) {
		r = verdict(KERNEL_DEFAULT, reasons[i] | B26, 1, KVM_EXIT_UNKNOWN);
		assert_false(r.again);
		assert_int_equal(r.ret, 0);
		assert_int_equal(r.reason, KVM_EXIT_X86_BUS_LOCK);
		assert_int_equal(r.flags, BUS_LOCK_FLAG);
	}
}

/* The handler that sets the bit does not run: KVM_INTERNAL_ERROR_DELIVERY_EV came first. */
static void test_run_result_bare_reason_74_in_event_delivery_has_no_flag(void **state)
{
	struct run_result bare = verdict(KERNEL_DEFAULT, VMX_BUS_LOCK, 0, KVM_EXIT_INTERNAL_ERROR);
	struct run_result with =
		verdict(KERNEL_DEFAULT, VMX_BUS_LOCK | B26, 0, KVM_EXIT_INTERNAL_ERROR);

	(void)state;
	assert_int_equal(bare.reason, KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(bare.flags, 0);
	assert_int_equal(with.reason, KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(with.flags, BUS_LOCK_FLAG);
}

static void test_run_result_reason_74_is_bus_lock_with_and_without_bit_26(void **state)
{
	struct run_result with = verdict(KERNEL_DEFAULT, VMX_BUS_LOCK | B26, 1, 0);
	struct run_result without = verdict(KERNEL_DEFAULT, VMX_BUS_LOCK, 1, 0);

	(void)state;
	assert_int_equal(with.reason, KVM_EXIT_X86_BUS_LOCK);
	assert_int_equal(with.flags, BUS_LOCK_FLAG);
	assert_false(with.again);
	assert_int_equal(without.reason, KVM_EXIT_X86_BUS_LOCK);
	assert_int_equal(without.flags, BUS_LOCK_FLAG);
	assert_false(without.again);
	/* 75 is NOTIFY, and no other number has 74's low bits */
	assert_int_equal(verdict(KERNEL_DEFAULT, 75, 1, 0).flags, 0);
	assert_int_equal(verdict(KERNEL_DEFAULT, 0x10000 * 2 + 10, 1, 0).flags, 0);
}

static void test_run_result_exit_to_monitor_with_bit_26_keeps_its_reason(void **state)
{
	static const uint32_t kvm[] = {
		KVM_EXIT_IO,        KVM_EXIT_MMIO,           KVM_EXIT_HLT,
		KVM_EXIT_DEBUG,     KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_SHUTDOWN,
		KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR,      KVM_EXIT_SET_TPR
	};

	(void)state;
	for (size_t i = 0; i < COUNT(reasons); i++) {
		for (size_t k = 0; k < COUNT(kvm); k++) {
			struct run_result r = verdict(KERNEL_DEFAULT, reasons[i] | B26, 0, kvm[k]);

			assert_false(r.again);
			assert_int_equal(r.ret, 0);
			assert_int_equal(r.reason, kvm[k]);
			assert_int_equal(r.flags, BUS_LOCK_FLAG);
		}
	}
}

static void test_run_result_error_with_bit_26_is_swallowed_before_the_fix_only(void **state)
{
	struct run_result r;

	(void)state;
	for (size_t e = 0; e < COUNT(errors); e++) {
		for (size_t i = 0; i < COUNT(swallowing); i++) {
			r = verdict(swallowing[i], VMX_EPT_VIOLATION | B26, errors[e], 7);
			assert_int_equal(r.ret, 0);
			assert_int_equal(r.reason, 7);
			assert_int_equal(r.flags, BUS_LOCK_FLAG);
			assert_false(r.again);
		}
		for (size_t i = 0; i < COUNT(preserving); i++) {
			r = verdict(preserving[i], VMX_EPT_VIOLATION | B26, errors[e], 7);
			assert_int_equal(r.ret, errors[e]);
			assert_int_equal(r.reason, 7);
			assert_int_equal(r.flags, BUS_LOCK_FLAG);
			assert_false(r.again);
		}
	}
}

static void test_run_result_on_amd_only_a5_is_a_bus_lock(void **state)
{
	struct profile profile;
	struct run_result r;

	(void)state;
	profile_for(KERNEL(6, 17, 0), &profile);
	r = run_result(&profile, false, 0xa5, 0, KVM_EXIT_X86_BUS_LOCK);
	assert_false(r.again);
	assert_int_equal(r.ret, 0);
	assert_int_equal(r.reason, KVM_EXIT_X86_BUS_LOCK);
	assert_int_equal(r.flags, BUS_LOCK_FLAG);
	/* 0x4a would be INTR-something there, and there is no bit 26 */
	assert_true(run_result(&profile, false, VMX_BUS_LOCK, 1, 0).again);
	assert_true(run_result(&profile, false, 0x7b | B26, 1, 0).again);
	assert_int_equal(run_result(&profile, false, 0x400, -EFAULT, 0).ret, -EFAULT);
}

static void test_delivery_error_exempts_what_the_kernel_exempts(void **state)
{
	static const struct {
		uint32_t reason;
		unsigned since; /* exempt from this kernel on; 0: always; ~0: never */
	} rows[] = {
		{ VMX_EXCEPTION_NMI, 0 },
		{ VMX_EPT_VIOLATION, 0 },
		{ 62 /* PML full */, 0 },
		{ 44 /* APIC access */, 0 },
		{ VMX_TASK_SWITCH, 0 },
		{ 75 /* NOTIFY */, KERNEL(6, 0, 0) },
		{ VMX_EPT_MISCONFIG, KERNEL(6, 14, 0) },
		{ VMX_BUS_LOCK, ~0u },
		{ VMX_BUS_LOCK | B26, ~0u },
		{ VMX_IO, ~0u },
		{ VMX_HLT, ~0u },
		{ VMX_EXTERNAL_INTERRUPT, ~0u },
	};
	static const unsigned kernels[] = { KERNEL(5, 15, 0), KERNEL(6, 1, 0), KERNEL(6, 12, 0),
					    KERNEL(6, 14, 0), KERNEL(7, 3, 2) };
	struct profile profile;

	(void)state;
	for (size_t k = 0; k < COUNT(kernels); k++) {
		profile_for(kernels[k], &profile);
		for (size_t i = 0; i < COUNT(rows); i++) {
			bool error = run_delivery_error(&profile, rows[i].reason, 0x80000301);

			assert_int_equal(error, kernels[k] < rows[i].since);
			assert_false(run_delivery_error(&profile, rows[i].reason, 0x301));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run_result_without_bit_26_passes_everything_through),
		cmocka_unit_test(test_run_result_handled_exit_with_bit_26_becomes_bus_lock),
		cmocka_unit_test(test_run_result_reason_74_is_bus_lock_with_and_without_bit_26),
		cmocka_unit_test(test_run_result_bare_reason_74_in_event_delivery_has_no_flag),
		cmocka_unit_test(test_run_result_exit_to_monitor_with_bit_26_keeps_its_reason),
		cmocka_unit_test(
			test_run_result_error_with_bit_26_is_swallowed_before_the_fix_only),
		cmocka_unit_test(test_run_result_on_amd_only_a5_is_a_bus_lock),
		cmocka_unit_test(test_delivery_error_exempts_what_the_kernel_exempts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
