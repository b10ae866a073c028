// SPDX-License-Identifier: GPL-2.0-only
/* Registers, events, MSRs and CPUID: round trips and the kernel's checks, over the script backend. */
#include "tests/unit/shim_script.h"

static struct machine m;

static int setup(void **state)
{
	(void)state;
	machine_start(&m, "exit hlt\nexit hlt\n");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	machine_stop(&m);
	return 0;
}

struct cpuid_list {
	struct kvm_cpuid2 header;
	struct kvm_cpuid_entry2 entry[256];
};

static void set_cpuid_leaves(void)
{
	struct cpuid_list list = { .header.nent = 256 };

	assert_int_equal(FD_IOCTL(m.kvm, KVM_GET_SUPPORTED_CPUID, &list), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &list), 0);
}

/* ------------------------------------------------------------------ registers */

static void test_regs_come_back_as_they_were_set(void **state)
{
	struct kvm_regs set, got;

	(void)state;
	for (unsigned i = 0; i < sizeof(set) / 8; i++)
		((uint64_t *)&set)[i] = 0x1111111111111111ull * (i % 15 + 1);
	set.rflags = 0x200;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &set), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_REGS, &got), 0);
	set.rflags |= 2; /* bit 1 is always set */
	assert_memory_equal(&set, &got, sizeof(set));
}

static void test_sregs_come_back_as_they_were_set(void **state)
{
	struct kvm_sregs set, got;
	struct kvm_segment *segment;

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &set), 0);
	segment = &set.cs; /* eight of them, in a row: cs … ldt */
	for (unsigned i = 0; i < 8; i++)
		segment[i] = (struct kvm_segment){ .base = 0x1000 * i,
						   .limit = 0xffff - i,
						   .selector = (uint16_t)(8 * i),
						   .type = 3,
						   .present = 1,
						   .dpl = i & 3,
						   .db = i & 1,
						   .s = 1,
						   .g = 1,
						   .avl = 1 };
	set.gdt = (struct kvm_dtable){ .base = 0x1234, .limit = 0x77 };
	set.idt = (struct kvm_dtable){ .base = 0x5678, .limit = 0x3ff };
	set.cr2 = 0xdead000;
	set.cr3 = 0x7000;
	set.cr8 = 5;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &set), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &got), 0);
	assert_memory_equal(&set, &got, sizeof(set));
}

static void test_sregs_segment_without_presence_is_unusable_and_accessed_is_fixed(void **state)
{
	struct kvm_sregs sregs;

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.ds.present = 1;
	sregs.ds.unusable = 1;
	sregs.es.present = 1;
	sregs.es.unusable = 0;
	sregs.es.type = 2;
	sregs.ldt.type = 2;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	assert_int_equal(sregs.ds.unusable, 1);
	assert_int_equal(sregs.ds.present, 0);
	assert_int_equal(sregs.es.unusable, 0);
	assert_int_equal(sregs.es.type, 3);
	assert_int_equal(sregs.ldt.type, 2);
}

