/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A local APIC's registers, priorities, messages and modes, held against SDM vol. 3, chapter 11, and
 * where KVM has a view of its own against that (arch/x86/kvm/lapic.c, 6.12).
 */
#include "tests/unit/lapic_vm.h"

static void fixed(unsigned i, uint8_t vector)
{
	assert_int_equal(lapic_accept(apic[i], IRQ_FIXED, vector, false, true), 1);
}

/* ------------------------------------------------------------------ RESET */

static void test_lapic_reset_gives_the_manuals_state(void **state)
{
	/* SDM 11.4.7.1; LINT0 of the BSP by KVM's quirk LINT0_REENABLED */
	static const struct {
		unsigned offset;
		uint32_t bsp, other;
	} table[] = {
		{ LAPIC_ID, 0, 0x01000000 },
		{ LAPIC_VERSION, 0x50014, 0x50014 },
		{ LAPIC_TPR, 0, 0 },
		{ LAPIC_PPR, 0, 0 },
		{ LAPIC_LDR, 0, 0 },
		{ LAPIC_DFR, 0xffffffff, 0xffffffff },
		{ LAPIC_SPURIOUS, 0xff, 0xff },
		{ LAPIC_ISR, 0, 0 },
		{ LAPIC_IRR + 0x70, 0, 0 },
		{ LAPIC_ESR, 0, 0 },
		{ LAPIC_ICR, 0, 0 },
		{ LAPIC_LVT_TIMER, 0x10000, 0x10000 },
		{ LAPIC_LVT_LINT0, 0x700, 0x10000 },
		{ LAPIC_LVT_LINT1, 0x10000, 0x10000 },
		{ LAPIC_LVT_ERROR, 0x10000, 0x10000 },
		{ LAPIC_INITIAL_COUNT, 0, 0 },
		{ LAPIC_CURRENT_COUNT, 0, 0 },
		{ LAPIC_DIVIDE, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		assert_int_equal(lapic_value(0, table[i].offset), table[i].bsp);
		assert_int_equal(lapic_value(1, table[i].offset), table[i].other);
	}
	assert_int_equal(apic[0]->base, 0xfee00900);
	assert_int_equal(apic[1]->base, 0xfee00800);
}

static void test_lapic_init_keeps_id_and_base(void **state)
{
	(void)state;
	lapic_on(1);
	lapic_base_changed(apic[1], 0xfed00800);
	lapic_write(apic[1], LAPIC_ID, 0x07000000);
	lapic_write(apic[1], LAPIC_LDR, 0x02000000);
	fixed(1, 0x55);
	lapic_reset(apic[1], true);
	assert_int_equal(lapic_value(1, LAPIC_ID), 0x07000000);
	assert_int_equal(apic[1]->base, 0xfed00800);
	assert_int_equal(lapic_value(1, LAPIC_SPURIOUS), 0xff);
	assert_int_equal(lapic_value(1, LAPIC_LDR), 0);
	assert_int_equal(lapic_pending(apic[1]), -1);
}

/* ------------------------------------------------------------------ priorities: SDM 11.8.3 */

static void test_lapic_higher_class_interrupts_and_own_class_waits(void **state)
{
	(void)state;
	lapic_on(0);
	fixed(0, 0x45);
	assert_int_equal(lapic_pending(apic[0]), 0x45);
	lapic_acknowledge(apic[0], 0x45);
	assert_int_equal(lapic_value(0, LAPIC_ISR + 0x20), 1 << 5);
	assert_int_equal(lapic_value(0, LAPIC_PPR), 0x40);
	assert_int_equal(lapic_pending(apic[0]), -1);
	fixed(0, 0x4f); /* of the same class */
	assert_int_equal(lapic_pending(apic[0]), -1);
	fixed(0, 0x50);
	assert_int_equal(lapic_pending(apic[0]), 0x50);
	lapic_acknowledge(apic[0], 0x50);
	lapic_write(apic[0], LAPIC_EOI, 0); /* of 50h: the highest in service */
	assert_int_equal(lapic_value(0, LAPIC_ISR + 0x20), 1 << 5);
	assert_int_equal(lapic_pending(apic[0]), -1);
	lapic_write(apic[0], LAPIC_EOI, 0);
	assert_int_equal(lapic_pending(apic[0]), 0x4f);
}

static void test_lapic_ppr_is_the_higher_of_tpr_and_service(void **state)
{
	static const struct {
		uint32_t tpr;
		unsigned in_service;
		uint32_t ppr;
	} table[] = {
		{ 0x00, 0x00, 0x00 }, { 0x35, 0x00, 0x35 }, { 0x35, 0x3f, 0x35 },
		{ 0x35, 0x41, 0x40 }, { 0xff, 0x41, 0xff }, { 0x0f, 0x41, 0x40 },
	};

	(void)state;
	lapic_on(0);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		lapic_write(apic[0], LAPIC_TPR, table[i].tpr);
		if (table[i].in_service)
			lapic_acknowledge(apic[0], table[i].in_service);
		assert_int_equal(lapic_value(0, LAPIC_PPR), table[i].ppr);
		lapic_write(apic[0], LAPIC_EOI, 0);
	}
}

