/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Monitors whose behaviour is a matter of time, one case each. In virtual time two runs print the same.
 *
 *	time_guest CASE
 */
#include "tests/integration/kvm_api.h"
#include "tests/programs/time_case.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>

#define OPERAND (GUEST_BUFFER + 62u) /* two bytes in each of two lines */
#define PORT    0xf4

/* lock inc dword [rdi]; loop; out PORT, al; hlt */
static const uint8_t locking[] = { 0xf0, 0xff, 0x07, 0xe2, 0xfb, 0xe6, PORT, 0xf4 };
/* lock inc dword [rdi]; jmp */
static const uint8_t always_locking[] = { 0xf0, 0xff, 0x07, 0xeb, 0xfb };
/* inc rax; jmp */
static const uint8_t counting[] = { 0x48, 0xff, 0xc0, 0xeb, 0xfb };
/* rdtsc; mov ebx,eax; mov ecx,1000000; loop; rdtsc; hlt */
static const uint8_t timing[] = { 0x0f, 0x31, 0x89, 0xc3, 0xb9, 0x40, 0x42,
				  0x0f, 0,    0xe2, 0xfe, 0x0f, 0x31, 0xf4 };

static void machine(struct vm *vm, struct vcpu *vcpu, unsigned vcpus, const uint8_t *code,
		    size_t size, uint64_t locks)
{
	vm_create(vm, GUEST_MEMORY);
	if (code != always_locking)
		kvm_checked(_vm_enable_cap(vm->fd, KVM_CAP_X86_BUS_LOCK_EXIT, 0,
					   KVM_BUS_LOCK_DETECTION_EXIT),
			    "KVM_ENABLE_CAP");
	guest_write(vm, GUEST_LOAD, code, size);
	for (unsigned i = 0; i < vcpus; i++) {
		vcpu_create(vm, &vcpu[i], i);
		vcpu_start(&vcpu[i], GUEST_LONG, GUEST_LOAD, OPERAND, locks, i, vcpus);
	}
}

/* ------------------------------------------------------------------ QEMU's bus-lock-ratelimit */

/* include/qemu/ratelimit.h, one lock a second */
static int64_t limit_delay(int64_t time)
{
	static int64_t slice_start, slice_end, dispatched;
	const int64_t slice = 1000 * MS, quota = 1;

	if (slice_end < time) {
		slice_start = time;
		slice_end = time + slice;
		dispatched = 0;
	}
	if (++dispatched < quota)
		return 0;
	slice_end = slice_start + dispatched * slice / quota;
	return slice_end - time;
}

static int throttle(void)
{
	struct vcpu vcpu;
	struct vm vm;
	int64_t begun;
	int locks = 0;

	machine(&vm, &vcpu, 1, locking, sizeof(locking), 60);
	begun = now();
	for (;;) {
		vcpu_run(&vcpu);
		if (vcpu.run->exit_reason != KVM_EXIT_X86_BUS_LOCK)
			break;
		locks++;
		usleep((useconds_t)(limit_delay(now()) / 1000));
	}
	printf("locks %d in %lld us\n", locks, (long long)(now() - begun) / 1000);
	return 0;
}

/* ------------------------------------------------------------------ kicks by a POSIX timer */

static int kicks_at(const uint8_t *code, size_t size)
{
	struct {
		struct kvm_signal_mask header;
		uint64_t set;
	} __attribute__((packed)) mask = { .header = { .len = 8 }, .set = 0 };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	struct itimerspec period = { { 0, 1 * MS }, { 0, 1 * MS } };
	const struct timespec none = { 0, 0 };
	struct kvm_regs regs;
	struct vcpu vcpu;
	struct vm vm;
	timer_t timer;
	sigset_t set;
	int64_t begun;

	machine(&vm, &vcpu, 1, code, size, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGUSR1, SIG_DFL);
	kvm_checked(_kvm_ioctl(vcpu.fd, KVM_SET_SIGNAL_MASK, (unsigned long)&mask),
		    "KVM_SET_SIGNAL_MASK");
	event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer))
		die("timer_create: %s", strerror(errno));
	begun = now();
	timer_settime(timer, 0, &period, NULL);
	for (int n = 1; n <= 60; n++) {
		siginfo_t info;
		long r = _vcpu_run(&vcpu);
		int64_t late = now() - begun - n * MS;

		if (r != -EINTR || sigtimedwait(&set, &info, &none) != SIGUSR1 ||
		    info.si_code != SI_TIMER || late < 0 || late > 2000) {
			printf("kick %d: %ld, %lld ns late\n", n, r, (long long)late);
			return 1;
		}
		if (n % 20 == 0) {
			vcpu_get_regs(&vcpu, &regs);
			printf("kick %d late %lld ", n, (long long)late);
			if (code == counting)
				printf("rax %lld\n", (long long)regs.rax);
			else
				printf("locks %u\n", *(uint32_t *)(vm.memory + OPERAND));
		}
	}
	return 0;
}

