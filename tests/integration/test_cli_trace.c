// SPDX-License-Identifier: GPL-2.0-only
/* `buslock run --trace`: the built-in monitor's, its policy and its end. */
#include "tests/integration/trace_path.h"

/* Lines with `pattern` in them. */
static int lines_with(const char *pattern)
{
	struct run run;

	run_program(&run, "grep", "-c", pattern, trace_path);
	return atoi(run.out);
}

static void test_cli_trace_of_run_has_all_exits(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", GUEST("lock_bts.bin"), "--mode", "long", "--load",
		    "0x1000", "--set", "rdi=62", "--report=none", "--trace", trace_path);
	assert_int_equal(WEXITSTATUS(run.status) % 2, 1);
	expect_trace("vm_created=1 vcpu_created=1 capability=1 ");
	expect_trace(" bus_lock=10 host_message=0 sleep=0 nondeterministic=0 locked=0 "
		     "not_covered=0 vm_exit=0 vm_entry=0 header=1 end=1 other=0 "
		     "bad=0");
	assert_int_equal(lines_with("\"flag_names\":\\[\"BUS_LOCK\"\\]"), 10);
	assert_int_equal(lines_with("\"command\":\\[\"[^\"]*lock_bts.bin\"\\]"), 1);
	/* its own status, which is the guest's */
	assert_int_equal(lines_with("\"event\":\"end\".*\"status\":[0-9]*[13579],\"signal\":null"),
			 1);
}

/* The exit is in front of the instruction: RIP on it, and the lock is taken in the next run. */
static void test_cli_trace_on_amd_the_lock_follows_its_exit(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", "--cpu=amd", GUEST("lock_bts.bin"), "--mode", "long",
		    "--load", "0x1000", "--set", "rdi=62", "--report=none", "--trace", trace_path);
	expect_trace(" run=11 exit=11 bus_lock=10 ");
	assert_int_equal(lines_with("\"reason\":33,.*\"word\":\"0xa5\",\"rip\":\"0x1018\""), 10);
	run_program(&run, "grep", "-A1", "\"word\":\"0xa5\"", trace_path);
	assert_silent(run.out, "\"event\":\"bus_lock\"");
	assert_int_equal(lines_with("\"options\":\"vendor=amd,"), 1);
}

/* Ten locks at one a second take no second, and twice the same command gives the same bytes. */
static void test_cli_trace_of_virtual_time_is_the_same_twice(void **state)
{
	char second[] = "/tmp/buslock-trace-XXXXXX";
	struct run run;
	int fd = mkstemp(second);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	for (int i = 0; i < 2; i++) {
		run_program(&run, BUSLOCK, "run", "--time=virtual", "--rate=1",
			    "--host-split-lock=warn", GUEST("lock_bts.bin"), "--mode", "long",
			    "--load", "0x1000", "--set", "rdi=62", "--report=none", "--trace",
			    i ? second : trace_path);
		assert_true(run.seconds < 5);
	}
	run_program(&run, "cmp", trace_path, second);
	unlink(second);
	assert_exit(&run, 0);
	expect_trace(" bus_lock=10 host_message=2 sleep=");
	assert_int_equal(lines_with("\"deterministic\":true,\"why\":null"), 1);
	assert_int_equal(lines_with("\"host\":"), 0);
}

static void test_cli_trace_tells_what_the_policy_did(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", GUEST("lock_bts.bin"), "--mode", "long", "--load",
		    "0x1000", "--set", "rdi=62", "--rate", "5", "--report=none", "--trace",
		    trace_path);
	/* QEMU's: the fifth lock of a slice sleeps to its end */
	expect_trace(" bus_lock=10 host_message=0 sleep=2 ");
	assert_int_equal(lines_with("\"who\":\"policy\",\"ns\":[0-9]*,\"interrupted\":false}"), 2);
}

static void test_cli_trace_two_vcpus_have_their_numbers(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", GUEST("smp.bin"), "--mode", "long", "--load", "0x1000",
		    "--vcpus", "2", "--set", "rcx=50", "--set", "rdi=62", "--report=none",
		    "--trace", trace_path);
	expect_trace("vm_created=1 vcpu_created=2 ");
	expect_trace(" bad=0");
	assert_true(lines_with("\"event\":\"bus_lock\".*\"vcpu\":0,") >= 150);
	assert_true(lines_with("\"event\":\"bus_lock\".*\"vcpu\":1,") >= 150);
}

static void test_cli_trace_options_are_in_the_header(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", GUEST("lock_bts.bin"), "--mode", "long", "--load",
		    "0x1000", "--kernel", "5.15.7", "--hz", "1000", "--report=none", "--trace",
		    trace_path);
	assert_int_equal(lines_with("^{\"schema\":\"buslock-trace\".*\"options\":\"[^\"]*"
				    ",kernel=5.15.7,.*hz=1000,"),
			 1);
}

static char guest_path[] = "/tmp/buslock-guest-XXXXXX";

/* mov al, 0; out 0f4h, al: what runs on the real device takes no locks at all. */
static const char *write_guest_without_locks(void)
{
	static const char code[] = "\xb0\x00\xe6\xf4";
	int fd = mkstemp(guest_path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, code, sizeof(code) - 1), sizeof(code) - 1);
	close(fd);
	return guest_path;
}

static void test_cli_trace_on_the_device_tells_runs_and_exits(void **state)
{
	struct run run;

	(void)state;
	if (access("/dev/kvm", R_OK | W_OK)) {
		print_message("skipped: /dev/kvm: %s\n", strerror(errno));
		skip();
	}
	run_program(&run, BUSLOCK, "run", write_guest_without_locks(), "--device=/dev/kvm",
		    "--report=none", "--trace", trace_path);
	unlink(guest_path);
	expect_trace("vm_created=0 vcpu_created=0 capability=0 run=");
	expect_trace(" bus_lock=0 host_message=0 sleep=0 nondeterministic=0 locked=0 not_covered=0 "
		     "vm_exit=0 vm_entry=0 header=1 end=1 other=0 "
		     "bad=0");
	assert_int_equal(lines_with("\"backend\":\"/dev/kvm\",\"options\":null"), 1);
	assert_true(lines_with("\"event\":\"exit\".*\"reason_name\":\"IO\"") > 0);
}

static void test_cli_trace_that_cannot_be_written_runs_nothing(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", GUEST("lock_bts.bin"), "--mode", "long", "--load",
		    "0x1000", "--trace=/nonexistent/trace");
	assert_exit(&run, 2);
	assert_string_equal(run.out, "");
	assert_says(run.err, "--trace: /nonexistent/trace: No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cli_trace_of_run_has_all_exits),
		cmocka_unit_test(test_cli_trace_on_amd_the_lock_follows_its_exit),
		cmocka_unit_test(test_cli_trace_of_virtual_time_is_the_same_twice),
		cmocka_unit_test(test_cli_trace_tells_what_the_policy_did),
		cmocka_unit_test(test_cli_trace_two_vcpus_have_their_numbers),
		cmocka_unit_test(test_cli_trace_options_are_in_the_header),
		cmocka_unit_test(test_cli_trace_on_the_device_tells_runs_and_exits),
		cmocka_unit_test(test_cli_trace_that_cannot_be_written_runs_nothing),
	};

	return cmocka_run_group_tests(tests, make_path, remove_path);
}