static void test_lapic_tpr_blocks_its_class_and_below(void **state)
{
	(void)state;
	lapic_on(0);
	fixed(0, 0x61);
	lapic_write(apic[0], LAPIC_TPR, 0x60);
	assert_int_equal(lapic_pending(apic[0]), -1);
	lapic_write(apic[0], LAPIC_TPR, 0x5f);
	assert_int_equal(lapic_pending(apic[0]), 0x61);
}

static void test_lapic_eoi_without_service_does_nothing(void **state)
{
	(void)state;
	lapic_on(0);
	fixed(0, 0x30);
	lapic_write(apic[0], LAPIC_EOI, 0);
	assert_int_equal(lapic_pending(apic[0]), 0x30);
}

/* ------------------------------------------------------------------ software enable */

static void test_lapic_off_takes_nothing_and_masks_its_lvt(void **state)
{
	(void)state;
	assert_int_equal(lapic_accept(apic[0], IRQ_FIXED, 0x30, false, true), 0);
	lapic_write(apic[0], LAPIC_LVT_TIMER, 0x31);
	assert_int_equal(lapic_value(0, LAPIC_LVT_TIMER), 0x10031);
	lapic_on(0);
	lapic_write(apic[0], LAPIC_LVT_TIMER, 0x31);
	assert_int_equal(lapic_value(0, LAPIC_LVT_TIMER), 0x31);
	lapic_write(apic[0], LAPIC_SPURIOUS, 0xff);
	assert_int_equal(lapic_value(0, LAPIC_LVT_TIMER), 0x10031);
	assert_int_equal(lapic_value(0, LAPIC_LVT_LINT0), 0x10700);
}

static void test_lapic_off_takes_nmi_init_and_sipi(void **state)
{
	(void)state;
	assert_int_equal(lapic_accept(apic[1], IRQ_NMI, 0, false, true), 1);
	assert_int_equal(lapic_accept(apic[1], IRQ_INIT, 0, false, true), 1);
	assert_int_equal(lapic_accept(apic[1], IRQ_STARTUP, 0x9a, false, true), 1);
	assert_int_equal(atomic_load(&apic[1]->nmis), 1);
	assert_true(apic[1]->init && apic[1]->startup);
	assert_int_equal(apic[1]->startup_vector, 0x9a);
	assert_true(atomic_load(&apic[1]->look));
}

static void test_lapic_init_level_deassert_is_ignored(void **state)
{
	(void)state;
	assert_int_equal(lapic_accept(apic[1], IRQ_INIT, 0, true, false), 0);
	assert_false(apic[1]->init);
	assert_int_equal(lapic_accept(apic[1], IRQ_INIT, 0, true, true), 1);
	assert_true(apic[1]->init);
}

static void test_lapic_new_init_forgets_an_old_sipi(void **state)
{
	(void)state;
	lapic_accept(apic[1], IRQ_STARTUP, 1, false, true);
	lapic_accept(apic[1], IRQ_INIT, 0, false, true);
	assert_false(apic[1]->startup);
}

static void test_lapic_trigger_mode_shows_in_tmr(void **state)
{
	(void)state;
	lapic_on(0);
	assert_int_equal(lapic_accept(apic[0], IRQ_FIXED, 0x41, true, true), 1);
	assert_int_equal(lapic_value(0, LAPIC_TMR + 0x20), 2);
	fixed(0, 0x41);
	assert_int_equal(lapic_value(0, LAPIC_TMR + 0x20), 0);
	/* the end of a level is none of its business */
	assert_int_equal(lapic_accept(apic[0], IRQ_FIXED, 0x42, true, false), 0);
}

