/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A virtual machine monitor that throttles guests which take bus locks.
 *
 * A bus lock, a locked instruction whose operand crosses a cache line or lies in uncached memory,
 * stalls every core of the machine for a microsecond or more. One guest that does it in a loop takes
 * the memory bus from all its neighbours. Newer processors can leave the guest after each bus lock, and
 * KVM passes that on as an exit: then the monitor decides what it costs. Here the price is time. The
 * VM has an allowance of so many bus locks per second; a vCPU that exceeds it sleeps.
 *
 * The file is meant to be read from top to bottom: the policy, the VM, the exits, the vCPU's loop, the
 * command line. It uses <linux/kvm.h> and the C library only.
 *
 *	cc -O2 -pthread -o monitor monitor.c
 *	./monitor --mode long --vcpus 2 --offset 60 guest.bin            aligned operands: no bus lock
 *	./monitor --mode long --vcpus 2 --offset 62 guest.bin            split ones: needs the feature
 *	buslock exec -- ./monitor --mode long --offset 62 guest.bin      ... or an emulated KVM
 *
 * The guest is a flat image that starts at its first byte with these registers (in real mode their
 * low halves): DI the place of its locked operand in a cache line, CX how many locks to take, BX the
 * index of the vCPU, DX the number of vCPUs, SP a stack. It prints through port E9h or COM1 and ends
 * by HLT or by writing an exit code to port F4h.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAX_VCPUS   16
#define MAX_REASONS 64
#define CACHE_LINE  64
#define NSEC        1000000000ll

/* Where things are in the guest's memory. The image may be 28 KiB long. */
enum {
	LOAD = 0x1000,
	LOAD_END = 0x8000,
	GDT = 0xf000,
	PAGE_TABLES = 0x10000,
	STACKS = 0x20000,
};

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	va_start(arguments, format);
	fputs("monitor: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NSEC + t.tv_nsec;
}

/* ------------------------------------------------------------------ the policy */

/*
 * An allowance of `rate` bus locks per second for the whole VM, of which `burst` may come at once.
 *
 * It is kept as one number, the time at which the allowance would be whole again if no further lock
 * came ("theoretical arrival time"; the algorithm is known as GCRA). Each lock moves it by one
 * interval into the future. As long as it is less than `burst` intervals ahead of the clock the guest
 * goes on; otherwise the vCPU that took the lock sleeps until it is.
 *
 * The limit belongs to the VM, not to the vCPU: a guest must not get more by having more vCPUs.
 */
struct limit {
	pthread_mutex_t mutex;
	int64_t interval; /* ns between two bus locks; 0: no limit */
	int64_t burst;
	int64_t whole_at; /* CLOCK_MONOTONIC, ns */
};

/* How long the vCPU has to sleep for the bus lock that it has just taken: until when, or 0. */
static int64_t limit_take(struct limit *limit)
{
	int64_t now = now_ns(), until = 0;

	if (!limit->interval)
		return 0;
	pthread_mutex_lock(&limit->mutex);
	if (limit->whole_at < now)
		limit->whole_at = now;
	limit->whole_at += limit->interval;
	if (limit->whole_at - now > limit->burst * limit->interval)
		until = limit->whole_at - limit->burst * limit->interval;
	pthread_mutex_unlock(&limit->mutex);
	return until;
}

/* ------------------------------------------------------------------ the VM */

enum mode { REAL, PROTECTED, LONG };

struct options {
	enum mode mode;
	const char *image;
	unsigned vcpus;
	uint64_t offset, size, count;
	uint64_t rate, burst;
	uint64_t memory;
	uint64_t native_split_locks;
	unsigned seconds;
	bool state;
};

struct vm;

struct vcpu {
	struct vm *vm;
	unsigned index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	_Atomic bool alive; /* `thread` may be signalled */

	/* statistics: written by the vCPU's own thread, read when it has ended */
	uint64_t runs, interrupted;
	uint64_t exits[MAX_REASONS];
	uint64_t bus_locks;       /* returns with the bus-lock flag */
	uint64_t bus_locks_aside; /* of these: on an exit for another reason */
	uint64_t sleeps;
	int64_t slept;
	uint64_t unknown_accesses; /* ports and addresses without a device */
	const char *end;           /* why it ended */
	bool failed;
};

