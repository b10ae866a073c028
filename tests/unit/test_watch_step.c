// SPDX-License-Identifier: GPL-2.0-only
/* record --step over a made-up kernel: what it decodes, what it lets run, what it says it has not seen. */
#include "tests/unit/fake_kernel.h"
#include "watch/step.h"

#include <pthread.h>

static const struct watch_options step = { .step = true, .locked = true };

#define DEBUG_AT(rip)                        \
	{                                    \
		0, KVM_EXIT_DEBUG, rip, NULL \
	}
#define DEBUG_AND(rip, also)                 \
	{                                    \
		0, KVM_EXIT_DEBUG, rip, also \
	}
#define EXIT_AT(reason, rip)                    \
	{                                       \
		0, KVM_EXIT_##reason, rip, NULL \
	}
#define LOCK_INC "\xf0\xff\x07" /* lock inc dword [rdi], or [bx] in 16-bit code */
#define STEPPING (KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP)

/* ------------------------------------------------------------------ what is recorded */

static void test_step_aligned_lock_is_told_when_executed(void **state)
{
	(void)state;
	fake_start(&step);
	FAKE_CODE_IS(LOCK_INC "\xf4");
	fake.regs.rdi = 0x8040;
	fake.sregs.ds.base = 0x100; /* means nothing in 64-bit mode */
	FAKE_SCRIPT(DEBUG_AT(0x1003), EXIT_AT(HLT, 0x1004));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_HLT);
	fake_says("{\"event\":\"locked\"");
	fake_says("\"linear\":\"0x8040\",\"gpa\":\"0x8040\",\"size\":4,\"rip\":\"0x1000\","
		  "\"linear_rip\":\"0x1000\",\"bytes\":\"f0ff07\",\"mode\":64,\"cpl\":0,"
		  "\"memory_type\":\"WB\",\"guest_memory_type\":\"WB\"}");
	assert_int_equal(fake_lines("{\"event\":\"bus_lock\""), 0);
	assert_int_equal(fake_lines("not_covered\",\"time"), 0);
	assert_int_equal(fake.report->vcpu[0].locked, 1);
	assert_int_equal(fake.report->vcpu[0].instructions, 2);
	assert_int_equal(fake_lines("{\"event\":\"exit\""),
			 1); /* the steps are not the monitor's */
}

static void test_step_registers_from_kvm_run_are_used(void **state)
{
	(void)state;
	fake.sync = true;
	fake_start(&step);
	FAKE_CODE_IS(LOCK_INC LOCK_INC "\xf4");
	fake.regs.rdi = 0x8040;
	FAKE_SCRIPT(DEBUG_AT(0x1003), DEBUG_AT(0x1006), EXIT_AT(HLT, 0x1007));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("{\"event\":\"locked\""), 2);
	assert_int_equal(fake.run->kvm_valid_regs, 0); /* the monitor's */
}

static void test_step_lock_that_faults_is_not_told(void **state)
{
	(void)state;
	fake_start(&step);
	FAKE_CODE_IS(LOCK_INC);
	fake.regs.rdi = 0x8040;
	/* somewhere else, and no frame of an event on the stack: CS is another */
	memcpy(fake.memory + 0x7000, (const uint64_t[]){ 0x1000, 0x33, 2 }, 24);
	fake.sregs.cs.selector = 8;
	FAKE_SCRIPT(DEBUG_AT(0x5000), EXIT_AT(SHUTDOWN, 0));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("{\"event\":\"locked\""), 0);
	fake_says("single-stepping was lost between here and rip 0x5000");
}

static void test_step_mmio_is_no_lock_of_the_processors(void **state)
{
	(void)state;
	fake_start(&step);
	FAKE_CODE_IS(LOCK_INC "\xf4");
	fake.regs.rdi = 0xd000003e; /* also across a line */
	FAKE_SCRIPT(EXIT_AT(MMIO, 0));
	assert_int_equal(fake_monitor_runs(), 0);
	FAKE_SCRIPT(DEBUG_AT(0x1003), EXIT_AT(HLT, 0x1004));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("{\"event\":\"locked\""), 0);
	assert_int_equal(fake.terminated, 0);
}

static void test_step_interrupted_entry_has_executed_nothing(void **state)
{
	(void)state;
	fake_start(&step);
	FAKE_CODE_IS(LOCK_INC);
	fake.regs.rdi = 0x8040;
	FAKE_SCRIPT({ -EINTR, 0, 0, NULL });
	assert_int_equal(fake_monitor_runs(), -EINTR);
	assert_int_equal(fake_lines("{\"event\":\"locked\""), 0);
	assert_int_equal(fake_lines("not_covered\",\"time"), 0);
}

static void test_step_xchg_locks_without_a_prefix(void **state)
{
	(void)state;
	fake_mode(16);
	fake_start(&step);
	FAKE_CODE_IS("\x26\x87\x55\x02"); /* xchg es:[di+2],dx */
	fake.sregs.es.base = 0x700;
	fake.regs.rdi = 0x7c;
	FAKE_SCRIPT(DEBUG_AT(0x1004), EXIT_AT(SHUTDOWN, 0));
	assert_int_equal(fake_monitor_runs(), 0);
	fake_says("\"linear\":\"0x77e\",\"gpa\":\"0x77e\",\"size\":2,");
}

