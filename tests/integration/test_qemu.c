/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Debian's own QEMU, unmodified: its bus-lock limiter (-M bus-lock-ratelimit=) throttles a multiboot
 * guest that takes 20 split locks, under `buslock exec`; on a device without bus-lock exits the same
 * command line is refused by QEMU itself.
 *
 * QEMU's limiter works in slices of a second: of 20 locks at 10 a second the second ten wait for the
 * next slice. So rate 10 lasts more than a second, whatever the machine; rate 1000 is compared with
 * it, not with a clock.
 */
#include "tests/integration/process.h"

#define QEMU_NAME "qemu-system-x86_64"
#define DEVICES                                                                     \
	"-nodefaults -no-user-config -display none -serial stdio -m 32 -no-reboot " \
	"-device isa-debug-exit,iobase=0xf4,iosize=4 -kernel "
#define GUEST_SPLIT   BUILT("tests/guests/multiboot.elf")
#define GUEST_ALIGNED BUILT("tests/guests/multiboot_aligned.elf")

/* (0x10 << 1) | 1: isa-debug-exit's way with the guest's 10h */
#define GUEST_STATUS 33

/* Later ones were never tried. 9 and 10 want KVM_CAP_IOEVENTFD and KVM_CAP_SIGNAL_MSI, and 10 an interrupt
 * controller in the kernel for every machine but isapc: kernel-irqchip=off is no choice there. */
#define NEWEST_QEMU 10

static void require_qemu(void)
{
	char *const argv[] = { QEMU_NAME, "--version", NULL };
	struct output output;
	const char *version;
	long major;

	run_process(argv, 30, &output);
	if (output.status) {
		print_message("skipped: %s does not run: %s", QEMU_NAME, output.errors);
		skip();
	}
	version = strstr(output.text, "version ");
	assert_non_null(version);
	major = strtol(version + strlen("version "), NULL, 10);
	output_free(&output);
	if (major > NEWEST_QEMU) {
		print_message("skipped: QEMU %ld is newer than any that was tried\n", major);
		skip();
	}
}

/* Returns how long it took. */
static double run_qemu(enum host host, const char *machine_options, const char *guest,
		       const char *says)
{
	struct output output;
	char command[2048];
	double seconds;

	snprintf(command, sizeof(command),
		 QEMU_NAME " -accel kvm -M microvm,kernel-irqchip=off%s " DEVICES "%s",
		 machine_options, guest);
	run_on(host, NULL, command, 60, &output);
	expect_status(command, &output, GUEST_STATUS);
	if (!strstr(output.text, says) || !strstr(output.text, "done: 20\n"))
		show_output(command, &output);
	assert_non_null(strstr(output.text, says));
	assert_non_null(strstr(output.text, "done: 20\n"));
	seconds = output.seconds;
	output_free(&output);
	return seconds;
}

#define SPLIT_TEXT   "20 locks at offset 62"
#define ALIGNED_TEXT "20 locks at offset 60"

static void test_qemu_rate_10_with_20_split_locks_lasts_over_a_second(void **state)
{
	(void)state;
	require_qemu();
	assert_true(run_qemu(EMULATED, ",bus-lock-ratelimit=10", GUEST_SPLIT, SPLIT_TEXT) > 1.0);
}

static void test_qemu_rate_1000_takes_less_than_half_as_long(void **state)
{
	double slow, fast = 1e9;

	(void)state;
	require_qemu();
	slow = run_qemu(EMULATED, ",bus-lock-ratelimit=10", GUEST_SPLIT, SPLIT_TEXT);
	/* Noise only adds: the best of three. */
	for (unsigned i = 0; i < 3; i++) {
		double seconds =
			run_qemu(EMULATED, ",bus-lock-ratelimit=1000", GUEST_SPLIT, SPLIT_TEXT);

		fast = seconds < fast ? seconds : fast;
	}
	print_message("bus-lock-ratelimit=10: %.2f s, =1000: %.2f s\n", slow, fast);
	assert_true(fast < slow / 2);
}

