// SPDX-License-Identifier: GPL-2.0-only
/* --cpu=intel and --cpu=amd under `buslock exec` and `buslock run`: the same guests, other exits. */
#include "tests/integration/run.h"

/* What the kernel's own selftest demands, of the vendor that is emulated and not of the other. */
static void test_exec_each_vendor_reports_a_lock_on_its_side_of_the_instruction(void **state)
{
	static const char *const cpus[] = { "--cpu=intel", "--cpu=amd" };
	static const char *const vendors[] = { "intel", "amd" };
	struct run run;

	(void)state;
	for (int c = 0; c < 2; c++) {
		for (int v = 0; v < 2; v++) {
			run_program(&run, BUSLOCK, "exec", cpus[c],
				    "--expect=locks==100,flags==100,exits.x86_bus_lock==100,"
				    "runs==101",
				    PROGRAM("bus_lock_count"), vendors[v]);
			assert_exit(&run, c != v);
			assert_says(run.out, c == v ? "100 bus-lock exits, counter 100"
						    : "exit 0: X86_BUS_LOCK");
		}
	}
}

/* Detection off: no exits, and the counts all the same. */
static void test_exec_amd_before_6_16_has_no_capability(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--cpu=amd", "--kernel=6.15", PROGRAM("bus_lock_count"),
		    "amd");
	assert_exit(&run, 77);
	assert_says(run.out, "KVM_CAP_X86_BUS_LOCK_EXIT is 0");
}

/* Lines that begin with `prefix` go. */
static void drop_lines(char *text, const char *prefix)
{
	char *line = text;

	while (*line) {
		char *next = strchr(line, '\n');

		next = next ? next + 1 : line + strlen(line);
		if (!strncmp(line, prefix, strlen(prefix)))
			memmove(line, next, strlen(next) + 1);
		else
			line = next;
	}
}

/* The same guest, the same results, the same number of exits. */
static void test_exec_guests_compute_the_same_on_either_vendor(void **state)
{
	static const struct {
		const char *mode, *offset, *guest, *locks;
	} rows[] = {
		{ "real", "63", GUEST("locks16.bin"), "bus-lock exits 71, flags 71" },
		{ "protected", "63", GUEST("locks32.bin"), "bus-lock exits 71, flags 71" },
		{ "long", "63", GUEST("locks64.bin"), "bus-lock exits 103, flags 103" },
		{ "long", "62", GUEST("cpl3.bin"), "bus-lock exits 102, flags 102" },
		{ "real", "62", GUEST("modes.bin"), "bus-lock exits 8, flags 8" },
		{ "protected", "62", GUEST("pae.bin"), "bus-lock exits 12, flags 12" },
		{ "real", "0x7d", GUEST("opendos.bin"), "bus-lock exits 1, flags 1" },
	};
	struct run intel, amd;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run_program(&intel, BUSLOCK, "exec", "--cpu=intel", "--report=none",
			    PROGRAM("run_guest"), "--mode", rows[i].mode, "--offset",
			    rows[i].offset, "--detect", rows[i].guest);
		run_program(&amd, BUSLOCK, "exec", "--cpu=amd", "--report=none",
			    PROGRAM("run_guest"), "--mode", rows[i].mode, "--offset",
			    rows[i].offset, "--detect", rows[i].guest);
		assert_exit(&intel, 0);
		assert_exit(&amd, 0);
		assert_says(intel.out, rows[i].locks);
		assert_says(amd.out, rows[i].locks);
		drop_lines(intel.out, "vcpu 0: bus-lock"); /* RIP is elsewhere */
		drop_lines(amd.out, "vcpu 0: bus-lock");
		assert_string_equal(intel.out, amd.out);
	}
}

/* Offsets 0 to 63 of lock inc dword, once each, none of them across a line. */
static void test_run_amd_boundary_decides_what_is_misaligned(void **state)
{
	/* mov cx, 61; mov di, 0; L: lock inc dword [di+0x2000]; inc di; loop L; hlt */
	static const char code[] = "\xb9\x3d\x00\xbf\x00\x00"
				   "\x66\xf0\xff\x85\x00\x20\x47\xe2\xf7\xf4";
	static const struct {
		const char *boundary, *expect;
	} rows[] = {
		/* three offsets of each block's end, but the last block's */
		{ "--lock-boundary=8", "--expect=locks==21,locked==61" },
		{ "--lock-boundary=16", "--expect=locks==9,locked==61" },
		{ "--lock-boundary=32", "--expect=locks==3,locked==61" },
		{ "--lock-boundary=64", "--expect=locks==0,locked==61" },
	};
	char path[] = "/tmp/buslock-boundary-XXXXXX";
	int fd = mkstemp(path);
	struct run run;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, code, sizeof(code) - 1), sizeof(code) - 1);
	close(fd);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run_program(&run, BUSLOCK, "run", "--cpu=amd", rows[i].boundary, rows[i].expect,
			    path);
		assert_exit(&run, 0);
	}
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_exec_each_vendor_reports_a_lock_on_its_side_of_the_instruction),
		cmocka_unit_test(test_exec_amd_before_6_16_has_no_capability),
		cmocka_unit_test(test_exec_guests_compute_the_same_on_either_vendor),
		cmocka_unit_test(test_run_amd_boundary_decides_what_is_misaligned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
