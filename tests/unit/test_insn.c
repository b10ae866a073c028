/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The decoder against written-down truth: every line of every file in tests/golden/insn, the SDM's
 * list of lockable instructions over the whole opcode space, and what must hold for any bytes.
 */
#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "emu/disasm.h"
#include "emu/insn.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static const unsigned modes[] = { 16, 32, 64 };

static const char *const register_names[16] = {
	"ax", "cx", "dx",  "bx",  "sp",  "bp",  "si",  "di",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"
};
static const char *const segment_names[6] = { "es", "cs", "ss", "ds", "fs", "gs" };

/* ---- golden cases: see tests/golden/insn/README.md for what a line says ---- */

struct golden {
	const char *file;
	unsigned line;
	unsigned mode;
	uint8_t bytes[32];
	size_t n;
	char *text, *expected, *registers,
		*accesses; /* NULL or "" where there is nothing to check */
};

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return s;
}

static void parse_golden(struct golden *golden, char *line)
{
	char *field[5] = { NULL }, *next = line, *byte;
	char *save = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(field) && next; i++) {
		field[i] = next;
		next = strchr(next, '|');
		if (next)
			*next++ = '\0';
		field[i] = trim(field[i]);
	}
	if (!field[3])
		fail_msg("%s:%u: a case needs mode, bytes, text and expectations", golden->file,
			 golden->line);
	golden->mode = (unsigned)strtoul(field[0], NULL, 10);
	for (byte = strtok_r(field[1], " ", &save); byte; byte = strtok_r(NULL, " ", &save)) {
		assert_true(golden->n < sizeof(golden->bytes));
		golden->bytes[golden->n++] = (uint8_t)strtoul(byte, NULL, 16);
	}
	golden->text = field[2];
	golden->expected = field[3];
	golden->registers = field[4];
	if (field[4]) {
		golden->accesses = strstr(field[4], "=>");
		if (!golden->accesses)
			fail_msg("%s:%u: no \"=>\" after the registers", golden->file,
				 golden->line);
		*golden->accesses = '\0';
		golden->accesses = trim(golden->accesses + 2);
	}
}

/* Runs `check` on every case there is; it returns the number of things that are wrong. */
static void for_each_golden(unsigned (*check)(const struct golden *golden))
{
	unsigned cases = 0, wrong = 0;
	glob_t files;

	assert_int_equal(glob(BUSLOCK_SOURCE_DIR "/tests/golden/insn/*.case", 0, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		FILE *file = fopen(files.gl_pathv[i], "r");
		char line[512];

		assert_non_null(file);
		for (unsigned number = 1; fgets(line, sizeof(line), file); number++) {
			struct golden golden = { .file = strrchr(files.gl_pathv[i], '/') + 1,
						 .line = number };
			char *content = trim(line);

			if (*content == '#' || !*content)
				continue;
			parse_golden(&golden, content);
			wrong += check(&golden);
			cases++;
		}
		fclose(file);
	}
	globfree(&files);
	if (wrong)
		fail_msg("%u of %u golden cases are wrong", wrong, cases);
	assert_true(cases > 300); /* none of the files has got lost */
}

static int find_name(const char *const *names, size_t count, const char *name, size_t length)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(names[i]) == length && !strncmp(names[i], name, length))
			return (int)i;
	return -1;
}

static long long parse_register(const char *name)
{
	if (!strcmp(name, "none"))
		return INSN_NO_REG;
	if (!strcmp(name, "rip"))
		return INSN_REG_RIP;
	return find_name(register_names, 16, name, strlen(name));
}

static unsigned parse_access(const char *name)
{
	return (strchr(name, 'r') ? INSN_READ : 0) | (strchr(name, 'w') ? INSN_WRITE : 0);
}

