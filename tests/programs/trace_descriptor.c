/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A monitor that does to all descriptors what monitors do (`trace_descriptor CASE`), and then runs a
 * guest that takes one split lock and does one OUT. Whoever traces it looks at the trace. BUSLOCK_TRACE_FD
 * tells the cases which number to be rough with.
 */
#include "tests/integration/case.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

static int trace_fd(void)
{
	/* of `buslock record`, or of `buslock exec` */
	const char *watch = getenv("BUSLOCK_WATCH_TRACE_FD");
	const char *text = watch ? watch : getenv("BUSLOCK_TRACE_FD");

	CHECK(text, "BUSLOCK_TRACE_FD is not set");
	return atoi(text);
}

/* On the real device the guest's lock would be a real one, and stop every core of the machine. */
static void check_emulated(int vm)
{
	char link[32], target[64] = "";

	snprintf(link, sizeof(link), "/proc/self/fd/%d", vm);
	CHECK(readlink(link, target, sizeof(target) - 1) > 0 && !strncmp(target, "/memfd:", 7),
	      "not under `buslock exec`: the VM is %s", target);
}

static void nothing(void)
{
}

/* `between`: done between the lock's exit and the OUT's. */
static void run_guest_and(void (*between)(void))
{
	/* lock inc dword [803eh]; out 10h, al */
	static const char code[] = "\xf0\xff\x04\x25\x3e\x80\x00\x00\xe6\x10";
	struct vcpu vcpu;
	struct vm vm;

	vm_create(&vm, GUEST_MEMORY);
	check_emulated(vm.fd);
	CHECK(_vm_enable_cap(vm.fd, KVM_CAP_X86_BUS_LOCK_EXIT, 0, KVM_BUS_LOCK_DETECTION_EXIT) == 0,
	      "KVM_ENABLE_CAP");
	vcpu_create(&vm, &vcpu, 0);
	guest_write(&vm, GUEST_LOAD, code, sizeof(code) - 1);
	vcpu_start(&vcpu, GUEST_LONG, GUEST_LOAD, 0, 0, 0, 1);
	vcpu_run(&vcpu);
	CHECK(vcpu.run->exit_reason == KVM_EXIT_X86_BUS_LOCK, "%u", vcpu.run->exit_reason);
	between();
	vcpu_run(&vcpu);
	CHECK(vcpu.run->exit_reason == KVM_EXIT_IO, "%u", vcpu.run->exit_reason);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

static void run_guest(void)
{
	run_guest_and(nothing);
}

static void case_plain(void)
{
}

static void on_alarm(int signal)
{
	(void)signal;
}

/* Six: one by each function, one that a signal ends. */
static void sleep_each(void)
{
	const struct itimerval soon = { .it_value = { .tv_usec = 5000 } };
	const struct timespec millisecond = { .tv_nsec = 1000000 }, long_time = { .tv_sec = 10 };
	const struct sigaction action = { .sa_handler = on_alarm };

	CHECK(nanosleep(&millisecond, NULL) == 0, "%s", strerror(errno));
	CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &millisecond, NULL) == 0, "interrupted");
	CHECK(syscall(SYS_nanosleep, &millisecond, NULL) == 0, "%s", strerror(errno));
	CHECK(usleep(1000) == 0, "%s", strerror(errno));
	CHECK(sleep(0) == 0, "interrupted");
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	CHECK(nanosleep(&long_time, NULL) < 0 && errno == EINTR, "not interrupted");
}

/* Only what comes after a bus lock is policy. */
static void case_sleeps(void)
{
	sleep_each();
	run_guest_and(sleep_each);
	sleep_each();
}

/* As daemons did before there was closefrom(). */
static void case_close_each(void)
{
	for (int fd = 3; fd < 2000; fd++)
		CHECK(close(fd) == 0 || errno == EBADF, "%d: %s", fd, strerror(errno));
	CHECK(close(trace_fd()) < 0 && errno == EBADF, "it is the program's");
}

static void case_close_range(void)
{
	CHECK(close_range(3, ~0u, 0) == 0, "%s", strerror(errno));
	CHECK(close_range((unsigned)trace_fd(), (unsigned)trace_fd(), 0) == 0, "%s",
	      strerror(errno));
	CHECK(syscall(SYS_close_range, 3u, ~0u, 0u) == 0, "%s", strerror(errno));
	CHECK(close_range(5, 4, 0) < 0 && errno == EINVAL, "%s", strerror(errno));
}

