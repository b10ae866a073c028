// SPDX-License-Identifier: GPL-2.0-only
/*
 * The image loaders of `buslock run`, taken in here as source: they belong to the command, not to a
 * library. What damaged files do: an error with a reason, and no byte written outside of the guest's
 * memory.
 */
#include "cli/image.c"
#include "cli/multiboot.c"

#include <setjmp.h>
#include <sys/mman.h>

#include <cmocka.h>

#define SIZE      0x200000u /* of the guest's memory */
#define TOP       0x1f0000u
#define CANARY    0xa5
#define MUTATIONS 40000

static struct guest_memory memory;
static char path[64];
static int file;

static int set_up(void **state)
{
	/* pages that fault on both sides */
	uint8_t *area = mmap(NULL, SIZE + 0x2000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	if (area == MAP_FAILED || mprotect(area + 0x1000, SIZE, PROT_READ | PROT_WRITE))
		return -1;
	memory = (struct guest_memory){ .host = area + 0x1000, .size = SIZE, .top = TOP };
	memset(memory.host + TOP, CANARY, SIZE - TOP);
	file = memfd_create("image", 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	return file < 0 ? -1 : 0;
}

static int load_bytes(struct image *image, const void *bytes, size_t n,
		      const struct image_options *options, char *why, size_t size)
{
	assert_int_equal(ftruncate(file, 0), 0);
	assert_int_equal(pwrite(file, bytes, n, 0), (ssize_t)n);
	return image_load(image, path, options, &memory, why, size);
}

static void expect_untouched(void)
{
	for (size_t i = TOP; i < SIZE; i++)
		if (memory.host[i] != CANARY)
			fail_msg("the monitor's memory was written at 0x%zx", i);
}

struct elf {
	Elf64_Ehdr header;
	Elf64_Phdr segment[2];
	uint8_t code[64];
};

static const struct elf good_elf = {
	.header = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		    .e_type = ET_EXEC,
		    .e_machine = EM_X86_64,
		    .e_version = EV_CURRENT,
		    .e_entry = 0x100010,
		    .e_phoff = sizeof(Elf64_Ehdr),
		    .e_ehsize = sizeof(Elf64_Ehdr),
		    .e_phentsize = sizeof(Elf64_Phdr),
		    .e_phnum = 2 },
	.segment = { { .p_type = PT_LOAD,
		       .p_offset = offsetof(struct elf, code),
		       .p_vaddr = 0x100000,
		       .p_paddr = 0x100000,
		       .p_filesz = 32,
		       .p_memsz = 0x1000 },
		     { .p_type = PT_LOAD,
		       .p_offset = offsetof(struct elf, code) + 32,
		       .p_vaddr = 0x180000,
		       .p_paddr = 0x150000,
		       .p_filesz = 32,
		       .p_memsz = 32 } },
	.code = { [0] = 0x90, [31] = 0x91, [32] = 0x92, [63] = 0x93 },
};

static void test_image_elf_segments_land_at_their_physical_addresses(void **state)
{
	struct image_options options = { 0 };
	struct image image;
	char why[256];

	(void)state;
	memset(memory.host, 0xff, TOP);
	if (load_bytes(&image, &good_elf, sizeof(good_elf), &options, why, sizeof(why)))
		fail_msg("%s", why);
	assert_int_equal(image.format, IMAGE_ELF);
	assert_int_equal(image.mode, MODE_LONG);
	assert_int_equal(image.entry, 0x100010);
	assert_int_equal(image.low, 0x100000);
	assert_int_equal(image.high, 0x150020);
	assert_int_equal(memory.host[0xfffff], 0xff);
	assert_int_equal(memory.host[0x100000], 0x90);
	assert_int_equal(memory.host[0x10001f], 0x91);
	/* what the file has not is zero, up to its size in memory */
	assert_int_equal(memory.host[0x100020], 0);
	assert_int_equal(memory.host[0x100fff], 0);
	assert_int_equal(memory.host[0x101000], 0xff);
	assert_int_equal(memory.host[0x150000], 0x92);
	assert_int_equal(memory.host[0x15001f], 0x93);
	assert_int_equal(memory.host[0x150020], 0xff);
}

static void test_image_elf_segment_beyond_the_file_is_enoexec(void **state)
{
	struct image_options options = { 0 };
	struct elf e = good_elf;
	struct image image;
	char why[256];

	(void)state;
	e.segment[1].p_filesz = e.segment[1].p_memsz = 33; /* one byte too many */
	assert_int_equal(load_bytes(&image, &e, sizeof(e), &options, why, sizeof(why)), -ENOEXEC);
	assert_non_null(strstr(why, "beyond the end of the file"));
}

static void test_image_flat_fills_memory_to_the_last_byte_and_no_further(void **state)
{
	static uint8_t bytes[0x1000];
	struct image_options options = { .mode = MODE_LONG,
					 .has_load = true,
					 .load = TOP - 0x1000 };
	struct image image;
	char why[256];

	(void)state;
	memset(bytes, 0x90, sizeof(bytes));
	assert_int_equal(load_bytes(&image, bytes, sizeof(bytes), &options, why, sizeof(why)), 0);
	assert_int_equal(memory.host[TOP - 1], 0x90);
	expect_untouched();
	options.load++;
	assert_int_equal(load_bytes(&image, bytes, sizeof(bytes), &options, why, sizeof(why)),
			 -ENOSPC);
	assert_non_null(strstr(why, "(more with -m)"));
	options.load = UINT64_MAX;
	assert_int_equal(load_bytes(&image, bytes, sizeof(bytes), &options, why, sizeof(why)),
			 -ENOSPC);
}

struct kernel {
	uint32_t pad[3], magic, flags, checksum, header, load, load_end, bss_end, entry;
	uint8_t code[20];
};

static struct kernel kernel_of(uint32_t load_end, uint32_t bss_end)
{
	struct kernel k = { .magic = 0x1badb002,
			    .flags = 0x10000,
			    .checksum = -(0x1badb002u + 0x10000u),
			    .header = 0x10000c,
			    .load = 0x100000,
			    .load_end = load_end,
			    .bss_end = bss_end,
			    .entry = 0x10002c,
			    .code = { [0] = 0x90, [19] = 0x91 } };

	return k;
}

static void test_image_multiboot_addresses_rule_what_is_loaded(void **state)
{
	struct image_options options = { 0 };
	struct kernel k = kernel_of(0, 0x100100);
	struct image image;
	char why[256];

	(void)state;
	memset(memory.host, 0xff, TOP);
	if (load_bytes(&image, &k, sizeof(k), &options, why, sizeof(why)))
		fail_msg("%s", why);
	assert_int_equal(image.format, IMAGE_MULTIBOOT);
	assert_int_equal(image.mode, MODE_PROTECTED);
	assert_int_equal(image.entry, 0x10002c);
	assert_int_equal(image.high, 0x100100);
	assert_int_equal(memory.host[0x10002c], 0x90);
	assert_int_equal(memory.host[0x10003f], 0x91); /* load_end 0: the whole file */
	assert_int_equal(memory.host[0x100040], 0);
	assert_int_equal(memory.host[0x1000ff], 0);
	assert_int_equal(memory.host[0x100100], 0xff);
	/* only a part of the file */
	k = kernel_of(0x10002d, 0);
	memset(memory.host, 0xff, TOP);
	assert_int_equal(load_bytes(&image, &k, sizeof(k), &options, why, sizeof(why)), 0);
	assert_int_equal(memory.host[0x10002c], 0x90);
	assert_int_equal(memory.host[0x10002d], 0xff);
	/* more than there is */
	k = kernel_of(0x100041, 0);
	assert_int_equal(load_bytes(&image, &k, sizeof(k), &options, why, sizeof(why)), -ENOEXEC);
	k = kernel_of(0, TOP + 1);
	assert_int_equal(load_bytes(&image, &k, sizeof(k), &options, why, sizeof(why)), -ENOSPC);
	/* text that would begin before the file */
	k = kernel_of(0, 0);
	k.load -= 4;
	assert_int_equal(load_bytes(&image, &k, sizeof(k), &options, why, sizeof(why)), -ENOEXEC);
}

static void test_multiboot_find_wants_alignment_magic_and_checksum_in_8_kib(void **state)
{
	static uint32_t words[3000];
	struct multiboot_header header;

	(void)state;
	for (size_t at = 0; at < 2996; at += 7) {
		memset(words, 0, sizeof(words));
		words[at] = 0x1badb002;
		words[at + 2] = -0x1badb002u;
		assert_int_equal(multiboot_find((uint8_t *)words, sizeof(words), &header),
				 4 * at + 12 <= 8192);
		/* one byte off */
		assert_false(multiboot_find((uint8_t *)words + 1, sizeof(words) - 1, &header));
		/* cut off behind the second word */
		assert_false(multiboot_find((uint8_t *)words, 4 * at + 8, &header));
		words[at + 2]++;
		assert_false(multiboot_find((uint8_t *)words, sizeof(words), &header));
	}
}

static void test_multiboot_info_that_does_not_fit_is_e2big(void **state)
{
	char line[0x8000];

	(void)state;
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	assert_int_equal(multiboot_write_info(&memory, TOP, 0x8000, "kernel", line), -E2BIG);
	for (size_t i = TOP + 0x8000; i < SIZE; i++)
		assert_int_equal(memory.host[i], CANARY);
	assert_int_equal(multiboot_write_info(&memory, TOP, 0x8000, "kernel", "quiet"), 0);
	assert_non_null(memmem(memory.host + TOP, 0x8000, "kernel quiet", 13));
	memset(memory.host + TOP, CANARY, SIZE - TOP);
}

static uint32_t seed = 20240607;

static uint32_t some(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)seed * below) >> 32);
}

