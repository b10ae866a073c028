// SPDX-License-Identifier: GPL-2.0-only
/* The shim as kvm_amd over the emulated processor: bus_lock_exit() and what follows from it. */
#include "tests/unit/shim_guest.h"

#include <signal.h>

#define DATA      0x203eu                    /* two bytes in each of two lines */
#define LOCK      "\xf0\x66\xff\x06\x3e\x20" /* lock inc dword [0x203e] */
#define LOCK_SIZE 6u
#define HLT       "\xf4"
#define COUNT(x)  (sizeof(x) / sizeof((x)[0]))

static struct report *report;

static int configure(void **state)
{
	struct shim_options options;
	int fd;

	(void)state;
	shim_options_default(&options);
	options.vendor = EMU_AMD;
	if (report_create(&report, &fd, false))
		return -1;
	options.report = report;
	return shim_configure(&options);
}

static int setup(void **state)
{
	(void)state;
	use_kernel(KERNEL_DEFAULT_AMD);
	guest_start();
	return 0;
}

static int setup_without_vcpu(void **state)
{
	(void)state;
	use_kernel(KERNEL_DEFAULT_AMD);
	guest_vm_start();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	guest_stop();
	return 0;
}

static void set_rip(uint64_t rip)
{
	struct kvm_regs regs = regs_of(&m);

	regs.rip = rip;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
}

static uint32_t counter(void)
{
	uint32_t value;

	memcpy(&value, ram + DATA, sizeof(value));
	return value;
}

/* One KVM_RUN that ends in front of the bus lock at `rip`. */
static void expect_lock_at(uint64_t rip)
{
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_X86_BUS_LOCK);
	assert_int_equal(m.run->flags, BUS_LOCK_FLAG);
	assert_int_equal(regs_of(&m).rip, rip);
}

static void expect_halt(void)
{
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(m.run->flags, 0);
}

/* ------------------------------------------------------------------ the capability */

static void test_amd_capability_is_there_from_6_16(void **state)
{
	static const struct {
		unsigned kernel;
		int value;
	} rows[] = {
		{ KERNEL(5, 12, 0), 0 }, { KERNEL(6, 12, 117), 0 }, { KERNEL(6, 15, 255), 0 },
		{ KERNEL(6, 16, 0), 3 }, { KERNEL(6, 18, 0), 3 },   { KERNEL(7, 3, 4), 3 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		use_kernel(rows[i].kernel);
		assert_int_equal(fd_ioctl(m.kvm, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT),
				 rows[i].value);
		assert_int_equal(fd_ioctl(m.vm, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT),
				 rows[i].value);
	}
	vcpu_start(&m, 0);
}

static void test_amd_enabling_before_6_16_succeeds_without_effect(void **state)
{
	(void)state;
	use_kernel(KERNEL(6, 15, 0));
	assert_int_equal(enable(m.vm, KVM_CAP_X86_BUS_LOCK_EXIT, 0, 2), 0);
	assert_int_equal(enable(m.vm, KVM_CAP_X86_BUS_LOCK_EXIT, 0, 3), -EINVAL);
	vcpu_start(&m, 0);
	LOAD(LOCK LOCK HLT);
	expect_halt();
	assert_int_equal(counter(), 2);
}

/* init_vmcb() alone looks at the VM's switch: not KVM_SET_CPUID2, but SHUTDOWN, which means INIT. */
static void test_amd_switch_is_latched_at_creation_and_init_only(void **state)
{
	struct kvm_sregs sregs;

	(void)state;
	vcpu_start(&m, 0);
	assert_int_equal(enable(m.vm, KVM_CAP_X86_BUS_LOCK_EXIT, 0, 2), 0);
	guest_set_cpuid();
	LOAD(LOCK HLT);
	expect_halt();
	assert_int_equal(counter(), 1);
	/* a triple fault: no room in the IDT */
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.idt.limit = 0;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	LOAD("\x0f\x0b");
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_SHUTDOWN);
	LOAD(LOCK HLT);
	expect_lock_at(CODE);
	assert_int_equal(counter(), 1);
}

