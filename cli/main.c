// SPDX-License-Identifier: GPL-2.0-only
/* The command `buslock`: finds the sub-command. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int command_help(int argc, char **argv);
static int command_version(int argc, char **argv);

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} commands[] = {
	{ "exec", command_exec, "run a KVM monitor with the bus-lock feature that the host lacks" },
	{ "record", command_record,
	  "run a KVM monitor on the real device and write down what happens" },
	{ "run", command_run, "run a guest image with the built-in monitor" },
	{ "explain", command_explain, "say whether an instruction takes a bus lock, and why" },
	{ "host", command_host, "say what this host can do by itself" },
	{ "show", command_show, "show a trace, event by event, with a summary" },
	{ "diff", command_diff, "say where two traces part" },
	{ "plot", command_plot, "draw bus locks and throttling of a trace over time" },
	{ "export", command_export, "write a trace for another tool (Perfetto)" },
	{ "lab", command_lab, "experiments with tables and plots" },
	{ "mutate", command_mutate, "which faults of processor and kernel does your test notice?" },
	{ "import", command_import, "a trace from logs of KVM's tracepoints and the kernel" },
	{ "verify", command_verify, "hold the emulator against the real KVM, by random programs" },
	{ "help", command_help, "this text, or that of a sub-command" },
	{ "version", command_version, "print the version" },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static void usage(FILE *out)
{
	fputs("Usage: buslock COMMAND [OPTION...]\n"
	      "Bus-lock exits of the KVM API on machines whose processor or kernel has none.\n\n",
	      out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].summary);
	fputs("\nTry these:\n"
	      "  buslock exec --report -- qemu-system-x86_64 -accel kvm -M "
	      "microvm,bus-lock-ratelimit=10 ...\n"
	      "  buslock record --trace run.jsonl -- qemu-system-x86_64 -accel kvm ...\n"
	      "  buslock run kernel.elf --rate 10\n"
	      "  buslock explain --mode 16 \"26 87 55 02\" es=0070 di=007D\n"
	      "\n`buslock COMMAND --help` tells the options of one.\n",
	      out);
}

static int unknown(const char *name)
{
	complain("there is no sub-command '%s'; `buslock help` lists them", name);
	return STATUS_USAGE;
}

static int start(const struct command *command, int argc, char **argv)
{
	/* argp names the program by argv[0] in its messages. */
	char name[32];

	snprintf(name, sizeof(name), "buslock %s", command->name);
	argv[0] = name;
	return command->run(argc, argv);
}

static int command_help(int argc, char **argv)
{
	const struct command *command;
	char help[] = "--help";
	char *arguments[] = { NULL, help, NULL };

	if (argc < 2) {
		usage(stdout);
		return STATUS_OK;
	}
	command = find(argv[1]);
	if (!command)
		return unknown(argv[1]);
	if (command->run == command_help || command->run == command_version) {
		printf("Usage: buslock %s\n%s\n", command->name, command->summary);
		return STATUS_OK;
	}
	return start(command, 2, arguments);
}

static int command_version(int argc, char **argv)
{
	if (argc > 1) {
		complain("version takes no arguments (got '%s')", argv[1]);
		return STATUS_USAGE;
	}
	puts("buslock " BUSLOCK_VERSION);
	return STATUS_OK;
}

/* What was printed and did not arrive is trouble, also behind argp's --help, which ends the program. */
static void check_output(void)
{
	bool bad = ferror(stdout);

	errno = 0;
	if (!fflush(stdout) && !bad)
		return;
	complain("standard output: %s", errno ? strerror(errno) : "it could not be written");
	_exit(STATUS_USAGE);
}

/*
 * A standard stream that is closed: the next file that is opened would get its number, and what is printed.
 * A descriptor that gives EBADF for what the stream is for takes its place; programs that are started
 * find it closed, as it was.
 */
static void keep_streams_apart(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", (fd ? O_RDONLY : O_WRONLY) | O_CLOEXEC) < 0)
			return;
}

int main(int argc, char **argv)
{
	const struct command *command;

	keep_streams_apart();
	atexit(check_output);
	if (argc < 2) {
		usage(stderr);
		return STATUS_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "-?")) {
		usage(stdout);
		return STATUS_OK;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))
		return command_version(1, argv);
	command = find(argv[1]);
	if (!command)
		return unknown(argv[1]);
	return start(command, argc - 1, argv + 1);
}
