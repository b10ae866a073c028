// SPDX-License-Identifier: GPL-2.0-only
/* access.c: linear accesses, their translation cache, segment checks, instruction bytes. */
#include "tests/unit/fake_vm.h"

#include <stdio.h>

#define LINEAR 0x40000000ull /* where page_fill() begins, mapped in order */
#define FRAME  0x200000ull
#define PAGES  16

/* Long mode, 64-bit code at CPL 0; PAGES user pages from LINEAR on. */
static void long_mode(struct machine *m)
{
	struct cpu *c = &m->v.cpu;

	memset(c, 0, sizeof(*c));
	for (unsigned i = 0; i < PAGES; i++)
		page_map(m, PAGING_4, LINEAR + i * 0x1000, 1, (FRAME + i * 0x1000) | P | RW | US,
			 P | RW | US);
	c->cr0 |= CR0_WP;
	c->segment[EMU_CS].flags = DESC_P | DESC_S | DESC_CODE | DESC_READABLE | DESC_L;
}

/* Protected mode without paging: 32-bit, flat segments. */
static void flat_mode(struct machine *m)
{
	struct cpu *c = &m->v.cpu;

	memset(c, 0, sizeof(*c));
	c->cr0 = CR0_PE;
	for (unsigned i = 0; i < 6; i++) {
		c->segment[i].limit = 0xffffffff;
		c->segment[i].flags = DESC_P | DESC_S | DESC_WRITABLE | DESC_DB | DESC_G;
	}
	c->segment[EMU_CS].flags = DESC_P | DESC_S | DESC_CODE | DESC_READABLE | DESC_DB | DESC_G;
}

static void set_leaf(struct machine *m, uint64_t linear, uint64_t leaf)
{
	entry_put(m, PAGING_4, 1, linear, leaf);
	access_flush(&m->v);
}

static void assert_fault(struct machine *m, unsigned vector, uint32_t error)
{
	assert_int_equal(m->v.fault.vector, vector);
	assert_true(m->v.fault.has_error);
	assert_int_equal(m->v.fault.error, error);
}

static uint8_t *page_flags(struct machine *m, uint64_t gpa)
{
	return slot_page_flags(memory_find(&m->vm.memory, gpa), gpa);
}

/* ------------------------------------------------------------------ raising */

static void test_raise_fills_fault(void **state)
{
	struct machine *m = *state;

	m->v.fault.has_error = true;
	assert_int_equal(raise(&m->v, EXC_UD), FAULT);
	assert_int_equal(m->v.fault.vector, EXC_UD);
	assert_false(m->v.fault.has_error);
	assert_int_equal(raise_error(&m->v, EXC_GP, 0x28), FAULT);
	assert_fault(m, EXC_GP, 0x28);
	assert_int_equal(raise_pf(&m->v, 0xffff800012345678, 6), FAULT);
	assert_fault(m, EXC_PF, 6);
	assert_int_equal(m->v.fault.cr2, 0xffff800012345678);
}

/* ------------------------------------------------------------------ reading and writing */

static void test_linear_all_sizes_and_offsets_round_trip(void **state)
{
	struct machine *m = *state;
	uint8_t data[64], back[64];

	long_mode(m);
	/* the second page lies in front of the first */
	set_leaf(m, LINEAR, (FRAME + 0x1000) | P | RW);
	set_leaf(m, LINEAR + 0x1000, FRAME | P | RW);
	for (unsigned size = 1; size <= 64; size++) {
		for (unsigned offset = 0x1000 - 65; offset <= 0x1001; offset++) {
			for (unsigned i = 0; i < size; i++)
				data[i] = (uint8_t)(size * 7 + offset + i * 13);
			memset(m->ram + FRAME, 0xcc, 0x2000);
			assert_int_equal(linear_write(&m->v, LINEAR + offset, data, size, 0), DONE);
			for (unsigned i = 0; i < 0x2000; i++) {
				/* where the byte at FRAME + i is seen */
				unsigned at = i ^ 0x1000;
				uint8_t expected = at - offset < size ? data[at - offset] : 0xcc;

				if (m->ram[FRAME + i] != expected)
					fail_msg("size %u offset %#x: byte %#x", size, offset, i);
			}
			memset(back, 0, sizeof(back));
			assert_int_equal(linear_read(&m->v, LINEAR + offset, back, size, 0), DONE);
			assert_memory_equal(back, data, size);
		}
	}
}

static void test_linear_fault_on_second_page_writes_nothing(void **state)
{
	struct machine *m = *state;
	uint64_t value = 0x1122334455667788;

	long_mode(m);
	set_leaf(m, LINEAR + 0x1000, 0);
	assert_int_equal(linear_write(&m->v, LINEAR + 0xffc, &value, 8, 0), FAULT);
	assert_fault(m, EXC_PF, PF_W);
	assert_int_equal(m->v.fault.cr2, LINEAR + 0x1000);
	assert_int_equal(get32(m, FRAME + 0xffc), 0);
	assert_int_equal(linear_read(&m->v, LINEAR + 0xffc, &value, 8, 0), FAULT);
	assert_fault(m, EXC_PF, 0);
	assert_int_equal(linear_probe_write(&m->v, LINEAR + 0xffc, 8, 0), FAULT);
	assert_fault(m, EXC_PF, PF_W);
	assert_int_equal(linear_probe_write(&m->v, LINEAR + 0xff8, 8, 0), DONE);

	/* and on the first */
	assert_int_equal(linear_write(&m->v, LINEAR + 0x1ffc, &value, 8, 0), FAULT);
	assert_int_equal(m->v.fault.cr2, LINEAR + 0x1ffc);
	assert_int_equal(get32(m, FRAME + 0x2000), 0);

	/* both: the first is reported */
	set_leaf(m, LINEAR + 0x2000, 0);
	assert_int_equal(linear_write(&m->v, LINEAR + 0x1ffc, &value, 8, 0), FAULT);
	assert_int_equal(m->v.fault.cr2, LINEAR + 0x1ffc);
}

