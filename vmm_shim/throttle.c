// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_shim/throttle.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND 1000000000ull

/* ------------------------------------------------------------------ QEMU */

/* QEMU converts such numbers as they are; C says nothing of what does not fit. */
static uint64_t saturated(double value)
{
	return value < 0x1p64 ? (uint64_t)value : UINT64_MAX;
}

void throttle_qemu_init(struct throttle_qemu *t, uint64_t rate)
{
	*t = (struct throttle_qemu){ .slice = SECOND };
	/* ratelimit_set_speed(): at least one lock a slice */
	if (rate) {
		double quota = (double)rate * (double)t->slice / 1e9;

		t->slice_quota = quota < 1 ? 1 : saturated(quota);
	}
}

/* ratelimit_calculate_delay() */
uint64_t throttle_qemu_delay(struct throttle_qemu *t, uint64_t now)
{
	if (!t->slice_quota)
		return 0;
	if (t->slice_end < now) {
		t->slice_start = now;
		t->slice_end = now + t->slice;
		t->dispatched = 0;
	}
	t->dispatched++;
	/* The quota's last lock is itself delayed: QEMU's comparison is "less than". */
	if (t->dispatched < t->slice_quota)
		return 0;
	/*
	 * Over the quota the slice grows in proportion, also while others sleep in it: that is what
	 * spreads the surplus of several vCPUs.
	 */
	t->slice_end = t->slice_start +
		       saturated((double)t->dispatched / (double)t->slice_quota * (double)t->slice);
	return t->slice_end - now;
}

static struct throttle_verdict qemu(struct throttle *t, unsigned vcpu, uint64_t now)
{
	uint64_t us = throttle_qemu_sleep_us(throttle_qemu_delay(&t->qemu, now));

	(void)vcpu; /* one limit for all */
	/* g_usleep() goes back to sleep after a signal */
	return (struct throttle_verdict){ .sleep = us * 1000 };
}

/* ------------------------------------------------------------------ fixed sleep, token bucket, end */

static struct throttle_verdict fixed_sleep(struct throttle *t, unsigned vcpu, uint64_t now)
{
	(void)vcpu;
	(void)now;
	return (struct throttle_verdict){ .sleep = t->sleep, .interruptible = true };
}

/*
 * A lock costs SECOND of credit and a nanosecond earns `rate`, so nothing is ever rounded. The lock
 * has been taken already, so a vCPU without credit runs into debt and sleeps it off. Those who sleep
 * owe one lock each; a caller that runs on all the same owes no more than if all vCPUs slept.
 */
static struct throttle_verdict bucket(struct throttle *t, unsigned vcpu, uint64_t now)
{
	uint64_t rate = t->bucket.rate, elapsed = 0, room;
	int64_t full = (int64_t)(t->bucket.burst * SECOND);
	unsigned i = t->bucket.per_vcpu ? vcpu % THROTTLE_MAX_VCPUS : 0;
	int64_t credit = t->bucket.of[i].credit;

	if (now > t->bucket.of[i].at) {
		elapsed = now - t->bucket.of[i].at;
		t->bucket.of[i].at = now;
	}
	room = (uint64_t)(full - credit);
	if (elapsed > room / rate)
		credit = full;
	else
		credit += (int64_t)(elapsed * rate);
	credit -= (int64_t)SECOND;
	if (credit < -(int64_t)(THROTTLE_MAX_VCPUS * SECOND))
		credit = -(int64_t)(THROTTLE_MAX_VCPUS * SECOND);
	t->bucket.of[i].credit = credit;
	if (credit >= 0)
		return (struct throttle_verdict){ 0 };
	return (struct throttle_verdict){ .sleep = ((uint64_t)-credit + rate - 1) / rate,
					  .interruptible = true };
}

