// SPDX-License-Identifier: GPL-2.0-only
/* The table of versions, at the boundaries of every fact, and the versions that are refused. */
#include "tests/unit/shim_script.h"

#define V(major, minor, patch) KERNEL(major, minor, patch)
#define COUNT(x)               (sizeof(x) / sizeof((x)[0]))

/*
 * What must hold, said once more and by hand: the last version without, the first with, and the
 * same for each stable line. A fact without a line here fails the test below.
 */
static const struct {
	const char *fact;
	unsigned no[9], yes[9];
} expected[] = {
	{ "forces_bit_26", { V(5, 12, 0), V(5, 14, 255) }, { V(5, 15, 0), V(7, 3, 4) } },
	{ "preserves_errno",
	  { V(5, 15, 223), V(6, 1, 192), V(6, 12, 107), V(6, 12, 116), V(6, 13, 0), V(6, 18, 5),
	    V(7, 2, 13), V(7, 3, 1) },
	  { V(6, 12, 117), V(6, 12, 200), V(7, 3, 2), V(7, 3, 4) } },
	{ "resets_exit_reason", { V(5, 12, 0), V(6, 7, 255) }, { V(6, 8, 0), V(7, 3, 0) } },
	{ "run_flag_guest_mode", { V(6, 8, 12), V(6, 10, 255) }, { V(6, 11, 0), V(6, 12, 0) } },
	{ "delivery_has_gpa", { V(6, 12, 117), V(6, 13, 255) }, { V(6, 14, 0), V(7, 2, 0) } },
	{ "notify_exempt", { V(5, 19, 255) }, { V(6, 0, 0), V(6, 1, 0) } },
	{ "l0_takes_bus_lock",
	  { V(5, 12, 0), V(5, 13, 255), V(5, 14, 9) },
	  { V(5, 14, 10), V(5, 15, 0), V(7, 3, 4) } },
	{ "svm_threshold",
	  { V(5, 12, 0), V(6, 12, 117), V(6, 14, 11), V(6, 15, 255) },
	  { V(6, 16, 0), V(6, 17, 8), V(7, 3, 4) } },
	{ "clock_realtime", { V(5, 12, 0), V(5, 15, 255) }, { V(5, 16, 0), V(7, 3, 4) } },
	{ "sets_max_vcpu_id", { V(5, 12, 0), V(5, 19, 255) }, { V(6, 0, 0), V(6, 1, 0) } },
	{ "guest_bld", { V(5, 12, 255) }, { V(5, 13, 0), V(7, 3, 4) } },
	{ "svm_hides_bld",
	  { V(5, 13, 0), V(5, 15, 166), V(5, 16, 0), V(6, 1, 109), V(6, 2, 0), V(6, 6, 50),
	    V(6, 7, 0), V(6, 10, 9) },
	  { V(5, 15, 167), V(6, 1, 110), V(6, 1, 192), V(6, 6, 51), V(6, 10, 10), V(6, 11, 0) } },
	{ "keeps_dr6_bld",
	  { V(6, 12, 116), V(6, 13, 0), V(7, 2, 13), V(7, 3, 1) },
	  { V(6, 12, 117), V(7, 3, 2) } },
	{ "emulates_mtrr", { V(6, 11, 0), V(7, 3, 4) }, { V(5, 12, 0), V(6, 10, 255) } },
	{ "cd_quirk_keeps_pat",
	  { V(5, 12, 0), V(6, 6, 255), V(6, 11, 0) },
	  { V(6, 7, 0), V(6, 10, 255) } },
	{ "guest_pat_quirk",
	  { V(6, 11, 0), V(6, 12, 0), V(6, 12, 106), V(6, 13, 0), V(6, 14, 11), V(6, 15, 255) },
	  { V(6, 12, 107), V(6, 12, 117), V(6, 16, 0), V(6, 17, 8) } },
	{ "sld_sleeps", { V(5, 12, 0), V(5, 18, 255) }, { V(5, 19, 0), V(7, 3, 4) } },
	{ "sld_mitigate_knob",
	  { V(5, 19, 17), V(6, 0, 15), V(6, 1, 0), V(6, 1, 1) },
	  { V(6, 0, 16), V(6, 1, 2), V(6, 1, 192), V(6, 2, 0) } },
	{ "sld_per_cpu_work",
	  { V(6, 1, 191), V(6, 2, 0), V(6, 12, 117), V(6, 13, 10), V(6, 14, 0), V(6, 14, 1) },
	  { V(6, 1, 192), V(6, 13, 11), V(6, 14, 2), V(6, 14, 11), V(6, 15, 0) } },
	{ "sleep_exact", { V(6, 1, 192), V(6, 11, 255) }, { V(6, 12, 0), V(7, 2, 13) } },
	{ "sld_ratelimit", { V(5, 13, 255) }, { V(5, 14, 0), V(7, 3, 4) } },
	{ "sld_boot_message", { V(5, 12, 255) }, { V(5, 13, 0), V(7, 3, 4) } },
};

