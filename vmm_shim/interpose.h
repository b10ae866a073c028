/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The line to somebody else's process: the functions of the C library that a monitor calls, taken
 * over. This header is internal to interpose*.c.
 *
 * Rules of these files:
 * - Async-signal-safe, no allocation, no lock that a signal handler could wait for.
 * - What is not ours goes on to the next definition of the function (`next`, found once by the
 *   constructor), so that a further preloaded library keeps its say and cancellation points stay
 *   what they are; before the constructor ran, to the kernel by a raw system call.
 * - Each function is defined under a C name of its own and exported under the C library's by
 *   INTERPOSE, so that the C library's prototypes, attributes and fortified inlines don't matter.
 * - The library's own calls never come here: the link renames them to own_*(), see interpose_own.c.
 */
#ifndef BUSLOCK_VMM_SHIM_INTERPOSE_H
#define BUSLOCK_VMM_SHIM_INTERPOSE_H

#include "vmm_shim/raw.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#ifndef __x86_64__
#error "the interposers know the system calls of x86-64 only"
#endif

/*
 * Exports `function`, which is called something else in C, as `name`. An alias, so that calls between
 * these files name the function itself: a reference to the exported name would be renamed by the link.
 */
#define INTERPOSE(function, name)                                  \
	extern __typeof__(function) exported_##name __asm__(#name) \
		__attribute__((alias(#function), visibility("default")))

/* The kernel's result as the C library gives it: -1 and errno. */
static inline long raw_result(long result)
{
	if ((unsigned long)result > -4096ul) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

#define RAW_6(n, a, b, c, d, e, f, ...) \
	raw_syscall(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define RAW(...) RAW_6(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

/* The next definitions; NULL before the constructor ran and where the C library has none. */
#define INTERPOSE_NEXT(F)                                                                        \
	F(int, open, (const char *, int, ...))                                                   \
	F(int, openat, (int, const char *, int, ...))                                            \
	F(int, ioctl, (int, unsigned long, ...))                                                 \
	F(int, close, (int))                                                                     \
	F(int, close_range, (unsigned, unsigned, int))                                           \
	F(void, closefrom, (int))                                                                \
	F(int, dup2, (int, int))                                                                 \
	F(int, dup3, (int, int, int))                                                            \
	F(int, access, (const char *, int))                                                      \
	F(int, faccessat, (int, const char *, int, int))                                         \
	F(int, euidaccess, (const char *, int))                                                  \
	F(int, stat, (const char *, struct stat *))                                              \
	F(int, lstat, (const char *, struct stat *))                                             \
	F(int, fstat, (int, struct stat *))                                                      \
	F(int, fstatat, (int, const char *, struct stat *, int))                                 \
	F(int, statx, (int, const char *, int, unsigned, struct statx *))                        \
	F(ssize_t, getxattr, (const char *, const char *, void *, size_t))                       \
	F(ssize_t, lgetxattr, (const char *, const char *, void *, size_t))                      \
	F(ssize_t, listxattr, (const char *, char *, size_t))                                    \
	F(ssize_t, llistxattr, (const char *, char *, size_t))                                   \
	F(void *, mmap, (void *, size_t, int, int, int, off_t))                                  \
	F(int, munmap, (void *, size_t))                                                         \
	F(void *, mremap, (void *, size_t, size_t, int, ...))                                    \
	F(int, mprotect, (void *, size_t, int))                                                  \
	F(int, pkey_mprotect, (void *, size_t, int, int))                                        \
	F(int, madvise, (void *, size_t, int))                                                   \
	F(int, pthread_kill, (pthread_t, int))                                                   \
	F(int, pthread_sigqueue, (pthread_t, int, const union sigval))                           \
	F(int, kill, (pid_t, int))                                                               \
	F(int, killpg, (pid_t, int))                                                             \
	F(int, tgkill, (pid_t, pid_t, int))                                                      \
	F(int, sigqueue, (pid_t, int, const union sigval))                                       \
	F(int, sigaction, (int, const struct sigaction *, struct sigaction *))                   \
	F(sighandler_t, signal, (int, sighandler_t))                                             \
	F(sighandler_t, sysv_signal, (int, sighandler_t))                                        \
	F(sighandler_t, sigset, (int, sighandler_t))                                             \
	F(int, sigignore, (int))                                                                 \
	F(int, siginterrupt, (int, int))                                                         \
	F(pid_t, _Fork, (void))                                                                  \
	F(int, clock_gettime, (clockid_t, struct timespec *))                                    \
	F(int, clock_getres, (clockid_t, struct timespec *))                                     \
	F(int, gettimeofday, (struct timeval *, void *))                                         \
	F(time_t, time, (time_t *))                                                              \
	F(clock_t, clock, (void))                                                                \
	F(int, timespec_get, (struct timespec *, int))                                           \
	F(int, nanosleep, (const struct timespec *, struct timespec *))                          \
	F(int, clock_nanosleep, (clockid_t, int, const struct timespec *, struct timespec *))    \
	F(int, usleep, (useconds_t))                                                             \
	F(unsigned, sleep, (unsigned))                                                           \
	F(int, timer_create, (clockid_t, struct sigevent *, timer_t *))                          \
	F(int, timer_settime, (timer_t, int, const struct itimerspec *, struct itimerspec *))    \
	F(int, timer_gettime, (timer_t, struct itimerspec *))                                    \
	F(int, timer_getoverrun, (timer_t))                                                      \
	F(int, timer_delete, (timer_t))                                                          \
	F(int, setitimer, (int, const struct itimerval *, struct itimerval *))                   \
	F(int, getitimer, (int, struct itimerval *))                                             \
	F(unsigned, alarm, (unsigned))                                                           \
	F(int, timerfd_create, (int, int))                                                       \
	F(int, timerfd_settime, (int, int, const struct itimerspec *, struct itimerspec *))      \
	F(int, timerfd_gettime, (int, struct itimerspec *))                                      \
	F(ssize_t, read, (int, void *, size_t))                                                  \
	F(ssize_t, write, (int, const void *, size_t))                                           \
	F(ssize_t, pread, (int, void *, size_t, off_t))                                          \
	F(ssize_t, pwrite, (int, const void *, size_t, off_t))                                   \
	F(ssize_t, readv, (int, const struct iovec *, int))                                      \
	F(ssize_t, writev, (int, const struct iovec *, int))                                     \
	F(off_t, lseek, (int, off_t, int))                                                       \
	F(int, poll, (struct pollfd *, nfds_t, int))                                             \
	F(int, ppoll, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *))      \
	F(int, select, (int, fd_set *, fd_set *, fd_set *, struct timeval *))                    \
	F(int, pselect,                                                                          \
	  (int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *))        \
	F(int, epoll_wait, (int, struct epoll_event *, int, int))                                \
	F(int, epoll_pwait, (int, struct epoll_event *, int, int, const sigset_t *))             \
	F(int, epoll_pwait2,                                                                     \
	  (int, struct epoll_event *, int, const struct timespec *, const sigset_t *))           \
	F(int, sigtimedwait, (const sigset_t *, siginfo_t *, const struct timespec *))           \
	F(int, sigwaitinfo, (const sigset_t *, siginfo_t *))                                     \
	F(int, sigwait, (const sigset_t *, int *))                                               \
	F(int, sigsuspend, (const sigset_t *))                                                   \
	F(int, pause, (void))                                                                    \
	F(int, sched_yield, (void))                                                              \
	F(int, pthread_create, (pthread_t *, const pthread_attr_t *, void *(*)(void *), void *)) \
	F(int, pthread_cancel, (pthread_t))                                                      \
	F(int, pthread_join, (pthread_t, void **))                                               \
	F(int, pthread_mutex_lock, (pthread_mutex_t *))                                          \
	F(int, pthread_mutex_timedlock, (pthread_mutex_t *, const struct timespec *))            \
	F(int, pthread_mutex_clocklock, (pthread_mutex_t *, clockid_t, const struct timespec *)) \
	F(int, pthread_mutex_unlock, (pthread_mutex_t *))                                        \
	F(int, pthread_cond_wait, (pthread_cond_t *, pthread_mutex_t *))                         \
	F(int, pthread_cond_timedwait,                                                           \
	  (pthread_cond_t *, pthread_mutex_t *, const struct timespec *))                        \
	F(int, pthread_cond_clockwait,                                                           \
	  (pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *))             \
	F(int, pthread_cond_signal, (pthread_cond_t *))                                          \
	F(int, pthread_cond_broadcast, (pthread_cond_t *))                                       \
	F(int, sem_wait, (sem_t *))                                                              \
	F(int, sem_timedwait, (sem_t *, const struct timespec *))                                \
	F(int, sem_clockwait, (sem_t *, clockid_t, const struct timespec *))                     \
	F(int, sem_post, (sem_t *))

struct interpose_next {
#define INTERPOSE_MEMBER(type, name, arguments) type(*name) arguments;
	INTERPOSE_NEXT(INTERPOSE_MEMBER)
#undef INTERPOSE_MEMBER
};
extern struct interpose_next next;

/* Finds the next functions, nothing more: for those that may be called by anything, at any time. */
void interpose_find(void);
/* next.name(…), `otherwise` where there is none. */
#define INTERPOSE_PASS(name, otherwise, ...)                                               \
	((__builtin_expect(next.name != NULL, 1) || (interpose_find(), next.name != NULL)) \
		 ? next.name(__VA_ARGS__)                                                  \
		 : (otherwise))

/* Finds the next functions, reads BUSLOCK_*, configures the shim. Once; any number of calls. */
void interpose_setup(void);

/*
 * Something of ours exists in this process: a descriptor was opened, a VM was created. What needs no
 * look before that costs one load.
 */
extern _Atomic bool interpose_opened, interpose_vm;

/* In a forked child (of whatever kind: fork, _Fork, clone) tells the shim, once. */
void interpose_check_fork(void);
/* A child that shares this process's memory (vfork, clone(CLONE_VM)): it must not touch our objects. */
bool interpose_foreign_child(void);

/*
 * The trace's descriptor, -1: none. It is not the program's: closing it fails as for a number that is
 * not open, and dup2() to it finds that it has given way to another number.
 */
int interpose_trace_fd(void);
void interpose_trace_give_way(int fd);
/* Before the first event: has somebody closed it behind our back? */
void interpose_trace_check(void);

/* interpose_path.c: does this name /dev/kvm? Also through other spellings of its directory. */
bool interpose_names_device(int directory, const char *path);

/*
 * interpose_module.c: the same for /sys/module/kvm*, which tells of the simulated kernel. True: it was one of
 * them; errno and -1 as the functions of the C library.
 */
bool interpose_names_module(const char *path);
bool interpose_module_open(const char *path, int flags, int *fd);
bool interpose_module_stat(const char *path, struct stat *out, int *result);
bool interpose_module_access(const char *path, int mode, int *result);

/* interpose_fault.c: our handler for SIGSEGV and SIGBUS goes in front of the program's. */
void interpose_fault_install(void);
void interpose_fault_after_fork(void);

/* interpose_time_thread.c: the shim's helper thread is made as the program's are. */
void interpose_thread_install(void);

/* interpose_signal.c: this thread runs vCPUs; pthread_kill() on it ends its run. */
void interpose_signal_thread(void);
void interpose_signal_after_fork(void);

/* What syscall() routes here; errno and -1 as the functions of the C library. */
int interpose_open(const char *path, int flags, ...);
int interpose_openat(int directory, const char *path, int flags, ...);
int interpose_ioctl(int fd, unsigned long request, ...);
int interpose_close(int fd);
int interpose_close_range(unsigned first, unsigned last, int flags);
int interpose_dup2(int fd, int wanted);
int interpose_dup3(int fd, int wanted, int flags);
int interpose_access(const char *path, int mode);
int interpose_faccessat(int directory, const char *path, int mode, int flags);
int interpose_stat(const char *path, struct stat *out);
int interpose_lstat(const char *path, struct stat *out);
int interpose_fstat(int fd, struct stat *out);
int interpose_fstatat(int directory, const char *path, struct stat *out, int flags);
int interpose_statx(int directory, const char *path, int flags, unsigned mask, struct statx *out);
void *interpose_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int interpose_munmap(void *address, size_t size);
void *interpose_mremap(void *old, size_t old_size, size_t size, int flags, ...);
int interpose_mprotect(void *address, size_t size, int protection);
int interpose_pkey_mprotect(void *address, size_t size, int protection, int key);
int interpose_madvise(void *address, size_t size, int advice);
int interpose_kill(pid_t pid, int signal);
int interpose_tgkill(pid_t pid, pid_t tid, int signal);
int interpose_sigaction(int signal, const struct sigaction *action, struct sigaction *old);

int interpose_clock_gettime(clockid_t clock, struct timespec *now);
int interpose_clock_getres(clockid_t clock, struct timespec *resolution);
int interpose_gettimeofday(struct timeval *now, void *zone);
time_t interpose_time(time_t *now);
int interpose_nanosleep(const struct timespec *time, struct timespec *left);
int interpose_setitimer(int which, const struct itimerval *value, struct itimerval *old);
int interpose_getitimer(int which, struct itimerval *value);
unsigned interpose_alarm(unsigned seconds);
int interpose_timerfd_create(int clock, int flags);
int interpose_timerfd_settime(int fd, int flags, const struct itimerspec *value,
			      struct itimerspec *old);
int interpose_timerfd_gettime(int fd, struct itimerspec *value);
ssize_t interpose_read(int fd, void *data, size_t size);
ssize_t interpose_write(int fd, const void *data, size_t size);
ssize_t interpose_pread(int fd, void *data, size_t size, off_t offset);
ssize_t interpose_pwrite(int fd, const void *data, size_t size, off_t offset);
ssize_t interpose_readv(int fd, const struct iovec *part, int count);
ssize_t interpose_writev(int fd, const struct iovec *part, int count);
off_t interpose_lseek(int fd, off_t offset, int whence);
/* 0, or what read() and its kin say to a descriptor of KVM: -EINVAL, pread() and pwrite() -ESPIPE. */
int interpose_no_io(int fd, bool at_offset);
int interpose_poll(struct pollfd *fds, nfds_t n, int timeout);
int interpose_select(int n, fd_set *in, fd_set *out, fd_set *except, struct timeval *timeout);
int interpose_epoll_wait(int fd, struct epoll_event *events, int max, int timeout);
int interpose_pause(void);
int interpose_sched_yield(void);

/* What the C library has no function for, or another structure. */
long interpose_sys_clock_nanosleep(long clock, long flags, const void *time, void *left);
long interpose_sys_timer_create(long clock, void *event, int *id);
long interpose_sys_timer_settime(long id, long flags, const void *value, void *old);
long interpose_sys_timer_gettime(long id, void *value);
long interpose_sys_timer_getoverrun(long id);
long interpose_sys_timer_delete(long id);
long interpose_sys_ppoll(void *fds, long n, const void *timeout, const void *mask, long size);
long interpose_sys_pselect(long n, void *in, void *out, void *except, const void *timeout,
			   const void *mask);
long interpose_sys_epoll_pwait(long fd, void *events, long max, long timeout, const void *mask,
			       long size);
long interpose_sys_sigtimedwait(const void *set, void *info, const void *timeout, long size);
long interpose_sys_sigsuspend(const void *mask, long size);
long interpose_sys_futex(void *word, long operation, long value, long timeout, long word2,
			 long value3);
long interpose_openat2(int directory, const char *path, const void *how, size_t size);
long interpose_rt_sigaction(int signal, const void *action, void *old, size_t size);
/* A signal of any kind went to `pid` (as in kill()): end the runs that it may concern. */
void interpose_signal_process(pid_t pid);

#endif
