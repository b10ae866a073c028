/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What else can happen in an instruction that takes a bus lock: which exit results, with which bits, what
 * stays pending, where RIP is, and what comes with the next entry. One row a case; real guest code, page
 * tables and descriptors in memory that is not write-back. The same rows are the table in
 * docs/exits.md: run with --markdown to print it.
 */
#include "tests/unit/exit_vm.h"

#include <errno.h>
#include <stdio.h>

#define BIT26    VMX_EXIT_BUS_LOCK_ASSERTED
#define BLD      (1u << 11)
#define ENABLED  (1u << 12)
#define BS       (1u << 14)
#define DR6_NONE 0xffff0ff0u
#define RF       (1u << 16)

/* Where RIP is. VMCALL ends the guest's code and each handler. */
enum place {
	NOWHERE,
	ON_IT,
	BEHIND,
	THE_END,
	NEW_TASK,
	NEW_TASK_END,
	HANDLER,
	HANDLER_END = 0x200
};

/* RFLAGS.RF at an exit (SDM 28.3.3): past the instruction, in front of one that executes again, as it was. */
enum rf { RF_CLEAR, RF_SET, RF_KEPT };

struct step {
	uint32_t word;
	unsigned place; /* HANDLER + vector too */
	uint64_t qualification;
};

struct row {
	const char *lock, *also; /* columns of the table */
	const char *code; /* `length` bytes: the instruction (what is in front of it counts) */
	unsigned length;
	enum mode mode;
	uint64_t rdi;
	void (*prepare)(void);
	struct step exit;
	uint64_t pending;
	uint32_t interruption, vectoring;
	unsigned locks;        /* taken until the exit */
	uint8_t shadow;        /* EMU_SHADOW_, at the exit */
	enum rf rf;            /* at the exit */
	int result;            /* of the run */
	void (*resolve)(void); /* what the hypervisor does then */
	struct step then[4];   /* the following entries, up to a VMCALL */
	uint64_t dr6;          /* at the end; 0: as at reset */
};

/* ------------------------------------------------------------------ what rows prepare and resolve */

