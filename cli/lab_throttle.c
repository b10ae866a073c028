// SPDX-License-Identifier: GPL-2.0-only
/* `buslock lab throttle`: policies for bus locks beside each other, on one guest. */
#include "cli/lab_throttle.h"

#include "cli/cli.h"
#include "cli/lab.h"
#include "emu/emu.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request {
	struct lab lab;
	bool json;
	const char *plot;
	const struct lab_metric *metric;
};

enum {
	OPTION_POLICY = 256,
	OPTION_RATES,
	OPTION_VCPUS,
	OPTION_ATTACKERS,
	OPTION_ATTACKER_WORK,
	OPTION_INNOCENT_WORK,
	OPTION_DURATION,
	OPTION_INSTRUCTION_COST,
	OPTION_LOCK_COST,
	OPTION_EXIT_COST,
	OPTION_KICK,
	OPTION_JSON,
	OPTION_PLOT,
	OPTION_PLOT_OF,
};

static const struct argp_option options[] = {
	{ NULL, 0, NULL, 0, "The policies:", 1 },
	{ "policy", OPTION_POLICY, "POLICY", 0,
	  "As of `buslock run --throttle`; a '*' in it stands for each of --rates; may be repeated",
	  1 },
	{ "rates", OPTION_RATES, "N,...", 0, "Locks per second; default 1,10,100,1000", 1 },
	{ NULL, 0, NULL, 0, "The guest:", 2 },
	{ "vcpus", OPTION_VCPUS, "N", 0, "1 to 8; default 2", 2 },
	{ "attackers", OPTION_ATTACKERS, "N", 0, "How many of them lock the bus at will; default 1",
	  2 },
	{ "attacker-work", OPTION_ATTACKER_WORK, "N", 0,
	  "Instructions between two bus locks of an attacker; default 0", 2 },
	{ "innocent-work", OPTION_INNOCENT_WORK, "N", 0,
	  "The same for the others, or never; default 1000000", 2 },
	{ NULL, 0, NULL, 0, "The machine:", 3 },
	{ "duration", OPTION_DURATION, "SECONDS", 0, "Of simulated time; default 10", 3 },
	{ "instruction-cost", OPTION_INSTRUCTION_COST, "NS", 0, "Default 100", 3 },
	{ "lock-cost", OPTION_LOCK_COST, "NS", 0, "Of a bus lock; default 1000", 3 },
	{ "exit-cost", OPTION_EXIT_COST, "NS", 0,
	  "Of the way from the guest to the monitor and back; default 3000", 3 },
	{ "kick", OPTION_KICK, "MS", 0, "Kick each vCPU so often, 0: never; default 10", 3 },
	{ NULL, 0, NULL, 0, "What is told (docs/lab.md):", 4 },
	{ "json", OPTION_JSON, NULL, 0, "For tools", 4 },
	{ "plot", OPTION_PLOT, "FILE", 0, "Draw it: FILE.tsv, FILE.svg and FILE.png", 4 },
	{ "plot-of", OPTION_PLOT_OF, "COLUMN", 0,
	  "innocent-work (default), innocent-gain, innocent-asleep, attacker-work, attacker-gain, "
	  "attacker-asleep, locks, fairness-work, fairness-locks or kick",
	  4 },
	{ NULL, 0, NULL, 0, "", 5 },
	{ 0 },
};

static const char doc[] =
	"Runs one guest under several policies for bus locks, on a clock of its own: what gets "
	"through, "
	"what the guest's work suffers, how long its vCPUs sleep, how evenly they are treated and "
	"how "
	"long a kick waits. Equal options give equal tables.\v"
	"Exit status: 0; 2 for bad options; 6 if only the plot failed.\n"
	"\n"
	"  buslock lab throttle\n"
	"  buslock lab throttle --vcpus 4 --attackers 4 --plot kick --plot-of kick\n"
	"  buslock lab throttle --policy qemu:10 --policy bucket:10/s,burst=10\n";

static const char *const default_policies[] = {
	"qemu:*", "kernel:*", "bucket:*/s", "bucket:*/s,per-vcpu", "sleep:*/s", "kill:1000",
};

/* ------------------------------------------------------------------ options */

/* The policy with the rate in place of its '*'. */
static bool expand(const char *policy, uint64_t rate, char *text)
{
	const char *star = strchr(policy, '*');
	int length;

	if (star)
		length = snprintf(text, LAB_POLICY_SIZE, "%.*s%llu%s", (int)(star - policy), policy,
				  (unsigned long long)rate, star + 1);
	else
		length = snprintf(text, LAB_POLICY_SIZE, "%s", policy);
	return length < LAB_POLICY_SIZE;
}

