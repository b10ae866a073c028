/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rate limits for bus locks, as monitors apply them: reference policies. Nothing here looks at a
 * clock or sleeps; times are nanoseconds of any monotonic clock, given by the caller.
 */
#ifndef BUSLOCK_VMM_SHIM_THROTTLE_H
#define BUSLOCK_VMM_SHIM_THROTTLE_H

#include <stdint.h>

/*
 * QEMU's bus-lock-ratelimit (include/qemu/ratelimit.h): one for the whole VM. The caller serialises
 * calls of several vCPUs, as QEMU's does with a mutex.
 */
struct throttle_qemu {
	uint64_t slice_start, slice_end; /* ns */
	uint64_t slice_quota;            /* locks a slice */
	uint64_t slice;                  /* length of one, ns */
	uint64_t dispatched;             /* in this slice */
};

/* `rate` locks per second, 0: no limit; slices of one second, as QEMU's. */
void throttle_qemu_init(struct throttle_qemu *throttle, uint64_t rate);
/*
 * A KVM_RUN came back with the bus-lock flag at `now`: how long that vCPU must sleep before its next
 * KVM_RUN, in ns. QEMU sleeps whole microseconds: throttle_qemu_sleep_us().
 */
uint64_t throttle_qemu_delay(struct throttle_qemu *throttle, uint64_t now);
static inline uint64_t throttle_qemu_sleep_us(uint64_t delay_ns)
{
	return delay_ns / 1000;
}

#endif
