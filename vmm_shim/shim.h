/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel: Linux KVM's ioctl API in user space. This header is the line between the system calls a
 * monitor makes (interpose.c: open, ioctl, close … of the C library, or the built-in monitor) and
 * the devices behind them (device.c, vm.c, vcpu.c, run.c).
 *
 * Descriptors are real ones: sealed memory files, so that dup, select, poll, close-on-exec and plain
 * mmap of a vCPU work by themselves. Objects are recognised by the file behind the descriptor, never
 * by its number.
 *
 * All functions return 0 or more, or -errno. Any thread.
 */
#ifndef BUSLOCK_VMM_SHIM_SHIM_H
#define BUSLOCK_VMM_SHIM_SHIM_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct report;
struct trace;
struct shim_file;

enum shim_irqchip { SHIM_IRQCHIP_NONE, SHIM_IRQCHIP_KERNEL };
enum shim_backend { SHIM_BACKEND_EMULATOR, SHIM_BACKEND_SCRIPT };

/* Who decides the type of guest memory (profile.h says what each kernel makes of it). */
enum shim_memory {
	SHIM_MEMORY_DEFAULT, /* kvm on Intel, amd on AMD */
	SHIM_MEMORY_KVM,     /* Intel: RAM is WB, the guest's PAT ignored */
	SHIM_MEMORY_KVM_NONCOHERENT /* Intel: as with an assigned device that does not snoop */,
	SHIM_MEMORY_GUEST, /* the guest's own PAT, MTRRs and CR0.CD, as on metal */
	SHIM_MEMORY_AMD,   /* AMD: nested paging, the guest's PAT counts */
};

/* The host's split_lock_detect= (Documentation/arch/x86/buslock.rst). Off: nothing is simulated. */
enum shim_split_lock {
	SHIM_SPLIT_LOCK_OFF,
	SHIM_SPLIT_LOCK_WARN,
	SHIM_SPLIT_LOCK_FATAL,
	SHIM_SPLIT_LOCK_RATELIMIT,
};

enum shim_time { SHIM_TIME_REAL, SHIM_TIME_VIRTUAL };

/*
 * One deliberate fault of processor or kernel, for those who want to know what their tests notice
 * (`buslock mutate`). fault.c says what each does.
 */
enum shim_fault {
	SHIM_FAULT_NONE,
	SHIM_FAULT_NO_EXIT,
	SHIM_FAULT_EXIT_TWICE,
	SHIM_FAULT_NO_FLAG,
	SHIM_FAULT_FLAG_ALONE,
	SHIM_FAULT_BIT_26_ALONE,
	SHIM_FAULT_SKIPPED,
	SHIM_FAULT_REPEATED,
	SHIM_FAULT_UNASKED,
	SHIM_FAULT_OTHER_VENDOR,
	SHIM_FAULT_NO_CAPABILITY,
	SHIM_FAULT_REFUSED,
	SHIM_FAULT_EINTR_STORM,
	SHIM_FAULT_ERROR_SWALLOWED,
	SHIM_FAULTS
};

#define SHIM_MAX_UC 8
struct shim_range {
	uint64_t gpa, size;
};

/* Chosen once, before the first descriptor; printed in every trace header. */
struct shim_options {
	int vendor;      /* enum emu_vendor */
	unsigned kernel; /* profile: major << 16 | minor << 8 | patch; 0: shim_options_kernel() */
	bool mmio_all;
	bool count;
	enum shim_irqchip irqchip; /* KVM_CAP_IRQCHIP and what belongs to it */
	bool capability;           /* capability 193 is offered (default true) */

	enum shim_memory memory;
	struct shim_range uc[SHIM_MAX_UC]; /* second-level type UC: a device's memory */
	unsigned ucs;

	bool guest_sld; /* the guest sees CORE_CAPABILITIES and MSR 33h, which KVM hides */
	enum shim_split_lock host_split_lock;
	unsigned host_ratelimit;  /* locks a second, 1 to 1000, with SHIM_SPLIT_LOCK_RATELIMIT */
	bool split_lock_mitigate; /* kernel.split_lock_mitigate (default true) */
	bool split_lock_fix; /* a proposed fix: an interrupted sleep still disables detection */
	unsigned hz;         /* CONFIG_HZ: 100, 250 (default), 300 or 1000 */

	/* What the manuals leave open; the defaults are emu_config's. */
	bool bare_reason_74;
	bool delivery_vectoring; /* EMU_DELIVERY_LOCK_VECTORING */
	unsigned lock_boundary;  /* AMD: 8, 16, 32 or 64 (default) */

	enum shim_time time;
	unsigned tsc_khz;     /* of virtual time; default 2,000,000 */
	unsigned insn_cycles; /* TSC cycles of an instruction in virtual time; default 1 */
	unsigned lock_cycles; /* … of a bus lock, on top; default 1000 */

