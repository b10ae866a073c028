/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The engine on Unicorn 2.1.1: the one file that knows its interface. Of what the static archive has
 * besides, these are used here (others in engine_native.c), each checked by the linker and by
 * engine_check() at start-up:
 *
 *   check_exit_request    emptied. The engine emits it after every load and store; it would leave in
 *                         mid-block with RIP at the block's start. Without it a stop takes effect at
 *                         block heads only, where RIP is exact.
 *   tb_gen_code           wrapped. Before each translation scan() says where the block must end.
 *   cpu_exec              wrapped. uc_emu_start() forgets a stop that came just before it; here, behind
 *                         the place where it does, the stop is asked for again: none is ever lost.
 *   cpu_loop_exit_restore called to leave translated code with registers restored to the instruction:
 *                         from engine_native.c, and from a SIGSEGV handler when the monitor took
 *                         guest memory away.
 *
 * The processor state is read and written in place: `struct env` is the head of Unicorn's CPU state,
 * whose layout the public uc_context_save() exposes. It is found at start-up by a pattern of register
 * values and verified field by field; an engine that does not agree is refused.
 */
#include "emu/engine_unicorn.h"

#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unicorn/unicorn.h>

/* The widest model that is useful; what CPUID shows the guest is a subset (cpuid.c). */
#define CPU_MODEL_ICELAKE_SERVER 26
/*
 * Translated code. The engine crashes when the buffer is full, so it is emptied before; 64 MB hold
 * about 120,000 blocks (a Linux boot makes 65,000), and emptying it takes 1 to 20 ms.
 */
#define BUFFER_SIZE  (64u << 20)
#define BUFFER_LIMIT (BUFFER_SIZE / 100 * 60)
/*
 * Linear window through which blocks of a host page are named when they are dropped: non-canonical,
 * so that no guest access can be meant, and open only during the call.
 */
#define WINDOW 0x0100000000000000ull
/*
 * What the engine takes for RAM: every address that a program can have memory at (47 bits on x86-64,
 * 48 on arm64), in one region. It costs nothing, because the engine asks the walker for each page; a
 * region for each block of guest memory cost milliseconds, and no more than 2,000 fit.
 */
#define HOST_FIRST 0x1000ull
#define HOST_END   (1ull << 48)

/*
 * The next block head leaves. With a block hook it is the hook that asks for it: a stop that comes
 * between hook and look would leave a block that has been counted and is then not executed.
 */
static void stop_at_head(struct engine *e)
{
	if (!e->callbacks.block)
		uc_emu_stop(e->uc);
}

void check_exit_request_x86_64(void *tcg_context);
void check_exit_request_x86_64(void *tcg_context)
{
	(void)tcg_context;
}

void *__real_tb_gen_code_x86_64(void *cpu, uint64_t pc, uint64_t cs_base, uint32_t flags,
				int cflags);
void *__wrap_tb_gen_code_x86_64(void *cpu, uint64_t pc, uint64_t cs_base, uint32_t flags,
				int cflags);
int __real_cpu_exec_x86_64(void *uc, void *cpu);
int __wrap_cpu_exec_x86_64(void *uc, void *cpu);
_Noreturn void cpu_loop_exit_restore_x86_64(void *cpu, uintptr_t host_pc);

static unsigned mode_of(uint32_t hflags)
{
	return hflags & 0x8000 ? 64 : hflags & 0x10 ? 32 : 16;
}

/* Where the block that starts at `pc` has to end. */
static bool block_end(struct engine *e, uint64_t pc, uint32_t flags, uint64_t *stop)
{
	if (e->probe) {
		*stop = pc;
		return true;
	}
	if (e->stepping) {
		*stop = pc == e->step_at ? e->step_next : pc;
		return true;
	}
	return e->callbacks.scan(e->callbacks.opaque, pc, mode_of(flags), stop);
}

