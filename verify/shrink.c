// SPDX-License-Identifier: GPL-2.0-only
/* The shortest program that still fails. */
#include "verify/check.h"

#include "emu/insn.h"

#include <string.h>

#define MAX_RUNS 3000

struct shrinker {
	struct checker *checker;
	struct program *best;
	struct finding *finding;
	unsigned runs;
	int error;
	bool smaller; /* in this round */
};

/* Becomes the best if it fails, too. */
static bool try(struct shrinker *s, const struct program *candidate)
{
	if (s->error || s->runs++ >= MAX_RUNS)
		return false;
	s->error = check(s->checker, candidate, s->finding);
	if (s->error || s->finding->verdict != VERDICT_DIFFERENT)
		return false;
	*s->best = *candidate;
	s->smaller = true;
	return true;
}

/* Delta debugging: without ever smaller pieces. */
static void fewer_items(struct shrinker *s)
{
	for (unsigned piece = s->best->items; piece; piece /= 2) {
		for (unsigned at = 0; at + piece <= s->best->items;) {
			struct program candidate = *s->best;

			program_remove(&candidate, at, piece);
			if (!try(s, &candidate))
				at += piece;
		}
	}
}

/* MOV register, immediate: the program may start with the value. */
static void fold_moves(struct shrinker *s)
{
	for (unsigned at = 0; at < s->best->items; at++) {
		struct program candidate = *s->best;
		struct item *item = &candidate.item[at];
		struct insn insn;
		uint64_t mask;

		if (item->fix ||
		    insn_decode(&insn, item->bytes, item->length, candidate.mode->code) ||
		    insn.map != MAP_ONE || (insn.opcode & 0xf8) != 0xb8)
			continue;
		mask = insn.opsize == 2 ? 0xffff : UINT64_MAX;
		candidate.gpr[insn.reg] = (candidate.gpr[insn.reg] & ~mask) | (insn.imm & mask);
		program_remove(&candidate, at, 1);
		if (try(s, &candidate))
			at--;
	}
}

static void plainer_start(struct shrinker *s)
{
	for (unsigned i = 0; i < 16; i++) {
		struct program candidate = *s->best;

		if (!candidate.gpr[i] || i == 4)
			continue;
		candidate.gpr[i] = 0;
		try(s, &candidate);
	}
	for (unsigned i = 0; i < 6; i++) {
		struct program candidate = *s->best;

		if (!candidate.base[i])
			continue;
		candidate.base[i] = 0;
		try(s, &candidate);
	}
	for (unsigned what = 0; what < 3; what++) {
		struct program candidate = *s->best;
		uint64_t *value = what == 0   ? &candidate.fill
				  : what == 1 ? &candidate.answers
					      : &candidate.rflags;
		uint64_t plain = what == 2 ? 2 : 0;

		if (*value == plain)
			continue;
		*value = plain;
		try(s, &candidate);
	}
}

/* Immediates become 0, then 1. */
static void plainer_operands(struct shrinker *s)
{
	for (unsigned at = 0; at < s->best->items; at++) {
		struct program candidate = *s->best;
		struct item *item = &candidate.item[at];
		struct insn insn;
		bool zero = true;

		if (item->fix == FIX_RELATIVE ||
		    insn_decode(&insn, item->bytes, item->length, candidate.mode->code) ||
		    !insn.imm_size || item->fix_at + item->fix_size == item->length)
			continue;
		for (unsigned i = 0; i < insn.imm_size; i++)
			zero &= !item->bytes[item->length - 1 - i];
		if (zero)
			continue;
		memset(item->bytes + item->length - insn.imm_size, 0, insn.imm_size);
		try(s, &candidate);
	}
}

/* Prefixes that change nothing. */
static void fewer_prefixes(struct shrinker *s)
{
	for (unsigned at = 0; at < s->best->items; at++) {
		struct program candidate = *s->best;
		struct item *item = &candidate.item[at];

		switch (item->bytes[0]) {
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
		case 0x64:
		case 0x65:
		case 0x66:
		case 0x67:
		case 0xf0:
		case 0xf2:
		case 0xf3:
			break;
		default:
			continue;
		}
		memmove(item->bytes, item->bytes + 1, --item->length);
		item->fix_at -= item->fix != FIX_NONE;
		try(s, &candidate);
	}
}

int shrink(struct checker *checker, struct program *program, struct finding *finding)
{
	struct shrinker s = { .checker = checker, .best = program, .finding = finding };

	/* a difference that is not about time shall not become one */
	checker->hurried = finding->other.end != END_LIMIT;
	do {
		s.smaller = false;
		fewer_items(&s);
		fold_moves(&s);
		plainer_start(&s);
		plainer_operands(&s);
		fewer_prefixes(&s);
	} while (s.smaller && !s.error && s.runs < MAX_RUNS);
	checker->hurried = false;
	return s.error ? s.error : check(checker, program, finding);
}
