// SPDX-License-Identifier: GPL-2.0-only
/*
 * Regions: what is known of the host memory behind slots (translated code, taken away). They outlive
 * slots, are shared by slots that show the same memory, and never overlap: a page of host memory has
 * one set of flags.
 */
#include "emu/region.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What memory.c alone knows of a region; `region` is first. */
struct block {
	struct region region;
	unsigned users;    /* slots that lie in it */
	uint64_t released; /* when the last of them went (memory.releases) */
	bool stale;        /* all of it was taken away: not worth keeping */
	struct region *next_dropped;
};

static struct block *block_of(struct region *r)
{
	return (struct block *)r;
}

static uint8_t *region_end(const struct region *r)
{
	return r->host + r->size;
}

static bool region_overlaps(const struct region *r, const uint8_t *host, const uint8_t *end)
{
	return r->host < end && host < region_end(r);
}

/* ------------------------------------------------------------------ the list of regions */

/*
 * memory_host_range_gone() walks the list without a lock, from any thread or signal handler, while
 * the holder of the run lock changes it:
 *  - links are written whole, and an unlinked region stays readable until no reader is left;
 *  - a reader that sees `layout` move starts again: it may have marked a region whose flags had
 *    already been carried over into another one.
 */
static struct region *region_load(struct region *const *link)
{
	return __atomic_load_n(link, __ATOMIC_SEQ_CST);
}

static void region_store(struct memory *m, struct region **link, struct region *r)
{
	__atomic_store_n(link, r, __ATOMIC_SEQ_CST);
	atomic_fetch_add(&m->layout, 1);
}

static void region_link(struct memory *m, struct region *r)
{
	struct region **link = &m->regions;

	while (*link && (*link)->host < r->host)
		link = &(*link)->next;
	r->next = *link;
	region_store(m, link, r);
	m->region_count++;
}

/* The first that ends above `host`. They are disjoint: from there on, those up to `end` overlap. */
static struct region *region_from(const struct memory *m, const uint8_t *host)
{
	struct region *r = m->regions;

	while (r && region_end(r) <= host)
		r = r->next;
	return r;
}
#define for_each_overlapping(r, m, host, end) \
	for (r = region_from(m, host); r && r->host < (end); r = r->next)

/* Next page from `page` on that has one of `flags`; the number of pages if none has. */
static uint64_t next_flagged(const struct region *r, uint64_t page, unsigned flags)
{
	const uint64_t pages = PAGES(r->size), pattern = flags * 0x0101010101010101ull;

	while (page < pages) {
		uint64_t word;

		if (page % 8 == 0) {
			word = __atomic_load_n((uint64_t *)(void *)&r->page[page],
					       __ATOMIC_RELAXED);
			if (!(word & pattern)) {
				page += 8;
				continue;
			}
		}
		if (page_flags_get(&r->page[page]) & flags)
			return page;
		page++;
	}
	return pages;
}

static void region_free(struct region *r)
{
	/* only pages with code have a copy, and the array is large and mostly untouched */
	for (uint64_t page = 0; (page = next_flagged(r, page, PAGE_CODE)) < PAGES(r->size); page++)
		free(r->copy[page]);
	free(r->copy);
	free(r->page);
	free(block_of(r));
}

static void regions_free_dropped(struct memory *m)
{
	/* Whoever starts to read from now on does not find them. */
	if (atomic_load(&m->readers))
		return;
	while (m->dropped) {
		struct region *r = m->dropped;

		m->dropped = block_of(r)->next_dropped;
		region_free(r);
	}
}

static void region_unlink(struct memory *m, struct region *r)
{
	struct region **link = &m->regions;

	while (*link != r)
		link = &(*link)->next;
	region_store(m, link, r->next); /* r->next stays: a reader may stand on r */
	m->region_count--;
	block_of(r)->next_dropped = m->dropped;
	m->dropped = r;
}

static struct region *region_new(uint8_t *host, uint64_t size)
{
	struct block *block = calloc(1, sizeof(*block));
	struct region *r = &block->region;

	if (!block)
		return NULL;
	r->host = host;
	r->size = size;
	/* calloc() of big blocks is fresh zero memory: it costs only where it is used */
	r->page = calloc((PAGES(size) + 7) / 8, 8);
	r->copy = calloc(PAGES(size), sizeof(*r->copy));
	if (r->page && r->copy)
		return r;
	free(r->page);
	free(r->copy);
	free(block);
	return NULL;
}

