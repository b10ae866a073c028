/* SPDX-License-Identifier: GPL-2.0-only */
/* `buslock lab throttle`: what its two files share, the runs and what is told of them. */
#ifndef BUSLOCK_CLI_LAB_THROTTLE_H
#define BUSLOCK_CLI_LAB_THROTTLE_H

#include "cli/lab_throttle_sim.h"

#include <stddef.h>

#define LAB_MAX_POLICIES 16
#define LAB_MAX_RATES    16
#define LAB_POLICY_SIZE  64
#define LAB_STEADY       1000000000 /* ns */

/* A policy as it was run. */
struct lab_row {
	char policy[LAB_POLICY_SIZE];
	struct sim_result result;
};

struct lab {
	struct sim_options options;
	uint64_t rates[LAB_MAX_RATES];
	unsigned rate_count;
	const char *policies[LAB_MAX_POLICIES]; /* as given: a '*' stands for each of the rates */
	unsigned policy_count;

	/* Without a policy nothing changes in time: at most LAB_STEADY of it are run. */
	struct sim_result clean; /* the same guest with aligned operands */
	struct sim_result none;
	struct lab_row *rows; /* of each policy, in order: one, or with '*' one for each rate */
	size_t row_count;
};

struct lab_metric;
/* By its name; NULL. */
const struct lab_metric *lab_metric_find(const char *name);
/* "locks, attacker-work, …" */
const char *lab_metric_names(void);

void lab_print(const struct lab *lab);
/* 0 or -ENOMEM */
int lab_print_json(const struct lab *lab);
/* One metric of all policies, over the rates if they differ, as plot.h does it; its statuses. */
int lab_plot(const struct lab *lab, const struct lab_metric *metric, const char *file);

#endif
