// SPDX-License-Identifier: GPL-2.0-only
/* One table: this command's option, and the shim's that it stands for. */
#include "cli/choices.h"
#include "cli/cli.h"
#include "emu/emu.h"
#include "vmm_shim/profile.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

struct choice {
	const char *name, *argument; /* argument: NULL: it takes none */
	const char *shim;            /* of the table in vmm_shim/options.c */
	const char *value;           /* for the shim, of an option that takes none */
	const char *const *words;    /* what stands for the shim's 0 and 1 */
	const char *help;
};

static const struct choice table[] = {
	{ "cpu", "VENDOR", "vendor", NULL, NULL, "The processor: intel (default) or amd" },
	{ "kernel", "VERSION", "kernel", NULL, NULL,
	  "Answer as the KVM of this version of Linux, 5.12 to 7.3; default 6.12, with --cpu=amd "
	  "6.18 (before 6.16 there are no bus-lock exits on AMD)" },
	{ "no-capability", NULL, "capability", "0", NULL,
	  "A kernel without KVM_CAP_X86_BUS_LOCK_EXIT" },
	{ "irqchip", "WHOSE", "irqchip", NULL, NULL,
	  "Interrupt controllers: kernel (default), those of KVM_CREATE_IRQCHIP for monitors that "
	  "ask for them, or none, a kernel that has none (KVM_CAP_IRQCHIP reads 0)" },
	{ "no-kvmclock", NULL, "kvmclock", "0", NULL,
	  "CPUID offers no kvmclock and no steal time (leaf 40000000h)" },
	{ "memory-type", "WHOSE", "memory", NULL, NULL,
	  "Who decides the type of guest memory: kvm (default on Intel: RAM is write-back), "
	  "kvm-noncoherent (as with an assigned device that does not snoop), guest (its PAT, MTRRs "
	  "and CR0.CD, as on metal) or amd (default there: the guest's PAT)" },
	{ "uc", "GPA+LEN", "uc", NULL, NULL,
	  "These guest-physical pages are a device's memory, uncacheable; may be repeated" },
	{ "guest-sld", NULL, "guest_sld", "1", NULL,
	  "The guest sees split-lock detection (CORE_CAPABILITIES, MSR 33h), which KVM hides" },
	{ "host-split-lock", "MODE", "host_split_lock", NULL, NULL,
	  "The host's split_lock_detect=: off (default), warn, fatal or ratelimit:N" },
	{ "split-lock-mitigate", "0|1", "split_lock_mitigate", NULL, NULL,
	  "The host's kernel.split_lock_mitigate; default 1" },
	{ "split-lock-fix", NULL, "split_lock_fix", "1", NULL,
	  "A proposed fix of the host: an interrupted sleep still disables detection" },
	{ "hz", "N", "hz", NULL, NULL, "The host's CONFIG_HZ; default 250" },
	{ "reason-74", "HOW", "bare_reason_74", NULL, WORDS("with-bit-26", "bare"),
	  "The processor's exit for a bus lock: with-bit-26 (default) or bare" },
	{ "delivery-lock", "HOW", "delivery_vectoring", NULL, WORDS("after", "vectoring"),
	  "A bus lock while an event is delivered leaves after it (default) or, vectoring, with "
	  "valid IDT-vectoring information" },
	{ "lock-boundary", "BYTES", "lock_boundary", NULL, NULL,
	  "AMD: crossing a block of so many bytes is a bus lock: 8, 16, 32 or 64 (default)" },
	{ "time", "CLOCK", "time", NULL, NULL, "real (default) or virtual" },
	{ "tsc-khz", "KHZ", "tsc_khz", NULL, NULL,
	  "Of virtual time: the guest's TSC; default 2000000" },
	{ "insn-cycles", "N", "insn_cycles", NULL, NULL,
	  "Of virtual time: TSC cycles of an instruction; default 1" },
	{ "lock-cycles", "N", "lock_cycles", NULL, NULL,
	  "Of virtual time: TSC cycles of a bus lock on top; default 1000" },
	{ "mmio", "WHICH", "mmio_all", NULL, WORDS("kvm", "all"),
	  "Instructions executed on device memory: kvm, those that Linux's emulator knows "
	  "(default), or all" },
	{ "count", NULL, "count", "1", NULL, "Count guest instructions; slower" },
	{ "backend", "NAME", "backend", NULL, NULL,
	  "What runs the guest: emulator (default) or script, the exits of a file" },
	{ "script", "FILE", "script", NULL, NULL, "The exits; implies --backend=script" },
	{ "fault", "NAME", "fault", NULL, NULL,
	  "A deliberate fault of processor or kernel: those of `buslock mutate --list`" },
	{ "locked", NULL, "trace_locked", "1", NULL,
	  "With --trace: every locked access, bus lock or not" },
	{ "trace-registers", NULL, "trace_registers", "1", NULL,
	  "With --trace: a digest of the general registers in each exit, to compare runs by" },
	{ "log", "LEVEL", "log", NULL, NULL,
	  "What the emulation says on standard error: nothing, warning (default), info or debug" },
};
#define CHOICES (sizeof(table) / sizeof(table[0]))
#define KEY     256 /* of the first: no character's */

