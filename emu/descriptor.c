// SPDX-License-Identifier: GPL-2.0-only
/* Descriptors, segment registers and the stacks of far transfers (SDM vol. 3, chapters 3, 5, 6). */
#include "emu/access.h"
#include "emu/segment.h"

#include <string.h>

/* Data, read/write, accessed, present: what real mode has after reset (SDM 10.1.1). */
#define REAL_MODE_DATA (DESC_P | DESC_S | DESC_WRITABLE | DESC_ACCESSED)

uint64_t descriptor_base(const struct descriptor *d)
{
	return (uint64_t)d->upper << 32 | (d->high & 0xff000000u) | (d->high & 0xff) << 16 |
	       d->low >> 16;
}

uint32_t descriptor_limit(const struct descriptor *d)
{
	uint32_t limit = (d->high & 0x000f0000u) | (d->low & 0xffff);

	return d->high & DESC_G ? limit << 12 | 0xfff : limit;
}

/* Where entry `selector` lies; false: `size` bytes there are not all within the table. */
static bool table_entry(const struct cpu *c, uint16_t selector, unsigned size, uint64_t *linear)
{
	const struct segment *table = &c->gdt;
	uint32_t offset = selector & 0xfff8u;

	if (selector & SELECTOR_TI) {
		table = &c->segment[EMU_LDTR];
		if (!(table->flags & DESC_P))
			return false;
	}
	if (offset + size - 1 > table->limit)
		return false;
	*linear = table->base + offset;
	if (!in_long_mode(c))
		*linear = (uint32_t)*linear;
	return true;
}

enum outcome descriptor_read(struct emu_vcpu *v, uint16_t selector, unsigned vector,
			     struct descriptor *d)
{
	uint32_t words[2];
	enum outcome o;

	if (!table_entry(&v->cpu, selector, 8, &d->linear))
		return raise_error(v, vector, SELECTOR_ERROR(selector));
	o = linear_read(v, d->linear, words, sizeof(words), ACCESS_SYSTEM);
	if (o != DONE)
		return o;
	d->low = words[0];
	d->high = words[1];
	d->upper = 0;
	return DONE;
}

enum outcome descriptor_read_upper(struct emu_vcpu *v, uint16_t selector, unsigned vector,
				   struct descriptor *d)
{
	uint32_t words[2];
	uint64_t linear;
	enum outcome o;

	if (!in_long_mode(&v->cpu))
		return DONE;
	if (!table_entry(&v->cpu, selector, 16, &linear))
		return raise_error(v, vector, SELECTOR_ERROR(selector));
	o = linear_read(v, linear + 8, words, sizeof(words), ACCESS_SYSTEM);
	if (o != DONE)
		return o;
	/* SDM 3.5.2, 5.8.3.1: the upper type field is 0, so that no half is taken for a descriptor */
	if (words[1] & 0x1f00)
		return raise_error(v, vector, SELECTOR_ERROR(selector));
	d->upper = words[0];
	return DONE;
}

static enum outcome high_word_change(struct emu_vcpu *v, uint64_t linear, uint32_t set,
				     uint32_t clear)
{
	uint32_t words[2];
	enum outcome o = linear_read(v, linear, words, sizeof(words), ACCESS_SYSTEM);

	if (o != DONE)
		return o;
	words[1] = (words[1] & ~clear) | set;
	return linear_write(v, linear, words, sizeof(words), ACCESS_SYSTEM);
}

/*
 * The processor locks the descriptor while it sets a bit (SDM 11.1.2.1), so that this is one locked
 * read-modify-write of the entry's 8 bytes: the bits change from what is in memory now, not from what
 * was read when the descriptor was checked. That it is all 8 follows from "the descriptor will not be
 * modified by another processor while it is being updated"; a table that is not aligned can make it
 * a split one.
 */
enum outcome descriptor_set(struct emu_vcpu *v, uint64_t linear, uint32_t bit)
{
	struct stuffed_access access = { .what = bit == DESC_BUSY ? EMU_STUFFED_BUSY
								  : EMU_STUFFED_DESCRIPTOR,
					 .linear = linear,
					 .size = 8 };
	struct memory_types types;
	struct emu_lock lock;
	enum outcome o = access_types(v, linear, 8, &access.gpa, &types);

	if (o != DONE)
		return o;
	access.type = types.effective;
	access.guest_type = types.guest;
	o = stuffed_begin(v, &access, &lock);
	if (o == DONE)
		o = high_word_change(v, linear, bit, 0);
	if (o == DONE)
		stuffed_end(v, &lock);
	return o;
}

