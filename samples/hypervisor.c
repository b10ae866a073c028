/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The processor by itself, for somebody who writes a hypervisor of their own: load state, run, get the
 * VM exit that silicon would give. No KVM API is involved; link with buslock-emu.
 *
 * The guest is ten turns of a locked increment that crosses a cache line. Each turn ends in the VM
 * exit "bus lock" (SDM 30.2: basic reason 74, bit 26 set, RIP behind the instruction).
 */
#include "emu/emu.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_SIZE 0x10000
#define ENTRY       0x1000
#define COUNTER     0x203e /* two bytes before the end of a 64-byte line */

static const uint8_t guest[] = {
	0xb9, 0x0a, 0x00,                   /* mov cx,10 */
	0xf0, 0xff, 0x06, 0x3e, 0x20,       /* lock inc word [203eh]: fits */
	0xf0, 0x66, 0xff, 0x06, 0x3e, 0x20, /* lock inc dword [203eh]: does not */
	0xe2, 0xf3,                         /* loop */
	0xf4,                               /* hlt */
};

static int fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-error));
	return EXIT_FAILURE;
}

/* Real mode with flat segments; RESET left everything else as the manual says. */
static int start_at_entry(struct emu_vcpu *vcpu)
{
	struct emu_state state;

	emu_vcpu_get_state(vcpu, &state);
	state.segment[EMU_CS].base = state.segment[EMU_CS].selector = 0;
	state.rip = ENTRY;
	return emu_vcpu_set_state(vcpu, &state);
}

static int run_guest(struct emu_vcpu *vcpu, const uint8_t *memory)
{
	for (;;) {
		struct emu_exit exit;
		uint32_t counter;
		int error = emu_vcpu_run(vcpu, 0, &exit);

		if (error)
			return fail("run", error);
		memcpy(&counter, memory + COUNTER, sizeof(counter));
		printf("exit reason %08" PRIx32 ": ", exit.word);
		switch (exit.type) {
		case EMU_EXIT_BUS_LOCK:
			printf("bus lock at rip %" PRIx64 ", %u bytes at %" PRIx64 ", counter %u\n",
			       exit.lock.rip, exit.lock.size, exit.lock.linear, counter);
			break;
		case EMU_EXIT_HLT:
			printf("HLT, counter %u\n", counter);
			return EXIT_SUCCESS;
		default:
			printf("not expected here\n");
			return EXIT_FAILURE;
		}
	}
}

int main(void)
{
	struct emu_vm *vm = NULL;
	struct emu_vcpu *vcpu = NULL;
	char why[200];
	int status = EXIT_FAILURE;
	uint8_t *memory = aligned_alloc(4096, MEMORY_SIZE);

	if (!memory)
		return fail("memory", -12);
	memset(memory, 0, MEMORY_SIZE);
	memcpy(memory + ENTRY, guest, sizeof(guest));

	if (emu_engine_check(why, sizeof(why))) {
		fprintf(stderr, "%s\n", why);
		free(memory);
		return EXIT_FAILURE;
	}
	int error = emu_vm_create(NULL, &vm); /* an Intel processor */
	if (!error)
		error = emu_vm_map(vm, 0, 0, MEMORY_SIZE, memory, 0);
	if (!error)
		error = emu_vcpu_create(vm, &vcpu);
	if (!error)
		error = start_at_entry(vcpu);
	if (error) {
		fail("setting up", error);
	} else {
		emu_vcpu_set_bus_lock_exiting(vcpu, true); /* secondary control 30 */
		status = run_guest(vcpu, memory);
	}
	emu_vcpu_destroy(vcpu);
	emu_vm_destroy(vm);
	free(memory);
	return status;
}