void choices_default(struct choices *choices, const char *prefix)
{
	*choices = (struct choices){ .prefix = prefix };
	shim_options_default(&choices->shim);
}

void choices_free(struct choices *choices)
{
	free((char *)(uintptr_t)choices->shim.script);
	choices->shim.script = NULL;
}

/* ------------------------------------------------------------------ one option */

static bool refuse(const struct choices *choices, const struct choice *choice, const char *value,
		   const char *way_out)
{
	complain("%s--%s=%s: %s", choices->prefix, choice->name, value, way_out);
	return false;
}

/* The shim's own parser knows what is right; the message names the option of this command. */
static bool hand_on(struct choices *choices, const struct choice *choice, const char *value,
		    const char *given)
{
	char text[PATH_MAX + 32], way_out[128], why[512] = "";
	int n = snprintf(text, sizeof(text), "%s=%s", choice->shim, value);

	/* A comma would begin the next option; only a file name may have one. */
	if (n > 0 && (size_t)n < sizeof(text) &&
	    (!strcmp(choice->shim, "script") || !strchr(value, ',')) &&
	    !shim_options_parse(&choices->shim, text, why, sizeof(why)))
		return true;
	if (!strncmp(why, "kernel ", 7)) /* a version, but not one that is known */
		return refuse(choices, choice, given, strchr(why, ':') + 2);
	snprintf(way_out, sizeof(way_out), "give %s", shim_option_values(choice->shim));
	return refuse(choices, choice, given, way_out);
}

static bool take_word(struct choices *choices, const struct choice *choice, const char *value)
{
	char way_out[128];

	for (int i = 0; choice->words[i]; i++) {
		if (!strcmp(value, choice->words[i]))
			return hand_on(choices, choice, i ? "1" : "0", value);
	}
	snprintf(way_out, sizeof(way_out), "give %s or %s", choice->words[0], choice->words[1]);
	return refuse(choices, choice, value, way_out);
}

static bool take_log(struct choices *choices, const struct choice *choice, const char *value)
{
	static const char *const levels[] = { "nothing", "warning", "info", "debug" };

	for (int i = 0; i < 4; i++) {
		if (strcmp(value, levels[i]) && strcmp(value, (const char[]){ (char)('0' + i), 0 }))
			continue;
		choices->log = levels[i];
		choices->shim.log_level = i;
		return true;
	}
	return refuse(choices, choice, value, "give nothing, warning, info or debug");
}

static bool take_script(struct choices *choices, const struct choice *choice, const char *value)
{
	/* The program may change its directory before it opens /dev/kvm. */
	if (!realpath(value, choices->script))
		return refuse(choices, choice, value, strerror(errno));
	choices->shim.backend = SHIM_BACKEND_SCRIPT;
	free((char *)(uintptr_t)choices->shim.script);
	choices->shim.script = NULL;
	return hand_on(choices, choice, choices->script, value);
}

static bool take(struct choices *choices, const struct choice *choice, const char *value)
{
	if (!choices->given)
		choices->given = choice->name;
	if (!strcmp(choice->name, "log"))
		return take_log(choices, choice, value);
	if (!strcmp(choice->name, "script"))
		return take_script(choices, choice, value);
	if (choice->words)
		return take_word(choices, choice, value);
	if (choice->value)
		return hand_on(choices, choice, choice->value, choice->value);
	return hand_on(choices, choice, value, value);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
	if (key < KEY || key >= KEY + (int)CHOICES)
		return ARGP_ERR_UNKNOWN;
	return take(state->input, &table[key - KEY], value) ? 0 : EINVAL;
}

