// SPDX-License-Identifier: GPL-2.0-only
/* Descriptors, lifetimes, processes, and which errno a request gets on which descriptor. */
#include "tests/unit/shim_script.h"

#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static unsigned vms_alive(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SHIM_MAX_VMS; i++)
		n += atomic_load(&shim_vms[i]) != NULL;
	return n;
}

static unsigned vcpus_alive(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SHIM_MAX_VCPUS; i++)
		n += atomic_load(&shim_vcpus[i]) != NULL;
	return n;
}

/* The helper thread may be freeing what we look for: that takes a moment. */
static void expect_alive(unsigned vms, unsigned vcpus)
{
	for (unsigned i = 0; i < 2000; i++) {
		files_reap();
		if (vms_alive() == vms && vcpus_alive() == vcpus)
			return;
		usleep(1000);
	}
	print_error("%u VMs, %u vCPUs; expected %u, %u\n", vms_alive(), vcpus_alive(), vms, vcpus);
	fail();
}

/* Still there, and not only because nobody has had the time to free it. */
static void expect_still_alive(unsigned vms, unsigned vcpus)
{
	usleep(5000);
	expect_alive(vms, vcpus);
}

static int nothing_left(void **state)
{
	(void)state;
	expect_alive(0, 0);
	return 0;
}

/* ------------------------------------------------------------------ descriptors */

static void test_open_honours_cloexec_and_children_always_have_it(void **state)
{
	int with = shim_open(O_RDWR | O_CLOEXEC), without = shim_open(O_RDWR);
	struct machine m;

	(void)state;
	assert_int_equal(fcntl(with, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(without, F_GETFD), 0);
	machine_start(&m, "");
	assert_int_equal(fcntl(m.vm, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(m.vcpu, F_GETFD), FD_CLOEXEC);
	machine_stop(&m);
	fd_close(with);
	fd_close(without);
}

static void test_descriptors_are_recognised_by_what_they_are(void **state)
{
	struct machine m;
	int copy, moved, other;

	(void)state;
	machine_start(&m, "exit hlt\nexit hlt\nexit hlt\n");
	copy = dup(m.vcpu);
	assert_int_equal(fd_ioctl(copy, KVM_RUN, 0), 0);
	moved = fcntl(m.vm, F_DUPFD, 100);
	assert_int_equal(fd_ioctl(moved, KVM_CHECK_EXTENSION, 193), 3);
	/* a number that was a vCPU becomes something else, and back */
	other = open("/dev/null", O_RDWR);
	assert_int_equal(dup2(other, copy), copy);
	shim_descriptors_closed();
	assert_null(shim_file_get(copy));
	assert_int_equal(dup2(m.vcpu, other), other);
	assert_int_equal(fd_ioctl(other, KVM_RUN, 0), 0);
	assert_null(shim_file_get(-1));
	assert_null(shim_file_get(0));
	assert_null(shim_file_get(1000000));
	close(copy);
	fd_close(moved);
	fd_close(other);
	machine_stop(&m);
}

static void test_descriptors_are_sealed_and_can_be_polled(void **state)
{
	struct pollfd p = { .events = POLLIN | POLLOUT };
	struct machine m;

	(void)state;
	machine_start(&m, "");
	assert_int_not_equal(ftruncate(m.vcpu, 0), 0);
	assert_int_not_equal(ftruncate(m.vm, 4096), 0);
	assert_int_not_equal(write(m.vm, "x", 1), 1);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, m.vm, 0), MAP_FAILED);
	p.fd = m.vcpu;
	assert_int_equal(poll(&p, 1, 0), 1);
	assert_int_equal(p.revents, POLLIN | POLLOUT);
	machine_stop(&m);
}

static void test_kvm_run_survives_its_vcpu(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit hlt\n");
	assert_int_equal(run_once(&m), 0);
	fd_close(m.vcpu);
	fd_close(m.vm);
	files_reap();
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	m.run->immediate_exit = 1;
	munmap(m.run, 3 * 4096);
	fd_close(m.kvm);
}

/* ------------------------------------------------------------------ lifetimes */

static void test_vm_lives_as_long_as_one_of_its_vcpus(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit hlt\n");
	fd_close(m.kvm);
	fd_close(m.vm);
	expect_still_alive(1, 1);
	assert_int_equal(run_once(&m), 0);
	fd_close(m.vcpu);
	expect_alive(0, 0);
	munmap(m.run, 3 * 4096);
}

