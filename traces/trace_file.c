// SPDX-License-Identifier: GPL-2.0-only
/* The first and the last line of a trace, by whoever started the run. */
#include "traces/report.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* json-c answers NULL without memory and then frees nothing: a missing member is all that happens. */
static void put(struct json_object *object, const char *key, struct json_object *value)
{
	if (json_object_object_add(object, key, value))
		json_object_put(value);
}

/* Arguments and file names are any bytes; JSON is UTF-8. What is none becomes a question mark. */
static struct json_object *string(const char *text)
{
	char *copy = text ? strdup(text) : NULL;
	struct json_object *object;

	for (char *s = copy; s && *s;) {
		size_t n = (unsigned char)*s < 0x80 ? 1 : trace_utf8_length((unsigned char *)s);

		if (!n)
			*s = '?';
		s += n ? n : 1;
	}
	object = copy ? json_object_new_string(copy) : NULL;
	free(copy);
	return object;
}

static void put_string(struct json_object *object, const char *key, const char *value)
{
	put(object, key, string(value));
}

static struct json_object *strings(const char *const *words)
{
	struct json_object *array = json_object_new_array();

	for (; array && *words; words++)
		json_object_array_add(array, string(*words));
	return array;
}

static int write_object(int fd, struct json_object *object)
{
	const char *text = json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	struct iovec parts[2] = { { (char *)(uintptr_t)text, text ? strlen(text) : 0 } };
	char newline = '\n';
	ssize_t n;

	if (!text)
		return -ENOMEM;
	parts[1] = (struct iovec){ &newline, 1 };
	n = writev(fd, parts, 2);
	if (n < 0)
		return -errno;
	return (size_t)n == parts[0].iov_len + 1 ? 0 : -ENOSPC;
}

/* ------------------------------------------------------------------ the header */

/* "model name" of /proc/cpuinfo */
static void processor_name(char *name, size_t size)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];

	*name = '\0';
	while (file && !*name && fgets(line, sizeof(line), file)) {
		char *value = strchr(line, ':');

		if (!value || strncmp(line, "model name", 10))
			continue;
		value += 1 + strspn(value + 1, " \t");
		snprintf(name, size, "%.*s", (int)strcspn(value, "\n"), value);
	}
	if (file)
		fclose(file);
}

/* All that another run, or another host, would have otherwise. */
static struct json_object *host_object(const struct trace_header *header, uint64_t start_ns)
{
	struct json_object *host = json_object_new_object(), *command = json_object_new_array();
	char text[256];
	struct utsname names;
	time_t seconds = time(NULL);
	struct tm utc;

	if (!host || !command) {
		json_object_put(host);
		json_object_put(command);
		return NULL;
	}
	processor_name(text, sizeof(text));
	put_string(host, "cpu", text);
	if (!uname(&names)) {
		put_string(host, "kernel", names.release);
		put_string(host, "machine", names.machine);
	}
	if (gmtime_r(&seconds, &utc) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc))
		put_string(host, "started", text);
	put(host, "monotonic_ns", json_object_new_uint64(start_ns));
	for (char *const *word = header->command; word && *word; word++)
		json_object_array_add(command, string(*word));
	put(host, "command", command);
	return host;
}

static int write_header(int fd, const struct trace_header *header, uint64_t start_ns)
{
	struct json_object *json = json_object_new_object();
	int error;

	if (!json)
		return -ENOMEM;
	put_string(json, "schema", TRACE_SCHEMA);
	put(json, "version", json_object_new_int(TRACE_VERSION));
	put_string(json, "tool", "buslock " BUSLOCK_VERSION);
	put_string(json, "backend", header->backend);
	put_string(json, "options", header->options);
	if (header->emulated)
		put_string(json, "emulated", header->emulated);
	put_string(json, "time", header->virtual_time ? "virtual" : "real");
	if (header->lacks)
		put(json, "lacks", strings(header->lacks));
	if (!header->virtual_time)
		put(json, "host", host_object(header, start_ns));
	error = write_object(fd, json);
	json_object_put(json);
	return error;
}

static int refuse(char *why, size_t size, int error, const char *reason)
{
	snprintf(why, size, "%s", reason ? reason : strerror(-error));
	return error;
}

int trace_create(struct trace *trace, const char *path, struct trace_counts *counts,
		 const struct trace_header *header, char *why, size_t size)
{
	struct stat st;
	int fd, error;

	/* Looked at before it is opened: opening a FIFO would wait for its reader. */
	if (!stat(path, &st) && !S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
		return refuse(why, size, -EINVAL,
			      "not a regular file; name one, and look at it with tail -f");
	fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666);
	if (fd < 0)
		return refuse(why, size, -errno, NULL);
	/* Held by all who got the descriptor. File systems without locks do without. */
	if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK && !fstat(fd, &st) &&
	    S_ISREG(st.st_mode)) {
		close(fd);
		return refuse(why, size, -EBUSY,
			      "another run, or a program that it left behind, still writes to it; "
			      "name another file");
	}
	if (ftruncate(fd, 0) && errno != EINVAL) { /* EINVAL: a device */
		error = -errno;
		close(fd);
		return refuse(why, size, error, NULL);
	}
	*counts = (struct trace_counts){ .start_ns = report_now() };
	error = fstat(fd, &st) ? -errno : write_header(fd, header, counts->start_ns);
	if (error) {
		close(fd);
		return refuse(why, size, error, NULL);
	}
	counts->dev = st.st_dev;
	counts->ino = st.st_ino;
	return trace_attach(trace, fd, counts);
}

/* ------------------------------------------------------------------ the last line */

static struct json_object *totals(const struct trace_counts *counts)
{
	struct json_object *object = json_object_new_object();

	for (int i = 0; object && i < TRACE_EVENTS; i++)
		put(object, trace_event_name((enum trace_event)i),
		    json_object_new_uint64(atomic_load(&counts->events[i])));
	return object;
}

/* Would another run give the same lines? If not, why. */
static void put_determinism(struct json_object *json, const struct trace_counts *counts,
			    bool virtual_time)
{
	const char *why = NULL;

	if (!virtual_time)
		why = "time is real";
	else if (atomic_load(&counts->nondeterministic) == 2)
		why = counts->why;
	else if (atomic_load(&counts->nondeterministic))
		why = "it was ended while it said why";
	put(json, "deterministic", json_object_new_boolean(!why));
	put_string(json, "why", why);
}

/* The disk was full, or a writer was killed in the middle of a line (the kernel looks for that between
 * two pages of the file). */
static bool ends_torn(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);
	char last;

	return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

int trace_finish(struct trace *trace, const struct trace_end *end)
{
	struct trace_counts *counts = trace->counts;
	struct json_object *json = json_object_new_object();
	int error;

	if (!json)
		return -ENOMEM;
	put_string(json, "event", "end");
	put(json, "time", json_object_new_uint64(atomic_load(&counts->last_ns)));
	put(json, "status", end->status < 0 ? NULL : json_object_new_int(end->status));
	put(json, "signal", end->status < 0 ? json_object_new_int(-end->status) : NULL);
	put_determinism(json, counts, end->virtual_time);
	put(json, "lost", json_object_new_uint64(atomic_load(&counts->lost)));
	put(json, "events", totals(counts));
	if (ends_torn(trace->fd))
		(void)!write(trace->fd, "\n", 1);
	error = write_object(trace->fd, json);
	json_object_put(json);
	return !error && atomic_load(&counts->lost) ? -EIO : error;
}

void trace_close(struct trace *trace)
{
	int fd = atomic_exchange(&trace->fd, -1);

	if (fd >= 0)
		close(fd);
}
