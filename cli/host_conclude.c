// SPDX-License-Identifier: GPL-2.0-only
/* What follows from what is known of a host: in sentences. */
#include "cli/host.h"

#include "cli/kvm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct speaker {
	void (*say)(void *opaque, const char *sentence);
	void *opaque;
};

static void say(const struct speaker *to, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(const struct speaker *to, const char *format, ...)
{
	char sentence[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(sentence, sizeof(sentence), format, arguments);
	va_end(arguments);
	to->say(to->opaque, sentence);
}

long host_bus_lock_capability(const struct host *h)
{
	for (size_t i = 0; i < h->capabilities; i++)
		if (h->capability[i].number == KVM_CAP_X86_BUS_LOCK_EXIT)
			return h->capability[i].value > 0 ? h->capability[i].value : 0;
	return 0;
}

/* match_option() in arch/x86/kernel/cpu/: what it does not understand leaves "warn". */
const char *host_detect_mode(const struct host *h)
{
	const char *option = h->detect_option;
	int rate;

	if (!strcmp(option, "off"))
		return "off";
	if (!strcmp(option, "fatal"))
		return "fatal";
	if (!strncmp(option, "ratelimit:", 10)) {
		rate = atoi(option + 10);
		if (rate >= 1 && rate <= 1000)
			return option;
	}
	return "warn";
}

static void conclude_device(const struct host *h, const struct speaker *to)
{
	switch (h->device_error) {
	case 0:
		break;
	case HOST_DEVICE_NOT_ASKED:
		return;
	case ENOENT:
	case ENXIO:
	case ENODEV:
		say(to, "There is no %s: %s.", h->device,
		    h->vmx || h->svm ? "load the module kvm_intel or kvm_amd"
				     : "the processor shows no virtualization (vmx, svm); in a "
				       "virtual machine nested virtualization may be off");
		return;
	case EACCES:
	case EPERM:
		say(to,
		    "%s is there but you may not open it: join the group that owns it (usually "
		    "kvm).",
		    h->device);
		return;
	default:
		say(to, "%s cannot be used: %s.", h->device, strerror(h->device_error));
		return;
	}
	if (host_bus_lock_capability(h) & KVM_BUS_LOCK_DETECTION_EXIT) {
		say(to,
		    "KVM here reports bus locks by itself (KVM_CAP_X86_BUS_LOCK_EXIT is %ld): a "
		    "monitor gets KVM_EXIT_X86_BUS_LOCK without buslock.",
		    host_bus_lock_capability(h));
		return;
	}
	say(to, "KVM here cannot report bus locks (KVM_CAP_X86_BUS_LOCK_EXIT is 0): a monitor that "
		"asks for it is told so, and KVM_ENABLE_CAP succeeds without effect.");
}

/* Linux 5.12 for Intel's VMM bus-lock detection, 6.16 for AMD's Bus Lock Threshold. */
static void conclude_missing(const struct host *h, const struct speaker *to)
{
	int major = 0, minor = 0;

	if (host_bus_lock_capability(h) || h->device_error == HOST_DEVICE_NOT_ASKED)
		return;
	if (h->hypervisor)
		say(to, "Missing: this machine is a virtual one, and hypervisors do not hand the "
			"feature on to nested KVM (Linux never offers it to a nested hypervisor).");
	if (strstr(h->modules, "kvm_pvm"))
		say(to, "Missing: kvm_pvm virtualizes in software; it has no VM exits of the "
			"processor's.");
	if (!strcmp(h->vendor, "GenuineIntel") && !h->hypervisor)
		say(to, "Missing: the processor control \"VMM bus-lock detection\" (secondary "
			"control 30), which has no flag in /proc/cpuinfo, or a kernel since 5.12.");
	if (!strcmp(h->vendor, "AuthenticAMD") && !h->hypervisor)
		say(to, "Missing: the processor feature Bus Lock Threshold (CPUID 8000000Ah EDX "
			"bit 29), or a kernel since 6.16.");
	if (sscanf(h->kernel, "%d.%d", &major, &minor) == 2 &&
	    (major < 5 || (major == 5 && minor < 12)))
		say(to, "Missing: Linux %s has no bus-lock exits at all; they came with 5.12.",
		    h->kernel);
}

static void conclude_detection(const struct host *h, const struct speaker *to)
{
	const char *mode = host_detect_mode(h);

	if (!h->split_lock_detect && !h->bus_lock_detect) {
		say(to, "The kernel has no split-lock detection of its own here (no "
			"split_lock_detect or bus_lock_detect in /proc/cpuinfo): split locks run "
			"at full cost to all cores, unnoticed.");
		return;
	}
	if (!strcmp(mode, "off")) {
		say(to, "The kernel's own split-lock detection is switched off "
			"(split_lock_detect=off).");
		return;
	}
	if (!strncmp(mode, "ratelimit:", 10)) {
		say(to,
		    h->bus_lock_detect
			    ? "The kernel limits bus locks of user programs to %s per second for "
			      "the whole system (split_lock_detect=ratelimit); guests are not "
			      "limited by it."
			    : "split_lock_detect=%s has no effect: the processor has no bus-lock "
			      "debug trap.",
		    h->bus_lock_detect ? mode + 10 : mode);
		return;
	}
	if (!h->split_lock_detect) {
		say(to, "The kernel %s user programs that take bus locks, after the fact (#DB).",
		    !strcmp(mode, "fatal") ? "kills (SIGBUS)" : "warns of");
		return;
	}
	if (!strcmp(mode, "fatal"))
		say(to, "A guest's split lock kills its monitor's thread by SIGBUS here (#AC, "
			"split_lock_detect=fatal), before any bus lock happens.");
	else if (h->mitigate == 0)
		say(to, "A guest's split lock is logged once per thread and then runs (#AC, warn, "
			"with split_lock_mitigate 0).");
	else
		say(to,
		    "A guest's split lock stops its vCPU for 10 ms or more before it runs (#AC, "
		    "warn); a monitor that kicks the vCPU more often than that may keep it from "
		    "ever getting on. split_lock_mitigate=0 or split_lock_detect=off end that.");
}

void host_conclude(const struct host *h, void (*callback)(void *opaque, const char *sentence),
		   void *opaque)
{
	struct speaker to = { callback, opaque };

	conclude_device(h, &to);
	conclude_missing(h, &to);
	conclude_detection(h, &to);
	if (h->emulator)
		say(&to, "buslock exec and buslock run emulate the feature here; they need neither "
			 "the device nor privileges.");
	else
		say(&to, "The emulator does not work here: %s", h->emulator_why);
}
