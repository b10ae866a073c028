// SPDX-License-Identifier: GPL-2.0-only
/* Waiting for descriptors and signals, with or without a time-out; read() of a timerfd. */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "vmm_shim/interpose.h"
#include "vmm_shim/vtime.h"

/* A sigset_t of the C library begins with the kernel's. */
static const kernel_sigset *kernel_set(const sigset_t *set)
{
	return (const kernel_sigset *)(const void *)set;
}

static uint64_t of_ms(int timeout)
{
	return timeout < 0 ? VSCHED_NEVER : (uint64_t)timeout * 1000000;
}

static uint64_t of_timespec(const struct timespec *timeout)
{
	return timeout ? vns(timeout) : VSCHED_NEVER;
}

/* A time-out that the kernel would refuse. */
static bool bad(const struct timespec *timeout)
{
	return timeout && !vvalid(timeout);
}

/* What _FORTIFY_SOURCE is for: the C library ends a program that would write behind its buffer. */
extern _Noreturn void __chk_fail(void);

static void chk(bool fits)
{
	if (!fits)
		__chk_fail();
}

/* ------------------------------------------------------------------ poll */

int interpose_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	int r = vclock_virtual() ? vcall_poll(fds, n, of_ms(timeout), NULL) : -ENOSYS;

	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(poll, (int)raw_result(RAW(SYS_poll, fds, n, timeout)), fds, n,
			      timeout);
}

int interpose_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
		    const sigset_t *mask)
{
	int r = -ENOSYS;

	if (vclock_virtual())
		r = bad(timeout) ? -EINVAL
				 : vcall_poll(fds, n, of_timespec(timeout), kernel_set(mask));
	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(ppoll, (int)raw_result(-ENOSYS), fds, n, timeout, mask);
}

long interpose_sys_ppoll(void *fds, long n, const void *timeout, const void *mask, long size)
{
	if (vclock_virtual())
		return interpose_ppoll(fds, (nfds_t)n, timeout, mask);
	return raw_result(RAW(SYS_ppoll, fds, n, timeout, mask, size));
}

int interpose_poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t size)
{
	chk(n <= size / sizeof(*fds));
	return interpose_poll(fds, n, timeout);
}

int interpose_ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
			const sigset_t *mask, size_t size)
{
	chk(n <= size / sizeof(*fds));
	return interpose_ppoll(fds, n, timeout, mask);
}

/* ------------------------------------------------------------------ select */

int interpose_select(int n, fd_set *in, fd_set *out, fd_set *except, struct timeval *timeout)
{
	uint64_t ns = VSCHED_NEVER, begun = vclock_virtual() ? shim_now_ns() : 0, passed;
	int r = -ENOSYS;

	if (vclock_virtual()) {
		if (timeout && (timeout->tv_sec < 0 || timeout->tv_usec < 0))
			return (int)raw_result(-EINVAL);
		if (timeout) /* the microseconds may be more than a second's */
			ns = vafter(vns(&(struct timespec){ .tv_sec = timeout->tv_sec }),
				    (uint64_t)timeout->tv_usec * 1000);
		r = vcall_select(n, in, out, except, ns, NULL);
	}
	if (r == -ENOSYS)
		return INTERPOSE_PASS(select,
				      (int)raw_result(RAW(SYS_select, n, in, out, except, timeout)),
				      n, in, out, except, timeout);
	if (timeout && ns != VSCHED_NEVER) { /* Linux tells what was left */
		passed = shim_now_ns() - begun;
		ns = ns > passed ? ns - passed : 0;
		timeout->tv_sec = (time_t)(ns / NSEC);
		timeout->tv_usec = (suseconds_t)(ns % NSEC / 1000);
	}
	return (int)raw_result(r);
}

int interpose_pselect(int n, fd_set *in, fd_set *out, fd_set *except,
		      const struct timespec *timeout, const sigset_t *mask)
{
	int r = -ENOSYS;

	if (vclock_virtual())
		r = bad(timeout) ? -EINVAL
				 : vcall_select(n, in, out, except, of_timespec(timeout),
						kernel_set(mask));
	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(pselect, (int)raw_result(-ENOSYS), n, in, out, except, timeout, mask);
}

long interpose_sys_pselect(long n, void *in, void *out, void *except, const void *timeout,
			   const void *mask)
{
	const struct {
		const void *set;
		size_t size;
	} *argument = mask;

	if (vclock_virtual())
		return interpose_pselect((int)n, in, out, except, timeout,
					 argument ? argument->set : NULL);
	return raw_result(RAW(SYS_pselect6, n, in, out, except, timeout, mask));
}

/* ------------------------------------------------------------------ epoll */

int interpose_epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	int r = vclock_virtual() ? vcall_epoll_wait(fd, events, max, of_ms(timeout), NULL)
				 : -ENOSYS;

	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(epoll_wait,
			      (int)raw_result(RAW(SYS_epoll_wait, fd, events, max, timeout)), fd,
			      events, max, timeout);
}

int interpose_epoll_pwait(int fd, struct epoll_event *events, int max, int timeout,
			  const sigset_t *mask)
{
	int r = vclock_virtual()
			? vcall_epoll_wait(fd, events, max, of_ms(timeout), kernel_set(mask))
			: -ENOSYS;

	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(epoll_pwait, (int)raw_result(-ENOSYS), fd, events, max, timeout,
			      mask);
}

