/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "flows/pool.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "flows/ended.h"

enum {
	CHUNK_SLOTS = 16384,
	CHUNKS_MOST = POOL_MOST / CHUNK_SLOTS,
	/* How many certain walks are over since one showed the flow; more than any walk counts to: there is no flow. */
	MISSED_SEEN = 0,
	MISSED_UNKNOWN = 1,
	MISSED_GONE = 3,
	MISSED_FREE = 255,
};

/* Three cache lines. The kind of the identity is written last: without it nothing stands here, and then the id says
 * which slot is free, too. */
struct slot {
	struct flow_identity identity;
	uint32_t mark;
	union address reply_source;
	union address reply_destination;
	uint16_t reply_port[2];     /* as in the identity */
	uint32_t told_at;           /* ms by the clock that nobody sets; wraps */
	/* The next record has what was counted beyond reported. Counters that somebody zeroed are a number less than
	 * nothing there: arithmetic wraps. */
	uint64_t reported[POOL_COUNTERS];
	uint64_t last[POOL_COUNTERS];       /* what the last look saw */
	uint64_t told_until;        /* ms since 1970, end of the last record */
	uint32_t look;              /* ms of the last look after told_until */
	uint16_t status;
	uint8_t state;
	uint8_t gaps;               /* enum flow_gap that the next record has, too */
	uint8_t labels[16];
};
_Static_assert(sizeof(struct slot) == 192, "a slot is three cache lines");

/* A chunk begins with a slot's worth of words about the whole pool, used in the first chunk only. */
struct head {
	uint64_t chunks;            /* that ever held a flow */
	uint64_t begun;             /* the words of this head mean something */
	uint64_t before;            /* ms since 1970: flows born earlier were there before us; zero: all of them are known */
	/* The one change of a slot that must be whole though no journal knows of it. */
	uint64_t redo;              /* slot, plus one; zero: none is under way */
	uint64_t redo_reported[POOL_COUNTERS];
	uint64_t redo_last[POOL_COUNTERS];
	uint64_t unused[12];
};
_Static_assert(sizeof(struct head) == sizeof(struct slot), "slots keep to cache lines");

struct chunk {
	struct head head;
	struct slot slot[CHUNK_SLOTS];
};

struct place {
	uint32_t hash;
	uint32_t slot;              /* plus one; zero: free */
};

struct pool {
	struct pool_options options;
	struct chunk *chunk[CHUNKS_MOST];
	uint8_t *missed[CHUNKS_MOST];
	size_t chunks;
	bool no_memory;             /* for another chunk; tried again after the next walk */
	size_t used;
	size_t promised;            /* slots for records that are due, but not told yet */
	uint32_t free;              /* slot, plus one */
	size_t mask;
	struct place *index;
	struct ended *outside;      /* flows that had no room: each is said once. NULL: there was none yet */
};

/* Slots. */

static struct slot *
slot_at(const struct pool *pool, uint32_t number)
{
	return &pool->chunk[number / CHUNK_SLOTS]->slot[number % CHUNK_SLOTS];
}

static uint8_t *
missed_at(const struct pool *pool, uint32_t number)
{
	return &pool->missed[number / CHUNK_SLOTS][number % CHUNK_SLOTS];
}

/* Everything before it is in memory before it is: a kill stops a program between two of its instructions, so it is
 * enough to keep the compiler from changing their order. */
static void
publish(uint32_t *word, uint32_t value)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void
publish_wide(uint64_t *word, uint64_t value)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void
release(struct pool *pool, uint32_t number)
{
	struct slot *slot = slot_at(pool, number);

	publish(&slot->identity.kind, 0);
	slot->identity.id = pool->free;
	pool->free = number + 1;
	*missed_at(pool, number) = MISSED_FREE;
}

/* The index: an open hash table, at most half full. */

static struct place *
place_of(const struct pool *pool, uint64_t hash, const struct flow_identity *identity)
{
	for (size_t i = hash & pool->mask;; i = (i + 1) & pool->mask) {
		struct place *place = &pool->index[i];
		if (!place->slot)
			return place;
		if (place->hash == (uint32_t)hash
		    && memcmp(&slot_at(pool, place->slot - 1)->identity, identity, sizeof *identity) == 0)
			return place;
	}
}

