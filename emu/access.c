// SPDX-License-Identifier: GPL-2.0-only
/*
 * Data accesses by hand: what the instructions that do not run in the engine, event delivery and
 * descriptor loads read and write. Segment checks, then the walker behind a small translation cache.
 */
#include "emu/access.h"

#include <stdlib.h>
#include <string.h>

enum outcome raise(struct emu_vcpu *v, unsigned vector)
{
	v->fault = (struct fault){ .vector = (uint8_t)vector };
	return FAULT;
}

enum outcome raise_error(struct emu_vcpu *v, unsigned vector, uint32_t error)
{
	v->fault = (struct fault){ .vector = (uint8_t)vector, .has_error = true, .error = error };
	return FAULT;
}

enum outcome raise_pf(struct emu_vcpu *v, uint64_t linear, uint32_t error)
{
	v->fault = (struct fault){
		.vector = EXC_PF, .has_error = true, .error = error, .cr2 = linear
	};
	return FAULT;
}

/* ------------------------------------------------------------------ translation cache */

/*
 * An entry is found by a tag of linear page and, in the low bits, everything else that a TLB's answer
 * depends on between two flushes: kind of access, privilege, RFLAGS.AC, and the number of the flush
 * it was made after. An entry for writing serves reads, too.
 */
enum {
	TAG_WRITE = 1 << 0,
	TAG_FETCH = 1 << 1,
	TAG_USER = 1 << 2,
	TAG_SYSTEM = 1 << 3,
	TAG_AC = 1 << 4,
	TAG_FLUSH_SHIFT = 5, /* 7 bits; 0 is never current, so that zeroed entries are free */
	TAG_FLUSHES = 1 << (PAGE_SHIFT - TAG_FLUSH_SHIFT),
};

struct access_entry {
	uint64_t tag;
	uint8_t *host;  /* of the page */
	uint8_t *flags; /* PAGE_ */
	uint64_t gpa;   /* of the page */
	const struct slot *slot;
	/* Only locked accesses ask for the types: found out when the first one does. */
	bool has_types;
	uint8_t pat_index;
	struct memory_types types;
};

struct access_cache {
	struct memory *memory;
	uint64_t generation; /* of `memory`, when the entries were made */
	unsigned flush;
	struct access_entry entry[DATA_CACHE_SIZE];
};

struct access_cache *access_cache_new(struct memory *m)
{
	struct access_cache *cache = calloc(1, sizeof(*cache));

	if (cache) {
		cache->memory = m;
		cache->flush = 1;
	}
	return cache;
}

void access_cache_free(struct access_cache *cache)
{
	free(cache);
}

void access_flush(struct emu_vcpu *v)
{
	struct access_cache *cache = v->cache;

	if (++cache->flush == TAG_FLUSHES) {
		memset(cache->entry, 0, sizeof(cache->entry));
		cache->flush = 1;
	}
}

/* Privilege of an access with ACCESS_ flags, as the tag has it. */
static inline unsigned tag_privilege(const struct cpu *c, unsigned flags)
{
	if (flags & ACCESS_SYSTEM)
		return TAG_SYSTEM;
	if (c->cpl == 3)
		return TAG_USER;
	return c->rflags & FL_AC ? TAG_AC : 0;
}

static unsigned walk_access(unsigned tag)
{
	unsigned access = 0;

	if (tag & TAG_WRITE)
		access |= WALK_WRITE;
	else
		access |= tag & TAG_FETCH ? WALK_FETCH : WALK_READ;
	if (tag & TAG_USER)
		access |= WALK_USER;
	if (tag & TAG_SYSTEM)
		access |= WALK_SYSTEM;
	return access;
}

/* `how`: WALK_ besides what the tag says. */
static enum outcome cache_fill(struct emu_vcpu *v, uint64_t linear, unsigned tag, unsigned how,
			       struct access_entry *entry)
{
	struct access_cache *cache = v->cache;
	enum outcome outcome;
	struct walk w;

