// SPDX-License-Identifier: GPL-2.0-only
/* Descriptors: open, ioctl, close and their relatives. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vmm_shim/interpose.h"
#include "vmm_shim/own_fd.h"
#include "vmm_shim/shim.h"
#include "vmm_shim/vtime.h"

/* ------------------------------------------------------------------ open */

/* open("/dev/kvm") as the kernel does it for a character device with mode 0666. */
static int open_device(int flags)
{
	int fd;

	interpose_setup();
	interpose_check_fork();
	if ((flags & O_CREAT) && (flags & O_EXCL)) {
		errno = EEXIST;
		return -1;
	}
	if (flags & O_DIRECTORY) {
		errno = ENOTDIR;
		return -1;
	}
	/* Its memory is its parent's; the real device behind our back would be worse than none. */
	if (interpose_foreign_child()) {
		errno = ENODEV;
		return -1;
	}
	/* Before the descriptor exists: another thread may close it at once. */
	atomic_store(&interpose_opened, true);
	fd = shim_open(flags);
	return (int)raw_result(fd);
}

static int open_path(const char *path, int flags, mode_t mode)
{
	int fd;

	if (interpose_module_open(path, flags, &fd))
		return fd;
	if (interpose_names_device(AT_FDCWD, path))
		return open_device(flags);
	if (next.open)
		return next.open(path, flags, mode);
	return (int)raw_result(RAW(SYS_open, path, flags, mode));
}

static int openat_path(int directory, const char *path, int flags, mode_t mode)
{
	int fd;

	if (interpose_module_open(path, flags, &fd))
		return fd;
	if (interpose_names_device(directory, path))
		return open_device(flags);
	if (next.openat)
		return next.openat(directory, path, flags, mode);
	return (int)raw_result(RAW(SYS_openat, directory, path, flags, mode));
}

static bool has_mode(int flags)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

int interpose_open(const char *path, int flags, ...)
{
	mode_t mode = 0;

	if (has_mode(flags)) {
		va_list arguments;

		va_start(arguments, flags);
		mode = va_arg(arguments, mode_t);
		va_end(arguments);
	}
	return open_path(path, flags, mode);
}

int interpose_openat(int directory, const char *path, int flags, ...)
{
	mode_t mode = 0;

	if (has_mode(flags)) {
		va_list arguments;

		va_start(arguments, flags);
		mode = va_arg(arguments, mode_t);
		va_end(arguments);
	}
	return openat_path(directory, path, flags, mode);
}

/* What _FORTIFY_SOURCE makes of an open() with two arguments. With O_CREAT the original ends the
 * program; it is not ours to decide, so such a call goes on to it through open() with mode 0. */
int interpose_open_2(const char *path, int flags)
{
	return open_path(path, flags, 0);
}

int interpose_openat_2(int directory, const char *path, int flags)
{
	return openat_path(directory, path, flags, 0);
}

long interpose_openat2(int directory, const char *path, const void *how, size_t size)
{
	const struct open_how *open_how = how;
	int fd;

	if (how && size >= sizeof(*open_how) &&
	    interpose_module_open(path, (int)open_how->flags, &fd))
		return fd;
	if (how && size >= sizeof(*open_how) && interpose_names_device(directory, path))
		return open_device((int)open_how->flags);
	return raw_result(RAW(SYS_openat2, directory, path, how, size));
}

/* ------------------------------------------------------------------ ioctl */

/* The real device, or one of ours that survived an execve(): a device, as it would on Linux. */
static bool is_foreign_device(int fd)
{
	static const char ours[] = "/memfd:kvm";
	char link[32] = "/proc/self/fd/", target[sizeof(ours) + 16], digits[12];
	size_t n = 0, end = strlen(link);
	struct stat status;
	long length;

	if (RAW(SYS_fstat, fd, &status) < 0)
		return false;
	if (S_ISCHR(status.st_mode))
		return status.st_rdev == makedev(SHIM_KVM_MAJOR, SHIM_KVM_MINOR);
	if (!S_ISREG(status.st_mode) || status.st_nlink != 0)
		return false;
	for (int number = fd; number || !n; number /= 10)
		digits[n++] = (char)('0' + number % 10);
	while (n)
		link[end++] = digits[--n];
	link[end] = 0;
	length = RAW(SYS_readlink, link, target, sizeof(target));
	/* Followed by " (deleted)". */
	return length > (long)sizeof(ours) - 1 && !memcmp(target, ours, sizeof(ours) - 1) &&
	       target[sizeof(ours) - 1] == ' ';
}

