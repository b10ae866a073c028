// SPDX-License-Identifier: GPL-2.0-only
/*
 * Far JMP, CALL and RET, and IRET (SDM vol. 2, the instructions' pages; vol. 3, 5.8, 6.12, 20.2).
 *
 * Each works out the whole transfer, then commits it; until then no register changes.
 */
#include "emu/segment.h"

#include <string.h>

/* ------------------------------------------------------------------ the target */

struct far_pointer {
	uint64_t offset;
	uint16_t selector;
};

static enum outcome far_pointer_read(struct emu_vcpu *v, const struct insn *i,
				     struct far_pointer *p)
{
	/* APM vol. 3: AMD has no 64-bit offsets here, REX.W is ignored */
	unsigned size = i->opsize == 8 && vendor_is_amd(v) ? 4 : i->opsize;
	uint8_t bytes[10];
	uint64_t linear;
	struct insn operand = *i;
	enum outcome o;

	p->offset = i->imm & size_mask(size);
	p->selector = i->imm2;
	if (!(i->flags & INSN_MEM))
		return DONE;
	operand.mem_size = (uint8_t)(size + 2);
	o = operand_linear(v, &operand, false, &linear);
	if (o == DONE)
		o = linear_read(v, linear, bytes, size + 2, 0);
	if (o != DONE)
		return o;
	p->offset = 0;
	memcpy(&p->offset, bytes, size);
	memcpy(&p->selector, bytes + size, 2);
	return DONE;
}

static bool is_call(const struct insn *i)
{
	return i->op == OP_CALL_FAR;
}

/* Push CS and the return address on `s`, after `n` items that are in `frame` already; go there. */
static enum outcome call_through(struct emu_vcpu *v, const struct insn *i, struct stack *s,
				 uint64_t *frame, unsigned n, unsigned size)
{
	struct cpu *c = &v->cpu;
	uint64_t rip = c->rip;

	advance_rip(c, i);
	frame[n++] = c->segment[EMU_CS].selector;
	frame[n++] = c->rip;
	c->rip = rip;
	return stack_put(v, s, frame, n, size);
}

/* Real and virtual-8086 mode */
static enum outcome far_real(struct emu_vcpu *v, const struct insn *i, const struct far_pointer *p)
{
	struct cpu *c = &v->cpu;
	struct stack s = stack_current(c);
	uint64_t frame[2];

	if (p->offset > c->segment[EMU_CS].limit)
		return raise_error(v, EXC_GP, 0);
	if (is_call(i)) {
		enum outcome o = call_through(v, i, &s, frame, 0, i->opsize);

		if (o != DONE)
			return o;
		stack_use(c, &s);
	}
	segment_load_real(c, EMU_CS, p->selector);
	c->rip = p->offset;
	return DONE;
}

/* ------------------------------------------------------------------ code segments */

/*
 * Is `d` a code segment that a JMP, or a CALL or gate without change of level, may enter at `cpl`?
 * `rpl` does not count through gates.
 */
static enum outcome code_check(struct emu_vcpu *v, uint16_t selector, const struct descriptor *d,
			       unsigned rpl)
{
	const struct cpu *c = &v->cpu;
	unsigned dpl = descriptor_dpl(d);
	bool allowed = descriptor_is_conforming(d) ? dpl <= c->cpl : rpl <= c->cpl && dpl == c->cpl;

	if (!descriptor_is_code(d) || !allowed ||
	    (in_long_mode(c) && (d->high & (DESC_L | DESC_DB)) == (DESC_L | DESC_DB)))
		return raise_error(v, EXC_GP, SELECTOR_ERROR(selector));
	if (!(d->high & DESC_P))
		return raise_error(v, EXC_NP, SELECTOR_ERROR(selector));
	return DONE;
}

/* Through `d`, checked, with `size` byte items of a CALL, at the current level. */
static enum outcome far_same_level(struct emu_vcpu *v, const struct insn *i,
				   const struct far_pointer *p, struct descriptor *d, unsigned size)
{
	struct cpu *c = &v->cpu;
	struct stack s = stack_current(c);
	uint64_t frame[2];
	enum outcome o = code_offset_check(v, d, p->offset);

	if (o == DONE)
		o = descriptor_touch(v, d);
	if (o == DONE && is_call(i))
		o = call_through(v, i, &s, frame, 0, size);
	if (o != DONE)
		return o;
	if (is_call(i))
		stack_use(c, &s);
	load_code_segment(c, p->selector, c->cpl, d);
	c->rip = p->offset;
	return DONE;
}

