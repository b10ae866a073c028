/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host blocks behind slots: between memory.c and region.c. All functions need the VM's run lock.
 */
#ifndef BUSLOCK_EMU_REGION_H
#define BUSLOCK_EMU_REGION_H

#include "emu/memory.h"

#define PAGES(size) ((size) >> PAGE_SHIFT)

/* Translations that anybody holds may be wrong now. */
static inline void memory_changed(struct memory *m)
{
	atomic_fetch_add(&m->generation, 1);
}

/* The region that [host, end) lies in; made, or made larger, if need be. -ENOMEM. */
int region_get(struct memory *m, uint8_t *host, uint8_t *end, struct region **region);
/* A slot lies in the region, or no longer. */
void region_use(struct region *r);
void region_release(struct memory *m, struct region *r);
/* The part of [host, end) in the region went, or came back. */
void region_mark(struct region *r, const uint8_t *host, const uint8_t *end, bool gone);
/* Drop unused regions that are not worth keeping. */
void regions_collect(struct memory *m);
/* Free all, without a word to the engine. */
void regions_free(struct memory *m);

#endif
