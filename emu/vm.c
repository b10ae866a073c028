/* SPDX-License-Identifier: GPL-2.0-only */
#include "emu/vm.h"

#include "emu/run.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_PHYSICAL_BITS 40

static char check_message[200];
static int check_result;

static void check_once(void)
{
	check_result = engine_check(check_message, sizeof(check_message));
}

int emu_engine_check(char *why, size_t size)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, check_once);
	if (why && size)
		snprintf(why, size, "%s", check_message);
	return check_result;
}

struct memory *vm_memory(struct emu_vm *vm)
{
	return &vm->memory;
}

unsigned vm_physical_bits(struct emu_vm *vm)
{
	return vm->config.physical_address_bits;
}

/* Somebody waits for the run lock. */
static void nudge(void *opaque)
{
	struct emu_vm *vm = opaque;
	engine_stop(vm->engine);
}

static void drop_page(void *engine, const void *host_page)
{
	engine_drop_page(engine, host_page);
}

/* x87 and SSE after RESET, SDM vol. 3, table 10-1; the engine's own reset leaves zeroes. */
static void reset_fx(struct emu_vm *vm)
{
	uint8_t image[512] = { 0x40, [4] = 0xff, [24] = 0x80, 0x1f }; /* FCW, FTW, MXCSR */

	engine_set_fx(vm->engine, image);
}

static int make_engine(struct emu_vm *vm)
{
	void *scratch = NULL;
	int ret = run_engine_create(vm);
	if (ret)
		return ret;
	vm->memory.engine = vm->engine;
	vm->memory.engine_drop_page = drop_page;
	if (posix_memalign(&scratch, PAGE_SIZE, SCRATCH_PAGES * PAGE_SIZE))
		return -ENOMEM;
	vm->scratch = scratch;
	reset_fx(vm);
	vm->pristine = engine_context_new(vm->engine);
	return vm->pristine ? 0 : -ENOMEM;
}

/* Intel's is the line (SDM 11.1.2.2); AMD's at most that (APM 7.3.3). */
static bool boundary_valid(const struct emu_vm *vm)
{
	unsigned boundary = vm->config.lock_boundary;
	if (vm->config.vendor == EMU_INTEL)
		return boundary == LINE_SIZE;
	return boundary >= 8 && boundary <= LINE_SIZE && !(boundary & (boundary - 1));
}

/* What a policy means for the vendor, or -EINVAL. */
static int policy_of(enum emu_vendor vendor, enum emu_memory_policy policy)
{
	if (policy > EMU_MEMORY_GUEST_MTRR_PAT)
		return -EINVAL;
	if (policy == EMU_MEMORY_NATIVE)
		return policy;
	if (vendor == EMU_AMD && policy == EMU_MEMORY_WB_IGNORE_PAT)
		return EMU_MEMORY_NPT; /* the default */
	return (vendor == EMU_AMD) == (policy == EMU_MEMORY_NPT) ? (int)policy : -EINVAL;
}

int emu_vm_create(const struct emu_config *config, struct emu_vm **out)
{
	int ret = emu_engine_check(NULL, 0);
	if (ret)
		return ret;
	struct emu_vm *vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	if (config)
		vm->config = *config;
	unsigned *bits = &vm->config.physical_address_bits;
	if (!*bits)
		*bits = DEFAULT_PHYSICAL_BITS;
	unsigned *boundary = &vm->config.lock_boundary;
	if (!*boundary)
		*boundary = LINE_SIZE;
	int policy = policy_of(vm->config.vendor, vm->config.memory_policy);
	if (*bits < 32 || *bits > 52 || vm->config.vendor > EMU_AMD || !boundary_valid(vm) ||
	    policy < 0 || vm->config.delivery_lock > EMU_DELIVERY_LOCK_VECTORING) {
		free(vm);
		return -EINVAL;
	}
	memory_init(&vm->memory);
	vm->memory.vendor = vm->config.vendor;
	vm->memory.policy = (enum emu_memory_policy)policy;
	vm->memory.cd_is_uc = vm->config.cd_is_uc;
	run_lock_init(&vm->lock, nudge, vm);
	ret = make_engine(vm);
	if (ret) {
		emu_vm_destroy(vm);
		return ret;
	}
	*out = vm;
	return 0;
}

void emu_vm_destroy(struct emu_vm *vm)
{
	if (!vm)
		return;
	engine_context_free(vm->pristine);
	engine_destroy(vm->engine);
	memory_destroy(&vm->memory);
	run_lock_destroy(&vm->lock);
	free(vm->counted);
	free(vm->scratch);
	free(vm);
}

/* ------------------------------------------------------------------ memory, under the run lock */

static void lock(struct emu_vm *vm)
{
	run_lock_acquire(&vm->lock, true, NULL);
}