/* ------------------------------------------------------------------ what can be written */

static void test_lapic_lvt_keeps_the_bits_that_it_has(void **state)
{
	static const struct {
		unsigned offset;
		uint32_t kept;
	} table[] = {
		/* SDM figure 11-8; KVM keeps the delivery status (bit 12), too */
		{ LAPIC_LVT_TIMER, 0x310ff },       { LAPIC_LVT_THERMAL, 0x117ff },
		{ LAPIC_LVT_PERFORMANCE, 0x117ff }, { LAPIC_LVT_LINT0, 0x1f7ff },
		{ LAPIC_LVT_LINT1, 0x1f7ff },       { LAPIC_LVT_ERROR, 0x110ff },
	};

	(void)state;
	lapic_on(0);
	lapic_features(apic[0], false);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		lapic_write(apic[0], table[i].offset, 0xffffffff);
		assert_int_equal(lapic_value(0, table[i].offset), table[i].kept);
	}
	lapic_features(apic[0], true); /* now there is a deadline mode */
	lapic_write(apic[0], LAPIC_LVT_TIMER, 0xffffffff);
	assert_int_equal(lapic_value(0, LAPIC_LVT_TIMER), 0x710ff);
}

static void test_lapic_seventh_lvt_entry_comes_with_cmci(void **state)
{
	uint32_t value;

	(void)state;
	assert_int_equal(lapic_read(apic[0], LAPIC_LVT_CMCI, 4, &value), -EINVAL);
	assert_int_equal(lapic_write(apic[0], LAPIC_LVT_CMCI, 0), -EINVAL);
	lapic_set_lvts(apic[0], true);
	assert_int_equal(lapic_value(0, LAPIC_LVT_CMCI), 0x10000);
	assert_int_equal(lapic_value(0, LAPIC_VERSION), 0x60014);
}

static void test_lapic_registers_have_their_writable_bits(void **state)
{
	static const struct {
		unsigned offset;
		uint32_t written, read;
	} table[] = {
		{ LAPIC_ID, 0x12345678, 0x12000000 },
		{ LAPIC_LDR, 0xffffffff, 0xff000000 },
		{ LAPIC_DFR, 0, 0x0fffffff },
		{ LAPIC_SPURIOUS, 0xffffffff, 0x3ff },
		{ LAPIC_ICR_HIGH, 0xffffffff, 0xff000000 },
		{ LAPIC_DIVIDE, 0xffffffff, 0xb },
		{ LAPIC_TPR, 0xffffffff, 0xff },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		assert_int_equal(lapic_write(apic[0], table[i].offset, table[i].written), 0);
		assert_int_equal(lapic_value(0, table[i].offset), table[i].read);
	}
	assert_int_equal(lapic_write(apic[0], LAPIC_VERSION, 0), -EINVAL);
	assert_int_equal(lapic_write(apic[0], LAPIC_ISR, 1), -EINVAL);
	assert_int_equal(lapic_value(0, LAPIC_VERSION), 0x50014);
}

static void test_lapic_icr_shows_no_delivery_under_way(void **state)
{
	(void)state;
	lapic_write(apic[0], LAPIC_ICR, 0x1000 | 3u << 18 | 0x30);
	assert_int_equal(lapic_value(0, LAPIC_ICR), 3u << 18 | 0x30);
}

static void test_lapic_reads_within_a_register_only(void **state)
{
	uint32_t value = 0;

	(void)state;
	assert_int_equal(lapic_read(apic[0], LAPIC_VERSION + 2, 1, &value), 0);
	assert_int_equal(value, 5);
	assert_int_equal(lapic_read(apic[0], LAPIC_VERSION + 1, 4, &value), -EINVAL);
	assert_int_equal(lapic_read(apic[0], LAPIC_VERSION + 4, 4, &value), -EINVAL);
	assert_int_equal(lapic_read(apic[0], LAPIC_EOI, 4, &value), -EINVAL);
	assert_int_equal(lapic_read(apic[0], 0x40, 4, &value), -EINVAL);
	assert_int_equal(lapic_read(apic[0], LAPIC_SIZE, 4, &value), -EINVAL);
}

