/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What both measuring programs share, so that the guest is the same to the last bit: 64 MiB of
 * memory, 4-level tables with 2 MiB pages, an image at 1 MiB that ends by HLT, and the clock.
 */
#ifndef BUSLOCK_BENCH_GUEST_H
#define BUSLOCK_BENCH_GUEST_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define BENCH_MEMORY (64u << 20)
#define BENCH_TABLES 0x10000u
#define BENCH_LOAD   0x100000u
#define BENCH_STACK  0x80000u
#define BENCH_BUFFER 0x90000u /* RSI: operands, with the offset added */
#define BENCH_CR0    0x80000031u
#define BENCH_CR4    0x620u
#define BENCH_EFER   0x500u

static inline void __attribute__((noreturn)) bench_fail(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static inline uint8_t *bench_memory(const char *image)
{
	uint8_t *memory = mmap(NULL, BENCH_MEMORY, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	FILE *file = fopen(image, "rb");

	if (memory == MAP_FAILED)
		bench_fail("guest memory", strerror(errno));
	if (!file)
		bench_fail(image, strerror(errno));
	if (!fread(memory + BENCH_LOAD, 1, BENCH_MEMORY - BENCH_LOAD, file))
		bench_fail(image, "empty");
	fclose(file);

	uint64_t *pml4 = (uint64_t *)(memory + BENCH_TABLES);
	pml4[0] = (BENCH_TABLES + 0x1000) | 3;
	pml4[512] = (BENCH_TABLES + 0x2000) | 3;
	for (uint64_t i = 0; i < BENCH_MEMORY >> 21; i++)
		pml4[1024 + i] = i << 21 | 0x83;
	return memory;
}

/* Processor time of the process: what other programs do at the same time is not the guest's. */
static inline double bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#endif
