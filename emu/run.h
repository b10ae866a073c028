/* SPDX-License-Identifier: GPL-2.0-only */
/* A run in progress, and what an exit left to be completed. Shared by the files that execute. */
#ifndef BUSLOCK_EMU_RUN_H
#define BUSLOCK_EMU_RUN_H

#include "emu/cpu.h"
#include "emu/engine.h"

enum pending {
	PENDING_NOTHING,
	PENDING_IN,  /* IN, INS: data comes with the next run */
	PENDING_OUT, /* OUT: RIP moves on with the next run */
	PENDING_MMIO_READ,
	PENDING_MMIO_WRITE, /* more fragments may follow; the instruction has completed */
	PENDING_RDMSR,
	PENDING_WRMSR,
};

/* One fragment of an access to a device: at most 8 bytes, as KVM hands it out. */
struct mmio_part {
	uint64_t gpa;
	uint8_t size;
	uint8_t data[8];
};
#define MMIO_PARTS 80 /* FXSAVE, and a bit */

/* Why fill() refused. */
enum refusal {
	REFUSED_FAULT,
	REFUSED_MMIO,
	REFUSED_CODE,
	REFUSED_GONE,
	REFUSED_WATCH,
	REFUSED_BUS_LOCK, /* an accessed or dirty bit that is one to set */
};

/* The instruction that is being executed by hand, as it was when it began. */
struct executing {
	uint64_t rip, linear_rip;
	uint8_t cpl, mode;
};

#define IO_DATA_SIZE  4096
#define SCRATCH_PAGES 4
#define DECODED_INSNS 64

/* An access to the virtualized APIC page (SDM 32.4.3.3). */
struct apic_write {
	bool seen; /* it writes: an exit follows */
	uint16_t offset;
};

struct run_state {
	enum pending pending;
	uint64_t pending_rip; /* linear; a monitor that moved RIP abandons the completion */
	struct insn insn;     /* the one that is pending */

	uint8_t io_data[IO_DATA_SIZE];
	uint32_t io_count, io_used; /* elements read ahead for INS, and consumed */

	bool mmio_on;           /* data_read() and data_write() may talk to devices */
	unsigned reads, cursor; /* fragments answered so far; position while executing again */
	struct mmio_part read[MMIO_PARTS];
	unsigned writes, sent;
	struct mmio_part write[MMIO_PARTS];

	uint64_t msr_value;
	bool msr_error;

	/* the last refused fill */
	enum refusal refusal;
	uint64_t refused_page;
	enum engine_access refused_access;
	unsigned refused_walk; /* WALK_ */
	const struct slot *refused_slot;
	uint64_t refused_gpa;

	/* engine_step() with devices on scratch pages (mmio.c) */
	unsigned scratch_pages;
	struct {
		uint64_t linear, gpa;
		uint8_t *host;
	} scratch[SCRATCH_PAGES];
	bool watch_open;    /* one instruction may touch pages with data breakpoints */
	bool as_supervisor; /* fills of this step are implicit supervisor accesses */

	/* special instructions met before, direct mapped; compared with memory at each use */
	struct {
		uint64_t linear;
		struct insn insn;
	} decoded[DECODED_INSNS];

	struct executing executing;
	/* bus lock of the instruction being executed: its operand's, or the first stuffed one */
	struct emu_lock lock;
	bool lock_taken;
	struct apic_write apic_write; /* …likewise, an exit behind it */
	/* The hypervisor emulates: its accesses take no lock of the guest's (KVM's emulator never makes a
	 * bus-lock exit, emulator_cmpxchg_emulated(), Linux 6.12). */
	bool emulating;
	bool unfinished; /* …which has to begin again, its locks taken */
};

/* Data accesses of hand-executed instructions: memory, or devices while mmio_on. */
enum outcome data_read(struct emu_vcpu *v, uint64_t linear, void *data, unsigned size);
enum outcome data_write(struct emu_vcpu *v, uint64_t linear, const void *data, unsigned size);

/* emulate.c: executes the integer instructions it knows, completely or not at all; strings one
 * iteration. UNHANDLED: not one of them. */
enum outcome hand_execute(struct emu_vcpu *v, const struct insn *i);
/* Jcc and the like, by the low four bits of the opcode (SDM vol. 1, table B-1). */
bool flags_condition(uint64_t flags, unsigned code);

/* gaps.c: forms that the engine gets wrong, and what executes them instead (those that hand_execute()
 * does not know by their operation; else UNHANDLED). */
bool engine_gets_wrong(const struct emu_vcpu *v, const struct insn *i);
enum outcome gap_execute(struct emu_vcpu *v, const struct insn *i);

/* mmio.c: the instruction at RIP touches a device. */
enum outcome mmio_execute(struct emu_vcpu *v, const struct insn *i);
/* Finish what the last exit left (io.c, mmio.c, special.c): DONE, EXIT for another fragment, or as any
 * execution. */
enum outcome mmio_complete(struct emu_vcpu *v);
enum outcome io_complete(struct emu_vcpu *v);
enum outcome msr_complete(struct emu_vcpu *v);
enum outcome insn_io(struct emu_vcpu *v, const struct insn *i);

