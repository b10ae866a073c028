/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The processor's inside: the state of a vCPU and the internal interfaces between the files of emu/.
 * Nobody outside emu/ includes this.
 *
 * The engine (engine.h) executes ordinary code on a copy of `struct cpu`'s registers; at each stop
 * they are here, exact, and the functions below do by hand what the engine does not do.
 */
#ifndef BUSLOCK_EMU_CPU_H
#define BUSLOCK_EMU_CPU_H

#include "emu/emu.h"
#include "emu/insn.h"
#include "emu/memtype.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096ull
#define PAGE_MASK  (~(PAGE_SIZE - 1))
#define LINE_SIZE  64u /* cache line of all current parts */

/* RFLAGS */
enum {
	FL_CF = 1 << 0,
	FL_FIXED = 1 << 1,
	FL_PF = 1 << 2,
	FL_AF = 1 << 4,
	FL_ZF = 1 << 6,
	FL_SF = 1 << 7,
	FL_TF = 1 << 8,
	FL_IF = 1 << 9,
	FL_DF = 1 << 10,
	FL_OF = 1 << 11,
	FL_IOPL = 3 << 12,
	FL_NT = 1 << 14,
	FL_RF = 1 << 16,
	FL_VM = 1 << 17,
	FL_AC = 1 << 18,
	FL_VIF = 1 << 19,
	FL_VIP = 1 << 20,
	FL_ID = 1 << 21,
	FL_STATUS = FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF,
};
/* control registers, EFER */
#define CR0_PE         (1ull << 0)
#define CR0_MP         (1ull << 1)
#define CR0_EM         (1ull << 2)
#define CR0_TS         (1ull << 3)
#define CR0_ET         (1ull << 4)
#define CR0_NE         (1ull << 5)
#define CR0_WP         (1ull << 16)
#define CR0_AM         (1ull << 18)
#define CR0_NW         (1ull << 29)
#define CR0_CD         (1ull << 30)
#define CR0_PG         (1ull << 31)
#define CR4_VME        (1ull << 0)
#define CR4_PVI        (1ull << 1)
#define CR4_TSD        (1ull << 2)
#define CR4_DE         (1ull << 3)
#define CR4_PSE        (1ull << 4)
#define CR4_PAE        (1ull << 5)
#define CR4_MCE        (1ull << 6)
#define CR4_PGE        (1ull << 7)
#define CR4_PCE        (1ull << 8)
#define CR4_OSFXSR     (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_UMIP       (1ull << 11)
#define CR4_LA57       (1ull << 12)
#define CR4_FSGSBASE   (1ull << 16)
#define CR4_PCIDE      (1ull << 17)
#define CR4_OSXSAVE    (1ull << 18)
#define CR4_SMEP       (1ull << 20)
#define CR4_SMAP       (1ull << 21)
#define CR4_PKE        (1ull << 22)
#define EFER_SCE       (1ull << 0)
#define EFER_LME       (1ull << 8)
#define EFER_LMA       (1ull << 10)
#define EFER_NXE       (1ull << 11)

/* MSR 33h, MSR_MEMORY_CTRL (SDM 11.1.2.3) */
#define MEMORY_CTRL_UC_LOCK_DISABLE    (1ull << 28)
#define MEMORY_CTRL_SPLIT_LOCK_DISABLE (1ull << 29)

/* bits of the debug registers that read as one (SDM 20.2.3, 20.2.4) */
#define DR6_FIXED 0xffff0ff0ull
/* What happened, as DR6 has it; the exit qualification and the pending debug exceptions have all of
 * them active high (SDM tables 27-4 and 30-1). */
#define DR6_B0_TO_B3 0xfull
#define DR6_BLD      (1ull << 11) /* bus lock; in DR6 active low (SDM 20.3.1.6) */
#define DR6_BD       (1ull << 13)
#define DR6_BS       (1ull << 14)
#define DR6_BT       (1ull << 15)
#define DR6_RTM      (1ull << 16) /* active low */
/* In the pending debug exceptions alone: a breakpoint or the bus lock was enabled. */
#define PENDING_ENABLED (1ull << 12)