static bool known(const char *text, struct throttle *throttle)
{
	char why[256];

	if (!throttle_parse(throttle, text, why, sizeof(why)))
		return true;
	complain("--policy: %s", why);
	return false;
}

static bool add_policy(struct lab *lab, const char *policy)
{
	if (lab->policy_count == LAB_MAX_POLICIES) {
		complain("--policy: more than %d", LAB_MAX_POLICIES);
		return false;
	}
	lab->policies[lab->policy_count++] = policy;
	return true;
}

static bool parse_rates(struct lab *lab, const char *text)
{
	const char *whole = text;
	char number[24];

	lab->rate_count = 0;
	for (size_t length;; text += length + 1) {
		uint64_t *rate = &lab->rates[lab->rate_count];

		length = strcspn(text, ",");
		snprintf(number, sizeof(number), "%.*s", (int)length, text);
		if (length >= sizeof(number) || lab->rate_count == LAB_MAX_RATES ||
		    !parse_number(number, rate) || !*rate ||
		    (lab->rate_count && *rate <= rate[-1])) {
			complain("--rates: '%s': up to %d ascending numbers are wanted, as in 1,10",
				 whole, LAB_MAX_RATES);
			return false;
		}
		lab->rate_count++;
		if (!text[length])
			return true;
	}
}

static bool parse_count(const char *option, const char *text, unsigned low, unsigned *value)
{
	uint64_t number;

	if (!number_in(option, text, low, SIM_MAX_VCPUS, &number))
		return false;
	*value = (unsigned)number;
	return true;
}

static bool parse_work(const char *option, const char *text, uint64_t *work)
{
	if (!strcmp(text, "never")) {
		*work = SIM_NEVER;
		return true;
	}
	if (parse_number(text, work) && *work <= 1000000000)
		return true;
	complain("%s: '%s' is neither a number up to 1000000000 nor never", option, text);
	return false;
}

static bool parse_duration(struct lab *lab, const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds >= 0.001 && seconds <= 3600)) {
		complain("--duration: '%s' is not a number of seconds from 0.001 to 3600", text);
		return false;
	}
	lab->options.duration = (uint64_t)(seconds * 1e9);
	return true;
}

static bool parse_metric(struct request *request, const char *text)
{
	request->metric = lab_metric_find(text);
	if (!request->metric)
		complain("--plot-of: there is no column '%s'; there are %s", text,
			 lab_metric_names());
	return request->metric;
}

