/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory slots: which the API takes, and what a guest meets in them. tests/golden/kvm_api/memory.txt
 * holds what a real device answered.
 */
#include "tests/integration/kvm_api.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#define SLOT_SIZE 0x10000u
#define SLOT_GPA  0x10000000u

static struct vm vm;
static struct vcpu vcpu;
static uint8_t *host;

static void show(const char *what, long result)
{
	printf("%s: %s\n", what, result_name(result));
}

static void rules(void)
{
	uint8_t *other = guest_memory(SLOT_SIZE);

	show("slot 1", _vm_slot(&vm, 1, 0, SLOT_GPA, SLOT_SIZE, host));
	show("the same again", _vm_slot(&vm, 1, 0, SLOT_GPA, SLOT_SIZE, host));
	show("moved", _vm_slot(&vm, 1, 0, SLOT_GPA + 0x100000, SLOT_SIZE, host));
	show("moved back", _vm_slot(&vm, 1, 0, SLOT_GPA, SLOT_SIZE, host));
	show("other size", _vm_slot(&vm, 1, 0, SLOT_GPA, SLOT_SIZE / 2, host));
	show("other host address", _vm_slot(&vm, 1, 0, SLOT_GPA, SLOT_SIZE, other));
	show("becomes read-only", _vm_slot(&vm, 1, KVM_MEM_READONLY, SLOT_GPA, SLOT_SIZE, host));
	show("gets a dirty log",
	     _vm_slot(&vm, 1, KVM_MEM_LOG_DIRTY_PAGES, SLOT_GPA, SLOT_SIZE, host));
	show("loses it", _vm_slot(&vm, 1, 0, SLOT_GPA, SLOT_SIZE, host));
	show("unknown flag", _vm_slot(&vm, 1, 1u << 30, SLOT_GPA, SLOT_SIZE, host));
	show("overlap", _vm_slot(&vm, 2, 0, SLOT_GPA + SLOT_SIZE - 0x1000, SLOT_SIZE, other));
	show("moved onto another", _vm_slot(&vm, 1, 0, 0, SLOT_SIZE, host));
	show("touching", _vm_slot(&vm, 2, 0, SLOT_GPA + SLOT_SIZE, SLOT_SIZE, other));
	show("gpa not aligned", _vm_slot(&vm, 3, 0, SLOT_GPA * 2 + 0x800, SLOT_SIZE, other));
	show("size not aligned", _vm_slot(&vm, 3, 0, SLOT_GPA * 2, SLOT_SIZE + 1, other));
	show("host address not aligned", _vm_slot(&vm, 3, 0, SLOT_GPA * 2, 0x1000, other + 8));
	show("wraps around", _vm_slot(&vm, 3, 0, ~0xfffull, 0x2000, other));
	show("empty slot deleted", _vm_slot(&vm, 3, 0, 0, 0, NULL));
	show("slot number 1000000", _vm_slot(&vm, 1000000, 0, SLOT_GPA * 2, SLOT_SIZE, other));
	show("address space 1", _vm_slot(&vm, 3 | 1 << 16, 0, SLOT_GPA * 2, SLOT_SIZE, other));
	show("host address in the kernel",
	     _vm_slot(&vm, 3, 0, SLOT_GPA * 2, SLOT_SIZE, (void *)0xffff800000000000));
	show("two slots on the same host memory",
	     _vm_slot(&vm, 3, 0, SLOT_GPA * 2, SLOT_SIZE, host));
	show("deleted", _vm_slot(&vm, 3, 0, 0, 0, NULL));
	show("deleted, other slot", _vm_slot(&vm, 2, 0, 0, 0, NULL));
	show("deleted twice", _vm_slot(&vm, 2, 0, 0, 0, NULL));
	munmap(other, SLOT_SIZE);
}

