// SPDX-License-Identifier: GPL-2.0-only
/* The VM's clock (KVM_GET_CLOCK, KVM_SET_CLOCK) and the frequency of the time-stamp counter. */
#include "vmm_shim/internal.h"
#include "vmm_shim/vclock.h"

#include <cpuid.h>
#include <errno.h>
#include <time.h>
#include <x86intrin.h>

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	if (vclock_virtual())
		return shim_now_ns() + (clock == CLOCK_REALTIME ? VCLOCK_REALTIME_NS : 0);

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

uint64_t time_boot_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

uint64_t time_wall_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

/* SDM vol. 2, CPUID leaf 15h: crystal clock and its ratio. */
static unsigned khz_from_cpuid(void)
{
	unsigned denominator, numerator, crystal, unused;

	if (__get_cpuid_max(0, NULL) < 0x15)
		return 0;
	__cpuid_count(0x15, 0, denominator, numerator, crystal, unused);
	if (!denominator || !numerator || !crystal)
		return 0;
	return (unsigned)((uint64_t)crystal * numerator / denominator / 1000);
}

/* Two looks at both clocks, ten milliseconds apart: good to a few parts in a million. */
static unsigned khz_by_measuring(void)
{
	const struct timespec wait = { 0, 10000000 };
	uint64_t tsc, ns;

	ns = clock_ns(CLOCK_MONOTONIC_RAW);
	tsc = __rdtsc();
	nanosleep(&wait, NULL);
	ns = clock_ns(CLOCK_MONOTONIC_RAW) - ns;
	tsc = __rdtsc() - tsc;
	return ns ? (unsigned)(tsc * 1000000 / ns) : 0;
}

unsigned time_tsc_khz(void)
{
	static _Atomic unsigned khz;

	if (vclock_virtual())
		return shim_config.options.tsc_khz;

	if (!atomic_load(&khz)) {
		unsigned found = khz_from_cpuid();

		atomic_store(&khz, found ? found : khz_by_measuring());
	}
	return atomic_load(&khz);
}

static long get_clock(struct shim_vm *vm, unsigned long argument)
{
	uint64_t tsc = pvclock_host_tsc();
	struct kvm_clock_data data = {
		.clock = pvclock_now(vm, tsc),
		.flags = ABI_CLOCK_TSC_STABLE,
	};

	if (shim_config.profile.clock_realtime) {
		data.flags = ABI_CLOCK_VALID_FLAGS;
		data.realtime = clock_ns(CLOCK_REALTIME);
		data.host_tsc = tsc;
	}
	return user_write(argument, &data, sizeof(data));
}

static long set_clock(struct shim_vm *vm, unsigned long argument)
{
	/* before, flags were for KVM_GET_CLOCK alone */
	uint32_t valid = shim_config.profile.clock_realtime ? ABI_CLOCK_VALID_FLAGS : 0;
	struct kvm_clock_data data;
	uint64_t now;

	if (user_read(&data, argument, sizeof(data)))
		return -EFAULT;
	if (data.flags & ~valid)
		return -EINVAL;
	if (data.flags & KVM_CLOCK_REALTIME) {
		now = clock_ns(CLOCK_REALTIME);
		if (now > data.realtime) /* the guest's clock does not go backwards */
			data.clock += now - data.realtime;
	}
	pvclock_set(vm, data.clock);
	return 0;
}

/* kvm_set_tsc_khz() on a host that cannot scale: what is within 250 ppm of the real frequency. */
static bool close_enough(uint32_t khz)
{
	uint64_t real = time_tsc_khz(), off = khz > real ? khz - real : real - khz;

	return off * 1000000 <= real * 250;
}

long time_set_tsc_khz(struct shim_vcpu *vcpu, uint32_t khz)
{
	if (!khz)
		khz = time_tsc_khz();
	if (!close_enough(khz))
		return -EINVAL;
	vcpu->tsc_khz = khz;
	return 0;
}

long time_vm_ioctl(struct shim_vm *vm, unsigned long request, unsigned long argument)
{
	switch (request) {
	case KVM_GET_CLOCK:
		return get_clock(vm, argument);
	case KVM_SET_CLOCK:
		return set_clock(vm, argument);
	case KVM_GET_TSC_KHZ:
		return vm->tsc_khz;
	case KVM_SET_TSC_KHZ:
		/* of vCPUs to come; the kernel, too, looks only then whether it can */
		vm->tsc_khz = (uint32_t)argument ? (uint32_t)argument : time_tsc_khz();
		return 0;
	default:
		return -ENOTTY;
	}
}
