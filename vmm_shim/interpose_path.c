// SPDX-License-Identifier: GPL-2.0-only
/* Which path names /dev/kvm? Every open() and stat() of the program passes here: be quick. */
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "vmm_shim/interpose.h"

/* The directory part of `path` is /dev: the same file, whatever it is called. */
static bool is_dev(int directory, const char *path, size_t length)
{
	char parent[PATH_MAX];
	struct stat dev, found;

	if (length >= sizeof(parent))
		return false;
	memcpy(parent, path, length);
	parent[length] = 0;
	if (length == 0)
		strcpy(parent, ".");
	/* On x86-64 the kernel's struct stat is the C library's. */
	if (RAW(SYS_newfstatat, directory, parent, &found, 0) < 0 ||
	    RAW(SYS_newfstatat, AT_FDCWD, "/dev", &dev, 0) < 0)
		return false;
	return found.st_dev == dev.st_dev && found.st_ino == dev.st_ino;
}

bool interpose_names_device(int directory, const char *path)
{
	size_t length;

	if (!path)
		return false;
	length = strlen(path);
	if (length < 3 || memcmp(path + length - 3, "kvm", 3) != 0)
		return false;
	if (length == 8 && memcmp(path, "/dev/", 5) == 0)
		return true;
	if (length > 3 && path[length - 4] != '/')
		return false;
	return is_dev(path[0] == '/' ? AT_FDCWD : directory, path, length - 3);
}