/* ------------------------------------------------------------------ x2APIC: SDM 11.12 */

static void test_lapic_x2_ids_are_fixed(void **state)
{
	uint64_t value;

	(void)state;
	vcpu[3].id = 0x12b;
	lapic_x2_on(3);
	assert_int_equal(lapic_read_msr(apic[3], 0x802, &value), 0);
	assert_int_equal(value, 0x12b);
	assert_int_equal(lapic_read_msr(apic[3], 0x80d, &value), 0);
	assert_int_equal(value, 0x12 << 16 | 1 << 11);
	assert_int_equal(lapic_write_msr(apic[3], 0x802, 1), -EINVAL);
	assert_int_equal(lapic_write_msr(apic[3], 0x80d, 1), -EINVAL);
}

static void test_lapic_x2_msrs_raise_gp_where_there_is_nothing(void **state)
{
	/* 80Eh DFR, 80Bh EOI (read), 831h ICR high, 83Fh self IPI (read), 803h (write) */
	static const uint32_t not_readable[] = { 0x800, 0x80b, 0x80e, 0x809, 0x831, 0x83f, 0x8ff };
	static const struct {
		uint32_t index;
		uint64_t value;
	} not_writable[] = {
		{ 0x803, 0 },       { 0x80a, 0 },       { 0x810, 0 },          { 0x831, 0 },
		{ 0x828, 1 },       { 0x83f, 0x100 },   { 0x808, 1ull << 32 }, { 0x830, 1 << 20 },
		{ 0x830, 1 << 16 }, { 0x830, 1 << 13 },
	};
	uint64_t value;

	(void)state;
	assert_int_equal(lapic_read_msr(apic[0], 0x802, &value), -EINVAL); /* xAPIC mode */
	lapic_x2_on(0);
	for (size_t i = 0; i < sizeof(not_readable) / sizeof(not_readable[0]); i++)
		assert_int_equal(lapic_read_msr(apic[0], not_readable[i], &value), -EINVAL);
	for (size_t i = 0; i < sizeof(not_writable) / sizeof(not_writable[0]); i++)
		assert_int_equal(lapic_write_msr(apic[0], not_writable[i].index,
						 not_writable[i].value),
				 -EINVAL);
	assert_int_equal(lapic_write_msr(apic[0], 0x828, 0), 0);
}

static void test_lapic_x2_icr_has_64_bits_and_self_ipi_works(void **state)
{
	uint64_t value;

	(void)state;
	for (unsigned i = 0; i < APICS; i++) {
		lapic_on(i);
		lapic_x2_on(i);
	}
	assert_int_equal(lapic_write_msr(apic[0], 0x830, 2ull << 32 | 0x1000 | 0x77), 0);
	assert_int_equal(lapic_read_msr(apic[0], 0x830, &value), 0);
	assert_true(value == (2ull << 32 | 0x77)); /* never busy */
	assert_int_equal(lapic_pending(apic[2]), 0x77);
	assert_int_equal(lapic_pending(apic[1]), -1);
	assert_int_equal(lapic_write_msr(apic[1], 0x83f, 0x88), 0);
	assert_int_equal(lapic_pending(apic[1]), 0x88);
}

static void test_lapic_leaving_x2_restores_the_short_id(void **state)
{
	(void)state;
	lapic_x2_on(2);
	assert_int_equal(lapic_value(2, LAPIC_ID), 2);
	lapic_base_changed(apic[2], apic[2]->base & ~(APIC_BASE_X2 | APIC_BASE_ENABLE));
	assert_false(lapic_hw_enabled(apic[2]));
	lapic_base_changed(apic[2], apic[2]->base | APIC_BASE_ENABLE);
	assert_int_equal(lapic_value(2, LAPIC_ID), 2 << 24);
}

/* ------------------------------------------------------------------ destinations: SDM 11.6.2 */

/* Which of them took it, as bits. */
static unsigned taken(const struct irq_message *message, int *result)
{
	unsigned bits = 0;

	*result = lapic_deliver(vm.irqchip, message);
	for (unsigned i = 0; i < APICS; i++) {
		bits |= (unsigned)lapic_bit(apic[i], LAPIC_IRR, message->vector) << i;
		lapic_set_bit(apic[i], LAPIC_IRR, message->vector, false);
	}
	return bits;
}

