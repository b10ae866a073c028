// SPDX-License-Identifier: GPL-2.0-only
/* KVM_RUN over scripts of exits: what kvm_run and the return value say, and in which order. */
#include "tests/unit/shim_script.h"

#define LOCK26 "0x04000000"

static void expect_run(const struct machine *m, long ret, uint32_t reason, uint16_t flags)
{
	long got = run_once(m);

	if (got != ret || m->run->exit_reason != reason || m->run->flags != flags)
		print_error("KVM_RUN %ld, reason %u, flags %u\n", got, m->run->exit_reason,
			    m->run->flags);
	assert_int_equal(got, ret);
	assert_int_equal(m->run->exit_reason, reason);
	assert_int_equal(m->run->flags, flags);
}

/* ------------------------------------------------------------------ bus locks */

static void test_run_bus_lock_gives_exit_33_and_the_flag(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit bus_lock\n"
			  "exit bus_lock word=74\n"
			  "exit hlt\n");
	expect_run(&m, 0, KVM_EXIT_X86_BUS_LOCK, BUS_LOCK_FLAG);
	expect_run(&m, 0, KVM_EXIT_X86_BUS_LOCK, BUS_LOCK_FLAG);
	expect_run(&m, 0, KVM_EXIT_HLT, 0); /* the flag is gone by itself */
	machine_stop(&m);
}

static void test_run_flag_rides_on_every_exit_to_the_monitor(void **state)
{
	static const struct {
		const char *line;
		uint32_t reason;
	} rows[] = {
		{ "exit io word=0x0400001e port=0x10 write=1 data=41\n", KVM_EXIT_IO },
		{ "exit io word=0x0400001e port=0x10\n", KVM_EXIT_IO },
		{ "exit mmio word=0x04000031 gpa=0x1000 size=4 write=1 data=01020304\n",
		  KVM_EXIT_MMIO },
		{ "exit mmio word=0x04000030 gpa=0x1000 size=4\n", KVM_EXIT_MMIO },
		{ "exit hlt word=0x0400000c\n", KVM_EXIT_HLT },
		{ "exit shutdown word=0x04000002\n", KVM_EXIT_SHUTDOWN },
		{ "exit debug word=0x04000000 vector=1\n", KVM_EXIT_DEBUG },
		{ "exit set_tpr word=0x0400001c\n", KVM_EXIT_SET_TPR },
		{ "exit error word=0x04000031 insn=0f0b\n", KVM_EXIT_INTERNAL_ERROR },
		{ "exit none word=0x04000063\n", KVM_EXIT_INTERNAL_ERROR },
	};
	struct machine m;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		machine_start(&m, rows[i].line);
		expect_run(&m, 0, rows[i].reason, BUS_LOCK_FLAG);
		machine_stop(&m);
	}
}

static void test_run_exit_handled_in_the_kernel_with_bit_26_becomes_33(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit vmcall word=0x04000012\n"
			  "exit wrmsr word=0x04000020 index=0x1a0 value=1\n"
			  "exit kicked word=0x04000001\n"
			  "exit window word=0x04000007\n"
			  "exit vmcall\n"
			  "exit hlt\n");
	for (unsigned i = 0; i < 4; i++)
		expect_run(&m, 0, KVM_EXIT_X86_BUS_LOCK, BUS_LOCK_FLAG);
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	machine_stop(&m);
}

static void test_run_error_with_bit_26_follows_the_kernel_profile(void **state)
{
	static const struct {
		unsigned kernel;
		long ret;
	} rows[] = {
		{ KERNEL(6, 1, 192), 0 },
		{ KERNEL(6, 12, 0), 0 },
		{ KERNEL(6, 12, 117), -EFAULT },
		{ KERNEL(7, 3, 2), -EFAULT },
	};
	struct machine m;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		use_kernel(rows[i].kernel);
		machine_start(&m, "exit hlt\nfail EFAULT word=0x04000030\nfail EFAULT\n");
		expect_run(&m, 0, KVM_EXIT_HLT, 0);
		/* before 6.8 the swallowed error leaves a stale reason behind */
		expect_run(&m, rows[i].ret,
			   rows[i].kernel < KERNEL(6, 8, 0) ? KVM_EXIT_HLT : KVM_EXIT_UNKNOWN,
			   BUS_LOCK_FLAG);
		assert_int_equal(run_once(&m), -EFAULT);
		assert_int_equal(m.run->flags, 0);
		machine_stop(&m);
	}
	use_kernel(KERNEL_DEFAULT);
}

