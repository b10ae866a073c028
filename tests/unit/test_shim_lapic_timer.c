/* SPDX-License-Identifier: GPL-2.0-only */
/* The local APIC's timer, SDM 11.5.4, in virtual time: every nanosecond is where it should be. */
#include "tests/unit/lapic_vm.h"
#include "vmm_shim/vclock.h"

#define VECTOR 0x55

static uint64_t began;

static int configure(void **state)
{
	struct shim_options options;
	int kvm;

	(void)state;
	shim_options_default(&options);
	options.time = SHIM_TIME_VIRTUAL;
	if (shim_configure(&options))
		return -1;
	kvm = shim_open(O_RDWR); /* time begins */
	return kvm < 0 || close(kvm) ? -1 : 0;
}

static int begin(void **state)
{
	lapic_vm_start(state);
	lapic_features(apic[0], true);
	lapic_on(0);
	began = shim_now_ns();
	return 0;
}

/* `ns` after the test's begin: what was due has fired, and the vCPU has looked. True: an interrupt. */
static bool interrupted_by(uint64_t ns)
{
	bool came;

	assert_int_equal(shim_sleep_until(began + ns), 0);
	irq_run_timers(vm.irqchip, shim_now_ns());
	if (lapic_timer_waits(apic[0]))
		lapic_timer_deliver(apic[0]);
	came = lapic_bit(apic[0], LAPIC_IRR, VECTOR);
	lapic_set_bit(apic[0], LAPIC_IRR, VECTOR, false);
	return came;
}

static void start(uint32_t mode, uint32_t divide, uint32_t count)
{
	lapic_write(apic[0], LAPIC_DIVIDE, divide);
	lapic_write(apic[0], LAPIC_LVT_TIMER, mode | VECTOR);
	lapic_write(apic[0], LAPIC_INITIAL_COUNT, count);
}

static void test_timer_one_shot_comes_once(void **state)
{
	(void)state;
	start(0, 0xb, 1000000);
	assert_false(interrupted_by(999999));
	assert_true(interrupted_by(1000000));
	assert_false(interrupted_by(5000000));
	assert_int_equal(lapic_value(0, LAPIC_CURRENT_COUNT), 0);
}

static void test_timer_divides_as_the_register_says(void **state)
{
	/* SDM figure 11-10; bit 2 is reserved */
	static const struct {
		uint32_t reg;
		unsigned divide;
	} table[] = { { 0, 2 },  { 1, 4 },  { 2, 8 },    { 3, 16 },
		      { 8, 32 }, { 9, 64 }, { 10, 128 }, { 11, 1 } };
	uint64_t at = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		start(0, table[i].reg, 1000);
		at += 1000 * table[i].divide;
		assert_false(interrupted_by(at - 1));
		assert_true(interrupted_by(at));
	}
}

static void test_timer_count_runs_down(void **state)
{
	(void)state;
	start(0, 0, 500000);                                      /* by 2 */
	assert_int_equal(lapic_value(0, LAPIC_CURRENT_COUNT), 0); /* a whole period is none */
	interrupted_by(200000);
	assert_int_equal(lapic_value(0, LAPIC_CURRENT_COUNT), 400000);
	interrupted_by(999998);
	assert_int_equal(lapic_value(0, LAPIC_CURRENT_COUNT), 1);
	assert_int_equal(lapic_value(0, LAPIC_INITIAL_COUNT), 500000);
}

static void test_timer_periodic_comes_again_and_again(void **state)
{
	(void)state;
	start(LVT_PERIODIC, 0xb, 300000);
	for (uint64_t n = 1; n <= 5; n++) {
		assert_false(interrupted_by(n * 300000 - 1));
		assert_true(interrupted_by(n * 300000));
	}
	lapic_write(apic[0], LAPIC_INITIAL_COUNT, 0); /* stops it */
	assert_false(interrupted_by(3000000));
}

static void test_timer_periodic_does_not_make_up_for_what_was_missed(void **state)
{
	(void)state;
	start(LVT_PERIODIC, 0xb, 300000);
	assert_true(interrupted_by(3000000));
	assert_false(interrupted_by(3299999));
	assert_true(interrupted_by(3300000));
}

static void test_timer_periodic_is_no_faster_than_200_us(void **state)
{
	(void)state;
	start(LVT_PERIODIC, 0xb, 10);
	assert_false(interrupted_by(199999));
	assert_true(interrupted_by(200000));
	assert_true(interrupted_by(400000));
}

static void test_timer_masked_comes_when_it_is_unmasked(void **state)
{
	(void)state;
	start(LVT_MASKED, 0xb, 1000);
	assert_false(interrupted_by(2000));
	lapic_write(apic[0], LAPIC_LVT_TIMER, VECTOR);
	assert_true(interrupted_by(2001)); /* KVM's: apic_has_pending_timer() */
}

static void test_timer_new_count_starts_over(void **state)
{
	(void)state;
	start(0, 0xb, 1000);
	interrupted_by(900);
	lapic_write(apic[0], LAPIC_INITIAL_COUNT, 1000);
	assert_false(interrupted_by(1899));
	assert_true(interrupted_by(1900));
}

