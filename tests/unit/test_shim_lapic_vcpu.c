/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vCPUs with a local APIC in the kernel, on the emulated processor: interrupts reach the guest, HLT and
 * the wait for INIT are inside KVM_RUN, and what the monitor sees and sets is what Linux shows.
 */
#include "tests/unit/lapic_guest.h"

#include <signal.h>
#include <sys/time.h>
#include <time.h>

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct kvm_lapic_state lapic_state(unsigned i)
{
	struct kvm_lapic_state s;

	assert_int_equal(FD_IOCTL(cpus[i].fd, KVM_GET_LAPIC, &s), 0);
	return s;
}

static uint32_t state_reg(const struct kvm_lapic_state *s, unsigned offset)
{
	uint32_t value;

	memcpy(&value, s->regs + offset, 4);
	return value;
}

static int start_1(void **state)
{
	(void)state;
	lapic_guest_start(1, -1);
	return 0;
}

static int stop_1(void **state)
{
	(void)state;
	lapic_guest_stop(1);
	return 0;
}

static int start_2(void **state)
{
	(void)state;
	lapic_guest_start(2, -1);
	return 0;
}

static int stop_2(void **state)
{
	(void)state;
	lapic_guest_stop(2);
	return 0;
}

static int start_split(void **state)
{
	(void)state;
	lapic_guest_start(1, 24);
	return 0;
}

/* ------------------------------------------------------------------ interrupts and HLT */

static void test_vcpu_self_ipi_interrupts_when_the_guest_allows_it(void **state)
{
	struct code c = begin_code(CODE);

	(void)state;
	on_interrupt(0x60, 0);
	x2_on(&c, true);
	wrmsr(&c, 0x83f, 0x60);
	out(&c); /* IF is 0 */
	BYTES(&c, "\xfb\x90\x90");
	out(&c);
	cpu_at(0, CODE);
	run_to_out(0);
	assert_int_equal(counter(0), 0);
	run_to_out(0);
	assert_int_equal(counter(0), 1);
	assert_int_equal(cpus[0].run->if_flag, 1);
	assert_int_equal(cpus[0].run->ready_for_interrupt_injection, 1);
	assert_true(cpus[0].run->apic_base == 0xfee00d00);
}

static void test_vcpu_higher_vector_comes_first(void **state)
{
	struct code c = begin_code(CODE);

	(void)state;
	on_interrupt(0x60, 0);
	on_interrupt(0x90, 1);
	/* the handler of 90h notes how many of 60h it has seen: none */
	x2_on(&c, true);
	wrmsr(&c, 0x83f, 0x60);
	wrmsr(&c, 0x83f, 0x90);
	BYTES(&c, "\xfb\x90"); /* one instruction behind the shadow */
	out(&c);
	cpu_at(0, CODE);
	ram[HANDLER + 0x40] = 0xe6; /* of 90h: out first */
	ram[HANDLER + 0x41] = PORT;
	ram[HANDLER + 0x42] = 0xf4;
	run_to_out(0);
	assert_int_equal(counter(0), 0);
}

static void test_vcpu_timer_wakes_hlt_inside_kvm_run(void **state)
{
	struct code c = begin_code(CODE);
	double began;

	(void)state;
	on_interrupt(0x61, 0);
	x2_on(&c, true);
	wrmsr(&c, 0x83e, 0xb);      /* divide by 1 */
	wrmsr(&c, 0x832, 0x61);     /* one-shot */
	wrmsr(&c, 0x838, 20000000); /* 20 ms */
	BYTES(&c, "\xfb\xf4");
	out(&c);
	cpu_at(0, CODE);
	began = seconds();
	run_to_out(0);
	assert_int_equal(counter(0), 1);
	assert_true(seconds() - began >= 0.02);
	assert_true(seconds() - began < 2);
}

static void test_vcpu_periodic_timer_interrupts_a_loop(void **state)
{
	struct code c = begin_code(CODE);

	(void)state;
	on_interrupt(0x61, 0);
	x2_on(&c, true);
	wrmsr(&c, 0x83e, 0xb);
	wrmsr(&c, 0x832, 0x61 | 1 << 17);
	wrmsr(&c, 0x838, 1000000); /* 1 ms */
	BYTES(&c, "\xfb");
	BYTES(&c, "\x66\x83\x3e\x00\x50\x0a\x72\xf8"); /* cmp dword [counter 0], 10; jb loop */
	out(&c);
	cpu_at(0, CODE);
	run_to_out(0);
	assert_in_range(counter(0), 10, 100); /* more may come before the OUT */
}

