// SPDX-License-Identifier: GPL-2.0-only
/* The options that `buslock exec` and `buslock run` share: each one means what it says to the shim. */
#include "tests/integration/run.h"

static const char *halt_guest(void)
{
	static char path[] = "/tmp/buslock-choices-XXXXXX";
	static bool made;
	int fd;

	if (made)
		return path;
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "\xf4", 1), 1);
	close(fd);
	made = true;
	return path;
}

/* What the library gets from `buslock exec -n`, between commas. */
static void options_of(const char *first, const char *second, char *text, size_t size)
{
	const char *argv[8] = { BUSLOCK, "exec", "-n", first };
	struct run run;
	char *begin;
	int n = 4;

	if (second)
		argv[n++] = second;
	argv[n++] = "--";
	argv[n] = "true";
	run_how(&run, argv, (struct run_how){ 0, false, NULL });
	assert_exit(&run, 0);
	begin = strstr(run.out, "BUSLOCK_OPTIONS=");
	assert_non_null(begin);
	begin += strlen("BUSLOCK_OPTIONS=");
	snprintf(text, size, ",%.*s,", (int)strcspn(begin, " "), begin);
}

static void test_choices_each_option_reaches_the_shim(void **state)
{
	static const struct {
		const char *option, *wanted;
	} cases[] = {
		{ "--cpu=intel", ",vendor=intel," },
		{ "--cpu=intel", ",kernel=6.12," },
		{ "--cpu=amd", ",vendor=amd," },
		{ "--cpu=amd", ",kernel=6.18," },
		{ "--kernel=5.15.7", ",kernel=5.15.7," },
		{ "--no-capability", ",capability=0," },
		{ "--no-kvmclock", ",kvmclock=0," },
		{ "--memory-type=kvm", ",memory=kvm," },
		{ "--memory-type=kvm-noncoherent", ",memory=kvm-noncoherent," },
		{ "--memory-type=guest", ",memory=guest," },
		{ "--uc=0x1000+0x2000", ",uc=0x1000+0x2000," },
		{ "--guest-sld", ",guest_sld=1," },
		{ "--host-split-lock=warn", ",host_split_lock=warn," },
		{ "--host-split-lock=ratelimit:20", ",host_split_lock=ratelimit:20," },
		{ "--split-lock-mitigate=0", ",split_lock_mitigate=0," },
		{ "--split-lock-fix", ",split_lock_fix=1," },
		{ "--hz=1000", ",hz=1000," },
		{ "--reason-74=bare", ",bare_reason_74=1," },
		{ "--reason-74=with-bit-26", ",bare_reason_74=0," },
		{ "--delivery-lock=vectoring", ",delivery_vectoring=1," },
		{ "--delivery-lock=after", ",delivery_vectoring=0," },
		{ "--lock-boundary=64", ",lock_boundary=64," },
		{ "--time=virtual", ",time=virtual," },
		{ "--tsc-khz=1500000", ",tsc_khz=1500000," },
		{ "--insn-cycles=3", ",insn_cycles=3," },
		{ "--lock-cycles=4000", ",lock_cycles=4000," },
		{ "--mmio=all", ",mmio_all=1," },
		{ "--mmio=kvm", ",mmio_all=0," },
		{ "--count", ",count=1," },
		{ "--script=/dev/null", ",backend=script," },
		{ "--log=debug", ",log=3," },
		{ "--log=0", ",log=0," },
	};
	char text[4096];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		options_of(cases[i].option, NULL, text, sizeof(text));
		assert_says(text, cases[i].wanted);
	}
	options_of("--uc=0+4096", "--uc=8192+4096", text, sizeof(text));
	assert_says(text, ",uc=0+0x1000,uc=0x2000+0x1000,");
	options_of("--script=/dev/zero", "--script=/dev/null", text, sizeof(text));
	assert_says(text, ",script=/dev/null,");
}

