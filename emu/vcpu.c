/* SPDX-License-Identifier: GPL-2.0-only */
/* The state of a vCPU: RESET, in and out, events, kicks. */
#include "emu/access.h"
#include "emu/run.h"
#include "emu/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* SDM table 10-1: processor state after RESET. */
void vcpu_reset(struct emu_vcpu *v)
{
	struct cpu *c = &v->cpu;
	memset(c, 0, sizeof(*c));
	c->rip = 0xfff0;
	c->rflags = FL_FIXED;
	c->gpr[EMU_RDX] = 0x600; /* family */
	for (unsigned s = EMU_ES; s <= EMU_GS; s++)
		c->segment[s] =
			(struct segment){ .limit = 0xffff, .flags = DESC_P | DESC_S | 0x300 };
	c->segment[EMU_CS] = (struct segment){ .selector = 0xf000,
					       .base = 0xffff0000,
					       .limit = 0xffff,
					       .flags = DESC_P | DESC_S | 0xb00 };
	c->segment[EMU_LDTR] = (struct segment){ .limit = 0xffff, .flags = DESC_P | 0x200 };
	c->segment[EMU_TR] = (struct segment){ .limit = 0xffff, .flags = DESC_P | 0xb00 };
	c->gdt.limit = c->idt.limit = 0xffff;
	c->cr0 = CR0_CD | CR0_NW | CR0_ET;
	c->dr[6] = DR6_FIXED;
	c->dr[7] = DR7_FIXED;
	v->xcr0 = 1;
	v->apic_base = 0xfee00800 | (v->index ? 0 : 1u << 8);
	memset(&v->events, 0, sizeof(v->events));
	v->pending_db = false;
	v->pending_db_dr6 = 0;
	msrs_reset(v);
}

/* A new vCPU's engine state is that after RESET. */
static int make_context(struct emu_vcpu *v)
{
	struct emu_vm *vm = v->vm;
	if (vm->loaded)
		engine_context_save(vm->engine, vm->loaded->engine_context);
	engine_context_load(vm->engine, vm->pristine);
	vm->loaded = NULL;
	v->engine_context = engine_context_new(vm->engine);
	code_forget_hot(vm);
	return v->engine_context ? 0 : -ENOMEM;
}

static int attach(struct emu_vm *vm, struct emu_vcpu *v)
{
	unsigned index = 0;
	while (index < EMU_MAX_VCPUS && vm->vcpu[index])
		index++;
	if (index == EMU_MAX_VCPUS)
		return -ENOSPC;
	int ret = make_context(v);
	if (ret)
		return ret;
	vm->vcpu[index] = v;
	v->index = index;
	/* with a second one PAUSE becomes a reason to leave: blocks end elsewhere */
	if (++vm->vcpus == 2)
		engine_drop_all(vm->engine);
	return 0;
}

int emu_vcpu_create(struct emu_vm *vm, struct emu_vcpu **out)
{
	struct emu_vcpu *v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->vm = vm;
	v->run = calloc(1, sizeof(*v->run));
	v->cache = access_cache_new(&vm->memory);
	v->msrs = msrs_new();
	int ret = v->run && v->cache && v->msrs ? 0 : -ENOMEM;
	run_lock_acquire(&vm->lock, true, NULL);
	if (!ret)
		ret = attach(vm, v);
	run_lock_release(&vm->lock);
	if (ret) {
		emu_vcpu_destroy(v);
		return ret;
	}
	vcpu_reset(v);
	*out = v;
	return 0;
}

void emu_vcpu_destroy(struct emu_vcpu *v)
{
	if (!v)
		return;
	struct emu_vm *vm = v->vm;
	run_lock_acquire(&vm->lock, true, NULL);
	if (vm->loaded == v)
		vm->loaded = NULL;
	if (vm->vcpu[v->index] == v) {
		vm->vcpu[v->index] = NULL;
		vm->vcpus--;
	}
	run_lock_release(&vm->lock);
	engine_context_free(v->engine_context);
	access_cache_free(v->cache);
	msrs_free(v->msrs);
	free(v->cpuid);
	free(v->run);
	free(v);
}