static void test_vcpu_tsc_deadline_wakes_hlt(void **state)
{
	struct code c = begin_code(CODE);
	struct cpuid_list list;

	(void)state;
	list.header.nent = 256;
	assert_int_equal(FD_IOCTL(m.kvm, KVM_GET_SUPPORTED_CPUID, &list), 0);
	for (unsigned i = 0; i < list.header.nent; i++) {
		if (list.entry[i].function == 1)
			list.entry[i].ecx |= 1u << 24; /* as with KVM_CAP_TSC_DEADLINE_TIMER */
	}
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_SET_CPUID2, &list), 0);
	on_interrupt(0x61, 0);
	x2_on(&c, true);
	wrmsr(&c, 0x832, 0x61 | 2 << 17);
	BYTES(&c, "\x0f\x31");           /* rdtsc */
	imm(&c, "\x66\x05", 2, 4000000); /* add eax, …: 1 or 2 ms */
	BYTES(&c, "\x66\x83\xd2\x00");   /* adc edx, 0 */
	imm(&c, "\x66\xb9", 2, 0x6e0);
	BYTES(&c, "\x0f\x30\xfb\xf4"); /* wrmsr; sti; hlt */
	out(&c);
	cpu_at(0, CODE);
	run_to_out(0);
	assert_int_equal(counter(0), 1);
}

static void on_alarm(int signal)
{
	(void)signal;
}

static void test_vcpu_signal_ends_hlt_and_the_vcpu_stays_halted(void **state)
{
	const struct itimerval in_20_ms = { .it_value.tv_usec = 20000 };
	struct sigaction action = { .sa_handler = on_alarm };
	struct code c = begin_code(CODE);

	(void)state;
	BYTES(&c, "\xfb\xf4");
	out(&c);
	cpu_at(0, CODE);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &in_20_ms, NULL);
	assert_int_equal(fd_ioctl(cpus[0].fd, KVM_RUN, 0), -EINTR);
	assert_int_equal(cpus[0].run->exit_reason, KVM_EXIT_INTR);
	assert_int_equal(mp_state(0), KVM_MP_STATE_HALTED);
	assert_int_equal(set_mp_state(0, KVM_MP_STATE_RUNNABLE), 0);
	run_to_out(0);
}

static void test_vcpu_nmi_wakes_hlt_with_interrupts_off(void **state)
{
	struct code c = begin_code(CODE);

	(void)state;
	on_interrupt(2, 0);
	x2_on(&c, true);
	out(&c);
	out(&c);
	cpu_at(0, CODE);
	run_to_out(0);
	assert_int_equal(set_mp_state(0, KVM_MP_STATE_HALTED), 0);
	assert_int_equal(fd_ioctl(cpus[0].fd, KVM_NMI, 0), 0);
	run_to_out(0);
	assert_int_equal(counter(0), 1);
}

/* ------------------------------------------------------------------ several vCPUs */

static void test_vcpu_others_wait_for_init_and_sipi(void **state)
{
	struct code c = begin_code(CODE), ap = begin_code(AP_CODE);
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	pthread_t thread;

	(void)state;
	assert_int_equal(mp_state(0), KVM_MP_STATE_RUNNABLE);
	assert_int_equal(mp_state(1), KVM_MP_STATE_UNINITIALIZED);
	x2_on(&c, true);
	wrmsr(&c, 0x830, 1ull << 32 | 0x4500);                 /* INIT */
	wrmsr(&c, 0x830, 1ull << 32 | 0x4600 | AP_CODE >> 12); /* SIPI */
	out(&c);
	out(&ap);
	thread = cpu_thread(1);
	cpu_at(0, CODE);
	run_to_out(0);
	cpu_join(thread);
	assert_int_equal(FD_IOCTL(cpus[1].fd, KVM_GET_REGS, &regs), 0);
	assert_int_equal(FD_IOCTL(cpus[1].fd, KVM_GET_SREGS, &sregs), 0);
	assert_int_equal(sregs.tr.type, 11); /* a 32-bit TSS: else there is no way into long mode */
	assert_int_equal(sregs.cs.selector, AP_CODE >> 4);
	assert_true(sregs.cs.base == AP_CODE);
	assert_true(regs.rip <= 2); /* on the OUT or behind it */
	assert_int_equal(mp_state(1), KVM_MP_STATE_RUNNABLE);
}

