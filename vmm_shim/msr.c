// SPDX-License-Identifier: GPL-2.0-only
/*
 * Model-specific registers. The processor owns those that its instructions depend on; here live the
 * others that monitors save and restore or guests expect of a PC: MTRRs, machine checks, and a few
 * that are only remembered. Rules: kvm_set_msr_common(), kvm_get_msr_common(), mtrr.c.
 */
#include "vmm_shim/internal.h"
#include "vmm_shim/irqchip/lapic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MTRR_VARIABLE 8
#define MCG_CTL_P     (1ull << 8)
#define MCG_TES_P     (1ull << 11)
#define MCG_SER_P     (1ull << 24)
#define MCG_SUPPORTED (MCG_CTL_P | MCG_SER_P) /* kvm_caps.supported_mce_cap */
#define MCI_VALID     (1ull << 63)
#define MCI_OVERFLOW  (1ull << 62)
#define MCI_UC        (1ull << 61)
#define CR4_MCE       (1ull << 6)
#define MC_VECTOR     18

/* IA32_CORE_CAPABILITIES */
#define CORE_CAPS_UC_LOCK_DISABLE    (1ull << 4)
#define CORE_CAPS_SPLIT_LOCK_DISABLE (1ull << 5)

enum {
	MSR_MEMORY_CTRL = 0x33,
	MSR_SMI_COUNT = 0x34,
	MSR_PLATFORM_INFO = 0xce,
	MSR_CORE_CAPS = 0xcf,
	MSR_MTRRCAP = 0xfe,
	MSR_MCG_CAP = 0x179,
	MSR_MCG_STATUS = 0x17a,
	MSR_MCG_CTL = 0x17b,
	MSR_MTRR_VAR = 0x200,
	MSR_MC0_CTL2 = 0x280,
	MSR_MTRR_DEF = 0x2ff,
	MSR_MC0_CTL = 0x400
};
#define MSR_HWCR     0xc0010015
#define HWCR_DROPPED 0x148ull /* IGNNE_EM, FFDIS, TLBCACHEDIS: kvm_set_msr_common() ignores them */