/* Does anything stand where the flow would? Of most flows, which are short, there is no more to find out. */
static inline bool
is_possible(const struct pool *pool, uint64_t hash)
{
	return pool->index[hash & pool->mask].slot != 0;
}

/* Closes the hole: whatever was pushed past it moves back. */
static void
leave_index(struct pool *pool, struct place *hole)
{
	size_t i = hole - pool->index;

	for (size_t j = (i + 1) & pool->mask; pool->index[j].slot; j = (j + 1) & pool->mask) {
		const size_t home = pool->index[j].hash & pool->mask;
		if (((j - home) & pool->mask) >= ((j - i) & pool->mask)) {
			pool->index[i] = pool->index[j];
			i = j;
		}
	}
	pool->index[i].slot = 0;
}

static struct slot *
find(const struct pool *pool, const struct flow *flow, uint64_t hash, uint32_t *number)
{
	struct flow_identity identity;

	if (!is_possible(pool, hash))
		return NULL;
	identity_of(flow, &identity);
	*number = place_of(pool, hash, &identity)->slot;
	return *number ? slot_at(pool, --*number) : NULL;
}

/* Chunks. */

/* Takes in what an earlier process left; the lowest slots are free first. */
static void
adopt(struct pool *pool, uint32_t number)
{
	struct slot *slot = slot_at(pool, number);

	if (!slot->identity.kind) {
		release(pool, number);
		return;
	}
	const uint64_t hash = identity_hash(&slot->identity, pool->options.key);
	struct place *place = place_of(pool, hash, &slot->identity);
	if (place->slot || pool->used > pool->mask / 2) {
		release(pool, number);
		return;
	}
	*place = (struct place){ hash, number + 1 };
	*missed_at(pool, number) = MISSED_UNKNOWN;
	pool->used++;
}

static bool
add_chunk(struct pool *pool)
{
	const unsigned n = pool->chunks;

	if (n == CHUNKS_MOST)
		return false;
	struct chunk *chunk = pool->options.memory ? pool->options.memory(n, sizeof *chunk, pool->options.data)
	                      : aligned_alloc(64, sizeof *chunk);
	if (chunk && !pool->options.memory)
		memset(chunk, 0, sizeof *chunk);
	pool->missed[n] = chunk ? malloc(CHUNK_SLOTS) : NULL;
	pool->chunk[n] = chunk;
	if (!pool->missed[n])
		return false;
	pool->chunks++;
	return true;
}

/* Of a chunk that was just added. */
static void
adopt_chunk(struct pool *pool)
{
	for (uint32_t i = pool->chunks * CHUNK_SLOTS; i-- > (pool->chunks - 1) * CHUNK_SLOTS;)
		adopt(pool, i);
}

static bool
grow(struct pool *pool)
{
	if (pool->no_memory)
		return false;
	pool->no_memory = !add_chunk(pool);
	if (pool->no_memory)
		return false;
	pool->chunk[0]->head.chunks = MAX(pool->chunk[0]->head.chunks, pool->chunks);
	adopt_chunk(pool);
	return true;
}

/* Is there a slot that nobody was promised? */
static bool
has_room(struct pool *pool)
{
	if (pool->used + pool->promised >= pool->options.limit)
		return false;
	return pool->used + pool->promised < pool->chunks * CHUNK_SLOTS || grow(pool);
}

static void
finish_redo(struct pool *pool)
{
	struct head *head = &pool->chunk[0]->head;

	if (!head->redo || head->redo > pool->chunks * CHUNK_SLOTS)
		return;
	struct slot *slot = slot_at(pool, head->redo - 1);
	memcpy(slot->reported, head->redo_reported, sizeof slot->reported);
	memcpy(slot->last, head->redo_last, sizeof slot->last);
	publish_wide(&head->redo, 0);
}

/* Opening. */

static struct place *
new_index(size_t flows, size_t *mask)
{
	size_t places = 1024;

	while (places < 2 * flows)
		places *= 2;
	*mask = places - 1;
	return calloc(places, sizeof(struct place));
}

