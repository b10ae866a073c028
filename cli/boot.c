// SPDX-License-Identifier: GPL-2.0-only
#include "cli/boot.h"

#include <string.h>
#include <strings.h>

/* offsets in the monitor's area */
#define PML4 0x0000u
#define PDPT 0x1000u
#define PD   0x2000u /* four pages: 4 GiB in large pages */
#define GDT  0x6000u
#define TSS  0x7000u

#define GIB4        (1ull << 32)
#define LARGE_PAGE  0x200000u
#define TABLE_ENTRY 0x07u /* present, writable, user */
#define PAGE_ENTRY  0x87u /* … and a large page */

#define CR0_PE         0x00000001u
#define CR0_ET         0x00000010u
#define CR0_NE         0x00000020u
#define CR0_NW         0x20000000u
#define CR0_CD         0x40000000u
#define CR0_PG         0x80000000u
#define CR4_PAE        0x020u
#define CR4_OSFXSR     0x200u
#define CR4_OSXMMEXCPT 0x400u
#define EFER_LME       0x100u
#define EFER_LMA       0x400u

enum { CODE32 = 0x08, DATA32 = 0x10, CODE64 = 0x18, TSS_SELECTOR = 0x48 };

/* Descriptors (SDM vol. 3, 3.4.5), accessed bits already set: the guest's own loads need not set them. */
static const uint64_t gdt[] = {
	0,
	0x00cf9b000000ffff, /* 08 32-bit code */
	0x00cf93000000ffff, /* 10 data */
	0x00af9b000000ffff, /* 18 64-bit code */
	0x00affb000000ffff, /* 20 64-bit code, CPL 3 */
	0x00cff3000000ffff, /* 28 data, CPL 3 */
	0x00cffb000000ffff, /* 30 32-bit code, CPL 3 */
	0x00009b000000ffff, /* 38 16-bit code */
	0x000093000000ffff, /* 40 16-bit data */
	0,
	0, /* 48 TSS, 16 bytes: filled in below */
};

static void put(const struct guest_memory *memory, uint64_t offset, uint64_t entry)
{
	memcpy(memory->host + memory->top + offset, &entry, sizeof(entry));
}

/* Everything up to 4 GiB at its own address, devices' addresses included. */
static void write_page_tables(const struct guest_memory *memory)
{
	put(memory, PML4, (memory->top + PDPT) | TABLE_ENTRY);
	for (unsigned i = 0; i < 4; i++)
		put(memory, PDPT + 8 * i, (memory->top + PD + 0x1000 * i) | TABLE_ENTRY);
	for (unsigned i = 0; i < GIB4 / LARGE_PAGE; i++)
		put(memory, PD + 8 * i, ((uint64_t)i * LARGE_PAGE) | PAGE_ENTRY);
}

static void write_descriptors(const struct guest_memory *memory)
{
	uint64_t base = memory->top + TSS;

	for (unsigned i = 0; i < sizeof(gdt) / sizeof(gdt[0]); i++)
		put(memory, GDT + 8 * i, gdt[i]);
	/* 32-bit or 64-bit busy TSS, limit 67h (SDM vol. 3, 8.2.2) */
	put(memory, GDT + TSS_SELECTOR,
	    0x67 | (base & 0xffffff) << 16 | 0x8bull << 40 | (base >> 24 & 0xff) << 56);
	put(memory, GDT + TSS_SELECTOR + 8, base >> 32);
}

void boot_write_tables(const struct guest_memory *memory, enum image_mode mode)
{
	if (mode == MODE_REAL)
		return;
	write_descriptors(memory);
	if (mode == MODE_LONG)
		write_page_tables(memory);
}

static struct kvm_segment flat(uint16_t selector, uint8_t type, bool code64)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.db = !code64,
		.s = 1,
		.l = code64,
		.g = 1,
	};
}

static struct kvm_segment real(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.base = (uint64_t)selector << 4,
		.limit = 0xffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
	};
}

