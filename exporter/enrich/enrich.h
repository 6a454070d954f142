/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_ENRICH_H
#define PEERFLOW_ENRICH_ENRICH_H

#include "enrich/peers.h"
#include "flow.h"

/* Finds out what the kernel does not say in so many words: what was translated, which way the flow went, who it was.
 * The flow's interfaces must be known before. mesh is the ifIndex of the mesh's interface, or zero: there is none.
 * peers may be NULL: nobody has a name. */
void enrich(struct flow *flow, uint32_t mesh, const struct peers *peers);

#endif
