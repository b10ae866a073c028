/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The decoder against Zydis 4: every opcode of the four maps with every ModRM byte, many prefixes,
 * all modes, and random bytes. Both must agree on what is an instruction, on its length, on LOCK, and
 * on the memory operand: registers, displacement, segment, size, direction. Every disagreement that is
 * accepted stands in tolerances[] with its reason.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <Zydis/Zydis.h>
#include <cmocka.h>

#include "emu/insn.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

enum difference {
	AGREE,
	ONLY_ZYDIS_ACCEPTS = 1 << 0,
	ONLY_WE_ACCEPT = 1 << 1,
	LENGTH = 1 << 2,
	OPERAND = 1 << 3, /* one has a memory operand, the other not */
	BASE = 1 << 4,
	INDEX = 1 << 5,
	DISPLACEMENT = 1 << 6,
	SEGMENT = 1 << 7,
	SIZE = 1 << 8,
	ACCESS = 1 << 9,
	IMMEDIATE = 1 << 10,
};

static const char *const difference_names[] = {
	"only Zydis accepts it",
	"only we accept it",
	"length",
	"presence of a memory operand",
	"base register",
	"index and scale",
	"displacement",
	"segment",
	"operand size",
	"direction of access",
	"immediate",
};

struct comparison {
	struct insn insn;
	ZydisDecodedInstruction zydis;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	const ZydisDecodedOperand *memory; /* the explicit operand, NULL if none */
	ZyanStatus status;
};

/* ---- what may differ, and why ---- */

static bool is_opcode(const struct comparison *c, enum insn_map map, uint8_t first, uint8_t last)
{
	return c->insn.op != OP_VEX && c->insn.map == map && c->insn.opcode >= first &&
	       c->insn.opcode <= last;
}

static bool is_undefined_on_purpose(const struct comparison *c)
{
	return c->zydis.mnemonic == ZYDIS_MNEMONIC_UD0 || c->zydis.mnemonic == ZYDIS_MNEMONIC_UD1 ||
	       c->zydis.mnemonic == ZYDIS_MNEMONIC_UD2;
}

/* By name: Zydis 4.1 (Debian 13) knows some that 4.0 has no constant for. */
static bool is_foreign_extension(const struct comparison *c)
{
	static const char *const foreign[] = {
		"AMD3DNOW", "AMD_INVLPGB", "CLZERO", "HRESET",  "MCOMMIT", "MONITORX",
		"MSRLIST",  "PADLOCK",     "PBNDKB", "PCOMMIT", "RAO_INT", "RDPRU",
		"RTM",      "SNP",         "SSE4A",  "TDX",     "WRMSRNS",
	};
	const char *name = ZydisISAExtGetString(c->zydis.meta.isa_ext);

	for (size_t i = 0; name && i < sizeof(foreign) / sizeof(foreign[0]); i++)
		if (!strcmp(name, foreign[i]))
			return true;
	return false;
}

static bool is_knights_corner(const struct comparison *c)
{
	return c->zydis.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
	       c->zydis.meta.isa_ext == ZYDIS_ISA_EXT_KNC ||
	       c->zydis.meta.isa_ext == ZYDIS_ISA_EXT_KNCE ||
	       c->zydis.meta.isa_ext == ZYDIS_ISA_EXT_KNCV;
}

static bool is_vex(const struct comparison *c)
{
	return c->insn.op == OP_VEX;
}

static bool is_vector_vex(const struct comparison *c)
{
	return c->insn.op == OP_VEX && c->insn.flags & INSN_SSE;
}

static bool is_evex(const struct comparison *c)
{
	return c->insn.op == OP_VEX && c->zydis.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX &&
	       c->zydis.raw.disp.size == 8;
}

static bool is_vsib(const struct comparison *c)
{
	return c->insn.op == OP_VEX && c->memory->mem.type == ZYDIS_MEMOP_TYPE_VSIB;
}

static bool is_hint(const struct comparison *c)
{
	return is_opcode(c, MAP_0F, 0x0d, 0x0d) || is_opcode(c, MAP_0F, 0x18, 0x1f);
}

