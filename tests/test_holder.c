/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "audit/holder.h"
#include "error.h"

#define BORN  UINT64_C(1787400202117)   /* 2026-08-22 12:03:22.117 UTC */

enum { CONFIRMED = 8, PORT = 41234 };

static const struct name name[] = { { "-", 1 }, { "alice", 5 }, { "bob", 3 }, { "alice@example.org", 17 }, { "db", 2 } };
static const struct identity identity[] = {
	{ { 0 } }, { { [WORD_PEER] = 1, [WORD_USER] = 3 } }, { { [WORD_PEER] = 2 } }, { { [WORD_VIA] = 4 } },
};
static const struct names names = { name, G_N_ELEMENTS(name), identity, G_N_ELEMENTS(identity), NULL, 0 };

static union address
address(const char *text)
{
	union address address = { .v6 = { 0 } };

	CU_ASSERT_EQUAL_FATAL(inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, &address), 1);
	return address;
}

/* 100.90.0.7:40002 asks 203.0.113.9:443, and is 198.51.100.1:PORT there. Lived from start to end, free at stop. */
static struct flow
sample(uint32_t id, uint64_t start, uint64_t end, uint64_t stop)
{
	return (struct flow){
		.original = { .source = address("100.90.0.7"), .destination = address("203.0.113.9"), .source_port = 40002,
		              .destination_port = 443, .octets = 100, .packets = 1 },
		.reply = { .source = address("203.0.113.9"), .destination = address("198.51.100.1"), .source_port = 443,
		           .destination_port = PORT, .octets = 1000, .packets = 2 },
		.flow_id = (uint64_t)id << 32 ^ (start & UINT32_MAX), .id = id, .start = start, .end = end, .stop = stop,
		.status = CONFIRMED, .family = 4, .protocol = IPPROTO_TCP, .translation = TRANSLATED_SOURCE,
		.end_reason = stop ? END_DETECTED : END_ACTIVE, .initiator = 1, .responder = 3,
	};
}

/* The next record of a flow that goes on, or its last. */
static struct flow
after(const struct flow *flow, uint64_t end, uint64_t stop)
{
	struct flow next = *flow;

	next.start = flow->end;
	next.end = end;
	next.stop = stop;
	next.end_reason = stop ? END_IDLE : END_ACTIVE;
	return next;
}

static struct holder_question
ask(const char *end, const char *protocol, uint64_t first, uint64_t last)
{
	struct holder_question question = { .first = first, .last = last };
	g_autoptr(GError) error = NULL;

	CU_ASSERT_FATAL(holder_parse(end, protocol, &question, &error));
	return question;
}

static void
show(struct holders *holders, const struct flow *flow)
{
	const struct print_flow print = { .flow = flow, .names = &names, .ingress = "wt0" };

	holders_take_record(holders, &print);
}

static void
show_entry(struct holders *holders, const struct flow *flow)
{
	const struct print_flow print = { .flow = flow, .names = &names };

	holders_take_entry(holders, &print);
}

static guint
count(const struct holders *holders, size_t n)
{
	g_autoptr(GArray) answers = holders_answers(holders, n);

	return answers->len;
}

/* The nth answer to the first question. */
static struct holder_answer
answer(const struct holders *holders, guint n)
{
	g_autoptr(GArray) answers = holders_answers(holders, 0);

	CU_ASSERT_FATAL(n < answers->len);
	return g_array_index(answers, struct holder_answer, n);
}

static void
test_parse(void)
{
	static const struct {
		const char *text;
		const char *protocol;
		unsigned family;
		int port;               /* -1: none */
		unsigned number;
	} good[] = {
		{ "198.51.100.1", NULL, 4, -1, 0 }, { "198.51.100.1:41234", "tcp", 4, 41234, 6 },
		{ "198.51.100.1:0", "UDP", 4, 0, 17 }, { "2001:db8::1", "any", 6, -1, 0 }, { "[2001:db8::1]", "icmpv6", 6, -1, 58 },
		{ "[2001:db8::1]:65535", "132", 6, 65535, 132 }, { "::", NULL, 6, -1, 0 },
	};
	static const char *const bad[][2] = {
		{ "", NULL }, { "alice", NULL }, { "198.51.100.1:", NULL }, { "198.51.100.1:65536", NULL }, { "198.51.100:1", NULL },
		{ "198.51.100.1:-1", NULL }, { "[2001:db8::1]443", NULL }, { "[2001:db8::1", NULL }, { "[198.51.100.1]:80", NULL },
		{ "198.51.100.1", "tpc" }, { "198.51.100.1", "256" }, { "198.51.100.1", "" }, { "[2001:db8::1]:", NULL },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
		const struct holder_question question = ask(good[i].text, good[i].protocol, 0, 0);
		CU_ASSERT_EQUAL(question.family, good[i].family);
		CU_ASSERT_EQUAL(question.has_port ? question.port : -1, good[i].port);
		CU_ASSERT_EQUAL(question.protocol, good[i].number);
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
		struct holder_question question;
		g_autoptr(GError) error = NULL;
		CU_ASSERT_FALSE(holder_parse(bad[i][0], bad[i][1], &question, &error));
		CU_ASSERT_EQUAL(error->code, EX_USAGE);
	}
}

