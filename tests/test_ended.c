/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What tells flows apart, and the set of those that ended lately. */

#include "flows/ended.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

static const struct identity_key no_key;

static struct flow
flow_of(uint32_t number)
{
	struct flow flow = { .family = 4, .protocol = IPPROTO_UDP, .id = number * 7, .born = 1753000000000, .born_ns = 5 };

	flow.original.source.word[0] = number;
	return flow;
}

static uint64_t
hash_of(const struct flow *flow, const struct identity_key *key)
{
	struct flow_identity identity;

	identity_of(flow, &identity);
	return identity_hash(&identity, key);
}

/* Fingerprints that look like any others. */
static uint64_t
print_of(uint32_t number)
{
	struct flow flow = flow_of(number);

	return hash_of(&flow, &no_key);
}

/* Computed by another implementation: CPython's hash of the same octets, with PYTHONHASHSEED=0. */
static void
test_hash(void)
{
	struct flow_identity identity = {
		.source.half = { 0x1111111122222222, 0x3333333344444444 },
		.destination.half = { 0x5555555566666666, 0x7777777788888888 },
		.born = 1753000000123456789, .id = 0xfedcba98, .port = { 0x1234, 0x5678 }, .kind = 0x01020611,
	};

	CU_ASSERT_EQUAL(identity_hash(&identity, &no_key), 0x4fe63f2e4ba24ebd);
	for (unsigned i = 0; i < 2; i++) {
		struct identity_key key = no_key;
		key.half[i] = 1;
		CU_ASSERT_NOT_EQUAL(identity_hash(&identity, &key), 0x4fe63f2e4ba24ebd);
	}
	identity.kind = 0x01020411;
	CU_ASSERT_EQUAL(identity_hash(&identity, &no_key), 0x64593eed78f0c4f2);
}

/* Everything that tells two entries of the kernel apart does so here, and nothing that changes during a flow's life. */
static void
test_identity(void)
{
	struct flow flow[16];
	uint64_t hash[16];

	for (unsigned i = 0; i < 16; i++)
		flow[i] = flow_of(1);
	flow[1].id++;
	flow[2].zone = 1;
	flow[3].family = 6;
	flow[4].protocol = IPPROTO_TCP;
	flow[5].original.source.v4[3]++;
	flow[6].family = 6;
	flow[6].original.source.v6[15]++;
	flow[7].original.destination.v4[0]++;
	flow[8].family = 6;
	flow[8].original.destination.v6[15]++;
	flow[9].original.source_port++;
	flow[10].original.destination_port++;
	flow[11].protocol = IPPROTO_ICMP;
	flow[12].protocol = IPPROTO_ICMP;
	flow[12].original.icmp++;
	flow[13].protocol = IPPROTO_ICMP;
	flow[13].original.icmp_id++;
	flow[14].born++;
	flow[15].born_ns++;
	for (unsigned i = 0; i < 16; i++) {
		hash[i] = hash_of(&flow[i], &no_key);
		for (unsigned j = 0; j < i; j++)
			CU_ASSERT_NOT_EQUAL(hash[i], hash[j]);
		flow[i].mark = flow[i].status = flow[i].timeout = flow[i].original.packets = flow[i].reply.octets = 77;
		flow[i].start = flow[i].end = flow[i].state = 78;
		CU_ASSERT_EQUAL(hash_of(&flow[i], &no_key), hash[i]);
	}
}

static void
test_again(void)
{
	struct ended *ended = ended_open(NULL, ENDED_LEAST);
	uint64_t print[ENDED_BATCH];

	for (unsigned i = 0; i < ENDED_BATCH; i++)
		print[i] = print_of(i);
	CU_ASSERT_EQUAL(ended_again(ended, print, ENDED_BATCH), 0);
	/* Asking changes nothing. */
	CU_ASSERT_EQUAL(ended_again(ended, print, ENDED_BATCH), 0);
	CU_ASSERT_EQUAL(ended_late(ended, print, ENDED_BATCH), 0);
	ended_add(ended, print[3], print[3]);
	ended_add(ended, print[63], print[63]);
	CU_ASSERT_EQUAL(ended_again(ended, print, ENDED_BATCH), UINT64_C(1) << 63 | 1 << 3);
	CU_ASSERT_EQUAL(ended_late(ended, print, ENDED_BATCH), UINT64_C(1) << 63 | 1 << 3);
	/* Told twice within a batch: the first one counts. Numbers that share their lowest octet are no matter. */
	const uint64_t twice[] = { 0x101, 0x201, 0x101, 0x301, 0x201, 0x201, 0x102 };
	CU_ASSERT_EQUAL(ended_again(ended, twice, 7), 1 << 2 | 1 << 4 | 1 << 5);
	for (unsigned i = 0; i < ENDED_BATCH; i++)
		print[i] = 0xff;
	CU_ASSERT_EQUAL(ended_again(ended, print, ENDED_BATCH), ~UINT64_C(1));
	CU_ASSERT_EQUAL(ended_again(ended, print, 0), 0);
	ended_close(ended);
	ended_close(NULL);
}

