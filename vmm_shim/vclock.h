/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Time, as the shim sees it: the host's, or with --time=virtual one deterministic clock for the
 * monitor's threads and the guest (docs/time.md). Everything in the shim that asks for the time or
 * waits for a time to pass asks here.
 */
#ifndef BUSLOCK_VMM_SHIM_VCLOCK_H
#define BUSLOCK_VMM_SHIM_VCLOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct emu_vcpu;
struct shim_vcpu;

/* CLOCK_MONOTONIC in nanoseconds. Async-signal-safe. */
uint64_t shim_now_ns(void);
/*
 * msleep_interruptible() inside an ioctl (signals_block() is in force): 0 after `ns` nanoseconds,
 * -EINTR as soon as a signal is pending that `mask`, the caller's or KVM_RUN's, lets through and that
 * would do something. The signal stays pending.
 */
int shim_sleep_interruptible(uint64_t mask, uint64_t ns);

/* ------------------------------------------------------------------ virtual time */

extern _Atomic bool vclock_on;
static inline bool vclock_virtual(void)
{
	return __builtin_expect(atomic_load_explicit(&vclock_on, memory_order_relaxed), 0);
}

/* CLOCK_REALTIME when CLOCK_MONOTONIC was 0: both begin with the process, at 1 s and 2000-01-01. */
#define VCLOCK_START_NS    1000000000ull
#define VCLOCK_REALTIME_NS (946684800000000000ull - VCLOCK_START_NS)

/* The options ask for virtual time: the calling thread is the first one that has it. */
void vclock_start(void);
void vclock_after_fork(void);

/*
 * The run may come out differently next time, and why: the first reason stays. It goes into the
 * report and the trace, too.
 */
void vclock_nondeterministic(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *shim_nondeterminism(void); /* NULL: it has not been */

/* The virtual time-stamp counter, of this thread. */
uint64_t vclock_cycles(void);
/* The same as a guest reads it (emu_vm_set_tsc_source()). */
uint64_t vclock_tsc(void *opaque, struct emu_vcpu *vcpu);

/*
 * KVM_RUN, around each stretch of guest code. Begin waits for the guest's turn and limits the stretch
 * to it; true: signals have been sent, look at them first.
 */
bool vclock_guest_begin(struct shim_vcpu *vcpu);
void vclock_guest_end(struct shim_vcpu *vcpu);
/*
 * A halted vCPU gives up its turn until *word, to be woken by vclock_wake(), is no longer `value`, until
 * `deadline_ns` (UINT64_MAX: never), or until a signal comes that ends KVM_RUN.
 */
void vclock_guest_wait(struct shim_vcpu *vcpu, uint64_t deadline_ns, const _Atomic uint32_t *word,
		       uint32_t value);
/* The stretch that has just ended goes on, as if it had not. False: begin another one. */
bool vclock_guest_resume(void);
/* The guest has taken a bus lock, which costs. */
void vclock_bus_lock(struct shim_vcpu *vcpu);
/* Back to the monitor's code, which runs in the order of time. */
void vclock_settle(void);

/* A signal has been sent to thread `tid` of this process (0: any). Async-signal-safe. */
void vclock_signal_sent(int tid);
/* The number of a thread; 0, any, if it is not known. */
int vclock_tid(pthread_t thread);
/* As FUTEX_WAIT and FUTEX_WAKE of one. False: this thread has no virtual time, wait otherwise. */
bool vclock_block(const _Atomic uint32_t *word, uint32_t value);
void vclock_wake(const void *address);
/*
 * The same by a vCPU: who is woken comes after what the guest did. The monitor's time, which others begin
 * at, stands still while guests run, and is moved by looks in real time.
 */
void vclock_wake_from_guest(const void *address);
/* This thread is the shim's own: it lives in real time. */
void vclock_stay_out(void);

/* ------------------------------------------------------------------ for a monitor in this process */

/*
 * The command's own monitor, whose calls nobody interposes: as the C library's, in real or virtual time.
 * A thread: 0 or an error number. Sleep until shim_now_ns() is `ns`: 0 or EINTR. poll(): -errno.
 */
struct pollfd;
int shim_thread_create(pthread_t *thread, void *(*start)(void *), void *argument);
int shim_thread_join(pthread_t thread);
int shim_sleep_until(uint64_t ns);
int shim_poll(struct pollfd *fds, unsigned n, int timeout_ms);

#endif
