/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/enrich.h"

#include <stdbool.h>
#include <string.h>

/* Marks NetBird sets on connections that enter or leave by its interface (its client/net/net.go). */
enum {
	NETBIRD_IN = 0x1bd10,
	NETBIRD_OUT = 0x1bd11,
};

enum { INGRESS = 0, EGRESS = 1 };   /* IANA IE 61 */

enum {
	NAT44 = 1,                  /* IANA IE 297 */
	NO_NAT_V4 = 4,
	NAT66 = 5,
	NO_NAT_V6 = 6,
};

static bool
differ(const union address *a, uint16_t a_port, const union address *b, uint16_t b_port)
{
	return a->half[0] != b->half[0] || a->half[1] != b->half[1] || a_port != b_port;
}

/* The kernel's status bits say that a rule was set up; only the tuples say that it changed anything. */
static void
find_translation(struct flow *flow)
{
	const struct side *original = &flow->original, *reply = &flow->reply;

	flow->translation = 0;
	if (differ(&original->source, original->source_port, &reply->destination, reply->destination_port))
		flow->translation |= TRANSLATED_SOURCE;
	if (differ(&original->destination, original->destination_port, &reply->source, reply->source_port))
		flow->translation |= TRANSLATED_DESTINATION;
	if (flow->family == 4)
		flow->nat_type = flow->translation ? NAT44 : NO_NAT_V4;
	else
		flow->nat_type = flow->translation ? NAT66 : NO_NAT_V6;
}

/* The Observation Point is the mesh's interface. For packets that do not pass it, it is where the kernel counts: those
 * of others as they come in, this host's own as they go out. */
static uint8_t
direction_of(const struct side *side, uint32_t mesh)
{
	if (mesh && side->ingress != side->egress && (side->ingress == mesh || side->egress == mesh))
		return side->egress == mesh ? EGRESS : INGRESS;
	return side->ingress ? INGRESS : EGRESS;
}

/* NetBird's marks know best, since they were set when the packets passed; interfaces are derived afterwards. */
static void
find_direction(struct flow *flow, uint32_t mesh)
{
	if (flow->mark == NETBIRD_IN || flow->mark == NETBIRD_OUT) {
		flow->original.flow_direction = flow->mark == NETBIRD_OUT ? EGRESS : INGRESS;
		flow->reply.flow_direction = !flow->original.flow_direction;
		return;
	}
	flow->original.flow_direction = direction_of(&flow->original, mesh);
	flow->reply.flow_direction = direction_of(&flow->reply, mesh);
}

void
enrich(struct flow *flow, uint32_t mesh, const struct peers *peers)
{
	find_translation(flow);
	find_direction(flow, mesh);
	if (!peers)
		return;
	flow->initiator = peers_find(peers, flow->family, &flow->original.source);
	/* Behind a translated destination stands the true server. */
	flow->responder = peers_find(peers, flow->family, &flow->reply.source);
}
