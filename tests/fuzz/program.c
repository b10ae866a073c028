// SPDX-License-Identifier: GPL-2.0-only
#include "tests/fuzz/program.h"

#include "vmm_shim/internal.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

uint64_t fuzz_seed, fuzz_calls;
unsigned fuzz_differences;

#define DESCRIPTORS 16
#define THREADS     3
#define ARENA       (1u << 20) /* guest memory */
#define SCRATCH     (64u << 10)
#define HANG_TICKS  10000 /* of 2 ms */

struct descriptor {
	int fd, device; /* device: the real one's, -1 without */
	enum shim_kind kind;
};

/* A thread's program. */
struct fuzz {
	const uint8_t *data;
	size_t size, at;
	uint8_t *scratch;  /* arguments; an unmapped page follows */
	uint8_t *template; /* by number: what such a call was last given or gave, 4096 bytes each */
	unsigned thread;
};

/* Shared by the threads of a program. */
static _Atomic uint64_t
	descriptors[DESCRIPTORS]; /* fd + 1 | (device + 1) << 24 | kind << 48; 0: none */
static uint8_t *arena;
static struct kvm_run *_Atomic runs[DESCRIPTORS];
static bool compare;
static int event; /* an eventfd */
static _Atomic unsigned ticks;

static __attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "fuzz_ioctl: seed %llu: ", (unsigned long long)fuzz_seed);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	abort();
}

/* ------------------------------------------------------------------ bytes */

static uint64_t take(struct fuzz *f, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes && f->at < f->size; i++)
		value |= (uint64_t)f->data[f->at++] << i * 8;
	return value;
}

static unsigned below(struct fuzz *f, unsigned n)
{
	return (unsigned)take(f, 1) % n;
}

/* A number of the kind that finds mistakes. */
static uint64_t interesting(struct fuzz *f)
{
	static const uint64_t list[] = { 0,     1,          2,          3,          4,
					 8,     16,         31,         32,         33,
					 63,    64,         255,        256,        4095,
					 4096,  0x7fffffff, 0x80000000, 0xffffffff, 1ull << 32,
					 ~0ull, 1ull << 63, 0xfee00900, 0xfffff000 };

	return below(f, 4) ? list[below(f, sizeof(list) / sizeof(list[0]))] : take(f, 8);
}

/* ------------------------------------------------------------------ descriptors */

static struct descriptor descriptor_of(uint64_t entry)
{
	return (struct descriptor){ (int)(entry & 0xffffff) - 1, (int)(entry >> 24 & 0xffffff) - 1,
				    (enum shim_kind)(entry >> 48) };
}

static bool descriptor_keep(struct descriptor d)
{
	uint64_t entry = (uint64_t)(d.fd + 1) | (uint64_t)(d.device + 1) << 24 |
			 (uint64_t)d.kind << 48;

	for (unsigned i = 0; i < DESCRIPTORS; i++) {
		uint64_t none = 0;

		if (atomic_compare_exchange_strong(&descriptors[i], &none, entry))
			return true;
	}
	return false;
}

static void descriptor_close(struct descriptor d)
{
	if (d.fd >= 0) {
		close(d.fd);
		shim_descriptors_closed();
	}
	if (d.device >= 0)
		close(d.device);
}

static void keep_or_close(struct descriptor d)
{
	if (!descriptor_keep(d))
		descriptor_close(d);
}

static unsigned count_descriptors(bool show)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;
	unsigned n = 0;

	if (!directory)
		return 0;
	while ((entry = readdir(directory))) {
		char target[256];
		ssize_t length =
			readlinkat(dirfd(directory), entry->d_name, target, sizeof(target));

		n++;
		if (show && length > 0)
			fprintf(stderr, "%s: %.*s\n", entry->d_name, (int)length, target);
	}
	closedir(directory);
	return n;
}

/* ------------------------------------------------------------------ calls */

