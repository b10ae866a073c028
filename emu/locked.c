/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Locked instructions, executed by hand on host memory. Every locked access of the guest passes here,
 * once: this is where bus locks are found.
 */
#include "emu/access.h"
#include "emu/alu.h"
#include "emu/atomic.h"
#include "emu/run.h"
#include "emu/svm.h"
#include "emu/vm.h"

#include <string.h>

unsigned emu_bus_lock_cause_at(uint64_t linear, uint32_t size, unsigned memory_type,
			       unsigned boundary)
{
	/*
	 * SDM 11.1.2.2: "split lock" or "UC lock"; the line is 64 bytes on all current parts. APM
	 * 7.3.3: "misaligned", at a naturally aligned boundary that may be smaller than the line.
	 */
	unsigned cause = EMU_LOCK_NONE;
	bool crosses = (linear & (boundary - 1)) + size > boundary;
	if (crosses && (size <= boundary || linear % size))
		cause |= EMU_LOCK_SPLIT;
	if (memory_type != EMU_MT_WB)
		cause |= EMU_LOCK_NON_WB;
	return cause;
}

unsigned emu_bus_lock_cause(uint64_t linear, uint32_t size, unsigned memory_type)
{
	return emu_bus_lock_cause_at(linear, size, memory_type, LINE_SIZE);
}

unsigned lock_cause(const struct emu_vcpu *v, uint64_t linear, uint32_t size, unsigned memory_type)
{
	return emu_bus_lock_cause_at(linear, size, memory_type, v->vm->config.lock_boundary);
}

/* Where the operand lies: one or two pages of host memory. */
struct place {
	struct access_page page;
	uint8_t *rest;             /* on the second page, else NULL */
	unsigned split;            /* bytes on the first page */
	struct memory_types types; /* of both pages: what is not WB */
	unsigned cause;            /* EMU_LOCK_ */
};

static enum outcome find_place(struct emu_vcpu *v, uint64_t linear, unsigned size, struct place *p)
{
	enum outcome r = access_lookup(v, linear, true, 0, &p->page);
	if (r)
		return r;
	p->rest = NULL;
	p->split = size;
	p->types = p->page.types;
	unsigned room = (unsigned)(PAGE_SIZE - (linear & ~PAGE_MASK));
	if (room < size) {
		struct access_page second;
		uint64_t next = linear + room;
		if (!in_64bit(&v->cpu))
			next = (uint32_t)next;
		r = access_lookup(v, next, true, 0, &second);
		if (r)
			return r;
		/* the look-up of the second page may have moved the first (code dropped): again, it hits */
		r = access_lookup(v, linear, true, 0, &p->page);
		if (r)
			return r;
		p->rest = second.host;
		p->split = room;
		p->types = memory_types_both(p->types, second.types);
	}
	p->cause = lock_cause(v, linear, size, p->types.effective);
	return DONE;
}

static void load(const struct place *p, unsigned size, struct operand *value)
{
	*value = (struct operand){ 0, 0 };
	memcpy(value, p->page.host, p->split);
	if (p->rest)
		memcpy((uint8_t *)value + p->split, p->rest, size - p->split);
}

/* What the instruction stores when it finds `old`, and the flags it leaves. */
static struct operand next_value(const struct emu_vcpu *v, const struct insn *i, struct operand old,
				 uint64_t *flags)
{
	const struct cpu *c = &v->cpu;
	struct operand new = old;
	uint64_t b;
	switch (i->op) {
	case OP_CMPXCHG:
		alu(OP_CMP, i->opsize, reg_read(c, EMU_RAX, i->opsize, true), old.low, flags);
		if (*flags & FL_ZF)
			new.low = reg_read(c, i->reg, i->opsize, i->rex);
		break;
	case OP_CMPXCHG8B:
		*flags &= ~(uint64_t)FL_ZF;
		if (old.low == ((uint32_t)c->gpr[EMU_RAX] | c->gpr[EMU_RDX] << 32)) {
			*flags |= FL_ZF;
			new.low = (uint32_t)c->gpr[EMU_RBX] | c->gpr[EMU_RCX] << 32;
		}
		break;
	case OP_CMPXCHG16B:
		*flags &= ~(uint64_t)FL_ZF;
		if (old.low == c->gpr[EMU_RAX] && old.high == c->gpr[EMU_RDX]) {
			*flags |= FL_ZF;
			new = (struct operand){ c->gpr[EMU_RBX], c->gpr[EMU_RCX] };
		}
		break;
	default:
		b = i->flags & INSN_IMM ? i->imm : reg_read(c, i->reg, i->opsize, i->rex);
		new.low = alu(i->op, i->opsize, old.low, b, flags);
	}
	return new;
}

