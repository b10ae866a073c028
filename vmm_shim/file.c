// SPDX-License-Identifier: GPL-2.0-only
/*
 * Descriptors. Each object of ours is a sealed memory file; which object a descriptor means is told by
 * the file behind it (device and inode number), so dup(), fcntl(F_DUPFD), close-on-exec and passing
 * it on need no bookkeeping. An object is closed when no entry of /proc/self/fd shows its file.
 *
 * fstat() costs as much as a third of a KVM_RUN, so for vCPUs the answer is remembered per descriptor
 * number for one tick (a millisecond); every interposed close() ends the tick. For all others it is
 * asked every time.
 */
#include "vmm_shim/internal.h"
#include "vmm_shim/irqchip/irqchip.h"
#include "vmm_shim/raw.h"
#include "vmm_shim/vclock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX  2048
#define CACHED_FDS 4096

static _Atomic(struct shim_file *) files[FILES_MAX];
static _Atomic ino_t
	inodes[FILES_MAX]; /* of these: searched first, for there may be hundreds of vCPUs */
static _Atomic unsigned files_used; /* high-water mark */
static struct shim_lock files_lock;
static _Atomic bool reap_wanted;

/* Scans for closed files are numbered, and overlap; a file remembers the last one that saw it. */
static _Atomic uint64_t scans;

static struct {
	_Atomic(struct shim_file *) file;
	_Atomic unsigned generation;
} cache[CACHED_FDS];

/* Numbers that have been ours, and may be still. */
static _Atomic uint64_t numbers[CACHED_FDS / 64];

static void number_note(int fd)
{
	if (fd >= 0 && fd < CACHED_FDS)
		atomic_fetch_or_explicit(&numbers[fd / 64], 1ull << fd % 64, memory_order_relaxed);
}

/* One page that fork() empties in the child (MADV_WIPEONFORK): the process's number as long as it is
 * the process that set up the shim, whoever may have called fork or clone, and at no cost. */
static _Atomic(_Atomic pid_t *) identity;

pid_t process_id(void)
{
	_Atomic pid_t *page = atomic_load_explicit(&identity, memory_order_acquire);

	return page ? atomic_load_explicit(page, memory_order_relaxed) : 0;
}

bool file_is_ours(const struct shim_file *file)
{
	return file->owner == process_id();
}

static pid_t raw_getpid(void)
{
	return (pid_t)raw_syscall(SYS_getpid);
}

static int identity_create(void)
{
	_Atomic pid_t *page, *none = NULL;

	page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -ENOMEM;
	madvise(page, PAGE_SIZE,
		MADV_WIPEONFORK); /* Linux 4.14; without it shim_after_fork() must do */
	atomic_store(page, raw_getpid());
	if (!atomic_compare_exchange_strong(&identity, &none, page))
		munmap(page, PAGE_SIZE); /* another thread was first */
	return 0;
}

/* Locks may have been held by threads that do not exist here. */
static void start_afresh(void)
{
	atomic_store(&files_lock.state, 0);
	readers_after_fork();
	vcpus_after_fork();
	ticker_after_fork();
	irqchip_after_fork();
	host_after_fork();
	atomic_fetch_add(&ticker_generation, 1);
}

int process_enter(void)
{
	pid_t none = 0;

	if (!atomic_load(&identity)) {
		int r = identity_create();

		if (r)
			return r;
	}
	if (process_id() == 0) {
		start_afresh();
		atomic_compare_exchange_strong(atomic_load(&identity), &none, raw_getpid());
	}
	return 0;
}

void shim_after_fork(void)
{
	vclock_after_fork();
	if (!atomic_load(&identity))
		return;
	start_afresh();
	atomic_store(atomic_load(&identity), raw_getpid());
}

/* ------------------------------------------------------------------ making them */

static int seal(int fd, size_t size)
{
	int seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
	long r = size ? raw_syscall(SYS_ftruncate, fd, size) : 0;

	if (!size)
		seals |= F_SEAL_WRITE;
	return (int)(r ? r : raw_syscall(SYS_fcntl, fd, F_ADD_SEALS, seals));
}

static int fd_identify(int fd, dev_t *dev, ino_t *ino)
{
	struct stat st;

	if (raw_syscall(SYS_fstat, fd, &st))
		return -EBADF;
	*dev = st.st_dev;
	*ino = st.st_ino;
	return 0;
}

static int registry_add(struct shim_file *file)
{
	int r = -ENFILE;

	lock_take(&files_lock);
	for (unsigned i = 0; i < FILES_MAX; i++) {
		if (atomic_load(&files[i]))
			continue;
		atomic_store(&inodes[i], file->ino);
		atomic_store(&files[i], file);
		if (i >= atomic_load(&files_used))
			atomic_store(&files_used, i + 1);
		r = 0;
		break;
	}
	lock_drop(&files_lock);
	return r;
}

