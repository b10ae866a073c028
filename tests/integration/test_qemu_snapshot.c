/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * QEMU saves and restores a guest under `buslock exec`: savevm, loadvm, -loadvm, and migration to a file
 * while the guest runs, which goes by the dirty log. The guest (multiboot_count.asm) counts in memory,
 * in XMM0, in ST(0) and in DR1, and notices if they part.
 */
#include "tests/integration/process.h"

#include <sys/socket.h>
#include <sys/un.h>

#define GUEST_COUNT  0x8000
#define GUEST_FAILED 0x8004
#define PROMPT       "(qemu) "

struct qemu {
	pid_t pid;
	int monitor;
	char text[1 << 16]; /* the monitor's answer to the last command */
};

static char directory[] = "/tmp/buslock-snapshot-XXXXXX";
static char image[64], state_file[64], socket_path[64];

static void require_qemu(void)
{
	char *const qemu[] = { "qemu-system-x86_64", "--version", NULL };
	char *const img[] = { "qemu-img", "--version", NULL };
	struct output output[2];

	run_process(qemu, 30, &output[0]);
	run_process(img, 30, &output[1]);
	for (int i = 0; i < 2; i++) {
		if (output[i].status) {
			print_message("skipped: QEMU does not run: %s", output[i].errors);
			skip();
		}
		output_free(&output[i]);
	}
}

/* Until the prompt; the test fails after half a minute without one. */
static void monitor_read(struct qemu *q)
{
	double end = seconds_now() + 30;
	size_t n = 0;

	for (;;) {
		ssize_t r = recv(q->monitor, q->text + n, sizeof(q->text) - 1 - n, 0);

		if (r == 0 || seconds_now() > end)
			fail_msg("QEMU's monitor is gone; so far: %.*s", (int)n, q->text);
		if (r < 0)
			continue; /* SO_RCVTIMEO */
		n += (size_t)r;
		q->text[n] = 0;
		if (n >= strlen(PROMPT) && !strcmp(q->text + n - strlen(PROMPT), PROMPT))
			return;
	}
}

static void monitor(struct qemu *q, const char *command)
{
	char line[256];
	int n = snprintf(line, sizeof(line), "%s\n", command);

	assert_int_equal(send(q->monitor, line, (size_t)n, MSG_NOSIGNAL), n);
	monitor_read(q);
}

static uint32_t guest_word(struct qemu *q, unsigned address)
{
	char command[64];
	const char *at;

	snprintf(command, sizeof(command), "xp /1wx %#x", address);
	monitor(q, command);
	at = strstr(q->text, ": 0x");
	assert_non_null(at);
	return (uint32_t)strtoul(at + 2, NULL, 16);
}

