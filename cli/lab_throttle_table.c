// SPDX-License-Identifier: GPL-2.0-only
/* What `buslock lab throttle` tells: the metrics, and they as a table, as JSON and as a picture. */
#include "cli/cli.h"
#include "cli/lab_throttle.h"
#include "cli/plot.h"

#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ metrics */

enum role { ATTACKERS, INNOCENTS };

static unsigned first_of(const struct lab *lab, enum role role)
{
	return role == ATTACKERS ? 0 : lab->options.attackers;
}

static unsigned behind(const struct lab *lab, enum role role)
{
	return role == ATTACKERS ? lab->options.attackers : lab->options.vcpus;
}

/* Jain's index: 1 if all have the same, 1/n if one has everything; NAN where there is nothing. */
static double jain(const double *x, unsigned n)
{
	double sum = 0, squares = 0;

	for (unsigned i = 0; i < n; i++) {
		sum += x[i];
		squares += x[i] * x[i];
	}
	return squares > 0 ? sum * sum / (n * squares) : NAN;
}

static double locks(const struct lab *lab, const struct sim_result *r)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < lab->options.vcpus; i++)
		sum += r->vcpu[i].locks;
	return (double)sum * 1e9 / (double)r->duration;
}

/* Instructions per second. A machine that was ended has done nothing since. */
static double speed(const struct sim_result *r, uint64_t work)
{
	return (double)work * 1e9 / (double)r->duration;
}

static double work(const struct lab *lab, const struct sim_result *r, enum role role)
{
	uint64_t sum = 0;

	for (unsigned i = first_of(lab, role); i < behind(lab, role); i++)
		sum += r->vcpu[i].work;
	return speed(r, sum);
}

/* In percent; NAN where there is no such vCPU. */
static double share(const struct lab *lab, const struct sim_result *r,
		    const struct sim_result *base, enum role role)
{
	return 100 * work(lab, r, role) / work(lab, base, role);
}

static double asleep(const struct lab *lab, const struct sim_result *r, enum role role)
{
	unsigned n = behind(lab, role) - first_of(lab, role);
	uint64_t sum = 0;

	for (unsigned i = first_of(lab, role); i < behind(lab, role); i++)
		sum += r->vcpu[i].slept;
	return 100 * (double)sum / ((double)r->duration * n);
}

static double attacker_work(const struct lab *lab, const struct sim_result *r)
{
	return share(lab, r, &lab->clean, ATTACKERS);
}

static double attacker_gain(const struct lab *lab, const struct sim_result *r)
{
	return share(lab, r, &lab->none, ATTACKERS);
}

static double attacker_asleep(const struct lab *lab, const struct sim_result *r)
{
	return asleep(lab, r, ATTACKERS);
}

static double innocent_work(const struct lab *lab, const struct sim_result *r)
{
	return share(lab, r, &lab->clean, INNOCENTS);
}

static double innocent_gain(const struct lab *lab, const struct sim_result *r)
{
	return share(lab, r, &lab->none, INNOCENTS);
}

static double innocent_asleep(const struct lab *lab, const struct sim_result *r)
{
	return asleep(lab, r, INNOCENTS);
}

/* Each vCPU's work is measured by what it does undisturbed. */
static double fairness_work(const struct lab *lab, const struct sim_result *r)
{
	double x[SIM_MAX_VCPUS];

	for (unsigned i = 0; i < lab->options.vcpus; i++)
		x[i] = speed(r, r->vcpu[i].work) / speed(&lab->clean, lab->clean.vcpu[i].work);
	return jain(x, lab->options.vcpus);
}

static double fairness_locks(const struct lab *lab, const struct sim_result *r)
{
	double x[SIM_MAX_VCPUS];

	for (unsigned i = 0; i < lab->options.vcpus; i++)
		x[i] = (double)r->vcpu[i].locks;
	return jain(x, lab->options.vcpus);
}

static double worst_kick(const struct lab *lab, const struct sim_result *r)
{
	uint64_t worst = 0;

	for (unsigned i = 0; i < lab->options.vcpus; i++)
		if (r->vcpu[i].worst_kick > worst)
			worst = r->vcpu[i].worst_kick;
	return (double)worst / 1e6;
}