#define DEBUGCTL_BLD (1ull << 2)

/* Interruption information (SDM tables 27-20, 27-21): vector, type, error code valid, valid. */
#define INTR_TYPE       (7u << 8)
#define INTR_EXTERNAL   (0u << 8)
#define INTR_NMI        (2u << 8)
#define INTR_HARDWARE   (3u << 8) /* exception */
#define INTR_SOFTWARE   (4u << 8) /* INT n */
#define INTR_PRIVILEGED (5u << 8) /* INT1 */
#define INTR_TRAP       (6u << 8) /* INT3, INTO */
#define INTR_ERROR      (1u << 11)
#define INTR_VALID      (1u << 31)
#define DR7_FIXED       0x400ull

/* exception vectors */
enum {
	EXC_DE = 0,
	EXC_DB = 1,
	EXC_NMI = 2,
	EXC_BP = 3,
	EXC_OF = 4,
	EXC_BR = 5,
	EXC_UD = 6,
	EXC_NM = 7,
	EXC_DF = 8,
	EXC_TS = 10,
	EXC_NP = 11,
	EXC_SS = 12,
	EXC_GP = 13,
	EXC_PF = 14,
	EXC_MF = 16,
	EXC_AC = 17,
	EXC_MC = 18,
	EXC_XM = 19,
};
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 }; /* #PF error code, SDM 4.7 */

/*
 * A segment register with its hidden part, laid out as the engine keeps it. flags: the high word of
 * the descriptor (type 11:8, S 12, DPL 14:13, P 15, AVL 20, L 21, D/B 22, G 23); limit in bytes.
 */
struct segment {
	uint32_t selector, pad;
	uint64_t base;
	uint32_t limit, flags;
};
enum {
	DESC_ACCESSED = 1 << 8,
	DESC_WRITABLE = 1 << 9,
	DESC_READABLE = 1 << 9,
	DESC_CONFORMING = 1 << 10,
	DESC_EXPAND_DOWN = 1 << 10,
	DESC_CODE = 1 << 11,
	DESC_S = 1 << 12,
	DESC_DPL = 3 << 13,
	DESC_P = 1 << 15,
	DESC_L = 1 << 21,
	DESC_DB = 1 << 22,
	DESC_G = 1 << 23,
};
#define DESC_TYPE(flags)    (((flags) >> 8) & 15)
#define DESC_GET_DPL(flags) (((flags) >> 13) & 3)

/* What the engine gets and gives back at every run. */
struct cpu {
	uint64_t gpr[16];
	uint64_t rip; /* offset in CS */
	uint64_t rflags;
	struct segment segment[8]; /* ES CS SS DS FS GS LDTR TR */
	struct segment gdt, idt;   /* base and limit */
	uint64_t cr0, cr2, cr3, cr4, cr8, efer;
	uint64_t dr[8];
	uint8_t shadow; /* EMU_SHADOW_ */
	uint8_t cpl;    /* kept equal to SS.DPL (3 in virtual-8086 mode, 0 in real mode) */
};

/* An exception on its way. */
struct fault {
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint64_t cr2; /* #PF; #DB: the causes, for the exit qualification */
};

/* The access behind MMIO, for those exits that tell of it; its guest-physical address is `mmio_gpa`. */
struct missing {
	uint64_t linear; /* its page, where the engine made it */
	unsigned access; /* WALK_ */
	bool table;      /* `mmio_gpa` is a paging-structure entry on the way */
};

/* The event that is being delivered, or was last in this step (SDM 27.9.3). */
struct vectoring {
	uint32_t info, error; /* INTR_ */
	uint64_t rflags;      /* of its frame */
	uint8_t length;       /* of the instruction, for software interrupts and exceptions */
	bool active;          /* delivery has not come to its end */
};

/*
 * How a step of hand-emulation ended. Everything but DONE leaves the registers as they were before
 * the instruction (memory that was already written stays written).
 */
