// SPDX-License-Identifier: GPL-2.0-only
/* The trace's writer: what it writes is what is read, whatever happens in between. */
#include "tests/unit/trace_file.h"

/* ------------------------------------------------------------------ writing */

static void test_trace_each_event_has_its_fields(void **state)
{
	struct file *f = *state;
	const struct trace_end end = { .status = -9, .virtual_time = true };
	char *text;

	create(f, true);
	f->trace.clock = fixed_clock;
	write_all(&f->trace);
	assert_int_equal(trace_finish(&f->trace, &end), 0);
	text = read_file(f->path);
#define COMMON(name, vcpu) \
	"{\"event\":\"" name "\",\"time\":12345,\"process\":0,\"vm\":0,\"vcpu\":" vcpu
	assert_string_equal(
		text,
		"{\"schema\":\"buslock-trace\",\"version\":1,\"tool\":\"buslock " BUSLOCK_VERSION
		"\",\"backend\":\"emulator\",\"options\":\"vendor=intel\",\"time\":\"virtual\"}\n"
		/* */ COMMON("vm_created", "null") "}\n"   /* */
		COMMON("vcpu_created", "1") ",\"id\":5}\n" /* */
		COMMON("capability", "null") ",\"capability\":193,\"name\":\"X86_BUS_LOCK_EXIT\","
					     "\"args\":[\"0x2\",\"0x0\",\"0xffffffffffffffff\","
					     "\"0x1\"],\"result\":-22,\"error\":\"EINVAL\"}\n" /* */
		COMMON("run", "1") ",\"immediate_exit\":true}\n"                               /* */
		COMMON("bus_lock", "1") ",\"cause\":[\"split\",\"stuffed\"],\"linear\":\"0x203e\","
					"\"gpa\":\"0x13e\",\"size\":4,\"rip\":\"0x10\","
					"\"linear_rip\":\"0x1010\",\"bytes\":\"f0ff07\","
					"\"mode\":64,\"cpl\":3,\"memory_type\":\"WB\","
					"\"guest_memory_type\":\"UC-\",\"stuffed\":\"descriptor\","
					"\"in_delivery\":true}\n" /* */
		COMMON("exit", "1") ",\"result\":0,\"reason\":33,\"reason_name\":\"X86_BUS_LOCK\","
				    "\"flags\":7,\"flag_names\":[\"SMM\",\"BUS_LOCK\","
				    "\"GUEST_MODE\"],\"word\":\"0x400004a\",\"rip\":\"0x7c05\","
				    "\"linear_rip\":\"0xffffffff81000010\",\"registers\":"
				    "\"0xcbf29ce484222325\",\"kept\":true}\n" /* */
		COMMON("host_message", "1") ",\"text\":\"#AC: CPU 0/KVM/1 took a split_lock "
					    "trap\"}\n" /* */
		COMMON("sleep",
		       "1") ",\"who\":\"host\",\"ns\":10000000,\"interrupted\":true}\n" /* */
			    "{\"event\":\"nondeterministic\",\"time\":12345,\"process\":0,\"vm\":"
			    "null,\"vcpu\":null,\"why\":\"a thread runs beside it\"}\n" /* */
		COMMON("locked", "1") ",\"linear\":\"0x203e\",\"gpa\":\"0x13e\",\"size\":4,"
				      "\"rip\":\"0x10\",\"linear_rip\":\"0x1010\",\"bytes\":"
				      "\"f0ff07\",\"mode\":64,\"cpl\":3,\"memory_type\":\"WB\","
				      "\"guest_memory_type\":\"UC-\"}\n" /* */
		COMMON("not_covered",
		       "1") ",\"rip\":\"0x10\",\"why\":\"a split lock\"}\n"
			    "{\"event\":\"end\",\"time\":12345,\"status\":null,\"signal\":9,"
			    "\"deterministic\":false,\"why\":\"a thread runs beside "
			    "it\",\"lost\":0,"
			    "\"events\":{\"vm_created\":1,\"vcpu_created\":1,\"capability\":1,"
			    "\"run\":1,"
			    "\"exit\":1,\"bus_lock\":1,\"host_message\":1,\"sleep\":1,"
			    "\"nondeterministic\":1,\"locked\":1,\"not_covered\":1,"
			    "\"vm_exit\":0,\"vm_entry\":0}}\n");
	free(text);
}

