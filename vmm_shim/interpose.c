// SPDX-License-Identifier: GPL-2.0-only
/*
 * Set-up of the preloaded library, and knowing which process it is in. The one file that knows the
 * dynamic linker.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "traces/inherit.h"
#include "vmm_shim/interpose.h"
#include "vmm_shim/shim.h"

struct interpose_next next;
_Atomic bool interpose_opened, interpose_vm;

enum { SETUP_NONE, SETUP_RUNNING, SETUP_DONE };
static _Atomic int next_state, configure_state;

/*
 * One page that is wiped in every child that gets a copy of this memory, however it was made
 * (MADV_WIPEONFORK): fork(), _Fork(), a bare clone(). It keeps its value in a vfork child, which
 * shares it. Reading it costs nothing, where getpid() is a system call.
 */
static _Atomic int *process_mark;
static _Atomic pid_t process_pid;

static void find_next(void)
{
#define INTERPOSE_FIND(type, name, arguments) *(void **)&next.name = dlsym(RTLD_NEXT, #name);
	INTERPOSE_NEXT(INTERPOSE_FIND)
#undef INTERPOSE_FIND
}

static void mark_process(void)
{
	long page = RAW(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

	atomic_store(&process_pid, (pid_t)RAW(SYS_getpid));
	if ((unsigned long)page > -4096ul)
		return;
	if (RAW(SYS_madvise, page, 4096, MADV_WIPEONFORK) < 0) {
		RAW(SYS_munmap, page, 4096);
		return;
	}
	process_mark = (_Atomic int *)page;
	atomic_store(process_mark, 1);
}

static struct trace trace; /* no counts: there is none */

static void forked(void)
{
	atomic_store(&process_pid, (pid_t)RAW(SYS_getpid));
	trace_after_fork(&trace);
	interpose_signal_after_fork();
	interpose_fault_after_fork();
	shim_after_fork();
}

void interpose_check_fork(void)
{
	int copied = 0;

	if (process_mark && atomic_load_explicit(process_mark, memory_order_relaxed) == 0 &&
	    atomic_compare_exchange_strong(process_mark, &copied, 1))
		forked();
}

static void atfork_child(void)
{
	if (process_mark)
		interpose_check_fork();
	else
		forked();
}

bool interpose_foreign_child(void)
{
	return atomic_load(&process_pid) != (pid_t)RAW(SYS_getpid);
}

static int number_in_environment(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long value;

	if (!text || !*text)
		return -1;
	value = strtol(text, &end, 10);
	return *end || value < 0 || value > INT32_MAX ? -1 : (int)value;
}

int interpose_trace_fd(void)
{
	return trace.counts ? atomic_load_explicit(&trace.fd, memory_order_relaxed) : -1;
}

void interpose_trace_give_way(int fd)
{
	if (fd != interpose_trace_fd() || interpose_foreign_child())
		return;
	trace_moved(&trace, (int)RAW(SYS_fcntl, fd, F_DUPFD, fd + 1));
}

void interpose_trace_check(void)
{
	if (trace.counts && !trace_check(&trace))
		shim_log(1, "the trace's descriptor has been closed: its events are lost");
}

static void configure(void)
{
	struct shim_options options;
	const char *text = getenv("BUSLOCK_OPTIONS");
	int level = number_in_environment("BUSLOCK_LOG");
	const char *log = getenv("BUSLOCK_LOG");
	static const char *const levels[] = { "nothing", "warning", "info", "debug" };
	char why[160] = "";
	int result;

	shim_options_default(&options);
	result = text ? shim_options_parse(&options, text, why, sizeof(why)) : 0;
	if (level >= 0)
		options.log_level = level;
	for (int i = 0; log && i < 4; i++) {
		const char *a = log, *b = levels[i];

		while (*a && *a == *b)
			a++, b++;
		if (!*a && !*b)
			options.log_level = i;
	}
	options.report = report_inherit("BUSLOCK");
	if (options.report)
		atomic_fetch_add(&options.report->attached, 1);
	if (trace_inherit(&trace, "BUSLOCK", options.report))
		options.trace = &trace;
	if (result < 0)
		shim_log(1, "BUSLOCK_OPTIONS=%s: %s; using the defaults", text, why);
	result = shim_configure(&options);
	if (result < 0)
		shim_log(1, "configuration refused (%d): a descriptor is open already", result);
}

/* True for the one caller that is to do it. Who comes while it is being done can only be the same
 * thread again, from below: it passes through. */
static bool claim(_Atomic int *state)
{
	int expected = SETUP_NONE;

	return atomic_load_explicit(state, memory_order_acquire) == SETUP_NONE &&
	       atomic_compare_exchange_strong(state, &expected, SETUP_RUNNING);
}

void interpose_find(void)
{
	if (!claim(&next_state))
		return;
	find_next();
	mark_process();
	atomic_store_explicit(&next_state, SETUP_DONE, memory_order_release);
}

void interpose_setup(void)
{
	interpose_find();
	/* A sanitizer's runtime installs its handlers before the C library has an environment. */
	if (environ && claim(&configure_state)) {
		pthread_atfork(NULL, NULL, atfork_child);
		interpose_thread_install();
		configure();
		atomic_store_explicit(&configure_state, SETUP_DONE, memory_order_release);
	}
}

__attribute__((constructor)) static void construct(void)
{
	interpose_setup();
}

pid_t interpose_Fork(void)
{
	pid_t pid;

	if (!next._Fork) {
		errno = ENOSYS;
		return -1;
	}
	pid = next._Fork();
	if (pid == 0)
		atfork_child();
	return pid;
}

/* ------------------------------------------------------------------ under these names */

INTERPOSE(interpose_Fork, _Fork);
