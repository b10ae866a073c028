// SPDX-License-Identifier: GPL-2.0-only
/*
 * A host that detects split locks, under KVM_RUN: what the guest, the monitor and its signals see. The
 * policy's own arithmetic is in test_shim_host_lock.c; here ticks are long (24 Hz: a sleep of 42 to 83 ms,
 * a window of 83 to 125), so that a busy machine does not decide.
 */
#include "tests/unit/shim_guest.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define OPERAND   0x503eu /* two bytes in each of two lines */
#define MIN_SLEEP 41      /* ms: a tick */

static struct report *report;

static int configure(void **state)
{
	struct shim_options options;
	int fd;

	(void)state;
	if (report_create(&report, &fd, false))
		return -1;
	close(fd);
	shim_options_default(&options);
	options.report = report;
	options.log_level = 0;
	if (shim_configure(&options))
		return -1;
	fd_close(shim_open(O_RDWR | O_CLOEXEC)); /* the boot; use_host() is a further one */
	return 0;
}

/* What a monitor chooses when it starts. */
static void use_host(enum shim_split_lock mode, unsigned kernel)
{
	shim_config.options.host_split_lock = mode;
	shim_config.options.hz = 24;
	profile_for(kernel, &shim_config.profile);
	host_boot();
}

static void start(void)
{
	memset(&report->vcpu[0], 0, sizeof(report->vcpu[0]));
	guest_vm_start();
}

static void load(const void *code, size_t size)
{
	vcpu_start(&m, 0);
	guest_load(code, size, OPERAND);
}
/* lock inc dword [si], twice, and HLT: each lock is 4 bytes long */
#define LOCKS        "\xf0\x66\xff\x04\xf0\x66\xff\x04\xf4"
#define LOAD_LOCKS() load(LOCKS, sizeof(LOCKS) - 1)
#define INSN_LENGTH  4

static void start_on(enum shim_split_lock mode)
{
	use_host(mode, KERNEL(6, 12, 0));
	start();
	LOAD_LOCKS();
}

static uint32_t operand(void)
{
	uint32_t value;

	memcpy(&value, ram + OPERAND, sizeof(value));
	return value;
}

static uint64_t now_ms(void)
{
	return report_now() / 1000000;
}

#define TRAPS      ((unsigned)report->vcpu[0].host_traps)
#define SLEPT_MS   ((unsigned)(report->vcpu[0].host_slept_ns / 1000000))
#define MESSAGES   ((unsigned)report->vcpu[0].host_messages)
#define SUPPRESSED ((unsigned)report->vcpu[0].host_suppressed)

/* ------------------------------------------------------------------ warn */

static void test_warn_split_lock_sleeps_in_the_kernel_and_is_done(void **state)
{
	uint64_t begun;

	(void)state;
	start_on(SHIM_SPLIT_LOCK_WARN);
	begun = now_ms();
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT); /* and nothing in between */
	assert_int_equal(m.run->flags, 0);
	assert_int_equal(operand(), 2);
	assert_in_range(now_ms() - begun, MIN_SLEEP, 10000);
	assert_in_range(TRAPS, 1,
			2); /* the second lock is in the window, unless the machine is busy */
	assert_in_range(SLEPT_MS, MIN_SLEEP, 10000);
	assert_int_equal(MESSAGES, 1);
	guest_stop();
}

/* First #AC and the sleep, then the instruction and its bus-lock exit. */
static void
test_warn_with_bus_lock_exits_leaves_behind_the_instruction_after_the_sleep(void **state)
{
	unsigned traps;
	uint64_t begun;

	(void)state;
	use_host(SHIM_SPLIT_LOCK_WARN, KERNEL(6, 12, 0));
	start();
	assert_int_equal(enable(m.vm, KVM_CAP_X86_BUS_LOCK_EXIT, 0, 2), 0);
	LOAD_LOCKS();
	begun = now_ms();
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_X86_BUS_LOCK);
	assert_int_equal(m.run->flags, BUS_LOCK_FLAG);
	assert_int_equal(regs_of(&m).rip, CODE + INSN_LENGTH);
	assert_int_equal(operand(), 1);
	assert_in_range(now_ms() - begun, MIN_SLEEP, 10000);
	assert_int_equal(TRAPS, 1);
	/* inside the window: the exit alone */
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_X86_BUS_LOCK);
	assert_int_equal(regs_of(&m).rip, CODE + 2 * INSN_LENGTH);
	assert_in_range(TRAPS, 1, 2);
	traps = TRAPS;
	/* behind it: both again */
	usleep(130000);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS,
				  &((struct kvm_regs){ .rip = CODE, .rflags = 2, .rsi = OPERAND })),
			 0);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_X86_BUS_LOCK);
	assert_int_equal(TRAPS, traps + 1);
	assert_in_range(SLEPT_MS, 2 * MIN_SLEEP, 10000);
	assert_int_equal(MESSAGES, 1); /* once per thread */
	guest_stop();
}

