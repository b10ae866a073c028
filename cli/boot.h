/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The machine state in which a guest finds itself: documented in docs/run.md, which a guest's author
 * holds against this.
 */
#ifndef BUSLOCK_CLI_BOOT_H
#define BUSLOCK_CLI_BOOT_H

#include "cli/image.h"

#include <linux/kvm.h>

/* The last 64 KiB of guest memory are the monitor's: page tables, GDT, TSS, multiboot information. */
#define BOOT_AREA       0x10000u
#define BOOT_INFO       0x8000u /* of them: multiboot information, to the end */
#define BOOT_MIN_MEMORY 0x80000u
/* Above begins what firmware would have for devices: no memory there. */
#define BOOT_MAX_MEMORY 0xc0000000u
#define BOOT_STACK      0x4000u /* bytes for each vCPU, below the area */

/* Page tables and descriptors, as far as the image's mode needs them. */
void boot_write_tables(const struct guest_memory *memory, enum image_mode mode);
/* Changes what differs from the reset state in `sregs`; sets all of `regs`. */
void boot_state(const struct guest_memory *memory, const struct image *image, unsigned vcpu,
		unsigned vcpus, struct kvm_sregs *sregs, struct kvm_regs *regs);
/* "rdi", "di", "edi" … "r15", "rip", "rflags": false if there is no such register. */
bool boot_set_register(struct kvm_regs *regs, const char *name, uint64_t value);

#endif
