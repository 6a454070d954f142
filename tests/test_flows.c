/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From the kernel's totals to records: each flow's end once, each gap told, each step done twice without harm. */

#include "flows/flows.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "suite.h"

enum { NAMES = 8 };

#define WALL UINT64_C(1753000000000)

/* Memory that outlives the flows, and what they said was lost. */
static struct {
	char name[NAMES][16];
	void *octets[NAMES];
	size_t size[NAMES];
	size_t most;                /* names */
	struct gap gap[16];
	unsigned gaps;
} store;

static void *
memory(const char *name, size_t octets, uint32_t layout, void *data, GError **error)
{
	size_t i = 0;

	CU_ASSERT_PTR_EQUAL(data, &store);
	CU_ASSERT_EQUAL(layout, 1);
	while (i < store.most && store.octets[i] && strcmp(store.name[i], name) != 0)
		i++;
	if (i == store.most) {
		g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "no memory for %s", name);
		return NULL;
	}
	if (!store.octets[i]) {
		g_strlcpy(store.name[i], name, sizeof store.name[i]);
		store.octets[i] = aligned_alloc(64, (octets + 63) & ~(size_t)63);
		memset(store.octets[i], 0, octets);
		store.size[i] = octets;
	}
	CU_ASSERT_EQUAL(store.size[i], octets);
	return store.octets[i];
}

static void
forget_memory(size_t most)
{
	for (unsigned i = 0; i < NAMES; i++)
		free(store.octets[i]);
	memset(&store, 0, sizeof store);
	store.most = most;
}

static void
on_gap(const struct gap *gap, void *data)
{
	CU_ASSERT_PTR_EQUAL(data, &store);
	if (store.gaps < 16)
		store.gap[store.gaps++] = *gap;
}

static bool
is_wanted(const struct flow *flow, void *data)
{
	CU_ASSERT_PTR_EQUAL(data, &store);
	return flow->mark == 0;
}

static struct flows_options
options_of(size_t long_flows)
{
	return (struct flows_options){ 1000, long_flows, 60, false, memory, is_wanted, on_gap, &store };
}

static struct flows *
open_flows(size_t long_flows)
{
	const struct flows_options options = options_of(long_flows);

	return flows_open(&options, WALL, NULL);
}

static struct flows *
new_flows(size_t long_flows)
{
	forget_memory(NAMES);
	struct flows *flows = open_flows(long_flows);
	flows_walked(flows, true, true);
	return flows;
}

static struct flow
flow_of(uint32_t number, uint64_t end, uint64_t packets)
{
	struct flow flow = { .family = 4, .protocol = IPPROTO_UDP, .id = number, .born = WALL, .start = WALL,
	                     .end = WALL + end, .end_reason = END_IDLE };

	flow.original.source.word[0] = number;
	flow.original.packets = packets;
	flow.original.octets = packets * 100;
	flow.reply.packets = packets * 2;
	flow.reply.octets = packets * 300;
	return flow;
}

/* Both steps. Returns how many records came out of them. */
static size_t
look(struct flows *flows, struct flow *flow, size_t n)
{
	struct tally tally;
	const uint64_t now = flow[0].end - WALL;

	flows_present(flows, flow, n, now, &tally);
	CU_ASSERT_EQUAL(tally.what, RECORD_INTERVAL);
	flows_done(flows, &tally, now);
	return tally.n;
}

static size_t
end(struct flows *flows, struct flow *flow, size_t n)
{
	struct tally tally;

	flows_ended(flows, flow, n, &tally);
	CU_ASSERT_EQUAL(tally.what, RECORD_FINAL);
	flows_done(flows, &tally, 0);
	return tally.n;
}

static bool
counted(const struct flow *flow, uint32_t number, uint64_t packets)
{
	return flow->id == number && flow->original.packets == packets && flow->original.octets == packets * 100
	       && flow->reply.packets == packets * 2 && flow->reply.octets == packets * 300;
}

