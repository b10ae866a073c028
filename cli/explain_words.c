// SPDX-License-Identifier: GPL-2.0-only
/* The words of `buslock explain`: bytes of an instruction, registers, what is known of the memory. */
#include "cli/cli.h"
#include "cli/explain.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ------------------------------------------------------------------ registers */

static const char *const legacy[] = { "ax", "cx", "dx", "bx", "sp", "bp", "si", "di" };
static const char *const segments[] = { "es", "cs", "ss", "ds", "fs", "gs" };

const char *explain_register_name(unsigned reg, unsigned mode)
{
	static const char *const wide[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp",
					    "rsi", "rdi", "r8",  "r9",  "r10", "r11",
					    "r12", "r13", "r14", "r15", "rip", "rflags" };
	static const char *const middle[] = {
		"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"
	};
	static const char *const bases[] = { "es.base", "cs.base", "ss.base",
					     "ds.base", "fs.base", "gs.base" };

	if (reg >= EXPLAIN_SEGMENT)
		/* In real mode the selector says it all. */
		return mode == 16 ? segments[reg - EXPLAIN_SEGMENT] : bases[reg - EXPLAIN_SEGMENT];
	if (mode == 64 || (reg >= 8 && reg < EXPLAIN_RIP))
		return wide[reg];
	if (reg >= EXPLAIN_RIP)
		return wide[reg] + 1;
	return mode == 32 ? middle[reg] : legacy[reg];
}

/* Number of a general register, EXPLAIN_RIP or EXPLAIN_RFLAGS; -1. */
static int general_register(const char *name)
{
	char *end;
	unsigned long number;
	const char *core = strchr("rReE", name[0]) && name[0] ? name + 1 : name;

	for (int i = 0; i < 8; i++)
		if (!strcasecmp(core, legacy[i]))
			return i;
	if (!strcasecmp(core, "ip"))
		return EXPLAIN_RIP;
	if (!strcasecmp(core, "flags") || !strcasecmp(name, "flags"))
		return EXPLAIN_RFLAGS;
	if (tolower((unsigned char)name[0]) != 'r' || !isdigit((unsigned char)name[1]))
		return -1;
	number = strtoul(name + 1, &end, 10);
	return !*end && number >= 8 && number <= 15 ? (int)number : -1;
}

static int segment_register(const char *name, size_t length)
{
	for (int i = 0; i < 6; i++)
		if (length == 2 && !strncasecmp(name, segments[i], 2))
			return i;
	return -1;
}

static bool set(struct question *q, int reg, uint64_t value)
{
	q->value[reg] = value;
	q->given[reg] = true;
	return true;
}

static bool set_segment(struct question *q, int segment, const char *suffix, uint64_t value)
{
	if (!strcasecmp(suffix, ".base"))
		return set(q, EXPLAIN_SEGMENT + segment, value);
	if (*suffix) {
		complain("'%s%s': a segment register is given as %s=SELECTOR (real mode) or "
			 "%s.base=ADDRESS",
			 segments[segment], suffix, segments[segment], segments[segment]);
		return false;
	}
	if (value > 0xffff) {
		complain("%s: a selector has 16 bits; %s.base= takes an address", segments[segment],
			 segments[segment]);
		return false;
	}
	if (q->mode == 16)
		return set(q, EXPLAIN_SEGMENT + segment, value << 4);
	complain("%s=%04llx: outside of real mode a selector does not tell where the segment "
		 "begins; give %s.base=ADDRESS",
		 segments[segment], (unsigned long long)value, segments[segment]);
	return false;
}

static bool set_register(struct question *q, const char *text)
{
	const char *equals = strchr(text, '=');
	char name[16];
	uint64_t value;
	int reg;

	snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
	if (!parse_hex(equals + 1, &value)) {
		complain("%s: '%s' is not a hexadecimal number", name, equals + 1);
		return false;
	}
	reg = segment_register(name, strcspn(name, "."));
	if (reg >= 0)
		return set_segment(q, reg, name + 2, value);
	if (!strcasecmp(name, "line")) {
		if (value == 0x40 || !strcmp(equals + 1, "64"))
			return true;
		complain("line=%s: cache lines have 64 bytes on every processor that detects bus "
			 "locks",
			 equals + 1);
		return false;
	}
	reg = general_register(name);
	if (reg >= 0)
		return set(q, reg, value);
	complain("there is no register '%s'", name);
	return false;
}

/* ------------------------------------------------------------------ bytes */

