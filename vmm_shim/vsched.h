/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose turn it is: the decisions of virtual time, on a table. Nothing here knows threads, signals or
 * the guest; vclock.c does what is decided.
 *
 * A task is a thread of the monitor and has a time of its own. One runs, the others wait for their
 * turn, which is that of the smallest time; at the same time code of the monitor comes before guests,
 * and then the smaller number. Code of the monitor costs no time, so it runs in the order of time.
 * A guest's code does cost time, and it may be ahead of another guest by a slice; nobody else notices,
 * because its task is not the smallest then.
 *
 * Times are cycles of the virtual time-stamp counter: the finest thing there is.
 */
#ifndef BUSLOCK_VMM_SHIM_VSCHED_H
#define BUSLOCK_VMM_SHIM_VSCHED_H

#include <stdbool.h>
#include <stdint.h>

#define VSCHED_TASKS  256
#define VSCHED_TIMERS 256
#define VSCHED_NEVER  UINT64_MAX
#define VSCHED_NOBODY (-1)

enum vtask_state {
	VTASK_FREE,
	VTASK_RUNNING, /* at most one */
	VTASK_READY,   /* the monitor's code, from `time` on */
	VTASK_GUEST,   /* the guest's code, from `time` on */
	VTASK_WAITING, /* until `deadline`, or until it is woken */
	VTASK_OUTSIDE, /* blocked, or running, where nobody can see it */
};
enum vwake { VWAKE_NONE, VWAKE_DEADLINE, VWAKE_EVENT, VWAKE_LOOK };

struct vtask {
	enum vtask_state state;
	enum vwake wake; /* why it is READY after WAITING; LOOK: to look for a signal */
	uint64_t time;
	uint64_t deadline;
	const void *address; /* what it waits for, if that has an address */
	uint64_t queued;     /* who waits longer is woken first */
};

struct vtimer_event {
	bool armed;
	uint64_t due;         /* cycles */
	uint64_t due_ns;      /* the same, exact */
	uint64_t interval_ns; /* 0: once */
};

struct vsched {
	uint64_t now; /* of the last one that ran the monitor's code, or timer */
	unsigned khz;
	uint64_t slice; /* cycles that a guest may be ahead of another one */
	int running;
	unsigned tasks; /* high-water mark */
	uint64_t queued;
	unsigned waiters; /* tasks with an address */
	struct vtask task[VSCHED_TASKS];
	unsigned timers;
	struct vtimer_event timer[VSCHED_TIMERS];
};

void vsched_init(struct vsched *s, unsigned khz, uint64_t start_ns, uint64_t slice_ns);
/* A clock never shows less than what was waited for: cycles round up, nanoseconds down. What cannot be
 * counted in cycles is never. */
uint64_t vsched_cycles(const struct vsched *s, uint64_t ns);
uint64_t vsched_ns(const struct vsched *s, uint64_t cycles);

/* A new task, READY at the running one's time. VSCHED_NOBODY: the table is full. */
int vsched_task_new(struct vsched *s);

enum vevent_kind { VEVENT_NOTHING, VEVENT_TASK, VEVENT_TIMER };
struct vevent {
	enum vevent_kind kind;
	int index;
	uint64_t at;
};
/* What comes next, nobody running. At the same time timers come first. */
struct vevent vsched_next(const struct vsched *s);
/* Would it pass time, so that whatever could still happen now must have happened? */
bool vsched_passes_time(const struct vsched *s, const struct vevent *event);
/* The task gets its turn. */
void vsched_run(struct vsched *s, int task);
/* The timer has expired, how often: it is set again, or off. */
uint64_t vsched_expire(struct vsched *s, int timer);
void vsched_timer_set(struct vsched *s, int timer, uint64_t due_ns, uint64_t interval_ns);

/* The running task is to run guest code: until when it may, always later than its time. */
uint64_t vsched_horizon(const struct vsched *s, int task);

/* The running task gives up its turn and is to be WAITING. */
void vsched_wait(struct vsched *s, uint64_t deadline, const void *address);
/* A waiting task becomes READY now. What it was woken for first counts, but an event beats a look. */
void vsched_wake(struct vsched *s, int task, enum vwake why);
/* The one that has waited longest for `address`; false: nobody waits. */
bool vsched_wake_one(struct vsched *s, const void *address);
/* The same, and it does not run before `time`: when whoever wakes it did so. */
bool vsched_wake_one_at(struct vsched *s, const void *address, uint64_t time);
unsigned vsched_wake_all(struct vsched *s, const void *address);
/* A task whose wait is over forgets its address. */
void vsched_wait_done(struct vsched *s, int task);

#endif