/* Values that are names. */
static bool golden_name(const struct insn *insn, const char *key, const char *value, long long *is,
			long long *should)
{
	if (!strcmp(key, "base")) {
		*is = insn->base;
		*should = parse_register(value);
	} else if (!strcmp(key, "index")) {
		*is = insn->index;
		*should = parse_register(value);
	} else if (!strcmp(key, "seg")) {
		*is = insn->seg;
		*should = find_name(segment_names, 6, value, strlen(value));
	} else if (!strcmp(key, "access")) {
		*is = insn->mem_access;
		*should = parse_access(value);
	} else if (!strcmp(key, "op")) {
		*is = 0;
		*should = strcmp(insn_op_name(insn->op), value);
	} else {
		return false;
	}
	return true;
}

/* The decoder's value for `key`, and what the case says. False: no such key. */
static bool golden_value(const struct insn *insn, const char *key, const char *value, long long *is,
			 long long *should)
{
	*should = (long long)strtoull(value, NULL, 0);
	if (!strcmp(key, "len"))
		*is = insn->length;
	else if (!strcmp(key, "size"))
		*is = insn_mem_bytes(insn);
	else if (!strcmp(key, "opsize"))
		*is = insn->opsize;
	else if (!strcmp(key, "addrsize"))
		*is = insn->addrsize;
	else if (!strcmp(key, "scale"))
		*is = insn->scale;
	else if (!strcmp(key, "disp"))
		*is = insn->disp;
	else if (!strcmp(key, "imm"))
		*is = (long long)insn->imm;
	else if (!strcmp(key, "imm2"))
		*is = insn->imm2;
	else if (!strcmp(key, "reg"))
		*is = insn->reg;
	else if (!strcmp(key, "rm"))
		*is = insn->rm;
	else
		return golden_name(insn, key, value, is, should);
	return true;
}

static const struct {
	const char *word;
	uint32_t flag;
	bool always; /* must be absent where the case does not name it */
} golden_flags[] = {
	{ "locked", INSN_LOCKED, true },     { "bitstring", INSN_BITSTRING, true },
	{ "kvm", INSN_KVM_EMULATES, false }, { "byte", INSN_BYTE, false },
	{ "load", INSN_DIR_LOAD, false },    { "sse", INSN_SSE, true },
	{ "mem", INSN_MEM, false },
};

