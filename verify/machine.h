/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A KVM, and a VM on it that runs programs of one mode one after the other: the real device and the
 * emulator through the same calls.
 */
#ifndef BUSLOCK_VERIFY_MACHINE_H
#define BUSLOCK_VERIFY_MACHINE_H

#include "verify/program.h"

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct result;

/* How to call a KVM. Results are those of the system calls, errors as -errno. */
struct kvm_api {
	const char *name;
	int (*open)(const char *path);
	long (*ioctl)(int fd, unsigned long request, unsigned long argument);
	void (*close)(int fd);
	/*
	 * For tests: what a run gave is handed over before anybody sees it, so that a device can be made
	 * that is wrong on purpose. NULL: nobody looks.
	 */
	void (*falsify)(const struct program *program, struct result *result);
};
extern const struct kvm_api kvm_emulator; /* vmm_shim/, in this process; `path` is not used */
extern const struct kvm_api kvm_device;

/* One return of KVM_RUN for the monitor to act on. */
struct event {
	uint32_t reason; /* KVM_EXIT_IO, KVM_EXIT_MMIO */
	bool write;
	uint8_t size;
	uint32_t count;
	uint64_t address; /* port or guest-physical address */
	uint8_t data[32]; /* the first bytes; of a read, what was answered */
};
#define RESULT_EVENTS 64

enum end {
	END_DONE, /* the program's end, or an exception's handler: HLT, or the store at MODE_END */
	END_SHUTDOWN, /* triple fault */
	END_ERROR,    /* KVM_EXIT_INTERNAL_ERROR; `suberror` */
	END_OTHER,    /* another exit: `suberror` is its reason */
	END_LIMIT,    /* it took too long, or made too many exits: nothing else here counts */
};

struct result {
	enum end end;
	uint32_t suberror;
	unsigned events;
	struct event event[RESULT_EVENTS];
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	uint8_t xmm[16][16]; /* modes whose programs use them */
	uint32_t mxcsr;
	unsigned bus_locks; /* returns with KVM_RUN_X86_BUS_LOCK; the emulator's only */
	const uint8_t *ram; /* MODE_RAM bytes, the machine's: until its next run */
};

struct machine;

/*
 * What ends KVM_RUN when a program does not: a signal for the calling thread, SIGRTMIN, every few
 * milliseconds, whose handler does nothing. To be started before programs run, on the thread that runs
 * them; timer_delete() ends it.
 */
int machine_ticks_start(timer_t *timer);

/* `path`: of the device. On an error the machine is there nonetheless, to be asked and closed. */
int machine_open(struct machine **machine, const struct kvm_api *api, const char *path,
		 const struct mode *mode);
void machine_close(struct machine *machine);
/*
 * Runs a program from its beginning. `steps` (may be NULL): single-stepped, and told where each
 * instruction begins; false ends the run as END_LIMIT. 0 or -errno of a call that failed.
 */
typedef bool machine_step(void *opaque, const struct kvm_regs *regs, const struct kvm_sregs *sregs,
			  const uint8_t *ram);
int machine_run(struct machine *machine, const struct program *program, struct result *result);
int machine_run_steps(struct machine *machine, const struct program *program, struct result *result,
		      machine_step *step, void *opaque);
/* Milliseconds that a program may take. */
void machine_set_limit(struct machine *machine, unsigned ms);
/* Which call failed last. */
const char *machine_error(const struct machine *machine);

#endif
