// SPDX-License-Identifier: GPL-2.0-only
/* Memory slots: KVM_SET_USER_MEMORY_REGION(2) and the dirty log (KVM api.rst 4.35, 4.8, 4.117). */
#include "vmm_shim/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USER_TOP 0x7ffffffff000ull /* TASK_SIZE with 47-bit addresses: access_ok() */

static struct memory_slot *slot_find(const struct shim_vm *vm, uint32_t id)
{
	return id < vm->slots_room && vm->slot[id].size ? &vm->slot[id] : NULL;
}

/* How many slots begin below gpa. */
static size_t slots_below(const struct shim_vm *vm, uint64_t gpa)
{
	size_t low = 0, high = vm->slots;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (vm->slot[vm->slot_order[middle]].gpa < gpa)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool overlaps(const struct shim_vm *vm, const struct abi_memory_region2 *region)
{
	/* They are disjoint: of those that begin below the end, the last ends last. */
	for (size_t i = slots_below(vm, region->guest_phys_addr + region->memory_size); i--;) {
		const struct memory_slot *slot = &vm->slot[vm->slot_order[i]];

		if (slot->id != region->slot)
			return slot->gpa + slot->size > region->guest_phys_addr;
	}
	return false;
}

/* In the order of kvm_vm_ioctl_set_memory_region() and __kvm_set_memory_region(). */
int memory_check(const struct shim_vm *vm, const struct abi_memory_region2 *region,
		 enum memory_change *change)
{
	const struct memory_slot *old;
	uint64_t last_gfn;

	if ((region->slot & 0xffff) >= ABI_USER_MEM_SLOTS)
		return -EINVAL;
	if (region->flags & ~(uint32_t)(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY))
		return -EINVAL;
	if (region->memory_size & (PAGE_SIZE - 1) || region->guest_phys_addr & (PAGE_SIZE - 1) ||
	    region->userspace_addr & (PAGE_SIZE - 1))
		return -EINVAL;
	if (region->userspace_addr > USER_TOP ||
	    region->memory_size > USER_TOP - region->userspace_addr)
		return -EINVAL;
	if (region->slot >> 16) /* address space 1 would be SMM's */
		return -EINVAL;
	if (region->guest_phys_addr + region->memory_size < region->guest_phys_addr)
		return -EINVAL;
	if (region->memory_size / PAGE_SIZE > ABI_MEM_MAX_NR_PAGES)
		return -EINVAL;

	old = slot_find(vm, region->slot);
	if (!region->memory_size) {
		*change = MEMORY_DELETE;
		return old ? 0 : -EINVAL;
	}
	if (!old) {
		*change = MEMORY_CREATE;
	} else {
		if (region->userspace_addr != old->host || region->memory_size != old->size ||
		    (region->flags ^ old->flags) & KVM_MEM_READONLY)
			return -EINVAL;
		if (region->guest_phys_addr != old->gpa)
			*change = MEMORY_MOVE;
		else
			*change = region->flags != old->flags ? MEMORY_FLAGS : MEMORY_NOTHING;
	}
	if (*change != MEMORY_CREATE && *change != MEMORY_MOVE)
		return 0;
	if (overlaps(vm, region))
		return -EEXIST;
	/* kvm_arch_prepare_memory_region(): beyond the physical address width */
	last_gfn = (region->guest_phys_addr + region->memory_size) / PAGE_SIZE - 1;
	if (last_gfn >> (cpuid_physical_bits() - 12))
		return -EINVAL;
	return 0;
}

/*
 * A log that begins: virt/kvm/kvm_main.c, kvm_prepare_memory_region() and
 * kvm_dirty_log_manual_protect_and_init_set(). The second flag is accepted with the first only.
 */
static unsigned backend_flags(const struct shim_vm *vm, uint32_t flags)
{
	bool set = vm->manual_dirty_log & KVM_DIRTY_LOG_INITIALLY_SET;

	return (flags & KVM_MEM_READONLY ? EMU_MEM_READONLY : 0u) |
	       (flags & KVM_MEM_LOG_DIRTY_PAGES ? EMU_MEM_LOG_DIRTY : 0u) |
	       (set ? EMU_MEM_LOG_SET : 0u);
}

/* Between `from` and `to` nothing is mapped. */
static void tell_gap(struct shim_vm *vm, uint64_t from, uint64_t to)
{
	if (from < to)
		vm->ops->host_range_gone(vm->emu, (void *)(uintptr_t)from, to - from);
}

/*
 * Linux accepts an address without memory behind it, and a run that touches it ends in EFAULT. Where
 * the gaps are is looked up only if there are any. Without /proc a guest finds them by faulting.
 */
static void tell_gaps(struct shim_vm *vm, uint64_t host, uint64_t size)
{
	FILE *maps = range_mapped(host, size) ? NULL : fopen("/proc/self/maps", "re");
	unsigned long from, to;
	uint64_t at = host, end = host + size;
	char line[512];

	if (!maps)
		return;
	while (at < end && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) != 2 || to <= at)
			continue; /* the rest of a long path, or below */
		tell_gap(vm, at, from < end ? from : end);
		at = to;
	}
	tell_gap(vm, at, end);
	fclose(maps);
}

