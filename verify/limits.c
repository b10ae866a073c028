// SPDX-License-Identifier: GPL-2.0-only
#include "verify/limits.h"

#include "verify/flags.h"

#define DIRECTION 0x400u /* RFLAGS.DF */

#include <stddef.h>
#include <string.h>

static bool is(const struct insn *insn, unsigned map, unsigned first, unsigned last)
{
	return insn->map == map && insn->opcode >= first && insn->opcode <= last;
}

static bool interpreted(const struct moment *m)
{
	return !m->mode->native;
}

static bool is_vector(const struct insn *insn)
{
	return insn->flags & INSN_SSE;
}

/* The explicit operand's linear address; only where registers are known. */
static uint64_t operand(const struct moment *m)
{
	return insn_effective_address(m->insn, m->regs) + m->regs->seg_base[m->insn->seg];
}

static bool stores(const struct insn *insn)
{
	return insn->flags & INSN_MEM && insn->mem_access & INSN_WRITE;
}

/* ------------------------------------------------------------------ neither side can be asked */

static bool by_nature(const struct moment *m)
{
	switch (m->insn->op) {
	case OP_CPUID:
	case OP_RDTSC:
	case OP_RDTSCP:
	case OP_RDPMC:
	case OP_RDPID:
	case OP_PAUSE:
		return true;
	default: /* RDRAND, RDSEED */
		return is(m->insn, MAP_0F, 0xc7, 0xc7) && !(m->insn->flags & INSN_MEM);
	}
}

static bool bswap16(const struct moment *m)
{
	return is(m->insn, MAP_0F, 0xc8, 0xcf) && m->insn->opsize == 2;
}

static bool approximation(const struct moment *m)
{
	return is_vector(m->insn) && is(m->insn, MAP_0F, 0x52, 0x53);
}

static bool movsxd16(const struct moment *m)
{
	return m->mode->code == 64 && is(m->insn, MAP_ONE, 0x63, 0x63) && m->insn->opsize == 2;
}

static bool cmp_reserved(const struct moment *m)
{
	return is_vector(m->insn) && is(m->insn, MAP_0F, 0xc2, 0xc2) && m->regs && m->insn->imm > 7;
}

/* A string instruction that overwrites itself: how many iterations the old bytes still make. */
static bool overwrites_itself(const struct moment *m)
{
	struct insn_access access[INSN_MAX_ACCESSES];
	uint64_t code, mask, span;
	int n;

	if (!m->regs || !(m->insn->flags & (INSN_REP | INSN_REPNE)))
		return false;
	code = m->regs->rip + m->regs->seg_base[SEG_CS];
	mask = m->insn->addrsize == 8 ? UINT64_MAX : (1ull << m->insn->addrsize * 8) - 1;
	span = (m->regs->gpr[1] & mask) * m->insn->opsize;
	n = insn_accesses(m->insn, m->regs, access);
	for (int i = 0; i < n; i++) {
		uint64_t first = access[i].linear, last = first + span;

		if (m->regs->rflags & DIRECTION)
			first -= span < first ? span : first,
				last = access[i].linear + access[i].size;
		/* the segment's end wraps, and the code may be behind it */
		if (access[i].access & INSN_WRITE &&
		    ((first < code + m->insn->length && code < last) ||
		     (m->insn->addrsize == 2 && span > 0x4000)))
			return true;
	}
	return false;
}

/* BSF and BSR leave the destination undefined then (SDM vol. 2). */
static bool scans_zero(const struct moment *m)
{
	uint64_t value = 0,
		 mask = m->insn->opsize == 8 ? UINT64_MAX : (1ull << m->insn->opsize * 8) - 1;

	if (!m->regs || !is(m->insn, MAP_0F, 0xbc, 0xbd) || m->insn->flags & INSN_REP)
		return false;
	if (!(m->insn->flags & INSN_MEM))
		value = m->regs->gpr[m->insn->rm];
	else if (operand(m) < MODE_RAM - 8)
		memcpy(&value, m->ram + operand(m), 8);
	return !(value & mask);
}

static bool masked_store(const struct moment *m)
{
	return is_vector(m->insn) && is(m->insn, MAP_0F, 0xf7, 0xf7);
}

static bool long_access(const struct moment *m)
{
	return m->insn->mem_size == 255;
}

static bool compare_reserved(const struct moment *m)
{
	return is(m->insn, MAP_0F3A, 0x60, 0x63) && m->regs && m->insn->imm & 0x80;
}

