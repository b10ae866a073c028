// SPDX-License-Identifier: GPL-2.0-only
#include "verify/golden.h"

#include "emu/disasm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char *const gpr_names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					 "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };
static const char *const segment_names[] = { "es", "cs", "ss", "ds", "fs", "gs" };
static const char *const end_names[] = { "done", "shutdown", "error", "other", "never" };
#define END_NAMES 5

/* KVM's order of registers is not the processor's. */
static __u64 *gpr(struct kvm_regs *regs, unsigned i)
{
	__u64 *all[] = { &regs->rax, &regs->rcx, &regs->rdx, &regs->rbx, &regs->rsp, &regs->rbp,
			 &regs->rsi, &regs->rdi, &regs->r8,  &regs->r9,  &regs->r10, &regs->r11,
			 &regs->r12, &regs->r13, &regs->r14, &regs->r15 };

	return all[i];
}

static struct kvm_segment *segment(struct kvm_sregs *sregs, unsigned i)
{
	struct kvm_segment *all[] = { &sregs->es, &sregs->cs, &sregs->ss,
				      &sregs->ds, &sregs->fs, &sregs->gs };

	return all[i];
}

/* ------------------------------------------------------------------ writing */

static void write_bytes(FILE *file, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fprintf(file, "%s%02x", i ? " " : "", bytes[i]);
}

void program_print(FILE *file, const struct program *p, const char *prefix)
{
	uint16_t offset[PROGRAM_ITEMS + 1];
	uint8_t code[PROGRAM_CODE];
	char text[128];
	size_t size;

	if (program_layout(p, code, &size, offset))
		return;
	for (unsigned i = 0; i < p->items; i++) {
		uint64_t at = MODE_CODE + offset[i];

		fputs(prefix, file);
		write_bytes(file, code + offset[i], p->item[i].length);
		disasm_text(text, sizeof(text), code + offset[i], p->item[i].length, at,
			    p->mode->code);
		fprintf(file, "%*s ; %" PRIx64 " %s\n", 32 - 3 * p->item[i].length, "", at, text);
	}
}

static void write_start(FILE *file, const struct program *p)
{
	fprintf(file, "mode %s\n", p->mode->name);
	for (unsigned i = 0; i < 16; i++)
		if (p->gpr[i])
			fprintf(file, "set %s %" PRIx64 "\n", gpr_names[i], p->gpr[i]);
	fprintf(file, "set rflags %" PRIx64 "\n", p->rflags);
	for (unsigned i = 0; i < 6; i++)
		if (p->base[i])
			fprintf(file, "set %s %" PRIx64 "\n", segment_names[i], p->base[i]);
	if (p->fill)
		fprintf(file, "set fill %" PRIx64 "\n", p->fill);
	if (p->answers)
		fprintf(file, "set answers %" PRIx64 "\n", p->answers);
}

static void write_events(FILE *file, const struct result *r)
{
	for (unsigned i = 0; i < r->events; i++) {
		const struct event *e = &r->event[i];
		size_t bytes = (size_t)e->size * e->count;

		fprintf(file, "expect %s %s %" PRIx64 " %u %u ",
			e->reason == KVM_EXIT_IO ? "port" : "mmio", e->write ? "write" : "read",
			e->address, e->size, e->count);
		write_bytes(file, e->data, bytes < sizeof(e->data) ? bytes : sizeof(e->data));
		fputc('\n', file);
	}
}

static void write_memory(FILE *file, const struct program *p, const struct result *r)
{
	uint8_t *before = malloc(MODE_RAM);

	if (!before || program_memory(p, before)) {
		free(before);
		return;
	}
	for (uint32_t at = 0; at < MODE_RAM;) {
		uint32_t end = at;

		while (end < MODE_RAM && end < at + 16 && before[end] != r->ram[end])
			end++;
		if (end > at) {
			fprintf(file, "expect memory %x ", at);
			write_bytes(file, r->ram + at, end - at);
			fputc('\n', file);
		}
		at = end > at ? end : at + 1;
	}
	free(before);
}

static void write_registers(FILE *file, const struct program *p, const struct result *r)
{
	struct kvm_regs regs = r->regs;
	struct kvm_sregs sregs = r->sregs, before = { 0 };

	for (unsigned i = 0; i < 16; i++)
		if (*gpr(&regs, i) != p->gpr[i])
			fprintf(file, "expect %s %llx\n", gpr_names[i], *gpr(&regs, i));
	fprintf(file, "expect rip %llx\nexpect rflags %llx\n", regs.rip, regs.rflags);
	mode_sregs(p->mode, p->base, &before);
	for (unsigned i = 0; i < 6; i++) {
		const struct kvm_segment *s = segment(&sregs, i), *b = segment(&before, i);

		if (s->selector != b->selector || s->base != b->base)
			fprintf(file, "expect %s %x %llx\n", segment_names[i], s->selector,
				s->base);
	}
	if (sregs.cr2)
		fprintf(file, "expect cr2 %llx\n", sregs.cr2);
}

