/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interrupt controllers of the kernel, asked by a monitor and used by a guest: "case: result" lines.
 * tests/golden/kvm_api/irqchip.txt holds what a real device answered. The guest does the steps that it
 * is given (tests/guests/irqchip64.asm); nothing that is printed depends on how fast it is.
 */
#include "tests/integration/kvm_api.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#define TABLE 0x8000u
#define LOG   0xb000u

enum { END, IN, OUT, READ, WRITE, WINDOW, WAIT, SPIN };
struct step {
	uint32_t operation, address, value, unused;
};

static struct vm vm;
static struct vcpu vcpu;

static void show(const char *what, long result)
{
	printf("%s: %s\n", what, result_name(result));
}

/* ------------------------------------------------------------------ machine */

static void machine_start(const char *image, bool pit)
{
	struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };

	vm_create(&vm, GUEST_MEMORY);
	kvm_ioctl(vm.fd, KVM_CREATE_IRQCHIP, 0);
	if (pit)
		kvm_ioctl(vm.fd, KVM_CREATE_PIT2, &config);
	vcpu_create(&vm, &vcpu, 0);
	guest_load(&vm, image);
}

static void machine_stop(void)
{
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
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

		if (done->operation == IN || done->operation == READ)
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
#define I(port)                \
	{                      \
		IN, port, 0, 0 \
	}
#define O(port, value)              \
	{                           \
		OUT, port, value, 0 \
	}
#define R(address)                  \
	{                           \
		READ, address, 0, 0 \
	}
#define W(address, value)                \
	{                                \
		WRITE, address, value, 0 \
	}
#define TAKE                    \
	{                       \
		WINDOW, 0, 0, 0 \
	}
#define HALT                  \
	{                     \
		WAIT, 0, 0, 0 \
	}
#define PIN(pin, low)                                                                       \
	W(0xfec00000, 0x11 + 2 * (pin)), W(0xfec00010, 0), W(0xfec00000, 0x10 + 2 * (pin)), \
		W(0xfec00010, low)
#define READ_PIN(pin) W(0xfec00000, 0x10 + 2 * (pin)), R(0xfec00010)
#define APIC(reg)     (0xfee00000 + (reg))
#define APIC_ON       W(APIC(0xf0), 0x1ff)
#define APIC_EOI      W(APIC(0xb0), 0)
#define PIC_INIT(icw4)                                                                         \
	O(0x20, 0x11), O(0x21, 0x40), O(0x21, 4), O(0x21, icw4), O(0xa0, 0x11), O(0xa1, 0x48), \
		O(0xa1, 2), O(0xa1, 1), O(0x21, 0), O(0xa1, 0)

static long line(unsigned gsi, unsigned level)
{
	struct kvm_irq_level wanted = { .irq = gsi, .level = level };
	long r = _kvm_ioctl(vm.fd, KVM_IRQ_LINE_STATUS, (unsigned long)&wanted);

	return r ? r : (int)wanted.status;
}

static void lines(const char *what, unsigned gsi, unsigned level)
{
	printf("%s: line %u to %u: %d\n", what, gsi, level, (int)line(gsi, level));
}

static void pic_show(const char *what)
{
	for (unsigned id = 0; id < 2; id++) {
		struct kvm_irqchip chip = { .chip_id = id };
		const struct kvm_pic_state *p = &chip.chip.pic;

		kvm_ioctl(vm.fd, KVM_GET_IRQCHIP, &chip);
		printf("%s, 8259 %u: last %02x irr %02x imr %02x isr %02x add %u base %02x read %u "
		       "poll %u special %u init %u aeoi %u rotate %u nested %u init4 %u elcr %02x "
		       "mask %02x\n",
		       what, id, p->last_irr, p->irr, p->imr, p->isr, p->priority_add, p->irq_base,
		       p->read_reg_select, p->poll, p->special_mask, p->init_state, p->auto_eoi,
		       p->rotate_on_auto_eoi, p->special_fully_nested_mode, p->init4, p->elcr,
		       p->elcr_mask);
	}
}

static void ioapic_show(const char *what)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	const struct kvm_ioapic_state *io = &chip.chip.ioapic;

	kvm_ioctl(vm.fd, KVM_GET_IRQCHIP, &chip);
	printf("%s, I/O APIC: base %" PRIx64 " select %x id %x irr %x", what,
	       (uint64_t)io->base_address, io->ioregsel, io->id, io->irr);
	for (unsigned i = 0; i < 24; i++) {
		if (io->redirtbl[i].bits != 0x10000)
			printf(" %u:%" PRIx64, i, (uint64_t)io->redirtbl[i].bits);
	}
	printf("\n");
}

