// SPDX-License-Identifier: GPL-2.0-only
/* kvmclock, steal time, and TSCs that are in step: what KVM_GET_CLOCK says and what the guest reads. */
#include "tests/unit/shim_guest.h"

#include <sched.h>
#include <x86intrin.h>

#define TIME_INFO  0x2000u
#define WALL_CLOCK 0x2100u
#define STEAL      0x3000u

enum {
	MSR_TSC = 0x10,
	MSR_TSC_ADJUST = 0x3b,
	MSR_SYSTEM_TIME_NEW = 0x4b564d01,
	MSR_WALL_CLOCK_NEW = 0x4b564d00,
	MSR_STEAL_TIME = 0x4b564d03,
	MSR_ASYNC_PF = 0x4b564d02,
};

struct time_info {
	uint32_t version, pad0;
	uint64_t tsc_timestamp, system_time;
	uint32_t mul;
	int8_t shift;
	uint8_t flags, pad[2];
};

static long msr(unsigned long request, int vcpu, uint32_t index, uint64_t *value)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} list = { .header.nmsrs = 1, .entry = { .index = index, .data = *value } };
	long r = FD_IOCTL(vcpu, request, &list);

	*value = list.entry.data;
	return r;
}

static long set(uint32_t index, uint64_t value)
{
	return msr(KVM_SET_MSRS, m.vcpu, index, &value);
}

static uint64_t get(int vcpu, uint32_t index)
{
	uint64_t value = 0;

	assert_int_equal(msr(KVM_GET_MSRS, vcpu, index, &value), 1);
	return value;
}

/* HLT, so that KVM_RUN enters once and comes back. */
static void run_to_hlt(void)
{
	LOAD("\xf4");
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
}

static const struct time_info *time_info(void)
{
	return (const void *)(ram + TIME_INFO);
}

/* __pvclock_read_cycles() */
static uint64_t guest_clock(uint64_t tsc)
{
	const struct time_info *t = time_info();

	return t->system_time + pvclock_ns(tsc - t->tsc_timestamp, t->shift, t->mul);
}

static uint64_t host_clock(uint64_t *tsc)
{
	struct kvm_clock_data data;

	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_CLOCK, &data), 0);
	assert_int_equal(data.flags, ABI_CLOCK_VALID_FLAGS);
	*tsc = data.host_tsc;
	return data.clock;
}

/* ------------------------------------------------------------------ kvmclock */

static void test_pvclock_enabled_agrees_with_get_clock(void **state)
{
	uint64_t tsc, clock;

	(void)state;
	assert_int_equal(set(MSR_SYSTEM_TIME_NEW, TIME_INFO | 1), 1);
	assert_int_equal(time_info()->version, 0); /* at the next entry */
	run_to_hlt();
	assert_int_equal(time_info()->version, 2);
	assert_int_equal(time_info()->flags, 1);
	clock = host_clock(&tsc);
	/* the guest's own TSC at that moment */
	tsc += (uint64_t)backend_emu.get_tsc_offset(shim_vcpus[0]->emu);
	assert_int_equal(guest_clock(tsc), clock);
	run_to_hlt(); /* nothing has changed: nothing is written */
	assert_int_equal(time_info()->version, 2);
}

static void test_pvclock_set_clock_is_told_at_the_next_entry(void **state)
{
	struct kvm_clock_data data = { .clock = 5000000000000ull };
	uint64_t tsc, clock;

	(void)state;
	assert_int_equal(set(MSR_SYSTEM_TIME_NEW, TIME_INFO | 1), 1);
	run_to_hlt();
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_CLOCK, &data), 0);
	run_to_hlt();
	assert_int_equal(time_info()->version, 4);
	assert_int_equal(time_info()->system_time, data.clock);
	clock = host_clock(&tsc);
	assert_in_range(clock, data.clock, data.clock + 60000000000ull);
}

static void test_pvclock_junk_version_becomes_even(void **state)
{
	(void)state;
	memset(ram + TIME_INFO, 0x7f, sizeof(struct time_info));
	assert_int_equal(set(MSR_SYSTEM_TIME_NEW, TIME_INFO | 1), 1);
	run_to_hlt();
	assert_int_equal(time_info()->version, 0x7f7f7f7f + 3);
	assert_int_equal(time_info()->pad0, 0);
}

