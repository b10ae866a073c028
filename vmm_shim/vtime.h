/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The inside of virtual time: threads that take turns (vclock.c, vlook.c), timers (vtimer.c), and the C library's
 * calls as they are answered (vcall.c, vthread.c). The interposers hand over to the latter, and so does
 * the command's own monitor.
 *
 * Async-signal-safe throughout: whoever is between vclock_begin() and vclock_end() has blocked all
 * signals. Nothing is allocated; the tables are those of vsched.h.
 */
#ifndef BUSLOCK_VMM_SHIM_VTIME_H
#define BUSLOCK_VMM_SHIM_VTIME_H

#include "vmm_shim/internal.h"
#include "vmm_shim/vclock.h"
#include "vmm_shim/vsched.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/select.h>
#include <time.h>

#define NSEC 1000000000ull

struct vthread {
	_Atomic uint32_t go; /* its turn; futex */
	int index;           /* of its task */
	_Atomic pid_t tid;
	pthread_t handle;
	bool has_handle;
	kernel_sigset mask;  /* of the thread, which vclock_end() restores */
	kernel_sigset lets;  /* blocked while it waits */
	kernel_sigset wants; /* sigtimedwait(): taken though they are blocked */
	bool signals;        /* a signal ends the wait */
	struct pollfd *fds;  /* so does one of these */
	unsigned nfds;
	bool select; /* by the rules of select(): not every event that poll() reports */
	const _Atomic uint32_t *word;
	uint32_t value;
	bool cancelled; /* pthread_cancel() */
	bool act;       /* … and a wait has ended for it */
	bool look;      /* KVM_RUN: look at signals before the guest goes on */
	bool in_guest;
	unsigned looks;
	unsigned reads; /* of the clock, with nothing in between */
	uint64_t guest_cycles;

	uint64_t instructions, bus_locks, limit; /* of the guest, at its turn's begin */
	uint64_t horizon;                        /* where its turn ends */

	void *(*start)(void *);
	void *argument;
};

extern struct vsched vsched;
extern struct vthread vthreads[VSCHED_TASKS];

/* The calling thread, signals blocked, its turn, the tables locked. NULL: it cannot have virtual time
 * (the table is full); nothing has been done then. */
struct vthread *vclock_begin(void);
void vclock_end(struct vthread *self);

struct vwait {
	uint64_t deadline; /* ns of the virtual CLOCK_MONOTONIC; VSCHED_NEVER */
	const void *address;
	/* Waiting ends, as if it had been woken, when *word is not `value`. */
	const _Atomic uint32_t *word;
	uint32_t value;
	struct pollfd *fds;
	unsigned nfds;
	bool select; /* `fds` stand for the sets of select(): POLLIN, POLLOUT, POLLPRI */
	bool signals;
	bool cancellable; /* pthread_cancel() ends it as a signal does */
	bool masked;      /* `mask` instead of the thread's */
	kernel_sigset mask, wants;
};
/* Give up the turn until something of it happens: VWAKE_LOOK is a signal (still pending). */
enum vwake vclock_wait(struct vthread *self, const struct vwait *wait);
/* Signals that `mask` lets through come now, if `masked`; else those of the thread in vclock_end(). */
void vclock_deliver(struct vthread *self, const struct vwait *wait);
/* Let others come that are to run at the same time; after a while of that, a little time passes. */
void vclock_spin(void);
/* Wake those that wait for `address`: one or all; how many. */
unsigned vclock_wake_address(const void *address, bool all);

/* vlook.c: what a thread does, and how often it has gone to sleep; is one of the thread's `fds` ready? */
enum vlook { VLOOK_BUSY, VLOOK_ASLEEP, VLOOK_ENDED };
enum vlook vlook_at_thread(pid_t tid, uint64_t *switches);
bool vlook_at_descriptors(const struct vthread *t);

/* A thread about to be made by the caller, which has its turn (NULL: no room); that thread itself, when
 * it begins (signals blocked) and ends; it could not be made, or is at its end. */
struct vthread *vclock_thread_new(void);
void vclock_thread_enter(struct vthread *t);
void vclock_thread_leave(void);
void vclock_thread_gone(struct vthread *t);
void vclock_cancel(pthread_t thread);
/* The tables are locked between these two, by whatever thread; others may be woken. */
kernel_sigset vclock_disturb(void);
void vclock_disturbed(kernel_sigset mask);
/* The calling thread, NULL: it has no virtual time (yet). */
struct vthread *vclock_self(void);