/* The vectors that are requested, in service, and level-triggered. */
static void apic_show(const char *what)
{
	static const struct {
		unsigned base;
		const char *name;
	} registers[] = { { 0x200, "IRR" }, { 0x100, "ISR" }, { 0x180, "TMR" } };
	struct kvm_lapic_state apic;

	kvm_ioctl(vcpu.fd, KVM_GET_LAPIC, &apic);
	printf("%s, local APIC:", what);
	for (unsigned r = 0; r < 3; r++) {
		printf(" %s", registers[r].name);
		for (unsigned v = 0; v < 256; v++) {
			if (apic.regs[registers[r].base + v / 32 * 16 + v % 32 / 8] >> v % 8 & 1)
				printf(" %02x", v);
		}
	}
	printf("\n");
}

static void pit_show(const char *what)
{
	struct kvm_pit_state2 pit;

	kvm_ioctl(vm.fd, KVM_GET_PIT2, &pit);
	printf("%s, 8254: flags %x", what, pit.flags);
	for (unsigned i = 0; i < 3; i++) {
		const struct kvm_pit_channel_state *c = &pit.channels[i];

		printf(", count %x latched %u %u status %02x rws %u %u write %02x rw %u mode %02x "
		       "bcd "
		       "%u gate %u",
		       c->count, c->count_latched, c->status_latched, c->status, c->read_state,
		       c->write_state, c->write_latch, c->rw_mode, c->mode, c->bcd, c->gate);
	}
	printf("\n");
}

/* ------------------------------------------------------------------ without a guest */

static void capabilities(void)
{
	static const struct {
		int number;
		const char *name;
	} caps[] = {
#define C(name) { KVM_CAP_##name, #name }
		C(IRQCHIP),
		C(PIT),
		C(COALESCED_MMIO),
		C(REINJECT_CONTROL),
		C(IRQ_INJECT_STATUS),
		C(IRQ_ROUTING),
		C(IRQFD),
		C(PIT2),
		C(PIT_STATE2),
		C(SET_BOOT_CPU_ID),
		C(IOEVENTFD),
		C(IRQFD_RESAMPLE),
		C(IOEVENTFD_NO_LENGTH),
		C(IOEVENTFD_ANY_LENGTH),
		C(SIGNAL_MSI),
		C(SPLIT_IRQCHIP),
		C(COALESCED_PIO),
		C(TSC_DEADLINE_TIMER),
		C(IOAPIC_POLARITY_IGNORED),
		C(X2APIC_API),
#undef C
	};

	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++)
		show(caps[i].name,
		     _kvm_ioctl(vm.fd, KVM_CHECK_EXTENSION, (unsigned long)caps[i].number));
}

static void errors_of(const char *kind)
{
	struct kvm_irqchip chip = { .chip_id = 0 };
	struct kvm_pit_state2 pit = { 0 };
	struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct kvm_reinject_control reinject = { 0 };
	struct kvm_irq_level level = { .irq = 0 };
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x31 };
	struct kvm_irq_routing routing = { 0 };
	int fd = eventfd(0, EFD_CLOEXEC);
	struct kvm_irqfd irqfd = { .fd = (uint32_t)fd, .gsi = 3 };
	struct kvm_irqfd resample = { .fd = (uint32_t)fd,
				      .gsi = 3,
				      .flags = KVM_IRQFD_FLAG_RESAMPLE,
				      .resamplefd = (uint32_t)fd };

