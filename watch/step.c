// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_RUN one instruction at a time. Before each entry the next instruction is decoded and its locked
 * operand found; after it, what RIP became says whether it was executed. The debug exits stay here.
 * docs/record.md lists what this does not cover; each case that can be noticed is said in the trace.
 *
 * The kernel hides the TF that it sets from KVM_GET_REGS (kvm_get_rflags()); the guest's own code can see
 * it in what PUSHF, SYSCALL and the delivery of events save, and there it is cleared again.
 */
#include "watch/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FL_TF 0x100u

#define MSR_LSTAR 0xc0000082u

#define SPREAD_NS      10000000 /* between two split locks on the real device */
#define STARVED_ENOUGH 64       /* events in a row in front of one instruction that never runs */

/* One entry. */
struct step {
	struct watch_look before, after;
	bool shadow; /* `before` loads SS: the next one may be executed in the same step */
	struct watch_look second;
	long result;
	uint32_t reason;
	bool armed; /* single-step is on, and nothing else */
};

/* ------------------------------------------------------------------ guest debugging */

static bool is_load_ss(const struct watch_look *look)
{
	const struct insn *insn = &look->insn;

	if (!look->decoded)
		return false;
	return (insn->op == OP_MOV_TO_SEG && insn->reg == SEG_SS) ||
	       (insn->op == OP_POP_SEG && insn->map == MAP_ONE && insn->opcode == 0x17);
}

/* The stack's top, as many bytes as it has. 0 or -errno. */
static int stack_read(struct watch_vcpu *vcpu, const struct watch_look *look, uint64_t offset,
		      void *data, size_t size)
{
	uint64_t sp = look->regs.rsp;

	if (look->mode != 64)
		sp = look->sregs.ss.base + (look->sregs.ss.db ? (uint32_t)sp : (uint16_t)sp);
	return watch_linear_read(vcpu->vm, &look->sregs, sp + offset, data, size);
}

static int stack_write(struct watch_vcpu *vcpu, const struct watch_look *look, uint64_t offset,
		       const void *data, size_t size)
{
	uint64_t sp = look->regs.rsp;

	if (look->mode != 64)
		sp = look->sregs.ss.base + (look->sregs.ss.db ? (uint32_t)sp : (uint16_t)sp);
	return watch_linear_write(vcpu->vm, &look->sregs, sp + offset, data, size);
}

/*
 * Instructions that may load an RFLAGS without TF and so leave single-stepping: where they go to, so
 * that a breakpoint catches the guest there. False: it is not one of them, or nobody knows.
 */
static bool landing(struct watch_vcpu *vcpu, int fd, const struct watch_look *look,
		    uint64_t *linear)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msr = { .header.nmsrs = 1, .entry.index = MSR_LSTAR };
	uint64_t rip = 0;

	switch (look->insn.op) {
	case OP_SYSCALL:
		if (watch.kernel->ioctl(fd, KVM_GET_MSRS, (unsigned long)&msr) != 1)
			return false;
		*linear = msr.entry.data;
		return look->mode == 64;
	case OP_SYSRET:
		*linear = look->insn.opsize == 8 ? look->regs.rcx : (uint32_t)look->regs.rcx;
		return true;
	case OP_IRET:
		if (stack_read(vcpu, look, 0, &rip, look->insn.opsize))
			return false;
		/* In other modes the new CS has a base of its own. */
		*linear = rip;
		return look->mode == 64;
	default:
		return false;
	}
}

/*
 * HLT under single-step ends in a debug exit instead of its own, and may then be passed over. So it runs
 * as it is where it leaves for the monitor, unless an event comes first, whose handler would then run
 * unseen.
 */
static bool runs_plain(const struct watch_vcpu *vcpu, int fd, const struct watch_look *look)
{
	struct kvm_vcpu_events events;

	if (!look->decoded || look->insn.op != OP_HLT || atomic_load(&vcpu->vm->irqchip))
		return false;
	if (watch.kernel->ioctl(fd, KVM_GET_VCPU_EVENTS, (unsigned long)&events) < 0)
		return true;
	return !events.interrupt.injected && !events.exception.injected && !events.nmi.injected &&
	       !events.nmi.pending;
}

/*
 * KVM's emulator drops TF where it writes RFLAGS back (__kvm_set_rflags() knows one RIP only), and so do
 * instructions that load RFLAGS, and events. What touches registers alone never gets to any of these.
 */
