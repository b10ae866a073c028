// SPDX-License-Identifier: GPL-2.0-only
/* The 8254 (Intel 231164), on virtual time: a count is exact. */
#include "tests/unit/irqchip_vm.h"

#include <sys/eventfd.h>

#define CHANNEL(n) (uint16_t)(0x40 + (n))
#define CONTROL    0x43
#define SPEAKER    0x61
#define FREQUENCY  1193181ull
#define MODE(n)    (uint8_t)((n) << 1)
#define LOW_BYTE   0x10
#define HIGH_BYTE  0x20
#define BOTH       0x30
#define SELECT(n)  (uint8_t)((n) << 6)
#define READ_BACK  0xc0
#define NO_COUNT   0x20
#define NO_STATUS  0x10
#define VECTOR     0x20
#define MASTER     0x20
#define EOI        0x20
#define READ_IRR   0x0a

/* ------------------------------------------------------------------ time */

static void run_timers(void)
{
	lock_take(&chip->lock);
	irq_run_timers(chip, shim_now_ns());
	lock_drop(&chip->lock);
}

static void pass_ns(uint64_t ns)
{
	assert_int_equal(shim_sleep_until(shim_now_ns() + ns), 0);
	run_timers();
}

/* So that `clocks` whole ones have passed since a time that was 0. */
static void pass_clocks(uint64_t clocks)
{
	pass_ns((clocks * 1000000000 + FREQUENCY - 1) / FREQUENCY);
}

static int setup(void **state)
{
	struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };
	int r = irqchip_setup(state);

	assert_int_equal(FD_IOCTL(m.vm, KVM_CREATE_PIT2, &config), 0);
	out(0x20, 0x11);
	out(0x21, VECTOR);
	out(0x21, 4);
	out(0x21, 1);
	return r;
}

static void program(unsigned channel, unsigned mode, uint16_t count)
{
	out(CONTROL, SELECT(channel) | BOTH | MODE(mode));
	out(CHANNEL(channel), (uint8_t)count);
	out(CHANNEL(channel), (uint8_t)(count >> 8));
}

static uint16_t count_of(unsigned channel)
{
	uint8_t low = in(CHANNEL(channel));

	return (uint16_t)(low | in(CHANNEL(channel)) << 8);
}

static uint8_t status_of(unsigned channel)
{
	out(CONTROL, (uint8_t)(READ_BACK | NO_COUNT | 2u << channel));
	return in(CHANNEL(channel));
}

static bool out_pin(unsigned channel)
{
	return status_of(channel) & 0x80;
}

/* ------------------------------------------------------------------ counting */

static void test_pit_mode_0_counts_down_through_zero_and_raises_out(void **state)
{
	(void)state;
	program(1, 0, 1000);
	assert_int_equal(count_of(1), 1000);
	assert_false(out_pin(1));
	pass_clocks(400);
	assert_int_equal(count_of(1), 600);
	pass_clocks(600);
	assert_int_equal(count_of(1), 0);
	assert_true(out_pin(1));
	pass_clocks(1);
	assert_int_equal(count_of(1), 0xffff);
	assert_true(out_pin(1));
}

static void test_pit_mode_1_has_out_low_at_its_end(void **state)
{
	(void)state;
	program(1, 1, 100);
	assert_true(out_pin(1));
	pass_clocks(100);
	assert_false(out_pin(1));
}

static void test_pit_mode_2_reloads(void **state)
{
	(void)state;
	program(1, 2, 1000);
	pass_clocks(999);
	assert_int_equal(count_of(1), 1);
	assert_false(out_pin(1));
	pass_clocks(1);
	assert_int_equal(count_of(1), 1000);
	assert_true(out_pin(1)); /* the one clock of the pulse, as Linux has it */
	pass_clocks(1);
	assert_false(out_pin(1));
}

static void test_pit_mode_3_is_a_square_wave_that_counts_by_two(void **state)
{
	(void)state;
	program(1, 3, 1000);
	assert_true(out_pin(1));
	pass_clocks(100);
	assert_int_equal(count_of(1), 800);
	pass_clocks(400);
	assert_false(out_pin(1));
	assert_int_equal(count_of(1), 1000);
	pass_clocks(500);
	assert_true(out_pin(1));
}

static void test_pit_mode_4_is_a_strobe_at_the_end(void **state)
{
	(void)state;
	program(1, 4, 50);
	assert_false(out_pin(1));
	pass_clocks(50);
	assert_true(out_pin(1));
	pass_clocks(1);
	assert_false(out_pin(1));
}

