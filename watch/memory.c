// SPDX-License-Identifier: GPL-2.0-only
/* Guest-physical memory: the monitor's own, where it has said that it is. */
#include "watch/internal.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static void lock(struct watch_vm *vm)
{
	while (atomic_exchange_explicit(&vm->slots_lock, 1, memory_order_acquire))
		syscall(SYS_sched_yield);
}

static void unlock(struct watch_vm *vm)
{
	atomic_store_explicit(&vm->slots_lock, 0, memory_order_release);
}

/* The slot's place, or a free one (size 0); NULL: there is none. */
static struct watch_slot *place(struct watch_vm *vm, uint32_t id)
{
	struct watch_slot *free = NULL;

	for (unsigned i = 0; i < vm->slots; i++) {
		if (vm->slot[i].size && vm->slot[i].id == id)
			return &vm->slot[i];
		if (!vm->slot[i].size && !free)
			free = &vm->slot[i];
	}
	if (!free && vm->slots < WATCH_SLOTS)
		free = &vm->slot[vm->slots++];
	return free;
}

/* api.rst 4.35. Bits 16 and up of the id are another address space, System Management Mode's. */
void watch_memory_changed(struct watch_vm *vm, const struct watch_slot *slot)
{
	struct watch_slot *old;

	if (slot->id >> 16)
		return;
	lock(vm);
	old = place(vm, slot->id);
	if (old)
		*old = *slot;
	unlock(vm);
	if (!old)
		trace_note_not_covered(watch.trace, vm->number, TRACE_NO_VCPU, NULL,
				       "too many memory slots: code and data of one are not seen");
}

/* Bytes from `gpa` to the end of its slot, at `*host`; 0: in none. */
static uint64_t find(struct watch_vm *vm, uint64_t gpa, uint64_t *host)
{
	uint64_t room = 0;

	lock(vm);
	for (unsigned i = 0; i < vm->slots && !room; i++) {
		const struct watch_slot *slot = &vm->slot[i];

		if (gpa - slot->gpa >= slot->size)
			continue;
		*host = slot->host + (gpa - slot->gpa);
		room = slot->size - (gpa - slot->gpa);
	}
	unlock(vm);
	return room;
}

/* The monitor may have unmapped it: the kernel copies, and says so. */
static int copy(long call, struct watch_vm *vm, uint64_t gpa, void *data, size_t size)
{
	while (size) {
		uint64_t host, room = find(vm, gpa, &host);
		size_t n = size < room ? size : (size_t)room;
		struct iovec here = { data, n }, there = { (void *)host, n };

		if (!room)
			return -ENOENT;
		if (syscall(call, syscall(SYS_getpid), &here, 1ul, &there, 1ul, 0ul) != (long)n)
			return -EFAULT;
		gpa += n;
		data = (char *)data + n;
		size -= n;
	}
	return 0;
}

int watch_memory_read(struct watch_vm *vm, uint64_t gpa, void *data, size_t size)
{
	return copy(SYS_process_vm_readv, vm, gpa, data, size);
}

int watch_memory_write(struct watch_vm *vm, uint64_t gpa, const void *data, size_t size)
{
	return copy(SYS_process_vm_writev, vm, gpa, (void *)(uintptr_t)data, size);
}
