/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One split lock of a guest, and what becomes of SIGBUS on a host where that is fatal. The argument
 * says how the monitor has disposed of the signal; the program tells what it saw:
 *
 *	caught, default, ignored, blocked
 *	run-blocked   only while KVM_RUN runs (KVM_SET_SIGNAL_MASK)
 *	run-lets-in   blocked, but not while KVM_RUN runs
 *
 * Exit status 77 where /dev/kvm has no bus-lock exits: the lock would stall this machine.
 */
#include "tests/integration/kvm_api.h"

#include <signal.h>
#include <sys/syscall.h>

static pid_t vcpu_thread;

static void on_bus(int signal, siginfo_t *info, void *context)
{
	(void)context;
	printf("signal %d code %d address %p to the vCPU's thread %d\n", signal, info->si_code,
	       info->si_addr, (pid_t)syscall(SYS_gettid) == vcpu_thread);
	fflush(stdout);
}

static void run_mask(struct vcpu *vcpu, uint64_t set)
{
	uint32_t mask[3] = { 8, (uint32_t)set, (uint32_t)(set >> 32) }; /* struct kvm_signal_mask */

	kvm_ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, mask);
}

static void dispose(struct vcpu *vcpu, const char *how)
{
	struct sigaction action = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };
	sigset_t bus;

	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	if (!strcmp(how, "ignored"))
		signal(SIGBUS, SIG_IGN);
	else if (strcmp(how, "default") != 0)
		sigaction(SIGBUS, &action, NULL);
	if (!strcmp(how, "blocked") || !strcmp(how, "run-lets-in"))
		sigprocmask(SIG_BLOCK, &bus, NULL);
	if (!strcmp(how, "run-lets-in"))
		run_mask(vcpu, 0);
	if (!strcmp(how, "run-blocked"))
		run_mask(vcpu, 1ull << (SIGBUS - 1));
}

int main(int argc, char **argv)
{
	static const uint8_t code[] = { 0xf0, 0xff, 0x04, 0x25,
					0x3e, 0x50, 0,    0, /* lock inc [503eh] */
					0xf4 };              /* hlt */
	struct kvm_regs regs;
	struct vcpu vcpu;
	sigset_t bus;
	struct vm vm;

	if (argc != 2)
		die("usage: split_lock HOW");
	vm_create(&vm, 1 << 20);
	if (!kvm_ioctl(vm.kvm, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT)) {
		puts("skipped: this KVM has no bus-lock exits, and a split lock would be a real "
		     "one");
		return 77;
	}
	vcpu_create(&vm, &vcpu, 0);
	guest_write(&vm, 0x1100, code, sizeof(code));
	vcpu_start(&vcpu, GUEST_LONG, 0x1100, 0, 0, 0, 1);
	vcpu_thread = (pid_t)syscall(SYS_gettid);
	dispose(&vcpu, argv[1]);

	printf("KVM_RUN %s\n", result_name(_vcpu_run(&vcpu)));
	vcpu_get_regs(&vcpu, &regs);
	printf("exit %s rip %llx", exit_name(vcpu.run->exit_reason), regs.rip);
	if (vcpu.run->exit_reason == KVM_EXIT_EXCEPTION)
		printf(" exception %u error %u", vcpu.run->ex.exception, vcpu.run->ex.error_code);
	printf("\n");
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	sigprocmask(SIG_UNBLOCK, &bus, NULL); /* what is pending comes now */
	puts("end");
	return 0;
}