static int kicks(void)
{
	return kicks_at(counting, sizeof(counting));
}

static int unseen(void)
{
	return kicks_at(always_locking, sizeof(always_locking));
}

/* ------------------------------------------------------------------ an event loop beside a vCPU */

static struct vcpu loop_vcpu;
static int to_loop;
static volatile bool loop_stop;

static void nothing(int signal)
{
	(void)signal;
}

static void *run_loop(void *unused)
{
	struct kvm_regs regs;
	long runs = 0, interrupted = 0;
	uint64_t one = 1;

	(void)unused;
	while (!loop_stop) {
		long r = _vcpu_run(&loop_vcpu);

		runs++;
		interrupted += r == -EINTR;
		if (write(to_loop, &one, sizeof(one)) != sizeof(one))
			break;
	}
	vcpu_get_regs(&loop_vcpu, &regs);
	printf("runs %ld interrupted %ld rax %lld\n", runs, interrupted, (long long)regs.rax);
	return NULL;
}

static int events(void)
{
	struct itimerspec period = { { 0, 3 * MS }, { 0, 3 * MS } };
	struct sigaction action = { .sa_handler = nothing };
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	const struct timespec timeout = { 0, 2 * MS };
	pthread_t thread;
	struct vm vm;
	int64_t begun;
	struct pollfd fds[2];

	to_loop = eventfd(0, EFD_NONBLOCK);
	fds[0] = (struct pollfd){ .fd = timer, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = to_loop, .events = POLLIN };
	sigaction(SIGUSR1, &action, NULL);
	machine(&vm, &loop_vcpu, 1, counting, sizeof(counting), 0);
	timerfd_settime(timer, 0, &period, NULL);
	begun = now();
	pthread_create(&thread, NULL, run_loop, NULL);
	for (int ticks = 0; ticks < 8;) {
		uint64_t n = 0;
		int r = ppoll(fds, 2, &timeout, NULL);

		if (r == 0) {
			printf("idle at %lld\n", (long long)(now() - begun));
			continue;
		}
		if (fds[0].revents && read(timer, &n, sizeof(n)) == sizeof(n)) {
			ticks += (int)n;
			pthread_kill(thread, SIGUSR1);
		}
		if (fds[1].revents && read(to_loop, &n, sizeof(n)) == sizeof(n))
			printf("vcpu left %d at %lld\n", (int)n, (long long)(now() - begun));
	}
	loop_stop = true;
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
	return 0;
}

/* ------------------------------------------------------------------ two vCPUs */

static struct vcpu pair[2];
static pthread_mutex_t pair_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t order = 0xcbf29ce484222325u;

static void *run_one(void *argument)
{
	struct vcpu *vcpu = argument;
	int locks = 0;

	for (;;) {
		struct timespec t = { 0, 30000 };

		vcpu_run(vcpu);
		if (vcpu->run->exit_reason != KVM_EXIT_X86_BUS_LOCK)
			break;
		pthread_mutex_lock(&pair_mutex);
		order = (order ^ (uint64_t)(vcpu - pair)) * 0x100000001b3u;
		order = (order ^ (uint64_t)now()) * 0x100000001b3u;
		locks++;
		if (locks % 3 == 0)
			nanosleep(&t, NULL); /* with the lock: the other one has to wait */
		pthread_mutex_unlock(&pair_mutex);
	}
	printf("vcpu %d: %d locks at %lld\n", (int)(vcpu - pair), locks, (long long)now());
	return NULL;
}