/* What KVM's ioctls may say. EIO: not this process's; EBADF: an eventfd that is none. */
static void check_errno(unsigned long request, long r)
{
	static const int known[] = { EINVAL, EFAULT, ENOTTY, E2BIG,      EINTR,  ENOENT,
				     EEXIST, ENXIO,  EBUSY,  ENODEV,     ENOMEM, EIO,
				     EBADF,  EAGAIN, ENOSPC, EOPNOTSUPP, EPERM };

	if (r >= 0 || request == KVM_GET_TSC_KHZ) /* any number was set */
		return;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (r == -known[i])
			return;
	}
	fail("%s (%#lx): %ld", ioctl_name(request), request, r);
}

static long emulated_ioctl(int fd, unsigned long request, uint64_t argument)
{
	struct shim_file *file = shim_file_get(fd);
	long r;

	if (!file)
		return -EBADF; /* another thread has closed it */
	r = shim_ioctl(file, request, argument);
	shim_file_put(file);
	__atomic_fetch_add(&fuzz_calls, 1, __ATOMIC_RELAXED);
	if (atomic_load(&ticks) > HANG_TICKS)
		fail("%s (%#lx): took too long", ioctl_name(request), request);
	return r;
}

static long device_ioctl_real(int fd, unsigned long request, uint64_t argument)
{
	long r;

	do
		r = ioctl(fd, request, argument);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

#include "tests/fuzz/differences.h"

static void check_difference(struct descriptor d, unsigned long request, long emulated, long device)
{
	/* results are the device's own affair, errors are not */
	if (request == KVM_GET_TSC_KHZ || /* any number that was set */
	    (emulated < 0 ? emulated : 0) == (device < 0 ? device : 0) ||
	    difference_known(d.kind, request, emulated, device))
		return;
	fuzz_differences++;
	printf("seed %llu: %s (%#lx) on %s: %ld, the device %ld\n", (unsigned long long)fuzz_seed,
	       ioctl_name(request) ? ioctl_name(request) : "?", request,
	       d.kind == SHIM_DEVICE ? "/dev/kvm"
	       : d.kind == SHIM_VM   ? "a VM"
				     : "a vCPU",
	       emulated, device);
	fflush(stdout);
}

/* On both, with arguments of their own; what was created is kept. */
static long call(struct fuzz *f, struct descriptor d, unsigned long request, uint64_t argument)
{
	/* what only the device has is no business of ours */
	const struct ioctl_info *row = ioctl_find(request);
	static uint8_t copy[SCRATCH];
	bool in_scratch = argument - (uintptr_t)f->scratch < SCRATCH;
	struct descriptor made = { -1, -1, SHIM_VM };
	long r, device = 0;

	if (request == KVM_RUN && compare && !argument)
		return 0; /* no guest runs there */
	if (compare && in_scratch)
		memcpy(copy, f->scratch, SCRATCH);
	r = emulated_ioctl(d.fd, request, argument);
	check_errno(request, r);
	if (compare && !(row && row->on & ~row->here & 1u << d.kind)) {
		if (in_scratch) /* as it was; what the device leaves there becomes the template */
			memcpy(f->scratch, copy, SCRATCH);
		device = device_ioctl_real(d.device, request, argument);
		check_difference(d, request, r, device);
		if ((r < 0) != (device < 0)) /* their ways part */
			f->at = f->size;
	}
	if (request == KVM_GET_STATS_FD) { /* a file to read, no descriptor for calls */
		if (r >= 0)
			close((int)r);
		if (device > 0)
			close((int)device);
		return r;
	}
	if (request == KVM_CREATE_VM && d.kind == SHIM_DEVICE)
		made.fd = (int)r, made.device = compare ? (int)device : -1;
	else if (request == KVM_CREATE_VCPU && d.kind == SHIM_VM)
		made = (struct descriptor){ (int)r, compare ? (int)device : -1, SHIM_VCPU };
	else
		return r;
	if (made.fd >= 0 && (!compare || made.device >= 0)) {
		keep_or_close(made);
	} else {
		descriptor_close((struct descriptor){ made.fd < 0 ? -1 : made.fd,
						      made.device < 0 ? -1 : made.device,
						      made.kind });
	}
	return r;
}

/* ------------------------------------------------------------------ arguments */

static const struct ioctl_info *any_row(struct fuzz *f)
{
	const struct ioctl_info *row = &ioctl_table[take(f, 1) % ioctl_table_size];

	/* mostly one that does something */
	for (unsigned i = 0; i < 7 && !row->here; i++)
		row = &ioctl_table[take(f, 1) % ioctl_table_size];
	return row;
}

/* Structures with pointers inside: into the scratch, or nowhere. */
static void plant_pointers(struct fuzz *f, unsigned long request, uint8_t *data)
{
	void *pointer = below(f, 4) ? f->scratch + 32768 : (void *)(uintptr_t)interesting(f);

	switch (request) {
	case KVM_GET_DIRTY_LOG:
		((struct kvm_dirty_log *)data)->dirty_bitmap = pointer;
		break;
	case KVM_CLEAR_DIRTY_LOG:
		((struct kvm_clear_dirty_log *)data)->dirty_bitmap = pointer;
		break;
	case KVM_X86_SET_MSR_FILTER:
		for (unsigned i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++)
			((struct kvm_msr_filter *)data)->ranges[i].bitmap = pointer;
		break;
	default:
		break;
	}
}

/* Host addresses stay within the arena or where nothing is: the guest may write there. */
static void plausible_region(struct fuzz *f, uint8_t *data)
{
	struct kvm_userspace_memory_region *r = (struct kvm_userspace_memory_region *)data;

	r->slot = below(f, 5);
	r->flags = below(f, 8) ? below(f, 4) : (uint32_t)interesting(f);
	r->guest_phys_addr = below(f, 8) ? (uint64_t)below(f, 64) << 12 : interesting(f);
	r->memory_size = below(f, 8) ? (uint64_t)below(f, 64) << 12 : interesting(f);
	r->userspace_addr = (uintptr_t)arena + ((uint64_t)below(f, 128) << 12);
	if (r->memory_size > ARENA / 2 || !below(f, 8))
		r->userspace_addr = below(f, 2) ? 0x10000 : interesting(f) | 1ull << 63;
}

/* A file that is ours must not be handed to an irqfd, nor one of the program's descriptors. */
static void plausible_eventfd(struct fuzz *f, uint8_t *data, unsigned long request)
{
	int fd = event;

	if (request == KVM_IRQFD) {
		((struct kvm_irqfd *)data)->fd = below(f, 4) ? (uint32_t)fd : 1000000;
		((struct kvm_irqfd *)data)->resamplefd = below(f, 4) ? (uint32_t)fd : 1000000;
	} else {
		((struct kvm_ioeventfd *)data)->fd = below(f, 4) ? fd : 1000000;
	}
}

/*
 * The argument for a request: a number, a bad pointer, or one into the scratch, filled from what such a
 * call had or gave before, with some words changed; sometimes so that its end is not mapped.
 */
static uint64_t argument_for(struct fuzz *f, unsigned long request, uint8_t **filled)
{
	unsigned how = below(f, 16), changes;
	uint8_t *data = f->scratch;
	size_t size = _IOC_SIZE(request);

	*filled = NULL;
	if (!size && request != KVM_REINJECT_CONTROL)
		return how < 8 ? 0 : interesting(f);
	if (how == 0)
		return interesting(f);
	if (how == 1) /* crosses into the hole */
		return (uintptr_t)f->scratch + SCRATCH -
		       below(f, (unsigned)(size < 250 ? size + 1 : 250));
	memcpy(data, f->template + (size_t)_IOC_NR(request) * 4096, 4096);
	changes = how < 6 ? 0 : how < 12 ? 1 : how;
	while (changes--) {
		size_t at = take(f, 2) % (size + 64 < 4096 ? size + 64 : 4096) & ~3ull;
		uint64_t value = interesting(f);

		memcpy(data + at, &value, below(f, 2) ? 4 : 8);
	}
	if (how == 15)
		for (size_t at = 0; at < size && at < 512; at += 8) {
			uint64_t value = take(f, 8);

			memcpy(data + at, &value, 8);
		}
	plant_pointers(f, request, data);
	if (request == KVM_SET_USER_MEMORY_REGION || request == ABI_SET_USER_MEMORY_REGION2)
		plausible_region(f, data);
	if (request == KVM_IRQFD || request == KVM_IOEVENTFD)
		plausible_eventfd(f, data, request);
	if ((request == KVM_GET_SUPPORTED_CPUID || request == KVM_GET_CPUID2) && below(f, 4))
		((struct kvm_cpuid2 *)data)->nent = below(f, 80);
	if ((request == KVM_GET_MSR_INDEX_LIST || request == KVM_GET_MSRS) && below(f, 4))
		((struct kvm_msr_list *)data)->nmsrs = below(f, 200);
	if (how == 2) { /* not aligned */
		data += 16384 + below(f, 8);
		memcpy(data, f->scratch, 4096);
	}
	*filled = data;
	return (uintptr_t)data;
}

/* A SET's template is what the GET of the same structure gave. */
static unsigned long counterpart(unsigned long request)
{
	static const unsigned long pairs[][2] = {
		{ KVM_GET_REGS, KVM_SET_REGS },
		{ KVM_GET_SREGS, KVM_SET_SREGS },
		{ KVM_GET_SREGS2, KVM_SET_SREGS2 },
		{ KVM_GET_FPU, KVM_SET_FPU },
		{ KVM_GET_XSAVE, KVM_SET_XSAVE },
		{ KVM_GET_XCRS, KVM_SET_XCRS },
		{ KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS },
		{ KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS },
		{ KVM_GET_MP_STATE, KVM_SET_MP_STATE },
		{ KVM_GET_MSRS, KVM_SET_MSRS },
		{ KVM_GET_CPUID2, KVM_SET_CPUID2 },
		{ KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2 },
		{ KVM_GET_CLOCK, KVM_SET_CLOCK },
		{ KVM_GET_IRQCHIP, KVM_SET_IRQCHIP },
		{ KVM_GET_PIT2, KVM_SET_PIT2 },
		{ KVM_GET_PIT, KVM_SET_PIT },
		{ KVM_GET_LAPIC, KVM_SET_LAPIC },
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (pairs[i][0] == request)
			return pairs[i][1];
	}
	return request;
}

/* ------------------------------------------------------------------ operations */

static bool pick(struct fuzz *f, struct descriptor *d)
{
	for (unsigned i = below(f, DESCRIPTORS), n = 0; n < DESCRIPTORS; n++, i++) {
		uint64_t entry = atomic_load(&descriptors[i % DESCRIPTORS]);

		if (entry) {
			*d = descriptor_of(entry);
			return true;
		}
	}
	return false;
}

static bool pick_kind(struct fuzz *f, unsigned kinds, struct descriptor *d)
{
	for (unsigned tries = 0; tries < 8; tries++) {
		if (pick(f, d) && kinds & 1u << d->kind)
			return true;
	}
	return false;
}

static void op_ioctl(struct fuzz *f)
{
	const struct ioctl_info *row = any_row(f);
	unsigned long request = row->request;
	struct descriptor d;
	uint64_t argument;
	uint8_t *filled;
	long r;

	if (!below(f, 16)) /* any descriptor */
		row = NULL;
	if (!(row && row->on ? pick_kind(f, row->on, &d) : pick(f, &d)))
		return;
	if (!below(f, 64))
		request = _IOC(below(f, 4), KVMIO, below(f, 256), take(f, 2) & 0x3fff);
	argument = argument_for(f, request, &filled);
	r = call(f, d, request, argument);
	if (filled && r >= 0)
		memcpy(f->template + (size_t)_IOC_NR(counterpart(request)) * 4096, filled, 4096);
}

static void op_open(struct fuzz *f)
{
	struct descriptor d = { shim_open(O_RDWR | O_CLOEXEC), -1, SHIM_DEVICE };

	(void)f;
	if (d.fd < 0)
		fail("open: %d", d.fd);
	if (compare)
		d.device = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	keep_or_close(d);
}

static void op_create(struct fuzz *f)
{
	struct descriptor d;

	if (!pick_kind(f, 1u << SHIM_DEVICE | 1u << SHIM_VM, &d))
		return;
	if (d.kind == SHIM_DEVICE)
		call(f, d, KVM_CREATE_VM, 0);
	else
		call(f, d, KVM_CREATE_VCPU, below(f, 4));
}

static void op_close(struct fuzz *f)
{
	uint64_t entry = atomic_exchange(&descriptors[below(f, DESCRIPTORS)], 0);

	if (entry)
		descriptor_close(descriptor_of(entry));
}

static void op_dup(struct fuzz *f)
{
	struct descriptor d;

	if (!pick(f, &d))
		return;
	d.fd = fcntl(d.fd, F_DUPFD_CLOEXEC, 0);
	d.device = compare ? fcntl(d.device, F_DUPFD_CLOEXEC, 0) : -1;
	if (d.fd >= 0)
		keep_or_close(d);
}

static void op_map(struct fuzz *f)
{
	unsigned n = below(f, DESCRIPTORS);
	struct descriptor d;
	void *map;

	if (!pick_kind(f, 1u << SHIM_VCPU, &d))
		return;
	map = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, d.fd, 0);
	if (map == MAP_FAILED)
		return;
	map = atomic_exchange(&runs[n], map);
	if (map)
		munmap(map, 12288);
}

