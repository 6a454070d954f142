/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "archive/decode.h"
#include "audit/query.h"
#include "stream.h"

static const struct name name[] = {
	{ "-", 1 }, { "alice.netbird.cloud", 19 }, { "crm-db", 6 }, { "dev, ops", 8 }, { "site-b", 6 },
	{ "Anna, the first", 15 },
};
static const struct identity identity[] = {
	{ { 0 } },
	{ { [WORD_PEER] = 1, [WORD_USER] = 5, [WORD_GROUPS] = 3 } },
	{ { [WORD_VIA] = 4, [WORD_RESOURCE] = 2 } },
};
static const struct names names = {
	.name = name, .count = G_N_ELEMENTS(name), .identity = identity, .n_identities = G_N_ELEMENTS(identity),
};

/* alice, 100.90.0.7:40002, asks 203.0.113.1:8443, which is 10.20.0.20:443, and is 10.20.0.1:61000 to it. */
static struct flow
sample(void)
{
	struct flow flow = {
		.original = { .source_port = 40002, .destination_port = 8443, .octets = 1200, .packets = 10 },
		.reply = { .source_port = 443, .destination_port = 61000, .octets = 1500000, .packets = 1100 },
		.start = 1000, .end = 13500, .mark = 0x1bd10, .zone = 7, .family = 4, .protocol = IPPROTO_TCP, .state = 7,
		.translation = TRANSLATED_SOURCE | TRANSLATED_DESTINATION, .end_reason = END_DETECTED,
		.initiator = 1, .responder = 2,
	};

	inet_pton(AF_INET, "100.90.0.7", &flow.original.source);
	inet_pton(AF_INET, "203.0.113.1", &flow.original.destination);
	inet_pton(AF_INET, "10.20.0.20", &flow.reply.source);
	inet_pton(AF_INET, "10.20.0.1", &flow.reply.destination);
	return flow;
}

static bool
answers(const char *text, const struct flow *flow)
{
	const struct print_flow print = { flow, &names, "wt0", "eth0", "router-a.site" };
	g_autoptr(GError) error = NULL;
	g_autoptr(query_t) query = query_parse(text, &error);

	if (!query)
		printf("%s\n", error->message);
	CU_ASSERT_PTR_NOT_NULL_FATAL(query);
	const bool matches = query_matches(query, &print);
	CU_ASSERT(!matches || query_may_match(query, flow));
	return matches;
}

static bool
may_answer(const char *text, const struct flow *flow)
{
	g_autoptr(query_t) query = query_parse(text, NULL);

	return query_may_match(query, flow);
}

/* What is not about names is known before they are. */
static void
test_nameless(void)
{
	static const char *const maybe[] = {
		"", "peer bob", "not peer alice", "peer bob and tcp", "tcp and not (peer alice or udp)", "udp or router x",
		"not (udp and peer *)", "if wt7", "not if wt0", "port 443 and src peer bob and bytes > 1m",
	};
	static const char *const never[] = {
		"udp", "not tcp", "peer alice and udp", "udp and not peer bob", "not (tcp or peer alice)",
		"not (peer alice or not udp)", "port 1 and (peer alice or peer bob)", "(udp or snat) and not ipv4",
	};
	const struct flow flow = sample();

	for (size_t i = 0; i < G_N_ELEMENTS(maybe); i++)
		CU_ASSERT(may_answer(maybe[i], &flow));
	for (size_t i = 0; i < G_N_ELEMENTS(never); i++)
		CU_ASSERT(!may_answer(never[i], &flow));
}

