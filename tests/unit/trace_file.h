/* SPDX-License-Identifier: GPL-2.0-only */
/* For the tests of traces: a file of its own for each, one event of each kind, a count of what is read. */
#ifndef BUSLOCK_TESTS_TRACE_FILE_H
#define BUSLOCK_TESTS_TRACE_FILE_H

#include "traces/report.h"
#include "traces/trace_read.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Needs some of those above. */
#include <cmocka.h>

struct file {
	char path[64];
	struct trace_counts *counts; /* shared with forked children */
	struct trace trace;
};

static inline int set_up(void **state)
{
	struct file *f = calloc(1, sizeof(*f));
	int fd;

	strcpy(f->path, "/tmp/buslock-trace-XXXXXX");
	fd = mkstemp(f->path);
	if (fd < 0)
		return -1;
	close(fd);
	f->counts = mmap(NULL, sizeof(*f->counts), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*state = f;
	return f->counts == MAP_FAILED ? -1 : 0;
}

static inline int tear_down(void **state)
{
	struct file *f = *state;

	trace_close(&f->trace);
	munmap(f->counts, sizeof(*f->counts));
	unlink(f->path);
	free(f);
	return 0;
}

static inline void create(struct file *f, bool virtual_time)
{
	char argument[] = "guest \"1\" \xff\xc3\xa4", *command[] = { argument, NULL }, why[128];
	const struct trace_header header = { .backend = "emulator",
					     .options = "vendor=intel",
					     .virtual_time = virtual_time,
					     .command = command };

	assert_int_equal(trace_create(&f->trace, f->path, f->counts, &header, why, sizeof(why)), 0);
}

static inline uint64_t fixed_clock(void)
{
	return 12345;
}

/* One of each, with all that is optional. */
static inline void write_all(struct trace *t)
{
	static const uint64_t args[4] = { 2, 0, UINT64_MAX, 1 };
	const struct trace_exit exit = {
		.reason = 33,
		.flags = 7,
		.has_word = true,
		.has_rip = true,
		.has_registers = true,
		.kept = true,
		.registers = 0xcbf29ce484222325,
		.word = 0x0400004a,
		.rip = 0x7c05,
		.linear_rip = 0xffffffff81000010,
	};
	const struct report_lock lock = {
		.rip = 0x10,
		.linear_rip = 0x1010,
		.linear = 0x203e,
		.gpa = 0x13e,
		.size = 4,
		.cause = REPORT_SPLIT | REPORT_STUFFED,
		.cpl = 3,
		.mode = 64,
		.insn_length = 3,
		.insn = { 0xf0, 0xff, 0x07 },
		.memory_type = 6,
		.guest_type = 7,
		.stuffed = REPORT_STUFFED_DESCRIPTOR,
		.in_delivery = true,
	};

	trace_note_vm_created(t, 0);
	trace_note_vcpu_created(t, 0, 1, 5);
	trace_note_capability(t, 0, 193, "X86_BUS_LOCK_EXIT", args, -EINVAL);
	trace_note_run(t, 0, 1, true);
	trace_note_lock(t, 0, 1, &lock);
	trace_note_exit(t, 0, 1, &exit);
	trace_note_host_message(t, 0, 1, "#AC: CPU 0/KVM/1 took a split_lock trap");
	trace_note_sleep(t, 0, 1, TRACE_SLEEP_HOST, 10000000, true);
	trace_note_nondeterministic(t, "a thread runs beside it");
	trace_note_locked(t, 0, 1, &lock);
	trace_note_not_covered(t, 0, 1, &lock.rip, "a split lock");
}

/* Text of the file; the caller's. */
static inline char *read_file(const char *path)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	char *text;

	assert_int_equal(fstat(fd, &st), 0);
	text = calloc(1, (size_t)st.st_size + 1);
	assert_non_null(text);
	assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
	close(fd);
	return text;
}

struct seen {
	unsigned long good, bad, last_bad, events[TRACE_EVENTS];
	char why[256];
};

static inline struct seen read_trace(const char *path)
{
	struct seen seen = { 0 };
	struct trace_reader *reader;
	struct trace_line line;
	char why[256];
	int r;

	assert_int_equal(trace_reader_open(&reader, path), 0);
	while ((r = trace_reader_next(reader, &line, why, sizeof(why))) > 0) {
		if (r == TRACE_READ_GOOD) {
			seen.good++;
			if (line.event >= 0)
				seen.events[line.event]++;
			continue;
		}
		seen.bad++;
		seen.last_bad = line.number;
		strcpy(seen.why, why);
	}
	assert_int_equal(r, 0);
	trace_reader_close(reader);
	return seen;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

#endif
