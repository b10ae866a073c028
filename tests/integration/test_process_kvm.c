// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cases of tests/programs/process.c on the real device: that they ask of the emulation what Linux
 * does, and not what we believe it does.
 *
 * Two are left out: "memory" and "truncate" want EFAULT from KVM_RUN, which a processor's page tables
 * give; a KVM that interprets real-mode code (as software-only ones do) makes an MMIO exit of it.
 */
#include "tests/integration/run.h"

static void test_process_cases_hold_on_the_real_device(void **state)
{
	static const char *const cases[] = { "open",
					     "looks",
					     "dup",
					     "close-range",
					     "poll",
					     "raw-mmap",
					     "fork",
					     "vfork",
					     "exec",
					     "dispositions",
					     "kick",
					     "fault-beside",
					     "close-and-execute",
					     "storm",
					     "many" };
	struct run run;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run_program(&run, PROGRAM("process"), cases[i]);
		if (WIFEXITED(run.status) && WEXITSTATUS(run.status) == 77) {
			print_message("%s", run.out);
			skip();
		}
		assert_exit(&run, 0);
	}
	run_program(&run, PROGRAM("process"), "crash");
	assert_killed(&run, SIGSEGV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_process_cases_hold_on_the_real_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
