/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The processor: an x86 virtual machine monitor's view of a CPU that reports bus locks. Load state,
 * run, get the VM exit that silicon would give.
 *
 * Threads: a VM may be used by any number of threads; one vCPU by one thread at a time, except
 * emu_vcpu_kick(), which any thread and any signal handler may call. Memory slots may change while
 * other threads run vCPUs.
 *
 * Errors: every int function returns 0 (or a documented count) or -errno. Nothing here prints,
 * exits or aborts.
 *
 * Sources are named as "SDM 30.2" (Intel SDM vol. 3, chapter.section) and "APM 15.14.5" (AMD vol. 2).
 */
#ifndef BUSLOCK_EMU_H
#define BUSLOCK_EMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct emu_vm;
struct emu_vcpu;

enum emu_vendor { EMU_INTEL, EMU_AMD };

#define EMU_MAX_VCPUS 512

/*
 * Who decides the type of memory (memtype.h has the tables). Those with EPT are Intel's, what KVM's
 * vmx_get_mt_mask() makes of RAM; NPT is AMD's; NATIVE is for both.
 */
enum emu_memory_policy {
	/* EPT: WB, and the guest's PAT ignored. KVM on Intel by default. On AMD this is the default,
	 * too, and means EMU_MEMORY_NPT. */
	EMU_MEMORY_WB_IGNORE_PAT,
	EMU_MEMORY_WB,         /* EPT: WB; the guest's PAT counts */
	EMU_MEMORY_GUEST_MTRR, /* EPT: the guest's MTRR type, its PAT counts; see `cd_is_uc` */
	EMU_MEMORY_NATIVE,     /* no second level: the guest's MTRRs, PAT and CR0.CD, as on metal */
	EMU_MEMORY_NPT, /* AMD nested paging: guest PAT, host PAT and MTRR WB (APM 15.25.8) */
	EMU_MEMORY_GUEST_MTRR_PAT, /* as EMU_MEMORY_GUEST_MTRR, but where CR0.CD gives WB the
				    * guest's PAT counts (Linux 6.7 to 6.10) */
};

/* A bus lock while an event is being delivered: the SDM does not say what the exit looks like. */
enum emu_delivery_lock {
	EMU_DELIVERY_LOCK_AFTER,     /* reason 74 in front of the handler's first instruction */
	EMU_DELIVERY_LOCK_VECTORING, /* the same, with valid IDT-vectoring information */
};

struct emu_config {
	enum emu_vendor vendor;
	bool mmio_all; /* execute every instruction on MMIO, not only what Linux's emulator knows */
	bool count;    /* count guest instructions (costs a hook per translated block) */
	unsigned physical_address_bits; /* 0: 40. Page-table bits above are reserved (32 to 52) */

	enum emu_memory_policy memory_policy;
	/* EMU_MEMORY_GUEST_MTRR with CR0.CD: UC and the PAT ignored (KVM without the quirk
	 * CD_NW_CLEARED), else WB. EMU_MEMORY_NPT: the guest's CR0.CD reaches the hardware. */
	bool cd_is_uc;
	/* Exit reason 74 comes without bit 26. The SDM says that it comes with it (27.9.1, app. C),
	 * Linux is prepared for both. */
	bool bare_reason_74;
	enum emu_delivery_lock delivery_lock;
	/*
	 * A #DB for another reason sets DR6[11] back to 1. SDM 20.3.1.6 has the bit unmodified then, but
	 * Intel parts were seen to set it, and Linux did where it delivers the #DB (until 7.3.2).
	 */
	bool debug_resets_bus_lock;
	/* A hypervisor that does not virtualize them: MSRs CFh and 33h, and DEBUGCTL bit 2, are not there
	 * whatever the vCPU's CPUID shows. */
	bool no_core_capabilities, no_bus_lock_debug;
	/* What no processor does: a bus-locking instruction that is left out, or done twice. For tests of
	 * tests. */
	enum emu_lock_fault { EMU_LOCK_RIGHT, EMU_LOCK_SKIPPED, EMU_LOCK_REPEATED } lock_fault;
	/* AMD: a locked access that crosses a naturally aligned block of so many bytes counts as
	 * misaligned (APM 7.3.3: at most the line). 0: 64; or 8, 16, 32. -EINVAL for others. */
	unsigned lock_boundary;
	/* The lock observer is told of every locked access of an instruction, with cause
	 * EMU_LOCK_NONE of what is no bus lock. */
	bool observe_locked;
};

