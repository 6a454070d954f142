/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include <glib.h>

#include "queue.h"

#define LARGEST_MESSAGE UINT16_MAX
#define SHORTEST_MEAN 256           /* octets of a message on average below which the ring of ends fills up first */

struct end {
	uint16_t length;
	uint16_t flow_records;
	uint64_t flow_packets;
	uint64_t flow_octets;
	uint64_t mark;
};

struct queue {
	uint8_t *octets;
	size_t size, head, used;
	struct end *end;
	size_t ends, first, count;
	size_t left;                /* octets of the oldest messages that have left */
};

struct queue *
queue_new(size_t size)
{
	struct queue *queue = g_new0(struct queue, 1);

	queue->size = MAX(size, LARGEST_MESSAGE);
	queue->ends = queue->size / SHORTEST_MEAN;
	queue->octets = g_malloc(queue->size);
	queue->end = g_new(struct end, queue->ends);
	return queue;
}

void
queue_free(struct queue *queue)
{
	if (!queue)
		return;
	g_free(queue->octets);
	g_free(queue->end);
	g_free(queue);
}

bool
queue_is_empty(const struct queue *queue)
{
	return !queue->count;
}

size_t
queue_filled(const struct queue *queue)
{
	return queue->used;
}

bool
queue_put(struct queue *queue, const struct message *message, size_t sent)
{
	size_t rest = message->length - sent;
	size_t tail = (queue->head + queue->used) % queue->size;
	size_t before_wrap = MIN(rest, queue->size - tail);

	if (rest > queue->size - queue->used || queue->count == queue->ends)
		return false;
	memcpy(queue->octets + tail, message->octets + sent, before_wrap);
	memcpy(queue->octets, message->octets + sent + before_wrap, rest - before_wrap);
	queue->used += rest;
	queue->left += sent;        /* only into an empty queue does a message come torn */
	queue->end[(queue->first + queue->count++) % queue->ends] =
		(struct end) { message->length, message->flow_records, message->flow_packets, message->flow_octets,
		               message->mark };
	return true;
}

void
queue_mark(struct queue *queue, uint64_t mark)
{
	struct end *newest = &queue->end[(queue->first + queue->count - 1) % queue->ends];

	newest->mark = MAX(newest->mark, mark);
}

/* Returns how many octets these messages have that are still here. */
static size_t
expect(const struct queue *queue, struct receipts *receipts)
{
	size_t n = MIN(queue->count, RECEIPTS_MOST), octets = 0;

	receipts_clear(receipts);
	for (size_t i = 0; i < n; i++) {
		const struct end *end = &queue->end[(queue->first + i) % queue->ends];
		octets += end->length - (i ? 0 : queue->left);
		receipts->expect[i].octets = octets;
		receipts->expect[i].mark = end->mark;
	}
	receipts->header[0].msg_len = 0;
	receipts_arm(receipts, true, n);
	return octets;
}

int
queue_peek(const struct queue *queue, struct iovec piece[2], struct receipts *receipts)
{
	size_t octets = expect(queue, receipts);
	size_t before_wrap = MIN(octets, queue->size - queue->head);

	piece[0] = (struct iovec) { queue->octets + queue->head, before_wrap };
	piece[1] = (struct iovec) { queue->octets, octets - before_wrap };
	return piece[1].iov_len ? 2 : 1;
}

void
queue_advance(struct queue *queue, size_t octets)
{
	queue->head = (queue->head + octets) % queue->size;
	queue->used -= octets;
	queue->left += octets;
}

bool
queue_take(struct queue *queue, struct message *message, bool unsent)
{
	const struct end *end = &queue->end[queue->first];

	if (!queue->count || (queue->left < end->length && !unsent))
		return false;
	*message = (struct message) { .length = end->length, .flow_records = end->flow_records,
	                              .flow_packets = end->flow_packets, .flow_octets = end->flow_octets,
	                              .mark = end->mark };
	queue->left -= MIN(queue->left, end->length);
	queue->first = (queue->first + 1) % queue->ends;
	queue->count--;
	return true;
}
