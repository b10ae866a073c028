// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a guest under the shim sees of split-lock disable and the bus-lock #DB: by kernel, vendor and
 * option, in CPUID, in MSRs, in KVM_EXIT_DEBUG.
 */
#include "tests/unit/shim_guest.h"

#define BUFFER 0x3000u
enum { MEMORY_CTRL = 0x33, CORE_CAPS = 0xcf, DEBUGCTL = 0x1d9 };
enum { BLD_BIT = 1 << 24, CORE_CAPS_BIT = 1 << 30 }; /* leaf 7, ECX and EDX */

#include <errno.h>

/* ------------------------------------------------------------------ KVM_GET_SUPPORTED_CPUID */

static void test_guest_features_cpuid_follows_kernel_and_vendor(void **state)
{
	static const struct {
		unsigned kernel;
		bool intel, sld, bld;
	} rows[] = {
		{ KERNEL(5, 12, 0), true, false, false },
		{ KERNEL(5, 13, 0), true, false, true },
		{ KERNEL(7, 3, 2), true, true, true },
		{ KERNEL(5, 12, 0), false, false, false },
		{ KERNEL(6, 10, 0), false, false, true }, /* leaked */
		{ KERNEL(6, 10, 10), false, false, false },
		{ KERNEL(6, 11, 0), false, false, false },
	};

	(void)state;
	for (unsigned n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		struct emu_cpuid leaf = { .function = 7, .ecx = ~0u, .edx = ~0u }, other = leaf;
		struct profile profile;

		profile_for(rows[n].kernel, &profile);
		cpuid_offer(&profile, rows[n].intel, rows[n].sld, &leaf);
		assert_int_equal(leaf.ecx, rows[n].bld ? ~0u : ~(unsigned)BLD_BIT);
		assert_int_equal(leaf.edx, rows[n].sld ? ~0u : ~(unsigned)CORE_CAPS_BIT);
		other.index = 1;
		cpuid_offer(&profile, rows[n].intel, rows[n].sld, &other);
		assert_int_equal(other.ecx, ~0u);
		assert_int_equal(other.edx, ~0u);
	}
}

/* ------------------------------------------------------------------ what the processor then has */

struct seen {
	int core_caps, memory_ctrl, debugctl;
	uint64_t dr6; /* after another #DB, from one with the bus-lock bit clear */
};

static struct seen guest_of(unsigned kernel, int vendor, bool guest_sld)
{
	const struct emu_cpuid all = {
		.function = 7, .has_index = true, .ecx = BLD_BIT, .edx = CORE_CAPS_BIT
	};
	struct shim_options options;
	struct emu_events events;
	struct emu_state s;
	struct emu_vcpu *vcpu;
	struct emu_exit x;
	struct emu_vm *vm;
	struct seen seen;
	uint64_t value;

	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	shim_options_default(&options);
	options.kernel = kernel;
	options.vendor = vendor;
	options.guest_sld = guest_sld;
	assert_int_equal(backend_emu.vm_create(&options, &vm), 0);
	assert_int_equal(emu_vm_map(vm, 0, 0, RAM_SIZE, ram, 0), 0);
	assert_int_equal(emu_vcpu_create(vm, &vcpu), 0);
	assert_int_equal(emu_vcpu_set_cpuid(vcpu, &all, 1), 0);
	seen.core_caps = emu_vcpu_get_msr(vcpu, CORE_CAPS, &value, false);
	seen.memory_ctrl = emu_vcpu_set_msr(vcpu, MEMORY_CTRL, 1 << 29, false);
	seen.debugctl = emu_vcpu_set_msr(vcpu, DEBUGCTL, 4, false);
	/* a single-step #DB in real mode: vector 1 points to a HLT at 0:500 */
	memcpy(ram + 4, "\x00\x05\x00\x00", 4);
	ram[0x500] = 0xf4;
	emu_vcpu_get_state(vcpu, &s);
	s.segment[EMU_CS].selector = 0;
	s.segment[EMU_CS].base = 0;
	s.rip = 0x1000;
	s.gpr[EMU_RSP] = 0x8000;
	s.dr[6] = 0xffff07f0;
	assert_int_equal(emu_vcpu_set_state(vcpu, &s), 0);
	emu_vcpu_get_events(vcpu, &events);
	events.pending_debug = 1 << 14;
	emu_vcpu_set_events(vcpu, &events);
	assert_int_equal(emu_vcpu_run(vcpu, 0, &x), 0);
	assert_int_equal(x.type, EMU_EXIT_HLT);
	emu_vcpu_get_state(vcpu, &s);
	seen.dr6 = s.dr[6];
	emu_vcpu_destroy(vcpu);
	emu_vm_destroy(vm);
	munmap(ram, RAM_SIZE);
	return seen;
}

static void test_guest_features_split_lock_disable_needs_the_option(void **state)
{
	struct seen s = guest_of(KERNEL(6, 12, 0), EMU_INTEL, false);

	(void)state;
	assert_int_equal(s.core_caps, -ENOENT);
	assert_int_equal(s.memory_ctrl, -ENOENT);
	s = guest_of(KERNEL(6, 12, 0), EMU_INTEL, true);
	assert_int_equal(s.core_caps, 0);
	assert_int_equal(s.memory_ctrl, 0);
}

static void test_guest_features_debugctl_bit_2_is_intels_since_5_13(void **state)
{
	(void)state;
	assert_int_equal(guest_of(KERNEL(5, 12, 0), EMU_INTEL, false).debugctl, -EINVAL);
	assert_int_equal(guest_of(KERNEL(5, 13, 0), EMU_INTEL, false).debugctl, 0);
	assert_int_equal(guest_of(KERNEL(6, 16, 0), EMU_AMD, false).debugctl, -EINVAL);
}

