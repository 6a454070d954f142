/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_ENRICH_H
#define PEERFLOW_ENRICH_ENRICH_H

#include <stdbool.h>

#include "enrich/directory.h"
#include "enrich/networks.h"
#include "flow.h"

/* Finds out what the kernel does not say in so many words: what was translated and by whom, which way the flow went, who
 * was at its ends when it began, what allowed it. The flow's interfaces and its birth must be known before. directory
 * may be NULL: nobody has a name. */
void enrich(struct flow *flow, const struct networks *networks, const struct directory *directory);

/* Is the flow, enriched with the same, one of the mesh? That is: it has one of NetBird's marks, goes through the mesh's
 * interface, has an address in the mesh's networks on any of its four ends, or an end that is a peer or lies behind
 * another one. While no mesh is known at all, every flow is. */
bool enrich_is_of_mesh(const struct flow *flow, const struct networks *networks, const struct directory *directory);

/* Has the flow one of the marks that NetBird sets on those of its data plane? */
bool enrich_is_marked(const struct flow *flow);

#endif
