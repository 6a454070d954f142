/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The pool of long flows: whatever happens, the sum over all records of a flow is what the kernel counted. */

#include "flows/pool.h"

#include <glib.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allocations.h"
#include "suite.h"

enum { TIMEOUT = 60000, CHUNKS = 4, CHUNK_OCTETS = 4 << 20 };

#define WALL UINT64_C(1753000000000)

static const struct identity_key key = { { 11, 22 } };
static struct flows_counters counters;

/* Memory that outlives a pool, and a process. */
struct store {
	uint8_t *octets;
	unsigned asked;             /* chunks, so many times */
	unsigned most;              /* chunks there are */
};

static void *
store_chunk(unsigned chunk, size_t octets, void *data)
{
	struct store *store = data;

	store->asked++;
	return chunk < store->most && octets <= CHUNK_OCTETS ? store->octets + (size_t)chunk * CHUNK_OCTETS : NULL;
}

static struct store
new_store(unsigned most)
{
	return (struct store){ mmap(NULL, CHUNKS * CHUNK_OCTETS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
	                       0, most };
}

static void
free_store(struct store *store)
{
	munmap(store->octets, CHUNKS * CHUNK_OCTETS);
}

static struct pool_options
options_of(struct store *store, size_t limit)
{
	return (struct pool_options){ limit, TIMEOUT, false, store ? store_chunk : NULL, NULL, store, &key, &counters };
}

static struct pool *
open_pool(struct store *store, size_t limit)
{
	const struct pool_options options = options_of(store, limit);

	memset(&counters, 0, sizeof counters);
	return pool_open(&options, WALL, NULL);
}

/* A pool that knows all that was there before it. */
static struct pool *
new_pool(size_t limit)
{
	struct pool *pool = open_pool(NULL, limit);

	pool_walked(pool, true, true);
	return pool;
}

/* What the kernel says of an entry at a moment, in ms after WALL. */
static struct flow
entry(uint32_t number, uint64_t at, const uint64_t total[POOL_COUNTERS])
{
	struct flow flow = { .family = 4, .protocol = IPPROTO_UDP, .id = number % 97, .born = WALL + 1000, .born_ns = 7,
	                     .mark = number, .zone = 3, .status = 0x18e, .timeout = 120, .stop = WALL + at,
	                     .end_reason = END_IDLE };

	flow.original.source.word[0] = number;
	flow.original.destination.word[0] = 99;
	flow.original.source_port = 1000;
	flow.original.destination_port = 53;
	flow.reply.source.word[0] = 99;
	flow.reply.destination.word[0] = 77;
	flow.reply.source_port = 53;
	flow.reply.destination_port = 2000;
	flow.original.packets = total[0];
	flow.original.octets = total[1];
	flow.reply.packets = total[2];
	flow.reply.octets = total[3];
	flow.start = flow.born;
	flow.end = WALL + at;
	return flow;
}

static uint64_t
hash_of(const struct flow *flow)
{
	struct flow_identity identity;

	identity_of(flow, &identity);
	return identity_hash(&identity, &key);
}

/* Looks at the entry and, if a record is due, tells it: flow is then that record. */
static enum pool_verdict
look(struct pool *pool, struct flow *flow)
{
	uint64_t total[POOL_COUNTERS];
	const uint64_t hash = hash_of(flow), now = flow->end - WALL;
	const enum pool_verdict verdict = pool_look(pool, flow, hash, now, total);

	if (verdict == POOL_TELL)
		pool_told(pool, flow, hash, now, total);
	return verdict;
}

static void
finish(struct pool *pool, struct flow *flow)
{
	uint64_t total[POOL_COUNTERS];
	const uint64_t hash = hash_of(flow);

	pool_settle(pool, flow, hash, total);
	pool_forget(pool, flow, hash);
}

static bool
counted(const struct flow *flow, uint64_t packets, uint64_t octets, uint64_t reply_packets, uint64_t reply_octets)
{
	return flow->original.packets == packets && flow->original.octets == octets
	       && flow->reply.packets == reply_packets && flow->reply.octets == reply_octets;
}

static bool
lasted(const struct flow *flow, uint64_t start, uint64_t end)
{
	return flow->start == WALL + start && flow->end == WALL + end;
}

#define TOTAL(...) (const uint64_t[POOL_COUNTERS]){ __VA_ARGS__ }

static void
test_short(void)
{
	struct pool *pool = new_pool(10);
	struct flow flow = entry(1, 60999, TOTAL(1, 100, 2, 200));

	CU_ASSERT_EQUAL(look(pool, &flow), POOL_NOTHING);
	CU_ASSERT_EQUAL(pool_used(pool), 0);
	finish(pool, &flow);
	CU_ASSERT(counted(&flow, 1, 100, 2, 200));
	CU_ASSERT(lasted(&flow, 1000, 60999));
	CU_ASSERT_EQUAL(flow.end_reason, END_IDLE);
	pool_close(pool);
}

static void
test_intervals(void)
{
	struct pool *pool = new_pool(10);
	struct flow flow = entry(1, 61000, TOTAL(1, 100, 2, 200));
	const uint64_t id = (uint64_t)flow.id << 32 ^ (flow.born & UINT32_MAX);

	CU_ASSERT_EQUAL(look(pool, &flow), POOL_TELL);
	CU_ASSERT(counted(&flow, 1, 100, 2, 200));
	CU_ASSERT(lasted(&flow, 1000, 61000));
	CU_ASSERT_EQUAL(flow.end_reason, END_ACTIVE);
	CU_ASSERT_EQUAL(flow.stop, 0);
	CU_ASSERT_EQUAL(flow.flow_id, id);
	CU_ASSERT_EQUAL(pool_used(pool), 1);
	/* Nothing is due, */
	flow = entry(1, 120999, TOTAL(5, 500, 2, 200));
	CU_ASSERT_EQUAL(look(pool, &flow), POOL_NOTHING);
	/* then it is, */
	flow = entry(1, 121000, TOTAL(6, 600, 2, 200));
	CU_ASSERT_EQUAL(look(pool, &flow), POOL_TELL);
	CU_ASSERT(counted(&flow, 5, 500, 0, 0));
	CU_ASSERT(lasted(&flow, 61000, 121000));
	CU_ASSERT_EQUAL(flow.flow_id, id);
	/* but nothing moved for long, */
	flow = entry(1, 300000, TOTAL(6, 600, 2, 200));
	CU_ASSERT_EQUAL(look(pool, &flow), POOL_NOTHING);
	/* and then a reply alone. */
	flow = entry(1, 301000, TOTAL(6, 600, 3, 350));
	CU_ASSERT_EQUAL(look(pool, &flow), POOL_TELL);
	CU_ASSERT(counted(&flow, 0, 0, 1, 150));
	CU_ASSERT(lasted(&flow, 121000, 301000));
	flow = entry(1, 320000, TOTAL(7, 700, 3, 350));
	finish(pool, &flow);
	CU_ASSERT(counted(&flow, 1, 100, 0, 0));
	CU_ASSERT(lasted(&flow, 301000, 320000));
	CU_ASSERT_EQUAL(flow.end_reason, END_IDLE);
	CU_ASSERT_EQUAL(flow.stop, WALL + 320000);
	CU_ASSERT_EQUAL(flow.flow_id, id);
	CU_ASSERT_EQUAL(flow.gaps, 0);
	CU_ASSERT_EQUAL(pool_used(pool), 0);
	pool_close(pool);
}

/* The last packet may be older than the last look; the record after it has nothing, and lasts no time. */
static void
test_nothing_left(void)
{
	struct pool *pool = new_pool(10);
	struct flow flow = entry(1, 61000, TOTAL(1, 100, 2, 200));

	CU_ASSERT_EQUAL(look(pool, &flow), POOL_TELL);
	flow = entry(1, 40000, TOTAL(1, 100, 2, 200));
	finish(pool, &flow);
	CU_ASSERT(counted(&flow, 0, 0, 0, 0));
	CU_ASSERT(lasted(&flow, 40000, 40000));
	pool_close(pool);
}

/* Flows without counters have nothing to be told of them; flows that nothing moved never get here either. */
static void
test_stay_out(void)
{
	struct pool *pool = new_pool(10);
	struct flow silent = entry(1, 100000, TOTAL(0, 0, 0, 0)), blind = entry(2, 100000, TOTAL(0, 0, 0, 0));

	blind.gaps = GAP_NO_COUNTERS;
	CU_ASSERT_EQUAL(look(pool, &silent), POOL_NOTHING);
	CU_ASSERT_EQUAL(look(pool, &blind), POOL_NOTHING);
	CU_ASSERT_EQUAL(pool_used(pool), 0);
	pool_close(pool);
}

static void
test_there_before(void)
{
	struct pool *pool = open_pool(NULL, 10);
	struct flow old = entry(1, 5000, TOTAL(10, 1000, 20, 2000)), young = entry(2, 5000, TOTAL(1, 100, 0, 0)),
	            silent = entry(3, 5000, TOTAL(0, 0, 0, 0)), timeless = entry(4, 5000, TOTAL(7, 700, 7, 700));

	old.born = silent.born = WALL - 1;
	young.born = WALL;
	timeless.born = timeless.start = timeless.end;
	timeless.gaps = GAP_NO_START;
	CU_ASSERT_EQUAL(look(pool, &old), POOL_NOTHING);
	CU_ASSERT_EQUAL(look(pool, &young), POOL_NOTHING);
	CU_ASSERT_EQUAL(look(pool, &silent), POOL_NOTHING);
	CU_ASSERT_EQUAL(look(pool, &timeless), POOL_NOTHING);
	CU_ASSERT_EQUAL(counters.partial, 3);
	CU_ASSERT_EQUAL(pool_used(pool), 3);
	pool_walked(pool, true, false);
	/* From the first look on. */
	struct flow next = entry(1, 65000, TOTAL(11, 1100, 20, 2000));
	next.born = WALL - 1;
	CU_ASSERT_EQUAL(look(pool, &next), POOL_TELL);
	CU_ASSERT(counted(&next, 1, 100, 0, 0));
	CU_ASSERT(lasted(&next, 5000, 65000));
	CU_ASSERT_EQUAL(next.gaps, GAP_PARTIAL);
	next = entry(4, 66000, TOTAL(8, 800, 7, 700));
	next.gaps = GAP_NO_START;
	next.born = next.start = next.end;
	CU_ASSERT_EQUAL(look(pool, &next), POOL_TELL);
	CU_ASSERT(counted(&next, 1, 100, 0, 0));
	CU_ASSERT(lasted(&next, 5000, 66000));
	CU_ASSERT_EQUAL(next.gaps, GAP_PARTIAL | GAP_NO_START);
	CU_ASSERT_EQUAL(next.flow_id, (uint64_t)next.id << 32);
	next = entry(4, 67000, TOTAL(9, 900, 7, 700));
	next.gaps = GAP_NO_START;
	next.born = next.start = next.end;
	finish(pool, &next);
	CU_ASSERT(counted(&next, 1, 100, 0, 0));
	CU_ASSERT_EQUAL(next.flow_id, (uint64_t)next.id << 32);
	next = entry(3, 7000, TOTAL(2, 200, 0, 0));
	next.born = WALL - 1;
	finish(pool, &next);
	CU_ASSERT(counted(&next, 2, 200, 0, 0));
	CU_ASSERT_EQUAL(next.gaps, GAP_PARTIAL);
	/* What the first walk did not show was not there. */
	next = entry(5, 70000, TOTAL(2, 200, 0, 0));
	next.born = WALL - 5000;
	CU_ASSERT_EQUAL(look(pool, &next), POOL_TELL);
	CU_ASSERT(counted(&next, 2, 200, 0, 0));
	CU_ASSERT_EQUAL(next.gaps, 0);
	/* What has no birth is of any age, and so its first interval begins with the first look. */
	next = entry(6, 70000, TOTAL(2, 200, 0, 0));
	next.gaps = GAP_NO_START;
	CU_ASSERT_EQUAL(look(pool, &next), POOL_NOTHING);
	next = entry(6, 130000, TOTAL(3, 300, 0, 0));
	next.gaps = GAP_NO_START;
	CU_ASSERT_EQUAL(look(pool, &next), POOL_TELL);
	CU_ASSERT(counted(&next, 3, 300, 0, 0));
	CU_ASSERT(lasted(&next, 70000, 130000));
	CU_ASSERT_EQUAL(next.gaps, GAP_NO_START);
	pool_close(pool);
}

static void
test_from_start(void)
{
	struct pool_options options = options_of(NULL, 10);
	options.from_start = true;
	struct pool *pool = pool_open(&options, WALL, NULL);
	struct flow old = entry(1, 5000, TOTAL(10, 1000, 20, 2000));

	old.born = old.start = WALL - 100000;
	CU_ASSERT_EQUAL(look(pool, &old), POOL_TELL);
	CU_ASSERT(counted(&old, 10, 1000, 20, 2000));
	CU_ASSERT_EQUAL(old.start, WALL - 100000);
	CU_ASSERT_EQUAL(old.gaps, 0);
	pool_close(pool);
}

/* A first walk that did not come to its end goes on later, in another process if need be. */
static void
test_first_walk_is_cut(void)
{
	struct store store = new_store(1);
	struct pool *pool = open_pool(&store, 10);
	struct flow flow = entry(1, 5000, TOTAL(10, 1000, 20, 2000));

	pool_walked(pool, false, true);
	pool_close(pool);
	const struct pool_options options = options_of(&store, 10);
	pool = pool_open(&options, WALL + 50000, NULL);
	flow.born = WALL - 1;
	CU_ASSERT_EQUAL(look(pool, &flow), POOL_NOTHING);
	CU_ASSERT_EQUAL(pool_used(pool), 1);
	/* This one began while the first process ran. */
	flow = entry(2, 65000, TOTAL(10, 1000, 20, 2000));
	CU_ASSERT_EQUAL(look(pool, &flow), POOL_TELL);
	CU_ASSERT_EQUAL(flow.gaps, 0);
	pool_walked(pool, true, true);
	pool_close(pool);
	free_store(&store);
}

static void
test_zeroed(void)
{
	struct pool *pool = new_pool(10);
	struct flow flow = entry(1, 61000, TOTAL(10, 1000, 20, 2000));

	look(pool, &flow);
	/* Seen, not yet told, then zeroed: what was seen is not lost. */
	flow = entry(1, 70000, TOTAL(15, 1500, 20, 2000));
	CU_ASSERT_EQUAL(look(pool, &flow), POOL_NOTHING);
	flow = entry(1, 71000, TOTAL(2, 200, 1, 100));
	CU_ASSERT_EQUAL(look(pool, &flow), POOL_NOTHING);
	CU_ASSERT_EQUAL(counters.resets, 1);
	flow = entry(1, 72000, TOTAL(3, 300, 1, 100));
	CU_ASSERT_EQUAL(look(pool, &flow), POOL_NOTHING);
	flow = entry(1, 121000, TOTAL(4, 400, 1, 100));
	CU_ASSERT_EQUAL(look(pool, &flow), POOL_TELL);
	CU_ASSERT(counted(&flow, 5 + 4, 500 + 400, 1, 100));
	CU_ASSERT_EQUAL(flow.gaps, GAP_RESET);
	/* That was told. */
	flow = entry(1, 181000, TOTAL(5, 500, 1, 100));
	CU_ASSERT_EQUAL(look(pool, &flow), POOL_TELL);
	CU_ASSERT(counted(&flow, 1, 100, 0, 0));
	CU_ASSERT_EQUAL(flow.gaps, 0);
	/* Zeroed twice between two records, and once more before the end. */
	flow = entry(1, 182000, TOTAL(1, 100, 0, 0));
	look(pool, &flow);
	flow = entry(1, 183000, TOTAL(0, 0, 0, 0));
	look(pool, &flow);
	flow = entry(1, 184000, TOTAL(8, 800, 8, 800));
	look(pool, &flow);
	CU_ASSERT_EQUAL(counters.resets, 3);
	flow = entry(1, 185000, TOTAL(3, 300, 0, 0));
	finish(pool, &flow);
	CU_ASSERT(counted(&flow, 1 + 8 + 3, 100 + 800 + 300, 8, 800));
	CU_ASSERT_EQUAL(flow.gaps, GAP_RESET);
	CU_ASSERT_EQUAL(counters.resets, 4);
	pool_close(pool);
}

/* Two that look the same but for their birth, and their ids' hash. */
static void
test_same_tuple(void)
{
	struct pool *pool = new_pool(10);
	struct flow one = entry(1, 61000, TOTAL(1, 100, 0, 0)), other = entry(1, 61000, TOTAL(2, 200, 0, 0));

	other.born_ns++;
	CU_ASSERT_EQUAL(look(pool, &one), POOL_TELL);
	CU_ASSERT_EQUAL(look(pool, &other), POOL_TELL);
	CU_ASSERT(counted(&other, 2, 200, 0, 0));
	CU_ASSERT_EQUAL(pool_used(pool), 2);
	one = entry(1, 62000, TOTAL(1, 100, 0, 0));
	finish(pool, &one);
	CU_ASSERT(counted(&one, 0, 0, 0, 0));
	CU_ASSERT_EQUAL(pool_used(pool), 1);
	pool_close(pool);
}

static void
test_full(void)
{
	struct pool *pool = new_pool(2);
	struct flow flow[4];

	for (unsigned round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 4; i++)
			flow[i] = entry(i, 61000 + 60000 * round, TOTAL(1 + round, 100 + 100 * round, 0, 0));
		CU_ASSERT_EQUAL(look(pool, &flow[0]), POOL_TELL);
		CU_ASSERT_EQUAL(look(pool, &flow[1]), POOL_TELL);
		CU_ASSERT_EQUAL(look(pool, &flow[2]), round ? POOL_NOTHING : POOL_NO_ROOM);
		CU_ASSERT_EQUAL(look(pool, &flow[3]), round ? POOL_NOTHING : POOL_NO_ROOM);
	}
	CU_ASSERT_EQUAL(counters.no_room, 2);
	CU_ASSERT_EQUAL(pool_used(pool), 2);
	/* Whole at its end, and with room again whole in the next interval. */
	flow[2] = entry(2, 190000, TOTAL(9, 900, 0, 0));
	finish(pool, &flow[2]);
	CU_ASSERT(counted(&flow[2], 9, 900, 0, 0));
	CU_ASSERT(lasted(&flow[2], 1000, 190000));
	flow[0] = entry(0, 190000, TOTAL(9, 900, 0, 0));
	finish(pool, &flow[0]);
	CU_ASSERT(counted(&flow[0], 6, 600, 0, 0));
	flow[3] = entry(3, 200000, TOTAL(4, 400, 0, 0));
	CU_ASSERT_EQUAL(look(pool, &flow[3]), POOL_TELL);
	CU_ASSERT(counted(&flow[3], 4, 400, 0, 0));
	pool_close(pool);
}

