/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The inside of the shim: its objects and the interfaces between its files.
 *
 * Locks, outermost first: vcpu->lock, vm->lock, vm->slots_lock, files_lock, vm->irqchip->lock. KVM_RUN
 * holds vcpu->lock only. Nothing that a signal handler may call (kicks, scans of descriptors, memory that goes) takes
 * a lock: it reads the registries between readers_enter() and readers_leave(), and who frees an object
 * first takes it out of them and waits for the readers.
 */
#ifndef BUSLOCK_VMM_SHIM_INTERNAL_H
#define BUSLOCK_VMM_SHIM_INTERNAL_H

#include "vmm_shim/backend.h"
#include "vmm_shim/host_lock.h"
#include "vmm_shim/kvm_abi.h"
#include "vmm_shim/lock.h"
#include "vmm_shim/profile.h"
#include "vmm_shim/shim.h"

#include <stdatomic.h>
#include <sys/types.h>

#define PAGE_SIZE 4096ull

__extension__ typedef unsigned __int128 wide;

/* ------------------------------------------------------------------ file.c: descriptors */

enum shim_kind { SHIM_DEVICE, SHIM_VM, SHIM_VCPU };

/* The open file behind one or more descriptors; first member of the object it belongs to. */
struct shim_file {
	enum shim_kind kind;
	dev_t dev;
	ino_t ino;
	pid_t owner; /* process whose memory it is (kvm->mm) */
	_Atomic unsigned
		refs;        /* one for its descriptors, one per user, one per open vCPU of a VM */
	_Atomic bool closed; /* no descriptor refers to it any more */
	_Atomic uint64_t seen; /* number of the last shim_descriptors_closed() that saw it */
};

/* A new descriptor, sealed, for `file`, which becomes findable. `size`: of the memory behind it, which
 * is mapped shared at `*map` unless `map` is NULL. */
int file_open(struct shim_file *file, enum shim_kind kind, const char *name, int open_flags,
	      size_t size, void **map);
void file_get(struct shim_file *file);
/* Frees objects that were closed and are no longer used. Not from a signal handler. */
void files_reap(void);
/* The calling process, as a number that a forked child does not share; 0 before the first use. */
pid_t process_id(void);
/* The process can use the shim: prepares it after a fork. Not from a signal handler. */
int process_enter(void);
bool file_is_ours(const struct shim_file *file); /* owner is this process */

/* ------------------------------------------------------------------ registries */

#define SHIM_MAX_VMS   256
#define SHIM_MAX_VCPUS 1024

extern _Atomic(struct shim_vm *) shim_vms[SHIM_MAX_VMS];
extern _Atomic(struct shim_vcpu *) shim_vcpus[SHIM_MAX_VCPUS];
extern _Atomic unsigned shim_vm_slots, shim_vcpu_slots; /* high-water marks */

void readers_enter(void);
void readers_leave(void);
void readers_wait(void); /* until all that were inside have left */
void readers_after_fork(void);

/* ------------------------------------------------------------------ options.c */

struct shim_config {
	struct shim_options options;
	struct profile profile;
	const struct backend *backend;
	bool opened;
};
extern struct shim_config shim_config;
/* Before the first descriptor: what nobody has chosen gets its default. */
void config_ready(void);
static inline bool config_intel(void)
{
	return shim_config.options.vendor == EMU_INTEL;
}

/* ------------------------------------------------------------------ user.c: ioctl arguments */

/* Copy from or to the caller's pointer; -EFAULT instead of a fault. */
int user_read(void *to, uint64_t from, size_t size);
int user_write(uint64_t to, const void *from, size_t size);
/* Is all of it mapped? */
bool range_mapped(uint64_t address, size_t size);

/* ------------------------------------------------------------------ signals.c */

/* The kernel's signal set. */
typedef uint64_t kernel_sigset;
#define SIGNAL_BIT(n) (1ull << ((n)-1))