static bool keeps_tf(const struct watch_look *look)
{
	const struct insn *insn = &look->insn;

	if (!look->decoded || insn->flags & INSN_MEM)
		return false;
	if (insn->op == OP_PLAIN || insn->op == OP_BRANCH) {
		struct insn_access access[INSN_MAX_ACCESSES];
		const struct insn_regs none = { .stack_size = 8 };

		return insn_accesses(insn, &none, access) == 0;
	}
	return (insn->op >= OP_ADD && insn->op <= OP_MOVSX) || insn->op == OP_NOP;
}

static long set_debug(struct watch_vcpu *vcpu, int fd, struct step *step)
{
	struct kvm_guest_debug debug = { 0 };
	uint64_t linear;
	bool plain = runs_plain(vcpu, fd, &step->before);
	bool breakpoint = !plain && step->before.decoded &&
			  landing(vcpu, fd, &step->before, &linear);

	if (step->armed && !plain && !breakpoint)
		return 0;
	if (!plain) {
		debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
		if (watch.options.hold_interrupts)
			debug.control |= KVM_GUESTDBG_BLOCKIRQ;
	}
	if (breakpoint) {
		debug.control |= KVM_GUESTDBG_USE_HW_BP;
		debug.arch.debugreg[0] = linear;
		debug.arch.debugreg[7] = 1 << 10 | 2; /* G0: execution, one byte */
	}
	step->armed = !plain && !breakpoint;
	return watch.kernel->ioctl(fd, KVM_SET_GUEST_DEBUG, (unsigned long)&debug);
}

/* ------------------------------------------------------------------ split locks */

static void pause_between(void)
{
	const struct timespec time = { .tv_nsec = SPREAD_NS };

	syscall(SYS_nanosleep, &time, NULL);
}

static bool may_run(void)
{
	static _Atomic uint64_t own; /* without a report */
	_Atomic uint64_t *count = watch.report ? &watch.report->native_split_locks : &own;
	uint64_t taken = atomic_load(count);

	do {
		if (taken >= watch.options.native_split_locks)
			return false;
	} while (!atomic_compare_exchange_weak(count, &taken, taken + 1));
	if (taken)
		pause_between();
	return true;
}

/* As Linux ends a run that it cannot go on with (api.rst 5, KVM_EXIT_INTERNAL_ERROR). */
static long refuse(struct watch_vcpu *vcpu)
{
	vcpu->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	vcpu->run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	vcpu->run->internal.ndata = 0;
	return 0;
}

static void end_run(struct watch_vcpu *vcpu, const struct watch_look *look)
{
	char text[160];

	snprintf(text, sizeof(text),
		 "split lock at rip 0x%llx, %u bytes at 0x%llx: on the real device it would stall "
		 "every core of this host",
		 (unsigned long long)look->lock.rip, look->lock.size,
		 (unsigned long long)look->lock.linear);
	watch_not_covered(vcpu, look, "not run: %s (native-split-locks=%llu)", text,
			  (unsigned long long)watch.options.native_split_locks);
	report_note_end(watch.report, text);
	vcpu->refused = true;
	watch.kernel->terminate();
}

static bool is_split(const struct watch_look *look)
{
	return look->locked && look->operand && look->lock.cause & REPORT_SPLIT;
}

/* True: it must not be entered. */
static bool refused(struct watch_vcpu *vcpu, const struct step *step)
{
	const struct watch_look *look = is_split(&step->before)                   ? &step->before
					: step->shadow && is_split(&step->second) ? &step->second
										  : NULL;

	if (vcpu->refused)
		return true;
	if (!look || may_run())
		return false;
	end_run(vcpu, look);
	return true;
}

/* ------------------------------------------------------------------ what has happened */

static void lock_taken(struct watch_vcpu *vcpu, const struct watch_look *look)
{
	if (!look->locked)
		return;
	if (!look->operand) {
		if (look->insn.seg == SEG_SS && look->mode != 64)
			watch_not_covered(vcpu, look,
					  "a locked access behind a load of SS: its address is not "
					  "known");
		return;
	}
	vcpu->locked++;
	if (watch.options.locked)
		trace_note_locked(watch.trace, vcpu->vm->number, vcpu->index, &look->lock);
	if (!look->lock.cause)
		return;
	report_note_lock(watch.report, vcpu->index, &look->lock);
	trace_note_lock(watch.trace, vcpu->vm->number, vcpu->index, &look->lock);
}

