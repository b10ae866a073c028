// SPDX-License-Identifier: GPL-2.0-only
/* Hardware task switches with 16- and 32-bit TSSs (SDM vol. 3, chapter 7). */
#include "emu/run.h"
#include "emu/segment.h"

#include <string.h>

/* The part of a TSS that a task switch uses, both formats alike. */
enum {
	TASK_EIP,
	TASK_EFLAGS,
	TASK_GPR,
	TASK_ES = TASK_GPR + 8,
	TASK_CS,
	TASK_SS,
	TASK_DS,
	TASK_FS,
	TASK_GS,
	TASK_LDT,
	TASK_CR3,
	TASK_FIELDS
};

/* Where it lies: figures 7-2 and 7-10. 0: not in this format. */
struct tss_layout {
	uint8_t offset[TASK_FIELDS];
	uint8_t size; /* of EIP, EFLAGS, registers */
	uint8_t saved_from, saved_to;
	uint8_t minimum; /* limit: SDM 7.2.2, 7.6 */
};
static const struct tss_layout layout32 = {
	.offset = { 32, 36, 40, 44, 48, 52, 56, 60, 64, 68, 72, 76, 80, 84, 88, 92, 96, 28 },
	.size = 4,
	.saved_from = 32,
	.saved_to = 96,
	.minimum = 0x67,
};
static const struct tss_layout layout16 = {
	.offset = { 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 0, 0, 42, 0 },
	.size = 2,
	.saved_from = 14,
	.saved_to = 42,
	.minimum = 0x2b,
};

#define TSS_MAX 104 /* bytes of the fixed part */

struct task {
	struct segment tr; /* base, limit, selector */
	const struct tss_layout *layout;
	uint64_t descriptor; /* linear */
	uint8_t image[TSS_MAX];
};

static const struct tss_layout *layout_of(uint32_t flags)
{
	return flags & 8 << 8 ? &layout32 : &layout16;
}

/* The fixed part, in pieces that linear_read() takes. */
static enum outcome image_access(struct emu_vcpu *v, struct task *t, unsigned from, unsigned to,
				 enum outcome (*access)(struct emu_vcpu *, uint64_t, uint8_t *,
							unsigned))
{
	for (unsigned at = from, piece; at < to; at += piece) {
		enum outcome o;

		piece = to - at < 64 ? to - at : 64;
		o = access(v, (uint32_t)(t->tr.base + at), t->image + at, piece);
		if (o != DONE)
			return o;
	}
	return DONE;
}

static enum outcome image_read(struct emu_vcpu *v, uint64_t linear, uint8_t *data, unsigned size)
{
	return linear_read(v, linear, data, size, ACCESS_SYSTEM);
}

static enum outcome image_write(struct emu_vcpu *v, uint64_t linear, uint8_t *data, unsigned size)
{
	return linear_write(v, linear, data, size, ACCESS_SYSTEM);
}

static enum outcome image_probe(struct emu_vcpu *v, uint64_t linear, uint8_t *data, unsigned size)
{
	(void)data;
	return linear_probe_write(v, linear, size, ACCESS_SYSTEM);
}

static uint32_t field(const struct task *t, unsigned n)
{
	unsigned offset = t->layout->offset[n];
	uint32_t value = 0;

	if (offset)
		memcpy(&value, t->image + offset,
		       n >= TASK_ES && n != TASK_CR3 ? 2 : t->layout->size);
	return value;
}

static void set_field(struct task *t, unsigned n, uint32_t value)
{
	unsigned offset = t->layout->offset[n];

	/* the upper half of a 32-bit selector field is reserved and stays */
	if (offset)
		memcpy(t->image + offset, &value, n >= TASK_ES ? 2 : t->layout->size);
}

/* The new task's descriptor (SDM 7.3, steps 1 to 4). IRET's errors are #TS, the others' #GP. */
static enum outcome find_task(struct emu_vcpu *v, uint16_t selector, enum task_cause cause,
			      struct task *t)
{
	unsigned vector = cause == TASK_IRET ? EXC_TS : EXC_GP, type;
	uint32_t error = SELECTOR_ERROR(selector);
	struct descriptor d;
	enum outcome o;

