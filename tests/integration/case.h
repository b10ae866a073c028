/* SPDX-License-Identifier: GPL-2.0-only */
/* What the cases of tests/programs/process.c check with. */
#ifndef BUSLOCK_TESTS_CASE_H
#define BUSLOCK_TESTS_CASE_H

#include "tests/integration/kvm_api.h"

#include <sys/wait.h>

static inline void __attribute__((noreturn, format(printf, 2, 3)))
fail(int line, const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fprintf(stderr, "line %d: ", line);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	_exit(1);
}
#define CHECK(condition, ...)                                        \
	do {                                                         \
		if (!(condition))                                    \
			fail(__LINE__, #condition ": " __VA_ARGS__); \
	} while (0)

static inline bool is_device(int fd)
{
	return ioctl(fd, KVM_GET_API_VERSION, 0) == KVM_API_VERSION;
}

static inline void wait_for(pid_t child)
{
	int status;

	CHECK(waitpid(child, &status, 0) == child, "%s", strerror(errno));
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child ended with %#x", status);
}

/* As a program with system-call stubs of its own. */
static inline long own_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#endif
