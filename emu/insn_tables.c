/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Opcode maps, laid out and written like SDM vol. 2, appendix A, so that they can be held beside it:
 * an operation, its operands (Eb,Gb: ModRM byte operand, then byte register …), and what appendix A
 * does not say: whether the memory operand is read or written, whether Linux's emulator knows it.
 * An instruction that neither raises #UD nor appears in the decoder's list of operations is PLAIN.
 */
#include "emu/insn_tables.h"

/* Columns, and one line a row where it fits. */
/* clang-format off */

#define ROW_(o, i, m, r, extra) { OP_##o, i, m, 0, (r) | (extra) }
#define ROW(o, ...)             ROW_(o, __VA_ARGS__)
#define TABLE(number, kind)     { number, 0, 0, 0, MODRM | (kind) }
/* No such instruction, seen at the opcode or with ModRM. */
#define UND                     { OP_UD, 0, 0, 0, 0 }
#define NO                      { OP_UD, 0, 0, 0, MODRM }

#define X2(...)  __VA_ARGS__, __VA_ARGS__
#define X3(...)  __VA_ARGS__, X2(__VA_ARGS__)
#define X4(...)  X2(__VA_ARGS__), X2(__VA_ARGS__)
#define X5(...)  X4(__VA_ARGS__), __VA_ARGS__
#define X6(...)  X4(__VA_ARGS__), X2(__VA_ARGS__)
#define X7(...)  X6(__VA_ARGS__), __VA_ARGS__
#define X8(...)  X4(__VA_ARGS__), X4(__VA_ARGS__)
#define X16(...) X8(__VA_ARGS__), X8(__VA_ARGS__)

/* Operands: immediate, memory operand, rules. M…: memory only; G first: register is destination. */
#define NOTHING  IMM_NONE, MEM_NONE, 0
#define Eb       IMM_NONE, MEM_B,    MODRM | BYTE
#define Ew       IMM_NONE, MEM_W,    MODRM
#define Ev       IMM_NONE, MEM_V,    MODRM
#define Ey       IMM_NONE, MEM_Y,    MODRM
#define Eb_Ib    IMM_IB,   MEM_B,    MODRM | BYTE
#define Ev_Ib    IMM_IB,   MEM_V,    MODRM
#define Ev_Ibs   IMM_IBS,  MEM_V,    MODRM
#define Ev_Iz    IMM_IZ,   MEM_V,    MODRM
#define Eb_Gb    IMM_NONE, MEM_B,    MODRM | BYTE
#define Ev_Gv    IMM_NONE, MEM_V,    MODRM
#define Ew_Gw    IMM_NONE, MEM_W,    MODRM
#define Ev_Gv_Ib IMM_IB,   MEM_V,    MODRM
#define Gb_Eb    IMM_NONE, MEM_B,    MODRM | BYTE | LOAD
#define Gv_Ev    IMM_NONE, MEM_V,    MODRM | LOAD
#define Gv_Eb    IMM_NONE, MEM_B,    MODRM | LOAD
#define Gv_Ew    IMM_NONE, MEM_W,    MODRM | LOAD
#define Gv_Ed    IMM_NONE, MEM_D,    MODRM | LOAD
#define Gv_Ev_Ibs IMM_IBS, MEM_V,    MODRM | LOAD
#define Gv_Ev_Iz IMM_IZ,   MEM_V,    MODRM | LOAD
#define Gv_M     IMM_NONE, MEM_NONE, MODRM | LOAD | MEMONLY
#define Gv_Mp    IMM_NONE, MEM_P,    MODRM | LOAD | MEMONLY
#define Gv_Ma    IMM_NONE, MEM_A,    MODRM | LOAD | MEMONLY
#define Mp       IMM_NONE, MEM_P,    MODRM | MEMONLY
#define Ms       IMM_NONE, MEM_S,    MODRM | MEMONLY
#define Mb       IMM_NONE, MEM_B,    MODRM | MEMONLY
#define Mw       IMM_NONE, MEM_W,    MODRM | MEMONLY
#define Md       IMM_NONE, MEM_D,    MODRM | MEMONLY
#define Mq       IMM_NONE, MEM_Q,    MODRM | MEMONLY
#define Mt       IMM_NONE, MEM_T,    MODRM | MEMONLY
#define Mdq      IMM_NONE, MEM_DQ,   MODRM | MEMONLY
#define My       IMM_NONE, MEM_Y,    MODRM | MEMONLY
#define Mv       IMM_NONE, MEM_V,    MODRM | MEMONLY
#define Menv     IMM_NONE, MEM_ENV,  MODRM | MEMONLY
#define M48      IMM_NONE, MEM_48,   MODRM | MEMONLY
#define E48      IMM_NONE, MEM_48,   MODRM
#define M64      IMM_NONE, MEM_64,   MODRM | MEMONLY
#define Mhuge    IMM_NONE, MEM_HUGE, MODRM | MEMONLY
#define M        IMM_NONE, MEM_NONE, MODRM | MEMONLY /* address only */
#define E        IMM_NONE, MEM_NONE, MODRM           /* ModRM there, memory not touched */
#define R        IMM_NONE, MEM_NONE, MODRM | REGONLY
#define Rv       IMM_NONE, MEM_NONE, MODRM | REGONLY
#define AL_Ib    IMM_IB,   MEM_NONE, BYTE | LOAD
#define rAX_Iz   IMM_IZ,   MEM_NONE, LOAD
#define AL_Ob    IMM_OB,   MEM_B,    BYTE | LOAD
#define rAX_Ov   IMM_OB,   MEM_V,    LOAD
#define Ob_AL    IMM_OB,   MEM_B,    BYTE
#define Ov_rAX   IMM_OB,   MEM_V,    0
#define Zv       IMM_NONE, MEM_NONE, OPREG           /* register in the opcode */
#define Zb_Ib    IMM_IB,   MEM_NONE, OPREG | BYTE | LOAD
#define Zv_Iv    IMM_IV,   MEM_NONE, OPREG | LOAD
#define Xb       IMM_NONE, MEM_NONE, BYTE            /* string operands, AL and DX with ports */
#define Xv       IMM_NONE, MEM_NONE, 0
#define Ib       IMM_IB,   MEM_NONE, 0
#define Ib_byte  IMM_IB,   MEM_NONE, BYTE
#define Ibs      IMM_IBS,  MEM_NONE, 0
#define Iw       IMM_IW,   MEM_NONE, 0
#define Iz       IMM_IZ,   MEM_NONE, 0
#define Iw_Ib    IMM_IW_IB, MEM_NONE, 0
#define Ap       IMM_AP,   MEM_NONE, 0
#define Jb       IMM_JB,   MEM_NONE, FORCE64
#define Jz       IMM_JZ,   MEM_NONE, FORCE64
/* MMX and XMM operands, by the size they have in memory */
#define Wd       IMM_NONE, MEM_D,    MODRM | FPU
#define Ww       IMM_NONE, MEM_W,    MODRM | FPU
#define Wq       IMM_NONE, MEM_Q,    MODRM | FPU
#define Wdq      IMM_NONE, MEM_DQ,   MODRM | FPU
#define Wy       IMM_NONE, MEM_Y,    MODRM | FPU
#define Wb_Ib    IMM_IB,   MEM_B,    MODRM | FPU
#define Ww_Ib    IMM_IB,   MEM_W,    MODRM | FPU
#define Wd_Ib    IMM_IB,   MEM_D,    MODRM | FPU
#define Wq_Ib    IMM_IB,   MEM_Q,    MODRM | FPU
#define Wdq_Ib   IMM_IB,   MEM_DQ,   MODRM | FPU
#define Wy_Ib    IMM_IB,   MEM_Y,    MODRM | FPU
#define Md_x     IMM_NONE, MEM_D,    MODRM | FPU | MEMONLY
#define Mq_x     IMM_NONE, MEM_Q,    MODRM | FPU | MEMONLY
#define Mdq_x    IMM_NONE, MEM_DQ,   MODRM | FPU | MEMONLY
#define U        IMM_NONE, MEM_NONE, MODRM | FPU | REGONLY
#define U_Ib     IMM_IB,   MEM_NONE, MODRM | FPU | REGONLY
#define U_Ib_Ib  IMM_IB_IB, MEM_NONE, MODRM | FPU | REGONLY

