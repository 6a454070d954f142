/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <arpa/inet.h>
#include <string.h>

#include "enrich/netbird.h"
#include "error.h"
#include "suite.h"

static const char *const word_names[WORDS] = {
	"peer", "id", "user", "groups", "via", "resource", "network", "domain",
};

static void
print_prefix(GString *out, const struct roster_prefix *prefix)
{
	char host[INET6_ADDRSTRLEN];

	inet_ntop(prefix->family == 6 ? AF_INET6 : AF_INET, &prefix->address, host, sizeof host);
	g_string_append_printf(out, "%s/%u", host, prefix->length);
}

static void
print_prefixes(GString *out, const char *what, const GArray *prefixes)
{
	for (guint i = 0; i < prefixes->len; i++) {
		g_string_append(out, what);
		print_prefix(out, &g_array_index(prefixes, struct roster_prefix, i));
		g_string_append_c(out, '\n');
	}
}

static void
print_words(GString *out, const char *const word[WORDS])
{
	for (unsigned i = 0; i < WORDS; i++)
		if (word[i])
			g_string_append_printf(out, " %s=%s", word_names[i], word[i]);
	g_string_append_c(out, '\n');
}

/* A line for everything that the answer says. */
static void
print_news(GString *out, const struct news *news)
{
	static const char *const kernel[] = { "unknown", "yes", "no" };
	const struct roster *roster = news->roster;

	for (guint i = 0; i < roster->entry->len; i++) {
		const struct roster_entry *entry = &g_array_index(roster->entry, struct roster_entry, i);
		print_prefix(out, &entry->prefix);
		print_words(out, entry->word);
	}
	for (guint i = 0; i < roster->domain->len; i++) {
		const struct roster_domain *domain = &g_array_index(roster->domain, struct roster_domain, i);
		g_string_append_printf(out, "domain %s", domain->domain);
		print_words(out, domain->word);
	}
	print_prefixes(out, "overlay ", roster->overlay);
	print_prefixes(out, "served ", roster->served);
	g_string_append_printf(out, "own %s, kernel %s, state %s, revision %" G_GUINT64_FORMAT ", %u of %u, %u bad;\n",
	                       roster->own_name, kernel[roster->kernel], roster->state, news->revision, news->connected,
	                       news->peers, news->unreadable);
}

static bool
on_news(struct news *news, void *data, GError **error)
{
	(void)error;
	print_news(data, news);
	news_free(news);
	return true;
}

/* All that the answers say, and the error if there is one. */
static char *
read_pieces(enum netbird_answer answer, const char *text, size_t size, size_t piece)
{
	g_autoptr(GString) out = g_string_new(NULL);
	g_autoptr(netbird_t) reader = netbird_new(answer, on_news, out);
	g_autoptr(GError) error = NULL;

	for (size_t at = 0; at < size && !error; at += piece)
		netbird_feed(reader, text + at, MIN(piece, size - at), &error);
	if (error)
		g_string_append(out, error->message);
	else if (netbird_is_inside(reader))
		g_string_append(out, "...");
	return g_strdup(out->str);
}

static char *
read_status(const char *text)
{
	return read_pieces(NETBIRD_STATUS, text, strlen(text), SIZE_MAX / 2);
}

static char *
corpus(const char *name)
{
	g_autofree char *path = g_strconcat(SOURCE_DIR "/tests/corpus/netbird/", name, NULL);
	char *text;

	CU_ASSERT_TRUE_FATAL(g_file_get_contents(path, &text, NULL, NULL));
	return text;
}

#define ROUTER \
	"100.90.0.2/32 peer=site-b-router\n" \
	"fd12:3456:789a:1::2/128 peer=site-b-router\n" \
	"10.30.0.0/24 via=site-b-router\n"
#define ALICE "100.90.0.7/32 peer=alice-laptop\n"
#define OWN \
	"100.90.0.1/32 peer=site-a-router\n" \
	"fd12:3456:789a:1::1/128 peer=site-a-router\n" \
	"overlay 100.90.0.1/16\n" \
	"overlay fd12:3456:789a:1::1/64\n" \
	"served 10.20.0.0/24\n" \
	"own site-a-router, kernel yes, state Connected, revision "
#define GATEWAY ROUTER OWN "7, 1 of 1, 0 bad;\n"

/* The three ways say the same of the same mesh, however the octets come. */
static void
test_formats(void)
{
	static const struct { const char *file; const char *expected; } formats[] = {
		{ "status-command.json", ROUTER ALICE OWN "0, 1 of 2, 0 bad;\n" },
		{ "status-gateway.json", GATEWAY },
		{ "status-stream.json", GATEWAY },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
		g_autofree char *text = corpus(formats[i].file);
		for (size_t piece = 1; piece < 4000; piece = piece * 2 + 1) {
			g_autofree char *said = read_pieces(NETBIRD_STATUS, text, strlen(text), piece);
			CU_ASSERT_STRING_EQUAL(said, formats[i].expected);
			if (strcmp(said, formats[i].expected) != 0)
				printf("\n%s in pieces of %zu: %s", formats[i].file, piece, said);
		}
	}
}