static void test_vcpu_uninitialized_run_says_eagain_after_init(void **state)
{
	struct code c = begin_code(CODE);

	(void)state;
	cpus[1].run->immediate_exit = 1;
	assert_int_equal(fd_ioctl(cpus[1].fd, KVM_RUN, 0), -EINTR);
	cpus[1].run->immediate_exit = 0;
	x2_on(&c, true);
	wrmsr(&c, 0x830, 1ull << 32 | 0x4500);
	out(&c);
	cpu_at(0, CODE);
	run_to_out(0);
	assert_int_equal(fd_ioctl(cpus[1].fd, KVM_RUN, 0), -EAGAIN);
	assert_int_equal(mp_state(1), KVM_MP_STATE_INIT_RECEIVED);
}

/* Two vCPUs send each other an IPI, wait in HLT for the other's, and so on. */
static void test_vcpu_ipis_go_to_and_fro(void **state)
{
	enum { ROUNDS = 500 };
	double began;
	pthread_t thread;

	(void)state;
	on_interrupt(0x70, 0);
	on_interrupt(0x71, 1);
	for (unsigned i = 0; i < 2; i++) {
		struct code c = begin_code(CODE + i * 0x200);
		const uint32_t rounds = ROUNDS;
		const uint8_t *loop;

		x2_on(&c, i == 0);
		BYTES(&c, "\x66\xbe"); /* mov esi, ROUNDS */
		bytes(&c, &rounds, 4);
		loop = c.at;
		if (i == 0)
			wrmsr(&c, 0x830, 1ull << 32 | 0x4071);
		BYTES(&c, "\xfb\xf4\xfa"); /* sti; hlt; cli */
		if (i == 1)
			wrmsr(&c, 0x830, 0ull << 32 | 0x4070);
		BYTES(&c, "\x66\x4e\x0f\x85"); /* dec esi; jnz loop */
		int16_t back = (int16_t)(loop - (c.at + 2));

		bytes(&c, &back, 2);
		out(&c);
	}
	set_mp_state(1, KVM_MP_STATE_RUNNABLE);
	cpu_at(0, CODE);
	cpu_at(1, CODE + 0x200);
	/* it must be on before it is sent to */
	began = seconds();
	thread = cpu_thread(1);
	nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
	run_to_out(0);
	cpu_join(thread);
	assert_int_equal(counter(0), ROUNDS);
	assert_int_equal(counter(1), ROUNDS);
	print_message("%u IPIs to and fro: %.1f us each\n", ROUNDS,
		      (seconds() - began - 0.02) * 1e6 / (2 * ROUNDS));
	assert_true(seconds() - began < 2); /* each wakes the other: it does not look by itself */
}

/* Nobody has more than three times as much of the processor as the other. */
static void test_vcpu_spinning_ones_share_the_processor(void **state)
{
	double began;
	pthread_t thread[2];
	uint32_t n[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct code c = begin_code(CODE + i * 0x100);
		const uint16_t address = (uint16_t)(COUNTERS + 4 * i);
		const uint8_t *loop = c.at;

		BYTES(&c, "\x66\xff\x06"); /* inc dword [counter i] */
		bytes(&c, &address, 2);
		BYTES(&c, "\x80\x3e\x00\x60\x00\x74"); /* cmp byte [6000h], 0; je loop */
		*c.at = (uint8_t)(loop - (c.at + 1));
		c.at++;
		out(&c);
		set_mp_state(i, KVM_MP_STATE_RUNNABLE);
		cpu_at(i, CODE + i * 0x100);
	}
	began = seconds();
	thread[0] = cpu_thread(0);
	thread[1] = cpu_thread(1);
	while (seconds() - began < 0.3)
		nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
	n[0] = counter(0);
	n[1] = counter(1);
	__atomic_store_n(ram + 0x6000, 1, __ATOMIC_SEQ_CST);
	cpu_join(thread[0]);
	cpu_join(thread[1]);
	print_message("two spinning vCPUs: %u and %u rounds\n", n[0], n[1]);
	assert_true(n[0] > 0 && n[1] > 0);
	assert_true(n[0] / 3 < n[1] && n[1] / 3 < n[0]);
}

/* ------------------------------------------------------------------ what the monitor sets and sees */

static void test_vcpu_mp_states_need_a_local_apic_here(void **state)
{
	static const uint32_t states[] = {
		KVM_MP_STATE_UNINITIALIZED, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_HALTED,
		KVM_MP_STATE_AP_RESET_HOLD, KVM_MP_STATE_RUNNABLE,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		assert_int_equal(set_mp_state(0, states[i]), 0);
		assert_int_equal(mp_state(0), states[i]);
	}
	assert_int_equal(set_mp_state(0, KVM_MP_STATE_STOPPED), -EINVAL);
	assert_int_equal(set_mp_state(0, 77), -EINVAL);
}

