// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_shim/host_lock.h"

#include <errno.h>
#include <stdio.h>

#define PREFIX       "x86/split lock detection: " /* pr_fmt() of the file */
#define NSEC_PER_SEC 1000000000ull
#define SLEEP_MS     10 /* misery factor #1 */
#define WINDOW       2  /* jiffies until detection is on again */
#define PRINT_BURST  10 /* DEFAULT_RATELIMIT_BURST */
#define PRINT_SECS   5  /* DEFAULT_RATELIMIT_INTERVAL is 5 * HZ */

#define CR0_AM    0x40000ull
#define EFLAGS_AC 0x40000ull

void host_lock_init(struct host_lock *h, const struct shim_options *options,
		    const struct profile *profile, uint64_t now)
{
	*h = (struct host_lock){
		.state = options->host_split_lock,
		.ratelimit = options->host_ratelimit,
		.hz = options->hz,
		.mitigate = options->split_lock_mitigate,
		.fix = options->split_lock_fix,
		.per_cpu_work = profile->sld_per_cpu_work,
		.extra_jiffy = !profile->sleep_exact,
		.misery = profile->sld_sleeps,
		.old_boot_message = !profile->sld_boot_message,
		.epoch = now,
	};
}

/* sld_state_show(), for a processor that has both #AC and #DB. */
const char *host_lock_boot_message(const struct host_lock *h, char *text, size_t size)
{
	static const char *const before_5_13[] = {
		[SHIM_SPLIT_LOCK_WARN] = "warning about user-space split_locks",
		[SHIM_SPLIT_LOCK_FATAL] = "sending SIGBUS on user-space split_locks",
	};
	static const char *const since_5_13[] = {
		[SHIM_SPLIT_LOCK_WARN] =
			"#AC: crashing the kernel on kernel split_locks and warning on "
			"user-space split_locks",
		[SHIM_SPLIT_LOCK_FATAL] =
			"#AC: crashing the kernel on kernel split_locks and sending "
			"SIGBUS on user-space split_locks",
	};

	switch (h->state) {
	case SHIM_SPLIT_LOCK_WARN:
	case SHIM_SPLIT_LOCK_FATAL:
		snprintf(text, size, PREFIX "%s",
			 (h->old_boot_message ? before_5_13 : since_5_13)[h->state]);
		return text;
	case SHIM_SPLIT_LOCK_RATELIMIT:
		snprintf(text, size,
			 PREFIX "#DB: setting system wide bus lock rate limit to %u/sec",
			 h->ratelimit);
		return text;
	default:
		return NULL; /* nothing is simulated */
	}
}

/* ------------------------------------------------------------------ jiffies */

static uint64_t jiffies(const struct host_lock *h, uint64_t now)
{
	return now <= h->epoch ? 0 : (now - h->epoch) * h->hz / NSEC_PER_SEC;
}

/* When the tick comes that makes it jiffy `j`. */
static uint64_t tick_at(const struct host_lock *h, uint64_t j)
{
	return h->epoch + (j * NSEC_PER_SEC + h->hz - 1) / h->hz;
}

/*
 * When a timer for jiffy `expires` fires: one tick later. The wheel rounds up by its granularity, so
 * that a timer armed at the end of a jiffy is not early (calc_index(), kernel/time/timer.c).
 */
static uint64_t wheel(uint64_t expires)
{
	return expires + 1;
}

static uint64_t msecs_to_jiffies(const struct host_lock *h, unsigned ms)
{
	return ((uint64_t)ms * h->hz + 999) / 1000;
}

/* ------------------------------------------------------------------ the log */

static void say(struct host_caller *c, const char *text)
{
	c->ops->message(c->opaque, text);
	c->tally.messages++;
}

/*
 * ___ratelimit() (lib/ratelimit.c) with the state that pr_warn_ratelimited() has in its place: at most
 * 10 in 5 s. `*missed`: so many were suppressed in the interval that is over.
 */
static bool may_print(struct host_lock *h, uint64_t now, unsigned *missed)
{
	*missed = 0;
	if (!h->print.begun) {
		h->print.begun = true;
		h->print.begin = now;
	}
	if (h->print.begin + PRINT_SECS * h->hz < now) {
		*missed = h->print.missed;
		h->print.begin = now;
		h->print.printed = h->print.missed = 0;
	}
	if (h->print.printed == PRINT_BURST) {
		h->print.missed++;
		return false;
	}
	h->print.printed++;
	return true;
}

