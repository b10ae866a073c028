/* SPDX-License-Identifier: GPL-2.0-only */
/* Integer operations with their flags (SDM vol. 2), for instructions that are executed by hand. */
#ifndef BUSLOCK_EMU_ALU_H
#define BUSLOCK_EMU_ALU_H

#include "emu/cpu.h"

/*
 * `size` 1, 2, 4, 8 bytes. dst OP src with carry from *rflags; status flags are set as the manual
 * says. CMP and TEST return dst unchanged. BTx take the bit number within the operand in src.
 * Undefined flags keep their value (BTx: OF SF AF PF) or are cleared (AF after logic).
 */
uint64_t alu(enum insn_op op, unsigned size, uint64_t dst, uint64_t src, uint64_t *rflags);

#endif
