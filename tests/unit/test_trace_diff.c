// SPDX-License-Identifier: GPL-2.0-only
/* Two traces held against each other: what is a difference, where it is found, what is not one. */
#include "tests/unit/trace_file.h"
#include "traces/diff.h"

#include <inttypes.h>

#define HEADER_OF(backend, time, more)                                                      \
	"{\"schema\":\"buslock-trace\",\"version\":1,\"tool\":\"t\",\"backend\":\"" backend \
	"\",\"options\":null,\"time\":\"" time "\"" more "}\n"
#define REAL              HEADER_OF("emulator", "real", "")
#define VIRTUAL           HEADER_OF("emulator", "virtual", "")
#define EVENT(name, vcpu) "{\"event\":\"" name "\",\"time\":1,\"process\":0,\"vm\":0,\"vcpu\":" vcpu
#define RUN(vcpu)         EVENT("run", vcpu) ",\"immediate_exit\":false}\n"
#define EXIT(vcpu, result, reason, more)                                                \
	EVENT("exit", vcpu)                                                             \
	",\"result\":" result ",\"reason\":" reason ",\"reason_name\":\"N\",\"flags\":" \
	"0,\"flag_names\":[]" more "}\n"
#define IO(more)  RUN("0") EXIT("0", "0", "2", more)
#define HLT       RUN("0") EXIT("0", "0", "5", "")
#define EINTR_OF  EXIT("0", "-4", "10", ",\"error\":\"EINTR\"")
#define WINDOW    EXIT("0", "0", "7", "")
#define SLEEP(ns) EVENT("sleep", "0") ",\"who\":\"policy\",\"ns\":" ns ",\"interrupted\":false}\n"
#define LOCK(gpa)                                                                              \
	EVENT("bus_lock", "0")                                                                 \
	",\"cause\":[\"split\"],\"linear\":\"0x3e\",\"gpa\":\"" gpa "\",\"size\":4,\"rip\":\"" \
	"0x9\",\"linear_rip\":\"0x9\",\"bytes\":\"f0ff07\",\"mode\":64,\"cpl\":0,"             \
	"\"memory_type\":\"WB\",\"guest_memory_type\":\"WB\",\"stuffed\":null,"                \
	"\"in_delivery\":false}\n"
#define WORD(word) ",\"word\":\"" word "\",\"rip\":\"0x10\",\"linear_rip\":\"0x10\""
#define END(status)                                                                           \
	"{\"event\":\"end\",\"time\":9,\"status\":" status ",\"signal\":null,\"deterministic" \
	"\":false,\"why\":\"x\",\"lost\":0,\"events\":{}}\n"
#define MESSAGE(text) EVENT("host_message", "0") ",\"text\":\"" text "\"}\n"

static char path_b[80];

static int set_up_two(void **state)
{
	int error = set_up(state);
	struct file *f = *state;

	snprintf(path_b, sizeof(path_b), "%s.b", f->path);
	return error;
}

static int tear_down_two(void **state)
{
	unlink(path_b);
	return tear_down(state);
}

static void put_text(const char *path, const char *text, size_t n)
{
	int fd;

	unlink(path); /* emptying a file would make some file systems write it to the disk */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	close(fd);
}

static struct diff *compare(struct file *f, const char *a, const char *b,
			    const struct diff_options *options)
{
	static const struct diff_options none;
	char why[256] = "";
	struct diff *d;

	if (a)
		put_text(f->path, a, strlen(a));
	if (b)
		put_text(path_b, b, strlen(b));
	if (diff_traces(&d, f->path, path_b, options ? options : &none, why, sizeof(why)))
		fail_msg("%s", why);
	/* whatever is found: nothing is lost, nothing counted twice */
	for (int side = 0; side < DIFF_SIDES; side++) {
		uint64_t events = d->equal;

		for (size_t i = 0; i < d->hunks; i++)
			events += d->hunk[i].part[side].count;
		assert_int_equal(events, d->side[side].compared);
	}
	return d;
}

/* ------------------------------------------------------------------ what is a difference */

