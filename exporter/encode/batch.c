/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "encode/batch.h"

#include <string.h>

#include "encode/cursor.h"
#include "encode/group.h"

enum {
	HEADER_NETFLOW9 = 20,
	PADDING_NETFLOW9 = 4,
};

/* Half the range of sysUpTime, and a day before its end. */
static const uint64_t uptime_half = 1ull << 31;
static const uint64_t uptime_limit = (1ull << 32) - 86400 * 1000;

static size_t
header_octets(const struct batch *batch)
{
	return batch->protocol == WIRE_IPFIX ? HEADER_IPFIX : HEADER_NETFLOW9;
}

/* NetFlow v9 pads each FlowSet (RFC 3954 section 5.3); IPFIX need not, and we do not. */
static size_t
padding_most(const struct batch *batch)
{
	return batch->protocol == WIRE_IPFIX ? 0 : PADDING_NETFLOW9 - 1;
}

void
batch_restart(struct batch *batch)
{
	memset(batch->sequence, 0, sizeof batch->sequence);
	batch->n_closed = batch->n_taken = 0;
	batch->open = false;
	batch->at = 0;
	batch->set = NO_SET;
}

void
batch_end_set(struct batch *batch)
{
	if (batch->set == NO_SET)
		return;
	struct cursor header = { batch->octets + batch->set_start, batch->octets + batch->at, false };
	while (batch->protocol == WIRE_NETFLOW9 && (batch->at - batch->set_start) % PADDING_NETFLOW9)
		batch->octets[batch->at++] = 0;
	put_u16(&header, batch->set);
	put_u16(&header, batch->at - batch->set_start);
	batch->set = NO_SET;
}

void
batch_end_message(struct batch *batch)
{
	if (!batch->open)
		return;
	batch_end_set(batch);
	const uint32_t start = batch->slot[batch->n_closed].start;
	if (batch->scratch)
		batch->at = start + group_sets(batch->octets + start, batch->at - start, batch->scratch);
	batch->slot[batch->n_closed].length = batch->at - start;
	batch->n_closed++;
	batch->open = false;
}

static void
open_message(struct batch *batch, enum stream stream)
{
	memset(&batch->slot[batch->n_closed], 0, sizeof batch->slot[0]);
	batch->slot[batch->n_closed].start = batch->at;
	batch->slot[batch->n_closed].stream = stream;
	batch->slot[batch->n_closed].mark = batch->mark;
	batch->at += header_octets(batch);
	batch->open = true;
}

static void
open_set(struct batch *batch, uint16_t set)
{
	batch->set_start = batch->at;
	batch->set = set;
	batch->at += SET_HEADER;
}

/* Gives the space of taken messages back; what is left, closed or still open, moves to the front. */
static void
recycle(struct batch *batch)
{
	const unsigned left = batch->n_closed - batch->n_taken + batch->open;
	const uint32_t gone = left ? batch->slot[batch->n_taken].start : batch->at;

	memmove(batch->slot, batch->slot + batch->n_taken, left * sizeof batch->slot[0]);
	for (unsigned i = 0; i < left; i++)
		batch->slot[i].start -= gone;
	batch->n_closed -= batch->n_taken;
	batch->n_taken = 0;
	memmove(batch->octets, batch->octets + gone, batch->at - gone);
	batch->at -= gone;
	batch->set_start -= gone;
}

bool
batch_reserve(struct batch *batch, unsigned messages)
{
	if (batch->n_taken)
		recycle(batch);
	return batch->n_closed + batch->open + messages <= BATCH_MESSAGES
	       && batch->at + (messages + batch->open) * batch->limit <= batch->capacity;
}

static bool
fits(const struct batch *batch, enum stream stream, size_t octets)
{
	const size_t used = batch->at - batch->slot[batch->n_closed].start;

	return batch->open && batch->slot[batch->n_closed].stream == stream
	       && used + octets + 2 * padding_most(batch) <= batch->limit;
}

static size_t
with_header(const struct batch *batch, uint16_t set, size_t octets)
{
	return octets + (batch->set == set ? 0 : SET_HEADER);
}

void
batch_gather(struct batch *batch, enum stream stream, uint16_t set, size_t octets)
{
	if (batch->open && !fits(batch, stream, with_header(batch, set, octets)))
		batch_end_message(batch);
}