/* kvm_deliver_exception_payload() before and since 719a1d58bf43; kvm_dr6_fixed() */
static void test_guest_features_dr6_bus_lock_bit_survives_other_dbs_since_7_3_2(void **state)
{
	(void)state;
	assert_int_equal(guest_of(KERNEL(6, 12, 116), EMU_INTEL, false).dr6, 0xffff4ff0);
	assert_int_equal(guest_of(KERNEL(6, 12, 117), EMU_INTEL, false).dr6, 0xffff47f0);
	assert_int_equal(guest_of(KERNEL(7, 3, 1), EMU_INTEL, false).dr6, 0xffff4ff0);
	assert_int_equal(guest_of(KERNEL(7, 3, 2), EMU_INTEL, false).dr6, 0xffff47f0);
}

/* ------------------------------------------------------------------ through the ioctls */

static bool listed(unsigned long request, uint32_t index)
{
	struct {
		uint32_t n, index[512];
	} list = { .n = 512 };
	unsigned found = 0;

	assert_int_equal(FD_IOCTL(m.kvm, request, &list), 0);
	assert_in_range(list.n, 1, 512);
	for (unsigned n = 0; n < list.n; n++)
		found += list.index[n] == index;
	assert_in_range(found, 0, 1);
	return found;
}

/* With the option they are there for QEMU's FEAT_CORE_CAPABILITY: listed, and as a feature MSR. */
static void test_guest_features_msr_lists_hide_what_kvm_has_no_code_for(void **state)
{
	(void)state;
	for (int sld = 0; sld < 2; sld++) {
		shim_config.options.guest_sld = sld;
		assert_int_equal(listed(KVM_GET_MSR_INDEX_LIST, MEMORY_CTRL), sld);
		assert_int_equal(listed(KVM_GET_MSR_INDEX_LIST, CORE_CAPS), sld);
		assert_int_equal(listed(KVM_GET_MSR_FEATURE_INDEX_LIST, CORE_CAPS), sld);
		assert_int_equal(listed(KVM_GET_MSR_FEATURE_INDEX_LIST, MEMORY_CTRL), 0);
	}
	shim_config.options.guest_sld = false;
}

static long set_msr(uint32_t index, uint64_t data)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = { .header.nmsrs = 1, .entry = { .index = index, .data = data } };

	return FD_IOCTL(m.vcpu, KVM_SET_MSRS, &msrs);
}

/* 32-bit flat code at CPL 3: lock add [edi],eax, then NOPs */
static void enter_cpl3(void)
{
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2, .rsp = 0x8000, .rdi = BUFFER + 62 };
	struct kvm_sregs s;
	struct kvm_segment data = { .limit = 0xffffffff,
				    .selector = 0x23,
				    .type = 3,
				    .present = 1,
				    .dpl = 3,
				    .db = 1,
				    .s = 1,
				    .g = 1 };

	memcpy(ram + 0x1000, "\xf0\x01\x07\x90\x90\x90", 6);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &s), 0);
	s.ds = s.es = s.fs = s.gs = s.ss = s.cs = data;
	s.cs.selector = 0x1b;
	s.cs.type = 11;
	s.cr0 |= 1;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &s), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
}

/*
 * Both detections and a debugging monitor: first the bus lock, then KVM_EXIT_DEBUG, whose DR6 does not
 * show it on Intel. Between them the monitor saves and restores the events, which have no field for
 * what is pending.
 */
static void
test_guest_features_debug_exit_hides_the_bus_lock_and_pending_traps_survive(void **state)
{
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP };
	struct kvm_vcpu_events events;
	struct kvm_regs regs;

	(void)state;
	enter_cpl3();
	assert_int_equal(set_msr(DEBUGCTL, 4), 1);
	debug.arch.debugreg[7] = 0x400;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_GUEST_DEBUG, &debug), 0);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_RUN, 0), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_X86_BUS_LOCK);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_VCPU_EVENTS, &events), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_VCPU_EVENTS, &events), 0);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_RUN, 0), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_DEBUG);
	assert_int_equal(m.run->debug.arch.dr6, 0xffff0ff0);
	assert_int_equal(m.run->debug.arch.pc, 0x1003);
	assert_int_equal(m.run->flags & KVM_RUN_X86_BUS_LOCK, 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_REGS, &regs), 0);
	assert_int_equal(regs.rip, 0x1003);
}

static void test_guest_features_single_step_over_a_bus_lock_is_not_lost(void **state)
{
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP };

	(void)state;
	enter_cpl3();
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_GUEST_DEBUG, &debug), 0);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_RUN, 0), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_X86_BUS_LOCK);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_RUN, 0), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_DEBUG);
	assert_int_equal(m.run->debug.arch.pc, 0x1003);
	assert_int_equal(m.run->debug.arch.dr6, 0xffff4ff0);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_RUN, 0), 0);
	assert_int_equal(m.run->debug.arch.pc, 0x1004);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest_features_cpuid_follows_kernel_and_vendor),
		cmocka_unit_test(test_guest_features_split_lock_disable_needs_the_option),
		cmocka_unit_test(test_guest_features_debugctl_bit_2_is_intels_since_5_13),
		cmocka_unit_test(
			test_guest_features_dr6_bus_lock_bit_survives_other_dbs_since_7_3_2),
		TEST(test_guest_features_msr_lists_hide_what_kvm_has_no_code_for),
		TEST(test_guest_features_debug_exit_hides_the_bus_lock_and_pending_traps_survive),
		TEST(test_guest_features_single_step_over_a_bus_lock_is_not_lost),
	};

	return cmocka_run_group_tests(tests, guest_configure, NULL);
}