static void test_lapic_physical_destination_is_one_or_all(void **state)
{
	struct irq_message message = { .vector = 0x40, .asserted = true };
	int r;

	(void)state;
	for (unsigned i = 0; i < APICS; i++)
		lapic_on(i);
	message.destination = 2;
	assert_int_equal(taken(&message, &r), 1 << 2);
	assert_int_equal(r, 1);
	message.destination = 0xff;
	assert_int_equal(taken(&message, &r), 0xf);
	assert_int_equal(r, APICS);
	message.destination = 9; /* nobody */
	assert_int_equal(taken(&message, &r), 0);
	assert_int_equal(r, 0);
}

static void test_lapic_logical_destination_follows_the_model(void **state)
{
	static const struct {
		uint32_t dfr, ldr[APICS], destination;
		unsigned taken;
	} table[] = {
		/* flat: a bit each */
		{ 0xffffffff, { 1, 2, 4, 8 }, 0x05, 0x5 },
		{ 0xffffffff, { 1, 2, 4, 8 }, 0xff, 0xf },
		{ 0xffffffff, { 1, 1, 0, 8 }, 0x01, 0x3 },
		/* cluster: upper half the cluster's number, lower a bit each */
		{ 0x0fffffff, { 0x11, 0x12, 0x21, 0x22 }, 0x13, 0x3 },
		{ 0x0fffffff, { 0x11, 0x12, 0x21, 0x22 }, 0x21, 0x4 },
		{ 0x0fffffff, { 0x11, 0x12, 0x21, 0x22 }, 0x31, 0 },
		{ 0x0fffffff, { 0x11, 0x12, 0x21, 0x22 }, 0xff, 0xf },
		/* no model */
		{ 0x7fffffff, { 1, 2, 4, 8 }, 0x05, 0 },
	};
	int r;

	(void)state;
	for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
		const struct irq_message message = { .destination = table[t].destination,
						     .logical = true,
						     .vector = 0x40,
						     .asserted = true };

		for (unsigned i = 0; i < APICS; i++) {
			lapic_on(i);
			lapic_write(apic[i], LAPIC_DFR, table[t].dfr);
			lapic_write(apic[i], LAPIC_LDR, table[t].ldr[i] << 24);
		}
		assert_int_equal(taken(&message, &r), table[t].taken);
	}
}

static void test_lapic_x2_logical_destination_is_cluster_and_bit(void **state)
{
	struct irq_message message = {
		.logical = true, .vector = 0x40, .asserted = true, .source = &vcpu[0]
	};
	int r;

	(void)state;
	vcpu[3].id = 0x13;
	for (unsigned i = 0; i < APICS; i++) {
		lapic_on(i);
		lapic_x2_on(i);
	}
	message.destination = 0x5; /* cluster 0 */
	assert_int_equal(taken(&message, &r), 0x5);
	message.destination = 1 << 16 | 1 << 3;
	assert_int_equal(taken(&message, &r), 0x8);
	message.destination = 0xffffffff;
	assert_int_equal(taken(&message, &r), 0xf);
	message.destination = 0xff; /* of an IPI: eight of cluster 0 */
	assert_int_equal(taken(&message, &r), 0x7);
	message.source = NULL; /* of a device: all, unless the monitor says otherwise */
	assert_int_equal(taken(&message, &r), 0xf);
	vm.irqchip->x2apic_exact_broadcast = true;
	assert_int_equal(taken(&message, &r), 0x7);
}

static void test_lapic_lowest_priority_is_chosen_by_the_vector(void **state)
{
	struct irq_message message = {
		.destination = 0xf, .logical = true, .delivery = IRQ_LOWEST, .asserted = true
	};
	int r;

	(void)state;
	for (unsigned i = 0; i < APICS; i++) {
		lapic_on(i);
		lapic_write(apic[i], LAPIC_LDR, 1u << i << 24);
	}
	message.vector = 0x41;
	assert_int_equal(taken(&message, &r), 1 << 1);
	message.vector = 0x43;
	assert_int_equal(taken(&message, &r), 1 << 3);
	lapic_write(apic[1], LAPIC_SPURIOUS, 0xff); /* three are left: 0, 2, 3 */
	message.vector = 0x43;
	assert_int_equal(taken(&message, &r), 1 << (0x43 % 3 == 0 ? 0 : 0x43 % 3 + 1));
	assert_int_equal(r, 1);
}