struct vm {
	const struct options *options;
	int kvm, fd;
	uint8_t *memory;
	struct limit limit;
	bool detects; /* bus-lock exits are on */
	struct vcpu vcpu[MAX_VCPUS];
	pthread_mutex_t console;
	_Atomic bool stop; /* every vCPU shall end */
	_Atomic int exit_code;
};

static struct vm the_vm; /* the signal handler needs it */

/*
 * Turn bus-lock exits on, if there are any.
 *
 * KVM_ENABLE_CAP says nothing about that: it returns 0 also on a machine without the feature and has
 * no effect there. KVM_CHECK_EXTENSION is the one to ask. And it has to be done before the first vCPU
 * is created: later it does not reach those that exist (KVM api.rst 7.22).
 */
static void enable_bus_lock_exits(struct vm *vm)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_BUS_LOCK_EXIT,
		.args = { KVM_BUS_LOCK_DETECTION_EXIT },
	};
	int offered = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT);

	if (offered > 0 && (offered & KVM_BUS_LOCK_DETECTION_EXIT)) {
		if (ioctl(vm->fd, KVM_ENABLE_CAP, &cap))
			fail("KVM_ENABLE_CAP: KVM_CAP_X86_BUS_LOCK_EXIT: %s", strerror(errno));
		vm->detects = true;
	}
	printf("bus-lock exits: %s (KVM_CAP_X86_BUS_LOCK_EXIT is %d)\n",
	       vm->detects ? "on" : "not offered by this KVM", offered);
}

/*
 * Without detection nobody would notice what a guest with split locks does to the machine, so it does
 * not get to run. The caller tells us where in a line the guest's locked operand lies.
 */
static void check_split_locks(const struct vm *vm, struct options *options)
{
	if (vm->detects || options->offset % CACHE_LINE + options->size <= CACHE_LINE)
		return;
	if (!options->native_split_locks)
		fail("--offset %" PRIu64 ": operands of %" PRIu64
		     " bytes there cross a cache line, and "
		     "this KVM does not report bus locks: each would stall every core unseen. Use "
		     "an "
		     "aligned --offset (60), run under `buslock exec`, or allow N of them with "
		     "--native-split-locks N",
		     options->offset, options->size);
	if (options->count > options->native_split_locks) {
		options->count = options->native_split_locks;
		printf("split locks without detection: limited to %" PRIu64
		       " (--native-split-locks)\n",
		       options->count);
	}
}

static void load_image(struct vm *vm, const char *path)
{
	FILE *file = fopen(path, "rb");

	if (!file)
		fail("%s: %s", path, strerror(errno));
	if (!fread(vm->memory + LOAD, 1, LOAD_END - LOAD, file) || fgetc(file) != EOF)
		fail("%s: empty, or larger than %d bytes", path, LOAD_END - LOAD);
	fclose(file);
}

static void create_vm(struct vm *vm, struct options *options)
{
	vm->options = options;
	vm->exit_code = -1;
	pthread_mutex_init(&vm->console, NULL);
	pthread_mutex_init(&vm->limit.mutex, NULL);
	vm->limit.interval = options->rate ? NSEC / (int64_t)options->rate : 0;
	vm->limit.burst = (int64_t)options->burst;

	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm < 0)
		fail("/dev/kvm: %s. Without KVM, run this program under `buslock exec`",
		     strerror(errno));
	int version = ioctl(vm->kvm, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		fail("/dev/kvm: API version %d, not %d", version, KVM_API_VERSION);
	do
		vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	while (vm->fd < 0 && errno == EINTR);
	if (vm->fd < 0)
		fail("KVM_CREATE_VM: %s", strerror(errno));
	/* Intel wants three pages of its own below 4 GiB for real mode; others ignore it. */
	if (ioctl(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000))
		fail("KVM_SET_TSS_ADDR: %s", strerror(errno));
	enable_bus_lock_exits(vm);
	check_split_locks(vm, options);

	vm->memory = mmap(NULL, options->memory, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (vm->memory == MAP_FAILED)
		fail("%" PRIu64 " bytes of guest memory: %s", options->memory, strerror(errno));
	struct kvm_userspace_memory_region region = {
		.memory_size = options->memory,
		.userspace_addr = (uintptr_t)vm->memory,
	};
	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region))
		fail("KVM_SET_USER_MEMORY_REGION: %s", strerror(errno));
	load_image(vm, options->image);
}

