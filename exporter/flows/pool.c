/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "flows/pool.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "flows/ended.h"
#include "flows/slots.h"

struct pool {
	struct pool_options options;
	struct slots slots;
	size_t promised;            /* slots for records that are due, but not told yet */
	struct ended *outside;      /* flows that had no room: each is said once. NULL: there was none yet */
};

/* A memory that nobody used before. */
static void
begin(struct pool *pool, uint64_t wall)
{
	struct head *head = slots_head(&pool->slots);

	if (head->begun)
		return;
	head->before = pool->options.from_start ? 0 : wall;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	head->begun = 1;
}

struct pool *
pool_open(const struct pool_options *options, uint64_t wall, GError **error)
{
	g_autoptr(pool_t) pool = calloc(1, sizeof *pool);

	if (pool) {
		pool->options = *options;
		pool->options.limit = MIN(options->limit, POOL_MOST);
		pool->slots.memory = options->memory;
		pool->slots.data = options->data;
		pool->slots.key = options->key;
		if (slots_open(&pool->slots, pool->options.limit)) {
			begin(pool, wall);
			return g_steal_pointer(&pool);
		}
	}
	g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "out of memory: a pool of %zu long flows", options->limit);
	return NULL;
}

void
pool_close(struct pool *pool)
{
	if (!pool)
		return;
	slots_close(&pool->slots);
	ended_close(pool->outside);
	free(pool);
}

bool
pool_configure(struct pool *pool, const struct pool_options *options)
{
	const size_t limit = MIN(options->limit, POOL_MOST);

	if (!slots_resize(&pool->slots, limit))
		return false;
	pool->options.limit = limit;
	pool->options.active_timeout = options->active_timeout;
	return true;
}

/* Is there a slot that nobody was promised? */
static bool
has_room(struct pool *pool)
{
	const size_t taken = pool->slots.used + pool->promised;

	return taken < pool->options.limit && slots_have_room(&pool->slots, pool->promised + 1);
}

size_t
pool_used(const struct pool *pool)
{
	return pool->slots.used;
}

size_t
pool_octets(const struct pool *pool)
{
	return sizeof *pool + slots_octets(&pool->slots) + (pool->outside ? ended_octets(ENDED_LEAST) : 0);
}

void
pool_prefetch(const struct pool *pool, uint64_t hash)
{
	slots_prefetch(&pool->slots, hash);
}

/* Flows in and out of slots. */

static void
get_counters(const struct flow *flow, uint64_t counter[POOL_COUNTERS])
{
	counter[0] = flow->original.packets;
	counter[1] = flow->original.octets;
	counter[2] = flow->reply.packets;
	counter[3] = flow->reply.octets;
}

static bool
has_moved(const struct flow *flow)
{
	return flow->original.packets || flow->reply.packets;
}

/* What was counted beyond the base. */
static void
set_counters(struct flow *flow, const uint64_t counter[POOL_COUNTERS], const uint64_t base[POOL_COUNTERS])
{
	flow->original.packets = counter[0] - base[0];
	flow->original.octets = counter[1] - base[1];
	flow->reply.packets = counter[2] - base[2];
	flow->reply.octets = counter[3] - base[3];
}

/* Counters only go back if somebody zeroes them, and then all four. */
static bool
was_zeroed(const struct slot *slot, const uint64_t total[POOL_COUNTERS])
{
	for (unsigned i = 0; i < POOL_COUNTERS; i++)
		if (total[i] < slot->last[i])
			return true;
	return false;
}

/* What next to count from after that: what the last look saw beyond the last record is still to be told. */
static void
base_of(const struct slot *slot, bool zeroed, uint64_t base[POOL_COUNTERS])
{
	for (unsigned i = 0; i < POOL_COUNTERS; i++)
		base[i] = slot->reported[i] - (zeroed ? slot->last[i] : 0);
}

/* Where there is no birth, the moment of any one look must not become part of the id. */
static void
set_flow_id(struct flow *flow, const struct flow_identity *identity)
{
	flow->flow_id = (uint64_t)flow->id << 32 ^ (identity->born / 1000000 & UINT32_MAX);
}

/* What a record has from those before it. */
static void
continue_from(const struct slot *slot, struct flow *flow)
{
	flow->start = MIN(slot->told_until, flow->end);
	flow->gaps |= slot->gaps;
	set_flow_id(flow, &slot->identity);
}

/* What stays the same for all of a flow's life, and is no part of what identifies it. */
static void
note_reply(struct slot *slot, const struct flow *flow)
{
	struct flow_identity identity;
	const struct flow turned = { .original = flow->reply, .protocol = flow->protocol };

	identity_of(&turned, &identity);
	slot->reply_source = identity.source;
	slot->reply_destination = identity.destination;
	memcpy(slot->reply_port, identity.port, sizeof slot->reply_port);
	slot->gaps = flow->gaps & (GAP_NO_START | GAP_PARTIAL);
}

