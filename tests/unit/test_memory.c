// SPDX-License-Identifier: GPL-2.0-only
/* memory.c and memtype.c: the slot table, the regions behind it, the dirty log, declared types. */
#include "tests/unit/fake_vm.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#define MB (1ull << 20)

/* ------------------------------------------------------------------ an engine that keeps books */

#define ENGINE_MAX 2000 /* as many as the real one takes */

struct fake_engine {
	struct { uint8_t *host; uint64_t size; } mapped[ENGINE_MAX];
	unsigned count, maps, unmaps, drops;
	const void *dropped;
	int fail; /* answer of the next map */
};

static int fake_map(void *opaque, void *host, uint64_t size)
{
	struct fake_engine *e = opaque;
	uint8_t *p = host;

	if (e->fail) {
		int ret = e->fail;

		e->fail = 0;
		return ret;
	}
	for (unsigned i = 0; i < e->count; i++)
		assert_true(p + size <= e->mapped[i].host ||
			    e->mapped[i].host + e->mapped[i].size <= p);
	assert_in_range(e->count, 0, ENGINE_MAX - 1);
	e->mapped[e->count].host = host;
	e->mapped[e->count++].size = size;
	e->maps++;
	return 0;
}

static void fake_unmap(void *opaque, void *host, uint64_t size)
{
	struct fake_engine *e = opaque;

	for (unsigned i = 0; i < e->count; i++) {
		if (e->mapped[i].host == host && e->mapped[i].size == size) {
			e->mapped[i] = e->mapped[--e->count];
			e->unmaps++;
			return;
		}
	}
	fail_msg("unmapped what was not mapped: %p, %#llx bytes", host, (unsigned long long)size);
}

static void fake_drop(void *opaque, const void *host_page)
{
	struct fake_engine *e = opaque;

	e->drops++;
	e->dropped = host_page;
}

static struct fake_engine engine;

static struct memory *new_memory(void)
{
	struct memory *m = malloc(sizeof(*m));

	memset(&engine, 0, sizeof(engine));
	memory_init(m);
	m->engine = &engine;
	m->engine_map = fake_map;
	m->engine_unmap = fake_unmap;
	m->engine_drop_page = fake_drop;
	return m;
}

static void free_memory(struct memory *m)
{
	memory_destroy(m);
	free(m);
}

static bool engine_knows(const uint8_t *host)
{
	for (unsigned i = 0; i < engine.count; i++) {
		if (host - engine.mapped[i].host >= 0 &&
		    (uint64_t)(host - engine.mapped[i].host) < engine.mapped[i].size)
			return true;
	}
	return false;
}

/* A page with translated code and its copy. */
static void make_code(struct memory *m, uint64_t gpa)
{
	const struct slot *s = memory_find(m, gpa);
	uint8_t *flags = slot_page_flags(s, gpa);

	page_flags_set(flags, PAGE_CODE | PAGE_CHECKED);
	s->region->copy[flags - s->region->page] = malloc(4096);
}

static unsigned flags_at(struct memory *m, uint64_t gpa)
{
	return page_flags_get(slot_page_flags(memory_find(m, gpa), gpa));
}

/* ------------------------------------------------------------------ the table */

static void test_map_invalid_arguments_refused(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(MB);

	assert_int_equal(memory_map(m, 0, 0x800, MB, host, 0), -EINVAL);
	assert_int_equal(memory_map(m, 0, 0, 0x1800, host, 0), -EINVAL);
	assert_int_equal(memory_map(m, 0, 0, MB, host + 1, 0), -EINVAL);
	assert_int_equal(memory_map(m, 0, 0, 0, host, 0), -EINVAL);
	assert_int_equal(memory_map(m, 0, 0, MB, NULL, 0), -EINVAL);
	assert_int_equal(memory_map(m, 0, 0, MB, host, 4), -EINVAL);
	assert_int_equal(memory_map(m, 0, ~0xfffull, 0x2000, host, 0), -EINVAL);
	assert_int_equal(memory_map(m, 0, 0, MB, (void *)~0xfffull, 0), -EINVAL);
	assert_int_equal(memory_unmap(m, 0), -ENOENT);
	assert_int_equal(memory_set_flags(m, 0, 0), -ENOENT);
	assert_null(memory_find(m, 0));
	/* the last page of the address space is fine */
	assert_int_equal(memory_map(m, 0, ~0xfffull, 0x1000, host, 0), 0);
	assert_non_null(memory_find(m, ~0ull));
	assert_int_equal(memory_set_flags(m, 0, 8), -EINVAL);
	free_memory(m);
	munmap(host, MB);
}

