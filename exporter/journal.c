/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "journal.h"

#include <string.h>

#include <glib.h>

enum { BATCH_BITS = 16 };

struct journal {
	struct journal_memory *memory;
	struct journal_memory *own; /* if none was given */
	bool known[JOURNAL_COLLECTORS]; /* receipts that this process has recovered */
	bool asked[JOURNAL_COLLECTORS];
};

static uint64_t
low_bits(uint64_t batch)
{
	return batch & ((1 << BATCH_BITS) - 1);
}

struct journal *
journal_open(struct journal_memory *memory)
{
	struct journal *journal = g_new0(struct journal, 1);

	journal->own = memory ? NULL : g_new0(struct journal_memory, 1);
	journal->memory = memory ? memory : journal->own;
	return journal;
}

void
journal_close(struct journal *journal)
{
	if (!journal)
		return;
	g_free(journal->own);
	g_free(journal);
}

bool
journal_survives(const struct journal *journal)
{
	return !journal->own;
}

struct source_memory *
journal_events(struct journal *journal)
{
	return &journal->memory->events;
}

bool
journal_replay(const struct journal *journal)
{
	return low_bits(journal->memory->events.batch) != low_bits(journal->memory->commit);
}

uint64_t
journal_head(const struct journal *journal)
{
	return journal->memory->commit >> BATCH_BITS;
}

uint64_t
journal_first(const struct journal *journal)
{
	const uint64_t head = journal_head(journal);

	return head > JOURNAL_KEPT ? head - JOURNAL_KEPT + 1 : 1;
}

static struct journal_slot *
slot_of(const struct journal *journal, uint64_t number)
{
	return &journal->memory->slot[number % JOURNAL_SLOTS];
}

const struct journal_slot *
journal_flow(const struct journal *journal, uint64_t number)
{
	return slot_of(journal, number);
}

struct journal_slot *
journal_place(struct journal *journal, unsigned i)
{
	return slot_of(journal, journal_head(journal) + 1 + i);
}

void
journal_commit(struct journal *journal, unsigned n, uint64_t batch)
{
	const uint64_t head = journal_head(journal) + n;

	__atomic_store_n(&journal->memory->commit, head << BATCH_BITS | low_bits(batch), __ATOMIC_RELEASE);
	/* Nothing that follows from it may come before it. */
	receipts_fence();
}

void
journal_commit_more(struct journal *journal, unsigned n)
{
	journal_commit(journal, n, journal->memory->commit);
}

void
journal_applied(struct journal *journal)
{
	__atomic_store_n(&journal->memory->applied, journal_head(journal), __ATOMIC_RELEASE);
}

void
journal_redo(struct journal *journal, void (*redo)(const struct journal_slot *slot, void *data), void *data)
{
	const uint64_t head = journal_head(journal);

	for (uint64_t number = journal->memory->applied + 1; number <= head; number++)
		redo(slot_of(journal, number), data);
	journal_applied(journal);
}

/* The name last: a collector without one has no receipts yet. */
static void
make_receipts(struct journal *journal, unsigned i, const char *name)
{
	memset(&journal->memory->collector[i], 0, sizeof journal->memory->collector[i]);
	journal->memory->collector[i].receipts.out = journal_head(journal);
	receipts_fence();
	g_strlcpy(journal->memory->collector[i].name, name, JOURNAL_NAME);
}

static unsigned
find_collector(const struct journal *journal, const char *name)
{
	unsigned i = 0;

	while (i < JOURNAL_COLLECTORS && strncmp(journal->memory->collector[i].name, name, JOURNAL_NAME) != 0)
		i++;
	return i;
}

struct receipts *
journal_receipts(struct journal *journal, const char *name)
{
	unsigned i = find_collector(journal, name);

	if (i == JOURNAL_COLLECTORS) {
		i = find_collector(journal, "");
		if (i == JOURNAL_COLLECTORS)
			return NULL;
		make_receipts(journal, i, name);
	}
	struct receipts *receipts = &journal->memory->collector[i].receipts;
	/* Not those that are in use. */
	if (!journal->known[i])
		receipts_recover(receipts);
	journal->known[i] = journal->asked[i] = true;
	return receipts;
}

void
journal_forget_others(struct journal *journal)
{
	for (unsigned i = 0; i < JOURNAL_COLLECTORS; i++) {
		if (!journal->asked[i]) {
			journal->memory->collector[i].name[0] = '\0';
			journal->known[i] = false;
		}
		journal->asked[i] = false;
	}
}