/* Block what KVM_RUN and the other ioctls must not be interrupted by; the former mask. */
/* Such a signal, if its default action ends the process. */
bool signals_fatal(kernel_sigset mask);
kernel_sigset signals_block(void);
void signals_restore(kernel_sigset mask);
/* Is a signal pending that `mask` lets through and that would do something? */
bool signals_pending(kernel_sigset mask);
/* Do the handlers of all of these let the call go on (SA_RESTART)? */
bool signals_restart(kernel_sigset mask);
pid_t thread_id(void);

/* ------------------------------------------------------------------ ticker.c */

/* Bumped every millisecond while a vCPU runs, and whenever the ticker goes to sleep. */
extern _Atomic unsigned ticker_generation;
enum { TICKER_NONE, TICKER_AWAKE, TICKER_ASLEEP };
extern _Atomic uint32_t ticker_state;
void ticker_wake(void);
void ticker_after_fork(void);
static inline void ticker_need(void)
{
	if (__builtin_expect(atomic_load(&ticker_state) != TICKER_AWAKE, 0))
		ticker_wake();
}

/* ------------------------------------------------------------------ caps.c */

struct shim_vm;
struct capability {
	int number;
	const char *name;
	int value;
	int (*compute)(const struct shim_vm *vm); /* instead of value; vm may be NULL */
	unsigned since;                           /* kernel that has it; 0: all */
	const char *source;
};
const struct capability *capability_find(int number);
int capability_value(const struct shim_vm *vm, unsigned long number);
/* KVM_ENABLE_CAP on a VM */
int capability_enable(struct shim_vm *vm, const struct kvm_enable_cap *cap);

/* ------------------------------------------------------------------ quirk.c */

enum { /* KVM_X86_QUIRK_ */
       QUIRK_LINT0_REENABLED = 1 << 0,
       QUIRK_CD_NW_CLEARED = 1 << 1,
       QUIRK_LAPIC_MMIO_HOLE = 1 << 2,
       QUIRK_IGNORE_GUEST_PAT = 1 << 9,
};
uint64_t quirks_supported(const struct profile *profile);
int quirks_disable(struct shim_vm *vm, uint32_t capability, uint64_t bits);

int memory_types_apply(struct shim_vm *vm);
/* The same for a new VM, and the ranges of --uc. -ENOMEM. */
int memory_types_init(struct shim_vm *vm);

/* ------------------------------------------------------------------ device.c */

long device_ioctl(unsigned long request, unsigned long argument);

/* ------------------------------------------------------------------ vm.c, memory.c */

struct memory_slot {
	uint32_t id, flags;       /* KVM_MEM_ */
	uint64_t gpa, size, host; /* size 0: there is no such slot */
};

struct msr_filter_range {
	uint32_t flags, base, count;
	uint8_t *bitmap;
};
struct msr_filter {
	struct msr_filter *before; /* the one that this replaced */
	bool default_allow;
	unsigned count;
	struct msr_filter_range range[KVM_MSR_FILTER_MAX_RANGES];
};

/* stats.c: KVM_GET_STATS_FD. The counters of a VM, and of a vCPU. */
enum { STAT_REMOTE_TLB_FLUSH };
enum {
	STAT_EXITS,
	STAT_IO_EXITS,
	STAT_MMIO_EXITS,
	STAT_SIGNAL_EXITS,
	STAT_IRQ_WINDOW_EXITS,
	STAT_HALT_EXITS,
	STAT_REQUEST_IRQ_EXITS,
	STAT_HYPERCALLS,
	STAT_IRQ_INJECTIONS,
	STAT_NMI_INJECTIONS,
	STATS_MAX
};
struct shim_stats {
	uint64_t *value; /* `own`, or in the file once somebody has asked for it */
	uint64_t own[STATS_MAX];
	void *file;
	int handle; /* own_fd.h */
};

/* pvclock.c: kvmclock is master_ns + offset at the host's TSC master_tsc, and runs with it */
struct vm_clock {
	struct shim_lock lock; /* innermost */
	uint64_t master_tsc, master_ns;
	int64_t offset;
	uint32_t mul;
	int8_t shift;
	_Atomic unsigned generation; /* moves when vCPUs have to tell their guest */
	_Atomic bool in_use;         /* a guest has asked for it */
	uint64_t wall_clock;         /* the MSR */

