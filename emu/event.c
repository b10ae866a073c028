// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts and exceptions: from an event to the first instruction of its handler (SDM vol. 3,
 * chapter 6; 20 for real and virtual-8086 mode; vol. 2, INT n).
 *
 * Each delivery is checked to the end before a register changes, and pushes its frame in one piece.
 */
#include "emu/run.h"
#include "emu/segment.h"

/* Who is responsible for the event: what that changes is in SDM vol. 2, INT n, and vol. 3, 6.13. */
enum event_source {
	EVENT_INTERRUPT, /* no DPL check, EXT in error codes */
	EVENT_NMI,       /* the same */
	EVENT_INT1,      /* the same */
	EVENT_EXCEPTION, /* the same, and nested ones make a #DF */
	EVENT_INT_N,     /* DPL check, sensitive to IOPL in virtual-8086 mode */
	EVENT_TRAP,      /* INT3, INTO: DPL check */
};
/* SDM tables 27-20, 27-21 */
static const uint32_t intr_type[] = {
	[EVENT_INTERRUPT] = INTR_EXTERNAL, [EVENT_NMI] = INTR_NMI,
	[EVENT_INT1] = INTR_PRIVILEGED,    [EVENT_EXCEPTION] = INTR_HARDWARE,
	[EVENT_INT_N] = INTR_SOFTWARE,     [EVENT_TRAP] = INTR_TRAP,
};

struct event {
	uint8_t vector;
	uint8_t source;
	bool has_error;
	bool task_entered; /* a task gate was taken: what fails now is the new task's */
	uint32_t error;
	uint64_t rflags; /* as pushed */
};

#define DR7_GD             (1ull << 13) /* SDM 17.2.4: cleared, so that the handler may use the registers */
#define VECTOR_BIT(vector) (1u << (vector))
/* SDM 6.15, table 6-5; 21 is #CP */
#define CONTRIBUTORY                                                                         \
	(VECTOR_BIT(EXC_DE) | VECTOR_BIT(EXC_TS) | VECTOR_BIT(EXC_NP) | VECTOR_BIT(EXC_SS) | \
	 VECTOR_BIT(EXC_GP) | VECTOR_BIT(21))
/* SDM 6.3.1, table 6-1: those whose class is not (only) fault */
#define NOT_FAULTS                                                                            \
	(VECTOR_BIT(EXC_DB) | VECTOR_BIT(EXC_NMI) | VECTOR_BIT(EXC_BP) | VECTOR_BIT(EXC_OF) | \
	 VECTOR_BIT(EXC_DF) | VECTOR_BIT(EXC_MC))

static bool is_software(const struct event *e)
{
	return e->source >= EVENT_INT_N;
}

/* SDM 6.13: the error code that names an IDT entry; EXT is added in deliver(). */
static enum outcome raise_idt(struct emu_vcpu *v, unsigned vector, const struct event *e)
{
	return raise_error(v, vector, (uint32_t)e->vector << 3 | 2);
}

/* `size` bytes of the vector's entry. #GP beyond the limit, which real mode has, too (SDM 20.1.4). */
static enum outcome idt_read(struct emu_vcpu *v, const struct event *e, void *entry, unsigned size)
{
	const struct cpu *c = &v->cpu;
	uint32_t offset = e->vector * size;
	uint64_t linear = c->idt.base + offset;

	if (offset + size - 1 > c->idt.limit)
		return raise_idt(v, EXC_GP, e);
	if (!in_long_mode(c))
		linear = (uint32_t)linear;
	return linear_read(v, linear, entry, size, ACCESS_SYSTEM);
}

/* ------------------------------------------------------------------ real mode */

/* Through a table of far pointers: FLAGS, CS, IP on the current stack (SDM 20.1.4). */
static enum outcome deliver_ivt(struct emu_vcpu *v, const uint16_t entry[2], uint64_t rflags)
{
	struct cpu *c = &v->cpu;
	struct stack s = stack_current(c);
	uint64_t frame[] = { rflags, c->segment[EMU_CS].selector, c->rip };
	enum outcome o = stack_put(v, &s, frame, 3, 2);

	if (o != DONE)
		return o;
	stack_use(c, &s);
	segment_load_real(c, EMU_CS, entry[1]);
	c->rip = entry[0];
	return DONE;
}

