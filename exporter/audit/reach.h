/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_REACH_H
#define PEERFLOW_AUDIT_REACH_H

#include <stdint.h>

#include "flow.h"

/* What the flows of several routers tell of the ways between them: which router gets what is sent from here to there,
 * and whose address a translated source is. Sites are taken to be as large as networks mostly are, /24 and /64. */
struct reach;

enum { REACH_NOBODY = -1 };

struct reach *reach_new(void);
void reach_free(struct reach *reach);

/* A record of a flow at a router, a number below 64. Memory is bounded: of more than that nothing is learnt. */
void reach_add(struct reach *reach, unsigned router, const struct flow *flow);

/* The router that gets what this one sends where this flow went, by other flows that came to it from the tunnel; or
 * REACH_NOBODY. not has a bit for each router that is not meant. */
int reach_beyond(const struct reach *reach, const struct flow *flow, uint64_t not);

/* The router that translates sources to the one of this flow, or REACH_NOBODY. */
int reach_behind(const struct reach *reach, const struct flow *flow, uint64_t not);

#endif