static void
test_answers(void)
{
	static const struct {
		const char *text;
		bool answer;
	} rows[] = {
		{ "", true },
		{ "host 100.90.0.7", true }, { "src host 100.90.0.7", true }, { "dst host 100.90.0.7", false },
		{ "ip 10.20.0.1", true }, { "src ip 10.20.0.1", true }, { "src nat ip 10.20.0.1", true },
		{ "src nat ip 100.90.0.7", false }, { "dst nat host 10.20.0.20", true }, { "nat host 203.0.113.1", false },
		{ "203.0.113.1", true }, { "src 203.0.113.1", false }, { "dst 203.0.113.0/24", true }, { "2001:db8::1", false },
		{ "192.0.2.1,10.20.0.20", true }, { "net 10.20.0.0/24", true }, { "net 10.20.0.16/29", true },
		{ "dst net 10.20.0.24/29", false }, { "net 0.0.0.0/0", true }, { "net ::/0", false },
		{ "port 443", true }, { "src port 443", false }, { "dst port 8443", true }, { "nat port 8443", false },
		{ "port 80,443", true }, { "port 1-1023", true }, { "src port 1-1023", false }, { "port > 60999", true },
		{ "port > 61000", false }, { "port >= 61000", true }, { "port < 443", false }, { "port != 443", false },
		{ "port != 80", true }, { "port != 80,443", false }, { "not port 80", true },
		{ "peer alice", true }, { "peer ALICE.netbird.cloud", true }, { "peer alice.netbird", false },
		{ "peer al*", true }, { "peer *cloud", true }, { "peer a*b*d", true }, { "peer a*x*", false }, { "peer *", true },
		{ "dst peer alice", false }, { "src peer = alice", true }, { "src peer != alice", false },
		{ "dst peer site-b", true }, { "via site-b", true }, { "src via site-b", false },
		{ "user \"anna, the first\"", true }, { "user \"anna\"", false }, { "user anna*", true },
		{ "group ops", true }, { "group dev,sales", true }, { "group de", false }, { "dst group ops", false },
		{ "resource crm-db", true }, { "network crm-db", false }, { "domain *", false },
		{ "proto tcp", true }, { "tcp", true }, { "udp,tcp", true }, { "udp", false }, { "proto 6", true },
		{ "proto != tcp", false }, { "proto udp,icmp", false },
		{ "bytes > 1.5m", true }, { "bytes > 1501200", false }, { "bytes 1501200", true }, { "sent bytes < 2k", true },
		{ "received octets = 1500k", true }, { "sent bytes < 0", false }, { "sent bytes >= 0", true },
		{ "packets > 1k", true }, { "sent packets 10", true }, { "bytes > 1Mi", true }, { "bytes > 2Gi", false },
		{ "duration > 12s", true }, { "duration 12500ms", true }, { "duration < 0.2m", false }, { "duration > 1h", false },
		{ "direction ingress", true }, { "direction egress", false }, { "direction != egress", true },
		{ "in if wt0", true }, { "out if wt0", false }, { "if eth0,eth9", true },
		{ "reason ended", true }, { "reason IDLE", false }, { "state time_wait", true }, { "state != time_wait", false },
		{ "flags S", true }, { "flags saf", true }, { "flags R", false }, { "flags SR", false }, { "flags R,F", true },
		{ "flags 0x12", true }, { "flags 19", true }, { "flags 0x16", false }, { "flags != R", true },
		{ "flags != S", false }, { "router router-a", true }, { "router router-b", false }, { "router != *-b", true },
		{ "mark 0x1bd10", true }, { "mark 113936", true }, { "mark 0x10/0xff", true }, { "mark 0x11/0xff", false },
		{ "zone 7", true }, { "zone > 7", false }, { "nat", true }, { "snat", true }, { "dnat", true }, { "ipv4", true },
		{ "ipv6", false }, { "not snat", false }, { "! ipv6", true }, { "!ipv6", true },
		{ "tcp and port 443", true }, { "tcp and udp", false }, { "udp or tcp", true },
		{ "udp and tcp or tcp", true }, { "tcp or udp and udp", true }, { "(tcp or udp) and udp", false },
		{ "not (udp or icmp)", true }, { "not udp and not icmp", true }, { "TCP AND NOT (UDP OR PORT 1)", true },
		{ "src peer alice and dst net 10.20.0.0/24 and port 443 and bytes > 1m", true },
	};
	const struct flow flow = sample();

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		bool right = answers(rows[i].text, &flow) == rows[i].answer;
		if (!right)
			printf("query \"%s\"\n", rows[i].text);
		CU_ASSERT(right);
	}
}

