/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every lockable form at every offset around a cache line and around a page: the result (memory,
 * registers, flags) is that of the same instruction without LOCK on the processor that the test runs
 * on (which takes no bus lock), or in the engine where that is not an x86; the verdict is that of the
 * rule; and no host atomic ever touched a split operand.
 */
#include "emu/atomic.h"
#include "emu/emu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
/* cmocka.h wants the above */
#include <cmocka.h>

#define CODE   0x1000u
#define BUFFER 0x3000u /* two pages: a line border at +64, a page border at +4096 */
#define RAM    0xa000u

enum { FLAGS = 0x8d5 }; /* OF SF ZF AF PF CF */

struct form {
	const char *name;
	uint8_t bytes[8]; /* without LOCK; operand [rdi], register operand rcx */
	uint8_t length;
	uint8_t size;
	uint32_t undefined; /* flags that the manual leaves undefined */
};

static struct form forms[256];
static unsigned form_count;

static struct emu_vm *vm;
static struct emu_vcpu *vcpu;
static uint8_t *ram;
static struct emu_lock seen;
static unsigned locks;
static uint8_t *native_code; /* a page for instructions that the host executes */

static void add(const char *name, unsigned size, uint32_t undefined, unsigned n,
		const uint8_t *tail)
{
	struct form *f = &forms[form_count++];
	assert_true(form_count <= sizeof(forms) / sizeof(forms[0]));
	f->name = name;
	f->size = (uint8_t)size;
	f->undefined = undefined;
	if (size == 2)
		f->bytes[f->length++] = 0x66;
	if (size == 8)
		f->bytes[f->length++] = 0x48;
	memcpy(f->bytes + f->length, tail, n);
	f->length = (uint8_t)(f->length + n);
}

/* opcode for bytes is `opcode`, for larger sizes opcode+1 */
static void add_sizes(const char *name, uint8_t escape, uint8_t opcode, uint8_t modrm,
		      unsigned immediate, uint32_t undefined, bool byte_form)
{
	for (unsigned size = byte_form ? 1 : 2; size <= 8; size *= 2) {
		uint8_t tail[8];
		unsigned n = 0;
		if (escape)
			tail[n++] = escape;
		tail[n++] = (uint8_t)(byte_form ? opcode + (size > 1) : opcode);
		tail[n++] = modrm;
		for (unsigned k = 0; k < (immediate == 4 && size == 2 ? 2 : immediate); k++)
			tail[n++] = (uint8_t)(0x5a + 0x21 * k);
		add(name, size, undefined, n, tail);
	}
}

static int build_forms(void **state)
{
	static const char *const alu[] = { "ADD", "OR", "ADC", "SBB", "AND", "SUB", "XOR" };
	(void)state;
	for (unsigned op = 0; op < 7; op++) {
		/* AF is undefined after AND, OR, XOR */
		uint32_t undefined = op == 1 || op == 4 || op == 6 ? 0x10 : 0;
		add_sizes(alu[op], 0, (uint8_t)(op * 8), 0x0f, 0, undefined, true);
		for (unsigned size = 1; size <= 8; size *= 2) {
			uint8_t modrm = (uint8_t)(op << 3 | 7);
			const uint8_t imm8[] = { size == 1 ? 0x80 : 0x83, modrm, 0x9c };
			const uint8_t imm32[] = { 0x81, modrm, 0x12, 0x34, 0x56, 0x89 };
			add(alu[op], size, undefined, 3, imm8);
			if (size > 1)
				add(alu[op], size, undefined, size == 2 ? 4 : 6, imm32);
		}
	}
	add_sizes("INC", 0, 0xfe, 0x07, 0, 0, true);
	add_sizes("DEC", 0, 0xfe, 0x0f, 0, 0, true);
	add_sizes("NOT", 0, 0xf6, 0x17, 0, 0, true);
	add_sizes("NEG", 0, 0xf6, 0x1f, 0, 0, true);
	/* BTx: OF SF AF PF undefined, ZF kept */
	add_sizes("BTS", 0x0f, 0xab, 0x0f, 0, 0x894, false);
	add_sizes("BTR", 0x0f, 0xb3, 0x0f, 0, 0x894, false);
	add_sizes("BTC", 0x0f, 0xbb, 0x0f, 0, 0x894, false);
	add_sizes("BTS", 0x0f, 0xba, 0x2f, 1, 0x894, false);
	add_sizes("BTR", 0x0f, 0xba, 0x37, 1, 0x894, false);
	add_sizes("BTC", 0x0f, 0xba, 0x3f, 1, 0x894, false);
	add_sizes("XADD", 0x0f, 0xc0, 0x0f, 0, 0, true);
	add_sizes("CMPXCHG", 0x0f, 0xb0, 0x0f, 0, 0, true);
	add("CMPXCHG8B", 4, 0, 3, (const uint8_t[]){ 0x0f, 0xc7, 0x0f });
	forms[form_count - 1].size = 8;
	return 0;
}