enum outcome {
	DONE = 0,
	FAULT,     /* vcpu->fault says which exception */
	MMIO,      /* an access touched memory without a slot; vcpu->mmio_gpa */
	HOST_GONE, /* host memory behind a slot is gone: -EFAULT */
	EXIT,      /* vcpu->exit is filled: leave the run; RIP etc. are final */
	NATIVE,    /* not for us: let the engine execute this one instruction */
	UNHANDLED, /* cannot be executed: KVM_EXIT_INTERNAL_ERROR */
	SHUTDOWN,  /* triple fault */
};

struct slot;
struct engine;
struct emu_msrs;

#define DATA_CACHE_SIZE 256 /* translations of hand-emulated accesses, direct mapped */

struct emu_vcpu {
	struct cpu cpu; /* first: hot */
	struct emu_vm *vm;
	unsigned index;

	struct fault fault; /* valid after FAULT */
	uint64_t mmio_gpa;  /* valid after MMIO, as is `missing` */
	struct missing missing;
	struct emu_exit *exit; /* where the current run's exit goes */

	/* events (SDM 29.3, 29.6) */
	struct emu_events events;
	bool interrupt_window; /* wanted */
	bool bus_lock_exiting;
	uint64_t instruction_limit; /* of stats.instructions, 0: none */
	uint16_t bus_lock_counter;  /* AMD: VMCB 120h */
	struct emu_controls controls;
	struct vectoring vectoring;
	struct emu_debug debug;
	bool pending_db;         /* debug trap to deliver before the next instruction */
	uint64_t pending_db_dr6; /* its DR6 bits, active high */
	uint8_t next_shadow;     /* set by an instruction for the one behind it */
	bool task_committed;     /* in a task switch, of which nothing can be taken back any more */
	bool vm_yield;           /* PAUSE: let another vCPU run */

	uint64_t xcr0, apic_base;
	uint64_t memory_ctrl; /* MSR 33h */
	uint64_t debugctl;
	bool has_bus_lock_db;       /* CPUID.(7,0):ECX[24]: DEBUGCTL bit 2, DR6 bit 11 */
	bool has_core_capabilities; /* CPUID.(7,0):EDX[30]: MSR CFh */
	bool uc_lock_is_ac; /* CPUID.(7,2):EDX[6]: UC-lock disable raises #AC(0), not #GP(0) */
	struct emu_msrs *msrs;
	struct memtype_registers types; /* PAT and MTRRs */
	bool has_mtrr;                  /* CPUID.1:EDX[12] */
	struct emu_cpuid *cpuid;
	size_t cpuid_count;

	struct emu_stats stats;
	_Atomic unsigned kicked;
	bool running;                  /* in emu_vcpu_run(), with the run lock */
	const uint8_t *open_code_page; /* host page that one instruction executes from and writes */
	void *engine_context;          /* this vCPU's whole engine state while another one runs */

	/* see run.c, access.c */
	struct run_state *run;
	struct access_cache *cache;
};

/* ------------------------------------------------------------------ small questions */

static inline bool in_long_mode(const struct cpu *c)
{
	return c->efer & EFER_LMA;
}
static inline bool in_64bit(const struct cpu *c)
{
	return (c->efer & EFER_LMA) && (c->segment[EMU_CS].flags & DESC_L);
}
static inline bool in_real(const struct cpu *c)
{
	return !(c->cr0 & CR0_PE);
}
static inline bool in_vm86(const struct cpu *c)
{
	return (c->cr0 & CR0_PE) && (c->rflags & FL_VM);
}
static inline bool in_protected(const struct cpu *c)
{
	return (c->cr0 & CR0_PE) && !(c->rflags & FL_VM);
}
static inline unsigned code_mode(const struct cpu *c)
{
	return in_64bit(c) ? 64 : c->segment[EMU_CS].flags & DESC_DB ? 32 : 16;
}
/* bytes of a stack address: 8, 4 or 2 */
static inline unsigned stack_size(const struct cpu *c)
{
	return in_64bit(c) ? 8 : c->segment[EMU_SS].flags & DESC_DB ? 4 : 2;
}
static inline uint64_t size_mask(unsigned bytes)
{
	return bytes >= 8 ? ~0ull : (1ull << bytes * 8) - 1;
}
static inline bool canonical(const struct cpu *c, uint64_t linear)
{
	unsigned bits = c->cr4 & CR4_LA57 ? 57 : 48;
	return (uint64_t)((int64_t)(linear << (64 - bits)) >> (64 - bits)) == linear;
}
/* linear address of RIP */
static inline uint64_t linear_rip(const struct cpu *c)
{
	return in_64bit(c) ? c->rip : (uint32_t)(c->segment[EMU_CS].base + c->rip);
}

