// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts from, and notifications to, somebody who only has an eventfd: KVM_IRQFD and KVM_IOEVENTFD
 * (KVM api.rst 4.75 and 4.59, virt/kvm/eventfd.c, 6.12). The kernel holds the eventfd itself; here it is a
 * descriptor of our own, and whether two are the same eventfd is told by the kernel's number for it.
 */
#include "vmm_shim/irqchip/chips.h"
#include "vmm_shim/own_fd.h"
#include "vmm_shim/raw.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

struct eventfd {
	int handle; /* own_fd.h; -1: none */
	int64_t id;
	struct stat file; /* device and inode, to know it again */
};

struct irqfd {
	struct irqfd *next;
	struct eventfd event, resample;
	unsigned gsi;
	unsigned slot; /* of the helper thread's last poll */
};

struct ioeventfd {
	struct ioeventfd *next;
	struct kvm_ioeventfd args;
	struct eventfd event;
	enum { MMIO, PORTS, CCW } bus; /* CCW: of IBM mainframes, where nothing here ever writes */
};

static int bus_of(uint32_t flags)
{
	if (flags & KVM_IOEVENTFD_FLAG_PIO)
		return PORTS;
	return flags & KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY ? CCW : MMIO;
}

/* ------------------------------------------------------------------ eventfds */

static int eventfd_open(struct eventfd *event, int fd)
{
	event->handle = -1;
	if (raw_syscall(SYS_fcntl, fd, F_GETFD) < 0)
		return -EBADF;
	event->id = own_fd_eventfd(fd);
	if (event->id < 0)
		return -EINVAL;
	event->handle = own_fd_copy(fd);
	if (event->handle < 0)
		return event->handle;
	raw_syscall(SYS_fstat, fd, &event->file);
	return 0;
}

/* Its number; -1: a raw system call has closed it, and perhaps something else is there by now. */
static int eventfd_number(struct eventfd *event)
{
	int fd = own_fd(event->handle);
	struct stat now;

	if (fd < 0)
		return -1;
	if (!raw_syscall(SYS_fstat, fd, &now) && now.st_dev == event->file.st_dev &&
	    now.st_ino == event->file.st_ino)
		return fd;
	own_fd_lost(event->handle);
	shim_log(1,
		 "the eventfd of an irqfd or ioeventfd is lost: a raw system call of the program "
		 "has closed descriptor %d, which is the kernel's (close_range() of the C library "
		 "passes it by)",
		 fd);
	return -1;
}

static void eventfd_close(struct eventfd *event)
{
	if (event->handle >= 0)
		own_fd_close(event->handle);
	event->handle = -1;
}

/* eventfd_signal(): a counter that is full stays full, where write(2) would wait. */
static void signal_it(struct eventfd *event)
{
	struct pollfd poll = { .fd = eventfd_number(event), .events = POLLOUT };
	const uint64_t one = 1;

	if (raw_syscall(SYS_poll, &poll, 1, 0) == 1 && poll.revents == POLLOUT)
		raw_syscall(SYS_write, poll.fd, &one, sizeof(one));
}

/* Empties it without waiting: true if there was something. */
static bool take(struct eventfd *event)
{
	uint64_t count;
	struct iovec to = { &count, sizeof(count) };
	int fd = eventfd_number(event);
	long n;

	if (fd < 0)
		return false;
	n = raw_syscall(SYS_preadv2, fd, &to, 1, -1l, -1l, RWF_NOWAIT);
	if (n == -EOPNOTSUPP || n == -ENOSYS || n == -EINVAL) { /* before Linux 5.8 */
		struct pollfd poll = { .fd = fd, .events = POLLIN };

		if (raw_syscall(SYS_poll, &poll, 1, 0) != 1 || !(poll.revents & POLLIN))
			return false;
		n = raw_syscall(SYS_read, fd, &count, sizeof(count));
	}
	return n == sizeof(count);
}

/* ------------------------------------------------------------------ irqfd */

