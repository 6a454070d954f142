/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a source says, whatever it says: texts that may go anywhere, prefixes whole. */

#include "enrich/roster.h"

#include <arpa/inet.h>
#include <string.h>

#include "suite.h"

static struct roster_prefix
prefix_of(const char *text)
{
	struct roster_prefix prefix;

	CU_ASSERT_TRUE_FATAL(roster_prefix_parse(text, &prefix));
	return prefix;
}

static const struct roster_entry *
entry_of(const struct roster *roster, unsigned i)
{
	CU_ASSERT_TRUE_FATAL(i < roster->entry->len);
	return &g_array_index(roster->entry, struct roster_entry, i);
}

static void
test_prefixes(void)
{
	static const struct {
		const char *text;
		unsigned family, length;    /* family zero: none */
	} expected[] = {
		{ "100.90.0.7", 4, 32 }, { "100.90.0.1/16", 4, 16 }, { "0.0.0.0/0", 4, 0 }, { "fd12::7", 6, 128 },
		{ "fd12::1/64", 6, 64 }, { "::/0", 6, 0 }, { "::ffff:192.0.2.1", 6, 128 },
		{ "", 0, 0 }, { "crm.example.com", 0, 0 }, { "192.0.2.1/33", 0, 0 }, { "192.0.2.1/", 0, 0 }, { "/24", 0, 0 },
		{ "fd12::1/129", 0, 0 }, { "192.0.2.1/24/24", 0, 0 }, { "192.0.2.1 ", 0, 0 }, { "192.0.2.1/+1", 0, 0 },
		{ "0.0.0.0/0, ::/0", 0, 0 }, { "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb", 0, 0 },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
		struct roster_prefix prefix;
		const bool good = roster_prefix_parse(expected[i].text, &prefix);
		CU_ASSERT_EQUAL(good, expected[i].family != 0);
		if (good)
			CU_ASSERT_TRUE(prefix.family == expected[i].family && prefix.length == expected[i].length);
	}
	const struct roster_prefix mesh = prefix_of("100.90.0.1/16"), in = prefix_of("100.90.255.9");
	const struct roster_prefix out = prefix_of("100.91.0.0"), six = prefix_of("645a::");
	CU_ASSERT_TRUE(roster_prefix_holds(&mesh, 4, &in.address));
	CU_ASSERT_FALSE(roster_prefix_holds(&mesh, 4, &out.address));
	CU_ASSERT_FALSE(roster_prefix_holds(&mesh, 6, &six.address));
}

static void
test_entries(void)
{
	g_autoptr(roster_t) roster = roster_new();
	const struct roster_prefix host = prefix_of("10.20.0.20/24");
	const char *const words[WORDS] = { [WORD_RESOURCE] = "crm-db", [WORD_NETWORK] = "" };
	const char *const tags[] = { "g1", "", "r1", NULL }, *const none[] = { "", NULL };

	roster_add(roster, &host, words, tags);
	roster_add(roster, &host, words, none);
	roster_add_word(roster, &host, WORD_VIA, "site-a");
	const struct roster_entry *entry = entry_of(roster, 0);
	const struct roster_prefix whole = prefix_of("10.20.0.0/24");
	CU_ASSERT_EQUAL(memcmp(&entry->prefix.address, &whole.address, sizeof whole.address), 0);
	CU_ASSERT_STRING_EQUAL(entry->word[WORD_RESOURCE], "crm-db");
	CU_ASSERT_PTR_NULL(entry->word[WORD_NETWORK]);
	CU_ASSERT_PTR_NULL(entry->word[WORD_PEER]);
	CU_ASSERT_TRUE(strcmp(entry->tags[0], "g1") == 0 && strcmp(entry->tags[1], "r1") == 0 && !entry->tags[2]);
	CU_ASSERT_PTR_NULL(entry_of(roster, 1)->tags);
	CU_ASSERT_STRING_EQUAL(entry_of(roster, 2)->word[WORD_VIA], "site-a");
}

/* Whatever a server says may end up on a terminal. */
static void
test_texts(void)
{
	static const struct {
		const char *said, *kept;
	} expected[] = {
		{ "alice", "alice" }, { "J\xc3\xbcrgen \xf0\x9f\x90\xa7", "J\xc3\xbcrgen \xf0\x9f\x90\xa7" }, { "  a b\t", "a b" },
		{ "al\x1b[31mice", "al[31mice" }, { "al\xc2\x9b" "1mice", "al1mice" }, { "\xff", "\xef\xbf\xbd" },
		{ "a\nb", "ab" }, { "\x01\x02", NULL }, { "   ", NULL }, { "", NULL },
	};
	g_autoptr(roster_t) roster = roster_new();
	g_autofree char *wide = g_strnfill(400, 'n');

	for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
		roster_set_own_name(roster, expected[i].said);
		CU_ASSERT_EQUAL(g_strcmp0(roster->own_name, expected[i].kept), 0);
	}
	memcpy(wide + 253, "\xe2\x82\xac", 3);
	roster_set_state(roster, wide);
	CU_ASSERT_EQUAL(strlen(roster->state), 253);
	wide[254] = '\xff';
	roster_set_state(roster, wide);
	CU_ASSERT_TRUE(strlen(roster->state) <= ROSTER_TEXT && g_utf8_validate(roster->state, -1, NULL));
}

static void
test_others(void)
{
	g_autoptr(roster_t) roster = roster_new();
	const struct roster_prefix own = prefix_of("100.90.0.1/16"), site = prefix_of("10.30.0.9/24");
	const struct roster_prefix gateway = prefix_of("100.90.0.2");
	const char *words[WORDS] = { [WORD_RESOURCE] = "crm" }, *tags[] = { "g1", NULL };
	struct roster_ports ports[] = { { 443, 443 }, { 8000, 8100 } };
	struct roster_policy policy = { .name = "eng-to-crm", .sources = tags, .ports = ports, .n_ports = 2 };

	CU_ASSERT_TRUE(roster->taken > 1600000000000u);
	roster_add_overlay(roster, &own);
	roster_add_served(roster, &site);
	roster_add_route(roster, &site, &gateway);
	roster_add_domain(roster, "crm.example.com", words, tags);
	roster_add_domain(roster, " ", words, tags);
	roster_add_policy(roster, &policy);
	memset(ports, 0, sizeof ports);
	const struct roster_prefix *overlay = &g_array_index(roster->overlay, struct roster_prefix, 0);
	CU_ASSERT_TRUE(overlay->address.v4[3] == 1 && overlay->length == 16);
	CU_ASSERT_EQUAL(g_array_index(roster->served, struct roster_prefix, 0).address.v4[3], 0);
	CU_ASSERT_EQUAL(g_array_index(roster->route, struct roster_route, 0).gateway.address.v4[3], 2);
	CU_ASSERT_EQUAL(roster->domain->len, 1);
	const struct roster_policy *kept = &g_array_index(roster->policy, struct roster_policy, 0);
	CU_ASSERT_TRUE(kept->ports[1].first == 8000 && kept->ports[1].last == 8100 && !kept->destinations);
	CU_ASSERT_STRING_EQUAL(kept->sources[0], "g1");
	roster_free(NULL);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "prefixes", test_prefixes },
		{ "entries", test_entries },
		{ "texts", test_texts },
		{ "what else there is", test_others },
		CU_TEST_INFO_NULL,
	};

	return run_suite("roster", tests);
}
