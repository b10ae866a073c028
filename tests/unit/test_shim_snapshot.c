// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a monitor saves of one VM and loads into another is the same machine: each GET there gives what
 * the GET here gave, and the guest goes on as if nothing had happened. Over the emulated processor.
 */
#include "tests/unit/irqchip_vm.h"
#include "vmm_shim/irqchip/lapic.h"

#define MSRS_MAX 256

struct snapshot {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_sregs2 sregs2;
	struct kvm_fpu fpu;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debug;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp;
	struct kvm_clock_data clock;
	struct cpuid_list cpuid;
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry[MSRS_MAX];
	} msrs;
	struct kvm_lapic_state lapic;
	struct kvm_irqchip chips[3];
	struct kvm_pit_state2 pit;
	uint8_t *memory;
	uint64_t dirty[RAM_SIZE / 4096 / 64];
};

/* One list for both ways; `g`: the request that gets, `s`: that sets. In the order of QEMU's. */
#define VCPU_STATE(F)                                       \
	F(KVM_GET_SREGS2, KVM_SET_SREGS2, sregs2)           \
	F(KVM_GET_REGS, KVM_SET_REGS, regs)                 \
	F(KVM_GET_XSAVE, KVM_SET_XSAVE, xsave)              \
	F(KVM_GET_XCRS, KVM_SET_XCRS, xcrs)                 \
	F(KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, debug)      \
	F(KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, events) \
	F(KVM_GET_MP_STATE, KVM_SET_MP_STATE, mp)

#define MUST(call) assert_int_equal(call, 0)

static uint64_t seed;
static uint64_t next(void) /* xorshift64* */
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 0x2545f4914f6cdd1dull;
}

static void list_msrs(struct snapshot *s)
{
	struct {
		uint32_t n, index[MSRS_MAX];
	} list = { .n = MSRS_MAX };

	MUST(FD_IOCTL(m.kvm, KVM_GET_MSR_INDEX_LIST, &list));
	s->msrs.header.nmsrs = list.n;
	for (uint32_t i = 0; i < list.n; i++)
		s->msrs.entry[i].index = list.index[i];
}

static void save(struct snapshot *s, bool irqchip)
{
#define GET(g, set, member) MUST(FD_IOCTL(m.vcpu, g, &s->member));
	VCPU_STATE(GET)
#undef GET
	MUST(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &s->sregs));
	MUST(FD_IOCTL(m.vcpu, KVM_GET_FPU, &s->fpu));
	s->cpuid.header.nent = 256;
	MUST(FD_IOCTL(m.vcpu, KVM_GET_CPUID2, &s->cpuid));
	list_msrs(s);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_MSRS, &s->msrs), s->msrs.header.nmsrs);
	MUST(FD_IOCTL(m.vm, KVM_GET_CLOCK, &s->clock));
	if (irqchip) {
		MUST(FD_IOCTL(m.vcpu, KVM_GET_LAPIC, &s->lapic));
		for (unsigned i = 0; i < 3; i++) {
			s->chips[i].chip_id = i;
			MUST(FD_IOCTL(m.vm, KVM_GET_IRQCHIP, &s->chips[i]));
		}
		MUST(FD_IOCTL(m.vm, KVM_GET_PIT2, &s->pit));
	}
	s->memory = malloc(RAM_SIZE);
	assert_non_null(s->memory);
	memcpy(s->memory, ram, RAM_SIZE);
}

static void load(struct snapshot *s, bool irqchip)
{
	struct kvm_clock_data clock = { .clock = s->clock.clock };

	memcpy(ram, s->memory, RAM_SIZE);
	MUST(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &s->cpuid));
	if (irqchip) {
		for (unsigned i = 0; i < 3; i++)
			MUST(FD_IOCTL(m.vm, KVM_SET_IRQCHIP, &s->chips[i]));
		MUST(FD_IOCTL(m.vm, KVM_SET_PIT2, &s->pit));
	}
	MUST(FD_IOCTL(m.vcpu, KVM_SET_SREGS2, &s->sregs2));
	if (irqchip)
		MUST(FD_IOCTL(m.vcpu, KVM_SET_LAPIC, &s->lapic));
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_MSRS, &s->msrs), s->msrs.header.nmsrs);
#define SET(get, g, member) MUST(FD_IOCTL(m.vcpu, g, &s->member));
	VCPU_STATE(SET)