void memory_drop_code(struct memory *m, struct region *r, uint64_t page)
{
	if (m->engine_drop_page)
		m->engine_drop_page(m->engine, r->host + (page << PAGE_SHIFT));
	free(r->copy[page]);
	r->copy[page] = NULL;
	page_flags_clear(&r->page[page], PAGE_CODE | PAGE_CHECKED);
}

static void region_drop(struct memory *m, struct region *r)
{
	for (uint64_t page = 0; (page = next_flagged(r, page, PAGE_CODE)) < PAGES(r->size); page++)
		memory_drop_code(m, r, page);
	region_unlink(m, r);
}

/* From `r` on, drop the unused regions that begin below `end`. */
static void regions_drop_unused(struct memory *m, struct region *r, const uint8_t *end)
{
	/* one that was dropped still has its `next` */
	for (; r && r->host < end; r = r->next) {
		if (!block_of(r)->users)
			region_drop(m, r);
	}
}

void regions_collect(struct memory *m)
{
	struct region *oldest;
	size_t unused;

	do {
		oldest = NULL;
		unused = 0;
		for (struct region *r = m->regions, *next; r; r = next) {
			next = r->next;
			if (block_of(r)->users)
				continue;
			if (__atomic_load_n(&block_of(r)->stale, __ATOMIC_RELAXED)) {
				region_drop(m, r);
				continue;
			}
			unused++;
			if (!oldest || block_of(r)->released < block_of(oldest)->released)
				oldest = r;
		}
		if (unused > MEMORY_KEEP_REGIONS)
			region_drop(m, oldest);
	} while (unused > MEMORY_KEEP_REGIONS + 1);
	regions_free_dropped(m);
}

void region_use(struct region *r)
{
	block_of(r)->users++;
}

void region_release(struct memory *m, struct region *r)
{
	if (!--block_of(r)->users)
		block_of(r)->released = ++m->releases;
}

void regions_free(struct memory *m)
{
	while (m->regions)
		region_unlink(m, m->regions);
	regions_free_dropped(m);
}

/* ------------------------------------------------------------------ joining regions */

static void region_carry_flags(struct region *to, const struct region *from)
{
	const unsigned kept = PAGE_GONE | PAGE_EVER_W;
	uint64_t offset = PAGES((uint64_t)(from->host - to->host));

	for (uint64_t page = 0; (page = next_flagged(from, page, kept)) < PAGES(from->size); page++)
		page_flags_set(&to->page[offset + page], page_flags_get(&from->page[page]) & kept);
}

/* The slots inside a new region, all of which lie in regions that it replaces, become its users. */
static void region_adopt_slots(struct memory *m, struct region *r)
{
	for (size_t i = 0; i < m->count; i++) {
		struct slot *s = m->by_gpa[i];

		if (!region_overlaps(r, s->host, s->host + s->size) || s->region == r)
			continue;
		region_use(r);
		s->region = r;
	}
}

/*
 * One region in place of all that overlap [host, end), as large as all of them together. Translated
 * code is dropped: its copies belong to the region.
 */
static int regions_join(struct memory *m, uint8_t *host, uint8_t *end, struct region **joined)
{
	struct region *n, *r;

	for_each_overlapping(r, m, host, end)
	{
		host = r->host < host ? r->host : host;
		end = region_end(r) > end ? region_end(r) : end;
	}
	n = region_new(host, (uint64_t)(end - host));
	if (!n)
		return -ENOMEM;

	region_link(m, n); /* before flags are carried over: see region_load() */
	for_each_overlapping(r, m, host, end)
	{
		if (r == n)
			continue;
		region_carry_flags(n, r);
		region_drop(m, r);
	}
	region_adopt_slots(m, n);
	memory_changed(m);
	*joined = n;
	return 0;
}