	if (selector & SELECTOR_TI || SELECTOR_IS_NULL(selector))
		return raise_error(v, vector, error);
	o = descriptor_read(v, selector, vector, &d);
	if (o != DONE)
		return o;
	type = descriptor_system_type(&d);
	if (cause == TASK_IRET ? type != SYS_TSS_BUSY && type != SYS_TSS16_BUSY
			       : type != SYS_TSS && type != SYS_TSS16)
		return raise_error(v, vector, error);
	if (!(d.high & DESC_P))
		return raise_error(v, EXC_NP, error);
	t->tr = segment_of(selector, &d);
	t->layout = layout_of(d.high);
	t->descriptor = d.linear;
	if (t->tr.limit < t->layout->minimum)
		return raise_error(v, EXC_TS, error);
	return DONE;
}

/* Everything that steps 6 to 10 touch is there and writable (step 5). */
static enum outcome check_access(struct emu_vcpu *v, struct task *old, struct task *new,
				 enum task_cause cause)
{
	enum outcome o =
		image_access(v, old, old->layout->saved_from, old->layout->saved_to, image_probe);

	if (o == DONE)
		o = image_access(v, new, 0, new->layout->minimum + 1u, image_read);
	if (o == DONE && (cause == TASK_CALL || cause == TASK_EVENT))
		o = image_access(v, new, 0, 2, image_probe);
	if (o == DONE && cause != TASK_IRET)
		o = linear_probe_write(v, new->descriptor, 8, ACCESS_SYSTEM);
	if (o == DONE && (cause == TASK_JMP || cause == TASK_IRET) && old->descriptor)
		o = linear_probe_write(v, old->descriptor, 8, ACCESS_SYSTEM);
	return o;
}

/* Steps 6 to 10: the old task's state into its TSS, busy bits, back link. */
static enum outcome save_task(struct emu_vcpu *v, struct task *old, struct task *new,
			      enum task_cause cause)
{
	const struct cpu *c = &v->cpu;
	uint64_t rflags = c->rflags & ~(cause == TASK_IRET ? (uint64_t)FL_NT : 0);
	enum outcome o = DONE;

	/* first, because it may still be refused (lock_begin()) */
	if (cause != TASK_IRET)
		o = descriptor_set(v, new->descriptor, DESC_BUSY);
	if (o != DONE)
		return o;
	set_field(old, TASK_EIP, (uint32_t)c->rip);
	set_field(old, TASK_EFLAGS, (uint32_t)rflags);
	for (unsigned n = 0; n < 8; n++)
		set_field(old, TASK_GPR + n, (uint32_t)c->gpr[n]);
	for (unsigned n = 0; n < 6; n++)
		set_field(old, TASK_ES + n, c->segment[n].selector);
	o = image_access(v, old, old->layout->saved_from, old->layout->saved_to, image_write);
	if (o != DONE)
		return o;
	if ((cause == TASK_JMP || cause == TASK_IRET) && old->descriptor &&
	    old->descriptor != new->descriptor)
		o = descriptor_clear_busy(v, old->descriptor);
	if (o == DONE && (cause == TASK_CALL || cause == TASK_EVENT)) {
		memcpy(new->image, &old->tr.selector, 2);
		o = image_access(v, new, 0, 2, image_write);
	}
	return o;
}

