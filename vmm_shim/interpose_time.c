// SPDX-License-Identifier: GPL-2.0-only
/*
 * The time: clocks, sleeps and timers. With --time=real each of these is a branch that is never taken;
 * with --time=virtual vcall.c and vtimer.c answer.
 */
#include <unistd.h>

#include "vmm_shim/interpose.h"
#include "vmm_shim/shim.h"
#include "vmm_shim/vtime.h"

/* A timer's number as timer_t, which the C library defines as a pointer. */
static timer_t timer_of(int id)
{
	return (timer_t)(intptr_t)id;
}
static int id_of(timer_t timer)
{
	return (int)(intptr_t)timer;
}

/* ------------------------------------------------------------------ the clocks */

int interpose_clock_gettime(clockid_t clock, struct timespec *now)
{
	int r = vclock_virtual() ? vcall_clock_gettime(clock, now) : -ENOSYS;

	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(clock_gettime, (int)raw_result(RAW(SYS_clock_gettime, clock, now)),
			      clock, now);
}

int interpose_clock_getres(clockid_t clock, struct timespec *resolution)
{
	int r = INTERPOSE_PASS(clock_getres,
			       (int)raw_result(RAW(SYS_clock_getres, clock, resolution)), clock,
			       resolution);

	/* coarse clocks are exact, too */
	if (!r && resolution && vclock_virtual())
		*resolution = (struct timespec){ .tv_nsec = 1 };
	return r;
}

int interpose_gettimeofday(struct timeval *now, void *zone)
{
	struct timespec t;

	if (!vclock_virtual() || !now)
		return INTERPOSE_PASS(gettimeofday,
				      (int)raw_result(RAW(SYS_gettimeofday, now, zone)), now, zone);
	vcall_clock_gettime(CLOCK_REALTIME, &t);
	now->tv_sec = t.tv_sec;
	now->tv_usec = t.tv_nsec / 1000;
	return 0;
}

time_t interpose_time(time_t *now)
{
	struct timespec t;

	if (!vclock_virtual())
		return INTERPOSE_PASS(time, (time_t)RAW(SYS_time, now), now);
	vcall_clock_gettime(CLOCK_REALTIME, &t);
	if (now)
		*now = t.tv_sec;
	return t.tv_sec;
}

clock_t interpose_clock(void)
{
	struct timespec t;

	if (!vclock_virtual())
		return INTERPOSE_PASS(clock, (clock_t)-1, );
	vcall_clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (clock_t)(t.tv_sec * CLOCKS_PER_SEC + t.tv_nsec / (long)(NSEC / CLOCKS_PER_SEC));
}

int interpose_timespec_get(struct timespec *now, int base)
{
	if (!vclock_virtual() || base != TIME_UTC)
		return INTERPOSE_PASS(timespec_get, 0, now, base);
	vcall_clock_gettime(CLOCK_REALTIME, now);
	return base;
}

/* ------------------------------------------------------------------ sleeping */

/* What a call that slept returned, and a line in the trace if a policy for bus locks made it. */
static int slept(uint64_t since, int result)
{
	if (since)
		shim_policy_slept(since, result != 0);
	return result;
}

static int do_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
			      struct timespec *left)
{
	int r = vclock_virtual() ? vcall_clock_nanosleep(clock, flags, time, left) : -ENOSYS;

	if (r != -ENOSYS)
		return -r;
	return INTERPOSE_PASS(clock_nanosleep,
			      (int)-RAW(SYS_clock_nanosleep, clock, flags, time, left), clock,
			      flags, time, left);
}

int interpose_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
			      struct timespec *left)
{
	uint64_t since = shim_policy_sleeps();

	return slept(since, do_clock_nanosleep(clock, flags, time, left));
}

long interpose_sys_clock_nanosleep(long clock, long flags, const void *time, void *left)
{
	return raw_result(-interpose_clock_nanosleep((clockid_t)clock, (int)flags, time, left));
}

static int do_nanosleep(const struct timespec *time, struct timespec *left)
{
	int r = vclock_virtual() ? vcall_clock_nanosleep(CLOCK_MONOTONIC, 0, time, left) : -ENOSYS;

	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(nanosleep, (int)raw_result(RAW(SYS_nanosleep, time, left)), time,
			      left);
}

int interpose_nanosleep(const struct timespec *time, struct timespec *left)
{
	uint64_t since = shim_policy_sleeps();

	return slept(since, do_nanosleep(time, left));
}