static void test_sregs_are_checked_as_kvm_is_valid_sregs_does(void **state)
{
	static const uint64_t PG = 1u << 31, PE = 1, PAE = 1 << 5, LME = 1 << 8, LMA = 1 << 10,
			      NX = 1 << 11;
	const struct {
		uint64_t cr0, cr3, cr4, efer;
		bool cs_l, with_cpuid, ok;
	} rows[] = {
		{ PE, 0, 0, 0, false, true, true },
		{ PE | PG, 0, PAE, LME | LMA, true, true, true },
		{ PE | PG, 0, PAE, LME | LMA, false, true, true }, /* compatibility mode */
		{ PE | PG, 0, PAE, LME | LMA | NX, true, true, true },
		{ PE | PG, 0, 0, LME | LMA, true, true, false },            /* no PAE */
		{ PE | PG, 0, PAE, LME, true, true, false },                /* no LMA */
		{ PE | PG, 1ull << 40, PAE, LME | LMA, true, true, false }, /* CR3 too wide */
		{ PE | PG, 1ull << 39, PAE, LME | LMA, true, true, true },
		{ PE, 0, PAE, LME | LMA, false, true, false }, /* LMA without paging */
		{ PE, 0, PAE, LME, true, true, false },        /* 64-bit code without LMA */
		{ PE, 0, PAE, LME, false, true, true },
		{ PG, 0, 0, 0, false, true, false },            /* PG without PE */
		{ PE | 1u << 29, 0, 0, 0, false, true, false }, /* NW without CD */
		{ PE | 3u << 29, 0, 0, 0, false, true, true },
		{ PE | 1ull << 32, 0, 0, 0, false, true, false },
		{ PE, 0, 0, 2, false, true, true },        /* EFER bit 1: not looked at */
		{ PE, 0, 1 << 20, 0, false, true, false }, /* SMEP not in CPUID */
		{ PE, 0, 1 << 18, 0, false, true, true },  /* OSXSAVE is */
		/* small monitors set no CPUID at all */
		{ PE | PG, 0, PAE, LME | LMA, true, false, true },
		{ PE, 0, 0, 0, false, false, true },
	};
	struct kvm_sregs before, sregs, after;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		machine_stop(&m);
		setup(NULL);
		if (rows[i].with_cpuid)
			set_cpuid_leaves();
		assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &before), 0);
		sregs = before;
		sregs.cr0 = rows[i].cr0;
		sregs.cr3 = rows[i].cr3;
		sregs.cr4 = rows[i].cr4;
		sregs.efer = rows[i].efer;
		sregs.cs.l = rows[i].cs_l;
		sregs.cs.db = 0;
		if (FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs) != (rows[i].ok ? 0 : -EINVAL)) {
			print_error("row %zu\n", i);
			fail();
		}
		assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &after), 0);
		if (!rows[i].ok) /* nothing of it was taken */
			assert_memory_equal(&before, &after, sizeof(before));
	}
}

static void test_sregs_apic_base_is_checked(void **state)
{
	static const struct {
		uint64_t base;
		bool ok;
	} rows[] = {
		{ 0xfee00900, true },          { 0xfee00100, true },  { 0xfee00901, false },
		{ 0xfee00d00, true },          { 0xfee00500, false }, /* x2APIC without enable */
		{ 1ull << 41 | 0x900, false },
	};
	struct kvm_sregs sregs;

	(void)state;
	set_cpuid_leaves();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
		sregs.apic_base = rows[i].base;
		assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), rows[i].ok ? 0 : -EINVAL);
	}
}

static void test_sregs_x2apic_mode_needs_cpuid(void **state)
{
	struct kvm_sregs sregs;

	(void)state; /* no KVM_SET_CPUID2 */
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.apic_base = 0xfee00d00;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS, &sregs), -EINVAL);
}

static void test_sregs2_is_the_same_state_with_checked_flags(void **state)
{
	struct kvm_sregs2 s2;
	struct kvm_sregs s;

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS2, &s2), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &s), 0);
	assert_memory_equal(&s, &s2, offsetof(struct kvm_sregs2, flags));
	s2.cr3 = 0x5000;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS2, &s2), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_SREGS, &s), 0);
	assert_int_equal(s.cr3, 0x5000);
	s2.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID; /* not in PAE paging */
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS2, &s2), -EINVAL);
	s2.flags = 2;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_SREGS2, &s2), -EINVAL);
}

static void test_debugregs_come_back_and_are_checked(void **state)
{
	struct kvm_debugregs set = { .db = { 1, 2, 3, 4 }, .dr6 = 0xffff0ff1, .dr7 = 0x401 }, got;

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_DEBUGREGS, &set), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_DEBUGREGS, &got), 0);
	assert_memory_equal(&set, &got, sizeof(set));
	set.dr6 = 1ull << 32;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_DEBUGREGS, &set), -EINVAL);
	set.dr6 = 0;
	set.dr7 = 1ull << 63;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_DEBUGREGS, &set), -EINVAL);
	set.dr7 = 0;
	set.flags = 1;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_DEBUGREGS, &set), -EINVAL);
}

