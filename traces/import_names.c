// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names of VM exits as tools print them. The kernel's are those of its tracepoints (Linux 6.18:
 * VMX_EXIT_REASONS and SVM_EXIT_REASONS, uapi/asm/vmx.h, svm.h, read from kvm_exit's format file); for
 * AMD libtraceevent's plugin has its own (plugin_kvm.c), "EXIT_" and what stands in the third column.
 */
#include "traces/import.h"

#include <string.h>

struct name {
	uint32_t number;
	const char *kernel, *plugin;
};

static const struct name vmx[] = {
	{ 0, "EXCEPTION_NMI", NULL },
	{ 1, "EXTERNAL_INTERRUPT", NULL },
	{ 2, "TRIPLE_FAULT", NULL },
	{ 3, "INIT_SIGNAL", NULL },
	{ 4, "SIPI_SIGNAL", NULL },
	{ 7, "INTERRUPT_WINDOW", NULL },
	{ 7, "PENDING_INTERRUPT", NULL }, /* until 5.5, and the plugin */
	{ 8, "NMI_WINDOW", NULL },
	{ 9, "TASK_SWITCH", NULL },
	{ 10, "CPUID", NULL },
	{ 12, "HLT", NULL },
	{ 13, "INVD", NULL },
	{ 14, "INVLPG", NULL },
	{ 15, "RDPMC", NULL },
	{ 16, "RDTSC", NULL },
	{ 18, "VMCALL", NULL },
	{ 19, "VMCLEAR", NULL },
	{ 20, "VMLAUNCH", NULL },
	{ 21, "VMPTRLD", NULL },
	{ 22, "VMPTRST", NULL },
	{ 23, "VMREAD", NULL },
	{ 24, "VMRESUME", NULL },
	{ 25, "VMWRITE", NULL },
	{ 26, "VMOFF", NULL },
	{ 27, "VMON", NULL },
	{ 28, "CR_ACCESS", NULL },
	{ 29, "DR_ACCESS", NULL },
	{ 30, "IO_INSTRUCTION", NULL },
	{ 31, "MSR_READ", NULL },
	{ 32, "MSR_WRITE", NULL },
	{ 33, "INVALID_STATE", NULL },
	{ 34, "MSR_LOAD_FAIL", NULL },
	{ 36, "MWAIT_INSTRUCTION", NULL },
	{ 37, "MONITOR_TRAP_FLAG", NULL },
	{ 39, "MONITOR_INSTRUCTION", NULL },
	{ 40, "PAUSE_INSTRUCTION", NULL },
	{ 41, "MCE_DURING_VMENTRY", NULL },
	{ 43, "TPR_BELOW_THRESHOLD", NULL },
	{ 44, "APIC_ACCESS", NULL },
	{ 45, "EOI_INDUCED", NULL },
	{ 46, "GDTR_IDTR", NULL },
	{ 47, "LDTR_TR", NULL },
	{ 48, "EPT_VIOLATION", NULL },
	{ 49, "EPT_MISCONFIG", NULL },
	{ 50, "INVEPT", NULL },
	{ 51, "RDTSCP", NULL },
	{ 52, "PREEMPTION_TIMER", NULL },
	{ 53, "INVVPID", NULL },
	{ 54, "WBINVD", NULL },
	{ 55, "XSETBV", NULL },
	{ 56, "APIC_WRITE", NULL },
	{ 57, "RDRAND", NULL },
	{ 58, "INVPCID", NULL },
	{ 59, "VMFUNC", NULL },
	{ 60, "ENCLS", NULL },
	{ 61, "RDSEED", NULL },
	{ 62, "PML_FULL", NULL },
	{ 63, "XSAVES", NULL },
	{ 64, "XRSTORS", NULL },
	{ 67, "UMWAIT", NULL },
	{ 68, "TPAUSE", NULL },
	{ 74, "BUS_LOCK", NULL },
	{ 75, "NOTIFY", NULL },
	{ 77, "TDCALL", NULL },
	{ 84, "MSR_READ_IMM", NULL },
	{ 85, "MSR_WRITE_IMM", NULL },
};

