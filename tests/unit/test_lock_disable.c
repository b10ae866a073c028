/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Split-lock and UC-lock disable (SDM 11.1.2.3) and the bus-lock #DB (SDM 20.3.1.6): which registers
 * exist, which bits can be written, and what a locked instruction does then.
 */
#include "tests/unit/exit_vm.h"

#include <errno.h>

#define LOCK_ADD "\xf0\x01\x07" /* lock add [rdi],eax */
enum { MEMORY_CTRL = 0x33, CORE_CAPS = 0xcf, DEBUGCTL = 0x1d9 };
enum { UC_DISABLE = 1 << 28, SPLIT_DISABLE = 1 << 29, BLD = 1 << 11 };

static void begin(const struct emu_config *config, enum mode mode, uint64_t operand)
{
	machine_start(config, mode, LOCK_ADD, 3, operand);
}

static void show(uint32_t ecx, uint32_t edx, uint32_t edx2)
{
	const struct emu_cpuid leaves[] = {
		{ .function = 7, .index = 0, .has_index = true, .eax = 2, .ecx = ecx, .edx = edx },
		{ .function = 7, .index = 2, .has_index = true, .edx = edx2 },
	};
	assert_int_equal(emu_vcpu_set_cpuid(vcpu, leaves, 2), 0);
}

static int get(uint32_t index)
{
	uint64_t value;
	return emu_vcpu_get_msr(vcpu, index, &value, false);
}
static int set(uint32_t index, uint64_t value)
{
	return emu_vcpu_set_msr(vcpu, index, value, false);
}

/* Runs to the VMCALL: of the code, or of a handler, whose vector it returns; -1: the code. */
static int vector_taken(void)
{
	struct emu_exit x;
	struct emu_state s;
	assert_int_equal(emu_vcpu_run(vcpu, 0, &x), 0);
	assert_int_equal(x.type, EMU_EXIT_VMCALL);
	assert_false(x.bus_lock);
	emu_vcpu_get_state(vcpu, &s);
	return s.rip >= HANDLERS && s.rip < HANDLERS + 4096 ? (int)(s.rip - HANDLERS) / 16 : -1;
}

static uint64_t frame(unsigned n) /* from the lowest address */
{
	struct emu_state s;
	uint64_t value;
	emu_vcpu_get_state(vcpu, &s);
	memcpy(&value, ram + s.gpr[EMU_RSP] + 8 * n, 8);
	return value;
}

/* ------------------------------------------------------------------ which registers there are */

static void test_lock_disable_registers_exist_where_cpuid_says_so(void **state)
{
	uint64_t value = 0;
	(void)state;
	begin(NULL, CPL0, SPLIT);
	show(0, 0, 0);
	assert_int_equal(get(CORE_CAPS), -ENOENT);
	assert_int_equal(get(MEMORY_CTRL), -ENOENT);
	assert_int_equal(set(MEMORY_CTRL, 0), -ENOENT);
	show(0, 1u << 30, 0);
	assert_int_equal(emu_vcpu_get_msr(vcpu, CORE_CAPS, &value, false), 0);
	assert_int_equal(value, 0x30);
	assert_int_equal(get(MEMORY_CTRL), 0);
}

static void test_lock_disable_core_capabilities_are_read_only(void **state)
{
	(void)state;
	begin(NULL, CPL0, SPLIT);
	assert_int_equal(set(CORE_CAPS, 0x30), -EINVAL);
	assert_int_equal(emu_vcpu_set_msr(vcpu, CORE_CAPS, 0x20, true), 0);
	/* …and the bits of MSR 33h follow them */
	assert_int_equal(set(MEMORY_CTRL, SPLIT_DISABLE), 0);
	assert_int_equal(set(MEMORY_CTRL, UC_DISABLE), -EINVAL);
	assert_int_equal(emu_vcpu_set_msr(vcpu, CORE_CAPS, 0x10, true), 0);
	assert_int_equal(set(MEMORY_CTRL, SPLIT_DISABLE), -EINVAL);
	assert_int_equal(set(MEMORY_CTRL, UC_DISABLE), 0);
	assert_int_equal(emu_vcpu_set_msr(vcpu, CORE_CAPS, 0, true), 0);
	assert_int_equal(get(MEMORY_CTRL), -ENOENT);
}

static void test_lock_disable_reserved_bits_are_refused(void **state)
{
	(void)state;
	begin(NULL, CPL0, SPLIT);
	for (unsigned bit = 0; bit < 64; bit++)
		assert_int_equal(set(MEMORY_CTRL, 1ull << bit),
				 bit == 28 || bit == 29 ? 0 : -EINVAL);
}

static void test_lock_disable_wrmsr_of_a_reserved_bit_is_gp(void **state)
{
	(void)state;
	machine_start(NULL, CPL0, "\xb9\x33\x00\x00\x00\x31\xd2\xb8\x00\x00\x00\x08\x0f\x30", 14,
		      0);
	assert_int_equal(vector_taken(), GP);
}