static void
test_records(void)
{
	struct flows *flows = new_flows(100);
	struct flow flow[3] = { flow_of(1, 60000, 5), flow_of(2, 59000, 6), flow_of(3, 61000, 7) };

	CU_ASSERT_EQUAL(look(flows, flow, 3), 2);
	CU_ASSERT(counted(&flow[0], 1, 5));
	CU_ASSERT(counted(&flow[1], 3, 7));
	CU_ASSERT_EQUAL(flows_counters(flows)->intervals, 2);
	CU_ASSERT_EQUAL(flows_fill(flows).long_flows, 2);
	CU_ASSERT_EQUAL(flows_fill(flows).limit, 100);
	CU_ASSERT(flows_fill(flows).octets > 0);
	struct flow last[3] = { flow_of(1, 80000, 9), flow_of(2, 80000, 9), flow_of(3, 80000, 9) };
	CU_ASSERT_EQUAL(end(flows, last, 3), 3);
	CU_ASSERT(counted(&last[0], 1, 4));
	CU_ASSERT(counted(&last[1], 2, 9));
	CU_ASSERT(counted(&last[2], 3, 2));
	CU_ASSERT_EQUAL(last[0].start, WALL + 60000);
	CU_ASSERT_EQUAL(flows_fill(flows).long_flows, 0);
	CU_ASSERT_EQUAL(end(flows, last, 0), 0);
	CU_ASSERT_EQUAL(store.gaps, 0);
	flows_close(flows);
}

/* Of ends that are told twice, in one batch or later, the first counts; entries shown late are ignored. */
static void
test_once(void)
{
	struct flows *flows = new_flows(100);
	struct flow flow[5] = { flow_of(1, 1000, 1), flow_of(2, 1000, 2), flow_of(1, 1000, 1), flow_of(2, 1000, 2),
	                        flow_of(3, 1000, 3) };

	CU_ASSERT_EQUAL(end(flows, flow, 5), 3);
	CU_ASSERT(counted(&flow[0], 1, 1));
	CU_ASSERT(counted(&flow[1], 2, 2));
	CU_ASSERT(counted(&flow[2], 3, 3));
	CU_ASSERT_EQUAL(flows_counters(flows)->duplicates, 2);
	struct flow again[2] = { flow_of(3, 1000, 3), flow_of(4, 1000, 4) };
	CU_ASSERT_EQUAL(end(flows, again, 2), 1);
	CU_ASSERT(counted(&again[0], 4, 4));
	CU_ASSERT_EQUAL(flows_counters(flows)->duplicates, 3);
	struct flow late[2] = { flow_of(3, 99000, 3), flow_of(5, 99000, 5) };
	CU_ASSERT_EQUAL(look(flows, late, 2), 1);
	CU_ASSERT(counted(&late[0], 5, 5));
	CU_ASSERT_EQUAL(flows_counters(flows)->late, 1);
	/* The next process knows them, too, and what was told of the long one. */
	flows_close(flows);
	flows = open_flows(100);
	struct flow more[3] = { flow_of(3, 1000, 3), flow_of(1, 1000, 1), flow_of(5, 99500, 6) };
	CU_ASSERT_EQUAL(end(flows, more, 3), 1);
	CU_ASSERT(counted(&more[0], 5, 1));
	CU_ASSERT_EQUAL(flows_counters(flows)->duplicates, 2);
	flows_close(flows);
}