static const struct name svm[] = {
	{ 0x0, "read_cr0", "READ_CR0" },
	{ 0x2, "read_cr2", NULL },
	{ 0x3, "read_cr3", "READ_CR3" },
	{ 0x4, "read_cr4", "READ_CR4" },
	{ 0x8, "read_cr8", "READ_CR8" },
	{ 0x10, "write_cr0", "WRITE_CR0" },
	{ 0x12, "write_cr2", NULL },
	{ 0x13, "write_cr3", "WRITE_CR3" },
	{ 0x14, "write_cr4", "WRITE_CR4" },
	{ 0x18, "write_cr8", "WRITE_CR8" },
	{ 0x20, "read_dr0", "READ_DR0" },
	{ 0x21, "read_dr1", "READ_DR1" },
	{ 0x22, "read_dr2", "READ_DR2" },
	{ 0x23, "read_dr3", "READ_DR3" },
	{ 0x24, "read_dr4", "READ_DR4" },
	{ 0x25, "read_dr5", "READ_DR5" },
	{ 0x26, "read_dr6", "READ_DR6" },
	{ 0x27, "read_dr7", "READ_DR7" },
	{ 0x30, "write_dr0", "WRITE_DR0" },
	{ 0x31, "write_dr1", "WRITE_DR1" },
	{ 0x32, "write_dr2", "WRITE_DR2" },
	{ 0x33, "write_dr3", "WRITE_DR3" },
	{ 0x34, "write_dr4", "WRITE_DR4" },
	{ 0x35, "write_dr5", "WRITE_DR5" },
	{ 0x36, "write_dr6", "WRITE_DR6" },
	{ 0x37, "write_dr7", "WRITE_DR7" },
	{ 0x40, "DE excp", "EXCP_BASE" },
	{ 0x41, "DB excp", NULL },
	{ 0x43, "BP excp", NULL },
	{ 0x44, "OF excp", NULL },
	{ 0x45, "BR excp", NULL },
	{ 0x46, "UD excp", NULL },
	{ 0x47, "NM excp", NULL },
	{ 0x48, "DF excp", NULL },
	{ 0x4a, "TS excp", NULL },
	{ 0x4b, "NP excp", NULL },
	{ 0x4c, "SS excp", NULL },
	{ 0x4d, "GP excp", NULL },
	{ 0x4e, "PF excp", NULL },
	{ 0x50, "MF excp", NULL },
	{ 0x51, "AC excp", NULL },
	{ 0x52, "MC excp", NULL },
	{ 0x53, "XF excp", NULL },
	{ 0x60, "interrupt", "INTR" },
	{ 0x61, "nmi", "NMI" },
	{ 0x62, "smi", "SMI" },
	{ 0x63, "init", "INIT" },
	{ 0x64, "vintr", "VINTR" },
	{ 0x65, "cr0_sel_write", "CR0_SEL_WRITE" },
	{ 0x66, "read_idtr", "IDTR_READ" },
	{ 0x67, "read_gdtr", "GDTR_READ" },
	{ 0x68, "read_ldtr", "LDTR_READ" },
	{ 0x69, "read_rt", "TR_READ" },
	{ 0x6a, "write_idtr", "IDTR_WRITE" },
	{ 0x6b, "write_gdtr", "GDTR_WRITE" },
	{ 0x6c, "write_ldtr", "LDTR_WRITE" },
	{ 0x6d, "write_rt", "TR_WRITE" },
	{ 0x6e, "rdtsc", "RDTSC" },
	{ 0x6f, "rdpmc", "RDPMC" },
	{ 0x70, "pushf", "PUSHF" },
	{ 0x71, "popf", "POPF" },
	{ 0x72, "cpuid", "CPUID" },
	{ 0x73, "rsm", "RSM" },
	{ 0x74, "iret", "IRET" },
	{ 0x75, "swint", "SWINT" },
	{ 0x76, "invd", "INVD" },
	{ 0x77, "pause", "PAUSE" },
	{ 0x78, "hlt", "HLT" },
	{ 0x79, "invlpg", "INVLPG" },
	{ 0x7a, "invlpga", "INVLPGA" },
	{ 0x7b, "io", "IOIO" },
	{ 0x7c, "msr", "MSR" },
	{ 0x7d, "task_switch", "TASK_SWITCH" },
	{ 0x7e, "ferr_freeze", "FERR_FREEZE" },
	{ 0x7f, "shutdown", "SHUTDOWN" },
	{ 0x80, "vmrun", "VMRUN" },
	{ 0x81, "hypercall", "VMMCALL" },
	{ 0x82, "vmload", "VMLOAD" },
	{ 0x83, "vmsave", "VMSAVE" },
	{ 0x84, "stgi", "STGI" },
	{ 0x85, "clgi", "CLGI" },
	{ 0x86, "skinit", "SKINIT" },
	{ 0x87, "rdtscp", "RDTSCP" },
	{ 0x88, "icebp", "ICEBP" },
	{ 0x89, "wbinvd", "WBINVD" },
	{ 0x8a, "monitor", "MONITOR" },
	{ 0x8b, "mwait", "MWAIT" },
	{ 0x8d, "xsetbv", NULL },
	{ 0x8f, "write_efer_trap", NULL },
	{ 0x90, "write_cr0_trap", NULL },
	{ 0x94, "write_cr4_trap", NULL },
	{ 0x98, "write_cr8_trap", NULL },
	{ 0xa2, "invpcid", NULL },
	{ 0xa5, "buslock", NULL },
	{ 0xa6, "idle-halt", NULL },
	{ 0x400, "npf", "NPF" },
	{ 0x401, "avic_incomplete_ipi", NULL },
	{ 0x402, "avic_unaccelerated_access", NULL },
	{ 0x403, "vmgexit", NULL },
	{ 0x80000001, "vmgexit_mmio_read", NULL },
	{ 0x80000002, "vmgexit_mmio_write", NULL },
	{ 0x80000003, "vmgexit_nmi_complete", NULL },
	{ 0x80000004, "vmgexit_ap_hlt_loop", NULL },
	{ 0x80000005, "vmgexit_ap_jump_table", NULL },
	{ 0x80000010, "vmgexit_page_state_change", NULL },
	{ 0x80000011, "vmgexit_guest_request", NULL },
	{ 0x80000012, "vmgexit_ext_guest_request", NULL },
	{ 0x80000013, "vmgexit_ap_creation", NULL },
	{ 0x8000fffd, "vmgexit_hypervisor_feature", NULL },
	{ 0xffffffff, "invalid_guest_state", NULL },
	{ 0x8c, NULL, "MWAIT_COND" },
};

