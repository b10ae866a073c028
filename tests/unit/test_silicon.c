/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The emulator against real processors: for every row of every record in traces/evidence, is a locked
 * instruction a bus lock in the emulator exactly where it takes as long as one on silicon, and does it
 * leave the same behind? Nothing here computes whether an operand crosses a line.
 */
#include "emu/emu.h"
#include "emu/insn.h"

#include <glob.h>
#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h wants the above */
#include <cmocka.h>

#define OFFSETS 64 /* of a record: the line of the processors measured so far */

/*
 * TSC ticks beyond the same instruction on an aligned operand. A cache lock costs what the access
 * costs: tens. A bus lock waits for all cores of the machine: "more than 1000 cycles" (Linux,
 * Documentation/arch/x86/buslock.rst). What lies between the two says nothing.
 */
#define CACHE_LOCK_MOST 300
#define BUS_LOCK_LEAST  1000
/* An interrupt in each of few executions makes one; of a good record, hardly any offset. */
#define MAX_AMBIGUOUS 8

/* Linux's limit is ours, see traces/recorder/recorder.h */
#define SPLIT_BUDGET 2000

enum verdict { CACHE_LOCK, BUS_LOCK, FAULT, AMBIGUOUS };
static const char *const verdict_names[] = { "a cache lock", "a bus lock", "#GP", "undecided" };

struct state {
	uint8_t memory[16];
	uint64_t rax, rbx, rcx, rdx;
	uint32_t flags;
};

struct row {
	const char *name;
	uint8_t code[15], length;
	uint32_t size;
	int32_t displacement;
	struct state start, result;
	bool has_result;    /* false: it faulted everywhere */
	int ticks[OFFSETS]; /* least; -1: it faulted */
};

struct record {
	const char *path;
	json_object *header, *footer, **parsed;
	struct row *rows;
	size_t count;
	long splits; /* of all rows */
};

static struct record *records;
static size_t record_count;

/* ------------------------------------------------------------------ reading */

static json_object *member(json_object *object, const char *key)
{
	json_object *value = NULL;

	if (!json_object_object_get_ex(object, key, &value))
		fail_msg("a line of the record has no \"%s\": %s", key,
			 json_object_to_json_string(object));
	return value;
}

static int64_t number(json_object *object, const char *key)
{
	return json_object_get_int64(member(object, key));
}

static unsigned hex_bytes(json_object *object, const char *key, uint8_t *bytes, size_t size)
{
	const char *text = json_object_get_string(member(object, key));
	unsigned n = 0;

	for (; text[0] && text[1] && n < size; text += 2)
		bytes[n++] = (uint8_t)strtoul((const char[]){ text[0], text[1], 0 }, NULL, 16);
	assert_int_equal(*text, 0);
	return n;
}

static uint64_t hex_number(json_object *object, const char *key)
{
	return strtoull(json_object_get_string(member(object, key)), NULL, 16);
}

static void read_state(json_object *object, uint32_t size, struct state *state)
{
	assert_int_equal(hex_bytes(object, "memory", state->memory, sizeof(state->memory)), size);
	state->rax = hex_number(object, "rax");
	state->rbx = hex_number(object, "rbx");
	state->rcx = hex_number(object, "rcx");
	state->rdx = hex_number(object, "rdx");
	state->flags = (uint32_t)hex_number(object, "flags");
}

/* All executions that did not fault left the same behind, at every offset: one result. */
static void read_result(json_object *line, struct row *row)
{
	json_object *outcomes = member(line, "outcomes"), *outcome;

	for (size_t i = 0; i < json_object_array_length(outcomes); i++) {
		outcome = json_object_array_get_idx(outcomes, i);
		if (json_object_object_get_ex(outcome, "fault", NULL))
			continue;
		if (row->has_result)
			fail_msg("%s: two different results on the same processor", row->name);
		read_state(outcome, row->size, &row->result);
		row->has_result = true;
	}
}

