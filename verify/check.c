// SPDX-License-Identifier: GPL-2.0-only
#include "verify/check.h"

#include "verify/flags.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LIMIT_MS       40
#define LONG_LIMIT_MS  1000 /* where one side comes to an end and the other does not */
#define STEPS_LIMIT_MS 3000

/* ------------------------------------------------------------------ comparing */

static const char *const gpr_names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					 "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };
static const char *const end_names[] = { "the program's end", "a triple fault", "an internal error",
					 "another exit", "no end" };

struct both {
	const struct result *a, *b;
	const char *const *names;
	char *text;
	size_t size;
};

static bool number_differs(const struct both *two, const char *what, uint64_t a, uint64_t b)
{
	if (a == b)
		return false;
	snprintf(two->text, two->size, "%s: %s %" PRIx64 ", %s %" PRIx64, what, two->names[0], a,
		 two->names[1], b);
	return true;
}

static bool registers_differ(const struct both *two, uint32_t undefined)
{
	const struct kvm_regs *a = &two->a->regs, *b = &two->b->regs;
	const uint64_t gpr_a[] = { a->rax, a->rcx, a->rdx, a->rbx, a->rsp, a->rbp, a->rsi, a->rdi,
				   a->r8,  a->r9,  a->r10, a->r11, a->r12, a->r13, a->r14, a->r15 };
	const uint64_t gpr_b[] = { b->rax, b->rcx, b->rdx, b->rbx, b->rsp, b->rbp, b->rsi, b->rdi,
				   b->r8,  b->r9,  b->r10, b->r11, b->r12, b->r13, b->r14, b->r15 };

	if (number_differs(two, "rip", a->rip, b->rip))
		return true;
	for (unsigned i = 0; i < 16; i++)
		if (number_differs(two, gpr_names[i], gpr_a[i], gpr_b[i]))
			return true;
	return number_differs(two, "rflags", a->rflags & ~(uint64_t)undefined,
			      b->rflags & ~(uint64_t)undefined);
}

static bool segments_differ(const struct both *two)
{
	static const char *const names[] = { "es", "cs", "ss", "ds", "fs", "gs" };
	const struct kvm_sregs *a = &two->a->sregs, *b = &two->b->sregs;
	const struct kvm_segment *seg_a[] = { &a->es, &a->cs, &a->ss, &a->ds, &a->fs, &a->gs };
	const struct kvm_segment *seg_b[] = { &b->es, &b->cs, &b->ss, &b->ds, &b->fs, &b->gs };
	char what[16];

	for (unsigned i = 0; i < 6; i++) {
		snprintf(what, sizeof(what), "%s", names[i]);
		if (number_differs(two, what, seg_a[i]->selector, seg_b[i]->selector))
			return true;
		snprintf(what, sizeof(what), "%s base", names[i]);
		if (number_differs(two, what, seg_a[i]->base, seg_b[i]->base))
			return true;
	}
	return number_differs(two, "cr2", a->cr2, b->cr2);
}

static bool same_event(const struct event *a, const struct event *b)
{
	return a->reason == b->reason && a->write == b->write && a->size == b->size &&
	       a->count == b->count && a->address == b->address &&
	       !memcmp(a->data, b->data, sizeof(a->data));
}

static bool events_differ(const struct both *two)
{
	unsigned n = two->a->events < two->b->events ? two->a->events : two->b->events;

	for (unsigned i = 0; i < n; i++) {
		const struct event *a = &two->a->event[i], *b = &two->b->event[i];

		if (same_event(a, b))
			continue;
		snprintf(two->text, two->size,
			 "exit %u: %s %s %s %" PRIx64 " %u x %u data %02x%02x%02x%02x, "
			 "%s %s %s %" PRIx64 " %u x %u data %02x%02x%02x%02x",
			 i + 1, two->names[0], a->reason == KVM_EXIT_IO ? "port" : "mmio",
			 a->write ? "write" : "read", a->address, a->size, a->count, a->data[0],
			 a->data[1], a->data[2], a->data[3], two->names[1],
			 b->reason == KVM_EXIT_IO ? "port" : "mmio", b->write ? "write" : "read",
			 b->address, b->size, b->count, b->data[0], b->data[1], b->data[2],
			 b->data[3]);
		return true;
	}
	return number_differs(two, "exits", two->a->events, two->b->events);
}

/* Where an exception has left the image of RFLAGS; 0: there was none. */
static uint32_t flags_image(const struct program *p, const struct result *r)
{
	uint64_t rip = r->regs.rip - 1; /* HLT is behind it */
	unsigned vector = (unsigned)(rip - MODE_HANDLERS), slot;
	bool code = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;

	if (rip < MODE_HANDLERS || rip >= MODE_HANDLERS + 256)
		return 0;
	slot = !p->mode->protected ? 2 : p->mode->paging ? 8 : 4;
	return (uint32_t)(r->sregs.ss.base + r->regs.rsp + (2 + (code && slot > 2)) * slot);
}

