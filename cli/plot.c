// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pictures by gnuplot: one process, fed a script with the data in it through a pipe, draws both. No
 * shell and no start-up file of the user's takes part, so equal tables give equal pictures.
 */
#include "cli/plot.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Okabe and Ito's palette: told apart with any kind of colour vision, and dark enough for lines. */
static const char *const colours[PLOT_MAX_SERIES] = {
	"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c510a",
};

enum { SVG, PNG, PICTURES };

struct picture {
	char *path;
	int fd;
};

/* ------------------------------------------------------------------ files */

/* `file` without a suffix of ours, and with ".suffix". The caller frees it. */
static char *path_of(const char *file, const char *suffix)
{
	static const char *const ours[] = { ".tsv", ".svg", ".png" };
	size_t length = strlen(file);
	char *path;

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (length > 4 && !strcmp(file + length - 4, ours[i])) {
			length -= 4;
			break;
		}
	if (asprintf(&path, "%.*s.%s", (int)length, file, suffix) < 0)
		return NULL;
	return path;
}

static void put_value(FILE *out, double value)
{
	if (isfinite(value))
		fprintf(out, "\t%.10g", value);
	else
		fputs("\t?", out); /* no number: no point, and the line is broken */
}

/* No character of a name ends its line, or leaves its column or its quotes. */
static char harmless(char c, char quote)
{
	return c == quote ? '\'' : (unsigned char)c < ' ' ? ' ' : c;
}

static void put_name(FILE *out, const char *name, char quote)
{
	for (; *name; name++)
		fputc(harmless(*name, quote), out);
}

static void put_rows(FILE *out, const struct plot *plot)
{
	for (size_t row = 0; row < plot->rows; row++) {
		if (plot->kind == PLOT_BARS) {
			fputc('"', out);
			put_name(out, plot->labels[row], '"');
			fputc('"', out);
		} else {
			fprintf(out, "%.10g", plot->x[row]);
		}
		for (unsigned i = 0; i < plot->count; i++)
			put_value(out, plot->series[i].y[row]);
		fputc('\n', out);
	}
}

static int write_table(const struct plot *plot, const char *path)
{
	FILE *out = fopen(path, "w");
	bool bad;

	if (!out)
		return -errno;
	put_name(out, plot->x_label, '"');
	for (unsigned i = 0; i < plot->count; i++) {
		fputc('\t', out);
		put_name(out, plot->series[i].name, '"');
	}
	fputc('\n', out);
	put_rows(out, plot);
	bad = ferror(out);
	errno = 0;
	if (fclose(out) || bad)
		return errno ? -errno : -EIO;
	return 0;
}

/* ------------------------------------------------------------------ the script */

/* Between single quotes nothing is special but they themselves (and '' works only here and there). */
static void put_text(FILE *out, const char *text)
{
	fputc('\'', out);
	for (; *text; text++)
		if (*text == '\'')
			fputs("\u2019", out);
		else
			fputc(harmless(*text, '\''), out);
	fputc('\'', out);
}

static void put_setting(FILE *out, const char *what, const char *text)
{
	fprintf(out, "set %s ", what);
	put_text(out, text);
	fputc('\n', out);
}

/* Of what belongs to the axis at the left. */
static bool any_above_zero(const struct plot *plot)
{
	unsigned count = plot->second_axis ? plot->second_axis : plot->count;

	for (unsigned i = 0; i < count; i++)
		for (size_t row = 0; row < plot->rows; row++)
			if (plot->series[i].y[row] > 0)
				return true;
	return false;
}

static void put_style(FILE *out, const struct plot *plot)
{
	put_setting(out, "title", plot->title);
	put_setting(out, "xlabel", plot->x_label);
	put_setting(out, "ylabel", plot->y_label);
	fputs("set datafile separator tab\n"
	      "set key outside right top\n"
	      "set grid linecolor rgb '#c0c0c0'\n"
	      "set border 3\n"
	      "set xtics nomirror\n"
	      "set ytics nomirror\n",
	      out);
	if (plot->second_axis) {
		put_setting(out, "y2label", plot->y2_label);
		fputs("set border 11\nset y2tics\nset y2range [0:*]\nset key below\n", out);
	}
	if (plot->log_x)
		fputs("set logscale x\n", out);
	if (plot->log_y)
		fputs("set logscale y\n", out);
	else /* gnuplot takes a range from 0 to 0 for a mistake */
		fputs(any_above_zero(plot) ? "set yrange [0:*]\n" : "set yrange [0:1]\n", out);
	if (plot->kind == PLOT_BARS)
		fputs("set style data histograms\n"
		      "set style histogram clustered gap 1\n"
		      "set style fill solid 1 noborder\n"
		      "set xtics rotate by -30\n",
		      out);
}