/* ------------------------------------------------------------------ the exit and the credit */

static void test_amd_one_exit_for_each_lock_in_front_of_it(void **state)
{
	unsigned locks = 0;

	(void)state;
	LOAD("\xb9\x64\x00" LOCK "\xe2\xf8" HLT); /* mov cx, 100; …; loop */
	for (;;) {
		assert_int_equal(run_once(&m), 0);
		if (m.run->exit_reason != KVM_EXIT_X86_BUS_LOCK)
			break;
		assert_int_equal(m.run->flags, BUS_LOCK_FLAG);
		assert_int_equal(regs_of(&m).rip, CODE + 3);
		assert_int_equal(counter(), locks);
		locks++;
	}
	assert_int_equal(locks, 100);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(m.run->flags, 0);
	assert_int_equal(counter(), 100);
}

/* complete_userspace_io comes before the look at immediate_exit */
static void test_amd_immediate_exit_gives_the_credit_and_executes_nothing(void **state)
{
	(void)state;
	LOAD(LOCK LOCK HLT);
	expect_lock_at(CODE);
	m.run->immediate_exit = 1;
	for (int n = 0; n < 3; n++) {
		assert_int_equal(run_once(&m), -EINTR);
		assert_int_equal(m.run->flags, 0);
		assert_int_equal(m.run->exit_reason, KVM_EXIT_X86_BUS_LOCK); /* the last one's */
		assert_int_equal(regs_of(&m).rip, CODE);
		assert_int_equal(counter(), 0);
	}
	m.run->immediate_exit = 0;
	/* one credit, not three */
	expect_lock_at(CODE + LOCK_SIZE);
	assert_int_equal(counter(), 1);
	expect_halt();
	assert_int_equal(counter(), 2);
}

static void test_amd_moved_rip_gets_no_credit(void **state)
{
	(void)state;
	LOAD(LOCK LOCK HLT);
	expect_lock_at(CODE);
	set_rip(CODE + LOCK_SIZE); /* the monitor has emulated it, say */
	expect_lock_at(CODE + LOCK_SIZE);
	assert_int_equal(counter(), 0);
	/* and back: where the last exit was counts, not where any was */
	set_rip(CODE);
	expect_lock_at(CODE);
	expect_lock_at(CODE + LOCK_SIZE);
	assert_int_equal(counter(), 1);
	expect_halt();
	assert_int_equal(counter(), 2);
}

static void test_amd_rip_moved_through_sync_regs_gets_no_credit(void **state)
{
	(void)state;
	LOAD(LOCK LOCK HLT);
	m.run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	expect_lock_at(CODE);
	m.run->s.regs.regs.rip = CODE + LOCK_SIZE;
	m.run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	expect_lock_at(CODE + LOCK_SIZE);
	assert_int_equal(counter(), 0);
}

static void test_amd_rip_is_compared_as_a_linear_address(void **state)
{
	struct kvm_sregs sregs;

	(void)state;
	LOAD(LOCK LOCK HLT);
	memcpy(ram + 0x3000 + CODE, LOCK HLT, LOCK_SIZE + 1);
	expect_lock_at(CODE);
	/* the same RIP, another segment */
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = 0x3000;
	sregs.cs.selector = 0x300;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	expect_lock_at(CODE);
	assert_int_equal(counter(), 0);
	/* another RIP and segment, the same address */
	sregs.cs.base = 0x2000;
	sregs.cs.selector = 0x200;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	set_rip(CODE + 0x1000);
	expect_halt();
	assert_int_equal(counter(), 1);
}