static void test_linear_privilege_user_supervisor_system(void **state)
{
	struct machine *m = *state;
	struct cpu *c = &m->v.cpu;
	uint32_t value = 1;

	long_mode(m);
	set_leaf(m, LINEAR, FRAME | P | RW);                     /* supervisor */
	set_leaf(m, LINEAR + 0x1000, (FRAME + 0x1000) | P | US); /* user, read-only */
	c->cpl = 3;
	assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, 0), FAULT);
	assert_fault(m, EXC_PF, PF_P | PF_U);
	assert_int_equal(linear_write(&m->v, LINEAR, &value, 4, 0), FAULT);
	assert_fault(m, EXC_PF, PF_P | PF_U | PF_W);
	assert_int_equal(linear_write(&m->v, LINEAR, &value, 4, ACCESS_SYSTEM), DONE);
	/* what the system access has left in the cache is not for the user */
	assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, 0), FAULT);
	c->cpl = 0;
	assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, 0), DONE);
	c->cpl = 3;
	assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, 0), FAULT);
	assert_int_equal(linear_read(&m->v, LINEAR + 0x1000, &value, 4, 0), DONE);
	assert_int_equal(linear_write(&m->v, LINEAR + 0x1000, &value, 4, 0), FAULT);
	assert_fault(m, EXC_PF, PF_P | PF_U | PF_W);
}

static void test_linear_smap_and_ac_without_flush(void **state)
{
	struct machine *m = *state;
	struct cpu *c = &m->v.cpu;
	uint32_t value;

	long_mode(m);
	c->cr4 |= CR4_SMAP;
	for (unsigned round = 0; round < 3; round++) { /* STAC and CLAC flush nothing */
		c->rflags = 0;
		assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, 0), FAULT);
		assert_fault(m, EXC_PF, PF_P);
		c->rflags = FL_AC;
		assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, 0), DONE);
		c->rflags = 0;
		assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, 0), FAULT);
		c->rflags = FL_AC;
		assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, 0), DONE);
		assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, ACCESS_SYSTEM), FAULT);
		c->cpl = 3;
		assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, 0), DONE);
		assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, ACCESS_SYSTEM), FAULT);
		c->cpl = 0;
	}
}

static void test_linear_non_canonical_is_gp(void **state)
{
	struct machine *m = *state;
	uint64_t value;

	long_mode(m);
	assert_int_equal(linear_read(&m->v, 0x800000000000, &value, 8, 0), FAULT);
	assert_fault(m, EXC_GP, 0);
}

static void test_linear_wraps_at_4_gb_in_32_bit_code(void **state)
{
	struct machine *m = *state;
	struct cpu *c = &m->v.cpu;
	uint8_t *high = host_pages(0x1000);
	uint32_t value = 0x44332211;

	assert_int_equal(memory_map(&m->vm.memory, 1, 0xfffff000, 0x1000, high, 0), 0);
	flat_mode(m);
	assert_int_equal(linear_write(&m->v, 0xfffffffe, &value, 4, 0), DONE);
	assert_int_equal(high[0xfff], 0x22);
	assert_int_equal(m->ram[0], 0x33);
	assert_int_equal(m->ram[1], 0x44);
	/* compatibility mode wraps, 64-bit mode and the CPU's own accesses do not */
	long_mode(m);
	page_map(m, PAGING_4, 0, 1, FRAME | P | RW | US, P | RW | US);
	page_map(m, PAGING_4, 0x100000000, 1, (FRAME + 0x2000) | P | RW | US, P | RW | US);
	page_map(m, PAGING_4, 0xfffff000, 1, (FRAME + 0x1000) | P | RW | US, P | RW | US);
	/* 0 and 4 GB share an index in the last table: give 4 GB its own */
	put64(m, entry_gpa(PAGING_4, 3, 0x100000000), 0x60000 | P | RW | US);
	put64(m, 0x60000, 0x61000 | P | RW | US);
	put64(m, 0x61000, (FRAME + 0x2000) | P | RW | US);
	page_map(m, PAGING_4, 0, 1, FRAME | P | RW | US, P | RW | US);
	access_flush(&m->v);
	assert_int_equal(linear_write(&m->v, 0xfffffffe, &value, 4, 0), DONE);
	assert_int_equal(m->ram[FRAME], 0);
	assert_int_equal(m->ram[FRAME + 0x2000], 0x33);
	c->segment[EMU_CS].flags &= ~(uint32_t)DESC_L;
	assert_int_equal(linear_write(&m->v, 0xfffffffe, &value, 4, 0), DONE);
	assert_int_equal(m->ram[FRAME], 0x33);
	m->ram[FRAME] = 0;
	assert_int_equal(linear_write(&m->v, 0xfffffffe, &value, 4, ACCESS_SYSTEM), DONE);
	assert_int_equal(m->ram[FRAME], 0);
	munmap(high, 0x1000);
}

/* ------------------------------------------------------------------ memory that is special */