static bool canonical(uint64_t linear)
{
	return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}

static bool segment_prefix(const struct moment *m)
{
	bool string = m->insn->op >= OP_MOVS && m->insn->op <= OP_SCAS;
	uint64_t at;

	if (m->mode->code != 64 || !m->regs || !(string || m->insn->flags & INSN_MEM))
		return false;
	at = string ? m->regs->gpr[6] : operand(m);
	for (unsigned i = 0; i < m->insn->length && i < 4; i++)
		if ((m->insn->bytes[i] & 0xe7) == 0x26)
			return !canonical(at);
	return false;
}

/* May the guest go there? As mode.c makes the page tables. */
static bool reachable(const struct mode *mode, uint64_t linear, bool write)
{
	uint64_t page = linear & ~0xfffull;

	if (page == MODE_MMIO)
		return true;
	if (page >= MODE_RAM || (page == MODE_READONLY && write) || page == MODE_ABSENT)
		return false;
	if (page < MODE_STACK)
		return !mode->cpl && (page < MODE_TABLES || page >= MODE_TABLES + 0x4000);
	return true;
}

/* How many of the instruction's accesses fault; `second`: stores, on their second page only. */
static int faults(const struct moment *m, bool second, int *count)
{
	struct insn_access access[INSN_MAX_ACCESSES];
	int n = 0;

	*count = 0;
	if (!m->regs)
		return 0;
	*count = insn_accesses(m->insn, m->regs, access);
	for (int i = 0; i < *count && !m->mode->protected; i++)
		n += access[i].offset + access[i].size > 0x10000; /* limits are the only faults */
	if (!m->mode->paging)
		return n;
	for (int i = 0; i < *count; i++) {
		bool write = access[i].access & INSN_WRITE;
		uint64_t last = access[i].linear + access[i].size - 1;

		/* Linux reads ahead for INS, and stores all of it at once */
		if (m->insn->op == OP_INS && m->insn->flags & (INSN_REP | INSN_REPNE))
			last += 1024;
		if (second)
			n += write && (access[i].linear ^ last) & ~0xfffull &&
			     !reachable(m->mode, last, true);
		else
			n += !reachable(m->mode, access[i].linear, write) ||
			     !reachable(m->mode, last, write);
	}
	return n;
}

/* Two operands that both fault: which is first is not in the manual. */
static bool compare_faults(const struct moment *m)
{
	int count;

	return m->insn->op == OP_CMPS && faults(m, false, &count) == 2;
}

static bool nested_enter(const struct moment *m)
{
	return is(m->insn, MAP_ONE, 0xc8, 0xc8) && m->insn->imm2 & 31;
}

static bool repeated_compare_faults(const struct moment *m)
{
	int count;

	return (m->insn->op == OP_CMPS || m->insn->op == OP_SCAS) &&
	       m->insn->flags & (INSN_REP | INSN_REPNE) && faults(m, false, &count) > 0;
}

/* ------------------------------------------------------------------ the device cannot */

static bool partial_store(const struct moment *m)
{
	int count;

	return interpreted(m) && faults(m, true, &count) > 0;
}

static bool selector_store(const struct moment *m)
{
	if (m->insn->op == OP_MOV_FROM_SEG)
		return m->mode->native || (m->insn->flags & INSN_MEM && m->insn->opsize == 8);
	return m->insn->op == OP_PUSH_SEG && m->mode->native;
}

static bool string_io(const struct moment *m)
{
	return m->mode->native && (m->insn->op == OP_INS || m->insn->op == OP_OUTS);
}

static bool unknown_on_device_memory(const struct moment *m)
{
	return m->mode->native && m->regs && m->insn->flags & INSN_MEM &&
	       (!(m->insn->flags & INSN_KVM_EMULATES) || m->insn->map == MAP_0F38) &&
	       operand(m) + insn_mem_bytes(m->insn) > MODE_RAM && operand(m) < MODE_MMIO + 0x1000;
}

static bool stack_not_canonical(const struct moment *m)
{
	return m->mode->native && m->regs && m->regs->gpr[4] >> 47;
}