void vcpu_load(struct emu_vcpu *v)
{
	struct emu_vm *vm = v->vm;
	if (vm->loaded == v)
		return;
	if (vm->loaded)
		engine_context_save(vm->engine, vm->loaded->engine_context);
	engine_context_load(vm->engine, v->engine_context); /* flushes the engine's TLB */
	vm->loaded = v;
	code_forget_hot(vm);
}

/* ------------------------------------------------------------------ registers */

/* attributes (VMX access rights) are the descriptor's high word without the limit bits */
static struct emu_segment segment_out(const struct segment *s)
{
	return (struct emu_segment){ .base = s->base,
				     .limit = s->limit,
				     .selector = (uint16_t)s->selector,
				     .attributes = (uint16_t)(s->flags >> 8 & 0xf0ff) };
}

static struct segment segment_in(const struct emu_segment *s)
{
	return (struct segment){ .base = s->base,
				 .limit = s->limit,
				 .selector = s->selector,
				 .flags = (uint32_t)(s->attributes & 0xf0ff) << 8 };
}

void emu_vcpu_get_state(struct emu_vcpu *v, struct emu_state *state)
{
	const struct cpu *c = &v->cpu;
	memcpy(state->gpr, c->gpr, sizeof(state->gpr));
	state->rip = c->rip;
	state->rflags = c->rflags;
	for (unsigned s = 0; s < EMU_SEGMENTS; s++)
		state->segment[s] = segment_out(&c->segment[s]);
	state->gdt = (struct emu_table){ c->gdt.base, (uint16_t)c->gdt.limit };
	state->idt = (struct emu_table){ c->idt.base, (uint16_t)c->idt.limit };
	state->cr0 = c->cr0, state->cr2 = c->cr2, state->cr3 = c->cr3, state->cr4 = c->cr4;
	state->cr8 = c->cr8, state->efer = c->efer, state->xcr0 = v->xcr0;
	memcpy(state->dr, c->dr, sizeof(state->dr));
	state->apic_base = v->apic_base;
}

static uint8_t cpl_of(const struct cpu *c)
{
	if (in_real(c))
		return 0;
	return in_vm86(c) ? 3 : DESC_GET_DPL(c->segment[EMU_SS].flags);
}

static bool breakpoints_differ(const struct cpu *a, const struct cpu *b)
{
	return memcmp(a->dr, b->dr, 4 * sizeof(a->dr[0])) || a->dr[7] != b->dr[7];
}

int emu_vcpu_set_state(struct emu_vcpu *v, const struct emu_state *state)
{
	struct cpu *c = &v->cpu, next = *c;
	memcpy(next.gpr, state->gpr, sizeof(next.gpr));
	next.rip = state->rip;
	next.rflags = (state->rflags & 0x3f7fd5) | FL_FIXED;
	for (unsigned s = 0; s < EMU_SEGMENTS; s++)
		next.segment[s] = segment_in(&state->segment[s]);
	next.gdt.base = state->gdt.base, next.gdt.limit = state->gdt.limit;
	next.idt.base = state->idt.base, next.idt.limit = state->idt.limit;
	next.cr0 = state->cr0 | CR0_ET, next.cr2 = state->cr2, next.cr3 = state->cr3;
	next.cr4 = state->cr4, next.cr8 = state->cr8, next.efer = state->efer;
	memcpy(next.dr, state->dr, sizeof(next.dr));
	if (!cr_state_valid(&next) || next.cr4 & ~cr4_allowed(v) || next.cr8 & ~15ull ||
	    !(state->xcr0 & 1) || state->xcr0 & ~3ull)
		return -EINVAL;
	next.cpl = cpl_of(&next);
	/* registers alone change often; what translations depend on, rarely */
	bool flush = next.cr0 != c->cr0 || next.cr3 != c->cr3 || next.cr4 != c->cr4 ||
		     next.efer != c->efer;
	bool breakpoints = breakpoints_differ(&next, c);
	*c = next;
	v->xcr0 = state->xcr0;
	v->apic_base = state->apic_base;
	if (flush || breakpoints) {
		run_lock_acquire(&v->vm->lock, true, NULL);
		if (breakpoints)
			vcpu_breakpoints_changed(v);
		else
			vcpu_flush(v);
		run_lock_release(&v->vm->lock);
	}
	return 0;
}

