/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instructions that need not leave the engine although it cannot do them alone: locked ones whose operand
 * lies where no bus lock can come of it, STI while nothing waits for interrupts to be possible, and
 * CMPXCHG, which it gets wrong. All in 64-bit code (scan.c says which).
 *
 * Locked ones. Where QEMU's translator is told that other threads run (CF_PARALLEL), it makes each locked
 * instruction a call of a helper function. We tell it, and the helpers are ours: they ask where the operand
 * lies and do the operation by a host atomic, or leave in front of the instruction, which is then done
 * by hand (locked.c): whatever is a bus lock, faults, or has never been looked at.
 */
#include "emu/engine_unicorn.h"

#include "emu/atomic.h"

/* Here because the linker takes this file from our archive only if engine_unicorn.c wants something of it:
 * the engine's own archive, which wants the rest, comes behind. */
__thread struct engine *engine_running __attribute__((tls_model("initial-exec")));

/* ------------------------------------------------------------------ the translator */

/* In TCGContext of Unicorn 2.1.1; engine_check() sees whether they are there. */
#define CONTEXT_OPS 56 /* nb_ops: operations in the block so far */
#if defined(__aarch64__)
#define CONTEXT_CFLAGS 104 /* tb_cflags; more registers in front of it */
#else
#define CONTEXT_CFLAGS 100
#endif

#define CF_PARALLEL 0x00080000u
/* What tb_gen_code() does not add to the flags by itself (CF_NOCACHE, the number of a cluster). */
#define CF_GIVEN 0x00feffffu

void __real_tcg_func_start_x86_64(void *context);
void __wrap_tcg_func_start_x86_64(void *context);

/* Called for each block behind the place where the flags are set, before its instructions are read. */
void __wrap_tcg_func_start_x86_64(void *context)
{
	uint32_t *cflags = (uint32_t *)(void *)((char *)context + CONTEXT_CFLAGS);

	__real_tcg_func_start_x86_64(context);
	if (engine_running && !((*cflags ^ engine_running->cflags) & CF_GIVEN))
		*cflags |= CF_PARALLEL;
}

/*
 * CMPXCHG with a 32-bit operand leaves RAX alone when it compares equal; the engine clears the upper half.
 * Its translation is
 *
 *	movcond eq new = old, compared, new, old     the value to store
 *	(store new)                                  if the operand is in memory
 *	ext32u RAX = old
 *
 * with `old` and `compared` extended by zeros before. The last becomes
 *
 *	movcond eq RAX = old, compared, RAX, old
 */
#define COND_EQ 8

void __real_tcg_gen_movcond_i64_x86_64(void *context, int cond, void *ret, void *c1, void *c2,
				       void *v1, void *v2);
void __wrap_tcg_gen_movcond_i64_x86_64(void *context, int cond, void *ret, void *c1, void *c2,
				       void *v1, void *v2);
void __real_tcg_gen_ext32u_i64_x86_64(void *context, void *ret, void *arg);
void __wrap_tcg_gen_ext32u_i64_x86_64(void *context, void *ret, void *arg);

static int ops_of(const void *context)
{
	return *(const int *)(const void *)((const char *)context + CONTEXT_OPS);
}

void __wrap_tcg_gen_movcond_i64_x86_64(void *context, int cond, void *ret, void *c1, void *c2,
				       void *v1, void *v2)
{
	__real_tcg_gen_movcond_i64_x86_64(context, cond, ret, c1, c2, v1, v2);
	/* no other instruction has such operands */
	if (engine_running && cond == COND_EQ && ret == v1 && c1 == v2)
		engine_running->cmpxchg = (struct cmpxchg){ context, c1, c2, ops_of(context) };
}

void __wrap_tcg_gen_ext32u_i64_x86_64(void *context, void *ret, void *arg)
{
	struct engine *e = engine_running;

	if (e && e->cmpxchg.context == context && e->cmpxchg.old == arg &&
	    ops_of(context) - e->cmpxchg.ops <= 1) {
		void *compared = (void *)(uintptr_t)e->cmpxchg.compared;

		e->cmpxchg.context = NULL;
		__real_tcg_gen_movcond_i64_x86_64(context, COND_EQ, ret, arg, compared, ret, arg);
		return;
	}
	__real_tcg_gen_ext32u_i64_x86_64(context, ret, arg);
}

/* ------------------------------------------------------------------ the helpers */

/* Where our caller, translated code, goes on; tells the engine which instruction that is. */
#define CALLER ((uintptr_t)__builtin_return_address(0))

/* The operand in host memory. Does not return if the instruction is to be done by hand. */
static inline void *locate(uint64_t linear, unsigned size, uintptr_t caller)
{
	struct engine *e = engine_running;
	void *host = NULL;

	if (e->callbacks.lock)
		host = e->callbacks.lock(e->callbacks.opaque, linear, size, e->env->eflags & FL_AC);
	if (!host || !guest_atomic_allowed(host, size))
		engine_leave(e, caller);
	e->caller = caller;
	return host;
}

