// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stuffed locks: the locked accesses that the processor makes besides an instruction's operand
 * (SDM 11.1.2.1; APM 7.3.3). Accessed and dirty bits of paging structures, the accessed bit of
 * segment descriptors, the busy bit of TSS descriptors.
 */
#include "emu/run.h"
#include "emu/vm.h"

#include <string.h>

static void describe_insn(struct emu_vcpu *v, struct emu_lock *lock)
{
	const struct executing *now = &v->run->executing;
	struct insn i;

	lock->rip = now->rip;
	lock->linear_rip = now->linear_rip;
	lock->cpl = now->cpl;
	lock->mode = now->mode;
	lock->in_delivery = v->vectoring.active;
	/* an event has no instruction of its own */
	if (!lock->in_delivery && !insn_peek(v, now->linear_rip, now->mode, &i)) {
		lock->insn_length = i.length;
		memcpy(lock->insn, i.bytes, i.length);
	}
}

enum outcome stuffed_begin(struct emu_vcpu *v, const struct stuffed_access *access,
			   struct emu_lock *lock)
{
	memset(lock, 0, sizeof(*lock));
	/* where it lies: for a paging structure `linear` is not that, and its entries are aligned */
	lock->cause = lock_cause(v, access->gpa, access->size, access->type);
	if (!lock->cause)
		return DONE;
	lock->cause |= EMU_LOCK_STUFFED;
	lock->stuffed = access->what;
	lock->linear = access->linear;
	lock->gpa = access->gpa;
	lock->size = access->size;
	lock->memory_type = access->type;
	lock->guest_type = access->guest_type;
	describe_insn(v, lock);
	/* AMD's exit comes before the lock, and half a task switch cannot be taken back. */
	if (v->task_committed && v->vm->config.vendor == EMU_AMD)
		return DONE;
	return lock_begin(v, lock);
}

void stuffed_end(struct emu_vcpu *v, const struct emu_lock *lock)
{
	/* cache locks of this kind are not counted: nobody sees them */
	if (!lock->cause)
		return;
	v->stats.locked++;
	v->stats.guest_non_wb += lock->guest_type != EMU_MT_WB;
	note_lock(v, lock);
}
