// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command as people use it: run, explain, host, and the frame around them. `buslock exec` has
 * tests of its own. Every test starts the built program and looks at status and text.
 */
#include "tests/integration/run.h"

#include <elf.h>
#include <pty.h>

#define LOOP "\xeb\xfe" /* jmp $ */
#define HALT "\xf4"

static char directory[] = "/tmp/buslock-cli-XXXXXX";

static const char *in_directory(const char *name)
{
	static char paths[8][256];
	static unsigned turn;
	char *path = paths[turn++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

static const char *write_file(const char *name, const void *data, size_t size)
{
	const char *path = in_directory(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), size);
	close(fd);
	return path;
}

#define write_code(name, code) write_file(name, code, sizeof(code) - 1)

static void read_file(const char *path, char *text, size_t size)
{
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	text[fread(text, 1, size - 1, file)] = '\0';
	fclose(file);
}

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[300];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

/* ------------------------------------------------------------------ the frame */

static void test_cli_without_a_sub_command_is_a_usage_error(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK);
	assert_exit(&run, 2);
	assert_string_equal(run.out, "");
	assert_says(run.err, "Usage: buslock COMMAND");
	run_program(&run, BUSLOCK, "fly");
	assert_exit(&run, 2);
	assert_says(run.err, "no sub-command 'fly'");
	run_program(&run, BUSLOCK, "help", "fly");
	assert_exit(&run, 2);
}

static void test_cli_help_tells_about_every_sub_command(void **state)
{
	static const char *const names[] = { "run", "exec", "explain", "host" };
	struct run all, run;

	(void)state;
	run_program(&all, BUSLOCK, "help");
	assert_exit(&all, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char usage[64];

		assert_says(all.out, names[i]);
		snprintf(usage, sizeof(usage), "Usage: buslock %s", names[i]);
		run_program(&run, BUSLOCK, names[i], "--help");
		assert_exit(&run, 0);
		assert_says(run.out, usage);
		run_program(&run, BUSLOCK, "help", names[i]);
		assert_exit(&run, 0);
		assert_says(run.out, usage);
		run_program(&run, BUSLOCK, names[i], "--no-such-option");
		assert_true(WIFEXITED(run.status) && WEXITSTATUS(run.status) != 0);
	}
	run_program(&run, BUSLOCK, "version");
	assert_exit(&run, 0);
	assert_says(run.out, "buslock ");
}

/* ------------------------------------------------------------------ explain */

static const struct {
	const char *arguments[5];
	const char *wanted[5];
} explained[] = {
	/* OpenDOS (dosemu2 issue 1968) */
	{ { "--mode", "16", "26 87 55 02", "es=0070", "di=007D" },
	  { "xchg word ptr es:[di + 2], dx", "2 bytes at es:007f, linear 0x77f",
	    "offset 63 of a 64-byte line: crosses into the next, 1 + 1 bytes", "bus lock    yes",
	    "XCHG with memory locks without a prefix" } },
	{ { "--mode", "16", "26 87 55 02", "es=0070", "di=007C" },
	  { "linear 0x77e", "within it", "bus lock    no" } },
	/* Linux's misaligned bitmap: bit 0x1fd of the string is in the quadword 0x38 further on */
	{ { "f0480fab3e", "rsi=1001", "rdi=1fd" },
	  { "lock bts qword ptr [rsi], rdi", "8 bytes at ds:0000000000001039", "7 + 1 bytes",
	    "bus lock    yes" } },
	{ { "f0,ff,07", "rdi=0x103d" }, { "bus lock    yes", "split lock", "3 + 1 bytes" } },
	{ { "\\xf0\\xff\\x07", "edi=103ch" }, { "bus lock    no", "within one cache line" } },
	{ { "f0 ff 07", "rdi=1000", "--memory-type", "uc" },
	  { "bus lock    yes", "not write-back: a UC lock" } },
	{ { "f0", "ff", "07" }, { "not given and taken as 0: rdi", "bus lock    no" } },
	{ { "--mode", "32", "f0 64 ff 05 10 00 00 00" }, { "taken as 0: fs.base" } },
	{ { "--mode", "32", "f0 64 ff 05 10 00 00 00", "fs.base=102e" },
	  { "linear 0x103e", "2 + 2 bytes", "bus lock    yes" } },
	{ { "f0 ff 05 00 00 00 00", "rip=1037" }, { "linear 0x103e", "bus lock    yes" } },
	/* 64-bit code has no DS base */
	{ { "f0 ff 07", "rdi=1000", "ds.base=3e" }, { "linear 0x1000 ", "bus lock    no" } },
	{ { "87 c8" }, { "XCHG between registers does not lock", "no memory" } },
	{ { "ff 07", "rdi=103e" },
	  { "no LOCK prefix", "crosses into the next", "bus lock    no: only a locked access" } },
	{ { "f0 90" }, { "may not stand before", "#UD", "bus lock    no" } },
	{ { "f0 ff c0" }, { "no operand is in memory", "#UD" } },
	{ { "f0 03 07" }, { "the destination is a register", "#UD" } },
	{ { "f0 48 0f c7 0f", "rdi=1038" }, { "#GP(0)", "bus lock    no" } },
	{ { "--mode", "32", "8e d8" }, { "accessed bit", "where the descriptor crosses a line" } },
	{ { "0f 00 d8" }, { "busy bit", "bus lock    no" } },
	{ { "90 90 90" }, { "2 more bytes follow" } },
};

static void test_explain_known_instructions_get_the_verdict_and_its_rule(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(explained) / sizeof(explained[0]); i++) {
		const char *argv[8] = { BUSLOCK, "explain" };
		struct run run;

		for (size_t j = 0; j < 5 && explained[i].arguments[j]; j++)
			argv[2 + j] = explained[i].arguments[j];
		run_how(&run, argv, (struct run_how){ 0, false, NULL });
		assert_exit(&run, 0);
		for (size_t j = 0; j < 5 && explained[i].wanted[j]; j++)
			assert_says(run.out, explained[i].wanted[j]);
	}
}

