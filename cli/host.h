/* SPDX-License-Identifier: GPL-2.0-only */
/* `buslock host`: what is known of this machine. */
#ifndef BUSLOCK_CLI_HOST_H
#define BUSLOCK_CLI_HOST_H

#include <stdbool.h>
#include <stddef.h>

#define HOST_CAPABILITIES 12
#define HOST_MESSAGES     16

#define HOST_DEVICE_NOT_ASKED (-1)

struct host_capability {
	int number;
	const char *name;
	long value; /* -1: not asked */
};

struct host {
	char kernel[96]; /* uname -r */
	char vendor[32], model[96];
	bool hypervisor; /* this machine is a guest itself */
	bool vmx, svm;
	bool split_lock_detect, bus_lock_detect; /* flags in /proc/cpuinfo */
	char detect_option[32]; /* split_lock_detect= of the command line, "" if absent */
	int mitigate;           /* kernel.split_lock_mitigate; -1: no such file */
	char modules[64];       /* "kvm_intel", … that are loaded */
	const char *device;
	int device_error; /* errno of opening it; 0: open; or HOST_DEVICE_NOT_ASKED */
	int api_version;  /* -1: not asked */
	struct host_capability capability[HOST_CAPABILITIES];
	size_t capabilities;
	char message[HOST_MESSAGES]
		    [160]; /* kernel log lines about split and bus locks, the last ones */
	size_t messages;
	bool log_readable;
	bool emulator; /* the engine's self-check */
	char emulator_why[160];
};

/* KVM_CAP_X86_BUS_LOCK_EXIT's value; 0 without a device. */
long host_bus_lock_capability(const struct host *host);
/* Effective split_lock_detect= mode: "off", "warn", "fatal", "ratelimit:N". */
const char *host_detect_mode(const struct host *host);

/* Sentences on what this host can do: `say` is called for each. */
void host_conclude(const struct host *host, void (*say)(void *opaque, const char *sentence),
		   void *opaque);

#endif
