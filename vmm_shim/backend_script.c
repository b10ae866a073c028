// SPDX-License-Identifier: GPL-2.0-only
/*
 * A processor that does what a file says (script.h): for proofs about the kernel's half that no guest
 * can bring about (an exit word with any bits), and for fuzzing.
 */
#include "vmm_shim/backend.h"
#include "vmm_shim/raw.h"
#include "vmm_shim/script.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE      4096ull
#define SLOTS_MAX 64
#define GAPS_KEPT 16
#define FL_IF     0x200

struct slot {
	bool used, log;
	unsigned number;
	uint64_t pages, *dirty;
};

struct gap {
	uint64_t host, size;
};

struct script_vm {
	struct script script;
	struct slot slot[SLOTS_MAX];
	struct gap gone[GAPS_KEPT]; /* emu_vm_host_range_gone() */
	size_t gaps;
	void (*observe)(void *, struct emu_vcpu *, const struct emu_lock *);
	void *observe_opaque;
};

struct script_vcpu {
	struct script_vm *vm;
	struct emu_state state;
	struct emu_events events;
	struct emu_stats stats;
	uint8_t fx[512];
	bool bus_lock_exiting, window;
	size_t next;
	uint64_t runs;
	_Atomic uint32_t kicked;
	/* the access that waits for the monitor's answer */
	enum emu_exit_type pending;
	bool pending_write, more;
	uint8_t data[SCRIPT_DATA_MAX];
	uint64_t msr_value;
	bool msr_error;
	size_t data_size;
};

static struct script_vm *vm_of(struct emu_vm *vm)
{
	return (struct script_vm *)vm;
}

static struct script_vcpu *vcpu_of(struct emu_vcpu *vcpu)
{
	return (struct script_vcpu *)vcpu;
}

/* ------------------------------------------------------------------ the VM */

static void vm_destroy(struct emu_vm *emu)
{
	struct script_vm *vm = vm_of(emu);

	script_free(&vm->script);
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		free(vm->slot[i].dirty);
	free(vm);
}

static int vm_create(const struct shim_options *options, struct emu_vm **emu)
{
	struct script_vm *vm = calloc(1, sizeof(*vm));
	int r = 0;

	if (!vm)
		return -ENOMEM;
	if (options->script)
		r = script_read(&vm->script, options->script);
	if (r) {
		vm_destroy((struct emu_vm *)vm);
		return r;
	}
	*emu = (struct emu_vm *)vm;
	return 0;
}

static struct slot *slot_find(struct script_vm *vm, unsigned number)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		if (vm->slot[i].used && vm->slot[i].number == number)
			return &vm->slot[i];
	}
	return NULL;
}

static int set_log(struct slot *slot, unsigned flags)
{
	bool on = flags & EMU_MEM_LOG_DIRTY;

	free(slot->dirty);
	slot->dirty = on ? calloc((size_t)(slot->pages + 63) / 64, 8) : NULL;
	slot->log = on;
	for (uint64_t page = 0; slot->dirty && flags & EMU_MEM_LOG_SET && page < slot->pages;
	     page++)
		slot->dirty[page / 64] |= 1ull << page % 64;
	return on && !slot->dirty ? -ENOMEM : 0;
}

static int map(struct emu_vm *emu, unsigned number, uint64_t gpa, uint64_t size, void *host,
	       unsigned flags)
{
	struct script_vm *vm = vm_of(emu);
	struct slot *slot = slot_find(vm, number);

	(void)gpa;
	(void)host;
	for (unsigned i = 0; !slot && i < SLOTS_MAX; i++) {
		if (!vm->slot[i].used)
			slot = &vm->slot[i];
	}
	if (!slot)
		return -ENOMEM;
	slot->used = true;
	slot->number = number;
	slot->pages = size / PAGE;
	return set_log(slot, flags);
}

static int unmap(struct emu_vm *emu, unsigned number)
{
	struct slot *slot = slot_find(vm_of(emu), number);

	if (!slot)
		return -ENOENT;
	free(slot->dirty);
	memset(slot, 0, sizeof(*slot));
	return 0;
}

static int set_flags(struct emu_vm *emu, unsigned number, unsigned flags)
{
	struct slot *slot = slot_find(vm_of(emu), number);
	bool log = flags & EMU_MEM_LOG_DIRTY;

	if (!slot)
		return -ENOENT;
	return log == slot->log ? 0 : set_log(slot, flags);
}

