// SPDX-License-Identifier: GPL-2.0-only
/* The I/O APIC (Intel 290566) up to the local APIC's IRR, and back by EOI. */
#include "tests/unit/irqchip_vm.h"

#define BASE   0xfec00000u
#define SELECT 0x00
#define WINDOW 0x10
#define ID     0x00
#define VER    0x01
#define ARB    0x02
#define TABLE  0x10

#define MASKED     (1u << 16)
#define LEVEL      (1u << 15)
#define REMOTE_IRR (1u << 14)
#define LOGICAL    (1u << 11)

#define LAPIC_EOI  0xfee000b0u
#define LAPIC_SPIV 0xfee000f0u
#define REG_IRR    0x200
#define REG_ISR    0x100

static void write32(uint64_t address, uint32_t value)
{
	assert_true(bus_access(vcpu, false, address, 4, true, &value));
}

static uint32_t read32(uint64_t address)
{
	uint32_t value = 0;

	assert_true(bus_access(vcpu, false, address, 4, false, &value));
	return value;
}

static void set(uint8_t reg, uint32_t value)
{
	write32(BASE + SELECT, reg);
	write32(BASE + WINDOW, value);
}

static uint32_t get(uint8_t reg)
{
	write32(BASE + SELECT, reg);
	return read32(BASE + WINDOW);
}

static void set_pin(unsigned pin, uint32_t low)
{
	set((uint8_t)(TABLE + 2 * pin + 1), 0); /* to APIC 0 */
	set((uint8_t)(TABLE + 2 * pin), low);
}

static uint32_t get_pin(unsigned pin)
{
	return get((uint8_t)(TABLE + 2 * pin));
}

static struct kvm_ioapic_state state_of(void)
{
	return chip_state(KVM_IRQCHIP_IOAPIC).chip.ioapic;
}

/* ------------------------------------------------------------------ the local APIC's side */

static void lapic_write(uint64_t address, uint32_t value)
{
	assert_true(lapic_mmio(vcpu, address, 4, true, &value));
}

static uint32_t lapic_word(unsigned reg)
{
	struct kvm_lapic_state lapic;
	uint32_t word;

	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_LAPIC, &lapic), 0);
	memcpy(&word, lapic.regs + reg, sizeof(word));
	return word;
}

static bool requested(uint8_t vector)
{
	return lapic_word(REG_IRR + vector / 32 * 0x10) >> vector % 32 & 1;
}

/* What the processor does with it, and then an EOI. */
static void serve(uint8_t vector)
{
	struct kvm_lapic_state lapic;
	uint32_t bit = 1u << vector % 32, *irr, *isr;

	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_LAPIC, &lapic), 0);
	irr = (uint32_t *)(void *)(lapic.regs + REG_IRR + vector / 32 * 0x10);
	isr = (uint32_t *)(void *)(lapic.regs + REG_ISR + vector / 32 * 0x10);
	assert_true(*irr & bit);
	*irr &= ~bit;
	*isr |= bit;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_LAPIC, &lapic), 0);
	lapic_write(LAPIC_EOI, 0);
}

static int setup(void **state)
{
	int r = irqchip_setup(state);

	lapic_write(LAPIC_SPIV, 0x1ff);
	return r;
}

/* ------------------------------------------------------------------ registers */

static void test_ioapic_registers_read_as_the_manual_has_them(void **state)
{
	(void)state;
	assert_int_equal(get(VER), 0x170011);
	set(ID, 0xff000000);
	assert_int_equal(get(ID), 0x0f000000);
	assert_int_equal(get(ARB), 0x0f000000);
	set(VER, 0);
	assert_int_equal(get(VER), 0x170011);
	assert_int_equal(get_pin(0), MASKED);
	assert_int_equal(get_pin(23), MASKED);
	assert_int_equal(get(TABLE + 2 * 24), 0xffffffff); /* no such pin */
	assert_int_equal(read32(BASE + 0x20), 0);
}

static void test_ioapic_select_is_eight_bits_and_any_width_writes_it(void **state)
{
	uint8_t one = ID;
	uint64_t eight = 0x1234567800000100 | VER, read = ~0ull;

	(void)state;
	assert_true(bus_access(vcpu, false, BASE, 8, true, &eight));
	assert_int_equal(read32(BASE), VER);
	assert_true(bus_access(vcpu, false, BASE + WINDOW, 8, false, &read));
	assert_int_equal(read, 0x170011);
	assert_true(bus_access(vcpu, false, BASE, 1, true, &one));
	assert_int_equal(read32(BASE), ID);
}