bool choices_take(struct choices *choices, const char *name, const char *value)
{
	for (size_t i = 0; i < CHOICES; i++)
		if (!strcmp(table[i].name, name))
			return take(choices, &table[i], value);
	complain("%s--%s: there is no such option", choices->prefix, name);
	return false;
}

const struct argp *choices_argp(void)
{
	static struct argp_option options[CHOICES + 1];
	static const struct argp argp = { .options = options, .parser = parse };

	for (size_t i = 0; i < CHOICES; i++)
		options[i] = (struct argp_option){ .name = table[i].name,
						   .key = KEY + (int)i,
						   .arg = table[i].argument,
						   .doc = table[i].help,
						   .group = CHOICES_GROUP };
	return &argp;
}

/* ------------------------------------------------------------------ all of them together */

static const struct choice *find_shim(const char *name, size_t length)
{
	for (size_t i = 0; i < CHOICES; i++) {
		if (strlen(table[i].shim) == length && !strncmp(table[i].shim, name, length))
			return &table[i];
	}
	return NULL;
}

static size_t word_length(const char *text, const char *more)
{
	size_t n = 0;

	while (isalnum((unsigned char)text[n]) || (text[n] && strchr(more, text[n])))
		n++;
	return n;
}

/* "name=value" of the shim as an option of this command; 0: it is none. */
static size_t translate_one(FILE *out, const char *text)
{
	size_t name = word_length(text, "_"), length;
	const struct choice *choice = text[name] == '=' ? find_shim(text, name) : NULL;
	const char *value = text + name + 1;

	if (!choice)
		return 0;
	length = word_length(value, "-:._");
	while (length && strchr(".:", value[length - 1])) /* the sentence's */
		length--;
	if (choice->words)
		fprintf(out, "--%s=%s", choice->name, choice->words[*value == '1']);
	else if (choice->value)
		fprintf(out, "%s--%s", *value == *choice->value ? "" : "no ", choice->name);
	else
		fprintf(out, "--%s=%.*s", choice->name, (int)length, value);
	return name + 1 + length;
}

static void translate(const char *text, char *translated, size_t size)
{
	FILE *out = fmemopen(translated, size, "w");

	*translated = '\0';
	if (!out)
		return;
	while (*text) {
		size_t used = translate_one(out, text);

		if (!used) {
			used = word_length(text, "_-");
			used = used ? used : 1;
			fwrite(text, 1, used, out);
		}
		text += used;
	}
	fclose(out);
	translated[size - 1] = '\0';
}

/* A KVM that does without: what was asked for, but perhaps not what was meant. */
static void warn_of_kernel(const struct choices *choices)
{
	const struct shim_options *shim = &choices->shim;
	struct profile profile;
	char kernel[32];

	profile_for(shim_options_kernel(shim), &profile);
	if (shim->vendor != EMU_AMD || profile.svm_threshold || !shim->capability ||
	    shim->log_level < 1)
		return;
	kernel_format(profile.kernel, kernel, sizeof(kernel));
	complain("%swarning: --cpu=amd --kernel=%s: KVM has bus-lock exits on AMD from 6.16 on; "
		 "KVM_CAP_X86_BUS_LOCK_EXIT reads 0",
		 choices->prefix, kernel);
}

bool choices_check(const struct choices *choices)
{
	char why[512], translated[512];

	if (choices->shim.backend == SHIM_BACKEND_SCRIPT && !choices->shim.script) {
		complain("%s--backend=script needs --script=FILE with the exits", choices->prefix);
		return false;
	}
	if (choices->shim.backend != SHIM_BACKEND_SCRIPT && choices->shim.script) {
		complain("%s--script=%s: the emulator plays no script; leave out one of --script "
			 "and "
			 "--backend=emulator",
			 choices->prefix, choices->shim.script);
		return false;
	}
	if (!shim_options_check(&choices->shim, why, sizeof(why))) {
		warn_of_kernel(choices);
		return true;
	}
	translate(why, translated, sizeof(translated));
	complain("%s%s", choices->prefix, translated);
	return false;
}

bool choices_check_trace(const struct choices *choices, const char *trace)
{
	const struct shim_options *shim = &choices->shim;

	if (trace || !(shim->trace_locked || shim->trace_registers))
		return true;
	complain("%s--%s goes with --trace=FILE: nothing else shows what it asks for",
		 choices->prefix, shim->trace_registers ? "trace-registers" : "locked");
	return false;
}