static void test_pvclock_written_tsc_is_told_again(void **state)
{
	uint64_t tsc, clock;

	(void)state;
	assert_int_equal(set(MSR_SYSTEM_TIME_NEW, TIME_INFO | 1), 1);
	run_to_hlt();
	/* the guest itself: xor edx, edx; mov eax, 12345678h; mov ecx, 10h; wrmsr; rdmsr; hlt */
	LOAD("\x66\x31\xd2\x66\xb8\x78\x56\x34\x12\x66\xb9\x10\x00\x00\x00\x0f\x30\x0f\x32\xf4");
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(time_info()->version, 4);
	clock = host_clock(&tsc);
	tsc += (uint64_t)backend_emu.get_tsc_offset(shim_vcpus[0]->emu);
	assert_in_range(tsc, 0x12345678, 0x12345678 + 600000000000ull);
	assert_int_equal(guest_clock(tsc), clock);
	/* and the adjustment shows in TSC_ADJUST, as a write of the monitor's does not */
	assert_int_not_equal(get(m.vcpu, MSR_TSC_ADJUST), 0);
}

static void test_pvclock_paused_guest_is_told_once(void **state)
{
	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_KVMCLOCK_CTRL, NULL), -EINVAL);
	assert_int_equal(set(MSR_SYSTEM_TIME_NEW, TIME_INFO | 1), 1);
	run_to_hlt();
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_KVMCLOCK_CTRL, NULL), 0);
	run_to_hlt();
	assert_int_equal(time_info()->flags, 3);
	assert_int_equal(set(MSR_SYSTEM_TIME_NEW, TIME_INFO | 1), 1);
	run_to_hlt();
	assert_int_equal(time_info()->flags, 1);
}

static void test_pvclock_wall_clock_is_when_the_clock_was_zero(void **state)
{
	uint32_t wall[3];
	struct timespec now;
	uint64_t tsc, clock;

	(void)state;
	assert_int_equal(set(MSR_WALL_CLOCK_NEW, WALL_CLOCK), 1);
	memcpy(wall, ram + WALL_CLOCK, sizeof(wall));
	clock = host_clock(&tsc);
	clock_gettime(CLOCK_REALTIME, &now);
	assert_int_equal(wall[0], 2);
	assert_in_range(wall[1] + clock / 1000000000, (uint64_t)now.tv_sec - 2,
			(uint64_t)now.tv_sec + 1);
	assert_in_range(wall[2], 0, 999999999);
}

static void test_pvclock_outside_memory_is_no_trouble(void **state)
{
	(void)state;
	assert_int_equal(set(MSR_SYSTEM_TIME_NEW, 0x40000000 | 1), 1);
	assert_int_equal(set(MSR_STEAL_TIME, 0x40000000 | 1), 1);
	assert_int_equal(set(MSR_WALL_CLOCK_NEW, 0x40000000), 1);
	run_to_hlt();
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	if (!shim_memory_fault_at(info->si_addr, context))
		abort();
	(void)signal;
}

