/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite.h"

#include <string.h>

#include "audit/join.h"

static const struct name name[] = { { "-", 1 }, { "alice", 5 } };
static const struct identity identity[] = { { { 0 } }, { { [WORD_PEER] = 1 } } };
static const struct names names = {
	.name = name, .count = G_N_ELEMENTS(name), .identity = identity, .n_identities = G_N_ELEMENTS(identity),
};

/* The part of flow number id from start on, which lasted a second and sent so much. */
static struct flow
part(uint64_t id, uint64_t start, uint64_t octets, uint8_t reason)
{
	return (struct flow){
		.flow_id = id, .start = start, .end = start + 1000, .born = 1000, .family = 4, .protocol = 6, .end_reason = reason,
		.state = reason == END_ACTIVE ? 3 : 7, .stop = reason == END_ACTIVE ? 0 : start + 5000, .initiator = 1,
		.original = { .source_port = 1, .octets = octets, .packets = 1 }, .reply = { .octets = 2 * octets, .packets = 2 },
	};
}

static bool
add(struct join *join, const struct flow *flow, size_t archive, struct copy_view *view)
{
	return join_add(join, &(struct print_flow){ .flow = flow, .names = &names, .router = "a" }, archive, view);
}

static void
test_sum(void)
{
	g_autoptr(join_t) join = join_new();
	struct copy_view view;
	struct flow first = part(7, 1000, 10, END_ACTIVE), second = part(7, 2000, 20, END_ACTIVE),
	            last = part(7, 3000, 30, END_DETECTED), single = part(8, 2500, 5, END_IDLE);

	first.gaps = GAP_PARTIAL;
	last.status = 14;
	CU_ASSERT_FALSE(add(join, &first, 0, &view));
	CU_ASSERT_FALSE(add(join, &second, 0, &view));
	CU_ASSERT_TRUE_FATAL(add(join, &single, 0, &view));
	CU_ASSERT_EQUAL(view.flow.flow->flow_id, 8);
	CU_ASSERT_EQUAL(view.flow.flow->original.octets, 5);
	CU_ASSERT_TRUE_FATAL(add(join, &last, 0, &view));
	CU_ASSERT_EQUAL(view.flow.flow->original.octets, 60);
	CU_ASSERT_EQUAL(view.flow.flow->original.packets, 3);
	CU_ASSERT_EQUAL(view.flow.flow->reply.octets, 120);
	CU_ASSERT_EQUAL(view.flow.flow->start, 1000);
	CU_ASSERT_EQUAL(view.flow.flow->end, 4000);
	CU_ASSERT_EQUAL(view.flow.flow->stop, 8000);
	CU_ASSERT_EQUAL(view.flow.flow->state, 7);
	CU_ASSERT_EQUAL(view.flow.flow->status, 14);
	CU_ASSERT_EQUAL(view.flow.flow->end_reason, END_DETECTED);
	CU_ASSERT_EQUAL(view.flow.flow->gaps, GAP_PARTIAL);
	CU_ASSERT_STRING_EQUAL(view.flow.router, "a");
	CU_ASSERT_STRING_EQUAL(view.names.name[names_who(&view.names, view.flow.flow->initiator)].text, "alice");
	CU_ASSERT_FALSE(join_rest(join, &view));
}

/* An id is used again, and is another flow's in another zone, archive or tuple. */
static void
test_apart(void)
{
	g_autoptr(join_t) join = join_new();
	struct copy_view view;
	const struct flow open = part(7, 1000, 10, END_ACTIVE), over = part(7, 2000, 20, END_DETECTED);
	struct flow other[4] = { over, over, over, over };

	other[0].zone = 1;
	other[1].original.source_port = 2;
	other[2].protocol = 17;
	other[3].original.source.v4[0] = 1;
	CU_ASSERT_FALSE(add(join, &open, 0, &view));
	for (unsigned i = 0; i < G_N_ELEMENTS(other); i++) {
		CU_ASSERT_TRUE_FATAL(add(join, &other[i], 0, &view));
		CU_ASSERT_EQUAL(view.flow.flow->original.octets, 20);
	}
	CU_ASSERT_TRUE_FATAL(add(join, &over, 1, &view));
	CU_ASSERT_EQUAL(view.flow.flow->original.octets, 20);
	CU_ASSERT_TRUE_FATAL(add(join, &over, 0, &view));
	CU_ASSERT_EQUAL(view.flow.flow->original.octets, 30);
	CU_ASSERT_TRUE_FATAL(add(join, &over, 0, &view));
	CU_ASSERT_EQUAL(view.flow.flow->original.octets, 20);
}

static void
test_rest(void)
{
	g_autoptr(join_t) join = join_new();
	struct copy_view view;

	for (uint64_t id = 1; id <= 1000; id++)
		for (unsigned piece = 0; piece < 3; piece++) {
			const struct flow flow = part(id, 1000 + piece * 1000, id, END_ACTIVE);
			CU_ASSERT_FALSE(add(join, &flow, 0, &view));
		}
	for (uint64_t id = 1; id <= 1000; id++) {
		CU_ASSERT_TRUE_FATAL(join_rest(join, &view));
		CU_ASSERT_EQUAL(view.flow.flow->flow_id, id);
		CU_ASSERT_EQUAL(view.flow.flow->original.octets, 3 * id);
		CU_ASSERT_EQUAL(view.flow.flow->end_reason, END_ACTIVE);
	}
	CU_ASSERT_FALSE(join_rest(join, &view));
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "records add up", test_sum },
		{ "flows stay apart", test_apart },
		{ "flows that go on", test_rest },
		CU_TEST_INFO_NULL,
	};

	return run_suite("join", tests);
}
