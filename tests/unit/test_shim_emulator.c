// SPDX-License-Identifier: GPL-2.0-only
/* The shim over the emulated processor: where both must agree. */
#include "tests/unit/shim_guest.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

static void test_emulator_msr_list_can_be_saved_and_restored(void **state)
{
	struct {
		uint32_t n, index[512];
	} list = { .n = 512 };
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} one = { .header.nmsrs = 1 };

	(void)state;
	assert_int_equal(FD_IOCTL(m.kvm, KVM_GET_MSR_INDEX_LIST, &list), 0);
	assert_in_range(list.n, 20, 200);
	for (uint32_t i = 0; i < list.n; i++) {
		one.entry.index = list.index[i];
		if (FD_IOCTL(m.vcpu, KVM_GET_MSRS, &one) != 1 ||
		    FD_IOCTL(m.vcpu, KVM_SET_MSRS, &one) != 1) {
			print_error("MSR %#x\n", list.index[i]);
			fail();
		}
	}
}

static void test_emulator_msrs_that_qemu_writes_are_accepted(void **state)
{
	static const uint32_t indices[] = { 0x10,       0x174,      0x175,      0x176,
					    0x277,      0xc0000081, 0xc0000082, 0xc0000083,
					    0xc0000084, 0xc0000102, 0x17a,      0x3b,
					    0x1a0 };
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} one = { .header.nmsrs = 1 };

	(void)state;
	for (size_t i = 0; i < sizeof(indices) / sizeof(indices[0]); i++) {
		one.entry.index = indices[i];
		one.entry.data = indices[i] == 0x277 ? 0x0007040600070406 : 0;
		if (FD_IOCTL(m.vcpu, KVM_SET_MSRS, &one) != 1) {
			print_error("MSR %#x\n", indices[i]);
			fail();
		}
	}
}

static void test_emulator_state_goes_around_unchanged(void **state)
{
	struct kvm_sregs sregs, sregs_after;
	struct kvm_regs regs = {
		.rax = 1, .rsp = 0x7000, .r15 = ~0ull, .rip = 0x1234, .rflags = 0x202
	};
	struct kvm_regs regs_after;
	struct kvm_fpu fpu, fpu_after;
	struct kvm_vcpu_events events, events_after;

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_REGS, &regs_after), 0);
	assert_memory_equal(&regs, &regs_after, sizeof(regs));
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cr8 = 3;
	sregs.fs.base = 0x12340;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs_after), 0);
	assert_memory_equal(&sregs, &sregs_after, sizeof(sregs));
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_FPU, &fpu), 0);
	memset(fpu.xmm, 0x3c, sizeof(fpu.xmm));
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_FPU, &fpu), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_FPU, &fpu_after), 0);
	assert_memory_equal(&fpu, &fpu_after, sizeof(fpu));
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_VCPU_EVENTS, &events), 0);
	events.nmi.masked = 1;
	events.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_VCPU_EVENTS, &events), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_VCPU_EVENTS, &events_after), 0);
	assert_memory_equal(&events, &events_after, sizeof(events));
}

static void test_emulator_counts_one_exit_for_each_split_lock(void **state)
{
	unsigned locks = 0;
	uint32_t counter;

	(void)state;
	LOAD("\xb9\x64\x00"             /* mov cx, 100 */
	     "\xf0\x66\xff\x06\x3e\x20" /* lock inc dword [0x203e] */
	     "\xe2\xf8"                 /* loop */
	     "\xf4");
	for (;;) {
		assert_int_equal(run_once(&m), 0);
		if (m.run->exit_reason != KVM_EXIT_X86_BUS_LOCK)
			break;
		locks++;
		assert_int_equal(m.run->flags, BUS_LOCK_FLAG);
		/* trap-like: the n-th exit comes behind the n-th increment */
		memcpy(&counter, ram + 0x203e, sizeof(counter));
		assert_int_equal(counter, locks);
	}
	assert_int_equal(locks, 100);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(m.run->flags, 0);
}

