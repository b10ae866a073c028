// SPDX-License-Identifier: GPL-2.0-only
/*
 * `buslock exec` as a launcher: what it starts, what it refuses, how it passes signals and statuses
 * on. What the program then finds in its process is in test_process.c.
 */
#include "tests/integration/run.h"

#include <elf.h>
#include <sys/xattr.h>

#define NOBODY 65534

static char directory[] = "/tmp/buslock-exec-XXXXXX";

static const char *in_directory(const char *name)
{
	static char paths[8][256];
	static unsigned turn;
	char *path = paths[turn++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

static const char *write_file(const char *name, const void *data, size_t size, mode_t mode)
{
	const char *path = in_directory(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), size);
	assert_return_code(fchmod(fd, mode), errno);
	close(fd);
	return path;
}

static const char *write_script(const char *name, const char *text)
{
	return write_file(name, text, strlen(text), 0755);
}

/* A copy of /bin/true: a dynamic program. */
static const char *copy_of_true(const char *name, mode_t mode)
{
	static char data[1 << 20];
	int fd = open("/bin/true", O_RDONLY);
	ssize_t n = read(fd, data, sizeof(data));

	assert_true(n > 0 && n < (ssize_t)sizeof(data));
	close(fd);
	return write_file(name, data, (size_t)n, mode);
}

static int set_up(void **state)
{
	(void)state;
	/* Others are to get in, too: some tests run as nobody. */
	return mkdtemp(directory) && chmod(directory, 0755) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, "rm", "-rf", directory);
	return run.status;
}

/* ------------------------------------------------------------------ the command line */

static void test_exec_dry_run_prints_the_command_for_a_shell(void **state)
{
	struct run run, again;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "-n", "--kernel=6.1", "--log=debug", "--", "sh", "-c",
		    "echo \"it's $0\"; printenv BUSLOCK_LOG", "a b");
	assert_exit(&run, 0);
	assert_says(run.out, "LD_PRELOAD=" BUSLOCK_BUILD_DIR);
	assert_says(run.out, "kernel=6.1");
	assert_says(run.out, "BUSLOCK_LOG=debug ");
	assert_says(run.out, "/sh -c ");
	/* The line does what it says. */
	run_program(&again, "sh", "-c", run.out);
	assert_exit(&again, 0);
	assert_string_equal(again.out, "it's a b\ndebug\n");
}

static void test_exec_dry_run_starts_nothing(void **state)
{
	struct run run;
	const char *made = in_directory("made");

	(void)state;
	run_program(&run, BUSLOCK, "exec", "-n", "touch", made);
	assert_exit(&run, 0);
	assert_int_equal(access(made, F_OK), -1);
}

static void test_exec_options_after_the_program_are_the_programs(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "echo", "-n", "--kernel=nonsense");
	assert_exit(&run, 0);
	assert_string_equal(run.out, "--kernel=nonsense");
}

static void test_exec_bad_options_are_named_and_nothing_runs(void **state)
{
	static const struct {
		const char *option, *says;
	} cases[] = {
		{ "--kernel=6.20", "6.19 was" },
		{ "--cpu=via", "via" },
		{ "--kernel=2.6", "kernel" },
		{ "--mmio=some", "--mmio=some" },
		{ "--expect=nonsense==1", "nonsense" },
		{ "--log=loud", "--log=loud" },
		{ "--script=/nowhere", "/nowhere" },
		{ "--backend=script", "--script" },
		{ "--success=256", "--success=256" },
		{ "--frobnicate", "frobnicate" },
		{ "--locked", "exec: --locked goes with --trace" },
		{ "--trace-registers", "exec: --trace-registers goes with --trace" },
		{ "--expect=instructions<=0", "exec: --expect: 'instructions': not counted" },
		{ "--symbols=/etc/passwd", "exec: --symbols: /etc/passwd: no symbols in it" },
		{ "--symbols=/tmp", "not a regular file" },
		{ "--symbols=/dev/null", "not a regular file" },
		{ "--trace=/nowhere/at/all", "exec: --trace: /nowhere/at/all" },
	};
	struct run run;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run_program(&run, BUSLOCK, "exec", cases[i].option, "--", "echo", "ran");
		assert_exit(&run, 2);
		assert_says(run.err, cases[i].says);
		assert_string_equal(run.out, "");
	}
	run_program(&run, BUSLOCK, "exec");
	assert_exit(&run, 2);
}

