// SPDX-License-Identifier: GPL-2.0-only
/* Flat binaries and ELF files; which kind of file it is. */
#include "cli/image.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL_LOAD 0x7c00
#define HIGH_LOAD 0x100000

#define REAL_LIMIT 0x100000 /* what a segment and an offset reach */
#define FILE_LIMIT (1u << 30)

int image_fail(int error, char *why, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, size, format, arguments);
	va_end(arguments);
	return error;
}

bool memory_holds(const struct guest_memory *memory, uint64_t address, uint64_t length)
{
	return address <= memory->top && length <= memory->top - address;
}

static void occupy(struct image *image, uint64_t address, uint64_t length)
{
	if (!length)
		return;
	if (!image->high || address < image->low)
		image->low = address;
	if (address + length > image->high)
		image->high = address + length;
}

/* ------------------------------------------------------------------ flat */

static int load_flat(struct image *image, const struct image_options *options, const uint8_t *file,
		     size_t n, const struct guest_memory *memory, char *why, size_t size)
{
	bool real = options->mode == MODE_REAL || options->mode == MODE_AUTO;
	uint64_t load = options->has_load ? options->load : real ? REAL_LOAD : HIGH_LOAD;

	image->mode = real ? MODE_REAL : options->mode;
	image->entry = options->has_entry ? options->entry : load;
	if (!memory_holds(memory, load, n))
		return image_fail(-ENOSPC, why, size,
				  "%zu bytes at 0x%" PRIx64
				  " do not fit into guest memory, which has 0x%" PRIx64
				  " bytes for guests (more with -m)",
				  n, load, memory->top);
	memcpy(memory->host + load, file, n);
	occupy(image, load, n);
	return 0;
}

/* ------------------------------------------------------------------ ELF */

static int load_segment(struct image *image, const GElf_Phdr *segment, const uint8_t *file,
			size_t n, const struct guest_memory *memory, char *why, size_t size)
{
	if (segment->p_offset > n || segment->p_filesz > n - segment->p_offset)
		return image_fail(-ENOEXEC, why, size,
				  "segment at offset 0x%" PRIx64
				  " reaches beyond the end of the file",
				  segment->p_offset);
	if (segment->p_filesz > segment->p_memsz)
		return image_fail(-ENOEXEC, why, size,
				  "segment at offset 0x%" PRIx64
				  " is larger in the file than in memory",
				  segment->p_offset);
	if (!memory_holds(memory, segment->p_paddr, segment->p_memsz))
		return image_fail(-ENOSPC, why, size,
				  "segment of 0x%" PRIx64 " bytes at physical address 0x%" PRIx64
				  " does not fit into guest memory, which has 0x%" PRIx64
				  " bytes for guests (more with -m)",
				  segment->p_memsz, segment->p_paddr, memory->top);
	memcpy(memory->host + segment->p_paddr, file + segment->p_offset, segment->p_filesz);
	memset(memory->host + segment->p_paddr + segment->p_filesz, 0,
	       segment->p_memsz - segment->p_filesz);
	occupy(image, segment->p_paddr, segment->p_memsz);
	return 0;
}

/*
 * Loads by physical addresses. The entry is a virtual one; where a segment's two addresses differ
 * (kernels that live in the upper half), it is translated, as boot loaders do.
 */
static int load_elf_segments(struct image *image, Elf *elf, const uint8_t *file, size_t n,
			     const struct guest_memory *memory, char *why, size_t size)
{
	GElf_Ehdr header;
	GElf_Phdr segment;
	size_t segments = 0;
	bool entered = false;
	int error;

	if (!gelf_getehdr(elf, &header) || elf_getphdrnum(elf, &segments))
		return image_fail(-ENOEXEC, why, size, "damaged ELF header: %s", elf_errmsg(-1));
	if (header.e_machine != EM_386 && header.e_machine != EM_X86_64)
		return image_fail(-ENOEXEC, why, size, "not an x86 program (ELF machine %u)",
				  header.e_machine);
	if (header.e_type != ET_EXEC && header.e_type != ET_DYN)
		return image_fail(-ENOEXEC, why, size,
				  "ELF type %u is no program; link it first (ld -static)",
				  header.e_type);
	image->entry = header.e_entry;
	image->mode = header.e_machine == EM_X86_64 && gelf_getclass(elf) == ELFCLASS64
			      ? MODE_LONG
			      : MODE_PROTECTED;
	for (size_t i = 0; i < segments; i++) {
		if (!gelf_getphdr(elf, (int)i, &segment))
			return image_fail(-ENOEXEC, why, size, "damaged ELF program header %zu", i);
		if (segment.p_type == PT_INTERP)
			return image_fail(-ENOEXEC, why, size,
					  "a dynamically linked program needs an operating system; "
					  "a guest runs on the bare machine");
		if (segment.p_type != PT_LOAD || !segment.p_memsz)
			continue;
		error = load_segment(image, &segment, file, n, memory, why, size);
		if (error)
			return error;
		if (header.e_entry - segment.p_vaddr < segment.p_memsz) {
			image->entry = header.e_entry - segment.p_vaddr + segment.p_paddr;
			entered = true;
		}
	}
	if (!entered)
		return image_fail(-ENOEXEC, why, size, "entry 0x%" PRIx64 " is in no segment",
				  header.e_entry);
	return 0;
}

