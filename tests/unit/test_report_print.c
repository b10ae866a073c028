// SPDX-License-Identifier: GPL-2.0-only
/* The reader's side: what people and tools see, and which conditions hold. */
#include "traces/report_text.h"
#include "traces/report_totals.h"
#include "traces/symbols.h"

#include <errno.h>
#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define EXIT_IO       2
#define EXIT_BUS_LOCK 33

static const struct report_lock inc64 = {
	.rip = 0x100034,
	.linear_rip = 0x100034,
	.linear = 0x20003e,
	.gpa = 0x20003e,
	.size = 4,
	.cause = REPORT_SPLIT,
	.mode = 64,
	.insn_length = 3,
	.insn = { 0xf0, 0xff, 0x07 },
};

/* 100 split locks at one site by vCPU 0, one non-WB at another by vCPU 1. */
static int setup(void **state)
{
	struct report *report;
	struct report_lock other = inc64;
	int fd;

	if (report_create(&report, &fd, false))
		return -1;
	close(fd);
	report->vms = 1;
	report->vcpus = 2;
	report->detection_enabled = 1;
	for (int i = 0; i < 100; i++) {
		uint64_t begun = report_note_run(report, 0);

		report_note_lock(report, 0, &inc64);
		report_note_return(report, 0, begun, 0, EXIT_BUS_LOCK, true);
	}
	other.linear_rip = other.rip = 0xffffffff81000010;
	other.linear = 0xfee00300;
	other.cause = REPORT_NON_WB;
	other.cpl = 3;
	report_note_lock(report, 1, &other);
	report_note_return(report, 1, report_note_run(report, 1), 0, EXIT_IO, true);
	report_note_return(report, 1, report_note_run(report, 1), -EINTR, 0, false);
	report_note_counts(report, 0, 1234567, 0);
	report_note_host(report, 0, 16000000, 1, 0);
	report_note_host(report, 1, 4000000, 0, 2);
	*state = report;
	return 0;
}

static int teardown(void **state)
{
	report_detach(*state);
	return 0;
}

static char *printed(const struct report *report, enum report_format format,
		     const struct symbols *symbols, unsigned top)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	assert_int_equal(report_print(out, report, format, symbols, top), 0);
	fclose(out);
	return text;
}

static void expect_text(const char *text, const char *wanted)
{
	if (!strstr(text, wanted))
		fail_msg("'%s' is not in:\n%s", wanted, text);
}

static struct symbols *map(const char *text)
{
	char path[] = "/tmp/buslock-test-XXXXXX";
	struct symbols *symbols;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	assert_int_equal(symbols_load(&symbols, path, NULL, 0), 0);
	unlink(path);
	return symbols;
}

static void test_report_stuffed_locks_say_whose_they_are(void **state)
{
	const struct report_lock lock = { .linear_rip = 0x5000,
					  .linear = 0x203c,
					  .size = 8,
					  .cause = REPORT_NON_WB | REPORT_STUFFED,
					  .mode = 64,
					  .stuffed = REPORT_STUFFED_DESCRIPTOR,
					  .in_delivery = true };
	char *text;

	report_note_lock(*state, 0, &lock);
	text = printed(*state, REPORT_TEXT, NULL, 10);
	expect_text(text, "0x5000  (event delivery)  [");
	expect_text(text, "8 bytes at 0x203c: non_wb, stuffed (descriptor)\n");
	free(text);
	text = printed(*state, REPORT_JSON, NULL, 10);
	expect_text(text, "\"stuffed\":\"descriptor\",\n      \"in_delivery\":true");
	expect_text(text, "\"stuffed\":null,\n      \"in_delivery\":false");
	free(text);
	assert_string_equal(report_stuffed_name(REPORT_STUFFED_PAGING), "paging");
	assert_string_equal(report_stuffed_name(REPORT_STUFFED_BUSY), "busy");
}

