/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The run loop: the engine executes ordinary code; in front of everything else it stops, and what the
 * stop is for is done here by hand.
 */
#include "emu/run.h"

#include "emu/access.h"
#include "emu/vm.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

static void begin_insn(struct emu_vcpu *v)
{
	const struct cpu *c = &v->cpu;
	v->run->executing = (struct executing){ c->rip, linear_rip(c), c->cpl, code_mode(c) };
}

static void vectoring_forget(struct emu_vcpu *v)
{
	v->vectoring.info = 0;
	v->vectoring.active = false;
}

/* ------------------------------------------------------------------ one instruction by hand */

/* Bus Lock Threshold left in front of a lock of this instruction: it has not executed. */
static bool lock_refused(const struct emu_vcpu *v, enum outcome r)
{
	return r == EXIT && v->exit->type == EMU_EXIT_BUS_LOCK;
}

/* It is as if the instruction at `rip` had not been looked at. */
static bool not_executed(const struct emu_vcpu *v, enum outcome r, uint64_t rip)
{
	return r == MMIO || r == FAULT || r == HOST_GONE || (r == EXIT && v->cpu.rip == rip);
}

/* One instruction that the engine's blocks do not count: faults have not executed. */
static enum outcome counted(struct emu_vcpu *v, enum outcome r)
{
	v->stats.instructions += v->vm->counted && (r == DONE || r == EXIT) && !lock_refused(v, r);
	return r;
}

enum outcome decode_at_rip(struct emu_vcpu *v, const struct insn **out)
{
	uint8_t bytes[INSN_MAX_LENGTH];
	size_t got = 0;
	enum outcome r = fetch_insn(v, bytes, &got);
	if (r)
		return r;
	uint64_t linear = linear_rip(&v->cpu);
	unsigned mode = code_mode(&v->cpu), at = (unsigned)(linear ^ linear >> 6) % DECODED_INSNS;
	struct insn *i = &v->run->decoded[at].insn;
	*out = i;
	if (v->run->decoded[at].linear == linear && i->mode == mode && i->length <= got &&
	    !memcmp(i->bytes, bytes, i->length))
		return DONE;
	v->run->decoded[at].linear = linear;
	int ret = insn_decode(i, bytes, got, mode);
	if (!ret)
		return DONE;
	i->mode = 0; /* nothing to be found */
	return ret == -ENODATA ? fetch_fault(v, got) : raise_error(v, EXC_GP, 0);
}

/* #PF of a data access that the engine refused: the fill knew the page only (SDM 4.7). */
static void complete_fault(struct emu_vcpu *v, const struct insn *i)
{
	struct run_state *run = v->run;
	struct insn_access accesses[INSN_MAX_ACCESSES];
	struct insn_regs regs;
	insn_regs_of(&v->cpu, &regs);
	int count = insn_accesses(i, &regs, accesses);
	for (int a = 0; a < count; a++) {
		uint64_t low = accesses[a].linear, high = low + accesses[a].size - 1;
		if ((high & PAGE_MASK) != run->refused_page &&
		    (low & PAGE_MASK) != run->refused_page)
			continue;
		/* MOVS within a read-only page: not what is read */
		if (run->refused_access == ENGINE_WRITE && !(accesses[a].access & INSN_WRITE))
			continue;
		if (v->fault.vector == EXC_PF) {
			v->fault.cr2 = low > run->refused_page ? low : run->refused_page;
			/* a read-modify-write reads first, but faults as a write */
			if (accesses[a].access & INSN_WRITE)
				v->fault.error |= PF_W;
		} else if (v->fault.vector == EXC_GP && accesses[a].seg == SEG_SS) {
			v->fault.vector = EXC_SS; /* a stack access that is not canonical */
		}
		return;
	}
}

static bool vectors_with_error(unsigned vector)
{
	return vector == EXC_DF || (vector >= EXC_TS && vector <= EXC_PF) || vector == EXC_AC;
}

