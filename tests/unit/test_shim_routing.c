// SPDX-License-Identifier: GPL-2.0-only
/* Creation of the controllers, routes, lines and messages: what each ioctl says, in Linux's order. */
#include "tests/unit/irqchip_vm.h"

#define VECTORS 0x20
#define SPIV    0xfee000f0u
#define REG_IRR 0x200

static long set_routing(const struct kvm_irq_routing_entry *entry, unsigned count, uint32_t flags)
{
	static struct {
		struct kvm_irq_routing header;
		struct kvm_irq_routing_entry entry[4097];
	} table;

	table.header.nr = count;
	table.header.flags = flags;
	memcpy(table.entry, entry, count * sizeof(*entry));
	return FD_IOCTL(m.vm, KVM_SET_GSI_ROUTING, &table);
}

static struct kvm_irq_routing_entry pin(unsigned gsi, unsigned chip_id, unsigned number)
{
	struct kvm_irq_routing_entry entry = { .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP };

	entry.u.irqchip.irqchip = chip_id;
	entry.u.irqchip.pin = number;
	return entry;
}

static struct kvm_irq_routing_entry message(unsigned gsi, uint32_t address, uint32_t data)
{
	struct kvm_irq_routing_entry entry = { .gsi = gsi, .type = KVM_IRQ_ROUTING_MSI };

	entry.u.msi.address_lo = address;
	entry.u.msi.data = data;
	return entry;
}

static bool requested(uint8_t vector)
{
	struct kvm_lapic_state lapic;
	uint32_t word;

	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_LAPIC, &lapic), 0);
	memcpy(&word, lapic.regs + REG_IRR + vector / 32 * 0x10, sizeof(word));
	return word >> vector % 32 & 1;
}

static int setup(void **state)
{
	uint32_t on = 0x1ff;
	int r = irqchip_setup(state);

	assert_true(lapic_mmio(vcpu, SPIV, 4, true, &on));
	out(0x20, 0x11);
	out(0x21, VECTORS);
	out(0x21, 4);
	out(0x21, 1);
	return r;
}

/* ------------------------------------------------------------------ creation */

static long split(int vm, uint64_t pins)
{
	return enable(vm, KVM_CAP_SPLIT_IRQCHIP, 0, pins);
}

static void test_irqchip_is_created_once_and_before_any_vcpu(void **state)
{
	int vm = (int)fd_ioctl(m.kvm, KVM_CREATE_VM, 0), cpu;

	(void)state;
	assert_int_equal(fd_ioctl(m.vm, KVM_CREATE_IRQCHIP, 0), -EEXIST);
	assert_int_equal(split(m.vm, 24), -EEXIST);
	cpu = (int)fd_ioctl(vm, KVM_CREATE_VCPU, 0);
	assert_int_equal(fd_ioctl(vm, KVM_CREATE_IRQCHIP, 0), -EINVAL);
	assert_int_equal(split(vm, 24), -EEXIST);
	assert_int_equal(split(vm, 4097), -EINVAL);
	fd_close(cpu);
	fd_close(vm);
}

static void test_irqchip_split_has_local_apics_and_no_chips(void **state)
{
	int vm = (int)fd_ioctl(m.kvm, KVM_CREATE_VM, 0);
	struct kvm_pit_config pit = { 0 };
	struct kvm_irqchip got = { 0 };
	struct kvm_irq_level level = { .irq = 4, .level = 1 };

	(void)state;
	assert_int_equal(split(vm, 24), 0);
	assert_int_equal(fd_ioctl(vm, KVM_CREATE_IRQCHIP, 0), -EEXIST);
	assert_int_equal(FD_IOCTL(vm, KVM_GET_IRQCHIP, &got), -ENXIO);
	assert_int_equal(FD_IOCTL(vm, KVM_SET_IRQCHIP, &got), -ENXIO);
	assert_int_equal(FD_IOCTL(vm, KVM_CREATE_PIT2, &pit), -ENOENT);
	assert_int_equal(FD_IOCTL(vm, KVM_IRQ_LINE_STATUS, &level), 0);
	assert_int_equal(level.status, -1); /* nothing is routed */
	fd_close(vm);
}

