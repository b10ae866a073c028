/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of watch/ share. */
#ifndef BUSLOCK_WATCH_INTERNAL_H
#define BUSLOCK_WATCH_INTERNAL_H

#include "emu/insn.h"
#include "traces/report.h"
#include "vmm_shim/kvm_abi.h"
#include "watch/watch.h"

#include <stdatomic.h>

#define WATCH_VMS   64
#define WATCH_VCPUS 1024
#define WATCH_FDS   65536
#define WATCH_SLOTS 1024
#define WATCH_PAGE  4096u

enum watch_kind { WATCH_NOTHING, WATCH_VM, WATCH_VCPU };

struct watch_slot {
	uint32_t id, flags;
	uint64_t gpa, size, host;
};

/* First member of what a descriptor stands for. */
struct watch_object {
	_Atomic unsigned
		refs; /* numbers that are descriptors of it, users, vCPUs of a VM; 0: free */
	enum watch_kind kind;
};

struct watch_vm {
	struct watch_object object;
	unsigned number; /* of the VM in this process, from 0 */
	_Atomic unsigned vcpus;
	_Atomic bool asked;   /* the monitor itself has asked for bus-lock exits */
	_Atomic bool enabled; /* they are on */
	_Atomic bool irqchip; /* the kernel has an interrupt controller: HLT does not exit */
	/* with step: guest memory, as the monitor has declared it */
	_Atomic unsigned slots_lock;
	unsigned slots; /* highest used, plus one */
	struct watch_slot *slot;
	bool sync; /* kvm_run can show the registers (KVM_CAP_SYNC_REGS) */
};

/* Where the code was found last, until the guest may have changed that: a TLB of one entry. */
struct watch_code {
	bool valid;
	uint64_t linear, gpa, cr3; /* pages */
};

struct watch_vcpu {
	struct watch_object object;
	struct watch_vm *vm;
	unsigned index;      /* in its VM, by order of creation */
	struct kvm_run *run; /* our own mapping */
	bool monitor_mask;   /* the monitor has used KVM_SET_SIGNAL_MASK */
	bool has_mask;       /* … and we have */
	uint64_t mask;       /* the one in force during KVM_RUN */
	_Atomic bool busy;   /* a thread is in a run of several entries */
	bool refused;        /* a split lock: it does not run any more */
	bool incomplete; /* step.c: the last exit ends its instruction in the next KVM_RUN only */
	/* step.c: what has been told already, or is being counted */
	struct watch_code code;
	uint64_t starved_rip, starved;
	uint64_t locked, instructions;
	bool told_lost_cpl3, told_starved, told_elsewhere;
};

struct watch {
	struct watch_options options;
	const struct watch_kernel *kernel;
	struct report *report;
	struct trace *trace;
};
extern struct watch watch;

/* ------------------------------------------------------------------ objects.c */

/* What the descriptor stands for, with a reference; NULL: nothing that was seen being made. */
struct watch_object *watch_object_get(int fd);
void watch_object_put(struct watch_object *object);
/* A new one, behind `fd`. NULL: no room, or a number too high. */
struct watch_vm *watch_vm_new(int fd);
struct watch_vcpu *watch_vcpu_new(int fd, struct watch_vm *vm);
/* Has this been said of the descriptor? */
bool watch_object_first_complaint(int fd);

/* ------------------------------------------------------------------ run.c */

long watch_run(struct watch_vcpu *vcpu, int fd, unsigned long argument);
/* Nothing but KVM_RUN. */
long watch_enter(int fd);
/* … with signals held; what is ignored does not end it */
long watch_enter_held(struct watch_vcpu *vcpu, int fd);
/* KVM_RUN returned `result`; `kept`: the monitor will not see it. */
void watch_told(struct watch_vcpu *vcpu, uint64_t begun, long result, bool kept);
struct watch_look;
/* `where`: the instruction, NULL: none. */
void watch_not_covered(const struct watch_vcpu *vcpu, const struct watch_look *where,
		       const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ------------------------------------------------------------------ memory.c */

/* KVM_SET_USER_MEMORY_REGION has been accepted. */
void watch_memory_changed(struct watch_vm *vm, const struct watch_slot *slot);
/* Guest-physical memory, as far as it is the monitor's: 0, -ENOENT: in no slot, -EFAULT. */
int watch_memory_read(struct watch_vm *vm, uint64_t gpa, void *data, size_t size);
int watch_memory_write(struct watch_vm *vm, uint64_t gpa, const void *data, size_t size);

/* ------------------------------------------------------------------ walk.c */

struct watch_walk {
	uint64_t gpa;
	uint64_t entry; /* the last one, of the page */
	bool paged, large;
};
/* Linear to physical through the guest's tables; nothing is changed in them. -ENOENT: not mapped, or the
 * tables are in no slot. */
int watch_walk(struct watch_vm *vm, const struct kvm_sregs *sregs, uint64_t linear,
	       struct watch_walk *out);
/* Linear memory, page by page. -ENOENT; -EFAULT: in a slot, but the monitor has nothing there. */
int watch_linear_read(struct watch_vm *vm, const struct kvm_sregs *sregs, uint64_t linear,
		      void *data, size_t size);
int watch_linear_write(struct watch_vm *vm, const struct kvm_sregs *sregs, uint64_t linear,
		       const void *data, size_t size);

/* ------------------------------------------------------------------ look.c */

/* What a vCPU is about to do. */
struct watch_look {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	unsigned mode; /* 16, 32, 64 */
	unsigned cpl;
	bool decoded; /* else the code cannot be read, or is longer than an instruction may be */
	struct insn insn;
	bool locked;  /* it makes a locked access: */
	bool operand; /* … to memory that is the monitor's, as far as the tables say now: */
	struct report_lock lock;
};
/* Registers only. 0 or -errno of the kernel. */
int watch_look_registers(int fd, struct watch_look *look);
/* … from kvm_run, after a run with kvm_valid_regs */
void watch_look_synced(const struct kvm_run *run, struct watch_look *look);
void watch_look_ahead(struct watch_vcpu *vcpu, int fd, struct watch_look *look);
/* The instruction behind one that loads SS. Where its operand depends on that it is `locked` without
 * an `operand`. */
void watch_look_behind(struct watch_vcpu *vcpu, int fd, const struct watch_look *look,
		       struct watch_look *second);
/* Registers as the decoder wants them. */
void watch_look_insn_registers(const struct watch_look *look, struct insn_regs *out);
uint64_t watch_look_linear_rip(const struct watch_look *look);
/* RIP behind the instruction */
uint64_t watch_look_next(const struct watch_look *look);

/* ------------------------------------------------------------------ step.c */

/* KVM_RUN, instruction by instruction, with signals held. */
long watch_step(struct watch_vcpu *vcpu, int fd);

#endif
