// SPDX-License-Identifier: GPL-2.0-only
/* What the kernel says about those who do not speak for themselves: threads and descriptors. */
#include "vmm_shim/vtime.h"

#include "vmm_shim/raw.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "State:\tS (sleeping)" and "voluntary_ctxt_switches:\t12" of a thread. */
enum vlook vlook_at_thread(pid_t tid, uint64_t *switches)
{
	char path[48], text[2048];
	const char *state, *count;
	long fd, n;

	if (!tid) /* it is about to begin */
		return VLOOK_BUSY;
	snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)tid);
	fd = raw_syscall(SYS_open, path, 0, 0);
	if (fd == -ENOENT)
		return VLOOK_ENDED;
	if (fd < 0)
		return VLOOK_BUSY;
	n = raw_syscall(SYS_read, fd, text, sizeof(text) - 1);
	raw_syscall(SYS_close, fd);
	if (n == -ESRCH)
		return VLOOK_ENDED;
	if (n <= 0)
		return VLOOK_BUSY;
	text[n] = 0;
	state = strstr(text, "State:\t");
	count = strstr(text, "\nvoluntary_ctxt_switches:\t");
	*switches = count ? strtoull(count + 26, NULL, 10) : 0;
	/* a main thread that has called pthread_exit() stays as a zombie until the process ends */
	if (state && (state[7] == 'Z' || state[7] == 'X'))
		return VLOOK_ENDED;
	return state && state[7] == 'S' ? VLOOK_ASLEEP : VLOOK_BUSY;
}

/* What of poll()'s events select() counts, for a set: POLLIN_SET and so on in fs/select.c, Linux 6.12. */
static bool select_counts(const struct pollfd *fd)
{
	static const struct {
		short set, events;
	} sets[] = {
		{ POLLIN, POLLIN | POLLHUP | POLLERR | POLLNVAL },
		{ POLLOUT, POLLOUT | POLLERR | POLLNVAL },
		{ POLLPRI, POLLPRI | POLLNVAL },
	};

	for (unsigned i = 0; i < 3; i++) {
		if (fd->events & sets[i].set && fd->revents & sets[i].events)
			return true;
	}
	return false;
}

bool vlook_at_descriptors(const struct vthread *t)
{
	long n = raw_syscall(SYS_poll, t->fds, t->nfds, 0);

	if (n <= 0 || !t->select)
		return n > 0;
	for (unsigned i = 0; i < t->nfds; i++) {
		if (select_counts(&t->fds[i]))
			return true;
	}
	return false;
}
