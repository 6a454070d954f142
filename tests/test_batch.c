/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Framing alone: headers, Sets, padding, Sequence Numbers, and what becomes of the buffer. */

#include "encode/batch.h"

#include <stdio.h>
#include <string.h>

#include "expect.h"
#include "suite.h"

static struct batch batch;
static uint8_t batch_octets[BATCH_OCTETS];

enum { DOMAIN = 0x0a5a0001, SET = 256 };

static const uint64_t boot = 1700000000000, now = 1700000123456;

static void
begin(enum wire_protocol protocol, size_t limit)
{
	memset(&batch, 0xaa, sizeof batch);     /* what a batch does not set itself must not matter */
	batch.protocol = protocol;
	batch.domain = DOMAIN;
	batch.boot = boot;
	batch.limit = limit;
	batch.octets = batch_octets;
	batch.scratch = NULL;
	batch.capacity = sizeof batch_octets;
	batch_restart(&batch);
}

static bool
add(enum stream stream, uint16_t set, uint8_t fill, size_t octets, enum record_class what)
{
	uint8_t *at = batch_room(&batch, stream, set, octets);

	if (!at)
		return false;
	memset(at, fill, octets);
	batch_commit(&batch, octets, what);
	return true;
}

static uint32_t
be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

/* ---- tests ---- */

static void
test_ipfix(void)
{
	const struct message *message;

	begin(WIRE_IPFIX, 1232);
	add(STREAM_FLOWS, SET_TEMPLATES_IPFIX, 0x11, 5, RECORD_TEMPLATE);
	batch_end_message(&batch);
	add(STREAM_FLOWS, SET, 0x22, 3, RECORD_FLOW);
	add(STREAM_FLOWS, SET, 0x33, 3, RECORD_FLOW);
	add(STREAM_FLOWS, SET + 1, 0x44, 1, RECORD_FLOW);
	add(STREAM_PROCESS, 281, 0x55, 2, RECORD_OPTIONS);
	CU_ASSERT_EQUAL_FATAL(batch_take(&batch, now, true, &message), 3);
	EXPECT(&message[0], "templates",
	       0, 10,  0, 25,  0x65, 0x53, 0xf1, 0x7b,  0, 0, 0, 0,  0x0a, 0x5a, 0, 1,
	       0, 2,  0, 9,  0x11, 0x11, 0x11, 0x11, 0x11);
	EXPECT(&message[1], "flows of two Sets",
	       0, 10,  0, 31,  0x65, 0x53, 0xf1, 0x7b,  0, 0, 0, 0,  0x0a, 0x5a, 0, 1,
	       1, 0,  0, 10,  0x22, 0x22, 0x22,  0x33, 0x33, 0x33,
	       1, 1,  0, 5,  0x44);
	EXPECT(&message[2], "options data in domain 0",
	       0, 10,  0, 22,  0x65, 0x53, 0xf1, 0x7b,  0, 0, 0, 0,  0, 0, 0, 0,
	       1, 0x19,  0, 6,  0x55, 0x55);
	CU_ASSERT_EQUAL(message[0].flow_records, 0);
	CU_ASSERT_EQUAL(message[1].flow_records, 3);
	CU_ASSERT_EQUAL(message[2].flow_records, 0);
}