/* Does the hypervisor want this exception (SDM 26.2)? */
static inline bool exception_intercepted(const struct emu_vcpu *v, unsigned vector)
{
	return vector < 32 && v->controls.exception_bitmap >> vector & 1;
}

/* Raise: fills vcpu->fault, returns FAULT. */
enum outcome raise_exception(struct emu_vcpu *v, unsigned vector);
/* libc has a raise(int), too: seen before this line it does no harm, and ours has its own symbol. */
#define raise(v, vector) raise_exception(v, vector)
enum outcome raise_error(struct emu_vcpu *v, unsigned vector, uint32_t error);
enum outcome raise_pf(struct emu_vcpu *v, uint64_t linear, uint32_t error);

/* ------------------------------------------------------------------ memory.c: slots */

struct slot {
	unsigned number;
	unsigned flags; /* EMU_MEM_ */
	uint64_t gpa, size;
	uint8_t *host;
	_Atomic uint64_t *dirty; /* one bit a page, or NULL */
	struct region *region;   /* the host block it lies in (memory.c) */
};

/* Per page of host memory, shared by all slots that show it. */
enum {
	PAGE_CODE = 1,    /* has translated code: not writable */
	PAGE_EVER_W = 2,  /* a writable TLB entry may exist since the last flush */
	PAGE_GONE = 4,    /* the monitor took it away */
	PAGE_CHECKED = 8, /* compared with what was translated, in this epoch */
};
struct region {
	uint8_t *host;
	uint64_t size;
	uint8_t *page;  /* PAGE_ flags, size >> 12 of them */
	uint8_t **copy; /* what was translated, per page with code (4096 bytes) or NULL */
	struct region *next;
};

/* The slot that holds gpa, NULL if none or if the page exits (emu_vm_intercept_page()). `v` may be NULL (no per-vCPU cache then). */
const struct slot *slot_find(struct emu_vm *vm, uint64_t gpa);
static inline uint8_t *slot_host(const struct slot *s, uint64_t gpa)
{
	return s->host + (gpa - s->gpa);
}
static inline uint8_t *slot_page_flags(const struct slot *s, uint64_t gpa)
{
	return &s->region->page[(uint64_t)(slot_host(s, gpa) - s->region->host) >> PAGE_SHIFT];
}
void slot_mark_dirty(const struct slot *s, uint64_t gpa);

/* ------------------------------------------------------------------ paging.c: the one walker */

enum walk_access {
	WALK_READ = 1,
	WALK_WRITE = 2,
	WALK_FETCH = 4,
	WALK_USER = 8,
	WALK_NO_SIDE_EFFECTS = 16, /* set no A or D bits, and ignore permissions */
	WALK_SYSTEM = 32,          /* implicit supervisor access: RFLAGS.AC does not excuse it from
				     * SMAP (SDM 5.6.1) */
	WALK_NO_BUS_LOCK = 64      /* UNHANDLED instead of an A or D update that is a bus lock; with
				     * WALK_NO_SIDE_EFFECTS: that would be one */
};