enum group {
	GROUP1_EB_IB, GROUP1_EV_IZ, GROUP1_EB_IB_NO64, GROUP1_EV_IBS, GROUP1A,
	GROUP2_EB_IB, GROUP2_EV_IB, GROUP2_EB, GROUP2_EV, GROUP3_EB, GROUP3_EV, GROUP4, GROUP5,
	GROUP6, GROUP7, GROUP7_REG, GROUP8, GROUP9, GROUP9_REG, GROUP11_EB, GROUP11_EV,
	GROUP12, GROUP13, GROUP14, GROUP15, GROUP15_REG, GROUP_KEYLOCKER
};

/* Rows of insn_by_prefix[]: how the columns none, 66, F3, F2 differ. */
enum by_prefix {
	P_MMX_XMM,       /* Pq,Qq / Vx,Wx / - / - */
	P_XMM_NP, P_XMM_66, P_XMM_66_IB, P_XMM_NP_IB,
	P_PACKED,        /* 16 / 16 / - / - */
	P_PACKED_IB,
	P_SCALARS,       /* 16 / 16 / 4 / 8 */
	P_SCALARS_IB,
	P_PS_SS,         /* 16 / - / 4 / - */
	P_PD_PS_F2,      /* - / 16 / - / 16 */
	P_COMPARE,       /* 4 / 8 / - / - */
	P_MOVU_LOAD, P_MOVU_STORE, P_MOVA_LOAD, P_MOVA_STORE, P_MOVNT,
	P_MOVL_LOAD, P_MOVL_STORE, P_MOVH_LOAD,
	P_CVTPI, P_CVTPS2PI, P_CVTPS2PD, P_CVTDQ2PS, P_CVTDQ2PD,
	P_PUNPCKL, P_MOVD_LOAD, P_MOVD_STORE, P_MOVQ_LOAD, P_MOVQ_STORE, P_PSHUF,
	P_SHIFT_BOTH, P_SHIFT_66, P_EMMS, P_VMREAD, P_VMWRITE,
	P_MOVNTI, P_PINSRW, P_PEXTRW, P_U_BOTH, P_MOVQ_W, P_MOVNTQ, P_LDDQU,
	P_POPCNT, P_RSTORSSP, P_LDMXCSR, P_STMXCSR, P_XSAVE_PTWRITE, P_XSAVEOPT, P_CLFLUSH,
	P_FXSAVE,
	P_FXRSTOR, P_XRSTOR,
	P_FSGSBASE, P_LFENCE, P_MFENCE, P_SFENCE, P_PTWRITE,
	P_GROUP9_6, P_GROUP9_7, P_GROUP9_6_REG, P_GROUP9_7_REG, P_XSAVEC, P_XSAVES, P_XRSTORS,
	P_RDPKRU, P_WRPKRU, P_SERIALIZE, P_XRESLDTRK, P_SAVEPREVSSP, P_UINTR,
	P_PMOV_D, P_PMOV_Q, P_PMOV_W, P_MOVNTDQA, P_INVEPT, P_INVPCID,
	P_KEYLOCKER_WIDE_48, P_KEYLOCKER_WIDE_64, P_AES_48, P_AES_64, P_LOADIWKEY,
	P_38F0, P_38F1, P_WRUSS, P_ADX, P_MOVDIR64B, P_MOVDIRI, P_ENCODEKEY,
	P_ROUNDSS, P_ROUNDSD, P_PEXTRB, P_PEXTRW_38, P_PEXTRD, P_EXTRACTPS, P_PINSRB, P_INSERTPS,
	P_PINSRD, P_PALIGNR, P_GETSEC
};

#define ALU(o) \
	ROW(o, Eb_Gb, RW | KVM), ROW(o, Ev_Gv, RW | KVM), ROW(o, Gb_Eb, RD | KVM), \
	ROW(o, Gv_Ev, RD | KVM), ROW(o, AL_Ib, KVM), ROW(o, rAX_Iz, KVM)
#define SEG(o)   ROW(o, NOTHING, OPSEG | NO64 | KVM)
#define P(which) TABLE(P_##which, BYPREFIX)
#define P_BARE(which) { P_##which, 0, 0, 0, BYPREFIX } /* without ModRM */