static void
test_netflow9(void)
{
	const struct message *message;

	begin(WIRE_NETFLOW9, 1232);
	add(STREAM_FLOWS, SET_TEMPLATES_NETFLOW9, 0x11, 8, RECORD_TEMPLATE);
	batch_end_set(&batch);
	add(STREAM_FLOWS, SET_TEMPLATES_NETFLOW9, 0x12, 8, RECORD_TEMPLATE);
	batch_end_message(&batch);
	add(STREAM_FLOWS, SET, 0x22, 3, RECORD_FLOW);
	add(STREAM_FLOWS, SET + 1, 0x33, 3, RECORD_FLOW);
	add(STREAM_FLOWS, SET + 1, 0x44, 3, RECORD_FLOW);
	add(STREAM_PROCESS, SET_OPTIONS_TEMPLATES_NETFLOW9, 0x55, 6, RECORD_TEMPLATE);
	add(STREAM_PROCESS, 281, 0x66, 4, RECORD_OPTIONS);
	CU_ASSERT_EQUAL_FATAL(batch_take(&batch, now, true, &message), 3);
	/* sysUpTime is 124000: that of the whole second beside it, which is not before any flow. */
	EXPECT(&message[0], "templates, two FlowSets, count 2",
	       0, 9,  0, 2,  0, 1, 0xe4, 0x60,  0x65, 0x53, 0xf1, 0x7c,  0, 0, 0, 0,  0x0a, 0x5a, 0, 1,
	       0, 0,  0, 12,  0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
	       0, 0,  0, 12,  0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12);
	EXPECT(&message[1], "flows padded, count 3, the second message",
	       0, 9,  0, 3,  0, 1, 0xe4, 0x60,  0x65, 0x53, 0xf1, 0x7c,  0, 0, 0, 1,  0x0a, 0x5a, 0, 1,
	       1, 0,  0, 8,  0x22, 0x22, 0x22, 0,
	       1, 1,  0, 12,  0x33, 0x33, 0x33,  0x44, 0x44, 0x44,  0, 0);
	EXPECT(&message[2], "Source ID 0 counts its own messages",
	       0, 9,  0, 2,  0, 1, 0xe4, 0x60,  0x65, 0x53, 0xf1, 0x7c,  0, 0, 0, 0,  0, 0, 0, 0,
	       0, 1,  0, 12,  0x55, 0x55, 0x55, 0x55, 0x55, 0x55,  0, 0,
	       1, 0x19,  0, 8,  0x66, 0x66, 0x66, 0x66);
}

static void
test_sequences(void)
{
	const struct message *message;

	begin(WIRE_IPFIX, 1232);
	add(STREAM_FLOWS, SET_TEMPLATES_IPFIX, 1, 4, RECORD_TEMPLATE);
	add(STREAM_FLOWS, SET, 1, 4, RECORD_FLOW);
	add(STREAM_FLOWS, SET, 1, 4, RECORD_FLOW);
	add(STREAM_PROCESS, 281, 1, 4, RECORD_OPTIONS);
	batch_take(&batch, now, true, &message);
	add(STREAM_PROCESS, 281, 1, 4, RECORD_OPTIONS);
	add(STREAM_FLOWS, SET, 1, 4, RECORD_FLOW);
	CU_ASSERT_EQUAL_FATAL(batch_take(&batch, now + 5000, true, &message), 2);
	CU_ASSERT_EQUAL(be32(message[0].octets + 8), 1);
	CU_ASSERT_EQUAL(be32(message[1].octets + 8), 2);
	CU_ASSERT_EQUAL(be32(message[1].octets + 4), (now + 5000) / 1000);
	/* The sequence of flows goes round after 2^32. */
	batch.sequence[STREAM_FLOWS] = UINT32_MAX;
	add(STREAM_FLOWS, SET, 1, 4, RECORD_FLOW);
	add(STREAM_FLOWS, SET, 1, 4, RECORD_FLOW);
	batch_take(&batch, now, true, &message);
	CU_ASSERT_EQUAL(be32(message[0].octets + 8), UINT32_MAX);
	CU_ASSERT_EQUAL(batch.sequence[STREAM_FLOWS], 1);
	/* A session begins at zero. */
	add(STREAM_FLOWS, SET, 1, 4, RECORD_FLOW);
	batch_restart(&batch);
	CU_ASSERT_EQUAL(batch_take(&batch, now, true, &message), 0);
	add(STREAM_FLOWS, SET, 1, 4, RECORD_FLOW);
	batch_take(&batch, now, true, &message);
	CU_ASSERT_EQUAL(be32(message[0].octets + 8), 0);
}

