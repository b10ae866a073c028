/* SPDX-License-Identifier: GPL-2.0-only */
/* A vCPU as a hypervisor sees it: exits and their completion, events, debugging, kicks, memory. */
#include "tests/unit/vcpu_vm.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static int begin(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));
	machine_start(m, NULL, false);
	emu_vcpu_set_bus_lock_exiting(m->vcpu, true);
	*state = m;
	return 0;
}

static uint64_t reg(struct machine *m, int r)
{
	struct emu_state s;
	emu_vcpu_get_state(m->vcpu, &s);
	return r < 16 ? s.gpr[r] : r == 16 ? s.rip : s.rflags;
}
enum { RIP = 16, RFLAGS = 17 };

static void set_reg(struct machine *m, int r, uint64_t value)
{
	struct emu_state s;
	emu_vcpu_get_state(m->vcpu, &s);
	*(r < 16 ? &s.gpr[r] : r == 16 ? &s.rip : &s.rflags) = value;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
}

/* ------------------------------------------------------------------ I/O and devices */

static void test_vcpu_out_and_in_complete_on_the_next_run(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0xb0, 0x5a, 0xe6, 0x10, 0xec,
		0xf4); /* mov al; out 0x10,al; in al,dx; hlt */
	set_reg(m, EMU_RDX, 0x1234);
	struct emu_exit x = run(m, EMU_EXIT_IO);
	assert_int_equal(x.word, VMX_IO);
	assert_true(x.io.write);
	assert_int_equal(x.io.port, 0x10);
	assert_int_equal(x.io.data[0], 0x5a);
	assert_int_equal(x.qualification, 0x100040); /* size 1, out, immediate, port 0x10 */
	x = run(m, EMU_EXIT_IO);
	assert_false(x.io.write);
	assert_int_equal(x.io.port, 0x1234);
	x.io.data[0] = 0x77;
	run(m, EMU_EXIT_HLT);
	assert_int_equal(reg(m, EMU_RAX) & 0xff, 0x77);
}

static void test_vcpu_moved_rip_abandons_an_in(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0xe4, 0x10, 0xf4);
	CODE_AT(m, CODE + 0x100, 0xf4);
	struct emu_exit x = run(m, EMU_EXIT_IO);
	x.io.data[0] = 0x77;
	set_reg(m, RIP, CODE + 0x100);
	set_reg(m, EMU_RAX, 1);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(reg(m, EMU_RAX), 1);
}

static void test_vcpu_complete_only_finishes_and_stops(void **state)
{
	struct machine *m = *state;
	struct emu_exit x;
	CODE_AT(m, CODE, 0xe4, 0x10, 0xf4);
	assert_int_equal(emu_vcpu_run(m->vcpu, EMU_RUN_COMPLETE_ONLY, &x), -EAGAIN);
	assert_int_equal(reg(m, RIP), CODE);
	x = run(m, EMU_EXIT_IO);
	x.io.data[0] = 9;
	assert_int_equal(emu_vcpu_run(m->vcpu, EMU_RUN_COMPLETE_ONLY, &x), -EAGAIN);
	assert_int_equal(reg(m, RIP), CODE + 2);
	assert_int_equal(reg(m, EMU_RAX) & 0xff, 9);
}

static void test_vcpu_rep_ins_reads_ahead_and_stores(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0xf3, 0x66, 0x6d, 0xf4); /* rep insw */
	set_reg(m, EMU_RDX, 0x20);
	set_reg(m, EMU_RCX, 5);
	set_reg(m, EMU_RDI, DATA);
	struct emu_exit x = run(m, EMU_EXIT_IO);
	assert_int_equal(x.io.count, 5);
	assert_int_equal(x.io.size, 2);
	memcpy(x.io.data, "abcdefghij", 10);
	run(m, EMU_EXIT_HLT);
	assert_memory_equal(m->ram + DATA, "abcdefghij", 10);
	assert_int_equal(reg(m, EMU_RCX), 0);
	assert_int_equal(reg(m, EMU_RDI), DATA + 10);
}

