/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which PAT entry an access goes by: the page's own bits, and for each paging structure the bits of what
 * leads to it, in every paging mode (SDM 4.9.2; tables 4-3 to 4-6, 4-7 to 4-11, 4-12 to 4-20).
 */
#include "tests/unit/fake_vm.h"

#define LINEAR    0x12345678ull
#define FRAME     0x200000ull
#define PAT_4K    (1u << 7)
#define PAT_LARGE (1u << 12)

/* Entry n of the PAT is a type of its own, as far as there are enough: WB WT UC- UC WP WC. */
#define PAT_ALL 0x0000010500070406ull

static void uses(struct machine *m, enum emu_memory_policy policy)
{
	memory_set_policy(&m->vm.memory, policy, false);
	m->v.types.pat = PAT_ALL;
}

static uint64_t bits_of(unsigned index, unsigned pat_bit)
{
	return (index & 1 ? PWT : 0) | (index & 2 ? PCD : 0) | (index & 4 ? pat_bit : 0);
}

/* The levels at which a page may be mapped: 4 KB; 2 and 4 MB; 1 GB. */
static unsigned leaf_levels(enum paging paging)
{
	return paging == PAGING_4 || paging == PAGING_5 ? 3 : 2;
}

static void test_page_goes_by_the_bits_of_its_own_entry(void **state)
{
	struct machine *m = *state;

	for (enum paging paging = 0; paging < PAGINGS; paging++) {
		for (unsigned level = 1; level <= leaf_levels(paging); level++) {
			for (unsigned index = 0; index < 8; index++) {
				uint64_t leaf = P | RW | A | D |
						bits_of(index, level == 1 ? PAT_4K : PAT_LARGE);
				struct walk w;

				memset(&m->v.cpu, 0, sizeof(m->v.cpu));
				/* all bits in the entries above: they say nothing of the page */
				page_map(m, paging, LINEAR, level, leaf | (level > 1 ? PS : FRAME),
					 P | RW | A | PWT | PCD);
				assert_int_equal(page_walk(&m->v, LINEAR, WALK_READ, &w), DONE);
				assert_int_equal(w.pat_index, index);
			}
		}
	}
}

/* What leads to a table: CR3 to the top one, the entry above to any other. */
static void lead(struct machine *m, enum paging paging, unsigned level, uint64_t bits)
{
	unsigned top = paging_info[paging].levels;

	if (level == top)
		m->v.cpu.cr3 |= bits;
	else
		entry_put(m, paging, level + 1, LINEAR,
			  entry_get(m, paging, level + 1, LINEAR) | bits);
}

static void test_table_goes_by_what_leads_to_it(void **state)
{
	static const uint8_t type[] = { EMU_MT_WB, EMU_MT_WT, EMU_MT_UC, EMU_MT_UC };
	struct machine *m = *state;

	uses(m, EMU_MEMORY_WB);
	for (enum paging paging = 0; paging < PAGINGS; paging++) {
		for (unsigned level = 1; level <= paging_info[paging].levels; level++) {
			for (unsigned index = 0; index < 4; index++) {
				bool pdptes = paging == PAGING_PAE && level == 3;
				struct walk w;

				memset(&m->v.cpu, 0, sizeof(m->v.cpu));
				page_map(m, paging, LINEAR, 1, FRAME | P | RW | A | D, P | RW | A);
				lead(m, paging, level, bits_of(index, 0));
				/* PAE's PDPTEs have no A bit, and CR3 no such bits */
				if (!pdptes)
					entry_put(m, paging, level, LINEAR,
						  entry_get(m, paging, level, LINEAR) &
							  ~(uint64_t)A);
				m->vm.stuffed = 0;
				assert_int_equal(page_walk(&m->v, LINEAR, WALK_READ, &w), DONE);
				assert_int_equal(w.pat_index, 0);
				assert_int_equal(m->vm.stuffed, index && !pdptes);
				if (!m->vm.stuffed)
					continue;
				assert_int_equal(m->vm.stuffed_access.what, EMU_STUFFED_PAGING);
				assert_int_equal(m->vm.stuffed_access.type, type[index]);
				assert_int_equal(m->vm.stuffed_access.gpa,
						 entry_gpa(paging, level, LINEAR));
				assert_int_equal(m->vm.stuffed_access.linear, LINEAR);
				assert_int_equal(m->vm.stuffed_access.size,
						 paging_info[paging].entry_size);
				assert_true(entry_get(m, paging, level, LINEAR) & A);
			}
		}
	}
}

/* A large page's own table is of the level above 4 KB. */
static void test_table_of_a_large_page(void **state)
{
	struct machine *m = *state;
	struct walk w;

	uses(m, EMU_MEMORY_WB);
	for (enum paging paging = 0; paging < PAGINGS; paging++) {
		memset(&m->v.cpu, 0, sizeof(m->v.cpu));
		page_map(m, paging, LINEAR, 2, P | RW | PS | A, P | RW | A);
		lead(m, paging, 2, paging == PAGING_PAE || paging == PAGING_32 ? PWT : PCD);
		m->vm.stuffed = 0;
		assert_int_equal(page_walk(&m->v, LINEAR, WALK_WRITE, &w), DONE);
		assert_int_equal(m->vm.stuffed, 1); /* D */
		assert_int_equal(m->vm.stuffed_access.gpa, entry_gpa(paging, 2, LINEAR));
		assert_true(entry_get(m, paging, 2, LINEAR) & D);
	}
}