/* Translations held by the engine fall at the next run (memory.generation); the list of hot code
 * pages names pages that may be gone. */
static int unlock(struct emu_vm *vm, int ret)
{
	engine_flush_tlb(vm->engine);
	code_distrust(vm);
	run_lock_release(&vm->lock);
	return ret;
}

int emu_vm_map(struct emu_vm *vm, unsigned slot, uint64_t gpa, uint64_t size, void *host,
	       unsigned flags)
{
	lock(vm);
	return unlock(vm, memory_map(&vm->memory, slot, gpa, size, host, flags));
}

int emu_vm_unmap(struct emu_vm *vm, unsigned slot)
{
	lock(vm);
	return unlock(vm, memory_unmap(&vm->memory, slot));
}

int emu_vm_set_flags(struct emu_vm *vm, unsigned slot, unsigned flags)
{
	lock(vm);
	return unlock(vm, memory_set_flags(&vm->memory, slot, flags));
}

int emu_vm_dirty_log(struct emu_vm *vm, unsigned slot, uint64_t *bitmap, bool clear)
{
	lock(vm);
	return unlock(vm, memory_dirty_log(&vm->memory, slot, bitmap, clear));
}

int emu_vm_dirty_clear(struct emu_vm *vm, unsigned slot, uint64_t first, uint64_t count,
		       const uint64_t *bitmap)
{
	lock(vm);
	return unlock(vm, memory_dirty_clear(&vm->memory, slot, first, count, bitmap));
}

int emu_vm_intercept_page(struct emu_vm *vm, uint64_t gpa, enum emu_page_intercept what)
{
	lock(vm);
	return unlock(vm, memory_set_intercept(&vm->memory, gpa, what));
}

int emu_vm_declare_memory_type(struct emu_vm *vm, uint64_t gpa, uint64_t size, unsigned type)
{
	lock(vm);
	return unlock(vm, memory_declare_type(&vm->memory, gpa, size, type));
}

int emu_vm_set_memory_policy(struct emu_vm *vm, enum emu_memory_policy policy, bool cd_is_uc)
{
	int meant = policy_of(vm->config.vendor, policy);
	if (meant < 0)
		return meant;
	lock(vm);
	memory_set_policy(&vm->memory, (enum emu_memory_policy)meant, cd_is_uc);
	return unlock(vm, 0);
}

int emu_vm_read(struct emu_vm *vm, uint64_t gpa, void *data, size_t size)
{
	lock(vm);
	int ret = memory_copy(&vm->memory, gpa, data, size, false);
	run_lock_release(&vm->lock);
	return ret;
}

int emu_vm_write(struct emu_vm *vm, uint64_t gpa, const void *data, size_t size)
{
	lock(vm);
	return unlock(vm, memory_copy(&vm->memory, gpa, (void *)(uintptr_t)data, size, true));
}

/* From any thread and any signal handler: no lock; a running vCPU is made to look. */
void emu_vm_host_range_gone(struct emu_vm *vm, const void *host, size_t size)
{
	memory_host_range_gone(&vm->memory, host, size);
	engine_stop(vm->engine);
}

void emu_vm_host_range_back(struct emu_vm *vm, const void *host, size_t size)
{
	memory_host_range_back(&vm->memory, host, size);
}

/* ------------------------------------------------------------------ policy of the hypervisor */

void emu_vm_set_msr_filter(struct emu_vm *vm,
			   bool (*exits)(void *, struct emu_vcpu *, uint32_t, bool), void *opaque)
{
	lock(vm);
	vm->msr_filter = exits;
	vm->msr_filter_opaque = opaque;
	unlock(vm, 0);
}

void emu_vm_set_tsc_source(struct emu_vm *vm, uint64_t (*tsc)(void *, struct emu_vcpu *),
			   void *opaque)
{
	lock(vm);
	vm->tsc = tsc;
	vm->tsc_opaque = opaque;
	unlock(vm, 0);
}

void emu_vm_set_msr_exits(struct emu_vm *vm, bool unknown_exits)
{
	vm->msr_unknown_exits = unknown_exits;
}

void emu_vm_set_lock_observer(struct emu_vm *vm,
			      void (*observe)(void *, struct emu_vcpu *, const struct emu_lock *),
			      void *opaque)
{
	lock(vm);
	vm->observe = observe;
	vm->observe_opaque = opaque;
	unlock(vm, 0);
}

void emu_vm_set_split_lock_trap(struct emu_vm *vm, bool (*trap)(void *, struct emu_vcpu *),
				void *opaque)
{
	lock(vm);
	vm->split_lock_trap = vm->config.vendor == EMU_INTEL ? trap : NULL;
	vm->split_lock_trap_opaque = opaque;
	unlock(vm, 0);
}