static int dirty_log(struct emu_vm *emu, unsigned number, uint64_t *bitmap, bool clear)
{
	struct slot *slot = slot_find(vm_of(emu), number);
	size_t size;

	if (!slot || !slot->dirty)
		return -ENOENT;
	size = (size_t)(slot->pages + 63) / 64 * 8;
	memcpy(bitmap, slot->dirty, size);
	if (clear)
		memset(slot->dirty, 0, size);
	return 0;
}

static int dirty_clear(struct emu_vm *emu, unsigned number, uint64_t first, uint64_t count,
		       const uint64_t *bitmap)
{
	struct slot *slot = slot_find(vm_of(emu), number);

	if (!slot || !slot->dirty)
		return -ENOENT;
	for (uint64_t i = 0; i < count && first + i < slot->pages; i++) {
		if (bitmap[i / 64] >> i % 64 & 1)
			slot->dirty[(first + i) / 64] &= ~(1ull << (first + i) % 64);
	}
	return 0;
}

static void host_range_gone(struct emu_vm *emu, const void *host, size_t size)
{
	struct script_vm *vm = vm_of(emu);

	vm->gone[vm->gaps % GAPS_KEPT] = (struct gap){ (uintptr_t)host, size };
	vm->gaps++;
}

static void host_range_back(struct emu_vm *emu, const void *host, size_t size)
{
	(void)emu;
	(void)host;
	(void)size;
}

size_t backend_script_gaps(struct emu_vm *emu, uint64_t *host, uint64_t *size, size_t max)
{
	const struct script_vm *vm = vm_of(emu);

	for (size_t i = 0; i < vm->gaps && i < max && i < GAPS_KEPT; i++) {
		host[i] = vm->gone[i].host;
		size[i] = vm->gone[i].size;
	}
	return vm->gaps;
}

/* It has no guest that would read or write memory. */
static int read_guest(struct emu_vm *emu, uint64_t gpa, void *data, size_t size)
{
	(void)emu;
	(void)gpa;
	(void)data;
	(void)size;
	return -EFAULT;
}

static int write_guest(struct emu_vm *emu, uint64_t gpa, const void *data, size_t size)
{
	(void)emu;
	(void)gpa;
	(void)data;
	(void)size;
	return -EFAULT;
}

/* A script says by itself what is a bus lock. */
static int declare_memory_type(struct emu_vm *emu, uint64_t gpa, uint64_t size, unsigned type)
{
	(void)emu;
	(void)gpa;
	(void)size;
	(void)type;
	return 0;
}

static int set_memory_policy(struct emu_vm *emu, enum emu_memory_policy policy, bool cd_is_uc)
{
	(void)emu;
	(void)policy;
	(void)cd_is_uc;
	return 0;
}

static void set_lock_observer(struct emu_vm *emu,
			      void (*observe)(void *, struct emu_vcpu *, const struct emu_lock *),
			      void *opaque)
{
	vm_of(emu)->observe = observe;
	vm_of(emu)->observe_opaque = opaque;
}

/* A script says by itself what traps: exit exception vector=17. */
static void set_split_lock_trap(struct emu_vm *emu, bool (*trap)(void *, struct emu_vcpu *),
				void *opaque)
{
	(void)emu;
	(void)trap;
	(void)opaque;
}

static void set_controls(struct emu_vcpu *emu, const struct emu_controls *controls)
{
	(void)emu;
	(void)controls;
}

static void set_msr_filter(struct emu_vm *emu,
			   bool (*exits)(void *, struct emu_vcpu *, uint32_t, bool), void *opaque)
{
	(void)emu; /* a script names its MSR exits */
	(void)exits;
	(void)opaque;
}

static void set_msr_exits(struct emu_vm *emu, bool unknown_exits)
{
	(void)emu;
	(void)unknown_exits;
}

static size_t msr_list(uint32_t *index, size_t max)
{
	(void)index;
	(void)max;
	return 0;
}

