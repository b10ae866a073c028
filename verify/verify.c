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

static int replay(const struct kvm_api *api, const char *device, const struct golden *golden,
		  char *why, size_t size)
{
	const char *const names[] = { api->name, "expected" };
	static struct result result;
	struct machine *machine;
	timer_t timer;
	int r = machine_ticks_start(&timer);

	if (r)
		return r;
	r = machine_open(&machine, api, device, golden->program.mode);
	if (!r)
		r = machine_run(machine, &golden->program, &result);
	if (r)
		snprintf(why, size, "%s: %s", machine_error(machine), strerror(-r));
	else
		r = results_differ(&golden->program, &result, &golden->expected, golden->undefined,
				   names, why, size);
	machine_close(machine);
	timer_delete(timer);
	return r;
}

int verify_golden(const struct kvm_api *api, const char *device, const char *path, char *why,
		  size_t size)
{
	FILE *file = fopen(path, "r");
	struct golden *golden;
	int r;

	if (!file) {
		r = -errno;
		snprintf(why, size, "%s", strerror(errno));
		return r;
	}
	snprintf(why, size, "out of memory");
	r = golden_read(file, &golden, why, size);
	fclose(file);
	if (r)
		return r;
	r = replay(api, device, golden, why, size);
	free(golden);
	return r;
}