static const struct {
	const char *what, *a, *b;
	size_t hunks, timing;
	unsigned long line_a, line_b; /* of the first hunk */
	size_t count_a, count_b;
} cases[] = {
	{ "the same", REAL IO("") HLT END("0"), REAL IO("") HLT END("0"), 0, 0, 0, 0, 0, 0 },
	{ "another reason", REAL IO("") HLT, REAL HLT HLT, 1, 0, 3, 3, 1, 1 },
	{ "another word", REAL IO(WORD("0x1e")) HLT, REAL IO(WORD("0x1f")) HLT, 1, 0, 3, 3, 1, 1 },
	{ "another address of a lock", REAL LOCK("0x3e"), REAL LOCK("0x13e"), 1, 0, 2, 2, 1, 1 },
	{ "one is longer", REAL IO(""), REAL IO("") IO(""), 1, 0, 0, 4, 0, 2 },
	{ "one is shorter", REAL IO("") IO("") HLT, REAL IO("") HLT, 1, 0, 4, 4, 2, 0 },
	{ "another status", REAL IO("") END("0"), REAL IO("") END("1"), 1, 0, 4, 4, 1, 1 },
	{ "no end", REAL IO("") END("0"), REAL IO(""), 0, 0, 0, 0, 0, 0 },
	/* how it is written does not matter */
	{ "order of keys, blanks", REAL IO(""),
	  REAL "{ \"immediate_exit\" : false, \"event\" : \"run\", \"vcpu\":0, \"vm\":0,"
	       "\"process\":0,\"time\":7}\n" EXIT("0", "0", "2", ""),
	  0, 0, 0, 0, 0, 0 },
	{ "names of numbers",
	  REAL EVENT("exit", "0") ",\"result\":0,\"reason\":2,\"reason_name\":\"IO\",\"flags\":0,"
				  "\"flag_names\":[]}\n",
	  REAL EXIT("0", "0", "2", ""), 0, 0, 0, 0, 0, 0 },
	/* clocks */
	{ "real sleeps", REAL SLEEP("5"), REAL SLEEP("6"), 0, 0, 0, 0, 0, 0 },
	{ "virtual sleeps", VIRTUAL SLEEP("5"), VIRTUAL SLEEP("6"), 1, 0, 2, 2, 1, 1 },
	{ "threads in messages", REAL MESSAGE("CPU 0/KVM/17 took"),
	  REAL MESSAGE("CPU 0/KVM/4711 took"), 0, 0, 0, 0, 0, 0 },
	{ "messages", REAL MESSAGE("CPU 0/KVM/17 took"), REAL MESSAGE("CPU 1/KVM/17 took"), 1, 0, 2,
	  2, 1, 1 },
	{ "virtual messages", VIRTUAL MESSAGE("CPU 0/KVM/1"), VIRTUAL MESSAGE("CPU 0/KVM/2"), 1, 0,
	  2, 2, 1, 1 },
	/* after an error the reason is an old one */
	{ "reason of an error", REAL RUN("0") EXIT("0", "-14", "2", ""),
	  REAL RUN("0") EXIT("0", "-14", "5", ""), 0, 0, 0, 0, 0, 0 },
	{ "another error", REAL RUN("0") EXIT("0", "-14", "2", ""),
	  REAL RUN("0") EXIT("0", "-5", "2", ""), 1, 0, 3, 3, 1, 1 },
	/* vCPUs in another order, each for itself the same */
	{ "vcpus", REAL RUN("0") EXIT("0", "0", "2", "") RUN("1") EXIT("1", "0", "5", ""),
	  REAL RUN("1") RUN("0") EXIT("1", "0", "5", "") EXIT("0", "0", "2", ""), 0, 0, 0, 0, 0,
	  0 },
	{ "vcpus changed", REAL RUN("0") EXIT("0", "0", "2", "") RUN("1") EXIT("1", "0", "5", ""),
	  REAL RUN("0") EXIT("0", "0", "5", "") RUN("1") EXIT("1", "0", "2", ""), 2, 0, 3, 3, 1,
	  1 },
	{ "names of errors", REAL RUN("0") EINTR_OF RUN("0") EXIT("0", "-4", "10", ""),
	  REAL RUN("0") EXIT("0", "-4", "10", "") RUN("0") EINTR_OF, 0, 0, 0, 0, 0, 0 },
	{ "the end of one vcpu and the beginning of another",
	  REAL RUN("0") EXIT("0", "0", "2", "") EXIT("1", "0", "5", ""),
	  REAL RUN("0") EXIT("0", "0", "3", "") EXIT("1", "0", "6", ""), 2, 0, 3, 3, 1, 1 },
	/* insertions */
	{ "a run only", REAL IO(""), REAL IO("") RUN("0"), 1, 0, 0, 4, 0, 1 },
	{ "runs that belong to nothing", REAL IO("") IO("") IO("") IO(""),
	  REAL IO("") RUN("0") RUN("0") RUN("0") EINTR_OF IO("") IO("") IO(""), 1, 0, 4, 4, 0, 4 },
	{ "a signal", REAL IO("") IO("") IO("") HLT,
	  REAL IO("") RUN("0") EINTR_OF IO("") IO("") HLT, 1, 1, 4, 4, 0, 2 },
	{ "an interrupt window", REAL IO("") RUN("0") WINDOW IO("") IO("") HLT,
	  REAL IO("") IO("") IO("") HLT, 1, 1, 4, 4, 2, 0 },
	{ "an exit that nothing explains", REAL IO("") HLT IO("") IO("") IO("") IO(""),
	  REAL IO("") IO("") IO("") IO("") IO(""), 1, 0, 4, 4, 2, 0 },
	{ "a signal and something else", REAL IO("") HLT HLT HLT HLT,
	  REAL IO("") RUN("0") EINTR_OF IO("") HLT HLT HLT HLT, 1, 0, 4, 4, 0, 4 },
};

