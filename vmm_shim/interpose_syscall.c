// SPDX-License-Identifier: GPL-2.0-only
/*
 * syscall(): the back door of the C library. Calls that matter to us are the same functions as
 * those of the front door; all others reach the kernel exactly as from the C library, without a
 * stack frame in between (a clone() with a new stack returns into the caller's frame, not ours).
 */
#include <fcntl.h>
#include <unistd.h>

#include "vmm_shim/interpose.h"
#include "vmm_shim/shim.h"
#include "vmm_shim/vclock.h"

/* A signal went to another thread or process by a call that has no function of its own. */
static long sent(long result, int signal, pid_t pid)
{
	if (result == 0 && signal)
		interpose_signal_process(pid);
	return result;
}

static long sent_to_thread(long result, int signal, int tid)
{
	if (result == 0 && signal && (atomic_load(&interpose_vm) || vclock_virtual()))
		shim_signal_sent(tid);
	return result;
}

static long forked(long result)
{
	if (result == 0)
		interpose_check_fork();
	return result;
}

/* number(arguments) → expression; one row is one entry of the table below. */
#define ROUTED(F)                                                                                  \
	F(ioctl, interpose_ioctl((int)a, (unsigned long)b, c))                                     \
	F(open, interpose_open((const char *)a, (int)b, (mode_t)c))                                \
	F(openat, interpose_openat((int)a, (const char *)b, (int)c, (mode_t)d))                    \
	F(openat2, interpose_openat2((int)a, (const char *)b, (const void *)c, (size_t)d))         \
	F(close, interpose_close((int)a))                                                          \
	F(close_range, interpose_close_range((unsigned)a, (unsigned)b, (int)c))                    \
	F(dup2, interpose_dup2((int)a, (int)b))                                                    \
	F(dup3, interpose_dup3((int)a, (int)b, (int)c))                                            \
	F(access, interpose_access((const char *)a, (int)b))                                       \
	F(faccessat, interpose_faccessat((int)a, (const char *)b, (int)c, 0))                      \
	F(faccessat2, interpose_faccessat((int)a, (const char *)b, (int)c, (int)d))                \
	F(stat, interpose_stat((const char *)a, (struct stat *)b))                                 \
	F(lstat, interpose_lstat((const char *)a, (struct stat *)b))                               \
	F(fstat, interpose_fstat((int)a, (struct stat *)b))                                        \
	F(newfstatat, interpose_fstatat((int)a, (const char *)b, (struct stat *)c, (int)d))        \
	F(statx, interpose_statx((int)a, (const char *)b, (int)c, (unsigned)d, (struct statx *)e)) \
	F(mmap, (long)interpose_mmap((void *)a, (size_t)b, (int)c, (int)d, (int)e, f))             \
	F(munmap, interpose_munmap((void *)a, (size_t)b))                                          \
	F(mremap, (long)interpose_mremap((void *)a, (size_t)b, (size_t)c, (int)d, (void *)e))      \
	F(mprotect, interpose_mprotect((void *)a, (size_t)b, (int)c))                              \
	F(pkey_mprotect, interpose_pkey_mprotect((void *)a, (size_t)b, (int)c, (int)d))            \
	F(madvise, interpose_madvise((void *)a, (size_t)b, (int)c))                                \
	F(kill, interpose_kill((pid_t)a, (int)b))                                                  \
	F(tgkill, interpose_tgkill((pid_t)a, (pid_t)b, (int)c))                                    \
	F(tkill, sent_to_thread(raw_result(RAW(SYS_tkill, a, b)), (int)b, (int)a))                 \
	F(rt_sigqueueinfo, sent(raw_result(RAW(SYS_rt_sigqueueinfo, a, b, c)), (int)b, (pid_t)a))  \
	F(rt_tgsigqueueinfo,                                                                       \
	  sent_to_thread(raw_result(RAW(SYS_rt_tgsigqueueinfo, a, b, c, d)), (int)c, (int)b))      \
	F(pidfd_send_signal, sent(raw_result(RAW(SYS_pidfd_send_signal, a, b, c, d)), (int)b, -1)) \
	F(rt_sigaction, interpose_rt_sigaction((int)a, (const void *)b, (void *)c, (size_t)d))     \
	F(fork, forked(raw_result(RAW(SYS_fork))))                                                 \
	F(clock_gettime, interpose_clock_gettime((clockid_t)a, (struct timespec *)b))              \
	F(clock_getres, interpose_clock_getres((clockid_t)a, (struct timespec *)b))                \
	F(gettimeofday, interpose_gettimeofday((struct timeval *)a, (void *)b))                    \
	F(time, interpose_time((time_t *)a))                                                       \
	F(nanosleep, interpose_nanosleep((const struct timespec *)a, (struct timespec *)b))        \
	F(clock_nanosleep, interpose_sys_clock_nanosleep(a, b, (const void *)c, (void *)d))        \
	F(timer_create, interpose_sys_timer_create(a, (void *)b, (int *)c))                        \
	F(timer_settime, interpose_sys_timer_settime(a, b, (const void *)c, (void *)d))            \
	F(timer_gettime, interpose_sys_timer_gettime(a, (void *)b))                                \
	F(timer_getoverrun, interpose_sys_timer_getoverrun(a))                                     \
	F(timer_delete, interpose_sys_timer_delete(a))                                             \
	F(setitimer,                                                                               \
	  interpose_setitimer((int)a, (const struct itimerval *)b, (struct itimerval *)c))         \
	F(getitimer, interpose_getitimer((int)a, (struct itimerval *)b))                           \
	F(alarm, (long)interpose_alarm((unsigned)a))                                               \
	F(timerfd_create, interpose_timerfd_create((int)a, (int)b))                                \
	F(timerfd_settime, interpose_timerfd_settime((int)a, (int)b, (const struct itimerspec *)c, \
						     (struct itimerspec *)d))                      \
	F(timerfd_gettime, interpose_timerfd_gettime((int)a, (struct itimerspec *)b))              \
	F(read, interpose_read((int)a, (void *)b, (size_t)c))                                      \
	F(write, interpose_write((int)a, (const void *)b, (size_t)c))                              \
	F(pread64, interpose_pread((int)a, (void *)b, (size_t)c, d))                               \
	F(pwrite64, interpose_pwrite((int)a, (const void *)b, (size_t)c, d))                       \
	F(readv, interpose_readv((int)a, (const struct iovec *)b, (int)c))                         \
	F(writev, interpose_writev((int)a, (const struct iovec *)b, (int)c))                       \
	F(lseek, interpose_lseek((int)a, b, (int)c))                                               \
	F(poll, interpose_poll((struct pollfd *)a, (nfds_t)b, (int)c))                             \
	F(ppoll, interpose_sys_ppoll((void *)a, b, (const void *)c, (const void *)d, e))           \
	F(select,                                                                                  \
	  interpose_select((int)a, (fd_set *)b, (fd_set *)c, (fd_set *)d, (struct timeval *)e))    \
	F(pselect6, interpose_sys_pselect(a, (void *)b, (void *)c, (void *)d, (const void *)e,     \
					  (const void *)f))                                        \
	F(epoll_wait, interpose_epoll_wait((int)a, (struct epoll_event *)b, (int)c, (int)d))       \
	F(epoll_pwait, interpose_sys_epoll_pwait(a, (void *)b, c, d, (const void *)e, f))          \
	F(rt_sigtimedwait,                                                                         \
	  interpose_sys_sigtimedwait((const void *)a, (void *)b, (const void *)c, d))              \
	F(rt_sigsuspend, interpose_sys_sigsuspend((const void *)a, b))                             \
	F(pause, interpose_pause())                                                                \
	F(sched_yield, interpose_sched_yield())                                                    \
	F(futex, interpose_sys_futex((void *)a, b, c, d, e, f))