static void test_step_beyond_the_segment_is_no_lock(void **state)
{
	(void)state;
	fake_mode(16);
	fake_start(&step);
	FAKE_CODE_IS("\xf0\xff\x07"); /* lock inc word [bx] */
	fake.regs.rbx = 0xffff;
	FAKE_SCRIPT({ 0, KVM_EXIT_SHUTDOWN, 0, NULL });
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.terminated, 0);
}

static void test_step_uncached_memory_is_a_bus_lock_where_the_guest_decides(void **state)
{
	const struct watch_options guest = { .step = true, .memory = WATCH_MEMORY_GUEST };
	uint64_t *table = (uint64_t *)(fake.memory + 0x10000);

	(void)state;
	fake_start(&guest);
	FAKE_CODE_IS(LOCK_INC "\xf4");
	table[0] = 0x11003;
	table[512] = 0x12003;
	table[1024] = 0x83;          /* 2 MiB at 0 */
	table[1025] = 0x83 | 1 << 4; /* the same with PCD: CD (APM 7.4) */
	fake.sregs.cr0 = 0x80000001;
	fake.sregs.cr3 = 0x10000;
	fake.sregs.cr4 = 0x20;
	fake.regs.rdi = 0x200000 + 0x8040;
	FAKE_SCRIPT(DEBUG_AT(0x1003), EXIT_AT(HLT, 0x1004));
	assert_int_equal(fake_monitor_runs(), 0);
	fake_says("\"cause\":[\"non_wb\"],\"linear\":\"0x208040\",\"gpa\":\"0x8040\"");
	fake_says("\"memory_type\":\"CD\",\"guest_memory_type\":\"CD\"");
	assert_int_equal(fake_lines("{\"event\":\"locked\""), 0); /* not asked for */
	assert_int_equal(fake.report->vcpu[0].non_wb, 1);
}

/* ------------------------------------------------------------------ split locks */

static void test_step_split_lock_is_not_run(void **state)
{
	(void)state;
	fake_start(&step);
	FAKE_CODE_IS("\x90" LOCK_INC);
	fake.regs.rdi = 0x803e;
	FAKE_SCRIPT(DEBUG_AT(0x1001));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(fake.run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
	assert_int_equal(fake.terminated, 1);
	fake_says("\"rip\":\"0x1001\",\"why\":\"not run: split lock at rip 0x1001, 4 bytes at "
		  "0x803e");
	assert_non_null(report_end(fake.report));
	assert_int_equal(fake_lines("{\"event\":\"bus_lock\""), 0);
	/* … nor when the monitor tries again */
	FAKE_SCRIPT({ 0 });
	fake.steps = 0;
	fake.regs.rdi = 0x8040;
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
}

static void test_step_so_many_split_locks_may_run(void **state)
{
	const struct watch_options some = { .step = true, .native_split_locks = 2 };
	struct timespec begun, done;

	(void)state;
	fake_start(&some);
	FAKE_CODE_IS(LOCK_INC LOCK_INC LOCK_INC);
	fake.regs.rdi = 0x803d;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	FAKE_SCRIPT(DEBUG_AT(0x1003), DEBUG_AT(0x1006));
	assert_int_equal(fake_monitor_runs(), 0);
	clock_gettime(CLOCK_MONOTONIC, &done);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(fake_lines("\"cause\":[\"split\"]"), 2);
	assert_int_equal(fake.report->native_split_locks, 2);
	assert_int_equal(fake.terminated, 1);
	/* spread out */
	assert_true((done.tv_sec - begun.tv_sec) * 1000000000l + done.tv_nsec - begun.tv_nsec >
		    9000000);
}

static void *take_one(void *opaque)
{
	(void)opaque;
	return (void *)(uintptr_t)watch_split_lock_allowed();
}

static void test_step_split_locks_of_several_vcpus_are_spread_out_together(void **state)
{
	const struct watch_options some = { .step = true, .native_split_locks = 4 };
	struct timespec begun, done;
	pthread_t thread[4];

	(void)state;
	fake_start(&some);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, take_one, NULL), 0);
	for (unsigned i = 0; i < 4; i++) {
		void *allowed;

		pthread_join(thread[i], &allowed);
		assert_non_null(allowed);
	}
	clock_gettime(CLOCK_MONOTONIC, &done);
	assert_true((done.tv_sec - begun.tv_sec) * 1000000000l + done.tv_nsec - begun.tv_nsec >=
		    30000000);
	assert_false(watch_split_lock_allowed());
}

/* ------------------------------------------------------------------ the flag that steps */

static void push_flags_with_tf(void)
{
	fake.regs.rsp -= 8;
	memcpy(fake.memory + fake.regs.rsp, &(uint64_t){ 0x302 }, 8);
}

