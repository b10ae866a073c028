// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads, and how they wait for each other. In real time all go on to the C library; in virtual time,
 * too, as long as nobody has to wait: a lock that is free is taken there.
 */
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "vmm_shim/interpose.h"
#include "vmm_shim/shim.h"
#include "vmm_shim/vtime.h"

/* ------------------------------------------------------------------ threads */

/*
 * The shim's helper thread is made by the first definition, which may be a sanitizer's in the program: it
 * has to know every thread that runs its malloc() or close(). From there it comes here, and is no
 * thread of the monitor's.
 */
static __thread bool own_thread __attribute__((tls_model("initial-exec")));

static int create_own(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
		      void *argument)
{
	void *found = dlsym(RTLD_DEFAULT, "pthread_create");
	__typeof__(next.pthread_create) first = next.pthread_create;
	int r;

	if (found)
		memcpy(&first, &found, sizeof(first)); /* ISO C has no such conversion */
	own_thread = true;
	r = first(thread, attributes, start, argument);
	own_thread = false;
	return r;
}

void interpose_thread_install(void)
{
	shim_helper_create = create_own;
}

int interpose_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			     void *(*start)(void *), void *argument)
{
	int r = vclock_virtual() && !own_thread
			? vthread_create(thread, attributes, start, argument)
			: ENOSYS;

	if (r != ENOSYS)
		return r;
	return INTERPOSE_PASS(pthread_create, ENOSYS, thread, attributes, start, argument);
}

int interpose_pthread_join(pthread_t thread, void **value)
{
	int r = vclock_virtual() ? vthread_join(thread, value) : ENOSYS;

	if (r != ENOSYS)
		return r;
	return INTERPOSE_PASS(pthread_join, ENOSYS, thread, value);
}

int interpose_pthread_cancel(pthread_t thread)
{
	int r = INTERPOSE_PASS(pthread_cancel, ENOSYS, thread);

	if (!r && vclock_virtual())
		vclock_cancel(thread);
	return r;
}

/* ------------------------------------------------------------------ mutexes */

/* 0, EBUSY or an error that waiting would give as well */
static int try_lock(pthread_mutex_t *mutex)
{
	return pthread_mutex_trylock(mutex);
}

int interpose_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	int r;

	/* before there is a C library to ask there is one thread */
	if (!vclock_virtual())
		return INTERPOSE_PASS(pthread_mutex_lock, 0, mutex);
	r = try_lock(mutex);
	if (r == EBUSY)
		r = vthread_mutex_lock(mutex, VSCHED_NEVER);
	return r == ENOSYS ? next.pthread_mutex_lock(mutex) : r;
}

int interpose_pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *time)
{
	int r;

	if (!vclock_virtual())
		return INTERPOSE_PASS(pthread_mutex_timedlock, ENOSYS, mutex, time);
	r = try_lock(mutex);
	if (r == EBUSY)
		r = vvalid(time) ? vthread_mutex_lock(mutex, vcall_deadline(CLOCK_REALTIME, time))
				 : EINVAL;
	return r == ENOSYS ? next.pthread_mutex_timedlock(mutex, time) : r;
}

int interpose_pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock,
				      const struct timespec *time)
{
	int r;

	if (!vclock_virtual())
		return INTERPOSE_PASS(pthread_mutex_clocklock, ENOSYS, mutex, clock, time);
	r = try_lock(mutex);
	if (r == EBUSY)
		r = vvalid(time) ? vthread_mutex_lock(mutex, vcall_deadline(clock, time)) : EINVAL;
	return r == ENOSYS ? next.pthread_mutex_clocklock(mutex, clock, time) : r;
}

int interpose_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	int r = INTERPOSE_PASS(pthread_mutex_unlock, 0, mutex);

	if (vclock_virtual())
		vclock_wake(mutex);
	return r;
}

/* ------------------------------------------------------------------ condition variables */

/* Which clock pthread_cond_timedwait() goes by: bit 1 of __wrefs (glibc, nptl/pthread_cond_init.c). */
static clockid_t clock_of(const pthread_cond_t *cond)
{
	return cond->__data.__wrefs & 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

int interpose_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	int r = vclock_virtual() ? vthread_cond_wait(cond, mutex, VSCHED_NEVER) : ENOSYS;

	if (r != ENOSYS)
		return r;
	return INTERPOSE_PASS(pthread_cond_wait, ENOSYS, cond, mutex);
}

static int cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
			   const struct timespec *time)
{
	if (!vvalid(time))
		return EINVAL;
	return vthread_cond_wait(cond, mutex, vcall_deadline(clock, time));
}

