/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs in an exit when the processor is AMD's: Bus Lock Threshold, and how it is reported
 * (the codes are in emu.h).
 */
#ifndef BUSLOCK_EMU_SVM_H
#define BUSLOCK_EMU_SVM_H

#include "emu/emu.h"

struct emu_vcpu;

/*
 * The bus lock `lock` is about to be taken (APM 15.14.5). True: the counter was 0 and the run's
 * exit is filled; nothing of the instruction may happen. False: counted down, go on.
 */
bool svm_bus_lock_intercepted(struct emu_vcpu *v, const struct emu_lock *lock);

/* The exit of this run as SVM reports it: code in `word`, EXITINFO1 in `qualification`. */
void svm_finish_exit(struct emu_vcpu *v);

#endif