/* ------------------------------------------------------------------ the VM and its memory */

/*
 * `config` may be NULL (Intel defaults); it is copied. -ENOMEM; -EINVAL for a value that is none, or
 * not of this vendor; -ENOTSUP when the engine's self-check fails (emu_engine_check() tells why).
 */
int emu_vm_create(const struct emu_config *config, struct emu_vm **vm);
/* All vCPUs must have been destroyed. */
void emu_vm_destroy(struct emu_vm *vm);

/*
 * Checks the engine: version, state layout, both link-time seams, a stop from outside. 0 or
 * -ENOTSUP with a sentence in `why` (may be NULL). Cheap after the first call.
 */
int emu_engine_check(char *why, size_t size);

/* LOG_SET, with LOG_DIRTY: a log that begins has all its bits set. */
enum { EMU_MEM_READONLY = 1, EMU_MEM_LOG_DIRTY = 2, EMU_MEM_LOG_SET = 4 };

/*
 * Guest-physical [gpa, gpa+size) becomes the caller's memory at `host`, which stays the caller's and
 * must stay mapped until emu_vm_unmap(). All page aligned. Slot numbers are the caller's choice.
 * Writes to a read-only slot and accesses outside all slots are MMIO.
 * -EINVAL alignment; -EEXIST overlap with another slot; -ENOMEM. An existing slot of that number is
 * replaced (its dirty log starts empty).
 */
int emu_vm_map(struct emu_vm *vm, unsigned slot, uint64_t gpa, uint64_t size, void *host,
	       unsigned flags);
int emu_vm_unmap(struct emu_vm *vm, unsigned slot); /* -ENOENT */
/* Only the EMU_MEM_ flags change; translated code stays. -ENOENT */
int emu_vm_set_flags(struct emu_vm *vm, unsigned slot, unsigned flags);
/* Dirty log of a slot with EMU_MEM_LOG_DIRTY: one bit a page into `bitmap` (size/4096 bits, rounded
 * up to 64), cleared when `clear`. -ENOENT without a log. */
int emu_vm_dirty_log(struct emu_vm *vm, unsigned slot, uint64_t *bitmap, bool clear);
/* Clears those bits of the log that are set in `bitmap`, from page `first`, `count` pages. */
int emu_vm_dirty_clear(struct emu_vm *vm, unsigned slot, uint64_t first, uint64_t count,
		       const uint64_t *bitmap);
/*
 * The caller is about to take host memory away, or has (munmap, mprotect, a truncated file): guest
 * accesses to it end the run with -EFAULT until it is mapped again. Any thread.
 */
void emu_vm_host_range_gone(struct emu_vm *vm, const void *host, size_t size);
void emu_vm_host_range_back(struct emu_vm *vm, const void *host, size_t size);

/*
 * [gpa, gpa+size), page aligned, has second-level type `type` (EMU_MT_UC, WC, WT, WP, WB) with the
 * guest's PAT in force, whatever the policy: a device's memory. The latest declaration wins.
 * -EINVAL; -ENOMEM.
 */
int emu_vm_declare_memory_type(struct emu_vm *vm, uint64_t gpa, uint64_t size, unsigned type);
/* As emu_config's members; -EINVAL: no policy, or none of this vendor. */
int emu_vm_set_memory_policy(struct emu_vm *vm, enum emu_memory_policy policy, bool cd_is_uc);

