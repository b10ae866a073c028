/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instructions that leave the engine: system instructions, and those whose exit a hypervisor wants.
 */
#include "emu/run.h"
#include "emu/vm.h"

#include <errno.h>
#include <string.h>

static enum outcome done(struct emu_vcpu *v, const struct insn *i)
{
	advance_rip(&v->cpu, i);
	return DONE;
}

#define MSR_TSC     0x10u
#define MSR_TSC_AUX 0xc0000103u

static bool privileged(const struct cpu *c)
{
	return c->cpl == 0;
}

/* ------------------------------------------------------------------ control and debug registers */

uint64_t cr4_allowed(const struct emu_vcpu *v)
{
	(void)v; /* what the engine's model and our walker implement */
	return CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE |
	       CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_LA57 | CR4_FSGSBASE |
	       CR4_OSXSAVE | CR4_SMEP | CR4_SMAP;
}

bool cr_state_valid(const struct cpu *c)
{
	bool pg = c->cr0 & CR0_PG, pe = c->cr0 & CR0_PE;
	if (c->cr0 >> 32 || (pg && !pe) || ((c->cr0 & CR0_NW) && !(c->cr0 & CR0_CD)))
		return false;
	if (pg && c->efer & EFER_LME && !(c->cr4 & CR4_PAE))
		return false;
	return !(c->efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE));
}

static enum outcome write_cr0(struct emu_vcpu *v, uint64_t value)
{
	struct cpu *c = &v->cpu, next = *c;
	/* reserved bits below 32 read as zero and may be written, those above fault (SDM 2.5) */
	const uint64_t known = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP |
			       CR0_AM | CR0_NW | CR0_CD | CR0_PG;
	if (value >> 32)
		return raise_error(v, EXC_GP, 0);
	next.cr0 = (value & known) | CR0_ET;
	if (!cr_state_valid(&next))
		return raise_error(v, EXC_GP, 0);
	bool pg = next.cr0 & CR0_PG, was = c->cr0 & CR0_PG;
	if (pg && !was && c->efer & EFER_LME) {
		/* SDM 11.8.5: no 64-bit code segment yet, no 16-bit TSS. AMD's manual has no word of the
		 * latter, and its processors come out of INIT under KVM with one (svm.c: init_vmcb()). */
		if (c->segment[EMU_CS].flags & DESC_L ||
		    (v->vm->config.vendor == EMU_INTEL && DESC_TYPE(c->segment[EMU_TR].flags) == 3))
			return raise_error(v, EXC_GP, 0);
		next.efer |= EFER_LMA;
	} else if (!pg && was) {
		if (in_64bit(c) || c->cr4 & CR4_PCIDE)
			return raise_error(v, EXC_GP, 0);
		next.efer &= ~EFER_LMA;
	}
	if ((next.cr0 ^ c->cr0) & CR0_PE && next.cr0 & CR0_PE)
		next.cpl = 0;
	*c = next;
	vcpu_flush(v);
	return DONE;
}

static enum outcome write_cr3(struct emu_vcpu *v, uint64_t value)
{
	uint64_t physical = ~(~0ull << vm_physical_bits(v->vm));
	if (in_long_mode(&v->cpu) && value & ~physical)
		return raise_error(v, EXC_GP, 0);
	v->cpu.cr3 = in_long_mode(&v->cpu) ? value : (uint32_t)value;
	vcpu_flush(v);
	return DONE;
}

static enum outcome write_cr4(struct emu_vcpu *v, uint64_t value)
{
	struct cpu *c = &v->cpu;
	if (value & ~cr4_allowed(v))
		return raise_error(v, EXC_GP, 0);
	if (in_long_mode(c) && (!(value & CR4_PAE) || (value ^ c->cr4) & CR4_LA57))
		return raise_error(v, EXC_GP, 0);
	c->cr4 = value;
	vcpu_flush(v);
	return DONE;
}

static enum outcome write_cr8(struct emu_vcpu *v, const struct insn *i, uint64_t value)
{
	uint64_t before = v->cpu.cr8;
	if (value & ~15ull)
		return raise_error(v, EXC_GP, 0);
	v->cpu.cr8 = value;
	if (value >= before)
		return DONE;
	/* without a local APIC in the kernel the monitor has to know when the threshold sinks */
	advance_rip(&v->cpu, i);
	return leave(v, EMU_EXIT_SET_TPR, VMX_CR_ACCESS);
}