static void test_diff_finds_what_differs_and_nothing_else(void **state)
{
	struct file *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct diff *d = compare(f, cases[i].a, cases[i].b, NULL);
		const struct diff_hunk *h = d->hunk;

		if (d->hunks != cases[i].hunks || d->timing != cases[i].timing)
			fail_msg("%s: %zu hunks, %zu timing", cases[i].what, d->hunks, d->timing);
		/* where an insertion among equal events begins is open: its extent is not */
		if (h && (h->part[DIFF_A].count != cases[i].count_a ||
			  h->part[DIFF_B].count != cases[i].count_b ||
			  labs((long)h->part[DIFF_A].line - (long)cases[i].line_a) > 1 ||
			  labs((long)h->part[DIFF_B].line - (long)cases[i].line_b) > 1))
			fail_msg("%s: line %lu, %zu events / line %lu, %zu events", cases[i].what,
				 h->part[DIFF_A].line, h->part[DIFF_A].count, h->part[DIFF_B].line,
				 h->part[DIFF_B].count);
		assert_int_equal(d->side[DIFF_A].bad + d->side[DIFF_B].bad, 0);
		diff_free(d);
	}
}

/* Both ways it is the same, with the sides exchanged. */
static void test_diff_is_symmetric(void **state)
{
	struct file *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct diff *d = compare(f, cases[i].b, cases[i].a, NULL);

		if (d->hunks != cases[i].hunks || d->timing != cases[i].timing)
			fail_msg("%s: %zu hunks, %zu timing", cases[i].what, d->hunks, d->timing);
		diff_free(d);
	}
}

/* ------------------------------------------------------------------ what a source cannot tell */

static bool has_note(const struct diff *d, const char *text)
{
	for (size_t i = 0; i < d->notes; i++)
		if (!strcmp(d->note[i], text))
			return true;
	return false;
}

static void expect_note(struct file *f, const char *a, const char *b, size_t hunks,
			const char *note)
{
	struct diff *d = compare(f, a, b, NULL);

	if (d->hunks != hunks || !has_note(d, note))
		fail_msg("\"%s\": %zu hunks, %zu notes, the first: %s", note, d->hunks, d->notes,
			 d->notes ? d->note[0] : "");
	diff_free(d);
}

#define DEVICE HEADER_OF("/dev/kvm", "real", "")

static void test_diff_fields_that_one_cannot_have_are_not_missed(void **state)
{
	struct file *f = *state;

	/* no line of B has it */
	expect_note(f, REAL IO(WORD("0x1e")) HLT, REAL IO("") HLT, 0,
		    "exit.word: B cannot tell it");
	expect_note(f, REAL IO("") HLT, REAL IO(WORD("0x1e")) HLT, 0, "exit.rip: A cannot tell it");
	/* one line of B has it: then it is missed where it is not */
	expect_note(f, REAL IO(WORD("0x1e")) IO(WORD("0x1e")),
		    REAL IO("") IO(WORD("0x1e")) END("0"), 1, "the end: A has none");
	/* its header says so */
	expect_note(f, REAL IO(WORD("0x1e")),
		    HEADER_OF("import", "real", ",\"lacks\":[\"exit.word\",\"x\",\"exit.\"]")
			    IO(WORD("0x1f")),
		    0, "exit.word: B cannot tell it");
	expect_note(f, REAL IO("") LOCK("0x3e"),
		    HEADER_OF("x", "real", ",\"lacks\":[\"bus_lock\",1,null]") IO(""), 0,
		    "bus_lock: B cannot tell it");
}

