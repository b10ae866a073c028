/* SPDX-License-Identifier: GPL-2.0-only */
/* An engine that only keeps books of what it was told to map, and complains where the real one would. */
#ifndef BUSLOCK_TESTS_FAKE_ENGINE_H
#define BUSLOCK_TESTS_FAKE_ENGINE_H

#include "tests/unit/fake_vm.h"

#define MB (1ull << 20)

#define ENGINE_MAX 2000 /* as many as the real one takes */

struct fake_engine {
	struct {
		uint8_t *host;
		uint64_t size;
	} mapped[ENGINE_MAX];
	unsigned count, maps, unmaps, drops;
	const void *dropped;
	int fail; /* answer of the next map */
};

static inline int fake_map(void *opaque, void *host, uint64_t size)
{
	struct fake_engine *e = opaque;
	uint8_t *p = host;

	if (e->fail) {
		int ret = e->fail;

		e->fail = 0;
		return ret;
	}
	for (unsigned i = 0; i < e->count; i++)
		assert_true(p + size <= e->mapped[i].host ||
			    e->mapped[i].host + e->mapped[i].size <= p);
	assert_in_range(e->count, 0, ENGINE_MAX - 1);
	e->mapped[e->count].host = host;
	e->mapped[e->count++].size = size;
	e->maps++;
	return 0;
}

static inline void fake_unmap(void *opaque, void *host, uint64_t size)
{
	struct fake_engine *e = opaque;

	for (unsigned i = 0; i < e->count; i++) {
		if (e->mapped[i].host == host && e->mapped[i].size == size) {
			e->mapped[i] = e->mapped[--e->count];
			e->unmaps++;
			return;
		}
	}
	fail_msg("unmapped what was not mapped: %p, %#llx bytes", host, (unsigned long long)size);
}

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
	m->engine_map = fake_map;
	m->engine_unmap = fake_unmap;
	m->engine_drop_page = fake_drop;
	return m;
}

static inline void free_memory(struct memory *m)
{
	memory_destroy(m);
	free(m);
}

static inline bool engine_knows(const uint8_t *host)
{
	for (unsigned i = 0; i < engine.count; i++) {
		if (host - engine.mapped[i].host >= 0 &&
		    (uint64_t)(host - engine.mapped[i].host) < engine.mapped[i].size)
			return true;
	}
	return false;
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
