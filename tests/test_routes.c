/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Interfaces by routes, in a network namespace with routes of its own. */

#include "source/routes.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

static bool isolated;

static bool
run(const char *command)
{
	g_autofree char *whole = g_strdup_printf("ip %s 2>/dev/null", command);

	return system(whole) == 0;
}

static union address
address_of(const char *text)
{
	union address address = { .half = { 0, 0 } };

	CU_ASSERT_FATAL(inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, &address) == 1);
	return address;
}

static struct flow
flow_of(const char *initiator, const char *responder)
{
	struct flow flow = { .family = strchr(initiator, ':') ? 6 : 4 };

	flow.original.source = address_of(initiator);
	/* What is translated is not looked up: a router's own address behind masquerading, a published one before it. */
	flow.original.destination = flow.reply.destination = address_of(flow.family == 6 ? "::1" : "127.0.0.1");
	flow.reply.source = address_of(responder);
	flow.original.ingress = flow.original.egress = flow.reply.ingress = flow.reply.egress = 99;
	return flow;
}

static void
expect(struct routes *routes, const char *initiator, const char *responder, const char *in, const char *out)
{
	const unsigned ingress = in ? if_nametoindex(in) : 0, egress = out ? if_nametoindex(out) : 0;
	struct flow flow = flow_of(initiator, responder);

	routes_find(routes, &flow);
	CU_ASSERT_EQUAL(flow.original.ingress, ingress);
	CU_ASSERT_EQUAL(flow.original.egress, egress);
	CU_ASSERT_EQUAL(flow.reply.ingress, egress);
	CU_ASSERT_EQUAL(flow.reply.egress, ingress);
	if (flow.original.ingress != ingress || flow.original.egress != egress)
		printf("\n    %s > %s: %u > %u instead of %u > %u", initiator, responder, flow.original.ingress,
		       flow.original.egress, ingress, egress);
}

static bool
changed(const struct routes *routes)
{
	struct pollfd fd = { .fd = routes_fd(routes), .events = POLLIN };

	return poll(&fd, 1, 100) == 1;
}

/* One change may bring several announcements, some of them later. */
static void
quieten(struct routes *routes)
{
	unsigned n = 0;

	for (; n < 20 && changed(routes); n++)
		routes_changed(routes);
	CU_ASSERT_TRUE(n < 20);
}

static bool
skip(void)
{
	if (!isolated)
		printf("SKIPPED (needs root: a network namespace of its own) ");
	return !isolated;
}

