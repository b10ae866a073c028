// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes that nobody has to answer at once: they wait in a ring that the monitor reads at its next
 * exit (KVM api.rst 4.116, virt/kvm/coalesced_mmio.c). One ring per VM, in the third page of every
 * vCPU's mapping; here it is that of the first vCPU, and interpose_memory.c lets the others have it.
 */
#include "vmm_shim/irqchip/chips.h"
#include "vmm_shim/raw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* KVM_COALESCED_MMIO_MAX, with 4096 for PAGE_SIZE */
#define RING_ENTRIES \
	((PAGE_SIZE - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

struct zone {
	struct zone *next;
	struct kvm_coalesced_mmio_zone range;
};

struct kvm_coalesced_mmio_ring *coalesced_ring(const struct shim_vm *vm)
{
	const struct shim_vcpu *first = vm->vcpu[0];

	return first ? (void *)((char *)first->run + ABI_COALESCED_PAGE_OFFSET * PAGE_SIZE) : NULL;
}

/* A second mapping of the same pages needs no descriptor: mremap(2), "old_size is zero". */
void shim_mapped(struct shim_file *file, void *address, size_t size, uint64_t offset,
		 int protection)
{
	const uint64_t ring_offset = ABI_COALESCED_PAGE_OFFSET * PAGE_SIZE;
	char *at = (char *)address + (ring_offset - offset);
	const struct shim_vcpu *vcpu;

	if (file->kind != SHIM_VCPU || !file_is_ours(file) || offset > ring_offset ||
	    offset + size < ring_offset + PAGE_SIZE)
		return;
	vcpu = (const struct shim_vcpu *)(const void *)file;
	if (vcpu == vcpu->vm->vcpu[0])
		return;
	raw_syscall(SYS_mremap, coalesced_ring(vcpu->vm), 0, PAGE_SIZE,
		    MREMAP_MAYMOVE | MREMAP_FIXED, at);
	if (protection != (PROT_READ | PROT_WRITE))
		raw_syscall(SYS_mprotect, at, PAGE_SIZE, protection);
}

static bool contains(const struct zone *zone, uint64_t address, uint64_t size)
{
	return address + size >= address && address >= zone->range.addr &&
	       address + size <= zone->range.addr + zone->range.size;
}

/* A full ring, or one whose `last` the monitor has spoilt: then the write is an exit of its own. */
static bool zone_access(struct irqchip *chip, void *opaque, uint64_t address, unsigned size,
			bool write, void *data)
{
	struct kvm_coalesced_mmio_ring *ring = coalesced_ring(chip->vm);
	const struct zone *zone = opaque;
	struct kvm_coalesced_mmio *entry;
	uint32_t insert, next;

	if (!write || !ring || size > sizeof(entry->data) || !contains(zone, address, size))
		return false;
	insert = __atomic_load_n(&ring->last, __ATOMIC_RELAXED);
	next = (insert + 1) % RING_ENTRIES;
	if (insert >= RING_ENTRIES || next == __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE))
		return false;
	entry = &ring->coalesced_mmio[insert];
	entry->phys_addr = address;
	entry->len = size;
	entry->pio = zone->range.pio;
	memcpy(entry->data, data, size);
	__atomic_store_n(&ring->last, next, __ATOMIC_RELEASE);
	return true;
}

static long add(struct irqchip *chip, const struct kvm_coalesced_mmio_zone *range)
{
	struct zone *zone = calloc(1, sizeof(*zone));
	const struct bus_device device = { range->addr, range->size, zone_access, zone, false };
	int r;

	if (!zone)
		return -ENOMEM;
	zone->range = *range;
	lock_take(&chip->lock);
	r = bus_add(chip, range->pio, &device);
	if (!r) {
		zone->next = chip->zones;
		chip->zones = zone;
	}
	lock_drop(&chip->lock);
	if (r)
		free(zone);
	return r;
}

/* All zones that contain the range go; that there were none is no error. */
static long del(struct irqchip *chip, const struct kvm_coalesced_mmio_zone *range)
{
	struct zone **at = &chip->zones;

	lock_take(&chip->lock);
	while (*at) {
		struct zone *zone = *at;

		if (zone->range.pio != range->pio || !contains(zone, range->addr, range->size)) {
			at = &zone->next;
			continue;
		}
		bus_remove(chip, range->pio, zone);
		*at = zone->next;
		free(zone);
	}
	lock_drop(&chip->lock);
	return 0;
}

long coalesced_ioctl(struct irqchip *chip, unsigned long request, unsigned long argument)
{
	struct kvm_coalesced_mmio_zone range;

	if (request != KVM_REGISTER_COALESCED_MMIO && request != KVM_UNREGISTER_COALESCED_MMIO)
		return -ENOTTY;
	if (user_read(&range, argument, sizeof(range)))
		return -EFAULT;
	if (range.pio > 1)
		return -EINVAL;
	return request == KVM_REGISTER_COALESCED_MMIO ? add(chip, &range) : del(chip, &range);
}

void coalesced_free(struct irqchip *chip)
{
	while (chip->zones) {
		struct zone *zone = chip->zones;

		chip->zones = zone->next;
		free(zone);
	}
}
