/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bench_unicorn IMAGE COUNT OFFSET: the same guest on bare Unicorn 2.1.1, the baseline of the ratios:
 * the archive as it is distributed, without seams or hooks, with its own MMU walking the guest's
 * page tables. Alone in its program, since the seams are made when a program is linked.
 */
#include "tests/bench/guest.h"

#include <unicorn/unicorn.h>

static void set(uc_engine *uc, int reg, uint64_t value)
{
	uc_err error = uc_reg_write(uc, reg, &value);

	if (error)
		bench_fail("uc_reg_write", uc_strerror(error));
}

static uint64_t get(uc_engine *uc, int reg)
{
	uint64_t value = 0;

	uc_reg_read(uc, reg, &value);
	return value;
}

int main(int argc, char **argv)
{
	uc_engine *uc;
	uc_err error;
	uint8_t *memory;

	if (argc != 4)
		bench_fail("usage", "bench_unicorn IMAGE COUNT OFFSET");
	error = uc_open(UC_ARCH_X86, UC_MODE_64, &uc);
	if (error)
		bench_fail("uc_open", uc_strerror(error));
	memory = bench_memory(argv[1]);
	error = uc_mem_map_ptr(uc, 0, BENCH_MEMORY, UC_PROT_ALL, memory);
	if (error)
		bench_fail("uc_mem_map_ptr", uc_strerror(error));
	set(uc, UC_X86_REG_CR4, BENCH_CR4);
	set(uc, UC_X86_REG_CR3, BENCH_TABLES);
	set(uc, UC_X86_REG_CR0, BENCH_CR0);
	set(uc, UC_X86_REG_RSP, BENCH_STACK);
	set(uc, UC_X86_REG_RCX, strtoull(argv[2], NULL, 0));
	set(uc, UC_X86_REG_RSI, BENCH_BUFFER + strtoull(argv[3], NULL, 0));
	if (!(get(uc, UC_X86_REG_CR0) & 0x80000000u))
		bench_fail("uc_reg_write", "paging is not on");

	double begun = bench_now();
	error = uc_emu_start(uc, BENCH_LOAD, 0, 0, 0); /* until HLT */
	double seconds = bench_now() - begun;

	if (error) {
		fprintf(stderr, "uc_emu_start: %s at %#llx\n", uc_strerror(error),
			(unsigned long long)get(uc, UC_X86_REG_RIP));
		return 1;
	}
	/* Its MMU did walk the tables: the accessed bit of the image's page is set. */
	if (!(((uint64_t *)(memory + BENCH_TABLES))[1024] & 0x20))
		bench_fail("uc_emu_start", "the page tables were not used");
	printf("seconds %.6f exits 1 result %llx\n", seconds,
	       (unsigned long long)get(uc, UC_X86_REG_RAX));
	uc_close(uc);
	return 0;
}