/* What the second level of address translation does with the page at gpa; for hypervisors. */
enum emu_page_intercept {
	EMU_PAGE_ORDINARY,
	EMU_PAGE_VIOLATION,   /* EPT violation at any access (SDM 31.3.3.2) */
	EMU_PAGE_MISCONFIG,   /* EPT misconfiguration (SDM 31.3.3.1) */
	EMU_PAGE_APIC_ACCESS, /* the APIC-access page: data accesses leave (SDM 32.4) */
	EMU_PAGE_APIC_WRITE, /* …virtualized: writes go to memory, then a trap-like exit (SDM 32.4.3.3) */
};
/* -EINVAL: not page aligned; -ENOMEM. */
int emu_vm_intercept_page(struct emu_vm *vm, uint64_t gpa, enum emu_page_intercept what);

/* Copy from or to guest-physical memory (slots only). 0 or -EFAULT. */
int emu_vm_read(struct emu_vm *vm, uint64_t gpa, void *data, size_t size);
int emu_vm_write(struct emu_vm *vm, uint64_t gpa, const void *data, size_t size);

/* ------------------------------------------------------------------ vCPU state */

/* Registers in encoding order: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15. */
enum { EMU_RAX, EMU_RCX, EMU_RDX, EMU_RBX, EMU_RSP, EMU_RBP, EMU_RSI, EMU_RDI };
enum { EMU_ES, EMU_CS, EMU_SS, EMU_DS, EMU_FS, EMU_GS, EMU_LDTR, EMU_TR, EMU_SEGMENTS };

struct emu_segment {
	uint64_t base;
	uint32_t limit; /* in bytes, granularity applied */
	uint16_t selector;
	uint16_t
		attributes; /* VMX access rights, SDM table 27-2: type 3:0, S 4, DPL 6:5, P 7, AVL 12,
	                      * L 13, D/B 14, G 15. P clear: unusable. */
};

struct emu_table {
	uint64_t base;
	uint16_t limit;
};

struct emu_state {
	uint64_t gpr[16], rip, rflags;
	struct emu_segment segment[EMU_SEGMENTS];
	struct emu_table gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer, xcr0;
	uint64_t dr[8];     /* 0 to 3, 6, 7 */
	uint64_t apic_base; /* IA32_APIC_BASE, for RDMSR; the emulator has no APIC of its own */
};

/* Everything that VMX calls event injection and guest interruptibility (SDM 27.4.2, 27.8.3). */
struct emu_events {
	struct {
		bool injected, pending, has_error_code;
		uint8_t vector;
		uint32_t error_code;
		bool has_payload;
		uint64_t payload;
	} exception;
	struct {
		bool injected, soft;
		uint8_t vector, shadow;
	} interrupt; /* shadow: EMU_SHADOW_ */
	struct {
		bool injected, pending, masked;
	} nmi;
	bool triple_fault_pending;
	/*
	 * Debug traps that wait for the next run, as VMX saves them (SDM table 27-4): met breakpoints 3:0,
	 * bus lock 11, any of these enabled 12, single step 14, in a transaction 16 (no trap by itself),
	 * all active high. Besides, bit 15 as DR6 has it (BT): the T flag of a task that was switched to
	 * here, where VMX would have left the switch to the hypervisor. DR6 has not changed yet.
	 * Other bits end the next run with EMU_EXIT_ENTRY_FAILURE.
	 */
	uint64_t pending_debug;
};
enum { EMU_SHADOW_MOV_SS = 1, EMU_SHADOW_STI = 2 };

/* Created in the state after RESET (SDM 10.1.1) with no CPUID leaves. -ENOSPC beyond
 * EMU_MAX_VCPUS; -ENOMEM. */
int emu_vcpu_create(struct emu_vm *vm, struct emu_vcpu **vcpu);
void emu_vcpu_destroy(struct emu_vcpu *vcpu);