static void test_amd_reading_and_writing_back_registers_changes_nothing(void **state)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	(void)state;
	LOAD(LOCK HLT);
	expect_lock_at(CODE);
	for (int n = 0; n < 3; n++) {
		regs = regs_of(&m);
		assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
		assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
		assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	}
	expect_halt();
	assert_int_equal(counter(), 1);
}

/* The handler of an interrupt that comes first takes the credit; the instruction exits once more. */
static void test_amd_credit_is_taken_by_an_injected_handler(void **state)
{
	struct kvm_interrupt irq = { 0x20 };
	struct kvm_regs regs;

	(void)state;
	memcpy(ram + 0x20 * 4, "\x00\x30\x00\x00", 4);
	memcpy(ram + 0x3000, LOCK "\xcf", LOCK_SIZE + 1); /* …; iret */
	LOAD(LOCK HLT);
	regs = regs_of(&m);
	regs.rflags |= 0x200;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
	expect_lock_at(CODE);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_INTERRUPT, &irq), 0);
	expect_lock_at(CODE); /* again */
	assert_int_equal(counter(), 1);
	expect_halt();
	assert_int_equal(counter(), 2);
}

/* A credit that nobody takes stays: the next bus lock, whenever it is, goes through. */
static void test_amd_unused_credit_is_kept(void **state)
{
	(void)state;
	LOAD(LOCK HLT LOCK LOCK HLT);
	expect_lock_at(CODE);
	m.run->immediate_exit = 1;
	assert_int_equal(run_once(&m), -EINTR);
	m.run->immediate_exit = 0;
	set_rip(CODE + LOCK_SIZE); /* over it, too late */
	expect_halt();
	assert_int_equal(counter(), 0);
	expect_lock_at(CODE + 2 * LOCK_SIZE + 1);
	assert_int_equal(counter(), 1);
}

static void test_amd_signal_at_the_entry_leaves_the_credit(void **state)
{
	struct {
		struct kvm_signal_mask header;
		uint64_t set;
	} mask = { { .len = 8 }, 0 };
	sigset_t usr1;
	struct timespec now = { 0, 0 };

	(void)state;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SIGNAL_MASK, &mask), 0);
	LOAD(LOCK LOCK HLT);
	expect_lock_at(CODE);
	raise(SIGUSR1);
	assert_int_equal(run_once(&m), -EINTR);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_INTR);
	assert_int_equal(m.run->flags, 0);
	assert_int_equal(counter(), 0);
	assert_int_equal(sigtimedwait(&usr1, NULL, &now), SIGUSR1);
	expect_lock_at(CODE + LOCK_SIZE);
	assert_int_equal(counter(), 1);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
}

/* Single step: the bus lock first, then one #DB behind the instruction, its DR6 as the VMCB has it. */
static void test_amd_single_step_stops_behind_the_lock(void **state)
{
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP };

	(void)state;
	LOAD(LOCK "\x90" HLT);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_GUEST_DEBUG, &debug), 0);
	expect_lock_at(CODE);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_DEBUG);
	assert_int_equal(m.run->flags, 0);
	assert_int_equal(m.run->debug.arch.pc, CODE + LOCK_SIZE);
	assert_int_equal(m.run->debug.arch.exception, 1);
	assert_int_equal(m.run->debug.arch.dr6, 0xffff4ff0);
	assert_int_equal(counter(), 1);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_DEBUG);
	assert_int_equal(m.run->debug.arch.pc, CODE + LOCK_SIZE + 1);
}

static void test_amd_report_counts_a_lock_when_it_executes(void **state)
{
	uint64_t locks = report->vcpu[0].bus_locks, exits = report->vcpu[0].bus_lock_flag;

	(void)state;
	LOAD(LOCK LOCK HLT);
	expect_lock_at(CODE);
	assert_int_equal(report->vcpu[0].bus_locks - locks, 0);
	set_rip(CODE + LOCK_SIZE); /* the first is never executed */
	expect_lock_at(CODE + LOCK_SIZE);
	assert_int_equal(report->vcpu[0].bus_locks - locks, 0);
	expect_halt();
	assert_int_equal(report->vcpu[0].bus_locks - locks, 1);
	assert_int_equal(report->vcpu[0].bus_lock_flag - exits, 2);
}