static enum outcome after_exception(struct emu_vcpu *v, const struct engine_stop *stop)
{
	if (stop->vector ==
	    EXC_DB) { /* single step, a trap: boundary() knows what comes before it */
		v->pending_db = true;
		v->pending_db_dr6 |= DR6_BS;
		return DONE;
	}
	v->fault = (struct fault){ .vector = stop->vector,
				   .has_error = vectors_with_error(stop->vector),
				   .error = stop->error };
	return FAULT;
}

static enum outcome after_refusal(struct emu_vcpu *v, const struct insn *i)
{
	switch (v->run->refusal) {
	case REFUSED_FAULT:
		if (v->run->refused_access == ENGINE_FETCH) {
			uint64_t rip = linear_rip(&v->cpu);
			v->fault.cr2 = rip > v->fault.cr2 ? rip : v->fault.cr2;
		} else if (i) {
			complete_fault(v, i);
		}
		return FAULT;
	case REFUSED_MMIO:
		v->mmio_gpa = v->run->refused_gpa;
		return MMIO;
	case REFUSED_GONE:
		return HOST_GONE;
	default:
		return UNHANDLED; /* code: the caller's business */
	}
}

/* The walk that the engine was refused, with its bus locks. */
static enum outcome take_refused_locks(struct emu_vcpu *v)
{
	struct walk w;
	return page_walk(v, v->run->refused_page, v->run->refused_walk, &w);
}

enum outcome native_step(struct emu_vcpu *v, const struct insn *i)
{
	struct engine_stop stop;
	enum outcome r = DONE;
	do {
		stop = engine_step(v->vm->engine, &v->cpu, i->length);
		code_forget_hot(v->vm);
		if (stop.reason != ENGINE_REFUSED || v->run->refusal != REFUSED_BUS_LOCK)
			break;
		r = take_refused_locks(v);
	} while (r == DONE);
	v->run->as_supervisor = false;
	if (r)
		return r;
	switch (stop.reason) {
	case ENGINE_STUB:
	case ENGINE_STOPPED:
		return DONE;
	case ENGINE_EXCEPTION:
		return after_exception(v, &stop);
	case ENGINE_INVALID:
		return raise(v, EXC_UD);
	case ENGINE_REFUSED:
		return after_refusal(v, i);
	case ENGINE_HOST_FAULT:
		return HOST_GONE;
	default:
		return UNHANDLED;
	}
}

/* One instruction in the engine that writes the page it is on. */
static enum outcome step_on_open_page(struct emu_vcpu *v, const struct insn *i,
				      const struct slot *s, uint64_t gpa, const uint8_t *page)
{
	code_drop(v, s, gpa);
	v->open_code_page = page;
	enum outcome r = native_step(v, i);
	v->open_code_page = NULL;
	memory_drop_code(&v->vm->memory, s->region,
			 (uint64_t)(page - s->region->host) >> PAGE_SHIFT);
	page_flags_set(slot_page_flags(s, gpa), PAGE_EVER_W);
	vcpu_flush(v);
	return r;
}

/* A write to a page with code, or code that the monitor changed. */
static enum outcome code_refused(struct emu_vcpu *v)
{
	struct run_state *run = v->run;
	const struct slot *s = run->refused_slot;
	uint64_t gpa = run->refused_gpa, rip = linear_rip(&v->cpu);
	const uint8_t *page = (const uint8_t *)((uintptr_t)slot_host(s, gpa) & PAGE_MASK);
	const struct insn *i;
	if (run->refused_access != ENGINE_WRITE) {
		code_drop(v, s, gpa);
		run->unfinished = true;
		return DONE;
	}
	/* on the page that executes, or the next, which the same block may reach: it would become code
	 * again before the write is done */
	bool own = code_host_page(v, rip) == page || code_host_page(v, rip + PAGE_SIZE) == page;
	if (!own && !code_page_is_mixed(v->vm, page)) {
		code_drop(v, s, gpa);
		run->unfinished = true;
		return DONE;
	}
	enum outcome r = decode_at_rip(v, &i);
	if (r)
		return r;
	r = hand_execute(v, i);
	if (r != UNHANDLED)
		return counted(v, r);
	if (own)
		return counted(v, step_on_open_page(v, i, s, gpa, page));
	code_drop(v, s, gpa);
	run->unfinished = true;
	return DONE;
}

