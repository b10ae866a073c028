// SPDX-License-Identifier: GPL-2.0-only
/*
 * read(), write() and lseek() on descriptors of KVM. Linux's have neither (EINVAL), and their position
 * does not move (noop_llseek()); the memory files behind ours would answer as files. The rest of the
 * program's calls pay for a look at one bit.
 */
#include <unistd.h>

#include "vmm_shim/interpose.h"
#include "vmm_shim/shim.h"

extern _Noreturn void __chk_fail(void);

static int class_of(int fd)
{
	if (!atomic_load_explicit(&interpose_opened, memory_order_relaxed))
		return -1;
	return shim_descriptor_class(fd);
}

int interpose_no_io(int fd, bool at_offset)
{
	int class = class_of(fd);

	if (class < 0)
		return 0;
	/* anonymous inodes lack FMODE_PREAD, which is looked at first */
	return class && at_offset ? -ESPIPE : -EINVAL;
}

#define UNLESS_KVM(at_offset, name, call, ...)                                                \
	do {                                                                                  \
		int refused = interpose_no_io(fd, at_offset);                                 \
                                                                                              \
		if (refused)                                                                  \
			return raw_result(refused);                                           \
		return INTERPOSE_PASS(name, raw_result(RAW(call, __VA_ARGS__)), __VA_ARGS__); \
	} while (0)

ssize_t interpose_write(int fd, const void *data, size_t size)
{
	UNLESS_KVM(false, write, SYS_write, fd, data, size);
}

ssize_t interpose_pread(int fd, void *data, size_t size, off_t offset)
{
	UNLESS_KVM(true, pread, SYS_pread64, fd, data, size, offset);
}

/* What _FORTIFY_SOURCE makes of it. The C library ends a program whose buffer is too small. */
ssize_t interpose_pread_chk(int fd, void *data, size_t size, off_t offset, size_t room)
{
	if (size > room)
		__chk_fail();
	return interpose_pread(fd, data, size, offset);
}

ssize_t interpose_pwrite(int fd, const void *data, size_t size, off_t offset)
{
	UNLESS_KVM(true, pwrite, SYS_pwrite64, fd, data, size, offset);
}

ssize_t interpose_readv(int fd, const struct iovec *part, int count)
{
	UNLESS_KVM(false, readv, SYS_readv, fd, part, count);
}

ssize_t interpose_writev(int fd, const struct iovec *part, int count)
{
	UNLESS_KVM(false, writev, SYS_writev, fd, part, count);
}

off_t interpose_lseek(int fd, off_t offset, int whence)
{
	if (class_of(fd) < 0)
		return INTERPOSE_PASS(lseek, raw_result(RAW(SYS_lseek, fd, offset, whence)), fd,
				      offset, whence);
	return raw_result((unsigned)whence > SEEK_HOLE ? -EINVAL : 0);
}

/* ------------------------------------------------------------------ under these names */

INTERPOSE(interpose_write, write);
INTERPOSE(interpose_write, __write);
INTERPOSE(interpose_pread, pread);
INTERPOSE(interpose_pread, pread64);
INTERPOSE(interpose_pread, __pread64);
INTERPOSE(interpose_pread_chk, __pread_chk);
INTERPOSE(interpose_pread_chk, __pread64_chk);
INTERPOSE(interpose_pwrite, pwrite);
INTERPOSE(interpose_pwrite, pwrite64);
INTERPOSE(interpose_pwrite, __pwrite64);
INTERPOSE(interpose_readv, readv);
INTERPOSE(interpose_writev, writev);
INTERPOSE(interpose_lseek, lseek);
INTERPOSE(interpose_lseek, lseek64);
INTERPOSE(interpose_lseek, __lseek);
