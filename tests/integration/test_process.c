// SPDX-License-Identifier: GPL-2.0-only
/*
 * The emulation inside somebody else's process: every case of tests/programs/process.c under
 * `buslock exec`. (test_process_kvm.c holds the same cases against the real device.)
 */
#include "tests/integration/run.h"

#define PRELOAD BUSLOCK_BUILD_DIR "/libbuslock-kvm-preload.so"

static void process_case(const char *name)
{
	struct run run;

	run_program(&run, BUSLOCK, "exec", PROGRAM("process"), name);
	assert_exit(&run, 0);
	assert_string_equal(run.err, "");
}

#define PROCESS_CASE(test, name)                      \
	static void test_process_##test(void **state) \
	{                                             \
		(void)state;                          \
		process_case(name);                   \
	}

PROCESS_CASE(opens_the_device_in_every_way, "open")
PROCESS_CASE(sees_a_character_device, "looks")
PROCESS_CASE(duplicates_descriptors, "dup")
PROCESS_CASE(closes_ranges, "close-range")
PROCESS_CASE(opens_and_closes_more_than_any_table_holds, "many")
PROCESS_CASE(polls_and_selects, "poll")
PROCESS_CASE(maps_a_vcpu_by_its_own_system_call, "raw-mmap")
PROCESS_CASE(forks, "fork")
PROCESS_CASE(vforks, "vfork")
PROCESS_CASE(executes_with_and_without_close_on_exec, "exec")
PROCESS_CASE(keeps_its_fault_handlers, "dispositions")
PROCESS_CASE(kicks_a_run_by_every_sender, "kick")
PROCESS_CASE(loses_and_regains_guest_memory, "memory")
PROCESS_CASE(truncates_guest_memory, "truncate")
PROCESS_CASE(truncates_guest_memory_with_all_signals_blocked, "blocked")
PROCESS_CASE(faults_beside_a_run, "fault-beside")
PROCESS_CASE(closes_all_and_executes, "close-and-execute")
PROCESS_CASE(gives_everything_back, "leak")
PROCESS_CASE(does_everything_at_once, "storm")

static void test_process_faults_of_its_own_kill_it(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", PROGRAM("process"), "crash");
	assert_killed(&run, SIGSEGV);
	run_program(&run, BUSLOCK, "exec", PROGRAM("process"), "crash-sent");
	assert_killed(&run, SIGSEGV);
}

static void test_process_ls_shows_the_device(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "ls", "-lL", "/dev/kvm");
	assert_exit(&run, 0);
	assert_int_equal(strncmp(run.out, "crw-rw-rw-", 10), 0);
	assert_says(run.out, " 10, 232 ");
	assert_string_equal(run.err, "");
	run_program(&run, BUSLOCK, "exec", "test", "-c", "/dev/kvm", "-a", "-w", "/dev/kvm");
	assert_exit(&run, 0);
}

/* On a machine without the device: a /dev in which there is none. */
static void test_process_without_a_real_device_sees_one(void **state)
{
	static const char script[] =
		"mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec \"$@\"";
	struct run run;

	(void)state;
	run_program(&run, "unshare", "-m", "sh", "-c", script, "sh", "true");
	if (run.status) {
		print_message("skip: no mount namespace: %s", run.err);
		skip();
	}
	for (int i = 0; i < 2; i++) {
		run_program(&run, "unshare", "-m", "sh", "-c", script, "sh", BUSLOCK, "exec",
			    PROGRAM("process"), i ? "looks" : "open");
		assert_exit(&run, 0);
	}
	run_program(&run, "unshare", "-m", "sh", "-c", script, "sh", BUSLOCK, "exec", "ls", "-l",
		    "/dev/kvm");
	assert_exit(&run, 0);
	assert_int_equal(strncmp(run.out, "crw-rw-rw-", 10), 0);
	assert_string_equal(run.err, "");
}