/* Lines differ by their points or dashes, too: a picture is also printed in black and white. */
static void put_series(FILE *out, const struct plot *plot, unsigned i)
{
	const char *axes = plot->second_axis && i >= plot->second_axis ? " axes x1y2" : "";

	fputs(i ? ", " : "plot ", out);
	if (plot->kind == PLOT_BARS)
		fprintf(out, "$data using %u:xtic(1) linecolor rgb '%s' title ", i + 2, colours[i]);
	else if (plot->no_points)
		fprintf(out,
			"$data using 1:%u%s with lines linewidth 2 dashtype %u linecolor rgb '%s' "
			"title ",
			i + 2, axes, i + 1, colours[i]);
	else
		fprintf(out,
			"$data using 1:%u%s with linespoints linewidth 2 pointtype %u "
			"pointsize 0.8 linecolor rgb '%s' title ",
			i + 2, axes, i + 4, colours[i]);
	put_text(out, plot->series[i].name);
}

/* To a descriptor: gnuplot would take some names of files for commands. */
static void put_picture(FILE *out, const struct plot *plot, const char *terminal, int fd)
{
	fprintf(out, "set terminal %s size %d,%d noenhanced background rgb 'white'\n", terminal,
		PLOT_WIDTH, PLOT_HEIGHT);
	fprintf(out, "set output '/dev/fd/%d'\n", fd);
	for (unsigned i = 0; i < plot->count; i++)
		put_series(out, plot, i);
	fputs("\nunset output\n", out);
}

static void put_script(FILE *out, const struct plot *plot, const struct picture *pictures)
{
	fputs("set encoding utf8\n$data << end_of_data\n", out);
	put_rows(out, plot);
	fputs("end_of_data\n", out);
	put_style(out, plot);
	if (pictures[SVG].fd >= 0)
		put_picture(out, plot, "svg font 'sans-serif,14'", pictures[SVG].fd);
	if (pictures[PNG].fd >= 0)
		put_picture(out, plot, "pngcairo font 'sans,11'", pictures[PNG].fd);
}

/* ------------------------------------------------------------------ gnuplot */

/* A gnuplot that reads `script`; its messages go to our standard error. 0 or an errno. */
static int spawn_gnuplot(pid_t *pid, int script, int unused)
{
	/* -d: neither the system's nor the user's start-up file */
	char name[] = "gnuplot", defaults[] = "-d";
	char *arguments[] = { name, defaults, NULL };
	posix_spawn_file_actions_t actions;
	int error = posix_spawn_file_actions_init(&actions);

	if (error)
		return error;
	error = posix_spawn_file_actions_addclose(&actions, unused);
	if (!error)
		error = posix_spawn_file_actions_adddup2(&actions, script, STDIN_FILENO);
	if (!error)
		error = posix_spawn_file_actions_addclose(&actions, script);
	if (!error)
		error = posix_spawnp(pid, name, &actions, NULL, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

/* Closes `fd`. A gnuplot that dies early is told by its status, not by SIGPIPE. */
static void feed(int fd, const struct plot *plot, const struct picture *pictures)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, old;
	FILE *out = fdopen(fd, "w");

	if (!out) {
		close(fd);
		return;
	}
	sigaction(SIGPIPE, &ignore, &old);
	put_script(out, plot, pictures);
	fclose(out);
	sigaction(SIGPIPE, &old, NULL);
}

static int draw(const struct plot *plot, const struct picture *pictures)
{
	int ends[2], error, status;
	pid_t pid;

	if (pipe(ends)) {
		complain("plot: no pipe to gnuplot: %s", strerror(errno));
		return STATUS_NO_PLOT;
	}
	error = spawn_gnuplot(&pid, ends[0], ends[1]);
	close(ends[0]);
	if (error) {
		close(ends[1]);
		complain("plot: gnuplot cannot be started: %s; install the package gnuplot-nox",
			 strerror(error));
		return STATUS_NO_PLOT;
	}
	feed(ends[1], plot, pictures);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR) {
			complain("plot: gnuplot is lost: %s", strerror(errno));
			return STATUS_NO_PLOT;
		}
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return STATUS_OK;
	complain("plot: gnuplot failed (%s %d); its message stands above",
		 WIFEXITED(status) ? "status" : "signal",
		 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	return STATUS_NO_PLOT;
}

/* ------------------------------------------------------------------ the way in */

static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ')
			return true;
	return false;
}

