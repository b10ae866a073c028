/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How KVM_RUN begins and ends: immediate_exit, signals and their mask, kicks, interrupt windows, what
 * stands in struct kvm_run afterwards. tests/golden/kvm_api/run.txt holds what a real device did.
 */
#include "tests/integration/kvm_api.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define KICKS 100

static struct vm vm;
static struct vcpu vcpu;
static _Atomic unsigned handled; /* calls of the signal handler */

static void on_signal(int signal)
{
	(void)signal;
	handled++;
}

/* Code at GUEST_LOAD, registers as at a start. The bytes are the same in 32 and 64 bits. */
static void start(enum guest_mode mode, const char *code, size_t size)
{
	guest_write(&vm, GUEST_LOAD, code, size);
	vcpu_start(&vcpu, mode, GUEST_LOAD, 0, 0, 0, 1);
	vcpu.run->immediate_exit = 0;
	vcpu.run->request_interrupt_window = 0;
	handled = 0;
}
#define START(mode, code) start(mode, code, sizeof(code) - 1)

/* "name: result REASON rip+n" of one KVM_RUN. */
static long run(const char *name)
{
	struct kvm_regs regs;
	long result = _vcpu_run(&vcpu);

	vcpu_get_regs(&vcpu, &regs);
	printf("%s: %s %s rip+%llx flags %x handled %u\n", name, result_name(result),
	       exit_name(vcpu.run->exit_reason), regs.rip - GUEST_LOAD, vcpu.run->flags, handled);
	return result;
}

static void immediate_exit(void)
{
	struct kvm_regs regs;

	START(GUEST_LONG, "\x90\xf4\x90\xf4"); /* nop; hlt; nop; hlt */
	run("to HLT");
	vcpu.run->immediate_exit = 1;
	run("immediate_exit leaves exit_reason alone");
	run("immediate_exit again");
	vcpu.run->immediate_exit = 0;
	run("behind HLT");

	START(GUEST_LONG, "\xe4\x55\x90\xf4"); /* in al, 0x55; nop; hlt */
	vcpu_run(&vcpu);
	printf("IN: %s port %#x\n", exit_name(vcpu.run->exit_reason), vcpu.run->io.port);
	*((uint8_t *)vcpu.run + vcpu.run->io.data_offset) = 0x77;
	vcpu.run->immediate_exit = 1;
	run("immediate_exit completes IN");
	vcpu_get_regs(&vcpu, &regs);
	printf("al: %llx\n", regs.rax);
	vcpu.run->immediate_exit = 0;
	run("then goes on");

	START(GUEST_LONG,
	      "\xa1\x00\x00\x00\xd0\x00\x00\x00\x00\x90\xf4"); /* mov eax, [0xd0000000] */
	vcpu_run(&vcpu);
	printf("load: %s %#llx\n", exit_name(vcpu.run->exit_reason), vcpu.run->mmio.phys_addr);
	memset(vcpu.run->mmio.data, 0x44, 8);
	vcpu.run->immediate_exit = 1;
	run("immediate_exit completes a load");
	vcpu_get_regs(&vcpu, &regs);
	printf("eax: %llx\n", regs.rax);
	vcpu.run->immediate_exit = 0;
	run("then goes on");
}

static long set_mask(const sigset_t *set, unsigned size)
{
	struct kvm_signal_mask *mask = calloc(1, sizeof(*mask) + sizeof(uint64_t));
	long result;

	if (!mask)
		die("no memory");
	mask->len = size;
	memcpy(mask->sigset, set, sizeof(uint64_t));
	result = _kvm_ioctl(vcpu.fd, KVM_SET_SIGNAL_MASK, (unsigned long)mask);
	free(mask);
	return result;
}

static const char *is_pending(int signal)
{
	sigset_t pending;

	sigpending(&pending);
	return sigismember(&pending, signal) ? "pending" : "not pending";
}

static void consume(int signal)
{
	const struct timespec none = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	sigtimedwait(&set, NULL, &none);
}

static void signal_mask(void)
{
	sigset_t blocked, none;

	sigemptyset(&none);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);

	START(GUEST_LONG, "\x90\xf4\x90\xf4");
	raise(SIGUSR1);
	run("a blocked signal does not end it");
	printf("the signal is %s\n", is_pending(SIGUSR1));
	printf("SET_SIGNAL_MASK, length 4: %s\n", result_name(set_mask(&none, 4)));
	printf("SET_SIGNAL_MASK, length 16: %s\n", result_name(set_mask(&none, 16)));
	printf("SET_SIGNAL_MASK, empty: %s\n", result_name(set_mask(&none, 8)));
	START(GUEST_LONG, "\x90\xf4\x90\xf4");
	run("unblocked by the mask: ends before the first instruction");
	printf("the signal is %s\n", is_pending(SIGUSR1));
	run("and again while it is pending");
	consume(SIGUSR1);
	run("and runs when it is not");
	printf("SET_SIGNAL_MASK, all blocked: %s\n", result_name(set_mask(&blocked, 8)));
	START(GUEST_LONG, "\x90\xf4\x90\xf4");
	raise(SIGUSR1);
	run("blocked by the mask");
	printf("SET_SIGNAL_MASK, none: %s\n",
	       result_name(_kvm_ioctl(vcpu.fd, KVM_SET_SIGNAL_MASK, 0)));
	pthread_sigmask(SIG_UNBLOCK, &blocked, NULL);
	printf("handled %u\n", handled);
	/* ... and the mask works the other way round: blocked only while the guest runs */
	printf("SET_SIGNAL_MASK, USR1 blocked: %s\n", result_name(set_mask(&blocked, 8)));
	START(GUEST_LONG, "\x90\xf4\x90\xf4");
	run("nothing pending");
	_kvm_ioctl(vcpu.fd, KVM_SET_SIGNAL_MASK, 0);
}

