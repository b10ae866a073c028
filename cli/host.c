// SPDX-License-Identifier: GPL-2.0-only
/* `buslock host`: what this machine can do by itself, and what is missing. */
#include "cli/host.h"

#include "cli/cli.h"
#include "cli/kvm.h"
#include "emu/emu.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/utsname.h>
#include <unistd.h>

#define SCHEMA_VERSION 1

enum { LOG_READ_ALL = 3, LOG_SIZE = 10 }; /* syslog(2) */

/* Those that decide what a monitor and its tests can do here. */
static const struct {
	int number;
	const char *name;
} capabilities[] = {
	{ KVM_CAP_X86_BUS_LOCK_EXIT, "X86_BUS_LOCK_EXIT" },
	{ KVM_CAP_USER_MEMORY, "USER_MEMORY" },
	{ KVM_CAP_IRQCHIP, "IRQCHIP" },
	{ KVM_CAP_NR_VCPUS, "NR_VCPUS" },
	{ KVM_CAP_MAX_VCPUS, "MAX_VCPUS" },
	{ KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT" },
	{ KVM_CAP_SYNC_REGS, "SYNC_REGS" },
	{ KVM_CAP_SET_GUEST_DEBUG, "SET_GUEST_DEBUG" },
	{ KVM_CAP_X86_USER_SPACE_MSR, "X86_USER_SPACE_MSR" },
	{ 204, "EXIT_ON_EMULATION_FAILURE" },
	{ 219, "X86_NOTIFY_VMEXIT" },
};

/* ------------------------------------------------------------------ gathering */

/* The file's beginning as text, or false. */
static bool read_text(const char *root, const char *path, char *text, size_t size)
{
	char name[512];
	ssize_t n, used = 0;
	int fd;

	snprintf(name, sizeof(name), "%s%s", root, path);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while ((size_t)used < size - 1 && (n = read(fd, text + used, size - 1 - (size_t)used)) > 0)
		used += n;
	close(fd);
	text[used] = '\0';
	return true;
}

/* "model name\t: AMD EPYC": the value of the first such line. */
static void cpuinfo_value(const char *text, const char *key, char *value, size_t size)
{
	const char *line = strstr(text, key);

	*value = '\0';
	if (!line)
		return;
	line += *line == '\n';
	line += strcspn(line, ":\n");
	if (*line == ':')
		line += 1 + strspn(line + 1, " ");
	snprintf(value, size, "%.*s", (int)strcspn(line, "\n"), line);
}

static bool has_word(const char *text, const char *word)
{
	size_t length = strlen(word);

	for (const char *p = text; (p = strstr(p, word)); p += length)
		if ((p == text || p[-1] == ' ') && (!p[length] || p[length] == ' '))
			return true;
	return false;
}

static void gather_processor(struct host *h, const char *root)
{
	static char text[32768], flags[8192];

	if (!read_text(root, "/proc/cpuinfo", text, sizeof(text)))
		return;
	cpuinfo_value(text, "vendor_id", h->vendor, sizeof(h->vendor));
	cpuinfo_value(text, "model name", h->model, sizeof(h->model));
	cpuinfo_value(text, "\nflags", flags, sizeof(flags));
	h->hypervisor = has_word(flags, "hypervisor");
	h->vmx = has_word(flags, "vmx");
	h->svm = has_word(flags, "svm");
	h->split_lock_detect = has_word(flags, "split_lock_detect");
	h->bus_lock_detect = has_word(flags, "bus_lock_detect");
}

static void gather_kernel(struct host *h, const char *root)
{
	char text[4096], *option;

	if (read_text(root, "/proc/sys/kernel/osrelease", text, sizeof(text)))
		snprintf(h->kernel, sizeof(h->kernel), "%.*s", (int)strcspn(text, "\n"), text);
	h->mitigate = -1;
	if (read_text(root, "/proc/sys/kernel/split_lock_mitigate", text, sizeof(text)))
		h->mitigate = atoi(text);
	if (!read_text(root, "/proc/cmdline", text, sizeof(text)))
		return;
	/* the last one counts (cmdline_find_option()) */
	for (option = text; (option = strstr(option, "split_lock_detect=")); option++)
		if (option == text || option[-1] == ' ')
			snprintf(h->detect_option, sizeof(h->detect_option), "%.*s",
				 (int)strcspn(option + 18, " \n"), option + 18);
}

static void gather_modules(struct host *h, const char *root)
{
	static const char *const names[] = { "kvm_intel", "kvm_amd", "kvm_pvm" };
	char path[512];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/sys/module/%s", root, names[i]);
		if (access(path, F_OK))
			continue;
		snprintf(h->modules + strlen(h->modules), sizeof(h->modules) - strlen(h->modules),
			 "%s%s", *h->modules ? " " : "", names[i]);
	}
}

