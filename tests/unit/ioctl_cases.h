/* SPDX-License-Identifier: GPL-2.0-only */
/* What the table of ioctls promises for one that is not emulated, and arguments to ask with. */
#ifndef BUSLOCK_TESTS_UNIT_IOCTL_CASES_H
#define BUSLOCK_TESTS_UNIT_IOCTL_CASES_H

#include "tests/unit/shim_script.h"

#define KINDS 3
static const char *const kind_names[KINDS] = { "/dev/kvm", "VM", "vCPU" };

enum { ARGUMENT_NULL, ARGUMENT_UNMAPPED, ARGUMENT_ZEROES, ARGUMENT_ONES, ARGUMENTS };
static uint64_t arguments[ARGUMENTS];

static inline void arguments_setup(void)
{
	static char zeroes[8192], ones[8192];
	char *hole = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(ones, 0xff, sizeof(ones));
	arguments[ARGUMENT_NULL] = 0;
	arguments[ARGUMENT_UNMAPPED] = (uintptr_t)hole;
	arguments[ARGUMENT_ZEROES] = (uintptr_t)zeroes;
	arguments[ARGUMENT_ONES] = (uintptr_t)ones;
}

static inline bool argument_is_bad(unsigned which)
{
	return which == ARGUMENT_NULL || which == ARGUMENT_UNMAPPED;
}

/* Of a row that is not emulated on descriptors of this kind. */
static inline long expected_refusal(const struct ioctl_info *row, unsigned kind, unsigned which)
{
	if (row->on & 1u << kind) {
		if (row->reads && argument_is_bad(which))
			return -EFAULT;
		if (row->error)
			return row->error;
	}
	return kind == SHIM_VM ? -ENOTTY : -EINVAL;
}

#endif