	/* tsc.c: kvm_synchronize_tsc(), under the same lock */
	bool tsc_set; /* the monitor has written one */
	uint64_t last_ns, last_tsc;
	int64_t tsc_offset; /* of all vCPUs that are in step */
};

struct shim_vm {
	struct shim_file file; /* first */
	const struct backend *ops;
	struct emu_vm *emu;
	unsigned number; /* of the VM in this process, from 0 */

	struct shim_lock lock;
	unsigned vcpus, max_vcpu_id, boot_cpu_id;
	struct irqchip *irqchip;               /* irqchip/irqchip.h; never NULL */
	struct shim_vcpu *vcpu[EMU_MAX_VCPUS]; /* in order of creation, until the VM's end */

	/* KVM_ENABLE_CAP */
	_Atomic bool bus_lock_detection;
	bool exception_payload, triple_fault_event, exit_on_emulation_error;
	uint64_t manual_dirty_log;
	bool hides_platform_info; /* KVM_CAP_MSR_PLATFORM_INFO with 0 */
	uint64_t disabled_quirks;
	_Atomic uint32_t user_space_msr; /* KVM_MSR_EXIT_REASON_ */
	_Atomic(struct msr_filter *) msr_filter;

	struct shim_lock slots_lock;
	struct memory_slot *slot; /* by id, `slots_room` of them */
	uint16_t *slot_order;     /* ids of the `slots` that exist, by guest-physical address */
	size_t slots, slots_room;
	_Atomic uint64_t host_low, host_high; /* hull of all slots' host memory */

	uint64_t tss_addr, identity_map_addr, mmu_pages;
	struct vm_clock clock;
	struct shim_stats stats; /* under slots_lock */
	unsigned tsc_khz;
};

int vm_create(unsigned long type);
long vm_ioctl(struct shim_vm *vm, unsigned long request, unsigned long argument);
void vm_free(struct shim_vm *vm);

long memory_ioctl(struct shim_vm *vm, unsigned long request, unsigned long argument);
/* The rules of KVM_SET_USER_MEMORY_REGION (KVM api.rst 4.35), without effect: what is to be done. */
enum memory_change { MEMORY_NOTHING, MEMORY_CREATE, MEMORY_DELETE, MEMORY_MOVE, MEMORY_FLAGS };
int memory_check(const struct shim_vm *vm, const struct abi_memory_region2 *region,
		 enum memory_change *change);
void memory_free(struct shim_vm *vm);
/* Where [gpa, gpa+size), all in one slot, is in the monitor's memory; -EFAULT. */
int memory_host(struct shim_vm *vm, uint64_t gpa, uint64_t size, uint64_t *host);

/* ------------------------------------------------------------------ vcpu.c and its parts */

#define SHIM_MSRS_MAX 512

struct msr_store; /* msr.c */

enum pending_io {
	PENDING_NONE,
	PENDING_IN,
	PENDING_MMIO_READ,
	PENDING_RDMSR,
	PENDING_WRMSR,
	PENDING_BUS_LOCK, /* AMD: complete_userspace_buslock() */
};

struct shim_vcpu {
	struct shim_file file; /* first */
	struct shim_vm *vm;
	const struct backend *ops;
	struct emu_vcpu *emu;
	struct lapic *apic;  /* irqchip/lapic.h; NULL: it is the monitor's */
	struct kvm_run *run; /* the three pages that the monitor maps */
	uint8_t *pio;        /* the second of them */
	unsigned id, index;

	struct shim_lock lock;        /* vcpu->mutex of the kernel */
	_Atomic pid_t runner;         /* thread that is in KVM_RUN, 0: none */
	_Atomic bool signal_expected; /* a signal for that thread is on its way */
	bool has_run;

	/* run.c */
	struct emu_exit exit;
	enum pending_io pending;
	uint64_t cui_linear_rip; /* where the bus lock was that is pending */
	uint64_t cr8;            /* as the backend has it */
	bool window_requested;   /* as the backend has it */
	bool sigset_active;
	kernel_sigset sigset;
	kernel_sigset caller_mask;

	struct host_core core; /* of the simulated host, its own */
	bool sigbus;           /* the host's policy sends it when KVM_RUN returns */