static void test_warn_lock_within_a_line_does_not_trap(void **state)
{
	struct kvm_regs regs = { .rip = CODE, .rflags = 2, .rsi = OPERAND - 2 };

	(void)state;
	start_on(SHIM_SPLIT_LOCK_WARN);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(TRAPS, 0);
	guest_stop();
}

static void test_warn_before_5_19_says_so_and_does_not_sleep(void **state)
{
	(void)state;
	use_host(SHIM_SPLIT_LOCK_WARN, KERNEL(5, 18, 0));
	start();
	LOAD_LOCKS();
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(operand(), 2);
	assert_int_equal(TRAPS, 1);
	assert_int_equal(report->vcpu[0].host_slept_ns, 0);
	guest_stop();
}

static void test_off_and_ratelimit_leave_the_guest_alone(void **state)
{
	static const enum shim_split_lock modes[] = { SHIM_SPLIT_LOCK_OFF,
						      SHIM_SPLIT_LOCK_RATELIMIT };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		shim_config.options.host_ratelimit = 1;
		start_on(modes[i]);
		assert_int_equal(run_once(&m), 0);
		assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
		assert_int_equal(operand(), 2);
		assert_int_equal(TRAPS, 0);
		guest_stop();
	}
}

static void test_warn_message_goes_to_the_log_word_for_word(void **state)
{
	char wanted[512], said[1024] = "", name[16] = "CPU 0/KVM";
	int saved = dup(2), ends[2];
	ssize_t n;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	prctl(PR_SET_NAME, name);
	shim_config.options.log_level = 1;
	dup2(ends[1], 2);
	start_on(SHIM_SPLIT_LOCK_WARN);
	assert_int_equal(run_once(&m), 0);
	dup2(saved, 2);
	close(saved);
	shim_config.options.log_level = 0;
	n = read(ends[0], said, sizeof(said) - 1);
	assert_true(n > 0);
	snprintf(
		wanted, sizeof(wanted),
		"buslock: warning: host kernel: x86/split lock detection: #AC: crashing the kernel "
		"on "
		"kernel split_locks and warning on user-space split_locks\n"
		"buslock: warning: host kernel: x86/split lock detection: #AC: CPU 0/KVM/%d took a "
		"split_lock trap at address: 0x1000\n",
		(int)syscall(SYS_gettid));
	assert_string_equal(said, wanted);
	close(ends[0]);
	close(ends[1]);
	guest_stop();
}

/* ------------------------------------------------------------------ signals and the sleep */

static void ignore_it(int signal)
{
	(void)signal;
}

/* Blocked in the thread, let in by KVM_RUN. */
static void let_in(int signal)
{
	struct sigaction action = { .sa_handler = ignore_it };
	struct {
		struct kvm_signal_mask header;
		uint64_t set;
	} __attribute__((packed)) mask = { .header = { .len = 8 } };
	sigset_t set;

	sigaction(signal, &action, NULL);
	sigemptyset(&set);
	sigaddset(&set, signal);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SIGNAL_MASK, &mask), 0);
}