static void test_step_pushed_flags_show_no_tf(void **state)
{
	uint64_t image;

	(void)state;
	fake_start(&step);
	FAKE_CODE_IS("\x9c\xf4"); /* pushf */
	FAKE_SCRIPT(DEBUG_AND(0x1001, push_flags_with_tf), EXIT_AT(HLT, 0x1002));
	assert_int_equal(fake_monitor_runs(), 0);
	memcpy(&image, fake.memory + 0x6ff8, 8);
	assert_int_equal(image, 0x202);
}

/* Delivery in 64-bit mode: SS, RSP, RFLAGS, CS, RIP of the next instruction. */
static void event_behind_the_lock(void)
{
	const uint64_t frame[5] = { 0x1003, 8, 0x302, 0x7000, 0x10 };

	fake.regs.rsp = 0x7000 - sizeof(frame);
	memcpy(fake.memory + fake.regs.rsp, frame, sizeof(frame));
}

static void with_idt(uint64_t vector, uint64_t handler)
{
	uint64_t gate[2] = { (handler & 0xffff) | 8 << 16 | 0x8e00ull << 32 |
				     (handler >> 16 & 0xffff) << 48,
			     handler >> 32 };

	fake.sregs.cs.selector = 8;
	fake.sregs.idt.base = 0x9000;
	fake.sregs.idt.limit = 0xfff;
	memcpy(fake.memory + 0x9000 + vector * 16, gate, sizeof(gate));
}

static void test_step_event_behind_a_lock_leaves_both_told(void **state)
{
	uint64_t image;

	(void)state;
	fake_start(&step);
	with_idt(0x20, 0x5000);
	FAKE_CODE_IS(LOCK_INC);
	memcpy(fake.memory + 0x5000, "\xf4", 1);
	fake.regs.rdi = 0x8040;
	FAKE_SCRIPT(DEBUG_AND(0x5000, event_behind_the_lock), EXIT_AT(HLT, 0x5001));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("{\"event\":\"locked\""), 1);
	assert_int_equal(fake_lines("not_covered\",\"time"), 0);
	memcpy(&image, fake.memory + 0x7000 - 24, 8);
	assert_int_equal(image, 0x202);
}

static void event_in_front(void)
{
	event_behind_the_lock();
	memcpy(fake.memory + fake.regs.rsp, &(uint64_t){ 0x1000 }, 8);
}

static void test_step_event_in_front_of_a_lock_leaves_it_undone(void **state)
{
	(void)state;
	fake_start(&step);
	with_idt(0x20, 0x5000);
	FAKE_CODE_IS(LOCK_INC);
	memcpy(fake.memory + 0x5000, "\xf4", 1);
	fake.regs.rdi = 0x8040;
	FAKE_SCRIPT(DEBUG_AND(0x5000, event_in_front), EXIT_AT(HLT, 0x5001));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("{\"event\":\"locked\""), 0);
	assert_int_equal(fake_lines("not_covered\",\"time"), 0);
}

/* A KVM that emulates the delivery executes the handler's first instruction in the same step. */
static void test_step_first_instruction_of_a_handler_is_seen(void **state)
{
	(void)state;
	fake_start(&step);
	with_idt(3, 0x4000);
	with_idt(0x20, 0x5000);
	FAKE_CODE_IS("\x90");
	memcpy(fake.memory + 0x5000, LOCK_INC "\xf4", 4);
	fake.regs.rdi = 0x8040;
	FAKE_SCRIPT(DEBUG_AND(0x5003, event_in_front), EXIT_AT(HLT, 0x5004));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("{\"event\":\"locked\""), 1);
	fake_says("\"rip\":\"0x5000\",\"linear_rip\":\"0x5000\",\"bytes\":\"f0ff07\"");
	assert_int_equal(fake_lines("not_covered\",\"time"), 0);
}

static void test_step_split_lock_that_starts_a_handler_is_said(void **state)
{
	(void)state;
	fake_start(&step);
	with_idt(0x20, 0x5000);
	FAKE_CODE_IS("\x90");
	memcpy(fake.memory + 0x5000, LOCK_INC "\xf4", 4);
	fake.regs.rdi = 0x803e;
	FAKE_SCRIPT(DEBUG_AND(0x5003, event_in_front));
	assert_int_equal(fake_monitor_runs(), 0);
	fake_says("\"cause\":[\"split\"]");
	fake_says("a split lock has run on the real device");
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(fake.terminated, 1);
}

static void test_step_unknown_handler_is_said(void **state)
{
	(void)state;
	fake_start(&step);
	with_idt(0x20, 0x5000);
	FAKE_CODE_IS("\x90");
	memcpy(fake.memory + 0x5000, "\xf4", 1);
	FAKE_SCRIPT(DEBUG_AND(0x5123, event_in_front), EXIT_AT(SHUTDOWN, 0));
	assert_int_equal(fake_monitor_runs(), 0);
	fake_says("the first instruction of an event's handler is not seen");
}

static void interrupt_by_instruction(void)
{
	event_behind_the_lock();
	memcpy(fake.memory + fake.regs.rsp, &(uint64_t){ 0x1002 }, 8);
}

