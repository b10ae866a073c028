// SPDX-License-Identifier: GPL-2.0-only
/*
 * The slot table of a VM: which host memory each guest-physical range is, its dirty log, and copies
 * by the monitor. What is known of the host memory itself is in region.c.
 */
#include "emu/region.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DIRTY_WORDS(size) ((PAGES(size) + 63) / 64)

/* ------------------------------------------------------------------ the slot table */

/* How many slots begin at or below gpa. */
static size_t count_upto_gpa(const struct memory *m, uint64_t gpa)
{
	size_t low = 0, high = m->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (m->by_gpa[middle]->gpa <= gpa)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* How many slots have a smaller number. */
static size_t count_below_number(const struct memory *m, unsigned number)
{
	size_t low = 0, high = m->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (m->by_number[middle]->number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct slot *memory_search(struct memory *m, uint64_t gpa)
{
	size_t i = count_upto_gpa(m, gpa);
	struct slot *s;

	if (!i)
		return NULL;
	s = m->by_gpa[i - 1];
	if (gpa - s->gpa >= s->size)
		return NULL;
	m->last = s;
	return s;
}

const struct slot *slot_find(struct emu_vm *vm, uint64_t gpa)
{
	struct memory *m = vm_memory(vm);

	if (m->intercept_count && memory_intercept(m, gpa) != EMU_PAGE_ORDINARY)
		return NULL;
	return memory_find(m, gpa);
}

struct slot *memory_slot(struct memory *m, unsigned number)
{
	size_t i = count_below_number(m, number);

	return i < m->count && m->by_number[i]->number == number ? m->by_number[i] : NULL;
}

static bool table_overlaps(const struct memory *m, uint64_t gpa, uint64_t size,
			   const struct slot *except)
{
	/* slots are disjoint: of those that begin before our end, the last one ends last */
	for (size_t i = count_upto_gpa(m, gpa + (size - 1)); i--;) {
		const struct slot *s = m->by_gpa[i];

		if (s != except)
			return s->gpa + (s->size - 1) >= gpa;
	}
	return false;
}

static int table_reserve(struct memory *m)
{
	size_t capacity = m->capacity ? m->capacity * 2 : 32;
	struct slot **table;

	if (m->count < m->capacity)
		return 0;
	table = realloc(m->by_gpa, capacity * sizeof(*table));
	if (!table)
		return -ENOMEM;
	m->by_gpa = table;
	table = realloc(m->by_number, capacity * sizeof(*table));
	if (!table)
		return -ENOMEM;
	m->by_number = table;
	m->capacity = capacity;
	return 0;
}

static void table_insert(struct slot **table, size_t count, size_t at, struct slot *s)
{
	memmove(table + at + 1, table + at, (count - at) * sizeof(*table));
	table[at] = s;
}

static void table_remove(struct slot **table, size_t count, size_t at)
{
	memmove(table + at, table + at + 1, (count - at - 1) * sizeof(*table));
}

static void slot_add(struct memory *m, struct slot *s)
{
	table_insert(m->by_gpa, m->count, count_upto_gpa(m, s->gpa), s);
	table_insert(m->by_number, m->count, count_below_number(m, s->number), s);
	m->count++;
	region_use(s->region);
}

static void slot_free(struct slot *s)
{
	if (s)
		free((void *)s->dirty);
	free(s);
}

static void slot_remove(struct memory *m, struct slot *s)
{
	table_remove(m->by_gpa, m->count, count_upto_gpa(m, s->gpa) - 1);
	table_remove(m->by_number, m->count, count_below_number(m, s->number));
	m->count--;
	if (m->last == s)
		m->last = NULL;
	region_release(m, s->region);
	slot_free(s);
}

static int slot_log_dirty(struct slot *s, unsigned flags)
{
	uint64_t pages = s->size / 4096;

	if (!(flags & EMU_MEM_LOG_DIRTY)) {
		free((void *)s->dirty);
		s->dirty = NULL;
	} else if (!s->dirty) {
		s->dirty = calloc(DIRTY_WORDS(s->size), sizeof(*s->dirty));
		if (!s->dirty)
			return -ENOMEM;
		for (uint64_t page = 0; flags & EMU_MEM_LOG_SET && page < pages; page++)
			s->dirty[page / 64] |= 1ull << page % 64;
	}
	return 0;
}

static struct slot *slot_new(unsigned number, uint64_t gpa, uint64_t size, void *host,
			     unsigned flags)
{
	struct slot *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->number = number;
	s->flags = flags & ~(unsigned)EMU_MEM_LOG_SET;
	s->gpa = gpa;
	s->size = size;
	s->host = host;
	if (slot_log_dirty(s, flags)) {
		slot_free(s);
		return NULL;
	}
	return s;
}

static bool flags_are_valid(unsigned flags)
{
	return !(flags & ~(unsigned)(EMU_MEM_READONLY | EMU_MEM_LOG_DIRTY | EMU_MEM_LOG_SET));
}

int memory_map(struct memory *m, unsigned number, uint64_t gpa, uint64_t size, void *host,
	       unsigned flags)
{
	struct slot *old = memory_slot(m, number), *s;
	uint8_t *end = (uint8_t *)((uintptr_t)host + size);
	int ret;

	if (!size || !host || (gpa | size | (uintptr_t)host) & ~PAGE_MASK)
		return -EINVAL;
	if (gpa + (size - 1) < gpa || (uintptr_t)end <= (uintptr_t)host || !flags_are_valid(flags))
		return -EINVAL;
	if (table_overlaps(m, gpa, size, old))
		return -EEXIST;
	s = slot_new(number, gpa, size, host, flags);
	if (!s || table_reserve(m)) {
		slot_free(s);
		return -ENOMEM;
	}
	ret = region_get(m, host, end, &s->region);
	if (ret) {
		slot_free(s);
		return ret;
	}
	/* whoever shows memory to a guest says that it is there */
	region_mark(s->region, host, end, false);
	if (old)
		slot_remove(m, old);
	slot_add(m, s);
	regions_collect(m);
	memory_changed(m);
	return 0;
}

int memory_unmap(struct memory *m, unsigned number)
{
	struct slot *s = memory_slot(m, number);

	if (!s)
		return -ENOENT;
	slot_remove(m, s);
	regions_collect(m);
	memory_changed(m);
	return 0;
}

int memory_set_flags(struct memory *m, unsigned number, unsigned flags)
{
	struct slot *s = memory_slot(m, number);
	int ret;

	if (!s)
		return -ENOENT;
	if (!flags_are_valid(flags))
		return -EINVAL;
	ret = slot_log_dirty(s, flags);
	if (ret)
		return ret;
	s->flags = flags & ~(unsigned)EMU_MEM_LOG_SET;
	memory_changed(m);
	return 0;
}

void memory_init(struct memory *m)
{
	memset(m, 0, sizeof(*m));
}

void memory_destroy(struct memory *m)
{
	for (size_t i = 0; i < m->count; i++)
		slot_free(m->by_gpa[i]);
	free(m->by_gpa);
	free(m->by_number);
	regions_free(m);
	free(m->types);
	free(m->intercepts);
	memset(m, 0, sizeof(*m));
}

/* ------------------------------------------------------------------ dirty log */

void slot_mark_dirty(const struct slot *s, uint64_t gpa)
{
	uint64_t page = PAGES(gpa - s->gpa), bit = 1ull << page % 64;

	if (!s->dirty)
		return;
	/* mostly set already: a load is cheaper than a locked OR */
	if (!(atomic_load_explicit(&s->dirty[page / 64], memory_order_relaxed) & bit))
		atomic_fetch_or(&s->dirty[page / 64], bit);
}

int memory_dirty_log(struct memory *m, unsigned number, uint64_t *bitmap, bool clear)
{
	struct slot *s = memory_slot(m, number);

	if (!s || !s->dirty)
		return -ENOENT;
	for (uint64_t i = 0; i < DIRTY_WORDS(s->size); i++) {
		uint64_t word = atomic_load(&s->dirty[i]);

		/* a locked exchange only where there is something: most of a log is zero */
		bitmap[i] = clear && word ? atomic_exchange(&s->dirty[i], 0) : word;
	}
	if (clear)
		memory_changed(m); /* writable ones by-pass the log */
	return 0;
}

int memory_dirty_clear(struct memory *m, unsigned number, uint64_t first, uint64_t count,
		       const uint64_t *bitmap)
{
	struct slot *s = memory_slot(m, number);

	if (!s || !s->dirty)
		return -ENOENT;
	if (first > PAGES(s->size) || count > PAGES(s->size) - first)
		return -EINVAL;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t page = first + i;

		if (i % 64 == 0 && !bitmap[i / 64])
			i += 63;
		else if (bitmap[i / 64] >> i % 64 & 1)
			atomic_fetch_and(&s->dirty[page / 64], ~(1ull << page % 64));
	}
	memory_changed(m);
	return 0;
}

/* ------------------------------------------------------------------ copies by the monitor */

/* Host address of gpa and how many bytes of `size` follow in its page; NULL: not accessible. */
static uint8_t *copy_range(struct memory *m, uint64_t gpa, size_t size, bool write, size_t *n,
			   const struct slot **slot)
{
	const struct slot *s = memory_find(m, gpa);
	uint64_t rest = PAGE_SIZE - gpa % PAGE_SIZE;

	if (!s || (write && s->flags & EMU_MEM_READONLY))
		return NULL;
	if (page_flags_get(slot_page_flags(s, gpa)) & PAGE_GONE)
		return NULL;
	*n = size < rest ? size : (size_t)rest;
	*slot = s;
	return slot_host(s, gpa);
}

static bool copy_possible(struct memory *m, uint64_t gpa, size_t size, bool write)
{
	const struct slot *s;
	size_t n = 0;

	if (size && gpa + (size - 1) < gpa)
		return false;
	for (; size; gpa += n, size -= n) {
		if (!copy_range(m, gpa, size, write, &n, &s))
			return false;
	}
	return true;
}

int memory_read(struct memory *m, uint64_t gpa, void *data, size_t size)
{
	uint8_t *to = data;
	const struct slot *s;
	size_t n = 0;

	if (!copy_possible(m, gpa, size, false))
		return -EFAULT;
	for (; size; gpa += n, to += n, size -= n) {
		const uint8_t *host = copy_range(m, gpa, size, false, &n, &s);

		if (!host) /* it went meanwhile */
			return -EFAULT;
		memcpy(to, host, n);
	}
	return 0;
}

int memory_write(struct memory *m, uint64_t gpa, const void *data, size_t size)
{
	const uint8_t *from = data;
	const struct slot *s = NULL;
	size_t n = 0;

	if (!copy_possible(m, gpa, size, true))
		return -EFAULT;
	for (; size; gpa += n, from += n, size -= n) {
		uint8_t *host = copy_range(m, gpa, size, true, &n, &s);

		if (!host) /* it went meanwhile */
			return -EFAULT;
		if (page_flags_get(slot_page_flags(s, gpa)) & PAGE_CODE) {
			memory_drop_code(m, s->region, PAGES((uint64_t)(host - s->region->host)));
			memory_changed(m);
		}
		memcpy(host, from, n);
		slot_mark_dirty(s, gpa);
	}
	return 0;
}

/* ------------------------------------------------------------------ memory types */

/* Then a declaration of [gpa, gpa+size) leaves nothing of it: a list that only grew would have no end. */
static bool lies_within(const struct memory_type_range *r, uint64_t gpa, uint64_t size)
{
	return r->gpa >= gpa && r->gpa + (r->size - 1) <= gpa + (size - 1);
}

int memory_declare_type(struct memory *m, uint64_t gpa, uint64_t size, unsigned type)
{
	struct memory_type_range *types;
	size_t kept = 0;

	if (!memtype_is_mtrr_type(type) || !size || (gpa | size) & ~PAGE_MASK ||
	    gpa + size - 1 < gpa)
		return -EINVAL;
	types = realloc(m->types, (m->type_count + 1) * sizeof(*types));
	if (!types)
		return -ENOMEM;
	m->types = types;
	for (size_t i = 0; i < m->type_count; i++) {
		if (!lies_within(&types[i], gpa, size))
			types[kept++] = types[i];
	}
	types[kept] = (struct memory_type_range){ gpa, size, type };
	m->type_count = kept + 1;
	atomic_fetch_add(&m->generation, 1);
	return 0;
}

void memory_set_policy(struct memory *m, enum emu_memory_policy policy, bool cd_is_uc)
{
	m->policy = policy;
	m->cd_is_uc = cd_is_uc;
	atomic_fetch_add(&m->generation, 1);
}

struct memory_types memory_types(const struct emu_vcpu *v, uint64_t gpa, unsigned pat_index)
{
	const struct memory *m = vm_memory(v->vm);
	struct memtype_question q = {
		.vendor = m->vendor,
		.policy = m->policy,
		.cd_is_uc = m->cd_is_uc,
		.cd = v->cpu.cr0 & CR0_CD,
		.has_mtrr = v->has_mtrr,
		.physical_bits = vm_physical_bits(v->vm),
		.registers = &v->types,
		.gpa = gpa,
		.pat_index = pat_index,
	};
	struct memtype type;

	for (size_t i = m->type_count; i-- && !q.is_declared;) {
		q.is_declared = gpa - m->types[i].gpa < m->types[i].size;
		q.declared = m->types[i].type;
	}
	type = memtype_explain(&q);
	return (struct memory_types){ type.type, type.guest };
}