/* Runs `code` (ends by HLT) with RBX = SLOT_GPA; prints exits on the way. */
static void run_code(const char *name, const char *code, size_t size)
{
	struct kvm_regs regs;

	guest_write(&vm, GUEST_LOAD, code, size);
	vcpu_start(&vcpu, GUEST_LONG, GUEST_LOAD, 0, 0, 0, 1);
	vcpu_get_regs(&vcpu, &regs);
	regs.rbx = SLOT_GPA;
	regs.rax = 0x1122334455667788;
	vcpu_set_regs(&vcpu, &regs);
	printf("%s\n", name);
	for (unsigned i = 0; i < 20; i++) {
		long result = _vcpu_run(&vcpu);

		if (result < 0) {
			printf("  KVM_RUN: %s\n", result_name(result));
			return;
		}
		if (vcpu.run->exit_reason != KVM_EXIT_MMIO)
			break;
		printf("  ");
		print_mmio(vcpu.run);
		if (!vcpu.run->mmio.is_write)
			memset(vcpu.run->mmio.data, 0x5a, 8);
	}
	vcpu_get_regs(&vcpu, &regs);
	printf("  %s rax=%llx\n", exit_name(vcpu.run->exit_reason), regs.rax);
}
#define RUN(name, code) run_code(name, code, sizeof(code) - 1)

#define LOAD_EAX  "\x8b\x03"     /* mov eax, [rbx] */
#define STORE_EAX "\x89\x03"     /* mov [rbx], eax */
#define INC_LOCK  "\xf0\xff\x03" /* lock inc dword [rbx] */
#define HLT       "\xf4"

static uint32_t word_at(const uint8_t *memory)
{
	uint32_t word;

	memcpy(&word, memory, 4);
	return word;
}

static void read_only(void)
{
	memset(host, 0x21, SLOT_SIZE);
	show("slot 1 deleted", _vm_slot(&vm, 1, 0, 0, 0, NULL));
	RUN("a hole: load", LOAD_EAX HLT);
	RUN("a hole: store", STORE_EAX HLT);
	show("read-only slot", _vm_slot(&vm, 1, KVM_MEM_READONLY, SLOT_GPA, SLOT_SIZE, host));
	RUN("load", LOAD_EAX HLT);
	RUN("store", STORE_EAX HLT);
	printf("memory %x\n", word_at(host));
	RUN("locked increment", INC_LOCK HLT);
	printf("memory %x\n", word_at(host));
	show("slot 1 deleted", _vm_slot(&vm, 1, 0, 0, 0, NULL));
	show("writable slot", _vm_slot(&vm, 1, 0, SLOT_GPA, SLOT_SIZE, host));
	RUN("store", STORE_EAX HLT);
	printf("memory %x\n", word_at(host));
}

static void print_log(const char *name, uint32_t slot)
{
	uint64_t bitmap = 0;
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = &bitmap };
	long result = _kvm_ioctl(vm.fd, KVM_GET_DIRTY_LOG, (unsigned long)&log);

	printf("%s: %s %" PRIx64 "\n", name, result_name(result), bitmap);
}

static void dirty_log(void)
{
	print_log("log of a slot without one", 1);
	print_log("log of no slot", 7);
	show("log on", _vm_slot(&vm, 1, KVM_MEM_LOG_DIRTY_PAGES, SLOT_GPA, SLOT_SIZE, host));
	print_log("fresh log", 1);
	RUN("writes pages 3 and 5, reads page 6",
	    "\x89\x83\x00\x30\x00\x00"     /* mov [rbx + 0x3000], eax */
	    "\xf0\xff\x83\x00\x50\x00\x00" /* lock inc dword [rbx + 0x5000] */
	    "\x8b\x83\x00\x60\x00\x00"     /* mov eax, [rbx + 0x6000] */
	    HLT);
	print_log("log", 1);
	print_log("log, read again", 1);
	RUN("writes page 15 and across pages 8 and 9",
	    "\x89\x83\x00\xf0\x00\x00"
	    "\x89\x83\xfe\x8f\x00\x00" /* mov [rbx + 0x8ffe], eax */
	    HLT);
	print_log("log", 1);
	show("log off", _vm_slot(&vm, 1, 0, SLOT_GPA, SLOT_SIZE, host));
}

