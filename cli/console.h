/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the guest prints, to standard output, and a line of progress on a terminal, which never gets
 * into the guest's text. Any thread.
 */
#ifndef BUSLOCK_CLI_CONSOLE_H
#define BUSLOCK_CLI_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

/* Progress is shown if `progress` and standard error is a terminal. */
void console_init(bool progress);
bool console_shows_progress(void);
void console_put(uint8_t byte);
/* What has been put but not written yet. */
void console_flush(void);
/* Replaces the line of progress; waits for the guest to end its own line first. */
void console_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Removes it: before anything else is written to standard error. */
void console_end_progress(void);

#endif