static const struct {
	const char *options[3], *says;
} bad[] = {
	{ { "--cpu=via" }, "--cpu=via: give intel or amd" },
	{ { "--kernel=5" }, "--kernel=5: give a version from 5.12" },
	{ { "--kernel=5.11" }, "--kernel=5.11: Linux knows bus-lock exits from 5.12 on" },
	{ { "--kernel=6.20" }, "--kernel=6.20: there is none; 6.19 was followed by 7.0" },
	{ { "--kernel=7.4" }, "--kernel=7.4: nothing is known of kernels after 7.3" },
	{ { "--memory-type=wb" }, "--memory-type=wb: give default, kvm" },
	{ { "--uc=0x1001+4096" }, "--uc=0x1001+4096: give GPA+LEN, whole pages" },
	{ { "--uc=0+4096,count=1" }, "--uc=0+4096,count=1: give GPA+LEN" },
	{ { "--host-split-lock=ratelimit:0" }, "--host-split-lock=ratelimit:0: give off, warn" },
	{ { "--split-lock-mitigate=2" }, "--split-lock-mitigate=2: give 0 or 1" },
	{ { "--hz=0" }, "--hz=0: give a number from 24 to 1000" },
	{ { "--reason-74=1" }, "--reason-74=1: give with-bit-26 or bare" },
	{ { "--delivery-lock=before" }, "--delivery-lock=before: give after or vectoring" },
	{ { "--lock-boundary=4" }, "--lock-boundary=4: give 8, 16, 32 or 64" },
	{ { "--time=none" }, "--time=none: give real or virtual" },
	{ { "--tsc-khz=x" }, "--tsc-khz=x: give a number from 1000" },
	{ { "--insn-cycles=0" }, "--insn-cycles=0: give a number from 1" },
	{ { "--lock-cycles=-1" }, "--lock-cycles=-1: give a number up to" },
	{ { "--log=4" }, "--log=4: give nothing, warning, info or debug" },
	/* that do not go together */
	{ { "--memory-type=amd" }, "--memory-type=amd needs --cpu=amd" },
	{ { "--lock-boundary=8" },
	  "--lock-boundary=64, the line, is Intel's; AMD's (--cpu=amd) may" },
	{ { "--lock-boundary=24" }, "--lock-boundary=24: give 8, 16, 32 or 64" },
	{ { "--time=virtual", "--script=/dev/null" }, "--time=virtual counts the guest's" },
	{ { "--backend=script" }, "--backend=script needs --script=FILE" },
	{ { "--script=/dev/null", "--backend=emulator" }, "the emulator plays no script" },
	{ { "--cpu=amd", "--memory-type=kvm" }, "counts: --memory-type=amd" },
	{ { "--cpu=amd", "--guest-sld" }, "with --cpu=amd --host-split-lock=off and no --guest" },
	{ { "--cpu=amd", "--reason-74=bare" }, "--reason-74=bare and --delivery-lock=vectoring" },
};

static void expect_refusal(const char *command, size_t i)
{
	const char *argv[8] = { BUSLOCK, command };
	struct run run;
	int n = 2;

	for (int j = 0; j < 3 && bad[i].options[j]; j++)
		argv[n++] = bad[i].options[j];
	argv[n] = halt_guest(); /* a program, too, as far as it matters */
	run_how(&run, argv, (struct run_how){ 0, false, NULL });
	assert_exit(&run, 2);
	assert_says(run.err, bad[i].says);
	assert_silent(run.err, "summary");
}

static void test_choices_bad_ones_are_refused_by_the_commands_own_names(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		expect_refusal("exec", i);
		expect_refusal("run", i);
	}
}

/* A KVM that has none is a legal choice, and seldom what was meant. */
static void test_choices_amd_with_a_kernel_without_bus_locks_warns(void **state)
{
	static const struct {
		const char *cpu, *kernel;
		bool warns;
	} cases[] = {
		{ "--cpu=amd", "--kernel=6.12", true },
		{ "--cpu=amd", "--kernel=6.15.11", true },
		{ "--cpu=amd", "--kernel=6.16", false },
		{ "--cpu=amd", "--log=warning", false },
		{ "--cpu=intel", "--kernel=5.12", false },
	};
	struct run run;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run_program(&run, BUSLOCK, "exec", "-n", cases[i].kernel, cases[i].cpu, "--",
			    "true");
		assert_exit(&run, 0);
		if (cases[i].warns)
			assert_says(run.err, "on AMD from 6.16 on");
		else
			assert_silent(run.err, "6.16");
	}
}

static void test_choices_help_has_them_in_one_group(void **state)
{
	static const char *const commands[] = { "exec", "run" };
	static const char *const headings[][2] = {
		{ "What the program gets:", "What you get:" },
		{ "The machine:", "The policy and the end:" },
	};
	static const char *const names[] = {
		"--cpu=", "--kernel=", "--memory-type=", "--host-split-lock=", "--time=", "--log="
	};
	struct run run;

	(void)state;
	for (int i = 0; i < 2; i++) {
		const char *begin, *end;

		run_program(&run, BUSLOCK, commands[i], "--help");
		assert_exit(&run, 0);
		begin = strstr(run.out, headings[i][0]);
		end = strstr(run.out, headings[i][1]);
		assert_true(begin && end && begin < end);
		for (size_t j = 0; j < sizeof(names) / sizeof(names[0]); j++) {
			const char *at = strstr(run.out, names[j]);

			assert_true(at && at > begin && at < end);
		}
	}
}

static int remove_guest(void **state)
{
	(void)state;
	return unlink(halt_guest());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choices_each_option_reaches_the_shim),
		cmocka_unit_test(test_choices_bad_ones_are_refused_by_the_commands_own_names),
		cmocka_unit_test(test_choices_amd_with_a_kernel_without_bus_locks_warns),
		cmocka_unit_test(test_choices_help_has_them_in_one_group),
	};

	return cmocka_run_group_tests(tests, NULL, remove_guest);
}