#define S(request, argument)                   \
	printf("%s: %s: %s\n", kind, #request, \
	       result_name(_kvm_ioctl(vm.fd, request, (unsigned long)(argument))))
	S(KVM_CREATE_IRQCHIP, 0);
	S(KVM_GET_IRQCHIP, &chip);
	S(KVM_SET_IRQCHIP, &chip);
	chip.chip_id = 3;
	S(KVM_GET_IRQCHIP, &chip);
	S(KVM_SET_IRQCHIP, &chip);
	S(KVM_GET_IRQCHIP, 0);
	S(KVM_GET_PIT2, &pit);
	S(KVM_GET_PIT2, 0);
	S(KVM_SET_PIT2, &pit);
	S(KVM_REINJECT_CONTROL, &reinject);
	S(KVM_CREATE_PIT2, 0);
	S(KVM_CREATE_PIT2, &config);
	S(KVM_CREATE_PIT2, &config);
	S(KVM_CREATE_PIT, 0);
	S(KVM_GET_PIT2, 0);
	S(KVM_IRQ_LINE, &level);
	S(KVM_IRQ_LINE, 0);
	S(KVM_SIGNAL_MSI, 0);
	msi.flags = 2;
	S(KVM_SIGNAL_MSI, &msi);
	S(KVM_SET_GSI_ROUTING, &routing);
	routing.flags = 1;
	S(KVM_SET_GSI_ROUTING, &routing);
	routing.flags = 0;
	routing.nr = 4097;
	S(KVM_SET_GSI_ROUTING, &routing);
	S(KVM_IRQFD, &resample);
	S(KVM_IRQFD, &irqfd);
	S(KVM_IRQFD, &irqfd);
	irqfd.flags = 4;
	S(KVM_IRQFD, &irqfd);
	irqfd.flags = KVM_IRQFD_FLAG_DEASSIGN;
	S(KVM_IRQFD, &irqfd);
	irqfd.fd = (uint32_t)vm.kvm;
	S(KVM_IRQFD, &irqfd);
	irqfd.fd = ~0u;
	S(KVM_IRQFD, &irqfd);
#undef S
	close(fd);
}

static long ioeventfd(int fd, uint64_t address, uint32_t size, uint32_t flags, uint64_t match)
{
	struct kvm_ioeventfd args = {
		.fd = fd, .addr = address, .len = size, .flags = flags, .datamatch = match
	};

	return _kvm_ioctl(vm.fd, KVM_IOEVENTFD, (unsigned long)&args);
}