/* Rows of the tables and of KVM's policy: what decides, the type that comes out, the verdict. */
static const struct {
	const char *arguments[8];
	const char *wanted[5];
} types[] = {
	{ { "f0ff07", "rdi=1000", "pcd=1" },
	  { "entry 2 of IA32_PAT 0007040600070406 is UC-, MTRR WB, together UC (SDM table 14-7)",
	    "EPT entry WB, and the guest's PAT is ignored: RAM", "vmx_get_mt_mask(), Linux 6.12",
	    "effective: WB, though not what the guest believes", "bus lock    no" } },
	{ { "--memory-type=guest", "f0ff07", "rdi=1000", "pcd=1" },
	  { "below: nothing, as on metal; memory WB", "effective: UC\n", "a UC lock" } },
	{ { "--memory-type=guest", "f0ff07", "rdi=1000", "pat.index=1", "mtrr=wp" },
	  { "is WT, MTRR WP, together WT", "effective: WT\n", "a UC lock" } },
	{ { "--memory-type=guest", "f0ff07", "rdi=1000", "pat=1", "pwt=1",
	    "ia32_pat=0007010600070406" },
	  { "entry 5 of IA32_PAT 0007010600070406 is WC", "effective: WC\n" } },
	{ { "--memory-type=guest", "f0ff07", "rdi=1000", "mtrr=off" },
	  { "the MTRRs are off\n", "memory UC, because the MTRRs are off", "effective: UC\n" } },
	{ { "--memory-type=guest", "f0ff07", "rdi=1000", "cd=1" },
	  { "CR0.CD turns caching off", "effective: UC\n", "a UC lock" } },
	{ { "--memory-type=guest", "f0ff07", "rdi=1000", "pcd=1", "pg=0" },
	  { "no paging, so the PAT type is WB", "effective: WB\n", "bus lock    no" } },
	{ { "--memory-type=guest", "--mode=16", "f0ff07", "bx=3c", "pcd=1" },
	  { "no paging", "effective: WB\n" } },
	/* before 6.11 KVM emulated MTRRs for devices whose DMA is not coherent */
	{ { "--memory-type=kvm-noncoherent", "--kernel=6.10", "f0ff07", "rdi=1000", "mtrr=uc" },
	  { "EPT entry UC, and the guest's PAT counts: the guest's MTRRs", "Linux 6.10",
	    "effective: UC\n" } },
	{ { "--memory-type=kvm-noncoherent", "--kernel=6.11", "f0ff07", "rdi=1000", "mtrr=uc" },
	  { "EPT entry WB, and the guest's PAT counts: RAM, and a device",
	    "effective: WB, though" } },
	{ { "--memory-type=kvm-noncoherent", "f0ff07", "rdi=1000", "pwt=1" },
	  { "effective: WT\n", "a UC lock" } },
	{ { "--memory-type=kvm-noncoherent", "--kernel=6.1", "f0ff07", "rdi=1000", "pwt=1",
	    "cd=1" },
	  { "EPT entry WB, and the guest's PAT is ignored: the guest's CR0.CD is not passed on",
	    "effective: WB" } },
	{ { "--memory-type=kvm-noncoherent", "--kernel=6.7", "f0ff07", "rdi=1000", "pwt=1",
	    "cd=1" },
	  { "EPT entry WB, and the guest's PAT counts: the guest's CR0.CD is not passed on",
	    "effective: WT\n" } },
	/* 6.16 has a quirk that a monitor may disable: bit 9; and CR0.CD counts without bit 1 */
	{ { "--kernel=6.16", "f0ff07", "rdi=1000", "pwt=1", "disabled_quirks=200" },
	  { "KVM_X86_QUIRK_IGNORE_GUEST_PAT is disabled", "effective: WT\n" } },
	{ { "--kernel=6.14", "f0ff07", "rdi=1000", "pwt=1", "disabled_quirks=200" },
	  { "the guest's PAT is ignored", "effective: WB, though" } },
	{ { "--memory-type=kvm-noncoherent", "--kernel=6.1", "f0ff07", "rdi=1000",
	    "disabled_quirks=2", "cd=1" },
	  { "EPT entry UC, and the guest's PAT is ignored: the guest has set CR0.CD",
	    "effective: UC\n" } },
	{ { "--cpu=amd", "f0ff07", "rdi=1000", "disabled_quirks=2", "cd=1" },
	  { "CR0.CD turns caching off", "effective: CD\n", "bus lock    yes" } },
	/* a device's memory */
	{ { "--uc=0x2000+0x1000", "f0ff07", "rdi=1000", "gpa=2ffc" },
	  { "EPT entry UC, and the guest's PAT counts: a device's memory (--uc)",
	    "effective: UC\n" } },
	{ { "--uc=0x2000+0x1000", "f0ff07", "rdi=1000", "gpa=3000" }, { "effective: WB\n" } },
	{ { "--uc=0x2000+0x1000", "f0ff07", "rdi=2000" }, { "effective: UC\n" } },
	/* AMD: the guest's PAT counts always */
	{ { "--cpu=amd", "f0ff07", "rdi=1000", "pwt=1" },
	  { "(APM table 7-9)",
	    "nested page table WB, together WT (APM table 15-19); host's MTRR WB",
	    "effective: WT\n", "not write-back (APM 7.3.3)" } },
	{ { "--cpu=amd", "f0ff07", "rdi=1000", "mtrr=uc" },
	  { "MTRR UC, together UC", "effective: WB, though" } },
};

static void test_explain_memory_type_comes_about_step_by_step(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		const char *argv[12] = { BUSLOCK, "explain" };
		struct run run;

		for (size_t j = 0; j < 8 && types[i].arguments[j]; j++)
			argv[2 + j] = types[i].arguments[j];
		run_how(&run, argv, (struct run_how){ 0, false, NULL });
		assert_exit(&run, 0);
		for (size_t j = 0; j < 5 && types[i].wanted[j]; j++)
			assert_says(run.out, types[i].wanted[j]);
	}
}

static void test_explain_exit_is_behind_on_intel_and_in_front_on_amd(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "explain", "f0ff07", "rdi=103e", "rip=401000");
	assert_exit(&run, 0);
	assert_says(run.out, "exit        VM exit with reason 74, word 0400004a (SDM vol. 3, "
			     "27.9.1); trap-like: RIP 0x401003, behind the instruction");
	run_program(&run, BUSLOCK, "explain", "--reason-74=bare", "f0ff07", "rdi=103e");
	assert_says(run.out, "word 0000004a without bit 26");
	run_program(&run, BUSLOCK, "explain", "--mode=16", "f0ff07", "bx=3f", "ip=fffe");
	assert_says(run.out, "RIP 0x1, behind");
	run_program(&run, BUSLOCK, "explain", "--cpu=amd", "f0ff07", "rdi=103e", "rip=401000");
	assert_exit(&run, 0);
	assert_says(run.out, "a misaligned locked access");
	assert_says(run.out,
		    "code a5h, BUSLOCK; fault-like: nothing is executed, RIP 0x401000 is on "
		    "the instruction (APM 15.14.5)");
	run_program(&run, BUSLOCK, "explain", "--cpu=amd", "--kernel=6.15", "f0ff07", "rdi=103e");
	assert_exit(&run, 0);
	assert_says(run.out, "exit        none: KVM of this version does not use");
	assert_silent(run.out, "a5h");
	run_program(&run, BUSLOCK, "explain", "f0ff07", "rdi=1000");
	assert_silent(run.out, "exit  ");
}

