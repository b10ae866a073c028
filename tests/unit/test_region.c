// SPDX-License-Identifier: GPL-2.0-only
/* region.c: host blocks that slots share, that are joined, kept and dropped, and that go away. */
#include "tests/unit/fake_engine.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

/* ------------------------------------------------------------------ regions */

/* What QEMU does at each change of a PAM register: delete a slot, add parts of the same block. */
static void test_region_subranges_of_one_block_reuse_it(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(64 * MB);
	const struct region *first;

	assert_int_equal(memory_map(m, 0, 0, 64 * MB, host, 0), 0);
	first = m->regions;
	make_code(m, 0xf0000);
	make_code(m, 0x200000);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(memory_unmap(m, 0), 0);
		assert_null(memory_find(m, 0xf0000));
		assert_int_equal(memory_map(m, 0, 0, 0xc0000, host, 0), 0);
		assert_int_equal(memory_map(m, 1, 0xf0000, 0x10000, host + 0xf0000,
					    i & 1 ? EMU_MEM_READONLY : 0),
				 0);
		assert_int_equal(memory_map(m, 2, MB, 63 * MB, host + MB, 0), 0);
		assert_int_equal(memory_unmap(m, 1), 0);
		assert_int_equal(memory_unmap(m, 2), 0);
		assert_int_equal(memory_map(m, 0, 0, 64 * MB, host, 0), 0);
	}
	assert_int_equal(m->region_count, 1);
	assert_ptr_equal(m->regions, first);
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
	assert_int_equal(m->region_count, 1);
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
	assert_int_equal(m->region_count, 1);
	assert_ptr_equal(m->regions->host, host + MB);
	assert_int_equal(m->regions->size, 3 * MB);
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
	assert_non_null(region_at(m, host + MB));
	assert_int_equal(memory_unmap(m, 0), 0);
	assert_null(region_at(m, host + MB));
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

static void test_region_unused_dropped_before_overlap(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(2 * MB);

	assert_int_equal(memory_map(m, 0, 0, MB, host, 0), 0);
	make_code(m, 0x1000);
	assert_int_equal(memory_unmap(m, 0), 0);
	assert_int_equal(m->region_count, 1); /* kept */
	assert_int_equal(memory_map(m, 0, 0, MB, host + MB / 2, 0), 0);
	assert_int_equal(m->region_count, 1);
	assert_ptr_equal(m->regions->host, host + MB / 2);
	assert_int_equal(m->regions->size, MB);
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
		assert_in_range(m->region_count, 1, MEMORY_KEEP_REGIONS + 1);
	}
	assert_int_equal(m->region_count, MEMORY_KEEP_REGIONS + 1);
	assert_null(region_at(m, host + 134 * 0x2000));
	assert_non_null(region_at(m, host + 135 * 0x2000)); /* 64 unused before the last */
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
	assert_int_equal(m->region_count, 2); /* in use */
	assert_int_equal(memory_unmap(m, 0), 0);
	assert_null(region_at(m, host));
	assert_non_null(region_at(m, host + MB));
	free_memory(m);
	munmap(host, 2 * MB);
}

/* More scattered blocks than the list takes: they are joined across the gaps. */
static void test_region_more_blocks_than_the_list_takes_join(void **state)
{
	(void)state;
	enum { BLOCKS = 5000, STRIDE = 0x9000 };
	struct memory *m = new_memory();
	uint8_t *host = host_pages(BLOCKS * (size_t)STRIDE);

	for (unsigned i = 0; i < BLOCKS; i++) {
		assert_int_equal(memory_map(m, i, i * 0x10000ull, 0x1000, host + i * STRIDE, 0), 0);
		assert_in_range(m->region_count, 1, MEMORY_MAX_REGIONS);
		if (i == 100)
			memory_host_range_gone(m, host + 50 * STRIDE, 0x1000);
	}
	for (unsigned i = 0; i < BLOCKS; i++) {
		const struct slot *s = memory_find(m, i * 0x10000ull);

		assert_ptr_equal(slot_host(s, s->gpa), host + i * STRIDE);
		assert_ptr_equal(region_at(m, s->host), s->region);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_region_subranges_of_one_block_reuse_it),
		cmocka_unit_test(test_region_aliases_share_page_flags),
		cmocka_unit_test(test_region_overlapping_live_ones_join),
		cmocka_unit_test(test_region_join_keeps_gone_pages_of_other_slots),
		cmocka_unit_test(test_region_unused_dropped_before_overlap),
		cmocka_unit_test(test_region_unused_last_64_kept),
		cmocka_unit_test(test_region_host_gone_wholly_dropped_when_unused),
		cmocka_unit_test(test_region_more_blocks_than_the_list_takes_join),
		cmocka_unit_test(test_gone_marks_touched_pages_only),
		cmocka_unit_test(test_gone_during_table_changes_is_never_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