/* A monitor may write anything into kvm_run, at any time. */
static void op_scribble(struct fuzz *f)
{
	struct kvm_run *run = atomic_exchange(&runs[below(f, DESCRIPTORS)], NULL);

	if (!run)
		return;
	if (below(f, 2)) {
		run->immediate_exit = below(f, 2);
		run->request_interrupt_window = below(f, 2);
		run->cr8 = below(f, 16);
		run->kvm_valid_regs = below(f, 8);
		run->kvm_dirty_regs = below(f, 8);
	} else {
		uint64_t value = interesting(f);

		memcpy((char *)run + (take(f, 2) % 12288 & ~7u), &value, 8);
	}
	run = atomic_exchange(&runs[below(f, DESCRIPTORS)], run);
	if (run)
		munmap(run, 12288);
}

static void op_memory(struct fuzz *f)
{
	uint8_t *at = arena + (below(f, 256) << 12);
	size_t size = (size_t)below(f, 16) << 12;

	if (at + size > arena + ARENA || !size)
		return;
	switch (below(f, 4)) {
	case 0: /* gone, and something else there, at once: nobody else may get the place */
		shim_memory_gone(at, size);
		if (mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
			 -1, 0) != at)
			fail("mmap");
		shim_memory_back(at, size);
		break;
	case 1:
		shim_memory_gone(at, size);
		break;
	case 2:
		shim_memory_back(at, size);
		break;
	default:
		for (unsigned i = 0; i < 64; i++)
			at[take(f, 2) % size] = (uint8_t)take(f, 1);
		break;
	}
}