static void test_diff_events_that_a_device_cannot_tell_are_not_missed(void **state)
{
	struct file *f = *state;
	struct diff *d;

	expect_note(f, REAL LOCK("0x3e") IO(""), DEVICE IO(""), 0, "bus_lock: B cannot tell it");
	expect_note(f, DEVICE IO(""), REAL LOCK("0x3e") IO(""), 0, "bus_lock: A cannot tell it");
	/* an emulator can: it took none, and that is a difference */
	d = compare(f, REAL LOCK("0x3e") IO(""), REAL IO(""), NULL);
	assert_int_equal(d->hunks, 1);
	diff_free(d);
	/* and a recorder that has told one could have told the other */
	d = compare(f, REAL LOCK("0x3e") LOCK("0x7e") IO(""), DEVICE LOCK("0x3e") IO(""), NULL);
	assert_int_equal(d->hunks, 1);
	diff_free(d);
}

static void test_diff_vcpus_that_one_cannot_tell_are_one(void **state)
{
	struct file *f = *state;
	struct diff *d = compare(f, REAL RUN("3") EXIT("3", "0", "2", ""),
				 HEADER_OF("x", "real", ",\"lacks\":[\"vcpu\"]") RUN("null")
					 EXIT("null", "0", "2", ""),
				 NULL);

	assert_int_equal(d->hunks, 0);
	assert_int_equal(d->equal, 2);
	diff_free(d);
}

/* ------------------------------------------------------------------ options */

static size_t hunks_with(struct file *f, const char *a, const char *b,
			 const struct diff_options *options)
{
	struct diff *d = compare(f, a, b, options);
	size_t hunks = d->hunks;

	diff_free(d);
	return hunks;
}

#define DIGEST(x) ",\"registers\":\"" x "\""

static void test_diff_options_leave_things_out(void **state)
{
	static const char *const word[] = { "word", NULL },
				 *const exit_word[] = { "exit.word", NULL },
				 *const other[] = { "locked", "run.immediate_exit", "end", NULL },
				 *const sleeps[] = { "sleep", NULL };
	static const char a[] = REAL IO(WORD("0x1e")) HLT SLEEP("1") LOCK("0x3e");
	static const char b[] = REAL IO(WORD("0x1f")) HLT LOCK("0x3e");
	static const char *const nothing[] = { "run.word", "wor", "exit.", "exit-word", "" };
	struct file *f = *state;
	char why[256];
	struct diff *d;

	assert_int_equal(hunks_with(f, a, b, NULL), 2);
	for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++) {
		const char *const ignore[] = { nothing[i], NULL };

		assert_int_equal(diff_traces(&d, f->path, path_b,
					     &(struct diff_options){ .ignore = ignore }, why,
					     sizeof(why)),
				 -EINVAL);
		assert_non_null(strstr(why, "there is no event or field"));
	}
	assert_int_equal(hunks_with(f, a, b, &(struct diff_options){ .ignore = word }), 1);
	assert_int_equal(hunks_with(f, a, b, &(struct diff_options){ .ignore = exit_word }), 1);
	assert_int_equal(hunks_with(f, a, b, &(struct diff_options){ .ignore = other }), 2);
	assert_int_equal(hunks_with(f, a, b, &(struct diff_options){ .ignore = sleeps }), 1);
	assert_int_equal(hunks_with(f, a, b, &(struct diff_options){ .only = DIFF_EXITS }), 1);
	assert_int_equal(hunks_with(f, a, b, &(struct diff_options){ .only = DIFF_BUS_LOCKS }), 0);
	assert_int_equal(hunks_with(f, REAL SLEEP("1"), REAL SLEEP("2"),
				    &(struct diff_options){ .times = true }),
			 1);
	assert_int_equal(hunks_with(f, REAL IO(DIGEST("0x1")), REAL IO(DIGEST("0x2")), NULL), 1);
	assert_int_equal(hunks_with(f, REAL IO(DIGEST("0x1")), REAL IO(DIGEST("0x2")),
				    &(struct diff_options){ .no_registers = true }),
			 0);
	assert_int_equal(hunks_with(f, REAL IO(DIGEST("0x1")), REAL IO(""), NULL), 0);
	/* without what is between them, changed events are still differences one by one */
	assert_int_equal(hunks_with(f, REAL IO(WORD("0x1")) IO(WORD("0x2")) HLT,
				    REAL IO(WORD("0x3")) IO(WORD("0x4")) HLT,
				    &(struct diff_options){ .only = DIFF_EXITS }),
			 2);
}

