/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/enrich.h"

#include <stdbool.h>
#include <string.h>

/* Marks that NetBird sets on connections: of the whole data plane, and on those that enter or leave by its interface
 * (its client/net/net.go). */
enum {
	NETBIRD_FIRST = 0x1bd10,
	NETBIRD_IN = 0x1bd10,
	NETBIRD_OUT = 0x1bd11,
	NETBIRD_LAST = 0x1bdff,
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

static void
set_direction(struct flow *flow, uint8_t direction)
{
	flow->original.flow_direction = direction;
	flow->reply.flow_direction = !direction;
}

/* The order in which NetBird asks, but of the true responder. */
static bool
find_direction_by_address(struct flow *flow, const struct networks *networks)
{
	const union address *initiator = &flow->original.source, *responder = &flow->reply.source;
	const unsigned family = flow->family;

	if (networks_holds(networks, family, initiator))
		set_direction(flow, networks_is_own_overlay(networks, family, initiator) ? EGRESS : INGRESS);
	else if (networks_holds(networks, family, responder))
		set_direction(flow, networks_is_own_overlay(networks, family, responder) ? INGRESS : EGRESS);
	else
		return false;
	return true;
}

/* NetBird's marks know best, since they were set when the packets passed; then addresses, as NetBird has it; then
 * interfaces, which are derived afterwards. */
static void
find_direction(struct flow *flow, const struct networks *networks)
{
	if (flow->mark == NETBIRD_IN || flow->mark == NETBIRD_OUT) {
		set_direction(flow, flow->mark == NETBIRD_OUT ? EGRESS : INGRESS);
		return;
	}
	if (find_direction_by_address(flow, networks))
		return;
	flow->original.flow_direction = direction_of(&flow->original, networks_interface(networks));
	flow->reply.flow_direction = direction_of(&flow->reply, networks_interface(networks));
}

void
enrich(struct flow *flow, const struct networks *networks, const struct directory *directory)
{
	find_translation(flow);
	find_direction(flow, networks);
	flow->masqueraded = flow->translation & TRANSLATED_SOURCE
	                    && networks_is_own(networks, flow->family, &flow->reply.destination);
	if (directory)
		directory_find_ends(directory, flow);
}

static bool
has_mesh_address(const struct flow *flow, const struct networks *networks)
{
	return networks_holds(networks, flow->family, &flow->original.source)
	       || networks_holds(networks, flow->family, &flow->original.destination)
	       || networks_holds(networks, flow->family, &flow->reply.source)
	       || networks_holds(networks, flow->family, &flow->reply.destination);
}

static bool
is_of_peers(const struct directory *directory, uint32_t identity)
{
	return identity && (directory_is_peer(directory, identity) || directory_is_behind_peer(directory, identity));
}

bool
enrich_is_marked(const struct flow *flow)
{
	return flow->mark >= NETBIRD_FIRST && flow->mark <= NETBIRD_LAST;
}

bool
enrich_is_of_mesh(const struct flow *flow, const struct networks *networks, const struct directory *directory)
{
	const uint32_t interface = networks_interface(networks);

	if (enrich_is_marked(flow))
		return true;
	if (interface && (flow->original.ingress == interface || flow->original.egress == interface))
		return true;
	if (has_mesh_address(flow, networks) || !networks_have_mesh(networks))
		return true;
	return directory && (is_of_peers(directory, flow->initiator) || is_of_peers(directory, flow->responder));
}