static void test_linear_no_slot_is_mmio(void **state)
{
	struct machine *m = *state;
	uint64_t value = 0x1122334455667788;

	flat_mode(m);
	assert_int_equal(linear_read(&m->v, 0xfee00030, &value, 4, 0), MMIO);
	assert_int_equal(m->v.mmio_gpa, 0xfee00030);
	assert_int_equal(linear_write(&m->v, 0xfee000b0, &value, 4, 0), MMIO);
	assert_int_equal(m->v.mmio_gpa, 0xfee000b0);
	/* half in RAM: nothing is written, and the address is where MMIO begins */
	assert_int_equal(linear_write(&m->v, RAM_SIZE - 4, &value, 8, 0), MMIO);
	assert_int_equal(m->v.mmio_gpa, RAM_SIZE);
	assert_int_equal(get32(m, RAM_SIZE - 4), 0);
	/* both halves: the first one's address */
	assert_int_equal(linear_read(&m->v, 0xfee00ffc, &value, 8, 0), MMIO);
	assert_int_equal(m->v.mmio_gpa, 0xfee00ffc);
}

static void test_linear_fault_beats_mmio(void **state)
{
	struct machine *m = *state;
	uint64_t value = 0;

	long_mode(m);
	set_leaf(m, LINEAR, 0xfe000000 | P | RW | US);
	set_leaf(m, LINEAR + 0x1000, 0);
	assert_int_equal(linear_write(&m->v, LINEAR + 0xffc, &value, 8, 0), FAULT);
	assert_int_equal(m->v.fault.cr2, LINEAR + 0x1000);
	set_leaf(m, LINEAR + 0x1000, (FRAME + 0x1000) | P | RW);
	memory_host_range_gone(&m->vm.memory, m->ram + FRAME + 0x1000, 0x1000);
	assert_int_equal(linear_write(&m->v, LINEAR + 0xffc, &value, 8, 0), HOST_GONE);
}

static void test_linear_readonly_slot_write_is_mmio(void **state)
{
	struct machine *m = *state;
	uint32_t value = 0x55aa55aa;
	struct access_page page;

	flat_mode(m);
	assert_int_equal(linear_write(&m->v, 0x3000, &value, 4, 0), DONE);
	assert_int_equal(memory_set_flags(&m->vm.memory, RAM_SLOT, EMU_MEM_READONLY), 0);
	value = 0;
	assert_int_equal(linear_write(&m->v, 0x3004, &value, 4, 0), MMIO);
	assert_int_equal(m->v.mmio_gpa, 0x3004);
	assert_int_equal(access_lookup(&m->v, 0x3002, true, 0, &page), MMIO);
	assert_int_equal(m->v.mmio_gpa, 0x3002);
	assert_int_equal(linear_probe_write(&m->v, 0x3000, 4, 0), MMIO);
	assert_int_equal(linear_read(&m->v, 0x3000, &value, 4, 0), DONE);
	assert_int_equal(value, 0x55aa55aa);
	assert_int_equal(linear_write(&m->v, 0x3000, &value, 4, 0), MMIO); /* after the read, too */
}

static void test_linear_gone_page_is_host_gone(void **state)
{
	struct machine *m = *state;
	uint32_t value = 1;

	flat_mode(m);
	assert_int_equal(linear_write(&m->v, 0x3000, &value, 4, 0), DONE); /* now cached */
	memory_host_range_gone(&m->vm.memory, m->ram + 0x3000, 0x1000);
	assert_int_equal(linear_write(&m->v, 0x3000, &value, 4, 0), HOST_GONE);
	assert_int_equal(linear_read(&m->v, 0x3000, &value, 4, 0), HOST_GONE);
	assert_int_equal(linear_read(&m->v, 0x2ffe, &value, 4, 0), HOST_GONE);
	assert_int_equal(linear_read(&m->v, 0x2ffc, &value, 4, 0), DONE);
	memory_host_range_back(&m->vm.memory, m->ram + 0x3000, 0x1000);
	assert_int_equal(linear_write(&m->v, 0x3000, &value, 4, 0), DONE);
	/* the flag alone, set between look-up and use of an entry */
	page_flags_set(page_flags(m, 0x3000), PAGE_GONE);
	assert_int_equal(linear_write(&m->v, 0x3000, &value, 4, 0), HOST_GONE);
}

static void test_linear_write_to_code_page_tells(void **state)
{
	struct machine *m = *state;
	uint64_t value = 0;
	struct access_page page;

	flat_mode(m);
	assert_int_equal(linear_write(&m->v, 0x3000, &value, 8, 0), DONE); /* now cached */
	page_flags_set(page_flags(m, 0x3000), PAGE_CODE);
	page_flags_set(page_flags(m, 0x4000), PAGE_CODE);
	assert_int_equal(linear_read(&m->v, 0x3ffc, &value, 8, 0), DONE);
	assert_int_equal(linear_probe_write(&m->v, 0x3ffc, 8, 0), DONE);
	assert_int_equal(access_lookup(&m->v, 0x3ffc, false, 0, &page), DONE);
	assert_int_equal(m->vm.code_writes, 0);
	assert_int_equal(linear_write(&m->v, 0x3008, &value, 8, 0), DONE);
	assert_int_equal(m->vm.code_writes, 1);
	assert_int_equal(m->vm.code_gpa, 0x3008);
	assert_int_equal(linear_write(&m->v, 0x3ffc, &value, 8, 0), DONE);
	assert_int_equal(m->vm.code_writes, 2);
	assert_int_equal(m->vm.code_gpa, 0x4000);
	page_flags_set(page_flags(m, 0x4000), PAGE_CODE);
	assert_int_equal(access_lookup(&m->v, 0x4005, true, 0, &page), DONE);
	assert_int_equal(m->vm.code_writes, 3);
	assert_int_equal(m->vm.code_gpa, 0x4005);
	assert_int_equal(linear_write(&m->v, 0x3ffc, &value, 8, 0), DONE);
	assert_int_equal(m->vm.code_writes, 3);
}

