/* SPDX-License-Identifier: GPL-2.0-only */
#include "emu/insn.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "emu/insn_bits.h"
#include "emu/insn_tables.h"

enum { REG_BX = 3, REG_SP = 4, REG_BP = 5, REG_SI = 6, REG_DI = 7 };

enum prefix_kind {
	NOT_PREFIX,
	P_ES,
	P_CS,
	P_SS,
	P_DS,
	P_FS,
	P_GS,
	P_REX,
	P_OPSIZE,
	P_ADDRSIZE,
	P_LOCK,
	P_REPNE,
	P_REP,
	P_VEX /* or LES, LDS, BOUND, POP */
};

static const uint8_t prefix_kinds[256] = {
	[0x26] = P_ES,    [0x2e] = P_CS,  [0x36] = P_SS,     [0x3e] = P_DS,       [0x64] = P_FS,
	[0x65] = P_GS,    [0x40] = P_REX, [0x41] = P_REX,    [0x42] = P_REX,      [0x43] = P_REX,
	[0x44] = P_REX,   [0x45] = P_REX, [0x46] = P_REX,    [0x47] = P_REX,      [0x48] = P_REX,
	[0x49] = P_REX,   [0x4a] = P_REX, [0x4b] = P_REX,    [0x4c] = P_REX,      [0x4d] = P_REX,
	[0x4e] = P_REX,   [0x4f] = P_REX, [0x66] = P_OPSIZE, [0x67] = P_ADDRSIZE, [0xf0] = P_LOCK,
	[0xf2] = P_REPNE, [0xf3] = P_REP, [0x62] = P_VEX,    [0x8f] = P_VEX,      [0xc4] = P_VEX,
	[0xc5] = P_VEX,
};

/* SDM vol. 2, LOCK: "can be prepended only to the following instructions …" */
static const bool lockable[OP_COUNT] = {
	[OP_ADD] = true,        [OP_ADC] = true,  [OP_AND] = true,     [OP_BTC] = true,
	[OP_BTR] = true,        [OP_BTS] = true,  [OP_CMPXCHG] = true, [OP_CMPXCHG8B] = true,
	[OP_CMPXCHG16B] = true, [OP_DEC] = true,  [OP_INC] = true,     [OP_NEG] = true,
	[OP_NOT] = true,        [OP_OR] = true,   [OP_SBB] = true,     [OP_SUB] = true,
	[OP_XOR] = true,        [OP_XADD] = true, [OP_XCHG] = true,
};

static const uint8_t mem_rule_sizes[] = {
	[MEM_B] = 1,   [MEM_W] = 2,   [MEM_D] = 4,   [MEM_Q] = 8,      [MEM_T] = 10,
	[MEM_DQ] = 16, [MEM_48] = 48, [MEM_64] = 64, [MEM_HUGE] = 255,
};

/* SDM vol. 2, table 2-1: base and index of 16-bit addressing, by ModRM.rm. */
static const struct {
	int8_t base, index;
} addressing16[8] = {
	{ REG_BX, REG_SI },      { REG_BX, REG_DI },      { REG_BP, REG_SI },
	{ REG_BP, REG_DI },      { REG_SI, INSN_NO_REG }, { REG_DI, INSN_NO_REG },
	{ REG_BP, INSN_NO_REG }, { REG_BX, INSN_NO_REG },
};