static void write_vectors(FILE *file, const struct program *p, const struct result *r)
{
	uint8_t before[16][16];

	if (!p->mode->native)
		return;
	program_xmm(p, before);
	for (unsigned i = 0; i < 16; i++) {
		if (!memcmp(before[i], r->xmm[i], 16))
			continue;
		fprintf(file, "expect xmm %u ", i);
		write_bytes(file, r->xmm[i], 16);
		fputc('\n', file);
	}
	fprintf(file, "expect mxcsr %x\n", r->mxcsr);
}

void golden_write(FILE *file, const struct program *p, const struct result *r, uint32_t undefined,
		  const char *remark)
{
	if (remark)
		fprintf(file, "# %s\n", remark);
	write_start(file, p);
	program_print(file, p, "code ");
	fprintf(file, "expect end %s %u\n", end_names[r->end], r->suberror);
	write_events(file, r);
	if (undefined)
		fprintf(file, "undefined %x\n", undefined);
	if (r->end == END_SHUTDOWN || r->end == END_LIMIT)
		return;
	write_registers(file, p, r);
	write_memory(file, p, r);
	write_vectors(file, p, r);
}

/* ------------------------------------------------------------------ reading */

struct reader {
	struct golden *golden;
	char *rest; /* of the line */
	unsigned line;
	char *why;
	size_t size;
	bool started; /* the program is complete: expectations follow */
};