/* Not among the locked operations: SDM 11.1.2.1 speaks of testing and setting the busy flag. */
enum outcome descriptor_clear_busy(struct emu_vcpu *v, uint64_t linear)
{
	return high_word_change(v, linear, 0, DESC_BUSY);
}

enum outcome descriptor_touch(struct emu_vcpu *v, struct descriptor *d)
{
	if (d->high & DESC_ACCESSED)
		return DONE;
	d->high |= DESC_ACCESSED;
	return descriptor_set(v, d->linear, DESC_ACCESSED);
}

/* ------------------------------------------------------------------ segment registers */

struct segment segment_of(uint16_t selector, const struct descriptor *d)
{
	return (struct segment){ .selector = selector,
				 .base = descriptor_base(d),
				 .limit = descriptor_limit(d),
				 .flags = d->high & DESC_ATTRIBUTES };
}

struct segment segment_null(uint16_t selector)
{
	/* the DPL stays meaningful: of a null SS it is the CPL (SDM 5.5, 25.4.1) */
	return (struct segment){ .selector = selector,
				 .flags = (uint32_t)(selector & SELECTOR_RPL) << 13 };
}

struct segment segment_flat(uint16_t selector, uint32_t attributes)
{
	return (struct segment){ .selector = selector,
				 .limit = 0xffffffffu,
				 .flags = attributes | DESC_G };
}

struct segment segment_vm86(uint16_t selector)
{
	return (struct segment){ .selector = selector,
				 .base = (uint64_t)selector << 4,
				 .limit = 0xffff,
				 .flags = REAL_MODE_DATA | DESC_DPL };
}

void segment_load_real(struct cpu *c, unsigned seg, uint16_t selector)
{
	struct segment *s = &c->segment[seg];

	if (in_vm86(c)) {
		*s = segment_vm86(selector);
		return;
	}
	s->selector = selector;
	s->base = (uint64_t)selector << 4;
	/* Limit and attributes stay ("unreal mode"), but a register that was null becomes usable. */
	if (!(s->flags & DESC_P)) {
		s->limit = 0xffff;
		s->flags = REAL_MODE_DATA;
	}
}

void load_code_segment(struct cpu *c, uint16_t selector, unsigned cpl, const struct descriptor *d)
{
	c->segment[EMU_CS] = segment_of((uint16_t)(SELECTOR_ERROR(selector) | cpl), d);
	c->cpl = (uint8_t)cpl;
}

void segments_drop_privileged(struct cpu *c)
{
	static const uint8_t data[] = { EMU_ES, EMU_DS, EMU_FS, EMU_GS };

	for (unsigned n = 0; n < sizeof(data); n++) {
		struct segment *s = &c->segment[data[n]];
		bool conforming = (s->flags & (DESC_CODE | DESC_CONFORMING)) ==
				  (DESC_CODE | DESC_CONFORMING);

		if (SELECTOR_IS_NULL(s->selector))
			/* SDM vol. 2, IRET: also a null one loses its RPL; bases of FS and GS stay */
			s->selector = 0;
		else if (DESC_GET_DPL(s->flags) < c->cpl && !conforming)
			*s = segment_null(0);
	}
}

/* SDM vol. 2, MOV, LDS, POP: SS */
static enum outcome load_stack_segment(struct emu_vcpu *v, uint16_t selector)
{
	struct cpu *c = &v->cpu;
	struct descriptor d;
	enum outcome o;

	if (SELECTOR_IS_NULL(selector)) {
		if (!in_64bit(c) || c->cpl == 3 || (selector & SELECTOR_RPL) != c->cpl)
			return raise_error(v, EXC_GP, 0);
		c->segment[EMU_SS] = segment_null(selector);
		return DONE;
	}
	o = descriptor_read(v, selector, EXC_GP, &d);
	if (o != DONE)
		return o;
	if ((selector & SELECTOR_RPL) != c->cpl || !descriptor_is_writable_data(&d) ||
	    descriptor_dpl(&d) != c->cpl)
		return raise_error(v, EXC_GP, SELECTOR_ERROR(selector));
	if (!(d.high & DESC_P))
		return raise_error(v, EXC_SS, SELECTOR_ERROR(selector));
	o = descriptor_touch(v, &d);
	if (o == DONE)
		c->segment[EMU_SS] = segment_of(selector, &d);
	return o;
}

enum outcome segment_load(struct emu_vcpu *v, unsigned seg, uint16_t selector)
{
	struct cpu *c = &v->cpu;
	unsigned privilege = selector & SELECTOR_RPL;
	struct descriptor d;
	enum outcome o;