static size_t cpuid_supported(enum emu_vendor vendor, struct emu_cpuid *leaves, size_t max)
{
	const struct emu_cpuid all[] = {
		{ .function = 0, .eax = 1 },
		{ .function = 1, .ecx = 1u << 26, .edx = 1 << 6 },
		{ .function = 0xd, .has_index = true, .eax = 3 },
		{ .function = 0x80000000, .eax = 0x80000008 },
		{ .function = 0x80000001, .edx = 1u << 29 | 1u << 20 | 1u << 11 },
		{ .function = 0x80000008, .eax = 48 << 8 | 40 },
	};
	size_t n = sizeof(all) / sizeof(all[0]);

	(void)vendor;
	memcpy(leaves, all, (n < max ? n : max) * sizeof(all[0]));
	return n;
}

/* ------------------------------------------------------------------ the vCPU */

static int vcpu_create(struct emu_vm *emu, struct emu_vcpu **result)
{
	struct script_vcpu *vcpu = calloc(1, sizeof(*vcpu));

	if (!vcpu)
		return -ENOMEM;
	vcpu->vm = vm_of(emu);
	/* SDM 10.1.1, as far as somebody looks */
	vcpu->state.rip = 0xfff0;
	vcpu->state.rflags = 2;
	vcpu->state.cr0 = 0x60000010;
	vcpu->state.xcr0 = 1;
	vcpu->state.dr[6] = 0xffff0ff0;
	vcpu->state.dr[7] = 0x400;
	vcpu->state.segment[EMU_CS] = (struct emu_segment){ 0xffff0000, 0xffff, 0xf000, 0x9b };
	*result = (struct emu_vcpu *)vcpu;
	return 0;
}

static void vcpu_destroy(struct emu_vcpu *vcpu)
{
	free(vcpu);
}

static void get_brief(struct emu_vcpu *emu, struct backend_brief *brief)
{
	*brief = backend_brief_of(&vcpu_of(emu)->state);
}

static void get_state(struct emu_vcpu *emu, struct emu_state *state)
{
	*state = vcpu_of(emu)->state;
}

static int set_state(struct emu_vcpu *emu, const struct emu_state *state)
{
	vcpu_of(emu)->state = *state;
	return 0;
}

static void get_events(struct emu_vcpu *emu, struct emu_events *events)
{
	*events = vcpu_of(emu)->events;
}

static void set_events(struct emu_vcpu *emu, const struct emu_events *events)
{
	vcpu_of(emu)->events = *events;
}

static void get_fx(struct emu_vcpu *emu, void *image)
{
	memcpy(image, vcpu_of(emu)->fx, sizeof(vcpu_of(emu)->fx));
}

static int set_fx(struct emu_vcpu *emu, const void *image)
{
	uint32_t mxcsr;

	memcpy(&mxcsr, (const char *)image + 24, sizeof(mxcsr));
	if (mxcsr >> 16)
		return -EINVAL;
	memcpy(vcpu_of(emu)->fx, image, sizeof(vcpu_of(emu)->fx));
	return 0;
}

static int get_msr(struct emu_vcpu *emu, uint32_t index, uint64_t *value, bool host)
{
	(void)emu;
	(void)index;
	(void)value;
	(void)host;
	return -ENOENT;
}

static int set_msr(struct emu_vcpu *emu, uint32_t index, uint64_t value, bool host)
{
	return get_msr(emu, index, &value, host);
}

static int64_t get_tsc_offset(struct emu_vcpu *emu)
{
	(void)emu;
	return 0;
}

static void set_tsc_offset(struct emu_vcpu *emu, int64_t offset)
{
	(void)emu;
	(void)offset;
}

static int set_cpuid(struct emu_vcpu *emu, const struct emu_cpuid *leaves, size_t count)
{
	(void)emu;
	(void)leaves;
	return count > 256 ? -E2BIG : 0;
}

static int translate(struct emu_vcpu *emu, uint64_t linear, uint64_t *gpa, bool *writable,
		     bool *user)
{
	(void)emu;
	if (linear >> 32)
		return -EFAULT;
	*gpa = linear;
	*writable = *user = true;
	return 0;
}

/* It has no memory. */
static int observed_read(struct emu_vcpu *emu, uint64_t linear, void *data, size_t size)
{
	(void)emu;
	(void)linear;
	(void)data;
	(void)size;
	return -EFAULT;
}

static void set_bus_lock_exiting(struct emu_vcpu *emu, bool on)
{
	vcpu_of(emu)->bus_lock_exiting = on;
	/* where a test can see it */
	vcpu_of(emu)->state.gpr[15] = on;
}

