// SPDX-License-Identifier: GPL-2.0-only
/*
 * kvmclock and steal time (Documentation/virt/kvm/x86/msr.rst, x86.c of Linux 6.12): what the guest reads
 * from its own memory, and KVM_GET_CLOCK, which says the same.
 *
 * As Linux with a stable TSC does it ("master clock"): one pair (host TSC, nanoseconds) for the whole VM, from
 * which every clock is extrapolated by the same arithmetic. So no two of them ever disagree.
 */
#include "vmm_shim/internal.h"
#include "vmm_shim/raw.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <x86intrin.h>

#define TSC_STABLE    1 /* PVCLOCK_TSC_STABLE_BIT */
#define GUEST_STOPPED 2 /* PVCLOCK_GUEST_STOPPED */

#define STEAL_PERIOD_NS 100000

/* arch/x86/include/asm/pvclock-abi.h */
struct pvclock_time {
	uint32_t version, pad0;
	uint64_t tsc_timestamp, system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags, pad[2];
} __attribute__((packed));
struct pvclock_wall {
	uint32_t version, sec, nsec;
} __attribute__((packed));
_Static_assert(sizeof(struct pvclock_time) == 32 && sizeof(struct pvclock_wall) == 12, "an ABI");

enum {
	MSR_WALL_CLOCK = 0x11,
	MSR_SYSTEM_TIME = 0x12,
	MSR_WALL_CLOCK_NEW = 0x4b564d00,
	MSR_SYSTEM_TIME_NEW = 0x4b564d01,
	MSR_STEAL_TIME = 0x4b564d03,
};

static const struct {
	uint32_t index;
	unsigned feature;
} msrs[] = {
	{ MSR_WALL_CLOCK, KVM_FEATURE_CLOCKSOURCE },
	{ MSR_SYSTEM_TIME, KVM_FEATURE_CLOCKSOURCE },
	{ MSR_WALL_CLOCK_NEW, KVM_FEATURE_CLOCKSOURCE2 },
	{ MSR_SYSTEM_TIME_NEW, KVM_FEATURE_CLOCKSOURCE2 },
	{ MSR_STEAL_TIME, KVM_FEATURE_STEAL_TIME },
};

/* ------------------------------------------------------------------ the arithmetic */

/* kvm_get_time_scale() from TSC cycles to nanoseconds: (cycles << shift) * mul >> 32 */
void pvclock_scale(uint64_t hz, int8_t *shift, uint32_t *mul)
{
	uint64_t scaled = 1000000000, base = hz;
	uint32_t base32;
	int n = 0;

	for (; base > scaled * 2 || base >> 32; n--)
		base >>= 1;
	base32 = (uint32_t)base;
	for (; base32 <= scaled; n++) {
		if (base32 & 0x80000000)
			scaled >>= 1;
		else
			base32 <<= 1;
	}
	*shift = (int8_t)n;
	*mul = (uint32_t)((scaled << 32) / base32);
}

/* pvclock_scale_delta() */
uint64_t pvclock_ns(uint64_t cycles, int8_t shift, uint32_t mul)
{
	cycles = shift < 0 ? cycles >> -shift : cycles << shift;
	return (uint64_t)((wide)cycles * mul >> 32);
}

uint64_t pvclock_host_tsc(void)
{
	return vclock_virtual() ? vclock_cycles() : __rdtsc();
}

/* get_kvmclock() */
uint64_t pvclock_now(struct shim_vm *vm, uint64_t host_tsc)
{
	const struct vm_clock *c = &vm->clock;
	uint64_t ns;

	lock_take(&vm->clock.lock);
	ns = c->master_ns + (uint64_t)c->offset;
	/* a reading from before the pair was taken */
	if (host_tsc > c->master_tsc)
		ns += pvclock_ns(host_tsc - c->master_tsc, c->shift, c->mul);
	lock_drop(&vm->clock.lock);
	return ns;
}

/* pvclock_update_vm_gtod_copy(), and kvmclock says `clock` now */
void pvclock_set(struct shim_vm *vm, uint64_t clock)
{
	struct vm_clock *c = &vm->clock;

	lock_take(&c->lock);
	c->master_ns = time_boot_ns();
	c->master_tsc = pvclock_host_tsc();
	c->offset = (int64_t)(clock - c->master_ns);
	pvclock_scale(time_tsc_khz() * 1000ull, &c->shift, &c->mul);
	atomic_fetch_add(&c->generation, 1);
	lock_drop(&c->lock);
}