/* All that are due in one batch are judged before any is told. */
static void
test_promises(void)
{
	struct pool *pool = new_pool(2);
	struct flow flow[3];
	uint64_t total[3][POOL_COUNTERS];

	for (uint32_t i = 0; i < 3; i++) {
		flow[i] = entry(i, 61000, TOTAL(1, 100, 0, 0));
		CU_ASSERT_EQUAL(pool_look(pool, &flow[i], hash_of(&flow[i]), 61000, total[i]), i < 2 ? POOL_TELL : POOL_NO_ROOM);
	}
	for (uint32_t i = 0; i < 2; i++)
		pool_told(pool, &flow[i], hash_of(&flow[i]), 61000, total[i]);
	CU_ASSERT_EQUAL(pool_used(pool), 2);
	pool_close(pool);
}

/* None is also a number: nobody is counted as left out then. */
static void
test_limits(void)
{
	struct store store = new_store(CHUNKS);
	struct pool *pool = open_pool(&store, 0);
	struct flow flow = entry(1, 61000, TOTAL(1, 100, 0, 0));
	struct pool_options options = options_of(&store, 40000);

	pool_walked(pool, true, true);
	CU_ASSERT_EQUAL(look(pool, &flow), POOL_NOTHING);
	CU_ASSERT_EQUAL(counters.no_room, 0);
	CU_ASSERT_TRUE(pool_configure(pool, &options));
	unsigned wrong = 0;
	for (uint32_t i = 0; i < 40001; i++) {
		flow = entry(i, 61000, TOTAL(1, 100, 0, 0));
		wrong += look(pool, &flow) != (i < 40000 ? POOL_TELL : POOL_NO_ROOM);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(store.asked, 3);
	/* Fewer are allowed now: those there are stay, now and in the next process, but nobody joins them. */
	options.limit = 5;
	options.active_timeout = 30000;
	CU_ASSERT_TRUE(pool_configure(pool, &options));
	for (unsigned process = 0; process < 2; process++) {
		for (uint32_t i = 0; i < 40000; i += 99) {
			flow = entry(i, 91000 + 30000 * process, TOTAL(2 + process, 250 + process, 0, 0));
			wrong += look(pool, &flow) != POOL_TELL || !counted(&flow, 1, process ? 1 : 150, 0, 0);
		}
		flow = entry(50000, 91000, TOTAL(2, 250, 0, 0));
		wrong += look(pool, &flow) != POOL_NO_ROOM;
		pool_close(pool);
		pool = pool_open(&options, WALL, NULL);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(pool_used(pool), 40000);
	pool_close(pool);
	free_store(&store);
}

/* Memory ends before the limit does: the rest has no room, and it is tried again after each walk only. */
static void
test_no_memory(void)
{
	struct store store = new_store(1);
	struct pool *pool = open_pool(&store, 100000);
	unsigned told = 0;

	pool_walked(pool, true, true);
	for (unsigned round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < 40000; i++) {
			struct flow flow = entry(i, 61000, TOTAL(1, 100, 0, 0));
			told += look(pool, &flow) == POOL_TELL;
		}
		CU_ASSERT_EQUAL(told, 16384);
		CU_ASSERT_EQUAL(store.asked, 2 + round);
		pool_walked(pool, true, true);
	}
	store.most = 2;
	for (uint32_t i = 0; i < 40000; i++) {
		struct flow flow = entry(i, 62000, TOTAL(1, 100, 0, 0));
		told += look(pool, &flow) == POOL_TELL;
	}
	CU_ASSERT_EQUAL(told, 32768);
	CU_ASSERT_EQUAL(counters.no_room, 40000 - 16384);
	pool_close(pool);
	store.most = 0;
	g_autoptr(GError) error = NULL;
	const struct pool_options options = options_of(&store, 100000);
	CU_ASSERT_PTR_NULL(pool_open(&options, WALL, &error));
	CU_ASSERT_PTR_NOT_NULL(error);
	free_store(&store);
}

/* Shows the flow, or not, in so many walks. Returns how many are gone after that. */
static unsigned
walks(struct pool *pool, const char *what, struct flow *gone)
{
	unsigned found = 0;
	uint64_t hash, total[POOL_COUNTERS];
	size_t at = 0;

	for (; *what; what++) {
		if (*what == '+') {
			struct flow flow = entry(1, 70000, TOTAL(2, 150, 0, 0));
			look(pool, &flow);
		}
		pool_walked(pool, *what != 'i', *what != 'u');
	}
	while (pool_gone(pool, &at, gone, &hash, total)) {
		found++;
		CU_ASSERT_EQUAL(hash, hash_of(gone));
		CU_ASSERT_EQUAL(total[0], 2);
		CU_ASSERT_EQUAL(total[1], 150);
	}
	return found;
}

/* + the walk shows it, - not, u not but it is not certain, i not but it is incomplete */
static void
test_gone(void)
{
	static const struct {
		const char *walks;
		unsigned gone;
	} cases[] = {
		{ "", 0 }, { "+", 0 }, { "+-", 0 }, { "+--", 1 }, { "+---", 1 }, { "+-+-", 0 }, { "+uuuu", 0 }, { "+iiii", 0 },
		{ "+-u", 0 }, { "+--++", 0 }, { "+-+--", 1 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct pool *pool = new_pool(10);
		struct flow flow = entry(1, 61000, TOTAL(1, 100, 0, 0));
		look(pool, &flow);
		pool_walked(pool, true, true);
		const unsigned gone = walks(pool, cases[i].walks, &flow);
		CU_ASSERT_EQUAL(gone, cases[i].gone);
		if (gone != cases[i].gone)
			printf("\n    %s: %u", cases[i].walks, gone);
		if (gone) {
			CU_ASSERT(counted(&flow, 1, 50, 0, 0));
			CU_ASSERT(lasted(&flow, 61000, 70000));
			CU_ASSERT_EQUAL(flow.stop, flow.end);
			CU_ASSERT_EQUAL(flow.gaps, GAP_LOST_END);
			CU_ASSERT_EQUAL(flow.end_reason, END_LACK_OF_RESOURCES);
			pool_forget(pool, &flow, hash_of(&flow));
			CU_ASSERT_EQUAL(walks(pool, "--", &flow), 0);
			CU_ASSERT_EQUAL(pool_used(pool), 0);
		}
		pool_close(pool);
	}
}

/* All that a record may say of a flow is known of one that is gone. */
static void
test_recall(void)
{
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_GRE };

	for (unsigned i = 0; i < sizeof protocols; i++) {
		struct pool *pool = new_pool(10);
		struct flow flow = entry(7, 70000, TOTAL(3, 300, 4, 400)), gone;
		uint64_t hash, total[POOL_COUNTERS];
		size_t at = 0;
		flow.protocol = protocols[i];
		flow.family = protocols[i] == IPPROTO_ICMPV6 ? 6 : 4;
		flow.state = 3;
		flow.timeout = 0;
		memset(flow.labels, 0x5a, sizeof flow.labels);
		flow.original.biflow_direction = 1;
		flow.reply.biflow_direction = 2;
		flow.original.source.v6[15] = flow.reply.destination.v6[14] = 9;
		if (protocols[i] == IPPROTO_ICMP || protocols[i] == IPPROTO_ICMPV6) {
			flow.original.source_port = flow.original.destination_port = flow.reply.source_port
				= flow.reply.destination_port = 0;
			flow.original.icmp = 0x800;
			flow.original.icmp_id = flow.reply.icmp_id = 77;
			flow.reply.icmp = 1;
		}
		look(pool, &flow);
		for (unsigned walk = 0; walk < 3; walk++)
			pool_walked(pool, true, true);
		CU_ASSERT_TRUE(pool_gone(pool, &at, &gone, &hash, total));
		/* The record that was told, but for what makes this one the last. */
		flow.start = flow.end = flow.stop = WALL + 70000;
		flow.original.packets = flow.original.octets = flow.reply.packets = flow.reply.octets = 0;
		flow.gaps = GAP_LOST_END;
		flow.end_reason = END_LACK_OF_RESOURCES;
		CU_ASSERT_EQUAL(memcmp(&flow, &gone, sizeof flow), 0);
		pool_close(pool);
	}
}

static void
test_gone_without_birth(void)
{
	struct pool *pool = open_pool(NULL, 10);
	struct flow flow = entry(1, 5000, TOTAL(2, 150, 0, 0)), gone;

	flow.gaps = GAP_NO_START;
	flow.born = flow.start = flow.end;
	look(pool, &flow);
	for (unsigned walk = 0; walk < 3; walk++)
		pool_walked(pool, true, true);
	CU_ASSERT_EQUAL(walks(pool, "", &gone), 1);
	CU_ASSERT_EQUAL(gone.born, WALL + 5000);
	CU_ASSERT(lasted(&gone, 5000, 5000));
	CU_ASSERT_EQUAL(gone.gaps, GAP_NO_START | GAP_PARTIAL | GAP_LOST_END);
	pool_close(pool);
}

/* Somebody sets the clock, an hour forth or back. Now and then is by another. */
static void
test_clocks(void)
{
	enum { HOUR = 3600000 };
	struct pool *pool = new_pool(10);
	struct flow flow = entry(1, 61000, TOTAL(1, 100, 0, 0));
	uint64_t total[POOL_COUNTERS];
	const uint64_t hash = hash_of(&flow);

	look(pool, &flow);
	/* Forth: nothing is due sooner. */
	flow = entry(1, 62000 + HOUR, TOTAL(2, 200, 0, 0));
	CU_ASSERT_EQUAL(pool_look(pool, &flow, hash, 62000, total), POOL_NOTHING);
	flow = entry(1, 121000 + HOUR, TOTAL(3, 300, 0, 0));
	CU_ASSERT_EQUAL(pool_look(pool, &flow, hash, 121000, total), POOL_TELL);
	CU_ASSERT(counted(&flow, 2, 200, 0, 0));
	CU_ASSERT(lasted(&flow, 61000, 121000 + HOUR));
	pool_told(pool, &flow, hash, 121000, total);
	/* Back: nothing is due later, and no record ends before it starts. */
	flow = entry(1, 181000, TOTAL(4, 400, 0, 0));
	CU_ASSERT_EQUAL(pool_look(pool, &flow, hash, 181000, total), POOL_TELL);
	CU_ASSERT(counted(&flow, 1, 100, 0, 0));
	CU_ASSERT(lasted(&flow, 181000, 181000));
	pool_told(pool, &flow, hash, 181000, total);
	flow = entry(1, 182000 - HOUR, TOTAL(5, 500, 0, 0));
	flow.start = flow.end;
	finish(pool, &flow);
	CU_ASSERT(counted(&flow, 1, 100, 0, 0));
	CU_ASSERT_EQUAL(flow.start, flow.end);
	CU_ASSERT_EQUAL(pool_used(pool), 0);
	/* A birth that is still to come tells nothing of its age, which counts from the first look. */
	flow = entry(2, 200000 - HOUR, TOTAL(1, 100, 0, 0));
	CU_ASSERT_EQUAL(pool_look(pool, &flow, hash_of(&flow), 200000, total), POOL_NOTHING);
	flow = entry(2, 260000 - HOUR, TOTAL(1, 100, 0, 0));
	CU_ASSERT_EQUAL(pool_look(pool, &flow, hash_of(&flow), 260000, total), POOL_TELL);
	CU_ASSERT(counted(&flow, 1, 100, 0, 0));
	CU_ASSERT(flow.start <= flow.end);
	pool_close(pool);
}

/* The clock that nobody sets is kept in 32 bits of ms: nothing happens when they are full. */
static void
test_wrap(void)
{
	struct pool *pool = new_pool(10);
	struct flow flow = entry(1, 61000, TOTAL(1, 100, 0, 0));
	const uint64_t hash = hash_of(&flow), now = UINT64_C(3) << 32;
	uint64_t total[POOL_COUNTERS];

	CU_ASSERT_EQUAL(pool_look(pool, &flow, hash, now - 1000, total), POOL_TELL);
	pool_told(pool, &flow, hash, now - 1000, total);
	flow = entry(1, 62000, TOTAL(2, 200, 0, 0));
	CU_ASSERT_EQUAL(pool_look(pool, &flow, hash, now + 58999, total), POOL_NOTHING);
	flow = entry(1, 62000, TOTAL(2, 200, 0, 0));
	CU_ASSERT_EQUAL(pool_look(pool, &flow, hash, now + 59000, total), POOL_TELL);
	pool_close(pool);
}

/* Nothing of a record that is due is allocated, and no octet more than was said. */
static void
test_memory(void)
{
	enum { FLOWS = 65536 };
	struct pool *pool = new_pool(FLOWS);
	uint64_t total[POOL_COUNTERS];

	for (unsigned round = 0; round < 2; round++) {
		allocations = 0;
		for (uint32_t i = 0; i < FLOWS; i++) {
			struct flow flow = entry(i, 61000 + 60000 * round, TOTAL(1 + round, 100, 0, 0));
			const uint64_t hash = hash_of(&flow);
			counting = round;
			if (pool_look(pool, &flow, hash, 61000 + 60000 * round, total) == POOL_TELL)
				pool_told(pool, &flow, hash, 61000 + 60000 * round, total);
			counting = false;
		}
	}
	CU_ASSERT_EQUAL(allocations, 0);
	CU_ASSERT_EQUAL(pool_used(pool), FLOWS);
	printf(" %zu octets a flow, all in all ...", pool_octets(pool) / FLOWS);
	CU_ASSERT(pool_octets(pool) <= FLOWS * 210);
	pool_close(pool);
}

/* A plain model of the kernel and of the records that came of it, of many flows and through many processes. */

enum { FLOWS = 600 };

struct model {
	uint64_t total[POOL_COUNTERS];      /* the kernel's */
	uint64_t truth[POOL_COUNTERS];      /* what really was, of this flow and its forerunners */
	uint64_t told[POOL_COUNTERS];       /* the sum over all records */
	uint32_t age;                       /* which flow of its tuple it is */
	uint32_t seen;                      /* all of total was seen by a look */
	uint32_t inside;                    /* it was told before */
	bool ended;                 /* by a final record in the journal */
};

static struct flow
model_entry(const struct model *model, uint32_t number, uint64_t at)
{
	struct flow flow = entry(number, at, model->total);

	flow.born_ns = model->age;
	return flow;
}

static void
add_record(uint64_t told[POOL_COUNTERS], const struct flow *flow)
{
	told[0] += flow->original.packets;
	told[1] += flow->original.octets;
	told[2] += flow->reply.packets;
	told[3] += flow->reply.octets;
}

static void
move(struct model *model, GRand *random)
{
	for (unsigned i = 0; i < POOL_COUNTERS; i++) {
		const uint64_t more = g_rand_int_range(random, 0, 40);
		model->total[i] += more;
		model->truth[i] += more;
	}
	model->seen = false;
}

/* Only a reset that takes more away than came since can be noticed. */
static void
zero(struct model *model)
{
	if (model->seen && model->total[0] >= 1000)
		memset(model->total, 0, sizeof model->total);
}

static void
test_model(void)
{
	struct store store = new_store(1);
	struct pool *pool = open_pool(&store, FLOWS / 2);
	struct model model[FLOWS] = { 0 };
	GRand *random = g_rand_new_with_seed(7);
	uint64_t at = 61000;
	unsigned wrong = 0;

	pool_walked(pool, true, true);
	for (unsigned step = 0; step < 400000; step++) {
		const uint32_t i = g_rand_int_range(random, 0, FLOWS), what = g_rand_int_range(random, 0, 1000);
		if (what < 400) {
			move(&model[i], random);
		} else if (what < 800) {
			struct flow flow = model_entry(&model[i], i, at);
			const enum pool_verdict verdict = look(pool, &flow);
			if (verdict == POOL_TELL)
				add_record(model[i].told, &flow);
			model[i].inside |= verdict == POOL_TELL;
			model[i].seen = model[i].inside;
			wrong += verdict == POOL_TELL && flow.start > flow.end;
		} else if (what < 810) {
			zero(&model[i]);
		} else if (what < 990) {
			at += 600;
		} else if (what < 999) {
			struct flow flow = model_entry(&model[i], i, at);
			finish(pool, &flow);
			add_record(model[i].told, &flow);
			wrong += memcmp(model[i].told, model[i].truth, sizeof model[i].told) != 0 || flow.start > flow.end;
			memset(model[i].total, 0, sizeof model[i].total);
			model[i].age++;
			model[i].seen = model[i].inside = false;
		} else {
			pool_close(pool);
			const struct pool_options options = options_of(&store, FLOWS / 2);
			pool = pool_open(&options, WALL, NULL);
		}
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT(counters.resets > 100);
	CU_ASSERT(counters.no_room > 100);
	g_rand_free(random);
	pool_close(pool);
	free_store(&store);
}

/* The same with processes that are killed wherever they are. What a journal has to know, and what the collector got, is
 * kept here as it has to be: one word says that all of it is true. */
struct journal {
	struct flow flow;
	uint64_t total[POOL_COUNTERS];
	uint64_t told[POOL_COUNTERS];       /* of the flow, this record included */
	uint64_t at;
	uint32_t number;
	uint32_t final;
	uint32_t committed;
};

struct world {
	struct model model[FLOWS];
	struct journal journal;
	uint64_t at;
	uint32_t next;                      /* flow */
	uint32_t ends;                      /* all flows end in this round */
};

static void
apply_journal(struct world *world, struct pool *pool)
{
	struct journal *journal = &world->journal;
	const uint64_t hash = hash_of(&journal->flow);

	memcpy(world->model[journal->number].told, journal->told, sizeof journal->told);
	world->model[journal->number].ended |= journal->final;
	if (journal->final)
		pool_forget(pool, &journal->flow, hash);
	else
		pool_told(pool, &journal->flow, hash, journal->at, journal->total);
	__atomic_store_n(&journal->committed, 0, __ATOMIC_SEQ_CST);
}

static void
tell(struct world *world, struct pool *pool, const struct flow *flow, uint32_t number,
     const uint64_t total[POOL_COUNTERS])
{
	struct journal *journal = &world->journal;

	journal->flow = *flow;
	journal->number = number;
	journal->at = world->at;
	journal->final = flow->end_reason != END_ACTIVE;
	memcpy(journal->total, total, sizeof journal->total);
	memcpy(journal->told, world->model[number].told, sizeof journal->told);
	add_record(journal->told, flow);
	__atomic_store_n(&journal->committed, 1, __ATOMIC_SEQ_CST);
	apply_journal(world, pool);
}

static void
live(struct world *world, struct store *store)
{
	const struct pool_options options = options_of(store, FLOWS);
	struct pool *pool = pool_open(&options, WALL, NULL);
	uint64_t total[POOL_COUNTERS];

	if (world->journal.committed)
		apply_journal(world, pool);
	for (; world->next < FLOWS; world->next++) {
		struct flow flow = model_entry(&world->model[world->next], world->next, world->at);
		const uint64_t hash = hash_of(&flow);
		/* The process before may have been killed right behind the end of this one: the kernel tells it once. */
		if (world->model[world->next].ended)
			continue;
		if (world->ends)
			pool_settle(pool, &flow, hash, total);
		if (world->ends || pool_look(pool, &flow, hash, world->at, total) == POOL_TELL)
			tell(world, pool, &flow, world->next, total);
	}
	pool_close(pool);
}

/* Until the round is done, which may take some processes. Returns how many were killed. How long a process takes depends
 * on the machine: patience, in us, becomes such that about every other one is done. */
static unsigned
live_and_die(struct world *world, struct store *store, GRand *random, double *patience)
{
	unsigned kills = 0;
	int status = -1;

	for (world->next = 0; status != 0; *patience *= status ? 1.2 : 0.8) {
		const useconds_t wait = g_rand_double(random) * *patience;
		const pid_t child = fork();
		if (!child) {
			live(world, store);
			_exit(0);
		}
		usleep(wait);
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		kills += status != 0;
	}
	return kills;
}

static void
test_kill(void)
{
	struct store store = new_store(1);
	struct world *world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	GRand *random = g_rand_new_with_seed(g_random_int());
	unsigned kills = 0, wrong = 0;
	double patience = 3000;

	pool_close(open_pool(&store, FLOWS));
	const struct pool_options options = options_of(&store, FLOWS);
	struct pool *pool = pool_open(&options, WALL, NULL);
	pool_walked(pool, true, true);
	pool_close(pool);
	for (unsigned round = 0; round < 60; round++) {
		world->at = 61000 + 7000 * round;
		world->ends = round == 59;
		for (uint32_t i = 0; i < FLOWS; i++) {
			world->model[i].seen = world->model[i].told[0] > 0;
			if (g_rand_int_range(random, 0, 10) == 0)
				zero(&world->model[i]);
			for (unsigned often = 0; often < 3; often++)
				move(&world->model[i], random);
		}
		kills += live_and_die(world, &store, random, &patience);
	}
	for (uint32_t i = 0; i < FLOWS; i++)
		wrong += memcmp(world->model[i].told, world->model[i].truth, sizeof world->model[i].told) != 0;
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT(kills > 20);
	printf(" %u kills ...", kills);
	g_rand_free(random);
	munmap(world, sizeof *world);
	free_store(&store);
}

/* One change after the other, by a process that is stopped behind each of its instructions: wherever a kill may come,
 * the next process can go on from what is in memory then. A record is in a journal before the change that goes with
 * it. */

struct change {
	const char *what;
	void (*prepare)(struct pool *pool);
	/* Sets *written when the record is in the journal. */
	void (*make)(struct pool *pool, volatile bool *written);
	void (*make_again)(struct pool *pool);      /* from the journal */
	void (*check)(struct pool *pool, bool written);
};

static void
is_left(struct pool *pool, uint64_t packets)
{
	struct flow flow = entry(1, 300000, TOTAL(20, 2000, 20, 2000));

	finish(pool, &flow);
	CU_ASSERT(counted(&flow, packets, packets * 100, packets, packets * 100));
	CU_ASSERT_EQUAL(pool_used(pool), 0);
}

static void
tell_once(struct pool *pool, uint64_t at, uint64_t packets)
{
	struct flow flow = entry(1, at, TOTAL(packets, packets * 100, packets, packets * 100));

	CU_ASSERT_EQUAL(look(pool, &flow), POOL_TELL);
}

static void
prepare_nothing(struct pool *pool)
{
	pool_walked(pool, true, true);
}

static void
prepare_told(struct pool *pool)
{
	pool_walked(pool, true, true);
	tell_once(pool, 61000, 5);
}

static void
prepare_before(struct pool *pool)
{
	(void)pool;
}

static struct flow
entry_of(uint64_t at, uint64_t packets)
{
	return entry(1, at, TOTAL(packets, packets * 100, packets, packets * 100));
}

static void
make_told(struct pool *pool, volatile bool *written)
{
	struct flow flow = entry_of(130000, 12);
	const uint64_t hash = hash_of(&flow);
	uint64_t total[POOL_COUNTERS];

	pool_look(pool, &flow, hash, 130000, total);
	*written = true;
	pool_told(pool, &flow, hash, 130000, total);
}

static void
make_told_again(struct pool *pool)
{
	const struct flow flow = entry_of(130000, 12);

	pool_told(pool, &flow, hash_of(&flow), 130000, TOTAL(12, 1200, 12, 1200));
}

static void
check_told(struct pool *pool, bool written)
{
	is_left(pool, written ? 8 : 15);
}

static void
check_first_told(struct pool *pool, bool written)
{
	is_left(pool, written ? 8 : 20);
}

static void
make_forgotten(struct pool *pool, volatile bool *written)
{
	const struct flow flow = entry_of(130000, 12);

	*written = true;
	pool_forget(pool, &flow, hash_of(&flow));
}

static void
make_forgotten_again(struct pool *pool)
{
	const struct flow flow = entry_of(130000, 12);

	pool_forget(pool, &flow, hash_of(&flow));
}

static void
check_forgotten(struct pool *pool, bool written)
{
	if (written)
		CU_ASSERT_EQUAL(pool_used(pool), 0);
	is_left(pool, written ? 20 : 15);
}

/* Five were told, nine were seen, then somebody zeroed them. */
static void
prepare_seen(struct pool *pool)
{
	struct flow flow = entry_of(70000, 9);

	prepare_told(pool);
	look(pool, &flow);
}

static void
make_zeroed(struct pool *pool, volatile bool *written)
{
	struct flow flow = entry_of(71000, 2);

	(void)written;
	look(pool, &flow);
}

static void
check_zeroed(struct pool *pool, bool written)
{
	struct flow flow = entry_of(72000, 3);

	(void)written;
	look(pool, &flow);
	is_left(pool, 4 + 20);
}

static void
make_first_look(struct pool *pool, volatile bool *written)
{
	struct flow flow = entry_of(5000, 7);

	(void)written;
	flow.born = WALL - 1;
	look(pool, &flow);
}

static void
check_first_look(struct pool *pool, bool written)
{
	struct flow flow = entry_of(6000, 7);

	(void)written;
	flow.born = WALL - 1;
	look(pool, &flow);
	CU_ASSERT_EQUAL(pool_used(pool), 1);
	flow = entry_of(7000, 9);
	flow.born = WALL - 1;
	finish(pool, &flow);
	CU_ASSERT(counted(&flow, 2, 200, 2, 200));
}

static void
nothing_again(struct pool *pool)
{
	(void)pool;
}

enum { WATCHED = 4096 };        /* octets, from the beginning of the first chunk: what any change is made in */

/* What the process that is stopped left, in memory of its own. */
static void
check_moment(const struct change *change, const struct store *store, struct store *copy, bool written)
{
	const struct pool_options options = options_of(copy, 10);

	memcpy(copy->octets, store->octets, WATCHED);
	struct pool *pool = pool_open(&options, WALL, NULL);
	if (written)
		change->make_again(pool);
	change->check(pool, written);
	pool_close(pool);
}

static void
make_change(const struct change *change, struct store *store, volatile bool *written)
{
	const struct pool_options options = options_of(store, 10);
	struct pool *pool = pool_open(&options, WALL, NULL);

	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0) {
		raise(SIGSTOP);
		change->make(pool, written);
	}
	_exit(0);
}

/* Returns at how many different moments it was looked at. */
static unsigned
check_change(const struct change *change)
{
	struct store store = new_store(1), copy = new_store(1);
	volatile bool *written = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint8_t before[WATCHED];
	unsigned moments = 0;
	int status;

	struct pool *pool = open_pool(&store, 10);
	change->prepare(pool);
	pool_close(pool);
	const pid_t child = fork();
	if (!child)
		make_change(change, &store, written);
	waitpid(child, &status, 0);
	memset(before, 0xff, sizeof before);
	while (WIFSTOPPED(status)) {
		if (memcmp(before, store.octets, WATCHED) != 0) {
			memcpy(before, store.octets, WATCHED);
			check_moment(change, &store, &copy, *written);
			moments++;
		}
		if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) < 0)
			break;
		waitpid(child, &status, 0);
	}
	CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	check_moment(change, &store, &copy, *written);
	munmap((void *)written, 4096);
	free_store(&store);
	free_store(&copy);
	return moments;
}