static void warn_ratelimited(struct host_lock *h, struct host_caller *c, uint64_t rip)
{
	char text[128];
	unsigned missed;
	bool print;

	lock_take(&h->lock);
	print = may_print(h, jiffies(h, c->ops->now(c->opaque)), &missed);
	lock_drop(&h->lock);
	if (missed) {
		snprintf(text, sizeof(text), "split_lock_warn: %u callbacks suppressed", missed);
		say(c, text);
	}
	if (!print) {
		c->tally.suppressed++;
		return;
	}
	snprintf(text, sizeof(text), PREFIX "#AC: %s/%d took a split_lock trap at address: 0x%llx",
		 c->task->comm, c->task->pid, (unsigned long long)rip);
	say(c, text);
}

/* pr_warn_once() */
static void warn_once(struct host_lock *h, struct host_caller *c, uint64_t rip)
{
	char text[128];
	bool first;

	lock_take(&h->lock);
	first = !h->warned_once;
	h->warned_once = true;
	lock_drop(&h->lock);
	if (!first) {
		c->tally.suppressed++;
		return;
	}
	snprintf(text, sizeof(text), PREFIX "#AC: %s/%d %s split_lock trap at address: 0x%llx",
		 c->task->comm, c->task->pid, h->state == SHIM_SPLIT_LOCK_FATAL ? "fatal" : "bogus",
		 (unsigned long long)rip);
	say(c, text);
}

/* ------------------------------------------------------------------ work and the semaphore */

static bool work_due(struct host_work *work, uint64_t now)
{
	if (!work->pending || now < work->due)
		return false;
	work->pending = false;
	if (work->core)
		work->core->off = false; /* sld_update_msr(true) */
	return true;
}

/* up(): the semaphore goes to the longest waiter, or is free. */
static void up(struct host_lock *h)
{
	struct host_waiter *first = h->waiters;

	if (!first) {
		h->down = false;
		return;
	}
	h->waiters = first->next;
	first->up = true;
}

/* Do what the work queue would have done by now. */
static void run_work(struct host_lock *h, struct host_core *core, uint64_t now)
{
	if (work_due(&h->reenable_unlock, now)) /* __split_lock_reenable_unlock() */
		up(h);
	work_due(&h->reenable, now);
	work_due(&core->reenable, now);
}

/* schedule_delayed_work_on(): nothing happens to work that waits already, whatever core it is for. */
static void schedule_work(struct host_work *work, struct host_core *core, uint64_t now)
{
	if (work->pending)
		return;
	*work = (struct host_work){ true, wheel(now + WINDOW), core };
}

static void leave_queue(struct host_lock *h, const struct host_waiter *waiter)
{
	struct host_waiter **at = &h->waiters;

	while (*at && *at != waiter)
		at = &(*at)->next;
	if (*at)
		*at = waiter->next;
}

/* Nobody can get the semaphore before this jiffy: its holder gives it back by the work. */
static uint64_t earliest_up(const struct host_lock *h, uint64_t now)
{
	/* not scheduled yet: the holder is on its way there */
	return h->reenable_unlock.pending ? h->reenable_unlock.due : now + 1;
}

static bool host_sleep(struct host_lock *h, struct host_caller *c, uint64_t until_jiffy)
{
	uint64_t begun = c->ops->now(c->opaque);
	bool interrupted = c->ops->sleep(c->opaque, tick_at(h, until_jiffy));

	c->tally.slept_ns += c->ops->now(c->opaque) - begun;
	return interrupted;
}

/* Misery factor #2: only one core at a time has detection off. */
static int down_interruptible(struct host_lock *h, struct host_caller *c)
{
	struct host_waiter waiter = { 0 }, **end = &h->waiters;
	bool interrupted;
	uint64_t now;

	lock_take(&h->lock);
	run_work(h, c->core, jiffies(h, c->ops->now(c->opaque)));
	if (!h->down) { /* taken even if a signal is pending: down_interruptible() looks here first */
		h->down = true;
		lock_drop(&h->lock);
		return 0;
	}
	while (*end)
		end = &(*end)->next;
	*end = &waiter;
	do {
		now = jiffies(h, c->ops->now(c->opaque));
		now = earliest_up(h, now);
		lock_drop(&h->lock);
		interrupted = host_sleep(h, c, now);
		lock_take(&h->lock);
		run_work(h, c->core, jiffies(h, c->ops->now(c->opaque)));
	} while (!waiter.up && !interrupted);
	if (!waiter.up)
		leave_queue(h, &waiter);
	lock_drop(&h->lock);
	return waiter.up ? 0 : -EINTR;
}

