/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What `buslock exec` and `buslock run` have in common: the options about the processor, the kernel,
 * memory, the host and time. A parser to be the child of the command's own (argp); each option is one
 * of the shim's (vmm_shim/options.c), which knows what is right.
 */
#ifndef BUSLOCK_CLI_CHOICES_H
#define BUSLOCK_CLI_CHOICES_H

#include "vmm_shim/shim.h"

#include <argp.h>
#include <limits.h>

/* In the command's help they are in this group; the command gives it its heading. */
#define CHOICES_GROUP 2

struct choices {
	struct shim_options shim;
	const char *prefix; /* of messages: "exec: " */
	const char *log;    /* --log by its name, NULL: not given */
	const char *given;  /* the first of these options that was given, "count", or NULL */
	char script[PATH_MAX];
};

/* The child parser; its input is the struct choices. It complains by itself and gives EINVAL. */
const struct argp *choices_argp(void);

/* One of them by its name, for a command that has only a few. Complains and returns false. */
bool choices_take(struct choices *choices, const char *name, const char *value);

void choices_default(struct choices *choices, const char *prefix);
/* Do they go together? Complains and returns false. */
bool choices_check(const struct choices *choices);
/* --locked and --trace-registers need a trace. Complains and returns false. */
bool choices_check_trace(const struct choices *choices, const char *trace);
void choices_free(struct choices *choices);

#endif
