// SPDX-License-Identifier: GPL-2.0-only
/* `buslock explain`: does this instruction take a bus lock, and by which rule? */
#include "cli/explain.h"

#include "cli/cli.h"
#include "emu/disasm.h"
#include "emu/emu.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LOCK_PREFIX 0xf0

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

bool explain_set_register(struct question *q, const char *text)
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

/* ------------------------------------------------------------------ the answer */

static void fill_regs(const struct question *q, struct insn_regs *regs)
{
	memset(regs, 0, sizeof(*regs));
	memcpy(regs->gpr, q->value, sizeof(regs->gpr));
	regs->rip = q->value[EXPLAIN_RIP];
	regs->rflags = q->value[EXPLAIN_RFLAGS];
	regs->stack_size = (uint8_t)(q->mode / 8);
	for (unsigned i = 0; i < 6; i++)
		if (q->mode != 64 || i == SEG_FS || i == SEG_GS)
			regs->seg_base[i] = q->value[EXPLAIN_SEGMENT + i];
}

static bool same_accesses(const struct answer *a, const struct insn_access *other, int n)
{
	if (n != a->accesses)
		return false;
	for (int i = 0; i < n; i++)
		if (a->access[i].linear != other[i].linear ||
		    a->access[i].offset != other[i].offset)
			return false;
	return true;
}

/* A register matters if another value of it changes an address. */
static void find_assumed(const struct question *q, struct answer *a)
{
	struct insn_access other[INSN_MAX_ACCESSES];

	for (unsigned i = 0; i < EXPLAIN_REGISTERS; i++) {
		struct question changed = *q;
		struct insn_regs regs;

		if (q->given[i])
			continue;
		/* every byte has a bit set: no address size and no bit offset hides it */
		changed.value[i] = 0x4040404040404040;
		fill_regs(&changed, &regs);
		a->assumed[i] = !same_accesses(a, other, insn_accesses(&a->insn, &regs, other));
	}
}

static bool op_is_lockable(enum insn_op op)
{
	switch (op) {
	case OP_ADD:
	case OP_OR:
	case OP_ADC:
	case OP_SBB:
	case OP_AND:
	case OP_SUB:
	case OP_XOR:
	case OP_INC:
	case OP_DEC:
	case OP_NOT:
	case OP_NEG:
	case OP_BTS:
	case OP_BTR:
	case OP_BTC:
	case OP_XCHG:
	case OP_XADD:
	case OP_CMPXCHG:
	case OP_CMPXCHG8B:
	case OP_CMPXCHG16B:
		return true;
	default:
		return false;
	}
}

/* The instruction as it would be without its LOCK prefix. */
static bool decode_without_lock(const struct insn *insn, struct insn *bare)
{
	uint8_t bytes[INSN_MAX_LENGTH + 1] = { 0 };
	size_t n = 0;
	bool dropped = false;

	for (size_t i = 0; i < insn->length; i++) {
		if (!dropped && insn->bytes[i] == LOCK_PREFIX)
			dropped = true;
		else
			bytes[n++] = insn->bytes[i];
	}
	return dropped && !insn_decode(bare, bytes, INSN_MAX_LENGTH, insn->mode);
}

static void judge_illegal(struct answer *a)
{
	struct insn bare;

	if (!(a->insn.flags & INSN_LOCK) || !decode_without_lock(&a->insn, &bare) ||
	    bare.op == OP_UD) {
		a->defined = false;
		a->lock_rule = "no such instruction: it raises #UD";
		return;
	}
	a->lock = LOCK_ILLEGAL;
	/* There is no text for it; that of the rest tells what was meant. */
	snprintf(a->text, sizeof(a->text), "(#UD) lock ");
	disasm_text(a->text + strlen(a->text), sizeof(a->text) - strlen(a->text), bare.bytes,
		    bare.length, 0, bare.mode);
	if (!op_is_lockable((enum insn_op)bare.op))
		a->lock_rule = "LOCK before an instruction that it may not stand before: it raises "
			       "#UD (SDM vol. 2, LOCK)";
	else if (!(bare.flags & INSN_MEM))
		a->lock_rule =
			"LOCK, but no operand is in memory: it raises #UD (SDM vol. 2, LOCK)";
	else
		a->lock_rule = "LOCK, but the destination is a register, memory is only read: it "
			       "raises #UD (SDM vol. 2, LOCK)";
}

