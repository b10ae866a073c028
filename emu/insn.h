/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The instruction decoder: what an x86 instruction is, how long, what it touches, whether LOCK is
 * legal on it, and what the emulator has to do about it. Own tables (SDM vol. 2, appendix A),
 * because the disassemblers at hand lose or invent LOCK prefixes; they serve as second opinion in
 * tests.
 *
 * Pure functions: no allocation, no global state, any thread.
 */
#ifndef BUSLOCK_EMU_INSN_H
#define BUSLOCK_EMU_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INSN_MAX_LENGTH 15 /* SDM vol. 2, 2.3.11: a longer one raises #GP(0) */

/* Register numbers as encoded: AX CX DX BX SP BP SI DI R8..R15. Segments: ES CS SS DS FS GS. */
enum { INSN_NO_REG = -1, INSN_REG_RIP = 16 };
enum insn_segment { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

/* Opcode maps. VEX, EVEX and XOP encoded instructions only ever appear as OP_VEX / OP_UD. */
enum insn_map { MAP_ONE, MAP_0F, MAP_0F38, MAP_0F3A };

/*
 * What the instruction does, as far as anybody here needs to tell it apart. Everything the engine
 * executes by itself and that never has to be done by hand is OP_PLAIN (or OP_BRANCH where it ends
 * straight-line code).
 */
/* Families of operations in lines, comments in columns: */
/* clang-format off */
enum insn_op {
	OP_UD,     /* no such instruction, or one whose prefixes or operands make it #UD */
	OP_PLAIN,
	OP_BRANCH, /* near JMP, Jcc, CALL, RET, LOOP, JCXZ: ends straight-line code; engine executes it */

	/* integer operations that have to be done by hand when locked or on MMIO */
	OP_ADD, OP_OR, OP_ADC, OP_SBB, OP_AND, OP_SUB, OP_XOR, OP_CMP,
	OP_INC, OP_DEC, OP_NOT, OP_NEG, OP_TEST,
	OP_BT, OP_BTS, OP_BTR, OP_BTC,
	OP_XCHG, OP_XADD, OP_CMPXCHG, OP_CMPXCHG8B, OP_CMPXCHG16B,
	OP_MOV, OP_MOVZX, OP_MOVSX, /* MOVSX: MOVSXD too. Not segment, control or debug registers. */
	OP_MOVS, OP_STOS, OP_LODS, OP_CMPS, OP_SCAS,
	OP_PUSH, OP_POP,       /* general register, immediate or memory operand (not segment registers) */
	OP_NOP,                /* 90 and 0F 1F (not PAUSE) */