struct walk {
	uint64_t gpa;                    /* of the byte asked for */
	bool writable, user, executable; /* what the tables allow, CR0.WP and such not applied */
	bool dirty;                      /* leaf's D bit is set (now) */
	bool write_ok;      /* a write by this same CPL would be allowed now without setting D */
	uint8_t pat_index;  /* of the page; MEMTYPE_NO_PAT without paging */
	uint8_t page_shift; /* 12, 21, 22, 30 */
};

/*
 * Translate `linear` for `access` at the vCPU's paging mode (none, 32-bit, PAE, 4- and 5-level), with
 * accessed and dirty bits, NX, WP, SMEP, SMAP, U/S, reserved bits, canonical check (#GP, #SS is the
 * caller's). FAULT leaves #PF (error code, CR2) or #GP(0) in vcpu->fault. MMIO when a paging
 * structure lies outside all slots. An A or D update in memory that is not WB is a bus lock
 * (stuffed.c): also whatever lock_begin() answers. Walks that need SMAP read RFLAGS.AC from
 * vcpu->cpu.rflags.
 */
enum outcome page_walk(struct emu_vcpu *v, uint64_t linear, unsigned access, struct walk *w);

/* ------------------------------------------------------------------ stuffed.c */

/*
 * A locked access that is not the instruction's operand (SDM 11.1.2.1), at linear address `linear`
 * as emu_lock has it. stuffed_begin() in front of it fills `lock` and asks lock_begin() if it is a
 * bus lock: DONE: make the access, then stuffed_end(). FAULT, EXIT: do not.
 */
struct stuffed_access {
	enum emu_stuffed what;
	uint64_t linear, gpa;
	uint32_t size;
	uint8_t type, guest_type; /* EMU_MT_ */
};
enum outcome stuffed_begin(struct emu_vcpu *v, const struct stuffed_access *access,
			   struct emu_lock *lock);
void stuffed_end(struct emu_vcpu *v, const struct emu_lock *lock);

/* ------------------------------------------------------------------ access.c: data accesses by hand */

/* Accesses are at the current CPL unless ACCESS_SYSTEM (descriptor tables, TSS: supervisor). */
enum { ACCESS_SYSTEM = 1 << 8 };

/* Linear memory; splits at pages; nothing is written unless all of it can be. Up to 64 bytes. */
enum outcome linear_read(struct emu_vcpu *v, uint64_t linear, void *data, unsigned size,
			 unsigned flags);
enum outcome linear_write(struct emu_vcpu *v, uint64_t linear, const void *data, unsigned size,
			  unsigned flags);
/* Would that write succeed? Raises what it would raise (SDM: a frame is checked before it is pushed). */
enum outcome linear_probe_write(struct emu_vcpu *v, uint64_t linear, unsigned size, unsigned flags);

/*
 * Segment:offset → linear with the checks of SDM vol. 3, 5.3, 5.4 (limit, type, null, canonical):
 * #GP(0), #SS(0) for SEG_SS. `size` bytes, `write`: needs a writable segment.
 */
enum outcome seg_linear(struct emu_vcpu *v, unsigned seg, uint64_t offset, unsigned size,
			bool write, uint64_t *linear);
enum outcome seg_read(struct emu_vcpu *v, unsigned seg, uint64_t offset, void *data, unsigned size);
enum outcome seg_write(struct emu_vcpu *v, unsigned seg, uint64_t offset, const void *data,
		       unsigned size);

/*
 * Instruction bytes at CS:RIP: up to 15 into `bytes`, `*n` of them; fewer where the next page or the
 * segment limit ends. FAULT (#PF with the I bit, #GP) only if not even the first can be fetched;
 * `*need_fault` is then raised again by fetch_fault() when the decoder wants more.
 */
enum outcome fetch_insn(struct emu_vcpu *v, uint8_t bytes[INSN_MAX_LENGTH], size_t *n);
enum outcome fetch_fault(struct emu_vcpu *v, size_t n); /* the fault of byte n */

/* ------------------------------------------------------------------ event.c: the IDT */

