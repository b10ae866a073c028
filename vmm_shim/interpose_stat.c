// SPDX-License-Identifier: GPL-2.0-only
/*
 * What /dev/kvm looks like: a character device 10:232 that everybody may read and write, whether or
 * not this machine has one.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vmm_shim/interpose.h"
#include "vmm_shim/shim.h"

#define DEVICE_MODE (S_IFCHR | 0666)

/* ------------------------------------------------------------------ struct stat */

/* Times and inode of the real device, else of a neighbour that every system has. */
static int device_stat(struct stat *out)
{
	struct stat status;
	long result = RAW(SYS_stat, "/dev/kvm", &status);

	if (result < 0)
		result = RAW(SYS_stat, "/dev/null", &status);
	if (result < 0)
		return (int)raw_result(result);
	status.st_mode = DEVICE_MODE;
	status.st_rdev = makedev(SHIM_KVM_MAJOR, SHIM_KVM_MINOR);
	status.st_uid = status.st_gid = 0;
	status.st_nlink = 1;
	status.st_size = status.st_blocks = 0;
	*out = status;
	return 0;
}

/* Only the device itself has an API version (kvm_dev_ioctl()); VMs and vCPUs refuse to tell. */
static bool is_device(struct shim_file *file)
{
	return shim_ioctl(file, KVM_GET_API_VERSION, 0) == KVM_API_VERSION;
}

/* Called after the real fstat(). Our descriptors are memory files: files without a name. */
static void dress_up(int fd, struct stat *status)
{
	struct shim_file *file;

	if (!atomic_load_explicit(&interpose_opened, memory_order_relaxed) ||
	    !S_ISREG(status->st_mode) || status->st_nlink > 1)
		return;
	file = shim_file_get(fd);
	if (!file)
		return;
	if (is_device(file)) {
		device_stat(status);
	} else {
		/* An anonymous inode has permissions, no type and no size (fs/anon_inodes.c). */
		status->st_mode = 0600;
		status->st_size = status->st_blocks = 0;
		status->st_nlink = 1;
	}
	shim_file_put(file);
}

int interpose_stat(const char *path, struct stat *out)
{
	int result;

	if (interpose_module_stat(path, out, &result))
		return result;
	if (interpose_names_device(AT_FDCWD, path))
		return device_stat(out);
	return next.stat ? next.stat(path, out) : (int)raw_result(RAW(SYS_stat, path, out));
}

int interpose_lstat(const char *path, struct stat *out)
{
	int result;

	if (interpose_module_stat(path, out, &result))
		return result;
	if (interpose_names_device(AT_FDCWD, path))
		return device_stat(out);
	return next.lstat ? next.lstat(path, out) : (int)raw_result(RAW(SYS_lstat, path, out));
}

int interpose_fstat(int fd, struct stat *out)
{
	int result = next.fstat ? next.fstat(fd, out) : (int)raw_result(RAW(SYS_fstat, fd, out));

	if (result == 0)
		dress_up(fd, out);
	return result;
}

int interpose_fstatat(int directory, const char *path, struct stat *out, int flags)
{
	int result;

	if (interpose_module_stat(path, out, &result))
		return result;
	if (interpose_names_device(directory, path))
		return device_stat(out);
	if (next.fstatat)
		result = next.fstatat(directory, path, out, flags);
	else
		result = (int)raw_result(RAW(SYS_newfstatat, directory, path, out, flags));
	if (result == 0 && (flags & AT_EMPTY_PATH) && (!path || !*path))
		dress_up(directory, out);
	return result;
}

/*
 * Programs built against a C library before 2.33 come this way. Versions 0 and 1 are both the
 * kernel's structure on x86-64; the C library refuses others, and so does this.
 */
static bool known_version(int version)
{
	if (version == 0 || version == 1)
		return true;
	errno = EINVAL;
	return false;
}

int interpose_xstat(int version, const char *path, struct stat *out)
{
	return known_version(version) ? interpose_stat(path, out) : -1;
}

int interpose_lxstat(int version, const char *path, struct stat *out)
{
	return known_version(version) ? interpose_lstat(path, out) : -1;
}

int interpose_fxstat(int version, int fd, struct stat *out)
{
	return known_version(version) ? interpose_fstat(fd, out) : -1;
}

int interpose_fxstatat(int version, int directory, const char *path, struct stat *out, int flags)
{
	return known_version(version) ? interpose_fstatat(directory, path, out, flags) : -1;
}

/* ------------------------------------------------------------------ statx */

static int device_statx(int flags, unsigned mask, struct statx *out)
{
	long result = RAW(SYS_statx, AT_FDCWD, "/dev/kvm", flags & ~AT_EMPTY_PATH, mask, out);

	if (result < 0)
		result = RAW(SYS_statx, AT_FDCWD, "/dev/null", flags & ~AT_EMPTY_PATH, mask, out);
	if (result < 0)
		return (int)raw_result(result);
	out->stx_mode = DEVICE_MODE;
	out->stx_rdev_major = SHIM_KVM_MAJOR;
	out->stx_rdev_minor = SHIM_KVM_MINOR;
	out->stx_uid = out->stx_gid = 0;
	out->stx_nlink = 1;
	out->stx_size = out->stx_blocks = 0;
	return 0;
}

/* statx() of a file or folder of the simulated kernel's, from what stat() says of it */
static bool module_statx(const char *path, int flags, unsigned mask, struct statx *out, int *result)
{
	struct stat status;

	if (!interpose_module_stat(path, &status, result))
		return false;
	if (*result)
		return true;
	*result = (int)raw_result(RAW(SYS_statx, AT_FDCWD, "/", flags & ~AT_EMPTY_PATH, mask, out));
	out->stx_mode = (uint16_t)status.st_mode;
	out->stx_size = (uint64_t)status.st_size;
	out->stx_nlink = (uint32_t)status.st_nlink;
	return true;
}

