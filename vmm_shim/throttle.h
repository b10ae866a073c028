/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rate limits for bus locks, as monitors apply them: reference policies. Nothing here looks at a
 * clock or sleeps; times are nanoseconds of any monotonic clock (QEMU takes CLOCK_MONOTONIC), given
 * by the caller. Time that goes backwards gives nobody more than he had.
 *
 * Threads: the caller serialises calls on one object, as QEMU does with a mutex and the kernel with
 * a spinlock, and sleeps outside of it.
 */
#ifndef BUSLOCK_VMM_SHIM_THROTTLE_H
#define BUSLOCK_VMM_SHIM_THROTTLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------ QEMU's, by itself */

/*
 * QEMU's bus-lock-ratelimit (include/qemu/ratelimit.h): one for the whole VM, in slices of a second.
 */
struct throttle_qemu {
	uint64_t slice_start, slice_end; /* ns */
	uint64_t slice_quota;            /* locks a slice */
	uint64_t slice;                  /* length of one, ns */
	uint64_t dispatched;             /* in this slice */
};

/* `rate` locks per second, 0: no limit. */
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

/* ------------------------------------------------------------------ any of them */

#define THROTTLE_MAX_VCPUS 64

enum throttle_kind {
	THROTTLE_NONE,
	THROTTLE_QEMU,
	THROTTLE_SLEEP,  /* the same pause for each lock */
	THROTTLE_BUCKET, /* a token bucket, for the VM or for each vCPU */
	THROTTLE_KERNEL, /* split_lock_detect=ratelimit:N: ___ratelimit() and msleep(20) */
	THROTTLE_KILL,   /* the end, at the Nth */
};

/* Plain data: may be copied; made by throttle_parse(). */
struct throttle {
	enum throttle_kind kind;
	union {
		struct throttle_qemu qemu;
		uint64_t sleep; /* ns */
		struct {
			uint64_t rate, burst; /* locks a second; locks */
			bool per_vcpu;
			struct {
				uint64_t at;    /* when `credit` was right, ns */
				int64_t credit; /* in 1e-9 locks; negative: to be slept off */
			} of[THROTTLE_MAX_VCPUS];
		} bucket;
		struct {
			unsigned hz, burst, granted;
			bool begun;
			uint64_t begin; /* jiffies */
		} kernel;
		uint64_t left; /* THROTTLE_KILL: locks until the end */
	};
};

/*
 * none
 * qemu:N                          -M bus-lock-ratelimit=N; 0: no limit
 * sleep:TIME or sleep:N/s         TIME with ns, us, ms or s; N/s: a second divided by N
 * bucket:N/s[,burst=B][,per-vcpu] B (1) at once
 * kernel:N[,hz=H]                 N as split_lock_detect=ratelimit:N, 1 to 1000; H as CONFIG_HZ, 250
 * kill:N
 * -EINVAL with the reason in `why`.
 */
int throttle_parse(struct throttle *throttle, const char *text, char *why, size_t size);
/* The lines above in a row, for messages and help. */
const char *throttle_forms(void);

enum throttle_action {
	THROTTLE_LET_THROUGH, /* run again, after `sleep` */
	THROTTLE_ASK_AGAIN,   /* sleep, then call throttle_lock() for the same lock again */
	THROTTLE_END,         /* the VM runs no more */
};

struct throttle_verdict {
	enum throttle_action action;
	uint64_t sleep; /* ns, before the next KVM_RUN */
	/*
	 * A kick that comes meanwhile is served at once and the sleep goes on; else it waits for the end
	 * of the sleep (g_usleep() and msleep() do not return for a signal).
	 */
	bool interruptible;
};

/*
 * vCPU `vcpu` (below THROTTLE_MAX_VCPUS) has taken a bus lock, and its KVM_RUN came back with the
 * flag at `now`.
 */
struct throttle_verdict throttle_lock(struct throttle *throttle, unsigned vcpu, uint64_t now);

#ifdef __cplusplus
}
#endif
#endif
