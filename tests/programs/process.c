/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a monitor's process does around KVM: opens the device in every way, duplicates, forks, executes,
 * polls, maps, is signalled, loses memory. Each case holds on the real device as well.
 *
 *   process CASE     exit status 0: as Linux does it; 1: not, and what; 77: no /dev/kvm
 */
#include "tests/integration/case.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

static char self[4096];

/* ------------------------------------------------------------------ opening */

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int directory, const char *path, int flags);

static void opened(const char *how, int fd)
{
	CHECK(fd >= 0, "%s: %s", how, strerror(errno));
	CHECK(is_device(fd), "%s: not a KVM device: %s", how, strerror(errno));
	CHECK(close(fd) == 0, "%s", how);
}

static void case_open(void)
{
	int directory = open("/dev", O_RDONLY | O_DIRECTORY);
	char link[] = "/tmp/buslock-link-XXXXXX", name[64];
	FILE *file;

	CHECK(directory >= 0, "/dev");
	CHECK(mkdtemp(link), "%s", strerror(errno));
	snprintf(name, sizeof(name), "%s/kvm", link);
	opened("open", open("/dev/kvm", O_RDWR));
	opened("open64", open64("/dev/kvm", O_RDWR));
	opened("openat", openat(AT_FDCWD, "/dev/kvm", O_RDWR));
	opened("openat64", openat64(-1, "/dev/kvm", O_RDWR));
	opened("openat of its directory", openat(directory, "kvm", O_RDWR));
	opened("__open_2", __open_2("/dev/kvm", O_RDWR));
	opened("__open64_2", __open64_2("/dev/kvm", O_RDWR));
	opened("__openat_2", __openat_2(AT_FDCWD, "/dev/kvm", O_RDWR));
	opened("syscall(SYS_open)", (int)syscall(SYS_open, "/dev/kvm", O_RDWR));
	opened("syscall(SYS_openat)", (int)syscall(SYS_openat, AT_FDCWD, "/dev/kvm", O_RDWR, 0));
	opened("//", open("//dev//kvm", O_RDWR));
	opened("..", open("/dev/../dev/./kvm", O_RDWR));
	CHECK(symlink("/dev", name) == 0, "%s", strerror(errno));
	strcat(name, "/kvm");
	opened("a link to its directory", open(name, O_RDWR));
	name[strlen(name) - 4] = 0;
	unlink(name);
	rmdir(link);
	CHECK(chdir("/dev") == 0, "/dev");
	opened("relative", open("kvm", O_RDWR));
	opened("./", open("./kvm", O_RDWR));
	file = fopen("/dev/kvm", "r+");
	if (file) { /* only where there is one: the C library opens it inside itself */
		CHECK(is_device(fileno(file)), "fopen");
		fclose(file);
	}
	CHECK(open("/dev/kvm", O_RDWR | O_CREAT | O_EXCL, 0600) < 0 && errno == EEXIST, "%s",
	      strerror(errno));
	CHECK(open("/dev/kvm", O_RDONLY | O_DIRECTORY) < 0 && errno == ENOTDIR, "%s",
	      strerror(errno));
	CHECK(open("/nowhere/kvm", O_RDWR) < 0 && errno == ENOENT, "%s", strerror(errno));
	CHECK(open("/dev/akvm", O_RDWR) < 0 && errno == ENOENT, "%s", strerror(errno));
	close(directory);
}

/* ------------------------------------------------------------------ what it looks like */

static void looks(const char *how, int result, const struct stat *status)
{
	CHECK(result == 0, "%s: %s", how, strerror(errno));
	CHECK(S_ISCHR(status->st_mode), "%s: mode %o", how, status->st_mode);
	CHECK(status->st_rdev == makedev(10, 232), "%s: %u:%u", how, major(status->st_rdev),
	      minor(status->st_rdev));
}