void emu_vcpu_get_state(struct emu_vcpu *vcpu, struct emu_state *state);
/* -EINVAL for what VM entry refuses (SDM 29.3.1): reserved CR0, CR4, EFER bits, PG without PE, … */
int emu_vcpu_set_state(struct emu_vcpu *vcpu, const struct emu_state *state);
void emu_vcpu_get_events(struct emu_vcpu *vcpu, struct emu_events *events);
void emu_vcpu_set_events(struct emu_vcpu *vcpu, const struct emu_events *events);

/* x87 and SSE as a 512-byte FXSAVE image (SDM vol. 1, 10.5.1; 64-bit layout). */
void emu_vcpu_get_fx(struct emu_vcpu *vcpu, void *image);
int emu_vcpu_set_fx(struct emu_vcpu *vcpu, const void *image); /* -EINVAL: reserved MXCSR bits */

/* As the guest's RDMSR and WRMSR, `host` for the monitor's own access (may write read-only ones).
 * -ENOENT unknown; -EINVAL where the guest would get #GP. */
int emu_vcpu_get_msr(struct emu_vcpu *vcpu, uint32_t index, uint64_t *value, bool host);
int emu_vcpu_set_msr(struct emu_vcpu *vcpu, uint32_t index, uint64_t value, bool host);
/* The MSRs that emu_vcpu_get_msr() knows: number of them; up to `max` are stored. */
size_t emu_msr_list(uint32_t *index, size_t max);

/* What the guest's TSC is ahead of its source (the host's, or emu_vm_set_tsc_source()'s), modulo 2^64. Setting
 * it leaves IA32_TSC_ADJUST alone. */
int64_t emu_vcpu_get_tsc_offset(struct emu_vcpu *vcpu);
void emu_vcpu_set_tsc_offset(struct emu_vcpu *vcpu, int64_t offset);

struct emu_cpuid {
	uint32_t function, index;
	bool has_index;
	uint32_t eax, ebx, ecx, edx;
};
/* What the guest's CPUID shows; copied. Leaf 80000008 sets the physical address width of the VM
 * (36 bits without it). -E2BIG above 256. */
int emu_vcpu_set_cpuid(struct emu_vcpu *vcpu, const struct emu_cpuid *leaves, size_t count);
/* What the emulator can do, the largest sensible set: number of leaves, up to `max` stored. */
size_t emu_cpuid_supported(enum emu_vendor vendor, struct emu_cpuid *leaves, size_t max);

/*
 * Linear → physical through the vCPU's page tables, without touching A or D bits.
 * -EFAULT: not mapped.
 */
int emu_vcpu_translate(struct emu_vcpu *vcpu, uint64_t linear, uint64_t *gpa, bool *writable,
		       bool *user);

/* ------------------------------------------------------------------ controls */

/* "VMM bus-lock detection" (SDM 28.2, secondary control 30) / Bus Lock Threshold (APM 15.14.5). */
void emu_vcpu_set_bus_lock_exiting(struct emu_vcpu *vcpu, bool on);
bool emu_vcpu_bus_lock_exiting(const struct emu_vcpu *vcpu);

/*
 * AMD: bus locks that may still execute before one exits (VMCB 120h, APM 15.14.5). Loaded and kept as
 * the hardware does: counted down by every bus lock while exiting is on. When it is 0, the next one
 * leaves in front of its instruction (EMU_EXIT_BUS_LOCK, nothing changed, the lock not counted in the
 * statistics nor told to the observer: it has not happened).
 */
void emu_vcpu_set_bus_lock_counter(struct emu_vcpu *vcpu, uint16_t count);
uint16_t emu_vcpu_bus_lock_counter(const struct emu_vcpu *vcpu);

/* Further VM-execution controls, for those who write a hypervisor; all off at creation. */
struct emu_controls {
	uint32_t exception_bitmap; /* these leave with EMU_EXIT_EXCEPTION instead of being delivered
				    * (SDM 26.2; APM 15.12). Fault-like; #DB with DR6 unchanged and
				    * its causes in the qualification (SDM 28.2.1) */
	bool monitor_trap;         /* EMU_EXIT_MTF behind every instruction (SDM 26.5.2) */
	bool task_switch;          /* task switches leave (SDM 26.2); else they are carried out */
};
void emu_vcpu_set_controls(struct emu_vcpu *vcpu, const struct emu_controls *controls);