/* With CR4.PCIDE bits 3 and 4 of CR3 are a PCID (SDM 4.9.2). */
static void test_top_table_with_pcid_is_index_0(void **state)
{
	struct machine *m = *state;
	struct walk w;

	uses(m, EMU_MEMORY_WB);
	for (unsigned pcid = 0; pcid < 2; pcid++) {
		memset(&m->v.cpu, 0, sizeof(m->v.cpu));
		page_map(m, PAGING_4, LINEAR, 1, FRAME | P | RW | A | D, P | RW | A);
		entry_put(m, PAGING_4, 4, LINEAR, TABLE(3) | P | RW);
		m->v.cpu.cr3 |= PWT | PCD;
		if (pcid)
			m->v.cpu.cr4 |= CR4_PCIDE;
		m->vm.stuffed = 0;
		assert_int_equal(page_walk(&m->v, LINEAR, WALK_READ, &w), DONE);
		assert_int_equal(m->vm.stuffed, !pcid);
	}
}

/* The engine asks without taking a lock: refused, and nothing that is not WB has changed. */
static void test_walk_without_bus_locks_leaves_the_bits_alone(void **state)
{
	struct machine *m = *state;
	struct memory *mem = &m->vm.memory;
	struct walk w;

	for (enum paging paging = 0; paging < PAGINGS; paging++) {
		memset(&m->v.cpu, 0, sizeof(m->v.cpu));
		page_map(m, paging, LINEAR, 1, FRAME | P | RW, P | RW | A);
		m->vm.stuffed = 0;
		assert_int_equal(memory_declare_type(mem, TABLE(1), 0x1000, EMU_MT_UC), 0);
		assert_int_equal(page_walk(&m->v, LINEAR, WALK_READ | WALK_NO_BUS_LOCK, &w),
				 UNHANDLED);
		assert_int_equal(page_walk(&m->v, LINEAR,
					   WALK_FETCH | WALK_NO_BUS_LOCK | WALK_NO_SIDE_EFFECTS,
					   &w),
				 UNHANDLED);
		assert_int_equal(page_walk(&m->v, LINEAR, WALK_READ | WALK_NO_SIDE_EFFECTS, &w),
				 DONE);
		assert_int_equal(entry_get(m, paging, 1, LINEAR) & (A | D), 0);
		assert_int_equal(m->vm.stuffed, 0);
		/* set already, or WB: as ever; and only to look sets none */
		entry_put(m, paging, 1, LINEAR, FRAME | P | RW | A);
		assert_int_equal(page_walk(&m->v, LINEAR, WALK_READ | WALK_NO_BUS_LOCK, &w), DONE);
		assert_int_equal(page_walk(&m->v, LINEAR, WALK_WRITE | WALK_NO_BUS_LOCK, &w),
				 UNHANDLED);
		assert_int_equal(memory_declare_type(mem, TABLE(1), 0x1000, EMU_MT_WB), 0);
		assert_int_equal(page_walk(&m->v, LINEAR,
					   WALK_WRITE | WALK_NO_BUS_LOCK | WALK_NO_SIDE_EFFECTS,
					   &w),
				 DONE);
		assert_int_equal(entry_get(m, paging, 1, LINEAR) & D, 0);
		assert_int_equal(page_walk(&m->v, LINEAR, WALK_WRITE | WALK_NO_BUS_LOCK, &w), DONE);
		assert_true(entry_get(m, paging, 1, LINEAR) & D);
		assert_int_equal(m->vm.stuffed, 0);
	}
}

/* A refused lock ends the walk at that entry; those above keep their new bits. */
static void test_walk_ends_where_a_lock_is_refused(void **state)
{
	struct machine *m = *state;
	struct walk w;

	page_map(m, PAGING_4, LINEAR, 1, FRAME | P | RW, P | RW);
	assert_int_equal(memory_declare_type(&m->vm.memory, TABLE(2), 0x1000, EMU_MT_UC), 0);
	m->vm.stuffed_answer = EXIT;
	assert_int_equal(page_walk(&m->v, LINEAR, WALK_READ, &w), EXIT);
	assert_true(entry_get(m, PAGING_4, 3, LINEAR) & A);
	assert_false(entry_get(m, PAGING_4, 2, LINEAR) & A);
	assert_false(entry_get(m, PAGING_4, 1, LINEAR) & A);
	assert_int_equal(m->vm.stuffed_ends, 0);
	m->vm.stuffed_answer = DONE;
	assert_int_equal(page_walk(&m->v, LINEAR, WALK_READ, &w), DONE);
	assert_int_equal(m->vm.stuffed, 2);
	assert_int_equal(m->vm.stuffed_ends, 1);
	assert_true(entry_get(m, PAGING_4, 1, LINEAR) & A);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_page_goes_by_the_bits_of_its_own_entry),
		TEST(test_table_goes_by_what_leads_to_it),
		TEST(test_table_of_a_large_page),
		TEST(test_top_table_with_pcid_is_index_0),
		TEST(test_walk_without_bus_locks_leaves_the_bits_alone),
		TEST(test_walk_ends_where_a_lock_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