/* ------------------------------------------------------------------ a vCPU's first state */

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code64)
{
	return (struct kvm_segment){ .limit = 0xffffffff,
				     .selector = selector,
				     .type = type,
				     .present = 1,
				     .db = !code64,
				     .s = 1,
				     .l = code64,
				     .g = 1 };
}

/* Flat segments; for long mode the first 4 GiB mapped onto themselves by 2 MiB pages. */
static void write_tables(struct vm *vm)
{
	static const uint64_t gdt[] = {
		0,
		0x00cf9b000000ffff, /* 08: 32-bit code */
		0x00cf93000000ffff, /* 10: data */
		0x00af9b000000ffff, /* 18: 64-bit code */
		0x00affb000000ffff, /* 20: 64-bit code, user */
		0x00cff3000000ffff, /* 28: data, user */
	};
	uint64_t *pml4 = (uint64_t *)(vm->memory + PAGE_TABLES);
	uint64_t *pdpt = pml4 + 512, *pd = pdpt + 512;

	memcpy(vm->memory + GDT, gdt, sizeof(gdt));
	pml4[0] = (PAGE_TABLES + 0x1000) | 7;
	for (unsigned i = 0; i < 4; i++)
		pdpt[i] = (PAGE_TABLES + 0x2000 + i * 0x1000u) | 7;
	for (uint64_t i = 0; i < 4 * 512; i++)
		pd[i] = i << 21 | 0x87;
}

static void set_start_state(struct vcpu *vcpu)
{
	const struct options *options = vcpu->vm->options;
	struct kvm_sregs sregs;
	struct kvm_regs regs = {
		.rip = LOAD,
		.rflags = 2,
		.rdi = options->offset,
		.rcx = options->count,
		.rbx = vcpu->index,
		.rdx = options->vcpus,
		.rsp = STACKS + (vcpu->index + 1) * 0x1000,
	};

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		fail("KVM_GET_SREGS: %s", strerror(errno));
	if (options->mode == REAL) {
		/* After reset CS points to the top of memory; the image lies at the bottom. */
		sregs.cs.base = sregs.cs.selector = 0;
		regs.rsp = 0x7000 + vcpu->index * 0x100;
	} else {
		sregs.cr0 = 0x31; /* PE, ET, NE */
		sregs.gdt.base = GDT;
		sregs.gdt.limit = 0xff;
		sregs.cs = segment(0x08, 11, false);
		sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(0x10, 3, false);
	}
	if (options->mode == LONG) {
		sregs.cs = segment(0x18, 11, true);
		sregs.cr3 = PAGE_TABLES;
		sregs.cr4 = 0x620;     /* PAE, OSFXSR, OSXMMEXCPT */
		sregs.efer = 0x500;    /* LME, LMA */
		sregs.cr0 |= 1u << 31; /* PG */
	}
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs))
		fail("KVM_SET_SREGS: %s", strerror(errno));
	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		fail("KVM_SET_REGS: %s", strerror(errno));
}

static void create_vcpu(struct vm *vm, unsigned index)
{
	const size_t entries = 256;
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + entries * sizeof(cpuid->entries[0]));
	struct vcpu *vcpu = &vm->vcpu[index];
	int size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (vcpu->fd < 0)
		fail("KVM_CREATE_VCPU %u: %s", index, strerror(errno));
	if (size < (int)sizeof(struct kvm_run))
		fail("KVM_GET_VCPU_MMAP_SIZE: %d", size);
	vcpu->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		fail("mmap of vCPU %u: %s", index, strerror(errno));
	/* The guest gets every processor feature that KVM can give. */
	if (!cpuid)
		fail("no memory for CPUID");
	cpuid->nent = entries;
	if (ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, cpuid))
		fail("KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid))
		fail("KVM_SET_CPUID2: %s", strerror(errno));
	free(cpuid);
	set_start_state(vcpu);
}

/* ------------------------------------------------------------------ stopping */

/*
 * Ends KVM_RUN in all vCPUs. immediate_exit catches a vCPU that is about to call KVM_RUN, the signal
 * one that is inside: KVM looks at immediate_exit only at the entry. Both are needed, in this order.
 */
