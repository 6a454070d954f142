/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "audit/path.h"
#include "audit/trace.h"
#include "audit/tuple.h"
#include "suite.h"

enum { A, B, C, ROUTERS };

enum {
	SYN_SENT = 1, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE,
	SEEN_REPLY = 1 << 1, ASSURED = 1 << 2,
};

#define NOON UINT64_C(1795348800000)

/* A world of routers and what they recorded. */
struct world {
	struct hops *hops;
	struct clocks *clocks;
	struct reach *reach;
	struct trace_router router[ROUTERS];
	struct trace_hole hole[4];
	size_t n_holes;
	struct trace *trace;
	uint64_t last_id;
	uint64_t slack;
};

static void
setup(struct world *world)
{
	static const char *const names[] = { "router-a", "router-b", "router-c" };

	*world = (struct world){ .hops = hops_new(), .clocks = clocks_new(), .reach = reach_new(), .slack = 5000 };
	for (unsigned i = 0; i < ROUTERS; i++)
		world->router[i] = (struct trace_router){ .name = names[i], .first = NOON, .last = NOON + 3600000 };
}

static void
teardown(struct world *world)
{
	if (world->trace)
		trace_free(world->trace);
	hops_free(world->hops);
	clocks_free(world->clocks);
	reach_free(world->reach);
}

static union address
address(const char *text)
{
	union address result = { 0 };

	CU_ASSERT_EQUAL_FATAL(inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, &result), 1);
	return result;
}

/* TCP that went well, a second long, from source to destination and not translated; at ms after noon. */
static struct flow
flow_of(struct world *world, uint64_t at, const char *source, uint16_t port, const char *destination, uint16_t service)
{
	struct flow flow = {
		.original = { .source = address(source), .destination = address(destination), .source_port = port,
		              .destination_port = service, .octets = 600, .packets = 6, .biflow_direction = 1,
		              .egress = 3 },
		.reply = { .source = address(destination), .destination = address(source), .source_port = service,
		           .destination_port = port, .octets = 4000, .packets = 5, .biflow_direction = 2 },
		.flow_id = ++world->last_id, .start = NOON + at, .born = NOON + at, .end = NOON + at + 1000,
		.family = strchr(source, ':') ? 6 : 4, .protocol = IPPROTO_TCP, .state = TIME_WAIT,
		.status = SEEN_REPLY | ASSURED, .end_reason = END_DETECTED,
	};

	return flow;
}

static struct flow
masquerade(struct flow flow, const char *as, uint16_t port)
{
	flow.reply.destination = address(as);
	flow.reply.destination_port = port;
	flow.translation = TRANSLATED_SOURCE;
	flow.masqueraded = 1;
	return flow;
}

static void
record(struct world *world, unsigned router, struct flow flow)
{
	clocks_add(world->clocks, router, &flow);
	reach_add(world->reach, router, &flow);
	CU_ASSERT_TRUE(hops_add(world->hops, router, &flow, NULL, true, NULL));
}

/* At router A, on its way into the tunnel. */
static struct flow
at_a(struct world *world, uint64_t at, unsigned host, uint16_t port, uint16_t as)
{
	char source[16];

	snprintf(source, sizeof source, "10.20.0.%u", host);
	struct flow flow = masquerade(flow_of(world, at, source, port, "10.30.0.30", 5432), "100.90.0.1", as);
	flow.original.flow_direction = 1;
	return flow;
}

/* The same at router B. */
static struct flow
at_b(struct world *world, uint64_t at, uint16_t port, uint16_t as)
{
	return masquerade(flow_of(world, at, "100.90.0.1", port, "10.30.0.30", 5432), "10.30.0.1", as);
}

static const struct trace_path *
solve(struct world *world, size_t *n_paths)
{
	size_t n_hops;

	clocks_settle(world->clocks);
	hops_settle(world->hops);
	const struct hop *hops = hops_all(world->hops, &n_hops);
	const struct trace_options options = {
		.slack = world->slack, .router = world->router, .n_routers = ROUTERS, .hole = world->hole,
		.n_holes = world->n_holes, .clocks = world->clocks, .reach = world->reach,
	};
	world->trace = trace_new(hops, n_hops, &options);
	return trace_paths(world->trace, n_paths);
}

/* The verdict on one flow that both routers saw; change makes it what it shall be, at each of them. */
static void
expect_joined(void (*change)(struct flow *a, struct flow *b), enum verdict verdict, const char *words)
{
	struct world world;
	size_t n_paths;

	setup(&world);
	struct flow a = at_a(&world, 0, 20, 40002, 40002), b = at_b(&world, 1, 40002, 40002);
	change(&a, &b);
	record(&world, A, a);
	record(&world, B, b);
	const struct trace_path *path = solve(&world, &n_paths);
	CU_ASSERT_EQUAL_FATAL(n_paths, 1);
	CU_ASSERT_EQUAL(path->n_hops, 2);
	CU_ASSERT_EQUAL(path->verdict, verdict);
	CU_ASSERT_STRING_EQUAL(path->words, words);
	teardown(&world);
}