static void case_looks(void)
{
	struct stat status;
	struct statx statx_status;
	int fd = kvm_open(), vm = ioctl(fd, KVM_CREATE_VM, 0);

	looks("stat", stat("/dev/kvm", &status), &status);
	looks("lstat", lstat("/dev/kvm", &status), &status);
	looks("fstatat", fstatat(AT_FDCWD, "/dev/kvm", &status, 0), &status);
	looks("fstat", fstat(fd, &status), &status);
	looks("fstatat of nothing", fstatat(fd, "", &status, AT_EMPTY_PATH), &status);
	looks("syscall(SYS_stat)", (int)syscall(SYS_stat, "/dev/kvm", &status), &status);
	CHECK(statx(AT_FDCWD, "/dev/kvm", 0, STATX_BASIC_STATS, &statx_status) == 0, "%s",
	      strerror(errno));
	CHECK(S_ISCHR(statx_status.stx_mode) && statx_status.stx_rdev_major == 10 &&
		      statx_status.stx_rdev_minor == 232,
	      "statx: mode %o", statx_status.stx_mode);
	CHECK(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &statx_status) == 0, "%s",
	      strerror(errno));
	CHECK(S_ISCHR(statx_status.stx_mode), "statx of a descriptor: mode %o",
	      statx_status.stx_mode);
	CHECK(access("/dev/kvm", R_OK | W_OK) == 0, "%s", strerror(errno));
	CHECK(access("/dev/kvm", X_OK) < 0 && errno == EACCES, "%s", strerror(errno));
	CHECK(faccessat(AT_FDCWD, "/dev/kvm", R_OK | W_OK, 0) == 0, "%s", strerror(errno));
	CHECK(euidaccess("/dev/kvm", R_OK | W_OK) == 0, "%s", strerror(errno));
	CHECK(vm >= 0 && fstat(vm, &status) == 0, "%s", strerror(errno));
	CHECK((status.st_mode & S_IFMT) == 0, "a VM: mode %o", status.st_mode);
	CHECK(fstat(0, &status) == 0 || errno == EBADF, "%s", strerror(errno));
}

/* ------------------------------------------------------------------ descriptors */

static void case_dup(void)
{
	int fd = kvm_open(), second = dup(fd), third = fcntl(fd, F_DUPFD, 100), vm, again;

	CHECK(third >= 100, "%d", third);
	close(fd);
	CHECK(is_device(second), "%s", strerror(errno));
	vm = ioctl(second, KVM_CREATE_VM, 0);
	CHECK(vm >= 0, "%s", strerror(errno));
	again = dup3(vm, 200, O_CLOEXEC);
	CHECK(again == 200, "%d", again);
	close(vm);
	CHECK(ioctl(again, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) > 0, "%s", strerror(errno));
	/* Another file in its place closes the VM; the old number is an ordinary file then. */
	CHECK(dup2(STDERR_FILENO, again) == again, "%s", strerror(errno));
	CHECK(ioctl(again, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) < 0 && errno == ENOTTY, "%s",
	      strerror(errno));
	CHECK(is_device(third), "%s", strerror(errno));
	CHECK(close(again) == 0 && close(again) < 0 && errno == EBADF, "%s", strerror(errno));
	CHECK(ioctl(again, KVM_GET_API_VERSION, 0) < 0 && errno == EBADF, "%s", strerror(errno));
}

/* Closed in the way number `way`. */
static void close_by(int way, int fd, int other)
{
	switch (way) {
	case 0:
		close(fd);
		break;
	case 1:
		dup2(other, fd);
		break;
	case 2:
		dup3(other, fd, 0);
		break;
	case 3:
		close_range((unsigned)fd, (unsigned)fd, 0);
		break;
	case 4:
		syscall(SYS_close, fd);
		break;
	default:
		closefrom(fd);
	}
}

