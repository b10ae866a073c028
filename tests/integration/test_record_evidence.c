// SPDX-License-Identifier: GPL-2.0-only
/*
 * What `buslock record --step --locked` saw on a real KVM (traces/evidence/stepped), and the same guests on
 * the emulator: the same exits and the same locked accesses, in the same order.
 */
#include "tests/integration/trace_path.h"

#define EVIDENCE(name) BUSLOCK_SOURCE_DIR "/traces/evidence/stepped/" name ".jsonl"
#define PACKED(name)   EVIDENCE(name) ".zst"

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

/* Every lockable instruction in every size, and what else exits: larger records, compressed. */
static void test_record_evidence_all_lockable_instructions_are_the_emulators(void **state)
{
	static const struct {
		const char *evidence, *mode, *count, *guest;
	} cases[] = {
		{ PACKED("locks16"), "real", "1", GUEST("locks16.bin") },
		{ PACKED("locks32"), "protected", "1", GUEST("locks32.bin") },
		{ PACKED("locks64"), "long", "1", GUEST("locks64.bin") },
		{ PACKED("string_io"), "real", "1", GUEST("string_io.bin") },
		{ PACKED("mmio"), "long", "1", GUEST("mmio.bin") },
		{ PACKED("selftest16"), "real", "10", GUEST("selftest16.bin") },
		{ PACKED("selftest32"), "protected", "10", GUEST("selftest32.bin") },
		{ PACKED("selftest64"), "long", "10", GUEST("selftest64.bin") },
		{ PACKED("exceptions64"), "long", "1", GUEST("exceptions64.bin") },
		{ PACKED("smc"), "long", "1", GUEST("smc.bin") },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_same(cases[i].evidence,
			    (const char *const[]){ "--mode", cases[i].mode, "--offset", "56",
						   "--count", cases[i].count, cases[i].guest,
						   NULL });
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
		cmocka_unit_test(test_record_evidence_all_lockable_instructions_are_the_emulators),
		cmocka_unit_test(test_record_evidence_of_another_run_is_not_the_same),
	};

	return cmocka_run_group_tests(tests, make_path, remove_path);
}
