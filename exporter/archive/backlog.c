/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/backlog.h"

#include <string.h>

#include <glib.h>

enum { SPARE = 8 };

static struct chunk *
new_chunk(struct backlog *backlog)
{
	struct chunk *chunk = backlog->spare;

	if (chunk) {
		backlog->spare = chunk->next;
		backlog->n_spare--;
	} else
		chunk = g_malloc(sizeof *chunk);
	chunk->next = NULL;
	chunk->used = 0;
	chunk->begins = backlog->rotate;
	backlog->rotate = false;
	return chunk;
}

static struct chunk *
last_with_room(struct backlog *backlog, size_t octets)
{
	struct chunk *last = backlog->last;

	if (last && !backlog->rotate && last->used + octets <= sizeof last->octets)
		return last;
	struct chunk *chunk = new_chunk(backlog);
	if (last)
		last->next = chunk;
	else
		backlog->first = chunk;
	backlog->last = chunk;
	return chunk;
}

void
backlog_put(struct backlog *backlog, const struct message *messages, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct chunk *chunk = last_with_room(backlog, messages[i].length);
		memcpy(chunk->octets + chunk->used, messages[i].octets, messages[i].length);
		chunk->used += messages[i].length;
		chunk->mark = messages[i].mark;
		backlog->octets += messages[i].length;
	}
}

void
backlog_rotate(struct backlog *backlog)
{
	backlog->rotate = true;
}

struct chunk *
backlog_take(struct backlog *backlog)
{
	struct chunk *chunk = backlog->first;

	if (!chunk)
		return NULL;
	backlog->first = chunk->next;
	if (!chunk->next)
		backlog->last = NULL;
	backlog->octets -= chunk->used;
	return chunk;
}

void
backlog_done(struct backlog *backlog, struct chunk *chunk)
{
	if (backlog->n_spare == SPARE) {
		g_free(chunk);
		return;
	}
	chunk->next = backlog->spare;
	backlog->spare = chunk;
	backlog->n_spare++;
}

static void
free_chunks(struct chunk *chunk)
{
	while (chunk) {
		struct chunk *next = chunk->next;
		g_free(chunk);
		chunk = next;
	}
}

void
backlog_clear(struct backlog *backlog)
{
	free_chunks(backlog->first);
	free_chunks(backlog->spare);
	*backlog = (struct backlog){ .rotate = false };
}
