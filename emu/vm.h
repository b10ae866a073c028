/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The VM: its memory, its engine, and the lock that says which vCPU runs on it. One engine serves all
 * vCPUs in turn (docs/engine.md, "Several vCPUs").
 */
#ifndef BUSLOCK_EMU_VM_H
#define BUSLOCK_EMU_VM_H

#include "emu/cpu.h"
#include "emu/engine.h"
#include "emu/memory.h"
#include "emu/runlock.h"

/* Pages whose code may be executed without another look. Comparing a page takes at most a tenth of a
 * microsecond; more of them, and a flush with what it makes the engine ask again is cheaper. */
#define HOT_PAGES   32
#define MIXED_PAGES 64 /* of code and data, direct mapped (code.c) */
#define CUT_BLOCKS  64 /* ends of blocks that were too long, direct mapped (scan.c) */

struct emu_vm {
	struct emu_config config;
	struct run_lock lock; /* guards everything below */
	struct memory memory;
	struct engine *engine;
	struct emu_vcpu *loaded; /* whose state the engine holds (x87, SSE, …), NULL: none */
	struct emu_vcpu *vcpu[EMU_MAX_VCPUS];
	unsigned vcpus;

	/*
	 * What the monitor writes into code between runs must be seen. `hot` lists the code pages that
	 * the engine may still fetch from without asking; -1 in `hot_pages`: too many to list.
	 */
	uint32_t run;   /* its number */
	uint32_t epoch; /* number of the flush: counted blocks are of one */
	int hot_pages;
	struct code_page *hot[HOT_PAGES];

	struct mixed_page {
		const uint8_t *host;
		unsigned drops;
	} mixed[MIXED_PAGES];

	uint64_t cut[CUT_BLOCKS]; /* linear addresses */

	uint8_t *scratch;              /* SCRATCH_PAGES that stand in for devices (mmio.c) */
	struct counted_block *counted; /* with config.count (run.c) */
	uint64_t last_block_pc;
	uint32_t last_block_size;
	void *pristine;           /* engine state after RESET */
	uint64_t seen_generation; /* of the memory, at the last flush */

	bool (*msr_filter)(void *, struct emu_vcpu *, uint32_t, bool);
	void *msr_filter_opaque;
	bool msr_unknown_exits;
	uint64_t (*tsc)(void *, struct emu_vcpu *); /* NULL: the host's counter */
	void *tsc_opaque;
	void (*observe)(void *, struct emu_vcpu *, const struct emu_lock *);
	void *observe_opaque;
	bool (*split_lock_trap)(void *, struct emu_vcpu *);
	void *split_lock_trap_opaque;
};

/* VMM bus-lock detection leaves behind the instruction, AMD's Bus Lock Threshold before (svm.c). */
static inline bool bus_lock_traps(const struct emu_vcpu *v)
{
	return v->bus_lock_exiting && v->vm->config.vendor == EMU_INTEL;
}

/* code.c: code that is written */
bool code_fill(struct emu_vcpu *v, const struct slot *s, uint64_t gpa, enum engine_access access,
	       bool may_write, unsigned *perms);
void code_scanned(const struct slot *s, uint64_t gpa, unsigned length);
/* Up to 64 bytes at gpa are about to be written by hand: code they belong to is forgotten. */
void code_written(struct emu_vcpu *v, const struct slot *s, uint64_t gpa);
/* All code of the page is. */
void code_drop(struct emu_vcpu *v, const struct slot *s, uint64_t gpa);
/* The engine was refused a write to this page of code: has that happened often? */
bool code_page_is_mixed(struct emu_vm *vm, const uint8_t *host_page);
void code_new_run(struct emu_vm *vm);    /* the monitor may have written: before a run */
void code_distrust(struct emu_vm *vm);   /* …meanwhile, too; and the TLB was flushed */
void code_forget_hot(struct emu_vm *vm); /* the TLB was flushed */

/* One place for all TLB flushes. */
void vcpu_flush(struct emu_vcpu *v);

/* run.c */
int run_engine_create(struct emu_vm *vm);
/* Translated code at this linear address does not fit what is there. */
void vcpu_forget_code(struct emu_vcpu *v, uint64_t linear);
/* Did a block end in front of this linear address only because it was too long? */
bool block_was_cut(const struct emu_vm *vm, uint64_t linear);
/* DR7 or the monitor's breakpoints changed; blocks end at instruction breakpoints. */
void vcpu_breakpoints_changed(struct emu_vcpu *v);

/* vcpu.c */
/* The lock is held and the engine holds this vCPU's state. */
void vcpu_load(struct emu_vcpu *v);
void vcpu_reset(struct emu_vcpu *v);

/* msr.c */
struct emu_msrs *msrs_new(void);
void msrs_free(struct emu_msrs *m);
void msrs_reset(struct emu_vcpu *v);

/* Checks of control registers that MOV CR and VM entry share (SDM 29.3.1.1). */
bool cr_state_valid(const struct cpu *c);
uint64_t cr4_allowed(const struct emu_vcpu *v);
/* DR6 as it becomes when `value` is written. */
uint64_t dr6_value(const struct emu_vcpu *v, uint64_t value);

#endif