static bool profile_has(unsigned kernel, const struct kernel_fact *fact)
{
	struct profile profile;

	profile_for(kernel, &profile);
	assert_int_equal(profile.kernel, kernel);
	return *(bool *)((char *)&profile + fact->field);
}

static const struct kernel_fact *fact_named(const char *name)
{
	for (size_t i = 0; i < kernel_fact_count; i++) {
		if (!strcmp(kernel_facts[i].name, name))
			return &kernel_facts[i];
	}
	fail_msg("no fact %s", name);
	return NULL;
}

static void test_profile_facts_change_at_their_versions(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(expected); i++) {
		const struct kernel_fact *fact = fact_named(expected[i].fact);

		for (size_t k = 0; k < COUNT(expected[i].no) && expected[i].no[k]; k++) {
			if (profile_has(expected[i].no[k], fact))
				fail_msg("%s holds in %#x", fact->name, expected[i].no[k]);
		}
		for (size_t k = 0; k < COUNT(expected[i].yes) && expected[i].yes[k]; k++) {
			if (!profile_has(expected[i].yes[k], fact))
				fail_msg("%s does not hold in %#x", fact->name, expected[i].yes[k]);
		}
	}
}

static bool listed(const unsigned *versions, size_t count, unsigned version)
{
	for (size_t i = 0; i < count; i++) {
		if (versions[i] == version)
			return true;
	}
	return false;
}

/* Every boundary of the table is one of those above: no range that nobody has checked. */
static void test_profile_table_has_no_unchecked_boundary(void **state)
{
	(void)state;
	for (size_t i = 0; i < kernel_fact_count; i++) {
		const struct kernel_fact *fact = &kernel_facts[i];
		size_t e = 0;

		while (e < COUNT(expected) && strcmp(expected[e].fact, fact->name))
			e++;
		if (e == COUNT(expected))
			fail_msg("nothing is expected of %s", fact->name);
		assert_non_null(fact->source);
		assert_true(*fact->source);
		assert_true(fact->range[0].from >= KERNEL_OLDEST);
		assert_int_equal(fact->range[KERNEL_RANGES - 1].from, 0);
		for (size_t r = 0; fact->range[r].from; r++) {
			const struct kernel_range *range = &fact->range[r];

			if (!listed(expected[e].yes, COUNT(expected[e].yes), range->from))
				fail_msg("%s: the start of range %zu is not expected", fact->name,
					 r);
			if (!range->before)
				continue;
			assert_true(range->before > range->from);
			/* the end of a stable line where the next ones have it, too */
			if (!profile_has(range->before, fact) &&
			    !listed(expected[e].no, COUNT(expected[e].no), range->before))
				fail_msg("%s: the end of range %zu is not expected", fact->name, r);
		}
	}
	/* one row a member */
	assert_int_equal(sizeof(struct profile),
			 (sizeof(unsigned) + kernel_fact_count + sizeof(unsigned) - 1) /
				 sizeof(unsigned) * sizeof(unsigned));
}

/* docs/kernels.md has a row for each fact, with every version at which a range starts. */
static void test_profile_table_is_that_of_the_manual(void **state)
{
	FILE *file = fopen(BUSLOCK_SOURCE_DIR "/docs/kernels.md", "r");
	char line[1024], name[64], version[32];
	size_t found = 0;

	(void)state;
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "| `%63[a-z0-9_]` |", name) != 1)
			continue;
		const struct kernel_fact *fact = fact_named(name);

		found++;
		for (size_t r = 0; fact->range[r].from; r++) {
			version[0] = ' '; /* a whole word */
			assert_true(kernel_format(fact->range[r].from, version + 1, 30) > 0);
			if (!strstr(line, version))
				fail_msg("docs/kernels.md: %s does not name%s", name, version);
		}
	}
	fclose(file);
	assert_int_equal(found, kernel_fact_count);
}