	uint32_t mp_state;
	uint32_t guest_debug;
	uint32_t tsc_khz;
	bool tpr_access_reporting;
	struct {
		uint64_t system_time, steal_time; /* the MSRs */
		unsigned generation;              /* of vm->clock, as the guest was told */
		bool stopped;                     /* KVM_KVMCLOCK_CTRL */
		bool enforce;                     /* KVM_CAP_ENFORCE_PV_FEATURE_CPUID */
		bool steal_due;
		uint64_t steal_ns, last_delay;
	} pv; /* pvclock.c */

	struct kvm_cpuid_entry2 *cpuid;
	unsigned cpuid_count;
	struct msr_store *msrs;
	struct emu_stats told; /* what the report already has */
	struct shim_stats stats;

	/* fault.c */
	bool fault_pending;
	unsigned fault_runs;

	/* for the trace */
	bool has_word;            /* exit.word is of the last KVM_RUN */
	uint64_t rip, linear_rip; /* as that left them */
};

int vcpu_create(struct shim_vm *vm, unsigned long id);
long vcpu_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument);
void vcpu_released(struct shim_vcpu *vcpu); /* its last descriptor is closed */
void vcpu_destroy(struct shim_vcpu *vcpu);
void vcpus_after_fork(void);
/* The VM's switch takes effect for this vCPU: at its creation, and where else the kernel looks at it. */
void vcpu_latch_bus_lock(struct shim_vcpu *vcpu);
/* The vCPU that the calling thread runs now, NULL: none. */
struct shim_vcpu *vcpu_current(void);

/* state.c: registers in the kernel's structures */
/* kvm_get_linear_rip() */
uint64_t state_linear_rip(const struct emu_state *state);
/* kvm_vcpu_reset() with init_event */
void state_init(struct shim_vcpu *vcpu);
/* Could IA32_APIC_BASE be that, whatever it is now? */
bool state_valid_apic_base(const struct shim_vcpu *vcpu, uint64_t base);
void state_get_regs(struct shim_vcpu *vcpu, struct kvm_regs *regs);
int state_set_regs(struct shim_vcpu *vcpu, const struct kvm_regs *regs);
void state_get_sregs(struct shim_vcpu *vcpu, struct kvm_sregs *sregs);
int state_set_sregs(struct shim_vcpu *vcpu, const struct kvm_sregs *sregs);
void state_get_sregs2(struct shim_vcpu *vcpu, struct kvm_sregs2 *sregs);
int state_set_sregs2(struct shim_vcpu *vcpu, const struct kvm_sregs2 *sregs);
long state_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument);

/* fpu.c */
int fpu_reset(struct shim_vcpu *vcpu);
long fpu_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument);

/* event.c */
void event_get(struct shim_vcpu *vcpu, struct kvm_vcpu_events *events);
int event_set(struct shim_vcpu *vcpu, const struct kvm_vcpu_events *events);
long event_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument);
/* kvm_queue_exception(): pending for the next entry */
void event_queue_exception(struct shim_vcpu *vcpu, uint8_t vector);
void event_queue_exception_error(struct shim_vcpu *vcpu, uint8_t vector, uint32_t error);
void event_queue_interrupt(struct shim_vcpu *vcpu, uint8_t vector);
/* vmx_complete_interrupts(), svm_complete_interrupts(): what an exit interrupted is injected again */
void event_requeue(struct shim_vcpu *vcpu, const struct emu_exit *exit);

/* cpuid.c */
long cpuid_device_ioctl(unsigned long request, unsigned long argument);
long cpuid_vcpu_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument);
const struct kvm_cpuid_entry2 *cpuid_find(const struct shim_vcpu *vcpu, uint32_t function,
					  uint32_t index);
void cpuid_offer(const struct profile *profile, bool intel, bool guest_sld, struct emu_cpuid *leaf);
bool cpuid_supported_bit(uint32_t function, uint32_t index, unsigned reg, unsigned bit);
unsigned cpuid_physical_bits(void);
uint64_t cpuid_supported_xcr0(void);
uint64_t cpuid_guest_xcr0(const struct shim_vcpu *vcpu);

