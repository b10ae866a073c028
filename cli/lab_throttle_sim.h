/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The machine of `buslock lab throttle`: a guest on the emulator, a policy, and a clock made of events,
 * all in one thread. Equal options give equal results. docs/lab.md explains the model.
 */
#ifndef BUSLOCK_CLI_LAB_THROTTLE_SIM_H
#define BUSLOCK_CLI_LAB_THROTTLE_SIM_H

#include "vmm_shim/throttle.h"

#include <stdbool.h>
#include <stdint.h>

#define SIM_MAX_VCPUS 8
#define SIM_NEVER     UINT64_MAX

/* Times in ns. */
struct sim_options {
	unsigned vcpus, attackers; /* the first ones are the attackers */
	uint64_t duration;
	/* Instructions of work between two bus locks, in turns of SIM_TURN; SIM_NEVER: none at all. */
	uint64_t attacker_work, innocent_work;
	uint64_t instruction_cost;
	uint64_t lock_cost;     /* of a bus lock: the others' accesses wait as long */
	uint64_t exit_cost;     /* from the guest to the monitor and back */
	uint64_t kick_interval; /* each vCPU is kicked so often; 0: never */
	bool aligned;           /* the same guest without bus locks */
};

#define SIM_TURN 16 /* instructions in a turn of the guest's loop */

struct sim_vcpu_result {
	uint64_t work;       /* instructions */
	uint64_t locks;      /* bus locks */
	uint64_t slept;      /* ns, as the policy wanted */
	uint64_t worst_kick; /* ns from kick to monitor; at the end: so far */
};

struct sim_result {
	uint64_t duration; /* ns, as in the options */
	uint64_t ended;    /* ns: then, or when the policy ended the VM */
	struct sim_vcpu_result vcpu[SIM_MAX_VCPUS];
};

/*
 * One run under a policy, of which a copy is used. -EINVAL: options out of range; -EIO: the guest did
 * something else than it was written for; else the emulator's -errno.
 */
int sim_run(const struct sim_options *options, const struct throttle *policy,
	    struct sim_result *result);

#endif
