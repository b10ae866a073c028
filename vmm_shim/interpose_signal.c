// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kicks. A monitor ends a KVM_RUN by a signal to the vCPU's thread, in which signals are blocked
 * while it runs: so who sends one tells the run to look. Signals from elsewhere (timers, other
 * processes) are noticed by the run's own look every millisecond.
 *
 * raise() is not here: it signals the caller, who is not inside KVM_RUN then.
 */
#include <unistd.h>

#include "vmm_shim/interpose.h"
#include "vmm_shim/shim.h"
#include "vmm_shim/vclock.h"

/*
 * Threads that have called KVM_RUN: pthread_t → thread number, which the C library does not tell.
 * Entries are never freed; the thread that inherits a dead one's pthread_t takes over its entry.
 * Kicking a number that no longer runs a vCPU does no harm.
 */
#define THREADS 256
static struct {
	_Atomic pthread_t thread;
	_Atomic int tid;
} threads[THREADS];
static _Atomic bool threads_full;
static __thread bool registered __attribute__((tls_model("initial-exec")));

void interpose_signal_thread(void)
{
	pthread_t self;
	int tid;

	if (registered)
		return;
	registered = true;
	self = pthread_self();
	tid = (int)RAW(SYS_gettid);
	for (int i = 0; i < THREADS; i++) {
		pthread_t found = atomic_load(&threads[i].thread);

		if (!found && atomic_compare_exchange_strong(&threads[i].thread, &found, self))
			found = self;
		if (found == self) {
			atomic_store(&threads[i].tid, tid);
			return;
		}
	}
	atomic_store(&threads_full, true);
}

/* Only the calling thread is left, with another number. */
void interpose_signal_after_fork(void)
{
	for (int i = 0; i < THREADS; i++) {
		atomic_store(&threads[i].tid, 0);
		atomic_store(&threads[i].thread, 0);
	}
	atomic_store(&threads_full, false);
	registered = false;
}

static void sent_to(int tid)
{
	int saved = errno;

	if (atomic_load_explicit(&interpose_vm, memory_order_relaxed) || vclock_virtual())
		shim_signal_sent(tid);
	errno = saved;
}

static void sent_to_thread(pthread_t thread)
{
	if (vclock_virtual()) { /* it may be asleep anywhere, not only in KVM_RUN */
		sent_to(vclock_tid(thread));
		return;
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_t found = atomic_load(&threads[i].thread);
		int tid;

		if (!found)
			break;
		if (found != thread)
			continue;
		tid = atomic_load(&threads[i].tid);
		/* 0 would be every thread: its owner has not finished entering, and not run yet. */
		if (tid)
			sent_to(tid);
		return;
	}
	if (atomic_load(&threads_full))
		sent_to(0);
}

/* kill(2): 0 own group, -1 everybody, below that a group. */
void interpose_signal_process(pid_t pid)
{
	if (!atomic_load_explicit(&interpose_vm, memory_order_relaxed) && !vclock_virtual())
		return;
	if (pid == 0 || pid == -1 || pid == (pid_t)RAW(SYS_getpid) ||
	    (pid < 0 && -pid == (pid_t)RAW(SYS_getpgid, 0)))
		sent_to(0);
}

/* ------------------------------------------------------------------ the senders */

int interpose_pthread_kill(pthread_t thread, int signal)
{
	int result;

	/* Who calls before the constructor ran waits for it: there is no system call for this. */
	interpose_setup();
	result = next.pthread_kill ? next.pthread_kill(thread, signal) : ENOSYS;
	if (result == 0 && signal)
		sent_to_thread(thread);
	return result;
}

int interpose_pthread_sigqueue(pthread_t thread, int signal, const union sigval value)
{
	int result;

	interpose_setup();
	result = next.pthread_sigqueue ? next.pthread_sigqueue(thread, signal, value) : ENOSYS;
	if (result == 0 && signal)
		sent_to_thread(thread);
	return result;
}

int interpose_kill(pid_t pid, int signal)
{
	int result = next.kill ? next.kill(pid, signal)
			       : (int)raw_result(RAW(SYS_kill, pid, signal));

	if (result == 0 && signal)
		interpose_signal_process(pid);
	return result;
}

int interpose_killpg(pid_t group, int signal)
{
	int result;

	if (next.killpg)
		result = next.killpg(group, signal);
	else
		result = (int)raw_result(RAW(SYS_kill, -group, signal));
	if (result == 0 && signal)
		interpose_signal_process(-group);
	return result;
}

int interpose_tgkill(pid_t pid, pid_t tid, int signal)
{
	int result = next.tgkill ? next.tgkill(pid, tid, signal)
				 : (int)raw_result(RAW(SYS_tgkill, pid, tid, signal));

	if (result == 0 && signal)
		sent_to(tid);
	return result;
}

int interpose_sigqueue(pid_t pid, int signal, const union sigval value)
{
	int result;

	interpose_setup();
	if (!next.sigqueue) {
		errno = ENOSYS;
		return -1;
	}
	result = next.sigqueue(pid, signal, value);
	if (result == 0 && signal)
		interpose_signal_process(pid);
	return result;
}

/* ------------------------------------------------------------------ under these names */

INTERPOSE(interpose_pthread_kill, pthread_kill);
INTERPOSE(interpose_pthread_sigqueue, pthread_sigqueue);
INTERPOSE(interpose_kill, kill);
INTERPOSE(interpose_killpg, killpg);
INTERPOSE(interpose_tgkill, tgkill);
INTERPOSE(interpose_sigqueue, sigqueue);
