// SPDX-License-Identifier: GPL-2.0-only
/*
 * Timers in virtual time: timer_create(2), setitimer(2), timerfd_create(2). Each expires at its exact
 * time; what it does then happens while nobody runs.
 *
 * A timerfd is an eventfd, whose counter is that of the expirations: read(2), poll(2) and epoll(7) do
 * the right thing by themselves.
 */
#include "vmm_shim/vtime.h"

#include "vmm_shim/own_fd.h"
#include "vmm_shim/raw.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum kind { FREE, SILENT, SIGNAL, THREAD, DESCRIPTOR };

static struct timer {
	enum kind kind;
	clockid_t clock;
	int signal;
	union sigval value;
	int code;  /* SI_TIMER, or SI_KERNEL for alarm() */
	pid_t tid; /* SIGEV_THREAD_ID; 0: the process */
	bool sent; /* once since it was set */
	pid_t sent_to;
	uint64_t overrun;
	uint64_t expired; /* THREAD: calls to be made */
	void (*function)(union sigval);
	uint64_t generation; /* of its place in the table: an old one's thread ends */
	int fd, own;         /* a number of the program's, and our copy: own_fd.h */
	int64_t object;      /* what both name */
} timers[VSCHED_TIMERS];

#define ALARM 0 /* its place in the table */

/* ------------------------------------------------------------------ expiring */

/* Is the signal of the last time still pending? The kernel, too, sends a timer's only once then. */
static bool still_pending(const struct timer *t)
{
	const char *name = t->sent_to ? "\nSigPnd:\t" : "\nShdPnd:\t";
	char path[48], text[2048];
	const char *found;
	long fd, n;

	if (!t->sent)
		return false;
	snprintf(path, sizeof(path), "/proc/self/task/%d/status",
		 t->sent_to ? (int)t->sent_to : (int)raw_syscall(SYS_gettid));
	fd = raw_syscall(SYS_open, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return false;
	n = raw_syscall(SYS_read, fd, text, sizeof(text) - 1);
	raw_syscall(SYS_close, fd);
	text[n > 0 ? n : 0] = 0;
	found = strstr(text, name);
	return found && strtoull(found + strlen(name), NULL, 16) & SIGNAL_BIT(t->signal);
}

static struct vthread *thread_of(pid_t tid)
{
	for (unsigned i = 0; i < vsched.tasks; i++) {
		if (vsched.task[i].state != VTASK_FREE && atomic_load(&vthreads[i].tid) == tid)
			return &vthreads[i];
	}
	return NULL;
}

static long queue_signal(pid_t process, const struct timer *t, siginfo_t *info)
{
	if (t->sent_to)
		return raw_syscall(SYS_rt_tgsigqueueinfo, process, t->sent_to, t->signal, info);
	return raw_syscall(SYS_rt_sigqueueinfo, process, t->signal, info);
}

static void send_signal(struct timer *t, int id, uint64_t times)
{
	struct vthread *to = t->tid ? thread_of(t->tid) : vclock_taker(t->signal);
	pid_t process = (pid_t)raw_syscall(SYS_getpid);
	siginfo_t info;

	if (still_pending(t)) {
		t->overrun += times;
		return;
	}
	t->overrun = times - 1;
	memset(&info, 0, sizeof(info));
	info.si_signo = t->signal;
	info.si_code = t->code;
	if (t->code == SI_TIMER) {
		info.si_timerid = id;
		info.si_overrun = (int)t->overrun;
		info.si_value = t->value;
	}
	t->sent = true;
	/* All threads have blocked it here: the kernel could not choose as it would. */
	t->sent_to = t->tid ? t->tid : to ? atomic_load(&to->tid) : 0;
	/*
	 * SI_KERNEL only the main thread may send: do_rt_tgsigqueueinfo() in Linux 6.12 compares the
	 * number of the thread, not of the process. From others alarm() is a timer like any other.
	 */
	if (queue_signal(process, t, &info) == -EPERM) {
		info.si_code = SI_TIMER;
		queue_signal(process, t, &info);
	}
	if (to) {
		to->look = true;
		vsched_wake(&vsched, to->index, VWAKE_LOOK);
	}
}

void vtimer_fire(int id, uint64_t times)
{
	struct timer *t = &timers[id];

	switch (t->kind) {
	case SIGNAL:
		send_signal(t, id, times);
		break;
	case THREAD:
		t->expired += times;
		vsched_wake_one(&vsched, t);
		break;
	case DESCRIPTOR:
		raw_syscall(SYS_write, own_fd(t->own), &times, sizeof(times));
		break;
	default:
		break;
	}
}

/* POSIX timers are not inherited, and the counter of a timerfd is the parent's business, too. */
void vtimer_after_fork(void)
{
	for (unsigned i = 0; i < VSCHED_TIMERS; i++) {
		vsched.timer[i].armed = false;
		if (timers[i].kind != DESCRIPTOR)
			timers[i].kind = FREE;
	}
}

/* ------------------------------------------------------------------ setting */

static int clock_offset(clockid_t clock, uint64_t *offset)
{
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_TAI:
		*offset = VCLOCK_REALTIME_NS;
		return 0;
	case CLOCK_MONOTONIC:
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM:
		*offset = 0;
		return 0;
	default:
		return -EINVAL;
	}
}