static void test_pit_modes_6_and_7_are_2_and_3(void **state)
{
	(void)state;
	program(1, 6, 10);
	assert_int_equal(status_of(1), 0x34);
	program(1, 7, 10);
	assert_int_equal(status_of(1) & 0x0e, 0x06);
}

static void test_pit_count_zero_is_65536(void **state)
{
	struct kvm_pit_state2 pit;

	(void)state;
	program(1, 2, 0);
	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_PIT2, &pit), 0);
	assert_int_equal(pit.channels[1].count, 0x10000);
	pass_clocks(1);
	assert_int_equal(count_of(1), 0xffff);
}

/* ------------------------------------------------------------------ reading and writing */

static void test_pit_latched_count_stays_while_time_passes(void **state)
{
	(void)state;
	program(1, 0, 1000);
	out(CONTROL, SELECT(1)); /* latch */
	pass_clocks(10);
	out(CONTROL, SELECT(1)); /* a second one has no effect */
	assert_int_equal(count_of(1), 1000);
	assert_int_equal(count_of(1), 990);
}

static void test_pit_read_back_latches_status_before_count(void **state)
{
	(void)state;
	program(1, 0, 0x1234);
	out(CONTROL, READ_BACK | 2 << 1);
	pass_clocks(4);
	assert_int_equal(in(CHANNEL(1)), BOTH | MODE(0));
	assert_int_equal(in(CHANNEL(1)), 0x34);
	assert_int_equal(in(CHANNEL(1)), 0x12);
	assert_int_equal(in(CHANNEL(1)), 0x30);
}

static void test_pit_single_byte_access_sets_and_reads_that_byte(void **state)
{
	(void)state;
	out(CONTROL, SELECT(1) | LOW_BYTE | MODE(0));
	out(CHANNEL(1), 0x80);
	assert_int_equal(in(CHANNEL(1)), 0x80);
	assert_int_equal(in(CHANNEL(1)), 0x80);
	out(CONTROL, SELECT(1) | HIGH_BYTE | MODE(0));
	out(CHANNEL(1), 0x80);
	assert_int_equal(in(CHANNEL(1)), 0x80);
	pass_clocks(1);
	assert_int_equal(in(CHANNEL(1)), 0x7f);
}

static void test_pit_read_back_of_several_channels_latches_each(void **state)
{
	(void)state;
	program(1, 0, 0x1111);
	program(2, 0, 0x2222);
	out(CONTROL, READ_BACK | NO_STATUS | 2 << 1 | 2 << 2);
	pass_clocks(7);
	assert_int_equal(count_of(1), 0x1111);
	assert_int_equal(count_of(2), 0x2222);
}

/* ------------------------------------------------------------------ channel 0's interrupt */

static bool tick_requested(void)
{
	out(MASTER, READ_IRR);
	return in(MASTER)&1;
}

/* Takes it as the guest does. */
static void take_tick(void)
{
	assert_int_equal(acknowledge(), VECTOR);
	out(MASTER, EOI);
}

static void test_pit_mode_2_interrupts_each_period(void **state)
{
	(void)state;
	program(0, 2, 1193);
	pass_clocks(1192);
	assert_false(tick_requested());
	pass_clocks(2);
	take_tick();
	assert_false(tick_requested());
	pass_clocks(1193);
	take_tick();
}

static void test_pit_mode_0_interrupts_once(void **state)
{
	(void)state;
	program(0, 0, 1193);
	pass_clocks(1200);
	take_tick();
	pass_clocks(3000);
	assert_false(tick_requested());
}

static void test_pit_missed_ticks_are_reinjected_after_each_acknowledgement(void **state)
{
	(void)state;
	program(0, 2, 1193);
	pass_clocks(1193 * 4 + 10);
	for (unsigned i = 0; i < 4; i++)
		take_tick();
	assert_false(tick_requested());
}

static void test_pit_missed_ticks_are_lost_without_reinjection(void **state)
{
	struct kvm_reinject_control off = { .pit_reinject = 0 };

	(void)state;
	assert_int_equal(FD_IOCTL(m.vm, KVM_REINJECT_CONTROL, &off), 0);
	program(0, 2, 1193);
	pass_clocks(1193 * 4 + 10);
	take_tick();
	assert_false(tick_requested());
}

static void test_pit_unmasking_its_line_forgets_missed_ticks(void **state)
{
	(void)state;
	out(0x21, 1);
	program(0, 2, 1193);
	pass_clocks(1193 * 4 + 10);
	out(0x21, 0);
	take_tick(); /* the request that waited in the 8259 */
	assert_false(tick_requested());
}