const struct insn_row insn_map_one[256] = {
	/* 00 */ ALU(ADD), SEG(PUSH_SEG), SEG(POP_SEG),
	/* 08 */ ALU(OR),  SEG(PUSH_SEG), UND, /* 0F: the two-byte map */
	/* 10 */ ALU(ADC), SEG(PUSH_SEG), SEG(POP_SEG),
	/* 18 */ ALU(SBB), SEG(PUSH_SEG), SEG(POP_SEG),
	/* 20 */ ALU(AND), UND /* ES: */, ROW(PLAIN, NOTHING, NO64),       /* DAA */
	/* 28 */ ALU(SUB), UND /* CS: */, ROW(PLAIN, NOTHING, NO64 | KVM), /* DAS */
	/* 30 */ ALU(XOR), UND /* SS: */, ROW(PLAIN, NOTHING, NO64),       /* AAA */
	/* 38: CMP writes nothing */
	ROW(CMP, Eb_Gb, RD | KVM), ROW(CMP, Ev_Gv, RD | KVM), ROW(CMP, Gb_Eb, RD | KVM),
	ROW(CMP, Gv_Ev, RD | KVM), ROW(CMP, AL_Ib, KVM), ROW(CMP, rAX_Iz, KVM),
	UND /* DS: */, ROW(PLAIN, NOTHING, NO64), /* AAS */
	/* 40 */ X8(ROW(INC, Zv, NO64 | KVM)), X8(ROW(DEC, Zv, NO64 | KVM)), /* REX in 64-bit mode */
	/* 50 */ X8(ROW(PUSH, Zv, DEF64 | KVM)), X8(ROW(POP, Zv, DEF64 | KVM)),
	/* 60 */ ROW(PLAIN, NOTHING, NO64 | KVM), ROW(PLAIN, NOTHING, NO64 | KVM), /* PUSHA POPA */
	/* 62 */ ROW(BOUND, Gv_Ma, RD | NO64), ROW(ARPL, Ew_Gw, RW | FIXUP), /* ARPL or MOVSXD */
	/* 64 */ X4(UND), /* FS: GS: 66 67 */
	/* 68 */ ROW(PUSH, Iz, DEF64 | KVM), ROW(PLAIN, Gv_Ev_Iz, RD | KVM), /* IMUL */
	/* 6A */ ROW(PUSH, Ibs, DEF64 | KVM), ROW(PLAIN, Gv_Ev_Ibs, RD | KVM),
	/* 6C */ ROW(INS, Xb, KVM), ROW(INS, Xv, KVM | FIXUP), ROW(OUTS, Xb, KVM),
	ROW(OUTS, Xv, KVM | FIXUP),
	/* 70 */ X16(ROW(BRANCH, Jb, KVM)),
	/* 80 */ TABLE(GROUP1_EB_IB, GROUP), TABLE(GROUP1_EV_IZ, GROUP),
	/* 82 */ TABLE(GROUP1_EB_IB_NO64, GROUP | NO64), TABLE(GROUP1_EV_IBS, GROUP),
	/* 84 */ ROW(TEST, Eb_Gb, RD | KVM), ROW(TEST, Ev_Gv, RD | KVM),
	/* 86 */ ROW(XCHG, Eb_Gb, RW | KVM), ROW(XCHG, Ev_Gv, RW | KVM),
	/* 88 */ ROW(MOV, Eb_Gb, WR | KVM), ROW(MOV, Ev_Gv, WR | KVM),
	/* 8A */ ROW(MOV, Gb_Eb, RD | KVM), ROW(MOV, Gv_Ev, RD | KVM),
	/* 8C */ ROW(MOV_FROM_SEG, Ew, WR | KVM | FIXUP), ROW(PLAIN, Gv_M, KVM), /* LEA */
	/* 8E */ ROW(MOV_TO_SEG, Ew, RD | KVM | FIXUP | LOAD), TABLE(GROUP1A, GROUP),
	/* 90 */ ROW(NOP, Zv, KVM | FIXUP), X7(ROW(XCHG, Zv, KVM)),
	/* 98 */ ROW(PLAIN, NOTHING, KVM), ROW(PLAIN, NOTHING, KVM), /* CBW CWD */
	/* 9A */ ROW(CALL_FAR, Ap, NO64 | KVM), ROW(PLAIN, NOTHING, FPU), /* FWAIT */
	/* 9C */ ROW(PUSHF, NOTHING, DEF64 | KVM), ROW(POPF, NOTHING, DEF64 | KVM),
	/* 9E */ ROW(PLAIN, NOTHING, KVM), ROW(PLAIN, NOTHING, KVM), /* SAHF LAHF */
	/* A0 */ ROW(MOV, AL_Ob, RD | KVM), ROW(MOV, rAX_Ov, RD | KVM),
	/* A2 */ ROW(MOV, Ob_AL, WR | KVM), ROW(MOV, Ov_rAX, WR | KVM),
	/* A4 */ ROW(MOVS, Xb, KVM), ROW(MOVS, Xv, KVM), ROW(CMPS, Xb, KVM), ROW(CMPS, Xv, KVM),
	/* A8 */ ROW(TEST, AL_Ib, KVM), ROW(TEST, rAX_Iz, KVM),
	/* AA */ ROW(STOS, Xb, KVM), ROW(STOS, Xv, KVM),
	/* AC */ ROW(LODS, Xb, KVM), ROW(LODS, Xv, KVM), ROW(SCAS, Xb, KVM), ROW(SCAS, Xv, KVM),
	/* B0 */ X8(ROW(MOV, Zb_Ib, KVM)), X8(ROW(MOV, Zv_Iv, KVM)),
	/* C0 */ TABLE(GROUP2_EB_IB, GROUP), TABLE(GROUP2_EV_IB, GROUP),
	/* C2 */ ROW(BRANCH, Iw, FORCE64 | KVM), ROW(BRANCH, NOTHING, FORCE64 | KVM), /* RET */
	/* C4 */ X2(ROW(LOAD_FAR, Gv_Mp, RD | NO64 | KVM)), /* LES LDS */
	/* C6 */ TABLE(GROUP11_EB, GROUP), TABLE(GROUP11_EV, GROUP),
	/* C8 */ ROW(PLAIN, Iw_Ib, DEF64 | KVM), ROW(PLAIN, NOTHING, DEF64 | KVM), /* ENTER LEAVE */
	/* CA */ ROW(RET_FAR, Iw, KVM), ROW(RET_FAR, NOTHING, KVM),
	/* CC */ ROW(INT3, NOTHING, KVM), ROW(INT, Ib, KVM), ROW(INTO, NOTHING, NO64 | KVM),
	/* CF */ ROW(IRET, NOTHING, KVM),
	/* D0 */ TABLE(GROUP2_EB, GROUP), TABLE(GROUP2_EV, GROUP),
	/* D2 */ TABLE(GROUP2_EB, GROUP), TABLE(GROUP2_EV, GROUP),
	/* D4 */ ROW(PLAIN, Ib_byte, NO64 | KVM), ROW(PLAIN, Ib_byte, NO64 | KVM), /* AAM AAD */
	/* D6 */ ROW(PLAIN, Xb, NO64 | KVM), ROW(PLAIN, Xb, KVM), /* SALC XLAT */
	/* D8 */ TABLE(0, X87), TABLE(1, X87), TABLE(2, X87), TABLE(3, X87),
	/* DC */ TABLE(4, X87), TABLE(5, X87), TABLE(6, X87), TABLE(7, X87),
	/* E0 */ X4(ROW(BRANCH, Jb, KVM)), /* LOOPNE LOOPE LOOP JCXZ */
	/* E4 */ ROW(IN, Ib_byte, KVM), ROW(IN, Ib, KVM | FIXUP), ROW(OUT, Ib_byte, KVM),
	ROW(OUT, Ib, KVM | FIXUP),
	/* E8 */ X2(ROW(BRANCH, Jz, KVM)), ROW(JMP_FAR, Ap, NO64 | KVM), ROW(BRANCH, Jb, KVM),
	/* EC */ ROW(IN, Xb, KVM), ROW(IN, Xv, KVM | FIXUP), ROW(OUT, Xb, KVM),
	ROW(OUT, Xv, KVM | FIXUP),
	/* F0 */ UND /* LOCK */, ROW(INT1, NOTHING, 0), X2(UND) /* F2 F3 */,
	/* F4 */ ROW(HLT, NOTHING, KVM), ROW(PLAIN, NOTHING, KVM), /* CMC */
	/* F6 */ TABLE(GROUP3_EB, GROUP), TABLE(GROUP3_EV, GROUP),
	/* F8 */ ROW(PLAIN, NOTHING, KVM), ROW(PLAIN, NOTHING, KVM), /* CLC STC */
	/* FA */ ROW(CLI, NOTHING, KVM), ROW(STI, NOTHING, KVM),
	/* FC */ ROW(PLAIN, NOTHING, KVM), ROW(PLAIN, NOTHING, KVM), /* CLD STD */
	/* FE */ TABLE(GROUP4, GROUP), TABLE(GROUP5, GROUP),
};

