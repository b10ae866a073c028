// SPDX-License-Identifier: GPL-2.0-only
/* The trace's reader: a bad line is named, the rest is used. */
#include "tests/unit/trace_file.h"

/* ------------------------------------------------------------------ reading */

#define HEADER                                                                                 \
	"{\"schema\":\"buslock-trace\",\"version\":1,\"tool\":\"t\",\"backend\":\"emulator\"," \
	"\"options\":null,\"time\":\"virtual\"}\n"
#define RUN(more)                                                                                  \
	"{\"event\":\"run\",\"time\":1,\"process\":0,\"vm\":0,\"vcpu\":0,\"immediate_exit\":" more \
	"}\n"

static const struct {
	const char *text;
	size_t good, bad;
	unsigned long number;
	const char *why;
} files[] = {
	{ HEADER RUN("true"), 2, 0, 0, "" },
	{ HEADER "\n\n" RUN("true"), 2, 0, 0, "" },
	/* more than this version knows */
	{ HEADER RUN("true,\"digest\":\"ab\""), 2, 0, 0, "" },
	{ HEADER "{\"event\":\"new\",\"time\":1,\"process\":0,\"vm\":0,\"vcpu\":null}\n", 2, 0, 0,
	  "" },
	/* broken lines, and good ones behind them */
	{ HEADER "{\"event\":\"ru\n" RUN("false"), 2, 1, 2, "cut short" },
	{ HEADER "garbage\n" RUN("false"), 2, 1, 2, "not JSON" },
	{ HEADER "{} {}\n" RUN("false"), 2, 1, 2, "not JSON" },
	{ HEADER "[1]\n" RUN("false"), 2, 1, 2, "not an object" },
	{ HEADER "null\n" RUN("false"), 2, 1, 2, "not an object" },
	{ HEADER "{\"text\":\"\xff\"}\n" RUN("false"), 2, 1, 2, "not JSON" },
	{ HEADER "{\"time\":1}\n" RUN("false"), 2, 1, 2, "neither" },
	{ HEADER RUN("true") "{\"event\":\"run\",\"time\":1", 2, 1, 3, "cut short" },
	/* even where what is there is an object */
	{ HEADER "{\"event\":\"vm_created\",\"time\":1,\"process\":0,\"vm\":0,\"vcpu\":null}", 1, 1,
	  2, "cut short" },
	/* a writer that was killed, and another that was not */
	{ HEADER "{\"event\":\"run\",\"time\":1,\"pro" RUN("true") RUN("true"), 3, 1, 2,
	  "another line" },
	{ HEADER "{\"event\":\"run\",\"ti{\"event\":\"r" RUN("true") RUN("true"), 3, 2, 2,
	  "another line" },
	{ HEADER "{\"event\":\"host_message\",\"time\":1,\"process\":0,\"vm\":0,\"vcpu\":0,"
		 "\"text\":\"{\\\"event\\\":\\\"run\\\"" RUN("true"),
	  2, 1, 2, "another line" },
	/* fields */
	{ HEADER RUN("1"), 1, 1, 2, "\"immediate_exit\" is 1, and should be true or false" },
	{ HEADER RUN("null"), 1, 1, 2, "\"immediate_exit\" is null" },
	{ HEADER "{\"event\":\"run\",\"process\":0,\"vm\":0,\"vcpu\":0,\"immediate_exit\":true}\n",
	  1, 1, 2, "\"time\" is missing" },
	{ HEADER "{\"event\":\"new\",\"time\":-1,\"process\":0,\"vm\":0,\"vcpu\":null}\n", 1, 1, 2,
	  "\"time\" is -1" },
	{ HEADER "{\"event\":\"new\",\"time\":1.5,\"process\":0,\"vm\":0,\"vcpu\":null}\n", 1, 1, 2,
	  "\"time\" is 1.5" },
	{ HEADER "{\"event\":\"exit\",\"time\":1,\"process\":0,\"vm\":0,\"vcpu\":0,\"result\":0,"
		 "\"reason\":2,\"reason_name\":\"IO\",\"flags\":0,\"flag_names\":[1]}\n",
	  1, 1, 2, "\"flag_names\"" },
	{ HEADER
	  "{\"event\":\"exit\",\"time\":1,\"process\":0,\"vm\":0,\"vcpu\":0,\"result\":0,"
	  "\"reason\":2,\"reason_name\":\"IO\",\"flags\":0,\"flag_names\":[],\"rip\":\"12\"}\n",
	  1, 1, 2, "\"rip\" is \"12\", and should be a string such as \"0x1f\"" },
	{ HEADER "{\"event\":\"exit\",\"time\":1,\"process\":0,\"vm\":0,\"vcpu\":0,"
		 "\"result\":-9999999999,"
		 "\"reason\":2,\"reason_name\":\"IO\",\"flags\":0,\"flag_names\":[]}\n",
	  1, 1, 2, "\"result\"" },
	/* the header */
	{ RUN("true") RUN("true"), 1, 1, 1, "no header" },
	{ HEADER HEADER, 1, 1, 2, "second header" },
	{ "{\"schema\":\"report\"}\n" RUN("true"), 1, 1, 1, "schema \"report\"" },
	{ "{\"schema\":\"buslock-trace\",\"version\":2,\"tool\":\"t\",\"backend\":\"emulator\","
	  "\"options\":null,\"time\":\"virtual\"}\n" RUN("true"),
	  1, 1, 1, "version 2" },
	{ "{\"schema\":\"buslock-trace\",\"version\":1}\n", 0, 1, 1, "\"tool\" is missing" },
	/* the end */
	{ HEADER RUN("true") "{\"event\":\"end\",\"time\":1,\"status\":0,\"signal\":null,"
			     "\"deterministic\":true,\"why\":null,\"lost\":0,\"events\":{\"run\":1}"
			     "}\n",
	  3, 0, 0, "" },
	{ HEADER RUN("true") "{\"event\":\"end\",\"time\":1,\"status\":0,\"signal\":null,"
			     "\"deterministic\":true,\"why\":null,\"lost\":0,\"events\":{\"run\":2}"
			     "}\n",
	  2, 1, 3, "2 lines \"run\" were written, 1 of them" },
	{ HEADER "{\"event\":\"end\",\"time\":1}\n", 1, 1, 2, "\"status\" is missing" },
	{ "", 0, 0, 0, "" },
};

