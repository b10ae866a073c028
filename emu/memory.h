/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest-physical memory of one VM: the slot table, the host blocks ("regions") behind the slots, and
 * the memory types that were declared.
 *
 * Threads: every function needs the VM's run lock, so that a table never changes under a running
 * vCPU, except memory_host_range_gone() and memory_host_range_back(), which any thread and any
 * signal handler may call. They take no lock, allocate nothing and never wait.
 *
 * Host memory is touched by plain accesses: where the monitor took it away without telling
 * (memory_host_range_gone()), they end in SIGSEGV or SIGBUS. No function here holds a lock then, so a
 * handler may leave by siglongjmp().
 */
#ifndef BUSLOCK_EMU_MEMORY_H
#define BUSLOCK_EMU_MEMORY_H

#include "emu/cpu.h"

/*
 * Regions are a list, so there are never many: neighbours are joined before. Unused ones are kept because monitors delete a slot to add parts of it again (QEMU does at
 * each change of a PAM register), and the translated code should survive that.
 */
#define MEMORY_MAX_REGIONS  512
#define MEMORY_KEEP_REGIONS 64

struct memory_type_range {
	uint64_t gpa, size;
	unsigned type;
};

struct page_intercept {
	uint64_t gpa;
	enum emu_page_intercept what;
};

struct memory {
	/* Set by the owner after memory_init(); may be NULL (no engine). */
	void *engine;
	void (*engine_drop_page)(void *engine, const void *host_page);

	/*
	 * Moves whenever translations that somebody holds (engine TLB, access cache) may be wrong:
	 * slots, flags or types changed, a dirty log was cleared, host memory went or came back.
	 */
	_Atomic uint64_t generation;

	struct slot *last;    /* last hit of memory_find() */
	struct slot **by_gpa; /* both sorted, `count` long */
	struct slot **by_number;
	size_t count, capacity;

	struct region *regions;   /* sorted by host address; __atomic accesses */
	struct region *dropped;   /* unlinked, freed when no reader is left */
	_Atomic unsigned readers; /* memory_host_range_*() under way */
	_Atomic uint64_t layout;  /* moves when `regions` changes */
	size_t region_count;
	uint64_t releases; /* clock for "least recently used" */

	struct memory_type_range *types;
	size_t type_count;
	enum emu_vendor vendor; /* these three are emu_config's */
	enum emu_memory_policy policy;
	bool cd_is_uc;

	struct page_intercept *intercepts;
	size_t intercept_count;
	bool apic_write_open; /* one instruction may access EMU_PAGE_APIC_WRITE as memory */
};

/* The memory of a VM and its configuration (vm.c). */
struct memory *vm_memory(struct emu_vm *vm);
unsigned vm_physical_bits(struct emu_vm *vm);

void memory_init(struct memory *m);
/* Frees what it holds; does not call the engine, which its owner destroys as a whole. */
void memory_destroy(struct memory *m);

/* As emu_vm_map() and the others (emu.h). On failure nothing has changed. */
int memory_map(struct memory *m, unsigned number, uint64_t gpa, uint64_t size, void *host,
	       unsigned flags);
int memory_unmap(struct memory *m, unsigned number);
int memory_set_flags(struct memory *m, unsigned number, unsigned flags);
int memory_dirty_log(struct memory *m, unsigned number, uint64_t *bitmap, bool clear);
int memory_dirty_clear(struct memory *m, unsigned number, uint64_t first, uint64_t count,
		       const uint64_t *bitmap);
void memory_host_range_gone(struct memory *m, const void *host, size_t size);
void memory_host_range_back(struct memory *m, const void *host, size_t size);

/*
 * Copies as the monitor's own kernel would: all of it or nothing. -EFAULT where there is no slot,
 * its host memory is gone, or, for a write, it is read-only. Written pages enter the dirty log and
 * lose their translated code.
 */
int memory_read(struct memory *m, uint64_t gpa, void *data, size_t size);
int memory_write(struct memory *m, uint64_t gpa, const void *data, size_t size);

/* intercept.c: what leaves at the page of gpa; as emu_vm_intercept_page(). */
enum emu_page_intercept memory_intercept(const struct memory *m, uint64_t gpa);
int memory_set_intercept(struct memory *m, uint64_t gpa, enum emu_page_intercept what);

struct slot *memory_slot(struct memory *m, unsigned number);
struct slot *memory_search(struct memory *m, uint64_t gpa);
/* The slot that holds gpa, NULL if none. */
static inline const struct slot *memory_find(struct memory *m, uint64_t gpa)
{
	const struct slot *s = m->last;

	return s && gpa - s->gpa < s->size ? s : memory_search(m, gpa);
}

/* The host page loses its translated code, its copy and PAGE_CODE. */
void memory_drop_code(struct memory *m, struct region *r, uint64_t page);

/* Page flags change from several threads (PAGE_GONE): always through these. */
static inline void page_flags_set(uint8_t *page, unsigned flags)
{
	__atomic_fetch_or(page, (uint8_t)flags, __ATOMIC_SEQ_CST);
}
static inline void page_flags_clear(uint8_t *page, unsigned flags)
{
	__atomic_fetch_and(page, (uint8_t)~flags, __ATOMIC_SEQ_CST);
}
static inline unsigned page_flags_get(const uint8_t *page)
{
	return __atomic_load_n(page, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------------ memory types */

/*
 * [gpa, gpa+size) has second-level type `type` (EMU_MT_UC, WC, WT, WP or WB) with the guest's PAT in
 * force; the latest declaration wins where they overlap. Page aligned. -EINVAL; -ENOMEM.
 */
int memory_declare_type(struct memory *m, uint64_t gpa, uint64_t size, unsigned type);
void memory_set_policy(struct memory *m, enum emu_memory_policy policy, bool cd_is_uc);

/* The type of an access through an entry with PAT index `pat_index`. */
struct memory_types {
	uint8_t effective; /* what silicon makes of it (memtype.h) */
	uint8_t guest;     /* what the guest believes: its own PAT, and MTRRs if it enabled them */
};
struct memory_types memory_types(const struct emu_vcpu *v, uint64_t gpa, unsigned pat_index);

/* Of an access that lies in both places: what is not WB, the first such one. */
static inline struct memory_types memory_types_both(struct memory_types a, struct memory_types b)
{
	return (struct memory_types){ a.effective == EMU_MT_WB ? b.effective : a.effective,
				      a.guest == EMU_MT_WB ? b.guest : a.guest };
}

/* Nothing can be other than WB: nobody need ask. */
static inline bool memory_is_wb(const struct memory *m)
{
	return m->policy == EMU_MEMORY_WB_IGNORE_PAT && !m->type_count;
}

#endif