int interpose_statx(int directory, const char *path, int flags, unsigned mask, struct statx *out)
{
	int result;
	struct stat status = { 0 };

	if (module_statx(path, flags, mask, out, &result))
		return result;
	if (interpose_names_device(directory, path))
		return device_statx(flags, mask, out);
	if (next.statx)
		result = next.statx(directory, path, flags, mask, out);
	else
		result = (int)raw_result(RAW(SYS_statx, directory, path, flags, mask, out));
	if (result < 0 || !(flags & AT_EMPTY_PATH) || (path && *path))
		return result;
	status.st_mode = out->stx_mode;
	status.st_nlink = out->stx_nlink;
	dress_up(directory, &status);
	if (S_ISCHR(status.st_mode) && !S_ISCHR(out->stx_mode))
		return device_statx(0, mask, out);
	if (status.st_mode != out->stx_mode) {
		out->stx_mode = (uint16_t)status.st_mode;
		out->stx_size = out->stx_blocks = 0;
		out->stx_nlink = 1;
	}
	return 0;
}

/* ------------------------------------------------------------------ access */

/* Mode 0666: nobody, root included, may execute it. */
static int device_access(int mode)
{
	if (mode & ~(R_OK | W_OK | X_OK)) {
		errno = EINVAL;
		return -1;
	}
	if (mode & X_OK) {
		errno = EACCES;
		return -1;
	}
	return 0;
}

int interpose_access(const char *path, int mode)
{
	int result;

	if (interpose_module_access(path, mode, &result))
		return result;
	if (interpose_names_device(AT_FDCWD, path))
		return device_access(mode);
	return next.access ? next.access(path, mode) : (int)raw_result(RAW(SYS_access, path, mode));
}

int interpose_faccessat(int directory, const char *path, int mode, int flags)
{
	int result;

	if (interpose_module_access(path, mode, &result))
		return result;
	if (interpose_names_device(directory, path))
		return device_access(mode);
	if (next.faccessat)
		return next.faccessat(directory, path, mode, flags);
	return (int)raw_result(RAW(SYS_faccessat2, directory, path, mode, flags));
}

int interpose_euidaccess(const char *path, int mode)
{
	int result;

	if (interpose_module_access(path, mode, &result))
		return result;
	if (interpose_names_device(AT_FDCWD, path))
		return device_access(mode);
	if (next.euidaccess)
		return next.euidaccess(path, mode);
	return (int)raw_result(RAW(SYS_faccessat2, AT_FDCWD, path, mode, AT_EACCESS));
}

/* ------------------------------------------------------------------ extended attributes */

/* `ls -l` asks for them, and complains about a file that it has just seen and that is not there. */
static ssize_t no_attribute(void)
{
	errno = ENODATA;
	return -1;
}

ssize_t interpose_getxattr(const char *path, const char *name, void *value, size_t size)
{
	if (interpose_names_device(AT_FDCWD, path))
		return no_attribute();
	return next.getxattr ? next.getxattr(path, name, value, size)
			     : raw_result(RAW(SYS_getxattr, path, name, value, size));
}

ssize_t interpose_lgetxattr(const char *path, const char *name, void *value, size_t size)
{
	if (interpose_names_device(AT_FDCWD, path))
		return no_attribute();
	return next.lgetxattr ? next.lgetxattr(path, name, value, size)
			      : raw_result(RAW(SYS_lgetxattr, path, name, value, size));
}

ssize_t interpose_listxattr(const char *path, char *list, size_t size)
{
	if (interpose_names_device(AT_FDCWD, path))
		return 0;
	return next.listxattr ? next.listxattr(path, list, size)
			      : raw_result(RAW(SYS_listxattr, path, list, size));
}

ssize_t interpose_llistxattr(const char *path, char *list, size_t size)
{
	if (interpose_names_device(AT_FDCWD, path))
		return 0;
	return next.llistxattr ? next.llistxattr(path, list, size)
			       : raw_result(RAW(SYS_llistxattr, path, list, size));
}

/* ------------------------------------------------------------------ under these names */

/* struct stat64 is struct stat on x86-64. */
INTERPOSE(interpose_stat, stat);
INTERPOSE(interpose_stat, stat64);
INTERPOSE(interpose_lstat, lstat);
INTERPOSE(interpose_lstat, lstat64);
INTERPOSE(interpose_fstat, fstat);
INTERPOSE(interpose_fstat, fstat64);
INTERPOSE(interpose_fstatat, fstatat);
INTERPOSE(interpose_fstatat, fstatat64);
INTERPOSE(interpose_xstat, __xstat);
INTERPOSE(interpose_xstat, __xstat64);
INTERPOSE(interpose_lxstat, __lxstat);
INTERPOSE(interpose_lxstat, __lxstat64);
INTERPOSE(interpose_fxstat, __fxstat);
INTERPOSE(interpose_fxstat, __fxstat64);
INTERPOSE(interpose_fxstatat, __fxstatat);
INTERPOSE(interpose_fxstatat, __fxstatat64);
INTERPOSE(interpose_statx, statx);
INTERPOSE(interpose_access, access);
INTERPOSE(interpose_faccessat, faccessat);
INTERPOSE(interpose_euidaccess, eaccess);
INTERPOSE(interpose_euidaccess, euidaccess);
INTERPOSE(interpose_getxattr, getxattr);
INTERPOSE(interpose_lgetxattr, lgetxattr);
INTERPOSE(interpose_listxattr, listxattr);
INTERPOSE(interpose_llistxattr, llistxattr);