static enum outcome deliver_real(struct emu_vcpu *v, const struct event *e)
{
	uint16_t entry[2];
	enum outcome o = idt_read(v, e, entry, sizeof(entry));

	if (o == DONE)
		o = deliver_ivt(v, entry, e->rflags);
	if (o == DONE)
		v->cpu.rflags &= ~(uint64_t)(FL_IF | FL_TF | FL_AC | FL_RF);
	return o;
}

/* ------------------------------------------------------------------ virtual-8086 mode, INT n */

/*
 * CR4.VME: does the TSS's map send INT n to the 8086 program's own table (SDM 20.3.3)? The 32 bytes
 * of the map lie below the I/O permission map; one bit a vector, clear for redirection.
 */
static enum outcome vme_redirects(struct emu_vcpu *v, unsigned vector, bool *redirects)
{
	const struct segment *tr = &v->cpu.segment[EMU_TR];
	uint16_t io_map;
	uint32_t offset;
	uint8_t map;
	enum outcome o;

	if (tr->limit < 103)
		return raise_error(v, EXC_GP, 0);
	o = linear_read(v, (uint32_t)(tr->base + 102), &io_map, sizeof(io_map), ACCESS_SYSTEM);
	if (o != DONE)
		return o;
	offset = io_map - 32u + vector / 8;
	if (io_map < 32 || offset > tr->limit)
		return raise_error(v, EXC_GP, 0);
	o = linear_read(v, (uint32_t)(tr->base + offset), &map, sizeof(map), ACCESS_SYSTEM);
	*redirects = !(map >> (vector % 8) & 1);
	return o;
}

/* SDM 20.3.3.4, methods 5 and 6 of table 20-2 */
static enum outcome deliver_vme(struct emu_vcpu *v, const struct event *e)
{
	struct cpu *c = &v->cpu;
	uint64_t image = e->rflags, clear = FL_TF | FL_RF;
	uint16_t entry[2];
	enum outcome o = linear_read(v, e->vector * 4u, entry, sizeof(entry), 0);

	if (o != DONE)
		return o;
	if ((c->rflags & FL_IOPL) == FL_IOPL) {
		clear |= FL_IF;
	} else {
		/* the program sees the virtual interrupt flag, and believes that it has IOPL 3 */
		image = (image & ~(uint64_t)FL_IF) | FL_IOPL | (image & FL_VIF ? FL_IF : 0);
		clear |= FL_VIF;
	}
	o = deliver_ivt(v, entry, image);
	if (o == DONE)
		c->rflags &= ~clear;
	return o;
}

/* ------------------------------------------------------------------ protected and long mode */

/* The gate's code segment. `e` may run at the current level or an inner one: *cpl. */
static enum outcome gate_code_segment(struct emu_vcpu *v, uint16_t selector, struct descriptor *d,
				      unsigned *cpl)
{
	const struct cpu *c = &v->cpu;
	uint32_t error = SELECTOR_ERROR(selector);
	enum outcome o;

	if (SELECTOR_IS_NULL(selector))
		return raise_error(v, EXC_GP, 0);
	o = descriptor_read(v, selector, EXC_GP, d);
	if (o != DONE)
		return o;
	if (!descriptor_is_code(d) || descriptor_dpl(d) > c->cpl)
		return raise_error(v, EXC_GP, error);
	if (in_long_mode(c) && (d->high & (DESC_L | DESC_DB)) != DESC_L)
		return raise_error(v, EXC_GP, error);
	if (!(d->high & DESC_P))
		return raise_error(v, EXC_NP, error);
	*cpl = descriptor_is_conforming(d) ? c->cpl : descriptor_dpl(d);
	/* out of virtual-8086 mode to level 0 only */
	if (in_vm86(c) && *cpl != 0)
		return raise_error(v, EXC_GP, error);
	return descriptor_touch(v, d);
}

/* What both modes do last: SDM 6.12.1.3, 6.14. */
static void enter_handler(struct cpu *c, unsigned type, uint16_t selector, unsigned cpl,
			  const struct descriptor *cs, uint64_t rip)
{
	load_code_segment(c, selector, cpl, cs);
	c->rip = rip;
	c->rflags &= ~(uint64_t)(FL_TF | FL_VM | FL_RF | FL_NT);
	if (!(type & 1)) /* interrupt gate */
		c->rflags &= ~(uint64_t)FL_IF;
}

