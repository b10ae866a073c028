// SPDX-License-Identifier: GPL-2.0-only
/* Guest symbols from each kind of file. */
#include "traces/symbols.h"

#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int load_bytes(struct symbols **symbols, const void *bytes, size_t n, char *why, size_t size)
{
	char path[] = "/tmp/buslock-test-XXXXXX";
	int fd = mkstemp(path), result;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), (ssize_t)n);
	close(fd);
	result = symbols_load(symbols, path, why, size);
	unlink(path);
	return result;
}

static struct symbols *load_text(const char *text)
{
	struct symbols *symbols;

	assert_int_equal(load_bytes(&symbols, text, strlen(text), NULL, 0), 0);
	return symbols;
}

static void expect(const struct symbols *symbols, uint64_t address, const char *wanted)
{
	char text[64];

	assert_string_equal(symbols_format(symbols, address, text, sizeof(text)), wanted);
}

static void test_symbols_system_map_names_the_nearest_below(void **state)
{
	struct symbols *s = load_text("ffffffff81000000 T _text\n"
				      "0000000000000042 A constant\n"
				      "ffffffff81000000 t local_alias\n"
				      "ffffffff81000100 t do_lock\n"
				      "                 U undefined\n"
				      "ffffffffc0000000 t mod_lock\t[some_module]\n");

	(void)state;
	assert_int_equal(symbols_count(s), 3);
	expect(s, 0xffffffff81000000, "_text");
	expect(s, 0xffffffff810000ff, "_text+0xff");
	expect(s, 0xffffffff81000100, "do_lock");
	expect(s, 0xffffffffc0000004, "mod_lock+0x4");
	expect(s, 0xffffffff80ffffff, "");
	expect(s, 0x42, "");
	/* nobody knows where the last one ends, but not megabytes on */
	expect(s, 0xffffffffc1000000, "");
	expect(NULL, 0xffffffff81000000, "");
	symbols_free(s);
}

static void test_symbols_nasm_map_uses_virtual_addresses(void **state)
{
	struct symbols *s =
		load_text("\n- NASM Map file -----------\n\nSource file:  x.asm\n\n"
			  "---- Section .text ----\n\nstart:  7C00\nlength:  12\n\n"
			  "-- Symbols ------------\n\n---- No Section ---\n\n"
			  "Value     Name\n00000003  FOO\n\n\n---- Section .text ---\n\n"
			  "Real              Virtual           Name\n"
			  "             600              7C00  start\n"
			  "             601              7C01  start.loop\n");

	(void)state;
	assert_int_equal(symbols_count(s), 2);
	expect(s, 0x7c00, "start");
	expect(s, 0x7c03, "start.loop+0x2");
	expect(s, 0x601, "");
	symbols_free(s);
}

struct elf {
	Elf64_Ehdr header;
	Elf64_Shdr section[4];
	Elf64_Sym symbol[5];
	char names[32];
};

static void test_symbols_elf_extents_end_where_the_file_says(void **state)
{
	/* names: 1 sized, 7 open, 12 last, 17 constant */
	struct elf e = {
		.header = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			    .e_type = ET_EXEC,
			    .e_machine = EM_X86_64,
			    .e_version = EV_CURRENT,
			    .e_shoff = offsetof(struct elf, section),
			    .e_ehsize = sizeof(Elf64_Ehdr),
			    .e_shentsize = sizeof(Elf64_Shdr),
			    .e_shnum = 4,
			    .e_shstrndx = 3 },
		.section = { [1] = { .sh_type = SHT_NOBITS, .sh_addr = 0x1000, .sh_size = 0x400 },
			     [2] = { .sh_type = SHT_SYMTAB,
				     .sh_offset = offsetof(struct elf, symbol),
				     .sh_size = sizeof(e.symbol),
				     .sh_link = 3,
				     .sh_entsize = sizeof(Elf64_Sym) },
			     [3] = { .sh_type = SHT_STRTAB,
				     .sh_offset = offsetof(struct elf, names),
				     .sh_size = sizeof(e.names) } },
		.symbol = { [1] = { 1, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 0, 1, 0x1000, 0x10 },
			    [2] = { 7, ELF64_ST_INFO(STB_LOCAL, STT_NOTYPE), 0, 1, 0x1100, 0 },
			    [3] = { 12, ELF64_ST_INFO(STB_LOCAL, STT_NOTYPE), 0, 1, 0x1300, 0 },
			    [4] = { 17, ELF64_ST_INFO(STB_LOCAL, STT_NOTYPE), 0, SHN_ABS, 0x1200,
				    0 } },
		.names = "\0sized\0open\0last\0constant",
	};
	struct symbols *s;
	char why[200] = "";

	(void)state;
	if (load_bytes(&s, &e, sizeof(e), why, sizeof(why)))
		fail_msg("%s", why);
	assert_int_equal(symbols_count(s), 3);
	expect(s, 0x100f, "sized+0xf");
	expect(s, 0x1010, ""); /* behind it nobody */
	expect(s, 0x12ff, "open+0x1ff");
	expect(s, 0x13ff, "last+0xff");
	expect(s, 0x1400, ""); /* the section ends */
	symbols_free(s);
}

