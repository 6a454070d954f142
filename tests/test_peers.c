/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Peers files: what is refused and in which words, the longest prefix against a search of all, and what it costs. */

#include "enrich/peers.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "suite.h"

static struct peers *
parse(const char *text, GError **error)
{
	return peers_parse("file", text, strlen(text), error);
}

static union address
address_of(const char *text)
{
	union address address = { .half = { 0, 0 } };

	CU_ASSERT_FATAL(inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, &address) == 1);
	return address;
}

static const char *
name_of(const struct peers *peers, const char *text)
{
	const union address address = address_of(text);
	const uint32_t id = peers_find(peers, strchr(text, ':') ? 6 : 4, &address);

	CU_ASSERT_TRUE_FATAL(id < peers_names(peers)->count);
	CU_ASSERT_EQUAL(strlen(peers_names(peers)->name[id].text), peers_names(peers)->name[id].length);
	return peers_names(peers)->name[id].text;
}

/* ---- tests ---- */

static void
test_longest(void)
{
	static const char text[] = "# a mesh\n100.90.0.7 alice\n100.90.0.0/16 mesh\n10.20.0.0/24  site A\r\n"
	                           "\t10.20.0.128/25\tsite A, cellar # below\n0.0.0.0/0 anywhere\n\n"
	                           "fd12:3456::/32 mesh6\nfd12:3456:789a:1::7 alice\nfd12:3456:789a:1::6/127 pair\n::/0 any6\n"
	                           "128.0.0.0/1 upper";
	static const struct {
		const char *address, *name;
	} expected[] = {
		{ "100.90.0.7", "alice" }, { "100.90.0.8", "mesh" }, { "100.91.0.7", "anywhere" }, { "10.20.0.127", "site A" },
		{ "10.20.0.128", "site A, cellar" }, { "10.20.1.1", "anywhere" }, { "0.0.0.0", "anywhere" },
		{ "255.255.255.255", "upper" }, { "fd12:3456:789a:1::7", "alice" }, { "fd12:3456:789a:1::6", "pair" },
		{ "fd12:3456:789a:1::8", "mesh6" }, { "fd12:3457::", "any6" }, { "::", "any6" },
		/* An IPv4 address is not the IPv6 address with the same octets. */
		{ "645a:7::", "any6" },
	};
	g_autoptr(peers_t) peers = parse(text, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(peers);
	for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
		CU_ASSERT_STRING_EQUAL(name_of(peers, expected[i].address), expected[i].name);
		if (strcmp(name_of(peers, expected[i].address), expected[i].name) != 0)
			printf("\n    %s", expected[i].address);
	}
}

/* Nobody: entry 0, which is never empty. */
static void
test_unknown(void)
{
	static const char *const empty[] = { "", "\n", "# nobody\n", "   \n\t\n" };

	for (size_t i = 0; i < G_N_ELEMENTS(empty); i++) {
		g_autoptr(peers_t) peers = parse(empty[i], NULL);
		CU_ASSERT_PTR_NOT_NULL_FATAL(peers);
		CU_ASSERT_EQUAL(peers_names(peers)->count, 1);
		CU_ASSERT_STRING_EQUAL(name_of(peers, "192.0.2.1"), "-");
		CU_ASSERT_STRING_EQUAL(name_of(peers, "2001:db8::1"), "-");
	}
	g_autoptr(peers_t) peers = parse("192.0.2.1 a\n", NULL);
	CU_ASSERT_STRING_EQUAL(name_of(peers, "192.0.2.2"), "-");
	CU_ASSERT_STRING_EQUAL(name_of(peers, "c000:201::"), "-");
	peers_free(NULL);
}

#define N50 "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
#define N255 N50 N50 N50 N50 N50 "nnnnn"

