// SPDX-License-Identifier: GPL-2.0-only
/* The watcher over a made-up kernel: descriptors, what is told, exits that are kept from the monitor. */
#include "tests/unit/fake_kernel.h"

static const struct watch_options plain = { 0 }, enable = { .enable = true };

static void bus_lock(void)
{
	fake.run->flags = KVM_RUN_X86_BUS_LOCK;
}

/* ------------------------------------------------------------------ what is told */

static void test_watch_run_is_told_with_the_kernels_answer(void **state)
{
	(void)state;
	fake_start(&plain);
	FAKE_SCRIPT({ 0, KVM_EXIT_IO, 0, bus_lock });
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.run->flags, KVM_RUN_X86_BUS_LOCK);
	fake_says("\"vm\":0,\"vcpu\":0,\"immediate_exit\":false}");
	fake_says("\"result\":0,\"reason\":2,\"reason_name\":\"IO\",\"flags\":2,\"flag_names\":"
		  "[\"BUS_LOCK\"]}");
	assert_int_equal(fake.report->vcpu[0].bus_lock_flag, 1);
	assert_int_equal(fake.report->vms, 1);
	assert_int_equal(fake.report->vcpus, 1);
	assert_true(watch_sleeps());
	assert_int_equal(fake.control | fake.enabled, 0); /* it only watches */
}

static void test_watch_run_error_is_told_and_returned(void **state)
{
	(void)state;
	fake_start(&plain);
	FAKE_SCRIPT({ -EFAULT, 0, 0, NULL });
	assert_int_equal(fake_monitor_runs(), -EFAULT);
	fake_says("\"result\":-14,\"error\":\"EFAULT\"");
}

static void test_watch_capability_is_told_with_its_result(void **state)
{
	const struct kvm_enable_cap cap = { .cap = 193, .args = { 2 } };

	(void)state;
	fake.capability = 3;
	fake_start(&plain);
	assert_int_equal(watch_ioctl(FAKE_VM, KVM_ENABLE_CAP, (unsigned long)&cap), 0);
	fake_says("\"capability\":193,\"name\":\"X86_BUS_LOCK_EXIT\",\"args\":[\"0x2\",");
	assert_int_equal(fake.report->detection_enabled, 1);
	/* a pointer of the monitor's that is none is the kernel's affair */
	assert_int_equal(watch_ioctl(FAKE_VM, KVM_ENABLE_CAP, 8), 0);
}

static void test_watch_slept_without_a_bus_lock_is_no_policy(void **state)
{
	(void)state;
	fake_start(&plain);
	FAKE_SCRIPT({ 0, KVM_EXIT_IO, 0, NULL });
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(watch_sleeps(), 0);
}

/* ------------------------------------------------------------------ descriptors */

static void test_watch_unknown_vcpu_is_passed_on_and_said_once(void **state)
{
	(void)state;
	fake_start(&plain);
	FAKE_SCRIPT({ 0, KVM_EXIT_IO, 0, NULL }, { 0, KVM_EXIT_IO, 0, NULL });
	assert_int_equal(watch_ioctl(2050, KVM_RUN, 0), 0);
	assert_int_equal(watch_ioctl(2050, KVM_RUN, 0), 0);
	assert_int_equal(fake.runs, 2);
	assert_int_equal(fake_lines("descriptor 2050 is a vCPU that was not seen being created"),
			 1);
	assert_int_equal(fake_lines("{\"event\":\"run\""), 0);
	assert_int_equal(watch_ioctl(2051, KVM_CREATE_VCPU, 0), FAKE_VCPU);
	fake_says("descriptor 2051 is a VM that was not seen");
}

