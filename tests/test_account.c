/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a management server tells, in NetBird's own words, and the roster that follows. */

#include "enrich/account.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "suite.h"

static const char users[] =
	"{\"id\":\"google-oauth2|277474792786460067937\",\"email\":\"alice@example.com\",\"name\":\"Alice Smith\","
	"\"role\":\"user\",\"auto_groups\":null,\"is_service_user\":false},"
	"{\"id\":\"u2\",\"email\":\"\",\"name\":\"Bob\"},{\"id\":\"u3\"},{\"email\":\"nobody@example.com\"},[],null,7";

static const char peers[] =
	"{\"id\":\"d2laptop\",\"name\":\"alice-laptop\",\"ip\":\"100.90.0.7\",\"ipv6\":\"fd12:3456:789a:1::7\","
	"\"groups\":[{\"id\":\"gall\",\"name\":\"All\",\"peers_count\":12},{\"id\":\"geng\",\"name\":\"engineers\"}],"
	"\"user_id\":\"google-oauth2|277474792786460067937\",\"dns_label\":\"alice-laptop.netbird.selfhosted\"},"
	"{\"id\":\"d2routera\",\"name\":\"router-a\",\"ip\":\"100.90.0.1\",\"groups\":null,\"user_id\":\"\"},"
	"{\"id\":\"d2routerb\",\"name\":null,\"hostname\":\"router-b\",\"ip\":\"100.90.0.2\",\"user_id\":\"u9\","
	"\"groups\":[{\"id\":\"grtr\",\"name\":\"routers\"}]},"
	"{\"id\":\"d2router2\",\"name\":\"router-b2\",\"ip\":\"100.90.0.3\",\"groups\":[{\"id\":\"gall\",\"name\":\"All\"}]},"
	"{\"id\":\"bad\",\"name\":\"bad\",\"ip\":\"100.90.0.999\",\"ipv6\":17},{\"ip\":\"100.90.0.9\"},\"text\"";

static const char networks[] =
	"{\"id\":\"n1\",\"name\":\"site-a\",\"routers\":[\"r1\"],\"resources\":[\"res2\",\"res1\",\"res5\"]},"
	"{\"id\":\"n2\",\"name\":\"site-b\",\"routers\":[\"r2\",\"r3\",\"r6\"],\"resources\":[\"res3\"]},"
	"{\"id\":\"n3\",\"name\":\"site-c\",\"routers\":[\"r4\",\"r5\"],\"resources\":[\"res4\"]},"
	"{\"id\":\"n4\",\"name\":\"empty\",\"routers\":null,\"resources\":null}";

static const char routers[] =
	"{\"id\":\"r1\",\"peer\":\"d2routera\",\"metric\":9999,\"masquerade\":true,\"enabled\":true},"
	"{\"id\":\"r2\",\"peer_groups\":[\"grtr\"],\"metric\":100,\"enabled\":true},"
	"{\"id\":\"r3\",\"peer\":\"d2routera\",\"metric\":200,\"enabled\":true},"
	"{\"id\":\"r4\",\"peer\":\"d2routerb\",\"metric\":100,\"enabled\":true},"
	"{\"id\":\"r5\",\"peer\":\"d2router2\",\"metric\":100,\"enabled\":true},"
	"{\"id\":\"r6\",\"peer\":\"d2router2\",\"metric\":1,\"enabled\":false}";

static const char resources[] =
	"{\"id\":\"res9\",\"type\":\"host\",\"name\":\"twice\",\"address\":\"10.20.0.20/32\",\"enabled\":true,\"groups\":[]},"
	"{\"id\":\"res1\",\"type\":\"host\",\"name\":\"crm-db\",\"address\":\"10.20.0.20/32\",\"enabled\":true,"
	"\"groups\":[{\"id\":\"gcrm\",\"name\":\"crm\"}]},"
	"{\"id\":\"res2\",\"type\":\"subnet\",\"name\":\"lan\",\"address\":\"10.20.0.0/24\",\"enabled\":true,\"groups\":null},"
	"{\"id\":\"res3\",\"type\":\"subnet\",\"name\":\"lan-b\",\"address\":\"10.30.0.0/24\",\"enabled\":true,\"groups\":[]},"
	"{\"id\":\"res4\",\"type\":\"subnet\",\"name\":\"lan-c\",\"address\":\"10.40.0.0/24\",\"enabled\":true,\"groups\":[]},"
	"{\"id\":\"res5\",\"type\":\"domain\",\"name\":\"crm\",\"address\":\"*.crm.example.com\",\"enabled\":true},"
	"{\"id\":\"res6\",\"type\":\"host\",\"name\":\"off\",\"address\":\"10.20.0.21/32\",\"enabled\":false}";

