// SPDX-License-Identifier: GPL-2.0-only
/* Calls of the program's: on to the next definition, and told. */
#include "watch/interpose.h"

#include "vmm_shim/raw.h"
#include "watch/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdint.h>

/* Before the constructor there is no next function; -1 and errno as the C library. */
static long raw_result(long result)
{
	if ((unsigned long)result > -4096ul) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

#define PASS(name, number, ...)                                                  \
	(watch_next.name ? watch_next.name(__VA_ARGS__)                          \
			 : (__typeof__(watch_next.name(__VA_ARGS__)))raw_result( \
				   raw_syscall(number, __VA_ARGS__)))

/* ------------------------------------------------------------------ ioctl */

int watch_interpose_ioctl(int fd, unsigned long request, ...)
{
	unsigned long argument;
	va_list arguments;

	va_start(arguments, request);
	argument = va_arg(arguments, unsigned long);
	va_end(arguments);
	/* Prototypes differ in the request's type (int in POSIX): only 32 bits count, as in the kernel. */
	request &= 0xffffffff;
	if (_IOC_TYPE(request) != KVMIO || !watch_next.ioctl)
		return PASS(ioctl, SYS_ioctl, fd, request, argument);
	return (int)raw_result(watch_ioctl(fd, request, argument));
}

/* ------------------------------------------------------------------ descriptors */

int watch_interpose_close(int fd)
{
	if (fd >= 0 && fd == watch_trace_fd()) {
		errno = EBADF;
		return -1;
	}
	if (fd >= 0)
		watch_closing((unsigned)fd, (unsigned)fd);
	return PASS(close, SYS_close, fd);
}

static int close_these(unsigned first, unsigned last, int flags)
{
	if (!(flags & (1 << 2))) /* CLOSE_RANGE_CLOEXEC: they stay open */
		watch_closing(first, last);
	return PASS(close_range, SYS_close_range, first, last, flags);
}

int watch_interpose_close_range(unsigned first, unsigned last, int flags)
{
	int trace = watch_trace_fd(), result = 0;
	unsigned kept = (unsigned)trace;

	if (trace < 0 || kept < first || kept > last)
		return close_these(first, last, flags);
	if (first < kept)
		result = close_these(first, kept - 1, flags);
	if (!result && kept < last)
		result = close_these(kept + 1, last, flags);
	return result;
}

void watch_interpose_closefrom(int low)
{
	unsigned first = low < 0 ? 0 : (unsigned)low;

	watch_closing(first, ~0u);
	if (watch_trace_fd() >= low || !watch_next.closefrom)
		watch_interpose_close_range(first, ~0u, 0);
	else
		watch_next.closefrom(low);
}

int watch_interpose_dup(int fd)
{
	int result = PASS(dup, SYS_dup, fd);

	if (result >= 0)
		watch_duplicated(fd, result);
	return result;
}

int watch_interpose_dup2(int fd, int wanted)
{
	int result;

	if (wanted >= 0)
		watch_trace_give_way(wanted);
	result = PASS(dup2, SYS_dup2, fd, wanted);
	if (result >= 0)
		watch_duplicated(fd, result);
	return result;
}

int watch_interpose_dup3(int fd, int wanted, int flags)
{
	int result;

	if (wanted >= 0)
		watch_trace_give_way(wanted);
	result = PASS(dup3, SYS_dup3, fd, wanted, flags);
	if (result >= 0)
		watch_duplicated(fd, result);
	return result;
}

int watch_interpose_fcntl(int fd, int command, ...)
{
	unsigned long argument;
	va_list arguments;
	int result;

	va_start(arguments, command);
	argument = va_arg(arguments, unsigned long);
	va_end(arguments);
	result = PASS(fcntl, SYS_fcntl, fd, command, argument);
	if (result >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC))
		watch_duplicated(fd, result);
	return result;
}

/* ------------------------------------------------------------------ sleeping */

static void slept(uint64_t since, bool interrupted)
{
	int saved = errno;

	if (since)
		watch_slept(since, interrupted);
	errno = saved;
}

int watch_interpose_nanosleep(const struct timespec *time, struct timespec *left)
{
	uint64_t since = watch_sleeps();
	int result = PASS(nanosleep, SYS_nanosleep, time, left);

	slept(since, result != 0);
	return result;
}

int watch_interpose_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
				    struct timespec *left)
{
	uint64_t since = watch_sleeps();
	int result;

	if (watch_next.clock_nanosleep)
		result = watch_next.clock_nanosleep(clock, flags, time, left);
	else
		result = (int)-raw_syscall(SYS_clock_nanosleep, clock, flags, time, left);
	slept(since, result != 0);
	return result;
}