/* "uncached to guest" is there only when it happened. */
static void test_report_locks_that_the_guest_believes_uncached(void **state)
{
	char *text = printed(*state, REPORT_TEXT, NULL, 10), why[200];

	assert_null(strstr(text, "uncached to guest"));
	free(text);
	report_note_guest_non_wb(*state, 0, 3);
	report_note_guest_non_wb(*state, 1, 1200);
	report_note_guest_non_wb(NULL, 0, 1);
	text = printed(*state, REPORT_TEXT, NULL, 10);
	expect_text(text, "uncached to guest           1,203   locked accesses to memory");
	free(text);
	text = printed(*state, REPORT_JSON, NULL, 10);
	expect_text(text, "\"guest_non_wb\":1203");
	expect_text(text, "\"guest_non_wb\":3,");
	free(text);
	assert_int_equal(report_expect(*state, "guest_non_wb==1203", why, sizeof(why)), 0);
	assert_int_equal(report_expect(*state, "guest_non_wb<1203", why, sizeof(why)), 1);
}

static void test_report_text_shows_counts_causes_and_sites(void **state)
{
	struct symbols *symbols = map("0000000000100000 T spin\n0000000000101000 T end\n");
	char *text = printed(*state, REPORT_TEXT, symbols, 10);

	expect_text(text, "1,234,567");
	expect_text(text, "host #AC traps                  2   slept 20.000 ms, messages 1, "
			  "suppressed 2");
	expect_text(text, "split 100, non-WB 1, stuffed 0");
	expect_text(text, "X86_BUS_LOCK                100");
	expect_text(text, "(EINTR)                       1");
	expect_text(text, "2 of 2 sites");
	expect_text(
		text,
		"99.0%  0x100034 <spin+0x34>  lock inc dword ptr [rdi]  [f0ff07, 64-bit, CPL 0]");
	expect_text(text, "4 bytes at 0x20003e: split (2 + 2 bytes)");
	expect_text(text, "4 bytes at 0xfee00300: non_wb");
	expect_text(text, "vCPU");
	free(text);
	symbols_free(symbols);
}

/* AMD with a boundary below the line (--lock-boundary): no bytes lie in another line. */
static void test_report_text_split_within_a_line_shows_no_parts(void **state)
{
	struct report_lock lock = inc64;
	char *text;

	lock.rip = lock.linear_rip = 0x100040;
	lock.linear = 0x200006;
	report_note_lock(*state, 0, &lock);
	lock.rip = lock.linear_rip = 0x100044;
	lock.linear = 0x20003f;
	report_note_lock(*state, 0, &lock);
	text = printed(*state, REPORT_TEXT, NULL, 10);
	expect_text(text, "4 bytes at 0x200006: split\n");
	expect_text(text, "4 bytes at 0x20003f: split (1 + 3 bytes)\n");
	free(text);
}

static void test_report_text_top_limits_the_sites(void **state)
{
	char *text = printed(*state, REPORT_TEXT, NULL, 1);

	expect_text(text, "1 of 2 sites");
	assert_null(strstr(text, "0xfee00300"));
	free(text);
}

static void test_report_text_without_detection_says_so(void **state)
{
	struct report *report = *state;
	char *text;

	report->detection_enabled = 0;
	text = printed(report, REPORT_TEXT, NULL, 10);
	expect_text(text, "did not enable bus-lock exits");
	free(text);
}

static struct json_object *member(struct json_object *object, const char *key)
{
	struct json_object *value;

	if (!json_object_object_get_ex(object, key, &value))
		fail_msg("no key '%s' in %s", key, json_object_to_json_string(object));
	return value;
}

static void test_report_virtual_time_says_whether_it_is_deterministic(void **state)
{
	struct report *report = *state;
	char why[256], *text;

	assert_int_equal(report_expect(report, "deterministic==0", why, sizeof(why)), 0);
	atomic_store(&report->virtual_time, 1);
	text = printed(report, REPORT_TEXT, NULL, 10);
	expect_text(text, "virtual   another run gives the same\n");
	free(text);
	assert_int_equal(report_expect(report, "deterministic==1", why, sizeof(why)), 0);
	report_note_nondeterminism(report, "a cat walked over the keyboard");
	report_note_nondeterminism(report, "and back");
	text = printed(report, REPORT_TEXT, NULL, 10);
	expect_text(text, "virtual   not deterministic: a cat walked over the keyboard\n");
	free(text);
	text = printed(report, REPORT_JSON, NULL, 10);
	expect_text(text, "\"time\":\"virtual\"");
	expect_text(text, "\"deterministic\":false");
	free(text);
	assert_int_equal(report_expect(report, "deterministic==0", why, sizeof(why)), 0);
}