/* A stack frame of an event, as its delivery in this mode makes it (SDM 6.12.1, 6.14.2, 20.1.4). */
struct frame {
	uint64_t offset; /* of the image of RIP, from the stack pointer */
	unsigned size;   /* of a word of it */
	uint64_t rip;
};

/* The handler's first instruction may have pushed something by now: as much as PUSHA does. */
#define FRAME_WORDS 10

/* Was an event taken, in front of this instruction or behind it? */
static bool find_frame(struct watch_vcpu *vcpu, const struct step *step, struct frame *frame)
{
	const struct watch_look *after = &step->after;
	bool real = !(after->sregs.cr0 & 1);
	uint64_t here = step->before.regs.rip, next = watch_look_next(&step->before), cs;
	uint8_t bytes[(FRAME_WORDS + 2) * 8];
	unsigned words = FRAME_WORDS + 2;

	frame->size = after->mode == 64 ? 8 : real || after->mode == 16 ? 2 : 4;
	/* less, where the stack begins */
	while (stack_read(vcpu, after, 0, bytes, (size_t)words * frame->size))
		if (--words < 3)
			return false;
	for (unsigned i = 0; i + 2 <= words; i++) {
		frame->offset = (uint64_t)i * frame->size;
		frame->rip = cs = 0;
		memcpy(&frame->rip, bytes + frame->offset, frame->size);
		memcpy(&cs, bytes + frame->offset + frame->size, 2);
		if ((frame->rip == here || frame->rip == next) &&
		    cs == step->before.sregs.cs.selector)
			return true;
	}
	return false;
}

/* Not the guest's: what is stored there is what single-stepping needs. */
static void clear_tf(struct watch_vcpu *vcpu, const struct watch_look *look, uint64_t offset)
{
	uint16_t flags;

	if (stack_read(vcpu, look, offset, &flags, sizeof(flags)) || !(flags & FL_TF))
		return;
	flags &= (uint16_t)~FL_TF;
	stack_write(vcpu, look, offset, &flags, sizeof(flags));
}

static void clear_saved_tf(int fd, struct watch_look *look)
{
	if (!(look->regs.r11 & FL_TF))
		return;
	look->regs.r11 &= ~(uint64_t)FL_TF;
	watch.kernel->ioctl(fd, KVM_SET_REGS, (unsigned long)&look->regs);
}

/* In front of the same instruction again and again? */
static void count_event(struct watch_vcpu *vcpu, const struct step *step, const struct frame *frame)
{
	uint64_t rip = step->before.regs.rip;

	if (frame->rip != rip)
		return;
	vcpu->starved = rip == vcpu->starved_rip ? vcpu->starved + 1 : 1;
	vcpu->starved_rip = rip;
	if (vcpu->starved < STARVED_ENOUGH || vcpu->told_starved)
		return;
	vcpu->told_starved = true;
	watch_not_covered(vcpu, &step->before,
			  "events come faster than single steps: %u in a row in front of this "
			  "instruction. A timer starves the guest; see --hold-interrupts",
			  STARVED_ENOUGH);
}

static void executed(struct watch_vcpu *vcpu, const struct watch_look *look)
{
	vcpu->instructions++;
	if (look->regs.rip == vcpu->starved_rip)
		vcpu->starved = 0;
	lock_taken(vcpu, look);
}

/* ------------------------------------------------------------------ into a handler */

/* Entry point of a gate (SDM 6.11, 6.14.1; 20.1.4 in real mode); false: none that matches the mode. */
static bool gate_target(const struct watch_look *after, const uint8_t *gate, uint64_t *rip)
{
	uint16_t low, high, selector;
	uint32_t top = 0;

	memcpy(&low, gate, 2);
	memcpy(&selector, gate + 2, 2);
	*rip = low;
	if (!(after->sregs.cr0 & 1))
		return selector == after->sregs.cs.selector;
	memcpy(&high, gate + 6, 2);
	if (after->sregs.efer >> 10 & 1)
		memcpy(&top, gate + 8, 4);
	if (!(gate[5] & 0x80) || (selector & ~3u) != (after->sregs.cs.selector & ~3u))
		return false;
	if (gate[5] & 8) /* 32 or 64 bits */
		*rip |= (uint64_t)high << 16 | (uint64_t)top << 32;
	return true;
}

