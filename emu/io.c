/* SPDX-License-Identifier: GPL-2.0-only */
/* Port I/O: IN, OUT, INS, OUTS, and who may do it (SDM vol. 1, 19.5). */
#include "emu/run.h"

#include <string.h>

/* #GP(0) unless IOPL or the I/O permission bitmap of a 32- or 64-bit TSS allows every byte. */
static enum outcome check_permission(struct emu_vcpu *v, uint16_t port, unsigned size)
{
	const struct cpu *c = &v->cpu;
	const struct segment *tr = &c->segment[EMU_TR];
	if (in_real(c) || (!in_vm86(c) && c->cpl <= (c->rflags & FL_IOPL) >> 12))
		return DONE;
	unsigned type = DESC_TYPE(tr->flags);
	if (!(tr->flags & DESC_P) || (type != 9 && type != 11) || tr->limit < 103)
		return raise_error(v, EXC_GP, 0);
	uint16_t map, bits;
	enum outcome r = linear_read(v, tr->base + 102, &map, 2, ACCESS_SYSTEM);
	if (r)
		return r;
	uint32_t at = map + port / 8u;
	if (at + 1 > tr->limit) /* two bytes are always read */
		return raise_error(v, EXC_GP, 0);
	r = linear_read(v, tr->base + at, &bits, 2, ACCESS_SYSTEM);
	if (r)
		return r;
	return bits >> (port & 7) & ((1u << size) - 1) ? raise_error(v, EXC_GP, 0) : DONE;
}

/* Exit qualification of an I/O instruction, SDM table 30-5. */
static uint64_t qualification(const struct insn *i, uint16_t port, unsigned size, bool write)
{
	bool string = i->op == OP_INS || i->op == OP_OUTS;
	bool rep = string && i->flags & (INSN_REP | INSN_REPNE);
	bool immediate = i->flags & INSN_IMM;
	return (size - 1) | (uint64_t)!write << 3 | (uint64_t)string << 4 | (uint64_t)rep << 5 |
	       (uint64_t)immediate << 6 | (uint64_t)port << 16;
}

static enum outcome leave_io(struct emu_vcpu *v, const struct insn *i, uint16_t port, bool write,
			     uint32_t count)
{
	struct run_state *run = v->run;
	leave(v, EMU_EXIT_IO, VMX_IO);
	v->exit->qualification = qualification(i, port, i->opsize, write);
	v->exit->insn_length = i->length;
	v->exit->io.port = port;
	v->exit->io.size = i->opsize;
	v->exit->io.write = write;
	v->exit->io.count = count;
	v->exit->io.data = run->io_data;
	run->pending = write ? PENDING_OUT : PENDING_IN;
	run->pending_rip = linear_rip(&v->cpu);
	run->insn = *i;
	run->io_count = count;
	run->io_used = 0;
	return EXIT;
}

static enum outcome insn_in_out(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint16_t port = i->flags & INSN_IMM ? (uint8_t)i->imm : (uint16_t)c->gpr[EMU_RDX];
	enum outcome r = check_permission(v, port, i->opsize);
	if (r)
		return r;
	if (i->op == OP_OUT)
		memcpy(v->run->io_data, &c->gpr[EMU_RAX], i->opsize);
	return leave_io(v, i, port, i->op == OP_OUT, 1);
}

static bool repeated(const struct insn *i)
{
	return i->flags & (INSN_REP | INSN_REPNE);
}

/* The end of one iteration of INS or OUTS: index and count move, RIP when it was the last. */
static void end_iteration(struct cpu *c, const struct insn *i, unsigned index)
{
	uint64_t mask = size_mask(i->addrsize);
	reg_write(c, index, i->addrsize, true,
		  c->gpr[index] + (c->rflags & FL_DF ? -(uint64_t)i->opsize : i->opsize));
	if (repeated(i)) {
		reg_write(c, EMU_RCX, i->addrsize, true, c->gpr[EMU_RCX] - 1);
		if (c->gpr[EMU_RCX] & mask)
			return;
	}
	advance_rip(c, i);
}