/* ------------------------------------------------------------------ stops */

static enum outcome at_intercept(struct emu_vcpu *v, const struct insn *i);

/* An outcome that is not the loop's own business becomes DONE (go on), EXIT or HOST_GONE. */
static enum outcome settle(struct emu_vcpu *v, enum outcome r, const struct insn *i)
{
	switch (r) {
	case EXIT: /* SDM 27.9.4, of those that are not filled in yet */
		if (i && v->exit->type == EMU_EXIT_TASK_SWITCH && !v->exit->insn_length)
			v->exit->insn_length = i->length;
		return EXIT;
	case FAULT:
		return deliver_fault(v);
	case MMIO:
		if (v->vm->memory.intercept_count) {
			r = at_intercept(v, i);
			if (r != MMIO)
				return r;
		}
		r = i ? counted(v, mmio_execute(v, i)) : leave_unhandled(v, NULL);
		return r == FAULT ? deliver_fault(v) : r == SHUTDOWN ? leave_shutdown(v) : r;
	case SHUTDOWN:
		return leave_shutdown(v);
	case UNHANDLED:
	case NATIVE:
		return leave_unhandled(v, i);
	default:
		return r;
	}
}

static enum outcome execute_special(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t rip = c->rip;
	uint8_t shadow = c->shadow;
	bool trap = c->rflags & FL_TF;
	unsigned watched = watch_hits(v, i);
	c->shadow = 0;
	v->next_shadow = 0;
	enum outcome r = i->flags & INSN_LOCKED ? locked_execute(v, i) : special_execute(v, i);
	if (r == NATIVE)
		r = native_step(v, i), trap = false;
	if (i->op == OP_SYSCALL) /* TF is masked by FMASK before the trap (SDM vol. 2, SYSCALL) */
		trap = c->rflags & FL_TF;
	counted(v, r);
	if (v->next_shadow)
		c->shadow = v->next_shadow;
	if (not_executed(v, r, rip))
		c->shadow = shadow;
	bool delivered = i->op == OP_INT || i->op == OP_INT1 || i->op == OP_INT3 ||
			 i->op == OP_INTO;
	if (trap && r == DONE && !delivered) {
		v->pending_db = true;
		v->pending_db_dr6 |= DR6_BS;
	}
	if (watched && r == DONE) {
		v->pending_db = true;
		v->pending_db_dr6 |= watched;
	}
	return r;
}

/* One instruction that is not special. */
static enum outcome execute_ordinary(struct emu_vcpu *v, const struct insn *i)
{
	struct run_state *run = v->run;
	bool trap = v->cpu.rflags & FL_TF;
	unsigned hits = watch_hits(v, i);
	uint8_t shadow = v->cpu.shadow;
	uint64_t rip = v->cpu.rip;
	run->watch_open = true;
	v->cpu.shadow = 0;
	enum outcome r = hand_execute(v, i);
	if (r == UNHANDLED) {
		trap = false;
		run->refusal = REFUSED_FAULT;
		r = native_step(v, i);
	}
	counted(v, r);
	if (r == UNHANDLED && run->refusal == REFUSED_CODE)
		r = code_refused(v);
	run->watch_open = false;
	if (not_executed(v, r, rip) || run->unfinished)
		v->cpu.shadow = shadow;
	if (r != DONE || run->unfinished)
		return r;
	forget_rf(&v->cpu, i, rip);
	if (hits || trap) {
		v->pending_db = true;
		v->pending_db_dr6 |= hits | (trap ? DR6_BS : 0);
	}
	return DONE;
}

static enum outcome step_ordinary(struct emu_vcpu *v, const struct insn *i)
{
	return settle(v, execute_ordinary(v, i), i);
}

/* An access met a page that the hypervisor intercepts; MMIO: it is a device's after all. */
static enum outcome at_intercept(struct emu_vcpu *v, const struct insn *i)
{
	struct apic_write write;
	if (!apic_access_is_virtualized(v, i, &write))
		return leave_intercepted(v, i);
	v->vm->memory.apic_write_open = true;
	enum outcome r = insn_is_special(v, i) ? execute_special(v, i) : execute_ordinary(v, i);
	v->vm->memory.apic_write_open = false;
	vcpu_flush(v);
	if (r == DONE && !v->run->unfinished)
		v->run->apic_write = write;
	return settle(v, r, i);
}

