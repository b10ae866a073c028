// SPDX-License-Identifier: GPL-2.0-only
/*
 * Discrete events: each vCPU has a time of its own and a thing to do at that time, and the vCPU with the
 * smallest time does it. Bus, policy and kicks are so asked in the order of time. What a vCPU does
 * between events the emulator executes; how long it takes follows from the number of instructions.
 */
#include "cli/lab_throttle_sim.h"

#include "emu/emu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_SIZE 0x10000
#define ENTRY       0x1000
#define OPERANDS    0x2000 /* two lines for each vCPU */
#define SPLIT       62     /* two of the four bytes in the next line */

/* Real mode. EBX: turns of work between two locks; ESI: what is locked. */
static const uint8_t guest[] = {
	0x66, 0x89, 0xd9,                                             /* again: mov ecx, ebx */
	0x67, 0xe3, 0x2e,                                             /*        jecxz locked */
#define ADD 0x66, 0x01, 0xd0                                          /*     add eax, edx */
	ADD,  ADD,  ADD,  ADD,  ADD,                                  /* work: fourteen of them */
	ADD,  ADD,  ADD,  ADD,  ADD,  ADD, ADD, ADD, ADD, 0x66, 0x49, /*        dec ecx */
	0x75, 0xd2,                                                   /*        jnz work */
	0xf0, 0x66, 0x67, 0xff, 0x06, /* locked: lock inc dword [esi] */
	0xeb, 0xc5,                   /*        jmp again */
};

/* While others run, guest code runs for so long at once, so that their locks are felt in time. */
#define SLICE 20000 /* ns */

enum next {
	RUN,  /* guest code */
	LOCK, /* the guest stands at a bus lock (in our time; the emulator has done it) */
	ASK,  /* the policy, about the lock that has been taken */
};

struct vcpu {
	struct emu_vcpu *emu;
	uint64_t instructions; /* until now */
	enum next next;
	uint64_t time;           /* when `next` begins */
	uint64_t sleeping_since; /* until `time`, if not later than that */
	bool interruptible;      /* that sleep */
	uint64_t kick;           /* the next one, or the first that waits */
	uint64_t stall;          /* bus locks of others while this one ran, not yet paid */
	struct sim_vcpu_result *result;
};

struct sim {
	const struct sim_options *options;
	struct throttle throttle;
	struct emu_vm *vm;
	uint8_t *memory;
	struct vcpu vcpu[SIM_MAX_VCPUS];
	uint64_t bus_free; /* when the last lock lets go of the bus */
	uint64_t end;
};

/* ------------------------------------------------------------------ setting up */

static int set_registers(struct sim *sim, unsigned i)
{
	const struct sim_options *o = sim->options;
	uint64_t work = i < o->attackers ? o->attacker_work : o->innocent_work;
	struct emu_state state;

	emu_vcpu_get_state(sim->vcpu[i].emu, &state);
	state.segment[EMU_CS].base = state.segment[EMU_CS].selector = 0;
	state.rip = ENTRY;
	state.gpr[EMU_RBX] = work == SIM_NEVER ? UINT32_MAX : work / SIM_TURN;
	state.gpr[EMU_RSI] = OPERANDS + i * 0x80 + (o->aligned || work == SIM_NEVER ? 0 : SPLIT);
	return emu_vcpu_set_state(sim->vcpu[i].emu, &state);
}

static int create_vcpu(struct sim *sim, unsigned i, struct sim_result *result)
{
	struct vcpu *v = &sim->vcpu[i];
	int error = emu_vcpu_create(sim->vm, &v->emu);

	if (error)
		return error;
	v->result = &result->vcpu[i];
	v->sleeping_since = UINT64_MAX;
	v->kick = sim->options->kick_interval ? sim->options->kick_interval : UINT64_MAX;
	emu_vcpu_set_bus_lock_exiting(v->emu, true);
	return set_registers(sim, i);
}

