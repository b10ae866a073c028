// SPDX-License-Identifier: GPL-2.0-only
/*
 * A trace that is compressed while it is written: whoever is killed whenever, each line that has been
 * written is read again, once and in order. And whatever is damaged, the rest is used.
 */
#include "tests/unit/trace_file.h"
#include "traces/trace_pack.h"
#include "traces/trace_segment.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <zstd.h>

/* Lines are numbered by the length of a sleep. */
static void write_numbered(struct trace *t, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		trace_note_sleep(t, 0, 0, TRACE_SLEEP_POLICY, i, false);
}

struct numbers {
	uint64_t good;  /* they were 0, 1, 2 … so far */
	uint64_t found; /* numbered lines, whatever their numbers */
	uint64_t bad;
	unsigned long first_bad;
	char why[256]; /* the first */
};

static struct numbers read_numbers(const char *path)
{
	struct numbers numbers = { 0 };
	struct trace_reader *reader;
	struct trace_line line;
	char why[256];
	int r;

	assert_int_equal(trace_reader_open(&reader, path), 0);
	while ((r = trace_reader_next(reader, &line, why, sizeof(why))) > 0) {
		struct json_object *ns;

		if (r == TRACE_READ_BAD && !numbers.bad++) {
			numbers.first_bad = line.number;
			strcpy(numbers.why, why);
		}
		if (r == TRACE_READ_BAD || line.event != TRACE_SLEEP)
			continue;
		json_object_object_get_ex(line.json, "ns", &ns);
		numbers.found++;
		if (numbers.good == json_object_get_uint64(ns))
			numbers.good++;
	}
	assert_int_equal(r, 0);
	trace_reader_close(reader);
	return numbers;
}

static void expect_numbers(const char *path, uint64_t count)
{
	struct numbers numbers = read_numbers(path);

	if (numbers.good != count || numbers.found != count || numbers.bad)
		fail_msg("%" PRIu64 " of %" PRIu64 " lines in order, %" PRIu64 " found, %" PRIu64
			 " bad: line %lu: %s",
			 numbers.good, count, numbers.found, numbers.bad, numbers.first_bad,
			 numbers.why);
}

static char part_path[80];

static off_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -1 : st.st_size;
}

static int set_up_part(void **state)
{
	int error = set_up(state);
	struct file *f = *state;

	snprintf(part_path, sizeof(part_path), "%s.part", f->path);
	return error;
}

static int tear_down_part(void **state)
{
	unlink(part_path);
	return tear_down(state);
}

#define MANY 60000  /* lines: more than two segments */
#define LOTS 180000 /* as many as take longer to write than a look of the packer */

static void begin(struct file *f)
{
	create(f, false);
	assert_int_equal(trace_pack_start(&f->trace.pack, f->trace.fd, f->path), 0);
}

static int finish(struct file *f)
{
	const struct trace_end end = { .status = 0 };

	assert_int_equal(trace_finish(&f->trace, &end), 0);
	return trace_pack_finish(f->trace.pack);
}

/* ------------------------------------------------------------------ a run */

static void test_trace_pack_large_trace_is_one_small_file_at_the_end(void **state)
{
	struct file *f = *state;
	struct stat st;

	begin(f);
	write_numbered(&f->trace, 0, MANY);
	assert_int_equal(finish(f), 0);
	assert_int_equal(stat(f->path, &st), 0);
	assert_true(st.st_size > 1000 && st.st_size < MANY * 20);
	assert_int_equal(size_of(part_path), -1);
	expect_numbers(f->path, MANY);
}

static void test_trace_pack_short_trace_stays_plain(void **state)
{
	struct file *f = *state;
	char *text;

	begin(f);
	write_numbered(&f->trace, 0, 100);
	assert_int_equal(finish(f), 0);
	text = read_file(f->path);
	assert_int_equal(text[0], '{');
	assert_non_null(strstr(text, "\"event\":\"end\""));
	free(text);
	expect_numbers(f->path, 100);
	assert_int_equal(size_of(part_path), -1);
}

static void wait_for_part(void)
{
	for (int i = 0; size_of(part_path) <= 0; i++) {
		assert_true(i < 1000);
		usleep(10000);
	}
}