static void
unanswered(struct flow *flow)
{
	flow->reply.octets = flow->reply.packets = 0;
	flow->state = SYN_SENT;
	flow->status = 0;
}

static void
change_nothing(struct flow *a G_GNUC_UNUSED, struct flow *b G_GNUC_UNUSED)
{
}

static void
change_no_reply(struct flow *a, struct flow *b)
{
	unanswered(a);
	unanswered(b);
}

static void
change_reply_lost(struct flow *a, struct flow *b)
{
	unanswered(a);
	b->state = SYN_RECV;
}

static void
change_refused(struct flow *a, struct flow *b)
{
	for (struct flow *flow = a; flow; flow = flow == a ? b : NULL) {
		flow->state = CLOSE;
		flow->status = SEEN_REPLY;
		flow->original.packets = flow->reply.packets = 1;
	}
}

static void
change_half_open(struct flow *a, struct flow *b)
{
	a->state = b->state = SYN_RECV;
}

static void
change_reset(struct flow *a, struct flow *b)
{
	a->state = b->state = CLOSE;
}

static void
change_goes_on(struct flow *a, struct flow *b)
{
	a->state = b->state = ESTABLISHED;
	a->end_reason = b->end_reason = END_ACTIVE;
}

static void
change_left_open(struct flow *a, struct flow *b)
{
	a->state = b->state = ESTABLISHED;
	a->end_reason = b->end_reason = END_IDLE;
}

static void
change_udp(struct flow *a, struct flow *b)
{
	a->state = b->state = 0;
	a->protocol = b->protocol = IPPROTO_UDP;
}

static void
change_no_counters(struct flow *a, struct flow *b)
{
	a->gaps = b->gaps = GAP_NO_COUNTERS;
	a->reply.packets = b->reply.packets = 0;
}

static void
test_verdicts_of_joined(void)
{
	expect_joined(change_nothing, VERDICT_CLOSED, "answered and closed in order");
	expect_joined(change_no_reply, VERDICT_NO_REPLY, "reached router-b, no reply from the host");
	expect_joined(change_reply_lost, VERDICT_REPLY_LOST,
	              "answered by the host, the answers left router-b and never came back to router-a");
	expect_joined(change_refused, VERDICT_REFUSED, "reached router-b, refused by the host (RST)");
	expect_joined(change_half_open, VERDICT_HALF_OPEN,
	              "reached router-b, accepted by the host, never confirmed by the initiator");
	expect_joined(change_reset, VERDICT_RESET, "answered, then reset (RST)");
	expect_joined(change_goes_on, VERDICT_GOES_ON, "answered, still going on at its last record");
	expect_joined(change_left_open, VERDICT_LEFT_OPEN, "answered, never closed: it fell silent");
	expect_joined(change_udp, VERDICT_ANSWERED, "answered");
	expect_joined(change_no_counters, VERDICT_NO_COUNTERS, "reached router-b, which did not count packets");
}

/* The verdict on a flow that only A saw, while B saw another one from there. */
static void
expect_lost(void (*change)(struct world *world, struct flow *a), enum verdict verdict, const char *words)
{
	struct world world;
	size_t n_paths;

	setup(&world);
	record(&world, A, at_a(&world, 60000, 20, 40001, 40001));
	record(&world, B, at_b(&world, 60000, 40001, 40001));
	struct flow a = at_a(&world, 120000, 20, 40002, 40002);
	unanswered(&a);
	change(&world, &a);
	record(&world, A, a);
	const struct trace_path *paths = solve(&world, &n_paths);
	CU_ASSERT_EQUAL_FATAL(n_paths, 2);
	CU_ASSERT_EQUAL(paths[0].verdict, VERDICT_CLOSED);
	CU_ASSERT_EQUAL(paths[1].n_hops, 1);
	CU_ASSERT_EQUAL(paths[1].verdict, verdict);
	CU_ASSERT_STRING_EQUAL(paths[1].words, words);
	teardown(&world);
}

static void
lose_nothing(struct world *world G_GNUC_UNUSED, struct flow *a G_GNUC_UNUSED)
{
}

static void
lose_to_neighbour(struct world *world G_GNUC_UNUSED, struct flow *a)
{
	a->original.destination = a->reply.source = address("10.30.0.77");
}

static void
lose_to_elsewhere(struct world *world G_GNUC_UNUSED, struct flow *a)
{
	a->original.destination = a->reply.source = address("100.90.0.7");
}