void *__wrap_tb_gen_code_x86_64(void *cpu, uint64_t pc, uint64_t cs_base, uint32_t flags,
				int cflags)
{
	struct engine *e = engine_running;
	uint64_t stop = 0;
	if (!e)
		return __real_tb_gen_code_x86_64(cpu, pc, cs_base, flags, cflags);
	e->cpu = cpu;
	e->cflags = cflags;
	e->cmpxchg.context = NULL;
	bool ends = block_end(e, pc, flags, &stop);
	if (ends)
		uc_ctl_set_exits(e->uc, &stop, 1);
	void *block = __real_tb_gen_code_x86_64(cpu, pc, cs_base, flags, cflags);
	if (ends)
		uc_ctl_set_exits(e->uc, &stop, 0);

	uintptr_t at = (uintptr_t)block;
	if (!e->lowest_block || at < e->lowest_block)
		e->lowest_block = at;
	if (at > e->highest_block)
		e->highest_block = at;
	if (e->highest_block - e->lowest_block > BUFFER_LIMIT && !e->crowded) {
		e->crowded = true;
		stop_at_head(e); /* engine_make_room() follows */
	}
	return block;
}

int __wrap_cpu_exec_x86_64(void *uc, void *cpu)
{
	struct engine *e = engine_running;
	if (e && atomic_load(&e->stop_seen) && !atomic_load(&e->hold_stops))
		uc_emu_stop(e->uc);
	return __real_cpu_exec_x86_64(uc, cpu);
}

static bool on_fill(uc_engine *uc, uint64_t page, uc_mem_type type, uc_tlb_entry *entry,
		    void *opaque)
{
	struct engine *e = opaque;
	void *host = NULL;
	unsigned perms = 0;
	(void)uc;
	if (e->window_open && page - WINDOW < WINDOW) {
		entry->paddr = page - WINDOW;
		entry->perms = UC_PROT_READ | UC_PROT_EXEC;
		return true;
	}
	if (e->probe) {
		entry->paddr = (uint64_t)(uintptr_t)e->gap;
		entry->perms = UC_PROT_READ | UC_PROT_EXEC;
		return true;
	}
	enum engine_access access = type == UC_MEM_FETCH   ? ENGINE_FETCH
				    : type == UC_MEM_WRITE ? ENGINE_WRITE
							   : ENGINE_READ;
	if (!e->callbacks.fill(e->callbacks.opaque, page, access, e->env->hflags & 3,
			       e->env->eflags & FL_AC, &host, &perms)) {
		e->refused = true;
		return false;
	}
	entry->paddr = (uint64_t)(uintptr_t)host;
	entry->perms = (perms & ENGINE_PERM_R ? UC_PROT_READ : 0) |
		       (perms & ENGINE_PERM_W ? UC_PROT_WRITE : 0) |
		       (perms & ENGINE_PERM_X ? UC_PROT_EXEC : 0);
	return true;
}

/* Memory is mapped without EXEC, which turns the engine's own, wrong, code tracking off; every fetch
 * then asks here. */
static bool on_fetch(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value,
		     void *opaque)
{
	(void)uc, (void)type, (void)address, (void)size, (void)value, (void)opaque;
	return true;
}

static void on_interrupt(uc_engine *uc, uint32_t vector, void *opaque)
{
	struct engine *e = opaque;
	e->caught = true;
	e->vector = vector;
	e->env->old_exception = -1; /* never reset by the engine: the next one would become #DF */
	uc_emu_stop(uc);
}

static void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *opaque)
{
	struct engine *e = opaque;
	if (e->stepping || !size) /* nothing but a stub leaves by itself */
		return;
	if (!e->crowded && !atomic_load_explicit(&e->stop_seen, memory_order_relaxed) &&
	    e->callbacks.block(e->callbacks.opaque, address, size))
		return;
	/* The engine looks for a stop behind this hook, in front of the block's first instruction. */
	atomic_store(&e->stop_seen, true);
	uc_emu_stop(uc);
}

/* ------------------------------------------------------------------ life */

/* uc_hook_add() takes a function as void *, which ISO C has no cast for. */
static uc_err add_hook(struct engine *e, int type, void (*function)(void))
{
	uc_hook hook;
	void *callback;
	memcpy(&callback, &function, sizeof(callback));
	return uc_hook_add(e->uc, &hook, type, callback, e, 1, 0);
}

