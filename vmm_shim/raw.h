/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * System calls without the C library: what it offers may be interposed, may change errno, and is two
 * jumps away on the path of KVM_RUN.
 */
#ifndef BUSLOCK_VMM_SHIM_RAW_H
#define BUSLOCK_VMM_SHIM_RAW_H

#include <sys/syscall.h>

/* The result, or -errno. */
static inline long raw_syscall6(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#define RAW_ARGUMENTS(number, a, b, c, d, e, f, ...) \
	raw_syscall6(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define raw_syscall(...) RAW_ARGUMENTS(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

#endif
