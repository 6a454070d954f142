/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite.h"

#include <arpa/inet.h>
#include <string.h>

#include "audit/top.h"
#include "error.h"

static const struct name name[] = {
	{ "-", 1 }, { "alice", 5 }, { "crm-db", 6 }, { "site-b", 6 }, { "b\033ob, \"x\"", 9 },
};
static const struct identity identity[] = {
	{ { 0 } }, { { [WORD_PEER] = 1, [WORD_USER] = 4, [WORD_GROUPS] = 3 } }, { { [WORD_VIA] = 3, [WORD_RESOURCE] = 2 } },
};
static const struct names names = {
	.name = name, .count = G_N_ELEMENTS(name), .identity = identity, .n_identities = G_N_ELEMENTS(identity),
};

/* alice, 100.90.0.7, asks 203.0.113.1:443, which is crm-db, 10.20.0.20:8443, behind site-b. */
static struct flow
sample(uint64_t octets, uint8_t reason)
{
	struct flow flow = {
		.original = { .source_port = 40002, .destination_port = 443, .octets = octets, .packets = 1 },
		.reply = { .source_port = 8443, .destination_port = 40002, .octets = 3 * octets, .packets = 2 },
		.family = 4, .protocol = 6, .translation = TRANSLATED_DESTINATION, .end_reason = reason, .initiator = 1,
		.responder = 2, .policy = 3,
	};

	inet_pton(AF_INET, "100.90.0.7", &flow.original.source);
	inet_pton(AF_INET, "203.0.113.1", &flow.original.destination);
	inet_pton(AF_INET, "10.20.0.20", &flow.reply.source);
	inet_pton(AF_INET, "100.90.0.7", &flow.reply.destination);
	return flow;
}

static struct top *
make_top(const char *kind, const char *by, size_t most)
{
	g_autoptr(GError) error = NULL;
	struct top *top = top_new(&(struct top_options){ kind, by, most }, &error);

	CU_ASSERT_PTR_NOT_NULL_FATAL(top);
	return top;
}

static void
add(struct top *top, const struct flow *flow)
{
	top_add(top, &(struct print_flow){ .flow = flow, .names = &names, .ingress = "wt0", .egress = "eth0", .router = "r" });
}

static void
check(const struct top *top, enum print_format format, size_t limit, const char *expected)
{
	g_autoptr(GString) out = g_string_new(NULL);

	top_print(top, format, limit, out);
	CU_ASSERT_STRING_EQUAL(out->str, expected);
	if (strcmp(out->str, expected))
		printf("\n%s", out->str);
}

/* Two records of alice's flow, and an echo between nobodies. */
static void
test_kinds(void)
{
	static const struct {
		const char *kind;
		const char *csv;
	} rows[] = {
		{ "peers", "alice,1200,300,900,9,1\nsite-b,1200,900,300,9,1\n" },
		{ "users", "\"b\xef\xbf\xbdob, \"\"x\"\"\",1200,300,900,9,1\n" },
		{ "groups", "site-b,1200,300,900,9,1\n" },
		{ "resources", "crm-db,1200,900,300,9,1\n" },
		{ "networks", "" },
		{ "domains", "" },
		{ "policies", "site-b,1200,300,900,9,1\n" },
		{ "pairs", "alice -> site-b,1200,300,900,9,1\n10.0.0.1 -> 10.0.0.2,84,84,0,1,1\n" },
		{ "hosts", "10.20.0.20,1200,900,300,9,1\n100.90.0.7,1200,300,900,9,1\n10.0.0.1,84,84,0,1,1\n10.0.0.2,84,0,84,1,1\n" },
		{ "sources", "100.90.0.7,1200,300,900,9,1\n10.0.0.1,84,84,0,1,1\n" },
		{ "destinations", "203.0.113.1,1200,300,900,9,1\n10.0.0.2,84,84,0,1,1\n" },
		{ "ports", "tcp/443,1200,300,900,9,1\nicmp 8/0,84,84,0,1,1\n" },
		{ "protocols", "tcp,1200,300,900,9,1\nicmp,84,84,0,1,1\n" },
		{ "interfaces", "eth0,1284,900,384,10,2\nwt0,1284,384,900,10,2\n" },
		{ "routers", "r,1284,384,900,10,2\n" },
	};
	const struct flow first = sample(100, END_ACTIVE), more = sample(150, END_ACTIVE), last = sample(50, END_DETECTED);
	struct flow echo = { .family = 4, .protocol = 1, .original = { .octets = 84, .packets = 1, .icmp = 0x0800 },
	                     .end_reason = END_IDLE };

	inet_pton(AF_INET, "10.0.0.1", &echo.original.source);
	inet_pton(AF_INET, "10.0.0.2", &echo.original.destination);
	echo.reply.source = echo.original.destination;
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autoptr(top_t) top = make_top(rows[i].kind, NULL, 0);
		g_autoptr(GString) out = g_string_new(NULL);
		add(top, &first);
		add(top, &more);
		add(top, &echo);
		add(top, &last);
		top_print(top, PRINT_CSV, 0, out);
		const char *body = strchr(out->str, '\n') + 1;
		g_autofree char *header = g_strndup(out->str, body - out->str);
		CU_ASSERT(g_str_has_suffix(header, ",octets,octets_sent,octets_received,packets,flows\n"));
		CU_ASSERT_STRING_EQUAL(body, rows[i].csv);
		CU_ASSERT_PTR_NULL(top_warning(top));
	}
}