static void test_lock_disable_is_not_there_on_amd_or_when_not_virtualized(void **state)
{
	const struct emu_config amd = { .vendor = EMU_AMD },
				none = { .no_core_capabilities = true };
	uint64_t value;
	(void)state;
	begin(&amd, CPL0, SPLIT);
	show(0, 1u << 30, 0);
	assert_int_equal(get(CORE_CAPS), -ENOENT);
	assert_int_equal(emu_vcpu_get_msr(vcpu, CORE_CAPS, &value, true), -ENOENT);
	machine_stop();
	begin(&none, CPL0, SPLIT);
	assert_int_equal(get(CORE_CAPS), -ENOENT);
	assert_int_equal(get(MEMORY_CTRL), -ENOENT);
	assert_int_equal(emu_vcpu_get_msr(vcpu, MEMORY_CTRL, &value, true), -ENOENT);
}

/* ------------------------------------------------------------------ the faults */

static void split_lock_faults_at(enum mode mode)
{
	struct emu_stats stats;
	begin(NULL, mode, SPLIT);
	assert_int_equal(set(MEMORY_CTRL, SPLIT_DISABLE), 0);
	memset(ram + BUFFER, 0x11, 128);
	assert_int_equal(vector_taken(), AC);
	assert_int_equal(frame(0), 0); /* error code */
	assert_int_equal(frame(1), CODE);
	assert_int_equal(ram[SPLIT], 0x11);
	emu_vcpu_get_stats(vcpu, &stats);
	assert_int_equal(stats.bus_locks, 0);
	assert_int_equal(locks, 0);
}

static void test_lock_disable_split_lock_is_ac_before_the_access_at_any_cpl(void **state)
{
	(void)state;
	split_lock_faults_at(CPL0);
	machine_stop();
	split_lock_faults_at(CPL3);
}

static void test_lock_disable_of_split_locks_leaves_others_alone(void **state)
{
	static const uint64_t operands[] = { BUFFER, BUFFER + 60, UC_BUFFER };
	struct emu_exit x;
	(void)state;
	for (unsigned n = 0; n < 3; n++) {
		if (n)
			machine_stop();
		begin(NULL, CPL0, operands[n]);
		assert_int_equal(set(MEMORY_CTRL, SPLIT_DISABLE), 0);
		assert_int_equal(emu_vcpu_run(vcpu, 0, &x), 0);
		assert_int_equal(x.type, n == 2 ? EMU_EXIT_BUS_LOCK : EMU_EXIT_VMCALL);
	}
}

static void test_lock_disable_uc_lock_is_gp_or_ac_as_cpuid_says(void **state)
{
	(void)state;
	begin(NULL, CPL3, UC_BUFFER);
	assert_int_equal(set(MEMORY_CTRL, UC_DISABLE), 0);
	assert_int_equal(vector_taken(), GP);
	assert_int_equal(frame(0), 0);
	machine_stop();
	begin(NULL, CPL3, UC_BUFFER);
	show(0, 1u << 30, 1u << 6);
	assert_int_equal(set(MEMORY_CTRL, UC_DISABLE), 0);
	assert_int_equal(vector_taken(), AC);
	assert_int_equal(locks, 0);
}

static void test_lock_disable_of_uc_locks_leaves_split_ones_alone(void **state)
{
	struct emu_exit x;
	(void)state;
	begin(NULL, CPL0, SPLIT);
	assert_int_equal(set(MEMORY_CTRL, UC_DISABLE), 0);
	assert_int_equal(emu_vcpu_run(vcpu, 0, &x), 0);
	assert_int_equal(x.type, EMU_EXIT_BUS_LOCK);
}

static unsigned asked;
static bool answer;
static bool trap(void *opaque, struct emu_vcpu *v)
{
	assert_ptr_equal(opaque, &asked);
	assert_ptr_equal(v, vcpu);
	asked++;
	return answer;
}

static void test_lock_disable_by_the_host_is_asked_before_each_split_lock_only(void **state)
{
	const struct emu_config none = { .no_core_capabilities = true };
	struct emu_exit x;
	(void)state;
	for (unsigned n = 0; n < 4; n++) {
		if (n)
			machine_stop();
		begin(&none, CPL0, n == 2 ? UC_BUFFER : n == 3 ? BUFFER : SPLIT);
		emu_vm_set_split_lock_trap(vm, trap, &asked);
		asked = 0;
		answer = n == 0;
		assert_int_equal(emu_vcpu_run(vcpu, 0, &x), 0);
		assert_int_equal(asked, n < 2);
		assert_int_equal(x.type, n == 1 || n == 2 ? EMU_EXIT_BUS_LOCK : EMU_EXIT_VMCALL);
		assert_int_equal(locks, n == 1 || n == 2);
	}
}

/* ------------------------------------------------------------------ the trap */