static void test_emulator_run_without_memory_behind_the_slot_is_efault(void **state)
{
	struct kvm_userspace_memory_region region = { .slot = 1,
						      .guest_phys_addr = 0x100000,
						      .memory_size = 8 * 4096 };
	uint8_t *hole =
		mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	munmap(hole, 8 * 4096);
	region.userspace_addr = (uintptr_t)hole;
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
	LOAD("\xb8\xff\xff\x8e\xd8" /* mov ax, 0xffff; mov ds, ax */
	     "\xa1\x10\x00"         /* mov ax, [0x10] = 0x100000 */
	     "\xf4");
	assert_int_equal(run_once(&m), -EFAULT);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_UNKNOWN);
	assert_int_equal(regs_of(&m).rip, 0x1005); /* on the instruction */
}

/*
 * A load whose page table, in memory that is not WB, gets its accessed bit set, and whose page is gone: bit
 * 26 of an exit that vmx_handle_exit() has an error for.
 */
static void efault_behind_a_bus_lock(unsigned kernel, long result)
{
	enum { DIRECTORY = 0x4000, FAR_AWAY = 0x80000 };
	const struct kvm_segment flat = {
		.limit = 0xffffffff, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1
	};
	/* 4 MB pages from 0; the second one's accessed bit is clear */
	const uint32_t entries[] = { 0xe3, 0x83 };
	struct kvm_sregs sregs;

	use_kernel(kernel);
	LOAD("\xa1\x00\x00\x48\x00\xf4"); /* mov eax, [4 MB + FAR_AWAY]; hlt */
	memcpy(ram + DIRECTORY, entries, sizeof(entries));
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs = sregs.ds = sregs.es = sregs.ss = flat;
	sregs.cs.type = 11;
	sregs.cr0 = 0x80000011;
	sregs.cr3 = DIRECTORY;
	sregs.cr4 = 0x10; /* PSE */
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	shim_memory_gone(ram + FAR_AWAY, 4096);
	assert_int_equal(run_once(&m), result);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_UNKNOWN);
	assert_int_equal(m.run->flags, BUS_LOCK_FLAG);
	assert_int_equal(regs_of(&m).rip, 0x1000);
	/* the bit is set now: no lock any more, and the error is told whatever the kernel */
	assert_int_equal(run_once(&m), -EFAULT);
	assert_int_equal(m.run->flags, 0);
}

static int setup_uc(void **state)
{
	int ret;

	shim_config.options.uc[0] = (struct shim_range){ 0x4000, 0x1000 };
	shim_config.options.ucs = 1;
	ret = guest_setup(state);
	shim_config.options.ucs = 0;
	return ret;
}

static int teardown_kernel(void **state)
{
	use_kernel(KERNEL_DEFAULT);
	return guest_teardown(state);
}

static void test_emulator_efault_behind_a_bus_lock_is_swallowed_by_old_kernels(void **state)
{
	(void)state;
	efault_behind_a_bus_lock(KERNEL(6, 12, 0), 0);
}

static void test_emulator_efault_behind_a_bus_lock_comes_with_the_flag(void **state)
{
	(void)state;
	efault_behind_a_bus_lock(KERNEL(6, 12, 117), -EFAULT);
}

static void test_emulator_memory_beyond_the_slots_is_mmio(void **state)
{
	(void)state;
	LOAD("\xb8\xff\xff\x8e\xd8\xa1\x10\x00\xf4");
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_MMIO);
	assert_int_equal(m.run->mmio.phys_addr, 0x100000);
	assert_int_equal(m.run->mmio.len, 2);
	m.run->mmio.data[0] = 0x34;
	m.run->mmio.data[1] = 0x12;
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&m).rax & 0xffff, 0x1234);
}

static void test_emulator_msr_of_the_shim_and_unknown_msr(void **state)
{
	(void)state;
	LOAD("\x66\xb9\xff\x02\x00\x00\x66\xb8\x06\x0c\x00\x00\x66\x31\xd2\x0f\x30" /* wrmsr 2ff, c06 */
	     "\x66\x31\xc0\x0f\x32\xf4"                                             /* rdmsr */
	     "\x66\xb9\xad\xde\x00\x00\x0f\x32\xf4"); /* rdmsr dead: #GP */
	memcpy(ram + 13 * 4, "\x00\x20\x00\x00", 4);  /* IVT 13 → 0:2000 */
	memcpy(ram + 0x2000, "\xb0\x0d\xf4", 3);      /* mov al, 13; hlt */
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&m).rax, 0xc06);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&m).rax & 0xff, 13);
	assert_int_equal(regs_of(&m).rip, 0x2003);
}

