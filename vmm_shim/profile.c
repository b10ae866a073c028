// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one table of versions. A row says since when a fact holds in mainline, and which stable lines
 * got it, from which patch level. Where only "some 6.1.y" is known, the range starts with the
 * version whose source was read, and the comment says so.
 */
#include "vmm_shim/profile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define V(major, minor, patch) KERNEL(major, minor, patch)
#define FACT(member)           #member, offsetof(struct profile, member)
/* from this version on, for good */
#define SINCE(major, minor, patch)        \
	{                                 \
		V(major, minor, patch), 0 \
	}
/* a stable line: from this patch level to its end */
#define LINE(major, minor, patch)                                \
	{                                                        \
		V(major, minor, patch), V(major, (minor) + 1, 0) \
	}
#define UNTIL(major, minor)                       \
	{                                         \
		KERNEL_OLDEST, V(major, minor, 0) \
	}

/* clang-format off: a table */
const struct kernel_fact kernel_facts[] = {
	/* KVM */
	{ FACT(forces_bit_26),
	  { SINCE(5, 15, 0) },
	  "d61863c66f9b \"KVM: VMX: Remove redundant handling of bus lock vmexit\" (5.15-rc7)" },
	{ FACT(preserves_errno),
	  { SINCE(7, 3, 2), LINE(6, 12, 117) },
	  "cef48693da1e \"KVM: VMX: Preserve negative return value in vmx_handle_exit() with bus "
	  "lock detected\"" },
	{ FACT(resets_exit_reason),
	  { SINCE(6, 8, 0) },
	  "vcpu_run(): exit_reason = KVM_EXIT_UNKNOWN" },
	{ FACT(run_flag_guest_mode),
	  { SINCE(6, 11, 0) },
	  "KVM_CAP_X86_GUEST_MODE, post_kvm_run_save()" },
	{ FACT(delivery_has_gpa),
	  { SINCE(6, 14, 0) },
	  "__vmx_handle_exit(): kvm_prepare_event_vectoring_exit()" },
	{ FACT(notify_exempt), { SINCE(6, 0, 0) }, "__vmx_handle_exit(): EXIT_REASON_NOTIFY" },
	{ FACT(l0_takes_bus_lock),
	  { SINCE(5, 15, 0), LINE(5, 14, 10) },
	  "24a996ade34d \"KVM: nVMX: Fix nested bus lock VM exit\"" },
	{ FACT(svm_threshold), { SINCE(6, 16, 0) }, "faad6645e112, 827547bc3a2a, e9629b011bbd" },
	{ FACT(clock_realtime),
	  { SINCE(5, 16, 0) },
	  "c68dc1b577ea \"KVM: x86: Report host tsc and realtime values in KVM_GET_CLOCK\"" },
	{ FACT(sets_max_vcpu_id),
	  { SINCE(6, 0, 0) },
	  "\"KVM: x86: Allow userspace to set maximum VCPU id for VM\"" },

	/* the guest's own bus-lock #DB */
	{ FACT(guest_bld), { SINCE(5, 13, 0) }, "e8ea85fb280e, 76ea438b4afc" },
	{ FACT(svm_hides_bld),
	  { SINCE(6, 11, 0), LINE(6, 10, 10), LINE(6, 6, 51), LINE(6, 1, 110), LINE(5, 15, 167) },
	  "54950bfe2b69 \"KVM: SVM: Don't advertise Bus Lock Detect to guest if SVM support is "
	  "missing\"" },
	{ FACT(keeps_dr6_bld),
	  { SINCE(7, 3, 2), LINE(6, 12, 117) },
	  "719a1d58bf43 \"Preserve DR6.BLD when delivering #DB payload\"" },

	/* memory types on Intel: vmx_get_mt_mask() */
	{ FACT(emulates_mtrr), { UNTIL(6, 11) }, "MTRR emulation dropped in 6.11" },
	{ FACT(cd_quirk_keeps_pat),
	  { { V(6, 7, 0), V(6, 11, 0) } },
	  "KVM_X86_QUIRK_CD_NW_CLEARED without VMX_EPT_IPAT_BIT" },
	/* Always honouring the guest's PAT (377b2f359d1f) was in release candidates of 6.11 only: its
	 * revert, 9d70f3fec144, is the last change before the release.
	 * 6.12.107 is the oldest of its line that was read. */
	{ FACT(guest_pat_quirk),
	  { SINCE(6, 16, 0), LINE(6, 12, 107) },
	  "54590a4003d9 \"KVM: x86: Introduce Intel specific quirk "
	  "KVM_X86_QUIRK_IGNORE_GUEST_PAT\"" },

	/* the host's split-lock detection: split_lock_warn(), sld_state_show() */
	{ FACT(sld_sleeps),
	  { SINCE(5, 19, 0) },
	  "b041b525dab9 \"x86/split_lock: Make life miserable for split lockers\"" },
	{ FACT(sld_mitigate_knob),
	  { SINCE(6, 2, 0), LINE(6, 1, 2), { V(6, 0, 16), V(6, 1, 0) } },
	  "727209376f49 \"x86/split_lock: Add sysctl to control the misery mode\"" },
	/* 6.1.192 is the oldest of its line that was read; 6.12.y has it not */
	{ FACT(sld_per_cpu_work),
	  { SINCE(6, 15, 0), LINE(6, 14, 2), LINE(6, 13, 11), LINE(6, 1, 192) },
	  "c929d08df8be \"x86/split_lock: Fix the delayed detection logic\"" },
	{ FACT(sleep_exact),
	  { SINCE(6, 12, 0) },
	  "4381b895f544 \"timers: Remove historical extra jiffie for timeout in msleep()\"" },
	{ FACT(sld_ratelimit),
	  { SINCE(5, 14, 0) },
	  "\"x86/bus_lock: Set rate limit for bus lock\"" },
	{ FACT(sld_boot_message), { SINCE(5, 13, 0) }, "sld_state_show(), sld_warn and sld_fatal" },
};
/* clang-format on */
const size_t kernel_fact_count = sizeof(kernel_facts) / sizeof(kernel_facts[0]);