/* The first step alone changes nothing; the second can be taken twice, by another process if need be. */
static void
test_steps(void)
{
	struct flows *flows = new_flows(100);
	struct flow flow;
	struct tally tally;

	for (unsigned i = 0; i < 2; i++) {
		flow = flow_of(1, 60000, 5);
		flows_present(flows, &flow, 1, 60000, &tally);
		CU_ASSERT_EQUAL(tally.n, 1);
		CU_ASSERT(counted(&flow, 1, 5));
		CU_ASSERT_EQUAL(tally.total[0][0], 5);
		CU_ASSERT_EQUAL(flows_fill(flows).long_flows, 0);
	}
	for (unsigned i = 0; i < 2; i++) {
		flows_close(flows);
		flows = open_flows(100);
		flows_redo(flows, RECORD_INTERVAL, &tally.flow[0], tally.total[0], 60000);
		CU_ASSERT_EQUAL(flows_fill(flows).long_flows, 1);
	}
	flow = flow_of(1, 70000, 8);
	flow.gaps = GAP_PARTIAL;    /* whatever else a record says of it */
	flows_ended(flows, &flow, 1, &tally);
	CU_ASSERT(counted(&flow, 1, 3));
	for (unsigned i = 0; i < 2; i++) {
		flows_close(flows);
		flows = open_flows(100);
		flows_redo(flows, RECORD_FINAL, &tally.flow[0], tally.total[0], 60000);
		CU_ASSERT_EQUAL(flows_fill(flows).long_flows, 0);
	}
	struct flow again = flow_of(1, 70000, 8);
	CU_ASSERT_EQUAL(end(flows, &again, 1), 0);
	/* One without a birth is told from others by its totals, not by what its last record says. */
	struct flow timeless = flow_of(2, 60000, 5);
	timeless.gaps = GAP_NO_START;
	flows_ended(flows, &timeless, 1, &tally);
	timeless.original.packets = 1;
	flows_redo(flows, RECORD_FINAL, &timeless, tally.total[0], 60000);
	timeless = flow_of(2, 60000, 5);
	timeless.gaps = GAP_NO_START;
	CU_ASSERT_EQUAL(end(flows, &timeless, 1), 0);
	timeless = flow_of(2, 60000, 6);
	timeless.gaps = GAP_NO_START;
	CU_ASSERT_EQUAL(end(flows, &timeless, 1), 1);
	flows_close(flows);
}

static void
expect_gap(unsigned number, enum gap_kind kind, uint64_t flows, uint64_t first, uint64_t last)
{
	const struct gap *gap = &store.gap[number];

	CU_ASSERT(store.gaps > number);
	CU_ASSERT_EQUAL(gap->kind, kind);
	CU_ASSERT_EQUAL(gap->flows, flows);
	CU_ASSERT_EQUAL(gap->first, WALL + first);
	CU_ASSERT_EQUAL(gap->last, WALL + last);
}

static void
test_gaps(void)
{
	struct flows *flows = new_flows(3);
	struct flow flow[5], room[FLOWS_BATCH];
	struct tally tally;
	size_t at = 0;

	for (uint32_t i = 0; i < 5; i++)
		flow[i] = flow_of(i, 60000 + i, 10);
	CU_ASSERT_EQUAL(look(flows, flow, 5), 3);
	expect_gap(0, GAP_POOL, 2, 60004, 60004);
	/* Zeroed: two of those that are known, and one that is seen at its end only. */
	flow[0] = flow_of(0, 70000, 2);
	flow[1] = flow_of(1, 70000, 3);
	CU_ASSERT_EQUAL(look(flows, flow, 2), 0);
	expect_gap(1, GAP_RESET_COUNTERS, 2, 70000, 70000);
	flow[2] = flow_of(2, 71000, 1);
	CU_ASSERT_EQUAL(end(flows, &flow[2], 1), 1);
	CU_ASSERT_EQUAL(flow[2].gaps, GAP_RESET);
	expect_gap(2, GAP_RESET_COUNTERS, 1, 71000, 71000);
	/* Two are never seen again. */
	flow[0] = flow_of(0, 72000, 4);
	look(flows, flow, 1);
	for (unsigned walk = 0; walk < 3; walk++)
		flows_walked(flows, true, true);
	flows_gone(flows, &at, room, &tally);
	CU_ASSERT_EQUAL(tally.what, RECORD_LOST);
	CU_ASSERT_EQUAL(tally.n, 2);
	expect_gap(3, GAP_GONE, 2, 70000, 72000);
	CU_ASSERT_EQUAL(store.gap[3].packets, (4 + 3) * 3);
	CU_ASSERT_EQUAL(store.gap[3].octets, (4 + 3) * 400);
	CU_ASSERT(room[0].id <= 1 && counted(&room[0], room[0].id, room[0].id ? 3 : 4));
	CU_ASSERT_EQUAL(room[0].gaps, GAP_LOST_END | GAP_RESET);
	flows_done(flows, &tally, 72000);
	flows_gone(flows, &at, room, &tally);
	CU_ASSERT_EQUAL(tally.n, 0);
	CU_ASSERT_EQUAL(store.gaps, 4);
	CU_ASSERT_EQUAL(flows_counters(flows)->gone, 2);
	/* Should the kernel tell of the end after all, it has been told. */
	flow[0] = flow_of(0, 73000, 5);
	CU_ASSERT_EQUAL(end(flows, flow, 1), 0);
	flows_close(flows);
}

