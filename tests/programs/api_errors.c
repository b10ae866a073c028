/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the KVM API answers to calls that are wrong or merely unusual: "case: result" lines.
 * tests/golden/kvm_api/errors.txt holds what a real device answered.
 */
#include "tests/integration/kvm_api.h"

#include <sys/uio.h>

static struct vm vm;
static struct vcpu vcpu;

static void show(const char *what, long result)
{
	printf("%s: %s\n", what, result_name(result));
}
#define SHOW(what, call) show(what, call)

/* Each request on the descriptors that it is not for, and with no pointer on its own. */
static void wrong_descriptors(void)
{
	static const struct {
		unsigned long request;
		const char *name;
		char home;    /* s system, v VM, c vCPU */
		bool pointer; /* takes one */
	} list[] = {
#define R(request, home, pointer) { request, #request, home, pointer }
		R(KVM_GET_API_VERSION, 's', false),
		R(KVM_CREATE_VM, 's', false),
		R(KVM_GET_VCPU_MMAP_SIZE, 's', false),
		R(KVM_GET_SUPPORTED_CPUID, 's', true),
		R(KVM_GET_MSR_INDEX_LIST, 's', true),
		R(KVM_CREATE_VCPU, 'v', false),
		R(KVM_SET_USER_MEMORY_REGION, 'v', true),
		R(KVM_GET_DIRTY_LOG, 'v', true),
		R(KVM_SET_TSS_ADDR, 'v', false),
		R(KVM_SET_IDENTITY_MAP_ADDR, 'v', true),
		R(KVM_RUN, 'c', false),
		R(KVM_GET_REGS, 'c', true),
		R(KVM_SET_REGS, 'c', true),
		R(KVM_GET_SREGS, 'c', true),
		R(KVM_SET_SREGS, 'c', true),
		R(KVM_TRANSLATE, 'c', true),
		R(KVM_INTERRUPT, 'c', true),
		R(KVM_GET_MSRS, 'c', true),
		R(KVM_SET_MSRS, 'c', true),
		R(KVM_SET_CPUID2, 'c', true),
		R(KVM_GET_FPU, 'c', true),
		R(KVM_SET_FPU, 'c', true),
		R(KVM_GET_MP_STATE, 'c', true),
		R(KVM_SET_MP_STATE, 'c', true),
		R(KVM_NMI, 'c', false),
#undef R
	};

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		printf("%s: system %s", list[i].name,
		       list[i].home != 's' ? result_name(_kvm_ioctl(vm.kvm, list[i].request, 0))
		       : list[i].pointer   ? result_name(_kvm_ioctl(vm.kvm, list[i].request, 0))
					   : "home");
		printf(", vm %s", list[i].home != 'v' || list[i].pointer
					  ? result_name(_kvm_ioctl(vm.fd, list[i].request, 0))
					  : "home");
		printf(", vcpu %s\n", list[i].home != 'c' || list[i].pointer
					      ? result_name(_kvm_ioctl(vcpu.fd, list[i].request, 0))
					      : "home");
	}
	SHOW("unknown KVM request: system", _kvm_ioctl(vm.kvm, _IO(KVMIO, 0xff), 0));
	SHOW("unknown KVM request: vm", _kvm_ioctl(vm.fd, _IO(KVMIO, 0xff), 0));
	SHOW("unknown KVM request: vcpu", _kvm_ioctl(vcpu.fd, _IO(KVMIO, 0xff), 0));
	SHOW("another driver's request: system", _kvm_ioctl(vm.kvm, _IO('T', 0x99), 0));
	SHOW("another driver's request: vm", _kvm_ioctl(vm.fd, _IO('T', 0x99), 0));
	SHOW("another driver's request: vcpu", _kvm_ioctl(vcpu.fd, _IO('T', 0x99), 0));
}

static void enable_cap_on(const char *where, int fd)
{
	static const uint64_t arguments[] = { 0, 1, 2, 3, 4, 6, 1ull << 32, 1ull << 63 };
	char text[96];

	for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++) {
		snprintf(text, sizeof(text), "ENABLE_CAP 193 on %s, args[0]=%#" PRIx64, where,
			 arguments[i]);
		show(text, _vm_enable_cap(fd, KVM_CAP_X86_BUS_LOCK_EXIT, 0, arguments[i]));
	}
	snprintf(text, sizeof(text), "ENABLE_CAP 193 on %s, flags=1", where);
	show(text, _vm_enable_cap(fd, KVM_CAP_X86_BUS_LOCK_EXIT, 1, KVM_BUS_LOCK_DETECTION_EXIT));
	snprintf(text, sizeof(text), "ENABLE_CAP of an unknown capability on %s", where);
	show(text, _vm_enable_cap(fd, 0x7fffffff, 0, 0));
}

