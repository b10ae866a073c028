// SPDX-License-Identifier: GPL-2.0-only
/* Program headers, interpreter and needed libraries of an ELF file (System V gABI, chapters 4, 5). */
#include "cli/elf.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct image {
	const uint8_t *data;
	uint64_t size;
};

/* `size` bytes at `offset`, NULL outside the file. */
static const void *at(const struct image *image, uint64_t offset, uint64_t size)
{
	if (offset > image->size || size > image->size - offset)
		return NULL;
	return image->data + offset;
}

/* A string that ends within the file. */
static const char *string_at(const struct image *image, uint64_t offset)
{
	const char *text = at(image, offset, 1);

	return text && memchr(text, 0, image->size - offset) ? text : NULL;
}

/* Headers may lie at any offset; copies need no alignment. */
static bool program_header(const struct image *image, const Elf64_Ehdr *header, unsigned i,
			   Elf64_Phdr *segment)
{
	const void *found =
		at(image, header->e_phoff + (uint64_t)i * sizeof(*segment), sizeof(*segment));

	if (header->e_phoff > image->size || !found)
		return false;
	memcpy(segment, found, sizeof(*segment));
	return true;
}

static bool file_offset(const struct image *image, const Elf64_Ehdr *header, uint64_t address,
			uint64_t *offset)
{
	Elf64_Phdr segment;

	for (unsigned i = 0; i < header->e_phnum; i++) {
		if (!program_header(image, header, i, &segment))
			return false;
		if (segment.p_type == PT_LOAD && address >= segment.p_vaddr &&
		    address - segment.p_vaddr < segment.p_filesz) {
			*offset = segment.p_offset + (address - segment.p_vaddr);
			return true;
		}
	}
	return false;
}

/*
 * gcc's sanitizer runtimes. They insist on (ASan), or only work when (TSan), being the first in the
 * process. clang links its own into the program.
 */
static bool is_runtime(const char *name)
{
	static const char *const prefixes[] = { "libasan.so", "libhwasan.so", "libtsan.so",
						"liblsan.so", "libubsan.so" };

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++)
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

static void note_needed(struct elf_program *program, const char *name)
{
	if (!is_runtime(name) || program->runtimes == ELF_RUNTIMES ||
	    strlen(name) >= sizeof(program->runtime[0]))
		return;
	strcpy(program->runtime[program->runtimes++], name);
}

static int read_dynamic(const struct image *image, const Elf64_Ehdr *header,
			const Elf64_Phdr *segment, struct elf_program *program)
{
	static const char tsan[] = "\0__tsan_init";
	uint64_t strings = 0, size = 0, count = segment->p_filesz / sizeof(Elf64_Dyn);
	const uint8_t *entries = at(image, segment->p_offset, count * sizeof(Elf64_Dyn));
	const void *table;
	bool have_strings = false;
	Elf64_Dyn entry;

	if (!entries || segment->p_filesz > image->size)
		return -ENOEXEC;
	for (uint64_t i = 0; i < count; i++) {
		memcpy(&entry, entries + i * sizeof(entry), sizeof(entry));
		if (entry.d_tag == DT_NULL)
			break;
		if (entry.d_tag == DT_STRTAB)
			have_strings = file_offset(image, header, entry.d_un.d_ptr, &strings);
		if (entry.d_tag == DT_STRSZ)
			size = entry.d_un.d_val;
	}
	/* Imported from the runtime, or exported to the program's libraries. */
	table = have_strings ? at(image, strings, size) : NULL;
	program->thread_sanitizer = table && memmem(table, size, tsan, sizeof(tsan));
	for (uint64_t i = 0; have_strings && i < count; i++) {
		const char *name;

		memcpy(&entry, entries + i * sizeof(entry), sizeof(entry));
		if (entry.d_tag == DT_NULL)
			break;
		if (entry.d_tag != DT_NEEDED)
			continue;
		name = entry.d_un.d_val > image->size
			       ? NULL
			       : string_at(image, strings + entry.d_un.d_val);
		if (!name)
			return -ENOEXEC;
		note_needed(program, name);
	}
	return 0;
}

static int read_segments(const struct image *image, const Elf64_Ehdr *header,
			 struct elf_program *program)
{
	Elf64_Phdr segment;

	if (header->e_phentsize != sizeof(segment) && header->e_phnum)
		return -ENOEXEC;
	for (unsigned i = 0; i < header->e_phnum; i++) {
		int result = 0;

		if (!program_header(image, header, i, &segment))
			return -ENOEXEC;
		if (segment.p_type == PT_INTERP) {
			const char *name = string_at(image, segment.p_offset);

			if (!name || strlen(name) >= sizeof(program->interpreter))
				return -ENOEXEC;
			strcpy(program->interpreter, name);
		} else if (segment.p_type == PT_DYNAMIC) {
			result = read_dynamic(image, header, &segment, program);
		}
		if (result < 0)
			return result;
	}
	return 0;
}

static int read_image(const struct image *image, struct elf_program *program)
{
	Elf64_Ehdr header;

	if (image->size < SELFMAG || memcmp(image->data, ELFMAG, SELFMAG) != 0)
		return 0;
	program->elf = true;
	/* e_machine has the same place in both classes. */
	if (image->size < offsetof(Elf64_Ehdr, e_machine) + 2)
		return -ENOEXEC;
	program->bits = image->data[EI_CLASS] == ELFCLASS64 ? 64 : 32;
	memcpy(&program->machine, image->data + offsetof(Elf64_Ehdr, e_machine), 2);
	if (program->bits != 64 || image->data[EI_DATA] != ELFDATA2LSB)
		return 0;
	if (image->size < sizeof(header))
		return -ENOEXEC;
	memcpy(&header, image->data, sizeof(header));
	return read_segments(image, &header, program);
}

int elf_inspect(const char *path, struct elf_program *program)
{
	struct image image = { NULL, 0 };
	struct stat status;
	void *data;
	int result, fd = open(path, O_RDONLY | O_CLOEXEC);

	memset(program, 0, sizeof(*program));
	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) < 0) {
		result = -errno;
		close(fd);
		return result;
	}
	if (!S_ISREG(status.st_mode) || status.st_size == 0) {
		close(fd);
		return 0;
	}
	data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	result = data == MAP_FAILED ? -errno : 0;
	close(fd);
	if (result < 0)
		return result;
	image.data = data;
	image.size = (uint64_t)status.st_size;
	result = read_image(&image, program);
	munmap(data, (size_t)status.st_size);
	return result;
}