	enum shim_fault fault;
	bool kvmclock; /* CPUID 40000000h: kvmclock and steal time (default true) */

	enum shim_backend backend;
	const char *script;    /* SHIM_BACKEND_SCRIPT: file with exits */
	int log_level;         /* 0 nothing, 1 warnings, 2 info, 3 debug (BUSLOCK_LOG) */
	struct report *report; /* may be NULL */
	struct trace *trace;   /* may be NULL */
	bool trace_locked;     /* every locked access in it, bus lock or not */
	bool trace_registers;  /* a digest of the registers with each exit in it */
};
void shim_options_default(struct shim_options *options);
/* The kernel in force: the one named, else 6.12 on Intel and 6.18 on AMD, whose KVM has no bus-lock
 * exits before 6.16. */
unsigned shim_options_kernel(const struct shim_options *options);
/* "vendor=intel,kernel=6.12,…", the form in which `buslock exec` hands them over in the environment
 * variable BUSLOCK_OPTIONS. -EINVAL with the reason in `why`. */
int shim_options_parse(struct shim_options *options, const char *text, char *why, size_t size);
int shim_options_format(const struct shim_options *options, char *text, size_t size);

/* What the option of that name takes, in words; NULL: there is no such option. */
const char *shim_option_values(const char *name);

/* "no-exit" …, and what is then wrong, in words. */
const char *shim_fault_name(enum shim_fault fault);
const char *shim_fault_text(enum shim_fault fault);

/* Do they go together? -EINVAL with the reason in `why`: AMD with Intel's memory policy … */
int shim_options_check(const struct shim_options *options, char *why, size_t size);

/* -EBUSY once a descriptor has been opened. */
int shim_configure(const struct shim_options *options);

/* open("/dev/kvm", flags): a new descriptor. */
int shim_open(int open_flags);
bool shim_is_kvm_path(const char *path);

/*
 * The object behind a descriptor, NULL if it is none of ours. Fast for descriptors seen before.
 * Valid until the caller releases it.
 */
struct shim_file *shim_file_get(int fd);
void shim_file_put(struct shim_file *file);
/*
 * What read(), write() and lseek() do on one of ours: -1 if it is none, which costs next to nothing, 0
 * for /dev/kvm itself, 1 for a VM or a vCPU. A dup() that was never used for an ioctl is not known.
 */
int shim_descriptor_class(int fd);

/* ioctl() on one of ours: the result, or -errno. KVM_RUN blocks here. */
long shim_ioctl(struct shim_file *file, unsigned long request, unsigned long argument);

/* A descriptor of ours may have been closed (after the fact), or all of them may (close_range):
 * objects without descriptors are torn down as the kernel would. Does nothing in a vfork child. */
void shim_descriptors_closed(void);
/* Called after fork() in the child: VMs and vCPUs of the parent answer -EIO from now on. */
void shim_after_fork(void);

/* A signal is about to be sent to thread `tid` of this process (0: any thread): end its KVM_RUN. */
void shim_signal_sent(int tid);
/* Host memory is about to go (munmap, PROT_NONE, MADV_REMOVE …) or has come (mmap). */
void shim_memory_gone(const void *address, size_t size);
void shim_memory_back(const void *address, size_t size);
/* A vCPU's descriptor has been mapped shared, from `offset` on: its third page is that of all vCPUs of
 * the VM (coalesced MMIO). */
void shim_mapped(struct shim_file *file, void *address, size_t size, uint64_t offset,
		 int protection);
/* A SIGSEGV or SIGBUS at `address` on this thread: true (does not return in fact) if it came from
 * guest memory in a run of ours, which then ends with -EFAULT, or where the kernel's own accesses to
 * guest memory then do. Async-signal-safe. */
bool shim_memory_fault(const void *address);
/* The same with the handler's ucontext: the vCPU's state is then exact at the instruction. */
bool shim_memory_fault_at(const void *address, const void *ucontext);

/*
 * A thread of the monitor is about to sleep. The time, if there is a trace and the thread's last KVM_RUN
 * came back with a bus lock, else 0; to be given to the second when it has slept. Async-signal-safe.
 */
uint64_t shim_policy_sleeps(void);
void shim_policy_slept(uint64_t since, bool interrupted);

/* What stat() shows for /dev/kvm where there is none: a character device 10:232. */
#define SHIM_KVM_MAJOR 10
#define SHIM_KVM_MINOR 232

/*
 * Who keeps the program's disposition of SIGSEGV and SIGBUS apart from the kernel's answers for it here,
 * as rt_sigaction(2). NULL: the kernel's is the program's.
 */
extern long (*shim_rt_sigaction)(int signal, const void *action, void *old, size_t size);
/* How the shim's own helper thread is made; NULL: pthread_create(). */
extern int (*shim_helper_create)(pthread_t *thread, const pthread_attr_t *attributes,
				 void *(*start)(void *), void *argument);

void shim_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