static const char *const op_names[OP_COUNT] = {
#define NAME(op) [OP_##op] = #op
	NAME(UD),           NAME(PLAIN),     NAME(BRANCH),   NAME(ADD),         NAME(OR),
	NAME(ADC),          NAME(SBB),       NAME(AND),      NAME(SUB),         NAME(XOR),
	NAME(CMP),          NAME(INC),       NAME(DEC),      NAME(NOT),         NAME(NEG),
	NAME(TEST),         NAME(BT),        NAME(BTS),      NAME(BTR),         NAME(BTC),
	NAME(XCHG),         NAME(XADD),      NAME(CMPXCHG),  NAME(CMPXCHG8B),   NAME(CMPXCHG16B),
	NAME(MOV),          NAME(MOVZX),     NAME(MOVSX),    NAME(MOVS),        NAME(STOS),
	NAME(LODS),         NAME(CMPS),      NAME(SCAS),     NAME(PUSH),        NAME(POP),
	NAME(NOP),          NAME(IN),        NAME(OUT),      NAME(INS),         NAME(OUTS),
	NAME(HLT),          NAME(CPUID),     NAME(RDMSR),    NAME(WRMSR),       NAME(RDTSC),
	NAME(RDTSCP),       NAME(RDPMC),     NAME(RDPID),    NAME(MOV_FROM_CR), NAME(MOV_TO_CR),
	NAME(MOV_FROM_DR),  NAME(MOV_TO_DR), NAME(CLTS),     NAME(LMSW),        NAME(SMSW),
	NAME(SYSCALL),      NAME(SYSRET),    NAME(SYSENTER), NAME(SYSEXIT),     NAME(INT),
	NAME(INT1),         NAME(INT3),      NAME(INTO),     NAME(IRET),        NAME(BOUND),
	NAME(CLI),          NAME(STI),       NAME(PUSHF),    NAME(POPF),        NAME(MOV_TO_SEG),
	NAME(MOV_FROM_SEG), NAME(POP_SEG),   NAME(PUSH_SEG), NAME(LOAD_FAR),    NAME(JMP_FAR),
	NAME(CALL_FAR),     NAME(RET_FAR),   NAME(LGDT),     NAME(LIDT),        NAME(SGDT),
	NAME(SIDT),         NAME(LLDT),      NAME(SLDT),     NAME(LTR),         NAME(STR),
	NAME(LAR),          NAME(LSL),       NAME(VERR),     NAME(VERW),        NAME(ARPL),
	NAME(INVLPG),       NAME(INVD),      NAME(WBINVD),   NAME(INVPCID),     NAME(MONITOR),
	NAME(MWAIT),        NAME(VMCALL),    NAME(VMMCALL),  NAME(RSM),         NAME(PAUSE),
	NAME(XGETBV),       NAME(XSETBV),    NAME(SWAPGS),   NAME(CLAC),        NAME(STAC),
	NAME(XSAVE),        NAME(XRSTOR),    NAME(VMX_SVM),  NAME(VEX),
#undef NAME
};

/*
 * Farthest that is read before the length is compared with what there is: 15 prefixes, three opcode
 * bytes, ModRM, SIB, displacement, immediate, and take() reading eight bytes at once. With as many
 * bytes at hand no single one needs a check.
 */
#define DECODE_WINDOW 48

struct decoder {
	struct insn *insn;
	const uint8_t *bytes; /* DECODE_WINDOW of them can be read */
	unsigned pos;
	unsigned column; /* of insn_by_prefix[] */
	uint8_t rex;     /* W R X B, from REX, VEX or EVEX */
};

static uint64_t take(struct decoder *d, unsigned size)
{
	uint64_t value;

	memcpy(&value, d->bytes + d->pos, sizeof(value));
	d->pos += size;
	return mask_bytes(le64toh(value), size);
}

static int64_t take_signed(struct decoder *d, unsigned size)
{
	return sign_extend(take(d, size), size);
}

