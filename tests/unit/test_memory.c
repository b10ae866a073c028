// SPDX-License-Identifier: GPL-2.0-only
/* memory.c and memtype.c: the slot table, the dirty log, copies, declared types. */
#include "tests/unit/fake_engine.h"

#include <errno.h>
#include <time.h>

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
	assert_int_equal(memory_map(m, 0, 0, MB, host, 8), -EINVAL);
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
	static const struct {
		uint64_t gpa, size;
		int ret;
	} rows[] = {
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
	free_memory(m);
	munmap(host, 4 * MB);
}

static void test_map_changes_move_generation(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(MB);
	uint64_t log[4], generation = m->generation;

#define MOVED(call)                                              \
	do {                                                     \
		assert_int_equal(call, 0);                       \
		assert_int_not_equal(m->generation, generation); \
		generation = m->generation;                      \
	} while (0)
	MOVED(memory_map(m, 0, 0, MB, host, 0));
	MOVED(memory_set_flags(m, 0, EMU_MEM_LOG_DIRTY));
	MOVED(memory_dirty_log(m, 0, log, true));
	MOVED(memory_dirty_clear(m, 0, 0, 64, log));
	MOVED((memory_host_range_gone(m, host, MB), 0));
	MOVED((memory_host_range_back(m, host, MB), 0));
	MOVED(memory_declare_type(m, 0, 0x1000, EMU_MT_UC));
	MOVED((memory_set_policy(m, EMU_MEMORY_NATIVE, false), 0));
	MOVED(memory_unmap(m, 0));
#undef MOVED
	free_memory(m);
	munmap(host, MB);
}

static void test_table_random_operations_agree_with_linear_list(void **state)
{
	(void)state;
	enum { SLOTS = 48, PAGES = 256 };
	struct memory *m = new_memory();
	uint8_t *host = host_pages(PAGES * 4096);
	struct {
		uint64_t gpa, size;
		uint8_t *host;
	} list[SLOTS] = { 0 };

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
				if (i != number && list[i].size &&
				    gpa < list[i].gpa + list[i].size &&
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
			/* each host page lies in one region */
			if (s) {
				assert_in_range((uintptr_t)at, (uintptr_t)s->region->host,
						(uintptr_t)s->region->host + s->region->size - 1);
				assert_ptr_equal(region_at(m, at), s->region);
			}
		}
	}
	free_memory(m);
	munmap(host, PAGES * 4096);
}

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#define SLOTS_MAX 32764 /* as many as KVM has */

/* Slot i shows the `size` bytes at place(i) * stride of one block; all made, looked up and deleted. */
static void time_slots(uint64_t size, uint64_t stride, unsigned step)
{
	struct memory *m = new_memory();
	uint8_t *host = mmap(NULL, SLOTS_MAX * stride, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	double begun = cpu_ns(), ns;

	assert_ptr_not_equal(host, MAP_FAILED);
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		uint64_t at = (uint64_t)i * step % SLOTS_MAX * stride;

		assert_int_equal(memory_map(m, i, at, size, host + at, 0), 0);
	}
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		uint64_t gpa = i * 104729ull % SLOTS_MAX * stride;

		assert_ptr_equal(slot_host(memory_find(m, gpa), gpa), host + gpa);
		if (size < stride)
			assert_null(memory_find(m, gpa + size));
	}
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		assert_int_equal(memory_unmap(m, i * 17ull % SLOTS_MAX), 0);
	ns = cpu_ns() - begun;
	print_message("%.0f ns a slot\n", ns / SLOTS_MAX);
	/* quadratic would be minutes; a sanitizer may take its tenfold */
	assert_in_range((uint64_t)(ns / 1e9), 0, 10);
	assert_int_equal(m->count, 0);
	free_memory(m);
	munmap(host, SLOTS_MAX * stride);
}

/* Neither numbers nor host addresses nor guest addresses in order, gaps between all of them. */
static void test_table_32764_scattered_slots_are_fast(void **state)
{
	(void)state;
	time_slots(0x1000, 0x2000, 7919);
}