#undef SET
	MUST(FD_IOCTL(m.vm, KVM_SET_CLOCK, &clock));
}

/* Time goes on meanwhile: in virtual time by nothing. */
static bool is_time(uint32_t index)
{
	return index == 0x10 || index == 0x6e0;
}

static void expect_equal(const struct snapshot *a, const struct snapshot *b, bool irqchip)
{
#define SAME(get, set, member) assert_memory_equal(&a->member, &b->member, sizeof(a->member));
	VCPU_STATE(SAME)
#undef SAME
	assert_memory_equal(&a->sregs, &b->sregs, sizeof(a->sregs));
	assert_memory_equal(&a->fpu, &b->fpu, sizeof(a->fpu));
	assert_memory_equal(&a->cpuid, &b->cpuid, sizeof(a->cpuid));
	for (uint32_t i = 0; i < a->msrs.header.nmsrs; i++) {
		const struct kvm_msr_entry *x = &a->msrs.entry[i], *y = &b->msrs.entry[i];

		if (!is_time(x->index) && x->data != y->data)
			fail_msg("MSR %#x: %#llx became %#llx", x->index, x->data, y->data);
	}
	assert_in_range(b->clock.clock, a->clock.clock, a->clock.clock + 10000000000);
	if (irqchip) {
		assert_memory_equal(&a->lapic, &b->lapic, sizeof(a->lapic));
		for (unsigned i = 0; i < 3; i++)
			assert_memory_equal(&a->chips[i], &b->chips[i], sizeof(a->chips[i]));
		for (unsigned i = 0; i < 3; i++) {
			struct kvm_pit_channel_state x = a->pit.channels[i], y = b->pit.channels[i];

			x.count_load_time = y.count_load_time = 0;
			assert_memory_equal(&x, &y, sizeof(x));
		}
	}
}

static void start(bool irqchip)
{
	const struct kvm_pit_config pit = { .flags = 0 };

	guest_vm_start();
	if (irqchip) {
		MUST(fd_ioctl(m.vm, KVM_CREATE_IRQCHIP, 0));
		MUST(FD_IOCTL(m.vm, KVM_CREATE_PIT2, &pit));
	}
	MUST(enable(m.vm, KVM_CAP_EXCEPTION_PAYLOAD, 0, 1));
	MUST(enable(m.vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 0, 1));
	irqchip_vcpu_start();
	chip = vm_object()->irqchip;
}

/* The machine ends, and another one with the same state begins. */
static void move(bool irqchip)
{
	static struct snapshot before, after;

	memset(&before, 0, sizeof(before));
	memset(&after, 0, sizeof(after));
	save(&before, irqchip);
	guest_stop();
	start(irqchip);
	load(&before, irqchip);
	save(&after, irqchip);
	expect_equal(&before, &after, irqchip);
	free(before.memory);
	free(after.memory);
}

/* ------------------------------------------------------------------ any state */

