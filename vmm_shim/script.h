/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A processor that does what a file says: for proofs about the kernel's half that no guest can bring
 * about (an exit word with any bits), and for fuzzing. The language, one statement a line:
 *
 *   exit TYPE [KEY=VALUE …]  the next exit. TYPE: none bus_lock io mmio hlt rdmsr wrmsr shutdown
 *                            window debug exception kicked set_tpr vmcall error entry_failure
 *     word qualification idt linear gpa port size count index value vector rip dr6 dr7 suberror
 *     (numbers), write=0|1, data=HEX, insn=HEX
 *     vector and value of an exception: its number and error code
 *     more=1                 the next statement is the next fragment of the same access
 *   fail NAME|NUMBER [word=] emu_vcpu_run() fails: EFAULT, EIO, ENOMEM …
 *   set KEY=VALUE …          registers: rip rflags rax cr8 efer cpl shadow, cs_l
 *   lock KEY=VALUE …         a bus lock is observed: cause linear size rip
 *   dirty SLOT PAGE          a page of a slot becomes dirty
 *   wait                     until emu_vcpu_kick()
 *   repeat                   from the first line again
 *
 * After the last line the guest shuts down. What the monitor answered is shown in registers: IN in
 * RAX, an MMIO read in RBX, RDMSR in RCX, an MSR error in R8, the number of runs in R9.
 *
 * A kick, and an interrupt window that is wanted and open, come before the next statement, as they do
 * on a processor.
 */
#ifndef BUSLOCK_VMM_SHIM_SCRIPT_H
#define BUSLOCK_VMM_SHIM_SCRIPT_H

#include "emu/emu.h"

#define SCRIPT_DATA_MAX 4096

enum statement { S_EXIT, S_FAIL, S_SET, S_LOCK, S_DIRTY, S_WAIT, S_REPEAT };

enum key {
	K_WORD,
	K_QUALIFICATION,
	K_IDT,
	K_LINEAR,
	K_GPA,
	K_PORT,
	K_SIZE,
	K_COUNT,
	K_INDEX,
	K_VALUE,
	K_VECTOR,
	K_RIP,
	K_DR6,
	K_DR7,
	K_SUBERROR,
	K_WRITE,
	K_MORE,
	K_RFLAGS,
	K_RAX,
	K_CR8,
	K_EFER,
	K_CPL,
	K_SHADOW,
	K_CS_L,
	K_CAUSE,
	KEYS
};
struct script_line {
	enum statement statement;
	enum emu_exit_type type;
	uint32_t word;
	uint64_t value[KEYS];
	uint32_t given; /* bit per key */
	uint8_t *data;
	size_t data_size;
	uint8_t insn[15], insn_length;
	uint64_t number[2]; /* fail, dirty */
};

struct script {
	struct script_line *line;
	size_t lines;
};

/* -errno of the file, -EINVAL for a line that is not understood (the log names it), -ENOMEM. Whatever
 * was read is there and must be freed. */
int script_read(struct script *script, const char *path);
void script_free(struct script *script);

#endif
