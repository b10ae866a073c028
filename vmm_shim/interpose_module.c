// SPDX-License-Identifier: GPL-2.0-only
/* Files below /sys/module/kvm*: what module_params.c says, whatever this machine has loaded. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm_shim/interpose.h"
#include "vmm_shim/module_params.h"

#define FILE_SIZE 4096 /* sysfs shows a page for every attribute */

bool interpose_names_module(const char *path)
{
	return path && !strncmp(path, "/sys/module/kvm", 15);
}

static enum module_path look(const char *path, char *text)
{
	if (!interpose_names_module(path))
		return MODULE_OTHER;
	interpose_setup(); /* the vendor is an option */
	return module_path(path, text, MODULE_TEXT_MAX);
}

/* A file with that content that nobody can write. */
static int content(const char *text, int flags)
{
	size_t length = strlen(text);
	long fd = RAW(SYS_memfd_create, "kvm-parameter",
		      (flags & O_CLOEXEC ? MFD_CLOEXEC : 0) | MFD_ALLOW_SEALING);

	if (fd < 0)
		return (int)raw_result(fd);
	if (RAW(SYS_pwrite64, fd, text, length, 0) != (long)length) {
		RAW(SYS_close, fd);
		errno = EIO;
		return -1;
	}
	RAW(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	return (int)fd;
}

bool interpose_module_open(const char *path, int flags, int *fd)
{
	char text[MODULE_TEXT_MAX];

	switch (look(path, text)) {
	case MODULE_ABSENT:
		*fd = -1;
		errno = ENOENT;
		return true;
	case MODULE_PARAMETER:
		*fd = -1;
		if (flags & O_DIRECTORY)
			errno = ENOTDIR;
		else if ((flags & O_CREAT) && (flags & O_EXCL))
			errno = EEXIST;
		else if ((flags & O_ACCMODE) != O_RDONLY)
			errno = EACCES; /* kernfs_fop_open(): mode 0444 holds for root, too */
		else
			*fd = content(text, flags);
		return true;
	default: /* a folder is listed as this machine has it */
		return false;
	}
}

bool interpose_module_stat(const char *path, struct stat *out, int *result)
{
	char text[MODULE_TEXT_MAX];
	enum module_path what = look(path, text);
	long r;

	if (what == MODULE_OTHER)
		return false;
	if (what == MODULE_ABSENT) {
		*result = (int)raw_result(-ENOENT);
		return true;
	}
	/* times and owner of a neighbour that every system has */
	r = RAW(SYS_stat, "/sys/module", out);
	if (r < 0)
		r = RAW(SYS_stat, "/", out);
	if (what == MODULE_PARAMETER) {
		out->st_mode = S_IFREG | 0444;
		out->st_size = FILE_SIZE;
		out->st_nlink = 1;
	}
	*result = (int)raw_result(r);
	return true;
}

bool interpose_module_access(const char *path, int mode, int *result)
{
	char text[MODULE_TEXT_MAX];
	enum module_path what = look(path, text);
	long r = 0;

	if (what == MODULE_OTHER)
		return false;
	if (what == MODULE_ABSENT)
		r = -ENOENT;
	else if (mode & ~(R_OK | W_OK | X_OK))
		r = -EINVAL;
	else if (what == MODULE_PARAMETER && mode & (W_OK | X_OK))
		r = -EACCES;
	*result = (int)raw_result(r);
	return true;
}
