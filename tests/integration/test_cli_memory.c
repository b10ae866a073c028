// SPDX-License-Identifier: GPL-2.0-only
/* Memory types from the command line to the report: which bus locks a guest takes under each. */
#include "tests/integration/run.h"

/* The guest says in its head what it does: 11 locked instructions, 10 of them on 300000h. */
#define TYPES GUEST("memory_types.bin")

/* `buslock run` with up to three options; `conditions` hold. */
static void expect_3(const char *first, const char *second, const char *third,
		     const char *conditions)
{
	const char *argv[12] = { BUSLOCK,     "run",           TYPES,      "--mode",
				 "protected", "--report=text", "--expect", conditions };
	struct run run;
	int n = 8;

	if (first)
		argv[n++] = first;
	if (second)
		argv[n++] = second;
	if (third)
		argv[n++] = third;
	run_how(&run, argv, (struct run_how){ 0, false, NULL });
	assert_exit(&run, 0);
}

static void expect(const char *first, const char *second, const char *conditions)
{
	expect_3(first, second, NULL, conditions);
}

static void test_memory_type_by_default_only_split_ones_lock_the_bus(void **state)
{
	(void)state;
	expect(NULL, NULL, "locks==1,split==1,stuffed==1,non_wb==0,guest_non_wb==1,locked==12");
	expect("--memory-type=kvm", "--kernel=5.12", "locks==1,non_wb==0,guest_non_wb==1");
}

static void test_memory_type_of_a_declared_range(void **state)
{
	(void)state;
	expect("--uc=0x300000+0x1000", NULL, "locks==11,non_wb==10,split==1,stuffed==1");
	expect("--uc=0x310000+0x1000", NULL, "locks==5,non_wb==4,stuffed==5,split==1,locked==16");
	/* the descriptor: two causes, one lock */
	expect("--uc=0x320000+0x1000", NULL, "locks==1,non_wb==1,split==1,stuffed==1");
	/* uncacheable by both: WC would be a bus lock as well */
	expect("--uc=0x800000+0x1000", NULL, "locks==2,non_wb==1");
	expect("--uc=0x300000+0x1000", "--uc=0x310000+0x1000", "locks==15,non_wb==14");
	expect("--uc=0x400000+0x1000", NULL, "locks==1"); /* not touched */
}

/* As on metal. The built-in monitor leaves the MTRRs as firmware does, on; this guest can turn them off. */
static void test_memory_type_of_the_guest(void **state)
{
	static const char *const own = "locks==2,non_wb==1,split==1,stuffed==1,guest_non_wb==1";

	(void)state;
	expect("--memory-type=guest", NULL, own);
	expect("--memory-type=guest", "--set=edi=1", "locks==16,non_wb==16,split==1,stuffed==5");
	expect("--memory-type=kvm-noncoherent", "--kernel=6.1", own);
	expect_3("--memory-type=kvm-noncoherent", "--kernel=6.1", "--set=edi=1",
		 "locks==16,non_wb==16");
	expect_3("--memory-type=kvm-noncoherent", "--kernel=6.11", "--set=edi=1",
		 "locks==2,non_wb==1");
}

/* A boot sector, too, finds the caches on. */
static void test_memory_type_of_the_guest_in_real_mode(void **state)
{
	const char *argv[] = { BUSLOCK,
			       "run",
			       GUEST("selftest16.bin"),
			       "--memory-type=guest",
			       "--expect",
			       "non_wb==0,locked>0",
			       NULL };
	struct run run;

	(void)state;
	run_how(&run, argv, (struct run_how){ 0, false, NULL });
	assert_exit(&run, 0);
}

static void test_memory_type_on_amd_goes_by_the_guests_pat(void **state)
{
	(void)state;
	expect("--cpu=amd", NULL, "locks==2,non_wb==1,split==1,stuffed==1,guest_non_wb==1");
	expect("--cpu=amd", "--uc=0x310000+0x1000", "locks==6,non_wb==5,stuffed==5");
}

/* Each lock is one exit of the monitor; those of one instruction are one together. */
static void test_memory_type_exits_are_as_many_as_locking_instructions(void **state)
{
	(void)state;
	expect("--uc=0x310000+0x1000", NULL, "flags==5,exits.x86_bus_lock==5");
	expect("--cpu=amd", "--uc=0x310000+0x1000", "flags==6,exits.x86_bus_lock==6");
}

/* The same options for somebody else's monitor. */
static void test_memory_type_under_exec(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--uc=0x300000+0x1000", "--expect=locks==11,non_wb==10",
		    "--", BUSLOCK, "run", "--device=/dev/kvm", "--report=none", TYPES, "--mode",
		    "protected");
	assert_exit(&run, 0);
}

static void test_memory_type_report_tells_whose_stuffed_lock_it_was(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", TYPES, "--mode", "protected", "--uc=0x310000+0x1000",
		    "--report=text");
	assert_exit(&run, 0);
	assert_non_null(strstr(run.err, "split, stuffed (descriptor)"));
	assert_non_null(strstr(run.err, "non_wb, stuffed (paging)"));
	assert_non_null(strstr(run.err, "uncached to guest"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_type_by_default_only_split_ones_lock_the_bus),
		cmocka_unit_test(test_memory_type_of_a_declared_range),
		cmocka_unit_test(test_memory_type_of_the_guest),
		cmocka_unit_test(test_memory_type_of_the_guest_in_real_mode),
		cmocka_unit_test(test_memory_type_on_amd_goes_by_the_guests_pat),
		cmocka_unit_test(test_memory_type_exits_are_as_many_as_locking_instructions),
		cmocka_unit_test(test_memory_type_under_exec),
		cmocka_unit_test(test_memory_type_report_tells_whose_stuffed_lock_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