/* What is at `rip`, with the registers that the handler began with. */
static void look_at_handler(struct watch_vcpu *vcpu, int fd, const struct step *step,
			    const struct frame *frame, uint64_t rip, struct watch_look *out)
{
	*out = step->after;
	out->regs = step->before.regs;
	out->regs.rsp = step->after.regs.rsp + frame->offset;
	out->regs.rip = rip;
	watch_look_ahead(vcpu, fd, out);
}

/* Does the instruction lead to where the guest is now? Branches through registers or memory may. */
static bool leads_to(const struct watch_look *first, uint64_t rip)
{
	uint64_t next = watch_look_next(first);

	if (rip == next)
		return true;
	return first->insn.op == OP_BRANCH &&
	       (!(first->insn.flags & INSN_IMM) || next + first->insn.imm == rip);
}

/*
 * A KVM that emulates the delivery goes on with the handler's first instruction in the same step. Which
 * vector it was is not told, but the interrupt table has only so many entries: the guest stands at the
 * beginning of one, or behind the first instruction of one.
 */
static void handler_entered(struct watch_vcpu *vcpu, int fd, const struct step *step,
			    const struct frame *frame)
{
	const struct watch_look *after = &step->after;
	bool real = !(after->sregs.cr0 & 1), found = false;
	size_t size = real ? 4 : after->sregs.efer >> 10 & 1 ? 16 : 8;
	struct watch_look first;
	uint8_t gate[16];
	uint64_t rip;

	for (unsigned pass = 0; pass < 2 && !found; pass++) {
		for (unsigned i = 0; i < 256 && (i + 1) * size <= after->sregs.idt.limit + 1u;
		     i++) {
			if (watch_linear_read(vcpu->vm, &after->sregs,
					      after->sregs.idt.base + i * size, gate, size) ||
			    !gate_target(after, gate, &rip))
				continue;
			if (pass == 0 && rip == after->regs.rip)
				return;
			if (pass == 0)
				continue;
			look_at_handler(vcpu, fd, step, frame, rip, &first);
			found = first.decoded && leads_to(&first, after->regs.rip);
			if (found)
				break;
		}
	}
	if (!found) {
		watch_not_covered(vcpu, after,
				  "the first instruction of an event's handler is not "
				  "seen, only what follows");
		return;
	}
	executed(vcpu, &first);
	if (is_split(&first) && !may_run()) {
		watch_not_covered(vcpu, &first,
				  "a split lock has run on the real device: the first "
				  "instruction of an event's handler is not seen before");
		end_run(vcpu, &first);
	}
}

/* The guest has been somewhere else in the meantime. */
static void lost(struct watch_vcpu *vcpu, const struct step *step)
{
	const struct watch_look *before = &step->before;
	bool native = before->mode == 64 && before->cpl == 3;

	if (native && vcpu->told_lost_cpl3)
		return;
	vcpu->told_lost_cpl3 |= native;
	watch_not_covered(
		vcpu, before,
		native ? "64-bit user code: this KVM does not single-step it. None of its "
			 "instructions are seen, here and in all that follows (next seen: "
			 "rip 0x%llx)"
		       : "single-stepping was lost between here and rip 0x%llx: what ran "
			 "there is not seen",
		(unsigned long long)step->after.regs.rip);
}

/* May RIP be anywhere afterwards? */
static bool transfers(const struct watch_look *look)
{
	switch (look->insn.op) {
	case OP_BRANCH:
	case OP_JMP_FAR:
	case OP_CALL_FAR:
	case OP_RET_FAR:
	case OP_IRET:
	case OP_INT:
	case OP_INT1:
	case OP_INT3:
	case OP_INTO:
	case OP_SYSCALL:
	case OP_SYSRET:
	case OP_SYSENTER:
	case OP_SYSEXIT:
	case OP_RSM:
		return true;
	default:
		return false;
	}
}

/* The monitor gets an exit: the instruction has caused it, or stands in front of it. */
static bool judge_exit(struct watch_vcpu *vcpu, const struct step *step)
{
	uint64_t rip = step->after.regs.rip;
	struct frame frame;

	if (rip == step->before.regs.rip)
		return true;
	if (rip == watch_look_next(&step->before)) {
		executed(vcpu, &step->before);
		return true;
	}
	/* A signal may come behind the delivery of an event; of a shutdown nothing is known. */
	if (step->result < 0 || step->reason == KVM_EXIT_SHUTDOWN)
		return find_frame(vcpu, step, &frame) || step->result == 0;
	return false;
}