static bool memory_differs(const struct both *two, const struct program *p, uint32_t undefined)
{
	uint32_t image = flags_image(p, two->a);

	if (!memcmp(two->a->ram, two->b->ram, MODE_RAM))
		return false;
	for (uint32_t at = 0; at < MODE_RAM; at++) {
		uint8_t a = two->a->ram[at], b = two->b->ram[at], mask = 0xff;
		char what[32];

		if (image && (at == image || at == image + 1))
			mask = (uint8_t) ~(undefined >> (at - image) * 8);
		snprintf(what, sizeof(what), "memory at %x", at);
		if (number_differs(two, what, a & mask, b & mask))
			return true;
	}
	return false;
}

/* The engine does not keep the exception flags of MXCSR (limits.c). */
#define MXCSR_FLAGS 0x3fu

static bool vectors_differ(const struct both *two)
{
	for (unsigned i = 0; i < 16; i++) {
		uint64_t a[2], b[2];
		char what[16];

		memcpy(a, two->a->xmm[i], 16);
		memcpy(b, two->b->xmm[i], 16);
		snprintf(what, sizeof(what), "xmm%u low", i);
		if (number_differs(two, what, a[0], b[0]))
			return true;
		snprintf(what, sizeof(what), "xmm%u high", i);
		if (number_differs(two, what, a[1], b[1]))
			return true;
	}
	return number_differs(two, "mxcsr", two->a->mxcsr & ~MXCSR_FLAGS,
			      two->b->mxcsr & ~MXCSR_FLAGS);
}

bool results_differ(const struct program *p, const struct result *a, const struct result *b,
		    uint32_t undefined, const char *const names[2], char *text, size_t size)
{
	struct both two = { a, b, names, text, size };

	*text = '\0';
	if (a->end == END_LIMIT && b->end == END_LIMIT)
		return false;
	if (a->end != b->end) {
		snprintf(text, size, "%s: %s (%u), %s: %s (%u)", names[0], end_names[a->end],
			 a->suberror, names[1], end_names[b->end], b->suberror);
		return true;
	}
	if (events_differ(&two) || number_differs(&two, "error", a->suberror, b->suberror))
		return true;
	/* What is left of the registers by a shutdown is nobody's promise (SDM vol. 3, 28.1: saved as
	 * they were, but where the third fault came is not architectural). */
	if (a->end == END_SHUTDOWN)
		return false;
	return registers_differ(&two, undefined) || segments_differ(&two) ||
	       memory_differs(&two, p, undefined) || (p->mode->native && vectors_differ(&two));
}

/* ------------------------------------------------------------------ explaining */

/* The program's way, instruction by instruction, on the emulator. */
struct path {
	const struct program *program;
	struct insn insn; /* the one that has begun */
	int cl;
	bool begun;
	uint32_t undefined;
	bool used;
	const struct limit *limit;
	unsigned steps;
};
#define MAX_STEPS 300000 /* an interpreting device takes a tenth of a second for them */

static void path_done(struct path *path)
{
	struct flag_effect effect;

	if (!path->begun)
		return;
	flag_effect(&path->insn, path->cl, &effect);
	path->undefined = (path->undefined & ~effect.defines) | effect.undefined;
	if (result_undefined(&path->insn, path->cl))
		path->used = true;
	path->begun = false;
}

static const struct limit *find_limit(const struct path *path, const struct kvm_regs *r,
				      const struct kvm_sregs *s, const uint8_t *ram)
{
	const struct mode *mode = path->program->mode;
	struct insn_regs regs = {
		.gpr = { r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi, r->r8,
			 r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15 },
		.rip = r->rip,
		.rflags = r->rflags,
		.seg_base = { s->es.base, s->cs.base, s->ss.base, s->ds.base, s->fs.base,
			      s->gs.base },
		.stack_size = mode->code == 64 ? 8
			      : s->ss.db       ? 4
					       : 2,
	};

	for (unsigned seg = 0; seg < 6; seg++)
		if (!mode_has_base(mode, seg))
			regs.seg_base[seg] = 0;
	return limit_find(
		&(struct moment){ .mode = mode, .insn = &path->insn, .regs = &regs, .ram = ram });
}

static bool path_step(void *opaque, const struct kvm_regs *regs, const struct kvm_sregs *sregs,
		      const uint8_t *ram)
{
	struct path *path = opaque;
	uint64_t at = regs->rip + (path->program->mode->code == 64 ? 0 : sregs->cs.base);
	struct flag_effect effect;

	/* a handler: what had begun has not been done */
	if (at >= MODE_HANDLERS && at < MODE_HANDLERS + 256)
		path->begun = false;
	path_done(path);
	if (at + INSN_MAX_LENGTH > MODE_RAM && !path->limit)
		path->limit = &limits[LIMIT_FETCH];
	if (at + INSN_MAX_LENGTH > MODE_RAM || path->steps++ > MAX_STEPS)
		return path->steps <= MAX_STEPS;
	if (insn_decode(&path->insn, ram + at, INSN_MAX_LENGTH, path->program->mode->code))
		return true;
	if (at < MODE_HANDLERS || at >= MODE_HANDLERS + 256) {
		if (!path->limit)
			path->limit = find_limit(path, regs, sregs, ram);
		path->cl = (int)(regs->rcx & 0xff);
		flag_effect(&path->insn, path->cl, &effect);
		path->used |= !!(effect.uses & path->undefined);
		path->begun = true;
	}
	return true;
}

