/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers of 1 to 8 bytes. */
#ifndef BUSLOCK_EMU_INSN_BITS_H
#define BUSLOCK_EMU_INSN_BITS_H

#include <stdint.h>

static inline int64_t sign_extend(uint64_t value, unsigned size)
{
	unsigned shift = 64 - 8 * size;

	return (int64_t)(value << shift) >> shift;
}

static inline uint64_t mask_bytes(uint64_t value, unsigned size)
{
	return size >= 8 ? value : value & ((1ull << (8 * size)) - 1);
}

#endif
