/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Straight-line code of one instruction, over and over. The engine's translator has a table of 512
 * temporaries for a block and does not look whether it is full; instructions that lose one each (x87 on
 * ST(i), PSHUFD) made it write past the end. Every opcode is tried here, and that no instruction is lost or done
 * twice where a long block is cut.
 */
#include "emu/emu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
/* cmocka.h wants the above */
#include <cmocka.h>

#define RAM_SIZE  (1u << 20)
#define CODE      0x1000u
#define DATA      0x80000u
#define STACK     0x70000u
#define COPIES    600u
#define MAX_EXITS 4

static uint8_t *ram;
static struct emu_vm *vm;
static struct emu_vcpu *vcpu;

static int set_up(void **state)
{
	const struct emu_config config = { .count = true };

	(void)state;
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ram == MAP_FAILED || emu_vm_create(&config, &vm))
		return -1;
	return emu_vm_map(vm, 0, 0, RAM_SIZE, ram, 0) || emu_vcpu_create(vm, &vcpu) ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	emu_vcpu_destroy(vcpu);
	emu_vm_destroy(vm);
	munmap(ram, RAM_SIZE);
	return 0;
}

/* 32-bit, flat, no paging, no IDT: an exception ends the machine. */
static void load(const uint8_t *insn, unsigned length, unsigned copies, uint32_t loops)
{
	static const uint8_t end[] = { 0x49, 0x0f, 0x85 }; /* dec ecx; jnz near */
	uint8_t *at = ram + CODE;
	struct emu_state s;
	int32_t back;

	for (unsigned i = 0; i < copies; i++, at += length)
		memcpy(at, insn, length);
	memcpy(at, end, sizeof(end));
	back = -(int32_t)(copies * length + sizeof(end) + 4);
	memcpy(at + sizeof(end), &back, sizeof(back));
	at[sizeof(end) + 4] = 0xf4; /* hlt */
	emu_vcpu_get_state(vcpu, &s);
	for (int i = EMU_ES; i <= EMU_GS; i++)
		s.segment[i] = (struct emu_segment){ .limit = 0xffffffff,
						     .selector = 0x10,
						     .attributes = 0xc093 };
	s.segment[EMU_CS].selector = 0x08;
	s.segment[EMU_CS].attributes = 0xc09b;
	s.idt.limit = 0;
	s.cr0 = 0x31; /* PE, ET, NE */
	s.cr4 = 0x600;
	s.rip = CODE;
	s.rflags = 2;
	for (int i = 0; i < 8; i++)
		s.gpr[i] = DATA;
	s.gpr[EMU_RSP] = STACK;
	s.gpr[EMU_RCX] = loops;
	assert_int_equal(emu_vcpu_set_state(vcpu, &s), 0);
}

static void test_long_blocks_of_every_opcode_do_not_kill(void **state)
{
	static const uint8_t prefixes[] = { 0, 0x66, 0xf2, 0xf3 };
	static const uint8_t operands[] = { 0x00, 0x08, 0xc0, 0xc1, 0xc8,
					    0xd1, 0xe0, 0xe9, 0xf1, 0xf8 };

	(void)state;
	for (unsigned n = 0; n < 4 * 2 * 256 * sizeof(operands); n++) {
		uint8_t insn[8] = { 0 };
		unsigned length = 0, map = n / 4 % 2;
		struct emu_exit exit;
		int r = 0;

		if (prefixes[n % 4])
			insn[length++] = prefixes[n % 4];
		if (map)
			insn[length++] = 0x0f;
		insn[length++] = (uint8_t)(n / 8);
		insn[length++] = operands[n / 8 / 256];
		load(insn, length, COPIES, 1);
		/* most end in an exception at once; what loops for ever is ended by the limit */
		for (unsigned exits = 0; exits < MAX_EXITS && !r; exits++) {
			struct emu_stats stats;

			emu_vcpu_get_stats(vcpu, &stats);
			emu_vcpu_set_instruction_limit(vcpu, stats.instructions + 2000);
			r = emu_vcpu_run(vcpu, 0, &exit);
			if (!r && (exit.type == EMU_EXIT_HLT || exit.type == EMU_EXIT_SHUTDOWN ||
				   exit.type == EMU_EXIT_LIMIT))
				break;
		}
		assert_int_equal(r, 0);
	}
}

/* The block is cut in front of an instruction that need not leave the engine: it runs all the same, once. */
static void test_long_blocks_of_x87_come_out_exact(void **state)
{
	static const uint8_t fxch[] = { 0xd9, 0xc9 };
	uint8_t image[512];
	struct emu_stats before, after;
	struct emu_exit exit;

	(void)state;
	/* an odd number of exchanges in each of an odd number of rounds */
	load(fxch, 2, COPIES + 1, 5);
	memset(image, 0, sizeof(image));
	image[0] = 0x7f, image[1] = 0x03; /* FCW */
	image[3] = 6 << 3;                /* TOP: two registers in use */
	image[4] = 0xc0;
	image[24] = 0x80, image[25] = 0x1f;                        /* MXCSR */
	memcpy(image + 32 + 16, "\0\0\0\0\0\0\0\x80\xff\x3f", 10); /* ST0 zero, ST1 one */
	assert_int_equal(emu_vcpu_set_fx(vcpu, image), 0);
	emu_vcpu_get_stats(vcpu, &before);
	emu_vcpu_set_instruction_limit(vcpu, 0);
	assert_int_equal(emu_vcpu_run(vcpu, 0, &exit), 0);
	assert_int_equal(exit.type, EMU_EXIT_HLT);
	emu_vcpu_get_stats(vcpu, &after);
	assert_int_equal(after.instructions - before.instructions, 5 * (COPIES + 1 + 2) + 1);
	emu_vcpu_get_fx(vcpu, image);
	assert_memory_equal(image + 32, "\0\0\0\0\0\0\0\x80\xff\x3f", 10);
	assert_memory_equal(image + 32 + 16, "\0\0\0\0\0\0\0\0\0\0", 10);
}

/* One round has one cut, so that the run that began there comes to it again. */
static void test_long_blocks_in_a_loop_come_out_exact(void **state)
{
	static const uint8_t inc_eax[] = { 0x40 };
	struct emu_stats before, after;
	struct emu_state s;
	struct emu_exit exit;

	(void)state;
	load(inc_eax, 1, COPIES, 50);
	emu_vcpu_get_stats(vcpu, &before);
	assert_int_equal(emu_vcpu_run(vcpu, 0, &exit), 0);
	assert_int_equal(exit.type, EMU_EXIT_HLT);
	emu_vcpu_get_stats(vcpu, &after);
	assert_int_equal(after.instructions - before.instructions, 50 * (COPIES + 2) + 1);
	emu_vcpu_get_state(vcpu, &s);
	assert_int_equal(s.gpr[EMU_RAX], DATA + 50 * COPIES);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_long_blocks_of_every_opcode_do_not_kill),
		TEST(test_long_blocks_of_x87_come_out_exact),
		TEST(test_long_blocks_in_a_loop_come_out_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
