// SPDX-License-Identifier: GPL-2.0-only
/*
 * One helper thread per process: kicks every running vCPU once a millisecond, so that the run looks for
 * pending signals that came from outside the process. It sleeps when nothing has run for a while; who
 * runs a vCPU then wakes it.
 */
#include "vmm_shim/internal.h"
#include "vmm_shim/irqchip/lapic.h"
#include "vmm_shim/raw.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS     1000000l
#define IDLE_TICKS  20
#define THREAD_SIZE (512 * 1024)

_Atomic unsigned ticker_generation = 1; /* 0 is that of an empty cache entry */
_Atomic uint32_t ticker_state;
static struct shim_lock start_lock;

/* Its thread waits in KVM_RUN for an event: it looks after itself. */
static bool vcpu_sleeps(const struct shim_vcpu *vcpu)
{
	const struct lapic *a = vcpu->apic;

	return a && atomic_load(&a->asleep);
}

/* True if a vCPU is inside KVM_RUN, and awake. */
static bool kick_all(void)
{
	unsigned n = atomic_load(&shim_vcpu_slots);
	bool any = false;

	readers_enter();
	for (unsigned i = 0; i < n; i++) {
		struct shim_vcpu *vcpu = atomic_load(&shim_vcpus[i]);

		if (!vcpu || !atomic_load(&vcpu->runner) || vcpu_sleeps(vcpu))
			continue;
		vcpu->ops->kick(vcpu->emu);
		any = true;
	}
	readers_leave();
	return any;
}

static bool anything_runs(void)
{
	unsigned n = atomic_load(&shim_vcpu_slots);
	bool any = false;

	readers_enter();
	for (unsigned i = 0; i < n && !any; i++) {
		struct shim_vcpu *vcpu = atomic_load(&shim_vcpus[i]);

		any = vcpu && atomic_load(&vcpu->runner) && !vcpu_sleeps(vcpu);
	}
	readers_leave();
	return any;
}

/* A runner announces itself and then looks at the state; we set the state and then look for runners:
 * one of both sees the other. */
static void sleep_until_needed(void)
{
	atomic_fetch_add(&ticker_generation, 1);
	atomic_store(&ticker_state, TICKER_ASLEEP);
	if (anything_runs())
		atomic_store(&ticker_state, TICKER_AWAKE);
	while (atomic_load(&ticker_state) == TICKER_ASLEEP)
		raw_syscall(SYS_futex, &ticker_state, FUTEX_WAIT_PRIVATE, TICKER_ASLEEP, NULL, NULL,
			    0);
}

static void *ticker(void *unused)
{
	const struct timespec tick = { 0, TICK_NS };
	unsigned idle = 0;

	(void)unused;
	vclock_stay_out();
	prctl(PR_SET_NAME, "buslock-ticker");
	prctl(PR_SET_TIMERSLACK, 1);
	for (;;) {
		/* raw: in virtual time the program's own sleeps are interposed, this one is not */
		raw_syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &tick, NULL);
		atomic_fetch_add(&ticker_generation, 1);
		idle = kick_all() ? 0 : idle + 1;
		files_reap();
		if (idle >= IDLE_TICKS) {
			sleep_until_needed();
			idle = 0;
		}
	}
	return NULL;
}

int (*shim_helper_create)(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*start)(void *), void *argument);

/* The caller has blocked all signals, and a new thread inherits that. */
static void ticker_start(void)
{
	__typeof__(shim_helper_create) create = shim_helper_create ? shim_helper_create
								   : pthread_create;
	pthread_attr_t attributes;
	pthread_t thread;

	lock_take(&start_lock);
	if (atomic_load(&ticker_state) == TICKER_NONE && !pthread_attr_init(&attributes)) {
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
		pthread_attr_setstacksize(&attributes, THREAD_SIZE);
		atomic_store(&ticker_state, TICKER_AWAKE);
		if (create(&thread, &attributes, ticker, NULL)) {
			atomic_store(&ticker_state, TICKER_NONE);
			shim_log(1,
				 "no helper thread: signals from outside the process will not end "
				 "KVM_RUN (raise RLIMIT_NPROC)");
		}
		pthread_attr_destroy(&attributes);
	}
	lock_drop(&start_lock);
}

void ticker_wake(void)
{
	uint32_t asleep = TICKER_ASLEEP;

	if (atomic_compare_exchange_strong(&ticker_state, &asleep, TICKER_AWAKE))
		raw_syscall(SYS_futex, &ticker_state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	else if (asleep == TICKER_NONE)
		ticker_start();
}

void ticker_after_fork(void)
{
	atomic_store(&start_lock.state, 0);
	atomic_store(&ticker_state, TICKER_NONE);
}

void shim_signal_sent(int tid)
{
	unsigned n = atomic_load(&shim_vcpu_slots);

	if (vclock_virtual()) {
		vclock_signal_sent(tid);
		return;
	}
	readers_enter();
	for (unsigned i = 0; i < n; i++) {
		struct shim_vcpu *vcpu = atomic_load(&shim_vcpus[i]);
		pid_t runner = vcpu ? atomic_load(&vcpu->runner) : 0;

		if (!runner || (tid && runner != tid))
			continue;
		atomic_store(&vcpu->signal_expected, true);
		vcpu->ops->kick(vcpu->emu);
		if (vcpu->apic)
			lapic_wake(vcpu->apic);
	}
	readers_leave();
}
