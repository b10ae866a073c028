// SPDX-License-Identifier: GPL-2.0-only
#include "traces/trace_source.h"
#include "traces/trace_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define BUFFER    ((size_t)128 << 10)
#define MAX_LINE  ((size_t)16 << 20) /* a header has the whole command line */
#define NO_OFFSET UINT64_MAX

/* A file that is read forwards, through a buffer. */
struct input {
	int fd;
	uint64_t at; /* of the next byte */
	uint64_t begin;
	size_t n; /* of the buffer: where in the file, how much is in it */
	char *buffer;
};

struct trace_source {
	struct input file, part;
	bool two;           /* the trace is in two files */
	uint64_t part_next; /* of what text the next segment of the other one is */

	/* the frame that is being read, if any */
	struct input *frame;
	uint64_t frame_begin, frame_end; /* frame_end: NO_OFFSET if nothing tells */
	unsigned long frame_line;        /* lines in front of it */
	bool has_segment;                /* its header, of a segment */
	struct segment_header segment;
	bool between;    /* one has just ended */
	bool frame_done; /* decompressed, but not all of it has been taken */
	ZSTD_DCtx *context;
	char *text; /* what has been decompressed: [text_at, text_n) is left */
	size_t text_at, text_n;

	char *line;
	size_t length, room;
	bool long_line; /* the rest of it is passed over */
	unsigned long lines;
};

/* ------------------------------------------------------------------ bytes of a file */

/* What is in the buffer from in->at on, at least one byte; 0 at the end, or -errno. */
static ssize_t look(struct input *in, const char **bytes)
{
	ssize_t n;

	if (in->at < in->begin || in->at >= in->begin + in->n) {
		do {
			n = pread(in->fd, in->buffer, BUFFER, (off_t)in->at);
		} while (n < 0 && errno == EINTR);
		if (n < 0)
			return -errno;
		in->begin = in->at;
		in->n = (size_t)n;
	}
	*bytes = in->buffer + (in->at - in->begin);
	return (ssize_t)(in->begin + in->n - in->at);
}

/* `size` bytes at `at`, past the buffer. */
static bool peek(const struct input *in, uint64_t at, void *bytes, size_t size)
{
	return in->fd >= 0 && pread(in->fd, bytes, size, (off_t)at) == (ssize_t)size;
}

static uint64_t size_of(const struct input *in)
{
	struct stat st;

	return fstat(in->fd, &st) ? 0 : (uint64_t)st.st_size;
}

static int input_init(struct input *in, int fd)
{
	in->fd = fd;
	in->buffer = malloc(BUFFER);
	return in->buffer ? 0 : -ENOMEM;
}

/* ------------------------------------------------------------------ opening */

/* A pipe, into a file without a name. */
static int spool(int from)
{
	FILE *file = tmpfile();
	char buffer[16384];
	ssize_t n;
	int fd = -1;

	if (!file)
		return -1;
	while ((n = read(from, buffer, sizeof(buffer))) > 0 || (n < 0 && errno == EINTR))
		if (n > 0 && fwrite(buffer, 1, (size_t)n, file) != (size_t)n)
			break;
	if (!n && !fflush(file))
		fd = fcntl(fileno(file), F_DUPFD_CLOEXEC, 0);
	fclose(file);
	return fd;
}

static int open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), spooled;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || S_ISREG(st.st_mode))
		return fd;
	if (S_ISDIR(st.st_mode)) {
		close(fd);
		errno = EISDIR;
		return -1;
	}
	spooled = spool(fd);
	close(fd);
	return spooled;
}