static void observe(void *opaque, struct emu_vcpu *v, const struct emu_lock *lock)
{
	(void)opaque, (void)v;
	seen = *lock;
	locks++;
}

static uint64_t rnd(void)
{
	static uint64_t seed = 0x9e3779b97f4a7c15;
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void begin_state(struct emu_state *s, uint64_t rdi)
{
	emu_vcpu_get_state(vcpu, s);
	for (int r = 0; r < 16; r++)
		s->gpr[r] = rnd();
	s->gpr[EMU_RDI] = rdi;
	s->gpr[EMU_RSP] = 0x1ff0;
	s->rip = CODE;
	s->rflags = 2 | (rnd() & FLAGS);
}

/* Runs one instruction, then HLT; the bus-lock exits before it are counted. */
static unsigned execute(const uint8_t *bytes, unsigned length, struct emu_state *s,
			struct emu_exit *x)
{
	unsigned exits = 0;
	uint8_t code[17];
	memcpy(code, bytes, length);
	code[length] = 0xf4;
	assert_int_equal(emu_vm_write(vm, CODE, code, length + 1), 0);
	assert_int_equal(emu_vcpu_set_state(vcpu, s), 0);
	for (;;) {
		assert_int_equal(emu_vcpu_run(vcpu, 0, x), 0);
		if (x->type != EMU_EXIT_BUS_LOCK)
			break;
		emu_vcpu_get_state(vcpu, s);
		assert_int_equal(s->rip, CODE + length); /* trap-like */
		assert_int_equal(x->word, 74 | 1 << 26);
		assert_int_equal(x->qualification, 0);
		exits++;
	}
	assert_int_equal(x->type, EMU_EXIT_HLT);
	emu_vcpu_get_state(vcpu, s);
	return exits;
}

/* BTS, BTR, BTC with a register: the operand lies where the bit is (SDM vol. 2, BTS). */
static uint64_t operand_address(const struct form *f, struct emu_state *s)
{
	const uint8_t *opcode = f->bytes + (f->size == 2 || f->size == 8);
	if (opcode[0] != 0x0f || (opcode[1] != 0xab && opcode[1] != 0xb3 && opcode[1] != 0xbb))
		return s->gpr[EMU_RDI];
	int64_t bit = (int64_t)(rnd() % 128) - 64;
	s->gpr[EMU_RCX] = (uint64_t)bit;
	return s->gpr[EMU_RDI] + (uint64_t)((bit >> (f->size == 2   ? 4
						     : f->size == 4 ? 5
								    : 6)) *
					    f->size);
}

/* The same instruction without LOCK, in place: RAX, RCX, RDX, flags and memory change. */
static void execute_unlocked(const struct form *f, uint64_t address, struct emu_state *s)
{
#if defined(__x86_64__)
	memcpy(native_code, f->bytes, f->length);
	native_code[f->length] = 0xc3;
	uint64_t a = s->gpr[EMU_RAX], b = s->gpr[EMU_RBX], c = s->gpr[EMU_RCX], d = s->gpr[EMU_RDX];
	uint64_t flags = s->rflags | 0x202;
	__asm__ volatile("sub $128, %%rsp\n\tpush %[flags]\n\tpopfq\n\tcall *%[code]\n\t"
			 "pushfq\n\tpop %[flags]\n\tadd $128, %%rsp"
			 : "+a"(a), "+b"(b), "+c"(c), "+d"(d), [flags] "+r"(flags)
			 : "D"(ram + address), [code] "r"(native_code)
			 : "memory", "cc");
	s->gpr[EMU_RAX] = a, s->gpr[EMU_RCX] = c, s->gpr[EMU_RDX] = d;
	s->rflags = (s->rflags & ~(uint64_t)FLAGS) | (flags & FLAGS);
#else
	struct emu_exit x;
	(void)address;
	execute(f->bytes, f->length, s, &x);
#endif
}

static void check_form(const struct form *f, uint64_t address)
{
	enum { AROUND = 24 };
	uint8_t locked[9] = { 0xf0 }, before[64], plain_result[64];
	struct emu_state start, plain, with_lock;
	struct emu_exit x;
	memcpy(locked + 1, f->bytes, f->length);
	for (unsigned k = 0; k < sizeof(before); k++)
		before[k] = (uint8_t)rnd();
	begin_state(&start, address);
	uint64_t operand = operand_address(f, &start);
	if (f->bytes[0] == 0x0f && f->bytes[1] == 0xc7 && rnd() & 1) /* equal half of the time */
		memcpy(before + AROUND, &start.gpr[EMU_RAX], 4),
			memcpy(before + AROUND + 4, &start.gpr[EMU_RDX], 4);
	if (rnd() & 1)
		memcpy(&start.gpr[EMU_RAX], before + AROUND, 8);

	plain = start;
	memcpy(ram + address - AROUND, before, sizeof(before));
	execute_unlocked(f, address, &plain);
	memcpy(plain_result, ram + address - AROUND, sizeof(plain_result));

	with_lock = start;
	memcpy(ram + address - AROUND, before, sizeof(before));
	bool split = (operand & 63) + f->size > 64;
	uint64_t by_hand = atomic_load(&guest_atomic_plain);
	locks = 0;
	unsigned exits = execute(locked, f->length + 1u, &with_lock, &x);

	assert_int_equal(exits, split);
	assert_int_equal(locks, split);
	/* a split operand is changed by plain accesses, any other by a host atomic */
#if defined(__x86_64__)
	assert_int_equal(atomic_load(&guest_atomic_plain) - by_hand, split);
#else
	assert_true(atomic_load(&guest_atomic_plain) - by_hand >= split);
#endif
	if (split) {
		assert_int_equal(seen.cause, EMU_LOCK_SPLIT);
		assert_int_equal(seen.linear, operand);
		assert_int_equal(seen.gpa, operand);
		assert_int_equal(seen.size, f->size);
		assert_int_equal(seen.rip, CODE);
		assert_int_equal(seen.insn_length, f->length + 1);
		assert_memory_equal(seen.insn, locked, f->length + 1u);
	}
	assert_memory_equal(ram + address - AROUND, plain_result, sizeof(plain_result));
	plain.rip = with_lock.rip;
	assert_memory_equal(with_lock.gpr, plain.gpr, sizeof(plain.gpr));
	assert_int_equal(with_lock.rflags & ~(uint64_t)f->undefined,
			 plain.rflags & ~(uint64_t)f->undefined);
}

static void test_locked_every_form_around_a_line_equals_unlocked(void **state)
{
	(void)state;
	for (unsigned n = 0; n < form_count; n++)
		for (uint64_t offset = 32; offset < 96; offset++)
			check_form(&forms[n], BUFFER + offset);
}

static void test_locked_every_form_across_a_page_equals_unlocked(void **state)
{
	(void)state;
	for (unsigned n = 0; n < form_count; n++)
		for (uint64_t offset = 4096 - 10; offset < 4096 + 4; offset++)
			check_form(&forms[n], BUFFER + offset);
}

static void test_locked_xchg_without_prefix_is_locked(void **state)
{
	static const uint8_t xchg[] = { 0x48, 0x87, 0x0f };
	struct emu_state s;
	struct emu_exit x;
	(void)state;
	for (uint64_t offset = 50; offset < 66; offset++) {
		begin_state(&s, BUFFER + offset);
		uint64_t register_before = s.gpr[EMU_RCX] = rnd(), memory_before = rnd(), after;
		memcpy(ram + BUFFER + offset, &memory_before, 8);
		locks = 0;
		assert_int_equal(execute(xchg, sizeof(xchg), &s, &x), offset > 56 && offset < 64);
		memcpy(&after, ram + BUFFER + offset, 8);
		assert_int_equal(after, register_before);
		assert_int_equal(s.gpr[EMU_RCX], memory_before);
	}
}

static void test_locked_cmpxchg16b_swaps_and_faults_misaligned(void **state)
{
	static const uint8_t insn[] = { 0xf0, 0x48, 0x0f, 0xc7, 0x0f };
	struct emu_state s;
	struct emu_exit x;
	(void)state;
	for (int equal = 0; equal < 2; equal++) {
		begin_state(&s, BUFFER + 48);
		uint64_t old[2] = { equal ? s.gpr[EMU_RAX] : rnd(), s.gpr[EMU_RDX] }, now[2];
		uint64_t new[2] = { s.gpr[EMU_RBX], s.gpr[EMU_RCX] };
		memcpy(ram + BUFFER + 48, old, 16);
		assert_int_equal(execute(insn, sizeof(insn), &s, &x), 0);
		memcpy(now, ram + BUFFER + 48, 16);
		assert_memory_equal(now, equal ? new : old, 16);
		assert_int_equal(!!(s.rflags & 0x40), equal);
		if (!equal)
			assert_int_equal(s.gpr[EMU_RAX], old[0]);
	}
	/* #GP(0), and there is no IDT here: shutdown */
	begin_state(&s, BUFFER + 56);
	assert_int_equal(emu_vm_write(vm, CODE, insn, sizeof(insn)), 0);
	assert_int_equal(emu_vcpu_set_state(vcpu, &s), 0);
	assert_int_equal(emu_vcpu_run(vcpu, 0, &x), 0);
	assert_int_equal(x.type, EMU_EXIT_SHUTDOWN);
	assert_false(x.bus_lock);
}

static void test_locked_detection_off_reports_nothing_but_counts(void **state)
{
	static const uint8_t insn[] = { 0xf0, 0xff, 0x07 };
	struct emu_state s;
	struct emu_exit x;
	struct emu_stats before, after;
	(void)state;
	emu_vcpu_get_stats(vcpu, &before);
	emu_vcpu_set_bus_lock_exiting(vcpu, false);
	begin_state(&s, BUFFER + 62);
	assert_int_equal(execute(insn, sizeof(insn), &s, &x), 0);
	assert_false(x.bus_lock);
	assert_int_equal(x.word, VMX_HLT);
	emu_vcpu_set_bus_lock_exiting(vcpu, true);
	emu_vcpu_get_stats(vcpu, &after);
	assert_int_equal(after.bus_locks - before.bus_locks, 1);
	assert_int_equal(after.split - before.split, 1);
	assert_int_equal(after.locked - before.locked, 1);
}

static void test_locked_trap_flag_stays_pending_over_the_exit(void **state)
{
	/* SDM 30.2: the single-step trap is delivered after re-entry; without an IDT: shutdown */
	static const uint8_t insn[] = { 0xf0, 0xff, 0x07, 0xf4 };
	struct emu_state s;
	struct emu_exit x;
	(void)state;
	begin_state(&s, BUFFER + 62);
	s.rflags = 2 | 0x100;
	assert_int_equal(emu_vm_write(vm, CODE, insn, sizeof(insn)), 0);
	assert_int_equal(emu_vcpu_set_state(vcpu, &s), 0);
	assert_int_equal(emu_vcpu_run(vcpu, 0, &x), 0);
	assert_int_equal(x.type, EMU_EXIT_BUS_LOCK);
	assert_int_equal(emu_vcpu_run(vcpu, 0, &x), 0);
	assert_int_equal(x.type, EMU_EXIT_SHUTDOWN);
}

static int begin(void **state)
{
	struct emu_state s;
	void *memory = NULL;
	if (posix_memalign(&memory, 4096, RAM) || emu_vm_create(NULL, &vm))
		return -1;
	ram = memory;
	native_code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (native_code == MAP_FAILED)
		return -1;
	memset(ram, 0, RAM);
	if (emu_vm_map(vm, 0, 0, RAM, ram, 0) || emu_vcpu_create(vm, &vcpu))
		return -1;
	/* one 2 MB page, identity */
	uint64_t tables[3] = { 0x7003, 0x8003, 0x83 };
	memcpy(ram + 0x6000, &tables[0], 8);
	memcpy(ram + 0x7000, &tables[1], 8);
	memcpy(ram + 0x8000, &tables[2], 8);
	emu_vcpu_get_state(vcpu, &s);
	for (int k = EMU_ES; k <= EMU_GS; k++)
		s.segment[k] = (struct emu_segment){ .limit = 0xffffffff, .attributes = 0xc093 };
	s.segment[EMU_CS].attributes = 0xa09b;
	s.cr0 = 0x80000011, s.cr3 = 0x6000, s.cr4 = 0x620, s.efer = 0x500, s.idt.limit = 0;
	emu_vm_set_lock_observer(vm, observe, NULL);
	emu_vcpu_set_bus_lock_exiting(vcpu, true);
	return emu_vcpu_set_state(vcpu, &s) || build_forms(state);
}

static int end(void **state)
{
	(void)state;
	emu_vcpu_destroy(vcpu);
	emu_vm_destroy(vm);
	munmap(native_code, 4096);
	free(ram);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_locked_every_form_around_a_line_equals_unlocked),
		cmocka_unit_test(test_locked_every_form_across_a_page_equals_unlocked),
		cmocka_unit_test(test_locked_xchg_without_prefix_is_locked),
		cmocka_unit_test(test_locked_cmpxchg16b_swaps_and_faults_misaligned),
		cmocka_unit_test(test_locked_detection_off_reports_nothing_but_counts),
		cmocka_unit_test(test_locked_trap_flag_stays_pending_over_the_exit),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