static bool is_cache_or_tlb(const struct comparison *c)
{
	return c->insn.op == OP_INVLPG || (is_opcode(c, MAP_0F, 0xae, 0xae) && !c->insn.mem_size);
}

static bool is_vmread_vmwrite(const struct comparison *c)
{
	return is_opcode(c, MAP_0F, 0x78, 0x79);
}

static bool is_lea(const struct comparison *c)
{
	return is_opcode(c, MAP_ONE, 0x8d, 0x8d);
}

static bool is_moffs(const struct comparison *c)
{
	return is_opcode(c, MAP_ONE, 0xa0, 0xa3) &&
	       c->memory->mem.disp.value ==
		       (c->insn.addrsize == 2 ? (int16_t)c->insn.disp : (int32_t)c->insn.disp);
}

static bool is_indirect_branch(const struct comparison *c)
{
	return c->insn.op == OP_BRANCH && is_opcode(c, MAP_ONE, 0xff, 0xff);
}

/* SDM vol. 2, table 2-5: mod 0 and base 101 is a displacement without base, whatever REX.B is. */
static bool has_no_base(const struct comparison *c)
{
	return c->insn.modrm >> 6 == 0 && (c->insn.modrm & 7) == 4 && c->insn.addrsize == 4 &&
	       (c->zydis.raw.sib.base & 7) == 5 && c->insn.rex & 1 && c->insn.base == INSN_NO_REG;
}

static const struct tolerance {
	unsigned differences;
	bool (*applies)(const struct comparison *c);
	const char *reason;
} tolerances[] = {
	{ ONLY_ZYDIS_ACCEPTS, is_undefined_on_purpose,
	  "UD0, UD1, UD2: instructions that raise #UD" },
	{ ONLY_ZYDIS_ACCEPTS, is_foreign_extension,
	  "AMD, Centaur, TDX, RTM, newer Intel: not on the processor that the engine imitates" },
	{ ONLY_ZYDIS_ACCEPTS | LENGTH, is_knights_corner,
	  "Knights Corner: shares encodings with VEX and EVEX" },
	{ ONLY_WE_ACCEPT, is_vex,
	  "VEX, EVEX, XOP: one operation for all, opcodes are not looked up" },
	{ SIZE | ACCESS, is_vector_vex,
	  "VEX, EVEX, XOP on vectors: size and direction as in the legacy instruction, if there is "
	  "one" },
	{ DISPLACEMENT, is_evex, "EVEX: scaling of 8-bit displacements is not done" },
	{ INDEX, is_vsib, "VSIB: the index is a vector" },
	{ SIZE, is_hint, "prefetches and reserved NOPs access nothing" },
	{ SIZE, is_cache_or_tlb, "INVLPG, CLFLUSH, CLFLUSHOPT, CLWB make no data access" },
	{ SIZE, is_vmread_vmwrite, "VMREAD, VMWRITE: always #UD here" },
	{ SEGMENT, is_lea, "LEA: Zydis ignores the override, and so does the processor" },
	{ DISPLACEMENT, is_moffs, "moffs: Zydis sign-extends an address" },
	{ SEGMENT, is_indirect_branch, "3E: NOTRACK for Zydis, DS without CET" },
	{ BASE | DISPLACEMENT, has_no_base,
	  "SIB without base, 67 and REX.B: Zydis shows r13d and no displacement" },
};

/* ---- the comparison ---- */

static const unsigned modes[] = { 16, 32, 64 };
static ZydisDecoder decoders[3];
static unsigned long compared, accepted, tolerated[ARRAY_SIZE(tolerances)], wrong;

static int register_number(ZydisRegister reg)
{
	if (reg == ZYDIS_REGISTER_NONE)
		return INSN_NO_REG;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return INSN_REG_RIP;
	return ZydisRegisterGetId(reg);
}

static const ZydisDecodedOperand *explicit_memory(const struct comparison *c)
{
	for (unsigned i = 0; i < c->zydis.operand_count; i++) {
		const ZydisDecodedOperand *operand = &c->operands[i];

		if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    (operand->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM ||
		     operand->encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64))
			return operand;
	}
	return NULL;
}