static void
lose_in_hole(struct world *world, struct flow *a)
{
	world->hole[world->n_holes++] = (struct trace_hole){ a->start - 1000, a->start + 500, B };
}

static void
lose_after_the_end(struct world *world, struct flow *a)
{
	world->router[B].last = a->start - 60000;
}

static void
lose_but_answer(struct world *world G_GNUC_UNUSED, struct flow *a)
{
	a->reply.packets = 5;
}

static void
test_verdicts_of_lost(void)
{
	expect_lost(lose_nothing, VERDICT_NOT_SEEN, "left router-a, never seen at router-b");
	expect_lost(lose_to_neighbour, VERDICT_NOT_SEEN, "left router-a, never seen at router-b");
	expect_lost(lose_to_elsewhere, VERDICT_LEFT,
	            "left router-a by the tunnel, no reply; no archive has what is behind it");
	expect_lost(lose_in_hole, VERDICT_NOT_RECORDED,
	            "left router-a; the records of router-b are incomplete for that time");
	expect_lost(lose_after_the_end, VERDICT_NOT_RECORDED,
	            "left router-a; the records of router-b are incomplete for that time");
	expect_lost(lose_but_answer, VERDICT_ELSEWHERE, "left router-a and was answered, but never seen at router-b");
}

/* A hole that another router has, or that lies elsewhere in time, excuses nothing. */
static void
test_hole_elsewhere(void)
{
	struct world world;
	size_t n_paths;

	setup(&world);
	record(&world, A, at_a(&world, 60000, 20, 40001, 40001));
	record(&world, B, at_b(&world, 60000, 40001, 40001));
	struct flow a = at_a(&world, 120000, 20, 40002, 40002);
	unanswered(&a);
	record(&world, A, a);
	world.hole[0] = (struct trace_hole){ a.start, a.start, A };
	world.hole[1] = (struct trace_hole){ a.start + 60000, a.start + 61000, B };
	world.n_holes = 2;
	CU_ASSERT_EQUAL(solve(&world, &n_paths)[1].verdict, VERDICT_NOT_SEEN);
	teardown(&world);
}

/* It begins at B, with an address of A's, whose archive lacks it. */
static void
test_remark(void)
{
	struct world world;
	size_t n_paths;

	setup(&world);
	record(&world, A, at_a(&world, 60000, 20, 40001, 40001));
	record(&world, B, at_b(&world, 60000, 40001, 40001));
	record(&world, B, at_b(&world, 120000, 40002, 40002));
	const struct trace_path *paths = solve(&world, &n_paths);
	CU_ASSERT_EQUAL_FATAL(n_paths, 2);
	CU_ASSERT_STRING_EQUAL(paths[1].remark, "100.90.0.1 is an address of router-a, which has no such flow");
	CU_ASSERT_PTR_NULL(paths[0].remark);
	teardown(&world);
}

/* Joining */

/* Every use of one tuple goes to the right one, whatever the clocks. */
static void
expect_reuse(int64_t ahead, unsigned uses, uint64_t every)
{
	struct world world;
	size_t n_paths;

	setup(&world);
	for (unsigned i = 0; i < 20; i++) {     /* tuples used once, by which the clocks are measured */
		record(&world, A, at_a(&world, 100000 + i * 377, 20, 50000 + i, 50000 + i));
		record(&world, B, at_b(&world, 100000 + i * 377 + ahead + i % 3, 50000 + i, 50000 + i));
	}
	for (unsigned i = 0; i < uses; i++) {
		struct flow a = at_a(&world, 200000 + i * every, 20 + i % 5, 40002, 40002);
		struct flow b = at_b(&world, 200000 + i * every + ahead + i % 2, 40002, 33000 + i);
		a.end = a.start + every / 2;
		b.end = b.start + every / 2;
		a.original.octets = b.original.octets = 10000 + i;
		record(&world, A, a);
		record(&world, B, b);
	}
	const struct trace_path *paths = solve(&world, &n_paths);
	CU_ASSERT_EQUAL_FATAL(n_paths, 20 + uses);
	for (size_t i = 0; i < n_paths; i++) {
		CU_ASSERT_EQUAL_FATAL(paths[i].n_hops, 2);
		CU_ASSERT_EQUAL(paths[i].hop[0]->flow.original.octets, paths[i].hop[1]->flow.original.octets);
		CU_ASSERT_TRUE(ABS(paths[i].leg[0].clock.ms - ahead) <= 2);
	}
	teardown(&world);
}

static void
test_reuse(void)
{
	expect_reuse(0, 100, 1000);
	expect_reuse(2000, 100, 1000);
	expect_reuse(-2000, 100, 1000);
	expect_reuse(2000, 100, 2000);
	expect_reuse(2000, 100, 100);
	expect_reuse(0, 100, 20);
}

