// SPDX-License-Identifier: GPL-2.0-only
/*
 * Multiboot kernels. Numbers in brackets are sections of the Multiboot Specification, version
 * 0.6.96.
 */
#include "cli/image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HEADER_MAGIC 0x1badb002u /* 3.1.1 */
#define SEARCH       8192        /* 3.1: header within the first 8192 bytes, aligned to 4 */

/* header flags, 3.1.1: bits 0 to 15 are demands that have to be met */
#define FLAG_ALIGN     0x0001u /* modules page aligned; there are none */
#define FLAG_MEMORY    0x0002u
#define FLAG_VIDEO     0x0004u
#define FLAG_ADDRESSES 0x10000u
#define DEMANDS        0xffffu

/* flags of the information structure, 3.3 */
#define INFO_MEMORY  0x001u
#define INFO_CMDLINE 0x004u
#define INFO_MMAP    0x040u
#define INFO_NAME    0x200u

#define LOW_MEMORY  0xa0000u /* 640 KiB, then the hole for video memory and ROMs */
#define HIGH_MEMORY 0x100000u

struct __attribute__((packed)) info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4],
		mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
};

struct __attribute__((packed)) map_entry {
	uint32_t size; /* of the rest */
	uint64_t base, length;
	uint32_t type; /* 1 usable */
};

static uint32_t word(const uint8_t *file, size_t offset)
{
	uint32_t value;

	memcpy(&value, file + offset, sizeof(value));
	return value;
}

bool multiboot_find(const uint8_t *file, size_t n, struct multiboot_header *header)
{
	size_t end = n < SEARCH ? n : SEARCH;

	for (size_t at = 0; at + 12 <= end; at += 4) {
		uint32_t flags = word(file, at + 4);

		if (word(file, at) != HEADER_MAGIC ||
		    (uint32_t)(HEADER_MAGIC + flags + word(file, at + 8)))
			continue;
		*header = (struct multiboot_header){ .offset = at, .flags = flags };
		if (!(flags & FLAG_ADDRESSES))
			return true;
		if (at + 32 > end)
			continue;
		header->header_addr = word(file, at + 12);
		header->load_addr = word(file, at + 16);
		header->load_end_addr = word(file, at + 20);
		header->bss_end_addr = word(file, at + 24);
		header->entry_addr = word(file, at + 28);
		return true;
	}
	return false;
}

int multiboot_check(const struct multiboot_header *header, char *why, size_t size)
{
	uint32_t unknown = header->flags & DEMANDS & ~(FLAG_ALIGN | FLAG_MEMORY | FLAG_VIDEO);

	if (header->flags & FLAG_VIDEO)
		return image_fail(-ENOTSUP, why, size,
				  "the kernel demands a video mode (multiboot header flag 2); the "
				  "built-in monitor has no screen");
	if (unknown)
		return image_fail(-ENOTSUP, why, size,
				  "the kernel demands what multiboot header flags 0x%" PRIx32
				  " stand for; nobody knows them",
				  unknown);
	return 0;
}

int multiboot_load_addresses(struct image *image, const struct multiboot_header *h,
			     const uint8_t *file, size_t n, const struct guest_memory *memory,
			     char *why, size_t size)
{
	uint64_t before = (uint64_t)h->header_addr - h->load_addr, offset, length, end;

	/* 3.1.3: the load address is at or below the header's, and so is the text in the file. */
	if (h->header_addr < h->load_addr || before > h->offset)
		return image_fail(-ENOEXEC, why, size,
				  "multiboot header: load address 0x%" PRIx32
				  " does not fit header address 0x%" PRIx32
				  " at offset 0x%zx of the file",
				  h->load_addr, h->header_addr, h->offset);
	offset = h->offset - before;
	length = n - offset;
	if (h->load_end_addr) {
		if (h->load_end_addr < h->load_addr ||
		    (uint64_t)h->load_end_addr - h->load_addr > length)
			return image_fail(-ENOEXEC, why, size,
					  "multiboot header: load end 0x%" PRIx32
					  " is beyond the end of the file",
					  h->load_end_addr);
		length = h->load_end_addr - h->load_addr;
	}
	end = h->load_addr + length;
	if (h->bss_end_addr > end)
		end = h->bss_end_addr;
	if (!memory_holds(memory, h->load_addr, end - h->load_addr))
		return image_fail(-ENOSPC, why, size,
				  "0x%" PRIx64 " bytes at 0x%" PRIx32
				  " do not fit into guest memory, which has 0x%" PRIx64
				  " bytes for guests (more with -m)",
				  end - h->load_addr, h->load_addr, memory->top);
	memcpy(memory->host + h->load_addr, file + offset, length);
	memset(memory->host + h->load_addr + length, 0, end - h->load_addr - length);
	image->low = h->load_addr;
	image->high = end;
	image->entry = h->entry_addr;
	return 0;
}

int multiboot_write_info(const struct guest_memory *memory, uint64_t where, size_t room,
			 const char *path, const char *append)
{
	static const char name[] = "buslock " BUSLOCK_VERSION;
	const struct map_entry map[] = {
		{ 20, 0, LOW_MEMORY, 1 },
		{ 20, HIGH_MEMORY, memory->top - HIGH_MEMORY, 1 },
		{ 20, memory->top, memory->size - memory->top, 2 },
	};
	uint32_t base = (uint32_t)where, at_map = base + sizeof(struct info),
		 at_name = at_map + sizeof(map), at_line = at_name + sizeof(name);
	struct info info = {
		.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MMAP | INFO_NAME,
		.mem_lower = LOW_MEMORY / 1024,
		.mem_upper = (uint32_t)((memory->top - HIGH_MEMORY) / 1024),
		.cmdline = at_line,
		.mmap_length = sizeof(map),
		.mmap_addr = at_map,
		.boot_loader_name = at_name,
	};
	size_t left;
	int n;

	if (memory->top <= HIGH_MEMORY || at_line - base >= room)
		return -ENOSPC;
	memcpy(memory->host + where, &info, sizeof(info));
	memcpy(memory->host + at_map, map, sizeof(map));
	memcpy(memory->host + at_name, name, sizeof(name));
	left = room - (at_line - base);
	n = snprintf((char *)memory->host + at_line, left, "%s%s%s", path, append ? " " : "",
		     append ? append : "");
	return n < 0 || (size_t)n >= left ? -E2BIG : 0;
}