/* Returns what kind of byte ended them: NOT_PREFIX, P_VEX, or P_REX outside 64-bit mode. */
static uint8_t decode_prefixes(struct decoder *d)
{
	struct insn *insn = d->insn;
	uint8_t kind;

	insn->seg = SEG_DS;
	while ((kind = prefix_kinds[d->bytes[d->pos]]) && d->pos < INSN_MAX_LENGTH) {
		if (kind == P_REX) {
			if (insn->mode != 64)
				break;
			insn->rex = d->bytes[d->pos++];
			continue;
		}
		if (kind == P_VEX)
			break;
		/* SDM vol. 2, 2.2.1: a REX that does not stand right before the opcode is ignored. */
		insn->rex = 0;
		switch (kind) {
		case P_ES:
		case P_CS:
		case P_SS:
		case P_DS:
			/* Null prefixes in 64-bit mode: they do not even cancel an FS or GS before. */
			if (insn->mode == 64)
				break;
			/* fall through */
		case P_FS:
		case P_GS:
			insn->seg = kind - P_ES + SEG_ES;
			insn->flags |= INSN_SEG_OVERRIDE;
			break;
		case P_OPSIZE:
			insn->flags |= INSN_OPSIZE;
			break;
		case P_ADDRSIZE:
			insn->flags |= INSN_ADDRSIZE;
			break;
		case P_LOCK:
			insn->flags |= INSN_LOCK;
			break;
		case P_REPNE:
			insn->flags |= INSN_REPNE;
			d->column = PREFIX_F2;
			break;
		case P_REP:
			insn->flags |= INSN_REP;
			d->column = PREFIX_F3;
			break;
		}
		d->pos++;
	}
	d->rex = insn->rex & 0xf;
	if (d->column == PREFIX_NONE && insn->flags & INSN_OPSIZE)
		d->column = PREFIX_66;
	if (insn->mode == 64)
		insn->addrsize = insn->flags & INSN_ADDRSIZE ? 4 : 8;
	else
		insn->addrsize = (insn->mode == 16) == !!(insn->flags & INSN_ADDRSIZE) ? 4 : 2;
	return kind;
}

static uint8_t operand_size(const struct decoder *d, uint32_t rule)
{
	const struct insn *insn = d->insn;
	bool override = insn->flags & INSN_OPSIZE;

	if (rule & BYTE)
		return 1;
	if (insn->mode != 64) {
		if (rule & FORCE32)
			return 4;
		return (insn->mode == 16) == override ? 4 : 2;
	}
	if (rule & FORCE64 || d->rex & 8)
		return 8;
	if (override)
		return 2;
	return rule & DEF64 ? 8 : 4;
}

/* Everything ModRM says: the operand registers or the address, displacement included. */
static void decode_modrm(struct decoder *d, bool always_registers)
{
	struct insn *insn = d->insn;
	uint8_t modrm = d->bytes[d->pos++];
	uint8_t mod = modrm >> 6, rm = modrm & 7;
	unsigned disp_size = mod == 1 ? 1 : mod == 2 ? 4 : 0;

	insn->flags |= INSN_MODRM;
	insn->modrm = modrm;
	insn->reg = (modrm >> 3 & 7) | (d->rex & 4) << 1;
	insn->rm = rm;
	if (mod == 3 || always_registers) {
		insn->rm |= (d->rex & 1) << 3;
		return;
	}
	insn->flags |= INSN_MEM;
	if (insn->addrsize == 2) {
		insn->base = addressing16[rm].base;
		insn->index = addressing16[rm].index;
		if (mod == 0 && rm == 6)
			insn->base = INSN_NO_REG;
		if (mod == 2 || (mod == 0 && rm == 6))
			disp_size = 2;
	} else {
		if (rm == 4) {
			uint8_t sib = d->bytes[d->pos++];

			insn->index = (sib >> 3 & 7) | (d->rex & 2) << 2;
			if (insn->index == REG_SP)
				insn->index = INSN_NO_REG;
			else
				insn->scale = 1 << (sib >> 6);
			rm = sib & 7;
			if (mod == 0 && rm == 5) {
				rm = 0xff;
				disp_size = 4;
			}
		} else if (mod == 0 && rm == 5) {
			rm = insn->mode == 64 ? INSN_REG_RIP : 0xff;
			disp_size = 4;
		}
		if (rm < 8)
			insn->base = rm | (d->rex & 1) << 3;
		else
			insn->base = rm == INSN_REG_RIP ? INSN_REG_RIP : INSN_NO_REG;
	}
	if (!(insn->flags & INSN_SEG_OVERRIDE) && (insn->base == REG_BP || insn->base == REG_SP))
		insn->seg = SEG_SS;
	if (disp_size)
		insn->disp = take_signed(d, disp_size);
}

