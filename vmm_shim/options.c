// SPDX-License-Identifier: GPL-2.0-only
/*
 * The options as text: one table says how each is called, read, written and what its values are. The
 * command hands them to the preloaded library in this form, and a trace's header has it, too.
 */
#include "traces/report.h"
#include "vmm_shim/internal.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULTS                                                                                 \
	{                                                                                        \
		.vendor = EMU_INTEL, .capability = true, .kvmclock = true,                       \
		.split_lock_mitigate = true, .hz = 250, .lock_boundary = 64, .tsc_khz = 2000000, \
		.insn_cycles = 1, .lock_cycles = 1000, .irqchip = SHIM_IRQCHIP_KERNEL,           \
		.log_level = 1                                                                   \
	}

/* Without shim_configure(): what config_ready() completes when the first descriptor is opened. */
struct shim_config shim_config = {
	.options = DEFAULTS,
	.backend = &backend_emu,
};

unsigned shim_options_kernel(const struct shim_options *options)
{
	if (options->kernel)
		return options->kernel;
	return options->vendor == EMU_AMD ? KERNEL_DEFAULT_AMD : KERNEL_DEFAULT;
}

void shim_options_default(struct shim_options *options)
{
	*options = (struct shim_options)DEFAULTS;
}

/* ------------------------------------------------------------------ values */

struct text {
	char *at;
	size_t left;
};

static void put(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct text *text, const char *format, ...)
{
	va_list list;
	int n;

	va_start(list, format);
	n = vsnprintf(text->at, text->left, format, list);
	va_end(list);
	if (n < 0 || (size_t)n >= text->left) {
		text->left = 0; /* full: shim_options_format() sees it */
		return;
	}
	text->at += n;
	text->left -= (size_t)n;
}

static bool number(const char *value, char **end, uint64_t most, uint64_t *result)
{
	if (*value < '0' || *value > '9')
		return false;
	errno = 0;
	*result = strtoull(value, end, 0);
	return !errno && *result <= most;
}

/* An unsigned in [low, high]. */
static int parse_unsigned(unsigned *field, const char *value, unsigned low, unsigned high)
{
	uint64_t n;
	char *end;

	if (!number(value, &end, high, &n) || *end || n < low)
		return -EINVAL;
	*field = (unsigned)n;
	return 0;
}

/* ------------------------------------------------------------------ options that are not plain */

static int parse_kernel(struct shim_options *o, const char *value)
{
	return kernel_parse(value, &o->kernel);
}

static void format_kernel(const struct shim_options *o, struct text *text)
{
	char kernel[32];

	if (kernel_format(shim_options_kernel(o), kernel, sizeof(kernel)) > 0)
		put(text, "%s", kernel);
}

/* GPA+LEN, once for each range */
static int parse_uc(struct shim_options *o, const char *value)
{
	struct shim_range range;
	char *end;

	if (o->ucs == SHIM_MAX_UC || !number(value, &end, ~0ull, &range.gpa) || *end != '+' ||
	    !number(end + 1, &end, ~0ull, &range.size) || *end)
		return -EINVAL;
	if (!range.size || (range.gpa | range.size) & 4095 || range.gpa + range.size < range.gpa)
		return -EINVAL;
	o->uc[o->ucs++] = range;
	return 0;
}

static void format_uc(const struct shim_options *o, struct text *text)
{
	for (unsigned i = 0; i < o->ucs; i++)
		put(text, "%s%#llx+%#llx", i ? ",uc=" : "", (unsigned long long)o->uc[i].gpa,
		    (unsigned long long)o->uc[i].size);
}

static bool has_uc(const struct shim_options *o)
{
	return o->ucs;
}

static bool has_trace_locked(const struct shim_options *o)
{
	return o->trace_locked;
}

static bool has_trace_registers(const struct shim_options *o)
{
	return o->trace_registers;
}

/* split_lock_detect= takes 1 to 1000 a second; what the kernel takes for "warn" is an error here */
static int parse_split_lock(struct shim_options *o, const char *value)
{
	static const char *const names[] = { "off", "warn", "fatal" };

	for (unsigned i = 0; i < 3; i++) {
		if (!strcmp(value, names[i])) {
			o->host_split_lock = (enum shim_split_lock)i;
			return 0;
		}
	}
	if (strncmp(value, "ratelimit:", 10) ||
	    parse_unsigned(&o->host_ratelimit, value + 10, 1, 1000))
		return -EINVAL;
	o->host_split_lock = SHIM_SPLIT_LOCK_RATELIMIT;
	return 0;
}

