// SPDX-License-Identifier: GPL-2.0-only
/* The built-in monitor: building the machine, waiting for its end. */
#include "cli/machine.h"

#include "cli/boot.h"
#include "cli/cli.h"
#include "cli/console.h"
#include "traces/report.h"
#include "traces/symbols.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define NSEC_PER_SEC 1000000000ull
#define TICK_MS      100          /* how long what the guest printed may wait */
#define TSS_ADDRESS  0xfffbd000ul /* three pages that KVM on Intel wants (KVM_SET_TSS_ADDR) */
#define CPUID_LEAVES 256

void machine_end(struct monitor *m, enum monitor_end end, int status, const char *format, ...)
{
	va_list arguments;
	uint64_t one = 1;

	pthread_mutex_lock(&m->end_lock);
	if (!m->ending) {
		va_start(arguments, format);
		vsnprintf(m->end_text, sizeof(m->end_text), format, arguments);
		va_end(arguments);
		m->end = end;
		m->status = status;
		m->ending = true;
		for (unsigned i = 0; i < m->options.vcpus; i++)
			vcpu_kick(&m->vcpu[i]);
		/* An eventfd takes this unless its counter is full, which it is not. */
		if (write(m->ended, &one, sizeof(one)) < 0)
			m->ended = -1;
	}
	pthread_mutex_unlock(&m->end_lock);
}

/* ------------------------------------------------------------------ building */

static int refuse(const char *what, long error)
{
	complain("%s: %s", what, strerror((int)-error));
	return (int)error;
}

static int open_device(struct monitor *m)
{
	const char *name = m->options.device ? m->options.device : "the emulated /dev/kvm";
	long r = kvm_open(&m->kvm, m->options.device);

	if (r < 0)
		return refuse(name, r);
	r = kvm_call(&m->kvm, KVM_GET_API_VERSION, 0);
	if (r != KVM_API_VERSION) {
		complain("%s: KVM API version %ld instead of %d: no KVM device?", name, r,
			 KVM_API_VERSION);
		return -ENOTSUP;
	}
	do
		r = kvm_call(&m->kvm, KVM_CREATE_VM, 0);
	while (r == -EINTR);
	if (r < 0)
		return refuse("KVM_CREATE_VM", r);
	r = kvm_handle_of(&m->vm, (int)r, &m->kvm);
	if (r < 0)
		return refuse("KVM_CREATE_VM", r);
	r = kvm_call(&m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (r < (long)sizeof(struct kvm_run))
		return refuse("KVM_GET_VCPU_MMAP_SIZE", r < 0 ? r : -EINVAL);
	m->run_size = (size_t)r;
	return 0;
}

/* ENABLE_CAP says nothing about support (it answers 0 without): CHECK_EXTENSION does (api.rst 7.22). */
static int enable_detection(struct monitor *m)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_BUS_LOCK_EXIT,
				      .args = { KVM_BUS_LOCK_DETECTION_EXIT } };
	long r = kvm_call(&m->vm, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT);

	if (r <= 0 || !(r & KVM_BUS_LOCK_DETECTION_EXIT)) {
		complain("warning: this KVM cannot report bus locks (capability 193 is %ld): none "
			 "will be seen, and --throttle has nothing to do.%s",
			 r < 0 ? 0 : r,
			 m->options.device ? " Split locks that the guest takes all the same "
					     "stall every core of this machine."
					   : "");
		return 0;
	}
	r = kvm_call(&m->vm, KVM_ENABLE_CAP, (unsigned long)&cap);
	if (r < 0)
		return refuse("KVM_ENABLE_CAP(KVM_CAP_X86_BUS_LOCK_EXIT)", r);
	if (m->options.report && m->options.device)
		m->options.report->detection_enabled = 1;
	return 0;
}

static int create_memory(struct monitor *m)
{
	struct kvm_userspace_memory_region region = { .memory_size = m->options.memory };
	long r;

	m->memory.host = mmap(NULL, m->options.memory, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->memory.host == MAP_FAILED) {
		m->memory.host = NULL;
		return refuse("guest memory (-m)", -errno);
	}
	m->memory.size = m->options.memory;
	m->memory.top = m->memory.size - BOOT_AREA;
	region.userspace_addr = (uintptr_t)m->memory.host;
	r = kvm_call(&m->vm, KVM_SET_USER_MEMORY_REGION, (unsigned long)&region);
	if (r < 0)
		return refuse("KVM_SET_USER_MEMORY_REGION", r);
	/* Where it is not needed it may be missing. */
	kvm_call(&m->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS);
	return 0;
}