static void set_bus_lock_counter(struct emu_vcpu *emu, uint16_t count)
{
	vcpu_of(emu)->state.gpr[14] = count;
}

static void request_interrupt_window(struct emu_vcpu *emu, bool on)
{
	vcpu_of(emu)->window = on;
}

static bool interruptible(struct emu_vcpu *emu)
{
	const struct script_vcpu *vcpu = vcpu_of(emu);

	return (vcpu->state.rflags & FL_IF) && !vcpu->events.interrupt.shadow &&
	       !vcpu->events.interrupt.injected && !vcpu->events.exception.pending;
}

static int inject_interrupt(struct emu_vcpu *emu, uint8_t vector)
{
	struct emu_events *events = &vcpu_of(emu)->events;

	if (events->interrupt.injected)
		return -EBUSY;
	events->interrupt.injected = true;
	events->interrupt.vector = vector;
	return 0;
}

static void inject_nmi(struct emu_vcpu *emu)
{
	vcpu_of(emu)->events.nmi.pending = true;
}

static void set_debug(struct emu_vcpu *emu, const struct emu_debug *debug)
{
	(void)emu;
	(void)debug;
}

static void get_stats(const struct emu_vcpu *emu, struct emu_stats *stats)
{
	*stats = ((const struct script_vcpu *)emu)->stats;
}

/* ------------------------------------------------------------------ running */