/*
 * The host's own split-lock detection (MSR 33h bit 29 stays in force in a guest): asked on the
 * vCPU's thread in front of every split lock; true: #AC(0) before the access, whatever CR0.AM,
 * RFLAGS.AC and CPL are (SDM 11.1.2.3). NULL: off. Intel only.
 */
void emu_vm_set_split_lock_trap(struct emu_vm *vm,
				bool (*trap)(void *opaque, struct emu_vcpu *vcpu), void *opaque);

/*
 * With emu_config.count: EMU_EXIT_LIMIT (the VMX-preemption timer's exit) at the first instruction
 * boundary where the engine can stop once emu_stats.instructions has reached `instructions`: at most
 * a block of code later, and always at the same place. 0: none.
 */
void emu_vcpu_set_instruction_limit(struct emu_vcpu *vcpu, uint64_t instructions);
/* Where RDTSC, RDTSCP and IA32_TIME_STAMP_COUNTER come from, before the guest's offset; called on the
 * vCPU's thread with emu_stats.instructions exact (needs emu_config.count for that). NULL: the host's
 * counter. Before the first run. */
void emu_vm_set_tsc_source(struct emu_vm *vm, uint64_t (*tsc)(void *opaque, struct emu_vcpu *vcpu),
			   void *opaque);

/* Exit with EMU_EXIT_INTERRUPT_WINDOW as soon as an external interrupt could be delivered. */
void emu_vcpu_request_interrupt_window(struct emu_vcpu *vcpu, bool on);
/* Could one be delivered now (IF set, no shadow, nothing injected)? */
bool emu_vcpu_interruptible(struct emu_vcpu *vcpu);
/* Event injection on the next run, regardless of RFLAGS.IF (SDM 29.6). -EBUSY if one is injected. */
int emu_vcpu_inject_interrupt(struct emu_vcpu *vcpu, uint8_t vector);
void emu_vcpu_inject_nmi(struct emu_vcpu *vcpu); /* delivered when not blocked */

struct emu_debug {
	bool single_step, software_breakpoints, hardware_breakpoints;
	uint64_t dr[8];
};
/* Guest debugging by the monitor, as KVM_SET_GUEST_DEBUG. */
void emu_vcpu_set_debug(struct emu_vcpu *vcpu, const struct emu_debug *debug);

/* Which MSR accesses leave with EMU_EXIT_RDMSR/WRMSR besides the unknown ones; NULL: none. Called
 * on the vCPU's thread. */
void emu_vm_set_msr_filter(struct emu_vm *vm,
			   bool (*exits)(void *opaque, struct emu_vcpu *, uint32_t index,
					 bool write),
			   void *opaque);
/* Unknown MSRs: exit (true) or #GP at once (false, the default). */
void emu_vm_set_msr_exits(struct emu_vm *vm, bool unknown_exits);

/* ------------------------------------------------------------------ bus locks */

enum emu_lock_cause {
	EMU_LOCK_NONE = 0,
	EMU_LOCK_SPLIT = 1,   /* crosses a 64-byte line */
	EMU_LOCK_NON_WB = 2,  /* effective memory type is not write-back */
	EMU_LOCK_STUFFED = 4, /* not the instruction's operand: accessed/dirty bit, descriptor */
};

/* Whose lock a stuffed one is (SDM 11.1.2.1). */
enum emu_stuffed {
	EMU_STUFFED_NOT,
	EMU_STUFFED_PAGING,     /* accessed or dirty bit of a paging-structure entry */
	EMU_STUFFED_DESCRIPTOR, /* accessed bit of a segment descriptor */
	EMU_STUFFED_BUSY,       /* busy bit of a TSS descriptor */
};

