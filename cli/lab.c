// SPDX-License-Identifier: GPL-2.0-only
/* `buslock lab`: finds the experiment. */
#include "cli/lab.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static const struct lab {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} labs[] = {
	{ "throttle", lab_throttle, "policies for bus locks beside each other, on one guest" },
	{ "hang", lab_hang, "the host's split-lock policy against a monitor that kicks its vCPU" },
	{ NULL, NULL, NULL },
};

static const struct lab *find(const char *name)
{
	for (const struct lab *lab = labs; lab->name; lab++)
		if (!strcmp(lab->name, name))
			return lab;
	return NULL;
}

static void usage(FILE *out)
{
	fputs("Usage: buslock lab NAME [OPTION...]\n"
	      "Experiments on the emulator: each prints a table and can draw it (docs/lab.md).\n\n",
	      out);
	for (const struct lab *lab = labs; lab->name; lab++)
		fprintf(out, "  %-9s %s\n", lab->name, lab->summary);
	fputs("\n`buslock lab NAME --help` tells the options of one.\n", out);
}

static int unknown(const char *name)
{
	complain("lab: there is no experiment '%s'; `buslock lab list` shows them", name);
	return STATUS_USAGE;
}

static int start(const struct lab *lab, int argc, char **argv)
{
	/* argp names the program by argv[0] in its messages. */
	char name[48];

	snprintf(name, sizeof(name), "buslock lab %s", lab->name);
	argv[0] = name;
	return lab->run(argc, argv);
}

static int lab_help(int argc, char **argv)
{
	const struct lab *lab;
	char help[] = "--help";
	char *arguments[] = { NULL, help, NULL };

	if (argc < 2) {
		usage(stdout);
		return STATUS_OK;
	}
	lab = find(argv[1]);
	return lab ? start(lab, 2, arguments) : unknown(argv[1]);
}

/* Names only, one a line: for scripts and completion. */
static int lab_list(void)
{
	for (const struct lab *lab = labs; lab->name; lab++)
		printf("%s\n", lab->name);
	return STATUS_OK;
}

int command_lab(int argc, char **argv)
{
	const struct lab *lab;

	if (argc < 2) {
		usage(stderr);
		return STATUS_USAGE;
	}
	if (!strcmp(argv[1], "list"))
		return lab_list();
	if (!strcmp(argv[1], "help"))
		return lab_help(argc - 1, argv + 1);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-?"))
		return lab_help(1, argv);
	lab = find(argv[1]);
	return lab ? start(lab, argc - 1, argv + 1) : unknown(argv[1]);
}