static void test_map_overlap_refused_neighbour_accepted(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(4 * MB);
	static const struct { uint64_t gpa, size; int ret; } rows[] = {
		{ 0x100000, 0x100000, -EEXIST }, { 0x0ff000, 0x2000, -EEXIST },
		{ 0x1ff000, 0x2000, -EEXIST },   { 0x0, 0x300000, -EEXIST },
		{ 0x140000, 0x1000, -EEXIST },   { 0x0, 0x100000, 0 },
		{ 0x200000, 0x1000, 0 },
	};

	assert_int_equal(memory_map(m, 9, 0x100000, 0x100000, host, 0), 0);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(memory_map(m, i, rows[i].gpa, rows[i].size, host + MB, 0),
				 rows[i].ret);
	assert_int_equal(memory_find(m, 0xfffff)->number, 5);
	assert_int_equal(memory_find(m, 0x100000)->number, 9);
	assert_int_equal(memory_find(m, 0x1fffff)->number, 9);
	assert_int_equal(memory_find(m, 0x200000)->number, 6);
	assert_null(memory_find(m, 0x201000));
	free_memory(m);
	munmap(host, 4 * MB);
}

static void test_map_existing_number_replaced(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(4 * MB);
	uint64_t log[4];

	assert_int_equal(memory_map(m, 3, 0, MB, host, EMU_MEM_LOG_DIRTY), 0);
	assert_int_equal(memory_map(m, 4, 2 * MB, MB, host + MB, 0), 0);
	slot_mark_dirty(memory_find(m, 0x5000), 0x5000);
	assert_int_equal(memory_map(m, 3, 0x1000, MB, host + 2 * MB, EMU_MEM_LOG_DIRTY), 0);
	assert_null(memory_find(m, 0xfff));
	assert_ptr_equal(slot_host(memory_find(m, 0x1000), 0x1000), host + 2 * MB);
	assert_int_equal(memory_dirty_log(m, 3, log, false), 0);
	assert_int_equal(log[0], 0);
	/* refused: the old one stays */
	assert_int_equal(memory_map(m, 3, MB, 2 * MB, host, 0), -EEXIST);
	assert_ptr_equal(slot_host(memory_find(m, 0x1000), 0x1000), host + 2 * MB);
	engine.fail = -ENOMEM;
	assert_int_equal(memory_map(m, 3, 8 * MB, 0x1000, host + 3 * MB + 0x1000, 0), -ENOMEM);
	assert_ptr_equal(slot_host(memory_find(m, 0x1000), 0x1000), host + 2 * MB);
	assert_null(memory_find(m, 8 * MB));
	free_memory(m);
	munmap(host, 4 * MB);
}

static void test_map_changes_move_generation(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(MB);
	uint64_t log[4], generation = m->generation;

#define MOVED(call)                                                                                    \
	do {                                                                                           \
		assert_int_equal(call, 0);                                                             \
		assert_int_not_equal(m->generation, generation);                                       \
		generation = m->generation;                                                            \
	} while (0)
	MOVED(memory_map(m, 0, 0, MB, host, 0));
	MOVED(memory_set_flags(m, 0, EMU_MEM_LOG_DIRTY));
	MOVED(memory_dirty_log(m, 0, log, true));
	MOVED(memory_dirty_clear(m, 0, 0, 64, log));
	MOVED((memory_host_range_gone(m, host, MB), 0));
	MOVED((memory_host_range_back(m, host, MB), 0));
	MOVED(memory_declare_type(m, 0, 0x1000, EMU_MT_UC));
	MOVED(memory_unmap(m, 0));
#undef MOVED
	free_memory(m);
	munmap(host, MB);
}