/* To the millisecond: from the first packet until the kernel forgot it. */
static void
test_time(void)
{
	const struct flow flow = sample(1, BORN, BORN + 500, BORN + 1500);
	const struct holder_question questions[] = {
		ask("198.51.100.1:41234", NULL, 0, BORN - 1), ask("198.51.100.1:41234", NULL, BORN - 100, BORN),
		ask("198.51.100.1:41234", NULL, BORN, BORN), ask("198.51.100.1:41234", NULL, BORN + 1500, BORN + 1500),
		ask("198.51.100.1:41234", NULL, BORN + 1501, UINT64_MAX), ask("198.51.100.1:41234", NULL, 0, UINT64_MAX),
		ask("198.51.100.1:41234", "tcp", BORN, BORN), ask("198.51.100.1:41234", "udp", BORN, BORN),
		ask("198.51.100.1:41235", NULL, BORN, BORN), ask("198.51.100.1", NULL, BORN, BORN),
		ask("198.51.100.2:41234", NULL, BORN, BORN), ask("198.51.100.1", "udp", BORN, BORN),
	};
	static const guint expected[] = { 0, 1, 1, 1, 0, 1, 1, 0, 0, 1, 0, 0 };
	g_autoptr(holders_t) holders = holders_new(questions, G_N_ELEMENTS(questions));

	show(holders, &flow);
	for (unsigned i = 0; i < G_N_ELEMENTS(questions); i++) {
		CU_ASSERT_EQUAL(count(holders, i), expected[i]);
		if (count(holders, i) != expected[i])
			printf("\n    question %u", i);
	}
	CU_ASSERT_FALSE(holders_are_missing(holders));
}

/* Each end is found, the translated one first. */
static void
test_roles(void)
{
	static const struct {
		const char *end;
		guint n;
		enum holder_role role;
	} rows[] = {
		{ "198.51.100.1:41234", 1, HOLDER_TRANSLATED_SOURCE }, { "100.90.0.7:40002", 1, HOLDER_SOURCE },
		{ "203.0.113.9:443", 1, HOLDER_DESTINATION }, { "100.90.0.7:41234", 0, 0 }, { "203.0.113.9:40002", 0, 0 },
		{ "203.0.113.9", 1, HOLDER_DESTINATION },
	};
	struct flow flow = sample(1, BORN, BORN, BORN);

	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
		const struct holder_question question = ask(rows[i].end, NULL, BORN, BORN);
		g_autoptr(holders_t) holders = holders_new(&question, 1);
		show(holders, &flow);
		CU_ASSERT_EQUAL(count(holders, 0), rows[i].n);
		if (rows[i].n)
			CU_ASSERT_EQUAL(answer(holders, 0).role, rows[i].role);
	}
	/* Translated to an address of its own, at another port: once, and by the better of its two roles. */
	flow.reply.destination = flow.original.source;
	flow.translation |= TRANSLATED_DESTINATION;
	flow.reply.source = address("10.20.0.20");
	const struct holder_question question[] = {
		ask("100.90.0.7", NULL, BORN, BORN), ask("10.20.0.20:443", NULL, BORN, BORN),
	};
	g_autoptr(holders_t) holders = holders_new(question, 2);
	show(holders, &flow);
	CU_ASSERT_EQUAL(count(holders, 0), 1);
	CU_ASSERT_EQUAL(answer(holders, 0).role, HOLDER_TRANSLATED_SOURCE);
	CU_ASSERT_EQUAL(count(holders, 1), 1);
}

