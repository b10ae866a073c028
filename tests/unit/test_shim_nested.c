// SPDX-License-Identifier: GPL-2.0-only
/* Which level gets an exit of L2, what it sees of a bus lock, what user space gets: all rows. */
#include "tests/unit/shim_script.h"
#include "vmm_shim/nested.h"

#define B26      VMX_EXIT_BUS_LOCK_ASSERTED
#define VALID    0x80000000u
#define GUEST    KVM_RUN_X86_GUEST_MODE
#define LOCK     KVM_RUN_X86_BUS_LOCK
#define COUNT(x) (sizeof(x) / sizeof((x)[0]))

static struct profile profile;

static struct nested_l0 l0_of(unsigned kernel, bool intel)
{
	profile_for(kernel, &profile);
	/* UD, MC, AC, DB, as svm's init_vmcb() */
	return (struct nested_l0){ .profile = &profile,
				   .intel = intel,
				   .bus_lock = true,
				   .svm_exceptions = 1u << 6 | 1u << 18 | 1u << 17 | 1u << 1 };
}

/* L1 asks for nothing, and for everything. */
static const struct nested_l1 nothing;
static const struct nested_l1 everything = {
	.primary = ~0u,
	.secondary = ~NESTED_SECONDARY_BUS_LOCK,
	.exception_bitmap = ~0u,
	.io = true,
	.msr = true,
	.cr = true,
	.intercept = { ~0u, ~0u, ~0u, ~0u, ~0u, ~0u & ~(1u << 5) },
};

/* Every exit that the processor here gives. */
static const struct {
	uint32_t reason;
	unsigned asked, unasked; /* the level that gets it if L1 asks for it, and if not */
} vmx[] = {
	{ VMX_EXTERNAL_INTERRUPT, 0, 0 },
	{ VMX_TRIPLE_FAULT, 1, 1 },
	{ VMX_INTERRUPT_WINDOW, 1, 0 },
	{ VMX_NMI_WINDOW, 1, 0 },
	{ VMX_TASK_SWITCH, 1, 1 },
	{ VMX_CPUID, 1, 1 },
	{ VMX_HLT, 1, 0 },
	{ VMX_VMCALL, 1, 1 },
	{ VMX_CR_ACCESS, 1, 0 },
	{ VMX_DR_ACCESS, 1, 0 },
	{ VMX_IO, 1, 0 },
	{ VMX_RDMSR, 1, 0 },
	{ VMX_WRMSR, 1, 0 },
	{ VMX_INVALID_STATE, 1, 1 },
	{ VMX_MTF, 1, 0 },
	{ VMX_EPT_VIOLATION, 0, 0 },
	{ VMX_APIC_ACCESS, 1, 1 },
	{ VMX_EPT_MISCONFIG, 0, 0 },
	{ VMX_PREEMPTION_TIMER, 0, 0 },
	{ VMX_APIC_WRITE, 1, 1 },
	{ VMX_BUS_LOCK, 0, 0 },
	{ VMX_PML_FULL, 0, 0 },
	{ VMX_NOTIFY, 0, 0 },
};

static void test_nested_vmx_each_exit_goes_to_its_level(void **state)
{
	const struct nested_l0 l0 = l0_of(KERNEL(6, 12, 0), true);

	(void)state;
	for (size_t i = 0; i < COUNT(vmx); i++) {
		for (unsigned asks = 0; asks < 2; asks++) {
			const struct nested_exit exit = { .word = vmx[i].reason, .inner = 1 };
			const struct nested_verdict v =
				nested_exit_verdict(&l0, asks ? &everything : &nothing, &exit);

			if (v.level != (asks ? vmx[i].asked : vmx[i].unasked))
				fail_msg("reason %u, asked %u: level %u", vmx[i].reason, asks,
					 v.level);
			assert_int_equal(v.in_l2, !v.level);
			assert_int_equal(v.l1_word, v.level ? vmx[i].reason : 0);
		}
	}
}