static void set_data(struct kvm_sregs *sregs, struct kvm_segment data)
{
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
}

static void real_state(const struct image *image, unsigned vcpu, struct kvm_sregs *sregs,
		       struct kvm_regs *regs)
{
	uint16_t segment = image->entry > 0xffff ? (uint16_t)(image->entry >> 4) : 0;

	/* firmware has turned the caches on before it starts a boot sector */
	sregs->cr0 &= ~(uint64_t)(CR0_CD | CR0_NW);
	sregs->cs = real(segment, 11);
	set_data(sregs, real(0, 3));
	regs->rip = image->entry - ((uint64_t)segment << 4);
	/* Below the image, as for a boot sector; else at the top of the segment. */
	regs->rsp = (image->low >= 0x600 && image->low < 0x10000 ? image->low : 0x10000) -
		    vcpu * 0x100u;
	regs->rsp &= 0xfff0;
}

static void flat_state(const struct guest_memory *memory, const struct image *image, unsigned vcpu,
		       struct kvm_sregs *sregs, struct kvm_regs *regs)
{
	bool code64 = image->mode == MODE_LONG;

	sregs->gdt.base = memory->top + GDT;
	sregs->gdt.limit = sizeof(gdt) - 1;
	sregs->idt.base = 0;
	sregs->idt.limit = 0; /* none yet: an exception before LIDT is a triple fault */
	sregs->tr = (struct kvm_segment){ .base = memory->top + TSS,
					  .limit = 0x67,
					  .selector = TSS_SELECTOR,
					  .type = 11,
					  .present = 1 };
	sregs->cr0 = CR0_PE | CR0_ET | CR0_NE;
	sregs->cs = flat(code64 ? CODE64 : CODE32, 11, code64);
	set_data(sregs, flat(DATA32, 3, false));
	if (code64) {
		sregs->cr0 |= CR0_PG;
		sregs->cr3 = memory->top + PML4;
		sregs->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
		sregs->efer = EFER_LME | EFER_LMA;
	}
	regs->rip = image->entry;
	regs->rsp = memory->top - (uint64_t)vcpu * BOOT_STACK;
}

void boot_state(const struct guest_memory *memory, const struct image *image, unsigned vcpu,
		unsigned vcpus, struct kvm_sregs *sregs, struct kvm_regs *regs)
{
	*regs = (struct kvm_regs){ .rflags = 2, .rbx = vcpu, .rdx = vcpus };
	if (image->mode == MODE_REAL)
		real_state(image, vcpu, sregs, regs);
	else
		flat_state(memory, image, vcpu, sregs, regs);
	if (image->multiboot_info) {
		/* Multiboot Specification 3.2; EBX is taken, so ECX has the number. */
		regs->rax = MULTIBOOT_MAGIC;
		regs->rbx = image->multiboot_info;
		regs->rcx = vcpu;
	}
}

bool boot_set_register(struct kvm_regs *regs, const char *name, uint64_t value)
{
	const struct {
		const char *name;
		__u64 *reg;
	} names[] = {
		{ "ax", &regs->rax },  { "cx", &regs->rcx },  { "dx", &regs->rdx },
		{ "bx", &regs->rbx },  { "sp", &regs->rsp },  { "bp", &regs->rbp },
		{ "si", &regs->rsi },  { "di", &regs->rdi },  { "r8", &regs->r8 },
		{ "r9", &regs->r9 },   { "r10", &regs->r10 }, { "r11", &regs->r11 },
		{ "r12", &regs->r12 }, { "r13", &regs->r13 }, { "r14", &regs->r14 },
		{ "r15", &regs->r15 }, { "ip", &regs->rip },  { "flags", &regs->rflags },
	};
	bool wide = (name[0] == 'r' || name[0] == 'e' || name[0] == 'R' || name[0] == 'E');

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcasecmp(names[i].name, name) != 0 &&
		    (!wide || strcasecmp(names[i].name, name + 1) != 0))
			continue;
		*names[i].reg = value;
		return true;
	}
	return false;
}