/* xorshift: the same sequence everywhere */
static uint64_t seed = 88172645463325252ull;
static uint64_t random64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static void test_table_random_operations_agree_with_linear_list(void **state)
{
	(void)state;
	enum { SLOTS = 48, PAGES = 256 };
	struct memory *m = new_memory();
	uint8_t *host = host_pages(PAGES * 4096);
	struct { uint64_t gpa, size; uint8_t *host; } list[SLOTS] = { 0 };

	for (unsigned round = 0; round < 20000; round++) {
		unsigned number = random64() % SLOTS;
		uint64_t pages = random64() % 20, gpa = random64() % PAGES * 4096;
		uint64_t offset = random64() % (PAGES - pages) * 4096, probe;
		int expected = 0, ret;

		if (!pages) {
			expected = list[number].size ? 0 : -ENOENT;
			ret = memory_unmap(m, number);
			list[number].size = 0;
		} else {
			for (unsigned i = 0; i < SLOTS; i++) {
				if (i != number && list[i].size && gpa < list[i].gpa + list[i].size &&
				    list[i].gpa < gpa + pages * 4096)
					expected = -EEXIST;
			}
			ret = memory_map(m, number, gpa, pages * 4096, host + offset, 0);
			if (!ret) {
				list[number].gpa = gpa;
				list[number].size = pages * 4096;
				list[number].host = host + offset;
			}
		}
		assert_int_equal(ret, expected);
		for (unsigned i = 0; i < 8; i++) {
			const struct slot *s;
			const uint8_t *at = NULL;

			probe = random64() % ((PAGES + 20) * 4096ull);
			for (unsigned n = 0; n < SLOTS; n++) {
				if (list[n].size && probe - list[n].gpa < list[n].size)
					at = list[n].host + (probe - list[n].gpa);
			}
			s = memory_find(m, probe);
			assert_ptr_equal(s ? slot_host(s, probe) : NULL, at);
			/* each host page lies in one region that the engine knows */
			if (s) {
				assert_in_range((uintptr_t)at, (uintptr_t)s->region->host,
						(uintptr_t)s->region->host + s->region->size - 1);
				assert_true(engine_knows(at));
				assert_true(s->region->mapped);
			}
		}
	}
	free_memory(m);
	munmap(host, PAGES * 4096);
}

static void test_table_32764_slots_are_fast(void **state)
{
	(void)state;
	enum { SLOTS = 32764 };
	struct memory *m = new_memory();
	uint8_t *host = host_pages(SLOTS * 0x2000ull);
	struct timespec from, to;
	double ns;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	/* neither numbers nor host addresses nor guest addresses in order, gaps between all of them */
	for (unsigned i = 0; i < SLOTS; i++) {
		uint64_t at = i * 7919ull % SLOTS;

		assert_int_equal(memory_map(m, i, at * 0x2000, 0x1000, host + at * 0x2000, 0), 0);
	}
	for (unsigned i = 0; i < SLOTS; i++) {
		uint64_t gpa = i * 104729ull % SLOTS * 0x2000;

		assert_ptr_equal(slot_host(memory_find(m, gpa), gpa), host + gpa);
		assert_null(memory_find(m, gpa + 0x1000));
	}
	for (unsigned i = 0; i < SLOTS; i++)
		assert_int_equal(memory_unmap(m, i * 17ull % SLOTS), 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	ns = (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec);
	print_message("%.0f ns a slot, %u engine mappings at most %u\n", ns / SLOTS, engine.maps,
		      MEMORY_MAX_REGIONS);
	/* quadratic would be minutes; a sanitizer may take its tenfold */
	assert_in_range((uint64_t)(ns / 1e9), 0, 30);
	assert_int_equal(m->count, 0);
	free_memory(m);
	munmap(host, SLOTS * 0x2000ull);
}

/* ------------------------------------------------------------------ regions */

/* What QEMU does at each change of a PAM register: delete a slot, add parts of the same block. */
static void test_region_subranges_of_one_block_reuse_it(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(64 * MB);

	assert_int_equal(memory_map(m, 0, 0, 64 * MB, host, 0), 0);
	make_code(m, 0xf0000);
	make_code(m, 0x200000);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(memory_unmap(m, 0), 0);
		assert_null(memory_find(m, 0xf0000));
		assert_int_equal(memory_map(m, 0, 0, 0xc0000, host, 0), 0);
		assert_int_equal(memory_map(m, 1, 0xf0000, 0x10000, host + 0xf0000,
					    i & 1 ? EMU_MEM_READONLY : 0), 0);
		assert_int_equal(memory_map(m, 2, MB, 63 * MB, host + MB, 0), 0);
		assert_int_equal(memory_unmap(m, 1), 0);
		assert_int_equal(memory_unmap(m, 2), 0);
		assert_int_equal(memory_map(m, 0, 0, 64 * MB, host, 0), 0);
	}
	assert_int_equal(engine.maps, 1);
	assert_int_equal(engine.unmaps, 0);
	assert_int_equal(engine.drops, 0);
	assert_int_equal(flags_at(m, 0xf0000), PAGE_CODE); /* to be compared again */
	assert_int_equal(flags_at(m, 0x200000) & PAGE_CODE, PAGE_CODE);
	free_memory(m);
	munmap(host, 64 * MB);
}

static void test_region_aliases_share_page_flags(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(MB);

	assert_int_equal(memory_map(m, 0, 0, MB, host, 0), 0);
	assert_int_equal(memory_map(m, 1, 0xfffff000, 0x1000, host + 0xff000, 0), 0);
	page_flags_set(slot_page_flags(memory_find(m, 0xff000), 0xff000), PAGE_CODE);
	assert_int_equal(flags_at(m, 0xfffff123), PAGE_CODE);
	assert_int_equal(engine.maps, 1);
	free_memory(m);
	munmap(host, MB);
}