/* Join neighbours that are not farther apart than `gap` bytes. */
static int regions_join_neighbours(struct memory *m, uint64_t gap)
{
	for (struct region *r = m->regions; r; r = r->next) {
		struct region *last = r;
		int ret;

		while (last->next && (uint64_t)(last->next->host - region_end(last)) <= gap)
			last = last->next;
		if (last == r)
			continue;
		ret = regions_join(m, r->host, region_end(last), &r);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * The list grows long: fewer, larger regions. What lies between two host blocks may become part of one,
 * because the walker names no page that is not in a slot; it costs 9 bytes of untouched address space a
 * page.
 */
static int regions_make_room(struct memory *m)
{
	static const uint64_t gaps[] = { 0, 1 << 21, 1 << 26, 1ull << 31, 1ull << 36 };
	int ret;

	if (m->region_count < MEMORY_MAX_REGIONS)
		return 0;
	regions_drop_unused(m, m->regions, (uint8_t *)UINTPTR_MAX);
	for (size_t i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
		if (m->region_count <= MEMORY_MAX_REGIONS / 2)
			return 0;
		ret = regions_join_neighbours(m, gaps[i]);
		if (ret)
			return ret;
	}
	return m->region_count < MEMORY_MAX_REGIONS ? 0 : -ENOMEM;
}

static bool region_covers(const struct region *r, const uint8_t *host, const uint8_t *end)
{
	return r && r->host <= host && end <= region_end(r);
}

int region_get(struct memory *m, uint8_t *host, uint8_t *end, struct region **region)
{
	struct region *r = region_from(m, host);
	int ret;

	if (!region_covers(r, host, end)) {
		regions_drop_unused(m, r, end);
		ret = regions_make_room(m);
		if (ret)
			return ret;
		r = region_from(m, host);
	}
	if (region_covers(r, host, end)) {
		__atomic_store_n(&block_of(r)->stale, false, __ATOMIC_RELAXED);
		*region = r;
		return 0;
	}
	if (r && r->host < end)
		return regions_join(m, host, end, region);
	r = region_new(host, (uint64_t)(end - host));
	if (!r)
		return -ENOMEM;
	region_link(m, r);
	*region = r;
	return 0;
}

/* ------------------------------------------------------------------ host memory that goes and comes */

static void pages_or(uint8_t *page, uint64_t count, unsigned flags)
{
	for (; count && (uintptr_t)page % 8; page++, count--)
		page_flags_set(page, flags);
	for (; count >= 8; page += 8, count -= 8)
		__atomic_fetch_or((uint64_t *)(void *)page, flags * 0x0101010101010101ull,
				  __ATOMIC_SEQ_CST);
	for (; count; page++, count--)
		page_flags_set(page, flags);
}

static void pages_clear(uint8_t *page, uint64_t count, unsigned flags)
{
	for (; count; page++, count--) {
		if (page_flags_get(page) & flags)
			page_flags_clear(page, flags);
	}
}

void region_mark(struct region *r, const uint8_t *host, const uint8_t *end, bool gone)
{
	const uint8_t *from = host > r->host ? host : r->host;
	const uint8_t *to = end < region_end(r) ? end : region_end(r);
	uint64_t page = PAGES((uint64_t)(from - r->host)), count = PAGES((uint64_t)(to - from));

	if (!gone) {
		/* another file may be there now: compare before its code is used */
		pages_clear(&r->page[page], count, PAGE_GONE | PAGE_CHECKED);
		return;
	}
	pages_or(&r->page[page], count, PAGE_GONE);
	if (PAGES(r->size) == count)
		__atomic_store_n(&block_of(r)->stale, true, __ATOMIC_RELAXED);
}

static void host_range_mark(struct memory *m, const void *host, size_t size, bool gone)
{
	/* whole pages, as munmap() takes them */
	uintptr_t first = (uintptr_t)host & PAGE_MASK, last = (uintptr_t)host + (size - 1);
	const uint8_t *from = (const uint8_t *)first, *to;
	uint64_t layout;

	if (!size)
		return;
	if (last < first || last > UINTPTR_MAX - PAGE_SIZE)
		last = UINTPTR_MAX - PAGE_SIZE;
	to = (const uint8_t *)((last | ~PAGE_MASK) + 1);

	atomic_fetch_add(&m->readers, 1);
	do {
		layout = atomic_load(&m->layout);
		for (struct region *r = region_load(&m->regions); r; r = region_load(&r->next)) {
			if (region_overlaps(r, from, to))
				region_mark(r, from, to, gone);
		}
	} while (layout != atomic_load(&m->layout));
	memory_changed(m);
	atomic_fetch_sub(&m->readers, 1);
}

void memory_host_range_gone(struct memory *m, const void *host, size_t size)
{
	host_range_mark(m, host, size, true);
}

void memory_host_range_back(struct memory *m, const void *host, size_t size)
{
	host_range_mark(m, host, size, false);
}