static bool judge_step(struct watch_vcpu *vcpu, int fd, struct step *step)
{
	uint64_t rip = step->after.regs.rip, next = watch_look_next(&step->before);
	struct frame frame;

	if (rip == next) {
		executed(vcpu, &step->before);
		if (step->before.insn.op == OP_PUSHF)
			clear_tf(vcpu, &step->after, 0);
		return true;
	}
	if (rip == step->before.regs.rip) { /* REP, or a jump to itself */
		if (step->before.insn.op == OP_BRANCH)
			executed(vcpu, &step->before);
		return true;
	}
	if (step->shadow && step->second.decoded && rip == watch_look_next(&step->second)) {
		executed(vcpu, &step->before);
		executed(vcpu, &step->second);
		return true;
	}
	if (transfers(&step->before)) {
		executed(vcpu, &step->before);
		if (step->before.insn.op == OP_SYSCALL)
			clear_saved_tf(fd, &step->after);
		else if (find_frame(vcpu, step, &frame))
			clear_tf(vcpu, &step->after, frame.offset + 2 * frame.size);
		return true;
	}
	if (!find_frame(vcpu, step, &frame))
		return false;
	if (frame.rip == next)
		executed(vcpu, &step->before);
	clear_tf(vcpu, &step->after, frame.offset + 2 * frame.size);
	count_event(vcpu, step, &frame);
	handler_entered(vcpu, fd, step, &frame);
	return true;
}

static void judge(struct watch_vcpu *vcpu, int fd, struct step *step, bool ours)
{
	if (!step->before.decoded)
		return;
	if (!(ours ? judge_step(vcpu, fd, step) : judge_exit(vcpu, step)))
		lost(vcpu, step);
}

/* ------------------------------------------------------------------ the loop */

/* POPF or IRET with TF in the image: the guest debugs itself, and two cannot have one flag. */
static void look_for_own_tf(struct watch_vcpu *vcpu, const struct watch_look *look)
{
	uint64_t offset;
	uint16_t flags;

	if (!look->decoded || (look->insn.op != OP_POPF && look->insn.op != OP_IRET))
		return;
	offset = look->insn.op == OP_IRET ? 2 * look->insn.opsize : 0;
	if (!stack_read(vcpu, look, offset, &flags, sizeof(flags)) && flags & FL_TF)
		watch_not_covered(vcpu, look,
				  "the guest sets TF, to single-step itself: its debug traps are "
				  "taken for ours");
}

/* What the monitor has left in kvm_run for the kernel to load (sync_regs()), so that it can be looked at
 * before. What is not valid is left for the kernel to refuse. */
static void load_dirty_registers(struct watch_vcpu *vcpu, int fd)
{
	static const struct {
		uint64_t bit;
		unsigned long request;
		size_t offset;
	} sets[] = {
		{ KVM_SYNC_X86_REGS, KVM_SET_REGS, offsetof(struct kvm_sync_regs, regs) },
		{ KVM_SYNC_X86_SREGS, KVM_SET_SREGS, offsetof(struct kvm_sync_regs, sregs) },
		{ KVM_SYNC_X86_EVENTS, KVM_SET_VCPU_EVENTS,
		  offsetof(struct kvm_sync_regs, events) },
	};
	struct kvm_run *run = vcpu->run;

	if (run->kvm_dirty_regs & ~(uint64_t)KVM_SYNC_X86_VALID_FIELDS)
		return;
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		unsigned long from = (unsigned long)&run->s.regs + sets[i].offset;

		if (run->kvm_dirty_regs & sets[i].bit &&
		    watch.kernel->ioctl(fd, sets[i].request, from) == 0)
			run->kvm_dirty_regs &= ~sets[i].bit;
	}
}

static void look(struct watch_vcpu *vcpu, int fd, struct step *step)
{
	watch_look_ahead(vcpu, fd, &step->before);
	look_for_own_tf(vcpu, &step->before);
	step->shadow = is_load_ss(&step->before);
	if (step->shadow)
		watch_look_behind(vcpu, fd, &step->before, &step->second);
}

/* Instructions behind which the processor forgets translations (SDM 4.10.4.1). */
static bool forgets_translations(const struct watch_look *look)
{
	switch (look->insn.op) {
	case OP_MOV_TO_CR:
	case OP_LMSW:
	case OP_WRMSR:
	case OP_INVLPG:
	case OP_INVPCID:
	case OP_IRET: /* and task switches */
	case OP_JMP_FAR:
	case OP_CALL_FAR:
	case OP_RSM:
		return true;
	default:
		return false;
	}
}