static void test_run_capability_is_latched_at_creation_and_by_set_cpuid2(void **state)
{
	struct kvm_cpuid2 none = { 0 };
	struct machine m;
	int early;

	(void)state;
	/* the script shows the control in R15 */
	vm_start(&m, "exit hlt\nexit hlt\n");
	early = (int)fd_ioctl(m.vm, KVM_CREATE_VCPU, 0);
	assert_int_equal(enable(m.vm, KVM_CAP_X86_BUS_LOCK_EXIT, 0, 2), 0);
	vcpu_start(&m, 1);
	assert_int_equal(regs_of(&m).r15, 1);
	munmap(m.run, 3 * 4096);
	fd_close(m.vcpu);
	m.vcpu = early;
	m.run = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, early, 0);
	assert_int_equal(regs_of(&m).r15, 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &none), 0);
	assert_int_equal(regs_of(&m).r15, 1);
	/* OFF never undoes EXIT */
	assert_int_equal(enable(m.vm, KVM_CAP_X86_BUS_LOCK_EXIT, 0, 1), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &none), 0);
	assert_int_equal(regs_of(&m).r15, 1);
	machine_stop(&m);
}

static void test_run_capability_never_reaches_a_vcpu_that_has_run(void **state)
{
	struct kvm_cpuid2 none = { 0 };
	struct machine m;

	(void)state;
	machine_start(&m, "exit hlt\n");
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(enable(m.vm, KVM_CAP_X86_BUS_LOCK_EXIT, 0, 2), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &none), 0); /* the same as it has */
	assert_int_equal(regs_of(&m).r15, 0);
	machine_stop(&m);
}

/* ------------------------------------------------------------------ entry */

static void test_run_with_argument_is_einval_and_touches_nothing(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit bus_lock\nexit hlt\n");
	expect_run(&m, 0, KVM_EXIT_X86_BUS_LOCK, BUS_LOCK_FLAG);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_RUN, 1), -EINVAL);
	assert_int_equal(m.run->flags, BUS_LOCK_FLAG);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_X86_BUS_LOCK);
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	machine_stop(&m);
}

static void test_run_immediate_exit_clears_flags_and_leaves_the_reason(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit bus_lock\nexit hlt\n");
	expect_run(&m, 0, KVM_EXIT_X86_BUS_LOCK, BUS_LOCK_FLAG);
	uint64_t runs = regs_of(&m).r9; /* the ticker may have made it more than one */
	m.run->immediate_exit = 1;
	for (unsigned i = 0; i < 3; i++) /* the ghost of the last exit */
		expect_run(&m, -EINTR, KVM_EXIT_X86_BUS_LOCK, 0);
	assert_int_equal(regs_of(&m).r9, runs); /* the guest did not run */
	m.run->immediate_exit = 0;
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	machine_stop(&m);
}

static void test_run_immediate_exit_completes_a_pending_in_first(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit io port=0x60 size=4\nexit hlt\n");
	expect_run(&m, 0, KVM_EXIT_IO, 0);
	memcpy((char *)m.run + m.run->io.data_offset, "\x78\x56\x34\x12", 4);
	assert_int_equal(regs_of(&m).rax, 0);
	uint64_t runs = regs_of(&m).r9;
	m.run->immediate_exit = 1;
	expect_run(&m, -EINTR, KVM_EXIT_IO, 0);
	assert_int_equal(regs_of(&m).rax, 0x12345678);
	assert_int_equal(regs_of(&m).r9, runs);
	machine_stop(&m);
}

static void test_run_immediate_exit_shows_the_next_mmio_fragment(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit mmio gpa=0x1000 size=8 more=1\n"
			  "exit mmio gpa=0x1008 size=8\n"
			  "exit hlt\n");
	expect_run(&m, 0, KVM_EXIT_MMIO, 0);
	assert_int_equal(m.run->mmio.phys_addr, 0x1000);
	memset(m.run->mmio.data, 0x11, 8);
	m.run->immediate_exit = 1;
	expect_run(&m, 0, KVM_EXIT_MMIO, 0);
	assert_int_equal(m.run->mmio.phys_addr, 0x1008);
	assert_int_equal(regs_of(&m).rbx, 0x1111111111111111);
	memset(m.run->mmio.data, 0x22, 8);
	expect_run(&m, -EINTR, KVM_EXIT_MMIO, 0);
	assert_int_equal(regs_of(&m).rbx, 0x2222222222222222);
	m.run->immediate_exit = 0;
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	machine_stop(&m);
}