/* More than any table holds at once, in each way by itself: another one would clean up after it. */
static void case_many(void)
{
	struct vm vm;
	int other = open("/dev/null", O_RDONLY);

	for (int way = 0; way < 6; way++)
		for (int i = 0; i < 3000; i++) {
			int fd = open("/dev/kvm", O_RDWR);

			CHECK(fd >= 0, "open %d, closed by %d: %s", i, way, strerror(errno));
			close_by(way, fd, other);
			/* Not a device any more: this close is nobody's business. */
			if (way == 1 || way == 2)
				close(fd);
		}
	vm_create(&vm, GUEST_MEMORY);
	for (int i = 0; i < 100; i++) {
		int fd = ioctl(vm.kvm, KVM_CREATE_VM, 0), vcpu = ioctl(fd, KVM_CREATE_VCPU, 0);

		CHECK(fd >= 0 && vcpu >= 0, "VM %d: %s", i, strerror(errno));
		close(fd);
		close(vcpu);
	}
}

static void case_close_range(void)
{
	struct vm vm;
	struct vcpu vcpu;
	int first, kept;

	vm_create(&vm, GUEST_MEMORY);
	vcpu_create(&vm, &vcpu, 0);
	kept = dup2(vm.kvm, 300);
	first = vm.kvm < vm.fd ? vm.kvm : vm.fd;
	CHECK(close_range((unsigned)first, 299, 0) == 0, "%s", strerror(errno));
	CHECK(ioctl(vcpu.fd, KVM_RUN, 0) < 0 && errno == EBADF, "%s", strerror(errno));
	/* The mapping of a closed vCPU stays readable. */
	CHECK(vcpu.run->exit_reason == 0, "%u", vcpu.run->exit_reason);
	CHECK(is_device(kept), "%s", strerror(errno));
	vm_create(&vm, GUEST_MEMORY);
	closefrom(vm.fd);
	CHECK(ioctl(vm.fd, KVM_CHECK_EXTENSION, 0) < 0 && errno == EBADF, "%s", strerror(errno));
}

static void case_poll(void)
{
	int fd = kvm_open();
	struct pollfd poll_fd = { fd, POLLIN | POLLOUT, 0 };
	fd_set set;
	struct timeval none = { 0, 0 };

	/* No poll method: always ready (DEFAULT_POLLMASK), in KVM as in a memory file. */
	CHECK(poll(&poll_fd, 1, 0) == 1 && poll_fd.revents == (POLLIN | POLLOUT), "%#x",
	      poll_fd.revents);
	FD_ZERO(&set);
	FD_SET(fd, &set);
	CHECK(select(fd + 1, &set, NULL, NULL, &none) == 1, "%s", strerror(errno));
}

static void case_raw_mmap(void)
{
	struct vm vm;
	struct kvm_run *run;
	int vcpu;

	vm_create(&vm, GUEST_MEMORY);
	vcpu = (int)kvm_ioctl(vm.fd, KVM_CREATE_VCPU, 0);
	run = (struct kvm_run *)own_syscall(SYS_mmap, 0, (long)vm.run_size, PROT_READ | PROT_WRITE,
					    MAP_SHARED, vcpu, 0);
	CHECK((unsigned long)run < -4096ul, "%ld", (long)run);
	run->immediate_exit = 1;
	CHECK(ioctl(vcpu, KVM_RUN, 0) < 0 && errno == EINTR, "%s", strerror(errno));
}

/* ------------------------------------------------------------------ other processes */

