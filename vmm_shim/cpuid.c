// SPDX-License-Identifier: GPL-2.0-only
/* CPUID: what the processor supports, and what a vCPU shows (arch/x86/kvm/cpuid.c). */
#include "vmm_shim/internal.h"
#include "vmm_shim/irqchip/lapic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PHYSICAL_BITS 36 /* cpuid_query_maxphyaddr() without leaf 80000008h */

#define X2APIC            (1u << 21) /* leaf 1, ECX */
#define TSC_DEADLINE      (1u << 24) /* …, shown since 6.14 */
#define BUS_LOCK_DETECT   (1u << 24) /* leaf 7, ECX */
#define CORE_CAPABILITIES (1u << 30) /* leaf 7, EDX */

/* kvm_set_cpu_caps(): what the processor has and this kernel passes on. */
void cpuid_offer(const struct profile *profile, bool intel, bool guest_sld, struct emu_cpuid *leaf)
{
	if (leaf->function == 1) /* emulated whatever the processor has: kvm_set_cpu_caps() */
		leaf->ecx |= X2APIC | (profile->kernel >= KERNEL(6, 14, 0) ? TSC_DEADLINE : 0);
	if (leaf->function != 7 || leaf->index != 0)
		return;
	if (!profile->guest_bld || (!intel && profile->svm_hides_bld))
		leaf->ecx &= ~BUS_LOCK_DETECT;
	if (!guest_sld)
		leaf->edx &= ~CORE_CAPABILITIES;
}

/*
 * __do_cpuid_func(), KVM_CPUID_SIGNATURE and KVM_CPUID_FEATURES. Of what Linux has there: what needs neither
 * hypercalls nor page faults of the host's. QEMU's -cpu host takes all that is offered, and ends itself
 * when an MSR of it can't be written, as those of asynchronous page faults without an APIC of the kernel's.
 */
static size_t paravirtual(struct emu_cpuid *leaves)
{
	static const char signature[12] = "KVMKVMKVM";

	leaves[0] =
		(struct emu_cpuid){ .function = KVM_CPUID_SIGNATURE, .eax = KVM_CPUID_FEATURES };
	memcpy(&leaves[0].ebx, signature, 4);
	memcpy(&leaves[0].ecx, signature + 4, 4);
	memcpy(&leaves[0].edx, signature + 8, 4);
	leaves[1] = (struct emu_cpuid){
		.function = KVM_CPUID_FEATURES,
		.eax = 1u << KVM_FEATURE_CLOCKSOURCE | 1u << KVM_FEATURE_NOP_IO_DELAY |
		       1u << KVM_FEATURE_CLOCKSOURCE2 | 1u << KVM_FEATURE_STEAL_TIME |
		       1u << KVM_FEATURE_CLOCKSOURCE_STABLE_BIT,
	};
	return 2;
}

static size_t supported(struct emu_cpuid *leaves)
{
	const struct shim_options *options = &shim_config.options;
	size_t n = shim_config.backend->cpuid_supported((enum emu_vendor)options->vendor, leaves,
							ABI_MAX_CPUID_ENTRIES);

	if (n > ABI_MAX_CPUID_ENTRIES)
		n = ABI_MAX_CPUID_ENTRIES;
	for (size_t i = 0; i < n; i++)
		cpuid_offer(&shim_config.profile, config_intel(), options->guest_sld, &leaves[i]);
	if (options->kvmclock && n + 2 <= ABI_MAX_CPUID_ENTRIES)
		n += paravirtual(&leaves[n]);
	return n;
}

static const struct emu_cpuid *supported_find(struct emu_cpuid *leaves, uint32_t function,
					      uint32_t index)
{
	size_t n = supported(leaves);

	for (size_t i = 0; i < n; i++) {
		if (leaves[i].function == function &&
		    (!leaves[i].has_index || leaves[i].index == index))
			return &leaves[i];
	}
	return NULL;
}

/* Register 0 to 3: EAX EBX ECX EDX. */
bool cpuid_supported_bit(uint32_t function, uint32_t index, unsigned reg, unsigned bit)
{
	struct emu_cpuid leaves[ABI_MAX_CPUID_ENTRIES];
	const struct emu_cpuid *leaf = supported_find(leaves, function, index);
	uint32_t value;

	if (!leaf)
		return false;
	value = reg == 0 ? leaf->eax : reg == 1 ? leaf->ebx : reg == 2 ? leaf->ecx : leaf->edx;
	return value >> bit & 1;
}