static void test_run_exit_reason_is_reset_by_kernels_from_6_8_on(void **state)
{
	struct machine m;

	(void)state;
	use_kernel(KERNEL(6, 1, 0));
	machine_start(&m, "exit hlt\nfail EIO\n");
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	expect_run(&m, -EIO, KVM_EXIT_HLT, 0);
	machine_stop(&m);
	use_kernel(KERNEL(6, 8, 0));
	machine_start(&m, "exit hlt\nfail EIO\n");
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	expect_run(&m, -EIO, KVM_EXIT_UNKNOWN, 0);
	machine_stop(&m);
	use_kernel(KERNEL_DEFAULT);
}

static void test_run_cr8_of_the_monitor_is_loaded_and_checked(void **state)
{
	struct kvm_sregs sregs;
	struct machine m;

	(void)state;
	machine_start(&m, "exit hlt\nset cr8=3\nexit set_tpr\n");
	m.run->cr8 = 7;
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(m.run->cr8, 7);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	assert_int_equal(sregs.cr8, 7);
	expect_run(&m, 0, KVM_EXIT_SET_TPR, 0);
	assert_int_equal(m.run->cr8, 3);
	m.run->cr8 = 16;
	assert_int_equal(run_once(&m), -EINVAL);
	assert_int_equal(m.run->cr8, 3); /* post_kvm_run_save() writes it back on errors, too */
	assert_int_equal(m.run->flags, 0);
	machine_stop(&m);
}

static void test_run_unknown_sync_regs_are_einval(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit hlt\n");
	m.run->kvm_valid_regs = 8;
	assert_int_equal(run_once(&m), -EINVAL);
	m.run->kvm_valid_regs = 0;
	m.run->kvm_dirty_regs = 1ull << 63;
	assert_int_equal(run_once(&m), -EINVAL);
	m.run->kvm_dirty_regs = 0;
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	machine_stop(&m);
}

static void test_run_sync_regs_go_both_ways(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit hlt\nset rax=0x77\nexit hlt\n");
	m.run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(m.run->s.regs.regs.r9, regs_of(&m).r9);
	assert_true(m.run->s.regs.regs.r9 >= 1);
	assert_int_equal(m.run->s.regs.sregs.cs.selector, 0xf000);
	m.run->s.regs.regs.rbx = 0x1234;
	m.run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(m.run->kvm_dirty_regs, 0);
	assert_int_equal(m.run->s.regs.regs.rbx, 0x1234);
	assert_int_equal(m.run->s.regs.regs.rax, 0x77);
	/* state that KVM_SET_SREGS refuses */
	m.run->s.regs.sregs.cr0 = 1ull << 31;
	m.run->kvm_dirty_regs = KVM_SYNC_X86_SREGS;
	assert_int_equal(run_once(&m), -EINVAL);
	machine_stop(&m);
}

/* ------------------------------------------------------------------ single exits */

static void test_run_out_shows_port_size_count_and_data(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit io port=0x3f8 size=2 count=3 write=1 data=010203040506\n");
	expect_run(&m, 0, KVM_EXIT_IO, 0);
	assert_int_equal(m.run->io.direction, KVM_EXIT_IO_OUT);
	assert_int_equal(m.run->io.port, 0x3f8);
	assert_int_equal(m.run->io.size, 2);
	assert_int_equal(m.run->io.count, 3);
	assert_int_equal(m.run->io.data_offset, 4096);
	assert_memory_equal((char *)m.run + 4096, "\x01\x02\x03\x04\x05\x06", 6);
	machine_stop(&m);
}

static void test_run_in_gives_zeroed_data_and_ignores_what_the_monitor_writes_into_io(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit io port=0x10 size=1 write=1 data=ff\nexit io port=0x60 size=1\n"
			  "exit hlt\n");
	expect_run(&m, 0, KVM_EXIT_IO, 0);
	expect_run(&m, 0, KVM_EXIT_IO, 0);
	assert_int_equal(m.run->io.direction, KVM_EXIT_IO_IN);
	assert_int_equal(((uint8_t *)m.run)[4096], 0);
	memset((char *)m.run + 4096, 0x42, 4096);
	m.run->io.size = 4; /* not the monitor's to change */
	m.run->io.count = 100000;
	m.run->io.data_offset = ~0ull;
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(regs_of(&m).rax, 0x42);
	machine_stop(&m);
}