static void test_pit_period_is_at_least_200_microseconds(void **state)
{
	struct kvm_reinject_control off = { .pit_reinject = 0 };
	unsigned ticks = 0;

	(void)state;
	assert_int_equal(FD_IOCTL(m.vm, KVM_REINJECT_CONTROL, &off), 0);
	program(0, 2, 12); /* about 10 microseconds */
	for (unsigned i = 0; i < 100; i++) {
		pass_ns(10000);
		if (tick_requested()) {
			take_tick();
			ticks++;
		}
	}
	assert_in_range(ticks, 5, 6);
}

static void test_pit_legacy_replacement_stops_channel_0(void **state)
{
	struct kvm_pit_state2 pit;

	(void)state;
	program(0, 2, 1193);
	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_PIT2, &pit), 0);
	pit.flags |= KVM_PIT_FLAGS_HPET_LEGACY;
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_PIT2, &pit), 0);
	pass_clocks(5000);
	assert_false(tick_requested());
	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_PIT2, &pit), 0);
	assert_int_equal(pit.channels[0].mode, 2); /* for when it comes back */
	pit.flags = 0;
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_PIT2, &pit), 0);
	pass_clocks(1200);
	take_tick();
}

/* ------------------------------------------------------------------ port 61h */

static void test_pit_speaker_port_shows_gate_data_and_out(void **state)
{
	struct kvm_pit_state2 pit;

	(void)state;
	program(2, 3, 1000);
	out(SPEAKER, 0x03);
	assert_int_equal(in(SPEAKER)&0x23, 0x23);
	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_PIT2, &pit), 0);
	assert_int_equal(pit.flags, KVM_PIT_FLAGS_SPEAKER_DATA_ON);
	assert_int_equal(pit.channels[2].gate, 1);
	pass_clocks(500);
	assert_int_equal(in(SPEAKER)&0x20, 0);
	out(SPEAKER, 0);
	assert_int_equal(in(SPEAKER)&0x03, 0);
}

static void test_pit_gate_restarts_a_square_wave(void **state)
{
	(void)state;
	program(2, 3, 1000);
	pass_clocks(100);
	assert_int_equal(count_of(2), 800);
	out(SPEAKER, 1);
	assert_int_equal(count_of(2), 1000);
	pass_clocks(100);
	out(SPEAKER, 1); /* no edge */
	assert_int_equal(count_of(2), 800);
}

static void test_pit_refresh_bit_toggles(void **state)
{
	uint8_t first;

	(void)state;
	first = in(SPEAKER)&0x10;
	pass_ns(1 << 14);
	assert_int_not_equal(in(SPEAKER)&0x10, first);
}

static void test_pit_keyboard_ports_behind_the_speaker_are_not_its(void **state)
{
	uint8_t value;

	(void)state;
	assert_false(bus_access(vcpu, true, 0x64, 1, false, &value));
	assert_false(bus_access(vcpu, true, 0x60, 1, false, &value));
}

/* ------------------------------------------------------------------ ioctls */

static void test_pit_state_is_read_back_as_it_was_set(void **state)
{
	struct kvm_pit_state2 set = { .flags = KVM_PIT_FLAGS_SPEAKER_DATA_ON }, got;
	struct kvm_pit_state old;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		set.channels[i] = (struct kvm_pit_channel_state){
			.count = 100 + i,
			.latched_count = (uint16_t)(0x1200 + i),
			.count_latched = 3,
			.status = 0x12,
			.read_state = 3,
			.write_state = 4,
			.write_latch = 0x77,
			.rw_mode = 3,
			.mode = 5, /* nothing that ticks */
			.gate = 1,
		};
	}
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_PIT2, &set), 0);
	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_PIT2, &got), 0);
	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_PIT, &old), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(got.channels[i].count_load_time, i ? shim_now_ns() : 0);
		got.channels[i].count_load_time = old.channels[i].count_load_time = 0;
	}
	assert_memory_equal(&got, &set, sizeof(set));
	assert_memory_equal(old.channels, set.channels, sizeof(old.channels));
}

static void test_pit_reset_state_is_that_of_linux(void **state)
{
	struct kvm_pit_state2 got;

	(void)state;
	assert_int_equal(FD_IOCTL(m.vm, KVM_GET_PIT2, &got), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(got.channels[i].mode, 0xff);
		assert_int_equal(got.channels[i].count, 0x10000);
		assert_int_equal(got.channels[i].gate, i != 2);
	}
	assert_int_equal(got.flags, 0);
}