static void test_step_int_n_leaves_no_tf_behind(void **state)
{
	uint64_t image;

	(void)state;
	fake_start(&step);
	with_idt(0x20, 0x5000);
	FAKE_CODE_IS("\xcd\x20");
	fake.memory[0x5000] = 0xf4;
	FAKE_SCRIPT(DEBUG_AND(0x5000, interrupt_by_instruction), EXIT_AT(HLT, 0x5001));
	assert_int_equal(fake_monitor_runs(), 0);
	memcpy(&image, fake.memory + 0x7000 - 24, 8);
	assert_int_equal(image, 0x202);
}

static void on_another_stack(void)
{
	fake.regs.rsp = 0x7800;
}

static void test_step_iret_to_user_code_that_is_not_stepped_is_said(void **state)
{
	(void)state;
	fake_start(&step);
	FAKE_CODE_IS("\x48\xcf"); /* iretq */
	memcpy(fake.memory + 0x7000, (const uint64_t[]){ 0x5000, 0x33, 2, 0x6000, 0x2b }, 40);
	fake.memory[0x6100] = 0xf4;
	FAKE_SCRIPT(DEBUG_AND(0x6100, on_another_stack), EXIT_AT(HLT, 0x6101));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.debug[0], STEPPING | KVM_GUESTDBG_USE_HW_BP);
	fake_says("64-bit user code");
}

static void save_rip_and_flags(void)
{
	fake.regs.rcx = 0x1002;
	fake.regs.r11 = 0x302;
}

static void test_step_syscall_is_caught_where_it_leads(void **state)
{
	(void)state;
	fake.lstar = 0x6000;
	fake_start(&step);
	FAKE_CODE_IS("\x0f\x05");
	fake.memory[0x6000] = 0xf4;
	FAKE_SCRIPT(DEBUG_AND(0x6000, save_rip_and_flags), EXIT_AT(HLT, 0x6001));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.debug[0], STEPPING | KVM_GUESTDBG_USE_HW_BP);
	assert_int_equal(fake.breakpoint, 0x6000);
	assert_int_equal(fake.dr7 & ~0x400ull, 2); /* G0, execution, one byte */
	assert_int_equal(fake.regs.r11, 0x202);
	assert_int_equal(fake_lines("not_covered\",\"time"), 0);
}

static void test_step_guest_that_steps_itself_is_said(void **state)
{
	(void)state;
	fake_start(&step);
	FAKE_CODE_IS("\x9d\xf4"); /* popf */
	memcpy(fake.memory + 0x7000, &(uint64_t){ 0x302 }, 8);
	FAKE_SCRIPT(DEBUG_AT(0x1001), EXIT_AT(HLT, 0x1002));
	assert_int_equal(fake_monitor_runs(), 0);
	fake_says("the guest sets TF");
}

static void forget_debug(void)
{
	fake.control = 0;
}

static void test_step_is_asked_for_again_where_it_may_be_lost(void **state)
{
	(void)state;
	fake_start(&step);
	FAKE_CODE_IS("\x90\x8b\x07\x90\xf4"); /* nop; mov eax,[rdi]; nop */
	FAKE_SCRIPT(DEBUG_AND(0x1001, forget_debug), DEBUG_AND(0x1003, forget_debug),
		    DEBUG_AT(0x1004), EXIT_AT(HLT, 0x1005));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.debug[0], STEPPING);
	assert_int_equal(fake.debug[1], 0); /* behind what touches registers alone it is on */
	assert_int_equal(fake.debug[2], STEPPING);
}

/* ------------------------------------------------------------------ shadows and HLT */

static void test_step_lock_in_the_shadow_of_mov_ss_is_told(void **state)
{
	(void)state;
	fake_start(&step);
	FAKE_CODE_IS("\x8e\xd0" LOCK_INC "\xf4"); /* mov ss,eax */
	fake.regs.rdi = 0x8040;
	FAKE_SCRIPT(DEBUG_AT(0x1005), EXIT_AT(HLT, 0x1006));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("{\"event\":\"locked\""), 1);
	assert_int_equal(fake_lines("not_covered\",\"time"), 0);
}

static void test_step_split_lock_in_a_shadow_is_not_run(void **state)
{
	(void)state;
	fake_start(&step);
	FAKE_CODE_IS("\x8e\xd0" LOCK_INC "\xf4");
	fake.regs.rdi = 0x803e;
	FAKE_SCRIPT({ 0 });
	fake.steps = 0;
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.terminated, 1);
}

static void test_step_lock_on_the_stack_behind_pop_ss_is_not_covered(void **state)
{
	(void)state;
	fake_mode(16);
	fake.sregs.cr0 = 1; /* 16-bit code of protected mode */
	fake_start(&step);
	FAKE_CODE_IS("\x17\xf0\xff\x46\x00\xf4"); /* pop ss; lock inc word [bp+0] */
	fake.regs.rbp = 0x7fe;
	FAKE_SCRIPT(DEBUG_AT(0x1005), EXIT_AT(HLT, 0x1006));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("{\"event\":\"locked\""), 0);
	fake_says("behind a load of SS");
}