static void update_hull(struct shim_vm *vm, const struct memory_slot *slot)
{
	if (slot->host < atomic_load(&vm->host_low))
		atomic_store(&vm->host_low, slot->host);
	if (slot->host + slot->size > atomic_load(&vm->host_high))
		atomic_store(&vm->host_high, slot->host + slot->size);
}

static int slots_reserve(struct shim_vm *vm, uint32_t id)
{
	size_t room = vm->slots_room ? vm->slots_room : 16;
	struct memory_slot *slot;
	uint16_t *order;

	if (id < vm->slots_room)
		return 0;
	while (room <= id)
		room *= 2;
	order = realloc(vm->slot_order, room * sizeof(*order));
	if (!order)
		return -ENOMEM;
	vm->slot_order = order;
	slot = realloc(vm->slot, room * sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	memset(slot + vm->slots_room, 0, (room - vm->slots_room) * sizeof(*slot));
	vm->slot = slot;
	vm->slots_room = room;
	return 0;
}

static void slot_remove(struct shim_vm *vm, struct memory_slot *slot)
{
	size_t at = slots_below(vm, slot->gpa);
	uint16_t *order = vm->slot_order;

	vm->slots--;
	memmove(order + at, order + at + 1, (vm->slots - at) * sizeof(*order));
	slot->size = 0;
}

static void slot_add(struct shim_vm *vm, const struct memory_slot *slot)
{
	size_t at = slots_below(vm, slot->gpa);
	uint16_t *order = vm->slot_order;

	memmove(order + at + 1, order + at, (vm->slots - at) * sizeof(*order));
	order[at] = (uint16_t)slot->id;
	vm->slot[slot->id] = *slot;
	vm->slots++;
}

static int create_or_move(struct shim_vm *vm, const struct memory_slot *new, bool create)
{
	int r = slots_reserve(vm, new->id);

	if (r)
		return r;
	r = vm->ops->map(vm->emu, new->id, new->gpa, new->size, (void *)(uintptr_t) new->host,
			 backend_flags(vm, new->flags));
	if (r)
		return r;
	if (!create)
		slot_remove(vm, slot_find(vm, new->id));
	slot_add(vm, new);
	update_hull(vm, new);
	tell_gaps(vm, new->host, new->size);
	return 0;
}

static int change_slots(struct shim_vm *vm, const struct abi_memory_region2 *region)
{
	const struct memory_slot new = { region->slot, region->flags, region->guest_phys_addr,
					 region->memory_size, region->userspace_addr };
	enum memory_change change = MEMORY_NOTHING;
	int r = memory_check(vm, region, &change);

	if (r)
		return r;
	switch (change) {
	case MEMORY_CREATE:
	case MEMORY_MOVE:
		return create_or_move(vm, &new, change == MEMORY_CREATE);
	case MEMORY_FLAGS:
		r = vm->ops->set_flags(vm->emu, new.id, backend_flags(vm, new.flags));
		if (!r)
			slot_find(vm, new.id)->flags = new.flags;
		return r;
	case MEMORY_DELETE:
		r = vm->ops->unmap(vm->emu, new.id);
		if (!r)
			slot_remove(vm, slot_find(vm, new.id));
		return r;
	case MEMORY_NOTHING:
		break;
	}
	return 0;
}

static long set_region(struct shim_vm *vm, unsigned long request, unsigned long argument)
{
	struct abi_memory_region2 region = { 0 };
	bool second = request == ABI_SET_USER_MEMORY_REGION2;
	long r;

	r = user_read(&region, argument,
		      second ? sizeof(region) : sizeof(struct kvm_userspace_memory_region));
	if (r)
		return r;
	lock_take(&vm->slots_lock);
	r = change_slots(vm, &region);
	if (!r) /* kvm_arch_flush_shadow_memslot() */
		vm->stats.value[STAT_REMOTE_TLB_FLUSH]++;
	lock_drop(&vm->slots_lock);
	return r;
}

static int log_check(const struct shim_vm *vm, uint32_t slot, const struct memory_slot **found)
{
	if (slot >> 16 || (slot & 0xffff) >= ABI_USER_MEM_SLOTS)
		return -EINVAL;
	*found = slot_find(vm, slot);
	return *found && (*found)->flags & KVM_MEM_LOG_DIRTY_PAGES ? 0 : -ENOENT;
}

static size_t bitmap_bytes(uint64_t pages)
{
	return (size_t)((pages + 63) / 64 * 8);
}

static long get_dirty_log(struct shim_vm *vm, unsigned long argument)
{
	const struct memory_slot *slot;
	struct kvm_dirty_log log;
	uint64_t *bitmap;
	size_t bytes;
	long r = user_read(&log, argument, sizeof(log));

	if (r)
		return r;
	lock_take(&vm->slots_lock);
	r = log_check(vm, log.slot, &slot);
	if (r)
		goto out;
	bytes = bitmap_bytes(slot->size / PAGE_SIZE);
	bitmap = calloc(1, bytes);
	r = -ENOMEM;
	if (!bitmap)
		goto out;
	/* With manual protection the bits stay until KVM_CLEAR_DIRTY_LOG. */
	r = vm->ops->dirty_log(vm->emu, log.slot, bitmap,
			       !(vm->manual_dirty_log & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE));
	if (!r)
		r = user_write((uintptr_t)log.dirty_bitmap, bitmap, bytes);
	free(bitmap);
out:
	lock_drop(&vm->slots_lock);
	return r;
}

static long clear_dirty_log(struct shim_vm *vm, unsigned long argument)
{
	const struct memory_slot *slot;
	struct kvm_clear_dirty_log log;
	uint64_t *bitmap, pages;
	long r = user_read(&log, argument, sizeof(log));

	if (r)
		return r;
	lock_take(&vm->slots_lock);
	if (log.slot >> 16 || (log.slot & 0xffff) >= ABI_USER_MEM_SLOTS || log.first_page & 63) {
		r = -EINVAL;
		goto out;
	}
	r = log_check(vm, log.slot, &slot);
	if (r)
		goto out;
	pages = slot->size / PAGE_SIZE;
	r = -EINVAL;
	if (log.first_page > pages || log.num_pages > pages - log.first_page ||
	    (log.num_pages < pages - log.first_page && log.num_pages & 63))
		goto out;
	bitmap = calloc(1, bitmap_bytes(log.num_pages) + 8);
	r = -ENOMEM;
	if (!bitmap)
		goto out;
	r = user_read(bitmap, (uintptr_t)log.dirty_bitmap, bitmap_bytes(log.num_pages));
	if (!r)
		r = vm->ops->dirty_clear(vm->emu, log.slot, log.first_page, log.num_pages, bitmap);
	free(bitmap);
out:
	lock_drop(&vm->slots_lock);
	return r;
}

long memory_ioctl(struct shim_vm *vm, unsigned long request, unsigned long argument)
{
	switch (request) {
	case KVM_GET_DIRTY_LOG:
		return get_dirty_log(vm, argument);
	case KVM_CLEAR_DIRTY_LOG:
		return clear_dirty_log(vm, argument);
	default:
		return set_region(vm, request, argument);
	}
}

void memory_free(struct shim_vm *vm)
{
	free(vm->slot);
	free(vm->slot_order);
}

/* ------------------------------------------------------------------ the kernel's own accesses */

/* kvm_gfn_to_hva_cache_init(): where the monitor has that piece of guest memory. */
int memory_host(struct shim_vm *vm, uint64_t gpa, uint64_t size, uint64_t *host)
{
	int r = -EFAULT;

	lock_take(&vm->slots_lock);
	for (size_t i = 0; i < vm->slots; i++) {
		const struct memory_slot *slot = &vm->slot[i];

		if (gpa < slot->gpa || gpa - slot->gpa >= slot->size ||
		    size > slot->size - (gpa - slot->gpa))
			continue;
		*host = slot->host + (gpa - slot->gpa);
		r = 0;
		break;
	}
	lock_drop(&vm->slots_lock);
	return r;
}