	entry->tag = 0;
	outcome = page_walk(v, linear, walk_access(tag) | how, &w);
	if (outcome)
		return outcome;
	entry->slot = slot_find(v->vm, w.gpa);
	/* a write to a read-only slot goes to the monitor (KVM api.rst 4.35, KVM_MEM_READONLY) */
	if (!entry->slot || (tag & TAG_WRITE && entry->slot->flags & EMU_MEM_READONLY)) {
		v->mmio_gpa = w.gpa;
		v->missing = (struct missing){ .linear = linear, .access = walk_access(tag) };
		return MMIO;
	}
	/* what the next access is likely to be: a write after a read */
	if (w.write_ok && !(tag & TAG_FETCH) && !(entry->slot->flags & EMU_MEM_READONLY))
		tag |= TAG_WRITE;
	entry->gpa = w.gpa & PAGE_MASK;
	entry->host = slot_host(entry->slot, entry->gpa);
	entry->flags = slot_page_flags(entry->slot, entry->gpa);
	entry->has_types = false;
	entry->pat_index = w.pat_index;
	entry->tag = (linear & PAGE_MASK) | cache->flush << TAG_FLUSH_SHIFT | tag;
	return DONE;
}

/* Translate the page of `linear`; `kind`: 0 (read), TAG_WRITE or TAG_FETCH. */
static inline enum outcome translate(struct emu_vcpu *v, uint64_t linear, unsigned kind,
				     unsigned flags, struct access_entry **found)
{
	struct access_cache *cache = v->cache;
	uint64_t generation =
		atomic_load_explicit(&cache->memory->generation, memory_order_relaxed);
	unsigned tag = kind | tag_privilege(&v->cpu, flags);
	struct access_entry *entry;
	enum outcome outcome;
	uint64_t want;

	if (cache->generation != generation) {
		cache->generation = generation;
		access_flush(v);
	}
	want = (linear & PAGE_MASK) | cache->flush << TAG_FLUSH_SHIFT | tag;
	entry = &cache->entry[(linear >> PAGE_SHIFT ^ (kind & TAG_FETCH) << 6) % DATA_CACHE_SIZE];
	if (entry->tag != want && (kind || entry->tag != (want | TAG_WRITE))) {
		outcome = cache_fill(v, linear, tag, 0, entry);
		if (outcome)
			return outcome;
	}
	if (page_flags_get(entry->flags) & PAGE_GONE)
		return HOST_GONE;
	*found = entry;
	return DONE;
}

/* Ranges of types are of whole pages (MTRRs, declarations): one answer for all of the page. */
static __attribute__((noinline)) void find_types(struct emu_vcpu *v, struct access_entry *entry)
{
	entry->types = memory_types(v, entry->gpa, entry->pat_index);
	entry->has_types = true;
}

static inline struct memory_types entry_types(struct emu_vcpu *v, struct access_entry *entry)
{
	if (!entry->has_types)
		find_types(v, entry);
	return entry->types;
}

/* The page is going to be written now. */
static inline void write_begin(struct emu_vcpu *v, const struct access_entry *entry, uint64_t gpa)
{
	const struct slot *slot = entry->slot; /* a flush on the way may clear the entry */

	if (page_flags_get(entry->flags) & PAGE_CODE)
		code_written(v, slot, gpa);
	slot_mark_dirty(slot, gpa);
}

enum outcome access_lookup(struct emu_vcpu *v, uint64_t linear, bool write, unsigned flags,
			   struct access_page *out)
{
	struct access_entry *entry;
	enum outcome outcome = translate(v, linear, write ? TAG_WRITE : 0, flags, &entry);

	if (outcome)
		return outcome;
	out->host = entry->host + (linear & ~PAGE_MASK);
	out->gpa = entry->gpa | (linear & ~PAGE_MASK);
	out->slot = entry->slot;
	out->types = entry_types(v, entry);
	if (write)
		write_begin(v, entry, out->gpa);
	return DONE;
}