const struct insn_row insn_map_0f[256] = {
	/* 00 */ TABLE(GROUP6, GROUP), TABLE(GROUP7, DUAL),
	/* 02 */ ROW(LAR, Gv_Ew, RD), ROW(LSL, Gv_Ew, RD),
	/* 04 */ UND, ROW(SYSCALL, NOTHING, KVM), ROW(CLTS, NOTHING, KVM), ROW(SYSRET, NOTHING, 0),
	/* 08 */ ROW(INVD, NOTHING, KVM), ROW(WBINVD, NOTHING, KVM), UND, UND /* UD2 */,
	/* 0C */ UND, ROW(PLAIN, E, KVM), /* PREFETCHW */ UND /* FEMMS */,
	/* 0F */ ROW(UD, Wq_Ib, RD), /* 3DNow! */
	/* 10 */ P(MOVU_LOAD), P(MOVU_STORE), P(MOVL_LOAD), P(MOVL_STORE),
	/* 14 */ P(PACKED), P(PACKED), P(MOVH_LOAD), P(MOVL_STORE),
	/* 18 */ ROW(PLAIN, E, KVM), X6(ROW(PLAIN, E, 0)), ROW(NOP, E, KVM), /* hints */
	/* 20 */ ROW(MOV_FROM_CR, E, REGS | FORCE64 | FORCE32 | FIXUP | KVM),
	/* 21 */ ROW(MOV_FROM_DR, E, REGS | FORCE64 | FORCE32 | FIXUP | KVM),
	/* 22 */ ROW(MOV_TO_CR, E, REGS | FORCE64 | FORCE32 | FIXUP | KVM | LOAD),
	/* 23 */ ROW(MOV_TO_DR, E, REGS | FORCE64 | FORCE32 | FIXUP | KVM | LOAD),
	/* 24 */ X4(UND), /* test registers of the 80386 */
	/* 28 */ P(MOVA_LOAD), P(MOVA_STORE), P(CVTPI), P(MOVNT), /* 2A: CVTPI2PS … CVTSI2SS */
	/* 2C */ P(CVTPS2PI), P(CVTPS2PI), P(COMPARE), P(COMPARE),
	/* 30 */ ROW(WRMSR, NOTHING, KVM), ROW(RDTSC, NOTHING, KVM),
	/* 32 */ ROW(RDMSR, NOTHING, KVM), ROW(RDPMC, NOTHING, KVM),
	/* 34 */ ROW(SYSENTER, NOTHING, KVM), ROW(SYSEXIT, NOTHING, KVM), UND, P_BARE(GETSEC),
	/* 38 */ X8(UND), /* 0F38, 0F3A: more maps */
	/* 40 */ X16(ROW(PLAIN, Gv_Ev, RD | KVM)), /* CMOVcc */
	/* 50 */ P(U_BOTH), P(SCALARS), P(PS_SS), P(PS_SS), X4(P(PACKED)),
	/* 58 */ X2(P(SCALARS)), P(CVTPS2PD), P(CVTDQ2PS), X4(P(SCALARS)),
	/* 60 */ X3(P(PUNPCKL)), X5(P(MMX_XMM)),
	/* 68 */ X4(P(MMX_XMM)), X2(P(XMM_66)), P(MOVD_LOAD), P(MOVQ_LOAD),
	/* 70 */ P(PSHUF), TABLE(GROUP12, GROUP), TABLE(GROUP13, GROUP), TABLE(GROUP14, GROUP),
	/* 74 */ X3(P(MMX_XMM)), P_BARE(EMMS),
	/* 78 */ P(VMREAD), P(VMWRITE), X2(UND), X2(P(PD_PS_F2)), P(MOVD_STORE), P(MOVQ_STORE),
	/* 80 */ X16(ROW(BRANCH, Jz, KVM)),
	/* 90 */ X16(ROW(PLAIN, Eb, WR | KVM)), /* SETcc */
	/* A0 */ ROW(PUSH_SEG, NOTHING, OPSEG | DEF64 | KVM),
	ROW(POP_SEG, NOTHING, OPSEG | DEF64 | KVM),
	/* A2 */ ROW(CPUID, NOTHING, KVM), ROW(BT, Ev_Gv, RD | BITS | KVM),
	/* A4 */ ROW(PLAIN, Ev_Gv_Ib, RW | KVM), ROW(PLAIN, Ev_Gv, RW | KVM), X2(UND), /* SHLD */
	/* A8 */ ROW(PUSH_SEG, NOTHING, OPSEG | DEF64 | KVM),
	ROW(POP_SEG, NOTHING, OPSEG | DEF64 | KVM),
	/* AA */ ROW(RSM, NOTHING, KVM), ROW(BTS, Ev_Gv, RW | BITS | KVM),
	/* AC */ ROW(PLAIN, Ev_Gv_Ib, RW | KVM), ROW(PLAIN, Ev_Gv, RW | KVM), /* SHRD */
	/* AE */ TABLE(GROUP15, DUAL), ROW(PLAIN, Gv_Ev, RD | KVM), /* IMUL */
	/* B0 */ ROW(CMPXCHG, Eb_Gb, RW | KVM), ROW(CMPXCHG, Ev_Gv, RW | KVM),
	/* B2 */ ROW(LOAD_FAR, Gv_Mp, RD | KVM), ROW(BTR, Ev_Gv, RW | BITS | KVM), /* LSS */
	/* B4 */ ROW(LOAD_FAR, Gv_Mp, RD | KVM), ROW(LOAD_FAR, Gv_Mp, RD | KVM), /* LFS LGS */
	/* B6 */ ROW(MOVZX, Gv_Eb, RD | KVM), ROW(MOVZX, Gv_Ew, RD | KVM),
	/* B8 */ P(POPCNT), NO /* UD1 */, TABLE(GROUP8, GROUP), ROW(BTC, Ev_Gv, RW | BITS | KVM),
	/* BC */ ROW(PLAIN, Gv_Ev, RD | KVM), ROW(PLAIN, Gv_Ev, RD | KVM), /* BSF BSR */
	/* BE */ ROW(MOVSX, Gv_Eb, RD | KVM), ROW(MOVSX, Gv_Ew, RD | KVM),
	/* C0 */ ROW(XADD, Eb_Gb, RW | KVM), ROW(XADD, Ev_Gv, RW | KVM), P(SCALARS_IB), P(MOVNTI),
	/* C4 */ P(PINSRW), P(PEXTRW), P(PACKED_IB), TABLE(GROUP9, DUAL),
	/* C8 */ X8(ROW(PLAIN, Zv, KVM)), /* BSWAP */
	/* D0 */ P(PD_PS_F2), X5(P(MMX_XMM)), P(MOVQ_W), P(U_BOTH),
	/* D8 */ X8(P(MMX_XMM)),
	/* E0 */ X6(P(MMX_XMM)), P(CVTDQ2PD), P(MOVNTQ),
	/* E8 */ X8(P(MMX_XMM)),
	/* F0 */ P(LDDQU), X6(P(MMX_XMM)), P(U_BOTH), /* F7: MASKMOVQ, implicit operand */
	/* F8 */ X7(P(MMX_XMM)), NO, /* UD0 */
};

