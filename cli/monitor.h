/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in monitor: a machine with memory, vCPUs in threads, the devices of devices.h and a policy
 * for bus locks, on the KVM API.
 */
#ifndef BUSLOCK_CLI_MONITOR_H
#define BUSLOCK_CLI_MONITOR_H

#include "cli/image.h"
#include "vmm_shim/throttle.h"

#include <stdbool.h>
#include <stdint.h>

struct report;
struct trace;
struct symbols;

#define MONITOR_MAX_VCPUS     64
#define MONITOR_MAX_REGISTERS 16

struct monitor_register {
	const char *name;
	uint64_t value;
};

enum monitor_consoles { CONSOLE_BOTH, CONSOLE_SERIAL, CONSOLE_DEBUG };

struct monitor_options {
	const char *device; /* NULL: the emulator */
	unsigned vcpus;
	uint64_t memory;                /* bytes */
	enum monitor_consoles consoles; /* which of the guest's are printed */
	struct throttle throttle;       /* one for the whole machine */
	double timeout;                 /* seconds, 0: none */
	uint64_t max_exits;             /* 0: no limit */
	struct image_options image;
	struct monitor_register set[MONITOR_MAX_REGISTERS];
	unsigned sets;
	struct report *report; /* the emulator fills it by itself; for a real device we do */
	struct trace *trace;   /* the same; may be NULL */
	const struct symbols *symbols; /* for the progress line and the dump, may be NULL */
};

struct monitor;

enum monitor_end {
	END_GUEST, /* it left, halted or reset the machine */
	END_LIMIT, /* --timeout, --max-exits */
	END_SIGNAL,
	END_DIED,
};

/* Builds the machine and loads the image at `path`. 0, or -errno after complaining. */
int monitor_create(struct monitor **monitor, const struct monitor_options *options,
		   const char *path);
const struct image *monitor_image(const struct monitor *monitor);
/* Runs until the guest, a limit or a signal ends it; returns the exit status (cli.h; odd: the
 * guest's). SIGINT, SIGTERM and SIGHUP must be blocked in the caller's threads. */
int monitor_run(struct monitor *monitor);
/* Why the run ended, also as a sentence; and remarks on what it did, or "". */
enum monitor_end monitor_end(const struct monitor *monitor);
const char *monitor_end_text(const struct monitor *monitor);
void monitor_remarks(const struct monitor *monitor, char *text, size_t size);
void monitor_destroy(struct monitor *monitor);

#endif