static unsigned check_decoding(const struct golden *golden)
{
	char expected[512], *save = NULL, *word;
	bool sized = false;
	uint32_t named = 0, denied = 0;
	struct insn insn;
	int ret = insn_decode(&insn, golden->bytes, golden->n, golden->mode);
	unsigned wrong = 0;

	snprintf(expected, sizeof(expected), "%s", golden->expected);
	if (!strncmp(expected, "error=", 6)) {
		int error = !strcmp(expected + 6, "ENODATA") ? -ENODATA : -E2BIG;

		if (ret == error)
			return 0;
		print_error("%s:%u: returns %d, not %d\n", golden->file, golden->line, ret, error);
		return 1;
	}
	if (ret) {
		print_error("%s:%u: not decoded: %d\n", golden->file, golden->line, ret);
		return 1;
	}
	for (word = strtok_r(expected, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *value = strchr(word, '=');
		long long is = 0, should = 0;
		bool known = false;

		if (value) {
			*value++ = '\0';
			sized |= !strcmp(word, "size");
			if (!golden_value(&insn, word, value, &is, &should))
				fail_msg("%s:%u: no key \"%s\"", golden->file, golden->line, word);
			if (is != should) {
				print_error("%s:%u: %s is %lld (op %s), not %s\n", golden->file,
					    golden->line, word, is, insn_op_name(insn.op), value);
				wrong = 1;
			}
			continue;
		}
		for (size_t i = 0; i < ARRAY_SIZE(golden_flags); i++) {
			bool no = *word == '!';

			if (!strcmp(word + no, golden_flags[i].word)) {
				*(no ? &denied : &named) |= golden_flags[i].flag;
				known = true;
			}
		}
		if (!known)
			fail_msg("%s:%u: no flag \"%s\"", golden->file, golden->line, word);
	}
	for (size_t i = 0; i < ARRAY_SIZE(golden_flags) && insn.op != OP_UD; i++) {
		if (golden_flags[i].always && !(named & golden_flags[i].flag))
			denied |= golden_flags[i].flag;
	}
	if ((insn.flags & named) != named || insn.flags & denied) {
		print_error("%s:%u: flags are %#x; %#x must be there, %#x must not\n", golden->file,
			    golden->line, insn.flags, named, denied);
		wrong = 1;
	}
	if (!sized && insn.op != OP_UD && insn_mem_bytes(&insn)) {
		print_error("%s:%u: %u bytes of memory operand, and the case names none\n",
			    golden->file, golden->line, insn_mem_bytes(&insn));
		wrong = 1;
	}
	return wrong;
}

static void test_insn_golden_cases_decode_as_written(void **state)
{
	(void)state;
	for_each_golden(check_decoding);
}

static unsigned check_text(const struct golden *golden)
{
	char text[160];
	int ret = disasm_text(text, sizeof(text), golden->bytes, golden->n, 0x1000, golden->mode);

	if (!*golden->text)
		return 0;
	if (!strcmp(text, golden->text) && (ret == 0) == !!strcmp(text, "(bad)"))
		return 0;
	print_error("%s:%u: reads \"%s\" (returns %d), not \"%s\"\n", golden->file, golden->line,
		    text, ret, golden->text);
	return 1;
}

static void test_insn_golden_cases_print_as_written(void **state)
{
	(void)state;
	for_each_golden(check_text);
}

static void parse_registers(const struct golden *golden, struct insn_regs *regs)
{
	char list[512], *save = NULL, *word;

	snprintf(list, sizeof(list), "%s", golden->registers);
	for (word = strtok_r(list, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *value = strchr(word, '=');
		uint64_t number;
		int which;

		if (!value)
			fail_msg("%s:%u: %s has no value", golden->file, golden->line, word);
		*value++ = '\0';
		number = strtoull(value, NULL, 16);
		if ((which = find_name(register_names, 16, word, strlen(word))) >= 0)
			regs->gpr[which] = number;
		else if ((which = find_name(segment_names, 6, word, strlen(word))) >= 0)
			regs->seg_base[which] = number;
		else if (!strcmp(word, "rip"))
			regs->rip = number;
		else if (!strcmp(word, "stack"))
			regs->stack_size = (uint8_t)number;
		else
			fail_msg("%s:%u: no register \"%s\"", golden->file, golden->line, word);
	}
}

static unsigned check_accesses(const struct golden *golden)
{
	struct insn_regs regs = { .stack_size = (uint8_t)(golden->mode / 8) };
	struct insn_access accesses[INSN_MAX_ACCESSES];
	char is[512] = "";
	struct insn insn;
	int count;

	if (!golden->registers)
		return 0;
	parse_registers(golden, &regs);
	assert_int_equal(insn_decode(&insn, golden->bytes, golden->n, golden->mode), 0);
	count = insn_accesses(&insn, &regs, accesses);
	assert_in_range(count, 0, INSN_MAX_ACCESSES);
	for (int i = 0; i < count; i++) {
		const struct insn_access *a = &accesses[i];
		size_t used = strlen(is);

		snprintf(is + used, sizeof(is) - used, "%s%s%s %s:%llx@%llx*%u", i ? ", " : "",
			 a->access & INSN_READ ? "r" : "", a->access & INSN_WRITE ? "w" : "",
			 segment_names[a->seg], (unsigned long long)a->offset,
			 (unsigned long long)a->linear, a->size);
	}
	if (!strcmp(is, golden->accesses))
		return 0;
	print_error("%s:%u: accesses \"%s\", not \"%s\"\n", golden->file, golden->line, is,
		    golden->accesses);
	return 1;
}

static void test_insn_golden_cases_access_as_written(void **state)
{
	(void)state;
	for_each_golden(check_accesses);
}

static unsigned check_truncated(const struct golden *golden)
{
	struct insn insn, part;

	if (insn_decode(&insn, golden->bytes, golden->n, golden->mode))
		return 0;
	for (size_t n = 0; n < insn.length; n++) {
		/* allocated, so that a sanitizer sees what is read behind the end */
		uint8_t *bytes = malloc(n ? n : 1);
		int ret;

		assert_non_null(bytes);
		memcpy(bytes, golden->bytes, n);
		ret = insn_decode(&part, bytes, n, golden->mode);
		free(bytes);
		if (ret != -ENODATA) {
			print_error("%s:%u: %zu bytes return %d\n", golden->file, golden->line, n,
				    ret);
			return 1;
		}
	}
	return 0;
}

static void test_insn_truncated_anywhere_asks_for_more(void **state)
{
	(void)state;
	for_each_golden(check_truncated);
}

/* ---- LOCK ---- */

/*
 * SDM vol. 2, LOCK: ADD, ADC, AND, BTC, BTR, BTS, CMPXCHG, CMPXCHG8B, CMPXCHG16B, DEC, INC, NEG, NOT,
 * OR, SBB, SUB, XOR, XADD, XCHG, and "only to those forms where the destination operand is a memory
 * operand". Written as opcodes; reg −1: any ModRM.reg.
 */
static const struct lockable_form {
	bool two_byte;
	uint8_t opcode;
	int8_t reg;
	enum insn_op op;
} lockable_forms[] = {
	{ 0, 0x00, -1, OP_ADD },  { 0, 0x01, -1, OP_ADD },     { 0, 0x08, -1, OP_OR },
	{ 0, 0x09, -1, OP_OR },   { 0, 0x10, -1, OP_ADC },     { 0, 0x11, -1, OP_ADC },
	{ 0, 0x18, -1, OP_SBB },  { 0, 0x19, -1, OP_SBB },     { 0, 0x20, -1, OP_AND },
	{ 0, 0x21, -1, OP_AND },  { 0, 0x28, -1, OP_SUB },     { 0, 0x29, -1, OP_SUB },
	{ 0, 0x30, -1, OP_XOR },  { 0, 0x31, -1, OP_XOR },     { 0, 0x80, 0, OP_ADD },
	{ 0, 0x80, 1, OP_OR },    { 0, 0x80, 2, OP_ADC },      { 0, 0x80, 3, OP_SBB },
	{ 0, 0x80, 4, OP_AND },   { 0, 0x80, 5, OP_SUB },      { 0, 0x80, 6, OP_XOR },
	{ 0, 0x81, 0, OP_ADD },   { 0, 0x81, 1, OP_OR },       { 0, 0x81, 2, OP_ADC },
	{ 0, 0x81, 3, OP_SBB },   { 0, 0x81, 4, OP_AND },      { 0, 0x81, 5, OP_SUB },
	{ 0, 0x81, 6, OP_XOR },   { 0, 0x82, 0, OP_ADD },      { 0, 0x82, 1, OP_OR },
	{ 0, 0x82, 2, OP_ADC },   { 0, 0x82, 3, OP_SBB },      { 0, 0x82, 4, OP_AND },
	{ 0, 0x82, 5, OP_SUB },   { 0, 0x82, 6, OP_XOR },      { 0, 0x83, 0, OP_ADD },
	{ 0, 0x83, 1, OP_OR },    { 0, 0x83, 2, OP_ADC },      { 0, 0x83, 3, OP_SBB },
	{ 0, 0x83, 4, OP_AND },   { 0, 0x83, 5, OP_SUB },      { 0, 0x83, 6, OP_XOR },
	{ 0, 0x86, -1, OP_XCHG }, { 0, 0x87, -1, OP_XCHG },    { 0, 0xf6, 2, OP_NOT },
	{ 0, 0xf6, 3, OP_NEG },   { 0, 0xf7, 2, OP_NOT },      { 0, 0xf7, 3, OP_NEG },
	{ 0, 0xfe, 0, OP_INC },   { 0, 0xfe, 1, OP_DEC },      { 0, 0xff, 0, OP_INC },
	{ 0, 0xff, 1, OP_DEC },   { 1, 0xab, -1, OP_BTS },     { 1, 0xb3, -1, OP_BTR },
	{ 1, 0xbb, -1, OP_BTC },  { 1, 0xba, 5, OP_BTS },      { 1, 0xba, 6, OP_BTR },
	{ 1, 0xba, 7, OP_BTC },   { 1, 0xb0, -1, OP_CMPXCHG }, { 1, 0xb1, -1, OP_CMPXCHG },
	{ 1, 0xc0, -1, OP_XADD }, { 1, 0xc1, -1, OP_XADD },    { 1, 0xc7, 1, OP_CMPXCHG8B },
};

static const struct lockable_form *find_lockable(unsigned map, uint8_t opcode, uint8_t modrm)
{
	for (size_t i = 0; i < ARRAY_SIZE(lockable_forms) && map <= 1; i++) {
		const struct lockable_form *form = &lockable_forms[i];

		if (form->two_byte == map && form->opcode == opcode && modrm < 0xc0 &&
		    (form->reg < 0 || form->reg == (modrm >> 3 & 7)))
			return form;
	}
	return NULL;
}

static size_t put_opcode(uint8_t *bytes, unsigned map, uint8_t opcode, uint8_t modrm)
{
	size_t n = 0;

	if (map)
		bytes[n++] = 0x0f;
	if (map >= 2)
		bytes[n++] = map == 2 ? 0x38 : 0x3a;
	bytes[n++] = opcode;
	bytes[n++] = modrm;
	return n;
}

static bool is_prefix_or_escape(unsigned map, uint8_t byte, unsigned mode)
{
	if (map == 1)
		return byte == 0x38 || byte == 0x3a;
	return map == 0 &&
	       (byte == 0x0f || byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e ||
		(byte >= 0x64 && byte <= 0x67) || byte == 0xf0 || byte == 0xf2 || byte == 0xf3 ||
		(mode == 64 && byte >= 0x40 && byte <= 0x4f));
}

/* The prefixes that a locked instruction may have around it; REX only where it stands last. */
static const struct prefixes {
	uint8_t n, bytes[4];
	bool rex_w, opsize;
} lock_prefixes[] = {
	{ 1, { 0xf0 }, 0, 0 },
	{ 2, { 0x66, 0xf0 }, 0, 1 },
	{ 2, { 0xf0, 0x66 }, 0, 1 },
	{ 2, { 0x67, 0xf0 }, 0, 0 },
	{ 2, { 0xf0, 0x67 }, 0, 0 },
	{ 2, { 0xf2, 0xf0 }, 0, 0 },
	{ 2, { 0xf0, 0xf2 }, 0, 0 },
	{ 2, { 0xf3, 0xf0 }, 0, 0 },
	{ 2, { 0xf0, 0xf3 }, 0, 0 },
	{ 2, { 0xf0, 0xf0 }, 0, 0 },
	{ 2, { 0x26, 0xf0 }, 0, 0 },
	{ 2, { 0xf0, 0x2e }, 0, 0 },
	{ 2, { 0x36, 0xf0 }, 0, 0 },
	{ 2, { 0xf0, 0x3e }, 0, 0 },
	{ 2, { 0x64, 0xf0 }, 0, 0 },
	{ 2, { 0xf0, 0x65 }, 0, 0 },
	{ 4, { 0x65, 0x66, 0xf3, 0xf0 }, 0, 1 },
	{ 4, { 0xf0, 0xf2, 0x66, 0x67 }, 0, 1 },
	{ 2, { 0xf0, 0x48 }, 1, 0 },
	{ 3, { 0xf0, 0x66, 0x4f }, 1, 1 },
	{ 4, { 0xf0, 0xf2, 0x67, 0x4c }, 1, 0 },
	{ 2, { 0xf0, 0x41 }, 0, 0 },
	{ 3, { 0xf0, 0x48, 0x41 }, 0, 0 },
	{ 3, { 0x48, 0xf0, 0x66 }, 0, 1 },
};

static bool has_rex(const struct prefixes *prefixes)
{
	for (unsigned i = 0; i < prefixes->n; i++)
		if (prefixes->bytes[i] >= 0x40 && prefixes->bytes[i] <= 0x4f)
			return true;
	return false;
}

/* Sizes of the locked operand as SDM vol. 1, table 3-4 has them. */
static unsigned locked_size(const struct lockable_form *form, const struct prefixes *prefixes,
			    unsigned mode)
{
	if (form->op == OP_CMPXCHG8B)
		return prefixes->rex_w ? 16 : 8;
	if (!(form->opcode & 1) && !(form->two_byte && form->op >= OP_BT && form->op <= OP_BTC))
		return 1;
	if (mode == 64 && prefixes->rex_w)
		return 8;
	if (mode == 16)
		return prefixes->opsize ? 4 : 2;
	return prefixes->opsize ? 2 : 4;
}

/* Calls for every opcode of the four maps, every ModRM byte, every mode and all of lock_prefixes[]. */
static void for_each_locked(void (*check)(const uint8_t *bytes, unsigned mode, unsigned map,
					  const struct prefixes *prefixes,
					  const struct lockable_form *))
{
	for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
		for (size_t p = 0; p < ARRAY_SIZE(lock_prefixes); p++) {
			if (modes[m] != 64 && has_rex(&lock_prefixes[p]))
				continue;
			for (unsigned i = 0; i < 4 * 65536; i++) {
				uint8_t bytes[64] = { 0 }, opcode = i >> 8 & 255, modrm = i & 255;
				unsigned map = i >> 16;

				if (is_prefix_or_escape(map, opcode, modes[m]))
					continue;
				memcpy(bytes, lock_prefixes[p].bytes, lock_prefixes[p].n);
				put_opcode(bytes + lock_prefixes[p].n, map, opcode, modrm);
				check(bytes, modes[m], map, &lock_prefixes[p],
				      find_lockable(map, opcode, modrm));
			}
		}
	}
}

static unsigned legal_forms_seen;

static void check_lock(const uint8_t *bytes, unsigned mode, unsigned map,
		       const struct prefixes *prefixes, const struct lockable_form *form)
{
	struct insn insn;
	enum insn_op op;

	if (mode == 64 && form && form->opcode == 0x82 && !map)
		form = NULL; /* no such opcode there */
	assert_int_equal(insn_decode(&insn, bytes, 64, mode), 0);
	if (!form) {
		if (insn.op != OP_UD || insn.flags & INSN_LOCKED)
			fail_msg("mode %u, %02x %02x %02x %02x %02x: LOCK is accepted (%s)", mode,
				 bytes[0], bytes[1], bytes[2], bytes[3], bytes[4],
				 insn_op_name(insn.op));
		return;
	}
	op = form->op == OP_CMPXCHG8B && prefixes->rex_w ? OP_CMPXCHG16B : form->op;
	if (insn.op != op || !(insn.flags & INSN_LOCKED) || !insn_lock_is_legal(&insn) ||
	    insn.mem_access != (INSN_READ | INSN_WRITE) ||
	    insn.mem_size != locked_size(form, prefixes, mode))
		fail_msg("mode %u, %02x %02x %02x %02x %02x: %s, flags %#x, %u bytes; should be a "
			 "locked %s",
			 mode, bytes[0], bytes[1], bytes[2], bytes[3], bytes[4],
			 insn_op_name(insn.op), insn.flags, insn.mem_size, insn_op_name(op));
	legal_forms_seen++;
}

static void test_insn_lock_anywhere_in_the_maps_is_legal_on_the_listed_forms_only(void **state)
{
	(void)state;
	legal_forms_seen = 0;
	for_each_locked(check_lock);
	assert_true(legal_forms_seen > 100000);
}

static void test_insn_lock_dropped_from_legal_form_leaves_it_lockable(void **state)
{
	(void)state;
	for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
		for (unsigned i = 0; i < 2 * 65536; i++) {
			uint8_t bytes[64] = { 0 }, opcode = i >> 8 & 255, modrm = i & 255;
			const struct lockable_form *form = find_lockable(i >> 16, opcode, modrm);
			struct insn insn;

			if (is_prefix_or_escape(i >> 16, opcode, modes[m]))
				continue;
			put_opcode(bytes, i >> 16, opcode, modrm);
			assert_int_equal(insn_decode(&insn, bytes, sizeof(bytes), modes[m]), 0);
			if (modes[m] == 64 && opcode == 0x82 && i < 65536)
				form = NULL;
			assert_int_equal(insn_lock_is_legal(&insn), !!form);
			/* XCHG alone is locked by itself (SDM vol. 2, XCHG) */
			assert_int_equal(!!(insn.flags & INSN_LOCKED), form && form->op == OP_XCHG);
		}
	}
}