static int open_unicorn(struct engine *e)
{
	if (uc_open(UC_ARCH_X86, UC_MODE_64, &e->uc))
		return -ENOMEM;
	if (uc_ctl_set_cpu_model(e->uc, CPU_MODEL_ICELAKE_SERVER) ||
	    uc_ctl_set_tcg_buffer_size(e->uc, BUFFER_SIZE) || uc_ctl_exits_enable(e->uc) ||
	    uc_ctl_tlb_mode(e->uc, UC_TLB_VIRTUAL) ||
	    add_hook(e, UC_HOOK_TLB_FILL, (void (*)(void))on_fill) ||
	    add_hook(e, UC_HOOK_MEM_FETCH_PROT, (void (*)(void))on_fetch) ||
	    add_hook(e, UC_HOOK_INTR, (void (*)(void))on_interrupt))
		return -ENOTSUP;
	if (uc_mem_map_ptr(e->uc, HOST_FIRST, HOST_END - HOST_FIRST, UC_PROT_READ | UC_PROT_WRITE,
			   (void *)(uintptr_t)HOST_FIRST))
		return -ENOMEM;
	if (e->callbacks.block && add_hook(e, UC_HOOK_BLOCK, (void (*)(void))on_block))
		return -ENOTSUP;
	return 0;
}

static const int gpr_ids[16] = {
	UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX,
	UC_X86_REG_RSP, UC_X86_REG_RBP, UC_X86_REG_RSI, UC_X86_REG_RDI,
	UC_X86_REG_R8,  UC_X86_REG_R9,  UC_X86_REG_R10, UC_X86_REG_R11,
	UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14, UC_X86_REG_R15,
};

/* Finds `env`: registers get values that stand nowhere else, and the engine's CPU object, whose
 * address the first translation tells, is searched for them. */
static bool find_env(struct engine *e)
{
	uint64_t pattern[16];
	for (int i = 0; i < 16; i++) {
		pattern[i] = 0x9e3779b97f4a7c15ull * (uint64_t)(i + 1) ^ (uintptr_t)e;
		uc_reg_write(e->uc, gpr_ids[i], &pattern[i]);
	}
	engine_running = e;
	e->probe = true;
	uc_err err = uc_emu_start(e->uc, 0, 0, 0, 0);
	e->probe = false;
	engine_running = NULL;
	engine_drop_page(e, e->gap);
	e->lowest_block = e->highest_block = 0;
	if (err || !e->cpu)
		return false;
	size_t size = malloc_usable_size(e->cpu);
	char *found = memmem(e->cpu, size, pattern, sizeof(pattern));
	if (!found || (size_t)(found - (char *)e->cpu) + sizeof(struct env) > size)
		return false;
	e->env = (struct env *)found;
	return true;
}

/* Every field that struct env names and the API can write must be where we think it is. */
static bool layout_agrees(struct engine *e)
{
	static const struct {
		int id;
		size_t offset;
	} fields[] = {
		{ UC_X86_REG_RIP, offsetof(struct env, rip) },
		{ UC_X86_REG_FS_BASE, offsetof(struct env, segment[4].base) },
		{ UC_X86_REG_GS_BASE, offsetof(struct env, segment[5].base) },
		{ UC_X86_REG_CR3, offsetof(struct env, cr[3]) },
		{ UC_X86_REG_DR0, offsetof(struct env, dr[0]) },
	};
	bool good = true;
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		uint64_t value = 0x0000123456789000ull + i * 0x1000, seen;
		uc_reg_write(e->uc, fields[i].id, &value);
		memcpy(&seen, (char *)e->env + fields[i].offset, 8);
		good &= seen == value;
		value = 0;
		uc_reg_write(e->uc, fields[i].id, &value);
	}
	uint8_t xmm[16];
	memset(xmm, 0xa5, sizeof(xmm));
	uc_reg_write(e->uc, UC_X86_REG_XMM1, xmm);
	good &= !memcmp(e->env->xmm[1], xmm, 16);
	memset(xmm, 0, sizeof(xmm));
	uc_reg_write(e->uc, UC_X86_REG_XMM1, xmm);
	uc_x86_mmr gdtr = { .base = 0x1122334455667000, .limit = 0x7777 };
	uc_reg_write(e->uc, UC_X86_REG_GDTR, &gdtr);
	good &= e->env->gdt.base == gdtr.base && e->env->gdt.limit == gdtr.limit;
	static const struct {
		uint32_t msr;
		size_t offset;
	} msrs[] = {
		{ 0xc0000081, offsetof(struct env, star) },
		{ 0xc0000082, offsetof(struct env, lstar) },
		{ 0xc0000102, offsetof(struct env, kernel_gs) },
		{ 0x277, offsetof(struct env, pat) },
	};
	for (size_t i = 0; i < sizeof(msrs) / sizeof(*msrs); i++) {
		uc_x86_msr msr = { .rid = msrs[i].msr, .value = 0x0007040600070406ull + (i << 40) };
		if (msrs[i].msr == 0x277)
			msr.value = 0x0007040600070406ull;
		uint64_t seen;
		uc_reg_write(e->uc, UC_X86_REG_MSR, &msr);
		memcpy(&seen, (char *)e->env + msrs[i].offset, 8);
		good &= seen == msr.value;
		msr.value = msrs[i].msr == 0x277 ? msr.value : 0; /* PAT: that is its reset value */
		uc_reg_write(e->uc, UC_X86_REG_MSR, &msr);
	}
	/* old_exception has no API; after reset the engine keeps -1 there, beside fields that are 0 */
	return good && e->env->old_exception == -1;
}

