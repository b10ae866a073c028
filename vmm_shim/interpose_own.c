// SPDX-License-Identifier: GPL-2.0-only
/*
 * The library's own calls. The shim, the engine and the decoder call mmap, close, open … themselves,
 * and must not meet our interposers there (a close() inside the shim would ask the shim whether the
 * descriptor is the shim's). So the link renames every such reference to __wrap_NAME
 * (-Wl,--wrap=NAME); these are they: the kernel, or the next function where there is more to it than
 * a system call.
 *
 * A function that is interposed, used inside and missing here is a link error.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm_shim/interpose.h"

#define OWN(name) __asm__("__wrap_" #name) __attribute__((visibility("hidden")))

int own_open(const char *path, int flags, mode_t mode) OWN(open);
int own_open(const char *path, int flags, mode_t mode)
{
	return (int)raw_result(RAW(SYS_open, path, flags, mode));
}
int own_open64(const char *path, int flags, mode_t mode) OWN(open64);
int own_open64(const char *path, int flags, mode_t mode)
{
	return own_open(path, flags, mode);
}
int own_openat(int directory, const char *path, int flags, mode_t mode) OWN(openat);
int own_openat(int directory, const char *path, int flags, mode_t mode)
{
	return (int)raw_result(RAW(SYS_openat, directory, path, flags, mode));
}
int own_open_2(const char *path, int flags) OWN(__open_2);
int own_open_2(const char *path, int flags)
{
	return own_open(path, flags, 0);
}
int own_ioctl(int fd, unsigned long request, unsigned long argument) OWN(ioctl);
int own_ioctl(int fd, unsigned long request, unsigned long argument)
{
	return (int)raw_result(RAW(SYS_ioctl, fd, request, argument));
}
int own_close(int fd) OWN(close);
int own_close(int fd)
{
	return (int)raw_result(RAW(SYS_close, fd));
}
int own_dup2(int fd, int wanted) OWN(dup2);
int own_dup2(int fd, int wanted)
{
	return (int)raw_result(RAW(SYS_dup2, fd, wanted));
}
int own_dup3(int fd, int wanted, int flags) OWN(dup3);
int own_dup3(int fd, int wanted, int flags)
{
	return (int)raw_result(RAW(SYS_dup3, fd, wanted, flags));
}
int own_access(const char *path, int mode) OWN(access);
int own_access(const char *path, int mode)
{
	return (int)raw_result(RAW(SYS_access, path, mode));
}
int own_stat(const char *path, struct stat *out) OWN(stat);
int own_stat(const char *path, struct stat *out)
{
	return (int)raw_result(RAW(SYS_stat, path, out));
}
int own_fstat(int fd, struct stat *out) OWN(fstat);
int own_fstat(int fd, struct stat *out)
{
	return (int)raw_result(RAW(SYS_fstat, fd, out));
}
int own_fstat64(int fd, struct stat *out) OWN(fstat64);
int own_fstat64(int fd, struct stat *out)
{
	return own_fstat(fd, out);
}
int own_fstatat(int directory, const char *path, struct stat *out, int flags) OWN(fstatat);
int own_fstatat(int directory, const char *path, struct stat *out, int flags)
{
	return (int)raw_result(RAW(SYS_newfstatat, directory, path, out, flags));
}

void *own_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
	OWN(mmap);
void *own_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
	return (void *)raw_result(RAW(SYS_mmap, address, size, protection, flags, fd, offset));
}
void *own_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset)
	OWN(mmap64);
void *own_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
	return own_mmap(address, size, protection, flags, fd, offset);
}
int own_munmap(void *address, size_t size) OWN(munmap);
int own_munmap(void *address, size_t size)
{
	return (int)raw_result(RAW(SYS_munmap, address, size));
}
void *own_mremap(void *old, size_t old_size, size_t size, int flags, void *target) OWN(mremap);
void *own_mremap(void *old, size_t old_size, size_t size, int flags, void *target)
{
	return (void *)raw_result(RAW(SYS_mremap, old, old_size, size, flags, target));
}
int own_mprotect(void *address, size_t size, int protection) OWN(mprotect);
int own_mprotect(void *address, size_t size, int protection)
{
	return (int)raw_result(RAW(SYS_mprotect, address, size, protection));
}
int own_madvise(void *address, size_t size, int advice) OWN(madvise);
int own_madvise(void *address, size_t size, int advice)
{
	return (int)raw_result(RAW(SYS_madvise, address, size, advice));
}

int own_pthread_kill(pthread_t thread, int signal) OWN(pthread_kill);
int own_pthread_kill(pthread_t thread, int signal)
{
	return next.pthread_kill ? next.pthread_kill(thread, signal) : ENOSYS;
}
int own_kill(pid_t pid, int signal) OWN(kill);
int own_kill(pid_t pid, int signal)
{
	return (int)raw_result(RAW(SYS_kill, pid, signal));
}
int own_tgkill(pid_t pid, pid_t tid, int signal) OWN(tgkill);
int own_tgkill(pid_t pid, pid_t tid, int signal)
{
	return (int)raw_result(RAW(SYS_tgkill, pid, tid, signal));
}
int own_sigaction(int signal, const struct sigaction *action, struct sigaction *old) OWN(sigaction);
int own_sigaction(int signal, const struct sigaction *action, struct sigaction *old)
{
	if (next.sigaction)
		return next.sigaction(signal, action, old);
	errno = ENOSYS;
	return -1;
}
sighandler_t own_signal(int signal, sighandler_t handler) OWN(signal);
sighandler_t own_signal(int signal, sighandler_t handler)
{
	if (next.signal)
		return next.signal(signal, handler);
	errno = ENOSYS;
	return SIG_ERR;
}
long own_syscall(long number, long a, long b, long c, long d, long e, long f) OWN(syscall);
long own_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	return raw_result(raw_syscall(number, a, b, c, d, e, f));
}

/* ------------------------------------------------------------------ real time: the engine's, ours */