static void test_watch_copy_of_a_descriptor_is_the_same_vcpu(void **state)
{
	(void)state;
	fake_start(&plain);
	watch_duplicated(FAKE_VCPU, 2060);
	watch_closing(FAKE_VCPU, FAKE_VCPU);
	assert_int_equal(fake.unmapped, 0);
	FAKE_SCRIPT({ 0, KVM_EXIT_HLT, 0, NULL });
	assert_int_equal(watch_ioctl(2060, KVM_RUN, 0), 0);
	fake_says("\"reason_name\":\"HLT\"");
	watch_closing(2060, 2060);
	assert_int_equal(fake.unmapped, 1);
}

static void test_watch_number_of_another_file_is_forgotten(void **state)
{
	(void)state;
	fake_start(&plain);
	watch_duplicated(2070, FAKE_VCPU); /* dup2() over it, of a file that is none of KVM's */
	FAKE_SCRIPT({ 0, KVM_EXIT_IO, 0, NULL });
	assert_int_equal(watch_ioctl(FAKE_VCPU, KVM_RUN, 0), 0);
	assert_int_equal(fake_lines("{\"event\":\"run\""), 0);
	assert_int_equal(fake.unmapped, 1);
}

/* While a thread is in KVM_RUN its mapping is needed, whatever another does to the descriptor. */
static void close_it(void)
{
	watch_closing(FAKE_VCPU, FAKE_VCPU);
	assert_int_equal(fake.unmapped, 0);
}

static void test_watch_closed_during_a_run_stays_until_its_end(void **state)
{
	(void)state;
	fake_start(&plain);
	FAKE_SCRIPT({ 0, KVM_EXIT_IO, 0, close_it });
	assert_int_equal(fake_monitor_runs(), 0);
	fake_says("\"reason_name\":\"IO\"");
	assert_int_equal(fake.unmapped, 1);
}

static void test_watch_reused_number_is_the_new_vcpu(void **state)
{
	(void)state;
	fake_start(&plain);
	/* The old one was closed by a system call that nobody saw. */
	assert_int_equal(watch_ioctl(FAKE_VM, KVM_CREATE_VCPU, 0), FAKE_VCPU);
	assert_int_equal(fake.unmapped, 1);
	FAKE_SCRIPT({ 0, KVM_EXIT_IO, 0, NULL });
	assert_int_equal(fake_monitor_runs(), 0);
	fake_says("{\"event\":\"run\",");
	fake_says("\"vcpu\":1,\"immediate_exit\"");
}

static void test_watch_forked_child_knows_nothing_of_its_parents(void **state)
{
	int status;
	pid_t child;

	(void)state;
	fake_start(&plain);
	FAKE_SCRIPT({ -EIO, 0, 0, NULL });
	child = fork();
	if (!child) {
		bool good = watch_ioctl(FAKE_VCPU, KVM_RUN, 0) == -EIO &&
			    !watch_object_get(FAKE_VCPU) && !fake.unmapped;

		/* its own are watched, as those of another process */
		good = good && watch_ioctl(FAKE_DEVICE, KVM_CREATE_VM, 0) == FAKE_VM;
		watch_closing(FAKE_VM, FAKE_VM);
		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(fake_lines("{\"event\":\"run\""), 0);
	fake_says("\"process\":1,\"vm\":0,\"vcpu\":null}");
	FAKE_SCRIPT({ 0, KVM_EXIT_IO, 0, NULL });
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("{\"event\":\"run\""), 1);
}

static void test_watch_vfork_child_closes_copies_only(void **state)
{
	pid_t child;
	int status;

	(void)state;
	fake_start(&plain);
	child = vfork(); /* NOLINT: what is tested */
	if (!child) {
		watch_closing(0, ~0u);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	FAKE_SCRIPT({ 0, KVM_EXIT_IO, 0, NULL });
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("{\"event\":\"run\""), 1);
}

/* ------------------------------------------------------------------ --enable */