static void detection_off(void)
{
	emu_vcpu_set_bus_lock_exiting(vcpu, false);
}
static void want_window(void)
{
	emu_vcpu_request_interrupt_window(vcpu, true);
}
static void kick_meanwhile(void)
{
	kick_in_observer = true;
}
static void page_violates(void)
{
	intercept(EMU_PAGE_VIOLATION);
}
static void page_misconfigured(void)
{
	intercept(EMU_PAGE_MISCONFIG);
}
static void page_apic_access(void)
{
	intercept(EMU_PAGE_APIC_ACCESS);
}
static void page_apic_write(void)
{
	intercept(EMU_PAGE_APIC_WRITE);
}
static void page_repaired(void)
{
	intercept(EMU_PAGE_ORDINARY);
}
static void host_memory_gone(void)
{
	emu_vm_host_range_gone(vm, ram + BUFFER, 4096);
}
static void host_memory_back(void)
{
	emu_vm_host_range_back(vm, ram + BUFFER, 4096);
}
static void from_device(void)
{
	put(PT + 8 * (DEVICE >> 12), NO_SLOT | PTE_P | PTE_W | PTE_U | PTE_A | PTE_D, 8);
	EDIT_STATE(s.gpr[EMU_RSI] = DEVICE);
	set_msr(0x33, 1u << 28); /* a UC lock of the guest's own would fault */
}
static void want_pf(void)
{
	controls(1u << PF, false, false);
}
static void map_absent(void)
{
	put(PT_COLD + 8, BUFFER | PTE_P | PTE_W | PTE_U | PTE_A | PTE_D, 8);
}
static void sld(void)
{
	set_msr(0x33, 1u << 29);
}
static void sld_want_ac(void)
{
	sld();
	controls(1u << AC, false, false);
}
static void sld_off(void)
{
	set_msr(0x33, 0);
}
static void uc_disable(void)
{
	set_msr(0x33, 1u << 28);
}
static void single_step(void)
{
	EDIT_STATE(s.rflags |= 1 << 8);
}
static void single_step_want_db(void)
{
	single_step();
	controls(1u << DB, false, false);
}
static void no_more_steps(void)
{
	EDIT_STATE(s.rflags &= ~(1ull << 8));
}
static void watch_operand(void)
{
	EDIT_STATE(s.dr[0] = s.gpr[EMU_RDI]; s.dr[7] = 0x400 | 1 | 0xd << 16);
}
static void os_detection(void)
{
	set_msr(0x1d9, 4);
}
static void os_detection_alone(void)
{
	os_detection();
	detection_off();
}
static void all_traps(void)
{
	os_detection();
	watch_operand();
	single_step();
}
static void debugger_steps(void)
{
	const struct emu_debug debug = { .single_step = true };
	emu_vcpu_set_debug(vcpu, &debug);
}
static void debugger_watches(void)
{
	struct emu_debug debug = { .hardware_breakpoints = true };
	debug.dr[0] = SPLIT;
	debug.dr[7] = 0x400 | 1 | 0xd << 16;
	emu_vcpu_set_debug(vcpu, &debug);
}
static void gdt_uc(void)
{
	declare_uc(GDT);
}
static void mov_ss(void)
{
	gdt_uc();
	EDIT_STATE(s.gpr[EMU_RAX] = DATA0_FRESH);
}
static void ltr(void)
{
	gdt_uc();
	EDIT_STATE(s.gpr[EMU_RAX] = TSS64);
}
static void gdt_cold_task_switch(void)
{
	EDIT_STATE(s.gdt.base = COLD_GDT32);
	controls(0, false, true);
}
static void resume_after_switch(void)
{
	controls(0, false, false);
}
static void no_idt(void)
{
	EDIT_STATE(s.idt.limit = 0);
}
static void monitor_trap(void)
{
	controls(0, true, false);
}
static void monitor_trap_alone(void)
{
	monitor_trap();
	detection_off();
}
static void monitor_trap_off(void)
{
	controls(0, false, false);
}
static void fresh_gates(void)
{
	gdt_uc();
	set_gates(CODE0_FRESH);
}
static void interrupt(void)
{
	fresh_gates();
	EDIT_STATE(s.rflags |= 1 << 9);
	assert_int_equal(emu_vcpu_inject_interrupt(vcpu, 0x40), 0);
}
/* The handler's descriptor is locked, then the frame goes to a page that exits. */
static void stack_violates(void)
{
	fresh_gates();
	EDIT_STATE(s.gpr[EMU_RSP] = TARGET + 0x800; s.rflags |= 1 << 9);
	page_violates();
	assert_int_equal(emu_vcpu_inject_interrupt(vcpu, 0x40), 0);
}
static void inject_again(void)
{
	page_repaired();
	assert_int_equal(emu_vcpu_inject_interrupt(vcpu, 0x40), 0);
}
static void stack_absent(void)
{
	fresh_gates();
	EDIT_STATE(s.gpr[EMU_RSP] = COLD_ABSENT + 0x800);
	want_pf();
}
static void stack_mapped(void)
{
	map_absent();
}
static void at_cold_code(void)
{
	EDIT_STATE(s.rip = COLD_CODE);
}
static void bad_entry(void)
{
	struct emu_events events;
	emu_vcpu_get_events(vcpu, &events);
	events.pending_debug = 1u << 4; /* reserved */
	emu_vcpu_set_events(vcpu, &events);
}
static void good_entry(void)
{
	struct emu_events events;
	emu_vcpu_get_events(vcpu, &events);
	events.pending_debug = 0;
	emu_vcpu_set_events(vcpu, &events);
}

/* ------------------------------------------------------------------ the table */

#define INSN(bytes) .code = (bytes), .length = sizeof(bytes) - 1
#define LOCK_ADD    INSN("\xf0\x01\x07") /* lock add [rdi],eax */
#define LOAD        INSN("\x8b\x07")     /* mov eax,[rdi] */
#define STORE       INSN("\x89\x07")     /* mov [rdi],eax */
#define TASK_JUMP   INSN("\xea\x00\x00\x00\x00\x58\x00")
#define LOCK_EXIT                               \
	{                                       \
		VMX_BUS_LOCK | BIT26, BEHIND, 0 \
	}
#define NOTHING                                \
	{                                      \
		{                              \
			VMX_VMCALL, THE_END, 0 \
		}                              \
	}
#define HANDLED(n)                               \
	{                                        \
		VMX_VMCALL, HANDLER_END + (n), 0 \
	}

static const char split[] = "split operand", a_bit[] = "accessed bit of a page table in UC memory",
		  descriptor[] = "accessed bit of a descriptor in UC memory",
		  delivery[] = "accessed bit of the handler's descriptor";

