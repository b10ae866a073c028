/* SPDX-License-Identifier: GPL-2.0-only */
#include "emu/atomic.h"

#include "emu/cpu.h"

#include <string.h>

_Atomic uint64_t guest_atomic_plain;

bool guest_atomic_allowed(const void *host, unsigned size)
{
	uintptr_t address = (uintptr_t)host;
	if (size == 16)
		return !(address & 15); /* CMPXCHG16B demands it of the guest, too */
#if defined(__x86_64__)
	return (address & (LINE_SIZE - 1)) + size <= LINE_SIZE;
#else
	return !(address & (size - 1)); /* elsewhere a misaligned atomic faults */
#endif
}

static bool exchange16(void *host, struct operand *expected, struct operand desired)
{
#if defined(__x86_64__)
	/* by hand: the compiler would call libatomic */
	bool equal;
	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(equal), "+m"(*(struct operand *)host), "+a"(expected->low),
			   "+d"(expected->high)
			 : "b"(desired.low), "c"(desired.high)
			 : "memory");
	return equal;
#else
	/* vCPUs take turns; only a monitor that changes guest memory by 16-byte atomics could tell */
	struct operand now;
	memcpy(&now, host, 16);
	bool equal = now.low == expected->low && now.high == expected->high;
	if (equal)
		memcpy(host, &desired, 16);
	else
		*expected = now;
	return equal;
#endif
}

/* Misaligned within a line is fine on x86, though not what the language promises. */
__attribute__((no_sanitize("alignment"))) static bool
exchange(void *host, unsigned size, struct operand *expected, struct operand desired)
{
	uint8_t e1 = (uint8_t)expected->low;
	uint16_t e2 = (uint16_t)expected->low;
	uint32_t e4 = (uint32_t)expected->low;
	bool equal;
	switch (size) {
	case 1:
		equal = __atomic_compare_exchange_n((uint8_t *)host, &e1, (uint8_t)desired.low,
						    false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		expected->low = e1;
		return equal;
	case 2:
		equal = __atomic_compare_exchange_n((uint16_t *)host, &e2, (uint16_t)desired.low,
						    false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		expected->low = e2;
		return equal;
	case 4:
		equal = __atomic_compare_exchange_n((uint32_t *)host, &e4, (uint32_t)desired.low,
						    false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		expected->low = e4;
		return equal;
	case 8:
		return __atomic_compare_exchange_n((uint64_t *)host, &expected->low, desired.low,
						   false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	default:
		return exchange16(host, expected, desired);
	}
}

bool guest_compare_exchange(uint8_t *host, uint8_t *rest, unsigned split, unsigned size,
			    struct operand *expected, struct operand desired)
{
	if (!rest && guest_atomic_allowed(host, size))
		return exchange(host, size, expected, desired);

	atomic_fetch_add_explicit(&guest_atomic_plain, 1, memory_order_relaxed);
	struct operand now = { 0 };
	if (!rest) {
		rest = host + size;
		split = size;
	}
	memcpy(&now, host, split);
	memcpy((uint8_t *)&now + split, rest, size - split);
	if (memcmp(&now, expected, size)) {
		*expected = now;
		return false;
	}
	memcpy(host, &desired, split);
	memcpy(rest, (uint8_t *)&desired + split, size - split);
	return true;
}