static void test_trace_without_one_nothing_happens(void **state)
{
	(void)state;
	write_all(NULL);
	trace_after_fork(NULL);
}

static void test_trace_unknown_numbers_have_no_names(void **state)
{
	static const uint64_t args[4];
	struct file *f = *state;
	struct seen seen;
	char *text;

	create(f, true);
	trace_note_exit(&f->trace, 0, 0,
			&(const struct trace_exit){ .reason = 4000, .result = -4, .flags = 8 });
	trace_note_capability(&f->trace, 0, 9999, NULL, args, 0);
	trace_note_lock(
		&f->trace, 0, 0,
		&(const struct report_lock){
			.memory_type = 3, .guest_type = 10, .stuffed = 77, .insn_length = 200 });
	text = read_file(f->path);
	assert_non_null(strstr(text, "\"result\":-4,\"error\":\"EINTR\",\"reason\":4000,"
				     "\"reason_name\":null,\"flags\":8,\"flag_names\":[]}"));
	assert_non_null(strstr(text, "\"name\":null"));
	assert_non_null(strstr(text, "\"bytes\":\"000000000000000000000000000000\""));
	assert_non_null(strstr(text, "\"memory_type\":\"reserved\",\"guest_memory_type\":"
				     "\"reserved\",\"stuffed\":null"));
	free(text);
	seen = read_trace(f->path);
	assert_int_equal(seen.good, 4);
	assert_int_equal(seen.bad, 0);
}