/*
 * How many elements INS may ask for at once. Linux reads ahead within the page that RDI is in, at
 * most 1024 bytes (arch/x86/kvm/emulate.c, pio_in_emulated), and one at a time downwards.
 */
static uint32_t read_ahead(const struct cpu *c, const struct insn *i)
{
	uint64_t mask = size_mask(i->addrsize);
	uint64_t wanted = repeated(i) ? c->gpr[EMU_RCX] & mask : 1;
	uint64_t offset = c->gpr[EMU_RDI] & ~PAGE_MASK;
	uint64_t room = c->rflags & FL_DF ? offset : PAGE_SIZE - offset;
	if (room > 1024u / i->opsize)
		room = 1024u / i->opsize;
	if (wanted < room)
		room = wanted;
	return room ? (uint32_t)room : 1;
}

static enum outcome insn_string_io(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t mask = size_mask(i->addrsize), linear;
	uint16_t port = (uint16_t)c->gpr[EMU_RDX];
	bool write = i->op == OP_OUTS;
	if (repeated(i) && !(c->gpr[EMU_RCX] & mask)) {
		advance_rip(c, i);
		return DONE;
	}
	enum outcome r = check_permission(v, port, i->opsize);
	if (r)
		return r;
	/* The exit has priority over faults of the destination (SDM 28.1.1), which come when what the
	 * device answered is stored; Linux's emulator has it so, too (em_in(), then the write-back). */
	if (!write)
		return leave_io(v, i, port, false, read_ahead(c, i));
	uint64_t value = 0;
	r = seg_linear(v, i->seg, c->gpr[EMU_RSI] & mask, i->opsize, false, &linear);
	if (!r)
		r = data_read(v, linear, &value, i->opsize);
	if (r)
		return r;
	memcpy(v->run->io_data, &value, i->opsize);
	/* Linux sends OUTS one element an exit, the iteration done (em_out) */
	leave_io(v, i, port, true, 1);
	end_iteration(c, i, EMU_RSI);
	v->run->pending = PENDING_NOTHING;
	return EXIT;
}

enum outcome insn_io(struct emu_vcpu *v, const struct insn *i)
{
	return i->op == OP_IN || i->op == OP_OUT ? insn_in_out(v, i) : insn_string_io(v, i);
}

/* INS: store what the device answered. What does not fit any more (a page was taken away meanwhile)
 * raises its fault with the registers of the iterations done. */
static enum outcome store_elements(struct emu_vcpu *v, const struct insn *i)
{
	struct run_state *run = v->run;
	struct cpu *c = &v->cpu;
	uint64_t mask = size_mask(i->addrsize), linear;
	while (run->io_used < run->io_count) {
		/* The monitor may have changed the count meanwhile; Linux looks at RCX before each
		 * iteration (x86_emulate_insn()). */
		if (repeated(i) && !(c->gpr[EMU_RCX] & mask)) {
			if (!run->io_used)
				advance_rip(c, i);
			return DONE;
		}
		const uint8_t *element = run->io_data + (size_t)run->io_used * i->opsize;
		enum outcome r =
			seg_linear(v, SEG_ES, c->gpr[EMU_RDI] & mask, i->opsize, true, &linear);
		if (!r)
			r = data_write(v, linear, element, i->opsize);
		if (r)
			return r;
		run->io_used++;
		end_iteration(c, i, EMU_RDI);
	}
	return DONE;
}

enum outcome io_complete(struct emu_vcpu *v)
{
	struct run_state *run = v->run;
	const struct insn *i = &run->insn;
	enum pending pending = run->pending;
	run->pending = PENDING_NOTHING;
	if (linear_rip(&v->cpu) != run->pending_rip)
		return DONE;
	if (pending == PENDING_OUT) {
		advance_rip(&v->cpu, i);
		return DONE;
	}
	if (i->op == OP_INS)
		return store_elements(v, i);
	uint64_t value = 0;
	memcpy(&value, run->io_data, i->opsize);
	reg_write(&v->cpu, EMU_RAX, i->opsize, true, value);
	advance_rip(&v->cpu, i);
	return DONE;
}
