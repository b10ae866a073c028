/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sample monitor, the same binary on the real device and under `buslock exec`: equal ends on
 * aligned guests, and its policy at work where bus locks are reported.
 *
 * What is counted are locks, exits and sleeps. Where time is compared, the limit lies on the side that
 * noise cannot reach: a throttled run lasts at least as long as its sleeps.
 */
#include "tests/integration/process.h"

#define MONITOR     BUILT("samples/monitor")
#define GUEST(name) BUILT("tests/guests/" name ".bin")

/* The part of the output behind the statistics: registers and memory. */
static const char *state_of(const struct output *output)
{
	const char *vm = strstr(output->text, "\nvm: ");

	assert_non_null(vm);
	return strchr(vm + 1, '\n') + 1;
}

static void check_equal_ends(const char *options)
{
	struct output device, emulated;
	char command[1024];

	require_device();
	snprintf(command, sizeof(command), MONITOR " --rate 0 --state %s", options);
	run_on(ON_DEVICE, NULL, command, 60, &device);
	run_on(EMULATED, NULL, command, 60, &emulated);
	expect_status(command, &device, 0);
	expect_status(command, &emulated, 0);
	assert_string_equal(state_of(&emulated), state_of(&device));
	assert_int_equal(number_after(device.text, "\nvm: bus-locks="), 0);
	assert_int_equal(number_after(emulated.text, "\nvm: bus-locks="), 0);
	/* The same exits, too. */
	assert_int_equal(number_after(emulated.text, " io="), number_after(device.text, " io="));
	output_free(&device);
	output_free(&emulated);
}

static void test_monitor_aligned_real_mode_ends_as_on_the_device(void **state)
{
	(void)state;
	check_equal_ends("--mode real --offset 60 " GUEST("selftest16"));
	check_equal_ends("--mode real --offset 56 " GUEST("locks16"));
}

static void test_monitor_aligned_protected_mode_ends_as_on_the_device(void **state)
{
	(void)state;
	check_equal_ends("--mode protected --offset 60 " GUEST("selftest32"));
	check_equal_ends("--mode protected --offset 56 " GUEST("locks32"));
}

static void test_monitor_aligned_long_mode_ends_as_on_the_device(void **state)
{
	(void)state;
	check_equal_ends("--mode long --offset 60 " GUEST("selftest64"));
	check_equal_ends("--mode long --offset 56 " GUEST("locks64"));
	check_equal_ends("--mode long --offset 56 " GUEST("lock_bts"));
	check_equal_ends("--mode long --offset 60 " GUEST("smc"));
	check_equal_ends("--mode long --offset 60 " GUEST("mmio"));
}

static void check_smp(enum host host, const char *offset)
{
	struct output output;
	char command[1024];

	snprintf(command, sizeof(command),
		 MONITOR " --rate 0 --vcpus 4 --count 2000 --offset %s " GUEST("smp"), offset);
	run_on(host, NULL, command, 60, &output);
	expect_status(command, &output, 0);
	/* 4 × 2000 each; the XADD results are 0 to 7999, each once: 7999 × 8000 / 2 */
	if (!strstr(output.text,
		    "inc=00001f40 xadd=00001f40 cmpxchg=00001f40 sum=0000000001e83860\n"))
		show_output(command, &output);
	assert_non_null(strstr(
		output.text, "inc=00001f40 xadd=00001f40 cmpxchg=00001f40 sum=0000000001e83860\n"));
	if (host == EMULATED && !strcmp(offset, "62")) /* at least the three that always lock */
		assert_true(number_after(output.text, "\nvm: bus-locks=") >= 3 * 8000);
	else
		assert_int_equal(number_after(output.text, "\nvm: bus-locks="), 0);
	output_free(&output);
}

static void test_monitor_four_vcpus_count_exactly_on_the_device(void **state)
{
	(void)state;
	require_device();
	check_smp(ON_DEVICE, "60");
}

static void test_monitor_four_vcpus_count_exactly_emulated(void **state)
{
	(void)state;
	check_smp(EMULATED, "60");
}

static void test_monitor_four_vcpus_with_split_locks_count_exactly(void **state)
{
	(void)state;
	check_smp(EMULATED, "62");
}

static void test_monitor_rate_10_with_20_split_locks_sleeps_19_times(void **state)
{
	const char *command = MONITOR " --rate 10 --count 20 --offset 62 " GUEST("selftest64");
	struct output output;

	(void)state;
	run_on(EMULATED, NULL, command, 60, &output);
	expect_status(command, &output, 0);
	assert_non_null(strstr(output.text, "KVM_CAP_X86_BUS_LOCK_EXIT is 3"));
	assert_int_equal(number_after(output.text, "\nvm: bus-locks="), 20);
	/* The first is free, each further one waits a tenth of a second. */
	assert_int_equal(number_after(output.text, " sleeps="), 19);
	assert_true(output.seconds > 1.0);
	assert_true(number_after(output.text, " slept=") > 1.0);
	output_free(&output);
}

static void test_monitor_rate_1000_with_20_split_locks_takes_a_fraction(void **state)
{
	const char *slow_command = MONITOR " --rate 10 --count 20 --offset 62 " GUEST("selftest64");
	const char *command = MONITOR " --rate 1000 --count 20 --offset 62 " GUEST("selftest64");
	struct output slow, fast;

	(void)state;
	run_on(EMULATED, NULL, slow_command, 60, &slow);
	run_on(EMULATED, NULL, command, 60, &fast);
	expect_status(command, &fast, 0);
	assert_int_equal(number_after(fast.text, "\nvm: bus-locks="), 20);
	assert_true(number_after(fast.text, " slept=") < number_after(slow.text, " slept=") / 2);
	output_free(&slow);
	output_free(&fast);
}

