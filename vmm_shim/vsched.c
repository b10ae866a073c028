// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_shim/vsched.h"

#include <stddef.h>
#include <string.h>

#define MILLION 1000000u

__extension__ typedef unsigned __int128 wide;

void vsched_init(struct vsched *s, unsigned khz, uint64_t start_ns, uint64_t slice_ns)
{
	memset(s, 0, sizeof(*s));
	s->khz = khz;
	s->running = VSCHED_NOBODY;
	s->now = vsched_cycles(s, start_ns);
	s->slice = vsched_cycles(s, slice_ns);
}

uint64_t vsched_cycles(const struct vsched *s, uint64_t ns)
{
	wide cycles = ((wide)ns * s->khz + MILLION - 1) / MILLION;

	return cycles >= VSCHED_NEVER ? VSCHED_NEVER : (uint64_t)cycles;
}

uint64_t vsched_ns(const struct vsched *s, uint64_t cycles)
{
	wide ns = (wide)cycles * MILLION / s->khz;

	return ns >= VSCHED_NEVER ? VSCHED_NEVER - 1 : (uint64_t)ns;
}

int vsched_task_new(struct vsched *s)
{
	for (int i = 0; i < VSCHED_TASKS; i++) {
		if (s->task[i].state != VTASK_FREE)
			continue;
		s->task[i] = (struct vtask){ .state = VTASK_READY, .time = s->now };
		if ((unsigned)i >= s->tasks)
			s->tasks = (unsigned)i + 1;
		return i;
	}
	return VSCHED_NOBODY;
}

/* When it wants to run next. */
static uint64_t turn_of(const struct vtask *t)
{
	switch (t->state) {
	case VTASK_READY:
	case VTASK_GUEST:
		return t->time;
	case VTASK_WAITING:
		return t->deadline == VSCHED_NEVER ? VSCHED_NEVER
		       : t->deadline < t->time     ? t->time
						   : t->deadline;
	default:
		return VSCHED_NEVER;
	}
}

struct vevent vsched_next(const struct vsched *s)
{
	struct vevent best = { VEVENT_NOTHING, VSCHED_NOBODY, VSCHED_NEVER };

	for (unsigned i = 0; i < s->timers; i++) {
		if (s->timer[i].armed && s->timer[i].due < best.at)
			best = (struct vevent){ VEVENT_TIMER, (int)i, s->timer[i].due };
	}
	for (unsigned i = 0; i < s->tasks; i++) {
		const struct vtask *t = &s->task[i];
		uint64_t at = turn_of(t);
		bool before = at < best.at;

		/* of the monitor before a guest */
		if (at == best.at && best.kind == VEVENT_TASK && t->state != VTASK_GUEST &&
		    s->task[best.index].state == VTASK_GUEST)
			before = at != VSCHED_NEVER;
		if (before)
			best = (struct vevent){ VEVENT_TASK, (int)i, at };
	}
	return best;
}

bool vsched_passes_time(const struct vsched *s, const struct vevent *event)
{
	return event->kind == VEVENT_NOTHING || event->at > s->now ||
	       (event->kind == VEVENT_TASK && s->task[event->index].state == VTASK_GUEST);
}

void vsched_run(struct vsched *s, int task)
{
	struct vtask *t = &s->task[task];
	bool guest = t->state == VTASK_GUEST;

	if (t->state == VTASK_WAITING)
		t->wake = VWAKE_DEADLINE;
	t->time = turn_of(t);
	t->state = VTASK_RUNNING;
	s->running = task;
	/* what a guest does happens at times of its own */
	if (!guest && t->time > s->now)
		s->now = t->time;
}

void vsched_timer_set(struct vsched *s, int timer, uint64_t due_ns, uint64_t interval_ns)
{
	s->timer[timer] = (struct vtimer_event){ .armed = true,
						 .due = vsched_cycles(s, due_ns),
						 .due_ns = due_ns,
						 .interval_ns = interval_ns };
}

uint64_t vsched_expire(struct vsched *s, int timer)
{
	struct vtimer_event *e = &s->timer[timer];
	uint64_t n = 1, now, next;

	if (e->due > s->now)
		s->now = e->due;
	if (!e->interval_ns) {
		e->armed = false;
		return n;
	}
	/* more than once, if it was set to a time long ago */
	now = vsched_ns(s, s->now);
	if (now > e->due_ns)
		n += (now - e->due_ns) / e->interval_ns;
	if (__builtin_add_overflow(e->due_ns, n * e->interval_ns, &next))
		next = VSCHED_NEVER;
	vsched_timer_set(s, timer, next, e->interval_ns);
	return n;
}

uint64_t vsched_horizon(const struct vsched *s, int task)
{
	uint64_t time = s->task[task].time, horizon = VSCHED_NEVER;

	for (unsigned i = 0; i < s->timers; i++) {
		if (s->timer[i].armed && s->timer[i].due < horizon)
			horizon = s->timer[i].due;
	}
	for (unsigned i = 0; i < s->tasks; i++) {
		uint64_t turn = turn_of(&s->task[i]);

		if ((int)i == task || turn == VSCHED_NEVER)
			continue;
		if (s->task[i].state == VTASK_GUEST)
			turn += s->slice;
		if (turn < horizon)
			horizon = turn;
	}
	return horizon > time ? horizon : time + 1;
}

/* ------------------------------------------------------------------ waiting */

void vsched_wait(struct vsched *s, uint64_t deadline, const void *address)
{
	struct vtask *t = &s->task[s->running];

	t->state = VTASK_WAITING;
	t->wake = VWAKE_NONE;
	t->deadline = deadline;
	if (address && !t->address) {
		t->queued = ++s->queued;
		s->waiters++;
	}
	t->address = address;
	s->running = VSCHED_NOBODY;
}

void vsched_wake(struct vsched *s, int task, enum vwake why)
{
	struct vtask *t = &s->task[task];

	if (t->state == VTASK_READY && t->wake == VWAKE_LOOK && why == VWAKE_EVENT)
		t->wake = why;
	if (t->state != VTASK_WAITING)
		return;
	t->state = VTASK_READY;
	t->wake = why;
	if (t->time < s->now)
		t->time = s->now;
}

/* Waits for it and has not been woken yet; who was woken to look still waits. */
static bool waits_for(const struct vtask *t, const void *address)
{
	return t->address == address &&
	       (t->state == VTASK_WAITING || (t->state == VTASK_READY && t->wake == VWAKE_LOOK));
}

bool vsched_wake_one_at(struct vsched *s, const void *address, uint64_t time)
{
	int first = VSCHED_NOBODY;

	for (unsigned i = 0; i < s->tasks; i++) {
		if (waits_for(&s->task[i], address) &&
		    (first < 0 || s->task[i].queued < s->task[first].queued))
			first = (int)i;
	}
	if (first < 0)
		return false;
	vsched_wake(s, first, VWAKE_EVENT);
	if (s->task[first].time < time)
		s->task[first].time = time;
	return true;
}

bool vsched_wake_one(struct vsched *s, const void *address)
{
	return vsched_wake_one_at(s, address, s->now);
}

unsigned vsched_wake_all(struct vsched *s, const void *address)
{
	unsigned n = 0;

	while (vsched_wake_one(s, address))
		n++;
	return n;
}

void vsched_wait_done(struct vsched *s, int task)
{
	if (s->task[task].address)
		s->waiters--;
	s->task[task].address = NULL;
}