bool explain_add_bytes(struct question *q, const char *text)
{
	for (const char *p = text; *p;) {
		if (isspace((unsigned char)*p) || strchr(",:-", *p)) {
			p++;
			continue;
		}
		/* as debuggers and C source have them */
		if ((p[0] == '0' || p[0] == '\\') && (p[1] == 'x' || p[1] == 'X')) {
			p += 2;
			continue;
		}
		if (!isxdigit((unsigned char)p[0]) || !isxdigit((unsigned char)p[1])) {
			complain("'%s': bytes are pairs of hexadecimal digits; '%c' is not part of "
				 "one",
				 text, isxdigit((unsigned char)p[0]) && p[1] ? p[1] : p[0]);
			return false;
		}
		if (q->count == sizeof(q->bytes)) {
			complain("more than %zu bytes: one instruction is wanted",
				 sizeof(q->bytes));
			return false;
		}
		q->bytes[q->count++] = (uint8_t)strtoul((const char[]){ p[0], p[1], 0 }, NULL, 16);
		p += 2;
	}
	return true;
}

/* ------------------------------------------------------------------ memory */

static bool take_bit(const char *name, const char *value, bool *bit)
{
	if (strcmp(value, "0") && strcmp(value, "1")) {
		complain("%s=%s: it is a bit, 0 or 1", name, value);
		return false;
	}
	*bit = *value == '1';
	return true;
}

static bool take_index_bit(const char *name, const char *value, unsigned shift, unsigned *index)
{
	bool bit;

	if (!take_bit(name, value, &bit))
		return false;
	*index = (*index & ~(1u << shift)) | (unsigned)bit << shift;
	return true;
}

static bool take_index(const char *value, unsigned *index)
{
	if (*value < '0' || *value > '7' || value[1]) {
		complain("pat.index=%s: the PAT has entries 0 to 7", value);
		return false;
	}
	*index = (unsigned)(*value - '0');
	return true;
}

static bool take_pat(const char *value, uint64_t *pat)
{
	if (parse_hex(value, pat) && memtype_pat_valid(*pat))
		return true;
	complain(
		"ia32_pat=%s: not a value that WRMSR accepts; eight bytes, each 0, 1, 4, 5, 6 or 7 "
		"(SDM 14.12.2)",
		value);
	return false;
}

static bool take_mtrr(const char *value, int *type)
{
	if (!strcasecmp(value, "off")) {
		*type = EXPLAIN_MTRR_OFF;
		return true;
	}
	for (int i = 0; i < 8; i++) {
		if (!memtype_is_mtrr_type((unsigned)i) ||
		    strcasecmp(value, memtype_name((unsigned)i)) != 0)
			continue;
		*type = i;
		return true;
	}
	complain("mtrr=%s: give uc, wc, wt, wp, wb, or off", value);
	return false;
}

static bool take_quirks(const char *value, uint64_t *quirks)
{
	if (parse_hex(value, quirks))
		return true;
	complain("disabled_quirks: '%s' is not a hexadecimal number, KVM_X86_QUIRK_ bits or-ed",
		 value);
	return false;
}

static bool take_gpa(const char *value, struct explain_memory *memory)
{
	memory->gpa_given = parse_hex(value, &memory->gpa);
	if (!memory->gpa_given)
		complain("gpa: '%s' is not a hexadecimal number", value);
	return memory->gpa_given;
}

/* 1: it was one of these; 0: it is none; -1 after complaining. */
static int set_memory(struct question *q, const char *name, const char *value)
{
	static const char *const names[] = { "pwt",  "pcd", "pat", "pat.index", "ia32_pat",
					     "mtrr", "cd",  "pg",  "gpa",       "disabled_quirks" };
	struct explain_memory *m = &q->memory;
	unsigned word = 0;
	bool good;

	while (word < sizeof(names) / sizeof(names[0]) && strcasecmp(name, names[word]) != 0)
		word++;
	switch (word) {
	case 0:
	case 1:
	case 2:
		good = take_index_bit(name, value, word, &m->index);
		break;
	case 3:
		good = take_index(value, &m->index);
		break;
	case 4:
		good = take_pat(value, &m->pat);
		break;
	case 5:
		good = take_mtrr(value, &m->mtrr);
		break;
	case 6:
		good = take_bit(name, value, &m->cd);
		break;
	case 7:
		m->paging_given = true;
		good = take_bit(name, value, &m->paging);
		break;
	case 8:
		good = take_gpa(value, m);
		break;
	case 9:
		good = take_quirks(value, &m->disabled_quirks);
		break;
	default:
		return 0;
	}
	if (!m->given)
		m->given = names[word];
	return good ? 1 : -1;
}

/* NAME=VALUE: a register, or a word about memory. */
bool explain_set_word(struct question *q, const char *text)
{
	const char *equals = strchr(text, '=');
	char name[24];
	int taken;

	snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
	taken = set_memory(q, name, equals + 1);
	return taken ? taken > 0 : set_register(q, text);
}