void emu_vcpu_get_events(struct emu_vcpu *v, struct emu_events *events)
{
	*events = v->events;
	events->interrupt.shadow = v->cpu.shadow;
	events->pending_debug = 0;
	if (v->pending_db) {
		events->pending_debug = v->pending_db_dr6;
		if (v->pending_db_dr6 & (DR6_B0_TO_B3 | DR6_BLD))
			events->pending_debug |= PENDING_ENABLED;
	}
}

void emu_vcpu_set_events(struct emu_vcpu *v, const struct emu_events *events)
{
	v->events = *events;
	v->cpu.shadow = events->interrupt.shadow;
	/* a met breakpoint that was not enabled makes no trap by itself (SDM 29.7.3) */
	v->pending_db = events->pending_debug & (PENDING_ENABLED | DR6_BS | DR6_BT);
	v->pending_db_dr6 = v->pending_db ? events->pending_debug & ~PENDING_ENABLED : 0;
}

/* ------------------------------------------------------------------ x87 and SSE */

void emu_vcpu_get_fx(struct emu_vcpu *v, void *image)
{
	run_lock_acquire(&v->vm->lock, true, NULL);
	vcpu_load(v);
	engine_get_fx(v->vm->engine, image);
	run_lock_release(&v->vm->lock);
}

int emu_vcpu_set_fx(struct emu_vcpu *v, const void *image)
{
	uint32_t mxcsr;
	memcpy(&mxcsr, (const uint8_t *)image + 24, 4);
	if (mxcsr & ~0xffffu)
		return -EINVAL;
	run_lock_acquire(&v->vm->lock, true, NULL);
	vcpu_load(v);
	engine_set_fx(v->vm->engine, image);
	run_lock_release(&v->vm->lock);
	return 0;
}

/* ------------------------------------------------------------------ CPUID, translation */

/* MAXPHYADDR (SDM 4.1.4): what the guest is told is also what its tables and MTRRs are checked by. */
static unsigned physical_bits(const struct emu_vcpu *v)
{
	for (size_t n = 0; n < v->cpuid_count; n++) {
		unsigned bits = v->cpuid[n].eax & 0xff;
		if (v->cpuid[n].function == 0x80000008)
			return bits < 32 ? 32 : bits > 52 ? 52 : bits;
	}
	return 36;
}

/* 0 if the guest's CPUID has no such leaf. */
static struct emu_cpuid leaf7(const struct emu_vcpu *v, uint32_t index)
{
	for (size_t n = 0; n < v->cpuid_count; n++)
		if (v->cpuid[n].function == 7 &&
		    (v->cpuid[n].has_index ? v->cpuid[n].index == index : !index))
			return v->cpuid[n];
	return (struct emu_cpuid){ 0 };
}

/* Features that are about bus locks: what is not offered is not there (SDM 11.1.2.3, 20.3.1.6). */
static void offer_features(struct emu_vcpu *v)
{
	const struct emu_config *config = &v->vm->config;
	bool intel = config->vendor == EMU_INTEL;

	v->has_bus_lock_db = !config->no_bus_lock_debug && leaf7(v, 0).ecx & 1u << 24;
	v->has_core_capabilities = intel && !config->no_core_capabilities &&
				   leaf7(v, 0).edx & 1u << 30;
	v->uc_lock_is_ac = leaf7(v, 2).edx & 1u << 6;
}

static bool has_mtrr(const struct emu_vcpu *v)
{
	for (size_t n = 0; n < v->cpuid_count; n++)
		if (v->cpuid[n].function == 1)
			return v->cpuid[n].edx & 1u << 12;
	return false;
}