static void
test_order(void)
{
	const struct holder_question question = ask("198.51.100.1:41234", NULL, BORN, BORN + 999);
	struct flow own = sample(1, BORN, BORN + 10, BORN + 10), late = sample(2, BORN + 500, BORN + 600, BORN + 700);
	struct flow early = sample(3, BORN + 100, BORN + 200, BORN + 300), unsure = sample(4, BORN + 50, BORN + 60, BORN + 70);
	g_autoptr(holders_t) holders = holders_new(&question, 1);

	/* The router itself, at the very port. */
	own.original.source = own.reply.destination;
	own.original.source_port = PORT;
	own.translation = 0;
	unsure.gaps = GAP_NO_START;
	show(holders, &unsure);
	show(holders, &own);
	show(holders, &late);
	show(holders, &early);
	CU_ASSERT_EQUAL_FATAL(count(holders, 0), 4);
	CU_ASSERT_EQUAL(answer(holders, 0).holder->flow.id, 3);
	CU_ASSERT_EQUAL(answer(holders, 1).holder->flow.id, 2);
	CU_ASSERT_EQUAL(answer(holders, 2).holder->flow.id, 1);
	CU_ASSERT_EQUAL(answer(holders, 2).role, HOLDER_SOURCE);
	CU_ASSERT_EQUAL(answer(holders, 3).holder->flow.id, 4);
	CU_ASSERT_EQUAL(answer(holders, 3).holder->from, 0);
}

/* A long flow in three records, shown twice in any order: each counts once. Those that were shown before it was known
 * that they are wanted need it. */
static void
test_join(void)
{
	const struct flow first = sample(1, BORN, BORN + 60000, 0);
	const struct flow second = after(&first, BORN + 120000, 0);
	/* The last look came after the last packet. */
	struct flow third = after(&second, BORN + 115000, BORN + 250000);
	third.start = third.end;
	const struct flow *const orders[][3] = {
		{ &first, &second, &third }, { &third, &second, &first }, { &second, &first, &third }, { &first, &third, &second },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(orders); i++) {
		const struct holder_question question = ask("198.51.100.1:41234", "tcp", BORN + 70000, BORN + 70999);
		g_autoptr(holders_t) holders = holders_new(&question, 1);
		for (unsigned k = 0; k < 6; k++)
			show(holders, orders[i][k % 3]);
		CU_ASSERT_FALSE(holders_are_missing(holders));
		CU_ASSERT_EQUAL_FATAL(count(holders, 0), 1);
		const struct holder *holder = answer(holders, 0).holder;
		CU_ASSERT_EQUAL(holder->records, 3);
		CU_ASSERT_TRUE(holder->whole);
		CU_ASSERT_EQUAL(holder->flow.original.octets, 300);
		CU_ASSERT_EQUAL(holder->flow.reply.packets, 6);
		CU_ASSERT_EQUAL(holder->from, BORN);
		CU_ASSERT_EQUAL(holder->flow.start, BORN);
		CU_ASSERT_EQUAL(holder->flow.end, BORN + 115000);
		CU_ASSERT_EQUAL(holder->to, BORN + 250000);
		CU_ASSERT_EQUAL(holder->flow.end_reason, END_IDLE);
	}
}

static void
test_missing(void)
{
	const struct flow first = sample(1, BORN, BORN + 60000, 0);
	const struct flow second = after(&first, BORN + 120000, 0), third = after(&second, BORN + 130000, BORN + 250000);
	const struct holder_question question = ask("198.51.100.1:41234", "tcp", BORN + 70000, BORN + 70999);
	g_autoptr(GArray) addresses = g_array_new(false, false, sizeof(struct holder_address));
	g_autoptr(holders_t) holders = holders_new(&question, 1);
	uint64_t from, to;

	show(holders, &second);
	CU_ASSERT_FALSE(answer(holders, 0).holder->whole);
	holders_missing(holders, &from, &to, addresses);
	CU_ASSERT_EQUAL(from, BORN);
	CU_ASSERT_EQUAL(to, UINT64_MAX);
	CU_ASSERT_EQUAL_FATAL(addresses->len, 1);
	const union address peer = address("100.90.0.7");
	CU_ASSERT_EQUAL(memcmp(&g_array_index(addresses, struct holder_address, 0).address, &peer, sizeof peer), 0);
	show(holders, &third);
	holders_missing(holders, &from, &to, addresses);
	CU_ASSERT_EQUAL(to, BORN + 250000);
	show(holders, &first);
	CU_ASSERT_FALSE(holders_are_missing(holders));
}