static int load_elf(struct image *image, uint8_t *file, size_t n, const struct guest_memory *memory,
		    char *why, size_t size)
{
	Elf *elf;
	int error;

	elf_version(EV_CURRENT);
	elf = elf_memory((char *)file, n);
	if (!elf || elf_kind(elf) != ELF_K_ELF)
		error = image_fail(-ENOEXEC, why, size, "damaged ELF file");
	else
		error = load_elf_segments(image, elf, file, n, memory, why, size);
	elf_end(elf);
	image->has_symbols = true;
	return error;
}

static bool is_elf(const uint8_t *file, size_t n)
{
	return n >= SELFMAG && !memcmp(file, ELFMAG, SELFMAG);
}

/* ------------------------------------------------------------------ any */

static int load_multiboot(struct image *image, const struct multiboot_header *header, uint8_t *file,
			  size_t n, const struct guest_memory *memory, char *why, size_t size)
{
	int error = multiboot_check(header, why, size);

	if (error)
		return error;
	if (header->flags & 1u << 16)
		error = multiboot_load_addresses(image, header, file, n, memory, why, size);
	else if (is_elf(file, n))
		error = load_elf(image, file, n, memory, why, size);
	else
		error = image_fail(
			-ENOEXEC, why, size,
			"a multiboot header without addresses (flag 16) in a file that is not ELF");
	image->has_symbols = is_elf(file, n);
	/* The specification's machine state, whatever the file's class (3.2). */
	image->mode = MODE_PROTECTED;
	return error;
}

static int check_entry(const struct image *image, const struct guest_memory *memory, char *why,
		       size_t size)
{
	if (image->mode == MODE_REAL && image->entry >= REAL_LIMIT)
		return image_fail(-EINVAL, why, size,
				  "entry 0x%" PRIx64
				  " cannot be reached in real mode (--mode, --entry)",
				  image->entry);
	if (!memory_holds(memory, image->entry, 1))
		return image_fail(-EINVAL, why, size,
				  "entry 0x%" PRIx64 " is outside of guest memory", image->entry);
	return 0;
}

static int load(struct image *image, const struct image_options *options, uint8_t *file, size_t n,
		const struct guest_memory *memory, char *why, size_t size)
{
	struct multiboot_header header;
	bool multiboot = multiboot_find(file, n, &header);
	int error;

	image->format = options->format;
	if (image->format == IMAGE_AUTO)
		image->format = multiboot         ? IMAGE_MULTIBOOT
				: is_elf(file, n) ? IMAGE_ELF
						  : IMAGE_FLAT;
	if (image->format != IMAGE_FLAT && (options->has_load || options->mode != MODE_AUTO))
		return image_fail(-EINVAL, why, size,
				  "--load and --mode are for flat binaries; this is %s image "
				  "(--format flat takes it as bytes)",
				  image->format == IMAGE_ELF ? "an ELF" : "a multiboot");
	switch (image->format) {
	case IMAGE_ELF:
		if (!is_elf(file, n))
			return image_fail(-ENOEXEC, why, size, "not an ELF file");
		error = load_elf(image, file, n, memory, why, size);
		break;
	case IMAGE_MULTIBOOT:
		if (!multiboot)
			return image_fail(-ENOEXEC, why, size,
					  "no multiboot header in its first 8 KiB");
		error = load_multiboot(image, &header, file, n, memory, why, size);
		break;
	default:
		error = load_flat(image, options, file, n, memory, why, size);
	}
	if (error)
		return error;
	if (options->has_entry)
		image->entry = options->entry;
	return check_entry(image, memory, why, size);
}

static int read_file(const char *path, uint8_t **file, size_t *n, char *why, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t got;

	*n = 0;
	*file = NULL;
	if (fd < 0 || fstat(fd, &st)) {
		image_fail(0, why, size, "%s", strerror(errno));
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		image_fail(0, why, size, "not a regular file");
		goto fail;
	}
	if (!st.st_size || st.st_size > FILE_LIMIT) {
		image_fail(0, why, size, "%s", st.st_size ? "larger than 1 GiB" : "empty");
		goto fail;
	}
	*file = malloc((size_t)st.st_size);
	if (!*file) {
		image_fail(0, why, size, "no memory for its %jd bytes", (intmax_t)st.st_size);
		goto fail;
	}
	while (*n < (size_t)st.st_size && (got = read(fd, *file + *n, (size_t)st.st_size - *n)) > 0)
		*n += (size_t)got;
	if (*n < (size_t)st.st_size) {
		image_fail(0, why, size, "cannot be read: %s", strerror(errno));
		goto fail;
	}
	close(fd);
	return 0;
fail:
	if (fd >= 0)
		close(fd);
	free(*file);
	return -EINVAL;
}

int image_load(struct image *image, const char *path, const struct image_options *options,
	       const struct guest_memory *memory, char *why, size_t size)
{
	uint8_t *file;
	size_t n;
	int error;

	memset(image, 0, sizeof(*image));
	error = read_file(path, &file, &n, why, size);
	if (error)
		return error;
	error = load(image, options, file, n, memory, why, size);
	free(file);
	return error;
}