/* One locked access. Owned by whoever holds the struct it is in. */
struct emu_lock {
	unsigned cause;      /* EMU_LOCK_, or-ed; NONE: locked, but not a bus lock */
	uint64_t rip;        /* of the instruction, as in the RIP register */
	uint64_t linear_rip; /* CS base added */
	uint64_t linear;     /* of the operand */
	uint64_t gpa;
	uint32_t size; /* bytes */
	uint8_t cpl;
	uint8_t mode; /* 16, 32, 64 */
	uint8_t insn_length;
	uint8_t insn[15];
	uint8_t memory_type;      /* EMU_MT_, effective; of a split one that which is not WB */
	uint8_t guest_type;       /* what the guest's own PAT and MTRRs make of it, likewise */
	enum emu_stuffed stuffed; /* `linear` is then the descriptor's, or the address whose
				       * translation updated the entry at `gpa` */
	bool in_delivery;         /* while an event was being delivered; `rip` is where it was */
};

/* Called on the vCPU's thread for every bus lock, whether or not it causes an exit. */
void emu_vm_set_lock_observer(struct emu_vm *vm,
			      void (*observe)(void *opaque, struct emu_vcpu *,
					      const struct emu_lock *),
			      void *opaque);

/*
 * Inside the observer only: the vCPU's registers are those of the instruction (emu_vcpu_get_state()), and
 * this reads its memory as the guest would, through its page tables, but without a trace and without
 * permissions. -EFAULT: not mapped, or no memory there.
 */
int emu_observed_read(struct emu_vcpu *vcpu, uint64_t linear, void *data, size_t size);

struct emu_stats {
	uint64_t locked;    /* locked accesses */
	uint64_t bus_locks; /* of these: any cause */
	uint64_t split, non_wb, stuffed;
	uint64_t
		guest_non_wb; /* locked accesses to memory that the guest believes not to be WB, bus
				* locks or not; MTRRs that the guest never enabled say nothing */
	uint64_t instructions;           /* with emu_config.count, else 0 */
	uint64_t interrupts, exceptions; /* delivered through the guest's IDT */
};
void emu_vcpu_get_stats(const struct emu_vcpu *vcpu, struct emu_stats *stats);

/* Is this access a bus lock? The rule itself (SDM 11.1.2): line split, or type other than WB. */
unsigned emu_bus_lock_cause(uint64_t linear, uint32_t size, unsigned memory_type);
/* The same with AMD's boundary (emu_config.lock_boundary): an access that is aligned to its own size is
 * never misaligned. */
unsigned emu_bus_lock_cause_at(uint64_t linear, uint32_t size, unsigned memory_type,
			       unsigned boundary);
enum {
	EMU_MT_UC = 0,
	EMU_MT_WC = 1,
	EMU_MT_WT = 4,
	EMU_MT_WP = 5,
	EMU_MT_WB = 6,
	EMU_MT_UC_MINUS = 7, /* in a PAT only */
	EMU_MT_CD = 8,       /* AMD: as UC, but the caches are looked at (APM 7.4) */
	EMU_MT_WC_PLUS = 9   /* AMD: as WC, but the caches are looked at (APM 15.25.8) */
};

/* ------------------------------------------------------------------ running */