const struct insn_row insn_map_0f38[256] = {
	/* 00 */ X8(P(MMX_XMM)), X4(P(MMX_XMM)), X4(UND),
	/* 10 */ P(XMM_66), X3(UND), X2(P(XMM_66)), UND, P(XMM_66), X4(UND), X3(P(MMX_XMM)), UND,
	/* 20 */ P(PMOV_Q), P(PMOV_D), P(PMOV_W), P(PMOV_Q), P(PMOV_D), P(PMOV_Q), X2(UND),
	/* 28 */ X2(P(XMM_66)), P(MOVNTDQA), P(XMM_66), X4(UND),
	/* 30 */ P(PMOV_Q), P(PMOV_D), P(PMOV_W), P(PMOV_Q), P(PMOV_D), P(PMOV_Q), UND, P(XMM_66),
	/* 38 */ X8(P(XMM_66)),
	/* 40 */ X2(P(XMM_66)), X6(UND), X8(UND),
	/* 50 */ X16(UND), X16(UND), X16(UND),
	/* 80 */ X2(P(INVEPT)), P(INVPCID), X5(UND), X8(UND),
	/* 90 */ X16(UND), X16(UND), X16(UND),
	/* C0 */ X8(UND), X6(P(XMM_NP)), UND, P(XMM_66), /* SHA, GF2P8MULB */
	/* D0 */ X8(UND), TABLE(GROUP_KEYLOCKER, GROUP), X2(UND), P(XMM_66), P(LOADIWKEY),
	P(AES_48), X2(P(AES_64)),
	/* E0 */ X16(UND),
	/* F0 */ P(38F0), P(38F1), X3(UND), P(WRUSS), P(ADX), UND, P(MOVDIR64B), P(MOVDIRI),
	X2(P(ENCODEKEY)), X4(UND),
};

const struct insn_row insn_map_0f3a[256] = {
	/* 00 */ X8(UND),
	/* 08 */ X2(P(XMM_66_IB)), P(ROUNDSS), P(ROUNDSD), X3(P(XMM_66_IB)), P(PALIGNR),
	/* 10 */ X4(UND), P(PEXTRB), P(PEXTRW_38), P(PEXTRD), P(EXTRACTPS), X8(UND),
	/* 20 */ P(PINSRB), P(INSERTPS), P(PINSRD), X5(UND), X8(UND),
	/* 30 */ X16(UND),
	/* 40 */ X3(P(XMM_66_IB)), UND, P(XMM_66_IB), X3(UND), X8(UND),
	/* 50 */ X16(UND),
	/* 60 */ X4(P(XMM_66_IB)), X4(UND), X8(UND),
	/* 70 */ X16(UND), X16(UND), X16(UND), X16(UND), X16(UND),
	/* C0 */ X8(UND), X4(UND), P(XMM_NP_IB), UND, X2(P(XMM_66_IB)), /* SHA1RNDS4, GF2P8AFFINE */
	/* D0 */ X8(UND), X7(UND), P(XMM_66_IB), /* AESKEYGENASSIST */
	/* E0 */ X16(UND),
	/* F0 */ X16(UND),
};

#define GROUP1(operands) { \
	ROW(ADD, operands, RW | KVM), ROW(OR,  operands, RW | KVM), ROW(ADC, operands, RW | KVM), \
	ROW(SBB, operands, RW | KVM), ROW(AND, operands, RW | KVM), ROW(SUB, operands, RW | KVM), \
	ROW(XOR, operands, RW | KVM), ROW(CMP, operands, RD | KVM) }
#define GROUP2(operands) { X8(ROW(PLAIN, operands, RW | KVM)) } /* ROL ROR RCL RCR SHL SHR SAL SAR */

const struct insn_row insn_groups[][8] = {
	[GROUP1_EB_IB]      = GROUP1(Eb_Ib),
	[GROUP1_EV_IZ]      = GROUP1(Ev_Iz),
	[GROUP1_EB_IB_NO64] = GROUP1(Eb_Ib),
	[GROUP1_EV_IBS]     = GROUP1(Ev_Ibs),
	[GROUP1A] = { ROW(POP, Ev, WR | DEF64 | KVM), X7(NO) },
	[GROUP2_EB_IB] = GROUP2(Eb_Ib),
	[GROUP2_EV_IB] = GROUP2(Ev_Ib),
	[GROUP2_EB] = GROUP2(Eb),
	[GROUP2_EV] = GROUP2(Ev),
	[GROUP3_EB] = { X2(ROW(TEST, Eb_Ib, RD | KVM)), ROW(NOT, Eb, RW | KVM),
			ROW(NEG, Eb, RW | KVM), X4(ROW(PLAIN, Eb, RD | KVM)) }, /* MUL IMUL DIV IDIV */
	[GROUP3_EV] = { X2(ROW(TEST, Ev_Iz, RD | KVM)), ROW(NOT, Ev, RW | KVM),
			ROW(NEG, Ev, RW | KVM), X4(ROW(PLAIN, Ev, RD | KVM)) },
	[GROUP4] = { ROW(INC, Eb, RW | KVM), ROW(DEC, Eb, RW | KVM), X6(NO) },
	[GROUP5] = { ROW(INC, Ev, RW | KVM), ROW(DEC, Ev, RW | KVM),
		     ROW(BRANCH, Ev, RD | FORCE64 | KVM), ROW(CALL_FAR, Mp, RD | KVM),
		     ROW(BRANCH, Ev, RD | FORCE64 | KVM), ROW(JMP_FAR, Mp, RD | KVM),
		     ROW(PUSH, Ev, RD | DEF64 | KVM), NO },
	[GROUP6] = { ROW(SLDT, Ew, WR | KVM), ROW(STR, Ew, WR | KVM), ROW(LLDT, Ew, RD | KVM),
		     ROW(LTR, Ew, RD | KVM), ROW(VERR, Ew, RD), ROW(VERW, Ew, RD), X2(NO) },
	[GROUP7] = { ROW(SGDT, Ms, WR | KVM), ROW(SIDT, Ms, WR | KVM), ROW(LGDT, Ms, RD | KVM),
		     ROW(LIDT, Ms, RD | KVM), ROW(SMSW, Ew, WR | KVM), P(RSTORSSP),
		     ROW(LMSW, Ew, RD | KVM), ROW(INVLPG, M, KVM) },
	[GROUP7_REG] = { X8(TABLE(0, GROUP7R)) },
	[GROUP8] = { X4(NO), ROW(BT, Ev_Ib, RD | KVM), ROW(BTS, Ev_Ib, RW | KVM),
		     ROW(BTR, Ev_Ib, RW | KVM), ROW(BTC, Ev_Ib, RW | KVM) },
	[GROUP9] = { NO, ROW(CMPXCHG8B, Mq, RW | KVM | FIXUP), NO, P(XRSTORS),
		     P(XSAVEC), P(XSAVES), P(GROUP9_6), P(GROUP9_7) },
	[GROUP9_REG] = { X6(NO), P(GROUP9_6_REG), P(GROUP9_7_REG) },
	[GROUP11_EB] = { ROW(MOV, Eb_Ib, WR | KVM), X6(NO), ROW(UD, Eb_Ib, 0) }, /* XABORT */
	[GROUP11_EV] = { ROW(MOV, Ev_Iz, WR | KVM), X6(NO), ROW(UD, Ev_Iz, 0) }, /* XBEGIN */
	[GROUP12] = { X2(NO), X3(P(SHIFT_BOTH), NO) }, /* /2 /4 /6 */
	[GROUP13] = { X2(NO), X3(P(SHIFT_BOTH), NO) }, /* /2 /4 /6 */
	[GROUP14] = { X2(NO), P(SHIFT_BOTH), P(SHIFT_66), X2(NO), P(SHIFT_BOTH), P(SHIFT_66) },
	[GROUP15] = { P(FXSAVE), P(FXRSTOR), P(LDMXCSR), P(STMXCSR), P(XSAVE_PTWRITE), P(XRSTOR),
		      P(XSAVEOPT), P(CLFLUSH) },
	[GROUP15_REG] = { X4(P(FSGSBASE)), P(PTWRITE), P(LFENCE), P(MFENCE), P(SFENCE) },
	[GROUP_KEYLOCKER] = { X2(P(KEYLOCKER_WIDE_48)), X2(P(KEYLOCKER_WIDE_64)), X4(NO) },
};