/* msr.c */
int msr_store_new(struct shim_vcpu *vcpu);
void msr_store_free(struct shim_vcpu *vcpu);
long msr_device_ioctl(unsigned long request, unsigned long argument);
long msr_vcpu_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument);
long msr_filter_ioctl(struct shim_vm *vm, unsigned long argument);
void msr_filter_free(struct shim_vm *vm);
void msr_watch(struct shim_vm *vm); /* of a new VM; msr_exit.c, as the two above */
/* 0; -ENOENT unknown; -EINVAL #GP */
int msr_get(struct shim_vcpu *vcpu, uint32_t index, uint64_t *value, bool host);
int msr_set(struct shim_vcpu *vcpu, uint32_t index, uint64_t value, bool host);
/* EMU_EXIT_RDMSR, EMU_EXIT_WRMSR: 1 done, 0 to the monitor */
int msr_exit(struct shim_vcpu *vcpu, struct emu_exit *exit);
void msr_answered(struct shim_vcpu *vcpu, struct emu_exit *exit);

/* backtrace.c: inside the lock observer, return addresses (linear) of the callers, the nearest first.
 * (backtrace() is the C library's, and sanitizers interpose it.) */
unsigned guest_backtrace(struct shim_vcpu *vcpu, uint64_t *frame, unsigned most);

/* time.c */
unsigned time_tsc_khz(void);
uint64_t time_boot_ns(void), time_wall_ns(void);
long time_vm_ioctl(struct shim_vm *vm, unsigned long request, unsigned long argument);
long time_set_tsc_khz(struct shim_vcpu *vcpu, uint32_t khz);

/* stats.c */
void stats_new(struct shim_stats *stats);
void stats_free(struct shim_stats *stats);
long stats_vm_fd(struct shim_vm *vm);
long stats_vcpu_fd(struct shim_vcpu *vcpu);
void stats_exit(struct shim_vcpu *vcpu, unsigned type); /* enum emu_exit_type */

/* tsc.c */
/* kvm_synchronize_tsc(): the monitor writes `value`; 0 also for a new vCPU */
void tsc_synchronize(struct shim_vcpu *vcpu, uint64_t value, bool by_monitor);
/* KVM_GET_DEVICE_ATTR and its kin on a vCPU: KVM_VCPU_TSC_OFFSET */
long tsc_attr_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument);

/* pvclock.c */
void pvclock_scale(uint64_t hz, int8_t *shift, uint32_t *mul);
uint64_t pvclock_ns(uint64_t cycles, int8_t shift, uint32_t mul);
uint64_t pvclock_host_tsc(void);
uint64_t pvclock_now(struct shim_vm *vm, uint64_t host_tsc);
void pvclock_set(struct shim_vm *vm, uint64_t clock);
void pvclock_load(struct shim_vcpu *vcpu);    /* KVM_RUN begins */
void pvclock_update(struct shim_vcpu *vcpu);  /* before each entry */
void pvclock_request(struct shim_vcpu *vcpu); /* its TSC has changed */
long pvclock_paused(struct shim_vcpu *vcpu);
bool pvclock_has(const struct shim_vcpu *vcpu, unsigned feature);
int pvclock_msr_get(struct shim_vcpu *vcpu, uint32_t index, uint64_t *value);
int pvclock_msr_set(struct shim_vcpu *vcpu, uint32_t index, uint64_t value);

/* ------------------------------------------------------------------ host.c: the simulated host */

void host_boot(void); /* the first descriptor is being opened */
void host_after_fork(void);
void host_add_vm(struct shim_vm *vm);
void host_add_vcpu(struct shim_vcpu *vcpu);
void host_remove_vcpu(struct shim_vcpu *vcpu);
/* handle_exception_nmi(), AC_VECTOR: 1 go on in the guest; 0 KVM_EXIT_EXCEPTION, and SIGBUS is due. */
int host_guest_ac(struct shim_vcpu *vcpu, uint32_t error);
/* On the way out of KVM_RUN, with the thread's own mask in force: SIGBUS for this thread. `run_mask` was
 * in force during the run; `own_mask`: it was the thread's own. */
