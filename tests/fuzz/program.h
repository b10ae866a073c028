/* SPDX-License-Identifier: GPL-2.0-only */
/* What a program of bytes does: between the drivers (fuzz_ioctl.c) and the machine (program.c). */
#ifndef BUSLOCK_TESTS_FUZZ_PROGRAM_H
#define BUSLOCK_TESTS_FUZZ_PROGRAM_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern uint64_t fuzz_seed; /* of the program that runs, to be told if it fails; 0: none */
extern uint64_t fuzz_calls;
extern unsigned fuzz_differences; /* from the device */

void fuzz_setup(void);
/* Runs a program; ends the process with a message if something does not hold. */
void fuzz_run(const uint8_t *data, size_t size, bool against_device);

#endif