static void test_step_lock_on_the_stack_behind_pop_ss_in_real_mode_is_told(void **state)
{
	(void)state;
	fake_mode(16);
	fake_start(&step);
	FAKE_CODE_IS("\x17\x67\xf0\xff\x04\x24\xf4"); /* pop ss; lock inc word [esp] */
	memcpy(fake.memory + 0x7000, "\x34\x01", 2);
	FAKE_SCRIPT(DEBUG_AT(0x1006), EXIT_AT(HLT, 0x1007));
	assert_int_equal(fake_monitor_runs(), 0);
	fake_says("\"linear\":\"0x8342\"");
	assert_int_equal(fake_lines("not_covered\",\"time"), 0);
}

static void test_step_hlt_runs_as_it_is_where_it_leaves(void **state)
{
	(void)state;
	fake_start(&step);
	FAKE_CODE_IS("\xf4");
	FAKE_SCRIPT(EXIT_AT(HLT, 0x1001));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.debug[0], 0);
	/* … unless an event comes first */
	fake.injected = true;
	fake.regs.rip = FAKE_CODE;
	FAKE_SCRIPT(EXIT_AT(HLT, 0x1001));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.debug[0], STEPPING);
}

static void test_step_hlt_in_the_kernel_is_stepped(void **state)
{
	(void)state;
	fake_start(&step);
	assert_int_equal(watch_ioctl(FAKE_VM, KVM_CREATE_IRQCHIP, 0), 0);
	FAKE_CODE_IS("\xf4\xf4");
	FAKE_SCRIPT(DEBUG_AT(0x1001), { -EINTR, 0, 0, NULL });
	assert_int_equal(fake_monitor_runs(), -EINTR);
	assert_int_equal(fake.debug[0], STEPPING);
}

static unsigned completions;

static long completing_run(int fd, unsigned long request, unsigned long argument)
{
	if (request == KVM_RUN && fake.run->immediate_exit) {
		completions++;
		fake.regs.rip = 0x1002;
		fake.run->exit_reason = KVM_EXIT_DEBUG;
		return 0;
	}
	return fake_ioctl(fd, request, argument);
}

/* On VMX RIP stays on an OUT until the next KVM_RUN, which then goes on with another instruction. */
static void test_step_out_is_completed_before_the_next_is_looked_at(void **state)
{
	struct watch_kernel kernel = fake_kernel;

	(void)state;
	kernel.ioctl = completing_run;
	completions = 0;
	fake_start(&step);
	watch.kernel = &kernel;
	FAKE_CODE_IS("\xe6\x10" LOCK_INC "\xf4"); /* out */
	fake.regs.rdi = 0x8040;
	FAKE_SCRIPT(EXIT_AT(IO, 0x1000));
	assert_int_equal(fake_monitor_runs(), 0);
	FAKE_SCRIPT({ -EINTR, 0, 0, NULL });
	assert_int_equal(fake_monitor_runs(), -EINTR);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_IO); /* not the DEBUG of the completion */
	FAKE_SCRIPT(DEBUG_AT(0x1005), EXIT_AT(HLT, 0x1006));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(completions, 1);
	assert_int_equal(fake.run->immediate_exit, 0);
	assert_int_equal(fake_lines("{\"event\":\"locked\""), 1);
	assert_int_equal(fake_lines("not_covered\",\"time"), 0);
	watch.kernel = &fake_kernel;
}

/* ------------------------------------------------------------------ what cannot be seen */

static void test_step_user_code_that_is_not_stepped_is_said_once(void **state)
{
	(void)state;
	fake.sregs.ss.dpl = 3;
	fake_start(&step);
	FAKE_CODE_IS("\x90");
	FAKE_SCRIPT(EXIT_AT(MMIO, 0x1800));
	assert_int_equal(fake_monitor_runs(), 0);
	FAKE_SCRIPT(EXIT_AT(MMIO, 0x1900));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("64-bit user code: this KVM does not single-step it"), 1);
}

static void in_smm(void)
{
	fake.run->flags = 1;
}

static void test_step_smm_is_not_decoded(void **state)
{
	(void)state;
	fake_start(&step);
	FAKE_CODE_IS("\x90" LOCK_INC LOCK_INC "\xf4");
	fake.regs.rdi = 0x803e;
	/* RSM leaves it: flags are clear again */
	FAKE_SCRIPT(DEBUG_AND(0x1001, in_smm), DEBUG_AND(0x1004, in_smm), EXIT_AT(MMIO, 0x1007));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("System Management Mode or a nested guest"), 1);
	assert_int_equal(fake_lines("{\"event\":\"locked\""), 0);
	assert_int_equal(fake.terminated, 0);
}

static void test_step_handlers_that_the_processor_enters_are_said(void **state)
{
	const struct watch_options native = { .step = true, .native_delivery = true };

	(void)state;
	fake_start(&native);
	assert_int_equal(fake_lines("may run unseen until they return"), 1);
}