/* Immediates in two parts, and moffs. */
static void decode_special_immediate(struct decoder *d, enum imm_rule rule)
{
	struct insn *insn = d->insn;
	unsigned first = 2, second = 1;

	if (rule == IMM_OB) {
		insn->disp = (int64_t)take(d, insn->addrsize);
		insn->flags |= INSN_MEM;
		return;
	}
	if (rule == IMM_AP) {
		first = insn->opsize == 2 ? 2 : 4;
		second = 2;
	} else if (rule == IMM_IB_IB) {
		first = 1;
	}
	insn->imm = take(d, first);
	insn->imm2 = (uint16_t)take(d, second);
	insn->imm_size = (uint8_t)(first + second);
	insn->flags |= INSN_IMM;
}

static void decode_immediate(struct decoder *d, enum imm_rule rule)
{
	/* by operand size 1, 2, 4, -, 8 */
	static const struct {
		uint8_t size[5];
		bool sign_extended[5];
	} rules[] = {
		[IMM_IB] = { { 1, 1, 1, 0, 1 }, { 0, 0, 0, 0, 0 } },
		[IMM_IBS] = { { 1, 1, 1, 0, 1 }, { 1, 1, 1, 0, 1 } },
		[IMM_IW] = { { 2, 2, 2, 0, 2 }, { 0, 0, 0, 0, 0 } },
		[IMM_IZ] = { { 1, 2, 4, 0, 4 }, { 0, 0, 0, 0, 1 } },
		[IMM_IV] = { { 1, 2, 4, 0, 8 }, { 0, 0, 0, 0, 0 } },
		[IMM_JB] = { { 1, 1, 1, 0, 1 }, { 1, 1, 1, 0, 1 } },
		[IMM_JZ] = { { 1, 2, 4, 0, 4 }, { 1, 1, 1, 0, 1 } },
	};
	struct insn *insn = d->insn;
	unsigned size, column = insn->opsize >> 1;
	uint64_t value;

	if (rule >= IMM_IN_PARTS) {
		decode_special_immediate(d, rule);
		return;
	}
	size = rules[rule].size[column];
	value = take(d, size);
	insn->imm = rules[rule].sign_extended[column] ? (uint64_t)sign_extend(value, size) : value;
	insn->imm_size = (uint8_t)size;
	insn->flags |= INSN_IMM;
}

static uint8_t memory_size(const struct decoder *d, enum mem_rule rule)
{
	const struct insn *insn = d->insn;

	if (rule <= MEM_LAST_FIXED)
		return mem_rule_sizes[rule];
	if (rule == MEM_V)
		return insn->opsize;
	switch (rule) {
	case MEM_Y:
		return d->rex & 8 ? 8 : 4;
	case MEM_P:
		return insn->opsize + 2;
	case MEM_A:
		return insn->opsize * 2;
	case MEM_S:
		return insn->mode == 64 ? 10 : 6;
	default: /* MEM_ENV */
		return insn->opsize == 2 ? 14 : 28;
	}
}