/* Our own executable: a big, real ELF. */
static void test_symbols_elf_finds_functions_inside_their_extent(void **state)
{
	struct symbols *s;
	uint64_t offset;
	const char *name;

	(void)state;
	assert_int_equal(symbols_load(&s, "/proc/self/exe", NULL, 0), 0);
	assert_true(symbols_count(s) > 20);
	/* find where it says main is by asking for every address there */
	for (uint64_t address = 0; address < 0x1000000; address++) {
		name = symbols_find(s, address, &offset);
		if (!name || strcmp(name, "main") != 0)
			continue;
		assert_int_equal(offset, 0);
		name = symbols_find(s, address + 1, &offset);
		assert_string_equal(name, "main");
		assert_int_equal(offset, 1);
		symbols_free(s);
		return;
	}
	fail_msg("main is not in the table");
}

static void test_symbols_guest_elf_names_its_labels(void **state)
{
	struct symbols *s;
	char why[200];
	int error =
		symbols_load(&s, BUSLOCK_BUILD_DIR "/tests/guests/multiboot.elf", why, sizeof(why));
	uint64_t offset;

	(void)state;
	if (error == -ENOENT) {
		print_message("no multiboot guest was built\n");
		skip();
	}
	if (error)
		fail_msg("%s", why);
	assert_non_null(symbols_find(s, 0x100020, &offset));
	assert_null(symbols_find(s, 0x1000, &offset));
	symbols_free(s);
}

static void test_symbols_bad_files_are_refused_with_a_reason(void **state)
{
	static const char broken[64] = "\177ELF\2\1\1";
	struct symbols *s = (struct symbols *)1;
	char why[200];

	(void)state;
	assert_int_equal(symbols_load(&s, "/nonexistent/map", why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "/nonexistent/map"));
	assert_null(s);
	assert_int_equal(load_bytes(&s, "", 0, why, sizeof(why)), -ENODATA);
	assert_int_equal(load_bytes(&s, "hello\nworld\n", 12, why, sizeof(why)), -ENODATA);
	assert_non_null(strstr(why, "no symbols"));
	/* hexadecimal digits at the begin of a line do not make a symbol */
	assert_int_equal(load_bytes(&s, "daemon:x:1:1\nbad m:x\ndeadm x y\n", 31, why, sizeof(why)),
			 -ENODATA);
	assert_int_equal(load_bytes(&s, "a b c\nhello\nworld\n", 18, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "as in System.map"));
	assert_true(load_bytes(&s, broken, sizeof(broken), why, sizeof(why)) < 0);
	assert_true(load_bytes(&s, broken, 5, why, sizeof(why)) < 0);
	assert_int_equal(symbols_load(&s, "/", why, sizeof(why)), -EISDIR);
}

/* A program with one function "work" of eight bytes, and the code that it has. */
struct program {
	Elf64_Ehdr header;
	Elf64_Shdr section[4];
	Elf64_Sym symbol[2];
	char names[8];
	uint8_t code[0x2000];
};

static void add_program(struct symbols **symbols, unsigned type, const uint8_t *work, unsigned at,
			uint64_t address, const char *offset)
{
	struct program *e = calloc(1, sizeof(*e));
	char path[64] = "/tmp/buslock-test-XXXXXX", file[80], why[200];
	int fd = mkstemp(path);

	assert_true(fd >= 0 && e);
	e->header = (Elf64_Ehdr){ .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB,
					       EV_CURRENT },
				  .e_type = (Elf64_Half)type,
				  .e_machine = EM_X86_64,
				  .e_version = EV_CURRENT,
				  .e_shoff = offsetof(struct program, section),
				  .e_ehsize = sizeof(Elf64_Ehdr),
				  .e_shentsize = sizeof(Elf64_Shdr),
				  .e_shnum = 4,
				  .e_shstrndx = 3 };
	e->section[1] = (Elf64_Shdr){ .sh_type = SHT_PROGBITS,
				      .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
				      .sh_addr = address,
				      .sh_offset = offsetof(struct program, code),
				      .sh_size = sizeof(e->code) };
	e->section[2] = (Elf64_Shdr){ .sh_type = SHT_SYMTAB,
				      .sh_offset = offsetof(struct program, symbol),
				      .sh_size = sizeof(e->symbol),
				      .sh_link = 3,
				      .sh_entsize = sizeof(Elf64_Sym) };
	e->section[3] = (Elf64_Shdr){ .sh_type = SHT_STRTAB,
				      .sh_offset = offsetof(struct program, names),
				      .sh_size = sizeof(e->names) };
	e->symbol[1] =
		(Elf64_Sym){ 1, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 0, 1, address + at, 16 };
	memcpy(e->names, "\0work", 6);
	memcpy(e->code + at, work, 8);
	/* one that is there twice, the second time in another page */
	memcpy(e->code + at + 8, "\xf0\xff\x06", 3);
	memcpy(e->code + (at + 0x1008) % sizeof(e->code), "\xf0\xff\x06", 3);
	assert_int_equal(write(fd, e, sizeof(*e)), (ssize_t)sizeof(*e));
	close(fd);
	snprintf(file, sizeof(file), "%s%s", path, offset);
	if (symbols_add(symbols, file, why, sizeof(why)))
		fail_msg("%s", why);
	unlink(path);
	free(e);
}