static void enable_cap(void)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_BUS_LOCK_EXIT,
		.args = { KVM_BUS_LOCK_DETECTION_EXIT, ~0ull, ~0ull, ~0ull },
	};

	SHOW("CHECK_EXTENSION 193 on system",
	     _kvm_ioctl(vm.kvm, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT));
	SHOW("CHECK_EXTENSION 193 on vm",
	     _kvm_ioctl(vm.fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT));
	SHOW("CHECK_EXTENSION 193 on vcpu",
	     _kvm_ioctl(vcpu.fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_BUS_LOCK_EXIT));
	SHOW("CHECK_EXTENSION unknown", _kvm_ioctl(vm.kvm, KVM_CHECK_EXTENSION, 0x7fffffff));
	SHOW("CHECK_EXTENSION USER_MEMORY",
	     _kvm_ioctl(vm.kvm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY));
	SHOW("CHECK_EXTENSION SET_TSS_ADDR",
	     _kvm_ioctl(vm.kvm, KVM_CHECK_EXTENSION, KVM_CAP_SET_TSS_ADDR));
	SHOW("CHECK_EXTENSION EXT_CPUID",
	     _kvm_ioctl(vm.kvm, KVM_CHECK_EXTENSION, KVM_CAP_EXT_CPUID));
	SHOW("CHECK_EXTENSION MP_STATE", _kvm_ioctl(vm.kvm, KVM_CHECK_EXTENSION, KVM_CAP_MP_STATE));
	SHOW("CHECK_EXTENSION IMMEDIATE_EXIT",
	     _kvm_ioctl(vm.kvm, KVM_CHECK_EXTENSION, KVM_CAP_IMMEDIATE_EXIT));
	SHOW("CHECK_EXTENSION READONLY_MEM",
	     _kvm_ioctl(vm.kvm, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM));
	enable_cap_on("system", vm.kvm);
	enable_cap_on("vm", vm.fd);
	enable_cap_on("vcpu", vcpu.fd);
	SHOW("ENABLE_CAP 193 on vm, args[1..3] set",
	     _kvm_ioctl(vm.fd, KVM_ENABLE_CAP, (unsigned long)&cap));
	SHOW("ENABLE_CAP without a pointer", _kvm_ioctl(vm.fd, KVM_ENABLE_CAP, 0));
}

