/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Differential runs: random guest programs on the emulator and on another KVM. What differs without an
 * explanation is shrunk and handed to the caller.
 *
 * One thread; shim_configure() has been called if the emulator shall not have its defaults. Nothing is
 * printed. A split lock on a real device stalls every core of the machine: each program runs on the
 * emulator first, and one that takes a bus lock there, or comes to no end, is not run on the device.
 */
#ifndef BUSLOCK_VERIFY_VERIFY_H
#define BUSLOCK_VERIFY_VERIFY_H

#include "verify/check.h"
#include "verify/form.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct verify_counts {
	uint64_t programs;
	uint64_t verdict[VERDICTS];
	uint64_t limit[MAX_LIMITS]; /* of limits[] */
	size_t lockables;
	struct lockable lockable[MAX_LOCKABLE];
	uint64_t compared[MAX_LOCKABLE]; /* programs with that form, of those that were compared */
};

struct verify {
	const struct kvm_api *api; /* of the other side: kvm_device, or for tests kvm_emulator */
	const char *path;          /* of the device */
	uint64_t seed, first, count;
	uint64_t native_split_locks; /* that may be run on the device */
	bool no_shrink;
	unsigned max_different; /* so many, then it ends; 0: all */

	/* Each program that differs, shrunk, with its number and what it was; may be NULL. */
	void (*different)(void *opaque, const struct program *program,
			  const struct finding *finding, uint64_t n);
	/* Each program that was compared and is the same; may be NULL. */
	void (*same)(void *opaque, const struct program *program, const struct finding *finding,
		     uint64_t n);
	/* Now and then; true: enough. May be NULL. */
	bool (*progress)(void *opaque, const struct mode *mode, uint64_t done,
			 const struct verify_counts *counts);
	void *opaque;

	char error[160]; /* why verify_run() failed */
};

/* Programs of one mode; adds to `counts`. 0, or -errno with `error` set. */
int verify_run(struct verify *verify, const struct mode *mode, struct verify_counts *counts);

/*
 * Runs golden case `path` on a KVM. 0: as it says; 1: not, with the difference in `why`; -errno with the
 * reason there.
 */
int verify_golden(const struct kvm_api *api, const char *device, const char *path, char *why,
		  size_t size);
/*
 * Runs the program of `path` on a KVM and writes it to `out` with what came out. A program that takes bus
 * locks on the emulator, or does not end there, is refused with -EPERM. 0; -errno with the reason in `why`.
 */
int verify_record(const struct kvm_api *api, const char *device, const char *path, FILE *out,
		  char *why, size_t size);

#endif