static void test_emulator_filtered_msr_of_the_processor_reaches_the_monitor(void **state)
{
	static uint8_t deny[8];
	struct kvm_msr_filter filter = {
		.ranges = { { .flags = 3, .nmsrs = 1, .base = 0x174, .bitmap = deny } },
	};

	(void)state;
	assert_int_equal(enable(m.vm, KVM_CAP_X86_USER_SPACE_MSR, 0, KVM_MSR_EXIT_REASON_FILTER),
			 0);
	assert_int_equal(FD_IOCTL(m.vm, KVM_X86_SET_MSR_FILTER, &filter), 0);
	LOAD("\x66\xb9\x74\x01\x00\x00\x0f\x32\xf4"); /* rdmsr IA32_SYSENTER_CS */
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_X86_RDMSR);
	assert_int_equal(m.run->msr.index, 0x174);
	m.run->msr.data = 0x600000005ull;
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&m).rax, 5);
	assert_int_equal(regs_of(&m).rdx, 6);
}

static void test_emulator_interrupt_is_delivered_and_window_opens(void **state)
{
	struct kvm_interrupt irq = { 0x20 };

	(void)state;
	memcpy(ram + 0x20 * 4, "\x00\x20\x00\x00", 4);
	memcpy(ram + 0x2000, "\xb0\x77\xcf", 3); /* mov al, 0x77; iret */
	LOAD("\xf4\xfb\x90\x90\xf4\xf4");        /* hlt; sti; nop; nop; hlt; hlt */
	m.run->request_interrupt_window = 1;
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_IRQ_WINDOW_OPEN);
	assert_int_equal(regs_of(&m).rip, 0x1003); /* behind the shadow of STI */
	assert_int_equal(m.run->ready_for_interrupt_injection, 1);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_INTERRUPT, &irq), 0);
	m.run->request_interrupt_window = 0;
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&m).rax & 0xff, 0x77);
	assert_int_equal(regs_of(&m).rip, 0x1005);
}

static void handler(int signal)
{
	(void)signal;
}

static void *kick_later(void *thread)
{
	struct timespec t = { 0, 20000000 };

	nanosleep(&t, NULL);
	pthread_kill(*(pthread_t *)thread, SIGUSR1);
	return NULL;
}

static void test_emulator_endless_loop_is_ended_by_a_signal(void **state)
{
	struct sigaction action = { .sa_handler = handler };
	pthread_t self = pthread_self(), kicker;

	(void)state;
	sigaction(SIGUSR1, &action, NULL);
	LOAD("\x40\xeb\xfd"); /* inc ax; jmp */
	for (unsigned i = 0; i < 5; i++) {
		pthread_create(&kicker, NULL, kick_later, &self);
		assert_int_equal(run_once(&m), -EINTR);
		assert_int_equal(m.run->exit_reason, KVM_EXIT_INTR);
		pthread_join(kicker, NULL);
		assert_in_range(regs_of(&m).rip, 0x1000, 0x1001);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_emulator_msr_list_can_be_saved_and_restored),
		TEST(test_emulator_msrs_that_qemu_writes_are_accepted),
		TEST(test_emulator_state_goes_around_unchanged),
		TEST(test_emulator_counts_one_exit_for_each_split_lock),
		TEST(test_emulator_run_without_memory_behind_the_slot_is_efault),
#define TEST_UC(name) cmocka_unit_test_setup_teardown(name, setup_uc, teardown_kernel)
		TEST_UC(test_emulator_efault_behind_a_bus_lock_is_swallowed_by_old_kernels),
		TEST_UC(test_emulator_efault_behind_a_bus_lock_comes_with_the_flag),
		TEST(test_emulator_memory_beyond_the_slots_is_mmio),
		TEST(test_emulator_msr_of_the_shim_and_unknown_msr),
		TEST(test_emulator_filtered_msr_of_the_processor_reaches_the_monitor),
		TEST(test_emulator_interrupt_is_delivered_and_window_opens),
		TEST(test_emulator_endless_loop_is_ended_by_a_signal),
	};

	return cmocka_run_group_tests(tests, guest_configure, NULL);
}