static unsigned compare_operand(const struct comparison *c)
{
	const struct insn *insn = &c->insn;
	const ZydisDecodedOperand *operand = c->memory;
	unsigned size = operand->mem.type == ZYDIS_MEMOP_TYPE_MEM ? operand->size / 8 : 0;
	unsigned access = (operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ ? INSN_READ : 0) |
			  (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? INSN_WRITE : 0);
	unsigned result = AGREE;

	if (insn->base != register_number(operand->mem.base))
		result |= BASE;
	if (insn->index != register_number(operand->mem.index) ||
	    (insn->index != INSN_NO_REG && insn->scale != operand->mem.scale))
		result |= INDEX;
	if (insn->disp != operand->mem.disp.value)
		result |= DISPLACEMENT;
	if (insn->seg != ZydisRegisterGetId(operand->mem.segment))
		result |= SEGMENT;
	if (insn_mem_bytes(insn) != size)
		result |= SIZE;
	else if (size && insn->mem_access != access)
		result |= ACCESS;
	return result;
}

/* As far as the operand reaches: what lies beyond, nobody uses. */
static unsigned compare_immediate(const struct comparison *c)
{
	const struct insn *insn = &c->insn;
	unsigned unused = 64 - 8 * insn->opsize;

	if (!!(insn->flags & INSN_IMM) != !!c->zydis.raw.imm[0].size)
		return IMMEDIATE;
	if (!(insn->flags & INSN_IMM))
		return AGREE;
	if (c->zydis.raw.imm[0].is_relative)
		unused = 0;
	if (insn->imm << unused != c->zydis.raw.imm[0].value.u << unused ||
	    (c->zydis.raw.imm[1].size && insn->imm2 != c->zydis.raw.imm[1].value.u))
		return IMMEDIATE;
	return AGREE;
}

static unsigned compare(struct comparison *c, const uint8_t *bytes, unsigned mode)
{
	int ret = insn_decode(&c->insn, bytes, INSN_MAX_LENGTH, mode);
	bool we_accept = !ret && c->insn.op != OP_UD;

	c->status = ZydisDecoderDecodeFull(&decoders[mode / 32], bytes, INSN_MAX_LENGTH, &c->zydis,
					   c->operands);
	c->memory = NULL;
	if (!ZYAN_SUCCESS(c->status))
		return we_accept ? ONLY_WE_ACCEPT : AGREE;
	if (!we_accept)
		return ONLY_ZYDIS_ACCEPTS;
	if (c->insn.length != c->zydis.length)
		return LENGTH;
	accepted++;
	c->memory = explicit_memory(c);
	if (!!(c->insn.flags & INSN_MEM) != !!c->memory)
		return OPERAND;
	return (c->memory ? compare_operand(c) : AGREE) | compare_immediate(c);
}