/* ------------------------------------------------------------------ gates */

/* CALL to an inner level: its stack, parameters copied (SDM 5.8.5). */
static enum outcome call_inner(struct emu_vcpu *v, const struct insn *i,
			       const struct far_pointer *p, struct descriptor *d, unsigned size,
			       unsigned parameters)
{
	struct cpu *c = &v->cpu;
	unsigned cpl = descriptor_dpl(d), n = 0;
	uint64_t frame[STACK_ITEMS], parameter[32];
	struct stack s;
	enum outcome o = size == 8 ? stack_from_tss64(v, cpl, 0, &s) : stack_from_tss(v, cpl, &s);

	if (o == DONE)
		o = stack_get(v, 0, parameter, parameters, size);
	if (o == DONE)
		o = code_offset_check(v, d, p->offset);
	if (o == DONE)
		o = descriptor_touch(v, d);
	if (o != DONE)
		return o;
	frame[n++] = c->segment[EMU_SS].selector;
	frame[n++] = c->gpr[EMU_RSP];
	while (parameters) /* the last pushed one is the top */
		frame[n++] = parameter[--parameters];
	o = call_through(v, i, &s, frame, n, size);
	if (o != DONE)
		return o;
	c->segment[EMU_SS] = s.ss;
	c->gpr[EMU_RSP] = stack_pointer(c->gpr[EMU_RSP], s.rsp, s.width);
	load_code_segment(c, p->selector, cpl, d);
	c->rip = p->offset;
	return DONE;
}

static enum outcome far_call_gate(struct emu_vcpu *v, const struct insn *i, uint16_t selector,
				  struct descriptor *gate)
{
	struct cpu *c = &v->cpu;
	unsigned size = in_long_mode(c) ? 8 : descriptor_system_type(gate) == SYS_CALL ? 4 : 2;
	struct far_pointer p = { .selector = (uint16_t)(gate->low >> 16) };
	struct descriptor d;
	enum outcome o = descriptor_read_upper(v, selector, EXC_GP, gate);

	if (o != DONE)
		return o;
	p.offset = (uint64_t)gate->upper << 32 | (size > 2 ? gate->high & 0xffff0000u : 0) |
		   (gate->low & 0xffff);
	if (SELECTOR_IS_NULL(p.selector))
		return raise_error(v, EXC_GP, 0);
	o = descriptor_read(v, p.selector, EXC_GP, &d);
	if (o != DONE)
		return o;
	if (!descriptor_is_code(&d) || descriptor_dpl(&d) > c->cpl ||
	    (size == 8 && (d.high & (DESC_L | DESC_DB)) != DESC_L))
		return raise_error(v, EXC_GP, SELECTOR_ERROR(p.selector));
	if (is_call(i) && !descriptor_is_conforming(&d) && descriptor_dpl(&d) < c->cpl) {
		if (!(d.high & DESC_P))
			return raise_error(v, EXC_NP, SELECTOR_ERROR(p.selector));
		return call_inner(v, i, &p, &d, size, size == 8 ? 0 : gate->high & 31);
	}
	o = code_check(v, p.selector, &d, 0);
	return o == DONE ? far_same_level(v, i, &p, &d, size) : o;
}

static enum outcome far_task(struct emu_vcpu *v, const struct insn *i, uint16_t selector)
{
	return task_switch_insn(v, i, selector, is_call(i) ? TASK_CALL : TASK_JMP);
}

/* System descriptors: gates and TSSs (SDM 5.8.2 to 5.8.4, 7.3). */
static enum outcome far_system(struct emu_vcpu *v, const struct insn *i, uint16_t selector,
			       struct descriptor *d)
{
	unsigned rpl = selector & SELECTOR_RPL, dpl = descriptor_dpl(d);
	unsigned type = descriptor_system_type(d);
	/* long mode has the 64-bit call gate and no task switch */
	bool known = in_long_mode(&v->cpu)
			     ? type == SYS_CALL
			     : type == SYS_CALL || type == SYS_CALL16 || type == SYS_TASK_GATE ||
				       type == SYS_TSS || type == SYS_TSS16;