unsigned cpuid_physical_bits(void)
{
	struct emu_cpuid leaves[ABI_MAX_CPUID_ENTRIES];
	const struct emu_cpuid *leaf = supported_find(leaves, 0x80000008, 0);
	unsigned bits = leaf ? leaf->eax & 0xff : 0;

	return bits >= 32 && bits <= 52 ? bits : DEFAULT_PHYSICAL_BITS;
}

const struct kvm_cpuid_entry2 *cpuid_find(const struct shim_vcpu *vcpu, uint32_t function,
					  uint32_t index)
{
	for (unsigned i = 0; i < vcpu->cpuid_count; i++) {
		const struct kvm_cpuid_entry2 *e = &vcpu->cpuid[i];

		if (e->function == function &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index))
			return e;
	}
	return NULL;
}

uint64_t cpuid_supported_xcr0(void)
{
	struct emu_cpuid leaves[ABI_MAX_CPUID_ENTRIES];
	const struct emu_cpuid *own = supported_find(leaves, 0xd, 0);

	return own ? own->eax | (uint64_t)own->edx << 32 : 0;
}

/* What of XCR0 the guest may set: leaf Dh as the monitor gave it, of that what is saved here (x87 and
 * SSE). */
uint64_t cpuid_guest_xcr0(const struct shim_vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(vcpu, 0xd, 0);

	return e ? (e->eax | (uint64_t)e->edx << 32) & cpuid_supported_xcr0() : 0;
}

/* ------------------------------------------------------------------ /dev/kvm */

static void from_leaf(struct kvm_cpuid_entry2 *e, const struct emu_cpuid *leaf)
{
	*e = (struct kvm_cpuid_entry2){
		.function = leaf->function,
		.index = leaf->index,
		.flags = leaf->has_index ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
		.eax = leaf->eax,
		.ebx = leaf->ebx,
		.ecx = leaf->ecx,
		.edx = leaf->edx,
	};
}

/* sanity_check_entries(); an entry that cannot be read is not clean either */
static bool padding_is_clean(uint64_t entries, uint32_t n)
{
	static const uint32_t clean[3];
	struct kvm_cpuid_entry2 e;

	if (n > ABI_MAX_CPUID_ENTRIES)
		n = ABI_MAX_CPUID_ENTRIES;
	for (uint32_t i = 0; i < n; i++) {
		if (user_read(&e, entries + i * sizeof(e), sizeof(e)) ||
		    memcmp(e.padding, clean, sizeof(clean)))
			return false;
	}
	return true;
}

/*
 * Too small a list is refused with E2BIG and nent untouched, until one is large enough: QEMU doubles
 * its guess until then.
 */
long cpuid_device_ioctl(unsigned long request, unsigned long argument)
{
	struct kvm_cpuid_entry2 entries[ABI_MAX_CPUID_ENTRIES];
	struct emu_cpuid leaves[ABI_MAX_CPUID_ENTRIES];
	struct kvm_cpuid2 header;
	size_t n = 0;

	if (user_read(&header, argument, sizeof(header)))
		return -EFAULT;
	if (header.nent < 1)
		return -E2BIG;
	if (request == KVM_GET_EMULATED_CPUID &&
	    !padding_is_clean(argument + sizeof(header), header.nent))
		return -EINVAL;
	if (request == KVM_GET_SUPPORTED_CPUID) {
		n = supported(leaves);
		for (size_t i = 0; i < n; i++)
			from_leaf(&entries[i], &leaves[i]);
	} else {
		/* Nothing is emulated beyond what is supported: leaf 0 alone says so. */
		memset(&entries[0], 0, sizeof(entries[0]));
		n = 1;
	}
	if (header.nent < n)
		return -E2BIG;
	header.nent = (uint32_t)n;
	if (user_write(argument + sizeof(header), entries, n * sizeof(entries[0])) ||
	    user_write(argument, &header, sizeof(header)))
		return -EFAULT;
	return 0;
}

/* ------------------------------------------------------------------ vCPU */

/* kvm_check_cpuid() */
static int check(const struct kvm_cpuid_entry2 *entries, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned bits = entries[i].eax >> 8 & 0xff;

		if (entries[i].function == 0x80000008 && bits != 48 && bits != 57 && bits != 0)
			return -EINVAL;
	}
	return 0;
}

