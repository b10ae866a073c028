// SPDX-License-Identifier: GPL-2.0-only
/*
 * Logs of others. Real lines are in traces/evidence/imported/; of bus locks none has been published, so
 * those here are made from the kernel's formats (arch/x86/kvm/trace.h of 5.4 to 6.18, plugin_kvm.c).
 */
#include "traces/import.h"
#include "traces/trace_read.h"

#include <errno.h>
#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define REAL   BUSLOCK_SOURCE_DIR "/traces/evidence/imported/"
#define INFO   " info1 0x0000000000000181 info2 0x0000000080000b0e"
#define INTR   " intr_info 0x800000fb error_code 0x00000002"
#define ZEROES " info1 0x0 info2 0x0 intr_info 0x00000000 error_code 0x00000000"
#define QEMU   "CPU 0/KVM-4242 [003] d.... 100.000001: "

/* ------------------------------------------------------------------ the reason */

static void test_import_kvm_exit_reason_in_every_layout(void **state)
{
	static const struct {
		const char *text;
		enum import_isa isa;
		uint32_t word;
	} cases[] = {
		{ "vcpu 0 reason BUS_LOCK 0x4000000 rip 0x401234" ZEROES, IMPORT_VMX, 0x400004a },
		{ "vcpu 0 reason BUS_LOCK rip 0x401234" ZEROES, IMPORT_VMX, 74 },
		{ "vcpu 0 reason EPT_VIOLATION 0x4000000 rip 0x1" ZEROES, IMPORT_VMX, 0x4000030 },
		{ "vcpu 0 reason INVALID_STATE FAILED_VMENTRY rip 0x1" ZEROES, IMPORT_VMX,
		  0x80000021 },
		{ "vcpu 0 reason INVALID_STATE FAILED_VMENTRY|0x4000000 rip 0x1" ZEROES, IMPORT_VMX,
		  0x84000021 },
		{ "vcpu 0 reason 0x58 rip 0x1" ZEROES, IMPORT_ISA_UNKNOWN, 0x58 },
		{ "vcpu 0 reason 0x58 0x4000000 rip 0x1" ZEROES, IMPORT_VMX, 0x4000058 },
		{ "vcpu 0 reason buslock rip 0x1" ZEROES, IMPORT_SVM, 0xa5 },
		{ "vcpu 0 reason AC excp rip 0x1" ZEROES, IMPORT_SVM, 0x51 },
		{ "vcpu 0 reason invalid_guest_state rip 0x1" ZEROES, IMPORT_SVM, 0xffffffff },
		/* 6.14 and later */
		{ "vcpu 0 reason IO_INSTRUCTION rip 0x1" INFO INTR " requests 0x0000000000000004",
		  IMPORT_VMX, 30 },
		/* 5.9 and before; before that without the vCPU */
		{ "vcpu 1 reason IO_INSTRUCTION rip 0xfff0 info 83 0", IMPORT_VMX, 30 },
		{ "reason PENDING_INTERRUPT rip 0xfff0 info 0 0", IMPORT_VMX, 7 },
		/* the plugin */
		{ "reason UNKNOWN (74) rip 0x1 info 0 0", IMPORT_VMX, 74 },
		{ "reason UNKNOWN (67108912) rip 0x1 info 83 0", IMPORT_VMX, 0x4000030 },
		{ "reason UNKNOWN (67108938) rip 0x1 info 0 0", IMPORT_VMX, 0x400004a },
		{ "reason EXIT_NPF rip 0x1 info 100000006 fee00300", IMPORT_SVM, 0x400 },
		{ "reason EXIT_MWAIT_COND rip 0x1 info 0 0", IMPORT_SVM, 0x8c },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct import_event e;
		char line[300];

		snprintf(line, sizeof(line), QEMU "kvm_exit: %s", cases[i].text);
		if (import_parse(line, &e) != IMPORT_EVENT)
			fail_msg("not understood: %s", line);
		assert_int_equal(e.kind, IMPORT_VM_EXIT);
		assert_true(e.has_word && e.has_rip);
		assert_int_equal(e.word, cases[i].word);
		assert_int_equal(e.isa, cases[i].isa);
	}
}