/* A long run does not fill the disk: what has been packed is given back while it goes on. */
static void test_trace_pack_frees_the_text_meanwhile(void **state)
{
	struct file *f = *state;
	struct stat st;

	begin(f);
	write_numbered(&f->trace, 0, MANY);
	wait_for_part();
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(stat(f->path, &st), 0);
		if (st.st_blocks * 512 < st.st_size / 2)
			break;
		usleep(10000);
	}
	assert_true(st.st_blocks * 512 < st.st_size / 2);
	expect_numbers(f->path, MANY); /* also while it is in two files */
	write_numbered(&f->trace, MANY, MANY + 10);
	assert_int_equal(finish(f), 0);
	expect_numbers(f->path, MANY + 10);
}

/* What a process writes that the monitor left behind. */
static void test_trace_pack_goes_on_behind_the_end(void **state)
{
	struct file *f = *state;

	begin(f);
	write_numbered(&f->trace, 0, MANY);
	assert_int_equal(finish(f), 0);
	write_numbered(&f->trace, MANY, MANY + 10);
	expect_numbers(f->path, MANY + 10);
}

static void test_trace_pack_other_files_are_left_alone(void **state)
{
	struct file *f = *state;
	int fd = open(part_path, O_RDWR | O_CREAT | O_EXCL, 0600);
	char *text;

	assert_int_equal(write(fd, "somebody's", 10), 10);
	close(fd);
	begin(f);
	write_numbered(&f->trace, 0, MANY);
	assert_int_equal(finish(f), 0); /* not compressed, but complete */
	text = read_file(part_path);
	assert_string_equal(text, "somebody's");
	free(text);
	expect_numbers(f->path, MANY);
}

/* Killed at any time, all writers at once: what was written is read. */
static void test_trace_pack_killed_at_any_time_loses_nothing(void **state)
{
	struct file *f = *state;
	_Atomic uint64_t *written =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned two_files = 0, finished = 0;

	for (unsigned round = 0; round < 6; round++) {
		uint64_t before;
		pid_t child;
		struct numbers numbers;

		atomic_store(written, 0);
		unlink(part_path);
		child = fork();
		if (!child) {
			const struct trace_end end = { .status = 0 };

			begin(f);
			for (uint64_t i = 0; i < LOTS; i++) {
				write_numbered(&f->trace, i, i + 1);
				atomic_store(written, i + 1);
			}
			trace_finish(&f->trace, &end);
			trace_pack_finish(f->trace.pack);
			_exit(0);
		}
		/* the first writes, the last joins the two files */
		usleep(round * 70000 + round % 7 * 1300);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		before = atomic_load(written);
		finished += before == LOTS;
		two_files += size_of(part_path) > 0;
		if (!size_of(f->path))
			continue;
		numbers = read_numbers(f->path);
		/* one line more may be there, or half of it */
		if (numbers.good < before || numbers.found > before + 1 || numbers.bad > 1)
			fail_msg("round %u: %" PRIu64 " written, %" PRIu64
				 " read in order, %" PRIu64 " found, %" PRIu64 " bad: %s",
				 round, before, numbers.good, numbers.found, numbers.bad,
				 numbers.why);
	}
	/* where it hits is chance; the steps themselves are below */
	print_message("killed with two files: %u, after the last line: %u, of 6\n", two_files,
		      finished);
	munmap(written, 4096);
}

/*
 * These stand in for the C library's in this program: the process dies at the n-th of these calls, in
 * front of it or behind it.
 */
static struct {
	int left; /* calls until then; 0: never */
	bool behind;
} death;

static void may_die(bool behind)
{
	if (death.left && death.behind == behind && !--death.left)
		_exit(9);
}

int ftruncate(int fd, off_t length)
{
	int r;

	may_die(false);
	r = (int)syscall(SYS_ftruncate, fd, length);
	may_die(true);
	return r;
}

int fallocate(int fd, int mode, off_t at, off_t length)
{
	int r;

	may_die(false);
	r = (int)syscall(SYS_fallocate, fd, mode, at, length);
	may_die(true);
	return r;
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
	ssize_t r;

	may_die(false);
	/* and in the middle of it */
	r = syscall(SYS_pwrite64, fd, bytes, death.left == 1 && death.behind && n > 1 ? n / 2 : n,
		    at);
	may_die(true);
	return r;
}