uint8_t *
batch_room(struct batch *batch, enum stream stream, uint16_t set, size_t octets)
{
	if (!fits(batch, stream, with_header(batch, set, octets))) {
		batch_end_message(batch);
		if (header_octets(batch) + SET_HEADER + octets + padding_most(batch) > batch->limit)
			return NULL;
		open_message(batch, stream);
	}
	if (batch->set != set) {
		batch_end_set(batch);
		open_set(batch, set);
	}
	return batch->octets + batch->at;
}

void
batch_commit(struct batch *batch, size_t octets, enum record_class what)
{
	batch->at += octets;
	batch->slot[batch->n_closed].all_records++;
	batch->slot[batch->n_closed].records += what != RECORD_TEMPLATE;
	batch->slot[batch->n_closed].flow_records += what == RECORD_FLOW;
}

void
batch_count(struct batch *batch, uint64_t packets, uint64_t octets)
{
	batch->slot[batch->n_closed].packets += packets;
	batch->slot[batch->n_closed].octets += octets;
}

void
batch_mark(struct batch *batch, uint64_t mark)
{
	batch->mark = mark;
	if (batch->open)
		batch->slot[batch->n_closed].mark = mark;
}

/* RFC 7011 section 3.1: Sequence Number counts Data Records sent before this message. */
static void
write_header_ipfix(struct batch *batch, unsigned i, uint64_t now)
{
	const enum stream stream = batch->slot[i].stream;
	struct cursor header = { batch->octets + batch->slot[i].start, batch->octets + batch->capacity, false };

	put_u16(&header, WIRE_IPFIX);
	put_u16(&header, batch->slot[i].length);
	put_u32(&header, now / 1000);
	put_u32(&header, batch->sequence[stream]);
	put_u32(&header, stream == STREAM_FLOWS ? batch->domain : 0);
	batch->sequence[stream] += batch->slot[i].records;
}

/* Collectors take sysUpTime for the instant of the whole second beside it; anything finer would shift all times of the
 * message by up to 999 ms. The second is the one that ends: of a flow that ended in it and left at once, the one that
 * began would be earlier than the flow, and there are collectors that then see a wrap and are 49.7 days off. */
static uint64_t
whole_second(uint64_t now)
{
	return (now + 999) / 1000;
}

/* RFC 3954 section 5.1: the sequence counts messages. */
static void
write_header_netflow9(struct batch *batch, unsigned i, uint64_t now)
{
	const enum stream stream = batch->slot[i].stream;
	struct cursor header = { batch->octets + batch->slot[i].start, batch->octets + batch->capacity, false };

	put_u16(&header, WIRE_NETFLOW9);
	put_u16(&header, batch->slot[i].all_records);
	put_u32(&header, whole_second(now) * 1000 - batch->boot);
	put_u32(&header, whole_second(now));
	put_u32(&header, batch->sequence[stream]);
	put_u32(&header, stream == STREAM_FLOWS ? batch->domain : 0);
	batch->sequence[stream]++;
}

/* sysUpTime is 32 bits of milliseconds: 49.7 days. Some collectors go wrong where it wraps, but all of them only use
 * the difference between it and the seconds beside it, so well before the end its zero is moved forward, at a moment
 * when no record counts from the old one. A clock that was set back to before the zero makes the difference wrap too,
 * and moves it back. */
static void
move_boot(struct batch *batch, uint64_t now)
{
	if (!batch->open && whole_second(now) * 1000 - batch->boot > uptime_limit)
		batch->boot = now > uptime_half ? now - uptime_half : 0;
}

size_t
batch_take(struct batch *batch, uint64_t now, bool partial, const struct message **messages)
{
	if (batch->n_taken)
		recycle(batch);
	if (partial)
		batch_end_message(batch);
	for (unsigned i = 0; i < batch->n_closed; i++) {
		if (batch->protocol == WIRE_IPFIX)
			write_header_ipfix(batch, i, now);
		else
			write_header_netflow9(batch, i, now);
		batch->message[i] = (struct message){ batch->octets + batch->slot[i].start, batch->slot[i].length,
		                                      batch->slot[i].flow_records, batch->slot[i].packets,
		                                      batch->slot[i].octets, batch->slot[i].mark };
	}
	batch->n_taken = batch->n_closed;
	*messages = batch->message;
	move_boot(batch, now);
	return batch->n_taken;
}