/* vtimer.c, called with the tables locked */
void vtimer_fire(int timer, uint64_t times);
void vtimer_after_fork(void);
/* A thread that would take the signal now, as wants_signal() of the kernel; NULL: none. */
struct vthread *vclock_taker(int signal);

/*
 * vtimer.c: timers of timer_create(), by their number, alarm() and setitimer(ITIMER_REAL), and
 * timerfds, by their descriptor. -errno as the system calls; -ENOSYS: the thread has no virtual time.
 */
int vtimer_create(clockid_t clock, const struct sigevent *event, int *id);
int vtimer_settime(int id, bool absolute, const struct itimerspec *value, struct itimerspec *old);
int vtimer_gettime(int id, struct itimerspec *value);
int vtimer_getoverrun(int id);
int vtimer_delete(int id);
int vtimer_set_alarm(const struct itimerspec *value, struct itimerspec *old);
int vtimer_get_alarm(struct itimerspec *value);
int vtimer_fd_create(clockid_t clock, int flags);
int vtimer_fd_settime(int fd, bool absolute, const struct itimerspec *value,
		      struct itimerspec *old);
int vtimer_fd_gettime(int fd, struct itimerspec *value);
bool vtimer_is_fd(int fd);
/* A call that may have closed these numbers, or made them something else, has been made. */
void vtimer_fds_closed(unsigned first, unsigned last);

/*
 * vcall.c: the answers to calls that take time, or tell it. -errno as the system calls; -ENOSYS: the
 * thread has no virtual time, or the call is not answered (which is remembered): ask the kernel.
 * Time-outs are nanoseconds, VSCHED_NEVER none; `mask` may be NULL.
 */
int vcall_clock_gettime(clockid_t clock, struct timespec *now);
int vcall_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
			  struct timespec *left);
int vcall_poll(struct pollfd *fds, nfds_t n, uint64_t timeout, const kernel_sigset *mask);
int vcall_select(int n, fd_set *in, fd_set *out, fd_set *except, uint64_t timeout,
		 const kernel_sigset *mask);
/* Until a descriptor is readable, as a read() that blocks: -EINTR only if the handler does not restart. */
int vcall_readable(int fd);
int vcall_epoll_wait(int fd, void *events, int max, uint64_t timeout, const kernel_sigset *mask);
int vcall_sigtimedwait(const kernel_sigset *set, void *info, uint64_t timeout);
int vcall_sigsuspend(kernel_sigset mask);
int vcall_futex(uint32_t *word, int operation, uint32_t value, const struct timespec *timeout);

/*
 * vthread.c: threads, and what they wait for from each other. Error numbers as the functions of the
 * C library give them, positive; ENOSYS: as above. `deadline`: ns of the virtual CLOCK_MONOTONIC.
 */
int vthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
		   void *argument);
int vthread_join(pthread_t thread, void **value);
int vthread_mutex_lock(pthread_mutex_t *mutex, uint64_t deadline);
int vthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline);
int vthread_sem_wait(void *semaphore, uint64_t deadline); /* sem_t */
/* An absolute time of `clock` on the virtual CLOCK_MONOTONIC. */
uint64_t vcall_deadline(clockid_t clock, const struct timespec *time);

/* one too large to count is never */
static inline uint64_t vns(const struct timespec *t)
{
	if ((uint64_t)t->tv_sec >= VSCHED_NEVER / NSEC)
		return VSCHED_NEVER;
	return (uint64_t)t->tv_sec * NSEC + (uint64_t)t->tv_nsec;
}
static inline struct timespec vtimespec(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / NSEC), .tv_nsec = (long)(ns % NSEC) };
}
static inline bool vvalid(const struct timespec *t)
{
	return t->tv_sec >= 0 && t->tv_nsec >= 0 && t->tv_nsec < (long)NSEC;
}
/* a time from now; one too large is never */
static inline uint64_t vafter(uint64_t now, uint64_t ns)
{
	return now + ns < now ? VSCHED_NEVER : now + ns;
}

#endif
