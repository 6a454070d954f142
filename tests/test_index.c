/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What an index says of the blocks of a file, and that nothing in a file is ever denied. */

#include "archive/index.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "ipfix.h"
#include "suite.h"

enum { HOUR = 3600000, RECORDS = 20 };

static union address
address_of(uint32_t number)
{
	union address address = { .half = { 0, 0 } };

	number = GUINT32_TO_BE(number);
	memcpy(address.v4, &number, 4);
	return address;
}

static bool
may_have(struct index *index, size_t i, uint32_t number)
{
	const union address address = address_of(number);

	return index_may_have(index, i, 4, &address);
}

/* The file of an index alone behind so many octets that stand for frames. */
static FILE *
file_of(const struct index_maker *maker, uint64_t offset)
{
	g_autoptr(GByteArray) frame = g_byte_array_new();
	FILE *file = tmpfile();

	index_print(maker, offset, frame);
	fseek(file, offset, SEEK_SET);
	fwrite(frame->data, 1, frame->len, file);
	fflush(file);
	return file;
}

static struct index *
read_it(FILE *file)
{
	g_autoptr(GError) error = NULL;
	struct index *index = index_read(fileno(file), &error);

	if (!index)
		CU_FAIL_FATAL(error->message);
	return index;
}

static void
add(struct index_maker *maker, bool template, const struct ipfix_record *record, unsigned n)
{
	g_autoptr(GByteArray) message = g_byte_array_new();

	ipfix_message(message, template, 0, record, n);
	index_add(maker, message->data, message->len);
}

/* Three blocks of an hour each; the addresses of each are its own. */
static struct index_maker *
three_blocks(void)
{
	struct index_maker *maker = index_maker_new();

	for (unsigned block = 0; block < 3; block++) {
		struct ipfix_record record[RECORDS];
		for (unsigned i = 0; i < RECORDS; i++)
			record[i] = (struct ipfix_record){
				.start = (block + 1) * HOUR + i,
				.end = (block + 1) * HOUR + 1000 + i,
				.stop = i == 3 ? (block + 1) * HOUR + 5000 : 0,
				.address = { block * 1000 + i, block * 1000 + 100 + i, block * 1000 + 200 + i, block * 1000 + 300 + i },
			};
		add(maker, true, record, RECORDS / 2);
		add(maker, false, record + RECORDS / 2, RECORDS / 2);
		index_end_block(maker, block * 10, 10, 1000);
	}
	return maker;
}

static void
test_blocks(void)
{
	g_autoptr(index_maker_t) maker = three_blocks();
	FILE *file = file_of(maker, 30);
	g_autoptr(index_t) index = read_it(file);

	CU_ASSERT_EQUAL_FATAL(index_blocks(index), 3);
	CU_ASSERT_EQUAL(index_offset(index), 30);
	for (unsigned i = 0; i < 3; i++) {
		const struct index_block *block = index_block(index, i);
		CU_ASSERT_EQUAL(block->offset, i * 10);
		CU_ASSERT_EQUAL(block->packed, 10);
		CU_ASSERT_EQUAL(block->plain, 1000);
		CU_ASSERT_EQUAL(block->records, RECORDS);
		CU_ASSERT_EQUAL(block->first, (i + 1) * HOUR);
		CU_ASSERT_EQUAL(block->last, (i + 1) * HOUR + 5000);
		CU_ASSERT_EQUAL(block->filter_octets, RECORDS * 4 * 10 / 8);
		CU_ASSERT_TRUE(index_may_overlap(index, i, block->last, UINT64_MAX));
		CU_ASSERT_TRUE(index_may_overlap(index, i, 0, block->first));
		CU_ASSERT_FALSE(index_may_overlap(index, i, block->last + 1, UINT64_MAX));
		CU_ASSERT_FALSE(index_may_overlap(index, i, 0, block->first - 1));
		CU_ASSERT_FALSE(index_filter_is_damaged(index, i));
	}
	fclose(file);
}

/* Every address is found in its own block, and in few of the others. */
static void
test_addresses(void)
{
	g_autoptr(index_maker_t) maker = three_blocks();
	FILE *file = file_of(maker, 30);
	g_autoptr(index_t) index = read_it(file);
	unsigned wrong = 0;

	for (unsigned block = 0; block < 3; block++)
		for (unsigned side = 0; side < 4; side++)
			for (unsigned i = 0; i < RECORDS; i++) {
				const uint32_t number = block * 1000 + side * 100 + i;
				CU_ASSERT_TRUE(may_have(index, block, number));
				wrong += may_have(index, (block + 1) % 3, number);
			}
	CU_ASSERT(wrong < 3 * 4 * RECORDS / 20);
	const union address mapped = address_of(1);
	CU_ASSERT_FALSE(index_may_have(index, 0, 6, &mapped));
	fclose(file);
}

static void
test_rate(void)
{
	g_autoptr(index_maker_t) maker = index_maker_new();
	struct ipfix_record record = { .start = 1, .end = 2 };
	unsigned wrong = 0;

	for (unsigned i = 0; i < 50000; i += 4) {
		for (unsigned side = 0; side < 4; side++)
			record.address[side] = 0x0a000000 + i + side;
		add(maker, i == 0, &record, 1);
	}
	index_end_block(maker, 0, 30, 1000);
	FILE *file = file_of(maker, 30);
	g_autoptr(index_t) index = read_it(file);
	CU_ASSERT_EQUAL(index_block(index, 0)->filter_octets, 50000 * 10 / 8);
	for (unsigned i = 0; i < 50000; i++) {
		CU_ASSERT_TRUE(may_have(index, 0, 0x0a000000 + i));
		wrong += may_have(index, 0, 0x0b000000 + i);
	}
	CU_ASSERT(wrong < 50000 / 50);
	fclose(file);
}

