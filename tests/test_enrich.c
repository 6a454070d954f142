/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a router of a mesh sees: the cases NetBird makes, as the kernel reports them. */

#include "enrich/enrich.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

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
	/* Without a mark the mesh's interface decides. */
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
	  0, WT0, WT0, NONE4, 0, INGRESS, INGRESS, "alice", "router-b" },
	{ "to this host from elsewhere", { "203.0.113.9:1", "198.51.100.1:2" }, { "198.51.100.1:2", "203.0.113.9:1" },
	  0, WAN0, 0, NONE4, 0, INGRESS, EGRESS, "-", "-" },
	{ "within this host", { "127.0.0.1:1", "127.0.0.1:2" }, { "127.0.0.1:2", "127.0.0.1:1" },
	  0, 0, 0, NONE4, 0, EGRESS, EGRESS, "-", "-" },
};

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
	g_autoptr(peers_t) peers = peers_parse("peers", peers_text, strlen(peers_text), NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(peers);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct flow flow = flow_of(i);
		enrich(&flow, WT0, peers);
		expect(cases[i].what, "natType", flow.nat_type, cases[i].nat_type);
		expect(cases[i].what, "translation", flow.translation, cases[i].translation);
		expect(cases[i].what, "flowDirection", flow.original.flow_direction, cases[i].direction);
		expect(cases[i].what, "flowDirection of the reply", flow.reply.flow_direction, cases[i].reply_direction);
		CU_ASSERT_STRING_EQUAL(peers_names(peers)->name[flow.initiator].text, cases[i].initiator);
		CU_ASSERT_STRING_EQUAL(peers_names(peers)->name[flow.responder].text, cases[i].responder);
	}
}

/* No names known: what stood there stays, which is zero for every flow of the source. */
static void
test_no_peers(void)
{
	struct flow flow = flow_of(0);

	flow.initiator = flow.responder = 0;
	enrich(&flow, WT0, NULL);
	CU_ASSERT_EQUAL(flow.initiator, 0);
	CU_ASSERT_EQUAL(flow.responder, 0);
	CU_ASSERT_EQUAL(flow.nat_type, NAT44);
}

/* Without a mesh's interface the kernel's own point of counting is the Observation Point. */
static void
test_no_mesh(void)
{
	struct flow through = { .family = 4 }, own = { .family = 4 };

	through.original.ingress = through.reply.egress = WT0;
	through.original.egress = through.reply.ingress = ETH0;
	own.original.egress = own.reply.ingress = ETH0;
	enrich(&through, 0, NULL);
	enrich(&own, 0, NULL);
	CU_ASSERT_TRUE(through.original.flow_direction == INGRESS && through.reply.flow_direction == INGRESS);
	CU_ASSERT_TRUE(own.original.flow_direction == EGRESS && own.reply.flow_direction == INGRESS);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "translation, direction and names", test_cases },
		{ "nobody has a name", test_no_peers },
		{ "no mesh", test_no_mesh },
		CU_TEST_INFO_NULL,
	};

	return run_suite("enrich", tests);
}