const struct insn_row insn_group7_registers[64] = {
	/* C0 */ ROW(PLAIN, E, NP) /* ENCLV */, ROW(VMCALL, E, NP | KVM), X3(ROW(VMX_SVM, E, NP)),
	/* C5 */ ROW(PLAIN, E, NP) /* PCONFIG */, X2(NO),
	/* C8 */ ROW(MONITOR, E, NP), ROW(MWAIT, E, NP), ROW(CLAC, E, NP), ROW(STAC, E, NP),
	/* CC */ X3(NO), ROW(PLAIN, E, NP), /* ENCLS */
	/* D0 */ ROW(XGETBV, E, NP), ROW(XSETBV, E, NP | KVM), X2(NO),
	/* D4 */ ROW(VMX_SVM, E, NP), /* VMFUNC */
	/* D5 */ X2(NO), ROW(PLAIN, E, NP), /* XEND XTEST ENCLU */
	/* D8 */ ROW(VMX_SVM, E, 0), ROW(VMMCALL, E, KVM), X6(ROW(VMX_SVM, E, 0)), /* VMRUN and others */
	/* E0 */ X8(ROW(SMSW, E, KVM)),
	/* E8 */ P(SERIALIZE), P(XRESLDTRK), P(SAVEPREVSSP), NO,
	/* EC */ X2(P(UINTR)), P(RDPKRU), P(WRPKRU),
	/* F0 */ X8(ROW(LMSW, E, KVM)),
	/* F8 */ ROW(SWAPGS, E, ONLY64), ROW(RDTSCP, E, 0), X6(NO), /* AMD: MONITORX … */
};