static const struct {
	const char *text, *error;
} refused[] = {
	{ "alice\n", "file:1: alice is no address or prefix (with nothing set beyond its length)" },
	{ "192.0.2.1 a\n192.0.2 b\n", "file:2: 192.0.2 is no address or prefix (with nothing set beyond its length)" },
	{ "192.0.2.256 a", "file:1: 192.0.2.256 is no address or prefix (with nothing set beyond its length)" },
	{ "192.0.2.0/33 a", "file:1: 192.0.2.0/33 is no address or prefix (with nothing set beyond its length)" },
	{ "192.0.2.0/ a", "file:1: 192.0.2.0/ is no address or prefix (with nothing set beyond its length)" },
	{ "192.0.2.0/-1 a", "file:1: 192.0.2.0/-1 is no address or prefix (with nothing set beyond its length)" },
	{ "192.0.2.0/+24 a", "file:1: 192.0.2.0/+24 is no address or prefix (with nothing set beyond its length)" },
	{ "192.0.2.0/24/24 a", "file:1: 192.0.2.0/24/24 is no address or prefix (with nothing set beyond its length)" },
	{ "192.0.2.0/0x18 a", "file:1: 192.0.2.0/0x18 is no address or prefix (with nothing set beyond its length)" },
	{ "192.0.2.0/4294967320 a",
	  "file:1: 192.0.2.0/4294967320 is no address or prefix (with nothing set beyond its length)" },
	{ "192.0.2.1/24 a", "file:1: 192.0.2.1/24 is no address or prefix (with nothing set beyond its length)" },
	{ "192.0.2.1/0 a", "file:1: 192.0.2.1/0 is no address or prefix (with nothing set beyond its length)" },
	{ "2001:db8::1/127 a", "file:1: 2001:db8::1/127 is no address or prefix (with nothing set beyond its length)" },
	{ "2001:db8::/129 a", "file:1: 2001:db8::/129 is no address or prefix (with nothing set beyond its length)" },
	{ "2001:db8::/28 a", "file:1: 2001:db8::/28 is no address or prefix (with nothing set beyond its length)" },
	{ "fe80::1%lo a", "file:1: fe80::1%lo is no address or prefix (with nothing set beyond its length)" },
	{ "/24 a", "file:1: /24 is no address or prefix (with nothing set beyond its length)" },
	{ "192.0.2.1\n", "file:1: 192.0.2.1 has no name behind it" },
	{ "192.0.2.1   \t # alice\n", "file:1: 192.0.2.1 has no name behind it" },
	{ "192.0.2.1 " N255 "n\n", "file:1: 192.0.2.1 has a name of more than 255 octets" },
	{ "\n192.0.2.1 al\xffice\n", "file:2: the line holds octets that are not UTF-8" },
	{ "192.0.2.1 al\x1b[31mice\n", "file:1: the line holds a control character" },
	{ "192.0.2.1 al\tice\n", "file:1: the line holds a control character" },
	{ "192.0.2.1\x1b a\n", "file:1: the line holds a control character" },
	{ "192.0.2.1 \xc2\x9b" "31m\n", "file:1: the line holds a control character" },
	{ "192.0.2.1 a\n#\n192.0.2.1/32 b\n", "file:3: 192.0.2.1/32 has a name already in line 1: a" },
	{ "::/0 a\n2001:db8::/32 a\n2001:db8:0::/32 a\n", "file:3: 2001:db8::/32 has a name already in line 2: a" },
};

static void
test_refused(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
		g_autoptr(GError) error = NULL;
		g_autoptr(peers_t) peers = parse(refused[i].text, &error);
		CU_ASSERT_PTR_NULL(peers);
		CU_ASSERT_PTR_NOT_NULL_FATAL(error);
		CU_ASSERT_TRUE(g_error_matches(error, PEERFLOW_ERROR, EX_CONFIG));
		CU_ASSERT_STRING_EQUAL(error->message, refused[i].error);
		if (strcmp(error->message, refused[i].error) != 0)
			printf("\n    %s\n    %s", refused[i].error, error->message);
	}
}

static void
test_nul(void)
{
	static const char text[] = "192.0.2.1 a\n192.0.2.2 b\0c\n";
	g_autoptr(GError) error = NULL;

	CU_ASSERT_PTR_NULL(peers_parse("file", text, sizeof text - 1, &error));
	CU_ASSERT_STRING_EQUAL(error->message, "file:2: the line holds a NUL octet");
}

