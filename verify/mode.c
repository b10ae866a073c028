// SPDX-License-Identifier: GPL-2.0-only
#include "verify/mode.h"

#include <string.h>

#define CR0_PE     0x00000001u
#define CR0_ET     0x00000010u
#define CR0_NE     0x00000020u
#define CR0_WP     0x00010000u
#define CR0_NW_CD  0x60000000u
#define CR0_PG     0x80000000u
#define CR4_PAE    0x020u
#define CR4_OSFXSR 0x200u
#define CR4_OSXMM  0x400u
#define EFER_LMA   0x500u /* and LME */

/* A page-table entry: present, accessed, dirty: what a walk would set is set. */
enum { PT_P = 1, PT_W = 2, PT_U = 4, PT_AD = 0x60 };

enum { CODE32 = 0x08, DATA = 0x10, CODE64 = 0x18, CODE16 = 0x20, DATA3 = 0x2b, CODE64_3 = 0x33 };
enum { CODE32_3 = 0x3b, CODE16_3 = 0x43, TSS = 0x50 };

/* Descriptors (SDM vol. 3, 3.4.5), accessed bits set. */
static const uint64_t gdt[] = {
	0,
	0x00cf9b000000ffff, /* 08 32-bit code */
	0x00cf93000000ffff, /* 10 data */
	0x00af9b000000ffff, /* 18 64-bit code */
	0x008f9b000000ffff, /* 20 16-bit code, 4 GiB */
	0x00cff3000000ffff, /* 28 data, CPL 3 */
	0x00affb000000ffff, /* 30 64-bit code, CPL 3 */
	0x00cffb000000ffff, /* 38 32-bit code, CPL 3 */
	0x008ffb000000ffff, /* 40 16-bit code, CPL 3 */
	0,
	0, /* 50 TSS, 16 bytes */
	0,
};

/* HLT where it is allowed; else a byte stored at MODE_END. */
#define END_HLT .end = { 0xf4 }, .end_length = 1

const struct mode modes[] = {
	{ "real", "real mode", 16, 0, false, false, false, END_HLT },
	{ "prot16", "protected mode, 16-bit code, no paging", 16, 0, true, false, false, END_HLT },
	{ "prot32", "protected mode, 32-bit code, no paging", 32, 0, true, false, false, END_HLT },
	{ "long", "64-bit mode, CPL 0", 64, 0, true, true, false, END_HLT },
	/* mov [0x20ff8], al: with an address-size prefix, without, with a SIB byte */
	{ "compat16",
	  "compatibility mode, 16-bit code, CPL 3",
	  16,
	  3,
	  true,
	  true,
	  false,
	  { 0x67, 0x88, 0x05, 0xf8, 0x0f, 0x02, 0x00 },
	  7 },
	{ "compat32",
	  "compatibility mode, 32-bit code, CPL 3",
	  32,
	  3,
	  true,
	  true,
	  false,
	  { 0x88, 0x05, 0xf8, 0x0f, 0x02, 0x00 },
	  6 },
	{ "user",
	  "64-bit mode, CPL 3",
	  64,
	  3,
	  true,
	  true,
	  true,
	  { 0x88, 0x04, 0x25, 0xf8, 0x0f, 0x02, 0x00 },
	  7 },
};
const unsigned modes_count = sizeof(modes) / sizeof(modes[0]);

const struct mode *mode_find(const char *name)
{
	for (unsigned i = 0; i < modes_count; i++)
		if (!strcmp(modes[i].name, name))
			return &modes[i];
	return NULL;
}

bool mode_has_base(const struct mode *mode, unsigned seg)
{
	return mode->code != 64 || seg >= 4; /* FS, GS (SDM vol. 1, 3.4.4) */
}

static void put(uint8_t *ram, uint32_t at, uint64_t value, unsigned size)
{
	memcpy(ram + at, &value, size);
}

static void write_page_tables(uint8_t *ram)
{
	const uint32_t pml4 = MODE_TABLES, pdpt = pml4 + 0x1000, pd = pdpt + 0x1000,
		       pt = pd + 0x1000;
	const unsigned all = PT_P | PT_W | PT_U | PT_AD;

	put(ram, pml4, pdpt | all, 8);
	put(ram, pdpt, pd | all, 8);
	put(ram, pd, pt | all, 8);
	for (uint32_t page = 0; page < MODE_RAM; page += 0x1000) {
		uint64_t entry = page | all;

		if (page >= MODE_TABLES && page < MODE_TABLES + 0x4000)
			continue;
		if (page == MODE_READONLY)
			entry &= ~(uint64_t)PT_W;
		if (page < MODE_STACK) /* the processor's own: descriptors, handlers */
			entry &= ~(uint64_t)PT_U;
		if (page != MODE_ABSENT)
			put(ram, pt + page / 0x1000 * 8, entry, 8);
	}
	put(ram, pt + MODE_MMIO / 0x1000 * 8, MODE_MMIO | all, 8);
}