/* ------------------------------------------------------------------ into the guest's memory */

/* An odd version says that the rest is being written (pvclock-abi.h). */
static int begin_update(struct shim_vm *vm, uint64_t gpa, uint32_t *version)
{
	if (vm->ops->read_guest(vm->emu, gpa, version, sizeof(*version)))
		return -EFAULT;
	*version += *version & 1; /* the first time: junk of the guest's */
	++*version;
	return vm->ops->write_guest(vm->emu, gpa, version, sizeof(*version));
}

static void end_update(struct shim_vm *vm, uint64_t gpa, uint32_t version)
{
	version++;
	vm->ops->write_guest(vm->emu, gpa, &version, sizeof(version));
}

/* kvm_guest_time_update() */
static void write_system_time(struct shim_vcpu *vcpu)
{
	struct shim_vm *vm = vcpu->vm;
	uint64_t gpa = vcpu->pv.system_time & ~1ull;
	struct pvclock_time t = { 0 };
	uint32_t version;
	/* not under the lock: it may have to wait for a vCPU that runs */
	uint64_t offset = (uint64_t)vcpu->ops->get_tsc_offset(vcpu->emu);

	lock_take(&vm->clock.lock);
	t.tsc_timestamp = vm->clock.master_tsc + offset;
	t.system_time = vm->clock.master_ns + (uint64_t)vm->clock.offset;
	t.tsc_to_system_mul = vm->clock.mul;
	t.tsc_shift = vm->clock.shift;
	lock_drop(&vm->clock.lock);
	t.flags = (uint8_t)(TSC_STABLE | (vcpu->pv.stopped ? GUEST_STOPPED : 0));
	if (begin_update(vm, gpa, &version))
		return;
	t.version = version;
	vm->ops->write_guest(vm->emu, gpa, &t, sizeof(t));
	end_update(vm, gpa, version);
	vcpu->pv.stopped = false;
}

/* kvm_write_wall_clock(): the time of day at which kvmclock was 0 */
static void write_wall_clock(struct shim_vm *vm, uint64_t gpa)
{
	uint64_t epoch = time_wall_ns() - pvclock_now(vm, pvclock_host_tsc());
	uint32_t version;
	struct pvclock_wall w = { .sec = (uint32_t)(epoch / 1000000000),
				  .nsec = (uint32_t)(epoch % 1000000000) };

	if (!gpa || begin_update(vm, gpa, &version))
		return;
	w.version = version;
	vm->ops->write_guest(vm->emu, gpa, &w, sizeof(w));
	end_update(vm, gpa, version);
}

/* ------------------------------------------------------------------ steal time */

/* How long this thread has waited for a processor: current->sched_info.run_delay. Virtual time has no
 * such thing: there a vCPU runs whenever it is its turn. */
