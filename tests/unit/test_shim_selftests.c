// SPDX-License-Identifier: GPL-2.0-only
/* What Linux's own selftests look at (docs/selftests.md) and no other test here does. */
#include "tests/unit/shim_guest.h"
#include "vmm_shim/module_params.h"

#include <fcntl.h>

/* ------------------------------------------------------------------ MSRs and capabilities */

static long set_msr(uint32_t index, uint64_t value)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} list = { .header.nmsrs = 1, .entry = { .index = index, .data = value } };

	return FD_IOCTL(m.vcpu, KVM_SET_MSRS, &list);
}

static uint64_t get_msr(uint32_t index)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} list = { .header.nmsrs = 1, .entry = { .index = index } };

	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_MSRS, &list), 1);
	return list.entry.data;
}

static void test_hwcr_keeps_two_bits_and_ignores_three(void **state)
{
	const uint64_t kept = 1ull << 18 | 1ull << 24, ignored = 1ull << 3 | 1ull << 6 | 1ull << 8;

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t value = 1ull << bit;

		assert_int_equal(set_msr(0xc0010015, value), (value & (kept | ignored)) != 0);
		assert_int_equal(get_msr(0xc0010015), value & kept);
		assert_int_equal(set_msr(0xc0010015, 0), 1);
	}
}

/* rdmsr 0CEh; hlt, with #GP at 0:2000 */
static uint64_t rip_behind_platform_info(void)
{
	LOAD("\x66\xb9\xce\x00\x00\x00\x0f\x32\xf4");
	memcpy(ram + 13 * 4, "\x00\x20\x00\x00", 4);
	ram[0x2000] = 0xf4;
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	return regs_of(&m).rip;
}

static void test_platform_info_hidden_is_gp(void **state)
{
	(void)state;
	assert_int_equal(set_msr(0xce, 0xff00), 1);
	assert_int_equal(rip_behind_platform_info(), CODE + 9);
	assert_int_equal(regs_of(&m).rax, 0xff00);
	assert_int_equal(enable(m.vm, KVM_CAP_MSR_PLATFORM_INFO, 0, 0), 0);
	assert_int_equal(rip_behind_platform_info(), 0x2001);
	assert_int_equal(get_msr(0xce), 0xff00); /* the monitor reads it all the same */
	assert_int_equal(enable(m.vm, KVM_CAP_MSR_PLATFORM_INFO, 0, 1), 0);
	assert_int_equal(rip_behind_platform_info(), CODE + 9);
}

static void test_system_attributes_tell_xcr0(void **state)
{
	uint64_t value = 0;
	struct kvm_device_attr attr = { .attr = KVM_X86_XCOMP_GUEST_SUPP,
					.addr = (uintptr_t)&value };

	(void)state;
	assert_int_equal(FD_IOCTL(m.kvm, KVM_GET_DEVICE_ATTR, &attr), 0);
	assert_int_equal(value & 3, 3);
	attr.attr = 9;
	assert_int_equal(FD_IOCTL(m.kvm, KVM_HAS_DEVICE_ATTR, &attr), -ENXIO);
}

/* ------------------------------------------------------------------ statistics */

struct stats {
	struct kvm_stats_header header;
	char rest[4096];
};

static uint64_t statistic(int fd, const char *name)
{
	struct stats s;
	long n = pread(fd, &s, sizeof(s), 0);

	assert_true(n > (long)sizeof(s.header));
	for (unsigned i = 0; i < s.header.num_desc; i++) {
		const char *at = (const char *)&s + s.header.desc_offset +
				 i * (sizeof(struct kvm_stats_desc) + s.header.name_size);
		struct kvm_stats_desc d;
		uint64_t value;

		memcpy(&d, at, sizeof(d));
		if (strcmp(at + sizeof(d), name))
			continue;
		memcpy(&value, (const char *)&s + s.header.data_offset + d.offset, sizeof(value));
		return value;
	}
	fail_msg("no statistic \"%s\"", name);
	return 0;
}

