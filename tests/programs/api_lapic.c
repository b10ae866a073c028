/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Local APICs of the kernel, asked by a monitor and used by a guest: "case: result" lines.
 * tests/golden/kvm_api/lapic.txt holds what a real device answered. The guest does the steps that it is
 * given (tests/guests/irqchip64.asm); nothing that is printed depends on how fast it is.
 */
#include "tests/integration/kvm_api.h"

#ifndef KVM_CAP_X86_APIC_BUS_CYCLES_NS
#define KVM_CAP_X86_APIC_BUS_CYCLES_NS 237
#endif

#define TABLE 0x8000u
#define LOG   0xb000u

enum { END, IN, OUT, READ, WRITE, WINDOW, WAIT, SPIN };
struct step {
	uint32_t operation, address, value, unused;
};

static struct vm vm;
static struct vcpu vcpu, other;
static const char *image;

static void machine_start(unsigned vcpus)
{
	vm_create(&vm, GUEST_MEMORY);
	kvm_ioctl(vm.fd, KVM_CREATE_IRQCHIP, 0);
	vcpu_create(&vm, &vcpu, 0);
	if (vcpus > 1)
		vcpu_create(&vm, &other, 1);
	guest_load(&vm, image);
}

static void machine_stop(unsigned vcpus)
{
	if (vcpus > 1)
		vcpu_destroy(&other);
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

static void show(const char *what, long result)
{
	printf("%s: %s\n", what, result_name(result));
}

/* What was read, and the vectors that came. */
static void run(const char *what, const struct step *step, size_t count)
{
	uint32_t interrupts;

	memset(vm.memory + TABLE, 0, 0x1000);
	memcpy(vm.memory + TABLE, step, count * sizeof(*step));
	vcpu_start(&vcpu, GUEST_LONG, GUEST_LOAD, 0, 0, 0, 1);
	vcpu_run(&vcpu);
	printf("%s:", what);
	if (vcpu.run->exit_reason != KVM_EXIT_IO || vcpu.run->io.port != 0xf4)
		printf(" %s", exit_name(vcpu.run->exit_reason));
	for (size_t i = 0; i < count; i++) {
		const struct step *done = (struct step *)(void *)(vm.memory + TABLE) + i;

		if (done->operation == READ)
			printf(" %x", done->value);
	}
	memcpy(&interrupts, vm.memory + LOG, sizeof(interrupts));
	printf("; interrupts");
	for (uint32_t i = 0; i < interrupts; i++)
		printf(" %02x", vm.memory[LOG + 4 + i]);
	printf("\n");
}
#define RUN(what, ...)                                  \
	run(what, (const struct step[]){ __VA_ARGS__ }, \
	    sizeof((const struct step[]){ __VA_ARGS__ }) / sizeof(struct step))
#define R(reg)                                 \
	{                                      \
		READ, 0xfee00000 + (reg), 0, 0 \
	}
#define W(reg, value)                               \
	{                                           \
		WRITE, 0xfee00000 + (reg), value, 0 \
	}
#define HALT                  \
	{                     \
		WAIT, 0, 0, 0 \
	}
#define ON           W(0xf0, 0x1ff)
#define EOI          W(0xb0, 0)
#define SELF(vector) W(0x300, 0x44000 | (vector))

/* ------------------------------------------------------------------ registers */

static void state_show(const char *what, const struct vcpu *v)
{
	struct kvm_lapic_state state;

	kvm_ioctl(v->fd, KVM_GET_LAPIC, &state);
	printf("%s:", what);
	for (unsigned offset = 0; offset < sizeof(state.regs); offset += 4) {
		uint32_t value;

		memcpy(&value, state.regs + offset, 4);
		if (value)
			printf(" %x=%x", offset, value);
	}
	printf("\n");
}

/* Readable ones. The ICR would send, the initial count would count; of what is no register KVM hands out
 * what happens to be in its buffer. */
static bool is_register(unsigned reg)
{
	static const unsigned no[] = { 0x40, 0x50, 0x60, 0x70, 0xb0, 0xc0, 0x300, 0x380, 0x3f0 };

	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		if (reg == no[i])
			return false;
	}
	return (reg < 0x290 || reg > 0x2f0) && (reg < 0x3a0 || reg > 0x3d0);
}

