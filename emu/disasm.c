/* SPDX-License-Identifier: GPL-2.0-only */
#include "emu/disasm.h"

#include <capstone/capstone.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "emu/insn.h"

/* One for each mode, opened on first use and kept; a handle must not be used by two threads. */
static struct {
	pthread_mutex_t lock;
	csh handles[3];
	cs_insn *result;
} capstone = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool is_string_op(const struct insn *insn)
{
	return (insn->op >= OP_MOVS && insn->op <= OP_SCAS) || insn->op == OP_INS ||
	       insn->op == OP_OUTS;
}

static bool is_prefix(uint8_t byte, unsigned mode)
{
	return byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e ||
	       (byte >= 0x64 && byte <= 0x67) || byte == 0xf0 || byte == 0xf2 || byte == 0xf3 ||
	       (mode == 64 && byte >= 0x40 && byte <= 0x4f);
}

static bool needs_rep(const struct insn *insn)
{
	if (insn->map != MAP_ONE) /* often part of the opcode */
		return !(insn->flags & INSN_LOCKED);
	return is_string_op(insn) || insn->op == OP_PAUSE || insn->op == OP_BRANCH;
}

/* Instructions that are #UD without being nonsense: other processors have them, or it is their job. */
static bool has_name(const struct insn *insn)
{
	if (insn->flags & INSN_LOCK)
		return false;
	if (insn->map == MAP_ONE) /* XABORT, XBEGIN */
		return (insn->opcode == 0xc6 || insn->opcode == 0xc7) && insn->modrm == 0xf8;
	if (insn->map != MAP_0F)
		return false;
	if (insn->opcode == 0x01) /* XEND, XTEST, AMD's MONITORX to RDPRU */
		return insn->modrm == 0xd5 || insn->modrm == 0xd6 ||
		       (insn->modrm >= 0xfa && insn->modrm <= 0xfd);
	return insn->opcode == 0x0b || insn->opcode == 0x0e ||
	       insn->opcode == 0x0f; /* UD2, 3DNow! */
}

/*
 * The same instruction with only the prefixes that have an effect, in the one order Capstone knows
 * best. As they come, it loses LOCK beside F2 or F3, doubles the operand size for 66 beside them,
 * and rejects 67 in front of them. LOCK is left out: the caller writes it. Returns the length.
 */
static size_t canonical_bytes(const struct insn *insn, uint8_t out[INSN_MAX_LENGTH + 1])
{
	static const uint8_t overrides[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };
	size_t n = 0, opcode = 0, rep = 0;
	bool notrack = false;

	for (; opcode < insn->length && is_prefix(insn->bytes[opcode], insn->mode); opcode++) {
		if (insn->bytes[opcode] == 0xf2 || insn->bytes[opcode] == 0xf3)
			rep = insn->bytes[opcode];
		notrack |= insn->bytes[opcode] == 0x3e;
	}
	if (insn->flags & INSN_SEG_OVERRIDE)
		out[n++] = overrides[insn->seg];
	else if (notrack && insn->op == OP_BRANCH)
		out[n++] = 0x3e;
	if (insn->flags & INSN_ADDRSIZE)
		out[n++] = 0x67;
	/* 66 does nothing to branches in 64-bit mode, nor beside REX.W, but Capstone thinks it does */
	if (insn->flags & INSN_OPSIZE &&
	    !(insn->mode == 64 &&
	      (insn->op == OP_BRANCH || (insn->map == MAP_ONE && insn->rex & 8))))
		out[n++] = 0x66;
	if (rep && needs_rep(insn))
		out[n++] = (uint8_t)rep;
	if (insn->rex)
		out[n++] = insn->rex;
	memcpy(out + n, insn->bytes + opcode, insn->length - opcode);
	return n + insn->length - opcode;
}

/* Call with the lock held. Capstone's text of exactly `n` bytes, in capstone.result. */
static int run_capstone(const uint8_t *bytes, size_t n, uint64_t rip, unsigned mode)
{
	unsigned which = mode == 64 ? 2 : mode == 32 ? 1 : 0;
	csh *handle = &capstone.handles[which];

	if (!*handle) {
		static const cs_mode modes[] = { CS_MODE_16, CS_MODE_32, CS_MODE_64 };

		if (cs_open(CS_ARCH_X86, modes[which], handle) != CS_ERR_OK) {
			*handle = 0;
			return -ENOMEM;
		}
	}
	if (!capstone.result) {
		capstone.result = cs_malloc(*handle); /* detail is off: good for every handle */
		if (!capstone.result)
			return -ENOMEM;
	}
	if (!cs_disasm_iter(*handle, &bytes, &n, &rip, capstone.result) || n)
		return -EILSEQ;
	return 0;
}

int disasm_text(char *out, size_t size, const uint8_t *bytes, size_t n, uint64_t rip, unsigned mode)
{
	struct insn insn;
	uint8_t canonical[INSN_MAX_LENGTH + 1];
	const char *prefix = "";
	size_t length;
	int ret = -EILSEQ;

	if (insn_decode(&insn, bytes, n, mode))
		goto bad;
	if (insn.op == OP_UD && !has_name(&insn))
		goto bad;
	length = canonical_bytes(&insn, canonical);
	if (insn.flags & INSN_LOCK)
		prefix = "lock ";

	pthread_mutex_lock(&capstone.lock);
	/* relative operands count from the end of the instruction as it was */
	ret = run_capstone(canonical, length, rip + insn.length - length, mode);
	if (!ret)
		snprintf(out, size, "%s%s%s%s", prefix, capstone.result->mnemonic,
			 capstone.result->op_str[0] ? " " : "", capstone.result->op_str);
	pthread_mutex_unlock(&capstone.lock);
	if (!ret)
		return 0;
bad:
	snprintf(out, size, "(bad)");
	return ret;
}
