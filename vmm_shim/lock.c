// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_shim/internal.h"
#include "vmm_shim/raw.h"
#include "vmm_shim/vclock.h"

#include <linux/futex.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

_Atomic(struct shim_vm *) shim_vms[SHIM_MAX_VMS];
_Atomic(struct shim_vcpu *) shim_vcpus[SHIM_MAX_VCPUS];
_Atomic unsigned shim_vm_slots, shim_vcpu_slots;

static _Atomic unsigned readers;

/* Drepper, "Futexes are tricky": state 2 says that somebody may sleep. */
void shim_lock_wait(struct shim_lock *lock)
{
	while (atomic_exchange_explicit(&lock->state, 2, memory_order_acquire) != 0) {
		/* in virtual time its holder may be waiting for its turn, which is ours */
		if (vclock_virtual() && vclock_block(&lock->state, 2))
			continue;
		raw_syscall(SYS_futex, &lock->state, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
	}
}

bool lock_take_unless(struct shim_lock *lock, bool (*give_up)(uint64_t), uint64_t opaque)
{
	const struct timespec look_again = { 0, 10000000 };
	uint32_t expected = 0;

	if (atomic_compare_exchange_strong_explicit(&lock->state, &expected, 1,
						    memory_order_acquire, memory_order_relaxed))
		return true;
	while (atomic_exchange_explicit(&lock->state, 2, memory_order_acquire) != 0) {
		if (give_up(opaque))
			return false;
		if (vclock_virtual() && vclock_block(&lock->state, 2))
			continue;
		raw_syscall(SYS_futex, &lock->state, FUTEX_WAIT_PRIVATE, 2, &look_again, NULL, 0);
	}
	return true;
}

void shim_lock_wake(struct shim_lock *lock)
{
	if (vclock_virtual())
		vclock_wake(&lock->state);
	raw_syscall(SYS_futex, &lock->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void readers_enter(void)
{
	atomic_fetch_add(&readers, 1);
}

void readers_leave(void)
{
	atomic_fetch_sub(&readers, 1);
}

/*
 * Readers stay for microseconds and may be signal handlers, which cannot take a lock. Whoever comes in
 * after this saw zero no longer finds the object in the registry.
 */
void readers_wait(void)
{
	while (atomic_load(&readers))
		sched_yield();
}

void readers_after_fork(void)
{
	atomic_store(&readers, 0);
}
