/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs a flat guest (tests/guests) on /dev/kvm and prints, in a form that two runs can be compared by,
 * what a monitor sees: console text, exits, final registers, a digest of memory. What only a machine
 * with bus-lock detection shows is printed with --detect alone.
 *
 * Exit status: 0 when the guest came to an end by itself, 1 when not, 2 when the API refused, 77 when
 * there is no /dev/kvm.
 */
#include "tests/integration/kvm_api.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>

#define MAX_VCPUS 16

struct settings {
	enum guest_mode mode;
	const char *image;
	uint64_t offset, count;
	unsigned vcpus;
	bool detect;
	long watch;          /* address of a counter that must read n at bus lock n, or -1 */
	unsigned interrupts; /* vector 0x20, so often, whenever the guest halts with IF set */
	unsigned exits;      /* more than so many are a guest run wild */
	bool no_regs, no_memory;
};

struct runner {
	const struct settings *settings;
	struct vcpu vcpu;
	unsigned index;
	pthread_t thread;
	unsigned exits, bus_lock_exits, bus_lock_flags, watch_wrong, interrupts, windows;
	uint8_t in_counter;
	bool ended;
	uint64_t lock_rip; /* RIP at the last bus-lock exit */
	bool rip_varies;
};

/* Devices: the console prints, the exit port ends; inputs are a row of bytes that any run repeats. */
static bool handle_io(struct runner *r)
{
	struct kvm_run *run = r->vcpu.run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned bytes = run->io.size * run->io.count;

	if (run->io.direction == KVM_EXIT_IO_OUT && run->io.port == 0xe9) {
		fwrite(data, 1, bytes, stdout);
		return false;
	}
	if (run->io.direction == KVM_EXIT_IO_OUT && run->io.port == 0xf4) {
		printf("exit code %u\n", data[0]);
		/* Whether RIP is on or behind an OUT whose exit is being handled is the processor's
		 * choice; completing it without running on makes it the same everywhere. */
		run->immediate_exit = 1;
		_vcpu_run(&r->vcpu);
		r->ended = true;
		return true;
	}
	print_io(run);
	if (run->io.direction == KVM_EXIT_IO_IN)
		for (unsigned i = 0; i < bytes; i++)
			data[i] = r->in_counter++;
	return false;
}

static void handle_mmio(struct runner *r)
{
	struct kvm_run *run = r->vcpu.run;

	print_mmio(run);
	if (!run->mmio.is_write)
		for (unsigned i = 0; i < run->mmio.len; i++)
			run->mmio.data[i] = (uint8_t)(0x80 + (run->mmio.phys_addr + i) * 7);
}

static void note_bus_lock(struct runner *r)
{
	const struct settings *s = r->settings;
	struct kvm_regs regs;
	uint32_t counter;

	r->bus_lock_exits++;
	vcpu_get_regs(&r->vcpu, &regs);
	r->rip_varies |= r->lock_rip && r->lock_rip != regs.rip;
	r->lock_rip = regs.rip;
	if (s->watch >= 0) {
		memcpy(&counter, r->vcpu.vm->memory + s->watch, sizeof(counter));
		r->watch_wrong += counter != r->bus_lock_exits;
	}
}

/* HLT: with interrupts to give, wake it up (KVM_INTERRUPT); without, that is the end. */
static bool handle_hlt(struct runner *r)
{
	if (r->interrupts < r->settings->interrupts) {
		struct kvm_interrupt interrupt = { .irq = 0x20 };

		if (!r->vcpu.run->ready_for_interrupt_injection) {
			printf("HLT, not ready for an interrupt\n");
			return true;
		}
		kvm_ioctl(r->vcpu.fd, KVM_INTERRUPT, &interrupt);
		r->interrupts++;
		return false;
	}
	if (!r->index) /* when the others halt is a matter of their threads */
		printf("HLT\n");
	r->ended = true;
	return true;
}

/* One exit; true: the guest has come to an end. */
static bool handle_exit(struct runner *r)
{
	struct kvm_run *run = r->vcpu.run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		return handle_io(r);
	case KVM_EXIT_MMIO:
		handle_mmio(r);
		return false;
	case KVM_EXIT_HLT:
		return handle_hlt(r);
	case KVM_EXIT_X86_BUS_LOCK:
		note_bus_lock(r);
		return false;
	case KVM_EXIT_SHUTDOWN:
		printf("SHUTDOWN\n");
		return true;
	case KVM_EXIT_INTERNAL_ERROR:
		printf("INTERNAL_ERROR suberror=%u\n", run->internal.suberror);
		return true;
	default:
		printf("%s\n", exit_name(run->exit_reason));
		return true;
	}
}

static void *run_vcpu(void *argument)
{
	struct runner *r = argument;

	while (r->exits++ < r->settings->exits) {
		long result = _vcpu_run(&r->vcpu);

		if (result == -EINTR)
			continue;
		if (result < 0) {
			printf("KVM_RUN: %s\n", result_name(result));
			return NULL;
		}
		r->bus_lock_flags += !!(r->vcpu.run->flags & KVM_RUN_X86_BUS_LOCK);
		if (handle_exit(r)) {
			return NULL;
		}
	}
	printf("more than %u exits\n", r->settings->exits);
	return NULL;
}