/* ---- any bytes ---- */

static uint64_t random_state;

static uint64_t random_bits(void) /* xorshift64 */
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void fill_random(uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(random_bits() >> 20);
}

static void test_insn_bytes_behind_the_instruction_change_nothing(void **state)
{
	(void)state;
	random_state = 0x9e3779b97f4a7c15;
	for (unsigned i = 0; i < 100000; i++) {
		unsigned mode = modes[random_bits() % 3];
		uint8_t bytes[80];
		struct insn first, second;
		int ret;

		fill_random(bytes, sizeof(bytes));
		ret = insn_decode(&first, bytes, sizeof(bytes), mode);
		assert_int_equal(insn_decode(&second, bytes, INSN_MAX_LENGTH, mode), ret);
		if (ret)
			continue;
		assert_in_range(first.length, 1, INSN_MAX_LENGTH);
		assert_memory_equal(&first, &second, sizeof(first));
		fill_random(bytes + first.length, sizeof(bytes) - first.length);
		assert_int_equal(insn_decode(&second, bytes, sizeof(bytes), mode), 0);
		memcpy(first.bytes, second.bytes, sizeof(first.bytes));
		assert_memory_equal(&first, &second, sizeof(first));
	}
}

static void test_insn_accesses_of_any_bytes_stay_within_the_address_size(void **state)
{
	(void)state;
	random_state = 0x2545f4914f6cdd1d;
	for (unsigned i = 0; i < 100000; i++) {
		unsigned mode = modes[random_bits() % 3];
		struct insn_access accesses[INSN_MAX_ACCESSES];
		struct insn_regs regs = { .stack_size = mode == 64          ? 8
							: random_bits() & 1 ? 4
									    : 2 };
		uint8_t bytes[INSN_MAX_LENGTH];
		struct insn insn;
		int count;

		fill_random(bytes, sizeof(bytes));
		if (random_bits() & 1)
			bytes[0] = 0x0f;
		for (size_t reg = 0; reg < 16; reg++)
			regs.gpr[reg] = random_bits();
		for (size_t seg = 0; seg < 6; seg++)
			regs.seg_base[seg] = mode == 64 ? 0 : (uint32_t)random_bits();
		if (insn_decode(&insn, bytes, sizeof(bytes), mode))
			continue;
		count = insn_accesses(&insn, &regs, accesses);
		assert_in_range(count, 0, INSN_MAX_ACCESSES);
		if (insn.op == OP_UD)
			assert_int_equal(count, 0);
		for (int a = 0; a < count; a++) {
			uint64_t linear = regs.seg_base[accesses[a].seg] + accesses[a].offset;

			assert_true(accesses[a].size > 0);
			assert_in_range(accesses[a].access, INSN_READ, INSN_READ | INSN_WRITE);
			if (mode != 64) {
				assert_true(accesses[a].offset <= UINT32_MAX);
				linear = (uint32_t)linear;
			}
			assert_true(accesses[a].linear == linear);
		}
	}
}

