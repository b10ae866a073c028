// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages whose second level of translation the hypervisor has set up to exit. To the accesses of a vCPU
 * they look like memory without a slot, so that every access finds them; page_exit.c makes the exit.
 */
#include "emu/memory.h"

#include <errno.h>
#include <stdlib.h>

static struct page_intercept *find(const struct memory *m, uint64_t gpa)
{
	for (size_t n = 0; n < m->intercept_count; n++)
		if (m->intercepts[n].gpa == (gpa & PAGE_MASK))
			return &m->intercepts[n];
	return NULL;
}

enum emu_page_intercept memory_intercept(const struct memory *m, uint64_t gpa)
{
	const struct page_intercept *p = m->intercept_count ? find(m, gpa) : NULL;

	if (!p || (p->what == EMU_PAGE_APIC_WRITE && m->apic_write_open))
		return EMU_PAGE_ORDINARY;
	return p->what;
}

int memory_set_intercept(struct memory *m, uint64_t gpa, enum emu_page_intercept what)
{
	struct page_intercept *p = find(m, gpa);

	if (gpa & ~PAGE_MASK || what > EMU_PAGE_APIC_WRITE)
		return -EINVAL;
	if (!p && what == EMU_PAGE_ORDINARY)
		return 0;
	if (!p) {
		p = realloc(m->intercepts, (m->intercept_count + 1) * sizeof(*p));
		if (!p)
			return -ENOMEM;
		m->intercepts = p;
		p += m->intercept_count++;
	}
	*p = (struct page_intercept){ gpa, what };
	if (what == EMU_PAGE_ORDINARY)
		*p = m->intercepts[--m->intercept_count];
	atomic_fetch_add(&m->generation, 1);
	return 0;
}