static void test_linear_write_enters_dirty_log(void **state)
{
	struct machine *m = *state;
	struct memory *mem = &m->vm.memory;
	uint64_t log[RAM_SIZE / 4096 / 64], value = 0;
	struct access_page page;

	flat_mode(m);
	assert_int_equal(memory_set_flags(mem, RAM_SLOT, EMU_MEM_LOG_DIRTY), 0);
	assert_int_equal(linear_read(&m->v, 0x1ffc, &value, 8, 0), DONE);
	assert_int_equal(linear_probe_write(&m->v, 0x1ffc, 8, 0), DONE);
	assert_int_equal(access_lookup(&m->v, 0x1000, false, 0, &page), DONE);
	assert_int_equal(memory_dirty_log(mem, RAM_SLOT, log, false), 0);
	assert_int_equal(log[0], 0);
	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(linear_write(&m->v, 0x1ffc, &value, 8, 0), DONE);
		assert_int_equal(access_lookup(&m->v, 0x5000, true, 0, &page), DONE);
		assert_int_equal(memory_dirty_log(mem, RAM_SLOT, log, true), 0);
		assert_int_equal(log[0], 1 << 1 | 1 << 2 | 1 << 5);
	}
}

/* ------------------------------------------------------------------ the cache */

static void test_lookup_gives_host_gpa_and_type(void **state)
{
	struct machine *m = *state;
	struct access_page page;

	long_mode(m);
	assert_int_equal(access_lookup(&m->v, LINEAR + 0x2345, true, 0, &page), DONE);
	assert_ptr_equal(page.host, m->ram + FRAME + 0x2345);
	assert_int_equal(page.gpa, FRAME + 0x2345);
	assert_int_equal(page.types.effective, EMU_MT_WB);
	assert_int_equal(page.slot->number, RAM_SLOT);
	assert_int_equal(memory_declare_type(&m->vm.memory, FRAME + 0x2000, 0x1000, EMU_MT_UC), 0);
	assert_int_equal(access_lookup(&m->v, LINEAR + 0x2345, true, 0, &page), DONE);
	assert_int_equal(page.types.effective, EMU_MT_UC);
	assert_int_equal(access_lookup(&m->v, LINEAR + 0x3345, false, 0, &page), DONE);
	assert_int_equal(page.types.effective, EMU_MT_WB);
}

/* A TLB may hold what the tables no longer say, until it is flushed (SDM 5.10.4). */
static void test_cache_keeps_translation_until_flush(void **state)
{
	struct machine *m = *state;
	struct access_page page;

	long_mode(m);
	for (unsigned round = 0; round < 1000; round++) { /* more than flush numbers */
		uint64_t frame = FRAME + (round & 7) * 0x1000,
			 linear = LINEAR + round % PAGES * 0x1000;

		entry_put(m, PAGING_4, 1, linear, frame | P | RW);
		access_flush(&m->v);
		assert_int_equal(access_lookup(&m->v, linear, round & 8, 0, &page), DONE);
		assert_int_equal(page.gpa, frame);
		entry_put(m, PAGING_4, 1, linear, 0x300000 | P | RW);
		assert_int_equal(access_lookup(&m->v, linear, round & 8, 0, &page), DONE);
		assert_int_equal(page.gpa, frame);
	}
}

/* Flushes are numbered, and the numbers come round. */
static void test_cache_entry_stays_forgotten_after_any_number_of_flushes(void **state)
{
	struct machine *m = *state;
	struct access_page page;

	long_mode(m);
	for (unsigned flushes = 1; flushes <= 600; flushes++) {
		entry_put(m, PAGING_4, 1, LINEAR, FRAME | P | RW);
		access_flush(&m->v);
		assert_int_equal(access_lookup(&m->v, LINEAR, true, 0, &page), DONE);
		assert_int_equal(page.gpa, FRAME);
		entry_put(m, PAGING_4, 1, LINEAR, 0x300000 | P | RW);
		for (unsigned i = 0; i < flushes; i++)
			access_flush(&m->v);
		assert_int_equal(access_lookup(&m->v, LINEAR, true, 0, &page), DONE);
		assert_int_equal(page.gpa, 0x300000);
	}
}

static void test_cache_write_sets_dirty_after_read(void **state)
{
	struct machine *m = *state;
	struct access_page page;

	long_mode(m);
	assert_int_equal(access_lookup(&m->v, LINEAR, false, 0, &page), DONE);
	assert_int_equal(entry_get(m, PAGING_4, 1, LINEAR) & (A | D), A);
	assert_int_equal(access_lookup(&m->v, LINEAR, true, 0, &page), DONE);
	assert_int_equal(entry_get(m, PAGING_4, 1, LINEAR) & (A | D), A | D);
}

static void test_cache_entry_for_reading_does_not_serve_writes(void **state)
{
	struct machine *m = *state;
	uint32_t value;

	long_mode(m);
	set_leaf(m, LINEAR, FRAME | P | A | D); /* read-only */
	assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, 0), DONE);
	assert_int_equal(linear_write(&m->v, LINEAR, &value, 4, 0), FAULT);
	assert_fault(m, EXC_PF, PF_P | PF_W);
	assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, 0), DONE);
}

