/* SPDX-License-Identifier: GPL-2.0-only */
/* Pictures of a table, drawn by gnuplot: the data as .tsv, and the same picture as .svg and .png. */
#ifndef BUSLOCK_CLI_PLOT_H
#define BUSLOCK_CLI_PLOT_H

#include <stdbool.h>
#include <stddef.h>

#define PLOT_MAX_SERIES 8 /* as many colours can be told apart */

#define PLOT_WIDTH  960 /* pixels, of both pictures */
#define PLOT_HEIGHT 600

enum { PLOT_TSV = 1, PLOT_SVG = 2, PLOT_PNG = 4 };

enum plot_kind {
	PLOT_LINES, /* points joined by lines, over `x` */
	PLOT_BARS,  /* a group of bars for each of `labels` */
};

struct plot_series {
	const char *name;
	const double *y; /* plot.rows values; NAN: none there */
};

struct plot {
	enum plot_kind kind;
	const char *title, *x_label, *y_label; /* labels with their units */
	bool log_x, log_y; /* logarithmic axes; values that are not positive are left out */
	size_t rows;
	const double *x;           /* PLOT_LINES: ascending */
	const char *const *labels; /* PLOT_BARS */
	unsigned files;            /* PLOT_TSV …; 0: all of them */
	bool no_points;            /* PLOT_LINES: there are too many for a mark on each */
	/* The series from this one on belong to the axis at the right; 0: there is none. */
	unsigned second_axis;
	const char *y2_label;
	unsigned count;
	struct plot_series series[PLOT_MAX_SERIES];
};

/*
 * Writes `file`.tsv, `file`.svg and `file`.png, or those of them that `files` names; a `file` that ends in one of these names is taken
 * without it. STATUS_OK, or after complaining STATUS_USAGE (a file cannot be written, nothing to
 * draw) or STATUS_NO_PLOT (gnuplot is not there or failed: the .tsv, if it is wanted, has been written).
 */
int plot_write(const struct plot *plot, const char *file);

#endif