static bool
open_chunks(struct pool *pool, uint64_t wall)
{
	if (!add_chunk(pool))
		return false;
	struct head *head = &pool->chunk[0]->head;
	if (!head->begun) {
		head->before = pool->options.from_start ? 0 : wall;
		head->chunks = 1;
		publish_wide(&head->begun, 1);
	}
	while (pool->chunks < MIN(head->chunks, CHUNKS_MOST))
		if (!add_chunk(pool))
			return false;
	finish_redo(pool);
	return true;
}

/* The highest slots first, so that the lowest are on top of those that are free. */
static void
adopt_all(struct pool *pool)
{
	pool->used = pool->free = 0;
	for (uint32_t i = pool->chunks * CHUNK_SLOTS; i-- > 0;)
		adopt(pool, i);
}

struct pool *
pool_open(const struct pool_options *options, uint64_t wall, GError **error)
{
	g_autoptr(pool_t) pool = calloc(1, sizeof *pool);

	if (pool) {
		pool->options = *options;
		pool->options.limit = MIN(options->limit, POOL_MOST);
		if (open_chunks(pool, wall)) {
			pool->index = new_index(MAX(pool->options.limit, pool->chunks * CHUNK_SLOTS), &pool->mask);
			if (pool->index) {
				adopt_all(pool);
				return g_steal_pointer(&pool);
			}
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
	for (size_t i = 0; i < CHUNKS_MOST; i++) {
		free(pool->missed[i]);
		if (!pool->options.memory)
			free(pool->chunk[i]);
	}
	ended_close(pool->outside);
	free(pool->index);
	free(pool);
}

bool
pool_configure(struct pool *pool, const struct pool_options *options)
{
	const size_t limit = MIN(options->limit, POOL_MOST);
	size_t mask;
	struct place *index = new_index(MAX(limit, pool->chunks * CHUNK_SLOTS), &mask);

	if (!index)
		return false;
	for (size_t i = 0; i <= pool->mask; i++) {
		size_t to = pool->index[i].hash & mask;
		if (!pool->index[i].slot)
			continue;
		while (index[to].slot)
			to = (to + 1) & mask;
		index[to] = pool->index[i];
	}
	free(pool->index);
	pool->index = index;
	pool->mask = mask;
	pool->options.limit = limit;
	pool->options.active_timeout = options->active_timeout;
	return true;
}

size_t
pool_used(const struct pool *pool)
{
	return pool->used;
}

size_t
pool_octets(const struct pool *pool)
{
	return sizeof *pool + pool->chunks * (sizeof(struct chunk) + CHUNK_SLOTS) + (pool->mask + 1) * sizeof(struct place)
	       + (pool->outside ? ended_octets(ENDED_LEAST) : 0);
}

void
pool_prefetch(const struct pool *pool, uint64_t hash)
{
	__builtin_prefetch(&pool->index[hash & pool->mask]);
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

/* What was counted beyond the base. True if it is anything. */
static bool
set_counters(struct flow *flow, const uint64_t counter[POOL_COUNTERS], const uint64_t base[POOL_COUNTERS])
{
	flow->original.packets = counter[0] - base[0];
	flow->original.octets = counter[1] - base[1];
	flow->reply.packets = counter[2] - base[2];
	flow->reply.octets = counter[3] - base[3];
	return flow->original.packets || flow->reply.packets;
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

/* The flow as it stands in the slot, which is not published yet. */
static void
fill(struct slot *slot, const struct flow *flow)
{
	struct flow_identity identity;
	const struct flow turned = { .original = flow->reply, .protocol = flow->protocol };

	identity_of(&turned, &identity);
	slot->reply_source = identity.source;
	slot->reply_destination = identity.destination;
	memcpy(slot->reply_port, identity.port, sizeof slot->reply_port);
	slot->gaps = flow->gaps & (GAP_NO_START | GAP_PARTIAL);
	identity_of(flow, &identity);
	memcpy(&slot->identity, &identity, offsetof(struct flow_identity, kind));
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
	const uint32_t number = pool->free - 1;
	struct slot *slot = slot_at(pool, number);
	struct flow_identity identity;

	identity_of(flow, &identity);
	pool->free = slot->identity.id;
	fill(slot, flow);
	note_told(slot, flow, now, reported);
	note_look(slot, flow, total);
	publish(&slot->identity.kind, identity.kind);
	*place_of(pool, hash, &identity) = (struct place){ hash, number + 1 };
	*missed_at(pool, number) = MISSED_SEEN;
	pool->used++;
}

void
pool_settle(const struct pool *pool, struct flow *flow, uint64_t hash, uint64_t total[POOL_COUNTERS])
{
	uint32_t number;
	uint64_t base[POOL_COUNTERS];
	const struct slot *slot = find(pool, flow, hash, &number);

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
	const uint64_t before = pool->chunk[0]->head.before;

	return before && (flow->gaps & GAP_NO_START || flow->born < before);
}

static void
make_interval(struct flow *flow)
{
	flow->end_reason = END_ACTIVE;
	flow->stop = 0;
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
	if (!has_room(pool))
		return no_room(pool, hash);
	pool->options.counters->partial += flow->gaps & GAP_PARTIAL ? 1 : 0;
	insert(pool, flow, hash, now, reported, total);
	return POOL_NOTHING;
}

static enum pool_verdict
first_look(struct pool *pool, struct flow *flow, uint64_t hash, uint64_t now, const uint64_t total[POOL_COUNTERS])
{
	static const uint64_t nothing[POOL_COUNTERS];
	struct flow_identity identity;

	if (was_before(pool, flow)) {
		flow->gaps |= GAP_PARTIAL;
		return begin_here(pool, flow, hash, now, total, total);
	}
	if (is_ageless(flow))
		return begin_here(pool, flow, hash, now, nothing, total);
	if (flow->end - flow->born < pool->options.active_timeout || !set_counters(flow, total, nothing))
		return POOL_NOTHING;
	if (!has_room(pool))
		return no_room(pool, hash);
	identity_of(flow, &identity);
	set_flow_id(flow, &identity);
	make_interval(flow);
	pool->promised++;
	return POOL_TELL;
}

/* From here on counts from zero, and from what was not told yet. The slot must not be left half changed: counting from
 * the one with the counters of the other would invent packets. */
static void
begin_anew(struct pool *pool, struct slot *slot, uint32_t number, const uint64_t total[POOL_COUNTERS])
{
	struct head *head = &pool->chunk[0]->head;

	base_of(slot, true, head->redo_reported);
	memcpy(head->redo_last, total, sizeof head->redo_last);
	slot->gaps |= GAP_RESET;
	publish_wide(&head->redo, (uint64_t)number + 1);
	finish_redo(pool);
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
	slot = find(pool, flow, hash, &number);
	if (!slot)
		return first_look(pool, flow, hash, now, total);
	*missed_at(pool, number) = MISSED_SEEN;
	if (was_zeroed(slot, total))
		begin_anew(pool, slot, number, total);
	note_look(slot, flow, total);
	if ((uint32_t)now - slot->told_at < pool->options.active_timeout || !set_counters(flow, total, slot->reported))
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
	struct slot *slot = find(pool, flow, hash, &number);

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
	struct flow_identity identity;

	if (!is_possible(pool, hash))
		return;
	identity_of(flow, &identity);
	struct place *place = place_of(pool, hash, &identity);
	if (!place->slot)
		return;
	const uint32_t number = place->slot - 1;
	leave_index(pool, place);
	release(pool, number);
	pool->used--;
}

/* Walks. */

bool
pool_walked(struct pool *pool, bool complete, bool certain)
{
	bool gone = false;

	pool->no_memory = false;
	if (complete)
		pool->chunk[0]->head.before = 0;
	if (!complete || !certain)
		return false;
	for (size_t i = 0; i < pool->chunks * CHUNK_SLOTS; i++) {
		uint8_t *missed = missed_at(pool, i);
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
	for (; *at < pool->chunks * CHUNK_SLOTS; ++*at) {
		if (*missed_at(pool, *at) != MISSED_GONE)
			continue;
		const struct slot *slot = slot_at(pool, (*at)++);
		*hash = identity_hash(&slot->identity, pool->options.key);
		memcpy(total, slot->last, sizeof slot->last);
		recall(slot, flow);
		pool->options.counters->gone++;
		return true;
	}
	return false;
}