static void gather_device(struct host *h)
{
	int fd = open(h->device, O_RDWR | O_CLOEXEC);

	h->device_error = fd < 0 ? errno : 0;
	h->api_version = fd < 0 ? -1 : ioctl(fd, KVM_GET_API_VERSION, 0);
	if (h->api_version == KVM_API_VERSION) {
		for (size_t i = 0; i < h->capabilities; i++)
			h->capability[i].value =
				ioctl(fd, KVM_CHECK_EXTENSION, (long)h->capability[i].number);
	} else if (fd >= 0) {
		h->device_error = ENOTTY;
	}
	if (fd >= 0)
		close(fd);
}

static void keep_message(struct host *h, const char *line, size_t length)
{
	if (h->messages == HOST_MESSAGES) {
		memmove(h->message[0], h->message[1], sizeof(h->message[0]) * (HOST_MESSAGES - 1));
		h->messages--;
	}
	snprintf(h->message[h->messages++], sizeof(h->message[0]), "%.*s", (int)length, line);
}

static void gather_log(struct host *h)
{
	int size = klogctl(LOG_SIZE, NULL, 0);
	char *text = size > 0 ? malloc((size_t)size + 1) : NULL, *line;
	int n = text ? klogctl(LOG_READ_ALL, text, size) : -1;

	h->log_readable = n >= 0;
	if (n > 0) {
		text[n] = '\0';
		for (line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
			size_t length = strcspn(line, "\n");
			char *found = memmem(line, length, "split lock detection", 20);

			if (found)
				keep_message(h, line, length);
		}
	}
	free(text);
}

/* Everything below `root`; with a root of its own the device and the log of this machine are not its. */
static void gather(struct host *h, const char *root, const char *device)
{
	memset(h, 0, sizeof(*h));
	h->device = device;
	h->api_version = -1;
	h->capabilities = sizeof(capabilities) / sizeof(capabilities[0]);
	for (size_t i = 0; i < h->capabilities; i++)
		h->capability[i] = (struct host_capability){ capabilities[i].number,
							     capabilities[i].name, -1 };
	gather_processor(h, root);
	gather_kernel(h, root);
	gather_modules(h, root);
	h->emulator = !emu_engine_check(h->emulator_why, sizeof(h->emulator_why));
	if (*root) {
		h->device_error = HOST_DEVICE_NOT_ASKED;
		return;
	}
	gather_device(h);
	gather_log(h);
}

/* ------------------------------------------------------------------ telling */

static const char *yes_no(bool value)
{
	return value ? "yes" : "no";
}

static void say_text(void *opaque, const char *sentence)
{
	const char *p = sentence;
	size_t left;

	(void)opaque;
	/* wrapped at words, so that it reads in a terminal of 80 columns */
	for (int first = 1; *p; first = 0) {
		size_t n = strlen(p);

		if (n > 76) {
			n = 76;
			for (left = n; left && p[left] != ' '; left--)
				;
			n = left ? left : n;
		}
		printf("%s%.*s\n", first ? "- " : "  ", (int)n, p);
		p += n;
		p += strspn(p, " ");
	}
}

static void print_text(const struct host *h)
{
	printf("processor          %s, %s%s\n", h->vendor, h->model,
	       h->hypervisor ? " (this machine is a virtual one)" : "");
	printf("virtualization     vmx: %s, svm: %s, module: %s\n", yes_no(h->vmx), yes_no(h->svm),
	       *h->modules ? h->modules : "none loaded");
	printf("detection flags    split_lock_detect: %s, bus_lock_detect: %s\n",
	       yes_no(h->split_lock_detect), yes_no(h->bus_lock_detect));
	printf("kernel             %s, split_lock_detect=%s%s", h->kernel, host_detect_mode(h),
	       *h->detect_option ? "" : " (default)");
	if (h->mitigate >= 0)
		printf(", split_lock_mitigate %d", h->mitigate);
	putchar('\n');
	if (h->device_error > 0)
		printf("%-18s cannot be used: %s\n", h->device, strerror(h->device_error));
	else if (!h->device_error)
		printf("%-18s API version %d\n", h->device, h->api_version);
	for (size_t i = 0; i < h->capabilities; i++)
		if (h->capability[i].value >= 0)
			printf("  %3d %-26s %ld\n", h->capability[i].number, h->capability[i].name,
			       h->capability[i].value);
	for (size_t i = 0; i < h->messages; i++)
		printf("log                %s\n", h->message[i]);
	putchar('\n');
	host_conclude(h, say_text, NULL);
}