/* kvm_cpuid_check_equal(): after the first KVM_RUN only the same model again */
static int check_equal(const struct shim_vcpu *vcpu, const struct kvm_cpuid_entry2 *entries,
		       unsigned n)
{
	if (n != vcpu->cpuid_count)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		const struct kvm_cpuid_entry2 *a = &entries[i], *b = &vcpu->cpuid[i];

		if (a->function != b->function || a->index != b->index || a->flags != b->flags ||
		    a->eax != b->eax || a->ebx != b->ebx || a->ecx != b->ecx || a->edx != b->edx)
			return -EINVAL;
	}
	return 0;
}

static int to_backend(struct shim_vcpu *vcpu, const struct kvm_cpuid_entry2 *entries, unsigned n)
{
	struct emu_cpuid *leaves = calloc(n ? n : 1, sizeof(*leaves));
	int r;

	if (!leaves)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		leaves[i] = (struct emu_cpuid){
			.function = entries[i].function,
			.index = entries[i].index,
			.has_index = entries[i].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			.eax = entries[i].eax,
			.ebx = entries[i].ebx,
			.ecx = entries[i].ecx,
			.edx = entries[i].edx,
		};
	}
	r = vcpu->ops->set_cpuid(vcpu->emu, leaves, n);
	free(leaves);
	return r;
}

/* Takes `entries` if it succeeds. */
static int set_entries(struct shim_vcpu *vcpu, struct kvm_cpuid_entry2 *entries, unsigned n)
{
	int r;

	if (vcpu->has_run) {
		r = check_equal(vcpu, entries, n);
		if (!r)
			free(entries);
		return r;
	}
	r = check(entries, n);
	if (!r)
		r = to_backend(vcpu, entries, n);
	if (r)
		return r;
	free(vcpu->cpuid);
	vcpu->cpuid = entries;
	vcpu->cpuid_count = n;
	if (vcpu->apic)
		lapic_cpuid_changed(vcpu);
	/* vmx_vcpu_after_set_cpuid() writes the secondary controls again; SVM's do not change */
	if (config_intel())
		vcpu_latch_bus_lock(vcpu);
	return 0;
}

static long set_cpuid2(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_cpuid2 header;
	struct kvm_cpuid_entry2 *entries;
	size_t size;
	int r = user_read(&header, argument, sizeof(header));

	if (r)
		return r;
	if (header.nent > ABI_MAX_CPUID_ENTRIES)
		return -E2BIG;
	size = header.nent * sizeof(*entries);
	entries = malloc(size ? size : 1);
	if (!entries)
		return -ENOMEM;
	r = user_read(entries, argument + sizeof(header), size);
	if (!r)
		r = set_entries(vcpu, entries, header.nent);
	if (r)
		free(entries);
	return r;
}

/* The old form without indices. */
static long set_cpuid(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_cpuid header;
	struct kvm_cpuid_entry old;
	struct kvm_cpuid_entry2 *entries;
	int r = user_read(&header, argument, sizeof(header));

	if (r)
		return r;
	if (header.nent > ABI_MAX_CPUID_ENTRIES)
		return -E2BIG;
	entries = calloc(header.nent ? header.nent : 1, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	for (unsigned i = 0; i < header.nent && !r; i++) {
		r = user_read(&old, argument + sizeof(header) + i * sizeof(old), sizeof(old));
		entries[i].function = old.function;
		entries[i].eax = old.eax;
		entries[i].ebx = old.ebx;
		entries[i].ecx = old.ecx;
		entries[i].edx = old.edx;
	}
	if (!r)
		r = set_entries(vcpu, entries, header.nent);
	if (r)
		free(entries);
	return r;
}

static long get_cpuid2(struct shim_vcpu *vcpu, unsigned long argument)
{
	struct kvm_cpuid2 header;

	if (user_read(&header, argument, sizeof(header)))
		return -EFAULT;
	if (header.nent < vcpu->cpuid_count)
		return -E2BIG;
	header.nent = vcpu->cpuid_count;
	if (user_write(argument + sizeof(header), vcpu->cpuid,
		       vcpu->cpuid_count * sizeof(vcpu->cpuid[0])) ||
	    user_write(argument, &header, sizeof(header)))
		return -EFAULT;
	return 0;
}

long cpuid_vcpu_ioctl(struct shim_vcpu *vcpu, unsigned long request, unsigned long argument)
{
	switch (request) {
	case KVM_SET_CPUID:
		return set_cpuid(vcpu, argument);
	case KVM_SET_CPUID2:
		return set_cpuid2(vcpu, argument);
	default:
		return get_cpuid2(vcpu, argument);
	}
}
