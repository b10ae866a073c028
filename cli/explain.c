// SPDX-License-Identifier: GPL-2.0-only
/* `buslock explain`: does this instruction take a bus lock, and by which rule? */
#include "cli/explain.h"

#include "cli/cli.h"
#include "emu/disasm.h"
#include "emu/emu.h"
#include "vmm_shim/profile.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LOCK_PREFIX 0xf0

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
		       "by a locked access of its own (SDM vol. 3, 11.1.2.1): a bus lock where the "
		       "descriptor crosses a line, or its table is not in write-back memory";
	case OP_LTR:
		return "it sets the TSS descriptor's busy bit by a locked access of its own (SDM "
		       "vol. 3, 11.1.2.1): a bus lock where the descriptor crosses a line, or its "
		       "table is not in write-back memory";
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

static const char *bus_lock_rule(const struct question *q, unsigned cause)
{
	bool amd = q->machine.shim.vendor == EMU_AMD;

	if (cause & EMU_LOCK_SPLIT && cause & EMU_LOCK_NON_WB)
		return amd ? "a misaligned locked access, to memory that is not write-back (APM "
			     "7.3.3)"
			   : "a locked access that crosses a cache line, to memory that is not "
			     "write-back (SDM vol. 3, 11.1.2)";
	if (cause & EMU_LOCK_SPLIT)
		return amd ? "a misaligned locked access: one that crosses the boundary (APM 7.3.3)"
			   : "a locked access that crosses a cache line: a split lock (SDM vol. 3, "
			     "11.1.2)";
	if (cause)
		return amd ? "a locked access to memory that is not write-back (APM 7.3.3)"
			   : "a locked access to memory that is not write-back: a UC lock (SDM "
			     "vol. "
			     "3, 11.1.2)";
	return amd ? "a locked access to write-back memory within the boundary locks the line in "
		     "the cache, not the bus (APM 7.3.3)"
		   : "a locked access to write-back memory within one cache line locks the line in "
		     "the cache, not the bus (SDM vol. 3, 11.1.4)";
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
	a->cause = emu_bus_lock_cause_at(operand->linear, operand->size, a->memory.type,
					 q->machine.shim.lock_boundary);
	a->rule = bus_lock_rule(q, a->cause);
}

/* The exit that a bus lock causes where the hypervisor has asked for it. */
static void judge_exit(const struct question *q, struct answer *a)
{
	const struct shim_options *machine = &q->machine.shim;
	uint64_t rip = q->value[EXPLAIN_RIP];
	struct profile profile;

	if (!a->cause)
		return;
	profile_for(shim_options_kernel(machine), &profile);
	a->exit.unused = machine->vendor == EMU_AMD && !profile.svm_threshold;
	if (a->exit.unused)
		return;
	a->exit.taken = true;
	if (machine->vendor == EMU_AMD) {
		a->exit.word = SVM_BUSLOCK;
		a->exit.rip = rip;
		return;
	}
	a->exit.word = VMX_BUS_LOCK;
	if (!machine->bare_reason_74)
		a->exit.word |= VMX_EXIT_BUS_LOCK_ASSERTED;
	a->exit.behind = true;
	a->exit.rip = rip + a->insn.length;
	if (q->mode != 64)
		a->exit.rip &= q->mode == 16 ? 0xffff : 0xffffffff;
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
	explain_memory_type(q, a->accesses ? a->access[0].linear : 0, &a->memory);
	judge_bus_lock(q, a);
	judge_exit(q, a);
	return 0;
}

/* ------------------------------------------------------------------ the command */

enum { OPTION_MODE = 256, OPTION_MEMORY_TYPE, OPTION_JSON, OPTION_MACHINE };

/* As `buslock exec` and `run` have them (choices.c). */
static const char *const machine_options[] = { "cpu", "kernel", "uc", "reason-74",
					       "lock-boundary" };
#define MACHINE_OPTIONS (sizeof(machine_options) / sizeof(machine_options[0]))

static const struct argp_option options[] = {
	{ "mode", OPTION_MODE, "BITS", 0, "16 (real mode), 32 or 64 (default): of the code segment",
	  0 },
	{ "memory-type", OPTION_MEMORY_TYPE, "TYPE", 0,
	  "Of the operand's memory: wb, wt, wp, wc or uc; or who decides it: kvm (default), "
	  "kvm-noncoherent, guest or amd",
	  0 },
	{ "cpu", OPTION_MACHINE, "VENDOR", 0, "intel (default) or amd", 0 },
	{ "kernel", OPTION_MACHINE + 1, "VERSION", 0, "The KVM of this version of Linux", 0 },
	{ "uc", OPTION_MACHINE + 2, "GPA+LEN", 0, "A device's memory; may be repeated", 0 },
	{ "reason-74", OPTION_MACHINE + 3, "HOW", 0, "with-bit-26 (default) or bare", 0 },
	{ "lock-boundary", OPTION_MACHINE + 4, "BYTES", 0, "AMD: 8, 16, 32 or 64 (default)", 0 },
	{ "json", OPTION_JSON, NULL, 0, "For tools", 0 },
	{ 0 },
};

