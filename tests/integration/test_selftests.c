// SPDX-License-Identifier: GPL-2.0-only
/*
 * What Linux's KVM selftests look up outside /dev/kvm, and a few of the selftests themselves where
 * BUSLOCK_SELFTESTS names the directory in which tools/selftests has built them.
 */
#include "tests/integration/process.h"

#include <sys/stat.h>

/* ------------------------------------------------------------------ /sys/module/kvm* */

static void test_module_parameter_is_the_simulated_kernels(void **state)
{
	static const struct {
		const char *how, *path, *text;
	} rows[] = {
		{ "--cpu=intel", "kvm/parameters/force_emulation_prefix", "0\n" },
		{ "--cpu=intel", "kvm_intel/parameters/unrestricted_guest", "Y\n" },
		{ "--cpu=amd", "kvm_amd/parameters/npt", "Y\n" },
		{ "--cpu=amd", "kvm/parameters/enable_pmu", "N\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct output output;
		char path[128];

		snprintf(path, sizeof(path), "/sys/module/%s", rows[i].path);
		char *const argv[] = {
			BUILT("buslock"), "exec", (char *)rows[i].how, "--", "cat", path, NULL
		};

		run_process(argv, 30, &output);
		if (output.status)
			fail_msg("%s: status %d: %s", path, output.status, output.errors);
		assert_string_equal(output.text, rows[i].text);
		output_free(&output);
	}
}

static void test_module_of_the_other_vendor_is_not_there(void **state)
{
	static const char *const commands[] = {
		"! cat /sys/module/kvm_amd/parameters/npt",
		"! cat /sys/module/kvm/parameters/no_such_parameter",
		"! test -e /sys/module/kvm_amd",
		"test -d /sys/module/kvm_intel",
		"test -f /sys/module/kvm_intel/parameters/ept",
		"stat -c %a-%F /sys/module/kvm_intel/parameters/ept | grep -q '^444-regular'",
		"! sh -c 'echo Y >/sys/module/kvm/parameters/ignore_msrs'",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		char *const argv[] = { BUILT("buslock"),    "exec", "--", "sh", "-c",
				       (char *)commands[i], NULL };
		struct output output;

		run_process(argv, 30, &output);
		if (output.status)
			fail_msg("%s: status %d: %s", commands[i], output.status, output.errors);
		output_free(&output);
	}
}

/* ------------------------------------------------------------------ selftests */

/* Those that end in a few seconds, one for each thing that they are about. */
static const char *const bounded[] = {
	"cr4_cpuid_sync_test",     "cpuid_test",          "debug_regs",
	"get_msr_index_features",  "guest_print_test",    "kvm_clock_test",
	"kvm_binary_stats_test",   "max_vcpuid_cap_test", "set_boot_cpu_id",
	"set_sregs_test",          "steal_time",          "userspace_io_test",
	"userspace_msr_exit_test",
};

/* In DIR/VERSION/stock or in a sub-folder of it, "" if it is not there. */
static void find_program(const char *directory, const char *name, char *path, size_t size)
{
	static const char *const folders[] = { "6.12/stock/", "6.12/stock/x86_64/",
					       "6.12/stock/x86/", "6.1/stock/",
					       "6.1/stock/x86_64/" };
	struct stat status;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(path, size, "%s/%s%s", directory, folders[i], name);
		if (!stat(path, &status) && S_ISREG(status.st_mode))
			return;
	}
	*path = '\0';
}

/* They ask the host's own CPUID for the vendor. */
static const char *host_cpu(void)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[256];
	bool amd = false;

	while (f && fgets(line, sizeof(line), f))
		amd |= strstr(line, "AuthenticAMD") != NULL;
	if (f)
		fclose(f);
	return amd ? "--cpu=amd" : "--cpu=intel";
}

static void test_linux_selftests_pass(void **state)
{
	const char *directory = getenv("BUSLOCK_SELFTESTS");
	unsigned found = 0;

	(void)state;
	if (!directory) {
		print_message(
			"skipped: BUSLOCK_SELFTESTS=DIR is not set; tools/selftests builds them\n");
		skip();
	}
	for (size_t i = 0; i < sizeof(bounded) / sizeof(bounded[0]); i++) {
		struct output output;
		char path[512];

		find_program(directory, bounded[i], path, sizeof(path));
		if (!*path)
			continue;
		char *const argv[] = {
			BUILT("buslock"), "exec", (char *)host_cpu(), "--", path, NULL
		};

		found++;
		run_process(argv, 60, &output);
		if (output.status)
			fail_msg("%s: status %d: %s", path, output.status, output.errors);
		output_free(&output);
	}
	if (!found)
		fail_msg("BUSLOCK_SELFTESTS=%s: none of the selftests is there; tools/selftests "
			 "--directory %s --no-run builds them",
			 directory, directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_module_parameter_is_the_simulated_kernels),
		cmocka_unit_test(test_module_of_the_other_vendor_is_not_there),
		cmocka_unit_test(test_linux_selftests_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
