// SPDX-License-Identifier: GPL-2.0-only
/* What a vCPU is about to do: its registers, the instruction they point to, and where that locks. */
#include "watch/internal.h"

#include "emu/memtype.h"

#include <errno.h>
#include <string.h>

#define LINE 64 /* bytes of a cache line, on all current parts (SDM 11.1.2.2) */
enum { CR0_PE_BIT = 0, CR0_CD_BIT = 30, EFER_LMA_BIT = 10, RFLAGS_VM_BIT = 17 };

static unsigned mode_of(const struct kvm_sregs *s)
{
	if (s->efer >> EFER_LMA_BIT & 1 && s->cs.l)
		return 64;
	return s->cs.db ? 32 : 16;
}

static unsigned cpl_of(const struct watch_look *look)
{
	if (!(look->sregs.cr0 >> CR0_PE_BIT & 1))
		return 0;
	return look->regs.rflags >> RFLAGS_VM_BIT & 1 ? 3 : look->sregs.ss.dpl;
}

uint64_t watch_look_linear_rip(const struct watch_look *look)
{
	return look->mode == 64 ? look->regs.rip : (uint32_t)(look->sregs.cs.base + look->regs.rip);
}

uint64_t watch_look_next(const struct watch_look *look)
{
	uint64_t next = look->regs.rip + look->insn.length;

	return look->mode == 64 ? next : look->mode == 32 ? (uint32_t)next : (uint16_t)next;
}

static void conclude(struct watch_look *look)
{
	look->mode = mode_of(&look->sregs);
	look->cpl = cpl_of(look);
}

void watch_look_synced(const struct kvm_run *run, struct watch_look *look)
{
	look->regs = run->s.regs.regs;
	look->sregs = run->s.regs.sregs;
	conclude(look);
}

int watch_look_registers(int fd, struct watch_look *look)
{
	long result = watch.kernel->ioctl(fd, KVM_GET_REGS, (unsigned long)&look->regs);

	if (result >= 0)
		result = watch.kernel->ioctl(fd, KVM_GET_SREGS, (unsigned long)&look->sregs);
	if (result < 0)
		return (int)result;
	conclude(look);
	return 0;
}

/* ------------------------------------------------------------------ the instruction */

/* Code in one page. What the processor itself remembers of its page tables may be remembered here, too,
 * as long as nothing that makes it forget has run: step.c. */
static int read_code(struct watch_vcpu *vcpu, const struct watch_look *look, uint64_t linear,
		     void *data, size_t size)
{
	uint64_t offset = linear & (WATCH_PAGE - 1);
	struct watch_code *code = &vcpu->code;
	struct watch_walk at;

	if (!code->valid || code->linear != linear - offset || code->cr3 != look->sregs.cr3) {
		code->valid = false;
		if (watch_walk(vcpu->vm, &look->sregs, linear, &at))
			return -ENOENT;
		*code = (struct watch_code){ .valid = true,
					     .linear = linear - offset,
					     .gpa = at.gpa - offset,
					     .cr3 = look->sregs.cr3 };
	}
	return watch_memory_read(vcpu->vm, code->gpa + offset, data, size);
}

/* No more than the page has, unless it goes on in the next: that may not be there. */
static bool decode(struct watch_vcpu *vcpu, struct watch_look *look, uint64_t linear)
{
	size_t room = WATCH_PAGE - (linear & (WATCH_PAGE - 1));
	size_t n = room < INSN_MAX_LENGTH ? room : INSN_MAX_LENGTH;
	uint8_t bytes[INSN_MAX_LENGTH];
	int result;

	if (read_code(vcpu, look, linear, bytes, n))
		return false;
	result = insn_decode(&look->insn, bytes, n, look->mode);
	if (result == -ENODATA && n < INSN_MAX_LENGTH) {
		if (read_code(vcpu, look, linear + n, bytes + n, INSN_MAX_LENGTH - n))
			return false;
		result = insn_decode(&look->insn, bytes, INSN_MAX_LENGTH, look->mode);
	}
	return result == 0;
}

