/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between kernel versions, as data. Versions are major << 16 | minor << 8 | patch.
 */
#ifndef BUSLOCK_VMM_SHIM_PROFILE_H
#define BUSLOCK_VMM_SHIM_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERNEL(major, minor, patch) ((unsigned)(major) << 16 | (minor) << 8 | (patch))
#define KERNEL_DEFAULT              KERNEL(6, 12, 0)
#define KERNEL_OLDEST               KERNEL(5, 12, 0) /* the first with KVM_CAP_X86_BUS_LOCK_EXIT */

struct profile {
	unsigned kernel;
	/* A negative result of the exit handler becomes 0 when the exit asserted a bus lock: until
	 * "KVM: VMX: Preserve negative return value in vmx_handle_exit() with bus lock detected". */
	bool swallows_errno;
	/* vcpu_run() starts with exit_reason = KVM_EXIT_UNKNOWN (6.8). */
	bool resets_exit_reason;
	/* KVM_INTERNAL_ERROR_DELIVERY_EV is not raised for EPT_MISCONFIG, and always has a slot for
	 * the guest-physical address (6.14). */
	bool delivery_has_gpa;
	/* Event delivery that ends in a NOTIFY exit is no error (6.0). */
	bool notify_exempt;
};

void profile_for(unsigned kernel, struct profile *profile);
/* "6.12", "6.12.117": -EINVAL for anything else or older than KERNEL_OLDEST. */
int kernel_parse(const char *text, unsigned *kernel);
int kernel_format(unsigned kernel, char *text, size_t size);

#endif