int interpose_usleep(useconds_t us)
{
	const struct timespec time = vtimespec(us * 1000ull);
	uint64_t since = shim_policy_sleeps();

	if (!vclock_virtual())
		return slept(since, INTERPOSE_PASS(usleep, do_nanosleep(&time, NULL), us));
	return slept(since, do_nanosleep(&time, NULL));
}

unsigned interpose_sleep(unsigned seconds)
{
	struct timespec time = { .tv_sec = seconds }, left = { 0, 0 };
	uint64_t since = shim_policy_sleeps();

	if (!vclock_virtual())
		return (unsigned)slept(since, (int)INTERPOSE_PASS(sleep, 0, seconds));
	/* glibc tells whole seconds (sysdeps/posix/sleep.c) */
	return slept(since, do_nanosleep(&time, &left)) ? (unsigned)left.tv_sec : 0;
}

/* ------------------------------------------------------------------ timer_create() */

int interpose_timer_create(clockid_t clock, struct sigevent *event, timer_t *timer)
{
	int id, r = vclock_virtual() ? vtimer_create(clock, event, &id) : -ENOSYS;

	if (r == -ENOSYS)
		return INTERPOSE_PASS(timer_create, (int)raw_result(-ENOSYS), clock, event, timer);
	if (!r)
		*timer = timer_of(id);
	return (int)raw_result(r);
}

int interpose_timer_settime(timer_t timer, int flags, const struct itimerspec *value,
			    struct itimerspec *old)
{
	int r = vclock_virtual() ? vtimer_settime(id_of(timer), flags & TIMER_ABSTIME, value, old)
				 : -ENOSYS;

	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(timer_settime, (int)raw_result(-ENOSYS), timer, flags, value, old);
}

int interpose_timer_gettime(timer_t timer, struct itimerspec *value)
{
	int r = vclock_virtual() ? vtimer_gettime(id_of(timer), value) : -ENOSYS;

	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(timer_gettime, (int)raw_result(-ENOSYS), timer, value);
}

int interpose_timer_getoverrun(timer_t timer)
{
	if (vclock_virtual())
		return (int)raw_result(vtimer_getoverrun(id_of(timer)));
	return INTERPOSE_PASS(timer_getoverrun, (int)raw_result(-ENOSYS), timer);
}

int interpose_timer_delete(timer_t timer)
{
	int r = vclock_virtual() ? vtimer_delete(id_of(timer)) : -ENOSYS;

	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(timer_delete, (int)raw_result(-ENOSYS), timer);
}

/* The system calls: the same, with an int. */
long interpose_sys_timer_create(long clock, void *event, int *id)
{
	if (vclock_virtual())
		return raw_result(vtimer_create((clockid_t)clock, event, id));
	return raw_result(RAW(SYS_timer_create, clock, event, id));
}

long interpose_sys_timer_settime(long id, long flags, const void *value, void *old)
{
	if (vclock_virtual())
		return raw_result(vtimer_settime((int)id, flags & TIMER_ABSTIME, value, old));
	return raw_result(RAW(SYS_timer_settime, id, flags, value, old));
}

long interpose_sys_timer_gettime(long id, void *value)
{
	if (vclock_virtual())
		return raw_result(vtimer_gettime((int)id, value));
	return raw_result(RAW(SYS_timer_gettime, id, value));
}

long interpose_sys_timer_getoverrun(long id)
{
	if (vclock_virtual())
		return raw_result(vtimer_getoverrun((int)id));
	return raw_result(RAW(SYS_timer_getoverrun, id));
}

long interpose_sys_timer_delete(long id)
{
	if (vclock_virtual())
		return raw_result(vtimer_delete((int)id));
	return raw_result(RAW(SYS_timer_delete, id));
}

/* ------------------------------------------------------------------ setitimer(), alarm() */

static struct itimerspec spec_of(const struct itimerval *v)
{
	return (struct itimerspec){
		.it_interval = { v->it_interval.tv_sec, v->it_interval.tv_usec * 1000 },
		.it_value = { v->it_value.tv_sec, v->it_value.tv_usec * 1000 },
	};
}

static struct itimerval val_of(const struct itimerspec *s)
{
	return (struct itimerval){
		.it_interval = { s->it_interval.tv_sec, s->it_interval.tv_nsec / 1000 },
		.it_value = { s->it_value.tv_sec, s->it_value.tv_nsec / 1000 },
	};
}

