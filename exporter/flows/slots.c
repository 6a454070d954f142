/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "flows/slots.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

struct place {
	uint32_t hash;
	uint32_t slot;              /* plus one; zero: free */
};

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
release(struct slots *slots, uint32_t number)
{
	struct slot *slot = slot_at(slots, number);

	publish(&slot->identity.kind, 0);
	slot->identity.id = slots->free;
	slots->free = number + 1;
	*missed_at(slots, number) = MISSED_FREE;
}

/* The index: an open hash table, at most half full. */

static struct place *
place_of(const struct slots *slots, uint64_t hash, const struct flow_identity *identity)
{
	for (size_t i = hash & slots->mask;; i = (i + 1) & slots->mask) {
		struct place *place = &slots->index[i];
		if (!place->slot)
			return place;
		if (place->hash == (uint32_t)hash
		    && memcmp(&slot_at(slots, place->slot - 1)->identity, identity, sizeof *identity) == 0)
			return place;
	}
}

/* Does anything stand where the flow would? Of most flows, which are short, there is no more to find out. */
static inline bool
is_possible(const struct slots *slots, uint64_t hash)
{
	return slots->index[hash & slots->mask].slot != 0;
}

/* Closes the hole: whatever was pushed past it moves back. */
static void
leave_index(struct slots *slots, struct place *hole)
{
	size_t i = hole - slots->index;

	for (size_t j = (i + 1) & slots->mask; slots->index[j].slot; j = (j + 1) & slots->mask) {
		const size_t home = slots->index[j].hash & slots->mask;
		if (((j - home) & slots->mask) >= ((j - i) & slots->mask)) {
			slots->index[i] = slots->index[j];
			i = j;
		}
	}
	slots->index[i].slot = 0;
}

void
slots_prefetch(const struct slots *slots, uint64_t hash)
{
	__builtin_prefetch(&slots->index[hash & slots->mask]);
}

struct slot *
slots_find(const struct slots *slots, const struct flow *flow, uint64_t hash, uint32_t *number)
{
	struct flow_identity identity;

	if (!is_possible(slots, hash))
		return NULL;
	identity_of(flow, &identity);
	*number = place_of(slots, hash, &identity)->slot;
	return *number ? slot_at(slots, --*number) : NULL;
}

struct slot *
slots_take(struct slots *slots, uint32_t *number)
{
	*number = slots->free - 1;
	struct slot *slot = slot_at(slots, *number);
	slots->free = slot->identity.id;
	return slot;
}

void
slots_publish(struct slots *slots, uint32_t number, const struct flow_identity *identity, uint64_t hash)
{
	struct slot *slot = slot_at(slots, number);

	memcpy(&slot->identity, identity, offsetof(struct flow_identity, kind));
	publish(&slot->identity.kind, identity->kind);
	*place_of(slots, hash, identity) = (struct place){ hash, number + 1 };
	*missed_at(slots, number) = MISSED_SEEN;
	slots->used++;
}

void
slots_drop(struct slots *slots, const struct flow *flow, uint64_t hash)
{
	struct flow_identity identity;

	if (!is_possible(slots, hash))
		return;
	identity_of(flow, &identity);
	struct place *place = place_of(slots, hash, &identity);
	if (!place->slot)
		return;
	const uint32_t number = place->slot - 1;
	leave_index(slots, place);
	release(slots, number);
	slots->used--;
}

static void
finish_redo(struct slots *slots)
{
	struct head *head = slots_head(slots);

	if (!head->redo || head->redo > slots->chunks * CHUNK_SLOTS)
		return;
	struct slot *slot = slot_at(slots, head->redo - 1);
	memcpy(slot->reported, head->redo_reported, sizeof slot->reported);
	memcpy(slot->last, head->redo_last, sizeof slot->last);
	publish_wide(&head->redo, 0);
}

/* Counting from the one with the counters of the other would invent packets. */
void
slots_begin_anew(struct slots *slots, uint32_t number, const uint64_t reported[POOL_COUNTERS],
                 const uint64_t last[POOL_COUNTERS])
{
	struct head *head = slots_head(slots);

	memcpy(head->redo_reported, reported, sizeof head->redo_reported);
	memcpy(head->redo_last, last, sizeof head->redo_last);
	publish_wide(&head->redo, (uint64_t)number + 1);
	finish_redo(slots);
}