static void test_explain_amd_boundary_may_be_smaller_than_the_line(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "explain", "--cpu=amd", "--lock-boundary=8", "f0ff07",
		    "rdi=1006");
	assert_exit(&run, 0);
	assert_says(run.out, "offset 6 of a block of 8 bytes: crosses into the next");
	assert_says(run.out, "bus lock    yes");
	run_program(&run, BUSLOCK, "explain", "--cpu=amd", "--lock-boundary=16", "f0ff07",
		    "rdi=1006");
	assert_says(run.out, "bus lock    no");
	run_program(&run, BUSLOCK, "explain", "--lock-boundary=8", "f0ff07", "rdi=1006");
	assert_exit(&run, 2);
	assert_says(run.err, "--lock-boundary");
}

static void test_explain_registers_that_were_given_are_not_assumed(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "explain", "--mode", "16", "26 87 55 02", "es=0", "di=0");
	assert_exit(&run, 0);
	assert_silent(run.out, "not given");
	/* only what an address depends on: not DX, not DS */
	run_program(&run, BUSLOCK, "explain", "--mode", "16", "26 87 55 02", "di=0");
	assert_says(run.out, "not given and taken as 0: es\n");
}

static void test_explain_json_has_what_the_text_has(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "explain", "--json", "f0 ff 07", "rdi=103d");
	assert_exit(&run, 0);
	assert_says(run.out, "\"schema\":\"buslock-explain\"");
	assert_says(run.out, "\"lock\":\"explicit\"");
	assert_says(run.out, "\"linear\":\"0x103d\"");
	assert_says(run.out, "\"line_offset\":61");
	assert_says(run.out, "\"bus_lock\":true");
	assert_says(run.out, "\"split\"");
	assert_silent(run.out, "non_wb");
	assert_says(run.out, "\"memory_type\":\"wb\"");
	assert_says(run.out, "\"level\":\"ept\"");
	assert_says(run.out, "\"ignore_pat\":true");
	assert_says(run.out, "\"word\":\"0x400004a\"");
	assert_says(run.out, "\"kind\":\"trap\"");
	run_program(&run, BUSLOCK, "explain", "--json", "--memory-type=guest", "f0 ff 07",
		    "rdi=1000", "pwt=1");
	assert_says(run.out, "\"pat_index\":1");
	assert_says(run.out, "\"guest\":\"wt\"");
	assert_says(run.out, "\"level\":\"one\"");
	assert_says(run.out, "\"memory_type\":\"wt\"");
	assert_says(run.out, "\"non_wb\"");
	run_program(&run, BUSLOCK, "explain", "--json", "f0 90");
	assert_says(run.out, "\"valid\":false");
	assert_says(run.out, "\"lock\":\"illegal\"");
}

static const struct {
	const char *arguments[3], *message;
} not_explained[] = {
	{ { NULL }, "which instruction?" },
	{ { "f0" }, "1 bytes are not a whole instruction" },
	{ { "zz" }, "'z' is not part of one" },
	{ { "f" }, "pairs of hexadecimal digits" },
	{ { "66666666666666666666666666666690" }, "longer than 15 bytes" },
	{ { "90", "--mode", "8" }, "'8' is not 16, 32 or 64" },
	{ { "90", "foo=1" }, "no register 'foo'" },
	{ { "90", "di=" }, "'' is not a hexadecimal number" },
	{ { "90", "di=xyz" }, "'xyz' is not a hexadecimal number" },
	{ { "90", "es=10" }, "give es.base=ADDRESS" },
	{ { "90", "line=32" }, "cache lines have 64 bytes" },
	{ { "90", "--memory-type=wx" }, "'wx' is not wb" },
	{ { "90", "--memory-type=uc", "pcd=1" }, "either given or derived" },
	{ { "90", "pwt=2" }, "0 or 1" },
	{ { "90", "pat.index=8" }, "entries 0 to 7" },
	{ { "90", "ia32_pat=2" }, "not a value that WRMSR accepts" },
	{ { "90", "mtrr=uc-" }, "give uc, wc, wt, wp, wb, or off" },
	{ { "90", "gpa=x" }, "not a hexadecimal number" },
	{ { "90", "disabled_quirks=pat" }, "KVM_X86_QUIRK_ bits" },
	{ { "90", "--memory-type=amd" }, "--cpu=amd" },
	{ { "90", "--kernel=5.11" }, "5.12" },
	{ { "90", "--uc=1000" }, "GPA+LEN" },
};

static void test_explain_bad_input_is_refused_with_the_reason(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(not_explained) / sizeof(not_explained[0]); i++) {
		const char *argv[8] = { BUSLOCK, "explain" };
		struct run run;

		for (size_t j = 0; j < 3 && not_explained[i].arguments[j]; j++)
			argv[2 + j] = not_explained[i].arguments[j];
		run_how(&run, argv, (struct run_how){ 0, false, NULL });
		assert_exit(&run, 2);
		assert_string_equal(run.out, "");
		assert_says(run.err, not_explained[i].message);
	}
}

/* ------------------------------------------------------------------ host */

/* A copy of what another machine shows below /proc and /sys. */
static const char *fake_host(const char *name, const char *cpuinfo, const char *cmdline,
			     const char *mitigate, const char *module)
{
	const char *root = in_directory(name);
	char command[1024], file[300];

	snprintf(command, sizeof(command), "mkdir -p %s/proc/sys/kernel %s/sys/module/%s", root,
		 root, module);
	assert_int_equal(system(command), 0);
	snprintf(file, sizeof(file), "%s/proc/cpuinfo", name);
	write_file(file, cpuinfo, strlen(cpuinfo));
	snprintf(file, sizeof(file), "%s/proc/cmdline", name);
	write_file(file, cmdline, strlen(cmdline));
	snprintf(file, sizeof(file), "%s/proc/sys/kernel/osrelease", name);
	write_file(file, "6.1.0-30-amd64\n", 15);
	if (mitigate) {
		snprintf(file, sizeof(file), "%s/proc/sys/kernel/split_lock_mitigate", name);
		write_file(file, mitigate, strlen(mitigate));
	}
	return in_directory(name);
}