static void kick(struct emu_vcpu *emu)
{
	struct script_vcpu *vcpu = vcpu_of(emu);

	atomic_store(&vcpu->kicked, 1);
	raw_syscall(SYS_futex, &vcpu->kicked, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static bool host_fault(const void *address, const void *ucontext)
{
	(void)address;
	(void)ucontext;
	return false;
}

static uint64_t little_endian(const uint8_t *data, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, data, size < 8 ? size : 8);
	return value;
}

/* What the monitor answered becomes visible. */
static void complete(struct script_vcpu *vcpu)
{
	struct emu_state *state = &vcpu->state;

	switch (vcpu->pending) {
	case EMU_EXIT_IO:
		if (!vcpu->pending_write)
			state->gpr[EMU_RAX] = little_endian(vcpu->data, vcpu->data_size);
		break;
	case EMU_EXIT_MMIO:
		if (!vcpu->pending_write)
			state->gpr[EMU_RBX] = little_endian(vcpu->data, vcpu->data_size);
		break;
	case EMU_EXIT_RDMSR:
		state->gpr[EMU_RCX] = vcpu->msr_value;
		state->gpr[8] = vcpu->msr_error;
		break;
	case EMU_EXIT_WRMSR:
		state->gpr[8] = vcpu->msr_error;
		break;
	default:
		break;
	}
	vcpu->pending = EMU_EXIT_NONE;
}

static void set_registers(struct script_vcpu *vcpu, const struct script_line *line)
{
	struct emu_state *state = &vcpu->state;

#define IF_GIVEN(key, field)           \
	if (line->given & 1u << (key)) \
	(field) = line->value[key]
	IF_GIVEN(K_RIP, state->rip);
	IF_GIVEN(K_RFLAGS, state->rflags);
	IF_GIVEN(K_RAX, state->gpr[EMU_RAX]);
	IF_GIVEN(K_CR8, state->cr8);
	IF_GIVEN(K_EFER, state->efer);
#undef IF_GIVEN
	if (line->given & 1u << K_SHADOW)
		vcpu->events.interrupt.shadow = (uint8_t)line->value[K_SHADOW];
	if (line->given & 1u << K_CPL)
		state->segment[EMU_SS].attributes = (uint16_t)(0x93 | line->value[K_CPL] << 5);
	if (line->given & 1u << K_CS_L)
		state->segment[EMU_CS].attributes = (uint16_t)(0x9b | line->value[K_CS_L] << 13);
}

static void observe_lock(struct script_vcpu *vcpu, const struct script_line *line)
{
	const struct emu_lock lock = {
		.cause = line->given & 1u << K_CAUSE ? (unsigned)line->value[K_CAUSE]
						     : EMU_LOCK_SPLIT,
		.rip = line->value[K_RIP],
		.linear_rip = line->value[K_RIP],
		.linear = line->value[K_LINEAR],
		.gpa = line->value[K_LINEAR],
		.size = (uint32_t)line->value[K_SIZE],
		.insn_length = line->insn_length,
	};

	vcpu->stats.locked++;
	vcpu->stats.bus_locks++;
	vcpu->stats.split += lock.cause == EMU_LOCK_SPLIT;
	if (vcpu->vm->observe)
		vcpu->vm->observe(vcpu->vm->observe_opaque, (struct emu_vcpu *)vcpu, &lock);
}

static void make_dirty(struct script_vcpu *vcpu, const struct script_line *line)
{
	struct slot *slot = slot_find(vcpu->vm, (unsigned)line->number[0]);
	uint64_t page = line->number[1];

	if (slot && slot->dirty && page < slot->pages)
		slot->dirty[page / 64] |= 1ull << page % 64;
}

static void fill_access(struct script_vcpu *vcpu, const struct script_line *line,
			struct emu_exit *exit)
{
	uint8_t size = line->given & 1u << K_SIZE ? (uint8_t)line->value[K_SIZE] : 1;
	uint32_t count = line->given & 1u << K_COUNT ? (uint32_t)line->value[K_COUNT] : 1;
	bool write = line->value[K_WRITE];

	vcpu->pending = line->type;
	vcpu->pending_write = write;
	vcpu->more = line->value[K_MORE];
	memset(vcpu->data, 0, sizeof(vcpu->data));
	if (line->data)
		memcpy(vcpu->data, line->data, line->data_size);
	if (line->type == EMU_EXIT_IO) {
		exit->io.port = (uint16_t)line->value[K_PORT];
		exit->io.size = size;
		exit->io.count = count;
		exit->io.write = write;
		exit->io.data = vcpu->data;
		vcpu->data_size = (size_t)size * count;
	} else {
		exit->mmio.gpa = line->value[K_GPA];
		exit->mmio.size = size;
		exit->mmio.write = write;
		exit->mmio.data = vcpu->data;
		vcpu->data_size = size;
	}
}

static void fill_exit(struct script_vcpu *vcpu, const struct script_line *line,
		      struct emu_exit *exit)
{
	exit->type = line->type;
	exit->word = line->word;
	exit->qualification = line->value[K_QUALIFICATION];
	exit->idt_vectoring = (uint32_t)line->value[K_IDT];
	exit->guest_linear = line->value[K_LINEAR];
	exit->guest_physical = line->value[K_GPA];
	exit->bus_lock = line->word & VMX_EXIT_BUS_LOCK_ASSERTED || line->word == SVM_BUSLOCK;
	switch (line->type) {
	case EMU_EXIT_IO:
	case EMU_EXIT_MMIO:
		fill_access(vcpu, line, exit);
		break;
	case EMU_EXIT_RDMSR:
	case EMU_EXIT_WRMSR:
		vcpu->pending = line->type;
		vcpu->msr_value = line->value[K_VALUE];
		vcpu->msr_error = false;
		exit->msr.index = (uint32_t)line->value[K_INDEX];
		exit->msr.value = &vcpu->msr_value;
		exit->msr.error = &vcpu->msr_error;
		break;
	case EMU_EXIT_EXCEPTION: /* SDM 27.9.2: a hardware exception, with an error code */
		exit->interruption = (uint32_t)line->value[K_VECTOR] | 3u << 8 | 1u << 11 |
				     1u << 31;
		exit->interruption_error = (uint32_t)line->value[K_VALUE];
		break;
	case EMU_EXIT_DEBUG:
		exit->debug.vector = (uint8_t)line->value[K_VECTOR];
		exit->debug.rip = line->value[K_RIP];
		exit->debug.dr6 = line->value[K_DR6];
		exit->debug.dr7 = line->value[K_DR7];
		break;
	case EMU_EXIT_INTERNAL_ERROR:
		exit->error.suberror = line->given & 1u << K_SUBERROR
					       ? (unsigned)line->value[K_SUBERROR]
					       : EMU_ERROR_EMULATION;
		exit->error.insn_length = line->insn_length;
		memcpy(exit->error.insn, line->insn, sizeof(exit->error.insn));
		break;
	default:
		break;
	}
}

static int kicked(struct emu_exit *exit)
{
	exit->type = EMU_EXIT_KICKED;
	exit->word = VMX_EXTERNAL_INTERRUPT;
	return 0;
}

/* 1: on to the next statement */
static int execute(struct script_vcpu *vcpu, struct emu_exit *exit)
{
	const struct script_line *line;

	if (vcpu->next >= vcpu->vm->script.lines) {
		exit->type = EMU_EXIT_SHUTDOWN;
		exit->word = VMX_TRIPLE_FAULT;
		return 0;
	}
	line = &vcpu->vm->script.line[vcpu->next++];
	switch (line->statement) {
	case S_EXIT:
		fill_exit(vcpu, line, exit);
		return 0;
	case S_FAIL:
		exit->word = line->word;
		return -(int)line->number[0];
	case S_SET:
		set_registers(vcpu, line);
		break;
	case S_LOCK:
		observe_lock(vcpu, line);
		break;
	case S_DIRTY:
		make_dirty(vcpu, line);
		break;
	case S_WAIT:
		while (!atomic_load(&vcpu->kicked))
			raw_syscall(SYS_futex, &vcpu->kicked, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
		vcpu->next--; /* waits again when the run goes on */
		atomic_store(&vcpu->kicked, 0);
		return kicked(exit);
	case S_REPEAT:
		vcpu->next = 0;
		break;
	}
	return 1;
}

static int run(struct emu_vcpu *emu, unsigned flags, struct emu_exit *exit)
{
	struct script_vcpu *vcpu = vcpu_of(emu);
	bool more = vcpu->pending && vcpu->more;
	int r;

	complete(vcpu);
	memset(exit, 0, sizeof(*exit));
	if (more && vcpu->next < vcpu->vm->script.lines) {
		fill_exit(vcpu, &vcpu->vm->script.line[vcpu->next++], exit);
		return 0;
	}
	if (flags & EMU_RUN_COMPLETE_ONLY)
		return -EAGAIN;
	vcpu->state.gpr[9] = ++vcpu->runs;
	if (vcpu->events.interrupt.injected) {
		vcpu->events.interrupt.injected = false;
		vcpu->stats.interrupts++;
	}
	if (atomic_exchange(&vcpu->kicked, 0))
		return kicked(exit);
	do {
		if (vcpu->window && interruptible(emu)) {
			exit->type = EMU_EXIT_INTERRUPT_WINDOW;
			exit->word = VMX_INTERRUPT_WINDOW;
			return 0;
		}
		r = execute(vcpu, exit);
	} while (r > 0);
	return r;
}

const struct backend backend_script = {
	.name = "script",
	.vm_create = vm_create,
	.vm_destroy = vm_destroy,
	.map = map,
	.unmap = unmap,
	.set_flags = set_flags,
	.dirty_log = dirty_log,
	.dirty_clear = dirty_clear,
	.host_range_gone = host_range_gone,
	.host_range_back = host_range_back,
	.read_guest = read_guest,
	.write_guest = write_guest,
	.declare_memory_type = declare_memory_type,
	.set_memory_policy = set_memory_policy,
	.set_lock_observer = set_lock_observer,
	.set_split_lock_trap = set_split_lock_trap,
	.set_msr_filter = set_msr_filter,
	.set_msr_exits = set_msr_exits,
	.msr_list = msr_list,
	.cpuid_supported = cpuid_supported,
	.vcpu_create = vcpu_create,
	.vcpu_destroy = vcpu_destroy,
	.get_brief = get_brief,
	.get_state = get_state,
	.set_state = set_state,
	.get_events = get_events,
	.set_events = set_events,
	.get_fx = get_fx,
	.set_fx = set_fx,
	.get_msr = get_msr,
	.set_msr = set_msr,
	.get_tsc_offset = get_tsc_offset,
	.set_tsc_offset = set_tsc_offset,
	.set_cpuid = set_cpuid,
	.translate = translate,
	.observed_read = observed_read,
	.set_bus_lock_exiting = set_bus_lock_exiting,
	.set_bus_lock_counter = set_bus_lock_counter,
	.set_controls = set_controls,
	.request_interrupt_window = request_interrupt_window,
	.interruptible = interruptible,
	.inject_interrupt = inject_interrupt,
	.inject_nmi = inject_nmi,
	.set_debug = set_debug,
	.get_stats = get_stats,
	.run = run,
	.kick = kick,
	.host_fault = host_fault,
};
