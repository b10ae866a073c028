// SPDX-License-Identifier: GPL-2.0-only
#include "verify/machine.h"

#include "vmm_shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SIGNAL           SIGRTMIN
#define DEFAULT_LIMIT_MS 40
#define TICK_MS          10
#define CPUID_ENTRIES    256

/* ------------------------------------------------------------------ how to call */

static int emulator_open(const char *path)
{
	(void)path;
	return shim_open(O_RDWR | O_CLOEXEC);
}

static long emulator_ioctl(int fd, unsigned long request, unsigned long argument)
{
	struct shim_file *file = shim_file_get(fd);
	long r;

	if (!file)
		return -EBADF;
	r = shim_ioctl(file, request, argument);
	shim_file_put(file);
	return r;
}

static void emulator_close(int fd)
{
	close(fd);
	shim_descriptors_closed();
}

static int device_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static long device_ioctl(int fd, unsigned long request, unsigned long argument)
{
	long r = ioctl(fd, request, argument);

	return r < 0 ? -errno : r;
}

static void device_close(int fd)
{
	close(fd);
}

const struct kvm_api kvm_emulator = { "emulator", emulator_open, emulator_ioctl, emulator_close,
				      NULL };
const struct kvm_api kvm_device = { "device", device_open, device_ioctl, device_close, NULL };

/* ------------------------------------------------------------------ a VM */

struct machine {
	const struct kvm_api *api;
	const struct mode *mode;
	int kvm, vm, vcpu;
	struct kvm_run *run;
	size_t run_size;
	uint8_t *ram;
	struct kvm_sregs reset; /* the state after creation */
	unsigned limit_ms;
	const char *error;
};

static int call(struct machine *m, int fd, unsigned long request, const char *name, void *argument)
{
	long r = m->api->ioctl(fd, request, (unsigned long)argument);

	if (r < 0)
		m->error = name;
	return (int)r;
}
#define CALL(fd, request, argument) call(m, fd, request, #request, argument)

/* The guest sees what the emulator's processor can do, on both: the lesser of the two. */
static int set_cpuid(struct machine *m)
{
	struct {
		struct kvm_cpuid2 header;
		struct kvm_cpuid_entry2 entry[CPUID_ENTRIES];
	} *list = calloc(1, sizeof(*list));
	int r, emulator = kvm_emulator.open(NULL);

	if (!list || emulator < 0) {
		free(list);
		return emulator < 0 ? emulator : -ENOMEM;
	}
	list->header.nent = CPUID_ENTRIES;
	m->error = "KVM_GET_SUPPORTED_CPUID of the emulator";
	r = (int)kvm_emulator.ioctl(emulator, KVM_GET_SUPPORTED_CPUID, (unsigned long)list);
	if (!r)
		r = CALL(m->vcpu, KVM_SET_CPUID2, list);
	kvm_emulator.close(emulator);
	free(list);
	return r;
}

static int create_vm(struct machine *m)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_BUS_LOCK_EXIT,
				      .args = { KVM_BUS_LOCK_DETECTION_EXIT } };
	struct kvm_userspace_memory_region region = { .memory_size = MODE_RAM,
						      .userspace_addr = (uintptr_t)m->ram };
	int r;

	do /* a tick may come */
		m->vm = CALL(m->kvm, KVM_CREATE_VM, NULL);
	while (m->vm == -EINTR);
	if (m->vm < 0)
		return m->vm;
	r = CALL(m->vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000);
	/* Accepted without effect where the processor has no such exits (KVM api.rst 7.22). */
	if (!r)
		r = CALL(m->vm, KVM_ENABLE_CAP, &cap);
	if (!r)
		r = CALL(m->vm, KVM_SET_USER_MEMORY_REGION, &region);
	if (r)
		return r;
	m->vcpu = CALL(m->vm, KVM_CREATE_VCPU, NULL);
	if (m->vcpu < 0)
		return m->vcpu;
	m->error = "mmap of the vCPU";
	m->run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	if (m->run == MAP_FAILED)
		return -errno;
	r = set_cpuid(m);
	return r ? r : CALL(m->vcpu, KVM_GET_SREGS, &m->reset);
}