/* Remembered, without effect on the guest. */
enum {
	READ_ONLY = 1,  /* the guest's write is #GP */
	IGNORED = 2,    /* the guest's write is dropped */
	FEATURE = 4,    /* on /dev/kvm and in KVM_GET_MSR_FEATURE_INDEX_LIST */
	UNLISTED = 8,   /* not in KVM_GET_MSR_INDEX_LIST */
	HOST_ONLY = 16, /* #GP for the guest altogether */
	INTEL = 32,
	AMD = 64,
	CHECKED = 256,   /* the monitor's writes are checked as the guest's */
	GUEST_SLD = 128, /* with the option of that name; KVM has no code for these */
};
static const struct {
	uint32_t index;
	unsigned rules;
	uint64_t reset, writable; /* bits that the guest may write; others #GP */
} plain[] = {
	{ 0x0017, READ_ONLY | UNLISTED, 0, 0 }, /* IA32_PLATFORM_ID */
	{ 0x002a, UNLISTED | READ_ONLY, 0, 0 }, /* IA32_EBL_CR_POWERON */
	{ MSR_SMI_COUNT, READ_ONLY, 0, 0 },
	{ 0x003a, INTEL, 0, 1 },                          /* IA32_FEATURE_CONTROL */
	{ 0x003b, 0, 0, ~0ull },                          /* IA32_TSC_ADJUST */
	{ 0x0048, 0, 0, 7 },                              /* IA32_SPEC_CTRL */
	{ 0x0079, UNLISTED | IGNORED, 0, 0 },             /* IA32_BIOS_UPDT_TRIG */
	{ 0x008b, IGNORED | FEATURE, 0x100000000ull, 0 }, /* IA32_BIOS_SIGN_ID */
	/* a vCPU's are the processor's; here is what /dev/kvm says that it can have */
	{ MSR_MEMORY_CTRL, GUEST_SLD | INTEL | HOST_ONLY, 0, 0 },
	{ MSR_CORE_CAPS, GUEST_SLD | INTEL | HOST_ONLY | FEATURE,
	  CORE_CAPS_SPLIT_LOCK_DISABLE | CORE_CAPS_UC_LOCK_DISABLE, 0 },
	{ MSR_PLATFORM_INFO, READ_ONLY, 0, 0 },
	{ 0x00e7, UNLISTED | IGNORED, 0, 0 }, /* IA32_MPERF */
	{ 0x00e8, UNLISTED | IGNORED, 0, 0 }, /* IA32_APERF */
	{ MSR_MTRRCAP, READ_ONLY | UNLISTED, 0x500 | MTRR_VARIABLE, 0 },
	{ 0x010a, READ_ONLY | FEATURE | INTEL, 0, 0 }, /* IA32_ARCH_CAPABILITIES */
	{ 0x0140, READ_ONLY | INTEL, 0, 0 },           /* MISC_FEATURES_ENABLES */
	{ 0x0186, UNLISTED, 0, 0 },
	{ 0x0187, UNLISTED, 0, 0 }, /* IA32_PERFEVTSEL: no counters */
	{ 0x0198, UNLISTED | READ_ONLY, 0x1000ull << 32 | 0x1000, 0 }, /* IA32_PERF_STATUS */
	{ 0x0199, UNLISTED | IGNORED, 0, 0 },                          /* IA32_PERF_CTL */
	{ 0x019a, UNLISTED, 0, 0x1f },                                 /* IA32_CLOCK_MODULATION */
	{ 0x019b, UNLISTED, 0, ~0ull },                                /* IA32_THERM_INTERRUPT */
	{ 0x019c, UNLISTED, 0, ~0ull },                                /* IA32_THERM_STATUS */
	{ 0x01a0, 0, 0x1800, ~0ull }, /* IA32_MISC_ENABLE: no BTS, no PEBS */
	{ 0x01d9, 0, 0, 0x3 },        /* IA32_DEBUGCTL: LBR, BTF accepted */
	{ 0x01db, READ_ONLY, 0, 0 },
	{ 0x01dc, READ_ONLY, 0, 0 }, /* last branch */
	{ 0x01dd, READ_ONLY, 0, 0 },
	{ 0x01de, READ_ONLY, 0, 0 },
	{ 0x0345, READ_ONLY | HOST_ONLY | INTEL, 0, 0 }, /* IA32_PERF_CAPABILITIES */
	{ 0x06e0, 0, 0, ~0ull },                         /* IA32_TSC_DEADLINE: lapic_access.c */
	{ 0x01fc, 0, 0, ~0ull },                         /* IA32_POWER_CTL */
	/* TscFreqSel and McStatusWrEn */
	{ MSR_HWCR, CHECKED, 0, 1ull << 24 | 1ull << 18 | HWCR_DROPPED },
	{ 0xc001001f, UNLISTED | IGNORED, 0, 0 }, /* NB_CFG */
	{ 0xc0010117, AMD, 0, ~0ull },            /* VM_HSAVE_PA */
	{ 0xc001011f, HOST_ONLY, 0, ~0ull },      /* VIRT_SPEC_CTRL */
	{ 0xc0010117, INTEL | UNLISTED | IGNORED, 0, 0 },
	{ 0xc0011022, UNLISTED | IGNORED, 0, 0 }, /* DC_CFG */
	{ 0xc0011029, FEATURE | AMD, 2, 2 },      /* DE_CFG: LFENCE serialises */
	{ 0xc001102a, UNLISTED | IGNORED, 0, 0 }, /* BU_CFG2 */
	/* KVM's own, where pvclock.c does not have them: the monitor's to save and restore. */
	{ 0x11, HOST_ONLY, 0, 0 },
	{ 0x12, HOST_ONLY, 0, 0 },
	{ 0x4b564d00, HOST_ONLY, 0, 0 },
	{ 0x4b564d01, HOST_ONLY, 0, 0 },
	{ 0x4b564d02, HOST_ONLY | UNLISTED, 0, 0 },
	{ 0x4b564d03, HOST_ONLY, 0, 0 },
	{ 0x4b564d04, HOST_ONLY | UNLISTED, 0, 0 },
	{ 0x4b564d05, HOST_ONLY | UNLISTED, 0, 0 },
	{ 0x4b564d06, HOST_ONLY | UNLISTED, 0, 0 },
	{ 0x4b564d07, HOST_ONLY | UNLISTED, 0, 0 },
};
#define PLAIN (sizeof(plain) / sizeof(plain[0]))