/* ------------------------------------------------------------------ timers */

static struct irq_timer timers[3];
static unsigned fired[8], fires;

static void fire(struct irqchip *of, struct irq_timer *timer)
{
	assert_ptr_equal(of, chip);
	assert_int_equal(timer->at_ns, 0); /* it may be set again */
	fired[fires++ % 8] = (unsigned)(timer - timers);
}

static void set(unsigned timer, uint64_t at_ns)
{
	timers[timer].fire = fire;
	lock_take(&chip->lock);
	irq_timer_set(chip, &timers[timer], at_ns);
	lock_drop(&chip->lock);
}

static uint64_t next(void)
{
	uint64_t at = 0;

	lock_take(&chip->lock);
	irq_next_timer(chip, &at);
	lock_drop(&chip->lock);
	return at;
}

static void test_timers_fire_in_order_when_they_are_due(void **state)
{
	uint64_t now = shim_now_ns();

	(void)state;
	fires = 0;
	assert_int_equal(next(), 0);
	set(0, now + 3000);
	set(1, now + 1000);
	set(2, now + 2000);
	assert_int_equal(next(), now + 1000);
	set(1, now + 5000); /* moved */
	assert_int_equal(next(), now + 2000);
	pass_ns(1000);
	assert_int_equal(fires, 0);
	pass_ns(2000);
	assert_int_equal(fires, 2);
	assert_int_equal(fired[0], 2);
	assert_int_equal(fired[1], 0);
	set(1, 0); /* stopped */
	assert_int_equal(next(), 0);
	pass_ns(5000);
	assert_int_equal(fires, 2);
}

/* ------------------------------------------------------------------ what comes from real time */

static void test_irqfd_in_virtual_time_says_that_it_is_not_deterministic(void **state)
{
	struct kvm_irqfd irqfd = { .gsi = 5 };
	const uint64_t one = 1;
	int fd = eventfd(0, EFD_CLOEXEC), pending = false;

	(void)state;
	assert_null(shim_nondeterminism());
	irqfd.fd = (uint32_t)fd;
	assert_int_equal(FD_IOCTL(m.vm, KVM_IRQFD, &irqfd), 0);
	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
	for (unsigned i = 0; i < 5000 && !pending; i++) {
		usleep(1000);
		lock_take(&chip->lock);
		pending = pic_pending(chip);
		lock_drop(&chip->lock);
	}
	assert_int_equal(acknowledge(), VECTOR + 5);
	assert_non_null(shim_nondeterminism());
	close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, irqchip_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_pit_mode_0_counts_down_through_zero_and_raises_out),
		TEST(test_pit_mode_1_has_out_low_at_its_end),
		TEST(test_pit_mode_2_reloads),
		TEST(test_pit_mode_3_is_a_square_wave_that_counts_by_two),
		TEST(test_pit_mode_4_is_a_strobe_at_the_end),
		TEST(test_pit_modes_6_and_7_are_2_and_3),
		TEST(test_pit_count_zero_is_65536),
		TEST(test_pit_latched_count_stays_while_time_passes),
		TEST(test_pit_read_back_latches_status_before_count),
		TEST(test_pit_single_byte_access_sets_and_reads_that_byte),
		TEST(test_pit_read_back_of_several_channels_latches_each),
		TEST(test_pit_mode_2_interrupts_each_period),
		TEST(test_pit_mode_0_interrupts_once),
		TEST(test_pit_missed_ticks_are_reinjected_after_each_acknowledgement),
		TEST(test_pit_missed_ticks_are_lost_without_reinjection),
		TEST(test_pit_unmasking_its_line_forgets_missed_ticks),
		TEST(test_pit_period_is_at_least_200_microseconds),
		TEST(test_pit_legacy_replacement_stops_channel_0),
		TEST(test_pit_speaker_port_shows_gate_data_and_out),
		TEST(test_pit_gate_restarts_a_square_wave),
		TEST(test_pit_refresh_bit_toggles),
		TEST(test_pit_keyboard_ports_behind_the_speaker_are_not_its),
		TEST(test_pit_state_is_read_back_as_it_was_set),
		TEST(test_pit_reset_state_is_that_of_linux),
		TEST(test_timers_fire_in_order_when_they_are_due),
		TEST(test_irqfd_in_virtual_time_says_that_it_is_not_deterministic),
	};

	irqchip_options(SHIM_TIME_VIRTUAL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