static void read_row(json_object *line, struct row *row)
{
	json_object *ticks = member(line, "min"), *tick;

	row->name = json_object_get_string(member(line, "form"));
	row->length = (uint8_t)hex_bytes(line, "code", row->code, sizeof(row->code));
	row->size = (uint32_t)number(line, "size");
	row->displacement = (int32_t)number(line, "displacement");
	read_state(member(line, "start"), row->size, &row->start);
	read_result(line, row);
	assert_int_equal(json_object_array_length(ticks), OFFSETS);
	for (unsigned i = 0; i < OFFSETS; i++) {
		tick = json_object_array_get_idx(ticks, i);
		row->ticks[i] = tick ? json_object_get_int(tick) : -1;
	}
}

static void read_record(const char *path, struct record *record)
{
	FILE *file = fopen(path, "r");
	char *line = NULL;
	size_t size = 0, capacity = 0;
	json_object *object;

	assert_non_null(file);
	record->path = path;
	while (getline(&line, &size, file) > 0) {
		object = json_tokener_parse(line);
		if (!object)
			fail_msg("%s: not JSON: %.60s", path, line);
		if (!record->header) {
			record->header = object;
		} else if (json_object_object_get_ex(object, "rows", NULL)) {
			record->footer = object;
		} else {
			if (record->count == capacity) {
				capacity = capacity ? 2 * capacity : 64;
				record->rows = realloc(record->rows, capacity * sizeof(struct row));
				record->parsed = realloc(record->parsed, capacity * sizeof(object));
			}
			memset(&record->rows[record->count], 0, sizeof(struct row));
			record->parsed[record->count] = object;
			record->splits += number(object, "splits");
			read_row(object, &record->rows[record->count++]);
		}
	}
	free(line);
	fclose(file);
}

/* ------------------------------------------------------------------ silicon's verdict */

static enum verdict silicon_verdict(const struct row *row, unsigned offset)
{
	int beyond = row->ticks[offset] - row->ticks[0];

	if (row->ticks[offset] < 0)
		return FAULT;
	if (beyond <= CACHE_LOCK_MOST)
		return CACHE_LOCK;
	return beyond >= BUS_LOCK_LEAST ? BUS_LOCK : AMBIGUOUS;
}

/* ------------------------------------------------------------------ the emulator's */

#define CODE     0x1000u
#define HANDLER  0x1800u /* of #GP: HLT */
#define STACK    0x2000u /* its end */
#define LINES    0x3000u /* the operands */
#define GDT      0x4000u
#define IDT      0x5000u
#define TABLES   0x6000u
#define RAM      0x9000u
#define SELECTOR 8u

static struct emu_vm *vm;
static struct emu_vcpu *vcpu;
static uint8_t *ram;
static struct emu_lock seen;
static unsigned locks;

static void observe(void *opaque, struct emu_vcpu *v, const struct emu_lock *lock)
{
	(void)opaque, (void)v;
	seen = *lock;
	locks++;
}

static void put64(uint32_t address, uint64_t value)
{
	memcpy(ram + address, &value, sizeof(value));
}

static void enter_long_mode(void)
{
	struct emu_state s;

	put64(TABLES, (TABLES + 0x1000) | 3);
	put64(TABLES + 0x1000, (TABLES + 0x2000) | 3);
	put64(TABLES + 0x2000, 0x83); /* 2 MB at 0 */
	put64(GDT + SELECTOR, 0x00af9b000000ffff);
	/* 64-bit interrupt gate for #GP (SDM 7.14.1) */
	put64(IDT + 13 * 16, HANDLER | SELECTOR << 16 | 0x8e0000000000);
	ram[HANDLER] = 0xf4;
	emu_vcpu_get_state(vcpu, &s);
	for (int i = EMU_ES; i <= EMU_GS; i++)
		s.segment[i] = (struct emu_segment){ .limit = 0xffffffff, .attributes = 0xc093 };
	s.segment[EMU_CS].attributes = 0xa09b;
	s.segment[EMU_CS].selector = SELECTOR;
	s.gdt = (struct emu_table){ GDT, 15 };
	s.idt = (struct emu_table){ IDT, 14 * 16 - 1 };
	s.cr0 = 0x80000011, s.cr3 = TABLES, s.cr4 = 0x620, s.efer = 0x500;
	assert_int_equal(emu_vcpu_set_state(vcpu, &s), 0);
}

