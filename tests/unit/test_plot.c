// SPDX-License-Identifier: GPL-2.0-only
/*
 * The pictures of the labs, drawn by the gnuplot that is installed: files that are what their names
 * say, with all that was given in them. And what happens without gnuplot, or with a broken one.
 */
#include "cli/plot.c"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

static char directory[] = "/tmp/buslock-plot-XXXXXX";
static char complaint[512];
static char *search_path;

void complain(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(complaint, sizeof(complaint), format, arguments);
	va_end(arguments);
}

static int set_up(void **state)
{
	(void)state;
	search_path = strdup(getenv("PATH"));
	return !search_path || !mkdtemp(directory) || chdir(directory) ? -1 : 0;
}

static int tear_down(void **state)
{
	char command[300];

	(void)state;
	setenv("PATH", search_path, 1);
	free(search_path);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

static int with_path(void **state)
{
	(void)state;
	complaint[0] = '\0';
	return setenv("PATH", search_path, 1);
}

static bool exists(const char *name)
{
	return !access(name, F_OK);
}

static void need_gnuplot(void)
{
	if (system("command -v gnuplot >gnuplot.path")) {
		print_message("gnuplot is not installed (package gnuplot-nox)\n");
		skip();
	}
}

/* The caller frees it. */
static char *contents(const char *name, size_t *size)
{
	FILE *file = fopen(name, "r");
	struct stat info;
	char *text;

	assert_non_null(file);
	assert_int_equal(fstat(fileno(file), &info), 0);
	text = calloc(1, (size_t)info.st_size + 1);
	assert_non_null(text);
	*size = fread(text, 1, (size_t)info.st_size, file);
	assert_int_equal(*size, info.st_size);
	fclose(file);
	return text;
}

static unsigned occurrences(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

/* ------------------------------------------------------------------ are they what they seem? */

static size_t name_length(const char *name)
{
	size_t n = 0;

	while (isalnum((unsigned char)name[n]) || name[n] == '-' || name[n] == ':')
		n++;
	return n;
}

/* Well-formed as far as elements go: each is closed, in order, and there is one root, <svg>. */
static void assert_svg(const char *text)
{
	struct {
		const char *name;
		size_t length;
	} open[64];
	unsigned depth = 0, roots = 0;

	for (const char *p = strchr(text, '<'), *end; p; p = strchr(end, '<')) {
		end = strncmp(p, "<!--", 4) ? strchr(p, '>') : strstr(p, "-->");
		assert_non_null(end);
		if (p[1] == '?' || p[1] == '!')
			continue;
		if (p[1] == '/') {
			assert_true(depth > 0);
			depth--;
			assert_int_equal(open[depth].length, name_length(p + 2));
			assert_memory_equal(open[depth].name, p + 2, open[depth].length);
			continue;
		}
		if (!depth) {
			roots++;
			assert_memory_equal(p, "<svg", 4);
		}
		if (end[-1] == '/')
			continue;
		assert_true(depth < 64);
		open[depth].name = p + 1;
		open[depth++].length = name_length(p + 1);
	}
	assert_int_equal(depth, 0);
	assert_int_equal(roots, 1);
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

/* All its chunks, up to the end; as large as promised. */
static void assert_png(const char *name)
{
	static const uint8_t signature[8] = "\x89PNG\r\n\x1a\n";
	size_t size, at = 8;
	uint8_t *data = (uint8_t *)contents(name, &size);

	assert_true(size > 5000); /* an empty picture of this size has less */
	assert_memory_equal(data, signature, 8);
	assert_memory_equal(data + 12, "IHDR", 4);
	assert_int_equal(be32(data + 16), PLOT_WIDTH);
	assert_int_equal(be32(data + 20), PLOT_HEIGHT);
	while (memcmp(data + at + 4, "IEND", 4)) {
		at += be32(data + at) + 12;
		assert_true(at + 12 <= size);
	}
	assert_int_equal(at + 12, size);
	free(data);
}

/* ------------------------------------------------------------------ what is drawn */

static const double x[] = { 1, 2, 5, 10, 20 }, rising[] = { 1, 4, 9, NAN, 30 },
		    falling[] = { 10, 3, 2, 1, 0.5 };

static const struct plot lines = {
	.kind = PLOT_LINES,
	.title = "It's a_title",
	.x_label = "time-out (ms)",
	.y_label = "loops finished (1/s)",
	.rows = 5,
	.x = x,
	.count = 2,
	.series = { { "detection off", rising }, { "with_warning", falling } },
};

static const char *const labels[] = { "qemu:10", "kernel:10", "say \"no\"", "tab\tinside", "end" };

static struct plot bars(void)
{
	struct plot plot = lines;

	plot.kind = PLOT_BARS;
	plot.x = NULL;
	plot.labels = labels;
	return plot;
}

static void test_plot_lines_writes_table_and_both_pictures(void **state)
{
	size_t size;
	char *text;

	(void)state;
	need_gnuplot();
	assert_int_equal(plot_write(&lines, "line"), STATUS_OK);
	text = contents("line.tsv", &size);
	assert_string_equal(text, "time-out (ms)\tdetection off\twith_warning\n1\t1\t10\n2\t4\t3\n"
				  "5\t9\t2\n10\t?\t1\n20\t30\t0.5\n");
	free(text);
	assert_png("line.png");
	text = contents("line.svg", &size);
	assert_svg(text);
	assert_non_null(strstr(text, "width=\"960\" height=\"600\""));
	assert_int_equal(occurrences(text, ">It\u2019s a_title<"), 1);
	assert_int_equal(occurrences(text, ">time-out (ms)<"), 1);
	assert_int_equal(occurrences(text, ">loops finished (1/s)<"), 1);
	assert_int_equal(occurrences(text, ">detection off<"), 1);
	assert_int_equal(occurrences(text, ">with_warning<"), 1);
	free(text);
}

/* A missing value is no point, and everything else is one; one more stands in the key. */
static void test_plot_lines_mark_each_value_that_is_there(void **state)
{
	size_t size;
	char *text;

	(void)state;
	need_gnuplot();
	assert_int_equal(plot_write(&lines, "points"), STATUS_OK);
	text = contents("points.svg", &size);
	assert_int_equal(occurrences(text, "<use xlink:href='#gpPt3' transform='tr"), 4 + 1);
	assert_int_equal(occurrences(text, "<use xlink:href='#gpPt4' transform='tr"), 5 + 1);
	free(text);
}

static void test_plot_bars_have_a_label_for_each_group(void **state)
{
	static const char *const seen[] = { ">qemu:10<", ">kernel:10<", ">tab inside<", ">end<",
					    ">detection off<" };
	struct plot plot = bars();
	size_t size;
	char *text;

	(void)state;
	need_gnuplot();
	assert_int_equal(plot_write(&plot, "bars.png"), STATUS_OK); /* the suffix is ours */
	assert_png("bars.png");
	text = contents("bars.svg", &size);
	assert_svg(text);
	for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++)
		assert_non_null(strstr(text, seen[i]));
	assert_non_null(strstr(text, ">say 'no'<"));
	free(text);
}

static void test_plot_logarithmic_axes_skip_what_has_no_logarithm(void **state)
{
	static const double some[] = { 0, 1, 10, 100, 1000 };
	struct plot plot = lines;
	size_t size;
	char *text;

	(void)state;
	need_gnuplot();
	plot.log_x = plot.log_y = true; /* x has only positive values at first */
	plot.count = 1;
	plot.series[0].y = some;
	assert_int_equal(plot_write(&plot, "log"), STATUS_OK);
	text = contents("log.svg", &size);
	assert_int_equal(occurrences(text, "<use xlink:href='#gpPt3' transform='tr"), 4 + 1);
	free(text);
	plot.log_y = false;
	plot.x = some;
	plot.series[0].y = falling;
	assert_int_equal(plot_write(&plot, "log"), STATUS_OK);
	text = contents("log.svg", &size);
	assert_int_equal(occurrences(text, "<use xlink:href='#gpPt3' transform='tr"), 4 + 1);
	free(text);
}

static void test_plot_same_table_gives_the_same_files(void **state)
{
	static const char *const names[] = { "a.svg", "b.svg", "a.tsv", "b.tsv", "a.png", "b.png" };
	size_t sizes[2];
	char *texts[2];

	(void)state;
	need_gnuplot();
	assert_int_equal(plot_write(&lines, "a"), STATUS_OK);
	assert_int_equal(plot_write(&lines, "b.svg"), STATUS_OK);
	for (unsigned i = 0; i < 6; i += 2) {
		for (unsigned j = 0; j < 2; j++)
			texts[j] = contents(names[i + j], &sizes[j]);
		assert_int_equal(sizes[0], sizes[1]);
		assert_memory_equal(texts[0], texts[1], sizes[0]);
		free(texts[0]);
		free(texts[1]);
	}
}

/* gnuplot takes names that begin with '|' for commands, and reads its user's start-up file. */
static void test_plot_names_are_no_commands(void **state)
{
	struct plot plot = lines;
	FILE *file = fopen(".gnuplot", "w");

	(void)state;
	need_gnuplot();
	assert_non_null(file);
	fputs("set print 'started'\nprint 1\n", file);
	fclose(file);
	setenv("HOME", directory, 1);
	plot.title = "one\nset print 'titled'\nprint 1";
	plot.series[0].name = "'; set print 'named'; print 1; '";
	assert_int_equal(plot_write(&plot, "| touch piped"), STATUS_OK);
	assert_true(exists("| touch piped.svg"));
	assert_false(exists("piped.svg") || exists("piped.png"));
	assert_false(exists("started"));
	assert_false(exists("titled"));
	assert_false(exists("named"));
}

/* ------------------------------------------------------------------ what can go wrong */

static void test_plot_without_gnuplot_keeps_the_table_and_names_the_package(void **state)
{
	(void)state;
	setenv("PATH", "/nonexistent", 1);
	assert_int_equal(plot_write(&lines, "alone"), STATUS_NO_PLOT);
	assert_true(exists("alone.tsv"));
	assert_false(exists("alone.svg") || exists("alone.png"));
	assert_non_null(strstr(complaint, "gnuplot-nox"));
}

static void fake_gnuplot(const char *script)
{
	FILE *file = fopen("gnuplot", "w");

	assert_non_null(file);
	fprintf(file, "#!/bin/sh\n%s\n", script);
	fclose(file);
	assert_int_equal(chmod("gnuplot", 0700), 0);
	setenv("PATH", directory, 1);
}

static void test_plot_gnuplot_that_fails_is_told_with_its_status(void **state)
{
	(void)state;
	fake_gnuplot("exit 3");
	assert_int_equal(plot_write(&lines, "failed"), STATUS_NO_PLOT);
	assert_non_null(strstr(complaint, "status 3"));
	fake_gnuplot("kill -9 $$");
	assert_int_equal(plot_write(&lines, "failed"), STATUS_NO_PLOT);
	assert_non_null(strstr(complaint, "signal 9"));
}

/* As gnuplot does on a full disk: no word, and status 0. */
static void test_plot_picture_that_is_not_whole_is_told(void **state)
{
	(void)state;
	fake_gnuplot("while read -r line; do :; done; exit 0");
	assert_int_equal(plot_write(&lines, "half"), STATUS_USAGE);
	assert_non_null(strstr(complaint, "half.svg: gnuplot has not written all of it"));
	assert_false(exists("half.svg") || exists("half.png"));
}

/* More data than a pipe holds, for one who does not read. */
static void test_plot_gnuplot_that_does_not_read_is_no_deadly_signal(void **state)
{
	static double many[50000];
	struct plot plot = lines;

	(void)state;
	for (unsigned i = 0; i < 50000; i++)
		many[i] = i;
	plot.rows = 50000;
	plot.x = plot.series[0].y = plot.series[1].y = many;
	fake_gnuplot("exec <&-; exit 5");
	assert_int_equal(plot_write(&plot, "unread"), STATUS_NO_PLOT);
	assert_non_null(strstr(complaint, "status 5"));
}

static void test_plot_files_that_cannot_be_written_are_named(void **state)
{
	(void)state;
	assert_int_equal(plot_write(&lines, "none/such"), STATUS_USAGE);
	assert_non_null(strstr(complaint, "none/such.tsv: No such file"));
	assert_int_equal(plot_write(&lines, ""), STATUS_USAGE);
	assert_int_equal(plot_write(&lines, "a\nb"), STATUS_USAGE);
}

static void test_plot_without_data_is_refused(void **state)
{
	static const double nothing[5] = { NAN, NAN, NAN, INFINITY, NAN }, zero[5];
	struct plot plot = lines;

	(void)state;
	plot.rows = 0;
	assert_int_equal(plot_write(&plot, "empty"), STATUS_USAGE);
	plot = lines;
	plot.count = 0;
	assert_int_equal(plot_write(&plot, "empty"), STATUS_USAGE);
	plot.count = PLOT_MAX_SERIES + 1;
	assert_int_equal(plot_write(&plot, "empty"), STATUS_USAGE);
	assert_int_equal(plot_write(&plot, "empty"), STATUS_USAGE);
	plot = lines;
	plot.series[0].y = plot.series[1].y = nothing;
	assert_int_equal(plot_write(&plot, "empty"), STATUS_USAGE);
	assert_non_null(strstr(complaint, "no value of 'loops finished (1/s)'"));
	plot.series[0].y = zero;
	plot.log_y = true;
	assert_int_equal(plot_write(&plot, "empty"), STATUS_USAGE);
	plot = lines;
	plot.x = zero;
	plot.log_x = true;
	assert_int_equal(plot_write(&plot, "empty"), STATUS_USAGE);
	assert_false(exists("empty.tsv"));
}

#define plot_test(name) cmocka_unit_test_setup(name, with_path)

int main(void)
{
	const struct CMUnitTest tests[] = {
		plot_test(test_plot_lines_writes_table_and_both_pictures),
		plot_test(test_plot_lines_mark_each_value_that_is_there),
		plot_test(test_plot_bars_have_a_label_for_each_group),
		plot_test(test_plot_logarithmic_axes_skip_what_has_no_logarithm),
		plot_test(test_plot_same_table_gives_the_same_files),
		plot_test(test_plot_names_are_no_commands),
		plot_test(test_plot_without_gnuplot_keeps_the_table_and_names_the_package),
		plot_test(test_plot_gnuplot_that_fails_is_told_with_its_status),
		plot_test(test_plot_picture_that_is_not_whole_is_told),
		plot_test(test_plot_gnuplot_that_does_not_read_is_no_deadly_signal),
		plot_test(test_plot_files_that_cannot_be_written_are_named),
		plot_test(test_plot_without_data_is_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
