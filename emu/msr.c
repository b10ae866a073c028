/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The model-specific registers that belong to the processor. What a hypervisor makes up (its own
 * MSRs, machine-check banks) is for the hypervisor: such accesses leave as unknown.
 */
#include "emu/access.h"
#include "emu/run.h"
#include "emu/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* Where the value lives; STORED ones in struct emu_msrs, TYPES (PAT, MTRRs) in emu_vcpu.types. */
enum home {
	STORED,
	TSC,
	TSC_OFFSET, /* no MSR: what emu_vcpu_set_tsc_offset() sets */
	TSC_ADJUST,
	APIC_BASE,
	EFER,
	FS_BASE,
	GS_BASE,
	KERNEL_GS,
	TSC_AUX,
	MEMORY_CTRL,
	DEBUGCTL,
	TYPES,
};

/* What WRMSR checks (SDM vol. 4; of PAT and MTRRs: memtype.c). */
enum check {
	ANY,
	CANONICAL,
	READ_ONLY,
	CONSTANT,
	PAT_TYPES,
	MTRR_TYPES,
	MTRR_DEFAULT,
	MTRR_BASE_MASK,
	LOW32,
	EFER_BITS,
	APIC_BITS,
	MEMORY_CTRL_BITS,
	DEBUGCTL_BITS,
};

/* IA32_CORE_CAPABILITIES (SDM vol. 4; vol. 3, 11.1.2.3): this processor has both kinds of disable. */
#define CORE_CAPS_UC_LOCK_DISABLE    (1ull << 4)
#define CORE_CAPS_SPLIT_LOCK_DISABLE (1ull << 5)
#define MSR_CORE_CAPS                0xcf
#define MSR_MEMORY_CTRL              0x33
/* What SDM 19.4.1 names, but for bus-lock detection, which CPUID has to offer. Stored, no more. */
#define DEBUGCTL_KNOWN 0xffc3ull

static const struct msr {
	uint32_t index, count; /* a run of equal ones */
	enum home home;
	enum check check;
	uint64_t reset;
} table[] = {
	{ 0x10, 1, TSC, ANY, 0 },
	{ 0x1b, 1, APIC_BASE, APIC_BITS, 0xfee00900 },
	{ MSR_MEMORY_CTRL, 1, MEMORY_CTRL, MEMORY_CTRL_BITS, 0 },
	{ 0x3b, 1, TSC_ADJUST, ANY, 0 },
	{ 0x8b, 1, STORED, ANY, 0x100000000 }, /* microcode revision, written 0 before CPUID */
	{ MSR_CORE_CAPS, 1, STORED, READ_ONLY,
	  CORE_CAPS_UC_LOCK_DISABLE | CORE_CAPS_SPLIT_LOCK_DISABLE },
	{ MSR_MTRRCAP, 1, STORED, CONSTANT, MEMTYPE_MTRRCAP },
	{ 0x174, 1, STORED, LOW32, 0 },     /* SYSENTER_CS */
	{ 0x175, 2, STORED, CANONICAL, 0 }, /* SYSENTER_ESP, EIP */
	{ 0x1a0, 1, STORED, ANY, 0x1 },     /* MISC_ENABLE: fast strings */
	{ 0x1d9, 1, DEBUGCTL, DEBUGCTL_BITS, 0 },
	/* After RESET the MTRRs' enable and valid bits are 0, the rest undefined (SDM 14.11.5): 0. */
	{ MSR_MTRR_PHYSBASE0, 2 * MEMTYPE_VARIABLE, TYPES, MTRR_BASE_MASK, 0 },
	{ 0x250, 1, TYPES, MTRR_TYPES, 0 },
	{ 0x258, 2, TYPES, MTRR_TYPES, 0 },
	{ 0x268, 8, TYPES, MTRR_TYPES, 0 },
	{ MSR_PAT, 1, TYPES, PAT_TYPES, MEMTYPE_PAT_RESET },
	{ MSR_MTRR_DEF_TYPE, 1, TYPES, MTRR_DEFAULT, 0 },
	{ 0xc0000080, 1, EFER, EFER_BITS, 0 },
	{ 0xc0000081, 1, STORED, ANY, 0 },       /* STAR */
	{ 0xc0000082, 2, STORED, CANONICAL, 0 }, /* LSTAR, CSTAR */
	{ 0xc0000084, 1, STORED, LOW32, 0 },     /* FMASK */
	{ 0xc0000100, 1, FS_BASE, CANONICAL, 0 },
	{ 0xc0000101, 1, GS_BASE, CANONICAL, 0 },
	{ 0xc0000102, 1, KERNEL_GS, CANONICAL, 0 },
	{ 0xc0000103, 1, TSC_AUX, LOW32, 0 },
};
#define MSR_ROWS   (sizeof(table) / sizeof(table[0]))
#define MSR_STORED 64