/* As translate(), but without a bus lock on the way and without dropping code: the engine is running. */
uint8_t *access_running(struct emu_vcpu *v, uint64_t linear, struct access_page *out)
{
	struct access_cache *cache = v->cache;
	unsigned tag = TAG_WRITE | tag_privilege(&v->cpu, 0);
	struct access_entry *entry = &cache->entry[(linear >> PAGE_SHIFT) % DATA_CACHE_SIZE];

	if (cache->generation !=
	    atomic_load_explicit(&cache->memory->generation, memory_order_relaxed))
		return NULL;
	if (entry->tag != ((linear & PAGE_MASK) | cache->flush << TAG_FLUSH_SHIFT | tag) &&
	    cache_fill(v, linear, tag, WALK_NO_BUS_LOCK, entry))
		return NULL;
	if (page_flags_get(entry->flags) & (PAGE_GONE | PAGE_CODE))
		return NULL;
	out->host = entry->host + (linear & ~PAGE_MASK);
	out->gpa = entry->gpa | (linear & ~PAGE_MASK);
	out->slot = entry->slot;
	out->types = entry_types(v, entry);
	return out->host;
}

/* ------------------------------------------------------------------ linear memory */

/* An access of at most 64 bytes touches at most two pages. */
struct part {
	struct access_entry entry; /* a copy: two pages may share a place in the cache */
	uint64_t linear;
	unsigned size;
};

/* Linear address of the next page. */
static uint64_t next_page(const struct cpu *c, uint64_t linear, unsigned flags)
{
	uint64_t next = (linear & PAGE_MASK) + PAGE_SIZE;

	/* 32-bit addresses wrap, in compatibility mode as well; page_walk() does it for the others */
	if (next == 1ull << 32 && !in_64bit(c) && !(flags & ACCESS_SYSTEM))
		next = 0;
	return next;
}

/* Both outcomes of an access: the guest's fault is reported before the host's troubles and MMIO. */
static enum outcome worse(enum outcome first, enum outcome second)
{
	static const enum outcome order[] = { FAULT, HOST_GONE, MMIO };

	for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (first == order[i] || second == order[i])
			return order[i];
	}
	return DONE;
}

/* Translate all of an access before any of it is made. */
static enum outcome translate_parts(struct emu_vcpu *v, uint64_t linear, unsigned size,
				    unsigned kind, unsigned flags, struct part part[2],
				    unsigned *parts)
{
	unsigned room = (unsigned)(PAGE_SIZE - (linear & ~PAGE_MASK));
	enum outcome outcome[2] = { DONE, DONE };
	struct missing missing;
	uint64_t mmio_gpa;

	part[0].linear = linear;
	part[0].size = size < room ? size : room;
	part[1].linear = next_page(&v->cpu, linear, flags);
	part[1].size = size - part[0].size;
	*parts = part[1].size ? 2 : 1;
	for (unsigned i = 0; i < *parts; i++) {
		struct access_entry *entry;

		mmio_gpa = v->mmio_gpa;
		missing = v->missing;
		outcome[i] = translate(v, part[i].linear, kind, flags, &entry);
		if (outcome[i] == FAULT || outcome[i] == EXIT)
			return outcome[i];
		if (!outcome[i])
			part[i].entry = *entry;
		if (i && outcome[0] == MMIO) {
			v->mmio_gpa = mmio_gpa;
			v->missing = missing;
		}
	}
	return worse(outcome[0], outcome[1]);
}

/* One access for the sizes that the CPU makes in one: nobody sees half of it. */
static inline void copy_in_one(void *to, const void *from, unsigned size)
{
	switch (size) {
	case 1:
		memcpy(to, from, 1);
		break;
	case 2:
		memcpy(to, from, 2);
		break;
	case 4:
		memcpy(to, from, 4);
		break;
	case 8:
		memcpy(to, from, 8);
		break;
	default:
		memcpy(to, from, size);
	}
}

enum outcome linear_read(struct emu_vcpu *v, uint64_t linear, void *data, unsigned size,
			 unsigned flags)
{
	struct part part[2];
	enum outcome outcome;
	uint8_t *to = data;
	unsigned parts;

	outcome = translate_parts(v, linear, size, 0, flags, part, &parts);
	if (outcome)
		return outcome;
	for (unsigned i = 0; i < parts; to += part[i++].size)
		copy_in_one(to, part[i].entry.host + (part[i].linear & ~PAGE_MASK), part[i].size);
	return DONE;
}