static void case_closefrom(void)
{
	int below = dup(1), above = fcntl(1, F_DUPFD, trace_fd() + 1);

	CHECK(below >= 0 && above > trace_fd(), "%s", strerror(errno));
	closefrom(3);
	CHECK(fcntl(below, F_GETFD) < 0 && fcntl(above, F_GETFD) < 0, "not closed");
}

/* A program that wants just this number gets it. */
static void take_number(int (*take)(int, int))
{
	int mine = memfd_create("mine", 0), fd = trace_fd();
	char text[8];

	CHECK(mine >= 0 && take(mine, fd) == fd, "%s", strerror(errno));
	run_guest();
	CHECK(lseek(mine, 0, SEEK_END) == 0, "the trace went into the program's file");
	CHECK(write(fd, "mine", 4) == 4 && pread(mine, text, 8, 0) == 4, "%s", strerror(errno));
}

static int take_by_dup3(int from, int to)
{
	return dup3(from, to, O_CLOEXEC);
}

/* Behind the emulation's back: nobody can know before the next look. */
static int take_by_own_call(int from, int to)
{
	return (int)own_syscall(SYS_dup2, from, to, 0, 0, 0, 0);
}

static void case_dup2(void)
{
	take_number(dup2);
}

static void case_dup3(void)
{
	take_number(take_by_dup3);
}

static void case_stolen(void)
{
	take_number(take_by_own_call);
}

static void case_fork(void)
{
	pid_t child;

	run_guest(); /* the parent has its number */
	child = fork();
	CHECK(child >= 0, "%s", strerror(errno));
	if (!child) {
		run_guest();
		_exit(0);
	}
	wait_for(child);
}

/* Its descriptors are a copy, its memory is not. */
static void case_vfork(void)
{
	int fd = trace_fd();
	pid_t child = vfork();

	if (!child) {
		closefrom(3);
		dup2(1, fd);
		_exit(0);
	}
	wait_for(child);
}

/* The next program is told a number that is this one's file, and where else the trace is. */
static void case_dup2_and_execute(void)
{
	char self[] = "/proc/self/exe", plain[] = "plain", *argv[] = { self, plain, NULL };
	int mine = memfd_create("mine", 0);

	CHECK(mine >= 0 && dup2(mine, trace_fd()) == trace_fd(), "%s", strerror(errno));
	execv(self, argv);
	CHECK(false, "%s", strerror(errno));
}

/* A run that does not enter the guest leaves the reason of the last exit. */
static void case_immediate(void)
{
	struct kvm_sregs sregs;
	struct vcpu vcpu;
	struct vm vm;

	vm_create(&vm, GUEST_MEMORY);
	check_emulated(vm.fd);
	CHECK(_vm_enable_cap(vm.fd, KVM_CAP_X86_BUS_LOCK_EXIT, 0, 3) == -EINVAL, "on and off");
	CHECK(_vm_enable_cap(vm.fd, 9999, 0, 7) == -EINVAL, "no such capability");
	vcpu_create(&vm, &vcpu, 0);
	guest_write(&vm, GUEST_LOAD, "\xf4\xf4", 2);
	vcpu_start(&vcpu, GUEST_REAL, 0, 0, 0, 0, 1);
	vcpu_get_sregs(&vcpu, &sregs);
	sregs.cs.base = GUEST_LOAD;
	sregs.cs.selector = GUEST_LOAD >> 4;
	vcpu_set_sregs(&vcpu, &sregs);
	vcpu_run(&vcpu);
	CHECK(vcpu.run->exit_reason == KVM_EXIT_HLT, "%u", vcpu.run->exit_reason);
	vcpu.run->kvm_valid_regs = ~0ull;
	CHECK(_vcpu_run(&vcpu) == -EINVAL, "such registers exist");
	vcpu.run->kvm_valid_regs = 0;
	vcpu.run->immediate_exit = 1;
	CHECK(_vcpu_run(&vcpu) == -EINTR, "not interrupted");
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

static void case_killed(void)
{
	run_guest();
	raise(SIGKILL);
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "plain", case_plain },
	{ "close-each", case_close_each },
	{ "close-range", case_close_range },
	{ "closefrom", case_closefrom },
	{ "dup2", case_dup2 },
	{ "dup3", case_dup3 },
	{ "stolen", case_stolen },
	{ "fork", case_fork },
	{ "vfork", case_vfork },
	{ "killed", case_killed },
	{ "sleeps", case_sleeps },
	{ "dup2-and-execute", case_dup2_and_execute },
	{ "immediate", case_immediate },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc == 2 && i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(argv[1], cases[i].name))
			continue;
		cases[i].run();
		run_guest();
		return 0;
	}
	fprintf(stderr, "usage: trace_descriptor CASE\n");
	return 2;
}