static void stop_all(struct vm *vm)
{
	atomic_store(&vm->stop, true);
	for (unsigned i = 0; i < vm->options->vcpus; i++) {
		vm->vcpu[i].run->immediate_exit = 1;
		if (atomic_load(&vm->vcpu[i].alive))
			pthread_kill(vm->vcpu[i].thread, SIGUSR1);
	}
}

static void on_stop_signal(int signal)
{
	int saved = errno;

	(void)signal;
	stop_all(&the_vm);
	errno = saved;
}
static void on_kick(int signal)
{
	(void)signal; /* that KVM_RUN returns is all we want */
}

static void install_handlers(unsigned seconds)
{
	struct sigaction action = { .sa_handler = on_kick };

	/* No SA_RESTART: KVM_RUN and the policy's sleep shall return EINTR. */
	sigaction(SIGUSR1, &action, NULL);
	action.sa_handler = on_stop_signal;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	alarm(seconds);
}

/* ------------------------------------------------------------------ exits */

/* What an exit means for the loop of the vCPU. */
enum verdict { GO_ON, END, END_FAILED };

static enum verdict ended(struct vcpu *vcpu, const char *why, bool failed)
{
	vcpu->end = why;
	vcpu->failed = failed;
	return failed ? END_FAILED : END;
}

static enum verdict handle_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	size_t bytes =
		(size_t)run->io.size * run->io.count; /* string instructions: more than one */
	bool out = run->io.direction == KVM_EXIT_IO_OUT;

	switch (run->io.port) {
	case 0xe9:  /* debug console; reads as itself, which is how guests look for it */
	case 0x3f8: /* COM1, data */
		if (out) {
			pthread_mutex_lock(&vcpu->vm->console);
			fwrite(data, 1, bytes, stdout);
			pthread_mutex_unlock(&vcpu->vm->console);
		} else {
			memset(data, run->io.port == 0xe9 ? 0xe9 : 0, bytes);
		}
		return GO_ON;
	case 0x3fd: /* COM1, line status: transmitter empty */
		if (!out)
			memset(data, 0x60, bytes);
		return GO_ON;
	case 0xf4:
		if (!out)
			break;
		atomic_store(&vcpu->vm->exit_code, data[0]);
		stop_all(vcpu->vm);
		return ended(vcpu, "left through the exit port", false);
	}
	vcpu->unknown_accesses++;
	if (!out)
		memset(data, 0xff, bytes); /* nobody drives the bus */
	return GO_ON;
}

static enum verdict handle_mmio(struct vcpu *vcpu)
{
	vcpu->unknown_accesses++;
	if (!vcpu->run->mmio.is_write)
		memset(vcpu->run->mmio.data, 0xff, sizeof(vcpu->run->mmio.data));
	return GO_ON;
}

static void print_registers(const struct vcpu *vcpu)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &r) || ioctl(vcpu->fd, KVM_GET_SREGS, &s))
		return;
	printf("vcpu %u: rip=%llx rflags=%llx rax=%llx rbx=%llx rcx=%llx rdx=%llx rsi=%llx "
	       "rdi=%llx "
	       "rsp=%llx rbp=%llx cs=%x cr0=%llx\n",
	       vcpu->index, r.rip, r.rflags, r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rsp, r.rbp,
	       s.cs.selector, s.cr0);
}

static enum verdict handle_internal_error(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	/* Suberror 1: KVM met an instruction that it cannot emulate. Newer kernels say which. */
	printf("vcpu %u: KVM internal error, suberror %u", vcpu->index, run->internal.suberror);
	if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && run->internal.ndata >= 3 &&
	    (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
		printf(", instruction");
		for (unsigned i = 0; i < run->emulation_failure.insn_size && i < 15; i++)
			printf(" %02x", run->emulation_failure.insn_bytes[i]);
	}
	putchar('\n');
	print_registers(vcpu);
	return ended(vcpu, "KVM internal error", true);
}