struct emu_msrs {
	uint64_t stored[MSR_STORED];
};

static const struct msr *find(uint32_t index, unsigned *place)
{
	unsigned at = 0;
	for (size_t i = 0; i < MSR_ROWS; i++) {
		if (index - table[i].index < table[i].count) {
			*place = at + (index - table[i].index);
			return &table[i];
		}
		at += table[i].count;
	}
	return NULL;
}

struct emu_msrs *msrs_new(void)
{
	return calloc(1, sizeof(struct emu_msrs));
}

void msrs_free(struct emu_msrs *m)
{
	free(m);
}

static uint64_t *types_register(struct memtype_registers *r, uint32_t index)
{
	if (index == MSR_PAT)
		return &r->pat;
	if (index == MSR_MTRR_DEF_TYPE)
		return &r->mtrr_default;
	for (unsigned n = 0; n < MEMTYPE_FIXED; n++)
		if (memtype_fixed_msr(n) == index)
			return &r->mtrr_fixed[n];
	return &r->mtrr_variable[index - MSR_MTRR_PHYSBASE0];
}

void msrs_reset(struct emu_vcpu *v)
{
	unsigned at = 0;
	for (size_t i = 0; i < MSR_ROWS; i++) {
		for (unsigned k = 0; k < table[i].count; k++, at++) {
			v->msrs->stored[at] = table[i].reset;
			if (table[i].home == TYPES)
				*types_register(&v->types, table[i].index + k) = table[i].reset;
		}
	}
	v->memory_ctrl = v->debugctl = 0;
}

/* MTRRs that CPUID does not have are unknown to the guest (SDM 14.11.1). */
static bool hidden(const struct emu_vcpu *v, const struct msr *m, uint32_t index)
{
	return (m->home == TYPES || index == MSR_MTRRCAP) && index != MSR_PAT && !v->has_mtrr;
}

size_t emu_msr_list(uint32_t *index, size_t max)
{
	size_t n = 0;
	for (size_t i = 0; i < MSR_ROWS; i++)
		for (unsigned k = 0; k < table[i].count; k++, n++)
			if (n < max)
				index[n] = table[i].index + k;
	return n;
}

/* CPUID.(7,0):EDX[30] enumerates IA32_CORE_CAPABILITIES, and that MSR 33h (SDM 11.1.2.3). */
static bool has_core_capabilities(const struct emu_vcpu *v, bool host)
{
	/* the hypervisor may prepare them before it sets CPUID */
	return v->has_core_capabilities ||
	       (host && v->vm->config.vendor == EMU_INTEL && !v->vm->config.no_core_capabilities);
}

static uint64_t memory_ctrl_bits(const struct emu_vcpu *v)
{
	unsigned place = 0;
	find(MSR_CORE_CAPS, &place);
	uint64_t caps = v->msrs->stored[place];
	return (caps & CORE_CAPS_UC_LOCK_DISABLE ? MEMORY_CTRL_UC_LOCK_DISABLE : 0) |
	       (caps & CORE_CAPS_SPLIT_LOCK_DISABLE ? MEMORY_CTRL_SPLIT_LOCK_DISABLE : 0);
}

