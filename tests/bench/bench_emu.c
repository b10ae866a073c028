/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bench_emu IMAGE COUNT OFFSET: seconds for a guest image on the emulator, bus-lock exits on; its
 * twin is bench_unicorn.c. "seconds S exits E" and, with BUSLOCK_COUNT set in the environment,
 * "instructions N" (counting costs time: not in the same run as a measurement).
 */
#include "emu/emu.h"
#include "tests/bench/guest.h"

static struct emu_segment segment(uint16_t selector, uint16_t attributes)
{
	return (struct emu_segment){ .limit = 0xffffffff,
				     .selector = selector,
				     .attributes = attributes };
}

static void set_state(struct emu_vcpu *vcpu, uint64_t count, uint64_t offset)
{
	struct emu_state state;
	int error;

	emu_vcpu_get_state(vcpu, &state);
	for (unsigned i = EMU_ES; i <= EMU_GS; i++)
		state.segment[i] = segment(0x10, 0xc093);
	state.segment[EMU_CS] = segment(0x18, 0xa09b);
	state.cr0 = BENCH_CR0;
	state.cr3 = BENCH_TABLES;
	state.cr4 = BENCH_CR4;
	state.efer = BENCH_EFER;
	state.rip = BENCH_LOAD;
	state.rflags = 2;
	state.gpr[EMU_RSP] = BENCH_STACK;
	state.gpr[EMU_RCX] = count;
	state.gpr[EMU_RSI] = BENCH_BUFFER + offset;
	error = emu_vcpu_set_state(vcpu, &state);
	if (error)
		bench_fail("emu_vcpu_set_state", strerror(-error));
}

int main(int argc, char **argv)
{
	struct emu_config config = { .count = getenv("BUSLOCK_COUNT") != NULL };
	struct emu_vm *vm;
	struct emu_vcpu *vcpu;
	struct emu_exit exit = { 0 };
	struct emu_stats stats;
	struct emu_state state;
	uint64_t exits = 0;
	char why[256];

	if (argc != 4)
		bench_fail("usage", "bench_emu IMAGE COUNT OFFSET");
	if (emu_engine_check(why, sizeof(why)))
		bench_fail("engine", why);
	if (emu_vm_create(&config, &vm) ||
	    emu_vm_map(vm, 0, 0, BENCH_MEMORY, bench_memory(argv[1]), 0) ||
	    emu_vcpu_create(vm, &vcpu))
		bench_fail("emulator", "cannot create a VM with memory and a vCPU");
	emu_vcpu_set_bus_lock_exiting(vcpu, true);
	set_state(vcpu, strtoull(argv[2], NULL, 0), strtoull(argv[3], NULL, 0));

	double begun = bench_now();
	do {
		int error = emu_vcpu_run(vcpu, 0, &exit);

		if (error)
			bench_fail("emu_vcpu_run", strerror(-error));
		exits++;
	} while (exit.type == EMU_EXIT_BUS_LOCK);
	double seconds = bench_now() - begun;

	emu_vcpu_get_state(vcpu, &state);
	if (exit.type != EMU_EXIT_HLT) {
		fprintf(stderr, "%s: ended with exit type %d at %#llx\n", argv[1], exit.type,
			(unsigned long long)state.rip);
		return 1;
	}
	emu_vcpu_get_stats(vcpu, &stats);
	printf("seconds %.6f exits %llu result %llx", seconds, (unsigned long long)exits,
	       (unsigned long long)state.gpr[EMU_RAX]);
	if (config.count)
		printf(" instructions %llu", (unsigned long long)stats.instructions);
	putchar('\n');
	emu_vcpu_destroy(vcpu);
	emu_vm_destroy(vm);
	return 0;
}