static enum outcome mov_cr(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	unsigned size = i->mode == 64 ? 8 : 4;
	enum outcome r = DONE;
	if (!privileged(c))
		return raise_error(v, EXC_GP, 0);
	if (i->op == OP_MOV_FROM_CR) {
		const uint64_t *from = i->reg == 0   ? &c->cr0
				       : i->reg == 2 ? &c->cr2
				       : i->reg == 3 ? &c->cr3
				       : i->reg == 4 ? &c->cr4
						     : &c->cr8;
		reg_write(c, i->rm, size, true, *from);
		return done(v, i);
	}
	uint64_t value = reg_read(c, i->rm, size, true);
	switch (i->reg) {
	case 0:
		r = write_cr0(v, value);
		break;
	case 2:
		c->cr2 = value;
		break;
	case 3:
		r = write_cr3(v, value);
		break;
	case 4:
		r = write_cr4(v, value);
		break;
	default:
		r = write_cr8(v, i, value);
	}
	return r ? r : done(v, i);
}

static enum outcome lmsw(struct emu_vcpu *v, const struct insn *i)
{
	uint64_t value;
	if (!privileged(&v->cpu))
		return raise_error(v, EXC_GP, 0);
	enum outcome r = operand_read(v, i, 2, &value);
	if (r)
		return r;
	/* PE can be set but not cleared (SDM vol. 2, LMSW) */
	value = (v->cpu.cr0 & ~0xeull) | (value & 0xf);
	r = write_cr0(v, value);
	return r ? r : done(v, i);
}

static enum outcome clts(struct emu_vcpu *v, const struct insn *i)
{
	if (!privileged(&v->cpu))
		return raise_error(v, EXC_GP, 0);
	v->cpu.cr0 &= ~CR0_TS;
	return done(v, i);
}

#define DR7_GD (1u << 13)

/* Bit 11 can be written where bus-lock detection is offered (SDM 20.2.3). */
uint64_t dr6_value(const struct emu_vcpu *v, uint64_t value)
{
	uint64_t bus_lock = v->has_bus_lock_db ? DR6_BLD : 0;
	return (value & (0xe00f | bus_lock)) | (DR6_FIXED & ~bus_lock);
}

static enum outcome mov_dr(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	unsigned size = i->mode == 64 ? 8 : 4, n = i->reg;
	if (n == 4 || n == 5) {
		if (c->cr4 & CR4_DE)
			return raise(v, EXC_UD);
		n += 2;
	}
	if (!privileged(c))
		return raise_error(v, EXC_GP, 0);
	if (breakpoints(v)[7] & DR7_GD) {
		v->pending_db_dr6 |= DR6_BD; /* GD itself falls with the delivery */
		return raise(v, EXC_DB);
	}
	if (i->op == OP_MOV_FROM_DR) {
		reg_write(c, i->rm, size, true, c->dr[n]);
		return done(v, i);
	}
	uint64_t value = reg_read(c, i->rm, size, true);
	if (n >= 6 && value >> 32)
		return raise_error(v, EXC_GP, 0);
	if (n < 4 && size == 8 && !canonical(c, value))
		return raise_error(v, EXC_GP, 0);
	/* fixed bits, SDM 20.2.3, 20.2.4 */
	c->dr[n] = n == 6 ? dr6_value(v, value) : n == 7 ? (value & 0xffff2bff) | DR7_FIXED : value;
	if (n != 6)
		vcpu_breakpoints_changed(v);
	return done(v, i);
}

/* ------------------------------------------------------------------ MSRs, CPUID */

/* The hypervisor answers: with the next run the access completes, or faults. */
static enum outcome leave_msr(struct emu_vcpu *v, const struct insn *i, bool write, uint64_t value,
			      bool filtered)
{
	struct run_state *run = v->run;
	run->pending = write ? PENDING_WRMSR : PENDING_RDMSR;
	run->pending_rip = linear_rip(&v->cpu);
	run->insn = *i;
	run->msr_value = value;
	run->msr_error = false;
	leave(v, write ? EMU_EXIT_WRMSR : EMU_EXIT_RDMSR, write ? VMX_WRMSR : VMX_RDMSR);
	v->exit->insn_length = i->length;
	v->exit->msr.index = (uint32_t)v->cpu.gpr[EMU_RCX];
	v->exit->msr.value = &run->msr_value;
	v->exit->msr.error = &run->msr_error;
	v->exit->msr.filtered = filtered;
	return EXIT;
}