/* What the library exports replaces functions of the whole process: nothing beyond the list. */
static void test_process_library_exports_only_what_it_interposes(void **state)
{
	struct run run, map;
	char *line, *rest, wanted[80];
	unsigned exported = 0;

	(void)state;
	run_program(&run, "nm", "-D", "--defined-only", "--format=posix", PRELOAD);
	assert_exit(&run, 0);
	run_program(&map, "sed", "-n", "/^global:/,/^local:/p",
		    BUSLOCK_SOURCE_DIR "/vmm_shim/interpose.map");
	assert_exit(&map, 0);
	for (line = strtok_r(run.out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		/* "\topen;" or " open;" */
		snprintf(wanted, sizeof(wanted), "%.*s;", (int)strcspn(line, " "), line);
		if (!strstr(map.out, wanted))
			fail_msg("exported, but not interposed: %s", line);
		exported++;
	}
	for (line = map.out; (line = strchr(line, ';')); line++)
		exported--;
	/* "local:" begins behind the last name: each ';' is one. */
	assert_int_equal(exported, 0);
}

/* Nothing inside can be replaced by a function that the program happens to export under the same name
 * (QEMU has ten of the engine's): all that is left open belongs to the C library, by version. */
static void test_process_library_asks_the_program_for_nothing(void **state)
{
	struct run run;
	char *line, *rest;
	unsigned imported = 0;

	(void)state;
	run_program(&run, "nm", "-D", "--undefined-only", "--format=posix", PRELOAD);
	assert_exit(&run, 0);
	for (line = strtok_r(run.out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		/* Weak ones of the compiler and the leak checker may be missing. */
		if (strstr(line, "@GLIBC_") || strstr(line, " w "))
			imported++;
		else
			fail_msg("asks for %s", line);
	}
	assert_true(imported > 50);
}

/* Everything but the C library is inside. */
static void test_process_library_needs_only_the_c_library(void **state)
{
	struct run run;
	char *line, *rest;

	(void)state;
	run_program(&run, "sh", "-c", "objdump -p \"$0\" | sed -n 's/.*NEEDED *//p'", PRELOAD);
	assert_exit(&run, 0);
	assert_says(run.out, "libc.so.6");
	for (line = strtok_r(run.out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (strcmp(line, "libc.so.6") && strcmp(line, "libm.so.6") &&
		    strcmp(line, "ld-linux-x86-64.so.2") && !strstr(line, "san.so"))
			fail_msg("needs %s", line);
	}
}

/* The same interposers for a program that links them: as shared library and as archive. */
static void linked(const char *library)
{
	char program[] = "/tmp/buslock-linked-XXXXXX";
	int fd = mkstemp(program);
	struct run run;

	assert_true(fd >= 0);
	close(fd);
	run_program(&run, "cc", "-D_GNU_SOURCE", "-I", BUSLOCK_SOURCE_DIR, "-o", program,
		    BUSLOCK_SOURCE_DIR "/tests/programs/process.c", library,
		    "-Wl,-rpath," BUSLOCK_BUILD_DIR "/vmm_shim", "-lpthread", "-lm");
	if (run.status == 98 << 8) {
		unlink(program);
		print_message("skip: no compiler\n");
		skip();
	}
	assert_exit(&run, 0);
	run_program(&run, program, "looks");
	assert_exit(&run, 0);
	run_program(&run, program, "memory");
	assert_exit(&run, 0);
	/* And under the launcher: the emulation is there once. */
	run_program(&run, BUSLOCK, "exec", "--expect=runs>=1", program, "memory");
	unlink(program);
	assert_exit(&run, 0);
}

static void test_process_that_links_the_shared_library_needs_no_launcher(void **state)
{
	(void)state;
	linked(BUSLOCK_BUILD_DIR "/vmm_shim/libbuslock-kvm.so");
}

static void test_process_that_links_the_archive_needs_no_launcher(void **state)
{
	(void)state;
	linked(BUSLOCK_BUILD_DIR "/vmm_shim/libbuslock-kvm.a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_process_library_exports_only_what_it_interposes),
		cmocka_unit_test(test_process_library_asks_the_program_for_nothing),
		cmocka_unit_test(test_process_library_needs_only_the_c_library),
		cmocka_unit_test(test_process_opens_the_device_in_every_way),
		cmocka_unit_test(test_process_sees_a_character_device),
		cmocka_unit_test(test_process_ls_shows_the_device),
		cmocka_unit_test(test_process_without_a_real_device_sees_one),
		cmocka_unit_test(test_process_duplicates_descriptors),
		cmocka_unit_test(test_process_closes_ranges),
		cmocka_unit_test(test_process_opens_and_closes_more_than_any_table_holds),
		cmocka_unit_test(test_process_polls_and_selects),
		cmocka_unit_test(test_process_maps_a_vcpu_by_its_own_system_call),
		cmocka_unit_test(test_process_forks),
		cmocka_unit_test(test_process_vforks),
		cmocka_unit_test(test_process_executes_with_and_without_close_on_exec),
		cmocka_unit_test(test_process_closes_all_and_executes),
		cmocka_unit_test(test_process_keeps_its_fault_handlers),
		cmocka_unit_test(test_process_faults_of_its_own_kill_it),
		cmocka_unit_test(test_process_faults_beside_a_run),
		cmocka_unit_test(test_process_kicks_a_run_by_every_sender),
		cmocka_unit_test(test_process_loses_and_regains_guest_memory),
		cmocka_unit_test(test_process_truncates_guest_memory),
		cmocka_unit_test(test_process_truncates_guest_memory_with_all_signals_blocked),
		cmocka_unit_test(test_process_gives_everything_back),
		cmocka_unit_test(test_process_does_everything_at_once),
		cmocka_unit_test(test_process_that_links_the_shared_library_needs_no_launcher),
		cmocka_unit_test(test_process_that_links_the_archive_needs_no_launcher),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