static void test_report_json_has_the_documented_keys(void **state)
{
	static const char *const keys[] = {
		"schema",     "version",      "tool",
		"vms",        "vcpus",        "detection_enabled",
		"wall_ns",    "faults",       "runs",
		"exits",      "interrupted",  "errors",
		"flags",      "locked",       "guest_non_wb",
		"bus_locks",  "instructions", "host",
		"run_ns",     "throttled_ns", "rate",
		"vcpu",       "sites",        "sites_total",
		"sites_lost", "time",         "deterministic",
	};
	static const char *const site_keys[] = {
		"count",         "share",       "linear_rip", "rip",     "symbol",
		"symbol_offset", "symbol_file", "mode",       "cpl",     "bytes",
		"instruction",   "cause",       "operand",    "stuffed", "in_delivery",
	};
	struct symbols *symbols = map("100030 t loop\n");
	char *text = printed(*state, REPORT_JSON, symbols, 10);
	struct json_object *json = json_tokener_parse(text), *site;

	assert_non_null(json);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		member(json, keys[i]);
	assert_int_equal(json_object_object_length(json), sizeof(keys) / sizeof(keys[0]));
	assert_string_equal(json_object_get_string(member(json, "schema")), "buslock-report");
	assert_int_equal(json_object_get_int(member(json, "version")), 1);
	assert_int_equal(json_object_get_int(member(member(json, "bus_locks"), "total")), 101);
	assert_int_equal(json_object_get_int(member(member(json, "exits"), "X86_BUS_LOCK")), 100);
	assert_int_equal(json_object_get_int(member(member(json, "host"), "traps")), 2);
	assert_int_equal(json_object_get_int(member(member(json, "host"), "slept_ns")), 20000000);
	assert_int_equal(json_object_get_int(member(member(json, "host"), "messages")), 1);
	assert_int_equal(json_object_get_int(member(member(json, "host"), "suppressed")), 2);
	assert_null(member(json, "instructions")); /* not counted: null, not 0 */
	assert_int_equal(json_object_array_length(member(json, "vcpu")), 2);
	assert_int_equal(json_object_array_length(member(json, "sites")), 2);
	site = json_object_array_get_idx(member(json, "sites"), 0);
	for (size_t i = 0; i < sizeof(site_keys) / sizeof(site_keys[0]); i++)
		member(site, site_keys[i]);
	assert_int_equal(json_object_object_length(site), sizeof(site_keys) / sizeof(site_keys[0]));
	assert_string_equal(json_object_get_string(member(site, "linear_rip")), "0x100034");
	assert_string_equal(json_object_get_string(member(site, "symbol")), "loop");
	assert_int_equal(json_object_get_int(member(site, "symbol_offset")), 4);
	assert_string_equal(json_object_get_string(member(site, "bytes")), "f0ff07");
	site = json_object_array_get_idx(member(json, "sites"), 1);
	assert_string_equal(json_object_get_string(member(site, "linear_rip")),
			    "0xffffffff81000010");
	json_object_put(json);
	free(text);
	symbols_free(symbols);
}

static void test_report_json_keys_are_all_in_the_documentation(void **state)
{
	static char page[65536];
	FILE *file = fopen(BUSLOCK_SOURCE_DIR "/docs/report.md", "r");
	char *text = printed(*state, REPORT_JSON, NULL, 10), key[64];
	struct json_object *json = json_tokener_parse(text), *site, *all[4];

	assert_non_null(file);
	page[fread(page, 1, sizeof(page) - 1, file)] = '\0';
	fclose(file);
	site = json_object_array_get_idx(member(json, "sites"), 0);
	all[0] = json;
	all[1] = site;
	all[2] = member(site, "operand");
	all[3] = member(json, "bus_locks");
	for (size_t i = 0; i < 4; i++) {
		json_object_object_foreach(all[i], name, value)
		{
			(void)value;
			snprintf(key, sizeof(key), "`%s`", name);
			expect_text(page, key);
		}
	}
	json_object_put(json);
	free(text);
}

