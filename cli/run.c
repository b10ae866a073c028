// SPDX-License-Identifier: GPL-2.0-only
/* `buslock run`: a guest image under the built-in monitor. */
#include "cli/boot.h"
#include "cli/choices.h"
#include "cli/cli.h"
#include "cli/console.h"
#include "cli/monitor.h"
#include "emu/emu.h"

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MEMORY (64ull << 20)

struct run {
	struct monitor_options monitor;
	struct choices choices;
	struct output output;
	struct trace trace;
	const char *guest;
	bool progress;
};

enum {
	OPTION_MODE = 256,
	OPTION_LOAD,
	OPTION_ENTRY,
	OPTION_FORMAT,
	OPTION_APPEND,
	OPTION_VCPUS,
	OPTION_CONSOLE,
	OPTION_SET,
	OPTION_RATE,
	OPTION_THROTTLE,
	OPTION_TIMEOUT,
	OPTION_MAX_EXITS,
	OPTION_DEVICE,
	OPTION_REPORT,
	OPTION_EXPECT,
	OPTION_SYMBOLS,
	OPTION_FOLDED,
	OPTION_TOP,
	OPTION_TRACE,
	OPTION_NO_PROGRESS,
};

static const struct argp_option options[] = {
	{ NULL, 0, NULL, 0, "The guest:", 1 },
	{ "format", OPTION_FORMAT, "FORMAT", 0, "auto (default), flat, elf or multiboot", 1 },
	{ "mode", OPTION_MODE, "MODE", 0, "Of a flat binary: real (default), protected or long",
	  1 },
	{ "load", OPTION_LOAD, "ADDRESS", 0,
	  "Where a flat binary goes: default 0x7c00 in real mode, else 0x100000", 1 },
	{ "entry", OPTION_ENTRY, "ADDRESS", 0, "First instruction; default: the image's own", 1 },
	{ "append", OPTION_APPEND, "TEXT", 0, "Command line of a multiboot kernel", 1 },
	{ "set", OPTION_SET, "REG=VALUE", 0,
	  "A general register at the start, such as di=0x3e; may be repeated", 1 },
	{ NULL, 0, NULL, 0, "The machine:", CHOICES_GROUP },
	{ "memory", 'm', "SIZE", 0, "With K, M or G; default 64M", 2 },
	{ "vcpus", OPTION_VCPUS, "N", 0, "All start at the entry, with their number in RBX", 2 },
	{ "console", OPTION_CONSOLE, "WHICH", 0,
	  "What is printed: both (default), serial or debug; for guests that write to both", 2 },
	{ "device", OPTION_DEVICE, "FILE", 0,
	  "Use this KVM device (/dev/kvm) instead of the emulator", 2 },
	{ NULL, 0, NULL, 0, "The policy and the end:", 3 },
	{ "rate", OPTION_RATE, "N", 0,
	  "Let N bus locks per second through, as QEMU does: --throttle qemu:N", 3 },
	{ "throttle", OPTION_THROTTLE, "POLICY", 0,
	  "none (default), qemu:N, sleep:TIME, bucket:N/s, kernel:N or kill:N (docs/lab.md)", 3 },
	{ "timeout", OPTION_TIMEOUT, "SECONDS", 0, "End the run then (status 124)", 3 },
	{ "max-exits", OPTION_MAX_EXITS, "N", 0, "End the run after N exits (status 124)", 3 },
	{ NULL, 0, NULL, 0, "The report (docs/report.md):", 4 },
	{ "report", OPTION_REPORT, "WHAT", OPTION_ARG_OPTIONAL,
	  "text (default), json or none, to standard error; or FILE, text:FILE, json:FILE", 4 },
	{ "expect", OPTION_EXPECT, "CONDITIONS", 0,
	  "Such as locks==100,rate<=10: exit with 0 if they hold, else with 1", 4 },
	{ "symbols", OPTION_SYMBOLS, "FILE[@OFFSET]", 0,
	  "The guest's symbols: ELF, System.map, kallsyms or a nasm map; may be repeated; default: "
	  "the image's own",
	  4 },
	{ "folded", OPTION_FOLDED, "FILE", 0,
	  "Who called the code that takes bus locks, as folded stacks for a flame graph", 4 },
	{ "top", OPTION_TOP, "N", 0, "Sites to show; default 10", 4 },
	{ "trace", OPTION_TRACE, "FILE", 0,
	  "All that happened, event by event, as JSON Lines (docs/trace.md)", 4 },
	{ "no-progress", OPTION_NO_PROGRESS, NULL, 0, "No line of progress on a terminal", 4 },
	{ NULL, 0, NULL, 0, "", 5 },
	{ 0 },
};