/* page_exit.c: fill the exit of an access that ended in MMIO on an intercepted page; MMIO: it is none.
 * `i` may be NULL. */
enum outcome leave_intercepted(struct emu_vcpu *v, const struct insn *i);
/* …but this one is made in memory, if need be with a trap-like exit behind it. */
bool apic_access_is_virtualized(struct emu_vcpu *v, const struct insn *i, struct apic_write *write);

/* run.c: let the engine execute this one instruction (not a near branch). DONE, FAULT, MMIO,
 * HOST_GONE, UNHANDLED. */
enum outcome native_step(struct emu_vcpu *v, const struct insn *i);

/* Can the byte be touched? Asked before the engine gets the page: its own first access to one lies in
 * code of its own, where a fault would not tell which guest instruction it was. */
bool host_page_accessible(uint8_t *host, bool write);
/* memory_read() or memory_write() for the monitor, with the run lock held: -EFAULT also where the host's
 * memory is not there, or not to be written (emu_host_fault()). */
struct memory;
int memory_copy(struct memory *m, uint64_t gpa, void *data, size_t size, bool write);

/* RF protects one instruction from its breakpoint (SDM 17.3.1.1): all iterations of a string one. `rip`:
 * where `i`, which has executed, was. */
static inline void forget_rf(struct cpu *c, const struct insn *i, uint64_t rip)
{
	if (c->rip != rip || !(i->flags & (INSN_REP | INSN_REPNE)))
		c->rflags &= ~(uint64_t)FL_RF;
}

/* emu_vcpu_set_instruction_limit() */
static inline bool limit_reached(const struct emu_vcpu *v)
{
	return v->instruction_limit && v->stats.instructions >= v->instruction_limit;
}

/* scan.c */
bool insn_is_special(const struct emu_vcpu *v, const struct insn *i);
int breakpoint_at(const uint64_t dr[8], uint64_t linear); /* its number, or -1 */
const uint64_t *breakpoints(const struct emu_vcpu *v);    /* DR0 to DR7 in force */
/* DR6 bits of the data breakpoints that the instruction at RIP is going to hit. */
unsigned watch_hits(const struct emu_vcpu *v, const struct insn *i);
const uint8_t *code_host_page(struct emu_vcpu *v, uint64_t linear); /* NULL: not executable */
void uncount(struct emu_vcpu *v);
/* Decode at a linear address without a trace. -EFAULT, or as insn_decode(). */
int insn_peek(struct emu_vcpu *v, uint64_t linear, unsigned mode, struct insn *i);

/* Fetch and decode at RIP; valid until the next call. FAULT: #PF, #GP of the fetch; MMIO, HOST_GONE. */
enum outcome decode_at_rip(struct emu_vcpu *v, const struct insn **i);

/* emu_bus_lock_cause_at() with this processor's boundary: what a locked access here is. */
unsigned lock_cause(const struct emu_vcpu *v, uint64_t linear, uint32_t size, unsigned memory_type);
/*
 * In front of every bus lock (lock->cause is not 0), operand or stuffed: DONE: make the access, then
 * note_lock(). FAULT: #AC or #GP of split-lock or UC-lock disable. EXIT: v->exit is filled.
 */
enum outcome lock_begin(struct emu_vcpu *v, const struct emu_lock *lock);
/* Behind it: tell the observer and remember for the exit word. */
void note_lock(struct emu_vcpu *v, const struct emu_lock *lock);

/* inject.c. The fault in vcpu->fault: to the monitor that debugs, or through the guest's IDT. */
enum outcome deliver_fault(struct emu_vcpu *v);
/* A debug trap comes in front of the next instruction (SDM 7.8.3: behind it if MOV SS was the last). */
static inline bool debug_trap_is_due(const struct emu_vcpu *v)
{
	return v->pending_db && v->cpu.shadow != EMU_SHADOW_MOV_SS;
}
/* What waits in front of the next instruction, by priority; DONE also when nothing could come. */
bool events_wait(const struct emu_vcpu *v);
enum outcome deliver_events(struct emu_vcpu *v);
/* The exit stopped the event in vcpu->vectoring: with the next run it begins again, as when the
 * hypervisor injects it again (APM 15.7.2). */
void deliver_again(struct emu_vcpu *v);

/* exit.c. Fill the exit of this run: type and VMX exit word; returns EXIT. */
enum outcome leave(struct emu_vcpu *v, enum emu_exit_type type, uint32_t word);
enum outcome leave_unhandled(struct emu_vcpu *v, const struct insn *i);
enum outcome leave_delivery(struct emu_vcpu *v);
enum outcome leave_debug(struct emu_vcpu *v, uint64_t causes); /* DR6_, active high */
enum outcome leave_shutdown(struct emu_vcpu *v);
enum outcome leave_bus_lock(struct emu_vcpu *v);
enum outcome leave_apic_write(struct emu_vcpu *v);
/* This exit came up while an event was on its way: its IDT-vectoring information. */
void leave_vectoring(struct emu_vcpu *v);
/* The modifier bits of the exit word. */
void finish_exit(struct emu_vcpu *v);

#endif