static struct throttle_verdict kill_after(struct throttle *t, unsigned vcpu, uint64_t now)
{
	(void)vcpu;
	(void)now;
	if (t->left)
		t->left--;
	return (struct throttle_verdict){ t->left ? THROTTLE_LET_THROUGH : THROTTLE_END, 0, false };
}

/* ------------------------------------------------------------------ the host kernel */

/* ms: handle_bus_lock(), arch/x86/kernel/cpu/intel.c, Linux 6.12. Whole jiffies with each HZ. */
#define MSLEEP 20

static uint64_t jiffies_at(uint64_t now, unsigned hz)
{
	return now / SECOND * hz + now % SECOND * hz / SECOND;
}

static uint64_t time_of(uint64_t jiffies, unsigned hz)
{
	return jiffies / hz * SECOND + (jiffies % hz * SECOND + hz - 1) / hz;
}

/*
 * ___ratelimit() of lib/ratelimit.c, Linux 6.12, with interval HZ and the lock free. The interval has
 * passed when jiffies lie *behind* its end (time_is_before_jiffies()): it lasts one jiffy more.
 */
static bool ratelimit(struct throttle *t, uint64_t jiffies)
{
	if (!t->kernel.begun) {
		t->kernel.begun = true;
		t->kernel.begin = jiffies;
	}
	if ((int64_t)(t->kernel.begin + t->kernel.hz - jiffies) < 0) {
		t->kernel.begin = jiffies;
		t->kernel.granted = 0;
	}
	if (t->kernel.granted >= t->kernel.burst)
		return false;
	t->kernel.granted++;
	return true;
}

/*
 * while (!__ratelimit(&bld_ratelimit)) msleep(20);
 *
 * msleep() sleeps msecs_to_jiffies(20) and not less: the timer wheel fires at the tick after the one
 * that this gives (calc_index(), kernel/time/timer.c).
 */
static struct throttle_verdict kernel(struct throttle *t, unsigned vcpu, uint64_t now)
{
	unsigned hz = t->kernel.hz;
	uint64_t jiffies = jiffies_at(now, hz);

	(void)vcpu; /* bld_ratelimit is one for the whole host */
	if (ratelimit(t, jiffies))
		return (struct throttle_verdict){ 0 };
	return (struct throttle_verdict){
		.action = THROTTLE_ASK_AGAIN,
		.sleep = time_of(jiffies + MSLEEP * hz / 1000 + 1, hz) - now,
	};
}

/* ------------------------------------------------------------------ one interface */

struct throttle_verdict throttle_lock(struct throttle *t, unsigned vcpu, uint64_t now)
{
	static struct throttle_verdict (*const policies[])(struct throttle *, unsigned,
							   uint64_t) = {
		[THROTTLE_QEMU] = qemu,       [THROTTLE_SLEEP] = fixed_sleep,
		[THROTTLE_BUCKET] = bucket,   [THROTTLE_KERNEL] = kernel,
		[THROTTLE_KILL] = kill_after,
	};

	if (t->kind == THROTTLE_NONE)
		return (struct throttle_verdict){ 0 };
	return policies[t->kind](t, vcpu, now);
}

/* ------------------------------------------------------------------ as text */

#define MAX_RATE    1000000000ull /* a second: one a nanosecond */
#define MAX_SECONDS 3600ull

/* A decimal number at *text, which moves behind it. */
static bool number(const char **text, uint64_t low, uint64_t high, uint64_t *value)
{
	char *end;

	if (**text < '0' || **text > '9')
		return false;
	errno = 0;
	*value = strtoull(*text, &end, 10);
	*text = end;
	return !errno && *value >= low && *value <= high;
}

static bool word(const char **text, const char *wanted)
{
	size_t length = strlen(wanted);

	if (strncmp(*text, wanted, length))
		return false;
	*text += length;
	return true;
}

static bool parse_none(struct throttle *t, const char *text)
{
	(void)t;
	return !*text;
}

