/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a router of a mesh sees: the cases NetBird makes, as the kernel reports them. */

#include "enrich/enrich.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "directories.h"

enum { NAT44 = 1, NONE4 = 4, NAT66 = 5, NONE6 = 6, S = TRANSLATED_SOURCE, D = TRANSLATED_DESTINATION };
enum { IN = 113936, OUT = 113937, INGRESS = 0, EGRESS = 1 };
enum { WT0 = 7, ETH0 = 2, WAN0 = 3 };

static const char peers_text[] =
	"100.90.0.1 router-a\n100.90.0.2 router-b\n100.90.0.7 alice\n100.90.0.8 bob\n10.20.0.0/24 site-a\n"
	"10.30.0.0/24 site-b\nfd12:3456:789a:1::7 alice\n";

/* The mark, the interfaces of the original direction (0: this host), and what is to be found. */
static const struct {
	const char *what;
	const char *original[2], *reply[2];
	uint32_t mark, ingress, egress;
	uint8_t nat_type, translation, direction, reply_direction;
	const char *initiator, *responder;
} cases[] = {
	{ "A peer to LAN, masquerade", { "100.90.0.7:51820", "10.20.0.20:443" }, { "10.20.0.20:443", "10.20.0.1:51820" },
	  IN, WT0, ETH0, NAT44, S, INGRESS, EGRESS, "alice", "site-a" },
	{ "B peer to LAN", { "100.90.0.7:51821", "10.20.0.20:443" }, { "10.20.0.20:443", "100.90.0.7:51821" },
	  IN, WT0, ETH0, NONE4, 0, INGRESS, EGRESS, "alice", "site-a" },
	{ "B2 LAN to peer, masquerade", { "10.20.0.20:40001", "100.90.0.7:8443" }, { "100.90.0.7:8443", "100.90.0.1:40001" },
	  OUT, ETH0, WT0, NAT44, S, EGRESS, INGRESS, "site-a", "alice" },
	{ "C site to site, router A", { "10.20.0.20:40002", "10.30.0.30:5432" }, { "10.30.0.30:5432", "100.90.0.1:40002" },
	  OUT, ETH0, WT0, NAT44, S, EGRESS, INGRESS, "site-a", "site-b" },
	{ "C site to site, router B", { "100.90.0.1:40002", "10.30.0.30:5432" }, { "10.30.0.30:5432", "10.30.0.1:40002" },
	  IN, WT0, ETH0, NAT44, S, INGRESS, EGRESS, "router-a", "site-b" },
	{ "C2 site to site", { "10.20.0.20:40003", "10.30.0.30:5432" }, { "10.30.0.30:5432", "10.20.0.20:40003" },
	  OUT, ETH0, WT0, NONE4, 0, EGRESS, INGRESS, "site-a", "site-b" },
	{ "D exit node", { "100.90.0.7:51822", "203.0.113.9:443" }, { "203.0.113.9:443", "198.51.100.1:51822" },
	  IN, WT0, WAN0, NAT44, S, INGRESS, EGRESS, "alice", "-" },
	{ "E ingress gateway", { "203.0.113.9:40004", "198.51.100.1:8080" }, { "100.90.0.7:80", "100.90.0.1:40004" },
	  OUT, WAN0, WT0, NAT44, S | D, EGRESS, INGRESS, "-", "alice" },
	{ "F ssh redirect", { "100.90.0.7:51823", "100.90.0.1:22" }, { "100.90.0.1:22022", "100.90.0.7:51823" },
	  IN, WT0, 0, NAT44, D, INGRESS, EGRESS, "alice", "router-a" },
	{ "J DNS redirect", { "100.90.0.7:51900", "100.90.0.1:5353" }, { "100.90.0.1:22054", "100.90.0.7:51900" },
	  IN, WT0, 0, NAT44, D, INGRESS, EGRESS, "alice", "router-a" },
	{ "published port", { "100.90.0.7:51999", "100.90.0.1:8088" }, { "10.20.0.20:80", "100.90.0.7:51999" },
	  IN, WT0, ETH0, NAT44, D, INGRESS, EGRESS, "alice", "site-a" },
	{ "G router's own service", { "100.90.0.7:51824", "100.90.0.1:9100" }, { "100.90.0.1:9100", "100.90.0.7:51824" },
	  IN, WT0, 0, NONE4, 0, INGRESS, EGRESS, "alice", "router-a" },
	{ "H router's own process", { "100.90.0.1:56964", "100.90.0.7:9101" }, { "100.90.0.7:9101", "100.90.0.1:56964" },
	  OUT, 0, WT0, NONE4, 0, EGRESS, INGRESS, "router-a", "alice" },
	{ "I ICMP, masquerade", { "100.90.0.7:0", "10.20.0.20:0" }, { "10.20.0.20:0", "10.20.0.1:0" },
	  IN, WT0, ETH0, NAT44, S, INGRESS, EGRESS, "alice", "site-a" },
	{ "K the same port twice", { "100.90.0.8:50000", "10.20.0.20:5000" }, { "10.20.0.20:5000", "10.20.0.1:40744" },
	  IN, WT0, ETH0, NAT44, S, INGRESS, EGRESS, "bob", "site-a" },
	{ "only the port", { "10.20.0.1:50000", "10.20.0.20:5000" }, { "10.20.0.20:5000", "10.20.0.1:40744" },
	  0, 0, ETH0, NAT44, S, EGRESS, INGRESS, "site-a", "site-a" },
	{ "M IPv6, masquerade", { "[fd12:3456:789a:1::7]:50012", "[fd20::20:5012]:5012" },
	  { "[fd20::20:5012]:5012", "[fd20::1]:50012" }, IN, WT0, ETH0, NAT66, S, INGRESS, EGRESS, "alice", "-" },
	{ "IPv6", { "[fd12:3456:789a:1::7]:50012", "[fd20::1:0:0:1]:80" }, { "[fd20::1:0:0:1]:80",
	  "[fd12:3456:789a:1::7]:50012" }, IN, WT0, ETH0, NONE6, 0, INGRESS, EGRESS, "alice", "-" },
	{ "IPv6, only the last octet", { "[fd12::7]:1", "[fd20::1]:2" }, { "[fd20::2]:2", "[fd12::7]:1" },
	  IN, WT0, ETH0, NAT66, D, INGRESS, EGRESS, "-", "-" },
	{ "P hairpin, peer to peer", { "100.90.0.7:50005", "100.90.0.2:5005" }, { "100.90.0.2:5005", "100.90.0.7:50005" },
	  OUT, WT0, WT0, NONE4, 0, EGRESS, INGRESS, "alice", "router-b" },
	/* Without a mark the mesh's addresses and then its interface decide. */
	{ "in by the mesh", { "100.90.0.7:1", "10.20.0.20:2" }, { "10.20.0.20:2", "100.90.0.7:1" },
	  0, WT0, ETH0, NONE4, 0, INGRESS, EGRESS, "alice", "site-a" },
	{ "out by the mesh", { "10.20.0.20:2", "100.90.0.7:1" }, { "100.90.0.7:1", "10.20.0.20:2" },
	  1, ETH0, WT0, NONE4, 0, EGRESS, INGRESS, "site-a", "alice" },
	{ "to this host by the mesh", { "100.90.0.7:1", "100.90.0.1:2" }, { "100.90.0.1:2", "100.90.0.7:1" },
	  0, WT0, 0, NONE4, 0, INGRESS, EGRESS, "alice", "router-a" },
	{ "from this host by the mesh", { "100.90.0.1:2", "100.90.0.7:1" }, { "100.90.0.7:1", "100.90.0.1:2" },
	  0, 0, WT0, NONE4, 0, EGRESS, INGRESS, "router-a", "alice" },
	/* And what passes it not or twice is seen where the kernel counts: both directions come in. */
	{ "past the mesh", { "10.20.0.20:2", "203.0.113.9:1" }, { "203.0.113.9:1", "198.51.100.1:2" },
	  0, ETH0, WAN0, NAT44, S, INGRESS, INGRESS, "site-a", "-" },
	{ "hairpin without a mark", { "100.90.0.7:1", "100.90.0.2:2" }, { "100.90.0.2:2", "100.90.0.7:1" },
	  0, WT0, WT0, NONE4, 0, INGRESS, EGRESS, "alice", "router-b" },
	/* Addresses count before interfaces, which may be others by now; of a translated destination the true one. */
	{ "a route that is gone", { "10.20.0.20:2", "100.90.0.7:1" }, { "100.90.0.7:1", "10.20.0.20:2" },
	  0, ETH0, WAN0, NONE4, 0, EGRESS, INGRESS, "site-a", "alice" },
	{ "ingress gateway without a mark", { "203.0.113.9:4", "198.51.100.1:80" }, { "100.90.0.7:80", "100.90.0.1:4" },
	  0, WAN0, WT0, NAT44, S | D, EGRESS, INGRESS, "-", "alice" },
	{ "to this host from elsewhere", { "203.0.113.9:1", "198.51.100.1:2" }, { "198.51.100.1:2", "203.0.113.9:1" },
	  0, WAN0, 0, NONE4, 0, INGRESS, EGRESS, "-", "-" },
	{ "within this host", { "127.0.0.1:1", "127.0.0.1:2" }, { "127.0.0.1:2", "127.0.0.1:1" },
	  0, 0, 0, NONE4, 0, EGRESS, EGRESS, "-", "-" },
};

