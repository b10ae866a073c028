// SPDX-License-Identifier: GPL-2.0-only
/* Capabilities and the small system and VM ioctls. */
#include "tests/unit/shim_script.h"

static void test_check_extension_193_is_3_on_both_descriptors_and_0_when_off(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "");
	assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT), 3);
	assert_int_equal(fd_ioctl(m.vm, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT), 3);
	shim_config.options.capability = false;
	assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT), 0);
	assert_int_equal(fd_ioctl(m.vm, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT), 0);
	shim_config.options.capability = true;
	/* it is no vCPU ioctl at all */
	assert_int_equal(fd_ioctl(m.vcpu, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT), -EINVAL);
	machine_stop(&m);
}

static void test_enable_cap_193_follows_the_kernels_rules(void **state)
{
	static const struct {
		uint32_t flags;
		uint64_t mode;
		long result;
		bool on;
	} rows[] = {
		{ 0, 0, 0, false },
		{ 0, KVM_BUS_LOCK_DETECTION_OFF, 0, false },
		{ 0, 3, -EINVAL, false },
		{ 0, 4, -EINVAL, false },
		{ 0, 6, -EINVAL, false },
		{ 0, 1ull << 63, -EINVAL, false },
		{ 1, 2, -EINVAL, false },
		{ 0, KVM_BUS_LOCK_DETECTION_EXIT, 0, true },
		/* sticky from here on */
		{ 0, KVM_BUS_LOCK_DETECTION_OFF, 0, true },
		{ 0, 0, 0, true },
		{ 0, 3, -EINVAL, true },
	};
	struct shim_file *file;
	struct machine m;

	(void)state;
	machine_start(&m, "");
	file = shim_file_get(m.vm);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(enable(m.vm, 193, rows[i].flags, rows[i].mode), rows[i].result);
		assert_int_equal(((struct shim_vm *)file)->bus_lock_detection, rows[i].on);
	}
	shim_file_put(file);
	for (uint64_t mode = 0; mode < 5; mode++) {
		assert_int_equal(enable(m.kvm, 193, 0, mode), -EINVAL);
		assert_int_equal(enable(m.vcpu, 193, 0, mode), -EINVAL);
	}
	assert_int_equal(fd_ioctl(m.vm, KVM_ENABLE_CAP, 8), -EFAULT);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_ENABLE_CAP, 8), -EFAULT);
	assert_int_equal(fd_ioctl(m.kvm, KVM_ENABLE_CAP, 8), -EINVAL); /* never looked at */
	machine_stop(&m);
}

static void test_enable_cap_193_ignores_the_other_arguments(void **state)
{
	struct kvm_enable_cap cap = { .cap = 193, .args = { 2, 7, ~0ull, 3 } };
	struct machine m;

	(void)state;
	machine_start(&m, "");
	assert_int_equal(FD_IOCTL(m.vm, KVM_ENABLE_CAP, &cap), 0);
	machine_stop(&m);
}

static void test_enable_cap_193_without_hardware_succeeds_without_effect(void **state)
{
	struct machine m;

	(void)state;
	shim_config.options.capability = false;
	vm_start(&m, "");
	assert_int_equal(enable(m.vm, 193, 0, 2), 0);
	vcpu_start(&m, 0);
	assert_int_equal(regs_of(&m).r15, 0);
	shim_config.options.capability = true;
	machine_stop(&m);
}

static void test_check_extension_offers_what_qemu_insists_on(void **state)
{
	static const int needed[] = { KVM_CAP_USER_MEMORY,
				      KVM_CAP_SET_TSS_ADDR,
				      KVM_CAP_EXT_CPUID,
				      KVM_CAP_MP_STATE,
				      KVM_CAP_DESTROY_MEMORY_REGION_WORKS,
				      KVM_CAP_JOIN_MEMORY_REGIONS_WORKS,
				      KVM_CAP_IRQ_ROUTING,
				      KVM_CAP_MCE,
				      KVM_CAP_READONLY_MEM };
	struct machine m;

	(void)state;
	machine_start(&m, "");
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		assert_true(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, (unsigned)needed[i]) > 0);
		assert_true(fd_ioctl(m.vm, KVM_CHECK_EXTENSION, (unsigned)needed[i]) > 0);
	}
	assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, KVM_CAP_IMMEDIATE_EXIT), 1);
	assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, KVM_CAP_IRQCHIP), 1);
	assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS), 32764);
	assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS), EMU_MAX_VCPUS);
	assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS), 7);
	assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, 100000), 0);
	assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, 1ull << 32 | 193), 0);
	machine_stop(&m);
}