struct msr_store {
	uint64_t value[PLAIN];
	uint64_t mtrr_variable[2 * MTRR_VARIABLE], mtrr_fixed[11], mtrr_default;
	uint64_t mcg_cap, mcg_status, mcg_ctl;
	uint64_t bank[4 * ABI_MAX_MCE_BANKS], bank_ctl2[ABI_MAX_MCE_BANKS];
};

int msr_store_new(struct shim_vcpu *vcpu)
{
	struct msr_store *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	for (size_t i = 0; i < PLAIN; i++)
		m->value[i] = plain[i].reset;
	m->mcg_cap = ABI_MAX_MCE_BANKS; /* kvm_arch_vcpu_create() */
	vcpu->msrs = m;
	return 0;
}

void msr_store_free(struct shim_vcpu *vcpu)
{
	free(vcpu->msrs);
	vcpu->msrs = NULL;
}

/* ------------------------------------------------------------------ plain ones */

static bool offered(unsigned rules)
{
	if (rules & GUEST_SLD && !shim_config.options.guest_sld)
		return false;
	if (rules & (INTEL | AMD))
		return rules & (config_intel() ? INTEL : AMD);
	return true;
}

static int plain_find(uint32_t index)
{
	for (size_t i = 0; i < PLAIN; i++) {
		if (plain[i].index == index && offered(plain[i].rules))
			return (int)i;
	}
	return -1;
}

static int plain_get(struct msr_store *m, uint32_t index, uint64_t *value, bool host)
{
	int i = plain_find(index);

	if (i < 0)
		return -ENOENT;
	if ((plain[i].rules & HOST_ONLY) && !host)
		return -EINVAL;
	*value = m->value[i];
	return 0;
}

static int plain_set(struct msr_store *m, uint32_t index, uint64_t value, bool host)
{
	int i = plain_find(index);

	if (i < 0)
		return -ENOENT;
	if (!host) {
		if (plain[i].rules & IGNORED)
			return 0;
		if (plain[i].rules & (READ_ONLY | HOST_ONLY) || value & ~plain[i].writable)
			return -EINVAL;
	}
	if (plain[i].rules & CHECKED && value & ~plain[i].writable)
		return -EINVAL;
	if (index != MSR_MTRRCAP)
		m->value[i] = index == MSR_HWCR ? value & ~HWCR_DROPPED : value;
	return 0;
}

/* ------------------------------------------------------------------ MTRRs: SDM 13.11 */

static const uint32_t mtrr_fixed[11] = { 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
					 0x26b, 0x26c, 0x26d, 0x26e, 0x26f };

static uint64_t *mtrr_find(struct msr_store *m, uint32_t index)
{
	if (index >= MSR_MTRR_VAR && index < MSR_MTRR_VAR + 2 * MTRR_VARIABLE)
		return &m->mtrr_variable[index - MSR_MTRR_VAR];
	if (index == MSR_MTRR_DEF)
		return &m->mtrr_default;
	for (unsigned i = 0; i < 11; i++) {
		if (mtrr_fixed[i] == index)
			return &m->mtrr_fixed[i];
	}
	return NULL;
}

static bool mtrr_type_valid(uint64_t type)
{
	return type < 8 && (0x73u >> type & 1); /* UC WC WT WP WB */
}

/* kvm_mtrr_valid() */
static bool mtrr_valid(const struct shim_vcpu *vcpu, uint32_t index, uint64_t value)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(vcpu, 0x80000008, 0);
	unsigned bits = e ? e->eax & 0xff : 36;
	uint64_t reserved = bits >= 64 ? 0 : ~0ull << bits;

	if (index == MSR_MTRR_DEF)
		return !(value & ~0xcffull) && mtrr_type_valid(value & 0xff);
	if (index >= MSR_MTRR_VAR + 2 * MTRR_VARIABLE) {
		for (unsigned i = 0; i < 64; i += 8) {
			if (!mtrr_type_valid(value >> i & 0xff))
				return false;
		}
		return true;
	}
	if (index & 1)
		return !(value & (reserved | 0x7ff));
	return mtrr_type_valid(value & 0xff) && !(value & (reserved | 0xf00));
}