/* Values at which comparisons and sums turn over. */
static uint64_t odd_value(void)
{
	static const uint64_t values[] = { 0,          1,          8,         0x1000,
					   TOP - 1,    TOP,        SIZE,      0x7fffffff,
					   0x80000000, 0xffffffff, INT64_MAX, UINT64_MAX - 0xfff,
					   UINT64_MAX };

	return values[some(sizeof(values) / sizeof(values[0]))] + some(3) - 1;
}

static void mutate(uint8_t *bytes, size_t n)
{
	for (unsigned i = some(4) + 1; i; i--) {
		uint64_t value = odd_value();
		size_t width = (size_t)1 << some(4), at = some((uint32_t)(n / width)) * width;

		memcpy(bytes + at, &value, width);
	}
}

static void test_image_damaged_files_fail_with_a_reason_and_write_nowhere_else(void **state)
{
	struct kernel good_kernel = kernel_of(0, 0x100100);
	unsigned loaded = 0, refused = 0;

	(void)state;
	for (unsigned i = 0; i < MUTATIONS; i++) {
		const void *good = i & 1 ? (const void *)&good_elf : &good_kernel;
		size_t n = i & 1 ? sizeof(good_elf) : sizeof(good_kernel);
		struct image_options options = { 0 };
		uint8_t bytes[sizeof(good_elf)];
		struct image image;
		char why[256] = "";
		int error;

		memcpy(bytes, good, n);
		mutate(bytes, n);
		if (!some(4))
			n = some((uint32_t)n) + 1;
		error = load_bytes(&image, bytes, n, &options, why, sizeof(why));
		if (error) {
			refused++;
			assert_true(error < 0);
			assert_true(*why);
			continue;
		}
		loaded++;
		assert_true(image.entry < TOP);
		assert_true(image.high <= TOP);
	}
	expect_untouched();
	/* or the mutations are too tame or too wild to say anything */
	assert_in_range(loaded, MUTATIONS / 20, MUTATIONS);
	assert_in_range(refused, MUTATIONS / 20, MUTATIONS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_image_elf_segments_land_at_their_physical_addresses),
		cmocka_unit_test(test_image_elf_segment_beyond_the_file_is_enoexec),
		cmocka_unit_test(test_image_flat_fills_memory_to_the_last_byte_and_no_further),
		cmocka_unit_test(test_image_multiboot_addresses_rule_what_is_loaded),
		cmocka_unit_test(test_multiboot_find_wants_alignment_magic_and_checksum_in_8_kib),
		cmocka_unit_test(test_multiboot_info_that_does_not_fit_is_e2big),
		cmocka_unit_test(
			test_image_damaged_files_fail_with_a_reason_and_write_nowhere_else),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