static void inject(struct irqchip *chip, const struct irqfd *irqfd)
{
	if (irqfd->resample.handle >= 0) { /* until the guest acknowledges it */
		irq_set_line(chip, IRQ_SOURCE_RESAMPLE, irqfd->gsi, true);
		return;
	}
	irq_set_line(chip, IRQ_SOURCE_USER, irqfd->gsi, true);
	irq_set_line(chip, IRQ_SOURCE_USER, irqfd->gsi, false);
}

bool irqfd_resample(struct irqchip *chip, unsigned gsi)
{
	bool any = false;

	for (struct irqfd *irqfd = chip->irqfds; irqfd; irqfd = irqfd->next) {
		if (irqfd->gsi != gsi || irqfd->resample.handle < 0)
			continue;
		signal_it(&irqfd->resample);
		any = true;
	}
	return any;
}

static bool resampled(const struct irqchip *chip, unsigned gsi)
{
	const struct irqfd *irqfd = chip->irqfds;

	while (irqfd && (irqfd->gsi != gsi || irqfd->resample.handle < 0))
		irqfd = irqfd->next;
	return irqfd != NULL;
}

/* irqfd_resampler_ack(): down first, for who looks again may put it up at once. */
void irqfd_acked(struct irqchip *chip, unsigned gsi)
{
	if (!resampled(chip, gsi))
		return;
	irq_set_line(chip, IRQ_SOURCE_RESAMPLE, gsi, false);
	irqfd_resample(chip, gsi);
}

static void irqfd_free(struct irqfd *irqfd)
{
	eventfd_close(&irqfd->event);
	eventfd_close(&irqfd->resample);
	free(irqfd);
}

static int irqfd_add(struct irqchip *chip, struct irqfd *irqfd)
{
	struct irqfd **at = &chip->irqfds;

	for (; *at; at = &(*at)->next) {
		if ((*at)->event.id == irqfd->event.id)
			return -EBUSY; /* it is another line's already */
	}
	*at = irqfd;
	return 0;
}

static int irqfd_open(const struct kvm_irqfd *args, struct irqfd **result)
{
	struct irqfd *irqfd = calloc(1, sizeof(*irqfd));
	int r;

	if (!irqfd)
		return -ENOMEM;
	irqfd->gsi = args->gsi;
	irqfd->slot = ~0u;
	irqfd->resample.handle = -1;
	r = eventfd_open(&irqfd->event, (int)args->fd);
	if (!r && args->flags & KVM_IRQFD_FLAG_RESAMPLE)
		r = eventfd_open(&irqfd->resample, (int)args->resamplefd);
	if (r)
		irqfd_free(irqfd);
	else
		*result = irqfd;
	return r;
}

static long irqfd_assign(struct irqchip *chip, const struct kvm_irqfd *args)
{
	struct irqfd *irqfd = NULL;
	bool resample = args->flags & KVM_IRQFD_FLAG_RESAMPLE;
	enum irqchip_mode mode = irqchip_mode(chip->vm);
	long r;

	/* kvm_arch_irqfd_allowed() */
	if (mode == IRQCHIP_NONE || (resample && mode != IRQCHIP_KERNEL))
		return -EINVAL;
	r = irqfd_open(args, &irqfd);
	if (r)
		return r;
	lock_take(&chip->lock);
	r = irqfd_add(chip, irqfd);
	lock_drop(&chip->lock);
	if (r)
		irqfd_free(irqfd);
	else
		irq_helper_wake(); /* it may have been written before */
	return r;
}