	/* instructions that leave the engine */
	OP_IN, OP_OUT, OP_INS, OP_OUTS,
	OP_HLT, OP_CPUID, OP_RDMSR, OP_WRMSR, OP_RDTSC, OP_RDTSCP, OP_RDPMC, OP_RDPID,
	OP_MOV_FROM_CR, OP_MOV_TO_CR, OP_MOV_FROM_DR, OP_MOV_TO_DR, OP_CLTS, OP_LMSW, OP_SMSW,
	OP_SYSCALL, OP_SYSRET, OP_SYSENTER, OP_SYSEXIT,
	OP_INT, OP_INT1, OP_INT3, OP_INTO, OP_IRET, OP_BOUND,
	OP_CLI, OP_STI, OP_PUSHF, OP_POPF,
	OP_MOV_TO_SEG, OP_MOV_FROM_SEG, OP_POP_SEG, OP_PUSH_SEG, OP_LOAD_FAR, /* LDS LES LSS LFS LGS */
	OP_JMP_FAR, OP_CALL_FAR, OP_RET_FAR, /* direct and memory-indirect */
	OP_LGDT, OP_LIDT, OP_SGDT, OP_SIDT, OP_LLDT, OP_SLDT, OP_LTR, OP_STR,
	OP_LAR, OP_LSL, OP_VERR, OP_VERW, OP_ARPL,
	OP_INVLPG, OP_INVD, OP_WBINVD, OP_INVPCID,
	OP_MONITOR, OP_MWAIT, OP_VMCALL, OP_VMMCALL, OP_RSM, OP_PAUSE,
	OP_XGETBV, OP_XSETBV, OP_SWAPGS, OP_CLAC, OP_STAC,
	OP_XSAVE, OP_XRSTOR,   /* XSAVE XSAVEOPT XSAVEC XSAVES / XRSTOR XRSTORS */
	OP_VMX_SVM,            /* VMXON VMLAUNCH … VMRUN STGI …: always #UD here */
	OP_VEX,                /* any VEX, EVEX or XOP encoding */
	OP_COUNT
};

/* insn.flags */
enum {
	INSN_LOCK      = 1 << 0,  /* an F0 prefix is present (wherever among the prefixes) */
	INSN_REP       = 1 << 1,  /* F3 present */
	INSN_REPNE     = 1 << 2,  /* F2 present */
	INSN_OPSIZE    = 1 << 3,  /* 66 present */
	INSN_ADDRSIZE  = 1 << 4,  /* 67 present */
	INSN_MODRM     = 1 << 5,
	INSN_MEM       = 1 << 6,  /* has an explicit memory operand (ModRM or moffs) */
	INSN_LOCKED    = 1 << 7,  /* the access is locked: a legal LOCK prefix, or XCHG with memory */
	INSN_BYTE      = 1 << 8,  /* the operation is on bytes */
	INSN_IMM       = 1 << 9,  /* imm is valid */
	INSN_DIR_LOAD  = 1 << 10, /* for two-operand integer ops and MOV: the register is the destination */
	INSN_BITSTRING = 1 << 11, /* BTx mem,reg: the address also depends on the bit offset register */
	INSN_KVM_EMULATES = 1 << 12, /* Linux's emulator (arch/x86/kvm/emulate.c, 6.12) executes this on
	                              * MMIO; anything else there ends in KVM_INTERNAL_ERROR_EMULATION */
	INSN_SEG_OVERRIDE = 1 << 13, /* seg comes from a prefix */
	INSN_SSE       = 1 << 14, /* uses XMM, MMX or x87 state */
};

/* memory access of the explicit operand */
enum { INSN_READ = 1, INSN_WRITE = 2 };

struct insn {
	uint8_t bytes[INSN_MAX_LENGTH]; /* as fetched; `length` of them are valid */
	uint8_t length;
	uint8_t mode;      /* default size of the code segment: 16, 32 or 64 */
	uint8_t map;       /* enum insn_map */
	uint8_t opcode;    /* last opcode byte */
	uint8_t modrm;     /* if INSN_MODRM */
	uint8_t rex;       /* the REX byte in force, 0 if none */
	uint8_t op;        /* enum insn_op */
	uint8_t opsize;    /* effective operand size 1 (INSN_BYTE), 2, 4 or 8 bytes */
	uint8_t addrsize;  /* effective address size 2, 4 or 8 bytes */
	uint8_t reg;       /* ModRM.reg extended by REX.R; for +r opcodes the register (REX.B) */
	uint8_t rm;        /* ModRM.rm extended by REX.B when it names a register */
	uint8_t seg;       /* enum insn_segment of the explicit memory operand; DS:rSI for string ops */
	int8_t base;       /* address register, INSN_NO_REG or INSN_REG_RIP */
	int8_t index;      /* index register or INSN_NO_REG */
	uint8_t scale;     /* 1, 2, 4, 8 */
	uint8_t mem_size;  /* bytes the explicit memory operand has (up to 64; 0: not a data access, e.g.
	                    * LEA, NOP, INVLPG, prefetch; 255: longer, e.g. FXSAVE 512 — see insn_mem_bytes) */
	uint8_t mem_access;/* INSN_READ | INSN_WRITE */
	uint8_t imm_size;  /* bytes of the immediate as encoded; ENTER and far pointers use imm2 too */
	uint32_t flags;
	int64_t disp;      /* sign-extended displacement, or the moffs address */
	uint64_t imm;      /* first immediate, sign-extended to 64 bits where the CPU does that, else
	                    * zero-extended; branch displacement for OP_BRANCH */
	uint16_t imm2;     /* selector of a far pointer; nesting level of ENTER */
};

/*
 * Decode one instruction from `bytes` (`n` available), in code of default size `mode` (16, 32, 64).
 *   0        decoded (op may be OP_UD: length is then what the CPU would have consumed as far as it
 *            is known, at least 1)
 *   -ENODATA more bytes are needed than `n` (only if n < 15)
 *   -E2BIG   longer than 15 bytes: the CPU raises #GP(0)
 */
int insn_decode(struct insn *insn, const uint8_t *bytes, size_t n, unsigned mode);

/* May LOCK stand before this instruction (SDM vol. 2, LOCK)? Memory destination required. */
bool insn_lock_is_legal(const struct insn *insn);

/* Registers that addresses depend on. */
struct insn_regs {
	uint64_t gpr[16];
	uint64_t rip;             /* of the instruction itself */
	uint64_t rflags;          /* DF */
	uint64_t seg_base[6];     /* in 64-bit mode only FS and GS count: caller passes 0 for the others */
	uint8_t stack_size;       /* SS.B: 2 or 4 bytes; 8 in 64-bit mode */
};

/* One data access of an instruction, in the order the CPU makes them. */
struct insn_access {
	uint64_t linear;
	uint64_t offset;   /* within the segment */
	uint32_t size;     /* bytes */
	uint8_t seg;       /* enum insn_segment */
	uint8_t access;    /* INSN_READ | INSN_WRITE; both: read-modify-write */
};
/* clang-format on */
#define INSN_MAX_ACCESSES 4

/*
 * The data accesses of one execution (for a string instruction: of one iteration). Explicit operand,
 * string operands, and the stack accesses of PUSH, POP, CALL, RET, PUSHA, POPA, ENTER, LEAVE, PUSHF,
 * POPF. Addresses are truncated to the address size, linear ones to 32 bits outside 64-bit mode.
 * Returns how many.
 */
int insn_accesses(const struct insn *insn, const struct insn_regs *regs,
		  struct insn_access out[INSN_MAX_ACCESSES]);

/* Offset of the explicit memory operand within its segment, bit-string displacement included. */
uint64_t insn_effective_address(const struct insn *insn, const struct insn_regs *regs);

/* Bytes of the explicit memory operand, also where mem_size is 255. */
uint32_t insn_mem_bytes(const struct insn *insn);

/* "ADD", "XCHG" …; never NULL. */
const char *insn_op_name(enum insn_op op);

#endif
