/* SPDX-License-Identifier: GPL-2.0-only */
/* What /sys/module/kvm and its vendor's half say of the kernel that is simulated. */
#ifndef BUSLOCK_VMM_SHIM_MODULE_PARAMS_H
#define BUSLOCK_VMM_SHIM_MODULE_PARAMS_H

#include <stddef.h>

enum module_path {
	MODULE_OTHER,     /* not ours to answer */
	MODULE_ABSENT,    /* ENOENT: another vendor's module, a parameter this kernel has not */
	MODULE_FOLDER,    /* a directory that is there */
	MODULE_PARAMETER, /* a file, mode 0444, whose content is in `text` */
};
#define MODULE_TEXT_MAX 32

/* Absolute paths only. Async-signal-safe. */
enum module_path module_path(const char *path, char *text, size_t size);

#endif