static void test_region_overlapping_live_ones_join(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(4 * MB);

	assert_int_equal(memory_map(m, 0, 0, MB, host + MB, 0), 0);
	assert_int_equal(memory_map(m, 1, 8 * MB, MB, host + 3 * MB, 0), 0);
	make_code(m, 0x3000);
	page_flags_set(slot_page_flags(memory_find(m, 0x4000), 0x4000), PAGE_EVER_W);
	memory_host_range_gone(m, host + 3 * MB + 0x5000, 0x1000);

	assert_int_equal(memory_map(m, 2, 16 * MB, 5 * MB / 2, host + 3 * MB / 2, 0), 0);
	assert_int_equal(engine.count, 1);
	assert_ptr_equal(engine.mapped[0].host, host + MB);
	assert_int_equal(engine.mapped[0].size, 3 * MB);
	/* code went, page by page; what else is known of a page stays */
	assert_int_equal(engine.drops, 1);
	assert_ptr_equal(engine.dropped, host + MB + 0x3000);
	assert_int_equal(flags_at(m, 0x3000), 0);
	assert_int_equal(flags_at(m, 0x4000), PAGE_EVER_W);
	assert_int_equal(flags_at(m, 8 * MB + 0x5000), 0); /* mapped again by slot 2 */
	for (unsigned i = 0; i < 3; i++)
		assert_ptr_equal(memory_slot(m, i)->region, m->regions);
	/* users were counted right: nothing is dropped before the last slot has gone, all is after */
	assert_int_equal(memory_unmap(m, 2), 0);
	assert_int_equal(memory_unmap(m, 1), 0);
	memory_host_range_gone(m, host, 4 * MB);
	assert_int_equal(memory_map(m, 5, 64 * MB, 0x1000, host_pages(0x1000), 0), 0);
	assert_true(engine_knows(host + MB));
	assert_int_equal(memory_unmap(m, 0), 0);
	assert_false(engine_knows(host + MB));
	free_memory(m);
	munmap(host, 4 * MB);
}

static void test_region_join_keeps_gone_pages_of_other_slots(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(2 * MB);

	assert_int_equal(memory_map(m, 0, 0, MB, host, 0), 0);
	memory_host_range_gone(m, host + 0x5000, 0x2000);
	assert_int_equal(memory_map(m, 1, 8 * MB, MB, host + MB / 2, 0), 0);
	assert_int_equal(flags_at(m, 0x4000), 0);
	assert_int_equal(flags_at(m, 0x5000), PAGE_GONE);
	assert_int_equal(flags_at(m, 0x6000), PAGE_GONE);
	assert_int_equal(flags_at(m, 0x7000), 0);
	free_memory(m);
	munmap(host, 2 * MB);
}

static void test_region_join_refused_by_engine_changes_nothing(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(2 * MB);

	assert_int_equal(memory_map(m, 0, 0, MB, host, 0), 0);
	engine.fail = -ENOMEM;
	assert_int_equal(memory_map(m, 1, 8 * MB, MB, host + MB / 2, 0), -ENOMEM);
	assert_null(memory_find(m, 8 * MB));
	assert_int_equal(m->region_count, 1);
	assert_true(m->regions->mapped);
	assert_true(engine_knows(host));
	assert_int_equal(engine.mapped[0].size, MB);
	free_memory(m);
	munmap(host, 2 * MB);
}

static void test_region_unused_dropped_before_overlap(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(2 * MB);

	assert_int_equal(memory_map(m, 0, 0, MB, host, 0), 0);
	make_code(m, 0x1000);
	assert_int_equal(memory_unmap(m, 0), 0);
	assert_int_equal(engine.count, 1); /* kept */
	assert_int_equal(memory_map(m, 0, 0, MB, host + MB / 2, 0), 0);
	assert_int_equal(engine.count, 1);
	assert_ptr_equal(engine.mapped[0].host, host + MB / 2);
	assert_int_equal(engine.mapped[0].size, MB);
	assert_int_equal(engine.drops, 1);
	free_memory(m);
	munmap(host, 2 * MB);
}

static void test_region_unused_last_64_kept(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(200 * 0x2000);

	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(memory_map(m, 0, 0, 0x1000, host + i * 0x2000, 0), 0);
		assert_in_range(engine.count, 1, MEMORY_KEEP_REGIONS + 1);
	}
	assert_int_equal(engine.count, MEMORY_KEEP_REGIONS + 1);
	assert_false(engine_knows(host + 134 * 0x2000));
	assert_true(engine_knows(host + 135 * 0x2000)); /* 64 unused before the last */
	free_memory(m);
	munmap(host, 200 * 0x2000);
}