static void
test_stream(void)
{
	g_autofree char *frame = corpus("status-stream.json");
	static const char end[] = "{\"error\":{\"code\":14,\"message\":\"going down\"}}";
	g_autofree char *text = g_strconcat(frame, "\n", frame, end, NULL);

	for (size_t piece = 1; piece < 8000; piece = piece * 3) {
		g_autofree char *said = read_pieces(NETBIRD_STATUS, text, strlen(text), piece);
		CU_ASSERT_STRING_EQUAL(said, GATEWAY GATEWAY "NetBird refuses: going down");
	}
}

static void
test_networks(void)
{
	static const char expected[] =
		"10.30.0.0/24 resource=site-b-subnet\n"
		"10.30.0.44/32 resource=crm domain=crm.example.com\n"
		"domain crm.example.com resource=crm\n"
		"own (null), kernel unknown, state (null), revision 0, 2 of 3, 0 bad;\n";
	g_autofree char *text = corpus("networks.json");

	for (size_t piece = 1; piece < 1000; piece = piece * 2 + 1) {
		g_autofree char *said = read_pieces(NETBIRD_NETWORKS, text, strlen(text), piece);
		CU_ASSERT_STRING_EQUAL(said, expected);
	}
}

struct example {
	const char *text;
	const char *expected;
};

#define NONE "own (null), kernel unknown, state "