static enum outcome access_msr(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	struct emu_vm *vm = v->vm;
	bool write = i->op == OP_WRMSR;
	uint32_t index = (uint32_t)c->gpr[EMU_RCX];
	uint64_t value = write ? (uint32_t)c->gpr[EMU_RAX] | c->gpr[EMU_RDX] << 32 : 0;
	if (!privileged(c))
		return raise_error(v, EXC_GP, 0);
	bool filtered = vm->msr_filter && vm->msr_filter(vm->msr_filter_opaque, v, index, write);
	int ret = filtered ? -ENOENT
		  : write  ? emu_vcpu_set_msr(v, index, value, false)
			   : emu_vcpu_get_msr(v, index, &value, false);
	if (ret == -ENOENT && (filtered || vm->msr_unknown_exits))
		return leave_msr(v, i, write, value, filtered);
	if (ret)
		return raise_error(v, EXC_GP, 0);
	if (!write) {
		c->gpr[EMU_RAX] = (uint32_t)value;
		c->gpr[EMU_RDX] = value >> 32;
	}
	return done(v, i);
}

enum outcome msr_complete(struct emu_vcpu *v)
{
	struct run_state *run = v->run;
	struct cpu *c = &v->cpu;
	bool read = run->pending == PENDING_RDMSR;
	run->pending = PENDING_NOTHING;
	if (linear_rip(c) != run->pending_rip)
		return DONE;
	if (run->msr_error)
		return raise_error(v, EXC_GP, 0);
	if (read) {
		c->gpr[EMU_RAX] = (uint32_t)run->msr_value;
		c->gpr[EMU_RDX] = run->msr_value >> 32;
	}
	advance_rip(c, &run->insn);
	return DONE;
}

static const struct emu_cpuid *find_leaf(const struct emu_vcpu *v, uint32_t function,
					 uint32_t index)
{
	for (size_t k = 0; k < v->cpuid_count; k++) {
		const struct emu_cpuid *leaf = &v->cpuid[k];
		if (leaf->function == function && (!leaf->has_index || leaf->index == index))
			return leaf;
	}
	return NULL;
}

static enum outcome cpuid(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint32_t function = (uint32_t)c->gpr[EMU_RAX], index = (uint32_t)c->gpr[EMU_RCX];
	const struct emu_cpuid *leaf = find_leaf(v, function, index);
	if (!leaf && v->vm->config.vendor == EMU_INTEL) {
		/* beyond the last leaf of its class Intel returns the last basic one (SDM vol. 2, CPUID) */
		const struct emu_cpuid *class = find_leaf(v, function & 0x80000000, 0);
		const struct emu_cpuid *basic = find_leaf(v, 0, 0);
		if (basic && (!class || function > class->eax))
			leaf = find_leaf(v, basic->eax, index);
	}
	uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
	if (leaf) {
		eax = leaf->eax, ebx = leaf->ebx, ecx = leaf->ecx, edx = leaf->edx;
		if (function == 1) { /* bits that follow the state */
			ecx &= ~(1u << 27);
			ecx |= c->cr4 & CR4_OSXSAVE ? 1u << 27 : 0;
			edx = (edx & ~(1u << 9)) |
			      (v->apic_base & (1u << 11) ? edx & (1u << 9) : 0);
		}
	}
	c->gpr[EMU_RAX] = eax;
	c->gpr[EMU_RBX] = ebx;
	c->gpr[EMU_RCX] = ecx;
	c->gpr[EMU_RDX] = edx;
	return done(v, i);
}

/* ------------------------------------------------------------------ flags */

static enum outcome sti(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	unsigned iopl = (c->rflags & FL_IOPL) >> 12;
	if (!in_real(c) && c->cpl > iopl) {
		/* SDM vol. 2, STI: PVI and VME set VIF instead, unless an interrupt waits */
		bool virtual = (in_vm86(c) && c->cr4 & CR4_VME) ||
			       (!in_vm86(c) && c->cpl == 3 && c->cr4 & CR4_PVI);
		if (!virtual || c->rflags & FL_VIP)
			return raise_error(v, EXC_GP, 0);
		c->rflags |= FL_VIF;
		return done(v, i);
	}
	if (!(c->rflags & FL_IF)) {
		c->rflags |= FL_IF;
		v->next_shadow = EMU_SHADOW_STI;
	}
	return done(v, i);
}

static enum outcome popf(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	unsigned size = i->mode == 64 && i->opsize != 2 ? 8 : i->opsize;
	unsigned iopl = (c->rflags & FL_IOPL) >> 12;
	uint64_t value, rsp = c->gpr[EMU_RSP];
	if (in_vm86(c) && iopl < 3)
		return raise_error(v, EXC_GP, 0);
	enum outcome r = stack_pop(v, &rsp, size, &value);
	if (r)
		return r;
	uint64_t change = FL_STATUS | FL_TF | FL_DF | FL_NT;
	if (size > 2)
		change |= FL_AC | FL_ID;
	if (in_real(c) || c->cpl == 0)
		change |= FL_IOPL | FL_IF;
	else if (c->cpl <= iopl)
		change |= FL_IF;
	if (in_vm86(c))
		change &= ~(uint64_t)FL_IOPL;
	c->rflags = (c->rflags & ~(change | FL_RF)) | (value & change) | FL_FIXED;
	c->gpr[EMU_RSP] = rsp;
	return done(v, i);
}

