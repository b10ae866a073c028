// SPDX-License-Identifier: GPL-2.0-only
#include "verify/verify.h"

#include "verify/generate.h"
#include "verify/golden.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_EVERY 64

struct campaign {
	struct verify *verify;
	const struct mode *mode;
	struct verify_counts *counts;
	struct form_list *forms;
	struct checker checker;
	timer_t timer;
	unsigned different;
};

static bool was_compared(enum verdict verdict)
{
	return verdict == VERDICT_SAME || verdict == VERDICT_FLAGS || verdict == VERDICT_DIFFERENT;
}

static int one(struct campaign *c, uint64_t n)
{
	static struct finding finding;
	struct verify_counts *counts = c->counts;
	struct verify *v = c->verify;
	struct program program;
	unsigned lockable;
	int r;

	generate(&program, c->mode, c->forms, v->seed, n, &lockable);
	r = check(&c->checker, &program, &finding);
	if (r)
		return r;
	counts->programs++;
	counts->verdict[finding.verdict]++;
	counts->compared[lockable] += was_compared(finding.verdict);
	if (finding.verdict == VERDICT_LIMIT)
		counts->limit[finding.limit - limits]++;
	if (v->same && (finding.verdict == VERDICT_SAME || finding.verdict == VERDICT_FLAGS))
		v->same(v->opaque, &program, &finding, n);
	if (finding.verdict != VERDICT_DIFFERENT)
		return 0;
	c->different++;
	if (!v->no_shrink)
		r = shrink(&c->checker, &program, &finding);
	if (!r && v->different)
		v->different(v->opaque, &program, &finding, n);
	return r;
}

static int run(struct campaign *c)
{
	struct verify *v = c->verify;
	int r = 0;

	for (uint64_t n = 0; n < v->count && !r; n++) {
		if (v->max_different && c->different >= v->max_different)
			break;
		if (v->progress && n % PROGRESS_EVERY == 0 &&
		    v->progress(v->opaque, c->mode, n, c->counts))
			break;
		r = one(c, v->first + n);
	}
	return r;
}

static int failed(struct verify *v, const char *side, const struct machine *machine, int error)
{
	snprintf(v->error, sizeof(v->error), "%s: %s: %s", side, machine_error(machine),
		 strerror(-error));
	return error;
}

static int open_machines(struct campaign *c)
{
	struct verify *v = c->verify;
	int r = machine_open(&c->checker.emulator, &kvm_emulator, NULL, c->mode);

	if (r)
		return failed(v, "emulator", c->checker.emulator, r);
	r = machine_open(&c->checker.other, v->api, v->path, c->mode);
	return r ? failed(v, v->path ? v->path : v->api->name, c->checker.other, r) : 0;
}

int verify_run(struct verify *v, const struct mode *mode, struct verify_counts *counts)
{
	struct campaign c = { .verify = v,
			      .mode = mode,
			      .counts = counts,
			      .checker = { .guard = v->api == &kvm_device,
					   .split_lock_budget = v->native_split_locks } };
	int r = form_list_new(&c.forms, mode);

	*v->error = '\0';
	if (!r) {
		counts->lockables = c.forms->lockables;
		memcpy(counts->lockable, c.forms->lockable, sizeof(counts->lockable));
		r = machine_ticks_start(&c.timer);
		if (!r) {
			r = open_machines(&c);
			if (!r) {
				r = run(&c);
				if (r)
					failed(v, "a run", c.checker.other, r);
			}
			timer_delete(c.timer);
		}
	}
	if (r && !*v->error)
		snprintf(v->error, sizeof(v->error), "%s", strerror(-r));
	v->native_split_locks = c.checker.split_lock_budget;
	machine_close(c.checker.emulator);
	machine_close(c.checker.other);
	form_list_free(c.forms);
	return r;
}

static int run_alone(const struct kvm_api *api, const char *device, const struct program *program,
		     struct machine **machine, struct result *result, char *why, size_t size)
{
	timer_t timer;
	int r = machine_ticks_start(&timer);

	*machine = NULL;
	if (r)
		return r;
	r = machine_open(machine, api, device, program->mode);
	if (!r)
		r = machine_run(*machine, program, result);
	if (r)
		snprintf(why, size, "%s: %s", machine_error(*machine), strerror(-r));
	timer_delete(timer);
	return r;
}

static int open_golden(const char *path, struct golden **golden, char *why, size_t size)
{
	FILE *file = fopen(path, "r");
	int r;

	if (!file) {
		r = -errno;
		snprintf(why, size, "%s", strerror(errno));
		return r;
	}
	snprintf(why, size, "out of memory");
	r = golden_read(file, golden, why, size);
	fclose(file);
	return r;
}

/* On the emulator: may a device run it? */
static int examine(const struct golden *golden, char *why, size_t size)
{
	static struct result result;
	struct machine *machine;
	int r = run_alone(&kvm_emulator, NULL, &golden->program, &machine, &result, why, size);

	machine_close(machine);
	if (!r && (result.bus_locks || result.end == END_LIMIT)) {
		snprintf(why, size, "%s on the emulator, and so it is not run on a device",
			 result.bus_locks ? "it takes bus locks" : "it does not end");
		r = -EPERM;
	}
	return r;
}

int verify_golden(const struct kvm_api *api, const char *device, const char *path, char *why,
		  size_t size)
{
	const char *const names[] = { api->name, "expected" };
	static struct result result;
	struct machine *machine = NULL;
	struct golden *golden;
	int r = open_golden(path, &golden, why, size);

	if (r)
		return r;
	if (api == &kvm_device)
		r = examine(golden, why, size);
	if (!r) {
		r = run_alone(api, device, &golden->program, &machine, &result, why, size);
		if (!r)
			r = results_differ(&golden->program, &result, &golden->expected,
					   golden->undefined, names, why, size);
		machine_close(machine);
	}
	free(golden);
	return r;
}

int verify_record(const struct kvm_api *api, const char *device, const char *path, FILE *out,
		  char *why, size_t size)
{
	static struct result result;
	struct machine *machine = NULL;
	struct golden *golden;
	int r = open_golden(path, &golden, why, size);

	if (r)
		return r;
	r = examine(golden, why, size);
	if (!r) {
		r = run_alone(api, device, &golden->program, &machine, &result, why, size);
		if (!r)
			golden_write(out, &golden->program, &result, golden->undefined,
				     *golden->remark ? golden->remark : NULL);
		machine_close(machine);
	}
	free(golden);
	return r;
}