static void test_qemu_aligned_locks_are_not_throttled(void **state)
{
	double split, aligned = 1e9;

	(void)state;
	require_qemu();
	split = run_qemu(EMULATED, ",bus-lock-ratelimit=10", GUEST_SPLIT, SPLIT_TEXT);
	for (unsigned i = 0; i < 3; i++) {
		double seconds =
			run_qemu(EMULATED, ",bus-lock-ratelimit=10", GUEST_ALIGNED, ALIGNED_TEXT);

		aligned = seconds < aligned ? seconds : aligned;
	}
	assert_true(aligned < split / 2);
}

static void test_qemu_without_limit_runs_the_guest(void **state)
{
	(void)state;
	require_qemu();
	run_qemu(EMULATED, "", GUEST_SPLIT, SPLIT_TEXT);
}

static void test_qemu_other_machines_run_the_guest(void **state)
{
	static const char *const machines[] = { "isapc", "pc", "q35" };
	struct output output;
	char command[2048];

	(void)state;
	require_qemu();
	for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
		snprintf(command, sizeof(command),
			 QEMU_NAME " -accel kvm -M %s " DEVICES GUEST_SPLIT, machines[i]);
		run_on(EMULATED, NULL, command, 120, &output);
		expect_status(command, &output, GUEST_STATUS);
		assert_non_null(strstr(output.text, "done: 20\n"));
		output_free(&output);
	}
}

#define GUEST_IRQ BUILT("tests/guests/multiboot_irq.elf")
#define IRQ_TEXT  "20 ticks, serial port\n"

/* SeaBIOS comes up, the 8254 wakes the guest from HLT, the serial port interrupts it. */
static void run_interrupts(const char *options, const char *machine, const char *irqchip,
			   const char *cpu, unsigned cpus)
{
	struct output output;
	char command[2048];

	snprintf(command, sizeof(command),
		 QEMU_NAME " -accel kvm -M %s,kernel-irqchip=%s -cpu %s -smp %u " DEVICES GUEST_IRQ,
		 machine, irqchip, cpu, cpus);
	run_on(EMULATED, options, command, 60, &output);
	expect_status(command, &output, GUEST_STATUS);
	if (!strstr(output.text, IRQ_TEXT))
		show_output(command, &output);
	assert_non_null(strstr(output.text, IRQ_TEXT));
	output_free(&output);
}

static void test_qemu_interrupts_reach_the_guest_whoever_has_the_controllers(void **state)
{
	static const char *const machines[] = { "pc", "q35", "isapc", "microvm" };
	static const char *const irqchips[] = { "on", "split", "off" };
	static const char *const cpus[] = { "486", "qemu64", "max" };

	(void)state;
	require_qemu();
	for (size_t i = 0; i < 4; i++) {
		for (size_t k = 0; k < 3; k++) /* each model with each machine once */
			run_interrupts(NULL, machines[i], irqchips[k], cpus[(i + k) % 3], 1);
	}
}

/* Not with QEMU's own: 7.2 hangs there by itself, on real KVM, too. */
static void test_qemu_with_two_vcpus_comes_up_with_local_apics_of_the_kernel(void **state)
{
	(void)state;
	require_qemu();
	run_interrupts(NULL, "pc", "on", "qemu64", 2);
	run_interrupts(NULL, "q35", "split", "max", 2);
	run_interrupts(NULL, "microvm", "on", "max", 2);
	run_interrupts("--cpu amd", "pc", "on", "max", 2);
}

static void test_qemu_without_an_irqchip_to_offer_has_its_own(void **state)
{
	(void)state;
	require_qemu();
	run_interrupts("--irqchip none", "pc", "on", "qemu64", 1);
}