/* A page with a data breakpoint: one instruction at a time (SDM 20.3.1.2: a trap behind it). */
static enum outcome at_watch(struct emu_vcpu *v)
{
	const struct insn *i;
	enum outcome r = decode_at_rip(v, &i);
	return r ? settle(v, r, NULL) : step_ordinary(v, i);
}

/* The engine stopped in front of the instruction at RIP. */
static enum outcome at_stub(struct emu_vcpu *v, uint64_t started)
{
	const struct insn *i;
	struct cpu *c = &v->cpu;
	enum outcome r = decode_at_rip(v, &i);
	if (r)
		return settle(v, r, NULL);

	const uint64_t *dr = breakpoints(v);
	int hit = dr[7] & 0xff ? breakpoint_at(dr, linear_rip(c)) : -1;
	if (hit >= 0 && !(c->rflags & FL_RF)) {
		v->pending_db_dr6 |= 1u << hit;
		raise(v, EXC_DB);
		return deliver_fault(v);
	}
	if (!insn_is_special(v, i)) {
		/* RF: past its own breakpoint; or a loop around the end of a block that was cut */
		if (hit >= 0 || (linear_rip(c) == started && block_was_cut(v->vm, started)))
			return step_ordinary(v, i);
		/* A block that starts here and is nothing but a stub was translated from other bytes or
		 * under other tables, or its fetch is a bus lock that a cached translation has hidden
		 * from the decoder: forget both. */
		if (linear_rip(c) == started)
			vcpu_forget_code(v, started);
		v->run->unfinished = true;
		return DONE;
	}
	uint64_t rf = c->rflags & FL_RF;
	c->rflags &= ~(uint64_t)FL_RF;
	r = settle(v, execute_special(v, i), i);
	if (lock_refused(v, r) || r == HOST_GONE)
		c->rflags |= rf; /* as if the instruction had not been looked at */
	return r;
}

static enum outcome handle_stop(struct emu_vcpu *v, struct engine_stop stop, uint64_t started)
{
	const struct insn *i;
	enum outcome r;
	switch (stop.reason) {
	case ENGINE_STUB:
		return at_stub(v, started);
	case ENGINE_LEFT:
		uncount(v);
		return at_stub(v, started);
	case ENGINE_STOPPED:
		return DONE;
	case ENGINE_EXCEPTION:
		uncount(v);
		return settle(v, after_exception(v, &stop), NULL);
	case ENGINE_INVALID:
		uncount(v);
		raise(v, EXC_UD);
		return deliver_fault(v);
	case ENGINE_REFUSED:
		uncount(v);
		if (v->run->refusal == REFUSED_CODE) {
			r = code_refused(v);
			return settle(v, r, NULL);
		}
		if (v->run->refusal == REFUSED_WATCH)
			return at_watch(v);
		if (v->run->refusal == REFUSED_BUS_LOCK) {
			/* then a step: run_once() */
			r = take_refused_locks(v);
			v->run->unfinished = r == DONE;
			return settle(v, r, NULL);
		}
		if (v->run->refused_access == ENGINE_FETCH)
			return settle(v, after_refusal(v, NULL), NULL);
		r = after_refusal(v, NULL);
		if (r == HOST_GONE)
			return r;
		/* decoding may overwrite what the refusal left */
		struct fault f = v->fault;
		uint64_t gpa = v->mmio_gpa;
		struct missing missing = v->missing;
		enum outcome fetched = decode_at_rip(v, &i);
		if (fetched)
			return settle(v, fetched, NULL);
		v->fault = f;
		v->mmio_gpa = gpa;
		v->missing = missing;
		if (r == FAULT)
			complete_fault(v, i);
		return settle(v, r, i);
	case ENGINE_HOST_FAULT:
		return HOST_GONE;
	default:
		return UNHANDLED;
	}
}