static void test_check_extension_knows_when_a_capability_came(void **state)
{
	static const struct {
		int cap;
		unsigned since;
	} rows[] = {
		{ KVM_CAP_SET_GUEST_DEBUG2, KERNEL(5, 13, 0) },
		{ KVM_CAP_SREGS2, KERNEL(5, 14, 0) },
		{ KVM_CAP_EXIT_ON_EMULATION_FAILURE, KERNEL(5, 14, 0) },
		{ KVM_CAP_USER_MEMORY2, KERNEL(6, 8, 0) },
		{ KVM_CAP_MEMORY_FAULT_INFO, KERNEL(6, 8, 0) },
		{ KVM_CAP_VM_TYPES, KERNEL(6, 8, 0) },
		{ KVM_CAP_X86_GUEST_MODE, KERNEL(6, 11, 0) },
		{ KVM_CAP_X86_TRIPLE_FAULT_EVENT, KERNEL(6, 0, 0) },
		{ KVM_CAP_XSAVE2, KERNEL(5, 17, 0) },
	};
	struct machine m;

	(void)state;
	machine_start(&m, "");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		use_kernel(rows[i].since - 1);
		assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, (unsigned)rows[i].cap), 0);
		use_kernel(rows[i].since);
		assert_true(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, (unsigned)rows[i].cap) > 0);
	}
	/* known before, but not to KVM_ENABLE_CAP */
	use_kernel(KERNEL(5, 19, 0));
	assert_true(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPU_ID) > 0);
	assert_int_equal(enable(m.vm, KVM_CAP_MAX_VCPU_ID, 0, 256), -EINVAL);
	use_kernel(KERNEL(6, 1, 0));
	assert_int_equal(enable(m.vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 0, 1), 0);
	use_kernel(KERNEL(5, 15, 0));
	assert_int_equal(enable(m.vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 0, 1), -EINVAL);
	use_kernel(KERNEL_DEFAULT);
	machine_stop(&m);
}

/* --irqchip=none: what only an interrupt controller has use for is gone with it */
static void test_check_extension_without_irqchip_offers_none_of_it(void **state)
{
	static const unsigned gone[] = {
		KVM_CAP_IRQCHIP,
		KVM_CAP_PIT2,
		KVM_CAP_IRQFD,
		KVM_CAP_SIGNAL_MSI,
		KVM_CAP_SPLIT_IRQCHIP,
		KVM_CAP_X2APIC_API,
		KVM_CAP_TSC_DEADLINE_TIMER,
		KVM_CAP_VAPIC,
		KVM_CAP_X86_APIC_BUS_CYCLES_NS,
	};
	struct machine m;

	(void)state;
	machine_start(&m, "");
	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
		assert_true(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, gone[i]) > 0);
		shim_config.options.irqchip = SHIM_IRQCHIP_NONE;
		assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, gone[i]), 0);
		shim_config.options.irqchip = SHIM_IRQCHIP_KERNEL;
	}
	assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, KVM_CAP_X2APIC_API), 3);
	machine_stop(&m);
}

static void test_enable_cap_of_what_is_not_offered_is_einval(void **state)
{
	static const uint32_t caps[] = { KVM_CAP_SPLIT_IRQCHIP,
					 KVM_CAP_X2APIC_API,
					 KVM_CAP_X86_DISABLE_EXITS,
					 KVM_CAP_HALT_POLL,
					 99999,
					 KVM_CAP_USER_MEMORY };
	struct machine m;

	(void)state;
	machine_start(&m, "");
	shim_config.options.irqchip = SHIM_IRQCHIP_NONE;
	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++)
		assert_int_equal(enable(m.vm, caps[i], 0, 0), -EINVAL);
	shim_config.options.irqchip = SHIM_IRQCHIP_KERNEL;
	assert_int_equal(enable(m.vm, KVM_CAP_EXCEPTION_PAYLOAD, 1, 1), -EINVAL); /* flags */
	assert_int_equal(enable(m.vm, KVM_CAP_EXCEPTION_PAYLOAD, 0, 1), 0);
	assert_int_equal(enable(m.vm, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 0, 2), -EINVAL);
	assert_int_equal(enable(m.vm, KVM_CAP_X86_USER_SPACE_MSR, 0, 8), -EINVAL);
	assert_int_equal(enable(m.vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 0, 1), 0);
	assert_int_equal(enable(m.vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 0, 4), -EINVAL);
	machine_stop(&m);
}

