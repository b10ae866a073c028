// SPDX-License-Identifier: GPL-2.0-only
/* Signals and KVM_RUN, over a script that waits until it is kicked. */
#include "tests/unit/shim_script.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static _Atomic int handled, handled_inside;
static struct machine m;

static void handler(int signal)
{
	(void)signal;
	handled++;
	handled_inside += vcpu_current() != NULL;
}

static void install(int signal, void (*function)(int))
{
	struct sigaction action = { .sa_handler = function, .sa_flags = SA_RESTART };

	sigemptyset(&action.sa_mask);
	sigaction(signal, &action, NULL);
}

static void block(int how, int signal)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	pthread_sigmask(how, &set, NULL);
}

/* KVM_SET_SIGNAL_MASK with a set of blocked signals */
static long set_mask(uint64_t blocked)
{
	struct {
		struct kvm_signal_mask header;
		uint64_t set;
	} __attribute__((packed)) mask = { .header = { .len = 8 }, .set = blocked };

	return FD_IOCTL(m.vcpu, KVM_SET_SIGNAL_MASK, &mask);
}

static int setup(void **state)
{
	(void)state;
	machine_start(&m, "wait\n");
	handled = handled_inside = 0;
	install(SIGUSR1, handler);
	install(SIGUSR2, handler);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	machine_stop(&m);
	install(SIGUSR1, SIG_DFL);
	install(SIGUSR2, SIG_DFL);
	return 0;
}

/* ------------------------------------------------------------------ somebody who sends */

struct sender {
	pthread_t thread, target;
	pid_t tid;
	int signal;
	bool tell; /* as an interposed pthread_kill() does */
	unsigned delay_ms, times;
	_Atomic bool stop;
};

static void sleep_ms(unsigned ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&t, &t))
		;
}

static void *send(void *opaque)
{
	struct sender *s = opaque;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	for (unsigned i = 0; i < s->times && !s->stop; i++) {
		sleep_ms(s->delay_ms);
		pthread_kill(s->target, s->signal);
		if (s->tell)
			shim_signal_sent(s->tid);
	}
	return NULL;
}

static void sender_start(struct sender *s, int signal, bool tell, unsigned delay_ms, unsigned times)
{
	*s = (struct sender){ .target = pthread_self(),
			      .tid = (pid_t)syscall(SYS_gettid),
			      .signal = signal,
			      .tell = tell,
			      .delay_ms = delay_ms,
			      .times = times };
	assert_int_equal(pthread_create(&s->thread, NULL, send, s), 0);
}

static void expect_interrupted(void)
{
	assert_int_equal(run_once(&m), -EINTR);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_INTR);
	assert_int_equal(m.run->flags, 0);
}

/* ------------------------------------------------------------------ tests */

static void test_signal_during_a_run_ends_it_and_its_handler_runs_outside(void **state)
{
	struct sender s;

	(void)state;
	sender_start(&s, SIGUSR1, true, 20, 1);
	expect_interrupted();
	assert_int_equal(handled, 1);
	assert_int_equal(handled_inside, 0);
	pthread_join(s.thread, NULL);
}

static void test_signal_that_nobody_announces_is_seen_by_the_ticker(void **state)
{
	struct sender s;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		sender_start(&s, SIGUSR1, false, 5, 1);
		expect_interrupted();
		pthread_join(s.thread, NULL);
	}
	assert_int_equal(handled, 5);
}

static void test_signal_after_the_ticker_fell_asleep_is_seen_too(void **state)
{
	struct sender s;

	(void)state;
	m.run->immediate_exit = 1;
	run_once(&m); /* the ticker exists now */
	m.run->immediate_exit = 0;
	for (unsigned i = 0; i < 200 && atomic_load(&ticker_state) != TICKER_ASLEEP; i++)
		sleep_ms(5);
	assert_int_equal(atomic_load(&ticker_state), TICKER_ASLEEP);
	sender_start(&s, SIGUSR1, false, 20, 1);
	expect_interrupted();
	assert_int_equal(atomic_load(&ticker_state), TICKER_AWAKE);
	pthread_join(s.thread, NULL);
}

static void test_signal_blocked_by_the_thread_does_not_end_the_run(void **state)
{
	struct sender first, second;

	(void)state;
	block(SIG_BLOCK, SIGUSR1);
	sender_start(&first, SIGUSR1, true, 10, 1);
	sender_start(&second, SIGUSR2, true, 60, 1);
	expect_interrupted();
	assert_int_equal(handled, 1); /* the second one */
	pthread_join(first.thread, NULL);
	pthread_join(second.thread, NULL);
	block(SIG_UNBLOCK, SIGUSR1);
	assert_int_equal(handled, 2);
}