static int open_part(struct trace_source *s, const char *path)
{
	char *real = realpath(path, NULL), *part = real ? trace_part_path(real) : NULL;
	char first;

	s->part.fd = -1;
	if (part && peek(&s->file, 0, &first, 1) && !first) {
		int fd = open(part, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

		s->two = fd >= 0;
		if (s->two && input_init(&s->part, fd))
			close(fd), s->two = false;
	}
	free(real);
	free(part);
	return 0;
}

int trace_source_open(struct trace_source **source, const char *path)
{
	struct trace_source *s = calloc(1, sizeof(*s));
	int fd = open_file(path), error = fd < 0 ? -errno : 0;

	if (!s || error) {
		if (fd >= 0)
			close(fd);
		free(s);
		return error ? error : -ENOMEM;
	}
	s->part.fd = -1;
	s->context = ZSTD_createDCtx();
	s->text = malloc(BUFFER);
	if (input_init(&s->file, fd) || !s->context || !s->text)
		error = -ENOMEM;
	if (!error)
		error = open_part(s, path);
	if (error)
		trace_source_close(s);
	else
		*source = s;
	return error;
}

void trace_source_close(struct trace_source *s)
{
	if (!s)
		return;
	if (s->file.fd >= 0)
		close(s->file.fd);
	if (s->part.fd >= 0)
		close(s->part.fd);
	ZSTD_freeDCtx(s->context);
	free(s->file.buffer);
	free(s->part.buffer);
	free(s->text);
	free(s->line);
	free(s);
}

/* ------------------------------------------------------------------ lines */

/* More of the line that is being put together. 0, or -ENOMEM. */
static int append(struct trace_source *s, const char *bytes, size_t n)
{
	if (s->length + n > MAX_LINE) {
		s->long_line = true;
		n = MAX_LINE - s->length;
	}
	if (s->length + n + 1 > s->room) {
		size_t room = (s->length + n + 1) * 2;
		char *line = realloc(s->line, room);

		if (!line)
			return -ENOMEM;
		s->line = line;
		s->room = room;
	}
	memcpy(s->line + s->length, bytes, n);
	s->length += n;
	s->line[s->length] = '\0';
	return 0;
}

/* What a line of text cannot have in it: zstd's magic is no UTF-8, ours has a control character. */
static const char zstd_magic[4] = { 0x28, (char)0xb5, 0x2f, (char)0xfd };
static const char segment_magic[4] = { 0x5b, 0x2a, 0x4d, 0x18 };

/* Up to the end of a line: bytes taken; `*whole` if it has come. */
static ssize_t take(struct trace_source *s, const char *bytes, size_t n, bool *whole)
{
	const char *newline = memchr(bytes, '\n', n), *magic;
	int error;

	*whole = newline;
	if (newline)
		n = (size_t)(newline + 1 - bytes);
	/* Damage is no reason to take what follows for text. */
	if ((s->length ? *s->line : *bytes) != '{' && !s->frame) {
		magic = memmem(bytes, n, segment_magic, sizeof(segment_magic));
		if (!magic)
			magic = memmem(bytes, n, zstd_magic, sizeof(zstd_magic));
		if (magic && magic != bytes) {
			*whole = true;
			n = (size_t)(magic - bytes);
		}
	}
	error = append(s, bytes, n);
	return error ? error : (ssize_t)n;
}

static int finish_line(struct trace_source *s, struct trace_text *line, char *why, size_t size)
{
	bool too_long = s->long_line;

	*line = (struct trace_text){ ++s->lines, s->line, s->length };
	s->length = 0;
	s->long_line = false;
	if (!too_long)
		return TRACE_SOURCE_LINE;
	snprintf(why, size, "longer than %zu MiB", MAX_LINE >> 20);
	return TRACE_SOURCE_LOST;
}

/* ------------------------------------------------------------------ frames */

static void begin_frame(struct trace_source *s, struct input *in, uint64_t at,
			const struct segment_header *segment)
{
	uint64_t end = segment ? at + segment->frame : NO_OFFSET;

	s->has_segment = segment && end >= at && end <= size_of(in);
	s->frame = in;
	s->frame_begin = in->at = at;
	s->frame_end = s->has_segment ? end : NO_OFFSET;
	s->frame_line = s->lines;
	s->frame_done = false;
	if (segment)
		s->segment = *segment;
	s->text_at = s->text_n = 0;
	ZSTD_DCtx_reset(s->context, ZSTD_reset_session_only);
}

/* Of one in the other file: the trace goes on behind the text that it stands for. */
static void leave_frame(struct trace_source *s)
{
	if (s->has_segment)
		s->frame->at = s->frame_end;
	s->between = true;
	if (s->frame == &s->part)
		s->file.at = s->segment.at + s->segment.text;
	s->frame = NULL;
}

/*
 * Where something begins again behind damage that nothing measures: a frame, a segment, or a line; else
 * the end of the file. (Frames are compressed: that one of these stands in them by chance costs a
 * message.)
 */
static void find_next(struct input *in)
{
	static const struct {
		const char *text;
		size_t length, skip;
	} starts[] = {
		{ zstd_magic, sizeof(zstd_magic), 0 },
		{ segment_magic, sizeof(segment_magic), 0 },
		{ "\n{\"event\":", 10, 1 },
	};
	const size_t overlap = 9;
	size_t n;

	in->at++;
	do {
		ssize_t got = pread(in->fd, in->buffer, BUFFER, (off_t)in->at);
		size_t best;

		n = best = got > 0 ? (size_t)got : 0;
		for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
			const char *found = memmem(in->buffer, n, starts[i].text, starts[i].length);

			if (found && (size_t)(found - in->buffer) + starts[i].skip < best)
				best = (size_t)(found - in->buffer) + starts[i].skip;
		}
		in->n = 0;
		in->at += best < n || n <= overlap ? best : n - overlap;
		if (best < n)
			return;
	} while (n > overlap);
}