/* ------------------------------------------------------------------ while an event is delivered */

#define GDT     0x7034u /* so that descriptor 8 lies in two lines */
#define IDT     0x7800u
#define VECTOR  0x21u
#define HANDLER 0x3000u

static uint8_t accessed(void)
{
	return ram[GDT + 8 + 5] & 1;
}

/* 32-bit code at CODE, IF set; the handler's code segment has never been used. */
static void protected_mode(void)
{
	static const uint64_t code = 0x00cf9a000000ffff, data = 0x00cf93000000ffff;
	const uint64_t gate = HANDLER | 8ull << 16 | 0x8e00ull << 32;
	struct kvm_segment flat = { .limit = 0xffffffff,
				    .selector = 0x10,
				    .type = 3,
				    .present = 1,
				    .s = 1,
				    .db = 1,
				    .g = 1 };
	struct kvm_regs regs = { .rip = CODE, .rflags = 0x202, .rsp = 0x8000 };
	struct kvm_sregs sregs;

	memcpy(ram + GDT + 8, &code, 8);
	memcpy(ram + GDT + 16, &data, 8);
	for (unsigned n = 0; n < 256; n++)
		memcpy(ram + IDT + 8 * n, &gate, 8);
	ram[CODE] = 0x90;
	ram[CODE + 1] = 0xf4;
	ram[HANDLER] = 0xf4;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cr0 = 0x31;
	sregs.gdt.base = GDT;
	sregs.idt.base = IDT;
	sregs.ds = sregs.es = sregs.ss = flat;
	flat.type = 11;
	sregs.cs = flat;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
}

/* svm_complete_interrupts(): it is injected again, and KVM_GET_VCPU_EVENTS shows it meanwhile. */
static void test_amd_lock_in_the_delivery_of_an_interrupt_injects_it_again(void **state)
{
	struct kvm_interrupt irq = { VECTOR };
	struct kvm_vcpu_events events;

	(void)state;
	protected_mode();
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_INTERRUPT, &irq), 0);
	for (unsigned turn = 0; turn < 2; turn++) {
		expect_lock_at(CODE);
		assert_false(accessed());
		assert_int_equal(regs_of(&m).rsp, 0x8000);
		assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_VCPU_EVENTS, &events), 0);
		assert_int_equal(events.interrupt.injected, 1);
		assert_int_equal(events.interrupt.nr, VECTOR);
		assert_int_equal(m.run->ready_for_interrupt_injection, 0);
		if (!turn) { /* no credit: moved away and back in two runs */
			m.run->immediate_exit = 1;
			set_rip(CODE + 1);
			assert_int_equal(run_once(&m), -EINTR);
			m.run->immediate_exit = 0;
			set_rip(CODE);
		}
	}
	expect_halt();
	assert_int_equal(regs_of(&m).rip, HANDLER + 1);
	assert_true(accessed());
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_VCPU_EVENTS, &events), 0);
	assert_int_equal(events.interrupt.injected, 0);
}

static void test_amd_lock_in_the_delivery_of_an_exception_injects_it_again(void **state)
{
	struct kvm_vcpu_events events;

	(void)state;
	protected_mode();
	memcpy(ram + CODE, "\x8e\xd0\xf4", 3); /* mov ss, ax: #GP(…) with AX = 0x50 */
	{
		struct kvm_regs regs = regs_of(&m);

		regs.rax = 0x1234;
		assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
	}
	expect_lock_at(CODE);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_VCPU_EVENTS, &events), 0);
	assert_int_equal(events.exception.injected, 1);
	assert_int_equal(events.exception.nr, 13);
	assert_int_equal(events.exception.has_error_code, 1);
	assert_int_equal(events.exception.error_code, 0x1234);
	expect_halt();
	assert_int_equal(regs_of(&m).rip, HANDLER + 1);
	assert_int_equal(regs_of(&m).rsp, 0x8000 - 16);
	assert_memory_equal(ram + 0x8000 - 16, "\x34\x12\0\0", 4);
}