static void test_vcpu_sipi_received_starts_at_the_vector_of_events(void **state)
{
	struct kvm_vcpu_events events;
	struct code ap = begin_code(AP_CODE);

	(void)state;
	out(&ap);
	assert_int_equal(FD_IOCTL(cpus[1].fd, KVM_GET_VCPU_EVENTS, &events), 0);
	events.flags = KVM_VCPUEVENT_VALID_SIPI_VECTOR;
	events.sipi_vector = AP_CODE >> 12;
	assert_int_equal(FD_IOCTL(cpus[1].fd, KVM_SET_VCPU_EVENTS, &events), 0);
	assert_int_equal(set_mp_state(1, KVM_MP_STATE_SIPI_RECEIVED), 0);
	assert_int_equal(mp_state(1), KVM_MP_STATE_RUNNABLE);
	run_to_out(1);
}

static void test_vcpu_latched_init_is_an_event(void **state)
{
	struct kvm_vcpu_events events;

	(void)state;
	assert_int_equal(FD_IOCTL(cpus[1].fd, KVM_GET_VCPU_EVENTS, &events), 0);
	assert_int_equal(events.smi.latched_init, 0);
	events.flags = KVM_VCPUEVENT_VALID_SMM;
	events.smi.latched_init = 1;
	assert_int_equal(FD_IOCTL(cpus[1].fd, KVM_SET_VCPU_EVENTS, &events), 0);
	assert_int_equal(FD_IOCTL(cpus[1].fd, KVM_GET_VCPU_EVENTS, &events), 0);
	assert_int_equal(events.smi.latched_init, 1);
	assert_int_equal(mp_state(1), KVM_MP_STATE_INIT_RECEIVED);
}

static void test_vcpu_interrupt_ioctl_is_for_split_ones(void **state)
{
	struct kvm_interrupt irq = { 0x60 };

	(void)state;
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_INTERRUPT, &irq), -ENXIO);
	irq.irq = 256;
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_INTERRUPT, &irq), -EINVAL);
}

static void test_vcpu_split_takes_the_monitors_extint(void **state)
{
	struct kvm_interrupt irq = { 0x62 };
	struct code c = begin_code(CODE);

	(void)state;
	on_interrupt(0x62, 0);
	x2_on(&c, true);
	wrmsr(&c, 0x835, 0x700); /* LINT0: ExtINT */
	out(&c);
	BYTES(&c, "\xfb\x90\x90");
	out(&c);
	cpu_at(0, CODE);
	run_to_out(0);
	assert_int_equal(cpus[0].run->ready_for_interrupt_injection, 0);
	cpus[0].run->request_interrupt_window = 1;
	assert_int_equal(fd_ioctl(cpus[0].fd, KVM_RUN, 0), 0);
	assert_int_equal(cpus[0].run->exit_reason, KVM_EXIT_IRQ_WINDOW_OPEN);
	assert_int_equal(cpus[0].run->ready_for_interrupt_injection, 1);
	cpus[0].run->request_interrupt_window = 0;
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_INTERRUPT, &irq), 0);
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_INTERRUPT, &irq), -EEXIST);
	run_to_out(0);
	assert_int_equal(counter(0), 1);
}

/* A level-triggered interrupt of the monitor's own I/O APIC, which has to hear of its end. */
static void test_vcpu_split_tells_the_end_of_a_level(void **state)
{
	struct {
		struct kvm_irq_routing header;
		struct kvm_irq_routing_entry entry;
	} routes = {
		.header.nr = 1,
		.entry = { .gsi = 4,
			   .type = KVM_IRQ_ROUTING_MSI,
			   .u.msi = { .address_lo = 0xfee00000, .data = 0xc063 } },
	};
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0xc063 };
	struct kvm_msi edge = { .address_lo = 0xfee00000, .data = 0x0064 };
	struct code c = begin_code(CODE);

	(void)state;
	on_interrupt(0x63, 0);
	on_interrupt(0x64, 1);
	x2_on(&c, true);
	out(&c);
	BYTES(&c, "\xfb\x90\x90");
	out(&c);
	cpu_at(0, CODE);
	assert_int_equal(FD_IOCTL(m.vm, KVM_SET_GSI_ROUTING, &routes), 0);
	run_to_out(0);
	assert_int_equal(FD_IOCTL(m.vm, KVM_SIGNAL_MSI, &edge), 1);
	assert_int_equal(FD_IOCTL(m.vm, KVM_SIGNAL_MSI, &msi), 1);
	assert_int_equal(fd_ioctl(cpus[0].fd, KVM_RUN, 0), 0);
	assert_int_equal(cpus[0].run->exit_reason, KVM_EXIT_IOAPIC_EOI);
	assert_int_equal(cpus[0].run->eoi.vector, 0x63);
	run_to_out(0);
	assert_int_equal(counter(0), 1);
	assert_int_equal(counter(1), 1);
}

