/* SPDX-License-Identifier: GPL-2.0-only */
#include "emu/runlock.h"

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NS 1000000

struct run_waiter {
	struct run_waiter *next;
	_Atomic uint32_t *word; /* futex: 0 waiting; the `called` word, or `own` */
	_Atomic uint32_t own;
	_Atomic bool granted;
};

enum { FREE, HELD, WANTED };

/* ThreadSanitizer in a monitor's process sees our calls of malloc and memcpy, but not our atomics. */
void __tsan_acquire(void *address) __attribute__((weak));
void __tsan_release(void *address) __attribute__((weak));

void run_lock_init(struct run_lock *lock, void (*nudge)(void *), void *opaque)
{
	*lock = (struct run_lock){ .nudge = nudge, .opaque = opaque };
	pthread_mutex_init(&lock->queue_mutex, NULL);
}

void run_lock_destroy(struct run_lock *lock)
{
	pthread_mutex_destroy(&lock->queue_mutex);
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value, long ns)
{
	struct timespec timeout = { .tv_nsec = ns };
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &timeout, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
	int saved = errno;
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	errno = saved;
}

/* Joins the queue unless the lock came free meanwhile. */
static bool enqueue(struct run_lock *lock, struct run_waiter *me)
{
	bool taken = false;
	pthread_mutex_lock(&lock->queue_mutex);
	if (atomic_exchange(&lock->state, WANTED) == FREE) {
		/* nobody can be queued when the lock is free: ours */
		atomic_store(&lock->state, HELD);
		taken = true;
	} else {
		if (lock->tail)
			lock->tail->next = me;
		else
			lock->head = me;
		lock->tail = me;
	}
	pthread_mutex_unlock(&lock->queue_mutex);
	return taken;
}

/* Leaves the queue; false if the lock was granted in that moment. */
static bool give_up(struct run_lock *lock, struct run_waiter *me)
{
	pthread_mutex_lock(&lock->queue_mutex);
	bool granted = atomic_load(&me->granted);
	if (!granted) {
		struct run_waiter **link = &lock->head, *previous = NULL;
		while (*link != me) {
			previous = *link;
			link = &(*link)->next;
		}
		*link = me->next;
		if (lock->tail == me)
			lock->tail = previous;
		/* an empty queue behind WANTED only costs the holder one slow release */
	}
	pthread_mutex_unlock(&lock->queue_mutex);
	return !granted;
}

/* Only the first in line nudges: slices stay a millisecond however many wait. */
static void nudge_holder(struct run_lock *lock, const struct run_waiter *me)
{
	pthread_mutex_lock(&lock->queue_mutex);
	bool first = lock->head == me;
	pthread_mutex_unlock(&lock->queue_mutex);
	if (first && lock->nudge)
		lock->nudge(lock->opaque);
}

static bool acquire(struct run_lock *lock, bool urgent, _Atomic unsigned *called)
{
	uint32_t expected = FREE;
	if (atomic_compare_exchange_strong(&lock->state, &expected, HELD))
		return true;
	struct run_waiter me = { 0 };
	me.word = called ? called : &me.own;
	if (enqueue(lock, &me))
		return true;
	if (urgent && lock->nudge)
		lock->nudge(lock->opaque);
	for (;;) {
		if (atomic_load(&me.granted))
			return true;
		if (called && atomic_load(called))
			return !give_up(lock, &me);
		/* the grant may come between the look and the wait: hence also a time limit */
		futex_wait(me.word, 0, SLICE_NS);
		if (!atomic_load(&me.granted))
			nudge_holder(lock, &me);
	}
}

bool run_lock_acquire(struct run_lock *lock, bool urgent, _Atomic unsigned *called)
{
	bool taken = acquire(lock, urgent, called);
	if (taken && __tsan_acquire)
		__tsan_acquire(lock);
	return taken;
}

void run_lock_release(struct run_lock *lock)
{
	uint32_t expected = HELD;
	if (__tsan_release)
		__tsan_release(lock);
	if (atomic_compare_exchange_strong(&lock->state, &expected, FREE))
		return;
	pthread_mutex_lock(&lock->queue_mutex);
	struct run_waiter *next = lock->head;
	if (!next) {
		atomic_store(&lock->state, FREE);
	} else {
		lock->head = next->next;
		if (!lock->head) {
			lock->tail = NULL;
			atomic_store(&lock->state, HELD);
		}
		/* once granted, `next` may be gone from its thread's stack at any time */
		_Atomic uint32_t *word = next->word;
		atomic_store(&next->granted, true);
		futex_wake(word);
	}
	pthread_mutex_unlock(&lock->queue_mutex);
}

void run_lock_call(_Atomic unsigned *called)
{
	futex_wake(called);
}