/* gnuplot takes an empty picture for a mistake. */
static bool has_point(const struct plot *plot)
{
	for (unsigned i = 0; i < plot->count; i++)
		for (size_t row = 0; row < plot->rows; row++) {
			double x = plot->kind == PLOT_LINES ? plot->x[row] : 1;
			double y = plot->series[i].y[row];

			if (isfinite(y) && (y > 0 || !plot->log_y) && (x > 0 || !plot->log_x))
				return true;
		}
	return false;
}

static int check(const struct plot *plot, const char *file)
{
	if (!*file || has_control(file)) {
		complain("plot: '%s' is not the name of a file", file);
		return STATUS_USAGE;
	}
	if (!plot->rows || !plot->count || plot->count > PLOT_MAX_SERIES) {
		complain("plot: %s: %zu rows and %u series; at least one of each and at most %d "
			 "series can be drawn",
			 file, plot->rows, plot->count, PLOT_MAX_SERIES);
		return STATUS_USAGE;
	}
	if (!has_point(plot)) {
		complain("plot: %s: no value of '%s' can be drawn", file, plot->y_label);
		return STATUS_USAGE;
	}
	return STATUS_OK;
}

static bool is_wanted(const struct plot *plot, unsigned file)
{
	return !plot->files || plot->files & file;
}

static bool open_pictures(const struct plot *plot, struct picture *pictures)
{
	for (unsigned i = 0; i < PICTURES; i++) {
		if (!is_wanted(plot, i == SVG ? PLOT_SVG : PLOT_PNG))
			continue;
		/* gnuplot inherits it */
		pictures[i].fd = open(pictures[i].path, O_RDWR | O_CREAT | O_TRUNC, 0666);
		if (pictures[i].fd < 0) {
			complain("plot: %s: %s", pictures[i].path, strerror(errno));
			return false;
		}
	}
	return true;
}

/*
 * gnuplot does not tell that a disk is full. Both formats say where they end: SVG's root element; PNG's
 * IEND chunk, which is empty (PNG 3rd edition, 11.2.5).
 */
static bool is_whole(int fd, const char *end, size_t length)
{
	char tail[32];
	off_t size = lseek(fd, 0, SEEK_END);
	ssize_t n = size < 0 ? -1
			     : pread(fd, tail, sizeof(tail),
				     size > (off_t)sizeof(tail) ? size - (off_t)sizeof(tail) : 0);

	return n > 0 && memmem(tail, (size_t)n, end, length);
}

static int check_pictures(const struct picture *pictures)
{
	static const char svg[] = "</svg>", png[] = "IEND\xae\x42\x60\x82";

	for (unsigned i = 0; i < PICTURES; i++) {
		if (pictures[i].fd < 0 ||
		    is_whole(pictures[i].fd, i == SVG ? svg : png, i == SVG ? 6 : 8))
			continue;
		complain("plot: %s: gnuplot has not written all of it; is the disk full?",
			 pictures[i].path);
		return STATUS_USAGE;
	}
	return STATUS_OK;
}

/* Half a picture is none. */
static int close_pictures(struct picture *pictures, int status)
{
	for (unsigned i = 0; i < PICTURES; i++) {
		if (pictures[i].fd < 0)
			continue;
		if (status)
			unlink(pictures[i].path);
		close(pictures[i].fd);
	}
	return status;
}

static int write_all(const struct plot *plot, const char *table, struct picture *pictures)
{
	int error = is_wanted(plot, PLOT_TSV) ? write_table(plot, table) : 0;
	int status = STATUS_USAGE;

	if (error) {
		complain("plot: %s: %s", table, strerror(-error));
		return STATUS_USAGE;
	}
	if (!is_wanted(plot, PLOT_SVG | PLOT_PNG))
		return STATUS_OK;
	if (open_pictures(plot, pictures))
		status = draw(plot, pictures);
	if (!status)
		status = check_pictures(pictures);
	return close_pictures(pictures, status);
}

int plot_write(const struct plot *plot, const char *file)
{
	struct picture pictures[PICTURES] = { { NULL, -1 }, { NULL, -1 } };
	int status = check(plot, file);
	char *table;

	if (status)
		return status;
	table = path_of(file, "tsv");
	pictures[SVG].path = path_of(file, "svg");
	pictures[PNG].path = path_of(file, "png");
	if (table && pictures[SVG].path && pictures[PNG].path) {
		status = write_all(plot, table, pictures);
	} else {
		complain("plot: %s: out of memory", file);
		status = STATUS_USAGE;
	}
	free(table);
	free(pictures[SVG].path);
	free(pictures[PNG].path);
	return status;
}