/* Without a birth the kernel's next flow of that tuple looks the same; only what they counted tells them apart. */
static void
test_without_birth(void)
{
	struct ended *ended = ended_open(NULL, ENDED_LEAST);
	struct flow flow = flow_of(1), born = flow_of(2);
	const uint64_t hash = hash_of(&flow, &no_key);

	CU_ASSERT_EQUAL(ended_print(&flow, hash), hash);
	flow.gaps = GAP_NO_START;
	const uint64_t print = ended_print(&flow, hash);
	CU_ASSERT_NOT_EQUAL(print, hash);
	uint64_t *counter[] = { &flow.original.packets, &flow.original.octets, &flow.reply.packets, &flow.reply.octets };
	for (unsigned i = 0; i < 4; i++) {
		++*counter[i];
		CU_ASSERT_NOT_EQUAL(ended_print(&flow, hash), print);
		--*counter[i];
	}
	ended_add(ended, print, hash);
	CU_ASSERT_EQUAL(ended_again(ended, &print, 1), 1);
	flow.original.packets++;
	const uint64_t other = ended_print(&flow, hash);
	CU_ASSERT_EQUAL(ended_again(ended, &other, 1), 0);
	CU_ASSERT_EQUAL(ended_late(ended, &hash, 1), 1);
	/* The moment of a look is no birth. */
	born.gaps = GAP_NO_START;
	const uint64_t before = hash_of(&born, &no_key);
	born.born += 1000;
	CU_ASSERT_EQUAL(hash_of(&born, &no_key), before);
	ended_close(ended);
}

static void
test_capacity(void)
{
	CU_ASSERT_EQUAL(ended_capacity(0), ENDED_LEAST);
	CU_ASSERT_EQUAL(ended_capacity(65536), 65536);
	CU_ASSERT_EQUAL(ended_capacity(65537), 131072);
	CU_ASSERT_EQUAL(ended_capacity(262144), 262144);
	CU_ASSERT_EQUAL(ended_capacity(SIZE_MAX), ENDED_MOST);
	CU_ASSERT_EQUAL(ended_octets(ENDED_LEAST), 64 + 2 * 2 * 8 * ENDED_LEAST);
}

/* Whatever came before, the last `capacity` are known, and never more than twice as many. One that is told of again now
 * and then, which is AGAIN times, never gets old. */
static void
test_generations(void)
{
	enum { FLOWS = 5 * ENDED_LEAST + 777, AGAIN = 10 };
	struct ended *ended = ended_open(NULL, ENDED_LEAST);
	unsigned missed = 0, known = 0;

	for (uint32_t i = 0; i < FLOWS; i++) {
		const uint64_t print = print_of(i);
		ended_add(ended, print, print);
		if (i < ENDED_LEAST)
			continue;
		const uint64_t oldest = print_of(i - ENDED_LEAST + 1 + AGAIN), kept = print_of(0);
		missed += !ended_late(ended, &oldest, 1);
		if (i % (ENDED_LEAST / 2) == 0) {
			missed += !ended_late(ended, &kept, 1);
			ended_add(ended, kept, kept);
		}
	}
	CU_ASSERT_EQUAL(missed, 0);
	for (uint32_t i = 0; i < FLOWS; i++) {
		const uint64_t print = print_of(i);
		known += ended_late(ended, &print, 1);
	}
	CU_ASSERT(known >= ENDED_LEAST && known <= 2 * ENDED_LEAST);
	ended_close(ended);
}

/* What one process learned, the next knows, with the same key. */
static void
test_survives(void)
{
	void *memory = aligned_alloc(64, ended_octets(ENDED_LEAST));
	unsigned missed = 0;

	memset(memory, 0, ended_octets(ENDED_LEAST));
	struct ended *ended = ended_open(memory, ENDED_LEAST);
	const struct identity_key key = *ended_key(ended);
	CU_ASSERT(key.half[0] | key.half[1]);
	for (uint32_t i = 0; i < 3 * ENDED_LEAST; i++) {
		const uint64_t print = print_of(i);
		ended_add(ended, print, print);
		if (i % 10000)
			continue;
		ended_close(ended);
		ended = ended_open(memory, ENDED_LEAST);
	}
	CU_ASSERT(memcmp(ended_key(ended), &key, sizeof key) == 0);
	for (uint32_t i = 2 * ENDED_LEAST; i < 3 * ENDED_LEAST; i++) {
		const uint64_t print = print_of(i);
		missed += !ended_late(ended, &print, 1);
	}
	CU_ASSERT_EQUAL(missed, 0);
	ended_close(ended);
	struct ended *other = ended_open(NULL, ENDED_LEAST);
	CU_ASSERT(memcmp(ended_key(other), &key, sizeof key) != 0);
	ended_close(other);
	free(memory);
}

/* No octets that memory can be left with stop it for good. */
static void
test_any_memory(void)
{
	const size_t octets = ended_octets(ENDED_LEAST);
	void *memory = aligned_alloc(64, octets);

	for (unsigned round = 0; round < 3; round++) {
		memset(memory, round == 2 ? 0x5a : 0xff, octets);
		if (round == 1)         /* both tables full of different numbers */
			for (size_t i = 8; i < octets / 8; i++)
				((uint64_t *)memory)[i] = i << 32 | i;
		struct ended *ended = ended_open(memory, ENDED_LEAST);
		const uint64_t print[] = { print_of(1), print_of(2) };
		ended_late(ended, print, 1);
		ended_add(ended, print[0], print[0]);
		CU_ASSERT_EQUAL(ended_late(ended, print, 1), 1);
		ended_add(ended, print[1], print[1]);
		CU_ASSERT_EQUAL(ended_late(ended, print, 2), 3);
		ended_close(ended);
	}
	free(memory);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "the hash is SipHash-1-3", test_hash },
		{ "what tells flows apart", test_identity },
		{ "ends that are told again", test_again },
		{ "flows without a birth", test_without_birth },
		{ "capacity follows the table", test_capacity },
		{ "the last ones are known", test_generations },
		{ "the next process knows", test_survives },
		{ "memory full of anything", test_any_memory },
		CU_TEST_INFO_NULL,
	};

	return run_suite("ended", tests);
}