/* INT n comes again with its instruction: nothing stays injected. */
static void test_amd_lock_in_a_software_interrupt_comes_again_with_it(void **state)
{
	struct kvm_vcpu_events events;

	(void)state;
	protected_mode();
	memcpy(ram + CODE, "\xcd\x21\xf4", 3);
	expect_lock_at(CODE);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_VCPU_EVENTS, &events), 0);
	assert_int_equal(events.interrupt.injected, 0);
	assert_int_equal(events.exception.injected, 0);
	expect_halt();
	assert_int_equal(regs_of(&m).rip, HANDLER + 1);
	assert_memory_equal(ram + 0x8000 - 12, "\x02\x10\0\0", 4); /* behind INT */
}

/* ------------------------------------------------------------------ other things of kvm_amd */

static void test_amd_shutdown_leaves_the_state_of_init(void **state)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.idt.limit = 0;
	sregs.cr0 &= ~0x60000000ull; /* CD, NW: INIT keeps them */
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	LOAD("\x66\xb8\x78\x56\x34\x12\x0f\x0b"); /* mov eax, …; ud2 */
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_SHUTDOWN);
	regs = regs_of(&m);
	assert_int_equal(regs.rax, 0);
	assert_int_equal(regs.rsp, 0);
	assert_int_equal(regs.rdx, 0xa10f11); /* CPUID.1:EAX */
	assert_int_equal(regs.rip, 0xfff0);
	assert_int_equal(regs.rflags, 2);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	assert_int_equal(sregs.cs.selector, 0xf000);
	assert_int_equal(sregs.cs.base, 0xffff0000);
	assert_int_equal(sregs.idt.limit, 0xffff);
	assert_int_equal(sregs.cr0, 0x10);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_VCPU_EVENTS, &events), 0);
	assert_int_equal(events.exception.injected, 0);
}

/* … and of a VMCB that was cleared: a credit that nobody took is gone. */
static void test_amd_shutdown_takes_the_credit_away(void **state)
{
	struct kvm_sregs sregs;

	(void)state;
	LOAD(LOCK HLT);
	memcpy(ram + 0x3000, "\x0f\x0b", 2);
	expect_lock_at(CODE);
	m.run->immediate_exit = 1;
	assert_int_equal(run_once(&m), -EINTR);
	m.run->immediate_exit = 0;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.idt.limit = 0;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	set_rip(0x3000);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_SHUTDOWN);
	LOAD(LOCK HLT);
	expect_lock_at(CODE);
}

static void test_amd_refused_entry_names_the_exit_code(void **state)
{
	struct kvm_interrupt irq = { 0x20 };

	(void)state;
	LOAD(HLT);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_INTERRUPT, &irq), 0); /* with IF clear */
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_FAIL_ENTRY);
	assert_int_equal(m.run->fail_entry.hardware_entry_failure_reason, 0xffffffff);
}

static bool listed(const uint32_t *index, uint32_t n, uint32_t wanted)
{
	for (uint32_t i = 0; i < n; i++) {
		if (index[i] == wanted)
			return true;
	}
	return false;
}