/* Locked accesses to descriptors (SDM vol. 3, 11.1.2.1): only if the bit is still clear. */
static const char *stuffed_accesses(const struct insn *insn)
{
	switch (insn->op) {
	case OP_MOV_TO_SEG:
	case OP_POP_SEG:
	case OP_LOAD_FAR:
	case OP_JMP_FAR:
	case OP_CALL_FAR:
	case OP_RET_FAR:
	case OP_IRET:
	case OP_INT:
	case OP_INT1:
	case OP_INT3:
	case OP_INTO:
		return "in protected mode it sets a descriptor's accessed bit, if that is clear, "
		       "by a locked access (SDM vol. 3, 11.1.2.1)";
	case OP_LTR:
		return "it sets the TSS descriptor's busy bit by a locked access (SDM vol. 3, "
		       "11.1.2.1)";
	default:
		return NULL;
	}
}

static void judge_lock(struct answer *a)
{
	a->defined = true;
	if (a->insn.op == OP_UD) {
		judge_illegal(a);
	} else if (a->insn.flags & INSN_LOCK) {
		a->lock = LOCK_EXPLICIT;
		a->lock_rule = "LOCK prefix before a lockable instruction with a destination in "
			       "memory (SDM vol. 2, LOCK)";
	} else if (a->insn.flags & INSN_LOCKED) {
		a->lock = LOCK_IMPLICIT;
		a->lock_rule = "XCHG with memory locks without a prefix (SDM vol. 2, XCHG)";
	} else if (a->insn.op == OP_XCHG) {
		a->lock_rule = "XCHG between registers does not lock";
	} else {
		a->lock_rule = "no LOCK prefix, and not XCHG with memory";
	}
	a->stuffed = stuffed_accesses(&a->insn);
}

static void judge_bus_lock(const struct question *q, struct answer *a)
{
	const struct insn_access *operand = &a->access[0];

	if (a->lock != LOCK_EXPLICIT && a->lock != LOCK_IMPLICIT) {
		a->rule = "only a locked access can be a bus lock (SDM vol. 3, 11.1.2)";
		return;
	}
	a->misaligned_16b = a->insn.op == OP_CMPXCHG16B && operand->linear & 15;
	if (a->misaligned_16b) {
		a->rule = "CMPXCHG16B raises #GP(0) unless its operand is aligned to 16 bytes (SDM "
			  "vol. 2): no access is made";
		return;
	}
	a->cause = emu_bus_lock_cause(operand->linear, operand->size, q->memory_type);
	if (a->cause & EMU_LOCK_SPLIT && a->cause & EMU_LOCK_NON_WB)
		a->rule = "a locked access that crosses a cache line, to memory that is not "
			  "write-back (SDM vol. 3, 11.1.2)";
	else if (a->cause & EMU_LOCK_SPLIT)
		a->rule = "a locked access that crosses a cache line: a split lock (SDM vol. 3, "
			  "11.1.2)";
	else if (a->cause)
		a->rule = "a locked access to memory that is not write-back: a UC lock (SDM vol. "
			  "3, 11.1.2)";
	else
		a->rule = "a locked access to write-back memory within one cache line locks the "
			  "line in the cache, not the bus (SDM vol. 3, 11.1.4)";
}

int explain(const struct question *q, struct answer *a)
{
	struct insn_regs regs;
	int error;

	memset(a, 0, sizeof(*a));
	error = insn_decode(&a->insn, q->bytes, q->count, q->mode);
	if (error)
		return error;
	disasm_text(a->text, sizeof(a->text), q->bytes, q->count, q->value[EXPLAIN_RIP], q->mode);
	judge_lock(a);
	if (a->insn.op != OP_UD) {
		fill_regs(q, &regs);
		a->accesses = insn_accesses(&a->insn, &regs, a->access);
		find_assumed(q, a);
	}
	judge_bus_lock(q, a);
	return 0;
}

/* ------------------------------------------------------------------ the command */

enum { OPTION_MODE = 256, OPTION_MEMORY_TYPE, OPTION_JSON };