static int create(struct sim *sim, struct sim_result *result)
{
	static const struct emu_config config = { .count = true };
	int error = emu_vm_create(&config, &sim->vm);

	if (error)
		return error;
	sim->memory = aligned_alloc(4096, MEMORY_SIZE);
	if (!sim->memory)
		return -ENOMEM;
	memset(sim->memory, 0, MEMORY_SIZE);
	memcpy(sim->memory + ENTRY, guest, sizeof(guest));
	error = emu_vm_map(sim->vm, 0, 0, MEMORY_SIZE, sim->memory, 0);
	for (unsigned i = 0; !error && i < sim->options->vcpus; i++)
		error = create_vcpu(sim, i, result);
	return error;
}

static void destroy(struct sim *sim)
{
	for (unsigned i = 0; i < SIM_MAX_VCPUS; i++)
		if (sim->vcpu[i].emu)
			emu_vcpu_destroy(sim->vcpu[i].emu);
	if (sim->vm)
		emu_vm_destroy(sim->vm);
	free(sim->memory);
}

/* ------------------------------------------------------------------ kicks */

static void note_kick(struct vcpu *v, uint64_t served)
{
	if (served - v->kick > v->result->worst_kick)
		v->result->worst_kick = served - v->kick;
}

/* The monitor looks at `now`: whatever came until then is served at once, the first waited longest. */
static void serve_kicks(struct sim *sim, struct vcpu *v, uint64_t now)
{
	if (v->kick > now)
		return;
	note_kick(v, now);
	v->kick +=
		((now - v->kick) / sim->options->kick_interval + 1) * sim->options->kick_interval;
}

/* One that comes while the guest runs costs an exit. */
static void kick(struct sim *sim, struct vcpu *v)
{
	if (v->kick > v->time)
		return;
	serve_kicks(sim, v, v->time);
	v->time += sim->options->exit_cost;
}

/* The end of a sleep. What the policy wants to be asked again about stays in its hands. */
static void wake(struct sim *sim, struct vcpu *v)
{
	v->sleeping_since = UINT64_MAX;
	if (v->interruptible) /* each has been served when it came */
		while (v->kick <= v->time)
			v->kick += sim->options->kick_interval;
	else if (v->next == RUN)
		serve_kicks(sim, v, v->time);
}

/* ------------------------------------------------------------------ events */

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Nothing can happen to this one, which is the earliest, before another one moves. */
static uint64_t next_of_others(const struct sim *sim, const struct vcpu *v)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < sim->options->vcpus; i++)
		if (&sim->vcpu[i] != v)
			next = smaller(next, sim->vcpu[i].time);
	return next;
}

/* Until when may guest code run at once? */
static uint64_t slice_end(const struct sim *sim, const struct vcpu *v)
{
	uint64_t until = larger(v->time + SLICE, next_of_others(sim, v));

	if (sim->options->aligned) /* nobody disturbs anybody */
		until = sim->end;
	return smaller(smaller(until, v->kick), sim->end);
}

/* Guest code until a lock, a kick or the end of a slice. */
static int run(struct sim *sim, struct vcpu *v)
{
	uint64_t cost = sim->options->instruction_cost, until, executed, waited;
	struct emu_stats stats;
	struct emu_exit exit;
	int error;

	kick(sim, v);
	until = slice_end(sim, v);
	if (until <= v->time)
		return 0;
	emu_vcpu_set_instruction_limit(v->emu,
				       v->instructions + (until - v->time + cost - 1) / cost);
	error = emu_vcpu_run(v->emu, 0, &exit);
	if (error)
		return error;
	if (exit.type != EMU_EXIT_LIMIT && exit.type != EMU_EXIT_BUS_LOCK)
		return -EIO;
	emu_vcpu_get_stats(v->emu, &stats);
	executed = stats.instructions - v->instructions;
	v->instructions = stats.instructions;
	v->result->work += executed;
	/* An instruction waits for one lock at most: the arbiter of the bus is fair. */
	waited = smaller(v->stall, executed * sim->options->lock_cost);
	v->stall = 0;
	v->time += executed * cost + waited;
	if (exit.type == EMU_EXIT_BUS_LOCK)
		v->next = LOCK;
	return 0;
}