static const struct row rows[] = {
	{ split, "—", LOCK_ADD, .rdi = SPLIT, .exit = LOCK_EXIT, .locks = 1, .then = NOTHING },
	{ "operand in UC memory", "—", LOCK_ADD, .rdi = UC_BUFFER, .exit = LOCK_EXIT, .locks = 1,
	  .then = NOTHING },
	{ split, "detection off", LOCK_ADD, .rdi = SPLIT, .prepare = detection_off,
	  .exit = { VMX_VMCALL, THE_END, 0 }, .locks = 1 },
	{ a_bit, "a load", LOAD, .rdi = COLD, .exit = LOCK_EXIT, .locks = 1, .then = NOTHING },
	{ "accessed and dirty bit, and the operand", "one exit for all", LOCK_ADD, .rdi = COLD + 62,
	  .exit = LOCK_EXIT, .locks = 2, .then = NOTHING },
	{ descriptor, "MOV SS: its shadow begins, and with it no interrupt", INSN("\x8e\xd0"),
	  .prepare = mov_ss, .exit = LOCK_EXIT, .locks = 1, .shadow = EMU_SHADOW_MOV_SS,
	  .then = NOTHING },
	{ "busy bit of a TSS descriptor in UC memory", "LTR", INSN("\x0f\x00\xd8"), .prepare = ltr,
	  .exit = LOCK_EXIT, .locks = 1, .then = NOTHING },

	{ split, "behind STI, interrupt window wanted", INSN("\xfb\xf0\x01\x07"), .rdi = SPLIT,
	  .prepare = want_window, .exit = LOCK_EXIT, .locks = 1,
	  .then = { { VMX_INTERRUPT_WINDOW, BEHIND, 0 } } },
	{ split, "a kick, or a signal, meanwhile", LOCK_ADD, .rdi = SPLIT,
	  .prepare = kick_meanwhile, .exit = LOCK_EXIT, .locks = 1,
	  .then = { { VMX_EXTERNAL_INTERRUPT, BEHIND, 0 }, { VMX_VMCALL, THE_END, 0 } } },

	{ a_bit, "a kick, before the load is made", LOAD, .rdi = COLD, .prepare = kick_meanwhile,
	  .exit = LOCK_EXIT, .locks = 1,
	  .then = { { VMX_EXTERNAL_INTERRUPT, BEHIND, 0 }, { VMX_VMCALL, THE_END, 0 } } },

	{ a_bit, "EPT violation", LOAD, .rdi = COLD_TARGET + 8, .prepare = page_violates,
	  .rf = RF_SET, .exit = { VMX_EPT_VIOLATION | BIT26, ON_IT, 0x181 }, .locks = 1,
	  .resolve = page_repaired, .then = NOTHING },
	{ a_bit, "EPT violation of a locked operand", LOCK_ADD, .rdi = COLD_TARGET + 8,
	  .prepare = page_violates, .rf = RF_SET,
	  .exit = { VMX_EPT_VIOLATION | BIT26, ON_IT, 0x183 }, .locks = 1, .resolve = page_repaired,
	  .then = NOTHING },
	{ a_bit, "EPT misconfiguration", LOAD, .rdi = COLD_TARGET + 8,
	  .prepare = page_misconfigured, .rf = RF_SET,
	  .exit = { VMX_EPT_MISCONFIG | BIT26, ON_IT, 0 }, .locks = 1, .resolve = page_repaired,
	  .then = NOTHING },
	{ a_bit, "a device (memory without a slot)", LOAD, .rdi = COLD_DEVICE, .rf = RF_KEPT,
	  .exit = { VMX_EPT_MISCONFIG | BIT26, ON_IT, 0 }, .locks = 1, .then = NOTHING },
	{ a_bit, "host memory that is gone: the run ends in -EFAULT", LOAD, .rdi = COLD,
	  .prepare = host_memory_gone, .rf = RF_KEPT,
	  .exit = { VMX_EPT_VIOLATION | BIT26, ON_IT, 0 }, .locks = 1, .result = -EFAULT,
	  .resolve = host_memory_back, .then = NOTHING },
	{ a_bit, "the same of a locked operand", LOCK_ADD, .rdi = COLD, .prepare = host_memory_gone,
	  .rf = RF_KEPT, .exit = { VMX_EPT_VIOLATION | BIT26, ON_IT, 0 }, .locks = 1,
	  .result = -EFAULT, .resolve = host_memory_back, .then = NOTHING },
	{ "none: the hypervisor emulates",
	  "MOVS from a device to a page whose accessed bit is clear", INSN("\xa5"), .rdi = COLD,
	  .prepare = from_device, .rf = RF_KEPT, .exit = { VMX_EPT_MISCONFIG, ON_IT, 0 },
	  .then = NOTHING },
	{ a_bit, "APIC access, a read", LOAD, .rdi = COLD_TARGET + 0x80,
	  .prepare = page_apic_access, .rf = RF_SET,
	  .exit = { VMX_APIC_ACCESS | BIT26, ON_IT, 0x0080 }, .locks = 1, .resolve = page_repaired,
	  .then = NOTHING },
	{ a_bit, "APIC access, a write", STORE, .rdi = COLD_TARGET + 0x80,
	  .prepare = page_apic_access, .rf = RF_SET,
	  .exit = { VMX_APIC_ACCESS | BIT26, ON_IT, 0x1080 }, .locks = 1, .resolve = page_repaired,
	  .then = NOTHING },
	{ a_bit, "APIC write", STORE, .rdi = COLD_TARGET + 0x80, .prepare = page_apic_write,
	  .exit = { VMX_APIC_WRITE | BIT26, BEHIND, 0x80 }, .locks = 1, .then = NOTHING },

	{ a_bit, "#PF on its second page, intercepted", LOAD, .rdi = COLD_ABSENT - 2,
	  .prepare = want_pf, .rf = RF_SET,
	  .exit = { VMX_EXCEPTION_NMI | BIT26, ON_IT, COLD_ABSENT }, .interruption = 0x80000b0e,
	  .locks = 1, .resolve = map_absent, .then = NOTHING },
	{ a_bit, "#PF on its second page, delivered", LOAD, .rdi = COLD_ABSENT - 2,
	  .exit = { VMX_BUS_LOCK | BIT26, HANDLER + PF, 0 }, .locks = 1, .then = { HANDLED(PF) } },
	{ a_bit, "#PF, then nothing to deliver it through: triple fault", LOAD,
	  .rdi = COLD_ABSENT - 2, .prepare = no_idt, .rf = RF_KEPT,
	  .exit = { VMX_TRIPLE_FAULT | BIT26, ON_IT, 0 }, .locks = 1 },
	{ "none: split-lock disable", "#AC(0), delivered", LOCK_ADD, .rdi = SPLIT, .prepare = sld,
	  .exit = { VMX_VMCALL, HANDLER_END + AC, 0 } },
	{ "none: split-lock disable", "#AC(0), intercepted", LOCK_ADD, .rdi = SPLIT,
	  .prepare = sld_want_ac, .rf = RF_SET, .exit = { VMX_EXCEPTION_NMI, ON_IT, 0 },
	  .interruption = 0x80000b11, .resolve = sld_off,
	  .then = { LOCK_EXIT, { VMX_VMCALL, THE_END, 0 } } },
	{ a_bit, "split-lock disable: #AC(0), intercepted", LOCK_ADD, .rdi = COLD + 62,
	  .prepare = sld_want_ac, .rf = RF_SET, .exit = { VMX_EXCEPTION_NMI | BIT26, ON_IT, 0 },
	  .interruption = 0x80000b11, .locks = 1, .resolve = sld_off,
	  .then = { LOCK_EXIT, { VMX_VMCALL, THE_END, 0 } } },
	{ "none: UC-lock disable", "#GP(0), delivered", LOCK_ADD, .rdi = UC_BUFFER,
	  .prepare = uc_disable, .exit = { VMX_VMCALL, HANDLER_END + GP, 0 } },

	{ split, "single step", LOCK_ADD, .rdi = SPLIT, .prepare = single_step, .exit = LOCK_EXIT,
	  .pending = BS, .locks = 1, .then = { HANDLED(DB) }, .dr6 = DR6_NONE | BS },
	{ a_bit, "a load, single step", LOAD, .rdi = COLD, .prepare = single_step,
	  .exit = LOCK_EXIT, .pending = BS, .locks = 1, .then = { HANDLED(DB) },
	  .dr6 = DR6_NONE | BS },
	{ a_bit, "a load, the monitor single-steps", LOAD, .rdi = COLD, .prepare = debugger_steps,
	  .exit = LOCK_EXIT, .pending = BS, .locks = 1,
	  .then = { { VMX_EXCEPTION_NMI, BEHIND, BS }, { VMX_VMCALL, THE_END, 0 } } },
	{ split, "single step, #DB intercepted", LOCK_ADD, .rdi = SPLIT,
	  .prepare = single_step_want_db, .exit = LOCK_EXIT, .pending = BS, .locks = 1,
	  .resolve = no_more_steps,
	  .then = { { VMX_EXCEPTION_NMI, BEHIND, BS }, { VMX_VMCALL, THE_END, 0 } } },
	{ split, "data breakpoint on the operand", LOCK_ADD, .rdi = SPLIT, .prepare = watch_operand,
	  .exit = LOCK_EXIT, .pending = ENABLED | 1, .locks = 1, .then = { HANDLED(DB) },
	  .dr6 = DR6_NONE | 1 },
	{ split, "OS bus-lock detection, CPL 3", LOCK_ADD, .mode = CPL3, .rdi = SPLIT,
	  .prepare = os_detection, .exit = LOCK_EXIT, .pending = ENABLED | BLD, .locks = 1,
	  .then = { HANDLED(DB) }, .dr6 = DR6_NONE & ~BLD },
	{ split, "OS bus-lock detection, CPL 0", LOCK_ADD, .rdi = SPLIT, .prepare = os_detection,
	  .exit = LOCK_EXIT, .locks = 1, .then = NOTHING },
	{ split, "OS bus-lock detection, CPL 3; VMM detection off", LOCK_ADD, .mode = CPL3,
	  .rdi = SPLIT, .prepare = os_detection_alone, .exit = HANDLED(DB), .locks = 1,
	  .dr6 = DR6_NONE & ~BLD },
	{ split, "OS detection, data breakpoint, single step: one #DB", LOCK_ADD, .mode = CPL3,
	  .rdi = SPLIT, .prepare = all_traps, .exit = LOCK_EXIT, .pending = ENABLED | BLD | BS | 1,
	  .locks = 1, .then = { HANDLED(DB) }, .dr6 = (DR6_NONE & ~BLD) | BS | 1 },
	{ split, "the monitor single-steps", LOCK_ADD, .rdi = SPLIT, .prepare = debugger_steps,
	  .exit = LOCK_EXIT, .pending = BS, .locks = 1,
	  .then = { { VMX_EXCEPTION_NMI, BEHIND, BS }, { VMX_VMCALL, THE_END, 0 } } },
	{ split, "the monitor's data breakpoint", LOCK_ADD, .rdi = SPLIT,
	  .prepare = debugger_watches, .exit = LOCK_EXIT, .pending = ENABLED | 1, .locks = 1,
	  .then = { { VMX_EXCEPTION_NMI, BEHIND, 1 }, { VMX_VMCALL, THE_END, 0 } } },
	{ split, "monitor trap flag", LOCK_ADD, .rdi = SPLIT, .prepare = monitor_trap,
	  .exit = LOCK_EXIT, .locks = 1, .resolve = monitor_trap_off, .then = NOTHING },
	{ split, "monitor trap flag, detection off", LOCK_ADD, .rdi = SPLIT,
	  .prepare = monitor_trap_alone, .exit = { VMX_MTF, BEHIND, 0 }, .locks = 1,
	  .resolve = monitor_trap_off, .then = NOTHING },

	{ "accessed bit of the GDT's page", "task switch, intercepted", TASK_JUMP, .mode = MODE_32,
	  .prepare = gdt_cold_task_switch,
	  .exit = { VMX_TASK_SWITCH | BIT26, ON_IT, 2u << 30 | TSS32_NEW }, .locks = 1,
	  .resolve = resume_after_switch, .then = { { VMX_VMCALL, NEW_TASK_END, 0 } } },
	{ "busy bit of the new TSS", "task switch, carried out", TASK_JUMP, .mode = MODE_32,
	  .prepare = gdt_uc, .exit = { VMX_BUS_LOCK | BIT26, NEW_TASK, 0 }, .locks = 1,
	  .then = { { VMX_VMCALL, NEW_TASK_END, 0 } } },

	{ delivery, "external interrupt delivered", LOCK_ADD, .rdi = BUFFER, .prepare = interrupt,
	  .exit = { VMX_BUS_LOCK | BIT26, HANDLER + 0x40, 0 }, .locks = 1,
	  .then = { HANDLED(0x40) } },
	{ delivery, "the same, `delivery_lock` vectoring", LOCK_ADD, .rdi = BUFFER,
	  .prepare = interrupt, .exit = { VMX_BUS_LOCK | BIT26, HANDLER + 0x40, 0 },
	  .vectoring = 0x80000040, .locks = 1, .then = { HANDLED(0x40) } },
	{ delivery, "INT n delivered", INSN("\xcd\x40"), .prepare = fresh_gates,
	  .exit = { VMX_BUS_LOCK | BIT26, HANDLER + 0x40, 0 }, .locks = 1,
	  .then = { HANDLED(0x40) } },
	{ delivery, "the same, `delivery_lock` vectoring", INSN("\xcd\x40"), .prepare = fresh_gates,
	  .exit = { VMX_BUS_LOCK | BIT26, HANDLER + 0x40, 0 }, .vectoring = 0x80000440, .locks = 1,
	  .then = { HANDLED(0x40) } },
	{ delivery, "#UD delivered", INSN("\x0f\x0b"), .prepare = fresh_gates,
	  .exit = { VMX_BUS_LOCK | BIT26, HANDLER + UD, 0 }, .locks = 1, .then = { HANDLED(UD) } },
	{ delivery, "interrupt, its frame meets an EPT violation", LOCK_ADD, .rdi = BUFFER,
	  .prepare = stack_violates, .rf = RF_KEPT,
	  .exit = { VMX_EPT_VIOLATION | BIT26, ON_IT, 0x182 }, .vectoring = 0x80000040, .locks = 1,
	  .resolve = inject_again, .then = { HANDLED(0x40) } },
	{ delivery, "#UD, its frame meets a #PF, intercepted", INSN("\x0f\x0b"),
	  .prepare = stack_absent, .rf = RF_SET,
	  .exit = { VMX_EXCEPTION_NMI | BIT26, ON_IT, COLD_ABSENT + 0x7d8 },
	  .interruption = 0x80000b0e, .vectoring = 0x80000306, .locks = 1, .resolve = stack_mapped,
	  .then = { HANDLED(UD) } },

	{ "accessed bit of the code's page", "HLT", INSN("\xf4"), .prepare = at_cold_code,
	  .exit = { VMX_HLT | BIT26, BEHIND, 0 }, .locks = 1, .then = NOTHING },
	{ "accessed bit of the code's page", "OUT", INSN("\xe6\x80"), .prepare = at_cold_code,
	  .exit = { VMX_IO | BIT26, ON_IT, 0x800040 }, .locks = 1, .then = NOTHING },
	{ "none: before the first instruction", "VM entry fails", LOCK_ADD, .rdi = SPLIT,
	  .prepare = bad_entry, .rf = RF_KEPT,
	  .exit = { VMX_INVALID_STATE | VMX_EXIT_ENTRY_FAILURE, ON_IT, 0 }, .resolve = good_entry,
	  .then = { LOCK_EXIT, { VMX_VMCALL, THE_END, 0 } } },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* ------------------------------------------------------------------ running a row */

static void start(const struct row *row, bool bare)
{
	bool vectoring = row->vectoring && (row->exit.word & 0xffff) == VMX_BUS_LOCK;
	const struct emu_config config = { .bare_reason_74 = bare,
					   .delivery_lock = vectoring ? EMU_DELIVERY_LOCK_VECTORING
								      : EMU_DELIVERY_LOCK_AFTER };
	machine_start(&config, row->mode, row->code, row->length, row->rdi);
	if (row->prepare)
		row->prepare();
}

static uint64_t place_rip(const struct row *row, uint64_t base, unsigned place)
{
	enum { VMCALL_LENGTH = 3 };
	switch (place) {
	case ON_IT:
		return base;
	case BEHIND:
		return base + row->length;
	case THE_END:
		return base + row->length + VMCALL_LENGTH;
	case NEW_TASK:
		return TASK;
	case NEW_TASK_END:
		return TASK + VMCALL_LENGTH;
	default:
		return place >= HANDLER_END ? HANDLERS + 16 * (place - HANDLER_END) + VMCALL_LENGTH
					    : HANDLERS + 16 * (place - HANDLER);
	}
}

static unsigned failures;

static void expect(const struct row *row, const char *what, uint64_t got, uint64_t wanted)
{
	if (got == wanted)
		return;
	print_error("%s; %s: %s is %#llx, not %#llx\n", row->lock, row->also, what,
		    (unsigned long long)got, (unsigned long long)wanted);
	failures++;
}

static struct emu_exit run_to(const struct row *row, uint64_t base, const struct step *wanted,
			      int result)
{
	struct emu_state s;
	struct emu_exit x;
	assert_int_equal(emu_vcpu_run(vcpu, 0, &x), result);
	emu_vcpu_get_state(vcpu, &s);
	expect(row, "exit word", x.word, wanted->word);
	expect(row, "RIP", s.rip, place_rip(row, base, wanted->place));
	expect(row, "qualification", x.qualification, wanted->qualification);
	expect(row, "bus_lock", x.bus_lock, !!(wanted->word & BIT26));
	return x;
}

static void run_row(const struct row *row, bool resumed)
{
	struct emu_events events;
	struct emu_state s;
	start(row, false);
	if (resumed)
		EDIT_STATE(s.rflags |= RF);
	emu_vcpu_get_state(vcpu, &s);
	uint64_t base = s.rip;
	struct emu_exit x = run_to(row, base, &row->exit, row->result);
	emu_vcpu_get_state(vcpu, &s);
	expect(row, resumed ? "RF after RF" : "RF", !!(s.rflags & RF),
	       row->rf == RF_KEPT ? resumed : row->rf == RF_SET);
	emu_vcpu_get_events(vcpu, &events);
	expect(row, "pending debug exceptions", events.pending_debug, row->pending);
	expect(row, "interrupt shadow", events.interrupt.shadow, row->shadow);
	expect(row, "interruption information", x.interruption, row->interruption);
	expect(row, "IDT-vectoring information", x.idt_vectoring, row->vectoring);
	expect(row, "number of locks", locks, row->locks);
	/* what a monitor does that saves and restores everything between two entries */
	emu_vcpu_set_events(vcpu, &events);
	if (row->resolve)
		row->resolve();
	for (unsigned n = 0; n < 4 && row->then[n].place; n++)
		run_to(row, base, &row->then[n], 0);
	emu_vcpu_get_state(vcpu, &s);
	expect(row, "DR6", s.dr[6], row->dr6 ? row->dr6 : DR6_NONE);
	machine_stop();
}

static void test_exit_matrix_each_row_exits_as_it_says(void **state)
{
	(void)state;
	for (size_t n = 0; n < ROWS; n++) {
		run_row(&rows[n], false);
		/* as an IRET from a handler of #DB leaves it: for this one instruction (SDM 17.3.1.1) */
		run_row(&rows[n], true);
	}
	assert_int_equal(failures, 0);
}

/* Without bit 26 on reason 74 (Linux is prepared for both) nothing else changes. */
static void test_exit_matrix_bare_reason_74_lacks_the_bit_there_only(void **state)
{
	(void)state;
	for (size_t n = 0; n < ROWS; n++) {
		struct emu_exit x;
		uint32_t word = rows[n].exit.word;
		start(&rows[n], true);
		assert_int_equal(emu_vcpu_run(vcpu, 0, &x), rows[n].result);
		expect(&rows[n], "bare word", x.word, (word & 0xffff) == 74 ? 74 : word);
		expect(&rows[n], "bus_lock", x.bus_lock, !!(word & BIT26));
		machine_stop();
	}
	assert_int_equal(failures, 0);
}

/* A lock of the instruction, not of the delivery of its fault, has no event on its way. */
static void test_exit_matrix_vectoring_is_for_locks_of_delivery_only(void **state)
{
	const struct emu_config config = { .delivery_lock = EMU_DELIVERY_LOCK_VECTORING };
	struct emu_exit x;
	(void)state;
	machine_start(&config, CPL0, "\x8b\x07", 2, COLD_ABSENT - 2);
	assert_int_equal(emu_vcpu_run(vcpu, 0, &x), 0);
	assert_int_equal(x.word, VMX_BUS_LOCK | BIT26); /* in front of the handler of the #PF */
	assert_int_equal(x.idt_vectoring, 0);
	machine_stop();
}

/* With detection off no exit of any row says bus lock, and the same locks are taken. */
static void test_exit_matrix_detection_off_says_nothing(void **state)
{
	(void)state;
	for (size_t n = 0; n < ROWS; n++) {
		struct emu_exit x;
		start(&rows[n], false);
		detection_off();
		assert_int_equal(emu_vcpu_run(vcpu, 0, &x), rows[n].result);
		assert_false(x.bus_lock);
		assert_int_not_equal(x.word & 0xffff, 74);
		assert_false(x.word & BIT26);
		assert_true(locks >= rows[n].locks);
		machine_stop();
	}
}

/* ------------------------------------------------------------------ the document */

static const char *exception_name(unsigned vector)
{
	static const struct {
		unsigned vector;
		const char *name;
	} names[] = { { DB, "#DB" }, { UD, "#UD" }, { GP, "#GP" }, { PF, "#PF" }, { AC, "#AC" } };
	for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++)
		if (names[n].vector == vector)
			return names[n].name;
	return "the interrupt";
}