/* ------------------------------------------------------------------ /dev/kvm */

static void test_device_small_ioctls_check_their_argument(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "");
	assert_int_equal(fd_ioctl(m.kvm, KVM_GET_API_VERSION, 0), 12);
	assert_int_equal(fd_ioctl(m.kvm, KVM_GET_API_VERSION, 1), -EINVAL);
	assert_int_equal(fd_ioctl(m.kvm, KVM_GET_VCPU_MMAP_SIZE, 0), 12288);
	assert_int_equal(fd_ioctl(m.kvm, KVM_GET_VCPU_MMAP_SIZE, 4), -EINVAL);
	assert_int_equal(fd_ioctl(m.kvm, KVM_CREATE_VM, 1), -EINVAL);
	assert_int_equal(fd_ioctl(m.kvm, KVM_CREATE_VM, 77), -EINVAL);
	machine_stop(&m);
}

static void test_supported_cpuid_grows_until_it_fits(void **state)
{
	struct {
		struct kvm_cpuid2 header;
		struct kvm_cpuid_entry2 entry[256];
	} list;
	struct machine m;
	unsigned n, too_small = 0;
	long r;

	(void)state;
	machine_start(&m, "");
	for (n = 0;; n = n ? n * 2 : 1) {
		memset(&list, 0xee, sizeof(list));
		list.header.nent = n;
		r = FD_IOCTL(m.kvm, KVM_GET_SUPPORTED_CPUID, &list);
		if (!r)
			break;
		assert_int_equal(r, -E2BIG);
		assert_int_equal(list.header.nent, n);
		too_small++;
		assert_true(n < 256);
	}
	assert_true(too_small >= 2);
	assert_in_range(list.header.nent, 2, n);
	assert_int_equal(list.entry[0].function, 0);
	/* nothing is written behind the last one */
	assert_int_equal(list.entry[list.header.nent].function, 0xeeeeeeee);
	assert_int_equal(fd_ioctl(m.kvm, KVM_GET_SUPPORTED_CPUID, 4096), -EFAULT);
	machine_stop(&m);
}

static void test_msr_lists_tell_their_size_first(void **state)
{
	static const unsigned long requests[] = { KVM_GET_MSR_INDEX_LIST,
						  KVM_GET_MSR_FEATURE_INDEX_LIST };
	struct {
		uint32_t n, index[512];
	} list;
	struct machine m;
	uint32_t n;

	(void)state;
	machine_start(&m, "");
	for (unsigned i = 0; i < 2; i++) {
		list.n = 0;
		assert_int_equal(FD_IOCTL(m.kvm, requests[i], &list), -E2BIG);
		n = list.n;
		assert_in_range(n, 1, 511);
		list.index[n] = 0xabad1dea;
		assert_int_equal(FD_IOCTL(m.kvm, requests[i], &list), 0);
		assert_int_equal(list.n, n);
		assert_int_equal(list.index[n], 0xabad1dea);
		for (uint32_t a = 0; a < n; a++) {
			for (uint32_t b = 0; b < a; b++)
				assert_int_not_equal(list.index[a], list.index[b]);
		}
	}
	machine_stop(&m);
}

/* ------------------------------------------------------------------ the VM */