/* The second use was lost on the way: neither the first nor the third takes its place. */
static void
test_lost_use(void)
{
	struct world world;
	size_t n_paths;

	setup(&world);
	for (unsigned i = 0; i < 20; i++) {
		record(&world, A, at_a(&world, 100000 + i * 377, 20, 50000 + i, 50000 + i));
		record(&world, B, at_b(&world, 100000 + i * 377, 50000 + i, 50000 + i));
	}
	for (unsigned i = 0; i < 3; i++) {
		struct flow a = at_a(&world, 200000 + i * 2500, 20 + i, 40002, 40002);
		if (i == 1)
			unanswered(&a);
		record(&world, A, a);
		if (i != 1)
			record(&world, B, at_b(&world, 200000 + i * 2500, 40002, 40002));
	}
	const struct trace_path *paths = solve(&world, &n_paths);
	CU_ASSERT_EQUAL_FATAL(n_paths, 23);
	CU_ASSERT_EQUAL(paths[20].n_hops, 2);
	CU_ASSERT_EQUAL(paths[21].n_hops, 1);
	CU_ASSERT_EQUAL(paths[21].verdict, VERDICT_NOT_SEEN);
	CU_ASSERT_EQUAL(paths[22].n_hops, 2);
	teardown(&world);
}

/* Without a measure of the clocks two that fit are two that fit. */
static void
test_ambiguous(void)
{
	struct world world;
	size_t n_paths;

	setup(&world);
	record(&world, A, at_a(&world, 10000, 20, 40002, 40002));
	record(&world, B, at_b(&world, 9000, 40002, 33001));
	record(&world, B, at_b(&world, 11500, 40002, 33002));
	const struct trace_path *paths = solve(&world, &n_paths);
	CU_ASSERT_EQUAL_FATAL(n_paths, 3);
	const struct trace_path *path = paths[0].hop[0]->router == A ? &paths[0] : &paths[1];
	CU_ASSERT_EQUAL(path->n_hops, 1);
	CU_ASSERT_EQUAL(path->verdict, VERDICT_AMBIGUOUS);
	CU_ASSERT_EQUAL(path->n_after, 2);
	CU_ASSERT_STRING_EQUAL(path->words, "left router-a; which flow it is behind that is ambiguous");
	CU_ASSERT_EQUAL(paths[2].n_before, 1);
	CU_ASSERT_STRING_EQUAL(paths[2].remark, "which flow it was before router-b is ambiguous");
	teardown(&world);
}

/* Too far apart in time, another protocol, or the same router: no join. */
static void
test_not_joined(void)
{
	struct world world;
	size_t n_paths;

	setup(&world);
	record(&world, A, at_a(&world, 10000, 20, 40002, 40002));
	record(&world, B, at_b(&world, 17000, 40002, 40002));
	struct flow udp = at_b(&world, 10000, 40002, 40002);
	udp.protocol = IPPROTO_UDP;
	record(&world, B, udp);
	record(&world, A, at_b(&world, 10000, 40002, 40002));
	solve(&world, &n_paths);
	CU_ASSERT_EQUAL(n_paths, 4);
	teardown(&world);
}

/* None of three routers translates: the tunnel tells who was first and last, and nobody is left out. */
static void
test_unchanged(void)
{
	struct world world;
	size_t n_paths;
	static const unsigned order[] = { C, A, B };

	setup(&world);
	for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
		struct flow flow = flow_of(&world, 1000 + i, "10.20.0.20", 40002, "10.30.0.30", 5432);
		flow.original.flow_direction = order[i] == C;
		record(&world, order[i], flow);
	}
	const struct trace_path *path = solve(&world, &n_paths);
	CU_ASSERT_EQUAL_FATAL(n_paths, 1);
	CU_ASSERT_EQUAL_FATAL(path->n_hops, 3);
	for (unsigned i = 0; i < G_N_ELEMENTS(order); i++)
		CU_ASSERT_EQUAL(path->hop[i]->router, order[i]);
	teardown(&world);
}

