// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_GET_STATS_FD (KVM api.rst 4.133): a file with a header, the object's name, descriptors and counters.
 * It is a memory file that the counters live in, so that reading it needs nothing of the shim's, and goes
 * on after the VM is gone. Of Linux's statistics those that are counted here; programs find them by name.
 */
#include "vmm_shim/internal.h"
#include "vmm_shim/own_fd.h"
#include "vmm_shim/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define NAME_SIZE 48 /* KVM_STATS_NAME_SIZE */

/* struct kvm_stats_desc with its name */
struct descriptor {
	uint32_t flags;
	int16_t exponent;
	uint16_t size;
	uint32_t offset, bucket_size;
	char name[NAME_SIZE];
};
_Static_assert(sizeof(struct descriptor) == sizeof(struct kvm_stats_desc) + NAME_SIZE, "an ABI");

struct file {
	struct kvm_stats_header header;
	char id[NAME_SIZE];
	struct descriptor descriptor[STATS_MAX];
	uint64_t value[STATS_MAX];
};

/* kvm_vm_stats_desc[], kvm_vcpu_stats_desc[]; in the order of enum shim_stat. All are counters. */
static const char *const vm_names[] = { [STAT_REMOTE_TLB_FLUSH] = "remote_tlb_flush" };
static const char *const vcpu_names[] = {
	[STAT_EXITS] = "exits",
	[STAT_IO_EXITS] = "io_exits",
	[STAT_MMIO_EXITS] = "mmio_exits",
	[STAT_SIGNAL_EXITS] = "signal_exits",
	[STAT_IRQ_WINDOW_EXITS] = "irq_window_exits",
	[STAT_HALT_EXITS] = "halt_exits",
	[STAT_REQUEST_IRQ_EXITS] = "request_irq_exits",
	[STAT_HYPERCALLS] = "hypercalls",
	[STAT_IRQ_INJECTIONS] = "irq_injections",
	[STAT_NMI_INJECTIONS] = "nmi_injections",
};
#define COUNT(names) (sizeof(names) / sizeof(names[0]))
_Static_assert(COUNT(vcpu_names) <= STATS_MAX && COUNT(vm_names) <= STATS_MAX, "");

static void fill(struct file *f, const char *id, const char *const *names, unsigned count)
{
	f->header = (struct kvm_stats_header){
		.name_size = NAME_SIZE,
		.num_desc = count,
		.id_offset = offsetof(struct file, id),
		.desc_offset = offsetof(struct file, descriptor),
		.data_offset = offsetof(struct file, value),
	};
	snprintf(f->id, sizeof(f->id), "%s", id);
	for (unsigned i = 0; i < count; i++) {
		f->descriptor[i] = (struct descriptor){
			.flags = KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE |
				 KVM_STATS_BASE_POW10,
			.size = 1,
			.offset = i * (uint32_t)sizeof(uint64_t),
		};
		snprintf(f->descriptor[i].name, NAME_SIZE, "%s", names[i]);
	}
}

/* The file, in place of the counters that the object had by itself until now. */
static int make_file(struct shim_stats *stats, const char *id, const char *const *names,
		     unsigned count)
{
	int fd = (int)raw_syscall(SYS_memfd_create, "kvm-stats", MFD_CLOEXEC), handle;
	struct file *f = MAP_FAILED;

	if (fd < 0)
		return fd;
	if (!raw_syscall(SYS_ftruncate, fd, sizeof(*f)))
		f = mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	handle = f == MAP_FAILED ? -ENOMEM : own_fd_copy(fd);
	raw_syscall(SYS_close, fd);
	if (handle < 0) {
		if (f != MAP_FAILED)
			munmap(f, sizeof(*f));
		return handle;
	}
	fill(f, id, names, count);
	for (unsigned i = 0; i < count; i++)
		f->value[i] = stats->own[i];
	stats->file = f;
	stats->handle = handle;
	stats->value = f->value;
	return 0;
}

/* A descriptor with a position of its own, which cannot write. */
static long open_file(struct shim_stats *stats, const char *id, const char *const *names,
		      unsigned count)
{
	char path[40];
	int r = stats->file ? 0 : make_file(stats, id, names, count);

	if (r)
		return r;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", own_fd(stats->handle));
	return raw_syscall(SYS_open, path, O_RDONLY | O_CLOEXEC, 0);
}

/* kvm_vm_ioctl_get_stats_fd() */
long stats_vm_fd(struct shim_vm *vm)
{
	char id[NAME_SIZE];
	long r;

	snprintf(id, sizeof(id), "kvm-%d", (int)process_id());
	lock_take(&vm->slots_lock); /* whoever counts there holds it */
	r = open_file(&vm->stats, id, vm_names, COUNT(vm_names));
	lock_drop(&vm->slots_lock);
	return r;
}

/* kvm_vcpu_ioctl_get_stats_fd(), with the vCPU's lock held */
long stats_vcpu_fd(struct shim_vcpu *vcpu)
{
	char id[NAME_SIZE];

	snprintf(id, sizeof(id), "kvm-%d/vcpu-%u", (int)process_id(), vcpu->id);
	return open_file(&vcpu->stats, id, vcpu_names, COUNT(vcpu_names));
}

void stats_new(struct shim_stats *stats)
{
	*stats = (struct shim_stats){ 0 };
	stats->value = stats->own;
}

void stats_free(struct shim_stats *stats)
{
	if (!stats->file)
		return;
	own_fd_close(stats->handle);
	munmap(stats->file, sizeof(struct file));
	stats->file = NULL;
	stats->value = stats->own;
}

void stats_exit(struct shim_vcpu *vcpu, unsigned type)
{
	static const uint8_t which[] = {
		[EMU_EXIT_IO] = STAT_IO_EXITS + 1,
		[EMU_EXIT_MMIO] = STAT_MMIO_EXITS + 1,
		[EMU_EXIT_INTERRUPT_WINDOW] = STAT_IRQ_WINDOW_EXITS + 1,
		[EMU_EXIT_HLT] = STAT_HALT_EXITS + 1,
		[EMU_EXIT_VMCALL] = STAT_HYPERCALLS + 1,
	};

	vcpu->stats.value[STAT_EXITS]++;
	if (type < sizeof(which) && which[type])
		vcpu->stats.value[which[type] - 1]++;
}