/* Pages that share a place in the cache, both halves of one access. */
static void test_cache_conflicting_pages_are_told_apart(void **state)
{
	struct machine *m = *state;
	struct access_page page;

	long_mode(m);
	page_map(m, PAGING_4, LINEAR + DATA_CACHE_SIZE * 0x1000ull, 1, 0x300000 | P | RW,
		 P | RW | US);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(access_lookup(&m->v, LINEAR, true, 0, &page), DONE);
		assert_int_equal(page.gpa, FRAME);
		assert_int_equal(access_lookup(&m->v, LINEAR + DATA_CACHE_SIZE * 0x1000ull, true, 0,
					       &page),
				 DONE);
		assert_int_equal(page.gpa, 0x300000);
	}
}

static void test_cache_notices_slot_changes(void **state)
{
	struct machine *m = *state;
	uint8_t *host = host_pages(0x1000);
	uint8_t byte;

	flat_mode(m);
	host[0] = 0x77;
	assert_int_equal(linear_read(&m->v, 0x800000, &byte, 1, 0), MMIO);
	assert_int_equal(memory_map(&m->vm.memory, 1, 0x800000, 0x1000, host, 0), 0);
	assert_int_equal(linear_read(&m->v, 0x800000, &byte, 1, 0), DONE);
	assert_int_equal(byte, 0x77);
	assert_int_equal(memory_unmap(&m->vm.memory, 1), 0);
	assert_int_equal(linear_read(&m->v, 0x800000, &byte, 1, 0), MMIO);
	munmap(host, 0x1000);
}

/* An entry in the cache saves the walk; the bits that it set are set. */
static void test_cache_hit_updates_no_bits(void **state)
{
	struct machine *m = *state;
	uint32_t value;

	long_mode(m);
	assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, 0), DONE);
	assert_int_equal(memory_declare_type(&m->vm.memory, TABLE(1), 0x1000, EMU_MT_UC), 0);
	assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, 0), DONE);
	assert_int_equal(m->vm.stuffed, 0); /* A was set already */
	assert_int_equal(linear_write(&m->v, LINEAR, &value, 4, 0), DONE);
	assert_int_equal(m->vm.stuffed, 1);
	assert_int_equal(linear_write(&m->v, LINEAR, &value, 4, 0), DONE);
	assert_int_equal(m->vm.stuffed, 1);
}

/* What is asked in front of a bus lock may end an access; nothing has been written then. */
static void test_access_refused_by_stuffed_lock_changes_nothing(void **state)
{
	static const enum outcome answer[] = { FAULT, EXIT };
	struct machine *m = *state;
	uint64_t value = 0x1122334455667788, across = LINEAR + 0x1ffc;

	long_mode(m);
	assert_int_equal(memory_declare_type(&m->vm.memory, TABLE(1), 0x1000, EMU_MT_UC), 0);
	for (unsigned n = 0; n < 2; n++) {
		m->vm.stuffed_answer = answer[n];
		assert_int_equal(linear_write(&m->v, across, &value, 8, 0), answer[n]);
		assert_int_equal(linear_read(&m->v, across, &value, 8, 0), answer[n]);
		assert_int_equal(get32(m, FRAME + 0x1ffc) | get32(m, FRAME + 0x2000), 0);
		assert_int_equal(m->vm.stuffed_ends, 0);
	}
	m->vm.stuffed_answer = DONE;
	assert_int_equal(linear_write(&m->v, across, &value, 8, 0), DONE);
	assert_int_equal(m->vm.stuffed_ends, 2); /* two pages */
}

/* A structure on two pages: the type that is not WB, whichever page has it. */
static void test_types_of_two_pages_are_the_one_that_is_not_wb(void **state)
{
	struct machine *m = *state;
	struct memory *mem = &m->vm.memory;
	struct memory_types types;
	uint64_t gpa;

	long_mode(m);
	assert_int_equal(access_types(&m->v, LINEAR + 0x1ffc, 8, &gpa, &types), DONE);
	assert_int_equal(gpa, FRAME + 0x1ffc);
	assert_int_equal(types.effective, EMU_MT_WB);
	assert_int_equal(memory_declare_type(mem, FRAME + 0x2000, 0x1000, EMU_MT_WT), 0);
	assert_int_equal(access_types(&m->v, LINEAR + 0x1ffc, 8, &gpa, &types), DONE);
	assert_int_equal(types.effective, EMU_MT_WT);
	assert_int_equal(memory_declare_type(mem, FRAME + 0x1000, 0x1000, EMU_MT_WP), 0);
	assert_int_equal(access_types(&m->v, LINEAR + 0x1ffc, 8, &gpa, &types), DONE);
	assert_int_equal(types.effective, EMU_MT_WP);
	assert_int_equal(access_types(&m->v, LINEAR + 0x1ff8, 8, &gpa, &types), DONE);
	assert_int_equal(types.effective, EMU_MT_WP);
	assert_int_equal(access_types(&m->v, LINEAR + 0x2000, 8, &gpa, &types), DONE);
	assert_int_equal(types.effective, EMU_MT_WT);
}

/* ------------------------------------------------------------------ segments */

#define DATA    (DESC_P | DESC_S)
#define DATA_W  (DESC_P | DESC_S | DESC_WRITABLE)
#define CODE_X  (DESC_P | DESC_S | DESC_CODE)
#define CODE_R  (DESC_P | DESC_S | DESC_CODE | DESC_READABLE)
#define DOWN    (DESC_P | DESC_S | DESC_WRITABLE | DESC_EXPAND_DOWN)
#define DOWN_32 (DOWN | DESC_DB)
#define CONFORM (CODE_R | DESC_CONFORMING)

