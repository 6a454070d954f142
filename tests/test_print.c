/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite.h"

#include <arpa/inet.h>
#include <glib.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

#include "audit/print.h"
#include "audit/value.h"

/* 2026-08-22 12:03:22.117 UTC, two hours later on the clock of the wall. */
#define END   UINT64_C(1787400202117)
#define START (END - 1204)
#define ZONE  "TZ=<+02>-2"

static const struct name name_list[] = {
	{ "-", 1 }, { "alice", 5 }, { "crm-db", 6 }, { "site-b", 6 }, { "a\033[2Jb\xe2\x80\xae,\"c\"", 13 },
};
static const struct identity identities[] = {
	{ { 0 } }, { { [WORD_PEER] = 1 } }, { { [WORD_PEER] = 2, [WORD_VIA] = 3 } }, { { [WORD_VIA] = 3 } },
	{ { [WORD_PEER] = 4 } },
};
static const struct names names = {
	.name = name_list, .count = G_N_ELEMENTS(name_list), .identity = identities, .n_identities = G_N_ELEMENTS(identities),
};

/* What a row of a table of flows looks like to people: addresses as text, ports as numbers. */
struct row {
	const char *source;
	const char *destination;
	const char *reply_source;
	const char *reply_destination;
	uint16_t ports[4];          /* in the same order */
	uint8_t protocol;
	uint16_t icmp;
	uint32_t initiator;
	uint32_t responder;
	const char *line;
};

static void
parse(const struct flow *flow, const char *text, union address *address)
{
	CU_ASSERT_EQUAL_FATAL(inet_pton(flow->family == 6 ? AF_INET6 : AF_INET, text, address), 1);
}

static struct flow
make(const struct row *row)
{
	struct flow flow = {
		.original = { .octets = 273, .packets = 5, .ingress = 2, .egress = 3, .icmp = row->icmp },
		.reply = { .octets = 5268, .packets = 6 },
		.start = START, .end = END, .mark = 113936, .protocol = row->protocol, .end_reason = END_DETECTED,
		.initiator = row->initiator, .responder = row->responder, .flow_id = 0x0d6fd7d1a3b4c5d6,
		.family = strchr(row->source, ':') ? 6 : 4, .state = row->protocol == IPPROTO_TCP ? 7 : 0,
	};
	struct side *there = &flow.original, *back = &flow.reply;

	parse(&flow, row->source, &there->source);
	parse(&flow, row->destination, &there->destination);
	parse(&flow, row->reply_source, &back->source);
	parse(&flow, row->reply_destination, &back->destination);
	there->source_port = row->ports[0];
	there->destination_port = row->ports[1];
	back->source_port = row->ports[2];
	back->destination_port = row->ports[3];
	if (strcmp(row->source, row->reply_destination) || row->ports[0] != row->ports[3])
		flow.translation |= TRANSLATED_SOURCE;
	if (strcmp(row->destination, row->reply_source) || row->ports[1] != row->ports[2])
		flow.translation |= TRANSLATED_DESTINATION;
	return flow;
}

static void
check_line(struct printer *printer, const struct print_flow *flow, const char *expected)
{
	g_autoptr(GString) out = g_string_new(NULL);

	printer_flow(printer, flow, out);
	CU_ASSERT_STRING_EQUAL(out->str, expected);
	if (strcmp(out->str, expected))
		printf("\n    %s    %s", out->str, expected);
}

static void
check_flow(enum print_format format, const struct flow *flow, const char *expected)
{
	struct printer *printer = printer_new(format);

	check_line(printer, &(struct print_flow){ flow, &names, "wt0", NULL, NULL }, expected);
	printer_free(printer);
}