static void test_vcpu_number_stays_taken_when_its_descriptor_is_closed(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "");
	fd_close(m.vcpu);
	expect_still_alive(1, 1);
	assert_int_equal(fd_ioctl(m.vm, KVM_CREATE_VCPU, 0), -EEXIST);
	fd_close(m.vm);
	expect_alive(0, 0);
	munmap(m.run, 3 * 4096);
	fd_close(m.kvm);
}

static void test_copies_keep_an_object_alive(void **state)
{
	struct machine m;
	int copy;

	(void)state;
	vm_start(&m, "");
	copy = dup(m.vm);
	fd_close(m.vm);
	expect_still_alive(1, 0);
	assert_int_equal(fd_ioctl(copy, KVM_CHECK_EXTENSION, 193), 3);
	fd_close(copy);
	expect_alive(0, 0);
	fd_close(m.kvm);
}

static void test_close_range_without_a_word_about_each_is_noticed(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "");
	syscall(SYS_close, m.vcpu);
	syscall(SYS_close, m.vm);
	syscall(SYS_close, m.kvm);
	expect_still_alive(1, 1);
	shim_descriptors_closed();
	expect_alive(0, 0);
	munmap(m.run, 3 * 4096);
}

static void test_object_in_use_is_freed_when_its_user_is_done(void **state)
{
	struct shim_file *file;
	struct machine m;

	(void)state;
	vm_start(&m, "");
	file = shim_file_get(m.vm);
	fd_close(m.vm);
	expect_still_alive(1, 0);
	assert_int_equal(shim_ioctl(file, KVM_CHECK_EXTENSION, 193), 3);
	shim_file_put(file);
	expect_alive(0, 0);
	fd_close(m.kvm);
}

static void test_many_machines_one_after_the_other_leave_nothing(void **state)
{
	struct machine m;

	(void)state;
	for (unsigned i = 0; i < 3 * SHIM_MAX_VMS; i++) {
		machine_start(&m, "exit hlt\n");
		assert_int_equal(run_once(&m), 0);
		machine_stop(&m);
	}
	expect_alive(0, 0);
}

/* ------------------------------------------------------------------ processes */

static int in_child(int (*check)(const struct machine *), const struct machine *m, bool told)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (told)
			shim_after_fork();
		_exit(check(m));
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int child_checks(const struct machine *m)
{
	struct kvm_regs regs;
	struct machine own;

	if (fd_ioctl(m->vcpu, KVM_RUN, 0) != -EIO || FD_IOCTL(m->vcpu, KVM_GET_REGS, &regs) != -EIO)
		return 1;
	if (fd_ioctl(m->vm, KVM_CHECK_EXTENSION, 193) != -EIO)
		return 2;
	if (fd_ioctl(m->kvm, KVM_GET_API_VERSION, 0) != 12)
		return 3;
	own.vm = (int)fd_ioctl(m->kvm, KVM_CREATE_VM, 0);
	if (own.vm < 0)
		return 4;
	own.vcpu = (int)fd_ioctl(own.vm, KVM_CREATE_VCPU, 0);
	if (own.vcpu < 0 || fd_ioctl(own.vcpu, KVM_RUN, 0) != 0)
		return 5;
	fd_close(m->vcpu);
	fd_close(m->vm);
	files_reap();
	return 0;
}

static void test_forked_child_gets_eio_from_its_parents_vm_and_may_have_its_own(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "exit hlt\nexit hlt\nexit hlt\n");
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(in_child(child_checks, &m, true), 0);
	assert_int_equal(in_child(child_checks, &m, false), 0); /* not even the hook was called */
	assert_int_equal(run_once(&m), 0);
	machine_stop(&m);
}

__attribute__((noinline)) static pid_t vfork_and_close(const struct machine *m)
{
	pid_t pid = vfork();

	if (pid == 0) {
		syscall(SYS_close, m->vcpu);
		syscall(SYS_close, m->vm);
		shim_descriptors_closed();
		_exit(0);
	}
	return pid;
}

static void test_vfork_child_closing_descriptors_does_no_harm(void **state)
{
	struct machine m;
	int status;

	(void)state;
	machine_start(&m, "exit hlt\n");
	waitpid(vfork_and_close(&m), &status, 0);
	expect_still_alive(1, 1);
	assert_int_equal(run_once(&m), 0);
	machine_stop(&m);
}

/* ------------------------------------------------------------------ requests on descriptors */