#define BEFORE(type) type *host = locate(linear, sizeof(type), CALLER)
#define AFTER        (engine_running->caller = 0)

/* Misaligned within a line: fine on x86, and elsewhere guest_atomic_allowed() keeps it away. */
#define HELPER __attribute__((no_sanitize("alignment")))

/* `wide`: how the engine passes the value. */
#define OPERATION(name, suffix, type, wide, atomic)                                               \
	wide __wrap_helper_atomic_##name##suffix##_x86_64(void *env, uint64_t linear, wide value, \
							  uint32_t index);                        \
	HELPER wide __wrap_helper_atomic_##name##suffix##_x86_64(void *env, uint64_t linear,      \
								 wide value, uint32_t index)      \
	{                                                                                         \
		BEFORE(type);                                                                     \
		type result = atomic(host, (type)value, __ATOMIC_SEQ_CST);                        \
		(void)env, (void)index;                                                           \
		AFTER;                                                                            \
		return result;                                                                    \
	}

#define OPERATION_SIZES(name, atomic)                     \
	OPERATION(name, b, uint8_t, uint32_t, atomic)     \
	OPERATION(name, w_le, uint16_t, uint32_t, atomic) \
	OPERATION(name, l_le, uint32_t, uint32_t, atomic) \
	OPERATION(name, q_le, uint64_t, uint64_t, atomic)

OPERATION_SIZES(fetch_add, __atomic_fetch_add)
OPERATION_SIZES(add_fetch, __atomic_add_fetch)
OPERATION_SIZES(fetch_and, __atomic_fetch_and)
OPERATION_SIZES(and_fetch, __atomic_and_fetch)
OPERATION_SIZES(fetch_or, __atomic_fetch_or)
OPERATION_SIZES(or_fetch, __atomic_or_fetch)
OPERATION_SIZES(fetch_xor, __atomic_fetch_xor)
OPERATION_SIZES(xor_fetch, __atomic_xor_fetch)
OPERATION_SIZES(xchg, __atomic_exchange_n)

/* Of 32 bits, see above: what stands in the upper half of RAX must not be lost. */
#define COMPARE_EXCHANGE(suffix, type, wide)                                                     \
	wide __wrap_helper_atomic_cmpxchg##suffix##_x86_64(void *env, uint64_t linear, wide old, \
							   wide new, uint32_t index);            \
	HELPER wide __wrap_helper_atomic_cmpxchg##suffix##_x86_64(                               \
		void *env, uint64_t linear, wide old, wide new, uint32_t index)                  \
	{                                                                                        \
		if (sizeof(type) == 4 && engine_running->env->gpr[EMU_RAX] >> 32)                \
			engine_leave(engine_running, CALLER);                                    \
		BEFORE(type);                                                                    \
		type result = (type)old;                                                         \
		__atomic_compare_exchange_n(host, &result, (type) new, false, __ATOMIC_SEQ_CST,  \
					    __ATOMIC_SEQ_CST);                                   \
		(void)env, (void)index;                                                          \
		AFTER;                                                                           \
		return result;                                                                   \
	}

COMPARE_EXCHANGE(b, uint8_t, uint32_t)
COMPARE_EXCHANGE(w_le, uint16_t, uint32_t)
COMPARE_EXCHANGE(l_le, uint32_t, uint32_t)
COMPARE_EXCHANGE(q_le, uint64_t, uint64_t)

/* ------------------------------------------------------------------ STI */

void __wrap_helper_sti_x86_64(struct env *env);

/* With IF set already there is no shadow behind it (SDM vol. 2, STI); the engine would make one. */
void __wrap_helper_sti_x86_64(struct env *env)
{
	struct engine *e = engine_running;

	if (e && (env->eflags & (FL_TF | FL_IF) || !e->callbacks.sti ||
		  !e->callbacks.sti(e->callbacks.opaque)))
		engine_leave(e, CALLER);
	env->eflags |= FL_IF;
}

/* ------------------------------------------------------------------ stubs */

void __real_helper_hlt_x86_64(struct env *env, int length);
void __wrap_helper_hlt_x86_64(struct env *env, int length);

/* How the engine leaves at an address that scan() named (HLT itself never runs natively): no instruction
 * that would end the shadow of the one before, as the engine thinks. */
void __wrap_helper_hlt_x86_64(struct env *env, int length)
{
	if (engine_running)
		engine_running->shadow = env->hflags & HF_SHADOW;
	__real_helper_hlt_x86_64(env, length);
}

/* ------------------------------------------------------------------ what we do ourselves */

void __wrap_tlb_reset_dirty_by_vaddr_x86_64(void *cpu, uint64_t linear, uint64_t size);

/*
 * After each translation the engine goes through its whole TLB to have writes to the page reported. A page
 * with translated code has no entry that allows writes (code.c).
 */
void __wrap_tlb_reset_dirty_by_vaddr_x86_64(void *cpu, uint64_t linear, uint64_t size)
{
	(void)cpu, (void)linear, (void)size;
}