/* What conntrack really showed of the connections a routing peer sees, one of each kind. */
static const struct row rows[] = {
#define TABLE(initiator, responder, rest) \
	"2026-08-22 14:03:22.117    1.204s  " initiator "  ->  " responder "  " rest "\n"
#define SAME "  273 B     5    5268 B     6  ended"
	/* a peer to the network behind the router, which masquerades */
	{ "100.90.0.7", "10.20.0.20", "10.20.0.20", "10.20.0.1", { 51820, 443, 443, 51820 }, 6, 0, 1, 2,
	  TABLE("tcp       alice 100.90.0.7:51820", "crm-db 10.20.0.20:443", SAME "   SNAT 10.20.0.1:51820") },
	/* the same without masquerading */
	{ "100.90.0.7", "10.20.0.20", "10.20.0.20", "100.90.0.7", { 51821, 443, 443, 51821 }, 6, 0, 1, 2,
	  TABLE("tcp       alice 100.90.0.7:51821", "crm-db 10.20.0.20:443", SAME) },
	/* a host of the site to a host of another site, at both routers */
	{ "10.20.0.20", "10.30.0.30", "10.30.0.30", "100.90.0.1", { 40002, 5432, 5432, 40002 }, 6, 0, 2, 3,
	  TABLE("tcp       crm-db 10.20.0.20:40002", "site-b 10.30.0.30:5432", SAME "   SNAT 100.90.0.1:40002") },
	{ "100.90.0.1", "10.30.0.30", "10.30.0.30", "10.30.0.1", { 40002, 5432, 5432, 40002 }, 6, 0, 0, 0,
	  TABLE("tcp       100.90.0.1:40002     ", "10.30.0.30:5432      ", SAME "   SNAT 10.30.0.1:40002") },
	/* a port of the router's public address leads to a peer: who answers is not who was called */
	{ "203.0.113.9", "198.51.100.1", "100.90.0.7", "100.90.0.1", { 40004, 8080, 80, 40004 }, 6, 0, 0, 1,
	  TABLE("tcp       203.0.113.9:40004    ", "198.51.100.1:8080    ",
	        SAME "   SNAT 100.90.0.1:40004 DNAT alice 100.90.0.7:80") },
	/* a port of the router leads to another port of it */
	{ "100.90.0.7", "100.90.0.1", "100.90.0.1", "100.90.0.7", { 51823, 22, 22022, 51823 }, 6, 0, 1, 0,
	  TABLE("tcp       alice 100.90.0.7:51823", "100.90.0.1:22        ", SAME "   DNAT 100.90.0.1:22022") },
	{ "100.90.0.7", "100.90.0.1", "100.90.0.1", "100.90.0.7", { 51900, 5353, 22054, 51900 }, 17, 0, 1, 0,
	  TABLE("udp       alice 100.90.0.7:51900", "100.90.0.1:5353      ", SAME "   DNAT 100.90.0.1:22054") },
	/* a published port of a container or host */
	{ "100.90.0.7", "100.90.0.1", "10.20.0.20", "100.90.0.7", { 51999, 8088, 80, 51999 }, 6, 0, 1, 2,
	  TABLE("tcp       alice 100.90.0.7:51999", "100.90.0.1:8088      ", SAME "   DNAT crm-db 10.20.0.20:80") },
	/* the router itself, in each role */
	{ "100.90.0.7", "100.90.0.1", "100.90.0.1", "100.90.0.7", { 51824, 9100, 9100, 51824 }, 6, 0, 0, 0,
	  TABLE("tcp       100.90.0.7:51824     ", "100.90.0.1:9100      ", SAME) },
	{ "100.90.0.1", "100.90.0.7", "100.90.0.7", "100.90.0.1", { 56964, 9101, 9101, 56964 }, 6, 0, 0, 0,
	  TABLE("tcp       100.90.0.1:56964     ", "100.90.0.7:9101      ", SAME) },
	/* an echo, which has no ports but an identifier in their place */
	{ "100.90.0.7", "10.20.0.20", "10.20.0.20", "10.20.0.1", { 0 }, 1, 0x0800, 0, 2,
	  TABLE("icmp 8/0  100.90.0.7           ", "crm-db 10.20.0.20    ", SAME "   SNAT 10.20.0.1") },
	/* two peers from the same port: the second gets another */
	{ "100.90.0.8", "10.20.0.20", "10.20.0.20", "10.20.0.1", { 50000, 5000, 5000, 40744 }, 6, 0, 0, 0,
	  TABLE("tcp       100.90.0.8:50000     ", "10.20.0.20:5000      ", SAME "   SNAT 10.20.0.1:40744") },
	/* IPv6 */
	{ "fd12:3456:789a:1::7", "fd20::20", "fd20::20", "fd20::1", { 50012, 5012, 5012, 50012 }, 6, 0, 1, 0,
	  TABLE("tcp       alice [fd12:3456:789a:1::7]:50012", "[fd20::20]:5012      ", SAME "   SNAT [fd20::1]:50012") },
	{ "fd12:3456:789a:1::7", "fd20::20", "fd20::20", "fd12:3456:789a:1::7", { 0 }, 58, 0x8000, 1, 2,
	  TABLE("icmpv6 128/0  alice fd12:3456:789a:1::7", "crm-db fd20::20      ", SAME) },
	/* one peer to another through the router */
	{ "100.90.0.7", "100.90.0.2", "100.90.0.2", "100.90.0.7", { 50005, 5005, 5005, 50005 }, 132, 0, 0, 0,
	  TABLE("sctp      100.90.0.7:50005     ", "100.90.0.2:5005      ", SAME) },
	/* a protocol that has neither name nor ports here, and a name that would paint on the terminal */
	{ "10.20.0.20", "10.30.0.30", "10.30.0.30", "10.20.0.20", { 0 }, 89, 0, 4, 0,
	  TABLE("89        a\xef\xbf\xbd[2Jb\xef\xbf\xbd,\"c\" 10.20.0.20", "10.30.0.30           ", SAME) },
};

