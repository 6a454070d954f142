/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_BACKLOG_H
#define PEERFLOW_ARCHIVE_BACKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

/* Messages on their way to the disk, copied into chunks that are written by one write each. It knows no locks: whoever
 * shares it between threads holds one, but not while a chunk that was taken is written. */

enum { BACKLOG_CHUNK = 256 << 10 };

struct chunk {
	struct chunk *next;
	size_t used;
	uint64_t mark;              /* of its last message */
	bool begins;                /* a new file */
	uint8_t octets[BACKLOG_CHUNK];
};

struct backlog {
	struct chunk *first;
	struct chunk *last;
	struct chunk *spare;        /* so that what is written again and again allocates nothing */
	unsigned n_spare;
	size_t octets;              /* in all chunks */
	bool rotate;                /* what comes next begins a new file */
};

/* Copies them, each of which fits a chunk. */
void backlog_put(struct backlog *backlog, const struct message *messages, size_t n);

/* What comes next begins a new file. */
void backlog_rotate(struct backlog *backlog);

/* The oldest chunk, which leaves the backlog; NULL: there is none. To be handed back by backlog_done. */
struct chunk *backlog_take(struct backlog *backlog);
void backlog_done(struct backlog *backlog, struct chunk *chunk);

/* Forgets everything. */
void backlog_clear(struct backlog *backlog);

#endif