static void random_state(void)
{
	struct kvm_regs regs;
	struct kvm_fpu fpu, fpu_set;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs = { .nr_xcrs = 1 };
	struct kvm_debugregs debug = { 0 };
	struct kvm_vcpu_events events;
	struct kvm_sregs sregs;

	for (size_t i = 0; i < sizeof(regs) / 8; i++)
		((uint64_t *)&regs)[i] = next();
	regs.rflags = 2 | (next() & 0xcd5);
	regs.rip &= 0xffff;
	MUST(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs));

	MUST(FD_IOCTL(m.vcpu, KVM_GET_FPU, &fpu));
	for (unsigned i = 0; i < 16; i++)
		for (unsigned k = 0; k < 16; k++)
			fpu.xmm[i][k] = (uint8_t)next();
	for (unsigned i = 0; i < 8; i++)
		for (unsigned k = 0; k < 10; k++)
			fpu.fpr[i][k] = (uint8_t)next();
	fpu.fcw = (uint16_t)(0x40 | (next() & 0xf3f));
	fpu.fsw = (uint16_t)(next() & 0x7f00);
	fpu.ftwx = (uint8_t)next();
	fpu.last_opcode = (uint16_t)(next() & 0x7ff);
	fpu.last_ip = next();
	fpu.last_dp = next();
	MUST(FD_IOCTL(m.vcpu, KVM_SET_FPU, &fpu));
	MUST(FD_IOCTL(m.vcpu, KVM_GET_FPU, &fpu_set));
	assert_memory_equal(&fpu, &fpu_set, sizeof(fpu));
	MUST(FD_IOCTL(m.vcpu, KVM_GET_XSAVE, &xsave));
	xsave.region[6] = (uint32_t)(next() & 0xffbf); /* MXCSR */
	MUST(FD_IOCTL(m.vcpu, KVM_SET_XSAVE, &xsave));
	xcrs.xcrs[0].value = 1 | (next() & 2);
	MUST(FD_IOCTL(m.vcpu, KVM_SET_XCRS, &xcrs));

	for (unsigned i = 0; i < 4; i++)
		debug.db[i] = next() & 0x7fffffffffff;
	debug.dr6 = 0xffff0ff0 | (next() & 0xe00f);
	debug.dr7 = 0x400 | (next() & 0xffff03ff);
	MUST(FD_IOCTL(m.vcpu, KVM_SET_DEBUGREGS, &debug));

	MUST(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs));
	sregs.cr2 = next();
	sregs.cr8 = next() & 15;
	sregs.fs.base = next() & 0xffffffff;
	sregs.ds.selector = (uint16_t)next();
	sregs.idt.base = next() & 0xfffff;
	sregs.gdt.limit = (uint16_t)next();
	MUST(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs));

	MUST(FD_IOCTL(m.vcpu, KVM_GET_VCPU_EVENTS, &events));
	switch (next() % 4) {
	case 0: /* about to be raised, with a payload */
		events.exception.pending = 1;
		events.exception.nr = 14;
		events.exception.has_error_code = 1;
		events.exception.error_code = 2;
		events.exception_has_payload = 1;
		events.exception_payload = next();
		break;
	case 1: /* in the middle of its delivery */
		events.exception.injected = 1;
		events.exception.nr = 13;
		events.exception.has_error_code = 1;
		events.exception.error_code = (uint32_t)(next() & 0xfff8);
		break;
	case 2:
		events.interrupt.injected = 1;
		events.interrupt.nr = (uint8_t)next();
		break;
	default:
		events.nmi.pending = next() & 1;
		events.triple_fault.pending = next() & 1;
		break;
	}
	events.nmi.masked = next() & 1;
	events.interrupt.shadow = next() % 3;
	MUST(FD_IOCTL(m.vcpu, KVM_SET_VCPU_EVENTS, &events));
	for (unsigned i = 0; i < RAM_SIZE; i += 8)
		*(uint64_t *)(void *)(ram + i) = next();
}

static void test_snapshot_of_any_state_comes_back(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 40; i++) {
		bool irqchip = i & 1;

		seed = i * 0x9e3779b97f4a7c15ull;
		start(irqchip);
		random_state();
		move(irqchip);
		guest_stop();
	}
}

/* A fresh one: KVM's x87 and SSE are those of FNINIT, not those of RESET. */
static void test_snapshot_of_a_new_vcpu_has_initial_fpu(void **state)
{
	struct kvm_xsave xsave;
	struct kvm_fpu fpu;

	(void)state;
	start(false);
	MUST(FD_IOCTL(m.vcpu, KVM_GET_FPU, &fpu));
	assert_int_equal(fpu.fcw, 0x37f);
	assert_int_equal(fpu.ftwx, 0);
	MUST(FD_IOCTL(m.vcpu, KVM_GET_XSAVE, &xsave));
	assert_int_equal(xsave.region[6], 0x1f80);
	assert_int_equal(xsave.region[128], 0); /* nothing in use */
	assert_int_equal(xsave.region[116], 3); /* what could be */
	/* MXCSR is a part of SSE's state: without that it takes its initial value */
	xsave.region[128] = 1;
	xsave.region[6] = 0x1fc0;
	MUST(FD_IOCTL(m.vcpu, KVM_SET_XSAVE, &xsave));
	MUST(FD_IOCTL(m.vcpu, KVM_GET_XSAVE, &xsave));
	assert_int_equal(xsave.region[6], 0x1f80);
	xsave.region[128] = 2;
	xsave.region[6] = 0x1fc0;
	MUST(FD_IOCTL(m.vcpu, KVM_SET_XSAVE, &xsave));
	MUST(FD_IOCTL(m.vcpu, KVM_GET_XSAVE, &xsave));
	assert_int_equal(xsave.region[6], 0x1fc0);
	assert_int_equal(xsave.region[128], 2);
	guest_stop();
}