static void
test_table(void)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
		struct flow flow = make(&rows[i]);
		check_flow(PRINT_TABLE, &flow, rows[i].line);
	}
}

/* On a terminal the translation never wraps: what does not fit beside the rest stands below the ends it belongs to. */
static void
test_folded(void)
{
	static const char *const beside = TABLE("tcp       alice 100.90.0.7:51820", "crm-db 10.20.0.20:443",
	                                        SAME "   SNAT 10.20.0.1:51820");
	static const char *const below = TABLE("tcp       alice 100.90.0.7:51820", "crm-db 10.20.0.20:443", SAME)
		"                                             SNAT 10.20.0.1:51820\n";
	const struct flow flow = make(&rows[0]);
	const unsigned needed = strlen(beside) - 1;

	for (unsigned columns = needed - 1; columns <= needed; columns++) {
		struct printer *printer = printer_new(PRINT_TABLE);
		printer_fold(printer, columns);
		check_line(printer, &(struct print_flow){ &flow, &names, NULL, NULL, NULL }, columns < needed ? below : beside);
		printer_free(printer);
	}
}

/* The header has the narrow columns; a long address widens its column from there on. */
static void
test_widths(void)
{
	struct printer *printer = printer_new(PRINT_TABLE);
	g_autoptr(GString) out = g_string_new(NULL);

	printer_header(printer, out);
	CU_ASSERT_STRING_EQUAL(out->str,
		"END (LOCAL TIME)         DURATION  PROTO     INITIATOR                  RESPONDER                 SENT  PKTS  "
		"RECEIVED  PKTS  REASON  TRANSLATED TO\n");
	struct flow narrow = make(&rows[3]), wide = make(&rows[12]);
	check_line(printer, &(struct print_flow){ &narrow, &names, NULL, NULL, NULL }, rows[3].line);
	check_line(printer, &(struct print_flow){ &wide, &names, NULL, NULL, NULL }, rows[12].line);
	check_line(printer, &(struct print_flow){ &narrow, &names, NULL, NULL, NULL },
	           TABLE("tcp       100.90.0.1:40002                 ", "10.30.0.30:5432      ",
	                 SAME "   SNAT 10.30.0.1:40002"));
	printer_free(printer);
}

