// SPDX-License-Identifier: GPL-2.0-only
/*
 * A user program of a Linux guest: takes split locks as fast as it is let, and says how fast that was.
 *
 *   split_lock [SECONDS [LOCKS]]    for so long (5), or so many (no limit)
 *
 * A limiter that lets a burst through and then waits (QEMU's: N locks, then the rest of the second) says
 * little in the burst: what counts lies between the end of the first pause and the end of the last.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Longer than the guest's own scheduling, shorter than a limiter's wait for the next second. */
#define PAUSE_SECONDS 0.2

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	static _Alignas(64) uint8_t lines[128];
	double seconds = argc > 1 ? atof(argv[1]) : 5;
	long limit = argc > 2 ? atol(argv[2]) : -1;
	long locks = 0, pauses = 0, locks_at_first = 0, locks_at_last = 0;
	double begun = now(), last = begun, first_pause = 0, last_pause = 0;

	/* a call and an instruction that reports find by name */
	while (locks != limit && last - begun < seconds) {
		__asm__ volatile("lock incl %0" : "+m"(*(uint32_t *)(void *)(lines + 62)) : : "cc");
		double t = now();

		locks++;
		if (t - last > PAUSE_SECONDS) {
			if (!pauses++) {
				first_pause = t;
				locks_at_first = locks;
			}
			last_pause = t;
			locks_at_last = locks;
		}
		last = t;
	}
	bool throttled = pauses > 1;
	double time = throttled ? last_pause - first_pause : last - begun;
	long counted = throttled ? locks_at_last - locks_at_first : locks;

	printf("split_lock: locks=%ld seconds=%.3f pauses=%ld rate=%.2f\n", locks, last - begun,
	       pauses, time > 0 ? (double)counted / time : 0);
	return 0;
}