static const struct example examples[] = {
	/* nothing that could be known */
	{ "{}", "JSON, but no answer of NetBird" },
	{ "[]", "JSON, but no answer of NetBird" },
	{ "{\"peers\":[1,2],\"fullStatus\":true}", "JSON, but no answer of NetBird" },
	{ "404 page not found\n", "JSON, but no answer of NetBird" },
	{ "{\"status\":\"NeedsLogin\",\"fullStatus\":null}", "NetBird is not connected: it says NeedsLogin" },
	{ "{\"peers\":{\"total\":0,\"connected\":0,\"details\":null},\"daemonStatus\":\"Idle\",\"netbirdIp\":\"\","
	  "\"fqdn\":\"\",\"networks\":null,\"usesKernelInterface\":false}", "NetBird is not connected: it says Idle" },
	{ "{\"error\":\"x\"}", "NetBird refuses: x" },
	{ "{\"error\":{}}", "NetBird refuses: without a word" },
	{ "{\"error\":null,\"status\":\"Connected\"}", "NetBird is not connected: it says Connected" },
	/* connected, and alone */
	{ "{\"status\":\"Connected\",\"fullStatus\":{\"localPeerState\":{\"IP\":\"100.90.0.1/16\"},\"peers\":[]}}",
	  "overlay 100.90.0.1/16\n" NONE "Connected, revision 0, 0 of 0, 0 bad;\n" },
	/* peers of whom little is known, or nonsense */
	{ "{\"fullStatus\":{\"peers\":[{\"IP\":\"100.90.0.9\",\"fqdn\":\"\"},{\"IP\":null,\"fqdn\":\"x.y\"},{},null,7,"
	  "\"p\",[]]}}",
	  NONE "(null), revision 0, 0 of 3, 0 bad;\n" },
	{ "{\"fullStatus\":{\"peers\":[{\"IP\":\"100.90.0.300\",\"fqdn\":\"x\"},{\"IP\":5,\"fqdn\":\"y\"},"
	  "{\"IP\":\"100.90.0.3\",\"fqdn\":6},{\"IP\":\"100.90.0.4\",\"fqdn\":\"z\",\"networks\":\"10.0.0.0/8\"},"
	  "{\"IP\":\"100.90.0.5\",\"fqdn\":\"u\",\"networks\":[7,null,\"\",\"a.b, c.d\",\"10.1.2.3/8\"]}]}}",
	  "100.90.0.4/32 peer=z\n100.90.0.5/32 peer=u\n10.0.0.0/8 via=u\n" NONE "(null), revision 0, 0 of 5, 0 bad;\n" },
	/* an element that is none does not take the others along */
	{ "{\"fullStatus\":{\"peers\":[{\"IP\":\"100.90.0.4\",\"fqdn\":nope},{\"IP\":\"100.90.0.5\",\"fqdn\":\"u\"}]}}",
	  "100.90.0.5/32 peer=u\n" NONE "(null), revision 0, 0 of 1, 1 bad;\n" },
	/* not UTF-8, a NUL, control characters, half a surrogate pair */
	{ "{\"fullStatus\":{\"peers\":[{\"IP\":\"100.90.0.4\",\"fqdn\":\"a\xff\xfe" "b\"},"
	  "{\"IP\":\"100.90.0.5\",\"fqdn\":\"c\\u0000d\"},{\"IP\":\"100.90.0.6\",\"fqdn\":\"\\u001b[1me\"},"
	  "{\"IP\":\"100.90.0.7\",\"fqdn\":\"\\ud83d\"}]}}",
	  "100.90.0.4/32 peer=a\xef\xbf\xbd\xef\xbf\xbd" "b\n100.90.0.5/32 peer=cd\n100.90.0.6/32 peer=[1me\n"
	  NONE "(null), revision 0, 0 of 3, 1 bad;\n" },
	/* the mesh's own domain goes, others stay */
	{ "{\"fullStatus\":{\"localPeerState\":{\"fqdn\":\"me.mesh.example\"},\"peers\":["
	  "{\"IP\":\"100.90.0.4\",\"fqdn\":\"a.mesh.example\"},{\"IP\":\"100.90.0.5\",\"fqdn\":\"b.mesh.example.\"},"
	  "{\"IP\":\"100.90.0.6\",\"fqdn\":\"c.other.example\"},{\"IP\":\"100.90.0.7\",\"fqdn\":\".mesh.example\"},"
	  "{\"IP\":\"100.90.0.8\",\"fqdn\":\"d.e.mesh.example\"}]}}",
	  "100.90.0.4/32 peer=a\n100.90.0.5/32 peer=b\n100.90.0.6/32 peer=c.other.example\n"
	  "100.90.0.7/32 peer=.mesh.example\n100.90.0.8/32 peer=d.e\n"
	  "own me, kernel unknown, state (null), revision 0, 0 of 5, 0 bad;\n" },
	/* both families of a default route in one text; routes, as older clients call them */
	{ "{\"peers\":{\"details\":[{\"netbirdIp\":\"100.90.0.4\",\"fqdn\":\"x\",\"routes\":[\"0.0.0.0/0, ::/0\"]}]},"
	  "\"routes\":[\"10.7.0.0/16\"]}",
	  "100.90.0.4/32 peer=x\n0.0.0.0/0 via=x\n::/0 via=x\nserved 10.7.0.0/16\n"
	  NONE "(null), revision 0, 0 of 1, 0 bad;\n" },
	/* 64 bits as a string and as a number, none, and too many */
	{ "{\"fullStatus\":{\"peers\":[{}],\"networksRevision\":\"18446744073709551615\"}}",
	  NONE "(null), revision 18446744073709551615, 0 of 1, 0 bad;\n" },
	{ "{\"fullStatus\":{\"peers\":[{}],\"networksRevision\":12}}", NONE "(null), revision 12, 0 of 1, 0 bad;\n" },
	{ "{\"fullStatus\":{\"peers\":[{}],\"networksRevision\":\"-1\"}}", NONE "(null), revision 0, 0 of 1, 0 bad;\n" },
	{ "{\"fullStatus\":{\"peers\":[{}],\"networksRevision\":99999999999999999999999}}",
	  NONE "(null), revision 0, 0 of 1, 0 bad;\n" },
	{ "{\"fullStatus\":{\"peers\":[{\"bytesRx\":1e999999,\"IP\":\"100.90.0.4\",\"fqdn\":\"x\"}]}}",
	  "JSON, but no answer of NetBird" },
	/* keys nobody knows yet */
	{ "{\"new\":[{\"a\":[[[]]]}],\"fullStatus\":{\"new\":{\"peers\":[1]},\"peers\":[{\"IP\":\"100.90.0.4\","
	  "\"fqdn\":\"x\",\"new\":{}}]}}", "100.90.0.4/32 peer=x\n" NONE "(null), revision 0, 0 of 1, 0 bad;\n" },
	/* no JSON */
	{ "<html>", "no JSON: a value is missing" },
	{ "{\"fullStatus\":{\"peers\":[{\"fqdn\":\"a", "..." },
};

static void
test_examples(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(examples); i++) {
		g_autofree char *said = read_status(examples[i].text);
		CU_ASSERT_STRING_EQUAL(said, examples[i].expected);
		if (strcmp(said, examples[i].expected) != 0)
			printf("\n    %s\n    %s", examples[i].text, said);
	}
}

