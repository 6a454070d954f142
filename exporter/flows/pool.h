/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_FLOWS_POOL_H
#define PEERFLOW_FLOWS_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "counters.h"
#include "flow.h"
#include "flows/identity.h"

/* The long flows: those that were reported before they ended, and what was reported of them. The sum over all records
 * of a flow is what the kernel counted, so every record has what came since the one before; short flows need none of
 * this and never get here.
 *
 * Flows stand in slots, a chunk of them at a time in memory that may survive the process; where to find them is private
 * and found out again at the start. A process may be killed between any two instructions: a slot counts once its last
 * member is written, what it says of a look may be of two looks, and what it says was reported is written again from
 * whoever keeps a journal (pool_told and pool_forget, which do no harm when they are called twice).
 *
 * All times that are compared with each other to find out what is due come from a clock that nobody sets. Hashes are
 * identity_hash with the key of the options. Counters are packets and octets of the original direction, then of the
 * reply. */

enum {
	POOL_COUNTERS = 4,
	POOL_MOST = 4 << 20,        /* flows, whatever the options say */
	POOL_LAYOUT = 1,            /* of a chunk, for whoever keeps it */
};

/* Memory for one chunk of so many octets, aligned to 64 of them: all zero, or what was in it before. NULL if there is
 * none; then there is no room. It must outlive the pool. */
typedef void *pool_memory(unsigned chunk, size_t octets, void *data);

struct pool_options {
	size_t limit;               /* flows at most; zero: none are reported before their end */
	uint32_t active_timeout;    /* ms between two records of a flow */
	bool from_start;            /* flows that were there before us count whole, not from our first look */
	pool_memory *memory;        /* NULL: ordinary memory */
	bool (*wanted)(const struct flow *flow, void *data);    /* may it take up room? NULL: all may */
	void *data;                 /* of both */
	const struct identity_key *key;     /* must outlive the pool */
	struct flows_counters *counters;    /* so must they */
};

struct pool;

/* wall is now in ms since 1970: if nothing of an earlier process is found, flows born before were there before us.
 * Fails with EX_OSERR. */
struct pool *pool_open(const struct pool_options *options, uint64_t wall, GError **error);
void pool_close(struct pool *pool);
typedef struct pool pool_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(pool_t, pool_close)

/* Another limit and active timeout from now on; the rest of the options is not looked at. With a lower limit than there
 * are flows, they stay. False, and nothing has changed, if there is no memory for it. */
bool pool_configure(struct pool *pool, const struct pool_options *options);

/* Flows in the pool. */
size_t pool_used(const struct pool *pool);

/* Octets of memory that are in use now, all in all. */
size_t pool_octets(const struct pool *pool);

/* Has the processor fetch what the other calls will need, if it is called some flows earlier. */
void pool_prefetch(const struct pool *pool, uint64_t hash);

/* A flow that ended, with the kernel's totals in it: leaves there what has not been reported yet, sets its start to the
 * end of the record before, and puts the totals into total. Changes nothing in the pool. */
void pool_settle(const struct pool *pool, struct flow *flow, uint64_t hash, uint64_t total[POOL_COUNTERS]);

enum pool_verdict {
	POOL_NOTHING,
	POOL_TELL,                  /* the flow is now a record that is due; pool_told has to follow before the next walk */
	POOL_NO_ROOM,               /* it is long, but will be told at its end: said once for each flow */
};

/* An entry of the table as a walk shows it, with the kernel's totals in it and end the moment of the look. Remembers
 * what it had counted. If a record is due (RFC 7011's active timeout, and only if something moved), makes the flow into
 * it and puts the totals into total. now is ms by the clock that nobody sets. */
enum pool_verdict pool_look(struct pool *pool, struct flow *flow, uint64_t hash, uint64_t now,
                            uint64_t total[POOL_COUNTERS]);

/* These totals were reported with this record of the flow. */
void pool_told(struct pool *pool, const struct flow *flow, uint64_t hash, uint64_t now,
               const uint64_t total[POOL_COUNTERS]);

/* The flow has ended and was told. */
void pool_forget(struct pool *pool, const struct flow *flow, uint64_t hash);

/* A walk over the table is over: complete and certain as the source says. True if flows are gone now. */
bool pool_walked(struct pool *pool, bool complete, bool certain);

/* The next flow that two certain walks did not show, from *at on, as its last record, with GAP_LOST_END: nobody told of
 * its end. Its hash and the totals of the last look come with it. False: there are no more. *at is zero at first. */
bool pool_gone(struct pool *pool, size_t *at, struct flow *flow, uint64_t *hash, uint64_t total[POOL_COUNTERS]);

/* Forgets flows that are not to be kept. They are shown as pool_gone shows them. */
void pool_sift(struct pool *pool, bool (*keep)(const struct flow *flow, void *data), void *data);

#endif