static void test_request_on_the_wrong_descriptor_is_the_kernels_default(void **state)
{
	static const unsigned long system[] = { KVM_GET_API_VERSION, KVM_CREATE_VM,
						KVM_GET_SUPPORTED_CPUID, KVM_GET_MSR_INDEX_LIST,
						KVM_GET_VCPU_MMAP_SIZE };
	static const unsigned long vm[] = { KVM_CREATE_VCPU, KVM_SET_USER_MEMORY_REGION,
					    KVM_GET_DIRTY_LOG, KVM_SET_TSS_ADDR };
	static const unsigned long vcpu[] = { KVM_RUN,       KVM_GET_REGS,   KVM_SET_SREGS,
					      KVM_INTERRUPT, KVM_SET_CPUID2, KVM_TRANSLATE,
					      KVM_GET_FPU };
	struct machine m;

	(void)state;
	machine_start(&m, "");
	for (size_t i = 0; i < sizeof(system) / sizeof(*system); i++) {
		assert_int_equal(fd_ioctl(m.vm, system[i], 0), -ENOTTY);
		assert_int_equal(fd_ioctl(m.vcpu, system[i], 0), -EINVAL);
	}
	for (size_t i = 0; i < sizeof(vm) / sizeof(*vm); i++) {
		assert_int_equal(fd_ioctl(m.kvm, vm[i], 0), -EINVAL);
		assert_int_equal(fd_ioctl(m.vcpu, vm[i], 0), -EINVAL);
	}
	for (size_t i = 0; i < sizeof(vcpu) / sizeof(*vcpu); i++) {
		assert_int_equal(fd_ioctl(m.kvm, vcpu[i], 0), -EINVAL);
		assert_int_equal(fd_ioctl(m.vm, vcpu[i], 0), -ENOTTY);
	}
	/* other drivers' requests */
	assert_int_equal(fd_ioctl(m.vcpu, 0x5401, 0), -EINVAL);
	assert_int_equal(fd_ioctl(m.vm, 0x5401, 0), -ENOTTY);
	assert_int_equal(fd_ioctl(m.kvm, 0x5401, 0), -EINVAL);
	machine_stop(&m);
}

static void test_request_with_a_bad_pointer_is_efault(void **state)
{
	static const unsigned long vm[] = { KVM_SET_USER_MEMORY_REGION,
					    KVM_GET_DIRTY_LOG,
					    KVM_CLEAR_DIRTY_LOG,
					    KVM_GET_CLOCK,
					    KVM_SET_CLOCK,
					    KVM_IRQ_LINE,
					    KVM_SET_GSI_ROUTING,
					    KVM_CREATE_PIT2 };
	static const unsigned long vcpu[] = {
		KVM_GET_REGS,        KVM_SET_REGS,        KVM_GET_SREGS,
		KVM_SET_SREGS,       KVM_GET_SREGS2,      KVM_SET_SREGS2,
		KVM_GET_FPU,         KVM_SET_FPU,         KVM_GET_XSAVE,
		KVM_SET_XSAVE,       KVM_GET_XSAVE2,      KVM_GET_XCRS,
		KVM_SET_XCRS,        KVM_GET_DEBUGREGS,   KVM_SET_DEBUGREGS,
		KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, KVM_GET_MP_STATE,
		KVM_SET_MP_STATE,    KVM_GET_MSRS,        KVM_SET_MSRS,
		KVM_SET_CPUID,       KVM_SET_CPUID2,      KVM_GET_CPUID2,
		KVM_INTERRUPT,       KVM_TRANSLATE,       KVM_SET_GUEST_DEBUG,
		KVM_X86_SETUP_MCE,   KVM_X86_SET_MCE,     KVM_TPR_ACCESS_REPORTING,
	};
	struct machine m;
	char *edge;

	(void)state;
	machine_start(&m, "");
	edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(edge + 4096, 4096, PROT_NONE);
	for (size_t i = 0; i < sizeof(vm) / sizeof(*vm); i++) {
		assert_int_equal(fd_ioctl(m.vm, vm[i], 16), -EFAULT);
		assert_int_equal(FD_IOCTL(m.vm, vm[i], edge + 4094), -EFAULT);
	}
	for (size_t i = 0; i < sizeof(vcpu) / sizeof(*vcpu); i++) {
		assert_int_equal(fd_ioctl(m.vcpu, vcpu[i], 16), -EFAULT);
		assert_int_equal(FD_IOCTL(m.vcpu, vcpu[i], edge + 4094), -EFAULT);
		assert_int_equal(fd_ioctl(m.vcpu, vcpu[i], 0xffff800000000000), -EFAULT);
	}
	munmap(edge, 8192);
	machine_stop(&m);
}

