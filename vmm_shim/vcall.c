// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls that tell the time or let it pass, answered in virtual time. Descriptors stay the kernel's:
 * whether one is ready is asked there, without waiting, each time that time would pass.
 */
#include "vmm_shim/vtime.h"

#include "vmm_shim/raw.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* As SPIN_READS in vclock.c: so many reads of the clock in a row are taken for waiting. */
#define MANY_READS 1000

/* ------------------------------------------------------------------ the clocks */

static bool is_real(clockid_t clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE ||
	       clock == CLOCK_REALTIME_ALARM || clock == CLOCK_TAI;
}

static bool is_monotonic(clockid_t clock)
{
	return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW ||
	       clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME ||
	       clock == CLOCK_BOOTTIME_ALARM;
}

/* CPU time is what guests have used: the monitor's own code costs nothing. */
static uint64_t cpu_ns(bool process)
{
	const struct vthread *self = vclock_self();
	uint64_t cycles = 0;

	if (!process)
		return self ? vsched_ns(&vsched, self->guest_cycles) : 0;
	for (unsigned i = 0; i < vsched.tasks; i++)
		cycles += vthreads[i].guest_cycles;
	return vsched_ns(&vsched, cycles);
}

int vcall_clock_gettime(clockid_t clock, struct timespec *now)
{
	struct vthread *self = vclock_self();

	if (is_monotonic(clock) || is_real(clock)) {
		if (self && ++self->reads >= MANY_READS)
			vclock_spin();
		*now = vtimespec(shim_now_ns() + (is_real(clock) ? VCLOCK_REALTIME_NS : 0));
		return 0;
	}
	if (clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID) {
		*now = vtimespec(cpu_ns(clock == CLOCK_PROCESS_CPUTIME_ID));
		return 0;
	}
	if (clock < 0)
		vclock_nondeterministic("the program read clock %d, which is a CPU's or a device's",
					(int)clock);
	return -ENOSYS;
}

uint64_t vcall_deadline(clockid_t clock, const struct timespec *time)
{
	uint64_t ns = vns(time);

	if (!is_real(clock))
		return ns;
	return ns > VCLOCK_REALTIME_NS ? ns - VCLOCK_REALTIME_NS : 0;
}

/* ------------------------------------------------------------------ sleeping */

static int sleep_until(struct vthread *self, uint64_t deadline, uint64_t *left)
{
	const struct vwait w = { .deadline = deadline, .signals = true, .cancellable = true };
	enum vwake wake = vclock_wait(self, &w);
	uint64_t now = vsched_ns(&vsched, vsched.task[self->index].time);

	*left = deadline > now ? deadline - now : 0;
	return wake == VWAKE_LOOK ? -EINTR : 0;
}

int vcall_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
			  struct timespec *left)
{
	struct vthread *self;
	uint64_t deadline, rest;
	int r;

	if (clock == CLOCK_THREAD_CPUTIME_ID || !vvalid(time))
		return -EINVAL;
	if (!is_real(clock) && !is_monotonic(clock))
		return -ENOTSUP;
	self = vclock_begin();
	if (!self)
		return -ENOSYS;
	deadline = flags & TIMER_ABSTIME
			   ? vcall_deadline(clock, time)
			   : vafter(vsched_ns(&vsched, vsched.task[self->index].time), vns(time));
	r = sleep_until(self, deadline, &rest);
	vclock_end(self);
	if (r == -EINTR && left && !(flags & TIMER_ABSTIME))
		*left = vtimespec(rest);
	return r;
}

/* ------------------------------------------------------------------ descriptors */

/* 0 or more from `ready`, which asks the kernel without waiting; -EINTR. */
struct question {
	int (*ready)(void *call);
	void *call;
	struct pollfd *fds;
	unsigned nfds;
	bool select; /* as in struct vwait */
	uint64_t timeout;
	const kernel_sigset *mask;
};

static int wait_ready(struct vthread *self, const struct question *q)
{
	struct vwait w = { .deadline = VSCHED_NEVER,
			   .fds = q->fds,
			   .nfds = q->nfds,
			   .select = q->select,
			   .signals = true,
			   .cancellable = true,
			   .masked = q->mask != NULL,
			   .mask = q->mask ? *q->mask : 0 };
	enum vwake wake;
	int r;

	if (q->timeout != VSCHED_NEVER)
		w.deadline = vafter(vsched_ns(&vsched, vsched.task[self->index].time), q->timeout);
	do {
		wake = vclock_wait(self, &w);
		r = q->ready(q->call);
	} while (wake == VWAKE_EVENT && !r); /* somebody else was faster */
	if (!r && wake == VWAKE_LOOK) {
		if (!self->act)
			vclock_deliver(self, &w);
		r = -EINTR;
	}
	return r;
}

