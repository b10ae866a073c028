/* SPDX-License-Identifier: GPL-2.0-only */
/* The built-in monitor's inside: shared by monitor.c, vcpu.c and dump.c. */
#ifndef BUSLOCK_CLI_MACHINE_H
#define BUSLOCK_CLI_MACHINE_H

#include "cli/devices.h"
#include "cli/kvm.h"
#include "cli/monitor.h"

#include <pthread.h>
#include <stdatomic.h>

struct vcpu {
	struct monitor *monitor;
	unsigned index;
	struct kvm_handle handle;
	struct kvm_run *run;
	pthread_t thread;
	bool started;
	_Atomic int tid;                   /* 0: not running yet */
	_Atomic uint64_t rip;              /* linear, as of the last look; for progress */
	_Atomic uint64_t exits, bus_locks; /* KVM_RUN returns; of these with the flag */
	_Atomic bool look;                 /* somebody wants to know where it is */
};

struct monitor {
	struct monitor_options options;
	struct kvm_handle kvm, vm;
	size_t run_size;
	struct guest_memory memory;
	struct image image;
	struct devices devices;
	struct vcpu vcpu[MONITOR_MAX_VCPUS];

	pthread_mutex_t throttle_lock; /* of options.throttle */

	_Atomic uint64_t exits; /* KVM_RUN returns of all; counted with --max-exits only */
	_Atomic unsigned halted;

	/* The end: the first reason wins. */
	pthread_mutex_t end_lock;
	_Atomic bool ending;
	int ended; /* eventfd: readable when `ending` */
	enum monitor_end end;
	int status;
	char end_text[256];
};

/* The vCPU's thread. */
void *vcpu_thread(void *vcpu);
/* Makes a running vCPU return from KVM_RUN. */
void vcpu_kick(struct vcpu *vcpu);
/* The signal vcpu_kick() sends; its handler does nothing. */
int vcpu_signal(void);

/* Ends the run with this status and sentence, unless it is ending already. Any thread. */
void machine_end(struct monitor *monitor, enum monitor_end end, int status, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* What happened, registers and the instruction at RIP, to standard error. */
void dump_vcpu(struct vcpu *vcpu, const char *why);
/* Linear address of the next instruction; -errno. */
int vcpu_linear_rip(struct vcpu *vcpu, uint64_t *rip);

#endif