static void test_vcpu_device_access_comes_in_fragments_of_eight(void **state)
{
	struct machine *m = *state;
	/* movups xmm0,[rbx]: 16 bytes that cross from memory to a device */
	CODE_AT(m, CODE, 0x0f, 0x10, 0x03, 0x0f, 0x11, 0x04, 0x25, 0, 0, 1, 0, 0xf4);
	memcpy(m->ram + RAM - 4, "ABCD", 4);
	set_reg(m, EMU_RBX, RAM - 4);
	struct emu_exit x = run(m, EMU_EXIT_MMIO);
	assert_int_equal(x.mmio.gpa, RAM);
	assert_int_equal(x.mmio.size, 8);
	assert_false(x.mmio.write);
	memcpy(x.mmio.data, "efghijkl", 8);
	x = run(m, EMU_EXIT_MMIO);
	assert_int_equal(x.mmio.gpa, RAM + 8);
	assert_int_equal(x.mmio.size, 4);
	memcpy(x.mmio.data, "mnop", 4);
	run(m, EMU_EXIT_HLT);
	assert_memory_equal(m->ram + DATA, "ABCDefghijklmnop", 16);
}

static void test_vcpu_read_modify_write_on_a_device_reads_then_writes(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0xf0, 0x01, 0x03, 0xf4); /* lock add [rbx],eax */
	set_reg(m, EMU_RBX, RAM + 62); /* splits a line, but no bus lock: Linux emulates it */
	set_reg(m, EMU_RAX, 5);
	struct emu_exit x = run(m, EMU_EXIT_MMIO);
	assert_false(x.mmio.write);
	memcpy(x.mmio.data, "\x0a\0\0\0", 4);
	x = run(m, EMU_EXIT_MMIO);
	assert_true(x.mmio.write);
	assert_int_equal(x.mmio.gpa, RAM + 62);
	assert_int_equal(x.mmio.data[0], 15);
	assert_false(x.bus_lock);
	run(m, EMU_EXIT_HLT);
}

static void test_vcpu_unknown_instruction_on_a_device_is_an_internal_error(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0x66, 0x0f, 0xfe, 0x03); /* paddd xmm0,[rbx] */
	set_reg(m, EMU_RBX, RAM);
	struct emu_exit x = run(m, EMU_EXIT_INTERNAL_ERROR);
	assert_int_equal(x.error.suberror, EMU_ERROR_EMULATION);
	assert_int_equal(x.error.insn_length, 4);
	assert_memory_equal(x.error.insn, m->ram + CODE, 4);
	assert_int_equal(reg(m, RIP), CODE);
}

static void test_vcpu_mmio_all_executes_any_instruction_on_a_device(void **state)
{
	struct machine *m = *state;
	struct emu_config config = { .mmio_all = true };
	struct machine all = { .ram = m->ram };
	assert_int_equal(emu_vm_create(&config, &all.vm), 0);
	assert_int_equal(emu_vm_map(all.vm, 0, 0, RAM, m->ram, 0), 0);
	assert_int_equal(emu_vcpu_create(all.vm, &all.vcpu), 0);
	set_64bit(all.vcpu);
	CODE_AT(m, CODE, 0x66, 0x0f, 0xfe, 0x03, 0x0f, 0x11, 0x04, 0x25, 0, 0, 1, 0, 0xf4);
	set_reg(&all, EMU_RBX, RAM);
	struct emu_exit x = run(&all, EMU_EXIT_MMIO);
	memcpy(x.mmio.data, "\1\0\0\0\2\0\0\0", 8);
	x = run(&all, EMU_EXIT_MMIO);
	memcpy(x.mmio.data, "\3\0\0\0\4\0\0\0", 8);
	run(&all, EMU_EXIT_HLT);
	assert_memory_equal(m->ram + DATA, "\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0", 16);
	emu_vcpu_destroy(all.vcpu);
	emu_vm_destroy(all.vm);
}

static void test_vcpu_read_only_slot_reads_but_sends_writes_to_the_monitor(void **state)
{
	struct machine *m = *state;
	uint8_t *rom = aligned_alloc(4096, 4096);
	memset(rom, 0x3c, 4096);
	assert_int_equal(emu_vm_map(m->vm, 1, RAM, 4096, rom, EMU_MEM_READONLY), 0);
	CODE_AT(m, CODE, 0x8a, 0x03, 0x88, 0x23, 0xf4); /* mov al,[rbx]; mov [rbx],ah; hlt */
	set_reg(m, EMU_RBX, RAM);
	set_reg(m, EMU_RAX, 0x9900);
	struct emu_exit x = run(m, EMU_EXIT_MMIO);
	assert_true(x.mmio.write);
	assert_int_equal(x.mmio.data[0], 0x99);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(reg(m, EMU_RAX) & 0xff, 0x3c);
	assert_int_equal(rom[0], 0x3c);
	assert_int_equal(emu_vm_unmap(m->vm, 1), 0);
	free(rom);
}