	if (!known || dpl < v->cpu.cpl || dpl < rpl)
		return raise_error(v, EXC_GP, SELECTOR_ERROR(selector));
	if (!(d->high & DESC_P))
		return raise_error(v, EXC_NP, SELECTOR_ERROR(selector));
	switch (type) {
	case SYS_TASK_GATE:
		return far_task(v, i, (uint16_t)(d->low >> 16));
	case SYS_TSS:
	case SYS_TSS16:
		return far_task(v, i, selector);
	default:
		return far_call_gate(v, i, selector, d);
	}
}

enum outcome insn_far_jmp(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	struct far_pointer p;
	struct descriptor d;
	enum outcome o = far_pointer_read(v, i, &p);

	if (o != DONE)
		return o;
	if (!in_protected(c)) {
		o = far_real(v, i, &p);
	} else if (SELECTOR_IS_NULL(p.selector)) {
		return raise_error(v, EXC_GP, 0);
	} else {
		o = descriptor_read(v, p.selector, EXC_GP, &d);
		if (o != DONE)
			return o;
		if (!(d.high & DESC_S))
			return far_system(v, i, p.selector, &d); /* a new task's RF is its own */
		o = code_check(v, p.selector, &d, p.selector & SELECTOR_RPL);
		if (o == DONE)
			o = far_same_level(v, i, &p, &d, i->opsize);
	}
	if (o == DONE)
		c->rflags &= ~(uint64_t)FL_RF;
	return o;
}

/* ------------------------------------------------------------------ returns */

/* Where RET and IRET go, worked out before anything changes. */
struct far_return {
	uint64_t rip, rsp;
	uint16_t cs, ss;
	struct descriptor code;
	struct segment stack; /* if pops_stack */
	unsigned cpl;         /* the new one */
	bool pops_stack;
};

/* The code segment returned to: SDM vol. 2, IRET, PROTECTED-MODE-RETURN. */
static enum outcome return_code(struct emu_vcpu *v, struct far_return *r)
{
	uint32_t error = SELECTOR_ERROR(r->cs);
	struct descriptor *d = &r->code;
	unsigned dpl;
	enum outcome o;

	if (SELECTOR_IS_NULL(r->cs))
		return raise_error(v, EXC_GP, 0);
	o = descriptor_read(v, r->cs, EXC_GP, d);
	if (o != DONE)
		return o;
	dpl = descriptor_dpl(d);
	r->cpl = r->cs & SELECTOR_RPL;
	if (!descriptor_is_code(d) || r->cpl < v->cpu.cpl ||
	    (descriptor_is_conforming(d) ? dpl > r->cpl : dpl != r->cpl) ||
	    (in_long_mode(&v->cpu) && (d->high & (DESC_L | DESC_DB)) == (DESC_L | DESC_DB)))
		return raise_error(v, EXC_GP, error);
	if (!(d->high & DESC_P))
		return raise_error(v, EXC_NP, error);
	return DONE;
}

/* The stack segment that was popped: SDM vol. 2, IRET, RETURN-TO-OUTER-PRIVILEGE-LEVEL. */
static enum outcome return_stack(struct emu_vcpu *v, struct far_return *r)
{
	uint32_t error = SELECTOR_ERROR(r->ss);
	bool to_64bit = in_long_mode(&v->cpu) && r->code.high & DESC_L;
	struct descriptor d;
	enum outcome o;

	if (SELECTOR_IS_NULL(r->ss)) {
		if (!to_64bit || r->cpl == 3 || (r->ss & SELECTOR_RPL) != r->cpl)
			return raise_error(v, EXC_GP, 0);
		r->stack = segment_null(r->ss);
		return DONE;
	}
	o = descriptor_read(v, r->ss, EXC_GP, &d);
	if (o != DONE)
		return o;
	if ((r->ss & SELECTOR_RPL) != r->cpl || descriptor_dpl(&d) != r->cpl ||
	    !descriptor_is_writable_data(&d))
		return raise_error(v, EXC_GP, error);
	if (!(d.high & DESC_P))
		return raise_error(v, EXC_SS, error);
	o = descriptor_touch(v, &d);
	if (o == DONE)
		r->stack = segment_of(r->ss, &d);
	return o;
}

static enum outcome return_checks(struct emu_vcpu *v, struct far_return *r)
{
	enum outcome o = DONE;

	if (r->pops_stack)
		o = return_stack(v, r);
	if (o == DONE)
		o = code_offset_check(v, &r->code, r->rip);
	return o == DONE ? descriptor_touch(v, &r->code) : o;
}

