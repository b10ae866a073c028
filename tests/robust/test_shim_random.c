// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random requests with random arguments on every kind of descriptor, over the emulator and over random
 * scripts: nothing crashes, nothing hangs, and every answer is a result or an errno that KVM gives.
 */
#include "tests/unit/shim_script.h"

#include <signal.h>
#include <sys/time.h>

#define ROUNDS   150
#define REQUESTS 400
#define RAM      (1u << 20)

static uint64_t seed = 0x9e3779b97f4a7c15ull;

static uint64_t next(void) /* xorshift64* */
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 0x2545f4914f6cdd1dull;
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)(next() >> 33) % n;
}

static void tick(int signal)
{
	(void)signal;
}

/* A number of the kind that finds mistakes. */
static uint64_t interesting(void)
{
	static const uint64_t list[] = { 0,          1,
					 2,          3,
					 4,          8,
					 16,         31,
					 32,         33,
					 63,         64,
					 255,        256,
					 4095,       4096,
					 0x7fffffff, 0x80000000,
					 0xffffffff, 1ull << 32,
					 ~0ull,      0x8000000000000000ull,
					 0xfee00900, 0xfffff000 };

	return below(3) ? list[below(sizeof(list) / sizeof(list[0]))] : next();
}

static const unsigned long requests[] = {
	KVM_GET_API_VERSION,
	KVM_CHECK_EXTENSION,
	KVM_GET_VCPU_MMAP_SIZE,
	KVM_GET_SUPPORTED_CPUID,
	KVM_GET_EMULATED_CPUID,
	KVM_GET_MSR_INDEX_LIST,
	KVM_GET_MSR_FEATURE_INDEX_LIST,
	KVM_GET_MSRS,
	KVM_X86_GET_MCE_CAP_SUPPORTED,
	KVM_ENABLE_CAP,
	KVM_GET_DIRTY_LOG,
	KVM_CLEAR_DIRTY_LOG,
	KVM_SET_TSS_ADDR,
	KVM_SET_IDENTITY_MAP_ADDR,
	KVM_SET_BOOT_CPU_ID,
	KVM_SET_NR_MMU_PAGES,
	KVM_GET_CLOCK,
	KVM_SET_CLOCK,
	KVM_GET_TSC_KHZ,
	KVM_SET_TSC_KHZ,
	KVM_X86_SET_MSR_FILTER,
	KVM_IRQ_LINE,
	KVM_SET_GSI_ROUTING,
	KVM_IOEVENTFD,
	KVM_CREATE_DEVICE,
	KVM_GET_REGS,
	KVM_SET_REGS,
	KVM_GET_SREGS,
	KVM_SET_SREGS,
	KVM_GET_SREGS2,
	KVM_SET_SREGS2,
	KVM_GET_FPU,
	KVM_SET_FPU,
	KVM_GET_XSAVE,
	KVM_SET_XSAVE,
	KVM_GET_XSAVE2,
	KVM_GET_XCRS,
	KVM_SET_XCRS,
	KVM_GET_DEBUGREGS,
	KVM_SET_DEBUGREGS,
	KVM_GET_VCPU_EVENTS,
	KVM_SET_VCPU_EVENTS,
	KVM_GET_MP_STATE,
	KVM_SET_MP_STATE,
	KVM_SET_MSRS,
	KVM_SET_CPUID2,
	KVM_GET_CPUID2,
	KVM_INTERRUPT,
	KVM_NMI,
	KVM_TRANSLATE,
	KVM_SET_GUEST_DEBUG,
	KVM_X86_SETUP_MCE,
	KVM_X86_SET_MCE,
	KVM_TPR_ACCESS_REPORTING,
	KVM_KVMCLOCK_CTRL,
	KVM_SMI,
	KVM_SET_SIGNAL_MASK,
	KVM_RUN,
	KVM_RUN,
	KVM_RUN,
	KVM_RUN,
};

static char *scratch, *ram;
static struct kvm_msr_filter no_filter;

static void check_result(unsigned long request, long r)
{
	static const int known[] = { EINVAL, EFAULT, ENOTTY, E2BIG,  EINTR,  ENOENT,
				     EEXIST, ENXIO,  EBUSY,  ENODEV, ENOMEM, EBADF };

	/* a frequency of any 32 bits that was set before, as an int */
	if (r >= 0 || request == KVM_GET_TSC_KHZ)
		return;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (r == -known[i])
			return;
	}
	print_error("request %#lx: %ld\n", request, r);
	fail();
}

/* Host addresses stay within our memory or where nothing is: the guest may write there. */
static void one_slot(struct machine *m)
{
	struct kvm_userspace_memory_region region = {
		.slot = below(5),
		.flags = below(4),
		.guest_phys_addr = (uint64_t)below(300) << 12,
		.memory_size = (uint64_t)below(64) << 12,
		.userspace_addr = below(4) ? (uintptr_t)ram + ((uint64_t)below(64) << 12) : 0x10000,
	};

	check_result(KVM_SET_USER_MEMORY_REGION,
		     FD_IOCTL(m->vm, KVM_SET_USER_MEMORY_REGION, &region));
}