static void test_trace_pack_killed_at_each_step_loses_nothing(void **state)
{
	struct file *f = *state;
	int steps = 0;

	for (int behind = 0; behind < 2; behind++) {
		for (int n = 1;; n++) {
			int status;
			pid_t child;

			unlink(part_path);
			child = fork();
			if (!child) {
				create(f, false);
				write_numbered(&f->trace, 0, MANY);
				death.behind = behind;
				death.left = n;
				trace_pack_start(&f->trace.pack, f->trace.fd, f->path);
				finish(f);
				_exit(0);
			}
			waitpid(child, &status, 0);
			expect_numbers(f->path, MANY);
			if (!WEXITSTATUS(status))
				break;
			steps++;
		}
	}
	print_message("killed at %d steps\n", steps);
	assert_int_equal(steps, 2 * 7); /* two segments of two steps, and three to join them */
}

/* ------------------------------------------------------------------ the files at each moment */

/* A trace of three segments and a tail, built by hand. */
#define SEGMENTS 3
#define EACH     50
struct model {
	char *text; /* all of it */
	size_t size, at[SEGMENTS + 1];
	char *part;
	size_t part_size, end[SEGMENTS + 1]; /* of each segment in the other file */
};

#define HEADER                                                                                 \
	"{\"schema\":\"buslock-trace\",\"version\":1,\"tool\":\"t\",\"backend\":\"emulator\"," \
	"\"options\":null,\"time\":\"virtual\"}\n"

static void build(struct model *m)
{
	char *text = malloc(1 << 20), *part = malloc(1 << 20);
	ZSTD_CCtx *context = ZSTD_createCCtx();
	unsigned number = 0;

	ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
	*m = (struct model){ .text = text, .part = part };
	m->size = (size_t)sprintf(text, HEADER);
	for (int i = 0; i <= SEGMENTS; i++) {
		m->at[i] = i ? m->size : 0;
		for (int n = 0; n < EACH; n++)
			m->size += (size_t)sprintf(text + m->size,
						   "{\"event\":\"sleep\",\"time\":1,\"process\":0,"
						   "\"vm\":0,\"vcpu\":0,\"who\":\"host\",\"ns\":%u,"
						   "\"interrupted\":false}\n",
						   number++);
	}
	for (int i = 0; i < SEGMENTS; i++) {
		size_t from = m->at[i], n = m->at[i + 1] - from;
		char *header = part + m->part_size;
		size_t frame = ZSTD_compress2(context, header + sizeof(struct segment_header),
					      1 << 19, text + from, n);
		struct segment_header h = segment_header(from, n, EACH + !i, frame);

		memcpy(header, &h, sizeof(h));
		m->part_size += sizeof(h) + frame;
		m->end[i + 1] = m->part_size;
	}
	ZSTD_freeCCtx(context);
}

static void discard(struct model *m)
{
	free(m->text);
	free(m->part);
}

static void put_file(const char *path, const char *text, size_t n)
{
	int fd;

	unlink(path); /* emptying a file would make some file systems write it to the disk */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	close(fd);
}

#define ALL (EACH * (SEGMENTS + 1))

/* The other file is being written; the text in front of the last whole segment has been freed. */
static void test_trace_pack_half_a_segment_is_read_from_the_text(void **state)
{
	struct file *f = *state;
	struct model m;

	build(&m);
	for (size_t n = m.end[1]; n <= m.part_size; n++) {
		int whole = n >= m.end[3] ? 3 : n >= m.end[2] ? 2 : 1;

		memset(m.text, 0, m.at[whole]);
		put_file(f->path, m.text, m.size);
		put_file(part_path, m.part, n);
		expect_numbers(f->path, ALL);
	}
	discard(&m);
}

/* Whole in the other file, not freed yet. */
static void test_trace_pack_text_that_is_in_both_is_read_once(void **state)
{
	struct file *f = *state;
	struct model m;

	build(&m);
	memset(m.text, 0, m.at[1]);
	put_file(f->path, m.text, m.size);
	put_file(part_path, m.part, m.part_size);
	expect_numbers(f->path, ALL);
	discard(&m);
}

