// SPDX-License-Identifier: GPL-2.0-only
/* --symbols and --folded: who takes the bus locks, and who called it. */
#include "tests/integration/run.h"

#define FRAMES GUEST("frames64.elf")

static char folded[] = "/tmp/buslock-folded-XXXXXX";

static int setup(void **state)
{
	int fd = mkstemp(folded);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
	(void)state;
	return unlink(folded);
}

static void read_folded(char text[4096])
{
	FILE *in = fopen(folded, "r");
	size_t n;

	assert_non_null(in);
	n = fread(text, 1, 4095, in);
	text[n] = '\0';
	fclose(in);
}

static void test_folded_stacks_follow_frame_pointers(void **state)
{
	const char *argv[] = { BUSLOCK, "run", FRAMES, "--folded", folded, "--report=json", NULL };
	struct run run;
	char text[4096];

	(void)state;
	run_how(&run, argv, (struct run_how){ 0 });
	assert_exit(&run, 33);
	read_folded(text);
	/* the guest runs at CPL 0; RBP is 0 in _start, whose frame is not one */
	assert_string_equal(text, "_start.again_[k];first_[k];lock_it_[k] 5\n"
				  "_start.again_[k];second_[k];lock_it_[k] 2\n"
				  "frameless_[k] 1\n");
	assert_non_null(strstr(run.err, "\"symbol\":\"lock_it\""));
	assert_non_null(strstr(run.err, "\"symbol_file\":\"" FRAMES "\""));
}

/* Both files have code at these addresses: bytes tell which of them ran. */
static void test_symbols_of_several_files_are_told_apart_by_bytes(void **state)
{
	const char *argv[] = {
		BUSLOCK,     "run",  FRAMES,     "--symbols", GUEST("multiboot.elf"),
		"--symbols", FRAMES, "--folded", folded,      NULL,
	};
	struct run run;
	char text[4096];

	(void)state;
	run_how(&run, argv, (struct run_how){ 0 });
	assert_exit(&run, 33);
	assert_non_null(strstr(run.err, "<lock_it+0x4 (frames64.elf)>"));
	read_folded(text);
	assert_non_null(strstr(text, "_start.again_[k];first_[k];lock_it_[k] 5\n"));
}

static void test_folded_without_symbols_has_addresses(void **state)
{
	const char *argv[] = {
		BUSLOCK, "run", GUEST("opendos.bin"), "--load=0x1000", "--set=di=0x7d", "--folded",
		folded,  NULL
	};
	struct run run;
	char text[4096];

	(void)state;
	run_how(&run, argv, (struct run_how){ 0 });
	read_folded(text);
	assert_int_equal(strncmp(text, "0x", 2), 0);
}

static void test_folded_bad_files_are_refused_before_anything_runs(void **state)
{
	static const struct {
		const char *option, *value, *says;
	} bad[] = {
		{ "--folded", "/nonexistent/x", "/nonexistent/x" },
		{ "--folded", FRAMES, "another use" },
		{ "--symbols", "/nonexistent/map", "/nonexistent/map" },
		{ "--symbols", FRAMES "@xyz", "'xyz' is no offset" },
		{ "--symbols", FRAMES "@", "is no offset" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *argv[] = { BUSLOCK, "run", FRAMES, bad[i].option, bad[i].value, NULL };
		struct run run;

		run_how(&run, argv, (struct run_how){ 0 });
		assert_exit(&run, 2);
		assert_non_null(strstr(run.err, bad[i].says));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_folded_stacks_follow_frame_pointers),
		cmocka_unit_test(test_symbols_of_several_files_are_told_apart_by_bytes),
		cmocka_unit_test(test_folded_without_symbols_has_addresses),
		cmocka_unit_test(test_folded_bad_files_are_refused_before_anything_runs),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