/* Exceptions push there. */
static bool stack_outside(const struct moment *m)
{
	uint64_t top;

	if (!m->regs || m->mode->paging)
		return false;
	if (m->regs->stack_size == 2 && m->regs->gpr[4] >> 16)
		return true;
	top = m->regs->gpr[4] & (m->regs->stack_size == 2 ? 0xffff : 0xffffffff);
	return top < 64 || top + m->regs->seg_base[SEG_SS] >= MODE_RAM;
}

static bool native_vector_gp(const struct moment *m)
{
	return m->mode->native && m->regs && is_vector(m->insn) && m->insn->flags & INSN_MEM &&
	       !canonical(operand(m));
}

static bool int_n(const struct moment *m)
{
	switch (m->insn->op) {
	case OP_INT:
	case OP_INT3:
	case OP_INTO:
		return m->mode->protected || m->insn->flags & INSN_OPSIZE;
	case OP_IRET:
		return m->mode->protected;
	default:
		return false;
	}
}

static bool far_transfer(const struct moment *m)
{
	return m->mode->protected && interpreted(m) && m->insn->op >= OP_JMP_FAR &&
	       m->insn->op <= OP_RET_FAR;
}

static bool high_vector(const struct moment *m)
{
	return m->insn->op == OP_INT && m->insn->imm >= 0x80;
}

static bool not_interpreted(const struct moment *m)
{
	return interpreted(m) && m->insn->op != OP_UD && !(m->insn->flags & INSN_KVM_EMULATES);
}

static bool interpreted_vector(const struct moment *m)
{
	return interpreted(m) && m->insn->op != OP_UD && is_vector(m->insn);
}

static bool ascii_adjust(const struct moment *m)
{
	return interpreted(m) && is(m->insn, MAP_ONE, 0xd4, 0xd5) && m->regs;
}

static bool movbe(const struct moment *m)
{
	return interpreted(m) && m->insn->map == MAP_0F38;
}

static bool enter_size(const struct moment *m)
{
	if (!interpreted(m) || !is(m->insn, MAP_ONE, 0xc8, 0xc8))
		return false;
	return m->insn->opsize != m->mode->code / 8;
}

static bool ud_with_base(const struct moment *m)
{
	return interpreted(m) && m->insn->op == OP_UD && m->regs && m->regs->seg_base[SEG_CS];
}

static bool nonexistent(const struct moment *m)
{
	return interpreted(m) && m->insn->op == OP_UD && m->regs &&
	       !is(m->insn, MAP_0F, 0x0b, 0x0b);
}

static bool system_store(const struct moment *m)
{
	return m->regs && m->insn->op >= OP_LGDT && m->insn->op <= OP_STR;
}

static bool int1(const struct moment *m)
{
	return m->insn->op == OP_INT1;
}

/* POPF of more than status flags and DF, which only wild code does. */
static bool popf(const struct moment *m)
{
	uint64_t at;
	uint16_t image;

	if (m->insn->op != OP_POPF || !m->regs)
		return false;
	at = (m->regs->gpr[4] & (m->regs->stack_size == 2 ? 0xffff : UINT64_MAX)) +
	     m->regs->seg_base[SEG_SS];
	if (at >= MODE_RAM - 8)
		return true;
	memcpy(&image, m->ram + at, 2);
	return image & ~(FLAGS_STATUS | DIRECTION | 0x202);
}

static bool cmpxchg_register(const struct moment *m)
{
	return interpreted(m) && m->insn->op == OP_CMPXCHG && !(m->insn->flags & INSN_MEM) &&
	       m->mode->code == 64 && m->insn->opsize == 4;
}

static bool upper_half(const struct moment *m)
{
	struct insn_access access[INSN_MAX_ACCESSES];
	int n;

	if (!m->mode->native || !m->regs)
		return false;
	n = insn_accesses(m->insn, m->regs, access);
	for (int i = 0; i < n; i++)
		if (access[i].linear >> 47)
			return true;
	return false;
}

/* ------------------------------------------------------------------ the engine cannot */

static bool not_in_cpuid(const struct moment *m)
{
	return is(m->insn, MAP_0F38, 0xc8, 0xcd) || is(m->insn, MAP_0F3A, 0xcc, 0xcc) ||
	       is(m->insn, MAP_0F38, 0xcf, 0xcf) || is(m->insn, MAP_0F3A, 0xce, 0xcf);
}

static bool mxcsr(const struct moment *m)
{
	return is(m->insn, MAP_0F, 0xae, 0xae) && m->insn->flags & INSN_MEM &&
	       (m->insn->modrm >> 4 & 3) == 1;
}