/* ------------------------------------------------------------------ x87 and SSE */

static void test_fpu_and_xsave_are_two_views_of_one_state(void **state)
{
	struct kvm_fpu fpu = { .fcw = 0x37f,
			       .fsw = 0x1234,
			       .ftwx = 0x55,
			       .last_opcode = 7,
			       .last_ip = 0x1111,
			       .last_dp = 0x2222 };
	struct kvm_xsave x = { 0 };
	struct kvm_fpu got;
	uint64_t header;

	(void)state;
	memset(fpu.fpr, 0xa5, sizeof(fpu.fpr));
	memset(fpu.xmm, 0x5a, sizeof(fpu.xmm));
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_FPU, &fpu), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_XSAVE, &x), 0);
	memcpy(&header, (char *)x.region + 512, 8);
	assert_int_equal(header, 3);
	assert_memory_equal((char *)x.region + 160, fpu.xmm, sizeof(fpu.xmm));
	memset((char *)x.region + 160, 0x11, 16);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_XSAVE, &x), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_FPU, &got), 0);
	assert_memory_equal(got.xmm[0],
			    "\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11", 16);
	assert_memory_equal(got.xmm[1], fpu.xmm[1], 16);
	assert_int_equal(got.fsw, 0x1234);
	assert_int_equal(got.ftwx, 0x55);
}

static void test_xsave_with_components_that_do_not_exist_is_refused(void **state)
{
	struct kvm_xsave x = { 0 };
	uint64_t header[8] = { 3 };

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_XSAVE, &x), 0);
	header[0] = 7; /* AVX */
	memcpy((char *)x.region + 512, header, 8);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_XSAVE, &x), -EINVAL);
	header[0] = 3;
	header[1] = 1ull << 63; /* compacted */
	memcpy((char *)x.region + 512, header, 16);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_XSAVE, &x), -EINVAL);
	header[1] = 0;
	memcpy((char *)x.region + 512, header, 16);
	x.region[6] = 0xffffffff; /* MXCSR */
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_XSAVE, &x), -EINVAL);
}

static void test_xsave_component_that_is_absent_takes_its_initial_state(void **state)
{
	struct kvm_xsave x;
	struct kvm_fpu fpu;

	(void)state;
	memset(&x, 0x22, sizeof(x));
	memset((char *)x.region + 512, 0, 64);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_XSAVE, &x), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_FPU, &fpu), 0);
	assert_int_equal(fpu.fcw, 0x37f);
	assert_int_equal(fpu.xmm[3][3], 0);
	assert_int_equal(fpu.fpr[3][3], 0);
}

static void test_xcrs_follow_the_guests_cpuid(void **state)
{
	struct kvm_xcrs x = { 0 };

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_XCRS, &x), 0);
	assert_int_equal(x.nr_xcrs, 1);
	assert_int_equal(x.xcrs[0].value, 1);
	x.xcrs[0].value = 3;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_XCRS, &x), -EINVAL); /* no leaf Dh */
	set_cpuid_leaves();
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_XCRS, &x), 0);
	x.xcrs[0].value = 7;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_XCRS, &x), -EINVAL);
	x.xcrs[0].value = 2; /* x87 cannot be off */
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_XCRS, &x), -EINVAL);
	x.xcrs[0].value = 1;
	x.flags = 1;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_XCRS, &x), -EINVAL);
	x.flags = 0;
	x.nr_xcrs = 17;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_XCRS, &x), -EINVAL);
	memset(&x, 0, sizeof(x));
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_XCRS, &x), 0);
	assert_int_equal(x.xcrs[0].value, 3);
}

/* ------------------------------------------------------------------ events */

static struct kvm_vcpu_events events(void)
{
	struct kvm_vcpu_events e;

	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_VCPU_EVENTS, &e), 0);
	return e;
}