static void *send_msi(void *unused)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x65 };

	(void)unused;
	nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
	return (void *)FD_IOCTL(m.vm, KVM_SIGNAL_MSI, &msi);
}

static void test_vcpu_message_from_another_thread_ends_hlt(void **state)
{
	struct code c = begin_code(CODE);
	pthread_t thread;
	void *taken;

	(void)state;
	on_interrupt(0x65, 0);
	x2_on(&c, true);
	BYTES(&c, "\xfb\xf4");
	out(&c);
	cpu_at(0, CODE);
	assert_int_equal(pthread_create(&thread, NULL, send_msi, NULL), 0);
	run_to_out(0);
	assert_int_equal(counter(0), 1);
	pthread_join(thread, &taken);
	assert_int_equal((long)taken, 1);
}

static void test_vcpu_cr8_and_task_priority_are_one(void **state)
{
	struct kvm_lapic_state s;
	struct kvm_sregs sregs;
	const uint32_t tpr = 0x12345635; /* it is taken as it comes */

	(void)state;
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cr8 = 7;
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_SET_SREGS, &sregs), 0);
	s = lapic_state(0);
	assert_int_equal(state_reg(&s, LAPIC_TPR), 0x70);
	memcpy(s.regs + LAPIC_TPR, &tpr, 4);
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_SET_LAPIC, &s), 0);
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_GET_SREGS, &sregs), 0);
	assert_int_equal(sregs.cr8, 3);
	s = lapic_state(0);
	assert_int_equal(state_reg(&s, LAPIC_TPR), tpr);
}

static void test_vcpu_raised_cr8_holds_an_interrupt_back(void **state)
{
	struct code c = begin_code(CODE);

	(void)state;
	on_interrupt(0x60, 0);
	x2_on(&c, true);
	wrmsr(&c, 0x808, 0x60);
	wrmsr(&c, 0x83f, 0x60);
	BYTES(&c, "\xfb\x90\x90");
	out(&c);
	wrmsr(&c, 0x808, 0x50);
	BYTES(&c, "\x90\x90");
	out(&c);
	cpu_at(0, CODE);
	run_to_out(0);
	assert_int_equal(counter(0), 0);
	assert_true(cpus[0].run->cr8 == 6);
	run_to_out(0);
	assert_int_equal(counter(0), 1);
}

static long msr(unsigned i, unsigned long request, uint32_t index, uint64_t *value)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} list = { .header.nmsrs = 1, .entry = { .index = index, .data = *value } };
	long r = FD_IOCTL(cpus[i].fd, request, &list);

	*value = list.entry.data;
	return r;
}

static void test_vcpu_apic_base_goes_where_the_manual_lets_it(void **state)
{
	/* SDM figure 11-27; the monitor may do what the guest may not: kvm_apic_set_base() */
	static const struct {
		uint64_t from, to;
		bool guest, host;
	} table[] = {
		{ 0xfee00900, 0xfee00d00, true, true },   /* xAPIC to x2APIC */
		{ 0xfee00d00, 0xfee00900, false, true },  /* and back */
		{ 0xfee00d00, 0xfee00100, true, true },   /* off */
		{ 0xfee00100, 0xfee00d00, false, true },  /* off to x2APIC */
		{ 0xfee00900, 0xfee00500, false, false }, /* x2APIC without enable */
		{ 0xfee00900, 0xfed00900, true, true },   /* the page moves */
		{ 0xfee00900, 0xfee00901, false, false }, /* reserved */
	};
	struct shim_vcpu *v = newest_vm()->vcpu[0];
	uint64_t value;

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		value = table[i].from;
		assert_int_equal(msr(0, KVM_SET_MSRS, 0x1b, &value), 1);
		assert_int_equal(lapic_set_msr(v, 0x1b, table[i].to, false),
				 table[i].guest ? 0 : -EINVAL);
		value = table[i].from;
		assert_int_equal(msr(0, KVM_SET_MSRS, 0x1b, &value), 1);
		value = table[i].to;
		assert_int_equal(msr(0, KVM_SET_MSRS, 0x1b, &value), table[i].host);
		value = 0;
		assert_int_equal(msr(0, KVM_GET_MSRS, 0x1b, &value), 1);
		assert_true(value == (table[i].host ? table[i].to : table[i].from));
	}
}

