// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is not emulated, asked of the real device as well: on each descriptor the same errno, unless
 * that kernel has the capability. No guest runs there.
 */
#include "tests/unit/ioctl_cases.h"

#include <sys/ioctl.h>

/* Calls that the device answers differently, and why. */
static const struct {
	unsigned long request;
	unsigned kind;
	const char *why;
} differences[] = {
	{ KVM_MEMORY_ENCRYPT_OP, SHIM_VCPU,
	  "ENOTTY where the kernel knows TDX, which 6.12 does not" },
};

static bool explained(unsigned long request, unsigned kind)
{
	for (size_t i = 0; i < sizeof(differences) / sizeof(differences[0]); i++) {
		if (differences[i].request == request && differences[i].kind == kind)
			return true;
	}
	return false;
}

static bool device_has(const struct ioctl_info *row, int device, int vm)
{
	return row->cap && (ioctl(device, KVM_CHECK_EXTENSION, row->cap - 1) > 0 ||
			    ioctl(vm, KVM_CHECK_EXTENSION, row->cap - 1) > 0);
}

static void test_ioctl_not_emulated_answers_as_the_device(void **state)
{
	int device = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu;
	unsigned compared = 0, skipped = 0, wrong = 0;

	(void)state;
	if (device < 0) {
		print_message("skipped: /dev/kvm: %s\n", strerror(errno));
		skip();
	}
	do
		vm = ioctl(device, KVM_CREATE_VM, 0);
	while (vm < 0 && errno == EINTR);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	assert_true(vm >= 0 && vcpu >= 0);
	const int fd[KINDS] = { device, vm, vcpu };

	for (size_t i = 0; i < ioctl_table_size; i++) {
		const struct ioctl_info *row = &ioctl_table[i];

		for (unsigned kind = 0; kind < KINDS; kind++) {
			if (row->here & 1u << kind)
				continue;
			if ((row->on & 1u << kind && device_has(row, device, vm)) ||
			    explained(row->request, kind)) {
				skipped++;
				continue;
			}
			for (unsigned n = 0; n < ARGUMENTS; n++) {
				long r = ioctl(fd[kind], row->request, arguments[n]);

				r = r < 0 ? -errno : r;
				compared++;
				if (r == expected_refusal(row, kind, n))
					continue;
				wrong++;
				print_error("%s on %s, argument %u: the device says %ld, the table "
					    "%ld\n",
					    row->name, kind_names[kind], n, r,
					    expected_refusal(row, kind, n));
			}
		}
	}
	print_message(
		"%u answers compared; %u calls of capabilities that only the device has left out\n",
		compared, skipped);
	assert_int_equal(wrong, 0);
	close(vcpu);
	close(vm);
	close(device);
}

static int setup(void **state)
{
	(void)state;
	arguments_setup();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ioctl_not_emulated_answers_as_the_device),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
