/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_CLOCKS_H
#define PEERFLOW_AUDIT_CLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "flow.h"

/* How far apart the clocks of routers are, by the flows that went through two of them: what one router translated a
 * tuple to is the tuple that the next one met, and both noted its first packet. Where a tuple was used once in each
 * archive there is no doubt which flows are the same; the differences of most of these agree.
 *
 * Memory is bounded: of too many flows those are left out whose tuple has a hash with certain low bits, so that what
 * is kept of one archive is kept of the others too. */
struct clocks;

enum { CLOCKS_MOST_ROUTERS = 64 };

struct clock_difference {
	int64_t ms;                 /* the second router's clock minus the first's, with the time that packets take */
	uint64_t spread;            /* ms: 19 of 20 were no farther from that */
	uint32_t flows;             /* that agree; zero: could not be measured, and all else is zero */
};

struct clocks *clocks_new(void);
void clocks_free(struct clocks *clocks);

/* A record of a flow at a router, a number below CLOCKS_MOST_ROUTERS. Records may come in any order. */
void clocks_add(struct clocks *clocks, unsigned router, const struct flow *flow);

/* After the last record and before the first question. */
void clocks_settle(struct clocks *clocks);

struct clock_difference clocks_between(const struct clocks *clocks, unsigned one, unsigned other);

#endif