static int timer_new(enum kind kind, clockid_t clock)
{
	for (int i = ALARM + 1; i < VSCHED_TIMERS; i++) {
		if (timers[i].kind != FREE)
			continue;
		timers[i] = (struct timer){ .kind = kind,
					    .clock = clock,
					    .generation = timers[i].generation + 1,
					    .fd = -1,
					    .own = -1 };
		vsched.timer[i].armed = false;
		if ((unsigned)i >= vsched.timers)
			vsched.timers = (unsigned)i + 1;
		return i;
	}
	return -EAGAIN;
}

static void look_at(int id, const struct vthread *self, struct itimerspec *value)
{
	const struct vtimer_event *e = &vsched.timer[id];
	uint64_t now = vsched_ns(&vsched, vsched.task[self->index].time);

	memset(value, 0, sizeof(*value));
	if (!e->armed)
		return;
	/* an armed one has at least a nanosecond to go */
	value->it_value = vtimespec(e->due_ns > now ? e->due_ns - now : 1);
	value->it_interval = vtimespec(e->interval_ns);
}

static void set(int id, const struct vthread *self, bool absolute, const struct itimerspec *value)
{
	uint64_t now = vsched_ns(&vsched, vsched.task[self->index].time), ns, offset = 0;

	timers[id].sent = false;
	timers[id].overrun = timers[id].expired = 0;
	ns = vns(&value->it_value);
	if (!ns) {
		vsched.timer[id].armed = false;
		return;
	}
	clock_offset(timers[id].clock, &offset);
	if (absolute)
		ns = ns > offset ? ns - offset : 0;
	else
		ns = vafter(now, ns);
	vsched_timer_set(&vsched, id, ns, vns(&value->it_interval));
}

static bool valid(const struct itimerspec *value)
{
	return vvalid(&value->it_value) && vvalid(&value->it_interval);
}

/* ------------------------------------------------------------------ timer_create(2) */

static bool is_generation(const struct timer *t, uint64_t generation)
{
	return t->kind == THREAD && t->generation == generation;
}

/*
 * The thread of SIGEV_THREAD: one for each timer, where the C library starts one for each call. When it
 * looks, the timer may be gone, and another one in its place. Its argument is both, place and generation.
 */
static void *notify(void *opaque)
{
	uint64_t generation = (uintptr_t)opaque / VSCHED_TIMERS;
	struct timer *t = &timers[(uintptr_t)opaque % VSCHED_TIMERS];
	const struct vwait w = {
		.deadline = VSCHED_NEVER, .address = t, .masked = true, .mask = ~0ull
	};

	for (;;) {
		struct vthread *self = vclock_begin();
		void (*function)(union sigval);
		union sigval value;

		if (!self)
			return NULL;
		while (is_generation(t, generation) && !t->expired)
			vclock_wait(self, &w);
		if (!is_generation(t, generation)) {
			vclock_end(self);
			return NULL;
		}
		function = t->function;
		value = t->value;
		t->overrun = t->expired - 1;
		t->expired = 0;
		vclock_end(self);
		function(value);
	}
}

static int start_notifier(int id, const struct sigevent *event)
{
	void *argument = (void *)(uintptr_t)(timers[id].generation * VSCHED_TIMERS + (unsigned)id);
	pthread_attr_t own;
	pthread_t thread;
	int r;

	if (event->sigev_notify_attributes) {
		r = vthread_create(&thread, event->sigev_notify_attributes, notify, argument);
		if (!r)
			pthread_detach(thread); /* it may be already */
		return -r;
	}
	r = pthread_attr_init(&own);
	if (r)
		return -r;
	pthread_attr_setdetachstate(&own, PTHREAD_CREATE_DETACHED);
	r = vthread_create(&thread, &own, notify, argument);
	pthread_attr_destroy(&own);
	return -r;
}