/* Records of a long flow add up, and what differs between the routers is said. */
static void
test_records(void)
{
	struct world world;
	g_autoptr(GString) leg = g_string_new(NULL);
	size_t n_paths;

	setup(&world);
	struct flow a = at_a(&world, 0, 20, 40002, 40002);
	for (unsigned i = 0; i < 3; i++) {
		record(&world, A, a);
		a.start = a.end;
		a.end += 60000;
	}
	struct flow b = at_b(&world, 0, 40002, 40002);
	b.end = a.end - 60000;
	b.original.packets = 16;
	b.reply.packets = 16;
	record(&world, B, b);
	const struct trace_path *path = solve(&world, &n_paths);
	CU_ASSERT_EQUAL_FATAL(n_paths, 1);
	CU_ASSERT_EQUAL_FATAL(path->n_hops, 2);
	CU_ASSERT_EQUAL(path->hop[0]->records, 3);
	CU_ASSERT_EQUAL(path->hop[0]->flow.original.octets, 1800);
	CU_ASSERT_EQUAL(path->hop[0]->flow.reply.packets, 15);
	path_leg(leg, &path->leg[0]);
	CU_ASSERT_STRING_EQUAL(leg->str, "2 packets lost on the way there, 1 packet lost on the way back");
	teardown(&world);
}

/* One router forgot the connection twice and began anew; the other has all of it as one. whole is that router. */
static void
expect_parts(unsigned whole)
{
	struct world world;
	size_t n_paths;

	setup(&world);
	for (unsigned i = 0; i < 20; i++) {
		record(&world, A, at_a(&world, 100000 + i * 377, 20, 50000 + i, 50000 + i));
		record(&world, B, at_b(&world, 100000 + i * 377, 50000 + i, 50000 + i));
	}
	for (unsigned router = A; router <= B; router++)
		for (unsigned i = 0; i < (router == whole ? 1 : 3); i++) {
			struct flow flow = router == A ? at_a(&world, 200000 + i * 40000, 20, 40002, 40002)
			                               : at_b(&world, 200000 + i * 40000, 40002, 40002);
			flow.end = router == whole ? NOON + 281000 : flow.end;
			flow.protocol = IPPROTO_UDP;
			record(&world, router, flow);
		}
	const struct trace_path *paths = solve(&world, &n_paths);
	CU_ASSERT_EQUAL_FATAL(n_paths, 23);
	for (unsigned i = 20; i < 23; i++) {
		g_autoptr(GString) leg = g_string_new(NULL);
		CU_ASSERT_EQUAL_FATAL(paths[i].n_hops, 2);
		CU_ASSERT_EQUAL(paths[i].hop[0]->router, A);
		CU_ASSERT_EQUAL(paths[i].hop[1]->router, B);
		CU_ASSERT_EQUAL(paths[i].verdict, VERDICT_ANSWERED);
		path_leg(leg, &paths[i].leg[0]);
		CU_ASSERT_STRING_EQUAL(leg->str, paths[i].hop[!whole]->flow.start == NOON + 200000
		                                 ? "" : "one flow here is several there");
	}
	teardown(&world);
}

static void
test_parts(void)
{
	expect_parts(A);
	expect_parts(B);
}

/* Uniflows of other exporters: the answers have tuples of their own, or those of the questions mirrored. */
static struct flow
uniflow(const struct flow *flow, bool back, bool mirrored)
{
	struct flow result = *flow;

	result.flow_id = 0;
	result.original.biflow_direction = result.reply.biflow_direction = 0;
	result.reply.octets = result.reply.packets = 0;
	if (!back)
		return result;
	result.original = flow->reply;
	result.reply = flow->original;
	if (mirrored) {
		result.original = (struct side){
			.source = flow->original.destination, .source_port = flow->original.destination_port,
			.destination = flow->original.source, .destination_port = flow->original.source_port,
			.octets = flow->reply.octets, .packets = flow->reply.packets,
		};
		result.reply = (struct side){
			.source = flow->reply.destination, .source_port = flow->reply.destination_port,
			.destination = flow->reply.source, .destination_port = flow->reply.source_port,
		};
	}
	result.original.biflow_direction = result.reply.biflow_direction = 0;
	result.reply.octets = result.reply.packets = 0;
	return result;
}

static void
expect_uniflows(bool mirrored, bool back_first)
{
	struct world world;
	size_t n_paths;

	setup(&world);
	const struct flow a = at_a(&world, 0, 20, 40002, 40777), b = at_b(&world, 0, 40777, 40999);
	const struct flow *const flows[] = { &a, &b };
	for (unsigned i = 0; i < 4; i++)
		record(&world, i / 2, uniflow(flows[i / 2], (i & 1) ^ back_first, mirrored));
	const struct trace_path *path = solve(&world, &n_paths);
	CU_ASSERT_EQUAL_FATAL(n_paths, 1);
	CU_ASSERT_EQUAL_FATAL(path->n_hops, 2);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(path->hop[i]->router, i);
		CU_ASSERT_TRUE(path->hop[i]->foreign);
		CU_ASSERT_EQUAL(path->hop[i]->flow.original.octets, 600);
		CU_ASSERT_EQUAL(path->hop[i]->flow.reply.octets, 4000);
		CU_ASSERT_EQUAL(path->hop[i]->flow.original.destination_port, 5432);
	}
	CU_ASSERT_EQUAL(path->hop[1]->flow.reply.destination_port, 40999);
	teardown(&world);
}