const struct insn_row insn_by_prefix[][4] = {
	/*                     none                 66                    F3                    F2 */
	[P_MMX_XMM]       = { ROW(PLAIN, Wq, RD),    ROW(PLAIN, Wdq, RD),    NO, NO },
	[P_XMM_NP]        = { ROW(PLAIN, Wdq, RD),   NO, NO, NO },
	[P_XMM_NP_IB]     = { ROW(PLAIN, Wdq_Ib, RD), NO, NO, NO },
	[P_XMM_66]        = { NO, ROW(PLAIN, Wdq, RD), NO, NO },
	[P_XMM_66_IB]     = { NO, ROW(PLAIN, Wdq_Ib, RD), NO, NO },
	[P_PACKED]        = { X2(ROW(PLAIN, Wdq, RD)), NO, NO },
	[P_PACKED_IB]     = { X2(ROW(PLAIN, Wdq_Ib, RD)), NO, NO },
	[P_SCALARS]       = { X2(ROW(PLAIN, Wdq, RD)), ROW(PLAIN, Wd, RD), ROW(PLAIN, Wq, RD) },
	[P_SCALARS_IB]    = { X2(ROW(PLAIN, Wdq_Ib, RD)), ROW(PLAIN, Wd_Ib, RD),
		ROW(PLAIN, Wq_Ib, RD) },
	[P_PS_SS]         = { ROW(PLAIN, Wdq, RD), NO, ROW(PLAIN, Wd, RD), NO },
	[P_PD_PS_F2]      = { NO, ROW(PLAIN, Wdq, RD), NO, ROW(PLAIN, Wdq, RD) },
	[P_COMPARE]       = { ROW(PLAIN, Wd, RD), ROW(PLAIN, Wq, RD), NO, NO },
	[P_MOVU_LOAD]     = { X2(ROW(PLAIN, Wdq, RD | KVM)), ROW(PLAIN, Wd, RD),
		ROW(PLAIN, Wq, RD) },
	[P_MOVU_STORE]    = { X2(ROW(PLAIN, Wdq, WR | KVM)), ROW(PLAIN, Wd, WR),
		ROW(PLAIN, Wq, WR) },
	[P_MOVA_LOAD]     = { X2(ROW(PLAIN, Wdq, RD | KVM)), NO, NO },
	[P_MOVA_STORE]    = { X2(ROW(PLAIN, Wdq, WR | KVM)), NO, NO },
	[P_MOVNT]         = { X2(ROW(PLAIN, Mdq_x, WR | KVM)), NO, NO },
	/* MOVLPS, MOVLPD, MOVSLDUP, MOVDDUP; without prefix the register form is MOVHLPS */
	[P_MOVL_LOAD]     = { ROW(PLAIN, Wq, RD), ROW(PLAIN, Mq_x, RD), ROW(PLAIN, Wdq, RD),
		ROW(PLAIN, Wq, RD) },
	[P_MOVL_STORE]    = { X2(ROW(PLAIN, Mq_x, WR)), NO, NO },
	[P_MOVH_LOAD]     = { ROW(PLAIN, Wq, RD), ROW(PLAIN, Mq_x, RD), ROW(PLAIN, Wdq, RD), NO },
	[P_CVTPI]         = { X2(ROW(PLAIN, Wq, RD)), X2(ROW(PLAIN, Wy, RD)) },
	[P_CVTPS2PI]      = { ROW(PLAIN, Wq, RD), ROW(PLAIN, Wdq, RD), ROW(PLAIN, Wd, RD),
		ROW(PLAIN, Wq, RD) },
	[P_CVTPS2PD]      = { ROW(PLAIN, Wq, RD), ROW(PLAIN, Wdq, RD), ROW(PLAIN, Wd, RD),
		ROW(PLAIN, Wq, RD) },
	[P_CVTDQ2PS]      = { X3(ROW(PLAIN, Wdq, RD)), NO },
	[P_CVTDQ2PD]      = { NO, ROW(PLAIN, Wdq, RD), ROW(PLAIN, Wq, RD), ROW(PLAIN, Wdq, RD) },
	[P_PUNPCKL]       = { ROW(PLAIN, Wd, RD), ROW(PLAIN, Wdq, RD), NO, NO },
	[P_MOVD_LOAD]     = { X2(ROW(PLAIN, Wy, RD)), NO, NO },
	[P_MOVD_STORE]    = { X2(ROW(PLAIN, Wy, WR)), ROW(PLAIN, Wq, RD), NO },
	[P_MOVQ_LOAD]     = { ROW(PLAIN, Wq, RD | KVM), ROW(PLAIN, Wdq, RD | KVM),
		ROW(PLAIN, Wdq, RD | KVM | KVM_NO66), NO },
	[P_MOVQ_STORE]    = { ROW(PLAIN, Wq, WR | KVM), ROW(PLAIN, Wdq, WR | KVM),
		ROW(PLAIN, Wdq, WR | KVM | KVM_NO66), NO },
	[P_PSHUF]         = { ROW(PLAIN, Wq_Ib, RD), X3(ROW(PLAIN, Wdq_Ib, RD)) },
	[P_SHIFT_BOTH]    = { X2(ROW(PLAIN, U_Ib, 0)), NO, NO },
	[P_SHIFT_66]      = { NO, ROW(PLAIN, U_Ib, 0), NO, NO },
	[P_EMMS]          = { ROW(PLAIN, NOTHING, FPU), UND, UND, UND },
	/* with 66 and F2 AMD's EXTRQ and INSERTQ, which Intel's processors do not have */
	[P_VMREAD]        = { ROW(VMX_SVM, E, 0), ROW(UD, U_Ib_Ib, 0), NO, ROW(UD, U_Ib_Ib, 0) },
	[P_VMWRITE]       = { ROW(VMX_SVM, E, 0), NO, NO, NO },
	[P_GETSEC]        = { ROW(VMX_SVM, NOTHING, 0), UND, UND, UND },
	[P_MOVNTI]        = { ROW(PLAIN, My, WR | KVM), NO, NO, NO },
	[P_PINSRW]        = { X2(ROW(PLAIN, Ww_Ib, RD)), NO, NO },
	[P_PEXTRW]        = { X2(ROW(PLAIN, U_Ib, 0)), NO, NO },
	[P_U_BOTH]        = { X2(ROW(PLAIN, U, 0)), NO, NO },
	[P_MOVQ_W]        = { NO, ROW(PLAIN, Wq, WR), X2(ROW(PLAIN, U, 0)) },
	[P_MOVNTQ]        = { ROW(PLAIN, Mq_x, WR), ROW(PLAIN, Mdq_x, WR | KVM), NO, NO },
	[P_LDDQU]         = { NO, NO, NO, ROW(PLAIN, Mdq_x, RD) },
	[P_POPCNT]        = { NO, NO, ROW(PLAIN, Gv_Ev, RD), NO },
	/* group 7 */
	[P_RSTORSSP]      = { NO, NO, ROW(PLAIN, Mq, RW), NO },
	[P_SERIALIZE]     = { ROW(PLAIN, E, 0), NO, ROW(PLAIN, E, 0), ROW(PLAIN, E, 0) },
	[P_XRESLDTRK]     = { NO, NO, NO, ROW(PLAIN, E, 0) },
	[P_SAVEPREVSSP]   = { NO, NO, ROW(PLAIN, E, 0), NO },
	[P_UINTR]         = { NO, NO, ROW(PLAIN, E, ONLY64), NO },
	[P_RDPKRU]        = { ROW(PLAIN, E, 0), NO, ROW(PLAIN, E, ONLY64), NO },
	[P_WRPKRU]        = { ROW(PLAIN, E, 0), NO, ROW(PLAIN, E, ONLY64), NO },
	/* group 9 */
	[P_XRSTORS]       = { ROW(XRSTOR, Mhuge, RD | FPU), NO, NO, NO },
	[P_XSAVEC]        = { ROW(XSAVE, Mhuge, WR | FPU), NO, NO, NO },
	[P_XSAVES]        = { ROW(XSAVE, Mhuge, WR | FPU), NO, NO, NO },
	[P_GROUP9_6]      = { X3(ROW(VMX_SVM, Mq, RD)), NO }, /* VMPTRLD VMCLEAR VMXON */
	[P_GROUP9_7]      = { ROW(VMX_SVM, Mq, WR), NO, NO, NO }, /* VMPTRST */
	/* RDRAND SENDUIPI */
	[P_GROUP9_6_REG]  = { X2(ROW(PLAIN, R, 0)), ROW(PLAIN, R, ONLY64), NO },
	[P_GROUP9_7_REG]  = { X2(ROW(PLAIN, R, 0)),
		ROW(RDPID, R, FORCE64 | FORCE32 | KVM | KVM_NO66), NO }, /* RDSEED */
	/* group 15 */
	[P_FXSAVE]        = { ROW(PLAIN, Mhuge, WR | FPU | KVM), NO, NO, NO },
	[P_FXRSTOR]       = { ROW(PLAIN, Mhuge, RD | FPU | KVM), NO, NO, NO },
	[P_LDMXCSR]       = { ROW(PLAIN, Md, RD | FPU), NO, NO, NO },
	[P_STMXCSR]       = { ROW(PLAIN, Md, WR | FPU), NO, NO, NO },
	[P_XSAVE_PTWRITE] = { ROW(XSAVE, Mhuge, RW | FPU), NO, ROW(PLAIN, Ey, RD), NO },
	[P_XRSTOR]        = { ROW(XRSTOR, Mhuge, RD | FPU), NO, NO, NO },
	/* XSAVEOPT CLWB CLRSSBSY */
	[P_XSAVEOPT]      = { ROW(XSAVE, Mhuge, RW | FPU), ROW(PLAIN, M, 0), ROW(PLAIN, Mq, RW),
		NO },
	[P_CLFLUSH]       = { X2(ROW(PLAIN, M, KVM)), NO, NO },
	[P_FSGSBASE]      = { NO, NO, ROW(PLAIN, R, ONLY64), NO },
	[P_PTWRITE]       = { NO, NO, ROW(PLAIN, R, 0), NO },
	[P_LFENCE]        = { ROW(PLAIN, R, 0), NO, ROW(PLAIN, R, 0), NO }, /* F3: INCSSP */
	[P_MFENCE]        = { X4(ROW(PLAIN, R, 0)) }, /* MFENCE TPAUSE UMONITOR UMWAIT */
	[P_SFENCE]        = { ROW(PLAIN, R, 0), NO, NO, NO },
	/* 0F38 */
	[P_PMOV_W]        = { NO, ROW(PLAIN, Ww, RD), NO, NO },
	[P_PMOV_D]        = { NO, ROW(PLAIN, Wd, RD), NO, NO },
	[P_PMOV_Q]        = { NO, ROW(PLAIN, Wq, RD), NO, NO },
	[P_MOVNTDQA]      = { NO, ROW(PLAIN, Mdq_x, RD), NO, NO },
	[P_INVEPT]        = { NO, ROW(VMX_SVM, Mdq, RD), NO, NO },
	[P_INVPCID]       = { NO, ROW(INVPCID, Mdq, RD), NO, NO },
	[P_KEYLOCKER_WIDE_48] = { NO, NO, ROW(PLAIN, M48, RD | FPU), NO },
	[P_KEYLOCKER_WIDE_64] = { NO, NO, ROW(PLAIN, M64, RD | FPU), NO },
	/* AESENC … with 66; Key Locker's handles of 48 and 64 bytes with F3 */
	[P_AES_48]        = { NO, ROW(PLAIN, Wdq, RD), ROW(PLAIN, M48, RD | FPU), NO },
	[P_AES_64]        = { NO, ROW(PLAIN, Wdq, RD), ROW(PLAIN, M64, RD | FPU), NO },
	[P_LOADIWKEY]     = { NO, ROW(PLAIN, Wdq, RD), ROW(PLAIN, E48, RD | FPU), NO },
	[P_38F0]          = { X2(ROW(PLAIN, Mv, RD | LOAD | KVM)), NO,
		ROW(PLAIN, Gv_Eb, RD) }, /* MOVBE CRC32 */
	[P_38F1]          = { X2(ROW(PLAIN, Mv, WR | KVM)), NO, ROW(PLAIN, Gv_Ev, RD) },
	[P_WRUSS]         = { NO, ROW(PLAIN, My, WR), NO, NO },
	[P_ADX]           = { ROW(PLAIN, My, WR), X2(ROW(PLAIN, Ey, RD)), NO }, /* WRSS ADCX ADOX */
	[P_MOVDIR64B]     = { NO, X3(ROW(PLAIN, M64, RD)) }, /* ENQCMDS ENQCMD */
	[P_MOVDIRI]       = { ROW(PLAIN, My, WR), NO, NO, NO },
	[P_ENCODEKEY]     = { NO, NO, ROW(PLAIN, U, 0), NO },
	/* 0F3A */
	[P_PALIGNR]       = { ROW(PLAIN, Wq_Ib, RD), ROW(PLAIN, Wdq_Ib, RD), NO, NO },
	[P_ROUNDSS]       = { NO, ROW(PLAIN, Wd_Ib, RD), NO, NO },
	[P_ROUNDSD]       = { NO, ROW(PLAIN, Wq_Ib, RD), NO, NO },
	[P_PEXTRB]        = { NO, ROW(PLAIN, Wb_Ib, WR), NO, NO },
	[P_PEXTRW_38]     = { NO, ROW(PLAIN, Ww_Ib, WR), NO, NO },
	[P_PEXTRD]        = { NO, ROW(PLAIN, Wy_Ib, WR), NO, NO },
	[P_EXTRACTPS]     = { NO, ROW(PLAIN, Wd_Ib, WR), NO, NO },
	[P_PINSRB]        = { NO, ROW(PLAIN, Wb_Ib, RD), NO, NO },
	[P_INSERTPS]      = { NO, ROW(PLAIN, Wd_Ib, RD), NO, NO },
	[P_PINSRD]        = { NO, ROW(PLAIN, Wy_Ib, RD), NO, NO },
};