static void test_run_mmio_shows_address_length_and_data(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit mmio gpa=0xfee00300 size=4 write=1 data=00450c00\n"
			  "exit mmio gpa=0xfee00020 size=4\nexit hlt\n");
	expect_run(&m, 0, KVM_EXIT_MMIO, 0);
	assert_int_equal(m.run->mmio.phys_addr, 0xfee00300);
	assert_int_equal(m.run->mmio.len, 4);
	assert_true(m.run->mmio.is_write);
	assert_memory_equal(m.run->mmio.data, "\x00\x45\x0c\x00", 4);
	expect_run(&m, 0, KVM_EXIT_MMIO, 0);
	assert_false(m.run->mmio.is_write);
	memcpy(m.run->mmio.data, "\xef\xbe\xad\xde\xff\xff\xff\xff", 8);
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(regs_of(&m).rbx, 0xdeadbeef);
	machine_stop(&m);
}

static void test_run_debug_exit_shows_dr6_with_its_fixed_bits(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit debug vector=1 rip=0x1234 dr6=0x4000 dr7=0x400\n"
			  "exit debug vector=3 rip=0x5678\n");
	expect_run(&m, 0, KVM_EXIT_DEBUG, 0);
	assert_int_equal(m.run->debug.arch.exception, 1);
	assert_int_equal(m.run->debug.arch.pc, 0x1234);
	assert_int_equal(m.run->debug.arch.dr6, 0xffff4ff0);
	assert_int_equal(m.run->debug.arch.dr7, 0x400);
	expect_run(&m, 0, KVM_EXIT_DEBUG, 0);
	assert_int_equal(m.run->debug.arch.exception, 3);
	assert_int_equal(m.run->debug.arch.pc, 0x5678);
	machine_stop(&m);
}

static void test_run_entry_failure_shows_the_whole_exit_word(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit entry_failure\nexit hlt\n");
	expect_run(&m, 0, KVM_EXIT_FAIL_ENTRY, 0);
	assert_int_equal(m.run->fail_entry.hardware_entry_failure_reason, 0x80000021);
	machine_stop(&m);
}

static void test_run_emulation_failure_in_kernel_code_shows_bytes_and_queues_ud(void **state)
{
	struct kvm_vcpu_events events;
	struct machine m;

	(void)state;
	machine_start(&m, "exit error qualification=5 insn=c5f857c0\nexit hlt\n");
	expect_run(&m, 0, KVM_EXIT_INTERNAL_ERROR, 0);
	assert_int_equal(m.run->emulation_failure.suberror, KVM_INTERNAL_ERROR_EMULATION);
	assert_int_equal(m.run->emulation_failure.flags,
			 KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES);
	assert_int_equal(m.run->emulation_failure.insn_size, 4);
	assert_memory_equal(m.run->emulation_failure.insn_bytes,
			    "\xc5\xf8\x57\xc0\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90", 15);
	assert_int_equal(m.run->emulation_failure.ndata, 8);
	assert_int_equal(m.run->internal.data[3], VMX_EPT_MISCONFIG);
	assert_int_equal(m.run->internal.data[4], 5);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_VCPU_EVENTS, &events), 0);
	assert_int_equal(events.exception.injected, 1); /* conflated with pending */
	assert_int_equal(events.exception.nr, 6);
	machine_stop(&m);
}

static void test_run_emulation_failure_in_user_code_is_ud_and_no_exit(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "set cpl=3\nexit error insn=0f0b\nexit hlt\n");
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	machine_stop(&m);
	/* unless the monitor wants to know: then the exit, and no #UD */
	vm_start(&m, "set cpl=3\nexit error insn=0f0b\nexit hlt\n");
	assert_int_equal(enable(m.vm, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 0, 1), 0);
	vcpu_start(&m, 0);
	expect_run(&m, 0, KVM_EXIT_INTERNAL_ERROR, 0);
	machine_stop(&m);
}