	if (seg == EMU_SS)
		return load_stack_segment(v, selector);
	if (SELECTOR_IS_NULL(selector)) {
		c->segment[seg] = segment_null(selector);
		return DONE;
	}
	o = descriptor_read(v, selector, EXC_GP, &d);
	if (o != DONE)
		return o;
	if (privilege < c->cpl)
		privilege = c->cpl;
	/* data, or code that can be read; conforming code from every level */
	if (!(d.high & DESC_S) || (d.high & (DESC_CODE | DESC_READABLE)) == DESC_CODE ||
	    ((d.high & (DESC_CODE | DESC_CONFORMING)) != (DESC_CODE | DESC_CONFORMING) &&
	     descriptor_dpl(&d) < privilege))
		return raise_error(v, EXC_GP, SELECTOR_ERROR(selector));
	if (!(d.high & DESC_P))
		return raise_error(v, EXC_NP, SELECTOR_ERROR(selector));
	o = descriptor_touch(v, &d);
	if (o == DONE)
		c->segment[seg] = segment_of(selector, &d);
	return o;
}

enum outcome code_offset_check(struct emu_vcpu *v, const struct descriptor *cs, uint64_t offset)
{
	if (in_long_mode(&v->cpu) && cs->high & DESC_L)
		return canonical(&v->cpu, offset) ? DONE : raise_error(v, EXC_GP, 0);
	return offset <= descriptor_limit(cs) ? DONE : raise_error(v, EXC_GP, 0);
}

/* ------------------------------------------------------------------ stacks */

struct stack stack_current(const struct cpu *c)
{
	return (struct stack){ .ss = c->segment[EMU_SS],
			       .rsp = c->gpr[EMU_RSP],
			       .width = (uint8_t)stack_size(c),
			       .cpl = c->cpl };
}

/* `size` bytes at `offset` of the TSS; #TS(TR) beyond its limit. */
static enum outcome tss_read(struct emu_vcpu *v, uint32_t offset, void *data, unsigned size)
{
	const struct segment *tr = &v->cpu.segment[EMU_TR];
	uint64_t linear = tr->base + offset;

	if (offset + size - 1 > tr->limit)
		return raise_error(v, EXC_TS, SELECTOR_ERROR(tr->selector));
	if (!in_long_mode(&v->cpu))
		linear = (uint32_t)linear;
	return linear_read(v, linear, data, size, ACCESS_SYSTEM);
}

enum outcome stack_from_tss(struct emu_vcpu *v, unsigned cpl, struct stack *s)
{
	bool wide = v->cpu.segment[EMU_TR].flags & 8 << 8; /* types 9 and 11 against 1 and 3 */
	uint16_t field[3];                                 /* ESP, SS or SP, SS */
	uint16_t selector;
	struct descriptor d;
	enum outcome o;

	/* SDM 7.2.1, figure 7-2; 7.6, figure 7-10 */
	o = wide ? tss_read(v, 4 + 8 * cpl, field, 6) : tss_read(v, 2 + 4 * cpl, field, 4);
	if (o != DONE)
		return o;
	selector = field[wide ? 2 : 1];
	if (SELECTOR_IS_NULL(selector))
		return raise_error(v, EXC_TS, 0);
	o = descriptor_read(v, selector, EXC_TS, &d);
	if (o != DONE)
		return o;
	if ((selector & SELECTOR_RPL) != cpl || descriptor_dpl(&d) != cpl ||
	    !descriptor_is_writable_data(&d))
		return raise_error(v, EXC_TS, SELECTOR_ERROR(selector));
	if (!(d.high & DESC_P))
		return raise_error(v, EXC_SS, SELECTOR_ERROR(selector));
	o = descriptor_touch(v, &d);
	if (o != DONE)
		return o;
	*s = (struct stack){ .ss = segment_of(selector, &d),
			     .rsp = wide ? (uint32_t)field[1] << 16 | field[0] : field[0],
			     .error = SELECTOR_ERROR(selector),
			     .width = d.high & DESC_DB ? 4 : 2,
			     .cpl = (uint8_t)cpl };
	return DONE;
}

enum outcome stack_from_tss64(struct emu_vcpu *v, unsigned cpl, unsigned ist, struct stack *s)
{
	/* SDM 7.7, figure 7-11: RSP0 to RSP2 from 4, IST1 to IST7 from 36 */
	*s = (struct stack){ .ss = segment_null((uint16_t)cpl), .width = 8, .cpl = (uint8_t)cpl };
	return tss_read(v, ist ? 28 + 8 * ist : 4 + 8 * cpl, &s->rsp, 8);
}