static void test_step_starving_timer_is_said_once(void **state)
{
	static struct outcome script[2 * 80];

	(void)state;
	fake_start(&step);
	with_idt(0x20, 0x5000);
	FAKE_CODE_IS("\x90");
	memcpy(fake.memory + 0x5000, "\x48\xcf", 2); /* iretq */
	for (unsigned i = 0; i < 160; i += 2) {
		script[i] = (struct outcome)DEBUG_AND(0x5000, event_in_front);
		script[i + 1] = (struct outcome)DEBUG_AT(0x1000);
	}
	script[159] = (struct outcome)EXIT_AT(SHUTDOWN, 0x5000);
	fake.script = script;
	fake.steps = 160;
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("A timer starves the guest"), 1);
}

static void test_step_monitors_guest_debug_is_refused(void **state)
{
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP };

	(void)state;
	fake_start(&step);
	assert_int_equal(watch_ioctl(FAKE_VCPU, KVM_SET_GUEST_DEBUG, (unsigned long)&debug),
			 -EBUSY);
	fake_says("KVM_SET_GUEST_DEBUG (control 0x10001) is refused with EBUSY");
	debug.control = 0;
	fake.control = STEPPING;
	assert_int_equal(watch_ioctl(FAKE_VCPU, KVM_SET_GUEST_DEBUG, (unsigned long)&debug), 0);
	assert_int_equal(fake.control, STEPPING); /* what is on stays on */
	assert_int_equal(watch_ioctl(FAKE_VCPU, KVM_SET_GUEST_DEBUG, 8), -EFAULT);
}

static void test_step_hold_interrupts_is_asked_of_the_kernel(void **state)
{
	const struct watch_options hold = { .step = true, .hold_interrupts = true };

	(void)state;
	fake_start(&hold);
	FAKE_CODE_IS("\x90\xf4");
	FAKE_SCRIPT(DEBUG_AT(0x1001), EXIT_AT(HLT, 0x1002));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.debug[0], STEPPING | KVM_GUESTDBG_BLOCKIRQ);
}

static void test_step_registers_that_the_monitor_left_are_loaded(void **state)
{
	(void)state;
	fake_start(&step);
	FAKE_CODE_IS(LOCK_INC "\xf4");
	fake.run->s.regs.regs = fake.regs;
	fake.run->s.regs.regs.rdi = 0x80c0;
	fake.run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	FAKE_SCRIPT(DEBUG_AT(0x1003), EXIT_AT(HLT, 0x1004));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake.run->kvm_dirty_regs, 0);
	fake_says("\"linear\":\"0x80c0\"");
}

/* ------------------------------------------------------------------ memory */

static void test_step_code_across_two_pages_is_read(void **state)
{
	uint64_t *table = (uint64_t *)(fake.memory + 0x10000);

	(void)state;
	fake_start(&step);
	table[0] = 0x11003;
	table[512] = 0x12003;
	table[1024] = 0x13003;
	for (unsigned i = 0; i < 16; i++)
		table[1536 + i] = i << 12 | 3;
	table[1536 + 5] = 0x9003; /* what follows page 4 is elsewhere */
	fake.sregs.cr0 = 0x80000001;
	fake.sregs.cr3 = 0x10000;
	fake.sregs.cr4 = 0x20;
	memcpy(fake.memory + 0x4ffe, "\xf0\xff", 2);
	memcpy(fake.memory + 0x9000, "\x07\xf4", 2);
	fake.regs.rip = 0x4ffe;
	fake.regs.rdi = 0x8040;
	FAKE_SCRIPT(DEBUG_AT(0x5001), EXIT_AT(HLT, 0x5002));
	assert_int_equal(fake_monitor_runs(), 0);
	fake_says("\"rip\":\"0x4ffe\"");
	assert_int_equal(fake_lines("not_covered\",\"time"), 0);
}

/* The guest maps another page where the code was, and says INVLPG. */
static void remap(void)
{
	uint64_t *table = (uint64_t *)(fake.memory + 0x13000);

	table[1] = 0x2003;
}

static void test_step_remapped_code_is_found_behind_invlpg(void **state)
{
	uint64_t *table = (uint64_t *)(fake.memory + 0x10000);

	(void)state;
	fake_start(&step);
	table[0] = 0x11003;
	table[512] = 0x12003;
	table[1024] = 0x13003;
	for (unsigned i = 0; i < 16; i++)
		table[1536 + i] = i << 12 | 3;
	fake.sregs.cr0 = 0x80000001;
	fake.sregs.cr3 = 0x10000;
	fake.sregs.cr4 = 0x20;
	FAKE_CODE_IS("\x0f\x01\x38\x90"); /* invlpg [rax] */
	memcpy(fake.memory + 0x2003, LOCK_INC "\xf4", 4);
	fake.regs.rdi = 0x8040;
	FAKE_SCRIPT(DEBUG_AND(0x1003, remap), DEBUG_AT(0x1006), EXIT_AT(HLT, 0x1007));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("{\"event\":\"locked\""), 1);
}