#define ICE_LAKE                                                                \
	"processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon 8375C\n" \
	"flags\t\t: fpu vmx split_lock_detect\nbugs\t\t:\n\nprocessor\t: 1\n"
#define SAPPHIRE_RAPIDS                                                        \
	"processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon 8480\n" \
	"flags\t\t: fpu vmx split_lock_detect bus_lock_detect\n"
#define PLAIN                                                             \
	"processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: EPYC\n" \
	"flags\t\t: fpu svm hypervisor xbus_lock_detect\n"

static void test_host_split_lock_detection_is_told_by_mode(void **state)
{
	static const struct {
		const char *cpuinfo, *cmdline, *mitigate, *wanted, *unwanted;
	} cases[] = {
		{ ICE_LAKE, "quiet\n", "1\n", "for 10 ms or more", "SIGBUS" },
		{ ICE_LAKE, "quiet\n", "0\n", "logged once per thread and then runs", "10 ms" },
		{ ICE_LAKE, "split_lock_detect=fatal\n", "1\n", "SIGBUS", "10 ms" },
		{ ICE_LAKE, "split_lock_detect=fatal split_lock_detect=off\n", NULL,
		  "switched off (split_lock_detect=off)", "SIGBUS" },
		{ ICE_LAKE, "split_lock_detect=nonsense", "1", "for 10 ms or more",
		  "nonsense has" },
		{ ICE_LAKE, "split_lock_detect=ratelimit:5 quiet", "1", "ratelimit:5 has no effect",
		  "10 ms" },
		{ SAPPHIRE_RAPIDS, "split_lock_detect=ratelimit:5", "1", "to 5 per second",
		  "no effect" },
		{ SAPPHIRE_RAPIDS, "split_lock_detect=ratelimit:5000", "1", "for 10 ms or more",
		  "5000 per" },
		{ PLAIN, "quiet", "1", "no split-lock detection of its own", "10 ms" },
	};
	struct run run;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char name[16];

		snprintf(name, sizeof(name), "host%zu", i);
		run_program(&run, BUSLOCK, "host", "--json", "--root",
			    fake_host(name, cases[i].cpuinfo, cases[i].cmdline, cases[i].mitigate,
				      "kvm_intel"));
		assert_exit(&run, 0);
		assert_says(run.out, cases[i].wanted);
		assert_silent(run.out, cases[i].unwanted);
	}
	assert_says(run.out, "\"hypervisor\":true");
	assert_says(run.out, "\"svm\":true");
	assert_says(run.out, "\"bus_lock_detect\":false");
	assert_says(run.out, "\"kernel\":\"6.1.0-30-amd64\"");
	assert_says(run.out, "\"modules\":\"kvm_intel\"");
}

static void test_host_without_a_device_says_so_and_still_ends_with_0(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "host", "--device", in_directory("no-kvm"));
	assert_exit(&run, 0);
	assert_says(run.out, "There is no ");
	assert_says(run.out, "buslock exec and buslock run");
	run_program(&run, BUSLOCK, "host", "--device", "/dev/null");
	assert_exit(&run, 0);
	assert_says(run.out, "cannot be used");
	run_program(&run, BUSLOCK, "host");
	assert_exit(&run, 0);
	run_program(&run, BUSLOCK, "host", "--root", "/nonexistent");
	assert_exit(&run, 2);
	run_program(&run, BUSLOCK, "host", "now");
	assert_exit(&run, 2);
}

/* ------------------------------------------------------------------ run: guests */

static const struct {
	const char *guest, *mode, *instruction;
} selftests[] = {
	{ GUEST("selftest16.bin"), "real", "lock inc dword ptr [si]" },
	{ GUEST("selftest32.bin"), "protected", "lock inc dword ptr [esi]" },
	{ GUEST("selftest64.bin"), "long", "lock inc dword ptr [rsi]" },
};

static void test_run_flat_guest_reports_exactly_its_bus_locks_in_every_mode(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct run run;

		run_program(&run, BUSLOCK, "run", selftests[i].guest, "--mode", selftests[i].mode,
			    "--load", "0x1000", "--set", "cx=100", "--set", "di=62", "--expect",
			    "locks==100,split==100,locked==100,flags==100,exits.x86_bus_lock==100,"
			    "exits.io==1,"
			    "runs==101,sites==1,detection==1,vcpus==1");
		assert_exit(&run, 0);
		assert_says(run.err, selftests[i].instruction);
		assert_says(run.err, "4 bytes at 0x803e: split (2 + 2 bytes)");
		/* the aligned twin: as many locked accesses, no bus lock */
		run_program(&run, BUSLOCK, "run", selftests[i].guest, "--mode", selftests[i].mode,
			    "--load", "0x1000", "--set", "cx=100", "--set", "di=60", "--expect",
			    "locks==0,locked==100,flags==0,runs==1,sites==0");
		assert_exit(&run, 0);
	}
}

static void test_run_exit_port_gives_the_status_that_qemu_would(void **state)
{
	static const struct {
		const char code[16];
		int status;
		const char *value;
	} cases[] = {
		{ "\xb0\x00\xe6\xf4", 1, "value 0x0" }, /* mov al, 0; out 0xf4, al */
		{ "\xb0\x10\xe6\xf4", 33, "value 0x10" },
		{ "\xb8\x2a\x01\xe7\xf4", 0x55, "value 0x12a" }, /* mov ax, 0x12a; out 0xf4, ax */
		{ "\xb0\x07\xba\xf6\x00\xee", 15, "value 0x7" }, /* any of its four ports */
	};
	struct run run;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run_program(&run, BUSLOCK, "run", write_file("exit.bin", cases[i].code, 16));
		assert_exit(&run, cases[i].status);
		assert_says(run.err, cases[i].value);
	}
}

static void test_run_multiboot_guest_prints_and_names_its_sites(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", GUEST("multiboot.elf"), "--console", "serial");
	assert_exit(&run, 33);
	assert_says(run.out, "buslock guest: 20 locks at offset 62 of their lines\ndone: 20\n");
	assert_says(run.err, "<take_locks.round");
	assert_says(run.err, "<exchange+0x6>  xchg dword ptr [ebx + 0x100], eax");
	assert_says(run.err, "4 of 4 sites");
	run_program(&run, BUSLOCK, "run", GUEST("multiboot.elf"), "--console", "debug", "--top",
		    "1");
	assert_says(run.out, "done: 20\n");
	assert_says(run.err, "1 of 4 sites");
	/* both consoles by default: each character twice */
	run_program(&run, BUSLOCK, "run", GUEST("multiboot.elf"));
	assert_says(run.out, "ddoonnee::  2200");
}