static void test_region_host_gone_wholly_dropped_when_unused(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(2 * MB);

	assert_int_equal(memory_map(m, 0, 0, MB, host, 0), 0);
	assert_int_equal(memory_map(m, 1, MB, 0x1000, host + MB, 0), 0);
	memory_host_range_gone(m, host, MB);
	assert_int_equal(flags_at(m, 0x42000), PAGE_GONE);
	assert_int_equal(engine.count, 2); /* in use */
	assert_int_equal(memory_unmap(m, 0), 0);
	assert_false(engine_knows(host));
	assert_true(engine_knows(host + MB));
	free_memory(m);
	munmap(host, 2 * MB);
}

/* More scattered blocks than the engine has places: they are joined across the gaps. */
static void test_region_more_blocks_than_engine_takes_join(void **state)
{
	(void)state;
	enum { BLOCKS = 5000, STRIDE = 0x9000 };
	struct memory *m = new_memory();
	uint8_t *host = host_pages(BLOCKS * (size_t)STRIDE);

	for (unsigned i = 0; i < BLOCKS; i++) {
		assert_int_equal(memory_map(m, i, i * 0x10000ull, 0x1000, host + i * STRIDE, 0), 0);
		assert_in_range(engine.count, 1, MEMORY_MAX_REGIONS);
		if (i == 100)
			memory_host_range_gone(m, host + 50 * STRIDE, 0x1000);
	}
	for (unsigned i = 0; i < BLOCKS; i++) {
		const struct slot *s = memory_find(m, i * 0x10000ull);

		assert_ptr_equal(slot_host(s, s->gpa), host + i * STRIDE);
		assert_true(engine_knows(s->host));
		assert_in_range((uintptr_t)s->host, (uintptr_t)s->region->host,
				(uintptr_t)s->region->host + s->region->size - s->size);
		assert_int_equal(flags_at(m, s->gpa), i == 50 ? PAGE_GONE : 0);
	}
	free_memory(m);
	munmap(host, BLOCKS * (size_t)STRIDE);
}

/* ------------------------------------------------------------------ host memory that goes */

static void test_gone_marks_touched_pages_only(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(MB);

	assert_int_equal(memory_map(m, 0, 0, MB, host, 0), 0);
	page_flags_set(slot_page_flags(memory_find(m, 0x3000), 0x3000), PAGE_CODE | PAGE_CHECKED);
	memory_host_range_gone(m, host + 0x2800, 0x1000); /* touches pages 2 and 3 */
	assert_int_equal(flags_at(m, 0x1000), 0);
	assert_int_equal(flags_at(m, 0x2000), PAGE_GONE);
	assert_int_equal(flags_at(m, 0x3000), PAGE_GONE | PAGE_CODE | PAGE_CHECKED);
	assert_int_equal(flags_at(m, 0x4000), 0);
	memory_host_range_back(m, host + 0x3000, 1);
	assert_int_equal(flags_at(m, 0x2000), PAGE_GONE);
	assert_int_equal(flags_at(m, 0x3000), PAGE_CODE); /* to be compared again */
	/* nothing, and everything up to the end of the address space */
	memory_host_range_gone(m, host + 0x8000, 0);
	assert_int_equal(flags_at(m, 0x8000), 0);
	memory_host_range_gone(m, host + 0x8000, SIZE_MAX);
	assert_int_equal(flags_at(m, 0x7000), 0);
	for (uint64_t gpa = 0x8000; gpa < MB; gpa += 0x1000)
		assert_int_equal(flags_at(m, gpa), PAGE_GONE);
	free_memory(m);
	munmap(host, MB);
}

struct gone_race {
	struct memory *m;
	uint8_t *host;
	_Atomic unsigned go, done; /* one call of memory_host_range_gone() for each step of `go` */
};

#define RACE_ROUNDS 20000

static void *gone_thread(void *opaque)
{
	struct gone_race *race = opaque;

	for (unsigned i = 1; i <= RACE_ROUNDS; i++) {
		for (unsigned spins = 0; race->go != i; spins++) {
			if (spins > 100000)
				sched_yield();
		}
		memory_host_range_gone(race->m, race->host + 0x3000, 0x1000);
		race->done = i;
		memory_host_range_back(race->m, race->host + 0x200000, 0x10000);
	}
	return NULL;
}