/* `drop`: bytes that were popped where the stack stays the same. */
static void return_commit(struct cpu *c, const struct far_return *r, uint64_t drop)
{
	bool outer = r->cpl > c->cpl;

	if (r->pops_stack) {
		load_code_segment(c, r->cs, r->cpl, &r->code);
		c->segment[EMU_SS] = r->stack;
		c->gpr[EMU_RSP] = stack_pointer(c->gpr[EMU_RSP], r->rsp, stack_size(c));
	} else {
		stack_drop(c, drop);
		load_code_segment(c, r->cs, r->cpl, &r->code);
	}
	c->rip = r->rip;
	if (outer)
		segments_drop_privileged(c);
}

static enum outcome ret_protected(struct emu_vcpu *v, const struct insn *i, const uint64_t item[2])
{
	struct cpu *c = &v->cpu;
	unsigned size = i->opsize;
	uint64_t release = i->flags & INSN_IMM ? i->imm & 0xffff : 0, outer[2];
	struct far_return r = { .rip = item[0], .cs = (uint16_t)item[1] };
	enum outcome o = return_code(v, &r);

	if (o != DONE)
		return o;
	if (r.cpl > c->cpl) {
		o = stack_get(v, 2 * size + release, outer, 2, size);
		if (o != DONE)
			return o;
		r.pops_stack = true;
		r.rsp = outer[0] + release; /* the caller's copy of the parameters, too */
		r.ss = (uint16_t)outer[1];
	}
	o = return_checks(v, &r);
	if (o == DONE)
		return_commit(c, &r, 2 * size + release);
	return o;
}

enum outcome insn_far_ret(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t release = i->flags & INSN_IMM ? i->imm & 0xffff : 0, item[2];
	enum outcome o = stack_get(v, 0, item, 2, i->opsize);

	if (o != DONE)
		return o;
	if (in_protected(c)) {
		o = ret_protected(v, i, item);
	} else if (item[0] > c->segment[EMU_CS].limit) {
		return raise_error(v, EXC_GP, 0);
	} else {
		stack_drop(c, 2 * i->opsize + release);
		segment_load_real(c, EMU_CS, (uint16_t)item[1]);
		c->rip = item[0];
	}
	if (o == DONE)
		c->rflags &= ~(uint64_t)FL_RF;
	return o;
}

/* ------------------------------------------------------------------ IRET */

/* What IRET may change of RFLAGS at privilege level `cpl`, popping `size` bytes. */
static uint64_t iret_flags(const struct cpu *c, uint64_t popped, unsigned size)
{
	uint64_t mask = FL_STATUS | FL_TF | FL_DF | FL_NT;

	if (c->cpl <= (c->rflags & FL_IOPL) >> 12)
		mask |= FL_IF;
	if (c->cpl == 0)
		mask |= FL_IOPL;
	if (size > 2) {
		mask |= FL_RF | FL_AC | FL_ID;
		if (c->cpl == 0)
			mask |= FL_VIF | FL_VIP;
	}
	/* a 16-bit one does not touch RF, which the instruction itself has cleared (SDM 17.3.1.1) */
	return (c->rflags & ~(mask | FL_RF)) | (popped & mask) | FL_FIXED;
}

/* Real mode, and virtual-8086 mode with IOPL 3: VM, VIF and VIP stay; IOPL in the latter, too. */
static enum outcome iret_real(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t mask = FL_STATUS | FL_TF | FL_IF | FL_DF | FL_NT;
	uint64_t item[3];
	enum outcome o = stack_get(v, 0, item, 3, i->opsize);

	if (o != DONE)
		return o;
	if (item[0] > c->segment[EMU_CS].limit)
		return raise_error(v, EXC_GP, 0);
	if (!in_vm86(c))
		mask |= FL_IOPL;
	if (i->opsize > 2)
		mask |= FL_RF | FL_AC | FL_ID;
	stack_drop(c, 3 * i->opsize);
	segment_load_real(c, EMU_CS, (uint16_t)item[1]);
	c->rip = item[0];
	c->rflags = (c->rflags & ~(mask | FL_RF)) | (item[2] & mask) | FL_FIXED;
	return DONE;
}