static void test_watch_enable_keeps_exits_from_the_monitor(void **state)
{
	(void)state;
	fake.capability = 3;
	fake_start(&enable);
	assert_int_equal(fake.enabled, 1);
	FAKE_SCRIPT({ 0, KVM_EXIT_X86_BUS_LOCK, 0, bus_lock },
		    { 0, KVM_EXIT_X86_BUS_LOCK, 0, bus_lock }, { 0, KVM_EXIT_IO, 0, bus_lock });
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(fake.run->flags, 0);
	assert_int_equal(fake_lines("\"kept\":true"), 2);
	assert_int_equal(fake_lines("{\"event\":\"run\""), 3);
	fake_says("\"reason_name\":\"IO\",\"flags\":2,\"flag_names\":[\"BUS_LOCK\"]}");
	assert_int_equal(fake.report->vcpu[0].bus_lock_flag, 3);
	assert_int_equal(watch_sleeps(), 0);
}

static void test_watch_enable_monitor_that_asks_gets_its_exits(void **state)
{
	const struct kvm_enable_cap cap = { .cap = 193, .args = { 2 } };

	(void)state;
	fake.capability = 3;
	fake_start(&enable);
	assert_int_equal(watch_ioctl(FAKE_VM, KVM_ENABLE_CAP, (unsigned long)&cap), 0);
	FAKE_SCRIPT({ 0, KVM_EXIT_X86_BUS_LOCK, 0, bus_lock });
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_X86_BUS_LOCK);
	assert_int_equal(fake.run->flags, KVM_RUN_X86_BUS_LOCK);
}

static void test_watch_enable_off_is_no_question_for_exits(void **state)
{
	const struct kvm_enable_cap cap = { .cap = 193, .args = { 1 } };

	(void)state;
	fake.capability = 3;
	fake_start(&enable);
	assert_int_equal(watch_ioctl(FAKE_VM, KVM_ENABLE_CAP, (unsigned long)&cap), 0);
	FAKE_SCRIPT({ 0, KVM_EXIT_X86_BUS_LOCK, 0, bus_lock }, { 0, KVM_EXIT_IO, 0, NULL });
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_IO);
}

static void test_watch_enable_without_the_feature_is_said(void **state)
{
	(void)state;
	fake_start(&enable);
	assert_int_equal(fake.enabled, 0);
	fake_says("{\"event\":\"not_covered\"");
	FAKE_SCRIPT({ 0, KVM_EXIT_IO, 0, NULL });
	assert_int_equal(fake_monitor_runs(), 0);
}

static volatile sig_atomic_t handled;

static void on_signal(int signal)
{
	(void)signal;
	handled++;
}

/* A kick that comes just when the kernel has left for the exit that is kept. */
static void bus_lock_and_kick(void)
{
	bus_lock();
	raise(SIGUSR1);
	assert_int_equal(handled, 0);
}

static void test_watch_enable_kick_between_two_entries_is_not_lost(void **state)
{
	const struct sigaction action = { .sa_handler = on_signal };

	(void)state;
	fake.capability = 3;
	handled = 0;
	sigaction(SIGUSR1, &action, NULL);
	fake_start(&enable);
	fake.run->exit_reason = KVM_EXIT_HLT;
	FAKE_SCRIPT({ 0, KVM_EXIT_X86_BUS_LOCK, 0, bus_lock_and_kick });
	assert_int_equal(fake_monitor_runs(), -EINTR);
	assert_int_equal(handled, 1);
	/* not the ghost of an exit that it has not seen */
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(fake.run->flags, 0);
}

/* SIGWINCH is ignored, and SIGUSR2 made so: natively they would have ended nothing. */
static void bus_lock_and_noise(void)
{
	bus_lock();
	raise(SIGWINCH);
	raise(SIGUSR2);
}

static void test_watch_enable_ignored_signals_end_nothing(void **state)
{
	sigset_t pending;

	(void)state;
	fake.capability = 3;
	signal(SIGUSR2, SIG_IGN);
	fake_start(&enable);
	FAKE_SCRIPT({ 0, KVM_EXIT_X86_BUS_LOCK, 0, bus_lock_and_noise },
		    { 0, KVM_EXIT_IO, 0, NULL });
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_IO);
	sigpending(&pending);
	assert_false(sigismember(&pending, SIGUSR2));
}