static const char routes[] =
	"{\"id\":\"t1\",\"network_id\":\"exit-de\",\"network\":\"0.0.0.0/0\",\"peer\":\"d2routera\",\"enabled\":true},"
	"{\"id\":\"t2\",\"network_id\":\"old-site\",\"network\":\"10.50.0.0/16\",\"peer\":\"d2routera\",\"metric\":5,"
	"\"access_control_groups\":[\"gcrm\"],\"enabled\":true},"
	"{\"id\":\"t3\",\"network_id\":\"old-site\",\"network\":\"10.50.0.0/16\",\"peer\":\"d2routerb\",\"metric\":4},"
	"{\"id\":\"t4\",\"network_id\":\"same\",\"network\":\"10.60.0.0/16\",\"peer\":\"d2routera\",\"metric\":4},"
	"{\"id\":\"t5\",\"network_id\":\"same\",\"network\":\"10.60.0.0/16\",\"peer\":\"d2routerb\",\"metric\":4},"
	"{\"id\":\"t6\",\"network_id\":\"names\",\"domains\":[\"a.example.com\",\"b.example.com\",null],\"peer_groups\":[\"gall\"]},"
	"{\"id\":\"t7\",\"network_id\":\"off\",\"network\":\"10.70.0.0/16\",\"peer\":\"d2routera\",\"enabled\":false}";

static const char policies[] =
	"{\"id\":\"p1\",\"name\":\"eng-to-crm\",\"enabled\":true,\"rules\":[{\"id\":\"p1\",\"enabled\":true,\"action\":\"accept\","
	"\"bidirectional\":false,\"protocol\":\"tcp\",\"ports\":[\"443\",8443],\"port_ranges\":[{\"start\":8000,\"end\":8100}],"
	"\"sources\":[{\"id\":\"geng\",\"name\":\"engineers\"}],\"destinations\":[],"
	"\"sourceResource\":{\"id\":\"\",\"type\":\"peer\"},\"destinationResource\":{\"id\":\"res1\",\"type\":\"host\"}}]},"
	"{\"id\":\"p2\",\"name\":\"off\",\"enabled\":false,\"rules\":[{\"protocol\":\"new\"}]},"
	"{\"id\":\"p3\",\"name\":\"ping\",\"rules\":[{\"action\":\"accept\",\"bidirectional\":true,\"protocol\":\"icmp\","
	"\"sources\":[\"gall\"],\"destinations\":[\"gall\"]},{\"action\":\"drop\",\"protocol\":\"all\"},"
	"{\"enabled\":false,\"protocol\":\"new\"}]},"
	"{\"id\":\"p4\",\"name\":\"ssh\",\"rules\":[{\"action\":\"accept\",\"protocol\":\"netbird-ssh\"}]},"
	"{\"id\":\"p5\",\"name\":\"everything\",\"rules\":[{\"action\":\"accept\",\"protocol\":\"all\",\"ports\":null}]}";

static bool
hand_over(json_t *element, void *data, GError **error)
{
	void **to = data;
	(void)error;

	account_take(to[0], *(enum account_list *)to[1], element);
	return true;
}

static void
read_list(struct account *account, enum account_list list, const char *elements)
{
	void *to[] = { account, &list };
	g_autoptr(document_t) document = document_new(1 << 16, hand_over, to);

	CU_ASSERT_TRUE(document_feed(document, "[", 1, NULL));
	CU_ASSERT_TRUE(document_feed(document, elements, strlen(elements), NULL));
	CU_ASSERT_TRUE(document_feed(document, "]", 1, NULL));
	CU_ASSERT_TRUE(document_end(document, NULL));
	account_took(account, list);
}

static const char *const whole[ACCOUNT_LISTS] = { users, peers, networks, routers, resources, routes, policies };

static struct roster *
roster_of(const char *const list[ACCOUNT_LISTS])
{
	g_autoptr(account_t) account = account_new();

	for (unsigned i = 0; i < ACCOUNT_LISTS; i++)
		if (list[i])
			read_list(account, i, list[i]);
	return account_roster(account);
}