static void begin_vm(enum emu_vendor vendor)
{
	const struct emu_config config = { .vendor = vendor };
	void *memory = NULL;

	assert_int_equal(posix_memalign(&memory, 4096, RAM), 0);
	ram = memset(memory, 0, RAM);
	assert_int_equal(emu_vm_create(&config, &vm), 0);
	assert_int_equal(emu_vm_map(vm, 0, 0, RAM, ram, 0), 0);
	assert_int_equal(emu_vcpu_create(vm, &vcpu), 0);
	emu_vm_set_lock_observer(vm, observe, NULL);
	enter_long_mode();
}

static void end_vm(void)
{
	emu_vcpu_destroy(vcpu);
	emu_vm_destroy(vm);
	free(ram);
}

/* The row's instruction at this offset, through decoder, translation and execution; what is left. */
static enum verdict emulator_verdict(const struct row *row, unsigned offset, struct state *result)
{
	uint64_t operand = LINES + OFFSETS + offset;
	struct emu_state s;
	struct emu_exit x;

	memset(ram + LINES, 0x5a, 0x1000);
	memcpy(ram + operand, row->start.memory, row->size);
	memcpy(ram + CODE, row->code, row->length);
	ram[CODE + row->length] = 0xf4;
	emu_vcpu_get_state(vcpu, &s);
	s.gpr[EMU_RAX] = row->start.rax;
	s.gpr[EMU_RBX] = row->start.rbx;
	s.gpr[EMU_RCX] = row->start.rcx;
	s.gpr[EMU_RDX] = row->start.rdx;
	s.gpr[EMU_RDI] = operand - (uint64_t)(int64_t)row->displacement;
	s.gpr[EMU_RSP] = STACK;
	s.rflags = row->start.flags | 2;
	s.rip = CODE;
	assert_int_equal(emu_vcpu_set_state(vcpu, &s), 0);
	locks = 0;
	assert_int_equal(emu_vcpu_run(vcpu, 0, &x), 0);
	assert_int_equal(x.type, EMU_EXIT_HLT);
	emu_vcpu_get_state(vcpu, &s);
	memcpy(result->memory, ram + operand, row->size);
	memcpy(ram + operand, row->start.memory, row->size);
	result->rax = s.gpr[EMU_RAX];
	result->rbx = s.gpr[EMU_RBX];
	result->rcx = s.gpr[EMU_RCX];
	result->rdx = s.gpr[EMU_RDX];
	result->flags = (uint32_t)s.rflags & 0x8d5;
	if (s.rip == HANDLER + 1) {
		assert_int_equal(locks, 0);
		assert_memory_equal(result->memory, row->start.memory, row->size);
		return FAULT;
	}
	assert_int_equal(s.rip, CODE + row->length + 1u);
	assert_in_range(locks, 0, 1);
	if (locks) {
		assert_int_equal(seen.linear, operand);
		assert_int_equal(seen.size, row->size);
		assert_int_equal(seen.rip, CODE);
	}
	return locks ? BUS_LOCK : CACHE_LOCK;
}

/* ------------------------------------------------------------------ the tests */

static void for_every_row(void (*look)(const struct row *row, unsigned offset))
{
	for (size_t i = 0; i < record_count; i++)
		for (size_t j = 0; j < records[i].count; j++)
			for (unsigned offset = 0; offset < OFFSETS; offset++)
				look(&records[i].rows[j], offset);
}

static unsigned looked, disagreed;

static void compare_verdict(const struct row *row, unsigned offset)
{
	enum verdict silicon = silicon_verdict(row, offset), emulator;
	struct state result;

	if (silicon == AMBIGUOUS)
		return;
	emulator = emulator_verdict(row, offset, &result);
	looked++;
	if (silicon == emulator)
		return;
	if (disagreed++ < 10)
		print_error("%s at offset %u: silicon (%d ticks) says %s, the emulator %s\n",
			    row->name, offset, row->ticks[offset], verdict_names[silicon],
			    verdict_names[emulator]);
}

static void check_verdicts(enum emu_vendor vendor)
{
	looked = disagreed = 0;
	begin_vm(vendor);
	for_every_row(compare_verdict);
	end_vm();
	assert_true(looked > 9000 * record_count);
	assert_int_equal(disagreed, 0);
}

static void test_silicon_every_form_and_offset_has_the_emulators_verdict(void **state)
{
	(void)state;
	check_verdicts(EMU_INTEL);
	check_verdicts(EMU_AMD);
}

static unsigned boundary;