static const struct {
	const char *what;
	uint32_t flags, limit;
	uint64_t offset;
	unsigned size;
	bool write, fine;
} segment_rows[] = {
	{ "read data", DATA, 0xfff, 0, 4, false, true },
	{ "write read-only data", DATA, 0xfff, 0, 4, true, false },
	{ "write data", DATA_W, 0xfff, 0, 4, true, true },
	{ "null", 0, 0xffffffff, 0, 1, false, false },
	{ "null, write", 0, 0xffffffff, 0, 1, true, false },
	{ "read execute-only code", CODE_X, 0xffff, 0, 1, false, false },
	{ "read code", CODE_R, 0xffff, 0, 1, false, true },
	{ "write code", CODE_R, 0xffff, 0, 1, true, false },
	{ "read conforming code: not expand-down", CONFORM, 0xffff, 0, 1, false, true },
	{ "beyond conforming code", CONFORM, 0xffff, 0x10000, 1, false, false },
	{ "last byte", DATA_W, 0xfff, 0xfff, 1, true, true },
	{ "last byte of two outside", DATA_W, 0xfff, 0xfff, 2, true, false },
	{ "last four bytes", DATA_W, 0xfff, 0xffc, 4, true, true },
	{ "first byte outside", DATA_W, 0xfff, 0x1000, 1, false, false },
	{ "limit 0", DATA_W, 0, 0, 1, false, true },
	{ "limit 0, two bytes", DATA_W, 0, 0, 2, false, false },
	{ "4 GB, last byte", DATA_W, 0xffffffff, 0xffffffff, 1, false, true },
	{ "4 GB, over the end: wraps", DATA_W, 0xffffffff, 0xffffffff, 4, false, true },
	{ "offset near 4 GB, small limit", DATA_W, 0xfff, 0xffffffff, 4, false, false },
	{ "offset has 32 bits", DATA_W, 0xfff, 0x100000010, 4, false, true },
	{ "expand-down, at the limit", DOWN, 0xfff, 0xfff, 1, true, false },
	{ "expand-down, above the limit", DOWN, 0xfff, 0x1000, 1, true, true },
	{ "expand-down, below", DOWN, 0xfff, 0, 1, false, false },
	{ "expand-down, 64 KB", DOWN, 0xfff, 0xffff, 1, true, true },
	{ "expand-down, over 64 KB", DOWN, 0xfff, 0xffff, 2, true, false },
	{ "expand-down, beyond 64 KB", DOWN, 0xfff, 0x10000, 1, true, false },
	{ "expand-down 32-bit, beyond 64 KB", DOWN_32, 0xfff, 0x10000, 1, true, true },
	{ "expand-down 32-bit, top", DOWN_32, 0xfff, 0xfffffffc, 4, true, true },
	{ "expand-down 32-bit, at the limit", DOWN_32, 0xfff, 0xffc, 4, true, false },
};

static void test_segment_type_and_limit_checks(void **state)
{
	struct machine *m = *state;

	for (unsigned i = 0; i < sizeof(segment_rows) / sizeof(segment_rows[0]); i++) {
		for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++) {
			uint64_t linear = 0;
			enum outcome outcome;

			flat_mode(m);
			m->v.cpu.segment[seg].flags = segment_rows[i].flags;
			m->v.cpu.segment[seg].limit = segment_rows[i].limit;
			m->v.cpu.segment[seg].base = 0x12340000;
			outcome = seg_linear(&m->v, seg, segment_rows[i].offset,
					     segment_rows[i].size, segment_rows[i].write, &linear);
			if (outcome != (segment_rows[i].fine ? DONE : FAULT))
				fail_msg("%s, segment %u: %d", segment_rows[i].what, seg, outcome);
			if (outcome)
				assert_fault(m, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
			else
				assert_int_equal(linear,
						 (uint32_t)(0x12340000 + segment_rows[i].offset));
		}
	}
}

static void test_segment_real_mode_limit_64k(void **state)
{
	struct machine *m = *state;
	struct cpu *c = &m->v.cpu;
	uint16_t value = 0x1234;
	uint64_t linear;

	memset(c, 0, sizeof(*c));
	for (unsigned i = 0; i < 6; i++) {
		c->segment[i].limit = 0xffff;
		c->segment[i].flags = DATA_W;
	}
	c->segment[EMU_CS].flags = CODE_R;
	c->segment[EMU_DS].base = 0x12340;
	assert_int_equal(seg_write(&m->v, SEG_DS, 0xfffe, &value, 2), DONE);
	assert_memory_equal(m->ram + 0x12340 + 0xfffe, &value, 2);
	assert_int_equal(seg_write(&m->v, SEG_DS, 0xffff, &value, 2), FAULT);
	assert_fault(m, EXC_GP, 0);
	assert_int_equal(seg_write(&m->v, SEG_SS, 0xffff, &value, 2), FAULT);
	assert_fault(m, EXC_SS, 0);
	assert_int_equal(seg_write(&m->v, SEG_CS, 0x100, &value, 2), DONE); /* no types */
	/* "unreal" mode: the limit stays from protected mode */
	c->segment[EMU_DS].limit = 0xffffffff;
	assert_int_equal(seg_linear(&m->v, SEG_DS, 0x200000, 4, true, &linear), DONE);
	assert_int_equal(linear, 0x212340);
	/* a null selector left from protected mode does not count */
	c->segment[EMU_DS].limit = 0;
	c->segment[EMU_DS].flags = 0;
	assert_int_equal(seg_linear(&m->v, SEG_DS, 0xfffe, 2, true, &linear), DONE);
	assert_int_equal(seg_linear(&m->v, SEG_DS, 0xffff, 2, true, &linear), FAULT);
	/* the same in virtual-8086 mode */
	c->cr0 = CR0_PE;
	c->rflags = FL_VM;
	assert_int_equal(seg_linear(&m->v, SEG_CS, 0xfffe, 2, true, &linear), DONE);
	assert_int_equal(seg_linear(&m->v, SEG_CS, 0xffff, 2, true, &linear), FAULT);
}