static void case_fork(void)
{
	struct vm vm;
	struct vcpu vcpu;
	pid_t child;

	vm_create(&vm, GUEST_MEMORY);
	vcpu_create(&vm, &vcpu, 0);
	child = fork();
	if (child == 0) {
		/* Another address space: kvm_vm_ioctl() and kvm_vcpu_ioctl() refuse with EIO. */
		CHECK(ioctl(vm.fd, KVM_CHECK_EXTENSION, 0) < 0 && errno == EIO, "%s",
		      strerror(errno));
		CHECK(ioctl(vcpu.fd, KVM_RUN, 0) < 0 && errno == EIO, "%s", strerror(errno));
		CHECK(is_device(vm.kvm), "%s", strerror(errno));
		close(vm.fd);
		close(vcpu.fd);
		vm_create(&vm, GUEST_MEMORY);
		vcpu_create(&vm, &vcpu, 0);
		vcpu.run->immediate_exit = 1;
		CHECK(ioctl(vcpu.fd, KVM_RUN, 0) < 0 && errno == EINTR, "%s", strerror(errno));
		_exit(0);
	}
	wait_for(child);
	vcpu.run->immediate_exit = 1;
	CHECK(ioctl(vcpu.fd, KVM_RUN, 0) < 0 && errno == EINTR, "%s", strerror(errno));
	child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (child == 0) {
		CHECK(ioctl(vm.fd, KVM_CHECK_EXTENSION, 0) < 0 && errno == EIO, "%s",
		      strerror(errno));
		_exit(0);
	}
	wait_for(child);
	child = (pid_t)syscall(SYS_fork);
	if (child == 0) {
		CHECK(ioctl(vm.fd, KVM_CHECK_EXTENSION, 0) < 0 && errno == EIO, "%s",
		      strerror(errno));
		_exit(0);
	}
	wait_for(child);
}

static void case_vfork(void)
{
	struct vm vm;
	struct vcpu vcpu;
	pid_t child;

	vm_create(&vm, GUEST_MEMORY);
	vcpu_create(&vm, &vcpu, 0);
	child = vfork();
	if (child == 0) {
		close(vcpu.fd);
		close(vm.fd);
		close(vm.kvm);
		close_range(3, ~0u, 0);
		dup2(2, vm.fd);
		execl("/bin/true", "true", (char *)NULL);
		_exit(127);
	}
	wait_for(child);
	/* The child's descriptors were its own, our memory was its too. */
	vcpu.run->immediate_exit = 1;
	CHECK(ioctl(vcpu.fd, KVM_RUN, 0) < 0 && errno == EINTR, "%s", strerror(errno));
	CHECK(ioctl(vm.fd, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) > 0, "%s", strerror(errno));
	CHECK(system("true") == 0, "system()");
	CHECK(ioctl(vm.fd, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) > 0, "%s", strerror(errno));
}

/* "is-closed N" and "is-device N": what a program finds that was executed with descriptor N. */
static void execute(const char *what, int fd)
{
	char number[16];
	pid_t child;

	snprintf(number, sizeof(number), "%d", fd);
	child = fork();
	if (child == 0) {
		execl(self, self, what, number, (char *)NULL);
		_exit(127);
	}
	wait_for(child);
}

static void case_exec(void)
{
	struct vm vm;
	int kept;

	vm_create(&vm, GUEST_MEMORY); /* opened with O_CLOEXEC */
	kept = dup(vm.kvm);           /* duplicates stay open */
	CHECK((fcntl(vm.fd, F_GETFD) & FD_CLOEXEC), "a VM's descriptor stays open");
	execute("is-closed", vm.kvm);
	execute("is-closed", vm.fd);
	execute("is-device", kept);
}

/* ------------------------------------------------------------------ signals and faults */

static volatile sig_atomic_t handled;
static void *volatile fault_address;
static volatile int fault_signal;

static void on_signal(int signal)
{
	handled = signal;
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	fault_signal = signal;
	fault_address = info->si_addr;
	/* The access is done again after this. */
	mprotect((void *)((uintptr_t)info->si_addr & ~4095ul), 4096, PROT_READ | PROT_WRITE);
}