/* The frames are being copied into the hole, then the file is cut, then its first byte is written. */
static void test_trace_pack_joining_can_be_broken_off_anywhere(void **state)
{
	struct file *f = *state;
	struct model m;

	build(&m);
	m.size = m.at[SEGMENTS];
	memset(m.text, 0, m.size);
	assert_true(m.part_size < m.size);
	put_file(part_path, m.part, m.part_size);
	for (size_t n = 1; n < m.part_size; n++) {
		m.text[n] = m.part[n];
		if (n % 7 && n < m.part_size - 9)
			continue;
		put_file(f->path, m.text, m.size);
		expect_numbers(f->path, EACH * SEGMENTS);
	}
	put_file(f->path, m.text, m.part_size);
	expect_numbers(f->path, EACH * SEGMENTS);
	/* done, but the other file is still there */
	*m.text = *m.part;
	put_file(f->path, m.text, m.part_size);
	expect_numbers(f->path, EACH * SEGMENTS);
	unlink(part_path);
	expect_numbers(f->path, EACH * SEGMENTS);
	discard(&m);
}

static void test_trace_pack_lost_part_is_named(void **state)
{
	struct file *f = *state;
	struct numbers numbers;
	struct model m;

	build(&m);
	memset(m.text, 0, m.at[2]);
	put_file(f->path, m.text, m.size);
	numbers = read_numbers(f->path);
	assert_int_equal(numbers.found, 2 * EACH);
	assert_non_null(strstr(numbers.why, ".part belongs beside this one"));
	discard(&m);
}

/* Of another run that was killed. A trace that begins with text is all there. */
static void test_trace_pack_stale_part_is_not_read(void **state)
{
	struct file *f = *state;
	struct model m;

	build(&m);
	put_file(part_path, m.part, m.part_size);
	put_file(f->path, m.text, m.at[1]);
	expect_numbers(f->path, EACH);
	discard(&m);
}

/* ------------------------------------------------------------------ damage */

static void test_trace_pack_damaged_part_is_named(void **state)
{
	struct file *f = *state;
	struct numbers numbers;
	struct model m;

	build(&m);
	m.part[m.end[1]] = 0; /* the header of the second segment */
	memset(m.text, 0, m.at[3]);
	put_file(part_path, m.part, m.part_size);
	put_file(f->path, m.text, m.size);
	numbers = read_numbers(f->path);
	assert_int_equal(numbers.found, 3 * EACH);
	assert_int_equal(numbers.bad, 1);
	assert_non_null(strstr(numbers.why, "there is nothing"));
	discard(&m);
}

/* Any byte of any frame or header: at most the lines of one segment, and they are named. */
static void test_trace_pack_damage_costs_one_segment(void **state)
{
	struct file *f = *state;
	struct model m;

	build(&m);
	for (size_t n = 0; n < m.part_size; n += n < 100 ? 1 : 3) {
		static const char flips[] = { 0x41, 0x04, 0x10 };
		int hit = n >= m.end[2] ? 2 : n >= m.end[1] ? 1 : 0;

		for (size_t i = 0; i < sizeof(flips); i++) {
			struct numbers numbers;

			m.part[n] ^= flips[i];
			put_file(f->path, m.part, m.part_size);
			numbers = read_numbers(f->path);
			m.part[n] ^= flips[i];
			if (numbers.found >= EACH * (SEGMENTS - 1) &&
			    numbers.found <= EACH * SEGMENTS &&
			    (numbers.found == EACH * SEGMENTS || numbers.bad))
				continue;
			fail_msg("byte %zu ^ %#x, segment %d: %" PRIu64 " found, %" PRIu64
				 " bad: %s",
				 n, flips[i], hit, numbers.found, numbers.bad, numbers.why);
		}
	}
	discard(&m);
}

static void test_trace_pack_lines_behind_a_damaged_frame_keep_their_numbers(void **state)
{
	struct file *f = *state;
	struct numbers numbers;
	struct model m;

	build(&m);
	memset(m.part + m.end[1] + sizeof(struct segment_header) + 20, 0xff, 30);
	memcpy(m.part + m.part_size, "garbage\n", 8);
	put_file(f->path, m.part, m.part_size + 8);
	numbers = read_numbers(f->path);
	assert_int_equal(numbers.first_bad, EACH + 2);
	assert_non_null(strstr(numbers.why, "lines 52 to 101 are lost: the zstd frame at byte "));
	m.part[m.end[1] + sizeof(struct segment_header)] = 0; /* not even a frame */
	put_file(f->path, m.part, m.part_size + 8);
	numbers = read_numbers(f->path);
	assert_int_equal(numbers.first_bad, EACH + 2);
	assert_int_equal(numbers.bad, 2);
	assert_int_equal(numbers.found, 2 * EACH);
	discard(&m);
}