/* ------------------------------------------------------------------ events */

static unsigned vector_taken(struct machine *m)
{
	struct emu_exit x = run(m, EMU_EXIT_IO);
	assert_int_equal(x.io.port, 0xee);
	return x.io.data[0];
}

static void test_vcpu_interrupt_window_opens_behind_the_sti_shadow(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0xfb, 0x90, 0x90, 0xf4); /* sti; nop; nop; hlt */
	emu_vcpu_request_interrupt_window(m->vcpu, true);
	struct emu_exit x = run(m, EMU_EXIT_INTERRUPT_WINDOW);
	assert_int_equal(x.word, VMX_INTERRUPT_WINDOW);
	assert_int_equal(reg(m, RIP), CODE + 2);
	emu_vcpu_request_interrupt_window(m->vcpu, false);
	assert_int_equal(emu_vcpu_inject_interrupt(m->vcpu, 0x55), 0);
	assert_int_equal(emu_vcpu_inject_interrupt(m->vcpu, 0x56), -EBUSY);
	assert_int_equal(vector_taken(m), 0x55);
}

static void test_vcpu_sti_cli_leaves_no_window(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0xfb, 0xfa, 0xf4); /* sti; cli; hlt */
	emu_vcpu_request_interrupt_window(m->vcpu, true);
	run(m, EMU_EXIT_HLT);
}

static void test_vcpu_window_opens_in_branch_code_behind_sti(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0xfb, 0xeb, 0x02, 0xf4, 0xf4, 0xf4); /* sti; jmp +2 */
	emu_vcpu_request_interrupt_window(m->vcpu, true);
	run(m, EMU_EXIT_INTERRUPT_WINDOW);
	assert_int_equal(reg(m, RIP), CODE + 5);
}

static void test_vcpu_interrupt_with_if_clear_fails_vm_entry(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0xf4);
	assert_int_equal(emu_vcpu_inject_interrupt(m->vcpu, 0x55), 0);
	struct emu_exit x = run(m, EMU_EXIT_ENTRY_FAILURE);
	assert_int_equal(x.word, 0x80000021); /* SDM 29.8 */
}

static void test_vcpu_nmi_waits_for_iret(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0x90, 0xf4);
	CODE_AT(m, 0xc020, 0x48, 0xcf); /* handler of vector 2: iretq */
	emu_vcpu_inject_nmi(m->vcpu);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(reg(m, RIP), CODE + 2);
	struct emu_events events;
	emu_vcpu_get_events(m->vcpu, &events);
	assert_false(events.nmi.masked);
}

static void test_vcpu_page_fault_tells_address_and_write(void **state)
{
	struct machine *m = *state;
	struct emu_state s;
	/* the second half of an 8-byte add lies on an absent page */
	CODE_AT(m, CODE, 0x48, 0x01, 0x03);
	set_reg(m, EMU_RBX, 0x200000 - 4);
	uint8_t *more = aligned_alloc(4096, RAM);
	memset(more, 0, RAM);
	assert_int_equal(emu_vm_map(m->vm, 1, RAM, RAM, more, 0), 0);
	assert_int_equal(vector_taken(m), 14);
	emu_vcpu_get_state(m->vcpu, &s);
	assert_int_equal(s.cr2, 0x200000);
	uint64_t error;
	memcpy(&error, m->ram + s.gpr[EMU_RSP], 8);
	assert_int_equal(error, 2); /* write, not present */
	assert_int_equal(emu_vm_unmap(m->vm, 1), 0);
	free(more);
}

static void test_vcpu_illegal_lock_is_ud_in_place(void **state)
{
	struct machine *m = *state;
	struct emu_state s;
	uint64_t rip;
	CODE_AT(m, CODE, 0x90, 0xf0, 0x0f, 0xa3,
		0xc0); /* nop; lock bt eax,eax: kills bare Unicorn */
	assert_int_equal(vector_taken(m), 6);
	emu_vcpu_get_state(m->vcpu, &s);
	memcpy(&rip, m->ram + s.gpr[EMU_RSP], 8);
	assert_int_equal(rip, CODE + 1);
}

static void test_vcpu_triple_fault_shuts_down(void **state)
{
	struct machine *m = *state;
	struct emu_state s;
	emu_vcpu_get_state(m->vcpu, &s);
	s.idt.limit = 0;
	assert_int_equal(emu_vcpu_set_state(m->vcpu, &s), 0);
	CODE_AT(m, CODE, 0x0f, 0x0b);
	assert_int_equal(run(m, EMU_EXIT_SHUTDOWN).word, VMX_TRIPLE_FAULT);
}