static void test_diff_tells_which_fields_it_compares(void **state)
{
	static const char *const ignore[] = { "exit.flags", NULL };
	struct file *f = *state;
	struct diff *d = compare(f, REAL IO(WORD("0x1")), REAL IO(""),
				 &(struct diff_options){ .ignore = ignore });

	assert_true(diff_compares(d, "exit", "reason"));
	assert_false(diff_compares(d, "exit", "word"));
	assert_false(diff_compares(d, "exit", "flags"));
	assert_false(diff_compares(d, "exit", "reason_name"));
	assert_false(diff_compares(d, "exit", "time"));
	assert_true(diff_compares(d, "run", "flags"));
	diff_free(d);
}

/* ------------------------------------------------------------------ alignment */

static uint64_t seed = 88172645463325252;

static unsigned draw(unsigned below)
{
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	return (unsigned)(seed >> 33) % below;
}

struct text {
	char *at;
	size_t n;
};

static void add(struct text *text, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	text->n += (size_t)vsprintf(text->at + text->n, format, list);
	va_end(list);
}

static void add_exit(struct text *text, unsigned reason, unsigned rip, unsigned registers)
{
	add(text,
	    EVENT("exit", "0") ",\"result\":0,\"reason\":%u,\"reason_name\":null,\"flags\":0,"
			       "\"flag_names\":[],\"rip\":\"0x%x\",\"registers\":\"0x%x\"}\n",
	    reason, rip, registers);
}

/* Edits far enough from each other are found, each by itself and none more. */
static void test_diff_random_edits_are_found_exactly(void **state)
{
	struct file *f = *state;
	struct text a = { malloc(1 << 20), 0 }, b = { malloc(1 << 20), 0 };

	for (int round = 0; round < 60; round++) {
		unsigned edits = 0, since = 0, kinds = 2 + draw(6);
		struct diff *d;

		a.n = b.n = 0;
		add(&a, REAL);
		add(&b, REAL);
		for (unsigned i = 0; i < 1000; i++) {
			/* its own place, or one of few: a loop */
			unsigned rip = round % 2 ? i : draw(40), reason = draw(kinds);
			bool edit = ++since > 20 && draw(30) == 0;

			if (!edit || draw(2))
				add_exit(&a, reason, rip, 1);
			else
				edit = true, add_exit(&a, reason, 5000 + i, 1);
			if (!edit) {
				add_exit(&b, reason, rip, 1);
				continue;
			}
			edits++;
			since = 0;
			if (draw(2)) /* changed, else left out */
				add_exit(&b, reason, 9000 + i, 1);
		}
		d = compare(f, a.at, b.at, NULL);
		if (d->hunks != edits)
			fail_msg("round %d: %zu hunks, %u edits", round, d->hunks, edits);
		for (size_t i = 0; i < d->hunks; i++)
			assert_true(d->hunk[i].part[DIFF_A].count <= 1 &&
				    d->hunk[i].part[DIFF_B].count <= 1);
		diff_free(d);
	}
	free(a.at);
	free(b.at);
}

static size_t longest_common(const unsigned *a, size_t na, const unsigned *b, size_t nb)
{
	size_t skip_a, skip_b;

	if (!na || !nb)
		return 0;
	if (*a == *b)
		return 1 + longest_common(a + 1, na - 1, b + 1, nb - 1);
	skip_a = longest_common(a + 1, na - 1, b, nb);
	skip_b = longest_common(a, na, b + 1, nb - 1);
	return skip_a > skip_b ? skip_a : skip_b;
}