/* A flow without translation has no second tuple, one without ports no port zero. */
static void
test_absent(void)
{
	struct flow flow = sample();

	flow.translation = 0;
	CU_ASSERT(!answers("host 10.20.0.1", &flow));
	CU_ASSERT(!answers("port 443", &flow));
	CU_ASSERT(!answers("nat", &flow));
	flow.protocol = IPPROTO_ICMP;
	flow.original.source_port = flow.original.destination_port = 0;
	CU_ASSERT(!answers("port 0", &flow));
	CU_ASSERT(!answers("port != 80", &flow));
	CU_ASSERT(!answers("state time_wait", &flow));
	CU_ASSERT(!answers("flags S", &flow));
	CU_ASSERT(!answers("flags != S", &flow));
	flow.initiator = 99;
	CU_ASSERT(!answers("src peer *", &flow));
}

static void
test_v6(void)
{
	struct flow flow = sample();

	flow.family = 6;
	inet_pton(AF_INET6, "2001:db8::1:2", &flow.original.source);
	CU_ASSERT(answers("2001:db8::/32", &flow));
	CU_ASSERT(answers("src net 2001:db8::1:0/113", &flow));
	CU_ASSERT(!answers("src net 2001:db8::1:3/128", &flow));
	CU_ASSERT(!answers("0.0.0.0/0", &flow));
}

static void
test_errors(void)
{
	static const struct {
		const char *text;
		const char *what;
		int column;             /* of the first ^ */
		int width;
	} rows[] = {
		{ "src hots 10.0.0.1", "no such word; is it \"host\"?", 4, 4 },
		{ "tcp and prot 80", "no such word; is it \"proto\"?", 8, 4 },
		{ "colour red", "no such word", 0, 6 },
		{ "port http", "\"port\" takes a port or FIRST-LAST", 5, 4 },
		{ "port 70000", "\"port\" takes a port", 5, 5 },
		{ "port 90-80", "\"port\" takes a port", 5, 5 },
		{ "port", "\"port\" takes a port", 4, 1 },
		{ "port )", "\"port\" takes a port", 5, 1 },
		{ "host 10.0.0.256", "\"host\" takes an address", 5, 10 },
		{ "net 10.0.0.0/33", "\"net\" takes ADDRESS/LENGTH", 4, 11 },
		{ "bytes > many", "\"bytes\" takes a number", 8, 4 },
		{ "peer < alice", "\"<\" means nothing here", 5, 1 },
		{ "sent port 80", "\"port\" cannot be narrowed down", 5, 4 },
		{ "src proto tcp", "\"proto\" cannot be narrowed down", 4, 5 },
		{ "src tcp", "no such word", 4, 3 },
		{ "tcp udp", "\"and\" or \"or\" is missing before this", 4, 3 },
		{ "tcp )", "\"and\" or \"or\" is missing before this", 4, 1 },
		{ "(tcp", "a \")\" is missing", 4, 1 },
		{ "(tcp udp)", "\"and\", \"or\" or \")\" is missing before this", 5, 3 },
		{ "tcp and", "something is missing at the end", 7, 1 },
		{ "not", "something is missing at the end", 3, 1 },
		{ "80", "no such word", 0, 2 },
		{ "peer \"ü\" colour", "\"and\" or \"or\" is missing", 9, 6 },
		{ "direction up", "\"direction\" takes ingress or egress", 10, 2 },
		{ "state OPEN", "\"state\" takes a state of TCP", 6, 4 },
		{ "flags SX", "\"flags\" takes letters of FSRPAUEC, or a number", 6, 2 },
		{ "flags 0", "\"flags\" takes letters", 6, 1 },
		{ "flags 256", "\"flags\" takes letters", 6, 3 },
		{ "flags > S", "\">\" means nothing here", 6, 1 },
		{ "zone 1-", "\"zone\" takes a number", 5, 2 },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autoptr(GError) error = NULL;
		g_autoptr(query_t) query = query_parse(rows[i].text, &error);
		CU_ASSERT_PTR_NULL_FATAL(query);
		g_auto(GStrv) lines = g_strsplit(error->message, "\n", -1);
		CU_ASSERT_EQUAL_FATAL(g_strv_length(lines), 3);
		bool right = g_str_has_prefix(lines[0], rows[i].what) && !strcmp(lines[1] + 4, rows[i].text)
		             && strspn(lines[2] + 4, " ") == (size_t)rows[i].column
		             && strlen(strchr(lines[2], '^')) == (size_t)rows[i].width;
		if (!right)
			printf("%s\n", error->message);
		CU_ASSERT(right);
	}
}