/* This host is router A, and B as well. */
static struct networks *
routers(uint32_t interface, const struct directory *directory)
{
	static const struct {
		const char *address;
		uint32_t interface;
	} own[] = {
		{ "100.90.0.1/16", WT0 }, { "fd12:3456:789a:1::1/64", WT0 }, { "fe80::1/64", WT0 }, { "10.20.0.1/24", ETH0 },
		{ "fd20::1/64", ETH0 }, { "10.30.0.1/24", ETH0 }, { "198.51.100.1/24", WAN0 }, { "127.0.0.1/8", 1 },
	};
	struct own_address address[G_N_ELEMENTS(own)];

	for (size_t i = 0; i < G_N_ELEMENTS(own); i++)
		address[i] = (struct own_address){ prefix_of(own[i].address), own[i].interface };
	return networks_new(interface, address, G_N_ELEMENTS(own), directory);
}

static const char *
who(const struct directory *directory, uint32_t identity)
{
	const struct names *names = directory_names(directory);

	return names->name[names_who(names, identity)].text;
}

static void
read_end(const char *text, uint8_t *family, union address *address, uint16_t *port)
{
	char host[64];
	const char *colon = strrchr(text, ':');

	*family = *text == '[' ? 6 : 4;
	snprintf(host, sizeof host, "%.*s", (int)(colon - text) - (*family == 6 ? 2 : 0), text + (*family == 6));
	CU_ASSERT_FATAL(inet_pton(*family == 6 ? AF_INET6 : AF_INET, host, address) == 1);
	*port = atoi(colon + 1);
}