static void arguments(void)
{
	SHOW("GET_API_VERSION", _kvm_ioctl(vm.kvm, KVM_GET_API_VERSION, 0));
	SHOW("GET_API_VERSION, argument 1", _kvm_ioctl(vm.kvm, KVM_GET_API_VERSION, 1));
	SHOW("GET_VCPU_MMAP_SIZE, argument 1", _kvm_ioctl(vm.kvm, KVM_GET_VCPU_MMAP_SIZE, 1));
	SHOW("GET_VCPU_MMAP_SIZE", _kvm_ioctl(vm.kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	SHOW("CREATE_VM, type 77", _kvm_ioctl(vm.kvm, KVM_CREATE_VM, 77));
	SHOW("CREATE_VCPU, id taken", _kvm_ioctl(vm.fd, KVM_CREATE_VCPU, 0));
	SHOW("CREATE_VCPU, id 100000", _kvm_ioctl(vm.fd, KVM_CREATE_VCPU, 100000));
	SHOW("KVM_RUN, argument 1", _kvm_ioctl(vcpu.fd, KVM_RUN, 1));
	SHOW("SET_TSS_ADDR above 4 GiB", _kvm_ioctl(vm.fd, KVM_SET_TSS_ADDR, 0xffffe000));
	SHOW("SET_TSS_ADDR again", _kvm_ioctl(vm.fd, KVM_SET_TSS_ADDR, 0xfffbd000));
	uint64_t address = 0xfffbc000;
	SHOW("SET_IDENTITY_MAP_ADDR with a vCPU",
	     _kvm_ioctl(vm.fd, KVM_SET_IDENTITY_MAP_ADDR, (unsigned long)&address));
}

static void cpuid_and_msrs(void)
{
	const unsigned max = 256;
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + max * sizeof(cpuid->entries[0]));
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + 4096 * sizeof(uint32_t));
	struct kvm_msrs *msrs = calloc(1, sizeof(*msrs) + 4 * sizeof(msrs->entries[0]));

	if (!cpuid || !list || !msrs)
		die("no memory");
	cpuid->nent = 1;
	SHOW("GET_SUPPORTED_CPUID, room for 1",
	     _kvm_ioctl(vm.kvm, KVM_GET_SUPPORTED_CPUID, (unsigned long)cpuid));
	cpuid->nent = 0;
	SHOW("GET_SUPPORTED_CPUID, room for 0",
	     _kvm_ioctl(vm.kvm, KVM_GET_SUPPORTED_CPUID, (unsigned long)cpuid));
	cpuid->nent = max;
	SHOW("GET_SUPPORTED_CPUID, room enough",
	     _kvm_ioctl(vm.kvm, KVM_GET_SUPPORTED_CPUID, (unsigned long)cpuid));
	printf("GET_SUPPORTED_CPUID sets nent: %s\n",
	       cpuid->nent && cpuid->nent < max ? "yes" : "no");
	SHOW("SET_CPUID2 with all of it",
	     _kvm_ioctl(vcpu.fd, KVM_SET_CPUID2, (unsigned long)cpuid));
	cpuid->nent = 100000;
	SHOW("SET_CPUID2 with 100000", _kvm_ioctl(vcpu.fd, KVM_SET_CPUID2, (unsigned long)cpuid));

	list->nmsrs = 0;
	SHOW("GET_MSR_INDEX_LIST, room for 0",
	     _kvm_ioctl(vm.kvm, KVM_GET_MSR_INDEX_LIST, (unsigned long)list));
	printf("GET_MSR_INDEX_LIST sets nmsrs: %s\n", list->nmsrs ? "yes" : "no");
	SHOW("GET_MSR_INDEX_LIST, room enough",
	     _kvm_ioctl(vm.kvm, KVM_GET_MSR_INDEX_LIST, (unsigned long)list));

	/* The number of entries that were done is the result: it stops at the first bad one. */
	static const uint32_t good[] = { 0x174, 0xc0000082, 0xc0000081 };
	msrs->nmsrs = 3;
	for (unsigned i = 0; i < 3; i++)
		msrs->entries[i].index = good[i];
	SHOW("GET_MSRS, three known", _kvm_ioctl(vcpu.fd, KVM_GET_MSRS, (unsigned long)msrs));
	SHOW("SET_MSRS, three known", _kvm_ioctl(vcpu.fd, KVM_SET_MSRS, (unsigned long)msrs));
	msrs->entries[1].index = 0x12345678;
	SHOW("GET_MSRS, the second unknown",
	     _kvm_ioctl(vcpu.fd, KVM_GET_MSRS, (unsigned long)msrs));
	msrs->entries[1].data = 5;
	SHOW("SET_MSRS, the second unknown",
	     _kvm_ioctl(vcpu.fd, KVM_SET_MSRS, (unsigned long)msrs));
	msrs->nmsrs = 0;
	SHOW("GET_MSRS, none", _kvm_ioctl(vcpu.fd, KVM_GET_MSRS, (unsigned long)msrs));
	msrs->nmsrs = 100000;
	SHOW("GET_MSRS, 100000", _kvm_ioctl(vcpu.fd, KVM_GET_MSRS, (unsigned long)msrs));
	free(cpuid);
	free(list);
	free(msrs);
}

/* One field of SREGS at a time that VM entry would refuse, from a good state. */
static void bad_sregs(void)
{
	struct kvm_sregs good, bad;
	struct vcpu long_mode;

	vcpu_create(&vm, &long_mode, 1);
	vcpu_start(&long_mode, GUEST_LONG, GUEST_LOAD, 0, 0, 1, 2);
	vcpu_get_sregs(&long_mode, &good);
#define TRY(what, change)                                                           \
	do {                                                                        \
		bad = good;                                                         \
		change;                                                             \
		SHOW("SET_SREGS, " what,                                            \
		     _kvm_ioctl(long_mode.fd, KVM_SET_SREGS, (unsigned long)&bad)); \
		vcpu_set_sregs(&long_mode, &good);                                  \
	} while (0)
	TRY("unchanged", (void)0);
	TRY("CR4 reserved bit 31", bad.cr4 |= 1u << 31);
	TRY("CR4 reserved bit 15", bad.cr4 |= 1u << 15);
	TRY("EFER reserved bit 1", bad.efer |= 2);
	TRY("long mode without PAE", bad.cr4 &= ~0x20ull);
	TRY("LMA without LME", bad.efer &= ~0x100ull);
	TRY("CR3 above the physical address width", bad.cr3 |= 1ull << 60);
	TRY("CS.L and CS.D in long mode", bad.cs.db = 1);
	TRY("CR0 bit 32", bad.cr0 |= 1ull << 32);
	TRY("two bits in the interrupt bitmap", bad.interrupt_bitmap[0] = 3);
#undef TRY
	vcpu_destroy(&long_mode);
}