int watch_interpose_usleep(useconds_t us)
{
	const struct timespec time = { us / 1000000, us % 1000000 * 1000 };
	uint64_t since = watch_sleeps();
	int result;

	if (watch_next.usleep)
		result = watch_next.usleep(us);
	else
		result = (int)raw_result(raw_syscall(SYS_nanosleep, &time, NULL));
	slept(since, result != 0);
	return result;
}

unsigned watch_interpose_sleep(unsigned seconds)
{
	const struct timespec time = { .tv_sec = seconds };
	uint64_t since = watch_sleeps();
	unsigned left = 0;

	if (watch_next.sleep)
		left = watch_next.sleep(seconds);
	else
		raw_syscall(SYS_nanosleep, &time, NULL);
	slept(since, left != 0);
	return left;
}

/* ------------------------------------------------------------------ syscall() */

/* As in vmm_shim/interpose_syscall.c: number(arguments) → expression. */
#define ROUTED(F)                                                                     \
	F(ioctl, watch_interpose_ioctl((int)a, (unsigned long)b, c))                  \
	F(close, watch_interpose_close((int)a))                                       \
	F(close_range, watch_interpose_close_range((unsigned)a, (unsigned)b, (int)c)) \
	F(dup, watch_interpose_dup((int)a))                                           \
	F(dup2, watch_interpose_dup2((int)a, (int)b))                                 \
	F(dup3, watch_interpose_dup3((int)a, (int)b, (int)c))                         \
	F(fcntl, watch_interpose_fcntl((int)a, (int)b, c))                            \
	F(nanosleep, watch_interpose_nanosleep((const void *)a, (void *)b))           \
	F(clock_nanosleep, raw_result(-watch_interpose_clock_nanosleep(               \
				   (clockid_t)a, (int)b, (const void *)c, (void *)d)))

#define CALLS                          512
#define ROUTED_ENTRY(name, expression) [SYS_##name] = 1,
__attribute__((used)) const uint8_t watch_routed[CALLS] = { ROUTED(ROUTED_ENTRY) };

__attribute__((used)) long watch_syscall_routed(long number, long a, long b, long c, long d);
long watch_syscall_routed(long number, long a, long b, long c, long d)
{
	switch (number) {
#define ROUTED_CASE(name, expression) \
	case SYS_##name:              \
		return (expression);
		ROUTED(ROUTED_CASE)
	default:
		return raw_result(-ENOSYS);
	}
}

__attribute__((used)) long watch_syscall_failed(long error);
long watch_syscall_failed(long error)
{
	return raw_result(error);
}

/* No stack frame on the way to the next syscall(), whose caller may come back on another stack. */
__asm__(".pushsection .text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	".p2align 4\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	endbr64\n"
	"	cmp $512, %rdi\n"
	"	jae 1f\n"
	"	lea watch_routed(%rip), %rax\n"
	"	cmpb $0, (%rax,%rdi)\n"
	"	jne watch_syscall_routed\n"
	"1:	mov watch_next_syscall(%rip), %rax\n"
	"	mov (%rax), %rax\n"
	"	test %rax, %rax\n"
	"	jz 3f\n"
	"	jmp *%rax\n"
	"3:	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	mov %r9, %r8\n"
	"	mov 8(%rsp), %r9\n"
	"	syscall\n"
	"	cmp $-4095, %rax\n"
	"	jae 2f\n"
	"	ret\n"
	"2:	mov %rax, %rdi\n"
	"	jmp watch_syscall_failed\n"
	"	.cfi_endproc\n"
	".size syscall, . - syscall\n"
	".popsection\n");
_Static_assert(CALLS == 512, "the assembler above compares with it");
__attribute__((used)) long (**const watch_next_syscall)(long, ...) = &watch_next.syscall;

/* ------------------------------------------------------------------ under these names */

WATCH_INTERPOSE(watch_interpose_ioctl, ioctl);
WATCH_INTERPOSE(watch_interpose_close, close);
WATCH_INTERPOSE(watch_interpose_close, __close);
WATCH_INTERPOSE(watch_interpose_close_range, close_range);
WATCH_INTERPOSE(watch_interpose_closefrom, closefrom);
WATCH_INTERPOSE(watch_interpose_dup, dup);
WATCH_INTERPOSE(watch_interpose_dup2, dup2);
WATCH_INTERPOSE(watch_interpose_dup2, __dup2);
WATCH_INTERPOSE(watch_interpose_dup3, dup3);
WATCH_INTERPOSE(watch_interpose_fcntl, fcntl);
WATCH_INTERPOSE(watch_interpose_fcntl, fcntl64);
WATCH_INTERPOSE(watch_interpose_fcntl, __fcntl);
WATCH_INTERPOSE(watch_interpose_nanosleep, nanosleep);
WATCH_INTERPOSE(watch_interpose_clock_nanosleep, clock_nanosleep);
WATCH_INTERPOSE(watch_interpose_usleep, usleep);
WATCH_INTERPOSE(watch_interpose_sleep, sleep);