static void test_stats_count_exits_and_outlive_the_vm(void **state)
{
	int vm = (int)FD_IOCTL(m.vm, KVM_GET_STATS_FD, NULL), vcpu, again;
	struct stats s;

	(void)state;
	LOAD("\xe6\x80\xe6\x80\xf4"); /* out 80h, al (twice); hlt */
	for (int i = 0; i < 3; i++)
		assert_int_equal(run_once(&m), 0);
	vcpu = (int)FD_IOCTL(m.vcpu, KVM_GET_STATS_FD, NULL); /* counted before anybody asked */
	again = (int)FD_IOCTL(m.vcpu, KVM_GET_STATS_FD, NULL);
	assert_true(vm >= 0 && vcpu >= 0 && again >= 0 && again != vcpu);
	assert_int_equal(statistic(vcpu, "io_exits"), 2);
	assert_int_equal(statistic(vcpu, "halt_exits"), 1);
	assert_in_range(statistic(again, "exits"), 3, 100000); /* and kicks */
	assert_true(statistic(vm, "remote_tlb_flush") >= 1);
	assert_int_equal(write(vcpu, &s, 8), -1);
	assert_int_equal(pread(vcpu, &s, sizeof(s), 0) > 0, 1);
	assert_memory_equal((char *)&s + s.header.id_offset, "kvm-", 4);
	assert_non_null(strstr((char *)&s + s.header.id_offset, "/vcpu-0"));
	LOAD("\xe6\x80\xf4");
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(statistic(vcpu, "io_exits"), 3);
	fd_close(again);
	guest_stop();
	assert_int_equal(statistic(vcpu, "io_exits"), 3);
	close(vcpu);
	close(vm);
	guest_start(); /* for the teardown */
}

/* ------------------------------------------------------------------ REP INS */

static void test_rep_ins_count_changed_by_the_monitor_is_obeyed(void **state)
{
	struct kvm_regs regs;

	(void)state;
	LOAD("\xf3\x6c\xf4"); /* rep insb; hlt */
	regs = regs_of(&m);
	regs.rcx = 2, regs.rdx = 0x80, regs.rdi = 0x3000;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(m.run->io.count, 2);
	memset((uint8_t *)m.run + m.run->io.data_offset, 0xaa, 4096);
	regs = regs_of(&m);
	regs.rcx = 1;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	regs = regs_of(&m);
	assert_int_equal(regs.rcx, 0);
	assert_int_equal(regs.rdi, 0x3001);
	assert_int_equal(ram[0x3000], 0xaa);
	assert_int_equal(ram[0x3001], 0);
}

static void test_rep_ins_count_raised_by_the_monitor_asks_for_more(void **state)
{
	struct kvm_regs regs;

	(void)state;
	LOAD("\xf3\x6c\xf4");
	regs = regs_of(&m);
	regs.rcx = 3, regs.rdx = 0x80, regs.rdi = 0x3000;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
	assert_int_equal(run_once(&m), 0);
	regs = regs_of(&m);
	regs.rcx = 100;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(m.run->io.count, 97);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&m).rdi, 0x3000 + 100);
}

/* ------------------------------------------------------------------ guest debugging */

static void debug(uint32_t control, uint64_t dr7)
{
	struct kvm_guest_debug d = { .control = KVM_GUESTDBG_ENABLE | control };

	d.arch.debugreg[7] = dr7;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_GUEST_DEBUG, &d), 0);
}

static void test_single_step_over_accesses_ends_behind_each(void **state)
{
	/* in al, 80h; out 80h, al; rdmsr of an MSR that the shim keeps; hlt */
	(void)state;
	LOAD("\xe4\x80\xe6\x80\x66\xb9\xfc\x01\x00\x00\x0f\x32\xf4");
	debug(KVM_GUESTDBG_SINGLESTEP, 0x400);
	for (unsigned at = 2; at <= 4; at += 2) {
		assert_int_equal(run_once(&m), 0);
		assert_int_equal(m.run->exit_reason, KVM_EXIT_IO);
		assert_int_equal(run_once(&m), 0);
		assert_int_equal(m.run->exit_reason, KVM_EXIT_DEBUG);
		assert_int_equal(m.run->debug.arch.pc, CODE + at);
		assert_int_equal(m.run->debug.arch.dr6, 0xffff4ff0);
	}
	for (unsigned at = 10; at <= 12; at += 2) {
		assert_int_equal(run_once(&m), 0);
		assert_int_equal(m.run->exit_reason, KVM_EXIT_DEBUG);
		assert_int_equal(m.run->debug.arch.pc, CODE + at);
	}
}

static void test_single_step_with_immediate_exit_completes_and_reports(void **state)
{
	(void)state;
	LOAD("\xe4\x80\xf4");
	debug(KVM_GUESTDBG_SINGLESTEP, 0x400);
	assert_int_equal(run_once(&m), 0);
	m.run->immediate_exit = 1;
	assert_int_equal(run_once(&m), 0); /* kvm_vcpu_do_singlestep() */
	assert_int_equal(m.run->exit_reason, KVM_EXIT_DEBUG);
	assert_int_equal(run_once(&m), -EINTR);
	m.run->immediate_exit = 0;
}

