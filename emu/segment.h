/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What event.c, far.c, segment.c, task.c and syscall.c share: descriptors, segment registers, and
 * stacks that are checked before anything is pushed.
 *
 * Errors are outcomes, as in cpu.h; a FAULT leaves the registers alone. Exceptions raised during the
 * delivery of an event get their EXT bit in one place, event.c.
 */
#ifndef BUSLOCK_EMU_SEGMENT_H
#define BUSLOCK_EMU_SEGMENT_H

#include "emu/vm.h"

enum { SELECTOR_RPL = 3, SELECTOR_TI = 4 };
/* The error code that names a selector: without RPL (SDM 6.13). */
#define SELECTOR_ERROR(selector)   (0xfffcu & (uint32_t)(selector))
#define SELECTOR_IS_NULL(selector) (!(0xfffcu & (selector)))

/* Types of system descriptors (SDM 3.5, table 3-2). */
enum {
	SYS_TSS16 = 1,
	SYS_LDT = 2,
	SYS_TSS16_BUSY = 3,
	SYS_CALL16 = 4,
	SYS_TASK_GATE = 5,
	SYS_INT16 = 6,
	SYS_TRAP16 = 7,
	SYS_TSS = 9,
	SYS_TSS_BUSY = 11,
	SYS_CALL = 12,
	SYS_INT = 14,
	SYS_TRAP = 15,
};
enum { DESC_BUSY = 1 << 9 };        /* TSS, in the high word */
#define DESC_ATTRIBUTES 0x00f0ff00u /* what struct segment keeps of the high word */

/* An entry of the GDT or LDT as it lies in memory. */
struct descriptor {
	uint32_t low, high;
	uint32_t upper;  /* base 63:32 of a system descriptor in long mode, else 0 */
	uint64_t linear; /* where it was read */
};

static inline unsigned descriptor_dpl(const struct descriptor *d)
{
	return DESC_GET_DPL(d->high);
}
static inline bool descriptor_is_code(const struct descriptor *d)
{
	return (d->high & (DESC_S | DESC_CODE)) == (DESC_S | DESC_CODE);
}
static inline bool descriptor_is_conforming(const struct descriptor *d)
{
	return d->high & DESC_CONFORMING; /* of code */
}
static inline bool descriptor_is_writable_data(const struct descriptor *d)
{
	return (d->high & (DESC_S | DESC_CODE | DESC_WRITABLE)) == (DESC_S | DESC_WRITABLE);
}
/* 0 for a segment descriptor */
static inline unsigned descriptor_system_type(const struct descriptor *d)
{
	return d->high & DESC_S ? 0 : DESC_TYPE(d->high);
}
uint64_t descriptor_base(const struct descriptor *d);
uint32_t descriptor_limit(const struct descriptor *d);

/* Outside the table, or in an LDT that there is not: `vector` with the selector. */
enum outcome descriptor_read(struct emu_vcpu *v, uint16_t selector, unsigned vector,
			     struct descriptor *d);
/* The second half of a 16-byte system descriptor (long mode; else nothing happens). */
enum outcome descriptor_read_upper(struct emu_vcpu *v, uint16_t selector, unsigned vector,
				   struct descriptor *d);
/* The one place that writes into descriptor tables. DESC_ACCESSED or DESC_BUSY is set by a locked
 * access (stuffed.c); what that begins with may also be the outcome. */
enum outcome descriptor_set(struct emu_vcpu *v, uint64_t linear, uint32_t bit);
enum outcome descriptor_clear_busy(struct emu_vcpu *v, uint64_t linear);
/* Set the accessed bit of a code or data segment unless it is set. */
enum outcome descriptor_touch(struct emu_vcpu *v, struct descriptor *d);

static inline bool vendor_is_amd(const struct emu_vcpu *v)
{
	return v->vm->config.vendor == EMU_AMD;
}

/* ------------------------------------------------------------------ segment registers */