static void
test_gaps(void)
{
	struct flow flow = make(&rows[1]);

	flow.gaps = GAP_NO_COUNTERS | GAP_NO_START;
	flow.end_reason = END_LACK_OF_RESOURCES;
	flow.original.octets = flow.original.packets = flow.reply.octets = flow.reply.packets = 0;
	flow.start = flow.end;
	check_flow(PRINT_TABLE, &flow,
		"2026-08-22 14:03:22.117         ?  tcp       alice 100.90.0.7:51821  ->  crm-db 10.20.0.20:443        ?     ?"
		"         ?     ?  evicted\n");
	check_flow(PRINT_JSON, &flow,
		"{\"end\":\"2026-08-22T12:03:22.117Z\",\"end_ms\":1787400202117,\"protocol\":\"tcp\",\"protocol_number\":6,"
		"\"initiator\":\"alice\",\"responder\":\"crm-db\",\"responder_via\":\"site-b\","
		"\"source_address\":\"100.90.0.7\",\"source_port\":51821,"
		"\"destination_address\":\"10.20.0.20\",\"destination_port\":443,\"ingress_interface\":\"wt0\","
		"\"ingress_index\":2,\"egress_index\":3,\"direction\":\"ingress\",\"mark\":113936,\"zone\":0,\"status\":0,"
		"\"state\":7,\"tcp_state\":\"TIME_WAIT\",\"tcp_flags\":\"0x13\",\"end_reason\":\"evicted\","
		"\"flow_id\":\"0d6fd7d1a3b4c5d6\","
		"\"gaps\":\"no_counters no_start\"}\n");
	flow = make(&rows[1]);
	flow.gaps = GAP_LOST_END | GAP_RESET | GAP_PARTIAL;
	const struct print_flow print = { .flow = &flow, .names = &names };
	struct printer *printer = printer_new(PRINT_CSV);
	g_autoptr(GString) line = g_string_new(NULL);
	printer_flow(printer, &print, line);
	printer_free(printer);
	CU_ASSERT_TRUE(g_str_has_suffix(line->str, ",lost_end reset partial,\n"));
}

static struct flow
full(void)
{
	struct flow flow = make(&rows[4]);

	flow.stop = END + 120000;
	flow.zone = 7;
	flow.status = 0x1be;
	flow.labels[0] = 1;
	flow.labels[15] = 0x80;
	flow.original.flow_direction = 1;
	return flow;
}

static void
test_csv(void)
{
	static const char header[] =
		"start,start_ms,end,end_ms,duration_ms,protocol,protocol_number,initiator,responder,"
		"initiator_id,initiator_user,initiator_groups,initiator_via,initiator_resource,initiator_network,"
		"initiator_domain,responder_id,responder_user,responder_groups,responder_via,responder_resource,"
		"responder_network,responder_domain,policy,source_address,"
		"source_port,destination_address,destination_port,translation,translated_source_address,"
		"translated_source_port,translated_destination_address,translated_destination_port,masqueraded,icmp_type,icmp_code,"
		"octets_from_initiator,packets_from_initiator,octets_from_responder,packets_from_responder,"
		"ingress_interface,ingress_index,egress_interface,egress_index,direction,mark,zone,labels,status,state,"
		"tcp_state,tcp_flags,end_reason,stop,stop_ms,flow_id,gaps,router\n";
	struct printer *printer = printer_new(PRINT_CSV);
	g_autoptr(GString) out = g_string_new(NULL);
	struct flow flow = full(), echo = make(&rows[10]), named = make(&rows[15]);

	printer_header(printer, out);
	CU_ASSERT_STRING_EQUAL(out->str, header);
	check_line(printer, &(struct print_flow){ &flow, &names, "wan,0", "wt0", NULL },
		"2026-08-22T12:03:20.913Z,1787400200913,2026-08-22T12:03:22.117Z,1787400202117,1204,tcp,6,,alice,"
		",,,,,,,,,,,,,,,203.0.113.9,40004,198.51.100.1,8080,snat+dnat,100.90.0.1,40004,100.90.0.7,80,,,,273,5,5268,6,"
		"\"wan,0\",2,wt0,3,egress,113936,7,80000000000000000000000000000001,446,7,TIME_WAIT,0x13,ended,"
		"2026-08-22T12:05:22.117Z,1787400322117,0d6fd7d1a3b4c5d6,,\n");
	check_line(printer, &(struct print_flow){ &echo, &names, NULL, NULL, NULL },
		"2026-08-22T12:03:20.913Z,1787400200913,2026-08-22T12:03:22.117Z,1787400202117,1204,icmp,1,,crm-db,"
		",,,,,,,,,,site-b,,,,,100.90.0.7,,10.20.0.20,,snat,10.20.0.1,,10.20.0.20,,,8,0,273,5,5268,6,,2,,3,ingress,"
		"113936,0,,0,0,,,ended,,,0d6fd7d1a3b4c5d6,,\n");
	check_line(printer, &(struct print_flow){ &named, &names, NULL, NULL, NULL },
		"2026-08-22T12:03:20.913Z,1787400200913,2026-08-22T12:03:22.117Z,1787400202117,1204,,89,"
		"\"a\xef\xbf\xbd[2Jb\xef\xbf\xbd,\"\"c\"\"\",,,,,,,,,,,,,,,,,"
		"10.20.0.20,,10.30.0.30,,,,,,,,,,273,5,5268,6,,2,,3,ingress,113936,"
		"0,,0,0,,,ended,,,0d6fd7d1a3b4c5d6,,\n");
	printer_free(printer);
}

