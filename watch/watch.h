/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The witness: somebody else's monitor on a real /dev/kvm, watched. All that it asks goes on to the
 * kernel below, and the kernel's answers go back; what passes is told to report and trace. Two things
 * more can be asked for: bus-lock exits for a monitor that does not know them (enable), and single
 * steps, with each instruction decoded before it runs (step).
 *
 * Async-signal-safe, no allocation, no exit, no output. Any thread. Results are 0 or more, or -errno.
 */
#ifndef BUSLOCK_WATCH_WATCH_H
#define BUSLOCK_WATCH_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct report;
struct trace;

/* What is below; tests put another one there. */
struct watch_kernel {
	long (*ioctl)(int fd, unsigned long request, unsigned long argument);
	/* The first page of a vCPU's descriptor, shared; -errno as a pointer's value on failure. */
	void *(*map)(int fd, size_t size);
	void (*unmap)(void *address, size_t size);
	/* ends the program, as a run that must not go on */
	void (*terminate)(void);
};

/* How the type of guest memory comes about on this host (docs/memory.md). */
enum watch_memory {
	WATCH_MEMORY_KVM,   /* RAM is WB: KVM on Intel, and shadow paging anywhere */
	WATCH_MEMORY_GUEST, /* the guest's PAT counts: AMD's nested paging */
};

struct watch_options {
	bool enable; /* KVM_CAP_X86_BUS_LOCK_EXIT for each VM, its exits kept from the monitor */
	bool step;
	bool locked;          /* with step: tell every locked access */
	bool hold_interrupts; /* with step: KVM_GUESTDBG_BLOCKIRQ */
	bool native_delivery; /* with step: the processor delivers events, and clears TF */
	enum watch_memory memory;
	uint64_t native_split_locks; /* that may run on the real device, with step */
};
/* "enable,step,…", the form in which `buslock record` hands them over in BUSLOCK_WATCH. -EINVAL: not
 * understood. */
int watch_options_parse(struct watch_options *options, const char *text);
int watch_options_format(const struct watch_options *options, char *text, size_t size);

/* Once, before anything else; `report` and `trace` may be NULL, and stay the caller's. */
int watch_configure(const struct watch_options *options, const struct watch_kernel *kernel,
		    struct report *report, struct trace *trace);

/* ioctl() with a request of KVM's. */
long watch_ioctl(int fd, unsigned long request, unsigned long argument);

/* To be told before descriptors of these numbers are closed, … */
void watch_closing(unsigned first, unsigned last);
/* … and after `to` has become a copy of `from`. */
void watch_duplicated(int from, int to);
/* In the child of a fork: its parent's VMs are not its own. */
void watch_after_fork(void);

/* A thread is about to sleep: the time, if its last KVM_RUN came back with a bus lock and there is a
 * trace, else 0; to be given to the second afterwards. */
uint64_t watch_sleeps(void);
void watch_slept(uint64_t since, bool interrupted);

#endif