static void test_exec_library_elsewhere_is_named_by_the_environment(void **state)
{
	struct run run;

	(void)state;
	run_how(&run, ARGUMENTS(BUSLOCK, "exec", "true"),
		(struct run_how){ .variable = "BUSLOCK_LIBRARY=/nowhere.so" });
	assert_exit(&run, 125);
	assert_says(run.err, "BUSLOCK_LIBRARY=/nowhere.so");
}

static void test_exec_users_own_preload_stays_behind_ours(void **state)
{
	struct run run;

	(void)state;
	run_how(&run, ARGUMENTS(BUSLOCK, "exec", "printenv", "LD_PRELOAD"),
		(struct run_how){ .variable = "LD_PRELOAD=libm.so.6" });
	assert_exit(&run, 0);
	assert_says(run.out, ":libm.so.6\n");
}

/* A library that does not tell the report that it came up. */
static void test_exec_run_without_emulation_is_not_a_success(void **state)
{
	struct run run;

	(void)state;
	run_how(&run, ARGUMENTS(BUSLOCK, "exec", "echo", "ran"),
		(struct run_how){ .variable = "BUSLOCK_LIBRARY=/lib/x86_64-linux-gnu/libm.so.6" });
	assert_exit(&run, 125);
	assert_says(run.err, "without the emulation");
	assert_string_equal(run.out, "ran\n");
}

/* ------------------------------------------------------------------ statuses and signals */

static void test_exec_exit_status_is_the_programs(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "sh", "-c", "exit 0");
	assert_exit(&run, 0);
	run_program(&run, BUSLOCK, "exec", "sh", "-c", "exit 42");
	assert_exit(&run, 42);
}

static void test_exec_death_by_signal_is_repeated(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "sh", "-c", "kill -TERM $$");
	assert_killed(&run, SIGTERM);
	run_program(&run, BUSLOCK, "exec", "sh", "-c", "kill -KILL $$");
	assert_killed(&run, SIGKILL);
	run_program(&run, BUSLOCK, "exec", "sh", "-c", "ulimit -c 0; kill -SEGV $$");
	assert_killed(&run, SIGSEGV);
	assert_false(WCOREDUMP(run.status));
}

static void test_exec_signals_reach_the_program_once(void **state)
{
	static const struct {
		int signal;
		const char *name;
	} cases[] = { { SIGTERM, "TERM" },  { SIGINT, "INT" },   { SIGHUP, "HUP" },
		      { SIGQUIT, "QUIT" },  { SIGUSR1, "USR1" }, { SIGUSR2, "USR2" },
		      { SIGWINCH, "WINCH" } };
	struct run run;
	char script[256];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(script, sizeof(script),
			 "n=0; trap 'n=$((n+1)); echo got' %s; echo ready; "
			 "for i in 1 2 3 4 5 6; do sleep 0.05; done; echo $n; exit $n",
			 cases[i].name);
		run_start(&run, BUSLOCK, "exec", "sh", "-c", script);
		run_wait_for(&run, "ready");
		kill(run.pid, cases[i].signal);
		run_finish(&run);
		assert_exit(&run, 1);
		assert_says(run.out, "got");
	}
}

static void test_exec_killed_launcher_takes_the_program_along(void **state)
{
	struct run run;
	pid_t program;

	(void)state;
	run_start(&run, BUSLOCK, "exec", "sh", "-c", "echo $$ ready; exec sleep 60");
	run_wait_for(&run, "ready");
	program = atoi(run.out);
	assert_true(program > 1);
	kill(run.pid, SIGKILL);
	run_finish(&run);
	assert_killed(&run, SIGKILL);
	for (int i = 0; i < 500 && kill(program, 0) == 0; i++) {
		char path[64], state_of[64] = "";
		int fd;

		/* Nobody may be there to reap it. */
		snprintf(path, sizeof(path), "/proc/%d/stat", program);
		fd = open(path, O_RDONLY);
		if (fd < 0 || read(fd, state_of, sizeof(state_of) - 1) <= 0 ||
		    strstr(state_of, ") Z")) {
			close(fd);
			return;
		}
		close(fd);
		run_sleep(10);
	}
	assert_int_equal(kill(program, 0), -1);
}