/* The rules of good_sigevent() in kernel/time/posix-timers.c. */
static int kind_of(const struct sigevent *event, enum kind *kind)
{
	bool signal = event->sigev_signo > 0 && event->sigev_signo <= 64;

	switch (event->sigev_notify) {
	case SIGEV_NONE:
		*kind = SILENT;
		return 0;
	case SIGEV_SIGNAL:
	case SIGEV_THREAD_ID:
		*kind = SIGNAL;
		return signal ? 0 : -EINVAL;
	case SIGEV_THREAD:
		*kind = THREAD;
		return event->sigev_notify_function ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

static int create(clockid_t clock, const struct sigevent *event, enum kind kind)
{
	int id = timer_new(kind, clock);
	struct timer *t;

	if (id < 0)
		return id;
	t = &timers[id];
	t->code = SI_TIMER;
	t->signal = event ? event->sigev_signo : SIGALRM;
	if (event)
		t->value = event->sigev_value;
	else
		t->value.sival_int = id;
	if (event && event->sigev_notify == SIGEV_THREAD_ID)
		t->tid = event->_sigev_un._tid;
	if (kind == THREAD)
		t->function = event->sigev_notify_function;
	return id;
}

int vtimer_create(clockid_t clock, const struct sigevent *event, int *id)
{
	enum kind kind = SIGNAL;
	struct vthread *self;
	uint64_t offset;
	int r = event ? kind_of(event, &kind) : 0;

	if (r)
		return r;
	if (clock_offset(clock, &offset)) /* of CPU time: time(7) has no answer for the monitor's */
		return -ENOTSUP;
	self = vclock_begin();
	if (!self)
		return -ENOSYS;
	r = create(clock, event, kind);
	if (r >= 0 && timers[r].tid && !thread_of(timers[r].tid)) {
		timers[r].kind = FREE;
		r = -EINVAL;
	}
	vclock_end(self);
	if (r < 0)
		return r;
	*id = r;
	r = kind == THREAD ? start_notifier(*id, event) : 0;
	if (r)
		timers[*id].kind = FREE;
	return r;
}

static bool exists(int id)
{
	return id > ALARM && id < VSCHED_TIMERS && timers[id].kind != FREE &&
	       timers[id].kind != DESCRIPTOR;
}

/* `*self`: to be given to vclock_end(). -EINVAL: no such timer; -ENOSYS: not in virtual time here. */
static int begin(int id, struct vthread **self)
{
	if (!exists(id))
		return -EINVAL;
	*self = vclock_begin();
	return *self ? 0 : -ENOSYS;
}

int vtimer_settime(int id, bool absolute, const struct itimerspec *value, struct itimerspec *old)
{
	struct vthread *self;
	int r = valid(value) ? begin(id, &self) : -EINVAL;

	if (r)
		return r;
	if (old)
		look_at(id, self, old);
	set(id, self, absolute, value);
	vclock_end(self);
	return 0;
}

int vtimer_gettime(int id, struct itimerspec *value)
{
	struct vthread *self;
	int r = begin(id, &self);

	if (r)
		return r;
	look_at(id, self, value);
	vclock_end(self);
	return 0;
}

int vtimer_getoverrun(int id)
{
	if (!exists(id))
		return -EINVAL;
	return timers[id].overrun > INT32_MAX ? INT32_MAX : (int)timers[id].overrun;
}

int vtimer_delete(int id)
{
	struct vthread *self;
	int r = begin(id, &self);

	if (r)
		return r;
	vsched.timer[id].armed = false;
	timers[id].kind = FREE;
	timers[id].function = NULL;
	vsched_wake_all(&vsched, &timers[id]); /* its thread ends */
	vclock_end(self);
	return 0;
}

/* ------------------------------------------------------------------ alarm(2), setitimer(2) */

int vtimer_set_alarm(const struct itimerspec *value, struct itimerspec *old)
{
	struct vthread *self;

	if (!valid(value))
		return -EINVAL;
	self = vclock_begin();
	if (!self)
		return -ENOSYS;
	if (!vsched.timers)
		vsched.timers = ALARM + 1;
	timers[ALARM] = (struct timer){
		.kind = SIGNAL, .clock = CLOCK_MONOTONIC, .signal = SIGALRM, .code = SI_KERNEL
	};
	if (old)
		look_at(ALARM, self, old);
	set(ALARM, self, false, value);
	vclock_end(self);
	return 0;
}

int vtimer_get_alarm(struct itimerspec *value)
{
	struct vthread *self = vclock_begin();

	if (!self)
		return -ENOSYS;
	look_at(ALARM, self, value);
	vclock_end(self);
	return 0;
}

/* ------------------------------------------------------------------ timerfd_create(2) */

/* All eventfds, and more, have one inode: what is not there need not be looked at. */
static bool like_timer(int fd, const struct timer *t)
{
	struct stat a, b;

	return !raw_syscall(SYS_fstat, fd, &a) && !raw_syscall(SYS_fstat, own_fd(t->own), &b) &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* By its number, or as a copy (dup(2)) of it. */
static struct timer *fd_find(int fd)
{
	int64_t object = -1;

	for (unsigned i = 0; fd >= 0 && i < vsched.timers; i++) {
		if (timers[i].kind == DESCRIPTOR && timers[i].fd == fd)
			return &timers[i];
	}
	for (unsigned i = 0; fd >= 0 && i < vsched.timers; i++) {
		if (timers[i].kind != DESCRIPTOR)
			continue;
		if (object < 0 &&
		    (!like_timer(fd, &timers[i]) || (object = own_fd_eventfd(fd)) < 0))
			return NULL;
		if (timers[i].object == object)
			return &timers[i];
	}
	return NULL;
}

bool vtimer_is_fd(int fd)
{
	return fd_find(fd) != NULL;
}

int vtimer_fd_create(clockid_t clock, int flags)
{
	struct vthread *self;
	uint64_t offset;
	int id, fd, own;

	_Static_assert((int)TFD_CLOEXEC == (int)EFD_CLOEXEC, "");
	_Static_assert((int)TFD_NONBLOCK == (int)EFD_NONBLOCK, "");
	if (clock_offset(clock, &offset) || clock == CLOCK_TAI ||
	    flags & ~(TFD_CLOEXEC | TFD_NONBLOCK))
		return -EINVAL;
	fd = (int)raw_syscall(SYS_eventfd2, 0, flags);
	if (fd < 0)
		return fd;
	own = own_fd_copy(fd);
	self = own < 0 ? NULL : vclock_begin();
	id = self ? timer_new(DESCRIPTOR, clock) : own < 0 ? own : -ENOSYS;
	if (id >= 0) {
		timers[id].fd = fd;
		timers[id].own = own;
		timers[id].object = own_fd_eventfd(fd);
	}
	if (self)
		vclock_end(self);
	if (id >= 0)
		return fd;
	if (own >= 0)
		own_fd_close(own);
	raw_syscall(SYS_close, fd);
	return id == -EAGAIN ? -EMFILE : id;
}

int vtimer_fd_settime(int fd, bool absolute, const struct itimerspec *value, struct itimerspec *old)
{
	struct timer *t = fd_find(fd);
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	struct vthread *self;
	uint64_t count;

	if (!t || !valid(value))
		return -EINVAL;
	self = vclock_begin();
	if (!self)
		return -ENOSYS;
	if (old)
		look_at((int)(t - timers), self, old);
	/* setting it forgets what has expired */
	if (raw_syscall(SYS_poll, &ready, 1, 0) > 0)
		raw_syscall(SYS_read, fd, &count, sizeof(count));
	set((int)(t - timers), self, absolute, value);
	vclock_end(self);
	return 0;
}

int vtimer_fd_gettime(int fd, struct itimerspec *value)
{
	struct timer *t = fd_find(fd);
	struct vthread *self;

	if (!t)
		return -EINVAL;
	self = vclock_begin();
	if (!self)
		return -ENOSYS;
	look_at((int)(t - timers), self, value);
	vclock_end(self);
	return 0;
}

static bool in_range(const struct timer *t, unsigned first, unsigned last)
{
	return t->kind == DESCRIPTOR && (unsigned)t->fd >= first && (unsigned)t->fd <= last;
}

/* Another number of the program's for the same object; -1: there is none left. */
static int other_number(const struct timer *t)
{
	char entries[1024];
	long n, directory = raw_syscall(SYS_open, "/proc/self/fd", O_RDONLY | O_DIRECTORY, 0);
	int found = -1;

	if (directory < 0)
		return -1;
	while (found < 0 &&
	       (n = raw_syscall(SYS_getdents64, directory, entries, sizeof(entries))) > 0) {
		const struct dirent64 *entry;

		for (long at = 0; at < n && found < 0; at += entry->d_reclen) {
			int fd;

			entry = (const struct dirent64 *)(const void *)(entries + at);
			fd = atoi(entry->d_name);
			if (entry->d_name[0] != '.' && !own_fd_is(fd) &&
			    own_fd_eventfd(fd) == t->object)
				found = fd;
		}
	}
	raw_syscall(SYS_close, directory);
	return found;
}

/*
 * A timerfd lives as long as the program has a number for it. If the call has failed, or left another
 * number, all is as it was.
 */
static void look_again(int id)
{
	struct timer *t = &timers[id];

	if (own_fd_eventfd(t->fd) != t->object)
		t->fd = other_number(t);
	if (t->fd >= 0)
		return;
	vsched.timer[id].armed = false;
	t->kind = FREE;
	own_fd_close(t->own);
}

void vtimer_fds_closed(unsigned first, unsigned last)
{
	for (unsigned i = 0; i < vsched.timers; i++) {
		kernel_sigset mask;

		if (!in_range(&timers[i], first, last))
			continue;
		mask = vclock_disturb();
		if (in_range(&timers[i], first, last))
			look_again((int)i);
		vclock_disturbed(mask);
	}
}
