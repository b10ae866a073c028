// SPDX-License-Identifier: GPL-2.0-only
#include "cli/console.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ERASE_LINE "\r\033[K" /* ECMA-48: EL */

static struct {
	pthread_mutex_t lock;
	char buffer[4096];
	size_t used;
	bool progress;   /* wanted and possible */
	bool shared;     /* guest and progress write to terminals, most likely the same */
	bool guest_line; /* the guest is in the middle of a line */
	bool shown;
} console = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void write_all(int fd, const char *text, size_t n)
{
	while (n) {
		ssize_t written = write(fd, text, n);

		if (written < 0 && errno == EINTR)
			continue;
		/* Nobody reads any more: the guest runs on, as behind an unplugged cable. */
		if (written <= 0)
			return;
		text += written;
		n -= (size_t)written;
	}
}

static void erase(void)
{
	if (console.shown)
		write_all(STDERR_FILENO, ERASE_LINE, strlen(ERASE_LINE));
	console.shown = false;
}

static void flush(void)
{
	if (!console.used)
		return;
	if (console.shared)
		erase();
	write_all(STDOUT_FILENO, console.buffer, console.used);
	console.guest_line = console.buffer[console.used - 1] != '\n';
	console.used = 0;
}

void console_init(bool progress)
{
	console.progress = progress && isatty(STDERR_FILENO);
	console.shared = isatty(STDOUT_FILENO);
}

bool console_shows_progress(void)
{
	return console.progress;
}

void console_put(uint8_t byte)
{
	pthread_mutex_lock(&console.lock);
	console.buffer[console.used++] = (char)byte;
	if (byte == '\n' || console.used == sizeof(console.buffer))
		flush();
	pthread_mutex_unlock(&console.lock);
}

void console_flush(void)
{
	pthread_mutex_lock(&console.lock);
	flush();
	pthread_mutex_unlock(&console.lock);
}

void console_progress(const char *format, ...)
{
	char line[256];
	va_list arguments;

	if (!console.progress)
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	pthread_mutex_lock(&console.lock);
	flush();
	if (!console.shared || !console.guest_line) {
		erase();
		write_all(STDERR_FILENO, line, strlen(line));
		console.shown = true;
	}
	pthread_mutex_unlock(&console.lock);
}

void console_end_progress(void)
{
	pthread_mutex_lock(&console.lock);
	flush();
	erase();
	pthread_mutex_unlock(&console.lock);
}