/* A thread may be called anything. Each comes back as it went in, but for what is no UTF-8. */
static void test_trace_text_is_escaped(void **state)
{
	static const struct {
		const char *text, *read;
	} cases[] = {
		{ "plain", "plain" },
		{ "a\"b\\c/d", "a\"b\\c/d" },
		{ "\n\t\r\x01\x1f\x7f", "\n\t\r\x01\x1f\x7f" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8c", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8c" },
		{ "\xff!", "\xef\xbf\xbd!" },
		{ "\xc3", "\xef\xbf\xbd" },                 /* ends in the middle */
		{ "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" }, /* overlong */
		{ "\xe0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* a surrogate */
		{ "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xf0\x80\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
	};
	struct file *f = *state;
	struct trace_reader *reader;
	struct trace_line line;
	struct json_object *text;
	char why[256];

	create(f, false);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		trace_note_host_message(&f->trace, 0, 0, cases[i].text);
	assert_int_equal(trace_reader_open(&reader, f->path), 0);
	assert_int_equal(trace_reader_next(reader, &line, why, sizeof(why)), TRACE_READ_GOOD);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(trace_reader_next(reader, &line, why, sizeof(why)),
				 TRACE_READ_GOOD);
		assert_true(json_object_object_get_ex(line.json, "text", &text));
		assert_string_equal(json_object_get_string(text), cases[i].read);
		assert_false(json_object_object_get_ex(line.json, "cut", &text));
	}
	trace_reader_close(reader);
}

static void test_trace_long_text_is_cut_and_says_so(void **state)
{
	struct file *f = *state;
	static const char fills[] = { 'x', '\x01', '\xff' };
	char long_text[5000], *text;
	struct seen seen;

	create(f, false);
	for (size_t i = 0; i < sizeof(fills); i++) {
		memset(long_text, fills[i], sizeof(long_text) - 1);
		long_text[sizeof(long_text) - 1] = 0;
		trace_note_host_message(&f->trace, 0, 0, long_text);
	}
	text = read_file(f->path);
	assert_non_null(strstr(text, "xxx\",\"cut\":true}\n"));
	assert_non_null(strstr(text, "\\u0001\",\"cut\":true}\n"));
	assert_non_null(strstr(text, "\\ufffd\",\"cut\":true}\n"));
	free(text);
	seen = read_trace(f->path);
	assert_int_equal(seen.good, 4);
	assert_int_equal(seen.bad, 0);
}

static void test_trace_time_real_counts_from_the_beginning(void **state)
{
	struct file *f = *state;
	uint64_t before = report_now(), after;
	char *text, *at;

	create(f, false);
	trace_note_vm_created(&f->trace, 3);
	after = report_now();
	text = read_file(f->path);
	at = strstr(text, "\n{\"event\":\"vm_created\",\"time\":");
	assert_non_null(at);
	assert_true(strtoull(at + strlen("\n{\"event\":\"vm_created\",\"time\":"), NULL, 10) <=
		    after - before);
	assert_non_null(strstr(at, "\"vm\":3"));
	/* and the header says when that was, and what was run */
	assert_non_null(strstr(text, "\"time\":\"real\",\"host\":{\"cpu\":\""));
	assert_non_null(strstr(text, "\"command\":[\"guest \\\"1\\\" ?\xc3\xa4\"]}}\n"));
	free(text);
}

static void test_trace_end_says_why_it_is_not_deterministic(void **state)
{
	struct file *f = *state;
	const struct trace_end real = { .status = 3 };
	const struct trace_end virtual = { .status = 0, .virtual_time = true };
	char *text;

	create(f, false);
	assert_int_equal(trace_finish(&f->trace, &real), 0);
	text = read_file(f->path);
	assert_non_null(strstr(text, "\"status\":3,\"signal\":null,\"deterministic\":false,"
				     "\"why\":\"time is real\""));
	free(text);
	trace_close(&f->trace);
	create(f, true);
	assert_int_equal(trace_finish(&f->trace, &virtual), 0);
	text = read_file(f->path);
	assert_non_null(strstr(text, "\"status\":0,\"signal\":null,\"deterministic\":true,"
				     "\"why\":null"));
	free(text);
	/* the first reason is kept, and said once */
	trace_note_nondeterministic(&f->trace, "first");
	trace_note_nondeterministic(&f->trace, "second");
	assert_int_equal(trace_finish(&f->trace, &virtual), 0);
	text = read_file(f->path);
	assert_non_null(strstr(text, "\"deterministic\":false,\"why\":\"first\""));
	assert_null(strstr(text, "second"));
	free(text);
}

/* ------------------------------------------------------------------ many writers */

#define THREADS   4
#define PROCESSES 3
#define LINES     2000

static void *write_lines(void *opaque)
{
	for (int i = 0; i < LINES; i++)
		trace_note_run(opaque, 0, 7, false);
	return NULL;
}

static void test_trace_lines_of_threads_and_processes_stay_whole(void **state)
{
	struct file *f = *state;
	pid_t children[PROCESSES];
	pthread_t threads[THREADS];
	struct seen seen;
	char *text;
	int status;

	create(f, false);
	trace_note_vm_created(&f->trace, 0);
	for (int i = 0; i < PROCESSES; i++) {
		children[i] = fork();
		assert_true(children[i] >= 0);
		if (!children[i]) {
			trace_after_fork(&f->trace);
			write_lines(&f->trace);
			_exit(0);
		}
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &f->trace), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < PROCESSES; i++) {
		waitpid(children[i], &status, 0);
		assert_int_equal(status, 0);
	}
	assert_int_equal(trace_finish(&f->trace, &(const struct trace_end){ 0 }), 0);
	seen = read_trace(f->path);
	if (seen.bad)
		print_message("line %lu: %s\n", seen.last_bad, seen.why);
	assert_int_equal(seen.bad, 0);
	assert_int_equal(seen.events[TRACE_RUN], (THREADS + PROCESSES) * LINES);
	/* each process has its number */
	text = read_file(f->path);
	assert_non_null(strstr(text, "\"process\":0,"));
	assert_non_null(strstr(text, "\"process\":3,"));
	assert_null(strstr(text, "\"process\":4,"));
	free(text);
}

