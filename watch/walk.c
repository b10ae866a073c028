// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's page tables (SDM 4.3 to 4.5), read where they lie. Permissions are not looked at: whoever
 * may not read or write gets its fault from the processor, and takes no lock.
 */
#include "watch/internal.h"

#include <errno.h>

enum { CR0_PG_BIT = 31, CR4_PSE_BIT = 4, CR4_PAE_BIT = 5, CR4_LA57_BIT = 12, EFER_LMA_BIT = 10 };
#define ENTRY_PRESENT 1u
#define ENTRY_LARGE   0x80u

/* Paging modes as the SDM's table 4-1 has them: levels from the top, bits of each index. */
struct mode {
	unsigned levels, entry_size, bits;
	unsigned large;     /* levels (as a mask, 1 the lowest) that may map a large page */
	uint64_t root_mask; /* of CR3 */
};

static struct mode mode_of(const struct kvm_sregs *s)
{
	if (s->efer >> EFER_LMA_BIT & 1)
		return (struct mode){ s->cr4 >> CR4_LA57_BIT & 1 ? 5 : 4, 8, 9, 1 << 1 | 1 << 2,
				      0x000ffffffffff000 };
	if (s->cr4 >> CR4_PAE_BIT & 1)
		return (struct mode){ 3, 8, 9, 1 << 1, 0xffffffe0 };
	return (struct mode){ 2, 4, 10, s->cr4 >> CR4_PSE_BIT & 1 ? 1 << 1 : 0, 0xfffff000 };
}

static uint64_t large_base(const struct mode *mode, uint64_t entry, uint64_t size)
{
	/* PSE-36 (SDM table 4-4): bits 20:13 are 39:32 of the address */
	if (mode->entry_size == 4)
		return (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32;
	return entry & 0x000fffffffffffff & ~(size - 1);
}

static int through_tables(struct watch_vm *vm, const struct kvm_sregs *sregs, uint64_t linear,
			  struct watch_walk *out)
{
	const struct mode mode = mode_of(sregs);
	uint64_t table = sregs->cr3 & mode.root_mask, entry = 0;

	for (unsigned level = mode.levels; level--;) {
		unsigned shift = 12 + level * mode.bits;
		uint64_t index = linear >> shift & ((1u << mode.bits) - 1), size = 1ull << shift;

		entry = 0;
		if (watch_memory_read(vm, table + index * mode.entry_size, &entry, mode.entry_size))
			return -ENOENT;
		if (!(entry & ENTRY_PRESENT))
			return -ENOENT;
		out->large = mode.large >> level & 1 && entry & ENTRY_LARGE;
		if (out->large || !level) {
			out->entry = entry;
			out->gpa = (out->large ? large_base(&mode, entry, size)
					       : entry & 0x000ffffffffff000) |
				   (linear & (size - 1));
			return 0;
		}
		table = entry & 0x000ffffffffff000;
	}
	return -ENOENT;
}

int watch_walk(struct watch_vm *vm, const struct kvm_sregs *sregs, uint64_t linear,
	       struct watch_walk *out)
{
	*out = (struct watch_walk){ .gpa = linear, .paged = sregs->cr0 >> CR0_PG_BIT & 1 };
	return out->paged ? through_tables(vm, sregs, linear, out) : 0;
}

static int by_pages(struct watch_vm *vm, const struct kvm_sregs *sregs, uint64_t linear, void *data,
		    size_t size, int (*copy)(struct watch_vm *, uint64_t, void *, size_t))
{
	while (size) {
		size_t room = WATCH_PAGE - (linear & (WATCH_PAGE - 1)),
		       n = size < room ? size : room;
		struct watch_walk at;
		int error = watch_walk(vm, sregs, linear, &at);

		if (!error)
			error = copy(vm, at.gpa, data, n);
		if (error)
			return error;
		linear += n;
		data = (char *)data + n;
		size -= n;
	}
	return 0;
}

int watch_linear_read(struct watch_vm *vm, const struct kvm_sregs *sregs, uint64_t linear,
		      void *data, size_t size)
{
	return by_pages(vm, sregs, linear, data, size, watch_memory_read);
}

static int write_part(struct watch_vm *vm, uint64_t gpa, void *data, size_t size)
{
	return watch_memory_write(vm, gpa, data, size);
}

int watch_linear_write(struct watch_vm *vm, const struct kvm_sregs *sregs, uint64_t linear,
		       const void *data, size_t size)
{
	return by_pages(vm, sregs, linear, (void *)(uintptr_t)data, size, write_part);
}