static const struct example networks_examples[] = {
	{ "{\"routes\":[]}", "own (null), kernel unknown, state (null), revision 0, 0 of 0, 0 bad;\n" },
	{ "{\"routes\":null}", "own (null), kernel unknown, state (null), revision 0, 0 of 0, 0 bad;\n" },
	{ "{\"routes\":[{\"ID\":\"a\",\"range\":\"10.0.0.0/8\",\"selected\":true,\"domains\":null,"
	  "\"resolvedIPs\":null},7,{},"
	  "{\"ID\":\"b\",\"selected\":true},{\"range\":\"10.0.0.0/8\",\"selected\":true},"
	  "{\"ID\":\"c\",\"range\":\"x/8, 10.1.0.0/16\",\"selected\":true},"
	  "{\"ID\":\"d\",\"selected\":true,\"domains\":[7,\"*.d.example\"],\"resolvedIPs\":{\"e.d.example\":"
	  "{\"ips\":[7,\"x\",\"fd00::1\"]},\"f\":[]}}]}",
	  "10.0.0.0/8 resource=a\n10.1.0.0/16 resource=c\nfd00::1/128 resource=d domain=e.d.example\n"
	  "domain *.d.example resource=d\nown (null), kernel unknown, state (null), revision 0, 4 of 7, 0 bad;\n" },
	{ "{\"error\":{\"message\":\"networks are disabled\"}}", "NetBird refuses: networks are disabled" },
};

static void
test_networks_examples(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(networks_examples); i++) {
		const char *text = networks_examples[i].text;
		g_autofree char *said = read_pieces(NETBIRD_NETWORKS, text, strlen(text), 7);
		CU_ASSERT_STRING_EQUAL(said, networks_examples[i].expected);
	}
}

/* Octets of a peer that cannot be, and of a frame without end: both end before memory does. */
static void
test_gigabytes(void)
{
	g_autofree char *filler = g_strnfill(1 << 20, 'x');
	static const struct example starts[] = {
		{ "{\"fullStatus\":{\"peers\":[{\"fqdn\":\"", "no JSON: a value is too long" },
		{ "{\"new\":\"", "no JSON: it is too long" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(starts); i++) {
		g_autoptr(GString) out = g_string_new(NULL);
		g_autoptr(netbird_t) reader = netbird_new(NETBIRD_STATUS, on_news, out);
		g_autoptr(GError) error = NULL;
		unsigned megabytes = 0;
		CU_ASSERT_TRUE(netbird_feed(reader, starts[i].text, strlen(starts[i].text), &error));
		while (megabytes < 1024 && netbird_feed(reader, filler, 1 << 20, &error))
			megabytes++;
		CU_ASSERT_PTR_NOT_NULL_FATAL(error);
		CU_ASSERT_STRING_EQUAL(error->message, starts[i].expected);
		CU_ASSERT_TRUE(megabytes <= 512);
	}
}

static bool
count_entries(struct news *news, void *data, GError **error)
{
	(void)error;
	*(guint *)data = news->roster->entry->len;
	news_free(news);
	return true;
}

static void
test_cost(void)
{
	enum { PEERS = 100000 };
	g_autoptr(GString) text = g_string_new("{\"result\":{\"status\":\"Connected\",\"fullStatus\":{\"peers\":[");
	guint entries = 0;

	for (unsigned i = 0; i < PEERS; i++)
		g_string_append_printf(text, "%s{\"IP\":\"100.%u.%u.%u\","
		                       "\"pubKey\":\"EwQvkLLAbpizZkvLRYUR3b2Xl52l4HKXfIOb0Lz5jCA=\","
		                       "\"connStatus\":\"Connected\",\"fqdn\":\"peer-%u.netbird.selfhosted\",\"networks\":[],"
		                       "\"bytesRx\":\"123456\",\"latency\":\"0.020897800s\",\"ipv6\":\"fd12::%x:%x\"}",
		                       i ? "," : "", 64 + i / 65536, i / 256 % 256, i % 256, i, i >> 16, i & 0xffff);
	g_string_append(text, "]}}}\n");
	g_autoptr(netbird_t) reader = netbird_new(NETBIRD_STATUS, count_entries, &entries);
	const gint64 begun = g_get_monotonic_time();
	for (size_t at = 0; at < text->len; at += 16384)
		CU_ASSERT_TRUE_FATAL(netbird_feed(reader, text->str + at, MIN(16384, text->len - at), NULL));
	CU_ASSERT_EQUAL(entries, 2 * PEERS);
	printf("%d peers, %zu MiB, read in %.0f ms ", PEERS, text->len >> 20, (g_get_monotonic_time() - begun) / 1e3);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "the three formats", test_formats },
		{ "a stream of frames", test_stream },
		{ "networks", test_networks },
		{ "what clients say, and what they should not", test_examples },
		{ "networks with gaps", test_networks_examples },
		{ "gigabytes", test_gigabytes },
		{ "what it costs", test_cost },
		CU_TEST_INFO_NULL,
	};

	return run_suite("netbird", tests);
}
