// SPDX-License-Identifier: GPL-2.0-only
/* Memory slots and the dirty log, over the script backend: the kernel's rules only. */
#include "tests/unit/shim_script.h"

#define MB      (1ull << 20)
#define PAGES   64
#define GPA_TOP (1ull << 40) /* the script's CPUID says 40 bits */

static char *ram;
static struct machine m;

static long set(uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size, uint64_t host)
{
	struct kvm_userspace_memory_region region = { slot, flags, gpa, size, host };

	return FD_IOCTL(m.vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static uint64_t at(uint64_t offset)
{
	return (uint64_t)(uintptr_t)ram + offset;
}

static int setup(void **state)
{
	(void)state;
	ram = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	machine_start(&m, "dirty 0 3\ndirty 0 5\ndirty 0 63\nexit hlt\ndirty 0 3\nexit hlt\n");
	return ram == MAP_FAILED;
}

static int teardown(void **state)
{
	(void)state;
	munmap(ram, PAGES * 4096);
	machine_stop(&m);
	return 0;
}

static void test_region_create_checks_alignment_numbers_and_ranges(void **state)
{
	static const struct {
		uint32_t slot, flags;
		uint64_t gpa, size, offset;
		long result;
	} rows[] = {
		{ 0, 0, 0, 4096, 0, 0 },
		{ 1, 0, 0x1001, 4096, 0, -EINVAL },
		{ 1, 0, 0x1000, 4097, 0, -EINVAL },
		{ 1, 0, 0x1000, 4096, 1, -EINVAL },
		{ 1, 4, 0x1000, 4096, 0, -EINVAL }, /* guest_memfd */
		{ 1, 0x80000000, 0x1000, 4096, 0, -EINVAL },
		{ 32763, 0, 0x1000, 4096, 0, 0 },
		{ 32764, 0, 0x3000, 4096, 0, -EINVAL },         /* the kernel's own */
		{ 0x10000, 0, 0x3000, 4096, 0, -EINVAL },       /* address space 1 */
		{ 1, 0, 0xfffffffffffff000, 8192, 0, -EINVAL }, /* wraps */
		{ 1, 0, GPA_TOP - 4096, 4096, 0, 0 },
		{ 2, 0, GPA_TOP, 4096, 0, -EINVAL }, /* beyond the address width */
		{ 2, 0, GPA_TOP - 4096, 8192, 0, -EEXIST },
		{ 2, 0, 0x5000, 0, 0, -EINVAL }, /* deletes nothing */
		{ 2, KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES, 0x8000, 4096, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		long r = set(rows[i].slot, rows[i].flags, rows[i].gpa, rows[i].size,
			     at(rows[i].offset));

		if (r != rows[i].result)
			print_error("row %zu: %ld\n", i, r);
		assert_int_equal(r, rows[i].result);
	}
	assert_int_equal(set(9, 0, 0x9000, 4096, 0x800000000000ull), -EINVAL);
	assert_int_equal(set(9, 0, 0x9000, 0x2000, 0x7fffffffe000ull), -EINVAL);
	assert_int_equal(set(9, 0, 0x100000000, 1ull << 44, 0), -EINVAL); /* too many pages */
	assert_int_equal(fd_ioctl(m.vm, KVM_SET_USER_MEMORY_REGION, 8), -EFAULT);
}

static void test_region_overlap_is_eexist_and_touching_is_not(void **state)
{
	(void)state;
	assert_int_equal(set(0, 0, MB, MB / 16, at(0)), 0);
	assert_int_equal(set(1, 0, MB, 4096, at(0)), -EEXIST);
	assert_int_equal(set(1, 0, MB + MB / 16 - 4096, 8192, at(0)), -EEXIST);
	assert_int_equal(set(1, 0, MB - 4096, 8192, at(0)), -EEXIST);
	assert_int_equal(set(1, 0, 0, 2 * MB, at(0)), -EEXIST);
	assert_int_equal(set(1, 0, MB + MB / 16, 4096, at(0)), 0);
	assert_int_equal(set(2, 0, MB - 4096, 4096, at(0)), 0);
}

static void test_region_of_an_existing_slot_may_move_or_change_its_log_only(void **state)
{
	(void)state;
	assert_int_equal(set(0, 0, MB, 8192, at(0)), 0);
	assert_int_equal(set(1, 0, 2 * MB, 4096, at(0)), 0);
	assert_int_equal(set(0, 0, MB, 8192, at(0)), 0); /* nothing to do */
	assert_int_equal(set(0, 0, MB, 4096, at(0)), -EINVAL);
	assert_int_equal(set(0, 0, MB, 12288, at(0)), -EINVAL);
	assert_int_equal(set(0, 0, MB, 8192, at(4096)), -EINVAL);
	assert_int_equal(set(0, KVM_MEM_READONLY, MB, 8192, at(0)), -EINVAL);
	assert_int_equal(set(0, KVM_MEM_LOG_DIRTY_PAGES, MB, 8192, at(0)), 0);
	assert_int_equal(set(0, 0, 2 * MB - 4096, 8192, at(0)), -EEXIST); /* onto slot 1 */
	assert_int_equal(set(0, 0, 3 * MB, 8192, at(0)), 0);
	assert_int_equal(set(2, 0, MB, 8192, at(0)), 0); /* where it was */
	assert_int_equal(set(3, 0, 3 * MB + 4096, 4096, at(0)), -EEXIST);
	assert_int_equal(set(0, 0, 3 * MB + 4096, 8192, at(0)), 0); /* onto itself */
}

static void test_region_delete_frees_number_and_addresses(void **state)
{
	(void)state;
	assert_int_equal(set(0, 0, MB, 4096, at(0)), 0);
	assert_int_equal(set(1, 0, 2 * MB, 4096, at(4096)), 0);
	assert_int_equal(set(2, 0, 3 * MB, 4096, at(8192)), 0);
	assert_int_equal(set(0, 0, 0, 0, 0), 0);
	assert_int_equal(set(0, 0, 0, 0, 0), -EINVAL);
	assert_int_equal(set(7, 0, MB, 4096, at(0)), 0);
	/* the others are still there, as they were */
	assert_int_equal(set(1, 0, 2 * MB, 4096, at(4096)), 0);
	assert_int_equal(set(1, 0, 2 * MB, 4096, at(0)), -EINVAL);
	assert_int_equal(set(8, 0, 3 * MB, 4096, at(0)), -EEXIST);
	for (uint32_t i = 1; i < 3; i++)
		assert_int_equal(set(i, 0, 0, 0, 0), 0);
	assert_int_equal(set(7, 0, 0, 0, 0), 0);
}

static size_t gaps(uint64_t *host, uint64_t *size)
{
	struct shim_file *file = shim_file_get(m.vm);
	size_t n = backend_script_gaps(((struct shim_vm *)file)->emu, host, size, 16);

	shim_file_put(file);
	return n;
}

static void test_region_without_memory_behind_it_is_accepted_and_its_gaps_are_known(void **state)
{
	char *hole = mmap(NULL, 16 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t host[16], size[16], told = 0;
	size_t n;

	(void)state;
	assert_int_equal(set(3, 0, 8 * MB, PAGES * 4096, at(0)), 0);
	assert_int_equal(gaps(host, size), 0);
	munmap(hole + 4 * 4096, 3 * 4096);
	munmap(hole + 9 * 4096, 4096);
	assert_int_equal(set(0, 0, MB, 16 * 4096, (uintptr_t)hole), 0);
	assert_int_equal(gaps(host, size), 2);
	assert_int_equal(host[0], (uintptr_t)hole + 4 * 4096);
	assert_int_equal(size[0], 3 * 4096);
	assert_int_equal(host[1], (uintptr_t)hole + 9 * 4096);
	assert_int_equal(size[1], 4096);
	munmap(hole, 16 * 4096);
	assert_int_equal(set(1, 0, 2 * MB, 16 * 4096, (uintptr_t)hole), 0);
	assert_int_equal(gaps(host, size), 3);
	assert_int_equal(host[2], (uintptr_t)hole);
	assert_int_equal(size[2], 16 * 4096);
	/* half a terabyte of (nearly) nothing takes no time; a sanitizer has its shadow in there */
	assert_int_equal(set(2, 0, 16 * MB, 1ull << 39, 0x100000000000ull), 0);
	n = gaps(host, size);
	for (size_t i = 3; i < n && i < 16; i++)
		told += size[i];
	assert_in_range(told, 1ull << 30, 1ull << 39);
}

static void test_region2_exists_since_6_8(void **state)
{
	struct abi_memory_region2 region = {
		.slot = 0, .guest_phys_addr = MB, .memory_size = 4096, .userspace_addr = at(0)
	};

	(void)state;
	use_kernel(KERNEL(6, 7, 0));
	assert_int_equal(FD_IOCTL(m.vm, ABI_SET_USER_MEMORY_REGION2, &region), -ENOTTY);
	use_kernel(KERNEL_DEFAULT);
	assert_int_equal(FD_IOCTL(m.vm, ABI_SET_USER_MEMORY_REGION2, &region), 0);
	region.slot = 1;
	assert_int_equal(FD_IOCTL(m.vm, ABI_SET_USER_MEMORY_REGION2, &region), -EEXIST);
	region.flags = 4;
	assert_int_equal(FD_IOCTL(m.vm, ABI_SET_USER_MEMORY_REGION2, &region), -EINVAL);
}

/* ------------------------------------------------------------------ dirty log */

static long get_log(uint32_t slot, uint64_t *bitmap)
{
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = bitmap };

	return FD_IOCTL(m.vm, KVM_GET_DIRTY_LOG, &log);
}

static void test_dirty_log_reads_and_clears(void **state)
{
	uint64_t bitmap[2] = { 7, 7 };

	(void)state;
	assert_int_equal(get_log(0, bitmap), -ENOENT);
	assert_int_equal(set(0, 0, 0, PAGES * 4096, at(0)), 0);
	assert_int_equal(get_log(0, bitmap), -ENOENT);
	assert_int_equal(get_log(40000, bitmap), -EINVAL);
	assert_int_equal(get_log(0x10000, bitmap), -EINVAL);
	assert_int_equal(set(0, KVM_MEM_LOG_DIRTY_PAGES, 0, PAGES * 4096, at(0)), 0);
	assert_int_equal(get_log(0, bitmap), 0);
	assert_int_equal(bitmap[0], 0);
	assert_int_equal(bitmap[1], 7); /* 64 pages are 8 bytes */
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(get_log(0, (uint64_t *)8), -EFAULT);
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(get_log(0, bitmap), 0);
	assert_int_equal(bitmap[0],
			 1 << 3); /* the failed call had cleared the rest, as the kernel does */
	assert_int_equal(get_log(0, bitmap), 0);
	assert_int_equal(bitmap[0], 0);
}

static void test_dirty_log_with_manual_protection_is_cleared_by_hand(void **state)
{
	uint64_t bitmap = 0, clear = 1ull << 63 | 1 << 3;
	struct kvm_clear_dirty_log log = { .slot = 0, .num_pages = PAGES, .dirty_bitmap = &clear };

	(void)state;
	assert_int_equal(enable(m.vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 0, 1), 0);
	assert_int_equal(set(0, KVM_MEM_LOG_DIRTY_PAGES, 0, PAGES * 4096, at(0)), 0);
	assert_int_equal(run_once(&m), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(get_log(0, &bitmap), 0);
		assert_int_equal(bitmap, 1ull << 63 | 1 << 5 | 1 << 3);
	}
	assert_int_equal(FD_IOCTL(m.vm, KVM_CLEAR_DIRTY_LOG, &log), 0);
	assert_int_equal(get_log(0, &bitmap), 0);
	assert_int_equal(bitmap, 1 << 5);
	log.first_page = 1;
	assert_int_equal(FD_IOCTL(m.vm, KVM_CLEAR_DIRTY_LOG, &log), -EINVAL);
	log.first_page = 0;
	log.num_pages = 32; /* neither a multiple of 64 nor up to the end */
	assert_int_equal(FD_IOCTL(m.vm, KVM_CLEAR_DIRTY_LOG, &log), -EINVAL);
	log.num_pages = 128;
	assert_int_equal(FD_IOCTL(m.vm, KVM_CLEAR_DIRTY_LOG, &log), -EINVAL);
	log.num_pages = PAGES;
	log.slot = 1;
	assert_int_equal(FD_IOCTL(m.vm, KVM_CLEAR_DIRTY_LOG, &log), -ENOENT);
	log.slot = 0;
	log.dirty_bitmap = (void *)8;
	assert_int_equal(FD_IOCTL(m.vm, KVM_CLEAR_DIRTY_LOG, &log), -EFAULT);
}

/* QEMU asks for it: the first round of a migration sends everything and need not protect it all at once. */
static void test_dirty_log_initially_set_has_all_pages_of_a_new_log(void **state)
{
	uint64_t bitmap[2] = { 0, 7 }, clear = ~0ull;
	struct kvm_clear_dirty_log log = { .slot = 0, .num_pages = PAGES, .dirty_bitmap = &clear };

	(void)state;
	assert_int_equal(FD_IOCTL(m.vm, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2), 3);
	assert_int_equal(enable(m.vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 0, 2), -EINVAL);
	assert_int_equal(enable(m.vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 0, 3), 0);
	assert_int_equal(set(0, 0, 0, PAGES * 4096, at(0)), 0);
	assert_int_equal(set(0, KVM_MEM_LOG_DIRTY_PAGES, 0, PAGES * 4096, at(0)), 0);
	assert_int_equal(get_log(0, bitmap), 0);
	assert_int_equal(bitmap[0], ~0ull);
	assert_int_equal(bitmap[1], 7);
	assert_int_equal(FD_IOCTL(m.vm, KVM_CLEAR_DIRTY_LOG, &log), 0);
	assert_int_equal(get_log(0, bitmap), 0);
	assert_int_equal(bitmap[0], 0);
	/* it goes on */
	assert_int_equal(set(0, KVM_MEM_LOG_DIRTY_PAGES, 0, PAGES * 4096, at(0)), 0);
	assert_int_equal(get_log(0, bitmap), 0);
	assert_int_equal(bitmap[0], 0);
	/* no bits beyond the slot */
	assert_int_equal(set(1, KVM_MEM_LOG_DIRTY_PAGES, 1 << 20, 3 * 4096, at(0)), 0);
	assert_int_equal(get_log(1, bitmap), 0);
	assert_int_equal(bitmap[0], 7);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_region_create_checks_alignment_numbers_and_ranges),
		TEST(test_region_overlap_is_eexist_and_touching_is_not),
		TEST(test_region_of_an_existing_slot_may_move_or_change_its_log_only),
		TEST(test_region_delete_frees_number_and_addresses),
		TEST(test_region_without_memory_behind_it_is_accepted_and_its_gaps_are_known),
		TEST(test_region2_exists_since_6_8),
		TEST(test_dirty_log_reads_and_clears),
		TEST(test_dirty_log_with_manual_protection_is_cleared_by_hand),
		TEST(test_dirty_log_initially_set_has_all_pages_of_a_new_log),
	};

	return cmocka_run_group_tests(tests, script_setup, NULL);
}
