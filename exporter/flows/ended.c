/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "flows/ended.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct memory {
	struct identity_key key;
	uint64_t younger;           /* 0 or 1: the table that takes new fingerprints */
	uint64_t unused[5];         /* the tables begin on a cache line */
	uint64_t print[];           /* two tables, one behind the other; zero: free */
};

struct ended {
	struct memory *memory;
	bool own;                   /* the memory is ordinary */
	size_t capacity;
	size_t mask;                /* slots of a table less one */
	size_t used;                /* of the younger table */
};

size_t
ended_capacity(size_t table)
{
	size_t capacity = ENDED_LEAST;

	while (capacity < table && capacity < ENDED_MOST)
		capacity *= 2;
	return capacity;
}

/* Half of each table stays free, so that looking for what is not there ends soon. */
static size_t
slots_for(size_t capacity)
{
	return capacity * 2;
}

size_t
ended_octets(size_t capacity)
{
	return sizeof(struct memory) + 2 * slots_for(capacity) * sizeof(uint64_t);
}

static uint64_t *
table_of(const struct ended *ended, unsigned which)
{
	return ended->memory->print + which * (ended->mask + 1);
}

static size_t
count_used(const struct ended *ended)
{
	const uint64_t *table = table_of(ended, ended->memory->younger);
	size_t used = 0;

	for (size_t i = 0; i <= ended->mask; i++)
		used += table[i] != 0;
	return used;
}

static bool
has_key(const struct memory *memory)
{
	return memory->key.half[0] | memory->key.half[1];
}

struct ended *
ended_open(void *memory, size_t capacity)
{
	struct ended *ended = calloc(1, sizeof *ended);

	if (!ended)
		return NULL;
	ended->capacity = capacity;
	ended->mask = slots_for(capacity) - 1;
	ended->own = !memory;
	ended->memory = memory ? memory : calloc(1, ended_octets(capacity));
	if (!ended->memory || (!has_key(ended->memory)
	                       && getrandom(&ended->memory->key, sizeof ended->memory->key, 0) < 0)) {
		ended_close(ended);
		return NULL;
	}
	ended->memory->younger &= 1;
	ended->used = count_used(ended);
	return ended;
}

void
ended_close(struct ended *ended)
{
	if (ended && ended->own)
		free(ended->memory);
	free(ended);
}

const struct identity_key *
ended_key(const struct ended *ended)
{
	return &ended->memory->key;
}

void
ended_prefetch(const struct ended *ended, uint64_t hash)
{
	__builtin_prefetch(&table_of(ended, 0)[hash & ended->mask]);
	__builtin_prefetch(&table_of(ended, 1)[hash & ended->mask]);
}

/* Where the fingerprint stands, or would. What an earlier process left may be anything, even full. */
static uint64_t *
find(const struct ended *ended, unsigned which, uint64_t print)
{
	uint64_t *table = table_of(ended, which);
	size_t i = print & ended->mask;

	for (size_t tries = 0; tries <= ended->mask && table[i] && table[i] != print; tries++)
		i = (i + 1) & ended->mask;
	return &table[i];
}

static bool
has(const struct ended *ended, uint64_t print)
{
	return *find(ended, 0, print) == print || *find(ended, 1, print) == print;
}

static void
add(struct ended *ended, uint64_t print)
{
	const unsigned younger = ended->memory->younger;
	uint64_t *place = find(ended, younger, print);

	if (*place == print)
		return;
	*place = print;
	if (++ended->used < ended->capacity)
		return;
	/* A kill in between leaves a full younger table, which makes room with the next flow. */
	memset(table_of(ended, !younger), 0, (ended->mask + 1) * sizeof(uint64_t));
	ended->memory->younger = !younger;
	ended->used = 0;
}

uint64_t
ended_print(const struct flow *flow, uint64_t hash)
{
	const uint64_t counter[] = { flow->original.packets, flow->original.octets, flow->reply.packets,
	                             flow->reply.octets };

	if (!(flow->gaps & GAP_NO_START))
		return hash;
	for (unsigned i = 0; i < 4; i++) {
		hash = (hash ^ counter[i]) * 0xff51afd7ed558ccdu;
		hash ^= hash >> 32;
	}
	return hash ? hash : 1;
}

/* The fingerprints of one batch by their lowest bits: index plus one. */
struct batch {
	uint8_t at[256];
};

static bool
is_first(struct batch *batch, const uint64_t *print, size_t i)
{
	uint8_t at = print[i];

	while (batch->at[at] && print[batch->at[at] - 1] != print[i])
		at++;
	if (batch->at[at])
		return false;
	batch->at[at] = i + 1;
	return true;
}

uint64_t
ended_again(const struct ended *ended, const uint64_t *print, size_t n)
{
	struct batch batch = { { 0 } };
	uint64_t again = 0;

	for (size_t i = 0; i < n; i++)
		if (has(ended, print[i]) || !is_first(&batch, print, i))
			again |= UINT64_C(1) << i;
	return again;
}

uint64_t
ended_late(const struct ended *ended, const uint64_t *hash, size_t n)
{
	uint64_t late = 0;

	for (size_t i = 0; i < n; i++)
		late |= (uint64_t)has(ended, hash[i]) << i;
	return late;
}

/* A walk shows an entry with other counters than it ended with: hence the bare hash, too. */
void
ended_add(struct ended *ended, uint64_t print, uint64_t hash)
{
	add(ended, print);
	if (hash != print)
		add(ended, hash);
}