static void test_run_exit_during_event_delivery_is_an_internal_error(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit bus_lock idt=0x80000020 qualification=9\n");
	expect_run(&m, 0, KVM_EXIT_INTERNAL_ERROR, BUS_LOCK_FLAG);
	assert_int_equal(m.run->internal.suberror, KVM_INTERNAL_ERROR_DELIVERY_EV);
	assert_int_equal(m.run->internal.ndata, 4);
	assert_int_equal(m.run->internal.data[0], 0x80000020);
	assert_int_equal(m.run->internal.data[1], 0x0400004a);
	assert_int_equal(m.run->internal.data[2], 9);
	machine_stop(&m);
	use_kernel(KERNEL(6, 14, 0));
	machine_start(&m, "exit bus_lock idt=0x80000020 gpa=0x5000\n");
	expect_run(&m, 0, KVM_EXIT_INTERNAL_ERROR, BUS_LOCK_FLAG);
	assert_int_equal(m.run->internal.ndata, 5);
	assert_int_equal(m.run->internal.data[3], 0x5000);
	machine_stop(&m);
	use_kernel(KERNEL_DEFAULT);
}

/* __vmx_complete_interrupts(): the event is queued again, whatever becomes of the exit */
static void test_run_event_that_an_exit_interrupted_is_injected_again(void **state)
{
	static const struct {
		uint32_t info;
		bool interrupt, nmi, exception;
	} rows[] = {
		{ 0x80000021, true, false, false },  { 0x80000202, false, true, false },
		{ 0x80000b0d, false, false, true },  { 0x00000021, false, false, false },
		{ 0x80000603, false, false, false }, /* INT3 comes again with its instruction */
	};
	struct kvm_vcpu_events events;
	char script[64];
	struct machine m;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(script, sizeof(script), "exit io idt=%#x port=1 size=1 data=00\n",
			 rows[i].info);
		machine_start(&m, script);
		assert_int_equal(run_once(&m), 0);
		assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_VCPU_EVENTS, &events), 0);
		assert_int_equal(events.interrupt.injected, rows[i].interrupt);
		assert_int_equal(events.nmi.injected, rows[i].nmi);
		assert_int_equal(events.exception.injected, rows[i].exception);
		if (rows[i].interrupt)
			assert_int_equal(events.interrupt.nr, 0x21);
		if (rows[i].exception)
			assert_int_equal(events.exception.nr, 13);
		assert_int_equal(events.exception.has_error_code, rows[i].exception);
		machine_stop(&m);
	}
}

/* The same scripts on AMD: its words, its verdict, its credit (the script shows the counter in R14). */
static void test_run_script_on_amd_has_svms_exits(void **state)
{
	struct machine m;

	(void)state;
	shim_config.options.vendor = EMU_AMD;
	use_kernel(KERNEL_DEFAULT_AMD);
	machine_start(&m, "exit bus_lock\nexit hlt\nexit bus_lock word=0x0400004a\nexit hlt\n");
	expect_run(&m, 0, KVM_EXIT_X86_BUS_LOCK, BUS_LOCK_FLAG);
	assert_int_equal(regs_of(&m).r14, 0);
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(regs_of(&m).r14, 1);
	/* not a code of SVM's: no flag, whatever its bits */
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->flags, 0);
	machine_stop(&m);
	shim_config.options.vendor = EMU_INTEL;
	use_kernel(KERNEL_DEFAULT);
}

static void test_run_hypercall_is_answered_with_enosys(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "set rax=99\nexit vmcall\nexit hlt\n"
			  "set rax=99 efer=0x500 cs_l=1\nexit vmcall\nexit hlt\n"
			  "set rax=1\nexit vmcall\nexit hlt\n"
			  "set rax=1 cpl=3\nexit vmcall\nexit hlt\n");
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(regs_of(&m).rax, (uint32_t)-1000);
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(regs_of(&m).rax, (uint64_t)-1000);
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(regs_of(&m).rax, 0); /* KVM_HC_VAPIC_POLL_IRQ */
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(regs_of(&m).rax, (uint64_t)-EPERM);
	machine_stop(&m);
}

static void test_run_hlt_leaves_the_vcpu_runnable(void **state)
{
	struct kvm_mp_state mp;
	struct machine m;

	(void)state;
	machine_start(&m, "exit hlt\n");
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_MP_STATE, &mp), 0);
	assert_int_equal(mp.mp_state, KVM_MP_STATE_RUNNABLE);
	machine_stop(&m);
}

/* ------------------------------------------------------------------ interrupts */