/*
 * Deliver through the guest's IVT or IDT: the frame is pushed, registers changed. `software`: INT n,
 * INT3, INTO (DPL check, no EXT bit); rip pushed is cpu.rip. Nested faults become #DF, then SHUTDOWN
 * (SDM 6.15). DONE, SHUTDOWN, MMIO, HOST_GONE, EXIT (intercepted, or a task switch is).
 */
enum outcome deliver_exception(struct emu_vcpu *v, const struct fault *f);
/* The same for what the hypervisor injected: not subject to its own exception bitmap (SDM 29.6.1). */
enum outcome inject_exception(struct emu_vcpu *v, const struct fault *f);
enum outcome deliver_interrupt(struct emu_vcpu *v, unsigned vector); /* external */
enum outcome deliver_nmi(struct emu_vcpu *v);
/* INT n etc.: one attempt; a fault of the delivery is left in vcpu->fault (FAULT), registers
 * untouched, to be raised at the instruction. cpu.rip must already be the return address; `rip` is
 * restored by the caller on FAULT. INT1 counts as hardware (no DPL check). */
enum outcome deliver_software(struct emu_vcpu *v, unsigned vector);
/* INT n, INT3, INTO, INT1 as instructions: their differences (DPL and IOPL checks, EXT), RIP included.
 * FAULT is then raised at the instruction. */
enum outcome insn_int(struct emu_vcpu *v, const struct insn *i);
/* DR6 or CR2 from an exception's payload (emu_events, KVM_CAP_EXCEPTION_PAYLOAD). */
void exception_payload(struct emu_vcpu *v, unsigned vector, uint64_t payload);

/* ------------------------------------------------------------------ segment.c */

/* Each executes the instruction completely (registers final, RIP behind it or at the target) or
 * leaves everything untouched: FAULT, MMIO, HOST_GONE. SDM vol. 2, the instruction's page. */
enum outcome insn_iret(struct emu_vcpu *v, const struct insn *i);
enum outcome insn_far_jmp(struct emu_vcpu *v, const struct insn *i); /* and CALL FAR */
enum outcome insn_far_ret(struct emu_vcpu *v, const struct insn *i);
enum outcome insn_mov_to_seg(struct emu_vcpu *v,
			     const struct insn *i); /* MOV Sreg, POP Sreg, LDS … */
enum outcome insn_load_table(struct emu_vcpu *v, const struct insn *i); /* LGDT LIDT LLDT LTR */
enum outcome insn_syscall(struct emu_vcpu *v,
			  const struct insn *i); /* SYSCALL SYSRET SYSENTER SYSEXIT */

/* ------------------------------------------------------------------ special.c, locked.c, mmio.c */

enum outcome special_execute(struct emu_vcpu *v, const struct insn *i);
enum outcome locked_execute(struct emu_vcpu *v, const struct insn *i);

/* ------------------------------------------------------------------ operand helpers (operand.c) */

void insn_regs_of(const struct cpu *c, struct insn_regs *regs);
uint64_t reg_read(const struct cpu *c, unsigned reg, unsigned size,
		  bool rex); /* AH..BH without REX */
void reg_write(struct cpu *c, unsigned reg, unsigned size, bool rex, uint64_t value);
/* linear address of the explicit operand, segment-checked */
enum outcome operand_linear(struct emu_vcpu *v, const struct insn *i, bool write, uint64_t *linear);
/* read or write the r/m operand, register or memory */
enum outcome operand_read(struct emu_vcpu *v, const struct insn *i, unsigned size, uint64_t *value);
enum outcome operand_write(struct emu_vcpu *v, const struct insn *i, unsigned size, uint64_t value);
static inline void advance_rip(struct cpu *c, const struct insn *i)
{
	c->rip += i->length;
	if (!in_64bit(c))
		c->rip &= c->segment[EMU_CS].flags & DESC_DB ? 0xffffffffu : 0xffffu;
}
enum outcome stack_pop(struct emu_vcpu *v, uint64_t *rsp, unsigned size,
		       uint64_t *value); /* rsp is advanced */
enum outcome stack_push(struct emu_vcpu *v, uint64_t *rsp, unsigned size, uint64_t value);

#endif
