/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the engine asks while it runs: what a page is (fill), and where a block has to end because an
 * instruction leaves the engine (scan). With counting, also how many instructions a block has.
 */
#include "emu/run.h"

#include "emu/access.h"
#include "emu/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ which instructions stop */

/* Always by hand, or an exit. What is not listed runs in the engine. */
static const bool leaves_engine[OP_COUNT] = {
	[OP_UD] = true,        [OP_IN] = true,          [OP_OUT] = true,
	[OP_INS] = true,       [OP_OUTS] = true,        [OP_HLT] = true,
	[OP_CPUID] = true,     [OP_RDMSR] = true,       [OP_WRMSR] = true,
	[OP_RDPMC] = true,     [OP_RDPID] = true,       [OP_MOV_FROM_CR] = true,
	[OP_MOV_TO_CR] = true, [OP_MOV_FROM_DR] = true, [OP_MOV_TO_DR] = true,
	[OP_CLTS] = true,      [OP_LMSW] = true,        [OP_SYSCALL] = true,
	[OP_SYSRET] = true,    [OP_SYSENTER] = true,    [OP_SYSEXIT] = true,
	[OP_INT] = true,       [OP_INT1] = true,        [OP_INT3] = true,
	[OP_INTO] = true,      [OP_IRET] = true,        [OP_STI] = true,
	[OP_POPF] = true,      [OP_JMP_FAR] = true,     [OP_CALL_FAR] = true,
	[OP_RET_FAR] = true,   [OP_LGDT] = true,        [OP_LIDT] = true,
	[OP_LLDT] = true,      [OP_LTR] = true,         [OP_INVLPG] = true,
	[OP_INVD] = true,      [OP_WBINVD] = true,      [OP_INVPCID] = true,
	[OP_MONITOR] = true,   [OP_MWAIT] = true,       [OP_VMCALL] = true,
	[OP_VMMCALL] = true,   [OP_RSM] = true,         [OP_XGETBV] = true,
	[OP_XSETBV] = true,    [OP_VMX_SVM] = true,
};

/* BMI1 and BMI2: the VEX encodings that CPUID offers; the engine would run the others as SSE. */
static bool vex_runs(const struct insn *i)
{
	if (i->map == MAP_0F38)
		return i->opcode == 0xf2 || i->opcode == 0xf3 || i->opcode == 0xf5 ||
		       i->opcode == 0xf6 || i->opcode == 0xf7;
	return i->map == MAP_0F3A && i->opcode == 0xf0;
}

bool insn_is_special(const struct emu_vcpu *v, const struct insn *i)
{
	const struct cpu *c = &v->cpu;
	if (i->flags & INSN_LOCKED || leaves_engine[i->op])
		return true;
	switch (i->op) {
	case OP_MOV_TO_SEG:
	case OP_POP_SEG:
	case OP_LOAD_FAR:
		return in_protected(c); /* no descriptors otherwise: the engine does it */
	case OP_LAR:
	case OP_LSL:
	case OP_VERR:
	case OP_VERW:
		return c->cpl == 3;
	case OP_SGDT:
	case OP_SIDT:
	case OP_SLDT:
	case OP_STR:
	case OP_SMSW:
		return c->cr4 & CR4_UMIP && c->cpl;
	case OP_VEX: /* in real and virtual-8086 mode these bytes are LES, LDS, BOUND with a register */
		return !vex_runs(i) || !in_protected(c);
	case OP_BRANCH: /* 66 is ignored there by Intel; the engine truncates RIP */
		return (i->mode == 64 && i->flags & INSN_OPSIZE) || engine_gets_wrong(v, i);
	case OP_RDTSC:
	case OP_RDTSCP:
		return v->vm->tsc != NULL;
	case OP_PAUSE:
		return v->vm->vcpus > 1;
	default:
		return engine_gets_wrong(v, i);
	}
}

/*
 * Special, but tried in the engine first: it asks when it gets there (lock(), sti() below). In 64-bit code
 * only, where segments have no limits and STI has no virtual flag to set. Of several segment prefixes
 * the engine may take another than we do.
 */
