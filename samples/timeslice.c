/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A virtual machine monitor that gives its guest slices of time: after so many milliseconds KVM_RUN
 * comes back, whatever the guest does. The usual way to build that:
 *
 *  - a CLOCK_MONOTONIC timer sends a signal to the vCPU's thread (SIGEV_THREAD_ID);
 *  - the thread blocks the signal, so that it cannot come too early and be lost, and lets it in by
 *    KVM_SET_SIGNAL_MASK while KVM_RUN runs: whenever it comes, KVM_RUN ends with EINTR;
 *  - it is still pending then, and sigtimedwait() with a time-out of zero takes it.
 *
 * The guest counts how often it can execute one locked instruction. Where that instruction takes a
 * bus lock, Linux punishes it with a sleep of 10 ms each time (split_lock_detect=warn); a signal ends
 * the sleep, and then the instruction is not executed. So with slices below some 10 ms the guest
 * never gets any further: the VM hangs at one harmless looking instruction, while the monitor
 * believes that it runs. This program shows it:
 *
 *	cc -O2 -o timeslice timeslice.c
 *	./timeslice 1-20                                   an aligned operand
 *	buslock exec --host-split-lock=warn -- ./timeslice --split-locks --offset 62 1-20
 *
 * One line for each length of a slice: how many loops the guest finished in how many slices, and
 * where it was at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id /* glibc before 2.35 has no name for it */
#define sigev_notify_thread_id _sigev_un._tid
#endif
#ifndef KVM_CAP_X86_BUS_LOCK_EXIT
#define KVM_CAP_X86_BUS_LOCK_EXIT 193
#endif

#define KICK        SIGUSR1
#define MEMORY_SIZE 0x4000
#define CACHE_LINE  64

/* Where things are in the guest's memory. */
enum { CODE = 0x1100, COUNTER = 0x2000, LINE = 0x3000 };

/* 16-bit code: SI is the place of the operand, BX that of the counter. */
static const uint8_t guest_code[] = {
	0xf0, 0x66, 0x0f, 0xab, 0x04, /* again: lock bts dword [si], eax */
	0x66, 0xff, 0x07,             /*        inc dword [bx]           */
	0xeb, 0xf6,                   /*        jmp again                */
};

struct vm {
	int vcpu;
	struct kvm_run *run;
	uint8_t *memory;
	timer_t timer;
};

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	va_start(arguments, format);
	fputs("timeslice: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

static int call(int fd, unsigned long request, const char *name, void *argument)
{
	int result = ioctl(fd, request, argument);

	if (result < 0)
		fail("%s: %s", name, strerror(errno));
	return result;
}
#define CALL(fd, request, argument) call(fd, request, #request, (void *)(uintptr_t)(argument))

/* ------------------------------------------------------------------ the VM */

static void set_registers(int vcpu, uint64_t offset)
{
	struct kvm_regs regs = { .rip = CODE, .rbx = COUNTER, .rsi = LINE + offset, .rflags = 2 };
	struct kvm_sregs sregs;

	CALL(vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.base = 0; /* real mode, all segments from zero */
	sregs.cs.selector = 0;
	CALL(vcpu, KVM_SET_SREGS, &sregs);
	CALL(vcpu, KVM_SET_REGS, &regs);
}

static void create(struct vm *vm, uint64_t offset, bool split_locks)
{
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY_SIZE };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), fd, size;

	if (kvm < 0)
		fail("/dev/kvm: %s", strerror(errno));
	/* A split lock stalls all cores of the machine, and this guest does nothing else. */
	if (offset % CACHE_LINE + 4 > CACHE_LINE && !split_locks)
		fail("--offset %" PRIu64
		     ": the operand crosses a cache line, and on a real /dev/kvm each loop would "
		     "stall this whole machine; give --split-locks if you mean it, as under "
		     "`buslock exec`",
		     offset);
	fd = CALL(kvm, KVM_CREATE_VM, 0);
	vm->memory =
		mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (vm->memory == MAP_FAILED)
		fail("memory of the guest: %s", strerror(errno));
	memcpy(vm->memory + CODE, guest_code, sizeof(guest_code));
	region.userspace_addr = (uintptr_t)vm->memory;
	CALL(fd, KVM_SET_USER_MEMORY_REGION, &region);
	vm->vcpu = CALL(fd, KVM_CREATE_VCPU, 0);
	size = CALL(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu, 0);
	if (vm->run == MAP_FAILED)
		fail("mmap of the vCPU: %s", strerror(errno));
	set_registers(vm->vcpu, offset);
}

/* ------------------------------------------------------------------ the time slice */

