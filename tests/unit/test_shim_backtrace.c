// SPDX-License-Identifier: GPL-2.0-only
/* Callers by frame pointers, over a processor that has only registers and a stack. */
#include "vmm_shim/internal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define STACK 0x8000u
static uint8_t stack[0x1000];
static struct emu_state state;

static void get_state(struct emu_vcpu *emu, struct emu_state *to)
{
	(void)emu;
	*to = state;
}

/* At STACK, and nothing else; in the upper half the same bytes. */
static int observed_read(struct emu_vcpu *emu, uint64_t linear, void *data, size_t size)
{
	uint64_t at = (linear & 0xffffffffffff) - STACK;

	(void)emu;
	if (at >= sizeof(stack) || size > sizeof(stack) - at)
		return -EFAULT;
	memcpy(data, stack + at, size);
	return 0;
}

static const struct backend backend = { .get_state = get_state, .observed_read = observed_read };
static struct shim_vcpu vcpu = { .ops = &backend };

static void put(unsigned at, uint64_t value, unsigned width)
{
	memcpy(stack + at, &value, width);
}

/* A frame at `at` whose caller's is at `next`. */
static void frame(unsigned at, uint64_t next, uint64_t target, unsigned width)
{
	put(at, next, width);
	put(at + width, target, width);
}

static int fresh(void **unused)
{
	(void)unused;
	memset(stack, 0, sizeof(stack));
	memset(&state, 0, sizeof(state));
	return 0;
}

static void long_mode(uint64_t rip, uint64_t rsp, uint64_t rbp)
{
	state.efer = 1 << 10;
	state.segment[EMU_CS].attributes = 1 << 13;
	state.rip = rip;
	state.gpr[EMU_RSP] = rsp;
	state.gpr[EMU_RBP] = rbp;
}

static void expect(unsigned count, ...)
{
	uint64_t got[8];
	va_list wanted;

	assert_int_equal(guest_backtrace(&vcpu, got, 8), count);
	va_start(wanted, count);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(got[i], va_arg(wanted, uint64_t));
	va_end(wanted);
}

static void test_backtrace_long_mode_follows_to_the_first_zero(void **unused)
{
	(void)unused;
	long_mode(0x401000, STACK + 0x10, STACK + 0x20);
	frame(0x20, STACK + 0x40, 0x401111, 8);
	frame(0x40, STACK + 0x80, 0x401222, 8);
	frame(0x80, 0, 0x401333, 8);
	expect(3, 0x401111ull, 0x401222ull, 0x401333ull);
	put(0x88, 0, 8); /* the outermost frame has no return address */
	expect(2, 0x401111ull, 0x401222ull);
}

static void test_backtrace_a_register_that_is_no_frame_pointer_ends_it(void **unused)
{
	static const uint64_t none[] = {
		0,
		STACK + 8 /* below the stack pointer */,
		STACK + 0x24 /* misaligned */,
		STACK + 0x2000 /* not mapped */,
		STACK + 0x200000 /* too far */,
		0xffff800000008020 /* the kernel's */,
		UINT64_MAX - 7,
	};

	(void)unused;
	frame(0x20, 0, 0x401111, 8);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		long_mode(0x401000, STACK + 0x10, none[i]);
		expect(0);
	}
}

static void test_backtrace_frames_only_go_up(void **unused)
{
	(void)unused;
	long_mode(0x401000, STACK + 0x10, STACK + 0x40);
	frame(0x40, STACK + 0x40, 0x401111, 8); /* itself */
	expect(1, 0x401111ull);
	frame(0x40, STACK + 0x20, 0x401111, 8);
	frame(0x20, STACK + 0x40, 0x401222, 8);
	expect(1, 0x401111ull);
}

static void test_backtrace_programs_are_not_called_by_kernels(void **unused)
{
	(void)unused;
	long_mode(0x401000, STACK, STACK + 0x20);
	frame(0x20, 0, 0xffffffff81000000, 8);
	expect(0);
	long_mode(0xffffffff81000010, 0xffff000000008000, 0xffff000000008020);
	expect(1, 0xffffffff81000000ull);
}

static void test_backtrace_stops_at_the_number_asked_for(void **unused)
{
	uint64_t got[2];

	(void)unused;
	long_mode(0x401000, STACK, STACK);
	for (unsigned at = 0; at < 0x100; at += 0x10)
		frame(at, STACK + at + 0x10, 0x401000 + at, 8);
	assert_int_equal(guest_backtrace(&vcpu, got, 2), 2);
	assert_int_equal(got[1], 0x401010);
}

static void test_backtrace_protected_mode_adds_the_bases(void **unused)
{
	(void)unused;
	state.segment[EMU_CS] = (struct emu_segment){ .base = 0x100000, .attributes = 1 << 14 };
	state.segment[EMU_SS] = (struct emu_segment){ .base = STACK, .attributes = 1 << 14 };
	/* what a 64-bit host left above does not count */
	state.gpr[EMU_RSP] = 0xdead00000010;
	state.gpr[EMU_RBP] = 0xdead00000020;
	frame(0x20, 0x40, 0x2000, 4);
	frame(0x40, 0, 0x3000, 4);
	expect(2, 0x102000ull, 0x103000ull);
}

static void test_backtrace_real_mode_has_words(void **unused)
{
	(void)unused;
	state.segment[EMU_CS] = (struct emu_segment){ .base = 0x7000 };
	state.segment[EMU_SS] = (struct emu_segment){ .base = STACK - 0x100 };
	state.gpr[EMU_RSP] = 0x110;
	state.gpr[EMU_RBP] = 0x10120;
	frame(0x20, 0x140, 0x55, 2);
	frame(0x40, 0, 0x66, 2);
	expect(2, 0x7055ull, 0x7066ull);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_backtrace_long_mode_follows_to_the_first_zero, fresh),
		cmocka_unit_test_setup(test_backtrace_a_register_that_is_no_frame_pointer_ends_it,
				       fresh),
		cmocka_unit_test_setup(test_backtrace_frames_only_go_up, fresh),
		cmocka_unit_test_setup(test_backtrace_programs_are_not_called_by_kernels, fresh),
		cmocka_unit_test_setup(test_backtrace_stops_at_the_number_asked_for, fresh),
		cmocka_unit_test_setup(test_backtrace_protected_mode_adds_the_bases, fresh),
		cmocka_unit_test_setup(test_backtrace_real_mode_has_words, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