/* What depends on more than the table says. Returns the operation. */
static uint8_t fixup(struct decoder *d, uint8_t op, uint32_t *rule)
{
	struct insn *insn = d->insn;

	switch (op) {
	case OP_NOP: /* 90: XCHG r8,rAX with REX.B, else PAUSE with F3 */
		if (d->rex & 1)
			return OP_XCHG;
		return d->column == PREFIX_F3 ? OP_PAUSE : OP_NOP;
	case OP_ARPL: /* 63: MOVSXD in 64-bit mode */
		if (insn->mode != 64)
			return op;
		*rule = LOAD | RD | KVM;
		/* With 66 the SDM says r/m16; the engine, and AMD's processors, read four bytes. */
		if (insn->flags & INSN_MEM)
			insn->mem_size = 4;
		return OP_MOVSX;
	case OP_IN:
	case OP_OUT:
	case OP_INS:
	case OP_OUTS: /* there are no 64-bit ports: REX.W is ignored (SDM vol. 2, IN) */
		if (insn->opsize == 8)
			insn->opsize = 4;
		return op;
	case OP_CMPXCHG8B:
		if (!(d->rex & 8))
			return op;
		insn->mem_size = 16;
		*rule &= ~(uint32_t)KVM;
		return OP_CMPXCHG16B;
	case OP_MOV_FROM_SEG:
	case OP_MOV_TO_SEG:
		insn->reg &= 7; /* REX.R is ignored */
		return insn->reg > SEG_GS || (op == OP_MOV_TO_SEG && insn->reg == SEG_CS) ? OP_UD
											  : op;
	case OP_MOV_FROM_CR:
	case OP_MOV_TO_CR:
		return insn->reg <= 8 && (1u << insn->reg & 0x11d) ? op : OP_UD; /* CR0 2 3 4 8 */
	case OP_MOV_FROM_DR:
	case OP_MOV_TO_DR:
		return insn->reg < 8 ? op : OP_UD;
	default:
		return op;
	}
}

/* ANDN BLSR BZHI PEXT MULX SHLX RORX: VEX, but on general registers, and present without AVX. */
static bool is_bmi(const struct decoder *d, unsigned map, bool other_encoding)
{
	uint8_t opcode = d->insn->opcode;

	if (other_encoding)
		return false;
	return map == 2 ? opcode >= 0xf2 && opcode <= 0xf7 : map == 3 && opcode == 0xf0;
}

/*
 * VEX, EVEX and XOP: the length, and of the operands what the legacy instruction of the same map and
 * opcode has, the vector length where there is none: no guest is told that it has AVX. d->pos is at
 * the escape byte. (In real and virtual-8086 mode C4, C5 and 62 are always LES, LDS and BOUND, and
 * their register forms #UD. The mode given here cannot tell.)
 */
static void decode_vex(struct decoder *d)
{
	static const uint8_t column_of_pp[4] = { PREFIX_NONE, PREFIX_66, PREFIX_F3, PREFIX_F2 };
	struct insn *insn = d->insn;
	const uint8_t *p = d->bytes + d->pos;
	bool evex = p[0] == 0x62, xop = p[0] == 0x8f;
	bool illegal = insn->flags & (INSN_LOCK | INSN_REP | INSN_REPNE | INSN_OPSIZE) || insn->rex;
	const struct insn_row *row = NULL;
	unsigned map, size, imm = 0;
	uint8_t rex, pp, wide;

	if (p[0] == 0xc5) {
		rex = (uint8_t)(~p[1] >> 5 & 4);
		map = 1;
		pp = p[1] & 3;
		size = p[1] & 4 ? 32 : 16;
		d->pos += 2;
	} else {
		rex = (uint8_t)(~p[1] >> 5 & 7) | (p[2] >> 4 & 8);
		map = p[1] & (evex ? 7 : 31);
		pp = p[2] & 3;
		if (evex) {
			wide = p[3] >> 5 & 3;
			size = wide ? 32u << (wide - 1) : 16;
			illegal |= !!(p[1] & 8) || !(p[2] & 4);
		} else {
			size = p[2] & 4 ? 32 : 16;
		}
		d->pos += evex ? 4 : 3;
	}
	d->rex = insn->mode == 64 ? rex : 0;
	d->column = column_of_pp[pp];
	insn->opcode = d->bytes[d->pos++];
	insn->opsize = d->rex & 8 ? 8 : 4;

	switch (map) {
	case 1:
		insn->map = MAP_0F;
		row = &insn_map_0f[insn->opcode];
		imm = (insn->opcode >= 0x70 && insn->opcode <= 0x73) || insn->opcode == 0xc2 ||
		      (insn->opcode >= 0xc4 && insn->opcode <= 0xc6);
		break;
	case 2:
		insn->map = MAP_0F38;
		row = &insn_map_0f38[insn->opcode];
		break;
	case 3:
		insn->map = MAP_0F3A;
		row = &insn_map_0f3a[insn->opcode];
		imm = 1;
		break;
	case 5:
	case 6: /* AVX512-FP16 */
		illegal |= !evex;
		break;
	case 8:
		imm = 1;
		illegal |= !xop;
		break;
	case 9:
		illegal |= !xop;
		break;
	case 10:
		imm = 4;
		illegal |= !xop;
		break;
	default:
		illegal = true;
	}
	/* VZEROUPPER and VZEROALL are the only ones without ModRM */
	if (evex || map != 1 || insn->opcode != 0x77)
		decode_modrm(d, false);
	insn->op = illegal || (xop && map < 8) ? OP_UD : OP_VEX;
	if (is_bmi(d, map, evex || xop))
		size = insn->opsize;
	else
		insn->flags |= INSN_SSE;
	if (insn->flags & INSN_MEM) {
		insn->mem_size = (uint8_t)size;
		insn->mem_access = INSN_READ;
		if (row && row->rule & BYPREFIX)
			row = &insn_by_prefix[row->op][d->column];
		if (row && row->rule & FPU) {
			if (row->mem != MEM_DQ)
				insn->mem_size = memory_size(d, row->mem);
			insn->mem_access = row->rule & (RD | WR);
		}
	}
	if (imm) {
		insn->imm = take(d, imm);
		insn->imm_size = (uint8_t)imm;
		insn->flags |= INSN_IMM;
	}
}