static void compare_boundary(const struct row *row, unsigned offset)
{
	enum verdict silicon = silicon_verdict(row, offset);
	bool lock = emu_bus_lock_cause_at(LINES + offset, row->size, EMU_MT_WB, boundary);

	if (silicon == CACHE_LOCK || silicon == BUS_LOCK)
		disagreed += lock != (silicon == BUS_LOCK);
}

/* AMD leaves it open (APM 7.3.3): why 64 is the option's default. */
static void test_silicon_no_smaller_boundary_than_the_line_fits(void **state)
{
	(void)state;
	for (boundary = 8; boundary <= 64; boundary *= 2) {
		disagreed = 0;
		for_every_row(compare_boundary);
		if (boundary == 64)
			assert_int_equal(disagreed, 0);
		else
			assert_true(disagreed > 400);
	}
}

/* What the manuals leave undefined (SDM vol. 2; APM vol. 3), any processor does as it likes. */
static uint32_t undefined_flags(const struct row *row)
{
	struct insn insn;

	assert_int_equal(insn_decode(&insn, row->code, row->length, 64), 0);
	switch (insn.op) {
	case OP_AND:
	case OP_OR:
	case OP_XOR:
		return 0x10; /* AF */
	case OP_BTS:
	case OP_BTR:
	case OP_BTC:
		return 0x894; /* OF SF AF PF */
	default:
		return 0;
	}
}

static void compare_result(const struct row *row, unsigned offset)
{
	struct state now = { 0 };
	uint32_t defined = ~undefined_flags(row);

	if (row->ticks[offset] < 0)
		return;
	emulator_verdict(row, offset, &now);
	looked++;
	if (!memcmp(now.memory, row->result.memory, sizeof(now.memory)) &&
	    now.rax == row->result.rax && now.rbx == row->result.rbx &&
	    now.rcx == row->result.rcx && now.rdx == row->result.rdx &&
	    (now.flags & defined) == (row->result.flags & defined))
		return;
	if (disagreed++ < 10)
		print_error("%s at offset %u: flags %x, silicon's are %x; memory or registers may "
			    "differ as well\n",
			    row->name, offset, (unsigned)now.flags, (unsigned)row->result.flags);
}

static void test_silicon_every_form_and_offset_leaves_the_same_behind(void **state)
{
	(void)state;
	looked = disagreed = 0;
	begin_vm(EMU_INTEL);
	for_every_row(compare_result);
	end_vm();
	assert_true(looked > 9000 * record_count);
	assert_int_equal(disagreed, 0);
}

static void test_silicon_latencies_lie_in_two_clusters_with_nothing_between(void **state)
{
	(void)state;
	for (size_t i = 0; i < record_count; i++) {
		int slowest_cache_lock = 0, fastest_bus_lock = 1 << 30;
		unsigned ambiguous = 0, bus_locks = 0;

		for (size_t j = 0; j < records[i].count; j++) {
			const struct row *row = &records[i].rows[j];

			assert_true(row->ticks[0] > 0);
			for (unsigned offset = 0; offset < OFFSETS; offset++) {
				enum verdict verdict = silicon_verdict(row, offset);
				int ticks = row->ticks[offset];

				if (verdict == CACHE_LOCK && ticks > slowest_cache_lock)
					slowest_cache_lock = ticks;
				if (verdict == BUS_LOCK && ticks < fastest_bus_lock)
					fastest_bus_lock = ticks;
				bus_locks += verdict == BUS_LOCK;
				if (verdict != AMBIGUOUS)
					continue;
				ambiguous++;
				print_message("%s: %s at offset %u: %d ticks say nothing\n",
					      records[i].path, row->name, offset, ticks);
			}
		}
		assert_in_range(ambiguous, 0, MAX_AMBIGUOUS);
		assert_true(bus_locks > 400);
		/* The thresholds could be moved far without another verdict. */
		assert_true(slowest_cache_lock * 5 < fastest_bus_lock);
	}
}