/* Regions are made, joined and dropped while another thread takes memory away. */
static void test_gone_during_table_changes_is_never_lost(void **state)
{
	(void)state;
	uint8_t *host = host_pages(4 * MB);
	struct gone_race race = { .m = new_memory(), .host = host };
	struct memory *m = race.m;
	unsigned during = 0;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, gone_thread, &race), 0);
	for (unsigned i = 1; i <= RACE_ROUNDS; i++) {
		assert_int_equal(memory_map(m, 0, 0, 0x8000, host, 0), 0);
		race.go = i;
		for (unsigned wait = random64() % 2048; wait; wait--)
			__asm__ volatile("");
		/* twice larger: the region of slot 0 is replaced, its flags carried over */
		assert_int_equal(memory_map(m, 1, 16 * MB, 0x10000, host + 0x4000, 0), 0);
		assert_int_equal(memory_map(m, 2, 32 * MB, 0x20000, host + 0x8000, 0), 0);
		during += race.done != i;
		while (race.done != i)
			sched_yield();
		assert_int_equal(flags_at(m, 0x3000) & PAGE_GONE, PAGE_GONE);
		assert_int_equal(flags_at(m, 0x2000) & PAGE_GONE, 0);
		for (unsigned slot = 0; slot < 3; slot++)
			assert_int_equal(memory_unmap(m, slot), 0);
		/* unused, overlapped, not covering: dropped */
		assert_int_equal(memory_map(m, 3, 0, 0x400000 - 0x1000, host + 0x1000, 0), 0);
		assert_int_equal(memory_unmap(m, 3), 0);
		assert_int_equal(memory_map(m, 3, 0, 0x1000, host, 0), 0);
		assert_int_equal(memory_unmap(m, 3), 0);
		memory_host_range_gone(m, host + 0x1000, 4 * MB - 0x1000);
	}
	pthread_join(thread, NULL);
	print_message("%u of %u calls ended after the change\n", during, RACE_ROUNDS);
	free_memory(m);
	munmap(host, 4 * MB);
}

/* ------------------------------------------------------------------ dirty log */

static void test_dirty_log_marked_pages_and_clear(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(130 * 4096);
	uint64_t log[3], again[3];
	const struct slot *s;

	assert_int_equal(memory_map(m, 0, 0x10000, 130 * 4096, host, EMU_MEM_LOG_DIRTY), 0);
	s = memory_find(m, 0x10000);
	slot_mark_dirty(s, 0x10000);
	slot_mark_dirty(s, 0x10fff);
	slot_mark_dirty(s, 0x10000 + 63 * 4096);
	slot_mark_dirty(s, 0x10000 + 64 * 4096 + 5);
	slot_mark_dirty(s, 0x10000 + 129 * 4096);
	assert_int_equal(memory_dirty_log(m, 0, log, false), 0);
	assert_int_equal(log[0], 1ull << 63 | 1);
	assert_int_equal(log[1], 1);
	assert_int_equal(log[2], 2);
	assert_int_equal(memory_dirty_log(m, 0, again, true), 0);
	assert_memory_equal(log, again, sizeof(log));
	assert_int_equal(memory_dirty_log(m, 0, again, true), 0);
	assert_int_equal(again[0] | again[1] | again[2], 0);
	free_memory(m);
	munmap(host, 130 * 4096);
}

static void test_dirty_clear_only_named_bits(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(256 * 4096);
	uint64_t log[4], bits[2] = { 0x8000000000000001, 0x2 };

	assert_int_equal(memory_map(m, 0, 0, 256 * 4096, host, EMU_MEM_LOG_DIRTY), 0);
	for (uint64_t gpa = 0; gpa < 256 * 4096; gpa += 4096)
		slot_mark_dirty(memory_find(m, gpa), gpa);
	assert_int_equal(memory_dirty_clear(m, 0, 64, 66, bits), 0);
	assert_int_equal(memory_dirty_log(m, 0, log, false), 0);
	assert_int_equal(log[0], ~0ull);
	assert_int_equal(log[1], ~0x8000000000000001ull);
	assert_int_equal(log[2], ~2ull);
	assert_int_equal(log[3], ~0ull);
	/* not aligned, and with a word of zeroes first */
	bits[0] = 0;
	bits[1] = 1;
	assert_int_equal(memory_dirty_clear(m, 0, 3, 65, bits), 0);
	assert_int_equal(memory_dirty_log(m, 0, log, false), 0);
	assert_int_equal(log[0], ~0ull);
	assert_int_equal(log[1], ~0x8000000000000009ull);
	assert_int_equal(memory_dirty_clear(m, 0, 200, 57, bits), -EINVAL);
	assert_int_equal(memory_dirty_clear(m, 0, 257, 0, bits), -EINVAL);
	assert_int_equal(memory_dirty_clear(m, 1, 0, 0, bits), -ENOENT);
	free_memory(m);
	munmap(host, 256 * 4096);
}