static const char doc[] =
	"Runs a guest image with a built-in KVM monitor: a flat binary, an ELF program or a "
	"multiboot (version 1) kernel, with memory, a serial port at 3F8h and a debug console at "
	"E9h that print to standard output, and an exit port at F4h. The report follows on "
	"standard error.\v"
	"Exit status: of a guest that leaves through the exit port with value V, (2 V + 1) modulo "
	"256, as under QEMU's isa-debug-exit; 0 if it halted or reset the machine, 4 if it died "
	"(triple fault, an instruction that cannot be executed), 124 after --timeout, "
	"--max-exits or --throttle kill:N, 128 plus the number of the signal that ended it, 2 for "
	"bad options or input. "
	"With --expect 1 if a condition did not hold; else 0, unless the guest died or a signal "
	"ended the run.\n"
	"\n"
	"A guest starts with RBX: number of the vCPU, RDX: how many there are (multiboot kernels "
	"find the number in ECX), RSP: a stack of its own, and in protected and long mode flat "
	"segments; in long mode the first 4 GiB are mapped to themselves. docs/run.md tells the "
	"rest.\n"
	"\n"
	"  buslock run boot.bin                            a boot sector\n"
	"  buslock run loop.bin --mode long --set rcx=100 --expect locks==100\n"
	"  buslock run kernel.elf --rate 10 --append 'quiet'\n";

/* ------------------------------------------------------------------ options */

static bool one_of(const char *option, const char *text, const char *const *names, int *value)
{
	char list[128] = "";

	for (int i = 0; names[i]; i++) {
		if (!strcmp(names[i], text)) {
			*value = i;
			return true;
		}
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
			 !i             ? ""
			 : names[i + 1] ? ", "
					: " or ",
			 names[i]);
	}
	complain("%s: '%s' is not %s", option, text, list);
	return false;
}

static bool parse_format(struct run *run, const char *text)
{
	static const char *const names[] = { "auto", "flat", "elf", "multiboot", NULL };
	int value;

	if (!one_of("--format", text, names, &value))
		return false;
	run->monitor.image.format = (enum image_format)value;
	return true;
}

static bool parse_mode(struct run *run, const char *text)
{
	static const char *const names[] = { "auto", "real", "protected", "long", NULL };
	int value;

	if (!one_of("--mode", text, names + 1, &value))
		return false;
	run->monitor.image.mode = (enum image_mode)(value + 1);
	return true;
}

static bool parse_address(const char *option, const char *text, bool *given, uint64_t *value)
{
	*given = parse_number(text, value);
	if (!*given)
		complain("%s: '%s' is not an address (decimal, or 0x and hexadecimal)", option,
			 text);
	return *given;
}

static bool parse_memory(struct run *run, const char *text)
{
	uint64_t *memory = &run->monitor.memory;

	if (!parse_size(text, memory)) {
		complain("-m: '%s' is not a size (such as 64M)", text);
		return false;
	}
	if (*memory < BOOT_MIN_MEMORY || *memory > BOOT_MAX_MEMORY || *memory & 0xfff) {
		complain("-m: %s: from 512K to 3G, in pages of 4K", text);
		return false;
	}
	return true;
}

static bool parse_set(struct run *run, char *text)
{
	char *value = strchr(text, '=');
	struct monitor_register *set = &run->monitor.set[run->monitor.sets];
	struct kvm_regs scratch;

	if (run->monitor.sets == MONITOR_MAX_REGISTERS) {
		complain("--set: more than %d registers", MONITOR_MAX_REGISTERS);
		return false;
	}
	if (!value) {
		complain("--set: '%s': REG=VALUE is wanted, such as di=0x3e", text);
		return false;
	}
	*value++ = '\0';
	if (!boot_set_register(&scratch, text, 0)) {
		complain("--set: there is no general register '%s'", text);
		return false;
	}
	if (!parse_number(value, &set->value)) {
		complain("--set: %s: '%s' is not a number (decimal, or 0x and hexadecimal)", text,
			 value);
		return false;
	}
	set->name = text;
	run->monitor.sets++;
	return true;
}

static bool parse_timeout(struct run *run, const char *text)
{
	char *end;

	run->monitor.timeout = strtod(text, &end);
	if (end != text && !*end && run->monitor.timeout > 0 && run->monitor.timeout < 1e9)
		return true;
	complain("--timeout: '%s' is not a number of seconds", text);
	return false;
}

static bool parse_guest_option(struct run *run, int key, char *text)
{
	struct image_options *image = &run->monitor.image;

	switch (key) {
	case OPTION_FORMAT:
		return parse_format(run, text);
	case OPTION_MODE:
		return parse_mode(run, text);
	case OPTION_LOAD:
		return parse_address("--load", text, &image->has_load, &image->load);
	case OPTION_ENTRY:
		return parse_address("--entry", text, &image->has_entry, &image->entry);
	case OPTION_APPEND:
		image->append = text;
		return true;
	default:
		return parse_set(run, text);
	}
}