static void
expect_anything(struct index_maker *maker)
{
	index_end_block(maker, 0, 30, 1000);
	FILE *file = file_of(maker, 30);
	g_autoptr(index_t) index = read_it(file);

	CU_ASSERT_TRUE(index_may_overlap(index, 0, 0, 0));
	CU_ASSERT_TRUE(index_may_overlap(index, 0, UINT64_MAX, UINT64_MAX));
	for (unsigned i = 0; i < 1000; i++)
		CU_ASSERT_TRUE(may_have(index, 0, i * 7919));
	fclose(file);
}

/* What is not understood is not denied: records without a template, a message that is cut, a time of four octets. */
static void
test_anything(void)
{
	const struct ipfix_record record = { .start = 1, .end = 2 };
	g_autoptr(GByteArray) message = g_byte_array_new();

	struct index_maker *maker = index_maker_new();
	add(maker, false, &record, 1);
	expect_anything(maker);
	index_maker_free(maker);

	ipfix_message(message, true, 0, &record, 1);
	for (guint octets = 0; octets < message->len; octets += 7) {
		maker = index_maker_new();
		index_add(maker, message->data, octets == 16 ? 15 : octets);
		expect_anything(maker);
		index_maker_free(maker);
	}
	maker = index_maker_new();
	message->data[16 + 4 + 4 + 4 + 3] = 4;
	index_add(maker, message->data, message->len);
	expect_anything(maker);
	index_maker_free(maker);
}

/* A block is alone: the template of the one before is not known in it. */
static void
test_alone(void)
{
	const struct ipfix_record record = { .start = 1, .end = 2 };
	g_autoptr(index_maker_t) maker = index_maker_new();

	add(maker, true, &record, 1);
	index_end_block(maker, 0, 15, 1000);
	add(maker, false, &record, 1);
	index_end_block(maker, 15, 15, 1000);
	FILE *file = file_of(maker, 30);
	g_autoptr(index_t) index = read_it(file);
	CU_ASSERT_FALSE(index_may_overlap(index, 0, 3, 3));
	CU_ASSERT_TRUE(index_may_overlap(index, 1, 3, 3));
	fclose(file);
}

/* Any octet that is another one is found: in the rows at once, in a filter when it is asked. */
static void
test_damaged(void)
{
	g_autoptr(index_maker_t) maker = three_blocks();
	g_autoptr(GByteArray) frame = g_byte_array_new();
	FILE *file = file_of(maker, 30);

	index_print(maker, 30, frame);
	for (guint i = 0; i < frame->len; i++) {
		const uint8_t octet = frame->data[i] ^ 0x10;
		g_autoptr(GError) error = NULL;
		CU_ASSERT_EQUAL(pwrite(fileno(file), &octet, 1, 30 + i), 1);
		g_autoptr(index_t) index = index_read(fileno(file), &error);
		CU_ASSERT(index || error->code == EX_DATAERR);
		bool found = !index;
		for (unsigned block = 0; index && block < 3; block++) {
			found |= index_filter_is_damaged(index, block);
			CU_ASSERT_TRUE(may_have(index, block, block * 1000 + 7));
		}
		CU_ASSERT_TRUE(found);
		CU_ASSERT_EQUAL(pwrite(fileno(file), &frame->data[i], 1, 30 + i), 1);
	}
	index_free(read_it(file));
	for (guint octets = 0; octets < frame->len + 30; octets += 5) {
		CU_ASSERT_EQUAL(ftruncate(fileno(file), octets), 0);
		CU_ASSERT_PTR_NULL(index_read(fileno(file), NULL));
	}
	fclose(file);
}

/* What is on disks stays readable: the octets of one small index. */
static void
test_octets(void)
{
	static const uint8_t expected[] =
		"\x50\x2a\x4d\x18" "\x5b\0\0\0" "PFINDEX1" "\x01\x00\x00\x00" "SUM1"
		"\0\0\0\0\0\0\0\0" "\x1e\0\0\0\0\0\0\0" "\xe8\x03\0\0\0\0\0\0" "\1\0\0\0\0\0\0\0"
		"\1\0\0\0\0\0\0\0" "\3\0\0\0\0\0\0\0" "\x76\0\0\0\0\0\0\0" "\3\0\0\0" "SUM2"
		"FIL" "\x5b\0\0\0" "PFIX";
	const struct ipfix_record record = { .start = 1, .end = 2, .stop = 3, .address = { 1, 2, 1, 2 } };
	g_autoptr(index_maker_t) maker = index_maker_new();
	g_autoptr(GByteArray) frame = g_byte_array_new();

	add(maker, true, &record, 1);
	index_end_block(maker, 0, 30, 1000);
	index_print(maker, 30, frame);
	CU_ASSERT_EQUAL_FATAL(frame->len, sizeof expected - 1);
	for (guint i = 0; i < frame->len; i++) {
		const bool hashed = (i >= 20 && i < 24) || (i >= 84 && i < 91);
		if (!hashed && frame->data[i] != expected[i])
			CU_FAIL("an octet of the index is another");
	}
	CU_ASSERT_EQUAL(memcmp(frame->data + 88, "\x00\x00\x00", 3) == 0, false);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "blocks and their times", test_blocks },
		{ "addresses", test_addresses },
		{ "how often a filter is wrong", test_rate },
		{ "what is not understood", test_anything },
		{ "a block is alone", test_alone },
		{ "a damaged index", test_damaged },
		{ "octets", test_octets },
		CU_TEST_INFO_NULL,
	};
	return run_suite("index", tests);
}