static const struct argp_option options[] = {
	{ "mode", OPTION_MODE, "BITS", 0, "16 (real mode), 32 or 64 (default): of the code segment",
	  0 },
	{ "memory-type", OPTION_MEMORY_TYPE, "TYPE", 0,
	  "Of the operand's memory: wb (default), wt, wp, wc or uc", 0 },
	{ "json", OPTION_JSON, NULL, 0, "For tools", 0 },
	{ 0 },
};

static const char doc[] =
	"Decodes one instruction and says whether it locks, what it touches, whether that is a bus "
	"lock and by which rule.\v"
	"BYTES are hexadecimal, in any spacing. Registers are given as name=value, in hexadecimal: "
	"general ones, ip and flags under any of their names (di, edi, rdi); in real mode segment "
	"registers by selector (es=0070), otherwise by base (fs.base=7000). A register that "
	"matters and is not given is taken as 0, and said so.\n"
	"\n"
	"  buslock explain --mode 16 \"26 87 55 02\" es=0070 di=007D\n"
	"  buslock explain f0480fab3e rsi=1000 rdi=1fd\n";

struct request {
	struct question question;
	const char *registers[EXPLAIN_REGISTERS * 2];
	unsigned count;
	bool json;
};

static bool set_mode(struct question *q, const char *text)
{
	if (strcmp(text, "16") && strcmp(text, "32") && strcmp(text, "64")) {
		complain("--mode: '%s' is not 16, 32 or 64", text);
		return false;
	}
	q->mode = (unsigned)atoi(text);
	return true;
}

static bool set_memory_type(struct question *q, const char *text)
{
	static const struct {
		const char *name;
		unsigned type;
	} types[] = { { "wb", EMU_MT_WB }, { "wt", EMU_MT_WT }, { "wp", EMU_MT_WP },
		      { "wc", EMU_MT_WC }, { "uc", EMU_MT_UC }, { "uc-", EMU_MT_UC_MINUS } };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcasecmp(types[i].name, text) != 0)
			continue;
		q->memory_type = types[i].type;
		q->memory_type_name = types[i].name;
		return true;
	}
	complain("--memory-type: '%s' is not wb, wt, wp, wc or uc", text);
	return false;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct request *request = state->input;
	bool good = true;

	switch (key) {
	case OPTION_MODE:
		good = set_mode(&request->question, text);
		break;
	case OPTION_MEMORY_TYPE:
		good = set_memory_type(&request->question, text);
		break;
	case OPTION_JSON:
		request->json = true;
		break;
	case ARGP_KEY_ARG:
		if (!strchr(text, '=')) {
			good = explain_add_bytes(&request->question, text);
		} else if (request->count ==
			   sizeof(request->registers) / sizeof(request->registers[0])) {
			complain("more registers than there are");
			good = false;
		} else {
			/* --mode may come later */
			request->registers[request->count++] = text;
		}
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return good ? 0 : EINVAL;
}

static int refuse(const struct question *q, int error)
{
	if (!q->count)
		complain("which instruction? buslock explain BYTES [REG=VALUE...]; --help tells "
			 "more");
	else if (error == -ENODATA)
		complain("%zu bytes are not a whole instruction: more must follow", q->count);
	else if (error == -E2BIG)
		complain("longer than 15 bytes: the processor raises #GP(0) (SDM vol. 2, 2.3.11)");
	else
		complain("cannot be decoded: %s", strerror(-error));
	return STATUS_USAGE;
}

int command_explain(int argc, char **argv)
{
	static const struct argp argp = { options, parse_option, "BYTES [REG=VALUE...]", doc, NULL,
					  NULL,    NULL };
	struct request request = {
		.question = { .mode = 64, .memory_type = EMU_MT_WB, .memory_type_name = "wb" }
	};
	struct answer answer;
	int error;

	argp_err_exit_status = STATUS_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &request))
		return STATUS_USAGE;
	for (unsigned i = 0; i < request.count; i++)
		if (!explain_set_register(&request.question, request.registers[i]))
			return STATUS_USAGE;
	error = request.question.count ? explain(&request.question, &answer) : -ENODATA;
	if (error)
		return refuse(&request.question, error);
	if (request.json)
		return explain_print_json(&request.question, &answer);
	explain_print_text(&request.question, &answer);
	return STATUS_OK;
}