static void print_place(FILE *out, unsigned place)
{
	static const char *const names[] = { [ON_IT] = "on it",
					     [BEHIND] = "behind",
					     [THE_END] = "behind",
					     [NEW_TASK] = "new task",
					     [NEW_TASK_END] = "new task" };
	if (place < HANDLER)
		fprintf(out, "%s", names[place]);
	else
		fprintf(out, "%s's handler",
			exception_name(place >= HANDLER_END ? place - HANDLER_END
							    : place - HANDLER));
}

static void print_pending(FILE *out, uint64_t pending)
{
	fprintf(out, "%s%s%s%s%s", pending ? "" : "—", pending & 1 ? "B0 " : "",
		pending & BLD ? "BLD " : "", pending & BS ? "BS " : "",
		pending & ENABLED ? "(enabled)" : "");
}

static void print_exit(FILE *out, const struct row *row)
{
	char text[80];
	emu_exit_word_text(row->exit.word, text, sizeof(text));
	if (row->exit.word == VMX_VMCALL) {
		fprintf(out, "none | —");
		return;
	}
	fprintf(out, "`%#x` %s", row->exit.word, text);
	if (row->exit.qualification)
		fprintf(out, ", qualification `%#llx`",
			(unsigned long long)row->exit.qualification);
	if (row->interruption)
		fprintf(out, ", interruption `%#x`", row->interruption);
	if (row->vectoring)
		fprintf(out, ", IDT-vectoring `%#x`", row->vectoring);
	fprintf(out, " | ");
	print_place(out, row->exit.place);
}