/* What a killed process has written is there; nothing of it is half. */
static void test_trace_killed_writer_leaves_whole_lines(void **state)
{
	struct file *f = *state;

	create(f, false);
	for (int i = 0; i < 20; i++) {
		uint64_t before, counted, written;
		struct seen seen;
		pid_t child = fork();
		int status;

		assert_true(child >= 0);
		if (!child) {
			trace_after_fork(&f->trace);
			for (;;)
				trace_note_run(&f->trace, 0, 0, false);
		}
		before = f->counts->events[TRACE_RUN];
		while (f->counts->events[TRACE_RUN] < before + 5)
			usleep(100 + (unsigned)i * 37);
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		assert_true(WIFSIGNALED(status));
		seen = read_trace(f->path);
		/* dying inside the kernel's write() is rare: it looks for that between two pages */
		assert_in_range(seen.bad, 0, i + 1);
		if (seen.bad)
			assert_non_null(strstr(seen.why, "cut short"));
		counted = f->counts->events[TRACE_RUN];
		written = seen.events[TRACE_RUN];
		/* each may have died between writing a line and counting it */
		assert_in_range(written, counted, counted + (uint64_t)i + 1);
	}
}

static void test_trace_full_disk_costs_lines_and_is_said(void **state)
{
	struct file *f = *state;
	struct rlimit limit, old;
	struct seen seen;
	struct stat st;

	create(f, false);
	trace_note_run(&f->trace, 0, 0, false);
	assert_int_equal(stat(f->path, &st), 0);
	getrlimit(RLIMIT_FSIZE, &old);
	/* room for half a line: the kernel writes that half */
	limit = old;
	limit.rlim_cur = (rlim_t)st.st_size + 20;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	/* as in a monitor that starts with it: SIGXFSZ does not kill */
	assert_int_equal(trace_attach(&f->trace, f->trace.fd, f->counts), 0);
	trace_note_run(&f->trace, 0, 0, true);
	trace_note_run(&f->trace, 0, 0, true);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	trace_note_sleep(&f->trace, 0, 0, TRACE_SLEEP_POLICY, 1, false);
	trace_note_run(&f->trace, 0, 0, false);
	assert_int_equal(f->counts->lost, 2);
	assert_int_equal(trace_finish(&f->trace, &(const struct trace_end){ 0 }), -EIO);
	seen = read_trace(f->path);
	/* header, run, sleep, run, end; the torn one alone is bad */
	assert_int_equal(seen.good, 5);
	assert_int_equal(seen.bad, 1);
	assert_int_equal(seen.last_bad, 3);
	assert_non_null(strstr(seen.why, "cut short"));
	assert_int_equal(seen.events[TRACE_SLEEP], 1);
}

/* ------------------------------------------------------------------ the file */

static void test_trace_create_refuses_what_could_kill_the_monitor(void **state)
{
	struct file *f = *state;
	const struct trace_header header = { .backend = "emulator" };
	char why[128];

	unlink(f->path);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	assert_int_equal(trace_create(&f->trace, f->path, f->counts, &header, why, sizeof(why)),
			 -EINVAL);
	assert_non_null(strstr(why, "regular file"));
	assert_int_equal(trace_create(&f->trace, "/nonexistent/file", f->counts, &header, why,
				      sizeof(why)),
			 -ENOENT);
	assert_non_null(strstr(why, "No such file"));
	assert_int_equal(trace_create(&f->trace, "/tmp", f->counts, &header, why, sizeof(why)),
			 -EINVAL);
	assert_int_equal(trace_create(&f->trace, "/dev/null", f->counts, &header, why, sizeof(why)),
			 0);
	write_all(&f->trace);
	assert_int_equal(trace_finish(&f->trace, &(const struct trace_end){ 0 }), 0);
}

static void test_trace_existing_file_is_emptied(void **state)
{
	struct file *f = *state;

	create(f, false);
	write_all(&f->trace);
	trace_close(&f->trace);
	create(f, false);
	assert_int_equal(read_trace(f->path).good, 1);
}

/* Who opened the file by its path has a position of its own. */
static void test_trace_another_opening_of_the_file_overwrites_nothing(void **state)
{
	struct file *f = *state;
	struct trace other;
	struct seen seen;

	create(f, false);
	trace_note_run(&f->trace, 0, 0, false);
	assert_int_equal(trace_attach(&other, open(f->path, O_WRONLY | O_APPEND), f->counts), 0);
	trace_note_run(&other, 0, 1, false);
	trace_note_run(&f->trace, 0, 2, false);
	trace_close(&other);
	assert_int_equal(trace_finish(&f->trace, &(const struct trace_end){ 0 }), 0);
	seen = read_trace(f->path);
	assert_int_equal(seen.good, 5);
	assert_int_equal(seen.bad, 0);
}

