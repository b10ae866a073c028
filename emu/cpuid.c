/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the emulated processor can do, as CPUID leaves. A subset of the engine's model
 * (Icelake-Server): a feature that is shown but not there would make a guest use it and fail.
 */
#include "emu/emu.h"

#include <stdbool.h>
#include <string.h>

#define BIT(n) (1u << (n))

/* SDM vol. 2, CPUID; names as in Linux's cpufeatures.h */
enum {
	L1_EDX = BIT(0) /* FPU */ | BIT(1) /* VME */ | BIT(2) /* DE */ | BIT(3) /* PSE */ |
		 BIT(4) /* TSC */ | BIT(5) /* MSR */ | BIT(6) /* PAE */ | BIT(7) /* MCE */ |
		 BIT(8) /* CX8 */ | BIT(9) /* APIC */ | BIT(11) /* SEP */ | BIT(12) /* MTRR */ |
		 BIT(13) /* PGE */ | BIT(14) /* MCA */ | BIT(15) /* CMOV */ | BIT(16) /* PAT */ |
		 BIT(17) /* PSE36 */ | BIT(19) /* CLFLUSH */ | BIT(23) /* MMX */ |
		 BIT(24) /* FXSR */ | BIT(25) /* SSE */ | BIT(26) /* SSE2 */ | BIT(27) /* SS */,
	L1_ECX = BIT(0) /* SSE3 */ | BIT(1) /* PCLMULQDQ */ | BIT(9) /* SSSE3 */ |
		 BIT(13) /* CX16 */ | BIT(19) /* SSE4.1 */ | BIT(20) /* SSE4.2 */ |
		 BIT(22) /* MOVBE */ | BIT(23) /* POPCNT */ | BIT(25) /* AES */ |
		 BIT(26) /* XSAVE */ | BIT(30) /* RDRAND */,
	L7_EBX = BIT(0) /* FSGSBASE */ | BIT(1) /* TSC_ADJUST */ | BIT(3) /* BMI1 */ |
		 BIT(7) /* SMEP */ | BIT(8) /* BMI2 */ | BIT(9) /* ERMS */ | BIT(18) /* RDSEED */ |
		 BIT(19) /* ADX */ | BIT(20) /* SMAP */ | BIT(23) /* CLFLUSHOPT */ |
		 BIT(24) /* CLWB */,
	L7_ECX = BIT(2) /* UMIP */ | BIT(16) /* LA57 */ | BIT(24) /* BUS_LOCK_DETECT */,
	L7_EDX_INTEL = BIT(30) /* CORE_CAPABILITIES */,
	X1_EDX = BIT(11) /* SYSCALL */ | BIT(20) /* NX */ | BIT(26) /* 1 GB pages */ |
		 BIT(27) /* RDTSCP */ | BIT(29) /* LM */,
	/* AMD repeats leaf 1's low bits here (APM vol. 3, appendix E) */
	X1_EDX_AMD = L1_EDX & 0x0183f3ff,
	X1_ECX = BIT(0) /* LAHF_LM */ | BIT(5) /* ABM: LZCNT */ | BIT(8) /* PREFETCHW */,
};

#define PHYSICAL_BITS 40
/* of a processor with LA57, whatever CR4 says: Linux checks its own addresses with it */
#define LINEAR_BITS 57

/* Family 6, model 106, stepping 6 (Ice Lake server); family 25, model 17 (Genoa): the first with the
 * respective bus-lock features are successors that look the same to software. */
#define SIGNATURE_INTEL 0x000606a6
#define SIGNATURE_AMD   0x00a10f11

static void vendor_string(enum emu_vendor vendor, struct emu_cpuid *leaf)
{
	const char *name = vendor == EMU_AMD ? "AuthenticAMD" : "GenuineIntel";
	memcpy(&leaf->ebx, name, 4);
	memcpy(&leaf->edx, name + 4, 4);
	memcpy(&leaf->ecx, name + 8, 4);
}

size_t emu_cpuid_supported(enum emu_vendor vendor, struct emu_cpuid *out, size_t max)
{
	bool amd = vendor == EMU_AMD;
	struct emu_cpuid leaves[] = {
		{ .function = 0, .eax = 0xd },
		{ .function = 1,
		  .eax = amd ? SIGNATURE_AMD : SIGNATURE_INTEL,
		  .ebx = 1u << 16 | 8u << 8, /* one logical processor, CLFLUSH line of 64 bytes */
		  .ecx = L1_ECX,
		  .edx = L1_EDX },
		{ .function = 2, .eax = amd ? 0 : 0x00feff01, .ebx = amd ? 0 : 0xf0 },
		/* deterministic caches: L1d, L1i of 32 KB, L2 of 1 MB, lines of 64 bytes */
		{ .function = 4,
		  .index = 0,
		  .has_index = true,
		  .eax = 0x121,
		  .ebx = 0x01c0003f,
		  .ecx = 63 },
		{ .function = 4,
		  .index = 1,
		  .has_index = true,
		  .eax = 0x122,
		  .ebx = 0x01c0003f,
		  .ecx = 63 },
		{ .function = 4,
		  .index = 2,
		  .has_index = true,
		  .eax = 0x143,
		  .ebx = 0x03c0003f,
		  .ecx = 1023 },
		{ .function = 4, .index = 3, .has_index = true },
		{ .function = 7,
		  .index = 0,
		  .has_index = true,
		  .ebx = L7_EBX,
		  .ecx = L7_ECX,
		  .edx = amd ? 0 : L7_EDX_INTEL },
		/* XSAVE: x87 and SSE; with the standard format's header 576 bytes */
		{ .function = 0xd,
		  .index = 0,
		  .has_index = true,
		  .eax = 3,
		  .ebx = 576,
		  .ecx = 576 },
		{ .function = 0xd, .index = 1, .has_index = true, .eax = 1 /* XSAVEOPT */ },
		{ .function = 0x80000000, .eax = 0x80000008 },
		{ .function = 0x80000001,
		  .eax = amd ? SIGNATURE_AMD : 0,
		  .ecx = X1_ECX,
		  .edx = (uint32_t)X1_EDX | (amd ? (uint32_t)X1_EDX_AMD : 0) },
		{ .function = 0x80000002 },
		{ .function = 0x80000003 },
		{ .function = 0x80000004 },
		{ .function = 0x80000005,
		  .ecx = 0x20080140,
		  .edx = 0x20080140 }, /* L1: 64-byte lines */
		{ .function = 0x80000006, .ecx = 0x04006040 },
		{ .function = 0x80000007 },
		{ .function = 0x80000008, .eax = PHYSICAL_BITS | LINEAR_BITS << 8 },
	};
	size_t count = sizeof(leaves) / sizeof(leaves[0]);
	vendor_string(vendor, &leaves[0]);
	if (amd) {
		vendor_string(vendor, &leaves[10]);
	}
	const char brand[48] = "buslock emulated processor";
	for (int n = 0; n < 3; n++) {
		uint32_t words[4];
		memcpy(words, brand + 16 * n, 16);
		struct emu_cpuid *leaf = &leaves[12 + n];
		leaf->eax = words[0], leaf->ebx = words[1], leaf->ecx = words[2],
		leaf->edx = words[3];
	}
	for (size_t n = 0; n < count && n < max; n++)
		out[n] = leaves[n];
	return count;
}
