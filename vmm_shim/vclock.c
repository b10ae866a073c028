// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_shim/vclock.h"

#include "vmm_shim/internal.h"
#include "vmm_shim/raw.h"

#include <errno.h>
#include <time.h>

#define NSEC 1000000000ull
/* How late a sleep in real time notices a signal: they are blocked, only a look finds them. */
#define LOOK_NS 100000ull

uint64_t shim_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NSEC + (uint64_t)t.tv_nsec;
}

int shim_sleep_interruptible(uint64_t mask, uint64_t ns)
{
	uint64_t now = shim_now_ns(), end = now + ns;

	for (; now < end; now = shim_now_ns()) {
		uint64_t part = end - now < LOOK_NS ? end - now : LOOK_NS;
		const struct timespec t = { .tv_nsec = (long)part };

		if (signals_pending(mask))
			return -EINTR;
		raw_syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, NULL);
	}
	return 0;
}