static void monitor_connect(struct qemu *q)
{
	const struct timeval wait = { .tv_sec = 1 };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	double end = seconds_now() + 20;

	strcpy(address.sun_path, socket_path);
	q->monitor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(q->monitor >= 0);
	while (connect(q->monitor, (struct sockaddr *)&address, sizeof(address))) {
		struct timespec t = { .tv_nsec = 10000000 };

		if (seconds_now() > end || waitpid(q->pid, NULL, WNOHANG) == q->pid)
			fail_msg("QEMU does not open its monitor");
		nanosleep(&t, NULL);
	}
	setsockopt(q->monitor, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	monitor_read(q);
}

static void qemu_start(struct qemu *q, const char *machine, const char *more)
{
	char command[2048], *argv[MAX_WORDS + 1], *rest = command, *word;
	size_t n = 0;

	unlink(socket_path);
	snprintf(command, sizeof(command),
		 BUSLOCK
		 " exec -- qemu-system-x86_64 -accel kvm -M %s -nodefaults -no-user-config "
		 "-display none -m 32 -no-reboot -kernel " BUILT(
			 "tests/guests/multiboot_count.elf") " -drive if=none,format=qcow2,file=%s "
							     "-monitor "
							     "unix:%s,server=on,wait=off %s",
		 machine, image, socket_path, more);
	while (n < MAX_WORDS && (word = strtok_r(rest, " ", &rest))) {
		for (char *c = word; *c; c++)
			*c = *c == '\t' ? ' ' : *c; /* a space within a word */
		argv[n++] = word;
	}
	argv[n] = NULL;
	fflush(NULL);
	q->pid = fork();
	assert_true(q->pid >= 0);
	if (!q->pid) {
		int null = open("/dev/null", O_RDWR);

		setpgid(0, 0);
		dup2(null, 0);
		dup2(null, 1);
		if (!getenv("BUSLOCK_SHOW_OUTPUT"))
			dup2(null, 2);
		execv(argv[0], argv);
		_exit(127);
	}
	monitor_connect(q);
}

static void qemu_quit(struct qemu *q)
{
	assert_int_equal(send(q->monitor, "quit\n", 5, MSG_NOSIGNAL), 5);
	assert_int_equal(wait_with_limit(q->pid, 20), 0);
	close(q->monitor);
}

/* The guest counts on by at least 65,536 (DR1's step), and notices nothing wrong. */
static uint32_t expect_counting(struct qemu *q)
{
	double end = seconds_now() + 30;
	uint32_t first = guest_word(q, GUEST_COUNT), now;

	do {
		struct timespec t = { .tv_nsec = 20000000 };

		nanosleep(&t, NULL);
		assert_int_equal(guest_word(q, GUEST_FAILED), 0);
		now = guest_word(q, GUEST_COUNT);
		if (seconds_now() > end)
			fail_msg("the guest stands at %u (from %u)", now, first);
	} while (now < first + 70000);
	return now;
}

static const char *const machines[] = { "pc,kernel-irqchip=off", "q35,kernel-irqchip=off",
					"microvm,kernel-irqchip=off" };
#define MACHINES (sizeof(machines) / sizeof(machines[0]))

static struct qemu qemu;

static void make_image(void)
{
	char *const argv[] = { "qemu-img", "create", "-q", "-f", "qcow2", image, "64M", NULL };
	struct output output;

	run_process(argv, 30, &output);
	expect_status("qemu-img create", &output, 0);
	output_free(&output);
}

static void test_qemu_loadvm_brings_the_saved_state_back(void **state)
{
	(void)state;
	require_qemu();
	for (size_t i = 0; i < MACHINES; i++) {
		uint32_t saved, later, loaded;

		make_image();
		qemu_start(&qemu, machines[i], "");
		expect_counting(&qemu);
		monitor(&qemu, "stop");
		monitor(&qemu, "savevm one");
		saved = guest_word(&qemu, GUEST_COUNT);
		monitor(&qemu, "cont");
		later = expect_counting(&qemu);
		monitor(&qemu, "stop");
		monitor(&qemu, "loadvm one");
		loaded = guest_word(&qemu, GUEST_COUNT);
		assert_int_equal(loaded, saved);
		assert_true(loaded < later);
		monitor(&qemu, "cont");
		expect_counting(&qemu);
		qemu_quit(&qemu);

		/* in another process */
		qemu_start(&qemu, machines[i], "-S -loadvm one");
		assert_int_equal(guest_word(&qemu, GUEST_COUNT), saved);
		monitor(&qemu, "cont");
		expect_counting(&qemu);
		qemu_quit(&qemu);
	}
}

/* All memory is sent while the guest runs, and again what it has written meanwhile. */
static void test_qemu_migration_of_a_running_guest_loses_nothing(void **state)
{
	char command[128];

	(void)state;
	require_qemu();
	for (size_t i = 0; i < MACHINES; i++) {
		uint32_t sent;

		make_image();
		qemu_start(&qemu, machines[i], "");
		expect_counting(&qemu);
		snprintf(command, sizeof(command), "migrate \"exec:cat > %s\"", state_file);
		monitor(&qemu, command);
		monitor(&qemu, "info migrate");
		assert_non_null(strstr(qemu.text, "completed"));
		sent = guest_word(&qemu, GUEST_COUNT);
		qemu_quit(&qemu);

		snprintf(command, sizeof(command), "-S -incoming exec:cat\t%s", state_file);
		qemu_start(&qemu, machines[i], command);
		for (unsigned n = 0; n < 500; n++) {
			struct timespec t = { .tv_nsec = 10000000 };

			monitor(&qemu, "info status");
			if (!strstr(qemu.text, "inmigrate"))
				break;
			nanosleep(&t, NULL);
		}
		assert_int_equal(guest_word(&qemu, GUEST_COUNT), sent);
		monitor(&qemu, "cont");
		expect_counting(&qemu);
		qemu_quit(&qemu);
	}
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(image, sizeof(image), "%s/image", directory);
	snprintf(state_file, sizeof(state_file), "%s/state", directory);
	snprintf(socket_path, sizeof(socket_path), "%s/monitor", directory);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(image);
	unlink(state_file);
	unlink(socket_path);
	return rmdir(directory);
}

/* After a test that failed in the middle. */
static int end_qemu(void **state)
{
	(void)state;
	if (qemu.pid > 0 && waitpid(qemu.pid, NULL, WNOHANG) == 0) {
		kill(-qemu.pid, SIGKILL);
		waitpid(qemu.pid, NULL, 0);
	}
	qemu.pid = 0;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_qemu_loadvm_brings_the_saved_state_back, end_qemu),
		cmocka_unit_test_teardown(test_qemu_migration_of_a_running_guest_loses_nothing,
					  end_qemu),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
