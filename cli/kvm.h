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

/* Debian 12's headers are older than part of the interface; values of Linux's UAPI. */
#ifndef KVM_CAP_X86_BUS_LOCK_EXIT
#define KVM_CAP_X86_BUS_LOCK_EXIT 193
#endif
#ifndef KVM_BUS_LOCK_DETECTION_EXIT
#define KVM_BUS_LOCK_DETECTION_OFF  (1 << 0)
#define KVM_BUS_LOCK_DETECTION_EXIT (1 << 1)
#endif
#ifndef KVM_EXIT_X86_BUS_LOCK
#define KVM_EXIT_X86_BUS_LOCK 33
#endif
#ifndef KVM_RUN_X86_BUS_LOCK
#define KVM_RUN_X86_BUS_LOCK (1 << 1)
#endif

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
