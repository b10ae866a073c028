/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Code that is written: by the guest (self-modifying code, also through another mapping of the same
 * memory) and by the monitor between runs.
 *
 * W^X per page of host memory. A page is executable or writable in the engine's TLB, never both: the
 * first fetch from it marks it as code and takes writable entries away, a write to a code page drops
 * what was translated from it. Bytes of a code page are remembered as they were translated; in each
 * run they are compared before the page executes first. During a run the monitor's writes need not be
 * seen: a change of address space asks for no second look.
 */
#include "emu/vm.h"

#include <stdlib.h>
#include <string.h>

/* Behind region->copy[page]: what was translated. */
struct code_page {
	const struct region *region;
	uint64_t number;    /* of the page in the region */
	uint32_t run;       /* number of the run it was last compared in */
	uint16_t low, high; /* translated bytes lie in [low, high) */
	uint8_t bytes[4096];
};

static uint8_t *page_host(const struct code_page *p)
{
	return p->region->host + (p->number << PAGE_SHIFT);
}

static uint64_t page_number(const struct slot *s, uint64_t gpa)
{
	return (uint64_t)(slot_host(s, gpa) - s->region->host) >> PAGE_SHIFT;
}

static struct code_page *page_of(const struct slot *s, uint64_t gpa)
{
	return (struct code_page *)(void *)s->region->copy[page_number(s, gpa)];
}

static struct code_page *new_page(const struct slot *s, uint64_t gpa)
{
	uint64_t number = page_number(s, gpa);
	struct code_page *p = (struct code_page *)(void *)s->region->copy[number];
	if (!p) {
		p = malloc(sizeof(*p));
		if (!p)
			return NULL;
		s->region->copy[number] = (uint8_t *)p;
	}
	p->region = s->region;
	p->number = number;
	p->low = 4096;
	p->high = 0;
	return p;
}

static bool unchanged(const struct code_page *p)
{
	return p->high <= p->low ||
	       !memcmp(p->bytes + p->low, page_host(p) + p->low, p->high - p->low);
}

void code_forget_hot(struct emu_vm *vm)
{
	vm->hot_pages = 0;
	vm->epoch++;
}

void code_distrust(struct emu_vm *vm)
{
	code_forget_hot(vm);
	vm->run++;
}

/* The engine may fetch from the page until the next flush. */
static void note_hot(struct emu_vm *vm, struct code_page *p)
{
	for (int i = 0; i < vm->hot_pages; i++)
		if (vm->hot[i] == p)
			return;
	if (vm->hot_pages >= 0 && vm->hot_pages < HOT_PAGES)
		vm->hot[vm->hot_pages++] = p;
	else
		vm->hot_pages = -1;
}

/*
 * What may the engine do with this page? False: something has to be done first, outside the engine
 * (a write to code, or code that the monitor changed): code_refused() in run.c.
 */
bool code_fill(struct emu_vcpu *v, const struct slot *s, uint64_t gpa, enum engine_access access,
	       bool may_write, unsigned *perms)
{
	struct emu_vm *vm = v->vm;
	uint8_t *flags = slot_page_flags(s, gpa);
	bool code = page_flags_get(flags) & PAGE_CODE;
	if (v->open_code_page && v->open_code_page == slot_host(s, gpa)) {
		/* one instruction that writes the page it is on */
		*perms = ENGINE_PERM_R | ENGINE_PERM_X | (may_write ? ENGINE_PERM_W : 0);
		return true;
	}
	if (access == ENGINE_FETCH && !code) {
		struct code_page *p = new_page(s, gpa);
		if (!p)
			return false;
		memcpy(p->bytes, page_host(p), sizeof(p->bytes));
		if (page_flags_get(flags) & PAGE_EVER_W) {
			engine_flush_tlb(vm->engine); /* safe inside the fill */
			code_forget_hot(vm);
		}
		page_flags_clear(flags, PAGE_EVER_W);
		page_flags_set(flags, PAGE_CODE);
		p->run = vm->run;
		note_hot(vm, p);
		*perms = ENGINE_PERM_R | ENGINE_PERM_X;
		return true;
	}
	if (!code) {
		*perms = ENGINE_PERM_R;
		if (may_write) {
			*perms |= ENGINE_PERM_W;
			page_flags_set(flags, PAGE_EVER_W);
		}
		return true;
	}
	if (access == ENGINE_WRITE)
		return false;
	struct code_page *p = page_of(s, gpa);
	if (p->run != vm->run) {
		if (!unchanged(p))
			return false;
		p->run = vm->run;
	}
	note_hot(vm, p);
	/* a data read grants X, or constants beside code would ping-pong with fetches */
	*perms = ENGINE_PERM_R | ENGINE_PERM_X;
	return true;
}

/* `length` bytes at gpa, within a page, were looked at for translation. */
void code_scanned(const struct slot *s, uint64_t gpa, unsigned length)
{
	if (!(page_flags_get(slot_page_flags(s, gpa)) & PAGE_CODE))
		return;
	struct code_page *p = page_of(s, gpa);
	unsigned low = (unsigned)(gpa & ~PAGE_MASK), high = low + length;
	const uint8_t *host = page_host(p);
	/* bytes that nothing was translated from so far may have changed since the page was marked */
	if (p->high <= p->low) {
		memcpy(p->bytes + low, host + low, length);
		p->low = (uint16_t)low, p->high = (uint16_t)high;
		return;
	}
	if (low < p->low) {
		memcpy(p->bytes + low, host + low, p->low - low);
		p->low = (uint16_t)low;
	}
	if (high > p->high) {
		memcpy(p->bytes + p->high, host + p->high, high - p->high);
		p->high = (uint16_t)high;
	}
}

void code_drop(struct emu_vcpu *v, const struct slot *s, uint64_t gpa)
{
	if (page_flags_get(slot_page_flags(s, gpa)) & PAGE_CODE) {
		memory_drop_code(&v->vm->memory, s->region, page_number(s, gpa));
		vcpu_flush(v);
	}
}

/* The longest write by hand, linear_write()'s. */
#define LONGEST_WRITE 64

void code_written(struct emu_vcpu *v, const struct slot *s, uint64_t gpa)
{
	if (!(page_flags_get(slot_page_flags(s, gpa)) & PAGE_CODE))
		return;
	/* data beside code: what was translated stays true */
	const struct code_page *p = page_of(s, gpa);
	unsigned at = (unsigned)(gpa & ~PAGE_MASK);
	if (p->high <= p->low || at >= p->high || at + LONGEST_WRITE <= p->low)
		return;
	code_drop(v, s, gpa);
}

/*
 * A page that has lost its code again and again holds code and data that change in turn; its writes
 * are cheaper done one by one than by translating its code anew each time.
 */
#define DROPS_OF_MIXED_PAGE 8

bool code_page_is_mixed(struct emu_vm *vm, const uint8_t *host_page)
{
	struct mixed_page *m = &vm->mixed[((uintptr_t)host_page >> PAGE_SHIFT) % MIXED_PAGES];
	if (m->host != host_page) {
		m->host = host_page;
		m->drops = 0;
	}
	if (m->drops == DROPS_OF_MIXED_PAGE)
		return true;
	m->drops++;
	return false;
}

void code_new_run(struct emu_vm *vm)
{
	bool same = vm->hot_pages >= 0;

	vm->run++;
	for (int i = 0; i < vm->hot_pages && same; i++) {
		same = unchanged(vm->hot[i]);
		vm->hot[i]->run = vm->run;
	}
	if (same)
		return;
	/* each page is compared when it is next fetched from */
	engine_flush_tlb(vm->engine);
	code_distrust(vm);
}