static void test_vcpu_x2_msrs_are_the_monitors_too(void **state)
{
	uint64_t value = 0xfee00d00;

	(void)state;
	assert_int_equal(msr(0, KVM_GET_MSRS, 0x803, &value), 0); /* not in xAPIC mode */
	value = 0xfee00d00;
	assert_int_equal(msr(0, KVM_SET_MSRS, 0x1b, &value), 1);
	assert_int_equal(msr(0, KVM_GET_MSRS, 0x803, &value), 1);
	assert_int_equal(value & 0xff, 0x14);
	value = 0x22;
	assert_int_equal(msr(0, KVM_SET_MSRS, 0x808, &value), 1);
	assert_int_equal(msr(0, KVM_SET_MSRS, 0x803, &value), 0);
}

static void test_vcpu_without_irqchip_has_no_lapic_ioctls(void **state)
{
	struct kvm_lapic_state s;
	struct kvm_vapic_addr va = { 0 };
	uint64_t value = 0;

	(void)state;
	guest_vm_start();
	cpu_start(0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_LAPIC, &s), -EINVAL);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_LAPIC, &s), -EINVAL);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_VAPIC_ADDR, &va), -EINVAL);
	assert_int_equal(set_mp_state(0, KVM_MP_STATE_HALTED), -EINVAL);
	assert_int_equal(msr(0, KVM_GET_MSRS, 0x802, &value), 0);
	value = 77;
	assert_int_equal(msr(0, KVM_SET_MSRS, 0x6e0, &value), 1);
	assert_int_equal(msr(0, KVM_GET_MSRS, 0x6e0, &value), 1);
	assert_int_equal(value, 0);
	guest_stop();
}

static void test_vcpu_lapic_ioctls_check_their_arguments(void **state)
{
	struct kvm_vapic_addr va = { RAM_SIZE };

	(void)state;
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_GET_LAPIC, 8), -EFAULT);
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_SET_LAPIC, 8), -EFAULT);
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_SET_VAPIC_ADDR, 8), -EFAULT);
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_SET_VAPIC_ADDR, &va), -EINVAL);
	va.vapic_addr = 0x9000;
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_SET_VAPIC_ADDR, &va), 0);
}

/* ------------------------------------------------------------------ the page, from protected mode */

static void protected_mode_at(uint32_t rip)
{
	struct kvm_regs regs = { .rip = rip, .rflags = 2, .rsp = 0x8000 };
	struct kvm_sregs s;
	struct kvm_segment flat = {
		.limit = 0xffffffff, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1, .selector = 8
	};

	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_GET_SREGS, &s), 0);
	s.cr0 |= 1;
	s.ds = s.es = s.ss = flat;
	flat.type = 11;
	s.cs = flat;
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_SET_SREGS, &s), 0);
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_SET_REGS, &regs), 0);
}

#define STORE_AT_6000 "\xa3\x00\x60\x00\x00" /* mov [6000h], eax */
#define OUT           "\xe6\x10"

static uint32_t stored(void)
{
	uint32_t value;

	memcpy(&value, ram + 0x6000, 4);
	return value;
}

static void test_vcpu_page_is_read_and_written(void **state)
{
	struct code c = begin_code(CODE);
	uint64_t base = 0xfee00100;

	(void)state;
	BYTES(&c, "\xa1\x30\x00\xe0\xfe" STORE_AT_6000 OUT);         /* version */
	BYTES(&c, "\xc7\x05\x80\x00\xe0\xfe\x42\x00\x00\x00" OUT);   /* TPR = 42h */
	BYTES(&c, "\x31\xc0\xa1\xa0\x00\xe0\xfe" STORE_AT_6000 OUT); /* PPR */
	BYTES(&c, "\xa1\x30\x00\xe0\xfe" STORE_AT_6000 OUT);         /* off: a hole */
	protected_mode_at(CODE);
	run_to_out(0);
	assert_int_equal(stored(), 0x50014);
	run_to_out(0);
	assert_true(cpus[0].run->cr8 == 4);
	run_to_out(0);
	assert_int_equal(stored(), 0x42);
	assert_int_equal(msr(0, KVM_SET_MSRS, 0x1b, &base), 1);
	run_to_out(0);
	assert_int_equal(stored(), 0xffffffff);
}

