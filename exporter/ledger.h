/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_LEDGER_H
#define PEERFLOW_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "gap.h"

/* The book of gaps. What is told of one loss again and again becomes one entry; totals of each kind and collector, and
 * the last entries, lie in memory that may survive the process. Each kind and collector gets a line in the log at once,
 * and from then on at most one a minute, which says what was not said meanwhile. */

enum {
	LEDGER_LAST = 64,           /* entries remembered */
	LEDGER_TOTALS = 256,        /* kinds times collectors; beyond it those that were quiet longest make room */
	LEDGER_LAYOUT = 1,          /* number of the layout of struct ledger_memory, for whoever keeps it */
};

struct ledger_memory {
	uint64_t entries;           /* ever; entry n lies at n % LEDGER_LAST */
	uint64_t totals;            /* in use */
	struct gap entry[LEDGER_LAST];
	struct gap total[LEDGER_TOTALS];
};

struct ledger;

/* With memory goes on with what is in it, or begins anew if that makes no sense; the memory must outlive the ledger.
 * NULL: nothing survives. clock gives microseconds that only grow, NULL: g_get_monotonic_time. */
struct ledger *ledger_new(struct ledger_memory *memory, int64_t (*clock)(void));

/* Says what is unsaid. */
void ledger_free(struct ledger *ledger);

/* Adds flows, packets and octets to the entry of the same kind and collector, if the last one is at most a minute away,
 * or makes a new one. */
void ledger_add(struct ledger *ledger, const struct gap *gap);

/* To be called every second or so: says what is due. */
void ledger_tick(struct ledger *ledger);

/* How often something was added by this process: has anything changed? */
uint64_t ledger_changes(const struct ledger *ledger);

typedef void ledger_visitor(const struct gap *gap, void *data);

/* The last entries, oldest first. */
void ledger_each(const struct ledger *ledger, ledger_visitor *visitor, void *data);

/* One total for each kind and collector that ever had a gap. */
void ledger_totals(const struct ledger *ledger, ledger_visitor *visitor, void *data);

/* The total over the kinds whose bit (1 << kind) is set, of this collector, "" for what is not one collector's. False,
 * with zeros, if there was no such gap. The kind of the result means nothing. */
bool ledger_sum(const struct ledger *ledger, unsigned kinds, const char *collector, struct gap *sum);

/* Writes a collector's name into the gap, as much of it as there is room for. */
void gap_set_collector(struct gap *gap, const char *name);

/* What a kind is called wherever it has a name: "overrun", "unreachable". */
const char *gap_name(unsigned kind);

/* The gap as a sentence, to be freed with g_free. */
char *gap_text(const struct gap *gap);

#endif