/* Steps 11, 12: TR and what is in the TSS. Hidden parts follow in load_segments(). */
static void load_task(struct emu_vcpu *v, struct task *new, enum task_cause cause)
{
	struct cpu *c = &v->cpu;
	uint64_t rflags = field(new, TASK_EFLAGS);

	if (new->layout == &layout16) /* the upper half is that of 8086 flags: none */
		rflags &= 0xffff;
	rflags &= FL_STATUS | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_VM | FL_AC |
		  FL_VIF | FL_VIP | FL_ID;
	if (cause == TASK_CALL || cause == TASK_EVENT)
		rflags |= FL_NT;
	c->rip = field(new, TASK_EIP);
	c->rflags = rflags | FL_FIXED;
	for (unsigned n = 0; n < 8; n++) {
		uint32_t value = field(new, TASK_GPR + n);

		/* a 16-bit TSS leaves the upper halves undefined: all ones, as since the 80286 */
		c->gpr[n] = new->layout == &layout16 ? value | 0xffff0000u : value;
	}
	for (unsigned n = 0; n < 6; n++) /* not valid yet */
		c->segment[n] = segment_null((uint16_t)field(new, TASK_ES + n));
	c->segment[EMU_LDTR] = segment_null((uint16_t)field(new, TASK_LDT));
	new->tr.flags |= DESC_BUSY;
	c->segment[EMU_TR] = new->tr;
	c->cr0 |= CR0_TS;      /* SDM 7.3, step 11 */
	c->dr[7] &= ~0x155ull; /* local breakpoints and LE: SDM 17.2.4 */
	c->shadow = 0;
	if (new->layout == &layout32 && c->cr0 &CR0_PG) {
		c->cr3 = field(new, TASK_CR3);
		vcpu_flush(v);
	}
}

static enum outcome load_ldt(struct emu_vcpu *v)
{
	struct segment *s = &v->cpu.segment[EMU_LDTR];
	uint16_t selector = (uint16_t)s->selector;
	struct descriptor d;
	enum outcome o;

	if (SELECTOR_IS_NULL(selector))
		return DONE;
	if (selector & SELECTOR_TI)
		return raise_error(v, EXC_TS, SELECTOR_ERROR(selector));
	o = descriptor_read(v, selector, EXC_TS, &d);
	if (o != DONE)
		return o;
	if (descriptor_system_type(&d) != SYS_LDT || !(d.high & DESC_P))
		return raise_error(v, EXC_TS, SELECTOR_ERROR(selector));
	*s = segment_of(selector, &d);
	return DONE;
}

/* SDM 7.3, table 7-1: a bad segment of the new task is its invalid TSS. */
static enum outcome load_code(struct emu_vcpu *v)
{
	struct cpu *c = &v->cpu;
	uint16_t selector = (uint16_t)c->segment[EMU_CS].selector;
	unsigned rpl = selector & SELECTOR_RPL;
	struct descriptor d;
	enum outcome o;

	if (SELECTOR_IS_NULL(selector))
		return raise_error(v, EXC_TS, SELECTOR_ERROR(selector));
	o = descriptor_read(v, selector, EXC_TS, &d);
	if (o != DONE)
		return o;
	if (!descriptor_is_code(&d) ||
	    (descriptor_is_conforming(&d) ? descriptor_dpl(&d) > rpl : descriptor_dpl(&d) != rpl))
		return raise_error(v, EXC_TS, SELECTOR_ERROR(selector));
	if (!(d.high & DESC_P))
		return raise_error(v, EXC_NP, SELECTOR_ERROR(selector));
	o = descriptor_touch(v, &d);
	if (o == DONE)
		load_code_segment(c, selector, rpl, &d);
	return o;
}

/* As MOV to the register does it, but #TS for #GP; a null SS is one, too. */
static enum outcome load_data(struct emu_vcpu *v, unsigned seg)
{
	uint16_t selector = (uint16_t)v->cpu.segment[seg].selector;
	enum outcome o = segment_load(v, seg, selector);

	if (o == FAULT && v->fault.vector == EXC_GP)
		v->fault.vector = EXC_TS;
	return o;
}

/* Step 13, in the new task's context. CS first: the others are checked against its level. */
static enum outcome load_segments(struct emu_vcpu *v)
{
	static const uint8_t rest[] = { EMU_SS, EMU_DS, EMU_ES, EMU_FS, EMU_GS };
	struct cpu *c = &v->cpu;
	enum outcome o;

