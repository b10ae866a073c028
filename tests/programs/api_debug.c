/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM_SET_GUEST_DEBUG: single steps, breakpoints, watchpoints. tests/golden/kvm_api/debug.txt holds
 * what a real device did.
 */
#include "tests/integration/kvm_api.h"

static struct vm vm;
static struct vcpu vcpu;

static long set_debug(uint32_t control, const uint64_t *dr)
{
	struct kvm_guest_debug debug = { .control = control };

	for (unsigned i = 0; dr && i < 8; i++)
		debug.arch.debugreg[i] = dr[i];
	return _kvm_ioctl(vcpu.fd, KVM_SET_GUEST_DEBUG, (unsigned long)&debug);
}

static void start(enum guest_mode mode, const char *code, size_t size)
{
	guest_write(&vm, GUEST_LOAD, code, size);
	vcpu_start(&vcpu, mode, GUEST_LOAD, 0, 3, 0, 1);
}

/* Runs to the end (HLT), printing each stop. */
static void run(const char *name)
{
	struct kvm_regs regs;

	printf("%s\n", name);
	for (unsigned i = 0; i < 40; i++) {
		struct kvm_run *run = vcpu.run;
		long result = _vcpu_run(&vcpu);

		if (result < 0) {
			printf("  KVM_RUN: %s\n", result_name(result));
			return;
		}
		vcpu_get_regs(&vcpu, &regs);
		if (run->exit_reason != KVM_EXIT_DEBUG) {
			printf("  %s rip+%llx rax=%llx\n", exit_name(run->exit_reason),
			       regs.rip - GUEST_LOAD, regs.rax);
			return;
		}
		/* B0 to B3 and BS; the bits above are fixed ones and differ between processors */
		printf("  DEBUG exception %u pc+%llx dr6 %llx rip+%llx rax=%llx\n",
		       run->debug.arch.exception, run->debug.arch.pc - GUEST_LOAD,
		       run->debug.arch.dr6 & 0x400f, regs.rip - GUEST_LOAD, regs.rax);
		if (!(run->debug.arch.dr6 & 0x4000))
			set_debug(0,
				  NULL); /* a breakpoint stays where it is until it is taken away */
	}
	printf("  and so on\n");
}
#define START(mode, code) start(mode, code, sizeof(code) - 1)

/* mov eax, 5; inc eax; lock inc dword [0x8000]; lock xadd [0x8000], eax; nop; hlt: by mode */
#define CODE32                                                                                     \
	"\xb8\x05\x00\x00\x00\xff\xc0\xf0\xff\x05\x00\x80\x00\x00\xf0\x0f\xc1\x05\x00\x80\x00\x00" \
	"\x90\xf4"
#define CODE64                                                                                     \
	"\xb8\x05\x00\x00\x00\xff\xc0\xf0\xff\x04\x25\x00\x80\x00\x00\xf0\x0f\xc1\x04\x25\x00\x80" \
	"\x00\x00\x90\xf4"
#define CODE16 "\xb8\x05\x00\x40\xf0\xff\x06\x00\x80\xf0\x0f\xc1\x06\x00\x80\x90\xf4"

static void steps(void)
{
	static const struct {
		const char *name;
		enum guest_mode mode;
		const char *code;
		size_t size;
	} modes[] = {
		{ "steps in real mode", GUEST_REAL, CODE16, sizeof(CODE16) - 1 },
		{ "steps in protected mode", GUEST_PROTECTED, CODE32, sizeof(CODE32) - 1 },
		{ "steps in long mode", GUEST_LONG, CODE64, sizeof(CODE64) - 1 },
	};

	for (unsigned i = 0; i < 3; i++) {
		memset(vm.memory + GUEST_BUFFER, 0, 8);
		start(modes[i].mode, modes[i].code, modes[i].size - 1); /* up to the NOP */
		guest_write(&vm, GUEST_LOAD + modes[i].size - 1, "\xeb\xfe", 2);
		printf("SET_GUEST_DEBUG: %s\n",
		       result_name(set_debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, NULL)));
		printf("%s\n", modes[i].name);
		for (unsigned n = 0; n < 6; n++) {
			struct kvm_regs regs;

			vcpu_run(&vcpu);
			vcpu_get_regs(&vcpu, &regs);
			printf("  %s dr6 %llx rip+%llx rax=%llx rflags=%llx\n",
			       exit_name(vcpu.run->exit_reason), vcpu.run->debug.arch.dr6 & 0x400f,
			       regs.rip - GUEST_LOAD, regs.rax, regs.rflags & 0x8d5);
		}
		set_debug(0, NULL);
	}
}

static void hardware_breakpoints(void)
{
	uint64_t dr[8] = { GUEST_LOAD + 7, 0, 0, 0, 0, 0, 0, 0x402 };

	START(GUEST_LONG, CODE64);
	printf("SET_GUEST_DEBUG: %s\n",
	       result_name(set_debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, dr)));
	run("breakpoint on the locked instruction");
	set_debug(0, NULL);
	START(GUEST_REAL, CODE16);
	dr[0] = 0;
	dr[1] = GUEST_LOAD + 4;
	dr[7] = 0x408;
	set_debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, dr);
	run("breakpoint 1 in real mode");
	set_debug(0, NULL);
}

static void software_breakpoints(void)
{
	START(GUEST_LONG, "\x90\xcc\x90\xf4"); /* nop; int3; nop; hlt */
	set_debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP, NULL);
	printf("INT3\n");
	long result = _vcpu_run(&vcpu);
	struct kvm_regs regs;

	vcpu_get_regs(&vcpu, &regs);
	printf("  %s %s rip+%llx\n", result_name(result), exit_name(vcpu.run->exit_reason),
	       regs.rip - GUEST_LOAD);
	set_debug(0, NULL);
	if (vcpu.run->exit_reason == KVM_EXIT_DEBUG) {
		/* What a debugger does: the instruction goes back, and execution on. */
		vm.memory[GUEST_LOAD + 1] = 0x90;
		run("put back");
	}
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	alarm(60);
	vm_create(&vm, GUEST_MEMORY);
	vcpu_create(&vm, &vcpu, 0);
	steps();
	hardware_breakpoints();
	software_breakpoints();
	return 0;
}