static void test_insn_prefixes_alone_are_too_long_at_fifteen(void **state)
{
	uint8_t bytes[64];
	struct insn insn;

	(void)state;
	memset(bytes, 0x66, sizeof(bytes));
	for (size_t n = 0; n < INSN_MAX_LENGTH; n++)
		assert_int_equal(insn_decode(&insn, bytes, n, 64), -ENODATA);
	assert_int_equal(insn_decode(&insn, bytes, 15, 64), -E2BIG);
	assert_int_equal(insn_decode(&insn, bytes, 16, 64), -E2BIG);
	assert_int_equal(insn_decode(&insn, bytes, 64, 64), -E2BIG);
	bytes[14] = 0x90;
	assert_int_equal(insn_decode(&insn, bytes, 64, 64), 0);
	assert_int_equal(insn.length, 15);
	assert_int_equal(insn.op, OP_NOP);
}

static void test_insn_every_operation_has_its_own_name(void **state)
{
	(void)state;
	for (int i = 0; i < OP_COUNT; i++) {
		assert_string_not_equal(insn_op_name(i), "?");
		for (int j = 0; j < i; j++)
			assert_string_not_equal(insn_op_name(i), insn_op_name(j));
	}
	assert_string_equal(insn_op_name(OP_COUNT), "?");
}