/* LOCK's list (SDM vol. 2), and the operand sizes in bytes, or-ed. */
static const struct {
	enum insn_op op;
	unsigned sizes, encodings; /* encodings: least number of different opcodes */
} lockable[] = {
	{ OP_ADD, 15, 5 },     { OP_ADC, 15, 5 },      { OP_AND, 15, 5 },        { OP_OR, 15, 5 },
	{ OP_SBB, 15, 5 },     { OP_SUB, 15, 5 },      { OP_XOR, 15, 5 },        { OP_BTC, 14, 2 },
	{ OP_BTR, 14, 2 },     { OP_BTS, 14, 2 },      { OP_DEC, 15, 2 },        { OP_INC, 15, 2 },
	{ OP_NEG, 15, 2 },     { OP_NOT, 15, 2 },      { OP_XADD, 15, 2 },       { OP_XCHG, 15, 2 },
	{ OP_CMPXCHG, 15, 2 }, { OP_CMPXCHG8B, 8, 1 }, { OP_CMPXCHG16B, 16, 1 },
};

static void check_has_all_forms(const struct record *record)
{
	for (size_t i = 0; i < sizeof(lockable) / sizeof(lockable[0]); i++) {
		unsigned sizes = 0, encodings = 0;
		bool opcodes[256] = { false }, prefixed = false, bare = false;
		struct insn insn;

		for (size_t j = 0; j < record->count; j++) {
			const struct row *row = &record->rows[j];

			assert_int_equal(insn_decode(&insn, row->code, row->length, 64), 0);
			assert_int_equal(insn.length, row->length);
			assert_true(insn.flags & INSN_LOCKED);
			if (insn.op != lockable[i].op)
				continue;
			assert_int_equal(insn.mem_size, row->size);
			sizes |= row->size;
			encodings += !opcodes[insn.opcode];
			opcodes[insn.opcode] = true;
			*(insn.flags & INSN_LOCK ? &prefixed : &bare) = true;
		}
		assert_int_equal(sizes, lockable[i].sizes);
		assert_in_range(encodings, lockable[i].encodings, 256);
		assert_true(prefixed);
		assert_int_equal(bare, lockable[i].op == OP_XCHG);
	}
}

static void test_silicon_record_is_whole_and_has_every_lockable_form(void **state)
{
	(void)state;
	assert_true(record_count > 0);
	for (size_t i = 0; i < record_count; i++) {
		assert_string_equal(json_object_get_string(member(records[i].header, "schema")),
				    "buslock-latency");
		assert_int_equal(number(records[i].header, "line"), OFFSETS);
		assert_true(number(records[i].header, "tsc_khz") > 0);
		assert_non_null(records[i].footer);
		assert_int_equal(number(records[i].footer, "rows"), records[i].count);
		check_has_all_forms(&records[i]);
	}
}

static void test_silicon_record_stayed_within_the_budget_of_split_locks(void **state)
{
	(void)state;
	for (size_t i = 0; i < record_count; i++) {
		assert_int_equal(number(records[i].footer, "splits_executed"), records[i].splits);
		assert_in_range(records[i].splits + number(records[i].header, "splits_before"), 1,
				SPLIT_BUDGET);
	}
}

static glob_t found;

static int read_all(void **state)
{
	(void)state;
	if (glob(BUSLOCK_SOURCE_DIR "/traces/evidence/latency-*.jsonl", 0, NULL, &found))
		return -1;
	record_count = found.gl_pathc;
	records = calloc(record_count, sizeof(*records));
	for (size_t i = 0; i < record_count; i++)
		read_record(found.gl_pathv[i], &records[i]);
	return 0;
}

static int free_all(void **state)
{
	(void)state;
	for (size_t i = 0; i < record_count; i++) {
		for (size_t j = 0; j < records[i].count; j++)
			json_object_put(records[i].parsed[j]);
		json_object_put(records[i].header);
		json_object_put(records[i].footer);
		free(records[i].parsed);
		free(records[i].rows);
	}
	free(records);
	globfree(&found);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_silicon_record_is_whole_and_has_every_lockable_form),
		cmocka_unit_test(test_silicon_record_stayed_within_the_budget_of_split_locks),
		cmocka_unit_test(test_silicon_latencies_lie_in_two_clusters_with_nothing_between),
		cmocka_unit_test(test_silicon_every_form_and_offset_has_the_emulators_verdict),
		cmocka_unit_test(test_silicon_no_smaller_boundary_than_the_line_fits),
		cmocka_unit_test(test_silicon_every_form_and_offset_leaves_the_same_behind),
	};
	return cmocka_run_group_tests(tests, read_all, free_all);
}