static int take(int signal)
{
	const struct timespec none = { 0, 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	return sigtimedwait(&set, NULL, &none);
}

struct sender {
	pthread_t thread, target;
	pid_t tid;
	bool signals, kicks;
};

static void *send_later(void *argument)
{
	const struct timespec t = { .tv_nsec = 5000000 };
	struct sender *s = argument;

	nanosleep(&t, NULL);
	if (s->signals)
		pthread_kill(s->target, SIGUSR1);
	if (s->kicks)
		shim_signal_sent(s->tid);
	return NULL;
}

/* `kicks`: the signal is told to the run, as by the interposers; or it comes from elsewhere. */
static long run_with_sender(bool signals, bool kicks)
{
	struct sender s = { .target = pthread_self(),
			    .tid = (pid_t)syscall(SYS_gettid),
			    .signals = signals,
			    .kicks = kicks };
	long r;

	assert_int_equal(pthread_create(&s.thread, NULL, send_later, &s), 0);
	r = run_once(&m);
	pthread_join(s.thread, NULL);
	return r;
}

static void restart(void)
{
	struct kvm_regs regs = { .rip = CODE, .rflags = 2, .rsi = OPERAND };

	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
	memset(ram + OPERAND, 0, 4);
}

/*
 * A run whose sleep a signal ends. On a busy machine the signal may be so late that nothing is left of
 * the sleep; then again. The extra jiffy of 6.11 makes 42 ms of room.
 */
static unsigned run_interrupted(bool kicks)
{
	for (unsigned i = 0; i < 20; i++) {
		unsigned traps = TRAPS;

		if (run_with_sender(true, kicks) == -EINTR) {
			assert_int_equal(take(SIGUSR1), SIGUSR1); /* it stayed pending */
			return TRAPS - traps;
		}
		assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
		take(SIGUSR1);
		usleep(130000); /* the window */
		restart();
	}
	fail_msg("no signal ended the sleep of a split lock");
	return 0;
}

static void start_sleeping_long(void)
{
	use_host(SHIM_SPLIT_LOCK_WARN, KERNEL(6, 11, 0));
	start();
	LOAD_LOCKS();
	let_in(SIGUSR1);
}

static void test_warn_signal_in_the_sleep_ends_the_run_in_front_of_the_instruction(void **state)
{
	(void)state;
	start_sleeping_long();
	for (unsigned i = 0; i < 10; i++) { /* and so for ever: the published hang */
		assert_int_equal(run_interrupted(i % 2), 1);
		assert_int_equal(m.run->exit_reason, KVM_EXIT_INTR);
		assert_int_equal(regs_of(&m).rip, CODE);
		assert_int_equal(operand(), 0);
	}
	assert_true(SLEPT_MS >= 10 * 4);
	guest_stop();
}

static void test_warn_fix_signal_in_the_sleep_lets_the_next_run_pass(void **state)
{
	(void)state;
	shim_config.options.split_lock_fix = true;
	start_sleeping_long();
	assert_int_equal(run_interrupted(true), 1);
	assert_int_equal(operand(), 0);
	for (unsigned i = 0; i < 20; i++) { /* on a busy machine the window may be over */
		unsigned traps = TRAPS;

		assert_int_equal(run_once(&m), 0);
		assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
		assert_int_equal(operand(), 2);
		if (TRAPS == traps)
			break;
		assert_true(i < 19);
		restart();
	}
	shim_config.options.split_lock_fix = false;
	guest_stop();
}

static void test_warn_kick_without_a_signal_does_not_end_the_sleep(void **state)
{
	(void)state;
	start_on(SHIM_SPLIT_LOCK_WARN);
	assert_int_equal(run_with_sender(false, true), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_in_range(TRAPS, 1, 2);
	assert_in_range(SLEPT_MS, MIN_SLEEP, 10000);
	guest_stop();
}

static void test_warn_mitigate_off_goes_on_at_once(void **state)
{
	(void)state;
	shim_config.options.split_lock_mitigate = false;
	start_on(SHIM_SPLIT_LOCK_WARN);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_in_range(TRAPS, 1, 2);
	assert_int_equal(report->vcpu[0].host_slept_ns, 0);
	shim_config.options.split_lock_mitigate = true;
	guest_stop();
}

/* ------------------------------------------------------------------ fatal: SIGBUS */

static struct {
	unsigned calls;
	siginfo_t info;
	pid_t tid;
	bool inside;
} bus;

static void on_bus(int signal, siginfo_t *info, void *context)
{
	(void)context;
	assert_int_equal(signal, SIGBUS);
	bus.calls++;
	bus.info = *info;
	bus.tid = (pid_t)syscall(SYS_gettid);
	bus.inside = vcpu_current() != NULL;
}

static void catch_bus(void)
{
	struct sigaction action = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };

	memset(&bus, 0, sizeof(bus));
	sigaction(SIGBUS, &action, NULL);
}

static void set_bus(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	pthread_sigmask(how, &set, NULL);
}

static void test_fatal_signals_the_thread_itself_and_leaves_with_exception(void **state)
{
	(void)state;
	start_on(SHIM_SPLIT_LOCK_FATAL);
	catch_bus();
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_EXCEPTION);
	assert_int_equal(m.run->ex.exception, 17);
	assert_int_equal(m.run->ex.error_code, 0);
	assert_int_equal(m.run->flags, 0);
	assert_int_equal(regs_of(&m).rip, CODE);
	assert_int_equal(operand(), 0);
	assert_int_equal(bus.calls, 1); /* it came before the call returned */
	assert_false(bus.inside);
	assert_int_equal(bus.tid, syscall(SYS_gettid));
	assert_int_equal(bus.info.si_code, BUS_ADRALN);
	assert_null(bus.info.si_addr); /* force_sig_fault(SIGBUS, BUS_ADRALN, NULL) */
	assert_int_equal(MESSAGES, 1);
	/* a monitor that goes on meets it again, silently */
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_EXCEPTION);
	assert_int_equal(bus.calls, 2);
	assert_int_equal(MESSAGES, 1);
	assert_int_equal(SUPPRESSED, 1);
	guest_stop();
	signal(SIGBUS, SIG_DFL);
}