static void test_vcpu_hole_is_the_monitors_without_the_quirk(void **state)
{
	struct code c = begin_code(CODE);
	uint64_t base = 0xfee00100;

	(void)state;
	assert_int_equal(enable(m.vm, KVM_CAP_DISABLE_QUIRKS, 0, QUIRK_LAPIC_MMIO_HOLE), 0);
	BYTES(&c, "\xa1\x30\x00\xe0\xfe" OUT);
	protected_mode_at(CODE);
	assert_int_equal(msr(0, KVM_SET_MSRS, 0x1b, &base), 1);
	assert_int_equal(fd_ioctl(cpus[0].fd, KVM_RUN, 0), 0);
	assert_int_equal(cpus[0].run->exit_reason, KVM_EXIT_MMIO);
	assert_true(cpus[0].run->mmio.phys_addr == 0xfee00030);
}

static void test_vcpu_tpr_accesses_are_told_if_asked_for(void **state)
{
	struct kvm_tpr_access_ctl ctl = { .enabled = 1 };
	struct code c = begin_code(CODE);

	(void)state;
	BYTES(&c, "\xc7\x05\x80\x00\xe0\xfe\x42\x00\x00\x00"); /* 10 bytes */
	BYTES(&c, "\xa1\x80\x00\xe0\xfe" OUT);
	protected_mode_at(CODE);
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_TPR_ACCESS_REPORTING, &ctl), 0);
	assert_int_equal(fd_ioctl(cpus[0].fd, KVM_RUN, 0), 0);
	assert_int_equal(cpus[0].run->exit_reason, KVM_EXIT_TPR_ACCESS);
	assert_int_equal(cpus[0].run->tpr_access.is_write, 1);
	assert_true(cpus[0].run->tpr_access.rip == CODE);
	assert_int_equal(fd_ioctl(cpus[0].fd, KVM_RUN, 0), 0);
	assert_int_equal(cpus[0].run->exit_reason, KVM_EXIT_TPR_ACCESS);
	assert_int_equal(cpus[0].run->tpr_access.is_write, 0);
	assert_true(cpus[0].run->tpr_access.rip == CODE + 10);
	run_to_out(0);
}

static void test_vcpu_vapic_page_holds_the_priority(void **state)
{
	struct kvm_vapic_addr va = { 0x9000 };
	struct code c = begin_code(CODE);
	struct kvm_lapic_state s;

	(void)state;
	BYTES(&c,
	      "\xc6\x05\x00\x90\x00\x00\x51" OUT); /* mov byte [9000h], 51h: the patched guest's TPR */
	protected_mode_at(CODE);
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_SET_VAPIC_ADDR, &va), 0);
	run_to_out(0);
	s = lapic_state(0);
	assert_int_equal(state_reg(&s, LAPIC_TPR), 0x51);
	assert_true(cpus[0].run->cr8 == 5);
}

/* Long mode with 2 MiB onto themselves, a handler of vector 60h in 64-bit code. */
static void long_mode_at(uint32_t rip)
{
	static const uint64_t gdt[] = { 0, 0x00af9a000000ffff };
	const uint64_t tables[] = { 0x11003, 0x12003, 0x83 };
	const uint64_t gate = HANDLER | 0x8ull << 16 | 0x8eull << 40;
	struct kvm_regs regs = { .rip = rip, .rflags = 2, .rsp = 0x8000 };
	struct kvm_sregs s;

	for (unsigned i = 0; i < 3; i++)
		memcpy(ram + 0x10000 + i * 0x1000, &tables[i], 8);
	memcpy(ram + 0x13000 + 0x60 * 16, &gate, 8);
	memcpy(ram + 0x14000, gdt, sizeof(gdt));
	memcpy(ram + HANDLER, "\xff\x04\x25\x00\x50\x00\x00\x48\xcf", 9); /* inc; iretq */
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_GET_SREGS, &s), 0);
	s.cr0 |= 0x80000001;
	s.cr3 = 0x10000;
	s.cr4 |= 0x20;
	s.efer |= 0x500;
	s.gdt.base = 0x14000;
	s.gdt.limit = sizeof(gdt) - 1;
	s.idt.base = 0x13000;
	s.idt.limit = 0xfff;
	s.cs = (struct kvm_segment){
		.limit = 0xffffffff, .type = 11, .present = 1, .l = 1, .s = 1, .g = 1, .selector = 8
	};
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_SET_SREGS, &s), 0);
	assert_int_equal(FD_IOCTL(cpus[0].fd, KVM_SET_REGS, &regs), 0);
}

