/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Time, as the shim sees it: the host's, or with --time=virtual one deterministic clock for the
 * monitor's threads and the guest (docs/time.md). Everything in the shim that asks for the time or
 * waits for a time to pass asks here.
 */
#ifndef BUSLOCK_VMM_SHIM_VCLOCK_H
#define BUSLOCK_VMM_SHIM_VCLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* CLOCK_MONOTONIC in nanoseconds. Async-signal-safe. */
uint64_t shim_now_ns(void);
/*
 * msleep_interruptible() inside an ioctl (signals_block() is in force): 0 after `ns` nanoseconds,
 * -EINTR as soon as a signal is pending that `mask`, the caller's or KVM_RUN's, lets through and that
 * would do something. The signal stays pending.
 */
int shim_sleep_interruptible(uint64_t mask, uint64_t ns);

#endif