static void say_json(void *opaque, const char *sentence)
{
	json_object_array_add(opaque, json_object_new_string(sentence));
}

static void put_string(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, json_object_new_string(value));
}

static void put_bool(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}

static void put_device(struct json_object *json, const struct host *h)
{
	struct json_object *device = json_object_new_object(), *caps = json_object_new_object();

	for (size_t i = 0; i < h->capabilities; i++)
		if (h->capability[i].value >= 0)
			json_object_object_add(caps, h->capability[i].name,
					       json_object_new_int64(h->capability[i].value));
	put_string(device, "path", h->device);
	put_bool(device, "usable", !h->device_error);
	json_object_object_add(
		device, "error",
		h->device_error > 0 ? json_object_new_string(strerror(h->device_error)) : NULL);
	json_object_object_add(device, "api_version",
			       h->api_version >= 0 ? json_object_new_int(h->api_version) : NULL);
	json_object_object_add(device, "capabilities", caps);
	json_object_object_add(json, "device", device);
}

static int print_json(const struct host *h)
{
	struct json_object *json = json_object_new_object(), *log = json_object_new_array(),
			   *conclusions = json_object_new_array();
	const char *text;

	put_string(json, "schema", "buslock-host");
	json_object_object_add(json, "version", json_object_new_int(SCHEMA_VERSION));
	put_string(json, "vendor", h->vendor);
	put_string(json, "model", h->model);
	put_bool(json, "hypervisor", h->hypervisor);
	put_bool(json, "vmx", h->vmx);
	put_bool(json, "svm", h->svm);
	put_string(json, "modules", h->modules);
	put_bool(json, "split_lock_detect", h->split_lock_detect);
	put_bool(json, "bus_lock_detect", h->bus_lock_detect);
	put_string(json, "kernel", h->kernel);
	put_string(json, "split_lock_mode", host_detect_mode(h));
	json_object_object_add(json, "split_lock_mitigate",
			       h->mitigate >= 0 ? json_object_new_int(h->mitigate) : NULL);
	put_device(json, h);
	put_bool(json, "bus_lock_exit", host_bus_lock_capability(h) & KVM_BUS_LOCK_DETECTION_EXIT);
	put_bool(json, "emulator", h->emulator);
	for (size_t i = 0; i < h->messages; i++)
		json_object_array_add(log, json_object_new_string(h->message[i]));
	json_object_object_add(json, "log", h->log_readable ? log : NULL);
	if (!h->log_readable)
		json_object_put(log);
	host_conclude(h, say_json, conclusions);
	json_object_object_add(json, "conclusions", conclusions);
	text = json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		puts(text);
	json_object_put(json);
	return text ? STATUS_OK : STATUS_USAGE;
}

/* ------------------------------------------------------------------ the command */

enum { OPTION_JSON = 256, OPTION_ROOT, OPTION_DEVICE };

static const struct argp_option options[] = {
	{ "json", OPTION_JSON, NULL, 0, "For tools", 0 },
	{ "device", OPTION_DEVICE, "FILE", 0, "Default /dev/kvm", 0 },
	{ "root", OPTION_ROOT, "DIR", 0,
	  "Read proc and sys below DIR, a copy from another machine; its device is not asked", 0 },
	{ 0 },
};

static const char doc[] = "Says what this host can do about bus locks by itself, and what is "
			  "missing: the KVM device, capability 193 (KVM_CAP_X86_BUS_LOCK_EXIT), "
			  "the kernel's own split-lock detection.\v"
			  "Exit status 0, whatever the host can do.\n";

struct request {
	const char *root, *device;
	bool json;
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct request *request = state->input;

	switch (key) {
	case OPTION_JSON:
		request->json = true;
		return 0;
	case OPTION_DEVICE:
		request->device = text;
		return 0;
	case OPTION_ROOT:
		request->root = text;
		if (!access(text, R_OK | X_OK))
			return 0;
		complain("--root: %s: %s", text, strerror(errno));
		return EINVAL;
	case ARGP_KEY_ARG:
		complain("host takes no arguments (got '%s')", text);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int command_host(int argc, char **argv)
{
	static const struct argp argp = { options, parse_option, NULL, doc, NULL, NULL, NULL };
	struct request request = { .root = "", .device = "/dev/kvm" };
	struct host host;

	argp_err_exit_status = STATUS_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &request))
		return STATUS_USAGE;
	gather(&host, request.root, request.device);
	if (request.json)
		return print_json(&host);
	print_text(&host);
	return STATUS_OK;
}
