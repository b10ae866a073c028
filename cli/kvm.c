// SPDX-License-Identifier: GPL-2.0-only
#include "cli/kvm.h"

#include "vmm_shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

int kvm_open(struct kvm_handle *handle, const char *device)
{
	handle->file = NULL;
	if (device) {
		handle->fd = open(device, O_RDWR | O_CLOEXEC);
		return handle->fd < 0 ? -errno : 0;
	}
	handle->fd = shim_open(O_RDWR | O_CLOEXEC);
	if (handle->fd < 0)
		return handle->fd;
	handle->file = shim_file_get(handle->fd);
	return handle->file ? 0 : -EBADF;
}

int kvm_handle_of(struct kvm_handle *handle, int fd, const struct kvm_handle *parent)
{
	handle->fd = fd;
	handle->file = parent->file ? shim_file_get(fd) : NULL;
	return parent->file && !handle->file ? -EBADF : 0;
}

long kvm_call(const struct kvm_handle *handle, unsigned long request, unsigned long argument)
{
	long result;

	if (handle->file)
		return shim_ioctl(handle->file, request, argument);
	result = ioctl(handle->fd, request, argument);
	return result < 0 ? -errno : result;
}

void kvm_close(struct kvm_handle *handle)
{
	if (handle->fd < 0)
		return;
	if (handle->file)
		shim_file_put(handle->file);
	close(handle->fd);
	if (handle->file)
		shim_descriptors_closed();
	handle->fd = -1;
	handle->file = NULL;
}

void kvm_kicked(const struct kvm_handle *handle, int tid)
{
	if (handle->file)
		shim_signal_sent(tid);
}
