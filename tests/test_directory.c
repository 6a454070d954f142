/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who it was: the longest prefix against a search of all, what is inherited, whose word counts, and when; what allowed
 * it; and what an answer costs. */

#include "enrich/directory.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "directories.h"

enum { LATER = 1u << 30 };

static void
expect(const char *what, const char *is, const char *should)
{
	CU_ASSERT_STRING_EQUAL(is, should);
	if (strcmp(is, should) != 0)
		printf("\n    %s: %s instead of %s", what, is, should);
}

/* ---- the longest prefix ---- */

static void
test_longest(void)
{
	static const char text[] = "100.90.0.7 alice\n100.90.0.0/16 mesh\n10.20.0.0/24  site A\n10.20.0.128/25 cellar\n"
	                           "0.0.0.0/0 anywhere\nfd12:3456::/32 mesh6\nfd12:3456:789a:1::7 alice\n"
	                           "fd12:3456:789a:1::6/127 pair\n::/0 any6\n128.0.0.0/1 upper\n255.255.255.0/24 last\n"
	                           "ffff:ffff:ffff:ffff::/64 last6\n";
	static const struct {
		const char *address, *name;
	} expected[] = {
		{ "100.90.0.7", "alice" }, { "100.90.0.8", "mesh" }, { "100.91.0.7", "anywhere" }, { "10.20.0.127", "site A" },
		{ "10.20.0.128", "cellar" }, { "10.20.1.1", "anywhere" }, { "0.0.0.0", "anywhere" }, { "128.0.0.0", "upper" },
		{ "255.255.254.255", "upper" }, { "255.255.255.255", "last" }, { "127.255.255.255", "anywhere" },
		{ "fd12:3456:789a:1::7", "alice" }, { "fd12:3456:789a:1::6", "pair" }, { "fd12:3456:789a:1::8", "mesh6" },
		{ "fd12:3456:789a:1::5", "mesh6" }, { "fd12:3457::", "any6" }, { "::", "any6" }, { "ffff::", "any6" },
		{ "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "last6" },
		/* An IPv4 address is not the IPv6 address with the same octets. */
		{ "645a:7::", "any6" },
	};
	g_autoptr(directory_t) directory = directory_of(text);

	for (size_t i = 0; i < G_N_ELEMENTS(expected); i++)
		expect(expected[i].address, who_of(directory, expected[i].address, 0), expected[i].name);
}

/* Nobody: identity 0, whose words are never empty. */
static void
test_unknown(void)
{
	g_autoptr(directory_t) empty = directory_of(""), one = directory_of("192.0.2.1 a\n");

	CU_ASSERT_EQUAL(directory_names(empty)->count, 1);
	CU_ASSERT_EQUAL(directory_names(empty)->n_identities, 1);
	CU_ASSERT_EQUAL(directory_names(empty)->n_rows, 0);
	CU_ASSERT_STRING_EQUAL(who_of(empty, "192.0.2.1", 0), "-");
	CU_ASSERT_STRING_EQUAL(who_of(empty, "2001:db8::1", LATER), "-");
	CU_ASSERT_STRING_EQUAL(who_of(one, "192.0.2.2", 0), "-");
	CU_ASSERT_STRING_EQUAL(who_of(one, "c000:201::", 0), "-");
	directory_free(NULL);
}

/* Every length of both families at once, and at random, against a search of all. */
struct model {
	union address address;
	uint8_t family, length;
};

static bool
inside(const union address *address, const struct model *prefix)
{
	for (unsigned bit = 0; bit < prefix->length; bit++)
		if ((address->v6[bit / 8] ^ prefix->address.v6[bit / 8]) & 0x80 >> bit % 8)
			return false;
	return true;
}

static union address
any_address(GRand *random, unsigned family)
{
	static const uint8_t often[] = { 0, 0, 0, 0, 255, 255, 128, 127 };
	union address address = { .half = { 0, 0 } };

	/* Few different octets, so that prefixes lie inside one another. */
	for (unsigned i = 0; i < (family == 6 ? 16 : 4); i++)
		address.v6[i] = g_rand_int_range(random, 0, 8) ? often[g_rand_int_range(random, 0, 8)]
		                                               : g_rand_int_range(random, 0, 256);
	return address;
}

static unsigned
make_model(GRand *random, struct model *model, unsigned most, GString *text)
{
	unsigned n = 0;

	for (unsigned i = 0; i < most; i++) {
		struct model one = { .family = i % 2 ? 4 : 6 };
		bool twice = false;
		char host[64];
		one.length = g_rand_int_range(random, 0, one.family == 6 ? 129 : 33);
		one.address = any_address(random, one.family);
		roster_cut(&one.address, one.length);
		for (unsigned j = 0; j < n; j++)
			twice = twice || memcmp(&model[j], &one, sizeof one) == 0;
		if (twice)
			continue;
		model[n++] = one;
		inet_ntop(one.family == 6 ? AF_INET6 : AF_INET, &one.address, host, sizeof host);
		g_string_append_printf(text, "%s/%u %u\n", host, one.length, n - 1);
	}
	return n;
}

static void
test_model(void)
{
	enum { MOST = 600 };
	g_autoptr(GRand) random = g_rand_new_with_seed(3);
	g_autoptr(GString) text = g_string_new(NULL);
	static struct model model[MOST];
	const unsigned n = make_model(random, model, MOST, text);
	g_autoptr(directory_t) directory = directory_of(text->str);
	const struct names *names = directory_names(directory);
	unsigned wrong = 0, found = 0;

	CU_ASSERT_EQUAL(names->n_rows, n);
	for (unsigned i = 0; i < 20000; i++) {
		const unsigned family = i % 2 ? 4 : 6;
		const union address address = any_address(random, family);
		const struct model *best = NULL;
		for (unsigned j = 0; j < n; j++)
			if (model[j].family == family && inside(&address, &model[j]) && (!best || model[j].length > best->length))
				best = &model[j];
		const uint32_t id = directory_find(directory, family, &address, 0);
		g_autofree char *name = best ? g_strdup_printf("%u", (unsigned)(best - model)) : g_strdup("-");
		wrong += strcmp(names->name[names_who(names, id)].text, name) != 0;
		found += best != NULL;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_TRUE(found > 1000);
}

/* ---- whose word counts ---- */

struct said {
	enum roster_source source;
	const char *prefix;
	const char *word[WORDS];
};

/* Each source says its part at once. */
static void
say(struct history *history, const struct said *said, size_t n, uint64_t now)
{
	for (unsigned source = 0; source < ROSTER_SOURCES; source++) {
		g_autoptr(roster_t) roster = roster_new();
		for (size_t i = 0; i < n; i++) {
			const struct roster_prefix prefix = prefix_of(said[i].prefix);
			if (said[i].source == source)
				roster_add(roster, &prefix, said[i].word, NULL);
		}
		history_take(history, source, roster->entry, now);
	}
}

static void
expect_words(const struct directory *directory, const char *address, const char *const word[WORDS])
{
	for (unsigned i = 0; i < WORDS; i++)
		expect(address, word_of(directory, address, LATER, i), word[i] ? word[i] : "-");
}

static void
test_combined(void)
{
	static const struct said said[] = {
		{ ROSTER_NETBIRD, "100.90.0.7", { [WORD_PEER] = "alice.netbird" } },
		{ ROSTER_API, "100.90.0.7", { [WORD_PEER] = "alice", [WORD_PEER_ID] = "d2l", [WORD_USER] = "a@x" } },
		{ ROSTER_FILE, "100.90.0.7", { [WORD_PEER] = "hers", [WORD_USER] = "hers", [WORD_GROUPS] = "staff" } },
		{ ROSTER_NETBIRD, "10.30.0.0/24", { [WORD_VIA] = "site-b" } },
		{ ROSTER_API, "10.30.0.0/24", { [WORD_RESOURCE] = "b-subnet", [WORD_NETWORK] = "b", [WORD_GROUPS] = "lan" } },
		{ ROSTER_API, "10.30.0.44/32", { [WORD_RESOURCE] = "crm-db", [WORD_NETWORK] = "b", [WORD_GROUPS] = "crm" } },
		{ ROSTER_NETBIRD, "10.30.0.45/32", { [WORD_DOMAIN] = "crm.example.com" } },
		{ ROSTER_API, "0.0.0.0/0", { [WORD_RESOURCE] = "internet", [WORD_NETWORK] = "out", [WORD_GROUPS] = "all" } },
		{ ROSTER_FILE, "10.40.0.0/16", { [WORD_VIA] = "site-c", [WORD_PEER_ID] = "c", [WORD_USER] = "u" } },
		{ ROSTER_WIREGUARD, "10.40.1.0/24", { [WORD_VIA] = "site-d" } },
		{ ROSTER_API, "10.40.2.0/24", { [WORD_RESOURCE] = "printers" } },
	};
	g_autoptr(history_t) history = history_new(0);
	const struct directory_input input = { .history = history };

	say(history, said, G_N_ELEMENTS(said), 1000);
	g_autoptr(directory_t) directory = directory_new(&input);
	/* The best that knows a word has it; a peer takes nothing from the networks around it. */
	expect_words(directory, "100.90.0.7", (const char *[WORDS]){ [WORD_PEER] = "alice.netbird", [WORD_PEER_ID] = "d2l",
	             [WORD_USER] = "a@x", [WORD_GROUPS] = "staff" });
	expect_words(directory, "10.30.0.1", (const char *[WORDS]){ [WORD_VIA] = "site-b", [WORD_RESOURCE] = "b-subnet",
	             [WORD_NETWORK] = "b", [WORD_GROUPS] = "lan" });
	expect_words(directory, "10.30.0.44", (const char *[WORDS]){ [WORD_VIA] = "site-b", [WORD_RESOURCE] = "crm-db",
	             [WORD_NETWORK] = "b", [WORD_GROUPS] = "crm" });
	expect_words(directory, "10.30.0.45", (const char *[WORDS]){ [WORD_VIA] = "site-b", [WORD_RESOURCE] = "b-subnet",
	             [WORD_NETWORK] = "b", [WORD_GROUPS] = "lan", [WORD_DOMAIN] = "crm.example.com" });
	expect_words(directory, "203.0.113.9", (const char *[WORDS]){ [WORD_RESOURCE] = "internet", [WORD_NETWORK] = "out",
	             [WORD_GROUPS] = "all" });
	/* One peer's user is not another's, and a resource without a network is not in that of a larger one. */
	expect_words(directory, "10.40.1.9", (const char *[WORDS]){ [WORD_VIA] = "site-d", [WORD_RESOURCE] = "internet",
	             [WORD_NETWORK] = "out", [WORD_GROUPS] = "all" });
	expect_words(directory, "10.40.2.9", (const char *[WORDS]){ [WORD_VIA] = "site-c", [WORD_PEER_ID] = "c",
	             [WORD_USER] = "u", [WORD_RESOURCE] = "printers" });
}

static void
test_behind(void)
{
	static const struct said said[] = {
		{ ROSTER_NETBIRD, "100.90.0.7", { [WORD_PEER] = "alice" } },
		{ ROSTER_NETBIRD, "10.20.0.0/24", { [WORD_VIA] = "router-a" } },
		{ ROSTER_NETBIRD, "10.30.0.0/24", { [WORD_VIA] = "router-b" } },
		{ ROSTER_API, "10.30.0.9", { [WORD_RESOURCE] = "crm" } },
		{ ROSTER_FILE, "10.50.0.0/16", { [WORD_VIA] = "our cellar" } },
		{ ROSTER_FILE, "0.0.0.0/0", { [WORD_VIA] = "anywhere" } },
		{ ROSTER_NETBIRD, "fd12::7", { [WORD_PEER] = "alice" } },
		{ ROSTER_WIREGUARD, "fd12::7", { [WORD_VIA] = "alice" } },
		{ ROSTER_WIREGUARD, "fd12::8", { [WORD_VIA] = "alice" } },
	};
	static const struct {
		const char *address;
		bool peer, behind;
	} expected[] = {
		{ "100.90.0.7", true, false }, { "10.20.0.9", false, false }, { "10.30.0.8", false, true },
		{ "10.30.0.9", false, true }, { "10.50.0.9", false, false }, { "192.0.2.1", false, false },
		{ "fd12::7", true, false }, { "fd12::8", false, true },
	};
	g_autoptr(history_t) history = history_new(0);
	g_autoptr(roster_t) netbird = roster_new();
	const struct roster_prefix own = prefix_of("10.50.0.1");
	const struct directory_input input = { .history = history, .roster = { [ROSTER_NETBIRD] = netbird },
	                                       .own = &own, .n_own = 1 };

	roster_set_own_name(netbird, "router-a");
	say(history, said, G_N_ELEMENTS(said), 1000);
	g_autoptr(directory_t) directory = directory_new(&input);
	for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
		const uint32_t identity = identity_of(directory, expected[i].address, LATER);
		CU_ASSERT_EQUAL(directory_is_peer(directory, identity), expected[i].peer);
		CU_ASSERT_EQUAL(directory_is_behind_peer(directory, identity), expected[i].behind);
	}
	CU_ASSERT_STRING_EQUAL(directory_own_name(directory), "router-a");
	/* Nobody lies behind himself. */
	CU_ASSERT_STRING_EQUAL(word_of(directory, "fd12::7", LATER, WORD_VIA), "-");
	CU_ASSERT_STRING_EQUAL(word_of(directory, "fd12::8", LATER, WORD_VIA), "alice");
}

static void
test_overlay(void)
{
	g_autoptr(history_t) history = history_new(0);
	g_autoptr(roster_t) netbird = roster_new(), api = roster_new();
	struct directory_input input = { .history = history };
	const struct roster_prefix own = prefix_of("100.90.0.1/16"), own6 = prefix_of("fd12::1/64");
	size_t n;

	roster_add_overlay(netbird, &own);
	roster_add_overlay(api, &own);
	roster_add_overlay(api, &own6);
	input.roster[ROSTER_NETBIRD] = netbird;
	input.roster[ROSTER_API] = api;
	g_autoptr(directory_t) directory = directory_new(&input);
	const struct roster_prefix *overlay = directory_overlay(directory, &n);
	CU_ASSERT_EQUAL_FATAL(n, 2);
	CU_ASSERT_TRUE(overlay[0].length == 16 && overlay[1].length == 64);
	CU_ASSERT_PTR_NULL(directory_own_name(directory));
}

/* ---- when ---- */

/* An address that changed hands: a flow has the name of its beginning, however late it ends. */
static void
test_reassigned(void)
{
	g_autoptr(history_t) history = history_new(UINT64_MAX);
	const struct directory_input input = { .history = history };

	take_file(history, ROSTER_FILE, "100.90.0.7 alice\n10.30.0.0/24 site-b\n", 1000);
	take_file(history, ROSTER_FILE, "100.90.0.7 bob\n10.30.0.0/24 site-b\n", 2000);
	take_file(history, ROSTER_FILE, "10.30.0.0/24 site-c\n10.30.0.9 new\n", 3000);
	take_file(history, ROSTER_FILE, "100.90.0.7 carol\n10.30.0.0/24 site-c\n", 4000);
	g_autoptr(directory_t) directory = directory_new(&input);
	static const struct {
		const char *address;
		uint64_t time;
		const char *name;
	} expected[] = {
		{ "100.90.0.7", 0, "alice" }, { "100.90.0.7", 1999, "alice" }, { "100.90.0.7", 2000, "bob" },
		{ "100.90.0.7", 2999, "bob" }, { "100.90.0.7", 3000, "-" }, { "100.90.0.7", 3999, "-" },
		{ "100.90.0.7", 4000, "carol" }, { "100.90.0.7", UINT64_MAX, "carol" },
		{ "10.30.0.9", 2999, "site-b" }, { "10.30.0.9", 3000, "new" }, { "10.30.0.9", 3999, "new" },
		{ "10.30.0.9", 4000, "site-c" }, { "10.30.0.8", 2999, "site-b" }, { "10.30.0.8", 3000, "site-c" },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(expected); i++)
		expect(expected[i].address, who_of(directory, expected[i].address, expected[i].time), expected[i].name);
	/* Whom prefixes stand for is told as it is now. */
	CU_ASSERT_EQUAL(directory_names(directory)->n_rows, 3);
}

static void
test_many_changes(void)
{
	g_autoptr(history_t) history = history_new(UINT64_MAX);
	const struct directory_input input = { .history = history };

	for (unsigned i = 0; i < 1000; i++) {
		g_autofree char *text = g_strdup_printf("fd12::7 name-%u\n10.0.0.0/8 net-%u\n10.9.0.0/16 in-%u\n", i, i, i / 3);
		take_file(history, ROSTER_FILE, text, 1000 + i);
	}
	g_autoptr(directory_t) directory = directory_new(&input);
	CU_ASSERT_STRING_EQUAL(who_of(directory, "fd12::7", 1999), "name-999");
	CU_ASSERT_STRING_EQUAL(who_of(directory, "fd12::7", 1980), "name-980");
	CU_ASSERT_STRING_EQUAL(who_of(directory, "fd12::7", 1000), "-");
	CU_ASSERT_STRING_EQUAL(who_of(directory, "10.9.1.1", 1994), "in-331");
	CU_ASSERT_STRING_EQUAL(who_of(directory, "10.8.1.1", 1994), "net-994");
	CU_ASSERT_TRUE(directory_names(directory)->n_identities < 200);
}

/* ---- policies ---- */

static void
add_policy(struct roster *roster, const char *name, const char *from, const char *to, uint8_t protocol, uint16_t port,
           bool bidirectional)
{
	const char *const sources[] = { from, NULL }, *const destinations[] = { to, NULL };
	const struct roster_ports ports = { port, port + 1 };
	const struct roster_policy policy = { name, sources, destinations, &ports, port != 0, protocol, bidirectional };

	roster_add_policy(roster, &policy);
}

static void
add_tagged(struct roster *roster, const char *text, enum identity_word word, const char *name, const char *tag,
           const char *other)
{
	const char *words[WORDS] = { NULL }, *tags[] = { tag, other, NULL };
	const struct roster_prefix prefix = prefix_of(text);

	words[word] = name;
	roster_add(roster, &prefix, words, tags);
}

static const char *
policy_of(const struct directory *directory, const char *from, const char *to, uint8_t protocol, uint16_t port,
          uint64_t born, uint8_t translation)
{
	struct flow flow = { .family = 4, .protocol = protocol, .born = born, .translation = translation, .policy = 99 };

	flow.original.source = prefix_of(from).address;
	flow.reply.source = prefix_of(to).address;
	flow.reply.source_port = port;
	directory_find_ends(directory, &flow);
	CU_ASSERT_EQUAL(flow.initiator, identity_of(directory, from, born));
	CU_ASSERT_EQUAL(flow.responder, identity_of(directory, to, born));
	return directory_names(directory)->name[flow.policy].text;
}

static struct roster *
api_roster(void)
{
	struct roster *roster = roster_new();

	add_tagged(roster, "100.90.0.7", WORD_PEER, "alice", "engineers", NULL);
	add_tagged(roster, "100.90.0.8", WORD_PEER, "bob", "guests", NULL);
	add_tagged(roster, "100.90.0.9", WORD_PEER, "carol", "engineers", "guests");
	add_tagged(roster, "10.20.0.20", WORD_RESOURCE, "crm", "r-crm", NULL);
	add_tagged(roster, "10.20.0.0/24", WORD_RESOURCE, "subnet", "r-subnet", NULL);
	add_policy(roster, "eng-to-crm", "engineers", "r-crm", IPPROTO_TCP, 443, false);
	add_policy(roster, "eng-to-lan", "engineers", "r-subnet", IPPROTO_UDP, 0, false);
	add_policy(roster, "guests-print", "guests", "r-subnet", IPPROTO_TCP, 631, false);
	add_policy(roster, "more-print", "engineers", "r-subnet", IPPROTO_TCP, 631, false);
	add_policy(roster, "talk", "engineers", "guests", 0, 0, true);
	add_policy(roster, "ping", "guests", "r-subnet", IPPROTO_ICMP, 0, false);
	return roster;
}

static void
test_policies(void)
{
	static const struct {
		const char *from, *to;
		uint8_t protocol;
		uint16_t port;
		const char *name;
	} expected[] = {
		{ "100.90.0.7", "10.20.0.20", 6, 443, "eng-to-crm" }, { "100.90.0.7", "10.20.0.20", 6, 444, "eng-to-crm" },
		{ "100.90.0.7", "10.20.0.20", 6, 445, "-" }, { "100.90.0.7", "10.20.0.21", 6, 443, "-" },
		{ "100.90.0.8", "10.20.0.20", 6, 443, "-" }, { "10.20.0.20", "100.90.0.7", 6, 443, "-" },
		/* A host in a subnet has what is allowed to the subnet, too. */
		{ "100.90.0.7", "10.20.0.20", 17, 53, "eng-to-lan" }, { "100.90.0.7", "10.20.0.99", 17, 53, "eng-to-lan" },
		{ "100.90.0.8", "10.20.0.99", 6, 631, "guests-print" }, { "100.90.0.7", "10.20.0.99", 6, 632, "more-print" },
		/* Two that fit are none. */
		{ "100.90.0.9", "10.20.0.99", 6, 631, "-" },
		/* Both ways, and a member of both groups is still one rule. */
		{ "100.90.0.7", "100.90.0.8", 6, 22, "talk" }, { "100.90.0.8", "100.90.0.7", 17, 1, "talk" },
		{ "100.90.0.9", "100.90.0.9", 6, 22, "talk" }, { "100.90.0.7", "100.90.0.7", 6, 22, "-" },
		{ "100.90.0.8", "100.90.0.8", 6, 22, "-" },
		{ "100.90.0.8", "10.20.0.99", 1, 0, "ping" }, { "100.90.0.8", "10.20.0.99", 58, 0, "ping" },
		{ "192.0.2.1", "10.20.0.99", 6, 631, "-" }, { "100.90.0.8", "192.0.2.1", 6, 631, "-" },
	};
	g_autoptr(history_t) history = history_new(0);
	g_autoptr(roster_t) roster = api_roster();
	const struct directory_input input = { .history = history, .roster = { [ROSTER_API] = roster },
	                                       .policies_since = 1500 };

	history_take(history, ROSTER_API, roster->entry, 1000);
	g_autoptr(directory_t) directory = directory_new(&input);
	for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
		g_autofree char *what = g_strdup_printf("%s to %s %u/%u", expected[i].from, expected[i].to, expected[i].protocol,
		                                        expected[i].port);
		expect(what, policy_of(directory, expected[i].from, expected[i].to, expected[i].protocol, expected[i].port, 1500, 0),
		       expected[i].name);
	}
	CU_ASSERT_STRING_EQUAL(policy_of(directory, "100.90.0.7", "10.20.0.20", 6, 443, 1500, TRANSLATED_SOURCE),
	                       "eng-to-crm");
	/* Which address the rules were asked about is not known, and what they were before is not. */
	CU_ASSERT_STRING_EQUAL(policy_of(directory, "100.90.0.7", "10.20.0.20", 6, 443, 1500, TRANSLATED_DESTINATION), "-");
	CU_ASSERT_STRING_EQUAL(policy_of(directory, "100.90.0.7", "10.20.0.20", 6, 443, 1499, 0), "-");
}

