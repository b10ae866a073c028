/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Compresses a trace while it is being written: a thread of whoever began it looks at the file ten times
 * a second and packs what is older than the last few megabytes. The writers know nothing of it.
 */
#ifndef BUSLOCK_TRACES_TRACE_PACK_H
#define BUSLOCK_TRACES_TRACE_PACK_H

#include <stddef.h>

#define TRACE_SEGMENT ((size_t)4 << 20) /* bytes of text; a shorter trace stays as it is */

struct trace_pack;

/*
 * For the trace behind `fd`, which stays the caller's, at `path`. 0 with *pack NULL: the file is nothing
 * that can be packed (a device). -ENOMEM, -EAGAIN: no memory, no thread.
 */
int trace_pack_start(struct trace_pack **pack, int fd, const char *path);
/*
 * When its last line has been written: packs the rest and makes one file of it, or leaves a short trace
 * as it is; frees `pack`, which may be NULL. -errno: the trace stays in two files, from which readers
 * take it as well.
 */
int trace_pack_finish(struct trace_pack *pack);

#endif
