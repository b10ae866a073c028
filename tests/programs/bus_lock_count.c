/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel's selftest kvm_buslock_test asks of a KVM, written anew: a guest increments a dword
 * that straddles a cache line a hundred times; each KVM_RUN must end with a bus lock, and the guest's
 * counter tells whether that came behind the instruction (Intel) or in front of it (AMD).
 *
 *	bus_lock_count intel|amd
 *
 * The selftest asks the physical processor whose vendor's it has to be; here the command line says it.
 * Exit status: 0 as asked; 1 not; 77 without the capability.
 */
#include "tests/integration/kvm_api.h"

#define LOCKS     100u
#define OPERAND   (GUEST_BUFFER + 62u) /* two bytes in each of two lines */
#define DONE_PORT 0xf4

static uint32_t counter(const struct vm *vm)
{
	uint32_t value;

	memcpy(&value, vm->memory + OPERAND, sizeof(value));
	return value;
}

/* vcpu_start() has put the operand's address into RDI and the number of locks into RCX. */
static void load_guest(struct vm *vm, struct vcpu *vcpu)
{
	static const uint8_t code[] = {
		0xf0, 0xff,      0x07, /* lock inc dword [rdi] */
		0xe2, 0xfb,            /* loop */
		0xe6, DONE_PORT,       /* out DONE_PORT, al */
	};

	guest_write(vm, GUEST_LOAD, code, sizeof(code));
	vcpu_start(vcpu, GUEST_LONG, GUEST_LOAD, OPERAND, LOCKS, 0, 1);
}

/* The number of bus-lock exits until the guest is done; -1: one was not as it has to be. */
static int count_locks(struct vm *vm, struct vcpu *vcpu, bool intel)
{
	const uint64_t rip = GUEST_LOAD + (intel ? 3 : 0);
	struct kvm_run *run = vcpu->run;
	struct kvm_regs regs;

	for (unsigned n = 0;; n++) {
		vcpu_run(vcpu);
		if (run->exit_reason == KVM_EXIT_IO && run->io.port == DONE_PORT)
			return (int)n;
		vcpu_get_regs(vcpu, &regs);
		if (run->exit_reason != KVM_EXIT_X86_BUS_LOCK ||
		    run->flags != KVM_RUN_X86_BUS_LOCK || regs.rip != rip ||
		    counter(vm) != n + intel) {
			printf("exit %u: %s, flags %#x, RIP %#llx, counter %u\n", n,
			       exit_name(run->exit_reason), run->flags, (long long)regs.rip,
			       counter(vm));
			return -1;
		}
	}
}

int main(int argc, char **argv)
{
	bool intel = argc == 2 && !strcmp(argv[1], "intel");
	struct vcpu vcpu;
	struct vm vm;
	int locks;

	if (argc != 2 || (!intel && strcmp(argv[1], "amd")))
		die("usage: %s intel|amd", argv[0]);
	vm_create(&vm, GUEST_MEMORY);
	if (!(vm.bus_lock & KVM_BUS_LOCK_DETECTION_EXIT)) {
		printf("skip: KVM_CAP_X86_BUS_LOCK_EXIT is %ld\n", vm.bus_lock);
		return 77;
	}
	kvm_checked(_vm_enable_cap(vm.fd, KVM_CAP_X86_BUS_LOCK_EXIT, 0,
				   KVM_BUS_LOCK_DETECTION_EXIT),
		    "KVM_ENABLE_CAP");
	vcpu_create(&vm, &vcpu, 0);
	load_guest(&vm, &vcpu);
	locks = count_locks(&vm, &vcpu, intel);
	printf("%d bus-lock exits, counter %u\n", locks, counter(&vm));
	locks = locks == LOCKS && counter(&vm) == LOCKS;
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
	return !locks;
}