static bool parse_machine_option(struct run *run, int key, char *text)
{
	static const char *const consoles[] = { "both", "serial", "debug", NULL };
	uint64_t number;
	int which;

	switch (key) {
	case 'm':
		return parse_memory(run, text);
	case OPTION_VCPUS:
		if (!number_in("--vcpus", text, 1, MONITOR_MAX_VCPUS, &number))
			return false;
		run->monitor.vcpus = (unsigned)number;
		return true;
	case OPTION_CONSOLE:
		if (!one_of("--console", text, consoles, &which))
			return false;
		run->monitor.consoles = (enum monitor_consoles)which;
		return true;
	default:
		run->monitor.device = text;
		return true;
	}
}

static bool parse_throttle(struct run *run, const char *text)
{
	char why[256];

	if (!throttle_parse(&run->monitor.throttle, text, why, sizeof(why)))
		return true;
	complain("--throttle: %s", why);
	return false;
}

static bool parse_end_option(struct run *run, int key, char *text)
{
	uint64_t number;

	switch (key) {
	case OPTION_RATE:
		if (!number_in("--rate", text, 1, 1000000000, &number))
			return false;
		run->monitor.throttle.kind = THROTTLE_QEMU;
		throttle_qemu_init(&run->monitor.throttle.qemu, number);
		return true;
	case OPTION_THROTTLE:
		return parse_throttle(run, text);
	case OPTION_TIMEOUT:
		return parse_timeout(run, text);
	case OPTION_MAX_EXITS:
		return number_in("--max-exits", text, 1, UINT64_MAX, &run->monitor.max_exits);
	case OPTION_REPORT:
		output_set_report(&run->output, text);
		return true;
	case OPTION_EXPECT:
		run->output.expect = text;
		return true;
	case OPTION_TRACE:
		run->output.trace = text;
		return true;
	case OPTION_SYMBOLS:
		return output_add_symbols(&run->output, text);
	case OPTION_FOLDED:
		run->output.folded = text;
		return true;
	case OPTION_TOP:
		if (!number_in("--top", text, 0, REPORT_SITES, &number))
			return false;
		run->output.top = (unsigned)number;
		return true;
	default:
		run->progress = false;
		return true;
	}
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct run *run = state->input;
	bool good;

	switch (key) {
	case ARGP_KEY_ARG:
		if (run->guest) {
			complain("one guest at a time: '%s' is one too many", text);
			return EINVAL;
		}
		run->guest = text;
		return 0;
	case ARGP_KEY_NO_ARGS:
		complain("which guest? buslock run GUEST [OPTION...]; --help tells more");
		return EINVAL;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &run->choices;
		return 0;
	case ARGP_KEY_FINI:
	case ARGP_KEY_END:
	case ARGP_KEY_SUCCESS:
	case ARGP_KEY_ERROR:
		return 0;
	}
	if (key >= OPTION_RATE && key <= OPTION_MAX_EXITS)
		good = parse_end_option(run, key, text);
	else if (key >= OPTION_REPORT && key <= OPTION_NO_PROGRESS)
		good = parse_end_option(run, key, text);
	else if (key == 'm' || key == OPTION_VCPUS || key == OPTION_CONSOLE || key == OPTION_DEVICE)
		good = parse_machine_option(run, key, text);
	else if (key >= OPTION_MODE && key <= OPTION_SET)
		good = parse_guest_option(run, key, text);
	else
		return ARGP_ERR_UNKNOWN;
	return good ? 0 : EINVAL;
}

/* ------------------------------------------------------------------ the run */

static bool is_elf(const char *path)
{
	char magic[4] = "";
	FILE *file = fopen(path, "rb");
	bool elf = file && fread(magic, 1, 4, file) == 4 && !memcmp(magic, "\177ELF", 4);

	if (file)
		fclose(file);
	return elf;
}

/* The image's own symbols, unless others are given; without any the report shows addresses. */
static bool load_symbols(struct run *run, struct symbols **symbols)
{
	char why[256];

	*symbols = NULL;
	if (!run->output.symbol_files) {
		if (is_elf(run->guest))
			symbols_load(symbols, run->guest, NULL, 0);
		return true;
	}
	for (unsigned i = 0; i < run->output.symbol_files; i++)
		if (symbols_add(symbols, run->output.symbols[i], why, sizeof(why))) {
			complain("--symbols: %s", why);
			symbols_free(*symbols);
			return false;
		}
	run->output.symbol_files = 0; /* they are loaded: output_finish() need not */
	return true;
}