void watch_look_insn_registers(const struct watch_look *look, struct insn_regs *out)
{
	const struct kvm_regs *r = &look->regs;
	const struct kvm_sregs *s = &look->sregs;

	*out = (struct insn_regs){
		.gpr = { r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi, r->r8,
			 r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15 },
		.rip = r->rip,
		.rflags = r->rflags,
		.seg_base = { s->es.base, s->cs.base, s->ss.base, s->ds.base, s->fs.base,
			      s->gs.base },
		.stack_size = look->mode == 64 ? 8
			      : s->ss.db       ? 4
					       : 2,
	};
	/* SDM vol. 1, 3.4.4 */
	if (look->mode == 64)
		memset(out->seg_base, 0, SEG_FS * sizeof(out->seg_base[0]));
}

/* ------------------------------------------------------------------ memory types */

/* IA32_PAT, IA32_MTRR_DEF_TYPE, the fixed ranges, the variable ones; what KVM does not have stays 0. */
static void memory_registers(int fd, struct memtype_registers *out)
{
	enum { MSRS = 2 + MEMTYPE_FIXED + 2 * MEMTYPE_VARIABLE };
	struct {
		uint32_t count, pad;
		struct kvm_msr_entry entry[MSRS];
	} msrs = { .count = MSRS };
	unsigned n = 0;

	*out = (struct memtype_registers){ .pat = MEMTYPE_PAT_RESET };
	msrs.entry[n++].index = MSR_PAT;
	msrs.entry[n++].index = MSR_MTRR_DEF_TYPE;
	for (unsigned i = 0; i < MEMTYPE_FIXED; i++)
		msrs.entry[n++].index = memtype_fixed_msr(i);
	for (unsigned i = 0; i < 2 * MEMTYPE_VARIABLE; i++)
		msrs.entry[n++].index = MSR_MTRR_PHYSBASE0 + i;
	/* It stops at the first that it does not know. */
	if (watch.kernel->ioctl(fd, KVM_GET_MSRS, (unsigned long)&msrs) < 1)
		return;
	out->pat = msrs.entry[0].data;
	out->mtrr_default = msrs.entry[1].data;
	for (unsigned i = 0; i < MEMTYPE_FIXED; i++)
		out->mtrr_fixed[i] = msrs.entry[2 + i].data;
	for (unsigned i = 0; i < 2 * MEMTYPE_VARIABLE; i++)
		out->mtrr_variable[i] = msrs.entry[2 + MEMTYPE_FIXED + i].data;
}

static struct memtype type_of(const struct watch_look *look, const struct memtype_registers *msrs,
			      const struct watch_walk *at)
{
	bool guest = watch.options.memory == WATCH_MEMORY_GUEST;
	const struct memtype_question question = {
		.vendor = guest ? EMU_AMD : EMU_INTEL,
		.policy = guest ? EMU_MEMORY_NPT : EMU_MEMORY_WB_IGNORE_PAT,
		.cd = look->sregs.cr0 >> CR0_CD_BIT & 1,
		.has_mtrr = true,
		.physical_bits = 52,
		.registers = msrs,
		.gpa = at->gpa,
		.pat_index = at->paged ? memtype_pat_index(at->entry, at->large ? MEMTYPE_LARGE_PAGE
										: MEMTYPE_PAGE)
				       : MEMTYPE_NO_PAT,
	};

	return memtype_explain(&question);
}

/* ------------------------------------------------------------------ a locked access */

/* Is each byte of it memory of the monitor's? What is not ends in an exit or a fault, without a lock. */
static bool find_operand(struct watch_vcpu *vcpu, int fd, struct watch_look *look)
{
	struct report_lock *lock = &look->lock;
	uint64_t last = lock->linear + lock->size - 1;
	struct watch_walk first, second;
	struct memtype_registers msrs;
	struct memtype types;
	uint8_t bytes[64];

	if (look->mode != 64)
		last = (uint32_t)last;
	if (lock->size > sizeof(bytes) ||
	    watch_linear_read(vcpu->vm, &look->sregs, lock->linear, bytes, lock->size) == -ENOENT ||
	    watch_walk(vcpu->vm, &look->sregs, lock->linear, &first) ||
	    watch_walk(vcpu->vm, &look->sregs, last, &second))
		return false;
	memory_registers(fd, &msrs);
	lock->gpa = first.gpa;
	types = type_of(look, &msrs, &first);
	if (types.type == EMU_MT_WB && first.gpa / WATCH_PAGE != second.gpa / WATCH_PAGE)
		types = type_of(look, &msrs, &second);
	lock->memory_type = types.type;
	lock->guest_type = types.guest;
	if (types.type != EMU_MT_WB)
		lock->cause |= REPORT_NON_WB;
	return true;
}