static void test_trace_end_stands_on_a_line_of_its_own(void **state)
{
	struct file *f = *state;
	struct seen seen;

	create(f, false);
	trace_note_run(&f->trace, 0, 0, false);
	/* a writer that was killed in the middle */
	assert_int_equal(write(f->trace.fd, "{\"event\":\"ru", 12), 12);
	assert_int_equal(trace_finish(&f->trace, &(const struct trace_end){ 0 }), 0);
	seen = read_trace(f->path);
	assert_int_equal(seen.good, 3);
	assert_int_equal(seen.bad, 1);
	assert_string_equal(seen.why, "cut short: it ends in the middle of the object");
}

static void test_trace_memory_types_have_their_names(void **state)
{
	static const char *const names[] = { "UC", "WC", "reserved", "reserved",
					     "WT", "WP", "WB",       "UC-" };
	struct file *f = *state;

	create(f, false);
	for (uint8_t i = 0; i < 8; i++) {
		char *text, wanted[80];

		trace_note_lock(&f->trace, 0, 0,
				&(const struct report_lock){ .memory_type = i,
							     .guest_type = 7 - i });
		text = read_file(f->path);
		snprintf(wanted, sizeof(wanted),
			 "\"memory_type\":\"%s\",\"guest_memory_type\":\"%s\"", names[i],
			 names[7 - i]);
		assert_non_null(strstr(text, wanted));
		free(text);
	}
}

/* A number that now belongs to another file is not written to. */
static void test_trace_stolen_descriptor_is_noticed(void **state)
{
	struct file *f = *state;
	struct trace other;
	int fd, thief;

	create(f, false);
	fd = f->trace.fd;
	assert_int_equal(trace_attach(&other, fd, f->counts), 0);
	assert_true(trace_check(&other));
	thief = memfd_create("thief", 0);
	assert_true(thief >= 0);
	assert_int_equal(dup2(thief, fd), fd);
	assert_false(trace_check(&other));
	trace_note_vm_created(&other, 0);
	assert_int_equal(lseek(thief, 0, SEEK_END), 0);
	assert_int_equal(f->counts->lost, 1);
	assert_int_equal(trace_attach(&other, fd, f->counts), -EINVAL);
	assert_int_equal(trace_attach(&other, -1, f->counts), -EINVAL);
	close(thief);
}

/* FNV's published constants; the figures are from an implementation of another hand. */
static void test_trace_digest_is_fnv_1a(void **state)
{
	static const uint64_t letters = 0x6162636465666768;
	uint64_t words[TRACE_REGISTERS];

	(void)state;
	for (size_t i = 0; i < TRACE_REGISTERS; i++)
		words[i] = i;
	assert_int_equal(trace_digest(NULL, 0), 0xcbf29ce484222325);
	assert_int_equal(trace_digest(&letters, 1), 0xa588fa95f595c3d5);
	assert_int_equal(trace_digest(words, TRACE_REGISTERS), 0xf3aa094e7be7d844);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_trace_each_event_has_its_fields),
		TEST(test_trace_without_one_nothing_happens),
		TEST(test_trace_unknown_numbers_have_no_names),
		TEST(test_trace_text_is_escaped),
		TEST(test_trace_long_text_is_cut_and_says_so),
		TEST(test_trace_time_real_counts_from_the_beginning),
		TEST(test_trace_end_says_why_it_is_not_deterministic),
		TEST(test_trace_lines_of_threads_and_processes_stay_whole),
		TEST(test_trace_killed_writer_leaves_whole_lines),
		TEST(test_trace_full_disk_costs_lines_and_is_said),
		TEST(test_trace_create_refuses_what_could_kill_the_monitor),
		TEST(test_trace_existing_file_is_emptied),
		TEST(test_trace_another_opening_of_the_file_overwrites_nothing),
		TEST(test_trace_end_stands_on_a_line_of_its_own),
		TEST(test_trace_memory_types_have_their_names),
		TEST(test_trace_stolen_descriptor_is_noticed),
		TEST(test_trace_digest_is_fnv_1a),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