static void test_events_pending_and_injected_are_one_without_payloads(void **state)
{
	struct kvm_vcpu_events e = events();

	(void)state;
	e.exception.pending = 1;
	e.exception.nr = 13;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_VCPU_EVENTS, &e), 0);
	assert_int_equal(events().exception.injected, 0); /* "pending" counts with payloads only */
	e.exception.injected = 1;
	e.exception.has_error_code = 1;
	e.exception.error_code = 0x18;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_VCPU_EVENTS, &e), 0);
	e = events();
	assert_int_equal(e.exception.injected, 1);
	assert_int_equal(e.exception.nr, 13);
	assert_int_equal(e.exception.error_code, 0x18);
	assert_int_equal(e.flags, KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
					  KVM_VCPUEVENT_VALID_SMM);
}

static void test_events_with_payload_keep_pending_apart(void **state)
{
	struct kvm_vcpu_events e;

	(void)state;
	e = events();
	e.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_VCPU_EVENTS, &e), -EINVAL);
	assert_int_equal(enable(m.vm, KVM_CAP_EXCEPTION_PAYLOAD, 0, 1), 0);
	e.exception.pending = 1;
	e.exception.nr = 14;
	e.exception_has_payload = 1;
	e.exception_payload = 0x1234;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_VCPU_EVENTS, &e), 0);
	e = events();
	assert_int_equal(e.exception.pending, 1);
	assert_int_equal(e.exception.injected, 0);
	assert_int_equal(e.exception_payload, 0x1234);
	/* new registers mean another instruction: what was about to happen does not */
	struct kvm_regs regs = regs_of(&m);

	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_REGS, &regs), 0);
	assert_int_equal(events().exception.pending, 0);
}

static void test_events_are_checked(void **state)
{
	struct kvm_vcpu_events good = events(), e;

	(void)state;
#define REFUSED(change) \
	e = good;       \
	change;         \
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_VCPU_EVENTS, &e), -EINVAL)
	REFUSED(e.flags = 1u << 31);
	REFUSED(e.exception.injected = 1; e.exception.nr = 32);
	REFUSED(e.exception.injected = 1; e.exception.nr = 2);
	REFUSED(e.smi.smm = 1);
	REFUSED(e.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT);
#undef REFUSED
	assert_int_equal(enable(m.vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 0, 1), 0);
	e = good;
	e.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	e.triple_fault.pending = 1;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_VCPU_EVENTS, &e), 0);
	assert_int_equal(events().triple_fault.pending, 1);
}

static void test_events_nmi_and_shadow_come_back(void **state)
{
	struct kvm_vcpu_events e = events();

	(void)state;
	assert_int_equal(fd_ioctl(m.vcpu, KVM_NMI, 0), 0);
	assert_int_equal(events().nmi.pending, 1);
	e.nmi.pending = 0;
	e.nmi.masked = 1;
	e.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_VCPU_EVENTS, &e), 0);
	assert_int_equal(events().nmi.pending, 0);
	assert_int_equal(events().nmi.masked, 1);
	assert_int_equal(events().interrupt.shadow, KVM_X86_SHADOW_INT_STI);
	e.flags = 0; /* neither field is valid then */
	e.interrupt.shadow = 0;
	e.nmi.pending = 1;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_VCPU_EVENTS, &e), 0);
	assert_int_equal(events().interrupt.shadow, KVM_X86_SHADOW_INT_STI);
	assert_int_equal(events().nmi.pending, 0);
}

static void test_mp_state_is_runnable_and_nothing_else(void **state)
{
	struct kvm_mp_state mp;

	(void)state;
	for (uint32_t i = 0; i < 12; i++) {
		mp.mp_state = i;
		assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_MP_STATE, &mp),
				 i == KVM_MP_STATE_RUNNABLE ? 0 : -EINVAL);
	}
}