static void registers(void)
{
	machine_start(2);
	state_show("reset, the first", &vcpu);
	state_show("reset, another", &other);
	for (unsigned reg = 0x20; reg < 0x400; reg += 0x10) {
		char what[64];

		if (!is_register(reg))
			continue;
		snprintf(what, sizeof(what), "register %x, off: before and after ones", reg);
		RUN(what, R(reg), W(reg, reg == 0x80 ? 0xf0 : 0xfff8ffff), R(reg));
	}
	state_show("all of it written", &vcpu);
	machine_stop(2);

	machine_start(1);
	RUN("LVT while on", ON, W(0x320, 0xfffbffff), R(0x320), W(0x330, 0xffffffff), R(0x330),
	    W(0x340, 0xffffffff), R(0x340), W(0x350, 0xffffffff), R(0x350), W(0x360, 0xffffffff),
	    R(0x360), W(0x370, 0xffffffff), R(0x370));
	RUN("switched off", W(0xf0, 0xff), R(0x320), R(0x350));
	RUN("not aligned", W(0x81, 0x55), R(0x80), W(0x84, 0x55), R(0x80));
	state_show("then", &vcpu);
	machine_stop(1);
}

/* ------------------------------------------------------------------ interrupts */

static void interrupts(void)
{
	machine_start(1);
	RUN("off: to itself", SELF(0x50), R(0x220));
	RUN("to itself", ON, SELF(0x50), R(0x220), HALT, R(0x220), R(0x120), R(0xa0), EOI, R(0x120),
	    R(0xa0));
	RUN("two at once: the higher first", SELF(0x50), SELF(0x71), HALT, R(0xa0), R(0x220), EOI,
	    HALT, EOI);
	RUN("one in service holds its class", SELF(0x60), HALT, SELF(0x6f), SELF(0x70), HALT, EOI,
	    R(0x230), R(0xa0), EOI, HALT, EOI, R(0xa0));
	RUN("TPR", W(0x80, 0x65), R(0xa0), SELF(0x62), SELF(0x70), HALT, R(0xa0), EOI,
	    W(0x80, 0x5f), HALT, EOI, W(0x80, 0), R(0xa0));
	RUN("EOI of nothing", EOI, SELF(0x33), HALT, EOI, EOI);
	RUN("a vector below 16", SELF(0x0f), R(0x200), R(0x280));
	RUN("ICR keeps", W(0x310, 0x12345678), R(0x310), W(0x300, 0x000cd0aa), R(0x300));
	state_show("then", &vcpu);
	machine_stop(1);
}

static void timers(void)
{
	machine_start(1);
	RUN("one-shot", ON, W(0x3e0, 0xb), W(0x320, 0x55), W(0x380, 100000), HALT, EOI, R(0x390));
	RUN("periodic", W(0x320, 0x20056), W(0x380, 1000000), HALT, EOI, HALT, EOI, HALT, EOI,
	    W(0x380, 0), R(0x390));
	RUN("masked", W(0x320, 0x10057), W(0x380, 1000), R(0x380));
	machine_stop(1);
}

/* ------------------------------------------------------------------ several vCPUs */

static void mp_show(const char *what, const struct vcpu *v)
{
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp;

	kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &events);
	kvm_ioctl(v->fd, KVM_GET_MP_STATE, &mp);
	printf("%s: state %u, latched INIT %u, NMI pending %u\n", what, mp.mp_state,
	       events.smi.latched_init, events.nmi.pending);
}