static int contend(void)
{
	pthread_t thread[2];
	struct vm vm;

	machine(&vm, pair, 2, locking, sizeof(locking), 300);
	for (int i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, run_one, &pair[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	printf("order %016llx\n", (unsigned long long)order);
	return 0;
}

/* ------------------------------------------------------------------ the guest's clock */

static int tsc(void)
{
	struct kvm_clock_data before, after;
	struct kvm_regs regs;
	struct vcpu vcpu;
	struct vm vm;
	int64_t begun, ns;
	long khz;

	machine(&vm, &vcpu, 1, timing, sizeof(timing), 0);
	khz = kvm_checked(_kvm_ioctl(vcpu.fd, KVM_GET_TSC_KHZ, 0), "KVM_GET_TSC_KHZ");
	kvm_checked(_kvm_ioctl(vm.fd, KVM_GET_CLOCK, (unsigned long)&before), "KVM_GET_CLOCK");
	begun = now();
	vcpu_run(&vcpu);
	ns = now() - begun;
	kvm_checked(_kvm_ioctl(vm.fd, KVM_GET_CLOCK, (unsigned long)&after), "KVM_GET_CLOCK");
	vcpu_get_regs(&vcpu, &regs);
	printf("khz %ld guest %lld cycles monitor %lld ns kvm %lld ns host_tsc %lld\n", khz,
	       (long long)(uint32_t)(regs.rax - regs.rbx), (long long)ns,
	       (long long)(after.clock - before.clock),
	       (long long)(after.host_tsc - before.host_tsc));
	return 0;
}

/* A thread blocks where virtual time does not see it, while a guest runs. */
static int blocked(void)
{
	struct vcpu vcpu;
	struct vm vm;
	pthread_t thread;
	int ends[2], locks = 0;

	if (pipe(ends))
		return 1;
	pthread_create(&thread, NULL, reader, &ends[0]);
	usleep(1000);
	machine(&vm, &vcpu, 1, locking, sizeof(locking), 10);
	for (;; locks++) {
		vcpu_run(&vcpu);
		if (vcpu.run->exit_reason != KVM_EXIT_X86_BUS_LOCK)
			break;
	}
	if (write(ends[1], "x", 1) != 1)
		return 1;
	pthread_join(thread, NULL);
	printf("locks %d\n", locks);
	return 0;
}

/* ------------------------------------------------------------------ a guest that never ends */

static void *run_always(void *unused)
{
	sigset_t all;

	(void)unused;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	for (;;)
		vcpu_run(&loop_vcpu);
	return NULL;
}

static volatile sig_atomic_t signalled;

static void note_signal(int signal)
{
	signalled = signal;
}

/* The event loop has no time-out: only what comes from outside can wake it. */
static int outside(void)
{
	struct sigaction action = { .sa_handler = note_signal };
	struct pollfd in = { .fd = 0, .events = POLLIN };
	pthread_t thread;
	struct vm vm;
	char byte;
	int r;

	sigaction(SIGTERM, &action, NULL);
	machine(&vm, &loop_vcpu, 1, counting, sizeof(counting), 0);
	pthread_create(&thread, NULL, run_always, NULL);
	printf("ready\n");
	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		r = poll(&in, 1, -1);
		if (r == 1)
			r = (int)read(0, &byte, 1);
		printf("poll %d signal %d\n", r, signalled);
		fflush(stdout);
		in.fd = -1;
	}
	_exit(0);
}

static const struct {
	const char *name;
	int (*run)(void);
} cases[] = {
	{ "throttle", throttle }, { "kicks", kicks },     { "unseen", unseen },
	{ "events", events },     { "contend", contend }, { "tsc", tsc },
	{ "blocked", blocked },   { "outside", outside },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc == 2 && i < sizeof(cases) / sizeof(*cases); i++) {
		if (!strcmp(argv[1], cases[i].name))
			return cases[i].run();
	}
	fprintf(stderr, "usage: time_guest CASE\n");
	return 2;
}