static bool is_vex(const struct decoder *d)
{
	const uint8_t *p = d->bytes + d->pos;

	if (p[0] == 0x8f) /* POP is ModRM.reg 0; XOP's maps begin at 8 */
		return (p[1] & 0x1f) >= 8;
	return d->insn->mode == 64 || p[1] >= 0xc0;
}

static const struct insn_row *decode_opcode(struct decoder *d)
{
	struct insn *insn = d->insn;
	uint8_t byte = d->bytes[d->pos++];

	insn->opcode = byte;
	if (byte != 0x0f)
		return &insn_map_one[byte];
	insn->opcode = byte = d->bytes[d->pos++];
	if (byte != 0x38 && byte != 0x3a) {
		insn->map = MAP_0F;
		return &insn_map_0f[byte];
	}
	insn->opcode = d->bytes[d->pos++];
	insn->map = byte == 0x38 ? MAP_0F38 : MAP_0F3A;
	return byte == 0x38 ? &insn_map_0f38[insn->opcode] : &insn_map_0f3a[insn->opcode];
}

/* Follow groups and prefix tables to the row that describes the instruction; ModRM is decoded. */
static const struct insn_row *resolve_row(const struct decoder *d, const struct insn_row *row)
{
	static const struct insn_row x87_register = { OP_PLAIN, IMM_NONE, MEM_NONE, 0,
						      MODRM | FPU };
	static const struct insn_row x87_fninit = { OP_PLAIN, IMM_NONE, MEM_NONE, 0,
						    MODRM | FPU | KVM };
	static const struct insn_row undefined = { OP_UD, IMM_NONE, MEM_NONE, 0, MODRM };
	uint8_t modrm = d->insn->modrm;
	bool registers = modrm >= 0xc0;

	while (row->rule & INDIRECT) {
		if (row->rule & BYPREFIX) {
			row = &insn_by_prefix[row->op][d->column];
		} else if (row->rule & X87) {
			if (!registers)
				return &insn_x87_memory[row->op][modrm >> 3 & 7];
			if (!(insn_x87_registers[row->op] >> (modrm & 63) & 1))
				return &undefined;
			return row->op == 3 && modrm == 0xe3 ? &x87_fninit : &x87_register;
		} else if (row->rule & GROUP7R) {
			row = &insn_group7_registers[modrm & 63];
		} else {
			row = &insn_groups[row->op + (row->rule & DUAL && registers)]
					  [modrm >> 3 & 7];
		}
	}
	return row;
}