/* Code that the monitor replaces between two runs, and while it runs. */
static const char loop_code[] = "\xb8\x01\x00\x00\x00"                 /* mov eax, 1 */
				"\xa3\x00\x80\x00\x00\x00\x00\x00\x00" /* mov [0x8000], eax */
				"\x83\x3c\x25\x40\x80\x00\x00\x00"     /* cmp dword [0x8040], 0 */
				"\x74\xe8"                             /* je 0 */
	HLT;

static void *run_loop(void *argument)
{
	long result = _vcpu_run(&vcpu);

	(void)argument;
	printf("loop: %s %s\n", result_name(result), exit_name(vcpu.run->exit_reason));
	return NULL;
}

static bool wait_for(volatile uint32_t *word, uint32_t value)
{
	for (unsigned i = 0; i < 5000; i++) {
		struct timespec t = { .tv_nsec = 1000000 };

		if (*word == value)
			return true;
		nanosleep(&t, NULL);
	}
	return false;
}

/* Code that the monitor loads while the guest waits for it, as a device would. */
static void loaded_while_running(volatile uint32_t *stop)
{
	static const char waiting[] = "\x83\x3c\x25\x40\x80\x00\x00\x00" /* cmp dword [0x8040], 0 */
				      "\x74\xf6"                         /* je 0 */
				      "\xb8\x00\x90\x00\x00\xff\xe0"; /* mov eax, 0x9000; jmp rax */
	struct timespec t = { .tv_nsec = 20000000 };
	struct kvm_regs regs;
	pthread_t thread;

	*stop = 0;
	guest_write(&vm, GUEST_LOAD, waiting, sizeof(waiting) - 1);
	vcpu_start(&vcpu, GUEST_LONG, GUEST_LOAD, 0, 0, 0, 1);
	pthread_create(&thread, NULL, run_loop, NULL);
	nanosleep(&t, NULL);
	guest_write(&vm, 0x9000, "\xb8\x33\x00\x00\x00\xf4", 6); /* mov eax, 0x33; hlt */
	__sync_synchronize();
	*stop = 1;
	pthread_join(thread, NULL);
	vcpu_get_regs(&vcpu, &regs);
	printf("code loaded while running: rax=%llx\n", regs.rax);
}

/* Code that has run, replaced at an I/O exit, and called again in the next KVM_RUN. */
static void replaced_at_an_exit(void)
{
	static const char calls[] = "\xb8\x00\x90\x00\x00\xff\xd0" /* mov eax, 0x9000; call rax */
				    "\xe6\x10"                     /* out 0x10, al */
				    "\xb8\x00\x90\x00\x00\xff\xd0"
				    "\xe6\x10" HLT;

	guest_write(&vm, GUEST_LOAD, calls, sizeof(calls) - 1);
	guest_write(&vm, 0x9000, "\xb8\x41\x00\x00\x00\xc3", 6); /* mov eax, 0x41; ret */
	vcpu_start(&vcpu, GUEST_LONG, GUEST_LOAD, 0, 0, 0, 1);
	vcpu_run(&vcpu);
	print_io(vcpu.run);
	vm.memory[0x9001] = 0x42;
	vcpu_run(&vcpu);
	print_io(vcpu.run);
	vcpu_run(&vcpu);
	printf("then %s\n", exit_name(vcpu.run->exit_reason));
}

static void written_by_the_monitor(void)
{
	volatile uint32_t *seen = (volatile uint32_t *)(vm.memory + GUEST_BUFFER);
	volatile uint32_t *stop = (volatile uint32_t *)(vm.memory + GUEST_BUFFER + 0x40);
	pthread_t thread;

	RUN("code before", "\xb8\x11\x00\x00\x00\xf4");
	RUN("code replaced", "\xb8\x22\x00\x00\x00\xf4");
	*seen = *stop = 0;
	guest_write(&vm, GUEST_LOAD, loop_code, sizeof(loop_code) - 1);
	vcpu_start(&vcpu, GUEST_LONG, GUEST_LOAD, 0, 0, 0, 1);
	pthread_create(&thread, NULL, run_loop, NULL);
	printf("the guest writes what the monitor reads: %s\n", wait_for(seen, 1) ? "yes" : "no");
	*stop = 1;
	pthread_join(thread, NULL);
	loaded_while_running(stop);
	replaced_at_an_exit();
}