static void
check_chosen(enum print_format format, const char *list, const struct print_flow *flow, const char *expected)
{
	g_autoptr(printer_t) printer = printer_new(format);
	g_autoptr(GString) out = g_string_new(NULL);
	g_autoptr(GError) error = NULL;

	CU_ASSERT_TRUE_FATAL(printer_choose(printer, list, &error));
	printer_header(printer, out);
	printer_flow(printer, flow, out);
	CU_ASSERT_STRING_EQUAL(out->str, expected);
}

static void
test_chosen(void)
{
	struct flow flow = full(), named = make(&rows[15]);
	const struct print_flow print = { .flow = &flow, .names = &names, .router = "router-a" };
	const struct print_flow ugly = { .flow = &named, .names = &names };
	g_autoptr(printer_t) printer = printer_new(PRINT_TABLE);
	g_autoptr(GError) error = NULL;

	check_chosen(PRINT_CSV, "router, tcp_flags,octets_from_initiator,responder,initiator", &print,
	             "router,tcp_flags,octets_from_initiator,responder,initiator\nrouter-a,0x13,273,alice,\n");
	check_chosen(PRINT_JSON, "initiator,responder,zone", &print, "{\"responder\":\"alice\",\"zone\":7}\n");
	check_chosen(PRINT_JSON, "initiator", &print, "{}\n");
	check_chosen(PRINT_TABLE, "initiator,zone,responder,mark", &print,
	             "initiator  zone  responder  mark\n-             7  alice      113936\n");
	check_chosen(PRINT_TABLE, "initiator", &ugly, "initiator\na\xef\xbf\xbd[2Jb\xef\xbf\xbd,\"c\"\n");
	CU_ASSERT_FALSE_FATAL(printer_choose(printer, "zone,colour", &error));
	CU_ASSERT_STRING_EQUAL(error->message, "no column is called \"colour\": peerflow(1) lists them");
	g_clear_error(&error);
	CU_ASSERT_FALSE(printer_choose(printer, "zone,", &error));
}

/* A value is what CSV has of it, as a number where it is one. */
static void
test_values(void)
{
	static const struct {
		const char *name;
		bool is_number;
		bool known;
		uint64_t number;
	} expected[] = {
		{ "end_ms", true, true, END }, { "duration_ms", true, true, 1204 }, { "octets_from_responder", true, true, 5268 },
		{ "mark", true, true, 113936 }, { "protocol_number", true, true, 6 }, { "masqueraded", true, false, 0 },
		{ "icmp_type", true, false, 0 }, { "responder", false, true, 0 }, { "initiator", false, false, 0 },
	};
	struct flow flow = full();
	const struct print_flow print = { .flow = &flow, .names = &names };

	for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
		const struct print_column *column = print_column_find(expected[i].name);
		g_autoptr(GString) text = g_string_new(NULL);
		uint64_t number = 0;
		CU_ASSERT_PTR_NOT_NULL_FATAL(column);
		CU_ASSERT_EQUAL(print_column_is_number(column), expected[i].is_number);
		CU_ASSERT_EQUAL(print_text(column, &print, text), expected[i].known);
		if (!expected[i].is_number)
			continue;
		CU_ASSERT_EQUAL(print_number(column, &print, &number), expected[i].known);
		CU_ASSERT(!expected[i].known || number == expected[i].number);
	}
	CU_ASSERT_PTR_NULL(print_column_find("colour"));
}