static void expect(const struct report *report, const char *conditions, int result, const char *why)
{
	char text[512];
	int got = report_expect(report, conditions, text, sizeof(text));

	if (got != result)
		fail_msg("'%s': %d instead of %d: %s", conditions, got, result, text);
	expect_text(text, why);
}

static void test_expect_conditions_that_hold_answer_0(void **state)
{
	expect(*state, "locks==101", 0, "");
	expect(*state, "locks=101", 0, "");
	expect(*state, "locks==101,split==100,non_wb==1,stuffed==0,flags==101", 0, "");
	expect(*state, " locks >= 101 , locks <= 101,locks>100,locks<102,locks!=100,locks!=102", 0,
	       "");
	expect(*state, "exits.io==1,exits.IO>=1,exits.x86_bus_lock==100,exits.33==100,exits.hlt==0",
	       0, "");
	expect(*state, "rate<=101,rate>100.5", 0, "");
	expect(*state, "vcpus==2,sites==2,locked==1234567,runs==102,interrupted==1", 0, "");
	expect(*state, "host_traps==2,host_slept_ms==20,host_messages=1,host_suppressed==2", 0, "");
	expect(*state, "throttled_ms<10000,run_ms>=0,wall_ms>0.0001", 0, "");
}

static void test_expect_conditions_that_fail_answer_1_and_all_of_them(void **state)
{
	expect(*state, "locks==100", 1, "locks is 101, expected == 100");
	expect(*state, "locks!=101", 1, "locks is 101, expected != 101");
	expect(*state, "locks<101", 1, "expected < 101");
	expect(*state, "locks>101", 1, "expected > 101");
	expect(*state, "locks>=102", 1, "expected >= 102");
	expect(*state, "locks<=100", 1, "expected <= 100");
	expect(*state, "locks==100,split==100,rate<=10", 1,
	       "locks is 101, expected == 100; rate is 101, expected <= 10");
}

static void test_expect_what_is_not_understood_is_einval(void **state)
{
	char text[512];

	expect(*state, "", -EINVAL, "no comparison");
	expect(*state, "locks==101,", -EINVAL, "no comparison");
	expect(*state, "locks", -EINVAL, "no comparison");
	expect(*state, "lock==1", -EINVAL, "'lock': no such counter; known: locks");
	expect(*state, "==1", -EINVAL, "a name is missing");
	expect(*state, "locks==", -EINVAL, "'' is not a number");
	expect(*state, "locks==ten", -EINVAL, "'ten' is not a number");
	expect(*state, "locks==nan", -EINVAL, "is not a number");
	expect(*state, "locks==0x10", -EINVAL, "is not a number");
	expect(*state, "locks==1 2", -EINVAL, "is not a number");
	expect(*state, "locks=>1", -EINVAL, "'>1' is not a number");
	expect(*state, "exits.foo==1", -EINVAL, "no such exit reason");
	expect(*state, "exits.64==1", -EINVAL, "no such exit reason");
	expect(*state, "instructions>0", -EINVAL, "--count");
	/* the mistake, not what failed before it */
	assert_int_equal(report_expect(*state, "locks==0,lokcs==1", text, sizeof(text)), -EINVAL);
	assert_int_equal(strncmp(text, "'lokcs'", 7), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_report_text_shows_counts_causes_and_sites),
		TEST(test_report_stuffed_locks_say_whose_they_are),
		TEST(test_report_locks_that_the_guest_believes_uncached),
		TEST(test_report_text_split_within_a_line_shows_no_parts),
		TEST(test_report_text_top_limits_the_sites),
		TEST(test_report_text_without_detection_says_so),
		TEST(test_report_virtual_time_says_whether_it_is_deterministic),
		TEST(test_report_json_has_the_documented_keys),
		TEST(test_report_json_keys_are_all_in_the_documentation),
		TEST(test_expect_conditions_that_hold_answer_0),
		TEST(test_expect_conditions_that_fail_answer_1_and_all_of_them),
		TEST(test_expect_what_is_not_understood_is_einval),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
