/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instructions on devices: memory without a slot, and writes to read-only slots. As Linux does it, an
 * access goes to the monitor in fragments of at most 8 bytes; the instruction is executed again from
 * its start after each answer, with the answers so far at hand, so that nothing has happened before
 * all reads are in. Its writes are sent when it has completed.
 */
#include "emu/run.h"
#include "emu/vm.h"

#include <string.h>

/* ------------------------------------------------------------------ accesses of executing code */

static enum outcome device_read(struct emu_vcpu *v, uint64_t gpa, uint8_t *data, unsigned size)
{
	struct run_state *run = v->run;
	while (size) {
		unsigned n = size < 8 ? size : 8;
		if (run->cursor >= MMIO_PARTS)
			return UNHANDLED;
		struct mmio_part *p = &run->read[run->cursor];
		if (run->cursor == run->reads) {
			*p = (struct mmio_part){ .gpa = gpa, .size = (uint8_t)n };
			leave(v, EMU_EXIT_MMIO, VMX_EPT_MISCONFIG);
			v->exit->guest_physical = gpa;
			v->exit->mmio.gpa = gpa;
			v->exit->mmio.rip = run->executing.rip;
			v->exit->mmio.size = (uint8_t)n;
			v->exit->mmio.write = false;
			v->exit->mmio.data = p->data;
			return EXIT;
		}
		if (p->gpa != gpa || p->size != n)
			run->reads = run->cursor; /* the monitor changed registers: ask anew */
		else
			run->cursor++, memcpy(data, p->data, n), gpa += n, data += n, size -= n;
	}
	return DONE;
}

static enum outcome device_write(struct emu_vcpu *v, uint64_t gpa, const uint8_t *data,
				 unsigned size)
{
	struct run_state *run = v->run;
	while (size) {
		unsigned n = size < 8 ? size : 8;
		if (run->writes == MMIO_PARTS)
			return UNHANDLED;
		struct mmio_part *p = &run->write[run->writes++];
		*p = (struct mmio_part){ .gpa = gpa, .size = (uint8_t)n };
		memcpy(p->data, data, n);
		gpa += n, data += n, size -= n;
	}
	return DONE;
}

/* bytes of [linear, linear+size) that lie on the first page */
static unsigned first_part(uint64_t linear, unsigned size)
{
	uint64_t room = PAGE_SIZE - (linear & ~PAGE_MASK);
	return room < size ? (unsigned)room : size;
}

static uint64_t next_linear(const struct emu_vcpu *v, uint64_t linear, unsigned size)
{
	return in_64bit(&v->cpu) ? linear + size : (uint32_t)(linear + size);
}

enum outcome data_read(struct emu_vcpu *v, uint64_t linear, void *data, unsigned size)
{
	uint8_t *bytes = data;
	enum outcome r = size <= 64 ? linear_read(v, linear, data, size, 0) : MMIO;
	if (r != MMIO || !v->run->mmio_on)
		return r;
	/* page by page: one may be memory, the other a device */
	while (size) {
		unsigned n = first_part(linear, size);
		if (n > 64)
			n = 64;
		r = linear_read(v, linear, bytes, n, 0);
		if (r == MMIO)
			r = device_read(v, v->mmio_gpa, bytes, n);
		if (r)
			return r;
		linear = next_linear(v, linear, n);
		bytes += n, size -= n;
	}
	return DONE;
}

enum outcome data_write(struct emu_vcpu *v, uint64_t linear, const void *data, unsigned size)
{
	const uint8_t *bytes = data;
	enum outcome r = linear_write(v, linear, data, size, 0);
	if (r != MMIO || !v->run->mmio_on)
		return r;
	while (size) {
		unsigned n = first_part(linear, size);
		r = linear_write(v, linear, bytes, n, 0);
		if (r == MMIO)
			r = device_write(v, v->mmio_gpa, bytes, n);
		if (r)
			return r;
		linear = next_linear(v, linear, n);
		bytes += n, size -= n;
	}
	return DONE;
}

/* ------------------------------------------------------------------ the engine on scratch pages */

/* The device page behind `linear` gets a scratch page; DONE also where it is memory (*host NULL). */
static enum outcome open_scratch(struct emu_vcpu *v, uint64_t linear, bool write, uint8_t **host,
				 uint64_t *gpa)
{
	struct run_state *run = v->run;
	unsigned access = (write ? WALK_WRITE : WALK_READ) | (v->cpu.cpl == 3 ? WALK_USER : 0);
	struct walk w;
	*host = NULL;
	enum outcome r = page_walk(v, linear, access, &w);
	if (r)
		return r;
	const struct slot *s = slot_find(v->vm, w.gpa);
	if (s && !(write && s->flags & EMU_MEM_READONLY))
		return DONE;
	*gpa = w.gpa;
	for (unsigned k = 0; k < run->scratch_pages; k++) {
		if (run->scratch[k].linear == (linear & PAGE_MASK)) {
			*host = run->scratch[k].host + (linear & ~PAGE_MASK);
			return DONE;
		}
	}
	if (run->scratch_pages == SCRATCH_PAGES)
		return UNHANDLED;
	unsigned k = run->scratch_pages++;
	run->scratch[k].linear = linear & PAGE_MASK;
	run->scratch[k].gpa = w.gpa & PAGE_MASK;
	run->scratch[k].host = v->vm->scratch + k * PAGE_SIZE;
	*host = run->scratch[k].host + (linear & ~PAGE_MASK);
	return DONE;
}