/* Columns, in the order of the table. */
static const struct lab_metric {
	const char *name; /* for --plot-of; with '_' the key in JSON */
	double (*get)(const struct lab *lab, const struct sim_result *result);
	const char *head[3]; /* of its column */
	int width, digits;
	const char *label; /* of its axis */
	bool logarithmic;
} metrics[] = {
	{ "locks", locks, { "bus locks", "", "1/s" }, 10, 1, "bus locks let through (1/s)", true },
	{ "attacker-work",
	  attacker_work,
	  { "attackers", "work, %", "of clean" },
	  10,
	  2,
	  "attackers' work (% of that without bus locks)",
	  true },
	{ "attacker-gain",
	  attacker_gain,
	  { "", "", "of none" },
	  8,
	  2,
	  "attackers' work (% of that without a policy)",
	  true },
	{ "attacker-asleep",
	  attacker_asleep,
	  { "", "asleep", "%" },
	  7,
	  1,
	  "attackers asleep (% of the time)",
	  false },
	{ "innocent-work",
	  innocent_work,
	  { "innocents", "work, %", "of clean" },
	  10,
	  2,
	  "innocents' work (% of that without bus locks)",
	  false },
	{ "innocent-gain",
	  innocent_gain,
	  { "", "", "of none" },
	  8,
	  2,
	  "innocents' work (% of that without a policy)",
	  false },
	{ "innocent-asleep",
	  innocent_asleep,
	  { "", "asleep", "%" },
	  7,
	  1,
	  "innocents asleep (% of the time)",
	  false },
	{ "fairness-work",
	  fairness_work,
	  { "fairness", "of", "work" },
	  9,
	  3,
	  "fairness of work between vCPUs (Jain's index)",
	  false },
	{ "fairness-locks",
	  fairness_locks,
	  { "", "of", "locks" },
	  7,
	  3,
	  "fairness of bus locks between vCPUs (Jain's index)",
	  false },
	{ "kick", worst_kick, { "worst", "kick", "ms" }, 9, 3, "worst delay of a kick (ms)", true },
};

#define METRICS (sizeof(metrics) / sizeof(metrics[0]))

const struct lab_metric *lab_metric_find(const char *name)
{
	for (size_t i = 0; i < METRICS; i++)
		if (!strcmp(metrics[i].name, name))
			return &metrics[i];
	return NULL;
}

const char *lab_metric_names(void)
{
	static char names[256];

	if (!*names)
		for (size_t i = 0; i < METRICS; i++) {
			if (i)
				strcat(names, i + 1 < METRICS ? ", " : " or ");
			strcat(names, metrics[i].name);
		}
	return names;
}

/* ------------------------------------------------------------------ the table */

static void print_row(const struct lab *lab, const char *policy, const struct sim_result *result)
{
	printf("%-23s", policy);
	for (size_t i = 0; i < METRICS; i++) {
		double value = metrics[i].get(lab, result);

		if (isfinite(value))
			printf("%*.*f", metrics[i].width, metrics[i].digits, value);
		else
			printf("%*s", metrics[i].width, "-");
	}
	putchar('\n');
}

void lab_print(const struct lab *lab)
{
	const struct sim_options *o = &lab->options;

	printf("%u vCPU%s, %u of them attacker%s, %g s; an instruction %llu ns, a bus lock %llu "
	       "ns, an "
	       "exit %llu ns\n\n",
	       o->vcpus, o->vcpus == 1 ? "" : "s", o->attackers, o->attackers == 1 ? "" : "s",
	       (double)o->duration / 1e9, (unsigned long long)o->instruction_cost,
	       (unsigned long long)o->lock_cost, (unsigned long long)o->exit_cost);
	for (unsigned line = 0; line < 3; line++) {
		printf("%-23s", line == 2 ? "policy" : "");
		for (size_t i = 0; i < METRICS; i++)
			printf("%*s", metrics[i].width, metrics[i].head[line]);
		putchar('\n');
	}
	print_row(lab, "(clean: no bus locks)", &lab->clean);
	print_row(lab, "none", &lab->none);
	for (size_t i = 0; i < lab->row_count; i++)
		print_row(lab, lab->rows[i].policy, &lab->rows[i].result);
	for (size_t i = 0; i < lab->row_count; i++)
		if (lab->rows[i].result.ended < lab->rows[i].result.duration)
			printf("\n%s ended the machine after %.3f ms\n", lab->rows[i].policy,
			       (double)lab->rows[i].result.ended / 1e6);
}

/* ------------------------------------------------------------------ JSON */

/* json-c answers NULL without memory and then frees nothing. */
static void put(struct json_object *object, const char *key, struct json_object *value)
{
	if (json_object_object_add(object, key, value))
		json_object_put(value);
}

static void put_number(struct json_object *object, const char *key, uint64_t value)
{
	put(object, key, json_object_new_uint64(value));
}

static struct json_object *json_vcpus(const struct lab *lab, const struct sim_result *result)
{
	struct json_object *array = json_object_new_array();

	for (unsigned i = 0; array && i < lab->options.vcpus; i++) {
		struct json_object *vcpu = json_object_new_object();

		put(vcpu, "attacker", json_object_new_boolean(i < lab->options.attackers));
		put_number(vcpu, "work", result->vcpu[i].work);
		put_number(vcpu, "locks", result->vcpu[i].locks);
		put_number(vcpu, "slept_ns", result->vcpu[i].slept);
		put_number(vcpu, "worst_kick_ns", result->vcpu[i].worst_kick);
		json_object_array_add(array, vcpu);
	}
	return array;
}

static void put_metric(struct json_object *object, const struct lab_metric *metric, double value)
{
	char key[32];

	snprintf(key, sizeof(key), "%s", metric->name);
	for (char *c = key; *c; c++)
		if (*c == '-')
			*c = '_';
	put(object, key, isfinite(value) ? json_object_new_double(value) : NULL);
}