static void format_split_lock(const struct shim_options *o, struct text *text)
{
	static const char *const names[] = { "off", "warn", "fatal", "ratelimit:" };

	put(text, "%s", names[o->host_split_lock]);
	if (o->host_split_lock == SHIM_SPLIT_LOCK_RATELIMIT)
		put(text, "%u", o->host_ratelimit);
}

static int parse_fault(struct shim_options *o, const char *value)
{
	for (int i = 0; i < SHIM_FAULTS; i++) {
		if (!strcmp(value, shim_fault_name((enum shim_fault)i))) {
			o->fault = (enum shim_fault)i;
			return 0;
		}
	}
	return -EINVAL;
}

static void format_fault(const struct shim_options *o, struct text *text)
{
	put(text, "%s", shim_fault_name(o->fault));
}

static bool has_fault(const struct shim_options *o)
{
	return o->fault;
}

static int parse_script(struct shim_options *o, const char *value)
{
	/* Lives as long as the options, which is as long as the process. */
	o->script = strdup(value);
	return o->script ? 0 : -ENOMEM;
}

static void format_script(const struct shim_options *o, struct text *text)
{
	put(text, "%s", o->script);
}

static bool has_script(const struct shim_options *o)
{
	return o->script;
}

/* ------------------------------------------------------------------ the table */

enum kind { FLAG, CHOICE, UNSIGNED, OTHER };

static const struct option {
	const char *name, *values;
	enum kind kind;
	size_t field;               /* FLAG: bool; CHOICE: an int or enum; UNSIGNED */
	unsigned low, high;         /* UNSIGNED */
	const char *const *choices; /* CHOICE: in the order of their numbers, NULL at the end */
	int (*parse)(struct shim_options *, const char *);
	void (*format)(const struct shim_options *, struct text *);
	bool (*present)(const struct shim_options *); /* NULL: always */
} table[] = {
#define FIELD(name) offsetof(struct shim_options, name)
#define FLAG_OPTION(option, member)                            \
	{                                                      \
		option, "0 or 1", FLAG, .field = FIELD(member) \
	}
#define NAMES(...) ((const char *const[]){ __VA_ARGS__, NULL })
	{ "vendor", "intel or amd", CHOICE, .field = FIELD(vendor),
	  .choices = NAMES("intel", "amd") },
	{ "kernel",
	  "a version from 5.12 to 7.3, such as 6.12 or 6.12.117 (each number at most 255)", OTHER,
	  .parse = parse_kernel, .format = format_kernel },
	FLAG_OPTION("mmio_all", mmio_all),
	FLAG_OPTION("count", count),
	FLAG_OPTION("capability", capability),
	{ "memory", "default, kvm, kvm-noncoherent, guest or amd", CHOICE, .field = FIELD(memory),
	  .choices = NAMES("default", "kvm", "kvm-noncoherent", "guest", "amd") },
	{ "uc", "GPA+LEN, whole pages, at most 8 times", OTHER, .parse = parse_uc,
	  .format = format_uc, .present = has_uc },
	FLAG_OPTION("guest_sld", guest_sld),
	{ "host_split_lock", "off, warn, fatal or ratelimit:N with N from 1 to 1000", OTHER,
	  .parse = parse_split_lock, .format = format_split_lock },
	FLAG_OPTION("split_lock_mitigate", split_lock_mitigate),
	FLAG_OPTION("split_lock_fix", split_lock_fix),
	{ "hz", "a number from 24 to 1000", UNSIGNED, .field = FIELD(hz), .low = 24, .high = 1000 },
	{ "irqchip", "none or kernel", CHOICE, .field = FIELD(irqchip),
	  .choices = NAMES("none", "kernel") },
	FLAG_OPTION("bare_reason_74", bare_reason_74),
	FLAG_OPTION("delivery_vectoring", delivery_vectoring),
	{ "lock_boundary", "8, 16, 32 or 64", UNSIGNED, .field = FIELD(lock_boundary), .low = 8,
	  .high = 64 },
	{ "time", "real or virtual", CHOICE, .field = FIELD(time),
	  .choices = NAMES("real", "virtual") },
	{ "tsc_khz", "a number from 1000 to 10000000", UNSIGNED, .field = FIELD(tsc_khz),
	  .low = 1000, .high = 10000000 },
	{ "insn_cycles", "a number from 1 to 1000", UNSIGNED, .field = FIELD(insn_cycles), .low = 1,
	  .high = 1000 },
	{ "lock_cycles", "a number up to 1000000000", UNSIGNED, .field = FIELD(lock_cycles),
	  .low = 0, .high = 1000000000 },
	FLAG_OPTION("kvmclock", kvmclock),
	{ "backend", "emulator or script", CHOICE, .field = FIELD(backend),
	  .choices = NAMES("emulator", "script") },
	{ "log", "0, 1, 2 or 3", UNSIGNED, .field = FIELD(log_level), .low = 0, .high = 3 },
	{ "trace_locked", "0 or 1", FLAG, .field = FIELD(trace_locked),
	  .present = has_trace_locked },
	{ "trace_registers", "0 or 1", FLAG, .field = FIELD(trace_registers),
	  .present = has_trace_registers },
	{ "fault", "one of those that `buslock mutate --list` shows", OTHER, .parse = parse_fault,
	  .format = format_fault, .present = has_fault },
	{ "script", "a file name, as the last option", OTHER, .parse = parse_script,
	  .format = format_script, .present = has_script },
};
#define OPTIONS (sizeof(table) / sizeof(table[0]))