/* Every exit that a monitor without in-kernel interrupt controller can get from KVM on x86. */
static enum verdict handle_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		return handle_io(vcpu);
	case KVM_EXIT_MMIO:
		return handle_mmio(vcpu);
	case KVM_EXIT_X86_BUS_LOCK:
		return GO_ON; /* note_bus_lock() has seen the flag */
	case KVM_EXIT_HLT:
		/* We inject no interrupts, so nothing would wake it up. */
		return ended(vcpu, "halted", false);
	case KVM_EXIT_SHUTDOWN:
		print_registers(vcpu);
		return ended(vcpu, "triple fault", true);
	case KVM_EXIT_INTERNAL_ERROR:
		return handle_internal_error(vcpu);
	case KVM_EXIT_FAIL_ENTRY:
		printf("vcpu %u: VM entry failed, hardware reason %#llx\n", vcpu->index,
		       (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		return ended(vcpu, "VM entry failed", true);
	case KVM_EXIT_DEBUG:
		/* Only after KVM_SET_GUEST_DEBUG, which we do not use. */
		printf("vcpu %u: debug exit at %#llx, exception %u\n", vcpu->index,
		       (unsigned long long)run->debug.arch.pc, run->debug.arch.exception);
		return ended(vcpu, "debug exit that nobody asked for", true);
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR:
		return GO_ON;
	case KVM_EXIT_UNKNOWN:
		printf("vcpu %u: hardware exit reason %#llx is not known to KVM\n", vcpu->index,
		       (unsigned long long)run->hw.hardware_exit_reason);
		return ended(vcpu, "unknown hardware exit", true);
	default:
		printf("vcpu %u: exit reason %u is not handled here\n", vcpu->index,
		       run->exit_reason);
		return ended(vcpu, "exit that is not handled", true);
	}
}

/* ------------------------------------------------------------------ a vCPU's life */

/*
 * The flag, not the exit reason, tells of a bus lock: a locked instruction may leave the guest for
 * another reason as well, and then that reason stands in exit_reason and only the flag tells the rest.
 */
static void note_bus_lock(struct vcpu *vcpu)
{
	int64_t begun = now_ns(), until;

	vcpu->bus_locks++;
	vcpu->bus_locks_aside += vcpu->run->exit_reason != KVM_EXIT_X86_BUS_LOCK;
	until = limit_take(&vcpu->vm->limit);
	if (!until)
		return;
	vcpu->sleeps++;
	struct timespec deadline = { .tv_sec = until / NSEC, .tv_nsec = until % NSEC };
	while (!atomic_load(&vcpu->vm->stop) &&
	       clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL) == EINTR)
		;
	vcpu->slept += now_ns() - begun;
}

static void *run_vcpu(void *argument)
{
	struct vcpu *vcpu = argument;
	enum verdict verdict = GO_ON;

	vcpu->thread = pthread_self();
	atomic_store(&vcpu->alive,
		     true); /* a stop_all() from now on signals; an earlier one set `stop` */
	while (verdict == GO_ON) {
		if (atomic_load(&vcpu->vm->stop)) {
			vcpu->end = "stopped";
			break;
		}
		int result = ioctl(vcpu->fd, KVM_RUN, 0);
		int error = errno;

		vcpu->runs++;
		/* KVM clears the flags at each KVM_RUN, so what is set now happened in this one. */
		if (vcpu->run->flags & KVM_RUN_X86_BUS_LOCK)
			note_bus_lock(vcpu);
		if (result < 0) {
			/* A signal. exit_reason may still hold the last exit's: do not look at it. */
			if (error == EINTR || error == EAGAIN) {
				vcpu->interrupted++;
				continue;
			}
			printf("vcpu %u: KVM_RUN: %s\n", vcpu->index, strerror(error));
			verdict = ended(vcpu, "KVM_RUN failed", true);
			break;
		}
		vcpu->exits[vcpu->run->exit_reason < MAX_REASONS ? vcpu->run->exit_reason
								 : MAX_REASONS - 1]++;
		verdict = handle_exit(vcpu);
	}
	atomic_store(&vcpu->alive, false);
	if (verdict == END_FAILED)
		stop_all(vcpu->vm);
	return NULL;
}

static void run_vm(struct vm *vm)
{
	pthread_t threads[MAX_VCPUS];

	for (unsigned i = 0; i < vm->options->vcpus; i++)
		if (pthread_create(&threads[i], NULL, run_vcpu, &vm->vcpu[i]))
			fail("no thread for vCPU %u", i);
	for (unsigned i = 0; i < vm->options->vcpus; i++)
		pthread_join(threads[i], NULL);
}

