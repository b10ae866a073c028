/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory types: what the guest's PAT, MTRRs and CR0.CD, and the second level of address translation
 * below them, make of an access. The manuals' tables as they stand there, and the one function that
 * goes through all steps and tells them.
 *
 * Pure functions, any thread. Types are EMU_MT_.
 */
#ifndef BUSLOCK_EMU_MEMTYPE_H
#define BUSLOCK_EMU_MEMTYPE_H

#include "emu/emu.h"

#define MEMTYPE_FIXED    11 /* MSRs of the fixed ranges */
#define MEMTYPE_VARIABLE 8  /* variable ranges: VCNT of IA32_MTRRCAP */

/* The registers of the guest that decide, as RDMSR shows them. All zero but the PAT after RESET. */
struct memtype_registers {
	uint64_t pat;
	uint64_t mtrr_default;
	uint64_t mtrr_fixed[MEMTYPE_FIXED];
	uint64_t mtrr_variable[2 * MEMTYPE_VARIABLE]; /* PHYSBASEn, PHYSMASKn in turn */
};
#define MEMTYPE_PAT_RESET 0x0007040600070406ull /* SDM 14.12.4 */
/* IA32_MTRRCAP: VCNT 8, fixed ranges (bit 8), write-combining (bit 10); kvm_mtrr_get_msr() */
#define MEMTYPE_MTRRCAP (1u << 10 | 1u << 8 | MEMTYPE_VARIABLE)

enum {
	MSR_MTRRCAP = 0xfe,
	MSR_MTRR_PHYSBASE0 = 0x200,
	MSR_PAT = 0x277,
	MSR_MTRR_DEF_TYPE = 0x2ff,
};
/* The MSR behind mtrr_fixed[n]. */
uint32_t memtype_fixed_msr(unsigned n);

/* Can PAT or MTRRs be written so (SDM 14.11.2, 14.12.2)? */
bool memtype_pat_valid(uint64_t value);
bool memtype_default_valid(uint64_t value);
bool memtype_fixed_valid(uint64_t value);
bool memtype_base_valid(uint64_t value, unsigned physical_bits);
bool memtype_mask_valid(uint64_t value, unsigned physical_bits);
/* A type that an MTRR or an EPT entry can have: all but UC-. */
bool memtype_is_mtrr_type(unsigned type);

const char *memtype_name(unsigned type); /* "UC", "WC", … "UC-", "CD", "WC+" */

/* ------------------------------------------------------------------ the page attribute table */

/* What maps: the entry of a last-level page, of a large page, or one (CR3 included) that refers to
 * another table, whose accesses it decides (SDM 4.9.2). */
enum memtype_entry { MEMTYPE_PAGE, MEMTYPE_LARGE_PAGE, MEMTYPE_TABLE };
/* PAT, PCD, PWT as a number. */
unsigned memtype_pat_index(uint64_t entry, enum memtype_entry what);
#define MEMTYPE_NO_PAT 8 /* the index of an access without paging (CR0.PG = 0) */
/* Entry `index` of the PAT; without paging WB (SDM 31.3.7.2). */
unsigned memtype_pat_entry(uint64_t pat, unsigned index);

/* ------------------------------------------------------------------ MTRRs */

enum memtype_rule {
	MEMTYPE_ABSENT,    /* CPUID.1:EDX.MTRR[12] = 0: MTRRs say nothing, WB */
	MEMTYPE_DISABLED,  /* E = 0: all memory is UC */
	MEMTYPE_FIXED_HIT, /* below 1 MB, FE = 1: before all others */
	MEMTYPE_RANGE,     /* one variable range, or several of one type */
	MEMTYPE_OVERLAP,   /* several: UC before all, WT before WB */
	MEMTYPE_UNDEFINED, /* several that the SDM has no rule for: UC, as Linux takes it
			    * (check_type_overlap(), arch/x86/kernel/cpu/mtrr/generic.c) */
	MEMTYPE_DEFAULT,   /* none: the default type */
};
struct memtype_mtrr {
	enum memtype_rule rule;
	uint32_t msr; /* where the type stands: a fixed one, the first such PHYSBASEn,
		       * IA32_MTRR_DEF_TYPE; 0: nowhere */
	uint8_t type;
};
/* SDM 14.11.2, 14.11.4.1. `exist`: CPUID.1:EDX.MTRR[12]. */
struct memtype_mtrr memtype_mtrr(const struct memtype_registers *r, bool exist,
				 unsigned physical_bits, uint64_t gpa);

/* ------------------------------------------------------------------ tables */

/* MTRR or EPT type × PAT type (SDM table 14-7). */
unsigned memtype_combine(unsigned mtrr, unsigned pat);
/* The PAT type of guest and nested tables together (APM table 15-19); EMU_MT_WC_PLUS may come out. */
unsigned memtype_combine_nested(unsigned guest_pat, unsigned host_pat);
/* … and the MTRR of the system-physical address (APM table 15-20; without nesting, 7-9). */
unsigned memtype_combine_amd(unsigned pat, unsigned mtrr);
/* Below EPT (SDM 31.3.7.2). `cd`: the CR0.CD that is in force in hardware. */
unsigned memtype_ept(unsigned ept, bool ignore_pat, bool cd, unsigned pat);

/* ------------------------------------------------------------------ all of it */

struct memtype_question {
	enum emu_vendor vendor;
	enum emu_memory_policy policy;
	bool cd_is_uc;
	bool cd;       /* the guest's CR0.CD. NW changes no type (SDM table 14-5). */
	bool has_mtrr; /* CPUID.1:EDX.MTRR[12] */
	unsigned physical_bits;
	const struct memtype_registers *registers;
	uint64_t gpa;
	unsigned pat_index;
	bool is_declared; /* emu_vm_declare_memory_type() */
	unsigned declared;
};

enum memtype_level { MEMTYPE_ONE_LEVEL, MEMTYPE_EPT, MEMTYPE_NPT };

/* How a type came about. */
struct memtype {
	/* the guest's part */
	uint8_t pat_index, pat;
	struct memtype_mtrr mtrr;
	uint8_t guest; /* PAT × MTRR, these if the guest has enabled them: what it believes */
	/* what is below */
	enum memtype_level level;
	bool caching_off; /* CR0.CD decides */
	bool ignore_pat;  /* EPT */
	uint8_t second;   /* EPT: the entry's type; NPT: the entry's PAT type */
	uint8_t nested;   /* NPT: guest PAT × host PAT; else the PAT type that counts */
	uint8_t physical; /* MTRR type that counts: one level: the guest's; NPT: the host's */
	uint8_t type;     /* the result */
};
struct memtype memtype_explain(const struct memtype_question *question);

#endif