/* Linear address of [offset, offset + size) of a stack; #SS. SDM 5.3, 5.4 */
static enum outcome stack_range(struct emu_vcpu *v, const struct stack *s, uint64_t offset,
				uint64_t size, uint64_t *linear)
{
	const struct segment *ss = &s->ss;
	uint64_t last = offset + size - 1, limit = ss->limit;
	bool fits, usable = ss->flags & DESC_P;

	if (s->width == 8) {
		*linear = offset;
		fits = canonical(&v->cpu, offset) && canonical(&v->cpu, last);
		return fits ? DONE : raise_error(v, EXC_SS, s->error);
	}
	*linear = (uint32_t)(ss->base + offset);
	if (!usable && !in_protected(&v->cpu)) { /* see seg_linear() */
		usable = true;
		limit = 0xffff;
	}
	if ((ss->flags & (DESC_CODE | DESC_EXPAND_DOWN)) == DESC_EXPAND_DOWN)
		fits = offset > limit && last <= size_mask(s->width);
	else
		fits = last <= limit;
	return fits && usable ? DONE : raise_error(v, EXC_SS, s->error);
}

/* Write or probe in pieces that linear_write() takes. */
static enum outcome put_pieces(struct emu_vcpu *v, uint64_t linear, const uint8_t *data,
			       unsigned size, bool probe)
{
	for (unsigned done = 0, piece; done < size; done += piece) {
		enum outcome o;

		piece = size - done < 64 ? size - done : 64;
		o = probe ? linear_probe_write(v, linear + done, piece, 0)
			  : linear_write(v, linear + done, data + done, piece, 0);
		if (o != DONE)
			return o;
	}
	return DONE;
}

/* The frame does not lie in one piece: the pointer wraps below 0 (SDM vol. 2, PUSH). */
static enum outcome put_wrapping(struct emu_vcpu *v, const struct stack *s, const uint8_t *frame,
				 uint64_t top, unsigned n, unsigned size)
{
	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned item = n; item-- > 0;) {
			uint64_t linear, offset = (top + item * size) & size_mask(s->width);
			enum outcome o = stack_range(v, s, offset, size, &linear);

			if (o == DONE)
				o = put_pieces(v, linear, frame + item * size, size, pass == 0);
			if (o != DONE)
				return o;
		}
	}
	return DONE;
}

static enum outcome put_frame(struct emu_vcpu *v, const struct stack *s, const uint8_t *frame,
			      uint64_t top, unsigned n, unsigned size)
{
	unsigned bytes = n * size;
	uint64_t linear;
	enum outcome o;

	if (top + (bytes - 1) > size_mask(s->width))
		return put_wrapping(v, s, frame, top, n, size);
	o = stack_range(v, s, top, bytes, &linear);
	if (o == DONE && bytes > 64)
		o = put_pieces(v, linear, frame, bytes, true);
	if (o == DONE)
		o = put_pieces(v, linear, frame, bytes, false);
	return o;
}

enum outcome stack_put(struct emu_vcpu *v, struct stack *s, const uint64_t *items, unsigned n,
		       unsigned size)
{
	uint8_t frame[STACK_ITEMS * 8], cpl = v->cpu.cpl;
	uint64_t mask = size_mask(s->width);
	uint64_t top = (s->rsp - (uint64_t)n * size) & mask;
	enum outcome o;

	for (unsigned item = 0; item < n; item++)
		memcpy(frame + (n - 1 - item) * size, &items[item], size);
	/* an inner stack is written with the rights of its level, which is not yet the current one */
	v->cpu.cpl = s->cpl;
	o = put_frame(v, s, frame, top, n, size);
	v->cpu.cpl = cpl;
	if (o == DONE)
		s->rsp = (s->rsp & ~mask) | top;
	return o;
}

enum outcome stack_get(struct emu_vcpu *v, uint64_t skip, uint64_t *items, unsigned n,
		       unsigned size)
{
	uint64_t mask = size_mask(stack_size(&v->cpu));
	uint8_t data[64];

	while (n) {
		uint64_t offset = (v->cpu.gpr[EMU_RSP] + skip) & mask;
		unsigned some = sizeof(data) / size < n ? sizeof(data) / size : n;
		enum outcome o;

		if (offset + (some * size - 1) > mask)
			some = 1; /* wraps: one by one, each at its own offset */
		o = seg_read(v, EMU_SS, offset, data, some * size);
		if (o != DONE)
			return o;
		for (unsigned item = 0; item < some; item++) {
			*items = 0;
			memcpy(items++, data + item * size, size);
		}
		skip += some * size;
		n -= some;
	}
	return DONE;
}