/* ------------------------------------------------------------------ statistics */

static const char *reason_name(unsigned reason)
{
	static const char *const names[MAX_REASONS] = {
		[KVM_EXIT_UNKNOWN] = "unknown",
		[KVM_EXIT_IO] = "io",
		[KVM_EXIT_DEBUG] = "debug",
		[KVM_EXIT_HLT] = "hlt",
		[KVM_EXIT_MMIO] = "mmio",
		[KVM_EXIT_IRQ_WINDOW_OPEN] = "irq-window",
		[KVM_EXIT_SHUTDOWN] = "shutdown",
		[KVM_EXIT_FAIL_ENTRY] = "fail-entry",
		[KVM_EXIT_INTR] = "intr",
		[KVM_EXIT_SET_TPR] = "set-tpr",
		[KVM_EXIT_INTERNAL_ERROR] = "internal-error",
		[KVM_EXIT_X86_BUS_LOCK] = "bus-lock",
	};
	return names[reason] ? names[reason] : "other";
}

static int print_statistics(const struct vm *vm, int64_t duration)
{
	uint64_t locks = 0, sleeps = 0;
	int64_t slept = 0;
	bool failed = false;

	for (unsigned i = 0; i < vm->options->vcpus; i++) {
		const struct vcpu *vcpu = &vm->vcpu[i];

		printf("vcpu %u: %s; runs=%" PRIu64, i, vcpu->end, vcpu->runs);
		for (unsigned reason = 0; reason < MAX_REASONS; reason++)
			if (vcpu->exits[reason])
				printf(" %s=%" PRIu64, reason_name(reason), vcpu->exits[reason]);
		printf(" interrupted=%" PRIu64 " unknown-accesses=%" PRIu64 "\n", vcpu->interrupted,
		       vcpu->unknown_accesses);
		printf("vcpu %u: bus-locks=%" PRIu64 " with-other-exits=%" PRIu64 " sleeps=%" PRIu64
		       " slept=%.3fs\n",
		       i, vcpu->bus_locks, vcpu->bus_locks_aside, vcpu->sleeps,
		       (double)vcpu->slept / NSEC);
		locks += vcpu->bus_locks;
		sleeps += vcpu->sleeps;
		slept += vcpu->slept;
		failed |= vcpu->failed;
	}
	printf("vm: bus-locks=%" PRIu64 " sleeps=%" PRIu64 " slept=%.3fs ran=%.3fs", locks, sleeps,
	       (double)slept / NSEC, (double)duration / NSEC);
	if (locks && duration)
		printf(" rate=%.1f/s", (double)locks * NSEC / (double)duration);
	if (vm->exit_code >= 0)
		printf(" exit-code=%d", vm->exit_code);
	putchar('\n');
	return failed ? 1 : 0;
}

/* For comparing two machines: registers, and the guest's memory as one number (FNV-1a). */
static void print_state(const struct vm *vm)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (unsigned i = 0; i < vm->options->vcpus; i++) {
		struct vcpu *vcpu = (struct vcpu *)&vm->vcpu[i];

		/* Complete an OUT that is being handled, so that RIP is behind it everywhere. */
		vcpu->run->immediate_exit = 1;
		if (ioctl(vcpu->fd, KVM_RUN, 0) < 0 && errno != EINTR)
			printf("vcpu %u: KVM_RUN: %s\n", i, strerror(errno));
		print_registers(vcpu);
	}
	/* The page tables are left out: when a processor sets accessed bits is its own business. */
	for (uint64_t at = 0; at < vm->options->memory; at++)
		if (at < PAGE_TABLES || at >= STACKS)
			hash = (hash ^ vm->memory[at]) * 0x100000001b3u;
	printf("memory: %016" PRIx64 "\n", hash);
}

/* ------------------------------------------------------------------ the command line */