static bool parse_machine_option(struct sim_options *o, int key, const char *text)
{
	uint64_t number;

	switch (key) {
	case OPTION_VCPUS:
		return parse_count("--vcpus", text, 1, &o->vcpus);
	case OPTION_ATTACKERS:
		return parse_count("--attackers", text, 0, &o->attackers);
	case OPTION_ATTACKER_WORK:
		return parse_work("--attacker-work", text, &o->attacker_work);
	case OPTION_INNOCENT_WORK:
		return parse_work("--innocent-work", text, &o->innocent_work);
	case OPTION_INSTRUCTION_COST:
		return number_in("--instruction-cost", text, 1, 1000000, &o->instruction_cost);
	case OPTION_LOCK_COST:
		return number_in("--lock-cost", text, 1, 1000000, &o->lock_cost);
	case OPTION_EXIT_COST:
		return number_in("--exit-cost", text, 0, 1000000, &o->exit_cost);
	default:
		if (!number_in("--kick", text, 0, 10000, &number))
			return false;
		o->kick_interval = number * 1000000;
		return true;
	}
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct request *request = state->input;
	bool good = true;

	switch (key) {
	case OPTION_POLICY:
		good = add_policy(&request->lab, text);
		break;
	case OPTION_RATES:
		good = parse_rates(&request->lab, text);
		break;
	case OPTION_DURATION:
		good = parse_duration(&request->lab, text);
		break;
	case OPTION_VCPUS:
	case OPTION_ATTACKERS:
	case OPTION_ATTACKER_WORK:
	case OPTION_INNOCENT_WORK:
	case OPTION_INSTRUCTION_COST:
	case OPTION_LOCK_COST:
	case OPTION_EXIT_COST:
	case OPTION_KICK:
		good = parse_machine_option(&request->lab.options, key, text);
		break;
	case OPTION_JSON:
		request->json = true;
		break;
	case OPTION_PLOT:
		request->plot = text;
		break;
	case OPTION_PLOT_OF:
		good = parse_metric(request, text);
		break;
	case ARGP_KEY_ARG:
		complain("lab throttle: '%s' is one argument too many; --help tells the options",
			 text);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return good ? 0 : EINVAL;
}

static void set_defaults(struct request *request)
{
	*request = (struct request){
		.lab = { .options = { .vcpus = 2,
				      .attackers = 1,
				      .duration = 10000000000,
				      .innocent_work = 1000000,
				      .instruction_cost = 100,
				      .lock_cost = 1000,
				      .exit_cost = 3000,
				      .kick_interval = 10000000 },
			 .rates = { 1, 10, 100, 1000 },
			 .rate_count = 4 },
	};
}

/* ------------------------------------------------------------------ the runs */

static bool measure(const struct sim_options *o, const struct throttle *throttle,
		    struct sim_result *result)
{
	int error = sim_run(o, throttle, result);

	if (error)
		complain("lab throttle: the emulator: %s", strerror(-error));
	return !error;
}

static bool measure_bases(struct lab *lab)
{
	struct sim_options steady = lab->options;
	struct throttle none = { .kind = THROTTLE_NONE };

	if (steady.duration > LAB_STEADY)
		steady.duration = LAB_STEADY;
	if (!measure(&steady, &none, &lab->none))
		return false;
	steady.aligned = true;
	return measure(&steady, &none, &lab->clean);
}

/* All texts are looked at before the first is run. */
static bool make_rows(struct lab *lab, struct throttle *throttles)
{
	for (unsigned p = 0; p < lab->policy_count; p++) {
		unsigned times = strchr(lab->policies[p], '*') ? lab->rate_count : 1;

		for (unsigned r = 0; r < times; r++) {
			struct lab_row *row = &lab->rows[lab->row_count];

			if (!expand(lab->policies[p], lab->rates[r], row->policy)) {
				complain("--policy: '%s' is too long", lab->policies[p]);
				return false;
			}
			if (!known(row->policy, &throttles[lab->row_count]))
				return false;
			lab->row_count++;
		}
	}
	return true;
}

static int tell(const struct request *request)
{
	if (!request->json) {
		lab_print(&request->lab);
	} else if (lab_print_json(&request->lab)) {
		complain("lab throttle: out of memory");
		return STATUS_USAGE;
	}
	fflush(stdout);
	if (!request->plot)
		return STATUS_OK;
	return lab_plot(&request->lab, request->metric, request->plot);
}

static int run_all(struct request *request, struct throttle *throttles)
{
	struct lab *lab = &request->lab;

	if (!make_rows(lab, throttles) || !measure_bases(lab))
		return STATUS_USAGE;
	for (size_t i = 0; i < lab->row_count; i++)
		if (throttles[i].kind == THROTTLE_NONE)
			lab->rows[i].result = lab->none;
		else if (!measure(&lab->options, &throttles[i], &lab->rows[i].result))
			return STATUS_USAGE;
	return tell(request);
}

static bool consistent(const struct lab *lab)
{
	char why[200];

	if (lab->options.attackers > lab->options.vcpus) {
		complain("--attackers %u: there are only %u vCPUs (--vcpus)",
			 lab->options.attackers, lab->options.vcpus);
		return false;
	}
	if (emu_engine_check(why, sizeof(why))) {
		complain("the emulator does not work here: %s", why);
		return false;
	}
	return true;
}

int lab_throttle(int argc, char **argv)
{
	static const struct argp argp = { options, parse_option, NULL, doc, NULL, NULL, NULL };
	enum { MAX_ROWS = LAB_MAX_POLICIES * LAB_MAX_RATES };
	struct throttle *throttles;
	struct request request;
	int status;

	set_defaults(&request);
	argp_err_exit_status = STATUS_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &request) || !consistent(&request.lab))
		return STATUS_USAGE;
	if (!request.metric) {
		bool innocents = request.lab.options.attackers < request.lab.options.vcpus;

		request.metric = lab_metric_find(innocents ? "innocent-work" : "attacker-work");
	}
	if (!request.lab.policy_count)
		for (size_t i = 0; i < sizeof(default_policies) / sizeof(default_policies[0]); i++)
			add_policy(&request.lab, default_policies[i]);
	throttles = calloc(MAX_ROWS, sizeof(*throttles));
	request.lab.rows = calloc(MAX_ROWS, sizeof(*request.lab.rows));
	if (throttles && request.lab.rows) {
		status = run_all(&request, throttles);
	} else {
		complain("lab throttle: out of memory");
		status = STATUS_USAGE;
	}
	free(request.lab.rows);
	free(throttles);
	return status;
}