/*
 * A descriptor of a device that this process did not open through us: inherited, received over a
 * socket, opened by fopen() or through a symbolic link. It becomes ours at its first KVM call,
 * under the same number.
 */
static bool adopt_device(int fd)
{
	int flags, descriptor_flags, ours;

	if (!is_foreign_device(fd))
		return false;
	flags = (int)RAW(SYS_fcntl, fd, F_GETFL);
	descriptor_flags = (int)RAW(SYS_fcntl, fd, F_GETFD);
	if (flags < 0 || descriptor_flags < 0)
		return false;
	ours = open_device(flags & O_ACCMODE);
	if (ours < 0)
		return false;
	if (RAW(SYS_dup3, ours, fd, descriptor_flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0) {
		interpose_close(ours);
		return false;
	}
	RAW(SYS_close, ours);
	shim_descriptors_closed();
	return true;
}

static struct shim_file *kvm_file(int fd)
{
	struct shim_file *file = NULL;

	interpose_check_fork();
	if (atomic_load_explicit(&interpose_opened, memory_order_relaxed))
		file = shim_file_get(fd);
	if (!file && adopt_device(fd))
		file = shim_file_get(fd);
	return file;
}

static long kvm_ioctl(struct shim_file *file, unsigned long request, unsigned long argument)
{
	long result;

	if (request == KVM_RUN)
		interpose_signal_thread();
	if (request == KVM_CREATE_VM) {
		interpose_trace_check();
		/* Before the VM exists: its memory may be taken away as soon as it does. */
		atomic_store(&interpose_vm, true);
		interpose_fault_install();
	}
	result = shim_ioctl(file, request, argument);
	shim_file_put(file);
	return raw_result(result);
}

int interpose_ioctl(int fd, unsigned long request, ...)
{
	struct shim_file *file;
	va_list arguments;
	unsigned long argument;
	int result;

	va_start(arguments, request);
	argument = va_arg(arguments, unsigned long);
	va_end(arguments);

	/* Prototypes differ in the request's type (int in POSIX): only 32 bits count, as in the kernel. */
	request &= 0xffffffff;
	if (_IOC_TYPE(request) == KVMIO) {
		file = kvm_file(fd);
		if (file)
			return (int)kvm_ioctl(file, request, argument);
	}
	if (next.ioctl)
		result = next.ioctl(fd, request, argument);
	else
		result = (int)raw_result(RAW(SYS_ioctl, fd, request, argument));
	/*
	 * Requests of other drivers are not worth a look at the descriptor: the file system answers
	 * its own for a memory file as for KVM's, and only in refusing the rest do they differ.
	 */
	if (result < 0 && errno == ENOTTY &&
	    atomic_load_explicit(&interpose_opened, memory_order_relaxed)) {
		file = shim_file_get(fd);
		if (file)
			return (int)kvm_ioctl(file, request, argument);
		errno = ENOTTY;
	}
	return result;
}

/* ------------------------------------------------------------------ close */

/* To be asked before the call that closes it. */
static bool is_ours(int fd)
{
	struct shim_file *file;

	if (!atomic_load_explicit(&interpose_opened, memory_order_relaxed))
		return false;
	interpose_check_fork();
	file = shim_file_get(fd);
	if (!file)
		return false;
	shim_file_put(file);
	return !interpose_foreign_child();
}

/* Virtual time: these numbers may be timerfds no longer. To be told after the call that closes them,
 * which may fail. A vfork child closes copies. */
static void timers_closed(unsigned first, unsigned last)
{
	int saved = errno;

	if (vclock_virtual() && !interpose_foreign_child())
		vtimer_fds_closed(first, last);
	errno = saved;
}

int interpose_close(int fd)
{
	bool ours = is_ours(fd);
	int result;

	if (fd >= 0 && (fd == interpose_trace_fd() || own_fd_is(fd))) {
		errno = EBADF;
		return -1;
	}
	/* No cancellation between the two halves of closing ours. */
	if (ours || !next.close)
		result = (int)raw_result(RAW(SYS_close, fd));
	else
		result = next.close(fd);
	timers_closed((unsigned)fd, (unsigned)fd);
	if (ours)
		shim_descriptors_closed();
	return result;
}

static void many_closed(void)
{
	int saved = errno;

	if (atomic_load_explicit(&interpose_opened, memory_order_relaxed)) {
		interpose_check_fork();
		if (!interpose_foreign_child())
			shim_descriptors_closed();
	}
	errno = saved;
}

static int close_these(unsigned first, unsigned last, int flags)
{
	if (next.close_range)
		return next.close_range(first, last, flags);
	return (int)raw_result(RAW(SYS_close_range, first, last, flags));
}

/* The lowest descriptor in the range that the program did not open; -1: none. */
static int kept_in(unsigned first, unsigned last)
{
	int trace = interpose_trace_fd(), own = own_fd_in(first, last);
	bool among = trace >= 0 && (unsigned)trace >= first && (unsigned)trace <= last;

	return among && (own < 0 || trace < own) ? trace : own;
}

int interpose_close_range(unsigned first, unsigned last, int flags)
{
	unsigned from = first;
	int kept, result = 0;

	while (!result && first <= last && (kept = kept_in(from, last)) >= 0) {
		if (from < (unsigned)kept)
			result = close_these(from, (unsigned)kept - 1, flags);
		from = (unsigned)kept + 1;
	}
	if (!result && (from <= last || from == first))
		result = close_these(from, last, flags);
	timers_closed(first, last);
	many_closed();
	return result;
}

void interpose_closefrom(int low)
{
	if (kept_in(low < 0 ? 0 : (unsigned)low, ~0u) >= 0)
		interpose_close_range(low < 0 ? 0 : (unsigned)low, ~0u, 0);
	else if (next.closefrom)
		next.closefrom(low);
	else
		RAW(SYS_close_range, low < 0 ? 0 : low, ~0u, 0);
	timers_closed(low < 0 ? 0 : (unsigned)low, ~0u);
	many_closed();
}

static void give_way(int wanted)
{
	interpose_trace_give_way(wanted);
	if (own_fd_is(wanted) && !interpose_foreign_child())
		own_fd_give_way(wanted);
}

int interpose_dup2(int fd, int wanted)
{
	bool ours = fd != wanted && is_ours(wanted);
	int result;

	if (wanted >= 0 && fd != wanted)
		give_way(wanted);
	result = next.dup2 ? next.dup2(fd, wanted) : (int)raw_result(RAW(SYS_dup2, fd, wanted));
	timers_closed((unsigned)wanted, (unsigned)wanted);
	if (ours && result >= 0)
		shim_descriptors_closed();
	return result;
}

int interpose_dup3(int fd, int wanted, int flags)
{
	bool ours = fd != wanted && is_ours(wanted);
	int result;

	if (wanted >= 0 && fd != wanted)
		give_way(wanted);
	result = next.dup3 ? next.dup3(fd, wanted, flags)
			   : (int)raw_result(RAW(SYS_dup3, fd, wanted, flags));
	timers_closed((unsigned)wanted, (unsigned)wanted);
	if (ours && result >= 0)
		shim_descriptors_closed();
	return result;
}

/* ------------------------------------------------------------------ under these names */

/* off_t has 64 bits on x86-64: the names with and without 64 are one function, as in the C library. */
INTERPOSE(interpose_open, open);
INTERPOSE(interpose_open, open64);
INTERPOSE(interpose_open, __open);
INTERPOSE(interpose_open, __open64);
INTERPOSE(interpose_openat, openat);
INTERPOSE(interpose_openat, openat64);
INTERPOSE(interpose_open_2, __open_2);
INTERPOSE(interpose_open_2, __open64_2);
INTERPOSE(interpose_openat_2, __openat_2);
INTERPOSE(interpose_openat_2, __openat64_2);
INTERPOSE(interpose_ioctl, ioctl);
INTERPOSE(interpose_close, close);
INTERPOSE(interpose_close, __close);
INTERPOSE(interpose_close_range, close_range);
INTERPOSE(interpose_closefrom, closefrom);
INTERPOSE(interpose_dup2, dup2);
INTERPOSE(interpose_dup2, __dup2);
INTERPOSE(interpose_dup3, dup3);
