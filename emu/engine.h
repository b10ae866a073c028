/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The engine: executes ordinary instructions, fast, and stops in front of every other one. Its one
 * implementation, engine_unicorn.c and engine_native.c, the only place that knows Unicorn.
 *
 * One engine belongs to one VM; whoever holds the VM's run lock uses it, from any thread.
 * engine_stop() may be called from anywhere, signal handlers included.
 *
 * Physical addresses in the engine are host virtual addresses, all of them known to it from the start:
 * a slot change is a change of the walker's table and a TLB flush, nothing is mapped or remapped.
 */
#ifndef BUSLOCK_EMU_ENGINE_H
#define BUSLOCK_EMU_ENGINE_H

#include "emu/cpu.h"

enum engine_access { ENGINE_READ, ENGINE_WRITE, ENGINE_FETCH };
enum { ENGINE_PERM_R = 1, ENGINE_PERM_W = 2, ENGINE_PERM_X = 4 };

/* What the engine asks while it runs; all on the running thread. */
struct engine_callbacks {
	/* Translate a linear page (page-aligned), to any host page that is memory. False refuses the access: the run ends with
	 * ENGINE_REFUSED, the instruction not executed. cpl and ac (RFLAGS.AC) are the current ones. */
	bool (*fill)(void *opaque, uint64_t page, enum engine_access access, unsigned cpl, bool ac,
		     void **host, unsigned *perms);
	/* Straight-line code from linear address `pc` is about to be translated: the linear address of
	 * the first instruction that the engine must not execute. False: none before the block ends. */
	bool (*scan)(void *opaque, uint64_t pc, unsigned mode, uint64_t *stop);
	/* The block of `size` bytes at linear `pc` is entered; false: stop in front of it. Not called
	 * for a block that a stop keeps from being entered. NULL: no hook, no cost. */
	bool (*block)(void *opaque, uint64_t pc, uint32_t size);
	/* An instruction that scan() left in 64-bit code, although it locks or sets IF, is about to
	 * execute. lock: where `size` bytes at `linear` lie in host memory, for a host atomic; NULL: stop
	 * in front of it (ENGINE_LEFT). sti: false: stop in front of it. */
	void *(*lock)(void *opaque, uint64_t linear, unsigned size, bool ac);
	bool (*sti)(void *opaque);
	void *opaque;
};

enum engine_stop_reason {
	ENGINE_STUB,       /* in front of an instruction that scan() named */
	ENGINE_LEFT,       /* …that lock() or sti() did not let pass */
	ENGINE_STOPPED,    /* engine_stop() */
	ENGINE_REFUSED,    /* fill() refused; RIP on the instruction */
	ENGINE_EXCEPTION,  /* `vector`, `error`; RIP as the exception class demands */
	ENGINE_INVALID,    /* the engine does not know the instruction: #UD */
	ENGINE_HOST_FAULT, /* host memory vanished under an access (engine_host_fault()) */
	ENGINE_FAILED,     /* `code`: should not happen */
};
struct engine_stop {
	enum engine_stop_reason reason;
	uint8_t vector;
	uint32_t error;
	int code;
};

int engine_create(struct engine **engine, const struct engine_callbacks *callbacks);
void engine_destroy(struct engine *engine);

/* Forget earlier stops. To lose none: arm, look for reasons to stop, then run. */
void engine_arm(struct engine *engine);
/* Execute from `cpu` until a stop, also one asked for since engine_arm(); `cpu` is exact afterwards. */
struct engine_stop engine_run(struct engine *engine, struct cpu *cpu);
/* Execute one instruction of `length` bytes whatever it is, natively; fill() is asked as usual. Not
 * for branches. Stops are held back meanwhile, and the engine is left armed. */
struct engine_stop engine_step(struct engine *engine, struct cpu *cpu, unsigned length);
void engine_stop(struct engine *engine);

void engine_flush_tlb(struct engine *engine);
/* Forget translated code of the host page. */
void engine_drop_page(struct engine *engine, const void *host_page);
/* Forget all of it (between runs). */
void engine_drop_all(struct engine *engine);
/* Between runs: the same if the buffer is nearly full; true if so. */
bool engine_make_room(struct engine *engine);
/*
 * From a SIGSEGV or SIGBUS handler, with its ucontext (may be NULL): if this thread is in
 * engine_run(), leaves the handler and ends the run with ENGINE_HOST_FAULT. False: it is not.
 */
bool engine_host_fault(const void *ucontext);

/* Whole state of a vCPU aside, to run another one on the same engine. */
void *engine_context_new(struct engine *engine);
void engine_context_free(void *context);
void engine_context_save(struct engine *engine, void *context);
void engine_context_load(struct engine *engine, const void *context);

/* x87 and SSE of the state the engine holds now, as an FXSAVE image. */
void engine_get_fx(struct engine *engine, uint8_t image[512]);
void engine_set_fx(struct engine *engine, const uint8_t image[512]);
/* What the engine's own instructions read and struct cpu does not hold: RDTSC, SWAPGS. */
void engine_set_tsc_offset(struct engine *engine, int64_t offset);
int64_t engine_get_tsc_offset(struct engine *engine);
uint64_t engine_get_kernel_gs(struct engine *engine); /* SWAPGS is native */
void engine_set_kernel_gs(struct engine *engine, uint64_t base);
void engine_set_tsc_aux(struct engine *engine, uint64_t value); /* RDTSCP is native */

/* Is it the one version whose insides are known? */
bool engine_version_fits(void);
/* engine_check.c: 0, or -ENOTSUP with the reason in `why`; -ENOMEM. */
int engine_check(char *why, size_t size);

#endif