static const uint8_t inc[8] = { 0xf0, 0xff, 0x07 }, dec[8] = { 0xf0, 0xff, 0x0f };

static void test_symbols_of_two_programs_are_told_apart_by_bytes(void **state)
{
	struct symbols *s = NULL;
	struct symbol_place place, near;
	const struct symbols *first;

	(void)state;
	add_program(&s, ET_EXEC, inc, 0x20, 0x400000, "");
	first = s;
	add_program(&s, ET_EXEC, dec, 0x20, 0x400000, "");
	assert_true(symbols_several(s));
	assert_true(symbols_locate(s, 0x400020, inc, 3, &place));
	assert_ptr_equal(place.table, first);
	assert_true(symbols_locate(s, 0x400020, dec, 3, &place));
	assert_ptr_not_equal(place.table, first);
	assert_string_equal(place.name, "work");
	/* the rest of that address space */
	assert_true(symbols_locate_near(s, 0x400024, &place, &near));
	assert_ptr_equal(near.table, place.table);
	assert_int_equal(near.offset, 4);
	/* neither has these: code may have changed, the symbol is there */
	assert_true(symbols_locate(s, 0x400020, (const uint8_t *)"\x90", 1, &place));
	assert_ptr_equal(place.table, first);
	symbols_free(s);
}

static void test_symbols_position_independent_program_is_found_by_bytes(void **state)
{
	struct symbols *s = NULL;
	struct symbol_place place, near;

	(void)state;
	add_program(&s, ET_DYN, inc, 0x1020, 0x1000, "");
	assert_true(symbols_locate(s, 0x555555556020, inc, 3, &place));
	assert_string_equal(place.name, "work");
	assert_int_equal(place.offset, 0);
	assert_int_equal(place.bias, 0x555555556020 - 0x2020);
	assert_true(symbols_locate_near(s, 0x555555556022, &place, &near));
	assert_int_equal(near.offset, 2);
	/* another offset in the page, other bytes, bytes that are there twice */
	assert_false(symbols_locate(s, 0x555555556021, inc, 3, &place));
	assert_false(symbols_locate(s, 0x555555556020, dec, 3, &place));
	assert_false(symbols_locate(s, 0x555555556028, (const uint8_t *)"\xf0\xff\x06", 3, &place));
	symbols_free(s);
}

static void test_symbols_offset_moves_a_file(void **state)
{
	struct symbols *s = NULL;
	struct symbol_place place;
	char why[200];

	(void)state;
	add_program(&s, ET_DYN, inc, 0x20, 0, "@0x7f0000000000");
	expect(s, 0x7f0000000024, "work+0x4");
	expect(s, 0x24, "");
	assert_true(symbols_locate(s, 0x7f0000000020, inc, 3, &place));
	assert_true(symbols_locate_near(s, 0x7f0000000021, NULL, &place));
	assert_int_equal(symbols_add(&s, "/proc/self/exe@12z", why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "12z"));
	assert_int_equal(symbols_add(&s, "/nonexistent@12", why, sizeof(why)), -ENOENT);
	assert_int_equal(symbols_check("/nonexistent@12", why, sizeof(why)), -ENOENT);
	assert_int_equal(symbols_check("/proc/self/exe@0xf00", why, sizeof(why)), 0);
	assert_false(symbols_several(s)); /* as it was */
	symbols_free(s);
}

static void test_symbols_hidden_kallsyms_says_so(void **state)
{
	char *text = NULL, why[200];
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	struct symbols *s;

	(void)state;
	for (int i = 0; i < 500; i++)
		fprintf(out, "0000000000000000 T symbol_%d\n", i);
	fclose(out);
	assert_int_equal(load_bytes(&s, text, size, why, sizeof(why)), -ENODATA);
	assert_non_null(strstr(why, "kptr_restrict"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_symbols_system_map_names_the_nearest_below),
		cmocka_unit_test(test_symbols_nasm_map_uses_virtual_addresses),
		cmocka_unit_test(test_symbols_elf_extents_end_where_the_file_says),
		cmocka_unit_test(test_symbols_elf_finds_functions_inside_their_extent),
		cmocka_unit_test(test_symbols_guest_elf_names_its_labels),
		cmocka_unit_test(test_symbols_bad_files_are_refused_with_a_reason),
		cmocka_unit_test(test_symbols_of_two_programs_are_told_apart_by_bytes),
		cmocka_unit_test(test_symbols_position_independent_program_is_found_by_bytes),
		cmocka_unit_test(test_symbols_offset_moves_a_file),
		cmocka_unit_test(test_symbols_hidden_kallsyms_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