static void test_step_slot_that_moves_is_followed(void **state)
{
	struct kvm_userspace_memory_region region = { .slot = 1,
						      .guest_phys_addr = 0x400000,
						      .memory_size = 0x1000,
						      .userspace_addr =
							      (uintptr_t)fake.memory + 0x8000 };

	(void)state;
	fake_start(&step);
	assert_int_equal(watch_ioctl(FAKE_VM, KVM_SET_USER_MEMORY_REGION, (unsigned long)&region),
			 0);
	FAKE_CODE_IS(LOCK_INC LOCK_INC "\xf4");
	fake.regs.rdi = 0x400040;
	FAKE_SCRIPT(DEBUG_AT(0x1003), EXIT_AT(MMIO, 0));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("\"gpa\":\"0x400040\""), 1);
	region.memory_size = 0;
	assert_int_equal(watch_ioctl(FAKE_VM, KVM_SET_USER_MEMORY_REGION, (unsigned long)&region),
			 0);
	FAKE_SCRIPT(EXIT_AT(MMIO, 0x1006));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("\"gpa\":\"0x400040\""), 1);
}

/* Slots of address space 1 are those of SMM, and hide nothing of the others. */
static void test_step_slots_of_smm_are_not_these(void **state)
{
	struct kvm_userspace_memory_region region = { .slot = 1 << 16,
						      .memory_size = 0x1000,
						      .userspace_addr = (uintptr_t)fake.memory };

	(void)state;
	fake_start(&step);
	assert_int_equal(watch_ioctl(FAKE_VM, KVM_SET_USER_MEMORY_REGION, (unsigned long)&region),
			 0);
	region.slot = 0;
	region.memory_size = 0;
	assert_int_equal(watch_ioctl(FAKE_VM, KVM_SET_USER_MEMORY_REGION, (unsigned long)&region),
			 0);
	region.guest_phys_addr = 0x1000;
	region.memory_size = FAKE_MEMORY - 0x1000;
	region.userspace_addr = (uintptr_t)fake.memory + 0x1000;
	assert_int_equal(watch_ioctl(FAKE_VM, KVM_SET_USER_MEMORY_REGION, (unsigned long)&region),
			 0);
	FAKE_CODE_IS(LOCK_INC "\xf4");
	fake.regs.rdi = 0x40; /* in SMM's slot only */
	FAKE_SCRIPT(EXIT_AT(MMIO, 0x1003));
	assert_int_equal(fake_monitor_runs(), 0);
	assert_int_equal(fake_lines("{\"event\":\"locked\""), 0);
}

static void test_step_leaves_no_debug_exit_behind(void **state)
{
	(void)state;
	fake_start(&step);
	FAKE_CODE_IS("\x90\x90");
	fake.run->exit_reason = KVM_EXIT_HLT;
	FAKE_SCRIPT(DEBUG_AT(0x1001), { -EINTR, 0, 0, NULL });
	assert_int_equal(fake_monitor_runs(), -EINTR);
	assert_int_equal(fake.run->exit_reason, KVM_EXIT_HLT);
}