static void test_amd_guest_sees_an_amd_processor(void **state)
{
	static const uint32_t amd[] = { 0xc0010117 },
			      intel[] = { 0x33, 0x3a, 0xcf, 0x10a, 0x140, 0x345 };
	struct {
		uint32_t n, index[512];
	} list = { .n = 512 };
	struct cpuid_list cpuid = { .header.nent = 256 };

	(void)state;
	assert_int_equal(FD_IOCTL(m.kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), 0);
	for (uint32_t i = 0; i < cpuid.header.nent; i++) {
		const struct kvm_cpuid_entry2 *leaf = &cpuid.entry[i];

		if (leaf->function == 0)
			assert_memory_equal(&leaf->edx, "enti", 4);
		if (leaf->function == 1)
			assert_int_equal(leaf->eax >> 20 & 0xff, 0xa); /* family 25 */
		/* KVM hides SVM here, and with it Bus Lock Threshold; it can't do bus-lock #DB */
		if (leaf->function == 7 && leaf->index == 0)
			assert_false(leaf->ecx & 1u << 24);
		assert_int_not_equal(leaf->function, 0x8000000a);
		if (leaf->function == 0x80000001)
			assert_false(leaf->ecx & 4);
		if (leaf->function == 0x80000005)
			assert_int_equal(leaf->ecx & 0xff, 64);
	}
	assert_int_equal(FD_IOCTL(m.kvm, KVM_GET_MSR_INDEX_LIST, &list), 0);
	for (size_t i = 0; i < COUNT(amd); i++)
		assert_true(listed(list.index, list.n, amd[i]));
	for (size_t i = 0; i < COUNT(intel); i++)
		assert_false(listed(list.index, list.n, intel[i]));
}

/* svm_get_exit_info(): EXITINFO1, EXITINFO2, EXITINTINFO and its error code */
static void test_amd_emulation_failure_has_svms_exit_information(void **state)
{
	(void)state;
	/* fld dword [0x10] with DS = ffff: a device at 0x100000 */
	LOAD("\xb8\xff\xff\x8e\xd8\xd9\x06\x10\x00");
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(m.run->emulation_failure.suberror, KVM_INTERNAL_ERROR_EMULATION);
	assert_int_equal(m.run->internal.ndata, 8);
	assert_int_equal(m.run->internal.data[3], 0x400); /* NPF */
	assert_int_equal(m.run->internal.data[5], 0x100000);
	assert_int_equal(m.run->internal.data[6], 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define BARE(name) cmocka_unit_test_setup_teardown(name, setup_without_vcpu, teardown)
	const struct CMUnitTest tests[] = {
		BARE(test_amd_capability_is_there_from_6_16),
		BARE(test_amd_enabling_before_6_16_succeeds_without_effect),
		BARE(test_amd_switch_is_latched_at_creation_and_init_only),
		TEST(test_amd_one_exit_for_each_lock_in_front_of_it),
		TEST(test_amd_immediate_exit_gives_the_credit_and_executes_nothing),
		TEST(test_amd_moved_rip_gets_no_credit),
		TEST(test_amd_rip_moved_through_sync_regs_gets_no_credit),
		TEST(test_amd_rip_is_compared_as_a_linear_address),
		TEST(test_amd_reading_and_writing_back_registers_changes_nothing),
		TEST(test_amd_credit_is_taken_by_an_injected_handler),
		TEST(test_amd_unused_credit_is_kept),
		TEST(test_amd_signal_at_the_entry_leaves_the_credit),
		TEST(test_amd_single_step_stops_behind_the_lock),
		TEST(test_amd_report_counts_a_lock_when_it_executes),
		TEST(test_amd_lock_in_the_delivery_of_an_interrupt_injects_it_again),
		TEST(test_amd_lock_in_the_delivery_of_an_exception_injects_it_again),
		TEST(test_amd_lock_in_a_software_interrupt_comes_again_with_it),
		TEST(test_amd_shutdown_leaves_the_state_of_init),
		TEST(test_amd_shutdown_takes_the_credit_away),
		TEST(test_amd_refused_entry_names_the_exit_code),
		TEST(test_amd_guest_sees_an_amd_processor),
		TEST(test_amd_emulation_failure_has_svms_exit_information),
	};

	return cmocka_run_group_tests(tests, configure, NULL);
}
