/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_ROUTES_H
#define PEERFLOW_SOURCE_ROUTES_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "flow.h"

/* Connection tracking does not keep the interfaces of a flow; the routing table tells through which one its ends are
 * reached now. So the interfaces are derived: true for routing as it is when the flow ends, and for symmetric routes.
 *
 * Answers are remembered until the kernel announces any change of routes, rules, addresses or links. */

struct routes;

/* Fails with EX_OSERR without a routing netlink socket. */
struct routes *routes_open(GError **error);
void routes_close(struct routes *routes);

/* Readable when something changed; then call routes_changed. */
int routes_fd(const struct routes *routes);
void routes_changed(struct routes *routes);

/* Has the processor fetch what routes_find will need for this flow, if it is called some flows earlier. */
void routes_prefetch(const struct routes *routes, const struct flow *flow);

/* Sets ingress and egress of both sides. Zero stands for this host, and for an address without a route. */
void routes_find(struct routes *routes, struct flow *flow);

#endif