/* vmx_get_supported_debugctl(), Linux 6.12, has the same exception for the hypervisor. */
static uint64_t debugctl_bus_lock(const struct emu_vcpu *v, bool host)
{
	return v->has_bus_lock_db || (host && !v->vm->config.no_bus_lock_debug) ? DEBUGCTL_BLD : 0;
}

/* The row of an MSR that this vCPU has, NULL if it has none. */
static const struct msr *find_offered(const struct emu_vcpu *v, uint32_t index, bool host,
				      unsigned *place)
{
	if (index == MSR_CORE_CAPS && !has_core_capabilities(v, host))
		return NULL;
	if (index == MSR_MEMORY_CTRL && !(has_core_capabilities(v, host) && memory_ctrl_bits(v)))
		return NULL;
	return find(index, place);
}

/* What the guest's offset is added to. */
static uint64_t tsc_source(struct emu_vcpu *v)
{
	if (v->vm->tsc)
		return v->vm->tsc(v->vm->tsc_opaque, v);
#if defined(__x86_64__)
	return __rdtsc();
#else
	struct timespec now; /* as the engine's RDTSC does where the host has no TSC */
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
#endif
}

/* The engine holds some of the values: of the vCPU that is loaded. */
static uint64_t engine_value(struct emu_vcpu *v, enum home home, bool write, uint64_t value)
{
	struct engine *e = v->vm->engine;
	switch (home) {
	case TSC:
		if (write)
			engine_set_tsc_offset(e, (int64_t)(value - tsc_source(v)));
		return tsc_source(v) + (uint64_t)engine_get_tsc_offset(e);
	case TSC_OFFSET:
		if (write)
			engine_set_tsc_offset(e, (int64_t)value);
		return (uint64_t)engine_get_tsc_offset(e);
	case KERNEL_GS:
		if (write)
			engine_set_kernel_gs(e, value);
		return engine_get_kernel_gs(e);
	default:
		return 0;
	}
}

/* The guest's own accesses come with the run lock held; the monitor's take it. */
static uint64_t in_engine(struct emu_vcpu *v, enum home home, bool write, uint64_t value)
{
	if (v->running)
		return engine_value(v, home, write, value);
	run_lock_acquire(&v->vm->lock, true, NULL);
	vcpu_load(v);
	value = engine_value(v, home, write, value);
	run_lock_release(&v->vm->lock);
	return value;
}

int64_t emu_vcpu_get_tsc_offset(struct emu_vcpu *v)
{
	return (int64_t)in_engine(v, TSC_OFFSET, false, 0);
}

void emu_vcpu_set_tsc_offset(struct emu_vcpu *v, int64_t offset)
{
	in_engine(v, TSC_OFFSET, true, (uint64_t)offset);
}

static void set_tsc_aux(struct emu_vcpu *v, uint64_t value)
{
	if (v->running) {
		engine_set_tsc_aux(v->vm->engine, value);
		return;
	}
	run_lock_acquire(&v->vm->lock, true, NULL);
	vcpu_load(v);
	engine_set_tsc_aux(v->vm->engine, value);
	run_lock_release(&v->vm->lock);
}

int emu_vcpu_get_msr(struct emu_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	unsigned place = 0;
	const struct msr *m = find_offered(v, index, host, &place);
	if (!m || (!host && hidden(v, m, index)))
		return -ENOENT;
	switch (m->home) {
	case TSC:
	case KERNEL_GS:
		*value = in_engine(v, m->home, false, 0);
		break;
	case APIC_BASE:
		*value = v->apic_base;
		break;
	case EFER:
		*value = v->cpu.efer;
		break;
	case MEMORY_CTRL:
		*value = v->memory_ctrl;
		break;
	case DEBUGCTL:
		*value = v->debugctl;
		break;
	case FS_BASE:
		*value = v->cpu.segment[EMU_FS].base;
		break;
	case GS_BASE:
		*value = v->cpu.segment[EMU_GS].base;
		break;
	case TYPES:
		*value = *types_register(&v->types, index);
		break;
	default:
		*value = v->msrs->stored[place];
	}
	return 0;
}

