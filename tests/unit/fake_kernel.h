/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A kernel below the watcher, made up: its vCPU has registers and does at each KVM_RUN what the test has
 * written down for it. Guest memory is real: the watcher reads it through the slot.
 */
#ifndef BUSLOCK_TESTS_FAKE_KERNEL_H
#define BUSLOCK_TESTS_FAKE_KERNEL_H

#include "tests/unit/trace_file.h"
#include "watch/internal.h"

#include <sys/syscall.h>

#define FAKE_DEVICE 2000 /* numbers of descriptors that this process does not have */
#define FAKE_VM     2001
#define FAKE_VCPU   2010
#define FAKE_MEMORY 0x200000u
#define FAKE_CODE   0x1000u

/* One KVM_RUN. */
struct outcome {
	long result;
	uint32_t reason;
	uint64_t rip;       /* afterwards; 0: as it is */
	void (*also)(void); /* NULL, or what happens besides */
};

static struct fake {
	struct file file; /* the trace's */
	struct report *report;
	struct kvm_run *run;
	uint8_t *memory;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	const struct outcome *script;
	unsigned steps, runs;
	long capability; /* 193 */
	bool sync, injected;
	uint64_t pat, lstar;
	/* what was asked */
	unsigned enabled, unmapped, terminated;
	uint32_t debug[64];       /* control at each KVM_RUN */
	uint64_t breakpoint, dr7; /* of the last that had one */
	uint32_t control;
	bool has_mask;
	uint64_t mask;
} fake;

static inline void fake_synced(void)
{
	if (fake.run->kvm_valid_regs & KVM_SYNC_X86_REGS)
		fake.run->s.regs.regs = fake.regs;
	if (fake.run->kvm_valid_regs & KVM_SYNC_X86_SREGS)
		fake.run->s.regs.sregs = fake.sregs;
}

static inline long fake_run(void)
{
	const struct outcome *now = &fake.script[fake.runs];
	uint64_t pending = 0;

	/* As the kernel: what the mask lets through ends it before it begins. */
	syscall(SYS_rt_sigpending, &pending, sizeof(pending));
	if (fake.run->immediate_exit || (fake.has_mask && pending & ~fake.mask)) {
		fake_synced();
		return -EINTR;
	}
	if (fake.runs >= fake.steps)
		fail_msg("KVM_RUN %u: the test expects %u", fake.runs, fake.steps);
	fake.debug[fake.runs % 64] = fake.control;
	fake.runs++;
	fake.run->flags = 0;
	if (now->result == 0)
		fake.run->exit_reason = now->reason;
	if (now->rip)
		fake.regs.rip = now->rip;
	if (now->also)
		now->also();
	fake_synced();
	return now->result;
}

static inline long fake_msrs(struct kvm_msrs *msrs)
{
	for (unsigned i = 0; i < msrs->nmsrs; i++)
		msrs->entries[i].data = msrs->entries[i].index == 0x277        ? fake.pat
					: msrs->entries[i].index == 0xc0000082 ? fake.lstar
									       : 0;
	return msrs->nmsrs;
}

static inline long fake_ioctl(int fd, unsigned long request, unsigned long argument)
{
	struct kvm_vcpu_events *events = (void *)argument;
	const struct kvm_guest_debug *debug = (const void *)argument;
	const struct kvm_signal_mask *mask = (const void *)argument;

	(void)fd;
	switch (request) {
	case KVM_CREATE_VM:
		return FAKE_VM;
	case KVM_CREATE_VCPU:
		return FAKE_VCPU + (long)argument;
	case KVM_CHECK_EXTENSION:
		return argument == 193 ? fake.capability : fake.sync ? 7 : 0;
	case KVM_ENABLE_CAP:
		fake.enabled++;
		return 0;
	case KVM_GET_REGS:
		*(struct kvm_regs *)argument = fake.regs;
		return 0;
	case KVM_SET_REGS:
		fake.regs = *(const struct kvm_regs *)argument;
		return 0;
	case KVM_GET_SREGS:
		*(struct kvm_sregs *)argument = fake.sregs;
		return 0;
	case KVM_GET_MSRS:
		return fake_msrs((void *)argument);
	case KVM_GET_VCPU_EVENTS:
		memset(events, 0, sizeof(*events));
		events->interrupt.injected = fake.injected;
		return 0;
	case KVM_SET_GUEST_DEBUG:
		fake.control = debug->control;
		if (debug->control & KVM_GUESTDBG_USE_HW_BP) {
			fake.breakpoint = debug->arch.debugreg[0];
			fake.dr7 = debug->arch.debugreg[7];
		}
		return 0;
	case KVM_SET_SIGNAL_MASK:
		fake.has_mask = mask != NULL;
		if (mask)
			memcpy(&fake.mask, mask->sigset, sizeof(fake.mask));
		return 0;
	case KVM_RUN:
		return fake_run();
	default:
		return 0;
	}
}