static int ask(const struct question *q)
{
	struct vthread *self;
	int r = q->ready(q->call);

	if (r)
		return r;
	if (!q->timeout && !q->mask) {
		vclock_spin();
		return 0;
	}
	self = vclock_begin();
	if (!self)
		return -ENOSYS;
	if (!q->timeout) {
		const struct vwait w = { .masked = true, .mask = *q->mask };

		if (signals_pending(*q->mask)) {
			vclock_deliver(self, &w);
			r = -EINTR;
		}
		vclock_end(self);
		if (!r)
			vclock_spin();
		return r;
	}
	r = wait_ready(self, q);
	vclock_end(self);
	return r;
}

struct poll_call {
	struct pollfd *fds;
	nfds_t n;
};

static int poll_ready(void *opaque)
{
	const struct poll_call *call = opaque;

	return (int)raw_syscall(SYS_poll, call->fds, call->n, 0);
}

int vcall_poll(struct pollfd *fds, nfds_t n, uint64_t timeout, const kernel_sigset *mask)
{
	struct poll_call call = { fds, n };
	const struct question q = { .ready = poll_ready,
				    .call = &call,
				    .fds = fds,
				    .nfds = (unsigned)n,
				    .timeout = timeout,
				    .mask = mask };

	return ask(&q);
}

int vcall_readable(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	const struct vwait w = { .deadline = VSCHED_NEVER,
				 .fds = &ready,
				 .nfds = 1,
				 .signals = true,
				 .cancellable = true };

	while (!raw_syscall(SYS_poll, &ready, 1, 0)) {
		struct vthread *self = vclock_begin();
		bool again = true;

		if (!self)
			return -ENOSYS;
		if (vclock_wait(self, &w) == VWAKE_LOOK)
			again = signals_restart(self->mask);
		vclock_end(self);
		if (!again)
			return -EINTR;
	}
	return 0;
}

struct select_call {
	int n;
	fd_set *set[3], asked[3];
};

static size_t bytes_of(int n)
{
	return ((size_t)n + 63) / 64 * 8;
}

/* The kernel overwrites the sets, so each look begins with what was asked. */
static int select_ready(void *opaque)
{
	struct select_call *call = opaque;
	const struct timespec none = { 0, 0 };

	for (int i = 0; i < 3; i++) {
		if (call->set[i])
			memcpy(call->set[i], &call->asked[i], bytes_of(call->n));
	}
	return (int)raw_syscall(SYS_pselect6, call->n, call->set[0], call->set[1], call->set[2],
				&none, NULL);
}

static unsigned poll_of_select(const struct select_call *call, struct pollfd fds[FD_SETSIZE])
{
	static const short events[] = { POLLIN, POLLOUT, POLLPRI };
	unsigned count = 0;

	for (int fd = 0; fd < call->n; fd++) {
		short wanted = 0;

		for (int i = 0; i < 3; i++) {
			if (call->set[i] && FD_ISSET(fd, &call->asked[i]))
				wanted |= events[i];
		}
		if (wanted)
			fds[count++] = (struct pollfd){ .fd = fd, .events = wanted };
	}
	return count;
}

int vcall_select(int n, fd_set *in, fd_set *out, fd_set *except, uint64_t timeout,
		 const kernel_sigset *mask)
{
	struct select_call call = { .n = n, .set = { in, out, except } };
	struct pollfd fds[FD_SETSIZE];
	struct question q = { .ready = select_ready,
			      .call = &call,
			      .fds = fds,
			      .select = true,
			      .timeout = timeout,
			      .mask = mask };
	int r;

	if (n < 0)
		return -EINVAL;
	if (n > FD_SETSIZE)
		return -ENOSYS;
	for (int i = 0; i < 3; i++) {
		if (call.set[i])
			memcpy(&call.asked[i], call.set[i], bytes_of(n));
	}
	q.nfds = poll_of_select(&call, fds);
	r = ask(&q);
	for (int i = 0; i < 3 && r < 0; i++) { /* an error leaves them as they were: select(2) */
		if (call.set[i])
			memcpy(call.set[i], &call.asked[i], bytes_of(n));
	}
	return r;
}

