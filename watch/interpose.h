/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The functions of the C library that the watcher stands in front of. Each call goes on to the next
 * definition, which may be another preloaded library's: under `buslock exec` the emulated kernel's. The
 * rules are those of vmm_shim/interpose.h.
 */
#ifndef BUSLOCK_WATCH_INTERPOSE_H
#define BUSLOCK_WATCH_INTERPOSE_H

#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#define WATCH_NEXT(F)                                                                         \
	F(int, ioctl, (int, unsigned long, ...))                                              \
	F(int, close, (int))                                                                  \
	F(int, close_range, (unsigned, unsigned, int))                                        \
	F(void, closefrom, (int))                                                             \
	F(int, dup, (int))                                                                    \
	F(int, dup2, (int, int))                                                              \
	F(int, dup3, (int, int, int))                                                         \
	F(int, fcntl, (int, int, ...))                                                        \
	F(long, syscall, (long, ...))                                                         \
	F(int, nanosleep, (const struct timespec *, struct timespec *))                       \
	F(int, clock_nanosleep, (clockid_t, int, const struct timespec *, struct timespec *)) \
	F(int, usleep, (useconds_t))                                                          \
	F(unsigned, sleep, (unsigned))

struct watch_next {
#define WATCH_MEMBER(type, name, arguments) type(*name) arguments;
	WATCH_NEXT(WATCH_MEMBER)
#undef WATCH_MEMBER
};
extern struct watch_next watch_next;

#define WATCH_INTERPOSE(function, name)                            \
	extern __typeof__(function) exported_##name __asm__(#name) \
		__attribute__((alias(#function), visibility("default")))

/* The trace's descriptor is not the program's: as in vmm_shim/interpose.h. -1: none. */
int watch_trace_fd(void);
void watch_trace_give_way(int fd);

int watch_interpose_ioctl(int fd, unsigned long request, ...);
int watch_interpose_close(int fd);
int watch_interpose_close_range(unsigned first, unsigned last, int flags);
int watch_interpose_dup(int fd);
int watch_interpose_dup2(int fd, int wanted);
int watch_interpose_dup3(int fd, int wanted, int flags);
int watch_interpose_fcntl(int fd, int command, ...);
int watch_interpose_nanosleep(const struct timespec *time, struct timespec *left);
int watch_interpose_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
				    struct timespec *left);

#endif
