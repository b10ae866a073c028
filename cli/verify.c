// SPDX-License-Identifier: GPL-2.0-only
/* `buslock verify`: random programs on the emulator and on a real KVM. */
#include "verify/verify.h"

#include "cli/cli.h"
#include "cli/console.h"
#include "verify/golden.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define DEFAULT_COUNT 1000
#define MAX_MODES     16
#define ROUND         512 /* programs of a mode in a row */

struct request {
	struct verify verify;
	bool mode[MAX_MODES], any_mode;
	const char *keep;
	bool keep_same;
	bool replay, record;
	char **files; /* for these */
	int nfiles;

	/* of the run */
	bool failed; /* a case could not be kept */
	uint64_t different;
	uint64_t allowed; /* split locks on the device, at the beginning */
	struct verify_counts counts[MAX_MODES];
	double begun;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
	interrupted = signal;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ------------------------------------------------------------------ while it runs */

static void keep(struct request *r, const struct program *program, const struct finding *finding,
		 uint64_t n)
{
	const struct verify *v = &r->verify;
	char name[PATH_MAX], remark[256];
	FILE *file;

	snprintf(name, sizeof(name), "%s/%s-%" PRIu64 "-%" PRIu64 ".txt", r->keep,
		 program->mode->name, v->seed, n);
	snprintf(remark, sizeof(remark), "--mode %s --seed %" PRIu64 " --from %" PRIu64 "%s%s",
		 program->mode->name, v->seed, n, *finding->difference ? ": " : "",
		 finding->verdict == VERDICT_DIFFERENT ? finding->difference : "");
	file = fopen(name, "w");
	if (!file) {
		complain("verify: %s: %s", name, strerror(errno));
		r->failed = true;
		return;
	}
	golden_write(file, program, &finding->other, finding->undefined, remark);
	if (fclose(file)) {
		complain("verify: %s: %s", name, strerror(errno));
		r->failed = true;
	}
}

static void different(void *opaque, const struct program *program, const struct finding *finding,
		      uint64_t n)
{
	struct request *r = opaque;

	r->different++;
	console_end_progress();
	printf("\n%s, program %" PRIu64 ": %s\n", program->mode->name, n, finding->difference);
	golden_write(stdout, program, &finding->other, finding->undefined, NULL);
	fflush(stdout);
	if (r->keep)
		keep(r, program, finding, n);
}

static void same(void *opaque, const struct program *program, const struct finding *finding,
		 uint64_t n)
{
	struct request *r = opaque;

	if (r->keep_same)
		keep(r, program, finding, n);
}

static bool progress(void *opaque, const struct mode *mode, uint64_t done,
		     const struct verify_counts *counts)
{
	struct request *r = opaque;
	uint64_t all = 0;

	(void)done;
	(void)counts;
	for (unsigned i = 0; i < modes_count; i++)
		all += r->counts[i].programs;
	console_progress("verify: %-8s %" PRIu64 " programs, %" PRIu64 " different, %.0f s",
			 mode->name, all, r->different, seconds() - r->begun);
	return interrupted;
}

/* Rounds of all modes in turn, so that each has had its share whenever it is interrupted. */
static int run(struct request *r)
{
	uint64_t first = r->verify.first, count = r->verify.count;

	for (uint64_t n = 0; n < count && !interrupted; n += ROUND) {
		r->verify.first = first + n;
		r->verify.count = count - n < ROUND ? count - n : ROUND;
		for (unsigned i = 0; i < modes_count; i++) {
			if (!r->mode[i])
				continue;
			if (verify_run(&r->verify, &modes[i], &r->counts[i])) {
				console_end_progress();
				complain("verify: %s: %s", modes[i].name, r->verify.error);
				return STATUS_USAGE;
			}
		}
	}
	return STATUS_OK;
}

/* ------------------------------------------------------------------ what came out */

static void print_forms(const struct request *r)
{
	for (unsigned i = 0; i < modes_count; i++) {
		const struct verify_counts *c = &r->counts[i];
		uint64_t least = UINT64_MAX;
		const char *which = "";

		if (!r->mode[i])
			continue;
		for (size_t f = 0; f < c->lockables; f++) {
			if (c->compared[f] >= least)
				continue;
			least = c->compared[f];
			which = c->lockable[f].name;
		}
		printf("  %-8s %zu lockable forms, each in at least %" PRIu64 " (%s)\n",
		       modes[i].name, c->lockables, least, which);
	}
}

static void print_limits(const struct request *r)
{
	static const char *const sides[] = { "the device", "the emulator", "neither" };

	for (unsigned l = 0; l < limits_count; l++) {
		uint64_t n = 0;

		for (unsigned i = 0; i < modes_count; i++)
			n += r->counts[i].limit[l];
		if (n)
			printf("  %6" PRIu64 " %s: %s (%s)\n", n, limits[l].what, limits[l].reason,
			       sides[limits[l].side]);
	}
}

static void print_summary(const struct request *r)
{
	printf("%-9s %9s %9s %8s %8s %8s %8s %8s %9s\n", "mode", "programs", "same", "flags",
	       "depends", "limits", "locks", "endless", "DIFFERENT");
	for (unsigned i = 0; i < modes_count; i++) {
		const uint64_t *v = r->counts[i].verdict;

		if (!r->mode[i])
			continue;
		printf("%-9s %9" PRIu64 " %9" PRIu64 " %8" PRIu64 " %8" PRIu64 " %8" PRIu64
		       " %8" PRIu64 " %8" PRIu64 " %9" PRIu64 "\n",
		       modes[i].name, r->counts[i].programs, v[VERDICT_SAME], v[VERDICT_FLAGS],
		       v[VERDICT_UNDEFINED], v[VERDICT_LIMIT], v[VERDICT_SPLIT_LOCK],
		       v[VERDICT_ENDLESS] + v[VERDICT_LAYOUT], v[VERDICT_DIFFERENT]);
	}
	printf("flags: the same but for flags that the manual leaves undefined; depends: on such a "
	       "flag, not compared\nlocks: programs that take bus locks on the emulator, not run "
	       "on "
	       "the device; endless: no end in time\n");
	if (r->allowed)
		printf("split locks on the device: at most %" PRIu64 ", of %" PRIu64 " allowed\n",
		       r->allowed - r->verify.native_split_locks, r->allowed);
	print_limits(r);
	print_forms(r);
	printf("%.1f s, seed %" PRIu64 "%s\n", seconds() - r->begun, r->verify.seed,
	       interrupted ? ", interrupted" : "");
}

/* ------------------------------------------------------------------ golden cases */

static int replay(struct request *r)
{
	int status = STATUS_OK, passed = 0;

	for (int i = 0; i < r->nfiles; i++) {
		struct stat st;
		char why[256];
		int result;

		if (!stat(r->files[i], &st) && S_ISDIR(st.st_mode)) {
			complain("verify: --replay: %s is a directory; give its files: %s/*.txt",
				 r->files[i], r->files[i]);
			return STATUS_USAGE;
		}
		result =
			verify_golden(r->verify.api, r->verify.path, r->files[i], why, sizeof(why));

		if (result < 0) {
			complain("verify: %s: %s", r->files[i], why);
			return STATUS_USAGE;
		}
		if (result > 0) {
			printf("%s: %s\n", r->files[i], why);
			status = STATUS_NOT_HELD;
		}
		passed += !result;
	}
	printf("%d of %d golden cases passed\n", passed, r->nfiles);
	return status;
}

static int record(const struct request *r)
{
	char why[256];

	if (!verify_record(&kvm_device, r->verify.path, r->files[0], stdout, why, sizeof(why)))
		return STATUS_OK;
	complain("verify: %s: %s", r->files[0], why);
	return STATUS_USAGE;
}

/* ------------------------------------------------------------------ options */

enum {
	OPT_COUNT = 256,
	OPT_SEED,
	OPT_FROM,
	OPT_MODE,
	OPT_AGAINST,
	OPT_DEVICE,
	OPT_KEEP,
	OPT_KEEP_SAME,
	OPT_SPLIT,
	OPT_REPLAY,
	OPT_RECORD,
	OPT_MAX,
	OPT_NO_SHRINK
};

static const struct argp_option arguments[] = {
	{ "count", OPT_COUNT, "N", 0, "Programs of each mode; default 1000", 0 },
	{ "seed", OPT_SEED, "S", 0, "Other programs; default 1", 0 },
	{ "from", OPT_FROM, "N", 0, "Number of the first program; default 0", 0 },
	{ "mode", OPT_MODE, "MODE", 0,
	  "real, prot16, prot32, long, compat16, compat32, user; may be given more than once; "
	  "default: all",
	  0 },
	{ "against", OPT_AGAINST, "KVM", 0,
	  "kvm (default): the real device; emulator: another one of ours, which tells nothing but "
	  "that it is deterministic",
	  0 },
	{ "device", OPT_DEVICE, "PATH", 0, "The real device; default /dev/kvm", 0 },
	{ "keep", OPT_KEEP, "DIR", 0, "Keep each program that differs as a golden case there", 0 },
	{ "keep-same", OPT_KEEP_SAME, NULL, 0, "… and each that does not", 0 },
	{ "replay", OPT_REPLAY, NULL, 0,
	  "Run these golden cases on the emulator (with --against kvm: on the device) instead", 0 },
	{ "record", OPT_RECORD, NULL, 0,
	  "Run the program of this golden case on the device, and print the case with what it does",
	  0 },
	{ "max-different", OPT_MAX, "N", 0, "End a mode behind so many that differ; default 10",
	  0 },
	{ "no-shrink", OPT_NO_SHRINK, NULL, 0, "Show programs that differ as they are", 0 },
	{ "native-split-locks", OPT_SPLIT, "N", 0,
	  "Let programs take N split locks on the real device. Each stalls every core of the "
	  "machine; without this option such programs are not run there",
	  0 },
	{ 0 },
};

static bool take_mode(struct request *r, const char *name)
{
	const struct mode *mode = mode_find(name);

	if (!mode) {
		complain("verify: --mode=%s: give one of real, prot16, prot32, long, compat16, "
			 "compat32, user",
			 name);
		return false;
	}
	r->mode[mode - modes] = r->any_mode = true;
	return true;
}

static bool take_against(struct request *r, const char *name)
{
	if (!strcmp(name, "kvm")) {
		r->verify.api = &kvm_device;
		return true;
	}
	if (!strcmp(name, "emulator")) {
		r->verify.api = &kvm_emulator;
		return true;
	}
	complain("verify: --against=%s: give kvm or emulator", name);
	return false;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
	struct request *r = state->input;
	struct verify *v = &r->verify;
	uint64_t n;

	switch (key) {
	case OPT_COUNT:
		return number_in("verify: --count", value, 1, UINT32_MAX, &v->count) ? 0 : EINVAL;
	case OPT_SEED:
		return number_in("verify: --seed", value, 0, UINT64_MAX, &v->seed) ? 0 : EINVAL;
	case OPT_FROM:
		return number_in("verify: --from", value, 0, UINT32_MAX, &v->first) ? 0 : EINVAL;
	case OPT_MAX:
		if (!number_in("verify: --max-different", value, 0, UINT32_MAX, &n))
			return EINVAL;
		v->max_different = (unsigned)n;
		return 0;
	case OPT_SPLIT:
		return number_in("verify: --native-split-locks", value, 0, 1000000,
				 &v->native_split_locks)
			       ? 0
			       : EINVAL;
	case OPT_MODE:
		return take_mode(r, value) ? 0 : EINVAL;
	case OPT_AGAINST:
		return take_against(r, value) ? 0 : EINVAL;
	case OPT_DEVICE:
		v->path = value;
		return 0;
	case OPT_KEEP:
		r->keep = value;
		return 0;
	case OPT_KEEP_SAME:
		r->keep_same = true;
		return 0;
	case OPT_NO_SHRINK:
		v->no_shrink = true;
		return 0;
	case OPT_REPLAY:
		r->replay = true;
		return 0;
	case OPT_RECORD:
		r->record = true;
		return 0;
	case ARGP_KEY_ARGS:
		r->files = state->argv + state->next;
		r->nfiles = state->argc - state->next;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static bool consistent(struct request *r)
{
	struct stat st;

	if ((r->replay || r->record) != (r->nfiles > 0) || (r->record && r->nfiles != 1)) {
		complain(r->replay   ? "verify: --replay: give the files"
			 : r->record ? "verify: --record: give one file"
				     : "verify: '%s': files are for --replay and --record",
			 r->nfiles ? r->files[0] : "");
		return false;
	}
	if (r->keep_same && !r->keep) {
		complain("verify: --keep-same: give --keep DIR, too");
		return false;
	}
	if (r->keep && (stat(r->keep, &st) || !S_ISDIR(st.st_mode))) {
		complain("verify: --keep=%s: there is no such directory", r->keep);
		return false;
	}
	if (!r->verify.api) /* golden cases are the emulator's to be held against */
		r->verify.api = r->replay ? &kvm_emulator : &kvm_device;
	for (unsigned i = 0; i < modes_count; i++)
		r->mode[i] |= !r->any_mode;
	return true;
}

int command_verify(int argc, char **argv)
{
	static const struct argp argp = {
		.options = arguments,
		.parser = parse,
		.args_doc = "\n--replay FILE...\n--record FILE",
		.doc = "Runs random guest programs on the emulator and on the real KVM, compares "
		       "exits, "
		       "registers, flags and memory, and shrinks what differs.\v"
		       "Exit status: 0 no differences, 1 differences, 2 trouble, 130 interrupted "
		       "before any was found (docs/verify.md).",
	};
	static struct request r = {
		.verify = { .path = "/dev/kvm",
			    .seed = 1,
			    .count = DEFAULT_COUNT,
			    .max_different = 10,
			    .different = different,
			    .same = same,
			    .progress = progress },
	};
	int status;

	argp_err_exit_status = STATUS_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &r) || !consistent(&r))
		return STATUS_USAGE;
	if (r.record)
		return record(&r);
	if (r.replay)
		return replay(&r);
	r.verify.opaque = &r;
	r.allowed = r.verify.native_split_locks;
	r.begun = seconds();
	console_init(true);
	signal(SIGINT, on_interrupt);
	status = run(&r);
	console_end_progress();
	if (status)
		return status;
	print_summary(&r);
	if (r.failed)
		return STATUS_USAGE;
	if (r.different)
		return STATUS_NOT_HELD;
	return interrupted ? 128 + interrupted : STATUS_OK; /* as shells tell it */
}