/* ---- text ---- */

static void test_insn_text_in_short_buffer_is_cut_and_terminated(void **state)
{
	static const uint8_t lock_bts[] = { 0xf0, 0x48, 0x0f, 0xab, 0x3e };
	char text[9];

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_int_equal(disasm_text(text, sizeof(text), lock_bts, sizeof(lock_bts), 0, 64), 0);
	assert_string_equal(text, "lock bts");
}

static void test_insn_text_of_nothing_is_bad(void **state)
{
	char text[16];

	(void)state;
	assert_int_equal(disasm_text(text, sizeof(text), (const uint8_t *)"", 0, 0, 64), -EILSEQ);
	assert_string_equal(text, "(bad)");
}

static void *print_many(void *mismatches)
{
	static const uint8_t add[] = { 0xf0, 0x01, 0x07 };
	static const char *const texts[] = { "lock add word ptr [bx], ax",
					     "lock add dword ptr [edi], eax",
					     "lock add dword ptr [rdi], eax" };

	for (unsigned i = 0; i < 3000; i++) {
		char text[64];

		if (disasm_text(text, sizeof(text), add, sizeof(add), 0, modes[i % 3]) ||
		    strcmp(text, texts[i % 3]))
			++*(unsigned *)mismatches;
	}
	return NULL;
}