static int mtrr_access(struct shim_vcpu *vcpu, uint32_t index, uint64_t *value, bool write)
{
	uint64_t *mtrr = mtrr_find(vcpu->msrs, index);

	if (!mtrr)
		return -ENOENT;
	if (!write) {
		*value = *mtrr;
		return 0;
	}
	if (!mtrr_valid(vcpu, index, *value))
		return -EINVAL;
	*mtrr = *value;
	return 0;
}

/* ------------------------------------------------------------------ machine checks: SDM 17.3 */

static bool is_bank(uint32_t index)
{
	return index >= MSR_MC0_CTL && index < MSR_MC0_CTL + 4 * ABI_MAX_MCE_BANKS;
}

static bool is_ctl2(uint32_t index)
{
	return index >= MSR_MC0_CTL2 && index < MSR_MC0_CTL2 + ABI_MAX_MCE_BANKS;
}

/* get_msr_mce() */
static int mce_get(struct msr_store *m, uint32_t index, uint64_t *value, bool host)
{
	unsigned banks = m->mcg_cap & 0xff;

	if (index < 2) /* IA32_P5_MC_ADDR, IA32_P5_MC_TYPE */
		*value = 0;
	else if (index == MSR_MCG_CAP)
		*value = m->mcg_cap;
	else if (index == MSR_MCG_STATUS)
		*value = m->mcg_status;
	else if (index == MSR_MCG_CTL)
		*value = m->mcg_ctl;
	else if (is_bank(index) && index - MSR_MC0_CTL < 4 * banks)
		*value = m->bank[index - MSR_MC0_CTL];
	else if (is_ctl2(index) && index - MSR_MC0_CTL2 < banks)
		*value = m->bank_ctl2[index - MSR_MC0_CTL2];
	else
		return is_bank(index) || is_ctl2(index) ? -EINVAL : -ENOENT;
	/* no corrected-error interrupt (MCG_CMCI_P) and perhaps no IA32_MCG_CTL */
	if (!host && (is_ctl2(index) || (index == MSR_MCG_CTL && !(m->mcg_cap & MCG_CTL_P))))
		return -EINVAL;
	return 0;
}

static int bank_set(struct msr_store *m, uint32_t index, uint64_t value, bool host)
{
	unsigned which = index - MSR_MC0_CTL;

	if (which >= 4 * (m->mcg_cap & 0xff))
		return -EINVAL;
	/* MCi_CTL: all ones or none; the kernel tolerates bits 10 and 0 */
	if (which % 4 == 0 && value && (value | 1 << 10 | 1) != ~0ull)
		return -EINVAL;
	/* MCi_STATUS: a guest may only clear it */
	if (which % 4 == 1 && !host && value)
		return -EINVAL;
	m->bank[which] = value;
	return 0;
}

/* set_msr_mce() */
static int mce_set(struct msr_store *m, uint32_t index, uint64_t value, bool host)
{
	if (is_bank(index))
		return bank_set(m, index, value, host);
	if (is_ctl2(index))
		return value || !host || index - MSR_MC0_CTL2 >= (m->mcg_cap & 0xff) ? -EINVAL : 0;
	switch (index) {
	case 0:
	case 1:
	case MSR_MCG_CAP:
		return -EINVAL;
	case MSR_MCG_STATUS:
		m->mcg_status = value;
		return 0;
	case MSR_MCG_CTL:
		if (!(m->mcg_cap & MCG_CTL_P) && (value || !host))
			return -EINVAL;
		if (value && value != ~0ull)
			return -EINVAL;
		m->mcg_ctl = value;
		return 0;
	default:
		return -ENOENT;
	}
}

/* KVM_X86_SETUP_MCE */
static long setup_mce(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct msr_store *m = vcpu->msrs;
	uint64_t cap;
	unsigned banks;

	if (user_read(&cap, argument, sizeof(cap)))
		return -EFAULT;
	banks = cap & 0xff;
	if (!banks || banks > ABI_MAX_MCE_BANKS || cap & ~(MCG_SUPPORTED | 0xff | 0xff0000))
		return -EINVAL;
	m->mcg_cap = cap;
	if (cap & MCG_CTL_P)
		m->mcg_ctl = ~0ull;
	for (unsigned i = 0; i < banks; i++)
		m->bank[4 * i] = ~0ull;
	return 0;
}