static enum outcome deliver_long(struct emu_vcpu *v, const struct event *e)
{
	struct cpu *c = &v->cpu;
	const struct segment *ss = &c->segment[EMU_SS];
	uint32_t gate[4];
	struct descriptor cs;
	struct stack s;
	unsigned cpl, ist, type;
	uint64_t rip;
	enum outcome o = idt_read(v, e, gate, sizeof(gate));

	if (o != DONE)
		return o;
	type = gate[1] >> 8 & 31;
	if (type != SYS_INT && type != SYS_TRAP)
		return raise_idt(v, EXC_GP, e);
	if (is_software(e) && DESC_GET_DPL(gate[1]) < c->cpl)
		return raise_idt(v, EXC_GP, e);
	if (!(gate[1] & DESC_P))
		return raise_idt(v, EXC_NP, e);
	o = gate_code_segment(v, (uint16_t)(gate[0] >> 16), &cs, &cpl);
	if (o != DONE)
		return o;

	ist = gate[1] & 7;
	s = stack_current(c);
	s.width = 8;
	if (ist || cpl != c->cpl) {
		o = stack_from_tss64(v, cpl, ist, &s);
		if (o != DONE)
			return o;
	}
	rip = (uint64_t)gate[2] << 32 | (gate[1] & 0xffff0000u) | (gate[0] & 0xffff);
	if (!canonical(c, rip))
		return raise_error(v, EXC_GP, 0);

	/* SDM 6.14.2: SS:RSP always, 8 bytes each, from a multiple of 16 */
	s.rsp &= ~15ull;
	const uint64_t frame[] = { ss->selector, c->gpr[EMU_RSP],
				   e->rflags,    c->segment[EMU_CS].selector,
				   c->rip,       e->error };
	o = stack_put(v, &s, frame, e->has_error ? 6 : 5, 8);
	if (o != DONE)
		return o;
	if (cpl != c->cpl)
		c->segment[EMU_SS] = segment_null((uint16_t)cpl); /* SDM 6.14.4 */
	c->gpr[EMU_RSP] = s.rsp;
	enter_handler(c, type, (uint16_t)(gate[0] >> 16), cpl, &cs, rip);
	return DONE;
}

/* The frame of 16- and 32-bit gates (SDM 6.12.1, figure 6-4; 20.3.1.1, figure 20-4). */
static unsigned legacy_frame(const struct cpu *c, const struct event *e, bool inner,
			     uint64_t frame[10])
{
	static const uint8_t vm86[] = { EMU_GS, EMU_FS, EMU_DS, EMU_ES };
	unsigned n = 0;

	if (in_vm86(c))
		for (unsigned seg = 0; seg < sizeof(vm86); seg++)
			frame[n++] = c->segment[vm86[seg]].selector;
	if (inner) {
		frame[n++] = c->segment[EMU_SS].selector;
		frame[n++] = c->gpr[EMU_RSP];
	}
	frame[n++] = e->rflags;
	frame[n++] = c->segment[EMU_CS].selector;
	frame[n++] = c->rip;
	if (e->has_error)
		frame[n++] = e->error;
	return n;
}

static enum outcome deliver_gate(struct emu_vcpu *v, const struct event *e, const uint32_t gate[2])
{
	struct cpu *c = &v->cpu;
	unsigned type = gate[1] >> 8 & 15, size = type & 8 ? 4 : 2, cpl;
	uint32_t offset = (type & 8 ? gate[1] & 0xffff0000u : 0) | (gate[0] & 0xffff);
	uint16_t selector = (uint16_t)(gate[0] >> 16);
	struct descriptor cs;
	struct stack s = stack_current(c);
	uint64_t frame[10];
	bool inner;
	enum outcome o = gate_code_segment(v, selector, &cs, &cpl);