static void test_exec_stops_and_continues_with_the_program(void **state)
{
	struct run run;
	int status = 0;

	(void)state;
	run_start_how(&run,
		      ARGUMENTS(BUSLOCK, "exec", "sh", "-c",
				"echo ready; sleep 0.3; echo still there; exit 5"),
		      (struct run_how){ .own_group = true });
	run_wait_for(&run, "ready");
	kill(run.pid, SIGTSTP);
	for (int i = 0; i < 1000 && waitpid(run.pid, &status, WNOHANG | WUNTRACED) == 0; i++)
		run_sleep(10);
	if (!WIFSTOPPED(status)) {
		kill(-run.pid, SIGKILL);
		fail_msg("it did not stop: %#x", (unsigned)status);
	}
	assert_int_equal(WSTOPSIG(status), SIGTSTP);
	run_sleep(600);
	run_look(&run);
	assert_silent(run.out, "still there");
	kill(run.pid, SIGCONT);
	run_finish(&run);
	assert_exit(&run, 5);
	assert_says(run.out, "still there");
}

static void test_exec_ignored_signals_stay_ignored(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, "env", "--ignore-signal=HUP,CHLD", BUSLOCK, "exec", "grep", "SigIgn",
		    "/proc/self/status");
	assert_exit(&run, 0);
	assert_true((strtoull(strchr(run.out, ':') + 1, NULL, 16) & 0x10001) == 0x10001);
}

static void test_exec_program_has_no_signals_blocked(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "grep", "SigBlk", "/proc/self/status");
	assert_exit(&run, 0);
	assert_says(run.out, "0000000000000000");
}

static void test_exec_first_free_descriptor_is_three(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "ls", "/proc/self/fd");
	assert_exit(&run, 0);
	/* ls itself opens the directory. What the launcher leaves open is far away. */
	assert_int_equal(strncmp(run.out, "0\n1\n", 4), 0);
	assert_says(run.out, "\n3\n");
	assert_silent(run.out, "\n4\n");
}

/* ------------------------------------------------------------------ what is refused */

static void refused(const char *path, int status, const char *why)
{
	struct run run;

	run_program(&run, BUSLOCK, "exec", path);
	assert_exit(&run, status);
	assert_says(run.err, path);
	assert_says(run.err, why);
}

/* The head of an ELF program, with an interpreter unless that is NULL. */
static const char *write_elf(const char *name, uint8_t class, uint16_t machine,
			     const char *interpreter)
{
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr segment;
		char text[64];
	} file;

	memset(&file, 0, sizeof(file));
	memcpy(file.header.e_ident, ELFMAG, SELFMAG);
	file.header.e_ident[EI_CLASS] = class;
	file.header.e_ident[EI_DATA] = ELFDATA2LSB;
	file.header.e_ident[EI_VERSION] = EV_CURRENT;
	file.header.e_type = ET_DYN;
	file.header.e_machine = machine;
	file.header.e_phoff = sizeof(file.header);
	file.header.e_phentsize = sizeof(file.segment);
	file.header.e_phnum = 1;
	file.segment.p_type = interpreter ? PT_INTERP : PT_LOAD;
	file.segment.p_offset = sizeof(file.header) + sizeof(file.segment);
	file.segment.p_filesz = sizeof(file.text);
	strcpy(file.text, interpreter ? interpreter : "");
	return write_file(name, &file, sizeof(file), 0755);
}

static void test_exec_programs_that_escape_are_refused(void **state)
{
	struct run run;

	(void)state;
	refused(write_elf("static", ELFCLASS64, EM_X86_64, NULL), 126, "statically linked");
	refused(write_elf("small", ELFCLASS32, EM_386, "/lib/ld-linux.so.2"), 126, "32-bit");
	refused(write_elf("x32", ELFCLASS32, EM_X86_64, "/libx32/ld-linux-x32.so.2"), 126,
		"32-bit");
	refused(write_elf("arm", ELFCLASS64, EM_AARCH64, "/lib/ld-linux-aarch64.so.1"), 126,
		"arm64");
	refused(write_elf("musl", ELFCLASS64, EM_X86_64, "/lib/ld-musl-x86_64.so.1"), 126,
		"another C library");
	/* The same frame is let through where nothing is wrong with it. */
	run_program(&run, BUSLOCK, "exec", "-n",
		    write_elf("good", ELFCLASS64, EM_X86_64, "/lib64/ld-linux-x86-64.so.2"));
	assert_exit(&run, 0);
}