static void test_general_detect_of_the_monitor_leaves_before_the_access(void **state)
{
	(void)state;
	LOAD("\x0f\x21\xc0\xf4"); /* mov eax, dr0; hlt */
	debug(KVM_GUESTDBG_USE_HW_BP, 0x400 | 1 << 13);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_DEBUG);
	assert_int_equal(m.run->debug.arch.exception, 1);
	assert_int_equal(m.run->debug.arch.pc, CODE);
	assert_int_equal(m.run->debug.arch.dr6, 0xffff0ff0 | 1 << 13);
	debug(0, 0x400);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
}

/* ------------------------------------------------------------------ page tables that are not there */

static void test_page_tables_outside_slots_end_in_a_shutdown(void **state)
{
	struct kvm_sregs sregs;

	(void)state;
	LOAD("\xf4");
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cr0 |= 0x80000001;
	sregs.cr3 = 0x10000000; /* the fetch is a #PF, and so is all that it leads to */
	sregs.cs.db = 1;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_SHUTDOWN);
}

/* ------------------------------------------------------------------ many vCPUs */

static void test_vcpus_as_many_as_linux_has_by_default(void **state)
{
	(void)state;
	assert_true(fd_ioctl(m.vm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS) >= 512);
}

/* ------------------------------------------------------------------ /sys/module */

static void test_module_parameters_are_the_simulated_kernels(void **state)
{
	static const struct {
		const char *path;
		enum module_path what;
		const char *text;
	} rows[] = {
		{ "/sys/module/kvm/parameters/force_emulation_prefix", MODULE_PARAMETER, "0\n" },
		{ "/sys/module/kvm/parameters/enable_pmu", MODULE_PARAMETER, "N\n" },
		{ "/sys/module/kvm_intel/parameters/ept", MODULE_PARAMETER, "Y\n" },
		{ "/sys/module/kvm_intel/parameters/unrestricted_guest", MODULE_PARAMETER, "Y\n" },
		{ "/sys/module/kvm_intel/parameters/nested", MODULE_PARAMETER, "N\n" },
		{ "/sys/module/kvm/parameters/npt", MODULE_ABSENT, NULL },
		{ "/sys/module/kvm_amd/parameters/npt", MODULE_ABSENT, NULL }, /* an Intel here */
		{ "/sys/module/kvm_amd", MODULE_ABSENT, NULL },
		{ "/sys/module/kvm_pvm/parameters/force", MODULE_ABSENT, NULL },
		{ "/sys/module/kvm_intel", MODULE_FOLDER, NULL },
		{ "/sys/module/kvm/parameters", MODULE_FOLDER, NULL },
		{ "/sys/module/kvm/parameters/", MODULE_FOLDER, NULL },
		{ "/sys/module/kvm/refcnt", MODULE_OTHER, NULL },
		{ "/sys/module/kvmgt", MODULE_OTHER, NULL },
		{ "/sys/module/kernel/parameters/panic", MODULE_OTHER, NULL },
		{ "/sys/module/kvm_a_very_long_name_indeed/x", MODULE_OTHER, NULL },
		{ "", MODULE_OTHER, NULL },
	};
	char text[MODULE_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (module_path(rows[i].path, text, sizeof(text)) != rows[i].what)
			fail_msg("%s", rows[i].path);
		if (rows[i].text)
			assert_string_equal(text, rows[i].text);
	}
	shim_config.options.vendor = EMU_AMD;
	assert_int_equal(module_path("/sys/module/kvm_amd/parameters/npt", text, sizeof(text)),
			 MODULE_PARAMETER);
	assert_int_equal(module_path("/sys/module/kvm_intel/parameters/ept", text, sizeof(text)),
			 MODULE_ABSENT);
	shim_config.options.vendor = EMU_INTEL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_hwcr_keeps_two_bits_and_ignores_three),
		TEST(test_platform_info_hidden_is_gp),
		TEST(test_system_attributes_tell_xcr0),
		TEST(test_stats_count_exits_and_outlive_the_vm),
		TEST(test_rep_ins_count_changed_by_the_monitor_is_obeyed),
		TEST(test_rep_ins_count_raised_by_the_monitor_asks_for_more),
		TEST(test_single_step_over_accesses_ends_behind_each),
		TEST(test_single_step_with_immediate_exit_completes_and_reports),
		TEST(test_general_detect_of_the_monitor_leaves_before_the_access),
		TEST(test_page_tables_outside_slots_end_in_a_shutdown),
		TEST(test_vcpus_as_many_as_linux_has_by_default),
		TEST(test_module_parameters_are_the_simulated_kernels),
	};

	return cmocka_run_group_tests(tests, guest_configure, NULL);
}
