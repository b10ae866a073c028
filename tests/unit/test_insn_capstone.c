/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The decoder against Capstone 5, the library that gives instructions their text. Only where Capstone
 * can be relied on: it keeps one of F0, F2, F3 (so LOCK stands alone here), accepts LOCK on anything,
 * miscounts sizes with 66 beside F2 or F3, and rejects 67 with F2 or F3 before 0F.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <capstone/capstone.h>
#include <cmocka.h>

#include "emu/insn.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

enum difference {
	AGREE,
	REJECTED = 1 << 0,
	LENGTH = 1 << 1,
	OPERAND = 1 << 2,
	ADDRESS = 1 << 3,
	SIZE = 1 << 4,
	LOCK = 1 << 5,
};

static const char *const difference_names[] = {
	"Capstone rejects it", "length", "presence of a memory operand", "address",
	"operand size",        "LOCK"
};

static const unsigned modes[] = { 16, 32, 64 };
static csh handles[ARRAY_SIZE(modes)];
static cs_insn *results[ARRAY_SIZE(modes)];
static unsigned long compared, wrong;

static int register_number(x86_reg reg)
{
	static const x86_reg numbers[][4] = {
		{ X86_REG_AX, X86_REG_EAX, X86_REG_RAX }, { X86_REG_CX, X86_REG_ECX, X86_REG_RCX },
		{ X86_REG_DX, X86_REG_EDX, X86_REG_RDX }, { X86_REG_BX, X86_REG_EBX, X86_REG_RBX },
		{ X86_REG_SP, X86_REG_ESP, X86_REG_RSP }, { X86_REG_BP, X86_REG_EBP, X86_REG_RBP },
		{ X86_REG_SI, X86_REG_ESI, X86_REG_RSI }, { X86_REG_DI, X86_REG_EDI, X86_REG_RDI },
	};

	if (reg == X86_REG_RIP || reg == X86_REG_EIP)
		return INSN_REG_RIP;
	for (int i = 0; i < 8; i++)
		for (int j = 0; j < 3; j++)
			if (numbers[i][j] == reg)
				return i;
	if (reg >= X86_REG_R8 && reg <= X86_REG_R15)
		return 8 + (int)(reg - X86_REG_R8);
	if (reg >= X86_REG_R8D && reg <= X86_REG_R15D)
		return 8 + (int)(reg - X86_REG_R8D);
	return INSN_NO_REG;
}
/* The integer operations, which are what LOCK and MMIO are about. */
static bool is_integer_operation(const struct insn *insn)
{
	return insn->op >= OP_ADD && insn->op <= OP_POP;
}

/* Capstone knows MOVSXD with REX.W only. */
static bool is_short_movsxd(const struct insn *insn)
{
	return insn->op == OP_MOVSX && insn->map == MAP_ONE && insn->opsize != 8;
}

static bool is_comparable(const struct insn *insn)
{
	unsigned hints = !!(insn->flags & INSN_LOCK) + !!(insn->flags & INSN_REP) +
			 !!(insn->flags & INSN_REPNE);

	if (insn->op == OP_UD || insn->op == OP_VEX || hints > 1)
		return false;
	/* For Capstone 66 wins over REX.W in PUSH, POP and RET, and shortens Jcc in 64-bit mode as on AMD. */
	if (insn->mode == 64 && insn->flags & INSN_OPSIZE)
		if (insn->op == OP_BRANCH ||
		    (insn->op >= OP_PUSH && insn->op <= OP_POP && insn->rex & 8))
			return false;
	if (insn->flags & (INSN_REP | INSN_REPNE))
		return insn->mode != 16 && !(insn->flags & (INSN_OPSIZE | INSN_ADDRSIZE));
	return true;
}

static const cs_x86_op *memory_operand(const cs_x86 *x86)
{
	for (unsigned i = 0; i < x86->op_count; i++)
		if (x86->operands[i].type == X86_OP_MEM)
			return &x86->operands[i];
	return NULL;
}

static unsigned compare_operand(const struct insn *insn, const cs_x86_op *operand)
{
	unsigned result = AGREE;

	if (register_number(operand->mem.base) != insn->base ||
	    register_number(operand->mem.index) != insn->index ||
	    (insn->index != INSN_NO_REG && operand->mem.scale != insn->scale) ||
	    operand->mem.disp != insn->disp)
		result |= ADDRESS;
	if (is_integer_operation(insn) && insn->mem_size && operand->size != insn->mem_size)
		result |= SIZE;
	return result;
}

