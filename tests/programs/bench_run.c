/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Measures KVM_RUN as a monitor sees it (tests/bench/run):
 *   bench_run exits N   round trips of a guest that does nothing but OUT
 *   bench_run locks N   the same with a split lock each, under `buslock exec` only
 *   bench_run kicks N   a guest that loops for ever, kicked out by a signal from another thread
 * Prints "rate N" per second; for kicks also how long they took, by percentile.
 */
#include "tests/integration/kvm_api.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

static struct vm vm;
static struct vcpu vcpu;

static double clock_now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double now(void)
{
	return clock_now(CLOCK_MONOTONIC);
}

/* Exits are counted per second of processor time, which other programs do not take away. */
static double cpu_now(void)
{
	return clock_now(CLOCK_PROCESS_CPUTIME_ID);
}

static void measure(const char *code, size_t size, uint32_t reason, unsigned long count)
{
	double begun;

	guest_write(&vm, GUEST_LOAD, code, size);
	vcpu_start(&vcpu, GUEST_LONG, GUEST_LOAD, 0, 0, 0, 1);
	begun = cpu_now();
	for (unsigned long i = 0; i < count; i++) {
		vcpu_run(&vcpu);
		if (vcpu.run->exit_reason != reason)
			die("exit %lu: %s", i, exit_name(vcpu.run->exit_reason));
	}
	printf("rate %.0f\n", (double)count / (cpu_now() - begun));
}

static void measure_exits(unsigned long count)
{
	static const char code[] = "\xe6\x10\xeb\xfc"; /* out 0x10, al; jmp 0 */

	measure(code, sizeof(code) - 1, KVM_EXIT_IO, count);
}

/* Emulated only: on the real device each of these would stop every core of the machine. */
static void measure_locks(unsigned long count)
{
	/* lock inc dword [803eh]; jmp 0 */
	static const char code[] = "\xf0\xff\x04\x25\x3e\x80\x00\x00\xeb\xf6";
	char link[32], target[64] = "";

	/* A VM of the kernel's is "anon_inode:kvm-vm". */
	snprintf(link, sizeof(link), "/proc/self/fd/%d", vm.fd);
	if (readlink(link, target, sizeof(target) - 1) < 0 || strncmp(target, "/memfd:", 7))
		die("locks: under `buslock exec` only, and this is %s", target);
	measure(code, sizeof(code) - 1, KVM_EXIT_X86_BUS_LOCK, count);
}

struct kicker {
	pthread_t target;
	unsigned long count;
	_Atomic unsigned long acknowledged;
	_Atomic double sent;
};

static void on_signal(int signal)
{
	(void)signal;
}

/* Sleeps until the guest surely runs, then kicks: what is measured is the way out, not the way in. */
static void *kick(void *argument)
{
	struct kicker *k = argument;
	const struct timespec pause = { .tv_nsec = 200000 };

	for (unsigned long i = 0; i < k->count; i++) {
		nanosleep(&pause, NULL);
		k->sent = now();
		pthread_kill(k->target, SIGUSR1);
		while (k->acknowledged <= i)
			sched_yield();
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure_kicks(unsigned long count)
{
	static const char code[] = "\xeb\xfe"; /* jmp $ */
	static struct kicker kicker;
	struct sigaction action = { .sa_handler = on_signal };
	double *took = calloc(count, sizeof(*took)), sum = 0;
	sigset_t set;
	pthread_t thread;

	if (!took || !count)
		die("kicks: no memory, or none wanted");
	sigaction(SIGUSR1, &action, NULL);
	/* Let through only while the guest runs, so that no kick gets lost before KVM_RUN. */
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	struct kvm_signal_mask *mask = calloc(1, sizeof(*mask) + 8);
	if (!mask)
		die("no memory");
	mask->len = 8;
	kvm_ioctl(vcpu.fd, KVM_SET_SIGNAL_MASK, mask);
	guest_write(&vm, GUEST_LOAD, code, sizeof(code) - 1);
	vcpu_start(&vcpu, GUEST_LONG, GUEST_LOAD, 0, 0, 0, 1);
	kicker.target = pthread_self();
	kicker.count = count;
	if (pthread_create(&thread, NULL, kick, &kicker))
		die("pthread_create failed");
	for (unsigned long i = 0; i < count; i++) {
		const struct timespec none = { 0 };
		long result = _vcpu_run(&vcpu);

		took[i] = (now() - kicker.sent) * 1e6;
		if (result != -EINTR)
			die("kick %lu: %s", i, result_name(result));
		sigtimedwait(&set, NULL, &none);
		kicker.acknowledged++;
		sum += took[i];
	}
	pthread_join(thread, NULL);
	qsort(took, count, sizeof(*took), compare);
	printf("rate %.0f median %.1f p90 %.1f p99 %.1f max %.1f\n", 1e6 * (double)count / sum,
	       took[count / 2], took[count * 9 / 10], took[count * 99 / 100], took[count - 1]);
	free(took);
	free(mask);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		die("usage: bench_run exits|locks|kicks N");
	vm_create(&vm, GUEST_MEMORY);
	_vm_enable_cap(vm.fd, KVM_CAP_X86_BUS_LOCK_EXIT, 0, KVM_BUS_LOCK_DETECTION_EXIT);
	vcpu_create(&vm, &vcpu, 0);
	if (!strcmp(argv[1], "exits"))
		measure_exits(strtoul(argv[2], NULL, 0));
	else if (!strcmp(argv[1], "locks"))
		measure_locks(strtoul(argv[2], NULL, 0));
	else
		measure_kicks(strtoul(argv[2], NULL, 0));
	return 0;
}