void engine_destroy(struct engine *e)
{
	if (!e)
		return;
	if (e->uc)
		uc_close(e->uc);
	free(e->gap);
	free(e);
}

/* The engine leaks 32 bytes a handle; not the user's leak to be told of. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static int create(struct engine **engine, const struct engine_callbacks *callbacks)
{
	struct engine *e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->callbacks = *callbacks;
	if (posix_memalign(&e->gap, PAGE_SIZE, PAGE_SIZE)) {
		e->gap = NULL;
		engine_destroy(e);
		return -ENOMEM;
	}
	memset(e->gap, 0xf4, PAGE_SIZE);
	int ret = open_unicorn(e);
	if (!ret && (!find_env(e) || !layout_agrees(e)))
		ret = -ENOTSUP;
	if (ret) {
		engine_destroy(e);
		return ret;
	}
	memset(e->env->gpr, 0, sizeof(e->env->gpr));
	*engine = e;
	return 0;
}

int engine_create(struct engine **engine, const struct engine_callbacks *callbacks)
{
	if (__lsan_disable)
		__lsan_disable();
	int ret = create(engine, callbacks);
	if (__lsan_enable)
		__lsan_enable();
	return ret;
}

/* ------------------------------------------------------------------ state in and out */

static uint32_t make_hflags(const struct cpu *c)
{
	const struct segment *s = c->segment;
	bool pe = c->cr0 & CR0_PE, vm = c->rflags & FL_VM, lma = c->efer & EFER_LMA;
	uint32_t h = (uint32_t)(c->cpl | pe << 7 | (c->cr0 << 8 & 0xe00) | (c->rflags & 0x63100));
	h |= (c->cr4 & CR4_OSFXSR ? 1u << 22 : 0) | (c->cr4 & CR4_SMAP ? 1u << 23 : 0) |
	     (uint32_t)lma << 14;
	if (lma && s[EMU_CS].flags & DESC_L)
		return h | 0x8030;
	h |= (s[EMU_CS].flags & DESC_DB ? 1 << 4 : 0) | (s[EMU_SS].flags & DESC_DB ? 1 << 5 : 0);
	if (!pe || vm || !(s[EMU_CS].flags & DESC_DB) ||
	    (s[EMU_DS].base | s[EMU_ES].base | s[EMU_SS].base))
		h |= 0x40;
	return h;
}