/* Does something begin there that is known, or does the file end? */
static bool begins_well(const struct input *in, uint64_t at)
{
	uint32_t magic;

	if (!peek(in, at, &magic, sizeof(magic)))
		return at == size_of(in);
	magic = le32toh(magic);
	return magic == ZSTD_MAGICNUMBER || (magic & 0xff) == '{' || (magic & 0xff) == '\n' ||
	       (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

static int lose_frame(struct trace_source *s, struct trace_text *line, const char *reason,
		      char *why, size_t size)
{
	uint64_t begin = s->frame_begin;
	unsigned long first = s->lines + 1;

	*line = (struct trace_text){ .number = first };
	s->length = 0;
	s->long_line = false;
	if (s->has_segment && begins_well(s->frame, s->frame_end)) {
		if (s->frame_line + s->segment.lines > s->lines)
			s->lines = s->frame_line + (unsigned long)s->segment.lines;
		if (s->lines >= first)
			snprintf(why, size,
				 "lines %lu to %lu are lost: the zstd frame at byte %" PRIu64
				 "%s is damaged: %s",
				 first, s->lines, begin, s->frame == &s->part ? " of .part" : "",
				 reason);
		else
			snprintf(why, size,
				 "the %" PRIu64 " lines in front may not be what was written: the "
				 "zstd frame at byte %" PRIu64 "%s is damaged: %s",
				 s->segment.lines, begin, s->frame == &s->part ? " of .part" : "",
				 reason);
		leave_frame(s);
		return TRACE_SOURCE_LOST;
	}
	snprintf(why, size,
		 "an unknown number of lines is lost: the zstd frame at byte %" PRIu64
		 " is damaged: %s",
		 begin, reason);
	s->frame->at = begin;
	find_next(s->frame);
	s->frame = NULL;
	return TRACE_SOURCE_LOST;
}

/* More text of the frame. 1; 0 with a reason if it is damaged; -errno. */
static int decompress(struct trace_source *s, const char **reason)
{
	struct input *in = s->frame;
	const char *bytes;
	ssize_t n = look(in, &bytes);
	ZSTD_inBuffer from = { .src = n > 0 ? bytes : "" };
	ZSTD_outBuffer to = { s->text, BUFFER, 0 };
	size_t left;

	if (n < 0)
		return (int)n;
	if (s->frame_end != NO_OFFSET && in->at + (uint64_t)n > s->frame_end)
		n = (ssize_t)(s->frame_end - in->at);
	from.size = (size_t)n;
	left = ZSTD_decompressStream(s->context, &to, &from);
	in->at += from.pos;
	s->text_at = 0;
	s->text_n = to.pos;
	s->frame_done = !left;
	if (ZSTD_isError(left))
		*reason = ZSTD_getErrorName(left);
	else if (left && !n && !to.pos)
		*reason = "it is cut short";
	else
		return 1;
	return 0;
}

/* A line of it; -EAGAIN: the frame has ended, maybe in the middle of one. */
static int next_of_frame(struct trace_source *s, struct trace_text *line, char *why, size_t size)
{
	const char *reason = "";
	bool whole;
	ssize_t n;

	for (;;) {
		while (s->text_at == s->text_n) {
			if (s->frame_done) {
				leave_frame(s);
				return -EAGAIN;
			}
			n = decompress(s, &reason);
			if (n < 0)
				return (int)n;
			if (!n)
				return lose_frame(s, line, reason, why, size);
		}
		n = take(s, s->text + s->text_at, s->text_n - s->text_at, &whole);
		if (n < 0)
			return (int)n;
		s->text_at += (size_t)n;
		if (whole)
			return finish_line(s, line, why, size);
	}
}

/* ------------------------------------------------------------------ what stands where a line may begin */

/* The segment of the other file that stands for the text here; s->part_next: for what is farther on. */
static bool begin_part(struct trace_source *s)
{
	struct segment_header header;

	s->part_next = NO_OFFSET;
	while (s->two && peek(&s->part, s->part.at, &header, sizeof(header))) {
		uint64_t frame = s->part.at + sizeof(header);

		if (!segment_header_read(&header)) {
			find_next(&s->part);
			continue;
		}
		/* not whole: its writer died, and the text is still there; or the length is wrong */
		if (header.frame > size_of(&s->part) || frame + header.frame > size_of(&s->part)) {
			find_next(&s->part);
			continue;
		}
		if (header.at == s->file.at) {
			begin_frame(s, &s->part, frame, &header);
			return true;
		}
		if (header.at > s->file.at) {
			s->part_next = header.at;
			return false;
		}
		s->part.at = frame + header.frame;
	}
	return false;
}

static bool begin_here(struct trace_source *s)
{
	struct segment_header header;
	uint32_t magic;

	if (!peek(&s->file, s->file.at, &magic, sizeof(magic)))
		return false;
	magic = le32toh(magic);
	if (magic == ZSTD_MAGICNUMBER) {
		begin_frame(s, &s->file, s->file.at, NULL);
		return true;
	}
	if ((magic & ZSTD_MAGIC_SKIPPABLE_MASK) != ZSTD_MAGIC_SKIPPABLE_START)
		return false;
	if (peek(&s->file, s->file.at, &header, sizeof(header)) && segment_header_read(&header))
		begin_frame(s, &s->file, s->file.at + sizeof(header), &header);
	else
		begin_frame(s, &s->file, s->file.at, NULL); /* the library passes over it */
	return true;
}

/* A hole, where text was freed whose frame is not found; or what a crashed machine left. */
static int pass_zeros(struct trace_source *s, struct trace_text *line, char *why, size_t size)
{
	uint64_t begin = s->file.at;
	const char *bytes;
	ssize_t n;

	while ((n = look(&s->file, &bytes)) > 0) {
		size_t zeros = 0;
		off_t data;

		while (zeros < (size_t)n && !bytes[zeros])
			zeros++;
		s->file.at += zeros;
		if (s->file.at >= s->part_next)
			s->file.at = s->part_next;
		if (zeros < (size_t)n || s->file.at == s->part_next)
			break;
		data = lseek(s->file.fd, (off_t)s->file.at, SEEK_DATA);
		s->file.at = data < 0 && errno == ENXIO ? size_of(&s->file)
			     : data > (off_t)s->file.at ? (uint64_t)data
							: s->file.at;
	}
	*line = (struct trace_text){ .number = s->lines + 1 };
	snprintf(why, size,
		 "an unknown number of lines is lost: from byte %" PRIu64 " to %" PRIu64
		 " there is nothing%s",
		 begin, s->file.at,
		 begin || s->two ? "" : "; the file that ends in .part belongs beside this one");
	return n < 0 ? (int)n : TRACE_SOURCE_LOST;
}

/* As next_of_frame(); 0 at the end of the file. */
static int next_of_text(struct trace_source *s, struct trace_text *line, char *why, size_t size)
{
	const char *bytes;
	bool whole;
	ssize_t n;

	for (;;) {
		if (!s->length && begin_part(s))
			return -EAGAIN;
		n = look(&s->file, &bytes);
		if (n < 0)
			return (int)n;
		if (!n)
			return s->length ? finish_line(s, line, why, size) : TRACE_SOURCE_END;
		/* no line of text begins with these */
		if ((!s->length || s->between) && (*bytes == '\x28' || (*bytes & 0xf0) == 0x50) &&
		    begin_here(s))
			return -EAGAIN;
		s->between = false;
		if (!s->length && !*bytes && (!s->file.at || s->two))
			return pass_zeros(s, line, why, size);
		n = take(s, bytes, (size_t)n, &whole);
		if (n < 0)
			return (int)n;
		s->file.at += (uint64_t)n;
		if (whole)
			return finish_line(s, line, why, size);
	}
}

int trace_source_next(struct trace_source *s, struct trace_text *line, char *why, size_t size)
{
	int r;

	do {
		r = s->frame ? next_of_frame(s, line, why, size) : next_of_text(s, line, why, size);
	} while (r == -EAGAIN);
	return r;
}