int own_clock_gettime(clockid_t clock, struct timespec *now) OWN(clock_gettime);
int own_clock_gettime(clockid_t clock, struct timespec *now)
{
	return INTERPOSE_PASS(clock_gettime, (int)raw_result(RAW(SYS_clock_gettime, clock, now)),
			      clock, now);
}
int own_gettimeofday(struct timeval *now, void *zone) OWN(gettimeofday);
int own_gettimeofday(struct timeval *now, void *zone)
{
	return INTERPOSE_PASS(gettimeofday, (int)raw_result(RAW(SYS_gettimeofday, now, zone)), now,
			      zone);
}
int own_nanosleep(const struct timespec *time, struct timespec *left) OWN(nanosleep);
int own_nanosleep(const struct timespec *time, struct timespec *left)
{
	return (int)raw_result(RAW(SYS_nanosleep, time, left));
}
int own_usleep(useconds_t us) OWN(usleep);
int own_usleep(useconds_t us)
{
	const struct timespec time = { us / 1000000, us % 1000000 * 1000 };

	return own_nanosleep(&time, NULL);
}
int own_sched_yield(void) OWN(sched_yield);
int own_sched_yield(void)
{
	return (int)raw_result(RAW(SYS_sched_yield));
}
ssize_t own_read(int fd, void *data, size_t size) OWN(read);
ssize_t own_read(int fd, void *data, size_t size)
{
	return raw_result(RAW(SYS_read, fd, data, size));
}
ssize_t own_write(int fd, const void *data, size_t size) OWN(write);
ssize_t own_write(int fd, const void *data, size_t size)
{
	return raw_result(RAW(SYS_write, fd, data, size));
}
ssize_t own_pread(int fd, void *data, size_t size, off_t offset) OWN(pread);
ssize_t own_pread(int fd, void *data, size_t size, off_t offset)
{
	return raw_result(RAW(SYS_pread64, fd, data, size, offset));
}
ssize_t own_pread64(int fd, void *data, size_t size, off_t offset) OWN(pread64);
ssize_t own_pread64(int fd, void *data, size_t size, off_t offset)
{
	return own_pread(fd, data, size, offset);
}
ssize_t own_pwrite(int fd, const void *data, size_t size, off_t offset) OWN(pwrite);
ssize_t own_pwrite(int fd, const void *data, size_t size, off_t offset)
{
	return raw_result(RAW(SYS_pwrite64, fd, data, size, offset));
}
ssize_t own_pwrite64(int fd, const void *data, size_t size, off_t offset) OWN(pwrite64);
ssize_t own_pwrite64(int fd, const void *data, size_t size, off_t offset)
{
	return own_pwrite(fd, data, size, offset);
}
ssize_t own_readv(int fd, const struct iovec *part, int count) OWN(readv);
ssize_t own_readv(int fd, const struct iovec *part, int count)
{
	return raw_result(RAW(SYS_readv, fd, part, count));
}
ssize_t own_writev(int fd, const struct iovec *part, int count) OWN(writev);
ssize_t own_writev(int fd, const struct iovec *part, int count)
{
	return raw_result(RAW(SYS_writev, fd, part, count));
}
off_t own_lseek(int fd, off_t offset, int whence) OWN(lseek);
off_t own_lseek(int fd, off_t offset, int whence)
{
	return raw_result(RAW(SYS_lseek, fd, offset, whence));
}
off_t own_lseek64(int fd, off_t offset, int whence) OWN(lseek64);
off_t own_lseek64(int fd, off_t offset, int whence)
{
	return own_lseek(fd, offset, whence);
}
int own_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
		       void *argument) OWN(pthread_create);
int own_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
		       void *argument)
{
	return INTERPOSE_PASS(pthread_create, ENOSYS, thread, attributes, start, argument);
}
int own_pthread_join(pthread_t thread, void **value) OWN(pthread_join);
int own_pthread_join(pthread_t thread, void **value)
{
	return INTERPOSE_PASS(pthread_join, ENOSYS, thread, value);
}
int own_pthread_mutex_lock(pthread_mutex_t *mutex) OWN(pthread_mutex_lock);
int own_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	return INTERPOSE_PASS(pthread_mutex_lock, ENOSYS, mutex);
}
int own_pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *time)
	OWN(pthread_mutex_timedlock);
int own_pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *time)
{
	return INTERPOSE_PASS(pthread_mutex_timedlock, ENOSYS, mutex, time);
}
int own_pthread_mutex_unlock(pthread_mutex_t *mutex) OWN(pthread_mutex_unlock);
int own_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	return INTERPOSE_PASS(pthread_mutex_unlock, ENOSYS, mutex);
}