/* As long as nothing agrees for long, the edits are the fewest possible. */
static void test_diff_short_traces_have_the_fewest_edits(void **state)
{
	struct file *f = *state;
	struct text text[DIFF_SIDES] = { { malloc(1 << 16), 0 }, { malloc(1 << 16), 0 } };

	for (int round = 0; round < 400; round++) {
		unsigned reason[DIFF_SIDES][5];
		size_t n[DIFF_SIDES], edits = 0;
		struct diff *d;

		for (int side = 0; side < DIFF_SIDES; side++) {
			n[side] = draw(6);
			text[side].n = 0;
			add(&text[side], REAL);
			for (size_t i = 0; i < n[side]; i++) {
				reason[side][i] = draw(3);
				add_exit(&text[side], reason[side][i], 1, 1);
			}
		}
		d = compare(f, text[DIFF_A].at, text[DIFF_B].at, NULL);
		for (size_t i = 0; i < d->hunks; i++)
			edits += d->hunk[i].part[DIFF_A].count + d->hunk[i].part[DIFF_B].count;
		assert_int_equal(edits, n[DIFF_A] + n[DIFF_B] -
						2 * longest_common(reason[DIFF_A], n[DIFF_A],
								   reason[DIFF_B], n[DIFF_B]));
		diff_free(d);
	}
	free(text[DIFF_A].at);
	free(text[DIFF_B].at);
}

/* From some point on the registers differ for ever; an exit that is put in later is seen all the same. */
static void test_diff_survives_insertions_where_everything_differs(void **state)
{
	struct file *f = *state;
	struct text a = { malloc(4 << 20), 0 }, b = { malloc(4 << 20), 0 };
	size_t changed = 0, put_in = 0;
	struct diff *d;

	add(&a, REAL);
	add(&b, REAL);
	for (unsigned i = 0; i < 10000; i++) {
		unsigned reason = i % 7 + i / 100 % 3;

		add_exit(&a, reason, i % 50, 1);
		if (i == 5000)
			add_exit(&b, 99, 0, 77);
		add_exit(&b, reason, i % 50, i < 100 ? 1 : 2);
	}
	d = compare(f, a.at, b.at, NULL);
	for (size_t i = 0; i < d->hunks; i++) {
		assert_false(d->hunk[i].lost);
		changed += d->hunk[i].part[DIFF_A].count;
		put_in += d->hunk[i].part[DIFF_B].count - d->hunk[i].part[DIFF_A].count;
	}
	assert_int_equal(d->equal, 100);
	assert_int_equal(changed, 10000 - 100);
	assert_int_equal(put_in, 1);
	diff_free(d);
	free(a.at);
	free(b.at);
}

static void test_diff_nothing_in_common_is_said(void **state)
{
	struct file *f = *state;
	struct text a = { malloc(1 << 20), 0 }, b = { malloc(1 << 20), 0 };
	struct diff *d;

	add(&a, REAL);
	add(&b, REAL);
	for (unsigned i = 0; i < 2000; i++) {
		add_exit(&a, 2, i, 1);
		add_exit(&b, 5, i, 1);
	}
	d = compare(f, a.at, b.at, NULL);
	assert_int_equal(d->hunks, 1);
	assert_true(d->hunk[0].lost);
	assert_int_equal(d->hunk[0].part[DIFF_A].count, 2000);
	diff_free(d);
	free(a.at);
	free(b.at);
}

/* ------------------------------------------------------------------ damage */

static void test_diff_damage_is_named_and_the_rest_compared(void **state)
{
	static const struct {
		const char *a;
		unsigned long bad, first;
		uint64_t equal;
	} damaged[] = {
		{ REAL IO("") "{\"event\":\"ru\n" HLT, 1, 4, 4 },
		{ REAL IO("") "{\"event\":\"run\",\"pro" HLT, 1, 4, 4 },
		{ REAL IO("") "garbage\n\n" HLT, 1, 4, 4 },
		{ REAL IO("") "{}\n" HLT, 1, 4, 4 },
		{ REAL IO("") "{\"a\":1}\n" HLT, 1, 4, 4 },
		{ REAL IO("") HLT "{\"event\":\"run\",\"x\":1}", 1, 6, 4 },
		{ REAL IO("") HLT "{\"event\":\"run\"}x\n", 1, 6, 4 },
		{ REAL IO("") HLT "{\"event\":}\n", 1, 6, 4 },
		{ REAL IO("") HLT "{\"event\":\"run\"}x", 1, 6, 4 },
		{ REAL IO("") HLT "{\"event\":\"a\\\"}\n", 1, 6, 4 },
	};
	struct file *f = *state;

	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
		struct diff *d = compare(f, damaged[i].a, REAL IO("") HLT, NULL);

		if (d->side[DIFF_A].bad != damaged[i].bad ||
		    d->side[DIFF_A].first_bad != damaged[i].first || d->equal != damaged[i].equal ||
		    d->hunks)
			fail_msg("case %zu: %lu bad, line %lu, %" PRIu64 " equal, %zu hunks", i,
				 d->side[DIFF_A].bad, d->side[DIFF_A].first_bad, d->equal,
				 d->hunks);
		diff_free(d);
	}
}