static long mp_set(const struct vcpu *v, uint32_t state)
{
	struct kvm_mp_state mp = { state };

	return _kvm_ioctl(v->fd, KVM_SET_MP_STATE, (unsigned long)&mp);
}

static void several(void)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	machine_start(2);
	mp_show("the first", &vcpu);
	mp_show("another", &other);
	other.run->immediate_exit = 1;
	show("KVM_RUN of one that waits, immediate_exit", _vcpu_run(&other));
	other.run->immediate_exit = 0;
	RUN("INIT to it", ON, W(0x310, 1 << 24), W(0x300, 0x4500));
	mp_show("then", &other);
	RUN("NMI to it", W(0x300, 0x4400));
	mp_show("then", &other);
	RUN("SIPI to it", W(0x300, 0x4612));
	mp_show("then", &other);
	vcpu_get_regs(&other, &regs);
	vcpu_get_sregs(&other, &sregs);
	printf("it is at %04x:%04llx, base %llx, limit %x\n", sregs.cs.selector, regs.rip,
	       sregs.cs.base, sregs.cs.limit);
	RUN("another SIPI", W(0x300, 0x4634));
	mp_show("then", &other);
	vcpu_get_sregs(&other, &sregs);
	printf("it is still at %04x\n", sregs.cs.selector);
	RUN("INIT again, level, de-asserted: nothing", W(0x300, 0x8500));
	mp_show("then", &other);
	for (uint32_t state = 0; state < 12; state++) {
		printf("KVM_SET_MP_STATE %u: %s", state, result_name(mp_set(&other, state)));
		mp_show("", &other);
	}
	machine_stop(2);
}

/* ------------------------------------------------------------------ the monitor's view */

static long msr(unsigned long request, uint32_t index, uint64_t *value)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} list = { .header.nmsrs = 1, .entry = { .index = index, .data = *value } };
	long r = _kvm_ioctl(vcpu.fd, request, (unsigned long)&list);

	*value = list.entry.data;
	return r;
}

static void base(uint64_t value)
{
	uint64_t now = value;
	long r = msr(KVM_SET_MSRS, 0x1b, &now);

	msr(KVM_GET_MSRS, 0x1b, &now);
	printf("IA32_APIC_BASE to %llx: %ld, is %llx\n", (unsigned long long)value, r,
	       (unsigned long long)now);
}

static void monitor(void)
{
	struct kvm_tpr_access_ctl tpr = { .enabled = 1, .flags = 1 };
	struct kvm_interrupt irq = { 0x50 };
	struct kvm_vapic_addr vapic = { 0xd0000000 };
	struct kvm_lapic_state state;
	struct kvm_sregs sregs;

	machine_start(1);
	vcpu_get_sregs(&vcpu, &sregs);
	printf("apic_base %llx\n", sregs.apic_base);
	show("KVM_INTERRUPT", _kvm_ioctl(vcpu.fd, KVM_INTERRUPT, (unsigned long)&irq));
	irq.irq = 256;
	show("KVM_INTERRUPT 256", _kvm_ioctl(vcpu.fd, KVM_INTERRUPT, (unsigned long)&irq));
	show("KVM_GET_LAPIC nowhere", _kvm_ioctl(vcpu.fd, KVM_GET_LAPIC, 8));
	show("KVM_SET_LAPIC nowhere", _kvm_ioctl(vcpu.fd, KVM_SET_LAPIC, 8));
	show("KVM_SET_VAPIC_ADDR without memory",
	     _kvm_ioctl(vcpu.fd, KVM_SET_VAPIC_ADDR, (unsigned long)&vapic));
	vapic.vapic_addr = 0x3000;
	show("KVM_SET_VAPIC_ADDR", _kvm_ioctl(vcpu.fd, KVM_SET_VAPIC_ADDR, (unsigned long)&vapic));
	show("KVM_TPR_ACCESS_REPORTING with flags",
	     _kvm_ioctl(vcpu.fd, KVM_TPR_ACCESS_REPORTING, (unsigned long)&tpr));
	for (unsigned i = 0; i < sizeof(state.regs); i++)
		/* no timer, nothing in service; of what is between two registers, once */
		state.regs[i] = (i < 0x100 && i % 16 < 4) || i == 0x44 ? (char)(i * 7) : 0;
	show("KVM_SET_LAPIC of anything",
	     _kvm_ioctl(vcpu.fd, KVM_SET_LAPIC, (unsigned long)&state));
	state_show("then", &vcpu);
	vcpu_get_sregs(&vcpu, &sregs);
	printf("cr8 %llx\n", sregs.cr8);
	sregs.cr8 = 9;
	vcpu_set_sregs(&vcpu, &sregs);
	kvm_ioctl(vcpu.fd, KVM_GET_LAPIC, &state);
	printf("cr8 9: TPR %02x\n", (uint8_t)state.regs[0x80]);
	machine_stop(1);
}