static void test_ioapic_entry_keeps_its_read_only_bits(void **state)
{
	(void)state;
	set_pin(5, MASKED | REMOTE_IRR | 1u << 12 | LEVEL | 0x31);
	assert_int_equal(get_pin(5), MASKED | LEVEL | 0x31);
}

static void test_ioapic_access_beyond_its_page_is_not_its(void **state)
{
	uint32_t value;

	(void)state;
	assert_false(bus_access(vcpu, false, BASE + 0x100, 4, false, &value));
	assert_false(bus_access(vcpu, false, BASE + 0xfe, 4, false, &value));
}

/* ------------------------------------------------------------------ edges and levels */

static void test_ioapic_edge_is_delivered_once(void **state)
{
	(void)state;
	set_pin(17, 0x31);
	assert_int_equal(line_status(17, true), 1);
	assert_true(requested(0x31));
	serve(0x31);
	assert_int_equal(line_status(17, true), 0); /* no edge: it is up already */
	assert_false(requested(0x31));
	line(17, false);
	line(17, true);
	assert_true(requested(0x31));
	assert_int_equal(get_pin(17), 0x31); /* no remote IRR for an edge */
}

static void test_ioapic_edge_while_masked_is_kept_and_not_delivered_by_unmasking(void **state)
{
	(void)state;
	set_pin(17, MASKED | 0x31);
	assert_int_equal(line_status(17, true), -1);
	assert_int_equal(state_of().irr, 1u << 17);
	set_pin(17, 0x31);
	assert_false(requested(0x31));
}

static void test_ioapic_irr_does_not_show_an_edge_that_was_delivered(void **state)
{
	(void)state;
	set_pin(17, 0x31);
	line(17, true);
	assert_int_equal(state_of().irr, 0);
}

static void test_ioapic_irr_shows_an_edge_that_waits_after_one_that_was_delivered(void **state)
{
	(void)state;
	set_pin(17, 0x31);
	line(17, true);
	line(17, false);
	set_pin(17, MASKED | 0x31);
	line(17, true);
	assert_int_equal(state_of().irr, 1u << 17);
}

static void test_ioapic_level_waits_for_eoi_with_remote_irr(void **state)
{
	(void)state;
	set_pin(18, LEVEL | 0x42);
	line(18, true);
	assert_true(requested(0x42));
	assert_int_equal(get_pin(18), LEVEL | REMOTE_IRR | 0x42);
	serve(0x42); /* still up: again */
	assert_true(requested(0x42));
	assert_int_equal(get_pin(18), LEVEL | REMOTE_IRR | 0x42);
	line(18, false);
	serve(0x42);
	assert_false(requested(0x42));
	assert_int_equal(get_pin(18), LEVEL | 0x42);
}

static void test_ioapic_level_is_not_delivered_twice_before_its_eoi(void **state)
{
	(void)state;
	set_pin(18, LEVEL | 0x42);
	line(18, true);
	line(18, false);
	assert_int_equal(line_status(18, true), -1); /* remote IRR */
}

static void test_ioapic_level_that_came_while_masked_is_delivered_by_unmasking(void **state)
{
	(void)state;
	set_pin(18, MASKED | LEVEL | 0x42);
	line(18, true);
	assert_false(requested(0x42));
	set_pin(18, LEVEL | 0x42);
	assert_true(requested(0x42));
}

static void test_ioapic_edge_mode_clears_remote_irr(void **state)
{
	(void)state;
	set_pin(18, LEVEL | 0x42);
	line(18, true);
	set_pin(18,
		MASKED | 0x42); /* to an edge and back: an EOI where there is no register for it */
	set_pin(18, MASKED | LEVEL | 0x42);
	assert_int_equal(get_pin(18), MASKED | LEVEL | 0x42);
}

static void test_ioapic_eoi_of_another_vector_is_not_its(void **state)
{
	(void)state;
	set_pin(18, LEVEL | 0x42);
	set_pin(19, LEVEL | 0x43);
	line(18, true);
	line(19, true);
	line(18, false);
	line(19, false);
	serve(0x43);
	assert_int_equal(get_pin(18), LEVEL | REMOTE_IRR | 0x42);
	assert_int_equal(get_pin(19), LEVEL | 0x43);
}

static void test_ioapic_message_to_nobody_is_lost(void **state)
{
	(void)state;
	set_pin(20, 0x51);
	set(TABLE + 2 * 20 + 1, 0x05000000); /* APIC 5 */
	assert_int_equal(line_status(20, true), 0);
	assert_false(requested(0x51));
}

