// SPDX-License-Identifier: GPL-2.0-only
/* Time for a monitor that lives in this process with the shim: `buslock run`. */
#include "vmm_shim/vtime.h"

#include <errno.h>

int shim_thread_create(pthread_t *thread, void *(*start)(void *), void *argument)
{
	int r = vclock_virtual() ? vthread_create(thread, NULL, start, argument) : ENOSYS;

	return r == ENOSYS ? pthread_create(thread, NULL, start, argument) : r;
}

int shim_thread_join(pthread_t thread)
{
	int r = vclock_virtual() ? vthread_join(thread, NULL) : ENOSYS;

	return r == ENOSYS ? pthread_join(thread, NULL) : r;
}

int shim_sleep_until(uint64_t ns)
{
	const struct timespec time = vtimespec(ns);
	int r = vclock_virtual()
			? vcall_clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL)
			: -ENOSYS;

	return r == -ENOSYS ? clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) : -r;
}

int shim_poll(struct pollfd *fds, unsigned n, int timeout_ms)
{
	uint64_t timeout = timeout_ms < 0 ? VSCHED_NEVER : (uint64_t)timeout_ms * 1000000;
	int r = vclock_virtual() ? vcall_poll(fds, n, timeout, NULL) : -ENOSYS;

	if (r != -ENOSYS)
		return r;
	r = poll(fds, n, timeout_ms);
	return r < 0 ? -errno : r;
}
