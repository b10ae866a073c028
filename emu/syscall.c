// SPDX-License-Identifier: GPL-2.0-only
/*
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT (SDM vol. 2, their pages; APM vol. 3, the same; APM vol. 2, 6.1).
 * They load flat segments without looking at any descriptor. Where Intel and AMD differ, the VM's
 * vendor decides.
 */
#include "emu/segment.h"

enum {
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175,
	MSR_SYSENTER_EIP = 0x176,
};
#define MSR_STAR  0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_FMASK 0xc0000084u

#define FLAT_CODE  (DESC_P | DESC_S | DESC_CODE | DESC_READABLE | DESC_ACCESSED) /* type 11 */
#define FLAT_DATA  (DESC_P | DESC_S | DESC_WRITABLE | DESC_ACCESSED | DESC_DB)   /* type 3 */
#define DPL(level) ((uint32_t)(level) << 13)

static uint64_t msr(struct emu_vcpu *v, uint32_t index)
{
	uint64_t value = 0;

	emu_vcpu_get_msr(v, index, &value, true);
	return value;
}

static void load_flat(struct cpu *c, uint16_t cs, uint16_t ss, unsigned cpl, bool wide)
{
	c->segment[EMU_CS] = segment_flat(cs, FLAT_CODE | DPL(cpl) | (wide ? DESC_L : DESC_DB));
	c->segment[EMU_SS] = segment_flat(ss, FLAT_DATA | DPL(cpl));
	c->cpl = (uint8_t)cpl;
}

static enum outcome do_syscall(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	bool from64 = in_64bit(c), wide = in_long_mode(c);
	uint64_t star;
	uint16_t cs;

	/* Intel has it in 64-bit mode only */
	if (!(c->efer & EFER_SCE) || (!from64 && (!vendor_is_amd(v) || !in_protected(c))))
		return raise(v, EXC_UD);
	star = msr(v, MSR_STAR);
	cs = (uint16_t)(star >> 32) & 0xfffc;
	advance_rip(c, i);
	c->rflags &= ~(uint64_t)FL_RF;
	c->gpr[EMU_RCX] = c->rip;
	if (wide) {
		c->gpr[11] = c->rflags;
		c->rip = msr(v, from64 ? MSR_LSTAR : MSR_CSTAR);
		c->rflags = (c->rflags & ~msr(v, MSR_FMASK)) | FL_FIXED;
	} else {
		c->rip = (uint32_t)star;
		c->rflags &= ~(uint64_t)(FL_IF | FL_VM);
	}
	load_flat(c, cs, (uint16_t)(cs + 8), 0, wide);
	c->shadow = 0;
	return DONE;
}

static enum outcome do_sysret(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	bool amd = vendor_is_amd(v), wide = i->opsize == 8;
	struct segment old_ss = c->segment[EMU_SS];
	uint16_t selector;

	if (!(c->efer & EFER_SCE) || (!in_64bit(c) && (!amd || !in_protected(c))))
		return raise(v, EXC_UD);
	if (c->cpl != 0)
		return raise_error(v, EXC_GP, 0);
	/* Intel checks here, at CPL 0; AMD lets the fetch at the target fault */
	if (wide && !amd && !canonical(c, c->gpr[EMU_RCX]))
		return raise_error(v, EXC_GP, 0);
	selector = (uint16_t)(msr(v, MSR_STAR) >> 48);
	c->rip = wide ? c->gpr[EMU_RCX] : (uint32_t)c->gpr[EMU_RCX];
	if (in_long_mode(c))
		c->rflags = (c->gpr[11] & 0x3c7fd7) | FL_FIXED;
	else
		c->rflags = (c->rflags | FL_IF) & ~(uint64_t)FL_RF;
	load_flat(c, (uint16_t)(selector + (wide ? 16 : 0)) | 3, (uint16_t)(selector + 8) | 3, 3,
		  wide);
	if (amd) {
		/* APM vol. 3, SYSRET: of SS only the selector changes (and with it the level) */
		old_ss.selector = c->segment[EMU_SS].selector;
		old_ss.flags |= DESC_DPL;
		c->segment[EMU_SS] = old_ss;
	}
	c->shadow = 0;
	return DONE;
}

static enum outcome do_sysenter(struct emu_vcpu *v)
{
	struct cpu *c = &v->cpu;
	bool wide = in_long_mode(c);
	uint16_t cs = (uint16_t)msr(v, MSR_SYSENTER_CS) & 0xfffc;

	if (wide && vendor_is_amd(v))
		return raise(v, EXC_UD);
	if (in_real(c) || !cs)
		return raise_error(v, EXC_GP, 0);
	c->rflags &= ~(uint64_t)(FL_VM | FL_IF | FL_RF);
	c->gpr[EMU_RSP] = msr(v, MSR_SYSENTER_ESP);
	c->rip = msr(v, MSR_SYSENTER_EIP);
	if (!wide) {
		c->gpr[EMU_RSP] = (uint32_t)c->gpr[EMU_RSP];
		c->rip = (uint32_t)c->rip;
	}
	load_flat(c, cs, (uint16_t)(cs + 8), 0, wide);
	c->shadow = 0;
	return DONE;
}

static enum outcome do_sysexit(struct emu_vcpu *v, const struct insn *i)
{
	struct cpu *c = &v->cpu;
	bool wide = i->opsize == 8;
	uint64_t rip = c->gpr[EMU_RDX], rsp = c->gpr[EMU_RCX];
	uint16_t cs = (uint16_t)msr(v, MSR_SYSENTER_CS) & 0xfffc;

	if (in_long_mode(c) && vendor_is_amd(v))
		return raise(v, EXC_UD);
	if (in_real(c) || c->cpl != 0 || !cs)
		return raise_error(v, EXC_GP, 0);
	if (wide && (!canonical(c, rip) || !canonical(c, rsp)))
		return raise_error(v, EXC_GP, 0);
	c->rip = wide ? rip : (uint32_t)rip;
	c->gpr[EMU_RSP] = wide ? rsp : (uint32_t)rsp;
	cs = (uint16_t)(cs + (wide ? 32 : 16)) | 3;
	load_flat(c, cs, (uint16_t)(cs + 8), 3, wide);
	c->rflags &= ~(uint64_t)FL_RF;
	c->shadow = 0;
	return DONE;
}

enum outcome insn_syscall(struct emu_vcpu *v, const struct insn *i)
{
	switch (i->op) {
	case OP_SYSCALL:
		return do_syscall(v, i);
	case OP_SYSRET:
		return do_sysret(v, i);
	case OP_SYSENTER:
		return do_sysenter(v);
	case OP_SYSEXIT:
		return do_sysexit(v, i);
	default:
		return UNHANDLED;
	}
}