/* VMX basic exit reasons that occur (SDM app. C), and the modifier bit (SDM 27.9.1). */
enum {
	VMX_EXCEPTION_NMI = 0,
	VMX_EXTERNAL_INTERRUPT = 1,
	VMX_TRIPLE_FAULT = 2,
	VMX_INTERRUPT_WINDOW = 7,
	VMX_NMI_WINDOW = 8,
	VMX_TASK_SWITCH = 9,
	VMX_CPUID = 10,
	VMX_HLT = 12,
	VMX_VMCALL = 18,
	VMX_CR_ACCESS = 28,
	VMX_DR_ACCESS = 29,
	VMX_IO = 30,
	VMX_RDMSR = 31,
	VMX_WRMSR = 32,
	VMX_INVALID_STATE = 33,
	VMX_MTF = 37,
	VMX_EPT_VIOLATION = 48,
	VMX_APIC_ACCESS = 44,
	VMX_EPT_MISCONFIG = 49,
	VMX_PREEMPTION_TIMER = 52,
	VMX_APIC_WRITE = 56,
	VMX_BUS_LOCK = 74,
};
#define VMX_EXIT_BUS_LOCK_ASSERTED 0x04000000u /* bit 26 */
#define VMX_EXIT_ENTRY_FAILURE     0x80000000u /* bit 31 */

/* AMD's exit codes, of struct emu_exit's `word` (APM app. C); INVALID is the low half of -1 */
enum {
	SVM_CR8_WRITE = 0x18,
	SVM_EXCEPTION = 0x40, /* + vector, up to 5Fh */
	SVM_INTR = 0x60,
	SVM_NMI = 0x61,
	SVM_VINTR = 0x64,
	SVM_HLT = 0x78,
	SVM_IOIO = 0x7b,
	SVM_MSR = 0x7c,
	SVM_TASK_SWITCH = 0x7d,
	SVM_SHUTDOWN = 0x7f,
	SVM_VMMCALL = 0x81,
	SVM_BUSLOCK = 0xa5,
	SVM_NPF = 0x400,
	SVM_AVIC_NOACCEL = 0x402,
};
#define SVM_INVALID 0xffffffffu

/* These three are about VMX: of an Intel VM's `word`. "EPT_VIOLATION, bus lock": reason by name, then the
 * modifier bits. As snprintf(). */
int emu_exit_word_text(uint32_t word, char *text, size_t size);
/* Of bits 15:0, as Linux writes it; NULL: none that occurs here. */
const char *emu_exit_reason_name(uint32_t word);
/* Of a modifier bit, 16 to 31; NULL: reserved. `never` (may be NULL): why this processor does not set it,
 * NULL if it does. */
const char *emu_exit_word_bit(unsigned bit, const char **never);

enum emu_exit_type {
	EMU_EXIT_NONE,
	EMU_EXIT_BUS_LOCK,
	EMU_EXIT_IO,
	EMU_EXIT_MMIO,
	EMU_EXIT_HLT,
	EMU_EXIT_RDMSR,
	EMU_EXIT_WRMSR,
	EMU_EXIT_SHUTDOWN,
	EMU_EXIT_INTERRUPT_WINDOW,
	EMU_EXIT_DEBUG,
	EMU_EXIT_KICKED,         /* emu_vcpu_kick(); VMX_EXTERNAL_INTERRUPT */
	EMU_EXIT_SET_TPR,        /* MOV to CR8 lowered it */
	EMU_EXIT_VMCALL,         /* RIP is behind it */
	EMU_EXIT_INTERNAL_ERROR, /* an instruction that can't be executed; RIP is on it */
	EMU_EXIT_EXCEPTION,      /* intercepted; vector and error code in `interruption` */
	EMU_EXIT_MTF,
	EMU_EXIT_TASK_SWITCH, /* before anything of it is done */
	EMU_EXIT_APIC_ACCESS,
	EMU_EXIT_APIC_WRITE,    /* trap-like */
	EMU_EXIT_EPT,           /* a page with EMU_PAGE_VIOLATION or EMU_PAGE_MISCONFIG */
	EMU_EXIT_LIMIT,         /* emu_vcpu_set_instruction_limit() */
	EMU_EXIT_ENTRY_FAILURE, /* the state or the injected event is not one that VM entry accepts */
};

enum { EMU_ERROR_EMULATION = 1, EMU_ERROR_DELIVERY = 3 }; /* as KVM_INTERNAL_ERROR_ */