static bool mmx_with_rex(const struct moment *m)
{
	return is_vector(m->insn) && (m->insn->map == MAP_0F38 || m->insn->map == MAP_0F3A) &&
	       m->insn->rex & 5 && !(m->insn->flags & (INSN_OPSIZE | INSN_REP | INSN_REPNE));
}

/* PHADDW … PHSUBSW of an MMX register with itself, which the engine does in place. */
static bool horizontal_same(const struct moment *m)
{
	return m->regs && m->insn->map == MAP_0F38 && m->insn->opcode >= 1 &&
	       m->insn->opcode <= 7 && m->insn->opcode != 4 &&
	       !(m->insn->flags & (INSN_MEM | INSN_OPSIZE)) && m->insn->reg == m->insn->rm;
}

static bool dot_product(const struct moment *m)
{
	return is(m->insn, MAP_0F3A, 0x40, 0x41) && is_vector(m->insn);
}

static bool narrow_vector(const struct moment *m)
{
	return m->regs && is_vector(m->insn) && m->insn->flags & INSN_MEM &&
	       m->insn->mem_size < 16 && (operand(m) & 0xfff) + 16 > 0x1000;
}

static bool enter16(const struct moment *m)
{
	return m->mode->code == 64 && is(m->insn, MAP_ONE, 0xc8, 0xc8) && m->insn->opsize == 2;
}

/* A near branch through a register or memory, or back, to where there can be no code. */
static bool branch_not_canonical(const struct moment *m)
{
	uint64_t at, target = 0;

	if (m->mode->code != 64 || !m->regs || m->insn->op != OP_BRANCH)
		return false;
	if (m->insn->opcode == 0xff && !(m->insn->flags & INSN_MEM))
		return !canonical(m->regs->gpr[m->insn->rm]);
	if (m->insn->opcode != 0xff && (m->insn->opcode & 0xfe) != 0xc2)
		return false;
	at = m->insn->opcode == 0xff ? operand(m) : m->regs->gpr[4];
	if (at >= MODE_RAM - 8)
		return false;
	memcpy(&target, m->ram + at, 8);
	return !canonical(target);
}

static bool x87(const struct moment *m)
{
	return is(m->insn, MAP_ONE, 0xd8, 0xdf) || is(m->insn, MAP_ONE, 0x9b, 0x9b);
}

static bool misaligned_vector(const struct moment *m)
{
	return m->regs && is_vector(m->insn) && m->insn->flags & INSN_MEM &&
	       m->insn->mem_size == 16 && operand(m) & 15;
}

static bool segment_load(const struct moment *m)
{
	return m->mode->protected && m->regs &&
	       (m->insn->op == OP_LOAD_FAR || m->insn->op == OP_MOV_TO_SEG ||
		m->insn->op == OP_POP_SEG);
}

static bool modify_straddling(const struct moment *m)
{
	return m->mode->paging && m->regs && m->insn->flags & INSN_MEM &&
	       m->insn->mem_access == (INSN_READ | INSN_WRITE) &&
	       (operand(m) & ~0xfffull) == MODE_READONLY &&
	       operand(m) + insn_mem_bytes(m->insn) > MODE_ABSENT;
}

static bool equal_ordered(const struct moment *m)
{
	return is(m->insn, MAP_0F3A, 0x60, 0x63) && m->regs && (m->insn->imm & 0xc) == 0xc;
}

static bool beyond_limit(const struct moment *m)
{
	return !m->mode->protected && m->regs && m->insn->flags & INSN_MEM &&
	       insn_effective_address(m->insn, m->regs) + insn_mem_bytes(m->insn) > 0x10000;
}

static bool store_to_code_segment(const struct moment *m)
{
	return m->mode->protected && m->mode->code != 64 && m->regs && stores(m->insn) &&
	       m->insn->seg == SEG_CS;
}

static bool string_io_to_device(const struct moment *m)
{
	struct insn_access access[INSN_MAX_ACCESSES];
	uint64_t span = 0;
	int n;

	if (!m->regs || (m->insn->op != OP_INS && m->insn->op != OP_OUTS))
		return false;
	if (m->insn->flags & (INSN_REP | INSN_REPNE))
		span = (m->regs->gpr[1] & 0xffff) * m->insn->opsize;
	n = insn_accesses(m->insn, m->regs, access);
	for (int i = 0; i < n; i++)
		if (access[i].linear + access[i].size + span > MODE_RAM)
			return true;
	return false;
}