/* Of what it does not know of AMD the plugin says only that: a bus lock, perhaps. */
static void test_import_plugin_hides_which_exit_of_amd_it_was(void **state)
{
	struct import_event e;

	(void)state;
	assert_int_equal(import_parse(QEMU "kvm_exit: reason EXIT_ERR rip 0x1 info 0 0", &e),
			 IMPORT_EVENT);
	assert_int_equal(e.isa, IMPORT_SVM);
	assert_false(e.has_word);
}

static void test_import_kvm_exit_fields(void **state)
{
	struct import_event e;

	(void)state;
	assert_int_equal(import_parse(QEMU "kvm_exit: vcpu 7 reason EPT_VIOLATION rip "
					   "0xffffffff81000010" INFO INTR
					   " requests 0x0000000000000004",
				      &e),
			 IMPORT_EVENT);
	assert_true(e.has_vcpu && e.has_info && e.has_interruption && e.has_requests);
	assert_int_equal(e.vcpu, 7);
	assert_int_equal(e.rip, 0xffffffff81000010);
	assert_int_equal(e.info1, 0x181);
	assert_int_equal(e.info2, 0x80000b0e);
	assert_int_equal(e.interruption, 0x800000fb);
	assert_int_equal(e.error_code, 2);
	assert_int_equal(e.requests, 4);
	assert_false(e.nested);

	assert_int_equal(import_parse(QEMU "kvm_nested_vmexit: vcpu 0 reason HLT rip 0x1" ZEROES,
				      &e),
			 IMPORT_EVENT);
	assert_true(e.nested);
	/* under the plugin it has names of its own */
	assert_int_equal(import_parse(QEMU "kvm_nested_vmexit: rip 4004ae reason EXIT_NPF info1 6 "
					   "info2 7 int_info 80000020 int_info_err 1",
				      &e),
			 IMPORT_EVENT);
	assert_int_equal(e.rip, 0x4004ae);
	assert_int_equal(e.interruption, 0x80000020);
	assert_int_equal(e.error_code, 1);
}

static void test_import_entry_and_userspace_exit(void **state)
{
	struct import_event e;

	(void)state;
	assert_int_equal(import_parse(QEMU "kvm_entry: vcpu 1, rip 0xfff0", &e), IMPORT_EVENT);
	assert_true(e.kind == IMPORT_VM_ENTRY && e.has_vcpu && e.vcpu == 1 && e.rip == 0xfff0);
	assert_false(e.immediate_exit);
	/* without a blank, as the kernel prints it */
	assert_int_equal(import_parse(QEMU "kvm_entry: vcpu 1, rip 0xfff0[immediate exit]", &e),
			 IMPORT_EVENT);
	assert_true(e.immediate_exit);
	assert_int_equal(import_parse(QEMU "kvm_entry: vcpu 1, rip 0xfff0 intr_info 0x800000ec "
					   "error_code 0x00000000[immediate exit]",
				      &e),
			 IMPORT_EVENT);
	assert_true(e.immediate_exit && e.interruption == 0x800000ec);
	assert_int_equal(import_parse(QEMU "kvm_entry: vcpu 0", &e), IMPORT_EVENT);

	assert_int_equal(import_parse(QEMU "kvm_userspace_exit:   reason KVM_EXIT_IO (2)", &e),
			 IMPORT_EVENT);
	assert_true(e.kind == IMPORT_EXIT && e.has_number && e.number == 2 && !e.result);
	assert_int_equal(import_parse(QEMU "kvm_userspace_exit: reason 0x21 (33)", &e),
			 IMPORT_EVENT);
	assert_int_equal(e.number, 33);
	assert_int_equal(import_parse(QEMU "kvm_userspace_exit: reason restart (4)", &e),
			 IMPORT_EVENT);
	assert_true(!e.has_number && e.result == -EINTR);
	assert_int_equal(import_parse(QEMU "kvm_userspace_exit: reason error (14)", &e),
			 IMPORT_EVENT);
	assert_int_equal(e.result, -EFAULT);
}

