// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of ioctls (vmm_shim/ioctls.c) against <linux/kvm.h> as installed, against docs/ioctls.md,
 * and against what the calls answer.
 */
#include "tests/unit/ioctl_cases.h"

#define HEADER_DEFAULT "/usr/include/linux/kvm.h"
#define DOCUMENT       BUSLOCK_SOURCE_DIR "/docs/ioctls.md"

/* ------------------------------------------------------------------ the header */

static char *file_text(const char *path)
{
	FILE *file = fopen(path, "r");
	size_t size = 1 << 20, n;
	char *text = calloc(1, size);

	assert_non_null(text);
	if (!file) {
		free(text);
		return NULL;
	}
	n = fread(text, 1, size - 1, file);
	assert_true(n < size - 1);
	fclose(file);
	return text;
}

/* "#define NAME _IOW(KVMIO, 0x43, struct …)", perhaps over two lines; the end of the text or NULL. */
static const char *next_number(const char *text, char name[64], unsigned *direction, unsigned *nr)
{
	static const struct {
		const char *macro;
		unsigned direction;
	} macros[] = {
		{ "_IO(", _IOC_NONE },
		{ "_IOR(", _IOC_READ },
		{ "_IOW(", _IOC_WRITE },
		{ "_IOWR(", _IOC_READ | _IOC_WRITE },
	};

	while ((text = strstr(text, "#define "))) {
		const char *at;

		text += strlen("#define ");
		if (sscanf(text, "%63[A-Za-z0-9_]", name) != 1)
			continue;
		at = text + strlen(name);
		at += strspn(at, " \t\\\n");
		for (size_t i = 0; i < sizeof(macros) / sizeof(macros[0]); i++) {
			size_t length = strlen(macros[i].macro);

			if (strncmp(at, macros[i].macro, length) ||
			    sscanf(at + length, "KVMIO, %x", nr) != 1)
				continue;
			*direction = macros[i].direction;
			return at;
		}
	}
	return NULL;
}

static bool same_number(unsigned long request, unsigned direction, unsigned nr)
{
	return _IOC_DIR(request) == direction && _IOC_NR(request) == nr;
}

/* By name, or by number where the header has another name for it (KVM_TRACE_ENABLE). */
static bool has_row(const char *name, unsigned direction, unsigned nr)
{
	for (size_t i = 0; i < ioctl_table_size; i++) {
		const struct ioctl_info *row = &ioctl_table[i];

		if (!strcmp(row->name, name))
			return same_number(row->request, direction, nr);
		if (!strncmp(name, "__KVM_DEPRECATED", 16) &&
		    same_number(row->request, direction, nr))
			return true;
	}
	for (size_t i = 0; i < ioctl_foreign_size; i++) {
		const struct ioctl_foreign *row = &ioctl_foreign[i];

		if (!strcmp(row->name, name))
			return row->direction == direction && row->nr == nr;
	}
	return false;
}

static const char *header_path(void)
{
	const char *path = getenv("BUSLOCK_KVM_HEADER"); /* of another kernel */

	return path ? path : HEADER_DEFAULT;
}

static void test_ioctl_table_has_every_number_of_the_header(void **state)
{
	unsigned direction, nr, count = 0;
	char *text = file_text(header_path()), name[64];

	(void)state;
	if (!text) {
		print_message("skipped: %s: not there\n", header_path());
		skip();
	}
	for (const char *at = text; (at = next_number(at, name, &direction, &nr)); count++) {
		if (!has_row(name, direction, nr))
			fail_msg("%s: %s (%#x) has no row in vmm_shim/ioctls.c", header_path(),
				 name, nr);
	}
	print_message("%u numbers\n", count);
	assert_in_range(count, 140, 400); /* or the header is not one */
	free(text);
}

static bool in_header(const char *text, const char *name)
{
	char define[80];

	snprintf(define, sizeof(define), "#define %s", name);
	while ((text = strstr(text, define))) {
		text += strlen(define);
		if (*text == ' ' || *text == '\t')
			return true;
	}
	return false;
}

static void test_ioctl_row_that_the_header_lacks_says_since_when(void **state)
{
	char *text = file_text(header_path());

	(void)state;
	if (!text)
		skip();
	for (size_t i = 0; i < ioctl_table_size; i++) {
		const struct ioctl_info *row = &ioctl_table[i];

		if (!in_header(text, row->name) && !row->since &&
		    strcmp(row->why ? row->why : "", IOCTL_OBSOLETE))
			fail_msg("%s: not in %s, and no version that it came with", row->name,
				 header_path());
	}
	for (size_t i = 0; i < ioctl_foreign_size; i++) {
		const struct ioctl_foreign *row = &ioctl_foreign[i];

		if (!in_header(text, row->name) && !row->since)
			fail_msg("%s: not in %s, and no version that it came with", row->name,
				 header_path());
	}
	free(text);
}