static struct json_object *json_row(const struct lab *lab, const char *policy,
				    const struct sim_result *result)
{
	struct json_object *row = json_object_new_object();

	put(row, "policy", json_object_new_string(policy));
	for (size_t i = 0; i < METRICS; i++)
		put_metric(row, &metrics[i], metrics[i].get(lab, result));
	put_number(row, "ended_ns", result->ended);
	put(row, "vcpus", json_vcpus(lab, result));
	return row;
}

static struct json_object *json_options(const struct sim_options *o)
{
	struct json_object *object = json_object_new_object();

	put_number(object, "vcpus", o->vcpus);
	put_number(object, "attackers", o->attackers);
	put_number(object, "duration_ns", o->duration);
	put_number(object, "instruction_ns", o->instruction_cost);
	put_number(object, "lock_ns", o->lock_cost);
	put_number(object, "exit_ns", o->exit_cost);
	put_number(object, "kick_ns", o->kick_interval);
	put(object, "attacker_work",
	    o->attacker_work == SIM_NEVER ? NULL : json_object_new_uint64(o->attacker_work));
	put(object, "innocent_work",
	    o->innocent_work == SIM_NEVER ? NULL : json_object_new_uint64(o->innocent_work));
	return object;
}

int lab_print_json(const struct lab *lab)
{
	struct json_object *object = json_object_new_object(), *rows = json_object_new_array();

	if (!object || !rows) {
		json_object_put(object);
		json_object_put(rows);
		return -ENOMEM;
	}
	put(object, "lab", json_object_new_string("throttle"));
	put_number(object, "version", 1);
	put(object, "options", json_options(&lab->options));
	json_object_array_add(rows, json_row(lab, "clean", &lab->clean));
	json_object_array_add(rows, json_row(lab, "none", &lab->none));
	for (size_t i = 0; i < lab->row_count; i++)
		json_object_array_add(rows,
				      json_row(lab, lab->rows[i].policy, &lab->rows[i].result));
	put(object, "rows", rows);
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
	return 0;
}

/* ------------------------------------------------------------------ the picture */

static bool swept(const char *policy)
{
	return strchr(policy, '*');
}

#define MAX_ROWS (LAB_MAX_POLICIES * LAB_MAX_RATES + 1)

/* What a plot points to. */
struct picture {
	struct plot plot;
	char title[128];
	double x[LAB_MAX_RATES], y[MAX_ROWS];
	const char *labels[MAX_ROWS];
};

/* Over the rates: a line for each policy; one that has no rate is the same everywhere. */
static void make_lines(struct picture *p, const struct lab *lab, const struct lab_metric *metric)
{
	double *y = p->y;
	size_t row = 0;

	p->plot.kind = PLOT_LINES;
	p->plot.x_label = "limit (bus locks/s)";
	p->plot.log_x = true;
	p->plot.log_y = metric->logarithmic;
	p->plot.rows = lab->rate_count;
	p->plot.x = p->x;
	for (unsigned r = 0; r < lab->rate_count; r++)
		p->x[r] = (double)lab->rates[r];
	p->plot.count = lab->policy_count;
	for (unsigned i = 0; i < lab->policy_count; i++) {
		p->plot.series[i] = (struct plot_series){ lab->policies[i], y };
		for (unsigned r = 0; r < lab->rate_count; r++) {
			*y++ = metric->get(lab, &lab->rows[row].result);
			row += swept(lab->policies[i]);
		}
		row += !swept(lab->policies[i]);
	}
}

static void make_bars(struct picture *p, const struct lab *lab, const struct lab_metric *metric)
{
	p->plot.kind = PLOT_BARS;
	p->plot.x_label = "policy";
	p->plot.rows = lab->row_count + 1;
	p->plot.labels = p->labels;
	p->plot.count = 1;
	p->plot.series[0] = (struct plot_series){ metric->name, p->y };
	p->labels[0] = "none";
	p->y[0] = metric->get(lab, &lab->none);
	for (size_t i = 0; i < lab->row_count; i++) {
		p->labels[i + 1] = lab->rows[i].policy;
		p->y[i + 1] = metric->get(lab, &lab->rows[i].result);
	}
}

static bool has_lines(const struct lab *lab)
{
	bool any = false;

	for (unsigned i = 0; i < lab->policy_count; i++)
		any |= swept(lab->policies[i]);
	return any && lab->rate_count > 1 && lab->policy_count <= PLOT_MAX_SERIES;
}

int lab_plot(const struct lab *lab, const struct lab_metric *metric, const char *file)
{
	unsigned attackers = lab->options.attackers, innocents = lab->options.vcpus - attackers;
	struct picture p = { .plot = { .y_label = metric->label, .title = p.title } };

	snprintf(p.title, sizeof(p.title),
		 "Policies for bus locks: %u attacker%s, %u innocent%s, %g s", attackers,
		 attackers == 1 ? "" : "s", innocents, innocents == 1 ? "" : "s",
		 (double)lab->options.duration / 1e9);
	(has_lines(lab) ? make_lines : make_bars)(&p, lab, metric);
	return plot_write(&p.plot, file);
}