/* Another slot where one was, between two runs of the same guest. */
static void moved_between_runs(void)
{
	volatile uint32_t *seen = (volatile uint32_t *)(vm.memory + GUEST_BUFFER);
	volatile uint32_t *stop = (volatile uint32_t *)(vm.memory + GUEST_BUFFER + 0x40);
	static const char code[] = "\x8b\x03"                             /* mov eax, [rbx] */
				   "\xa3\x00\x80\x00\x00\x00\x00\x00\x00" /* mov [0x8000], eax */
				   "\x83\x3c\x25\x40\x80\x00\x00\x00" /* cmp dword [0x8040], 0 */
				   "\x74\xeb"                         /* je 0 */
		HLT;
	uint8_t *second = guest_memory(SLOT_SIZE);
	struct kvm_regs regs;
	pthread_t thread;

	memset(host, 0x11, SLOT_SIZE);
	memset(second, 0x22, SLOT_SIZE);
	*seen = *stop = 0;
	guest_write(&vm, GUEST_LOAD, code, sizeof(code) - 1);
	vcpu_start(&vcpu, GUEST_LONG, GUEST_LOAD, 0, 0, 0, 1);
	vcpu_get_regs(&vcpu, &regs);
	regs.rbx = SLOT_GPA;
	vcpu_set_regs(&vcpu, &regs);
	pthread_create(&thread, NULL, run_loop, NULL);
	printf("first memory: %s\n", wait_for(seen, 0x11111111) ? "seen" : "not seen");
	*stop = 1;
	pthread_join(thread, NULL);
	show("slot 1 moved away", _vm_slot(&vm, 1, 0, SLOT_GPA * 2, SLOT_SIZE, host));
	show("slot 2 in its place", _vm_slot(&vm, 2, 0, SLOT_GPA, SLOT_SIZE, second));
	*stop = 0;
	vcpu_start(&vcpu, GUEST_LONG, GUEST_LOAD, 0, 0, 0, 1);
	vcpu_set_regs(&vcpu, &regs);
	pthread_create(&thread, NULL, run_loop, NULL);
	printf("second memory: %s\n", wait_for(seen, 0x22222222) ? "seen" : "not seen");
	*stop = 1;
	pthread_join(thread, NULL);
	show("slot 2 deleted", _vm_slot(&vm, 2, 0, 0, 0, NULL));
	show("slot 1 back", _vm_slot(&vm, 1, 0, SLOT_GPA, SLOT_SIZE, host));
	munmap(second, SLOT_SIZE);
}

static void taken_away(void)
{
	munmap(host, 0x1000);
	RUN("load from memory that is unmapped", LOAD_EAX HLT);
	RUN("store to memory that is unmapped", STORE_EAX HLT);
	RUN("memory beside it", "\x8b\x83\x00\x10\x00\x00" HLT);
	mprotect(host + 0x1000, 0x1000, PROT_NONE);
	RUN("load from memory without access", "\x8b\x83\x00\x10\x00\x00" HLT);
	mprotect(host + 0x1000, 0x1000, PROT_READ | PROT_WRITE);
	RUN("load when it is back", "\x8b\x83\x00\x10\x00\x00" HLT);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	alarm(60);
	vm_create(&vm, GUEST_MEMORY);
	vcpu_create(&vm, &vcpu, 0);
	host = guest_memory(SLOT_SIZE);
	rules();
	read_only();
	dirty_log();
	written_by_the_monitor();
	moved_between_runs();
	taken_away();
	return 0;
}