static void ioeventfd_errors(void)
{
	const uint32_t match = KVM_IOEVENTFD_FLAG_DATAMATCH, off = KVM_IOEVENTFD_FLAG_DEASSIGN;
	int fd = eventfd(0, EFD_CLOEXEC);

	show("ioeventfd of 3 bytes", ioeventfd(fd, GUEST_MMIO, 3, 0, 0));
	show("ioeventfd over the end", ioeventfd(fd, UINT64_MAX, 4, 0, 0));
	show("ioeventfd, unknown flag", ioeventfd(fd, GUEST_MMIO, 4, 32, 0));
	show("ioeventfd, mainframe flag", ioeventfd(fd, GUEST_MMIO, 4, 8, 0));
	show("ioeventfd, mainframe flag again", ioeventfd(fd, GUEST_MMIO, 4, 8, 0));
	show("ioeventfd of any length with match", ioeventfd(fd, GUEST_MMIO, 0, match, 0));
	show("ioeventfd of no eventfd", ioeventfd(vm.kvm, GUEST_MMIO, 4, 0, 0));
	show("ioeventfd -1", ioeventfd(-1, GUEST_MMIO, 4, 0, 0));
	show("ioeventfd, match 1", ioeventfd(fd, GUEST_MMIO, 4, match, 1));
	show("ioeventfd, match 2", ioeventfd(fd, GUEST_MMIO, 4, match, 2));
	show("ioeventfd, match 1 again", ioeventfd(fd, GUEST_MMIO, 4, match, 1));
	show("ioeventfd, without match", ioeventfd(fd, GUEST_MMIO, 4, 0, 0));
	show("ioeventfd, any length", ioeventfd(fd, GUEST_MMIO, 0, 0, 0));
	show("ioeventfd, another length", ioeventfd(fd, GUEST_MMIO, 2, 0, 0));
	show("ioeventfd, a port", ioeventfd(fd, 0x600, 2, KVM_IOEVENTFD_FLAG_PIO, 0));
	show("ioeventfd off, match 3", ioeventfd(fd, GUEST_MMIO, 4, off | match, 3));
	show("ioeventfd off, no match", ioeventfd(fd, GUEST_MMIO, 4, off, 1));
	show("ioeventfd off, match 1", ioeventfd(fd, GUEST_MMIO, 4, off | match, 1));
	show("ioeventfd off, match 1 again", ioeventfd(fd, GUEST_MMIO, 4, off | match, 1));
	show("ioeventfd off, 3 bytes", ioeventfd(fd, GUEST_MMIO, 3, off, 1));
	close(fd);
}

static long zone(unsigned long request, uint64_t address, uint32_t size, uint32_t pio)
{
	struct kvm_coalesced_mmio_zone args = { .addr = address, .size = size, .pio = pio };

	return _kvm_ioctl(vm.fd, request, (unsigned long)&args);
}

static long split(uint64_t pins)
{
	return _vm_enable_cap(vm.fd, KVM_CAP_SPLIT_IRQCHIP, 0, pins);
}