/* Who is in which group is as honest as who has which name: since it has been known. */
static void
test_policies_over_time(void)
{
	g_autoptr(history_t) history = history_new(UINT64_MAX);
	g_autoptr(roster_t) before = roster_new(), after = api_roster();
	const struct directory_input input = { .history = history, .roster = { [ROSTER_API] = after } };

	add_tagged(before, "100.90.0.7", WORD_PEER, "alice", "guests", NULL);
	add_tagged(before, "10.20.0.20", WORD_RESOURCE, "crm", "r-crm", NULL);
	history_take(history, ROSTER_API, before->entry, 1000);
	history_take(history, ROSTER_API, after->entry, 2000);
	g_autoptr(directory_t) directory = directory_new(&input);
	CU_ASSERT_STRING_EQUAL(policy_of(directory, "100.90.0.7", "10.20.0.20", 6, 443, 2000, 0), "eng-to-crm");
	CU_ASSERT_STRING_EQUAL(policy_of(directory, "100.90.0.7", "10.20.0.20", 6, 443, 1999, 0), "-");
}

static void
test_too_many_policies(void)
{
	g_autoptr(history_t) history = history_new(0);
	g_autoptr(roster_t) roster = api_roster();
	const struct directory_input input = { .history = history, .roster = { [ROSTER_API] = roster } };

	history_take(history, ROSTER_API, roster->entry, 1000);
	for (unsigned i = 0; i < 1100; i++)
		add_policy(roster, "many", "others", "nobody", 0, 0, false);
	g_autoptr(directory_t) directory = directory_new(&input);
	CU_ASSERT_STRING_EQUAL(policy_of(directory, "100.90.0.7", "10.20.0.20", 6, 443, 1500, 0), "-");
	g_array_set_size(roster->policy, 1000);
	g_autoptr(directory_t) fewer = directory_new(&input);
	CU_ASSERT_STRING_EQUAL(policy_of(fewer, "100.90.0.7", "10.20.0.20", 6, 443, 1500, 0), "eng-to-crm");
}

