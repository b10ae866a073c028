/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between kernel versions, as data. Versions are major << 16 | minor << 8 | patch.
 * A fact is a row of the table in profile.c and a member of `struct profile`; nothing else in the
 * tree compares version numbers (but caps.c, whose capabilities have a version each).
 */
#ifndef BUSLOCK_VMM_SHIM_PROFILE_H
#define BUSLOCK_VMM_SHIM_PROFILE_H

#include "emu/emu.h"
#include "vmm_shim/shim.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERNEL(major, minor, patch) ((unsigned)(major) << 16 | (minor) << 8 | (patch))
#define KERNEL_OLDEST               KERNEL(5, 12, 0)  /* the first with KVM_CAP_X86_BUS_LOCK_EXIT */
#define KERNEL_NEWEST               KERNEL(7, 3, 255) /* of the last line that was read */
/* If nobody names one: Debian 13's on Intel; on AMD one that knows Bus Lock Threshold (6.16). */
#define KERNEL_DEFAULT     KERNEL(6, 12, 0)
#define KERNEL_DEFAULT_AMD KERNEL(6, 18, 0)

struct profile {
	unsigned kernel;

	/* KVM */
	bool forces_bit_26;      /* the handler of reason 74 sets the bit and leaves the rest to the
				   * common tail; before, it filled kvm_run itself */
	bool preserves_errno;    /* a negative result survives the tail; before, it becomes 0 */
	bool resets_exit_reason; /* vcpu_run() starts with KVM_EXIT_UNKNOWN */
	bool run_flag_guest_mode; /* kvm_run.flags has KVM_RUN_X86_GUEST_MODE */
	bool delivery_has_gpa;    /* KVM_INTERNAL_ERROR_DELIVERY_EV: always a slot for the address,
				   * and none for EPT misconfigurations */
	bool notify_exempt;       /* … nor for NOTIFY exits */
	bool l0_takes_bus_lock;   /* reason 74 of an L2 never goes to L1 */
	bool svm_threshold;       /* AMD's Bus Lock Threshold is used */
	bool clock_realtime;      /* KVM_GET_CLOCK tells the host's TSC and wall clock, too */
	bool sets_max_vcpu_id;    /* KVM_ENABLE_CAP knows KVM_CAP_MAX_VCPU_ID on x86 */

	/* the guest's own bus-lock #DB */
	bool guest_bld;     /* CPUID and DEBUGCTL have it */
	bool svm_hides_bld; /* … but not on AMD, where KVM can't virtualize it */
	bool keeps_dr6_bld; /* other #DBs leave DR6.BLD alone; before, they set it */

	/* memory types on Intel */
	bool emulates_mtrr;      /* with non-coherent DMA: guest MTRRs and CR0.CD count */
	bool cd_quirk_keeps_pat; /* … CR0.CD under its quirk: WB, and the guest's PAT counts */
	bool guest_pat_quirk;    /* KVM_X86_QUIRK_IGNORE_GUEST_PAT can be disabled */

	/* the host's split-lock detection */
	bool sld_sleeps;        /* "make life miserable": 10 ms, one core at a time */
	bool sld_ratelimit;     /* split_lock_detect=ratelimit:N is known */
	bool sld_mitigate_knob; /* sysctl kernel.split_lock_mitigate */
	bool sld_per_cpu_work;  /* … without mitigation each CPU re-arms on its own */
	bool sleep_exact;       /* msleep() of 10 ms without the extra jiffy */
	bool sld_boot_message;  /* "crashing the kernel on kernel split_locks and …" */
};

/* Versions from <= v < before; `before` 0: for good. */
struct kernel_range {
	unsigned from, before;
};
#define KERNEL_RANGES 6
struct kernel_fact {
	const char *name;
	size_t field;                             /* of struct profile */
	struct kernel_range range[KERNEL_RANGES]; /* up to the first with `from` 0 */
	const char *source;
};
/* Is it in one of the ranges, which end with `from` 0? */
bool kernel_in(const struct kernel_range range[KERNEL_RANGES], unsigned kernel);
extern const struct kernel_fact kernel_facts[];
extern const size_t kernel_fact_count;

void profile_for(unsigned kernel, struct profile *profile);
/* "6.12", "6.12.117"; -EINVAL for anything else. Whether it is known: kernel_check(). */
int kernel_parse(const char *text, unsigned *kernel);
int kernel_format(unsigned kernel, char *text, size_t size);
/* -EINVAL with the reason in `why` (may be NULL): older or newer than what is known, or never
 * released (5.20, 6.20). */
int kernel_check(unsigned kernel, char *why, size_t size);

/* quirk.c. What the processor is told of memory types; semantics of vmx_get_mt_mask() by version. */
struct memory_choice {
	enum emu_memory_policy policy;
	bool cd_is_uc;
};
struct memory_choice memory_choice(enum shim_memory memory, bool intel,
				   const struct profile *profile, uint64_t disabled_quirks);

#endif
