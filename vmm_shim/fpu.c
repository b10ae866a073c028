// SPDX-License-Identifier: GPL-2.0-only
/* x87 and SSE: KVM_GET/SET_FPU, KVM_GET/SET_XSAVE, KVM_GET_XSAVE2, KVM_GET/SET_XCRS. */
#include "vmm_shim/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* FXSAVE image, SDM vol. 1, 10.5.1 */
struct fx {
	uint16_t cwd, swd, twd, fop;
	uint64_t rip, rdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[128];
	uint8_t xmm[256];
	uint8_t rest[96];
};
_Static_assert(sizeof(struct fx) == 512, "FXSAVE image");

#define XSTATE_FP       1ull
#define XSTATE_SSE      2ull
#define XSTATE_HEADER   512 /* XSTATE_BV, XCOMP_BV: SDM vol. 1, 13.4.2 */
#define XSTATE_SOFTWARE 464 /* xstate_fx_sw_bytes: what could be in it */

static long get_fpu(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_fpu k = { 0 };
	struct fx fx;

	vcpu->ops->get_fx(vcpu->emu, &fx);
	memcpy(k.fpr, fx.st, sizeof(fx.st));
	k.fcw = fx.cwd;
	k.fsw = fx.swd;
	k.ftwx = (uint8_t)fx.twd;
	k.last_opcode = fx.fop;
	k.last_ip = fx.rip;
	k.last_dp = fx.rdp;
	memcpy(k.xmm, fx.xmm, sizeof(fx.xmm));
	/* kvm_arch_vcpu_ioctl_get_fpu() leaves mxcsr alone, which was zeroed */
	return user_write(argument, &k, sizeof(k));
}

static long set_fpu(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_fpu k;
	struct fx fx;

	if (user_read(&k, argument, sizeof(k)))
		return -EFAULT;
	vcpu->ops->get_fx(vcpu->emu, &fx);
	memcpy(fx.st, k.fpr, sizeof(fx.st));
	fx.cwd = k.fcw;
	fx.swd = k.fsw;
	fx.twd = k.ftwx;
	fx.fop = k.last_opcode;
	fx.rip = k.last_ip;
	fx.rdp = k.last_dp;
	memcpy(fx.xmm, k.xmm, sizeof(fx.xmm));
	return vcpu->ops->set_fx(vcpu->emu, &fx);
}

/* Components in their initial configuration, which XSAVEOPT need not save: SDM vol. 1, 13.6. */
static const struct fx initial = { .cwd = 0x37f, .mxcsr = 0x1f80 };

static bool fp_in_use(const struct fx *fx)
{
	return memcmp(fx, &initial, offsetof(struct fx, mxcsr)) != 0 ||
	       memcmp(fx->st, initial.st, sizeof(fx->st)) != 0;
}

static bool sse_in_use(const struct fx *fx)
{
	return fx->mxcsr != initial.mxcsr || memcmp(fx->xmm, initial.xmm, sizeof(fx->xmm)) != 0;
}

/* fpstate_reset(): KVM begins with this, not with what RESET leaves (FCW 40h). */
int fpu_reset(struct shim_vcpu *vcpu)
{
	return vcpu->ops->set_fx(vcpu->emu, &initial);
}

/* copy_xstate_to_uabi_buf() */
static long get_xsave(struct shim_vcpu *vcpu, unsigned long argument)
{
	uint8_t image[sizeof(struct kvm_xsave)] = { 0 };
	const uint64_t supported = XSTATE_FP | XSTATE_SSE;
	uint64_t in_use;
	struct fx fx;

	vcpu->ops->get_fx(vcpu->emu, &fx);
	in_use = (fp_in_use(&fx) ? XSTATE_FP : 0) | (sse_in_use(&fx) ? XSTATE_SSE : 0);
	memcpy(image, &fx, sizeof(fx));
	memcpy(image + XSTATE_SOFTWARE, &supported, sizeof(supported));
	memcpy(image + XSTATE_HEADER, &in_use, sizeof(in_use));
	return user_write(argument, image, sizeof(image));
}

/* The state that XRSTOR gives a component whose bit is clear. MXCSR goes with SSE's. */
static void initialise(struct fx *fx, uint64_t present)
{
	if (!(present & XSTATE_FP)) {
		memcpy(fx, &initial, offsetof(struct fx, mxcsr));
		memcpy(fx->st, initial.st, sizeof(fx->st));
	}
	if (!(present & XSTATE_SSE)) {
		fx->mxcsr = initial.mxcsr;
		memcpy(fx->xmm, initial.xmm, sizeof(fx->xmm));
	}
}

#define MXCSR_VALID 0xffffu

/* fpu_copy_uabi_to_guest_fpstate(), copy_uabi_to_xstate() */
static long set_xsave(struct shim_vcpu *vcpu, unsigned long argument)
{
	uint8_t image[sizeof(struct kvm_xsave)];
	uint64_t header[8];
	struct fx fx;

	if (user_read(image, argument, sizeof(image)))
		return -EFAULT;
	memcpy(header, image + XSTATE_HEADER, sizeof(header));
	memcpy(&fx, image, sizeof(fx));
	/* unknown components, compaction and reserved bits of the header */
	if (header[0] & ~(XSTATE_FP | XSTATE_SSE))
		return -EINVAL;
	for (unsigned i = 1; i < 8; i++) {
		if (header[i])
			return -EINVAL;
	}
	if (header[0] && fx.mxcsr & ~MXCSR_VALID)
		return -EINVAL;
	initialise(&fx, header[0]);
	return vcpu->ops->set_fx(vcpu->emu, &fx);
}

static long get_xcrs(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_xcrs k;
	struct emu_state s;

	memset(&k, 0, sizeof(k));
	if (capability_value(vcpu->vm, KVM_CAP_XCRS)) {
		vcpu->ops->get_state(vcpu->emu, &s);
		k.nr_xcrs = 1;
		k.xcrs[0].value = s.xcr0;
	}
	return user_write(argument, &k, sizeof(k));
}

/* __kvm_set_xcr() */
static long set_xcr0(struct shim_vcpu *vcpu, uint64_t xcr0)
{
	struct emu_state s;

	if (!(xcr0 & XSTATE_FP) || xcr0 & ~(cpuid_guest_xcr0(vcpu) | XSTATE_FP))
		return -EINVAL;
	vcpu->ops->get_state(vcpu->emu, &s);
	s.xcr0 = xcr0;
	return vcpu->ops->set_state(vcpu->emu, &s);
}

static long set_xcrs(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_xcrs k;

	if (user_read(&k, argument, sizeof(k)))
		return -EFAULT;
	if (!capability_value(vcpu->vm, KVM_CAP_XCRS) || k.nr_xcrs > KVM_MAX_XCRS || k.flags)
		return -EINVAL;
	for (unsigned i = 0; i < k.nr_xcrs; i++) {
		if (k.xcrs[i].xcr == 0)
			return set_xcr0(vcpu, k.xcrs[i].value);
	}
	return 0;
}

long fpu_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument)
{
	switch (request) {
	case KVM_GET_FPU:
		return get_fpu(vcpu, argument);
	case KVM_SET_FPU:
		return set_fpu(vcpu, argument);
	case KVM_GET_XSAVE:
	case KVM_GET_XSAVE2:
		return get_xsave(vcpu, argument);
	case KVM_SET_XSAVE:
		return set_xsave(vcpu, argument);
	case KVM_GET_XCRS:
		return get_xcrs(vcpu, argument);
	default:
		return set_xcrs(vcpu, argument);
	}
}