static void test_run_window_opens_before_the_guest_runs_if_interrupts_are_on(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit hlt\nset rflags=0x202\nexit io port=1 write=1\nexit hlt\n");
	m.run->request_interrupt_window = 1;
	expect_run(&m, 0, KVM_EXIT_HLT, 0); /* IF is clear: no window */
	assert_int_equal(m.run->if_flag, 0);
	assert_int_equal(m.run->ready_for_interrupt_injection, 0);
	expect_run(&m, 0, KVM_EXIT_IRQ_WINDOW_OPEN, 0); /* behind the statement that sets IF */
	assert_int_equal(m.run->if_flag, 1);
	assert_int_equal(m.run->ready_for_interrupt_injection, 1);
	expect_run(&m, 0, KVM_EXIT_IRQ_WINDOW_OPEN, 0);
	m.run->request_interrupt_window = 0;
	expect_run(&m, 0, KVM_EXIT_IO, 0);
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	machine_stop(&m);
}

static void test_run_shadow_and_pending_interrupt_close_the_window(void **state)
{
	struct kvm_interrupt irq = { 0x20 };
	struct machine m;

	(void)state;
	machine_start(&m,
		      "set rflags=0x202 shadow=2\nexit hlt\nset shadow=0\nexit hlt\nexit hlt\n");
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(m.run->if_flag, 1);
	assert_int_equal(m.run->ready_for_interrupt_injection, 0);
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(m.run->ready_for_interrupt_injection, 1);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_INTERRUPT, &irq), 0);
	m.run->immediate_exit = 1;
	assert_int_equal(run_once(&m), -EINTR);
	assert_int_equal(m.run->ready_for_interrupt_injection, 0);
	machine_stop(&m);
}

static void test_run_window_wins_over_exits_that_the_kernel_handles(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit hlt\nset rflags=0x202\nexit vmcall\nexit hlt\n");
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	m.run->request_interrupt_window = 1;
	expect_run(&m, 0, KVM_EXIT_IRQ_WINDOW_OPEN, 0);
	machine_stop(&m);
}

static void test_interrupt_newer_vector_replaces_the_queued_one(void **state)
{
	struct kvm_interrupt irq = { 0x20 };
	struct kvm_sregs sregs;
	struct machine m;

	(void)state;
	machine_start(&m, "exit hlt\n");
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_INTERRUPT, &irq), 0);
	irq.irq = 0x81;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_INTERRUPT, &irq), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	assert_int_equal(sregs.interrupt_bitmap[0], 0);
	assert_int_equal(sregs.interrupt_bitmap[2], 1ull << (0x81 - 128));
	irq.irq = 256;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_INTERRUPT, &irq), -EINVAL);
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	assert_int_equal(sregs.interrupt_bitmap[2], 0); /* delivered */
	machine_stop(&m);
}

/* ------------------------------------------------------------------ MSRs */

static void test_run_unknown_msr_is_gp_unless_the_monitor_wants_it(void **state)
{
	struct machine m;

	(void)state;
	machine_start(
		&m,
		"exit rdmsr index=0xdead\nexit hlt\nexit wrmsr index=0xdead value=5\nexit hlt\n");
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(regs_of(&m).r8, 1);
	machine_stop(&m);

	vm_start(&m,
		 "exit rdmsr index=0xdead\nexit hlt\nexit wrmsr index=0xdead value=5\nexit hlt\n");
	assert_int_equal(enable(m.vm, KVM_CAP_X86_USER_SPACE_MSR, 0, KVM_MSR_EXIT_REASON_UNKNOWN),
			 0);
	vcpu_start(&m, 0);
	expect_run(&m, 0, KVM_EXIT_X86_RDMSR, 0);
	assert_int_equal(m.run->msr.index, 0xdead);
	assert_int_equal(m.run->msr.reason, KVM_MSR_EXIT_REASON_UNKNOWN);
	m.run->msr.data = 0x1122334455667788;
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(regs_of(&m).rcx, 0x1122334455667788);
	assert_int_equal(regs_of(&m).r8, 0);
	expect_run(&m, 0, KVM_EXIT_X86_WRMSR, 0);
	assert_int_equal(m.run->msr.data, 5);
	m.run->msr.error = 1;
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(regs_of(&m).r8, 1);
	machine_stop(&m);
}