/* What the kernel's set_memory_region_test does: 64 GB, one slot behind the other. */
static void test_table_32764_slots_in_order_are_fast(void **state)
{
	(void)state;
	time_slots(2 * MB, 2 * MB, 1);
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

static void test_dirty_log_that_begins_set_has_all_pages(void **state)
{
	(void)state;
	struct memory *m = new_memory();
	uint8_t *host = host_pages(130 * 4096);
	uint64_t log[3];

	assert_int_equal(memory_map(m, 0, 0x10000, 130 * 4096, host,
				    EMU_MEM_LOG_DIRTY | EMU_MEM_LOG_SET),
			 0);
	assert_int_equal(memory_find(m, 0x10000)->flags, EMU_MEM_LOG_DIRTY);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(memory_dirty_log(m, 0, log, true), 0);
		assert_true(log[0] == (i ? 0 : ~0ull) && log[1] == log[0]);
		assert_int_equal(log[2], i ? 0 : 3);
		assert_int_equal(memory_set_flags(m, 0, EMU_MEM_LOG_DIRTY | EMU_MEM_LOG_SET), 0);
	}
	free_memory(m);
	munmap(host, 130 * 4096);
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

static unsigned type_at(struct machine *m, uint64_t gpa, unsigned pat_index)
{
	return memory_types(&m->v, gpa, pat_index).effective;
}

static void test_memtype_ram_is_write_back_unless_declared(void **state)
{
	struct machine *m = *state;
	struct memory *mem = &m->vm.memory;

	for (unsigned pat = 0; pat <= MEMTYPE_NO_PAT; pat++)
		assert_int_equal(type_at(m, 0x1000, pat), EMU_MT_WB);
	assert_true(memory_is_wb(mem));
	assert_int_equal(memory_declare_type(mem, 0x1000, 0x2000, EMU_MT_UC), 0);
	assert_false(memory_is_wb(mem));
	assert_int_equal(memory_declare_type(mem, 0x2000, 0x2000, EMU_MT_WT), 0);
	assert_int_equal(type_at(m, 0xfff, 0), EMU_MT_WB);
	assert_int_equal(type_at(m, 0x1000, 0), EMU_MT_UC);
	assert_int_equal(type_at(m, 0x1fff, 0), EMU_MT_UC);
	assert_int_equal(type_at(m, 0x2000, 0), EMU_MT_WT);
	assert_int_equal(type_at(m, 0x3fff, 0), EMU_MT_WT);
	assert_int_equal(type_at(m, 0x4000, 0), EMU_MT_WB);
	assert_int_equal(memory_declare_type(mem, 0, ~0ull & ~0xfffull, EMU_MT_WB), 0);
	assert_int_equal(type_at(m, 0x2000, 0), EMU_MT_WB);
}

/* A declared type is the second level's: the guest's PAT counts, also where the policy ignores it. */
static void test_memtype_declared_range_honours_pat(void **state)
{
	struct machine *m = *state;

	m->v.types.pat = 0x0007040600010406; /* entry 2 is WC, 3 UC */
	assert_int_equal(memory_declare_type(&m->vm.memory, 0x1000, 0x1000, EMU_MT_UC), 0);
	assert_int_equal(type_at(m, 0x1000, 0), EMU_MT_UC);
	assert_int_equal(type_at(m, 0x1000, 2), EMU_MT_WC);
	assert_int_equal(type_at(m, 0x2000, 3), EMU_MT_WB);
}

/* Everything that the question takes from the vCPU and its VM. */
static void test_memtype_follows_policy_and_registers(void **state)
{
	struct machine *m = *state;
	struct memory *mem = &m->vm.memory;
	struct memory_types t;

	memory_set_policy(mem, EMU_MEMORY_WB, false);
	assert_false(memory_is_wb(mem));
	assert_int_equal(type_at(m, 0x1000, 1), EMU_MT_WT);
	assert_int_equal(type_at(m, 0x1000, MEMTYPE_NO_PAT), EMU_MT_WB);

	memory_set_policy(mem, EMU_MEMORY_GUEST_MTRR, false);
	assert_int_equal(type_at(m, 0x1000, 0), EMU_MT_WB); /* CPUID has no MTRRs */
	m->v.has_mtrr = true;
	assert_int_equal(type_at(m, 0x1000, 0), EMU_MT_UC); /* not enabled */
	assert_int_equal(memory_types(&m->v, 0x1000, 0).guest, EMU_MT_WB);
	m->v.types.mtrr_default = 0x806;
	m->v.types.mtrr_variable[0] = 0x4000000004;
	m->v.types.mtrr_variable[1] = 0x4000000800;
	m->vm.physical_bits = 40;
	t = memory_types(&m->v, 0x4000001000, 0);
	assert_int_equal(t.effective, EMU_MT_WT);
	assert_int_equal(t.guest, EMU_MT_WT);
	m->vm.physical_bits = 36; /* that mask cares for nothing any more */
	assert_int_equal(type_at(m, 0x1000, 0), EMU_MT_WT);
	m->v.cpu.cr0 |= CR0_CD;
	assert_int_equal(type_at(m, 0x1000, 0), EMU_MT_WB);
	memory_set_policy(mem, EMU_MEMORY_GUEST_MTRR, true);
	assert_int_equal(type_at(m, 0x1000, 0), EMU_MT_UC);

	memory_set_policy(mem, EMU_MEMORY_NPT, true);
	mem->vendor = EMU_AMD;
	assert_int_equal(type_at(m, 0x1000, 0), EMU_MT_CD);
}

/* What lies within a later declaration is forgotten, and nothing else. */
static void test_memtype_declarations_that_say_nothing_any_more_are_dropped(void **state)
{
	struct machine *m = *state;
	struct memory *mem = &m->vm.memory;

	for (unsigned n = 0; n < 100; n++)
		assert_int_equal(
			memory_declare_type(mem, 0x3000, 0x1000, n & 1 ? EMU_MT_WT : EMU_MT_UC), 0);
	assert_int_equal(mem->type_count, 1);
	assert_int_equal(memory_declare_type(mem, 0x1000, 0x8000, EMU_MT_WP), 0);
	assert_int_equal(mem->type_count, 1);
	/* the first, the last and a middle page of it; then one page more than it at either end */
	assert_int_equal(memory_declare_type(mem, 0x1000, 0x1000, EMU_MT_UC), 0);
	assert_int_equal(memory_declare_type(mem, 0x8000, 0x1000, EMU_MT_UC), 0);
	assert_int_equal(memory_declare_type(mem, 0x4000, 0x1000, EMU_MT_UC), 0);
	assert_int_equal(mem->type_count, 4);
	assert_int_equal(memory_declare_type(mem, 0, 0x2000, EMU_MT_WT), 0);
	assert_int_equal(memory_declare_type(mem, 0x8000, 0x2000, EMU_MT_WT), 0);
	assert_int_equal(mem->type_count, 4);
	for (uint64_t page = 0; page < 10; page++) {
		unsigned expected = page < 2 || page > 7 ? EMU_MT_WT
				    : page == 4          ? EMU_MT_UC
							 : EMU_MT_WP;

		assert_int_equal(type_at(m, page << 12, 0), expected);
	}
	/* up to the last address there is */
	assert_int_equal(memory_declare_type(mem, ~0xfffull, 0x1000, EMU_MT_UC), 0);
	assert_int_equal(memory_declare_type(mem, ~0x1fffull, 0x2000, EMU_MT_UC), 0);
	assert_int_equal(mem->type_count, 5);
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
	assert_int_equal(type_at(m, 0x1000, 0), EMU_MT_WB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map_invalid_arguments_refused),
		cmocka_unit_test(test_map_overlap_refused_neighbour_accepted),
		cmocka_unit_test(test_map_existing_number_replaced),
		cmocka_unit_test(test_map_changes_move_generation),
		cmocka_unit_test(test_table_random_operations_agree_with_linear_list),
		cmocka_unit_test(test_table_32764_scattered_slots_are_fast),
		cmocka_unit_test(test_table_32764_slots_in_order_are_fast),
		cmocka_unit_test(test_dirty_log_marked_pages_and_clear),
		cmocka_unit_test(test_dirty_clear_only_named_bits),
		cmocka_unit_test(test_dirty_log_that_begins_set_has_all_pages),
		cmocka_unit_test(test_dirty_log_switched_by_flags),
		cmocka_unit_test(test_copy_across_slots_all_or_nothing),
		cmocka_unit_test(test_copy_readonly_or_gone_refused),
		cmocka_unit_test(test_copy_into_code_drops_it),
		TEST(test_memtype_ram_is_write_back_unless_declared),
		TEST(test_memtype_declared_range_honours_pat),
		TEST(test_memtype_follows_policy_and_registers),
		TEST(test_memtype_declarations_that_say_nothing_any_more_are_dropped),
		TEST(test_memtype_invalid_declaration_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
