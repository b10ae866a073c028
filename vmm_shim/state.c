// SPDX-License-Identifier: GPL-2.0-only
/* Registers in the kernel's structures, with the kernel's checks (arch/x86/kvm/regs.c). */
#include "vmm_shim/internal.h"
#include "vmm_shim/irqchip/lapic.h"

#include <errno.h>
#include <string.h>

#define CR0_PE   (1ull << 0)
#define CR0_ET   (1ull << 4)
#define CR0_NW   (1ull << 29)
#define CR0_CD   (1ull << 30)
#define CR0_PG   (1ull << 31)
#define CR4_PAE  (1ull << 5)
#define EFER_SCE (1ull << 0)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define EFER_NX  (1ull << 11)
#define APIC_X2  (1ull << 10)
#define APIC_ON  (1ull << 11)
#define FL_FIXED 2

uint64_t state_linear_rip(const struct emu_state *s)
{
	/* attributes: bit 13 is L */
	if (s->efer & EFER_LMA && s->segment[EMU_CS].attributes & 1 << 13)
		return s->rip;
	return (uint32_t)(s->segment[EMU_CS].base + s->rip);
}

/* ------------------------------------------------------------------ INIT */

/* kvm_vcpu_reset(): MSRs, XCR0, x87 and SSE keep what they have; CR0.CD and NW, too. */
void state_init(struct shim_vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 *leaf1 = cpuid_find(vcpu, 1, 0);
	const struct emu_events none = { 0 };
	struct emu_state old, s = { .rip = 0xfff0, .rflags = FL_FIXED };

	vcpu->ops->get_state(vcpu->emu, &old);
	s.gpr[EMU_RDX] = leaf1 ? leaf1->eax : 0x600;
	for (unsigned n = EMU_ES; n <= EMU_GS; n++)
		s.segment[n] = (struct emu_segment){ .limit = 0xffff, .attributes = 0x93 };
	s.segment[EMU_CS] = (struct emu_segment){
		.base = 0xffff0000, .limit = 0xffff, .selector = 0xf000, .attributes = 0x9b
	};
	s.segment[EMU_LDTR] = (struct emu_segment){ .limit = 0xffff, .attributes = 0x82 };
	/* vmx_vcpu_reset(): a 32-bit one; init_vmcb(): a 16-bit one */
	s.segment[EMU_TR] =
		(struct emu_segment){ .limit = 0xffff, .attributes = config_intel() ? 0x8b : 0x83 };
	s.gdt.limit = s.idt.limit = 0xffff;
	s.cr0 = CR0_ET | (old.cr0 & (CR0_CD | CR0_NW));
	s.cr8 = vcpu->apic ? 0 : old.cr8;
	s.xcr0 = old.xcr0;
	s.dr[6] = ABI_DR6_ACTIVE_LOW;
	s.dr[7] = 0x400;
	s.apic_base = old.apic_base;
	vcpu->ops->set_events(vcpu->emu, &none);
	vcpu->ops->set_state(vcpu->emu, &s);
	if (vcpu->apic)
		lapic_init(vcpu);
}

/* ------------------------------------------------------------------ KVM_GET_REGS, KVM_SET_REGS */

void state_get_regs(struct shim_vcpu *vcpu, struct kvm_regs *r)
{
	struct emu_state s;

	vcpu->ops->get_state(vcpu->emu, &s);
	*r = (struct kvm_regs){
		.rax = s.gpr[EMU_RAX],
		.rbx = s.gpr[EMU_RBX],
		.rcx = s.gpr[EMU_RCX],
		.rdx = s.gpr[EMU_RDX],
		.rsi = s.gpr[EMU_RSI],
		.rdi = s.gpr[EMU_RDI],
		.rsp = s.gpr[EMU_RSP],
		.rbp = s.gpr[EMU_RBP],
		.r8 = s.gpr[8],
		.r9 = s.gpr[9],
		.r10 = s.gpr[10],
		.r11 = s.gpr[11],
		.r12 = s.gpr[12],
		.r13 = s.gpr[13],
		.r14 = s.gpr[14],
		.r15 = s.gpr[15],
		.rip = s.rip,
		.rflags = s.rflags,
	};
}

int state_set_regs(struct shim_vcpu *vcpu, const struct kvm_regs *r)
{
	const uint64_t gpr[16] = { r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
				   r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15 };
	struct emu_events events;
	struct emu_state s;
	int ret;

	vcpu->ops->get_state(vcpu->emu, &s);
	memcpy(s.gpr, gpr, sizeof(gpr));
	s.rip = r->rip;
	s.rflags = r->rflags | FL_FIXED;
	ret = vcpu->ops->set_state(vcpu->emu, &s);
	if (ret)
		return ret;
	/* "exception.pending = false": what was about to happen happened at another RIP */
	vcpu->ops->get_events(vcpu->emu, &events);
	if (events.exception.pending) {
		events.exception.pending = false;
		vcpu->ops->set_events(vcpu->emu, &events);
	}
	return 0;
}

