// SPDX-License-Identifier: GPL-2.0-only
/*
 * Arguments of ioctls are the caller's pointers, and a wrong one must give EFAULT and not a crash. The
 * kernel itself is asked to copy: it knows what is mapped, and nothing else has to be hooked.
 */
#include "vmm_shim/internal.h"
#include "vmm_shim/raw.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

static int copy(long call, uint64_t remote, void *local, size_t size)
{
	struct iovec here = { local, size };
	struct iovec there = { (void *)(uintptr_t)remote, size };
	long n;

	if (!size)
		return 0;
	n = raw_syscall(call, raw_syscall(SYS_getpid), &here, 1ul, &there, 1ul, 0ul);
	if (n == (long)size)
		return 0;
	if (n >= 0 || n == -EFAULT)
		return -EFAULT;
	/* A sandbox (seccomp) that forbids the call, or a kernel without it: trust the pointer as any
	 * function of the C library would, if it is mapped. */
	if (!range_mapped(remote, size))
		return -EFAULT;
	if (call == SYS_process_vm_readv)
		memcpy(local, there.iov_base, size);
	else
		memcpy(there.iov_base, local, size);
	return 0;
}

int user_read(void *to, uint64_t from, size_t size)
{
	return copy(SYS_process_vm_readv, from, to, size);
}

int user_write(uint64_t to, const void *from, size_t size)
{
	return copy(SYS_process_vm_writev, to, (void *)(uintptr_t)from, size);
}

/* msync(MS_ASYNC) writes nothing (since 2.6.19) and says ENOMEM if a part is not mapped: one call for
 * any size, where mincore() wants a byte per page. */
bool range_mapped(uint64_t address, size_t size)
{
	uint64_t first = address & ~(PAGE_SIZE - 1);

	if (address + size < address)
		return false;
	size += address - first;
	return raw_syscall(SYS_msync, first, size, MS_ASYNC) == 0;
}