static bool parse_qemu(struct throttle *t, const char *text)
{
	uint64_t rate;

	if (!number(&text, 0, UINT64_MAX, &rate))
		return false;
	throttle_qemu_init(&t->qemu, rate);
	return !*text;
}

static bool parse_sleep(struct throttle *t, const char *text)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = { { "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", SECOND } };
	uint64_t value;

	if (!number(&text, 1, MAX_SECONDS * SECOND, &value))
		return false;
	if (!strcmp(text, "/s")) {
		t->sleep = value <= MAX_RATE ? SECOND / value : 0;
		return t->sleep;
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(text, units[i].name))
			continue;
		t->sleep = value * units[i].ns;
		return value <= MAX_SECONDS * SECOND / units[i].ns;
	}
	return false;
}

static bool parse_bucket(struct throttle *t, const char *text)
{
	if (!number(&text, 1, MAX_RATE, &t->bucket.rate) || !word(&text, "/s"))
		return false;
	t->bucket.burst = 1;
	while (*text) {
		if (word(&text, ",burst=")) {
			if (!number(&text, 1, MAX_RATE, &t->bucket.burst))
				return false;
		} else if (word(&text, ",per-vcpu")) {
			t->bucket.per_vcpu = true;
		} else {
			return false;
		}
	}
	for (unsigned i = 0; i < THROTTLE_MAX_VCPUS; i++)
		t->bucket.of[i].credit = (int64_t)(t->bucket.burst * SECOND);
	return true;
}

static bool parse_kernel(struct throttle *t, const char *text)
{
	uint64_t burst, hz = 250;

	/* sld_state_setup() takes 1 to 1000 */
	if (!number(&text, 1, 1000, &burst))
		return false;
	if (word(&text, ",hz=") &&
	    (!number(&text, 100, 1000, &hz) || (hz != 100 && hz != 250 && hz != 300 && hz != 1000)))
		return false;
	t->kernel.burst = (unsigned)burst;
	t->kernel.hz = (unsigned)hz;
	return !*text;
}

static bool parse_kill(struct throttle *t, const char *text)
{
	return number(&text, 1, UINT64_MAX, &t->left) && !*text;
}

static const struct {
	const char *name;
	enum throttle_kind kind;
	bool (*parse)(struct throttle *t, const char *text);
	const char *form;
} forms[] = {
	{ "none", THROTTLE_NONE, parse_none, "none" },
	{ "qemu:", THROTTLE_QEMU, parse_qemu, "qemu:N with N from 0" },
	{ "sleep:", THROTTLE_SLEEP, parse_sleep,
	  "sleep:TIME with ns, us, ms or s, such as sleep:1ms, at most 3600s; or sleep:N/s" },
	{ "bucket:", THROTTLE_BUCKET, parse_bucket,
	  "bucket:N/s[,burst=B][,per-vcpu] with N and B from 1 to 1000000000" },
	{ "kernel:", THROTTLE_KERNEL, parse_kernel,
	  "kernel:N[,hz=H] with N from 1 to 1000 and H 100, 250, 300 or 1000" },
	{ "kill:", THROTTLE_KILL, parse_kill, "kill:N with N from 1" },
};

const char *throttle_forms(void)
{
	return "none, qemu:N, sleep:TIME, sleep:N/s, bucket:N/s[,burst=B][,per-vcpu], "
	       "kernel:N[,hz=H] or kill:N";
}

int throttle_parse(struct throttle *t, const char *text, char *why, size_t size)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		const char *rest = text;

		if (!word(&rest, forms[i].name))
			continue;
		*t = (struct throttle){ .kind = forms[i].kind };
		if (forms[i].parse(t, rest))
			return 0;
		snprintf(why, size, "policy '%s': %s is wanted", text, forms[i].form);
		return -EINVAL;
	}
	snprintf(why, size, "there is no policy '%s'; there is %s", text, throttle_forms());
	return -EINVAL;
}