static int load_image(struct monitor *m, const char *path)
{
	char why[256];
	int error = image_load(&m->image, path, &m->options.image, &m->memory, why, sizeof(why));

	if (error) {
		complain("%s: %s", path, why);
		return error;
	}
	boot_write_tables(&m->memory, m->image.mode);
	if (m->image.format != IMAGE_MULTIBOOT)
		return 0;
	error = multiboot_write_info(&m->memory, m->memory.top + BOOT_INFO, BOOT_AREA - BOOT_INFO,
				     path, m->options.image.append);
	if (error == -E2BIG)
		complain("--append: longer than the %u bytes there are for it",
			 BOOT_AREA - BOOT_INFO);
	else if (error)
		complain("%s: a multiboot kernel needs more than 1 MiB of memory (-m)", path);
	m->image.multiboot_info = (uint32_t)(m->memory.top + BOOT_INFO);
	return error;
}

static int set_cpuid(struct monitor *m, struct vcpu *v)
{
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + CPUID_LEAVES * sizeof(cpuid->entries[0]));
	long r;

	if (!cpuid)
		return refuse("CPUID", -ENOMEM);
	cpuid->nent = CPUID_LEAVES;
	r = kvm_call(&m->kvm, KVM_GET_SUPPORTED_CPUID, (unsigned long)cpuid);
	if (r < 0) {
		free(cpuid);
		return refuse("KVM_GET_SUPPORTED_CPUID", r);
	}
	/* Leaf 1: the initial APIC ID, which tells vCPUs apart (SDM vol. 2, CPUID). */
	for (unsigned i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 1)
			cpuid->entries[i].ebx = (cpuid->entries[i].ebx & 0xffffff) | v->index << 24;
	r = kvm_call(&v->handle, KVM_SET_CPUID2, (unsigned long)cpuid);
	free(cpuid);
	return r < 0 ? refuse("KVM_SET_CPUID2", r) : 0;
}

static int set_state(struct monitor *m, struct vcpu *v)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	long r = kvm_call(&v->handle, KVM_GET_SREGS, (unsigned long)&sregs);

	if (r < 0)
		return refuse("KVM_GET_SREGS", r);
	boot_state(&m->memory, &m->image, v->index, m->options.vcpus, &sregs, &regs);
	for (unsigned i = 0; i < m->options.sets; i++)
		boot_set_register(&regs, m->options.set[i].name, m->options.set[i].value);
	r = kvm_call(&v->handle, KVM_SET_SREGS, (unsigned long)&sregs);
	if (r < 0)
		return refuse("KVM_SET_SREGS", r);
	r = kvm_call(&v->handle, KVM_SET_REGS, (unsigned long)&regs);
	return r < 0 ? refuse("KVM_SET_REGS", r) : 0;
}

#define MSR_MTRR_DEF_TYPE    0x2ff
#define MTRR_DEF_TYPE_ENABLE 0x800
#define MTRR_TYPE_WB         6

/* What firmware does before it starts anything: RESET leaves the MTRRs off, and all memory with them
 * uncacheable (SDM vol. 3, 14.11.5). A KVM without MTRRs takes no entry, which is no error. */
static int set_memory_types(struct vcpu *v)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[1];
	} msrs = { .head.nmsrs = 1,
		   .entry[0] = { .index = MSR_MTRR_DEF_TYPE,
				 .data = MTRR_DEF_TYPE_ENABLE | MTRR_TYPE_WB } };
	long r = kvm_call(&v->handle, KVM_SET_MSRS, (unsigned long)&msrs);

	return r < 0 ? refuse("KVM_SET_MSRS", r) : 0;
}

static int create_vcpu(struct monitor *m, unsigned index)
{
	struct vcpu *v = &m->vcpu[index];
	long r = kvm_call(&m->vm, KVM_CREATE_VCPU, index);

	v->monitor = m;
	v->index = index;
	if (r < 0)
		return refuse("KVM_CREATE_VCPU", r);
	r = kvm_handle_of(&v->handle, (int)r, &m->vm);
	if (r < 0)
		return refuse("KVM_CREATE_VCPU", r);
	v->run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->handle.fd, 0);
	if (v->run == MAP_FAILED) {
		v->run = NULL;
		return refuse("mmap of a vCPU", -errno);
	}
	r = set_cpuid(m, v);
	if (!r)
		r = set_state(m, v);
	return r ? (int)r : set_memory_types(v);
}

static int build(struct monitor *m, const char *path)
{
	int error = open_device(m);

	if (!error)
		error = enable_detection(m);
	if (!error)
		error = create_memory(m);
	if (!error)
		error = load_image(m, path);
	for (unsigned i = 0; !error && i < m->options.vcpus; i++)
		error = create_vcpu(m, i);
	if (!error && m->options.report && m->options.device) {
		m->options.report->vms = 1;
		m->options.report->vcpus = m->options.vcpus;
	}
	return error;
}