static void test_watch_enable_monitors_signal_mask_stays(void **state)
{
	struct {
		uint32_t length;
		uint8_t set[8];
	} mask = { 8, { 0xaa } };

	(void)state;
	fake.capability = 3;
	fake_start(&enable);
	assert_int_equal(watch_ioctl(FAKE_VCPU, KVM_SET_SIGNAL_MASK, (unsigned long)&mask), 0);
	FAKE_SCRIPT({ 0, KVM_EXIT_IO, 0, NULL });
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.mask, 0xaa);
	assert_int_equal(watch_ioctl(FAKE_VCPU, KVM_SET_SIGNAL_MASK, 0), 0);
	FAKE_SCRIPT({ 0, KVM_EXIT_IO, 0, NULL });
	assert_int_equal(fake_monitor_runs(), 0);
	assert_true(fake.has_mask);
	assert_int_not_equal(fake.mask, 0xaa);
}

/* ------------------------------------------------------------------ options */

static void test_watch_options_come_back_as_they_were(void **state)
{
	const struct watch_options all = { .step = true,
					   .locked = true,
					   .hold_interrupts = true,
					   .native_delivery = true,
					   .memory = WATCH_MEMORY_GUEST,
					   .native_split_locks = 7 };
	struct watch_options back;
	char text[128];

	(void)state;
	assert_int_equal(watch_options_format(&all, text, sizeof(text)), 0);
	assert_int_equal(watch_options_parse(&back, text), 0);
	assert_true(back.step && back.locked && back.hold_interrupts && back.native_delivery &&
		    !back.enable);
	assert_int_equal(back.memory, WATCH_MEMORY_GUEST);
	assert_int_equal(back.native_split_locks, 7);
	assert_int_equal(watch_options_format(&enable, text, sizeof(text)), 0);
	assert_int_equal(watch_options_parse(&back, text), 0);
	assert_true(back.enable && !back.step);
	assert_int_equal(watch_options_parse(&back, "step,walk"), -EINVAL);
	assert_int_equal(watch_options_parse(&back, "native-split-locks=many"), -EINVAL);
	assert_int_equal(watch_options_format(&all, text, 20), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(test_watch_run_is_told_with_the_kernels_answer),
		FAKE_TEST(test_watch_run_error_is_told_and_returned),
		FAKE_TEST(test_watch_capability_is_told_with_its_result),
		FAKE_TEST(test_watch_slept_without_a_bus_lock_is_no_policy),
		FAKE_TEST(test_watch_unknown_vcpu_is_passed_on_and_said_once),
		FAKE_TEST(test_watch_copy_of_a_descriptor_is_the_same_vcpu),
		FAKE_TEST(test_watch_number_of_another_file_is_forgotten),
		FAKE_TEST(test_watch_closed_during_a_run_stays_until_its_end),
		FAKE_TEST(test_watch_reused_number_is_the_new_vcpu),
		FAKE_TEST(test_watch_forked_child_knows_nothing_of_its_parents),
		FAKE_TEST(test_watch_vfork_child_closes_copies_only),
		FAKE_TEST(test_watch_enable_keeps_exits_from_the_monitor),
		FAKE_TEST(test_watch_enable_monitor_that_asks_gets_its_exits),
		FAKE_TEST(test_watch_enable_off_is_no_question_for_exits),
		FAKE_TEST(test_watch_enable_without_the_feature_is_said),
		FAKE_TEST(test_watch_enable_kick_between_two_entries_is_not_lost),
		FAKE_TEST(test_watch_enable_ignored_signals_end_nothing),
		FAKE_TEST(test_watch_enable_monitors_signal_mask_stays),
		FAKE_TEST(test_watch_options_come_back_as_they_were),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