static bool engine_tries(const struct emu_vcpu *v, const struct insn *i)
{
	unsigned segments = 0;

	if (i->mode != 64)
		return false;
	if (i->op == OP_STI)
		return v->cpu.cpl == 0;
	if (v->vm->config.observe_locked) /* with all that there is to tell */
		return false;
	/* not translated into such calls; and NEG leaves the flags of the operand, not of the result */
	if (!(i->flags & INSN_LOCKED) || i->op == OP_CMPXCHG8B || i->op == OP_CMPXCHG16B ||
	    i->op == OP_NEG)
		return false;
	for (unsigned n = 0; n < i->length; n++) {
		uint8_t b = i->bytes[n];

		if (b == 0x64 || b == 0x65 || (b & 0xe7) == 0x26)
			segments++;
		else if (b != 0x66 && b != 0x67 && b != 0xf0 && b != 0xf2 && b != 0xf3)
			break;
	}
	return segments <= 1;
}

/* ------------------------------------------------------------------ instruction breakpoints */

/* Is an enabled instruction breakpoint of `dr` at `linear`? Its number, or -1. SDM 20.2.4 */
int breakpoint_at(const uint64_t dr[8], uint64_t linear)
{
	for (int n = 0; n < 4; n++)
		if (dr[7] >> 2 * n & 3 && !(dr[7] >> (16 + 4 * n) & 15) && dr[n] == linear)
			return n;
	return -1;
}

const uint64_t *breakpoints(const struct emu_vcpu *v)
{
	return v->debug.hardware_breakpoints ? v->debug.dr : v->cpu.dr;
}

/* Bytes of data breakpoint `n` (SDM 20.2.4: LEN 0, 1, 3, 2 are 1, 2, 4, 8), 0: it is not one. */
static unsigned watch_length(const uint64_t dr[8], int n)
{
	static const uint8_t length[] = { 1, 2, 8, 4 };
	unsigned control = dr[7] >> (16 + 4 * n) & 15;
	/* R/W 1: writes, 3: reads and writes; 2 is I/O */
	return dr[7] >> 2 * n & 3 && control & 1 ? length[control >> 2] : 0;
}

static bool watched_page(const uint64_t dr[8], uint64_t page)
{
	for (int n = 0; n < 4; n++)
		if (watch_length(dr, n) && (dr[n] & PAGE_MASK) == page)
			return true;
	return false;
}

unsigned watch_hits(const struct emu_vcpu *v, const struct insn *i)
{
	const uint64_t *dr = breakpoints(v);
	struct insn_access accesses[INSN_MAX_ACCESSES];
	struct insn_regs regs;
	unsigned hits = 0;
	if (!(dr[7] & 0xff))
		return 0;
	insn_regs_of(&v->cpu, &regs);
	int count = insn_accesses(i, &regs, accesses);
	for (int n = 0; n < 4; n++) {
		unsigned length = watch_length(dr, n);
		uint64_t low = dr[n] & ~(uint64_t)(length - 1);
		bool reads = dr[7] >> (16 + 4 * n) & 2;
		for (int a = 0; length && a < count; a++)
			if ((accesses[a].access & INSN_WRITE || reads) &&
			    accesses[a].linear < low + length &&
			    low < accesses[a].linear + accesses[a].size)
				hits |= 1u << n;
	}
	return hits;
}

void vcpu_breakpoints_changed(struct emu_vcpu *v)
{
	/* blocks were translated with other ends; rare enough to forget them all */
	engine_drop_all(v->vm->engine);
	vcpu_flush(v);
}

/* ------------------------------------------------------------------ the engine asks: pages */

static bool refuse(struct emu_vcpu *v, enum refusal why, const struct slot *s, uint64_t gpa)
{
	v->run->refusal = why;
	v->run->refused_slot = s;
	v->run->refused_gpa = gpa;
	return false;
}

static bool on_scratch(const struct run_state *run, uint64_t page, void **host, unsigned *perms)
{
	for (unsigned k = 0; k < run->scratch_pages; k++) {
		if (run->scratch[k].linear == page) {
			*host = run->scratch[k].host;
			*perms = ENGINE_PERM_R | ENGINE_PERM_W;
			return true;
		}
	}
	return false;
}