static int complain(struct reader *r, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static int complain(struct reader *r, const char *format, ...)
{
	int n = snprintf(r->why, r->size, "line %u: ", r->line);
	va_list arguments;

	va_start(arguments, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): the line above does it */
	vsnprintf(r->why + n, r->size - (size_t)n, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

static const char *word(struct reader *r)
{
	const char *w = strtok_r(r->rest, " \t\n", &r->rest);

	return w ? w : "";
}

static int number(struct reader *r, int base, uint64_t *value)
{
	const char *text = word(r);
	char *end;

	errno = 0;
	*value = strtoull(text, &end, base);
	if (!*text || *end || errno)
		return complain(r, "'%s' is no number", text);
	return 0;
}

/* Bytes to the end of the line, or to a semicolon. */
static int bytes(struct reader *r, uint8_t *to, size_t max, size_t *count)
{
	*count = 0;
	for (;;) {
		const char *text = word(r);
		unsigned long value;
		char *end;

		if (!*text || *text == ';')
			return *count ? 0 : complain(r, "bytes are missing");
		value = strtoul(text, &end, 16);
		if (*end || value > 0xff || end - text > 2)
			return complain(r, "'%s' is no byte", text);
		if (*count == max)
			return complain(r, "more than %zu bytes", max);
		to[(*count)++] = (uint8_t)value;
	}
}

static int find(const char *name, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(names[i], name))
			return i;
	return -1;
}

static int read_mode(struct reader *r)
{
	const char *name = word(r);

	r->golden->program.mode = mode_find(name);
	return r->golden->program.mode ? 0 : complain(r, "there is no mode '%s'", name);
}

static int read_set(struct reader *r)
{
	struct program *p = &r->golden->program;
	const char *name = word(r);
	int reg = find(name, gpr_names, 16), seg = find(name, segment_names, 6);
	uint64_t *place = reg >= 0                   ? &p->gpr[reg]
			  : seg >= 0                 ? &p->base[seg]
			  : !strcmp(name, "rflags")  ? &p->rflags
			  : !strcmp(name, "fill")    ? &p->fill
			  : !strcmp(name, "answers") ? &p->answers
						     : NULL;

	return place ? number(r, 16, place) : complain(r, "there is no '%s' to be set", name);
}

static int read_code(struct reader *r)
{
	struct program *p = &r->golden->program;
	struct item *item = &p->item[p->items];
	size_t count;
	int error;

	if (p->items == PROGRAM_ITEMS)
		return complain(r, "more than %u instructions", PROGRAM_ITEMS);
	error = bytes(r, item->bytes, sizeof(item->bytes), &count);
	item->length = (uint8_t)count;
	p->items++;
	return error;
}

/* The state before the program: what is not expected to change. */
static int start(struct reader *r)
{
	struct golden *g = r->golden;
	struct program *p = &g->program;

	if (!p->mode)
		return complain(r, "there is no line 'mode' above");
	if (program_memory(p, g->ram))
		return complain(r, "the program is too long");
	for (unsigned i = 0; i < 16; i++)
		*gpr(&g->expected.regs, i) = p->gpr[i];
	mode_sregs(p->mode, p->base, &g->expected.sregs);
	program_xmm(p, g->expected.xmm);
	g->expected.ram = g->ram;
	r->started = true;
	return 0;
}

static int read_event(struct reader *r, uint32_t reason)
{
	struct result *expected = &r->golden->expected;
	struct event *e = &expected->event[expected->events];
	uint64_t size, count;
	size_t n;

	if (expected->events == RESULT_EVENTS)
		return complain(r, "more than %u exits", RESULT_EVENTS);
	expected->events++;
	e->reason = reason;
	e->write = !strcmp(word(r), "write");
	if (number(r, 16, &e->address) || number(r, 10, &size) || number(r, 10, &count))
		return -EINVAL;
	e->size = (uint8_t)size;
	e->count = (uint32_t)count;
	return bytes(r, e->data, sizeof(e->data), &n);
}

static int read_memory(struct reader *r)
{
	uint64_t at;
	size_t n;

	if (number(r, 16, &at))
		return -EINVAL;
	if (at >= MODE_RAM)
		return complain(r, "there is no memory at %" PRIx64, at);
	return bytes(r, r->golden->ram + at, MODE_RAM - at, &n);
}

static int read_xmm(struct reader *r)
{
	uint64_t i;
	size_t n;

	if (number(r, 10, &i))
		return -EINVAL;
	if (i > 15)
		return complain(r, "there is no xmm %" PRIu64, i);
	return bytes(r, r->golden->expected.xmm[i], 16, &n);
}

static int read_end(struct reader *r)
{
	const char *name = word(r);
	int end = find(name, end_names, END_NAMES);
	uint64_t suberror;

	if (end < 0)
		return complain(r, "'%s' is no end", name);
	r->golden->expected.end = (enum end)end;
	if (number(r, 10, &suberror))
		return -EINVAL;
	r->golden->expected.suberror = (uint32_t)suberror;
	return 0;
}

static int read_segment(struct reader *r, int seg)
{
	struct kvm_segment *s = segment(&r->golden->expected.sregs, (unsigned)seg);
	uint64_t selector, base;

	if (number(r, 16, &selector) || number(r, 16, &base))
		return -EINVAL;
	s->selector = (uint16_t)selector;
	s->base = base;
	return 0;
}

static int read_expect(struct reader *r)
{
	struct result *expected = &r->golden->expected;
	const char *name;
	uint64_t value = 0;
	int reg, seg, error;

	if (!r->started) {
		error = start(r);
		if (error)
			return error;
	}
	name = word(r);
	reg = find(name, gpr_names, 16);
	seg = find(name, segment_names, 6);
	if (seg >= 0)
		return read_segment(r, seg);
	if (!strcmp(name, "end"))
		return read_end(r);
	if (!strcmp(name, "memory"))
		return read_memory(r);
	if (!strcmp(name, "xmm"))
		return read_xmm(r);
	if (!strcmp(name, "port") || !strcmp(name, "mmio"))
		return read_event(r, *name == 'p' ? KVM_EXIT_IO : KVM_EXIT_MMIO);
	error = number(r, 16, &value);
	if (reg >= 0)
		*gpr(&expected->regs, (unsigned)reg) = value;
	else if (!strcmp(name, "rip"))
		expected->regs.rip = value;
	else if (!strcmp(name, "rflags"))
		expected->regs.rflags = value;
	else if (!strcmp(name, "cr2"))
		expected->sregs.cr2 = value;
	else if (!strcmp(name, "mxcsr"))
		expected->mxcsr = (uint32_t)value;
	else
		return complain(r, "'%s' is nothing that can be expected", name);
	return error;
}

static int read_line(struct reader *r)
{
	const char *key = word(r);
	uint64_t value;
	int error;

	if (!*key || *key == '#')
		return 0;
	if (!strcmp(key, "mode"))
		return read_mode(r);
	if (!strcmp(key, "set"))
		return read_set(r);
	if (!strcmp(key, "code"))
		return read_code(r);
	if (!strcmp(key, "expect"))
		return read_expect(r);
	if (strcmp(key, "undefined") != 0)
		return complain(r, "'%s' is no key", key);
	error = number(r, 16, &value);
	r->golden->undefined = (uint32_t)value;
	return error;
}

int golden_read(FILE *file, struct golden **golden, char *why, size_t size)
{
	struct reader r = { .why = why, .size = size };
	char line[1024];
	int error = 0;

	*golden = r.golden = calloc(1, sizeof(**golden));
	if (!r.golden)
		return -ENOMEM;
	while (!error && fgets(line, sizeof(line), file)) {
		r.line++;
		r.rest = line;
		if (r.line == 1 && !strncmp(line, "# ", 2))
			snprintf(r.golden->remark, sizeof(r.golden->remark), "%.*s",
				 (int)strcspn(line + 2, "\n"), line + 2);
		error = read_line(&r);
	}
	if (!error && !r.started)
		error = start(&r);
	if (error) {
		free(*golden);
		*golden = NULL;
	}
	return error;
}