/* More than one call can hand out. */
static void
test_many_gone(void)
{
	struct flows *flows = new_flows(1000);
	struct flow flow[FLOWS_BATCH];
	struct tally tally;
	size_t at = 0, gone = 0;

	for (uint32_t i = 0; i < 200; i += 50) {
		for (uint32_t j = 0; j < 50; j++)
			flow[j] = flow_of(i + j, 60000, 1);
		look(flows, flow, 50);
	}
	for (unsigned walk = 0; walk < 3; walk++)
		flows_walked(flows, true, true);
	do {
		flows_gone(flows, &at, flow, &tally);
		flows_done(flows, &tally, 60000);
		gone += tally.n;
	} while (tally.n);
	CU_ASSERT_EQUAL(gone, 200);
	CU_ASSERT_EQUAL(store.gaps, 4);
	CU_ASSERT_EQUAL(flows_fill(flows).long_flows, 0);
	flows_close(flows);
}

static void
test_configure(void)
{
	struct flows *flows = new_flows(1);
	struct flows_options options = options_of(2);
	struct flow flow[2] = { flow_of(1, 60000, 5), flow_of(2, 60000, 5) };

	CU_ASSERT_EQUAL(look(flows, flow, 2), 1);
	options.active_timeout = 10;
	flows_configure(flows, &options);
	flow[0] = flow_of(1, 70000, 6);
	flow[1] = flow_of(2, 70000, 6);
	CU_ASSERT_EQUAL(look(flows, flow, 2), 2);
	CU_ASSERT(counted(&flow[0], 1, 1));
	CU_ASSERT(counted(&flow[1], 2, 6));
	CU_ASSERT_EQUAL(flows_fill(flows).limit, 2);
	flows_close(flows);
}

/* Without the memory it begins with there is nothing; without more of it there is less room. */
static void
test_no_memory(void)
{
	for (size_t most = 0; most < 2; most++) {
		g_autoptr(GError) error = NULL;
		const struct flows_options options = options_of(100);
		forget_memory(most);
		CU_ASSERT_PTR_NULL(flows_open(&options, WALL, &error));
		CU_ASSERT_PTR_NOT_NULL_FATAL(error);
		CU_ASSERT_STRING_EQUAL(error->message, most ? "no memory for flows.0" : "no memory for ended");
	}
	forget_memory(2);
	struct flows *flows = open_flows(100000);
	size_t told = 0;
	flows_walked(flows, true, true);
	for (uint32_t i = 0; i < 20000; i++) {
		struct flow flow = flow_of(i, 60000, 1);
		told += look(flows, &flow, 1);
	}
	CU_ASSERT_EQUAL(told, 16384);
	CU_ASSERT_EQUAL(flows_counters(flows)->no_room, 20000 - 16384);
	flows_close(flows);
	flows_close(NULL);
	forget_memory(0);
}