/* The end of a child that has prepared itself for a fatal split lock by `prepare`. */
static int end_of_child(void (*prepare)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		start_on(SHIM_SPLIT_LOCK_FATAL);
		prepare();
		run_once(&m);
		_exit(m.run->exit_reason == KVM_EXIT_EXCEPTION ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void run_mask(uint64_t set)
{
	struct {
		struct kvm_signal_mask header;
		uint64_t set;
	} __attribute__((packed)) mask = { .header = { .len = 8 }, .set = set };

	FD_IOCTL(m.vcpu, KVM_SET_SIGNAL_MASK, &mask);
}

static void leave_default(void)
{
	signal(SIGBUS, SIG_DFL);
}

static void ignore_bus(void)
{
	signal(SIGBUS, SIG_IGN);
}

static void block_bus(void)
{
	catch_bus();
	set_bus(SIG_BLOCK);
}

static void block_bus_in_the_run(void)
{
	catch_bus();
	run_mask(SIGNAL_BIT(SIGBUS));
}

static void block_bus_but_not_in_the_run(void)
{
	catch_bus();
	set_bus(SIG_BLOCK);
	run_mask(0);
}

static void test_fatal_default_ignored_or_blocked_signal_kills(void **state)
{
	static const struct {
		const char *what;
		void (*prepare)(void);
		int end;
	} rows[] = {
		{ "default", leave_default, -SIGBUS },
		{ "ignored", ignore_bus, -SIGBUS },
		{ "blocked", block_bus, -SIGBUS },
		{ "blocked by the mask of the run", block_bus_in_the_run, -SIGBUS },
		{ "caught", catch_bus, 0 },
		{ "let in by the mask of the run", block_bus_but_not_in_the_run, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int end = end_of_child(rows[i].prepare);

		if (end != rows[i].end)
			fail_msg("SIGBUS %s: ended with %d, not %d", rows[i].what, end,
				 rows[i].end);
	}
}

/* kvm_sigset_deactivate() comes before the signal does */
static void test_fatal_signal_that_only_the_run_lets_in_stays_pending(void **state)
{
	sigset_t pending;

	(void)state;
	start_on(SHIM_SPLIT_LOCK_FATAL);
	block_bus_but_not_in_the_run();
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(bus.calls, 0);
	assert_int_equal(regs_of(&m).rip, CODE); /* nor do other ioctls let it in */
	assert_int_equal(bus.calls, 0);
	sigpending(&pending);
	assert_true(sigismember(&pending, SIGBUS));
	set_bus(SIG_UNBLOCK);
	assert_int_equal(bus.calls, 1);
	assert_int_equal(bus.info.si_code, BUS_ADRALN);
	guest_stop();
	signal(SIGBUS, SIG_DFL);
}

/* ------------------------------------------------------------------ the guest's own #AC */

enum { GDT = 0x2000, IDT = 0x2800, TSS = 0x3000, HANDLER = 0x1800, STACK0 = 0x7000 };

static struct kvm_segment flat(unsigned selector, unsigned type, unsigned dpl)
{
	return (struct kvm_segment){ .limit = 0xffffffff,
				     .selector = (uint16_t)(selector | dpl),
				     .type = (uint8_t)type,
				     .present = 1,
				     .dpl = (uint8_t)dpl,
				     .db = 1,
				     .s = 1,
				     .g = 1 };
}

static void gate(unsigned vector)
{
	uint64_t descriptor = (HANDLER & 0xffffu) | 8u << 16 | 0x8e00ull << 32;

	memcpy(ram + IDT + vector * 8, &descriptor, 8);
}

/* 32-bit code at `cpl`, a handler of #AC at CPL 0 that halts. */
static void load_protected(unsigned cpl, bool am, bool ac)
{
	static const uint64_t gdt[] = { 0, 0x00cf9b000000ffff, 0x00cf93000000ffff,
					0x00cffb000000ffff, 0x00cff3000000ffff };
	struct kvm_regs regs = { .rip = CODE, .rsp = 0x6000, .rsi = OPERAND };
	struct kvm_sregs s;
	uint32_t tss[26] = { [1] = STACK0, [2] = 0x10 };

	start();
	vcpu_start(&m, 0);
	memcpy(ram + CODE, "\xf0\xff\x06\xf4", 4); /* lock inc dword [esi]; hlt */
	ram[HANDLER] = 0xf4;
	memcpy(ram + GDT, gdt, sizeof(gdt));
	gate(17);
	memcpy(ram + TSS, tss, sizeof(tss));
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &s), 0);
	s.cr0 = 0x11 | (uint64_t)am << 18;
	s.cs = flat(cpl ? 0x18 : 0x08, 11, cpl);
	s.ss = s.ds = s.es = s.fs = s.gs = flat(cpl ? 0x20 : 0x10, 3, cpl);
	s.tr = (struct kvm_segment){
		.base = TSS, .limit = 0x67, .selector = 0x28, .type = 11, .present = 1
	};
	s.gdt = (struct kvm_dtable){ .base = GDT, .limit = 0x2f };
	s.idt = (struct kvm_dtable){ .base = IDT, .limit = 0x7ff };
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &s), 0);
	regs.rflags = 2 | (uint64_t)ac << 18;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
}