static void test_guest_debug_injects_one_exception_at_a_time(void **state)
{
	struct kvm_guest_debug d = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_INJECT_BP };

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_GUEST_DEBUG, &d), 0);
	assert_int_equal(events().exception.nr, 3);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_GUEST_DEBUG, &d), -EBUSY);
	d.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_GUEST_DEBUG, &d), 0);
	d.control = 0;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_GUEST_DEBUG, &d), 0);
}

/* ------------------------------------------------------------------ MSRs */

struct msr_list {
	struct kvm_msrs header;
	struct kvm_msr_entry entry[256];
};

static long msrs(unsigned long request, uint32_t index, uint64_t *value)
{
	struct msr_list list = { .header.nmsrs = 1,
				 .entry = { { .index = index, .data = *value } } };
	long r = FD_IOCTL(m.vcpu, request, &list);

	*value = list.entry[0].data;
	return r;
}

static void test_msrs_stop_at_the_first_that_fails(void **state)
{
	struct msr_list list = { .header.nmsrs = 4,
				 .entry = { { .index = 0x2ff, .data = 0xc06 },
					    { .index = 0x3b, .data = 1 },
					    { .index = 0xdead, .data = 1 },
					    { .index = 0x1a0, .data = 1 } } };

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_MSRS, &list), 2);
	list.entry[3].data = 77;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_MSRS, &list), 2);
	assert_int_equal(list.entry[0].data, 0xc06);
	list.header.nmsrs = 256;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_MSRS, &list), -E2BIG);
	list.header.nmsrs = 0;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_MSRS, &list), 0);
}

static void test_msrs_that_qemu_writes_are_accepted(void **state)
{
	/* What of QEMU's list is not the processor's own (those the script does not have). */
	static const uint32_t indices[] = { 0x11,  0x12,  0x4b564d02, 0x4b564d03, 0x4b564d04,
					    0x3b,  0x1a0, 0x34,       0xc001011f, 0x6e0,
					    0x8b,  0x10a, 0xc0010117, 0x17a,      0x200,
					    0x20f, 0x250, 0x258,      0x259,      0x268,
					    0x26f, 0x2ff, 0x400,      0x427 };
	uint64_t value, cap = 10 | 1 << 8;

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_X86_SETUP_MCE, &cap), 0);
	for (size_t i = 0; i < sizeof(indices) / sizeof(indices[0]); i++) {
		value = 0;
		if (msrs(KVM_SET_MSRS, indices[i], &value) != 1) {
			print_error("MSR %#x\n", indices[i]);
			fail();
		}
		assert_int_equal(msrs(KVM_GET_MSRS, indices[i], &value), 1);
		assert_int_equal(value, 0);
	}
	value = ~0ull;
	assert_int_equal(msrs(KVM_SET_MSRS, 0x17b, &value), 1); /* IA32_MCG_CTL */
}

static void test_mtrrs_are_checked_as_in_the_kernel(void **state)
{
	static const struct {
		uint32_t index;
		uint64_t value;
		bool ok;
	} rows[] = {
		{ 0x200, 0x80000006, true },
		{ 0x200, 0x80000002, false },
		{ 0x200, 0x80000106, false },
		{ 0x200, 1ull << 36, false },
		{ 0x201, 0xf80000800, true },
		{ 0x201, 0xf80000400, false },
		{ 0x250, 0x0606060606060606, true },
		{ 0x250, 0x0606060606060206, false },
		{ 0x2ff, 0xc06, true },
		{ 0x2ff, 0xc02, false },
		{ 0x2ff, 0x1c06, false },
	};
	uint64_t value;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		value = rows[i].value;
		assert_int_equal(msrs(KVM_SET_MSRS, rows[i].index, &value), rows[i].ok);
	}
}