static void test_bus_lock_db_is_enabled_where_cpuid_says_so(void **state)
{
	const struct emu_config none = { .no_bus_lock_debug = true };
	(void)state;
	begin(NULL, CPL3, SPLIT);
	show(0, 0, 0);
	assert_int_equal(set(DEBUGCTL, 4), -EINVAL);
	show(1u << 24, 0, 0);
	assert_int_equal(set(DEBUGCTL, 4), 0);
	assert_int_equal(set(DEBUGCTL, 1ull << 32), -EINVAL);
	machine_stop();
	begin(&none, CPL3, SPLIT);
	assert_int_equal(set(DEBUGCTL, 4), -EINVAL);
	assert_int_equal(emu_vcpu_set_msr(vcpu, DEBUGCTL, 4, true), -EINVAL);
}

static void test_bus_lock_db_is_a_trap_behind_uc_locks_too(void **state)
{
	struct emu_state s;
	(void)state;
	begin(NULL, CPL3, UC_BUFFER);
	emu_vcpu_set_bus_lock_exiting(vcpu, false);
	assert_int_equal(set(DEBUGCTL, 4), 0);
	assert_int_equal(vector_taken(), DB);
	assert_int_equal(frame(0), CODE + 3);
	emu_vcpu_get_state(vcpu, &s);
	assert_int_equal(s.dr[6], 0xffff0ff0 & ~BLD);
	assert_int_equal(ram[UC_BUFFER], 1);
}

/* …of a handler that runs at CPL 3, too, right behind the event that it handles */
static void test_bus_lock_db_behind_the_first_instruction_of_a_handler(void **state)
{
	struct emu_state s;
	(void)state;
	machine_start(NULL, CPL3, "\x90", 1, SPLIT);
	emu_vcpu_set_bus_lock_exiting(vcpu, false);
	assert_int_equal(set(DEBUGCTL, 4), 0);
	set_gates(CODE3);
	memcpy(ram + HANDLERS + 16 * 0x40, LOCK_ADD "\x0f\x01\xc1", 6);
	EDIT_STATE(s.rflags |= 1 << 9);
	assert_int_equal(emu_vcpu_inject_interrupt(vcpu, 0x40), 0);
	assert_int_equal(vector_taken(), DB);
	emu_vcpu_get_state(vcpu, &s);
	assert_int_equal(s.dr[6], 0xffff0ff0 & ~BLD);
}

/* mov rax,dr6 or mov dr6,rax, each with what the guest gets */
static void test_bus_lock_db_bit_of_dr6_can_be_written_where_it_is_offered(void **state)
{
	struct emu_state s;
	(void)state;
	for (unsigned offered = 0; offered < 2; offered++) {
		if (offered)
			machine_stop();
		machine_start(NULL, CPL0, "\x31\xc0\x0f\x23\xf0", 5, 0); /* mov dr6,0 */
		show(offered << 24, 0, 0);
		assert_int_equal(vector_taken(), -1);
		emu_vcpu_get_state(vcpu, &s);
		assert_int_equal(s.dr[6], offered ? 0xffff07f0 : 0xffff0ff0);
	}
}

static void test_bus_lock_db_leaves_out_locks_of_event_delivery_and_of_faults(void **state)
{
	(void)state;
	/* INT 40h through a descriptor in UC memory whose accessed bit is clear */
	machine_start(NULL, CPL3, "\xcd\x40", 2, 0);
	emu_vcpu_set_bus_lock_exiting(vcpu, false);
	declare_uc(GDT);
	set_gates(CODE0_FRESH);
	assert_int_equal(set(DEBUGCTL, 4), 0);
	assert_int_equal(vector_taken(), 0x40);
	assert_int_equal(locks, 1);
	machine_stop();
	/* an accessed bit is set on the way to a page fault */
	machine_start(NULL, CPL3, "\x8b\x07", 2, COLD_ABSENT - 2);
	emu_vcpu_set_bus_lock_exiting(vcpu, false);
	assert_int_equal(set(DEBUGCTL, 4), 0);
	assert_int_equal(vector_taken(), PF);
	assert_int_equal(locks, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_teardown(f, machine_end)
		T(test_lock_disable_registers_exist_where_cpuid_says_so),
		T(test_lock_disable_core_capabilities_are_read_only),
		T(test_lock_disable_reserved_bits_are_refused),
		T(test_lock_disable_wrmsr_of_a_reserved_bit_is_gp),
		T(test_lock_disable_is_not_there_on_amd_or_when_not_virtualized),
		T(test_lock_disable_split_lock_is_ac_before_the_access_at_any_cpl),
		T(test_lock_disable_of_split_locks_leaves_others_alone),
		T(test_lock_disable_uc_lock_is_gp_or_ac_as_cpuid_says),
		T(test_lock_disable_of_uc_locks_leaves_split_ones_alone),
		T(test_lock_disable_by_the_host_is_asked_before_each_split_lock_only),
		T(test_bus_lock_db_is_enabled_where_cpuid_says_so),
		T(test_bus_lock_db_is_a_trap_behind_uc_locks_too),
		T(test_bus_lock_db_behind_the_first_instruction_of_a_handler),
		T(test_bus_lock_db_bit_of_dr6_can_be_written_where_it_is_offered),
		T(test_bus_lock_db_leaves_out_locks_of_event_delivery_and_of_faults),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