static bool nobody(const struct moment *m)
{
	(void)m;
	return false;
}

const struct limit limits[] = {
	/* LIMIT_FETCH: the path knows */
	{ LIMIT_NEITHER, "code outside memory", "an instruction over the end of memory", nobody },
	{ LIMIT_NEITHER, "CPUID, RDTSC, RDRAND, RDPID, PAUSE", "time, chance, identity",
	  by_nature },
	{ LIMIT_NEITHER, "BSWAP of 16 bits", "undefined (SDM vol. 2, BSWAP)", bswap16 },
	{ LIMIT_NEITHER, "RCPPS, RSQRTPS", "approximations (SDM vol. 2, RCPPS)", approximation },
	{ LIMIT_NEITHER, "MOVSXD of 16 bits",
	  "two bytes by the manual (SDM vol. 2, MOVSXD), four for Linux and AMD", movsxd16 },
	{ LIMIT_NEITHER, "CMPPS with a predicate above 7", "reserved bits (SDM vol. 2, CMPPS)",
	  cmp_reserved },
	{ LIMIT_NEITHER, "REP that overwrites itself",
	  "when new code is seen is nobody's promise within one instruction (SDM vol. 3, 10.1.3)",
	  overwrites_itself },
	{ LIMIT_NEITHER, "BSF, BSR of zero", "an undefined destination (SDM vol. 2)", scans_zero },
	{ LIMIT_NEITHER, "MASKMOVQ, MASKMOVDQU",
	  "faults of bytes that are not stored depend on the implementation (SDM vol. 2)",
	  masked_store },
	{ LIMIT_NEITHER, "FXSAVE, XSAVE and the like",
	  "which byte of a long operand faults first is not said", long_access },
	{ LIMIT_NEITHER, "PCMPESTRM and the like with bit 7 of the immediate",
	  "reserved (SDM vol. 2, 4.1)", compare_reserved },
	{ LIMIT_NEITHER, "non-canonical addresses with a segment prefix in 64-bit mode",
	  "the device has #SS or #GP by the prefix, which is ignored (SDM vol. 1, 3.4.4)",
	  segment_prefix },
	{ LIMIT_NEITHER, "CMPS with two operands that fault", "no order is promised",
	  compare_faults },
	{ LIMIT_NEITHER, "faults in repeated CMPS and SCAS",
	  "RFLAGS are those in front (SDM vol. 2, REP; Linux) or of the last iteration (Ice Lake)",
	  repeated_compare_faults },
	{ LIMIT_NEITHER, "ENTER with nesting levels",
	  "which of its accesses faults first is not said", nested_enter },
	{ LIMIT_DEVICE, "stores that fault on their second page, interpreted",
	  "Linux's emulator has stored the first part by then", partial_store },
	{ LIMIT_DEVICE, "selectors in memory or registers",
	  "native: those of the host; interpreted with REX.W: eight bytes instead of two",
	  selector_store },
	{ LIMIT_DEVICE, "INS and OUTS at CPL 3, native", "#UD instead of #GP", string_io },
	{ LIMIT_DEVICE, "MMIO by what Linux's emulator does not know, CPL 3",
	  "KVM_EXIT_INTERNAL_ERROR where Linux has #UD (handle_emulation_failure())",
	  unknown_on_device_memory },
	{ LIMIT_DEVICE,
	  "SP outside memory, or the upper half of ESP in 16-bit code, without paging",
	  "exceptions: all of ESP counts, and a device there is a triple fault", stack_outside },
	{ LIMIT_DEVICE, "RSP outside the lower half, native",
	  "this software KVM interprets from there on", stack_not_canonical },
	{ LIMIT_DEVICE, "#GP of vector instructions, native",
	  "this software KVM interprets them then, in vain: #UD", native_vector_gp },
	{ LIMIT_DEVICE, "INT n, INT3, INTO, IRET outside real mode, or with 66",
	  "Linux's emulator has them for real mode only (emulate_int(), em_iret())", int_n },
	{ LIMIT_DEVICE, "INT 80h and above",
	  "this software KVM does not come back from them (seen at 80h and F4h)", high_vector },
	{ LIMIT_DEVICE, "far transfers outside real mode",
	  "KVM_EXIT_INTERNAL_ERROR for gates, and other checks (load_segment_descriptor())",
	  far_transfer },
	{ LIMIT_DEVICE, "what Linux's emulator does not know", "no row in emulate.c",
	  not_interpreted },
	{ LIMIT_DEVICE, "x87, MMX, SSE where Linux interprets", "it moves data at best",
	  interpreted_vector },
	{ LIMIT_DEVICE, "AAM, AAD", "em_aad() has the flags of more than AL", ascii_adjust },
	{ LIMIT_DEVICE, "MOVBE where Linux interprets", "#UD without the feature in CPUID", movbe },
	{ LIMIT_DEVICE, "ENTER of another size than the stack's",
	  "em_enter() pushes by the stack's size", enter_size },
	{ LIMIT_DEVICE, "#UD with a code segment base",
	  "this software KVM looks for the bytes without the base", ud_with_base },
	{ LIMIT_DEVICE, "what no processor has, at CPL 0",
	  "KVM_EXIT_INTERNAL_ERROR instead of #UD (handle_emulation_failure())", nonexistent },
	{ LIMIT_DEVICE, "POPF of TF, IOPL, NT", "IOPL is not kept, single steps are lost", popf },
	{ LIMIT_DEVICE, "INT1", "a fault instead of a trap", int1 },
	{ LIMIT_DEVICE, "LGDT, SGDT, SLDT, STR and the like",
	  "Linux's emulator reads what it is going to store to", system_store },
	{ LIMIT_DEVICE, "CMPXCHG of 32-bit registers",
	  "writes the destination, and so clears its upper half, when it compares unequal",
	  cmpxchg_register },
	{ LIMIT_DEVICE, "addresses in the upper half at CPL 3",
	  "this software KVM's own: #UD instead of #PF", upper_half },
	{ LIMIT_EMULATOR, "SHA, GFNI", "not in the CPUID that is offered", not_in_cpuid },
	{ LIMIT_EMULATOR, "LDMXCSR, STMXCSR",
	  "the engine takes reserved bits without #GP and does not keep exception flags", mxcsr },
	{ LIMIT_EMULATOR, "MMX of map 0F38 with REX.R or REX.B",
	  "refused with KVM_EXIT_INTERNAL_ERROR (emu/gaps.c)", mmx_with_rex },
	{ LIMIT_EMULATOR, "PHADD and PHSUB of an MMX register with itself",
	  "the engine reads what it has already written", horizontal_same },
	{ LIMIT_EMULATOR, "DPPS, DPPD", "the engine's sum begins with +0", dot_product },
	{ LIMIT_EMULATOR, "vector operands of less than 16 bytes at the end of a page",
	  "the engine reads 16 bytes for some (CVTPS2PD, ROUNDSS)", narrow_vector },
	{ LIMIT_EMULATOR, "ENTER of 16 bits in 64-bit mode", "the engine sets all of RBP",
	  enter16 },
	{ LIMIT_EMULATOR, "near branches to non-canonical addresses",
	  "the engine faults at the target, Intel's parts at the branch", branch_not_canonical },
	{ LIMIT_EMULATOR, "x87", "last instruction pointers, precision of transcendentals", x87 },
	{ LIMIT_EMULATOR, "misaligned SSE operands", "the engine does not raise #GP",
	  misaligned_vector },
	{ LIMIT_EMULATOR, "PCMPESTRM and the like, equal ordered",
	  "the engine compares beyond the end", equal_ordered },
	{ LIMIT_EMULATOR, "segments loaded in protected mode",
	  "the engine lets a null selector and a limit pass", segment_load },
	{ LIMIT_EMULATOR, "read-modify-write over a read-only and an absent page",
	  "the engine reads first, and so faults on the second", modify_straddling },
	{ LIMIT_EMULATOR, "accesses beyond a segment's limit", "the engine does not look at limits",
	  beyond_limit },
	{ LIMIT_EMULATOR, "stores through CS in protected mode",
	  "the engine does not look at segment types; Linux reads before it looks",
	  store_to_code_segment },
	{ LIMIT_EMULATOR, "INS and OUTS with a device's memory", "two devices in one instruction",
	  string_io_to_device },
};
const unsigned limits_count = sizeof(limits) / sizeof(limits[0]);

const struct limit *limit_find(const struct moment *moment)
{
	for (unsigned i = 0; i < limits_count; i++)
		if (limits[i].applies(moment))
			return &limits[i];
	return NULL;
}
