// SPDX-License-Identifier: GPL-2.0-only
/* Set-up of the watching library: the one file of it that knows the dynamic linker. */
#include "watch/interpose.h"

#include "traces/inherit.h"
#include "vmm_shim/raw.h"
#include "watch/watch.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

struct watch_next watch_next;

static struct trace trace; /* no counts: there is none */
static int process;        /* that set this up */

/* ------------------------------------------------------------------ the kernel below */

static long kernel_ioctl(int fd, unsigned long request, unsigned long argument)
{
	int saved = errno;
	long result = watch_next.ioctl(fd, request, argument);

	if (result < 0)
		result = -errno;
	errno = saved;
	return result;
}

static void *kernel_map(int fd, size_t size)
{
	int saved = errno;
	void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	/* A child's copy would keep the vCPU alive. */
	if (address != MAP_FAILED)
		madvise(address, size, MADV_DONTFORK);
	errno = saved;
	return address;
}

static void kernel_unmap(void *address, size_t size)
{
	int saved = errno;

	munmap(address, size);
	errno = saved;
}

static void kernel_terminate(void)
{
	raw_syscall(SYS_kill, raw_syscall(SYS_getpid), SIGTERM);
}

static const struct watch_kernel kernel = { .ioctl = kernel_ioctl,
					    .map = kernel_map,
					    .unmap = kernel_unmap,
					    .terminate = kernel_terminate };

/* ------------------------------------------------------------------ the trace's descriptor */

int watch_trace_fd(void)
{
	return trace.counts ? atomic_load_explicit(&trace.fd, memory_order_relaxed) : -1;
}

void watch_trace_give_way(int fd)
{
	if (fd != watch_trace_fd() || raw_syscall(SYS_getpid) != process)
		return;
	trace_moved(&trace, (int)raw_syscall(SYS_fcntl, fd, F_DUPFD, fd + 1));
}

/* ------------------------------------------------------------------ beginning */

/* What the library itself calls by that name (trace.c, report.c): the kernel. */
long watch_own_syscall(long number, long a, long b, long c, long d, long e,
		       long f) __asm__("__wrap_syscall") __attribute__((visibility("hidden")));
long watch_own_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	long result = raw_syscall(number, a, b, c, d, e, f);

	if ((unsigned long)result > -4096ul) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

int watch_own_close(int fd) __asm__("__wrap_close") __attribute__((visibility("hidden")));
int watch_own_close(int fd)
{
	return (int)watch_own_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}

__attribute__((constructor)) static void construct(void)
{
	const char *text = getenv("BUSLOCK_WATCH");
	struct watch_options options = { 0 };
	struct report *report;

#define WATCH_FIND(type, name, arguments) *(void **)&watch_next.name = dlsym(RTLD_NEXT, #name);
	WATCH_NEXT(WATCH_FIND)
#undef WATCH_FIND
	process = (int)raw_syscall(SYS_getpid);
	report = report_inherit("BUSLOCK_WATCH");
	/* Options that are not understood are another version's: then nothing is touched. */
	if (!text || watch_options_parse(&options, text) < 0)
		report = NULL;
	if (!report)
		options = (struct watch_options){ 0 };
	trace_inherit(&trace, "BUSLOCK_WATCH", report);
	watch_configure(&options, &kernel, report, trace.counts ? &trace : NULL);
	if (report)
		atomic_fetch_add(&report->attached, 1);
}
