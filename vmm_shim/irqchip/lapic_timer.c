// SPDX-License-Identifier: GPL-2.0-only
/*
 * The timer of a local APIC, SDM 11.5.4: one-shot and periodic from a count, or a deadline of the
 * time-stamp counter. Nothing counts: times of expiry are computed, counts when they are read.
 */
#include "vmm_shim/irqchip/lapic.h"
#include "vmm_shim/vclock.h"

/* min_timer_period_us: what a periodic timer must not undercut */
#define MIN_PERIOD_NS 200000ull
#define NS_PER_MS     1000000ull
#define FOREVER_NS    (1ull << 62)

__extension__ typedef unsigned __int128 wide;

static bool periodic(const struct lapic *a)
{
	return a->timer.mode == LVT_PERIODIC;
}

static bool by_deadline(const struct lapic *a)
{
	return a->timer.mode == LVT_TSC_DEADLINE;
}

static bool one_shot(const struct lapic *a)
{
	return !a->timer.mode;
}

static uint64_t ticks_ns(const struct lapic *a, uint32_t ticks)
{
	uint64_t ns = ticks * a->chip->bus_cycle_ns * a->timer.divide;

	/* the slowest bus counts for centuries: a time of expiry must not wrap */
	return ns < FOREVER_NS ? ns : FOREVER_NS;
}

static void alarm_at(struct lapic *a, uint64_t ns)
{
	irq_timer_set(a->chip, &a->timer.alarm, ns);
}

/* ------------------------------------------------------------------ expiry */

/* Its vCPU makes an interrupt of it, if that is not masked then: apic_timer_expired(). */
static void expired(struct lapic *a)
{
	if (a->timer.pending)
		return;
	a->timer.pending = true;
	lapic_look(a);
}

/* What was missed while nobody ran is not made up for: advance_periodic_target_expiration(). */
static void next_period(struct lapic *a)
{
	uint64_t now = shim_now_ns();

	a->timer.target_ns += a->timer.period_ns;
	if (a->timer.target_ns < now)
		a->timer.target_ns = now;
}

static void fire(struct irqchip *chip, struct irq_timer *alarm)
{
	struct lapic *a = (struct lapic *)(void *)alarm; /* the first member of its first */

	(void)chip;
	expired(a);
	if (periodic(a) && a->timer.period_ns) {
		next_period(a);
		alarm_at(a, a->timer.target_ns);
	}
}

/* apic_has_pending_timer() */
bool lapic_timer_waits(const struct lapic *a)
{
	return a->timer.pending && lapic_enabled(a) &&
	       !(lapic_get(a, LAPIC_LVT_TIMER) & LVT_MASKED);
}

void lapic_timer_deliver(struct lapic *a)
{
	a->timer.pending = false;
	lapic_local(a, LAPIC_LVT_TIMER);
	if (by_deadline(a))
		a->timer.deadline = 0;
	else if (one_shot(a))
		a->timer.target_ns = 0;
}

/* ------------------------------------------------------------------ setting it */

void lapic_timer_init(struct lapic *a)
{
	a->timer.alarm.fire = fire;
	lapic_timer_divide(a);
}

/* cancel_apic_timer() */
void lapic_timer_stop(struct lapic *a)
{
	alarm_at(a, 0);
	a->timer.pending = false;
}

static void limit_period(struct lapic *a)
{
	if (periodic(a) && a->timer.period_ns && a->timer.period_ns < MIN_PERIOD_NS)
		a->timer.period_ns = MIN_PERIOD_NS;
}

/* Between count and deadline the timer is disarmed (SDM 11.5.4.1): apic_update_lvtt() */
void lapic_timer_mode(struct lapic *a)
{
	uint32_t mode = lapic_get(a, LAPIC_LVT_TIMER) & a->timer.mode_mask;

	if (mode == a->timer.mode)
		return;
	if (by_deadline(a) || mode == LVT_TSC_DEADLINE) {
		lapic_timer_stop(a);
		*lapic_reg(a, LAPIC_INITIAL_COUNT) = 0;
		a->timer.period_ns = 0;
		a->timer.deadline = 0;
	}
	a->timer.mode = mode;
	limit_period(a);
}