static bool efer_valid(const struct emu_vcpu *v, uint64_t value, bool host)
{
	if (value & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE))
		return false;
	if (host)
		return true;
	/* LME does not change while paging is on (SDM 4.1.1); LMA is the CPU's */
	return !((value ^ v->cpu.efer) & EFER_LME) || !(v->cpu.cr0 & CR0_PG);
}

static bool valid(const struct emu_vcpu *v, const struct msr *m, uint32_t index, uint64_t value,
		  bool host)
{
	uint64_t physical = ~(size_mask(8) << vm_physical_bits(v->vm));
	switch (m->check) {
	case ANY:
		return true;
	case CANONICAL:
		return canonical(&v->cpu, value);
	case READ_ONLY:
		return host;
	case LOW32:
		return !(value >> 32);
	case CONSTANT: /* a monitor may restore what it saved */
		return host && value == m->reset;
	case PAT_TYPES:
		return memtype_pat_valid(value);
	case MTRR_TYPES:
		return memtype_fixed_valid(value);
	case MTRR_DEFAULT:
		return memtype_default_valid(value);
	case MTRR_BASE_MASK:
		return index & 1 ? memtype_mask_valid(value, vm_physical_bits(v->vm))
				 : memtype_base_valid(value, vm_physical_bits(v->vm));
	case EFER_BITS:
		return efer_valid(v, value, host);
	case APIC_BITS:
		/* the base may move; x2APIC is not there (bit 10) */
		return !(value & ~(physical & ~0x6ffull));
	case MEMORY_CTRL_BITS:
		return !(value & ~memory_ctrl_bits(v));
	case DEBUGCTL_BITS:
		return !(value & ~(DEBUGCTL_KNOWN | debugctl_bus_lock(v, host)));
	}
	return false;
}

int emu_vcpu_set_msr(struct emu_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	unsigned place = 0;
	const struct msr *m = find_offered(v, index, host, &place);
	if (!m || (!host && hidden(v, m, index)))
		return -ENOENT;
	if (!valid(v, m, index, value, host))
		return -EINVAL;
	switch (m->home) {
	case TSC: {
		uint64_t before = in_engine(v, TSC, false, 0);
		in_engine(v, TSC, true, value);
		unsigned adjust = 0;
		find(0x3b, &adjust);
		if (!host) /* SDM 19.17.3: a write to the TSC shows in TSC_ADJUST */
			v->msrs->stored[adjust] += value - before;
		break;
	}
	case TSC_ADJUST:
		if (!host)
			in_engine(v, TSC, true,
				  in_engine(v, TSC, false, 0) + value - v->msrs->stored[place]);
		v->msrs->stored[place] = value;
		break;
	case KERNEL_GS:
		in_engine(v, m->home, true, value);
		break;
	case TSC_AUX:
		set_tsc_aux(v, value);
		v->msrs->stored[place] = value;
		break;
	case APIC_BASE:
		v->apic_base = value;
		break;
	case MEMORY_CTRL:
		v->memory_ctrl = value;
		break;
	case DEBUGCTL:
		v->debugctl = value;
		break;
	case EFER:
		v->cpu.efer = host ? value : (value & ~EFER_LMA) | (v->cpu.efer & EFER_LMA);
		vcpu_flush(v);
		break;
	case FS_BASE:
		v->cpu.segment[EMU_FS].base = value;
		break;
	case GS_BASE:
		v->cpu.segment[EMU_GS].base = value;
		break;
	case TYPES:
		*types_register(&v->types, index) = value;
		access_flush(v);
		break;
	default:
		v->msrs->stored[place] = value;
	}
	return 0;
}