	if (o != DONE)
		return o;
	inner = cpl != c->cpl;
	if (inner) {
		o = stack_from_tss(v, cpl, &s);
		if (o != DONE)
			return o;
	}
	o = code_offset_check(v, &cs, offset);
	if (o == DONE)
		o = stack_put(v, &s, frame, legacy_frame(c, e, inner, frame), size);
	if (o != DONE)
		return o;
	if (in_vm86(c)) {
		static const uint8_t data[] = { EMU_ES, EMU_DS, EMU_FS, EMU_GS };

		for (unsigned n = 0; n < sizeof(data); n++)
			c->segment[data[n]] = segment_null(0);
	}
	if (inner)
		c->segment[EMU_SS] = s.ss;
	stack_use(c, &s);
	enter_handler(c, type, selector, cpl, &cs, offset);
	return DONE;
}

/*
 * Through a task gate (SDM 6.12.2). Once the new task runs, a fault is one of its own: deliver() then
 * weighs it as any fault of a delivery.
 */
static enum outcome deliver_task(struct emu_vcpu *v, struct event *e, uint16_t selector)
{
	uint64_t rflags = v->cpu.rflags;
	enum outcome o;

	v->cpu.rflags = e->rflags; /* what the old task's TSS gets */
	o = task_switch(v, selector, TASK_EVENT, e->has_error ? &e->error : NULL, &e->task_entered);
	if (o != DONE && !e->task_entered)
		v->cpu.rflags = rflags;
	return o;
}

static enum outcome deliver_protected(struct emu_vcpu *v, struct event *e)
{
	uint32_t gate[2];
	enum outcome o = idt_read(v, e, gate, sizeof(gate));

	if (o != DONE)
		return o;
	switch (gate[1] >> 8 & 31) {
	case SYS_TASK_GATE:
	case SYS_INT16:
	case SYS_TRAP16:
	case SYS_INT:
	case SYS_TRAP:
		break;
	default:
		return raise_idt(v, EXC_GP, e);
	}
	if (is_software(e) && DESC_GET_DPL(gate[1]) < v->cpu.cpl)
		return raise_idt(v, EXC_GP, e);
	if (!(gate[1] & DESC_P))
		return raise_idt(v, EXC_NP, e);
	if ((gate[1] >> 8 & 31) == SYS_TASK_GATE)
		return deliver_task(v, e, (uint16_t)(gate[0] >> 16));
	return deliver_gate(v, e, gate);
}

/* One attempt. */
static enum outcome deliver_once(struct emu_vcpu *v, struct event *e)
{
	const struct cpu *c = &v->cpu;
	bool redirects = false;
	enum outcome o;

	if (in_real(c))
		return deliver_real(v, e);
	if (in_long_mode(c))
		return deliver_long(v, e);
	if (in_vm86(c) && e->source == EVENT_INT_N) {
		if (c->cr4 & CR4_VME) {
			o = vme_redirects(v, e->vector, &redirects);
			if (o != DONE)
				return o;
		}
		if (redirects)
			return deliver_vme(v, e);
		if ((c->rflags & FL_IOPL) != FL_IOPL)
			return raise_error(v, EXC_GP, 0); /* SDM 20.3.3: for the monitor */
	}
	return deliver_protected(v, e);
}

/* ------------------------------------------------------------------ nesting */

static struct event exception_event(const struct cpu *c, const struct fault *f)
{
	struct event e = { .vector = f->vector,
			   .source = EVENT_EXCEPTION,
			   .has_error = f->has_error,
			   .error = f->error,
			   .rflags = c->rflags };

	/* SDM 17.3.1.1: the instruction is tried again without its breakpoint */
	if (f->vector >= 32 || !(VECTOR_BIT(f->vector) & NOT_FAULTS))
		e.rflags |= FL_RF;
	return e;
}

static bool contributory(unsigned vector)
{
	return vector < 32 && VECTOR_BIT(vector) & CONTRIBUTORY;
}

/* SDM 6.15, table 6-5: do a first and a second exception make a double fault? */
static bool double_fault(const struct event *first, const struct fault *second)
{
	if (first->source != EVENT_EXCEPTION)
		return false;
	if (first->vector == EXC_PF)
		return second->vector == EXC_PF || contributory(second->vector);
	return contributory(first->vector) && contributory(second->vector);
}

/* SDM 6.13: EXT is set when the error came up while something external was being delivered. */
static void mark_external(struct emu_vcpu *v, const struct event *e)
{
	if (!is_software(e) && v->fault.has_error && v->fault.vector != EXC_PF)
		v->fault.error |= 1;
}

/* ------------------------------------------------------------------ for the hypervisor */