/* "mov esi, [ebx+16]; print to 0xe9; exit with EAX's low byte", behind a header with addresses */
static void test_run_multiboot_addresses_and_command_line_arrive(void **state)
{
	/* clang-format off */
	static const uint8_t code[] = {
		0x3d, 0x02, 0xb0, 0xad, 0x2b, /* cmp eax, 0x2badb002 */
		0x75, 0x0c,                   /* jne halt */
		0x8b, 0x73, 0x10,             /* mov esi, [ebx + 16] */
		0xac,                         /* next: lodsb */
		0x84, 0xc0,                   /* test al, al */
		0x74, 0x04,                   /* jz halt */
		0xe6, 0xe9,                   /* out 0xe9, al */
		0xeb, 0xf7,                   /* jmp next */
		0xf4,                         /* halt: hlt */
	};
	/* clang-format on */
	struct {
		uint32_t pad, magic, flags, checksum, header, load, load_end, bss_end, entry;
		uint8_t code[32];
	} image = { 0,        0x1badb002, 0x10003, -(0x1badb002u + 0x10003u), 0x200004, 0x200000, 0,
		    0x201000, 0x200024,   { 0 } };
	const char *path;
	struct run run;
	char wanted[320];

	(void)state;
	memcpy(image.code, code, sizeof(code));
	path = write_file("kernel", &image, sizeof(image));
	snprintf(wanted, sizeof(wanted), "%s console=ttyS0 \"two words\"", path);
	run_program(&run, BUSLOCK, "run", path, "--append", "console=ttyS0 \"two words\"");
	assert_exit(&run, 0);
	assert_string_equal(run.out, wanted);
	assert_says(run.err, "all vCPUs halted");
	/* what it demands and we have not */
	image.flags |= 4;
	image.checksum -= 4;
	run_program(&run, BUSLOCK, "run", write_file("kernel", &image, sizeof(image)));
	assert_exit(&run, 2);
	assert_says(run.err, "demands a video mode");
	/* a header that does not add up is none */
	image.checksum++;
	run_program(&run, BUSLOCK, "run", write_file("kernel", &image, sizeof(image)), "--format",
		    "multiboot");
	assert_exit(&run, 2);
	assert_says(run.err, "no multiboot header");
}

struct elf64 {
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	uint8_t code[32];
};

static struct elf64 elf64_of(uint64_t virtual, uint64_t physical)
{
	struct elf64 e = {
		.header = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			    .e_type = ET_EXEC,
			    .e_machine = EM_X86_64,
			    .e_version = EV_CURRENT,
			    .e_entry = virtual + 4,
			    .e_phoff = sizeof(Elf64_Ehdr),
			    .e_ehsize = sizeof(Elf64_Ehdr),
			    .e_phentsize = sizeof(Elf64_Phdr),
			    .e_phnum = 1 },
		.segment = { .p_type = PT_LOAD,
			     .p_offset = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr),
			     .p_vaddr = virtual,
			     .p_paddr = physical,
			     .p_filesz = 32,
			     .p_memsz = 0x2000 },
		/* 4 bytes of padding; lock inc dword [rip + 0x27 + …]; mov eax, cs; out 0xf4, al */
		.code = { 0xf4, 0xf4, 0xf4, 0xf4, 0xf0, 0xff, 0x05, 0x33, 0, 0, 0, 0x8c, 0xc8, 0xe6,
			  0xf4 },
	};

	return e;
}

static void test_run_elf64_enters_long_mode_at_its_entry(void **state)
{
	struct elf64 e = elf64_of(0x300000, 0x300000);
	struct run run;

	(void)state;
	/* CS 18h is the 64-bit code segment */
	run_program(&run, BUSLOCK, "run", write_file("guest.elf", &e, sizeof(e)), "--expect",
		    "locks==1");
	assert_exit(&run, 0);
	assert_says(run.err, "4 bytes at 0x30003e: split");
	assert_says(run.err, "64-bit");
	run_program(&run, BUSLOCK, "run", in_directory("guest.elf"));
	assert_exit(&run, 0x31);
	/* upper half: loaded and entered at its physical address */
	e = elf64_of(0xffffffff80300000, 0x300000);
	run_program(&run, BUSLOCK, "run", write_file("guest.elf", &e, sizeof(e)));
	assert_exit(&run, 0x31);
	/* another entry */
	run_program(&run, BUSLOCK, "run", in_directory("guest.elf"), "--entry", "0x300000");
	assert_exit(&run, 0);
	assert_says(run.err, "all vCPUs halted");
}

static void test_run_damaged_elf_is_refused_with_the_reason(void **state)
{
	struct elf64 good = elf64_of(0x300000, 0x300000), e;
	struct run run;

	(void)state;
#define REFUSES(change, message)                                                         \
	do {                                                                             \
		e = good;                                                                \
		change;                                                                  \
		run_program(&run, BUSLOCK, "run", write_file("bad.elf", &e, sizeof(e))); \
		assert_exit(&run, 2);                                                    \
		assert_says(run.err, message);                                           \
		assert_string_equal(run.out, "");                                        \
	} while (0)
	REFUSES(e.segment.p_offset = 1u << 30, "beyond the end of the file");
	REFUSES(e.segment.p_offset = UINT64_MAX - 8, "beyond the end of the file");
	REFUSES(e.segment.p_memsz = 8, "larger in the file than in memory");
	REFUSES(e.segment.p_paddr = UINT64_MAX - 4, "does not fit into guest memory");
	REFUSES(e.segment.p_memsz = UINT64_MAX, "does not fit into guest memory");
	REFUSES(e.header.e_entry = 0x10, "entry 0x10 is in no segment");
	REFUSES(e.header.e_machine = EM_AARCH64, "not an x86 program");
	REFUSES(e.header.e_type = ET_REL, "is no program");
	REFUSES(e.segment.p_type = PT_INTERP, "dynamically linked");
	REFUSES(e.header.e_phoff = 1u << 30, "ELF");
#undef REFUSES
	run_program(&run, BUSLOCK, "run", "/bin/true");
	assert_exit(&run, 2);
	assert_says(run.err, "/bin/true: a dynamically linked program");
}