static bool one_sided(const struct finding *f)
{
	return (f->emulator.end == END_LIMIT) != (f->other.end == END_LIMIT);
}

/* A device that interprets, on a busy machine, needs a second for so many. */
#define SLOW_STEPS 20000

static int explain_difference(struct checker *c, const struct program *p, struct finding *f)
{
	static const char *const names[] = { "emulator", "device" };
	static struct result stepped;
	struct path path = { .program = p };
	int r;

	machine_set_limit(c->emulator, STEPS_LIMIT_MS);
	r = machine_run_steps(c->emulator, p, &stepped, path_step, &path);
	machine_set_limit(c->emulator, LIMIT_MS);
	if (!r) /* its memory is to be that of the run that differs */
		r = machine_run(c->emulator, p, &f->emulator);
	if (r)
		return r;
	f->undefined = path.undefined;
	f->limit = path.limit;
	if (stepped.end == END_LIMIT || (one_sided(f) && path.steps > SLOW_STEPS))
		f->verdict = VERDICT_ENDLESS; /* too long to be explained, or for the device */
	else if (path.limit)
		f->verdict = VERDICT_LIMIT;
	else if (path.used)
		f->verdict = VERDICT_UNDEFINED;
	else if (path.undefined && !results_differ(p, &f->emulator, &f->other, path.undefined,
						   names, f->difference, sizeof(f->difference)))
		f->verdict = VERDICT_FLAGS;
	return 0;
}

/* ------------------------------------------------------------------ a program on both */

/* For each split lock, once the program has ended: the machine's other cores get on meanwhile. */
#define SPLIT_LOCK_PAUSE_NS 10000000

static int run_on_other(struct checker *c, const struct program *p, struct finding *f)
{
	uint64_t ns = c->guard ? (uint64_t)f->emulator.bus_locks * SPLIT_LOCK_PAUSE_NS : 0;
	struct timespec pause = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
	int r = machine_run(c->other, p, &f->other);

	while (ns && nanosleep(&pause, &pause) && errno == EINTR)
		; /* the machines' ticks are signals */
	return r;
}

static int run_longer(struct checker *c, const struct program *p, struct finding *f)
{
	int r;

	machine_set_limit(c->emulator, LONG_LIMIT_MS);
	machine_set_limit(c->other, LONG_LIMIT_MS);
	r = machine_run(c->emulator, p, &f->emulator);
	if (!r)
		r = run_on_other(c, p, f);
	machine_set_limit(c->emulator, LIMIT_MS);
	machine_set_limit(c->other, LIMIT_MS);
	return r;
}

/* The emulator goes first: may this run on the device? */
static bool may_run(struct checker *c, const struct finding *f)
{
	if (!c->guard || !f->emulator.bus_locks)
		return true;
	if (f->emulator.bus_locks > c->split_lock_budget)
		return false;
	c->split_lock_budget -= f->emulator.bus_locks;
	return true;
}

int check(struct checker *c, const struct program *p, struct finding *f)
{
	static const char *const names[] = { "emulator", "device" };
	int r = machine_run(c->emulator, p, &f->emulator);

	c->runs++;
	f->limit = NULL;
	f->undefined = 0;
	*f->difference = '\0';
	if (r == -ERANGE) {
		f->verdict = VERDICT_LAYOUT;
		return 0;
	}
	if (r)
		return r;
	f->verdict = VERDICT_SPLIT_LOCK;
	if (!may_run(c, f))
		return 0;
	/* what the emulator did not bring to an end could still come to a split lock */
	f->verdict = VERDICT_ENDLESS;
	if (f->emulator.end == END_LIMIT && c->guard)
		return 0;
	r = run_on_other(c, p, f);
	if (!r && one_sided(f) && !c->hurried) {
		if (!may_run(c, f)) /* its locks would be taken once more */
			return 0;
		r = run_longer(c, p, f);
	}
	if (r)
		return r;
	if ((one_sided(f) && c->hurried) ||
	    (f->emulator.end == END_LIMIT && f->other.end == END_LIMIT))
		return 0;
	f->verdict = VERDICT_SAME;
	if (!results_differ(p, &f->emulator, &f->other, 0, names, f->difference,
			    sizeof(f->difference)))
		return 0;
	f->verdict = VERDICT_DIFFERENT;
	return explain_difference(c, p, f);
}