static void state_in(struct engine *e, const struct cpu *c)
{
	struct env *v = e->env;
	bool stale = v->cr[0] != c->cr0 || v->cr[3] != c->cr3 || v->cr[4] != c->cr4 ||
		     v->efer != c->efer;
	memcpy(v->gpr, c->gpr, sizeof(v->gpr));
	v->rip = c->rip;
	v->eflags = c->rflags | FL_FIXED;
	v->cc_src = c->rflags & FL_STATUS;
	v->cc_op = 1; /* flags are in cc_src */
	v->df = c->rflags & FL_DF ? -1 : 1;
	memcpy(v->segment, c->segment, sizeof(v->segment));
	/* A busy or absent TR: a call gate to an inner ring would abort the process. */
	v->segment[EMU_TR].flags = (c->segment[EMU_TR].flags & ~0xf00u) | 0x900 | DESC_P;
	v->gdt.base = c->gdt.base, v->gdt.limit = c->gdt.limit;
	v->idt.base = c->idt.base, v->idt.limit = c->idt.limit;
	v->cr[0] = c->cr0, v->cr[2] = c->cr2, v->cr[3] = c->cr3, v->cr[4] = c->cr4;
	v->efer = c->efer;
	v->hflags = make_hflags(c) | (c->shadow ? HF_SHADOW : 0);
	v->old_exception = -1;
	if (stale && !e->flushed)
		uc_ctl_flush_tlb(e->uc);
}

static void state_out(const struct engine *e, struct cpu *c)
{
	const struct env *v = e->env;
	memcpy(c->gpr, v->gpr, sizeof(c->gpr));
	/* Jcc over the end of 4 GiB: the engine forgets to cut EIP (gen_jcc()) */
	c->rip = v->hflags & HF_CS64 ? v->rip : (uint32_t)v->rip;
	c->rflags = v->eflags | FL_FIXED;
	memcpy(c->segment, v->segment, 6 * sizeof(c->segment[0]));
	c->cpl = v->hflags & 3;
	if (!(v->hflags & HF_SHADOW) && !e->shadow)
		c->shadow = 0;
	else if (
		!c->shadow) /* what runs natively: MOV SS without descriptors, STI in 64-bit code */
		c->shadow = in_64bit(c) ? EMU_SHADOW_STI : EMU_SHADOW_MOV_SS;
}

/* ------------------------------------------------------------------ running */

static struct engine_stop why(struct engine *e, uc_err err)
{
	struct engine_stop stop = { .code = err };
	if (e->host_fault)
		stop.reason = ENGINE_HOST_FAULT;
	else if (e->left)
		stop.reason = ENGINE_LEFT;
	else if (e->caught)
		stop.reason = ENGINE_EXCEPTION, stop.vector = e->vector,
		stop.error = (uint32_t)e->env->error_code;
	else if (e->refused)
		stop.reason = ENGINE_REFUSED;
	else if (err == UC_ERR_INSN_INVALID)
		stop.reason = ENGINE_INVALID;
	else if (err)
		stop.reason = ENGINE_FAILED;
	else
		stop.reason = atomic_load_explicit(&e->stop_seen, memory_order_relaxed) ||
					      e->crowded
				      ? ENGINE_STOPPED
				      : ENGINE_STUB;
	return stop;
}

static struct engine_stop start(struct engine *e, struct cpu *c)
{
	e->caught = e->refused = e->host_fault = e->left = e->shadow = false;
	state_in(e, c);
	engine_running = e;
	uc_err err = uc_emu_start(e->uc, c->rip, 0, 0, 0);
	engine_running = NULL;
	e->flushed = false; /* asked for during the run, it has been filled again */
	state_out(e, c);
	/* a fetch fault leaves the translator by longjmp, past the seam's own clean-up */
	if (err || e->caught) {
		uint64_t none = 0;
		uc_ctl_set_exits(e->uc, &none, 0);
	}
	return why(e, err);
}

void engine_arm(struct engine *e)
{
	atomic_store(&e->stop_seen, false);
}

struct engine_stop engine_run(struct engine *e, struct cpu *c)
{
	return start(e, c);
}