static void case_dispositions(void)
{
	struct sigaction action, found;
	uint8_t *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vm vm;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_signal;
	action.sa_flags = SA_RESTART;
	sigaddset(&action.sa_mask, SIGUSR2);
	CHECK(sigaction(SIGSEGV, &action, NULL) == 0, "%s", strerror(errno));
	vm_create(&vm, GUEST_MEMORY);
	/* Whatever happened to it meanwhile, the program finds what it left. */
	CHECK(sigaction(SIGSEGV, NULL, &found) == 0, "%s", strerror(errno));
	CHECK(found.sa_handler == on_signal && (found.sa_flags & SA_RESTART) &&
		      sigismember(&found.sa_mask, SIGUSR2) && !sigismember(&found.sa_mask, SIGUSR1),
	      "flags %#x", found.sa_flags);
	CHECK(sigaction(SIGBUS, NULL, &found) == 0 && found.sa_handler == SIG_DFL, "SIGBUS");
	CHECK(raise(SIGSEGV) == 0 && handled == SIGSEGV, "%d", (int)handled);

	action.sa_sigaction = on_fault;
	action.sa_flags = SA_SIGINFO;
	CHECK(sigaction(SIGSEGV, &action, &found) == 0 && found.sa_handler == on_signal, "old one");
	*(volatile uint8_t *)(page + 5) = 7;
	CHECK(fault_signal == SIGSEGV && fault_address == page + 5 && page[5] == 7, "%p",
	      fault_address);
	CHECK(signal(SIGSEGV, SIG_IGN) != SIG_ERR, "%s", strerror(errno));
	CHECK(kill(getpid(), SIGSEGV) == 0, "ignored");
	CHECK(signal(SIGSEGV, on_signal) == SIG_IGN, "signal()");
	handled = 0;
	CHECK(kill(getpid(), SIGSEGV) == 0 && handled == SIGSEGV, "%d", (int)handled);
	CHECK(sysv_signal(SIGSEGV, on_signal) == on_signal, "sysv_signal()");
	raise(SIGSEGV);
	CHECK(sigaction(SIGSEGV, NULL, &found) == 0 && found.sa_handler == SIG_DFL, "SA_RESETHAND");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	CHECK(sigset(SIGBUS, on_signal) == SIG_DFL, "sigset()");
	handled = 0;
	raise(SIGBUS);
	CHECK(handled == SIGBUS, "%d", (int)handled);
	CHECK(sigset(SIGBUS, SIG_HOLD) == on_signal && sigset(SIGBUS, SIG_DFL) == SIG_HOLD, "hold");
#pragma GCC diagnostic pop
}

/* Dies of a fault of its own: for the parent's status. */
static void case_crash(void)
{
	int *volatile nowhere = (int *)8;
	struct vm vm;

	vm_create(&vm, GUEST_MEMORY);
	*nowhere = 1;
}

static void case_crash_sent(void)
{
	struct vm vm;

	vm_create(&vm, GUEST_MEMORY);
	kill(getpid(), SIGSEGV);
	pause();
}

/* ------------------------------------------------------------------ guests */

/* A vCPU in real mode on `size` bytes of code. */
static void guest(struct vm *vm, struct vcpu *vcpu, const void *code, size_t size)
{
	vm_create(vm, GUEST_MEMORY);
	vcpu_create(vm, vcpu, 0);
	guest_write(vm, GUEST_LOAD, code, size);
	vcpu_start(vcpu, GUEST_REAL, GUEST_LOAD, 0, 0, 0, 1);
}

static const uint8_t spin[] = { 0xeb, 0xfe }; /* jmp $ */
static const uint8_t load[] = {
	0xa0, 0x00, 0x80, 0xe6, 0x10, 0xf4
}; /* mov al,[8000h]; out 10h,al; hlt */

static pthread_t runner;
static atomic_int running;

enum kick { BY_PTHREAD_KILL, BY_TGKILL, BY_KILL, BY_SIGQUEUE, BY_SYSCALL, KICKS };
static pid_t runner_tid;