static void test_run_bad_options_are_refused_before_anything_runs(void **state)
{
	static const struct {
		const char *arguments[4], *message;
	} cases[] = {
		{ { NULL }, "which guest?" },
		{ { "/nonexistent.bin" }, "/nonexistent.bin: No such file" },
		{ { "/" }, "not a regular file" },
		{ { "@", "another" }, "one guest at a time" },
		{ { "@", "--mode=virtual" }, "'virtual' is not real, protected or long" },
		{ { "@", "--format=exe" }, "'exe' is not auto, flat, elf or multiboot" },
		{ { "@", "--format=elf" }, "not an ELF file" },
		{ { "@", "-m", "64Q" }, "'64Q' is not a size" },
		{ { "@", "-m", "4K" }, "from 512K to 3G" },
		{ { "@", "-m", "99999999999999999999G" }, "is not a size" },
		{ { "@", "--load=here" }, "'here' is not an address" },
		{ { "@", "--load=0x3ffffff" }, "do not fit into guest memory" },
		{ { "@", "--load=0xffffffffffffffff" }, "do not fit into guest memory" },
		{ { "@", "--entry=0x200000" }, "cannot be reached in real mode" },
		{ { "@", "--mode=long", "--entry=0x4000000" }, "outside of guest memory" },
		{ { "@", "--vcpus=0" }, "'0' is not a number from 1 to 64" },
		{ { "@", "--vcpus=65" }, "'65' is not a number from 1 to 64" },
		{ { "@", "--rate=0" }, "--rate: '0'" },
		{ { "@", "--rate=-1" }, "--rate: '-1'" },
		{ { "@", "--timeout=soon" }, "'soon' is not a number of seconds" },
		{ { "@", "--set=di" }, "REG=VALUE is wanted" },
		{ { "@", "--set=zz=1" }, "no general register 'zz'" },
		{ { "@", "--set=di=x" }, "'x' is not a number" },
		{ { "@", "--expect=lock==1" }, "'lock': no such counter" },
		{ { "@", "--symbols=/nonexistent" }, "--symbols: /nonexistent" },
		{ { "@", "--cpu=z80" }, "z80" },
		{ { "@", "--kernel=4.19" }, "4.19" },
		{ { "@", "--mmio=some" }, "--mmio=some: give kvm or all" },
		{ { "@", "--device=/dev/null" }, "/dev/null" },
		{ { "@", "--device=/dev/kvm", "--count" },
		  "--count: such choices are the emulator's" },
		{ { "@", "--device=/dev/kvm", "--uc=0+4096" }, "--uc: such choices are the" },
	};
	const char *guest = write_code("halt.bin", HALT);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *argv[8] = { BUSLOCK, "run" };
		struct run run;

		for (size_t j = 0; j < 4 && cases[i].arguments[j]; j++)
			argv[2 + j] = strcmp(cases[i].arguments[j], "@") ? cases[i].arguments[j]
									 : guest;
		run_how(&run, argv, (struct run_how){ 0, false, NULL });
		assert_exit(&run, 2);
		assert_says(run.err, cases[i].message);
		assert_silent(run.err, "summary");
	}
}

/* ------------------------------------------------------------------ run: the machine */

static void test_run_vcpus_all_start_with_their_number(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", GUEST("smp.bin"), "--mode", "long", "--load", "0x1000",
		    "--vcpus", "3", "--set", "rcx=2000", "--set", "rdi=62", "--expect",
		    "vcpus==3,locks>=18000,exits.hlt<=2");
	assert_exit(&run, 0);
	/* 3 times 2000 */
	assert_says(run.out, "inc=00001770 xadd=00001770 cmpxchg=00001770 sum=00000000");
	assert_says(run.err, "vCPU");
	/* every vCPU has to halt */
	run_program(&run, BUSLOCK, "run", write_code("halt.bin", HALT), "--vcpus", "3", "--expect",
		    "exits.hlt==3");
	assert_exit(&run, 0);
	assert_says(run.err, "all vCPUs halted");
}

static void test_run_vcpus_have_stacks_of_their_own(void **state)
{
	/* cmp ebx, N; jne halt; mov rax, rsp; shr rax, 14; out 0xf4, al; halt: hlt */
	char code[] = "\x83\xfb\x00\x75\x09\x48\x89\xe0\x48\xc1\xe8\x0e\xe6\xf4\xf4";
	struct run run;

	(void)state;
	/* 16 KiB each, below the monitor's own 64 KiB */
	for (char n = 0; n < 3; n++) {
		char wanted[16];

		code[2] = n;
		run_program(&run, BUSLOCK, "run", write_code("stack.bin", code), "--mode", "long",
			    "--vcpus", "3", "-m", "64M");
		snprintf(wanted, sizeof(wanted), "value 0x%x", 0xfc - n);
		assert_says(run.err, wanted);
	}
}

static void test_run_accesses_to_nothing_read_ones_and_are_counted(void **state)
{
	/* mov esi, 0xd0000000; mov ax, [rsi]; mov [rsi], ax; in al, 0x40; and al, ah; out 0xf4, al */
	static const char code[] =
		"\xbe\x00\x00\x00\xd0\x66\x8b\x06\x66\x89\x06\xe4\x40\x20\xe0\xe6\xf4";
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", write_code("nothing.bin", code), "--mode", "long");
	assert_exit(&run, 0xff);
	assert_says(run.err, "ports 1 reads, 0 writes; memory 1 reads, 1 writes");
}

static void test_run_serial_port_answers_as_drivers_probe_it(void **state)
{
	static const struct {
		const char code[32];
		int status; /* 2 × value + 1 */
	} cases[] = {
		/* mov dx, 0x3fd; in al, dx: transmitter empty, nothing received */
		{ "\xba\xfd\x03\xec\xe6\xf4", 2 * 0x60 + 1 },
		/* scratch register keeps 0x5a: mov dx, 0x3ff; mov al, 0x5a; out; mov al, 0; in */
		{ "\xba\xff\x03\xb0\x5a\xee\xb0\x00\xec\xe6\xf4", 2 * 0x5a + 1 },
		/* nobody at the other end, but ready; shr al, 1: the status has no room for bit 7 */
		{ "\xba\xfe\x03\xec\xd0\xe8\xe6\xf4", 2 * (0xb0 >> 1) + 1 },
		/* loop-back (MCR bit 4 with RTS, OUT2): MSR has CTS, DCD: 0x90 */
		{ "\xba\xfc\x03\xb0\x1a\xee\xb2\xfe\xec\xd0\xe8\xe6\xf4", 2 * (0x90 >> 1) + 1 },
		/* … with DTR, OUT1: DSR, RI */
		{ "\xba\xfc\x03\xb0\x15\xee\xb2\xfe\xec\xe6\xf4", 2 * 0x60 + 1 },
		/* loop-back: what is sent is received, and not printed */
		{ "\xba\xfc\x03\xb0\x10\xee\xb2\xf8\xb0\x41\xee\xb0\x00\xec\xe6\xf4",
		  (2 * 0x41 + 1) & 0xff },
		/* divisor latch: what goes there is not printed */
		{ "\xba\xfb\x03\xb0\x80\xee\xb2\xf8\xb0\x42\xee\xec\xe6\xf4",
		  (2 * 0x42 + 1) & 0xff },
	};
	struct run run;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run_program(&run, BUSLOCK, "run", write_file("serial.bin", cases[i].code, 32));
		assert_exit(&run, cases[i].status);
		assert_string_equal(run.out, "");
	}
}