/* Timers of the kernel's chips are on the virtual clock: 20 ticks of 5 ms, and SeaBIOS before them. */
static void test_qemu_in_virtual_time_has_the_kernels_timers_on_the_clock(void **state)
{
	static const char *const command = QEMU_NAME
		" -accel kvm -M pc,kernel-irqchip=on -smp 2 " DEVICES GUEST_IRQ;
	struct output output[2];

	(void)state;
	require_qemu();
	for (int n = 0; n < 2; n++) {
		run_on(EMULATED, "--time virtual --report=json --success 33", command, 60,
		       &output[n]);
		expect_status(command, &output[n], 0);
		assert_non_null(strstr(output[n].text, IRQ_TEXT));
	}
	assert_string_equal(output[0].errors, output[1].errors);
	assert_non_null(strstr(output[0].errors, "\"deterministic\":true"));
	assert_in_range(number_after(output[0].errors, "\"wall_ns\":"), 100000000, 200000000);
	output_free(&output[0]);
	output_free(&output[1]);
}

/* The whole of QEMU on one deterministic clock: 20 locks at one a second, in no time, twice the same. */
static void test_qemu_in_virtual_time_is_throttled_exactly_and_the_same_twice(void **state)
{
	static const char *const machines[] = { "microvm,kernel-irqchip=off",
						"pc,kernel-irqchip=off" };
	struct output output[2];
	char command[2048];

	(void)state;
	require_qemu();
	for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
		snprintf(command, sizeof(command),
			 QEMU_NAME " -accel kvm -M %s,bus-lock-ratelimit=1 " DEVICES GUEST_SPLIT,
			 machines[i]);
		for (int n = 0; n < 2; n++) {
			run_on(EMULATED, "--time virtual --report=json --success 33", command, 60,
			       &output[n]);
			expect_status(command, &output[n], 0);
		}
		assert_string_equal(output[0].errors, output[1].errors);
		assert_string_equal(output[0].text, output[1].text);
		assert_non_null(strstr(output[0].errors, "\"deterministic\":true"));
		assert_in_range(number_after(output[0].errors, "\"wall_ns\":"), 20000000000,
				20100000000);
		assert_true(output[0].seconds < 10);
		output_free(&output[0]);
		output_free(&output[1]);
	}
}

static void test_qemu_on_the_device_runs_the_aligned_guest(void **state)
{
	(void)state;
	require_device();
	require_qemu();
	run_qemu(ON_DEVICE, "", GUEST_ALIGNED, ALIGNED_TEXT);
}

static void test_qemu_on_the_device_says_that_detection_is_unsupported(void **state)
{
	const char *command = QEMU_NAME
		" -accel kvm -M microvm,kernel-irqchip=off,bus-lock-ratelimit=10 " DEVICES
			GUEST_ALIGNED;
	struct output output;

	(void)state;
	require_device();
	require_qemu();
	run_on(ON_DEVICE, NULL, command, 60, &output);
	if (output.status == GUEST_STATUS) {
		print_message("skipped: this device reports bus locks by itself\n");
		output_free(&output);
		skip();
	}
	expect_status(command, &output, 1);
	assert_non_null(strstr(output.errors, "bus lock detection unsupported"));
	output_free(&output);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_qemu_rate_10_with_20_split_locks_lasts_over_a_second),
		cmocka_unit_test(test_qemu_rate_1000_takes_less_than_half_as_long),
		cmocka_unit_test(test_qemu_aligned_locks_are_not_throttled),
		cmocka_unit_test(test_qemu_without_limit_runs_the_guest),
		cmocka_unit_test(test_qemu_other_machines_run_the_guest),
		cmocka_unit_test(test_qemu_interrupts_reach_the_guest_whoever_has_the_controllers),
		cmocka_unit_test(test_qemu_with_two_vcpus_comes_up_with_local_apics_of_the_kernel),
		cmocka_unit_test(test_qemu_without_an_irqchip_to_offer_has_its_own),
		cmocka_unit_test(test_qemu_in_virtual_time_has_the_kernels_timers_on_the_clock),
		cmocka_unit_test(test_qemu_in_virtual_time_is_throttled_exactly_and_the_same_twice),
		cmocka_unit_test(test_qemu_on_the_device_runs_the_aligned_guest),
		cmocka_unit_test(test_qemu_on_the_device_says_that_detection_is_unsupported),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