static uint64_t run_delay(void)
{
	char text[80];
	uint64_t delay = 0;
	const char *at;
	long fd, n;

	if (vclock_virtual())
		return 0;
	fd = raw_syscall(SYS_open, "/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return 0; /* a kernel without CONFIG_SCHED_INFO */
	n = raw_syscall(SYS_read, fd, text, sizeof(text) - 1);
	raw_syscall(SYS_close, fd);
	text[n > 0 ? n : 0] = '\0';
	/* time on the processor, time spent waiting, number of slices: sched-stats.rst */
	for (at = strchr(text, ' '); at && at[1] >= '0' && at[1] <= '9'; at++)
		delay = delay * 10 + (uint64_t)(at[1] - '0');
	return delay;
}

/* record_steal_time() */
static void write_steal_time(struct shim_vcpu *vcpu)
{
	struct shim_vm *vm = vcpu->vm;
	uint64_t gpa = vcpu->pv.steal_time & KVM_STEAL_VALID_BITS, delay = run_delay();
	uint64_t version_gpa = gpa + offsetof(struct kvm_steal_time, version);
	struct kvm_steal_time st;

	if (vm->ops->read_guest(vm->emu, gpa, &st, sizeof(st)) ||
	    begin_update(vm, version_gpa, &st.version))
		return;
	st.preempted = 0;
	st.steal += delay - vcpu->pv.last_delay;
	vcpu->pv.last_delay = delay;
	vm->ops->write_guest(vm->emu, gpa, &st, offsetof(struct kvm_steal_time, u8_pad));
	end_update(vm, version_gpa, st.version);
}

/* ------------------------------------------------------------------ before the guest runs */

/* kvm_arch_vcpu_load() */
void pvclock_load(struct shim_vcpu *vcpu)
{
	/* A look costs some microseconds, which is not to be paid for each of many short runs. */
	if (vcpu->pv.steal_time & KVM_MSR_ENABLED &&
	    shim_now_ns() - vcpu->pv.steal_ns >= STEAL_PERIOD_NS)
		vcpu->pv.steal_due = true;
}

void pvclock_update(struct shim_vcpu *vcpu)
{
	unsigned generation = atomic_load(&vcpu->vm->clock.generation);

	if (vcpu->pv.system_time & 1 && vcpu->pv.generation != generation) {
		vcpu->pv.generation = generation;
		write_system_time(vcpu);
	}
	if (vcpu->pv.steal_due) {
		vcpu->pv.steal_due = false;
		vcpu->pv.steal_ns = shim_now_ns();
		write_steal_time(vcpu);
	}
}

/* KVM_REQ_CLOCK_UPDATE */
void pvclock_request(struct shim_vcpu *vcpu)
{
	vcpu->pv.generation = atomic_load(&vcpu->vm->clock.generation) - 1;
}

/* kvm_set_guest_paused() */
long pvclock_paused(struct shim_vcpu *vcpu)
{
	if (!(vcpu->pv.system_time & 1))
		return -EINVAL;
	vcpu->pv.stopped = true;
	pvclock_request(vcpu);
	return 0;
}

/* ------------------------------------------------------------------ MSRs */

/* guest_pv_has() */
bool pvclock_has(const struct shim_vcpu *vcpu, unsigned feature)
{
	const struct kvm_cpuid_entry2 *e;

	if (!vcpu->pv.enforce)
		return true;
	e = cpuid_find(vcpu, KVM_CPUID_FEATURES, 0);
	return e && e->eax >> feature & 1;
}

static bool known(const struct shim_vcpu *vcpu, uint32_t index)
{
	for (size_t i = 0; shim_config.options.kvmclock && i < sizeof(msrs) / sizeof(msrs[0]);
	     i++) {
		if (msrs[i].index == index)
			return pvclock_has(vcpu, msrs[i].feature);
	}
	return false;
}

int pvclock_msr_get(struct shim_vcpu *vcpu, uint32_t index, uint64_t *value)
{
	if (!known(vcpu, index))
		return -ENOENT;
	switch (index) {
	case MSR_WALL_CLOCK:
	case MSR_WALL_CLOCK_NEW:
		*value = vcpu->vm->clock.wall_clock;
		return 0;
	case MSR_STEAL_TIME:
		*value = vcpu->pv.steal_time;
		return 0;
	default:
		*value = vcpu->pv.system_time;
		return 0;
	}
}

int pvclock_msr_set(struct shim_vcpu *vcpu, uint32_t index, uint64_t value)
{
	if (!known(vcpu, index))
		return -ENOENT;
	switch (index) {
	case MSR_WALL_CLOCK:
	case MSR_WALL_CLOCK_NEW:
		vcpu->vm->clock.wall_clock = value;
		write_wall_clock(vcpu->vm, value);
		return 0;
	case MSR_STEAL_TIME:
		if (value & KVM_STEAL_RESERVED_MASK)
			return -EINVAL;
		vcpu->pv.steal_time = value;
		vcpu->pv.steal_due = value & KVM_MSR_ENABLED;
		return 0;
	default:
		vcpu->pv.system_time = value;
		pvclock_request(vcpu);
		/* the TSC's MSRs are looked at from now on (msr_exit.c): what is in memory depends on them */
		if (value & 1)
			atomic_store(&vcpu->vm->clock.in_use, true);
		return 0;
	}
}