/* ------------------------------------------------------------------ software interrupts */

static enum outcome software_interrupt(struct emu_vcpu *v, const struct insn *i)
{
	if (i->op == OP_INT3 && v->debug.software_breakpoints) {
		leave(v, EMU_EXIT_DEBUG, VMX_EXCEPTION_NMI);
		v->exit->interruption = 0x80000600 | EXC_BP; /* valid, software exception */
		v->exit->debug.vector = EXC_BP;
		v->exit->debug.rip = linear_rip(&v->cpu);
		v->exit->debug.dr6 = DR6_FIXED;
		v->exit->debug.dr7 = DR7_FIXED;
		return EXIT;
	}
	bool taken = i->op != OP_INTO || v->cpu.rflags & FL_OF;
	enum outcome r = insn_int(v, i);
	v->stats.exceptions += taken && r == DONE;
	return r;
}

/* ------------------------------------------------------------------ the rest */

static enum outcome hlt(struct emu_vcpu *v, const struct insn *i)
{
	if (!privileged(&v->cpu))
		return raise_error(v, EXC_GP, 0);
	advance_rip(&v->cpu, i);
	v->cpu.shadow = 0;
	leave(v, EMU_EXIT_HLT, VMX_HLT);
	v->exit->insn_length = i->length;
	return EXIT;
}

static enum outcome invlpg(struct emu_vcpu *v, const struct insn *i)
{
	if (!privileged(&v->cpu))
		return raise_error(v, EXC_GP, 0);
	vcpu_flush(v);
	return done(v, i);
}

static enum outcome xgetbv(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	if (!(c->cr4 & CR4_OSXSAVE))
		return raise(v, EXC_UD);
	if ((uint32_t)c->gpr[EMU_RCX])
		return raise_error(v, EXC_GP, 0);
	c->gpr[EMU_RAX] = (uint32_t)v->xcr0;
	c->gpr[EMU_RDX] = v->xcr0 >> 32;
	return done(v, i);
}

static enum outcome xsetbv(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t value = (uint32_t)c->gpr[EMU_RAX] | c->gpr[EMU_RDX] << 32;
	if (!(c->cr4 & CR4_OSXSAVE))
		return raise(v, EXC_UD);
	/* x87 and SSE are what the engine has */
	if (!privileged(c) || (uint32_t)c->gpr[EMU_RCX] || !(value & 1) || value & ~3ull)
		return raise_error(v, EXC_GP, 0);
	v->xcr0 = value;
	return done(v, i);
}

/* VMCALL and VMMCALL: for the hypervisor; RIP is behind it. */
static enum outcome vmcall(struct emu_vcpu *v, const struct insn *i)
{
	advance_rip(&v->cpu, i);
	leave(v, EMU_EXIT_VMCALL, VMX_VMCALL);
	v->exit->insn_length = i->length;
	return EXIT;
}

/* LAR, LSL, VERR, VERW at CPL 3 read descriptor tables as supervisor, which a fill cannot tell. */
static enum outcome native_as_supervisor(struct emu_vcpu *v, const struct insn *i)
{
	uint64_t selector; /* which is the program's access, not the processor's */
	enum outcome r = operand_read(v, i, 2, &selector);

	if (r)
		return r;
	v->run->as_supervisor = true;
	return NATIVE;
}

/* SGDT, SIDT, SLDT, STR, SMSW: in the engine unless CR4.UMIP forbids them (SDM vol. 2, SGDT). */
static enum outcome store_table(struct emu_vcpu *v, const struct insn *i)
{
	(void)i;
	return v->cpu.cr4 & CR4_UMIP && v->cpu.cpl ? raise_error(v, EXC_GP, 0) : NATIVE;
}

static enum outcome invalidate_caches(struct emu_vcpu *v, const struct insn *i)
{
	return privileged(&v->cpu) ? done(v, i) : raise_error(v, EXC_GP, 0);
}

/* Linux executes MONITOR and MWAIT as NOP (KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS). */
static enum outcome monitor_mwait(struct emu_vcpu *v, const struct insn *i)
{
	return privileged(&v->cpu) ? done(v, i) : raise(v, EXC_UD);
}