	if (in_vm86(c)) {
		for (unsigned n = 0; n < 6; n++)
			c->segment[n] = segment_vm86((uint16_t)c->segment[n].selector);
		c->cpl = 3;
		return load_ldt(v);
	}
	c->cpl = c->segment[EMU_CS].selector & SELECTOR_RPL;
	/* until SS is valid it has to say the level */
	c->segment[EMU_SS].flags = (uint32_t)c->cpl << 13;
	o = load_ldt(v);
	if (o == DONE)
		o = load_code(v);
	for (unsigned n = 0; n < sizeof(rest) && o == DONE; n++)
		o = load_data(v, rest[n]);
	return o;
}

/* What is left when the segments are valid: the error code, the first EIP, the debug trap. */
static enum outcome finish_task(struct emu_vcpu *v, const struct task *new, const uint32_t *error)
{
	struct cpu *c = &v->cpu;
	enum outcome o;

	if (error) {
		struct stack s = stack_current(c);
		uint64_t item = *error;

		o = stack_put(v, &s, &item, 1, new->layout->size);
		if (o != DONE)
			return o;
		stack_use(c, &s);
	}
	if (c->rip > c->segment[EMU_CS].limit)
		return raise_error(v, EXC_GP, 0);
	/* T: a debug trap after the switch, before the first instruction (SDM 17.3.1.5, DR6.BT) */
	if (new->layout == &layout32 &&new->image[100] & 1) {
		v->pending_db = true;
		v->pending_db_dr6 |= DR6_BT;
	}
	return DONE;
}

/* SDM table 30-2: the new TSS's selector, and what the switch is for */
static enum outcome leave_task_switch(struct emu_vcpu *v, uint16_t selector, enum task_cause cause)
{
	static const uint8_t source[] = {
		[TASK_CALL] = 0, [TASK_IRET] = 1, [TASK_JMP] = 2, [TASK_EVENT] = 3
	};

	leave(v, EMU_EXIT_TASK_SWITCH, VMX_TASK_SWITCH);
	v->exit->qualification = selector | (uint64_t)source[cause] << 30;
	if (v->vectoring.active)
		leave_vectoring(v);
	return EXIT;
}

enum outcome task_switch(struct emu_vcpu *v, uint16_t selector, enum task_cause cause,
			 const uint32_t *error, bool *committed)
{
	struct task old = { .tr = v->cpu.segment[EMU_TR] }, new;
	enum outcome o = find_task(v, selector, cause, &new);

	*committed = false;
	if (o != DONE)
		return o;
	/* SDM 26.4.2: the checks so far come before the exit. Nothing else has been done. */
	if (v->controls.task_switch)
		return leave_task_switch(v, selector, cause);
	old.layout = layout_of(old.tr.flags);
	if (old.tr.limit < old.layout->minimum)
		return raise_error(v, EXC_TS, SELECTOR_ERROR(old.tr.selector));
	old.descriptor = SELECTOR_IS_NULL(old.tr.selector)
				 ? 0
				 : (uint32_t)(v->cpu.gdt.base + (old.tr.selector & 0xfff8u));
	/* reserved halves of the old image are written back as they are */
	o = image_access(v, &old, old.layout->saved_from, old.layout->saved_to, image_read);
	if (o == DONE)
		o = check_access(v, &old, &new, cause);
	if (o == DONE)
		o = save_task(v, &old, &new, cause);
	if (o != DONE)
		return o;
	load_task(v, &new, cause);
	*committed = v->task_committed = true;
	o = load_segments(v);
	if (o == DONE)
		o = finish_task(v, &new, error);
	v->task_committed = false;
	return o;
}

enum outcome task_switch_insn(struct emu_vcpu *v, const struct insn *i, uint16_t selector,
			      enum task_cause cause)
{
	struct cpu *c = &v->cpu;
	uint64_t rip = c->rip, rflags = c->rflags;
	bool committed;
	enum outcome o;

	advance_rip(c, i);
	c->rflags &= ~(uint64_t)FL_RF;
	o = task_switch(v, selector, cause, NULL, &committed);
	if (o == FAULT && committed) {
		const struct fault first_of_task = v->fault;

		return deliver_exception(v, &first_of_task);
	}
	if (!committed) {
		c->rip = rip;
		c->rflags = rflags;
	}
	return o;
}