static void test_irqchip_unknown_chip_is_einval(void **state)
{
	struct kvm_irqchip got = { .chip_id = 3 };

	(void)state;
	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_IRQCHIP, &got), -EINVAL);
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_IRQCHIP, &got), -EINVAL);
	assert_int_equal(fd_ioctl(m.vm, KVM_GET_IRQCHIP, 16), -EFAULT);
}

static void test_pit_is_created_once_and_its_ioctls_want_it(void **state)
{
	struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct kvm_reinject_control reinject = { 0 };
	struct kvm_pit_state2 pit = { .flags = 0 };
	uint8_t value;

	(void)state;
	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_PIT2, &pit), -ENXIO);
	assert_int_equal(fd_ioctl(m.vm, KVM_GET_PIT2, 16), -ENXIO);
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_PIT2, &pit), -ENXIO);
	assert_int_equal(FD_IOCTL(m.vm, KVM_REINJECT_CONTROL, &reinject), -ENXIO);
	assert_int_equal(fd_ioctl(m.vm, KVM_CREATE_PIT2, 16), -EFAULT);
	assert_false(bus_access(vcpu, true, 0x40, 1, false, &value));
	config.flags = 0;
	assert_int_equal(FD_IOCTL(m.vm, KVM_CREATE_PIT2, &config), 0);
	assert_true(bus_access(vcpu, true, 0x40, 1, false, &value));
	assert_false(bus_access(vcpu, true, 0x61, 1, false, &value)); /* no speaker was asked for */
	assert_int_equal(FD_IOCTL(m.vm, KVM_CREATE_PIT2, &config), -EEXIST);
	assert_int_equal(fd_ioctl(m.vm, KVM_CREATE_PIT, 0), -EEXIST);
	assert_int_equal(fd_ioctl(m.vm, KVM_GET_PIT2, 16), -EFAULT);
}