static void test_timer_new_divisor_takes_what_is_left(void **state)
{
	(void)state;
	start(0, 0xb, 1000000);
	interrupted_by(400000);
	lapic_write(apic[0], LAPIC_DIVIDE, 0); /* by 2: 600,000 ticks are 1.2 ms */
	assert_false(interrupted_by(1599999));
	assert_true(interrupted_by(1600000));
}

static void test_timer_deadline_comes_at_that_tsc(void **state)
{
	uint64_t deadline;

	(void)state;
	apic[0]->timer.tsc_known = true; /* the guest's counter is the clock's: 2 GHz */
	lapic_write(apic[0], LAPIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR);
	deadline = vclock_cycles() + 2000000;
	lapic_timer_set_deadline(apic[0], deadline);
	assert_true(lapic_timer_deadline(apic[0]) == deadline);
	assert_false(interrupted_by(999999));
	assert_true(interrupted_by(1000000));
	assert_true(lapic_timer_deadline(apic[0]) == 0);
	lapic_timer_set_deadline(apic[0], 1); /* long past */
	assert_true(interrupted_by(1000001));
	lapic_timer_set_deadline(apic[0], vclock_cycles() + 1000);
	lapic_timer_set_deadline(apic[0], 0); /* disarms it */
	assert_false(interrupted_by(2000000));
}

static void test_timer_deadline_is_nothing_in_other_modes(void **state)
{
	(void)state;
	apic[0]->timer.tsc_known = true;
	lapic_timer_set_deadline(apic[0], vclock_cycles() + 1000);
	assert_true(lapic_timer_deadline(apic[0]) == 0);
	assert_false(interrupted_by(1000000));
	lapic_write(apic[0], LAPIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR);
	lapic_write(apic[0], LAPIC_INITIAL_COUNT, 1000); /* nor a count in this one */
	assert_int_equal(lapic_value(0, LAPIC_INITIAL_COUNT), 0);
	assert_false(interrupted_by(2000000));
}

static void test_timer_mode_change_to_deadline_disarms_it(void **state)
{
	(void)state;
	start(0, 0xb, 1000);
	lapic_write(apic[0], LAPIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR);
	assert_int_equal(lapic_value(0, LAPIC_INITIAL_COUNT), 0);
	assert_false(interrupted_by(1000000));
	lapic_write(apic[0], LAPIC_LVT_TIMER, VECTOR);
	assert_false(interrupted_by(2000000));
}

static void test_timer_bus_cycle_is_the_monitors_choice(void **state)
{
	(void)state;
	vm.irqchip->bus_cycle_ns = 40; /* 25 MHz */
	start(0, 0xb, 1000);
	assert_false(interrupted_by(39999));
	assert_int_equal(lapic_value(0, LAPIC_CURRENT_COUNT), 0);
	assert_true(interrupted_by(40000));
}

static void test_timer_on_the_slowest_bus_never_comes(void **state)
{
	(void)state;
	/* the most that KVM_CAP_X86_APIC_BUS_CYCLES_NS takes: a period of nearly 2^64 ns */
	vm.irqchip->bus_cycle_ns = UINT64_MAX / (UINT32_MAX * 128ull);
	interrupted_by(5000000000);
	start(LVT_PERIODIC, 0xa, UINT32_MAX);
	assert_false(interrupted_by(6000000000));
	start(0, 0xa, UINT32_MAX);
	assert_false(interrupted_by(7000000000));
}

static void test_timer_saved_count_runs_on(void **state)
{
	struct kvm_lapic_state saved;

	(void)state;
	start(0, 0xb, 1000000);
	interrupted_by(300000);
	lapic_get_state(apic[0], &saved);
	lapic_reset(apic[0], false);
	interrupted_by(10000000); /* while it is somewhere else */
	lapic_set_state(apic[0], &saved);
	assert_false(interrupted_by(10699999));
	assert_true(interrupted_by(10700000));
}

static void test_timer_reset_stops_it(void **state)
{
	(void)state;
	start(LVT_PERIODIC, 0xb, 300000);
	lapic_reset(apic[0], true);
	lapic_on(0);
	lapic_write(apic[0], LAPIC_LVT_TIMER, VECTOR);
	assert_false(interrupted_by(10000000));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, lapic_vm_stop)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_timer_one_shot_comes_once),
		TEST(test_timer_divides_as_the_register_says),
		TEST(test_timer_count_runs_down),
		TEST(test_timer_periodic_comes_again_and_again),
		TEST(test_timer_periodic_does_not_make_up_for_what_was_missed),
		TEST(test_timer_periodic_is_no_faster_than_200_us),
		TEST(test_timer_masked_comes_when_it_is_unmasked),
		TEST(test_timer_new_count_starts_over),
		TEST(test_timer_new_divisor_takes_what_is_left),
		TEST(test_timer_deadline_comes_at_that_tsc),
		TEST(test_timer_deadline_is_nothing_in_other_modes),
		TEST(test_timer_mode_change_to_deadline_disarms_it),
		TEST(test_timer_bus_cycle_is_the_monitors_choice),
		TEST(test_timer_on_the_slowest_bus_never_comes),
		TEST(test_timer_saved_count_runs_on),
		TEST(test_timer_reset_stops_it),
	};
	return cmocka_run_group_tests(tests, configure, NULL);
}
