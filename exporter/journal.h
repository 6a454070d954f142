/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_JOURNAL_H
#define PEERFLOW_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow.h"
#include "flows/flows.h"
#include "source/events.h"
#include "transport/receipts.h"

/* Every flow exactly once, whenever the process is killed. Between the kernel, which forgets a flow as soon as it is
 * read, and a collector, which is to get it once, each flow has a number and stands in the journal: a ring in memory
 * that survives the process (region.h). All three ends of its way are written down by a single store, and two of them
 * by the kernel:
 *
 *     recvmmsg()  ─▶  source_memory  ─▶  slots ─▶ commit ─▶ applied  ─▶  encoder ─▶ sendmmsg() ─▶ receipts
 *                     (lengths)                                            (each collector its own)
 *
 * A SIGKILL may fall between any two instructions, also inside a system call, which the kernel then finishes. What the
 * next process finds, and does:
 *
 *  1. Before recvmmsg(), or in it before a message came: the lengths are zero (they are cleared under the old batch
 *     number, and events.c changes the number afterwards). Nothing was taken from the socket; nothing is to be done.
 *  2. In recvmmsg() after that, or until the commit: the events' batch number is not the committed one. The messages
 *     whose length is not zero are handed on as if they had just come. Slots that were written meanwhile are beyond the
 *     head: they are written again.
 *  3. After the commit, which tells the new head and the batch in one word: the batch is done, and its flows are in the
 *     journal. What else has to be remembered of them (long flows, flows that ended) is changed after the commit only,
 *     by changes that do no harm when they are made twice: journal_redo goes through the slots that are not applied.
 *     Nothing may be changed earlier: what was decided by it would be decided otherwise the second time.
 *  4. After that, up to sendmmsg(): the flow is beyond the mark of the collector's receipts, and is read from the journal
 *     again. The encoder puts all records of a flow into one message, so that it is out, or is not.
 *  5. In sendmmsg() and after it: receipts.h.
 *
 * The next process may be killed while it does so: each step leaves what the one after it begins with.
 *
 * Flows of a walk over the table (interval records, and flows that are gone) are committed under the number of the batch
 * before. Own memory of the daemon that is not written down, such as connection labels, is lost in a crash.
 *
 * The ring holds the last JOURNAL_KEPT flows at least. A collector that is further behind misses what it had not got:
 * while the daemon lives, the output counts it as dropped; after a crash it is found out and told (GAP_JOURNAL). */

enum {
	JOURNAL_SLOTS = 8192,
	JOURNAL_BATCH = FLOWS_BATCH,    /* flows committed at a time, at most */
	JOURNAL_KEPT = JOURNAL_SLOTS - JOURNAL_BATCH,
	JOURNAL_COLLECTORS = 32,
	JOURNAL_NAME = 65,          /* octets of a collector's name, with its end */
	JOURNAL_LAYOUT = 2,
};

struct journal_slot {
	struct flow flow;           /* as it is told, but for names and interfaces, which are found out each time */
	uint64_t total[POOL_COUNTERS];  /* what the kernel had counted */
	uint8_t what;               /* enum flows_record */
};

struct journal_memory {
	uint64_t commit;            /* number of the last flow << 16 | low 16 bits of the batch */
	uint64_t applied;           /* number of the last flow that was applied */
	uint64_t seen;              /* ms since 1970 when the process was last seen alive; zero: never */
	struct source_memory events;
	struct {
		char name[JOURNAL_NAME];    /* "": free */
		struct receipts receipts;
	} collector[JOURNAL_COLLECTORS];
	struct journal_slot slot[JOURNAL_SLOTS];
};

struct journal;

/* memory: all zero, or what an earlier process left; it must outlive the journal. NULL: ordinary memory. */
struct journal *journal_open(struct journal_memory *memory);
void journal_close(struct journal *journal);

/* True if the memory was given, so that what is in it is not lost with the process. */
bool journal_survives(const struct journal *journal);

/* Where events are received. */
struct source_memory *journal_events(struct journal *journal);

/* True if another process received a batch of events and did not commit it. */
bool journal_replay(const struct journal *journal);

/* Number of the last flow; they count from one. And of the oldest that is still there. */
uint64_t journal_head(const struct journal *journal);
uint64_t journal_first(const struct journal *journal);

/* The flow of that number, from journal_first to journal_head. */
const struct journal_slot *journal_flow(const struct journal *journal, uint64_t number);

/* The place for the ith flow of the batch to be committed, i < JOURNAL_BATCH. It holds anything. */
struct journal_slot *journal_place(struct journal *journal, unsigned i);

/* The first n places hold the flows of this batch of events. */
void journal_commit(struct journal *journal, unsigned n, uint64_t batch);

/* The same of flows that did not come by events. */
void journal_commit_more(struct journal *journal, unsigned n);

/* What follows from all flows up to the head is done. */
void journal_applied(struct journal *journal);

/* Calls redo for each flow that is committed and not applied, in order; then they are. */
void journal_redo(struct journal *journal, void (*redo)(const struct journal_slot *slot, void *data), void *data);

/* The receipts of the collector of that name, recovered if another process left them; a collector that nobody knew
 * begins behind the head. NULL: there are too many collectors. They stay valid as long as the journal. */
struct receipts *journal_receipts(struct journal *journal, const char *name);

/* Forgets the receipts of collectors that journal_receipts was not asked for since the last call of this. */
void journal_forget_others(struct journal *journal);

#endif