/* As copy_to_user() has it: the monitor's memory may be anything. */
static void test_pvclock_memory_that_cannot_be_touched_is_no_trouble(void **state)
{
	static const int protections[] = { PROT_NONE, PROT_READ };
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct sigaction old;

	(void)state;
	assert_int_equal(sigaction(SIGSEGV, &action, &old), 0);
	for (size_t i = 0; i < sizeof(protections) / sizeof(protections[0]); i++) {
		assert_int_equal(mprotect(ram + TIME_INFO, 0x2000, protections[i]), 0);
		assert_int_equal(set(MSR_SYSTEM_TIME_NEW, TIME_INFO | 1), 1);
		assert_int_equal(set(MSR_STEAL_TIME, STEAL | 1), 1);
		assert_int_equal(set(MSR_WALL_CLOCK_NEW, WALL_CLOCK), 1);
		run_to_hlt();
	}
	assert_int_equal(mprotect(ram + TIME_INFO, 0x2000, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(time_info()->version, 0);
	assert_int_equal(set(MSR_SYSTEM_TIME_NEW, TIME_INFO | 1), 1);
	run_to_hlt();
	assert_int_equal(time_info()->version, 2);
	assert_int_equal(sigaction(SIGSEGV, &old, NULL), 0);
}

static void test_pvclock_scale_is_exact_to_a_part_in_a_billion(void **state)
{
	static const uint64_t hz[] = { 1000000,    999999999,  1000000000, 1000000001,
				       2000000000, 2599998765, 4000000000, 10000000000 };

	(void)state;
	for (size_t i = 0; i < sizeof(hz) / sizeof(hz[0]); i++) {
		uint32_t mul;
		int8_t shift;
		uint64_t second;

		pvclock_scale(hz[i], &shift, &mul);
		second = pvclock_ns(hz[i], shift, mul);
		assert_in_range(second, 1000000000 - 2, 1000000000);
	}
}

/* ------------------------------------------------------------------ steal time */

static void test_steal_time_reserved_bits_refused(void **state)
{
	(void)state;
	assert_int_equal(set(MSR_STEAL_TIME, STEAL | KVM_STEAL_RESERVED_MASK), 0);
	assert_int_equal(set(MSR_STEAL_TIME, STEAL | 1), 1);
	assert_int_equal(get(m.vcpu, MSR_STEAL_TIME), STEAL | 1);
	assert_int_equal(set(MSR_ASYNC_PF, 0), 1); /* only remembered */
}

static void test_steal_time_grows_by_what_the_thread_waited(void **state)
{
	struct kvm_steal_time *st = (void *)(ram + STEAL);
	struct timespec pause = { 0, 2000000 };
	uint64_t before;
	uint32_t version;

	(void)state;
	assert_int_equal(set(MSR_STEAL_TIME, STEAL | 1), 1);
	run_to_hlt();
	assert_int_equal(st->version, 2);
	assert_int_equal(st->preempted, 0);
	before = st->steal, version = st->version;
	nanosleep(&pause, NULL);
	run_to_hlt();
	assert_int_equal(st->version, version + 2);
	assert_true(st->steal >= before);
	/* the structure's other fields are left alone */
	assert_int_equal(st->flags, 0);
}

/* ------------------------------------------------------------------ TSCs */

static void test_tsc_of_a_new_vcpu_starts_at_zero_in_step_with_the_first(void **state)
{
	int second = (int)fd_ioctl(m.vm, KVM_CREATE_VCPU, 1);
	uint64_t hour = 3600ull * time_tsc_khz() * 1000;

	(void)state;
	assert_true(get(m.vcpu, MSR_TSC) < hour);
	assert_true(backend_emu.get_tsc_offset(shim_vcpus[0]->emu) ==
		    backend_emu.get_tsc_offset(shim_vcpus[1]->emu));
	fd_close(second);
}

static void test_tsc_written_a_moment_later_is_in_step(void **state)
{
	int second = (int)fd_ioctl(m.vm, KVM_CREATE_VCPU, 1);
	uint64_t day = 86400ull * time_tsc_khz() * 1000, value = day;

	(void)state;
	assert_int_equal(set(MSR_TSC, day), 1);
	assert_true(get(m.vcpu, MSR_TSC) >= day);
	/* half a second off, to the second vCPU: meant to be the same */
	value = day + time_tsc_khz() * 500ull;
	assert_int_equal(msr(KVM_SET_MSRS, second, MSR_TSC, &value), 1);
	assert_true(backend_emu.get_tsc_offset(shim_vcpus[0]->emu) ==
		    backend_emu.get_tsc_offset(shim_vcpus[1]->emu));
	value = 2 * day; /* not meant so */
	assert_int_equal(msr(KVM_SET_MSRS, second, MSR_TSC, &value), 1);
	assert_true(get(second, MSR_TSC) >= 2 * day);
	assert_true(get(m.vcpu, MSR_TSC) < 2 * day);
	assert_int_equal(get(second, MSR_TSC_ADJUST), 0);
	fd_close(second);
}

static void test_tsc_written_first_is_taken_as_it_is(void **state)
{
	uint64_t part_of_a_second = time_tsc_khz() * 700ull;

	(void)state;
	/* near to what the new vCPU has anyway, but nobody has written one yet */
	assert_int_equal(set(MSR_TSC, part_of_a_second), 1);
	assert_true(get(m.vcpu, MSR_TSC) >= part_of_a_second);
}

static void test_tsc_offset_attribute_round_trips(void **state)
{
	uint64_t offset = 123456789, read = 0;
	struct kvm_device_attr attr = { .group = KVM_VCPU_TSC_CTRL,
					.attr = KVM_VCPU_TSC_OFFSET,
					.addr = (uintptr_t)&offset };

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_HAS_DEVICE_ATTR, &attr), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_DEVICE_ATTR, &attr), 0);
	attr.addr = (uintptr_t)&read;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_DEVICE_ATTR, &attr), 0);
	assert_int_equal(read, offset);
	attr.attr = 7;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_HAS_DEVICE_ATTR, &attr), -ENXIO);
	attr.attr = 0, attr.group = 3;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_DEVICE_ATTR, &attr), -ENXIO);
}