static void store_mce(uint64_t *bank, const struct kvm_x86_mce *mce)
{
	bank[1] = mce->status | (bank[1] & MCI_VALID ? MCI_OVERFLOW : 0);
	bank[2] = mce->addr;
	bank[3] = mce->misc;
}

/* kvm_vcpu_ioctl_x86_set_mce() */
static long set_mce(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct msr_store *m = vcpu->msrs;
	struct kvm_x86_mce mce;
	struct emu_state state;
	struct emu_events events;
	uint64_t *bank;

	if (user_read(&mce, argument, sizeof(mce)))
		return -EFAULT;
	if (mce.bank >= (m->mcg_cap & 0xff) || !(mce.status & MCI_VALID))
		return -EINVAL;
	bank = &m->bank[4 * mce.bank];
	if (!(mce.status & MCI_UC)) {
		if ((bank[1] & MCI_VALID) && (bank[1] & MCI_UC))
			bank[1] |= MCI_OVERFLOW;
		else
			store_mce(bank, &mce);
		return 0;
	}
	if (((m->mcg_cap & MCG_CTL_P) && m->mcg_ctl != ~0ull) || bank[0] != ~0ull)
		return 0; /* reporting is off */
	vcpu->ops->get_state(vcpu->emu, &state);
	if ((m->mcg_status & 4) || !(state.cr4 & CR4_MCE)) { /* MCIP: a second one shuts down */
		vcpu->ops->get_events(vcpu->emu, &events);
		events.triple_fault_pending = true;
		vcpu->ops->set_events(vcpu->emu, &events);
		return 0;
	}
	store_mce(bank, &mce);
	m->mcg_status = mce.mcg_status;
	event_queue_exception(vcpu, MC_VECTOR);
	return 0;
}

/* ------------------------------------------------------------------ any MSR */

/* kvm_mtrr_get_msr() and its kin look at no CPUID: a guest has MTRRs even if it is shown none. */
static bool as_host(const struct shim_vcpu *vcpu, uint32_t index, bool host)
{
	return host || mtrr_find(vcpu->msrs, index);
}

/* The processor first, then ours. */
int msr_get(struct shim_vcpu *vcpu, uint32_t index, uint64_t *value, bool host)
{
	int r;

	if (index == MSR_PLATFORM_INFO && !host && vcpu->vm->hides_platform_info)
		return -EINVAL;
	r = lapic_get_msr(vcpu, index, value);
	if (r == -ENOENT)
		r = pvclock_msr_get(vcpu, index, value);
	if (r == -ENOENT)
		r = vcpu->ops->get_msr(vcpu->emu, index, value, as_host(vcpu, index, host));
	if (r == -ENOENT)
		r = plain_get(vcpu->msrs, index, value, host);
	if (r == -ENOENT)
		r = mtrr_access(vcpu, index, value, false);
	if (r == -ENOENT)
		r = mce_get(vcpu->msrs, index, value, host);
	return r;
}

int msr_set(struct shim_vcpu *vcpu, uint32_t index, uint64_t value, bool host)
{
	int r;

	if (index == ABI_MSR_TSC && host) {
		tsc_synchronize(vcpu, value, true);
		return 0;
	}
	r = lapic_set_msr(vcpu, index, value, host);
	if (r == -ENOENT)
		r = pvclock_msr_set(vcpu, index, value);
	if (r == -ENOENT)
		r = vcpu->ops->set_msr(vcpu->emu, index, value, as_host(vcpu, index, host));
	if (!r && (index == ABI_MSR_TSC || index == ABI_MSR_TSC_ADJUST))
		pvclock_request(vcpu);
	if (r == -ENOENT)
		r = plain_set(vcpu->msrs, index, value, host);
	if (r == -ENOENT)
		r = mtrr_access(vcpu, index, &value, true);
	if (r == -ENOENT)
		r = mce_set(vcpu->msrs, index, value, host);
	return r;
}

/* ------------------------------------------------------------------ lists */

/* Not offered, although the processor has it. */
static bool hidden(uint32_t index)
{
	for (size_t i = 0; i < PLAIN; i++) {
		if (plain[i].index == index && plain[i].rules & GUEST_SLD)
			return !offered(plain[i].rules);
	}
	return false;
}