typedef enum outcome (*each_part)(struct emu_vcpu *v, uint64_t gpa, uint8_t *host, unsigned size);

static enum outcome fill_part(struct emu_vcpu *v, uint64_t gpa, uint8_t *host, unsigned size)
{
	return device_read(v, gpa, host, size);
}

static enum outcome send_part(struct emu_vcpu *v, uint64_t gpa, uint8_t *host, unsigned size)
{
	return device_write(v, gpa, host, size);
}

/* Applies `function` to each piece of the instruction's accesses of this kind that hits a device. */
static enum outcome for_device_parts(struct emu_vcpu *v, const struct insn_access *accesses,
				     int count, unsigned kind, each_part function)
{
	for (int a = 0; a < count; a++) {
		uint64_t linear = accesses[a].linear;
		unsigned size = accesses[a].size;
		while (size) {
			unsigned n = first_part(linear, size);
			uint8_t *host;
			uint64_t gpa;
			enum outcome r = open_scratch(v, linear, accesses[a].access & INSN_WRITE,
						      &host, &gpa);
			if (!r && host && accesses[a].access & kind)
				r = function(v, gpa, host, n);
			if (r)
				return r;
			linear = next_linear(v, linear, n);
			size -= n;
		}
	}
	return DONE;
}

/*
 * Any instruction at all: the engine executes it with scratch pages in the devices' place, filled
 * with what the monitor answered; what it stored there is sent.
 */
static enum outcome scratch_execute(struct emu_vcpu *v, const struct insn *i)
{
	struct run_state *run = v->run;
	struct insn_regs regs;
	struct insn_access accesses[INSN_MAX_ACCESSES];
	if (i->op == OP_BRANCH)
		return UNHANDLED;
	insn_regs_of(&v->cpu, &regs);
	int count = insn_accesses(i, &regs, accesses);
	if (!count)
		return UNHANDLED;
	run->scratch_pages = 0;
	enum outcome r = for_device_parts(v, accesses, count, INSN_READ, fill_part);
	if (!r)
		r = native_step(v, i);
	if (!r)
		r = for_device_parts(v, accesses, count, INSN_WRITE, send_part);
	run->scratch_pages = 0;
	return r;
}

/* ------------------------------------------------------------------ the whole instruction */

static enum outcome send_write(struct emu_vcpu *v)
{
	struct run_state *run = v->run;
	struct mmio_part *p = &run->write[run->sent];
	leave(v, EMU_EXIT_MMIO, VMX_EPT_MISCONFIG);
	v->exit->guest_physical = p->gpa;
	v->exit->mmio.gpa = p->gpa;
	v->exit->mmio.rip = run->executing.rip;
	v->exit->mmio.size = p->size;
	v->exit->mmio.write = true;
	v->exit->mmio.data = p->data;
	run->pending = PENDING_MMIO_WRITE;
	return EXIT;
}

static enum outcome attempt(struct emu_vcpu *v)
{
	struct run_state *run = v->run;
	const struct insn *i = &run->insn;
	uint64_t rip = v->cpu.rip;
	run->cursor = run->writes = run->sent = 0;
	run->mmio_on = run->emulating = true;
	enum outcome r = hand_execute(v, i);
	if (r == UNHANDLED)
		r = scratch_execute(v, i);
	run->mmio_on = run->emulating = false;
	if (r == DONE)
		forget_rf(&v->cpu, i, rip);
	if (r == EXIT) {
		run->pending = PENDING_MMIO_READ;
		run->pending_rip = linear_rip(&v->cpu);
		return EXIT;
	}
	if (r == UNHANDLED || r == MMIO)
		return leave_unhandled(v, i);
	return r == DONE && run->writes ? send_write(v) : r;
}

enum outcome mmio_execute(struct emu_vcpu *v, const struct insn *i)
{
	struct run_state *run = v->run;
	if (!(i->flags & INSN_KVM_EMULATES) && !v->vm->config.mmio_all)
		return leave_unhandled(v, i);
	/* from a port to a device's memory, or back: two devices in one instruction */
	if (i->op == OP_INS || i->op == OP_OUTS)
		return leave_unhandled(v, i);
	if (&run->insn != i)
		run->insn = *i;
	run->reads = 0;
	return attempt(v);
}

enum outcome mmio_complete(struct emu_vcpu *v)
{
	struct run_state *run = v->run;
	enum pending pending = run->pending;
	run->pending = PENDING_NOTHING;
	if (pending == PENDING_MMIO_WRITE)
		return ++run->sent < run->writes ? send_write(v) : DONE;
	if (linear_rip(&v->cpu) != run->pending_rip)
		return DONE;
	run->reads++;
	return attempt(v);
}