/* Beyond the segment's limit is a fault, and no lock. Segments that grow down are left to the processor. */
static bool within_limit(const struct watch_look *look, const struct insn_access *access)
{
	const struct kvm_sregs *s = &look->sregs;
	const struct kvm_segment *segments[] = { &s->es, &s->cs, &s->ss, &s->ds, &s->fs, &s->gs };
	const struct kvm_segment *segment = segments[access->seg];

	if (look->mode == 64 || (segment->type & 0xc) == 4)
		return true;
	return access->offset + access->size - 1 <= segment->limit;
}

static void find_lock(struct watch_vcpu *vcpu, int fd, struct watch_look *look)
{
	struct insn_access access[INSN_MAX_ACCESSES];
	struct report_lock *lock = &look->lock;
	struct insn_regs regs;
	bool within = false;
	int n;

	watch_look_insn_registers(look, &regs);
	n = insn_accesses(&look->insn, &regs, access);
	for (int i = 0; i < n && !look->locked; i++) {
		if (!(access[i].access & INSN_WRITE))
			continue;
		look->locked = true;
		within = within_limit(look, &access[i]);
		lock->linear = access[i].linear;
		lock->size = access[i].size;
	}
	if (!look->locked)
		return;
	lock->rip = look->regs.rip;
	lock->linear_rip = watch_look_linear_rip(look);
	lock->cpl = (uint8_t)look->cpl;
	lock->mode = (uint8_t)look->mode;
	lock->insn_length = look->insn.length;
	memcpy(lock->insn, look->insn.bytes, look->insn.length);
	if ((lock->linear & (LINE - 1)) + lock->size > LINE)
		lock->cause |= REPORT_SPLIT;
	look->operand = within && find_operand(vcpu, fd, look);
}

static void look(struct watch_vcpu *vcpu, int fd, struct watch_look *look)
{
	look->locked = look->operand = false;
	memset(&look->lock, 0, sizeof(look->lock));
	look->decoded = decode(vcpu, look, watch_look_linear_rip(look));
	if (look->decoded && look->insn.flags & INSN_LOCKED && look->insn.op != OP_UD)
		find_lock(vcpu, fd, look);
}

void watch_look_ahead(struct watch_vcpu *vcpu, int fd, struct watch_look *out)
{
	look(vcpu, fd, out);
}

/* In real mode the selector says all; elsewhere its descriptor does, which is not looked at. */
static bool find_stack_segment(struct watch_vcpu *vcpu, const struct watch_look *load,
			       uint64_t *base)
{
	struct insn_access access[INSN_MAX_ACCESSES];
	struct insn_regs regs;
	uint16_t selector;

	if (load->sregs.cr0 >> CR0_PE_BIT & 1)
		return false;
	watch_look_insn_registers(load, &regs);
	if (insn_accesses(&load->insn, &regs, access) == 0)
		selector = (uint16_t)regs.gpr[load->insn.rm];
	else if (watch_linear_read(vcpu->vm, &load->sregs, access[0].linear, &selector, 2))
		return false;
	*base = (uint64_t)selector << 4;
	return true;
}

void watch_look_behind(struct watch_vcpu *vcpu, int fd, const struct watch_look *first,
		       struct watch_look *out)
{
	uint64_t base = 0;
	bool known;

	*out = *first;
	out->regs.rip = watch_look_next(first);
	if (first->insn.op == OP_POP_SEG)
		out->regs.rsp += first->insn.opsize;
	known = first->mode == 64 || find_stack_segment(vcpu, first, &base);
	if (first->mode != 64 && known)
		out->sregs.ss.base = base;
	look(vcpu, fd, out);
	if (!known && out->insn.seg == SEG_SS)
		out->operand = false;
}