/* ------------------------------------------------------------------ the loop */

void vcpu_flush(struct emu_vcpu *v)
{
	if (v->vm->loaded == v)
		engine_flush_tlb(v->vm->engine);
	access_flush(v);
	code_forget_hot(v->vm);
}

/* Others want to run: to the end of the queue. False: called away meanwhile. */
static bool yield(struct emu_vcpu *v)
{
	v->running = false;
	run_lock_release(&v->vm->lock);
	if (!run_lock_acquire(&v->vm->lock, false, &v->kicked))
		return false;
	v->running = true;
	vcpu_load(v);
	return true;
}

static enum outcome complete_pending(struct emu_vcpu *v)
{
	struct cpu *c = &v->cpu;
	bool trap = c->rflags & FL_TF;
	uint64_t rip = c->rip;
	enum outcome r;
	if (v->run->pending == PENDING_NOTHING)
		return DONE;
	begin_insn(v);
	v->run->emulating = true;
	switch (v->run->pending) {
	case PENDING_IN:
	case PENDING_OUT:
		r = io_complete(v);
		break;
	case PENDING_MMIO_READ:
	case PENDING_MMIO_WRITE:
		r = mmio_complete(v);
		break;
	default:
		r = msr_complete(v);
	}
	v->run->emulating = false;
	if (r == DONE && c->rip != rip) {
		c->shadow = 0;
		/* kvm_vcpu_do_singlestep(), behind what completes an access */
		if (v->debug.single_step) {
			r = leave_debug(v, DR6_BS);
		} else if (trap) {
			v->pending_db = true;
			v->pending_db_dr6 |= DR6_BS;
		}
	}
	return settle(v, r, &v->run->insn);
}

/* Something waits for the end of an interrupt shadow. */
static bool waits_for_shadow(const struct emu_vcpu *v)
{
	return v->cpu.shadow && (v->interrupt_window || v->events.nmi.pending || v->pending_db);
}

/* One instruction, whatever it is: something waits for its end, and the engine would run on. */
static enum outcome step(struct emu_vcpu *v, uint64_t started)
{
	const struct insn *i;
	const uint64_t *dr = breakpoints(v);
	enum outcome r = decode_at_rip(v, &i);
	if (r)
		return settle(v, r, NULL);
	if (insn_is_special(v, i) || (dr[7] & 0xff && breakpoint_at(dr, started) >= 0))
		return at_stub(v, started);
	return step_ordinary(v, i);
}

/* With the monitor single-stepping, TF is set behind the guest's back, as Linux does. */
static struct engine_stop run_engine(struct emu_vcpu *v)
{
	struct cpu *c = &v->cpu;
	bool own = c->rflags & FL_TF;
	if (v->debug.single_step)
		c->rflags |= FL_TF;
	uint64_t started = linear_rip(c);
	struct engine_stop stop = engine_run(v->vm->engine, c);
	if (v->debug.single_step && !own)
		c->rflags &= ~(uint64_t)FL_TF;
	if (linear_rip(c) != started) /* what RF protected has executed (SDM 17.3.1.1) */
		c->rflags &= ~(uint64_t)FL_RF;
	return stop;
}

/*
 * The boundary behind an instruction, or behind the delivery of an event: what leaves here does so by
 * priority (SDM 7.9; 28.2: a bus lock comes before monitor trap flag and debug traps). What is passed
 * over stays pending.
 */
