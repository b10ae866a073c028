// SPDX-License-Identifier: GPL-2.0-only
/*
 * The order of things is what makes it safe: text is freed only when its frame is whole in the other
 * file, and that file goes only when all of it is in the trace. Whoever is killed in between leaves
 * two files that are read as one (trace_source.c). The trace keeps its inode, so a process that the
 * monitor left behind goes on writing into it.
 */
#include "traces/trace_pack.h"
#include "traces/trace_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#define LEVEL     1 /* twelve times smaller already; more would cost the monitor's machine time */
#define PERIOD_NS 100000000l

struct trace_pack {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ending;
	int fd;   /* the trace, not O_APPEND: Linux would append what is written in place */
	int part; /* -1: no segment has been closed yet */
	char *part_path;
	int error;   /* nothing is packed any more */
	off_t done;  /* text in front of this is in the other file */
	off_t parts; /* length of that */
	ZSTD_CCtx *context;
	char *text;
	char *frame; /* with its header in front */
	size_t frame_room;
};

static int read_all(int fd, char *text, size_t size, off_t at)
{
	while (size) {
		ssize_t n = pread(fd, text, size, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		text += n;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

static int write_all(int fd, const char *text, size_t size, off_t at)
{
	while (size) {
		ssize_t n = pwrite(fd, text, size, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		text += n;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

/* ------------------------------------------------------------------ one segment */

/* Left by a run that was killed; a file of somebody else's is not touched. */
static int remove_stale(const char *path)
{
	struct segment_header header;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	n = read(fd, &header, sizeof(header));
	close(fd);
	if (n == sizeof(header) ? !segment_header_read(&header) : n != 0)
		return -EEXIST;
	return unlink(path) ? -errno : 0;
}

static int open_part(struct trace_pack *p)
{
	struct stat st;
	int error = remove_stale(p->part_path);

	if (error)
		return error;
	if (fstat(p->fd, &st))
		return -errno;
	p->part = open(p->part_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, st.st_mode & 0777);
	return p->part < 0 ? -errno : 0;
}

static uint64_t count_lines(const char *text, size_t n)
{
	const char *end = text + n, *at;
	uint64_t lines = 0;

	while ((at = memchr(text, '\n', (size_t)(end - text)))) {
		lines++;
		text = at + 1;
	}
	return lines;
}

static int write_segment(struct trace_pack *p, size_t text)
{
	struct segment_header header;
	size_t n = ZSTD_compress2(p->context, p->frame + sizeof(header),
				  p->frame_room - sizeof(header), p->text, text);
	int error;

	if (ZSTD_isError(n))
		return -ENOMEM;
	/* At the end all frames have to find room where text was. */
	if (p->parts + (off_t)(n + sizeof(header)) > p->done + (off_t)text)
		return -EFBIG;
	header = segment_header((uint64_t)p->done, text, count_lines(p->text, text), n);
	memcpy(p->frame, &header, sizeof(header));
	error = write_all(p->part, p->frame, sizeof(header) + n, p->parts);
	if (error) {
		(void)!ftruncate(p->part, p->parts);
		return error;
	}
	p->parts += (off_t)(sizeof(header) + n);
	return 0;
}

/* The first one shows whether this file system can free text in the middle of a file. */
static int free_text(struct trace_pack *p, size_t text)
{
	if (!fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, p->done, (off_t)text))
		return 0;
	return -errno;
}

/* The next `size` bytes of text, or as many of them as end a line; with `all` every one. */
static int pack_segment(struct trace_pack *p, size_t size, bool all)
{
	const char *last;
	int error = read_all(p->fd, p->text, size, p->done);

	if (error)
		return error;
	last = memrchr(p->text, '\n', size);
	if (!all && !last)
		return -EFBIG; /* a line of megabytes is none of ours */
	if (!all)
		size = (size_t)(last + 1 - p->text);
	if (p->part < 0)
		error = open_part(p);
	if (!error)
		error = write_segment(p, size);
	if (!error)
		error = free_text(p, size);
	if (!error)
		p->done += (off_t)size;
	return error;
}

static off_t size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : st.st_size;
}

/* What cannot be packed stays as it is. While nothing has been freed the other file is not needed. */
static void give_up(struct trace_pack *p, int error)
{
	p->error = error;
	if (p->done || p->part < 0)
		return;
	close(p->part);
	unlink(p->part_path);
	p->part = -1;
}

static void pack(struct trace_pack *p)
{
	while (!p->error && size_of(p->fd) - p->done >= (off_t)TRACE_SEGMENT) {
		int error = pack_segment(p, TRACE_SEGMENT, false);

		if (error)
			give_up(p, error);
	}
}

/* ------------------------------------------------------------------ beginning and end */

static void *pack_thread(void *argument)
{
	struct trace_pack *p = argument;
	struct timespec next;

	pthread_mutex_lock(&p->lock);
	while (!p->ending) {
		pthread_mutex_unlock(&p->lock);
		pack(p);
		pthread_mutex_lock(&p->lock);
		clock_gettime(CLOCK_MONOTONIC, &next);
		next.tv_nsec += PERIOD_NS;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		if (!p->ending)
			pthread_cond_timedwait(&p->changed, &p->lock, &next);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Signals are for the threads that were there before. */
static int start_thread(struct trace_pack *p)
{
	pthread_condattr_t attributes;
	sigset_t all, old;
	int error;

	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	error = pthread_create(&p->thread, NULL, pack_thread, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -error;
}

static void destroy(struct trace_pack *p)
{
	if (p->fd >= 0)
		close(p->fd);
	if (p->part >= 0)
		close(p->part);
	ZSTD_freeCCtx(p->context);
	free(p->part_path);
	free(p->text);
	free(p->frame);
	free(p);
}

/* Another description of the same file, whatever is at its path by now. */
static int open_again(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDWR | O_CLOEXEC);
}

static int prepare(struct trace_pack *p, int fd, const char *path)
{
	char *real =
		realpath(path, NULL); /* a symbolic link's target has the other file beside it */

	p->part_path = real ? trace_part_path(real) : NULL;
	free(real);
	p->context = ZSTD_createCCtx();
	p->frame_room = sizeof(struct segment_header) + ZSTD_compressBound(TRACE_SEGMENT);
	p->text = malloc(TRACE_SEGMENT);
	p->frame = malloc(p->frame_room);
	if (!p->part_path || !p->context || !p->text || !p->frame)
		return -ENOMEM;
	ZSTD_CCtx_setParameter(p->context, ZSTD_c_compressionLevel, LEVEL);
	ZSTD_CCtx_setParameter(p->context, ZSTD_c_checksumFlag, 1);
	p->fd = open_again(fd);
	return p->fd < 0 ? -errno : start_thread(p);
}

int trace_pack_start(struct trace_pack **pack, int fd, const char *path)
{
	struct trace_pack *p;
	struct stat st;
	int error;

	*pack = NULL;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->fd = p->part = -1;
	error = prepare(p, fd, path);
	if (error)
		destroy(p);
	else
		*pack = p;
	return error;
}

static int pack_rest(struct trace_pack *p)
{
	off_t rest;
	int error = 0;

	while (!error && (rest = size_of(p->fd) - p->done) > 0)
		error = pack_segment(p, rest < (off_t)TRACE_SEGMENT ? (size_t)rest : TRACE_SEGMENT,
				     true);
	return error;
}

/* The other file from `*at` on, into the hole. */
static int copy_back(struct trace_pack *p, off_t *at)
{
	int error = 0;

	while (!error && *at < p->parts) {
		size_t n = TRACE_SEGMENT;

		if ((off_t)n > p->parts - *at)
			n = (size_t)(p->parts - *at);
		error = read_all(p->part, p->text, n, *at);
		if (!error)
			error = write_all(p->fd, p->text, n, *at);
		*at += (off_t)n;
	}
	return error;
}

/*
 * Until its first byte is written the trace is in two files; then it is one. Lines that another process
 * still writes are packed, too; only what comes between the last look at the size and the cut is lost:
 * some microseconds, once, after the end.
 */
static int make_one(struct trace_pack *p)
{
	char first;
	off_t copied = 1;
	int error = read_all(p->part, &first, 1, 0);

	while (!error && (size_of(p->fd) > p->done || copied < p->parts)) {
		error = pack_rest(p);
		if (!error)
			error = copy_back(p, &copied);
	}
	if (error)
		return error;
	if (ftruncate(p->fd, p->parts) || pwrite(p->fd, &first, 1, 0) != 1)
		return -errno;
	return unlink(p->part_path) ? -errno : 0;
}

int trace_pack_finish(struct trace_pack *p)
{
	int error = 0;

	if (!p)
		return 0;
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	pack(p);
	if (p->done)
		error = p->error ? p->error : make_one(p);
	destroy(p);
	return error;
}