static void
test_formats(void)
{
	g_autoptr(top_t) top = make_top("users", "flows", 0);
	const struct flow flow = sample(5000, END_IDLE), other = { .family = 4, .end_reason = END_IDLE };

	add(top, &flow);
	add(top, &flow);
	add(top, &flow);
	add(top, &other);
	check(top, PRINT_TABLE, 10,
	      "USER         SHARE     BYTES      SENT  RECEIVED  PACKETS    FLOWS\n"
	      "all flows  100.0 %   60.0 kB   15.0 kB   45.0 kB        9        4\n"
	      "b\xef\xbf\xbdob, \"x\"   75.0 %   60.0 kB   15.0 kB   45.0 kB        9        3\n");
	check(top, PRINT_JSON, 10,
	      "{\"user\":\"b\\u001bob, \\\"x\\\"\",\"octets\":60000,\"octets_sent\":15000,\"octets_received\":45000,"
	      "\"packets\":9,\"flows\":3}\n");
}

/* The first so many, and a peer that talks to itself once. */
static void
test_limit(void)
{
	g_autoptr(top_t) top = make_top("peers", "packets", 0);
	struct flow flow = sample(1, END_IDLE);

	add(top, &flow);
	flow.responder = 1;
	add(top, &flow);
	check(top, PRINT_CSV, 1, "peer,octets,octets_sent,octets_received,packets,flows\nalice,8,2,6,6,2\n");
}

static void
test_warning(void)
{
	g_autoptr(top_t) top = make_top("sources", NULL, 4);
	struct flow flow = sample(100, END_IDLE);

	for (unsigned i = 0; i < 100; i++) {
		flow.original.source.v4[3] = i;
		add(top, &flow);
	}
	g_autofree char *warning = top_warning(top);
	CU_ASSERT_PTR_NOT_NULL_FATAL(warning);
	CU_ASSERT(g_str_has_prefix(warning, "there are more than 4 different sources: sums may be too small by up to "));
	CU_ASSERT(g_str_has_suffix(warning, "00 bytes"));
}

static void
test_errors(void)
{
	g_autoptr(GError) error = NULL;

	CU_ASSERT_PTR_NULL(top_new(&(struct top_options){ "colours", NULL, 0 }, &error));
	CU_ASSERT(g_str_has_prefix(error->message, "no top \"colours\": peers, users, "));
	CU_ASSERT_EQUAL(error->code, EX_USAGE);
	g_clear_error(&error);
	CU_ASSERT_PTR_NULL(top_new(&(struct top_options){ "peers", "colour", 0 }, &error));
	CU_ASSERT_STRING_EQUAL(error->message, "--by \"colour\": bytes, packets or flows");
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "kinds", test_kinds },
		{ "formats", test_formats },
		{ "the first ones", test_limit },
		{ "too many", test_warning },
		{ "errors", test_errors },
		CU_TEST_INFO_NULL,
	};

	return run_suite("top", tests);
}