static void test_exec_damaged_elf_is_refused(void **state)
{
	Elf64_Ehdr header;

	(void)state;
	refused(write_file("head", ELFMAG, SELFMAG, 0755), 126, "damaged");
	memset(&header, 0, sizeof(header));
	memcpy(header.e_ident, ELFMAG, SELFMAG);
	header.e_ident[EI_CLASS] = ELFCLASS64;
	header.e_ident[EI_DATA] = ELFDATA2LSB;
	header.e_machine = EM_X86_64;
	header.e_phoff = ~0ull - 8;
	header.e_phentsize = sizeof(Elf64_Phdr);
	header.e_phnum = 3;
	refused(write_file("damaged", &header, sizeof(header), 0755), 126, "damaged");
	refused(write_file("cut", &header, 30, 0755), 126, "damaged");
}

static void test_exec_missing_or_unexecutable_program_is_told_as_a_shell_does(void **state)
{
	struct run run;

	(void)state;
	refused(in_directory("nothing"), 127, "not found");
	refused(write_file("plain", "#!/bin/sh\n", 10, 0644), 126, "not executable");
	refused(directory, 126, "directory");
	run_program(&run, BUSLOCK, "exec", "no-such-program-in-path");
	assert_exit(&run, 127);
	assert_says(run.err, "not found in PATH");
	run_how(&run, ARGUMENTS(BUSLOCK, "exec", "plain"),
		(struct run_how){ .variable = "PATH=/tmp:/bin" });
	assert_exit(&run, 127);
}

static void test_exec_scripts_are_judged_by_their_interpreter(void **state)
{
	struct run run;
	char text[512];
	const char *path;

	(void)state;
	path = write_script("script", "#! /bin/sh -u\necho \"$0: $1\"\nexit 9\n");
	run_program(&run, BUSLOCK, "exec", path, "argument");
	assert_exit(&run, 9);
	assert_says(run.out, "/script: argument\n");

	path = write_script("bare", "echo bare $1\nexit 8\n"); /* execvp() runs it by sh */
	run_program(&run, BUSLOCK, "exec", path, "argument");
	assert_exit(&run, 8);
	assert_string_equal(run.out, "bare argument\n");

	snprintf(text, sizeof(text), "#!%s\n", write_elf("static", ELFCLASS64, EM_X86_64, NULL));
	path = write_script("by-static", text);
	run_program(&run, BUSLOCK, "exec", path);
	assert_exit(&run, 126);
	assert_says(run.err, "statically linked");

	snprintf(text, sizeof(text), "#!%s\n", path);
	path = write_script("by-script", text);
	run_program(&run, BUSLOCK, "exec", path);
	assert_exit(&run, 126);
	assert_says(run.err, "statically linked");

	refused(write_script("lost", "#!/nowhere/sh\n"), 127, "/nowhere/sh");
}

static void test_exec_set_uid_program_of_another_user_is_refused(void **state)
{
	const char *path;
	struct run run;

	(void)state;
	if (getuid() != 0) {
		/* Every Debian has this one. */
		if (access("/bin/su", X_OK) < 0)
			skip();
		refused("/bin/su", 126, "set-user-ID");
		return;
	}
	path = copy_of_true("set-uid", 0755);
	assert_return_code(chown(path, NOBODY, NOBODY), errno);
	assert_return_code(chmod(path, 04755), errno);
	refused(path, 126, "set-user-ID");
	assert_return_code(chmod(path, 02755), errno);
	refused(path, 126, "set-group-ID");
	/* To who one is already: no secure mode. */
	assert_return_code(chown(path, 0, 0), errno);
	assert_return_code(chmod(path, 04755), errno);
	run_program(&run, BUSLOCK, "exec", path);
	assert_exit(&run, 0);
}

