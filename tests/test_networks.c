/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whose an address is, and in which words the selection of flows is told. */

#include "enrich/networks.h"

#include <stdio.h>

#include "directories.h"

static struct own_address
own(const char *text, uint32_t interface)
{
	return (struct own_address){ prefix_of(text), interface };
}

static void
test_addresses(void)
{
	g_autoptr(history_t) history = history_new(0);
	g_autoptr(roster_t) netbird = roster_new();
	const struct directory_input input = { .history = history, .roster = { [ROSTER_NETBIRD] = netbird } };
	const struct roster_prefix overlay = prefix_of("100.90.0.1/16");
	const struct own_address addresses[] = { own("10.20.0.1/24", 2), own("172.16.5.1/30", 7), own("fd12::1/64", 7) };
	static const struct {
		const char *address;
		bool own, overlay, holds;
	} expected[] = {
		{ "100.90.0.1", false, true, true }, { "100.90.255.255", false, false, true }, { "100.91.0.0", false, false, false },
		{ "10.20.0.1", true, false, false }, { "10.20.0.2", false, false, false }, { "172.16.5.1", true, true, true },
		{ "172.16.5.2", false, false, true }, { "172.16.5.4", false, false, false }, { "fd12::1", true, true, true },
		{ "fd12::ffff:0:0:0", false, false, true }, { "fd12:0:0:1::", false, false, false },
		{ "6440:1::", false, false, false },
	};

	roster_add_overlay(netbird, &overlay);
	g_autoptr(directory_t) directory = directory_new(&input);
	g_autoptr(networks_t) networks = networks_new(7, addresses, G_N_ELEMENTS(addresses), directory);
	CU_ASSERT_EQUAL(networks_interface(networks), 7);
	for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
		const struct roster_prefix one = prefix_of(expected[i].address);
		CU_ASSERT_EQUAL(networks_is_own(networks, one.family, &one.address), expected[i].own);
		CU_ASSERT_EQUAL(networks_is_own_overlay(networks, one.family, &one.address), expected[i].overlay);
		CU_ASSERT_EQUAL(networks_holds(networks, one.family, &one.address), expected[i].holds);
	}
	networks_free(NULL);
}

/* More addresses than anyone has; more networks than are looked at. */
static void
test_many(void)
{
	struct own_address addresses[5000];
	unsigned found = 0;

	for (unsigned i = 0; i < G_N_ELEMENTS(addresses); i++) {
		addresses[i] = own("10.0.0.1/24", i % 2 ? 7 : 2);
		addresses[i].prefix.address.v4[1] = i >> 8;
		addresses[i].prefix.address.v4[2] = i;
	}
	g_autoptr(networks_t) networks = networks_new(7, addresses, G_N_ELEMENTS(addresses), NULL);
	for (unsigned i = 0; i < G_N_ELEMENTS(addresses); i++) {
		union address other = addresses[i].prefix.address;
		other.v4[3] = 2;
		found += networks_is_own(networks, 4, &addresses[i].prefix.address);
		CU_ASSERT_FALSE(networks_is_own(networks, 4, &other));
	}
	CU_ASSERT_EQUAL(found, G_N_ELEMENTS(addresses));
}

static void
expect_sentence(const struct networks *networks, const char *expected)
{
	g_autofree char *sentence = networks_sentence(networks, "wt0");

	CU_ASSERT_STRING_EQUAL(sentence, expected);
	if (strcmp(sentence, expected) != 0)
		printf("\n    %s", sentence);
}

static void
test_sentences(void)
{
	struct own_address addresses[12] = { own("100.90.0.1/16", 7), own("fd12::1/64", 7), own("fe80::1/64", 7),
	                                      own("169.254.3.1/16", 7), own("10.0.0.1/8", 2) };
	g_autoptr(directory_t) directory = directory_of("10.20.0.0/24 site\n");
	g_autoptr(networks_t) none = networks_new(0, addresses, 5, NULL), link = networks_new(7, NULL, 0, NULL);
	g_autoptr(networks_t) names = networks_new(0, NULL, 0, directory), all = networks_new(7, addresses, 5, directory);

	CU_ASSERT_FALSE(networks_have_mesh(none));
	CU_ASSERT_TRUE(networks_have_mesh(link) && networks_have_mesh(names) && networks_have_mesh(all));
	expect_sentence(none, "flows = mesh finds no mesh yet (no interface wt0, no NetBird, no peers): all flows are "
	                "reported");
	expect_sentence(link, "flows = mesh selects flows with a mark of NetBird's, through wt0");
	expect_sentence(names, "flows = mesh selects flows with a mark of NetBird's, or with an end that is a known peer or "
	                "lies behind one");
	expect_sentence(all, "flows = mesh selects flows with a mark of NetBird's, through wt0, with an end in 100.90.0.0/16, "
	                "fd12::/64, or with an end that is a known peer or lies behind one");
	for (unsigned i = 0; i < 12; i++) {
		addresses[i] = own("10.0.0.1/24", 7);
		addresses[i].prefix.address.v4[2] = i;
	}
	g_autoptr(networks_t) many = networks_new(7, addresses, 12, NULL);
	g_autofree char *sentence = networks_sentence(many, "wt0");
	CU_ASSERT_TRUE(g_str_has_suffix(sentence, "10.0.6.0/24, 10.0.7.0/24 and 4 more"));
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "whose an address is", test_addresses },
		{ "many addresses", test_many },
		{ "what is selected, in words", test_sentences },
		CU_TEST_INFO_NULL,
	};

	return run_suite("networks", tests);
}
