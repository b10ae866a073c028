// SPDX-License-Identifier: GPL-2.0-only
/* The two 8259A: command words, priorities and modes of Intel's data sheet 231468. */
#include "tests/unit/irqchip_vm.h"

#define MASTER    0x20
#define SLAVE     0xa0
#define MASK      1 /* the odd port */
#define EOI       0x20
#define READ_IRR  0x0a
#define READ_ISR  0x0b
#define POLL      0x0c
#define VECTORS   0x20 /* of the master; the slave's follow */
#define ICW4_8086 0x01
#define ICW4_AEOI 0x02
#define ICW4_SFNM 0x10
#define ELCR      0x4d0

/* As every PC does: ICW1 to ICW4, nothing masked. */
static void initialize(uint8_t icw4_master)
{
	out(MASTER, 0x11);
	out(MASTER + MASK, VECTORS);
	out(MASTER + MASK, 1 << 2);
	out(MASTER + MASK, icw4_master);
	out(SLAVE, 0x11);
	out(SLAVE + MASK, VECTORS + 8);
	out(SLAVE + MASK, 2);
	out(SLAVE + MASK, ICW4_8086);
}

static uint8_t in_service(uint16_t port)
{
	out(port, READ_ISR);
	return in(port);
}

static uint8_t requested(uint16_t port)
{
	out(port, READ_IRR);
	return in(port);
}

static void test_pic_initialization_words_set_vector_mask_and_mode(void **state)
{
	struct kvm_pic_state pic;

	(void)state;
	out(MASTER + MASK, 0x5a);
	out(MASTER, 0x11);
	assert_int_equal(pic_state(KVM_IRQCHIP_PIC_MASTER).init_state, 1);
	assert_int_equal(in(MASTER + MASK), 0); /* ICW1 clears the mask */
	out(MASTER + MASK, 0x2f);               /* the low three bits are the input's */
	out(MASTER + MASK, 4);
	assert_int_equal(pic_state(KVM_IRQCHIP_PIC_MASTER).init_state, 3);
	out(MASTER + MASK, ICW4_8086 | ICW4_AEOI | ICW4_SFNM);
	pic = pic_state(KVM_IRQCHIP_PIC_MASTER);
	assert_int_equal(pic.init_state, 0);
	assert_int_equal(pic.irq_base, 0x28);
	assert_int_equal(pic.auto_eoi, 1);
	assert_int_equal(pic.special_fully_nested_mode, 1);
	out(MASTER + MASK, 0xa5);
	assert_int_equal(in(MASTER + MASK), 0xa5);
}

static void test_pic_icw1_without_icw4_ends_after_icw3_and_clears_its_modes(void **state)
{
	struct kvm_pic_state pic;

	(void)state;
	initialize(ICW4_8086 | ICW4_AEOI | ICW4_SFNM);
	out(MASTER, 0x10);
	out(MASTER + MASK, 0x40);
	out(MASTER + MASK, 4);
	pic = pic_state(KVM_IRQCHIP_PIC_MASTER);
	assert_int_equal(pic.init_state, 0);
	assert_int_equal(pic.auto_eoi, 0);
	assert_int_equal(pic.special_fully_nested_mode, 0);
	assert_int_equal(pic.irq_base, 0x40);
}

static void test_pic_edge_is_requested_once_until_the_line_falls(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	line(3, true);
	assert_int_equal(requested(MASTER), 1 << 3);
	assert_int_equal(acknowledge(), VECTORS + 3);
	assert_int_equal(requested(MASTER), 0);
	assert_int_equal(in_service(MASTER), 1 << 3);
	out(MASTER, EOI);
	assert_int_equal(in_service(MASTER), 0);
	line(3, true); /* still up: no edge */
	assert_int_equal(acknowledge(), -1);
	line(3, false);
	line(3, true);
	assert_int_equal(acknowledge(), VECTORS + 3);
}

static void test_pic_edge_that_falls_stays_requested(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	pulse(4);
	assert_int_equal(requested(MASTER), 1 << 4);
	assert_int_equal(acknowledge(), VECTORS + 4);
}

static void test_pic_level_is_requested_as_long_as_it_is_up(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	out(ELCR, 1 << 5);
	line(5, true);
	assert_int_equal(acknowledge(), VECTORS + 5);
	assert_int_equal(requested(MASTER), 1 << 5);
	assert_int_equal(acknowledge(), -1); /* in service */
	out(MASTER, EOI);
	assert_int_equal(acknowledge(), VECTORS + 5);
	line(5, false);
	assert_int_equal(requested(MASTER), 0);
	out(MASTER, EOI);
	assert_int_equal(acknowledge(), -1);
}

static void test_pic_elcr_of_the_system_inputs_cannot_be_set(void **state)
{
	(void)state;
	out(ELCR, 0xff);
	out(ELCR + 1, 0xff);
	assert_int_equal(in(ELCR), 0xf8);
	assert_int_equal(in(ELCR + 1), 0xde);
}