static void
test_uniflows(void)
{
	for (unsigned i = 0; i < 4; i++)
		expect_uniflows(i & 1, i & 2);
}

/* Of two records of one moment the ports tell nothing, but another router does. */
static void
test_small_ports(void)
{
	struct world world;
	size_t n_paths;

	for (unsigned i = 0; i < 4; i++) {
		setup(&world);
		const struct flow a = at_a(&world, 0, 20, 40002, 1169), b = at_b(&world, 0, 1169, 1170);
		record(&world, A, i & 1 ? a : uniflow(&a, false, i & 2));
		if (!(i & 1))
			record(&world, A, uniflow(&a, true, i & 2));
		record(&world, B, uniflow(&b, false, i & 2));
		record(&world, B, uniflow(&b, true, i & 2));
		const struct trace_path *path = solve(&world, &n_paths);
		CU_ASSERT_EQUAL(n_paths, 1);
		CU_ASSERT_EQUAL(path->n_hops, 2);
		for (unsigned k = 0; k < path->n_hops; k++)
			CU_ASSERT_EQUAL(path->hop[k]->flow.reply.octets, 4000);
		teardown(&world);
	}
}

/* Later use of the tuple by an exporter that does not number its flows. */
static void
test_foreign_reuse(void)
{
	struct world world;
	size_t n_paths;

	setup(&world);
	for (unsigned i = 0; i < 3; i++) {
		struct flow a = at_a(&world, i * 60000, 20, 40002, 40002), b = at_b(&world, i * 60000, 40002, 40002);
		record(&world, A, a);
		record(&world, B, uniflow(&b, false, false));
		record(&world, B, uniflow(&b, true, false));
	}
	const struct trace_path *paths = solve(&world, &n_paths);
	CU_ASSERT_EQUAL_FATAL(n_paths, 3);
	for (size_t i = 0; i < n_paths; i++)
		CU_ASSERT_EQUAL(paths[i].n_hops, 2);
	teardown(&world);
}

static void
test_asked(void)
{
	struct world world;
	size_t n_paths;

	setup(&world);
	for (unsigned i = 0; i < 4; i++) {
		struct flow a = at_a(&world, i * 60000, 20, 40002, 40002), b = at_b(&world, i * 60000, 40002, 40002);
		CU_ASSERT_TRUE(hops_add(world.hops, A, &a, NULL, false, NULL));
		CU_ASSERT_TRUE(hops_add(world.hops, B, &b, NULL, i == 2, NULL));
	}
	const struct trace_path *path = solve(&world, &n_paths);
	CU_ASSERT_EQUAL_FATAL(n_paths, 1);
	CU_ASSERT_EQUAL(path->n_hops, 2);
	CU_ASSERT_EQUAL(path->hop[0]->flow.start, NOON + 120000);
	teardown(&world);
}

/* Clocks */

static void
test_clocks_not_measured(void)
{
	struct world world;
	struct clock_difference clock;

	setup(&world);
	for (unsigned i = 0; i < 2; i++) {              /* too few */
		record(&world, A, at_a(&world, i * 5000, 20, 50000 + i, 50000 + i));
		record(&world, B, at_b(&world, i * 5000, 50000 + i, 50000 + i));
	}
	clocks_settle(world.clocks);
	clock = clocks_between(world.clocks, A, B);
	CU_ASSERT_EQUAL(clock.flows, 0);
	teardown(&world);

	setup(&world);
	for (unsigned i = 0; i < 50; i++) {             /* they come each second: by how many, nobody knows */
		record(&world, A, at_a(&world, 1000 * i, 20, 40002, 40002));
		record(&world, B, at_b(&world, 1000 * i, 40002, 40002));
	}
	clocks_settle(world.clocks);
	clock = clocks_between(world.clocks, A, B);
	CU_ASSERT_EQUAL(clock.flows, 0);
	teardown(&world);
}

static void
test_clocks(void)
{
	struct world world;

	setup(&world);
	for (unsigned i = 0; i < 1000; i++) {
		record(&world, A, at_a(&world, i * 1009, 20, i + 1, i + 1));
		if (i % 4)
			record(&world, B, at_b(&world, UINT64_C(1009) * i - 3661000 + i % 5 + i / 900 * 40000,
			                       i + 1, i + 1));
	}
	clocks_settle(world.clocks);
	const struct clock_difference there = clocks_between(world.clocks, A, B);
	const struct clock_difference back = clocks_between(world.clocks, B, A);
	CU_ASSERT_EQUAL(there.ms, -3660998);
	CU_ASSERT_EQUAL(back.ms, -there.ms);
	CU_ASSERT_EQUAL(there.spread, 2);
	CU_ASSERT_EQUAL(there.flows, 675);
	CU_ASSERT_EQUAL(clocks_between(world.clocks, A, C).flows, 0);
	teardown(&world);
}

