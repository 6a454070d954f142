/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_FLOWS_FLOWS_H
#define PEERFLOW_FLOWS_FLOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "counters.h"
#include "flow.h"
#include "flows/pool.h"
#include "gap.h"

/* From what the kernel says to what is reported: flows that ended and entries that a walk showed come in with the
 * kernel's totals, and leave as records with what was not reported yet, each flow's end once. This takes two steps, so
 * that a journal can be written in between: the first finds out and changes nothing that a record hangs on, the second
 * remembers that it is done. */

enum {
	FLOWS_BATCH = 64,           /* flows in one call, at most */
};

/* Memory that may survive the process: all zero, or what an earlier one with the same name, size and layout left;
 * aligned to 64. It must outlive the flows. */
typedef void *flows_memory(const char *name, size_t octets, uint32_t layout, void *data, GError **error);

struct flows_options {
	size_t table;               /* entries that the kernel's table may have */
	size_t long_flows;          /* that the pool may have; zero: flows are reported at their end only */
	unsigned active_timeout;    /* seconds */
	bool from_start;            /* flows that were there before us count whole, not from our first look */
	flows_memory *memory;       /* NULL: ordinary memory */
	bool (*wanted)(const struct flow *flow, void *data);    /* will it be reported, and so may take up room? NULL: all */
	void (*gap)(const struct gap *gap, void *data);
	void *data;
};

struct flows;

/* wall is now in ms since 1970. Fails with EX_OSERR, or as memory does. */
struct flows *flows_open(const struct flows_options *options, uint64_t wall, GError **error);
void flows_close(struct flows *flows);

/* Other long_flows and active_timeout from now on; the rest of the options is not looked at. */
void flows_configure(struct flows *flows, const struct flows_options *options);

/* Forgets long flows that nobody will hear of any more: those that keep is not true for. */
void flows_sift(struct flows *flows, bool (*keep)(const struct flow *flow, void *data), void *data);

const struct flows_counters *flows_counters(const struct flows *flows);

/* What there is room for, what is in use, and how much memory that takes. */
struct flows_fill {
	size_t long_flows;
	size_t limit;
	size_t octets;
};
struct flows_fill flows_fill(const struct flows *flows);

enum flows_record {
	RECORD_FINAL,               /* the flow's last */
	RECORD_INTERVAL,
	RECORD_LOST,                /* the last, of a flow that nobody told the end of */
};

/* The records of one step. They are all of one kind. */
struct tally {
	enum flows_record what;
	size_t n;
	struct flow *flow;          /* of whoever took the step */
	uint64_t total[FLOWS_BATCH][POOL_COUNTERS];     /* what the kernel had counted */
	uint64_t hash[FLOWS_BATCH];
	uint64_t print[FLOWS_BATCH];
};

/* The records of flows that ended, n at most FLOWS_BATCH. What is told again is dropped; the others move up. */
void flows_ended(struct flows *flows, struct flow *flow, size_t n, struct tally *tally);

/* The records that are due of entries of the table, n at most FLOWS_BATCH; they move up. now is ms by a clock that
 * nobody sets, which goes on while the machine sleeps. */
void flows_present(struct flows *flows, struct flow *flow, size_t n, uint64_t now, struct tally *tally);

/* A walk over the table is over, complete and certain as the source says. True if flows are gone now. */
bool flows_walked(struct flows *flows, bool complete, bool certain);

/* The records of some flows that are gone, in flow, which has room for FLOWS_BATCH. *at is zero at first and then left
 * alone; none in the tally: that was all. */
void flows_gone(struct flows *flows, size_t *at, struct flow *flow, struct tally *tally);

/* The second step: these records are out, or in a journal. now as above. */
void flows_done(struct flows *flows, const struct tally *tally, uint64_t now);

/* The second step of one record once more, from a journal; it does no harm if it was taken before. */
void flows_redo(struct flows *flows, enum flows_record what, const struct flow *flow,
                const uint64_t total[POOL_COUNTERS], uint64_t now);

#endif