static void kick_once(enum kick how)
{
	union sigval value = { .sival_int = 5 };

	switch (how) {
	case BY_PTHREAD_KILL:
		pthread_kill(runner, SIGUSR1);
		break;
	case BY_TGKILL:
		tgkill(getpid(), runner_tid, SIGUSR1);
		break;
	case BY_KILL:
		kill(getpid(), SIGUSR1);
		break;
	case BY_SIGQUEUE:
		pthread_sigqueue(runner, SIGUSR1, value);
		break;
	default:
		syscall(SYS_tgkill, getpid(), runner_tid, SIGUSR1);
	}
}

static void *kicker(void *opaque)
{
	enum kick how = *(enum kick *)opaque;
	sigset_t set;

	/* The only thread that can take it is the one that runs the vCPU. */
	sigfillset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	while (!atomic_load(&running))
		sched_yield();
	usleep(20000);
	kick_once(how);
	return NULL;
}

static void case_kick(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct vm vm;
	struct vcpu vcpu;

	sigaction(SIGUSR1, &action, NULL);
	guest(&vm, &vcpu, spin, sizeof(spin));
	runner = pthread_self();
	runner_tid = gettid();
	for (enum kick how = 0; how < KICKS; how++) {
		pthread_t thread;

		handled = 0;
		atomic_store(&running, 0);
		CHECK(pthread_create(&thread, NULL, kicker, &how) == 0, "thread");
		atomic_store(&running, 1);
		CHECK(ioctl(vcpu.fd, KVM_RUN, 0) < 0 && errno == EINTR, "kick %d: %s", how,
		      strerror(errno));
		CHECK(handled == SIGUSR1, "kick %d: handler ran for %d", how, (int)handled);
		pthread_join(thread, NULL);
	}
}

static void expect_efault(struct vcpu *vcpu, const char *why)
{
	long result = _vcpu_run(vcpu);

	CHECK(result == -EFAULT, "%s: %s, exit %s", why, result_name(result),
	      exit_name(vcpu->run->exit_reason));
}

static void expect_value(struct vcpu *vcpu, uint8_t value, const char *why)
{
	struct kvm_run *run = vcpu->run;
	long result = _vcpu_run(vcpu);

	CHECK(result == 0 && run->exit_reason == KVM_EXIT_IO, "%s: %s, exit %s", why,
	      result_name(result), exit_name(run->exit_reason));
	CHECK(*((uint8_t *)run + run->io.data_offset) == value, "%s: %#x", why,
	      *((uint8_t *)run + run->io.data_offset));
	vcpu_start(vcpu, GUEST_REAL, GUEST_LOAD, 0, 0, 0, 1);
}

