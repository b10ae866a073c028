// SPDX-License-Identifier: GPL-2.0-only
/* The options of the shim as text, and which go together. */
#include "tests/unit/shim_script.h"

static void test_options_format_and_parse_are_inverse(void **state)
{
	struct shim_options a, b;
	char text[1024], why[512];

	(void)state;
	shim_options_default(&a);
	a.vendor = EMU_AMD;
	a.kernel = KERNEL(6, 12, 117);
	a.mmio_all = true;
	a.count = true;
	a.capability = false;
	a.backend = SHIM_BACKEND_SCRIPT;
	a.script = "/a file, with a comma";
	a.log_level = 3;
	a.memory = SHIM_MEMORY_GUEST;
	a.uc[0] = (struct shim_range){ 0xfe000000, 0x100000 };
	a.uc[1] = (struct shim_range){ 0x2000, 0x1000 };
	a.ucs = 2;
	a.host_split_lock = SHIM_SPLIT_LOCK_RATELIMIT;
	a.host_ratelimit = 5;
	a.split_lock_mitigate = false;
	a.split_lock_fix = a.guest_sld = a.bare_reason_74 = a.delivery_vectoring = true;
	a.lock_boundary = 16;
	a.hz = 1000;
	a.time = SHIM_TIME_VIRTUAL;
	a.tsc_khz = 3000000;
	a.insn_cycles = 2;
	a.lock_cycles = 7000;
	assert_true(shim_options_format(&a, text, sizeof(text)) > 0);
	shim_options_default(&b);
	assert_int_equal(shim_options_parse(&b, text, why, sizeof(why)), 0);
	assert_int_equal(b.vendor, EMU_AMD);
	assert_int_equal(b.kernel, a.kernel);
	assert_true(b.mmio_all && b.count && !b.capability);
	assert_int_equal(b.backend, SHIM_BACKEND_SCRIPT);
	assert_string_equal(b.script, a.script);
	assert_int_equal(b.log_level, 3);
	assert_int_equal(b.memory, SHIM_MEMORY_GUEST);
	assert_int_equal(b.ucs, 2);
	assert_int_equal(b.uc[1].gpa, 0x2000);
	assert_int_equal(b.uc[1].size, 0x1000);
	assert_int_equal(b.host_split_lock, SHIM_SPLIT_LOCK_RATELIMIT);
	assert_int_equal(b.host_ratelimit, 5);
	assert_true(!b.split_lock_mitigate && b.split_lock_fix && b.guest_sld);
	assert_true(b.bare_reason_74 && b.delivery_vectoring);
	assert_int_equal(b.lock_boundary, 16);
	assert_int_equal(b.hz, 1000);
	assert_int_equal(b.time, SHIM_TIME_VIRTUAL);
	assert_int_equal(b.tsc_khz, 3000000);
	assert_int_equal(b.insn_cycles, 2);
	assert_int_equal(b.lock_cycles, 7000);
	free((char *)b.script);
}

static void test_options_parse_keeps_what_is_not_named(void **state)
{
	struct shim_options o;

	(void)state;
	shim_options_default(&o);
	assert_int_equal(shim_options_parse(&o, "kernel=7.3.2", NULL, 0), 0);
	assert_int_equal(o.kernel, KERNEL(7, 3, 2));
	assert_int_equal(o.vendor, EMU_INTEL);
	assert_true(o.capability);
	assert_int_equal(shim_options_parse(&o, "", NULL, 0), 0);
}

static void test_options_parse_names_what_is_wrong(void **state)
{
	static const struct {
		const char *text, *word;
	} rows[] = {
		{ "vendor=via", "vendor" },
		{ "kernel=2.6", "kernel" },
		{ "count=yes", "count" },
		{ "colour=red", "colour" },
		{ "log=7", "log" },
		{ "backend", "backend" },
		{ "vendor=intel,capability=2", "capability" },
		{ "memory=wb", "memory" },
		{ "uc=0x1000", "GPA+LEN" },
		{ "uc=0x1234+0x1000", "whole pages" },
		{ "uc=0x1000+0", "uc" },
		{ "uc=0xfffffffffffff000+0x2000", "uc" },
		{ "host_split_lock=ratelimit:0", "host_split_lock" },
		{ "host_split_lock=ratelimit:1001", "1000" },
		{ "host_split_lock=maybe", "fatal" },
		{ "hz=10", "hz" },
		{ "time=later", "virtual" },
		{ "tsc_khz=999", "tsc_khz" },
		{ "insn_cycles=0", "insn_cycles" },
		{ "lock_cycles=x", "lock_cycles" },
		{ "lock_boundary=4", "lock_boundary" },
	};
	struct shim_options o;
	char why[512];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		shim_options_default(&o);
		assert_int_equal(shim_options_parse(&o, rows[i].text, why, sizeof(why)), -EINVAL);
		assert_non_null(strstr(why, rows[i].word));
	}
}

static void test_options_format_into_too_little_room_is_refused(void **state)
{
	struct shim_options o;
	char text[16];

	(void)state;
	shim_options_default(&o);
	assert_int_equal(shim_options_format(&o, text, sizeof(text)), -ENOSPC);
}

/* Combinations that no machine has are refused with the reason. */
static void test_options_check_refuses_what_does_not_go_together(void **state)
{
	static const struct {
		const char *text, *word;
	} rows[] = {
		{ "vendor=amd,memory=kvm", "Intel" },
		{ "vendor=amd,memory=kvm-noncoherent", "Intel" },
		{ "memory=amd", "vendor=amd" },
		{ "vendor=amd,host_split_lock=warn", "#AC" },
		{ "vendor=amd,guest_sld=1", "#AC" },
		{ "lock_boundary=16", "AMD" },
		{ "vendor=amd,lock_boundary=24", "8, 16, 32" },
		{ "vendor=amd,bare_reason_74=1", "Intel" },
		{ "vendor=amd,delivery_vectoring=1", "Intel" },
		{ "time=virtual,backend=script", "script" },
		{ "host_split_lock=ratelimit:5,kernel=5.13", "5.14" },
		{ "kernel=6.1,host_split_lock=warn,split_lock_mitigate=0", "6.2" },
		{ "kernel=5.18,host_split_lock=warn,split_lock_fix=1", "5.19" },
	};
	struct shim_options o;
	char why[512];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		shim_options_default(&o);
		assert_int_equal(shim_options_parse(&o, rows[i].text, why, sizeof(why)), 0);
		assert_int_equal(shim_options_check(&o, why, sizeof(why)), -EINVAL);
		assert_non_null(strstr(why, rows[i].word));
	}
	shim_options_default(&o);
	assert_int_equal(shim_options_check(&o, NULL, 0), 0);
	o.vendor = EMU_AMD;
	o.memory = SHIM_MEMORY_AMD;
	o.lock_boundary = 16;
	assert_int_equal(shim_options_check(&o, why, sizeof(why)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options_format_and_parse_are_inverse),
		cmocka_unit_test(test_options_parse_keeps_what_is_not_named),
		cmocka_unit_test(test_options_parse_names_what_is_wrong),
		cmocka_unit_test(test_options_format_into_too_little_room_is_refused),
		cmocka_unit_test(test_options_check_refuses_what_does_not_go_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