/* ------------------------------------------------------------------ what stands in front */

static void test_import_prefixes_of_all_tools(void **state)
{
	static const struct {
		const char *prefix;
		bool has_thread, has_cpu;
		uint32_t thread, cpu;
		uint64_t ns;
	} cases[] = {
		{ "       run_guest-13556   [000] ..... 24114.776414: ", true, true, 13556, 0,
		  24114776414000 },
		{ "CPU 0/KVM-4242 [003] d.... 100.000001: ", true, true, 4242, 3, 100000001000 },
		{ "   CPU 1/KVM-4243 (   4240) [011] d..1. 100.000001: ", true, true, 4243, 11,
		  100000001000 },
		{ "   CPU 1/KVM-4243 (-------) [011] d..1. 100.000001: ", true, true, 4243, 11,
		  100000001000 },
		{ "CPU-1365880 [038] 5559771.610942: ", true, true, 1365880, 38, 5559771610942000 },
		{ "           <...>-77    [002]   1.5: ", true, true, 77, 2, 1500000000 },
		{ "       run_guest 13579 [000] 24114.944210: ", true, true, 13579, 0,
		  24114944210000 },
		{ "CPU 0/KVM 13579/13581 [000] 24114.944210123: ", true, true, 13581, 0,
		  24114944210123 },
		{ "[001]   770.850307: ", false, true, 0, 1, 770850307000 },
		{ "770.850307: ", false, false, 0, 0, 770850307000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static const char *const names[] = { "kvm_exit: ", "kvm:kvm_exit: ",
						     "          kvm:kvm_exit:       " };

		for (size_t n = 0; n < 3; n++) {
			struct import_event e;
			char line[300];

			snprintf(line, sizeof(line), "%s%svcpu 0 reason HLT rip 0x1" ZEROES,
				 cases[i].prefix, names[n]);
			if (import_parse(line, &e) != IMPORT_EVENT)
				fail_msg("not understood: %s", line);
			assert_true(e.has_time);
			assert_int_equal(e.time_ns, cases[i].ns);
			assert_int_equal(e.has_thread, cases[i].has_thread);
			assert_int_equal(e.thread, cases[i].thread);
			assert_int_equal(e.has_cpu, cases[i].has_cpu);
			assert_int_equal(e.cpu, cases[i].cpu);
		}
	}
}

static void test_import_log_prefixes(void **state)
{
#define TRAP \
	"x86/split lock detection: #AC: CPU 0/KVM/1234 took a split_lock trap at address: 0x7c05"
	static const struct {
		const char *line;
		bool has_time;
		uint64_t ns;
	} cases[] = {
		{ TRAP, false, 0 },
		{ "[  123.456789] " TRAP, true, 123456789000 },
		{ "<4>[  123.456789] " TRAP, true, 123456789000 },
		{ "kern  :warn  : [  123.456789] " TRAP, true, 123456789000 },
		{ "[Mon Nov  6 11:13:52 2023] " TRAP, true, 1699269232000000000 },
		{ "2023-11-06T11:13:52.5+00:00 host kernel: " TRAP, true, 1699269232500000000 },
		{ "Nov  6 11:13:52 host kernel: " TRAP, true, 973509232000000000 },
		{ "Nov  6 11:13:52 host kernel: [  123.456789] " TRAP, true, 123456789000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct import_event e;

		if (import_parse(cases[i].line, &e) != IMPORT_EVENT)
			fail_msg("not understood: %s", cases[i].line);
		assert_int_equal(e.kind, IMPORT_MESSAGE);
		assert_int_equal(e.has_time, cases[i].has_time);
		assert_int_equal(e.time_ns, cases[i].ns);
		assert_string_equal(e.trap, "AC");
		assert_string_equal(e.comm, "CPU 0/KVM");
		assert_int_equal(e.thread, 1234);
		assert_int_equal(e.address, 0x7c05);
		assert_string_equal(e.text, TRAP);
	}
}

static void test_import_log_messages_of_all_kinds(void **state)
{
#define SLD "x86/split lock detection: "
	static const struct {
		const char *text, *trap;
	} cases[] = {
		{ SLD "#DB: a/1 took a bus_lock trap at address: 0x4011ae", "DB" },
		{ SLD "#AC: a/1 fatal split_lock trap at address: 0x1", "AC" },
		{ SLD "#AC: a/1 bogus split_lock trap at address: 0x1", "AC" },
		{ SLD "#AC: crashing the kernel on kernel split_locks and sending SIGBUS on "
		      "user-space split_locks",
		  NULL },
		{ SLD "#DB: setting system wide bus lock rate limit to 10/sec", NULL },
		{ SLD "disabled", NULL },
	};
	struct import_event e;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(import_parse(cases[i].text, &e), IMPORT_EVENT);
		if (!cases[i].trap)
			assert_null(e.trap);
		else
			assert_string_equal(e.trap, cases[i].trap);
	}
	assert_int_equal(import_parse("[ 1.5] split_lock_warn: 12 callbacks suppressed", &e),
			 IMPORT_EVENT);
	assert_int_equal(e.count, 12);
}

/* ------------------------------------------------------------------ what is none */

static void test_import_other_lines_are_told_apart(void **state)
{
	static const struct {
		const char *line;
		enum import_line is;
	} cases[] = {
		{ "", IMPORT_NOTHING },
		{ "# tracer: nop", IMPORT_NOTHING },
		{ "cpus=2", IMPORT_NOTHING },
		{ "       qemu-1 [000] ..... 1.5: sched_switch: prev_comm=a: next_pid=2",
		  IMPORT_OTHER },
		{ "       qemu-1 [000] ..... 1.5: kvm_pio: pio_write at 0xe9 size 1",
		  IMPORT_OTHER },
		{ "[    1.000000] usb 1-1: new device", IMPORT_OTHER },
		{ "Mar 26 11:13:52 host systemd[1]: Started.", IMPORT_OTHER },
		{ "CPU:3 [LOST 812 EVENTS]", IMPORT_LOST },
		{ "hello world", IMPORT_UNKNOWN },
		{ QEMU "kvm_exit: vcpu 0 reason NO_SUCH rip 0x1" ZEROES, IMPORT_UNKNOWN },
		{ QEMU "kvm_exit: vcpu 0 reason HLT", IMPORT_UNKNOWN },
		{ QEMU "kvm_exit: vcpu 0 reason HLT rip 0x1 info1 0x1", IMPORT_UNKNOWN },
		{ QEMU "kvm_exit: vcpu 0 reason HLT rip 0x1" ZEROES " and more", IMPORT_UNKNOWN },
		{ QEMU "kvm_exit: vcpu 0 reason hlt 0x4000000 rip 0x1" ZEROES, IMPORT_UNKNOWN },
		{ QEMU "kvm_entry: rip", IMPORT_UNKNOWN },
		{ QEMU "kvm_userspace_exit: reason KVM_EXIT_IO", IMPORT_UNKNOWN },
		{ SLD "#AC: a took a split_lock trap at address: 0x1", IMPORT_UNKNOWN },
		{ SLD "#AC: a/1 took a split_lock trap at address: nowhere", IMPORT_UNKNOWN },
		{ SLD "#AC: a/1 met a split_lock trap at address: 0x1", IMPORT_UNKNOWN },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct import_event e;
		enum import_line is = import_parse(cases[i].line, &e);

		if (is != cases[i].is)
			fail_msg("%d instead of %d: %s", is, cases[i].is, cases[i].line);
	}
}

/* ------------------------------------------------------------------ whole files */

static unsigned complaints;
static void complain(void *opaque, const char *name, unsigned long number, const char *line)
{
	(void)opaque;
	(void)name;
	(void)number;
	(void)line;
	complaints++;
}

/* The trace that comes of a text, in a file that is gone when it is closed. */
static struct trace_reader *imported(const char *text, struct import_totals *totals)
{
	static const char *const names[] = { "text", NULL };
	char path[] = "/tmp/buslock-import-XXXXXX";
	struct trace_reader *reader;
	struct import *import;
	int fd = mkstemp(path);
	FILE *out = fdopen(fd, "w"), *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");

	complaints = 0;
	assert_non_null(out);
	assert_non_null(in);
	assert_int_equal(import_begin(&import, out, names, complain, NULL), 0);
	assert_int_equal(import_file(import, in, "text"), 0);
	assert_int_equal(import_end(import, totals), 0);
	fclose(in);
	fclose(out);
	assert_int_equal(trace_reader_open(&reader, path), 0);
	unlink(path);
	return reader;
}

static struct json_object *next(struct trace_reader *reader)
{
	struct trace_line line;
	char why[200];

	if (trace_reader_next(reader, &line, why, sizeof(why)) != TRACE_READ_GOOD)
		fail_msg("%s", why);
	return line.json;
}

static const char *text_of(struct json_object *json, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(json, key, &value) ? json_object_get_string(value) : "";
}

static void test_import_trace_is_as_the_schema_says(void **state)
{
	struct import_totals totals;
	struct trace_reader *reader = imported(
		"CPU 0/KVM-10 [003] d.... 100.000001: kvm_exit: vcpu 0 reason EPT_VIOLATION "
		"0x4000000 rip 0x401234" INFO INTR "\n"
		"not a line\n"
		"CPU 0/KVM-20 [003] d.... 100.000003: kvm_entry: vcpu 0, rip 0x1\n"
		"CPU 0/KVM-10 [003] d.... 100.000004: kvm_userspace_exit: reason 0x21 (33)\n"
		"CPU 0/KVM-10 [003] d.... 100.000005: kvm_pio: x\r\n"
		"[  123.456789] " TRAP "\n"
		"[  123.456789] " SLD "#AC: CPU 0/KVM/20 took a split_lock trap at address: 0x1\n",
		&totals);
	struct json_object *json = next(reader);

	(void)state;
	assert_string_equal(text_of(json, "backend"), "import");
	json = next(reader);
	assert_string_equal(text_of(json, "event"), "vm_exit");
	assert_string_equal(text_of(json, "time"), "0");
	assert_string_equal(text_of(json, "word"), "0x4000030");
	assert_string_equal(text_of(json, "reason"), "48");
	assert_string_equal(text_of(json, "reason_name"), "EPT_VIOLATION");
	assert_string_equal(text_of(json, "bus_lock"), "true");
	assert_string_equal(text_of(json, "interruption"), "0x800000fb");
	assert_string_equal(text_of(json, "vm"), "0");
	json = next(reader);
	assert_string_equal(text_of(json, "event"), "vm_entry");
	assert_string_equal(text_of(json, "time"), "2000");
	/* another thread with vCPU 0: another VM */
	assert_string_equal(text_of(json, "vm"), "1");
	json = next(reader);
	assert_string_equal(text_of(json, "event"), "exit");
	assert_string_equal(text_of(json, "vm"), "0");
	assert_string_equal(text_of(json, "vcpu"), "0");
	assert_string_equal(text_of(json, "reason_name"), "X86_BUS_LOCK");
	json = next(reader);
	assert_string_equal(text_of(json, "event"), "host_message");
	assert_string_equal(text_of(json, "trap"), "AC");
	assert_string_equal(text_of(json, "address"), "0x7c05");
	/* a task of which the log does not show that it runs a vCPU, and one that does */
	assert_null(json_object_object_get(json, "vcpu"));
	json = next(reader);
	assert_string_equal(text_of(json, "vm"), "1");
	assert_string_equal(text_of(json, "vcpu"), "0");
	json = next(reader);
	assert_string_equal(text_of(json, "event"), "end");
	trace_reader_close(reader);
	assert_int_equal(totals.lines, 7);
	assert_int_equal(totals.events, 5);
	assert_int_equal(totals.unknown, 1);
	assert_int_equal(complaints, 1);
	assert_int_equal(totals.others, 1);
	assert_string_equal(totals.other[0].name, "kvm_pio");
}

static void test_import_what_a_bus_lock_is_depends_on_the_vendor(void **state)
{
	static const struct {
		const char *reason, *is;
	} cases[] = {
		{ "BUS_LOCK", "true" }, { "BUS_LOCK 0x4000000", "true" }, { "HLT", "false" },
		{ "buslock", "true" },  { "write_idtr", "false" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct import_totals totals;
		struct trace_reader *reader;
		char line[200];

		snprintf(line, sizeof(line), QEMU "kvm_exit: vcpu 0 reason %s rip 0x1" ZEROES "\n",
			 cases[i].reason);
		reader = imported(line, &totals);
		next(reader);
		assert_string_equal(text_of(next(reader), "bus_lock"), cases[i].is);
		trace_reader_close(reader);
	}
}

/* Each line of the real samples is an event or a comment. */
static void test_import_real_samples_are_understood(void **state)
{
	static const struct {
		const char *file;
		unsigned events;
	} files[] = {
		{ REAL "ftrace-userspace-exit.txt", 11 },
		{ REAL "perf-script-userspace-exit.txt", 12 },
		{ REAL "kvm-exit-intel.txt", 6 },
		{ REAL "kvm-exit-amd.txt", 1 },
		{ REAL "kernel-log.txt", 10 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		FILE *in = fopen(files[i].file, "r");
		char line[512];
		unsigned events = 0;

		assert_non_null(in);
		while (fgets(line, sizeof(line), in)) {
			struct import_event e;
			enum import_line is;

			line[strcspn(line, "\n")] = '\0';
			is = import_parse(line, &e);
			if (is != IMPORT_EVENT && is != IMPORT_NOTHING)
				fail_msg("%s: %s", files[i].file, line);
			events += is == IMPORT_EVENT;
		}
		fclose(in);
		assert_int_equal(events, files[i].events);
	}
}

/* Any bytes, and any beginning of a good line. */
static void test_import_no_line_is_too_strange(void **state)
{
	static const char *const good[] = {
		QEMU
		"kvm_exit: vcpu 0 reason EPT_VIOLATION FAILED_VMENTRY|0x4000000 rip 0x1" INFO INTR
		" requests 0x4",
		"[Mon Nov  6 11:13:52 2023] " TRAP,
		QEMU "kvm_nested_vmexit: rip 4004ae reason EXIT_NPF info1 6 info2 7 int_info 8 "
		     "int_info_err 1",
	};
	struct import_event e;
	unsigned seed = 1;
	char line[300];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		for (size_t n = 0; n <= strlen(good[i]); n++) {
			/* a block of its own, so that a sanitizer sees one byte too many */
			char *cut = strndup(good[i], n);

			import_parse(cut, &e);
			free(cut);
		}
		for (int round = 0; round < 20000; round++) {
			snprintf(line, sizeof(line), "%s", good[i]);
			for (int k = 0; k < 3; k++) {
				seed = seed * 1103515245 + 12345;
				line[(seed >> 8) % strlen(good[i])] = (char)(seed >> 20 | 1);
			}
			import_parse(line, &e);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_import_kvm_exit_reason_in_every_layout),
		cmocka_unit_test(test_import_plugin_hides_which_exit_of_amd_it_was),
		cmocka_unit_test(test_import_kvm_exit_fields),
		cmocka_unit_test(test_import_entry_and_userspace_exit),
		cmocka_unit_test(test_import_prefixes_of_all_tools),
		cmocka_unit_test(test_import_log_prefixes),
		cmocka_unit_test(test_import_log_messages_of_all_kinds),
		cmocka_unit_test(test_import_other_lines_are_told_apart),
		cmocka_unit_test(test_import_trace_is_as_the_schema_says),
		cmocka_unit_test(test_import_what_a_bus_lock_is_depends_on_the_vendor),
		cmocka_unit_test(test_import_real_samples_are_understood),
		cmocka_unit_test(test_import_no_line_is_too_strange),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