/* ------------------------------------------------------------------ debugging */

static void test_vcpu_single_step_stops_behind_each_instruction(void **state)
{
	struct machine *m = *state;
	struct emu_debug debug = { .single_step = true };
	/* nop; lock inc [rbx] (split); mov eax,1; cpuid; jmp */
	CODE_AT(m, CODE, 0x90, 0xf0, 0xff, 0x03, 0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0xeb, 0x10);
	static const unsigned after[] = { 1, 4, 9, 11, 29 };
	set_reg(m, EMU_RBX, DATA + 62);
	emu_vcpu_set_bus_lock_exiting(m->vcpu, false);
	emu_vcpu_set_debug(m->vcpu, &debug);
	for (unsigned n = 0; n < sizeof(after) / sizeof(after[0]); n++) {
		struct emu_exit x = run(m, EMU_EXIT_DEBUG);
		assert_int_equal(reg(m, RIP), CODE + after[n]);
		assert_int_equal(x.debug.dr6, 0xffff4ff0);
		assert_int_equal(x.debug.rip, CODE + after[n]);
		assert_false(reg(m, RFLAGS) & 0x100);
	}
}

static void test_vcpu_instruction_breakpoint_stops_in_front(void **state)
{
	struct machine *m = *state;
	struct emu_debug debug = { .hardware_breakpoints = true };
	CODE_AT(m, CODE, 0x90, 0x90, 0x90, 0xf4);
	debug.dr[1] = CODE + 2;
	debug.dr[7] = 0x400 | 1 << 2;
	emu_vcpu_set_debug(m->vcpu, &debug);
	for (int again = 0; again < 2; again++) {
		struct emu_exit x = run(m, EMU_EXIT_DEBUG);
		assert_int_equal(reg(m, RIP), CODE + 2);
		assert_int_equal(x.debug.dr6 & 15, 2);
	}
	set_reg(m, RFLAGS, 2 | 1 << 16); /* RF: past it once */
	run(m, EMU_EXIT_HLT);
}

static void test_vcpu_data_breakpoint_traps_behind_the_access(void **state)
{
	struct machine *m = *state;
	struct emu_debug debug = { .hardware_breakpoints = true };
	/* mov [rbx],eax; mov ecx,[rbx+8]; lock inc dword [rbx]; mov [rbx+4],eax; hlt */
	CODE_AT(m, CODE, 0x89, 0x03, 0x8b, 0x4b, 0x08, 0xf0, 0xff, 0x03, 0x89, 0x43, 0x04, 0xf4);
	set_reg(m, EMU_RBX, DATA);
	debug.dr[0] = DATA;
	debug.dr[7] = 0x400 | 1 | 0xdu << 16; /* writes of 4 bytes */
	emu_vcpu_set_debug(m->vcpu, &debug);
	run(m, EMU_EXIT_DEBUG);
	assert_int_equal(reg(m, RIP), CODE + 2);
	struct emu_exit x = run(m, EMU_EXIT_DEBUG);
	assert_int_equal(reg(m, RIP), CODE + 8);
	assert_int_equal(x.debug.dr6 & 15, 1);
	run(m, EMU_EXIT_HLT);
}

static void test_vcpu_int3_leaves_only_when_the_monitor_asked(void **state)
{
	struct machine *m = *state;
	struct emu_debug debug = { .software_breakpoints = true };
	CODE_AT(m, CODE, 0xcc);
	emu_vcpu_set_debug(m->vcpu, &debug);
	assert_int_equal(run(m, EMU_EXIT_DEBUG).debug.vector, 3);
	assert_int_equal(reg(m, RIP), CODE);
	debug.software_breakpoints = false;
	emu_vcpu_set_debug(m->vcpu, &debug);
	assert_int_equal(vector_taken(m), 3);
}

/* ------------------------------------------------------------------ MSRs, CPUID */

static void test_vcpu_unknown_msr_leaves_or_faults(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0x0f, 0x32, 0xf4); /* rdmsr */
	set_reg(m, EMU_RCX, 0x4b564d00);
	emu_vm_set_msr_exits(m->vm, true);
	struct emu_exit x = run(m, EMU_EXIT_RDMSR);
	assert_int_equal(x.word, VMX_RDMSR);
	*x.msr.value = 0x1122334455667788;
	run(m, EMU_EXIT_HLT);
	assert_int_equal(reg(m, EMU_RAX), 0x55667788);
	assert_int_equal(reg(m, EMU_RDX), 0x11223344);
	set_reg(m, RIP, CODE);
	set_reg(m, EMU_RCX, 0x4b564d00);
	x = run(m, EMU_EXIT_RDMSR);
	*x.msr.error = true;
	assert_int_equal(vector_taken(m), 13);
	emu_vm_set_msr_exits(m->vm, false);
	set_reg(m, RIP, CODE);
	set_reg(m, EMU_RCX, 0x4b564d00);
	assert_int_equal(vector_taken(m), 13);
}