struct engine_stop engine_step(struct engine *e, struct cpu *c, unsigned length)
{
	struct engine_stop stop = { 0 };
	uint64_t rip = c->rip;
	e->step_at = linear_rip(c);
	e->step_next = in_64bit(c) ? e->step_at + length : (uint32_t)(e->step_at + length);
	atomic_store(&e->hold_stops, true);
	state_in(e,
		 c); /* remove_cache resolves the address through fill(), which wants the state */
	e->stepping = true;
	for (int attempt = 0; attempt < 1000; attempt++) {
		engine_arm(e);
		/* an old block at this address would ignore the new end */
		uc_ctl_remove_cache(e->uc, e->step_at, e->step_next);
		stop = start(e, c);
		uc_ctl_remove_cache(e->uc, e->step_at, e->step_next);
		/* a stop that was on its way comes before the instruction: again */
		if (stop.reason != ENGINE_STOPPED || c->rip != rip)
			break;
	}
	e->stepping = false;
	atomic_store(&e->hold_stops, false);
	/* whoever asked for one of the stops held back finds it acknowledged late, but not lost: the
	 * caller looks at its reason before the next run */
	uc_ctl_flush_tlb(e->uc);
	if (stop.reason == ENGINE_STOPPED)
		stop.reason = ENGINE_STUB;
	return stop;
}

void engine_stop(struct engine *e)
{
	atomic_store(&e->stop_seen, true);
	if (!atomic_load(&e->hold_stops))
		stop_at_head(e);
}

_Noreturn void engine_leave(struct engine *e, uintptr_t caller)
{
	e->left = true;
	uc_emu_stop(e->uc);
	cpu_loop_exit_restore_x86_64(e->cpu, caller);
}

bool engine_host_fault(const void *context)
{
	struct engine *e = engine_running;
	if (!e || e->probe)
		return false;
	e->host_fault = true;
	uc_emu_stop(e->uc);
	uintptr_t pc = 0;
#if defined(__x86_64__)
	const ucontext_t *uc = context;
	if (uc)
		pc = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	const ucontext_t *uc = context;
	if (uc)
		pc = uc->uc_mcontext.pc;
#endif
	/* the engine expects a return address, and looks two bytes before it */
	if (e->caller)
		pc = e->caller;
	else if (pc)
		pc += 2;
	e->caller = 0;
	cpu_loop_exit_restore_x86_64(e->cpu, pc);
	return true; /* not reached */
}

void engine_flush_tlb(struct engine *e)
{
	uc_ctl_flush_tlb(e->uc);
	e->flushed = true;
}

void engine_drop_page(struct engine *e, const void *host_page)
{
	uint64_t page = WINDOW + (uintptr_t)host_page;
	e->window_open = true;
	uc_ctl_remove_cache(e->uc, page, page + PAGE_SIZE);
	e->window_open = false;
	uc_ctl_flush_tlb(e->uc); /* the window's own entry, too */
}

void engine_drop_all(struct engine *e)
{
	/* the engine clears all of its buffer: 10 ms, and 64 MB that were never touched */
	if (!e->highest_block)
		return;
	uc_ctl_flush_tb(e->uc);
	e->lowest_block = e->highest_block = 0;
	e->crowded = false;
}

bool engine_make_room(struct engine *e)
{
	if (!e->crowded)
		return false;
	engine_drop_all(e);
	return true;
}

/* ------------------------------------------------------------------ the rest of the state */

void *engine_context_new(struct engine *e)
{
	uc_context *context = NULL;
	if (uc_context_alloc(e->uc, &context))
		return NULL;
	uc_context_save(e->uc, context);
	return context;
}

void engine_context_free(void *context)
{
	if (context)
		uc_context_free(context);
}

void engine_context_save(struct engine *e, void *context)
{
	uc_context_save(e->uc, context);
}

void engine_context_load(struct engine *e, const void *context)
{
	uc_context_restore(e->uc, (uc_context *)context);
	uc_ctl_flush_tlb(e->uc);
}

/* FXSAVE image, SDM vol. 1, table 10-2 */
enum {
	FX_FCW = 0,
	FX_FSW = 2,
	FX_FTW = 4,
	FX_FOP = 6,
	FX_FIP = 8,
	FX_FDP = 16,
	FX_MXCSR = 24,
	FX_MXCSR_MASK = 28,
	FX_ST = 32,
	FX_XMM = 160
};

/* full tag word ↔ one bit a register (SDM vol. 1, 10.5.1.1) */
static uint8_t abridge_tags(uint16_t tags)
{
	uint8_t out = 0;
	for (int i = 0; i < 8; i++)
		out |= ((tags >> 2 * i & 3) != 3) << i;
	return out;
}