static enum outcome boundary(struct emu_vcpu *v, uint64_t rip)
{
	struct run_state *run = v->run;
	bool delivered = v->vectoring.info, moved = v->cpu.rip != rip;
	/* SDM 20.3.1.6. A trap: an instruction that faulted has none. What the manual does not say: a
	 * lock of event delivery, which is not at the privilege of any code, has none. */
	if (run->lock_taken && v->debugctl & DEBUGCTL_BLD && run->lock.cpl && !delivered) {
		v->pending_db = true;
		v->pending_db_dr6 |= DR6_BLD;
	}
	if (run->apic_write.seen || (run->lock_taken && bus_lock_traps(v))) {
		/* the monitor's step ends here, too: it is reported with the next run */
		if (v->debug.single_step && (delivered || moved)) {
			v->pending_db = true;
			v->pending_db_dr6 |= DR6_BS;
		}
		return run->apic_write.seen ? leave_apic_write(v) : leave_bus_lock(v);
	}
	run->lock_taken = false;
	if (v->controls.monitor_trap)
		return leave(v, EMU_EXIT_MTF, VMX_MTF);
	/* an instruction done by hand counts as a step, too */
	if (v->debug.single_step && moved) {
		if (!v->pending_db)
			return leave_debug(v, DR6_BS);
		v->pending_db_dr6 |= DR6_BS; /* one #DB for all */
	}
	return DONE;
}

/* Before an instruction begins, and not in the midst of one that has taken a lock already. */
static enum outcome look_around(struct emu_vcpu *v)
{
	struct emu_vm *vm = v->vm;
	if (atomic_load(&v->kicked)) {
		atomic_store(&v->kicked, 0);
		return leave(v, EMU_EXIT_KICKED, VMX_EXTERNAL_INTERRUPT);
	}
	if (limit_reached(v))
		return leave(v, EMU_EXIT_LIMIT, VMX_PREEMPTION_TIMER);
	if (run_lock_wanted(&vm->lock) || v->vm_yield) {
		v->vm_yield = false;
		if (run_lock_wanted(&vm->lock) && !yield(v))
			return leave(v, EMU_EXIT_KICKED, VMX_EXTERNAL_INTERRUPT);
	}
	return DONE;
}

static enum outcome run_once(struct emu_vcpu *v)
{
	struct emu_vm *vm = v->vm;
	struct run_state *run = v->run;
	/* SDM 7.9: debug traps come before whatever else ends a run between two instructions */
	bool trap = debug_trap_is_due(v);
	engine_arm(vm->engine);
	enum outcome r = run->lock_taken || trap ? DONE : look_around(v);
	if (r)
		return r;
	uint64_t generation = atomic_load(&vm->memory.generation);
	if (generation != vm->seen_generation) {
		vm->seen_generation = generation;
		vcpu_flush(v);
		code_distrust(vm);
	}
	if (engine_make_room(vm->engine))
		code_forget_hot(vm);
	uint64_t rip = v->cpu.rip;
	vectoring_forget(v);
	run->unfinished = false;
	if (events_wait(v)) {
		begin_insn(v);
		r = deliver_events(v);
		if (r)
			return r;
		bool lock_exits = run->lock_taken && bus_lock_traps(v);
		if (v->vectoring.info && (lock_exits || v->controls.monitor_trap))
			return boundary(v, rip);
		if (v->vectoring.info)
			run->lock_taken = false; /* the delivery's, not the next instruction's */
		if (trap)
			return DONE; /* now look around */
		v->vectoring.info = 0;
		rip = v->cpu.rip;
	}
	uint64_t started = linear_rip(&v->cpu);
	/* an instruction that has taken a lock is the last before its exit */
	if (waits_for_shadow(v) || v->controls.monitor_trap || run->lock_taken) {
		begin_insn(v);
		r = step(v, started);
	} else {
		struct engine_stop stop = run_engine(v);
		begin_insn(v);
		r = handle_stop(v, stop, started);
	}
	return r || run->unfinished ? r : boundary(v, rip);
}

static int run_locked(struct emu_vcpu *v, unsigned flags)
{
	v->run->lock_taken = false;
	vectoring_forget(v);
	v->run->emulating = false;
	enum outcome r = complete_pending(v);
	if (r == DONE && v->run->lock_taken) /* by the delivery of its fault */
		r = boundary(v, v->cpu.rip);
	if (flags & EMU_RUN_COMPLETE_ONLY)
		return r == EXIT ? 0 : r == HOST_GONE ? -EFAULT : -EAGAIN;
	code_new_run(v->vm);
	while (r == DONE)
		r = run_once(v);
	switch (r) {
	case EXIT:
		return 0;
	case HOST_GONE:
		return -EFAULT;
	default:
		return -EIO;
	}
}