static void test_monitor_burst_lets_so_many_pass_at_once(void **state)
{
	const char *command = MONITOR
		" --rate 20 --burst 15 --count 20 --offset 62 " GUEST("selftest64");
	struct output output;

	(void)state;
	run_on(EMULATED, NULL, command, 60, &output);
	expect_status(command, &output, 0);
	assert_int_equal(number_after(output.text, "\nvm: bus-locks="), 20);
	/* 15 pass, 5 wait; fewer only if the guest itself is slower than 20 locks a second */
	assert_int_equal(number_after(output.text, " sleeps="), 5);
	output_free(&output);
}

static void test_monitor_limit_belongs_to_the_vm_not_to_each_vcpu(void **state)
{
	const char *command = MONITOR " --rate 100 --vcpus 3 --count 10 --offset 62 " GUEST("smp");
	struct output output;
	double locks;

	(void)state;
	run_on(EMULATED, NULL, command, 60, &output);
	expect_status(command, &output, 0);
	locks = number_after(output.text, "\nvm: bus-locks=");
	assert_true(locks >= 90);
	/* One is free; each further lock of any vCPU moves the end by 10 ms. */
	assert_true(number_after(output.text, " ran=") >= (locks - 3) * 0.010);
	output_free(&output);
}

static void test_monitor_every_split_lock_exits_in_every_mode(void **state)
{
	static const char *const guests[] = {
		"--mode real " GUEST("selftest16"),
		"--mode protected " GUEST("selftest32"),
		"--mode long " GUEST("selftest64"),
	};
	char command[1024];
	struct output output;

	(void)state;
	for (size_t i = 0; i < sizeof(guests) / sizeof(guests[0]); i++) {
		snprintf(command, sizeof(command), MONITOR " --rate 0 --count 1000 --offset 62 %s",
			 guests[i]);
		run_on(EMULATED, NULL, command, 60, &output);
		expect_status(command, &output, 0);
		assert_int_equal(number_after(output.text, "\nvm: bus-locks="), 1000);
		assert_int_equal(number_after(output.text, " bus-lock="), 1000);
		assert_int_equal(number_after(output.text, " with-other-exits="), 0);
		output_free(&output);
	}
}

static void test_monitor_split_locks_without_the_capability_are_refused(void **state)
{
	const char *command = MONITOR " --offset 62 " GUEST("selftest64");
	struct output output;

	(void)state;
	require_device();
	run_on(ON_DEVICE, NULL, command, 60, &output);
	if (strstr(output.text, "bus-lock exits: on")) {
		print_message("skipped: this device reports bus locks by itself\n");
		output_free(&output);
		skip();
	}
	expect_status(command, &output, 1);
	assert_non_null(strstr(output.errors, "--offset 62"));
	assert_non_null(strstr(output.errors, "--native-split-locks"));
	output_free(&output);
}

static void test_monitor_alarm_ends_a_guest_that_never_ends(void **state)
{
	const char *command = MONITOR
		" --seconds 1 --count 0x7fffffffffffffff " GUEST("selftest64");
	struct output output;

	(void)state;
	run_on(EMULATED, NULL, command, 60, &output);
	expect_status(command, &output, 0);
	assert_non_null(strstr(output.text, "vcpu 0: stopped;"));
	assert_int_equal(number_after(output.text, " interrupted="), 1);
	output_free(&output);
}

static void test_monitor_instruction_kvm_cannot_run_is_reported_with_its_bytes(void **state)
{
	char path[] = "/tmp/buslock-guest-XXXXXX";
	/* FLD from MMIO: an access to no memory that Linux's emulator does not know.
	 * mov eax, 0xd0000000; fld dword [rax] */
	static const unsigned char code[] = { 0xb8, 0, 0, 0, 0xd0, 0xd9, 0x00, 0xf4 };
	struct output output;
	char command[1024];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, code, sizeof(code)), sizeof(code));
	close(fd);
	snprintf(command, sizeof(command), MONITOR " %s", path);
	run_on(EMULATED, NULL, command, 60, &output);
	expect_status(command, &output, 1);
	assert_non_null(strstr(output.text, "KVM internal error, suberror 1, instruction d9 00"));
	assert_non_null(strstr(output.text, "rip=1005 "));
	unlink(path);
	output_free(&output);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_monitor_aligned_real_mode_ends_as_on_the_device),
		cmocka_unit_test(test_monitor_aligned_protected_mode_ends_as_on_the_device),
		cmocka_unit_test(test_monitor_aligned_long_mode_ends_as_on_the_device),
		cmocka_unit_test(test_monitor_four_vcpus_count_exactly_on_the_device),
		cmocka_unit_test(test_monitor_four_vcpus_count_exactly_emulated),
		cmocka_unit_test(test_monitor_four_vcpus_with_split_locks_count_exactly),
		cmocka_unit_test(test_monitor_rate_10_with_20_split_locks_sleeps_19_times),
		cmocka_unit_test(test_monitor_rate_1000_with_20_split_locks_takes_a_fraction),
		cmocka_unit_test(test_monitor_burst_lets_so_many_pass_at_once),
		cmocka_unit_test(test_monitor_limit_belongs_to_the_vm_not_to_each_vcpu),
		cmocka_unit_test(test_monitor_every_split_lock_exits_in_every_mode),
		cmocka_unit_test(test_monitor_split_locks_without_the_capability_are_refused),
		cmocka_unit_test(test_monitor_alarm_ends_a_guest_that_never_ends),
		cmocka_unit_test(
			test_monitor_instruction_kvm_cannot_run_is_reported_with_its_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