/* ------------------------------------------------------------------ code that changes */

static void test_vcpu_code_written_by_the_monitor_is_seen(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0xb8, 1, 0, 0, 0, 0xe6, 0x10, 0xeb, 0xf7); /* mov eax,1; out; jmp */
	for (uint8_t n = 1; n < 50; n++) {
		m->ram[CODE + 1] = n;
		struct emu_exit x = run(m, EMU_EXIT_IO);
		assert_int_equal(x.io.data[0], n);
	}
}

static void test_vcpu_code_written_through_an_alias_is_seen(void **state)
{
	struct machine *m = *state;
	/* the first megabyte again above it */
	assert_int_equal(emu_vm_map(m->vm, 1, RAM, RAM, m->ram, 0), 0);
	/* loop: mov eax,0; add ebx,eax; inc byte [alias of the immediate]; dec ecx; jnz; hlt */
	CODE_AT(m, CODE, 0xb8, 0, 0, 0, 0, 0x01, 0xc3, 0xfe, 0x04, 0x25, 0x01, 0x10, 0x10, 0x00,
		0xff, 0xc9, 0x75, 0xee, 0xf4);
	set_reg(m, EMU_RBX, 0);
	set_reg(m, EMU_RCX, 100);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(reg(m, EMU_RBX), 99 * 100 / 2);
	assert_int_equal(emu_vm_unmap(m->vm, 1), 0);
}

static void test_vcpu_data_beside_code_stays_exact(void **state)
{
	struct machine *m = *state;
	/* loop: inc dword [rip → same page]; call f; dec ecx; jnz; hlt. f, on another page, also changes
	 * data beside itself; the stack is on the page of the loop. Then f's own immediate. */
	CODE_AT(m, CODE, 0xff, 0x05, 0xfa, 0x03, 0x00, 0x00, 0xe8, 0xf5, 0x0f, 0x00, 0x00, 0xff,
		0xc9, 0x75, 0xf1, 0xf4);
	CODE_AT(m, CODE + 0x1000, 0xff, 0x05, 0xfa, 0x03, 0x00, 0x00, 0xb8, 1, 0, 0, 0, 0x01, 0xc3,
		0xff, 0x05, 0xf4, 0xff, 0xff, 0xff, 0xc3);
	enum { TURNS = 5000 };
	set_reg(m, EMU_RBX, 0);
	set_reg(m, EMU_RCX, TURNS);
	set_reg(m, EMU_RSP, CODE + 0x800);
	run(m, EMU_EXIT_HLT);
	uint32_t beside_loop, beside_function;
	memcpy(&beside_loop, m->ram + CODE + 0x400, 4);
	memcpy(&beside_function, m->ram + CODE + 0x1400, 4);
	assert_int_equal(beside_loop, TURNS);
	assert_int_equal(beside_function, TURNS);
	assert_int_equal(reg(m, EMU_RBX), TURNS * (TURNS + 1) / 2);
}

static void test_vcpu_endless_new_code_never_fills_the_engine(void **state)
{
	struct machine *m = *state;
	/* 64 MB of INC EAX; RET at every third byte, each called once: twenty million blocks to come;
	 * the buffer holds a hundred thousand */
	enum { SIZE = 64 << 20, STEP = 3, TURNS = 400000 };
	uint8_t *field =
		mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t at = 0; at + STEP <= SIZE; at += STEP)
		memcpy(field + at, "\xff\xc0\xc3", STEP);
	assert_int_equal(emu_vm_map(m->vm, 1, 0x40000000, SIZE, field, 0), 0);
	uint64_t gigabyte = 0x40000083;
	memcpy(m->ram + 0x7008, &gigabyte, 8);
	CODE_AT(m, CODE, 0xff, 0xd3, 0x48, 0x83, 0xc3, STEP, 0xff, 0xc9, 0x75, 0xf6, 0xf4);
	set_reg(m, EMU_RBX, 0x40000000);
	set_reg(m, EMU_RCX, TURNS);
	set_reg(m, EMU_RAX, 0);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(reg(m, EMU_RAX), TURNS);
	assert_int_equal(emu_vm_unmap(m->vm, 1), 0);
	munmap(field, SIZE);
}