static void
test_tcp_flags(void)
{
	static const struct {
		uint8_t protocol;
		uint8_t state;
		uint32_t status;
		uint8_t flags;
	} expected[] = {
		{ 6, 0, 0, 0 }, { 6, 1, 0, 0x02 }, { 6, 2, 0, 0x12 }, { 6, 3, 0, 0x12 }, { 6, 4, 0, 0x13 }, { 6, 5, 0, 0x13 },
		{ 6, 6, 0, 0x13 }, { 6, 7, 0, 0x13 }, { 6, 8, 0, 0x06 }, { 6, 8, 4, 0x16 }, { 6, 9, 0, 0x02 }, { 6, 10, 4, 0 },
		{ 6, 255, 4, 0 }, { 17, 3, 4, 0 }, { 132, 7, 0, 0 },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
		const struct flow flow = { .protocol = expected[i].protocol, .state = expected[i].state,
		                           .status = expected[i].status };
		CU_ASSERT_EQUAL(value_tcp_flags(&flow), expected[i].flags);
	}
}

static void
test_json(void)
{
	struct printer *printer = printer_new(PRINT_JSON);
	g_autoptr(GString) out = g_string_new(NULL);
	struct flow flow = full();

	printer_header(printer, out);
	CU_ASSERT_EQUAL(out->len, 0);
	check_line(printer, &(struct print_flow){ &flow, &names, "wan0", "wt0", NULL },
		"{\"start\":\"2026-08-22T12:03:20.913Z\",\"start_ms\":1787400200913,\"end\":\"2026-08-22T12:03:22.117Z\","
		"\"end_ms\":1787400202117,\"duration_ms\":1204,\"protocol\":\"tcp\",\"protocol_number\":6,"
		"\"responder\":\"alice\",\"source_address\":\"203.0.113.9\",\"source_port\":40004,"
		"\"destination_address\":\"198.51.100.1\",\"destination_port\":8080,\"translation\":\"snat+dnat\","
		"\"translated_source_address\":\"100.90.0.1\",\"translated_source_port\":40004,"
		"\"translated_destination_address\":\"100.90.0.7\",\"translated_destination_port\":80,"
		"\"octets_from_initiator\":273,\"packets_from_initiator\":5,\"octets_from_responder\":5268,"
		"\"packets_from_responder\":6,\"ingress_interface\":\"wan0\",\"ingress_index\":2,"
		"\"egress_interface\":\"wt0\",\"egress_index\":3,\"direction\":\"egress\",\"mark\":113936,\"zone\":7,"
		"\"labels\":\"80000000000000000000000000000001\",\"status\":446,\"state\":7,\"tcp_state\":\"TIME_WAIT\","
		"\"tcp_flags\":\"0x13\","
		"\"end_reason\":\"ended\",\"stop\":\"2026-08-22T12:05:22.117Z\",\"stop_ms\":1787400322117,"
		"\"flow_id\":\"0d6fd7d1a3b4c5d6\"}\n");
	printer_free(printer);
}