static void test_ioctl_rows_are_unique_and_consistent(void **state)
{
	(void)state;
	for (size_t i = 0; i < ioctl_table_size; i++) {
		const struct ioctl_info *row = &ioctl_table[i];

		assert_ptr_equal(ioctl_find(row->request), row);
		assert_int_equal(row->here & ~row->on, 0);
		assert_in_range(row->since, 0, IOCTL_NEWEST);
		/* why it is missing, and only then */
		if (row->on == row->here && row->on)
			assert_true(!row->error && !row->reads && !row->why);
		else
			assert_true(row->cap || row->why);
	}
}

/* ------------------------------------------------------------------ the document */

static const char *error_name(long error)
{
	return error == -EINVAL   ? "EINVAL"
	       : error == -ENOTTY ? "ENOTTY"
	       : error == -ENXIO  ? "ENXIO"
	       : error == -ENODEV ? "ENODEV"
	       : error == -ENOENT ? "ENOENT"
				  : "?";
}

static void kinds_text(unsigned kinds, char text[64])
{
	text[0] = 0;
	for (unsigned kind = 0; kind < KINDS; kind++) {
		if (kinds & 1u << kind)
			snprintf(text + strlen(text), 64 - strlen(text), "%s%s", *text ? ", " : "",
				 kind_names[kind]);
	}
	if (!*text)
		strcpy(text, "–");
}

static void number_text(unsigned direction, unsigned nr, char text[16])
{
	static const char *const directions[] = { "", "W", "R", "WR" };

	snprintf(text, 16, "IO%s %02x", directions[direction], nr);
}

/* | IOW 61 | `KVM_IRQ_LINE` | VM | | ENXIO, after reading | capability 0 | */
static void row_text(const struct ioctl_info *row, char *line, size_t size)
{
	char number[16], on[64], since[16] = "", here[64], why[96] = "";
	unsigned kind = row->on & 1u << SHIM_VM ? SHIM_VM : SHIM_VCPU;

	number_text(_IOC_DIR(row->request), _IOC_NR(row->request), number);
	kinds_text(row->on, on);
	if (row->since)
		kernel_format(row->since, since, sizeof(since));
	if (row->here && row->here == row->on)
		strcpy(here, "yes");
	else if (!row->on)
		strcpy(here, "unknown number");
	else
		snprintf(here, sizeof(here), "%s%s",
			 error_name(expected_refusal(row, kind, ARGUMENT_ZEROES)),
			 row->reads ? ", EFAULT first" : "");
	if (row->why)
		snprintf(why, sizeof(why), "%s", row->why);
	else if (row->cap)
		snprintf(why, sizeof(why), "capability %u", row->cap - 1u);
	snprintf(line, size, "| %s | `%s` | %s | %s | %s | %s |\n", number, row->name, on, since,
		 here, why);
}

static void foreign_text(const struct ioctl_foreign *row, char *line, size_t size)
{
	char number[16], since[16] = "";

	number_text(row->direction, row->nr, number);
	if (row->since)
		kernel_format(row->since, since, sizeof(since));
	snprintf(line, size, "| %s | `%s` | %s | %s |\n", number, row->name, row->architecture,
		 since);
}

/* All rows in their order; BUSLOCK_PRINT_IOCTLS=1 prints them, to be copied into the document. */
static void test_ioctl_document_is_the_table(void **state)
{
	char *text = file_text(DOCUMENT), line[256];
	const char *at = text;
	bool print = getenv("BUSLOCK_PRINT_IOCTLS");
	size_t lines = 0;

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < ioctl_table_size + ioctl_foreign_size; i++) {
		if (i < ioctl_table_size)
			row_text(&ioctl_table[i], line, sizeof(line));
		else
			foreign_text(&ioctl_foreign[i - ioctl_table_size], line, sizeof(line));
		if (print) {
			fputs(line, stdout);
			continue;
		}
		at = strstr(at, line);
		if (!at)
			fail_msg("docs/ioctls.md: missing, or in another place "
				 "(BUSLOCK_PRINT_IOCTLS=1 prints all rows): %s",
				 line);
	}
	/* and no others */
	for (at = text; (at = strstr(at, "| `KVM_")); at++)
		lines++;
	if (!print)
		assert_int_equal(lines, ioctl_table_size + ioctl_foreign_size);
	free(text);
}