void host_force_sigbus(kernel_sigset run_mask, bool own_mask);

/* ------------------------------------------------------------------ fault.c */

/* Faults that are other options. */
void fault_configure(struct shim_options *options);
/* This fault is in force, and has just come about: counted. */
bool fault_is(enum shim_fault fault);
/* A bus lock happened in a VM that has detection on, or not. */
void fault_bus_lock(const struct shim_vm *vm);
/* KVM_RUN as `run` does it, with the fault that is in force. */
int fault_run(struct shim_vcpu *vcpu, int (*run)(struct shim_vcpu *vcpu));

/* ------------------------------------------------------------------ run.c, exit.c */

/* VMX exit reasons that the processor here never gives, but kernels have rules for */
enum { VMX_PML_FULL = 62, VMX_NOTIFY = 75 };

/* The verdict on one VM exit: stay in the guest (again), or return to the monitor. */
struct run_result {
	bool again;
	int ret;         /* of KVM_RUN, if not again */
	uint32_t reason; /* kvm_run.exit_reason */
	uint16_t flags;  /* to be or-ed into kvm_run.flags */
};
/*
 * The tail of the kernel's exit handler. `word`: the hardware's exit reason with its modifier bits;
 * `inner`: what the handler of the basic reason said (1 done, 0 to the monitor, -errno); `reason`:
 * kvm_run.exit_reason as it stands then.
 */
struct run_result run_result(const struct profile *profile, bool intel, uint32_t word, int inner,
			     uint32_t reason);
/* Is an exit of this reason in the middle of event delivery an error (KVM_INTERNAL_ERROR_DELIVERY_EV)? */
bool run_delivery_error(const struct profile *profile, uint32_t word, uint32_t idt_vectoring);

/* Fill kvm_run from the processor's exit: 1 go on, 0 to the monitor, -errno. */
int exit_handle(struct shim_vcpu *vcpu, struct emu_exit *exit);
/* Hand back what the monitor filled in for the last exit. */
void exit_complete(struct shim_vcpu *vcpu);

int run_vcpu(struct shim_vcpu *vcpu, unsigned long argument);

/* ------------------------------------------------------------------ ioctls.c */

/* An ioctl of <linux/kvm.h>; sets of descriptors have bit 1 << enum shim_kind. */
struct ioctl_info {
	unsigned long request;
	const char *name;
	uint8_t on;      /* where Linux 6.12 has it on x86 */
	uint8_t here;    /* where it is emulated */
	uint16_t reads;  /* without it: so much of the argument is read first … */
	int16_t error;   /* … and this is said; 0: what the descriptor says to unknown numbers */
	uint16_t cap;    /* 1 + the capability that it belongs to; 0: it has none of its own */
	unsigned since;  /* kernel; 0: all */
	const char *why; /* not emulated, where no capability says it */
};
#define IOCTL_OBSOLETE "in headers only: 6.12 has no code for it" /* a `why` */
#define IOCTL_NEWEST   KERNEL(6, 11, 0)                           /* no `since` is later */
extern const struct ioctl_info ioctl_table[];
extern const size_t ioctl_table_size;
/* One that x86 does not have: the same number may mean something else there. */
struct ioctl_foreign {
	uint8_t direction, nr;
	const char *name, *architecture;
	unsigned since;
};
extern const struct ioctl_foreign ioctl_foreign[];
extern const size_t ioctl_foreign_size;

const struct ioctl_info *ioctl_find(unsigned long request);
/* "KVM_RUN", or NULL. */
const char *ioctl_name(unsigned long request);
/* Is it of a later kernel than the one in force? */
bool ioctl_is_newer(unsigned long request);
int ioctl_default_error(enum shim_kind kind);
/* What this kernel does not have (yet): said in the log, answered as the table says. */
long ioctl_refuse(enum shim_kind kind, unsigned long request, unsigned long argument);

/* ------------------------------------------------------------------ log.c */

#define log_debug(...)                                                       \
	do {                                                                 \
		if (__builtin_expect(shim_config.options.log_level >= 3, 0)) \
			shim_log(3, __VA_ARGS__);                            \
	} while (0)

#endif