enum outcome linear_write(struct emu_vcpu *v, uint64_t linear, const void *data, unsigned size,
			  unsigned flags)
{
	const uint8_t *from = data;
	struct part part[2];
	enum outcome outcome;
	unsigned parts;

	outcome = translate_parts(v, linear, size, TAG_WRITE, flags, part, &parts);
	if (outcome)
		return outcome;
	for (unsigned i = 0; i < parts; from += part[i++].size) {
		uint64_t offset = part[i].linear & ~PAGE_MASK;

		write_begin(v, &part[i].entry, part[i].entry.gpa | offset);
		copy_in_one(part[i].entry.host + offset, from, part[i].size);
	}
	return DONE;
}

enum outcome linear_probe_write(struct emu_vcpu *v, uint64_t linear, unsigned size, unsigned flags)
{
	struct part part[2];
	unsigned parts;

	return translate_parts(v, linear, size, TAG_WRITE, flags, part, &parts);
}

enum outcome access_types(struct emu_vcpu *v, uint64_t linear, unsigned size, uint64_t *gpa,
			  struct memory_types *types)
{
	struct part part[2];
	unsigned parts;
	enum outcome outcome =
		translate_parts(v, linear, size, TAG_WRITE, ACCESS_SYSTEM, part, &parts);

	if (outcome)
		return outcome;
	*gpa = part[0].entry.gpa | (linear & ~PAGE_MASK);
	*types = entry_types(v, &part[0].entry);
	if (parts == 2)
		*types = memory_types_both(*types, entry_types(v, &part[1].entry));
	return DONE;
}

/* ------------------------------------------------------------------ segments */

static enum outcome segment_fault(struct emu_vcpu *v, unsigned seg)
{
	return raise_error(v, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}

/* 64-bit mode: no limits, no types, bases of FS and GS only (SDM 6.3.1, vol. 1 3.3.7.1). */
static enum outcome seg_linear_64(struct emu_vcpu *v, unsigned seg, uint64_t offset, unsigned size,
				  uint64_t *linear)
{
	const struct cpu *c = &v->cpu;

	*linear = offset;
	if (seg == SEG_FS || seg == SEG_GS)
		*linear += c->segment[seg].base;
	if (!canonical(c, *linear) || !canonical(c, *linear + size - 1))
		return segment_fault(v, seg);
	return DONE;
}

/* Does the segment's type allow the access (SDM 6.4.1, "Type checking")? */
static bool segment_type_allows(uint32_t flags, bool write)
{
	if (!(flags & DESC_P)) /* loaded with a null selector */
		return false;
	if (flags & DESC_CODE)
		return !write && flags & DESC_READABLE;
	return !write || flags & DESC_WRITABLE;
}

/* SDM 6.3 "Limit checking". */
static bool segment_limit_allows(const struct segment *s, uint64_t offset, unsigned size)
{
	uint64_t last = offset + size - 1, limit = s->limit;

	if ((s->flags & (DESC_CODE | DESC_EXPAND_DOWN)) == DESC_EXPAND_DOWN) {
		if (offset <= limit)
			return false;
		limit = s->flags & DESC_DB ? 0xffffffff : 0xffff;
	}
	if (offset > limit)
		return false;
	/*
	 * Past the end of a segment of 4 GB the address may wrap or fault (SDM 6.3, "may vary from
	 * one execution to another"); Linux's __linearize() lets it wrap.
	 */
	return last <= limit || limit == 0xffffffff;
}

enum outcome seg_linear(struct emu_vcpu *v, unsigned seg, uint64_t offset, unsigned size,
			bool write, uint64_t *linear)
{
	const struct cpu *c = &v->cpu;
	struct segment s = c->segment[seg];

	if (in_64bit(c))
		return seg_linear_64(v, seg, offset, size, linear);
	offset = (uint32_t)offset;
	if (in_protected(c)) {
		if (!segment_type_allows(s.flags, write))
			return segment_fault(v, seg);
	} else if (!(s.flags & DESC_P)) {
		/*
		 * In real and virtual-8086 mode every segment can be used: the engine leaves the
		 * attributes (and limit 0) of a null selector behind where hardware makes the
		 * segment usable again with the next load.
		 */
		s.limit = 0xffff;
		s.flags = DESC_P | DESC_S | DESC_WRITABLE;
	}
	if (!segment_limit_allows(&s, offset, size))
		return segment_fault(v, seg);
	*linear = (uint32_t)(s.base + offset);
	return DONE;
}

enum outcome seg_read(struct emu_vcpu *v, unsigned seg, uint64_t offset, void *data, unsigned size)
{
	uint64_t linear;
	enum outcome outcome = seg_linear(v, seg, offset, size, false, &linear);

