// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who called the code that takes a bus lock: a walk along frame pointers, as the psABI has them (BP
 * points at the caller's BP, the return address is above it). Code that keeps something else in BP ends
 * the walk, or is noticed: frames lie above the stack pointer, each above the one before.
 */
#include "vmm_shim/internal.h"

#include <string.h>

#define EFER_LMA (1 << 10)
#define CS_LONG  (1 << 13)
#define SIZE_32  (1 << 14) /* the D or B bit of a segment */

/* No frame is larger, and no frame pointer farther from the stack pointer. */
#define FRAME_LIMIT (1u << 20)

struct walk {
	struct shim_vcpu *vcpu;
	unsigned width; /* of a word on the stack: 2, 4 or 8 */
	uint64_t mask;  /* of an offset */
	uint64_t stack_base, code_base;
};

static void begin(struct walk *walk, struct shim_vcpu *vcpu, const struct emu_state *state)
{
	const struct emu_segment *cs = &state->segment[EMU_CS], *ss = &state->segment[EMU_SS];

	*walk = (struct walk){ .vcpu = vcpu };
	if (state->efer & EFER_LMA && cs->attributes & CS_LONG) {
		walk->width = 8;
		walk->mask = UINT64_MAX;
		return;
	}
	walk->width = cs->attributes & SIZE_32 ? 4 : 2;
	walk->mask = ss->attributes & SIZE_32 ? UINT32_MAX : UINT16_MAX;
	walk->stack_base = ss->base;
	walk->code_base = cs->base;
}

static bool read_word(const struct walk *walk, uint64_t offset, uint64_t *word)
{
	uint64_t linear = walk->stack_base + (offset & walk->mask);

	*word = 0;
	if (walk->width != 8)
		linear = (uint32_t)linear;
	return !walk->vcpu->ops->observed_read(walk->vcpu->emu, linear, word, walk->width);
}

/* Kernels call from kernels, and programs from programs: the upper half of the address space is one,
 * the lower the other. */
static bool same_half(const struct walk *walk, uint64_t a, uint64_t b)
{
	return walk->width != 8 || !((a ^ b) >> 47);
}

unsigned guest_backtrace(struct shim_vcpu *vcpu, uint64_t *frame, unsigned most)
{
	struct emu_state state;
	struct walk walk;
	uint64_t bp, low, caller, target;
	unsigned n = 0;

	vcpu->ops->get_state(vcpu->emu, &state);
	begin(&walk, vcpu, &state);
	bp = state.gpr[EMU_RBP] & walk.mask;
	low = state.gpr[EMU_RSP] & walk.mask;
	while (n < most && bp >= low && bp - low < FRAME_LIMIT && bp % walk.width == 0) {
		if (!read_word(&walk, bp, &caller) || !read_word(&walk, bp + walk.width, &target))
			break;
		if (!target || !same_half(&walk, target, state.rip))
			break;
		frame[n++] = walk.code_base + target;
		low = bp + 1;
		bp = caller & walk.mask;
	}
	return n;
}