static unsigned compare(const struct insn *insn, const cs_insn *result)
{
	const cs_x86 *x86 = &result->detail->x86;
	const cs_x86_op *operand = memory_operand(x86);

	if (insn->length != result->size)
		return LENGTH;
	if (!!(insn->flags & INSN_LOCK) != (x86->prefix[0] == X86_PREFIX_LOCK))
		return LOCK;
	if (!(insn->flags & INSN_MEM))
		return AGREE; /* strings have operands there, and jumps none here */
	return operand ? compare_operand(insn, operand) : OPERAND;
}

static void check(const uint8_t *bytes, size_t which)
{
	const uint8_t *next = bytes;
	size_t n = INSN_MAX_LENGTH;
	uint64_t address = 0x1000;
	unsigned differences;
	struct insn insn;

	if (insn_decode(&insn, bytes, INSN_MAX_LENGTH, modes[which]) || !is_comparable(&insn))
		return;
	if (cs_disasm_iter(handles[which], &next, &n, &address, results[which])) {
		differences = compare(&insn, results[which]);
		compared++;
	} else {
		differences = is_integer_operation(&insn) && !is_short_movsxd(&insn) ? REJECTED
										     : AGREE;
	}
	if (!differences || wrong++ >= 50)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(difference_names); i++)
		if (differences & 1u << i)
			print_error("%u-bit, %02x %02x %02x %02x %02x %02x %02x %02x %02x: %s; we: "
				    "%s, length %u; "
				    "Capstone: %s %s\n",
				    modes[which], bytes[0], bytes[1], bytes[2], bytes[3], bytes[4],
				    bytes[5], bytes[6], bytes[7], bytes[8], difference_names[i],
				    insn_op_name(insn.op), insn.length, results[which]->mnemonic,
				    results[which]->op_str);
}

static int set_up(void **state)
{
	static const cs_mode cs_modes[] = { CS_MODE_16, CS_MODE_32, CS_MODE_64 };

	(void)state;
	compared = wrong = 0;
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		if (cs_open(CS_ARCH_X86, cs_modes[i], &handles[i]) != CS_ERR_OK ||
		    cs_option(handles[i], CS_OPT_DETAIL, CS_OPT_ON) != CS_ERR_OK)
			return -1;
		results[i] = cs_malloc(handles[i]);
		if (!results[i])
			return -1;
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		cs_free(results[i], 1);
		cs_close(&handles[i]);
	}
	print_message("%lu instructions compared\n", compared);
	return 0;
}

static const struct {
	uint8_t n, bytes[2];
	bool rex;
} prefixes[] = {
	{ 0, { 0 }, 0 },          { 1, { 0x66 }, 0 },       { 1, { 0x67 }, 0 },
	{ 1, { 0xf0 }, 0 },       { 1, { 0xf2 }, 0 },       { 1, { 0xf3 }, 0 },
	{ 2, { 0xf0, 0x66 }, 0 }, { 2, { 0x67, 0xf0 }, 0 }, { 1, { 0x48 }, 1 },
	{ 1, { 0x45 }, 1 },       { 2, { 0x66, 0x48 }, 1 }, { 2, { 0xf0, 0x48 }, 1 },
	{ 2, { 0xf0, 0x4f }, 1 },
};

static void test_insn_opcodes_that_capstone_knows_agree_with_it(void **state)
{
	uint64_t random_state = 0x9e3779b97f4a7c15;

	(void)state;
	for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
		for (size_t p = 0; p < ARRAY_SIZE(prefixes); p++) {
			if (prefixes[p].rex && modes[m] != 64)
				continue;
			for (unsigned i = 0; i < 2 * 65536; i++) { /* map, opcode, ModRM */
				uint8_t bytes[INSN_MAX_LENGTH];
				unsigned n = prefixes[p].n;

				memcpy(bytes, prefixes[p].bytes, n);
				if (i >> 16)
					bytes[n++] = 0x0f;
				bytes[n++] = i >> 8 & 255;
				bytes[n++] = i & 255;
				for (; n < sizeof(bytes); n++) { /* xorshift64 */
					random_state ^= random_state << 13;
					random_state ^= random_state >> 7;
					random_state ^= random_state << 17;
					bytes[n] = (uint8_t)(random_state >> 32);
				}
				check(bytes, m);
			}
		}
	}
	if (wrong)
		fail_msg("%lu of %lu instructions are decoded differently", wrong, compared);
	assert_true(compared > 1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_insn_opcodes_that_capstone_knows_agree_with_it,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