static void test_exec_program_with_file_capabilities_is_refused(void **state)
{
	/* struct vfs_cap_data, revision 2: cap_net_raw, permitted and effective. */
	static const uint32_t capability[5] = { 0x02000001, 1 << 13, 0, 0, 0 };
	const char *path;
	struct run run;

	(void)state;
	if (getuid() != 0) {
		print_message("skip: only root can give a file capabilities\n");
		skip();
	}
	path = copy_of_true("capable", 0755);
	if (setxattr(path, "security.capability", capability, sizeof(capability), 0) < 0) {
		print_message("skip: %s: %s\n", path, strerror(errno));
		skip();
	}
	run_how(&run, ARGUMENTS(BUSLOCK, "exec", path), (struct run_how){ .uid = NOBODY });
	assert_exit(&run, 126);
	assert_says(run.err, "capabilities");
	run_program(&run, BUSLOCK, "exec", path);
	assert_exit(&run, 0);
}

/* ------------------------------------------------------------------ sanitizers */

/* clang links its runtimes into the program, gcc loads them: first of all, or they refuse. */
static void sanitized(const char *compiler, const char *sanitizer)
{
	const char *program = in_directory("sanitized");
	struct run run;
	char flag[64];

	snprintf(flag, sizeof(flag), "-fsanitize=%s", sanitizer);
	run_program(&run, "sh", "-c", "command -v \"$0\"", compiler);
	if (run.status) {
		print_message("skip: no %s here\n", compiler);
		return;
	}
	run_program(&run, compiler, "-g", "-D_GNU_SOURCE", flag, "-I", BUSLOCK_SOURCE_DIR, "-o",
		    program, BUSLOCK_SOURCE_DIR "/tests/programs/process.c", "-lpthread");
	if (run.status) {
		print_message("skip: %s cannot link %s:\n%s", compiler, flag, run.err);
		return;
	}
	run_program(&run, BUSLOCK, "exec", program, "memory");
	assert_exit(&run, 0);
	run_program(&run, BUSLOCK, "exec", program, "leak");
	assert_exit(&run, 0);
	assert_silent(run.err, "Sanitizer");
	/* A fault of the program's own is still the sanitizer's to report. */
	run_program(&run, BUSLOCK, "exec", program, "crash");
	if (!strcmp(sanitizer, "undefined"))
		return;
	assert_says(run.err, "Sanitizer");
	assert_true(run.status != 0);
}

static void test_exec_address_sanitizer_works(void **state)
{
	(void)state;
	sanitized("gcc", "address");
	sanitized("clang", "address");
}

static void test_exec_other_sanitizers_work(void **state)
{
	(void)state;
	sanitized("gcc", "undefined");
	sanitized("gcc", "thread");
	sanitized("clang", "thread");
}

/* ------------------------------------------------------------------ report and expectations */

static void test_exec_report_goes_where_it_is_told(void **state)
{
	const char *file = in_directory("report.json");
	char text[4096], option[300];
	struct run run;
	FILE *written;

	(void)state;
	snprintf(option, sizeof(option), "--report=%s", file);
	run_program(&run, BUSLOCK, "exec", option, PROGRAM("process"), "raw-mmap");
	assert_exit(&run, 0);
	assert_string_equal(run.err, "");
	written = fopen(file, "r");
	assert_non_null(written);
	text[fread(text, 1, sizeof(text) - 1, written)] = 0;
	fclose(written);
	assert_int_equal(text[0], '{');
	run_program(&run, BUSLOCK, "exec", "--report", PROGRAM("process"), "raw-mmap");
	assert_exit(&run, 0);
	assert_true(strlen(run.err) > 40);
	assert_string_equal(run.out, "");
}

/* Status 2 would say that nothing was run. */
static void test_exec_what_cannot_be_written_after_the_run_is_125(void **state)
{
	static const char *const options[] = { "--report=/dev/full", "--folded=/dev/full" };
	struct run run;

	(void)state;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		run_program(&run, BUSLOCK, "exec", options[i], PROGRAM("run_guest"), "--offset",
			    "62", BUSLOCK_BUILD_DIR "/tests/guests/selftest64.bin");
		assert_exit(&run, 125);
		assert_says(run.err, "/dev/full: No space left on device");
	}
}

static void test_exec_trace_that_another_run_writes_is_left_alone(void **state)
{
	const char *file = in_directory("live.jsonl");
	char option[300], inner[1200];
	struct run run;

	(void)state;
	snprintf(option, sizeof(option), "--trace=%s", file);
	snprintf(inner, sizeof(inner), "%s exec %s true; test $? = 2 && test -s %s", BUSLOCK,
		 option, file);
	run_program(&run, BUSLOCK, "exec", option, "sh", "-c", inner);
	assert_exit(&run, 0);
	assert_says(run.err, "another run");
	run_program(&run, BUSLOCK, "exec", option, "true"); /* it has ended */
	assert_exit(&run, 0);
}

