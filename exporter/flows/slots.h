/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_FLOWS_SLOTS_H
#define PEERFLOW_FLOWS_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flows/identity.h"
#include "flows/pool.h"

/* Where the pool keeps its flows: slots in chunks of memory that may survive the process, and an index to find them by,
 * which does not. */

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

struct slots {
	pool_memory *memory;        /* NULL: ordinary memory */
	void *data;
	const struct identity_key *key;
	struct chunk *chunk[CHUNKS_MOST];
	uint8_t *missed[CHUNKS_MOST];
	size_t chunks;
	bool no_memory;             /* for another chunk; whoever cleared it may try again */
	size_t used;
	uint32_t free;              /* slot, plus one */
	size_t mask;
	struct place *index;
};

/* Opens what an earlier process left, or one empty chunk, with an index for so many flows. False if there is no memory;
 * slots_close in any case. */
bool slots_open(struct slots *slots, size_t flows);
void slots_close(struct slots *slots);

/* An index for so many flows. False, and nothing has changed, if there is no memory for it. */
bool slots_resize(struct slots *slots, size_t flows);

/* Octets of memory in use. */
size_t slots_octets(const struct slots *slots);

static inline struct head *
slots_head(const struct slots *slots)
{
	return &slots->chunk[0]->head;
}

static inline struct slot *
slot_at(const struct slots *slots, uint32_t number)
{
	return &slots->chunk[number / CHUNK_SLOTS]->slot[number % CHUNK_SLOTS];
}

static inline uint8_t *
missed_at(const struct slots *slots, uint32_t number)
{
	return &slots->missed[number / CHUNK_SLOTS][number % CHUNK_SLOTS];
}

/* Has the processor fetch what slots_find will need first. */
void slots_prefetch(const struct slots *slots, uint64_t hash);

/* The slot of the flow and its number, or NULL. */
struct slot *slots_find(const struct slots *slots, const struct flow *flow, uint64_t hash, uint32_t *number);

/* Room for so many more flows? Gets another chunk if need be. */
bool slots_have_room(struct slots *slots, size_t more);

/* A free slot, to be filled but for its identity; there must be room. Then slots_publish makes it the flow's. */
struct slot *slots_take(struct slots *slots, uint32_t *number);
void slots_publish(struct slots *slots, uint32_t number, const struct flow_identity *identity, uint64_t hash);

/* Frees the slot of the flow, if it has one. */
void slots_drop(struct slots *slots, const struct flow *flow, uint64_t hash);

/* Counts of this slot from these numbers on. Either both change or neither. */
void slots_begin_anew(struct slots *slots, uint32_t number, const uint64_t reported[POOL_COUNTERS],
                      const uint64_t last[POOL_COUNTERS]);

#endif