static void test_walk_maps_as_the_manual_says(void **state)
{
	uint64_t *t = (uint64_t *)(fake.memory + 0x10000);
	uint32_t *t32 = (uint32_t *)(fake.memory + 0x18000);
	struct watch_object *object;
	struct watch_vm *vm;
	struct kvm_sregs s = { .cr0 = 0x80000001, .cr3 = 0x10018, .cr4 = 0x20, .efer = 0x500 };
	struct watch_walk at;

	(void)state;
	fake_start(&step);
	object = watch_object_get(FAKE_VM);
	vm = (struct watch_vm *)object;
	/* 4 levels: a 4 KiB, a 2 MiB and a 1 GiB page */
	t[511] = 0x11063;
	t[512 + 3] = 0x8000000040000083 | 0x1000; /* PAT is bit 12 of a large page */
	t[512 + 4] = 0x12003;
	t[1024 + 5] = 0x00600083;
	t[1024 + 6] = 0x13003;
	t[1536 + 7] = 0x8000000000009003;
	assert_int_equal(watch_walk(vm, &s, 0xffffff80c1234567, &at), 0);
	assert_int_equal(at.gpa, 0x41234567);
	assert_true(at.large);
	assert_int_equal(watch_walk(vm, &s, 0xffffff8100a12345, &at), 0);
	assert_int_equal(at.gpa, 0x612345);
	assert_int_equal(watch_walk(vm, &s, 0xffffff8100c07abc, &at), 0);
	assert_int_equal(at.gpa, 0x9abc);
	assert_false(at.large);
	assert_int_equal(watch_walk(vm, &s, 0xffffff8100c08abc, &at), -ENOENT);
	assert_int_equal(watch_walk(vm, &s, 0x1000, &at), -ENOENT);
	/* 5 levels */
	s.cr4 |= 1 << 12;
	s.cr3 = 0x17000;
	t[0x7 * 512 + 2] = 0x10003;
	assert_int_equal(watch_walk(vm, &s, 0x2ff8100c07abc, &at), 0);
	assert_int_equal(at.gpa, 0x9abc);
	/* PAE: four directory pointers at a 32-byte boundary, whose bit 7 means nothing here */
	s = (struct kvm_sregs){ .cr0 = 0x80000001, .cr3 = 0x14020, .cr4 = 0x20 };
	t[0x4 * 512 + 4 + 3] = 0x12001;
	assert_int_equal(watch_walk(vm, &s, 0xc0c07abc, &at), 0);
	assert_int_equal(at.gpa, 0x9abc);
	assert_int_equal(watch_walk(vm, &s, 0xc0a12345, &at), 0);
	assert_int_equal(at.gpa, 0x612345);
	/* 32 bits: 4 KiB, 4 MiB with PSE-36, and without CR4.PSE bit 7 is no size */
	s = (struct kvm_sregs){ .cr0 = 0x80000001, .cr3 = 0x18000, .cr4 = 0x10 };
	t32[1] = 0x19003;
	t32[1024 + 2] = 0xa003;
	t32[3] = 0x00c02083; /* bit 13 is bit 32 of the address */
	assert_int_equal(watch_walk(vm, &s, 0x402def, &at), 0);
	assert_int_equal(at.gpa, 0xadef);
	assert_int_equal(watch_walk(vm, &s, 0xc12345, &at), 0);
	assert_int_equal(at.gpa, 0x100c12345);
	s.cr4 = 0;
	assert_int_equal(watch_walk(vm, &s, 0xc12345, &at), -ENOENT);
	/* no paging */
	s.cr0 = 1;
	assert_int_equal(watch_walk(vm, &s, 0x12345, &at), 0);
	assert_int_equal(at.gpa, 0x12345);
	watch_object_put(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(test_step_aligned_lock_is_told_when_executed),
		FAKE_TEST(test_step_registers_from_kvm_run_are_used),
		FAKE_TEST(test_step_lock_that_faults_is_not_told),
		FAKE_TEST(test_step_mmio_is_no_lock_of_the_processors),
		FAKE_TEST(test_step_interrupted_entry_has_executed_nothing),
		FAKE_TEST(test_step_xchg_locks_without_a_prefix),
		FAKE_TEST(test_step_beyond_the_segment_is_no_lock),
		FAKE_TEST(test_step_uncached_memory_is_a_bus_lock_where_the_guest_decides),
		FAKE_TEST(test_step_split_lock_is_not_run),
		FAKE_TEST(test_step_so_many_split_locks_may_run),
		FAKE_TEST(test_step_split_locks_of_several_vcpus_are_spread_out_together),
		FAKE_TEST(test_step_pushed_flags_show_no_tf),
		FAKE_TEST(test_step_event_behind_a_lock_leaves_both_told),
		FAKE_TEST(test_step_event_in_front_of_a_lock_leaves_it_undone),
		FAKE_TEST(test_step_first_instruction_of_a_handler_is_seen),
		FAKE_TEST(test_step_split_lock_that_starts_a_handler_is_said),
		FAKE_TEST(test_step_unknown_handler_is_said),
		FAKE_TEST(test_step_int_n_leaves_no_tf_behind),
		FAKE_TEST(test_step_iret_to_user_code_that_is_not_stepped_is_said),
		FAKE_TEST(test_step_syscall_is_caught_where_it_leads),
		FAKE_TEST(test_step_guest_that_steps_itself_is_said),
		FAKE_TEST(test_step_is_asked_for_again_where_it_may_be_lost),
		FAKE_TEST(test_step_lock_in_the_shadow_of_mov_ss_is_told),
		FAKE_TEST(test_step_split_lock_in_a_shadow_is_not_run),
		FAKE_TEST(test_step_lock_on_the_stack_behind_pop_ss_is_not_covered),
		FAKE_TEST(test_step_lock_on_the_stack_behind_pop_ss_in_real_mode_is_told),
		FAKE_TEST(test_step_hlt_runs_as_it_is_where_it_leaves),
		FAKE_TEST(test_step_hlt_in_the_kernel_is_stepped),
		FAKE_TEST(test_step_out_is_completed_before_the_next_is_looked_at),
		FAKE_TEST(test_step_user_code_that_is_not_stepped_is_said_once),
		FAKE_TEST(test_step_smm_is_not_decoded),
		FAKE_TEST(test_step_handlers_that_the_processor_enters_are_said),
		FAKE_TEST(test_step_starving_timer_is_said_once),
		FAKE_TEST(test_step_monitors_guest_debug_is_refused),
		FAKE_TEST(test_step_hold_interrupts_is_asked_of_the_kernel),
		FAKE_TEST(test_step_registers_that_the_monitor_left_are_loaded),
		FAKE_TEST(test_step_code_across_two_pages_is_read),
		FAKE_TEST(test_step_remapped_code_is_found_behind_invlpg),
		FAKE_TEST(test_step_slot_that_moves_is_followed),
		FAKE_TEST(test_step_slots_of_smm_are_not_these),
		FAKE_TEST(test_step_leaves_no_debug_exit_behind),
		FAKE_TEST(test_walk_maps_as_the_manual_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