/* CR4.VME and IOPL below 3: IF is VIF (SDM 20.3.3.4, vol. 2, IRET). */
static enum outcome iret_vme(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t mask = FL_STATUS | FL_DF | FL_NT;
	uint64_t item[3];
	enum outcome o;

	if (!(c->cr4 & CR4_VME) || i->opsize != 2)
		return raise_error(v, EXC_GP, 0);
	o = stack_get(v, 0, item, 3, 2);
	if (o != DONE)
		return o;
	if (item[2] & FL_TF || (item[2] & FL_IF && c->rflags & FL_VIP))
		return raise_error(v, EXC_GP, 0);
	stack_drop(c, 6);
	segment_load_real(c, EMU_CS, (uint16_t)item[1]);
	c->rip = item[0];
	c->rflags = (c->rflags & ~(mask | FL_TF | FL_RF | FL_VIF)) | (item[2] & mask) |
		    (item[2] & FL_IF ? FL_VIF : 0);
	return DONE;
}

/* SDM 20.2.3: the frame goes on with ESP, SS, ES, DS, FS, GS. */
static enum outcome iret_to_vm86(struct emu_vcpu *v, const uint64_t item[3])
{
	static const uint8_t order[] = { EMU_SS, EMU_ES, EMU_DS, EMU_FS, EMU_GS };
	struct cpu *c = &v->cpu;
	uint64_t more[6];
	enum outcome o = stack_get(v, 12, more, 6, 4);

	if (o != DONE)
		return o;
	if (item[0] > 0xffff)
		return raise_error(v, EXC_GP, 0);
	c->rflags = (item[2] & (FL_STATUS | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF |
				FL_VM | FL_AC | FL_VIF | FL_VIP | FL_ID)) |
		    FL_FIXED;
	c->segment[EMU_CS] = segment_vm86((uint16_t)item[1]);
	for (unsigned n = 0; n < sizeof(order); n++)
		c->segment[order[n]] = segment_vm86((uint16_t)more[n + 1]);
	c->gpr[EMU_RSP] = (uint32_t)more[0];
	c->rip = item[0];
	c->cpl = 3;
	return DONE;
}

/* NT: back to the task that the back link names (SDM 7.4). */
static enum outcome iret_task(struct emu_vcpu *v, const struct insn *i)
{
	const struct segment *tr = &v->cpu.segment[EMU_TR];
	uint16_t link;
	enum outcome o;

	if (in_long_mode(&v->cpu))
		return raise_error(v, EXC_GP, 0);
	if (tr->limit < 1)
		return raise_error(v, EXC_TS, SELECTOR_ERROR(tr->selector));
	o = linear_read(v, (uint32_t)tr->base, &link, sizeof(link), ACCESS_SYSTEM);
	return o == DONE ? task_switch_insn(v, i, link, TASK_IRET) : o;
}

static enum outcome iret_protected(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	unsigned size = i->opsize;
	/* in 64-bit mode SS:RSP are always there, with every operand size (SDM 6.14.3) */
	bool always = in_64bit(c);
	uint64_t item[5], rflags;
	struct far_return r;
	enum outcome o = stack_get(v, 0, item, always ? 5 : 3, size);

	if (o != DONE)
		return o;
	if (size == 4 && item[2] & FL_VM && c->cpl == 0 && !in_long_mode(c))
		return iret_to_vm86(v, item);
	r = (struct far_return){ .rip = item[0], .cs = (uint16_t)item[1] };
	o = return_code(v, &r);
	if (o != DONE)
		return o;
	if (!always && r.cpl > c->cpl) {
		o = stack_get(v, 3 * size, item + 3, 2, size);
		if (o != DONE)
			return o;
	}
	r.pops_stack = always || r.cpl > c->cpl;
	if (r.pops_stack) {
		r.rsp = item[3];
		r.ss = (uint16_t)item[4];
	}
	o = return_checks(v, &r);
	if (o != DONE)
		return o;
	rflags = iret_flags(c, item[2], size);
	return_commit(c, &r, 3 * size);
	c->rflags = rflags;
	return DONE;
}

enum outcome insn_iret(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	enum outcome o;

	if (in_real(c) || (in_vm86(c) && (c->rflags & FL_IOPL) == FL_IOPL))
		o = iret_real(v, i);
	else if (in_vm86(c))
		o = iret_vme(v, i);
	else if (c->rflags & FL_NT)
		o = iret_task(v, i);
	else
		o = iret_protected(v, i);
	/* an IRET that faults unblocks NMIs, too (SDM 26.3, 28.2.3 "NMI unblocking due to IRET") */
	if (o == DONE || o == FAULT)
		v->events.nmi.masked = false;
	return o;
}