/* The open message survives a take that leaves it open, wherever it lies in the buffer. */
static void
test_take_whole(void)
{
	const struct message *message;

	begin(WIRE_IPFIX, 64);
	for (uint8_t i = 0; i < 3; i++)     /* 44 octets of room: the third begins a message */
		add(STREAM_FLOWS, SET, 0x10 + i, 20, RECORD_FLOW);
	CU_ASSERT_EQUAL_FATAL(batch_take(&batch, now, false, &message), 1);
	CU_ASSERT_EQUAL(message[0].length, 60);
	CU_ASSERT_TRUE(batch.open);
	CU_ASSERT_EQUAL(batch_take(&batch, now, false, &message), 0);
	CU_ASSERT_TRUE(batch_reserve(&batch, 1));
	add(STREAM_FLOWS, SET, 0x13, 20, RECORD_FLOW);
	CU_ASSERT_EQUAL_FATAL(batch_take(&batch, now, true, &message), 1);
	CU_ASSERT_EQUAL(message[0].length, 60);
	CU_ASSERT_EQUAL(message[0].octets[20], 0x12);
	CU_ASSERT_EQUAL(message[0].octets[40], 0x13);
	CU_ASSERT_EQUAL(be32(message[0].octets + 8), 2);
	CU_ASSERT_EQUAL(batch_take(&batch, now, true, &message), 0);
}

/* Messages that are closed after a take but before the next record, as a smaller limit closes one, are kept. */
static void
test_closed_after_take(void)
{
	const struct message *message;

	begin(WIRE_IPFIX, 64);
	for (uint8_t i = 0; i < 3; i++)
		add(STREAM_FLOWS, SET, 0x10 + i, 20, RECORD_FLOW);
	CU_ASSERT_EQUAL_FATAL(batch_take(&batch, now, false, &message), 1);
	batch_end_message(&batch);
	CU_ASSERT_TRUE(batch_reserve(&batch, 1));
	add(STREAM_FLOWS, SET + 1, 0x20, 20, RECORD_FLOW);
	CU_ASSERT_EQUAL_FATAL(batch_take(&batch, now, true, &message), 2);
	CU_ASSERT_EQUAL(message[0].length, 40);
	CU_ASSERT_EQUAL(message[0].octets[20], 0x12);
	CU_ASSERT_EQUAL(message[1].octets[20], 0x20);
	CU_ASSERT_PTR_EQUAL(message[1].octets, message[0].octets + message[0].length);
}

static void
test_reserve(void)
{
	const struct message *message;
	unsigned n = 0;

	begin(WIRE_IPFIX, 100);
	for (; batch_reserve(&batch, 1); n++) {
		add(STREAM_FLOWS, SET, n, 50, RECORD_FLOW);
		batch_end_message(&batch);
	}
	CU_ASSERT_EQUAL(n, BATCH_MESSAGES);
	CU_ASSERT_EQUAL_FATAL(batch_take(&batch, now, false, &message), BATCH_MESSAGES);
	for (unsigned i = 0; i < BATCH_MESSAGES; i++)
		CU_ASSERT_TRUE(message[i].length == 70 && message[i].octets[20] == i);
	CU_ASSERT_TRUE(batch_reserve(&batch, BATCH_MESSAGES));
	CU_ASSERT_FALSE(batch_reserve(&batch, BATCH_MESSAGES + 1));
	begin(WIRE_NETFLOW9, BATCH_OCTETS / 4);
	for (n = 0; batch_reserve(&batch, 1); n++) {
		add(STREAM_FLOWS, SET, n, BATCH_OCTETS / 4 - 24 - 6, RECORD_FLOW);
		batch_end_message(&batch);
	}
	CU_ASSERT_EQUAL(n, 4);
	CU_ASSERT_TRUE(batch.at <= BATCH_OCTETS);
}