/* Chunks. */

/* Takes in what an earlier process left; the lowest slots are free first. */
static void
adopt(struct slots *slots, uint32_t number)
{
	struct slot *slot = slot_at(slots, number);

	if (!slot->identity.kind) {
		release(slots, number);
		return;
	}
	const uint64_t hash = identity_hash(&slot->identity, slots->key);
	struct place *place = place_of(slots, hash, &slot->identity);
	if (place->slot || slots->used > slots->mask / 2) {
		release(slots, number);
		return;
	}
	*place = (struct place){ hash, number + 1 };
	*missed_at(slots, number) = MISSED_UNKNOWN;
	slots->used++;
}

static bool
add_chunk(struct slots *slots)
{
	const unsigned n = slots->chunks;

	if (n == CHUNKS_MOST)
		return false;
	struct chunk *chunk = slots->memory ? slots->memory(n, sizeof *chunk, slots->data)
	                      : aligned_alloc(64, sizeof *chunk);
	if (chunk && !slots->memory)
		memset(chunk, 0, sizeof *chunk);
	slots->missed[n] = chunk ? malloc(CHUNK_SLOTS) : NULL;
	slots->chunk[n] = chunk;
	if (!slots->missed[n])
		return false;
	slots->chunks++;
	return true;
}

/* Of a chunk that was just added. */
static void
adopt_chunk(struct slots *slots)
{
	for (uint32_t i = slots->chunks * CHUNK_SLOTS; i-- > (slots->chunks - 1) * CHUNK_SLOTS;)
		adopt(slots, i);
}

static bool
grow(struct slots *slots)
{
	if (slots->no_memory)
		return false;
	slots->no_memory = !add_chunk(slots);
	if (slots->no_memory)
		return false;
	slots_head(slots)->chunks = MAX(slots_head(slots)->chunks, slots->chunks);
	adopt_chunk(slots);
	return true;
}

bool
slots_have_room(struct slots *slots, size_t more)
{
	return slots->used + more <= slots->chunks * CHUNK_SLOTS || grow(slots);
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
open_chunks(struct slots *slots)
{
	if (!add_chunk(slots))
		return false;
	while (slots->chunks < MIN(slots_head(slots)->chunks, CHUNKS_MOST))
		if (!add_chunk(slots))
			return false;
	finish_redo(slots);
	return true;
}

/* The highest slots first, so that the lowest are on top of those that are free. */
static void
adopt_all(struct slots *slots)
{
	slots->used = slots->free = 0;
	for (uint32_t i = slots->chunks * CHUNK_SLOTS; i-- > 0;)
		adopt(slots, i);
}

bool
slots_open(struct slots *slots, size_t flows)
{
	if (!open_chunks(slots))
		return false;
	slots->index = new_index(MAX(flows, slots->chunks * CHUNK_SLOTS), &slots->mask);
	if (slots->index)
		adopt_all(slots);
	return slots->index != NULL;
}

void
slots_close(struct slots *slots)
{
	for (size_t i = 0; i < CHUNKS_MOST; i++) {
		free(slots->missed[i]);
		if (!slots->memory)
			free(slots->chunk[i]);
	}
	free(slots->index);
}

bool
slots_resize(struct slots *slots, size_t flows)
{
	size_t mask;
	struct place *index = new_index(MAX(flows, slots->chunks * CHUNK_SLOTS), &mask);

	if (!index)
		return false;
	for (size_t i = 0; i <= slots->mask; i++) {
		size_t to = slots->index[i].hash & mask;
		if (!slots->index[i].slot)
			continue;
		while (index[to].slot)
			to = (to + 1) & mask;
		index[to] = slots->index[i];
	}
	free(slots->index);
	slots->index = index;
	slots->mask = mask;
	return true;
}

size_t
slots_octets(const struct slots *slots)
{
	return slots->chunks * (sizeof(struct chunk) + CHUNK_SLOTS) + (slots->mask + 1) * sizeof(struct place);
}
