/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Peers files: what they say, and what is refused in which words. */

#include "enrich/peers.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "suite.h"

static struct roster *
parse(const char *text, GError **error)
{
	return peers_parse("file", text, strlen(text), error);
}

static const struct roster_entry *
entry_of(const struct roster *roster, unsigned i)
{
	CU_ASSERT_TRUE_FATAL(i < roster->entry->len);
	return &g_array_index(roster->entry, struct roster_entry, i);
}

/* ---- tests ---- */

static void
test_two_columns(void)
{
	static const char text[] = "# a mesh\n100.90.0.7 alice\n10.20.0.0/24  site A\r\n"
	                           "\t10.20.0.128/25\tsite A, cellar # below\n0.0.0.0/0 anywhere\n\n"
	                           "fd12:3456:789a:1::7 alice=1 \"x\"\n::/0 any6";
	static const struct {
		unsigned family, length;
		enum identity_word word;
		const char *name;
	} expected[] = {
		{ 4, 32, WORD_PEER, "alice" }, { 4, 24, WORD_VIA, "site A" }, { 4, 25, WORD_VIA, "site A, cellar" },
		{ 4, 0, WORD_VIA, "anywhere" }, { 6, 128, WORD_PEER, "alice=1 \"x\"" }, { 6, 0, WORD_VIA, "any6" },
	};
	g_autoptr(roster_t) roster = parse(text, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(roster);
	CU_ASSERT_EQUAL_FATAL(roster->entry->len, G_N_ELEMENTS(expected));
	for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++) {
		const struct roster_entry *entry = entry_of(roster, i);
		CU_ASSERT_TRUE(entry->prefix.family == expected[i].family && entry->prefix.length == expected[i].length);
		for (unsigned word = 0; word < WORDS; word++)
			CU_ASSERT_EQUAL(g_strcmp0(entry->word[word], word == expected[i].word ? expected[i].name : NULL), 0);
	}
}

static void
test_more_columns(void)
{
	static const char text[] = "100.90.0.7 alice laptop id=d2l7 user=alice@example.org groups=engineers,All # hers\n"
	                           "100.90.0.8\tbob\tuser=\"Bob # \xc3\x96l\"\tgroups=\" a b ,, c\"\n"
	                           "10.20.0.0/24 site-a groups=sites id=s\n100.90.0.9 carol identity=x user=u\n"
	                           "100.90.0.10 dave users=1\n";
	static const char *const expected[][WORDS] = {
		{ [WORD_PEER] = "alice laptop", [WORD_PEER_ID] = "d2l7", [WORD_USER] = "alice@example.org",
		  [WORD_GROUPS] = "engineers, All" },
		{ [WORD_PEER] = "bob", [WORD_USER] = "Bob # \xc3\x96l", [WORD_GROUPS] = "a b, c" },
		{ [WORD_VIA] = "site-a", [WORD_PEER_ID] = "s", [WORD_GROUPS] = "sites" },
		{ [WORD_PEER] = "carol identity=x", [WORD_USER] = "u" },
		{ [WORD_PEER] = "dave users=1" },
	};
	g_autoptr(roster_t) roster = parse(text, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(roster);
	for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++)
		for (unsigned word = 0; word < WORDS; word++)
			CU_ASSERT_EQUAL(g_strcmp0(entry_of(roster, i)->word[word], expected[i][word]), 0);
}

static void
test_empty(void)
{
	static const char *const empty[] = { "", "\n", "# nobody\n", "   \n\t\n" };

	for (size_t i = 0; i < G_N_ELEMENTS(empty); i++) {
		g_autoptr(roster_t) roster = parse(empty[i], NULL);
		CU_ASSERT_PTR_NOT_NULL_FATAL(roster);
		CU_ASSERT_EQUAL(roster->entry->len, 0);
	}
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
	{ "192.0.2.1 id=7\n", "file:1: 192.0.2.1 has no name behind it" },
	{ "192.0.2.1 a id=7 b\n", "file:1: b stands behind key=value and is none of id= user= groups=" },
	{ "192.0.2.1 a id=7 b\tid=8 c\n", "file:1: b stands behind key=value and is none of id= user= groups=" },
	{ "192.0.2.1 a id=7 role=x\n", "file:1: role=x stands behind key=value and is none of id= user= groups=" },
	{ "192.0.2.1 a id=7 user=b id=8\n", "file:1: id= stands twice" },
	{ "192.0.2.1 a id=\n", "file:1: id= has nothing behind it" },
	{ "192.0.2.1 a groups=,\n", "file:1: groups= has nothing behind it" },
	{ "192.0.2.1 a user=\"b c\n", "file:1: user= has a quote that does not end" },
	{ "192.0.2.1 a user=\"b\"c\n", "file:1: user= has a quote that does not end" },
	{ "192.0.2.1 a id=7 \x1b[2J\n", "file:1: the line holds a control character" },
	{ "192.0.2.1 a user=\"b\tc\"\n", "file:1: the line holds a control character" },
	{ "192.0.2.1 a id=" N255 "n\n", "file:1: id= has more than 255 octets behind it" },
	{ "192.0.2.1 a\n#\n192.0.2.1/32 b\n", "file:3: 192.0.2.1/32 has a name already in line 1: a" },
	{ "::/0 a\n2001:db8::/32 a\n2001:db8:0::/32 a\n", "file:3: 2001:db8::/32 has a name already in line 2: a" },
};

static void
test_refused(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
		g_autoptr(GError) error = NULL;
		g_autoptr(roster_t) peers = parse(refused[i].text, &error);
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
	static const char *const expected[] = { N255, "\xf0\x9f\x90\xa7 J\xc3\xbcrgen", "same", "same", "-" };
	g_autoptr(roster_t) roster = parse("192.0.2.1 " N255 "\n192.0.2.2 \xf0\x9f\x90\xa7 J\xc3\xbcrgen\n"
	                                   "192.0.2.3 same\n192.0.2.4 same\n192.0.2.5 -\n", NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(roster);
	for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++)
		CU_ASSERT_STRING_EQUAL(entry_of(roster, i)->word[WORD_PEER], expected[i]);
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
	g_autoptr(roster_t) roster = peers_load(path, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(roster);
	CU_ASSERT_STRING_EQUAL(entry_of(roster, 0)->word[WORD_PEER], "alice");
	CU_ASSERT_FATAL(write(fd, "bob\n", 4) == 4);
	close(fd);
	CU_ASSERT_PTR_NULL(peers_load(path, &bad));
	unlink(path);
	g_autofree char *begin = g_strdup_printf("%s:2: bob is no address", path);
	CU_ASSERT_TRUE(g_str_has_prefix(bad->message, begin));
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "two columns", test_two_columns },
		{ "more columns", test_more_columns },
		{ "nobody", test_empty },
		{ "every refusal in its words", test_refused },
		{ "a NUL octet", test_nul },
		{ "names", test_names },
		{ "files", test_files },
		CU_TEST_INFO_NULL,
	};

	return run_suite("peers", tests);
}
