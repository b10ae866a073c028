// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_shim/own_fd.h"

#include "vmm_shim/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HANDLES 4096
#define LOWEST  900 /* low numbers are the program's */

/* The number plus one; 0: free; LOST: closed behind our back, but its owner still has the handle. */
#define LOST (-1)
static _Atomic int number[HANDLES];
static _Atomic unsigned used; /* high-water mark */

static int copy_above(int fd, int lowest)
{
	int copy = (int)raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, lowest);

	if (copy == -EINVAL || copy == -EMFILE) /* a low limit of descriptors */
		copy = (int)raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
	return copy;
}

int own_fd_copy(int fd)
{
	int copy = copy_above(fd, LOWEST);

	if (copy < 0)
		return copy;
	for (unsigned i = 0; i < HANDLES; i++) {
		unsigned n = atomic_load(&used);
		int none = 0;

		if (!atomic_compare_exchange_strong(&number[i], &none, copy + 1))
			continue;
		while (n < i + 1 && !atomic_compare_exchange_weak(&used, &n, i + 1))
			;
		return (int)i;
	}
	raw_syscall(SYS_close, copy);
	return -EMFILE;
}

int own_fd(int handle)
{
	return handle < 0 ? -1 : atomic_load(&number[handle]) - 1;
}

void own_fd_close(int handle)
{
	int fd = atomic_exchange(&number[handle], 0) - 1;

	if (fd >= 0)
		raw_syscall(SYS_close, fd);
}

void own_fd_lost(int handle)
{
	atomic_store(&number[handle], LOST);
}

static int handle_of(int fd)
{
	unsigned n = atomic_load(&used);

	for (unsigned i = 0; i < n; i++) {
		if (atomic_load_explicit(&number[i], memory_order_relaxed) == fd + 1)
			return (int)i;
	}
	return -1;
}

bool own_fd_is(int fd)
{
	return fd >= 0 && handle_of(fd) >= 0;
}

void own_fd_give_way(int fd)
{
	int handle = fd < 0 ? -1 : handle_of(fd), expected = fd + 1, moved;

	if (handle < 0)
		return;
	moved = copy_above(fd, fd + 1);
	if (moved < 0) /* no room: the program's call comes first */
		return;
	if (atomic_compare_exchange_strong(&number[handle], &expected, moved + 1))
		raw_syscall(SYS_close, fd);
	else
		raw_syscall(SYS_close, moved);
}

int own_fd_in(unsigned first, unsigned last)
{
	unsigned n = atomic_load(&used), lowest = ~0u;

	for (unsigned i = 0; i < n; i++) {
		int fd = own_fd((int)i);

		if (fd >= 0 && (unsigned)fd >= first && (unsigned)fd <= last &&
		    (unsigned)fd < lowest)
			lowest = (unsigned)fd;
	}
	return lowest == ~0u ? -1 : (int)lowest;
}

int64_t own_fd_eventfd(int fd)
{
	static const char name[] = "eventfd-id: "; /* Linux 5.2 */
	char path[48], text[512];
	const char *found;
	long info, n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = raw_syscall(SYS_open, path, O_RDONLY | O_CLOEXEC, 0);
	if (info < 0)
		return -1;
	n = raw_syscall(SYS_read, info, text, sizeof(text) - 1);
	raw_syscall(SYS_close, info);
	text[n > 0 ? n : 0] = 0;
	found = strstr(text, name);
	return found ? strtoll(found + strlen(name), NULL, 10) : -1;
}
