/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/routes.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "source/netlink.h"

enum {
	CACHE_SLOTS = 1 << 13,
	CACHE_WAYS = 2,             /* neighbouring slots an address may stand in: together one line of the cache */
	CACHE_LINE = 64,
	PATIENCE = 1,               /* seconds */
};

struct slot {
	union address address __attribute__((aligned(CACHE_LINE / CACHE_WAYS)));
	uint32_t interface;
	uint32_t generation;        /* of routing when it was asked; family in the top bit keeps 4 and 6 apart */
};

struct routes {
	struct slot slot[CACHE_SLOTS] __attribute__((aligned(CACHE_LINE)));
	int changes;                /* socket of announcements */
	int questions;
	uint32_t generation;
	uint32_t sequence;
	uint32_t victim;
};

static void
subscribe(int fd)
{
	static const int groups[] = { RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
	                              RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE };

	for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
		setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof groups[i]);
}

struct routes *
routes_open(GError **error)
{
	struct routes *routes = aligned_alloc(CACHE_LINE, sizeof *routes);

	if (!routes) {
		g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "out of memory: %zu octets for routes", sizeof *routes);
		return NULL;
	}
	memset(routes, 0, sizeof *routes);
	routes->generation = 1;
	routes->changes = netlink_open(NETLINK_ROUTE, PATIENCE);
	routes->questions = netlink_open(NETLINK_ROUTE, PATIENCE);
	if (routes->changes >= 0 && routes->questions >= 0) {
		subscribe(routes->changes);
		return routes;
	}
	g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "cannot open a routing netlink socket: %s", g_strerror(errno));
	routes_close(routes);
	return NULL;
}

void
routes_close(struct routes *routes)
{
	if (!routes)
		return;
	if (routes->changes >= 0)
		close(routes->changes);
	if (routes->questions >= 0)
		close(routes->questions);
	free(routes);
}

int
routes_fd(const struct routes *routes)
{
	return routes->changes;
}

void
routes_changed(struct routes *routes)
{
	char octets[8192];

	/* What changed does not matter, and an overrun says no less than a message does. */
	while (recv(routes->changes, octets, sizeof octets, MSG_DONTWAIT) >= 0 || errno == ENOBUFS)
		;
	routes->generation++;
}

struct answer {
	uint32_t interface;
	bool local;
};

static int
read_route(const struct nlmsghdr *message, void *data)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	struct answer *answer = data;
	const struct nlattr *attribute;

	if (message->nlmsg_type != RTM_NEWROUTE)
		return MNL_CB_OK;
	answer->local = route->rtm_type == RTN_LOCAL || route->rtm_type == RTN_BROADCAST;
	mnl_attr_for_each(attribute, message, sizeof *route)
		if (mnl_attr_get_type(attribute) == RTA_OIF && mnl_attr_validate(attribute, MNL_TYPE_U32) == 0)
			answer->interface = mnl_attr_get_u32(attribute);
	return MNL_CB_STOP;
}

static uint32_t
ask(struct routes *routes, unsigned family, const union address *address)
{
	uint8_t octets[4096] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *message = mnl_nlmsg_put_header(octets);
	struct answer answer = { 0 };

	message->nlmsg_type = RTM_GETROUTE;
	message->nlmsg_flags = NLM_F_REQUEST;
	message->nlmsg_seq = ++routes->sequence;
	struct rtmsg *route = mnl_nlmsg_put_extra_header(message, sizeof *route);
	route->rtm_family = family == 4 ? AF_INET : AF_INET6;
	route->rtm_dst_len = family == 4 ? 32 : 128;
	mnl_attr_put(message, RTA_DST, family == 4 ? 4 : 16, address);
	if (send(routes->questions, message, message->nlmsg_len, 0) < 0)
		return 0;
	ssize_t n = recv(routes->questions, octets, sizeof octets, 0);
	/* "No route" comes as an error and leaves the answer at zero. */
	if (n > 0)
		mnl_cb_run(octets, n, routes->sequence, 0, read_route, &answer);
	return answer.local ? 0 : answer.interface;
}

/* Addresses of one network differ in few bits, and all of them have to reach the bits that choose the slot. */
static uint32_t
hash(const union address *address)
{
	uint64_t mixed = address->half[0] ^ address->half[1] * 0x9e3779b97f4a7c15u;

	mixed = (mixed ^ mixed >> 33) * 0xff51afd7ed558ccdu;
	mixed = (mixed ^ mixed >> 33) * 0xc4ceb9fe1a85ec53u;
	return mixed >> 33;
}

static size_t
first_slot(const union address *address)
{
	return hash(address) % (CACHE_SLOTS / CACHE_WAYS) * CACHE_WAYS;
}

void
routes_prefetch(const struct routes *routes, const struct flow *flow)
{
	__builtin_prefetch(&routes->slot[first_slot(&flow->original.source)]);
	__builtin_prefetch(&routes->slot[first_slot(&flow->reply.source)]);
}

static uint32_t
interface_of(struct routes *routes, unsigned family, const union address *address)
{
	const uint32_t generation = routes->generation << 1 | (family == 6);
	struct slot *slots = &routes->slot[first_slot(address)];
	struct slot *slot = &slots[routes->victim++ % CACHE_WAYS];

	for (unsigned i = 0; i < CACHE_WAYS; i++)
		if (slots[i].generation == generation && memcmp(&slots[i].address, address, sizeof *address) == 0)
			return slots[i].interface;
		else if (slots[i].generation != generation)
			slot = &slots[i];
	*slot = (struct slot){ *address, ask(routes, family, address), generation };
	return slot->interface;
}

void
routes_find(struct routes *routes, struct flow *flow)
{
	const uint32_t initiator = interface_of(routes, flow->family, &flow->original.source);
	const uint32_t responder = interface_of(routes, flow->family, &flow->reply.source);

	flow->original.ingress = flow->reply.egress = initiator;
	flow->original.egress = flow->reply.ingress = responder;
}