static bool awake_at(const struct vcpu *v, uint64_t time)
{
	return time < v->sleeping_since || time >= v->time;
}

/* The bus is one: a lock waits for that before it, and all others that are awake wait for it. */
static void lock(struct sim *sim, struct vcpu *v)
{
	const struct sim_options *o = sim->options;
	uint64_t start = larger(v->time, sim->bus_free);

	/* waiting here is not waiting once more with the next instruction */
	v->stall -= smaller(v->stall, start - v->time);
	for (unsigned i = 0; i < o->vcpus; i++)
		if (&sim->vcpu[i] != v && awake_at(&sim->vcpu[i], start))
			sim->vcpu[i].stall += o->lock_cost;
	sim->bus_free = start + o->lock_cost;
	v->time = sim->bus_free;
	v->result->locks++;
	v->next = RUN;
	if (sim->throttle.kind == THROTTLE_NONE)
		return; /* nobody asked for exits */
	v->time += o->exit_cost;
	v->next = ASK;
}

static void ask(struct sim *sim, struct vcpu *v)
{
	unsigned index = (unsigned)(v - sim->vcpu);
	struct throttle_verdict verdict = throttle_lock(&sim->throttle, index, v->time);

	if (verdict.action == THROTTLE_END) {
		sim->end = v->time;
		return;
	}
	v->next = verdict.action == THROTTLE_ASK_AGAIN ? ASK : RUN;
	if (verdict.sleep) {
		v->sleeping_since = v->time;
		v->interruptible = verdict.interruptible;
		v->time += verdict.sleep;
		v->result->slept += verdict.sleep;
	}
}

static struct vcpu *earliest(struct sim *sim)
{
	struct vcpu *first = &sim->vcpu[0];

	for (unsigned i = 1; i < sim->options->vcpus; i++)
		if (sim->vcpu[i].time < first->time)
			first = &sim->vcpu[i];
	return first;
}

static int step(struct sim *sim, struct vcpu *v)
{
	if (v->sleeping_since != UINT64_MAX)
		wake(sim, v);
	switch (v->next) {
	case LOCK:
		lock(sim, v);
		return 0;
	case ASK:
		ask(sim, v);
		return 0;
	default:
		return run(sim, v);
	}
}

/* Sleeps end here, and kicks that nobody has answered have waited until now. */
static void finish(struct sim *sim, struct sim_result *result)
{
	for (unsigned i = 0; i < sim->options->vcpus; i++) {
		struct vcpu *v = &sim->vcpu[i];

		bool asleep = v->sleeping_since != UINT64_MAX;

		if (asleep && v->time > sim->end)
			v->result->slept -= v->time - sim->end;
		if (v->kick < sim->end && !(asleep && v->interruptible))
			note_kick(v, sim->end);
	}
	result->ended = sim->end;
}

static bool in_range(const struct sim_options *o)
{
	return o->vcpus && o->vcpus <= SIM_MAX_VCPUS && o->attackers <= o->vcpus && o->duration &&
	       o->instruction_cost && o->lock_cost;
}

int sim_run(const struct sim_options *options, const struct throttle *policy,
	    struct sim_result *result)
{
	struct sim sim = { .options = options, .throttle = *policy, .end = options->duration };
	int error;

	if (!in_range(options))
		return -EINVAL;
	*result = (struct sim_result){ .duration = options->duration };
	error = create(&sim, result);
	while (!error) {
		struct vcpu *v = earliest(&sim);

		if (v->time >= sim.end)
			break;
		error = step(&sim, v);
	}
	if (!error)
		finish(&sim, result);
	destroy(&sim);
	return error;
}