/* All there is to say of both ends, each under its own key. */
static void
test_words(void)
{
	static const char *const about[WORDS] = {
		[WORD_PEER] = "", [WORD_PEER_ID] = "_id", [WORD_USER] = "_user", [WORD_GROUPS] = "_groups",
		[WORD_VIA] = "_via", [WORD_RESOURCE] = "_resource", [WORD_NETWORK] = "_network", [WORD_DOMAIN] = "_domain",
	};
	static const char *const end[] = { "initiator", "responder" };
	char text[1 + 2 * WORDS + 1][8];
	struct name name[G_N_ELEMENTS(text)];
	struct identity identity[3] = { 0 };
	const struct names all = { .name = name, .count = G_N_ELEMENTS(name), .identity = identity, .n_identities = 3 };
	struct printer *printer = printer_new(PRINT_JSON);
	g_autoptr(GString) out = g_string_new(NULL);
	struct flow flow = full();

	for (unsigned i = 0; i < G_N_ELEMENTS(text); i++)
		name[i] = (struct name){ text[i], g_snprintf(text[i], sizeof text[i], "<%u>", i) };
	for (unsigned i = 0; i < 2 * WORDS; i++)
		identity[1 + i / WORDS].word[i % WORDS] = 1 + i;
	flow.initiator = 1;
	flow.responder = 2;
	flow.policy = 2 * WORDS + 1;
	flow.masqueraded = 1;
	printer_flow(printer, &(struct print_flow){ &flow, &all, NULL, NULL, NULL }, out);
	for (unsigned i = 0; i < 2 * WORDS; i++) {
		g_autofree char *wanted = g_strdup_printf("\"%s%s\":\"<%u>\"", end[i / WORDS], about[i % WORDS], i + 1);
		CU_ASSERT_PTR_NOT_NULL(strstr(out->str, wanted));
	}
	CU_ASSERT_PTR_NOT_NULL(strstr(out->str, "\"policy\":\"<17>\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(out->str, "\"masqueraded\":1"));
	printer_free(printer);
}

/* Where nobody has a name, the table says what the address is. */
static void
test_best_name(void)
{
	static const struct name name[] = { { "-", 1 }, { "crm", 3 }, { "crm.example", 11 }, { "alice", 5 } };
	static const struct identity identity[] = {
		{ { 0 } }, { { [WORD_RESOURCE] = 1 } }, { { [WORD_RESOURCE] = 1, [WORD_DOMAIN] = 2 } },
		{ { [WORD_RESOURCE] = 1, [WORD_DOMAIN] = 2, [WORD_VIA] = 3 } },
	};
	static const char *const wanted[] = {
		"  10.20.0.20:", "  crm 10.20.0.20:", "  crm.example 10.20.0.20:", "  alice 10.20.0.20:",
	};
	const struct names all = { .name = name, .count = 4, .identity = identity, .n_identities = 4 };
	struct printer *printer = printer_new(PRINT_TABLE);

	for (unsigned i = 0; i < G_N_ELEMENTS(wanted); i++) {
		g_autoptr(GString) out = g_string_new(NULL);
		struct flow flow = full();
		flow.translation = 0;
		inet_pton(AF_INET, "10.20.0.20", &flow.original.destination);
		flow.responder = i;
		printer_flow(printer, &(struct print_flow){ &flow, &all, NULL, NULL, NULL }, out);
		CU_ASSERT_PTR_NOT_NULL(strstr(out->str, wanted[i]));
	}
	printer_free(printer);
}

/* The parts */

static void
test_json_string(void)
{
	static const struct {
		const char *text;
		size_t length;
		const char *json;
	} texts[] = {
		{ "", 0, "\"\"" },
		{ "plain", 5, "\"plain\"" },
		{ "longer than said", 6, "\"longer\"" },
		{ "\"\\/", 3, "\"\\\"\\\\/\"" },
		{ "\b\t\n\r\x1b", 5, "\"\\u0008\\u0009\\u000a\\u000d\\u001b\"" },
		{ "\x7f\xc2\x9b", 3, "\"\\u007f\\u009b\"" },
		{ "büro 𝛑", 10, "\"büro 𝛑\"" },
		{ "a\xff" "b\xc3", 4, "\"a\xef\xbf\xbd" "b\xef\xbf\xbd\"" },
		{ "a\0b", 3, "\"a\xef\xbf\xbd" "b\"" },
		{ "\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },      /* half a surrogate pair */
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
		g_autoptr(GString) out = g_string_new(NULL);
		print_json_string(out, texts[i].text, texts[i].length);
		CU_ASSERT_STRING_EQUAL(out->str, texts[i].json);
	}
}

static void
test_csv_field(void)
{
	static const char *const fields[][2] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "two words", "two words" },
		{ " kept ", "\" kept \"" },
		{ "a,b", "\"a,b\"" },
		{ "say \"no\"", "\"say \"\"no\"\"\"" },
		{ "a\r\nb", "a\xef\xbf\xbd\xef\xbf\xbd" "b" },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
		g_autoptr(GString) out = g_string_new(NULL);
		print_csv_field(out, fields[i][0], strlen(fields[i][0]));
		CU_ASSERT_STRING_EQUAL(out->str, fields[i][1]);
	}
}