/* One control is enough for its exit, and for no other. */
static void test_nested_vmx_each_control_is_its_own(void **state)
{
	static const struct {
		uint32_t reason, primary;
	} rows[] = {
		{ VMX_INTERRUPT_WINDOW, 1u << 2 },
		{ VMX_HLT, 1u << 7 },
		{ VMX_NMI_WINDOW, 1u << 22 },
		{ VMX_DR_ACCESS, 1u << 23 },
		{ VMX_MTF, 1u << 27 },
	};
	const struct nested_l0 l0 = l0_of(KERNEL(6, 12, 0), true);

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		for (size_t k = 0; k < COUNT(rows); k++) {
			const struct nested_l1 l1 = { .primary = rows[k].primary };
			const struct nested_exit exit = { .word = rows[i].reason, .inner = 1 };

			assert_int_equal(nested_exit_verdict(&l0, &l1, &exit).level, i == k);
		}
	}
}

static void test_nested_vmx_exceptions_follow_l0_first_then_the_bitmap(void **state)
{
	static const struct {
		uint32_t info, bitmap, debug;
		bool split_lock;
		unsigned level;
	} rows[] = {
		{ VALID | 0x202, ~0u, 0, false, 0 }, /* NMI: L0's */
		{ VALID | 0xb0e, 0, 0, false, 1 },   /* #PF: with EPT only L1 intercepts it */
		{ VALID | 0x301, 2, 0, false, 1 },
		{ VALID | 0x301, 0, 0, false, 0 },
		{ VALID | 0x301, 2, KVM_GUESTDBG_SINGLESTEP, false, 0 },
		{ VALID | 0x301, 2, KVM_GUESTDBG_USE_HW_BP, false, 0 },
		{ VALID | 0x301, 2, KVM_GUESTDBG_USE_SW_BP, false, 1 },
		{ VALID | 0x603, 8, 0, false, 1 },
		{ VALID | 0x603, 8, KVM_GUESTDBG_USE_SW_BP, false, 0 },
		{ VALID | 0xb11, 1u << 17, 0, false, 1 }, /* #AC of alignment checking */
		{ VALID | 0xb11, 1u << 17, 0, true, 0 }, /* … of the host's split-lock detection */
		{ VALID | 0x314, 1u << 20, 0, false, 0 }, /* #VE: always L0's */
		{ VALID | 0xb0d, 1u << 13, 0, false, 1 },
		{ VALID | 0xb0d, 0, 0, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct nested_l0 l0 = l0_of(KERNEL(6, 12, 0), true);
		const struct nested_l1 l1 = { .exception_bitmap = rows[i].bitmap };
		const struct nested_exit exit = { .word = VMX_EXCEPTION_NMI | B26,
						  .interruption = rows[i].info,
						  .inner = 1 };
		struct nested_verdict v;

		l0.debug = rows[i].debug;
		l0.split_lock = rows[i].split_lock;
		v = nested_exit_verdict(&l0, &l1, &exit);
		if (v.level != rows[i].level)
			fail_msg("row %zu", i);
	}
}

/* ------------------------------------------------------------------ bit 26 */

/* An exit that L1 wants carries the bit into vmcs12, and user space hears of the lock in L1's context. */
static void test_nested_vmx_bit_26_leaks_into_vmcs12(void **state)
{
	static const unsigned kernels[] = { KERNEL(5, 12, 0), KERNEL(5, 14, 9),   KERNEL(5, 15, 0),
					    KERNEL(6, 12, 0), KERNEL(6, 12, 117), KERNEL(7, 3, 4) };

	(void)state;
	for (size_t k = 0; k < COUNT(kernels); k++) {
		const struct nested_l0 l0 = l0_of(kernels[k], true);

		for (size_t i = 0; i < COUNT(vmx); i++) {
			const struct nested_exit exit = { .word = vmx[i].reason | B26, .inner = 1 };
			const struct nested_verdict v =
				nested_exit_verdict(&l0, &everything, &exit);

			if (!v.level)
				continue;
			assert_int_equal(v.l1_word, vmx[i].reason | B26);
			assert_false(v.result.again);
			assert_int_equal(v.result.ret, 0);
			assert_int_equal(v.result.reason, KVM_EXIT_X86_BUS_LOCK);
			assert_int_equal(v.result.flags, LOCK); /* not GUEST_MODE: it is L1 now */
			assert_false(v.in_l2);
		}
	}
}

static void test_nested_vmx_reflected_exit_without_the_bit_goes_on_in_l1(void **state)
{
	const struct nested_l0 l0 = l0_of(KERNEL(6, 12, 0), true);
	const struct nested_exit exit = { .word = VMX_HLT, .inner = 0, .reason = KVM_EXIT_HLT };
	const struct nested_verdict v = nested_exit_verdict(&l0, &everything, &exit);

	(void)state;
	assert_int_equal(v.level, 1);
	assert_true(v.result.again);
	assert_int_equal(v.result.flags, 0);
}

/* Reason 74 is L0's since 5.15 and 5.14.10. Before, L1 got an exit that it never asked for. */
static void test_nested_vmx_reason_74_belongs_to_l0(void **state)
{
	static const struct {
		unsigned kernel;
		uint32_t word;
		unsigned level;
		bool again;
		uint16_t flags;
	} rows[] = {
		{ KERNEL(5, 12, 0), VMX_BUS_LOCK | B26, 1, false, LOCK },
		{ KERNEL(5, 14, 9), VMX_BUS_LOCK | B26, 1, false, LOCK },
		/* the handler would have told user space, but it did not run */
		{ KERNEL(5, 14, 9), VMX_BUS_LOCK, 1, true, 0 },
		{ KERNEL(5, 14, 10), VMX_BUS_LOCK | B26, 0, false, LOCK },
		{ KERNEL(5, 14, 10), VMX_BUS_LOCK, 0, false, LOCK },
		{ KERNEL(5, 15, 0), VMX_BUS_LOCK, 0, false, LOCK },
		{ KERNEL(6, 10, 0), VMX_BUS_LOCK | B26, 0, false, LOCK },
		{ KERNEL(6, 11, 0), VMX_BUS_LOCK | B26, 0, false, LOCK | GUEST },
		{ KERNEL(7, 3, 4), VMX_BUS_LOCK, 0, false, LOCK | GUEST },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct nested_l0 l0 = l0_of(rows[i].kernel, true);
		const struct nested_exit exit = { .word = rows[i].word, .inner = 1 };
		const struct nested_verdict v = nested_exit_verdict(&l0, &everything, &exit);

		if (v.level != rows[i].level || v.result.again != rows[i].again ||
		    v.result.flags != rows[i].flags)
			fail_msg("row %zu: level %u, again %d, flags %#x", i, v.level,
				 v.result.again, v.result.flags);
		assert_int_equal(v.in_l2, !rows[i].level);
		if (!v.result.again)
			assert_int_equal(v.result.reason, KVM_EXIT_X86_BUS_LOCK);
		if (v.level)
			assert_int_equal(v.l1_word, rows[i].word);
	}
}

/* What L0 keeps is as without nesting, with the flag of guest mode on every return. */
static void test_nested_vmx_l0s_exits_have_the_plain_verdict(void **state)
{
	static const unsigned kernels[] = { KERNEL(6, 1, 192), KERNEL(6, 12, 0),
					    KERNEL(6, 12, 117) };
	static const int inner[] = { 1, 0, -EFAULT };
	static const uint32_t words[] = { VMX_EPT_VIOLATION, VMX_EPT_VIOLATION | B26,
					  VMX_EPT_MISCONFIG | B26, VMX_BUS_LOCK | B26 };

	(void)state;
	for (size_t k = 0; k < COUNT(kernels); k++) {
		const struct nested_l0 l0 = l0_of(kernels[k], true);

		for (size_t w = 0; w < COUNT(words); w++) {
			for (size_t n = 0; n < COUNT(inner); n++) {
				const struct nested_exit exit = { .word = words[w],
								  .inner = inner[n],
								  .reason = KVM_EXIT_MMIO };
				const struct run_result plain = run_result(&profile, true, words[w],
									   inner[n], KVM_EXIT_MMIO);
				const struct nested_verdict v =
					nested_exit_verdict(&l0, &everything, &exit);
				bool flag = !plain.again && profile.run_flag_guest_mode;

				assert_int_equal(v.level, 0);
				assert_int_equal(v.result.again, plain.again);
				assert_int_equal(v.result.ret, plain.ret);
				assert_int_equal(v.result.reason, plain.reason);
				assert_int_equal(v.result.flags, plain.flags | (flag ? GUEST : 0));
			}
		}
	}
}

/* "nested: reflect" comes before the event-vectoring check. */
static void test_nested_vmx_delivery_error_is_for_exits_of_l0(void **state)
{
	const struct nested_l0 l0 = l0_of(KERNEL(6, 12, 0), true);
	const struct nested_exit bus_lock = { .word = VMX_BUS_LOCK | B26,
					      .idt_vectoring = VALID | 0x20,
					      .inner = 1 };
	const struct nested_exit violation = { .word = VMX_EPT_VIOLATION | B26,
					       .idt_vectoring = VALID | 0x20,
					       .inner = 1 };
	const struct nested_exit io = { .word = VMX_IO | B26,
					.idt_vectoring = VALID | 0x20,
					.inner = 1 };
	struct nested_verdict v = nested_exit_verdict(&l0, &nothing, &bus_lock);

	(void)state;
	assert_int_equal(v.result.reason, KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(v.result.flags, LOCK | GUEST);
	v = nested_exit_verdict(&l0, &nothing, &violation);
	assert_int_equal(v.result.reason, KVM_EXIT_X86_BUS_LOCK);
	v = nested_exit_verdict(&l0, &nothing, &io);
	assert_int_equal(v.result.reason, KVM_EXIT_INTERNAL_ERROR);
	v = nested_exit_verdict(&l0, &everything, &io);
	assert_int_equal(v.level, 1);
	assert_int_equal(v.result.reason, KVM_EXIT_X86_BUS_LOCK);
}

/* ------------------------------------------------------------------ the control */

static void test_nested_vm_entry_with_control_30_fails(void **state)
{
	const uint32_t lock = NESTED_SECONDARY_BUS_LOCK, active = NESTED_PRIMARY_SECONDARY;
	const struct {
		uint32_t primary, secondary;
		unsigned error;
	} rows[] = {
		{ active, lock, NESTED_INVALID_CONTROL },
		{ ~0u, ~0u, 7 },
		{ active, ~lock, 0 },
		{ active, 0, 0 },
		/* secondary controls that are not active are not looked at */
		{ ~active, lock, 0 },
		{ 0, ~0u, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct nested_l1 l1 = { .primary = rows[i].primary,
					      .secondary = rows[i].secondary };

		assert_int_equal(nested_vm_entry(&l1), rows[i].error);
	}
}

static void test_nested_detection_is_l0s_on_intel_and_eithers_on_amd(void **state)
{
	static const struct nested_l1 asks = { .secondary = NESTED_SECONDARY_BUS_LOCK,
					       .intercept = { [5] = 1u << 5 } };

	(void)state;
	for (unsigned bits = 0; bits < 8; bits++) {
		struct nested_l0 l0 = l0_of(KERNEL(6, 18, 0), bits & 1);
		const struct nested_l1 *l1 = bits & 4 ? &asks : &nothing;

		l0.bus_lock = bits & 2;
		assert_int_equal(nested_detects(&l0, l1), bits & 1 ? !!(bits & 2) : !!(bits & 6));
	}
}

/* ------------------------------------------------------------------ SVM */

static const struct {
	uint32_t code;
	unsigned asked, unasked;
} svm[] = {
	{ 0x10, 1, 0 },       /* CR0 write */
	{ 0x18, 1, 0 },       /* CR8 write */
	{ 0x27, 1, 0 },       /* DR7 read */
	{ 0x40, 1, 1 },       /* #DE: not intercepted by L0, so by L1 */
	{ 0x41, 0, 0 },       /* #DB: L0 intercepts it, and hands on what is L1's later */
	{ 0x46, 0, 0 },       /* #UD */
	{ 0x4e, 1, 1 },       /* #PF, with nested paging */
	{ 0x51, 0, 0 },       /* #AC */
	{ 0x60, 0, 0 },       /* INTR */
	{ 0x61, 0, 0 },       /* NMI */
	{ 0x64, 1, 0 },       /* VINTR */
	{ 0x72, 1, 0 },       /* CPUID */
	{ 0x78, 1, 0 },       /* HLT */
	{ 0x7b, 1, 0 },       /* IOIO */
	{ 0x7c, 1, 0 },       /* MSR */
	{ 0x7d, 1, 0 },       /* task switch */
	{ 0x7f, 1, 0 },       /* shutdown */
	{ 0x81, 1, 0 },       /* VMMCALL */
	{ 0x400, 0, 0 },      /* NPF */
	{ 0xffffffff, 1, 1 }, /* INVALID */
};

static void test_nested_svm_each_exit_goes_to_its_level(void **state)
{
	const struct nested_l0 l0 = l0_of(KERNEL(6, 18, 0), false);

	(void)state;
	for (size_t i = 0; i < COUNT(svm); i++) {
		for (unsigned asks = 0; asks < 2; asks++) {
			const struct nested_exit exit = { .word = svm[i].code, .inner = 1 };
			const struct nested_verdict v =
				nested_exit_verdict(&l0, asks ? &everything : &nothing, &exit);

			if (v.level != (asks ? svm[i].asked : svm[i].unasked))
				fail_msg("code %#x, asked %u: level %u", svm[i].code, asks,
					 v.level);
			/* no exit but A5 says anything of a bus lock */
			assert_true(v.result.again);
			assert_int_equal(v.result.flags, 0);
		}
	}
}

/* One bit of the intercept words, and no other, is a code's. */
static void test_nested_svm_each_intercept_is_its_own(void **state)
{
	static const uint32_t codes[] = { 0x10, 0x27, 0x64, 0x78, 0x81, 0xa5 };
	const struct nested_l0 l0 = l0_of(KERNEL(6, 18, 0), false);

	(void)state;
	for (size_t i = 0; i < COUNT(codes); i++) {
		for (size_t k = 0; k < COUNT(codes); k++) {
			struct nested_l1 l1 = nothing;
			const struct nested_exit exit = { .word = codes[i], .inner = 1 };

			l1.intercept[codes[k] / 32] = 1u << codes[k] % 32;
			assert_int_equal(nested_exit_verdict(&l0, &l1, &exit).level, i == k);
		}
	}
}

/* KVM does not offer it to L1, nor does it clear the bit: 0x14[5] reflects the exit. */
static void test_nested_svm_bus_lock_is_l0s_unless_l1_sets_the_bit_anyway(void **state)
{
	static const struct nested_l1 asks = { .intercept = { [5] = 1u << 5 } };
	const struct nested_l0 l0 = l0_of(KERNEL(6, 18, 0), false);
	const struct nested_exit exit = { .word = 0xa5,
					  .inner = 0,
					  .reason = KVM_EXIT_X86_BUS_LOCK };
	struct nested_verdict v = nested_exit_verdict(&l0, &nothing, &exit);

	(void)state;
	assert_int_equal(v.level, 0);
	assert_false(v.result.again);
	assert_int_equal(v.result.ret, 0);
	assert_int_equal(v.result.reason, KVM_EXIT_X86_BUS_LOCK);
	assert_int_equal(v.result.flags, LOCK | GUEST);
	assert_true(v.in_l2);
	v = nested_exit_verdict(&l0, &asks, &exit);
	assert_int_equal(v.level, 1);
	assert_int_equal(v.l1_word, 0xa5);
	assert_true(v.result.again); /* user space hears nothing */
	assert_int_equal(v.result.flags, 0);
	assert_false(v.in_l2);
}

/* ------------------------------------------------------------------ the counter of vmcb02 */

static struct emu_state at(uint64_t cs_base, uint64_t rip, bool mode64)
{
	struct emu_state s = { .rip = rip, .efer = mode64 ? 1 << 10 : 0 };

	s.segment[EMU_CS].base = cs_base;
	s.segment[EMU_CS].attributes = mode64 ? 0xa09b : 0x9b;
	return s;
}

static void test_nested_svm_counter_survives_l1s_interruption_at_the_same_rip(void **state)
{
	const struct emu_state l2 = at(0, 0x401000, true);
	uint64_t last = nested_svm_bus_lock(&l2);

	(void)state;
	assert_int_equal(last, 0x401000);
	/* the monitor's KVM_RUN gave the credit; L1's interrupt comes first: #VMEXIT, VMRUN */
	last = nested_svm_vmexit_rip(last, 1);
	assert_int_equal(nested_svm_vmrun_counter(0x401000, last), 1);
	/* without the credit (a monitor that moved RIP, or it is used up) it is forgotten */
	last = nested_svm_vmexit_rip(last, 0);
	assert_int_equal(last, NESTED_NO_RIP);
	assert_int_equal(nested_svm_vmrun_counter(0x401000, last), 0);
}

static void test_nested_svm_counter_is_0_elsewhere(void **state)
{
	(void)state;
	assert_int_equal(nested_svm_vmrun_counter(0x401003, 0x401000), 0);
	/* "nonzero": a vmcb02 that never ran */
	assert_int_equal(nested_svm_vmrun_counter(0, 0), 0);
}

/* save.rip is an offset, what is remembered is linear: they meet only where the CS base is 0. */
static void test_nested_svm_counter_compares_raw_with_linear_rip(void **state)
{
	const struct emu_state real = at(0xf0000, 0x1234, false), flat = at(0, 0x1234, false),
			       long_mode = at(0xf0000, 0x1234, true);

	(void)state;
	assert_int_equal(nested_svm_bus_lock(&real), 0xf1234);
	assert_int_equal(nested_svm_vmrun_counter(0x1234, nested_svm_bus_lock(&real)), 0);
	assert_int_equal(nested_svm_vmrun_counter(0x1234, nested_svm_bus_lock(&flat)), 1);
	assert_int_equal(nested_svm_vmrun_counter(0x1234, nested_svm_bus_lock(&long_mode)), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nested_vmx_each_exit_goes_to_its_level),
		cmocka_unit_test(test_nested_vmx_each_control_is_its_own),
		cmocka_unit_test(test_nested_vmx_exceptions_follow_l0_first_then_the_bitmap),
		cmocka_unit_test(test_nested_vmx_bit_26_leaks_into_vmcs12),
		cmocka_unit_test(test_nested_vmx_reflected_exit_without_the_bit_goes_on_in_l1),
		cmocka_unit_test(test_nested_vmx_reason_74_belongs_to_l0),
		cmocka_unit_test(test_nested_vmx_l0s_exits_have_the_plain_verdict),
		cmocka_unit_test(test_nested_vmx_delivery_error_is_for_exits_of_l0),
		cmocka_unit_test(test_nested_vm_entry_with_control_30_fails),
		cmocka_unit_test(test_nested_detection_is_l0s_on_intel_and_eithers_on_amd),
		cmocka_unit_test(test_nested_svm_each_exit_goes_to_its_level),
		cmocka_unit_test(test_nested_svm_each_intercept_is_its_own),
		cmocka_unit_test(test_nested_svm_bus_lock_is_l0s_unless_l1_sets_the_bit_anyway),
		cmocka_unit_test(test_nested_svm_counter_survives_l1s_interruption_at_the_same_rip),
		cmocka_unit_test(test_nested_svm_counter_is_0_elsewhere),
		cmocka_unit_test(test_nested_svm_counter_compares_raw_with_linear_rip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
