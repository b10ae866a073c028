/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The modes in which programs run: the state of the machine around a program. All use one layout of
 * 64 KiB of memory; above it there is nothing, so that every access leaves as MMIO.
 */
#ifndef BUSLOCK_VERIFY_MODE_H
#define BUSLOCK_VERIFY_MODE_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#define MODE_RAM      0x10000u
#define MODE_IDT      0x0000u /* real mode: interrupt vectors */
#define MODE_HANDLERS 0x1000u /* of vector n: HLT at 1000h + n */
#define MODE_GDT      0x2000u
#define MODE_TSS      0x2800u
#define MODE_TABLES   0x3000u /* PML4, PDPT, PD, PT; not mapped themselves */
#define MODE_STACK0   0x7f00u /* of exceptions at CPL 3 */
#define MODE_STACK    0x8000u /* a page; RSP starts in its middle */
#define MODE_CODE     0x9000u /* two pages, filled with HLT behind the program */
#define MODE_CODE_END 0xb000u
#define MODE_DATA     0xb000u  /* four pages: */
#define MODE_READONLY 0xd000u  /* … with paging the third is read-only, */
#define MODE_ABSENT   0xe000u  /* … and the fourth not present */
#define MODE_MMIO     0x20000u /* a page of devices, mapped */
#define MODE_END      0x20ff8u /* a store there ends a program that cannot halt */

#define MODE_REAL_MMIO_BASE 0x18000u /* GS in 16-bit modes: MODE_MMIO is at offset 8000h */

struct mode {
	const char *name;
	const char *summary;
	uint8_t code; /* default size: 16, 32, 64 */
	uint8_t cpl;
	bool protected; /* PE */
	bool paging;    /* long mode */
	bool native;    /* on a software KVM the processor runs it; it interprets the others */
	uint8_t end[8]; /* the program's last instruction */
	uint8_t end_length;
};

extern const struct mode modes[];
extern const unsigned modes_count;

/* NULL: there is none of that name. */
const struct mode *mode_find(const char *name);
/* Descriptors, handlers and page tables into `ram`. */
void mode_write_tables(const struct mode *mode, uint8_t *ram);
/* Changes what differs from the reset state; `base` of the segments ES CS SS DS FS GS. */
void mode_sregs(const struct mode *mode, const uint64_t base[6], struct kvm_sregs *sregs);
/* Does the code see bases of segment `seg` (enum insn_segment)? */
bool mode_has_base(const struct mode *mode, unsigned seg);

#endif