const struct insn_row insn_x87_memory[8][8] = {
	/* D8 */ { X8(ROW(PLAIN, Md, RD | FPU)) },
	/* D9 */ { ROW(PLAIN, Md, RD | FPU), NO, ROW(PLAIN, Md, WR | FPU), ROW(PLAIN, Md, WR | FPU),
		   ROW(PLAIN, Menv, RD | FPU), ROW(PLAIN, Mw, RD | FPU), ROW(PLAIN, Menv, WR | FPU),
	ROW(PLAIN, Mw, WR | FPU | KVM) },
	/* DA */ { X8(ROW(PLAIN, Md, RD | FPU)) },
	/* DB */ { ROW(PLAIN, Md, RD | FPU), X3(ROW(PLAIN, Md, WR | FPU)), NO,
	ROW(PLAIN, Mt, RD | FPU), NO,
		   ROW(PLAIN, Mt, WR | FPU) },
	/* DC */ { X8(ROW(PLAIN, Mq, RD | FPU)) },
	/* DD */ { ROW(PLAIN, Mq, RD | FPU), X3(ROW(PLAIN, Mq, WR | FPU)),
	ROW(PLAIN, Mhuge, RD | FPU), NO,
		   ROW(PLAIN, Mhuge, WR | FPU), ROW(PLAIN, Mw, WR | FPU | KVM) },
	/* DE */ { X8(ROW(PLAIN, Mw, RD | FPU)) },
	/* DF */ { ROW(PLAIN, Mw, RD | FPU), X3(ROW(PLAIN, Mw, WR | FPU)), ROW(PLAIN, Mt, RD | FPU),
	ROW(PLAIN, Mq, RD | FPU),
		   ROW(PLAIN, Mt, WR | FPU), ROW(PLAIN, Mq, WR | FPU) },
};

/* One byte for each value of ModRM.reg, bit = ModRM.rm; reg 7 leftmost. */
const uint64_t insn_x87_registers[8] = {
	0xffffffffffffffff, /* D8 */
	0xffff7f33ff01ffff, /* D9: FNOP is D0; E0 E1 E4 E5; E8 to EE; FSTP1 (D8) is undocumented */
	0x00000200ffffffff, /* DA: FCMOVcc; FUCOMPP is E9 */
	0x00ffff1fffffffff, /* DB: FCMOVNcc; FNENI … FRSTPM (E0 to E4); FUCOMI, FCOMI */
	0xffffffffffffffff, /* DC: D0 to DF are undocumented FCOM2, FCOMP3 */
	0x0000ffffffffffff, /* DD: C8 is undocumented FXCH4 */
	0xffffffff02ffffff, /* DE: D0 is undocumented FCOMP5; FCOMPP is D9 */
	0x00ffff01ffffffff, /* DF: FFREEP and undocumented aliases; FNSTSW is E0 */
};