	return outcome ? outcome : linear_read(v, linear, data, size, 0);
}

enum outcome seg_write(struct emu_vcpu *v, unsigned seg, uint64_t offset, const void *data,
		       unsigned size)
{
	uint64_t linear;
	enum outcome outcome = seg_linear(v, seg, offset, size, true, &linear);

	return outcome ? outcome : linear_write(v, linear, data, size, 0);
}

/* ------------------------------------------------------------------ instruction bytes */

/* Linear address of the byte `n` behind RIP; #GP(0) behind the limit of CS. */
static enum outcome fetch_linear(struct emu_vcpu *v, size_t n, uint64_t *linear)
{
	const struct cpu *c = &v->cpu;
	const struct segment *cs = &c->segment[EMU_CS];

	if (in_64bit(c)) {
		*linear = c->rip + n;
		return DONE; /* the walker checks for canonical addresses */
	}
	if (c->rip + n > cs->limit)
		return raise_error(v, EXC_GP, 0);
	*linear = (uint32_t)(cs->base + c->rip + n);
	return DONE;
}

static enum outcome fetch_page(struct emu_vcpu *v, size_t n, const uint8_t **host, uint64_t *rest)
{
	struct access_entry *entry;
	enum outcome outcome;
	uint64_t linear;

	outcome = fetch_linear(v, n, &linear);
	if (!outcome)
		outcome = translate(v, linear, TAG_FETCH, 0, &entry);
	if (outcome)
		return outcome;
	*host = entry->host + (linear & ~PAGE_MASK);
	*rest = PAGE_SIZE - (linear & ~PAGE_MASK);
	return DONE;
}

enum outcome fetch_insn(struct emu_vcpu *v, uint8_t bytes[INSN_MAX_LENGTH], size_t *n)
{
	const struct cpu *c = &v->cpu;
	uint64_t limit = c->segment[EMU_CS].limit, want = INSN_MAX_LENGTH, rest;
	const uint8_t *host;
	enum outcome outcome;
	struct missing missing;
	struct fault fault;
	uint64_t mmio_gpa;

	*n = 0;
	outcome = fetch_page(v, 0, &host, &rest);
	if (outcome)
		return outcome;
	if (!in_64bit(c) && limit - c->rip < want)
		want = limit - c->rip + 1;
	if (want <= rest) {
		memcpy(bytes, host, want);
		*n = want;
		return DONE;
	}
	memcpy(bytes, host, rest);
	*n = rest;

	/* the next page only if it is there: the instruction may end before it */
	fault = v->fault;
	mmio_gpa = v->mmio_gpa;
	missing = v->missing;
	if (fetch_page(v, *n, &host, &rest)) {
		v->fault = fault;
		v->mmio_gpa = mmio_gpa;
		v->missing = missing;
		return DONE;
	}
	memcpy(bytes + *n, host, want - *n);
	*n = want;
	return DONE;
}

enum outcome fetch_fault(struct emu_vcpu *v, size_t n)
{
	const uint8_t *host;
	uint64_t rest;

	/* longer than 15 bytes (SDM vol. 2, 2.3.11) */
	if (n >= INSN_MAX_LENGTH)
		return raise_error(v, EXC_GP, 0);
	return fetch_page(v, n, &host, &rest);
}