/* Of a flow that was counted from the first look on, the birth is in its id: it held its port before that. */
static void
test_born(void)
{
	struct flow flow = sample(1, BORN, BORN + 60000, BORN + 70000);
	const struct holder_question question = ask("198.51.100.1:41234", "tcp", BORN + 1000, BORN + 1999);
	g_autoptr(holders_t) holders = holders_new(&question, 1), others = holders_new(&question, 1);

	flow.start = BORN + 30000;
	flow.gaps = GAP_PARTIAL;
	show(holders, &flow);
	CU_ASSERT_EQUAL_FATAL(count(holders, 0), 1);
	CU_ASSERT_EQUAL(answer(holders, 0).holder->from, BORN);
	CU_ASSERT_TRUE(answer(holders, 0).holder->whole);
	/* An id that somebody else made says nothing. */
	flow.status = 0;
	show(others, &flow);
	CU_ASSERT_EQUAL(count(others, 0), 0);
	/* A clock that was set back by a second meanwhile, and the seven weeks after which the low half comes again. */
	flow = sample(2, BORN + 1000, BORN + 60000, BORN + 70000);
	flow.start = BORN;
	show(holders, &flow);
	CU_ASSERT_EQUAL(count(holders, 0), 2);
	CU_ASSERT_EQUAL(answer(holders, 1).holder->from, BORN);
	const uint64_t turn = (BORN | UINT32_MAX) + 1;
	flow = sample(3, turn - 1000, turn + 60000, turn + 60001);
	flow.start = turn + 5000;
	const struct holder_question later = ask("198.51.100.1:41234", "tcp", turn - 1000, turn - 1000);
	g_autoptr(holders_t) turned = holders_new(&later, 1);
	show(turned, &flow);
	CU_ASSERT_EQUAL(count(turned, 0), 1);
}

static void
test_live(void)
{
	struct flow entry = sample(1, BORN, BORN + 90000, 0);
	const struct flow interim = sample(1, BORN, BORN + 60000, 0), last = after(&interim, BORN + 90100, BORN + 90200);
	const struct holder_question question = ask("198.51.100.1:41234", "tcp", BORN + 1000, BORN + 90000);
	g_autoptr(holders_t) holders = holders_new(&question, 1);

	entry.original.octets = 5000;
	show_entry(holders, &entry);
	CU_ASSERT_TRUE(answer(holders, 0).holder->open);
	/* The kernel counts them, too. */
	show(holders, &interim);
	CU_ASSERT_EQUAL_FATAL(count(holders, 0), 1);
	CU_ASSERT_TRUE(answer(holders, 0).holder->open);
	CU_ASSERT_FALSE(holders_are_missing(holders));
	CU_ASSERT_EQUAL(answer(holders, 0).holder->flow.original.octets, 5000);
	/* It ended since: only the archive counts. */
	show(holders, &last);
	CU_ASSERT_FALSE(answer(holders, 0).holder->open);
	CU_ASSERT_TRUE(holders_are_missing(holders));
	show(holders, &interim);
	CU_ASSERT_EQUAL(answer(holders, 0).holder->flow.original.octets, 200);
	CU_ASSERT_EQUAL(answer(holders, 0).holder->to, BORN + 90200);
	CU_ASSERT_FALSE(holders_are_missing(holders));
}

/* The names are the holder's own, and still there when those that were shown are gone. */
static void
test_names(void)
{
	const struct holder_question question = ask("198.51.100.1:41234", "tcp", BORN, BORN);
	struct flow flow = sample(1, BORN, BORN, BORN);
	char text[] = "policy";
	const struct name words[] = { { "-", 1 }, { text, 6 }, { "alice", 5 } };
	const struct identity who[] = { { { 0 } }, { { [WORD_PEER] = 2 } } };
	const struct names shown = { words, 3, who, 2, NULL, 0 };
	const struct print_flow print = { .flow = &flow, .names = &shown, .egress = "eth0", .router = "router-a" };
	g_autoptr(holders_t) holders = holders_new(&question, 1);

	flow.policy = 1;
	flow.responder = 0;
	holders_take_record(holders, &print);
	memset(text, 'x', sizeof text - 1);
	const struct holder *holder = answer(holders, 0).holder;
	const uint32_t peer = names_word(holder->names, holder->flow.initiator, WORD_PEER);
	CU_ASSERT_STRING_EQUAL(holder->names->name[peer].text, "alice");
	CU_ASSERT_STRING_EQUAL(holder->names->name[holder->flow.policy].text, "policy");
	CU_ASSERT_EQUAL(names_who(holder->names, holder->flow.responder), 0);
	CU_ASSERT_STRING_EQUAL(holder->egress, "eth0");
	CU_ASSERT_STRING_EQUAL(holder->router, "router-a");
}