static void run_state(void)
{
	struct kvm_interrupt interrupt = { .irq = 0x20 };
	struct kvm_mp_state state = { .mp_state = 0 };
	struct kvm_translation translation = { .linear_address = 0x123456 };
	struct kvm_regs regs;

	vcpu_start(&vcpu, GUEST_LONG, GUEST_LOAD, 0, 0, 0, 1);
	interrupt.irq = 256;
	SHOW("INTERRUPT, vector 256",
	     _kvm_ioctl(vcpu.fd, KVM_INTERRUPT, (unsigned long)&interrupt));
	SHOW("GET_MP_STATE", _kvm_ioctl(vcpu.fd, KVM_GET_MP_STATE, (unsigned long)&state));
	printf("mp_state: %u\n", state.mp_state);
	state.mp_state = 77;
	SHOW("SET_MP_STATE, 77", _kvm_ioctl(vcpu.fd, KVM_SET_MP_STATE, (unsigned long)&state));
	state.mp_state = KVM_MP_STATE_HALTED;
	SHOW("SET_MP_STATE, halted without irqchip",
	     _kvm_ioctl(vcpu.fd, KVM_SET_MP_STATE, (unsigned long)&state));
	SHOW("TRANSLATE", _kvm_ioctl(vcpu.fd, KVM_TRANSLATE, (unsigned long)&translation));
	printf("translation: %llx valid %u\n", translation.physical_address, translation.valid);
	translation.linear_address = 0x100000000;
	SHOW("TRANSLATE, not mapped",
	     _kvm_ioctl(vcpu.fd, KVM_TRANSLATE, (unsigned long)&translation));
	printf("translation: %llx valid %u\n", translation.physical_address, translation.valid);
	vcpu_get_regs(&vcpu, &regs);
	regs.rflags = 0;
	vcpu_set_regs(&vcpu, &regs);
	vcpu_get_regs(&vcpu, &regs);
	printf("RFLAGS 0 reads back: %llx\n", regs.rflags);
}

static void map_a_vcpu(void)
{
	int fd = dup(vcpu.fd);
	void *second = mmap(NULL, vm.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	printf("second mapping through a dup is the same memory: %s\n",
	       second != MAP_FAILED && (vcpu.run->padding1[0] = 0x5a,
					((struct kvm_run *)second)->padding1[0] == 0x5a)
		       ? "yes"
		       : "no");
	if (second != MAP_FAILED)
		munmap(second, vm.run_size);
	SHOW("ioctl through a dup", _kvm_ioctl(fd, KVM_RUN, 1));
	close(fd);
}

/* They are no files. */
static void file_calls(const char *where, int fd)
{
	struct iovec part;
	char byte = 0;

	part.iov_base = &byte;
	part.iov_len = 1;
#define FILE_CALL(call)                                                 \
	do {                                                            \
		long n = (call);                                        \
                                                                        \
		printf("%s: ", where), show(#call, n < 0 ? -errno : n); \
	} while (0)
	FILE_CALL(read(fd, &byte, 1));
	FILE_CALL(read(fd, &byte, 0));
	FILE_CALL(readv(fd, &part, 1));
	FILE_CALL(pread(fd, &byte, 1, 0));
	FILE_CALL(write(fd, &byte, 1));
	FILE_CALL(writev(fd, &part, 1));
	FILE_CALL(pwrite(fd, &byte, 1, 0));
	FILE_CALL(lseek(fd, 5, SEEK_SET));
	FILE_CALL(lseek(fd, 0, SEEK_END));
	FILE_CALL(lseek(fd, 0, 99));
#undef FILE_CALL
}

int main(void)
{
	vm_create(&vm, GUEST_MEMORY);
	vcpu_create(&vm, &vcpu, 0);
	wrong_descriptors();
	enable_cap();
	arguments();
	cpuid_and_msrs();
	bad_sregs();
	run_state();
	map_a_vcpu();
	file_calls("system", vm.kvm);
	file_calls("vm", vm.fd);
	file_calls("vcpu", vcpu.fd);
	return 0;
}