/* ---- what it costs ---- */

enum { PEERS = 100000, PREFIXES = 10000, BATCH = 64, BATCHES = 5000 };

static void
fill_batch(struct flow *flow, unsigned batch)
{
	for (unsigned i = 0; i < BATCH; i++) {
		const uint32_t n = batch * BATCH + i, peer = n * 2654435761u % PEERS, site = n * 2246822519u % PREFIXES;
		flow[i] = (struct flow){ .family = 4, .born = 5000 };
		flow[i].original.source = (union address){ .v4 = { 100, 64 + peer / 65536, peer / 256 % 256, peer % 256 } };
		flow[i].reply.source = (union address){ .v4 = { 10, site / 256, site % 256, i } };
	}
}

/* Of this thread, in microseconds: what others do meanwhile is none of our cost. */
static double
cpu_time(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static unsigned
find_batch(const struct directory *directory, struct flow *flow)
{
	unsigned found = 0;

	for (unsigned i = 0; i < BATCH; i++)
		directory_prefetch(directory, &flow[i]);
	for (unsigned i = 0; i < BATCH; i++) {
		directory_find_ends(directory, &flow[i]);
		found += (flow[i].initiator > 0) + (flow[i].responder > 0);
	}
	return found;
}

/* A hundred thousand peers of one mesh and ten thousand networks behind some of them; both ends of a flow. */
static void
test_cost(void)
{
	g_autoptr(history_t) history = history_new(0);
	g_autoptr(GString) text = g_string_new(NULL);
	const struct directory_input input = { .history = history };
	struct flow flow[BATCH];
	unsigned found = 0;
	double spent = 0;

	for (unsigned i = 0; i < PEERS; i++)
		g_string_append_printf(text, "100.%u.%u.%u peer-%u\n", 64 + i / 65536, i / 256 % 256, i % 256, i);
	for (unsigned i = 0; i < PREFIXES; i++)
		g_string_append_printf(text, "10.%u.%u.0/24 site-%u\n", i / 256, i % 256, i);
	take_file(history, ROSTER_FILE, text->str, 1000);
	const double begun = cpu_time();
	g_autoptr(directory_t) directory = directory_new(&input);
	const double built = cpu_time();
	for (unsigned i = 0; i < BATCHES; i++) {
		fill_batch(flow, i);
		const double ready = cpu_time();
		found += find_batch(directory, flow);
		spent += cpu_time() - ready;
	}
	CU_ASSERT_EQUAL(found, 2 * BATCH * BATCHES);
	printf("built in %.0f ms, both ends of a flow in %.0f ns ", (built - begun) / 1e3, spent * 1e3 / BATCH / BATCHES);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "the longest prefix", test_longest },
		{ "nobody", test_unknown },
		{ "at random against a search of all", test_model },
		{ "sources combined", test_combined },
		{ "behind whom", test_behind },
		{ "this host in the mesh", test_overlay },
		{ "an address that changed hands", test_reassigned },
		{ "many changes", test_many_changes },
		{ "policies", test_policies },
		{ "policies over time", test_policies_over_time },
		{ "too many policies", test_too_many_policies },
		{ "what it costs", test_cost },
		CU_TEST_INFO_NULL,
	};

	return run_suite("directory", tests);
}
