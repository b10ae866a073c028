/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The KVM API as the built-in monitor calls it: the emulated device of vmm_shim/ in this process, or
 * a real one. Both answer the same calls; the monitor above cannot tell them apart except by what
 * they can do.
 */
#ifndef BUSLOCK_CLI_KVM_H
#define BUSLOCK_CLI_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>

struct shim_file;

/* A descriptor of the API. */
struct kvm_handle {
	int fd;
	struct shim_file *file; /* NULL: a real one */
};

/* `device` NULL: the emulator (shim_configure() has been called). 0 or -errno. */
int kvm_open(struct kvm_handle *handle, const char *device);
/* An object that an ioctl on `parent` has created as descriptor `fd`. */
int kvm_handle_of(struct kvm_handle *handle, int fd, const struct kvm_handle *parent);
/* The result, or -errno. */
long kvm_call(const struct kvm_handle *handle, unsigned long request, unsigned long argument);
void kvm_close(struct kvm_handle *handle);
/* Thread `tid` of this process has been sent a signal. */
void kvm_kicked(const struct kvm_handle *handle, int tid);

#endif