/* Registers that change besides the flags. */
static void write_back(struct emu_vcpu *v, const struct insn *i, struct operand old, uint64_t flags)
{
	struct cpu *c = &v->cpu;
	switch (i->op) {
	case OP_XCHG:
	case OP_XADD:
		reg_write(c, i->reg, i->opsize, i->rex, old.low);
		break;
	case OP_CMPXCHG:
		if (!(flags & FL_ZF))
			reg_write(c, EMU_RAX, i->opsize, true, old.low);
		break;
	case OP_CMPXCHG8B:
		if (!(flags & FL_ZF)) {
			c->gpr[EMU_RAX] = (uint32_t)old.low;
			c->gpr[EMU_RDX] = old.low >> 32;
		}
		break;
	case OP_CMPXCHG16B:
		if (!(flags & FL_ZF)) {
			c->gpr[EMU_RAX] = old.low;
			c->gpr[EMU_RDX] = old.high;
		}
		break;
	default:
		break;
	}
	c->rflags = flags;
}

static void describe(struct emu_vcpu *v, const struct insn *i, uint64_t linear, unsigned size,
		     const struct place *p, struct emu_lock *lock)
{
	memset(lock, 0, sizeof(*lock));
	lock->cause = p->cause;
	lock->rip = v->cpu.rip;
	lock->linear_rip = linear_rip(&v->cpu);
	lock->linear = linear;
	lock->gpa = p->page.gpa;
	lock->size = size;
	lock->cpl = v->cpu.cpl;
	lock->mode = i->mode;
	lock->memory_type = p->types.effective;
	lock->guest_type = p->types.guest;
	lock->insn_length = i->length;
	memcpy(lock->insn, i->bytes, i->length);
}

/* SDM 11.1.2.3: split-lock and UC-lock disable are faults, in front of the access. */
static bool split_lock_disabled(struct emu_vcpu *v)
{
	if (v->memory_ctrl & MEMORY_CTRL_SPLIT_LOCK_DISABLE)
		return true;
	/* the host's setting of the bit: an MSR that VM entry does not switch */
	return v->vm->split_lock_trap && v->vm->split_lock_trap(v->vm->split_lock_trap_opaque, v);
}

enum outcome lock_begin(struct emu_vcpu *v, const struct emu_lock *lock)
{
	if (v->run->emulating)
		return DONE;
	if (lock->cause & EMU_LOCK_SPLIT && split_lock_disabled(v))
		return raise_error(v, EXC_AC, 0);
	if (lock->cause & EMU_LOCK_NON_WB && v->memory_ctrl & MEMORY_CTRL_UC_LOCK_DISABLE)
		return raise_error(v, v->uc_lock_is_ac ? EXC_AC : EXC_GP, 0);
	if (v->vm->config.vendor == EMU_AMD && svm_bus_lock_intercepted(v, lock))
		return EXIT;
	return DONE;
}

void note_lock(struct emu_vcpu *v, const struct emu_lock *lock)
{
	if (v->run->emulating)
		return;
	v->stats.bus_locks++;
	v->stats.split += !!(lock->cause & EMU_LOCK_SPLIT);
	v->stats.non_wb += !!(lock->cause & EMU_LOCK_NON_WB);
	v->stats.stuffed += !!(lock->cause & EMU_LOCK_STUFFED);
	/* the exit tells the operand's, or else the first */
	if (!v->run->lock_taken || (v->run->lock.stuffed && !lock->stuffed))
		v->run->lock = *lock;
	v->run->lock_taken = true;
	if (v->vm->observe)
		v->vm->observe(v->vm->observe_opaque, v, lock);
}

static void perform(struct emu_vcpu *v, const struct insn *i, const struct place *place)
{
	unsigned size = i->mem_size;
	struct operand old, new;
	uint64_t flags;

	load(place, size, &old);
	do {
		flags = v->cpu.rflags;
		new = next_value(v, i, old, &flags);
		/* written even when a compare fails (SDM vol. 2, CMPXCHG): it is a locked access then, too */
	} while (!guest_compare_exchange(place->page.host, place->rest, place->split, size, &old,
					 new));
	write_back(v, i, old, flags);
}

enum outcome locked_execute(struct emu_vcpu *v, const struct insn *i)
{
	unsigned size = i->mem_size;
	uint64_t linear;
	struct place place;
	enum outcome r = operand_linear(v, i, true, &linear);
	if (r)
		return r;
	if (i->op == OP_CMPXCHG16B && linear & 15)
		return raise_error(v, EXC_GP, 0);
	r = find_place(v, linear, size, &place);
	if (r)
		return r;

	struct emu_lock lock;
	bool told = v->vm->config.observe_locked && v->vm->observe && !v->run->emulating;
	if (place.cause || told)
		describe(v, i, linear, size, &place, &lock);
	if (place.cause) {
		r = lock_begin(v, &lock);
		if (r)
			return r;
	}
	enum emu_lock_fault fault = place.cause ? v->vm->config.lock_fault : EMU_LOCK_RIGHT;
	if (fault != EMU_LOCK_SKIPPED)
		perform(v, i, &place);
	if (fault == EMU_LOCK_REPEATED)
		perform(v, i, &place);
	v->stats.locked++;
	v->stats.guest_non_wb += place.types.guest != EMU_MT_WB;
	if (place.cause)
		note_lock(v, &lock);
	else if (told)
		v->vm->observe(v->vm->observe_opaque, v, &lock);
	advance_rip(&v->cpu, i);
	return DONE;
}
