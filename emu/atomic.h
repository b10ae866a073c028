/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one place where guest memory is changed by a host atomic. A host atomic on an operand that
 * crosses a cache line would be a real split lock on the machine that the emulator runs on: it
 * stalls every core, and where the host detects it, slows or kills the process. So a split operand
 * is never touched by one; plain accesses do, while no other vCPU of the VM runs (the run lock).
 */
#ifndef BUSLOCK_EMU_ATOMIC_H
#define BUSLOCK_EMU_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

/* May a host atomic of `size` bytes (1, 2, 4, 8, 16) touch `host`? */
bool guest_atomic_allowed(const void *host, unsigned size);

/* Up to 16 bytes, little endian: low, high. */
struct operand {
	uint64_t low, high;
};

/*
 * If the `size` bytes at `host` equal *expected, they become `desired`; else *expected becomes what
 * is there. An operand that no host atomic may touch gives two pieces: `rest` is where its part
 * behind the first `split` bytes lies (NULL: contiguous).
 */
bool guest_compare_exchange(uint8_t *host, uint8_t *rest, unsigned split, unsigned size,
			    struct operand *expected, struct operand desired);

/* How often a host atomic was refused because it would have crossed a line: tests look at it. */
extern _Atomic uint64_t guest_atomic_plain;

#endif