static void print_then(FILE *out, const struct row *row)
{
	const struct step *step = row->exit.word == VMX_VMCALL ? &row->exit : row->then;
	char text[80];
	for (unsigned n = 0; n < 4 && step[n].place; n++) {
		emu_exit_word_text(step[n].word, text, sizeof(text));
		fprintf(out, "%s", n ? ", then " : "");
		if (step[n].word != VMX_VMCALL) {
			fprintf(out, "%s", text);
		} else if (step[n].place == THE_END) {
			fprintf(out, "goes on");
		} else {
			print_place(out, step[n].place);
		}
		if (step == &row->exit)
			break;
	}
}

static void print_table(FILE *out)
{
	fprintf(out, "| Bus lock | What else | Exit | RIP | Stays pending | Next entry |\n"
		     "|---|---|---|---|---|---|\n");
	for (size_t n = 0; n < ROWS; n++) {
		fprintf(out, "| %s | %s | ", rows[n].lock, rows[n].also);
		print_exit(out, &rows[n]);
		fprintf(out, " | ");
		print_pending(out, rows[n].pending);
		fprintf(out, " | ");
		print_then(out, &rows[n]);
		fprintf(out, " |\n");
	}
}

static void print_bits(FILE *out)
{
	fprintf(out,
		"| Bit | Meaning | Here |\n|---|---|---|\n| 15:0 | basic reason | SDM app. C |\n"
		"| 24:16 | reserved | 0 |\n");
	for (unsigned bit = 25; bit < 32; bit++) {
		const char *never, *name = emu_exit_word_bit(bit, &never);
		if (!name)
			fprintf(out, "| %u | reserved | 0 |\n", bit);
		else
			fprintf(out, "| %u | %s | %s%s |\n", bit, name, never ? "0: " : "set",
				never ? never : "");
	}
}