/* Read by the assembler below. */
#define CALLS                          512
#define ROUTED_ENTRY(name, expression) [SYS_##name] = 1,
__attribute__((used)) const uint8_t interpose_routed[CALLS] = { ROUTED(ROUTED_ENTRY) };

__attribute__((used)) long interpose_syscall_routed(long number, long a, long b, long c, long d,
						    long e, long f);
long interpose_syscall_routed(long number, long a, long b, long c, long d, long e, long f)
{
	switch (number) {
#define ROUTED_CASE(name, expression) \
	case SYS_##name:              \
		return (expression);
		ROUTED(ROUTED_CASE)
	default:
		return raw_result(raw_syscall(number, a, b, c, d, e, f));
	}
}

__attribute__((used)) long interpose_syscall_failed(long error);
long interpose_syscall_failed(long error)
{
	return raw_result(error);
}

/*
 * long syscall(long number, ...): six arguments, the last one on the stack. The routed ones jump to a
 * C function with the same parameters, so nothing moves.
 */
__asm__(".pushsection .text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	".p2align 4\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	endbr64\n"
	"	cmp $512, %rdi\n"
	"	jae 1f\n"
	"	lea interpose_routed(%rip), %rax\n"
	"	cmpb $0, (%rax,%rdi)\n"
	"	jne interpose_syscall_routed\n"
	"1:	mov %rdi, %rax\n"
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
	"	jmp interpose_syscall_failed\n"
	"	.cfi_endproc\n"
	".size syscall, . - syscall\n"
	".popsection\n");
_Static_assert(CALLS == 512, "the assembler above compares with it");