static size_t list_saved(uint32_t *index, size_t max)
{
	size_t of_processor = shim_config.backend->msr_list(index, max), n = 0;

	for (size_t i = 0; i < of_processor && i < max; i++) {
		if (!hidden(index[i]))
			index[n++] = index[i];
	}
	for (size_t i = 0; i < PLAIN && n < max; i++) {
		bool known = plain[i].rules & UNLISTED || !offered(plain[i].rules);

		for (size_t k = 0; k < n && !known; k++)
			known = index[k] == plain[i].index;
		if (!known)
			index[n++] = plain[i].index;
	}
	if (n + 2 <= max) {
		index[n++] = MSR_MCG_STATUS;
		index[n++] = MSR_MCG_CTL;
	}
	return n;
}

static size_t list_features(uint32_t *index)
{
	size_t n = 0;

	for (size_t i = 0; i < PLAIN; i++) {
		if (plain[i].rules & FEATURE && offered(plain[i].rules))
			index[n++] = plain[i].index;
	}
	return n;
}

static long give_list(unsigned long argument, const uint32_t *index, uint32_t n)
{
	uint32_t room;

	if (user_read(&room, argument, sizeof(room)) || user_write(argument, &n, sizeof(n)))
		return -EFAULT;
	if (room < n)
		return -E2BIG;
	return user_write(argument + sizeof(n), index, n * sizeof(*index));
}

/* ------------------------------------------------------------------ KVM_GET_MSRS, KVM_SET_MSRS */

enum msr_io { IO_GET, IO_SET, IO_FEATURE };

static int one_msr(struct shim_vcpu *vcpu, enum msr_io io, struct kvm_msr_entry *e)
{
	uint64_t value = 0;
	int i;

	switch (io) {
	case IO_GET:
		i = msr_get(vcpu, e->index, &value, true);
		e->data = value;
		return i;
	case IO_SET:
		return msr_set(vcpu, e->index, e->data, true);
	default:
		i = plain_find(e->index);
		if (i < 0 || !(plain[i].rules & FEATURE))
			return -ENOENT;
		e->data = plain[i].reset;
		return 0;
	}
}

/* msr_io(): the number of those that worked, up to the first that did not */
static long all_msrs(struct shim_vcpu *vcpu, unsigned long argument, enum msr_io io)
{
	struct kvm_msr_entry entry[ABI_MAX_IO_MSRS];
	struct kvm_msrs header;
	uint32_t i;

	if (user_read(&header, argument, sizeof(header)))
		return -EFAULT;
	if (header.nmsrs >= ABI_MAX_IO_MSRS)
		return -E2BIG;
	if (user_read(entry, argument + sizeof(header), header.nmsrs * sizeof(entry[0])))
		return -EFAULT;
	for (i = 0; i < header.nmsrs; i++) {
		if (one_msr(vcpu, io, &entry[i])) {
			log_debug("MSR %#x: %s", entry[i].index,
				  io == IO_SET ? "not written" : "not read");
			break;
		}
	}
	if (io != IO_SET &&
	    user_write(argument + sizeof(header), entry, header.nmsrs * sizeof(entry[0])))
		return -EFAULT;
	return i;
}

long msr_device_ioctl(unsigned long request, unsigned long argument)
{
	const uint64_t mce = MCG_SUPPORTED;
	uint32_t index[SHIM_MSRS_MAX];

	switch (request) {
	case KVM_GET_MSR_INDEX_LIST:
		return give_list(argument, index, (uint32_t)list_saved(index, SHIM_MSRS_MAX));
	case KVM_GET_MSR_FEATURE_INDEX_LIST:
		return give_list(argument, index, (uint32_t)list_features(index));
	case KVM_X86_GET_MCE_CAP_SUPPORTED:
		return user_write(argument, &mce, sizeof(mce));
	default:
		return all_msrs(NULL, argument, IO_FEATURE);
	}
}

long msr_vcpu_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument)
{
	switch (request) {
	case KVM_X86_SETUP_MCE:
		return setup_mce(vcpu, argument);
	case KVM_X86_SET_MCE:
		return set_mce(vcpu, argument);
	default:
		return all_msrs(vcpu, argument, request == KVM_SET_MSRS ? IO_SET : IO_GET);
	}
}
