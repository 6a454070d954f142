/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_KICK_H
#define PEERFLOW_SOURCE_KICK_H

#include <stdbool.h>
#include <string.h>

#include "flow.h"

/* Ends that the kernel could not deliver it tries again after a second, and then again and again until all are
 * delivered. Until then the flows fill the table, and a second may be too long. But when the end of any flow could be
 * delivered, the kernel tries at once. So a flow that nobody has is made in the table, from one address of this host to
 * another by a protocol reserved for experiments (RFC 3692), and deleted.
 *
 * All of it is safe in a child of a process with threads. Its own end counts as lost, too, if it does not fit into a
 * socket that hears of flows of 127.0.0.0/8; as a rule none does. */

/* Returns a socket, or -1 with errno. */
int kick_open(void);

/* Makes and deletes the flow. False if the table is too full even for that, or the kernel does not answer. */
bool kick(int fd);

enum { KICK_PROTOCOL = 253 };

static const uint8_t kick_source[4] = { 127, 255, 255, 253 }, kick_destination[4] = { 127, 255, 255, 254 };

/* Is it this one, which is nobody's business? */
static inline bool
is_kick(const struct flow *flow)
{
	return flow->protocol == KICK_PROTOCOL && flow->family == 4
	       && memcmp(flow->original.source.v4, kick_source, sizeof kick_source) == 0
	       && memcmp(flow->original.destination.v4, kick_destination, sizeof kick_destination) == 0;
}

#endif