struct epoll_call {
	int fd, max;
	void *events;
};

static int epoll_ready(void *opaque)
{
	const struct epoll_call *call = opaque;

	return (int)raw_syscall(SYS_epoll_wait, call->fd, call->events, call->max, 0);
}

int vcall_epoll_wait(int fd, void *events, int max, uint64_t timeout, const kernel_sigset *mask)
{
	struct epoll_call call = { fd, max, events };
	struct pollfd self = { .fd = fd, .events = POLLIN };
	const struct question q = { .ready = epoll_ready,
				    .call = &call,
				    .fds = &self,
				    .nfds = 1,
				    .timeout = timeout,
				    .mask = mask };

	return ask(&q);
}

/* ------------------------------------------------------------------ signals */

static int take_signal(const kernel_sigset *set, void *info)
{
	const struct timespec none = { 0, 0 };

	return (int)raw_syscall(SYS_rt_sigtimedwait, set, info, &none, sizeof(*set));
}

int vcall_sigtimedwait(const kernel_sigset *set, void *info, uint64_t timeout)
{
	struct vwait w = {
		.deadline = VSCHED_NEVER, .signals = true, .cancellable = true, .wants = *set
	};
	struct vthread *self = vclock_begin();
	enum vwake wake;
	int r;

	if (!self)
		return -ENOSYS;
	r = take_signal(set, info);
	if (r == -EAGAIN && timeout) {
		if (timeout != VSCHED_NEVER)
			w.deadline =
				vafter(vsched_ns(&vsched, vsched.task[self->index].time), timeout);
		wake = vclock_wait(self, &w);
		r = take_signal(set, info);
		if (r == -EAGAIN && wake == VWAKE_LOOK) /* another one */
			r = -EINTR;
	}
	vclock_end(self);
	return r;
}

int vcall_sigsuspend(kernel_sigset mask)
{
	const struct vwait w = { .deadline = VSCHED_NEVER,
				 .signals = true,
				 .cancellable = true,
				 .masked = true,
				 .mask = mask };
	struct vthread *self = vclock_begin();

	if (!self)
		return -ENOSYS;
	vclock_wait(self, &w);
	if (!self->act)
		vclock_deliver(self, &w);
	vclock_end(self);
	return -EINTR;
}

/* ------------------------------------------------------------------ futex(2), as programs call it */

static int futex_wait(uint32_t *word, uint32_t value, uint64_t deadline)
{
	const struct vwait w = { .deadline = deadline,
				 .address = word,
				 .word = (const _Atomic uint32_t *)word,
				 .value = value,
				 .signals = true };
	enum vwake wake;
	bool again;

	do {
		struct vthread *self = vclock_begin();

		if (!self)
			return -ENOSYS;
		if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != value) {
			vclock_end(self);
			return -EAGAIN;
		}
		wake = vclock_wait(self, &w);
		/* with a time-out a handler always ends it: futex_wait() in Linux 6.12 */
		again = wake == VWAKE_LOOK && deadline == VSCHED_NEVER &&
			signals_restart(self->mask);
		vclock_end(self);
	} while (again);
	return wake == VWAKE_DEADLINE ? -ETIMEDOUT : wake == VWAKE_LOOK ? -EINTR : 0;
}

int vcall_futex(uint32_t *word, int operation, uint32_t value, const struct timespec *timeout)
{
	int command = operation & FUTEX_CMD_MASK;
	clockid_t clock = operation & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC;
	uint64_t deadline = VSCHED_NEVER;
	unsigned n = 0;

	switch (command) {
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
		if (timeout && !vvalid(timeout))
			return -EINVAL;
		if (timeout)
			deadline = command == FUTEX_WAIT ? vafter(shim_now_ns(), vns(timeout))
							 : vcall_deadline(clock, timeout);
		return futex_wait(word, value, deadline);
	case FUTEX_WAKE:
	case FUTEX_WAKE_BITSET:
		while (n < value && vclock_wake_address(word, false))
			n++;
		if (n < value) /* threads from outside */
			n += (unsigned)raw_syscall(SYS_futex, word,
						   FUTEX_WAKE | (operation & FUTEX_PRIVATE_FLAG),
						   value - n, NULL, NULL, 0);
		return (int)n;
	default:
		return -ENOSYS;
	}
}