static inline void *fake_map(int fd, size_t size)
{
	(void)fd;
	assert_int_equal(size, 4096);
	return fake.run;
}

static inline void fake_unmap(void *address, size_t size)
{
	(void)address;
	(void)size;
	fake.unmapped++;
}

static inline void fake_terminate(void)
{
	fake.terminated++;
}

static const struct watch_kernel fake_kernel = {
	.ioctl = fake_ioctl, .map = fake_map, .unmap = fake_unmap, .terminate = fake_terminate
};

/* ------------------------------------------------------------------ a test's world */

static inline void fake_segment(struct kvm_segment *s, unsigned mode)
{
	*s = (struct kvm_segment){ .limit = mode == 16 ? 0xffff : 0xffffffff,
				   .type = 3,
				   .present = 1,
				   .s = 1,
				   .db = mode == 32,
				   .g = mode != 16 };
}

/* Without paging: addresses are physical. In 64-bit mode that is no state of a processor, but one of the
 * registers that are looked at. */
static inline void fake_mode(unsigned mode)
{
	struct kvm_sregs *s = &fake.sregs;
	struct kvm_segment *all[] = { &s->cs, &s->ds, &s->es, &s->fs, &s->gs, &s->ss };

	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < 6; i++)
		fake_segment(all[i], mode);
	s->cr0 = mode == 16 ? 0 : 1;
	s->efer = mode == 64 ? 0x500 : 0;
	s->cs.l = mode == 64;
}

static inline int fake_set_up(void **state)
{
	struct file *f;
	int fd;

	(void)state;
	memset(&fake, 0, sizeof(fake));
	if (set_up((void **)&f) || report_create(&fake.report, &fd, false))
		return -1;
	close(fd);
	fake.file = *f;
	free(f);
	/* as `buslock record`: they share memory */
	munmap(fake.file.counts, sizeof(*fake.file.counts));
	fake.file.counts = &fake.report->trace;
	fake.run = calloc(1, 4096);
	fake.memory =
		mmap(NULL, FAKE_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fake.pat = 0x0007040600070406;
	fake.regs = (struct kvm_regs){ .rip = FAKE_CODE, .rsp = 0x7000, .rflags = 2 };
	fake_mode(64);
	return 0;
}

static inline int fake_tear_down(void **state)
{
	(void)state;
	watch_closing(FAKE_DEVICE, FAKE_DEVICE + 100);
	trace_close(&fake.file.trace);
	unlink(fake.file.path);
	report_detach(fake.report);
	munmap(fake.memory, FAKE_MEMORY);
	free(fake.run);
	return 0;
}

/* A VM with one vCPU and its memory at 0, watched like that. */
static inline void fake_start(const struct watch_options *options)
{
	const struct kvm_userspace_memory_region region = {
		.memory_size = FAKE_MEMORY, .userspace_addr = (uintptr_t)fake.memory
	};

	create(&fake.file, false);
	assert_int_equal(watch_configure(options, &fake_kernel, fake.report, &fake.file.trace), 0);
	assert_int_equal(watch_ioctl(FAKE_DEVICE, KVM_CREATE_VM, 0), FAKE_VM);
	assert_int_equal(watch_ioctl(FAKE_VM, KVM_SET_USER_MEMORY_REGION, (unsigned long)&region),
			 0);
	assert_int_equal(watch_ioctl(FAKE_VM, KVM_CREATE_VCPU, 0), FAKE_VCPU);
}

#define FAKE_CODE_IS(bytes) memcpy(fake.memory + FAKE_CODE, bytes, sizeof(bytes) - 1)
#define FAKE_SCRIPT(...)                                                \
	do {                                                            \
		static const struct outcome script[] = { __VA_ARGS__ }; \
		fake.script = script;                                   \
		fake.steps = sizeof(script) / sizeof(script[0]);        \
		fake.runs = 0;                                          \
	} while (0)

/* KVM_RUN as the monitor does it; all that was written down has happened. */
static inline long fake_monitor_runs(void)
{
	long result = watch_ioctl(FAKE_VCPU, KVM_RUN, 0);

	assert_int_equal(fake.runs, fake.steps);
	return result;
}

static inline unsigned fake_lines(const char *needle)
{
	char *text = read_file(fake.file.path), *at = text;
	unsigned n = 0;

	while ((at = strstr(at, needle)))
		n++, at++;
	free(text);
	return n;
}

static inline void fake_says(const char *needle)
{
	char *text;

	if (fake_lines(needle))
		return;
	text = read_file(fake.file.path);
	print_message("%s", text);
	free(text);
	fail_msg("\"%s\" is not in it", needle);
}

#define FAKE_TEST(name) cmocka_unit_test_setup_teardown(name, fake_set_up, fake_tear_down)

#endif