static void test_ignored_signal_does_not_end_the_run(void **state)
{
	static const int ignored[] = { SIGCHLD, SIGWINCH, SIGURG, SIGUSR1 };
	struct sender s, last;

	(void)state;
	install(SIGUSR1, SIG_IGN);
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
		sender_start(&s, ignored[i], true, 5, 3);
		sender_start(&last, SIGUSR2, true, 60, 1);
		expect_interrupted();
		assert_int_equal(handled, i + 1); /* by the last one, not before */
		pthread_join(s.thread, NULL);
		pthread_join(last.thread, NULL);
	}
}

static void test_kick_without_a_signal_does_not_end_the_run(void **state)
{
	struct sender s;
	uint64_t before;

	(void)state;
	before = regs_of(&m).r9;
	sender_start(&s, 0, true, 5, 10); /* signal 0 is none */
	{
		struct sender end;

		sender_start(&end, SIGUSR1, true, 120, 1);
		expect_interrupted();
		pthread_join(end.thread, NULL);
	}
	pthread_join(s.thread, NULL);
	assert_int_equal(handled, 1);
	assert_true(regs_of(&m).r9 > before + 5); /* the guest was entered again each time */
}

static void test_signal_before_the_run_is_handled_before_it(void **state)
{
	struct sender s;

	(void)state;
	raise(SIGUSR1);
	assert_int_equal(handled, 1);
	sender_start(&s, SIGUSR2, true, 20, 1);
	expect_interrupted(); /* by the second, not at once */
	assert_int_equal(handled, 2);
	pthread_join(s.thread, NULL);
}

/* ------------------------------------------------------------------ KVM_SET_SIGNAL_MASK */

static void test_signal_mask_lets_a_blocked_signal_end_the_run_but_not_be_handled(void **state)
{
	struct timespec zero = { 0 };
	struct sender s;
	sigset_t set;

	(void)state;
	block(SIG_BLOCK, SIGUSR1);
	assert_int_equal(set_mask(0), 0);
	sender_start(&s, SIGUSR1, true, 20, 1);
	expect_interrupted();
	assert_int_equal(handled, 0);
	/* still pending: every further run ends at once, before the guest is entered */
	uint64_t before = regs_of(&m).r9;

	expect_interrupted();
	expect_interrupted();
	assert_int_equal(regs_of(&m).r9, before);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	assert_int_equal(sigtimedwait(&set, NULL, &zero), SIGUSR1);
	pthread_join(s.thread, NULL);
	block(SIG_UNBLOCK, SIGUSR1);
}

static void test_signal_mask_keeps_out_what_the_thread_would_let_in(void **state)
{
	struct sender kept_out, end;

	(void)state;
	assert_int_equal(set_mask(1ull << (SIGUSR1 - 1)), 0);
	sender_start(&kept_out, SIGUSR1, true, 5, 1);
	sender_start(&end, SIGUSR2, true, 60, 1);
	expect_interrupted();
	assert_int_equal(handled, 2); /* both, after the run */
	pthread_join(kept_out.thread, NULL);
	pthread_join(end.thread, NULL);
}

static void test_signal_mask_is_checked_and_can_be_removed(void **state)
{
	struct kvm_signal_mask short_mask = { .len = 4 };
	struct sender s;

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SIGNAL_MASK, &short_mask), -EINVAL);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_SET_SIGNAL_MASK, 8), -EFAULT);
	assert_int_equal(set_mask(1ull << (SIGUSR1 - 1)), 0);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_SET_SIGNAL_MASK, 0), 0);
	sender_start(&s, SIGUSR1, true, 10, 1);
	expect_interrupted();
	pthread_join(s.thread, NULL);
}

static void test_signal_pending_at_entry_completes_io_first_and_loses_to_the_window(void **state)
{
	(void)state;
	machine_stop(&m);
	machine_start(&m, "set rflags=0x202\nexit io port=1 size=1\nexit hlt\n");
	block(SIG_BLOCK, SIGUSR1);
	assert_int_equal(set_mask(0), 0);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_IO);
	((uint8_t *)m.run)[4096] = 0x5a;
	raise(SIGUSR1);
	expect_interrupted();
	assert_int_equal(regs_of(&m).rax, 0x5a);
	m.run->request_interrupt_window = 1;
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_IRQ_WINDOW_OPEN);
	m.run->request_interrupt_window = 0;
	/* a bus lock that comes with the kick is reported, the signal by the next run */
	block(SIG_UNBLOCK, SIGUSR1);
	assert_int_equal(handled, 1);
}

static void test_signal_pending_with_a_bus_lock_shows_at_the_next_run(void **state)
{
	(void)state;
	machine_stop(&m);
	machine_start(&m, "exit kicked word=0x04000001\nwait\n");
	block(SIG_BLOCK, SIGUSR1);
	raise(SIGUSR1);
	/* without a mask of KVM's the thread's counts: not let through */
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_X86_BUS_LOCK);
	assert_int_equal(m.run->flags, BUS_LOCK_FLAG);
	assert_int_equal(set_mask(0), 0);
	expect_interrupted();
	block(SIG_UNBLOCK, SIGUSR1);
	assert_int_equal(handled, 1);
}

