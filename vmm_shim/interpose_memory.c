// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory that the monitor takes away or gives back. As in KVM a slot is a range of the
 * monitor's addresses, whatever is mapped there when the guest gets to it: memory that has gone ends
 * a run with EFAULT, memory that has come back (another mapping included) is used.
 *
 * What changes contents only (MADV_DONTNEED, MADV_REMOVE, a mapping laid over another one) is not a
 * loss: the guest sees the new contents, as on KVM. What no call announces (a truncated file, an
 * munmap() inside free()) is caught when the guest touches it: interpose_fault.c.
 */
#include <stdarg.h>
#include <sys/mman.h>

#include "vmm_shim/interpose.h"
#include "vmm_shim/shim.h"

/* Linux 6.13; the C library's headers of older systems don't know them. */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif

static bool watched(void)
{
	return atomic_load_explicit(&interpose_vm, memory_order_relaxed);
}

static void back(const void *address, size_t size)
{
	int saved = errno;

	shim_memory_back(address, size);
	errno = saved;
}

/* Is it one of ours, a vCPU's? Its pages are not all its own. */
static void mapped(int fd, void *address, size_t size, int protection, off_t offset)
{
	struct shim_file *file;
	int saved = errno;

	if (!atomic_load_explicit(&interpose_opened, memory_order_relaxed) ||
	    interpose_foreign_child())
		return;
	file = shim_file_get(fd);
	if (file) {
		shim_mapped(file, address, size, (uint64_t)offset, protection);
		shim_file_put(file);
	}
	errno = saved;
}

void *interpose_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
	bool over = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
	void *result;

	/* Reserving addresses over memory takes it away. */
	if (watched() && over && protection == PROT_NONE)
		shim_memory_gone(address, size);
	if (next.mmap)
		result = next.mmap(address, size, protection, flags, fd, offset);
	else
		result = (void *)raw_result(
			RAW(SYS_mmap, address, size, protection, flags, fd, offset));
	if (result != MAP_FAILED && fd >= 0 && flags & MAP_SHARED && !(flags & MAP_ANONYMOUS))
		mapped(fd, result, size, protection, offset);
	if (!watched())
		return result;
	if (result == MAP_FAILED) {
		if (over && protection == PROT_NONE)
			back(address, size);
	} else if (protection != PROT_NONE) {
		back(result, size);
	}
	return result;
}

int interpose_munmap(void *address, size_t size)
{
	int result;

	if (watched())
		shim_memory_gone(address, size);
	result = next.munmap ? next.munmap(address, size)
			     : (int)raw_result(RAW(SYS_munmap, address, size));
	if (result < 0 && watched())
		back(address, size);
	return result;
}

void *interpose_mremap(void *old, size_t old_size, size_t size, int flags, ...)
{
	void *target = NULL, *result;

	if (flags & MREMAP_FIXED) {
		va_list arguments;

		va_start(arguments, flags);
		target = va_arg(arguments, void *);
		va_end(arguments);
	}
	if (watched())
		shim_memory_gone(old, old_size);
	if (next.mremap)
		result = next.mremap(old, old_size, size, flags, target);
	else
		result = (void *)raw_result(RAW(SYS_mremap, old, old_size, size, flags, target));
	if (!watched())
		return result;
	if (result == MAP_FAILED) {
		back(old, old_size);
		return result;
	}
	back(result, size);
	/* The old pages have moved, the old addresses are still mapped (to zeros). An old size of
	 * zero makes a second mapping of shared memory and takes nothing. */
	if (flags & MREMAP_DONTUNMAP)
		back(old, old_size);
	return result;
}

/* Before: the guest must not touch it any more when the kernel takes it away. */
static void protection_before(void *address, size_t size, int protection)
{
	if (watched() && protection == PROT_NONE)
		shim_memory_gone(address, size);
}

/* A write to memory that became read-only is found when it faults. */
static int protection_after(void *address, size_t size, int protection, int result)
{
	if (watched() && (result < 0) == (protection == PROT_NONE))
		back(address, size);
	return result;
}

int interpose_mprotect(void *address, size_t size, int protection)
{
	int result;

	protection_before(address, size, protection);
	result = next.mprotect ? next.mprotect(address, size, protection)
			       : (int)raw_result(RAW(SYS_mprotect, address, size, protection));
	return protection_after(address, size, protection, result);
}

int interpose_pkey_mprotect(void *address, size_t size, int protection, int key)
{
	int result;

	protection_before(address, size, protection);
	if (next.pkey_mprotect)
		result = next.pkey_mprotect(address, size, protection, key);
	else
		result = (int)raw_result(RAW(SYS_pkey_mprotect, address, size, protection, key));
	return protection_after(address, size, protection, result);
}

int interpose_madvise(void *address, size_t size, int advice)
{
	int result;

	if (watched() && advice == MADV_GUARD_INSTALL)
		shim_memory_gone(address, size);
	result = next.madvise ? next.madvise(address, size, advice)
			      : (int)raw_result(RAW(SYS_madvise, address, size, advice));
	if (!watched())
		return result;
	if ((advice == MADV_GUARD_INSTALL && result < 0) ||
	    (advice == MADV_GUARD_REMOVE && result == 0))
		back(address, size);
	return result;
}

/* ------------------------------------------------------------------ under these names */

INTERPOSE(interpose_mmap, mmap);
INTERPOSE(interpose_mmap, mmap64);
INTERPOSE(interpose_munmap, munmap);
INTERPOSE(interpose_mremap, mremap);
INTERPOSE(interpose_mprotect, mprotect);
INTERPOSE(interpose_pkey_mprotect, pkey_mprotect);
INTERPOSE(interpose_madvise, madvise);