/* ------------------------------------------------------------------ the answers */

static void test_ioctl_not_emulated_answers_as_the_table_says(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "");
	const int fd[KINDS] = { m.kvm, m.vm, m.vcpu };

	for (size_t i = 0; i < ioctl_table_size; i++) {
		const struct ioctl_info *row = &ioctl_table[i];

		for (unsigned kind = 0; kind < KINDS; kind++) {
			if (row->here & 1u << kind)
				continue;
			for (unsigned n = 0; n < ARGUMENTS; n++) {
				long r = fd_ioctl(fd[kind], row->request, arguments[n]);

				if (r != expected_refusal(row, kind, n))
					fail_msg("%s on %s, argument %u: %ld", row->name,
						 kind_names[kind], n, r);
			}
		}
	}
	machine_stop(&m);
}

static void test_ioctl_foreign_numbers_are_unknown(void **state)
{
	struct machine m;

	(void)state;
	machine_start(&m, "");
	const int fd[KINDS] = { m.kvm, m.vm, m.vcpu };

	for (size_t i = 0; i < ioctl_foreign_size; i++) {
		const struct ioctl_foreign *row = &ioctl_foreign[i];
		unsigned long request =
			_IOC((unsigned)row->direction, KVMIO, row->nr, row->direction ? 20u : 0u);

		if (ioctl_find(request))
			continue;
		for (unsigned kind = 0; kind < KINDS; kind++)
			assert_int_equal(fd_ioctl(fd[kind], request, arguments[ARGUMENT_ONES]),
					 kind == SHIM_VM ? -ENOTTY : -EINVAL);
	}
	machine_stop(&m);
}

/* A row that says "emulated" and a dispatcher that knows nothing of it: the log tells. */
static void test_ioctl_emulated_is_not_refused(void **state)
{
	static const char refused[] = "is not emulated";
	struct machine m;
	int log = memfd_create("log", 0), kept = dup(2);
	char text[4096];

	(void)state;
	assert_true(log >= 0 && kept >= 0);
	for (size_t i = 0; i < ioctl_table_size; i++) {
		const struct ioctl_info *row = &ioctl_table[i];

		machine_start(&m, "repeat\nexit hlt\n");
		const int fd[KINDS] = { m.kvm, m.vm, m.vcpu };

		for (unsigned kind = 0; kind < KINDS; kind++) {
			ssize_t n;
			long r;

			if (!(row->here & 1u << kind))
				continue;
			ftruncate(log, 0);
			dup2(log, 2);
			shim_config.options.log_level = 3;
			r = fd_ioctl(fd[kind], row->request, arguments[ARGUMENT_ZEROES]);
			shim_config.options.log_level = 1;
			dup2(kept, 2);
			n = pread(log, text, sizeof(text) - 1, 0);
			assert_true(n >= 0);
			text[n] = 0;
			if (strstr(text, refused))
				fail_msg("%s on %s: %ld, %s", row->name, kind_names[kind], r, text);
		}
		machine_stop(&m);
	}
	close(log);
	close(kept);
}

static void test_ioctl_newer_than_the_kernel_is_unknown(void **state)
{
	struct machine m;
	unsigned newer = 0;

	(void)state;
	use_kernel(KERNEL_OLDEST);
	machine_start(&m, "");
	const int fd[KINDS] = { m.kvm, m.vm, m.vcpu };

	for (size_t i = 0; i < ioctl_table_size; i++) {
		const struct ioctl_info *row = &ioctl_table[i];

		for (unsigned kind = 0; row->since && kind < KINDS; kind++, newer++)
			assert_int_equal(fd_ioctl(fd[kind], row->request, 0),
					 kind == SHIM_VM ? -ENOTTY : -EINVAL);
	}
	assert_true(newer > 0);
	machine_stop(&m);
	use_kernel(KERNEL_DEFAULT);
}

static int setup(void **state)
{
	arguments_setup();
	return script_setup(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ioctl_table_has_every_number_of_the_header),
		cmocka_unit_test(test_ioctl_row_that_the_header_lacks_says_since_when),
		cmocka_unit_test(test_ioctl_rows_are_unique_and_consistent),
		cmocka_unit_test(test_ioctl_document_is_the_table),
		cmocka_unit_test(test_ioctl_not_emulated_answers_as_the_table_says),
		cmocka_unit_test(test_ioctl_foreign_numbers_are_unknown),
		cmocka_unit_test(test_ioctl_emulated_is_not_refused),
		cmocka_unit_test(test_ioctl_newer_than_the_kernel_is_unknown),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
