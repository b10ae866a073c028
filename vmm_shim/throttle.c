// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_shim/throttle.h"

#define SECOND 1000000000ull

void throttle_qemu_init(struct throttle_qemu *t, uint64_t rate)
{
	*t = (struct throttle_qemu){ .slice = SECOND };
	/* ratelimit_set_speed(): at least one lock a slice; in floating point, so that any rate fits */
	if (rate) {
		double quota = (double)rate * (double)t->slice / 1e9;

		t->slice_quota = quota < 1 ? 1 : (uint64_t)quota;
	}
}

uint64_t throttle_qemu_delay(struct throttle_qemu *t, uint64_t now)
{
	if (!t->slice_quota)
		return 0;
	if (t->slice_end < now) {
		t->slice_start = now;
		t->slice_end = now + t->slice;
		t->dispatched = 0;
	}
	t->dispatched++;
	/* The quota's last lock is itself delayed: QEMU's comparison is "less than". */
	if (t->dispatched < t->slice_quota)
		return 0;
	/*
	 * Over the quota the slice grows in proportion, also while others sleep in it: that is what
	 * spreads the surplus of several vCPUs.
	 */
	t->slice_end = t->slice_start + (uint64_t)((double)t->dispatched / (double)t->slice_quota *
						   (double)t->slice);
	return t->slice_end - now;
}