static void print_end(const struct settings *s, struct vm *vm, struct runner *runners)
{
	for (unsigned i = 0; i < s->vcpus && !s->no_regs; i++) {
		struct kvm_regs regs;
		struct kvm_sregs sregs;

		vcpu_get_regs(&runners[i].vcpu, &regs);
		vcpu_get_sregs(&runners[i].vcpu, &sregs);
		if (s->vcpus > 1)
			printf("vcpu %u\n", i);
		print_regs(&regs);
		printf("cs=%x ss=%x cr0=%llx cr2=%llx cr3=%llx efer=%llx\n", sregs.cs.selector,
		       sregs.ss.selector, sregs.cr0, sregs.cr2, sregs.cr3, sregs.efer);
	}
	if (!s->no_memory) {
		/* Not the page tables: when accessed bits are set is the processor's choice. */
		printf("memory below tables %016" PRIx64 "\n", digest(vm->memory, GUEST_TABLES));
		printf("memory above tables %016" PRIx64 "\n",
		       digest(vm->memory + GUEST_STACKS, vm->memory_size - GUEST_STACKS));
	}
	for (unsigned i = 0; i < s->vcpus && s->detect; i++) {
		struct runner *r = &runners[i];

		printf("vcpu %u: bus-lock exits %u, flags %u", i, r->bus_lock_exits,
		       r->bus_lock_flags);
		if (s->watch >= 0)
			printf(", counter %s",
			       r->watch_wrong ? "does not follow" : "reads n at exit n");
		if (r->bus_lock_exits)
			printf(", rip %" PRIx64 "%s", r->lock_rip,
			       r->rip_varies ? " and others" : "");
		putchar('\n');
	}
	if (s->interrupts)
		printf("interrupts given %u\n", runners[0].interrupts);
}

static const char help[] =
	"usage: run_guest [--mode real|protected|long] [--offset N] [--count N] [--vcpus N] "
	"[--detect]\n"
	"                 [--watch ADDRESS] [--interrupts N] [--exits N] [--no-regs]\n"
	"                 [--no-memory] IMAGE\n";

static void parse(struct settings *s, int argc, char **argv)
{
	static const struct option options[] = {
		{ "mode", 1, NULL, 'm' },
		{ "offset", 1, NULL, 'o' },
		{ "count", 1, NULL, 'c' },
		{ "vcpus", 1, NULL, 'v' },
		{ "detect", 0, NULL, 'd' },
		{ "watch", 1, NULL, 'w' },
		{ "exits", 1, NULL, 'e' },
		{ "interrupts", 1, NULL, 'i' },
		{ "no-regs", 0, NULL, 'r' },
		{ "no-memory", 0, NULL, 'n' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'm':
			s->mode = optarg[0] == 'r'   ? GUEST_REAL
				  : optarg[0] == 'p' ? GUEST_PROTECTED
						     : GUEST_LONG;
			break;
		case 'o':
			s->offset = strtoull(optarg, NULL, 0);
			break;
		case 'c':
			s->count = strtoull(optarg, NULL, 0);
			break;
		case 'v':
			s->vcpus = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'd':
			s->detect = true;
			break;
		case 'w':
			s->watch = strtol(optarg, NULL, 0);
			break;
		case 'i':
			s->interrupts = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'e':
			s->exits = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'r':
			s->no_regs = true;
			break;
		case 'n':
			s->no_memory = true;
			break;
		default:
			die("%s", help);
		}
	}
	if (optind + 1 != argc || !s->vcpus || s->vcpus > MAX_VCPUS)
		die("%s", help);
	s->image = argv[optind];
}

int main(int argc, char **argv)
{
	struct settings settings = {
		.mode = GUEST_LONG,
		.offset = 60,
		.count = 100,
		.vcpus = 1,
		.watch = -1,
		.exits = 20000,
	};
	struct runner runners[MAX_VCPUS] = { 0 };
	struct vm vm;
	bool ended = true;

	parse(&settings, argc, argv);
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	vm_create(&vm, GUEST_MEMORY);
	if (settings.detect) {
		printf("capability 193: %ld\n", vm.bus_lock);
		kvm_checked(_vm_enable_cap(vm.fd, KVM_CAP_X86_BUS_LOCK_EXIT, 0,
					   KVM_BUS_LOCK_DETECTION_EXIT),
			    "KVM_ENABLE_CAP 193");
	}
	guest_load(&vm, settings.image);
	for (unsigned i = 0; i < settings.vcpus; i++) {
		runners[i].settings = &settings;
		runners[i].index = i;
		vcpu_create(&vm, &runners[i].vcpu, i);
		vcpu_start(&runners[i].vcpu, settings.mode, GUEST_LOAD, settings.offset,
			   settings.count, i, settings.vcpus);
	}
	for (unsigned i = 1; i < settings.vcpus; i++)
		if (pthread_create(&runners[i].thread, NULL, run_vcpu, &runners[i]))
			die("pthread_create: no thread for vCPU %u", i);
	run_vcpu(&runners[0]);
	for (unsigned i = 1; i < settings.vcpus; i++)
		pthread_join(runners[i].thread, NULL);
	for (unsigned i = 0; i < settings.vcpus; i++)
		ended &= runners[i].ended;
	print_end(&settings, &vm, runners);
	return ended ? 0 : 1;
}