/* ------------------------------------------------------------------ segments */

static void get_segment(struct kvm_segment *k, const struct emu_segment *e)
{
	unsigned a = e->attributes;

	*k = (struct kvm_segment){
		.base = e->base,
		.limit = e->limit,
		.selector = e->selector,
		.type = a & 15,
		.s = a >> 4 & 1,
		.dpl = a >> 5 & 3,
		.present = a >> 7 & 1,
		.avl = a >> 12 & 1,
		.l = a >> 13 & 1,
		.db = a >> 14 & 1,
		.g = a >> 15 & 1,
		.unusable = !(a >> 7 & 1), /* vmx_get_segment(): usable is present */
	};
}

static void set_segment(struct emu_segment *e, const struct kvm_segment *k, unsigned which)
{
	unsigned type = k->type & 15;

	/* __vmx_set_segment(): "fix the accessed bit", for all but LDTR */
	if (which != EMU_LDTR)
		type |= 1;
	*e = (struct emu_segment){
		.base = k->base,
		.limit = k->limit,
		.selector = k->selector,
		.attributes = (uint16_t)(type | (k->s & 1u) << 4 | (k->dpl & 3u) << 5 |
					 (k->present && !k->unusable ? 1u : 0u) << 7 |
					 (k->avl & 1u) << 12 | (k->l & 1u) << 13 |
					 (k->db & 1u) << 14 | (k->g & 1u) << 15),
	};
}

#define SEGMENTS(apply)                                                                           \
	apply(cs, EMU_CS) apply(ds, EMU_DS) apply(es, EMU_ES) apply(fs, EMU_FS) apply(gs, EMU_GS) \
		apply(ss, EMU_SS) apply(tr, EMU_TR) apply(ldt, EMU_LDTR)

/* ------------------------------------------------------------------ KVM_GET_SREGS */

static void get_common(struct shim_vcpu *vcpu, struct kvm_sregs *k)
{
	struct emu_state s;

	vcpu->ops->get_state(vcpu->emu, &s);
	memset(k, 0, sizeof(*k));
#define GET(name, which) get_segment(&k->name, &s.segment[which]);
	SEGMENTS(GET)
#undef GET
	k->gdt.base = s.gdt.base;
	k->gdt.limit = s.gdt.limit;
	k->idt.base = s.idt.base;
	k->idt.limit = s.idt.limit;
	k->cr0 = s.cr0;
	k->cr2 = s.cr2;
	k->cr3 = s.cr3;
	k->cr4 = s.cr4;
	k->cr8 = s.cr8;
	k->efer = s.efer;
	k->apic_base = s.apic_base;
}

void state_get_sregs(struct shim_vcpu *vcpu, struct kvm_sregs *k)
{
	struct emu_events events;

	get_common(vcpu, k);
	vcpu->ops->get_events(vcpu->emu, &events);
	if (events.interrupt.injected && !events.interrupt.soft)
		k->interrupt_bitmap[events.interrupt.vector / 64] |=
			1ull << events.interrupt.vector % 64;
}

/* The two structures are the same up to interrupt_bitmap. */
#define COMMON_SIZE offsetof(struct kvm_sregs, interrupt_bitmap)
_Static_assert(COMMON_SIZE == offsetof(struct kvm_sregs2, flags), "kvm_sregs2 begins as kvm_sregs");

void state_get_sregs2(struct shim_vcpu *vcpu, struct kvm_sregs2 *k2)
{
	struct kvm_sregs k;

	get_common(vcpu, &k);
	memset(k2, 0, sizeof(*k2));
	memcpy(k2, &k, COMMON_SIZE);
	/* The processor reads the PDPTEs from memory at each walk: there are no cached ones to show. */
}

/* ------------------------------------------------------------------ KVM_SET_SREGS */

static bool guest_has(const struct shim_vcpu *vcpu, uint32_t function, unsigned reg, unsigned bit)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(vcpu, function, 0);
	uint32_t value;

	if (!e)
		return false;
	value = reg == 1 ? e->ebx : reg == 2 ? e->ecx : e->edx;
	return value >> bit & 1;
}

static uint64_t reserved_address_bits(const struct shim_vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(vcpu, 0x80000008, 0);
	unsigned bits = e ? e->eax & 0xff : 36; /* cpuid_query_maxphyaddr() */

	return bits >= 64 ? 0 : ~0ull << bits;
}