/* ------------------------------------------------------------------ CPUID */

static const struct kvm_cpuid_entry2 *offered(uint32_t function)
{
	static struct cpuid_list list;

	list.header.nent = 256;
	assert_int_equal(FD_IOCTL(m.kvm, KVM_GET_SUPPORTED_CPUID, &list), 0);
	for (unsigned i = 0; i < list.header.nent; i++) {
		if (list.entry[i].function == function)
			return &list.entry[i];
	}
	return NULL;
}

static void test_cpuid_offers_clock_and_steal_time_without_page_faults(void **state)
{
	const struct kvm_cpuid_entry2 *e = offered(0x40000000);

	(void)state;
	assert_non_null(e);
	assert_int_equal(e->eax, 0x40000001);
	assert_memory_equal(&e->ebx, "KVMK", 4);
	assert_memory_equal(&e->ecx, "VMKV", 4);
	assert_memory_equal(&e->edx, "M\0\0\0", 4);
	e = offered(0x40000001);
	assert_non_null(e);
	/* clock, no delay, new clock, steal time, stable: and none of the others */
	assert_int_equal(e->eax, 1u << 0 | 1u << 1 | 1u << 3 | 1u << 5 | 1u << 24);
}

static void test_cpuid_enforced_hides_what_the_guest_is_not_shown(void **state)
{
	static struct cpuid_list list;
	struct kvm_enable_cap cap = { .cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .args[0] = 1 };

	(void)state;
	assert_int_equal(set(MSR_STEAL_TIME, STEAL | 1), 1);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_ENABLE_CAP, &cap), 0);
	assert_int_equal(set(MSR_STEAL_TIME, STEAL | 1), 1); /* the leaf shows it */
	list.header.nent = 0;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &list), 0);
	/* rdmsr of it: #GP, and with no IDT to speak of a shutdown or a handler at 0:0, never HLT */
	LOAD("\x66\xb9\x03\x4d\x56\x4b\x0f\x32\xf4");
	memset(ram, 0xf4, 16);
	memcpy(ram + 13 * 4, "\x00\x20\x00\x00", 4); /* #GP: HLT at 0:2000 */
	memset(ram + 0x2000, 0xf4, 4);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&m).rip, 0x2001);
}

static void test_option_off_offers_nothing(void **state)
{
	(void)state;
	shim_config.options.kvmclock = false;
	assert_null(offered(0x40000000));
	assert_int_equal(set(MSR_SYSTEM_TIME_NEW, TIME_INFO | 1), 1); /* remembered */
	run_to_hlt();
	assert_int_equal(time_info()->version, 0);
	shim_config.options.kvmclock = true;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_pvclock_enabled_agrees_with_get_clock),
		TEST(test_pvclock_set_clock_is_told_at_the_next_entry),
		TEST(test_pvclock_junk_version_becomes_even),
		TEST(test_pvclock_written_tsc_is_told_again),
		TEST(test_pvclock_paused_guest_is_told_once),
		TEST(test_pvclock_wall_clock_is_when_the_clock_was_zero),
		TEST(test_pvclock_outside_memory_is_no_trouble),
		TEST(test_pvclock_memory_that_cannot_be_touched_is_no_trouble),
		TEST(test_pvclock_scale_is_exact_to_a_part_in_a_billion),
		TEST(test_steal_time_reserved_bits_refused),
		TEST(test_steal_time_grows_by_what_the_thread_waited),
		TEST(test_tsc_of_a_new_vcpu_starts_at_zero_in_step_with_the_first),
		TEST(test_tsc_written_a_moment_later_is_in_step),
		TEST(test_tsc_written_first_is_taken_as_it_is),
		TEST(test_tsc_offset_attribute_round_trips),
		TEST(test_cpuid_offers_clock_and_steal_time_without_page_faults),
		TEST(test_cpuid_enforced_hides_what_the_guest_is_not_shown),
		TEST(test_option_off_offers_nothing),
	};

	return cmocka_run_group_tests(tests, guest_configure, NULL);
}