static const struct name *find(const struct name *table, size_t count, const char *name,
			       bool plugin)
{
	for (size_t i = 0; i < count; i++) {
		const char *is = plugin ? table[i].plugin : table[i].kernel;

		if (is && !strcmp(is, name))
			return &table[i];
	}
	return NULL;
}

bool import_exit_number(const char *name, enum import_isa *isa, uint32_t *number)
{
	const struct name *found = find(vmx, sizeof(vmx) / sizeof(vmx[0]), name, false);
	bool plugin = !strncmp(name, "EXIT_", 5);

	*isa = IMPORT_VMX;
	if (!found) {
		*isa = IMPORT_SVM;
		found = find(svm, sizeof(svm) / sizeof(svm[0]), plugin ? name + 5 : name, plugin);
	}
	if (!found)
		return false;
	*number = found->number;
	return true;
}

const char *import_exit_name(enum import_isa isa, uint32_t number)
{
	const struct name *table = isa == IMPORT_SVM ? svm : vmx;
	size_t count = isa == IMPORT_SVM ? sizeof(svm) / sizeof(svm[0])
					 : sizeof(vmx) / sizeof(vmx[0]);

	for (size_t i = 0; i < count; i++)
		if (table[i].number == number && table[i].kernel)
			return table[i].kernel;
	return NULL;
}