static bool fill(void *opaque, uint64_t page, enum engine_access access, unsigned cpl, bool ac,
		 void **host, unsigned *perms)
{
	struct emu_vm *vm = opaque;
	struct emu_vcpu *v = vm->loaded;
	struct run_state *run = v->run;
	struct walk w;
	if (!in_64bit(&v->cpu)) /* as state_out() of the engine */
		page = (uint32_t)page;
	run->refused_page = page;
	run->refused_access = access;
	if (run->scratch_pages && access != ENGINE_FETCH && on_scratch(run, page, host, perms))
		return true;
	if (breakpoints(v)[7] & 0xff && access != ENGINE_FETCH && !run->watch_open &&
	    watched_page(breakpoints(v), page))
		return refuse(v, REFUSED_WATCH, NULL, 0);
	/* within a block flags change natively; the walker looks at AC */
	v->cpu.rflags = (v->cpu.rflags & ~(uint64_t)FL_AC) | (ac ? FL_AC : 0);
	unsigned want = access == ENGINE_FETCH   ? WALK_FETCH
			: access == ENGINE_WRITE ? WALK_WRITE
						 : WALK_READ;
	if (cpl == 3 && !run->as_supervisor)
		want |= WALK_USER;
	run->refused_walk = want;
	enum outcome r = page_walk(v, page, want | WALK_NO_BUS_LOCK, &w);
	if (r)
		return refuse(v,
			      r == FAULT       ? REFUSED_FAULT
			      : r == MMIO      ? REFUSED_MMIO
			      : r == UNHANDLED ? REFUSED_BUS_LOCK
					       : REFUSED_GONE,
			      NULL, r == MMIO ? v->mmio_gpa : 0);

	const struct slot *s = slot_find(vm, w.gpa);
	v->missing = (struct missing){ .linear = page, .access = want };
	if (!s || (access == ENGINE_WRITE && s->flags & EMU_MEM_READONLY))
		return refuse(v, REFUSED_MMIO, s, w.gpa);
	if (page_flags_get(slot_page_flags(s, w.gpa)) & PAGE_GONE ||
	    !host_page_accessible(slot_host(s, w.gpa), access == ENGINE_WRITE))
		return refuse(v, REFUSED_GONE, s, w.gpa);
	bool may_write = access == ENGINE_WRITE;
	if (access == ENGINE_READ) /* a page in the dirty log must ask again when it is written */
		may_write = w.write_ok && !(s->flags & (EMU_MEM_READONLY | EMU_MEM_LOG_DIRTY));
	if (!code_fill(v, s, w.gpa, access, may_write, perms))
		return refuse(v, REFUSED_CODE, s, w.gpa);
	if (access == ENGINE_WRITE)
		slot_mark_dirty(s, w.gpa);
	*host = slot_host(s, w.gpa);
	return true;
}

/* ------------------------------------------------------------------ the engine asks: blocks */

/*
 * Translating some instructions (x87 on ST(i), vector ones with an immediate, AAM), the engine loses one or
 * two of the 512 temporaries that a block has, 36 of which are in use; it does not look whether there are
 * any left, and 476 such instructions in a row crash it. So a block is cut before that, those not of
 * the integer kind counted as several.
 */
#define SCAN_TEMPORARIES 400
#define SCAN_LEAKY       4

static bool insn_is_leaky(const struct insn *i)
{
	unsigned o = i->opcode;

	switch (i->map) {
	case MAP_ONE:
		return (o & 0xf8) == 0xd8; /* x87 */
	case MAP_0F:                       /* MMX and SSE, SDM vol. 2, table A-3 */
		return (o >= 0x10 && o <= 0x17) || (o >= 0x28 && o <= 0x2f) ||
		       (o >= 0x50 && o <= 0x7f) || o == 0xc2 || (o >= 0xc4 && o <= 0xc6) ||
		       o >= 0xd0;
	default:
		return true;
	}
}

static unsigned cut_place(uint64_t linear)
{
	return (unsigned)(linear ^ linear >> 6) % CUT_BLOCKS;
}

bool block_was_cut(const struct emu_vm *vm, uint64_t linear)
{
	return vm->cut[cut_place(linear)] == linear;
}

/* Code bytes for the scan: the page that is being read. */
struct scan_page {
	uint64_t linear; /* page-aligned; 1: none */
	unsigned
		not_with; /* WALK_NO_BUS_LOCK: the page is not there if its fetch takes a bus lock */
	const uint8_t *host;
	const struct slot *slot;
	uint64_t gpa;
};

