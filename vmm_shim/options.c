// SPDX-License-Identifier: GPL-2.0-only
#include "traces/report.h"
#include "vmm_shim/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shim_config shim_config = {
	.options = { .vendor = EMU_INTEL,
		     .kernel = KERNEL_DEFAULT,
		     .capability = true,
		     .log_level = 1 },
	/* profile_for(KERNEL_DEFAULT): the state before anybody calls shim_configure() */
	.profile = { .kernel = KERNEL_DEFAULT,
		     .swallows_errno = true,
		     .resets_exit_reason = true,
		     .notify_exempt = true },
	.backend = &backend_emu,
};

void shim_options_default(struct shim_options *options)
{
	*options = (struct shim_options){
		.vendor = EMU_INTEL,
		.kernel = KERNEL_DEFAULT,
		.capability = true,
		.backend = SHIM_BACKEND_EMULATOR,
		.log_level = 1,
	};
}

static int parse_flag(const char *value, bool *flag)
{
	if (strcmp(value, "1") && strcmp(value, "0"))
		return -EINVAL;
	*flag = *value == '1';
	return 0;
}

static int parse_vendor(struct shim_options *options, const char *value)
{
	if (!strcmp(value, "intel"))
		options->vendor = EMU_INTEL;
	else if (!strcmp(value, "amd"))
		options->vendor = EMU_AMD;
	else
		return -EINVAL;
	return 0;
}

static int parse_backend(struct shim_options *options, const char *value)
{
	if (!strcmp(value, "emulator"))
		options->backend = SHIM_BACKEND_EMULATOR;
	else if (!strcmp(value, "script"))
		options->backend = SHIM_BACKEND_SCRIPT;
	else
		return -EINVAL;
	return 0;
}

static const struct {
	const char *name, *values;
} known[] = {
	{ "vendor", "intel or amd" },
	{ "kernel", "a version from 5.12 on, such as 6.12 or 6.12.117" },
	{ "mmio_all", "0 or 1" },
	{ "count", "0 or 1" },
	{ "capability", "0 or 1" },
	{ "backend", "emulator or script" },
	{ "log", "0, 1, 2 or 3" },
	{ "script", "a file name, as the last option" },
};

static int parse_one(struct shim_options *options, size_t which, const char *value)
{
	switch (which) {
	case 0:
		return parse_vendor(options, value);
	case 1:
		return kernel_parse(value, &options->kernel);
	case 2:
		return parse_flag(value, &options->mmio_all);
	case 3:
		return parse_flag(value, &options->count);
	case 4:
		return parse_flag(value, &options->capability);
	case 5:
		return parse_backend(options, value);
	case 6:
		if (*value < '0' || *value > '3' || value[1])
			return -EINVAL;
		options->log_level = *value - '0';
		return 0;
	default:
		/* Lives as long as the options, which is as long as the process. */
		options->script = strdup(value);
		return options->script ? 0 : -ENOMEM;
	}
}

static int parse_word(struct shim_options *options, char *word, char *why, size_t size)
{
	char *value = strchr(word, '=');
	size_t i;
	int r;

	if (value)
		*value++ = '\0';
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!strcmp(word, known[i].name))
			break;
	}
	if (i == sizeof(known) / sizeof(known[0])) {
		snprintf(why, size,
			 "option \"%s\" is unknown (known: vendor, kernel, mmio_all, count, "
			 "capability, backend, log, script)",
			 word);
		return -EINVAL;
	}
	r = value ? parse_one(options, i, value) : -EINVAL;
	if (r == -EINVAL)
		snprintf(why, size, "option %s=\"%s\": give %s", word, value ? value : "",
			 known[i].values);
	return r;
}

int shim_options_parse(struct shim_options *options, const char *text, char *why, size_t size)
{
	char none[1], *copy = strdup(text), *at, *next;
	int r = 0;

	if (!copy)
		return -ENOMEM;
	if (!why || !size) {
		why = none;
		size = sizeof(none);
	}
	*why = '\0';
	for (at = copy; at && *at && !r; at = next) {
		/* A file name may have commas in it: it takes the rest. */
		next = strncmp(at, "script=", 7) ? strchr(at, ',') : NULL;
		if (next)
			*next++ = '\0';
		if (*at)
			r = parse_word(options, at, why, size);
	}
	free(copy);
	return r;
}

int shim_options_format(const struct shim_options *o, char *text, size_t size)
{
	char kernel[32];
	int n = kernel_format(o->kernel, kernel, sizeof(kernel));

	if (n < 0)
		return n;
	n = snprintf(text, size,
		     "vendor=%s,kernel=%s,mmio_all=%d,count=%d,capability=%d,backend=%s,log=%d%s%s",
		     o->vendor == EMU_AMD ? "amd" : "intel", kernel, o->mmio_all, o->count,
		     o->capability, o->backend == SHIM_BACKEND_SCRIPT ? "script" : "emulator",
		     o->log_level, o->script ? ",script=" : "", o->script ? o->script : "");
	return n < 0 || (size_t)n >= size ? -ENOSPC : n;
}

int shim_configure(const struct shim_options *options)
{
	if (shim_config.opened)
		return -EBUSY;
	if (options->kernel < KERNEL_OLDEST)
		return -EINVAL;
	shim_config.options = *options;
	profile_for(options->kernel, &shim_config.profile);
	shim_config.backend = options->backend == SHIM_BACKEND_SCRIPT ? &backend_script
								      : &backend_emu;
	if (options->report)
		atomic_store(&options->report->counting, options->count);
	return 0;
}