/* ------------------------------------------------------------------ the guest goes on */

#define HANDLER 0x2000u

/* Real mode: vector n goes to HANDLER + 16 n, which stops there. */
static void handlers(void)
{
	for (unsigned n = 0; n < 256; n++) {
		uint16_t *entry = (uint16_t *)(void *)(ram + n * 4);

		entry[0] = (uint16_t)(HANDLER + n * 16);
		entry[1] = 0;
		memcpy(ram + HANDLER + n * 16, "\xe6\x80\xf4", 3); /* out 80h, al; hlt */
	}
}

/* The vector whose handler the guest comes to. */
static unsigned vector_taken(void)
{
	MUST(run_once(&m));
	assert_int_equal(m.run->exit_reason, KVM_EXIT_IO);
	m.run->immediate_exit = 1;
	assert_int_equal(run_once(&m), -EINTR); /* the OUT is complete */
	m.run->immediate_exit = 0;
	return ((unsigned)regs_of(&m).rip - HANDLER) / 16;
}

static void test_snapshot_keeps_what_was_being_injected(void **state)
{
	static const struct {
		struct kvm_vcpu_events events;
		unsigned vector;
	} rows[] = {
		{ { .exception = { .injected = 1, .nr = 6 } }, 6 },
		{ { .exception = { .pending = 1, .nr = 13, .has_error_code = 1 } }, 13 },
		{ { .interrupt = { .injected = 1, .nr = 0x31 } }, 0x31 },
		{ { .nmi = { .injected = 1 } }, 2 },
		{ { .nmi = { .pending = 1 } }, 2 },
		/* one that waits for the instruction behind MOV SS */
		{ { .nmi = { .pending = 1 }, .interrupt = { .shadow = KVM_X86_SHADOW_INT_MOV_SS } },
		  2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kvm_vcpu_events events = rows[i].events;
		struct kvm_regs regs;

		start(false);
		handlers();
		LOAD("\x90\x90\xeb\xfe"); /* nop; nop; jmp $ */
		regs = regs_of(&m);
		regs.rflags |= 0x200; /* VM entry wants it for an interrupt */
		MUST(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs));
		events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
			       KVM_VCPUEVENT_VALID_PAYLOAD;
		MUST(FD_IOCTL(m.vcpu, KVM_SET_VCPU_EVENTS, &events));
		move(false);
		if (vector_taken() != rows[i].vector)
			fail_msg("row %zu: the guest is at %#llx", i, regs_of(&m).rip);
		guest_stop();
	}
}

/* An interrupt that is requested of the local APIC, and a vCPU that has halted. */
static void test_snapshot_keeps_a_halted_vcpu_and_its_requests(void **state)
{
	struct kvm_mp_state mp = { KVM_MP_STATE_HALTED };
	struct kvm_lapic_state lapic;
	struct kvm_regs regs;
	const struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x45 };

	(void)state;
	start(true);
	handlers();
	LOAD("\x90\xeb\xfd"); /* nop; jmp $ - 1 */
	regs = regs_of(&m);
	regs.rflags |= 0x200;
	MUST(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs));
	MUST(FD_IOCTL(m.vcpu, KVM_GET_LAPIC, &lapic));
	*(uint32_t *)(void *)(lapic.regs + 0xf0) = 0x1ff; /* enabled, spurious vector FFh */
	MUST(FD_IOCTL(m.vcpu, KVM_SET_LAPIC, &lapic));
	assert_true(FD_IOCTL(m.vm, KVM_SIGNAL_MSI, &msi) > 0);
	MUST(FD_IOCTL(m.vcpu, KVM_SET_MP_STATE, &mp));
	move(true);
	assert_int_equal(vector_taken(), 0x45);
	guest_stop();
}