struct kicker {
	pthread_t target;
	_Atomic unsigned acknowledged;
	_Atomic bool running;
};

static void nap(long milliseconds)
{
	struct timespec t = { .tv_sec = milliseconds / 1000,
			      .tv_nsec = milliseconds % 1000 * 1000000 };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

static void *kick_once(void *argument)
{
	struct kicker *k = argument;

	nap(50);
	pthread_kill(k->target, SIGUSR2); /* ignored: ends nothing */
	nap(50);
	pthread_kill(k->target, SIGUSR1);
	return NULL;
}

static void *kick_often(void *argument)
{
	struct kicker *k = argument;

	for (unsigned i = 0; i < KICKS; i++) {
		pthread_kill(k->target, SIGUSR1);
		while (k->acknowledged <= i)
			sched_yield();
	}
	return NULL;
}

static void kicks(void)
{
	static struct kicker kicker;
	pthread_t thread;
	sigset_t blocked, none;
	unsigned interrupted = 0, others = 0;

	kicker.target = pthread_self();
	signal(SIGUSR2, SIG_IGN);
	START(GUEST_LONG, "\xeb\xfe"); /* jmp $ */
	pthread_create(&thread, NULL, kick_once, &kicker);
	run("kicked out of a loop");
	pthread_join(thread, NULL);

	/*
	 * Without a race: blocked outside, let through inside, taken from the queue afterwards. Each
	 * kick ends exactly one run, whether it comes before or during it.
	 */
	sigemptyset(&none);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);
	set_mask(&none, 8);
	handled = 0;
	pthread_create(&thread, NULL, kick_often, &kicker);
	for (unsigned i = 0; i < KICKS; i++) {
		long result = _vcpu_run(&vcpu);

		interrupted += result == -EINTR && vcpu.run->exit_reason == KVM_EXIT_INTR;
		others += result != -EINTR;
		consume(SIGUSR1);
		kicker.acknowledged++;
	}
	pthread_join(thread, NULL);
	printf("%u kicks: %u times EINTR, %u others, handled %u\n", KICKS, interrupted, others,
	       handled);
	_kvm_ioctl(vcpu.fd, KVM_SET_SIGNAL_MASK, 0);
	pthread_sigmask(SIG_UNBLOCK, &blocked, NULL);
}

static void show_interrupt_state(const char *name)
{
	printf("%s: if_flag %u ready %u\n", name, vcpu.run->if_flag,
	       vcpu.run->ready_for_interrupt_injection);
}

static void interrupt_window(void)
{
	struct kvm_regs regs;

	START(GUEST_LONG, "\x90\xf4");
	run("HLT with IF clear");
	show_interrupt_state("IF clear");
	START(GUEST_LONG, "\xfb\xf4\x90\xf4"); /* sti; hlt */
	run("STI, HLT");
	show_interrupt_state("IF set");
	START(GUEST_LONG, "\x90\xf4");
	vcpu.run->request_interrupt_window = 1;
	run("window wanted, IF clear");
	START(GUEST_LONG, "\x90\xf4");
	vcpu_get_regs(&vcpu, &regs);
	regs.rflags |= 0x200;
	vcpu_set_regs(&vcpu, &regs);
	vcpu.run->request_interrupt_window = 1;
	run("window wanted, IF set");
	show_interrupt_state("window");
	vcpu.run->request_interrupt_window = 0;
	run("no window wanted");
	START(GUEST_LONG, "\xfb\x90\x90\xf4"); /* sti; nop; nop; hlt */
	vcpu.run->request_interrupt_window = 1;
	run("window opens by STI");
	vcpu.run->request_interrupt_window = 0;
	run("and on");
}

static void registers_in_run(void)
{
	START(GUEST_LONG, "\x90\xf4");
	vcpu.run->cr8 = 0;
	run("cr8 and apic_base");
	printf("cr8 %llx apic_base %llx\n", vcpu.run->cr8, vcpu.run->apic_base);
	vcpu.run->flags = 0xffff;
	START(GUEST_LONG, "\x90\xf4");
	run("flags written by the monitor");
}

static void ends(void)
{
	struct kvm_sregs sregs;

	START(GUEST_LONG, "\x0f\x0b"); /* ud2 without an IDT */
	vcpu_get_sregs(&vcpu, &sregs);
	sregs.idt.limit = 0;
	vcpu_set_sregs(&vcpu, &sregs);
	printf("triple fault: %s", result_name(_vcpu_run(&vcpu)));
	printf(" %s\n", exit_name(vcpu.run->exit_reason));
	START(GUEST_REAL, "\xf4");
	run("HLT in real mode");
	START(GUEST_PROTECTED, "\x90\x90\xf4");
	run("HLT in protected mode");
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGUSR1, &action, NULL);
	vm_create(&vm, GUEST_MEMORY);
	vcpu_create(&vm, &vcpu, 0);
	alarm(60);
	immediate_exit();
	signal_mask();
	kicks();
	interrupt_window();
	registers_in_run();
	ends();
	return 0;
}