/* An echo's id is a port that the initiator alone has. */
static void
test_icmp(void)
{
	const struct holder_question questions[] = {
		ask("198.51.100.1:777", "icmp", BORN, BORN), ask("100.90.0.7:4242", NULL, BORN, BORN),
		ask("203.0.113.9:4242", "icmp", BORN, BORN), ask("203.0.113.9", "icmp", BORN, BORN),
		ask("198.51.100.1:777", "udp", BORN, BORN),
	};
	static const guint expected[] = { 1, 1, 0, 1, 0 };
	struct flow flow = sample(1, BORN, BORN, BORN);
	g_autoptr(holders_t) holders = holders_new(questions, G_N_ELEMENTS(questions));

	flow.protocol = IPPROTO_ICMP;
	flow.original.source_port = flow.original.destination_port = flow.reply.source_port = flow.reply.destination_port = 0;
	flow.original.icmp_id = 4242;
	flow.reply.icmp_id = 777;
	show(holders, &flow);
	for (unsigned i = 0; i < G_N_ELEMENTS(questions); i++)
		CU_ASSERT_EQUAL(count(holders, i), expected[i]);
}

/* One port again and again, by one peer after the other, with a second in between: every second is answered rightly,
 * whatever the order of questions and records. */
static void
test_reuse(void)
{
	enum { FLOWS = 500, EVERY = 3000, HELD = 1999, QUESTIONS = FLOWS * EVERY / 1000 };
	struct holder_question question[QUESTIONS];

	for (unsigned i = 0; i < QUESTIONS; i++) {
		const uint64_t second = BORN + (i * 769 % QUESTIONS) * 1000;
		question[i] = ask("198.51.100.1:41234", i % 2 ? "tcp" : NULL, second, second + 999);
	}
	g_autoptr(holders_t) holders = holders_new(question, QUESTIONS);
	for (uint32_t i = 0; i < FLOWS; i++) {
		const uint32_t n = i * 317 % FLOWS;
		const struct flow flow = sample(n, BORN + n * EVERY, BORN + n * EVERY + 10, BORN + n * EVERY + HELD);
		show(holders, &flow);
	}
	for (unsigned i = 0; i < QUESTIONS; i++) {
		const uint64_t since = question[i].first - BORN;
		g_autoptr(GArray) answers = holders_answers(holders, i);
		CU_ASSERT_EQUAL(answers->len, since % EVERY < HELD);
		for (guint k = 0; k < answers->len; k++)
			CU_ASSERT_EQUAL(g_array_index(answers, struct holder_answer, k).holder->flow.id, since / EVERY);
	}
}

/* Records of others, that have no id, are not joined. */
static void
test_foreign(void)
{
	const struct holder_question question = ask("198.51.100.1:41234", "tcp", BORN, BORN + 9999);
	struct flow one = sample(0, BORN, BORN + 10, 0), other = sample(0, BORN + 5000, BORN + 5010, 0);
	g_autoptr(holders_t) holders = holders_new(&question, 1);

	one.status = other.status = 0;
	one.flow_id = other.flow_id = 0;
	one.end_reason = other.end_reason = 0;
	show(holders, &one);
	show(holders, &other);
	CU_ASSERT_EQUAL(count(holders, 0), 2);
	CU_ASSERT_FALSE(holders_are_missing(holders));
}

static CU_TestInfo tests[] = {
	{ "questions are read", test_parse },
	{ "held from birth to stop", test_time },
	{ "every end of a flow", test_roles },
	{ "best answers first", test_order },
	{ "records are joined", test_join },
	{ "what is missing is known", test_missing },
	{ "births are remembered", test_born },
	{ "flows that are not over", test_live },
	{ "names are kept", test_names },
	{ "ids of echoes", test_icmp },
	{ "a port used again and again", test_reuse },
	{ "records of others", test_foreign },
	CU_TEST_INFO_NULL,
};

int
main(void)
{
	return run_suite("holder", tests);
}