static void case_memory(void)
{
	struct vm vm;
	struct vcpu vcpu;
	uint8_t *page;

	guest(&vm, &vcpu, load, sizeof(load));
	page = vm.memory + 0x8000;
	*page = 0x11;
	expect_value(&vcpu, 0x11, "memory");
	mprotect(page, 4096, PROT_NONE);
	expect_efault(&vcpu, "mprotect(PROT_NONE)");
	mprotect(page, 4096, PROT_READ);
	expect_value(&vcpu, 0x11, "mprotect(PROT_READ)");
	munmap(page, 4096);
	expect_efault(&vcpu, "munmap");
	CHECK(mmap(page, 4096, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == page,
	      "%s", strerror(errno));
	*page = 0x22;
	expect_value(&vcpu, 0x22, "mmap");
	CHECK(mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		   0) == page,
	      "%s", strerror(errno));
	expect_value(&vcpu, 0, "mmap over it");
	CHECK(mmap(page, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page,
	      "%s", strerror(errno));
	expect_efault(&vcpu, "mmap(PROT_NONE) over it");
	mprotect(page, 4096, PROT_READ | PROT_WRITE);
	*page = 0x33;
	expect_value(&vcpu, 0x33, "mprotect(PROT_READ | PROT_WRITE)");
	CHECK(madvise(page, 4096, MADV_DONTNEED) == 0, "%s", strerror(errno));
	expect_value(&vcpu, 0, "madvise(MADV_DONTNEED)");
	CHECK(mremap(page, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED,
		     mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED,
	      "%s", strerror(errno));
	expect_efault(&vcpu, "mremap");
	CHECK(own_syscall(SYS_mmap, (long)page, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (long)page,
	      "raw mmap");
	/* Any interposed call may notice what a raw one did; this is one. */
	mprotect(page, 4096, PROT_READ | PROT_WRITE);
	expect_value(&vcpu, 0, "mapped again");
}

/* Nobody is told: the fault itself must be understood. */
static void case_truncate(void)
{
	struct vm vm;
	struct vcpu vcpu;
	int file = memfd_create("guest", 0);
	uint8_t *memory;

	guest(&vm, &vcpu, load, sizeof(load));
	CHECK(ftruncate(file, 0x10000) == 0, "%s", strerror(errno));
	memory = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(memory != MAP_FAILED, "%s", strerror(errno));
	memcpy(memory, vm.memory, 0x10000);
	memory[0x8000] = 0x44;
	kvm_checked(_vm_slot(&vm, 0, 0, 0, 0, NULL), "delete");
	kvm_checked(_vm_slot(&vm, 0, 0, 0, 0x10000, memory), "file");
	expect_value(&vcpu, 0x44, "file");
	CHECK(ftruncate(file, 0x8000) == 0, "%s", strerror(errno));
	expect_efault(&vcpu, "truncated");
	CHECK(ftruncate(file, 0x10000) == 0, "%s", strerror(errno));
	expect_value(&vcpu, 0, "grown again");
	own_syscall(SYS_munmap, (long)(memory + 0x8000), 4096, 0, 0, 0, 0);
	expect_efault(&vcpu, "unmapped by a raw system call");
}

/* A vCPU thread that blocks every signal, as those of many monitors do. */
static void case_blocked(void)
{
	sigset_t set, now;

	sigfillset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	case_truncate();
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	CHECK(sigismember(&now, SIGBUS) && sigismember(&now, SIGSEGV), "unblocked for ever");
}

/* The program's own fault while one of its threads runs a guest stays the program's. */
static void *run_guest(void *opaque)
{
	struct vcpu *vcpu = opaque;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	atomic_store(&running, 1);
	return (void *)_vcpu_run(vcpu);
}

static void case_fault_beside(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	uint8_t *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vm vm;
	struct vcpu vcpu;
	pthread_t thread;

	sigaction(SIGSEGV, &action, NULL);
	guest(&vm, &vcpu, spin, sizeof(spin));
	CHECK(pthread_create(&thread, NULL, run_guest, &vcpu) == 0, "thread");
	while (!atomic_load(&running))
		sched_yield();
	usleep(5000);
	*(volatile uint8_t *)page = 1;
	CHECK(fault_signal == SIGSEGV && fault_address == page, "%p", fault_address);
	/* Ends with the process, as a monitor's threads do. */
}

/*
 * Everything at once: a vCPU that is kicked, VMs that come and go, descriptors that are duplicated and
 * closed, children. No call may find an object of its own gone.
 */
static atomic_int storm_over;
static struct vm storm_vm;

static void *storm_opens(void *opaque)
{
	(void)opaque;
	while (!atomic_load(&storm_over)) {
		int fd = open("/dev/kvm", O_RDWR), second = dup(fd);

		close(fd);
		CHECK(is_device(second), "%s", strerror(errno));
		close(second);
	}
	return NULL;
}

static void *storm_vms(void *opaque)
{
	struct vm vm;
	struct vcpu vcpu;

	(void)opaque;
	for (unsigned n = 0; !atomic_load(&storm_over); n++) {
		guest(&vm, &vcpu, spin, sizeof(spin));
		vcpu.run->immediate_exit = 1;
		CHECK(_vcpu_run(&vcpu) == -EINTR, "%s", strerror(errno));
		/* In either order. */
		if (n & 1)
			vcpu_destroy(&vcpu);
		vm_destroy(&vm);
		if (!(n & 1))
			vcpu_destroy(&vcpu);
	}
	return NULL;
}

static void *storm_children(void *opaque)
{
	(void)opaque;
	while (!atomic_load(&storm_over)) {
		pid_t child = fork();

		if (child == 0) {
			struct vm vm;
			struct vcpu vcpu;

			CHECK(ioctl(storm_vm.fd, KVM_CHECK_EXTENSION, 0) < 0 && errno == EIO, "%s",
			      strerror(errno));
			guest(&vm, &vcpu, load, sizeof(load));
			expect_value(&vcpu, 0, "child");
			_exit(0);
		}
		wait_for(child);
		CHECK(system("true") == 0, "system()");
	}
	return NULL;
}

static void *storm_run(void *opaque)
{
	struct vcpu *vcpu = opaque;

	while (!atomic_load(&storm_over))
		CHECK(_vcpu_run(vcpu) == -EINTR, "%s", strerror(errno));
	return NULL;
}

static void case_storm(void)
{
	void *(*const works[])(void *) = { storm_opens, storm_vms, storm_children };
	struct sigaction action = { .sa_handler = on_signal };
	pthread_t threads[3];
	struct vcpu vcpu;

	sigaction(SIGUSR1, &action, NULL);
	guest(&storm_vm, &vcpu, spin, sizeof(spin));
	CHECK(pthread_create(&runner, NULL, storm_run, &vcpu) == 0, "thread");
	for (int i = 0; i < 3; i++)
		CHECK(pthread_create(&threads[i], NULL, works[i], NULL) == 0, "thread");
	for (int i = 0; i < 5000; i++) {
		void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		pthread_kill(runner, SIGUSR1);
		munmap(page, 4096);
		usleep(200);
	}
	atomic_store(&storm_over, 1);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	/* A kick between its look at the end and its run would be lost. */
	while (pthread_tryjoin_np(runner, NULL)) {
		pthread_kill(runner, SIGUSR1);
		usleep(1000);
	}
}

/* Runs a guest and gives everything back: for leak checkers. */
static void case_leak(void)
{
	struct vm vm;
	struct vcpu vcpu;

	guest(&vm, &vcpu, load, sizeof(load));
	expect_value(&vcpu, 0, "memory");
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

/* As a daemon starts another program. */
static void case_close_and_execute(void)
{
	closefrom(3);
	execl(self, self, "raw-mmap", (char *)NULL);
	_exit(127);
}

/* ------------------------------------------------------------------ main */

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "open", case_open },         { "looks", case_looks },
	{ "dup", case_dup },           { "close-range", case_close_range },
	{ "poll", case_poll },         { "raw-mmap", case_raw_mmap },
	{ "fork", case_fork },         { "vfork", case_vfork },
	{ "exec", case_exec },         { "dispositions", case_dispositions },
	{ "crash", case_crash },       { "crash-sent", case_crash_sent },
	{ "kick", case_kick },         { "memory", case_memory },
	{ "truncate", case_truncate }, { "fault-beside", case_fault_beside },
	{ "leak", case_leak },         { "close-and-execute", case_close_and_execute },
	{ "storm", case_storm },       { "many", case_many },
	{ "blocked", case_blocked },
};

int main(int argc, char **argv)
{
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n < 0 ? 0 : n] = 0;
	if (argc == 3 && !strcmp(argv[1], "is-closed"))
		return fcntl(atoi(argv[2]), F_GETFD) < 0 && errno == EBADF ? 0 : 1;
	if (argc == 3 && !strcmp(argv[1], "is-device"))
		return is_device(atoi(argv[2])) ? 0 : 1;
	for (size_t i = 0; argc == 2 && i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(argv[1], cases[i].name))
			continue;
		close(kvm_open()); /* no device: 77 */
		cases[i].run();
		return 0;
	}
	fprintf(stderr, "usage: process CASE; cases:\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		fprintf(stderr, "%s\n", cases[i].name);
	return 2;
}