static bool scan_open(struct emu_vcpu *v, uint64_t linear, struct scan_page *p)
{
	struct walk w;
	const struct cpu *c = &v->cpu;
	uint64_t page = linear & PAGE_MASK;
	if (p->linear == page)
		return p->host;
	p->linear = page;
	p->host = NULL;
	if (page_walk(v, page,
		      WALK_FETCH | WALK_NO_SIDE_EFFECTS | p->not_with |
			      (c->cpl == 3 ? WALK_USER : 0),
		      &w))
		return false;
	if (!w.executable || (c->cpl == 3 && !w.user) ||
	    (c->cpl != 3 && w.user && c->cr4 & CR4_SMEP))
		return false;
	p->slot = slot_find(v->vm, w.gpa);
	if (!p->slot || page_flags_get(slot_page_flags(p->slot, w.gpa)) & PAGE_GONE)
		return false;
	p->gpa = w.gpa;
	p->host = slot_host(p->slot, w.gpa);
	return true;
}

/* Up to 15 bytes at `linear`, also across a page; how many there are. */
static size_t scan_bytes(struct emu_vcpu *v, uint64_t linear, struct scan_page *first,
			 struct scan_page *second, uint8_t bytes[INSN_MAX_LENGTH])
{
	if (!scan_open(v, linear, first))
		return 0;
	unsigned at = (unsigned)(linear & ~PAGE_MASK), room = (unsigned)PAGE_SIZE - at;
	if (room >= INSN_MAX_LENGTH) {
		memcpy(bytes, first->host + at, INSN_MAX_LENGTH);
		return INSN_MAX_LENGTH;
	}
	memcpy(bytes, first->host + at, room);
	if (!scan_open(v, linear + room, second))
		return room;
	memcpy(bytes + room, second->host, INSN_MAX_LENGTH - room);
	return INSN_MAX_LENGTH;
}

static void scanned(const struct scan_page *p, uint64_t from, uint64_t to)
{
	if (!p->host || p->linear == 1)
		return;
	uint64_t end = p->linear + PAGE_SIZE;
	uint64_t low = from > p->linear ? from : p->linear, high = to < end ? to : end;
	if (low < high)
		code_scanned(p->slot, p->gpa + (low - p->linear), (unsigned)(high - low));
}

static bool scan(void *opaque, uint64_t pc, unsigned mode, uint64_t *stop)
{
	struct emu_vm *vm = opaque;
	struct emu_vcpu *v = vm->loaded;
	const struct cpu *c = &v->cpu;
	const uint64_t *dr = breakpoints(v);
	/* The instruction that first fetches from such a page has its exit right behind it: alone. */
	struct scan_page first = { .linear = 1, .not_with = WALK_NO_BUS_LOCK }, second = first;
	uint64_t at = pc,
		 limit = mode == 64 ? ~0ull : c->segment[EMU_CS].base + c->segment[EMU_CS].limit;
	bool special = false;
	unsigned temporaries = 0;
	while (at - pc < PAGE_SIZE) {
		uint8_t bytes[INSN_MAX_LENGTH];
		struct insn i;
		if (temporaries > SCAN_TEMPORARIES) {
			vm->cut[cut_place(at)] = at;
			special = true;
			break;
		}
		if (second.linear == (at & PAGE_MASK) && first.linear != second.linear) {
			scanned(&first, pc, at);
			first = second;
			second.linear = 1;
		}
		size_t got = scan_bytes(v, at, &first, &second, bytes);
		/* bytes that cannot be had, too long, beyond the limit: its fault is raised at the stub */
		special = !got || insn_decode(&i, bytes, got, mode) ||
			  (insn_is_special(v, &i) && !engine_tries(v, &i)) ||
			  at + i.length - 1 > limit || (dr[7] & 0xff && breakpoint_at(dr, at) >= 0);
		if (special)
			break;
		at += i.length;
		temporaries += insn_is_leaky(&i) ? SCAN_LEAKY : 1;
		if (i.op == OP_BRANCH || i.op == OP_STI) /* the engine ends a block there */
			break;
	}
	scanned(&first, pc, at + INSN_MAX_LENGTH);
	scanned(&second, pc, at + INSN_MAX_LENGTH);
	*stop = at;
	return special;
}

