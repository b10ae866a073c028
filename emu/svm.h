/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs in an exit when the processor is AMD's: Bus Lock Threshold and the exit codes.
 */
#ifndef BUSLOCK_EMU_SVM_H
#define BUSLOCK_EMU_SVM_H

#include "emu/emu.h"

/* APM vol. 2, appendix C; INVALID is the low half of -1 */
enum {
	SVM_EXIT_CR8_WRITE = 0x18,
	SVM_EXIT_EXCEPTION = 0x40, /* + vector, up to 5Fh */
	SVM_EXIT_INTR = 0x60,
	SVM_EXIT_NMI = 0x61,
	SVM_EXIT_VINTR = 0x64,
	SVM_EXIT_HLT = 0x78,
	SVM_EXIT_IOIO = 0x7b,
	SVM_EXIT_MSR = 0x7c,
	SVM_EXIT_TASK_SWITCH = 0x7d,
	SVM_EXIT_SHUTDOWN = 0x7f,
	SVM_EXIT_VMMCALL = 0x81,
	SVM_EXIT_BUSLOCK = 0xa5,
	SVM_EXIT_NPF = 0x400,
	SVM_EXIT_AVIC_NOACCEL = 0x402,
};
#define SVM_EXIT_INVALID 0xffffffffu

struct emu_vcpu;

/* `vector`: of EMU_EXIT_DEBUG and EMU_EXIT_EXCEPTION */
uint32_t svm_exit_code(enum emu_exit_type type, unsigned vector);

/*
 * The bus lock `lock` is about to be taken (APM 15.14.5). True: the counter was 0 and the run's exit is
 * filled; nothing of the instruction may happen. False: counted down, go on.
 */
bool svm_bus_lock_intercepted(struct emu_vcpu *v, const struct emu_lock *lock);

/* The exit of this run as SVM reports it: code in `word`, EXITINFO1 in `qualification`. */
void svm_finish_exit(struct emu_vcpu *v);

#endif