/* ------------------------------------------------------------------ memory that goes */

static void test_vcpu_memory_declared_gone_ends_in_efault(void **state)
{
	struct machine *m = *state;
	struct emu_exit x;
	CODE_AT(m, CODE, 0x8b, 0x03, 0xf4); /* mov eax,[rbx] */
	set_reg(m, EMU_RBX, DATA);
	emu_vm_host_range_gone(m->vm, m->ram + DATA, 4096);
	assert_int_equal(emu_vcpu_run(m->vcpu, 0, &x), -EFAULT);
	assert_int_equal(reg(m, RIP), CODE);
	emu_vm_host_range_back(m->vm, m->ram + DATA, 4096);
	memcpy(m->ram + DATA, "\x42\0\0\0", 4);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(reg(m, EMU_RAX), 0x42);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)number;
	if (!emu_host_fault(info->si_addr, context))
		_exit(99);
}

static void test_vcpu_memory_that_vanishes_ends_in_efault(void **state)
{
	struct machine *m = *state;
	struct emu_exit x;
#if defined(__SANITIZE_THREAD__)
	skip(); /* ThreadSanitizer does not follow siglongjmp() out of a SIGSEGV handler */
#endif
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER },
			 before;
	sigaction(SIGSEGV, &action, &before);
	/* engine: mov ecx,5; mov eax,[rbx]; by hand: lock inc [rbx] */
	CODE_AT(m, CODE, 0xb9, 5, 0, 0, 0, 0x8b, 0x03, 0xf4);
	CODE_AT(m, CODE + 0x40, 0xf0, 0xff, 0x03, 0xf4);
	set_reg(m, EMU_RBX, DATA);
	mprotect(m->ram + DATA, 4096, PROT_NONE);
	assert_int_equal(emu_vcpu_run(m->vcpu, 0, &x), -EFAULT);
	assert_int_equal(reg(m, RIP), CODE + 5);
	assert_int_equal(reg(m, EMU_RCX), 5);
	/* and where the engine has the page already: the second of two loads, in translated code */
	mprotect(m->ram + DATA, 4096, PROT_READ | PROT_WRITE);
	CODE_AT(m, CODE + 0x80, 0x8b, 0x03, 0xe6, 0x10, 0x41, 0xff, 0xc0, 0x8b, 0x03, 0xf4);
	set_reg(m, RIP, CODE + 0x80);
	run(m, EMU_EXIT_IO);
	mprotect(m->ram + DATA, 4096, PROT_NONE);
	assert_int_equal(emu_vcpu_run(m->vcpu, 0, &x), -EFAULT);
	assert_int_equal(reg(m, RIP), CODE + 0x87);
	set_reg(m, RIP, CODE + 0x40);
	assert_int_equal(emu_vcpu_run(m->vcpu, 0, &x), -EFAULT);
	assert_int_equal(reg(m, RIP), CODE + 0x40);
	mprotect(m->ram + DATA, 4096, PROT_READ | PROT_WRITE);
	memset(m->ram + DATA, 7, 4);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(m->ram[DATA], 8);
	sigaction(SIGSEGV, &before, NULL);
}

static void test_vcpu_dirty_log_names_what_was_written(void **state)
{
	struct machine *m = *state;
	uint64_t bitmap[RAM / 4096 / 64] = { 0 };
	/* mov [DATA],al; lock inc dword [DATA+0x2000]; hlt */
	CODE_AT(m, CODE, 0x88, 0x04, 0x25, 0, 0, 1, 0, 0xf0, 0xff, 0x04, 0x25, 0, 0x20, 1, 0, 0xf4);
	assert_int_equal(emu_vm_dirty_log(m->vm, 0, bitmap, true), -ENOENT);
	assert_int_equal(emu_vm_set_flags(m->vm, 0, EMU_MEM_LOG_DIRTY), 0);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(emu_vm_dirty_log(m->vm, 0, bitmap, true), 0);
	assert_int_equal(bitmap[0] >> (DATA >> 12) & 7, 5);
	assert_int_equal(bitmap[0] >> (CODE >> 12) & 1, 0);
	set_reg(m, RIP, CODE);
	run(m, EMU_EXIT_HLT);
	assert_int_equal(emu_vm_dirty_log(m->vm, 0, bitmap, true), 0);
	assert_int_equal(bitmap[0] >> (DATA >> 12) & 7, 5); /* again after it was cleared */
}