static uint32_t event_info(const struct cpu *c, const struct event *e)
{
	/* in real mode none is pushed (SDM 27.9.2) */
	uint32_t error = e->has_error && !in_real(c) ? INTR_ERROR : 0;

	return INTR_VALID | error | intr_type[e->source] | e->vector;
}

static void delivery_begins(struct emu_vcpu *v, const struct event *e, unsigned length)
{
	v->vectoring = (struct vectoring){ .info = event_info(&v->cpu, e),
					   .error = e->error,
					   .rflags = e->rflags,
					   .length = (uint8_t)length,
					   .active = true };
}

/*
 * Intercepted (SDM 26.2): nothing of it is delivered and it changes nothing, neither DR6 nor CR2 (SDM
 * 28.1), but RFLAGS are saved as its frame would have them (SDM 28.3.3, about RF).
 */
static enum outcome leave_exception(struct emu_vcpu *v, const struct event *e,
				    uint64_t qualification)
{
	leave(v, EMU_EXIT_EXCEPTION, VMX_EXCEPTION_NMI);
	v->exit->interruption = event_info(&v->cpu, e);
	v->exit->interruption_error = v->exit->interruption & INTR_ERROR ? e->error : 0;
	v->exit->qualification = qualification;
	if (v->vectoring.active)
		leave_vectoring(v);
	v->cpu.rflags = e->rflags;
	return EXIT;
}

static enum outcome leave_fault(struct emu_vcpu *v, const struct fault *f)
{
	const struct event e = exception_event(&v->cpu, f);

	return leave_exception(v, &e, f->vector == EXC_PF || f->vector == EXC_DB ? f->cr2 : 0);
}

/* ------------------------------------------------------------------ delivery to its end */

/* Deliver `e`, or what comes of trying. */
static enum outcome deliver(struct emu_vcpu *v, struct event e)
{
	static const struct fault df = { .vector = EXC_DF, .has_error = true };
	struct cpu *c = &v->cpu;
	enum outcome o;

	for (delivery_begins(v, &e, 0); (o = deliver_once(v, &e)) == FAULT;) {
		struct fault second;
		bool twice;

		mark_external(v, &e);
		second = v->fault;
		if (exception_intercepted(v, second.vector))
			return leave_fault(v, &second);
		if (e.source == EVENT_EXCEPTION && e.vector == EXC_DF)
			return SHUTDOWN;
		if (second.vector == EXC_PF)
			c->cr2 = second.cr2;
		twice = double_fault(&e, &second);
		if (twice && exception_intercepted(v, EXC_DF)) {
			/* "not considered to occur during event delivery" (SDM 28.2.4) */
			v->vectoring.active = false;
			return leave_fault(v, &df);
		}
		e = exception_event(c, twice ? &df : &second);
		delivery_begins(v, &e, 0);
	}
	if (o == DONE)
		c->shadow = 0;
	v->vectoring.active = o != DONE;
	return o;
}

enum outcome deliver_exception(struct emu_vcpu *v, const struct fault *f)
{
	return exception_intercepted(v, f->vector) ? leave_fault(v, f) : inject_exception(v, f);
}

enum outcome inject_exception(struct emu_vcpu *v, const struct fault *f)
{
	struct cpu *c = &v->cpu;
	uint64_t cr2 = c->cr2;
	enum outcome o;

	if (f->vector == EXC_PF)
		c->cr2 = f->cr2;
	o = deliver(v, exception_event(c, f));
	if (o == DONE && f->vector == EXC_DB)
		c->dr[7] &= ~DR7_GD;
	/* an exit from within the delivery of a page fault comes with its address (SDM 28.1) */
	if (o != DONE && o != SHUTDOWN && o != EXIT)
		c->cr2 = cr2;
	return o;
}

static enum outcome deliver_external(struct emu_vcpu *v, unsigned vector, enum event_source source)
{
	uint64_t cr2 = v->cpu.cr2;
	enum outcome o = deliver(v, (struct event){ .vector = (uint8_t)vector,
						    .source = (uint8_t)source,
						    .rflags = v->cpu.rflags });

	if (o != DONE && o != SHUTDOWN && o != EXIT)
		v->cpu.cr2 = cr2;
	return o;
}