static bool form_exists(const struct decoder *d, uint32_t rule)
{
	const struct insn *insn = d->insn;
	bool mem = insn->flags & INSN_MEM, mode64 = insn->mode == 64;

	return !((rule & NO64 && mode64) || (rule & ONLY64 && !mode64) ||
		 (rule & MEMONLY && !mem) || (rule & REGONLY && mem) ||
		 (rule & NP && d->column != PREFIX_NONE));
}

static uint32_t apply_rare_rules(struct decoder *d, uint32_t rule)
{
	struct insn *insn = d->insn;

	if (rule & OPSEG)
		insn->reg = insn->opcode >> 3 & 7;
	if (rule & FIXUP)
		insn->op = fixup(d, insn->op, &rule);
	if (rule & KVM_NO66 && insn->flags & INSN_OPSIZE)
		rule &= ~(uint32_t)KVM;
	if (!form_exists(d, rule))
		insn->op = OP_UD;
	return rule;
}

static void decode_legacy(struct decoder *d)
{
	struct insn *insn = d->insn;
	const struct insn_row *row = decode_opcode(d);
	uint32_t rule = row->rule;

	if (insn->mode == 64 && rule & NO64)
		return; /* #UD as soon as the opcode is seen */
	if (rule & (MODRM | INDIRECT)) {
		if (rule & MODRM)
			decode_modrm(d, rule & REGS);
		row = resolve_row(d, row);
		rule = row->rule;
	}
	insn->op = row->op;
	insn->opsize = operand_size(d, rule);
	if (row->imm)
		decode_immediate(d, row->imm);
	insn->mem_size = insn->flags & INSN_MEM ? memory_size(d, row->mem) : 0;
	if (rule & OPREG)
		insn->reg = (insn->opcode & 7) | (d->rex & 1) << 3;
	if (rule & RARE)
		rule = apply_rare_rules(d, rule);

	insn->flags |= rule & RULE_FLAGS;
	if (insn->flags & INSN_MEM) {
		insn->flags |= rule & BITS;
		insn->mem_access = rule & (RD | WR);
	}
}

bool insn_lock_is_legal(const struct insn *insn)
{
	return lockable[insn->op] && (insn->flags & (INSN_MEM | INSN_DIR_LOAD)) == INSN_MEM;
}

int insn_decode(struct insn *insn, const uint8_t *bytes, size_t n, unsigned mode)
{
	struct decoder d = { .insn = insn, .bytes = bytes };
	uint8_t window[DECODE_WINDOW];

	if (n < DECODE_WINDOW) {
		/* What stands behind the last byte reads as zero, and only makes the length too long. */
		memset(window, 0, sizeof(window));
		if (n)
			memcpy(window, bytes, n);
		d.bytes = window;
	}
	if (n > INSN_MAX_LENGTH)
		n = INSN_MAX_LENGTH;
	memset(insn, 0, sizeof(*insn));
	memcpy(insn->bytes, d.bytes, INSN_MAX_LENGTH);
	insn->mode = (uint8_t)mode;
	insn->base = INSN_NO_REG;
	insn->index = INSN_NO_REG;
	insn->scale = 1;

	if (decode_prefixes(&d) == P_VEX && is_vex(&d))
		decode_vex(&d);
	else
		decode_legacy(&d);

	if (d.pos > n)
		return n < INSN_MAX_LENGTH ? -ENODATA : -E2BIG;
	insn->length = (uint8_t)d.pos;

	/* SDM vol. 2, LOCK: #UD with other instructions, and with these if nothing in memory is written */
	if (insn->flags & INSN_LOCK && !insn_lock_is_legal(insn))
		insn->op = OP_UD;
	else if (insn->flags & INSN_LOCK || (insn->op == OP_XCHG && insn->flags & INSN_MEM))
		insn->flags |= INSN_LOCKED;
	return 0;
}

const char *insn_op_name(enum insn_op op)
{
	return (unsigned)op < OP_COUNT && op_names[op] ? op_names[op] : "?";
}