/* ------------------------------------------------------------------ threads */

struct kicking {
	struct emu_vcpu *vcpu;
	_Atomic bool stop;
	_Atomic unsigned kicks;
};

static void *kick_often(void *opaque)
{
	struct kicking *k = opaque;
	while (!atomic_load(&k->stop)) {
		emu_vcpu_kick(k->vcpu);
		atomic_fetch_add(&k->kicks, 1);
		usleep(50);
	}
	return NULL;
}

static void test_vcpu_kicked_all_the_time_stays_exact(void **state)
{
	struct machine *m = *state;
	struct kicking k = { .vcpu = m->vcpu };
	pthread_t thread;
	/* loop: inc dword [rbx]; lock inc dword [rbx+0x40]; dec ecx; jnz; hlt */
	CODE_AT(m, CODE, 0xff, 0x03, 0xf0, 0xff, 0x43, 0x40, 0xff, 0xc9, 0x75, 0xf6, 0xf4);
	enum { TURNS = 300000 };
	set_reg(m, EMU_RBX, DATA);
	set_reg(m, EMU_RCX, TURNS);
	pthread_create(&thread, NULL, kick_often, &k);
	struct emu_exit x;
	unsigned kicked = 0;
	do {
		assert_int_equal(emu_vcpu_run(m->vcpu, 0, &x), 0);
		kicked += x.type == EMU_EXIT_KICKED;
	} while (x.type == EMU_EXIT_KICKED);
	atomic_store(&k.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(x.type, EMU_EXIT_HLT);
	uint32_t plain, locked;
	memcpy(&plain, m->ram + DATA, 4);
	memcpy(&locked, m->ram + DATA + 0x40, 4);
	assert_int_equal(plain, TURNS);
	assert_int_equal(locked, TURNS);
	assert_true(kicked > 0);
}

static void test_vcpu_kick_before_a_run_ends_it(void **state)
{
	struct machine *m = *state;
	CODE_AT(m, CODE, 0xeb, 0xfe); /* for ever */
	emu_vcpu_kick(m->vcpu);
	run(m, EMU_EXIT_KICKED);
	emu_vcpu_kick(m->vcpu);
	emu_vcpu_clear_kick(m->vcpu);
	struct kicking k = { .vcpu = m->vcpu };
	pthread_t thread;
	pthread_create(&thread, NULL, kick_often, &k);
	for (int n = 0; n < 200; n++)
		run(m, EMU_EXIT_KICKED);
	atomic_store(&k.stop, true);
	pthread_join(thread, NULL);
}

#define THREADS 4
#define ADDS    20000

struct worker {
	struct machine machine;
	unsigned locks;
};

static void *work(void *opaque)
{
	struct worker *w = opaque;
	struct emu_exit x;
	do {
		if (emu_vcpu_run(w->machine.vcpu, 0, &x))
			return NULL;
		w->locks += x.type == EMU_EXIT_BUS_LOCK;
	} while (x.type == EMU_EXIT_BUS_LOCK || x.type == EMU_EXIT_KICKED);
	return x.type == EMU_EXIT_HLT ? w : NULL;
}

static void test_vcpu_several_in_threads_lose_no_update(void **state)
{
	struct machine *m = *state;
	struct worker workers[THREADS] = { { { 0 }, 0 } };
	pthread_t threads[THREADS];
	/* loop: lock inc dword [rbx]; lock inc dword [rbx+126] (split); inc a private one; dec; jnz */
	CODE_AT(m, CODE, 0xf0, 0xff, 0x03, 0xf0, 0xff, 0x43, 0x7e, 0xff, 0x06, 0xff, 0xc9, 0x75,
		0xf3, 0xf4);
	for (unsigned n = 0; n < THREADS; n++) {
		workers[n].machine = *m;
		assert_int_equal(emu_vcpu_create(m->vm, &workers[n].machine.vcpu), 0);
		set_64bit(workers[n].machine.vcpu);
		set_reg(&workers[n].machine, EMU_RBX, DATA);
		set_reg(&workers[n].machine, EMU_RSI, DATA + 0x1000 + 64 * n);
		set_reg(&workers[n].machine, EMU_RCX, ADDS);
		emu_vcpu_set_bus_lock_exiting(workers[n].machine.vcpu, n & 1);
	}
	for (unsigned n = 0; n < THREADS; n++)
		pthread_create(&threads[n], NULL, work, &workers[n]);
	for (unsigned n = 0; n < THREADS; n++) {
		void *result = NULL;
		pthread_join(threads[n], &result);
		assert_non_null(result);
		assert_int_equal(workers[n].locks, n & 1 ? ADDS : 0);
		uint32_t private;
		memcpy(&private, m->ram + DATA + 0x1000 + 64 * n, 4);
		assert_int_equal(private, ADDS);
	}
	uint32_t aligned, split;
	memcpy(&aligned, m->ram + DATA, 4);
	memcpy(&split, m->ram + DATA + 126, 4);
	assert_int_equal(aligned, THREADS * ADDS);
	assert_int_equal(split, THREADS * ADDS);
	for (unsigned n = 0; n < THREADS; n++)
		emu_vcpu_destroy(workers[n].machine.vcpu);
}

static void test_vcpu_counts_instructions_when_asked(void **state)
{
	struct machine *m = *state;
	struct emu_config config = { .count = true };
	struct machine counting = { .ram = m->ram };
	assert_int_equal(emu_vm_create(&config, &counting.vm), 0);
	assert_int_equal(emu_vm_map(counting.vm, 0, 0, RAM, m->ram, 0), 0);
	assert_int_equal(emu_vcpu_create(counting.vm, &counting.vcpu), 0);
	set_64bit(counting.vcpu);
	/* mov ecx,100; loop: nop; lock inc [rbx]; dec ecx; jnz; hlt */
	CODE_AT(m, CODE, 0xb9, 100, 0, 0, 0, 0x90, 0xf0, 0xff, 0x03, 0xff, 0xc9, 0x75, 0xf8, 0xf4);
	set_reg(&counting, EMU_RBX, DATA);
	run(&counting, EMU_EXIT_HLT);
	struct emu_stats stats;
	emu_vcpu_get_stats(counting.vcpu, &stats);
	assert_int_equal(stats.instructions, 1 + 4 * 100 + 1);
	assert_int_equal(stats.locked, 100);
	emu_vcpu_destroy(counting.vcpu);
	emu_vm_destroy(counting.vm);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_vcpu_out_and_in_complete_on_the_next_run),
		TEST(test_vcpu_moved_rip_abandons_an_in),
		TEST(test_vcpu_complete_only_finishes_and_stops),
		TEST(test_vcpu_rep_ins_reads_ahead_and_stores),
		TEST(test_vcpu_device_access_comes_in_fragments_of_eight),
		TEST(test_vcpu_read_modify_write_on_a_device_reads_then_writes),
		TEST(test_vcpu_unknown_instruction_on_a_device_is_an_internal_error),
		TEST(test_vcpu_mmio_all_executes_any_instruction_on_a_device),
		TEST(test_vcpu_read_only_slot_reads_but_sends_writes_to_the_monitor),
		TEST(test_vcpu_interrupt_window_opens_behind_the_sti_shadow),
		TEST(test_vcpu_sti_cli_leaves_no_window),
		TEST(test_vcpu_window_opens_in_branch_code_behind_sti),
		TEST(test_vcpu_interrupt_with_if_clear_fails_vm_entry),
		TEST(test_vcpu_nmi_waits_for_iret),
		TEST(test_vcpu_page_fault_tells_address_and_write),
		TEST(test_vcpu_illegal_lock_is_ud_in_place),
		TEST(test_vcpu_triple_fault_shuts_down),
		TEST(test_vcpu_single_step_stops_behind_each_instruction),
		TEST(test_vcpu_instruction_breakpoint_stops_in_front),
		TEST(test_vcpu_data_breakpoint_traps_behind_the_access),
		TEST(test_vcpu_int3_leaves_only_when_the_monitor_asked),
		TEST(test_vcpu_unknown_msr_leaves_or_faults),
		TEST(test_vcpu_code_written_by_the_monitor_is_seen),
		TEST(test_vcpu_code_written_through_an_alias_is_seen),
		TEST(test_vcpu_data_beside_code_stays_exact),
		TEST(test_vcpu_endless_new_code_never_fills_the_engine),
		TEST(test_vcpu_memory_declared_gone_ends_in_efault),
		TEST(test_vcpu_memory_that_vanishes_ends_in_efault),
		TEST(test_vcpu_dirty_log_names_what_was_written),
		TEST(test_vcpu_kicked_all_the_time_stays_exact),
		TEST(test_vcpu_kick_before_a_run_ends_it),
		TEST(test_vcpu_several_in_threads_lose_no_update),
		TEST(test_vcpu_counts_instructions_when_asked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