static void test_run_msr_of_the_kernel_is_handled_without_an_exit(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit wrmsr index=0x2ff value=0xc06\nexit rdmsr index=0x2ff\nexit hlt\n"
			  "exit wrmsr index=0x2ff value=0x2\nexit hlt\n");
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(regs_of(&m).rcx, 0xc06);
	assert_int_equal(regs_of(&m).r8, 0);
	expect_run(&m, 0, KVM_EXIT_HLT, 0); /* type 2 is reserved */
	assert_int_equal(regs_of(&m).r8, 1);
	machine_stop(&m);
}

static void test_run_filtered_msr_goes_to_the_monitor_with_reason_filter(void **state)
{
	static uint8_t bitmap[8] = { 0 }; /* denied */
	struct kvm_msr_filter filter = {
		.ranges = { { .flags = KVM_MSR_FILTER_READ,
			      .nmsrs = 1,
			      .base = 0x1a0,
			      .bitmap = bitmap } },
	};
	struct machine m;

	(void)state;
	vm_start(&m, "exit rdmsr index=0x1a0\nexit wrmsr index=0x1a0 value=1\nexit hlt\n");
	assert_int_equal(enable(m.vm, KVM_CAP_X86_USER_SPACE_MSR, 0, KVM_MSR_EXIT_REASON_FILTER),
			 0);
	assert_int_equal(FD_IOCTL(m.vm, KVM_X86_SET_MSR_FILTER, &filter), 0);
	vcpu_start(&m, 0);
	expect_run(&m, 0, KVM_EXIT_X86_RDMSR, 0);
	assert_int_equal(m.run->msr.reason, KVM_MSR_EXIT_REASON_FILTER);
	expect_run(&m, 0, KVM_EXIT_HLT, 0); /* the write is not filtered */
	machine_stop(&m);
}

static void test_msr_filter_rules_are_those_of_the_kernel(void **state)
{
	static uint8_t bitmap[8];
	struct kvm_msr_filter filter = { .flags = KVM_MSR_FILTER_DEFAULT_DENY };
	struct machine m;

	(void)state;
	machine_start(&m, "");
	assert_int_equal(FD_IOCTL(m.vm, KVM_X86_SET_MSR_FILTER, &filter), -EINVAL); /* denies all */
	filter.flags = 2;
	assert_int_equal(FD_IOCTL(m.vm, KVM_X86_SET_MSR_FILTER, &filter), -EINVAL);
	filter.flags = 0;
	assert_int_equal(FD_IOCTL(m.vm, KVM_X86_SET_MSR_FILTER, &filter), 0);
	filter.ranges[3].nmsrs = 1;
	filter.ranges[3].bitmap = bitmap;
	assert_int_equal(FD_IOCTL(m.vm, KVM_X86_SET_MSR_FILTER, &filter), -EINVAL); /* no flags */
	filter.ranges[3].flags = 4;
	assert_int_equal(FD_IOCTL(m.vm, KVM_X86_SET_MSR_FILTER, &filter), -EINVAL);
	filter.ranges[3].flags = 3;
	assert_int_equal(FD_IOCTL(m.vm, KVM_X86_SET_MSR_FILTER, &filter), 0);
	filter.ranges[3].nmsrs = 0x600 * 8 + 1;
	assert_int_equal(FD_IOCTL(m.vm, KVM_X86_SET_MSR_FILTER, &filter), -EINVAL);
	filter.ranges[3].nmsrs = 64;
	filter.ranges[3].bitmap = (uint8_t *)16;
	assert_int_equal(FD_IOCTL(m.vm, KVM_X86_SET_MSR_FILTER, &filter), -EFAULT);
	assert_int_equal(fd_ioctl(m.vm, KVM_X86_SET_MSR_FILTER, 16), -EFAULT);
	machine_stop(&m);
}

/* ------------------------------------------------------------------ the report */