static void test_kernel_parse_accepts_versions_and_refuses_the_rest(void **state)
{
	static const struct {
		const char *text;
		int result;
		unsigned kernel;
	} rows[] = {
		{ "6.12", 0, V(6, 12, 0) },   { "6.12.117", 0, V(6, 12, 117) },
		{ "5.12.0", 0, V(5, 12, 0) }, { "7.3.4", 0, V(7, 3, 4) },
		{ "6", -EINVAL, 0 },          { "", -EINVAL, 0 },
		{ "6.", -EINVAL, 0 },         { "6.12.1.1", -EINVAL, 0 },
		{ "6.300", -EINVAL, 0 },      { "v6.12", -EINVAL, 0 },
		{ "6.-1", -EINVAL, 0 },       { "6.12-rc1", -EINVAL, 0 },
	};
	unsigned kernel;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		kernel = 0;
		assert_int_equal(kernel_parse(rows[i].text, &kernel), rows[i].result);
		if (!rows[i].result)
			assert_int_equal(kernel, rows[i].kernel);
	}
}

static void test_kernel_check_refuses_unknown_versions_with_the_reason(void **state)
{
	static const unsigned known[] = { V(5, 12, 0), V(5, 19, 17), V(6, 0, 0),
					  V(6, 19, 6), V(7, 0, 14),  V(7, 3, 4) };
	static const struct {
		unsigned kernel;
		const char *says;
	} refused[] = {
		{ V(5, 11, 255), "kernel 5.11.255: Linux knows bus-lock exits from 5.12" },
		{ V(2, 6, 32), "2.6.32" },
		{ V(5, 20, 0), "5.19 was followed by 6.0" },
		{ V(6, 20, 1), "6.19 was followed by 7.0" },
		{ V(7, 4, 0), "kernel 7.4: nothing is known of kernels after 7.3" },
		{ V(8, 0, 0), "after 7.3" },
	};
	char why[160];

	(void)state;
	for (size_t i = 0; i < COUNT(known); i++)
		assert_int_equal(kernel_check(known[i], why, sizeof(why)), 0);
	for (size_t i = 0; i < COUNT(refused); i++) {
		assert_int_equal(kernel_check(refused[i].kernel, why, sizeof(why)), -EINVAL);
		if (!strstr(why, refused[i].says))
			fail_msg("\"%s\" does not say \"%s\"", why, refused[i].says);
		assert_int_equal(kernel_check(refused[i].kernel, NULL, 0), -EINVAL);
	}
}

static void test_options_kernel_out_of_range_is_refused_with_the_reason(void **state)
{
	struct shim_options o;
	char why[160];

	(void)state;
	shim_options_default(&o);
	assert_int_equal(shim_options_parse(&o, "kernel=7.4", why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "after 7.3"));
	shim_options_default(&o);
	o.kernel = V(6, 20, 0);
	assert_int_equal(shim_options_check(&o, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "6.19 was followed by 7.0"));
}

/* 6.12 on Intel; on AMD a kernel whose KVM knows the feature at all. */
static void test_options_default_kernel_depends_on_the_vendor(void **state)
{
	struct shim_options o;
	char text[1024];

	(void)state;
	shim_options_default(&o);
	assert_int_equal(shim_options_kernel(&o), V(6, 12, 0));
	o.vendor = EMU_AMD;
	assert_int_equal(shim_options_kernel(&o), V(6, 18, 0));
	assert_true(shim_options_format(&o, text, sizeof(text)) > 0);
	assert_non_null(strstr(text, "kernel=6.18"));
	o.kernel = V(6, 12, 0);
	assert_int_equal(shim_options_kernel(&o), V(6, 12, 0));
}

static void test_config_without_shim_configure_is_that_of_the_default_kernel(void **state)
{
	struct profile p;
	int fd = shim_open(O_RDWR);

	(void)state;
	assert_true(fd >= 0);
	profile_for(KERNEL_DEFAULT, &p);
	assert_memory_equal(&p, &shim_config.profile, sizeof(p));
	fd_close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_profile_facts_change_at_their_versions),
		cmocka_unit_test(test_profile_table_has_no_unchecked_boundary),
		cmocka_unit_test(test_profile_table_is_that_of_the_manual),
		cmocka_unit_test(test_kernel_parse_accepts_versions_and_refuses_the_rest),
		cmocka_unit_test(test_kernel_check_refuses_unknown_versions_with_the_reason),
		cmocka_unit_test(test_options_kernel_out_of_range_is_refused_with_the_reason),
		cmocka_unit_test(test_options_default_kernel_depends_on_the_vendor),
		cmocka_unit_test(test_config_without_shim_configure_is_that_of_the_default_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