/* Pages written before the first look, between two, and by the monitor's own call (never). */
static void set_msr(uint32_t index, uint64_t value)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} list = { .header.nmsrs = 1, .entry = { .index = index, .data = value } };

	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_MSRS, &list), 1);
}

/* Has the timer expired, of a guest that waits for its counter to become `tsc`? */
static bool deadline_is_over(uint64_t tsc)
{
	bool over;

	set_msr(0x6e0, tsc);
	lock_take(&chip->lock);
	over = lapic_timer_waits(vcpu->apic);
	lock_drop(&chip->lock);
	return over;
}

/* QEMU loads the local APIC first, then the counter, then the deadline. */
static void test_snapshot_deadline_is_one_of_the_counter_that_was_loaded(void **state)
{
	const uint64_t loaded = 1ull << 60, hours = 1ull << 45;
	struct kvm_device_attr attr = { .group = KVM_VCPU_TSC_CTRL,
					.attr = KVM_VCPU_TSC_OFFSET,
					.addr = (uintptr_t) & (uint64_t){ 1ull << 61 } };

	(void)state;
	start(true);
	lock_take(&chip->lock);
	lapic_features(vcpu->apic, true);
	MUST(lapic_write(vcpu->apic, LAPIC_SPURIOUS, 0x1ff));
	MUST(lapic_write(vcpu->apic, LAPIC_LVT_TIMER, LVT_TSC_DEADLINE | 0x55));
	lock_drop(&chip->lock);
	assert_false(deadline_is_over(loaded));
	set_msr(0x10, loaded);
	assert_true(deadline_is_over(loaded));
	assert_false(deadline_is_over(loaded + hours));
	MUST(FD_IOCTL(m.vcpu, KVM_SET_DEVICE_ATTR, &attr));
	assert_true(deadline_is_over(loaded + hours));
	guest_stop();
}

static void test_snapshot_dirty_log_names_what_was_written_since(void **state)
{
	struct kvm_userspace_memory_region region = { .flags = KVM_MEM_LOG_DIRTY_PAGES,
						      .memory_size = RAM_SIZE };
	uint64_t bits[RAM_SIZE / 4096 / 64];
	struct kvm_dirty_log log = { .dirty_bitmap = bits };

	(void)state;
	start(false);
	region.userspace_addr = (uintptr_t)ram;
	MUST(FD_IOCTL(m.vm, KVM_SET_USER_MEMORY_REGION, &region));
	/* inc byte [3000h]; out; inc byte [5000h]; out */
	LOAD("\xfe\x06\x00\x30\xe6\x80\xfe\x06\x00\x50\xe6\x80\xeb\xfe");
	MUST(run_once(&m));
	MUST(FD_IOCTL(m.vm, KVM_GET_DIRTY_LOG, &log));
	assert_int_equal(bits[0], 1 << 3);
	ram[0x7000] = 1;
	MUST(run_once(&m));
	MUST(FD_IOCTL(m.vm, KVM_GET_DIRTY_LOG, &log));
	assert_int_equal(bits[0], 1 << 5);
	MUST(FD_IOCTL(m.vm, KVM_GET_DIRTY_LOG, &log));
	assert_int_equal(bits[0], 0);
	guest_stop();
}

static int setup(void **state)
{
	(void)state;
	irqchip_options(SHIM_TIME_REAL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_snapshot_of_any_state_comes_back),
		cmocka_unit_test(test_snapshot_of_a_new_vcpu_has_initial_fpu),
		cmocka_unit_test(test_snapshot_keeps_what_was_being_injected),
		cmocka_unit_test(test_snapshot_keeps_a_halted_vcpu_and_its_requests),
		cmocka_unit_test(test_snapshot_deadline_is_one_of_the_counter_that_was_loaded),
		cmocka_unit_test(test_snapshot_dirty_log_names_what_was_written_since),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