/* Every size of record against every limit: what is said to fit does, and what does not is refused. */
static void
test_limits(void)
{
	static const enum wire_protocol protocols[] = { WIRE_IPFIX, WIRE_NETFLOW9 };
	const struct message *message;
	unsigned wrong = 0, refused = 0;

	for (unsigned p = 0; p < 2; p++)
		for (size_t limit = 30; limit < 130; limit++)
			for (size_t octets = 1; octets < 130; octets++) {
				begin(protocols[p], limit);
				const size_t whole = p ? 24 + (octets + 3) / 4 * 4 : 20 + octets;
				bool added = add(STREAM_FLOWS, SET, 1, octets, RECORD_FLOW);
				if (added) {
					add(STREAM_FLOWS, SET, 1, octets, RECORD_FLOW);
					add(STREAM_FLOWS, SET + 1, 1, octets, RECORD_FLOW);
				}
				refused += !added;
				/* NetFlow v9 may count padding that would not be needed, but never more than that. */
				wrong += added ? whole > limit : whole + (p ? 3 : 0) <= limit;
				for (size_t n = batch_take(&batch, now, true, &message); n > 0; n--)
					wrong += message[n - 1].length > limit;
			}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_TRUE(refused > 0);
}

static uint32_t
uptime_at(uint64_t when)
{
	const struct message *message;

	add(STREAM_FLOWS, SET, 1, 4, RECORD_FLOW);
	CU_ASSERT_EQUAL_FATAL(batch_take(&batch, when, true, &message), 1);
	return be32(message[0].octets + 4);
}

/* sysUpTime never wraps: its zero moves on a day before, when nothing counts from the old one. */
static void
test_uptime(void)
{
	const struct message *message;
	const uint64_t day = 86400000, last = ((1ull << 32) - day) / 1000 * 1000;

	begin(WIRE_NETFLOW9, 1232);
	CU_ASSERT_EQUAL(uptime_at(boot), 0);
	CU_ASSERT_EQUAL(uptime_at(boot + 1), 1000);
	CU_ASSERT_EQUAL(uptime_at(boot + 1000), 1000);
	CU_ASSERT_EQUAL(uptime_at(boot + last), last);
	CU_ASSERT_EQUAL(batch.boot, boot);
	CU_ASSERT_EQUAL(uptime_at(boot + last + 1000), last + 1000);
	CU_ASSERT_EQUAL(batch.boot, boot + last + 1000 - (1ull << 31));
	/* With a message open that counts from the old zero, it stays. */
	begin(WIRE_NETFLOW9, 1232);
	add(STREAM_FLOWS, SET, 1, 4, RECORD_FLOW);
	batch_take(&batch, boot + last + 1000, false, &message);
	CU_ASSERT_EQUAL(batch.boot, boot);
	batch_take(&batch, boot + last + 1000, true, &message);
	CU_ASSERT_NOT_EQUAL(batch.boot, boot);
	/* A clock set back to before the zero. */
	begin(WIRE_NETFLOW9, 1232);
	uptime_at(boot - 3600000);
	CU_ASSERT_EQUAL(batch.boot, boot - 3600000 - (1ull << 31));
	CU_ASSERT_EQUAL(uptime_at(boot - 3599000), (1ull << 31) + 1000);
	uptime_at(1000);
	CU_ASSERT_EQUAL(batch.boot, 0);
}

/* The zero of sysUpTime may have milliseconds; what collectors compute from the header is exactly it, and no record
 * is later than the header. */
static void
test_uptime_exact(void)
{
	const struct message *message;
	unsigned wrong = 0;

	for (uint64_t i = 0; i < 2000; i += 7) {
		begin(WIRE_NETFLOW9, 1232);
		batch.boot = boot + 123;
		add(STREAM_FLOWS, SET, 1, 4, RECORD_FLOW);
		batch_take(&batch, boot + 1000 + i, true, &message);
		wrong += be32(message->octets + 8) * 1000ull - be32(message->octets + 4) != boot + 123;
		wrong += be32(message->octets + 8) * 1000ull < boot + 1000 + i;
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "IPFIX octet for octet", test_ipfix },
		{ "NetFlow v9 octet for octet", test_netflow9 },
		{ "Sequence Numbers", test_sequences },
		{ "a take that leaves the open message", test_take_whole },
		{ "a message closed after a take", test_closed_after_take },
		{ "room that is promised", test_reserve },
		{ "every record against every limit", test_limits },
		{ "sysUpTime does not wrap", test_uptime },
		{ "sysUpTime to the millisecond", test_uptime_exact },
		CU_TEST_INFO_NULL,
	};

	return run_suite("batch", tests);
}