static void report(const struct comparison *c, const uint8_t *bytes, unsigned mode,
		   unsigned differences)
{
	char text[3 * INSN_MAX_LENGTH + 1] = "";

	for (unsigned i = 0; i < INSN_MAX_LENGTH; i++)
		snprintf(text + 3 * i, sizeof(text) - 3 * i, "%02x ", bytes[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(difference_names); i++)
		if (differences & 1u << i)
			print_error("%u-bit, %s: %s; we: %s, length %u, operand of %u; Zydis: %s, "
				    "length %u, "
				    "operand of %u (status %#x)\n",
				    mode, text, difference_names[i], insn_op_name(c->insn.op),
				    c->insn.length, insn_mem_bytes(&c->insn),
				    ZYAN_SUCCESS(c->status)
					    ? ZydisMnemonicGetString(c->zydis.mnemonic)
					    : "-",
				    c->zydis.length, c->memory ? c->memory->size / 8 : 0,
				    c->status);
}

static void check(const uint8_t *bytes, unsigned mode)
{
	static struct comparison c;
	unsigned differences = compare(&c, bytes, mode);

	compared++;
	for (unsigned i = 0; i < ARRAY_SIZE(tolerances) && differences; i++) {
		if (differences & tolerances[i].differences && tolerances[i].applies(&c)) {
			differences &= ~tolerances[i].differences;
			tolerated[i]++;
		}
	}
	if (differences && wrong++ < 50)
		report(&c, bytes, mode, differences);
}

static int set_up(void **state)
{
	static const ZydisMachineMode machines[] = { ZYDIS_MACHINE_MODE_LEGACY_16,
						     ZYDIS_MACHINE_MODE_LEGACY_32,
						     ZYDIS_MACHINE_MODE_LONG_64 };
	static const ZydisStackWidth stacks[] = { ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
						  ZYDIS_STACK_WIDTH_64 };

	(void)state;
	compared = accepted = wrong = 0;
	memset(tolerated, 0, sizeof(tolerated));
	for (unsigned i = 0; i < ARRAY_SIZE(decoders); i++) {
		if (ZYAN_FAILED(ZydisDecoderInit(&decoders[i], machines[i], stacks[i])))
			return -1;
		/* Reserved NOPs without these extensions. */
		ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	print_message("%lu encodings compared, %lu of them instructions for both\n", compared,
		      accepted);
	for (unsigned i = 0; i < ARRAY_SIZE(tolerances); i++)
		if (tolerated[i])
			print_message("  %lu tolerated: %s\n", tolerated[i], tolerances[i].reason);
	return 0;
}

static void finish(void)
{
	if (wrong)
		fail_msg("%lu of %lu encodings are decoded differently", wrong, compared);
	assert_true(accepted > compared / 20); /* the comparison is about something */
}

/* ---- what is compared ---- */

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

static const struct {
	uint8_t n, bytes[3];
} prefixes[] = {
	{ 0, { 0 } },
	{ 1, { 0x66 } },
	{ 1, { 0xf2 } },
	{ 1, { 0xf3 } },
	{ 1, { 0xf0 } },
	{ 1, { 0x67 } },
	{ 1, { 0x65 } },
	{ 1, { 0x36 } },
	{ 2, { 0x66, 0xf2 } },
	{ 2, { 0xf3, 0x66 } },
	{ 2, { 0xf2, 0xf3 } },
	{ 2, { 0xf3, 0xf2 } },
	{ 2, { 0x67, 0x66 } },
	{ 2, { 0xf0, 0x66 } },
	{ 2, { 0xf0, 0xf2 } },
	{ 2, { 0xf3, 0xf0 } },
	{ 3, { 0x65, 0x2e, 0xf0 } },
	/* REX; in other modes INC and DEC, which the opcode then follows as another instruction */
	{ 1, { 0x48 } },
	{ 1, { 0x41 } },
	{ 1, { 0x47 } },
	{ 2, { 0x66, 0x48 } },
	{ 2, { 0xf2, 0x48 } },
	{ 2, { 0xf3, 0x4f } },
	{ 2, { 0xf0, 0x48 } },
	{ 2, { 0x48, 0x66 } },
};

static const struct {
	uint8_t n, bytes[2];
} maps[] = { { 0, { 0 } }, { 1, { 0x0f } }, { 2, { 0x0f, 0x38 } }, { 2, { 0x0f, 0x3a } } };

static bool is_rex(uint8_t byte)
{
	return byte >= 0x40 && byte <= 0x4f;
}

static void check_maps(unsigned mode)
{
	uint8_t bytes[INSN_MAX_LENGTH];

	random_state = 0x9e3779b97f4a7c15;
	for (size_t p = 0; p < ARRAY_SIZE(prefixes); p++) {
		if (mode != 64 && is_rex(prefixes[p].bytes[prefixes[p].n ? prefixes[p].n - 1 : 0]))
			continue;
		for (unsigned i = 0; i < 4 * 65536; i++) {
			unsigned map = i >> 16, n = prefixes[p].n;

			memcpy(bytes, prefixes[p].bytes, n);
			memcpy(bytes + n, maps[map].bytes, maps[map].n);
			n += maps[map].n;
			bytes[n++] = i >> 8 & 255;
			bytes[n++] = i & 255;
			for (; n < sizeof(bytes); n++)
				bytes[n] = (uint8_t)(random_bits() >> 32);
			check(bytes, mode);
		}
	}
	finish();
}

static void test_insn_all_opcodes_in_16_bit_code_agree_with_zydis(void **state)
{
	(void)state;
	check_maps(16);
}

static void test_insn_all_opcodes_in_32_bit_code_agree_with_zydis(void **state)
{
	(void)state;
	check_maps(32);
}

static void test_insn_all_opcodes_in_64_bit_code_agree_with_zydis(void **state)
{
	(void)state;
	check_maps(64);
}

static void test_insn_all_addressing_forms_agree_with_zydis(void **state)
{
	static const uint8_t leading[][3] = { { 0x3e, 0x40, 0x01 }, { 0x67, 0x40, 0x87 },
					      { 0x3e, 0x43, 0x8b }, { 0x67, 0x47, 0x31 },
					      { 0x65, 0x4f, 0x29 }, { 0x26, 0x45, 0x89 } };

	(void)state;
	random_state = 0x2545f4914f6cdd1d;
	for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
		for (size_t l = 0; l < ARRAY_SIZE(leading); l++) {
			for (unsigned i = 0; i < 65536; i++) { /* ModRM and SIB */
				uint8_t bytes[INSN_MAX_LENGTH];
				unsigned n = 0;

				bytes[n++] = leading[l][0];
				if (modes[m] == 64)
					bytes[n++] = leading[l][1];
				bytes[n++] = leading[l][2];
				bytes[n++] = i & 255;
				bytes[n++] = i >> 8;
				fill_random(bytes + n, sizeof(bytes) - n);
				check(bytes, modes[m]);
			}
		}
	}
	finish();
}

static void test_insn_vex_evex_xop_agree_with_zydis(void **state)
{
	static const uint8_t escapes[] = { 0xc4, 0xc5, 0x62, 0x8f };

	(void)state;
	random_state = 0xd1342543de82ef95;
	for (unsigned i = 0; i < 600000; i++) {
		uint8_t bytes[INSN_MAX_LENGTH];
		uint8_t escape = escapes[random_bits() >> 40 & 3];
		bool prefixed = !(random_bits() >> 40 & 15);

		fill_random(bytes, sizeof(bytes));
		if (prefixed)
			bytes[0] = prefixes[bytes[0] % ARRAY_SIZE(prefixes)].bytes[0];
		bytes[prefixed] = escape;
		if (escape == 0x62) /* the bit that tells EVEX from Knights Corner */
			bytes[prefixed + 2] |= 4;
		if (random_bits() >> 40 & 1) /* maps that exist */
			bytes[prefixed + 1] = (bytes[prefixed + 1] & 0xe0) |
					      ((escape == 0x8f ? 8 : 1) + bytes[prefixed + 1] % 3);
		check(bytes, modes[i % 3]);
	}
	finish();
}

static void test_insn_random_bytes_agree_with_zydis(void **state)
{
	static const uint8_t any_prefix[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67,
					      0xf0, 0xf0, 0xf2, 0xf3, 0x40, 0x43, 0x48, 0x4f };

	(void)state;
	random_state = 0xaf251af3b0f025b5;
	for (unsigned i = 0; i < 1500000; i++) {
		unsigned n = random_bits() >> 40 & 3;
		uint8_t bytes[INSN_MAX_LENGTH];

		fill_random(bytes, sizeof(bytes));
		for (unsigned p = 0; p < n; p++)
			bytes[p] = any_prefix[bytes[p] & 15];
		if (random_bits() >> 40 & 1)
			bytes[n] = 0x0f;
		check(bytes, modes[i % 3]);
	}
	finish();
}

int main(void)
{
#define CHECKED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CHECKED(test_insn_all_opcodes_in_16_bit_code_agree_with_zydis),
		CHECKED(test_insn_all_opcodes_in_32_bit_code_agree_with_zydis),
		CHECKED(test_insn_all_opcodes_in_64_bit_code_agree_with_zydis),
		CHECKED(test_insn_all_addressing_forms_agree_with_zydis),
		CHECKED(test_insn_vex_evex_xop_agree_with_zydis),
		CHECKED(test_insn_random_bytes_agree_with_zydis),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