int emu_vcpu_set_cpuid(struct emu_vcpu *v, const struct emu_cpuid *leaves, size_t count)
{
	if (count > 256)
		return -E2BIG;
	struct emu_cpuid *copy = calloc(count ? count : 1, sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	if (count)
		memcpy(copy, leaves, count * sizeof(*copy));
	free(v->cpuid);
	v->cpuid = copy;
	v->cpuid_count = count;
	v->has_mtrr = has_mtrr(v);
	v->vm->config.physical_address_bits = physical_bits(v);
	offer_features(v);
	access_flush(v); /* types depend on both */
	return 0;
}

int emu_vcpu_translate(struct emu_vcpu *v, uint64_t linear, uint64_t *gpa, bool *writable,
		       bool *user)
{
	struct walk w;
	run_lock_acquire(&v->vm->lock, true, NULL);
	enum outcome r = page_walk(v, linear, WALK_READ | WALK_NO_SIDE_EFFECTS, &w);
	run_lock_release(&v->vm->lock);
	if (r)
		return -EFAULT;
	*gpa = w.gpa;
	*writable = w.writable;
	*user = w.user;
	return 0;
}

/* The observer's caller holds the run lock. */
int emu_observed_read(struct emu_vcpu *v, uint64_t linear, void *data, size_t size)
{
	for (size_t done = 0, part; done < size; done += part) {
		struct walk w;

		part = 0x1000 - ((linear + done) & 0xfff);
		if (part > size - done)
			part = size - done;
		if (page_walk(v, linear + done, WALK_READ | WALK_NO_SIDE_EFFECTS, &w) ||
		    memory_read(&v->vm->memory, w.gpa, (uint8_t *)data + done, part))
			return -EFAULT;
	}
	return 0;
}

/* ------------------------------------------------------------------ controls */

void emu_vcpu_set_bus_lock_exiting(struct emu_vcpu *v, bool on)
{
	v->bus_lock_exiting = on;
}

bool emu_vcpu_bus_lock_exiting(const struct emu_vcpu *v)
{
	return v->bus_lock_exiting;
}

void emu_vcpu_set_instruction_limit(struct emu_vcpu *v, uint64_t instructions)
{
	v->instruction_limit = instructions;
}

void emu_vcpu_set_controls(struct emu_vcpu *v, const struct emu_controls *controls)
{
	v->controls = *controls;
}

void emu_vcpu_request_interrupt_window(struct emu_vcpu *v, bool on)
{
	v->interrupt_window = on;
}

int emu_vcpu_inject_interrupt(struct emu_vcpu *v, uint8_t vector)
{
	if (v->events.interrupt.injected)
		return -EBUSY;
	v->events.interrupt.injected = true;
	v->events.interrupt.soft = false;
	v->events.interrupt.vector = vector;
	return 0;
}

void emu_vcpu_inject_nmi(struct emu_vcpu *v)
{
	v->events.nmi.pending = true;
}

void emu_vcpu_set_debug(struct emu_vcpu *v, const struct emu_debug *debug)
{
	bool breakpoints = v->debug.hardware_breakpoints || debug->hardware_breakpoints;
	v->debug = *debug;
	if (!breakpoints)
		return;
	run_lock_acquire(&v->vm->lock, true, NULL);
	vcpu_breakpoints_changed(v);
	run_lock_release(&v->vm->lock);
}

void emu_vcpu_get_stats(const struct emu_vcpu *v, struct emu_stats *stats)
{
	*stats = v->stats;
}

void emu_vcpu_kick(struct emu_vcpu *v)
{
	atomic_store(&v->kicked, 1);
	/* Also when another vCPU is running: it costs that one a stop, and finding out would race. */
	engine_stop(v->vm->engine);
	run_lock_call(&v->kicked);
}

void emu_vcpu_clear_kick(struct emu_vcpu *v)
{
	atomic_store(&v->kicked, 0);
}
