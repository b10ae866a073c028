/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of single-stepping share: step.c enters, outcome.c says what came of it. */
#ifndef BUSLOCK_WATCH_STEP_H
#define BUSLOCK_WATCH_STEP_H

#include "watch/internal.h"

/* One entry. */
struct watch_once {
	struct watch_look before, after;
	bool shadow; /* `before` loads SS: the next one may be executed in the same step */
	struct watch_look second;
	bool has_target; /* `before` leads somewhere else, and it is known where: */
	uint64_t target; /* RIP */
	bool to_user;    /* … in 64-bit user code */
	long result;
	uint32_t reason;
	bool armed; /* single-step is on, and nothing else */
};

/* ------------------------------------------------------------------ step.c */

bool watch_is_split(const struct watch_look *look);
/* One more split lock on the real device, if it is allowed. */
bool watch_split_lock_allowed(void);
/* The run ends here: `look` must not be run, or has been. */
void watch_end_run(struct watch_vcpu *vcpu, const struct watch_look *look);

/* ------------------------------------------------------------------ stack.c */

/* At the top of the guest's stack. 0, or as watch_linear_read(). */
int watch_stack_read(struct watch_vcpu *vcpu, const struct watch_look *look, uint64_t offset,
		     void *data, size_t size);

/* A stack frame of an event, as its delivery in this mode makes it (SDM 6.12.1, 6.14.2, 20.1.4). */
struct watch_frame {
	uint64_t offset; /* of the image of RIP, from the stack pointer */
	unsigned size;   /* of a word of it */
	uint64_t rip;
};
/* Was an event taken, in front of the instruction, behind it or where it leads? */
bool watch_find_frame(struct watch_vcpu *vcpu, const struct watch_once *step,
		      struct watch_frame *frame);
/* Clears TF in an image of RFLAGS: it is not the guest's. */
void watch_clear_tf(struct watch_vcpu *vcpu, const struct watch_look *look, uint64_t offset);
/* Where control goes that does not go on behind the instruction. */
void watch_find_target(struct watch_vcpu *vcpu, int fd, struct watch_once *step);

/* ------------------------------------------------------------------ outcome.c */

/* `ours`: the exit was a debug exit of ours. */
void watch_judge(struct watch_vcpu *vcpu, int fd, struct watch_once *step, bool ours);

#endif