static void test_segment_64_bit_mode_canonical_only(void **state)
{
	struct machine *m = *state;
	struct cpu *c = &m->v.cpu;
	uint64_t linear;

	long_mode(m);
	for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++) {
		unsigned vector = seg == SEG_SS ? EXC_SS : EXC_GP;
		uint64_t base = seg == SEG_FS || seg == SEG_GS ? 0x1000 : 0;

		c->segment[seg].base = 0x1000;
		c->segment[seg].limit = 0;
		if (seg != SEG_CS)
			c->segment[seg].flags = 0;
		assert_int_equal(seg_linear(&m->v, seg, 0xffff800000000000, 8, true, &linear),
				 DONE);
		assert_int_equal(linear, 0xffff800000000000 + base);
		assert_int_equal(seg_linear(&m->v, seg, 0x7ffffffffff8 - base, 8, true, &linear),
				 DONE);
		assert_int_equal(seg_linear(&m->v, seg, 0x7ffffffffff9 - base, 8, true, &linear),
				 FAULT);
		assert_fault(m, vector, 0);
		assert_int_equal(seg_linear(&m->v, seg, 0x800000000000, 1, false, &linear), FAULT);
		assert_fault(m, vector, 0);
	}
	c->segment[EMU_GS].base = 0xffff888000000000;
	assert_int_equal(seg_linear(&m->v, SEG_GS, 0x28, 8, false, &linear), DONE);
	assert_int_equal(linear, 0xffff888000000028);
	c->cr4 |= CR4_LA57;
	assert_int_equal(seg_linear(&m->v, SEG_DS, 0x800000000000, 1, false, &linear), DONE);
}

static void test_segment_read_write_at_current_cpl(void **state)
{
	struct machine *m = *state;
	uint32_t value = 0xdeadbeef, back = 0;

	long_mode(m);
	set_leaf(m, LINEAR + 0x1000, (FRAME + 0x1000) | P | RW);
	assert_int_equal(seg_write(&m->v, SEG_DS, LINEAR + 0x1010, &value, 4), DONE);
	assert_int_equal(seg_read(&m->v, SEG_SS, LINEAR + 0x1010, &back, 4), DONE);
	assert_int_equal(back, value);
	m->v.cpu.cpl = 3;
	assert_int_equal(seg_read(&m->v, SEG_DS, LINEAR + 0x1010, &back, 4), FAULT);
	assert_fault(m, EXC_PF, PF_P | PF_U);
	assert_int_equal(seg_write(&m->v, SEG_DS, LINEAR + 0x1010, &back, 4), FAULT);
	assert_fault(m, EXC_PF, PF_P | PF_U | PF_W);
}

/* ------------------------------------------------------------------ instruction bytes */

static void fill_code(struct machine *m)
{
	for (unsigned i = 0; i < 0x3000; i++)
		m->ram[FRAME + i] = (uint8_t)(i ^ i >> 8);
}

static void test_fetch_within_and_across_pages(void **state)
{
	struct machine *m = *state;
	uint8_t bytes[INSN_MAX_LENGTH];
	size_t n;

	long_mode(m);
	fill_code(m);
	for (unsigned offset = 0xfe0; offset < 0x1010; offset++) {
		m->v.cpu.rip = LINEAR + offset;
		assert_int_equal(fetch_insn(&m->v, bytes, &n), DONE);
		assert_int_equal(n, INSN_MAX_LENGTH);
		assert_memory_equal(bytes, m->ram + FRAME + offset, n);
	}
}

static void test_fetch_stops_at_page_that_faults(void **state)
{
	struct machine *m = *state;
	uint8_t bytes[INSN_MAX_LENGTH];
	size_t n;

	long_mode(m);
	fill_code(m);
	set_leaf(m, LINEAR + 0x1000, (FRAME + 0x1000) | P | NX);
	m->v.fault.vector = 99;
	m->v.mmio_gpa = 77;
	m->v.cpu.rip = LINEAR + 0xffd;
	assert_int_equal(fetch_insn(&m->v, bytes, &n), DONE);
	assert_int_equal(n, 3);
	assert_memory_equal(bytes, m->ram + FRAME + 0xffd, 3);
	assert_int_equal(m->v.fault.vector, 99); /* not raised yet */
	assert_int_equal(fetch_fault(&m->v, n), FAULT);
	assert_fault(m, EXC_PF, PF_P | PF_I);
	assert_int_equal(m->v.fault.cr2, LINEAR + 0x1000);
	m->v.cpu.rip = LINEAR + 0x1000;
	assert_int_equal(fetch_insn(&m->v, bytes, &n), FAULT);
	assert_int_equal(n, 0);
	assert_int_equal(m->v.fault.cr2, LINEAR + 0x1000);

	/* a second page that is no memory */
	set_leaf(m, LINEAR + 0x1000, 0xfe000000 | P);
	m->v.cpu.rip = LINEAR + 0xffd;
	assert_int_equal(fetch_insn(&m->v, bytes, &n), DONE);
	assert_int_equal(n, 3);
	assert_int_equal(m->v.mmio_gpa, 77);
	assert_int_equal(fetch_fault(&m->v, n), MMIO);
	assert_int_equal(m->v.mmio_gpa, 0xfe000000);
	assert_int_equal(fetch_fault(&m->v, INSN_MAX_LENGTH), FAULT);
	assert_fault(m, EXC_GP, 0);
}