/* SDM figure 11-10: bits 3, 1 and 0; 111b divides by 1 */
void lapic_timer_divide(struct lapic *a)
{
	uint32_t reg = lapic_get(a, LAPIC_DIVIDE);
	unsigned code = (reg & 3) | (reg & 8) >> 1;

	a->timer.divide = 1u << ((code + 1) & 7);
}

/* When a saved count has run down; a count that cannot be is forgotten: set_target_expiration() */
static uint64_t first_period(struct lapic *a)
{
	uint64_t ns = ticks_ns(a, lapic_get(a, LAPIC_CURRENT_COUNT));

	if (!ns)
		return periodic(a) ? a->timer.period_ns : 0;
	if (ns <= a->timer.period_ns)
		return ns;
	*lapic_reg(a, LAPIC_CURRENT_COUNT) = 0;
	return a->timer.period_ns;
}

static void start_deadline(struct lapic *a)
{
	uint64_t tsc, left;

	if (!a->timer.deadline || !a->vcpu->tsc_khz)
		return;
	tsc = lapic_guest_tsc(a);
	if (a->timer.deadline <= tsc) {
		expired(a);
		return;
	}
	/* up: a deadline is not met early */
	left = (uint64_t)(((wide)(a->timer.deadline - tsc) * NS_PER_MS + a->vcpu->tsc_khz - 1) /
			  a->vcpu->tsc_khz);
	if (left < FOREVER_NS)
		alarm_at(a, shim_now_ns() + left);
}

/* restart_apic_timer() */
static void run(struct lapic *a)
{
	if (!periodic(a) && a->timer.pending)
		return;
	if (by_deadline(a)) {
		start_deadline(a);
		return;
	}
	if (!a->timer.period_ns)
		return;
	if (shim_now_ns() > a->timer.target_ns) {
		expired(a);
		if (one_shot(a))
			return;
		next_period(a);
	}
	alarm_at(a, a->timer.target_ns);
}

void lapic_timer_start(struct lapic *a, bool from_current)
{
	a->timer.pending = false;
	if (!by_deadline(a)) {
		a->timer.period_ns = ticks_ns(a, lapic_get(a, LAPIC_INITIAL_COUNT));
		if (!a->timer.period_ns)
			return;
		limit_period(a);
		a->timer.target_ns =
			shim_now_ns() + (from_current ? first_period(a) : a->timer.period_ns);
	}
	run(a);
}

/* What is left is left to the new rate: update_target_expiration() */
void lapic_timer_rescale(struct lapic *a)
{
	unsigned old = a->timer.divide;
	uint64_t now, left = 0;

	lapic_timer_divide(a);
	if (a->timer.divide == old || !a->timer.period_ns)
		return;
	alarm_at(a, 0);
	a->timer.period_ns = ticks_ns(a, lapic_get(a, LAPIC_INITIAL_COUNT));
	limit_period(a);
	now = shim_now_ns();
	if (a->timer.target_ns > now)
		left = a->timer.target_ns - now;
	a->timer.target_ns = now + (uint64_t)((wide)left * a->timer.divide / old);
	run(a);
}

/* ------------------------------------------------------------------ reading it */

uint32_t lapic_timer_count(struct lapic *a)
{
	uint64_t now, left = 0;

	if (by_deadline(a) || !lapic_get(a, LAPIC_INITIAL_COUNT) || !a->timer.period_ns)
		return 0;
	now = shim_now_ns();
	if (a->timer.target_ns > now)
		left = (a->timer.target_ns - now) % a->timer.period_ns;
	return (uint32_t)(left / (a->chip->bus_cycle_ns * a->timer.divide));
}

/* Outside its mode the register reads zero, and writes are ignored (SDM 11.5.4.1). */
void lapic_timer_set_deadline(struct lapic *a, uint64_t tsc)
{
	if (!lapic_hw_enabled(a) || !by_deadline(a))
		return;
	alarm_at(a, 0);
	a->timer.deadline = tsc;
	lapic_timer_start(a, false);
}

uint64_t lapic_timer_deadline(const struct lapic *a)
{
	return lapic_hw_enabled(a) && by_deadline(a) ? a->timer.deadline : 0;
}