static void test_dirty_log_switched_by_flags(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(MB);
	uint64_t log[4];

	assert_int_equal(memory_map(m, 0, 0, MB, host, 0), 0);
	assert_int_equal(memory_dirty_log(m, 0, log, false), -ENOENT);
	slot_mark_dirty(memory_find(m, 0), 0); /* no log: nothing happens */
	make_code(m, 0x1000);
	assert_int_equal(memory_set_flags(m, 0, EMU_MEM_LOG_DIRTY | EMU_MEM_READONLY), 0);
	assert_int_equal(memory_find(m, 0)->flags, EMU_MEM_LOG_DIRTY | EMU_MEM_READONLY);
	slot_mark_dirty(memory_find(m, 0x2000), 0x2000);
	assert_int_equal(memory_set_flags(m, 0, EMU_MEM_LOG_DIRTY), 0); /* the log goes on */
	assert_int_equal(memory_dirty_log(m, 0, log, false), 0);
	assert_int_equal(log[0], 4);
	assert_int_equal(memory_set_flags(m, 0, 0), 0);
	assert_int_equal(memory_dirty_log(m, 0, log, false), -ENOENT);
	assert_int_equal(engine.drops, 0); /* code stays */
	assert_int_equal(flags_at(m, 0x1000) & PAGE_CODE, PAGE_CODE);
	free_memory(m);
	munmap(host, MB);
}

/* ------------------------------------------------------------------ copies */

static void test_copy_across_slots_all_or_nothing(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(0x4000), data[0x3000], back[0x3000];
	uint64_t log;

	/* neighbours in the guest, in the other order in the host */
	assert_int_equal(memory_map(m, 0, 0x1000, 0x1000, host + 0x2000, EMU_MEM_LOG_DIRTY), 0);
	assert_int_equal(memory_map(m, 1, 0x2000, 0x1000, host, 0), 0);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 >> 2);
	assert_int_equal(memory_write(m, 0x1100, data, 0x1f00), 0);
	assert_memory_equal(host + 0x2100, data, 0xf00);
	assert_memory_equal(host, data + 0xf00, 0x1000);
	assert_int_equal(memory_dirty_log(m, 0, &log, true), 0);
	assert_int_equal(log, 1);
	assert_int_equal(memory_read(m, 0x1100, back, 0x1f00), 0);
	assert_memory_equal(back, data, 0x1f00);
	assert_int_equal(memory_read(m, 0x1000, back, 0), 0);

	memset(host, 0, 0x4000);
	assert_int_equal(memory_write(m, 0x1100, data, 0x1f01), -EFAULT);
	assert_int_equal(memory_write(m, 0xfff, data, 2), -EFAULT);
	assert_int_equal(memory_write(m, ~0ull, data, 2), -EFAULT);
	for (unsigned i = 0; i < 0x4000; i++)
		assert_int_equal(host[i], 0);
	memset(back, 0xaa, sizeof(back));
	assert_int_equal(memory_read(m, 0x1100, back, 0x1f01), -EFAULT);
	assert_int_equal(back[0], 0xaa);
	/* the address space has an end */
	assert_int_equal(memory_map(m, 2, 0, 0x1000, host, 0), 0);
	assert_int_equal(memory_map(m, 3, ~0xfffull, 0x1000, host + 0x1000, 0), 0);
	assert_int_equal(memory_write(m, ~0ull, data, 1), 0);
	assert_int_equal(memory_write(m, ~0ull, data, 2), -EFAULT);
	free_memory(m);
	munmap(host, 0x4000);
}

static void test_copy_readonly_or_gone_refused(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(0x2000), byte = 1;

	assert_int_equal(memory_map(m, 0, 0, 0x2000, host, EMU_MEM_READONLY), 0);
	assert_int_equal(memory_write(m, 0, &byte, 1), -EFAULT);
	assert_int_equal(memory_read(m, 0, &byte, 1), 0);
	memory_host_range_gone(m, host + 0x1000, 0x1000);
	assert_int_equal(memory_read(m, 0xfff, &byte, 1), 0);
	assert_int_equal(memory_read(m, 0x1000, &byte, 1), -EFAULT);
	memory_host_range_back(m, host + 0x1000, 0x1000);
	assert_int_equal(memory_read(m, 0x1000, &byte, 1), 0);
	free_memory(m);
	munmap(host, 0x2000);
}