static char *
join(const char *const *list)
{
	return list ? g_strjoinv(",", (char **)list) : g_strdup("-");
}

/* "peer|id|user|groups|via|resource|network|tags" of the first entry with that prefix. */
static char *
words_of(const struct roster *roster, const char *text)
{
	struct roster_prefix prefix;

	roster_prefix_parse(text, &prefix);
	for (guint i = 0; i < roster->entry->len; i++) {
		const struct roster_entry *entry = &g_array_index(roster->entry, struct roster_entry, i);
		if (memcmp(&entry->prefix, &prefix, sizeof prefix) != 0)
			continue;
		GString *shown = g_string_new(NULL);
		for (unsigned word = 0; word < WORD_DOMAIN; word++)
			g_string_append_printf(shown, "%s|", entry->word[word] ? entry->word[word] : "-");
		g_autofree char *tags = join(entry->tags);
		g_string_append(shown, tags);
		return g_string_free(shown, false);
	}
	return g_strdup("none");
}

static void
expect(const struct roster *roster, const char *prefix, const char *words)
{
	g_autofree char *shown = words_of(roster, prefix);

	CU_ASSERT_STRING_EQUAL(shown, words);
	if (strcmp(shown, words) != 0)
		printf("\n    %s: expected %s shown %s", prefix, words, shown);
}

/* ---- tests ---- */

static void
test_peers(void)
{
	g_autoptr(roster_t) roster = roster_of(whole);
	static const char alice[] = "alice-laptop|d2laptop|alice@example.com|All, engineers|-|-|-|d2laptop,gall,geng";

	expect(roster, "100.90.0.7", alice);
	expect(roster, "fd12:3456:789a:1::7", alice);
	expect(roster, "100.90.0.1", "router-a|d2routera|-|-|-|-|-|d2routera");
	/* A person that the list of users does not have keeps the id. */
	expect(roster, "100.90.0.2", "router-b|d2routerb|u9|routers|-|-|-|d2routerb,grtr");
	expect(roster, "100.90.0.9", "-|-|-|-|-|-|-|-");
}

static void
test_resources(void)
{
	g_autoptr(roster_t) roster = roster_of(whole);

	expect(roster, "10.20.0.20", "-|-|-|crm|router-a|crm-db|site-a|res1,gcrm");
	expect(roster, "10.20.0.0/24", "-|-|-|-|router-a|lan|site-a|res2");
	/* The preferred router is a group of one. */
	expect(roster, "10.30.0.0/24", "-|-|-|-|router-b|lan-b|site-b|res3");
	/* Two that are preferred alike: it may be either. */
	expect(roster, "10.40.0.0/24", "-|-|-|-|-|lan-c|site-c|res4");
	expect(roster, "10.20.0.21", "none");
	const struct roster_domain *domain = &g_array_index(roster->domain, struct roster_domain, 0);
	CU_ASSERT_STRING_EQUAL(domain->domain, "*.crm.example.com");
	CU_ASSERT_STRING_EQUAL(domain->word[WORD_RESOURCE], "crm");
	CU_ASSERT_STRING_EQUAL(domain->word[WORD_NETWORK], "site-a");
	CU_ASSERT_STRING_EQUAL(domain->tags[0], "res5");
}

static void
test_routes(void)
{
	g_autoptr(roster_t) roster = roster_of(whole);

	expect(roster, "0.0.0.0/0", "none");
	expect(roster, "10.50.0.0/16", "-|-|-|-|router-b|old-site|-|gcrm");
	expect(roster, "10.60.0.0/16", "-|-|-|-|-|same|-|-");
	expect(roster, "10.70.0.0/16", "none");
	CU_ASSERT_EQUAL_FATAL(roster->domain->len, 3);
	/* A group of several is nobody in particular. */
	for (guint i = 1; i < 3; i++) {
		const struct roster_domain *domain = &g_array_index(roster->domain, struct roster_domain, i);
		CU_ASSERT_STRING_EQUAL(domain->word[WORD_RESOURCE], "names");
		CU_ASSERT_PTR_NULL(domain->word[WORD_VIA]);
	}
}