static void x2apic(void)
{
	struct kvm_lapic_state state;

	machine_start(1);
	base(0xfee00d00);
	state_show("x2APIC mode", &vcpu);
	for (uint32_t index = 0x800; index < 0x840; index++) {
		uint64_t value = 0;
		long r = msr(KVM_GET_MSRS, index, &value);

		/* the timer's count is as it comes */
		if (r == 1)
			printf("MSR %x: %llx\n", index, (unsigned long long)value);
		else
			printf("MSR %x: %ld\n", index, r);
	}
	for (uint32_t index = 0x800; index < 0x840; index++) {
		uint64_t zero = 0;

		printf("MSR %x to 0: %ld\n", index, msr(KVM_SET_MSRS, index, &zero));
	}
	kvm_ioctl(vcpu.fd, KVM_GET_LAPIC, &state);
	state.regs[0x20] = 5;
	show("KVM_SET_LAPIC with an ID of five",
	     _kvm_ioctl(vcpu.fd, KVM_SET_LAPIC, (unsigned long)&state));
	state_show("then", &vcpu);
	base(0xfee00900);
	base(0xfee00100);
	base(0xfee00d00);
	base(0xfee00500);
	base(0xfee00901);
	base(0xfed00900);
	state_show("moved", &vcpu);
	machine_stop(1);
}

static void capability(const char *name, uint32_t cap, uint64_t value)
{
	struct kvm_enable_cap enable = { .cap = cap, .args = { value } };

	printf("%s %llx: %s\n", name, (unsigned long long)value,
	       result_name(_kvm_ioctl(vm.fd, KVM_ENABLE_CAP, (unsigned long)&enable)));
}

static void capabilities(void)
{
	vm_create(&vm, GUEST_MEMORY);
	capability("no irqchip: X86_APIC_BUS_CYCLES_NS", KVM_CAP_X86_APIC_BUS_CYCLES_NS, 0);
	capability("no irqchip: X86_APIC_BUS_CYCLES_NS", KVM_CAP_X86_APIC_BUS_CYCLES_NS, 10);
	vm_destroy(&vm);
	machine_start(1);
	capability("one vCPU: X86_APIC_BUS_CYCLES_NS", KVM_CAP_X86_APIC_BUS_CYCLES_NS, 10);
	capability("X86_APIC_BUS_CYCLES_NS", KVM_CAP_X86_APIC_BUS_CYCLES_NS, 1ull << 60);
	capability("X2APIC_API", KVM_CAP_X2APIC_API, 1ull << 40);
	capability("X2APIC_API", KVM_CAP_X2APIC_API, 1);
	base(0xfee00d00);
	state_show("32-bit IDs", &vcpu);
	machine_stop(1);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		die("usage: api_lapic irqchip64.bin");
	image = argv[1];
	registers();
	interrupts();
	timers();
	several();
	monitor();
	x2apic();
	capabilities();
	return 0;
}
