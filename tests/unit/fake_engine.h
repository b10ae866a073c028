/* SPDX-License-Identifier: GPL-2.0-only */
/* An engine that only keeps books of what it was told to forget. */
#ifndef BUSLOCK_TESTS_FAKE_ENGINE_H
#define BUSLOCK_TESTS_FAKE_ENGINE_H

#include "tests/unit/fake_vm.h"

#define MB (1ull << 20)

struct fake_engine {
	unsigned drops;
	const void *dropped;
};

static inline void fake_drop(void *opaque, const void *host_page)
{
	struct fake_engine *e = opaque;

	e->drops++;
	e->dropped = host_page;
}

static struct fake_engine engine;

static inline struct memory *new_memory(void)
{
	struct memory *m = malloc(sizeof(*m));

	memset(&engine, 0, sizeof(engine));
	memory_init(m);
	m->engine = &engine;
	m->engine_drop_page = fake_drop;
	return m;
}

static inline void free_memory(struct memory *m)
{
	memory_destroy(m);
	free(m);
}

static inline const struct region *region_at(const struct memory *m, const uint8_t *host)
{
	for (const struct region *r = m->regions; r; r = r->next) {
		if (host - r->host >= 0 && (uint64_t)(host - r->host) < r->size)
			return r;
	}
	return NULL;
}

/* A page with translated code and its copy. */
static inline void make_code(struct memory *m, uint64_t gpa)
{
	const struct slot *s = memory_find(m, gpa);
	uint8_t *flags = slot_page_flags(s, gpa);

	page_flags_set(flags, PAGE_CODE | PAGE_CHECKED);
	s->region->copy[flags - s->region->page] = malloc(4096);
}

static inline unsigned flags_at(struct memory *m, uint64_t gpa)
{
	return page_flags_get(slot_page_flags(memory_find(m, gpa), gpa));
}

/* xorshift: the same sequence everywhere */
static uint64_t seed = 88172645463325252ull;
static inline uint64_t random64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

#endif
