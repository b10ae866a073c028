/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host kernel's split-lock policy, split_lock_detect= and kernel.split_lock_mitigate: what
 * arch/x86/kernel/cpu/bus_lock.c (intel.c up to 6.12) does with a split lock that a guest is about to
 * take. Names are the kernel's. Nothing here knows a clock, a signal or a thread: the caller hands
 * them in (struct host_ops), so that each row can be tested by itself and time can be virtual.
 *
 * What is simulated: a host whose processors have both the #AC for split locks and the #DB for bus
 * locks, with a core for each vCPU. A vCPU never migrates: the window in which detection is off
 * belongs to a core, and on Linux a vCPU that moves to another one inside it meets a new #AC.
 */
#ifndef BUSLOCK_VMM_SHIM_HOST_LOCK_H
#define BUSLOCK_VMM_SHIM_HOST_LOCK_H

#include "emu/emu.h"
#include "vmm_shim/lock.h"
#include "vmm_shim/profile.h"
#include "vmm_shim/shim.h"

/* A delayed work item of the kernel: at most once in the queue. */
struct host_work {
	bool pending;
	uint64_t due; /* jiffies */
	struct host_core *core;
};

/* A processor core: MSR 33h bit 29 is set unless `off`. All zero at the start. */
struct host_core {
	bool off;
	struct host_work reenable; /* 6.15: per-CPU sl_reenable */
};

/* A task: the thread that calls KVM_RUN. All zero at the start. */
struct host_task {
	bool reported; /* task_struct.reported_split_lock (5.19) */
	bool tif_sld;  /* TIF_SLD (up to 5.18): detection is off while this task runs */
	int pid;       /* as the message shows it */
	char comm[16];
};

struct host_ops {
	uint64_t (*now)(void *opaque); /* ns */
	/* Sleeps until then, TASK_INTERRUPTIBLE: true if a signal is pending (then at once) or comes. */
	bool (*sleep)(void *opaque, uint64_t until);
	void (*message)(void *opaque, const char *text); /* a line of the kernel's log */
};

/* What a trap cost. */
struct host_tally {
	uint64_t slept_ns;
	unsigned messages, suppressed;
};

/* Who runs into it. */
struct host_caller {
	const struct host_ops *ops;
	void *opaque;
	struct host_task *task;
	struct host_core *core;
	struct host_tally tally; /* added to */
};

struct host_waiter {
	struct host_waiter *next;
	bool up;
};

/* The host. Initialised by host_lock_init(); any thread. */
struct host_lock {
	enum shim_split_lock state; /* sld_state */
	unsigned ratelimit, hz;
	bool mitigate, fix, per_cpu_work, extra_jiffy;
	bool misery, old_boot_message;
	uint64_t epoch; /* time of jiffy 0 */

	struct shim_lock lock; /* of all below */
	bool down;             /* buslock_sem is taken */
	struct host_waiter *waiters;
	struct host_work reenable_unlock, reenable;
	bool warned_once;
	struct {
		bool begun;
		uint64_t begin; /* jiffies */
		unsigned printed, missed;
	} print; /* pr_warn_ratelimited() in split_lock_warn() */
};

void host_lock_init(struct host_lock *h, const struct shim_options *options,
		    const struct profile *profile, uint64_t now);
/* What the kernel says when it boots: NULL for nothing. */
const char *host_lock_boot_message(const struct host_lock *h, char *text, size_t size);

/* Does a split lock raise #AC on this core now, while this task runs there? */
bool host_lock_armed(struct host_lock *h, const struct host_task *task, struct host_core *core,
		     uint64_t now);
/*
 * handle_guest_split_lock(): true: try the instruction again; false: the task gets SIGBUS, and
 * KVM_RUN returns with KVM_EXIT_EXCEPTION. Sleeps in between, with no lock held.
 */
bool host_lock_guest_trap(struct host_lock *h, struct host_caller *caller, uint64_t rip);

/* vmx_guest_inject_ac() on a host whose processors can detect split locks: the #AC is the guest's own. */
bool host_lock_guest_wants_ac(const struct emu_state *state);

/* A vCPU, and with it its core, goes away. */
void host_core_gone(struct host_lock *h, struct host_core *core);

#endif