static void test_pic_line_of_two_sources_is_up_until_both_are_down(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	out(ELCR, 1 << 5);
	line(5, true);
	lock_take(&chip->lock);
	irq_set_line(chip, IRQ_SOURCE_RESAMPLE, 5, true);
	lock_drop(&chip->lock);
	line(5, false);
	assert_int_equal(requested(MASTER), 1 << 5);
	lock_take(&chip->lock);
	irq_set_line(chip, IRQ_SOURCE_RESAMPLE, 5, false);
	lock_drop(&chip->lock);
	assert_int_equal(requested(MASTER), 0);
}

static void test_pic_lower_priority_waits_for_the_end_of_a_higher_one(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	pulse(1);
	assert_int_equal(acknowledge(), VECTORS + 1);
	pulse(4);
	assert_int_equal(acknowledge(), -1);
	pulse(0);
	assert_int_equal(acknowledge(), VECTORS + 0);
	assert_int_equal(in_service(MASTER), 0x03);
	out(MASTER, EOI); /* the highest in service */
	assert_int_equal(in_service(MASTER), 0x02);
	assert_int_equal(acknowledge(), -1);
	out(MASTER, EOI);
	assert_int_equal(acknowledge(), VECTORS + 4);
}

static void test_pic_specific_eoi_ends_that_input(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	pulse(6);
	assert_int_equal(acknowledge(), VECTORS + 6);
	pulse(1);
	assert_int_equal(acknowledge(), VECTORS + 1);
	out(MASTER, 0x60 | 6);
	assert_int_equal(in_service(MASTER), 1 << 1);
}

static void test_pic_mask_holds_a_request_back(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	out(MASTER + MASK, 1 << 3);
	pulse(3);
	assert_int_equal(requested(MASTER), 1 << 3);
	assert_int_equal(acknowledge(), -1);
	out(MASTER + MASK, 0);
	assert_int_equal(acknowledge(), VECTORS + 3);
}

static void test_pic_slave_interrupts_through_the_cascade(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	pulse(12);
	assert_int_equal(acknowledge(), VECTORS + 12);
	assert_int_equal(in_service(MASTER), 1 << 2);
	assert_int_equal(in_service(SLAVE), 1 << 4);
	pulse(3); /* below the cascade */
	assert_int_equal(acknowledge(), -1);
	out(SLAVE, EOI);
	assert_int_equal(acknowledge(), -1);
	out(MASTER, EOI);
	assert_int_equal(acknowledge(), VECTORS + 3);
}

static void test_pic_higher_slave_input_waits_unless_specially_fully_nested(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	pulse(12);
	assert_int_equal(acknowledge(), VECTORS + 12);
	pulse(8);
	assert_int_equal(acknowledge(), -1); /* the master has the cascade in service */
	out(SLAVE, EOI);
	out(MASTER, EOI);
	assert_int_equal(acknowledge(), VECTORS + 8);
	out(SLAVE, EOI);
	out(MASTER, EOI);

	initialize(ICW4_8086 | ICW4_SFNM);
	pulse(12);
	assert_int_equal(acknowledge(), VECTORS + 12);
	pulse(8);
	assert_int_equal(acknowledge(), VECTORS + 8);
}

static void test_pic_request_that_goes_before_inta_is_spurious(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	out(ELCR + 1, 1 << 3);
	line(11, true); /* the master keeps the edge of the slave's INT */
	line(11, false);
	assert_int_equal(acknowledge(), VECTORS + 8 + 7);
	assert_int_equal(in_service(SLAVE), 0);
	assert_int_equal(in_service(MASTER), 1 << 2);
}

static void test_pic_auto_eoi_leaves_nothing_in_service(void **state)
{
	(void)state;
	initialize(ICW4_8086 | ICW4_AEOI);
	pulse(5);
	assert_int_equal(acknowledge(), VECTORS + 5);
	assert_int_equal(in_service(MASTER), 0);
	pulse(6);
	assert_int_equal(acknowledge(), VECTORS + 6);
}

static void test_pic_rotation_in_auto_eoi_gives_the_served_input_the_lowest_priority(void **state)
{
	(void)state;
	initialize(ICW4_8086 | ICW4_AEOI);
	out(MASTER, 0x80); /* rotate in AEOI mode: on */
	pulse(3);
	assert_int_equal(acknowledge(), VECTORS + 3);
	pulse(3);
	pulse(7);
	assert_int_equal(acknowledge(), VECTORS + 7);
	assert_int_equal(acknowledge(), VECTORS + 3);
	out(MASTER, 0x00); /* off */
	assert_int_equal(pic_state(KVM_IRQCHIP_PIC_MASTER).rotate_on_auto_eoi, 0);
}

static void test_pic_rotate_on_eoi_gives_the_ended_input_the_lowest_priority(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	pulse(4);
	assert_int_equal(acknowledge(), VECTORS + 4);
	out(MASTER, 0xa0); /* rotate on non-specific EOI */
	pulse(4);
	pulse(6);
	assert_int_equal(acknowledge(), VECTORS + 6);
	out(MASTER, 0xe0 | 6); /* on specific EOI */
	pulse(7);
	assert_int_equal(acknowledge(), VECTORS + 7);
}

