// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/module/kvm*: programs look there for what no ioctl tells (force_emulation_prefix, ept …). The answer
 * is that of the kernel that is simulated, on whatever machine this is.
 */
#include "vmm_shim/module_params.h"
#include "vmm_shim/internal.h"

#include <string.h>

/* Defaults of Linux 6.12 where the simulated kernel has the thing, "off" where it has not. */
static const struct param {
	const char *module, *name, *value, *source;
} params[] = {
	/* arch/x86/kvm/x86.c */
	{ "kvm", "ignore_msrs", "N", "x86.c; unknown MSRs are #GP or the monitor's" },
	{ "kvm", "report_ignored_msrs", "Y", "x86.c" },
	{ "kvm", "min_timer_period_us", "200", "x86.c" },
	{ "kvm", "kvmclock_periodic_sync", "Y", "x86.c" },
	{ "kvm", "tsc_tolerance_ppm", "250", "x86.c; time.c: close_enough()" },
	{ "kvm", "vector_hashing", "Y", "x86.c" },
	{ "kvm", "enable_vmware_backdoor", "N", "x86.c" },
	{ "kvm", "force_emulation_prefix", "0", "x86.c; UD2 'k' 'v' 'm' is #UD" },
	{ "kvm", "pi_inject_timer", "0", "x86.c" },
	{ "kvm", "enable_pmu", "N", "x86.c; there is no PMU" },
	{ "kvm", "eager_page_split", "Y", "x86.c" },
	{ "kvm", "mitigate_smt_rsb", "N", "x86.c" },
	/* arch/x86/kvm/mmu; there are no second-level tables whose pages could be counted */
	{ "kvm", "nx_huge_pages", "N", "mmu/mmu.c: get_nx_huge_pages()" },
	{ "kvm", "nx_huge_pages_recovery_ratio", "60", "mmu/mmu.c" },
	{ "kvm", "nx_huge_pages_recovery_period_ms", "0", "mmu/mmu.c" },
	{ "kvm", "flush_on_reuse", "N", "mmu/mmu.c" },
	{ "kvm", "tdp_mmu", "N", "mmu/mmu.c" },
	{ "kvm", "mmio_caching", "Y", "mmu/spte.c" },
	/* virt/kvm/kvm_main.c */
	{ "kvm", "halt_poll_ns", "0", "kvm_main.c; a halted vCPU sleeps at once" },
	{ "kvm", "halt_poll_ns_grow", "2", "kvm_main.c" },
	{ "kvm", "halt_poll_ns_grow_start", "10000", "kvm_main.c" },
	{ "kvm", "halt_poll_ns_shrink", "2", "kvm_main.c" },
	/* arch/x86/kvm/vmx */
	{ "kvm_intel", "ept", "Y", "vmx.c" },
	{ "kvm_intel", "unrestricted_guest", "Y", "vmx.c; real mode needs no help" },
	{ "kvm_intel", "eptad", "Y", "vmx.c" },
	{ "kvm_intel", "vpid", "Y", "vmx.c" },
	{ "kvm_intel", "vnmi", "Y", "vmx.c" },
	{ "kvm_intel", "flexpriority", "N", "vmx.c" },
	{ "kvm_intel", "emulate_invalid_guest_state", "Y", "vmx.c" },
	{ "kvm_intel", "enable_apicv", "N", "vmx.c" },
	{ "kvm_intel", "enable_ipiv", "N", "vmx.c" },
	{ "kvm_intel", "nested", "N", "vmx.c; VMX is not offered to guests" },
	{ "kvm_intel", "pml", "N", "vmx.c" },
	{ "kvm_intel", "preemption_timer", "Y", "vmx.c" },
	{ "kvm_intel", "allow_smaller_maxphyaddr", "N", "vmx.c" },
	{ "kvm_intel", "dump_invalid_vmcs", "N", "vmx.c" },
	{ "kvm_intel", "sgx", "N", "sgx.c" },
	/* arch/x86/kvm/svm */
	{ "kvm_amd", "npt", "Y", "svm.c" },
	{ "kvm_amd", "nested", "0", "svm.c; SVM is not offered to guests" },
	{ "kvm_amd", "nrips", "1", "svm.c" },
	{ "kvm_amd", "vls", "0", "svm.c" },
	{ "kvm_amd", "vgif", "0", "svm.c" },
	{ "kvm_amd", "lbrv", "0", "svm.c" },
	{ "kvm_amd", "tsc_scaling", "0", "svm.c; time.c: no scaling" },
	{ "kvm_amd", "avic", "N", "svm.c" },
	{ "kvm_amd", "vnmi", "N", "svm.c" },
	{ "kvm_amd", "intercept_smi", "Y", "svm.c" },
	{ "kvm_amd", "dump_invalid_vmcb", "N", "svm.c" },
	{ "kvm_amd", "sev", "N", "sev.c" },
	{ "kvm_amd", "sev_es", "N", "sev.c" },
	{ "kvm_amd", "sev_snp", "N", "sev.c" },
};

static bool loaded(const char *module)
{
	return !strcmp(module, "kvm") || !strcmp(module, config_intel() ? "kvm_intel" : "kvm_amd");
}

static enum module_path parameter(const char *module, const char *name, char *text, size_t size)
{
	size_t length;

	for (size_t i = 0; i < sizeof(params) / sizeof(params[0]); i++) {
		if (strcmp(params[i].module, module) || strcmp(params[i].name, name))
			continue;
		length = strlen(params[i].value);
		if (length + 2 > size)
			return MODULE_ABSENT;
		memcpy(text, params[i].value, length);
		memcpy(text + length, "\n", 2);
		return MODULE_PARAMETER;
	}
	return MODULE_ABSENT;
}

enum module_path module_path(const char *path, char *text, size_t size)
{
	static const char top[] = "/sys/module/", folder[] = "/parameters";
	char module[16];
	const char *rest;
	size_t length;

	if (strncmp(path, top, sizeof(top) - 1) || strncmp(path + sizeof(top) - 1, "kvm", 3))
		return MODULE_OTHER;
	path += sizeof(top) - 1;
	length = strcspn(path, "/");
	if (length >= sizeof(module))
		return MODULE_OTHER;
	memcpy(module, path, length);
	module[length] = '\0';
	/* kvmgt and the like are nobody's here */
	if (strcmp(module, "kvm") && strncmp(module, "kvm_", 4))
		return MODULE_OTHER;
	if (!loaded(module))
		return MODULE_ABSENT;
	rest = path + length;
	if (!strcmp(rest, "") || !strcmp(rest, "/") || !strcmp(rest, folder))
		return MODULE_FOLDER;
	if (strncmp(rest, folder, sizeof(folder) - 1) || rest[sizeof(folder) - 1] != '/')
		return MODULE_OTHER;
	rest += sizeof(folder);
	return *rest ? parameter(module, rest, text, size) : MODULE_FOLDER;
}
