/* SPDX-License-Identifier: GPL-2.0-only */
/* The opcode maps of the instruction decoder. Private to insn.c and insn_tables.c. */
#ifndef BUSLOCK_EMU_INSN_TABLES_H
#define BUSLOCK_EMU_INSN_TABLES_H

#include <stdint.h>

#include "emu/insn.h"

/* Bytes that follow the operands. The letters are those of SDM vol. 2, A.2.1. */
enum imm_rule {
	IMM_NONE,
	IMM_IB,  /* Ib, as it is */
	IMM_IBS, /* Ib, sign-extended to the operand size */
	IMM_IW,  /* Iw */
	IMM_IZ,  /* 2 or 4 bytes; sign-extended where the operand has 8 */
	IMM_IV,  /* 2, 4 or 8 bytes */
	IMM_JB,  /* Jb */
	IMM_JZ,  /* Jz */
	/* no single number: */
	IMM_IN_PARTS,
	IMM_AP = IMM_IN_PARTS, /* Ap: 2 or 4 bytes of offset, 2 of selector */
	IMM_IW_IB,             /* ENTER */
	IMM_IB_IB,             /* EXTRQ, INSERTQ */
	IMM_OB,                /* moffs: an address in the instruction, of the address size */
};

/* Bytes of the memory operand. */
enum mem_rule {
	MEM_NONE, /* not a data access */
	MEM_B,
	MEM_W,
	MEM_D,
	MEM_Q,
	MEM_T,
	MEM_DQ, /* 1 2 4 8 10 16 */
	MEM_48,
	MEM_64,
	MEM_HUGE, /* more than fits: insn_mem_bytes() knows */
	MEM_LAST_FIXED = MEM_HUGE,
	MEM_V,   /* operand size */
	MEM_Y,   /* 8 with REX.W, else 4 */
	MEM_P,   /* far pointer: operand size + 2 */
	MEM_A,   /* BOUND: twice the operand size */
	MEM_S,   /* descriptor table register: 6, in 64-bit mode 10 */
	MEM_ENV, /* x87 environment: 14 or 28 */
};

/* Those that go into insn.mem_access and insn.flags have their values. */
enum row_rule {
	RD = INSN_READ,          /* the memory operand is read … */
	WR = INSN_WRITE,         /* … or written */
	NO64 = 1 << 2,           /* #UD in 64-bit mode */
	ONLY64 = 1 << 3,         /* #UD outside of it */
	DEF64 = 1 << 4,          /* operand size in 64-bit mode: 8, or 2 with 66 */
	MODRM = INSN_MODRM,      /* 1 << 5 */
	FORCE64 = 1 << 6,        /* operand size in 64-bit mode: always 8 */
	FORCE32 = 1 << 7,        /* operand size outside 64-bit mode: always 4 */
	BYTE = INSN_BYTE,        /* 1 << 8 */
	MEMONLY = 1 << 9,        /* #UD with a register operand */
	LOAD = INSN_DIR_LOAD,    /* 1 << 10 */
	BITS = INSN_BITSTRING,   /* 1 << 11 */
	KVM = INSN_KVM_EMULATES, /* 1 << 12 */
	REGONLY = 1 << 13,       /* #UD with a memory operand */
	FPU = INSN_SSE,          /* 1 << 14 */
	NP = 1 << 15,            /* #UD with 66, F2 or F3 */
	OPREG = 1 << 16,         /* the register is in the opcode's low three bits */
	OPSEG = 1 << 17,         /* the segment register is in the opcode's bits 3 to 5 */
	REGS = 1 << 18,          /* ModRM.mod is ignored: always registers */
	FIXUP = 1 << 19,         /* the rest of the story is in fixup() */
	KVM_NO66 = 1 << 20, /* 66 beside the mandatory prefix is too much for Linux's emulator */
	/* row.op is the number of another table: */
	GROUP = 1 << 21,    /* by ModRM.reg */
	DUAL = 1 << 22,     /* by ModRM.reg; the next group for register operands */
	BYPREFIX = 1 << 23, /* by mandatory prefix */
	GROUP7R = 1 << 24,  /* by the low six bits of ModRM */
	X87 = 1 << 25,      /* D8 to DF */
};
#define RULE_FLAGS (BYTE | LOAD | KVM | FPU) /* go into insn.flags as they are */
#define RW         (RD | WR)
#define RARE       (NO64 | ONLY64 | MEMONLY | REGONLY | NP | OPSEG | FIXUP | KVM_NO66)
#define INDIRECT   (GROUP | DUAL | BYPREFIX | GROUP7R | X87)

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
