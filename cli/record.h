/* SPDX-License-Identifier: GPL-2.0-only */
/* `buslock record`: what its parts share. */
#ifndef BUSLOCK_CLI_RECORD_H
#define BUSLOCK_CLI_RECORD_H

#include "watch/watch.h"

#define RECORD_DEVICE "/dev/kvm"
/* Begins the environment variables by which the library finds options, report and trace. */
#define RECORD_PREFIX "BUSLOCK_WATCH"

/* ------------------------------------------------------------------ record_host.c */

/* Can the device do what is asked? STATUS_OK, or STATUS_USAGE after saying why not. */
int record_check_host(const struct watch_options *options);
/* Does the processor deliver events in a guest (VMX, SVM), or a KVM in software? */
bool record_host_delivers(void);
/* What this host's KVM makes of guest memory. */
enum watch_memory record_host_memory(void);
/* What a trace of such a run cannot tell (trace.h, lacks); ends with NULL. */
#define RECORD_LACKS 8
void record_lacks(const struct watch_options *options, const char *lacks[RECORD_LACKS]);

#endif