static void create_timer(struct vm *vm)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = KICK };
	uint32_t none[3] = { 8 }; /* struct kvm_signal_mask: a set of 8 bytes, empty */
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, KICK);
	pthread_sigmask(SIG_BLOCK, &kick, NULL);
	CALL(vm->vcpu, KVM_SET_SIGNAL_MASK, none); /* during KVM_RUN nothing is blocked */

	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &event, &vm->timer) < 0)
		fail("timer_create: %s", strerror(errno));
}

static void run_slice(struct vm *vm, unsigned ms)
{
	const struct itimerspec slice = {
		.it_value = { ms / 1000, ms % 1000 * 1000000l },
	};
	const struct timespec now = { 0, 0 };
	sigset_t kick;

	if (timer_settime(vm->timer, 0, &slice, NULL) < 0)
		fail("timer_settime: %s", strerror(errno));
	while (ioctl(vm->vcpu, KVM_RUN, 0) == 0)
		if (vm->run->exit_reason != KVM_EXIT_X86_BUS_LOCK)
			fail("KVM_RUN: exit reason %u was not expected", vm->run->exit_reason);
	if (errno != EINTR)
		fail("KVM_RUN: %s", strerror(errno));
	sigemptyset(&kick);
	sigaddset(&kick, KICK);
	if (sigtimedwait(&kick, NULL, &now) != KICK)
		fail("KVM_RUN ended with EINTR, but no signal is pending");
}

static uint32_t counter(const struct vm *vm)
{
	return *(volatile uint32_t *)(vm->memory + COUNTER);
}

static void run_slices(struct vm *vm, unsigned ms, unsigned slices)
{
	struct kvm_regs regs;
	uint32_t before = counter(vm);

	for (unsigned i = 0; i < slices; i++)
		run_slice(vm, ms);
	CALL(vm->vcpu, KVM_GET_REGS, &regs);
	printf("timeout=%ums slices=%u loops=%" PRIu32 " rip=0x%llx\n", ms, slices,
	       counter(vm) - before, (unsigned long long)regs.rip);
	fflush(stdout);
}

/* ------------------------------------------------------------------ the command line */

static const char usage_text[] =
	"usage: timeslice [option...] MS | FROM-TO\n"
	"Runs a guest on /dev/kvm in slices of so many milliseconds and says how often it could\n"
	"execute one locked instruction.\n"
	"  -o, --offset=N    where the instruction's operand of 4 bytes lies in its cache line\n"
	"                    (default 0; 61 to 63 cross into the next one)\n"
	"  -n, --slices=N    slices of each length (default 10)\n"
	"      --split-locks allow a crossing operand: on a real /dev/kvm each of its loops "
	"stalls\n"
	"                    the whole machine\n"
	"  -h, --help\n";

static unsigned number(const char *what, const char *text, char **end, unsigned long max)
{
	unsigned long value;

	errno = 0;
	value = *text >= '0' && *text <= '9' ? strtoul(text, end, 10) : max + 1;
	if (errno || value > max)
		fail("%s '%s': give a number up to %lu", what, text, max);
	return (unsigned)value;
}

static unsigned option_number(const char *what, unsigned long max)
{
	char *end;
	unsigned value = number(what, optarg, &end, max);

	if (*end)
		fail("%s '%s': give a number up to %lu", what, optarg, max);
	return value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "offset", required_argument, NULL, 'o' },
		{ "slices", required_argument, NULL, 'n' },
		{ "split-locks", no_argument, NULL, 'S' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	unsigned offset = 0, slices = 10, from, to;
	bool split_locks = false;
	struct vm vm = { 0 };
	int option;
	char *end;

	while ((option = getopt_long(argc, argv, "o:n:h", options, NULL)) >= 0) {
		switch (option) {
		case 'o':
			offset = option_number("--offset", 0xf00);
			break;
		case 'n':
			slices = option_number("--slices", 1000000);
			break;
		case 'S':
			split_locks = true;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return 0;
		default:
			fputs(usage_text, stderr);
			return 2;
		}
	}
	if (optind + 1 != argc) {
		fputs(usage_text, stderr);
		return 2;
	}
	from = to = number("time slice", argv[optind], &end, 100000);
	if (*end == '-')
		to = number("time slice", end + 1, &end, 100000);
	if (*end || !from || from > to)
		fail("time slice '%s': give milliseconds, or a range such as 1-20", argv[optind]);

	create(&vm, offset, split_locks);
	create_timer(&vm);
	for (unsigned ms = from; ms <= to; ms++)
		run_slices(&vm, ms, slices);
	return 0;
}