static void destroy_vm(struct machine *m)
{
	if (m->run != MAP_FAILED)
		munmap(m->run, m->run_size);
	if (m->vcpu >= 0)
		m->api->close(m->vcpu);
	if (m->vm >= 0)
		m->api->close(m->vm);
	m->vm = m->vcpu = -1;
	m->run = MAP_FAILED;
}

static void on_tick(int signal)
{
	(void)signal; /* that KVM_RUN returns is all we want */
}

/* A tick that comes again and again: one that arrives just in front of KVM_RUN is not the last. */
int machine_ticks_start(timer_t *timer)
{
	struct sigaction action = { .sa_handler = on_tick };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGNAL };
	struct itimerspec tick = { { 0, TICK_MS * 1000000 }, { 0, TICK_MS * 1000000 } };

	event._sigev_un._tid = (int)syscall(SYS_gettid);
	if (sigaction(SIGNAL, &action, NULL) || timer_create(CLOCK_MONOTONIC, &event, timer))
		return -errno;
	return timer_settime(*timer, 0, &tick, NULL) ? -errno : 0;
}

int machine_open(struct machine **machine, const struct kvm_api *api, const char *path,
		 const struct mode *mode)
{
	struct machine *m = calloc(1, sizeof(*m));
	int r;

	*machine = m;
	if (!m)
		return -ENOMEM;
	m->api = api;
	m->mode = mode;
	m->limit_ms = DEFAULT_LIMIT_MS;
	m->vm = m->vcpu = -1;
	m->run = MAP_FAILED;
	m->error = "open";
	m->ram = mmap(NULL, MODE_RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	m->kvm = api->open(path);
	if (m->kvm < 0)
		return m->kvm;
	if (m->ram == MAP_FAILED)
		return -ENOMEM;
	r = CALL(m->kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (r < 0)
		return r;
	m->run_size = (size_t)r;
	return create_vm(m);
}

void machine_close(struct machine *m)
{
	if (!m)
		return;
	destroy_vm(m);
	if (m->kvm >= 0)
		m->api->close(m->kvm);
	if (m->ram != MAP_FAILED)
		munmap(m->ram, MODE_RAM);
	free(m);
}

void machine_set_limit(struct machine *m, unsigned ms)
{
	m->limit_ms = ms;
}

const char *machine_error(const struct machine *m)
{
	return m ? m->error : "memory";
}

/* ------------------------------------------------------------------ a run */

/* The XSAVE image (SDM vol. 1, 13.4). KVM_SET_FPU would not do: Linux leaves the header alone there, and
 * what the header calls initial is. */
enum { XSAVE_FCW = 0, XSAVE_MXCSR = 24, XSAVE_XMM = 160, XSAVE_BV = 512 };
#define XSAVE_X87_SSE 3u

static int load_vectors(struct machine *m, const struct program *p)
{
	struct kvm_xsave image;
	uint8_t *bytes = (uint8_t *)image.region;
	const uint16_t fcw = 0x37f;
	const uint32_t mxcsr = 0x1f80, used = XSAVE_X87_SSE;
	uint8_t xmm[16][16];

	memset(&image, 0, sizeof(image));
	program_xmm(p, xmm);
	memcpy(bytes + XSAVE_FCW, &fcw, sizeof(fcw));
	memcpy(bytes + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
	memcpy(bytes + XSAVE_XMM, xmm, sizeof(xmm));
	memcpy(bytes + XSAVE_BV, &used, sizeof(used));
	return CALL(m->vcpu, KVM_SET_XSAVE, &image);
}

static int read_vectors(struct machine *m, struct result *r)
{
	struct kvm_xsave image;
	int error = CALL(m->vcpu, KVM_GET_XSAVE, &image);

	memcpy(r->xmm, (uint8_t *)image.region + XSAVE_XMM, sizeof(r->xmm));
	memcpy(&r->mxcsr, (uint8_t *)image.region + XSAVE_MXCSR, sizeof(r->mxcsr));
	return error;
}

static int load(struct machine *m, const struct program *p)
{
	const uint64_t *g = p->gpr;
	struct kvm_regs regs = {
		.rax = g[0],
		.rcx = g[1],
		.rdx = g[2],
		.rbx = g[3],
		.rsp = g[4],
		.rbp = g[5],
		.rsi = g[6],
		.rdi = g[7],
		.r8 = g[8],
		.r9 = g[9],
		.r10 = g[10],
		.r11 = g[11],
		.r12 = g[12],
		.r13 = g[13],
		.r14 = g[14],
		.r15 = g[15],
		.rflags = p->rflags | 2,
	};
	struct kvm_sregs sregs = m->reset;
	struct kvm_vcpu_events events = { 0 };
	int r = program_memory(p, m->ram);

	if (r)
		return r;
	mode_sregs(m->mode, p->base, &sregs);
	regs.rip = MODE_CODE - (m->mode->code == 64 ? 0 : sregs.cs.base);
	r = CALL(m->vcpu, KVM_SET_SREGS, &sregs);
	if (!r)
		r = CALL(m->vcpu, KVM_SET_REGS, &regs);
	if (!r)
		r = CALL(m->vcpu, KVM_SET_VCPU_EVENTS, &events);
	if (!r && m->mode->native)
		r = load_vectors(m, p);
	return r;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Notes an access and answers it. False: there have been too many. */
static bool serve(const struct program *p, struct result *r, const struct event *what,
		  uint8_t *data)
{
	size_t bytes = (size_t)what->size * what->count;
	struct event *e = &r->event[r->events];

	if (r->events == RESULT_EVENTS)
		return false;
	*e = *what;
	if (!e->write)
		program_answer(p, r->events, data, bytes);
	memset(e->data, 0, sizeof(e->data));
	memcpy(e->data, data, bytes < sizeof(e->data) ? bytes : sizeof(e->data));
	r->events++;
	return true;
}

static bool serve_io(struct machine *m, const struct program *p, struct result *r)
{
	struct event what = {
		.reason = KVM_EXIT_IO,
		.write = m->run->io.direction == KVM_EXIT_IO_OUT,
		.size = m->run->io.size,
		.count = m->run->io.count,
		.address = m->run->io.port,
	};

	return serve(p, r, &what, (uint8_t *)m->run + m->run->io.data_offset);
}

static bool serve_mmio(struct machine *m, const struct program *p, struct result *r)
{
	struct event what = {
		.reason = KVM_EXIT_MMIO,
		.write = m->run->mmio.is_write,
		.size = (uint8_t)m->run->mmio.len,
		.count = 1,
		.address = m->run->mmio.phys_addr,
	};

	return serve(p, r, &what, m->run->mmio.data);
}

/* What the last return of KVM_RUN means: true to go on, else `r->end` is set. */
static bool handle(struct machine *m, const struct program *p, struct result *r)
{
	struct kvm_run *run = m->run;

	switch (run->exit_reason) {
	case KVM_EXIT_X86_BUS_LOCK:
		return true;
	case KVM_EXIT_IO:
		r->end = END_LIMIT;
		return serve_io(m, p, r);
	case KVM_EXIT_MMIO:
		r->end = END_DONE;
		if (p->mode->cpl && run->mmio.is_write && run->mmio.phys_addr == MODE_END)
			return false;
		r->end = END_LIMIT;
		return serve_mmio(m, p, r);
	case KVM_EXIT_HLT:
		r->end = END_DONE;
		return false;
	case KVM_EXIT_SHUTDOWN:
		r->end = END_SHUTDOWN;
		return false;
	case KVM_EXIT_INTERNAL_ERROR:
		r->end = END_ERROR;
		r->suberror = run->internal.suberror;
		return false;
	default:
		r->end = END_OTHER;
		r->suberror = run->exit_reason;
		return false;
	}
}

/* Completes what the last exit left pending: the state may be set only behind that. */
static void complete(struct machine *m)
{
	if (m->run->exit_reason != KVM_EXIT_IO && m->run->exit_reason != KVM_EXIT_MMIO)
		return;
	m->run->immediate_exit = 1;
	m->api->ioctl(m->vcpu, KVM_RUN, 0);
	m->run->immediate_exit = 0;
}

/*
 * What an access left pending is completed without another instruction: else the next KVM_RUN might do
 * both in one step. More accesses of the same instruction may come of it. False: that was the end.
 */
static bool finish_instruction(struct machine *m, const struct program *p, struct result *r)
{
	for (;;) {
		long ret;

		m->run->immediate_exit = 1;
		ret = m->api->ioctl(m->vcpu, KVM_RUN, 0);
		m->run->immediate_exit = 0;
		if (ret < 0 || m->run->exit_reason == KVM_EXIT_DEBUG)
			return true;
		if (!handle(m, p, r))
			return false;
	}
}

/* A tick may come between an instruction and its debug exit. */
static bool has_moved(struct machine *m, const struct result *r)
{
	struct kvm_regs regs;

	return CALL(m->vcpu, KVM_GET_REGS, &regs) || regs.rip != r->regs.rip;
}

static int run_program(struct machine *m, const struct program *p, struct result *r,
		       machine_step *step, void *opaque)
{
	uint64_t begun = now_ms();
	bool again = false; /* a tick came, and nothing was executed */

	for (;;) {
		long ret;

		if (step && !again &&
		    (CALL(m->vcpu, KVM_GET_REGS, &r->regs) ||
		     CALL(m->vcpu, KVM_GET_SREGS, &r->sregs)))
			return -EIO;
		r->end = END_LIMIT;
		if (step && !again && !step(opaque, &r->regs, &r->sregs, m->ram))
			return 0;
		ret = m->api->ioctl(m->vcpu, KVM_RUN, 0);
		again = ret == -EINTR || ret == -EAGAIN;
		if (again) {
			again = !step || !has_moved(m, r);
			if (now_ms() - begun <= m->limit_ms)
				continue;
			return 0;
		}
		m->error = "KVM_RUN";
		if (ret < 0)
			return (int)ret;
		r->bus_locks += !!(m->run->flags & KVM_RUN_X86_BUS_LOCK);
		if (step && m->run->exit_reason == KVM_EXIT_DEBUG)
			continue;
		if (!handle(m, p, r))
			return 0;
		if (step && !finish_instruction(m, p, r))
			return 0;
	}
}

static int read_state(struct machine *m, struct result *r)
{
	int error = CALL(m->vcpu, KVM_GET_REGS, &r->regs);

	if (!error)
		error = CALL(m->vcpu, KVM_GET_SREGS, &r->sregs);
	return error || !m->mode->native ? error : read_vectors(m, r);
}

int machine_run_steps(struct machine *m, const struct program *p, struct result *r,
		      machine_step *step, void *opaque)
{
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP };
	int error = load(m, p);

	memset(r, 0, sizeof(*r));
	r->ram = m->ram;
	if (!error && step)
		error = CALL(m->vcpu, KVM_SET_GUEST_DEBUG, &debug);
	if (!error)
		error = run_program(m, p, r, step, opaque);
	if (error)
		return error;
	complete(m);
	error = read_state(m, r);
	debug.control = 0;
	if (!error && step)
		error = CALL(m->vcpu, KVM_SET_GUEST_DEBUG, &debug);
	/* Whatever a shutdown or an error left behind goes with the VM. */
	if (!error && r->end != END_DONE) {
		destroy_vm(m);
		error = create_vm(m);
	}
	if (!error && m->api->falsify)
		m->api->falsify(p, r);
	return error;
}

int machine_run(struct machine *m, const struct program *p, struct result *r)
{
	return machine_run_steps(m, p, r, NULL, NULL);
}