static void
test_each_moment(void)
{
	static const struct change changes[] = {
		{ "told", prepare_told, make_told, make_told_again, check_told },
		{ "told for the first time", prepare_nothing, make_told, make_told_again, check_first_told },
		{ "forgotten", prepare_told, make_forgotten, make_forgotten_again, check_forgotten },
		{ "zeroed", prepare_seen, make_zeroed, nothing_again, check_zeroed },
		{ "seen for the first time", prepare_before, make_first_look, nothing_again, check_first_look },
	};

	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		const unsigned failed = CU_get_number_of_failures(), moments = check_change(&changes[i]);
		CU_ASSERT(moments >= 3);
		if (CU_get_number_of_failures() > failed)
			printf("\n    %s, %u moments", changes[i].what, moments);
	}
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "short flows are left alone", test_short },
		{ "records of intervals, and the last one", test_intervals },
		{ "nothing is left for the last record", test_nothing_left },
		{ "flows that nobody counts", test_stay_out },
		{ "flows that were there before", test_there_before },
		{ "from their start", test_from_start },
		{ "the first walk is cut short", test_first_walk_is_cut },
		{ "counters that somebody zeroes", test_zeroed },
		{ "two flows of one tuple", test_same_tuple },
		{ "a full pool", test_full },
		{ "promises are kept", test_promises },
		{ "limits change", test_limits },
		{ "memory ends", test_no_memory },
		{ "flows that are gone", test_gone },
		{ "all is recalled", test_recall },
		{ "gone, and never known when it began", test_gone_without_birth },
		{ "clocks that are set", test_clocks },
		{ "49 days later", test_wrap },
		{ "memory", test_memory },
		{ "a model, through many processes", test_model },
		{ "processes that are killed", test_kill },
		{ "each moment of each change", test_each_moment },
		CU_TEST_INFO_NULL,
	};

	watch_allocations();
	return run_suite("pool", tests);
}