/* Gates that lead to the handlers: 8 bytes, in long mode 16 (SDM vol. 3, 7.11, 7.14.1). */
static void write_gates(const struct mode *mode, uint8_t *ram)
{
	uint64_t selector = mode->paging ? CODE64 : CODE32;

	for (unsigned vector = 0; vector < 256; vector++) {
		uint32_t handler = MODE_HANDLERS + vector;
		uint64_t gate = handler | selector << 16 | 0x8e00ull << 32;

		if (!mode->protected)
			put(ram, MODE_IDT + vector * 4, handler, 4);
		else
			put(ram, MODE_IDT + vector * (mode->paging ? 16 : 8), gate, 8);
	}
}

void mode_write_tables(const struct mode *mode, uint8_t *ram)
{
	write_gates(mode, ram);
	memset(ram + MODE_HANDLERS, 0xf4, 256);
	memcpy(ram + MODE_GDT, gdt, sizeof(gdt));
	put(ram, MODE_GDT + TSS, 0x67 | (uint64_t)MODE_TSS << 16 | 0x8bull << 40, 8);
	put(ram, MODE_TSS + 4, MODE_STACK0, 8); /* RSP0 of a 64-bit TSS (SDM vol. 3, 9.7) */
	put(ram, MODE_TSS + 0x66, 0x68, 2);     /* no I/O permission bitmap */
	if (mode->paging)
		write_page_tables(ram);
}

static struct kvm_segment flat(uint64_t base, uint16_t selector, uint8_t type, uint8_t dpl)
{
	return (struct kvm_segment){
		.base = base,
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.dpl = dpl,
		.s = 1,
		.g = 1,
	};
}

static struct kvm_segment real(uint64_t base, uint8_t type)
{
	return (struct kvm_segment){
		.base = base,
		.limit = 0xffff,
		.selector = (uint16_t)(base >> 4),
		.type = type,
		.present = 1,
		.s = 1,
	};
}

static struct kvm_segment code_segment(const struct mode *mode, uint64_t base)
{
	struct kvm_segment cs;
	uint16_t selector;

	if (!mode->protected)
		return real(base, 11);
	if (mode->code == 64)
		selector = mode->cpl ? CODE64_3 : CODE64;
	else if (mode->code == 32)
		selector = mode->cpl ? CODE32_3 : CODE32;
	else
		selector = mode->cpl ? CODE16_3 : CODE16;
	cs = flat(mode->code == 64 ? 0 : base, selector, 11, mode->cpl);
	cs.l = mode->code == 64;
	cs.db = mode->code == 32;
	return cs;
}

void mode_sregs(const struct mode *mode, const uint64_t base[6], struct kvm_sregs *sregs)
{
	struct kvm_segment *data[6] = { &sregs->es, NULL,       &sregs->ss,
					&sregs->ds, &sregs->fs, &sregs->gs };

	for (unsigned seg = 0; seg < 6; seg++) {
		if (!data[seg])
			continue;
		*data[seg] = mode->protected ? flat(mode_has_base(mode, seg) ? base[seg] : 0,
						    mode->cpl ? DATA3 : DATA, 3, mode->cpl)
					     : real(base[seg], 3);
		data[seg]->db = mode->protected && mode->code != 16;
	}
	sregs->cs = code_segment(mode, base[1]);
	sregs->tr = (struct kvm_segment){
		.base = MODE_TSS, .limit = 0x67, .selector = TSS, .type = 11, .present = 1
	};
	sregs->gdt.base = MODE_GDT;
	sregs->gdt.limit = sizeof(gdt) - 1;
	sregs->idt.base = MODE_IDT;
	sregs->idt.limit = mode->paging ? 0xfff : mode->protected ? 0x7ff : 0x3ff;
	sregs->cr0 = (sregs->cr0 & ~(uint64_t)CR0_NW_CD) | CR0_ET;
	sregs->cr2 = 0;
	if (!mode->protected)
		return;
	sregs->cr0 |= CR0_PE | CR0_NE;
	/* SSE instructions are there without paging, too */
	sregs->cr4 = CR4_OSFXSR | CR4_OSXMM;
	if (!mode->paging)
		return;
	sregs->cr0 |= CR0_WP | CR0_PG;
	sregs->cr3 = MODE_TABLES;
	sregs->cr4 |= CR4_PAE;
	sregs->efer = EFER_LMA;
}
