// SPDX-License-Identifier: GPL-2.0-only
/* What the host's /dev/kvm can do for `buslock record`. */
#include "cli/cli.h"
#include "cli/record.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool has(int fd, int capability, int bits)
{
	int value = ioctl(fd, KVM_CHECK_EXTENSION, capability);

	return value > 0 && (value & bits) == bits;
}

/* Why not, or NULL. */
static const char *missing(int fd, const struct watch_options *options)
{
	if (options->enable && !has(fd, KVM_CAP_X86_BUS_LOCK_EXIT, KVM_BUS_LOCK_DETECTION_EXIT))
		return "--enable: capability 193 (KVM_CAP_X86_BUS_LOCK_EXIT) is 0 here: this "
		       "processor or this kernel has no bus-lock exits. `buslock record --step` "
		       "does without them, `buslock exec` emulates them; `buslock host` says what "
		       "is missing";
	if (options->step && ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_GUEST_DEBUG) <= 0)
		return "--step: capability 23 (KVM_CAP_SET_GUEST_DEBUG) is 0 here: this KVM cannot "
		       "single-step";
	if (options->hold_interrupts && !has(fd, KVM_CAP_SET_GUEST_DEBUG2, KVM_GUESTDBG_BLOCKIRQ))
		return "--hold-interrupts: this KVM has no KVM_GUESTDBG_BLOCKIRQ (Linux 5.16)";
	return NULL;
}

int record_check_host(const struct watch_options *options)
{
	int fd = open(RECORD_DEVICE, O_RDWR | O_CLOEXEC);
	const char *why;

	if (fd < 0) {
		complain("record: " RECORD_DEVICE ": %s. It is the real device that is watched; "
			 "`buslock exec --trace` needs none",
			 strerror(errno));
		return STATUS_USAGE;
	}
	why = missing(fd, options);
	close(fd);
	if (!why)
		return STATUS_OK;
	complain("record: %s", why);
	return STATUS_USAGE;
}

/* SDM 20.3.1.4: the processor clears TF when it calls a handler, and nobody steps it then. */
bool record_host_delivers(void)
{
	return !access("/sys/module/kvm_intel", F_OK) || !access("/sys/module/kvm_amd", F_OK);
}

/*
 * With nested paging on AMD the guest's PAT counts (APM 15.25.8). With EPT KVM ignores it, and the page
 * tables that KVM makes by itself (shadow paging, on either vendor) are write-back
 * (arch/x86/kvm/mmu/spte.c, make_spte()).
 */
enum watch_memory record_host_memory(void)
{
	FILE *file = fopen("/sys/module/kvm_amd/parameters/npt", "re");
	int value = file ? fgetc(file) : EOF;

	if (file)
		fclose(file);
	return value == 'Y' || value == '1' ? WATCH_MEMORY_GUEST : WATCH_MEMORY_KVM;
}

void record_lacks(const struct watch_options *options, const char *lacks[RECORD_LACKS])
{
	/* RIP at an exit is told by the kernel's registers, which nobody asks for here */
	static const char *const always[] = { "host_message", "exit.word", "exit.rip",
					      "exit.linear_rip", "exit.registers" };
	size_t n = sizeof(always) / sizeof(always[0]);

	memcpy(lacks, always, sizeof(always));
	if (!options->step)
		lacks[n++] = "bus_lock";
	if (!options->locked)
		lacks[n++] = "locked";
	lacks[n] = NULL;
}