static void test_machine_check_banks_follow_mcg_cap(void **state)
{
	struct kvm_x86_mce mce = { .status = 1ull << 63 | 5, .addr = 0x1000, .misc = 7, .bank = 3 };
	uint64_t cap = 4, value;

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_X86_SETUP_MCE, &cap), 0);
	assert_int_equal(msrs(KVM_GET_MSRS, 0x179, &value), 1);
	assert_int_equal(value, 4);
	assert_int_equal(msrs(KVM_GET_MSRS, 0x40c, &value), 1); /* bank 3's control */
	assert_int_equal(value, ~0ull);
	assert_int_equal(msrs(KVM_GET_MSRS, 0x410, &value), 0); /* there is no bank 4 */
	value = 0;
	assert_int_equal(msrs(KVM_SET_MSRS, 0x410, &value), 0);
	value = 1;
	assert_int_equal(msrs(KVM_SET_MSRS, 0x400, &value), 0); /* all bits or none */
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_X86_SET_MCE, &mce), 0);
	assert_int_equal(msrs(KVM_GET_MSRS, 0x40d, &value), 1);
	assert_int_equal(value, mce.status);
	mce.bank = 4;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_X86_SET_MCE, &mce), -EINVAL);
	mce.bank = 0;
	mce.status = 5; /* not valid */
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_X86_SET_MCE, &mce), -EINVAL);
	/* uncorrected, with CR4.MCE clear: shutdown */
	mce.status = 1ull << 63 | 1ull << 61;
	assert_int_equal(enable(m.vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 0, 1), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_X86_SET_MCE, &mce), 0);
	assert_int_equal(events().triple_fault.pending, 1);
	cap = 0;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_X86_SETUP_MCE, &cap), -EINVAL);
	cap = 33;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_X86_SETUP_MCE, &cap), -EINVAL);
	cap = 10 | 1ull << 30;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_X86_SETUP_MCE, &cap), -EINVAL);
}

static void test_feature_msrs_are_read_from_the_device(void **state)
{
	struct msr_list list = { .header.nmsrs = 2,
				 .entry = { { .index = 0x8b }, { .index = 0x1a0 } } };

	(void)state;
	assert_int_equal(FD_IOCTL(m.kvm, KVM_GET_MSRS, &list), 1); /* the second is no feature */
	assert_int_equal(list.entry[0].data, 0x100000000ull);
}

/* ------------------------------------------------------------------ CPUID */

static void test_cpuid_comes_back_as_it_was_set(void **state)
{
	struct cpuid_list list = { .header.nent = 256 }, got;

	(void)state;
	assert_int_equal(FD_IOCTL(m.kvm, KVM_GET_SUPPORTED_CPUID, &list), 0);
	list.entry[0].ebx = 0x756e6547;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &list), 0);
	memset(&got, 0, sizeof(got));
	got.header.nent = list.header.nent - 1;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_CPUID2, &got), -E2BIG);
	got.header.nent = 256;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_CPUID2, &got), 0);
	assert_int_equal(got.header.nent, list.header.nent);
	assert_memory_equal(got.entry, list.entry, list.header.nent * sizeof(got.entry[0]));
	list.header.nent = 257;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &list), -E2BIG);
}

/* Linux with five levels of tables takes its own addresses for user space's otherwise. */
static void test_cpuid_address_width_is_that_of_its_paging(void **state)
{
	struct cpuid_list list = { .header.nent = 256 };
	bool five_levels = false;
	unsigned width = 0;

	(void)state;
	assert_int_equal(FD_IOCTL(m.kvm, KVM_GET_SUPPORTED_CPUID, &list), 0);
	for (unsigned i = 0; i < list.header.nent; i++) {
		if (list.entry[i].function == 7 && list.entry[i].index == 0)
			five_levels = list.entry[i].ecx >> 16 & 1;
		if (list.entry[i].function == 0x80000008)
			width = list.entry[i].eax >> 8 & 0xff;
	}
	assert_int_equal(width, five_levels ? 57 : 48);
}

static void test_cpuid_after_the_first_run_may_only_be_repeated(void **state)
{
	struct cpuid_list list = { .header.nent = 256 };

	(void)state;
	assert_int_equal(FD_IOCTL(m.kvm, KVM_GET_SUPPORTED_CPUID, &list), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &list), 0);
	m.run->immediate_exit = 1;
	assert_int_equal(run_once(&m), -EINTR); /* that is no run */
	list.entry[0].ebx = 1;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &list), 0);
	m.run->immediate_exit = 0;
	assert_int_equal(run_once(&m), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &list), 0);
	list.entry[0].ebx = 2;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &list), -EINVAL);
	list.entry[0].ebx = 1;
	list.header.nent--;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &list), -EINVAL);
}