static struct flow
flow_of(size_t i)
{
	struct flow flow = { .mark = cases[i].mark, .nat_type = 99, .translation = 99, .initiator = 99, .responder = 99 };
	struct side *o = &flow.original, *r = &flow.reply;

	read_end(cases[i].original[0], &flow.family, &o->source, &o->source_port);
	read_end(cases[i].original[1], &flow.family, &o->destination, &o->destination_port);
	read_end(cases[i].reply[0], &flow.family, &r->source, &r->source_port);
	read_end(cases[i].reply[1], &flow.family, &r->destination, &r->destination_port);
	o->ingress = r->egress = cases[i].ingress;
	o->egress = r->ingress = cases[i].egress;
	return flow;
}

static void
expect(const char *what, const char *which, unsigned is, unsigned should)
{
	CU_ASSERT_EQUAL(is, should);
	if (is != should)
		printf("\n    %s: %s is %u instead of %u", what, which, is, should);
}

static void
test_cases(void)
{
	g_autoptr(directory_t) directory = directory_of(peers_text);
	g_autoptr(networks_t) networks = routers(WT0, directory);

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct flow flow = flow_of(i);
		enrich(&flow, networks, directory);
		expect(cases[i].what, "natType", flow.nat_type, cases[i].nat_type);
		expect(cases[i].what, "translation", flow.translation, cases[i].translation);
		expect(cases[i].what, "masqueraded", flow.masqueraded, cases[i].translation & S ? 1 : 0);
		expect(cases[i].what, "flowDirection", flow.original.flow_direction, cases[i].direction);
		expect(cases[i].what, "flowDirection of the reply", flow.reply.flow_direction, cases[i].reply_direction);
		CU_ASSERT_STRING_EQUAL(who(directory, flow.initiator), cases[i].initiator);
		CU_ASSERT_STRING_EQUAL(who(directory, flow.responder), cases[i].responder);
		expect(cases[i].what, "policy", flow.policy, 0);
	}
}