/* VMs and vCPUs of the parent answer EIO; /dev/kvm works. */
static void op_fork(struct fuzz *f)
{
	int status;
	pid_t pid;

	if (compare || below(f, 8))
		return;
	pid = fork();
	if (pid < 0)
		return;
	if (!pid) {
		shim_after_fork();
		for (unsigned i = 0; i < DESCRIPTORS; i++) {
			struct descriptor d = descriptor_of(atomic_load(&descriptors[i]));
			long r = d.fd < 0 ? -EIO : emulated_ioctl(d.fd, KVM_CHECK_EXTENSION, 0);

			if (d.fd >= 0 && d.kind == SHIM_DEVICE ? r < 0 : r != -EIO && r != -EBADF)
				_exit(2);
		}
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status)
		fail("a forked child: status %#x", status);
}

static void op_run(struct fuzz *f)
{
	struct descriptor d;

	if (!compare && pick_kind(f, 1u << SHIM_VCPU, &d))
		check_errno(KVM_RUN, emulated_ioctl(d.fd, KVM_RUN, 0));
}

static void run_program(struct fuzz *f)
{
	while (f->at < f->size) {
		unsigned what = below(f, 64);

		if (what < 1)
			op_close(f);
		else if (what < 2)
			op_open(f);
		else if (what < 6)
			op_create(f);
		else if (what < 7)
			op_dup(f);
		else if (what < 8)
			op_map(f);
		else if (what < 10)
			op_scribble(f);
		else if (what < 12)
			op_memory(f);
		else if (what < 13)
			op_fork(f);
		else if (what < 18)
			op_run(f);
		else
			op_ioctl(f);
	}
}