long interpose_sys_epoll_pwait(long fd, void *events, long max, long timeout, const void *mask,
			       long size)
{
	if (vclock_virtual())
		return interpose_epoll_pwait((int)fd, events, (int)max, (int)timeout, mask);
	return raw_result(RAW(SYS_epoll_pwait, fd, events, max, timeout, mask, size));
}

int interpose_epoll_pwait2(int fd, struct epoll_event *events, int max,
			   const struct timespec *timeout, const sigset_t *mask)
{
	int r = -ENOSYS;

	if (vclock_virtual())
		r = bad(timeout) ? -EINVAL
				 : vcall_epoll_wait(fd, events, max, of_timespec(timeout),
						    kernel_set(mask));
	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(epoll_pwait2, (int)raw_result(-ENOSYS), fd, events, max, timeout,
			      mask);
}

/* ------------------------------------------------------------------ read */

/* Only a timerfd: other descriptors that block are not answered (docs/time.md). */
static int wait_for_timer(int fd)
{
	long flags = RAW(SYS_fcntl, fd, F_GETFL);

	if (flags < 0 || flags & O_NONBLOCK)
		return 0;
	return vcall_readable(fd) == -EINTR ? -EINTR : 0;
}

ssize_t interpose_read(int fd, void *data, size_t size)
{
	int refused = interpose_no_io(fd, false);

	if (refused)
		return raw_result(refused);
	if (vclock_virtual() && vtimer_is_fd(fd) && wait_for_timer(fd))
		return raw_result(-EINTR);
	return INTERPOSE_PASS(read, raw_result(RAW(SYS_read, fd, data, size)), fd, data, size);
}

ssize_t interpose_read_chk(int fd, void *data, size_t size, size_t room)
{
	chk(size <= room);
	return interpose_read(fd, data, size);
}

/* ------------------------------------------------------------------ signals */

static int wait_for_signal(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
	if (bad(timeout))
		return -EINVAL;
	return vcall_sigtimedwait(kernel_set(set), info, of_timespec(timeout));
}

int interpose_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
	int r = vclock_virtual() ? wait_for_signal(set, info, timeout) : -ENOSYS;

	if (r == -ENOSYS)
		return INTERPOSE_PASS(sigtimedwait, (int)raw_result(-ENOSYS), set, info, timeout);
	/* as the C library shows it */
	if (r > 0 && info && info->si_code == SI_TKILL)
		info->si_code = SI_USER;
	return (int)raw_result(r);
}

long interpose_sys_sigtimedwait(const void *set, void *info, const void *timeout, long size)
{
	if (vclock_virtual())
		return raw_result(wait_for_signal(set, info, timeout));
	return raw_result(RAW(SYS_rt_sigtimedwait, set, info, timeout, size));
}

int interpose_sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
	if (!vclock_virtual())
		return INTERPOSE_PASS(sigwaitinfo, (int)raw_result(-ENOSYS), set, info);
	return interpose_sigtimedwait(set, info, NULL);
}

int interpose_sigwait(const sigset_t *set, int *signal)
{
	int r;

	if (!vclock_virtual())
		return INTERPOSE_PASS(sigwait, ENOSYS, set, signal);
	do
		r = wait_for_signal(set, NULL, NULL);
	while (r == -EINTR);
	if (r < 0)
		return -r;
	*signal = r;
	return 0;
}

int interpose_sigsuspend(const sigset_t *mask)
{
	int r = vclock_virtual() ? vcall_sigsuspend(*kernel_set(mask)) : -ENOSYS;

	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(sigsuspend, (int)raw_result(-ENOSYS), mask);
}

long interpose_sys_sigsuspend(const void *mask, long size)
{
	if (vclock_virtual())
		return interpose_sigsuspend(mask);
	return raw_result(RAW(SYS_rt_sigsuspend, mask, size));
}

int interpose_pause(void)
{
	kernel_sigset mask = 0;

	if (!vclock_virtual())
		return INTERPOSE_PASS(pause, (int)raw_result(RAW(SYS_pause)), );
	RAW(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof(mask));
	return (int)raw_result(vcall_sigsuspend(mask));
}

int interpose_sched_yield(void)
{
	if (!vclock_virtual())
		return INTERPOSE_PASS(sched_yield, (int)raw_result(RAW(SYS_sched_yield)), );
	vclock_spin();
	return 0;
}

/* ------------------------------------------------------------------ under these names */

INTERPOSE(interpose_poll, poll);
INTERPOSE(interpose_ppoll, ppoll);
INTERPOSE(interpose_poll_chk, __poll_chk);
INTERPOSE(interpose_ppoll_chk, __ppoll_chk);
INTERPOSE(interpose_select, select);
INTERPOSE(interpose_select, __select);
INTERPOSE(interpose_pselect, pselect);
INTERPOSE(interpose_epoll_wait, epoll_wait);
INTERPOSE(interpose_epoll_pwait, epoll_pwait);
INTERPOSE(interpose_epoll_pwait2, epoll_pwait2);
INTERPOSE(interpose_read, read);
INTERPOSE(interpose_read, __read);
INTERPOSE(interpose_read_chk, __read_chk);
INTERPOSE(interpose_sigtimedwait, sigtimedwait);
INTERPOSE(interpose_sigwaitinfo, sigwaitinfo);
INTERPOSE(interpose_sigwait, sigwait);
INTERPOSE(interpose_sigsuspend, sigsuspend);
INTERPOSE(interpose_pause, pause);
INTERPOSE(interpose_sched_yield, sched_yield);