/*
 * msleep_interruptible(): what is left of the time, in jiffies. A signal in the last jiffy leaves
 * nothing: the timer of the wheel fires a tick later than asked for.
 */
static uint64_t msleep_interruptible(struct host_lock *h, struct host_caller *c, unsigned ms)
{
	uint64_t timeout = msecs_to_jiffies(h, ms) + h->extra_jiffy;
	uint64_t expires = jiffies(h, c->ops->now(c->opaque)) + timeout;
	uint64_t now;

	if (!host_sleep(h, c, wheel(expires)))
		return 0;
	now = jiffies(h, c->ops->now(c->opaque));
	return now < expires ? expires - now : 0;
}

/* ------------------------------------------------------------------ split_lock_warn() */

/* Misery factor #1: sleep before trying again. True: it was interrupted, and so detection stays on. */
static bool sleep_in_vain(struct host_lock *h, struct host_caller *c)
{
	uint64_t slept = c->tally.slept_ns;

	if (!msleep_interruptible(h, c, SLEEP_MS))
		return false;
	/*
	 * A fix that was proposed with the report of the hang: whoever has been punished a little may go
	 * on. A signal that was pending before leaves nothing slept.
	 */
	return !(h->fix && c->tally.slept_ns > slept);
}

static void split_lock_warn(struct host_lock *h, struct host_caller *c, uint64_t rip)
{
	struct host_work *work;
	uint64_t now;

	/* up to 5.18 each trap is reported; reported_split_lock is set even if the line is suppressed */
	if (!h->misery || !c->task->reported)
		warn_ratelimited(h, c, rip);
	c->task->reported = true;
	if (!h->misery) {
		c->task->tif_sld = true; /* set_tsk_thread_flag(current, TIF_SLD) */
		return;
	}
	if (h->mitigate && (sleep_in_vain(h, c) || down_interruptible(h, c)))
		return;
	work = h->mitigate       ? &h->reenable_unlock
	       : h->per_cpu_work ? &c->core->reenable
				 : &h->reenable;
	lock_take(&h->lock);
	now = jiffies(h, c->ops->now(c->opaque));
	run_work(h, c->core, now); /* what was due before must not undo this */
	schedule_work(work, c->core, now);
	c->core->off = true; /* sld_update_msr(false) */
	lock_drop(&h->lock);
}

/* ------------------------------------------------------------------ for KVM */

bool host_lock_armed(struct host_lock *h, const struct host_task *task, struct host_core *core,
		     uint64_t now)
{
	bool armed;

	/* split_lock_init(): off and ratelimit leave the bit clear */
	if (h->state != SHIM_SPLIT_LOCK_WARN && h->state != SHIM_SPLIT_LOCK_FATAL)
		return false;
	if (task->tif_sld) /* switch_to_sld() */
		return false;
	lock_take(&h->lock);
	run_work(h, core, jiffies(h, now));
	armed = !core->off;
	lock_drop(&h->lock);
	return armed;
}

bool host_lock_guest_trap(struct host_lock *h, struct host_caller *c, uint64_t rip)
{
	if (h->state == SHIM_SPLIT_LOCK_WARN) {
		split_lock_warn(h, c, rip);
		return true;
	}
	warn_once(h, c, rip);
	return false;
}

bool host_lock_guest_wants_ac(const struct emu_state *state)
{
	unsigned cpl = state->segment[EMU_SS].attributes >> 5 & 3;

	return cpl == 3 && state->cr0 & CR0_AM && state->rflags & EFLAGS_AC;
}

void host_core_gone(struct host_lock *h, struct host_core *core)
{
	lock_take(&h->lock);
	if (h->reenable_unlock.core == core)
		h->reenable_unlock.core = NULL; /* it still gives the semaphore back */
	if (h->reenable.core == core)
		h->reenable.core = NULL;
	lock_drop(&h->lock);
}