static void test_exec_report_survives_death_by_sigkill(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--report", "sh", "-c", "kill -KILL $$");
	assert_killed(&run, SIGKILL);
	assert_true(strlen(run.err) > 40);
}

static void test_exec_expectation_decides_the_status_of_a_success(void **state)
{
	struct run run;

	(void)state;
	run_program(&run, BUSLOCK, "exec", "--expect=runs>=1", PROGRAM("process"), "raw-mmap");
	assert_exit(&run, 0);
	run_program(&run, BUSLOCK, "exec", "--expect=runs==0", PROGRAM("process"), "raw-mmap");
	assert_exit(&run, 1);
	assert_says(run.err, "runs");
	/* Its own failure comes first. */
	run_program(&run, BUSLOCK, "exec", "--expect=runs==7", "sh", "-c", "exit 6");
	assert_exit(&run, 6);
	assert_says(run.err, "runs");
	run_program(&run, BUSLOCK, "exec", "--expect=runs==0", "--success=33", "sh", "-c",
		    "exit 33");
	assert_exit(&run, 0);
	run_program(&run, BUSLOCK, "exec", "--expect=runs==0", "--success=33", "sh", "-c",
		    "exit 0");
	assert_true(WEXITSTATUS(run.status) != 0);
}

static void test_exec_report_counts_what_children_do(void **state)
{
	struct run run;

	(void)state;
	/* Also behind a program that closes every descriptor it does not know. */
	run_program(&run, BUSLOCK, "exec", "--expect=runs>=1", "sh", "-c",
		    PROGRAM("process") " raw-mmap; true");
	assert_exit(&run, 0);
	run_program(&run, BUSLOCK, "exec", "--expect=runs>=1", PROGRAM("process"),
		    "close-and-execute");
	assert_exit(&run, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exec_dry_run_prints_the_command_for_a_shell),
		cmocka_unit_test(test_exec_dry_run_starts_nothing),
		cmocka_unit_test(test_exec_options_after_the_program_are_the_programs),
		cmocka_unit_test(test_exec_bad_options_are_named_and_nothing_runs),
		cmocka_unit_test(test_exec_library_elsewhere_is_named_by_the_environment),
		cmocka_unit_test(test_exec_users_own_preload_stays_behind_ours),
		cmocka_unit_test(test_exec_run_without_emulation_is_not_a_success),
		cmocka_unit_test(test_exec_exit_status_is_the_programs),
		cmocka_unit_test(test_exec_death_by_signal_is_repeated),
		cmocka_unit_test(test_exec_signals_reach_the_program_once),
		cmocka_unit_test(test_exec_killed_launcher_takes_the_program_along),
		cmocka_unit_test(test_exec_stops_and_continues_with_the_program),
		cmocka_unit_test(test_exec_ignored_signals_stay_ignored),
		cmocka_unit_test(test_exec_program_has_no_signals_blocked),
		cmocka_unit_test(test_exec_first_free_descriptor_is_three),
		cmocka_unit_test(test_exec_programs_that_escape_are_refused),
		cmocka_unit_test(test_exec_damaged_elf_is_refused),
		cmocka_unit_test(test_exec_missing_or_unexecutable_program_is_told_as_a_shell_does),
		cmocka_unit_test(test_exec_scripts_are_judged_by_their_interpreter),
		cmocka_unit_test(test_exec_set_uid_program_of_another_user_is_refused),
		cmocka_unit_test(test_exec_program_with_file_capabilities_is_refused),
		cmocka_unit_test(test_exec_address_sanitizer_works),
		cmocka_unit_test(test_exec_other_sanitizers_work),
		cmocka_unit_test(test_exec_report_goes_where_it_is_told),
		cmocka_unit_test(test_exec_report_survives_death_by_sigkill),
		cmocka_unit_test(test_exec_what_cannot_be_written_after_the_run_is_125),
		cmocka_unit_test(test_exec_trace_that_another_run_writes_is_left_alone),
		cmocka_unit_test(test_exec_expectation_decides_the_status_of_a_success),
		cmocka_unit_test(test_exec_report_counts_what_children_do),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
