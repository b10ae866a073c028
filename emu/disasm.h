/* SPDX-License-Identifier: GPL-2.0-only */
/* Text of an instruction, by Capstone. The one header whose implementation knows it. */
#ifndef BUSLOCK_EMU_DISASM_H
#define BUSLOCK_EMU_DISASM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Intel-syntax text of the instruction at `bytes` into `out` (always terminated). `mode` 16, 32, 64;
 * `rip` is used for relative operands. Legal LOCK, REP prefixes that Capstone loses are put back.
 * Thread-safe. 0, or -EILSEQ when there is no text for it (`out` then holds "(bad)"), -ENOMEM.
 */
int disasm_text(char *out, size_t size, const uint8_t *bytes, size_t n, uint64_t rip,
		unsigned mode);

#endif