static void
test_names(void)
{
	g_autoptr(peers_t) peers = parse("192.0.2.1 " N255 "\n192.0.2.2 \xf0\x9f\x90\xa7 J\xc3\xbcrgen\n"
	                                 "192.0.2.3 same\n192.0.2.4 same\n192.0.2.5 -\n", NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(peers);
	CU_ASSERT_STRING_EQUAL(name_of(peers, "192.0.2.1"), N255);
	CU_ASSERT_STRING_EQUAL(name_of(peers, "192.0.2.2"), "\xf0\x9f\x90\xa7 J\xc3\xbcrgen");
	CU_ASSERT_STRING_EQUAL(name_of(peers, "192.0.2.3"), "same");
	CU_ASSERT_STRING_EQUAL(name_of(peers, "192.0.2.4"), "same");
	CU_ASSERT_STRING_EQUAL(name_of(peers, "192.0.2.5"), "-");
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
	union address address = { .half = { 0, 0 } };

	/* Few different octets, so that prefixes lie inside one another. */
	for (unsigned i = 0; i < (family == 6 ? 16 : 4); i++)
		address.v6[i] = g_rand_int_range(random, 0, 8) ? 0 : g_rand_int_range(random, 0, 256);
	return address;
}

static void
test_model(void)
{
	g_autoptr(GRand) random = g_rand_new_with_seed(3);
	g_autoptr(GString) text = g_string_new(NULL);
	static struct model model[600];
	unsigned n = 0, wrong = 0, found = 0;

	for (unsigned i = 0; i < 600; i++) {
		struct model one = { .family = i % 2 ? 4 : 6 };
		bool twice = false;
		char host[64];
		one.length = g_rand_int_range(random, 0, one.family == 6 ? 129 : 33);
		one.address = any_address(random, one.family);
		for (unsigned bit = one.length; bit < 128; bit++)
			one.address.v6[bit / 8] &= ~(0x80 >> bit % 8);
		for (unsigned j = 0; j < n; j++)
			twice = twice || memcmp(&model[j], &one, sizeof one) == 0;
		if (twice)
			continue;
		model[n++] = one;
		inet_ntop(one.family == 6 ? AF_INET6 : AF_INET, &one.address, host, sizeof host);
		g_string_append_printf(text, "%s/%u %u\n", host, one.length, n - 1);
	}
	g_autoptr(peers_t) peers = parse(text->str, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(peers);
	for (unsigned i = 0; i < 20000; i++) {
		const unsigned family = i % 2 ? 4 : 6;
		const union address address = any_address(random, family);
		const struct model *best = NULL;
		for (unsigned j = 0; j < n; j++)
			if (model[j].family == family && inside(&address, &model[j]) && (!best || model[j].length > best->length))
				best = &model[j];
		const uint32_t id = peers_find(peers, family, &address);
		g_autofree char *name = best ? g_strdup_printf("%u", (unsigned)(best - model)) : g_strdup("-");
		wrong += strcmp(peers_names(peers)->name[id].text, name) != 0;
		found += best != NULL;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_TRUE(found > 1000);
}

static void
test_files(void)
{
	char path[] = "/tmp/peerflow-peers-XXXXXX";
	static const char text[] = "192.0.2.1 alice\n";
	g_autoptr(GError) missing = NULL, bad = NULL;
	const int fd = mkstemp(path);

	CU_ASSERT_PTR_NULL(peers_load("/nonexistent/peers", &missing));
	CU_ASSERT_TRUE(g_error_matches(missing, PEERFLOW_ERROR, EX_CONFIG));
	CU_ASSERT_TRUE(g_str_has_prefix(missing->message, "peers-file: ") && strstr(missing->message, "/nonexistent/peers"));
	CU_ASSERT_FATAL(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	g_autoptr(peers_t) peers = peers_load(path, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(peers);
	CU_ASSERT_STRING_EQUAL(name_of(peers, "192.0.2.1"), "alice");
	CU_ASSERT_FATAL(write(fd, "bob\n", 4) == 4);
	close(fd);
	CU_ASSERT_PTR_NULL(peers_load(path, &bad));
	unlink(path);
	g_autofree char *begin = g_strdup_printf("%s:2: bob is no address", path);
	CU_ASSERT_TRUE(g_str_has_prefix(bad->message, begin));
}

/* A hundred thousand peers of one mesh and the networks behind them. */
static void
test_cost(void)
{
	enum { PEERS = 100000, LOOK_UPS = 500000 };
	g_autoptr(GString) text = g_string_new("100.64.0.0/10 mesh\nfd00::/8 mesh6\n");
	uint32_t sum = 0;

	for (unsigned i = 0; i < PEERS; i++)
		g_string_append_printf(text, "100.%u.%u.%u/32 peer-%u\n", 64 + i / 65536, i / 256 % 256, i % 256, i);
	const gint64 begun = g_get_monotonic_time();
	g_autoptr(peers_t) peers = parse(text->str, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(peers);
	const gint64 read = g_get_monotonic_time();
	for (unsigned i = 0; i < LOOK_UPS; i++) {
		const uint32_t number = i * 2654435761u;
		const union address address = { .v4 = { 100, 64 + (number >> 16) % 4, number >> 8, number } };
		sum += peers_find(peers, 4, &address) > 1;
	}
	const gint64 done = g_get_monotonic_time();
	CU_ASSERT_EQUAL(peers_names(peers)->count, PEERS + 3);
	CU_ASSERT_TRUE(sum > LOOK_UPS / 4);
	printf("%d peers read in %.0f ms, one found in %.0f ns ", PEERS, (read - begun) / 1e3, (done - read) * 1e3 / LOOK_UPS);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "the longest prefix", test_longest },
		{ "nobody", test_unknown },
		{ "every refusal in its words", test_refused },
		{ "a NUL octet", test_nul },
		{ "names", test_names },
		{ "at random against a search of all", test_model },
		{ "files", test_files },
		{ "what it costs", test_cost },
		CU_TEST_INFO_NULL,
	};

	return run_suite("peers", tests);
}