static void test_guest_at_cpl_3_with_alignment_checks_gets_the_ac_itself(void **state)
{
	uint32_t frame[4];

	(void)state;
	use_host(SHIM_SPLIT_LOCK_WARN, KERNEL(6, 12, 0));
	load_protected(3, true, true);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&m).rip, HANDLER + 1);
	memcpy(frame, ram + regs_of(&m).rsp, sizeof(frame));
	assert_int_equal(frame[0], 0);    /* error code */
	assert_int_equal(frame[1], CODE); /* a fault */
	assert_int_equal(frame[2], 0x1b);
	assert_int_equal(operand(), 0);
	assert_int_equal(TRAPS, 0); /* it is the guest's */
	assert_int_equal(MESSAGES, 0);
	assert_int_equal(report->vcpu[0].host_slept_ns, 0);
	guest_stop();
	/* even where a split lock is fatal: this is not one */
	use_host(SHIM_SPLIT_LOCK_FATAL, KERNEL(6, 12, 0));
	load_protected(3, true, true);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&m).rip, HANDLER + 1);
	guest_stop();
}

static void test_guest_with_detection_of_its_own_gets_the_ac_at_any_privilege(void **state)
{
	struct {
		struct kvm_cpuid2 header;
		struct kvm_cpuid_entry2 entry[256];
	} cpuid = { .header.nent = 256 };
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msr = { .header.nmsrs = 1, .entry = { .index = 0x33, .data = 1ull << 29 } };

	(void)state;
	shim_config.options.guest_sld = true;
	use_host(SHIM_SPLIT_LOCK_FATAL, KERNEL(6, 12, 0));
	load_protected(0, false, false);
	assert_int_equal(FD_IOCTL(m.kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &cpuid), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_MSRS, &msr), 1);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&m).rip, HANDLER + 1);
	assert_int_equal(TRAPS, 0);
	guest_stop();
	shim_config.options.guest_sld = false;
}

