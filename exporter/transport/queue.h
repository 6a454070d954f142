/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TRANSPORT_QUEUE_H
#define PEERFLOW_TRANSPORT_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/uio.h>

#include "message.h"
#include "receipts.h"

/* What waits for a slow reader of a stream: a ring of octets, and beside it a ring that remembers where messages end
 * and how many flow records each holds, so that every one of them is counted in the end as sent or as dropped. All
 * memory is taken by queue_new. */

struct queue;

/* size: octets that may wait; never less than one message of the largest kind. */
struct queue *queue_new(size_t size);
void queue_free(struct queue *queue);

bool queue_is_empty(const struct queue *queue);

/* Octets that wait. */
size_t queue_filled(const struct queue *queue);

/* Takes a copy of a message of which the first sent octets have left already. All of it or, if there is no room,
 * nothing and false. An empty queue always has room. */
bool queue_put(struct queue *queue, const struct message *message, size_t sent);

/* The newest message now carries at least this mark: what it stands for is given up. */
void queue_mark(struct queue *queue, uint64_t mark);

/* The oldest messages, RECEIPTS_MOST at most, as at most two pieces; returns how many. Arms the receipts for them. */
int queue_peek(const struct queue *queue, struct iovec piece[2], struct receipts *receipts);

/* These many octets from the front have left. */
void queue_advance(struct queue *queue, size_t octets);

/* Takes out the oldest message if all of it has left, or with unsent any. False if there is none. octets of the result
 * is NULL. */
bool queue_take(struct queue *queue, struct message *message, bool unsent);

#endif