/* One entry. True: it was a step of ours, of which the monitor knows nothing. */
static bool step_once(struct watch_vcpu *vcpu, int fd, struct step *step, int *error)
{
	bool ours, sequential;

	step->result = watch_enter_held(vcpu, fd);
	step->reason = vcpu->run->exit_reason;
	ours = step->result == 0 && step->reason == KVM_EXIT_DEBUG;
	if (vcpu->vm->sync)
		watch_look_synced(vcpu->run, &step->after);
	else
		*error = watch_look_registers(fd, &step->after);
	if (*error < 0)
		return ours;
	judge(vcpu, fd, step, ours);
	sequential = step->before.decoded &&
		     (step->after.regs.rip == watch_look_next(&step->before) ||
		      step->before.insn.op == OP_BRANCH);
	step->armed = step->armed && sequential && keeps_tf(&step->before);
	if (!sequential || forgets_translations(&step->before))
		vcpu->code.valid = false;
	return ours;
}

/* Exits whose instruction ends when the monitor has answered (api.rst 5, complete_userspace_io()). */
static bool needs_completion(uint32_t reason)
{
	return reason == KVM_EXIT_IO || reason == KVM_EXIT_MMIO || reason == KVM_EXIT_HYPERCALL ||
	       reason == KVM_EXIT_X86_RDMSR || reason == KVM_EXIT_X86_WRMSR;
}

/*
 * A KVM_RUN that ends one instruction may go on with another. So it is made to end there, as a monitor
 * would: with immediate_exit. 2 serves as well as 1, and tells ours from the monitor's, which another
 * thread may set at any time. True: what follows can be looked at.
 */
static bool complete(struct watch_vcpu *vcpu, int fd, struct step *step, int *error)
{
	_Atomic uint8_t *immediate_exit = (_Atomic uint8_t *)&vcpu->run->immediate_exit;
	uint8_t none = 0, ours = 2;
	bool again;

	if (!vcpu->incomplete || !atomic_compare_exchange_strong(immediate_exit, &none, ours))
		return true;
	look(vcpu, fd, step);
	step->result = watch_enter(fd);
	step->reason = vcpu->run->exit_reason;
	atomic_compare_exchange_strong(immediate_exit, &ours, 0);
	again = step->result == -EINTR || (step->result == 0 && step->reason == KVM_EXIT_DEBUG);
	*error = watch_look_registers(fd, &step->after);
	if (*error >= 0)
		judge(vcpu, fd, step, again && step->result == 0);
	step->before = step->after;
	return again;
}

static long step_all(struct watch_vcpu *vcpu, int fd)
{
	struct step step = { .armed = false };
	uint32_t reason = vcpu->run->exit_reason;
	int error = watch_look_registers(fd, &step.before);

	vcpu->code.valid = false; /* the monitor may have done anything */
	if (error >= 0 && !complete(vcpu, fd, &step, &error))
		return step.result;
	vcpu->run->exit_reason = reason;
	for (;;) {
		long refusal;

		/* What cannot be looked at (a vCPU that waits for SIPI, a broken VM) runs as it is. */
		if (error < 0)
			return watch_enter_held(vcpu, fd);
		look(vcpu, fd, &step);
		if (refused(vcpu, &step))
			return refuse(vcpu);
		refusal = set_debug(vcpu, fd, &step);
		if (refusal < 0) {
			watch_not_covered(vcpu, &step.before,
					  "KVM_SET_GUEST_DEBUG: errno %ld: not single-stepped",
					  -refusal);
			return watch_enter_held(vcpu, fd);
		}
		if (!step_once(vcpu, fd, &step, &error))
			return step.result;
		/* What the monitor finds there when a signal comes before the next step. */
		vcpu->run->exit_reason = reason;
		step.before = step.after;
	}
}

long watch_step(struct watch_vcpu *vcpu, int fd)
{
	struct kvm_run *run = vcpu->run;
	uint64_t valid;
	long result;

	if (run->kvm_dirty_regs)
		load_dirty_registers(vcpu, fd);
	valid = run->kvm_valid_regs;
	if (vcpu->vm->sync)
		run->kvm_valid_regs = valid | KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
	result = step_all(vcpu, fd);
	vcpu->incomplete = result == 0 && needs_completion(run->exit_reason);
	run->kvm_valid_regs = valid;
	return result;
}