/* More flows than are kept: those that are left still are the same at both routers. */
static void
test_clocks_many(void)
{
	struct clocks *clocks = clocks_new();
	struct world world = { 0 };

	for (unsigned i = 0; i < 400000; i++) {
		struct flow a = at_a(&world, i, 20, (uint16_t)i, (uint16_t)i);
		a.original.destination.v4[0] = a.reply.source.v4[0] = (uint8_t)(i >> 16);
		struct flow b = a;
		b.original.source = a.reply.destination;
		b.start += 2000;
		clocks_add(clocks, A, &a);
		clocks_add(clocks, B, &b);
	}
	clocks_settle(clocks);
	const struct clock_difference clock = clocks_between(clocks, A, B);
	CU_ASSERT_EQUAL(clock.ms, 2000);
	CU_ASSERT_TRUE(clock.flows > 10000);
	clocks_free(clocks);
}

/* Tuples */

static void
test_tuple(void)
{
	static const struct { const char *text; bool good, matches; } rows[] = {
		{ "10.20.0.20:40002 -> 10.30.0.30:5432", true, true },
		{ "10.30.0.30:5432->10.20.0.20:40002", true, true },
		{ "tcp 100.90.0.1:40777 -> 10.30.0.30:5432", true, true },
		{ "6 100.90.0.1 -> 10.30.0.30", true, true },
		{ "TCP * -> 10.30.0.30:5432", true, true },
		{ "*:40002 -> *", true, true },
		{ "* -> *:5432", true, true },
		{ "udp * -> 10.30.0.30:5432", true, false },
		{ "10.20.0.20:40777 -> 10.30.0.30:5432", true, false },
		{ "10.20.0.21 -> 10.30.0.30", true, false },
		{ "[fd20::20]:40002 -> [fd30::30]:5432", true, false },
		{ "fd20::20 -> fd30::30", true, false },
		{ "", false, false },
		{ "10.20.0.20:40002", false, false },
		{ "10.20.0.20:40002 -> 10.30.0.30:5432 -> 1.1.1.1", false, false },
		{ "10.20.0.20:65536 -> 10.30.0.30:5432", false, false },
		{ "10.20.0.256 -> 10.30.0.30:5432", false, false },
		{ "[fd20::20 -> fd30::30", false, false },
		{ "[fd20::20]x -> fd30::30", false, false },
		{ "10.20.0.20 -> fd30::30", false, false },
		{ "carrier 10.20.0.20 -> 10.30.0.30", false, false },
		{ "10.20.0.20: -> 10.30.0.30", false, false },
	};
	struct world world = { 0 };
	const struct flow flow = at_a(&world, 0, 20, 40002, 40777);

	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autoptr(GError) error = NULL;
		struct tuple_pattern pattern;
		const bool good = tuple_parse(rows[i].text, &pattern, &error);
		CU_ASSERT_EQUAL(good, rows[i].good);
		CU_ASSERT_EQUAL(error == NULL, rows[i].good);
		CU_ASSERT_EQUAL(good && tuple_matches(&pattern, &flow), rows[i].matches);
		if (good != rows[i].good || (good && tuple_matches(&pattern, &flow) != rows[i].matches))
			printf("\n    \"%s\"", rows[i].text);
	}
}

/* What is shown */

static GString *
show(const char *format, void (*change)(struct flow *a, struct flow *b), const char *name)
{
	struct world world;
	size_t n_paths;
	GString *out = g_string_new(NULL);
	const struct name texts[] = { { "-", 1 }, { name, (uint16_t)strlen(name) } };
	const struct identity identities[] = { { { 0 } }, { .word[WORD_PEER] = 1 } };
	const struct names names = { .name = texts, .count = 2, .identity = identities, .n_identities = 2 };

	setup(&world);
	struct flow a = at_a(&world, 0, 20, 40002, 40777), b = at_b(&world, 1, 40777, 40777);
	change(&a, &b);
	a.initiator = 1;
	CU_ASSERT_TRUE(hops_add(world.hops, A, &a, &names, true, NULL));
	record(&world, B, b);
	const struct trace_path *paths = solve(&world, &n_paths);
	path_format(format)(out, paths, n_paths, world.router);
	teardown(&world);
	return out;
}

static void
change_lossy(struct flow *a, struct flow *b)
{
	change_no_reply(a, b);
	b->original.packets = 5;
}

