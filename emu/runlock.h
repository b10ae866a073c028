/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A fair lock whose holder can be asked to let go: first come, first served (a plain mutex starves the
 * others when one thread takes it again at once), and a waiter can be called away.
 */
#ifndef BUSLOCK_EMU_RUNLOCK_H
#define BUSLOCK_EMU_RUNLOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct run_waiter;

struct run_lock {
	_Atomic uint32_t state; /* 0 free, 1 held, 2 held and wanted */
	pthread_mutex_t queue_mutex;
	struct run_waiter *head, *tail;
	/* asks the holder to let go soon; from any thread */
	void (*nudge)(void *opaque);
	void *opaque;
};

void run_lock_init(struct run_lock *lock, void (*nudge)(void *), void *opaque);
void run_lock_destroy(struct run_lock *lock);

/*
 * Take the lock. `urgent` (changes of the VM) nudges the holder at once, otherwise every millisecond.
 * If `called` is not NULL and becomes non-zero while waiting, gives up: false. Whoever sets it calls
 * run_lock_call() then.
 */
bool run_lock_acquire(struct run_lock *lock, bool urgent, _Atomic unsigned *called);
void run_lock_release(struct run_lock *lock);
/* Wake the waiter that looks at `called`. Async-signal-safe. */
void run_lock_call(_Atomic unsigned *called);
static inline bool run_lock_wanted(const struct run_lock *lock)
{
	return atomic_load_explicit(&lock->state, memory_order_relaxed) == 2;
}

#endif