/* No names known: what stood there stays, which is zero for every flow of the source. */
static void
test_no_peers(void)
{
	g_autoptr(networks_t) networks = routers(WT0, NULL);
	struct flow flow = flow_of(0);

	flow.initiator = flow.responder = 0;
	enrich(&flow, networks, NULL);
	CU_ASSERT_EQUAL(flow.initiator, 0);
	CU_ASSERT_EQUAL(flow.responder, 0);
	CU_ASSERT_EQUAL(flow.nat_type, NAT44);
}

/* Without a mesh the kernel's own point of counting is the Observation Point. */
static void
test_no_mesh(void)
{
	g_autoptr(networks_t) networks = networks_new(0, NULL, 0, NULL);
	struct flow through = { .family = 4 }, own = { .family = 4 };

	through.original.ingress = through.reply.egress = WT0;
	through.original.egress = through.reply.ingress = ETH0;
	own.original.egress = own.reply.ingress = ETH0;
	enrich(&through, networks, NULL);
	enrich(&own, networks, NULL);
	CU_ASSERT_TRUE(through.original.flow_direction == INGRESS && through.reply.flow_direction == INGRESS);
	CU_ASSERT_TRUE(own.original.flow_direction == EGRESS && own.reply.flow_direction == INGRESS);
	CU_ASSERT_TRUE(enrich_is_of_mesh(&through, networks, NULL) && enrich_is_of_mesh(&own, networks, NULL));
}

/* A rule that translates to an address of somebody else, for which this host only stands in. */
static void
test_not_masqueraded(void)
{
	g_autoptr(networks_t) networks = routers(WT0, NULL);
	struct flow flow = flow_of(0);

	read_end("10.20.0.77:1", &flow.family, &flow.reply.destination, &flow.reply.destination_port);
	enrich(&flow, networks, NULL);
	CU_ASSERT_TRUE(flow.translation == S && !flow.masqueraded);
}

/* A name is that of the flow's birth, however late it ends. */
static void
test_born(void)
{
	g_autoptr(history_t) history = history_new(UINT64_MAX);
	const struct directory_input input = { .history = history };
	struct flow old = flow_of(0), new = flow_of(0);

	take_file(history, ROSTER_FILE, "100.90.0.7 alice\n", 1000);
	take_file(history, ROSTER_FILE, "100.90.0.7 bob\n", 2000);
	g_autoptr(directory_t) directory = directory_new(&input);
	g_autoptr(networks_t) networks = routers(WT0, directory);
	old.born = 1999;
	new.born = 2000;
	old.start = old.end = new.start = new.end = 5000;
	enrich(&old, networks, directory);
	enrich(&new, networks, directory);
	CU_ASSERT_STRING_EQUAL(who(directory, old.initiator), "alice");
	CU_ASSERT_STRING_EQUAL(who(directory, new.initiator), "bob");
}

/* ---- which flows are the mesh's ---- */

static const struct {
	const char *what;
	const char *original[2], *reply[2];
	uint32_t mark, ingress, egress;
	bool by_interface, by_address, by_name, by_mark;    /* each alone knows it, or does not */
} selected[] = {
	{ "by nothing but the mark", { "192.0.2.1:1", "192.0.2.2:2" }, { "192.0.2.2:2", "192.0.2.1:1" },
	  IN, ETH0, WAN0, false, false, false, true },
	{ "by a mark to come", { "192.0.2.1:1", "192.0.2.2:2" }, { "192.0.2.2:2", "192.0.2.1:1" },
	  0x1bdff, ETH0, WAN0, false, false, false, true },
	{ "another's mark", { "192.0.2.1:1", "192.0.2.2:2" }, { "192.0.2.2:2", "192.0.2.1:1" },
	  0x1be00, ETH0, WAN0, false, false, false, false },
	{ "in by the mesh", { "192.0.2.1:1", "192.0.2.2:2" }, { "192.0.2.2:2", "192.0.2.1:1" },
	  0, WT0, ETH0, true, false, false, false },
	{ "out by the mesh", { "192.0.2.1:1", "192.0.2.2:2" }, { "192.0.2.2:2", "192.0.2.1:1" },
	  0, ETH0, WT0, true, false, false, false },
	{ "a peer begins", { "100.90.0.7:1", "192.0.2.2:2" }, { "192.0.2.2:2", "198.51.100.1:1" },
	  0, ETH0, WAN0, false, true, true, false },
	{ "a stranger of the mesh begins", { "100.90.9.9:1", "192.0.2.2:2" }, { "192.0.2.2:2", "198.51.100.1:1" },
	  0, ETH0, WAN0, false, true, false, false },
	{ "to the mesh, sent elsewhere", { "192.0.2.1:1", "100.90.0.9:2" }, { "192.0.2.2:2", "192.0.2.1:1" },
	  0, ETH0, WAN0, false, true, false, false },
	{ "a peer is the true server", { "192.0.2.1:1", "198.51.100.1:2" }, { "100.90.0.7:2", "192.0.2.1:1" },
	  0, ETH0, WAN0, false, true, true, false },
	{ "as this host in the mesh", { "10.20.0.20:1", "192.0.2.2:2" }, { "192.0.2.2:2", "100.90.0.1:1" },
	  0, ETH0, WAN0, false, true, false, false },
	{ "site to site", { "10.20.0.20:1", "10.30.0.30:2" }, { "10.30.0.30:2", "10.20.0.20:1" },
	  0, ETH0, WAN0, false, false, true, false },
	{ "IPv6", { "[fd12:3456:789a:1::99]:1", "[fd20::2]:2" }, { "[fd20::2]:2", "[fd12:3456:789a:1::99]:1" },
	  0, ETH0, WAN0, false, true, false, false },
	{ "link-local", { "[fe80::99]:1", "[fe80::2]:2" }, { "[fe80::2]:2", "[fe80::99]:1" },
	  0, ETH0, WAN0, false, false, false, false },
	{ "our site to the world", { "10.20.0.20:1", "192.0.2.2:2" }, { "192.0.2.2:2", "198.51.100.1:1" },
	  0, ETH0, WAN0, false, false, false, false },
	{ "within our site", { "10.20.0.20:1", "10.20.0.50:2" }, { "10.20.0.50:2", "10.20.0.20:1" },
	  0, ETH0, ETH0, false, false, false, false },
};