static void
test_interfaces(void)
{
	static const struct {
		const char *initiator, *responder, *in, *out;
	} cases[] = {
		{ "10.1.0.5", "10.2.0.5", "t1", "t2" },
		{ "10.1.0.5", "10.9.1.1", "t1", "t2" },             /* behind a gateway */
		{ "10.1.0.1", "10.2.0.5", NULL, "t2" },             /* from this host */
		{ "10.2.0.5", "10.1.0.1", "t2", NULL },             /* to this host, by another of its addresses too */
		{ "127.0.0.1", "127.0.0.1", NULL, NULL },
		{ "10.1.0.5", "10.1.0.255", "t1", NULL },           /* broadcast */
		{ "10.1.0.5", "192.0.2.1", "t1", NULL },            /* no route */
		{ "10.7.0.1", "10.8.0.1", NULL, NULL },             /* unreachable, blackhole */
		{ "10.1.0.5", "10.1.0.6", "t1", "t1" },
		{ "0.0.0.0", "255.255.255.255", NULL, NULL },
		{ "fd01::5", "fd02::5", "t1", "t2" },
		{ "fd01::5", "fd09::5", "t1", "t2" },
		{ "fd01::1", "fd02::5", NULL, "t2" },
		{ "::1", "fd01::1", NULL, NULL },
		{ "fd01::5", "2001:db8::1", "t1", NULL },
		{ "fd07::1", "fd08::1", NULL, NULL },
		/* The same octets as 10.1.0.5, and once as IPv4 again. */
		{ "0a01:5::", "fd01::5", NULL, "t1" },
		{ "10.1.0.5", "10.2.0.5", "t1", "t2" },
	};
	struct routes *routes = routes_open(NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(routes);
	/* Twice: by asking and from memory. */
	for (size_t i = 0; !skip() && i < 2 * G_N_ELEMENTS(cases); i++) {
		const size_t at = i % G_N_ELEMENTS(cases);
		expect(routes, cases[at].initiator, cases[at].responder, cases[at].in, cases[at].out);
	}
	routes_close(routes);
	routes_close(NULL);
}

/* Every kind of change is announced, and forgets what was remembered. */
static void
test_changes(void)
{
	static const char *const changes[] = {
		"route add 10.20.0.0/16 dev t1", "route del 10.20.0.0/16", "route add fd20::/16 dev t1",
		"route del fd20::/16 dev t1", "rule add to 10.20.0.0/16 table 77", "rule del to 10.20.0.0/16 table 77",
		"-6 rule add to fd20::/16 table 77", "-6 rule del to fd20::/16 table 77", "addr add 10.30.0.1/24 dev t1",
		"addr del 10.30.0.1/24 dev t1", "addr add fd30::1/64 dev t1", "link add t3 type veth peer name p3",
		"link set t3 up", "link del t3",
	};

	if (skip())
		return;
	struct routes *routes = routes_open(NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(routes);
	quieten(routes);
	for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
		CU_ASSERT_TRUE(run(changes[i]));
		CU_ASSERT_TRUE(changed(routes));
		if (!changed(routes))
			printf("\n    not announced: ip %s", changes[i]);
		quieten(routes);
	}
	routes_close(routes);
}

static void
test_memory(void)
{
	if (skip())
		return;
	struct routes *routes = routes_open(NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(routes);
	expect(routes, "10.1.0.5", "10.9.0.1", "t1", "t2");
	expect(routes, "fd01::5", "fd09::1", "t1", "t2");
	CU_ASSERT_TRUE(run("route replace 10.9.0.0/16 via 10.1.0.2") && run("route replace fd09::/16 via fd01::2"));
	/* Remembered until told. */
	expect(routes, "10.1.0.5", "10.9.0.1", "t1", "t2");
	CU_ASSERT_TRUE(changed(routes));
	routes_changed(routes);
	expect(routes, "10.1.0.5", "10.9.0.1", "t1", "t1");
	expect(routes, "fd01::5", "fd09::1", "t1", "t1");
	CU_ASSERT_TRUE(run("rule add to 10.9.0.0/16 table 78") && run("route add 10.9.0.0/16 via 10.2.0.2 table 78"));
	routes_changed(routes);
	expect(routes, "10.1.0.5", "10.9.0.1", "t1", "t2");
	CU_ASSERT_TRUE(run("link del t2"));
	routes_changed(routes);
	expect(routes, "10.1.0.5", "10.9.0.1", "t1", "t1");
	expect(routes, "10.1.0.5", "10.2.0.5", "t1", NULL);
	routes_close(routes);
}

/* More addresses than are remembered, in turns: each answer is the address's own. */
static void
test_many(void)
{
	unsigned wrong = 0;

	if (skip())
		return;
	struct routes *routes = routes_open(NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(routes);
	CU_ASSERT_TRUE(run("link add t2 type veth peer name p2") && run("link set p2 up")
	               && run("addr add 10.2.0.1/16 dev t2") && run("link set t2 up"));
	const unsigned t1 = if_nametoindex("t1"), t2 = if_nametoindex("t2");
	routes_changed(routes);
	for (unsigned i = 0; i < 60000; i++) {
		struct flow flow = flow_of("10.1.0.5", "10.2.0.5");
		const uint32_t number = i % 3 ? i * 40503u : i % 999;
		flow.original.source.v4[3] = 2 + number % 250;
		flow.reply.source.v4[2] = number >> 8;
		flow.reply.source.v4[3] = 2 + number % 250;
		routes_find(routes, &flow);
		wrong += flow.original.ingress != t1 || flow.original.egress != t2;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	routes_close(routes);
}

static bool
prepare(void)
{
	static const char *const commands[] = {
		"link set lo up",
		"link add t1 type veth peer name p1", "link set p1 up",
		"addr add 10.1.0.1/24 dev t1", "-6 addr add fd01::1/64 dev t1 nodad", "link set t1 up",
		"link add t2 type veth peer name p2", "link set p2 up",
		"addr add 10.2.0.1/24 dev t2", "-6 addr add fd02::1/64 dev t2 nodad", "link set t2 up",
		"route add 10.9.0.0/16 via 10.2.0.2", "route add fd09::/16 via fd02::2",
		"route add unreachable 10.7.0.0/16", "route add blackhole 10.8.0.0/16",
		"route add unreachable fd07::/16", "route add blackhole fd08::/16",
	};

	if (unshare(CLONE_NEWNET) < 0)
		return false;
	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
		if (!run(commands[i])) {
			printf("ip %s: failed\n", commands[i]);
			return false;
		}
	return true;
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "interfaces by routes", test_interfaces },
		{ "changes are announced", test_changes },
		{ "changes are followed", test_memory },
		{ "more than can be remembered", test_many },
		CU_TEST_INFO_NULL,
	};

	isolated = prepare();
	return run_suite("routes", tests);
}