static void test_lapic_shorthands_mean_self_all_and_others(void **state)
{
	static const unsigned expected[] = { 0, 1 << 1, 0xf, 0xd };
	int r;

	(void)state;
	for (unsigned i = 0; i < APICS; i++)
		lapic_on(i);
	for (unsigned s = 1; s <= 3; s++) {
		struct irq_message message = { .vector = 0x40,
					       .asserted = true,
					       .source = &vcpu[1] };

		message.shorthand = s;
		assert_int_equal(taken(&message, &r), expected[s]);
	}
}

static void test_lapic_disabled_one_gets_no_message(void **state)
{
	const struct irq_message nmi = { .destination = 1, .delivery = IRQ_NMI };

	(void)state;
	lapic_base_changed(apic[1], APIC_BASE_PAGE);
	assert_int_equal(lapic_deliver(vm.irqchip, &nmi), 0);
	assert_int_equal(atomic_load(&apic[1]->nmis), 0);
	assert_true(lapic_takes_external(apic[1])); /* INTR is wired through */
}

static void test_lapic_icr_sends_what_its_fields_say(void **state)
{
	(void)state;
	lapic_on(2);
	lapic_write(apic[0], LAPIC_ICR_HIGH, 2u << 24);
	lapic_write(apic[0], LAPIC_ICR, 0x4500); /* INIT, asserted, edge */
	assert_true(apic[2]->init);
	lapic_write(apic[0], LAPIC_ICR, 0x4608); /* SIPI to 8000h */
	assert_int_equal(apic[2]->startup_vector, 8);
	lapic_write(apic[0], LAPIC_ICR, 0x4400);
	assert_int_equal(atomic_load(&apic[2]->nmis), 1);
	lapic_write(apic[0], LAPIC_ICR, 0x40c1); /* FIXED C1h */
	assert_int_equal(lapic_pending(apic[2]), 0xc1);
	assert_false(apic[1]->init || apic[3]->init);
}

/* ------------------------------------------------------------------ LINT pins */

static void test_lapic_lint0_takes_extint_as_it_is_set_up(void **state)
{
	(void)state;
	assert_true(lapic_takes_external(apic[0]));
	assert_false(lapic_takes_external(apic[1]));
	lapic_on(1);
	lapic_write(apic[1], LAPIC_LVT_LINT0, 0x700);
	assert_true(lapic_takes_external(apic[1]));
	lapic_write(apic[1], LAPIC_LVT_LINT0, 0x400); /* NMI */
	assert_false(lapic_takes_external(apic[1]));
	assert_true(lapic_takes_pic(vm.irqchip));
}

static void test_lapic_nmi_watchdog_reaches_lint0_in_nmi_mode(void **state)
{
	(void)state;
	lapic_on(1);
	lapic_write(apic[1], LAPIC_LVT_LINT0, 0x400);
	lapic_nmi_watchdog(vm.irqchip);
	assert_int_equal(atomic_load(&apic[1]->nmis), 1);
	assert_int_equal(atomic_load(&apic[0]->nmis), 0);
	lapic_write(apic[1], LAPIC_LVT_LINT0, 0x10400);
	lapic_nmi_watchdog(vm.irqchip);
	assert_int_equal(atomic_load(&apic[1]->nmis), 1);
}

static void test_lapic_counter_interrupt_masks_its_entry(void **state)
{
	(void)state;
	lapic_on(0);
	lapic_write(apic[0], LAPIC_LVT_PERFORMANCE, 0x400);
	assert_int_equal(lapic_local(apic[0], LAPIC_LVT_PERFORMANCE), 1);
	assert_int_equal(lapic_value(0, LAPIC_LVT_PERFORMANCE), 0x10400);
	assert_int_equal(lapic_local(apic[0], LAPIC_LVT_PERFORMANCE), 0);
}

/* ------------------------------------------------------------------ KVM_GET_LAPIC, KVM_SET_LAPIC */

static uint32_t in_state(const struct kvm_lapic_state *s, unsigned offset)
{
	uint32_t value;

	memcpy(&value, s->regs + offset, 4);
	return value;
}