int interpose_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
				     const struct timespec *time)
{
	int r = vclock_virtual() ? cond_wait_until(cond, mutex, clock_of(cond), time) : ENOSYS;

	if (r != ENOSYS)
		return r;
	return INTERPOSE_PASS(pthread_cond_timedwait, ENOSYS, cond, mutex, time);
}

int interpose_pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
				     const struct timespec *time)
{
	int r = vclock_virtual() ? cond_wait_until(cond, mutex, clock, time) : ENOSYS;

	if (r != ENOSYS)
		return r;
	return INTERPOSE_PASS(pthread_cond_clockwait, ENOSYS, cond, mutex, clock, time);
}

int interpose_pthread_cond_signal(pthread_cond_t *cond)
{
	if (vclock_virtual() && vclock_wake_address(cond, false))
		return 0;
	return INTERPOSE_PASS(pthread_cond_signal, 0, cond);
}

int interpose_pthread_cond_broadcast(pthread_cond_t *cond)
{
	if (vclock_virtual())
		vclock_wake_address(cond, true);
	return INTERPOSE_PASS(pthread_cond_broadcast, 0, cond);
}

/* ------------------------------------------------------------------ semaphores */

static int failed(int error)
{
	if (!error)
		return 0;
	errno = error;
	return -1;
}

int interpose_sem_wait(sem_t *semaphore)
{
	int r = vclock_virtual() ? vthread_sem_wait(semaphore, VSCHED_NEVER) : ENOSYS;

	if (r != ENOSYS)
		return failed(r);
	return INTERPOSE_PASS(sem_wait, failed(ENOSYS), semaphore);
}

static int sem_wait_until(sem_t *semaphore, clockid_t clock, const struct timespec *time)
{
	if (!vvalid(time))
		return EINVAL;
	return vthread_sem_wait(semaphore, vcall_deadline(clock, time));
}

int interpose_sem_timedwait(sem_t *semaphore, const struct timespec *time)
{
	int r = vclock_virtual() ? sem_wait_until(semaphore, CLOCK_REALTIME, time) : ENOSYS;

	if (r != ENOSYS)
		return failed(r);
	return INTERPOSE_PASS(sem_timedwait, failed(ENOSYS), semaphore, time);
}

int interpose_sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *time)
{
	int r = vclock_virtual() ? sem_wait_until(semaphore, clock, time) : ENOSYS;

	if (r != ENOSYS)
		return failed(r);
	return INTERPOSE_PASS(sem_clockwait, failed(ENOSYS), semaphore, clock, time);
}

int interpose_sem_post(sem_t *semaphore)
{
	int r = INTERPOSE_PASS(sem_post, failed(ENOSYS), semaphore);

	if (!r && vclock_virtual())
		vclock_wake(semaphore);
	return r;
}

/* ------------------------------------------------------------------ futex(2) */

long interpose_sys_futex(void *word, long operation, long value, long timeout, long word2,
			 long value3)
{
	int r = -ENOSYS;

	if (vclock_virtual())
		r = vcall_futex(word, (int)operation, (uint32_t)value,
				(const struct timespec *)timeout);
	if (r != -ENOSYS)
		return raw_result(r);
	return raw_result(RAW(SYS_futex, word, operation, value, timeout, word2, value3));
}

/* ------------------------------------------------------------------ under these names */

INTERPOSE(interpose_pthread_create, pthread_create);
INTERPOSE(interpose_pthread_join, pthread_join);
INTERPOSE(interpose_pthread_cancel, pthread_cancel);
INTERPOSE(interpose_pthread_mutex_lock, pthread_mutex_lock);
INTERPOSE(interpose_pthread_mutex_timedlock, pthread_mutex_timedlock);
INTERPOSE(interpose_pthread_mutex_clocklock, pthread_mutex_clocklock);
INTERPOSE(interpose_pthread_mutex_unlock, pthread_mutex_unlock);
INTERPOSE(interpose_pthread_cond_wait, pthread_cond_wait);
INTERPOSE(interpose_pthread_cond_timedwait, pthread_cond_timedwait);
INTERPOSE(interpose_pthread_cond_clockwait, pthread_cond_clockwait);
INTERPOSE(interpose_pthread_cond_signal, pthread_cond_signal);
INTERPOSE(interpose_pthread_cond_broadcast, pthread_cond_broadcast);
INTERPOSE(interpose_sem_wait, sem_wait);
INTERPOSE(interpose_sem_timedwait, sem_timedwait);
INTERPOSE(interpose_sem_clockwait, sem_clockwait);
INTERPOSE(interpose_sem_post, sem_post);