static void
test_addresses(void)
{
	static const struct {
		const char *text;
		const char *addresses;  /* the last octet of each */
	} rows[] = {
		{ "", "" }, { "host 10.0.0.1", "1 " }, { "src nat host 10.0.0.1", "1 " }, { "10.0.0.1,10.0.0.2", "1 2 " },
		{ "host 10.0.0.1 or 10.0.0.2", "1 2 " }, { "host 10.0.0.1 or port 80", "" }, { "not host 10.0.0.1", "" },
		{ "tcp and host 10.0.0.1", "1 " }, { "host 10.0.0.1 and tcp", "1 " }, { "net 10.0.0.0/24", "" },
		{ "net 10.0.0.1/32", "1 " }, { "10.0.0.1,10.0.0.2 and 10.0.0.3", "3 " }, { "10.0.0.3 and 10.0.0.1,10.0.0.2", "3 " },
		{ "(tcp or 10.0.0.1) and (10.0.0.2 or 10.0.0.3)", "2 3 " }, { "(10.0.0.1 or udp) or 10.0.0.2", "" },
		{ "2001:db8::7", "7 " }, { "2001:db8::/64", "" }, { "tcp and (udp or 10.0.0.1)", "" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autoptr(query_t) query = query_parse(rows[i].text, NULL);
		g_autofree struct query_address *addresses = NULL;
		g_autoptr(GString) found = g_string_new(NULL);
		CU_ASSERT_PTR_NOT_NULL_FATAL(query);
		const size_t n = query_addresses(query, &addresses);
		for (size_t j = 0; j < n; j++)
			g_string_append_printf(found, "%u ", addresses[j].address.v6[addresses[j].family == 6 ? 15 : 3]);
		CU_ASSERT_STRING_EQUAL(found->str, rows[i].addresses);
	}
}

static void
test_encoding(void)
{
	g_autoptr(GError) error = NULL;

	CU_ASSERT_PTR_NULL(query_parse("peer \xff", &error));
	CU_ASSERT_STRING_EQUAL(error->message, "the query is not in UTF-8");
}

static void
test_bounds(void)
{
	g_autoptr(GString) deep = g_string_new(NULL);
	g_autoptr(GString) wide = g_string_new("tcp");
	g_autoptr(GError) error = NULL;

	for (unsigned i = 0; i < 5000; i++)
		g_string_append(deep, "not (");
	CU_ASSERT_PTR_NULL(query_parse(deep->str, &error));
	CU_ASSERT(strstr(error->message, "nested too deeply") != NULL);
	g_clear_error(&error);
	for (unsigned i = 0; i < 5000; i++)
		g_string_append(wide, ",tcp");
	CU_ASSERT_PTR_NULL(query_parse(wide->str, &error));
	CU_ASSERT(strstr(error->message, "too much for one query") != NULL);
}

static void
test_parts(void)
{
	static const struct {
		const char *text;
		unsigned parts;
	} rows[] = {
		{ "", 0 }, { "tcp", 0 }, { "not (ipv6 or icmp)", 0 }, { "ipv6 and duration > 5s", FLOW_TIMES },
		{ "port 22", FLOW_PORTS }, { "not src port 80,443", FLOW_PORTS }, { "nat port 22", FLOW_TUPLE },
		{ "10.0.0.1", FLOW_ADDRESSES }, { "udp or net 10.0.0.0/8", FLOW_ADDRESSES }, { "dst nat host 10.0.0.1", FLOW_TUPLE },
		{ "not snat", FLOW_TUPLE }, { "nat", FLOW_TUPLE }, { "dnat and port 22", FLOW_TUPLE },
		{ "host 10.0.0.1 and port 22", FLOW_TUPLE }, { "bytes > 5", FLOW_COUNTS }, { "sent packets 1", FLOW_COUNTS },
		{ "not (received bytes 0) or duration 1s", FLOW_COUNTS | FLOW_TIMES }, { "flags S", FLOW_REST },
		{ "state time_wait", FLOW_REST }, { "direction ingress", FLOW_REST }, { "zone 1", FLOW_REST },
		{ "mark 5 and port 80", FLOW_PORTS | FLOW_REST }, { "src peer alice", FLOW_WHO | FLOW_NAMES },
		{ "tcp and (router a or if wt0) and zone 3", FLOW_NAMES | FLOW_REST }, { "reason idle", FLOW_REST },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autoptr(query_t) query = query_parse(rows[i].text, NULL);
		CU_ASSERT_PTR_NOT_NULL_FATAL(query);
		CU_ASSERT_EQUAL(query_parts(query), rows[i].parts);
	}
}

/* What a glance shows of it, and what the whole flow is: whoever says no to the one says no to the other. */

static const char *const asked[] = {
	"port %p", "src port %p", "dst port %p", "nat port %p", "src nat port %p", "dst nat port %p", "port != %p",
	"port > %p", "nat port != %p", "src port < %p", "host %a", "src host %a", "dst host %a", "nat host %a",
	"src nat net %a/%n", "dst nat net %a/%n", "net %a/%n", "src net %a/%n", "%a", "nat", "snat", "dnat", "tcp", "icmp",
	"proto != udp", "ipv4", "ipv6", "bytes > %c", "sent bytes > %c", "received bytes < %c", "packets > %k",
	"received packets != %k", "duration > %ds", "duration < %ds", "mark %m", "mark 0x1/0x3", "zone %z", "zone > %z",
	"direction ingress", "reason ended", "state time_wait", "state != time_wait", "flags S", "flags != R", "peer x*",
	"router r", "if wt0",
};

/* What fits some flow, so that an answer is neither always yes nor always no. */
static void
append_test(GString *text, const struct flow *flow, GRand *rand)
{
	const union address *const addresses[] = { &flow->original.source, &flow->original.destination, &flow->reply.source,
	                                           &flow->reply.destination };
	const uint16_t ports[] = { flow->original.source_port, flow->original.destination_port, flow->reply.source_port,
	                           flow->reply.destination_port };
	char address[INET6_ADDRSTRLEN];

	inet_ntop(flow->family == 4 ? AF_INET : AF_INET6, addresses[g_rand_int(rand) % 4], address, sizeof address);
	for (const char *at = asked[g_rand_int(rand) % G_N_ELEMENTS(asked)]; *at; at++) {
		switch (*at == '%' ? *++at : 0) {
		case 'p': g_string_append_printf(text, "%u", ports[g_rand_int(rand) % 4]); break;
		case 'a': g_string_append(text, address); break;
		case 'n': g_string_append_printf(text, "%u", g_rand_int(rand) % (flow->family == 4 ? 33 : 129)); break;
		case 'c': g_string_append_printf(text, "%" G_GUINT64_FORMAT, flow->original.octets); break;
		case 'k': g_string_append_printf(text, "%" G_GUINT64_FORMAT, flow->reply.packets); break;
		case 'd': g_string_append_printf(text, "%" G_GUINT64_FORMAT, (flow->end - flow->start) / 1000); break;
		case 'm': g_string_append_printf(text, "%u", flow->mark); break;
		case 'z': g_string_append_printf(text, "%u", flow->zone); break;
		default: g_string_append_c(text, *at);
		}
	}
}

static void
append_query(GString *text, const GArray *flows, GRand *rand, unsigned depth)
{
	static const char *const joints[] = { " and ", " or ", " and not " };
	const unsigned kind = g_rand_int(rand) % 4;

	if (!depth || !kind) {
		append_test(text, &g_array_index(flows, struct flow, g_rand_int(rand) % flows->len), rand);
		return;
	}
	g_string_append(text, kind == 1 ? "not (" : "(");
	append_query(text, flows, rand, depth - 1);
	g_string_append(text, joints[g_rand_int(rand) % G_N_ELEMENTS(joints)]);
	append_query(text, flows, rand, depth - 1);
	g_string_append(text, ")");
}

/* An address or a port of the translated side, so that each alone is translated, too. */
static struct flow
odd_flow(GRand *rand, unsigned n)
{
	struct flow flow = stream_flow(rand, n);
	const bool ports = flow.original.source_port || flow.original.destination_port;

	flow.reply.destination = flow.original.source;
	flow.original.source_port &= 0x3ff;
	flow.reply.destination_port = flow.original.source_port;
	if (n & 1)
		flow.reply.destination.v4[0] ^= 1;
	if (n & 2 && ports)
		flow.reply.destination_port ^= 1;
	if (n & 4)
		flow.reply.source.v4[1] ^= 1;
	if (n & 8 && ports)
		flow.reply.source_port ^= 1;
	flow.translation = (n & 1 || (n & 2 && ports) ? TRANSLATED_SOURCE : 0) |
	                   (n & 4 || (n & 8 && ports) ? TRANSLATED_DESTINATION : 0);
	flow.original.octets >>= 20;
	flow.mark &= 3;
	flow.end_reason = n % 3 ? END_DETECTED : END_IDLE;
	return flow;
}

static GByteArray *
odd_stream(unsigned n)
{
	g_autoptr(GRand) rand = g_rand_new_with_seed(21);
	g_autoptr(encoder_t) encoder = stream_encoder("archive", TRAIT_BIFLOW, 65535);
	GByteArray *out = g_byte_array_new();

	STREAM_ADD(encoder, out, encoder_begin_block(encoder));
	for (unsigned i = 0; i < n; i++) {
		const struct flow flow = odd_flow(rand, i);
		STREAM_ADD(encoder, out, encoder_add_flow(encoder, &flow, stream_names()));
	}
	stream_drain(encoder, out, true);
	return out;
}

/* Calls for each flow of the stream, seen with these parts spared. */
static GArray *
glances(const GByteArray *stream, unsigned spared, bool take)
{
	g_autoptr(decoder_t) decoder = decoder_new(STREAM_ENTERPRISE);
	GArray *flows = g_array_new(false, false, sizeof(struct flow));

	decoder_spare(decoder, spared);
	for (size_t at = 0, octets; at < stream->len; at += octets) {
		const struct flow *seen;
		struct flow flow;
		octets = decoder_octets(stream->data + at);
		CU_ASSERT_TRUE_FATAL(decoder_message(decoder, stream->data + at, octets, NULL));
		while ((seen = decoder_glance(decoder))) {
			flow = *seen;
			CU_ASSERT_TRUE_FATAL(!take || decoder_take(decoder, &flow));
			g_array_append_val(flows, flow);
		}
	}
	return flows;
}

static void
check_query(const char *text, const GArray *whole, GArray *const *seen, unsigned *yes, unsigned *wrong)
{
	g_autoptr(query_t) query = query_parse(text, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(query);
	const GArray *glance = seen[query_parts(query) & (FLOW_NAMES - 1)];

	for (guint i = 0; i < whole->len; i++) {
		const bool answer = query_may_match(query, &g_array_index(whole, struct flow, i));
		const bool other = query_may_match(query, &g_array_index(glance, struct flow, i));
		*yes += answer;
		*wrong += answer != other;
		if (answer != other && *wrong < 20)
			printf("\n    %s: flow %u\n", text, i);
	}
}

static void
test_glances(void)
{
	enum { ODD = 320, QUERIES = 20000 };
	g_autoptr(GByteArray) stream = odd_stream(ODD);
	g_autoptr(GRand) rand = g_rand_new_with_seed(22);
	g_autoptr(GArray) whole = glances(stream, 0, true);
	GArray *seen[FLOW_NAMES];
	unsigned yes = 0, wrong = 0;

	CU_ASSERT_EQUAL_FATAL(whole->len, ODD);
	for (unsigned parts = 0; parts < FLOW_NAMES; parts++)
		seen[parts] = glances(stream, ~parts, false);
	for (unsigned i = 0; i < G_N_ELEMENTS(asked) + QUERIES; i++) {
		g_autoptr(GString) text = g_string_new(NULL);
		append_query(text, whole, rand, i % 5);
		check_query(text->str, whole, seen, &yes, &wrong);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT(yes > QUERIES * ODD / 5 && yes < QUERIES * ODD * 4 / 5);
	for (unsigned parts = 0; parts < FLOW_NAMES; parts++)
		g_array_unref(seen[parts]);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "answers", test_answers },
		{ "what a flow does not have", test_absent },
		{ "before names are known", test_nameless },
		{ "IPv6", test_v6 },
		{ "errors point at the word", test_errors },
		{ "addresses to look for", test_addresses },
		{ "not UTF-8", test_encoding },
		{ "bounds", test_bounds },
		{ "parts of a flow", test_parts },
		{ "a glance answers what a whole flow would", test_glances },
		CU_TEST_INFO_NULL,
	};

	return run_suite("query", tests);
}
