// SPDX-License-Identifier: GPL-2.0-only
/*
 * What `buslock record --step --locked` saw on a real KVM (traces/evidence/stepped), and the same guests on
 * the emulator: the same exits and the same locked accesses, in the same order.
 */
#include "tests/integration/trace_path.h"

#define EVIDENCE(name) BUSLOCK_SOURCE_DIR "/traces/evidence/stepped/" name ".jsonl"

static void expect_same(const char *evidence, const char *const guest[])
{
	const char *argv[32] = { BUSLOCK,    "exec", "--locked",          "--trace",
				 trace_path, "--",   PROGRAM("run_guest") };
	size_t n = 7;
	struct run run;

	while (*guest)
		argv[n++] = *guest++;
	run_how(&run, argv, (struct run_how){ 0, false, NULL });
	assert_exit(&run, 0);
	run_program(&run, BUSLOCK, "diff", evidence, trace_path);
	if (WEXITSTATUS(run.status))
		fail_msg("%s:\n%s%s", evidence, run.out, run.err);
	assert_says(run.out, "The same: ");
}
#define CASE(name, ...) expect_same(EVIDENCE(name), (const char *const[]){ __VA_ARGS__, NULL })

static void test_record_evidence_locks_in_all_modes_are_the_emulators(void **state)
{
	(void)state;
	CASE("modes", "--mode=real", GUEST("modes.bin"));
	CASE("lock_bts", "--mode=long", "--offset=56", GUEST("lock_bts.bin"));
	CASE("opendos", "--mode=real", "--offset=0x7c", GUEST("opendos.bin"));
	CASE("smp", "--count=20", GUEST("smp.bin"));
}

static void test_record_evidence_locks_in_handlers_are_the_emulators(void **state)
{
	(void)state;
	CASE("interrupts16", "--mode=real", "--interrupts=5", "--count=5",
	     GUEST("interrupts16.bin"));
}

/* The comparison can fail: one lock more, one exit more. */
static void test_record_evidence_of_another_run_is_not_the_same(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--locked", "--trace", trace_path, "--",
		    PROGRAM("run_guest"), "--count=21", GUEST("smp.bin"));
	assert_exit(&run, 0);
	run_program(&run, BUSLOCK, "diff", EVIDENCE("smp"), trace_path);
	assert_exit(&run, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record_evidence_locks_in_all_modes_are_the_emulators),
		cmocka_unit_test(test_record_evidence_locks_in_handlers_are_the_emulators),
		cmocka_unit_test(test_record_evidence_of_another_run_is_not_the_same),
	};

	return cmocka_run_group_tests(tests, make_path, remove_path);
}