static void test_request_of_a_missing_irqchip_answers_as_on_a_vm_without_one(void **state)
{
	static const struct {
		unsigned long request;
		long result;
	} vm[] = {
		{ KVM_CREATE_IRQCHIP, -ENOTTY },  { KVM_IRQ_LINE, -ENXIO },
		{ KVM_GET_IRQCHIP, -ENXIO },      { KVM_CREATE_PIT2, -ENOENT },
		{ KVM_GET_PIT2, -ENXIO },         { KVM_IOEVENTFD, -EINVAL },
		{ KVM_IRQFD, -EINVAL },           { KVM_SIGNAL_MSI, -EINVAL },
		{ KVM_SET_GSI_ROUTING, -EINVAL }, { KVM_REGISTER_COALESCED_MMIO, 0 },
		{ KVM_CREATE_DEVICE, -ENODEV },
	};
	static const unsigned long vcpu[] = { KVM_GET_LAPIC, KVM_SET_LAPIC, KVM_SET_VAPIC_ADDR,
					      KVM_GET_NESTED_STATE, KVM_KVMCLOCK_CTRL };
	char zero[1024] = { 0 };
	struct machine m;

	(void)state;
	shim_config.options.irqchip = SHIM_IRQCHIP_NONE;
	machine_start(&m, "");
	for (size_t i = 0; i < sizeof(vm) / sizeof(*vm); i++)
		assert_int_equal(FD_IOCTL(m.vm, vm[i].request, zero), vm[i].result);
	for (size_t i = 0; i < sizeof(vcpu) / sizeof(*vcpu); i++)
		assert_int_equal(FD_IOCTL(m.vcpu, vcpu[i], zero), -EINVAL);
	machine_stop(&m);
	shim_config.options.irqchip = SHIM_IRQCHIP_KERNEL;
}

static void test_request_sign_extended_by_the_caller_is_the_same(void **state)
{
	struct kvm_regs regs;
	struct machine m;

	(void)state;
	machine_start(&m, "");
	assert_int_equal(FD_IOCTL(m.vcpu, (unsigned long)(int)KVM_GET_REGS, &regs), 0);
	machine_stop(&m);
}

static void test_configure_after_the_first_descriptor_is_ebusy(void **state)
{
	struct shim_options options;
	int fd = shim_open(O_RDWR);

	(void)state;
	shim_options_default(&options);
	assert_int_equal(shim_configure(&options), -EBUSY);
	fd_close(fd);
}

static void test_script_that_is_not_understood_refuses_the_vm(void **state)
{
	int kvm = shim_open(O_RDWR);
	int level = shim_config.options.log_level;

	(void)state;
	shim_config.options.log_level = 0;
	write_script("exit hlt\nexit sideways\n");
	assert_int_equal(fd_ioctl(kvm, KVM_CREATE_VM, 0), -EINVAL);
	write_script("exit hlt colour=1\n");
	assert_int_equal(fd_ioctl(kvm, KVM_CREATE_VM, 0), -EINVAL);
	write_script("exit io data=abc\n");
	assert_int_equal(fd_ioctl(kvm, KVM_CREATE_VM, 0), -EINVAL);
	shim_config.options.log_level = level;
	fd_close(kvm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, nothing_left)
	const struct CMUnitTest tests[] = {
		TEST(test_open_honours_cloexec_and_children_always_have_it),
		TEST(test_descriptors_are_recognised_by_what_they_are),
		TEST(test_descriptors_are_sealed_and_can_be_polled),
		TEST(test_kvm_run_survives_its_vcpu),
		TEST(test_vm_lives_as_long_as_one_of_its_vcpus),
		TEST(test_vcpu_number_stays_taken_when_its_descriptor_is_closed),
		TEST(test_copies_keep_an_object_alive),
		TEST(test_close_range_without_a_word_about_each_is_noticed),
		TEST(test_object_in_use_is_freed_when_its_user_is_done),
		TEST(test_many_machines_one_after_the_other_leave_nothing),
		cmocka_unit_test(
			test_forked_child_gets_eio_from_its_parents_vm_and_may_have_its_own),
		TEST(test_vfork_child_closing_descriptors_does_no_harm),
		TEST(test_request_on_the_wrong_descriptor_is_the_kernels_default),
		TEST(test_request_with_a_bad_pointer_is_efault),
		TEST(test_request_of_a_missing_irqchip_answers_as_on_a_vm_without_one),
		TEST(test_request_sign_extended_by_the_caller_is_the_same),
		TEST(test_configure_after_the_first_descriptor_is_ebusy),
		TEST(test_script_that_is_not_understood_refuses_the_vm),
	};

	return cmocka_run_group_tests(tests, script_setup, NULL);
}