bool kernel_in(const struct kernel_range range[KERNEL_RANGES], unsigned kernel)
{
	for (size_t i = 0; i < KERNEL_RANGES && range[i].from; i++) {
		const struct kernel_range *r = &range[i];

		if (kernel >= r->from && (!r->before || kernel < r->before))
			return true;
	}
	return false;
}

void profile_for(unsigned kernel, struct profile *profile)
{
	*profile = (struct profile){ .kernel = kernel };
	for (size_t i = 0; i < kernel_fact_count; i++)
		*(bool *)((char *)profile + kernel_facts[i].field) =
			kernel_in(kernel_facts[i].range, kernel);
}

/* ------------------------------------------------------------------ version numbers */

int kernel_parse(const char *text, unsigned *kernel)
{
	unsigned long part[3] = { 0 };
	char *end;
	int n;

	for (n = 0; n < 3; n++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		part[n] = strtoul(text, &end, 10);
		if (part[n] > 255)
			return -EINVAL;
		text = end;
		if (*text == '\0')
			break;
		if (*text++ != '.')
			return -EINVAL;
	}
	if (n == 3 || n < 1) /* a fourth part, or no minor version */
		return -EINVAL;
	*kernel = KERNEL(part[0], part[1], part[2]);
	return 0;
}

int kernel_format(unsigned kernel, char *text, size_t size)
{
	int n = kernel & 255 ? snprintf(text, size, "%u.%u.%u", kernel >> 16, kernel >> 8 & 255,
					kernel & 255)
			     : snprintf(text, size, "%u.%u", kernel >> 16, kernel >> 8 & 255);

	return n < 0 || (size_t)n >= size ? -ENOSPC : n;
}

/* Where a major version ended; the next release was (major + 1).0. */
static const struct {
	unsigned major, last_minor;
} ended[] = { { 5, 19 }, { 6, 19 } };

int kernel_check(unsigned kernel, char *why, size_t size)
{
	unsigned major = kernel >> 16, minor = kernel >> 8 & 255;
	char text[32], none[1];

	if (!why || !size) {
		why = none;
		size = sizeof(none);
	}
	kernel_format(kernel, text, sizeof(text));
	if (kernel < KERNEL_OLDEST) {
		snprintf(why, size,
			 "kernel %s: Linux knows bus-lock exits from 5.12 on; give 5.12 to 7.3",
			 text);
		return -EINVAL;
	}
	if (kernel > KERNEL_NEWEST) {
		snprintf(why, size,
			 "kernel %s: nothing is known of kernels after 7.3; give 5.12 to 7.3",
			 text);
		return -EINVAL;
	}
	for (size_t i = 0; i < sizeof(ended) / sizeof(ended[0]); i++) {
		if (major == ended[i].major && minor > ended[i].last_minor) {
			snprintf(why, size, "kernel %s: there is none; %u.%u was followed by %u.0",
				 text, major, ended[i].last_minor, major + 1);
			return -EINVAL;
		}
	}
	return 0;
}