/*
 * The accessed bit of a descriptor across a line, set while an interrupt is delivered: __vmx_complete_
 * interrupts() keeps the interrupt, and it is delivered when the policy lets the guest go on.
 */
static void test_warn_split_descriptor_in_delivery_does_not_lose_the_interrupt(void **state)
{
	const uint64_t code = 0x00cf9a000000ffff; /* accessed bit clear */
	struct kvm_interrupt interrupt = { .irq = 0x20 };
	struct kvm_regs regs;
	struct kvm_sregs s;

	(void)state;
	use_host(SHIM_SPLIT_LOCK_WARN, KERNEL(6, 12, 0));
	load_protected(0, false, false);
	memcpy(ram + CODE, "\x90\xeb\xfd", 3); /* nop, for ever */
	gate(0x20);
	memcpy(ram + GDT + 0x34 + 8, &code, 8); /* at 3ch to 43h of its lines */
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &s), 0);
	s.gdt.base = GDT + 0x34;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &s), 0);
	regs = regs_of(&m);
	regs.rflags |= 0x200;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_INTERRUPT, &interrupt), 0);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&m).rip, HANDLER + 1);
	assert_in_range(TRAPS, 1, 2);
	assert_int_equal((unsigned)report->vcpu[0].stuffed, 1);
	assert_int_equal(ram[GDT + 0x34 + 8 + 5], 0x9b);
	guest_stop();
}

static void test_guest_without_all_three_conditions_falls_under_the_policy(void **state)
{
	static const struct {
		unsigned cpl;
		bool am, ac;
	} rows[] = { { 0, true, true }, { 3, false, true }, { 3, true, false } };

	(void)state;
	catch_bus();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		use_host(SHIM_SPLIT_LOCK_FATAL, KERNEL(6, 12, 0));
		load_protected(rows[i].cpl, rows[i].am, rows[i].ac);
		assert_int_equal(run_once(&m), 0);
		assert_int_equal(m.run->exit_reason, KVM_EXIT_EXCEPTION);
		assert_int_equal(bus.calls, i + 1);
		guest_stop();
	}
	signal(SIGBUS, SIG_DFL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_warn_message_goes_to_the_log_word_for_word),
		cmocka_unit_test(test_warn_split_lock_sleeps_in_the_kernel_and_is_done),
		cmocka_unit_test(
			test_warn_with_bus_lock_exits_leaves_behind_the_instruction_after_the_sleep),
		cmocka_unit_test(test_warn_lock_within_a_line_does_not_trap),
		cmocka_unit_test(test_warn_before_5_19_says_so_and_does_not_sleep),
		cmocka_unit_test(test_off_and_ratelimit_leave_the_guest_alone),
		cmocka_unit_test(
			test_warn_signal_in_the_sleep_ends_the_run_in_front_of_the_instruction),
		cmocka_unit_test(test_warn_fix_signal_in_the_sleep_lets_the_next_run_pass),
		cmocka_unit_test(test_warn_kick_without_a_signal_does_not_end_the_sleep),
		cmocka_unit_test(test_warn_mitigate_off_goes_on_at_once),
		cmocka_unit_test(test_fatal_signals_the_thread_itself_and_leaves_with_exception),
		cmocka_unit_test(test_fatal_default_ignored_or_blocked_signal_kills),
		cmocka_unit_test(test_fatal_signal_that_only_the_run_lets_in_stays_pending),
		cmocka_unit_test(test_guest_at_cpl_3_with_alignment_checks_gets_the_ac_itself),
		cmocka_unit_test(test_guest_with_detection_of_its_own_gets_the_ac_at_any_privilege),
		cmocka_unit_test(
			test_warn_split_descriptor_in_delivery_does_not_lose_the_interrupt),
		cmocka_unit_test(test_guest_without_all_three_conditions_falls_under_the_policy),
	};

	return cmocka_run_group_tests(tests, configure, NULL);
}