static struct flow
selected_flow(size_t i)
{
	struct flow flow = { .mark = selected[i].mark };
	struct side *o = &flow.original, *r = &flow.reply;

	read_end(selected[i].original[0], &flow.family, &o->source, &o->source_port);
	read_end(selected[i].original[1], &flow.family, &o->destination, &o->destination_port);
	read_end(selected[i].reply[0], &flow.family, &r->source, &r->source_port);
	read_end(selected[i].reply[1], &flow.family, &r->destination, &r->destination_port);
	o->ingress = r->egress = selected[i].ingress;
	o->egress = r->ingress = selected[i].egress;
	return flow;
}

static bool
is_selected(size_t i, const struct networks *networks, const struct directory *directory)
{
	struct flow flow = selected_flow(i);

	enrich(&flow, networks, directory);
	return enrich_is_of_mesh(&flow, networks, directory);
}

/* Each way to know the mesh alone, and all of them. Behind a peer is a site, but not the one this host is in. */
static void
test_selected(void)
{
	g_autoptr(history_t) history = history_new(0);
	const struct roster_prefix own = prefix_of("10.20.0.1");
	const struct directory_input input = { .history = history, .own = &own, .n_own = 1 };

	take_file(history, ROSTER_FILE, "100.90.0.7 alice\n10.20.0.0/24 site-a\n10.30.0.0/24 site-b\n", 1000);
	g_autoptr(directory_t) directory = directory_new(&input), empty = directory_of("");
	g_autoptr(networks_t) interface = networks_new(WT0, NULL, 0, NULL), addresses = routers(WT0, empty);
	g_autoptr(networks_t) names = networks_new(0, NULL, 0, directory), all = routers(WT0, directory);
	for (size_t i = 0; i < G_N_ELEMENTS(selected); i++) {
		const bool by_mark = selected[i].by_mark, by_interface = by_mark || selected[i].by_interface;
		const bool by_address = by_interface || selected[i].by_address, by_name = by_mark || selected[i].by_name;
		expect(selected[i].what, "by interface", is_selected(i, interface, empty), by_interface);
		expect(selected[i].what, "by address", is_selected(i, addresses, empty), by_address);
		expect(selected[i].what, "by name", is_selected(i, names, directory), by_name);
		expect(selected[i].what, "by all", is_selected(i, all, directory), by_address || by_name);
	}
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "translation, direction and names", test_cases },
		{ "nobody has a name", test_no_peers },
		{ "no mesh", test_no_mesh },
		{ "translated to another's address", test_not_masqueraded },
		{ "the name of the flow's birth", test_born },
		{ "which flows are the mesh's", test_selected },
		CU_TEST_INFO_NULL,
	};

	return run_suite("enrich", tests);
}