static void test_lapic_state_goes_round(void **state)
{
	struct kvm_lapic_state saved, again;

	(void)state;
	lapic_on(1);
	lapic_write(apic[1], LAPIC_TPR, 0x21);
	lapic_write(apic[1], LAPIC_LDR, 0x02000000);
	lapic_write(apic[1], LAPIC_LVT_LINT1, 0x400);
	fixed(1, 0x66);
	lapic_acknowledge(apic[1], 0x66);
	fixed(1, 0x77);
	lapic_get_state(apic[1], &saved);
	lapic_reset(apic[1], false);
	assert_int_equal(lapic_set_state(apic[1], &saved), 0);
	lapic_get_state(apic[1], &again);
	assert_memory_equal(&saved, &again, sizeof(saved));
	assert_int_equal(lapic_pending(apic[1]), 0x77);
}

static void test_lapic_x2_state_has_the_id_in_either_format(void **state)
{
	struct kvm_lapic_state s;

	(void)state;
	lapic_x2_on(2);
	lapic_write_msr(apic[2], 0x830, 7ull << 32 | 0x55);
	lapic_get_state(apic[2], &s);
	assert_int_equal(in_state(&s, LAPIC_ID), 2 << 24);
	assert_int_equal(in_state(&s, LAPIC_ICR), 0x55);
	assert_int_equal(in_state(&s, LAPIC_ICR_HIGH), 7);
	s.regs[LAPIC_ID] = 9; /* ignored in the old format */
	assert_int_equal(lapic_set_state(apic[2], &s), 0);
	assert_int_equal(lapic_value(2, LAPIC_ID), 2);
	vm.irqchip->x2apic_format = true;
	lapic_get_state(apic[2], &s);
	assert_int_equal(in_state(&s, LAPIC_ID), 2);
	s.regs[LAPIC_ID] = 9;
	assert_int_equal(lapic_set_state(apic[2], &s), -EINVAL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, lapic_vm_start, lapic_vm_stop)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lapic_reset_gives_the_manuals_state),
		TEST(test_lapic_init_keeps_id_and_base),
		TEST(test_lapic_higher_class_interrupts_and_own_class_waits),
		TEST(test_lapic_ppr_is_the_higher_of_tpr_and_service),
		TEST(test_lapic_tpr_blocks_its_class_and_below),
		TEST(test_lapic_eoi_without_service_does_nothing),
		TEST(test_lapic_off_takes_nothing_and_masks_its_lvt),
		TEST(test_lapic_off_takes_nmi_init_and_sipi),
		TEST(test_lapic_init_level_deassert_is_ignored),
		TEST(test_lapic_new_init_forgets_an_old_sipi),
		TEST(test_lapic_trigger_mode_shows_in_tmr),
		TEST(test_lapic_lvt_keeps_the_bits_that_it_has),
		TEST(test_lapic_seventh_lvt_entry_comes_with_cmci),
		TEST(test_lapic_registers_have_their_writable_bits),
		TEST(test_lapic_icr_shows_no_delivery_under_way),
		TEST(test_lapic_reads_within_a_register_only),
		TEST(test_lapic_x2_ids_are_fixed),
		TEST(test_lapic_x2_msrs_raise_gp_where_there_is_nothing),
		TEST(test_lapic_x2_icr_has_64_bits_and_self_ipi_works),
		TEST(test_lapic_leaving_x2_restores_the_short_id),
		TEST(test_lapic_physical_destination_is_one_or_all),
		TEST(test_lapic_logical_destination_follows_the_model),
		TEST(test_lapic_x2_logical_destination_is_cluster_and_bit),
		TEST(test_lapic_lowest_priority_is_chosen_by_the_vector),
		TEST(test_lapic_shorthands_mean_self_all_and_others),
		TEST(test_lapic_disabled_one_gets_no_message),
		TEST(test_lapic_icr_sends_what_its_fields_say),
		TEST(test_lapic_lint0_takes_extint_as_it_is_set_up),
		TEST(test_lapic_nmi_watchdog_reaches_lint0_in_nmi_mode),
		TEST(test_lapic_counter_interrupt_masks_its_entry),
		TEST(test_lapic_state_goes_round),
		TEST(test_lapic_x2_state_has_the_id_in_either_format),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