static int parse_choice(unsigned *field, const char *value, const char *const *choices)
{
	for (unsigned i = 0; choices[i]; i++) {
		if (!strcmp(value, choices[i])) {
			*field = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_one(struct shim_options *o, const struct option *option, const char *value)
{
	void *field = (char *)o + option->field;

	switch (option->kind) {
	case FLAG:
		if (strcmp(value, "1") && strcmp(value, "0"))
			return -EINVAL;
		*(bool *)field = *value == '1';
		return 0;
	case CHOICE:
		return parse_choice(field, value, option->choices);
	case UNSIGNED:
		return parse_unsigned(field, value, option->low, option->high);
	default:
		return option->parse(o, value);
	}
}

static void format_one(const struct shim_options *o, const struct option *option, struct text *text)
{
	const void *field = (const char *)o + option->field;

	switch (option->kind) {
	case FLAG:
		put(text, "%d", *(const bool *)field);
		break;
	case CHOICE:
		put(text, "%s", option->choices[*(const unsigned *)field]);
		break;
	case UNSIGNED:
		put(text, "%u", *(const unsigned *)field);
		break;
	default:
		option->format(o, text);
	}
}

static const struct option *find(const char *name)
{
	for (size_t i = 0; i < OPTIONS; i++) {
		if (!strcmp(name, table[i].name))
			return &table[i];
	}
	return NULL;
}

/* ------------------------------------------------------------------ the interface */

const char *shim_option_values(const char *name)
{
	const struct option *option = find(name);

	return option ? option->values : NULL;
}

static int parse_word(struct shim_options *options, char *word, char *why, size_t size)
{
	const struct option *option;
	char *value = strchr(word, '=');
	int r;

	if (value)
		*value++ = '\0';
	option = find(word);
	if (!option) {
		struct text text = { why, size };

		put(&text, "option \"%s\" is unknown (known: ", word);
		for (size_t i = 0; i < OPTIONS; i++)
			put(&text, "%s%s", i ? ", " : "", table[i].name);
		put(&text, ")");
		return -EINVAL;
	}
	r = value ? parse_one(options, option, value) : -EINVAL;
	if (r == -EINVAL)
		snprintf(why, size, "option %s=\"%s\": give %s", word, value ? value : "",
			 option->values);
	return r;
}

int shim_options_parse(struct shim_options *options, const char *text, char *why, size_t size)
{
	char none[1], *copy = strdup(text), *at, *next;
	int r = 0;

	if (!copy)
		return -ENOMEM;
	if (!why || !size) {
		why = none;
		size = sizeof(none);
	}
	*why = '\0';
	for (at = copy; at && *at && !r; at = next) {
		/* A file name may have commas in it: it takes the rest. */
		next = strncmp(at, "script=", 7) ? strchr(at, ',') : NULL;
		if (next)
			*next++ = '\0';
		if (*at)
			r = parse_word(options, at, why, size);
	}
	if (!r && options->kernel)
		r = kernel_check(options->kernel, why, size);
	free(copy);
	return r;
}

int shim_options_format(const struct shim_options *o, char *buffer, size_t size)
{
	struct text text = { buffer, size };
	bool first = true;

	for (size_t i = 0; i < OPTIONS; i++) {
		if (table[i].present && !table[i].present(o))
			continue;
		put(&text, "%s%s=", first ? "" : ",", table[i].name);
		format_one(o, &table[i], &text);
		first = false;
	}
	return text.left ? (int)(text.at - buffer) : -ENOSPC;
}

/* Options are named as NAME=VALUE in these sentences: a command puts its own names there. */
static int refuse(char *why, size_t size, const char *reason)
{
	if (why)
		snprintf(why, size, "%s", reason);
	return -EINVAL;
}

/* Has that kernel what its split-lock options are about? */
static int check_split_lock(const struct shim_options *o, char *why, size_t size)
{
	struct profile profile;

	profile_for(shim_options_kernel(o), &profile);
	if (o->host_split_lock == SHIM_SPLIT_LOCK_RATELIMIT && !profile.sld_ratelimit)
		return refuse(
			why, size,
			"host_split_lock=ratelimit:N: that kernel would not understand it and "
			"take warn; 5.14 has it");
	if (!o->split_lock_mitigate && !profile.sld_mitigate_knob)
		return refuse(why, size,
			      "split_lock_mitigate=0: that kernel has no sysctl "
			      "kernel.split_lock_mitigate; 6.2 has it, and 6.1.2");
	if (o->split_lock_fix && !profile.sld_sleeps)
		return refuse(why, size,
			      "split_lock_fix=1 changes the sleep of 10 ms, which that kernel does "
			      "not have; 5.19 has it");
	return 0;
}

int shim_options_check(const struct shim_options *o, char *why, size_t size)
{
	bool amd = o->vendor == EMU_AMD;

	if (kernel_check(shim_options_kernel(o), why, size) || check_split_lock(o, why, size))
		return -EINVAL;
	if (amd && (o->memory == SHIM_MEMORY_KVM || o->memory == SHIM_MEMORY_KVM_NONCOHERENT))
		return refuse(why, size,
			      "memory=kvm and memory=kvm-noncoherent are what KVM does on Intel; "
			      "on AMD the guest's PAT always counts: memory=amd");
	if (!amd && o->memory == SHIM_MEMORY_AMD)
		return refuse(why, size, "memory=amd needs vendor=amd");
	if (amd && (o->host_split_lock || o->guest_sld))
		return refuse(why, size,
			      "split-lock detection by #AC exists on Intel only: with vendor=amd "
			      "host_split_lock=off and guest_sld=0");
	if (o->lock_boundary & (o->lock_boundary - 1)) {
		char sentence[64];

		snprintf(sentence, sizeof(sentence), "lock_boundary=%u: give 8, 16, 32 or 64",
			 o->lock_boundary);
		return refuse(why, size, sentence);
	}
	if (!amd && o->lock_boundary != 64)
		return refuse(
			why, size,
			"lock_boundary=64, the line, is Intel's; AMD's (vendor=amd) may be less");
	if (amd && (o->bare_reason_74 || o->delivery_vectoring))
		return refuse(why, size, "bare_reason_74=1 and delivery_vectoring=1 are Intel's");
	if (o->time == SHIM_TIME_VIRTUAL && o->backend == SHIM_BACKEND_SCRIPT)
		return refuse(why, size,
			      "time=virtual counts the guest's instructions; a script "
			      "has none");
	return 0;
}

int shim_configure(const struct shim_options *options)
{
	if (shim_config.opened)
		return -EBUSY;
	if (shim_options_check(options, NULL, 0))
		return -EINVAL;
	shim_config.options = *options;
	fault_configure(&shim_config.options);
	options = &shim_config.options;
	shim_config.options.count |= options->time == SHIM_TIME_VIRTUAL;
	shim_config.options.kernel = shim_options_kernel(options);
	profile_for(shim_config.options.kernel, &shim_config.profile);
	shim_config.backend = options->backend == SHIM_BACKEND_SCRIPT ? &backend_script
								      : &backend_emu;
	if (options->report)
		atomic_store(&options->report->counting, shim_config.options.count);
	if (options->time == SHIM_TIME_VIRTUAL)
		vclock_start();
	return 0;
}

void config_ready(void)
{
	if (shim_config.opened)
		return;
	if (!shim_config.profile.kernel)
		profile_for(shim_options_kernel(&shim_config.options), &shim_config.profile);
	shim_config.opened = true;
	host_boot();
}