/* All with this eventfd and line; that there was none is no error. */
static long irqfd_deassign(struct irqchip *chip, const struct kvm_irqfd *args)
{
	struct irqfd **at = &chip->irqfds, *gone = NULL;
	int64_t id;

	if (raw_syscall(SYS_fcntl, args->fd, F_GETFD) < 0)
		return -EBADF;
	id = own_fd_eventfd((int)args->fd);
	if (id < 0)
		return -EINVAL;
	lock_take(&chip->lock);
	while (*at) {
		struct irqfd *irqfd = *at;

		if (irqfd->event.id != id || irqfd->gsi != args->gsi) {
			at = &irqfd->next;
			continue;
		}
		*at = irqfd->next;
		irqfd->next = gone;
		gone = irqfd;
		if (irqfd->resample.handle >= 0 && !resampled(chip, irqfd->gsi))
			irq_set_line(chip, IRQ_SOURCE_RESAMPLE, irqfd->gsi, false);
	}
	lock_drop(&chip->lock);
	while (gone) {
		struct irqfd *irqfd = gone;

		gone = irqfd->next;
		irqfd_free(irqfd);
	}
	return 0;
}

/* ------------------------------------------------------------------ for the helper thread */

unsigned irqfd_poll(struct irqchip *chip, struct pollfd *entry, unsigned at, unsigned room)
{
	unsigned n = 0;

	for (struct irqfd *irqfd = chip->irqfds; irqfd; irqfd = irqfd->next, n++) {
		irqfd->slot = at + n;
		if (at + n < room)
			entry[at + n] = (struct pollfd){ .fd = own_fd(irqfd->event.handle),
							 .events = POLLIN };
	}
	return n;
}

/* Only what belongs to the last poll: its slot, and still the same number. */
void irqfd_serve(struct irqchip *chip, const struct pollfd *entry, unsigned used)
{
	for (struct irqfd *irqfd = chip->irqfds; irqfd; irqfd = irqfd->next) {
		if (irqfd->slot >= used || !entry[irqfd->slot].revents ||
		    entry[irqfd->slot].fd != own_fd(irqfd->event.handle) || !take(&irqfd->event))
			continue;
		if (vclock_virtual()) /* this thread is where real time has it */
			vclock_nondeterministic("an eventfd of KVM_IRQFD was written");
		inject(chip, irqfd);
	}
}

/* ------------------------------------------------------------------ ioeventfd */

static bool matches(const struct ioeventfd *io, unsigned size, const void *data)
{
	uint64_t value = 0;

	if (!io->args.len)
		return true;
	if (size != io->args.len)
		return false;
	memcpy(&value, data, size < sizeof(value) ? size : sizeof(value));
	return !(io->args.flags & KVM_IOEVENTFD_FLAG_DATAMATCH) || value == io->args.datamatch;
}

static bool ioeventfd_access(struct irqchip *chip, void *opaque, uint64_t address, unsigned size,
			     bool write, void *data)
{
	struct ioeventfd *io = opaque;

	(void)chip;
	if (!write || address != io->args.addr || !matches(io, size, data))
		return false;
	signal_it(&io->event);
	return true;
}

/* ioeventfd_check_collision(): would one write be for both? */
static bool collide(const struct ioeventfd *a, const struct ioeventfd *b)
{
	bool any = !(a->args.flags & b->args.flags & KVM_IOEVENTFD_FLAG_DATAMATCH);

	if (a->bus != b->bus || a->args.addr != b->args.addr)
		return false;
	if (!a->args.len || !b->args.len)
		return true;
	return a->args.len == b->args.len && (any || a->args.datamatch == b->args.datamatch);
}

static int ioeventfd_add(struct irqchip *chip, struct ioeventfd *io)
{
	const struct bus_device device = { io->args.addr, io->args.len, ioeventfd_access, io,
					   true };
	struct ioeventfd **at = &chip->ioeventfds;
	int r;

	for (; *at; at = &(*at)->next) {
		if (collide(*at, io))
			return -EEXIST;
	}
	r = io->bus == CCW ? 0 : bus_add(chip, io->bus == PORTS, &device);
	if (!r)
		*at = io;
	return r;
}

static void ioeventfd_free(struct ioeventfd *io)
{
	eventfd_close(&io->event);
	free(io);
}

/* KVM_IOEVENTFD_FLAG_ DATAMATCH, PIO, DEASSIGN, VIRTIO_CCW_NOTIFY and one that has a number only,
 * kvm_ioeventfd_flag_nr_fast_mmio */