int file_open(struct shim_file *file, enum shim_kind kind, const char *name, int open_flags,
	      size_t size, void **map)
{
	unsigned flags = MFD_ALLOW_SEALING | (open_flags & O_CLOEXEC ? MFD_CLOEXEC : 0u);
	int fd = (int)raw_syscall(SYS_memfd_create, name, flags), r;

	if (fd < 0)
		return fd;
	r = seal(fd, size);
	if (!r)
		r = fd_identify(fd, &file->dev, &file->ino);
	if (!r && map) {
		*map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (*map == MAP_FAILED)
			r = -ENOMEM;
	}
	if (!r) {
		file->kind = kind;
		file->owner = process_id();
		atomic_store(&file->closed, false);
		/* Scans that have begun may have passed its number already. */
		atomic_store(&file->seen, atomic_load(&scans));
		atomic_store(&file->refs, 1);
		r = registry_add(file);
		if (r && map)
			munmap(*map, size);
	}
	if (r) {
		raw_syscall(SYS_close, fd);
		return r;
	}
	number_note(fd);
	return fd;
}

/* ------------------------------------------------------------------ finding them */

/* A file whose count has reached zero is about to be freed and stays dead. */
static bool file_try_get(struct shim_file *file)
{
	unsigned refs = atomic_load_explicit(&file->refs, memory_order_relaxed);

	while (refs) {
		if (atomic_compare_exchange_weak_explicit(&file->refs, &refs, refs + 1,
							  memory_order_acquire,
							  memory_order_relaxed))
			return true;
	}
	return false;
}

void file_get(struct shim_file *file)
{
	atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
}

void shim_file_put(struct shim_file *file)
{
	if (atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) == 1)
		atomic_store(&reap_wanted, true);
}

static struct shim_file *find(dev_t dev, ino_t ino)
{
	struct shim_file *found = NULL;
	unsigned n = atomic_load(&files_used);

	readers_enter();
	for (unsigned i = 0; i < n; i++) {
		struct shim_file *file;

		if (atomic_load_explicit(&inodes[i], memory_order_relaxed) != ino)
			continue;
		file = atomic_load(&files[i]);
		if (file && file->ino == ino && file->dev == dev) {
			if (file_try_get(file))
				found = file;
			break;
		}
	}
	readers_leave();
	return found;
}

static struct shim_file *get_slowly(int fd, unsigned generation)
{
	struct shim_file *file;
	dev_t dev;
	ino_t ino;

	if (!atomic_load_explicit(&files_used, memory_order_relaxed) || fd_identify(fd, &dev, &ino))
		return NULL;
	file = find(dev, ino);
	if (file)
		number_note(fd);
	if (file && file->kind == SHIM_VCPU && fd < CACHED_FDS) {
		atomic_store_explicit(&cache[fd].file, file, memory_order_relaxed);
		atomic_store_explicit(&cache[fd].generation, generation, memory_order_release);
	}
	return file;
}

/*
 * vCPU objects are recycled but never given back to malloc (vcpu.c), so that a reference can be tried
 * on a remembered pointer. Closing a descriptor bumps the generation before anything is recycled.
 */
struct shim_file *shim_file_get(int fd)
{
	unsigned generation = atomic_load_explicit(&ticker_generation, memory_order_acquire);

	if (fd < 0)
		return NULL;
	if (fd < CACHED_FDS &&
	    atomic_load_explicit(&cache[fd].generation, memory_order_acquire) == generation &&
	    atomic_load_explicit(&ticker_state, memory_order_relaxed) == TICKER_AWAKE) {
		struct shim_file *file =
			atomic_load_explicit(&cache[fd].file, memory_order_relaxed);

		if (file && file_try_get(file))
			return file;
	}
	return get_slowly(fd, generation);
}

int shim_descriptor_class(int fd)
{
	struct shim_file *file;
	int class;

	if (fd < 0 || fd >= CACHED_FDS ||
	    !(atomic_load_explicit(&numbers[fd / 64], memory_order_relaxed) >> fd % 64 & 1))
		return -1;
	file = shim_file_get(fd);
	if (!file)
		return -1;
	class = file->kind != SHIM_DEVICE;
	shim_file_put(file);
	return class;
}

/* ------------------------------------------------------------------ letting go of them */

static void mark_fd(int fd, uint64_t number)
{
	dev_t dev;
	ino_t ino;
	unsigned n = atomic_load(&files_used);

	if (fd_identify(fd, &dev, &ino))
		return;
	for (unsigned i = 0; i < n; i++) {
		struct shim_file *file;
		uint64_t seen;

		if (atomic_load_explicit(&inodes[i], memory_order_relaxed) != ino)
			continue;
		file = atomic_load(&files[i]);
		if (!file || file->ino != ino || file->dev != dev)
			continue;
		seen = atomic_load(&file->seen);
		while (seen < number && !atomic_compare_exchange_weak(&file->seen, &seen, number))
			;
	}
}

