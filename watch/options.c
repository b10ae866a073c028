// SPDX-License-Identifier: GPL-2.0-only
/* The options' form in the environment. */
#include "watch/watch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool set(struct watch_options *options, const char *word)
{
	static const char locks[] = "native-split-locks=";
	char *end;

	if (!strcmp(word, "enable"))
		options->enable = true;
	else if (!strcmp(word, "step"))
		options->step = true;
	else if (!strcmp(word, "locked"))
		options->locked = true;
	else if (!strcmp(word, "hold-interrupts"))
		options->hold_interrupts = true;
	else if (!strcmp(word, "native-delivery"))
		options->native_delivery = true;
	else if (!strcmp(word, "memory=guest"))
		options->memory = WATCH_MEMORY_GUEST;
	else if (!strcmp(word, "memory=kvm"))
		options->memory = WATCH_MEMORY_KVM;
	else if (!strncmp(word, locks, sizeof(locks) - 1)) {
		options->native_split_locks = strtoull(word + sizeof(locks) - 1, &end, 10);
		return *end == '\0';
	} else
		return false;
	return true;
}

int watch_options_parse(struct watch_options *options, const char *text)
{
	char word[64];

	memset(options, 0, sizeof(*options));
	while (*text) {
		size_t n = strcspn(text, ",");

		if (n >= sizeof(word))
			return -EINVAL;
		memcpy(word, text, n);
		word[n] = '\0';
		if (!set(options, word))
			return -EINVAL;
		text += n + (text[n] == ',');
	}
	return 0;
}

int watch_options_format(const struct watch_options *options, char *text, size_t size)
{
	int n = snprintf(text, size, "memory=%s%s%s%s%s%s",
			 options->memory == WATCH_MEMORY_GUEST ? "guest" : "kvm",
			 options->enable ? ",enable" : "", options->step ? ",step" : "",
			 options->locked ? ",locked" : "",
			 options->hold_interrupts ? ",hold-interrupts" : "",
			 options->native_delivery ? ",native-delivery" : "");

	if (n >= 0 && (size_t)n < size && options->step)
		n += snprintf(text + n, size - (size_t)n, ",native-split-locks=%" PRIu64,
			      options->native_split_locks);
	return n < 0 || (size_t)n >= size ? -ENOSPC : 0;
}