struct emu_exit {
	enum emu_exit_type type;
	uint32_t
		word; /* VMX exit reason with its modifier bits (SDM 27.9.1); on AMD the low half of
			* the exit code (APM app. C) */
	uint64_t qualification; /* SDM 30.2.1 (AMD: EXITINFO1) */
	/* AMD: guest_linear of an intercepted #PF is its address (EXITINFO2, APM 15.12.15) */
	uint64_t guest_linear, guest_physical;
	uint32_t interruption, interruption_error; /* SDM 27.9.2 */
	/* The event whose delivery this exit interrupted (SDM 27.9.3; AMD: EXITINTINFO, APM 15.7.2,
	 * the same layout). The hypervisor injects it again (at a bus lock on AMD it is already),
	 * but for one that came from an instruction, with `insn_length`: RIP is still on that. */
	uint32_t idt_vectoring, idt_vectoring_error;
	uint32_t insn_length;
	bool bus_lock;        /* this exit comes with a bus lock (bit 26 on Intel) */
	struct emu_lock lock; /* valid if bus_lock */
	union {
		/*
		 * data: `size` × `count` bytes, the emulator's, valid until the next run. For a read the
		 * caller fills it before that run, which completes the instruction.
		 */
		struct {
			uint16_t port;
			uint8_t size;
			bool write;
			uint32_t count;
			uint8_t *data;
		} io;
		/* At most 8 bytes of one access; the next fragment comes with the next run. */
		struct {
			uint64_t gpa;
			uint64_t rip; /* of the instruction, which a write has completed */
			uint8_t size;
			bool write;
			uint8_t *data;
		} mmio;
		/* `*error` non-zero before the next run: #GP instead of completion. */
		struct {
			uint32_t index;
			uint64_t *value;
			bool *error;
			bool filtered;
		} msr;
		struct {
			uint8_t vector;
			uint64_t rip, dr6, dr7;
		} debug;
		struct {
			unsigned suberror;
			uint8_t insn_length;
			uint8_t insn[15];
		} error;
	};
};

enum {
	EMU_RUN_COMPLETE_ONLY = 1, /* finish a pending IN or MMIO access, execute nothing more */
	EMU_RUN_URGENT =
		2, /* another vCPU that runs gives way at the end of its block, not of its slice */
};

/*
 * Runs until an exit. First completes what the last exit left pending (unless the caller changed RIP,
 * which abandons a read).
 * 0 with `exit` filled; -EAGAIN: EMU_RUN_COMPLETE_ONLY and nothing (more) pending;
 * -EFAULT: host memory behind a slot is gone; if the instruction had taken a bus lock by then that
 * exits, `exit` has the word of the EPT violation with bit 26, type EMU_EXIT_NONE, and the lock; -EIO: the engine failed in a way that it should not.
 */
int emu_vcpu_run(struct emu_vcpu *vcpu, unsigned flags, struct emu_exit *exit);

/* The exit code that SVM has for `type`; `vector`: of EMU_EXIT_DEBUG and EMU_EXIT_EXCEPTION. */
uint32_t emu_svm_exit_code(enum emu_exit_type type, unsigned vector);

/*
 * For a SIGSEGV or SIGBUS handler: a fault at `address`, with the handler's ucontext (NULL: RIP will
 * be that of the block, not of the instruction). If this thread is in emu_vcpu_run(), emu_vm_read()
 * or emu_vm_write() and the address is memory of a slot, does not return: the call ends with -EFAULT.
 * Else false.
 */
bool emu_host_fault(const void *address, const void *ucontext);

/*
 * Ends the current run, or the next if none is in progress, with EMU_EXIT_KICKED, at the latest when
 * the current block of guest code ends (typically 15 µs, at most a millisecond later). Async-signal-
 * safe. A kick that came before another exit of the same run is kept for the next run.
 */
void emu_vcpu_kick(struct emu_vcpu *vcpu);
/* Forget a kick that no run has answered yet. */
void emu_vcpu_clear_kick(struct emu_vcpu *vcpu);

#ifdef __cplusplus
}
#endif
#endif