/* None that survives is fine, too. */
static void
test_ordinary_memory(void)
{
	const struct flows_options options = { 1000, 100, 60, true, NULL, NULL, on_gap, &store };
	struct flows *flows = flows_open(&options, WALL, NULL);
	struct flow flow = flow_of(1, 60000, 5);

	flow.born = flow.start = WALL - 5000;
	CU_ASSERT_EQUAL(look(flows, &flow, 1), 1);
	CU_ASSERT(counted(&flow, 1, 5));
	flows_close(flows);
}

/* What will not be reported has no interval either, takes up no room, and nobody is told that there was none. */
static void
test_unwanted(void)
{
	forget_memory(NAMES);
	struct flows *flows = open_flows(1);
	struct flow before = flow_of(1, 1000, 5), flow[2] = { flow_of(2, 60000, 5), flow_of(3, 60000, 5) };

	before.born = WALL - 1;
	before.mark = flow[0].mark = 1;
	CU_ASSERT_EQUAL(look(flows, &before, 1), 0);
	flows_walked(flows, true, true);
	CU_ASSERT_EQUAL(look(flows, flow, 2), 1);
	CU_ASSERT(counted(&flow[0], 3, 5));
	struct flow again = flow_of(2, 60000, 5);
	again.mark = 1;
	CU_ASSERT_EQUAL(look(flows, &again, 1), 0);
	CU_ASSERT_EQUAL(store.gaps, 0);
	CU_ASSERT_EQUAL(flows_fill(flows).long_flows, 1);
	flows_close(flows);
}

static bool
is_even(const struct flow *flow, void *data)
{
	CU_ASSERT_PTR_EQUAL(data, &store);
	CU_ASSERT_EQUAL(flow->protocol, IPPROTO_UDP);
	return flow->original.source.word[0] % 2 == 0;
}

/* What a narrower filter leaves out is not gone. */
static void
test_sift(void)
{
	struct flows *flows = new_flows(100);
	struct flow flow[FLOWS_BATCH];
	struct tally tally;
	size_t at = 0;

	for (uint32_t i = 0; i < FLOWS_BATCH; i++)
		flow[i] = flow_of(i, 60000, 1);
	CU_ASSERT_EQUAL(look(flows, flow, FLOWS_BATCH), FLOWS_BATCH);
	flows_sift(flows, is_even, &store);
	CU_ASSERT_EQUAL(flows_fill(flows).long_flows, FLOWS_BATCH / 2);
	flow[0] = flow_of(2, 70000, 3);
	flow[1] = flow_of(3, 70000, 3);
	CU_ASSERT_EQUAL(end(flows, flow, 2), 2);
	CU_ASSERT(counted(&flow[0], 2, 2));
	CU_ASSERT(counted(&flow[1], 3, 3));
	for (unsigned walk = 0; walk < 3; walk++)
		flows_walked(flows, true, true);
	flows_gone(flows, &at, flow, &tally);
	CU_ASSERT_EQUAL(tally.n, FLOWS_BATCH / 2 - 1);
	flows_close(flows);
}

/* Nobody is warned of in a test. */
static void
swallow(const char *domain, GLogLevelFlags level, const char *message, void *data)
{
	(void)domain, (void)level, (void)message, (void)data;
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "records", test_records },
		{ "each end once", test_once },
		{ "two steps", test_steps },
		{ "what is lost is told", test_gaps },
		{ "many are gone", test_many_gone },
		{ "another configuration", test_configure },
		{ "memory ends", test_no_memory },
		{ "ordinary memory", test_ordinary_memory },
		{ "flows that are not wanted", test_unwanted },
		{ "flows that a filter leaves out", test_sift },
		CU_TEST_INFO_NULL,
	};

	g_log_set_default_handler(swallow, NULL);
	return run_suite("flows", tests);
}