static void test_copy_into_code_drops_it(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(0x3000), data[2] = { 1, 2 };
	uint64_t generation;

	assert_int_equal(memory_map(m, 0, 0, 0x3000, host, 0), 0);
	make_code(m, 0x1000);
	make_code(m, 0x2000);
	generation = m->generation;
	assert_int_equal(memory_write(m, 0xfff, data, 2), 0);
	assert_int_equal(engine.drops, 1);
	assert_ptr_equal(engine.dropped, host + 0x1000);
	assert_int_equal(flags_at(m, 0x1000), 0);
	assert_int_equal(flags_at(m, 0x2000), PAGE_CODE | PAGE_CHECKED);
	assert_int_not_equal(m->generation, generation);
	free_memory(m);
	munmap(host, 0x3000);
}

/* ------------------------------------------------------------------ memory types */

static void test_memtype_ram_is_write_back_unless_declared(void **state)
{
	struct machine *m = *state;
	struct memory *mem = &m->vm.memory;

	for (unsigned pat = 0; pat <= MEMORY_NO_PAT; pat++)
		assert_int_equal(memory_type(&m->v, 0x1000, pat), EMU_MT_WB);
	assert_int_equal(memory_declare_type(mem, 0x1000, 0x2000, EMU_MT_UC), 0);
	assert_int_equal(memory_declare_type(mem, 0x2000, 0x2000, EMU_MT_WT), 0);
	assert_int_equal(memory_type(&m->v, 0xfff, 0), EMU_MT_WB);
	assert_int_equal(memory_type(&m->v, 0x1000, 0), EMU_MT_UC);
	assert_int_equal(memory_type(&m->v, 0x1fff, 0), EMU_MT_UC);
	assert_int_equal(memory_type(&m->v, 0x2000, 0), EMU_MT_WT);
	assert_int_equal(memory_type(&m->v, 0x3fff, 0), EMU_MT_WT);
	assert_int_equal(memory_type(&m->v, 0x4000, 0), EMU_MT_WB);
	assert_int_equal(memory_declare_type(mem, 0, ~0ull & ~0xfffull, EMU_MT_WB), 0);
	assert_int_equal(memory_type(&m->v, 0x2000, 0), EMU_MT_WB);
}

static void test_memtype_invalid_declaration_refused(void **state)
{
	struct machine *m = *state;
	struct memory *mem = &m->vm.memory;

	assert_int_equal(memory_declare_type(mem, 0x1000, 0x1000, 2), -EINVAL);
	assert_int_equal(memory_declare_type(mem, 0x1000, 0x1000, EMU_MT_UC_MINUS), -EINVAL);
	assert_int_equal(memory_declare_type(mem, 0x1001, 0x1000, EMU_MT_UC), -EINVAL);
	assert_int_equal(memory_declare_type(mem, 0x1000, 0x1001, EMU_MT_UC), -EINVAL);
	assert_int_equal(memory_declare_type(mem, 0x1000, 0, EMU_MT_UC), -EINVAL);
	assert_int_equal(memory_declare_type(mem, ~0xfffull, 0x2000, EMU_MT_UC), -EINVAL);
	assert_int_equal(memory_type(&m->v, 0x1000, 0), EMU_MT_WB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map_invalid_arguments_refused),
		cmocka_unit_test(test_map_overlap_refused_neighbour_accepted),
		cmocka_unit_test(test_map_existing_number_replaced),
		cmocka_unit_test(test_map_changes_move_generation),
		cmocka_unit_test(test_table_random_operations_agree_with_linear_list),
		cmocka_unit_test(test_table_32764_slots_are_fast),
		cmocka_unit_test(test_region_subranges_of_one_block_reuse_it),
		cmocka_unit_test(test_region_aliases_share_page_flags),
		cmocka_unit_test(test_region_overlapping_live_ones_join),
		cmocka_unit_test(test_region_join_keeps_gone_pages_of_other_slots),
		cmocka_unit_test(test_region_join_refused_by_engine_changes_nothing),
		cmocka_unit_test(test_region_unused_dropped_before_overlap),
		cmocka_unit_test(test_region_unused_last_64_kept),
		cmocka_unit_test(test_region_host_gone_wholly_dropped_when_unused),
		cmocka_unit_test(test_region_more_blocks_than_engine_takes_join),
		cmocka_unit_test(test_gone_marks_touched_pages_only),
		cmocka_unit_test(test_gone_during_table_changes_is_never_lost),
		cmocka_unit_test(test_dirty_log_marked_pages_and_clear),
		cmocka_unit_test(test_dirty_clear_only_named_bits),
		cmocka_unit_test(test_dirty_log_switched_by_flags),
		cmocka_unit_test(test_copy_across_slots_all_or_nothing),
		cmocka_unit_test(test_copy_readonly_or_gone_refused),
		cmocka_unit_test(test_copy_into_code_drops_it),
		TEST(test_memtype_ram_is_write_back_unless_declared),
		TEST(test_memtype_invalid_declaration_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
