/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Descriptors that the shim holds in the program's table, where the kernel would hold a file: copies
 * with high numbers, close-on-exec. The program did not make them, so its close(), close_range() and
 * dup2() pass them by (interpose_file.c). Whoever holds one knows its handle; the number may change.
 * Async-signal-safe, any thread.
 */
#ifndef BUSLOCK_VMM_SHIM_OWN_FD_H
#define BUSLOCK_VMM_SHIM_OWN_FD_H

#include <stdbool.h>
#include <stdint.h>

/* The handle of a copy of `fd`, or -errno: -EBADF, -EMFILE. */
int own_fd_copy(int fd);
int own_fd(int handle); /* its number; negative: lost, or no handle */
void own_fd_close(int handle);
/* A raw system call has closed it, and who knows what is there now. The handle is still to be closed. */
void own_fd_lost(int handle);

bool own_fd_is(int fd);
/* The program wants the number for itself. */
void own_fd_give_way(int fd);
/* The lowest of ours that is in [first, last]; -1: none. */
int own_fd_in(unsigned first, unsigned last);

/* The number that the kernel gave the eventfd behind a descriptor; -1: it is none. */
int64_t own_fd_eventfd(int fd);

#endif