int monitor_create(struct monitor **monitor, const struct monitor_options *options,
		   const char *path)
{
	struct monitor *m = calloc(1, sizeof(*m));
	int error;

	if (!m)
		return refuse("the monitor", -ENOMEM);
	m->options = *options;
	m->kvm.fd = m->vm.fd = -1;
	m->vcpu[0].look = true; /* for the first line of progress */
	for (unsigned i = 0; i < MONITOR_MAX_VCPUS; i++)
		m->vcpu[i].handle.fd = -1;
	pthread_mutex_init(&m->end_lock, NULL);
	pthread_mutex_init(&m->throttle_lock, NULL);
	devices_init(&m->devices, options->consoles == CONSOLE_DEBUG ? NULL : console_put,
		     options->consoles == CONSOLE_SERIAL ? NULL : console_put);
	m->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = m->ended < 0 ? refuse("eventfd", -errno) : build(m, path);
	if (error) {
		monitor_destroy(m);
		return error;
	}
	*monitor = m;
	return 0;
}

void monitor_destroy(struct monitor *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < m->options.vcpus; i++) {
		if (m->vcpu[i].run)
			munmap(m->vcpu[i].run, m->run_size);
		kvm_close(&m->vcpu[i].handle);
	}
	kvm_close(&m->vm);
	kvm_close(&m->kvm);
	if (m->memory.host)
		munmap(m->memory.host, m->memory.size);
	if (m->ended >= 0)
		close(m->ended);
	free(m);
}

const struct image *monitor_image(const struct monitor *m)
{
	return &m->image;
}

enum monitor_end monitor_end(const struct monitor *m)
{
	return m->end;
}

const char *monitor_end_text(const struct monitor *m)
{
	return m->end_text;
}

void monitor_remarks(const struct monitor *m, char *text, size_t size)
{
	const struct devices *d = &m->devices;
	uint64_t ports = d->port_reads + d->port_writes,
		 memory = d->memory_reads + d->memory_writes;

	*text = '\0';
	if (ports || memory)
		snprintf(text, size,
			 "accesses to devices that are not there: ports %" PRIu64 " reads, %" PRIu64
			 " writes; memory %" PRIu64 " reads, %" PRIu64 " writes",
			 d->port_reads, d->port_writes, d->memory_reads, d->memory_writes);
}

/* ------------------------------------------------------------------ running */

struct progress {
	uint64_t when, exits, bus_locks;
};

static void show_progress(struct monitor *m, struct progress *last, uint64_t begun)
{
	uint64_t now = report_now(), exits = 0, locks = 0;
	double seconds = (double)(now - last->when) / NSEC_PER_SEC;
	struct vcpu *v = &m->vcpu[0];
	char symbol[64];

	if (seconds < 1)
		return;
	for (unsigned i = 0; i < m->options.vcpus; i++) {
		exits += m->vcpu[i].exits;
		locks += m->vcpu[i].bus_locks;
	}
	symbols_format(m->options.symbols, v->rip, symbol, sizeof(symbol));
	console_progress("%.0f s: %.0f exits/s, %.0f bus locks/s, vCPU 0 at 0x%" PRIx64 " %s",
			 (double)(now - begun) / NSEC_PER_SEC,
			 (double)(exits - last->exits) / seconds,
			 (double)(locks - last->bus_locks) / seconds, (uint64_t)v->rip, symbol);
	*last = (struct progress){ now, exits, locks };
	/* for the next time; a vCPU that never exits is asked to */
	v->look = true;
	vcpu_kick(v);
}

static void take_signal(struct monitor *m, int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return;
	machine_end(m, END_SIGNAL, 128 + (int)info.ssi_signo, "ended by %s",
		    strsignal((int)info.ssi_signo));
}

/* Until the run ends: output, progress, time limit, signals. */
static void watch(struct monitor *m, int signals)
{
	struct pollfd fds[] = { { .fd = m->ended, .events = POLLIN },
				{ .fd = signals, .events = POLLIN } };
	uint64_t begun = report_now();
	struct progress last = { .when = begun };

	while (!m->ending) {
		shim_poll(fds, 2, TICK_MS);
		console_flush();
		if (fds[1].revents & POLLIN)
			take_signal(m, signals);
		if (m->options.timeout > 0 &&
		    (double)(report_now() - begun) >= m->options.timeout * NSEC_PER_SEC)
			machine_end(m, END_LIMIT, STATUS_TIMEOUT, "ended by --timeout after %g s",
				    m->options.timeout);
		if (console_shows_progress())
			show_progress(m, &last, begun);
	}
}

static void start_vcpus(struct monitor *m)
{
	for (unsigned i = 0; i < m->options.vcpus; i++) {
		int error = shim_thread_create(&m->vcpu[i].thread, vcpu_thread, &m->vcpu[i]);

		if (error) {
			machine_end(m, END_DIED, STATUS_USAGE, "no thread for vCPU %u: %s", i,
				    strerror(error));
			return;
		}
		m->vcpu[i].started = true;
	}
}

int monitor_run(struct monitor *m)
{
	sigset_t set;
	int signals;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0 || vcpu_signal()) {
		complain("signals: %s", strerror(errno));
		return STATUS_USAGE;
	}
	start_vcpus(m);
	watch(m, signals);
	for (unsigned i = 0; i < m->options.vcpus; i++)
		if (m->vcpu[i].started)
			shim_thread_join(m->vcpu[i].thread);
	console_end_progress();
	close(signals);
	return m->status;
}