static void test_ioapic_logical_destination_matches_the_local_apics_id(void **state)
{
	(void)state;
	lapic_write(0xfee000e0, 0xffffffff); /* flat */
	lapic_write(0xfee000d0, 0x02000000);
	set(TABLE + 2 * 20, LOGICAL | 0x52);
	set(TABLE + 2 * 20 + 1, 0x03000000);
	assert_int_equal(line_status(20, true), 1);
	assert_true(requested(0x52));
}

/* ------------------------------------------------------------------ the clock's status */

static void test_ioapic_clock_interrupt_is_coalesced_until_its_eoi(void **state)
{
	(void)state;
	set_pin(8, 0x61);
	out(0xa1, 0xff); /* not by way of the 8259 */
	out(0x21, 0xff);
	assert_int_equal(line_status(8, true), 1);
	line_status(8, false);
	assert_int_equal(line_status(8, true), 0);
	line_status(8, false);
	serve(0x61);
	assert_int_equal(line_status(8, true), 1);
}

/* ------------------------------------------------------------------ state */

static void test_ioapic_state_is_read_back_as_it_was_set(void **state)
{
	struct kvm_irqchip set = { .chip_id = KVM_IRQCHIP_IOAPIC }, got;

	(void)state;
	set.chip.ioapic.base_address = BASE;
	set.chip.ioapic.ioregsel = 0x12;
	set.chip.ioapic.id = 3;
	for (unsigned i = 0; i < 24; i++)
		set.chip.ioapic.redirtbl[i].bits = (uint64_t)i << 56 | MASKED | (0x30 + i);
	set.chip.ioapic.redirtbl[9].bits |= LEVEL | REMOTE_IRR;
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_IRQCHIP, &set), 0);
	got = chip_state(KVM_IRQCHIP_IOAPIC);
	assert_memory_equal(&got.chip.ioapic, &set.chip.ioapic, sizeof(set.chip.ioapic));
}

static void test_ioapic_pending_pin_that_is_set_is_delivered(void **state)
{
	struct kvm_irqchip set;

	(void)state;
	set = chip_state(KVM_IRQCHIP_IOAPIC);
	set.chip.ioapic.redirtbl[17].bits = 0x31;
	set.chip.ioapic.irr = 1 << 17;
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_IRQCHIP, &set), 0);
	assert_true(requested(0x31));
}

static void test_ioapic_that_was_moved_answers_nowhere(void **state)
{
	struct kvm_irqchip set;
	uint32_t value;

	(void)state;
	set = chip_state(KVM_IRQCHIP_IOAPIC);
	set.chip.ioapic.base_address = 0xfed00000;
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_IRQCHIP, &set), 0);
	assert_false(bus_access(vcpu, false, BASE, 4, false, &value));
	assert_false(bus_access(vcpu, false, 0xfed00000, 4, false, &value));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, irqchip_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_ioapic_registers_read_as_the_manual_has_them),
		TEST(test_ioapic_select_is_eight_bits_and_any_width_writes_it),
		TEST(test_ioapic_entry_keeps_its_read_only_bits),
		TEST(test_ioapic_access_beyond_its_page_is_not_its),
		TEST(test_ioapic_edge_is_delivered_once),
		TEST(test_ioapic_edge_while_masked_is_kept_and_not_delivered_by_unmasking),
		TEST(test_ioapic_irr_does_not_show_an_edge_that_was_delivered),
		TEST(test_ioapic_irr_shows_an_edge_that_waits_after_one_that_was_delivered),
		TEST(test_ioapic_level_waits_for_eoi_with_remote_irr),
		TEST(test_ioapic_level_is_not_delivered_twice_before_its_eoi),
		TEST(test_ioapic_level_that_came_while_masked_is_delivered_by_unmasking),
		TEST(test_ioapic_edge_mode_clears_remote_irr),
		TEST(test_ioapic_eoi_of_another_vector_is_not_its),
		TEST(test_ioapic_message_to_nobody_is_lost),
		TEST(test_ioapic_logical_destination_matches_the_local_apics_id),
		TEST(test_ioapic_clock_interrupt_is_coalesced_until_its_eoi),
		TEST(test_ioapic_state_is_read_back_as_it_was_set),
		TEST(test_ioapic_pending_pin_that_is_set_is_delivered),
		TEST(test_ioapic_that_was_moved_answers_nowhere),
	};

	irqchip_options(SHIM_TIME_REAL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
