/* SPDX-License-Identifier: GPL-2.0-only */
/* The opcode maps of the instruction decoder. Private to insn.c and insn_tables.c. */
#ifndef BUSLOCK_EMU_INSN_TABLES_H
#define BUSLOCK_EMU_INSN_TABLES_H

#include <stdint.h>

/* Bytes that follow the operands. The letters are those of SDM vol. 2, A.2.1. */
enum imm_rule {
	IMM_NONE,
	IMM_IB,    /* Ib, as it is */
	IMM_IBS,   /* Ib, sign-extended to the operand size */
	IMM_IW,    /* Iw */
	IMM_IZ,    /* 2 or 4 bytes; sign-extended where the operand has 8 */
	IMM_IV,    /* 2, 4 or 8 bytes */
	IMM_JB,    /* Jb */
	IMM_JZ,    /* Jz */
	IMM_AP,    /* Ap: 2 or 4 bytes of offset, 2 of selector */
	IMM_IW_IB, /* ENTER */
	IMM_IB_IB, /* EXTRQ, INSERTQ */
	IMM_OB,    /* moffs: an address in the instruction, of the address size */
};

/* Bytes of the memory operand. */
enum mem_rule {
	MEM_NONE, /* not a data access */
	MEM_B, MEM_W, MEM_D, MEM_Q, MEM_T, MEM_DQ, /* 1 2 4 8 10 16 */
	MEM_V,    /* operand size */
	MEM_Y,    /* 8 with REX.W, else 4 */
	MEM_P,    /* far pointer: operand size + 2 */
	MEM_A,    /* BOUND: twice the operand size */
	MEM_S,    /* descriptor table register: 6, in 64-bit mode 10 */
	MEM_ENV,  /* x87 environment: 14 or 28 */
	MEM_48, MEM_64,
	MEM_HUGE, /* more than fits: insn_mem_bytes() knows */
	MEM_RULES
};

enum row_rule {
	MODRM    = 1 << 0,
	BYTE     = 1 << 1,
	LOAD     = 1 << 2,  /* the register is the destination */
	RD       = 1 << 3,  /* the memory operand is read … */
	WR       = 1 << 4,  /* … or written */
	NO64     = 1 << 5,  /* #UD in 64-bit mode */
	ONLY64   = 1 << 6,  /* #UD outside of it */
	DEF64    = 1 << 7,  /* operand size in 64-bit mode: 8, or 2 with 66 */
	FORCE64  = 1 << 8,  /* operand size in 64-bit mode: always 8 */
	FORCE32  = 1 << 9,  /* operand size outside 64-bit mode: always 4 */
	MEMONLY  = 1 << 10, /* #UD with a register operand */
	REGONLY  = 1 << 11, /* #UD with a memory operand */
	NP       = 1 << 12, /* #UD with 66, F2 or F3 */
	KVM      = 1 << 13, /* INSN_KVM_EMULATES */
	FPU      = 1 << 14, /* INSN_SSE */
	OPREG    = 1 << 15, /* the register is in the opcode's low three bits */
	OPSEG    = 1 << 16, /* the segment register is in the opcode's bits 3 to 5 */
	BITS     = 1 << 17, /* INSN_BITSTRING */
	REGS     = 1 << 18, /* ModRM.mod is ignored: always registers */
	FIXUP    = 1 << 19, /* the rest of the story is in fixup() */
	/* row.op is the number of another table: */
	GROUP    = 1 << 20, /* by ModRM.reg */
	DUAL     = 1 << 21, /* by ModRM.reg; the next group for register operands */
	BYPREFIX = 1 << 22, /* by mandatory prefix */
	GROUP7R  = 1 << 23, /* by the low six bits of ModRM */
	X87      = 1 << 24, /* D8 to DF */
};
#define RW       (RD | WR)
#define INDIRECT (GROUP | DUAL | BYPREFIX | GROUP7R | X87)

struct insn_row {
	uint8_t op;  /* enum insn_op, or a table's number */
	uint8_t imm; /* enum imm_rule */
	uint8_t mem; /* enum mem_rule */
	uint8_t unused;
	uint32_t rule;
};

extern const struct insn_row insn_map_one[256];
extern const struct insn_row insn_map_0f[256];
extern const struct insn_row insn_map_0f38[256];
extern const struct insn_row insn_map_0f3a[256];
extern const struct insn_row insn_groups[][8];
extern const struct insn_row insn_group7_registers[64];
extern const struct insn_row insn_x87_memory[8][8];
/* One bit for each low six bits of ModRM: the register form exists. */
extern const uint64_t insn_x87_registers[8];

/* Columns of insn_by_prefix[]. F2 and F3 go before 66; of the two, the later one counts. */
enum { PREFIX_NONE, PREFIX_66, PREFIX_F3, PREFIX_F2 };
extern const struct insn_row insn_by_prefix[][4];

#endif