static void test_pic_set_priority_names_the_lowest(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	out(MASTER, 0xc0 | 3);
	pulse(3);
	pulse(5);
	assert_int_equal(acknowledge(), VECTORS + 5);
}

static void test_pic_poll_reads_the_request_and_ends_it(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	out(MASTER, POLL);
	assert_int_equal(in(MASTER), 0x07); /* nothing */
	pulse(6);
	out(MASTER, POLL);
	assert_int_equal(in(MASTER), 0x80 | 6);
	assert_int_equal(in(MASTER), 0); /* the next read is of the register again */
	assert_int_equal(acknowledge(), -1);
}

static void test_pic_icw1_forgets_edges_and_keeps_levels(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	out(ELCR, 1 << 5);
	pulse(3);
	line(5, true);
	out(MASTER, 0x11);
	assert_int_equal(in(MASTER), 1 << 5);
}

static void test_pic_access_of_two_bytes_is_ignored(void **state)
{
	uint16_t value = 0x1111;

	(void)state;
	initialize(ICW4_8086);
	out(MASTER + MASK, 0x12);
	assert_true(bus_access(vcpu, true, MASTER, 2, true, &value));
	assert_int_equal(in(MASTER + MASK), 0x12);
	assert_true(bus_access(vcpu, true, MASTER, 2, false, &value));
	assert_int_equal(value, 0);
	assert_false(
		bus_access(vcpu, true, MASTER + 1, 2, false, &value)); /* half of it is not his */
}

static void test_pic_line_status_tells_masked_coalesced_and_delivered(void **state)
{
	(void)state;
	initialize(ICW4_8086);
	/* the I/O APIC's pin is masked, so only the 8259 answers */
	out(MASTER + MASK, 1 << 3);
	assert_int_equal(line_status(3, true), -1);
	line(3, false);
	out(MASTER + MASK, 0);
	line(4, true);
	line(4, false);
	assert_int_equal(line_status(4, true), 0);
	assert_int_equal(line_status(6, true), 1);
}

static void test_pic_state_is_read_back_as_it_was_set(void **state)
{
	struct kvm_irqchip set = { .chip_id = KVM_IRQCHIP_PIC_SLAVE }, got;

	(void)state;
	for (size_t i = 0; i < sizeof(set.chip.pic); i++)
		((uint8_t *)&set.chip.pic)[i] = (uint8_t)(0x40 + i);
	set.chip.pic.irr = 0; /* nothing to be done about it */
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_IRQCHIP, &set), 0);
	got = chip_state(KVM_IRQCHIP_PIC_SLAVE);
	assert_memory_equal(&got.chip.pic, &set.chip.pic, sizeof(set.chip.pic));
}

static void test_pic_request_that_is_set_interrupts(void **state)
{
	struct kvm_irqchip set;

	(void)state;
	initialize(ICW4_8086);
	set = chip_state(KVM_IRQCHIP_PIC_MASTER);
	set.chip.pic.irr = 1 << 1;
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_IRQCHIP, &set), 0);
	assert_int_equal(acknowledge(), VECTORS + 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, irqchip_setup, irqchip_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_pic_initialization_words_set_vector_mask_and_mode),
		TEST(test_pic_icw1_without_icw4_ends_after_icw3_and_clears_its_modes),
		TEST(test_pic_edge_is_requested_once_until_the_line_falls),
		TEST(test_pic_edge_that_falls_stays_requested),
		TEST(test_pic_level_is_requested_as_long_as_it_is_up),
		TEST(test_pic_elcr_of_the_system_inputs_cannot_be_set),
		TEST(test_pic_line_of_two_sources_is_up_until_both_are_down),
		TEST(test_pic_lower_priority_waits_for_the_end_of_a_higher_one),
		TEST(test_pic_specific_eoi_ends_that_input),
		TEST(test_pic_mask_holds_a_request_back),
		TEST(test_pic_slave_interrupts_through_the_cascade),
		TEST(test_pic_higher_slave_input_waits_unless_specially_fully_nested),
		TEST(test_pic_request_that_goes_before_inta_is_spurious),
		TEST(test_pic_auto_eoi_leaves_nothing_in_service),
		TEST(test_pic_rotation_in_auto_eoi_gives_the_served_input_the_lowest_priority),
		TEST(test_pic_rotate_on_eoi_gives_the_ended_input_the_lowest_priority),
		TEST(test_pic_set_priority_names_the_lowest),
		TEST(test_pic_poll_reads_the_request_and_ends_it),
		TEST(test_pic_icw1_forgets_edges_and_keeps_levels),
		TEST(test_pic_access_of_two_bytes_is_ignored),
		TEST(test_pic_line_status_tells_masked_coalesced_and_delivered),
		TEST(test_pic_state_is_read_back_as_it_was_set),
		TEST(test_pic_request_that_is_set_interrupts),
	};

	irqchip_options(SHIM_TIME_REAL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
