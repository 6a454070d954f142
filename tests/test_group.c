/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Messages of random Sets: what stands where when Sets of one id are joined. */

#include "encode/group.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>

#include "suite.h"

enum { HEADER = 16, MOST = 2900, RECORD = 6 };      /* of such Sets 65535 octets have room */

/* A record says of which id it is, and which it is of all of the message. */
static void
add_u16(GByteArray *message, uint16_t value)
{
	const uint8_t octets[] = { value >> 8, value & 0xff };

	g_byte_array_append(message, octets, sizeof octets);
}

static unsigned
u16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

static GByteArray *
make_message(GRand *rand, unsigned sets, unsigned first, unsigned ids)
{
	GByteArray *message = g_byte_array_new();

	for (unsigned i = 0; i < HEADER; i++)
		g_byte_array_append(message, (const uint8_t *)"header of message" + i, 1);
	for (unsigned set = 0, serial = 0; set < sets; set++) {
		const unsigned id = first + g_rand_int(rand) % ids, records = g_rand_int(rand) % 4;
		add_u16(message, id);
		add_u16(message, 4 + records * RECORD);
		for (unsigned i = 0; i < records; i++) {
			add_u16(message, id);
			add_u16(message, serial++);
			add_u16(message, 0xabcd);
		}
	}
	return message;
}

static unsigned
count_records(const uint8_t *message, size_t octets)
{
	unsigned records = 0;

	for (size_t at = HEADER; at < octets; at += u16(message + at + 2))
		records += (u16(message + at + 2) - 4) / RECORD;
	return records;
}

/* Each id once, in ascending order, and its records in theirs; none is there twice, so that as many are all. */
static void
check_grouped(const uint8_t *message, size_t octets, unsigned records)
{
	static bool seen[MOST * 4];
	unsigned last = 0;

	memset(seen, 0, sizeof seen);
	for (size_t at = HEADER; at < octets;) {
		const unsigned id = u16(message + at), length = u16(message + at + 2);
		int serial = -1;
		CU_ASSERT_FATAL(id > last && length >= 4 && at + length <= octets);
		last = id;
		for (size_t record = at + 4; record < at + length; record += RECORD) {
			CU_ASSERT_EQUAL(u16(message + record), id);
			CU_ASSERT_EQUAL(u16(message + record + 4), 0xabcd);
			CU_ASSERT_FATAL((int)u16(message + record + 2) > serial);
			serial = u16(message + record + 2);
			CU_ASSERT_FALSE_FATAL(seen[serial]);
			seen[serial] = true;
		}
		at += length;
	}
	CU_ASSERT_EQUAL(count_records(message, octets), records);
}

static void
test_grouped(void)
{
	static uint8_t scratch[65536];
	g_autoptr(GRand) rand = g_rand_new_with_seed(7);

	for (unsigned round = 0; round < 300; round++) {
		const unsigned ids = 1 + round % GROUP_IDS, sets = round < 100 ? round : g_rand_int(rand) % MOST;
		g_autoptr(GByteArray) message = make_message(rand, sets, round % 2 ? 256 : 65000, ids);
		const unsigned records = count_records(message->data, message->len);
		const size_t octets = group_sets(message->data, message->len, scratch);
		CU_ASSERT_FATAL(octets <= message->len);
		CU_ASSERT_EQUAL(memcmp(message->data, "header of messag", HEADER), 0);
		check_grouped(message->data, octets, records);
		/* Once more changes nothing. */
		CU_ASSERT_EQUAL(group_sets(message->data, octets, scratch), octets);
		check_grouped(message->data, octets, records);
	}
}

/* More ids than there is room for, or templates: all stays as it was. */
static void
test_untouched(void)
{
	static const unsigned rows[][2] = { { 500, GROUP_IDS + 1 }, { 2, 2 }, { 255, 2 } };
	static uint8_t scratch[65536];
	g_autoptr(GRand) rand = g_rand_new_with_seed(8);

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autoptr(GByteArray) message = make_message(rand, 1000, rows[i][0], rows[i][1]);
		g_autofree uint8_t *before = g_memdup2(message->data, message->len);
		CU_ASSERT_EQUAL(group_sets(message->data, message->len, scratch), message->len);
		CU_ASSERT_EQUAL(memcmp(message->data, before, message->len), 0);
	}
}

int
main(void)
{
	static CU_TestInfo tests[] = {
		{ "one Set of each id", test_grouped },
		{ "what stays as it is", test_untouched },
		CU_TEST_INFO_NULL,
	};

	return run_suite("group", tests);
}
