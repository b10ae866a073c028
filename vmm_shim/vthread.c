// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads in virtual time. A new one begins at its maker's time. Only one runs at a time, so locks are
 * free unless their owner has given up its turn with them; who waits for one gives up its own.
 */
#include "vmm_shim/vtime.h"

#include <errno.h>
#include <limits.h>
#include <semaphore.h>
#include <stdint.h>

static pthread_key_t ending;
static pthread_once_t ending_once = PTHREAD_ONCE_INIT;
static bool ending_works;

/* The last of a thread's destructors: those of others may still call us. */
static void at_end(void *rounds)
{
	uintptr_t left = (uintptr_t)rounds;

	if (left > 1)
		pthread_setspecific(ending, (void *)(left - 1));
	else
		vclock_thread_leave();
}

static void make_key(void)
{
	ending_works = !pthread_key_create(&ending, at_end);
}

static void *begin(void *opaque)
{
	struct vthread *t = opaque;
	void *(*start)(void *) = t->start;
	void *argument = t->argument;

	vclock_thread_enter(t);
	pthread_setspecific(ending, (void *)(uintptr_t)PTHREAD_DESTRUCTOR_ITERATIONS);
	signals_restore(t->mask);
	return start(argument);
}

/* The tables know of it; signals come when it has its first turn. */
static struct vthread *announce(void *(*start)(void *), void *argument, kernel_sigset mask)
{
	struct vthread *self = vclock_begin(), *t;

	if (!self)
		return NULL;
	t = vclock_thread_new();
	if (t) {
		t->mask = t->lets = mask;
		t->start = start;
		t->argument = argument;
	}
	vclock_end(self);
	return t;
}

int vthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
		   void *argument)
{
	kernel_sigset mask, tables;
	struct vthread *t;
	int r;

	pthread_once(&ending_once, make_key);
	/* The thread inherits it. And no handler may give up the turn to a thread that does not exist. */
	mask = signals_block();
	t = ending_works ? announce(start, argument, mask) : NULL;
	if (!t) {
		signals_restore(mask);
		return ENOSYS;
	}
	r = pthread_create(thread, attributes, begin, t);
	tables = vclock_disturb();
	if (r)
		vclock_thread_gone(t);
	else
		t->handle = *thread;
	t->has_handle = !r;
	vclock_disturbed(tables);
	signals_restore(mask);
	return r;
}

int vthread_join(pthread_t thread, void **value)
{
	struct vthread *self = vclock_begin();

	if (!self)
		return ENOSYS;
	for (unsigned i = 0; i < vsched.tasks; i++) {
		struct vthread *t = &vthreads[i];
		const struct vwait w = {
			.deadline = VSCHED_NEVER, .address = t, .signals = true, .cancellable = true
		};

		while (t != self && vsched.task[i].state != VTASK_FREE && t->has_handle &&
		       pthread_equal(t->handle, thread)) {
			if (vclock_wait(self, &w) != VWAKE_LOOK)
				continue;
			vclock_end(self); /* a handler runs; the wait goes on */
			self = vclock_begin();
			if (!self)
				return ENOSYS;
		}
	}
	vclock_end(self);
	return pthread_join(thread, value); /* which is about to end */
}

/* ------------------------------------------------------------------ locks */

int vthread_mutex_lock(pthread_mutex_t *mutex, uint64_t deadline)
{
	const struct timespec past = { 0, 0 };
	const struct vwait w = { .deadline = deadline, .address = mutex, .signals = true };
	struct vthread *self;
	enum vwake wake;

	for (;;) {
		/* tells more than pthread_mutex_trylock(): a deadlock, an owner that died */
		int r = pthread_mutex_timedlock(mutex, &past);

		if (r != ETIMEDOUT)
			return r;
		self = vclock_begin();
		if (!self)
			return ENOSYS;
		wake = vclock_wait(self, &w);
		vclock_end(self);
		if (wake == VWAKE_DEADLINE)
			return ETIMEDOUT;
	}
}

/* A signal's handler may run meanwhile; the caller then is woken without reason, as POSIX allows. */
int vthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline)
{
	const struct vwait w = {
		.deadline = deadline, .address = cond, .signals = true, .cancellable = true
	};
	struct vthread *self = vclock_begin();
	enum vwake wake;
	bool cancelled;
	int r;

	if (!self)
		return ENOSYS;
	r = pthread_mutex_unlock(mutex);
	if (r) {
		vclock_end(self);
		return r;
	}
	vsched_wake_one(&vsched, mutex);
	wake = vclock_wait(self, &w);
	cancelled = self->act;
	self->act = false;
	vclock_end(self);
	r = vthread_mutex_lock(mutex, VSCHED_NEVER);
	if (cancelled) /* clean-up handlers find the mutex locked */
		pthread_testcancel();
	return r ? r : wake == VWAKE_DEADLINE ? ETIMEDOUT : 0;
}

int vthread_sem_wait(void *semaphore, uint64_t deadline)
{
	const struct vwait w = {
		.deadline = deadline, .address = semaphore, .signals = true, .cancellable = true
	};
	struct vthread *self;
	enum vwake wake;

	while (sem_trywait(semaphore)) {
		bool again = true;

		if (errno != EAGAIN)
			return errno;
		self = vclock_begin();
		if (!self)
			return ENOSYS;
		wake = vclock_wait(self, &w);
		if (wake == VWAKE_LOOK)
			again = signals_restart(self->mask);
		vclock_end(self);
		if (wake == VWAKE_DEADLINE)
			return ETIMEDOUT;
		if (!again)
			return EINTR;
	}
	return 0;
}
