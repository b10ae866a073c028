/* SPDX-License-Identifier: GPL-2.0-only */
/* The shim over a script of exits (vmm_shim/backend_script.c), called directly. */
#ifndef BUSLOCK_TESTS_UNIT_SHIM_SCRIPT_H
#define BUSLOCK_TESTS_UNIT_SHIM_SCRIPT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "traces/report.h"
#include "vmm_shim/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
/* Forked children start threads of their own, which the sanitizer refuses by default. */
const char *__tsan_default_options(void);
__attribute__((visibility("default"))) const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}
#endif

static char script_path[] = "/tmp/buslock-script-XXXXXX";

static inline void script_remove(void)
{
	unlink(script_path);
}

/* Once per process: everything below runs on scripts. */
static inline int script_setup(void **state)
{
	struct shim_options options;
	int fd = mkstemp(script_path);

	(void)state;
	if (fd < 0)
		return -1;
	close(fd);
	atexit(script_remove);
	shim_options_default(&options);
	options.backend = SHIM_BACKEND_SCRIPT;
	options.script = script_path;
	return shim_configure(&options);
}

/* The kernel profile of what follows. */
static inline void use_kernel(unsigned kernel)
{
	profile_for(kernel, &shim_config.profile);
}

struct machine {
	int kvm, vm, vcpu;
	struct kvm_run *run;
};

static inline long fd_ioctl(int fd, unsigned long request, unsigned long argument)
{
	struct shim_file *file = shim_file_get(fd);
	long r;

	if (!file)
		return -EBADF;
	r = shim_ioctl(file, request, argument);
	shim_file_put(file);
	return r;
}
#define FD_IOCTL(fd, request, pointer) fd_ioctl(fd, request, (unsigned long)(pointer))

static inline void fd_close(int fd)
{
	close(fd);
	shim_descriptors_closed();
}

static inline void write_script(const char *text)
{
	FILE *file = fopen(script_path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* A VM whose vCPUs will do what the script says. */
static inline void vm_start(struct machine *m, const char *script)
{
	write_script(script);
	m->kvm = shim_open(O_RDWR | O_CLOEXEC);
	assert_true(m->kvm >= 0);
	m->vm = (int)fd_ioctl(m->kvm, KVM_CREATE_VM, 0);
	assert_true(m->vm >= 0);
}

static inline void vcpu_start(struct machine *m, unsigned id)
{
	m->vcpu = (int)fd_ioctl(m->vm, KVM_CREATE_VCPU, id);
	assert_true(m->vcpu >= 0);
	m->run = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	assert_ptr_not_equal(m->run, MAP_FAILED);
}

static inline void machine_start(struct machine *m, const char *script)
{
	vm_start(m, script);
	vcpu_start(m, 0);
}

static inline void machine_stop(struct machine *m)
{
	munmap(m->run, 3 * 4096);
	fd_close(m->vcpu);
	fd_close(m->vm);
	fd_close(m->kvm);
	files_reap();
}

static inline long run_once(const struct machine *m)
{
	return fd_ioctl(m->vcpu, KVM_RUN, 0);
}

static inline struct kvm_regs regs_of(const struct machine *m)
{
	struct kvm_regs regs;

	assert_int_equal(FD_IOCTL(m->vcpu, KVM_GET_REGS, &regs), 0);
	return regs;
}

static inline long enable(int fd, uint32_t cap, uint32_t flags, uint64_t argument)
{
	struct kvm_enable_cap k = { .cap = cap, .flags = flags, .args = { argument } };

	return FD_IOCTL(fd, KVM_ENABLE_CAP, &k);
}

#define BUS_LOCK_FLAG KVM_RUN_X86_BUS_LOCK

#endif