struct segment segment_of(uint16_t selector, const struct descriptor *d);
struct segment segment_null(uint16_t selector);
/* Flat, 4 GiB: what SYSCALL and its kin load. `attributes` without G. */
struct segment segment_flat(uint16_t selector, uint32_t attributes);
/* Real and virtual-8086 mode: base = selector × 16. */
void segment_load_real(struct cpu *c, unsigned seg, uint16_t selector);
/* All of virtual-8086 mode's attributes (SDM 20.1). */
struct segment segment_vm86(uint16_t selector);
/* CS and the privilege level that comes with it. */
void load_code_segment(struct cpu *c, uint16_t selector, unsigned cpl, const struct descriptor *d);
/* DS, ES, FS, GS whose DPL is below the new CPL become null (IRET, RET to an outer level). */
void segments_drop_privileged(struct cpu *c);
/* Loads DS, ES, FS, GS or SS with all checks of protected mode. */
enum outcome segment_load(struct emu_vcpu *v, unsigned seg, uint16_t selector);

/* May execution go on at `offset` in this code segment? #GP(0) if not. */
enum outcome code_offset_check(struct emu_vcpu *v, const struct descriptor *cs, uint64_t offset);

/* ------------------------------------------------------------------ stacks */

struct stack {
	struct segment ss;
	uint64_t rsp;
	uint32_t error; /* of the #SS when it does not hold what is pushed */
	uint8_t width;  /* bytes of the pointer that count: 8, 4 or 2 */
	uint8_t cpl;    /* of the accesses */
};

struct stack stack_current(const struct cpu *c);
/* Of the inner level `cpl`, from the 16- or 32-bit TSS. #TS, #SS. */
enum outcome stack_from_tss(struct emu_vcpu *v, unsigned cpl, struct stack *s);
/* RSPn (ist 0) or ISTn of the 64-bit TSS. */
enum outcome stack_from_tss64(struct emu_vcpu *v, unsigned cpl, unsigned ist, struct stack *s);
/* Push `n` items, items[0] first: all or nothing. */
#define STACK_ITEMS 40
enum outcome stack_put(struct emu_vcpu *v, struct stack *s, const uint64_t *items, unsigned n,
		       unsigned size);
/* Read `n` items of the current stack from `skip` bytes above its top. */
enum outcome stack_get(struct emu_vcpu *v, uint64_t skip, uint64_t *items, unsigned n,
		       unsigned size);
/* The stack pointer as a stack of `width` bytes of pointer changes it. */
static inline uint64_t stack_pointer(uint64_t old, uint64_t now, unsigned width)
{
	return width == 2 ? (old & ~0xffffull) | (now & 0xffff) : now & size_mask(width);
}
static inline void stack_use(struct cpu *c, const struct stack *s)
{
	c->gpr[EMU_RSP] = stack_pointer(c->gpr[EMU_RSP], s->rsp, s->width);
}
static inline void stack_drop(struct cpu *c, uint64_t bytes)
{
	c->gpr[EMU_RSP] = stack_pointer(c->gpr[EMU_RSP], c->gpr[EMU_RSP] + bytes, stack_size(c));
}

/* ------------------------------------------------------------------ task.c */

enum task_cause { TASK_JMP, TASK_CALL, TASK_IRET, TASK_EVENT };
/*
 * Switch to the task of the TSS `selector` names (SDM 7.3); cpu.rip is what the old task resumes at.
 * An error code, if any, goes onto the new task's stack. A FAULT is in the old task's context, all
 * untouched, unless *committed: then the new task runs, and the fault is its first event.
 */
enum outcome task_switch(struct emu_vcpu *v, uint16_t selector, enum task_cause cause,
			 const uint32_t *error, bool *committed);
/* The same as an instruction of `length` bytes: nothing is left to do for the caller. */
enum outcome task_switch_insn(struct emu_vcpu *v, const struct insn *i, uint16_t selector,
			      enum task_cause cause);

#endif
