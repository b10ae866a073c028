/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files that know Unicorn 2.1.1 from the inside share: engine_unicorn.c, which runs it, and
 * engine_native.c, where translated code calls back.
 */
#ifndef BUSLOCK_EMU_ENGINE_UNICORN_H
#define BUSLOCK_EMU_ENGINE_UNICORN_H

#include "emu/engine.h"

#include <stddef.h>

struct env_segment {
	uint32_t selector, pad;
	uint64_t base;
	uint32_t limit, flags;
};

/* Head of Unicorn 2.1.1's CPUX86State; what is between the named fields is the engine's own. */
struct env {
	uint64_t gpr[16];
	uint64_t rip;
	uint64_t eflags;
	uint64_t cc_dst, cc_src, cc_src2;
	uint32_t cc_op;
	int32_t df;
	uint32_t hflags, hflags2;
	struct env_segment segment[8]; /* ES CS SS DS FS GS LDT TR */
	struct env_segment gdt, idt;
	uint64_t cr[5];
	uint8_t unnamed1[560 - 464];
	uint64_t efer;
	uint8_t unnamed2[784 - 568];
	uint32_t mxcsr;
	uint8_t unnamed3[792 - 788];
	uint8_t xmm[32][64];
	uint8_t unnamed4[4768 - 2840];
	uint32_t sysenter_cs, pad;
	uint64_t sysenter_esp, sysenter_eip;
	uint64_t star, vm_hsave, lstar, cstar, fmask, kernel_gs;
	uint8_t unnamed5[4864 - 4840];
	uint64_t tsc_aux;
	uint8_t unnamed6[5248 - 4872];
	uint64_t pat;
	uint8_t unnamed7[5352 - 5256];
	int32_t error_code, is_int;
	uint64_t next_eip;
	uint64_t dr[8];
	uint8_t unnamed8[5464 - 5432];
	int32_t old_exception, pad2;
	uint8_t unnamed9[5480 - 5472];
	int64_t tsc_offset;
};
_Static_assert(offsetof(struct env, segment) == 184 && offsetof(struct env, cr) == 424 &&
		       offsetof(struct env, xmm) == 792 && offsetof(struct env, star) == 4792 &&
		       offsetof(struct env, pat) == 5248 &&
		       offsetof(struct env, old_exception) == 5464 &&
		       offsetof(struct env, tsc_offset) == 5480,
	       "layout of Unicorn 2.1.1");
_Static_assert(sizeof(struct segment) == sizeof(struct env_segment), "copied as a block");

/* A CMPXCHG without LOCK that is being translated (engine_native.c). */
struct cmpxchg {
	const void *context, *old, *compared;
	int ops; /* in the block, behind the comparison */
};

/* bits of hflags */
enum { HF_SHADOW = 1 << 3, HF_CS64 = 1 << 15 };

struct engine {
	struct uc_struct *uc;
	struct engine_callbacks callbacks;
	void *cpu;       /* the engine's CPUState */
	struct env *env; /* within it */
	bool window_open;
	bool flushed; /* no page was asked for since */
	bool refused;
	bool caught;
	bool left;
	bool shadow; /* the stub it stopped at is in one */
	uintptr_t
		caller; /* while a function that translated code has called touches guest memory */
	uint8_t vector;
	bool stepping;
	uint64_t step_at, step_next; /* linear */
	_Atomic bool stop_seen, hold_stops;
	bool probe; /* the first run, which only finds `cpu` */
	uintptr_t lowest_block, highest_block;
	bool crowded;
	bool host_fault;
	void *gap;       /* page that stands in where nothing else may */
	uint32_t cflags; /* of the block that is being translated */
	struct cmpxchg cmpxchg;
};

/* The engine that runs on this thread: the seams get no other context. */
extern __thread struct engine *engine_running __attribute__((tls_model("initial-exec")));

/* From a function that translated code has called and that returns to `caller`: leaves the run with
 * ENGINE_LEFT, in front of the instruction that the call is part of. */
_Noreturn void engine_leave(struct engine *e, uintptr_t caller);

#endif
