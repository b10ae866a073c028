/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BUSLOCK_VMM_SHIM_LOCK_H
#define BUSLOCK_VMM_SHIM_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A futex mutex: no state outside itself, so that a forked child can start afresh. */
struct shim_lock {
	_Atomic uint32_t state; /* 0 free, 1 held, 2 held and wanted */
};
void shim_lock_wait(struct shim_lock *lock);
/* mutex_lock_killable(): false if `give_up` says so meanwhile. */
bool lock_take_unless(struct shim_lock *lock, bool (*give_up)(uint64_t), uint64_t opaque);
void shim_lock_wake(struct shim_lock *lock);
static inline void lock_take(struct shim_lock *lock)
{
	uint32_t expected = 0;

	if (!atomic_compare_exchange_strong_explicit(&lock->state, &expected, 1,
						     memory_order_acquire, memory_order_relaxed))
		shim_lock_wait(lock);
}
static inline void lock_drop(struct shim_lock *lock)
{
	if (atomic_exchange_explicit(&lock->state, 0, memory_order_release) == 2)
		shim_lock_wake(lock);
}

#endif