struct linux_dirent64 {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

static int parse_fd(const char *name)
{
	int fd = 0;

	if (*name < '0' || *name > '9')
		return -1;
	while (*name >= '0' && *name <= '9')
		fd = fd * 10 + (*name++ - '0');
	return fd;
}

/* Marks all files that a descriptor refers to with the number of this scan, which it returns. */
static uint64_t mark_all(void)
{
	uint64_t number = atomic_fetch_add(&scans, 1) + 1;
	_Alignas(struct linux_dirent64) char buffer[2048];
	int directory = (int)raw_syscall(SYS_openat, AT_FDCWD, "/proc/self/fd",
					 O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	long n;

	if (directory < 0) { /* no /proc here */
		for (int fd = 0; fd < CACHED_FDS; fd++)
			mark_fd(fd, number);
		return number;
	}
	while ((n = raw_syscall(SYS_getdents64, directory, buffer, sizeof(buffer))) > 0) {
		for (long at = 0; at < n;) {
			const struct linux_dirent64 *entry = (const void *)(buffer + at);
			int fd = parse_fd(entry->d_name);

			if (fd >= 0 && fd != directory)
				mark_fd(fd, number);
			at += entry->d_reclen;
		}
	}
	raw_syscall(SYS_close, directory);
	return number;
}

static bool unseen(const struct shim_file *file, uint64_t number)
{
	return file && file_is_ours(file) && !atomic_load(&file->closed) &&
	       atomic_load(&file->seen) < number;
}

/* Async-signal-safe, any thread. Nothing is freed here. */
static void scan(void)
{
	unsigned n = atomic_load(&files_used);
	uint64_t first;
	bool missing = false;

	readers_enter();
	first = mark_all();
	for (unsigned i = 0; i < n && !missing; i++)
		missing = unseen(atomic_load(&files[i]), first);
	/* A list of descriptors is not taken at one instant: dup() and close() by another thread may
	 * have moved a file from a number not yet reached to one passed already. Look again. */
	if (missing)
		mark_all();
	for (unsigned i = 0; missing && i < n; i++) {
		struct shim_file *file = atomic_load(&files[i]);
		bool open = false;

		if (unseen(file, first) &&
		    atomic_compare_exchange_strong(&file->closed, &open, true))
			shim_file_put(file);
	}
	readers_leave();
}

void shim_descriptors_closed(void)
{
	/* A vfork child closes its own descriptors, in its parent's memory. */
	if (!atomic_load(&files_used) || process_id() != raw_getpid())
		return;
	atomic_fetch_add(&ticker_generation, 1);
	scan();
}

static void file_free(struct shim_file *file)
{
	switch (file->kind) {
	case SHIM_DEVICE:
		free(file);
		break;
	case SHIM_VM:
		vm_free((struct shim_vm *)file);
		break;
	case SHIM_VCPU:
		vcpu_released((struct shim_vcpu *)file);
		break;
	}
}

static struct shim_file *take_dead(void)
{
	unsigned n = atomic_load(&files_used);
	struct shim_file *dead = NULL;

	lock_take(&files_lock);
	for (unsigned i = 0; i < n && !dead; i++) {
		struct shim_file *file = atomic_load(&files[i]);

		if (!file || atomic_load(&file->refs) || !file_is_ours(file))
			continue;
		atomic_store(&files[i], NULL);
		dead = file;
	}
	lock_drop(&files_lock);
	return dead;
}

void files_reap(void)
{
	struct shim_file *dead;

	if (!atomic_load_explicit(&reap_wanted, memory_order_relaxed))
		return;
	atomic_store(&reap_wanted, false);
	while ((dead = take_dead())) {
		readers_wait();
		file_free(dead); /* a vCPU lets go of its VM, which may be the next */
	}
}

/* ------------------------------------------------------------------ /dev/kvm */

int shim_open(int open_flags)
{
	kernel_sigset mask;
	struct shim_file *file;
	int fd = process_enter();

	if (fd)
		return fd;
	mask = signals_block();
	config_ready();
	files_reap();
	file = calloc(1, sizeof(*file));
	fd = file ? file_open(file, SHIM_DEVICE, "kvm", open_flags, 0, NULL) : -ENOMEM;
	if (fd < 0)
		free(file);
	signals_restore(mask); /* NOLINT(clang-analyzer-unix.Malloc): the registry has the file */
	return fd;
}

bool shim_is_kvm_path(const char *path)
{
	return path && strcmp(path, "/dev/kvm") == 0;
}