/* What may change during a flow's life. */
static void
note_look(struct slot *slot, const struct flow *flow, const uint64_t total[POOL_COUNTERS])
{
	const uint64_t after = flow->end > slot->told_until ? flow->end - slot->told_until : 0;

	memcpy(slot->last, total, sizeof slot->last);
	slot->look = MIN(after, UINT32_MAX);
	slot->mark = flow->mark;
	slot->status = flow->status;
	slot->state = flow->state;
	memcpy(slot->labels, flow->labels, sizeof slot->labels);
}

static void
note_told(struct slot *slot, const struct flow *flow, uint64_t now, const uint64_t total[POOL_COUNTERS])
{
	slot->told_until = flow->end;
	slot->told_at = now;
	memcpy(slot->reported, total, sizeof slot->reported);
	note_look(slot, flow, total);
}

static void
insert(struct pool *pool, const struct flow *flow, uint64_t hash, uint64_t now,
       const uint64_t reported[POOL_COUNTERS], const uint64_t total[POOL_COUNTERS])
{
	uint32_t number;
	struct slot *slot = slots_take(&pool->slots, &number);
	struct flow_identity identity;

	identity_of(flow, &identity);
	note_reply(slot, flow);
	note_told(slot, flow, now, reported);
	note_look(slot, flow, total);
	slots_publish(&pool->slots, number, &identity, hash);
}

void
pool_settle(const struct pool *pool, struct flow *flow, uint64_t hash, uint64_t total[POOL_COUNTERS])
{
	uint32_t number;
	uint64_t base[POOL_COUNTERS];
	const struct slot *slot = slots_find(&pool->slots, flow, hash, &number);

	get_counters(flow, total);
	if (!slot)
		return;
	const bool zeroed = was_zeroed(slot, total);
	base_of(slot, zeroed, base);
	set_counters(flow, total, base);
	continue_from(slot, flow);
	flow->gaps |= zeroed ? GAP_RESET : 0;
	pool->options.counters->resets += zeroed;
}

/* Looks. */

/* Without a birth, or with one that is still to come because the clock was set back, it may be of any age. */
static bool
is_ageless(const struct flow *flow)
{
	return flow->gaps & GAP_NO_START || flow->born > flow->end;
}

static bool
was_before(const struct pool *pool, const struct flow *flow)
{
	const uint64_t before = slots_head(&pool->slots)->before;

	return before && (flow->gaps & GAP_NO_START || flow->born < before);
}

static void
make_interval(struct flow *flow)
{
	flow->end_reason = END_ACTIVE;
	flow->stop = 0;
}

/* Room for a flow that is not wanted is none: it must not keep others out. */
static bool
is_wanted(const struct pool *pool, const struct flow *flow)
{
	return !pool->options.wanted || pool->options.wanted(flow, pool->options.data);
}

static enum pool_verdict
no_room(struct pool *pool, uint64_t hash)
{
	if (!pool->options.limit)
		return POOL_NOTHING;
	if (!pool->outside)
		pool->outside = ended_open(NULL, ENDED_LEAST);
	if (!pool->outside || ended_late(pool->outside, &hash, 1))
		return POOL_NOTHING;
	ended_add(pool->outside, hash, hash);
	pool->options.counters->no_room++;
	return POOL_NO_ROOM;
}

/* From this look on it gets older: all that it counted is reported already, or nothing. */
static enum pool_verdict
begin_here(struct pool *pool, const struct flow *flow, uint64_t hash, uint64_t now,
           const uint64_t reported[POOL_COUNTERS], const uint64_t total[POOL_COUNTERS])
{
	pool->options.counters->partial += flow->gaps & GAP_PARTIAL ? 1 : 0;
	insert(pool, flow, hash, now, reported, total);
	return POOL_NOTHING;
}

static enum pool_verdict
first_look(struct pool *pool, struct flow *flow, uint64_t hash, uint64_t now, const uint64_t total[POOL_COUNTERS])
{
	static const uint64_t nothing[POOL_COUNTERS];
	struct flow_identity identity;
	const bool before = was_before(pool, flow), ageless = is_ageless(flow);

	if (!before && !ageless && (flow->end - flow->born < pool->options.active_timeout || !has_moved(flow)))
		return POOL_NOTHING;
	if (!is_wanted(pool, flow))
		return POOL_NOTHING;
	if (!has_room(pool))
		return no_room(pool, hash);
	flow->gaps |= before ? GAP_PARTIAL : 0;
	if (before || ageless)
		return begin_here(pool, flow, hash, now, before ? total : nothing, total);
	identity_of(flow, &identity);
	set_flow_id(flow, &identity);
	make_interval(flow);
	pool->promised++;
	return POOL_TELL;
}

/* From here on counts from zero, and from what was not told yet. */
static void
begin_anew(struct pool *pool, struct slot *slot, uint32_t number, const uint64_t total[POOL_COUNTERS])
{
	uint64_t base[POOL_COUNTERS];

	base_of(slot, true, base);
	slot->gaps |= GAP_RESET;
	slots_begin_anew(&pool->slots, number, base, total);
	pool->options.counters->resets++;
}