static void test_run_is_told_to_the_report(void **state)
{
	struct report *report;
	struct machine m;
	int fd;

	(void)state;
	assert_int_equal(report_create(&report, &fd, false), 0);
	shim_config.options.report = report;
	vm_start(&m, "lock rip=0x100 linear=0x3e size=4 insn=f0ff00\nexit bus_lock\n"
		     "lock rip=0x100 linear=0x3e size=4 insn=f0ff00\nexit hlt\nfail EFAULT\n");
	enable(m.vm, KVM_CAP_X86_BUS_LOCK_EXIT, 0, 2);
	vcpu_start(&m, 0);
	expect_run(&m, 0, KVM_EXIT_X86_BUS_LOCK, BUS_LOCK_FLAG);
	expect_run(&m, 0, KVM_EXIT_HLT, 0);
	assert_int_equal(run_once(&m), -EFAULT);
	m.run->immediate_exit = 1;
	assert_int_equal(run_once(&m), -EINTR);
	assert_int_equal(report->vms, 1);
	assert_int_equal(report->vcpus, 1);
	assert_int_equal(report->detection_enabled, 1);
	assert_int_equal(report->vcpu[0].runs, 4);
	assert_int_equal(report->vcpu[0].exits[KVM_EXIT_X86_BUS_LOCK], 1);
	assert_int_equal(report->vcpu[0].exits[KVM_EXIT_HLT], 1);
	assert_int_equal(report->vcpu[0].errors, 1);
	assert_int_equal(report->vcpu[0].interrupted, 1);
	assert_int_equal(report->vcpu[0].bus_lock_flag, 1);
	assert_int_equal(report->vcpu[0].bus_locks, 2);
	assert_int_equal(report->vcpu[0].split, 2);
	machine_stop(&m);
	shim_config.options.report = NULL;
	report_detach(report);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run_bus_lock_gives_exit_33_and_the_flag),
		cmocka_unit_test(test_run_flag_rides_on_every_exit_to_the_monitor),
		cmocka_unit_test(test_run_exit_handled_in_the_kernel_with_bit_26_becomes_33),
		cmocka_unit_test(test_run_error_with_bit_26_follows_the_kernel_profile),
		cmocka_unit_test(test_run_capability_is_latched_at_creation_and_by_set_cpuid2),
		cmocka_unit_test(test_run_capability_never_reaches_a_vcpu_that_has_run),
		cmocka_unit_test(test_run_with_argument_is_einval_and_touches_nothing),
		cmocka_unit_test(test_run_immediate_exit_clears_flags_and_leaves_the_reason),
		cmocka_unit_test(test_run_immediate_exit_completes_a_pending_in_first),
		cmocka_unit_test(test_run_immediate_exit_shows_the_next_mmio_fragment),
		cmocka_unit_test(test_run_exit_reason_is_reset_by_kernels_from_6_8_on),
		cmocka_unit_test(test_run_cr8_of_the_monitor_is_loaded_and_checked),
		cmocka_unit_test(test_run_unknown_sync_regs_are_einval),
		cmocka_unit_test(test_run_sync_regs_go_both_ways),
		cmocka_unit_test(test_run_out_shows_port_size_count_and_data),
		cmocka_unit_test(
			test_run_in_gives_zeroed_data_and_ignores_what_the_monitor_writes_into_io),
		cmocka_unit_test(test_run_mmio_shows_address_length_and_data),
		cmocka_unit_test(test_run_debug_exit_shows_dr6_with_its_fixed_bits),
		cmocka_unit_test(test_run_entry_failure_shows_the_whole_exit_word),
		cmocka_unit_test(
			test_run_emulation_failure_in_kernel_code_shows_bytes_and_queues_ud),
		cmocka_unit_test(test_run_emulation_failure_in_user_code_is_ud_and_no_exit),
		cmocka_unit_test(test_run_exit_during_event_delivery_is_an_internal_error),
		cmocka_unit_test(test_run_event_that_an_exit_interrupted_is_injected_again),
		cmocka_unit_test(test_run_script_on_amd_has_svms_exits),
		cmocka_unit_test(test_run_hypercall_is_answered_with_enosys),
		cmocka_unit_test(test_run_hlt_leaves_the_vcpu_runnable),
		cmocka_unit_test(test_run_window_opens_before_the_guest_runs_if_interrupts_are_on),
		cmocka_unit_test(test_run_shadow_and_pending_interrupt_close_the_window),
		cmocka_unit_test(test_run_window_wins_over_exits_that_the_kernel_handles),
		cmocka_unit_test(test_interrupt_newer_vector_replaces_the_queued_one),
		cmocka_unit_test(test_run_unknown_msr_is_gp_unless_the_monitor_wants_it),
		cmocka_unit_test(test_run_msr_of_the_kernel_is_handled_without_an_exit),
		cmocka_unit_test(test_run_filtered_msr_goes_to_the_monitor_with_reason_filter),
		cmocka_unit_test(test_msr_filter_rules_are_those_of_the_kernel),
		cmocka_unit_test(test_run_is_told_to_the_report),
	};

	return cmocka_run_group_tests(tests, script_setup, NULL);
}