static void fill_scratch(void)
{
	uint64_t *words = (uint64_t *)scratch;

	for (unsigned i = 0; i < 512; i++)
		words[i] = below(2) ? 0 : interesting();
	if (below(2)) /* a plausible count in front of a list */
		*(uint32_t *)scratch = below(8);
}

static void one_request(struct machine *m)
{
	const int fd[] = { m->kvm, m->vm, m->vcpu, m->vcpu, m->vcpu };
	unsigned long request = requests[below(sizeof(requests) / sizeof(requests[0]))];
	int where = fd[below(5)];
	bool pointer = _IOC_SIZE(request) != 0;
	unsigned long argument;

	fill_scratch();
	if (request == KVM_X86_SET_MSR_FILTER) {
		/* its pointers are inside: none, or in the scratch page */
		struct kvm_msr_filter filter = no_filter;

		filter.ranges[below(16)] =
			(struct kvm_msr_filter_range){ .flags = below(5),
						       .nmsrs = below(100),
						       .base = (uint32_t)interesting(),
						       .bitmap = (uint8_t *)scratch };
		check_result(request, FD_IOCTL(where, request, &filter));
		return;
	}
	if (request == KVM_GET_DIRTY_LOG || request == KVM_CLEAR_DIRTY_LOG) {
		((struct kvm_dirty_log *)scratch)->dirty_bitmap = scratch + 2048;
		((struct kvm_clear_dirty_log *)scratch)->dirty_bitmap = scratch + 2048;
	}
	argument = !pointer   ? below(2) ? 0 : interesting()
		     : below(8) ? (uintptr_t)scratch
			      : interesting();
	m->run->immediate_exit = !below(8);
	m->run->request_interrupt_window = !below(3);
	if (!below(10)) { /* a monitor may write anything into kvm_run */
		m->run->cr8 = below(2) ? interesting() : 0;
		m->run->kvm_dirty_regs = below(9);
		m->run->kvm_valid_regs = below(9);
	}
	check_result(request, fd_ioctl(where, request, argument));
	m->run->kvm_dirty_regs = m->run->kvm_valid_regs = 0;
	m->run->cr8 &= 15;
}

static void random_script(char *text, size_t size)
{
	static const char *const types[] = { "none",   "bus_lock", "io",           "mmio",
					     "hlt",    "rdmsr",    "wrmsr",        "shutdown",
					     "window", "debug",    "kicked",       "set_tpr",
					     "vmcall", "error",    "entry_failure" };
	size_t n = 0;

	for (unsigned i = 0; i < 40; i++) {
		const char *type = types[below(15)];
		bool access = !strcmp(type, "io") || !strcmp(type, "mmio");

		n += (size_t)snprintf(text + n, size - n,
				      "exit %s size=%u count=%u write=%u index=%#x "
				      "idt=%#x more=%u",
				      type, 1u << below(access && *type == 'i' ? 3 : 4),
				      *type == 'i' ? below(1024) : 1, below(2),
				      (uint32_t)interesting(),
				      below(8) ? 0 : 0x80000000 | below(256), !below(4));
		if (below(2))
			n += (size_t)snprintf(text + n, size - n, " word=%#x",
					      (uint32_t)interesting());
		n += (size_t)snprintf(text + n, size - n, "\nset rflags=%#x shadow=%u\n",
				      below(2) ? 0x202 : 2, below(3));
		if (!below(5))
			n += (size_t)snprintf(text + n, size - n, "fail EFAULT word=%#x\n",
					      (uint32_t)interesting());
	}
	snprintf(text + n, size - n, "repeat\n");
}

static void rounds(const struct backend *backend)
{
	static char text[32768];
	struct machine m;

	shim_config.backend = backend;
	for (unsigned i = 0; i < ROUNDS; i++) {
		static const unsigned kernels[] = { KERNEL(5, 15, 0), KERNEL(6, 1, 0),
						    KERNEL_DEFAULT, KERNEL(7, 3, 2) };

		use_kernel(kernels[below(4)]);
		random_script(text, sizeof(text));
		vm_start(&m, text);
		if (below(2))
			assert_int_equal(enable(m.vm, 193, 0, 2), 0);
		if (below(2))
			enable(m.vm, KVM_CAP_X86_USER_SPACE_MSR, 0, below(8));
		vcpu_start(&m, 0);
		for (unsigned k = 0; k < 64; k++)
			*(uint64_t *)(ram + below(RAM / 8) * 8ull) = next();
		for (unsigned k = 0; k < REQUESTS; k++) {
			if (!below(10))
				one_slot(&m);
			else
				one_request(&m);
		}
		machine_stop(&m);
	}
	use_kernel(KERNEL_DEFAULT);
}

static void test_random_requests_over_scripts_give_known_answers(void **state)
{
	(void)state;
	rounds(&backend_script);
}

static void test_random_requests_over_the_emulator_give_known_answers(void **state)
{
	(void)state;
	rounds(&backend_emu);
}

static int setup(void **state)
{
	struct sigaction action = { .sa_handler = tick };
	struct itimerval timer = { { 0, 2000 }, { 0, 2000 } };

	scratch = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	/* Guests that run for ever: a signal every two milliseconds. */
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	return scratch == MAP_FAILED || ram == MAP_FAILED || script_setup(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_requests_over_scripts_give_known_answers),
		cmocka_unit_test(test_random_requests_over_the_emulator_give_known_answers),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
