// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads take turns. Exactly one thread of the monitor runs at a time, the one that vsched.c names; it
 * gives up its turn in the calls that this library answers. If nobody can run, time jumps to what comes
 * next.
 *
 * A thread that blocks where it cannot be seen (a read() of a pipe) would stop all: those that wait
 * look at it now and then, in real time, and go on without it.
 */
#include "vmm_shim/vtime.h"

#include "traces/report.h"
#include "traces/trace.h"
#include "vmm_shim/irqchip/irqchip.h"
#include "vmm_shim/raw.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How late a sleep in real time notices a signal: they are blocked, only a look finds them. */
#define LOOK_NS 100000ull
/* How far a guest may be ahead of another one. Switching costs about 20 µs of real time. */
#define SLICE_NS 50000ull
/* Real time: how often who waits looks around; how long a thread is asleep to be called blocked; how
 * long one may compute without any call of ours while others wait. */
#define WATCH_NS   2000000l
#define BLOCKED_NS 12000000ull
#define BUSY_NS    5000000000ull
#define STOPPED_NS 500000000ull
/* Who reads the clock so often with nothing in between waits for it to move. */
#define SPIN_READS 1000
#define SPIN_NS    1000

_Atomic bool vclock_on;
struct vsched vsched;
struct vthread vthreads[VSCHED_TASKS];
static struct shim_lock clock_lock;
static uint64_t highest_tsc; /* that a guest has seen */
static __thread struct vthread *self __attribute__((tls_model("initial-exec")));
static __thread bool gone __attribute__((tls_model("initial-exec"))); /* it is ending */

static _Atomic bool nondeterministic;
static char nondeterminism[160];

/* ------------------------------------------------------------------ real time */

static uint64_t real_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return vns(&t);
}

static int sleep_real(uint64_t mask, uint64_t ns)
{
	uint64_t now = real_ns(), end = now + ns;

	for (; now < end; now = real_ns()) {
		uint64_t part = end - now < LOOK_NS ? end - now : LOOK_NS;
		const struct timespec t = { .tv_nsec = (long)part };

		if (signals_pending(mask))
			return -EINTR;
		raw_syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, NULL);
	}
	return 0;
}

/* ------------------------------------------------------------------ is it deterministic? */

void vclock_nondeterministic(const char *format, ...)
{
	struct report *report = shim_config.options.report;
	va_list arguments;

	if (atomic_exchange(&nondeterministic, true))
		return;
	va_start(arguments, format);
	vsnprintf(nondeterminism, sizeof(nondeterminism), format, arguments);
	va_end(arguments);
	report_note_nondeterminism(report, nondeterminism);
	trace_note_nondeterministic(shim_config.options.trace, nondeterminism);
	shim_log(2, "virtual time: this run is not deterministic: %s", nondeterminism);
}

const char *shim_nondeterminism(void)
{
	return atomic_load(&nondeterministic) ? nondeterminism : NULL;
}

/* ------------------------------------------------------------------ the tables' lock */