static void test_insn_text_from_several_threads_is_the_same(void **state)
{
	pthread_t threads[4];
	unsigned mismatches[4] = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, print_many, &mismatches[i]), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(mismatches[i], 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_insn_golden_cases_decode_as_written),
		cmocka_unit_test(test_insn_golden_cases_print_as_written),
		cmocka_unit_test(test_insn_golden_cases_access_as_written),
		cmocka_unit_test(test_insn_truncated_anywhere_asks_for_more),
		cmocka_unit_test(
			test_insn_lock_anywhere_in_the_maps_is_legal_on_the_listed_forms_only),
		cmocka_unit_test(test_insn_lock_dropped_from_legal_form_leaves_it_lockable),
		cmocka_unit_test(test_insn_bytes_behind_the_instruction_change_nothing),
		cmocka_unit_test(test_insn_accesses_of_any_bytes_stay_within_the_address_size),
		cmocka_unit_test(test_insn_prefixes_alone_are_too_long_at_fifteen),
		cmocka_unit_test(test_insn_every_operation_has_its_own_name),
		cmocka_unit_test(test_insn_text_in_short_buffer_is_cut_and_terminated),
		cmocka_unit_test(test_insn_text_of_nothing_is_bad),
		cmocka_unit_test(test_insn_text_from_several_threads_is_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