static uint16_t expand_tags(uint8_t tags)
{
	uint16_t out = 0;
	for (int i = 0; i < 8; i++)
		out |= (uint16_t)((tags >> i & 1 ? 0 : 3) << 2 * i);
	return out;
}

static uint64_t read_reg(struct engine *e, int id)
{
	uint64_t value = 0;
	uc_reg_read(e->uc, id, &value);
	return value;
}

void engine_get_fx(struct engine *e, uint8_t image[512])
{
	uint16_t fcw = (uint16_t)read_reg(e, UC_X86_REG_FPCW),
		 fsw = (uint16_t)read_reg(e, UC_X86_REG_FPSW);
	uint16_t fop = (uint16_t)read_reg(e, UC_X86_REG_FOP);
	uint64_t fip = read_reg(e, UC_X86_REG_FIP), fdp = read_reg(e, UC_X86_REG_FDP);
	uint32_t mask = 0xffff;
	memset(image, 0, 512);
	memcpy(image + FX_FCW, &fcw, 2);
	memcpy(image + FX_FSW, &fsw, 2);
	image[FX_FTW] = abridge_tags((uint16_t)read_reg(e, UC_X86_REG_FPTAG));
	memcpy(image + FX_FOP, &fop, 2);
	memcpy(image + FX_FIP, &fip, 8);
	memcpy(image + FX_FDP, &fdp, 8);
	memcpy(image + FX_MXCSR, &e->env->mxcsr, 4);
	memcpy(image + FX_MXCSR_MASK, &mask, 4);
	for (int i = 0; i < 8; i++) {
		uint8_t st[16] = { 0 };
		uc_reg_read(e->uc, UC_X86_REG_ST0 + i, st);
		memcpy(image + FX_ST + 16 * i, st, 10);
	}
	for (int i = 0; i < 16; i++)
		memcpy(image + FX_XMM + 16 * i, e->env->xmm[i], 16);
}

void engine_set_fx(struct engine *e, const uint8_t image[512])
{
	uint16_t fcw, fsw, fop, tags = expand_tags(image[FX_FTW]);
	uint64_t fip, fdp, mxcsr = 0;
	memcpy(&fcw, image + FX_FCW, 2);
	memcpy(&fsw, image + FX_FSW, 2);
	memcpy(&fop, image + FX_FOP, 2);
	memcpy(&fip, image + FX_FIP, 8);
	memcpy(&fdp, image + FX_FDP, 8);
	memcpy(&mxcsr, image + FX_MXCSR, 4);
	/* status first: ST(i) is relative to its TOP */
	uc_reg_write(e->uc, UC_X86_REG_FPSW, &fsw);
	uc_reg_write(e->uc, UC_X86_REG_FPCW, &fcw);
	for (int i = 0; i < 8; i++) {
		uint8_t st[16] = { 0 };
		memcpy(st, image + FX_ST + 16 * i, 10);
		uc_reg_write(e->uc, UC_X86_REG_ST0 + i, st);
	}
	uc_reg_write(e->uc, UC_X86_REG_FPTAG, &tags);
	uc_reg_write(e->uc, UC_X86_REG_FOP, &fop);
	uc_reg_write(e->uc, UC_X86_REG_FIP, &fip);
	uc_reg_write(e->uc, UC_X86_REG_FDP, &fdp);
	uc_reg_write(e->uc, UC_X86_REG_MXCSR, &mxcsr);
	for (int i = 0; i < 16; i++)
		memcpy(e->env->xmm[i], image + FX_XMM + 16 * i, 16);
}

int64_t engine_get_tsc_offset(struct engine *e)
{
	return e->env->tsc_offset;
}

void engine_set_tsc_offset(struct engine *e, int64_t offset)
{
	e->env->tsc_offset = offset;
}

uint64_t engine_get_kernel_gs(struct engine *e)
{
	return e->env->kernel_gs;
}

void engine_set_kernel_gs(struct engine *e, uint64_t base)
{
	e->env->kernel_gs = base;
}

void engine_set_tsc_aux(struct engine *e, uint64_t value)
{
	e->env->tsc_aux = value;
}

bool engine_version_fits(void)
{
	return uc_version(NULL, NULL) >> 8 == 0x020101;
}
