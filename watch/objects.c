// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which descriptor is which VM or vCPU. All anonymous files of KVM share one inode, so a number is
 * known by its history alone: it came out of KVM_CREATE_VM or KVM_CREATE_VCPU, or is a copy of one that
 * did, and has not been closed since. Where that history is not seen (a descriptor that came over a
 * socket) the number is not known, and what it does is not watched.
 *
 * All of it lies in one mapping that a forked child finds empty (MADV_WIPEONFORK): there the parent's
 * VMs answer EIO, and nothing of theirs is to be told. A vfork child shares it and must not change it.
 */
#include "watch/internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct table {
	_Atomic int owner; /* process; 0 in a forked child that has done nothing yet */
	_Atomic unsigned vms_made;
	/* kind << 16 | index + 1; 0: not known */
	_Atomic uint32_t fd[WATCH_FDS];
	_Atomic bool complained[WATCH_FDS];
	struct watch_vm vm[WATCH_VMS];
	struct watch_vcpu vcpu[WATCH_VCPUS];
	struct watch_slot slot[WATCH_VMS][WATCH_SLOTS];
};
static _Atomic(struct table *) table;

static int process(void)
{
	return (int)syscall(SYS_getpid);
}

/* NULL: no memory. Ours from now on. */
static struct table *own_table(void)
{
	struct table *t = atomic_load(&table), *none = NULL;
	int nobody = 0;

	if (!t) {
		t = (struct table *)syscall(SYS_mmap, NULL, sizeof(*t), PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (t == MAP_FAILED)
			return NULL;
		syscall(SYS_madvise, t, sizeof(*t), MADV_WIPEONFORK);
		if (!atomic_compare_exchange_strong(&table, &none, t)) {
			syscall(SYS_munmap, t, sizeof(*t));
			t = none;
		}
	}
	if (atomic_compare_exchange_strong(&t->owner, &nobody, process()))
		watch_after_fork();
	return t;
}

static struct watch_object *object_of(struct table *t, uint32_t handle)
{
	uint32_t index = (handle & 0xffff) - 1;

	return handle >> 16 == WATCH_VM ? &t->vm[index].object : &t->vcpu[index].object;
}

/* One that has reached zero is being taken apart, and stays dead. */
static bool try_get(struct watch_object *object)
{
	unsigned refs = atomic_load(&object->refs);

	while (refs)
		if (atomic_compare_exchange_weak(&object->refs, &refs, refs + 1))
			return true;
	return false;
}

struct watch_object *watch_object_get(int fd)
{
	struct table *t = atomic_load_explicit(&table, memory_order_acquire);
	struct watch_object *object;
	uint32_t handle;

	if (!t || fd < 0 || fd >= WATCH_FDS)
		return NULL;
	handle = atomic_load(&t->fd[fd]);
	if (!handle)
		return NULL;
	object = object_of(t, handle);
	if (!try_get(object))
		return NULL;
	/* The number may have become another's before it was held. */
	if (atomic_load(&t->fd[fd]) == handle)
		return object;
	watch_object_put(object);
	return NULL;
}

/*
 * Two steps, so that nobody finds a free place before all of the last owner is out of it: the count is
 * 1 while the object is taken apart, and nobody has its number any more.
 */
static void release(struct watch_object *object)
{
	struct watch_vcpu *vcpu = (struct watch_vcpu *)object;
	struct watch_vm *vm = NULL;

	if (object->kind == WATCH_VCPU) {
		watch.kernel->unmap(vcpu->run, WATCH_PAGE);
		vm = vcpu->vm;
	}
	object->kind = WATCH_NOTHING;
	if (vm)
		watch_object_put(&vm->object);
}

void watch_object_put(struct watch_object *object)
{
	unsigned refs = atomic_load(&object->refs);

	for (;;) {
		if (refs > 1) {
			if (atomic_compare_exchange_weak(&object->refs, &refs, refs - 1))
				return;
			continue;
		}
		if (object->kind != WATCH_NOTHING)
			release(object);
		if (atomic_compare_exchange_strong(&object->refs, &refs, 0))
			return;
	}
}

/* A free place, held by one reference. */
static void *claim(void *places, size_t size, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct watch_object *object = (void *)((char *)places + i * size);
		unsigned none = 0;

		if (atomic_compare_exchange_strong(&object->refs, &none, 1))
			return object;
	}
	return NULL;
}