/* The vCPU that runs on this thread, and where a fault of its memory outside the engine goes. */
static __thread struct emu_vcpu *current __attribute__((tls_model("initial-exec")));
static __thread sigjmp_buf host_fault_jump __attribute__((tls_model("initial-exec")));

/* Without a lock: nobody changes the list while this thread is in a run. */
static bool memory_holds(const struct memory *m, const void *address)
{
	for (const struct region *r = m->regions; r; r = r->next)
		if ((uintptr_t)address - (uintptr_t)r->host < r->size)
			return true;
	return false;
}

static __thread bool probing __attribute__((tls_model("initial-exec")));
static __thread sigjmp_buf probe_jump __attribute__((tls_model("initial-exec")));

bool host_page_accessible(uint8_t *host, bool write)
{
	if (sigsetjmp(probe_jump, 0)) {
		probing = false;
		return false;
	}
	probing = true;
	if (write)
		__atomic_fetch_or(host, 0, __ATOMIC_RELAXED);
	else
		(void)*(volatile uint8_t *)host;
	probing = false;
	return true;
}

/* The memory that this thread copies from or to, outside of any run. */
static __thread struct memory *copying __attribute__((tls_model("initial-exec")));
static __thread sigjmp_buf copy_jump __attribute__((tls_model("initial-exec")));

int memory_copy(struct memory *m, uint64_t gpa, void *data, size_t size, bool write)
{
	int ret;

	if (sigsetjmp(copy_jump, 0)) {
		copying = NULL;
		return -EFAULT;
	}
	copying = m;
	ret = write ? memory_write(m, gpa, data, size) : memory_read(m, gpa, data, size);
	copying = NULL;
	return ret;
}

bool emu_host_fault(const void *address, const void *ucontext)
{
	struct emu_vcpu *v = current;
	if (copying && memory_holds(copying, address))
		siglongjmp(copy_jump, 1);
	if (!v || !memory_holds(&v->vm->memory, address))
		return false;
	if (probing)
		siglongjmp(probe_jump, 1);
	engine_host_fault(ucontext); /* does not return if the engine was at it */
	siglongjmp(host_fault_jump, 1);
}

/* A host fault has cut an instruction short: what it held open for itself. */
static void close_everything(struct emu_vcpu *v)
{
	struct run_state *run = v->run;
	v->task_committed = false;
	v->vm->memory.apic_write_open = false;
	v->open_code_page = NULL;
	run->watch_open = run->mmio_on = run->emulating = run->as_supervisor = false;
	run->scratch_pages = 0;
	vcpu_flush(v);
}

/* -EFAULT is what comes of an EPT violation that nobody can resolve: bit 26 stands on that, too. */
static void tell_lock_of_error(struct emu_vcpu *v)
{
	if (!v->run->lock_taken || !bus_lock_traps(v))
		return;
	leave(v, EMU_EXIT_NONE, VMX_EPT_VIOLATION);
	finish_exit(v);
}

int emu_vcpu_run(struct emu_vcpu *v, unsigned flags, struct emu_exit *exit)
{
	memset(exit, 0, offsetof(struct emu_exit, lock));
	memset(&exit->error, 0, sizeof(exit->error));
	v->exit = exit;
	if (!run_lock_acquire(&v->vm->lock, flags & EMU_RUN_URGENT, &v->kicked)) {
		atomic_store(&v->kicked, 0);
		leave(v, EMU_EXIT_KICKED, VMX_EXTERNAL_INTERRUPT);
		return 0;
	}
	v->running = true;
	vcpu_load(v);
	/* no signal mask: the handler's is the run's */
	int ret = sigsetjmp(host_fault_jump, 0) ? -EFAULT : 0;
	if (!ret) {
		current = v;
		ret = run_locked(v, flags);
	} else {
		close_everything(v);
	}
	current = NULL;
	if (!ret)
		finish_exit(v);
	else if (ret == -EFAULT)
		tell_lock_of_error(v);
	/* yield() gives the lock up for good when called away */
	if (v->running)
		run_lock_release(&v->vm->lock);
	v->running = false;
	v->exit = NULL;
	return ret;
}