static void test_fetch_user_from_supervisor_page_faults(void **state)
{
	struct machine *m = *state;
	uint8_t bytes[INSN_MAX_LENGTH];
	uint32_t value;
	size_t n;

	long_mode(m);
	set_leaf(m, LINEAR, FRAME | P | RW);
	m->v.cpu.rip = LINEAR;
	m->v.cpu.cpl = 3;
	assert_int_equal(fetch_insn(&m->v, bytes, &n), FAULT);
	assert_fault(m, EXC_PF, PF_P | PF_U | PF_I);
	/* data in the cache does not make it executable */
	m->v.cpu.cpl = 0;
	set_leaf(m, LINEAR, FRAME | P | RW | NX);
	assert_int_equal(linear_read(&m->v, LINEAR, &value, 4, 0), DONE);
	assert_int_equal(fetch_insn(&m->v, bytes, &n), FAULT);
	assert_fault(m, EXC_PF, PF_P | PF_I);
	/* nor the other way round: executable and read-only */
	set_leaf(m, LINEAR, FRAME | P);
	assert_int_equal(fetch_insn(&m->v, bytes, &n), DONE);
	assert_int_equal(linear_write(&m->v, LINEAR, &value, 4, 0), FAULT);
}

static void test_fetch_stops_at_segment_limit(void **state)
{
	struct machine *m = *state;
	struct cpu *c = &m->v.cpu;
	uint8_t bytes[INSN_MAX_LENGTH];
	size_t n;

	flat_mode(m);
	fill_code(m);
	c->segment[EMU_CS].base = FRAME;
	c->segment[EMU_CS].limit = 0x104;
	c->rip = 0x100;
	assert_int_equal(fetch_insn(&m->v, bytes, &n), DONE);
	assert_int_equal(n, 5);
	assert_memory_equal(bytes, m->ram + FRAME + 0x100, 5);
	assert_int_equal(fetch_fault(&m->v, n), FAULT);
	assert_fault(m, EXC_GP, 0);
	c->rip = 0x104;
	assert_int_equal(fetch_insn(&m->v, bytes, &n), DONE);
	assert_int_equal(n, 1);
	c->rip = 0x105;
	assert_int_equal(fetch_insn(&m->v, bytes, &n), FAULT);
	assert_fault(m, EXC_GP, 0);
	/* the limit in the next page, the page in front of it */
	c->segment[EMU_CS].limit = 0x1001;
	c->rip = 0xffe;
	assert_int_equal(fetch_insn(&m->v, bytes, &n), DONE);
	assert_int_equal(n, 4);
	assert_memory_equal(bytes, m->ram + FRAME + 0xffe, 4);
}

static void test_fetch_non_canonical_is_gp(void **state)
{
	struct machine *m = *state;
	uint8_t bytes[INSN_MAX_LENGTH];
	size_t n;

	long_mode(m);
	m->v.cpu.rip = 0x800000000000;
	assert_int_equal(fetch_insn(&m->v, bytes, &n), FAULT);
	assert_fault(m, EXC_GP, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_raise_fills_fault),
		TEST(test_linear_all_sizes_and_offsets_round_trip),
		TEST(test_linear_fault_on_second_page_writes_nothing),
		TEST(test_linear_privilege_user_supervisor_system),
		TEST(test_linear_smap_and_ac_without_flush),
		TEST(test_linear_non_canonical_is_gp),
		TEST(test_linear_wraps_at_4_gb_in_32_bit_code),
		TEST(test_linear_no_slot_is_mmio),
		TEST(test_linear_fault_beats_mmio),
		TEST(test_linear_readonly_slot_write_is_mmio),
		TEST(test_linear_gone_page_is_host_gone),
		TEST(test_linear_write_to_code_page_tells),
		TEST(test_linear_write_enters_dirty_log),
		TEST(test_lookup_gives_host_gpa_and_type),
		TEST(test_cache_keeps_translation_until_flush),
		TEST(test_cache_entry_stays_forgotten_after_any_number_of_flushes),
		TEST(test_cache_write_sets_dirty_after_read),
		TEST(test_cache_entry_for_reading_does_not_serve_writes),
		TEST(test_cache_conflicting_pages_are_told_apart),
		TEST(test_cache_notices_slot_changes),
		TEST(test_cache_hit_updates_no_bits),
		TEST(test_access_refused_by_stuffed_lock_changes_nothing),
		TEST(test_types_of_two_pages_are_the_one_that_is_not_wb),
		TEST(test_segment_type_and_limit_checks),
		TEST(test_segment_real_mode_limit_64k),
		TEST(test_segment_64_bit_mode_canonical_only),
		TEST(test_segment_read_write_at_current_cpl),
		TEST(test_fetch_within_and_across_pages),
		TEST(test_fetch_stops_at_page_that_faults),
		TEST(test_fetch_user_from_supervisor_page_faults),
		TEST(test_fetch_stops_at_segment_limit),
		TEST(test_fetch_non_canonical_is_gp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