static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static int finish(struct run *run, struct monitor *monitor, int status)
{
	enum monitor_end end = monitor_end(monitor);
	int finished;
	char remarks[256];

	monitor_remarks(monitor, remarks, sizeof(remarks));
	/* A death was told at once, with the registers. */
	if (end != END_DIED && (run->output.wanted || end != END_GUEST))
		complain("%s", monitor_end_text(monitor));
	if (run->output.wanted && *remarks)
		complain("%s", remarks);
	finished = output_finish(&run->output, run->monitor.report, run->monitor.symbols);
	if (finished)
		return finished;
	/* With conditions they alone judge a run that was not broken off: limits are part of a test. */
	if (run->output.expect && (end == END_GUEST || end == END_LIMIT))
		return STATUS_OK;
	return status;
}

/* The command line of the guest's side is not in the header: what it changes, the events show. */
static int begin_trace(struct run *run)
{
	char options[PATH_MAX + 512] = "";
	char *command[] = { (char *)(uintptr_t)run->guest, NULL };
	const struct trace_header header = {
		.backend = run->monitor.device                                ? run->monitor.device
			   : run->choices.shim.backend == SHIM_BACKEND_SCRIPT ? "script"
									      : "emulator",
		.options = run->monitor.device ? NULL : options,
		.virtual_time = run->choices.shim.time == SHIM_TIME_VIRTUAL,
		.command = command,
	};

	shim_options_format(&run->choices.shim, options, sizeof(options));
	if (output_begin_trace(&run->output, &run->trace, &run->monitor.report->trace, &header))
		return STATUS_USAGE;
	if (run->trace.counts)
		run->monitor.trace = run->choices.shim.trace = &run->trace;
	return STATUS_OK;
}

static int run_guest(struct run *run)
{
	struct monitor *monitor;
	char why[200];
	int status, traced;

	run->choices.shim.report = run->monitor.report;
	if (!run->monitor.device && emu_engine_check(why, sizeof(why))) {
		complain("the emulator does not work here: %s", why);
		return STATUS_USAGE;
	}
	if (begin_trace(run))
		return STATUS_USAGE;
	if (!run->monitor.device && shim_configure(&run->choices.shim)) {
		complain("the emulator cannot be configured");
		return STATUS_USAGE;
	}
	block_signals();
	console_init(run->progress);
	if (monitor_create(&monitor, &run->monitor, run->guest))
		return STATUS_USAGE;
	status = monitor_run(monitor);
	status = finish(run, monitor, status);
	monitor_destroy(monitor);
	traced = output_end_trace(&run->output, &run->trace,
				  &(const struct trace_end){ .status = status,
							     .virtual_time =
								     run->choices.shim.time ==
								     SHIM_TIME_VIRTUAL });
	return traced ? traced : status;
}

static bool consistent(struct run *run)
{
	if (run->monitor.device && run->choices.given) {
		complain("--%s: such choices are the emulator's; %s is what it is. Leave out one "
			 "of the two",
			 run->choices.given, run->monitor.device);
		return false;
	}
	if (!choices_check(&run->choices) || !choices_check_trace(&run->choices, run->output.trace))
		return false;
	if (run->guest && access(run->guest, R_OK)) {
		complain("%s: %s", run->guest, strerror(errno));
		return false;
	}
	run->output.counting = run->choices.shim.count;
	return output_check(&run->output) && output_check_files(&run->output, run->guest);
}

int command_run(int argc, char **argv)
{
	const struct argp_child children[] = { { .argp = choices_argp() }, { 0 } };
	const struct argp argp = { options, parse_option, "GUEST", doc, children, NULL, NULL };
	struct run run = { .progress = true };
	struct symbols *symbols;
	int fd, status;

	run.monitor.vcpus = 1;
	run.monitor.memory = DEFAULT_MEMORY;
	output_default(&run.output, "");
	run.output.wanted = true;
	choices_default(&run.choices, "");
	argp_err_exit_status = STATUS_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &run) || !consistent(&run)) {
		choices_free(&run.choices);
		return STATUS_USAGE;
	}
	if (report_create(&run.monitor.report, &fd, false)) {
		complain("no memory for the report: %s", strerror(errno));
		return STATUS_USAGE;
	}
	close(fd);
	run.monitor.report->stacks = run.output.folded != NULL;
	status = STATUS_USAGE;
	if (load_symbols(&run, &symbols)) {
		run.monitor.symbols = symbols;
		status = run_guest(&run);
		symbols_free(symbols);
	}
	report_detach(run.monitor.report);
	choices_free(&run.choices);
	return status;
}