static void put_file(const char *path, const char *text, size_t n)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	close(fd);
}

static void test_trace_read_names_bad_lines_and_uses_the_rest(void **state)
{
	struct file *f = *state;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct seen seen;

		put_file(f->path, files[i].text, strlen(files[i].text));
		seen = read_trace(f->path);
		if (seen.good != files[i].good || seen.bad != files[i].bad ||
		    seen.last_bad != files[i].number || !strstr(seen.why, files[i].why))
			fail_msg("case %zu: %lu good, %lu bad, line %lu: %s\n%s", i, seen.good,
				 seen.bad, seen.last_bad, seen.why, files[i].text);
	}
}

static void test_trace_read_nul_is_no_end_of_a_line(void **state)
{
	static const char text[] = HEADER
		"{\"event\":\"vm_created\",\"time\":1,\"process\":0,\"vm\":"
		"0,\"vcpu\":null}\0garbage\n" RUN("true");
	struct file *f = *state;
	struct seen seen;

	put_file(f->path, text, sizeof(text) - 1);
	seen = read_trace(f->path);
	assert_int_equal(seen.good, 2);
	assert_int_equal(seen.last_bad, 2);
}

/* Cut anywhere: at most the last line is bad, and all before it are as they were. */
static void test_trace_read_cut_anywhere_loses_one_line(void **state)
{
	struct file *f = *state;
	size_t lines = 0;
	char *text;

	create(f, false);
	write_all(&f->trace);
	text = read_file(f->path);
	for (size_t n = 0; n <= strlen(text); n++) {
		struct seen seen;

		if (n && text[n - 1] == '\n')
			lines++;
		put_file(f->path, text, n);
		seen = read_trace(f->path);
		assert_int_equal(seen.good, lines);
		assert_int_equal(seen.bad, n && text[n - 1] != '\n');
	}
	free(text);
}

static void test_trace_read_missing_file_says_so(void **state)
{
	struct trace_reader *reader;

	(void)state;
	assert_int_equal(trace_reader_open(&reader, "/nonexistent"), -ENOENT);
}

/* ------------------------------------------------------------------ the page */

static void expect_key(const char *page, const char *where, const char *key)
{
	char quoted[64];

	snprintf(quoted, sizeof(quoted), "`%s`", key);
	if (!strstr(page, quoted))
		fail_msg("docs/trace.md does not tell what %s of %s is", quoted, where);
}

static void expect_fields(const char *page, const char *where, const struct trace_field *field)
{
	for (; field->name; field++)
		expect_key(page, where, field->name);
}

static void test_trace_page_tells_each_field(void **state)
{
	char *page = read_file(BUSLOCK_SOURCE_DIR "/docs/trace.md");

	(void)state;
	for (int i = 0; i < TRACE_KINDS; i++)
		expect_fields(page, "a line", trace_fields((enum trace_kind)i));
	for (int i = 0; i < TRACE_EVENTS; i++) {
		const char *name = trace_event_name((enum trace_event)i);

		expect_key(page, "the events", name);
		expect_fields(page, name, trace_event_fields((enum trace_event)i));
	}
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_trace_read_names_bad_lines_and_uses_the_rest),
		TEST(test_trace_read_nul_is_no_end_of_a_line),
		TEST(test_trace_read_cut_anywhere_loses_one_line),
		TEST(test_trace_read_missing_file_says_so),
		TEST(test_trace_page_tells_each_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