static void
test_table(void)
{
	g_setenv("TZ", "UTC", TRUE);
	GString *out = show("table", change_lossy, "web\033-a");
	CU_ASSERT_STRING_EQUAL(out->str,
		"2026-11-22 12:00:00.000 tcp 10.20.0.20:40002 -> 10.30.0.30:5432, 1.000s: reached router-b, no reply from "
		"the host\n"
		"  web\357\277\275-a    10.20.0.20:40002\n"
		"  router-a  10.20.0.20:40002 -> 10.30.0.30:5432   sent 600 B in 6, received 0 B in 0\n"
		"    after   100.90.0.1:40777 -> 10.30.0.30:5432\n"
		"    tunnel  1 packet lost on the way there\n"
		"  router-b  100.90.0.1:40777 -> 10.30.0.30:5432   sent 600 B in 5, received 0 B in 0\n"
		"    after   10.30.0.1:40777 -> 10.30.0.30:5432\n"
		"  host      10.30.0.30:5432\n");
	g_string_free(out, TRUE);
}

static void
test_json(void)
{
	GString *out = show("json", change_lossy, "web-a");
	CU_ASSERT_TRUE(g_str_has_prefix(out->str,
		"{\"verdict\":\"no_reply\",\"words\":\"reached router-b, no reply from the host\",\"protocol\":\"tcp\","
		"\"protocol_number\":6,\"hops\":[{\"router\":\"router-a\",\"before\":{\"source_address\":\"10.20.0.20\","
		"\"source_port\":40002,\"destination_address\":\"10.30.0.30\",\"destination_port\":5432},"));
	CU_ASSERT_PTR_NOT_NULL(strstr(out->str, "\"legs\":[{\"packets_lost_there\":1,\"packets_lost_back\":0}]}\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(out->str, "\"initiator\":\"web-a\""));
	g_string_free(out, TRUE);
}

/* Well-formed whatever a name says. */
static void
test_svg(void)
{
	const GMarkupParser parser = { 0 };
	GMarkupParseContext *context = g_markup_parse_context_new(&parser, 0, NULL, NULL);
	GString *out = show("svg", change_nothing, "<web>&\"'\001\xff");

	CU_ASSERT_TRUE(g_markup_parse_context_parse(context, out->str, (gssize)out->len, NULL));
	CU_ASSERT_TRUE(g_markup_parse_context_end_parse(context, NULL));
	g_auto(GStrv) boxes = g_strsplit(out->str, "<rect x=", -1);
	CU_ASSERT_EQUAL(g_strv_length(boxes), 5);       /* host, two routers, host */
	CU_ASSERT_PTR_NOT_NULL(strstr(out->str, "&lt;web&gt;&amp;"));
	CU_ASSERT_PTR_NULL(strchr(out->str, '\001'));
	CU_ASSERT_TRUE(g_utf8_validate(out->str, (gssize)out->len, NULL));
	g_markup_parse_context_free(context);
	g_string_free(out, TRUE);
}

static void
test_dot(void)
{
	GString *out = show("dot", change_nothing, "a\"];b\\");

	CU_ASSERT_PTR_NOT_NULL(strstr(out->str, "p0_0 [label=\"a\\\"];b\\\\\\n10.20.0.20:40002\"];"));
	CU_ASSERT_PTR_NOT_NULL(strstr(out->str, "p0_0 -> p0_1 "));
	CU_ASSERT_PTR_NOT_NULL(strstr(out->str, "p0_2 -> p0_3 "));
	CU_ASSERT_PTR_NULL(path_format("gif"));
	g_string_free(out, TRUE);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "verdicts of what all routers saw", test_verdicts_of_joined },
		{ "verdicts of what was lost on the way", test_verdicts_of_lost },
		{ "a hole elsewhere excuses nothing", test_hole_elsewhere },
		{ "a path that begins too late", test_remark },
		{ "a tuple used again and again", test_reuse },
		{ "a use that was lost", test_lost_use },
		{ "two that fit", test_ambiguous },
		{ "none that fits", test_not_joined },
		{ "routers that do not translate", test_unchanged },
		{ "records add up", test_records },
		{ "one flow here is several there", test_parts },
		{ "uniflows of other exporters", test_uniflows },
		{ "uniflows between small ports", test_small_ports },
		{ "a tuple used again at another exporter", test_foreign_reuse },
		{ "no more than was asked", test_asked },
		{ "clocks that cannot be measured", test_clocks_not_measured },
		{ "clocks", test_clocks },
		{ "clocks by many flows", test_clocks_many },
		{ "tuples as text", test_tuple },
		{ "table", test_table },
		{ "JSON", test_json },
		{ "SVG", test_svg },
		{ "dot", test_dot },
		CU_TEST_INFO_NULL,
	};

	return run_suite("trace", tests);
}