static void test_vm_addresses_are_checked(void **state)
{
	uint64_t address = 0xfeffc000;
	struct machine m;

	(void)state;
	vm_start(&m, "");
	assert_int_equal(fd_ioctl(m.vm, KVM_SET_TSS_ADDR, 0xfffbd000), 0);
	assert_int_equal(fd_ioctl(m.vm, KVM_SET_TSS_ADDR, 0xffffd000), 0);
	assert_int_equal(fd_ioctl(m.vm, KVM_SET_TSS_ADDR, 0xffffd001), -EINVAL);
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_IDENTITY_MAP_ADDR, &address), 0);
	assert_int_equal(fd_ioctl(m.vm, KVM_SET_IDENTITY_MAP_ADDR, 0), -EFAULT);
	assert_int_equal(fd_ioctl(m.vm, KVM_SET_NR_MMU_PAGES, 63), -EINVAL);
	assert_int_equal(fd_ioctl(m.vm, KVM_SET_NR_MMU_PAGES, 64), 0);
	assert_int_equal(fd_ioctl(m.vm, KVM_SET_BOOT_CPU_ID, 1), 0);
	vcpu_start(&m, 1);
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_IDENTITY_MAP_ADDR, &address), -EINVAL);
	assert_int_equal(fd_ioctl(m.vm, KVM_SET_BOOT_CPU_ID, 0), -EBUSY);
	machine_stop(&m);
}

static void test_vm_boot_cpu_alone_has_the_bsp_bit(void **state)
{
	struct kvm_sregs sregs;
	struct machine m;
	int second;

	(void)state;
	machine_start(&m, "");
	second = (int)fd_ioctl(m.vm, KVM_CREATE_VCPU, 1);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	assert_int_equal(sregs.apic_base, 0xfee00900);
	assert_int_equal(FD_IOCTL(second, KVM_GET_SREGS, &sregs), 0);
	assert_int_equal(sregs.apic_base, 0xfee00800);
	fd_close(second);
	machine_stop(&m);
	/* whichever the monitor says */
	vm_start(&m, "");
	assert_int_equal(fd_ioctl(m.vm, KVM_SET_BOOT_CPU_ID, 1), 0);
	second = (int)fd_ioctl(m.vm, KVM_CREATE_VCPU, 0);
	vcpu_start(&m, 1);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	assert_int_equal(sregs.apic_base, 0xfee00900);
	assert_int_equal(FD_IOCTL(second, KVM_GET_SREGS, &sregs), 0);
	assert_int_equal(sregs.apic_base, 0xfee00800);
	fd_close(second);
	machine_stop(&m);
}

static void test_create_vcpu_checks_the_number(void **state)
{
	int fd[EMU_MAX_VCPUS];
	struct machine m;

	(void)state;
	vm_start(&m, "");
	assert_int_equal(fd_ioctl(m.vm, KVM_CREATE_VCPU, 4096), -EINVAL);
	assert_int_equal(fd_ioctl(m.vm, KVM_CREATE_VCPU, 1ull << 32), -EINVAL);
	for (int i = 0; i < EMU_MAX_VCPUS; i++) {
		fd[i] = (int)fd_ioctl(m.vm, KVM_CREATE_VCPU, (unsigned)i);
		assert_true(fd[i] >= 0);
		if (i < EMU_MAX_VCPUS - 1)
			assert_int_equal(fd_ioctl(m.vm, KVM_CREATE_VCPU, (unsigned)i), -EEXIST);
	}
	assert_int_equal(fd_ioctl(m.vm, KVM_CREATE_VCPU, EMU_MAX_VCPUS), -EINVAL);
	for (int i = 0; i < EMU_MAX_VCPUS; i++)
		fd_close(fd[i]);
	fd_close(m.vm);
	fd_close(m.kvm);
}

static void test_max_vcpu_id_can_be_set_once(void **state)
{
	struct machine m;

	(void)state;
	vm_start(&m, "");
	assert_int_equal(enable(m.vm, KVM_CAP_MAX_VCPU_ID, 0, 100000), -EINVAL);
	assert_int_equal(enable(m.vm, KVM_CAP_MAX_VCPU_ID, 0, 2), 0);
	assert_int_equal(enable(m.vm, KVM_CAP_MAX_VCPU_ID, 0, 2), 0);
	assert_int_equal(enable(m.vm, KVM_CAP_MAX_VCPU_ID, 0, 3), -EINVAL);
	assert_int_equal(fd_ioctl(m.vm, KVM_CREATE_VCPU, 2), -EINVAL);
	vcpu_start(&m, 1);
	machine_stop(&m);
}