enum pool_verdict
pool_look(struct pool *pool, struct flow *flow, uint64_t hash, uint64_t now, uint64_t total[POOL_COUNTERS])
{
	uint32_t number;
	struct slot *slot;

	if (flow->gaps & GAP_NO_COUNTERS)
		return POOL_NOTHING;
	get_counters(flow, total);
	slot = slots_find(&pool->slots, flow, hash, &number);
	if (!slot)
		return first_look(pool, flow, hash, now, total);
	*missed_at(&pool->slots, number) = MISSED_SEEN;
	if (was_zeroed(slot, total))
		begin_anew(pool, slot, number, total);
	note_look(slot, flow, total);
	if ((uint32_t)now - slot->told_at < pool->options.active_timeout)
		return POOL_NOTHING;
	set_counters(flow, total, slot->reported);
	if (!has_moved(flow))
		return POOL_NOTHING;
	continue_from(slot, flow);
	make_interval(flow);
	return POOL_TELL;
}

void
pool_told(struct pool *pool, const struct flow *flow, uint64_t hash, uint64_t now,
          const uint64_t total[POOL_COUNTERS])
{
	uint32_t number;
	struct slot *slot = slots_find(&pool->slots, flow, hash, &number);

	if (slot) {
		note_told(slot, flow, now, total);
		slot->gaps &= ~GAP_RESET;
		return;
	}
	pool->promised -= pool->promised > 0;
	if (has_room(pool))
		insert(pool, flow, hash, now, total, total);
}

void
pool_forget(struct pool *pool, const struct flow *flow, uint64_t hash)
{
	slots_drop(&pool->slots, flow, hash);
}

/* Walks. */

bool
pool_walked(struct pool *pool, bool complete, bool certain)
{
	bool gone = false;

	pool->slots.no_memory = false;
	if (complete)
		slots_head(&pool->slots)->before = 0;
	if (!complete || !certain)
		return false;
	for (size_t i = 0; i < pool->slots.chunks * CHUNK_SLOTS; i++) {
		uint8_t *missed = missed_at(&pool->slots, i);
		*missed += *missed < MISSED_GONE;
		gone |= *missed == MISSED_GONE;
	}
	return gone;
}

static void
set_side(struct side *side, union address source, union address destination, const uint16_t port[2], bool icmp)
{
	side->source = source;
	side->destination = destination;
	*(icmp ? &side->icmp_id : &side->source_port) = port[0];
	*(icmp ? &side->icmp : &side->destination_port) = port[1];
}

/* All that is known of a flow that is not there any more. */
static void
recall(const struct slot *slot, struct flow *flow)
{
	const struct flow_identity identity = slot->identity;
	const uint8_t protocol = identity.kind & 0xff;
	const bool icmp = protocol == 1 || protocol == 58;

	*flow = (struct flow){ .born = identity.born / 1000000, .born_ns = identity.born % 1000000, .id = identity.id,
	                       .mark = slot->mark, .status = slot->status, .zone = identity.kind >> 16,
	                       .family = identity.kind >> 8 & 0xff, .protocol = protocol, .state = slot->state,
	                       .end_reason = END_LACK_OF_RESOURCES, .gaps = GAP_LOST_END };
	set_side(&flow->original, identity.source, identity.destination, identity.port, icmp);
	set_side(&flow->reply, slot->reply_source, slot->reply_destination, slot->reply_port, icmp);
	flow->original.biflow_direction = 1;
	flow->reply.biflow_direction = 2;
	memcpy(flow->labels, slot->labels, sizeof flow->labels);
	flow->end = flow->stop = slot->told_until + slot->look;
	set_counters(flow, slot->last, slot->reported);
	continue_from(slot, flow);
	if (flow->gaps & GAP_NO_START)
		flow->born = flow->start;
}

bool
pool_gone(struct pool *pool, size_t *at, struct flow *flow, uint64_t *hash, uint64_t total[POOL_COUNTERS])
{
	for (; *at < pool->slots.chunks * CHUNK_SLOTS; ++*at) {
		if (*missed_at(&pool->slots, *at) != MISSED_GONE)
			continue;
		const struct slot *slot = slot_at(&pool->slots, (*at)++);
		*hash = identity_hash(&slot->identity, pool->options.key);
		memcpy(total, slot->last, sizeof slot->last);
		recall(slot, flow);
		pool->options.counters->gone++;
		return true;
	}
	return false;
}

void
pool_sift(struct pool *pool, bool (*keep)(const struct flow *flow, void *data), void *data)
{
	for (size_t i = 0; i < pool->slots.chunks * CHUNK_SLOTS; i++) {
		const struct slot *slot = slot_at(&pool->slots, i);
		struct flow flow;
		if (*missed_at(&pool->slots, i) == MISSED_FREE)
			continue;
		recall(slot, &flow);
		if (!keep(&flow, data))
			pool_forget(pool, &flow, identity_hash(&slot->identity, pool->options.key));
	}
}