static void test_run_reset_through_the_keyboard_controller_ends_with_0(void **state)
{
	struct run run;

	(void)state;
	/* mov al, 0xfe; out 0x64, al */
	run_program(&run, BUSLOCK, "run", write_code("reset.bin", "\xb0\xfe\xe6\x64" LOOP));
	assert_exit(&run, 0);
	assert_says(run.err, "reset the machine");
}

static void test_run_triple_fault_is_4_with_the_registers(void **state)
{
	struct run run;

	(void)state;
	/* mov ebp, 0x12345678; ud2: no IDT yet */
	run_program(&run, BUSLOCK, "run", write_code("ud.bin", "\xbd\x78\x56\x34\x12\x0f\x0b"),
		    "--mode", "long");
	assert_exit(&run, 4);
	assert_says(run.err, "vCPU 0: shutdown (triple fault)");
	assert_says(run.err, "rbp  0000000012345678");
	assert_says(run.err, "ud2  [0f0b]");
	/* conditions that hold do not make it live */
	run_program(&run, BUSLOCK, "run", in_directory("ud.bin"), "--mode", "long", "--expect",
		    "locks==0");
	assert_exit(&run, 4);
}

/* ------------------------------------------------------------------ run: policy and end */

static void test_run_rate_stretches_the_run_as_qemus_limit_does(void **state)
{
	struct run run;

	(void)state;
	/* The tenth and the twentieth lock each sleep to the end of their second. */
	run_program(&run, BUSLOCK, "run", GUEST("multiboot.elf"), "--rate", "10", "--expect",
		    "locks==20,rate<=10,rate>9,throttled_ms>=1900,throttled_ms<3000");
	assert_exit(&run, 0);
	assert_true(run.seconds > 1.9);
	run_program(&run, BUSLOCK, "run", GUEST("multiboot.elf"), "--rate", "1000", "--expect",
		    "locks==20,throttled_ms<500");
	assert_exit(&run, 0);
}

static void test_run_expectations_decide_the_status(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", GUEST("multiboot.elf"), "--report=none", "--expect",
		    "locks==20");
	assert_exit(&run, 0); /* not the guest's 33 */
	assert_string_equal(run.err, "");
	run_program(&run, BUSLOCK, "run", GUEST("multiboot.elf"), "--report=none", "--expect",
		    "locks==20,split==19");
	assert_exit(&run, 1);
	assert_says(run.err, "--expect: split is 20, expected == 19");
}

static void test_run_limits_end_it_with_124_and_the_summary(void **state)
{
	const char *loop = write_code("loop.bin", LOOP);
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", loop, "--timeout", "0.3");
	assert_exit(&run, 124);
	assert_says(run.err, "--timeout");
	assert_says(run.err, "summary");
	assert_true(run.seconds >= 0.3);
	/* Eight vCPUs that share one lock a second sleep for up to eight: the limit wakes them. */
	run_program(&run, BUSLOCK, "run", GUEST("smp.bin"), "--mode", "long", "--load", "0x1000",
		    "--vcpus", "8", "--set", "rcx=100", "--set", "rdi=62", "--rate", "1",
		    "--timeout", "0.3", "--expect", "locks<=16,throttled_ms>1000");
	assert_exit(&run, 0);
	assert_true(run.seconds < 5);
	/* in al, 0x40; jmp $-2 */
	run_program(&run, BUSLOCK, "run", write_code("in.bin", "\xe4\x40\xeb\xfc"), "--max-exits",
		    "1000", "--report=json");
	assert_exit(&run, 124);
	assert_says(run.err, "\"IO\":1000");
}

static void test_run_interrupt_ends_it_with_the_summary(void **state)
{
	/* mov al, 'x'; out 0xe9, al; lock inc dword [0x7e3e]; jmp $: no end of line, and yet it shows */
	static const char code[] = "\xb0x\xe6\xe9\xf0\x66\xff\x06\x3e\x7e" LOOP;
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct run run;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		run_start(&run, BUSLOCK, "run", write_code("wait.bin", code));
		run_wait_for(&run, "x");
		kill(run.pid, signals[i]);
		run_finish(&run);
		assert_exit(&run, 128 + signals[i]);
		assert_says(run.err, "ended by ");
		assert_says(run.err, "4 bytes at 0x7e3e: split");
	}
}

static void test_run_report_goes_where_it_is_asked_to(void **state)
{
	char text[16384], argument[300];
	struct run run;

	(void)state;
	snprintf(argument, sizeof(argument), "--report=%s", in_directory("r.json"));
	run_program(&run, BUSLOCK, "run", GUEST("multiboot.elf"), argument);
	assert_exit(&run, 33);
	assert_silent(run.err, "summary");
	read_file(in_directory("r.json"), text, sizeof(text));
	assert_says(text, "\"schema\":\"buslock-report\"");
	assert_says(text, "\"symbol\":\"exchange\"");
	snprintf(argument, sizeof(argument), "--report=%s", in_directory("r.txt"));
	run_program(&run, BUSLOCK, "run", GUEST("multiboot.elf"), argument);
	read_file(in_directory("r.txt"), text, sizeof(text));
	assert_says(text, "buslock: summary");
	snprintf(argument, sizeof(argument), "--report=json:%s", in_directory("r2"));
	run_program(&run, BUSLOCK, "run", GUEST("multiboot.elf"), argument);
	read_file(in_directory("r2"), text, sizeof(text));
	assert_says(text, "\"schema\":\"buslock-report\"");
	snprintf(argument, sizeof(argument), "--report=text:%s", in_directory("r2.json"));
	run_program(&run, BUSLOCK, "run", GUEST("multiboot.elf"), argument);
	read_file(in_directory("r2.json"), text, sizeof(text));
	assert_says(text, "buslock: summary");
	run_program(&run, BUSLOCK, "run", GUEST("multiboot.elf"), "--report=/nonexistent/report");
	assert_exit(&run, 2);
	assert_says(run.err, "/nonexistent/report");
	run_program(&run, BUSLOCK, "run", GUEST("multiboot.elf"), "--report=json");
	assert_says(run.err, "\"X86_BUS_LOCK\":20");
}