/* With a TSC source only: else they are the engine's (SDM vol. 2, RDTSC, RDTSCP). */
static enum outcome rdtsc(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	uint64_t tsc, aux = 0;
	if (c->cr4 & CR4_TSD && c->cpl)
		return raise_error(v, EXC_GP, 0);
	emu_vcpu_get_msr(v, MSR_TSC, &tsc, false);
	c->gpr[EMU_RAX] = (uint32_t)tsc;
	c->gpr[EMU_RDX] = tsc >> 32;
	if (i->op == OP_RDTSCP) {
		emu_vcpu_get_msr(v, MSR_TSC_AUX, &aux, false);
		c->gpr[EMU_RCX] = aux;
	}
	return done(v, i);
}

static enum outcome pause_insn(struct emu_vcpu *v, const struct insn *i)
{
	v->vm_yield = true;
	return done(v, i);
}

/* There are no performance counters. */
static enum outcome rdpmc(struct emu_vcpu *v, const struct insn *i)
{
	(void)i;
	return raise_error(v, EXC_GP, 0);
}

/* What is not listed is #UD. */
static enum outcome (*const handlers[OP_COUNT])(struct emu_vcpu *, const struct insn *) = {
	[OP_IN] = insn_io,
	[OP_OUT] = insn_io,
	[OP_INS] = insn_io,
	[OP_OUTS] = insn_io,
	[OP_HLT] = hlt,
	[OP_CPUID] = cpuid,
	[OP_RDMSR] = access_msr,
	[OP_WRMSR] = access_msr,
	[OP_RDPMC] = rdpmc,
	[OP_MOV_FROM_CR] = mov_cr,
	[OP_MOV_TO_CR] = mov_cr,
	[OP_MOV_FROM_DR] = mov_dr,
	[OP_MOV_TO_DR] = mov_dr,
	[OP_CLTS] = clts,
	[OP_LMSW] = lmsw,
	[OP_SYSCALL] = insn_syscall,
	[OP_SYSRET] = insn_syscall,
	[OP_SYSENTER] = insn_syscall,
	[OP_SYSEXIT] = insn_syscall,
	[OP_INT] = software_interrupt,
	[OP_INT1] = software_interrupt,
	[OP_INT3] = software_interrupt,
	[OP_INTO] = software_interrupt,
	[OP_IRET] = insn_iret,
	[OP_STI] = sti,
	[OP_POPF] = popf,
	[OP_MOV_TO_SEG] = insn_mov_to_seg,
	[OP_POP_SEG] = insn_mov_to_seg,
	[OP_LOAD_FAR] = insn_mov_to_seg,
	[OP_JMP_FAR] = insn_far_jmp,
	[OP_CALL_FAR] = insn_far_jmp,
	[OP_RET_FAR] = insn_far_ret,
	[OP_LGDT] = insn_load_table,
	[OP_LIDT] = insn_load_table,
	[OP_LLDT] = insn_load_table,
	[OP_LTR] = insn_load_table,
	[OP_SGDT] = store_table,
	[OP_SIDT] = store_table,
	[OP_SLDT] = store_table,
	[OP_STR] = store_table,
	[OP_SMSW] = store_table,
	[OP_LAR] = native_as_supervisor,
	[OP_LSL] = native_as_supervisor,
	[OP_VERR] = native_as_supervisor,
	[OP_VERW] = native_as_supervisor,
	[OP_INVLPG] = invlpg,
	[OP_INVD] = invalidate_caches,
	[OP_WBINVD] = invalidate_caches,
	[OP_MONITOR] = monitor_mwait,
	[OP_MWAIT] = monitor_mwait,
	[OP_VMCALL] = vmcall,
	[OP_VMMCALL] = vmcall,
	[OP_XGETBV] = xgetbv,
	[OP_XSETBV] = xsetbv,
	[OP_PAUSE] = pause_insn,
	[OP_RDTSC] = rdtsc,
	[OP_RDTSCP] = rdtsc,
	/* the engine gets these wrong in some forms (scan.c, gaps.c) */
	[OP_CMPXCHG] = hand_execute,
	[OP_BRANCH] = hand_execute,
	[OP_TEST] = hand_execute,
	[OP_PUSH_SEG] = hand_execute,
	[OP_PLAIN] = hand_execute,
	[OP_MOV] = hand_execute,
};

enum outcome special_execute(struct emu_vcpu *v, const struct insn *i)
{
	return handlers[i->op] ? handlers[i->op](v, i) : raise(v, EXC_UD);
}