/* ------------------------------------------------------------------ threads */

static void tick(int signal)
{
	(void)signal;
	atomic_fetch_add(&ticks, 1);
}

/* Every two milliseconds a signal for the calling thread: guests run for ever. */
static timer_t start_timer(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	const struct itimerspec every = { { 0, 2000000 }, { 0, 2000000 } };
	timer_t timer;

	event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &every, NULL))
		fail("timer: %s", strerror(errno));
	return timer;
}

static void *thread(void *opaque)
{
	struct fuzz *f = opaque;
	timer_t timer = start_timer();

	run_program(f);
	timer_delete(timer);
	return NULL;
}

static void *pages(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	return p;
}

/* As the preloaded library's: memory that goes under a running guest ends its run. */
static void fault(int signal, siginfo_t *info, void *context)
{
	const struct sigaction fatal = { .sa_handler = SIG_DFL };

	if (info->si_code <= 0 || !shim_memory_fault_at(info->si_addr, context))
		sigaction(signal, &fatal, NULL); /* again, and then for good */
}

static struct fuzz slices[THREADS];

void fuzz_setup(void)
{
	const struct sigaction faults = { .sa_sigaction = fault,
					  .sa_flags = SA_SIGINFO | SA_NODEFER };
	const struct sigaction action = { .sa_handler = tick };
	struct shim_options options;

	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGSEGV, &faults, NULL);
	sigaction(SIGBUS, &faults, NULL);
	event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	arena = pages(ARENA);
	for (unsigned i = 0; i < THREADS; i++) {
		slices[i].scratch = pages(SCRATCH + 4096);
		mprotect(slices[i].scratch + SCRATCH, 4096, PROT_NONE);
		slices[i].template = pages(256 * 4096);
		slices[i].thread = i;
	}
	shim_options_default(&options);
	options.log_level = 0;
	shim_configure(&options);
}