/* CR4 bits that the guest's CPUID must offer: __cr4_reserved_bits(). */
static const struct {
	unsigned cr4_bit;
	uint32_t function;
	unsigned reg, bit;
} cr4_needs[] = {
	{ 11, 7, 2, 2 },  /* UMIP */
	{ 12, 7, 2, 16 }, /* LA57 */
	{ 13, 1, 2, 5 },  /* VMXE */
	{ 16, 7, 1, 0 },  /* FSGSBASE */
	{ 17, 1, 2, 17 }, /* PCIDE */
	{ 18, 1, 2, 26 }, /* OSXSAVE */
	{ 20, 7, 1, 7 },  /* SMEP */
	{ 21, 7, 1, 20 }, /* SMAP */
	{ 22, 7, 2, 3 },  /* PKE */
};

static bool valid_cr4(const struct shim_vcpu *vcpu, uint64_t cr4)
{
	/* A vCPU without CPUID has no bits taken away: that happens when CPUID is set. */
	if (!vcpu->cpuid)
		return true;
	for (size_t i = 0; i < sizeof(cr4_needs) / sizeof(cr4_needs[0]); i++) {
		if (cr4 >> cr4_needs[i].cr4_bit & 1 &&
		    !guest_has(vcpu, cr4_needs[i].function, cr4_needs[i].reg, cr4_needs[i].bit))
			return false;
	}
	return true;
}

/* kvm_is_valid_cr0() */
static bool valid_cr0(uint64_t cr0)
{
	if (cr0 >> 32)
		return false;
	if ((cr0 & CR0_NW) && !(cr0 & CR0_CD))
		return false;
	return !(cr0 & CR0_PG) || (cr0 & CR0_PE);
}

/* kvm_is_valid_sregs() */
static bool valid_sregs(const struct shim_vcpu *vcpu, const struct kvm_sregs *k)
{
	if ((k->efer & EFER_LME) && (k->cr0 & CR0_PG)) {
		if (!(k->cr4 & CR4_PAE) || !(k->efer & EFER_LMA))
			return false;
		if (k->cr3 & reserved_address_bits(vcpu))
			return false;
	} else if (k->efer & EFER_LMA || k->cs.l) {
		return false;
	}
	/* reserved bits of EFER are not looked at; VM entry would refuse them */
	return valid_cr4(vcpu, k->cr4) && valid_cr0(k->cr0);
}

/* kvm_apic_set_base(), by the host */
bool state_valid_apic_base(const struct shim_vcpu *vcpu, uint64_t base)
{
	uint64_t reserved = reserved_address_bits(vcpu) | 0x2ff;

	if (!guest_has(vcpu, 1, 2, 21))
		reserved |= APIC_X2;
	if (base & reserved)
		return false;
	return !(base & APIC_X2) || (base & APIC_ON);
}

/* "Older userspace won't unhalt the vcpu on reset": __set_sregs_common() */
static bool at_reset_vector(const struct emu_state *s)
{
	return s->apic_base & APIC_BASE_BSP && s->rip == 0xfff0 && !(s->cr0 & CR0_PE) &&
	       s->segment[EMU_CS].selector == 0xf000 && s->segment[EMU_CS].base == 0xffff0000;
}

static int set_common(struct shim_vcpu *vcpu, const struct kvm_sregs *k)
{
	struct emu_state s;
	int r;

	if (!valid_sregs(vcpu, k) || !state_valid_apic_base(vcpu, k->apic_base))
		return -EINVAL;
	vcpu->ops->get_state(vcpu->emu, &s);
#define SET(name, which) set_segment(&s.segment[which], &k->name, which);
	SEGMENTS(SET)
#undef SET
	s.gdt.base = k->gdt.base;
	s.gdt.limit = k->gdt.limit;
	s.idt.base = k->idt.base;
	s.idt.limit = k->idt.limit;
	s.cr0 = k->cr0;
	s.cr2 = k->cr2;
	s.cr3 = k->cr3;
	s.cr4 = k->cr4;
	if (k->cr8 < 16) /* kvm_set_cr8()'s refusal is ignored here */
		s.cr8 = k->cr8;
	s.efer = k->efer & (EFER_SCE | EFER_LME | EFER_LMA | EFER_NX);
	s.apic_base = k->apic_base;
	r = vcpu->ops->set_state(vcpu->emu, &s);
	if (r)
		return r;
	vcpu->cr8 = s.cr8;
	if (vcpu->apic) {
		lapic_set_base(vcpu, k->apic_base, true);
		lapic_cr8_changed(vcpu, s.cr8);
		if (at_reset_vector(&s))
			vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	}
	return 0;
}

