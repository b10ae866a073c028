// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_shim/profile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* The fix reached 7.3.2 and, by backport, 6.12.117; the stable lines between never got it. */
static bool preserves_errno(unsigned kernel)
{
	if (kernel >= KERNEL(7, 3, 2))
		return true;
	return kernel >= KERNEL(6, 12, 117) && kernel < KERNEL(6, 13, 0);
}

void profile_for(unsigned kernel, struct profile *profile)
{
	*profile = (struct profile){
		.kernel = kernel,
		.swallows_errno = !preserves_errno(kernel),
		.resets_exit_reason = kernel >= KERNEL(6, 8, 0),
		.delivery_has_gpa = kernel >= KERNEL(6, 14, 0),
		.notify_exempt = kernel >= KERNEL(6, 0, 0),
	};
}

int kernel_parse(const char *text, unsigned *kernel)
{
	unsigned long part[3] = { 0 };
	char *end;
	int n;

	for (n = 0; n < 3; n++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		part[n] = strtoul(text, &end, 10);
		if (part[n] > 255)
			return -EINVAL;
		text = end;
		if (*text == '\0')
			break;
		if (*text++ != '.')
			return -EINVAL;
	}
	if (n == 3 || n < 1) /* a fourth part, or no minor version */
		return -EINVAL;
	*kernel = KERNEL(part[0], part[1], part[2]);
	return *kernel < KERNEL_OLDEST ? -EINVAL : 0;
}

int kernel_format(unsigned kernel, char *text, size_t size)
{
	int n = kernel & 255 ? snprintf(text, size, "%u.%u.%u", kernel >> 16, kernel >> 8 & 255,
					kernel & 255)
			     : snprintf(text, size, "%u.%u", kernel >> 16, kernel >> 8 & 255);

	return n < 0 || (size_t)n >= size ? -ENOSPC : n;
}