static void begin(bool against_device)
{
	compare = against_device;
	for (unsigned i = 0; i < THREADS; i++)
		memset(slices[i].template, 0, 256 * 4096);
	memset(arena, 0xf4, ARENA);
	for (unsigned i = 0; i < ARENA; i += 64) /* some code: HLT, OUT, LOCK INC, loops */
		memcpy(arena + i, "\xe6\x10\xf0\xff\x06\x3e\x00\xeb\xf7", i % 192 ? 9 : 2);
	op_open(&slices[0]);
	for (unsigned i = 0; i < 2; i++)
		op_create(&slices[0]); /* with no bytes to take: the first that fits */
}

static void finish(void)
{
	for (unsigned i = 0; i < DESCRIPTORS; i++) {
		void *run = atomic_exchange(&runs[i], NULL);
		uint64_t entry = atomic_exchange(&descriptors[i], 0);

		if (run)
			munmap(run, 12288);
		if (entry)
			descriptor_close(descriptor_of(entry));
	}
	files_reap();
}

void fuzz_run(const uint8_t *data, size_t size, bool against_device)
{
	unsigned threads = size && !against_device && data[0] % 4 == 0 ? THREADS : 1;
	static unsigned open_before;
	pthread_t id[THREADS];

	if (!size)
		return;
	if (!open_before) {
		/* helpers of the shim have come into being */
		begin(against_device);
		finish();
		open_before = count_descriptors(false);
	}
	begin(against_device);
	atomic_store(&ticks, 0);
	for (unsigned i = 0; i < threads; i++) {
		slices[i].data = data + 1 + (size - 1) / threads * i;
		slices[i].size = (size - 1) / threads;
		slices[i].at = 0;
		if (pthread_create(&id[i], NULL, thread, &slices[i]))
			fail("pthread_create");
	}
	for (unsigned i = 0; i < threads; i++)
		pthread_join(id[i], NULL);
	finish();
	/* Two helpers of the shim open one each when they are first needed; and one may still be busy
	 * with a VM that has lost its last descriptor. */
	for (unsigned i = 0; i < 1000 && count_descriptors(false) > open_before + 2; i++) {
		const struct timespec t = { .tv_nsec = 1000000 };

		nanosleep(&t, NULL);
		files_reap();
	}
	if (count_descriptors(false) > open_before + 2) {
		count_descriptors(true);
		fail("%u descriptors are open, %u were", count_descriptors(false), open_before);
	}
}