static void
test_policies(void)
{
	static const char *const expected[] = {
		"eng-to-crm 6 443-443 8443-8443 8000-8100 from geng to res1",
		"ping 1 from gall to gall both", "ping 58 from gall to gall both",
		"ssh 6 22-22 22022-22022 from - to -", "everything 0 from - to -",
	};
	g_autoptr(roster_t) roster = roster_of(whole);

	CU_ASSERT_TRUE(roster->has_policies);
	CU_ASSERT_EQUAL_FATAL(roster->policy->len, G_N_ELEMENTS(expected));
	for (guint i = 0; i < G_N_ELEMENTS(expected); i++) {
		const struct roster_policy *policy = &g_array_index(roster->policy, struct roster_policy, i);
		g_autoptr(GString) shown = g_string_new(policy->name);
		g_autofree char *sources = join(policy->sources), *destinations = join(policy->destinations);
		g_string_append_printf(shown, " %u", policy->protocol);
		for (size_t n = 0; n < policy->n_ports; n++)
			g_string_append_printf(shown, " %u-%u", policy->ports[n].first, policy->ports[n].last);
		g_string_append_printf(shown, " from %s to %s%s", sources, destinations, policy->bidirectional ? " both" : "");
		CU_ASSERT_STRING_EQUAL(shown->str, expected[i]);
	}
}

/* A rule that is not understood could be the one that lets a flow pass: then no policy is named at all. */
static void
test_unclear(void)
{
	static const char *const rules[] = {
		"{\"action\":\"accept\",\"protocol\":\"quic\"}", "{\"action\":\"accept\"}", "{\"protocol\":\"tcp\"}", "null",
		"{\"action\":\"accept\",\"protocol\":\"tcp\",\"ports\":[\"http\"]}",
		"{\"action\":\"accept\",\"protocol\":\"tcp\",\"ports\":[-1]}",
		"{\"action\":\"accept\",\"protocol\":\"tcp\",\"ports\":[1e99]}",
		"{\"action\":\"accept\",\"protocol\":\"tcp\",\"port_ranges\":[{\"start\":9,\"end\":8}]}",
		"{\"action\":\"accept\",\"protocol\":\"tcp\",\"port_ranges\":[{\"start\":9,\"end\":65536}]}",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(rules); i++) {
		g_autofree char *policy = g_strdup_printf("{\"name\":\"p\",\"rules\":[%s]}", rules[i]);
		const char *const list[ACCOUNT_LISTS] = { [ACCOUNT_POLICIES] = policy };
		g_autoptr(roster_t) roster = roster_of(list);
		CU_ASSERT_FALSE(roster->has_policies);
	}
}

/* Every list may be missing; what the others tell stays. */
static void
test_missing(void)
{
	for (unsigned left_out = 0; left_out < ACCOUNT_LISTS; left_out++) {
		const char *list[ACCOUNT_LISTS];
		memcpy(list, whole, sizeof list);
		list[left_out] = NULL;
		g_autoptr(roster_t) roster = roster_of(list);
		CU_ASSERT_EQUAL(roster->has_policies, left_out != ACCOUNT_POLICIES);
		if (left_out == ACCOUNT_USERS)
			expect(roster, "100.90.0.7", "alice-laptop|d2laptop|google-oauth2|277474792786460067937|All, engineers|-|-|-|"
			                             "d2laptop,gall,geng");
		if (left_out == ACCOUNT_PEERS || left_out == ACCOUNT_ROUTERS)
			expect(roster, "10.20.0.0/24", "-|-|-|-|-|lan|site-a|res2");
		if (left_out == ACCOUNT_NETWORKS)
			expect(roster, "10.20.0.0/24", "-|-|-|-|-|lan|-|res2");
	}
}

static void
test_count(void)
{
	static const unsigned expected[ACCOUNT_LISTS] = { 3, 5, 4, 5, 6, 6, 5 };
	g_autoptr(account_t) account = account_new();

	for (unsigned i = 0; i < ACCOUNT_LISTS; i++) {
		read_list(account, i, whole[i]);
		CU_ASSERT_EQUAL(account_count(account, i), expected[i]);
	}
}

static CU_TestInfo tests[] = {
	{ "peers", test_peers },
	{ "resources", test_resources },
	{ "routes", test_routes },
	{ "policies", test_policies },
	{ "unclear policies", test_unclear },
	{ "missing lists", test_missing },
	{ "count", test_count },
	CU_TEST_INFO_NULL,
};

int
main(void)
{
	return run_suite("account", tests);
}