/* All but the count, which somebody with an old number may be trying. */
static void clear(struct watch_object *object, size_t size)
{
	memset(object + 1, 0, size - sizeof(*object));
}

static void forget(struct table *t, unsigned fd)
{
	uint32_t handle = atomic_exchange(&t->fd[fd], 0);

	atomic_store(&t->complained[fd], false);
	if (handle)
		watch_object_put(object_of(t, handle));
}

/* The reference that its maker holds becomes the number's. */
static void publish(struct table *t, int fd, enum watch_kind kind, size_t index)
{
	forget(t, (unsigned)fd); /* closed in a way that was not seen */
	atomic_store(&t->fd[fd], (uint32_t)kind << 16 | (uint32_t)(index + 1));
}

struct watch_vm *watch_vm_new(int fd)
{
	struct table *t = own_table();
	struct watch_vm *vm;

	if (!t || fd >= WATCH_FDS)
		return NULL;
	vm = claim(t->vm, sizeof(t->vm[0]), WATCH_VMS);
	if (!vm)
		return NULL;
	clear(&vm->object, sizeof(*vm));
	vm->object.kind = WATCH_VM;
	vm->number = atomic_fetch_add(&t->vms_made, 1);
	vm->slot = t->slot[vm - t->vm];
	publish(t, fd, WATCH_VM, (size_t)(vm - t->vm));
	return vm;
}

struct watch_vcpu *watch_vcpu_new(int fd, struct watch_vm *vm)
{
	struct table *t = own_table();
	struct watch_vcpu *vcpu;
	struct kvm_run *run;

	if (!t || fd >= WATCH_FDS)
		return NULL;
	run = watch.kernel->map(fd, WATCH_PAGE);
	if ((unsigned long)run > -4096ul)
		return NULL;
	vcpu = claim(t->vcpu, sizeof(t->vcpu[0]), WATCH_VCPUS);
	if (!vcpu) {
		watch.kernel->unmap(run, WATCH_PAGE);
		return NULL;
	}
	clear(&vcpu->object, sizeof(*vcpu));
	vcpu->object.kind = WATCH_VCPU;
	vcpu->vm = vm;
	vcpu->index = atomic_fetch_add(&vm->vcpus, 1);
	vcpu->run = run;
	atomic_fetch_add(&vm->object.refs, 1); /* the caller holds it */
	publish(t, fd, WATCH_VCPU, (size_t)(vcpu - t->vcpu));
	return vcpu;
}

bool watch_object_first_complaint(int fd)
{
	struct table *t = own_table();

	return t && fd >= 0 && fd < WATCH_FDS && !atomic_exchange(&t->complained[fd], true);
}

/* The table, if there is something in it that this process may change. */
static struct table *mine(void)
{
	struct table *t = atomic_load(&table);

	return t && atomic_load(&t->owner) == process() ? t : NULL;
}

void watch_closing(unsigned first, unsigned last)
{
	struct table *t = atomic_load(&table);

	if (!t || first >= WATCH_FDS)
		return;
	/* most descriptors are none of KVM's, and cost a load */
	if (first == last && !atomic_load(&t->fd[first]) && !atomic_load(&t->complained[first]))
		return;
	if (!mine())
		return;
	for (unsigned fd = first; fd <= last && fd < WATCH_FDS; fd++)
		forget(t, fd);
}

void watch_duplicated(int from, int to)
{
	struct table *t = mine();
	struct watch_object *object;

	if (!t || from == to || to < 0 || to >= WATCH_FDS)
		return;
	object = watch_object_get(from);
	forget(t, (unsigned)to);
	if (object)
		atomic_store(&t->fd[to], atomic_load(&t->fd[from]));
}
