/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest that writes new code for ever. The engine dies when its buffer of translated code is full
 * (64 MB here, about 120,000 small blocks), so it has to be emptied in time: this guest writes and
 * calls a million functions, each once, which is several buffers full. It must come out exact, and it
 * must still be stopped by a kick.
 *
 * BUSLOCK_NEW_FUNCTIONS sets how many (default a million).
 */
#include "emu/emu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
/* cmocka.h wants the above */
#include <cmocka.h>
#include <pthread.h>

#define RAM_SIZE  (32u << 20)
#define CODE      0x1000u
#define STACK     0x4000u
#define FUNCTIONS 0x100000u /* they lie from here to the end of memory, 32 bytes apart */

/* 32-bit, flat, no paging */
static const uint8_t program[] = {
	0xbf, 0x00, 0x00, 0x10, 0x00,       /* 00     mov edi, FUNCTIONS */
	0x66, 0xc7, 0x07, 0x40, 0xc3,       /* 05 1:  mov word [edi], 0xc340 ; inc eax; ret */
	0xff, 0xd7,                         /* 0a     call edi */
	0x83, 0xc7, 0x20,                   /* 0c     add edi, 32 */
	0x81, 0xff, 0x00, 0x00, 0x00, 0x02, /* 0f     cmp edi, RAM_SIZE */
	0x72, 0x05,                         /* 15     jb 2f */
	0xbf, 0x00, 0x00, 0x10, 0x00,       /* 17     mov edi, FUNCTIONS */
	0x49,                               /* 1c 2:  dec ecx */
	0x75, 0xe6,                         /* 1d     jnz 1b */
	0xf4,                               /* 1f     hlt */
};

struct machine {
	struct emu_vm *vm;
	struct emu_vcpu *vcpu;
	uint8_t *ram;
};

static void machine_create(struct machine *m, uint32_t functions)
{
	struct emu_state s;

	m->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(m->ram, MAP_FAILED);
	memcpy(m->ram + CODE, program, sizeof(program));
	assert_int_equal(emu_vm_create(NULL, &m->vm), 0);
	assert_int_equal(emu_vm_map(m->vm, 0, 0, RAM_SIZE, m->ram, 0), 0);
	assert_int_equal(emu_vcpu_create(m->vm, &m->vcpu), 0);
	emu_vcpu_get_state(m->vcpu, &s);
	for (int i = EMU_ES; i <= EMU_GS; i++)
		s.segment[i] = (struct emu_segment){ .limit = 0xffffffff,
						     .selector = 0x10,
						     .attributes = 0xc093 };
	s.segment[EMU_CS].selector = 0x08;
	s.segment[EMU_CS].attributes = 0xc09b;
	s.cr0 |= 1;
	s.rip = CODE;
	s.gpr[EMU_RSP] = STACK;
	s.gpr[EMU_RAX] = 0;
	s.gpr[EMU_RCX] = functions;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
}

static void machine_destroy(struct machine *m)
{
	emu_vcpu_destroy(m->vcpu);
	emu_vm_destroy(m->vm);
	munmap(m->ram, RAM_SIZE);
}

static uint32_t wanted(void)
{
	const char *text = getenv("BUSLOCK_NEW_FUNCTIONS");

	return text ? (uint32_t)strtoul(text, NULL, 0) : 1000000;
}

static void test_new_code_without_end_comes_out_exact(void **state)
{
	uint32_t functions = wanted();
	struct emu_exit exit;
	struct machine m;
	struct emu_state s;

	(void)state;
	machine_create(&m, functions);
	assert_int_equal(emu_vcpu_run(m.vcpu, 0, &exit), 0);
	assert_int_equal(exit.type, EMU_EXIT_HLT);
	emu_vcpu_get_state(m.vcpu, &s);
	assert_int_equal(s.gpr[EMU_RAX], functions); /* each function ran once */
	assert_int_equal(s.gpr[EMU_RCX], 0);
	assert_int_equal(s.gpr[EMU_RSP], STACK);
	machine_destroy(&m);
}

static void *kick_later(void *opaque)
{
	struct machine *m = opaque;

	usleep(200000);
	emu_vcpu_kick(m->vcpu);
	return NULL;
}

static void test_new_code_without_end_is_stopped_by_a_kick(void **state)
{
	struct emu_exit exit;
	struct machine m;
	pthread_t thread;
	struct emu_state s;

	(void)state;
	machine_create(&m, 0); /* 2^32 of them */
	assert_int_equal(pthread_create(&thread, NULL, kick_later, &m), 0);
	assert_int_equal(emu_vcpu_run(m.vcpu, 0, &exit), 0);
	pthread_join(thread, NULL);
	assert_int_equal(exit.type, EMU_EXIT_KICKED);
	/* Between any two instructions, what is called and what is counted differ by one at most. */
	emu_vcpu_get_state(m.vcpu, &s);
	assert_in_range((uint32_t)(s.gpr[EMU_RAX] + s.gpr[EMU_RCX]), 0, 1);
	machine_destroy(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_code_without_end_comes_out_exact),
		cmocka_unit_test(test_new_code_without_end_is_stopped_by_a_kick),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