#define DOCUMENT BUSLOCK_SOURCE_DIR "/docs/exits.md"

static void print_generated(FILE *out)
{
	fprintf(out, "<!-- generated: test_exit_matrix --markdown -->\n");
	print_bits(out);
	fprintf(out, "\n");
	print_table(out);
	fprintf(out, "<!-- end of generated -->\n");
}

static void test_exit_matrix_document_holds_the_same_table(void **state)
{
	char *generated = NULL, *document = NULL;
	size_t size = 0, room = 0;
	(void)state;
	FILE *out = open_memstream(&generated, &size), *in = fopen(DOCUMENT, "r");
	assert_non_null(out);
	if (!in)
		fail_msg("%s is not there", DOCUMENT);
	print_generated(out);
	fclose(out);
	assert_true(getdelim(&document, &room, '\0', in) > 0);
	fclose(in);
	if (!strstr(document, generated))
		fail_msg("%s is out of date: put the output of\n  test_exit_matrix --markdown\n"
			 "between its marks",
			 DOCUMENT);
	free(generated);
	free(document);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--markdown")) {
		print_generated(stdout);
		return 0;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_matrix_each_row_exits_as_it_says),
		cmocka_unit_test(test_exit_matrix_bare_reason_74_lacks_the_bit_there_only),
		cmocka_unit_test(test_exit_matrix_vectoring_is_for_locks_of_delivery_only),
		cmocka_unit_test(test_exit_matrix_detection_off_says_nothing),
		cmocka_unit_test(test_exit_matrix_document_holds_the_same_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