static void without_guest(void)
{
	vm_create(&vm, 0);
	capabilities();
	errors_of("no vCPU");
	show("split after it", split(24));
	ioeventfd_errors();
	show("zone 2", zone(KVM_REGISTER_COALESCED_MMIO, GUEST_MMIO, 8, 2));
	show("zone", zone(KVM_REGISTER_COALESCED_MMIO, GUEST_MMIO, 8, 0));
	show("zone again", zone(KVM_REGISTER_COALESCED_MMIO, GUEST_MMIO, 8, 0));
	show("zone off", zone(KVM_UNREGISTER_COALESCED_MMIO, GUEST_MMIO, 8, 0));
	show("zone off again", zone(KVM_UNREGISTER_COALESCED_MMIO, GUEST_MMIO, 8, 0));
	vm_destroy(&vm);

	vm_create(&vm, 0);
	show("split, too many pins", split(4097));
	show("split", split(24));
	show("split again", split(24));
	errors_of("split");
	vm_destroy(&vm);

	vm_create(&vm, 0);
	vcpu_create(&vm, &vcpu, 0);
	show("split after a vCPU", split(24));
	errors_of("after a vCPU");
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

/* ------------------------------------------------------------------ 8259s */

static void pic(const char *image)
{
	machine_start(image, false);
	pic_show("reset");
	ioapic_show("reset");
	RUN("8259 initialized", PIC_INIT(1), O(0x20, 0x0b), I(0x20), I(0x21), I(0xa1), TAKE);
	pic_show("initialized");
	lines("edge", 3, 1);
	lines("edge again", 3, 1);
	RUN("an edge", HALT, O(0x20, 0x0b), I(0x20), O(0x20, 0x0a), I(0x20), O(0x20, 0x20), TAKE);
	lines("edge falls", 3, 0);
	lines("slave", 12, 1);
	lines("master, lower", 4, 1);
	RUN("a slave's, then a lower one", HALT, O(0xa0, 0x0b), I(0xa0), O(0x20, 0x0b), I(0x20),
	    O(0xa0, 0x20), TAKE, O(0x20, 0x20), HALT, O(0x20, 0x20));
	lines("down", 12, 0);
	lines("down", 4, 0);
	RUN("ELCR", O(0x4d0, 0xff), O(0x4d1, 0xff), I(0x4d0), I(0x4d1));
	lines("level", 5, 1);
	RUN("a level, twice", HALT, O(0x20, 0x20), HALT, O(0x20, 0x20));
	lines("level down", 5, 0);
	RUN("masked", O(0x21, 0x20), I(0x21));
	lines("masked", 5, 1);
	RUN("unmasked", TAKE, O(0x21, 0), HALT, O(0x20, 0x65), I(0x20));
	lines("level down", 5, 0);
	pic_show("after levels");
	RUN("automatic EOI with rotation", PIC_INIT(3), O(0x20, 0x80), O(0x4d0, 0), O(0x4d1, 0));
	lines("edge", 1, 1);
	RUN("the first", HALT, O(0x20, 0x0b), I(0x20));
	lines("edge", 6, 1);
	RUN("the second", HALT, O(0x20, 0x0b), I(0x20));
	pic_show("rotated");
	lines("down", 1, 0);
	lines("down", 6, 0);
	RUN("poll", PIC_INIT(1), O(0x20, 0x0c), I(0x20), I(0x20));
	lines("edge", 6, 1);
	RUN("poll 6", O(0x20, 0x0c), I(0x20), I(0x20), TAKE);
	lines("slave", 9, 1);
	RUN("poll the slave", O(0xa0, 0x0c), I(0xa0), O(0x20, 0x0a), I(0x20));
	pic_show("polled");
	RUN("priorities", O(0x20, 0xc3), O(0x20, 0x68), I(0x21), O(0x20, 0x0a), I(0x20));
	pic_show("lowest is 3");
	machine_stop();
}

/* ------------------------------------------------------------------ I/O APIC */

static void ioapic(const char *image)
{
	machine_start(image, false);
	RUN("I/O APIC registers", W(0xfec00000, 1), R(0xfec00010), W(0xfec00000, 0),
	    W(0xfec00010, 0xff000000), R(0xfec00010), W(0xfec00000, 2), R(0xfec00010),
	    W(0xfec00000, 0x40), R(0xfec00010), W(0xfec00000, 0xfff), R(0xfec00000), R(0xfec00020));
	RUN("8259s masked", PIC_INIT(1), O(0x21, 0xff), O(0xa1, 0xff), APIC_ON, PIN(17, 0x51));
	lines("edge", 17, 1);
	lines("edge again", 17, 1);
	RUN("an edge", HALT, READ_PIN(17), APIC_EOI, TAKE);
	lines("down", 17, 0);
	RUN("a level's pin", PIN(18, 0x8052));
	lines("level", 18, 1);
	ioapic_show("level");
	RUN("a level", HALT, READ_PIN(18), APIC_EOI, READ_PIN(18), HALT);
	apic_show("a level");
	lines("level down", 18, 0);
	RUN("its end", APIC_EOI, READ_PIN(18), TAKE);
	apic_show("its end");
	ioapic_show("its end");
	RUN("masked", PIN(18, 0x18052));
	lines("masked level", 18, 1);
	ioapic_show("masked");
	RUN("unmasked", TAKE, PIN(18, 0x8052), HALT, PIN(18, 0x10052), PIN(18, 0x18052),
	    READ_PIN(18));
	lines("level down", 18, 0);
	RUN("masked edge", APIC_EOI, PIN(19, 0x10053));
	lines("masked edge", 19, 1);
	RUN("unmasked edge", PIN(19, 0x53), TAKE);
	lines("coalesced", 19, 1);
	lines("down", 19, 0);
	lines("clock", 8, 1);
	RUN("clock's pin", PIN(8, 0x61));
	lines("clock", 8, 0);
	lines("clock", 8, 1);
	lines("clock", 8, 0);
	lines("clock is not lost twice", 8, 1);
	RUN("clock taken", HALT, APIC_EOI);
	lines("clock", 8, 0);
	lines("clock again", 8, 1);
	RUN("to nobody", HALT, APIC_EOI, PIN(20, 0x54), W(0xfec00000, 0x11 + 40),
	    W(0xfec00010, 0x07000000));
	lines("to nobody", 20, 1);
	RUN("to a logical destination", W(APIC(0xe0), 0xffffffff), W(APIC(0xd0), 0x02000000),
	    PIN(21, 0x855), W(0xfec00000, 0x11 + 42), W(0xfec00010, 0x02000000));
	lines("logical", 21, 1);
	RUN("logical taken", HALT, APIC_EOI, TAKE);
	ioapic_show("end");
	machine_stop();
}

/* ------------------------------------------------------------------ 8254 */

static void pit(const char *image)
{
	machine_start(image, true);
	pit_show("reset");
	RUN("status of channel 1", O(0x43, 0x74), O(0x43, 0xe4), I(0x41));
	RUN("control word is write only", O(0x43, 0x36), O(0x43, 0xe2), I(0x40));
	RUN("status before count", O(0x43, 0xb0), O(0x42, 0xff), O(0x42, 0xff), O(0x43, 0xc8),
	    I(0x42));
	pit_show("latched");
	RUN("speaker", O(0x61, 0), O(0x43, 0xb6), O(0x42, 0), O(0x42, 0), O(0x61, 3));
	pit_show("speaker");
	RUN("100 Hz", PIC_INIT(1), O(0x21, 0xfe), O(0xa1, 0xff), O(0x43, 0x34), O(0x40, 0x9b),
	    O(0x40, 0x2e), HALT, O(0x20, 0x20), HALT, O(0x20, 0x20), HALT, O(0x20, 0x20),
	    O(0x21, 0xff));
	pit_show("100 Hz");
	RUN("once", O(0x43, 0x30), O(0x40, 0x9b), O(0x40, 0x2e), O(0x21, 0xfe), HALT,
	    O(0x20, 0x20));
	RUN("by the I/O APIC", O(0x21, 0xff), APIC_ON, PIN(0, 0x71), O(0x43, 0x34), O(0x40, 0x9b),
	    O(0x40, 0x2e), HALT, APIC_EOI, HALT, APIC_EOI, PIN(0, 0x10000), O(0x43, 0x3a),
	    O(0x40, 0), O(0x40, 0));
	pit_show("end");
	machine_stop();
}

/* ------------------------------------------------------------------ events */

static uint64_t counted(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void signal_it(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		die("write to an eventfd: %s", strerror(errno));
}

static void events(const char *image)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int again = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int io = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct kvm_irqfd edge = { .fd = (uint32_t)fd, .gsi = 3 };
	struct kvm_irqfd level = { .fd = (uint32_t)fd,
				   .gsi = 5,
				   .flags = KVM_IRQFD_FLAG_RESAMPLE,
				   .resamplefd = (uint32_t)again };

	machine_start(image, false);
	RUN("initialized", PIC_INIT(1), O(0x4d0, 0x20));
	kvm_ioctl(vm.fd, KVM_IRQFD, &edge);
	signal_it(fd);
	RUN("irqfd", HALT, O(0x20, 0x20), TAKE);
	edge.flags = KVM_IRQFD_FLAG_DEASSIGN;
	kvm_ioctl(vm.fd, KVM_IRQFD, &edge);
	signal_it(fd);
	RUN("irqfd deassigned", TAKE);
	printf("left in it: %" PRIu64 "\n", counted(fd));
	kvm_ioctl(vm.fd, KVM_IRQFD, &level);
	signal_it(fd);
	RUN("resampling irqfd", HALT, O(0x20, 0x0a), I(0x20));
	printf("resampled: %" PRIu64 "\n", counted(again));
	RUN("its end", O(0x20, 0x20), O(0x20, 0x0a), I(0x20), TAKE);
	printf("resampled: %" PRIu64 "\n", counted(again));

	ioeventfd(io, GUEST_MMIO, 4, KVM_IOEVENTFD_FLAG_DATAMATCH, 7);
	ioeventfd(again, 0x600, 1, KVM_IOEVENTFD_FLAG_PIO, 0);
	RUN("ioeventfds", W(GUEST_MMIO, 7), W(GUEST_MMIO, 7), O(0x600, 1));
	printf("signalled: %" PRIu64 " %" PRIu64 "\n", counted(io), counted(again));
	RUN("another value", W(GUEST_MMIO, 8));
	machine_stop();
	close(fd);
	close(again);
	close(io);
}

/*
 * A write to a port that becomes an interrupt, while the program has no descriptor of the eventfd. It is
 * another process's, too: the kernel gives an irqfd up with the last descriptor.
 */
static void closed(const char *image)
{
	const struct kvm_ioeventfd port = { .addr = 0x600,
					    .len = 1,
					    .flags = KVM_IOEVENTFD_FLAG_PIO };
	struct kvm_ioeventfd args = port;
	struct kvm_irqfd irqfd = { .gsi = 3 };
	unsigned last;
	pid_t child;

	machine_start(image, false);
	last = (unsigned)vcpu.fd;
	args.fd = eventfd(0, EFD_CLOEXEC);
	child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	irqfd.fd = (uint32_t)args.fd;
	kvm_ioctl(vm.fd, KVM_IOEVENTFD, &args);
	kvm_ioctl(vm.fd, KVM_IRQFD, &irqfd);
	RUN("from port to interrupt", PIC_INIT(1), O(0x600, 1), HALT, O(0x20, 0x20), TAKE);
	if (close_range(last + 1, ~0u, 0))
		die("close_range: %s", strerror(errno));
	RUN("all closed at once", O(0x600, 1), HALT, O(0x20, 0x20), TAKE);
	for (int fd = (int)last + 1; fd < 2000; fd++)
		close(fd);
	RUN("closed one by one", O(0x600, 1), HALT, O(0x20, 0x20), TAKE);
	for (int fd = (int)last + 1; fd < 1000; fd++)
		dup2(0, fd);
	RUN("all taken by others", O(0x600, 1), HALT, O(0x20, 0x20), TAKE);
	kill(child, SIGKILL);
	machine_stop();
}

/* The second vCPU's third page is the same as the first's. */
static void coalesced(const char *image)
{
	const struct kvm_coalesced_mmio_ring *ring[2];
	struct vcpu second;

	machine_start(image, false);
	vcpu_create(&vm, &second, 1);
	ring[0] = (const void *)((const char *)vcpu.run + 2 * 4096);
	ring[1] = (const void *)((const char *)second.run + 2 * 4096);
	show("zone", zone(KVM_REGISTER_COALESCED_MMIO, GUEST_MMIO, 0x1000, 0));
	show("port", zone(KVM_REGISTER_COALESCED_MMIO, 0x700, 1, 1));
	RUN("writes", W(GUEST_MMIO + 8, 0x11223344), O(0x700, 5), W(GUEST_MMIO + 0xffc, 1));
	for (unsigned v = 0; v < 2; v++) {
		printf("ring of vCPU %u: %u to %u", v, ring[v]->first, ring[v]->last);
		for (unsigned i = ring[v]->first; i < ring[v]->last; i++) {
			const struct kvm_coalesced_mmio *e = &ring[v]->coalesced_mmio[i];

			printf(", %" PRIx64 " %u %u %02x%02x", (uint64_t)e->phys_addr, e->len,
			       e->pio, e->data[0], e->data[1]);
		}
		printf("\n");
	}
	RUN("a read", R(GUEST_MMIO));
	vcpu_destroy(&second);
	machine_stop();
}

int main(int argc, char **argv)
{
	if (argc != 2)
		die("usage: api_irqchip irqchip64.bin");
	without_guest();
	pic(argv[1]);
	ioapic(argv[1]);
	pit(argv[1]);
	events(argv[1]);
	coalesced(argv[1]);
	closed(argv[1]);
	return 0;
}