static void test_clock_can_be_set_and_goes_on(void **state)
{
	struct kvm_clock_data clock = { 0 };
	struct machine m;
	uint64_t first;

	(void)state;
	machine_start(&m, "");
	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_CLOCK, &clock), 0);
	assert_true(clock.clock < 10000000000ull); /* it began with the VM */
	assert_int_equal(clock.flags, 0xe);
	first = clock.clock;
	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_CLOCK, &clock), 0);
	assert_true(clock.clock >= first);
	clock.clock = 1000000000000000ull;
	clock.flags = 0;
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_CLOCK, &clock), 0);
	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_CLOCK, &clock), 0);
	assert_in_range(clock.clock, 1000000000000000ull, 1000010000000000ull);
	clock.flags = 1;
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_CLOCK, &clock), -EINVAL);
	assert_int_equal(fd_ioctl(m.vm, KVM_SET_CLOCK, 0), -EFAULT);
	machine_stop(&m);
}

/* The structure was full of padding before, and KVM_SET_CLOCK took no flags. */
static void test_clock_tells_the_hosts_time_since_5_16(void **state)
{
	struct kvm_clock_data clock;
	struct machine m;

	(void)state;
	machine_start(&m, "");
	use_kernel(KERNEL(5, 15, 0));
	assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, KVM_CAP_ADJUST_CLOCK), 2);
	memset(&clock, 0xff, sizeof(clock));
	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_CLOCK, &clock), 0);
	assert_int_equal(clock.flags, 2);
	assert_int_equal(clock.realtime, 0);
	assert_int_equal(clock.host_tsc, 0);
	clock.flags = 4;
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_CLOCK, &clock), -EINVAL);
	use_kernel(KERNEL(5, 16, 0));
	assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, KVM_CAP_ADJUST_CLOCK), 14);
	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_CLOCK, &clock), 0);
	assert_int_equal(clock.flags, 14);
	assert_true(clock.realtime && clock.host_tsc);
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_CLOCK, &clock), 0);
	use_kernel(KERNEL_DEFAULT);
	machine_stop(&m);
}

static void test_tsc_khz_is_known_and_only_the_real_one_accepted(void **state)
{
	struct machine m;
	long khz;

	(void)state;
	machine_start(&m, "");
	khz = fd_ioctl(m.vcpu, KVM_GET_TSC_KHZ, 0);
	assert_true(khz > 100000);
	assert_int_equal(fd_ioctl(m.vm, KVM_GET_TSC_KHZ, 0), khz);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_SET_TSC_KHZ, (unsigned long)khz), 0);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_SET_TSC_KHZ, (unsigned long)khz / 2), -EINVAL);
	machine_stop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_extension_193_is_3_on_both_descriptors_and_0_when_off),
		cmocka_unit_test(test_enable_cap_193_follows_the_kernels_rules),
		cmocka_unit_test(test_enable_cap_193_ignores_the_other_arguments),
		cmocka_unit_test(test_enable_cap_193_without_hardware_succeeds_without_effect),
		cmocka_unit_test(test_check_extension_offers_what_qemu_insists_on),
		cmocka_unit_test(test_check_extension_knows_when_a_capability_came),
		cmocka_unit_test(test_enable_cap_of_what_is_not_offered_is_einval),
		cmocka_unit_test(test_check_extension_without_irqchip_offers_none_of_it),
		cmocka_unit_test(test_device_small_ioctls_check_their_argument),
		cmocka_unit_test(test_supported_cpuid_grows_until_it_fits),
		cmocka_unit_test(test_msr_lists_tell_their_size_first),
		cmocka_unit_test(test_vm_addresses_are_checked),
		cmocka_unit_test(test_vm_boot_cpu_alone_has_the_bsp_bit),
		cmocka_unit_test(test_create_vcpu_checks_the_number),
		cmocka_unit_test(test_max_vcpu_id_can_be_set_once),
		cmocka_unit_test(test_clock_can_be_set_and_goes_on),
		cmocka_unit_test(test_clock_tells_the_hosts_time_since_5_16),
		cmocka_unit_test(test_tsc_khz_is_known_and_only_the_real_one_accepted),
	};

	return cmocka_run_group_tests(tests, script_setup, NULL);
}