static void test_cpuid_with_an_impossible_address_width_is_refused(void **state)
{
	struct cpuid_list list = { .header.nent = 1,
				   .entry = { { .function = 0x80000008, .eax = 49 << 8 | 40 } } };

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &list), -EINVAL);
	list.entry[0].eax = 57 << 8 | 40;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID2, &list), 0);
}

static void test_cpuid_old_form_is_accepted(void **state)
{
	struct {
		struct kvm_cpuid header;
		struct kvm_cpuid_entry entry[2];
	} old = { .header.nent = 2,
		  .entry = { { .function = 0, .ebx = 5 }, { .function = 1, .ecx = 6 } } };
	struct cpuid_list got = { .header.nent = 2 };

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_SET_CPUID, &old), 0);
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_GET_CPUID2, &got), 0);
	assert_int_equal(got.entry[0].ebx, 5);
	assert_int_equal(got.entry[1].ecx, 6);
	assert_int_equal(got.entry[1].flags, 0);
}

static void test_translate_says_whether_the_address_is_mapped(void **state)
{
	struct kvm_translation t = { .linear_address = 0x1234 };

	(void)state;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_TRANSLATE, &t), 0);
	assert_int_equal(t.valid, 1);
	assert_int_equal(t.physical_address, 0x1234);
	assert_int_equal(t.writeable, 1);
	assert_int_equal(t.usermode, 0);
	t.linear_address = 1ull << 40;
	assert_int_equal(FD_IOCTL(m.vcpu, KVM_TRANSLATE, &t), 0);
	assert_int_equal(t.valid, 0);
	assert_int_equal(t.physical_address, ~0ull);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_regs_come_back_as_they_were_set),
		TEST(test_sregs_come_back_as_they_were_set),
		TEST(test_sregs_segment_without_presence_is_unusable_and_accessed_is_fixed),
		TEST(test_sregs_are_checked_as_kvm_is_valid_sregs_does),
		TEST(test_sregs_apic_base_is_checked),
		TEST(test_sregs_x2apic_mode_needs_cpuid),
		TEST(test_sregs2_is_the_same_state_with_checked_flags),
		TEST(test_debugregs_come_back_and_are_checked),
		TEST(test_fpu_and_xsave_are_two_views_of_one_state),
		TEST(test_xsave_with_components_that_do_not_exist_is_refused),
		TEST(test_xsave_component_that_is_absent_takes_its_initial_state),
		TEST(test_xcrs_follow_the_guests_cpuid),
		TEST(test_events_pending_and_injected_are_one_without_payloads),
		TEST(test_events_with_payload_keep_pending_apart),
		TEST(test_events_are_checked),
		TEST(test_events_nmi_and_shadow_come_back),
		TEST(test_mp_state_is_runnable_and_nothing_else),
		TEST(test_guest_debug_injects_one_exception_at_a_time),
		TEST(test_msrs_stop_at_the_first_that_fails),
		TEST(test_msrs_that_qemu_writes_are_accepted),
		TEST(test_mtrrs_are_checked_as_in_the_kernel),
		TEST(test_machine_check_banks_follow_mcg_cap),
		TEST(test_feature_msrs_are_read_from_the_device),
		TEST(test_cpuid_comes_back_as_it_was_set),
		TEST(test_cpuid_address_width_is_that_of_its_paging),
		TEST(test_cpuid_after_the_first_run_may_only_be_repeated),
		TEST(test_cpuid_with_an_impossible_address_width_is_refused),
		TEST(test_cpuid_old_form_is_accepted),
		TEST(test_translate_says_whether_the_address_is_mapped),
	};

	return cmocka_run_group_tests(tests, script_setup, NULL);
}