static void test_capabilities_of_the_irqchip_are_linuxs(void **state)
{
	static const struct {
		int number, value;
	} caps[] = {
		{ KVM_CAP_IRQCHIP, 1 },
		{ KVM_CAP_PIT, 1 },
		{ KVM_CAP_COALESCED_MMIO, 2 },
		{ KVM_CAP_REINJECT_CONTROL, 1 },
		{ KVM_CAP_IRQ_ROUTING, 4096 },
		{ KVM_CAP_IRQ_INJECT_STATUS, 1 },
		{ KVM_CAP_IRQFD, 1 },
		{ KVM_CAP_PIT2, 1 },
		{ KVM_CAP_PIT_STATE2, 1 },
		{ KVM_CAP_IOEVENTFD, 1 },
		{ KVM_CAP_SIGNAL_MSI, 1 },
		{ KVM_CAP_IRQFD_RESAMPLE, 1 },
		{ KVM_CAP_IOEVENTFD_NO_LENGTH, 1 },
		{ KVM_CAP_IOEVENTFD_ANY_LENGTH, 1 },
		{ KVM_CAP_SPLIT_IRQCHIP, 1 },
		{ KVM_CAP_COALESCED_PIO, 1 },
		{ KVM_CAP_IOAPIC_POLARITY_IGNORED, 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++)
		assert_int_equal(fd_ioctl(m.vm, KVM_CHECK_EXTENSION, (unsigned long)caps[i].number),
				 caps[i].value);
}

/* ------------------------------------------------------------------ routes */

static void test_routing_default_goes_to_both_controllers(void **state)
{
	uint32_t select = 0x10 + 2 * 3, entry = 0x33;

	(void)state;
	assert_true(bus_access(vcpu, false, 0xfec00000, 4, true, &select));
	assert_true(bus_access(vcpu, false, 0xfec00010, 4, true, &entry));
	assert_int_equal(line_status(3, true), 2);
	assert_int_equal(acknowledge(), VECTORS + 3);
	assert_true(requested(0x33));
	assert_int_equal(line_status(24, true), -1);
	assert_int_equal(line_status(~0u, true), -1);
}

static void test_routing_replaces_all_of_the_old(void **state)
{
	const struct kvm_irq_routing_entry entry[] = {
		pin(40, KVM_IRQCHIP_PIC_MASTER, 6),
		message(41, 0xfee00000, 0x44),
	};

	(void)state;
	assert_int_equal(set_routing(entry, 2, 0), 0);
	assert_int_equal(line_status(6, true), -1);
	assert_int_equal(line_status(40, true), 1);
	assert_int_equal(acknowledge(), VECTORS + 6);
	assert_int_equal(line_status(41, true), 1);
	assert_true(requested(0x44));
	assert_int_equal(line_status(41, false), -1); /* a message has no end */
	assert_int_equal(set_routing(entry, 0, 0), 0);
	assert_int_equal(line_status(40, true), -1);
}

static void test_routing_slave_pin_is_the_slaves(void **state)
{
	const struct kvm_irq_routing_entry entry = pin(0, KVM_IRQCHIP_PIC_SLAVE, 1);

	(void)state;
	assert_int_equal(set_routing(&entry, 1, 0), 0);
	line(0, true);
	assert_int_equal(pic_state(KVM_IRQCHIP_PIC_SLAVE).irr, 1 << 1);
}

static void test_routing_wrong_tables_are_einval_and_change_nothing(void **state)
{
	const struct kvm_irq_routing_entry good = pin(7, KVM_IRQCHIP_PIC_MASTER, 7);
	struct kvm_irq_routing_entry entry[3] = { good };
	static struct kvm_irq_routing_entry many[4097];

	(void)state;
	assert_int_equal(set_routing(&good, 1, 0), 0);
	assert_int_equal(set_routing(&good, 1, 1), -EINVAL);
	assert_int_equal(set_routing(many, 4097, 0), -EINVAL);
	entry[1] = pin(4096, KVM_IRQCHIP_PIC_MASTER, 1);
	assert_int_equal(set_routing(entry, 2, 0), -EINVAL);
	entry[1] = pin(8, KVM_IRQCHIP_PIC_MASTER, 8);
	assert_int_equal(set_routing(entry, 2, 0), -EINVAL);
	entry[1] = pin(8, KVM_IRQCHIP_PIC_SLAVE, 8);
	assert_int_equal(set_routing(entry, 2, 0), -EINVAL);
	entry[1] = pin(8, KVM_IRQCHIP_IOAPIC, 24);
	assert_int_equal(set_routing(entry, 2, 0), -EINVAL);
	entry[1] = pin(8, 3, 0);
	assert_int_equal(set_routing(entry, 2, 0), -EINVAL);
	entry[1] = pin(7, KVM_IRQCHIP_PIC_MASTER, 1); /* twice to one chip */
	assert_int_equal(set_routing(entry, 2, 0), -EINVAL);
	entry[1] = message(7, 0xfee00000, 0x44); /* a pin and a message */
	assert_int_equal(set_routing(entry, 2, 0), -EINVAL);
	entry[1] = message(8, 0xfee00000, 0x44);
	entry[2] = entry[1];
	assert_int_equal(set_routing(entry, 3, 0), -EINVAL);
	entry[1].flags = 2;
	assert_int_equal(set_routing(entry, 2, 0), -EINVAL);
	entry[1].flags = KVM_MSI_VALID_DEVID;
	assert_int_equal(set_routing(entry, 2, 0), 0);
	entry[1].type = 99;
	assert_int_equal(set_routing(entry, 2, 0), -EINVAL);
	assert_int_equal(fd_ioctl(m.vm, KVM_SET_GSI_ROUTING, 16), -EFAULT);
	assert_int_equal(line_status(8, true), 1); /* the last good one is in force */
}

static void test_routing_of_a_split_controller_has_messages_only(void **state)
{
	int vm = (int)fd_ioctl(m.kvm, KVM_CREATE_VM, 0), own = m.vm;
	const struct kvm_irq_routing_entry msi = message(3, 0xfee00000, 0x44),
					   wrong = pin(3, KVM_IRQCHIP_IOAPIC, 3);

	(void)state;
	m.vm = vm;
	assert_int_equal(set_routing(&msi, 1, 0), -EINVAL); /* no controller at all */
	assert_int_equal(split(vm, 24), 0);
	assert_int_equal(set_routing(&wrong, 1, 0), -EINVAL);
	assert_int_equal(set_routing(&msi, 1, 0), 0);
	m.vm = own;
	fd_close(vm);
}

/* ------------------------------------------------------------------ messages */

static long msi(uint32_t address, uint32_t address_high, uint32_t data, uint32_t flags)
{
	struct kvm_msi args = {
		.address_lo = address, .address_hi = address_high, .data = data, .flags = flags
	};

	return FD_IOCTL(m.vm, KVM_SIGNAL_MSI, &args);
}

static void test_msi_reaches_the_local_apic(void **state)
{
	(void)state;
	assert_int_equal(msi(0xfee00000, 0, 0x45, 0), 1);
	assert_true(requested(0x45));
	assert_int_equal(msi(0xfee00000, 0, 0x45, 0), 1); /* pending already: Linux counts it */
	assert_int_equal(msi(0xfee05000, 0, 0x46, 0), 0); /* nobody */
	assert_false(requested(0x46));
	assert_int_equal(msi(0xfee00000, 0, 0x45, 2), -EINVAL);
	assert_int_equal(msi(0xfee00000, 0, 0x45, KVM_MSI_VALID_DEVID), 1);
}

static void test_msi_with_wide_identifiers_wants_a_clean_upper_address(void **state)
{
	(void)state;
	assert_int_equal(msi(0xfee00000, 0x000000ff, 0x47, 0), 1); /* not looked at */
	assert_int_equal(enable(m.vm, KVM_CAP_X2APIC_API, 0, 1), 0);
	assert_int_equal(msi(0xfee00000, 0x000000ff, 0x48, 0), -EINVAL);
	assert_int_equal(msi(0xfee00000, 0x00000100, 0x48, 0), 0); /* APIC 100h */
	assert_int_equal(msi(0xfee00000, 0, 0x48, 0), 1);
}

/* ------------------------------------------------------------------ beside other events */

static void test_interrupt_that_comes_with_a_fault_waits_for_its_handler(void **state)
{
	/* sti; mov ecx, 140h; wrmsr; the fault's handler: out F1h, al; sti; nop; the interrupt's: out F2h, al */
	static const char code[] = "\xfb\x66\xb9\x40\x01\x00\x00\x0f\x30\xf4";
	static const char fault[] = "\xe6\xf1\xfb\x90\xf4", interrupt[] = "\xe6\xf2\xf4";
	const uint32_t vectors[2] = { 0x2000, 0x2100 };

	(void)state;
	assert_int_equal(enable(m.vm, KVM_CAP_X86_USER_SPACE_MSR, 0,
				KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL),
			 0);
	memcpy(ram + vectors[0], fault, sizeof(fault));
	memcpy(ram + vectors[1], interrupt, sizeof(interrupt));
	memcpy(ram + 4 * 13, &vectors[0], 4);
	memcpy(ram + 4 * (VECTORS + 3), &vectors[1], 4);
	LOAD(code);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_RUN, 0), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_X86_WRMSR);
	m.run->msr.error = 1;
	line(3, true);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_RUN, 0), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(m.run->io.port, 0xf1);
	assert_int_equal(fd_ioctl(m.vcpu, KVM_RUN, 0), 0);
	assert_int_equal(m.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(m.run->io.port, 0xf2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, irqchip_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_irqchip_is_created_once_and_before_any_vcpu),
		TEST(test_irqchip_split_has_local_apics_and_no_chips),
		TEST(test_irqchip_unknown_chip_is_einval),
		TEST(test_pit_is_created_once_and_its_ioctls_want_it),
		TEST(test_capabilities_of_the_irqchip_are_linuxs),
		TEST(test_routing_default_goes_to_both_controllers),
		TEST(test_routing_replaces_all_of_the_old),
		TEST(test_routing_slave_pin_is_the_slaves),
		TEST(test_routing_wrong_tables_are_einval_and_change_nothing),
		TEST(test_routing_of_a_split_controller_has_messages_only),
		TEST(test_msi_reaches_the_local_apic),
		TEST(test_msi_with_wide_identifiers_wants_a_clean_upper_address),
		TEST(test_interrupt_that_comes_with_a_fault_waits_for_its_handler),
	};

	irqchip_options(SHIM_TIME_REAL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