int state_set_sregs(struct shim_vcpu *vcpu, const struct kvm_sregs *k)
{
	int r = set_common(vcpu, k);

	if (r)
		return r;
	for (unsigned i = 0; i < ABI_NR_INTERRUPTS / 64; i++) {
		if (!k->interrupt_bitmap[i])
			continue;
		event_queue_interrupt(vcpu, (uint8_t)(i * 64 + (unsigned)__builtin_ctzll(
								       k->interrupt_bitmap[i])));
		break;
	}
	return 0;
}

int state_set_sregs2(struct shim_vcpu *vcpu, const struct kvm_sregs2 *k2)
{
	bool valid_pdptrs = k2->flags & KVM_SREGS2_FLAGS_PDPTRS_VALID;
	bool pae = (k2->cr0 & CR0_PG) && (k2->cr4 & CR4_PAE) && !(k2->efer & EFER_LMA);
	struct kvm_sregs k;

	if (k2->flags & ~(uint64_t)KVM_SREGS2_FLAGS_PDPTRS_VALID)
		return -EINVAL;
	if (valid_pdptrs && !pae)
		return -EINVAL;
	memset(&k, 0, sizeof(k));
	memcpy(&k, k2, COMMON_SIZE);
	return set_common(vcpu, &k);
}

/* ------------------------------------------------------------------ the ioctls */

static long get_debugregs(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_debugregs d;
	struct emu_state s;

	vcpu->ops->get_state(vcpu->emu, &s);
	memset(&d, 0, sizeof(d));
	memcpy(d.db, s.dr, sizeof(d.db));
	d.dr6 = s.dr[6];
	d.dr7 = s.dr[7];
	return user_write(argument, &d, sizeof(d));
}

static long set_debugregs(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_debugregs d;
	struct emu_state s;

	if (user_read(&d, argument, sizeof(d)))
		return -EFAULT;
	if (d.flags || d.dr6 >> 32 || d.dr7 >> 32) /* kvm_dr6_valid(), kvm_dr7_valid() */
		return -EINVAL;
	vcpu->ops->get_state(vcpu->emu, &s);
	memcpy(s.dr, d.db, sizeof(d.db));
	s.dr[6] = d.dr6;
	s.dr[7] = d.dr7;
	return vcpu->ops->set_state(vcpu->emu, &s);
}

static long translate(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_translation t;
	bool writable, user;
	uint64_t gpa = 0;

	if (user_read(&t, argument, sizeof(t)))
		return -EFAULT;
	t.valid = vcpu->ops->translate(vcpu->emu, t.linear_address, &gpa, &writable, &user) == 0;
	t.physical_address = t.valid ? gpa : ~0ull;
	/* not what the tables say, and always so: kvm_arch_vcpu_ioctl_translate() */
	t.writeable = 1;
	t.usermode = 0;
	return user_write(argument, &t, sizeof(t));
}

static long get_big(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument)
{
	union {
		struct kvm_regs regs;
		struct kvm_sregs sregs;
		struct kvm_sregs2 sregs2;
	} u;

	switch (request) {
	case KVM_GET_REGS:
		state_get_regs(vcpu, &u.regs);
		return user_write(argument, &u.regs, sizeof(u.regs));
	case KVM_GET_SREGS:
		state_get_sregs(vcpu, &u.sregs);
		return user_write(argument, &u.sregs, sizeof(u.sregs));
	default:
		state_get_sregs2(vcpu, &u.sregs2);
		return user_write(argument, &u.sregs2, sizeof(u.sregs2));
	}
}

static long set_big(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument)
{
	union {
		struct kvm_regs regs;
		struct kvm_sregs sregs;
		struct kvm_sregs2 sregs2;
	} u;

	switch (request) {
	case KVM_SET_REGS:
		return user_read(&u.regs, argument, sizeof(u.regs)) ? -EFAULT
								    : state_set_regs(vcpu, &u.regs);
	case KVM_SET_SREGS:
		return user_read(&u.sregs, argument, sizeof(u.sregs))
			       ? -EFAULT
			       : state_set_sregs(vcpu, &u.sregs);
	default:
		return user_read(&u.sregs2, argument, sizeof(u.sregs2))
			       ? -EFAULT
			       : state_set_sregs2(vcpu, &u.sregs2);
	}
}

long state_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument)
{
	switch (request) {
	case KVM_GET_REGS:
	case KVM_GET_SREGS:
	case KVM_GET_SREGS2:
		return get_big(vcpu, request, argument);
	case KVM_SET_REGS:
	case KVM_SET_SREGS:
	case KVM_SET_SREGS2:
		return set_big(vcpu, request, argument);
	case KVM_GET_DEBUGREGS:
		return get_debugregs(vcpu, argument);
	case KVM_SET_DEBUGREGS:
		return set_debugregs(vcpu, argument);
	default:
		return translate(vcpu, argument);
	}
}