static void test_run_symbols_of_another_file_name_the_sites(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "run", GUEST("selftest64.bin"), "--mode", "long", "--load",
		    "0x1000", "--set", "rcx=3", "--set", "rdi=62", "--symbols",
		    write_code("System.map",
			       "0000000000001000 T entry\n0000000000001800 T behind\n"));
	assert_says(run.err, "<entry+0xe>");
}

static void test_run_count_counts_instructions(void **state)
{
	struct run run;

	(void)state;
	/* mov cx, 1000; loop $: 1001 instructions and the halt */
	run_program(&run, BUSLOCK, "run", write_code("count.bin", "\xb9\xe8\x03\xe2\xfe\xf4"),
		    "--count", "--expect", "instructions>=1001,instructions<=1002");
	assert_exit(&run, 0);
	run_program(&run, BUSLOCK, "run", in_directory("count.bin"), "--expect", "instructions>0");
	assert_exit(&run, 2);
	assert_says(run.err, "--count");
}

/* ------------------------------------------------------------------ run: progress */

static void test_run_progress_is_for_terminals_only(void **state)
{
	const char *loop = write_code("loop.bin", LOOP);
	char text[8192];
	size_t used = 0;
	struct run run;
	ssize_t n;
	int terminal, status;
	pid_t pid;

	(void)state;
	run_program(&run, BUSLOCK, "run", loop, "--timeout", "2.5");
	assert_silent(run.err, "\033");
	assert_silent(run.err, "exits/s");

	pid = forkpty(&terminal, NULL, NULL, NULL);
	assert_true(pid >= 0);
	if (!pid) {
		execl(BUSLOCK, BUSLOCK, "run", loop, "--timeout", "2.5", NULL);
		_exit(98);
	}
	/* reading a terminal whose other end has closed is EIO */
	while (used < sizeof(text) - 1 &&
	       (n = read(terminal, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	close(terminal);
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 124);
	assert_says(text, "exits/s");
	assert_says(text, "vCPU 0 at 0x7c00");
	/* removed before the summary */
	assert_says(text, "\r\033[Kbuslock: ended by --timeout");
}

/* ------------------------------------------------------------------ run: a real device */

static void test_run_aligned_guests_do_the_same_on_the_real_device(void **state)
{
	struct run emulated, real;

	(void)state;
	if (access("/dev/kvm", R_OK | W_OK)) {
		print_message("skipped: /dev/kvm: %s\n", strerror(errno));
		skip();
	}
	for (size_t i = 0; i < 3; i++) {
		run_program(&emulated, BUSLOCK, "run", selftests[i].guest, "--mode",
			    selftests[i].mode, "--load", "0x1000", "--set", "cx=100", "--set",
			    "di=60");
		run_program(&real, BUSLOCK, "run", selftests[i].guest, "--mode", selftests[i].mode,
			    "--load", "0x1000", "--set", "cx=100", "--set", "di=60", "--device",
			    "/dev/kvm");
		assert_int_equal(emulated.status, real.status);
	}
	run_program(&emulated, BUSLOCK, "run", GUEST("multiboot_aligned.elf"), "--expect",
		    "exits.io==123");
	run_program(&real, BUSLOCK, "run", GUEST("multiboot_aligned.elf"), "--device", "/dev/kvm",
		    "--expect", "exits.io==123");
	assert_exit(&emulated, 0);
	assert_exit(&real, 0);
	assert_string_equal(emulated.out, real.out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cli_without_a_sub_command_is_a_usage_error),
		cmocka_unit_test(test_cli_help_tells_about_every_sub_command),
		cmocka_unit_test(test_explain_known_instructions_get_the_verdict_and_its_rule),
		cmocka_unit_test(test_explain_memory_type_comes_about_step_by_step),
		cmocka_unit_test(test_explain_exit_is_behind_on_intel_and_in_front_on_amd),
		cmocka_unit_test(test_explain_amd_boundary_may_be_smaller_than_the_line),
		cmocka_unit_test(test_explain_registers_that_were_given_are_not_assumed),
		cmocka_unit_test(test_explain_json_has_what_the_text_has),
		cmocka_unit_test(test_explain_bad_input_is_refused_with_the_reason),
		cmocka_unit_test(test_host_split_lock_detection_is_told_by_mode),
		cmocka_unit_test(test_host_without_a_device_says_so_and_still_ends_with_0),
		cmocka_unit_test(test_run_flat_guest_reports_exactly_its_bus_locks_in_every_mode),
		cmocka_unit_test(test_run_exit_port_gives_the_status_that_qemu_would),
		cmocka_unit_test(test_run_multiboot_guest_prints_and_names_its_sites),
		cmocka_unit_test(test_run_multiboot_addresses_and_command_line_arrive),
		cmocka_unit_test(test_run_elf64_enters_long_mode_at_its_entry),
		cmocka_unit_test(test_run_damaged_elf_is_refused_with_the_reason),
		cmocka_unit_test(test_run_bad_options_are_refused_before_anything_runs),
		cmocka_unit_test(test_run_vcpus_all_start_with_their_number),
		cmocka_unit_test(test_run_vcpus_have_stacks_of_their_own),
		cmocka_unit_test(test_run_accesses_to_nothing_read_ones_and_are_counted),
		cmocka_unit_test(test_run_serial_port_answers_as_drivers_probe_it),
		cmocka_unit_test(test_run_reset_through_the_keyboard_controller_ends_with_0),
		cmocka_unit_test(test_run_triple_fault_is_4_with_the_registers),
		cmocka_unit_test(test_run_rate_stretches_the_run_as_qemus_limit_does),
		cmocka_unit_test(test_run_expectations_decide_the_status),
		cmocka_unit_test(test_run_limits_end_it_with_124_and_the_summary),
		cmocka_unit_test(test_run_interrupt_ends_it_with_the_summary),
		cmocka_unit_test(test_run_report_goes_where_it_is_asked_to),
		cmocka_unit_test(test_run_symbols_of_another_file_name_the_sites),
		cmocka_unit_test(test_run_count_counts_instructions),
		cmocka_unit_test(test_run_progress_is_for_terminals_only),
		cmocka_unit_test(test_run_aligned_guests_do_the_same_on_the_real_device),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