#define VALID_FLAGS 0x1fu

static int check(const struct kvm_ioeventfd *args)
{
	bool size = args->len <= 8 && !(args->len & (args->len - 1)); /* 0, 1, 2, 4, 8 */

	if (!size || args->addr + args->len < args->addr || args->flags & ~VALID_FLAGS)
		return -EINVAL;
	if (!args->len && args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH)
		return -EINVAL;
	return 0;
}

static long ioeventfd_assign(struct irqchip *chip, const struct kvm_ioeventfd *args)
{
	struct ioeventfd *io;
	long r = check(args);

	if (r)
		return r;
	io = calloc(1, sizeof(*io));
	if (!io)
		return -ENOMEM;
	io->args = *args;
	io->bus = bus_of(args->flags);
	r = eventfd_open(&io->event, args->fd);
	if (!r) {
		lock_take(&chip->lock);
		r = ioeventfd_add(chip, io);
		lock_drop(&chip->lock);
	}
	if (r)
		ioeventfd_free(io);
	return r;
}

static bool same(const struct ioeventfd *io, const struct kvm_ioeventfd *args, int64_t id)
{
	uint32_t differ = io->args.flags ^ args->flags;

	return (int)io->bus == bus_of(args->flags) && io->event.id == id &&
	       io->args.addr == args->addr && io->args.len == args->len &&
	       !(differ & KVM_IOEVENTFD_FLAG_DATAMATCH) &&
	       (!(args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH) ||
		io->args.datamatch == args->datamatch);
}

static long ioeventfd_deassign(struct irqchip *chip, const struct kvm_ioeventfd *args)
{
	struct ioeventfd **at = &chip->ioeventfds, *io;
	int64_t id;

	if (raw_syscall(SYS_fcntl, args->fd, F_GETFD) < 0)
		return -EBADF;
	id = own_fd_eventfd(args->fd);
	if (id < 0)
		return -EINVAL;
	lock_take(&chip->lock);
	while (*at && !same(*at, args, id))
		at = &(*at)->next;
	io = *at;
	if (io) {
		*at = io->next;
		if (io->bus != CCW)
			bus_remove(chip, io->bus == PORTS, io);
	}
	lock_drop(&chip->lock);
	if (!io)
		return -ENOENT;
	ioeventfd_free(io);
	return 0;
}

/* ------------------------------------------------------------------ of the VM */

void eventfd_free(struct irqchip *chip)
{
	while (chip->irqfds) {
		struct irqfd *irqfd = chip->irqfds;

		chip->irqfds = irqfd->next;
		irqfd_free(irqfd);
	}
	while (chip->ioeventfds) {
		struct ioeventfd *io = chip->ioeventfds;

		chip->ioeventfds = io->next;
		ioeventfd_free(io);
	}
}

static long irqfd_ioctl(struct irqchip *chip, unsigned long argument)
{
	struct kvm_irqfd args;

	if (user_read(&args, argument, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~(uint32_t)(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE))
		return -EINVAL;
	return args.flags & KVM_IRQFD_FLAG_DEASSIGN ? irqfd_deassign(chip, &args)
						    : irqfd_assign(chip, &args);
}

static long ioeventfd_ioctl(struct irqchip *chip, unsigned long argument)
{
	struct kvm_ioeventfd args;

	if (user_read(&args, argument, sizeof(args)))
		return -EFAULT;
	return args.flags & KVM_IOEVENTFD_FLAG_DEASSIGN ? ioeventfd_deassign(chip, &args)
							: ioeventfd_assign(chip, &args);
}

long eventfd_ioctl(struct irqchip *chip, unsigned long request, unsigned long argument)
{
	switch (request) {
	case KVM_IRQFD:
		return irqfd_ioctl(chip, argument);
	case KVM_IOEVENTFD:
		return ioeventfd_ioctl(chip, argument);
	default:
		return -ENOTTY;
	}
}