static const char usage_text[] =
	"usage: monitor [option...] IMAGE\n"
	"Runs a flat guest image on /dev/kvm and limits the bus locks it may take.\n"
	"  -m, --mode=MODE       real, protected or long (default long)\n"
	"  -v, --vcpus=N         1 to 16 vCPUs, a thread each (default 1)\n"
	"  -o, --offset=N        where the guest's locked operand lies in its cache line: given to "
	"the\n"
	"                        guest in DI (default 60, aligned)\n"
	"  -s, --size=N          size of that operand in bytes (default 4)\n"
	"  -c, --count=N         how many locks the guest shall take: given in CX (default 100)\n"
	"  -r, --rate=N          bus locks a second for the whole VM, 0: no limit (default 10)\n"
	"  -b, --burst=N         bus locks that may come at once (default 1)\n"
	"      --memory=MIB      guest memory (default 4)\n"
	"      --seconds=N       stop after N seconds (default 0: never)\n"
	"      --state           print registers and a checksum of memory at the end\n"
	"      --native-split-locks=N\n"
	"                        on a KVM without bus-lock exits let a guest with split locks take "
	"N\n"
	"                        of them (default 0: refuse)\n"
	"  -h, --help\n";

static uint64_t number(const char *option, const char *text, uint64_t min, uint64_t max)
{
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || end == text || *end || *text == '-' || value < min || value > max)
		fail("--%s=%s: not a number from %" PRIu64 " to %" PRIu64, option, text, min, max);
	return value;
}

static enum mode mode_of(const char *text)
{
	static const char *const names[] = {
		[REAL] = "real", [PROTECTED] = "protected", [LONG] = "long"
	};

	for (unsigned mode = REAL; mode <= LONG; mode++)
		if (!strcmp(text, names[mode]))
			return (enum mode)mode;
	fail("--mode=%s: not real, protected or long", text);
}

static void parse(struct options *o, int argc, char **argv)
{
	enum { MEMORY = 256, SECONDS, STATE, NATIVE };
	static const struct option long_options[] = {
		{ "mode", required_argument, NULL, 'm' },
		{ "vcpus", required_argument, NULL, 'v' },
		{ "offset", required_argument, NULL, 'o' },
		{ "size", required_argument, NULL, 's' },
		{ "count", required_argument, NULL, 'c' },
		{ "rate", required_argument, NULL, 'r' },
		{ "burst", required_argument, NULL, 'b' },
		{ "memory", required_argument, NULL, MEMORY },
		{ "seconds", required_argument, NULL, SECONDS },
		{ "state", no_argument, NULL, STATE },
		{ "native-split-locks", required_argument, NULL, NATIVE },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "m:v:o:s:c:r:b:h", long_options, NULL)) >= 0) {
		switch (option) {
		case 'm':
			o->mode = mode_of(optarg);
			break;
		case 'v':
			o->vcpus = (unsigned)number("vcpus", optarg, 1, MAX_VCPUS);
			break;
		case 'o':
			o->offset = number("offset", optarg, 0, 0xfff);
			break;
		case 's':
			o->size = number("size", optarg, 1, 16);
			break;
		case 'c':
			o->count = number("count", optarg, 1, UINT64_MAX);
			break;
		case 'r':
			o->rate = number("rate", optarg, 0, 1000000);
			break;
		case 'b':
			o->burst = number("burst", optarg, 1, 1000000);
			break;
		case MEMORY:
			o->memory = number("memory", optarg, 1, 3072) << 20;
			break;
		case SECONDS:
			o->seconds = (unsigned)number("seconds", optarg, 0, 1000000);
			break;
		case STATE:
			o->state = true;
			break;
		case NATIVE:
			o->native_split_locks = number("native-split-locks", optarg, 0, 1000000);
			break;
		case 'h':
			fputs(usage_text, stdout);
			exit(0);
		default:
			fputs(usage_text, stderr);
			exit(2);
		}
	}
	if (optind + 1 != argc) {
		fputs(usage_text, stderr);
		exit(2);
	}
	o->image = argv[optind];
}

int main(int argc, char **argv)
{
	struct options options = {
		.mode = LONG,
		.vcpus = 1,
		.offset = 60,
		.size = 4,
		.count = 100,
		.rate = 10,
		.burst = 1,
		.memory = 4 << 20,
	};
	struct vm *vm = &the_vm;

	parse(&options, argc, argv);
	create_vm(vm, &options);
	write_tables(vm);
	for (unsigned i = 0; i < options.vcpus; i++)
		create_vcpu(vm, i);
	install_handlers(options.seconds);

	int64_t begun = now_ns();
	run_vm(vm);
	int status = print_statistics(vm, now_ns() - begun);
	if (options.state)
		print_state(vm);
	return status;
}