static void test_vcpu_lowered_cr8_lets_an_interrupt_through(void **state)
{
	uint64_t x2 = 0xfee00d00, on = 0x1ff, vector = 0x60;
	struct code c = begin_code(CODE);

	(void)state;
	BYTES(&c, "\xb8\x08\x00\x00\x00\x44\x0f\x22\xc0"); /* mov eax, 8; mov cr8, rax */
	BYTES(&c, "\xfb\x90" OUT);
	BYTES(&c, "\xb8\x03\x00\x00\x00\x44\x0f\x22\xc0\x90\x90" OUT);
	assert_int_equal(msr(0, KVM_SET_MSRS, 0x1b, &x2), 1);
	assert_int_equal(msr(0, KVM_SET_MSRS, 0x80f, &on), 1);
	long_mode_at(CODE);
	run_to_out(0);
	assert_true(cpus[0].run->cr8 == 8);
	assert_int_equal(msr(0, KVM_SET_MSRS, 0x83f, &vector), 1);
	run_to_out(0);
	assert_int_equal(counter(0), 1);
	assert_true(cpus[0].run->cr8 == 3);
}

/* ------------------------------------------------------------------ capabilities */

static void test_vcpu_bus_frequency_is_chosen_before_the_first_vcpu(void **state)
{
	(void)state;
	guest_vm_start();
	assert_int_equal(enable(m.vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 0, 0), -EINVAL);
	assert_int_equal(enable(m.vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 0, 40), -ENXIO);
	assert_int_equal(fd_ioctl(m.vm, KVM_CREATE_IRQCHIP, 0), 0);
	assert_int_equal(enable(m.vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 0, 40), 0);
	assert_int_equal(enable(m.vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 0, 1ull << 60), -EINVAL);
	cpu_start(0);
	assert_int_equal(enable(m.vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 0, 40), -EINVAL);
	assert_int_equal(newest_vm()->irqchip->bus_cycle_ns, 40);
	assert_int_equal(enable(m.vm, KVM_CAP_X2APIC_API, 0, 4), -EINVAL);
	assert_int_equal(enable(m.vm, KVM_CAP_X2APIC_API, 0, 3), 0);
	guest_stop();
}

#define ONE(f) cmocka_unit_test_setup_teardown(f, start_1, stop_1)
#define TWO(f) cmocka_unit_test_setup_teardown(f, start_2, stop_2)
int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(test_vcpu_self_ipi_interrupts_when_the_guest_allows_it),
		ONE(test_vcpu_higher_vector_comes_first),
		ONE(test_vcpu_timer_wakes_hlt_inside_kvm_run),
		ONE(test_vcpu_periodic_timer_interrupts_a_loop),
		ONE(test_vcpu_tsc_deadline_wakes_hlt),
		ONE(test_vcpu_signal_ends_hlt_and_the_vcpu_stays_halted),
		ONE(test_vcpu_nmi_wakes_hlt_with_interrupts_off),
		TWO(test_vcpu_others_wait_for_init_and_sipi),
		TWO(test_vcpu_uninitialized_run_says_eagain_after_init),
		TWO(test_vcpu_ipis_go_to_and_fro),
		TWO(test_vcpu_spinning_ones_share_the_processor),
		ONE(test_vcpu_mp_states_need_a_local_apic_here),
		TWO(test_vcpu_sipi_received_starts_at_the_vector_of_events),
		TWO(test_vcpu_latched_init_is_an_event),
		ONE(test_vcpu_interrupt_ioctl_is_for_split_ones),
		cmocka_unit_test_setup_teardown(test_vcpu_split_takes_the_monitors_extint,
						start_split, stop_1),
		cmocka_unit_test_setup_teardown(test_vcpu_split_tells_the_end_of_a_level,
						start_split, stop_1),
		ONE(test_vcpu_message_from_another_thread_ends_hlt),
		ONE(test_vcpu_cr8_and_task_priority_are_one),
		ONE(test_vcpu_raised_cr8_holds_an_interrupt_back),
		ONE(test_vcpu_apic_base_goes_where_the_manual_lets_it),
		ONE(test_vcpu_x2_msrs_are_the_monitors_too),
		cmocka_unit_test(test_vcpu_without_irqchip_has_no_lapic_ioctls),
		ONE(test_vcpu_lapic_ioctls_check_their_arguments),
		ONE(test_vcpu_page_is_read_and_written),
		ONE(test_vcpu_hole_is_the_monitors_without_the_quirk),
		ONE(test_vcpu_tpr_accesses_are_told_if_asked_for),
		ONE(test_vcpu_vapic_page_holds_the_priority),
		ONE(test_vcpu_lowered_cr8_lets_an_interrupt_through),
		cmocka_unit_test(test_vcpu_bus_frequency_is_chosen_before_the_first_vcpu),
	};
	return cmocka_run_group_tests(tests, guest_configure, NULL);
}