/* ------------------------------------------------------------------ several threads */

static void *run_thread(void *result)
{
	*(long *)result = run_once(&m);
	return NULL;
}

static void test_run_of_a_vcpu_that_runs_already_waits_for_it(void **state)
{
	pthread_t threads[2];
	long result[2] = { 1, 1 };
	struct shim_file *file = shim_file_get(m.vcpu);
	struct shim_vcpu *vcpu = (struct shim_vcpu *)file;
	pid_t first;

	(void)state;
	pthread_create(&threads[0], NULL, run_thread, &result[0]);
	while (!(first = atomic_load(&vcpu->runner)))
		sleep_ms(1);
	pthread_create(&threads[1], NULL, run_thread, &result[1]);
	sleep_ms(30);
	assert_int_equal(atomic_load(&vcpu->runner), first);
	assert_int_equal(result[1], 1);
	pthread_kill(threads[0], SIGUSR1);
	shim_signal_sent(first);
	pthread_join(threads[0], NULL);
	assert_int_equal(result[0], -EINTR);
	while (!atomic_load(&vcpu->runner))
		sleep_ms(1);
	assert_int_not_equal(atomic_load(&vcpu->runner), first);
	pthread_kill(threads[1], SIGUSR1);
	pthread_join(threads[1], NULL);
	assert_int_equal(result[1], -EINTR);
	shim_file_put(file);
}

static void test_fatal_signal_ends_a_process_that_waits_for_a_vcpu(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) {
		pthread_t thread;
		sigset_t term;
		long result;

		/* its own machine: the parent's answers EIO */
		machine_start(&m, "wait\n");
		sigemptyset(&term);
		sigaddset(&term, SIGTERM);
		pthread_sigmask(SIG_BLOCK, &term, NULL);
		pthread_create(&thread, NULL, run_thread, &result);
		sleep_ms(20);
		pthread_sigmask(SIG_UNBLOCK, &term, NULL);
		run_once(&m);
		_exit(9);
	}
	sleep_ms(200);
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGTERM);
}

static void test_ticker_starts_again_in_a_forked_child(void **state)
{
	struct sender s;
	pid_t pid;
	int status;

	(void)state;
	sender_start(&s, SIGUSR1, false, 5, 1);
	expect_interrupted();
	pthread_join(s.thread, NULL);
	pid = fork();
	if (pid == 0) {
		shim_after_fork();
		machine_start(&m, "wait\n");
		sender_start(&s, SIGUSR1, false, 20, 1);
		_exit(run_once(&m) == -EINTR ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_signals_sent_fast_and_often_are_all_seen(void **state)
{
	struct sender s;

	(void)state;
	/* Without a signal a run would wait for ever; they come until we have seen enough. */
	sender_start(&s, SIGUSR1, true, 1, ~0u);
	for (unsigned i = 0; i < 300; i++) {
		int before = handled;

		m.run->immediate_exit = i % 8 == 7;
		assert_int_equal(run_once(&m), -EINTR);
		if (!m.run->immediate_exit)
			assert_true(handled > before); /* it did not end for nothing */
	}
	s.stop = true;
	pthread_join(s.thread, NULL);
	assert_int_equal(handled_inside, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_signal_during_a_run_ends_it_and_its_handler_runs_outside),
		TEST(test_signal_that_nobody_announces_is_seen_by_the_ticker),
		TEST(test_signal_after_the_ticker_fell_asleep_is_seen_too),
		TEST(test_signal_blocked_by_the_thread_does_not_end_the_run),
		TEST(test_ignored_signal_does_not_end_the_run),
		TEST(test_kick_without_a_signal_does_not_end_the_run),
		TEST(test_signal_before_the_run_is_handled_before_it),
		TEST(test_signal_mask_lets_a_blocked_signal_end_the_run_but_not_be_handled),
		TEST(test_signal_mask_keeps_out_what_the_thread_would_let_in),
		TEST(test_signal_mask_is_checked_and_can_be_removed),
		TEST(test_signal_pending_at_entry_completes_io_first_and_loses_to_the_window),
		TEST(test_signal_pending_with_a_bus_lock_shows_at_the_next_run),
		TEST(test_run_of_a_vcpu_that_runs_already_waits_for_it),
		TEST(test_fatal_signal_ends_a_process_that_waits_for_a_vcpu),
		TEST(test_ticker_starts_again_in_a_forked_child),
		TEST(test_signals_sent_fast_and_often_are_all_seen),
	};

	return cmocka_run_group_tests(tests, script_setup, NULL);
}