enum outcome deliver_interrupt(struct emu_vcpu *v, unsigned vector)
{
	return deliver_external(v, vector, EVENT_INTERRUPT);
}

enum outcome deliver_nmi(struct emu_vcpu *v)
{
	enum outcome o = deliver_external(v, EXC_NMI, EVENT_NMI);

	if (o == DONE)
		v->events.nmi.masked = true; /* SDM 6.7.1: until the next IRET */
	return o;
}

/* ------------------------------------------------------------------ software interrupts */

/*
 * `rip` is where a FAULT leaves the instruction, unless another task already runs. Its delivery counts
 * as under way then: the fault's exit shows what it came of.
 */
static enum outcome deliver_from_software(struct emu_vcpu *v, unsigned vector,
					  enum event_source source, uint64_t rip, unsigned length)
{
	/* SDM 17.3.1.1: RF was cleared when the instruction began */
	struct event e = { .vector = (uint8_t)vector,
			   .source = (uint8_t)source,
			   .rflags = v->cpu.rflags & ~(uint64_t)FL_RF };
	enum outcome o;

	/* INT n is no exception, whatever its vector (SDM 26.2) */
	if (source != EVENT_INT_N && exception_intercepted(v, vector)) {
		v->cpu.rip = rip;
		v->vectoring.active = false;
		o = leave_exception(v, &e, 0);
		v->exit->insn_length = length;
		return o;
	}
	delivery_begins(v, &e, length);
	o = deliver_once(v, &e);
	v->vectoring.active = o != DONE;

	if (o == FAULT)
		mark_external(v, &e);
	if (o == FAULT && e.task_entered) {
		const struct fault first_of_task = v->fault;

		return deliver_exception(v, &first_of_task);
	}
	if (o == DONE)
		v->cpu.shadow = 0;
	else if (!e.task_entered)
		v->cpu.rip = rip;
	return o;
}

enum outcome deliver_software(struct emu_vcpu *v, unsigned vector)
{
	return deliver_from_software(v, vector, EVENT_INT_N, v->cpu.rip, 0);
}

enum outcome insn_int(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t rip = c->rip;
	enum outcome o;

	advance_rip(c, i);
	switch (i->op) {
	case OP_INT3:
		return deliver_from_software(v, EXC_BP, EVENT_TRAP, rip, i->length);
	case OP_INTO:
		if (c->rflags & FL_OF)
			return deliver_from_software(v, EXC_OF, EVENT_TRAP, rip, i->length);
		c->rflags &= ~(uint64_t)FL_RF;
		return DONE;
	case OP_INT1:
		o = deliver_from_software(v, EXC_DB, EVENT_INT1, rip, i->length);
		if (o == DONE)
			c->dr[7] &= ~DR7_GD;
		return o;
	default:
		return deliver_from_software(v, i->imm & 0xff, EVENT_INT_N, rip, i->length);
	}
}

/* ------------------------------------------------------------------ what comes with an exception */

/*
 * What a #DB or #PF brings along takes effect when it is delivered (KVM api.rst 7.20,
 * KVM_CAP_EXCEPTION_PAYLOAD): CR2, or bits of DR6 in the form of the VM-exit qualification (SDM table
 * 27-1): bit set means that it happened, also where DR6 has it the other way round.
 */
void exception_payload(struct emu_vcpu *v, unsigned vector, uint64_t payload)
{
	const uint64_t active_low = DR6_BLD | DR6_RTM;
	uint64_t dr6 = v->cpu.dr[6];

	if (vector == EXC_PF)
		v->cpu.cr2 = payload;
	if (vector != EXC_DB)
		return;
	/* SDM 17.2.3: B0 to B3 and RTM say what happened this time; the others are never reset */
	dr6 = (dr6 & ~DR6_B0_TO_B3) | DR6_RTM;
	/* …on the processors that were seen to do it (emu_config.debug_resets_bus_lock) */
	if (v->vm->config.debug_resets_bus_lock)
		dr6 |= DR6_BLD;
	dr6 &= ~(payload & active_low);
	dr6 |= payload & (DR6_B0_TO_B3 | DR6_BD | DR6_BS | DR6_BT);
	if (!v->has_bus_lock_db)
		dr6 |= DR6_BLD; /* fixed then */
	v->cpu.dr[6] = dr6;
}