/* Any bytes: no crash, and always the same as themselves. */
static void test_diff_any_bytes_are_the_same_as_themselves(void **state)
{
	static const char good[] = REAL IO(WORD("0x1e")) LOCK("0x3e") SLEEP("1") MESSAGE("a/1")
		HLT EVENT("new", "1") ",\"x\":{\"y\":[1,{}]},\"z\":\"\\\\\\\"\"}\n" END("0");
	static const char specials[] = "{}[]\",:\\\n\0/09 x";
	struct file *f = *state;
	char bytes[sizeof(good)];

	for (int round = 0; round < 1500; round++) {
		struct diff *d;

		memcpy(bytes, good, sizeof(good));
		for (unsigned i = 0; i < 1 + draw(8); i++)
			bytes[draw(sizeof(good) - 1)] = draw(3) ? specials[draw(sizeof(specials))]
								: (char)draw(256);
		put_text(f->path, bytes, sizeof(good) - 1 - draw(40));
		put_text(path_b, good, sizeof(good) - 1);
		d = compare(f, NULL, NULL, NULL);
		diff_free(d);
		put_text(path_b, bytes, sizeof(good) - 1);
		put_text(f->path, bytes, sizeof(good) - 1);
		d = compare(f, NULL, NULL, NULL);
		assert_int_equal(d->hunks, 0);
		diff_free(d);
	}
}

static void test_diff_missing_file_says_which(void **state)
{
	static const struct diff_options none;
	struct file *f = *state;
	char why[256];
	struct diff *d;

	put_text(f->path, REAL, strlen(REAL));
	assert_int_equal(diff_traces(&d, f->path, "/nonexistent", &none, why, sizeof(why)),
			 -ENOENT);
	assert_string_equal(why, "/nonexistent: No such file or directory");
}

static int collect(void *opaque, unsigned long line, const char *text)
{
	sprintf((char *)opaque + strlen(opaque), "%lu:%.9s ", line, text);
	return 0;
}

static void test_diff_fetch_gives_the_lines_that_are_asked_for(void **state)
{
	static const unsigned long lines[] = { 2, 4, 99 };
	struct file *f = *state;
	char got[128] = "";

	put_text(f->path, "1aaaaaaaa\n2bbbbbbbb\n3\n4dddddddd\n5\n", 35);
	assert_int_equal(diff_fetch(f->path, lines, 3, collect, got), 0);
	assert_string_equal(got, "2:2bbbbbbbb 4:4dddddddd ");
}

#define TEST_TWO(function) cmocka_unit_test_setup_teardown(function, set_up_two, tear_down_two)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_TWO(test_diff_finds_what_differs_and_nothing_else),
		TEST_TWO(test_diff_is_symmetric),
		TEST_TWO(test_diff_fields_that_one_cannot_have_are_not_missed),
		TEST_TWO(test_diff_events_that_a_device_cannot_tell_are_not_missed),
		TEST_TWO(test_diff_vcpus_that_one_cannot_tell_are_one),
		TEST_TWO(test_diff_options_leave_things_out),
		TEST_TWO(test_diff_tells_which_fields_it_compares),
		TEST_TWO(test_diff_random_edits_are_found_exactly),
		TEST_TWO(test_diff_short_traces_have_the_fewest_edits),
		TEST_TWO(test_diff_survives_insertions_where_everything_differs),
		TEST_TWO(test_diff_nothing_in_common_is_said),
		TEST_TWO(test_diff_damage_is_named_and_the_rest_compared),
		TEST_TWO(test_diff_any_bytes_are_the_same_as_themselves),
		TEST_TWO(test_diff_missing_file_says_which),
		TEST_TWO(test_diff_fetch_gives_the_lines_that_are_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