static const char doc[] =
	"Decodes one instruction and says whether it locks, what it touches, how the type of that "
	"memory came about, whether it is a bus lock and by which rule, and what exit it causes.\v"
	"BYTES are hexadecimal, in any spacing. Registers are given as name=value, in hexadecimal: "
	"general ones, ip and flags under any of their names (di, edi, rdi); in real mode segment "
	"registers by selector (es=0070), otherwise by base (fs.base=7000). A register that "
	"matters and is not given is taken as 0, and said so.\n"
	"\n"
	"Of the operand's memory: pwt=, pcd=, pat= (bits of the page-table entry, 0 or 1) or "
	"pat.index= (0 to 7), ia32_pat=VALUE, mtrr=TYPE or off, cd=, pg= (bits of CR0), "
	"gpa=ADDRESS "
	"(guest-physical), disabled_quirks= (KVM's). What is not given is as after RESET, with "
	"paging (not in real mode), MTRRs that say WB, and a guest-physical address equal to the "
	"linear one.\n"
	"\n"
	"  buslock explain --mode 16 \"26 87 55 02\" es=0070 di=007D\n"
	"  buslock explain f0480fab3e rsi=1000 rdi=1fd\n"
	"  buslock explain --memory-type guest f0ff07 rdi=1000 pcd=1 mtrr=wb\n"
	"  buslock explain --cpu amd f0ff07 rdi=103e\n";

#define EXPLAIN_WORDS 64

struct request {
	struct question question;
	const char *words[EXPLAIN_WORDS];
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

/* Either the effective type itself, or who decides it. */
static bool set_memory_type(struct question *q, const char *text)
{
	static const unsigned types[] = { EMU_MT_WB, EMU_MT_WT, EMU_MT_WP,
					  EMU_MT_WC, EMU_MT_UC, EMU_MT_UC_MINUS };
	static const char *const policies[] = { "kvm", "kvm-noncoherent", "guest", "amd" };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcasecmp(memtype_name(types[i]), text) != 0)
			continue;
		q->type = types[i];
		q->type_given = true;
		return true;
	}
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		if (strcmp(policies[i], text) != 0)
			continue;
		q->type_given = false;
		return choices_take(&q->machine, "memory-type", text);
	}
	complain("--memory-type: '%s' is not wb, wt, wp, wc or uc, nor kvm, kvm-noncoherent, guest "
		 "or amd",
		 text);
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
		} else if (request->count == EXPLAIN_WORDS) {
			complain("more registers than there are");
			good = false;
		} else {
			/* --mode may come later */
			request->words[request->count++] = text;
		}
		break;
	default:
		if (key < OPTION_MACHINE || key >= OPTION_MACHINE + (int)MACHINE_OPTIONS)
			return ARGP_ERR_UNKNOWN;
		good = choices_take(&request->question.machine,
				    machine_options[key - OPTION_MACHINE], text);
	}
	return good ? 0 : EINVAL;
}

static int refuse(const struct question *q, int error)
{
	if (!q->count)
		complain("which instruction? buslock explain BYTES [NAME=VALUE...]; --help tells "
			 "more");
	else if (error == -ENODATA)
		complain("%zu bytes are not a whole instruction: more must follow", q->count);
	else if (error == -E2BIG)
		complain("longer than 15 bytes: the processor raises #GP(0) (SDM vol. 2, 2.3.11)");
	else
		complain("cannot be decoded: %s", strerror(-error));
	return STATUS_USAGE;
}

/* What was said of memory, and of the machine, together. */
static bool consistent(const struct question *q)
{
	if (q->type_given && q->memory.given) {
		complain("%s= and --memory-type=%s: the type is either given or derived; for the "
			 "latter give --memory-type=kvm, kvm-noncoherent, guest or amd",
			 q->memory.given, memtype_name(q->type));
		return false;
	}
	return choices_check(&q->machine);
}

int command_explain(int argc, char **argv)
{
	static const struct argp argp = { options, parse_option, "BYTES [NAME=VALUE...]", doc, NULL,
					  NULL,    NULL };
	struct request request = { .question = { .mode = 64,
						 .type = EMU_MT_WB,
						 .memory = { .pat = MEMTYPE_PAT_RESET,
							     .mtrr = EMU_MT_WB } } };
	struct question *q = &request.question;
	struct answer answer;
	int error;

	argp_err_exit_status = STATUS_USAGE;
	choices_default(&q->machine, "explain: ");
	if (argp_parse(&argp, argc, argv, 0, NULL, &request))
		return STATUS_USAGE;
	for (unsigned i = 0; i < request.count; i++)
		if (!explain_set_word(q, request.words[i]))
			return STATUS_USAGE;
	if (!consistent(q))
		return STATUS_USAGE;
	error = q->count ? explain(q, &answer) : -ENODATA;
	if (error)
		return refuse(q, error);
	if (request.json)
		return explain_print_json(q, &answer);
	explain_print_text(q, &answer);
	return STATUS_OK;
}