int insn_peek(struct emu_vcpu *v, uint64_t linear, unsigned mode, struct insn *i)
{
	struct scan_page first = { .linear = 1 }, second = first;
	uint8_t bytes[INSN_MAX_LENGTH];
	size_t got = scan_bytes(v, linear, &first, &second, bytes);

	return got ? insn_decode(i, bytes, got, mode) : -EFAULT;
}

void vcpu_forget_code(struct emu_vcpu *v, uint64_t linear)
{
	struct scan_page page = { .linear = 1 };
	if (scan_open(v, linear, &page))
		code_drop(v, page.slot, page.gpa);
	engine_drop_all(v->vm->engine);
	vcpu_flush(v);
}

const uint8_t *code_host_page(struct emu_vcpu *v, uint64_t linear)
{
	struct scan_page page = { .linear = 1 };
	return scan_open(v, linear, &page) ? page.host : NULL;
}

/* ------------------------------------------------------------------ the engine asks: locks, STI */

/* The operand, if the locked access is no bus lock and nothing else can come of it but its result. */
static void *lock(void *opaque, uint64_t linear, unsigned size, bool ac)
{
	struct emu_vm *vm = opaque;
	struct emu_vcpu *v = vm->loaded;
	struct access_page page;

	if (breakpoints(v)[7] & 0xff)
		return NULL;
	v->cpu.rflags = (v->cpu.rflags & ~(uint64_t)FL_AC) | (ac ? FL_AC : 0);
	/* what crosses a page crosses a line, too */
	if (!access_running(v, linear, &page) || lock_cause(v, linear, size, page.types.effective))
		return NULL;
	slot_mark_dirty(page.slot, page.gpa);
	v->stats.locked++;
	v->stats.guest_non_wb += page.types.guest != EMU_MT_WB;
	return page.host;
}

/* Nothing waits for interrupts to be possible. */
static bool sti(void *opaque)
{
	struct emu_vm *vm = opaque;

	return !events_wait(vm->loaded);
}

/* ------------------------------------------------------------------ counting (--count) */

#define COUNTED_BLOCKS 4096
struct counted_block {
	uint64_t pc;
	uint32_t size, epoch, count;
};

static unsigned count_insns(struct emu_vcpu *v, uint64_t pc, uint64_t end, unsigned mode)
{
	struct scan_page first = { .linear = 1 }, second = { .linear = 1 };
	unsigned count = 0;
	while (pc < end) {
		uint8_t bytes[INSN_MAX_LENGTH];
		struct insn i;
		if (second.linear == (pc & PAGE_MASK)) {
			first = second;
			second.linear = 1;
		}
		size_t got = scan_bytes(v, pc, &first, &second, bytes);
		if (!got || insn_decode(&i, bytes, got, mode))
			break;
		count++;
		pc += i.length;
	}
	return count;
}

static bool block(void *opaque, uint64_t pc, uint32_t size)
{
	struct emu_vm *vm = opaque;
	struct emu_vcpu *v = vm->loaded;
	struct counted_block *b = &vm->counted[(pc ^ pc >> 12) % COUNTED_BLOCKS];
	if (limit_reached(v))
		return false;
	if (b->pc != pc || b->size != size || b->epoch != vm->epoch || !b->count) {
		b->pc = pc, b->size = size, b->epoch = vm->epoch;
		b->count = count_insns(v, pc, pc + size, code_mode(&v->cpu));
	}
	v->stats.instructions += b->count;
	vm->last_block_pc = pc;
	vm->last_block_size = size;
	return true;
}

/* The block was left at RIP, in its middle: what is behind it did not run. */
void uncount(struct emu_vcpu *v)
{
	struct emu_vm *vm = v->vm;
	uint64_t rip = linear_rip(&v->cpu), end = vm->last_block_pc + vm->last_block_size;
	if (!vm->counted || rip < vm->last_block_pc || rip >= end)
		return;
	v->stats.instructions -= count_insns(v, rip, end, code_mode(&v->cpu));
}

int run_engine_create(struct emu_vm *vm)
{
	struct engine_callbacks callbacks = {
		.fill = fill, .scan = scan, .lock = lock, .sti = sti, .opaque = vm
	};
	if (vm->config.count) {
		vm->counted = calloc(COUNTED_BLOCKS, sizeof(*vm->counted));
		if (!vm->counted)
			return -ENOMEM;
		callbacks.block = block;
	}
	return engine_create(&vm->engine, &callbacks);
}