/* Not lock_take(): in virtual time that one comes here. */
static void take(void)
{
	uint32_t expected = 0;

	if (atomic_compare_exchange_strong(&clock_lock.state, &expected, 1))
		return;
	while (atomic_exchange(&clock_lock.state, 2))
		raw_syscall(SYS_futex, &clock_lock.state, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}

static void drop(void)
{
	if (atomic_exchange(&clock_lock.state, 0) == 2)
		raw_syscall(SYS_futex, &clock_lock.state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static struct vtask *task_of(const struct vthread *t)
{
	return &vsched.task[t->index];
}

/* ------------------------------------------------------------------ turns */

/* What another thread, or a timer, has made ready for somebody who waits for descriptors. */
static bool look_at_descriptors(void)
{
	bool found = false;

	for (unsigned i = 0; i < vsched.tasks; i++) {
		struct vthread *t = &vthreads[i];

		if (vsched.task[i].state != VTASK_WAITING || !t->fds)
			continue;
		if (vlook_at_descriptors(t)) {
			vsched_wake(&vsched, (int)i, VWAKE_EVENT);
			found = true;
		}
	}
	return found;
}

static unsigned activity; /* turns and calls: proof that whoever has the turn is alive */

/* Nobody runs: who does now? Time passes here, and only here. */
static void dispatch(void)
{
	activity++;
	for (;;) {
		struct vevent event = vsched_next(&vsched);

		if (vsched_passes_time(&vsched, &event) && look_at_descriptors())
			continue;
		if (event.kind == VEVENT_NOTHING)
			return; /* who waits looks again, in watch() */
		if (event.kind == VEVENT_TIMER) {
			vtimer_fire(event.index, vsched_expire(&vsched, event.index));
			continue;
		}
		vsched_run(&vsched, event.index);
		atomic_store(&vthreads[event.index].go, 1);
		if (&vthreads[event.index] != self)
			raw_syscall(SYS_futex, &vthreads[event.index].go, FUTEX_WAKE_PRIVATE, 1,
				    NULL, NULL, 0);
		return;
	}
}

/* Has the thread whose turn it is done nothing for a while? Then it is blocked, or computes. */
static void look_after(struct vthread *t)
{
	static unsigned seen;
	static uint64_t since, asleep_since, switches, looked;
	uint64_t now = real_ns(), count = 0;
	enum vlook look;

	/* who did not get to look for long may have been stopped, and all others with it */
	bool stopped = now - looked > STOPPED_NS;

	looked = now;
	if (activity != seen || t->in_guest || stopped) {
		seen = activity;
		since = now;
		asleep_since = 0;
		return;
	}
	look = vlook_at_thread(atomic_load(&t->tid), &count);
	if (look ==
	    VLOOK_ENDED) { /* without a word: main's pthread_exit(), a thread of thrd_create() */
		vclock_thread_gone(t);
		vsched.running = VSCHED_NOBODY;
		dispatch();
		return;
	}
	if (look == VLOOK_ASLEEP) {
		if (!asleep_since || count != switches) {
			asleep_since = now;
			switches = count;
		}
		if (now - asleep_since < BLOCKED_NS)
			return;
		vclock_nondeterministic(
			"thread %d was blocked in a call that virtual time does not "
			"answer",
			t->index);
	} else {
		asleep_since = 0;
		if (now - since < BUSY_NS)
			return;
		vclock_nondeterministic("thread %d computed for seconds while others waited",
					t->index);
	}
	log_debug("virtual time: going on without thread %d", t->index);
	task_of(t)->state = VTASK_OUTSIDE;
	atomic_store(&t->go, 0);
	vsched.running = VSCHED_NOBODY;
	dispatch();
}

/* Who is woken from outside while guests run begins where they are, not where the monitor was last. */
static void input_comes_now(void)
{
	uint64_t guests = VSCHED_NEVER;

	for (unsigned i = 0; i < vsched.tasks; i++) {
		const struct vtask *task = &vsched.task[i];

		if ((task->state == VTASK_RUNNING || task->state == VTASK_GUEST) &&
		    task->time < guests)
			guests = task->time;
	}
	if (guests != VSCHED_NEVER && guests > vsched.now)
		vsched.now = guests;
}

static bool signal_for(const struct vthread *t)
{
	kernel_sigset pending = 0;

	if (!t->signals)
		return false;
	raw_syscall(SYS_rt_sigpending, &pending, sizeof(pending));
	return pending & t->wants || signals_pending(t->lets);
}

static bool changed(const struct vthread *t)
{
	return t->word && atomic_load(t->word) != t->value;
}

/*
 * A thread from outside may change what is waited for just before the wait. Who waits for an address
 * looks again when it is woken, so it may be woken once too often.
 */
static bool perhaps_missed(struct vthread *t)
{
	/* many who look so often would leave nobody else a turn */
	return atomic_load(&nondeterministic) && task_of(t)->address &&
	       ++t->looks % (16 + vsched.waiters) == 0;
}

/* Somebody who waits looks around, in real time. */
static void watch(struct vthread *t)
{
	if (task_of(t)->state == VTASK_WAITING && signal_for(t)) {
		/* while nobody could run no time passed: it came when it came */
		if (vsched.running != VSCHED_NOBODY) {
			vclock_nondeterministic("a signal came from outside the process");
			input_comes_now();
		}
		vsched_wake(&vsched, t->index, VWAKE_LOOK);
	}
	if (task_of(t)->state == VTASK_WAITING && (changed(t) || perhaps_missed(t)))
		vsched_wake(&vsched, t->index, VWAKE_EVENT);
	if (vsched.running == VSCHED_NOBODY)
		dispatch();
	else
		look_after(&vthreads[vsched.running]);
}

static void wait_for_turn(struct vthread *t)
{
	while (!atomic_load(&t->go)) {
		/* together they look as often as a few would: each look takes the tables' lock */
		const struct timespec patience = { .tv_nsec = WATCH_NS * (1 + vsched.tasks / 16) };

		drop();
		raw_syscall(SYS_futex, &t->go, FUTEX_WAIT_PRIVATE, 0, &patience, NULL, 0);
		take();
		if (!atomic_load(&t->go))
			watch(t);
	}
}

/* The task's state says what it wants next. */
static void give_up_turn(struct vthread *t)
{
	vsched.running = VSCHED_NOBODY;
	atomic_store(&t->go, 0);
	dispatch();
	wait_for_turn(t);
}

static void yield_as(struct vthread *t, enum vtask_state state)
{
	task_of(t)->state = state;
	task_of(t)->wake = VWAKE_NONE;
	give_up_turn(t);
}

/* ------------------------------------------------------------------ threads */

static struct vthread *thread_new(void)
{
	int index = vsched_task_new(&vsched);
	struct vthread *t;

	if (index < 0) {
		vclock_nondeterministic("more than %d threads", VSCHED_TASKS);
		return NULL;
	}
	t = &vthreads[index];
	memset(t, 0, sizeof(*t));
	t->index = index;
	return t;
}

/* A thread that was not made by pthread_create(). */
static bool adopt(void)
{
	struct vthread *t = thread_new();

	if (!t)
		return false;
	atomic_store(&t->tid, (pid_t)raw_syscall(SYS_gettid));
	if (vsched.tasks > 1)
		vclock_nondeterministic("a thread came that was not made by pthread_create()");
	t->handle = pthread_self();
	t->has_handle = true;
	self = t;
	return true;
}

/* The tables are locked and signals blocked. */
static struct vthread *come_in(void)
{
	if (gone || (!self && !adopt()))
		return NULL;
	activity++;
	self->reads = 0;
	if (vsched.running != self->index) { /* new, or back from outside */
		struct vtask *task = task_of(self);

		task->state = VTASK_READY;
		task->wake = VWAKE_NONE;
		if (task->time < vsched.now)
			task->time = vsched.now;
		if (vsched.running == VSCHED_NOBODY)
			dispatch();
		wait_for_turn(self);
	}
	return self;
}

struct vthread *vclock_begin(void)
{
	kernel_sigset mask = signals_block();

	take();
	if (!come_in()) {
		drop();
		signals_restore(mask);
		return NULL;
	}
	self->mask = self->lets = mask;
	return self;
}

void vclock_end(struct vthread *t)
{
	kernel_sigset mask = t->mask;
	bool act = t->act;

	t->act = false;
	drop();
	signals_restore(mask);
	if (act)
		pthread_testcancel();
}

/* Traces begin at 0. */
static uint64_t trace_clock(void)
{
	return shim_now_ns() - VCLOCK_START_NS;
}

void vclock_start(void)
{
	const struct shim_options *o = &shim_config.options;

	vsched_init(&vsched, o->tsc_khz, VCLOCK_START_NS, SLICE_NS);
	take();
	adopt();
	vsched_run(&vsched, self->index);
	atomic_store(&self->go, 1);
	drop();
	report_set_clock(shim_now_ns);
	if (o->report)
		atomic_store(&o->report->virtual_time, 1);
	if (o->trace)
		o->trace->clock = trace_clock;
	atomic_store(&vclock_on, true);
}

/* The child has one thread, and its own time from here on. */
void vclock_after_fork(void)
{
	atomic_store(&clock_lock.state, 0);
	if (!vclock_virtual())
		return;
	for (unsigned i = 0; i < vsched.tasks; i++) {
		if (!self || (int)i != self->index)
			vsched.task[i].state = VTASK_FREE;
	}
	vtimer_after_fork();
	vsched.running = VSCHED_NOBODY;
	if (!self)
		return;
	atomic_store(&self->tid, (pid_t)raw_syscall(SYS_gettid));
	task_of(self)->state = VTASK_READY;
	vsched_run(&vsched, self->index);
	atomic_store(&self->go, 1);
}

struct vthread *vclock_thread_new(void)
{
	return thread_new();
}

void vclock_thread_enter(struct vthread *t)
{
	signals_block();
	self = t;
	atomic_store(&t->tid, (pid_t)raw_syscall(SYS_gettid));
	take();
	wait_for_turn(t);
	drop();
}

void vclock_thread_gone(struct vthread *t)
{
	t->has_handle = false;
	vsched_wake_all(&vsched, t);
	task_of(t)->state = VTASK_FREE;
}

void vclock_thread_leave(void)
{
	struct vthread *t = vclock_begin();

	if (!t)
		return;
	vclock_thread_gone(t);
	self = NULL;
	gone = true;
	vsched.running = VSCHED_NOBODY;
	dispatch();
	vclock_end(t);
}

struct vthread *vclock_self(void)
{
	return self;
}

/* ------------------------------------------------------------------ waiting */

static bool cancelled(struct vthread *t, const struct vwait *w)
{
	int state;

	if (!t->cancelled || !w->cancellable)
		return false;
	/* while it is disabled the request stays pending, and nothing ends for it: pthreads(7) */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	pthread_setcancelstate(state, NULL);
	if (state == PTHREAD_CANCEL_DISABLE)
		return false;
	t->cancelled = false;
	return t->act = true;
}

enum vwake vclock_wait(struct vthread *t, const struct vwait *w)
{
	uint64_t deadline = w->deadline == VSCHED_NEVER ? VSCHED_NEVER
							: vsched_cycles(&vsched, w->deadline);
	enum vwake wake = VWAKE_LOOK;

	t->fds = w->fds;
	t->nfds = w->nfds;
	t->select = w->select;
	t->signals = w->signals;
	t->lets = w->masked ? w->mask : t->mask;
	t->wants = w->wants;
	t->word = w->word;
	t->value = w->value;
	if (changed(t))
		wake = VWAKE_EVENT;
	while (wake == VWAKE_LOOK && !signal_for(t) && !cancelled(t, w)) {
		vsched_wait(&vsched, deadline, w->address);
		give_up_turn(t);
		wake = task_of(t)->wake;
	}
	vsched_wait_done(&vsched, t->index);
	t->fds = NULL;
	t->word = NULL;
	t->signals = false;
	t->wants = 0;
	t->lets = t->mask;
	return wake;
}

void vclock_deliver(struct vthread *t, const struct vwait *w)
{
	kernel_sigset mask = t->mask;

	if (!w->masked)
		return;
	drop();
	/* One is pending: the handlers run at once, and the mask is as it was behind that. */
	raw_syscall(SYS_rt_sigsuspend, &w->mask, sizeof(w->mask));
	take();
	t->mask = mask; /* a handler's own calls have used it */
}

void vclock_spin(void)
{
	struct vthread *t = self;
	unsigned reads = t ? t->reads : 0;

	t = vclock_begin();
	if (!t)
		return;
	/* behind all that are ready at this time */
	task_of(t)->time += reads >= SPIN_READS ? vsched_cycles(&vsched, SPIN_NS) : 1;
	yield_as(t, VTASK_READY);
	t->reads = reads + 1;
	vclock_end(t);
}

kernel_sigset vclock_disturb(void)
{
	kernel_sigset mask = signals_block();

	take();
	return mask;
}

void vclock_disturbed(kernel_sigset mask)
{
	if (vsched.running == VSCHED_NOBODY) /* by a thread from outside */
		dispatch();
	drop();
	signals_restore(mask);
}

unsigned vclock_wake_address(const void *address, bool all)
{
	kernel_sigset mask;
	unsigned n;

	if (!__atomic_load_n(&vsched.waiters, __ATOMIC_RELAXED))
		return 0;
	mask = vclock_disturb();
	n = all ? vsched_wake_all(&vsched, address) : vsched_wake_one(&vsched, address);
	vclock_disturbed(mask);
	return n;
}

bool vclock_block(const _Atomic uint32_t *word, uint32_t value)
{
	const struct vwait w = {
		.deadline = VSCHED_NEVER, .address = word, .word = word, .value = value
	};
	struct vthread *t = vclock_begin();

	if (!t)
		return false;
	vclock_wait(t, &w);
	vclock_end(t);
	return true;
}

void vclock_wake(const void *address)
{
	vclock_wake_address(address, false);
}

void vclock_wake_from_guest(const void *address)
{
	uint64_t now = vclock_cycles();
	kernel_sigset mask = vclock_disturb();

	vsched_wake_one_at(&vsched, address, now);
	vclock_disturbed(mask);
}

void vclock_stay_out(void)
{
	gone = true;
}

void vclock_signal_sent(int tid)
{
	kernel_sigset mask = vclock_disturb();

	for (unsigned i = 0; i < vsched.tasks; i++) {
		struct vthread *t = &vthreads[i];

		if (tid && atomic_load(&t->tid) != tid)
			continue;
		t->look = true;
		vsched_wake(&vsched, (int)i, VWAKE_LOOK);
	}
	vclock_disturbed(mask);
}

static struct vthread *thread_by_handle(pthread_t thread)
{
	for (unsigned i = 0; i < vsched.tasks; i++) {
		struct vthread *t = &vthreads[i];

		if (vsched.task[i].state != VTASK_FREE && t->has_handle &&
		    pthread_equal(t->handle, thread))
			return t;
	}
	return NULL;
}

int vclock_tid(pthread_t thread)
{
	const struct vthread *t = thread_by_handle(thread);

	return t ? atomic_load(&t->tid) : 0;
}

void vclock_cancel(pthread_t thread)
{
	kernel_sigset mask = vclock_disturb();
	struct vthread *t = thread_by_handle(thread);

	if (t) {
		t->cancelled = true;
		vsched_wake(&vsched, t->index, VWAKE_LOOK);
	}
	vclock_disturbed(mask);
}

static bool would_take(unsigned i, int signal)
{
	const struct vthread *t = &vthreads[i];
	enum vtask_state state = vsched.task[i].state;
	kernel_sigset blocked = state == VTASK_WAITING ? t->lets & ~t->wants : t->lets;

	/* a running one is the caller, between vclock_begin() and vclock_end() */
	return state != VTASK_FREE && state != VTASK_OUTSIDE && !(blocked & SIGNAL_BIT(signal));
}

/* complete_signal(): the first thread if it may, else any other. */
struct vthread *vclock_taker(int signal)
{
	for (unsigned i = 0; i < vsched.tasks; i++) {
		if (would_take(i, signal))
			return &vthreads[i];
	}
	return NULL;
}

/* Only the thread whose turn it is changes its time. */
static bool has_turn(const struct vthread *t)
{
	return t && atomic_load_explicit(&t->go, memory_order_relaxed);
}

/* ------------------------------------------------------------------ the guest */

static uint64_t guest_cycles_since(const struct vthread *t, const struct emu_stats *stats)
{
	const struct shim_options *o = &shim_config.options;

	return (stats->instructions - t->instructions) * o->insn_cycles +
	       (stats->bus_locks - t->bus_locks) * o->lock_cycles;
}

/* Until when it may run: who has the next turn, or a timer of the VM's interrupt hardware. */
static uint64_t horizon(const struct vthread *t, const struct shim_vcpu *vcpu)
{
	uint64_t at = vsched_horizon(&vsched, t->index), soonest = task_of(t)->time + 1, timer_ns;

	if (irq_next_timer(vcpu->vm->irqchip, &timer_ns)) {
		uint64_t timer = vsched_cycles(&vsched, timer_ns);

		at = timer < at ? timer : at;
	}
	return at > soonest ? at : soonest;
}

bool vclock_guest_begin(struct shim_vcpu *vcpu)
{
	struct emu_stats stats;
	struct vthread *t;
	uint64_t cycles;
	bool look;

	take(); /* KVM_RUN has blocked signals */
	t = come_in();
	if (!t) {
		drop();
		vcpu->ops->set_instruction_limit(vcpu->emu, 0);
		return false;
	}
	t->mask = t->lets = vcpu->caller_mask;
	yield_as(t, VTASK_GUEST);
	look = t->look;
	t->look = false;
	vcpu->ops->get_stats(vcpu->emu, &stats);
	t->instructions = stats.instructions;
	t->bus_locks = stats.bus_locks;
	t->horizon = horizon(t, vcpu);
	cycles = t->horizon - task_of(t)->time;
	cycles = cycles / shim_config.options.insn_cycles + 1;
	/* never so many that the sum wraps */
	t->limit = stats.instructions + (cycles < 1ull << 62 ? cycles : 1ull << 62);
	vcpu->ops->set_instruction_limit(vcpu->emu, t->limit);
	t->in_guest = !look;
	drop();
	return look;
}

void vclock_guest_wait(struct shim_vcpu *vcpu, uint64_t deadline_ns, const _Atomic uint32_t *word,
		       uint32_t value)
{
	const struct vwait w = {
		.deadline = deadline_ns,
		.address = word,
		.word = word,
		.value = value,
		.signals = true,
		.masked = true,
		.mask = vcpu->caller_mask,
	};

	take();
	if (come_in())
		vclock_wait(self, &w);
	drop();
}

void vclock_bus_lock(struct shim_vcpu *vcpu)
{
	const struct shim_options *o = &shim_config.options;
	uint64_t cost = (o->lock_cycles + o->insn_cycles - 1) / o->insn_cycles;

	if (!self || !self->in_guest)
		return;
	self->limit = self->limit > cost ? self->limit - cost : 1;
	vcpu->ops->set_instruction_limit(vcpu->emu, self->limit);
}

void vclock_guest_end(struct shim_vcpu *vcpu)
{
	struct vthread *t = self;
	struct emu_stats stats;
	uint64_t cycles;

	if (!t || !t->in_guest)
		return;
	vcpu->ops->get_stats(vcpu->emu, &stats);
	cycles = guest_cycles_since(t, &stats);
	take();
	activity++;
	t->in_guest = false;
	t->guest_cycles += cycles;
	task_of(t)->time += cycles;
	t->instructions = stats.instructions;
	t->bus_locks = stats.bus_locks;
	drop();
}

/*
 * The guest's turn reaches to what was next when it began. Only what comes from outside can want a turn
 * before that now; the guest, which may run for ever, is asked each time its thread looks for signals.
 */
bool vclock_guest_resume(void)
{
	if (!has_turn(self) || self->look)
		return false;
	take();
	input_comes_now();
	look_at_descriptors();
	if (vsched_horizon(&vsched, self->index) < self->horizon)
		vclock_nondeterministic("input from outside came while a guest ran");
	else
		self->in_guest = true;
	drop();
	return self->in_guest;
}

void vclock_settle(void)
{
	take();
	if (come_in())
		yield_as(self, VTASK_READY);
	drop();
}

/* ------------------------------------------------------------------ what time is it? */

/* In a guest, at the instruction. */
static uint64_t guest_now(const struct vthread *t)
{
	struct shim_vcpu *vcpu = vcpu_current();
	struct emu_stats stats;

	if (!vcpu)
		return task_of(t)->time;
	vcpu->ops->get_stats(vcpu->emu, &stats);
	return task_of(t)->time + guest_cycles_since(t, &stats);
}

uint64_t vclock_cycles(void)
{
	if (!has_turn(self))
		return vsched.now;
	return self->in_guest ? guest_now(self) : task_of(self)->time;
}

uint64_t vclock_tsc(void *opaque, struct emu_vcpu *emu)
{
	uint64_t tsc = vclock_cycles();

	(void)opaque;
	(void)emu; /* the monitor reads another one's: at its own time */
	if (!has_turn(self) || !self->in_guest)
		return tsc;
	/* One vCPU may run ahead of another; what they read goes forward all the same. */
	if (tsc > highest_tsc)
		highest_tsc = tsc;
	return highest_tsc;
}

uint64_t shim_now_ns(void)
{
	if (!vclock_virtual())
		return real_ns();
	return vsched_ns(&vsched, vclock_cycles());
}

int shim_sleep_interruptible(uint64_t mask, uint64_t ns)
{
	struct vwait w = { .signals = true, .masked = true, .mask = mask };
	enum vwake wake;

	if (!vclock_virtual())
		return sleep_real(mask, ns);
	take();
	if (!come_in()) {
		drop();
		return sleep_real(mask, ns);
	}
	w.deadline = vafter(vsched_ns(&vsched, task_of(self)->time), ns);
	wake = vclock_wait(self, &w);
	drop();
	return wake == VWAKE_LOOK ? -EINTR : 0;
}