static void
test_duration(void)
{
	static const struct {
		uint64_t ms;
		const char *text;
	} times[] = {
		{ 0, "0.000s" }, { 59999, "59.999s" }, { 60000, "1m00s" }, { 723900, "12m03s" }, { 3599999, "59m59s" },
		{ 3600000, "1h00m" }, { 86399999, "23h59m" }, { 86400000, "1d00h" }, { 187200000, "2d04h" },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(times); i++) {
		g_autoptr(GString) out = g_string_new(NULL);
		value_duration(out, times[i].ms);
		CU_ASSERT_STRING_EQUAL(out->str, times[i].text);
	}
}

static void
test_human(void)
{
	static const struct {
		uint64_t count;
		const char *text;
		const char *octets;
	} counts[] = {
		{ 0, "0", "0 B" }, { 9999, "9999", "9999 B" }, { 10000, "10.0k", "10.0 kB" }, { 99949, "99.9k", "99.9 kB" },
		{ 99950, "100k", "100 kB" }, { 999499, "999k", "999 kB" }, { 999500, "1.00M", "1.00 MB" },
		{ 1234567, "1.23M", "1.23 MB" }, { 5000000000, "5.00G", "5.00 GB" },
		{ UINT64_MAX, "18.4E", "18.4 EB" },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(counts); i++) {
		g_autoptr(GString) text = g_string_new(NULL), octets = g_string_new(NULL);
		value_human(text, counts[i].count, "");
		value_human(octets, counts[i].count, "B");
		CU_ASSERT_STRING_EQUAL(text->str, counts[i].text);
		CU_ASSERT_STRING_EQUAL(octets->str, counts[i].octets);
	}
}

static void
test_formats(void)
{
	enum print_format format;

	CU_ASSERT(print_format_find("table", &format) && format == PRINT_TABLE);
	CU_ASSERT(print_format_find("csv", &format) && format == PRINT_CSV);
	CU_ASSERT(print_format_find("json", &format) && format == PRINT_JSON);
	CU_ASSERT_FALSE(print_format_find("JSON", &format));
	CU_ASSERT_FALSE(print_format_find("", &format));
}

/* Any octets may come over the wire; no line may be torn by them. */
static void
test_anything(void)
{
	struct flow flow;

	for (unsigned octet = 0; octet < 256; octet++) {
		memset(&flow, octet, sizeof flow);
		for (unsigned format = 0; format < PRINT_FORMATS; format++) {
			struct printer *printer = printer_new(format);
			g_autoptr(GString) out = g_string_new(NULL);
			printer_flow(printer, &(struct print_flow){ &flow, &names, "\n", "\r", NULL }, out);
			CU_ASSERT_PTR_EQUAL(strchr(out->str, '\n'), out->str + out->len - 1);
			CU_ASSERT_TRUE(g_utf8_validate(out->str, out->len, NULL));
			printer_free(printer);
		}
	}
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "the table, by every kind of connection", test_table },
		{ "columns that widen", test_widths },
		{ "a narrow terminal", test_folded },
		{ "what is not known", test_gaps },
		{ "csv", test_csv },
		{ "json", test_json },
		{ "chosen columns", test_chosen },
		{ "values", test_values },
		{ "flags that a state proves", test_tcp_flags },
		{ "words about both ends", test_words },
		{ "names in the table", test_best_name },
		{ "a JSON string", test_json_string },
		{ "a CSV field", test_csv_field },
		{ "durations", test_duration },
		{ "counts", test_human },
		{ "names of formats", test_formats },
		{ "octets of any kind", test_anything },
		CU_TEST_INFO_NULL,
	};

	putenv(ZONE);
	tzset();
	return run_suite("print", tests);
}