int interpose_setitimer(int which, const struct itimerval *value, struct itimerval *old)
{
	struct itimerspec new = { 0 }, before;
	int r = -ENOSYS;

	if (vclock_virtual() && which == ITIMER_REAL) {
		if (value)
			new = spec_of(value);
		r = vtimer_set_alarm(&new, &before);
		if (!r && old)
			*old = val_of(&before);
	} else if (vclock_virtual()) {
		vclock_nondeterministic("the program set an interval timer of CPU time");
	}
	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(setitimer, (int)raw_result(RAW(SYS_setitimer, which, value, old)),
			      which, value, old);
}

int interpose_getitimer(int which, struct itimerval *value)
{
	struct itimerspec now;
	int r = vclock_virtual() && which == ITIMER_REAL ? vtimer_get_alarm(&now) : -ENOSYS;

	if (r == -ENOSYS)
		return INTERPOSE_PASS(getitimer, (int)raw_result(RAW(SYS_getitimer, which, value)),
				      which, value);
	*value = val_of(&now);
	return 0;
}

unsigned interpose_alarm(unsigned seconds)
{
	const struct itimerval value = { .it_value = { .tv_sec = seconds } };
	struct itimerval old;

	if (!vclock_virtual())
		return INTERPOSE_PASS(alarm, (unsigned)RAW(SYS_alarm, seconds), seconds);
	if (interpose_setitimer(ITIMER_REAL, &value, &old))
		return 0;
	/* rounded, but never to nothing: alarm_setitimer() */
	return (unsigned)old.it_value.tv_sec +
	       ((!old.it_value.tv_sec && old.it_value.tv_usec) || old.it_value.tv_usec >= 500000);
}

/* ------------------------------------------------------------------ timerfds */

int interpose_timerfd_create(int clock, int flags)
{
	int r = vclock_virtual() ? vtimer_fd_create(clock, flags) : -ENOSYS;

	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(timerfd_create,
			      (int)raw_result(RAW(SYS_timerfd_create, clock, flags)), clock, flags);
}

int interpose_timerfd_settime(int fd, int flags, const struct itimerspec *value,
			      struct itimerspec *old)
{
	int r = -ENOSYS;

	if (vclock_virtual() && vtimer_is_fd(fd))
		r = vtimer_fd_settime(fd, flags & TIMER_ABSTIME, value, old);
	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(timerfd_settime,
			      (int)raw_result(RAW(SYS_timerfd_settime, fd, flags, value, old)), fd,
			      flags, value, old);
}

int interpose_timerfd_gettime(int fd, struct itimerspec *value)
{
	int r = vclock_virtual() && vtimer_is_fd(fd) ? vtimer_fd_gettime(fd, value) : -ENOSYS;

	if (r != -ENOSYS)
		return (int)raw_result(r);
	return INTERPOSE_PASS(timerfd_gettime, (int)raw_result(RAW(SYS_timerfd_gettime, fd, value)),
			      fd, value);
}

/* ------------------------------------------------------------------ under these names */

INTERPOSE(interpose_clock_gettime, clock_gettime);
INTERPOSE(interpose_clock_getres, clock_getres);
INTERPOSE(interpose_gettimeofday, gettimeofday);
INTERPOSE(interpose_time, time);
INTERPOSE(interpose_clock, clock);
INTERPOSE(interpose_timespec_get, timespec_get);
INTERPOSE(interpose_clock_nanosleep, clock_nanosleep);
INTERPOSE(interpose_nanosleep, nanosleep);
INTERPOSE(interpose_usleep, usleep);
INTERPOSE(interpose_sleep, sleep);
INTERPOSE(interpose_timer_create, timer_create);
INTERPOSE(interpose_timer_settime, timer_settime);
INTERPOSE(interpose_timer_gettime, timer_gettime);
INTERPOSE(interpose_timer_getoverrun, timer_getoverrun);
INTERPOSE(interpose_timer_delete, timer_delete);
INTERPOSE(interpose_setitimer, setitimer);
INTERPOSE(interpose_getitimer, getitimer);
INTERPOSE(interpose_alarm, alarm);
INTERPOSE(interpose_timerfd_create, timerfd_create);
INTERPOSE(interpose_timerfd_settime, timerfd_settime);
INTERPOSE(interpose_timerfd_gettime, timerfd_gettime);
