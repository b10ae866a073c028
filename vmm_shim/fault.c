// SPDX-License-Identifier: GPL-2.0-only
/*
 * Deliberate faults: what a processor or a kernel could do wrong about bus locks, one at a time. Whoever
 * has a test of their monitor learns from them whether it would notice.
 */
#include "traces/report.h"
#include "vmm_shim/internal.h"

#include <errno.h>

/* Of four calls of KVM_RUN three return EINTR. */
#define STORM 4

static const struct {
	const char *name, *text;
} faults[SHIM_FAULTS] = {
	[SHIM_FAULT_NONE] = { "none", "nothing is wrong" },
	[SHIM_FAULT_NO_EXIT] = { "no-exit", "KVM_ENABLE_CAP succeeds, but bus locks do not exit" },
	[SHIM_FAULT_EXIT_TWICE] = { "exit-twice", "each bus-lock exit is returned a second time, "
						  "without the guest having run" },
	[SHIM_FAULT_NO_FLAG] = { "no-flag", "the flag KVM_RUN_X86_BUS_LOCK is missing; the exit "
					    "reason is there" },
	[SHIM_FAULT_FLAG_ALONE] = { "flag-alone", "the flag is set, the exit reason is "
						  "KVM_EXIT_INTR" },
	[SHIM_FAULT_BIT_26_ALONE] = { "bit-26-alone", "no exit of its own: the flag comes with the "
						      "next other exit" },
	[SHIM_FAULT_SKIPPED] = { "skipped",
				 "an instruction that takes a bus lock is not executed" },
	[SHIM_FAULT_REPEATED] = { "repeated", "an instruction that takes a bus lock is executed "
					      "twice" },
	[SHIM_FAULT_UNASKED] = { "unasked", "bus locks exit although KVM_ENABLE_CAP did not ask "
					    "for it" },
	[SHIM_FAULT_OTHER_VENDOR] = { "other-vendor", "the exit is in front of the instruction, as "
						      "on AMD, instead of behind it, or the other "
						      "way round" },
	[SHIM_FAULT_NO_CAPABILITY] = { "no-capability", "KVM_CAP_X86_BUS_LOCK_EXIT reads 0" },
	[SHIM_FAULT_REFUSED] = { "refused", "KVM_ENABLE_CAP fails with EINVAL" },
	[SHIM_FAULT_EINTR_STORM] = { "eintr-storm", "three of four calls of KVM_RUN return EINTR" },
	[SHIM_FAULT_ERROR_SWALLOWED] = { "error-swallowed", "where KVM_RUN fails (EINTR, too) it "
							    "returns 0, with the exit reason of "
							    "the exit before" },
};

const char *shim_fault_name(enum shim_fault fault)
{
	return faults[fault].name;
}

const char *shim_fault_text(enum shim_fault fault)
{
	return faults[fault].text;
}

static void came_about(void)
{
	if (shim_config.options.report)
		atomic_fetch_add(&shim_config.options.report->faults, 1);
}

bool fault_is(enum shim_fault fault)
{
	if (__builtin_expect(shim_config.options.fault != fault, 1))
		return false;
	came_about();
	return true;
}

void fault_configure(struct shim_options *options)
{
	struct profile profile;

	if (options->fault == SHIM_FAULT_NO_CAPABILITY)
		options->capability = false;
	if (options->fault != SHIM_FAULT_OTHER_VENDOR)
		return;
	options->vendor = options->vendor == EMU_AMD ? EMU_INTEL : EMU_AMD;
	/* what the other has not */
	options->memory = SHIM_MEMORY_DEFAULT;
	options->host_split_lock = SHIM_SPLIT_LOCK_OFF;
	options->guest_sld = options->bare_reason_74 = options->delivery_vectoring = false;
	options->lock_boundary = 64;
	profile_for(shim_options_kernel(options), &profile);
	if (options->vendor == EMU_AMD && !profile.svm_threshold)
		options->kernel = 0; /* one that has it */
}

void fault_bus_lock(const struct shim_vm *vm)
{
	bool detection = atomic_load(&vm->bus_lock_detection);

	switch (shim_config.options.fault) {
	case SHIM_FAULT_NO_EXIT:
	case SHIM_FAULT_OTHER_VENDOR:
		if (detection)
			came_about();
		break;
	case SHIM_FAULT_UNASKED:
		if (!detection)
			came_about();
		break;
	case SHIM_FAULT_SKIPPED:
	case SHIM_FAULT_REPEATED:
		came_about();
		break;
	default:
		break;
	}
}

static bool is_bus_lock(const struct shim_vcpu *vcpu, int ret)
{
	return !ret && vcpu->run->exit_reason == KVM_EXIT_X86_BUS_LOCK;
}

static int exit_twice(struct shim_vcpu *vcpu, int (*run)(struct shim_vcpu *))
{
	int ret;

	if (vcpu->fault_pending) {
		vcpu->fault_pending = false;
		vcpu->run->exit_reason = KVM_EXIT_X86_BUS_LOCK;
		vcpu->run->flags |= KVM_RUN_X86_BUS_LOCK;
		came_about();
		return 0;
	}
	ret = run(vcpu);
	vcpu->fault_pending = is_bus_lock(vcpu, ret);
	return ret;
}

static int bit_26_alone(struct shim_vcpu *vcpu, int (*run)(struct shim_vcpu *))
{
	int ret;

	do {
		ret = run(vcpu);
		vcpu->fault_pending |= is_bus_lock(vcpu, ret);
	} while (is_bus_lock(vcpu, ret));
	if (!ret && vcpu->fault_pending) {
		vcpu->fault_pending = false;
		vcpu->run->flags |= KVM_RUN_X86_BUS_LOCK;
		came_about();
	}
	return ret;
}

static int error_swallowed(struct shim_vcpu *vcpu, int (*run)(struct shim_vcpu *))
{
	uint32_t before = vcpu->run->exit_reason;
	int ret = run(vcpu);

	if (ret >= 0)
		return ret;
	vcpu->run->exit_reason = before;
	came_about();
	return 0;
}

int fault_run(struct shim_vcpu *vcpu, int (*run)(struct shim_vcpu *))
{
	int ret;

	switch (shim_config.options.fault) {
	case SHIM_FAULT_EXIT_TWICE:
		return exit_twice(vcpu, run);
	case SHIM_FAULT_BIT_26_ALONE:
		return bit_26_alone(vcpu, run);
	case SHIM_FAULT_ERROR_SWALLOWED:
		return error_swallowed(vcpu, run);
	case SHIM_FAULT_EINTR_STORM:
		if (++vcpu->fault_runs % STORM) {
			vcpu->run->exit_reason = KVM_EXIT_INTR;
			came_about();
			return -EINTR;
		}
		return run(vcpu);
	default:
		break;
	}
	ret = run(vcpu);
	if (shim_config.options.fault == SHIM_FAULT_NO_FLAG &&
	    vcpu->run->flags & KVM_RUN_X86_BUS_LOCK) {
		vcpu->run->flags &= (uint16_t)~KVM_RUN_X86_BUS_LOCK;
		came_about();
	}
	if (shim_config.options.fault == SHIM_FAULT_FLAG_ALONE && is_bus_lock(vcpu, ret)) {
		vcpu->run->exit_reason = KVM_EXIT_INTR;
		came_about();
	}
	return ret;
}