/* What zstd(1) makes, in any order, and lines that go across. */
static void test_trace_pack_frames_of_others_are_read(void **state)
{
	struct file *f = *state;
	char *file = malloc(1 << 20);
	size_t n = 0, cut;
	struct model m;

	build(&m);
	cut = m.at[1] + 40; /* in the middle of a line */
	n += ZSTD_compress(file + n, 1 << 18, m.text, cut, 3);
	memcpy(file + n, "\x50\x2a\x4d\x18\x03\0\0\0xyz", 11); /* a skippable one */
	n += 11;
	n += ZSTD_compress(file + n, 1 << 18, m.text + cut, m.at[2] - cut, 3);
	memcpy(file + n, m.text + m.at[2], m.at[3] - m.at[2]);
	n += m.at[3] - m.at[2];
	n += ZSTD_compress(file + n, 1 << 18, m.text + m.at[3], m.size - m.at[3], 3);
	put_file(f->path, file, n);
	expect_numbers(f->path, ALL);
	put_file(f->path, file, n - 5);
	assert_non_null(strstr(read_numbers(f->path).why, "it is cut short"));
	free(file);
	discard(&m);
}

/* Any bytes are a valid input. */
static void test_trace_pack_any_bytes_are_read_to_their_end(void **state)
{
	struct file *f = *state;
	char *bytes = malloc(1 << 16);
	uint64_t seed = 88172645463325252;
	struct model m;

	build(&m);
	for (int round = 0; round < 600; round++) {
		size_t n = m.part_size, at;

		memcpy(bytes, m.part, n);
		for (int i = 0; i < 1 + round % 12; i++) {
			seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
			at = seed % n;
			if (seed >> 60 < 6)
				bytes[at] = (char)(seed >> 32);
			else if (seed >> 60 < 10)
				memmove(bytes + at, bytes + seed / 3 % (n - 60),
					at < n - 60 ? 60 : n - at);
			else if (seed >> 60 < 13)
				n = at + 100 < n ? n - 50 : n;
			else
				memset(bytes + at, (char)(seed >> 32), n - at < 30 ? n - at : 30);
		}
		put_file(f->path, bytes, n);
		read_numbers(f->path);
		/* and as the second file of a trace */
		memset(m.text, 0, m.at[1 + round % 3]);
		put_file(part_path, bytes, n);
		put_file(f->path, m.text, m.size);
		read_numbers(f->path);
		unlink(part_path);
	}
	free(bytes);
	discard(&m);
}

#define TEST_PART(function) cmocka_unit_test_setup_teardown(function, set_up_part, tear_down_part)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_PART(test_trace_pack_large_trace_is_one_small_file_at_the_end),
		TEST_PART(test_trace_pack_short_trace_stays_plain),
		TEST_PART(test_trace_pack_frees_the_text_meanwhile),
		TEST_PART(test_trace_pack_goes_on_behind_the_end),
		TEST_PART(test_trace_pack_other_files_are_left_alone),
		TEST_PART(test_trace_pack_killed_at_any_time_loses_nothing),
		TEST_PART(test_trace_pack_killed_at_each_step_loses_nothing),
		TEST_PART(test_trace_pack_half_a_segment_is_read_from_the_text),
		TEST_PART(test_trace_pack_text_that_is_in_both_is_read_once),
		TEST_PART(test_trace_pack_joining_can_be_broken_off_anywhere),
		TEST_PART(test_trace_pack_lost_part_is_named),
		TEST_PART(test_trace_pack_stale_part_is_not_read),
		TEST_PART(test_trace_pack_damaged_part_is_named),
		TEST_PART(test_trace_pack_damage_costs_one_segment),
		TEST_PART(test_trace_pack_lines_behind_a_damaged_frame_keep_their_numbers),
		TEST_PART(test_trace_pack_frames_of_others_are_read),
		TEST_PART(test_trace_pack_any_bytes_are_read_to_their_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
